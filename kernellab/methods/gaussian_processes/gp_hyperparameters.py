"""Choosing, or not choosing, the hyper-parameters of a Gaussian process.

One surface, the log marginal likelihood of the data as a function of lengthscale, amplitude and
noise, and four ways of using it:

1. Its whole posterior in place of its top (Lalchand and Rasmussen 2020)
2. A stand-in for likelihoods that are not Gaussian (Li et al. 2023)
3. A bound for many more weights than data (Harvey et al. 2025)
4. A bound that is cheap by blocks (Immer et al. 2023)

Amplitudes and noises are standard deviations everywhere; lengths are in the units of the inputs.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, ndtri, softmax

from kernellab.compute import compiled
from kernellab.compute.approximate_gp import (
    SitePosterior,
    expectation_propagation,
    laplace,
    posterior_from_sites,
    variational,
)
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    fits_in_memory,
    integer,
    nonnegative,
    one_of,
    positive,
    symmetric,
)
from kernellab.compute.elementary import exp
from kernellab.compute.features import fourier_features
from kernellab.compute.gp import ExactGP, maximise_evidence
from kernellab.compute.kernels import Gaussian, Kernel, Stretched, as_kernel
from kernellab.compute.linalg import cholesky, clip_rounding, eigh_checked
from kernellab.compute.networks import Adam, dense_network, network_jacobian, network_pullback

_LOG_2PI = math.log(2.0 * math.pi)
_LARGEST_LOG = 50.0  # beyond it a hyper-parameter counts as impossible: e^100 is still a float

# ------------------------------------------------------------------------------------------------
# 1. The whole posterior of the hyper-parameters
# ------------------------------------------------------------------------------------------------


@compiled("void(float64[:,:,::1], float64, float64[::1], float64[:,::1])", fastmath={"contract"})
def _fill_gram(squares, amplitude2, rates, gram):
    """Write amplitude2 exp(-1/2 sum_k squares_k rates_k) below and on the diagonal."""
    d, n, _ = squares.shape
    for i in range(n):
        row = gram[i]
        for j in range(i + 1):
            row[j] = 0.0
        for k in range(d):
            part = squares[k, i]
            rate = -0.5 * rates[k]
            for j in range(i + 1):
                row[j] += rate * part[j]
        for j in range(i + 1):
            row[j] = amplitude2 * exp(row[j])


@compiled(
    "boolean(float64[:,::1], float64, float64[:,::1])", fastmath={"contract", "reassoc", "nsz"}
)
def _factor(gram, noise2, lower):
    """Write the Cholesky factor of gram + noise2 I; False where a pivot is lost to rounding."""
    n = gram.shape[0]
    for i in range(n):
        for j in range(i):
            total = gram[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            lower[i, j] = total / lower[j, j]
        diagonal = gram[i, i] + noise2
        pivot = diagonal
        for k in range(i):
            pivot -= lower[i, k] * lower[i, k]
        if not pivot > n * 2.2e-16 * diagonal:
            return False
        lower[i, i] = math.sqrt(pivot)
    return True


@compiled(
    "float64(float64[:,:,::1], float64[::1], float64[::1], float64[::1], float64[::1],"
    " float64[:,:,::1], float64[:,::1], float64[::1])",
    fastmath={"contract", "reassoc", "nsz"},
)
def _log_posterior(squares, y, theta, centre, precision, work, vectors, gradient):
    """Return log p(y | theta) + log p(theta) and write its gradient; -inf where Ky is singular.

    work (3, n, n) and vectors (3, max(n, d)) are scratch.
    """
    d, n, _ = squares.shape
    p = d + 2
    for j in range(p):
        gradient[j] = 0.0
        if not abs(theta[j]) <= 50.0:
            return -np.inf
    gram, lower, inverse = work[0], work[1], work[2]
    z, a, rates = vectors[0], vectors[1], vectors[2]
    for k in range(d):
        rates[k] = math.exp(-2.0 * theta[1 + k])
    noise2 = math.exp(2.0 * theta[p - 1])
    _fill_gram(squares, math.exp(2.0 * theta[0]), rates, gram)
    if not _factor(gram, noise2, lower):
        return -np.inf
    value = -0.5 * n * 1.8378770664093453
    for i in range(n):  # lower becomes its own inverse T, row by row: T_i = (e_i - L_i T) / L_ii
        scale = 1.0 / lower[i, i]
        value += math.log(scale)
        row = inverse[i]
        for j in range(i):
            row[j] = 0.0
        for k in range(i):
            factor, above = lower[i, k], lower[k]
            for j in range(k + 1):
                row[j] -= factor * above[j]
        own = lower[i]
        total = scale * y[i]
        own[i] = scale
        for j in range(i):
            own[j] = scale * row[j]
            total += own[j] * y[j]
        z[i] = total
        value -= 0.5 * total * total
    for i in range(n):
        a[i] = 0.0
        for j in range(i + 1):
            inverse[i, j] = 0.0
    for k in range(n):  # Ky^-1 = T' T, below the diagonal
        row = lower[k]
        for i in range(k + 1):
            factor, target = row[i], inverse[i]
            a[i] += z[k] * factor
            for j in range(i + 1):
                target[j] += factor * row[j]
    # tr[(a a' - Ky^-1) dK]: what is below the diagonal counts twice, and dK has a factor 1/2 left.
    by_amplitude = 0.0
    by_noise = 0.0
    for i in range(n):
        weights, values = inverse[i], gram[i]
        for j in range(i):
            weights[j] = (a[i] * a[j] - weights[j]) * values[j]
            by_amplitude += 2.0 * weights[j]
        own = a[i] * a[i] - weights[i]
        by_amplitude += own * values[i]
        by_noise += own
        weights[i] = 0.0
    gradient[0] = by_amplitude
    gradient[p - 1] = noise2 * by_noise
    for k in range(d):
        total = 0.0
        for i in range(n):
            part, weights = squares[k, i], inverse[i]
            for j in range(i):
                total += part[j] * weights[j]
        gradient[1 + k] = rates[k] * total
    for j in range(p):
        gap = theta[j] - centre[j]
        value -= 0.5 * precision[j] * gap * gap
        gradient[j] -= precision[j] * gap
    return value


@compiled(
    "void(float64[:,:,::1], float64[::1], float64[:,::1], float64[::1], float64[::1],"
    " float64[::1], float64[:,::1])"
)
def _log_posteriors(squares, y, thetas, centre, precision, values, gradients):
    d, n, _ = squares.shape
    work, vectors = np.empty((3, n, n)), np.empty((3, max(n, d)))
    for g in range(thetas.shape[0]):
        values[g] = _log_posterior(
            squares, y, thetas[g], centre, precision, work, vectors, gradients[g]
        )


@compiled(
    "float64(float64[:,:,::1], float64[::1], float64[::1], float64[::1], float64, int64,"
    " float64[::1], float64[::1], float64, float64[::1], float64[:,:,::1], float64[:,::1])"
)
def _leap(
    squares, y, centre, precision, step, steps, theta, momentum, value, gradient, work, vectors
):
    """Move theta and momentum in place by leapfrog steps; return log p at the end (or -inf)."""
    for _ in range(steps):
        for j in range(theta.size):
            momentum[j] += 0.5 * step * gradient[j]
            theta[j] += step * momentum[j]
        value = _log_posterior(squares, y, theta, centre, precision, work, vectors, gradient)
        if value == -np.inf:
            return value
        for j in range(theta.size):
            momentum[j] += 0.5 * step * gradient[j]
    return value


@compiled("float64(float64)", forceinline=True)
def _round(value):
    """Return the multiple of 2^-23 (about 1e-7) next to a value below 2^28."""
    return (value + 805306368.0) - 805306368.0


@compiled(
    "float64(float64[:,:,::1], float64[::1], float64[::1], float64[::1], float64, int64, int64,"
    " float64[:,::1], float64[:,::1], float64[::1], float64[:,::1], float64[:,::1])"
)
def _chain(
    squares, y, centre, precision, step, steps, warmup, momenta, uniforms, start, thetas, report
):
    """Run HMC; thetas (draws, p), report (draws, 2): energy error and acceptance. Return step.

    In the warm-up the step follows dual averaging towards 80% acceptance. States and acceptance are
    kept to seven digits: what two processors' roundings do differently is gone after each move, or
    it would grow from move to move until the chains have nothing in common.
    """
    d, n, _ = squares.shape
    p = d + 2
    work, vectors = np.empty((3, n, n)), np.empty((3, max(n, d)))
    now, gradient = start.copy(), np.empty(p)
    value = _log_posterior(squares, y, now, centre, precision, work, vectors, gradient)
    anchor, drift, smooth = math.log(10.0 * step), 0.0, 0.0
    for t in range(momenta.shape[0]):
        theta, momentum, slope = now.copy(), momenta[t].copy(), gradient.copy()
        before = value
        for j in range(p):
            before -= 0.5 * momentum[j] * momentum[j]
        length = step * (0.8 + 0.4 * uniforms[t, 1])  # no orbit closes on itself every time
        after = _leap(
            squares, y, centre, precision, length, steps, theta, momentum, value, slope, work,
            vectors,
        )  # fmt: skip
        for j in range(p):
            after -= 0.5 * momentum[j] * momentum[j]
        error = after - before
        chance = 0.0
        if error == error and error > -700.0:  # neither NaN nor -inf
            chance = min(1.0, math.exp(min(error, 0.0)))
        taken = uniforms[t, 0] < chance
        if taken:
            for j in range(p):
                now[j] = _round(theta[j])
            value = _log_posterior(squares, y, now, centre, precision, work, vectors, gradient)
        if t < warmup:
            count = t + 1.0
            drift += (0.8 - _round(chance) - drift) / (count + 10.0)
            log_step = anchor - math.sqrt(count) / 0.05 * drift
            log_step = min(max(log_step, -12.0), 2.0)
            fade = count**-0.75
            smooth = fade * log_step + (1.0 - fade) * smooth
            step = math.exp(log_step)
            if t == warmup - 1:
                step = math.exp(smooth)
        for j in range(p):
            thetas[t, j] = now[j]
        report[t, 0] = min(max(error, -1e3), 1e3) if error == error else -1e3
        report[t, 1] = 1.0 if taken else 0.0
    return step


@compiled(
    "void(float64[:,:,::1], float64[::1], float64[::1], float64[::1], float64[:,:,::1], float64,"
    " boolean, float64[::1], float64[:,::1], float64[::1])"
)
def _climb(squares, y, centre, precision, normals, rate, full, mean, root, bounds):
    """Adam on E_q log p(y, theta) + entropy for q = N(mean, root root'); the late mean is kept.

    normals (steps, s, p); mean (p,) and root (p, p), lower, are the start and the result.
    """
    d, n, _ = squares.shape
    p, (steps, s, _) = d + 2, normals.shape
    work, vectors = np.empty((3, n, n)), np.empty((3, max(n, d)))
    theta, slope = np.empty(p), np.empty(p)
    state, change = np.zeros((p + 1, p)), np.empty((p + 1, p))  # mean; root, log on its diagonal
    first, second = np.zeros((p + 1, p)), np.zeros((p + 1, p))
    kept = np.zeros((p + 1, p))
    for i in range(p):
        state[0, i] = mean[i]
        for j in range(i):
            state[1 + i, j] = root[i, j]
        state[1 + i, i] = math.log(root[i, i])
    for t in range(steps):
        change[:] = 0.0
        bounds[t], used = 0.0, 0
        for m in range(s):
            for i in range(p):
                theta[i] = state[0, i] + math.exp(state[1 + i, i]) * normals[t, m, i]
                for j in range(i):
                    theta[i] += state[1 + i, j] * normals[t, m, j]
            value = _log_posterior(squares, y, theta, centre, precision, work, vectors, slope)
            if value == -np.inf:
                continue
            used += 1
            bounds[t] += value
            for i in range(p):
                change[0, i] += slope[i]
                for j in range(i + 1):
                    change[1 + i, j] += slope[i] * normals[t, m, j]
        bounds[t] /= max(used, 1)
        length = rate * (1.0 - 0.9 * t / steps)
        for i in range(p + 1):
            for j in range(p):
                if i > 0 and j > i - 1:
                    continue
                g = change[i, j] / max(used, 1)
                if i > 0 and j == i - 1:
                    g = g * math.exp(state[i, j]) + 1.0  # the entropy is sum log root_ii
                    bounds[t] += state[i, j] + 0.5 * (1.0 + 1.8378770664093453)
                elif i > 0 and not full:
                    continue
                first[i, j] += 0.1 * (g - first[i, j])
                second[i, j] += 0.01 * (g * g - second[i, j])
                up = first[i, j] / (1.0 - 0.9 ** (t + 1))
                state[i, j] += (
                    length * up / (math.sqrt(second[i, j] / (1.0 - 0.99 ** (t + 1))) + 1e-8)
                )
        late = t - steps // 2
        if late >= 0:
            for i in range(p + 1):
                for j in range(p):
                    kept[i, j] += (state[i, j] - kept[i, j]) / (late + 1.0)
    for i in range(p):
        mean[i] = kept[0, i]
        for j in range(p):
            root[i, j] = kept[1 + i, j] if j < i else 0.0
        root[i, i] = math.exp(kept[1 + i, i])


@compiled(
    "void(float64[:,:,::1], float64[:,:,::1], float64[::1], float64[:,::1], float64[:,::1],"
    " float64[:,::1], boolean[::1])",
    fastmath={"contract"},
)
def _predictions(squares, cross, y, thetas, means, variances, good):
    """Write mean and variance of f at m points for each theta; cross (d, m, n)."""
    d, n, _ = squares.shape
    m = cross.shape[1]
    gram, lower, row = np.empty((n, n)), np.empty((n, n)), np.empty(n)
    a, rates = np.empty(n), np.empty(d)
    for g in range(thetas.shape[0]):
        theta = thetas[g]
        for k in range(d):
            rates[k] = math.exp(-2.0 * theta[1 + k])
        amplitude2 = math.exp(2.0 * theta[0])
        _fill_gram(squares, amplitude2, rates, gram)
        good[g] = _factor(gram, math.exp(2.0 * theta[d + 1]), lower)
        if not good[g]:
            continue
        _solve_lower(lower, y, a)
        for i in range(n - 1, -1, -1):  # a = L^-T L^-1 y
            a[i] /= lower[i, i]
            for j in range(i):
                a[j] -= a[i] * lower[i, j]
        for q in range(m):
            for i in range(n):
                row[i] = 0.0
            for k in range(d):
                part, rate = cross[k, q], -0.5 * rates[k]
                for i in range(n):
                    row[i] += rate * part[i]
            total = 0.0
            for i in range(n):
                row[i] = amplitude2 * exp(row[i])
            for i in range(n):
                total += row[i] * a[i]
            means[g, q] = total
            _solve_lower(lower, row, row)
            left = amplitude2
            for i in range(n):
                left -= row[i] * row[i]
            variances[g, q] = max(left, 0.0)


@compiled(
    "void(float64[:,::1], float64[::1], float64[::1])", fastmath={"contract", "reassoc", "nsz"}
)
def _solve_lower(lower, right, out):
    """Write L^-1 right; out may be right."""
    for i in range(right.size):
        total = right[i]
        for j in range(i):
            total -= lower[i, j] * out[j]
        out[i] = total / lower[i, i]


class HyperPosterior:
    """The posterior of a Gaussian process's hyper-parameters, up to a constant.

    log p(theta | y) = log N(y; 0, Ky) + sum_j log N(theta_j; centre_j, deviation_j^2), with
    Ky = amplitude^2 exp(-1/2 sum_k (x_k - x'_k)^2 / length_k^2) + noise^2 I and
    theta = (log amplitude, log length_1, ..., log length_d, log noise), p = d + 2 numbers.

    Paper: approximate-inference-for-fully-bayesian (Lalchand and Rasmussen 2020, arXiv:1912.13440)

    Parameters
    ----------
    x, y : inputs (n, d) and targets (n,)
    centre : of the priors, (p,), or one number for all
    deviation : of the priors, (p,) or one number, > 0; infinity leaves the likelihood alone

    Raises ValueError for arguments that do not fit. Cost: O(n^2 d).
    """

    def __init__(self, x, y, centre=0.0, deviation=1.0):
        self.x = as_matrix("x", x)
        # Copies: compiled functions take no read-only arrays.
        self.y = as_vector("y", y, length=len(self.x)).copy()
        n, d = self.x.shape
        self.size = d + 2
        self.centre = _spread("centre", centre, self.size)
        deviation = np.array(deviation, dtype=float)
        if deviation.shape not in ((), (self.size,)) or not (deviation > 0).all():
            raise ValueError(
                f"deviation must be positive, one number or {self.size}, got {deviation}"
            )
        if deviation.min() < 1e-100:
            raise ValueError(f"deviation must be at least 1e-100, got {deviation.min():.3g}")
        self.precision = np.full(self.size, 1.0) / deviation**2
        fits_in_memory("the squared differences", 8 * d * n * n)
        self.squares = _squares(self.x, self.x)

    def log_density(self, thetas) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(y, theta) (g,) and its gradients (g, p) for thetas (g, p).

        d/d theta_j = (1/2) tr[(a a^T - Ky^-1) dKy/d theta_j] + prior, a = Ky^-1 y; -infinity and a
        gradient of 0 where Ky is singular to rounding or |theta_j| > 50. Cost: O(g n^2 (n + d)).
        """
        thetas = as_matrix("thetas", thetas, columns=self.size).copy()
        values, gradients = np.empty(len(thetas)), np.empty(thetas.shape)
        _log_posteriors(
            self.squares, self.y, thetas, self.centre, self.precision, values, gradients
        )
        gradients[np.isneginf(values)] = 0.0
        return values, gradients

    def evidence_alone(self) -> "HyperPosterior":
        """Return the same without the prior: the log marginal likelihood."""
        return HyperPosterior(self.x, self.y, self.centre, np.inf)

    def maximise(self, *, restarts: int = 3, bounds=(1e-3, 1e3), rng=0) -> np.ndarray:
        """Return the theta (p,) of the largest density, by L-BFGS from the priors' centre.

        With ``evidence_alone()`` that is ML-II: the maximiser of the marginal likelihood.
        bounds: lowest and highest of each hyper-parameter. Cost: O(n^3) for each of some 30 steps.
        """

        def evidence(theta):
            values, gradients = self.log_density(theta[None])
            if np.isneginf(values[0]):
                raise ValueError("Ky is singular to rounding")
            return float(values[0]), gradients[0]

        start = dict(zip(self.names, np.exp(np.clip(self.centre, -7, 7)).tolist(), strict=True))
        return maximise_evidence(evidence, start, bounds=bounds, restarts=restarts, rng=rng)

    @property
    def names(self) -> list[str]:
        """amplitude, length_1 ... length_d, noise."""
        return ["amplitude", *(f"length_{k + 1}" for k in range(self.size - 2)), "noise"]

    def regression(self, theta) -> ExactGP:
        """Return the exact regression with these hyper-parameters (p,); it says its jitter.

        Raises ValueError as ``ExactGP``. Cost: O(n^3).
        """
        theta = as_vector("theta", theta, length=self.size)
        values = np.exp(np.clip(theta, -_LARGEST_LOG, _LARGEST_LOG))
        kernel = values[0] ** 2 * Stretched(Gaussian(1.0), tuple(values[1:-1]))
        return ExactGP(kernel, self.x, self.y, values[-1] ** 2)


def _spread(name, value, size):
    """One number for all, or a vector (size,): checked, and a copy."""
    return as_vector(name, np.full(size, value) if np.ndim(value) == 0 else value, size).copy()


def _squares(x, other):
    """(x_ik - other_jk)^2 as (d, n, m)."""
    gaps = x.T[:, :, None] - other.T[:, None, :]
    return np.ascontiguousarray(gaps * gaps)


@dataclass(frozen=True, eq=False)
class HyperDraws:
    """Draws of hyper-parameters.

    thetas (m, p); step, the leapfrog's; acceptance, the share of moves taken; energy_errors (m,).
    """

    thetas: np.ndarray
    step: float
    acceptance: float
    energy_errors: np.ndarray


def leapfrog(posterior: HyperPosterior, theta, momentum, step: float, steps: int):
    """Return theta and momentum (p,) after leapfrog steps along H = |momentum|^2/2 - log p(theta).

    Each: momentum += step/2 grad, theta += step momentum, momentum += step/2 grad. It is
    reversible, keeps volume, and keeps H to O(step^2). Where Ky becomes singular it stays there.

    Paper: approximate-inference-for-fully-bayesian (Lalchand and Rasmussen 2020, arXiv:1912.13440)

    Parameters: posterior; theta, momentum (p,); step > 0; steps >= 1.
    Raises ValueError for arguments that do not fit. Cost: O(steps n^3).
    """
    theta = as_vector("theta", theta, posterior.size).copy()
    momentum = as_vector("momentum", momentum, posterior.size).copy()
    step, steps = positive("step", step), integer("steps", steps, low=1)
    n, d = posterior.x.shape
    values, gradients = posterior.log_density(theta[None])
    if np.isneginf(values[0]):
        raise ValueError("theta must have a positive density: its Ky is singular to rounding")
    _leap(
        posterior.squares, posterior.y, posterior.centre, posterior.precision, step, steps, theta,
        momentum, float(values[0]), gradients[0], np.empty((3, n, n)), np.empty((3, max(n, d))),
    )  # fmt: skip
    return theta, momentum


def hamiltonian_draws(
    posterior: HyperPosterior, draws: int, rng, *, steps: int = 20, warmup: int = 100, start=None
) -> HyperDraws:
    """Return draws of theta by Hamiltonian Monte Carlo.

    A fresh momentum, ``steps`` leapfrog steps, and a Metropolis decision on the change of energy.
    In the warm-up the step is tuned to 80% acceptance by dual averaging.

    Paper: approximate-inference-for-fully-bayesian (Lalchand and Rasmussen 2020, arXiv:1912.13440)

    Parameters
    ----------
    posterior : ``HyperPosterior``
    draws, warmup : how many are kept, and how many are thrown away before
    steps : leapfrog steps a draw
    start : (p,); None: the priors' centre

    Raises ValueError for numbers out of range or a start with a singular Ky.
    Cost: O((draws + warmup) steps n^3). Source of the step rule: Hoffman and Gelman 2014.
    """
    draws, warmup = integer("draws", draws, low=1), integer("warmup", warmup, low=1)
    steps, rng = integer("steps", steps, low=1), as_rng(rng)
    start = posterior.centre if start is None else start
    start = as_vector("start", start, posterior.size).copy()
    if np.isneginf(posterior.log_density(start[None])[0][0]):
        raise ValueError("start must have a positive density: its Ky is singular to rounding")
    total = draws + warmup
    thetas, report = np.empty((total, posterior.size)), np.empty((total, 2))
    step = _chain(
        posterior.squares, posterior.y, posterior.centre, posterior.precision, 0.1, steps, warmup,
        rng.standard_normal(thetas.shape), rng.random((total, 2)), start, thetas, report,
    )  # fmt: skip
    kept = report[warmup:]
    return HyperDraws(thetas[warmup:], step, float(kept[:, 1].mean()), kept[:, 0])


@dataclass(frozen=True, eq=False)
class GaussianFit:
    """q = N(mean, root root^T) over theta: mean (p,), root (p, p) lower, the bound's path (t,)."""

    mean: np.ndarray
    root: np.ndarray
    bounds: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """(p, p)."""
        return self.root @ self.root.T

    def draws(self, m: int, rng) -> np.ndarray:
        """Return m draws of theta (m, p). Cost: O(m p^2)."""
        normals = as_rng(rng).standard_normal((integer("m", m, low=1), len(self.mean)))
        return self.mean + normals @ self.root.T


def variational_hyperposterior(
    posterior: HyperPosterior, rng, *, full: bool = True, steps: int = 500, samples: int = 4
) -> GaussianFit:
    """Return the Gaussian q(theta) that maximises E_q log p(y, theta) + entropy of q.

    theta = mean + root e with normal e: the gradient goes through (reparameterisation); Adam, with
    draws in mirrored pairs and a mean over the second half of the path.

    Paper: approximate-inference-for-fully-bayesian (Lalchand and Rasmussen 2020, arXiv:1912.13440)

    Parameters
    ----------
    posterior : ``HyperPosterior``
    full : a full covariance; False: a diagonal one (mean field)
    steps, samples : of Adam, and draws a step (an even number)

    Raises ValueError for numbers out of range. Cost: O(steps samples n^3).
    """
    steps, samples = integer("steps", steps, low=2), integer("samples", samples, low=2)
    if samples % 2:
        raise ValueError(f"samples must be even, they come in mirrored pairs, got {samples}")
    half = as_rng(rng).standard_normal((steps, samples // 2, posterior.size))
    normals = np.ascontiguousarray(np.concatenate([half, -half], axis=1))
    mean, root = posterior.centre.copy(), 0.3 * np.eye(posterior.size)
    bounds = np.empty(steps)
    _climb(
        posterior.squares, posterior.y, posterior.centre, posterior.precision, normals, 0.1,
        bool(full), mean, root, bounds,
    )  # fmt: skip
    return GaussianFit(mean, root, bounds)


@dataclass(frozen=True, eq=False)
class MixturePrediction:
    """Predictions of y under several hyper-parameters, weighted; noise is included.

    means, variances (g, m); weights (g,), summing to 1; jitter, the largest that a Ky needed.
    """

    means: np.ndarray
    variances: np.ndarray
    weights: np.ndarray
    jitter: float

    @property
    def mean(self) -> np.ndarray:
        """The mean of the means, (m,)."""
        return self.weights @ self.means

    @property
    def variance(self) -> np.ndarray:
        """The mean of the variances and the variance of the means, (m,)."""
        return self.weights @ (self.variances + (self.means - self.mean) ** 2)

    def log_density(self, y) -> np.ndarray:
        """Return log sum_g w_g N(y_j; m_gj, v_gj), (m,)."""
        gap = as_vector("y", y, self.means.shape[1]) - self.means
        logs = -0.5 * (gap**2 / self.variances + np.log(self.variances) + _LOG_2PI)
        return logsumexp(logs, axis=0, b=self.weights[:, None])


def predict_mixture(posterior: HyperPosterior, thetas, at, weights=None) -> MixturePrediction:
    """Return the predictions of y at points (m, d), averaged over hyper-parameters (g, p).

    p(y*) = sum_g w_g N(y*; m_g, v_g + noise_g^2), the Gaussian process being exact for each theta.
    A Ky that is singular to rounding gets jitter, and the answer says how much.

    Paper: approximate-inference-for-fully-bayesian (Lalchand and Rasmussen 2020, arXiv:1912.13440)

    Parameters: posterior; thetas (g, p), one row for a plug-in prediction; at (m, d); weights (g,),
    nonnegative, None: equal. Raises ValueError for arguments that do not fit.
    Cost: O(g n^2 (n + m)).
    """
    thetas = as_matrix("thetas", thetas, columns=posterior.size).copy()
    at = as_matrix("at", at, columns=posterior.x.shape[1])
    if np.abs(thetas).max() > _LARGEST_LOG:
        raise ValueError("thetas must lie between -50 and 50, they are logarithms")
    g = len(thetas)
    weights = np.full(g, 1.0 / g) if weights is None else as_vector("weights", weights, g)
    if weights.min() < 0 or weights.sum() <= 0:
        raise ValueError("weights must not be negative, and not all 0")
    means, variances = np.empty((g, len(at))), np.empty((g, len(at)))
    good, jitter = np.empty(g, dtype=bool), 0.0
    _predictions(
        posterior.squares, _squares(at, posterior.x), posterior.y, thetas, means, variances, good
    )
    for row in np.flatnonzero(~good):
        gp = posterior.regression(thetas[row])
        means[row], variances[row] = gp.predict(at)
        jitter = max(jitter, gp.jitter)
    variances += np.exp(2.0 * thetas[:, -1:])
    return MixturePrediction(means, variances, weights / weights.sum(), jitter)


# ------------------------------------------------------------------------------------------------
# 2. Labels: sites from one objective, hyper-parameters from another
# ------------------------------------------------------------------------------------------------

OBJECTIVES = ("laplace", "elbo", "ep-like", "ep")


def two_moons(n: int, noise: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return n points on two interleaved half circles (n, 2) and their labels -1, 1 (n,).

    noise: standard deviation around the arcs. Raises ValueError for bad numbers. Cost: O(n).
    """
    n, noise, rng = integer("n", n, low=2), nonnegative("noise", noise), as_rng(rng)
    labels = np.where(np.arange(n) % 2 == 0, -1.0, 1.0)
    angle = math.pi * rng.random(n)
    lower = labels > 0
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    x[lower] = np.array([1.0, 0.5]) - x[lower]
    return x + noise * rng.standard_normal((n, 2)), labels


def principal_parts(measurements, parts: int = 2) -> np.ndarray:
    """Return the first principal components (n, parts) of standardised columns, each of variance 1.

    Parameters: measurements (n, d) with n >= 2; parts from 1 to min(n, d). Raises ValueError for a
    column without variance or bad numbers. Cost: O(n d^2).
    """
    z = as_matrix("measurements", measurements, min_rows=2)
    parts = integer("parts", parts, low=1, high=min(z.shape))
    spread = z.std(axis=0)
    if spread.min() <= 0:
        raise ValueError("measurements must vary in every column")
    z = (z - z.mean(axis=0)) / spread
    values, vectors = eigh_checked(z.T @ z / len(z))
    return z @ vectors[:, :parts] / np.sqrt(values[:parts])


def site_objectives(kernel, x, y, likelihood, *, which=OBJECTIVES, start=None):
    """Return estimates of log p(y) by name, and the variational posterior they share.

    "laplace": at the mode; "elbo": the variational bound; "ep-like": expectation propagation's
    estimate at the *variational* sites; "ep": the same at its own, converged sites.

    Paper: improving-hyperparameter-learning-under (Li et al. 2023, arXiv:2306.04201)

    Parameters
    ----------
    kernel, x, y, likelihood : as in ``kernellab.compute.approximate_gp``
    which : names out of OBJECTIVES
    start : a ``SitePosterior`` of a near-by model, or None

    Returns
    -------
    dict name -> float, and a ``SitePosterior`` (None if neither "elbo" nor "ep-like" is asked for)

    Raises ValueError for arguments that do not fit. Cost: O(n^3) for each of some 30 iterations.
    """
    for name in which:
        one_of("which", name, OBJECTIVES)
    found, sites = {}, None
    if "elbo" in which or "ep-like" in which:
        sites = variational(kernel, x, y, likelihood, tolerance=1e-5, start=start)
    for name in which:
        if name == "laplace":
            found[name] = laplace(kernel, x, y, likelihood).evidence
        elif name == "elbo":
            found[name] = sites.evidence
        elif name == "ep-like":
            found[name] = sites.ep_evidence()
        else:
            near = start if sites is None else sites
            found[name] = expectation_propagation(
                kernel, x, y, likelihood, tolerance=1e-6, start=near
            ).evidence
    return found, sites


def objective_surface(
    x, y, likelihood, amplitudes, lengths, *, which=OBJECTIVES
) -> Iterator[tuple[float, dict[str, np.ndarray]]]:
    """Yield (share done, surfaces) row by row: each surface (amplitudes, lengths), NaN ahead.

    Gaussian kernels; each fit starts at the sites of the last one.

    Paper: improving-hyperparameter-learning-under (Li et al. 2023, arXiv:2306.04201)

    Parameters: x (n, d); y (n,); likelihood; amplitudes (a,) and lengths (l,), positive; which, as
    in ``site_objectives``. Raises ValueError for arguments that do not fit. Cost: O(a l) fits.
    """
    amplitudes, lengths = as_vector("amplitudes", amplitudes), as_vector("lengths", lengths)
    if min(amplitudes.min(), lengths.min()) <= 0:
        raise ValueError("amplitudes and lengths must be positive")
    surfaces = {name: np.full((len(amplitudes), len(lengths)), np.nan) for name in which}
    for row, amplitude in enumerate(amplitudes):
        sites = None
        for column, length in enumerate(lengths):
            kernel = amplitude**2 * Gaussian(length)
            found, sites = site_objectives(kernel, x, y, likelihood, which=which, start=sites)
            for name, value in found.items():
                surfaces[name][row, column] = value
        yield (row + 1) / len(amplitudes), surfaces


@dataclass(frozen=True, eq=False)
class Learned:
    """A kernel, the variational sites it was chosen with, the objective after each round (rounds,),
    and the kernels on the way, the start included.
    """

    kernel: Kernel
    posterior: SitePosterior
    path: np.ndarray
    kernels: tuple


def learn_hyperparameters(
    kernel, x, y, likelihood, *, objective="ep-like", rounds=30, e_steps=20, m_steps=20
) -> Iterator[tuple[float, Learned]]:
    """Yield (share done, Learned) while sites and hyper-parameters are improved in turn.

    E-step: variational updates of the sites. M-step: the sites stay as they are, the kernel moves
    to raise ``objective``: "elbo", the bound that the sites maximise, or "ep-like",

        log int p(f) prod t_i df + sum_i [ log int p(y_i | f) c_i df - log int t_i c_i df ],

    with t_i the sites and c_i the cavities (the posterior without site i). Stops when a round
    raises it by less than 1e-5 n.

    Paper: improving-hyperparameter-learning-under (Li et al. 2023, arXiv:2306.04201)

    Parameters
    ----------
    kernel, x, y, likelihood : the model; the kernel's hyper-parameters are where it starts
    rounds, e_steps, m_steps : most rounds, site updates and L-BFGS steps a round

    Raises ValueError for arguments that do not fit. Cost: O(n^3) a step, times 2 p + 1 in M-steps.
    """
    one_of("objective", objective, ("elbo", "ep-like"))
    rounds, e_steps = integer("rounds", rounds, low=1), integer("e_steps", e_steps, low=1)
    m_steps, kernel = integer("m_steps", m_steps, low=1), as_kernel(kernel)
    theta = np.log(list(kernel.hyperparameters.values()))
    sites, path, kernels = None, [], [kernel]

    def loss(theta, sites):
        moved = kernel.with_log_hyperparameters(theta)
        try:
            new = posterior_from_sites(
                moved, sites.x, sites.y, likelihood, sites.shift, sites.precision
            )
            value = new.elbo() if objective == "elbo" else new.ep_evidence()
        except ValueError:  # no cavity, or no proper posterior: no place to go
            return 1e10
        return -value if math.isfinite(value) else 1e10

    low, high = theta - 5.0, theta + 5.0
    for round_ in range(rounds):
        kernel = kernel.with_log_hyperparameters(theta)
        sites = variational(kernel, x, y, likelihood, max_iterations=e_steps, start=sites)
        bounds = list(zip(np.maximum(theta - 1, low), np.minimum(theta + 1, high), strict=True))
        end = minimize(
            loss, theta, args=(sites,), method="L-BFGS-B", bounds=bounds,
            options={"maxiter": m_steps},
        )  # fmt: skip
        path.append(-float(end.fun))
        theta = end.x
        kernels.append(kernel.with_log_hyperparameters(theta))
        still = round_ > 0 and path[-1] - path[-2] < 1e-5 * len(sites.y)
        done = still or round_ == rounds - 1
        yield (
            1.0 if done else (round_ + 1) / rounds,
            Learned(kernels[-1], sites, np.array(path), tuple(kernels)),
        )
        if done:
            return


# ------------------------------------------------------------------------------------------------
# 3. Many weights, few data: the data-emphasised bound
# ------------------------------------------------------------------------------------------------


def best_prior_variance(mean, variance: float, centre=0.0) -> float:
    """Return the prior variance lam that maximises the bound: (|mean - centre|^2 + D variance) / D.

    Paper: learning-hyperparameters-via-a-data (Harvey et al. 2025, arXiv:2502.01861)

    Parameters: mean (D,); variance, of the isotropic posterior, >= 0; centre, (D,) or a number.
    Raises ValueError for arguments that do not fit. Cost: O(D).
    """
    mean = as_vector("mean", mean)
    centre = _spread("centre", centre, mean.size)
    gap = mean - centre
    return float(gap @ gap / mean.size) + nonnegative("variance", variance)


def emphasised_bound(features, y, mean, variance, prior_variance, noise, kappa=1.0) -> float:
    """Return J_kappa = kappa sum_i E_q log N(y_i; phi_i w, noise^2) - KL(q | p).

    q = N(mean, variance I), p = N(0, prior_variance I), KL = 1/2 [ D variance/lam + |mean|^2/lam
    - D + D log(lam/variance) ], lam = prior_variance. kappa = 1 is the evidence lower bound.

    Paper: learning-hyperparameters-via-a-data (Harvey et al. 2025, arXiv:2502.01861)

    Parameters: features (N, D); y (N,); mean (D,); variance, prior_variance, noise, kappa, > 0.
    Raises ValueError for arguments that do not fit. Cost: O(N D).
    """
    features = as_matrix("features", features)
    n, d = features.shape
    y, mean = as_vector("y", y, n), as_vector("mean", mean, d)
    variance, lam = positive("variance", variance), positive("prior_variance", prior_variance)
    noise2, kappa = positive("noise", noise) ** 2, positive("kappa", kappa)
    miss = np.sum((y - features @ mean) ** 2) + variance * np.sum(features**2)
    expected = -0.5 * (n * math.log(noise2) + n * _LOG_2PI + miss / noise2)
    kl = 0.5 * (d * variance / lam + mean @ mean / lam - d + d * math.log(lam / variance))
    return float(kappa * expected - kl)


@compiled("int64(float64[::1], float64[::1], int64, float64, float64, boolean, float64[::1])")
def _ascend(spectrum, powers, d, kappa, tolerance, learn_noise, state):
    """Coordinate ascent on (prior variance, noise^2); return how many rounds it took.

    spectrum: eigenvalues of Phi Phi' (n,); powers: squared coordinates of y in its basis (n,);
    state: prior variance and noise^2, the start and the end, then q's variance and training error.
    """
    n = spectrum.size
    trace = spectrum.sum()
    for t in range(100_000):
        lam, noise2 = state[0], state[1]
        ridge = noise2 / (kappa * lam)
        variance = d / (kappa * trace / noise2 + d / lam)
        norm, miss = 0.0, 0.0
        for i in range(n):
            share = 1.0 / (spectrum[i] + ridge)
            norm += spectrum[i] * powers[i] * share * share
            miss += powers[i] * (ridge * share) ** 2
        new_lam = max(norm / d + variance, 1e-14)
        new_noise2 = max((miss + variance * trace) / n, 1e-14) if learn_noise else noise2
        change = abs(math.log(new_lam / lam)) + abs(math.log(new_noise2 / noise2))
        state[0], state[1], state[2], state[3] = new_lam, new_noise2, variance, miss / n
        if change < tolerance:
            return t + 1
    return 100_000


@dataclass(frozen=True, eq=False)
class IsotropicFit:
    """The maximiser of the data-emphasised bound for given features.

    mean (D,), variance: of q; prior_variance; noise (standard deviation); training_error (mean
    square of the mean's residuals); bound, J_kappa; iterations, of all updates.
    """

    mean: np.ndarray
    variance: float
    prior_variance: float
    noise: float
    training_error: float
    bound: float
    iterations: int

    def predict(self, features) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the function at features (m, D), (m,) each."""
        features = as_matrix("features", features, columns=self.mean.size)
        return features @ self.mean, self.variance * np.sum(features**2, axis=1)


def fit_isotropic(features, y, kappa: float = 1.0, *, noise: float | None = None) -> IsotropicFit:
    """Return the q, prior variance and noise that maximise J_kappa, by exact coordinate updates.

    mean = (Phi'Phi + r I)^-1 Phi'y with r = noise^2 / (kappa lam); variance = D / (kappa
    tr(Phi'Phi)/noise^2 + D/lam); lam = (|mean|^2 + D variance)/D; noise^2 = (|y - Phi mean|^2 +
    variance tr(Phi'Phi))/N.

    Paper: learning-hyperparameters-via-a-data (Harvey et al. 2025, arXiv:2502.01861)

    Parameters
    ----------
    features : (N, D), not all 0
    y : (N,)
    kappa : > 0; 1 is the evidence lower bound, D/N the paper's choice
    noise : keep this standard deviation; None: learn it

    Raises ValueError for arguments that do not fit. Cost: O(N^2 (N + D)) and O(N) an update.
    """
    features = as_matrix("features", features)
    n, d = features.shape
    y, kappa = as_vector("y", y, n), positive("kappa", kappa)
    values, vectors = eigh_checked(features @ features.T)
    spectrum, coordinates = clip_rounding(values), vectors.T @ y
    if spectrum[0] <= 0.0:
        raise ValueError("features must not all be 0")
    start = max(float(np.var(y)), 1e-6)
    noise2 = 0.1 * start if noise is None else positive("noise", noise) ** 2
    state = np.array([max(start * n / spectrum.sum(), 1e-12), noise2, 0.0, 0.0])
    iterations = _ascend(spectrum, coordinates**2, d, kappa, 1e-9, noise is None, state)
    lam, noise2, variance, error = state.tolist()
    shares = coordinates / (spectrum + noise2 / (kappa * lam))
    mean, noise = features.T @ (vectors @ shares), math.sqrt(noise2)
    # The bound of these very updates, in the basis where it costs O(N).
    bound = isotropic_bounds(spectrum, coordinates, d, [lam], noise, kappa)[0]
    return IsotropicFit(mean, variance, lam, noise, error, float(bound), iterations)


def feature_spectrum(features, y) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of Phi Phi' (n,), descending, and the coordinates of y in its basis.

    With them every bound of this section costs O(n). Cost: O(n^2 (n + D)).
    """
    features = as_matrix("features", features)
    y = as_vector("y", y, len(features))
    values, vectors = eigh_checked(features @ features.T)
    return clip_rounding(values), vectors.T @ y


def isotropic_bounds(spectrum, coordinates, d: int, prior_variances, noise, kappa) -> np.ndarray:
    """Return max over q of J_kappa for each prior variance (v,), given noise and features.

    Paper: learning-hyperparameters-via-a-data (Harvey et al. 2025, arXiv:2502.01861)

    Parameters: spectrum, coordinates (n,), from ``feature_spectrum``; d, the number of features;
    prior_variances (v,), > 0; noise (standard deviation) and kappa, > 0.
    Returns (v,). Raises ValueError for arguments that do not fit. Cost: O(v n).
    """
    spectrum = as_vector("spectrum", spectrum)
    if spectrum.min() < 0:
        raise ValueError(f"spectrum must not be negative, got {spectrum.min():.3g}")
    powers, n = as_vector("coordinates", coordinates, spectrum.size) ** 2, spectrum.size
    d, kappa = integer("d", d, low=1), positive("kappa", kappa)
    lam, noise2 = as_vector("prior_variances", prior_variances), positive("noise", noise) ** 2
    if lam.min() <= 0:
        raise ValueError(f"prior_variances must be positive, got {lam.min():.3g}")
    ridge = noise2 / (kappa * lam)
    share = 1.0 / (spectrum + ridge[:, None])
    norm = (spectrum * share**2) @ powers
    miss = ridge**2 * (share**2 @ powers)
    trace = spectrum.sum()
    variance = d / (kappa * trace / noise2 + d / lam)
    expected = -0.5 * (n * (math.log(noise2) + _LOG_2PI) + (miss + variance * trace) / noise2)
    kl = 0.5 * (d * variance / lam + norm / lam - d + d * np.log(lam / variance))
    return kappa * expected - kl


@functools.lru_cache(maxsize=16)
def _unit_frequencies(d_in: int, features: int, seed: int):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((features, d_in)), rng.uniform(0.0, 2.0 * math.pi, features)


def cosine_features(x, length: float, features: int, seed: int = 0) -> np.ndarray:
    """Return sqrt(2/D) cos(x w/length + b), (n, D): weights N(0, a^2) make a GP of amplitude a.

    Frequencies and phases depend on the seed alone, so that lengths can be compared.

    Parameters: x (n, d); length > 0; features D >= 1; seed. Raises ValueError for bad arguments.
    Cost: O(n d D).
    """
    x, length = as_matrix("x", x), positive("length", length)
    features, seed = integer("features", features, low=1), integer("seed", seed, low=0)
    frequencies, phases = _unit_frequencies(x.shape[1], features, seed)
    return fourier_features(x, frequencies / length, phases)


@dataclass(frozen=True, eq=False)
class Transfer:
    """A network whose weights have an isotropic posterior around those of a pretrained one.

    weights, the means, as layers; deviation, of q; prior_variances, {"backbone", "head"}; bounds,
    the path of J_kappa (t,), in units of one datum.
    """

    weights: list
    deviation: float
    prior_variances: dict
    bounds: np.ndarray

    def classify(self, x) -> np.ndarray:
        """Return the most probable class of each row of x (n, d): (n,)."""
        return _outputs(self.weights, as_matrix("x", x)).argmax(axis=1)


def _outputs(weights, x):
    """What the network makes of x, (n, C)."""
    return network_pullback(weights, x)[0]


def _softmax_gradient(weights, x, labels):
    """Sum of log p(label | x) and its gradient, as layers."""
    scores, pullback = network_pullback(weights, x)
    logs = scores - logsumexp(scores, axis=1, keepdims=True)
    push = -np.exp(logs)
    push[np.arange(len(x)), labels] += 1.0
    return float(logs[np.arange(len(x)), labels].sum()), pullback(push)[0]


def _as_labels(labels, n: int) -> np.ndarray:
    """Checked classes 0, 1, ... (n,) as integers."""
    values = as_vector("labels", labels, n)
    if values.min() < 0 or (values != np.floor(values)).any():
        raise ValueError("labels must be classes 0, 1, 2, ...")
    return values.astype(np.int64)


def fine_tune(
    pretrained, x, labels, kappa: float, rng, *, steps: int = 600, rate: float = 0.01
) -> Iterator[tuple[float, Transfer]]:
    """Yield (share done, Transfer): a posterior q = N(m, s^2 I) of all weights, by J_kappa.

    J_kappa = kappa sum_i E_q log p(y_i | w) - KL(q | p). The prior is N(pretrained, lam_1 I) for
    the hidden layer (the backbone) and N(0, lam_2 I) for a new head; after each step both lam take
    their best values, lam = |m - centre|^2 / D + s^2. E_q by one draw w = m + s e a step.

    Paper: learning-hyperparameters-via-a-data (Harvey et al. 2025, arXiv:2502.01861)

    Parameters
    ----------
    pretrained : [(W (d, h), b (h,)), anything], layers as from ``dense_network``
    x, labels : (n, d), and classes 0, 1, ... (n,)
    kappa : > 0; D/n is the paper's choice
    steps, rate : of Adam

    Raises ValueError for arguments that do not fit. Cost: O(steps n d h).
    """
    kappa, rng = positive("kappa", kappa), as_rng(rng)
    if len(pretrained) == 0:
        raise ValueError("pretrained must hold a layer (W, b)")
    w1, b1 = pretrained[0]
    x = as_matrix("x", x, columns=len(w1))
    labels, steps = _as_labels(labels, len(x)), integer("steps", steps, low=1)
    hidden, classes = len(b1), int(labels.max()) + 1
    centre = [(w1, b1), (np.zeros((hidden, classes)), np.zeros(classes))]
    mean = [(w1.copy(), b1.copy()), dense_network([hidden, classes], rng)[0]]
    # Not much smaller: near s = 0 the prior variances shrink with s, and kappa = 1 lingers there.
    log_deviation, path = np.array([math.log(0.1)]), []
    adam = Adam([mean, log_deviation], step=positive("rate", rate))
    sizes = [w.size + b.size for w, b in mean]
    for t in range(steps):
        deviation = math.exp(log_deviation[0])
        gaps = [
            sum(np.sum((m - c) ** 2) for m, c in zip(layer, fixed, strict=True))
            for layer, fixed in zip(mean, centre, strict=True)
        ]
        lams = [gap / size + deviation**2 for gap, size in zip(gaps, sizes, strict=True)]
        normals = [tuple(rng.standard_normal(a.shape) for a in layer) for layer in mean]
        drawn = [
            tuple(m + deviation * e for m, e in zip(layer, noise, strict=True))
            for layer, noise in zip(mean, normals, strict=True)
        ]
        value, slope = _softmax_gradient(drawn, x, labels)
        # Down the negative bound, divided by kappa n so that all kappa have steps of one size.
        scale, by_deviation, down = 1.0 / (kappa * len(x)), 0.0, []
        for layer, fixed, push, noise, lam in zip(mean, centre, slope, normals, lams, strict=True):
            down.append(
                tuple(
                    scale * ((m - c) / lam - kappa * g)
                    for m, c, g in zip(layer, fixed, push, strict=True)
                )
            )
            by_deviation -= kappa * sum(np.sum(g * e) for g, e in zip(push, noise, strict=True))
        pull = sum(
            size * (deviation / lam - 1.0 / deviation)
            for size, lam in zip(sizes, lams, strict=True)
        )
        kl = 0.5 * sum(
            size * math.log(lam / deviation**2) for size, lam in zip(sizes, lams, strict=True)
        )
        path.append((kappa * value - kl) * scale)
        adam.update([down, np.array([scale * deviation * (by_deviation + pull)])])
        if (t + 1) % 25 == 0 or t == steps - 1:
            copies = [tuple(a.copy() for a in layer) for layer in mean]
            named = dict(zip(("backbone", "head"), lams, strict=True))
            yield (t + 1) / steps, Transfer(copies, deviation, named, np.array(path))


def train_classifier(
    x, labels, hidden: int, decay: float, rng, *, steps: int = 200, start=None
) -> list:
    """Return a network with one tanh layer, fitted to labels: softmax loss + decay |w|^2 / 2.

    Parameters: x (n, d); labels 0, 1, ... (n,); hidden >= 1; decay >= 0; steps of L-BFGS; start,
    layers to begin with. Returns layers as ``dense_network``. Raises ValueError for bad arguments.
    Cost: O(steps n d h).
    """
    x, decay = as_matrix("x", x), nonnegative("decay", decay)
    labels, hidden = _as_labels(labels, len(x)), integer("hidden", hidden, low=1)
    begin = start or dense_network([x.shape[1], hidden, int(labels.max()) + 1], as_rng(rng))
    return _fit_network(begin, decay, steps, lambda w: _softmax_gradient(w, x, labels))


def train_regression(
    x, y, hidden: int, noise: float, precisions, rng, *, steps: int = 200, start=None
) -> list:
    """Return the most probable network with one tanh layer for y = f(x) + noise e.

    Minimises |y - f|^2 / (2 noise^2) + sum_l delta_l |w_l|^2 / 2, delta_l the layers'
    precisions, by Levenberg and Marquardt's damped Gauss-Newton steps, to rest at a local minimum.

    Parameters: x (n, d); y (n,); hidden >= 1; noise > 0; precisions, one number or (2,); most
    steps; start, layers to begin with. Raises ValueError for bad arguments.
    Cost: O(n P^2 + P^3) a step.
    """
    x, noise = as_matrix("x", x), positive("noise", noise)
    y, hidden = as_vector("y", y, len(x)), integer("hidden", hidden, low=1)

    weights = start or dense_network([x.shape[1], hidden, 1], as_rng(rng))
    delta = _spread("precisions", precisions, 2)
    if delta.min() < 0:
        raise ValueError(f"precisions must not be negative, got {delta.min():.3g}")
    pull = np.repeat(delta, [sum(a.size for a in layer) for layer in weights])

    def loss(weights):
        miss = y - _outputs(weights, x)[:, 0]
        flat = np.concatenate([a.ravel() for layer in weights for a in layer])
        return 0.5 * float(miss @ miss / noise**2 + pull @ flat**2), miss, flat

    damping, (value, miss, flat) = 1.0, loss(weights)
    for _ in range(integer("steps", steps, low=1)):
        jacobian = network_jacobian(weights, x)
        slope = jacobian.T @ miss / noise**2 - pull * flat
        curvature = jacobian.T @ jacobian / noise**2
        while damping < 1e12:
            system = curvature + np.diag(pull + damping)
            proposal = _as_layers(flat + np.linalg.solve(system, slope), weights)
            new = loss(proposal)
            if new[0] < value:
                break
            damping *= 4.0
        if damping >= 1e12:
            break
        gained, weights, damping = value - new[0], proposal, max(damping / 4.0, 1e-9)
        value, miss, flat = new
        if gained < 1e-9 * (1.0 + value):
            break
    return weights


def _as_layers(flat, like):
    """Cut a vector into two layers of the shapes of ``like``."""
    shapes = [a.shape for layer in like for a in layer]
    cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = [part.reshape(s) for part, s in zip(np.split(flat, cuts), shapes, strict=True)]
    return [(parts[0], parts[1]), (parts[2], parts[3])]


def _fit_network(begin, precisions, steps, log_likelihood):
    """L-BFGS on log likelihood - sum_l precision_l |w_l|^2 / 2, from the layers ``begin``."""
    precisions = _spread("precisions", precisions, 2)
    if precisions.min() < 0:
        raise ValueError(f"precisions must not be negative, got {precisions.min():.3g}")
    pull = np.concatenate(
        [np.full(sum(a.size for a in layer), p) for layer, p in zip(begin, precisions, strict=True)]
    )

    def loss(flat):
        value, slope = log_likelihood(_as_layers(flat, begin))
        down = pull * flat - np.concatenate([g.ravel() for layer in slope for g in layer])
        return 0.5 * float(pull @ flat**2) - value, down

    flat = np.concatenate([a.ravel() for layer in begin for a in layer])
    options = {"maxiter": integer("steps", steps, low=1), "maxfun": 3 * steps}
    end = minimize(loss, flat, jac=True, method="L-BFGS-B", options=options)
    return _as_layers(end.x, begin)


# ------------------------------------------------------------------------------------------------
# 4. One log-determinant, block by block
# ------------------------------------------------------------------------------------------------


def fischer_bound(matrix, blocks) -> float:
    """Return sum_b log det(I + M_bb) >= log det(I + M), for a partition of the rows into blocks.

    Fischer's inequality: forgetting what couples two blocks can only raise the determinant.

    Paper: stochastic-marginal-likelihood-gradients (Immer et al. 2023, arXiv:2306.03968)

    Parameters: matrix M (m, m), positive semidefinite; blocks, index arrays that together hold each
    row once. Raises ValueError otherwise. Cost: O(sum_b |b|^3).
    """
    matrix = symmetric("matrix", matrix)
    return sum(_logdet_one_plus(matrix, block) for block in as_partition(blocks, len(matrix)))


def _logdet_one_plus(matrix, block):
    part = matrix[np.ix_(block, block)]
    part[np.diag_indices(len(block))] += 1.0
    return cholesky(part).logdet()


def as_partition(blocks, m: int) -> list[np.ndarray]:
    """Return blocks as index arrays, checked to hold each of 0 ... m-1 exactly once."""
    if not np.iterable(blocks):
        raise ValueError(f"blocks must be a list of index arrays, got {blocks!r}")
    parts = [np.asarray(block) for block in blocks]
    whole = np.concatenate([part.ravel() for part in parts]) if parts else np.empty(0, int)
    if any(p.ndim != 1 or p.size == 0 or p.dtype.kind not in "iu" for p in parts):
        raise ValueError("blocks must be index arrays, one-dimensional and not empty")
    if not np.array_equal(np.sort(whole), np.arange(m)):
        raise ValueError(f"blocks must hold each row from 0 to {m - 1} exactly once")
    return parts


def groups(n: int, size: int, how: str, rng=0, order=None) -> list[np.ndarray]:
    """Return a partition of n points into groups of ``size`` (the last may be smaller).

    how: "random", or "neighbours": consecutive in the ``order`` values (n,), inputs or classes.
    Raises ValueError for arguments that do not fit. Cost: O(n log n).
    """
    n, size = integer("n", n, low=1), integer("size", size, low=1)
    one_of("how", how, ("random", "neighbours"))
    shuffled = as_rng(rng).permutation(n)
    if how == "neighbours":
        values = as_vector("order", np.arange(n) if order is None else order, n)
        shuffled = shuffled[np.argsort(values[shuffled], kind="stable")]
    return [shuffled[i : i + size] for i in range(0, n, size)]


def output_jacobians(weights, x) -> np.ndarray:
    """Return d f_c(x_i) / d w_k of a tanh network for each of its C outputs: (n, C, P).

    Columns are in the order W_1 (row by row), b_1, W_2, b_2, ...

    Parameters: weights, layers as from ``dense_network``; x (n, d). Raises ValueError for arguments
    that do not fit. Cost: O(n C P).
    """
    if len(weights) == 0:
        raise ValueError("weights must hold layers (W, b)")
    x, (last, bias) = as_matrix("x", x), weights[-1]
    h, c = last.shape
    below = sum(w.size + b.size for w, b in weights[:-1])
    fits_in_memory("the Jacobian", 8 * len(x) * c * (below + (h + 1) * c))
    found = np.zeros((len(x), c, below + (h + 1) * c))
    for k in range(c):
        one = network_jacobian([*weights[:-1], (last[:, k : k + 1], bias[k : k + 1])], x)
        found[:, k, :below] = one[:, :below]
        found[:, k, below + k :: c] = one[:, below:]
    return found


class TangentEvidence:
    """The Laplace evidence of a network, linearised at its weights, by its tangent kernel.

    L(delta) = log p(D | w) - sum_l delta_l |w_l|^2 / 2 - 1/2 log det(I + sum_l M_l / delta_l),
    M_l = Lam^{1/2} J_l J_l' Lam^{1/2}: J_l (m, P_l) is the Jacobian in layer l's weights, Lam the
    Hessian of -log p in the outputs, m = n C rows. The same determinant is that of the P weights,
    det(I + J' Lam J / delta).

    Paper: stochastic-marginal-likelihood-gradients (Immer et al. 2023, arXiv:2306.03968)

    Parameters
    ----------
    log_likelihood : log p(D | w)
    rows : Lam^{1/2} J, (m, P)
    weights : layers; their sizes cut the columns of rows

    Raises ValueError for arguments that do not fit. Cost: O(m^2 P).
    """

    def __init__(self, log_likelihood: float, rows, weights):
        self.log_likelihood = float(as_vector("log_likelihood", [log_likelihood])[0])
        sizes = [sum(a.size for a in layer) for layer in weights]
        rows = as_matrix("rows", rows, columns=sum(sizes))
        fits_in_memory("the tangent kernels", 8 * len(sizes) * len(rows) ** 2)
        cuts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        self.grams = np.array([part @ part.T for part in cuts])
        self.squares = np.array([sum(np.sum(a**2) for a in layer) for layer in weights])
        self.column_powers = [np.sum(part**2, axis=0) for part in cuts]

    def __len__(self) -> int:
        return self.grams.shape[1]

    def matrix(self, precisions) -> np.ndarray:
        """Return sum_l M_l / delta_l, (m, m), for one precision or one a layer."""
        return np.tensordot(1.0 / self._precisions(precisions), self.grams, axes=1)

    def _precisions(self, precisions):
        delta = _spread("precisions", precisions, self.squares.size)
        if delta.min() <= 0:
            raise ValueError(f"precisions must be positive, got {delta.min():.3g}")
        return delta

    def _outside(self, delta):
        return self.log_likelihood - 0.5 * float(delta @ self.squares)

    def exact(self, precisions) -> float:
        """Return the evidence with its full determinant. Cost: O(m^3)."""
        return self.bound(precisions, [np.arange(len(self))])

    def bound(self, precisions, blocks) -> float:
        """Return the lower bound by blocks of rows. Cost: O(m^2 + sum_b |b|^3)."""
        delta = self._precisions(precisions)
        return self._outside(delta) - 0.5 * fischer_bound(self.matrix(delta), blocks)

    def diagonal_bound(self, precisions) -> float:
        """Return the lower bound by single *weights*: log det <= sum_k log(1 + (J'Lam J)_kk/delta).

        Cost: O(P).
        """
        delta = self._precisions(precisions)
        logdet = sum(
            np.log1p(power / d).sum() for power, d in zip(self.column_powers, delta, strict=True)
        )
        return self._outside(delta) - 0.5 * float(logdet)

    def gradient(self, precisions, blocks, which=None) -> np.ndarray:
        """Return the gradient of the bound in log delta, one entry a layer.

        which : use this block only, times the number of blocks: picked uniformly, its mean is the
        gradient of the bound. None: all blocks.

        Cost: O(|b|^3) for each block that is used.
        """
        delta = self._precisions(precisions)
        blocks = as_partition(blocks, len(self))
        chosen = blocks if which is None else [blocks[integer("which", which, 0, len(blocks) - 1)]]
        factor = len(blocks) / len(chosen)
        return -0.5 * delta * self.squares + 0.5 * factor * sum(
            self._block_slope(delta, block) for block in chosen
        )

    def _block_slope(self, delta, block):
        """tr[(I + M_bb)^-1 (M_l)_bb / delta_l] for each layer."""
        parts = self.grams[(slice(None), *np.ix_(block, block))] / delta[:, None, None]
        system = parts.sum(axis=0)
        system[np.diag_indices(len(block))] += 1.0
        inverse = cholesky(system).inverse()
        return np.tensordot(parts, inverse, axes=2)


def regression_evidence(weights, x, y, noise: float) -> TangentEvidence:
    """Return the tangent evidence of a network with one output, y = f(x) + noise e.

    Parameters: weights, layers; x (n, d); y (n,); noise > 0, a standard deviation.
    Raises ValueError for arguments that do not fit. Cost: O(n^2 P).
    """
    noise, x = positive("noise", noise), as_matrix("x", x)
    rows = network_jacobian(weights, x)
    miss = as_vector("y", y, len(x)) - _outputs(weights, x)[:, 0]
    fit = -0.5 * float(miss @ miss) / noise**2 - len(x) * (math.log(noise) + 0.5 * _LOG_2PI)
    return TangentEvidence(fit, rows / noise, weights)


def classification_evidence(weights, x, labels) -> TangentEvidence:
    """Return the tangent evidence of a softmax network; rows i C + c belong to point i, output c.

    Lam_i = diag(p) - p p', with the root B_i = diag(sqrt p) - p sqrt(p)', for which
    B_i B_i' = Lam_i.

    Parameters: weights, layers; x (n, d); labels 0, 1, ... (n,).
    Raises ValueError for arguments that do not fit. Cost: O((n C)^2 P).
    """
    x = as_matrix("x", x)
    labels, jacobian = _as_labels(labels, len(x)), output_jacobians(weights, x)
    n, c, size = jacobian.shape
    if labels.max() >= c:
        raise ValueError(f"labels must be below {c}, the number of outputs, got {labels.max()}")
    fit, _ = _softmax_gradient(weights, x, labels)
    p = softmax(_outputs(weights, x), axis=1)
    root = np.sqrt(p)[:, :, None] * np.eye(c) - p[:, :, None] * np.sqrt(p)[:, None, :]
    rows = np.einsum("nab,nap->nbp", root, jacobian)
    return TangentEvidence(fit, rows.reshape(n * c, size), weights)


def point_blocks(point_groups, outputs: int, *, apart: bool = False) -> list[np.ndarray]:
    """Return blocks of the rows i C + c for groups of points i.

    apart : outputs in blocks of their own (C times as many). Cost: O(n C).
    """
    c = integer("outputs", outputs, low=1)
    rows = [c * np.asarray(group)[:, None] + np.arange(c) for group in point_groups]
    if apart:
        return [block[:, k] for block in rows for k in range(c)]
    return [block.ravel() for block in rows]


def best_precision(objective, low: float = 1e-3, high: float = 1e3) -> float:
    """Return the precision (one for all layers) of the largest objective(delta), by golden section.

    Parameters: objective, maps a precision to a number; 0 < low < high. Raises ValueError for other
    ends. Cost: some 40 evaluations.
    """
    low, high = math.log(positive("low", low)), math.log(positive("high", high))
    if not low < high:
        raise ValueError("low must be smaller than high")
    grid = np.linspace(low, high, 17)
    values = [objective(math.exp(t)) for t in grid]
    if np.isnan(values).any():
        raise ValueError("objective must not return NaN")
    top = int(np.argmax(values))
    left, right = grid[max(top - 1, 0)], grid[min(top + 1, 16)]
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    inner, outer = right - golden * (right - left), left + golden * (right - left)
    at_inner, at_outer = objective(math.exp(inner)), objective(math.exp(outer))
    while right - left > 1e-3:
        if at_inner > at_outer:
            right, outer, at_outer = outer, inner, at_inner
            inner = right - golden * (right - left)
            at_inner = objective(math.exp(inner))
        else:
            left, inner, at_inner = inner, outer, at_outer
            outer = left + golden * (right - left)
            at_outer = objective(math.exp(outer))
    return math.exp(0.5 * (left + right))


def learn_precisions(
    evidence: TangentEvidence,
    blocks,
    rng,
    *,
    steps: int = 200,
    rate: float = 0.1,
    start: float = 1.0,
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (share done, path (t + 1, layers)) of Adam on log delta, one random block a step.

    The gradient of a step has the mean of the whole bound's, at the cost of one block.

    Paper: stochastic-marginal-likelihood-gradients (Immer et al. 2023, arXiv:2306.03968)

    Parameters: evidence; blocks, a partition of its rows; steps, rate of Adam; start, the first
    precision. Raises ValueError for arguments that do not fit. Cost: O(steps |b|^3).
    """
    blocks, rng = as_partition(blocks, len(evidence)), as_rng(rng)
    steps, start = integer("steps", steps, low=1), math.log(positive("start", start))
    log_delta = np.full(len(evidence.squares), start)
    adam, path = Adam(log_delta, step=positive("rate", rate)), [np.exp(log_delta)]
    for t in range(steps):
        which = int(rng.integers(len(blocks)))
        adam.update(-evidence.gradient(np.exp(log_delta), blocks, which))
        np.clip(log_delta, -20.0, 20.0, out=log_delta)
        path.append(np.exp(log_delta))
        if (t + 1) % 10 == 0 or t == steps - 1:
            yield (t + 1) / steps, np.array(path)


def train_with_evidence(
    x, y, hidden: int, noise: float, size: int, how: str, rng, *, rounds: int = 12
) -> Iterator[tuple[float, list, np.ndarray]]:
    """Yield (share done, weights, path of precisions): weights and precisions improved in turn.

    A round: Gauss-Newton steps on the weights at the present precisions, a fresh partition of
    the points into groups (see ``groups``), 20 Adam steps on the log precisions, one block each.

    Paper: stochastic-marginal-likelihood-gradients (Immer et al. 2023, arXiv:2306.03968)

    Parameters: x (n, 1); y (n,); hidden; noise > 0; size and how, of the groups; rounds.
    Raises ValueError for arguments that do not fit. Cost: O(rounds (n^2 P + 20 size^3)).
    """
    rng, x = as_rng(rng), as_matrix("x", x, columns=1)
    rounds = integer("rounds", rounds, low=1)
    log_delta, weights = np.zeros(2), None
    adam, path = Adam(log_delta, step=0.1), [np.ones(2)]
    for t in range(rounds):
        weights = train_regression(
            x, y, hidden, noise, np.exp(log_delta), rng, steps=40, start=weights
        )
        evidence = regression_evidence(weights, x, y, noise)
        blocks = groups(len(x), size, how, rng, order=x[:, 0])
        for _ in range(20):
            which = int(rng.integers(len(blocks)))
            adam.update(-evidence.gradient(np.exp(log_delta), blocks, which))
            path.append(np.exp(log_delta))
        yield (t + 1) / rounds, weights, np.array(path)


def sine_data(n: int, noise: float, rng, rate: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (n, 1), uniform on [-3, 3] and sorted, and sin(rate x) + noise e (n,), rounded.

    Raises ValueError for n < 1, a negative noise or a rate <= 0. Cost: O(n log n).
    """
    n, noise, rng = integer("n", n, low=1), nonnegative("noise", noise), as_rng(rng)
    rate = positive("rate", rate)
    x = np.sort(rng.uniform(-3.0, 3.0, n))
    return x[:, None], np.round(np.sin(rate * x) + noise * rng.standard_normal(n), 6)


def prior_draw(n: int, length: float, noise: float, rng, test: int = 100):
    """Return (x, y, test x, test y): inputs on [0, 1], one draw of a GP of amplitude 1, plus noise.

    Targets have four decimals, so that they are the same on every machine.
    Raises ValueError for numbers out of range. Cost: O((n + test)^3).
    """
    n, test = integer("n", n, low=1), integer("test", test, low=1)
    length, noise, rng = positive("length", length), nonnegative("noise", noise), as_rng(rng)
    x = rng.random((n + test, 1))
    lower = cholesky(Gaussian(length).gram(x), jitter=1e-6).lower
    f = lower @ rng.standard_normal(n + test)
    y = np.round(f + noise * rng.standard_normal(n + test), 4)
    return x[:n], y[:n], x[n:], y[n:]


def interval_coverage(mean, variance, y, level: float = 0.95) -> float:
    """Return the share of y (m,) inside the central interval of N(mean, variance) of this level.

    Raises ValueError for shapes that do not fit or a level outside (0, 1). Cost: O(m).
    """
    y = as_vector("y", y)
    mean, variance = as_vector("mean", mean, y.size), as_vector("variance", variance, y.size)
    if variance.min() < 0:
        raise ValueError(f"variance must not be negative, got {variance.min():.3g}")
    half = ndtri(0.5 + 0.5 * between("level", level, 1e-9, 1.0 - 1e-9))
    return float(np.mean(np.abs(y - mean) <= half * np.sqrt(variance)))
