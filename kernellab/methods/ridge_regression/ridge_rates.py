"""Rates of kernel ridge regression, and what it costs to interpolate.

Two numbers decide how fast the error of ridge regression falls: how fast the kernel's eigenvalues
decay, l_i ~ i^-beta, and how fast the target's coefficients do, which its smoothness s counts in
powers of the eigenvalues. The sections follow the lab's papers:

1. misspecified ridge regression in a Sobolev space (Zhang et al. 2023)
2. kernel classifiers and the estimation of smoothness (Lai et al. 2024)
3. the cost of overfitting, from the spectrum alone (Zhou et al. 2023)
4. generalisation bounds from pairs of points (Wang and Mao 2023)

One scale throughout sections 1 and 2: ``ridge`` is the eta of l/(l + eta) on the eigenvalues of
K/n. Section 3 keeps its paper's delta, a penalty on K itself: delta = n eta.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.optimize import minimize_scalar
from scipy.sparse.linalg import LinearOperator, eigsh

from kernellab.compute import compiled
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
    symmetric,
)
from kernellab.compute.rates import log_log_slope

# The first-order Sobolev space of [0, 1] has eigenvalues 1/(1 + pi^2 k^2), so beta = 2.
SOBOLEV_BETA = 2.0

# 1. Misspecified kernel ridge regression
#
# The kernel of H^1[0, 1] is Markov: the inverse of its Gram matrix at sorted points is tridiagonal.
# An exact fit therefore costs O(n) where a general kernel needs O(n^3), and learning curves up to
# tens of thousands of points are drawn while the hand is on the slider.


def sobolev_gram(x, z=None) -> np.ndarray:
    """Return the Gram matrix of the first-order Sobolev space H^1[0, 1].

    k(x, z) = cosh(min(x, z)) cosh(1 - max(x, z)) / sinh(1), the kernel of the norm
    ||f||^2 = int f^2 + int f'^2; its eigenvalues for uniform inputs are 1/(1 + pi^2 k^2), k >= 0.

    Paper: on-the-optimality-of-misspecified-kernel (Zhang et al. 2023, arXiv:2305.07241)

    Parameters
    ----------
    x : shape (n,), points in [0, 1]
    z : shape (m,), points in [0, 1]; None: the same points

    Returns
    -------
    matrix, shape (n, m)

    Raises
    ------
    ValueError : not a vector, or points outside [0, 1].

    Cost: O(n m).

    >>> sobolev_gram([0.0, 1.0]).round(3)
    array([[1.313, 0.851],
           [0.851, 1.313]])
    """
    x = _unit_points("x", x)
    z = x if z is None else _unit_points("z", z)
    gram = np.empty((x.size, z.size))
    _sobolev_gram(x, z, gram)
    return gram


@compiled("void(float64[::1], float64[::1], float64[:,::1])", fastmath=True)
def _sobolev_gram(x, z, out):
    left, right = np.cosh(z), np.cosh(1.0 - z)
    scale = 1.0 / np.sinh(1.0)
    for i in range(x.size):
        here, left_x, right_x = x[i], np.cosh(x[i]) * scale, np.cosh(1.0 - x[i]) * scale
        for j in range(z.size):
            out[i, j] = left_x * right[j] if here < z[j] else left[j] * right_x


def sobolev_eigenvalues(count: int) -> np.ndarray:
    """Return the ``count`` largest Mercer eigenvalues 1/(1 + pi^2 k^2), k >= 0.

    The inputs are uniform; the eigenfunctions are 1 and sqrt(2) cos(pi k x).

    Paper: on-the-optimality-of-misspecified-kernel (Zhang et al. 2023, arXiv:2305.07241)
    """
    k = np.arange(integer("count", count, low=1))
    return 1.0 / (1.0 + (math.pi * k) ** 2)


@dataclass(frozen=True)
class SobolevFit:
    """A function of H^1[0, 1] that is known by its values at sorted nodes.

    Between the nodes it is the function of least norm through these values.
    """

    nodes: np.ndarray
    values: np.ndarray

    def predict(self, at) -> np.ndarray:
        """Return the function's values at points of [0, 1], shape (m,). Cost: O(m log m + n)."""
        at = _unit_points("at", at)
        order = np.argsort(at, kind="stable")
        sorted_values = np.empty((1, at.size))
        _sobolev_predict(self.nodes, self.values[None, :], at[order], sorted_values)
        values = np.empty(at.size)
        values[order] = sorted_values[0]
        return values

    def norm(self) -> float:
        """Return the norm sqrt(int f^2 + int f'^2)."""
        diagonal, off = _sobolev_precision(self.nodes)
        f = self.values
        squared = np.sum(diagonal * f * f) + 2.0 * np.sum(off[:-1] * f[:-1] * f[1:])
        return math.sqrt(max(squared, 0.0))


def sobolev_ridge(x, y, ridge: float) -> SobolevFit:
    """Fit kernel ridge regression in H^1[0, 1], exactly and in linear time.

    argmin_f (1/n) sum (f(x_i) - y_i)^2 + ridge ||f||^2. At the sorted points the fit solves
    (I + n ridge P) f = y with P = K^-1, which is tridiagonal.

    Paper: on-the-optimality-of-misspecified-kernel (Zhang et al. 2023, arXiv:2305.07241)

    Parameters
    ----------
    x : shape (n,), distinct points in [0, 1], in any order
    y : shape (n,), observations
    ridge : penalty >= 0; 0 interpolates

    Returns
    -------
    the fitted function, with ``predict``

    Raises
    ------
    ValueError : points outside [0, 1] or repeated, another length of y, negative ridge.

    Cost: O(n log n) for the sort, O(n) for the solve.

    >>> fit = sobolev_ridge([0.2, 0.8], [1.0, -1.0], ridge=0.0)
    >>> fit.predict([0.2, 0.5, 0.8]).round(6) + 0.0
    array([ 1.,  0., -1.])
    """
    x = _unit_points("x", x)
    y = as_vector("y", y, x.size)
    ridge = nonnegative("ridge", ridge)
    order = np.argsort(x, kind="stable")
    nodes = x[order]
    _distinct("x", nodes)
    values = np.empty((1, x.size))
    _sobolev_path(nodes, y[order], np.array([ridge]), values)
    return SobolevFit(nodes, values[0])


@compiled("Tuple((float64[::1], float64[::1]))(float64[::1])")
def _sobolev_precision(x):
    """Return the diagonal of K^-1 and the entries beside it, for sorted distinct points."""
    n = x.size
    diagonal, off = np.zeros(n), np.zeros(n)
    diagonal[0] += np.tanh(x[0])
    diagonal[n - 1] += np.tanh(1.0 - x[n - 1])
    for i in range(n - 1):
        h = x[i + 1] - x[i]
        away = 1.0 / np.tanh(h)
        diagonal[i] += away
        diagonal[i + 1] += away
        off[i] = -1.0 / np.sinh(h)
    return diagonal, off


@compiled("void(float64[::1], float64[::1], float64[::1], float64[:,::1])")
def _sobolev_path(x, y, ridges, out):
    """Solve (I + n ridge P) f = y for every ridge: elimination down, substitution up."""
    n = x.size
    diagonal, off = _sobolev_precision(x)
    ratio = np.empty(n)
    for r in range(ridges.size):
        c = n * ridges[r]
        pivot = 1.0 + c * diagonal[0]
        out[r, 0] = y[0] / pivot
        for i in range(1, n):
            ratio[i - 1] = c * off[i - 1] / pivot
            pivot = 1.0 + c * diagonal[i] - c * off[i - 1] * ratio[i - 1]
            out[r, i] = (y[i] - c * off[i - 1] * out[r, i - 1]) / pivot
        for i in range(n - 2, -1, -1):
            out[r, i] -= ratio[i] * out[r, i + 1]


@compiled("void(float64[::1], float64[:,::1], float64[::1], float64[:,::1])")
def _sobolev_predict(x, values, at, out):
    """Evaluate functions of least norm at sorted points (several functions on the same nodes)."""
    n, count = x.size, values.shape[0]
    i = 0
    for j in range(at.size):
        while i < n and x[i] <= at[j]:
            i += 1
        if i == 0:
            weight = np.cosh(at[j]) / np.cosh(x[0])
            for r in range(count):
                out[r, j] = weight * values[r, 0]
        elif i == n:
            weight = np.cosh(1.0 - at[j]) / np.cosh(1.0 - x[n - 1])
            for r in range(count):
                out[r, j] = weight * values[r, n - 1]
        else:
            whole = np.sinh(x[i] - x[i - 1])
            before = np.sinh(x[i] - at[j]) / whole
            after = np.sinh(at[j] - x[i - 1]) / whole
            for r in range(count):
                out[r, j] = before * values[r, i - 1] + after * values[r, i]


def fourier_target(x, smoothness: float, terms: int = 1500) -> np.ndarray:
    """Return a target of a chosen smoothness s at points x.

    f(x) = sum_{k=1}^{terms} k^-(s + 1/2) (sin 2 pi k x + cos 2 pi k x)

    Its coefficients lie on the border of the interpolation space [H]^s of H = H^1[0, 1]. With more
    terms its supremum grows without bound when s <= 1/2, while its square integral,
    sum k^-(2 s + 1), stays finite.

    Paper: on-the-optimality-of-misspecified-kernel (Zhang et al. 2023, arXiv:2305.07241)

    Parameters
    ----------
    x : shape (n,), points (the period is 1)
    smoothness : s > 0
    terms : where the series is cut

    Returns
    -------
    values, shape (n,)

    Raises
    ------
    ValueError : smoothness not positive, terms below 1.

    Cost: O(n terms), by Clenshaw's recurrence: no sine inside the loop.

    >>> fourier_target([0.0, 0.25], smoothness=0.5, terms=1).round(6)
    array([1., 1.])
    """
    x = as_vector("x", x)
    coefficients = _target_coefficients(smoothness, terms)
    values = np.empty(x.size)
    _fourier_sum(x - np.floor(x), coefficients, values)
    return values


@compiled("void(float64[::1], float64[::1], float64[::1])", fastmath={"contract"})
def _fourier_sum(x, coefficients, out):
    """Sum a_k (sin 2 pi k x + cos 2 pi k x) for a block of points at a time, so that SIMD works.

    Four steps of the recurrence at once: its running values are fetched and stored once in four.
    """
    block = 64
    last = coefficients.size - 1
    first_steps = coefficients.size % 4
    twice, newer, older = np.empty(block), np.empty(block), np.empty(block)
    for start in range(0, x.size, block):
        width = min(block, x.size - start)
        for j in range(block):
            angle = 2.0 * np.pi * x[start + min(j, width - 1)]
            twice[j] = 2.0 * np.cos(angle)
            newer[j] = 0.0
            older[j] = 0.0
        for k in range(last, last - first_steps, -1):
            a = coefficients[k]
            for j in range(block):
                value = a + twice[j] * newer[j] - older[j]
                older[j] = newer[j]
                newer[j] = value
        for k in range(last - first_steps, -1, -4):
            a, b, c, d = (
                coefficients[k],
                coefficients[k - 1],
                coefficients[k - 2],
                coefficients[k - 3],
            )
            for j in range(block):
                t = twice[j]
                first = a + t * newer[j] - older[j]
                second = b + t * first - newer[j]
                third = c + t * second - first
                older[j] = third
                newer[j] = d + t * third - second
        for j in range(width):
            sine = np.sin(2.0 * np.pi * x[start + j])
            out[start + j] = newer[j] * (0.5 * twice[j] + sine) - older[j]


def target_power(smoothness: float, terms: int = 1500) -> float:
    """Return the mean square of ``fourier_target`` over [0, 1], sum k^-(2 s + 1) (Parseval).

    Paper: on-the-optimality-of-misspecified-kernel (Zhang et al. 2023, arXiv:2305.07241)
    """
    return float(np.sum(_target_coefficients(smoothness, terms) ** 2))


def rate_exponent(smoothness: float, beta: float) -> float:
    """Return the exponent r of the best rate n^-r of the squared L2 error, s beta/(s beta + 1).

    Ridge regression attains it up to s = 2 and not beyond (saturation), so s counts as at most 2.

    Paper: on-the-optimality-of-misspecified-kernel (Zhang et al. 2023, arXiv:2305.07241)

    Parameters
    ----------
    smoothness : s > 0, of the target, which lies in [H]^s
    beta : > 1, decay of the eigenvalues, l_i ~ i^-beta

    >>> rate_exponent(0.5, 2.0)
    0.5
    """
    s, beta = min(positive("smoothness", smoothness), 2.0), _decay("beta", beta)
    return s * beta / (s * beta + 1.0)


def theory_ridge(n: int, smoothness: float, beta: float, scale: float = 1.0) -> float:
    """Return the penalty that attains the best rate, scale * n^(-beta/(s beta + 1)).

    It also works for targets outside the space, s < 1; for s < 1 - 1/beta it falls faster than 1/n.

    Paper: on-the-optimality-of-misspecified-kernel (Zhang et al. 2023, arXiv:2305.07241)

    >>> theory_ridge(100, smoothness=0.5, beta=2.0)
    0.01
    """
    n = integer("n", n, low=1)
    s, beta = min(positive("smoothness", smoothness), 2.0), _decay("beta", beta)
    return positive("scale", scale) * float(n) ** (-beta / (s * beta + 1.0))


PENALTIES = ("theory", "tuned", "fixed", "zero")


@dataclass(frozen=True)
class LearningCurve:
    """Errors of a learner against the number of points; arrays of shape (sizes, repeats).

    ``risks`` are squared L2 errors, ``absolute`` L1 errors, ``excess`` the classification risk
    over the best possible (None for regression), ``ridges`` the penalties used.
    """

    sizes: np.ndarray
    ridges: np.ndarray
    risks: np.ndarray
    absolute: np.ndarray
    excess: np.ndarray | None = None

    def slope(self, name: str = "risks") -> float:
        """Return the log-log slope of the mean over repeats of ``risks`` or ``excess``."""
        one_of("name", name, ("risks", "absolute", "excess"))
        values = getattr(self, name)
        if values is None:
            raise ValueError("name must be 'risks' or 'absolute' for regression, got 'excess'")
        return log_log_slope(self.sizes, values.mean(axis=1))


def regression_curve(
    sizes: Sequence[int],
    smoothness: float,
    noise: float,
    penalty: str = "theory",
    scale: float = 0.03,
    repeats: int = 5,
    terms: int = 1500,
    rng=0,
) -> LearningCurve:
    """Measure how the error of ridge regression in H^1[0, 1] falls with the number of points.

    Points are uniform, y = f(x) + noise * N(0, 1), with f the ``fourier_target``; the error
    int (fit - f)^2 is a mean over 4096 points, one in each cell.

    Paper: on-the-optimality-of-misspecified-kernel (Zhang et al. 2023, arXiv:2305.07241)

    Parameters
    ----------
    sizes : numbers of points, each at least 2
    smoothness : s > 0 of the target; above 3/2 its slope at the ends of [0, 1], which functions
        of the smoother spaces must not have, keeps the rate at that of s = 3/2
    noise : standard deviation of the noise, >= 0
    penalty : "theory": ``theory_ridge``; "tuned": the best of 17 multiples 10^-2 .. 10^2 of it,
        judged by the true error (an oracle); "fixed": the theory's value for the smallest size,
        kept for all; "zero": interpolation
    scale : factor of the theory's penalty
    repeats : independent draws per size
    terms : where the target's series is cut
    rng : Generator or int seed

    Returns
    -------
    ``LearningCurve``

    Raises
    ------
    ValueError : an unknown penalty, sizes below 2, or numbers out of range.

    Cost: O(repeats * sum(sizes) * terms), nearly all of it for the target's series.
    """
    noise = nonnegative("noise", noise)

    def observe(target, rng):
        return target + noise * rng.standard_normal(target.size)

    return _learning_curve(
        sizes, smoothness, observe, 1.0, penalty, scale, repeats, terms, rng, False
    )


# One point in each of 4096 cells, moved by golden-ratio steps: equispaced points would see
# harmonics 4096 apart as one and the same.
_GRID = (np.arange(4096) + (0.5 + np.arange(4096)) * 0.6180339887498949 % 1.0) / 4096
_MULTIPLES = np.logspace(-2.0, 2.0, 17)


def _learning_curve(
    sizes, smoothness, observe, divisor, penalty, scale, repeats, terms, rng, classify
) -> LearningCurve:
    """Fit ``observe(target(x), rng)`` at every size and compare with the target on the grid."""
    sizes = [integer("sizes", n, low=2) for n in sizes]
    if not sizes:
        raise ValueError("sizes must hold at least one number of points, got none")
    one_of("penalty", penalty, PENALTIES)
    repeats = integer("repeats", repeats, low=1)
    rng = as_rng(rng)
    truth = fourier_target(_GRID, smoothness, terms) / divisor
    shape = (len(sizes), repeats)
    ridges, risks, absolute, excess = (np.empty(shape) for _ in range(4))
    for i, n in enumerate(sizes):
        base = theory_ridge(
            min(sizes) if penalty == "fixed" else n, smoothness, SOBOLEV_BETA, scale
        )
        path = {"tuned": base * _MULTIPLES, "zero": np.zeros(1)}.get(penalty, np.array([base]))
        for j in range(repeats):
            x = np.sort(rng.random(n))
            y = observe(fourier_target(x, smoothness, terms) / divisor, rng)
            fits = _fits_on_grid(x, y, path)
            errors = np.mean((fits - truth) ** 2, axis=1)
            best = int(np.argmin(errors))
            ridges[i, j], risks[i, j] = path[best], errors[best]
            absolute[i, j] = np.mean(np.abs(fits[best] - truth))
            excess[i, j] = excess_risk(fits[best], truth) if classify else 0.0
    return LearningCurve(np.array(sizes), ridges, risks, absolute, excess if classify else None)


def _fits_on_grid(x, y, ridges) -> np.ndarray:
    """Return the fits for several ridges on the grid, shape (ridges, grid points)."""
    values = np.empty((ridges.size, x.size))
    _sobolev_path(x, y, ridges, values)
    fits = np.empty((ridges.size, _GRID.size))
    _sobolev_predict(x, values, _GRID, fits)
    return fits


# 2. Kernel classifiers, and how smooth the labels are


def classification_target(x, smoothness: float, terms: int = 1500) -> np.ndarray:
    """Return 2 P(Y = 1 | x) - 1: the ``fourier_target`` divided by its largest absolute value.

    The maximum is taken over 4096 points of [0, 1] and the points x together.

    Paper: the-optimality-of-kernel-classifiers (Lai et al. 2024, arXiv:2402.01148)
    """
    values = fourier_target(x, smoothness, terms)
    return values / max(_target_maximum(smoothness, terms), float(np.abs(values).max()))


def draw_labels(target, rng) -> np.ndarray:
    """Return labels +1 and -1 with P(Y = 1) = (1 + target)/2.

    Paper: the-optimality-of-kernel-classifiers (Lai et al. 2024, arXiv:2402.01148)

    Parameters
    ----------
    target : shape (n,), values in [-1, 1] of 2 P(Y = 1 | x) - 1
    rng : Generator or int seed

    Raises
    ------
    ValueError : a target outside [-1, 1].

    >>> draw_labels([1.0, -1.0], rng=0)
    array([ 1., -1.])
    """
    target = as_vector("target", target)
    if np.abs(target).max() > 1.0:
        raise ValueError(f"target must lie between -1 and 1, got {target[np.abs(target).argmax()]}")
    return np.where(as_rng(rng).random(target.size) < 0.5 * (1.0 + target), 1.0, -1.0)


def excess_risk(fit, target) -> float:
    """Return how much more often sign(fit) errs than the best classifier, sign(target).

    The mean of |target| over the points where the two signs differ. It is never larger than the
    mean of |fit - target|, because there |target| <= |fit - target|.

    Paper: the-optimality-of-kernel-classifiers (Lai et al. 2024, arXiv:2402.01148)

    Parameters
    ----------
    fit : shape (m,), fitted values at points that stand for the input distribution
    target : shape (m,), 2 P(Y = 1 | x) - 1 at the same points

    >>> excess_risk([0.1, -0.1], [0.5, 0.5])
    0.25
    """
    fit, target = as_vector("fit", fit), as_vector("target", target)
    same_length("fit", fit, "target", target)
    return float(np.mean(np.abs(target) * ((fit >= 0) != (target >= 0))))


def classification_curve(
    sizes: Sequence[int],
    smoothness: float,
    penalty: str = "theory",
    scale: float = 0.03,
    repeats: int = 5,
    terms: int = 1500,
    rng=0,
) -> LearningCurve:
    """Measure how the excess risk of the sign of ridge regression falls with the number of points.

    As ``regression_curve``, with labels +1 and -1 drawn from ``classification_target``. The
    curve's ``risks`` are squared L2 distances to 2 P(Y = 1 | x) - 1, its ``excess`` the excess
    classification risk: excess <= absolute <= sqrt(risks), draw by draw.

    Paper: the-optimality-of-kernel-classifiers (Lai et al. 2024, arXiv:2402.01148)
    """
    # The largest value is taken on the grid; the few points above it get probability 0 or 1.
    maximum = _target_maximum(smoothness, terms)

    def observe(target, rng):
        return draw_labels(np.clip(target, -1.0, 1.0), rng)

    return _learning_curve(
        sizes, smoothness, observe, maximum, penalty, scale, repeats, terms, rng, True
    )


def _target_maximum(smoothness: float, terms: int) -> float:
    return float(np.abs(fourier_target(_GRID, smoothness, terms)).max())


def sobolev_eigenpairs(x, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the leading eigenpairs of the H^1[0, 1] Gram matrix over n without forming it.

    Split at the diagonal, the kernel is a product; one product with the matrix is two running
    sums, so that Lanczos iteration costs O(n) a step.

    Paper: the-optimality-of-kernel-classifiers (Lai et al. 2024, arXiv:2402.01148)

    Parameters
    ----------
    x : shape (n,), points in [0, 1]
    count : how many, 1 .. n - 1

    Returns
    -------
    eigenvalues (count,) descending, eigenvectors (n, count) in the order of x

    Cost: O(n count) and a few hundred products.
    """
    x = _unit_points("x", x)
    count = integer("count", count, low=1, high=x.size - 1)
    order = np.argsort(x, kind="stable")
    left, right = np.cosh(x[order]), np.cosh(1.0 - x[order]) / (x.size * np.sinh(1.0))

    def product(v):
        v = v.ravel()
        before = np.cumsum(left * v)
        weighted = right * v
        after = weighted.sum() - np.cumsum(weighted)
        return right * before + left * after

    operator = LinearOperator((x.size, x.size), matvec=product, dtype=float)
    values, sorted_vectors = _lanczos(operator, x.size, count)
    vectors = np.empty_like(sorted_vectors)
    vectors[order] = sorted_vectors
    return values, vectors


def _lanczos(operator, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    # A fixed start vector keeps the result the same from run to run.
    start = 1.0 + 0.5 * np.cos(np.arange(n))
    values, vectors = eigsh(operator, k=count, v0=start)
    return values[::-1].copy(), vectors[:, ::-1].copy()


def label_energies(vectors, y) -> np.ndarray:
    """Return p_i = (u_i^T y)^2 / n, the share of the labels' power along each eigenvector.

    For labels with mean f(x), f in [H]^s, they fall as i^-(s beta + 1) until they reach the floor
    var/n of the noise.

    Paper: the-optimality-of-kernel-classifiers (Lai et al. 2024, arXiv:2402.01148)

    Parameters
    ----------
    vectors : shape (n, m), unit eigenvectors as columns
    y : shape (n,), labels or observations

    Returns
    -------
    energies, shape (m,)
    """
    vectors = as_matrix("vectors", vectors)
    y = as_vector("y", y, vectors.shape[0])
    return (vectors.T @ y) ** 2 / y.size


@dataclass(frozen=True)
class SmoothnessEstimate:
    """What ``estimate_smoothness`` found: s, beta, and the curves it was read from.

    ``energies`` are the p_i and ``eigenvalues`` the l_i of all indices looked at, ``floor`` the
    level of the noise, ``first`` and ``last`` the window of indices (counted from 1, included).
    """

    smoothness: float
    beta: float
    eigenvalues: np.ndarray
    energies: np.ndarray
    floor: float
    first: int
    last: int


def estimate_smoothness(
    eigenvalues, vectors, y, first: int = 2, last: int = 15, beta: float | None = None
) -> SmoothnessEstimate:
    """Estimate the smoothness s of what the labels follow, from the kernel's leading eigenvectors.

    In a window of indices before the noise floor, log l_i falls with slope -beta and log p_i with
    slope -(s beta + 1); two regressions on log i give s (truncation estimation).

    Paper: the-optimality-of-kernel-classifiers (Lai et al. 2024, arXiv:2402.01148)

    Parameters
    ----------
    eigenvalues : shape (m,), largest eigenvalues of K/n, descending
    vectors : shape (n, m), their unit eigenvectors
    y : shape (n,), labels or observations
    first, last : window of indices, counted from 1 and included; too long a window runs into the
        noise floor and underestimates s. Index 1 is left out by default: the first eigenfunction is
        nearly constant and only sees the mean of y
    beta : decay of the eigenvalues when it is known; None: estimated in the same window

    Returns
    -------
    ``SmoothnessEstimate``

    Raises
    ------
    ValueError : a window outside 1 .. m or of fewer than three indices, eigenvalues not positive.

    Cost: O(n m).
    """
    eigenvalues = as_vector("eigenvalues", eigenvalues)
    energies = label_energies(vectors, y)
    same_length("eigenvalues", eigenvalues, "columns of vectors", energies)
    last = integer("last", last, low=3, high=eigenvalues.size)
    first = integer("first", first, low=1, high=last - 2)
    window = np.arange(first, last + 1)
    chosen = eigenvalues[first - 1 : last]
    if chosen.min() <= 0:
        raise ValueError(f"eigenvalues must be positive in the window, got {chosen.min()}")
    if beta is None:
        beta = -log_log_slope(window, chosen)
    beta = positive("beta", beta)
    tiny = np.finfo(float).tiny  # an energy may be exactly zero
    slope = -log_log_slope(window, np.maximum(energies[first - 1 : last], tiny))
    y = as_vector("y", y)
    rest = max(float(y @ y) / y.size - energies.sum(), 0.0)
    floor = rest / max(y.size - energies.size, 1)
    return SmoothnessEstimate((slope - 1.0) / beta, beta, eigenvalues, energies, floor, first, last)


# 3. The cost of overfitting
#
# Gaussian features stand for the eigenfunctions. A few sums over the spectrum then predict the
# test error of every ridge, and nothing about the target enters the bound on the price of having
# none.


def spectrum(name: str, count: int = 10_000, exponent: float = 2.0) -> tuple[np.ndarray, float]:
    """Return the first eigenvalues of a named spectrum, and the sum of those left out.

    "power": i^-exponent; "exponential": exp(-exponent i); "log": i^-1 log^-2(i + 1);
    "spiked": ten eigenvalues 1 and a flat remainder of total 1 (``exponent`` not used).

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters
    ----------
    name : one of the four
    count : how many eigenvalues, at least 20
    exponent : decay, > 1 for "power", > 0 for "exponential"

    Returns
    -------
    eigenvalues (count,) descending, and ``tail``, the sum of all later ones (to be passed on: very
    small eigenvalues act on the others as a ridge of that size)

    Raises
    ------
    ValueError : an unknown name, or an exponent for which the sum is infinite.

    >>> eigenvalues, tail = spectrum("power", 100, 2.0)
    >>> round(float(eigenvalues.sum() + tail), 6)  # pi^2/6
    1.644934
    """
    one_of("name", name, ("power", "exponential", "log", "spiked"))
    count = integer("count", count, low=20)
    i = np.arange(1.0, count + 1.0)
    middle = count + 0.5  # the tail sum is an integral from here on (midpoint rule)
    if name == "power":
        a = _decay("exponent", exponent)
        return i**-a, middle ** (1.0 - a) / (a - 1.0)
    if name == "exponential":
        rate = positive("exponent", exponent)
        values = np.exp(-rate * i)
        values = values[values > 1e-300]  # the remainder is zero in double precision
        return values, 0.0
    if name == "log":
        return 1.0 / (i * np.log(i + 1.0) ** 2), 1.0 / math.log(middle)
    values = np.full(count, 1.0 / (count - 10))
    values[:10] = 1.0
    return values, 0.0


def effective_ridge(eigenvalues, n: int, delta: float = 0.0, tail: float = 0.0) -> float:
    """Return the effective ridge kappa: the penalty that n points put on the population spectrum.

    n = sum_i l_i/(l_i + kappa) + delta/kappa. Eigenvalues above kappa are learnt, those below are
    not, and even delta = 0 leaves a positive kappa.

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters
    ----------
    eigenvalues : shape (p,), not negative
    n : number of training points
    delta : ridge on the Gram matrix, >= 0
    tail : sum of further eigenvalues far below kappa; it acts as an addition to delta

    Returns
    -------
    kappa > 0

    Raises
    ------
    ValueError : delta + tail = 0 with at most n positive eigenvalues: no kappa > 0 solves it.

    Cost: O(p) a step, about ten Newton steps on log kappa.

    >>> round(effective_ridge([1.0, 1.0], n=1), 6)
    1.0
    """
    values = _spectrum_values(eigenvalues)
    n = integer("n", n, low=1)
    ridge = nonnegative("delta", delta) + nonnegative("tail", tail)
    return _kappa(values, n, ridge)


def _kappa(values, n: int, ridge: float) -> float:
    """Return kappa for checked arguments."""
    kept = values[values > 0]
    if ridge == 0.0 and kept.size <= n:
        raise ValueError(
            f"delta must be positive when at most n = {n} eigenvalues are, got delta = 0 with "
            f"{kept.size} positive eigenvalues"
        )
    high = (kept.sum() + ridge) / n  # each term is at most l_i/kappa
    low = max(ridge / n, kept.min() * (kept.size / n - 1.0) if kept.size > n else 0.0)
    return float(_effective_ridge(kept, float(n), ridge, low, high))


_REASSOCIATE = {"reassoc", "contract", "nsz"}


@compiled("float64(float64[::1], float64, float64, float64, float64)", fastmath=_REASSOCIATE)
def _effective_ridge(eigenvalues, n, ridge, low, high):
    """Solve for kappa in [low, high]: Newton on log kappa, or halving."""
    kappa = np.sqrt(low) * np.sqrt(high)  # the product could underflow
    for _ in range(200):
        value, slope = ridge / kappa - n, -ridge / kappa
        for i in range(eigenvalues.size):
            learnt = eigenvalues[i] / (eigenvalues[i] + kappa)
            value += learnt
            slope -= learnt * (1.0 - learnt)
        if value > 0.0:
            low = kappa
        else:
            high = kappa
        step = kappa * np.exp(min(max(-value / slope, -50.0), 50.0))
        if not low < step < high:
            step = np.sqrt(low) * np.sqrt(high)
        if abs(step - kappa) <= 1e-15 * kappa or high - low <= 4e-16 * high:
            return step
        kappa = step
    return kappa


@compiled("UniTuple(float64, 3)(float64[::1], float64[::1], float64)", fastmath=_REASSOCIATE)
def _filter_sums(eigenvalues, power, kappa):
    """Return sum L, sum L^2 and sum (1 - L)^2 v for L = l/(l + kappa), in one pass."""
    first = second = bias = 0.0
    for i in range(eigenvalues.size):
        learnt = eigenvalues[i] / (eigenvalues[i] + kappa)
        first += learnt
        second += learnt * learnt
        bias += (1.0 - learnt) ** 2 * power[i]
    return first, second, bias


def omniscient_risk(
    eigenvalues, power, noise_variance: float, n: int, delta: float = 0.0, tail: float = 0.0
) -> float:
    """Predict the test error of ridge regression from the spectrum, before any data is drawn.

    R(delta) = E(delta) [sum_i (1 - L_i)^2 v_i + noise_variance] with L_i = l_i/(l_i + kappa) and
    E(delta) = n/(n - sum L_i^2); the noise of the test labels is included.

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters
    ----------
    eigenvalues : shape (p,), l_i >= 0
    power : shape (p,), squared coefficients v_i >= 0 of the target in the eigenfunctions
    noise_variance : >= 0
    n, delta, tail : as in ``effective_ridge``

    Returns
    -------
    predicted mean squared error on new noisy points

    Raises
    ------
    ValueError : see ``effective_ridge``; a negative power.

    Cost: O(p).
    """
    values, power, noise_variance, n, ridge = _world(
        eigenvalues, power, noise_variance, n, delta, tail
    )
    _, second, bias = _filter_sums(values, power, _kappa(values, n, ridge))
    return n / (n - second) * (bias + noise_variance)


def overfitting_bound(eigenvalues, n: int, delta: float = 0.0, tail: float = 0.0) -> float:
    """Return E(delta) = n/(n - sum L_i^2); at delta = 0 it bounds the cost of interpolation.

    Whatever the target, ridgeless regression errs at most E(0) times as much as the best ridge.

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters
    ----------
    eigenvalues, n, delta, tail : as in ``effective_ridge``

    Returns
    -------
    a number >= 1; for l_i = i^-a it tends to a

    >>> eigenvalues, tail = spectrum("power", 10_000, 2.0)
    >>> round(overfitting_bound(eigenvalues, 200, tail=tail), 2)
    2.0
    """
    values = _spectrum_values(eigenvalues)
    n = integer("n", n, low=1)
    ridge = nonnegative("delta", delta) + nonnegative("tail", tail)
    _, second, _ = _filter_sums(values, values, _kappa(values, n, ridge))
    return n / (n - second)


def best_ridge(
    eigenvalues, power, noise_variance: float, n: int, tail: float = 0.0
) -> tuple[float, float]:
    """Return the ridge delta >= 0 with the smallest predicted risk, and that risk.

    The search runs over kappa, of which delta = kappa (n - sum L_i) - tail is an explicit function.

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters and errors as in ``omniscient_risk``. When at most n eigenvalues are positive, the
    smallest ridge considered is 1e-12 of their sum. Cost: O(p) for about 100 values of kappa.
    """
    values, power, noise_variance, n, ridge = _world(
        eigenvalues, power, noise_variance, n, 0.0, tail
    )
    if ridge == 0.0 and np.count_nonzero(values) <= n:
        ridge = 1e-12 * values.sum()
    lowest = _kappa(values, n, ridge)

    def risk(log_kappa):
        _, second, bias = _filter_sums(values, power, math.exp(log_kappa))
        return n / (n - second) * (bias + noise_variance)

    # Not always one valley: a coarse grid first, then a refinement around its best point.
    grid = np.linspace(math.log(lowest), math.log(1e3 * max(values.max(), lowest)), 60)
    risks = [risk(u) for u in grid]
    k = int(np.argmin(risks))
    best, smallest = float(grid[k]), risks[k]
    bounds = (grid[max(k - 1, 0)], grid[min(k + 1, grid.size - 1)])
    found = minimize_scalar(risk, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    if found.fun < smallest:
        best, smallest = float(found.x), float(found.fun)
    if best == grid[0]:
        return max(ridge - tail, 0.0), smallest
    kappa = math.exp(best)
    first, _, _ = _filter_sums(values, power, kappa)
    return max(kappa * (n - first) - tail, 0.0), smallest


def cost_of_overfitting(
    eigenvalues, power, noise_variance: float, n: int, tail: float = 0.0
) -> float:
    """Return C = R(0) / min_delta R(delta), the price of interpolation in predicted test error.

    1 <= C <= E(0) for every target (``overfitting_bound``), nearly E(0) when noise dominates.

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters and errors as in ``omniscient_risk``. Cost: O(p) for about 100 values of kappa.
    """
    ridgeless = omniscient_risk(eigenvalues, power, noise_variance, n, 0.0, tail)
    _, best = best_ridge(eigenvalues, power, noise_variance, n, tail)
    if best == 0.0:
        raise ValueError(
            "power and noise_variance must not all be zero where eigenvalues are positive: "
            "the best risk is 0, got no error to compare with"
        )
    return max(ridgeless / best, 1.0)  # rounding aside, the best is never the larger one


def effective_ranks(eigenvalues, k: int, tail: float = 0.0) -> tuple[float, float]:
    """Return the effective ranks r_k and R_k of the spectrum beyond its first k eigenvalues.

    r_k = sum_{i>k} l_i / l_{k+1} and R_k = (sum_{i>k} l_i)^2 / sum_{i>k} l_i^2. Overfitting is
    benign when some k << n leaves R_k >> n.

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters
    ----------
    eigenvalues : shape (p,), in any order
    k : 0 .. p - 1
    tail : sum of further eigenvalues (their squares are neglected)

    >>> effective_ranks([1.0, 0.5, 0.5], k=1)
    (2.0, 2.0)
    """
    values = np.sort(_spectrum_values(eigenvalues))[::-1]
    k = integer("k", k, low=0, high=values.size - 1)
    tail = nonnegative("tail", tail)
    rest = values[k:]
    if rest[0] == 0.0:
        raise ValueError(f"k must leave a positive eigenvalue, got k = {k}")
    total = rest.sum() + tail
    return float(total / rest[0]), float(total**2 / (rest @ rest))


REGIMES = ("benign", "tempered", "catastrophic")


def overfitting_regime(eigenvalues, n: int, tail: float = 0.0) -> str:
    """Name what interpolation costs as n grows, from the trend of E(0) - 1 between n/4 and n.

    "benign": it falls (slope in log-log below -0.1); "catastrophic": it grows (above 0.1);
    "tempered": it stays. A finite spectrum can only show the trend, not the limit.

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters
    ----------
    eigenvalues, tail : as in ``effective_ridge``
    n : number of points, at least 8

    >>> eigenvalues, tail = spectrum("exponential", 500, 1.0)
    >>> overfitting_regime(eigenvalues, 100)
    'catastrophic'
    """
    n = integer("n", n, low=8)
    sizes = [n // 4, n // 2, n]
    excess = [overfitting_bound(eigenvalues, m, tail=tail) - 1.0 for m in sizes]
    trend = log_log_slope(sizes, np.maximum(excess, 1e-300))
    return REGIMES[0] if trend < -0.1 else REGIMES[2] if trend > 0.1 else REGIMES[1]


def gaussian_ridge_risks(
    features,
    noise_draw,
    eigenvalues,
    power,
    noise_variance: float,
    sizes: Sequence[int],
    deltas: Sequence[float],
) -> np.ndarray:
    """Run ridge regression on Gaussian features and return its exact test errors.

    Features z ~ N(0, I) stand for the eigenfunctions: K = Z diag(l) Z^T, y = Z sqrt(v) + noise.
    The first n rows are the training set of size n, so that one draw gives a learning curve. The
    test error of a fit with coefficients c is sum_i (c_i - sqrt(v_i))^2 + noise_variance.

    Paper: an-agnostic-view-on-the-cost-of-overfitting (Zhou et al. 2023, arXiv:2306.13185)

    Parameters
    ----------
    features : shape (n_max, p), standard normal draws
    noise_draw : shape (n_max,), standard normal draws
    eigenvalues, power : shape (p,)
    noise_variance : >= 0
    sizes : training sizes, each at most n_max
    deltas : one ridge on K per size, >= 0

    Returns
    -------
    test errors, shape (sizes,)

    Raises
    ------
    ValueError : shapes that do not fit, or a delta so small that K + delta I is singular in double
        precision.

    Cost: O(n_max^2 p) for the Gram matrix, O(n^3) per size.
    """
    z = as_matrix("features", features)
    draw = as_vector("noise_draw", noise_draw, z.shape[0])
    values = as_vector("eigenvalues", eigenvalues, z.shape[1])
    sizes = [integer("sizes", n, low=1, high=z.shape[0]) for n in sizes]
    if not sizes:
        raise ValueError("sizes must hold at least one training size, got none")
    deltas = [nonnegative("deltas", delta) for delta in deltas]
    same_length("sizes", sizes, "deltas", deltas)
    values, power, noise_variance, _, _ = _world(values, power, noise_variance, 1, 0.0, 0.0)
    truth = np.sqrt(power)
    largest = max(sizes)
    scaled = z[:largest] * np.sqrt(values)
    gram = scaled @ scaled.T
    y = z[:largest] @ truth + math.sqrt(noise_variance) * draw[:largest]
    risks = np.empty(len(sizes))
    for j, (n, delta) in enumerate(zip(sizes, deltas, strict=True)):
        factor = _positive_factor(gram[:n, :n] + delta * np.eye(n), n, delta)
        weights = cho_solve((factor, True), y[:n])
        coefficients = values * (z[:n].T @ weights)
        risks[j] = np.sum((coefficients - truth) ** 2) + noise_variance
    return risks


def _positive_factor(matrix, n: int, delta: float) -> np.ndarray:
    """Return the Cholesky factor; refuse a matrix whose smallest pivot is only rounding."""
    scale = n * np.finfo(float).eps * matrix.diagonal().max()
    try:
        factor = cholesky(matrix, lower=True)
        smallest = factor.diagonal().min() ** 2
    except LinAlgError:
        smallest = 0.0
    if smallest <= scale:
        raise ValueError(
            "deltas must make K + delta I positive definite in double precision, "
            f"got {delta} for n = {n}"
        )
    return factor


# 4. Generalisation bounds from pairs of points
#
# Draw n pairs, train on one point of each pair chosen by a coin, test on the other. Whatever the
# learner memorises shows in how well the losses of a pair betray its coin.


def draw_supersamples(
    points: int, pairs: int, draws: int, rng, fixed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of data points and the coins that say which of each pair is trained on.

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    Parameters
    ----------
    points : size of the data set, at least 2 * pairs
    pairs : n, number of pairs
    draws : how many times coins (and pairs) are drawn
    rng : Generator or int seed
    fixed : True: the pairs are drawn once and only the coins again and again

    Returns
    -------
    indices (draws, pairs, 2) of different data points within a draw, and coins (draws, pairs):
    coin u trains on column u

    Raises
    ------
    ValueError : fewer than 2 * pairs data points.

    Cost: O(draws * points).
    """
    pairs = integer("pairs", pairs, low=1)
    points = integer("points", points, low=2 * pairs)
    draws = integer("draws", draws, low=1)
    rng = as_rng(rng)
    rounds = 1 if fixed else draws
    shuffled = rng.permuted(np.tile(np.arange(points), (rounds, 1)), axis=1)[:, : 2 * pairs]
    indices = np.repeat(shuffled.reshape(rounds, pairs, 2), draws // rounds, axis=0)
    return np.ascontiguousarray(indices), rng.integers(0, 2, (draws, pairs))


def nearest_neighbour_losses(distances, labels, indices, coins) -> np.ndarray:
    """Return the 0-1 losses of the 1-nearest-neighbour rule on every pair; it interpolates.

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    Parameters
    ----------
    distances : shape (points, points), any increasing function of distance
    labels : shape (points,), class numbers
    indices, coins : from ``draw_supersamples``

    Returns
    -------
    losses, shape (draws, pairs, 2), 0 or 1: column u is the training loss where the coin is u

    Cost: O(draws * pairs^2).
    """
    distances = as_matrix("distances", distances)
    labels, indices, coins = _supersample(labels, indices, coins)
    if distances.shape != (labels.size, labels.size):
        raise ValueError(
            f"distances must have shape ({labels.size}, {labels.size}), got {distances.shape}"
        )
    losses = np.empty(indices.shape)
    _nearest_neighbour_losses(distances, labels, indices, coins, losses)
    return losses


@compiled("void(float64[:,::1], float64[::1], int64[:,:,::1], int64[:,::1], float64[:,:,::1])")
def _nearest_neighbour_losses(distances, labels, indices, coins, losses):
    draws, pairs, _ = indices.shape
    for t in range(draws):
        for i in range(pairs):
            for column in range(2):
                point = indices[t, i, column]
                nearest, best = -1, np.inf
                for j in range(pairs):
                    other = indices[t, j, coins[t, j]]
                    if distances[point, other] < best:
                        nearest, best = other, distances[point, other]
                # With distances that are all infinite nothing is nearest; the check forbids them.
                losses[t, i, column] = 1.0 if labels[nearest] != labels[point] else 0.0


def ridge_classifier_losses(gram, labels, indices, coins, ridge: float) -> np.ndarray:
    """Return the 0-1 losses of the sign of kernel ridge regression on every pair.

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    Parameters
    ----------
    gram : shape (points, points), Gram matrix of the data set
    labels : shape (points,), +1 or -1
    indices, coins : from ``draw_supersamples``
    ridge : > 0, on the eigenvalues of K/n

    Returns
    -------
    losses, shape (draws, pairs, 2), 0 or 1

    Cost: O(draws * pairs^3).
    """
    gram = symmetric("gram", gram)
    labels, indices, coins = _supersample(labels, indices, coins)
    if gram.shape[0] != labels.size:
        raise ValueError(f"gram must have {labels.size} rows, got shape {gram.shape}")
    if not np.all(np.abs(labels) == 1.0):
        raise ValueError(f"labels must be +1 or -1, got {np.unique(labels)[:4]}")
    ridge = positive("ridge", ridge)
    draws, pairs, _ = indices.shape
    losses = np.empty(indices.shape)
    chunk = max(1, 2_000_000 // (3 * pairs * pairs))  # some 16 MB of blocks at a time
    for start in range(0, draws, chunk):
        part = slice(start, min(start + chunk, draws))
        trained = np.take_along_axis(indices[part], coins[part][:, :, None], axis=2)[:, :, 0]
        blocks = gram[trained[:, :, None], trained[:, None, :]] + pairs * ridge * np.eye(pairs)
        weights = np.linalg.solve(blocks, labels[trained][:, :, None])
        everyone = indices[part].reshape(len(trained), -1)
        fits = (gram[everyone[:, :, None], trained[:, None, :]] @ weights)[:, :, 0]
        wrong = (fits >= 0) != (labels[everyone] > 0)
        losses[part] = wrong.reshape(indices[part].shape)
    return losses


def tree_losses(x, labels, indices, coins, depth: int = 2) -> np.ndarray:
    """Return the 0-1 losses of a greedy classification tree on every pair.

    Each node splits at the feature and threshold with the fewest errors of the two majorities.

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    Parameters
    ----------
    x : shape (points, d)
    labels : shape (points,), +1 or -1
    indices, coins : from ``draw_supersamples``
    depth : levels of splits, 0 .. 10 (0 predicts the majority)

    Returns
    -------
    losses, shape (draws, pairs, 2), 0 or 1

    Cost: O(draws * depth * d * pairs^2) at worst.
    """
    x = as_matrix("x", x)
    labels, indices, coins = _supersample(labels, indices, coins)
    same_length("x", x, "labels", labels)
    if not np.all(np.abs(labels) == 1.0):
        raise ValueError(f"labels must be +1 or -1, got {np.unique(labels)[:4]}")
    depth = integer("depth", depth, low=0, high=10)
    losses = np.empty(indices.shape)
    _tree_losses(x, labels, indices, coins, depth, losses)
    return losses


@compiled("Tuple((int64, float64))(float64[:,::1], float64[::1], int64[::1])")
def _best_split(x, labels, members):
    """Return the feature and threshold with the fewest errors of the two majorities, or -1."""
    size = members.size
    total = 0.0
    for i in range(size):
        total += labels[members[i]]
    # Errors of a majority among m labels of sum t: (m - |t|)/2, so |t| summed is what to maximise.
    best, feature, threshold = abs(total), -1, 0.0
    order = members.copy()
    for k in range(x.shape[1]):
        for i in range(1, size):  # insertion sort: members are few and nearly sorted at times
            moving = order[i]
            j = i
            while j > 0 and x[order[j - 1], k] > x[moving, k]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = moving
        left = 0.0
        for i in range(size - 1):
            left += labels[order[i]]
            if x[order[i], k] < x[order[i + 1], k]:
                score = abs(left) + abs(total - left)
                if score > best:
                    best, feature = score, k
                    threshold = 0.5 * (x[order[i], k] + x[order[i + 1], k])
    return feature, threshold


@compiled(
    "void(float64[:,::1], float64[::1], int64[:,:,::1], int64[:,::1], int64, float64[:,:,::1])"
)
def _tree_losses(x, labels, indices, coins, depth, losses):
    draws, pairs, _ = indices.shape
    nodes = 2 ** (depth + 1)
    feature, threshold, vote = np.empty(nodes, np.int64), np.empty(nodes), np.empty(nodes)
    trained, home = np.empty(pairs, np.int64), np.empty(pairs, np.int64)
    for t in range(draws):
        for i in range(pairs):
            trained[i] = indices[t, i, coins[t, i]]
            home[i] = 1  # node 1 is the root; the children of node v are 2 v and 2 v + 1
        vote[1] = 0.0
        for v in range(1, nodes):
            members = trained[home == v]
            feature[v] = -1
            if members.size == 0:  # an empty node votes as its parent does
                vote[v] = vote[v // 2]
                continue
            total = 0.0
            for i in range(members.size):
                total += labels[members[i]]
            vote[v] = 1.0 if total >= 0 else -1.0
            if v < nodes // 2 and abs(total) < members.size:
                feature[v], threshold[v] = _best_split(x, labels, members)
                if feature[v] >= 0:
                    for i in range(pairs):
                        if home[i] == v:
                            above = x[trained[i], feature[v]] > threshold[v]
                            home[i] = 2 * v + (1 if above else 0)
        for i in range(pairs):
            for column in range(2):
                point = indices[t, i, column]
                v = 1
                while v < nodes // 2 and feature[v] >= 0:
                    v = 2 * v + (1 if x[point, feature[v]] > threshold[v] else 0)
                losses[t, i, column] = 1.0 if vote[v] != labels[point] else 0.0


def constant_losses(labels, indices, guess: float) -> np.ndarray:
    """Return the 0-1 losses of a rule that answers ``guess`` whatever it was trained on.

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)
    """
    labels, indices, _ = _supersample(labels, indices, None)
    return (labels[indices] != float(guess)).astype(float)


def mutual_information(counts) -> float:
    """Return the mutual information, in nats, of two discrete variables from joint counts.

    I = sum_ab p_ab log(p_ab/(p_a p_b)). With N counts this plug-in value is too large by about
    (rows - 1)(columns - 1)/(2 N).

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    Parameters
    ----------
    counts : shape (a, b), counts or weights >= 0, not all zero

    Returns
    -------
    information >= 0, in nats

    Raises
    ------
    ValueError : a negative count, or nothing counted.

    >>> round(mutual_information([[5, 0], [0, 5]]), 6)  # log 2
    0.693147
    """
    counts = as_matrix("counts", counts)
    if counts.min() < 0:
        raise ValueError(f"counts must not be negative, got {counts.min()}")
    if counts.sum() == 0:
        raise ValueError("counts must not all be zero, got no observation")
    p = counts / counts.sum()
    independent = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    seen = p > 0
    return max(0.0, float(np.sum(p[seen] * np.log(p[seen] / independent[seen]))))


@dataclass(frozen=True)
class PairReport:
    """Errors of a learner and what its losses on pairs say about them (information in nats).

    ``train`` and ``test`` are mean losses and ``gap`` their difference; ``ld`` = I(D; U) for the
    difference D of a pair's losses, ``e`` = I(both losses; U), ``single`` = I(one loss; U);
    ``ld_bound``, ``e_bound``, ``single_bound`` bound the gap, ``fast_bound`` the test error.
    """

    train: float
    test: float
    gap: float
    ld: float
    e: float
    single: float
    ld_bound: float
    e_bound: float
    single_bound: float
    fast_bound: float


def pair_report(losses, coins, pooled: bool = True) -> PairReport:
    """Measure the generalisation gap and its bounds from the 0-1 losses of pairs.

    With D = L^1 - L^0, gap = mean (-1)^U D <= mean sqrt(2 I(D; U)) <= mean sqrt(2 I(L^0, L^1; U)),
    and with the first loss alone, gap <= 2 mean sqrt(2 I(L^0; U)).

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    Parameters
    ----------
    losses : shape (draws, pairs, 2), 0 or 1
    coins : shape (draws, pairs), 0 or 1: the column that was trained on
    pooled : True: the pairs of all draws are counted together (pairs drawn afresh each time are
        exchangeable); False: each pair has its own counts over the draws (pairs that stay fixed)

    Returns
    -------
    ``PairReport``

    Raises
    ------
    ValueError : losses or coins other than 0 and 1, or shapes that do not match.

    Cost: O(draws * pairs).
    """
    losses, coins = _binary_losses(losses, coins)
    groups = 1 if pooled else coins.shape[1]
    first, second = losses[:, :, 0], losses[:, :, 1]
    ld = _informations(second - first + 1, coins, 3, groups)
    e = _informations(2 * first + second, coins, 4, groups)
    if pooled:  # the columns are exchangeable: count the second loss with the coin turned round
        every, turned = np.concatenate([first, second]), np.concatenate([coins, 1 - coins])
        single = _informations(every, turned, 2, groups)
    else:
        single = _informations(first, coins, 2, groups)
    trained = np.where(coins == 0, first, second)
    tested = np.where(coins == 0, second, first)
    train, test = float(trained.mean()), float(tested.mean())
    return PairReport(
        train=train,
        test=test,
        gap=test - train,
        ld=float(ld.mean()),
        e=float(e.mean()),
        single=float(single.mean()),
        ld_bound=square_root_bound(ld),
        e_bound=square_root_bound(e),
        single_bound=2.0 * square_root_bound(single),
        fast_bound=fast_rate_bound(train, float(single.mean())),
    )


def _informations(codes, coins, levels: int, groups: int) -> np.ndarray:
    """Return I(code; coin) for all pairs together (groups = 1) or pair by pair, shape (groups,)."""
    offset = np.zeros(coins.shape[1], int) if groups == 1 else np.arange(groups)
    cells = (offset * levels + codes) * 2 + coins
    counts = np.bincount(cells.ravel(), minlength=groups * levels * 2).reshape(groups, levels, 2)
    return np.array([mutual_information(table) for table in counts])


def square_root_bound(information) -> float:
    """Return mean_i sqrt(2 I_i), the bound on the gap for losses in [0, 1] (I in nats).

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    >>> square_root_bound([0.5])
    1.0
    """
    information = as_vector("information", np.atleast_1d(information))
    if information.min() < 0:
        raise ValueError(f"information must not be negative, got {information.min()}")
    return float(np.mean(np.sqrt(2.0 * information)))


def fast_rate_bound(train: float, information: float) -> float:
    """Return the best bound C1 train + I/C2 on the test error, for losses in [0, 1].

    Any C1, C2 > 0 with exp(2 C2) + exp(-2 C1 C2) <= 2 will do: then exp(2 C2 (+L or -C1 L)),
    averaged over a fair coin, is at most 1 for L in [0, 1], and the variational formula of I turns
    that into the bound. C2 is searched in (0, log(2)/2).

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    Parameters
    ----------
    train : training loss in [0, 1]
    information : I(L^0; U) in nats, mean over the pairs

    Returns
    -------
    upper bound on the test loss; 2 I/log 2 when the training loss is 0

    >>> round(fast_rate_bound(0.0, 0.1), 4)
    0.2885
    """
    train = nonnegative("train", train)
    information = nonnegative("information", information)
    c2 = 0.5 * math.log(2.0) * (1.0 - np.logspace(-15.0, -1e-4, 400))
    c1 = -np.log(2.0 - np.exp(2.0 * c2)) / (2.0 * c2)
    if train == 0.0:  # C1 may be as large as it likes
        return information / (0.5 * math.log(2.0))
    return float(np.min(c1 * train + information / c2))


def interpolation_error(information: float) -> float:
    """Return the test error I(D; U)/log 2 of a learner with training error 0 and 0-1 loss.

    A nonzero difference D tells the coin, a zero one nothing, so I(D; U) = error * log 2: an
    equality, if pairs are drawn afresh.

    Paper: tighter-information-theoretic-generalization (Wang and Mao 2023, arXiv:2302.02432)

    >>> round(interpolation_error(0.2 * 0.6931471805599453), 6)
    0.2
    """
    return nonnegative("information", information) / math.log(2.0)


# Checks that the sections share


def _unit_points(name: str, value) -> np.ndarray:
    points = as_vector(name, value)
    for extreme in (points.min(), points.max()):
        if not 0.0 <= extreme <= 1.0:
            raise ValueError(f"{name} must lie between 0 and 1, got {extreme}")
    return points


def _distinct(name: str, ordered: np.ndarray) -> None:
    repeated = np.flatnonzero(np.diff(ordered) == 0.0)
    if repeated.size:
        raise ValueError(
            f"{name} must hold different points, got {ordered[repeated[0]]} more than once"
        )


def _target_coefficients(smoothness: float, terms: int) -> np.ndarray:
    s = positive("smoothness", smoothness)
    k = np.arange(1.0, integer("terms", terms, low=1) + 1.0)
    return k ** -(s + 0.5)


def _decay(name: str, value) -> float:
    number = positive(name, value)
    if number <= 1.0:
        raise ValueError(f"{name} must be greater than 1 (the sum must be finite), got {number}")
    return number


def _spectrum_values(eigenvalues) -> np.ndarray:
    values = as_vector("eigenvalues", eigenvalues)
    if values.min() < 0:
        raise ValueError(f"eigenvalues must not be negative, got {values.min()}")
    if values.max() == 0:
        raise ValueError("eigenvalues must not all be zero, got only zeros")
    return values


def _world(eigenvalues, power, noise_variance, n, delta, tail):
    """Check what describes a regression problem in the eigenbasis."""
    values = _spectrum_values(eigenvalues)
    power = as_vector("power", power, values.size)
    if power.min() < 0:
        raise ValueError(f"power must not be negative, got {power.min()}")
    ridge = nonnegative("delta", delta) + nonnegative("tail", tail)
    noise_variance = nonnegative("noise_variance", noise_variance)
    return values, power, noise_variance, integer("n", n, low=1), ridge


def _supersample(labels, indices, coins):
    labels = as_vector("labels", labels)
    indices = _integers("indices", indices)
    if indices.ndim != 3 or indices.shape[2] != 2 or indices.size == 0:
        raise ValueError(f"indices must have shape (draws, pairs, 2), got {indices.shape}")
    if indices.min() < 0 or indices.max() >= labels.size:
        raise ValueError(
            f"indices must lie between 0 and {labels.size - 1}, "
            f"got {indices.min()} .. {indices.max()}"
        )
    if coins is not None:
        coins = _coins(coins, indices.shape[:2])
    return labels, indices, coins


def _binary_losses(losses, coins):
    losses = _integers("losses", losses)
    if losses.ndim != 3 or losses.shape[2] != 2 or losses.size == 0:
        raise ValueError(f"losses must have shape (draws, pairs, 2), got {losses.shape}")
    if not np.isin(losses, (0, 1)).all():
        raise ValueError(f"losses must be 0 or 1, got {losses.min()} .. {losses.max()}")
    return losses, _coins(coins, losses.shape[:2])


def _coins(coins, shape: tuple[int, int]) -> np.ndarray:
    coins = _integers("coins", coins)
    if coins.shape != shape:
        raise ValueError(f"coins must have shape {shape}, got {coins.shape}")
    if not np.isin(coins, (0, 1)).all():
        raise ValueError(f"coins must be 0 or 1, got {coins.min()} .. {coins.max()}")
    return coins


def _integers(name: str, value) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold whole numbers, got values of dtype {array.dtype}")
    if array.dtype.kind == "f" and not np.all(array == np.floor(array)):
        raise ValueError(f"{name} must hold whole numbers, got fractions or NaN")
    return np.ascontiguousarray(array, dtype=np.int64)
