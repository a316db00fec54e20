"""Gaussian processes through a few inducing variables u, in four versions.

All approximate the posterior by q(f) = integral p(f | u) q(u) du with M variables u, far fewer
than the n data. The optimal q(u) for plain inducing values is ``kernellab.compute.sparse_gp``.

1. Each point sees only its H nearest inducing points (Tran et al. 2021)
2. Hidden units on a circle as inducing variables, and what they miss (Tiao et al. 2023)
3. q(u) as the posterior of M weighted pseudo-data (Ketenci et al. 2023)
4. One process, C warped copies: many classes for one price (Maronas and Hernandez-Lobato 2023)
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg as sla
from autograd import make_vjp
from scipy.optimize import minimize

from kernellab.compute import compiled, linalg
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    fits_in_memory,
    integer,
    one_of,
    positive,
)
from kernellab.compute.elementary import exp
from kernellab.compute.gp import Prediction
from kernellab.compute.kernels import Kernel, as_kernel
from kernellab.compute.likelihoods import GaussianNoise
from kernellab.compute.networks import Adam, dense_network, network_output
from kernellab.compute.sparse_gp import InducingFeatures, SparseGP, VariationalGP, as_features
from kernellab.compute.vecchia import nearest_predecessors

# ------------------------------------------------------------------------------------------------
# 1. Each point sees only its H nearest inducing points
# ------------------------------------------------------------------------------------------------


class LocalWeights(NamedTuple):
    """What n points know of their H inducing neighbours.

    members (n, H), row numbers of Z; weights (n, H) = K_SS^-1 k_S(x); explained (n,), the prior
    variance k_S^T K_SS^-1 k_S; inverse (n, H, H) and logdet (n,) of K_SS (None if not asked for);
    jitter, the largest that a diagonal K_SS needed.
    """

    members: np.ndarray
    weights: np.ndarray
    explained: np.ndarray
    inverse: np.ndarray | None
    logdet: np.ndarray | None
    jitter: float


def local_weights(kernel, inducing, x, neighbours: int, members=None, inverses=False):
    """Solve K_SS a = k_S(x) for each point x, S being its nearest inducing points.

    Where K_SS is singular to rounding (repeated inducing points, a very smooth kernel) its diagonal
    grows by a jitter from 1e-12 up to 1e-6 of itself.

    Paper: sparse-within-sparse-gaussian-processes-using (Tran et al. 2021, arXiv:2011.05041)

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    inducing : Z, shape (M, d)
    x : points, shape (n, d)
    neighbours : H, from 1 to M; of points equally near, the first in Z comes first
    members : (n, H) rows of Z to use in place of the nearest
    inverses : also return the inverses and determinants of all K_SS

    Returns
    -------
    LocalWeights

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n M d) for the search, then O(n H^3), whatever M; memory O(n H^2).
    """
    kernel, inducing = as_kernel(kernel), as_matrix("inducing", inducing)
    x = as_matrix("x", x, columns=inducing.shape[1])
    h = integer("neighbours", neighbours, low=1, high=len(inducing))
    if members is None:
        members = nearest_predecessors(inducing, h, points=x)
    else:
        members = _as_members(members, len(x), h, len(inducing))
    n = len(x)
    fits_in_memory("the local systems", 16 * n * h * h)
    near = inducing.take(members.ravel(), axis=0)
    cross = kernel.paired(np.repeat(x, h, axis=0), near).reshape(n, h)
    within = _within(kernel, inducing, members)
    weights, explained, logdet = np.empty((n, h)), np.empty(n), np.empty(n)
    jitter = _solve_locally(within, cross, bool(inverses), weights, explained, logdet)
    if jitter < 0.0:
        raise ValueError("kernel must be positive definite at the inducing points, but is not")
    if inverses:
        return LocalWeights(members, weights, explained, within, logdet, jitter)
    return LocalWeights(members, weights, explained, None, None, jitter)


def _within(kernel, inducing, members):
    """Return the lower halves of all K_SS, (n, H, H): pair by pair unless all of K_uu is less."""
    n, h = members.shape
    rows, columns = np.tril_indices(h)
    if len(inducing) ** 2 <= n * rows.size:
        return kernel.gram(inducing)[members[:, :, None], members[:, None]]
    left, right = (inducing.take(members[:, side].ravel(), axis=0) for side in (rows, columns))
    within = np.zeros((n, h, h))
    within[:, rows, columns] = kernel.paired(left, right).reshape(n, rows.size)
    return within


def _as_members(members, n, h, m):
    members = np.ascontiguousarray(members)
    if members.dtype.kind not in "iu" or members.shape != (n, h):
        raise ValueError(
            f"members must be whole numbers of shape {(n, h)}, got shape {members.shape}"
        )
    if members.min() < 0 or members.max() >= m:
        raise ValueError(
            f"members must lie between 0 and {m - 1}, got {members.min()} to {members.max()}"
        )
    return members.astype(np.int64)


@compiled(
    "float64(float64[:,:,::1], float64[:,::1], boolean, "
    "float64[:,::1], float64[::1], float64[::1])",
    fastmath={"contract", "reassoc"},
)
def _solve_locally(within, cross, inverses, weights, explained, logdet):
    """Fill in K^-1 k, k^T K^-1 k and log det K for each small K (its lower half is given).

    ``within`` ends as the inverses if asked for. Returns the largest jitter, or -1 if one failed.
    """
    n, h = cross.shape
    lower, half = np.empty((h, h)), np.empty((h, h))
    largest = 0.0
    for t in range(n):
        matrix = within[t]
        scale = 0.0
        for i in range(h):
            scale += matrix[i, i] / h
        jitter, done = 0.0, False
        for attempt in range(8):
            if attempt > 0:
                jitter = scale * 10.0 ** (attempt - 13)
            done = True
            for i in range(h):
                for j in range(i):
                    total = matrix[i, j]
                    for k in range(j):
                        total -= lower[i, k] * lower[j, k]
                    lower[i, j] = total / lower[j, j]
                total = matrix[i, i] + jitter
                left = total
                for k in range(i):
                    left -= lower[i, k] * lower[i, k]
                if not left > h * 2.3e-16 * total:
                    done = False
                    break
                lower[i, i] = math.sqrt(left)
            if done:
                break
        if not done:
            return -1.0
        largest = max(largest, jitter)
        w = weights[t]
        explained[t], logdet[t] = 0.0, 0.0
        for i in range(h):
            total = cross[t, i]
            for k in range(i):
                total -= lower[i, k] * w[k]
            w[i] = total / lower[i, i]
            explained[t] += w[i] * w[i]
            logdet[t] += 2.0 * math.log(lower[i, i])
        for i in range(h - 1, -1, -1):
            w[i] /= lower[i, i]
            for k in range(i):
                w[k] -= lower[i, k] * w[i]
        if inverses:
            # Row j of half is column j of the inverse of lower: zero before j.
            for j in range(h):
                half[j, j] = 1.0 / lower[j, j]
                for i in range(j + 1, h):
                    total = 0.0
                    for k in range(j, i):
                        total -= lower[i, k] * half[j, k]
                    half[j, i] = total / lower[i, i]
            for i in range(h):
                for j in range(i + 1):
                    total = 0.0
                    for k in range(i, h):
                        total += half[i, k] * half[j, k]
                    matrix[i, j] = total
                    matrix[j, i] = total
    return largest


class NeighbourGP:
    """A sparse posterior in which each input uses its H nearest inducing values only.

    f(x) ~ N(a^T m_S, k(x, x) - a^T (K_SS - Sigma_S) a) with a = K_SS^-1 k_S(x) and
    q(u) = N(m, Sigma), Sigma = diag(deviations^2). With H = M it is the usual sparse posterior.

    Paper: sparse-within-sparse-gaussian-processes-using (Tran et al. 2021, arXiv:2011.05041)

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    inducing : Z, shape (M, d)
    mean, deviations : of q(u), shape (M,) each, deviations > 0
    neighbours : H, from 1 to M

    Attributes
    ----------
    jitter : the largest that a K_SS needed so far

    Raises
    ------
    ValueError : arguments that do not fit.
    """

    def __init__(self, kernel, inducing, mean, deviations, neighbours: int):
        self.kernel, self.inducing = as_kernel(kernel), as_matrix("inducing", inducing)
        m = len(self.inducing)
        self.mean = as_vector("mean", mean, length=m)
        self.deviations = as_vector("deviations", deviations, length=m)
        if self.deviations.min() <= 0:
            raise ValueError(f"deviations must be positive, got {self.deviations.min():.3g}")
        self.neighbours = integer("neighbours", neighbours, low=1, high=m)
        self.jitter = 0.0

    def local(self, x, members=None, inverses=False) -> LocalWeights:
        """Return the local weights at points x (n, d); see ``local_weights``."""
        local = local_weights(self.kernel, self.inducing, x, self.neighbours, members, inverses)
        self.jitter = max(self.jitter, local.jitter)
        return local

    def predict(self, x, members=None) -> Prediction:
        """Return mean and variance of f at points x (n, d), (n,) each. Cost: O(n H^3)."""
        return self._moments(x, self.local(x, members))

    def _moments(self, x, local: LocalWeights) -> Prediction:
        mean = np.sum(local.weights * self.mean[local.members], axis=1)
        spread = np.sum((local.weights * self.deviations[local.members]) ** 2, axis=1)
        return Prediction(mean, self._left_over(x, local) + spread)

    def _left_over(self, x, local):
        return np.maximum(self.kernel.diagonal(x) - local.explained, 0.0)

    def bound(self, x, y, likelihood, n_total: int | None = None, members=None) -> float:
        """Return sum_i E_q log p(y_i | f_i) - (M / H) mean_i KL(q(u_S) || p(u_S)).

        The divergence of the active values is averaged over the points; M / H makes each inducing
        value count once. A batch of b of n_total points counts its sum n_total / b times.

        Parameters: x (b, d); y (b,); likelihood, of ``kernellab.compute.likelihoods``; n_total;
        members as in ``local_weights``. Cost: O(b H^3).
        """
        local = self.local(x, members, inverses=True)
        mean, variance = self._moments(x, local)
        y = likelihood.as_targets(y, len(mean))
        share = 1.0 if n_total is None else integer("n_total", n_total, low=len(y)) / len(y)
        fit = share * float(likelihood.expected(y, mean, variance)[0].sum())
        m, s = self.mean[local.members], self.deviations[local.members]
        distance = np.einsum("nh,nhk,nk->n", m, local.inverse, m)
        trace = np.einsum("nhh,nh->n", local.inverse, s**2)
        logs = local.logdet - 2.0 * np.log(s).sum(axis=1)
        divergence = 0.5 * (distance + trace + logs - self.neighbours)
        return fit - len(self.mean) / self.neighbours * float(divergence.mean())


def fit_neighbours(kernel, x, y, noise: float, inducing, neighbours: int, members=None):
    """Return the ``NeighbourGP`` that maximises the bound for Gaussian noise, in closed form.

    With P_i picking the neighbours of x_i and w = M / (H n): m solves
    [sum_i P_i^T (a_i a_i^T / noise + w K_SS^-1) P_i] m = sum_i P_i^T a_i y_i / noise, and
    Sigma_jj = w c_j / [that matrix]_jj, c_j being how many points have j as neighbour. An inducing
    value that nobody uses keeps its prior.

    Paper: sparse-within-sparse-gaussian-processes-using (Tran et al. 2021, arXiv:2011.05041)

    Parameters
    ----------
    kernel, inducing, neighbours, members : as in ``local_weights``
    x, y : data, shape (n, d) and (n,)
    noise : variance of the noise, > 0

    Returns
    -------
    NeighbourGP

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n H^3 + M^3): the paper's stochastic steps (``train_neighbours``) avoid the M^3.
    """
    x, noise = as_matrix("x", x), positive("noise", noise)
    y = as_vector("y", y, length=len(x))
    local = local_weights(kernel, inducing, x, neighbours, members, inverses=True)
    m = len(inducing)
    fits_in_memory("the system", 8 * m * m)
    share = m / (local.weights.shape[1] * len(x))
    system, right = np.zeros((m, m)), np.zeros(m)
    _scatter(local.members, local.weights, local.inverse, y, noise, share, system, right)
    counts = np.bincount(local.members.ravel(), minlength=m)
    unused = counts == 0
    system[unused, unused] = 1.0
    prior = as_kernel(kernel).diagonal(inducing)
    variance = np.where(unused, prior, share * counts / np.diagonal(system))
    factor = linalg.cholesky(system)
    gp = NeighbourGP(kernel, inducing, factor.solve(right), np.sqrt(variance), neighbours)
    gp.jitter = local.jitter
    return gp


@compiled(
    "void(int64[:,::1], float64[:,::1], float64[:,:,::1], float64[::1], float64, float64, "
    "float64[:,::1], float64[::1])"
)
def _scatter(members, weights, inverse, y, noise, share, system, right):
    """Add each point's small system to the large one."""
    n, h = members.shape
    for t in range(n):
        for i in range(h):
            row = members[t, i]
            scaled = weights[t, i] / noise
            right[row] += scaled * y[t]
            for j in range(h):
                system[row, members[t, j]] += scaled * weights[t, j] + share * inverse[t, i, j]


def train_neighbours(
    kernel, x, y, noise, inducing, neighbours, *, steps=1000, batch=100, step=0.05, rng=0
) -> Iterator[tuple[float, NeighbourGP]]:
    """Climb the bound by Adam on (m, log deviations), a batch of points at a time.

    One step costs O(batch H^3) and touches only the batch's neighbours, whatever M.

    Paper: sparse-within-sparse-gaussian-processes-using (Tran et al. 2021, arXiv:2011.05041)

    Parameters
    ----------
    kernel, x, y, noise, inducing, neighbours : as in ``fit_neighbours``
    steps, batch, step : how many steps, points in each, Adam's step
    rng : ``numpy.random.Generator`` or seed

    Yields
    ------
    (fraction done, the present NeighbourGP) after each step

    Raises
    ------
    ValueError : arguments that do not fit.
    """
    kernel, x, noise = as_kernel(kernel), as_matrix("x", x), positive("noise", noise)
    y, inducing = as_vector("y", y, length=len(x)), as_matrix("inducing", inducing)
    steps, rng = integer("steps", steps, low=1), as_rng(rng)
    batch = integer("batch", batch, low=1, high=len(x))
    mean, logs = np.zeros(len(inducing)), 0.5 * np.log(kernel.diagonal(inducing))
    adam = Adam([mean, logs], step=step)
    for number in range(1, steps + 1):
        chosen = rng.integers(len(x), size=batch)
        slopes = neighbour_gradient(
            kernel, x[chosen], y[chosen], noise, inducing, neighbours, mean, np.exp(logs), len(x)
        )
        adam.update([-slope for slope in slopes])
        gp = NeighbourGP(kernel, inducing, mean.copy(), np.exp(logs), neighbours)
        yield number / steps, gp


def neighbour_gradient(kernel, x, y, noise, inducing, neighbours, mean, deviations, n_total):
    """Return a batch's gradients of the bound in m and in log deviations, shape (M,) each.

    With r = (y - a^T m_S) / noise: d/dm_S = (n/b) a r - (M/H)/b K_SS^-1 m_S and
    d/dlog s_S = -(n/b) a^2 s^2 / noise - (M/H)/b (diag(K_SS^-1) s^2 - 1), summed over the batch.

    Parameters: as in ``NeighbourGP`` and its ``bound``. Raises ValueError for arguments that do
    not fit. Cost: O(b H^3 + M), and O(b M d) to search the neighbours.
    """
    local = local_weights(kernel, inducing, x, neighbours, inverses=True)
    members, a = local.members, local.weights
    y, noise = as_vector("y", y, length=len(members)), positive("noise", noise)
    mean = as_vector("mean", mean, length=len(inducing))
    deviations = as_vector("deviations", deviations, length=len(inducing))
    if deviations.min() <= 0:
        raise ValueError(f"deviations must be positive, got {deviations.min():.3g}")
    share = integer("n_total", n_total, low=len(members)) / len(members)
    price = len(mean) / (neighbours * len(members))
    m, squares = mean[members], deviations[members] ** 2
    residual = (y - np.sum(a * m, axis=1)) / noise
    pull = share * a * residual[:, None] - price * np.einsum("nhk,nk->nh", local.inverse, m)
    own = np.einsum("nhh->nh", local.inverse)
    tighten = -share * a**2 * squares / noise - price * (own * squares - 1.0)
    return tuple(
        np.bincount(members.ravel(), part.ravel(), minlength=len(mean)) for part in (pull, tighten)
    )


# ------------------------------------------------------------------------------------------------
# 2. Hidden units on a circle as inducing variables, and what they miss
# ------------------------------------------------------------------------------------------------

ACTIVATIONS = ("relu", "softplus", "step")


def on_circle(angles) -> np.ndarray:
    """Return the points (cos t, sin t) of the unit circle, shape (n, 2), for angles t (n,)."""
    angles = as_vector("angles", angles)
    return np.column_stack([np.cos(angles), np.sin(angles)])


def _angles(x) -> np.ndarray:
    if x.shape[1] != 2:
        raise ValueError(f"x must have 2 columns, points of the plane, got {x.shape[1]}")
    return np.arctan2(x[:, 1], x[:, 0])


def _waves(angles, levels: int) -> np.ndarray:
    """Return 1, cos t, ..., cos(levels t), sin t, ..., sin(levels t) as rows."""
    powers = np.empty((levels + 1, len(angles)), dtype=complex)
    powers[0], powers[1:] = 1.0, np.exp(1j * angles)
    # e^(i l t) as a running product: one cosine and sine a point in place of one a level.
    np.multiply.accumulate(powers, axis=0, out=powers)
    return np.vstack([powers.real, powers.imag[1:]])


@dataclass(frozen=True)
class CircleKernel(Kernel):
    """A kernel of directions: k(x, y) = |x| |y| sum_l c_l cos(l angle(x, y)), in the plane.

    c_l is proportional to (1 + (lengthscale l)^2)^(-3/2), half of that for l = 0, and the c_l sum
    to 1. With a coordinate 1 added to a number t, x = (t, 1), it is a kernel on the line.

    Paper: spherical-inducing-features-for-orthogonally (Tiao et al. 2023, arXiv:2304.14034)

    lengthscale : > 0, in radians; levels : the highest frequency l, >= 1
    """

    lengthscale: float = 1.0
    levels: int = 100

    def __post_init__(self):
        object.__setattr__(self, "lengthscale", positive("lengthscale", self.lengthscale))
        object.__setattr__(self, "levels", integer("levels", self.levels, low=1, high=10_000))

    def coefficients(self) -> np.ndarray:
        """Return c_0, ..., c_levels."""
        with np.errstate(over="ignore"):
            c = (1.0 + (self.lengthscale * np.arange(self.levels + 1)) ** 2) ** -1.5
        c[0] = 0.5
        return c / c.sum()

    def _gram(self, x, y):
        root = np.sqrt(self.coefficients())
        root = np.concatenate([root, root[1:]])[:, None]
        left = root * _waves(_angles(x), self.levels) * np.linalg.norm(x, axis=1)
        if y is x:
            gram = left.T @ left
            return 0.5 * (gram + gram.T)
        right = root * _waves(_angles(y), self.levels) * np.linalg.norm(y, axis=1)
        return left.T @ right

    def _paired(self, x, y):
        cosine = np.cos(_angles(x) - _angles(y))
        c = self.coefficients()
        # Clenshaw's recurrence: one cosine a pair in place of one a level.
        ahead, further = np.zeros_like(cosine), np.zeros_like(cosine)
        for level in range(self.levels, 0, -1):
            ahead, further = c[level] + 2.0 * cosine * ahead - further, ahead
        sizes = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        return (c[0] + cosine * ahead - further) * sizes

    def _diagonal(self, x):
        _angles(x)
        return np.sum(x**2, axis=1)

    def _parameters(self):
        return {"lengthscale": self.lengthscale}

    def _with(self, values):
        return CircleKernel(values["lengthscale"], self.levels)

    def _gradients(self, x):
        level, c = np.arange(self.levels + 1), self.coefficients()
        slope = -3.0 * (self.lengthscale * level) ** 2 / (1.0 + (self.lengthscale * level) ** 2)
        slope = c * (slope - c @ slope)
        waves = _waves(_angles(x), self.levels) * np.linalg.norm(x, axis=1)
        return [waves.T @ (np.concatenate([slope, slope[1:]])[:, None] * waves)]

    def _stretch_gradients(self, x):
        raise ValueError("kernel must not be stretched: directions have no lengthscale a column")


@functools.lru_cache(maxsize=64)
def activation_levels(activation: str, levels: int) -> np.ndarray:
    """Return the Fourier coefficients of a unit, s(cos t) = sum_l sigma_l cos(l t), (levels + 1,).

    relu: sigma_0 = 1/pi, sigma_1 = 1/2, sigma_l = 2 (-1)^(l/2+1) / (pi (l^2 - 1)) for even l and 0
    for odd l > 1. step: 1/2 at l = 0, and odd levels only. softplus, log(1 + e^(8 c)) / 8: all.

    Raises ValueError for other arguments. Cost: O(levels).
    """
    one_of("activation", activation, ACTIVATIONS)
    levels = integer("levels", levels, low=1, high=10_000)
    level = np.arange(levels + 1)
    even = level % 2 == 0
    sigma = np.zeros(levels + 1)
    if activation == "relu":
        sigma[even] = -2.0 * np.cos(np.pi * level[even] / 2) / (np.pi * (level[even] ** 2 - 1.0))
        sigma[:2] = 1.0 / np.pi, 0.5
    elif activation == "step":
        sigma[~even] = 2.0 * np.sin(np.pi * level[~even] / 2) / (np.pi * level[~even])
        sigma[0] = 0.5
    else:
        count = 4 * max(levels, 256)
        values = np.logaddexp(0.0, 8.0 * np.cos(2.0 * np.pi * np.arange(count) / count)) / 8.0
        sigma = 2.0 * np.fft.rfft(values).real[: levels + 1] / count
        sigma[0] *= 0.5
        sigma[np.abs(sigma) < 1e-14] = 0.0
    sigma.setflags(write=False)
    return sigma


class CircleFeatures(InducingFeatures):
    """Inducing variables that act like M hidden units: cov(u_m, f(x)) = |x| s(cos angle(w_m, x)).

    u_m is the inner product of f with the unit in the kernel's space, so that with sigma_l the
    unit's and c_l the kernel's Fourier coefficients cov(u_m, u_m') = sum_l (sigma_l^2 / c_l)
    cos(l angle(w_m, w_m')). Both stop at ``levels``: units are smoothed to the frequencies kept.
    A level with sigma_l = 0 is never seen, whatever M.

    Paper: spherical-inducing-features-for-orthogonally (Tiao et al. 2023, arXiv:2304.14034)

    Parameters
    ----------
    kernel : CircleKernel
    directions : angles of the w_m, shape (M,)
    activation : "relu", "softplus" or "step"
    levels : the highest frequency kept, from 1 to kernel.levels; None: kernel.levels
    smoothed : False keeps the corner of the unit in cov(u, f) though cov(u, u) is cut off: the two
        no longer belong to one process, and more variance can be "explained" than there is

    Raises ValueError for arguments that do not fit. Cost: O((M + n) levels + M n levels).
    """

    def __init__(self, kernel, directions, activation="relu", levels=None, smoothed=True):
        if not isinstance(kernel, CircleKernel):
            raise ValueError(f"kernel must be a CircleKernel, got {type(kernel).__name__}")
        self.kernel, self.directions = kernel, as_vector("directions", directions)
        self.activation = one_of("activation", activation, ACTIVATIONS)
        self.levels = (
            kernel.levels if levels is None else integer("levels", levels, 1, kernel.levels)
        )
        least = kernel.coefficients()[: self.levels + 1].min()
        if not least > 0.0:
            raise ValueError(f"kernel must give weight to each level kept, got {least:.3g}")
        self.smoothed = bool(smoothed)

    def gram(self):
        """Return K_uu, shape (M, M)."""
        sigma = activation_levels(self.activation, self.levels)
        root = np.abs(sigma) / np.sqrt(self.kernel.coefficients()[: self.levels + 1])
        waves = np.concatenate([root, root[1:]])[:, None] * _waves(self.directions, self.levels)
        return waves.T @ waves

    def cross(self, x):
        """Return K_uf, shape (M, n), for x (n, 2)."""
        x = as_matrix("x", x, columns=2)
        levels = self.levels if self.smoothed else 2000
        sigma = activation_levels(self.activation, levels)
        waves = np.concatenate([sigma, sigma[1:]])[:, None] * _waves(self.directions, levels)
        return waves.T @ _waves(_angles(x), levels) * np.linalg.norm(x, axis=1)


class OrthogonalGP:
    """Two groups of inducing variables: u, and v for the part of f that u does not explain.

    f = f_u + f_v with independent parts: f_v has covariance C = k - k_u^T K_uu^-1 k_u, and v are
    its values at the points ``extra``. With q(u, v) = q(u) q(v), optimal for Gaussian noise,
    mean k_u^T K_uu^-1 m_u + C_v^T C_vv^-1 m_v and variance k + k_u^T K_uu^-1 (S_u - K_uu) K_uu^-1
    k_u + C_v^T C_vv^-1 (S_v - C_vv) C_vv^-1 C_v. Two Cholesky factors of half the size are about
    four times cheaper than one.

    Paper: spherical-inducing-features-for-orthogonally (Tiao et al. 2023, arXiv:2304.14034)

    Parameters
    ----------
    kernel, x, y, noise : as in ``SparseGP``
    inducing : for u: points (M_u, d) or ``InducingFeatures``
    extra : for v: points (M_v, d)

    Attributes
    ----------
    jitter : the larger of what had to be added to K_uu and to C_vv

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n (M_u + M_v)^2).
    """

    def __init__(self, kernel, x, y, noise, inducing, extra):
        self.kernel, self.noise = as_kernel(kernel), positive("noise", noise)
        self.x = as_matrix("x", x)
        self.y = as_vector("y", y, length=len(self.x))
        self.features = as_features(self.kernel, inducing, self.x.shape[1])
        self.extra = as_matrix("extra", extra, columns=self.x.shape[1])
        self._lower = linalg.cholesky(self.features.gram())
        self._tie = _half(self._lower.lower, self.features.cross(self.extra))
        left = self.kernel.gram(self.extra) - self._tie.T @ self._tie
        self._rest = _factor_of_rest(left, float(self.kernel.diagonal(self.extra).mean()))
        self.jitter = max(self._lower.jitter, self._rest.jitter)
        a, b = (part / math.sqrt(self.noise) for part in self._parts(self.x))
        # In whitened coordinates both priors are N(0, I); the means solve one joint system.
        both = np.vstack([a, b])
        precision = both @ both.T
        precision[np.diag_indices(len(both))] += 1.0
        right = both @ self.y / math.sqrt(self.noise)
        self._mean = np.split(linalg.cholesky(precision).solve(right), [len(a)])
        roots = (precision[: len(a), : len(a)], precision[len(a) :, len(a) :])
        self._roots = [linalg.cholesky(block).lower for block in roots]

    def _parts(self, x):
        """Return the whitened weights of u (M_u, n) and v (M_v, n) at points x."""
        a = _half(self._lower.lower, self.features.cross(x))
        b = self.kernel.gram(self.extra, x) - self._tie.T @ a
        return a, _half(self._rest.lower, b)

    def predict(self, x) -> Prediction:
        """Return mean and variance of f at points x (t, d). Cost: O(t (M_u + M_v)^2)."""
        x = as_matrix("x", x, columns=self.x.shape[1])
        variance, mean = self.kernel.diagonal(x).copy(), np.zeros(len(x))
        for part, m, root in zip(self._parts(x), self._mean, self._roots, strict=True):
            mean += part.T @ m
            variance += (_half(root, part) ** 2).sum(axis=0) - (part**2).sum(axis=0)
        return Prediction(mean, np.maximum(variance, 0.0))

    def bound(self) -> float:
        """Return sum_i E_q log p(y_i | f_i) - KL(q(u) || p(u)) - KL(q(v) || p(v))."""
        mean, variance = self.predict(self.x)
        fit = float(GaussianNoise(self.noise).expected(self.y, mean, variance)[0].sum())
        for m, root in zip(self._mean, self._roots, strict=True):
            trace = float(np.sum(_half(root, np.eye(len(m))) ** 2))
            logdet = 2.0 * float(np.log(np.diagonal(root)).sum())
            fit -= 0.5 * (trace + float(m @ m) - len(m) + logdet)
        return fit


def _factor_of_rest(rest, scale):
    """Factor C_vv; what is left of the prior may be nothing but rounding, so measure on scale."""
    for jitter in (0.0, 1e-12, 1e-10, 1e-8, 1e-6):
        try:
            factor = linalg.cholesky(0.5 * (rest + rest.T), jitter=jitter * scale, max_jitter=0.0)
        except ValueError:
            continue
        if np.diagonal(factor.lower).min() ** 2 > 1e-13 * scale:
            return factor
    raise ValueError(
        "extra must leave a positive definite covariance, even 1e-6 did not make it so"
    )


def _half(lower, b):
    return sla.solve_triangular(lower, b, lower=True, check_finite=False)


# ------------------------------------------------------------------------------------------------
# 3. q(u) as the posterior of M weighted pseudo-data
# ------------------------------------------------------------------------------------------------


class CoresetGP:
    """A sparse posterior whose q(u) is the exact posterior of M weighted pseudo-data.

    q(u) is proportional to p(u) prod_m N(t_m; u_m, noise)^beta_m: with D = noise / beta,
    q(u) = N(K (K + D)^-1 t, K - K (K + D)^-1 K), and f(x) ~ N(k^T (K + D)^-1 t, k(x, x) -
    k^T (K + D)^-1 k). Only I + D^-1/2 K D^-1/2 is ever factored; its eigenvalues are at least 1.

    Paper: a-coreset-based-tempered-variational (Ketenci et al. 2023, arXiv:2311.01409)

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    inducing : Z, shape (M, d)
    targets : t, the pseudo-targets, shape (M,)
    weights : beta, shape (M,), >= 0; 0 takes a point away
    noise : variance of the noise, > 0

    Attributes
    ----------
    jitter : what had to be added to the factored matrix

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(M^3); 2 M + d M parameters.
    """

    def __init__(self, kernel, inducing, targets, weights, noise: float):
        self.kernel, self.inducing = as_kernel(kernel), as_matrix("inducing", inducing)
        m = len(self.inducing)
        self.targets = as_vector("targets", targets, length=m)
        self.weights = as_vector("weights", weights, length=m)
        if self.weights.min() < 0:
            raise ValueError(f"weights must not be negative, got {self.weights.min():.3g}")
        self.noise = positive("noise", noise)
        self._root = np.sqrt(self.weights / self.noise)
        self._gram = self.kernel.gram(self.inducing)
        inner = self._root[:, None] * self._gram * self._root
        inner[np.diag_indices(m)] += 1.0
        self._factor = linalg.cholesky(inner)
        self.jitter = self._factor.jitter
        self.coefficients = self._root * self._factor.solve(self._root * self.targets)

    def predict(self, x) -> Prediction:
        """Return mean and variance of f at points x (n, d), (n,) each. Cost: O(n M^2)."""
        x = as_matrix("x", x, columns=self.inducing.shape[1])
        cross = self.kernel.gram(self.inducing, x)
        half = _half(self._factor.lower, self._root[:, None] * cross)
        variance = self.kernel.diagonal(x) - (half**2).sum(axis=0)
        return Prediction(cross.T @ self.coefficients, np.maximum(variance, 0.0))

    def inducing_posterior(self) -> Prediction:
        """Return mean (M,) and covariance (M, M) of q(u)."""
        half = _half(self._factor.lower, self._root[:, None] * self._gram)
        return Prediction(self._gram @ self.coefficients, self._gram - half.T @ half)

    def kl(self) -> float:
        """Return KL(q(u) || p(u)) = (1/2) (w^T K w - tr[(K + D)^-1 K] + log det(I + D^-1 K)).

        w = (K + D)^-1 t.
        """
        m = len(self.targets)
        length = float(self.coefficients @ self._gram @ self.coefficients)
        trace = m - float(np.trace(self._factor.inverse()))
        return max(0.5 * (length - trace + self._factor.logdet()), 0.0)

    def bound(self, x, y, likelihood=None, n_total: int | None = None) -> float:
        """Return sum_i E_q log p(y_i | f_i) - KL(q(u) || p(u)); a batch's sum counts n_total / b.

        Parameters: x (b, d); y (b,); likelihood, None: Gaussian with ``noise``; n_total.
        """
        likelihood = GaussianNoise(self.noise) if likelihood is None else likelihood
        mean, variance = self.predict(x)
        y = likelihood.as_targets(y, len(mean))
        share = 1.0 if n_total is None else integer("n_total", n_total, low=len(y)) / len(y)
        return share * float(likelihood.expected(y, mean, variance)[0].sum()) - self.kl()


def fit_coreset(kernel, x, y, noise: float, inducing, weights=None) -> CoresetGP:
    """Return the coreset at the points Z with the highest bound for Gaussian noise.

    The mean k(x)^T w does not depend on the weights, so the best w is that of the optimal q(u)
    without restrictions, and t = (K + D) w. The weights beta then maximise what is left,
    (1/2) [tr((K + D)^-1 (K_uf K_fu / noise + K)) - log det(I + D^-1 K)], by L-BFGS in log beta.

    Paper: a-coreset-based-tempered-variational (Ketenci et al. 2023, arXiv:2311.01409)

    Parameters
    ----------
    kernel, inducing, noise : as in ``CoresetGP``
    x, y : data, shape (n, d) and (n,)
    weights : shape (M,) to keep these; None: fit them (at most e^20 each)

    Returns
    -------
    CoresetGP : its jitter also counts what the fit had to add to K

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n M^2), and O(M^3) for each of some 50 steps.
    """
    points = as_matrix("inducing", inducing)
    sparse = SparseGP(kernel, x, y, noise, points)
    gram = sparse.kernel.gram(points)
    factor = linalg.cholesky(gram)
    w = factor.solve(sparse.inducing_posterior().mean)
    cross = sparse.kernel.gram(points, sparse.x)
    moment = cross @ cross.T / sparse.noise + gram
    if weights is None:
        start = np.zeros(len(points))
        loss = functools.partial(_weight_loss, gram, moment, sparse.noise)
        bounds = [(-20.0, 20.0)] * len(points)
        weights = np.exp(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x)
    weights = as_vector("weights", weights, length=len(points))
    if weights.min() <= 0:
        raise ValueError(f"weights must be positive to be kept, got {weights.min():.3g}")
    targets = gram @ w + sparse.noise / weights * w
    core = CoresetGP(sparse.kernel, points, targets, weights, sparse.noise)
    core.jitter = max(core.jitter, factor.jitter)
    return core


def _weight_loss(gram, moment, noise, logs):
    """Minus what the weights add to the bound, and its gradient in log beta."""
    root = np.exp(0.5 * logs) / math.sqrt(noise)
    inner = root[:, None] * gram * root
    inner[np.diag_indices(len(gram))] += 1.0
    factor = linalg.cholesky(inner)
    inverse = factor.inverse()
    solved = inverse * root[:, None] * root  # (K + D)^-1
    value = -0.5 * float(np.vdot(solved, moment)) + 0.5 * factor.logdet()
    # d solved = solved (diag(1/root^2)) solved d log beta, and d logdet = 1 - diag(inverse).
    pull = np.sum((solved @ moment) * solved, axis=1) / root**2
    return value, -0.5 * pull + 0.5 * (1.0 - np.diagonal(inverse))


def train_coreset(
    kernel,
    x,
    y,
    noise,
    inducing,
    *,
    steps=1000,
    batch=100,
    step=0.01,
    tempered=True,
    every=1,
    rng=0,
) -> Iterator[tuple[float, CoresetGP]]:
    """Climb the bound by Adam on (t, log beta), from t = 0 and beta = 1, a batch at a time.

    Paper: a-coreset-based-tempered-variational (Ketenci et al. 2023, arXiv:2311.01409)

    Parameters
    ----------
    kernel, x, y, noise, inducing : as in ``fit_coreset``; the points Z stay where they are
    steps, batch, step : how many steps, points in each, Adam's step
    tempered : False keeps beta = 1
    every : yield after each ``every`` steps; at most ``steps``
    rng : ``numpy.random.Generator`` or seed

    Yields
    ------
    (fraction done, the present CoresetGP) after each step

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(batch M^2 + M^3) a step.
    """
    kernel, x, y, noise, inducing = _regression(kernel, x, y, noise, inducing)
    gram, cross = kernel.gram(inducing), kernel.gram(inducing, x)
    targets, logs = np.zeros(len(inducing)), np.zeros(len(inducing))
    adam = Adam([targets, logs], step=step)
    every = integer("every", every, low=1, high=integer("steps", steps, low=1))
    for number, chosen, share in _batches(len(x), steps, batch, rng):
        k = cross[:, chosen]
        root = np.exp(0.5 * logs) / math.sqrt(noise)
        inner = root[:, None] * gram * root
        inner[np.diag_indices(len(gram))] += 1.0
        inverse = linalg.cholesky(inner).inverse()
        solved = inverse * root[:, None] * root
        w = solved @ targets
        # d bound / dw, then back through w = (K + D)^-1 t.
        slope = share * k @ (y[chosen] - k.T @ w) / noise - gram @ w
        moment = share * k @ k.T / noise + gram
        pull = np.sum((solved @ moment) * solved, axis=1) / root**2
        by_logs = 0.5 * pull - 0.5 * (1.0 - np.diagonal(inverse))
        by_logs += (solved @ slope) * w / root**2
        adam.update([-solved @ slope, -by_logs * float(bool(tempered))])
        if number % every == 0:
            yield number / steps, CoresetGP(kernel, inducing, targets.copy(), np.exp(logs), noise)


def train_free(
    kernel,
    x,
    y,
    noise,
    inducing,
    *,
    whitened=True,
    steps=1000,
    batch=100,
    step=0.01,
    every=1,
    rng=0,
) -> Iterator[tuple[float, VariationalGP]]:
    """Climb the same bound with a free mean and lower-triangular root: the usual SVGP.

    Parameters: as in ``train_coreset``; whitened: mean and root are those of v, u = L v. The start
    is the prior. Yields (fraction done, VariationalGP). Raises ValueError for bad arguments.
    Cost: O(batch M^2 + M^3) a step. Source: Hensman, Fusi and Lawrence (2013).
    """
    kernel, x, y, noise, inducing = _regression(kernel, x, y, noise, inducing)
    factor = linalg.cholesky(kernel.gram(inducing))
    cross = kernel.gram(inducing, x)
    weights = _half(factor.lower, cross) if whitened else factor.solve(cross)
    precision = np.eye(len(inducing)) if whitened else factor.inverse()
    mean, raw = np.zeros(len(inducing)), np.eye(len(inducing))
    raw = raw if whitened else factor.lower.copy()
    raw[np.diag_indices(len(raw))] = np.log(np.diagonal(raw))
    adam = Adam([mean, raw], step=step)
    every = integer("every", every, low=1, high=integer("steps", steps, low=1))
    for number, chosen, share in _batches(len(x), steps, batch, rng):
        a, root = weights[:, chosen], _root(raw)
        by_mean = share * a @ (y[chosen] - a.T @ mean) / noise - precision @ mean
        by_root = np.tril(-(share * a @ a.T / noise + precision) @ root)
        diagonal = np.diag_indices(len(raw))
        by_root[diagonal] = by_root[diagonal] * root[diagonal] + 1.0
        adam.update([-by_mean, -by_root])
        if number % every == 0:
            gp = VariationalGP(kernel, inducing, mean, _root(raw), whitened=whitened)
            yield number / steps, gp


def _root(raw):
    """Return the lower-triangular matrix whose diagonal is kept as logarithms."""
    root = np.tril(raw)
    root[np.diag_indices(len(raw))] = np.exp(np.diagonal(raw))
    return root


def _regression(kernel, x, y, noise, inducing):
    x = as_matrix("x", x)
    y = as_vector("y", y, length=len(x))
    inducing = as_matrix("inducing", inducing, columns=x.shape[1])
    return as_kernel(kernel), x, y, positive("noise", noise), inducing


def _batches(n, steps, batch, rng):
    """Yield (number of the step, rows of a batch, n / batch)."""
    steps, rng = integer("steps", steps, low=1), as_rng(rng)
    batch = integer("batch", batch, low=1, high=n)
    for number in range(1, steps + 1):
        yield number, rng.choice(n, size=batch, replace=False), n / batch


# ------------------------------------------------------------------------------------------------
# 4. One process, C warped copies: many classes for one price
# ------------------------------------------------------------------------------------------------

WARPS = {"affine": 2, "sinh-arcsinh": 4}  # numbers that a warp takes for each class


def warp(kind: str, values, numbers):
    """Push values of one process through C increasing maps that depend on the input.

    affine: G(f) = a f + b with a = exp(p_1), b = p_2. sinh-arcsinh: G(f) = a sinh(d arcsinh(f) + e)
    + b with d = exp(p_3), e = p_4. p_1 is 2 tanh, p_3 and p_4 are tanh of the network's outputs.

    Paper: efficient-transformed-gaussian-processes (Maronas and Hernandez-Lobato 2023,
    arXiv:2205.15008)

    Parameters
    ----------
    kind : "affine" or "sinh-arcsinh"
    values : f, shape (n, Q): Q values at each of n inputs
    numbers : the network's outputs, shape (n, C, 2) or (n, C, 4)

    Returns
    -------
    G (n, Q, C); dG/df (n, Q, C); dG/dnumbers (n, Q, C, 2 or 4)

    Raises ValueError for arguments that do not fit. Cost: O(n Q C).
    """
    one_of("kind", kind, tuple(WARPS))
    values, numbers = as_matrix("values", values), np.asarray(numbers, dtype=np.float64)
    if numbers.ndim != 3 or numbers.shape[0] != len(values) or numbers.shape[2] != WARPS[kind]:
        raise ValueError(
            f"numbers must have shape ({len(values)}, C, {WARPS[kind]}), got {numbers.shape}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError("numbers must be finite")
    bent = np.tanh(numbers[:, None])
    f = values[:, :, None]
    a, b = np.exp(2.0 * bent[..., 0]), numbers[:, None, :, 1]
    by = np.empty((*values.shape, numbers.shape[1], WARPS[kind]))
    if kind == "affine":
        shape, slope = np.broadcast_to(f, by.shape[:-1]), np.ones_like(a)
    else:
        d, angle = np.exp(bent[..., 2]), np.arcsinh(f)
        inner = np.clip(d * angle + bent[..., 3], -60.0, 60.0)
        shape, rise = np.sinh(inner), np.cosh(inner)
        slope = rise * d / np.hypot(1.0, f)
        by[..., 2] = a * rise * d * angle * (1.0 - bent[..., 2] ** 2)
        by[..., 3] = a * rise * (1.0 - bent[..., 3] ** 2)
    by[..., 0] = a * shape * 2.0 * (1.0 - bent[..., 0] ** 2)
    by[..., 1] = 1.0
    return a * shape + b, a * slope * np.ones_like(f), by


def expected_log_softmax(values, labels, shares):
    """Return sum_q shares_q log softmax(values_q)[label] for each point, and its gradient.

    Parameters
    ----------
    values : shape (n, Q, C); labels : (n,) whole numbers from 0 to C - 1; shares : (Q,)

    Returns
    -------
    expectations (n,); gradient in the values (n, Q, C)

    Raises ValueError for arguments that do not fit. Cost: O(n Q C), exact for any size of values.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.ndim != 3 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"values must be finite and of shape (n, Q, C), got {values.shape}")
    labels = _as_labels(labels, len(values), values.shape[2])
    shares = as_vector("shares", shares, length=values.shape[1])
    out, gradient = np.empty(len(values)), np.empty_like(values)
    _softmax_pull(values, labels, shares, out, gradient)
    return out, gradient


def _as_labels(labels, n, classes):
    labels = np.ascontiguousarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise ValueError(f"labels must be {n} whole numbers, got shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must lie between 0 and {classes - 1}, got {labels.max()}")
    return labels.astype(np.int64)


@compiled(
    "void(float64[:,:,::1], int64[::1], float64[::1], float64[::1], float64[:,:,::1])",
    fastmath={"contract"},
)
def _softmax_pull(values, labels, shares, out, gradient):
    n, q, c = values.shape
    for i in range(n):
        out[i] = 0.0
        for j in range(q):
            row, slope = values[i, j], gradient[i, j]
            top = row[0]
            for k in range(1, c):
                top = max(top, row[k])
            for k in range(c):
                slope[k] = exp(row[k] - top)
            total = 0.0
            for k in range(c):
                total += slope[k]
            out[i] += shares[j] * (row[labels[i]] - top - math.log(total))
            scale = -shares[j] / total
            for k in range(c):
                slope[k] *= scale
            slope[labels[i]] += shares[j]


@functools.cache
def _nodes(count: int = 16):
    """Gauss-Hermite nodes and shares for averages over N(0, 1)."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(count)
    return nodes, shares / shares.sum()


@dataclass(frozen=True, eq=False)
class TransformedGP:
    """One sparse process f_0 and a network that warps it into C classes.

    f_c(x) = G(f_0(x); numbers_c(x)), p(y | x) = softmax(f_1, ..., f_C)_y.

    Paper: efficient-transformed-gaussian-processes (Maronas and Hernandez-Lobato 2023,
    arXiv:2205.15008)

    kernel; inducing (M, d); mean (M,) and root (M, M) of the whitened q(v_0); network, layers of
    ``compute.networks``; kind, of ``WARPS``; classes, C; with_gp, False: f_0 = 0; everywhere, True:
    the network sees 0 in place of x, so that the maps are the same everywhere.
    """

    kernel: Kernel
    inducing: np.ndarray
    mean: np.ndarray
    root: np.ndarray
    network: list
    kind: str
    classes: int
    with_gp: bool = True
    everywhere: bool = False

    def __post_init__(self):
        as_kernel(self.kernel)
        m = len(as_matrix("inducing", self.inducing))
        as_vector("mean", self.mean, length=m)
        _check_root("root", self.root, m)
        one_of("kind", self.kind, tuple(WARPS))
        wanted = integer("classes", self.classes, low=2) * WARPS[self.kind]
        if self.network[-1][1].size != wanted:
            given = self.network[-1][1].size
            raise ValueError(f"network must have {wanted} outputs, got {given}")

    def latent(self, x) -> Prediction:
        """Return mean and variance (n,) of f_0 at x (n, d). Cost: O(n M^2 + M^3)."""
        weights, left = _whiten(self.kernel, self.inducing, x)
        spread = ((self.root.T @ weights) ** 2).sum(axis=0)
        return Prediction(
            weights.T @ self.mean * self.with_gp, (left + spread) * float(self.with_gp)
        )

    def warped(self, x, values) -> np.ndarray:
        """Return f_c (n, Q, C) at x (n, d) for values (n, Q) of f_0."""
        x = as_matrix("x", x)
        numbers = network_output(self.network, x * float(not self.everywhere))
        return warp(self.kind, values, numbers.reshape(len(x), self.classes, -1))[0]

    def probabilities(self, x) -> np.ndarray:
        """Return p(y = c | x), shape (n, C): softmax averaged over f_0 by quadrature."""
        nodes, shares = _nodes()
        mean, variance = self.latent(x)
        values = self.warped(x, mean[:, None] + np.sqrt(variance)[:, None] * nodes)
        return np.einsum("q,nqc->nc", shares, _softmax(values))


def _check_root(name, root, m):
    root = as_matrix(name, root, columns=m, rows=m)
    if np.diagonal(root).min() <= 0:
        raise ValueError(f"{name} must have a positive diagonal, got {np.diagonal(root).min():.3g}")


def _softmax(values):
    parts = np.exp(values - values.max(axis=-1, keepdims=True))
    return parts / parts.sum(axis=-1, keepdims=True)


def _whiten(kernel, inducing, x):
    """Return L^-1 K_uf (M, n) and the prior variance left (n,)."""
    weights = _half(linalg.cholesky(kernel.gram(inducing)).lower, kernel.gram(inducing, x))
    return weights, np.maximum(kernel.diagonal(x) - (weights**2).sum(axis=0), 0.0)


def transformed_step(gp: TransformedGP, x, labels):
    """Return the bound of the data x (n, d), labels (n,), and its gradients.

    sum_i E log softmax_{y_i}(G_1(f_0), ..., G_C(f_0)) - KL(q(v_0) || N(0, I)): one Cholesky factor
    of K_uu and one quadrature a point, whatever C.

    Returns (bound, (d mean, d root, d network)); the root's diagonal in logarithms.
    Raises ValueError for arguments that do not fit. Cost: O(M^3 + n M^2 + 16 n C).
    """
    x = as_matrix("x", x)
    nodes, shares = _nodes()
    weights, left = _whiten(gp.kernel, gp.inducing, x)
    turned = gp.root.T @ weights
    on = float(gp.with_gp)
    mean, variance = weights.T @ gp.mean * on, (left + (turned**2).sum(axis=0)) * on
    spread = np.sqrt(variance)
    seen = x * float(not gp.everywhere)
    pull_back, flat = make_vjp(lambda network: network_output(network, seen))(gp.network)
    numbers = flat.reshape(len(x), gp.classes, -1)
    values, slope, by_numbers = warp(gp.kind, mean[:, None] + spread[:, None] * nodes, numbers)
    fit, pull = expected_log_softmax(values, labels, shares)
    by_network = pull_back(np.einsum("nqc,nqcp->ncp", pull, by_numbers).reshape(flat.shape))
    by_value = on * np.einsum("nqc,nqc->nq", pull, slope)
    by_mean = weights @ by_value.sum(axis=1) - gp.mean
    by_variance = by_value @ nodes / (2.0 * np.maximum(spread, 1e-6))
    by_root, kl = _root_gradient(weights, turned, gp.root, by_variance)
    bound = float(fit.sum()) - kl - 0.5 * float(gp.mean @ gp.mean)
    return bound, (by_mean, by_root, by_network)


def _root_gradient(weights, turned, root, by_variance):
    """Return the bound's gradient in the root, diagonal in logarithms, and KL without the mean."""
    diagonal = np.diag_indices(len(root))
    gradient = np.tril((weights * (2.0 * by_variance)) @ turned.T - root)
    gradient[diagonal] = gradient[diagonal] * root[diagonal] + 1.0
    logs = float(np.log(root[diagonal]).sum())
    return gradient, 0.5 * (float(np.vdot(root, root)) - len(root)) - logs


def train_transformed(
    kernel, x, labels, classes: int, inducing, *, kind="affine", hidden=16, steps=300, step=0.03,
    with_gp=True, everywhere=False, rng=0,
) -> Iterator[tuple[float, TransformedGP]]:  # fmt: skip
    """Climb the bound of ``TransformedGP`` by Adam on q(v_0) and the network, all data a step.

    Paper: efficient-transformed-gaussian-processes (Maronas and Hernandez-Lobato 2023,
    arXiv:2205.15008)

    Parameters
    ----------
    kernel, inducing : of f_0; Z has shape (M, d)
    x, labels, classes : data (n, d), whole numbers (n,) below ``classes``
    kind, hidden : the warp, and units of the one hidden layer (tanh)
    steps, step : of Adam
    with_gp : False holds f_0 at 0, so that the network classifies alone
    everywhere : True gives each class one map for all inputs
    rng : ``numpy.random.Generator`` or seed, for the network's start

    Yields
    ------
    (fraction done, the present TransformedGP) after each step

    Raises
    ------
    ValueError : arguments that do not fit.
    """
    kernel, x = as_kernel(kernel), as_matrix("x", x)
    inducing = as_matrix("inducing", inducing, columns=x.shape[1])
    classes = integer("classes", classes, low=2)
    labels = _as_labels(labels, len(x), classes)
    one_of("kind", kind, tuple(WARPS))
    sizes = [x.shape[1], integer("hidden", hidden, low=1), classes * WARPS[kind]]
    network = dense_network(sizes, rng)
    mean, raw = np.zeros(len(inducing)), np.zeros((len(inducing), len(inducing)))
    adam = Adam([mean, raw, network], step=step)
    for number in range(1, integer("steps", steps, low=1) + 1):
        gp = TransformedGP(
            kernel, inducing, mean, _root(raw), network, kind, classes, bool(with_gp), everywhere
        )
        _, (by_mean, by_root, by_network) = transformed_step(gp, x, labels)
        adam.update([-by_mean, -by_root, [(-w, -b) for w, b in by_network]])
        yield number / steps, TransformedGP(
            kernel, inducing, mean.copy(), _root(raw), [(w.copy(), b.copy()) for w, b in network],
            kind, classes, bool(with_gp), bool(everywhere),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class IndependentGPs:
    """C sparse processes, one a class, under a softmax: the usual way.

    kernels, C of them; inducing (M, d); means (C, M) and roots (C, M, M), whitened.
    """

    kernels: tuple
    inducing: np.ndarray
    means: np.ndarray
    roots: np.ndarray

    def __post_init__(self):
        c, m = len(self.kernels), len(as_matrix("inducing", self.inducing))
        as_matrix("means", self.means, columns=m, rows=c)
        if len(self.roots) != c:
            raise ValueError(f"roots must be {c}, one a class, got {len(self.roots)}")
        for kernel, root in zip(self.kernels, self.roots, strict=True):
            as_kernel(kernel)
            _check_root("roots", root, m)

    def latent(self, x) -> Prediction:
        """Return means and variances (C, n) at x (n, d). Cost: O(C (n M^2 + M^3))."""
        parts = [_whiten(kernel, self.inducing, x) for kernel in self.kernels]
        mean = np.array([w.T @ m for (w, _), m in zip(parts, self.means, strict=True)])
        variance = np.array(
            [
                left + ((root.T @ w) ** 2).sum(axis=0)
                for (w, left), root in zip(parts, self.roots, strict=True)
            ]
        )
        return Prediction(mean, variance)

    def probabilities(self, x, draws: int = 200, rng=0) -> np.ndarray:
        """Return p(y = c | x), shape (n, C), averaged over draws of all C processes."""
        mean, variance = self.latent(x)
        noise = as_rng(rng).standard_normal((integer("draws", draws, low=1), *mean.shape))
        return _softmax((mean + np.sqrt(variance) * noise).transpose(2, 0, 1)).mean(axis=1)


def independent_step(gp: IndependentGPs, x, labels, draws: int, rng):
    """Return an estimate of the bound of C independent processes, and its gradients.

    Softmax has no closed-form average over C Gaussians: ``draws`` samples of all of them take its
    place. Returns (bound, (d means, d roots)). Raises ValueError for bad arguments.
    Cost: O(C (M^3 + n M^2) + draws n C).
    """
    x = as_matrix("x", x)
    parts = [_whiten(kernel, gp.inducing, x) for kernel in gp.kernels]
    turned = [root.T @ w for (w, _), root in zip(parts, gp.roots, strict=True)]
    mean = np.array([w.T @ m for (w, _), m in zip(parts, gp.means, strict=True)])
    spread = np.sqrt(
        [left + (t**2).sum(axis=0) for (_, left), t in zip(parts, turned, strict=True)]
    )
    noise = as_rng(rng).standard_normal((len(x), integer("draws", draws, low=1), len(mean)))
    values = mean.T[:, None] + spread.T[:, None] * noise
    fit, pull = expected_log_softmax(values, labels, np.full(draws, 1.0 / draws))
    by_value, by_spread = pull.sum(axis=1).T, (pull * noise).sum(axis=1).T
    by_variance = by_spread / (2.0 * np.maximum(spread, 1e-6))
    bound, means, roots = float(fit.sum()), [], []
    for c, (weights, _) in enumerate(parts):
        means.append(weights @ by_value[c] - gp.means[c])
        root, kl = _root_gradient(weights, turned[c], gp.roots[c], by_variance[c])
        roots.append(root)
        bound -= kl + 0.5 * float(gp.means[c] @ gp.means[c])
    return bound, (np.array(means), np.array(roots))


def train_independent(
    kernels, x, labels, inducing, *, steps=300, step=0.03, draws=8, rng=0
) -> Iterator[tuple[float, IndependentGPs]]:
    """Climb the bound of one independent sparse process a class, by Adam, all data a step.

    Parameters: kernels, one a class; x (n, d); labels (n,) whole numbers; inducing (M, d), shared;
    steps, step of Adam; draws, samples for the softmax; rng. Yields (fraction done,
    IndependentGPs). Raises ValueError for arguments that do not fit.
    """
    kernels = tuple(as_kernel(kernel) for kernel in kernels)
    x, rng = as_matrix("x", x), as_rng(rng)
    inducing = as_matrix("inducing", inducing, columns=x.shape[1])
    if len(kernels) < 2:
        raise ValueError(f"kernels must be at least 2, one a class, got {len(kernels)}")
    labels = _as_labels(labels, len(x), len(kernels))
    m = len(inducing)
    means, raws = np.zeros((len(kernels), m)), np.zeros((len(kernels), m, m))
    adam = Adam([means, raws], step=step)
    for number in range(1, integer("steps", steps, low=1) + 1):
        gp = IndependentGPs(kernels, inducing, means, np.array([_root(raw) for raw in raws]))
        _, slopes = independent_step(gp, x, labels, draws, rng)
        adam.update([-slope for slope in slopes])
        roots = np.array([_root(raw) for raw in raws])
        yield number / steps, IndependentGPs(kernels, inducing, means.copy(), roots)
