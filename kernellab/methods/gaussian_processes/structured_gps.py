"""Gaussian processes whose structure makes them cheap, without inducing points.

A covariance matrix of n points has no zeros, and its Cholesky factor costs n^3 / 3. Three
structures spare it:

1. Nearest neighbours: the inverse's factor is nearly sparse (Cao et al. 2023)
2. Periods: each block of a series is the last one, damped, plus fresh noise (Nigam et al. 2025)
3. Time: a Matern process only needs its present state (Fang et al. 2024)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg as sla
import scipy.optimize

from kernellab.compute import compiled, linalg
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
from kernellab.compute.gp import Prediction
from kernellab.compute.kernels import Periodic, as_kernel
from kernellab.compute.likelihoods import Likelihood
from kernellab.compute.state_space import smooth_messages, state_space
from kernellab.compute.vecchia import Vecchia, maximin_order, nearest_predecessors

# ------------------------------------------------------------------------------------------------
# 1. Nearest neighbours: sparse inverse Cholesky factors, for prior and posterior
# ------------------------------------------------------------------------------------------------

ORDERS = ("maximin", "random", "coordinate")


def point_order(x, order: str = "maximin", rng=0) -> np.ndarray:
    """Return an order of the points x (n, d): coarse to fine, by chance, or along the first axis.

    Raises ValueError for another order. Cost: O(n^2 d) for "maximin", O(n log n) for the others.
    """
    x = as_matrix("x", x)
    one_of("order", order, ORDERS)
    if order == "maximin":
        return maximin_order(x)
    if order == "random":
        return as_rng(rng).permutation(len(x))
    return np.argsort(x[:, 0], kind="stable")


def gaussian_kl(p_covariance, q_covariance) -> float:
    """Return KL(N(0, P) || N(0, Q)) = (tr Q^-1 P - n + log det Q - log det P) / 2.

    Parameters: symmetric positive definite matrices (n, n); a singular one gets the least jitter
    with which it has a Cholesky factor. Raises ValueError for shapes that differ. Cost: O(n^3).
    """
    p = linalg.cholesky(symmetric("p_covariance", p_covariance))
    q = linalg.cholesky(symmetric("q_covariance", q_covariance))
    if len(p.lower) != len(q.lower):
        raise ValueError(
            f"q_covariance must have {len(p.lower)} rows like p_covariance, got {len(q.lower)}"
        )
    ratio = sla.solve_triangular(q.lower, p.lower, lower=True, check_finite=False)
    trace = float(np.vdot(ratio, ratio))
    return max(0.5 * (trace - len(p.lower) + q.logdet() - p.logdet()), 0.0)


def neighbour_kl(model: Vecchia, logdet: float) -> float:
    """Return KL(N(0, K) || N(0, (U^T U)^-1)) of a neighbour approximation of K.

    Its conditional variances are exact for the neighbours they use, so the trace in the divergence
    is n, and what is left is (sum_i log d_i - log det K) / 2: the surplus of uncertainty.

    Paper: variational-sparse-inverse-cholesky (Cao et al. 2023, arXiv:2301.13303)

    Parameters: model, a ``Vecchia``; logdet, log det(K + noise I). Cost: O(n).
    """
    if not isinstance(model, Vecchia):
        raise ValueError(f"model must be a compute.vecchia.Vecchia, got {type(model).__name__}")
    logdet = float(as_vector("logdet", [logdet])[0])
    return max(0.5 * (float(np.log(model.variances).sum()) - logdet), 0.0)


def sic_factor(gram, pattern) -> np.ndarray:
    """Return the lower triangular U (n, n), with U^T U nearest to gram^-1 among those of a pattern.

    Row i may be non-zero at i and at the earlier points pattern[i] = S. With d_i = k_ii - b . k_Si
    and b = K_SS^-1 k_Si it is (e_i - b) / sqrt(d_i): the best in KL(N(0, K) || N(0, (U^T U)^-1)).
    (``compute.vecchia.Vecchia`` does the same for many points, compiled.)

    Paper: variational-sparse-inverse-cholesky (Cao et al. 2023, arXiv:2301.13303)

    Parameters: gram (n, n), symmetric positive definite; pattern, n lists of earlier row numbers.
    Raises ValueError for other shapes, a number that is not earlier or comes twice, or a singular
    block. Cost: O(n m^3) for lists of m.
    """
    gram = symmetric("gram", gram)
    pattern = [np.asarray(near).ravel() for near in pattern]
    if len(pattern) != len(gram):
        raise ValueError(f"pattern must have {len(gram)} lists, got {len(pattern)}")
    factor = np.zeros_like(gram)
    for i, near in enumerate(pattern):
        if near.size and not (near.dtype.kind in "iu" and near.min() >= 0 and near.max() < i):
            raise ValueError(f"pattern[{i}] must hold whole numbers, none below 0 or above {i - 1}")
        if len(np.unique(near)) < near.size:
            raise ValueError(f"pattern[{i}] must hold each number once")
        near = near.astype(np.int64)
        left = gram[i, i]
        if near.size:
            b = linalg.solve(gram[np.ix_(near, near)], gram[near, i])
            left -= b @ gram[near, i]
            factor[i, near] = -b
        if not left > 1e-14 * gram[i, i]:
            raise ValueError(
                f"gram must leave a variance to row {i}, given its pattern, got {left:.3g}"
            )
        factor[i, i] = 1.0
        factor[i] /= math.sqrt(left)
    return factor


def factor_kl(gram, factor) -> float:
    """Return KL(N(0, K) || N(0, (U^T U)^-1)) for a lower triangular U (n, n).

    Raises ValueError for another shape, entries above the diagonal, or a diagonal that is not
    positive. Cost: O(n^3).
    """
    lower = linalg.cholesky(symmetric("gram", gram)).lower
    factor = as_matrix("factor", factor, columns=len(lower), rows=len(lower))
    positive("the least diagonal entry of factor", float(np.diagonal(factor).min()))
    if np.triu(factor, 1).any():
        raise ValueError("factor must be lower triangular, got entries above its diagonal")
    ratio = factor @ lower
    logs = float(np.log(np.diagonal(ratio)).sum())
    return max(0.5 * (float(np.vdot(ratio, ratio)) - len(lower)) - logs, 0.0)


def fitc_covariance(kernel, x, inducing) -> np.ndarray:
    """Return Q + diag(K - Q), Q = K_xz K_zz^-1 K_zx: the prior through inducing points z.

    Parameters: x (n, d); inducing (m, d). Returns (n, n). Cost: O(n^2 m).
    Source: Snelson and Ghahramani, Sparse Gaussian processes using pseudo-inputs (2006).
    """
    kernel, x = as_kernel(kernel), as_matrix("x", x)
    inducing = as_matrix("inducing", inducing, columns=x.shape[1])
    half = linalg.cholesky(kernel.gram(inducing)).half_solve(kernel.gram(inducing, x))
    covariance = half.T @ half
    covariance[np.diag_indices(len(x))] = kernel.diagonal(x)
    return covariance


class SparsePosterior(NamedTuple):
    """A Gaussian posterior with a sparse inverse Cholesky factor.

    ``mean`` and ``variance`` of f (n,), in the order of x; ``elbo``; ``prior``, the ``Vecchia``
    model; ``neighbours`` (n, m), ``weights`` (n, m + 1): row i of V^T, its diagonal entry last, in
    the order of the prior; ``steps`` of the optimiser.
    """

    mean: np.ndarray
    variance: np.ndarray
    elbo: float
    prior: Vecchia
    neighbours: np.ndarray
    weights: np.ndarray
    steps: int


def double_kl(
    kernel, x, y, likelihood, m: int, *, posterior_m: int | None = None, order=None, steps=150
) -> SparsePosterior:
    """Fit prior and posterior with the same sparse pattern, both by Kullback-Leibler divergences.

    Prior: of all Gaussians whose precision is L L^T with the pattern, the one nearest to N(0, K) in
    KL(exact || sparse): column by column in closed form. Posterior: of all q = N(nu, (V V^T)^-1)
    with the pattern, the one of highest

        ELBO = sum_i E_q log p(y_i | f_i) - KL(q || N(0, (L L^T)^-1)),
        KL = (|V^-1 L|_F^2 + |L^T nu|^2 - n) / 2 + log|V| - log|L|,

    by L-BFGS from V = L, nu = 0, in units that are renewed from time to time. (In the order coarse
    to fine L^T is lower triangular; the paper counts the points backwards.)

    Paper: variational-sparse-inverse-cholesky (Cao et al. 2023, arXiv:2301.13303)

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    x, y : inputs (n, d) and targets (n,)
    likelihood : of ``kernellab.compute.likelihoods``
    m : neighbours of each point in the prior
    posterior_m : neighbours in the posterior; None: m; 0: independent values (mean field)
    order : a permutation (n,); None: maximin
    steps : the most steps of L-BFGS

    Raises ValueError for arguments that do not fit. Cost: O(n^2 m) a step (the paper's reduced
    ancestor sets, left out here, make it nearly linear).
    """
    *_, (_fraction, last) = double_kl_steps(
        kernel, x, y, likelihood, m, posterior_m=posterior_m, order=order, steps=steps
    )
    return last


def double_kl_steps(
    kernel, x, y, likelihood, m, *, posterior_m=None, order=None, steps=150, every=25
) -> Iterator[tuple[float, SparsePosterior]]:
    """Yield (fraction of the steps, ``SparsePosterior``) on the way of ``double_kl``.

    every : steps between two of them, after which the units are renewed.
    Other parameters, errors and cost: as ``double_kl``.
    """
    x = as_matrix("x", x)
    if not isinstance(likelihood, Likelihood):
        raise ValueError(
            f"likelihood must be one of kernellab.compute.likelihoods, got {likelihood!r}"
        )
    n = len(x)
    fits_in_memory("the factors", 40 * n * n)
    m = integer("m", m, low=1, high=n)
    q = m if posterior_m is None else integer("posterior_m", posterior_m, low=0, high=n)
    steps, every = integer("steps", steps, low=1), integer("every", every, low=1)
    problem, done = _DoubleKL(Vecchia(kernel, x, m, order=order), likelihood, y, q), 0
    last, improved = math.inf, True
    while done < steps and improved:
        end = scipy.optimize.minimize(
            problem.loss,
            problem.start(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": min(every, steps - done), "maxcor": 20, "ftol": 1e-10},
        )
        done += max(end.nit, 1)
        problem.move(end.x)
        improved = last - end.fun > 1e-6 * (1.0 + abs(end.fun))
        last = end.fun
        yield (done / steps if improved else 1.0), problem.posterior(done)


class _DoubleKL:
    """The bound as a function of one vector, in units in which its curvature is near to I.

    At the present q: nu is moved by V^-T z, and the entries of row i of V^T beside the diagonal
    by R_i^-T c_i, R_i R_i^T being q's covariance of the neighbours; the diagonal by exp(s).
    ``move`` makes the vector's end the present q, from which new units are formed.
    """

    def __init__(self, prior: Vecchia, likelihood, y, m: int):
        n = len(prior.x)
        self.prior, self.likelihood = prior, likelihood
        self.y = likelihood.as_targets(y, n)[prior.order]
        self.prior_rows = _rows(prior)
        self.neighbours = (
            nearest_predecessors(prior.x, m) if m else np.empty((n, 0), dtype=np.int64)
        )
        self.free = self.neighbours >= 0
        scale = 1.0 / np.sqrt(prior.variances)
        self.mean, self.weights = np.zeros(n), np.zeros((n, m + 1))
        self.weights[:, -1] = scale
        if m == prior.neighbours.shape[1]:  # the same pattern: V = L
            self.weights[:] = self.prior_rows
        self._set_units()

    def _set_units(self):
        n, m = self.neighbours.shape
        poorer = m < self.prior.neighbours.shape[1]  # then the prior knows the mean's units better
        prior = (self.prior.neighbours, self.prior_rows)
        self.mean_units = prior if poorer else (self.neighbours, self.weights)
        inverse, self.variance = np.zeros((n, n)), np.empty(n)
        _invert_rows(self.neighbours, self.weights, inverse, self.variance)
        self.units = np.zeros((n, m, m))
        known = np.maximum(self.neighbours, 0)
        for i in range(n if m else 0):
            count = int(self.free[i].sum())
            if count:
                rows = inverse[known[i, :count]]
                inner = rows @ rows.T
                inner[np.diag_indices(count)] += 1e-8 * np.trace(inner)
                lower = np.linalg.cholesky(inner)
                self.units[i, :count, :count] = np.linalg.inv(lower).T

    def start(self) -> np.ndarray:
        return np.zeros(self.weights.shape[0] * (self.weights.shape[1] + 1))

    def _split(self, theta):
        n, m = self.neighbours.shape
        rows = theta[n:].reshape(n, m + 1)
        shift = np.empty(n)
        _solve_rows(*self.mean_units, theta[:n].copy(), shift)
        weights = self.weights.copy()
        weights[:, :m] += (self.units @ rows[:, :m, None])[:, :, 0]
        weights[:, m] *= np.exp(np.clip(rows[:, m], -30.0, 30.0))
        return self.mean + shift, weights

    def move(self, theta) -> None:
        self.mean, self.weights = self._split(theta)
        self._set_units()

    def loss(self, theta):
        n, m = self.neighbours.shape
        mean, weights = self._split(theta)
        inverse, variance = np.zeros((n, n)), np.empty(n)
        _invert_rows(self.neighbours, weights, inverse, variance)
        if not (np.isfinite(variance).all() and variance.max() < 1e200):
            return 1e30, np.zeros_like(theta)
        value, by_mean, by_variance = self.likelihood.expected(self.y, mean, variance)
        adjoint = np.zeros((n, n))
        trace = _pull_prior(self.prior.neighbours, self.prior_rows, inverse, adjoint)
        by_rows = np.zeros_like(weights)
        _pull_rows(self.neighbours, weights, inverse, adjoint, by_variance, by_rows)
        white, back = np.empty(n), np.empty(n)
        _multiply_rows(self.prior.neighbours, self.prior_rows, mean, white, back)
        kl = 0.5 * (trace + white @ white - n)
        kl += float(np.log(weights[:, -1]).sum() - np.log(self.prior_rows[:, -1]).sum())
        elbo = float(value.sum()) - kl
        if not math.isfinite(elbo):
            return 1e30, np.zeros_like(theta)
        by_z = np.empty(n)
        _solve_rows_transposed(*self.mean_units, by_mean - back, by_z)
        by_rows[:, m] = by_rows[:, m] * weights[:, m] - 1.0
        by_rows[:, :m] = (self.units.transpose(0, 2, 1) @ by_rows[:, :m, None])[:, :, 0]
        return -elbo, -np.concatenate([by_z, by_rows.ravel()])

    def posterior(self, steps: int) -> SparsePosterior:
        back = np.empty(len(self.y), dtype=np.int64)
        back[self.prior.order] = np.arange(len(self.y))
        elbo = -float(self.loss(self.start())[0])
        return SparsePosterior(
            self.mean[back], self.variance[back], elbo, self.prior, self.neighbours, self.weights,
            steps,
        )  # fmt: skip


def _rows(prior: Vecchia) -> np.ndarray:
    """The rows of U (n, m + 1): entries of the neighbours, and the diagonal entry last."""
    scale = 1.0 / np.sqrt(prior.variances)
    return (
        np.ascontiguousarray(np.column_stack([-prior.coefficients, np.ones(len(scale))]))
        * (scale[:, None])
    )


@compiled("void(int64[:,::1], float64[:,::1], float64[::1], float64[::1])")
def _solve_rows(neighbours, rows, b, out):
    """out = U^-1 b for sparse lower triangular rows."""
    n, m = neighbours.shape
    for i in range(n):
        total = b[i]
        for k in range(m):
            if neighbours[i, k] >= 0:
                total -= rows[i, k] * out[neighbours[i, k]]
        out[i] = total / rows[i, m]


@compiled("void(int64[:,::1], float64[:,::1], float64[::1], float64[::1])")
def _solve_rows_transposed(neighbours, rows, b, out):
    """out = U^-T b; b is used up."""
    n, m = neighbours.shape
    for i in range(n - 1, -1, -1):
        out[i] = b[i] / rows[i, m]
        for k in range(m):
            if neighbours[i, k] >= 0:
                b[neighbours[i, k]] -= rows[i, k] * out[i]


@compiled("void(int64[:,::1], float64[:,::1], float64[::1], float64[::1], float64[::1])")
def _multiply_rows(neighbours, rows, vector, out, back):
    """out = U vector, back = U^T U vector."""
    n, m = neighbours.shape
    back[:] = 0.0
    for i in range(n):
        total = rows[i, m] * vector[i]
        for k in range(m):
            if neighbours[i, k] >= 0:
                total += rows[i, k] * vector[neighbours[i, k]]
        out[i] = total
        back[i] += rows[i, m] * total
        for k in range(m):
            if neighbours[i, k] >= 0:
                back[neighbours[i, k]] += rows[i, k] * total


@compiled("void(int64[:,::1], float64[:,::1], float64[:,::1], float64[::1])")
def _invert_rows(neighbours, rows, inverse, variance):
    """Fill in the lower triangular inverse (zeros to begin with) and its rows' squared lengths."""
    n, m = neighbours.shape
    for i in range(n):
        target = inverse[i]
        for k in range(m):
            j = neighbours[i, k]
            if j >= 0:
                w, source = rows[i, k], inverse[j]
                for c in range(j + 1):
                    target[c] -= w * source[c]
        target[i] += 1.0
        scale, total = 1.0 / rows[i, m], 0.0
        for c in range(i + 1):
            target[c] *= scale
            total += target[c] * target[c]
        variance[i] = total


@compiled("float64(int64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1])")
def _pull_prior(neighbours, rows, inverse, adjoint):
    """Return |U A|_F^2 and add -U^T U A, the slope of minus half of it, to ``adjoint``."""
    n, m = neighbours.shape
    line = np.empty(n)
    total = 0.0
    for i in range(n):
        source = inverse[i]
        for c in range(i + 1):
            line[c] = rows[i, m] * source[c]
        for k in range(m):
            j = neighbours[i, k]
            if j >= 0:
                w, source = rows[i, k], inverse[j]
                for c in range(j + 1):
                    line[c] += w * source[c]
        target = adjoint[i]
        for c in range(i + 1):
            total += line[c] * line[c]
            target[c] -= rows[i, m] * line[c]
        for k in range(m):
            j = neighbours[i, k]
            if j >= 0:
                w, target = rows[i, k], adjoint[j]
                for c in range(j + 1):
                    target[c] -= w * line[c]
    return total


@compiled(
    "void(int64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[::1], "
    "float64[:,::1])"
)
def _pull_rows(neighbours, rows, inverse, adjoint, by_variance, by_rows):
    """From the slope in A = V^-T to that in the rows of V^T, backwards; ``adjoint`` is used up."""
    n, m = neighbours.shape
    for i in range(n - 1, -1, -1):
        line, own, scale = adjoint[i], inverse[i], 1.0 / rows[i, m]
        twice, total = 2.0 * by_variance[i], 0.0
        for c in range(i + 1):
            line[c] = scale * (line[c] + twice * own[c])
            total += line[c] * own[c]
        by_rows[i, m] -= total
        for k in range(m):
            j = neighbours[i, k]
            if j >= 0:
                w, source, target, total = rows[i, k], inverse[j], adjoint[j], 0.0
                for c in range(j + 1):
                    total += line[c] * source[c]
                    target[c] -= w * line[c]
                by_rows[i, k] -= total


class InducingPosterior(NamedTuple):
    """``mean`` and ``variance`` of f at the data (n,), and the bound ``elbo``."""

    mean: np.ndarray
    variance: np.ndarray
    elbo: float


def inducing_posterior(
    kernel, x, y, likelihood, inducing, *, steps: int = 100
) -> InducingPosterior:
    """Return the best Gaussian q(u) on given inducing points, by natural gradients (SVGP).

    The sites of ``compute.approximate_gp.variational``, with f ~ N(A u, K - Q), A = K_xz K_zz^-1.

    Parameters: kernel; x (n, d); y (n,); likelihood; inducing (m, d); steps, at most.
    Raises ValueError for arguments that do not fit. Cost: O(n m^2) a step.
    Source: Hensman, Matthews and Ghahramani (2015); Khan and Lin (2017) for the steps.
    """
    kernel, x = as_kernel(kernel), as_matrix("x", x)
    if not isinstance(likelihood, Likelihood):
        raise ValueError(
            f"likelihood must be one of kernellab.compute.likelihoods, got {likelihood!r}"
        )
    y = likelihood.as_targets(y, len(x))
    inducing = as_matrix("inducing", inducing, columns=x.shape[1])
    half = linalg.cholesky(kernel.gram(inducing)).half_solve(kernel.gram(inducing, x))
    rest = np.maximum(kernel.diagonal(x) - (half**2).sum(axis=0), 0.0)

    def posterior(shift, precision):
        inner = (half * precision) @ half.T
        inner[np.diag_indices(len(inner))] += 1.0
        try:
            lower = sla.cholesky(inner, lower=True)
        except sla.LinAlgError:  # negative precisions can go too far
            return None
        root = sla.solve_triangular(lower, half, lower=True)
        white = sla.cho_solve((lower, True), half @ shift)
        mean, variance = half.T @ white, (root**2).sum(axis=0) + rest
        logdet = 2.0 * float(np.log(np.diagonal(lower)).sum())
        trace = float(np.vdot(half * precision, sla.cho_solve((lower, True), half)))
        kl = 0.5 * (logdet + float(white @ white) - trace)
        return mean, variance, float(likelihood.expected(y, mean, variance)[0].sum()) - kl

    shift, precision, step = np.zeros(len(x)), np.zeros(len(x)), 1.0
    current = posterior(shift, precision)
    for _ in range(integer("steps", steps, low=1)):
        mean, variance, bound = current
        _, by_mean, by_variance = likelihood.expected(y, mean, variance)
        new_shift = shift + step * (by_mean - 2.0 * mean * by_variance - shift)
        new_precision = precision - step * (2.0 * by_variance + precision)
        proposal = posterior(new_shift, new_precision)
        if proposal is None or proposal[2] < bound - 1e-13 * abs(bound):
            step *= 0.5
            if step < 1e-6:
                break
            continue
        shift, precision, current = new_shift, new_precision, proposal
        if proposal[2] - bound < 1e-9 * step:
            break
        step = min(1.0, 1.5 * step)
    return InducingPosterior(*current)


# ------------------------------------------------------------------------------------------------
# 2. Periods: a structural equation from block to block
# ------------------------------------------------------------------------------------------------


def seasonal_row(period: int, lengthscale: float, variance: float, nugget: float) -> np.ndarray:
    """Return the first row (period,) of K_p: variance exp(-2 sin^2(pi j / p) / l^2), plus a nugget.

    The points of one period lie on a circle, so K_p is circulant: this row, turned step by step.

    Parameters: period, points a block, >= 1; lengthscale, in radians of the circle (as
    ``Periodic``); variance > 0; nugget >= 0, added to the diagonal: what each point has of its own.
    Raises ValueError for other numbers. Cost: O(p).
    """
    p = integer("period", period, low=1)
    variance, nugget = positive("variance", variance), nonnegative("nugget", nugget)
    kernel = Periodic(float(p), positive("lengthscale", lengthscale))
    row = variance * kernel.gram(np.zeros((1, 1)), np.arange(float(p))[:, None])[0]
    row[0] += nugget
    return row


@dataclass(frozen=True, eq=False)
class QuasiPeriodic:
    """A series whose blocks X_1, X_2, .. of one period each follow X_{j+1} = omega X_j + e_j.

    X_1 ~ N(0, K_p), e_j ~ N(0, (1 - omega^2) K_p), so that each X_j has covariance K_p and
    Cov = Omega (x) K_p, Omega_ij = omega^|i - j|. K_p is circulant: the discrete Fourier transform
    makes it diagonal, and nothing costs more than O(p log p) a block.

    Paper: a-structural-equation-formulation-for-general (Nigam et al. 2025, arXiv:2511.01151)

    Parameters
    ----------
    row : first row of K_p, shape (p,), with row[j] = row[p - j]
    omega : in (-1, 1)

    Attributes
    ----------
    spectrum : eigenvalues of K_p, shape (p,)
    jitter : what had to be added to the diagonal of K_p, 0.0 unless it is singular to rounding

    Raises ValueError for arguments that do not fit, or a K_p with a negative eigenvalue.
    """

    row: np.ndarray
    omega: float

    def __post_init__(self):
        row, omega = as_vector("row", self.row), between("omega", self.omega, -1.0, 1.0)
        if abs(omega) == 1.0:
            raise ValueError(f"omega must lie between -1 and 1, both excluded, got {omega:g}")
        if not np.allclose(row[1:], row[:0:-1], rtol=1e-9, atol=1e-12 * abs(row[0])):
            raise ValueError("row must read the same from both ends (row[j] = row[p - j])")
        spectrum = np.fft.fft(row).real
        largest = spectrum.max(initial=0.0)
        if not largest > 0 or spectrum.min() < -1e-8 * largest:
            raise ValueError(
                f"row must give a positive definite K_p, its least eigenvalue is "
                f"{spectrum.min():.3g}"
            )
        floor = len(row) * np.finfo(float).eps * largest
        jitter = 0.0 if spectrum.min() > floor else 10.0 * floor + max(-spectrum.min(), 0.0)
        for name, value in (
            ("row", row), ("omega", omega), ("spectrum", spectrum + jitter), ("jitter", jitter),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def period(self) -> int:
        """Points a block."""
        return len(self.row)

    def log_likelihood(self, y) -> float:
        """Return log N(y; 0, Omega (x) K_p) of k whole periods y (k p,), block after block.

        log N(X_1; 0, K_p) + sum_j log N(X_{j+1} - omega X_j; 0, (1 - omega^2) K_p).
        Cost: O(k p log p), against O(k^3 p^3) for the dense matrix.
        """
        blocks = as_blocks(y, self.period)
        k, p = blocks.shape
        fresh = 1.0 - self.omega**2
        power = _power(blocks[:1])
        if k > 1:
            power = power + _power(blocks[1:] - self.omega * blocks[:-1]) / fresh
        logdet = k * float(np.log(self.spectrum).sum()) + (k - 1) * p * math.log(fresh)
        fit = float((power / self.spectrum).sum())
        return -0.5 * (fit + logdet + k * p * math.log(2.0 * math.pi))

    def forecast(self, last, ahead: int) -> Prediction:
        """Return means and variances (ahead p,) of the next blocks, given the last one (p,).

        E[X_{k+h} | past] = omega^h X_k, with covariance (1 - omega^{2h}) K_p. Cost: O(ahead p).
        """
        last = as_vector("last", last, length=self.period)
        decay = self.omega ** np.arange(1, integer("ahead", ahead, low=1) + 1)
        spread = (1.0 - decay**2) * float(self.spectrum.mean())
        return Prediction(np.outer(decay, last).ravel(), np.repeat(spread, self.period))

    def sample(self, k: int, n: int, rng, last=None) -> np.ndarray:
        """Draw n series of k blocks, shape (n, k p); ``last`` (p,): the block they continue.

        White noise becomes N(0, K_p) by its Fourier transform times the root of the spectrum.
        Cost: O(n k p log p).
        """
        k, n, p = integer("k", k, low=1), integer("n", n, low=1), self.period
        noise = as_rng(rng).standard_normal((n, k, p))
        fresh = np.fft.ifft(np.fft.fft(noise) * np.sqrt(self.spectrum)).real
        blocks = np.empty((n, k, p))
        before = None if last is None else as_vector("last", last, length=p)
        for j in range(k):
            if before is None:
                blocks[:, j] = fresh[:, j]
            else:
                blocks[:, j] = self.omega * before + math.sqrt(1.0 - self.omega**2) * fresh[:, j]
            before = blocks[:, j]
        return blocks.reshape(n, k * p)

    def covariance(self, k: int) -> np.ndarray:
        """Return the dense covariance Omega (x) K_p of k blocks, (k p, k p): to compare with."""
        k = integer("k", k, low=1)
        fits_in_memory("the covariance", 8 * (k * self.period) ** 2)
        place = np.arange(k)
        decay = self.omega ** np.abs(place[:, None] - place)
        turned = sla.toeplitz(self.row) + self.jitter * np.eye(self.period)
        return np.kron(decay, turned)


def as_blocks(y, period: int) -> np.ndarray:
    """Return the series y as blocks (k, period); what does not fill a block at the start is cut.

    Raises ValueError when y holds less than one period.
    """
    y, p = as_vector("y", y), integer("period", period, low=1)
    if len(y) < p:
        raise ValueError(f"y must hold at least one period of {p} points, got {len(y)}")
    return y[len(y) % p :].reshape(-1, p)


def _power(blocks) -> np.ndarray:
    """sum_j |F X_j|^2 / p (p,): divided by the eigenvalues it sums to sum_j X_j^T K_p^-1 X_j."""
    transform = np.fft.fft(blocks, axis=1)
    return (transform.real**2 + transform.imag**2).sum(axis=0) / blocks.shape[1]


def best_omega(blocks, spectrum) -> float:
    """Return the omega of highest likelihood for a given K_p: a root of a cubic.

    With a = sum |X_{j+1}|^2, b = sum X_j . X_{j+1}, c = sum |X_j|^2 in the metric of K_p^-1 and
    N = (k - 1) p, the slope is zero where N w (1 - w^2) + b (1 + w^2) - w (a + c) = 0.

    Paper: a-structural-equation-formulation-for-general (Nigam et al. 2025, arXiv:2511.01151)

    Parameters: blocks (k, p), k >= 2; spectrum, the eigenvalues of K_p, (p,) > 0.
    Returns a number in [-0.9999, 0.9999]. Raises ValueError for other shapes.
    Cost: O(k p log p).
    """
    blocks = as_matrix("blocks", blocks, min_rows=2)
    k, p = blocks.shape
    spectrum = as_vector("spectrum", spectrum, length=p)
    positive("the least entry of spectrum", float(spectrum.min()))
    transform = np.fft.fft(blocks, axis=1) / np.sqrt(p * spectrum)
    after, before = transform[1:], transform[:-1]
    a, c = (float((part.real**2 + part.imag**2).sum()) for part in (after, before))
    b = float((before.real * after.real + before.imag * after.imag).sum())
    count = (k - 1) * p
    # In units of a + c + N, so that the cubic's coefficients neither overflow nor vanish.
    unit = a + c + count
    a, b, c, count = a / unit, b / unit, c / unit, count / unit
    roots = np.roots([-count, b, count - a - c, b])
    roots = roots.real[np.abs(roots.imag) < 1e-7]
    candidates = np.clip(np.append(roots, 0.0), -0.9999, 0.9999)
    fresh = 1.0 - candidates**2
    misfit = a - 2.0 * candidates * b + candidates**2 * c
    return float(candidates[np.argmin(count * np.log(fresh) + misfit / fresh)])


@dataclass(frozen=True, eq=False)
class QuasiPeriodicFit:
    """A fitted ``model``; ``lengthscale``, ``variance``, ``nugget`` of its K_p; ``rounds``."""

    model: QuasiPeriodic
    lengthscale: float
    variance: float
    nugget: float
    log_likelihood: float
    rounds: int

    @property
    def omega(self) -> float:
        """How much of a block the next one keeps."""
        return self.model.omega


def fit_quasi_periodic(y, period: int, *, rounds: int = 30, tolerance: float = 1e-5):
    """Fit omega and K_p in turn: a cubic's root, then three numbers by L-BFGS, until both rest.

    Given omega, the fresh parts X_1 and (X_{j+1} - omega X_j) / sqrt(1 - omega^2) are k draws from
    N(0, K_p): their mean power at each frequency is all that the likelihood of K_p needs.

    Paper: a-structural-equation-formulation-for-general (Nigam et al. 2025, arXiv:2511.01151)

    Parameters
    ----------
    y : the series, mean taken away, shape (n,) with at least two periods
    period : points a block
    rounds : at most; tolerance : change of omega at which to stop

    Returns
    -------
    QuasiPeriodicFit

    Raises ValueError for arguments that do not fit, or a series of zeros.
    Cost: O(k p log p) a round.
    """
    blocks = as_blocks(y, period)
    if len(blocks) < 2:
        raise ValueError(f"y must hold at least two periods of {period} points, got {len(y)}")
    size = float(np.mean(blocks**2))
    if not size > 1e-200:
        raise ValueError(f"y must vary about zero, but its mean square is {size:.3g}")
    tolerance = positive("tolerance", tolerance)
    p, omega = blocks.shape[1], 0.5
    theta = np.log([1.0, 0.9, 0.1])  # lengthscale, variance, nugget: the last two in units of size
    unit = blocks / math.sqrt(size)
    done = 0
    for _ in range(integer("rounds", rounds, low=1)):
        done += 1
        theta = _fit_spectrum(unit, omega, theta)
        last, omega = omega, best_omega(unit, _spectrum(_bends(p), theta)[0])
        if abs(omega - last) < tolerance:
            break
    lengthscale, variance, nugget = np.exp(theta)
    model = QuasiPeriodic(seasonal_row(p, lengthscale, size * variance, size * nugget), omega)
    return QuasiPeriodicFit(
        model, float(lengthscale), size * float(variance), size * float(nugget),
        model.log_likelihood(blocks.ravel()), done,
    )  # fmt: skip


def _spectrum(bends, theta) -> np.ndarray:
    """Eigenvalues of K_p, and their slopes in theta (4, p); bends = 2 sin^2(pi j / p)."""
    lengthscale, variance, nugget = np.exp(theta)
    row = variance * np.exp(-bends / lengthscale**2)
    shape, stretch = np.fft.fft([row, 2.0 * bends / lengthscale**2 * row]).real
    floor = 1e-12 * (len(row) * variance + nugget)
    return np.array(
        [np.maximum(shape, 0.0) + nugget + floor, stretch, shape, np.full(len(row), nugget)]
    )


def _fit_spectrum(blocks, omega: float, theta) -> np.ndarray:
    """The logarithms (3,) that maximise the likelihood of k independent draws from N(0, K_p)."""
    k, p = blocks.shape
    power = _power(blocks[:1]) + _power(blocks[1:] - omega * blocks[:-1]) / (1.0 - omega**2)
    power /= k
    bends = _bends(p)

    def loss(t):
        spectrum, *slopes = _spectrum(bends, t)
        ratio = power / spectrum
        value = 0.5 * float((np.log(spectrum) + ratio).sum())
        return value / p, 0.5 / p * (np.array(slopes) @ ((1.0 - ratio) / spectrum))

    bounds = [np.log([0.1, 30.0]), np.log([1e-8, 1e6]), np.log([1e-8, 1e6])]
    return scipy.optimize.minimize(loss, theta, jac=True, method="L-BFGS-B", bounds=bounds).x


def _bends(p: int) -> np.ndarray:
    return 2.0 * np.sin(np.pi * np.arange(p) / p) ** 2


def bootstrap_omega(fitted: QuasiPeriodicFit, k: int, draws: int, rng=0) -> np.ndarray:
    """Return omega (draws,), fitted again to series of k blocks simulated from the fitted model.

    Their standard deviation estimates the standard error of omega.

    Paper: a-structural-equation-formulation-for-general (Nigam et al. 2025, arXiv:2511.01151)

    Raises ValueError for arguments that do not fit. Cost: that of ``draws`` fits.
    """
    if not isinstance(fitted, QuasiPeriodicFit):
        raise ValueError(f"fitted must be a QuasiPeriodicFit, got {type(fitted).__name__}")
    k = integer("k", k, low=2)
    series = fitted.model.sample(k, integer("draws", draws, low=1), as_rng(rng))
    return np.array([fit_quasi_periodic(y, fitted.model.period).omega for y in series])


# ------------------------------------------------------------------------------------------------
# 3. Time: tensors whose indices are continuous
# ------------------------------------------------------------------------------------------------


class FunctionalTucker:
    """Tucker decomposition whose factors are functions of continuous indices.

    y = vec(W)^T (U_1(t_1) (x) .. (x) U_K(t_K)) + noise. Each of the r_k components of U_k is a
    Gaussian process of one input, run as a Kalman smoother; W ~ N(0, I), noise precision tau ~
    Gamma. Mean-field inference q(W) q(tau) prod q(U_k): to U_k each entry is a Gaussian message
    with precision E[tau] E[b b^T] and shift E[tau] y E[b], b being W contracted with the other
    modes; messages on the same index add up, and one smoother pass over the sorted indices gives
    all of U_k.

    Paper: functional-bayesian-tucker-decomposition (Fang et al. 2024, arXiv:2311.04829)

    Parameters
    ----------
    kernels : one for each of K modes, of a kind that ``compute.state_space`` knows; None: rows of
        that mode share nothing, as in a plain Tucker decomposition of binned indices
    indices : the entries' places, shape (n, K), real numbers
    y : the entries' values, shape (n,); best with mean 0
    ranks : r_k, a number for all modes or one for each
    rng : for the start, smooth random functions

    Attributes
    ----------
    means, covariances : lists of (T_k, r_k) and (T_k, r_k, r_k), at the sorted distinct places
    places : list of these places, (T_k,)
    core, core_covariance : of vec W, (R,) and (R, R), R = prod r_k
    noise : 1 / E[tau]

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n R^2 + sum_k T_k r_k^3 s_k^3) a sweep, with s_k states of kernel k.
    """

    def __init__(self, kernels, indices, y, ranks=2, rng=0):
        self.indices = as_matrix("indices", indices)
        n, modes = self.indices.shape
        self.y = as_vector("y", y, length=n)
        if not isinstance(kernels, (list, tuple)) or len(kernels) != modes:
            raise ValueError(f"kernels must be a list, one for each of {modes} modes")
        for kernel in kernels:
            if kernel is not None:
                state_space(kernel)  # refuses a kernel without a state
        self.kernels = list(kernels)
        ranks = [ranks] * modes if np.ndim(ranks) == 0 else list(ranks)
        if len(ranks) != modes:
            raise ValueError(f"ranks must be one number or {modes}, got {len(ranks)}")
        self.ranks = [integer("ranks", r, low=1, high=20) for r in ranks]
        size = math.prod(self.ranks)
        fits_in_memory("the features", 16 * n * size**2)
        rng = as_rng(rng)
        self.places, self._row, self.means, self.covariances = [], [], [], []
        for kernel, column, r in zip(self.kernels, self.indices.T, self.ranks, strict=True):
            places, row = np.unique(column, return_inverse=True)
            self.places.append(places)
            self._row.append(row)
            self.means.append(_smooth_start(kernel, places, r, rng))
            self.covariances.append(np.tile(0.01 * np.eye(r), (len(places), 1, 1)))
        self._spread = float(np.mean(self.y**2)) or 1.0
        self.noise = 0.1 * self._spread
        self.core, self.core_covariance = np.zeros(size), np.eye(size)
        self._update_core()

    def sweep(self) -> float:
        """Renew every factor, the core and the noise once; return the largest change of a fit."""
        before = self._fitted()
        for mode in range(len(self.ranks)):
            self._update_mode(mode)
            self._update_core()
        self._update_noise()
        return float(np.abs(self._fitted() - before).max())

    def run(self, sweeps: int = 30, tolerance: float = 1e-5) -> "FunctionalTucker":
        """Sweep until the fits move by less than ``tolerance`` (in r.m.s. of y); return self."""
        tolerance = nonnegative("tolerance", tolerance)
        for _ in range(integer("sweeps", sweeps, low=1)):
            if self.sweep() < tolerance * math.sqrt(self._spread):
                break
        return self

    def training_error(self) -> float:
        """Return the root mean square of y minus its fit."""
        return float(np.sqrt(np.mean((self.y - self._fitted()) ** 2)))

    def predict(self, indices) -> Prediction:
        """Return mean and variance (t,) of the tensor (without noise) at places (t, K).

        Places between those of the data are reached by the smoother. Cost: that of a sweep.
        """
        indices = as_matrix("indices", indices, columns=len(self.ranks))
        means, squares = [], []
        for mode, column in enumerate(indices.T):
            found = self.factor(mode, column)
            means.append(found.mean)
            squares.append(_second_moments(found.mean, found.variance))
        mean = _kronecker_rows(means) @ self.core
        second = _paired_rows(squares) @ self._core_moments(range(len(self.ranks))).ravel()
        return Prediction(mean, np.maximum(second - mean**2, 0.0))

    def factor(self, mode: int, places) -> Prediction:
        """Return means (t, r) and covariances (t, r, r) of U_mode at places (t,)."""
        mode = integer("mode", mode, low=0, high=len(self.ranks) - 1)
        new, row = np.unique(as_vector("places", places), return_inverse=True)
        known, r = self.places[mode], self.ranks[mode]
        if self.kernels[mode] is None:
            means, covariances = np.zeros((len(new), r)), np.tile(np.eye(r), (len(new), 1, 1))
            at = np.minimum(np.searchsorted(known, new), len(known) - 1)
            seen = known[at] == new
            means[seen], covariances[seen] = (
                self.means[mode][at[seen]],
                self.covariances[mode][at[seen]],
            )
        else:
            shift, precision = self._messages(mode)
            every = np.concatenate([known, new])
            found = smooth_messages(
                self.kernels[mode],
                every,
                np.concatenate([shift, np.zeros((len(new), r))]),
                np.concatenate([precision, np.zeros((len(new), r, r))]),
            )
            means, covariances = found.mean[len(known) :], found.variance[len(known) :]
        return Prediction(means[row], covariances[row])

    def _fitted(self):
        rows = [mean[row] for mean, row in zip(self.means, self._row, strict=True)]
        return _kronecker_rows(rows) @ self.core

    def _moments(self, modes):
        """E[u u^T] (n, r, r) for each of the modes, at the entries."""
        return [_second_moments(self.means[k], self.covariances[k])[self._row[k]] for k in modes]

    def _core_moments(self, modes):
        """E[vec W vec W^T], rearranged to (r_1 r_1, r_2 r_2, ..) in the order of the modes."""
        modes, count = list(modes), len(self.ranks)
        second = self.core_covariance + np.outer(self.core, self.core)
        pairs = [axis for k in modes for axis in (k, count + k)]
        second = second.reshape(self.ranks * 2).transpose(pairs)
        return second.reshape([self.ranks[k] ** 2 for k in modes])

    def _messages(self, mode: int):
        """Sum the entries' messages to U_mode: shifts (T, r), precisions (T, r, r)."""
        others, r = [k for k in range(len(self.ranks)) if k != mode], self.ranks[mode]
        count, row = len(self.places[mode]), self._row[mode]
        core = np.moveaxis(self.core.reshape(self.ranks), mode, 0).reshape(r, -1)
        b = _kronecker_rows([self.means[k][self._row[k]] for k in others], len(self.y)) @ core.T
        moments = self._core_moments([mode, *others]).reshape(r * r, -1)
        squares = _paired_rows(self._moments(others), len(self.y)) @ moments.T
        shift, precision = np.zeros((count, r)), np.zeros((count, r * r))
        _add_rows(row, b * (self.y / self.noise)[:, None], shift)
        _add_rows(row, squares / self.noise, precision)
        precision = precision.reshape(count, r, r)
        return shift, 0.5 * (precision + precision.transpose(0, 2, 1))

    def _update_mode(self, mode: int) -> None:
        shift, precision = self._messages(mode)
        if self.kernels[mode] is None:
            covariance = np.linalg.inv(precision + np.eye(self.ranks[mode]))
            self.means[mode] = (covariance @ shift[:, :, None])[:, :, 0]
            self.covariances[mode] = covariance
        else:
            found = smooth_messages(self.kernels[mode], self.places[mode], shift, precision)
            self.means[mode], self.covariances[mode] = found

    def _update_core(self) -> None:
        size, count = len(self.core), len(self.ranks)
        features = _kronecker_rows(
            [mean[row] for mean, row in zip(self.means, self._row, strict=True)]
        )
        second = _paired_rows(self._moments(range(count))).sum(axis=0)
        pairs = second.reshape([r for rank in self.ranks for r in (rank, rank)])
        pairs = pairs.transpose([*range(0, 2 * count, 2), *range(1, 2 * count, 2)])
        precision = pairs.reshape(size, size) / self.noise + np.eye(size)
        self._feature_moments = pairs.reshape(size, size)
        factor = linalg.cholesky(0.5 * (precision + precision.T))
        self.core_covariance = factor.inverse()
        self.core = factor.solve(features.T @ self.y / self.noise)

    def _update_noise(self) -> None:
        second = self.core_covariance + np.outer(self.core, self.core)
        misses = float(self.y @ self.y - 2.0 * self.y @ self._fitted())
        misses += float(np.vdot(self._feature_moments, second))
        # Gamma(1e-3, 1e-3 spread): a floor for noiseless data, otherwise without weight.
        prior = 1e-3 * self._spread
        self.noise = (2.0 * prior + max(misses, 0.0)) / (2e-3 + len(self.y))


def fit_functional_tucker(
    kernels, indices, y, ranks=2, *, starts: int = 3, sweeps: int = 30, rng=0
) -> FunctionalTucker:
    """Return the best of several starts by training error, each run for some sweeps.

    Paper: functional-bayesian-tucker-decomposition (Fang et al. 2024, arXiv:2311.04829)

    Parameters: as ``FunctionalTucker``; starts >= 1; sweeps >= 1.
    Raises ValueError for arguments that do not fit. Cost: that of starts times sweeps.
    """
    rng = as_rng(rng)
    models = [
        FunctionalTucker(kernels, indices, y, ranks, rng).run(sweeps)
        for _ in range(integer("starts", starts, low=1))
    ]
    return min(models, key=FunctionalTucker.training_error)


def binned(indices, bins: int, low=0.0, high=1.0) -> np.ndarray:
    """Return the middles of the cells that the indices (n, K) fall into, same shape.

    Each axis has ``bins`` equal cells from low to high (numbers, or one for each axis); what lies
    outside counts to the outer cells. Raises ValueError for bins < 1 or high <= low.
    """
    indices, bins = as_matrix("indices", indices), integer("bins", bins, low=1)
    low, high = (np.broadcast_to(np.asarray(end, float), indices.shape[1]) for end in (low, high))
    if not (high > low).all():
        raise ValueError("high must be greater than low on every axis")
    cell = np.clip(np.floor((indices - low) / (high - low) * bins), 0, bins - 1)
    return low + (cell + 0.5) * (high - low) / bins


def largest_angle(found, truth) -> float:
    """Return the largest principal angle (degrees) between the column spaces of two matrices.

    Parameters: (n, r) and (n, q), n >= max(r, q). Raises ValueError for other shapes.
    Cost: O(n (r + q)^2).
    """
    found = as_matrix("found", found)
    truth = as_matrix("truth", truth, rows=len(found))
    if max(found.shape[1], truth.shape[1]) > len(found):
        raise ValueError(f"found and truth must have at most {len(found)} columns")
    return float(np.degrees(sla.subspace_angles(found, truth).max()))


def _smooth_start(kernel, places, r: int, rng) -> np.ndarray:
    """Smooth random functions for a start: three sines of random phase across the places."""
    if kernel is None:
        return rng.standard_normal((len(places), r))
    span = float(np.ptp(places)) or 1.0
    across = (places - places[0]) / span
    waves, phases = rng.uniform(0.25, 1.25, (3, r)), rng.uniform(0, 2 * np.pi, (3, r))
    weights = rng.standard_normal((3, r))
    return (weights * np.sin(2 * np.pi * across[:, None, None] * waves + phases)).sum(axis=1)


def _second_moments(means, covariances):
    return covariances + means[:, :, None] * means[:, None, :]


def _kronecker_rows(parts, n: int | None = None) -> np.ndarray:
    """The Kronecker product of each row (n, r_1 r_2 ..); of no parts: ones."""
    if not parts:
        return np.ones((n, 1))
    result = parts[0]
    for part in parts[1:]:
        result = (result[:, :, None] * part[:, None, :]).reshape(len(part), -1)
    return result


def _paired_rows(squares, n: int | None = None) -> np.ndarray:
    """The same for matrices (n, r, r), each as one row of r^2."""
    return _kronecker_rows([square.reshape(len(square), -1) for square in squares], n)


def _add_rows(row, values, out) -> None:
    for column in range(values.shape[1]):
        out[:, column] = np.bincount(row, values[:, column], minlength=len(out))
