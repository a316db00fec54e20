"""Sums of kernels over data, sum_i K((x - y_i) / h), when the data have many coordinates.

1. Who makes up the sum: phases of a density estimate (Biroli and Mezard 2024)
2. Its highest point, searched after a random projection (Luo et al. 2023)
3. A map of the data on which such a sum predicts a score (Ye et al. 2025)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from kernellab.compute import compiled
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
    same_length,
)
from kernellab.compute.directions import random_directions
from kernellab.compute.elementary import exp, log
from kernellab.compute.networks import Adam, dense_network, network_output

_LANES = 256  # partial sums that a compiled loop keeps side by side


def squared_distances(x, y) -> np.ndarray:
    """Return |x_i - y_j|^2 for x (m, d) and y (n, d): (m, n). Raises ValueError. Cost: O(m n d)."""
    x = as_matrix("x", x)
    y = as_matrix("y", y, columns=x.shape[1])
    fits_in_memory("the squared distances", 8 * len(x) * len(y))
    middle = y.mean(axis=0)  # centred points lose fewer digits
    return _squared_gaps(x - middle, y - middle)


def _squared_gaps(x, y, y_lengths=None):
    """|x_i|^2 + |y_j|^2 - 2 x_i . y_j, one matrix product."""
    squares = (-2.0 * x) @ y.T
    squares += np.einsum("ij,ij->i", x, x)[:, None]
    squares += np.einsum("ij,ij->i", y, y) if y_lengths is None else y_lengths
    return np.maximum(squares, 0.0, out=squares)


# ------------------------------------------------------------------------------------------------
# 1. Who makes up the sum: phases of a density estimate
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Smoothing:
    """Kernel density estimates of Q places at H bandwidths; all arrays are (Q, H).

    log_density; largest, the share of the nearest point in the sum; effective, the number of
    points in it: (sum w)^2 / sum w^2.
    """

    log_density: np.ndarray
    largest: np.ndarray
    effective: np.ndarray


def smooth(squares, bandwidths, d: int) -> Smoothing:
    """Estimate densities with a Gaussian kernel, and see how many points an estimate rests on.

    rho_h(x) = 1 / (n h^d (2 pi)^(d/2)) sum_i w_i,  w_i = exp(-|x - y_i|^2 / (2 h^2)).

    The sums run relative to the nearest point, so that nothing underflows in high dimension.

    Paper: kernel-density-estimators-in-large-dimensions (Biroli and Mezard 2024, arXiv:2408.05807)

    Parameters
    ----------
    squares : (Q, n), squared distances of the places to the data
    bandwidths : (H,), > 0, in the units of the data
    d : number of coordinates

    Returns a Smoothing. Raises ValueError for negative squares or bandwidths. Cost: O(Q n H).
    """
    squares = as_matrix("squares", squares)
    h = as_vector("bandwidths", np.atleast_1d(bandwidths))
    if squares.min() < 0:
        raise ValueError(f"squares must be >= 0, got {squares.min():.3g}")
    if h.min() <= 0:
        raise ValueError(f"bandwidths must be > 0, got {h.min():.3g}")
    d = integer("d", d, low=1)
    nearest = squares.min(axis=1)
    total, total_squares = np.empty((2, len(squares), len(h)))
    _weight_sums(squares, nearest, 0.5 / h**2, total, total_squares)
    log_density = np.log(total / squares.shape[1]) - nearest[:, None] * (0.5 / h**2)
    log_density -= d * np.log(h) + 0.5 * d * np.log(2 * np.pi)
    return Smoothing(log_density, 1.0 / total, total**2 / total_squares)


@compiled(
    "void(float64[:,::1], float64[::1], float64[::1], float64[:,::1], float64[:,::1])",
    fastmath={"contract"},
)
def _weight_sums(squares, nearest, rates, total, total_squares):
    """Sums of exp(-rate (squares - nearest)) and of its square, by row and rate."""
    n = squares.shape[1]
    part, part_squares = np.empty(_LANES), np.empty(_LANES)
    for q in range(len(squares)):
        for k in range(rates.size):
            rate, least = rates[k], nearest[q]
            part[:] = 0.0
            part_squares[:] = 0.0
            for start in range(0, n, _LANES):
                row = squares[q, start : start + _LANES]
                for j in range(row.size):
                    w = exp(rate * (least - row[j]))
                    part[j] += w
                    part_squares[j] += w * w
            total[q, k] = part.sum()
            total_squares[q, k] = part_squares.sum()


def largest_weights(squares, bandwidth: float, top: int = 50) -> np.ndarray:
    """Return the largest shares w_i / sum w of each row of squares (Q, n), falling: (Q, top).

    Raises ValueError for a bandwidth <= 0 or top outside 1..n. Cost: O(Q n).
    """
    squares = as_matrix("squares", squares)
    top = integer("top", top, low=1, high=squares.shape[1])
    share = np.exp(
        (squares.min(axis=1, keepdims=True) - squares) / (2 * positive("bandwidth", bandwidth) ** 2)
    )
    total = share.sum(axis=1, keepdims=True)
    return -np.sort(-share, axis=1)[:, :top] / total


def log_mean_weight(u):
    """Return phi = (1/d) log E exp(-u |x - y|^2 / 2) for normal y and |x|^2 = d.

    phi(u) = -log(1 + u) / 2 - u / (2 (1 + u)); u = s / h^2 for the moment s at bandwidth h, any
    shape. Raises ValueError for u < 0.
    """
    u = _nonnegative_array("u", u)
    return -0.5 * np.log1p(u) - 0.5 * u / (1.0 + u)


def rarity(u):
    """Return I = u phi'(u) - phi(u): points that rule this sum are one in exp(d I).

    I(u) = [log(1 + u) - u / (1 + u)^2] / 2, growing in u from 0. Raises ValueError for u < 0.
    """
    u = _nonnegative_array("u", u)
    return 0.5 * (np.log1p(u) - u / (1.0 + u) ** 2)


def _nonnegative_array(name, value):
    value = np.asarray(value, dtype=np.float64)
    if value.size and not value.min() >= 0:
        raise ValueError(f"{name} must be >= 0, got {value.min():.3g}")
    return value


@dataclass(frozen=True)
class Phases:
    """Where the estimate changes its nature, for n normal points in d coordinates.

    glass : below this bandwidth a few nearest points are the sum
    gaussian : above it, the fluctuations of the sum are normal (it is sqrt(2) glass)
    """

    n: int
    d: int
    glass: float
    gaussian: float

    def tail_index(self, bandwidth) -> np.ndarray:
        """Return the index s_c of the sum's power tail, P(sum > t) ~ t^-s_c: (h / glass)^2."""
        return (np.asarray(bandwidth, dtype=np.float64) / self.glass) ** 2


def phases(n: int, d: int) -> Phases:
    """Return the two thresholds of the bandwidth for n points from N(0, I) in d coordinates.

    With n = exp(alpha d) points, the kind of point that rules the sum is present only while
    I(1 / h^2) < alpha; its square needs I(2 / h^2) < alpha. Both ends follow from I(u_c) = alpha:
    glass = u_c^(-1/2), gaussian = (u_c / 2)^(-1/2).

    Paper: kernel-density-estimators-in-large-dimensions (Biroli and Mezard 2024, arXiv:2408.05807)

    Parameters: n >= 2 points, d >= 1. Returns Phases. Raises ValueError otherwise. Cost: O(1).
    """
    n, d = integer("n", n, low=2), integer("d", d, low=1)
    alpha = np.log(n) / d
    log_u = brentq(lambda v: rarity(np.exp(v)) - alpha, -20.0, 2 * alpha + 5.0)
    glass = float(np.exp(-0.5 * log_u))
    return Phases(n, d, glass, float(np.sqrt(2.0) * glass))


def typical_places(count: int, d: int, rng) -> np.ndarray:
    """Return places with |x|^2 = d in random directions, (count, d).

    Raises ValueError for count or d below 1. Cost: O(count d).
    """
    count, d = integer("count", count, low=1), integer("d", d, low=1)
    return np.sqrt(d) * random_directions(count, d, rng)


def redrawn_squares(redraws: int, n: int, d: int, rng) -> np.ndarray:
    """Return squared distances of a place |x|^2 = d to n normal points, redrawn: (redraws, n).

    Turn the axes so that x lies on one of them: the squared distance is a noncentral chi-square
    number with d degrees of freedom, whatever the direction, so that no points need be drawn.

    Raises ValueError for counts below 1. Cost: O(redraws n).
    """
    redraws, n, d = (
        integer(name, value, low=1) for name, value in (("redraws", redraws), ("n", n), ("d", d))
    )
    fits_in_memory("the squared distances", 8 * redraws * n)
    return as_rng(rng).noncentral_chisquare(d, d, size=(redraws, n))


def hill_index(values, top: int = 20) -> float:
    """Return Hill's estimate of the power of a tail, P(value > t) ~ t^-index.

    1 / index = mean over the ``top`` largest of log(value / next smaller one).

    Parameters: values (n,) > 0; top from 1 to n - 1. Raises ValueError otherwise. Cost: O(n log n).
    """
    values = as_vector("values", values)
    top = integer("top", top, low=1, high=values.size - 1)
    largest = np.sort(values)[::-1][: top + 1]
    if largest[-1] <= 0:
        raise ValueError("values must be positive in the tail")
    return float(1.0 / np.mean(np.log(largest[:-1] / largest[-1])))


# ------------------------------------------------------------------------------------------------
# 2. The highest point, searched after a random projection
# ------------------------------------------------------------------------------------------------

KERNELS = ("gaussian", "logistic", "power")
_LEAST_SQUARE = 1e-8  # where r^p with p < 2 would pull with infinite weight


@dataclass(frozen=True)
class Radial:
    """A kernel k(|x - y|) that falls with r = |x - y| / bandwidth and is convex in r^2.

    "gaussian": exp(-r^2 / 2); "logistic": 1 / cosh(r / 2)^2; "power": exp(-r^power), power <= 2.
    Multiplying all distances by 1 + e changes log k by little: that is what a projection needs.
    """

    kind: str = "gaussian"
    bandwidth: float = 1.0
    power: float = 1.5

    def __post_init__(self):
        one_of("kind", self.kind, KERNELS)
        positive("bandwidth", self.bandwidth)
        between("power", self.power, 1e-3, 2.0)

    def values_and_pulls(self, squares) -> tuple[np.ndarray, np.ndarray]:
        """Return mean_j k_ij (m,) and -dk / d(r^2) at all pairs (m, n), for squares (m, n)."""
        squares = as_matrix("squares", squares)
        values, pulls = np.empty(len(squares)), np.empty_like(squares)
        kind, rate = KERNELS.index(self.kind), self.bandwidth**-2
        _values_and_pulls(squares, kind, rate, self.power, values, pulls)
        return values, pulls

    def height(self, centres, at) -> np.ndarray:
        """Return the density estimate f = mean_i k(|at - c_i|), without its constant: (m,)."""
        return self.values_and_pulls(squared_distances(at, centres))[0]


@compiled(
    "void(float64[:,::1], int64, float64, float64, float64[::1], float64[:,::1])",
    fastmath={"contract"},
)
def _values_and_pulls(squares, kind, rate, power, values, pulls):
    n = squares.shape[1]
    part = np.empty(_LANES)
    for i in range(len(squares)):
        part[:] = 0.0
        for start in range(0, n, _LANES):
            row, pull = squares[i, start : start + _LANES], pulls[i, start : start + _LANES]
            if kind == 0:
                for j in range(row.size):
                    k = exp(-0.5 * rate * row[j])
                    part[j] += k
                    pull[j] = 0.5 * k
            elif kind == 1:
                for j in range(row.size):
                    r = np.sqrt(max(rate * row[j], _LEAST_SQUARE))
                    e = exp(-r)
                    k = 4.0 * e / ((1.0 + e) * (1.0 + e))
                    part[j] += k
                    pull[j] = 0.5 * k * (1.0 - e) / ((1.0 + e) * r)
            else:
                for j in range(row.size):
                    t = max(rate * row[j], _LEAST_SQUARE)
                    s = exp(0.5 * power * log(t))
                    k = exp(-s)
                    part[j] += k
                    pull[j] = 0.5 * power * k * s / t
        values[i] = part.sum() / n


@dataclass(frozen=True, eq=False)
class Climb:
    """points (m, d), where the climbs ended; heights (steps + 1, m), f along the way."""

    points: np.ndarray
    heights: np.ndarray

    @property
    def best(self) -> int:
        """The climb that ended highest."""
        return int(np.argmax(self.heights[-1]))


def mean_shift(kernel: Radial, centres, starts, steps: int = 50, tolerance: float = 1e-5) -> Climb:
    """Climb the density estimate f(x) = mean_i k(|x - c_i|) from several starts at once.

    x <- sum_i v_i c_i / sum_i v_i,  v_i = -k'(|x - c_i|^2): the top of a parabola that touches f
    at x and lies below it (k is convex in the squared distance), so that f never falls.

    Parameters
    ----------
    kernel : Radial
    centres : (n, d)
    starts : (m, d)
    steps : at most so many steps
    tolerance : stop when no point moves farther, in bandwidths

    Returns a Climb. Raises ValueError for other numbers. Cost: O(steps m n d).
    """
    centres = as_matrix("centres", centres)
    x = as_matrix("starts", starts, columns=centres.shape[1])
    steps, tolerance = integer("steps", steps, low=1), nonnegative("tolerance", tolerance)
    fits_in_memory("the squared distances", 16 * len(x) * len(centres))
    middle = centres.mean(axis=0)
    x, centres, heights = x - middle, centres - middle, []
    lengths = np.einsum("ij,ij->i", centres, centres)
    for _ in range(steps):
        value, pulls = kernel.values_and_pulls(_squared_gaps(x, centres, lengths))
        heights.append(value)
        moved = _average(pulls, centres, x)
        farthest = np.sqrt(np.max(np.sum((moved - x) ** 2, axis=1)))
        x = moved
        if farthest <= tolerance * kernel.bandwidth:
            break
    heights.append(kernel.height(centres, x))
    return Climb(x + middle, np.array(heights))


def _average(pulls, centres, otherwise):
    """Weighted means of the centres; where all weights underflow, the point stays."""
    total = pulls.sum(axis=1, keepdims=True)
    lost = total < 1e-300
    return np.where(lost, otherwise, (pulls @ centres) / np.where(lost, 1.0, total))


def random_projection(d: int, w: int, rng) -> np.ndarray:
    """Return a matrix (d, w) of normals with variance 1 / w: x @ it keeps lengths on average.

    Raises ValueError for d or w below 1. Cost: O(d w).
    """
    d, w = integer("d", d, low=1), integer("w", w, low=1)
    return as_rng(rng).standard_normal((d, w)) / np.sqrt(w)


def lift_mode(kernel: Radial, centres, projected, place) -> np.ndarray:
    """Return a point of the full space for a place in the projected one: one mean-shift step.

    x = sum_i v_i c_i / sum_i v_i with weights v_i = -k'(|z - P c_i|^2) from the projected space.

    Paper: dimensionality-reduction-for-general-kde-mode (Luo et al. 2023, arXiv:2305.18755)

    Parameters: kernel; centres (n, d); projected (n, w); place z (w,). Returns (d,), a point in the
    convex hull of the centres. Raises ValueError for shapes that do not fit. Cost: O(n (w + d)).
    """
    centres, projected = as_matrix("centres", centres), as_matrix("projected", projected)
    same_length("centres", centres, "projected", projected)
    place = as_vector("place", place, projected.shape[1])
    squares = squared_distances(place[None], projected)
    nearest = centres[[int(np.argmin(squares))]]
    return _average(kernel.values_and_pulls(squares)[1], centres, nearest)[0]


@dataclass(frozen=True, eq=False)
class Mode:
    """point (d,); height, f there; place (w,) and place_height in the space of the search."""

    point: np.ndarray
    height: float
    place: np.ndarray
    place_height: float


def find_mode(
    kernel: Radial, centres, starts: int = 50, steps: int = 50, projection=None, rng=0
) -> Mode:
    """Search the highest point of a density estimate, in the full space or a projected one.

    Climbs begin at randomly chosen centres. With a projection (d, w) they run on the projected
    centres; the best place is lifted by :func:`lift_mode`.

    Paper: dimensionality-reduction-for-general-kde-mode (Luo et al. 2023, arXiv:2305.18755)

    Returns a Mode. Raises ValueError for numbers or shapes that do not fit.
    Cost: O(steps starts n w + n d w), w = d without a projection.
    """
    centres = as_matrix("centres", centres)
    n, d = centres.shape
    starts, rng = integer("starts", starts, low=1), as_rng(rng)
    low = centres
    if projection is not None:
        low = centres @ as_matrix("projection", projection, rows=d)
    begin = low[rng.choice(n, min(starts, n), replace=False)]
    climb = mean_shift(kernel, low, begin, steps)
    place = climb.points[climb.best]
    point = place if projection is None else lift_mode(kernel, centres, low, place)
    height = float(kernel.height(centres, point[None])[0])
    return Mode(point, height, place, float(climb.heights[-1, climb.best]))


# ------------------------------------------------------------------------------------------------
# 3. A map of the data on which a sum of kernels predicts a score
# ------------------------------------------------------------------------------------------------


def neighbour_affinities(x, perplexity: float = 30.0) -> np.ndarray:
    """Return t-SNE's joint probabilities of neighbours, (n, n), symmetric, with sum 1.

    p_(j|i) ~ exp(-|x_i - x_j|^2 / (2 h_i^2)), each h_i chosen so that the entropy of row i is
    log(perplexity); P_ij = (p_(j|i) + p_(i|j)) / (2 n).

    Parameters: x (n, d); 1 < perplexity < n - 1. Raises ValueError otherwise. Cost: O(n^2 d).
    Source: van der Maaten and Hinton 2008.
    """
    x = as_matrix("x", x, min_rows=4)
    n = len(x)
    perplexity = between("perplexity", perplexity, 1.0 + 1e-9, n - 1.0 - 1e-9)
    squares = squared_distances(x, x)
    np.fill_diagonal(squares, np.inf)
    squares -= squares.min(axis=1, keepdims=True)
    squares[np.diag_indices(n)] = 0.0
    off = 1.0 - np.eye(n)
    low, high = np.full(n, -30.0), np.full(n, 30.0)  # of log(1 / (2 h^2)), relative to the scale
    scale = 1.0 / max(squares.mean(), 1e-300)
    for _ in range(30):
        middle = 0.5 * (low + high)
        rate = scale * np.exp(middle)[:, None]
        p = np.exp(-rate * squares) * off
        total = p.sum(axis=1)
        entropy = np.log(total) + rate[:, 0] * np.sum(p * squares, axis=1) / total
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    p /= total[:, None]
    return (p + p.T) / (2 * n)


@dataclass(frozen=True)
class MapKernel:
    """k(r) = 1 / (1 + sharpness^2 r^(2 exponent^2)), and the regression's factor level^2.

    sharpness = exponent = level = 1 is the Cauchy kernel of t-SNE.
    """

    level: float = 1.0
    sharpness: float = 1.0
    exponent: float = 1.0

    def __post_init__(self):
        for name in ("level", "sharpness", "exponent"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")

    def profile(self, r) -> np.ndarray:
        """Return k at distances r >= 0, any shape."""
        r = _nonnegative_array("r", r)
        return 1.0 / (1.0 + self.sharpness**2 * r ** (2 * self.exponent**2))


def map_regression(kernel: MapKernel, places, scores, at=None) -> np.ndarray:
    """Estimate the score at points of a map: a weighted mean of the known scores.

    m(p) = level^2 sum_j k(|p - p_j|) s_j / sum_j k(|p - p_j|)     (Nadaraya and Watson)

    Paper: akrmap (Ye et al. 2025, arXiv:2505.14664)

    Parameters
    ----------
    kernel : MapKernel
    places, scores : (n, 2) and (n,), the known points
    at : (m, 2); None: at the known points themselves, each leaving itself out

    Returns (m,). Raises ValueError for shapes that do not fit. Cost: O(m n).
    """
    places = as_matrix("places", places, columns=2, min_rows=2)
    scores = as_vector("scores", scores, length=len(places))
    leave = at is None
    at = places if leave else as_matrix("at", at, columns=2)
    out = np.empty(len(at))
    a, c = kernel.sharpness**2, kernel.exponent**2
    _regress(*np.ascontiguousarray(places.T), scores, at, a, c, leave, out)
    return kernel.level**2 * out


@compiled(
    "void(float64[::1], float64[::1], float64[::1], float64[:,::1], float64, float64, boolean,"
    " float64[::1])",
    fastmath={"contract"},
)
def _regress(u, v, scores, at, a, c, leave, out):
    n = u.size
    k = np.empty(n)
    for i in range(len(at)):
        x, y = at[i, 0], at[i, 1]
        for j in range(n):
            t = (x - u[j]) * (x - u[j]) + (y - v[j]) * (y - v[j])
            k[j] = 1.0 / (1.0 + a * exp(c * log(max(t, 1e-300))))
        if leave:
            k[i] = 0.0
        above, below = 0.0, 0.0
        for j in range(n):
            above += k[j] * scores[j]
            below += k[j]
        out[i] = above / below


def fit_sharpness(places, scores, exponent: float = 1.0, tried=None) -> MapKernel:
    """Return the kernel whose sharpness has the least leave-one-out error on a fixed map.

    Parameters: places (n, 2); scores (n,); exponent > 0; tried (k,) sharpnesses, None: 16 around
    the inverse of the map's spread. Raises ValueError. Cost: O(k n^2).
    """
    places = as_matrix("places", places, columns=2, min_rows=2)
    if tried is None:
        tried = np.geomspace(0.5, 100.0, 16) / max(places.std(), 1e-300)
    tried = as_vector("tried", tried)
    kernels = [MapKernel(1.0, float(a), positive("exponent", exponent)) for a in tried]
    errors = [np.mean((map_regression(k, places, scores) - scores) ** 2) for k in kernels]
    return kernels[int(np.argmin(errors))]


def map_losses(places, affinities, scores, training, kernel: MapKernel):
    """Return the two losses of a batch and their derivatives.

    neighbours = KL(P || Q), Q_ij ~ 1 / (1 + |p_i - p_j|^2) over pairs i != j;
    regression = 0.3 mean_train (s - m)^2 + mean_rest (s - m)^2, m from the training points.

    Paper: akrmap (Ye et al. 2025, arXiv:2505.14664)

    Parameters
    ----------
    places : (B, 2), of the batch on the map
    affinities : (B, B), P among the batch, with sum 1 and zero diagonal
    scores : (B,)
    training : (B,) booleans; both kinds must occur
    kernel : MapKernel

    Returns
    -------
    (neighbours, regression), slopes (2, B, 2) of each in the places, and the slopes (3,) of the
    regression loss in (level, sharpness, exponent)

    Raises ValueError for shapes that do not fit. Cost: O(B^2).
    """
    places = as_matrix("places", places, columns=2)
    b = len(places)
    affinities = as_matrix("affinities", affinities, columns=b, rows=b)
    scores = as_vector("scores", scores, length=b)
    training = np.asarray(training, dtype=bool)
    if training.shape != (b,) or training.all() or not training.any():
        raise ValueError(
            f"training must hold {b} booleans of both kinds, got {training.sum()} True"
        )
    shape = np.array([kernel.level, kernel.sharpness, kernel.exponent])
    losses, slopes, shape_slopes = np.zeros(2), np.zeros((2, 2, b)), np.zeros(3)
    columns = np.ascontiguousarray(places.T)
    _neighbour_loss(*columns, affinities, losses, slopes[0])
    _regression_loss(*columns, scores, training, shape, losses, slopes[1], shape_slopes)
    return losses, slopes.transpose(0, 2, 1), shape_slopes


@compiled(
    "void(float64[::1], float64[::1], float64[:,::1], float64[::1], float64[:,::1])",
    fastmath={"contract"},
)
def _neighbour_loss(u, v, affinities, losses, slope):
    """KL(P || Q) and its slope 4 sum_j (P_ij - Q_ij) (p_i - p_j) / (1 + r^2)."""
    n = u.size
    near = np.empty((n, n))
    part = np.zeros(n)
    for i in range(n):
        row = near[i]
        for j in range(n):
            row[j] = 1.0 / (1.0 + (u[i] - u[j]) * (u[i] - u[j]) + (v[i] - v[j]) * (v[i] - v[j]))
        row[i] = 0.0
        for j in range(n):
            part[j] += row[j]
    total = part.sum()
    loss = np.zeros(n)
    pull_u, pull_v = slope[0], slope[1]
    for i in range(n):
        row, p = near[i], affinities[i]
        for j in range(n):
            known = max(p[j], 1e-300)
            q = max(row[j], 1e-300) / total
            loss[j] += p[j] * (log(known) - log(q))
            g = 4.0 * (p[j] - row[j] / total) * row[j]
            # symmetric in i and j, so that the row's part is added to column j with the sign turned
            pull_u[j] += g * (u[j] - u[i])
            pull_v[j] += g * (v[j] - v[i])
    losses[0] = loss.sum()


@compiled(
    "void(float64[::1], float64[::1], float64[::1], boolean[::1], float64[::1], float64[::1],"
    " float64[:,::1], float64[::1])",
    fastmath={"contract"},
)
def _regression_loss(u, v, scores, training, shape, losses, slope, shape_slope):
    n = u.size
    learn = np.flatnonzero(training)
    m = learn.size
    lu, lv, ls = u[learn], v[learn], scores[learn]
    level, a, c = shape[0] ** 2, shape[1] ** 2, shape[2] ** 2
    log_t, power, k = np.empty(m), np.empty(m), np.empty(m)
    back_u, back_v = np.zeros(m), np.zeros(m)
    by_a, by_c = np.zeros(m), np.zeros(m)
    for i in range(n):
        above, below = 0.0, 0.0
        for j in range(m):
            t = (u[i] - lu[j]) * (u[i] - lu[j]) + (v[i] - lv[j]) * (v[i] - lv[j])
            log_t[j] = log(max(t, 1e-24))
            power[j] = exp(c * log_t[j])
            k[j] = 1.0 / (1.0 + a * power[j])
        for j in range(m):
            above += k[j] * ls[j]
            below += k[j]
        mean = above / below
        gap = scores[i] - level * mean
        share = 0.3 / m if training[i] else 1.0 / (n - m)
        losses[1] += share * gap * gap
        shape_slope[0] -= 4.0 * share * gap * mean * shape[0]
        factor = -2.0 * share * gap * level / below
        for j in range(m):
            g = factor * (ls[j] - mean) * k[j] * k[j]  # the slope in k_ij, times k_ij^2
            by_a[j] -= g * power[j]
            by_c[j] -= g * a * power[j] * log_t[j]
            h = -2.0 * g * a * c * exp((c - 1.0) * log_t[j])
            back_u[j] += h * (u[i] - lu[j])
            back_v[j] += h * (v[i] - lv[j])
            k[j] = h
        push_u, push_v = 0.0, 0.0
        for j in range(m):
            push_u += k[j] * (u[i] - lu[j])
            push_v += k[j] * (v[i] - lv[j])
        slope[0, i] += push_u
        slope[1, i] += push_v
    shape_slope[1] = 2.0 * shape[1] * by_a.sum()
    shape_slope[2] = 2.0 * shape[2] * by_c.sum()
    for j in range(m):
        slope[0, learn[j]] -= back_u[j]
        slope[1, learn[j]] -= back_v[j]


@dataclass(frozen=True, eq=False)
class LearnedMap:
    """A network that places points on a map, and the kernel to read scores there.

    network : layers (W, b); kernel : MapKernel; losses : (2,), KL and regression loss of the batch
    """

    network: list
    kernel: MapKernel
    losses: np.ndarray

    def place(self, x) -> np.ndarray:
        """Return the places (n, 2) of points (n, d), also of new ones. Cost: O(n d hidden)."""
        return network_output(self.network, as_matrix("x", x, columns=len(self.network[0][0])))


def learn_map(
    x,
    scores,
    weight: float = 0.125,
    steps: int = 200,
    batch: int = 200,
    perplexity: float = 30.0,
    learn_kernel: bool = True,
    hidden: int = 64,
    step: float = 0.01,
    affinities=None,
    rng=0,
) -> Iterator[tuple[float, LearnedMap]]:
    """Train a map that keeps neighbours together and lets kernel regression read a score.

    Loss of a batch: neighbours + weight * regression (:func:`map_losses`), over the weights of a
    network x -> R^2 and the kernel's three numbers, by Adam. A tenth of each batch is held out of
    the regression. ``weight`` = 0 is parametric t-SNE.

    Paper: akrmap (Ye et al. 2025, arXiv:2505.14664)

    Parameters
    ----------
    x : (n, d)
    scores : (n,), best with mean 0 and variance 1
    weight : >= 0, of the regression loss
    steps : of Adam, each of size ``step``
    batch : points a step, from 20 to n
    perplexity : of the neighbourhoods
    learn_kernel : whether sharpness, exponent and level move from 1
    hidden : width of the network's one hidden layer (tanh)
    affinities : (n, n) from :func:`neighbour_affinities`, to reuse; None: of x and perplexity
    rng : Generator or seed

    Yields (fraction done, LearnedMap), twenty times. Raises ValueError. Cost: O(steps batch^2).
    """
    x = as_matrix("x", x, min_rows=20)
    n = len(x)
    scores = as_vector("scores", scores, length=n)
    weight, steps = nonnegative("weight", weight), integer("steps", steps, low=1)
    batch, rng = integer("batch", batch, low=20, high=n), as_rng(rng)
    if affinities is None:
        affinities = neighbour_affinities(x, perplexity)
    affinities = as_matrix("affinities", affinities, columns=n, rows=n)
    network = dense_network([x.shape[1], integer("hidden", hidden, low=1), 2], rng)
    shape = np.ones(3)
    adam, shape_adam = Adam(network, step), Adam([shape], step)
    every = max(steps // 20, 1)
    for number in range(1, steps + 1):
        chosen = rng.choice(n, batch, replace=False)
        training = np.arange(batch) >= batch // 10  # the batch is in random order
        near = affinities[np.ix_(chosen, chosen)]
        (w1, b1), (w2, b2) = network
        inner = np.tanh(x[chosen] @ w1 + b1)
        kernel = MapKernel(*map(float, shape))
        losses, slopes, shape_slopes = map_losses(
            inner @ w2 + b2, near / near.sum(), scores[chosen], training, kernel
        )
        slope = slopes[0] + weight * slopes[1]
        back = (slope @ w2.T) * (1.0 - inner**2)
        adam.update([(x[chosen].T @ back, back.sum(axis=0)), (inner.T @ slope, slope.sum(axis=0))])
        if learn_kernel and weight > 0:
            shape_adam.update([weight * shape_slopes])
        if number % every == 0 or number == steps:
            kept = [(w.copy(), b.copy()) for w, b in network]
            yield number / steps, LearnedMap(kept, MapKernel(*map(float, shape)), losses)


def principal_map(x) -> np.ndarray:
    """Return the two directions of greatest variance, (d, 2), scaled to unit variance on the map.

    ``(x - x.mean(0)) @ principal_map(x)`` is the map. Raises ValueError. Cost: O(n d^2).
    """
    x = as_matrix("x", x, min_rows=3)
    _, values, rows = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return rows[:2].T * (np.sqrt(len(x)) / values[:2])


def explained(truth, predicted) -> float:
    """Return R^2 = 1 - sum (truth - predicted)^2 / sum (truth - mean)^2, for (n,) arrays."""
    truth = as_vector("truth", truth)
    predicted = as_vector("predicted", predicted, length=truth.size)
    return float(1.0 - np.sum((truth - predicted) ** 2) / np.sum((truth - truth.mean()) ** 2))


def trustworthiness(x, places, neighbours: int = 10) -> float:
    """Return how far neighbours on the map are neighbours in the data: 1 is best.

    1 - 2 / (n k (2 n - 3 k - 1)) sum_i sum_(j near i on the map only) (rank of j in the data - k).

    Parameters: x (n, d); places (n, 2); neighbours k < n / 2. Raises ValueError.
    Cost: O(n^2 (d + k)). Source: Venna and Kaski 2001.
    """
    x = as_matrix("x", x)
    places = as_matrix("places", places, rows=len(x))
    n = len(x)
    k = integer("neighbours", neighbours, low=1, high=max((n - 1) // 2, 1))
    far, close = squared_distances(x, x), squared_distances(places, places)
    for squares in (far, close):
        np.fill_diagonal(squares, np.inf)  # a point is no neighbour of its own
    seen = np.argpartition(close, k - 1, axis=1)[:, :k]
    excess = 0
    for neighbour in seen.T:
        reach = np.take_along_axis(far, neighbour[:, None], axis=1)
        rank = 1 + np.count_nonzero(far < reach, axis=1)
        excess += np.maximum(rank - k, 0).sum()
    return float(1.0 - 2.0 * excess / (n * k * (2 * n - 3 * k - 1)))
