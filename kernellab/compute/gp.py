"""Exact Gaussian-process regression: posterior, evidence and its gradient, fitting, surfaces.

y = mean(x) + f(x) + e, with f a Gaussian process of covariance ``kernel`` and e independent noise.

>>> import numpy as np
>>> from kernellab.compute.kernels import Gaussian
>>> gp = ExactGP(Gaussian(1.0), [[0.0]], [2.0], noise=1.0)
>>> gp.predict([[0.0]])
Prediction(mean=array([1.]), variance=array([0.5]))
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg as sla
import scipy.optimize

from kernellab.compute import linalg
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    fits_in_memory,
    integer,
    nonnegative,
    positive,
)
from kernellab.compute.kernels import Kernel, as_kernel

__all__ = [
    "ExactGP",
    "LikelihoodGrid",
    "Prediction",
    "fit",
    "likelihood_grid",
    "maximise_evidence",
    "sample_prior",
]

_LOG_2PI = math.log(2.0 * math.pi)


class Prediction(NamedTuple):
    """Means (m,) of f at m points, and variances (m,), or their covariance matrix (m, m)."""

    mean: np.ndarray
    variance: np.ndarray


class ExactGP:
    """Gaussian-process regression by one Cholesky factorisation.

    With Ky = K + noise I and a = Ky^{-1} (y - mean): E f(x) = mean(x) + k(x)^T a and
    var f(x) = k(x, x) - k(x)^T Ky^{-1} k(x).

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    x : inputs, shape (n, d)
    y : targets, shape (n,)
    noise : variance of the noise, >= 0: one number, or one for each point, shape (n,)
    mean : a number, or a function of inputs (m, d) that returns (m,)

    Attributes
    ----------
    factor : ``linalg.CholeskyFactor`` of Ky
    jitter : what had to be added to the diagonal of Ky, 0.0 unless it is singular to rounding
    coefficients : a = Ky^{-1} (y - mean), shape (n,)

    Raises
    ------
    ValueError : arguments that do not fit, or a Ky that stays singular with a jitter of 1e-6 times
        its mean diagonal.

    Cost: O(n^2 d + n^3 / 3). Source: Rasmussen and Williams, Gaussian processes for machine
    learning (2006), algorithm 2.1.
    """

    def __init__(self, kernel, x, y, noise, mean=0.0):
        self.kernel = as_kernel(kernel)
        self.x = as_matrix("x", x)
        self.noise = _as_noise(noise, len(self.x))
        self.mean = mean
        self.factor = linalg.cholesky(_noisy_gram(self.kernel, self.x, self.noise))
        self.jitter = self.factor.jitter
        self._set_targets(y)

    def _set_targets(self, y) -> None:
        self.y = as_vector("y", y, length=len(self.x))
        self._centred = self.y - _mean_at(self.mean, self.x)
        self.coefficients = self.factor.solve(self._centred)

    def with_targets(self, y) -> "ExactGP":
        """Return the same regression for other targets (n,), without a new factor: O(n^2)."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._set_targets(y)
        return other

    def log_marginal_likelihood(self) -> float:
        """Return log N(y; mean, Ky) = -(1/2) (y-mean)^T a - (1/2) log det Ky - (n/2) log 2 pi."""
        fit = float(self._centred @ self.coefficients)
        return -0.5 * (fit + self.factor.logdet() + len(self.y) * _LOG_2PI)

    def log_marginal_likelihood_gradient(self) -> np.ndarray:
        """Return the gradient of the log marginal likelihood in logarithms, shape (p + 1,).

        d/d log theta_j = (1/2) tr[(a a^T - Ky^{-1}) dK / d log theta_j]; the last entry is for the
        logarithm of the noise (of a common factor, when each point has its own).

        Cost: O(n^3 + p n^2). Source: Rasmussen and Williams (2006), equation 5.9.
        """
        weights = np.outer(self.coefficients, self.coefficients) - self.factor.inverse()
        by_kernel = [0.5 * np.vdot(weights, g) for g in self.kernel.gram_gradients(self.x)]
        by_noise = 0.5 * float(np.sum(np.diagonal(weights) * self.noise))
        return np.array([*by_kernel, by_noise])

    def predict(self, x, covariance: bool = False) -> Prediction:
        """Return mean and variance of f (without noise) at new points x of shape (m, d).

        covariance : return the whole (m, m) covariance in place of the variances (m,)

        Raises ValueError when x does not fit. Cost: O(m n d + m n^2), and O(m^2 n) for covariances.
        """
        x = as_matrix("x", x, columns=self.x.shape[1])
        cross = self.kernel.gram(x, self.x)
        mean = _mean_at(self.mean, x) + cross @ self.coefficients
        half = sla.solve_triangular(self.factor.lower, cross.T, lower=True, check_finite=False)
        if covariance:
            return Prediction(mean, self.kernel.gram(x) - half.T @ half)
        explained = np.einsum("ij,ij->j", half, half)
        # Rounding can take a variance of nearly 0 below it.
        return Prediction(mean, np.maximum(self.kernel.diagonal(x) - explained, 0.0))

    def sample(self, x, n: int, rng) -> np.ndarray:
        """Draw n functions from the posterior at the points x (m, d), shape (n, m).

        Cost: that of ``predict`` with covariances, and O(m^3 + n m^2).
        """
        mean, covariance = self.predict(x, covariance=True)
        return mean + _draw(covariance, integer("n", n, low=1), as_rng(rng))

    def leave_one_out(self) -> Prediction:
        """Return mean and variance of each y_i (noise included) given all others, without refits.

        mean_i = y_i - a_i / [Ky^{-1}]_ii, variance_i = 1 / [Ky^{-1}]_ii; shapes (n,).

        Cost: O(n^3). Source: Rasmussen and Williams (2006), equation 5.12.
        """
        diagonal = np.diagonal(self.factor.inverse())
        return Prediction(self.y - self.coefficients / diagonal, 1.0 / diagonal)


def sample_prior(kernel, x, n: int, rng) -> np.ndarray:
    """Draw n functions from the prior GP(0, kernel) at the points x (m, d), shape (n, m).

    Raises ValueError for bad arguments. Cost: O(m^3 + n m^2).
    """
    return _draw(as_kernel(kernel).gram(x), integer("n", n, low=1), as_rng(rng))


def _draw(covariance: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n vectors from N(0, covariance), by eigenvalues: posteriors are often singular."""
    values, vectors = linalg.eigh_checked(covariance)
    return (rng.standard_normal((n, len(values))) * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


# Fitting


def fit(
    kernel,
    x,
    y,
    noise: float,
    *,
    mean=0.0,
    learn_noise: bool = True,
    restarts: int = 0,
    bounds=(1e-5, 1e5),
    rng=0,
) -> ExactGP:
    """Return the regression whose hyper-parameters maximise the log marginal likelihood.

    L-BFGS in the logarithms of the kernel's hyper-parameters and of the noise, from their present
    values and then from ``restarts`` points drawn log-uniformly between the bounds; the best end
    wins (type-II maximum likelihood).

    Parameters
    ----------
    kernel, x, y, noise, mean : as in ``ExactGP``; noise > 0 when it is learned
    learn_noise : False keeps the noise as it is
    restarts : how many more starts
    bounds : (lowest, highest) for each hyper-parameter, or a dict with such pairs by name (the
        noise's name is "noise"); names left out get (1e-5, 1e5)
    rng : ``numpy.random.Generator`` or seed for the restarts

    Returns
    -------
    ExactGP : its ``kernel`` and ``noise`` are the fitted ones

    Raises
    ------
    ValueError : arguments that do not fit, bounds for an unknown name, or nothing to learn.

    Cost: O(n^3) for each of usually 20-100 steps a start.
    """
    kernel, x = as_kernel(kernel), as_matrix("x", x)
    y = as_vector("y", y, length=len(x))
    noise = _as_noise(noise, len(x))
    start = dict(kernel.hyperparameters)
    if learn_noise:
        positive("noise", float(np.min(noise)))
        start["noise"] = float(np.max(noise))  # of unequal noises a common factor is learned
    n_kernel = len(kernel.hyperparameters)

    def model(theta):
        level = noise * (math.exp(theta[-1]) / np.max(noise)) if learn_noise else noise
        return ExactGP(kernel.with_log_hyperparameters(theta[:n_kernel]), x, y, level, mean)

    def evidence(theta):
        gp = model(theta)
        gradient = gp.log_marginal_likelihood_gradient()
        return gp.log_marginal_likelihood(), gradient[: len(theta)]

    return model(maximise_evidence(evidence, start, bounds=bounds, restarts=restarts, rng=rng))


def maximise_evidence(
    evidence: Callable, start: dict[str, float], *, bounds=(1e-5, 1e5), restarts: int = 0, rng=0
) -> np.ndarray:
    """Return the logarithms of the hyper-parameters that maximise an evidence, by L-BFGS.

    Parameters
    ----------
    evidence : maps logarithms (p,) to (value, gradient (p,)); a ValueError counts as -infinity
    start : names and positive values to start from
    bounds, restarts, rng : as in ``fit``

    Returns
    -------
    theta : shape (p,), the best end of all starts

    Raises
    ------
    ValueError : nothing to learn, or bounds that do not fit.

    >>> theta = maximise_evidence(lambda t: (-((t[0] - 1) ** 2), -2 * (t - 1)), {"length": 2.0})
    >>> theta.round(6).tolist()
    [1.0]
    """
    restarts, rng = integer("restarts", restarts, low=0), as_rng(rng)
    if not start:
        raise ValueError("kernel must have a hyper-parameter to learn, got none")
    low, high = np.log(_bounds(bounds, list(start))).T

    def loss(theta):
        try:
            value, gradient = evidence(theta)
        except ValueError:  # a Gram matrix beyond repair is no place to end
            return 1e30, np.zeros(len(theta))
        return -value, -np.asarray(gradient)

    starts = [np.clip(np.log(list(start.values())), low, high)]
    starts += [rng.uniform(low, high) for _ in range(restarts)]
    ends = [
        scipy.optimize.minimize(
            loss, first, jac=True, method="L-BFGS-B", bounds=list(zip(low, high, strict=True))
        )
        for first in starts
    ]
    return min(ends, key=lambda end: end.fun).x


def _bounds(bounds, names: list[str]) -> np.ndarray:
    """Return (lowest, highest) for each name, shape (p, 2)."""
    if not isinstance(bounds, dict):
        bounds = dict.fromkeys(names, bounds)
    unknown = [name for name in bounds if name not in names]
    if unknown:
        raise ValueError(f"bounds must be for {', '.join(names)}, got one for {unknown[0]!r}")
    pairs = as_matrix("bounds", [bounds.get(name, (1e-5, 1e5)) for name in names], columns=2)
    if not ((pairs[:, 0] > 0) & (pairs[:, 0] <= pairs[:, 1])).all():
        raise ValueError(f"bounds must be pairs 0 < lowest <= highest, got {pairs.tolist()}")
    return pairs


# Surfaces of the likelihood


class LikelihoodGrid(NamedTuple):
    """Log marginal likelihoods over a grid of kernels, variances and noises.

    ``values`` (k, v, s); ``gradients`` (k, v, s, p + 2): in the logarithms of each kernel's p
    hyper-parameters, of the variance and of the noise (None when they were not asked for).
    """

    values: np.ndarray
    gradients: np.ndarray | None


def likelihood_grid(
    kernels, x, y, variances, noises, *, mean=0.0, gradients: bool = True
) -> LikelihoodGrid:
    """Return log N(y; mean, variance K + noise I) for all kernels, variances and noises.

    One eigendecomposition K = U diag(l) U^T a kernel serves all variances and noises, because each
    of them only changes the eigenvalues variance l + noise. For a heat map over lengthscale and
    amplitude, or lengthscale and noise, that is a row of the picture at the price of one point.
    (With only a few of them, as on a map over two lengthscales, each point is a Cholesky factor.)

    Parameters
    ----------
    kernels : k kernels of one kind, e.g. ``[Gaussian(b) for b in bandwidths]``
    x, y : inputs (n, d) and targets (n,)
    variances : positive factors of the kernel, shape (v,) (or one number)
    noises : positive variances of the noise, shape (s,) (or one number)
    mean : as in ``ExactGP``
    gradients : also return gradients

    Returns
    -------
    LikelihoodGrid : values (k, v, s), gradients (k, v, s, p + 2)

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(k (p + 9) n^3 + k v s p n): 25 x 25 points with n = 80 take about 50 ms.
    """
    kernels = [as_kernel(kernel) for kernel in kernels]
    if not kernels or len({len(kernel.hyperparameters) for kernel in kernels}) > 1:
        raise ValueError("kernels must be at least one kernel, all with the same hyper-parameters")
    x = as_matrix("x", x)
    centred = as_vector("y", y, length=len(x)) - _mean_at(mean, x)
    v, s = (_positives(name, a) for name, a in (("variances", variances), ("noises", noises)))
    fits_in_memory("the grid", 8 * len(kernels) * len(v) * len(s) * (len(x) + 10))
    # An eigendecomposition costs as much as about five Cholesky factors.
    row = _likelihood_row if len(v) * len(s) > 4 else _likelihood_points
    rows = [row(kernel, x, centred, v, s, gradients) for kernel in kernels]
    values = np.array([row[0] for row in rows])
    return LikelihoodGrid(values, np.array([row[1] for row in rows]) if gradients else None)


def _likelihood_row(kernel, x, y, variances, noises, gradients):
    """Return the values (v, s) for one kernel, and their gradients (v, s, p + 2) or None."""
    eigenvalues, vectors = linalg.eigh_checked(kernel.gram(x))
    scaled = np.maximum(eigenvalues, 0.0) * variances[:, None, None]
    spectrum = scaled + noises[:, None]  # (v, s, n)
    coordinates = vectors.T @ y
    ratio = coordinates / spectrum  # Ky^{-1} y in the eigenbasis
    values = -0.5 * (ratio @ coordinates + np.log(spectrum).sum(axis=2) + len(y) * _LOG_2PI)
    if not gradients:
        return values, None
    # tr[(a a^T - Ky^{-1}) D] for D = variance dK / d log theta, and for D diagonal in the basis.
    slack = ratio**2 - 1.0 / spectrum
    columns = []
    for change in kernel.gram_gradients(x):
        turned = vectors.T @ (change @ vectors)
        fit = np.einsum("vsi,vsi->vs", ratio @ turned, ratio)
        columns.append(variances[:, None] * (fit - (1.0 / spectrum) @ np.diagonal(turned)))
    columns.append((slack * scaled).sum(axis=2))
    columns.append(slack.sum(axis=2) * noises)
    return values, 0.5 * np.stack(columns, axis=2)


def _likelihood_points(kernel, x, y, variances, noises, gradients):
    """Return what ``_likelihood_row`` does, point by point."""
    gram = kernel.gram(x)
    changes = kernel.gram_gradients(x) if gradients else ()
    shape = (len(variances), len(noises))
    values, slopes = np.empty(shape), np.empty((*shape, len(changes) + 2))
    for place in np.ndindex(*shape):
        variance, noise = variances[place[0]], noises[place[1]]
        noisy = variance * gram
        noisy[np.diag_indices(len(y))] += noise
        # Of a symmetric matrix LAPACK may take the transpose, so that nothing is copied.
        lower, failed = sla.lapack.dpotrf(noisy.T, lower=1, clean=0, overwrite_a=1)
        if failed:
            return _likelihood_row(kernel, x, y, variances, noises, gradients)
        a = sla.lapack.dpotrs(lower, y, lower=1)[0]
        logdet = 2.0 * np.log(np.diagonal(lower)).sum()
        values[place] = -0.5 * (y @ a + logdet + len(y) * _LOG_2PI)
        if gradients:
            inverse = np.tril(sla.lapack.dpotri(lower, lower=1)[0])
            # Against symmetric matrices, what is below the diagonal counts twice.
            inverse *= 2.0
            inverse[np.diag_indices(len(y))] *= 0.5
            weights = np.outer(a, a) - inverse
            slopes[place][:-2] = [variance * np.vdot(weights, change) for change in changes]
            slopes[place][-2:] = variance * np.vdot(weights, gram), noise * np.trace(weights)
    return values, 0.5 * slopes


# What the functions share


def _as_noise(noise, n: int):
    """Return a variance >= 0, or one for each point."""
    if np.ndim(noise) == 0:
        return nonnegative("noise", noise)
    noise = as_vector("noise", noise, length=n)
    if noise.min() < 0:
        raise ValueError(f"noise must not be negative, got {noise.min():.3g}")
    return noise


def _noisy_gram(kernel: Kernel, x: np.ndarray, noise) -> np.ndarray:
    gram = kernel.gram(x)
    gram[np.diag_indices(len(x))] += noise
    return gram


def _mean_at(mean: float | Callable, x: np.ndarray) -> np.ndarray | float:
    """Return the prior mean at the points x."""
    if callable(mean):
        return as_vector("mean", mean(x), length=len(x))
    return float(as_vector("mean", [mean])[0])


def _positives(name: str, values) -> np.ndarray:
    values = as_vector(name, np.atleast_1d(values))
    if values.min() <= 0:
        raise ValueError(f"{name} must be positive, got {values.min():.3g}")
    return values
