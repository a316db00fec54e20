"""Ridge paths against plain formulas, literal refits and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge

from kernellab.compute.ridge import FeatureRidgePath, RidgePath
from tests.naive import linalg as naive

RIDGES = np.array([1e-3, 0.1, 1.0, 30.0])


def gaussian_gram(x, z=None, bandwidth=1.0):
    return naive.PlainGaussian(bandwidth).gram(x, z)


def problem(n=30, outputs=None, seed=0, bandwidth=0.5):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2))
    y = rng.normal(size=n if outputs is None else (n, outputs))
    return x, gaussian_gram(x, bandwidth=bandwidth), y


@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_path_agrees_with_scikit_learn(outputs):
    x, gram, y = problem(outputs=outputs)
    new = np.random.default_rng(1).uniform(-1, 1, (7, 2))
    path = RidgePath(gram, y)
    cross = gaussian_gram(new, x, 0.5)
    coefficients, predictions = path.coefficients(RIDGES), path.predict(cross, RIDGES)
    for i, ridge in enumerate(RIDGES):
        model = KernelRidge(alpha=ridge, kernel="rbf", gamma=2.0).fit(x, y)
        np.testing.assert_allclose(coefficients[i], model.dual_coef_, atol=1e-8, rtol=1e-8)
        np.testing.assert_allclose(predictions[i], model.predict(new), atol=1e-9)
        np.testing.assert_allclose(path.predict(cross, ridge), predictions[i], atol=1e-10)
        np.testing.assert_allclose(path.fitted(ridge), model.predict(x), atol=1e-9)


@pytest.mark.parametrize("outputs", [None, 2])
def test_shapes(outputs):
    _, gram, y = problem(outputs=outputs)
    path = RidgePath(gram, y)
    tail = () if outputs is None else (outputs,)
    for method in (path.coefficients, path.fitted, path.leave_one_out):
        assert method(0.1).shape == (30, *tail)
        assert method(RIDGES).shape == (4, 30, *tail)
        assert method(RIDGES[:1]).shape == (1, 30, *tail)
    assert path.predict(gram[:5], 0.1).shape == (5, *tail)
    assert path.predict(gram[:5], RIDGES).shape == (4, 5, *tail)
    for method in (path.gcv, path.loo_error, path.degrees_of_freedom, path.log_marginal_likelihood):
        assert isinstance(method(0.1), float)
        assert method(RIDGES).shape == (4,)
    assert path.leverage(0.1).shape == path.filter(0.1).shape == (30,)
    assert path.leverage(RIDGES).shape == path.filter(RIDGES).shape == (4, 30)
    assert path.coordinates.shape == (30, *tail)


@pytest.mark.parametrize("outputs", [None, 2])
def test_scores_agree_with_literal_refits(outputs):
    _, gram, y = problem(n=12, outputs=outputs)
    path = RidgePath(gram, y)
    for ridge in RIDGES:
        loo = naive.leave_one_out(gram, y, ridge)
        hat = naive.hat_matrix(gram, ridge)
        np.testing.assert_allclose(path.leave_one_out(ridge), loo, rtol=1e-7, atol=1e-9)
        assert path.loo_error(ridge) == pytest.approx(np.mean(loo**2))
        assert path.gcv(ridge) == pytest.approx(naive.gcv(gram, y, ridge))
        assert path.degrees_of_freedom(ridge) == pytest.approx(np.trace(hat))
        np.testing.assert_allclose(path.leverage(ridge), np.diagonal(hat), rtol=1e-8)
        assert path.log_marginal_likelihood(ridge) == pytest.approx(
            naive.log_marginal_likelihood(gram, y, ridge)
        )


def test_ridge_zero_interpolates_and_its_leave_one_out_is_the_refit():
    gram = problem(n=10, bandwidth=0.1)[1]
    y = np.random.default_rng(3).normal(size=10)
    path = RidgePath(gram, y)
    np.testing.assert_allclose(path.fitted(0.0), y, atol=1e-10)
    np.testing.assert_allclose(path.leave_one_out(0.0), naive.leave_one_out(gram, y, 0.0))
    assert path.gcv(0.0) == pytest.approx(path.gcv(1e-9), rel=1e-6)


def test_ridge_zero_with_repeated_inputs_is_the_limit_from_above():
    x = np.array([[0.0], [0.0], [1.0], [2.0]])
    gram, y = gaussian_gram(x), np.array([1.0, 3.0, 0.0, -1.0])
    path = RidgePath(gram, y)
    assert path.eigenvalues[-1] == 0.0
    np.testing.assert_allclose(path.fitted(0.0), [2.0, 2.0, 0.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(path.coefficients(0.0), np.linalg.pinv(gram) @ y, atol=1e-10)
    # Small enough to be the limit, large enough for the literal solve to keep its digits.
    np.testing.assert_allclose(
        path.leave_one_out(0.0), naive.leave_one_out(gram, y, 1e-7), atol=1e-5
    )
    np.testing.assert_allclose(path.leave_one_out(1e-300), path.leave_one_out(0.0), atol=1e-12)
    assert path.gcv(0.0) == pytest.approx(path.gcv(1e-9), rel=1e-6)
    with pytest.raises(ValueError, match="singular"):
        path.log_marginal_likelihood(0.0)


def test_tiny_and_huge_ridges_stay_finite_on_a_rank_deficient_gram():
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = np.random.default_rng(1).normal(size=20)
    path = RidgePath(x @ x.T, y)
    ridges = np.array([0.0, 1e-300, 1e-20, 1e-8, 1e8, 1e300])
    least_squares = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    for values in (path.fitted(ridges), path.leave_one_out(ridges), path.gcv(ridges)):
        assert np.all(np.isfinite(values))
    np.testing.assert_allclose(path.predict(x @ x.T, ridges)[:4], [least_squares] * 4, atol=1e-8)
    np.testing.assert_allclose(path.leave_one_out(1e300), y)
    assert path.degrees_of_freedom(0.0) == 3.0


def test_one_point():
    path = RidgePath([[2.0]], [3.0])
    assert path.coefficients(1.0).tolist() == [1.0]
    assert path.leave_one_out([0.0, 1.0]).tolist() == [[3.0], [3.0]]
    assert RidgePath([[0.0]], [3.0]).fitted(0.0).tolist() == [0.0]
    assert RidgePath([[0.0]], [3.0]).leave_one_out(0.0).tolist() == [3.0]


def test_filtered_takes_a_function_or_its_values():
    _, gram, y = problem(outputs=2)
    path = RidgePath(gram, y)
    np.testing.assert_allclose(path.filtered(lambda v: v / (v + 0.1)), path.fitted(0.1))
    np.testing.assert_allclose(path.filtered(path.filter(0.1)), path.fitted(0.1))
    np.testing.assert_allclose(path.filtered(np.ones_like), y, atol=1e-12)
    assert not path.filtered(np.zeros(30)).any()
    with pytest.raises(ValueError, match="profile"):
        path.filtered(np.ones(3))


def test_with_targets_equals_a_new_path():
    _, gram, y = problem()
    other = np.random.default_rng(9).normal(size=(30, 2))
    path = RidgePath(gram, y)
    reused = path.with_targets(other)
    np.testing.assert_array_equal(reused.fitted(0.1), RidgePath(gram, other).fitted(0.1))
    np.testing.assert_array_equal(path.y, y)


def test_best_is_the_least_score():
    _, gram, y = problem()
    path = RidgePath(gram, y)
    assert path.best(RIDGES, by="gcv") == RIDGES[np.argmin(path.gcv(RIDGES))]
    assert path.best(RIDGES) == RIDGES[np.argmin(path.loo_error(RIDGES))]
    assert (
        path.best(RIDGES, by="likelihood")
        == RIDGES[np.argmax(path.log_marginal_likelihood(RIDGES))]
    )
    with pytest.raises(ValueError, match="by must be one of"):
        path.best(RIDGES, by="cv")


@pytest.mark.parametrize("ridges", [-1.0, [1.0, -1.0], np.nan, [], [[1.0]]])
def test_bad_ridges_are_refused(ridges):
    path = RidgePath(np.eye(2), np.ones(2))
    for method in (path.coefficients, path.fitted, path.gcv, path.leave_one_out, path.leverage):
        with pytest.raises(ValueError, match="ridges"):
            method(ridges)


def test_path_does_not_change_its_argument():
    gram = problem()[1]
    before = gram.copy()
    RidgePath(gram, np.ones(30))
    np.testing.assert_array_equal(gram, before)


@pytest.mark.parametrize(
    "gram", [np.ones((2, 3)), [[1.0, 2.0], [0.0, 1.0]], [[np.nan]], np.ones((0, 0)), [1.0]]
)
def test_path_refuses_bad_matrices(gram):
    with pytest.raises(ValueError, match="gram"):
        RidgePath(gram, [1.0])


def test_path_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="positive semidefinite"):
        RidgePath([[1.0, 2.0], [2.0, 1.0]], np.ones(2))
    with pytest.raises(ValueError, match="y must have length 2"):
        RidgePath(np.eye(2), np.ones(3))
    with pytest.raises(ValueError, match="y must have 2 rows"):
        RidgePath(np.eye(2), np.ones((3, 1)))
    with pytest.raises(ValueError, match="cross_gram must have 2 columns"):
        RidgePath(np.eye(2), np.ones(2)).predict(np.ones((2, 3)), 1.0)


# The same path from features


@pytest.mark.parametrize(("n", "m"), [(20, 5), (5, 20), (6, 6), (1, 3)])
@pytest.mark.parametrize("outputs", [None, 2])
def test_feature_path_agrees_with_the_dual_one(n, m, outputs):
    rng = np.random.default_rng(n + m)
    features, new = rng.normal(size=(n, m)), rng.normal(size=(4, m))
    y = rng.normal(size=n if outputs is None else (n, outputs))
    primal = FeatureRidgePath(features, y)
    dual = RidgePath(features @ features.T, y)
    for name in ("fitted", "leave_one_out", "gcv", "loo_error", "degrees_of_freedom", "leverage"):
        np.testing.assert_allclose(
            getattr(primal, name)(RIDGES), getattr(dual, name)(RIDGES), rtol=1e-8, atol=1e-10
        )
    np.testing.assert_allclose(
        primal.log_marginal_likelihood(RIDGES), dual.log_marginal_likelihood(RIDGES)
    )
    np.testing.assert_allclose(
        primal.predict(new, RIDGES), dual.predict(new @ features.T, RIDGES), atol=1e-10
    )
    for i, ridge in enumerate(RIDGES):
        direct = np.linalg.solve(features.T @ features + ridge * np.eye(m), features.T @ y)
        np.testing.assert_allclose(primal.weights(RIDGES)[i], direct, atol=1e-9)
    np.testing.assert_allclose(primal.filtered(np.ones_like), y, atol=1e-12)


def test_feature_path_with_zero_or_repeated_features():
    y = np.array([1.0, 2.0, 3.0])
    assert not FeatureRidgePath(np.zeros((3, 2)), y).fitted([0.0, 1.0]).any()
    ones = FeatureRidgePath(np.ones((3, 2)), y)
    np.testing.assert_allclose(ones.fitted(0.0), [2.0, 2.0, 2.0])
    np.testing.assert_allclose(ones.leave_one_out(0.0), [-1.5, 0.0, 1.5], atol=1e-12)
    assert ones.with_targets(2 * y).fitted(0.0)[0] == pytest.approx(4.0)


def test_feature_path_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="features"):
        FeatureRidgePath(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="y must have length 3"):
        FeatureRidgePath(np.ones((3, 2)), np.ones(2))
    with pytest.raises(ValueError, match="features must have 2 columns"):
        FeatureRidgePath(np.ones((3, 2)), np.ones(3)).predict(np.ones((3, 3)), 1.0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 10),
    st.integers(0, 10_000),
    st.floats(-6, 6),
    st.booleans(),
)
def test_path_on_random_and_repeated_inputs(n, seed, log_ridge, repeated):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, 1)).astype(float) if repeated else rng.normal(size=(n, 2))
    gram, y, ridge = gaussian_gram(x), rng.normal(size=n), 10.0**log_ridge
    path = RidgePath(gram, y)
    np.testing.assert_allclose(
        path.fitted(ridge), gram @ naive.ridge_coefficients(gram, y, ridge), atol=1e-7
    )
    np.testing.assert_allclose(
        path.leave_one_out(ridge), naive.leave_one_out(gram, y, ridge), atol=1e-5
    )
    scores = path.leverage(ridge)
    assert np.all((scores >= 0) & (scores <= 1 + 1e-12))
    assert scores.sum() == pytest.approx(path.degrees_of_freedom(ridge))
