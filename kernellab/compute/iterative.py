"""Solvers and spectra that only multiply by a matrix: conjugate gradients, Richardson, Lanczos.

A matrix is given as an array, or as a function ``v -> A v`` (say, a kernel's ``matvec``, which
never forms the matrix). A preconditioner likewise: an array or a function that approximates the
inverse (``lowrank.LowRankPlusDiagonal.solve``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg as sla

from kernellab.compute import checks

Operator = Callable[[np.ndarray], np.ndarray]

# A residual this many times the right-hand side is a divergence that will not turn round.
DIVERGED = 1e10


class Iterate(NamedTuple):
    """Where an iteration stands.

    ``residual`` is ||b - A x|| / ||b||: a float, or shape (p,) for p right-hand sides.
    """

    iteration: int
    x: np.ndarray
    residual: float | np.ndarray


@dataclass(frozen=True)
class Solution:
    """What an iterative solver returns.

    Attributes
    ----------
    x : the solution, with the shape of b.
    residuals : relative residuals before the first and after each iteration, (iterations + 1,) or
        (iterations + 1, p).
    reason : why it ended: "converged", "iterations" (the limit), "callback" or "diverged".
    """

    x: np.ndarray
    residuals: np.ndarray
    reason: str

    @property
    def iterations(self) -> int:
        return len(self.residuals) - 1

    @property
    def converged(self) -> bool:
        return self.reason == "converged"


def conjugate_gradients(
    matrix,
    b,
    *,
    preconditioner=None,
    start=None,
    tolerance: float = 1e-8,
    max_iterations: int | None = None,
    callback: Callable[[Iterate], bool | None] | None = None,
) -> Solution:
    """Solve ``A x = b`` for a symmetric positive definite A by preconditioned conjugate gradients.

    With r = b - A x, z = M r and direction d:  x += a d,  a = <r, z> / <d, A d>,
    d <- z + (<r', z'> / <r, z>) d.  Every right-hand side has its own a; one that has converged
    rests while the others go on.

    Parameters
    ----------
    matrix : (n, n) symmetric positive definite, or a function v -> A v that takes b's shape.
    b : (n,) or (n, p).
    preconditioner : (n, n) or a function r -> M r; symmetric positive definite, close to A^{-1}.
    start : first x, with b's shape (default: zeros).
    tolerance : stop when every ||b - A x|| <= tolerance ||b||.
    max_iterations : default 10 n.
    callback : called with an :class:`Iterate` after each iteration; ends the run by returning True.

    Returns
    -------
    Solution : x, the history of residuals (as the recursion tracks them) and why it ended.

    Raises
    ------
    ValueError : on bad shapes, or when A or the preconditioner turns out not to be positive
        definite.

    Cost: one product with A (O(n^2 p) for an array) and one with M an iteration. The error falls at
    least by (sqrt(c) - 1) / (sqrt(c) + 1) an iteration, c the condition number of M A.
    Source: Hestenes and Stiefel (1952).

    >>> conjugate_gradients([[2.0, 0.0], [0.0, 4.0]], [2.0, 4.0]).x.round(12).tolist()
    [1.0, 1.0]
    """
    steps = conjugate_gradient_steps(matrix, b, preconditioner=preconditioner, start=start)
    return _run(steps, np.shape(b)[0], tolerance, max_iterations, callback)


def conjugate_gradient_steps(matrix, b, *, preconditioner=None, start=None) -> Iterator[Iterate]:
    """Iterates of :func:`conjugate_gradients`, one a step, for callers who watch them.

    Yields an :class:`Iterate` for the start and after every step, until all residuals are zero up
    to rounding. Same arguments and errors.
    """
    b, multiply = _system(matrix, b)
    precondition = _operator("preconditioner", preconditioner, b)
    x = _start(start, b)
    return _conjugate_gradient_steps(multiply, b, precondition, x)


def _conjugate_gradient_steps(multiply, b, precondition, x) -> Iterator[Iterate]:
    scale = _lengths(b)
    residual = b - multiply(x) if x.any() else b.copy()
    direction = np.zeros_like(b)
    last = np.ones_like(scale)
    # Below this a residual is rounding, and another step would divide noise by noise.
    floor = np.finfo(float).eps * scale
    iteration = 0
    while True:
        length = _lengths(residual)
        yield Iterate(iteration, x, _relative(length, scale))
        active = length > floor
        if not active.any():
            return
        image = precondition(residual)
        product = _dots(residual, image)
        _require_positive("preconditioner", product, active)
        direction = image + np.where(active & (iteration > 0), product / last, 0.0) * direction
        forward = multiply(direction)
        curvature = _dots(direction, forward)
        _require_positive("matrix", curvature, active)
        step = np.where(active, product / np.where(active, curvature, 1.0), 0.0)
        x = x + step * direction
        residual = residual - step * forward
        last = np.where(active, product, 1.0)
        iteration += 1


def richardson(
    matrix,
    b,
    step: float = 1.0,
    *,
    preconditioner=None,
    start=None,
    tolerance: float = 1e-8,
    max_iterations: int = 1000,
    callback: Callable[[Iterate], bool | None] | None = None,
) -> Solution:
    """Solve ``A x = b`` by Richardson iteration, ``x <- x + step M (b - A x)``.

    For a kernel matrix this is gradient descent on kernel regression; M is the preconditioner.

    Parameters
    ----------
    matrix, b, preconditioner, start, tolerance, callback : as in :func:`conjugate_gradients`; A
        need not be symmetric here when it is given as a function.
    step : positive; converges for a symmetric positive M A if step < 2 / (largest eigenvalue).
    max_iterations : at most this many steps.

    Returns
    -------
    Solution : its ``reason`` is "diverged" when the residual has grown 1e10-fold.

    Raises ValueError on bad shapes or a step that is not positive.

    Cost: one product with A and one with M an iteration.

    >>> richardson([[1.0]], [2.0], step=1.0).x.tolist()
    [2.0]
    """
    steps = richardson_steps(matrix, b, step, preconditioner=preconditioner, start=start)
    return _run(steps, np.shape(b)[0], tolerance, max_iterations, callback)


def richardson_steps(
    matrix, b, step: float = 1.0, *, preconditioner=None, start=None
) -> Iterator[Iterate]:
    """Iterates of :func:`richardson`, one a step, without end. Same arguments and errors."""
    b, multiply = _system(matrix, b)
    step = checks.positive("step", step)
    precondition = _operator("preconditioner", preconditioner, b)
    x = _start(start, b)
    return _richardson_steps(multiply, b, step, precondition, x)


def _richardson_steps(multiply, b, step, precondition, x) -> Iterator[Iterate]:
    scale = _lengths(b)
    iteration = 0
    while True:
        residual = b - multiply(x)
        yield Iterate(iteration, x, _relative(_lengths(residual), scale))
        x = x + step * precondition(residual)
        iteration += 1


# --- What the solvers share ---------------------------------------------------------------------


def _run(steps, n, tolerance, max_iterations, callback) -> Solution:
    tolerance = checks.nonnegative("tolerance", tolerance)
    limit = 10 * n if max_iterations is None else max_iterations
    limit = checks.integer("max_iterations", limit, low=0)
    residuals = []
    reason = "converged"  # a generator that ends has nothing left to improve
    for iterate in steps:
        residuals.append(iterate.residual)
        worst = np.max(iterate.residual)
        if worst <= tolerance:
            break
        if not worst < DIVERGED:
            reason = "diverged"
            break
        if callback is not None and iterate.iteration > 0 and callback(iterate):
            reason = "callback"
            break
        if iterate.iteration >= limit:
            reason = "iterations"
            break
    return Solution(iterate.x, np.array(residuals), reason)


def _system(matrix, b) -> tuple[np.ndarray, Operator]:
    """Check both sides of A x = b."""
    b = checks.as_vector("b", b) if np.ndim(b) == 1 else checks.as_matrix("b", b)
    if callable(matrix):
        return b, _checked("matrix", matrix)
    matrix = checks.symmetric("matrix", matrix)
    if len(matrix) != len(b):
        raise ValueError(
            f"matrix and b must have the same number of rows, got {len(matrix)} and {len(b)}"
        )
    return b, lambda v: matrix @ v


def _operator(name: str, operator, b: np.ndarray) -> Operator:
    """Check a preconditioner and give it as a function; None is the identity."""
    if operator is None:
        return lambda v: v
    if callable(operator):
        return _checked(name, operator)
    array = checks.as_matrix(name, operator, rows=len(b), columns=len(b))
    return lambda v: array @ v


def _checked(name: str, function: Operator) -> Operator:
    """Wrap a caller's function so that a wrong shape does not broadcast its way in."""

    def apply(v: np.ndarray) -> np.ndarray:
        result = np.asarray(function(v), dtype=np.float64)
        if result.shape != v.shape:
            raise ValueError(
                f"{name} must return an array of shape {v.shape}, as it was given, "
                f"got shape {result.shape}"
            )
        return result

    return apply


def _start(start, b: np.ndarray) -> np.ndarray:
    if start is None:
        return np.zeros_like(b)
    if b.ndim == 1:
        return checks.as_vector("start", start, length=len(b))
    return checks.as_matrix("start", start, rows=b.shape[0], columns=b.shape[1])


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products column by column; one number for vectors."""
    return np.einsum("i...,i...->...", a, b)


def _lengths(a: np.ndarray) -> np.ndarray:
    return np.sqrt(_dots(a, a))


def _relative(length: np.ndarray, scale: np.ndarray) -> float | np.ndarray:
    """Residual relative to b; where b = 0 the residual itself."""
    ratio = length / np.where(scale > 0.0, scale, 1.0)
    return float(ratio) if np.ndim(ratio) == 0 else ratio


def _require_positive(name: str, values: np.ndarray, active: np.ndarray) -> None:
    if np.any(active & ~(values > 0.0)):
        raise ValueError(
            f"{name} must be positive definite, but a direction d has <d, {name} d> = "
            f"{float(np.min(np.where(active, values, np.inf))):.3g}"
        )


# --- Spectra by multiplication --------------------------------------------------------------------


@dataclass(frozen=True)
class Lanczos:
    """A Krylov basis Q with ``Q^T A Q`` tridiagonal.

    Attributes
    ----------
    basis : (n, k) orthonormal.
    diagonal : (k,); off_diagonal : (k - 1,): the tridiagonal matrix.
    last : length of what the next vector would add; 0 when the basis is invariant under A.
    """

    basis: np.ndarray
    diagonal: np.ndarray
    off_diagonal: np.ndarray
    last: float

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Approximate eigenpairs of A and how far off they may be.

        Returns
        -------
        values : (k,) descending.
        vectors : (n, k), one a column.
        errors : (k,) ||A v - value v||; an eigenvalue of A lies within it of the value.
        """
        values, small = sla.eigh_tridiagonal(self.diagonal, self.off_diagonal)
        errors = self.last * np.abs(small[-1])
        return values[::-1].copy(), (self.basis @ small)[:, ::-1].copy(), errors[::-1].copy()


def lanczos(matrix, start, steps: int) -> Lanczos:
    """Lanczos tridiagonalisation of a symmetric matrix with full reorthogonalisation.

    A Q = Q T + last q e_k^T.  Ends early when the space spanned is invariant under A.

    Parameters
    ----------
    matrix : (n, n) symmetric, or a function v -> A v for vectors.
    start : (n,) nonzero first vector; a random one finds the ends of the spectrum.
    steps : how many basis vectors, 1..n.

    Returns
    -------
    Lanczos : with at most ``steps`` basis vectors.

    Raises ValueError on bad shapes, a zero start, or steps outside 1..n.

    Cost: one product with A a step, plus O(n steps^2) to keep the basis orthogonal.
    Source: Lanczos (1950).

    >>> lanczos([[2.0, 0.0], [0.0, 2.0]], [1.0, 0.0], steps=2).diagonal.tolist()
    [2.0]
    """
    start, multiply = _system(matrix, checks.as_vector("start", start))
    n = len(start)
    steps = checks.integer("steps", steps, low=1, high=n)
    if not start.any():
        raise ValueError("start must not be the zero vector")
    rows = np.zeros((steps, n))  # basis vectors as rows, so that each is contiguous
    diagonal, lengths = [], []
    vector = start / np.linalg.norm(start)
    for k in range(steps):
        rows[k] = vector
        vector = multiply(rows[k])
        diagonal.append(float(rows[k] @ vector))
        size = np.linalg.norm(vector)
        # Twice is enough (Kahan): once leaves rounding of the size of what was removed.
        for _ in range(2):
            vector = vector - rows[: k + 1].T @ (rows[: k + 1] @ vector)
        lengths.append(float(np.linalg.norm(vector)))
        if lengths[-1] <= n * np.finfo(float).eps * size:
            lengths[-1] = 0.0
            break
        vector = vector / lengths[-1]
    k = len(diagonal)
    return Lanczos(rows[:k].T.copy(), np.array(diagonal), np.array(lengths[:-1]), lengths[-1])


class TraceEstimate(NamedTuple):
    """A mean over random probes and its standard error."""

    value: float
    standard_error: float


def trace_of_function(
    matrix,
    function: Callable[[np.ndarray], np.ndarray],
    n: int,
    *,
    steps: int = 30,
    probes: int = 16,
    rng,
) -> TraceEstimate:
    """Estimate ``tr f(A)`` by stochastic Lanczos quadrature; f = log gives ``log det A``.

    tr f(A) ~ (n / probes) sum_z sum_k w_k f(theta_k): for each random sign vector z, Lanczos gives
    nodes theta_k (Ritz values) and weights w_k (squared first entries of their vectors).

    Parameters
    ----------
    matrix : (n, n) symmetric, or a function v -> A v for vectors.
    function : acts on an array of eigenvalues.
    n : size of A.
    steps : Lanczos steps a probe. probes : number of random vectors, at least 2.
    rng : Generator or seed.

    Returns
    -------
    TraceEstimate : value and its standard error over the probes (which does not see the bias left
        by too few steps).

    Raises ValueError on bad arguments, or where f is not finite on the nodes.

    Cost: probes * steps products with A, and O(probes n steps^2).
    Source: Ubaru, Chen and Saad (2017); Hutchinson (1989).
    """
    n = checks.integer("n", n, low=1)
    steps = min(checks.integer("steps", steps, low=1), n)
    probes = checks.integer("probes", probes, low=2)
    rng = checks.as_rng(rng)
    if not callable(matrix):
        array = checks.symmetric("matrix", matrix)
        if len(array) != n:
            raise ValueError(f"matrix must be {n} x {n}, got shape {array.shape}")
        matrix = array.__matmul__
    values = np.empty(probes)
    for i in range(probes):
        signs = rng.choice([-1.0, 1.0], size=n)
        run = lanczos(matrix, signs, steps)
        nodes, small = sla.eigh_tridiagonal(run.diagonal, run.off_diagonal)
        with np.errstate(invalid="ignore", divide="ignore"):
            images = function(nodes)
        if not np.all(np.isfinite(images)):
            raise ValueError(
                f"function must be finite on the spectrum, which reaches from {nodes.min():.3g} "
                f"to {nodes.max():.3g}"
            )
        values[i] = n * float(small[0] ** 2 @ images)
    return TraceEstimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(probes)))
