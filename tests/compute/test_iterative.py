"""Iterative solvers and Lanczos against dense solves, textbook loops and SciPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import cg

from kernellab.compute import iterative, linalg
from tests.naive import linalg as naive


def system(n=25, outputs=None, seed=0, shift=0.1):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2))
    matrix = naive.PlainGaussian(0.5).gram(x) + shift * np.eye(n)
    return matrix, rng.normal(size=n if outputs is None else (n, outputs))


@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_conjugate_gradients_solves(outputs):
    matrix, b = system(outputs=outputs)
    result = iterative.conjugate_gradients(matrix, b, tolerance=1e-10)
    assert result.converged
    assert result.reason == "converged"
    np.testing.assert_allclose(result.x, np.linalg.solve(matrix, b), rtol=1e-7, atol=1e-8)
    assert result.residuals.shape[1:] == b.shape[1:]
    assert np.all(result.residuals[0] == 1.0)
    assert np.all(result.residuals[-1] <= 1e-10)


def test_iterates_follow_the_textbook_and_scipy():
    matrix, b = system()
    steps = iterative.conjugate_gradient_steps(matrix, b)
    for k, iterate in enumerate(itertools.islice(steps, 6)):
        assert iterate.iteration == k
        np.testing.assert_allclose(iterate.x, naive.conjugate_gradients(matrix, b, k), atol=1e-9)
        true = np.linalg.norm(b - matrix @ iterate.x) / np.linalg.norm(b)
        assert iterate.residual == pytest.approx(true, rel=1e-6)
    limited = iterative.conjugate_gradients(matrix, b, max_iterations=5, tolerance=0.0)
    peer, _ = cg(matrix, b, maxiter=5, rtol=0.0)
    np.testing.assert_allclose(limited.x, peer, atol=1e-9)
    assert limited.reason == "iterations"
    assert limited.iterations == 5


def test_columns_do_not_depend_on_one_another():
    matrix, b = system(outputs=3)
    b[:, 1] = 0.0
    together = iterative.conjugate_gradients(matrix, b, tolerance=1e-9)
    np.testing.assert_array_equal(together.x[:, 1], 0.0)
    alone = iterative.conjugate_gradients(matrix, b[:, 2], tolerance=1e-9)
    # Later residuals differ by rounding, which conjugate gradients amplify.
    np.testing.assert_allclose(together.residuals[:8, 2], alone.residuals[:8], rtol=1e-6)
    np.testing.assert_allclose(together.x[:, 2], alone.x, atol=1e-7)


def test_a_function_serves_as_matrix_and_as_preconditioner():
    matrix, b = system(n=60, shift=1e-4)
    plain = iterative.conjugate_gradients(lambda v: matrix @ v, b, max_iterations=2000)
    exact = linalg.cholesky(matrix)
    quick = iterative.conjugate_gradients(matrix, b, preconditioner=exact.solve)
    assert quick.iterations <= 2 < plain.iterations
    np.testing.assert_allclose(quick.x, exact.solve(b), rtol=1e-5, atol=1e-5)
    jacobi = iterative.conjugate_gradients(matrix, b, preconditioner=np.diag(1 / np.diag(matrix)))
    np.testing.assert_allclose(jacobi.x, exact.solve(b), rtol=1e-2, atol=1e-2)


def test_callback_watches_and_stops():
    matrix, b = system()
    seen = []

    def watch(iterate):
        seen.append(iterate.iteration)
        return iterate.iteration == 3

    result = iterative.conjugate_gradients(matrix, b, callback=watch)
    assert seen == [1, 2, 3]
    assert result.reason == "callback"
    assert not result.converged


def test_start_at_the_solution_ends_at_once():
    matrix, b = system()
    result = iterative.conjugate_gradients(matrix, b, start=np.linalg.solve(matrix, b))
    assert result.iterations == 0
    assert iterative.conjugate_gradients(matrix, np.zeros(25)).iterations == 0
    assert iterative.conjugate_gradients([[2.0]], [4.0]).x.tolist() == [2.0]


def test_tolerance_zero_ends_by_itself():
    matrix, b = system(outputs=2)
    result = iterative.conjugate_gradients(matrix, b, tolerance=0.0, max_iterations=10_000)
    assert result.converged
    assert result.iterations < 200


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 15), st.integers(0, 9999), st.floats(-3, 2), st.floats(-8, 8))
def test_conjugate_gradients_on_random_systems(n, seed, log_shift, log_scale):
    matrix, b = system(n, outputs=2, seed=seed, shift=10.0**log_shift)
    matrix = 10.0**log_scale * matrix
    result = iterative.conjugate_gradients(matrix, b, max_iterations=500)
    assert result.converged
    np.testing.assert_allclose(matrix @ result.x, b, atol=1e-6 * np.linalg.norm(b, axis=0).max())


def test_indefinite_systems_are_refused():
    with pytest.raises(ValueError, match="matrix must be positive definite"):
        iterative.conjugate_gradients(-np.eye(3), np.ones(3))
    with pytest.raises(ValueError, match="preconditioner must be positive definite"):
        iterative.conjugate_gradients(np.eye(3), np.ones(3), preconditioner=-np.eye(3))
    with pytest.raises(ValueError, match="matrix must be positive definite"):
        iterative.conjugate_gradients(np.zeros((2, 2)), np.ones(2))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"matrix": np.ones((2, 3)), "b": np.ones(2)}, "matrix"),
        ({"matrix": np.eye(3), "b": np.ones(2)}, "matrix and b"),
        ({"matrix": np.eye(2), "b": np.array([1.0, np.nan])}, "b must be finite"),
        ({"matrix": np.eye(2), "b": 1.0}, "b must be"),
        ({"matrix": np.eye(2), "b": np.ones(2), "start": np.ones(3)}, "start"),
        ({"matrix": np.eye(2), "b": np.ones(2), "preconditioner": np.eye(3)}, "preconditioner"),
        ({"matrix": np.eye(2), "b": np.ones(2), "tolerance": -1.0}, "tolerance"),
        ({"matrix": np.eye(2), "b": np.ones(2), "max_iterations": -1}, "max_iterations"),
        ({"matrix": lambda v: v[:1], "b": np.ones(2)}, "matrix must return"),
        ({"matrix": np.eye(2), "b": np.ones(2), "preconditioner": lambda v: 1.0}, "must return"),
    ],
)
def test_solvers_refuse_what_does_not_fit(arguments, named):
    for solver in (iterative.conjugate_gradients, iterative.richardson):
        if solver is iterative.richardson and callable(arguments["matrix"]):
            arguments = {**arguments, "start": np.ones(2)}
        with pytest.raises(ValueError, match=named):
            solver(**arguments)


# Richardson


def test_richardson_is_gradient_descent_in_the_eigenbasis():
    matrix, b = system(outputs=2)
    values, vectors = np.linalg.eigh(matrix)
    step = 1.0 / values.max()
    for iterate in itertools.islice(iterative.richardson_steps(matrix, b, step), 20):
        profile = (1.0 - (1.0 - step * values) ** iterate.iteration) / values
        np.testing.assert_allclose(iterate.x, (vectors * profile) @ vectors.T @ b, atol=1e-11)


def test_richardson_converges_stops_and_diverges():
    matrix, b = system(shift=1.0)
    largest = np.linalg.eigvalsh(matrix).max()
    fine = iterative.richardson(matrix, b, 1.9 / largest)
    assert fine.converged
    np.testing.assert_allclose(fine.x, np.linalg.solve(matrix, b), atol=1e-6)
    assert iterative.richardson(matrix, b, 3.0 / largest).reason == "diverged"
    assert iterative.richardson(matrix, b, 1.0 / largest, max_iterations=3).iterations == 3
    exact = iterative.richardson(matrix, b, preconditioner=np.linalg.inv(matrix))
    assert exact.iterations == 1
    for step in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="step"):
            iterative.richardson(matrix, b, step)


# Lanczos


def test_lanczos_relation_and_orthogonality():
    matrix, b = system(n=40)
    run = iterative.lanczos(matrix, b, 12)
    tridiagonal = np.diag(run.diagonal)
    tridiagonal += np.diag(run.off_diagonal, 1) + np.diag(run.off_diagonal, -1)
    np.testing.assert_allclose(run.basis.T @ run.basis, np.eye(12), atol=1e-13)
    np.testing.assert_allclose(run.basis.T @ matrix @ run.basis, tridiagonal, atol=1e-12)
    values, vectors, errors = run.ritz()
    true = np.linalg.eigvalsh(matrix)
    for value, vector, error in zip(values, vectors.T, errors, strict=True):
        gap = np.linalg.norm(matrix @ vector - value * vector)
        assert gap == pytest.approx(error, abs=1e-11)
        assert np.abs(true - value).min() <= error + 1e-11
    assert values[0] == pytest.approx(true[-1], rel=1e-8)


def test_lanczos_stops_at_an_invariant_space():
    run = iterative.lanczos(np.diag([1.0, 1.0, 5.0, 5.0, 0.0]), np.ones(5), 5)
    assert len(run.diagonal) == 3
    assert run.last == 0.0
    np.testing.assert_allclose(run.ritz()[0], [5.0, 1.0, 0.0], atol=1e-14)
    assert iterative.lanczos(np.zeros((2, 2)), np.ones(2), 2).diagonal.tolist() == [0.0]
    assert iterative.lanczos(lambda v: 3 * v, [2.0], 1).diagonal.tolist() == [3.0]


def test_full_lanczos_finds_the_whole_spectrum():
    matrix, b = system(n=20, shift=0.0)
    values = iterative.lanczos(matrix, b, 20).ritz()[0]
    np.testing.assert_allclose(values[:8], np.linalg.eigvalsh(matrix)[::-1][:8], rtol=1e-8)


def test_lanczos_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="start must not be the zero"):
        iterative.lanczos(np.eye(2), np.zeros(2), 1)
    for steps in (0, 3, 1.5):
        with pytest.raises(ValueError, match="steps"):
            iterative.lanczos(np.eye(2), np.ones(2), steps)
    with pytest.raises(ValueError, match="start must be a vector"):
        iterative.lanczos(np.eye(2), np.ones((2, 1)), 1)


def test_trace_of_function_estimates_the_log_determinant():
    matrix, _ = system(n=80, shift=0.5)
    exact = np.linalg.slogdet(matrix)[1]
    estimate = iterative.trace_of_function(matrix, np.log, 80, probes=60, rng=0)
    assert abs(estimate.value - exact) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.1 * abs(exact)
    again = iterative.trace_of_function(lambda v: matrix @ v, np.log, 80, probes=60, rng=0)
    assert again.value == pytest.approx(estimate.value)


def test_trace_of_function_is_exact_on_diagonal_matrices():
    estimate = iterative.trace_of_function(np.diag([1.0, 2.0, 4.0]), np.log2, 3, rng=1)
    assert estimate.value == pytest.approx(3.0)
    assert estimate.standard_error < 1e-12


def test_trace_of_function_refuses_what_does_not_fit():
    for bad in ({"n": 3}, {"probes": 1}, {"steps": 0}, {"rng": None}):
        with pytest.raises(ValueError, match=next(iter(bad)) if "n" not in bad else "matrix"):
            iterative.trace_of_function(np.eye(2), np.log, **{"n": 2, "rng": 0, **bad})
    with pytest.raises(ValueError, match="function must be finite"):
        iterative.trace_of_function(np.diag([1.0, -1.0]), np.log, 2, rng=0)
