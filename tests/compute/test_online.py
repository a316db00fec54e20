"""Factors that change point by point, against factoring anew."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute import online
from tests.naive import linalg as naive

pytestmark = pytest.mark.compiled
KERNEL = naive.PlainGaussian(0.5)


def definite(n, seed=0):
    root = np.random.default_rng(seed).normal(size=(n, n + 2))
    return root @ root.T + 0.1 * np.eye(n)


# Rank-one changes


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(0, 9999), st.floats(-3, 3))
def test_update_and_downdate_agree_with_factoring_anew(n, seed, log_length):
    matrix = definite(n, seed)
    v = 10.0**log_length * np.random.default_rng(seed + 1).normal(size=n)
    lower = np.linalg.cholesky(matrix)
    before = lower.copy()
    updated = online.cholesky_update(lower, v)
    bigger = matrix + np.outer(v, v)
    np.testing.assert_allclose(updated @ updated.T, bigger, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(updated, np.tril(updated))
    assert np.all(np.diagonal(updated) > 0)
    np.testing.assert_array_equal(lower, before)
    if log_length < 1:
        back = online.cholesky_update(np.linalg.cholesky(bigger), v, downdate=True)
        np.testing.assert_allclose(back, lower, rtol=1e-6, atol=1e-6)


def test_a_downdate_that_goes_too_far_is_refused():
    with pytest.raises(ValueError, match="positive definite"):
        online.cholesky_update(np.eye(3), [0.0, 1.5, 0.0], downdate=True)
    with pytest.raises(ValueError, match="positive definite"):
        online.cholesky_update(np.eye(3), [1.0, 0.0, 0.0], downdate=True)


def test_update_does_not_read_above_the_diagonal():
    noisy = np.array([[2.0, 99.0], [1.0, 2.0]])
    np.testing.assert_array_equal(
        online.cholesky_update(noisy, [1.0, 1.0]),
        online.cholesky_update(np.tril(noisy), [1.0, 1.0]),
    )


@pytest.mark.parametrize(
    ("lower", "v", "named"),
    [
        (np.ones((2, 3)), np.ones(2), "lower must be square"),
        (np.zeros((2, 2)), np.ones(2), "positive diagonal"),
        (np.eye(2), np.ones(3), "v must have length 2"),
        (np.eye(2), [np.inf, 0.0], "v must be finite"),
    ],
)
def test_update_refuses_what_does_not_fit(lower, v, named):
    with pytest.raises(ValueError, match=named):
        online.cholesky_update(lower, v)


# Growing factors


@pytest.mark.parametrize("start", [0, 1, 7])
def test_growing_factor_agrees_with_numpy(start):
    n = 40  # beyond the first allocation
    matrix = definite(n)
    factor = online.GrowingCholesky(matrix[:start, :start] if start else None)
    for k in range(start, n):
        left = factor.append(matrix[k, :k], matrix[k, k])
        if k:
            schur = matrix[k, k] - matrix[k, :k] @ np.linalg.solve(matrix[:k, :k], matrix[:k, k])
            assert left == pytest.approx(schur)
    assert len(factor) == n
    np.testing.assert_allclose(factor.lower, np.linalg.cholesky(matrix), atol=1e-11)
    b = np.random.default_rng(0).normal(size=(n, 3))
    np.testing.assert_allclose(factor.solve(b), np.linalg.solve(matrix, b), atol=1e-9)
    np.testing.assert_allclose(factor.solve(b[:, 0]), np.linalg.solve(matrix, b[:, 0]), atol=1e-9)
    np.testing.assert_allclose(factor.lower @ factor.half_solve(b), b, atol=1e-10)
    np.testing.assert_allclose(factor.inverse(), np.linalg.inv(matrix), atol=1e-9)
    assert factor.logdet() == pytest.approx(np.linalg.slogdet(matrix)[1])


@pytest.mark.parametrize("kind", [online.GrowingCholesky, online.GrowingInverse])
@pytest.mark.parametrize("index", [0, 4, 8])
def test_rows_can_go_and_come(kind, index):
    matrix = definite(9)
    kept = [i for i in range(9) if i != index]
    order = [*kept, index]
    thing = kind(matrix)
    thing.remove(index)
    assert len(thing) == 8
    thing.append(matrix[index, kept], matrix[index, index])
    inverse = thing.inverse() if kind is online.GrowingCholesky else thing.matrix
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix[np.ix_(order, order)]), atol=1e-10)


def test_growing_inverse_agrees_with_numpy():
    matrix = definite(40)
    inverse = online.GrowingInverse()
    for k in range(40):
        inverse.append(matrix[k, :k], matrix[k, k])
    np.testing.assert_allclose(inverse.matrix, np.linalg.inv(matrix), atol=1e-9)
    np.testing.assert_array_equal(inverse.matrix, inverse.matrix.T)


@pytest.mark.parametrize("kind", [online.GrowingCholesky, online.GrowingInverse])
def test_growing_things_refuse_what_does_not_fit(kind):
    thing = kind([[1.0]])
    with pytest.raises(ValueError, match="depends linearly"):
        thing.append([1.0], 1.0)
    assert len(thing) == 1
    with pytest.raises(ValueError, match="cross must have length 1"):
        thing.append([1.0, 2.0], 9.0)
    with pytest.raises(ValueError, match="diagonal"):
        thing.append([1.0], -1.0)
    with pytest.raises(ValueError, match="index"):
        thing.remove(1)
    with pytest.raises(ValueError, match="positive definite"):
        kind([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="symmetric"):
        kind([[1.0, 2.0], [0.0, 1.0]])
    thing.remove(0)
    assert len(thing) == 0
    with pytest.raises(ValueError, match="cross must be empty"):
        thing.append([1.0], 1.0)
    assert thing.append([], 4.0) == 4.0
    with pytest.raises(ValueError, match="empty"):
        online.GrowingCholesky().solve([1.0])


# Recursive least squares


@pytest.mark.parametrize("forgetting", [1.0, 0.9])
@pytest.mark.parametrize("outputs", [None, 2])
def test_recursive_least_squares_agrees_with_solving_anew(forgetting, outputs):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 4))
    targets = rng.normal(size=30 if outputs is None else (30, outputs))
    exact = naive.recursive_least_squares(features, targets, 0.5, forgetting)
    one = online.RecursiveLeastSquares(4, outputs, ridge=0.5, forgetting=forgetting)
    errors = []
    for t in range(30):
        predicted = one.predict(features[t])
        errors.append(one.update(features[t], targets[t]))
        np.testing.assert_allclose(errors[-1], targets[t] - predicted, atol=1e-12)
        np.testing.assert_allclose(one.weights, exact[t], atol=1e-9)
    many = online.RecursiveLeastSquares(4, outputs, ridge=0.5, forgetting=forgetting)
    np.testing.assert_allclose(many.update(features, targets), errors, atol=1e-12)
    np.testing.assert_allclose(many.weights, one.weights, atol=1e-12)
    np.testing.assert_allclose(many.predict(features), features @ one.weights, atol=1e-12)
    np.testing.assert_array_equal(many.covariance, many.covariance.T)


def test_recursive_least_squares_refuses_what_does_not_fit():
    for bad, named in [
        ({"n_features": 0}, "n_features"),
        ({"n_outputs": 0}, "n_outputs"),
        ({"ridge": 0.0}, "ridge"),
        ({"forgetting": 0.0}, "forgetting"),
        ({"forgetting": 1.1}, "forgetting"),
    ]:
        with pytest.raises(ValueError, match=named):
            online.RecursiveLeastSquares(**{"n_features": 2, **bad})
    model = online.RecursiveLeastSquares(2)
    with pytest.raises(ValueError, match="features must have length 2"):
        model.update([1.0], 1.0)
    with pytest.raises(ValueError, match="targets must have shape"):
        model.update([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="targets must have shape"):
        model.update(np.ones((3, 2)), np.ones(2))
    with pytest.raises(ValueError, match="targets must be finite"):
        model.update([1.0, 2.0], np.nan)
    assert not model.weights.any()


# The dictionary


@pytest.mark.parametrize("threshold", [0.0, 1e-4, 1e-1, 2.0])
def test_dictionary_agrees_with_fresh_solves(threshold):
    x = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    gram = KERNEL.gram(x)
    dictionary = online.KernelDictionary(KERNEL, threshold)
    seen = dictionary.observe(x)
    kept = np.flatnonzero(seen.added)
    if threshold:
        assert kept.tolist() == naive.linear_dependence_dictionary(gram, threshold)
    np.testing.assert_array_equal(dictionary.points.reshape(-1, 2), x[kept])
    np.testing.assert_array_equal(seen.sizes, np.cumsum(seen.added))
    for t in range(60):
        members = kept[kept <= t]
        size = len(members)
        np.testing.assert_allclose(seen.cross[t, :size], gram[t, members], atol=1e-14)
        assert not seen.cross[t, size:].any()
        assert not seen.coefficients[t, size:].any()
        if seen.added[t]:
            np.testing.assert_array_equal(seen.coefficients[t, :size], np.eye(size)[-1])
        elif size:
            image = gram[np.ix_(members, members)] @ seen.coefficients[t, :size]
            np.testing.assert_allclose(image, gram[members, t], atol=1e-8)
            fit = gram[t, t] - gram[t, members] @ seen.coefficients[t, :size]
            assert seen.residuals[t] == pytest.approx(fit, abs=1e-9)
            assert seen.residuals[t] <= max(threshold, 1e-12)


def test_a_stream_in_pieces_gives_the_same_dictionary():
    x = np.random.default_rng(0).uniform(-1, 1, (200, 1))
    whole, pieces = (online.KernelDictionary(KERNEL, 1e-6) for _ in range(2))
    seen = whole.observe(x)
    parts = [pieces.observe(x[low : low + 37]) for low in range(0, 200, 37)]
    np.testing.assert_array_equal(whole.points, pieces.points)
    np.testing.assert_array_equal(seen.sizes, np.concatenate([part.sizes for part in parts]))
    np.testing.assert_allclose(
        seen.residuals, np.concatenate([part.residuals for part in parts]), atol=1e-12
    )
    np.testing.assert_allclose(whole.factor.lower, pieces.factor.lower, atol=1e-9)
    coefficients, residuals = whole.project(x)
    np.testing.assert_allclose(
        coefficients @ KERNEL.gram(whole.points, x[:3]), KERNEL.gram(x, x[:3]), atol=1e-2
    )
    assert np.all(residuals <= 1e-6)
    np.testing.assert_allclose(
        whole.inverse() @ KERNEL.gram(whole.points), np.eye(len(whole)), atol=1e-6
    )


def test_threshold_zero_takes_every_distinct_point_once():
    x = np.arange(40.0)[:, None]
    dictionary = online.KernelDictionary(KERNEL, 0.0)
    seen = dictionary.observe(np.concatenate([x, x, x[:1]]))
    assert seen.added[:40].all()
    assert not seen.added[40:].any()
    assert len(dictionary) == 40


def test_max_size_closes_the_dictionary():
    x = np.arange(10.0)[:, None]
    dictionary = online.KernelDictionary(KERNEL, 0.1, max_size=3)
    assert dictionary.observe(x).added.tolist() == [True] * 3 + [False] * 7
    assert not dictionary.observe(x + 20).added.any()
    assert dictionary.observe(x).coefficients.shape == (10, 3)


def test_dictionary_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="threshold"):
        online.KernelDictionary(KERNEL, -1.0)
    with pytest.raises(ValueError, match="max_size"):
        online.KernelDictionary(KERNEL, 0.1, max_size=0)
    with pytest.raises(ValueError, match="kernel must have"):
        online.KernelDictionary("gaussian", 0.1)
    dictionary = online.KernelDictionary(KERNEL, 0.1)
    with pytest.raises(ValueError, match="still empty"):
        dictionary.project(np.ones((1, 1)))
    with pytest.raises(ValueError, match="x must be a matrix"):
        dictionary.observe(np.ones(3))
    dictionary.observe(np.ones((1, 2)))
    with pytest.raises(ValueError, match="x must have 2 columns"):
        dictionary.observe(np.ones((1, 1)))
