"""Dense kernel linear algebra against plain formulas, literal refits and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute import linalg
from tests.naive import linalg as naive


def gaussian_gram(x, z=None, bandwidth=1.0):
    return naive.PlainGaussian(bandwidth).gram(x, z)


def problem(n=30, outputs=None, seed=0, bandwidth=0.5):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2))
    y = rng.normal(size=n if outputs is None else (n, outputs))
    return x, gaussian_gram(x, bandwidth=bandwidth), y


# Eigenvalues


def test_eigh_is_descending_and_rebuilds_the_matrix():
    _, gram, _ = problem()
    values, vectors = linalg.eigh(gram)
    assert np.all(np.diff(values) <= 0)
    np.testing.assert_allclose((vectors * values) @ vectors.T, gram, atol=1e-13)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(30), atol=1e-13)


def test_eigh_top_agrees_with_all_including_signs():
    _, gram, _ = problem()
    every = linalg.eigh(gram)
    some = linalg.eigh(gram, top=4)
    np.testing.assert_allclose(some.values, every.values[:4], rtol=1e-12)
    np.testing.assert_allclose(some.vectors, every.vectors[:, :4], atol=1e-10)


def test_eigenvectors_have_a_positive_leading_entry():
    vectors = linalg.eigh(-problem()[1]).vectors
    leaders = np.abs(vectors).argmax(axis=0)
    assert np.all(vectors[leaders, np.arange(30)] > 0)


@pytest.mark.parametrize(
    "matrix",
    [np.ones((2, 3)), [[1.0, 2.0], [0.0, 1.0]], [[np.nan]], np.ones((0, 0)), [1.0]],
)
def test_bad_matrices_are_refused(matrix):
    for function in (linalg.eigh, linalg.cholesky, linalg.logdet):
        with pytest.raises(ValueError, match="matrix"):
            function(matrix)


@pytest.mark.parametrize("top", [0, 3, 1.5])
def test_eigh_refuses_a_bad_top(top):
    with pytest.raises(ValueError, match="top"):
        linalg.eigh(np.eye(2), top=top)


# Cholesky


def test_cholesky_of_a_safe_matrix_adds_nothing():
    _, gram, y = problem(outputs=3)
    safe = gram + 0.1 * np.eye(30)
    factor = linalg.cholesky(safe)
    assert factor.jitter == 0.0
    np.testing.assert_allclose(factor.lower, np.linalg.cholesky(safe), atol=1e-13)
    np.testing.assert_allclose(factor.solve(y), np.linalg.solve(safe, y), rtol=1e-9)
    np.testing.assert_allclose(factor.inverse(), np.linalg.inv(safe), rtol=1e-9, atol=1e-12)
    assert factor.logdet() == pytest.approx(np.linalg.slogdet(safe)[1])
    np.testing.assert_allclose(
        np.sum(factor.half_solve(y[:, 0]) ** 2), y[:, 0] @ np.linalg.solve(safe, y[:, 0])
    )


def test_cholesky_does_not_change_its_argument():
    gram = problem()[1] + np.eye(30)
    before = gram.copy()
    linalg.cholesky(gram)
    np.testing.assert_array_equal(gram, before)


def test_repeated_inputs_get_jitter_and_report_it():
    x = np.repeat(np.linspace(0, 1, 5), 3)[:, None]
    gram = gaussian_gram(x)
    factor = linalg.cholesky(gram)
    assert 0 < factor.jitter <= 1e-9
    np.testing.assert_allclose(
        factor.lower @ factor.lower.T, gram + factor.jitter * np.eye(15), atol=1e-13
    )


def test_a_pivot_made_of_rounding_is_not_trusted():
    almost_one = np.nextafter(1.0, 0.0)
    gram = np.array([[1.0, almost_one], [almost_one, 1.0]])
    assert np.linalg.cholesky(gram)[1, 1] > 0  # LAPACK would go on with it
    assert linalg.cholesky(gram).jitter > 0


def test_asked_jitter_is_added_even_if_not_needed():
    assert linalg.cholesky(np.eye(3), jitter=0.5).jitter == 0.5
    assert linalg.logdet(np.eye(3), jitter=1.0) == pytest.approx(3 * np.log(2))


def test_one_point_and_badly_scaled_diagonals_need_no_jitter():
    assert linalg.cholesky([[1e-30]]).jitter == 0.0
    assert linalg.cholesky(np.diag([1.0, 1e-25])).jitter == 0.0


@pytest.mark.parametrize("matrix", [[[0.0]], [[-1.0]], [[1.0, 2.0], [2.0, 1.0]]])
def test_indefinite_matrices_are_refused(matrix):
    with pytest.raises(ValueError, match="positive definite"):
        linalg.cholesky(matrix)


def test_singular_without_leave_to_add_jitter_is_refused():
    with pytest.raises(ValueError, match="positive definite"):
        linalg.cholesky(np.ones((2, 2)), max_jitter=0.0)


def test_solve_checks_the_right_side():
    with pytest.raises(ValueError, match="b must have length 2"):
        linalg.solve(np.eye(2), np.ones(3))
    with pytest.raises(ValueError, match="jitter"):
        linalg.solve(np.eye(2), np.ones(2), jitter=-1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000), st.floats(-12, 6))
def test_solve_inverts_any_shifted_gram(n, seed, log_scale):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    matrix = 10.0**log_scale * (root @ root.T + 0.1 * np.eye(n))
    b = rng.normal(size=(n, 2))
    np.testing.assert_allclose(matrix @ linalg.solve(matrix, b), b, atol=1e-8)
