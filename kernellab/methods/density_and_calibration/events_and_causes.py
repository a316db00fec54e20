"""Three estimates from data that nobody experimented on, each made computable by its form.

1. Event streams: a Hawkes process on a grid, fitted from tables (Staerman et al. 2023)
2. Two variables: the direction of cause by a concave location-scale fit (Immer et al. 2023)
3. Ratings missing not at random: weights that balance kernel functions (Li et al. 2024)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, ndtr

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
)

# ------------------------------------------------------------------------------------------------
# 1. Event streams (Staerman et al. 2023)
# ------------------------------------------------------------------------------------------------

_HALF_TABLE = np.linspace(-1.0, 1.0, 2001)
_RAISED_COSINE_CDF = (1.0 + _HALF_TABLE + np.sin(np.pi * _HALF_TABLE) / np.pi) / 2.0
_RAISED_COSINE_DEVIATION = math.sqrt(1.0 / 3.0 - 2.0 / math.pi**2)  # of half-width 1


def raised_cosine(parameters, delays) -> tuple[np.ndarray, np.ndarray]:
    """Return a / (2 s) [1 + cos(pi (t - u - s) / s)] for u <= t <= u + 2 s, else 0.

    Parameters: (a, u, s): events triggered per event, latency, half-width; delays t (L,), in the
    unit of u and s. Returns values (L,) and derivatives (3, L). Cost: O(L).
    """
    a, u, s = as_vector("parameters", parameters, 3)
    return _raised_cosine((a, u, positive("parameters[2]", s)), as_vector("delays", delays))


def _raised_cosine(parameters, t, window=None):
    a, u, s = parameters
    place = (t - u - s) / s
    inside = np.abs(place) <= 1.0
    shape = np.where(inside, 1.0 + np.cos(np.pi * place), 0.0) / (2.0 * s)
    turn = np.where(inside, np.pi * np.sin(np.pi * place), 0.0) / (2.0 * s * s)
    slope_s = -shape / s + turn * (place + 1.0)
    return a * shape, np.array([shape, a * turn, a * slope_s])


def truncated_gaussian(parameters, delays, window: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a N(t; m, s^2) / Z on [0, window], Z being the mass of N there.

    Parameters: (a, m, s): events triggered per event, centre, width; delays (L,); window > 0.
    Returns values (L,) and derivatives (3, L). Cost: O(L).
    """
    a, m, s = as_vector("parameters", parameters, 3)
    s, window = positive("parameters[2]", s), positive("window", window)
    return _truncated_gaussian((a, m, s), as_vector("delays", delays), window)


def _truncated_gaussian(parameters, t, window):
    a, m, s = parameters
    low, high = -m / s, (window - m) / s
    mass = max(ndtr(high) - ndtr(low), 1e-300)
    bell_low, bell_high = (math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) for z in (low, high))
    z = (t - m) / s
    inside = (t >= 0) & (t <= window)
    shape = np.where(inside, np.exp(-0.5 * z * z), 0.0) / (math.sqrt(2 * math.pi) * s * mass)
    slope_m = shape * (z + (bell_high - bell_low) / mass) / s
    slope_s = shape * (z * z - 1.0 + (high * bell_high - low * bell_low) / mass) / s
    return a * shape, np.array([shape, a * slope_m, a * slope_s])


def truncated_exponential(parameters, delays, window: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a r e^(-r t) / (1 - e^(-r window)) on [0, window]: most of it at once, no latency.

    Parameters: (a, r): events triggered per event, rate > 0; delays (L,); window > 0.
    Returns values (L,) and derivatives (2, L). Cost: O(L).
    """
    a, r = as_vector("parameters", parameters, 2)
    r, window = positive("parameters[1]", r), positive("window", window)
    return _truncated_exponential((a, r), as_vector("delays", delays), window)


def _truncated_exponential(parameters, t, window):
    a, r = parameters
    mass = -math.expm1(-r * window)
    inside = (t >= 0) & (t <= window)
    shape = np.where(inside, r * np.exp(-r * t) / mass, 0.0)
    slope = shape * (1.0 / r - t - window * math.exp(-r * window) / mass)
    return a * shape, np.array([shape, a * slope])


# Without checks, for the thousands of calls of a fit.
_KERNELS = {
    "raised cosine": _raised_cosine,
    "gaussian": _truncated_gaussian,
    "exponential": _truncated_exponential,
}
FAMILIES = tuple(_KERNELS)


def delay_kernel(family: str, parameters, delays, window: float):
    """Return a family's values (L,) and derivatives (p, L) at delays (L,). Cost: O(L)."""
    family = one_of("family", family, FAMILIES)
    if family == "raised cosine":
        return raised_cosine(parameters, delays)
    if family == "gaussian":
        return truncated_gaussian(parameters, delays, window)
    return truncated_exponential(parameters, delays, window)


def simulate_events(
    horizon: float, baselines, branching, latency: float, half_width: float, rng
) -> list[np.ndarray]:
    """Draw a Hawkes process whose delays follow a raised cosine, generation by generation.

    Spontaneous events come at rate mu_i. Each event of stream j triggers a Poisson number of events
    in stream i, branching[i, j] on average, after delays from latency to latency + 2 half_width;
    those trigger events in turn. Rates: (I - branching)^-1 mu.

    Parameters
    ----------
    horizon : > 0, in some unit of time
    baselines : (p,), mu, events a unit of time
    branching : (p, p), >= 0, spectral radius below 1
    latency, half_width : >= 0 and > 0, in units of time
    rng : Generator or seed

    Returns the sorted times of each stream, in [0, horizon).
    Raises ValueError for rates below 0 or branching that explodes. Cost: O(events).
    """
    horizon, mu = positive("horizon", horizon), as_vector("baselines", baselines)
    a = as_matrix("branching", branching, mu.size, mu.size)
    if mu.min() < 0 or a.min() < 0:
        raise ValueError("baselines and branching must be at least 0")
    radius = np.abs(np.linalg.eigvals(a)).max()
    if radius >= 0.99:
        raise ValueError(f"branching must have a spectral radius below 0.99, got {radius:.3g}")
    latency, s, rng = (
        nonnegative("latency", latency),
        positive("half_width", half_width),
        as_rng(rng),
    )
    early = 10.0 * (latency + 2.0 * s)  # so that the process is under way at time 0
    rates = mu * (horizon + early)
    fits_in_memory("the events", int(64 * rates.sum() / (1.0 - radius)))
    young = [rng.uniform(-early, horizon, rng.poisson(rate)) for rate in rates]
    streams = [[times] for times in young]
    while any(times.size for times in young):
        born = [[] for _ in mu]
        for i, j in np.argwhere(a > 0):
            parents = np.repeat(young[j], rng.poisson(a[i, j], young[j].size))
            delays = np.interp(rng.random(parents.size), _RAISED_COSINE_CDF, _HALF_TABLE)
            times = parents + latency + s * (1.0 + delays)
            born[i].append(times[times < horizon])
        young = [np.concatenate([*times, np.empty(0)]) for times in born]
        for stream, times in zip(streams, young, strict=True):
            stream.append(times)
    found = [np.concatenate(stream) for stream in streams]
    return [np.sort(times[times >= 0]) for times in found]


@compiled("void(int64[::1], int64[::1], int64, float64[::1])")
def _count_lags(earlier, later, last, out):
    """out[k] = number of pairs with later - earlier = k, for k = 0..last; both sorted."""
    start = 0
    for i in range(later.size):
        cell = later[i]
        while start < earlier.size and cell - earlier[start] > last:
            start += 1
        j = start
        while j < earlier.size and earlier[j] <= cell:
            out[cell - earlier[j]] += 1.0
            j += 1


@compiled("void(float64[::1], float64[::1], float64[::1], float64[::1], float64[:,::1])")
def _pair_table(down, right, end_a, end_b, out):
    """out[t, u] = sum_s a[s - t] b[s - u], t, u = 1..L, from its values at t = 0 and at u = 0.

    One step down the diagonal, the last cell of each stream drops out of the sum.
    """
    last = out.shape[0]
    for lag in range(-last + 1, last):
        value = down[lag] if lag >= 0 else right[-lag]
        t, u = max(lag, 0), max(-lag, 0)
        while t < last and u < last:
            value -= end_a[t] * end_b[u]
            out[t, u] = value
            t += 1
            u += 1


@dataclass(frozen=True, eq=False)
class EventTables:
    """All that the least-squares loss needs to know of p event streams on a grid.

    With z_j[s] the number of events of stream j in cell s, and delays tau, tau' = 1..L in cells:

    counts : (p,), sum_s z_j[s]
    before : (p, L), sum_s z_j[s - tau]
    hits : (p, p, L), sum_s z_i[s] z_j[s - tau]
    pairs : (p, p, L, L), sum_s z_j[s - tau] z_k[s - tau']
    step : width of a cell; cells : their number, G
    """

    step: float
    cells: int
    counts: np.ndarray
    before: np.ndarray
    hits: np.ndarray
    pairs: np.ndarray

    @property
    def delays(self) -> np.ndarray:
        """The delays (L,) of the tables, in units of time."""
        return self.step * np.arange(1, self.before.shape[1] + 1)

    @property
    def window(self) -> float:
        """The longest delay."""
        return self.step * self.before.shape[1]

    def loss(self, i: int, baseline: float, kernels) -> tuple[float, float, np.ndarray]:
        """Return D sum_s lam_i[s]^2 - 2 sum_s z_i[s] lam_i[s], divided by all events, and slopes.

        lam_i[s] = baseline + sum_j sum_tau kernels[j, tau] z_j[s - tau].

        Parameters: i, the stream; baseline, a float; kernels (p, L).
        Returns the loss, its derivatives in the baseline and in the kernels (p, L).
        Cost: O(p^2 L^2), however long the recording.
        """
        i = integer("i", i, 0, self.counts.size - 1)
        phi = as_matrix("kernels", kernels, *self.before.shape[::-1])
        return self._loss(i, float(baseline), phi)

    def _loss(self, i, mu, phi):
        events = max(self.counts.sum(), 1.0)
        image = np.einsum("jktu,ku->jt", self.pairs, phi, optimize=False)
        mean = np.sum(self.before * phi)
        value = self.step * (self.cells * mu * mu + 2.0 * mu * mean + np.sum(phi * image))
        value -= 2.0 * (mu * self.counts[i] + np.sum(self.hits[i] * phi))
        slope_mu = 2.0 * self.step * (self.cells * mu + mean) - 2.0 * self.counts[i]
        slope_phi = 2.0 * self.step * (mu * self.before + image) - 2.0 * self.hits[i]
        return value / events, slope_mu / events, slope_phi / events


def to_cells(times, horizon: float, step: float) -> np.ndarray:
    """Return the grid cell of each time, sorted (n,). Cost: O(n log n)."""
    times = np.asarray(times, dtype=np.float64)
    horizon, step = positive("horizon", horizon), positive("step", step)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise ValueError(f"times must be a vector of finite numbers, got shape {times.shape}")
    if times.size and (times.min() < 0 or times.max() > horizon):
        raise ValueError(f"times must lie in [0, horizon = {horizon:g}]")
    cells = max(round(horizon / step), 1)
    return np.sort(np.minimum((times / step).astype(np.int64), cells - 1))


def event_tables(
    events: Sequence, horizon: float, window: float = 1.0, step: float = 0.01
) -> EventTables:
    """Count, once, how often events of p streams stand tau cells apart.

    Paper: fadin (Staerman et al. 2023, arXiv:2210.04635)

    Parameters
    ----------
    events : p vectors of times in [0, horizon]; a stream may be empty
    horizon : length of the recording
    window : longest delay, W
    step : width D of a cell; L = W / D

    Raises ValueError for times outside, or a step longer than the window.
    Cost: O(N m + p^2 L^2), m being the events in a window; memory O(p^2 L^2).
    """
    if len(events) == 0:
        raise ValueError("events must hold at least one stream, got none")
    horizon, window, step = (
        positive("horizon", horizon),
        positive("window", window),
        positive("step", step),
    )
    last, cells = round(window / step), max(round(horizon / step), 1)
    if not 1 <= last <= cells:
        raise ValueError(f"step must lie between {window / cells:.3g} and window = {window:g}")
    p = len(events)
    fits_in_memory("the tables", 8 * p * p * last * last)
    placed = [to_cells(times, horizon, step) for times in events]
    ends = np.zeros((p, last))  # counts of the last cells, the very last first
    for end, where in zip(ends, placed, strict=True):
        np.add.at(end, cells - 1 - where[where >= cells - last], 1.0)
    counts = np.array([float(where.size) for where in placed])
    lags = np.zeros((p, p, last + 1))
    for j in range(p):
        for k in range(p):
            _count_lags(placed[j], placed[k], last, lags[j, k])
    pairs = np.empty((p, p, last, last))
    for j in range(p):
        for k in range(p):
            _pair_table(lags[j, k], lags[k, j], ends[j], ends[k], pairs[j, k])
    before = counts[:, None] - np.cumsum(ends, axis=1)
    hits = np.ascontiguousarray(lags.transpose(1, 0, 2)[:, :, 1:])
    return EventTables(step, cells, counts, before, hits, pairs)


def direct_loss(events, horizon, step, i, baseline, kernels) -> float:
    """Return the loss of stream i by walking over the whole grid, as a check and a baseline.

    Parameters: as in event_tables and EventTables.loss. Cost: O(p L horizon / step).
    """
    phi = as_matrix("kernels", kernels, rows=len(events))
    cells = max(round(positive("horizon", horizon) / positive("step", step)), 1)
    z = [
        np.bincount(to_cells(times, horizon, step), minlength=cells).astype(np.float64)
        for times in events
    ]
    rate = np.full(cells, float(baseline))
    for counts, kernel in zip(z, phi, strict=True):
        rate[1:] += np.convolve(counts, kernel)[: cells - 1]
    total = step * np.sum(rate * rate) - 2.0 * np.sum(z[i] * rate)
    return float(total / max(sum(counts.sum() for counts in z), 1.0))


@dataclass(frozen=True, eq=False)
class StreamFit:
    """What triggers one stream, of p.

    family : str; baseline : float; parameters : (p, q), row j: how stream j triggers this one;
    kernels : (p, L), at the tables' delays; branching : (p,), events that one event of j triggers
    within the window; loss : float.
    """

    family: str
    baseline: float
    parameters: np.ndarray
    kernels: np.ndarray
    branching: np.ndarray
    loss: float


@dataclass(frozen=True, eq=False)
class HawkesFit:
    """A fitted process of p streams: the StreamFits of all, one a row.

    family : str; baselines : (p,); parameters : (p, p, q), row i, column j: how j triggers i;
    kernels : (p, p, L); branching : (p, p); loss : float, the sum over streams.
    """

    family: str
    baselines: np.ndarray
    parameters: np.ndarray
    kernels: np.ndarray
    branching: np.ndarray
    loss: float


def excess_rate(tables: EventTables, i: int, j: int) -> np.ndarray:
    """Return how much more often than by chance i follows j, per delay (L,), a rate.

    It is a histogram of delays minus the mean rate; it counts indirect triggering as well.
    Cost: O(L).
    """
    before = np.maximum(tables.before[j], 1.0)
    return tables.hits[i, j] / (before * tables.step) - tables.counts[i] / (
        tables.cells * tables.step
    )


def fit_hawkes(tables: EventTables, family: str = "raised cosine") -> HawkesFit:
    """Fit the baselines and delay kernels of all streams, each by ``fit_stream``.

    Paper: fadin (Staerman et al. 2023, arXiv:2210.04635)

    Parameters: tables; family, one of FAMILIES. Returns a HawkesFit.
    Raises ValueError for another family. Cost: O(p^3 L^2) an iteration, about 40 of them.
    """
    fits = [fit_stream(tables, i, family) for i in range(tables.counts.size)]
    names = ("baseline", "parameters", "kernels", "branching")
    stacked = [np.array([getattr(fit, name) for fit in fits]) for name in names]
    return HawkesFit(fits[0].family, *stacked, float(sum(fit.loss for fit in fits)))


def fit_stream(tables: EventTables, i: int, family: str = "raised cosine") -> StreamFit:
    """Fit the baseline of stream i and what triggers it, by least squares, within bounds.

    The derivative in a kernel's parameters is its Jacobian times the derivative in its values.
    L-BFGS-B from two starts: delays by their moments, and at the histogram's peak.

    Paper: fadin (Staerman et al. 2023, arXiv:2210.04635)

    Parameters: tables; i, 0 to p - 1; family, one of FAMILIES. Returns a StreamFit.
    Raises ValueError for another family or stream. Cost: O(p^2 L^2) an iteration, about 40 of them.
    """
    family = one_of("family", family, FAMILIES)
    p, delays, window = tables.counts.size, tables.delays, tables.window
    i = integer("i", i, 0, p - 1)
    kernel = _KERNELS[family]
    bounds = {
        "raised cosine": [(0, 2), (0, window), (1.01 * tables.step, window)],
        "gaussian": [(0, 2), (0, window), (0.5 * tables.step, window)],
        "exponential": [(0, 2), (1e-3 / window, 5.0 / tables.step)],
    }[family]

    def value_and_gradient(theta):
        found = [kernel(row, delays, window) for row in theta[1:].reshape(p, -1)]
        value, slope, slopes = tables._loss(i, theta[0], np.array([values for values, _ in found]))
        parts = [jacobian @ row for (_, jacobian), row in zip(found, slopes, strict=True)]
        return value, np.concatenate([[slope], *parts])

    rate = tables.counts[i] / (tables.cells * tables.step)
    box = [(0.0, np.inf)] + bounds * p
    tight = {"ftol": 1e-13, "gtol": 1e-8, "maxiter": 300}
    ends = []
    for first in zip(*(_starts(tables, family, i, j) for j in range(p)), strict=True):
        start = np.clip(np.concatenate([[0.5 * rate], *first]), *np.array(box, dtype=float).T)
        ends.append(
            minimize(
                value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=box, options=tight
            )
        )
    best = min(ends, key=lambda end: end.fun)
    parameters = best.x[1:].reshape(p, -1)
    kernels = np.array([kernel(row, delays, window)[0] for row in parameters])
    # What a parameter says of delays beyond the window, no data say: count what lies inside.
    branching = tables.step * kernels.sum(axis=1)
    return StreamFit(family, float(best.x[0]), parameters, kernels, branching, float(best.fun))


def _starts(tables, family, i, j):
    """Two starts for the kernel from j to i: by the moments of the excess, and at its peak."""
    delays, window = tables.delays, tables.window
    excess = np.maximum(excess_rate(tables, i, j), 0.0) + 1e-12
    a = min(max(tables.step * excess.sum(), 0.05), 0.9)
    mean = np.sum(delays * excess) / excess.sum()
    deviation = math.sqrt(np.sum((delays - mean) ** 2 * excess) / excess.sum()) + tables.step
    smooth = np.convolve(excess, np.ones(max(excess.size // 10, 1)), "same")
    peak = delays[np.argmax(smooth)]
    if family == "exponential":
        return [(a, 1.0 / mean), (a, 5.0 / window)]
    if family == "gaussian":
        return [(a, mean, deviation), (a, peak, window / 10)]
    s, narrow = min(deviation / _RAISED_COSINE_DEVIATION, window / 2), window / 6
    return [(a, max(mean - s, 0.0), s), (a, max(peak - narrow, 0.0), narrow)]


# ------------------------------------------------------------------------------------------------
# 2. The direction of cause (Immer et al. 2023)
# ------------------------------------------------------------------------------------------------

RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class SplineBasis:
    """Cubic B-splines on equal intervals of [low, high]: positive, and their sum is 1.

    low < high; count >= 4, the number of functions.
    """

    low: float
    high: float
    count: int = 12

    def __post_init__(self):
        integer("count", self.count, 4)
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")

    def local(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return, for x (n,), the first of its four functions (n,) and their values (n, 4).

        Values of x outside [low, high] count as the nearest end. Cost: O(n).
        """
        x = as_vector("x", x)
        place = np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0) * (self.count - 3)
        first = np.minimum(place.astype(np.int64), self.count - 4)
        t = place - first
        r = 1.0 - t
        values = np.column_stack([r**3, 3 * t**3 - 6 * t**2 + 4, 3 * r**3 - 6 * r**2 + 4, t**3])
        return first, np.ascontiguousarray(values / 6.0)

    def matrix(self, x) -> np.ndarray:
        """Return all values (n, count) at x (n,). Cost: O(n count)."""
        first, values = self.local(x)
        out = np.zeros((first.size, self.count))
        np.put_along_axis(out, first[:, None] + np.arange(4), values, axis=1)
        return out


@compiled(
    "float64(int64[::1], float64[:,::1], float64[::1], float64[::1], float64[::1],"
    " float64[::1], float64[:,::1])"
)
def _lsnm_sums(first, values, y, w1, w2, gradient, hessian):
    """Minus log likelihood; adds its gradient (2p,) and Hessian (2p, 2p), lower blocks unfilled.

    Returns infinity where a precision is not positive.
    """
    p = w1.size
    total = 0.0
    for i in range(y.size):
        b = first[i]
        eta, v = 0.0, 0.0
        for k in range(4):
            eta += values[i, k] * w1[b + k]
            v += values[i, k] * w2[b + k]
        if not v > 0.0:
            return np.inf
        mean = eta / (2.0 * v)
        total -= eta * y[i] - v * y[i] * y[i] - 0.5 * eta * mean + 0.5 * math.log(2.0 * v)
        g1 = mean - y[i]
        g2 = y[i] * y[i] - mean * mean - 0.5 / v
        h11 = 0.5 / v
        h12 = -mean / v
        h22 = (2.0 * mean * mean + 0.5 / v) / v
        for k in range(4):
            c = values[i, k]
            gradient[b + k] += c * g1
            gradient[p + b + k] += c * g2
            for m in range(4):
                e = c * values[i, m]
                hessian[b + k, b + m] += e * h11
                hessian[b + k, p + b + m] += e * h12
                hessian[p + b + k, p + b + m] += e * h22
    return total + 0.5 * math.log(2.0 * math.pi) * y.size


def natural_nll(features, y, w1, w2) -> tuple[float, np.ndarray]:
    """Return minus the log likelihood of y given natural parameters, and its gradient.

    eta = phi w1 = mean / s^2 and v = phi w2 = 1 / (2 s^2) > 0 give log p(y) =
    eta y - v y^2 - eta^2 / (4 v) + log(2 v) / 2 - log(2 pi) / 2, concave in (w1, w2) together.

    Paper: on-the-identifiability-and-estimation (Immer et al. 2023, arXiv:2210.09054)

    Parameters: features phi (n, p); y (n,); w1, w2 (p,). Returns a float (infinity where v <= 0)
    and the gradient (2 p,). Cost: O(n p).
    """
    phi = as_matrix("features", features)
    y = as_vector("y", y, phi.shape[0])
    w1, w2 = as_vector("w1", w1, phi.shape[1]), as_vector("w2", w2, phi.shape[1])
    eta, v = phi @ w1, phi @ w2
    if v.min() <= 0:
        return math.inf, np.full(2 * w1.size, np.nan)
    mean = eta / (2.0 * v)
    value = -np.sum(eta * y - v * y * y - 0.5 * eta * mean + 0.5 * np.log(v / math.pi))
    return float(value), np.concatenate([phi.T @ (mean - y), phi.T @ (y * y - mean**2 - 0.5 / v)])


@dataclass(frozen=True, eq=False)
class ConditionalFit:
    """Mean and scale of y given x.

    basis; w1, w2 : (p,); ridge : the one of most evidence; log_likelihood, evidence : floats, of
    all points.
    """

    basis: SplineBasis
    w1: np.ndarray
    w2: np.ndarray
    ridge: float
    log_likelihood: float
    evidence: float

    def at(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the scale at x (n,), each (n,). Cost: O(n p)."""
        phi = self.basis.matrix(x)
        v = np.maximum(phi @ self.w2, 1e-4)
        return phi @ self.w1 / (2.0 * v), 1.0 / np.sqrt(2.0 * v)


def fit_location_scale(x, y, count: int = 12, ridge: float | None = None) -> ConditionalFit:
    """Fit mean and scale of y given x together, by Newton's method on a concave likelihood.

    The prior of both weight vectors is Gaussian with precision ridge D^T D + 0.01 I, D being second
    differences; its centre is mean 0, scale 1. Without a ridge, RIDGES are tried, and the one with
    the largest Laplace evidence stays: log posterior + (log |prior precision| - log |Hessian|) / 2.

    Paper: on-the-identifiability-and-estimation (Immer et al. 2023, arXiv:2210.09054)

    Parameters: x, y (n,), standardised; count >= 4 spline functions; ridge > 0 or None.
    Returns a ConditionalFit. Raises ValueError for other shapes or a constant x.
    Cost: O(n + p^3) an iteration, about 10 for each ridge.
    """
    x, y, basis, ridges = _checked_pair(x, y, count, ridge)
    first, values = basis.local(x)
    w, best = np.concatenate([np.zeros(count), np.full(count, 0.5)]), None
    for level in reversed(ridges):
        prior = _prior(count, level)
        w, nll, posterior, hessian = _newton(first, values, y, w, prior)
        evidence = -posterior + np.linalg.slogdet(prior)[1]  # of both weight vectors
        evidence -= 0.5 * np.linalg.slogdet(hessian)[1]
        if best is None or evidence > best.evidence:
            best = ConditionalFit(basis, w[:count], w[count:], level, -nll, float(evidence))
    return best


def _newton(first, values, y, w, prior):
    p = prior.shape[0]
    centre = np.concatenate([np.zeros(p), np.full(p, 0.5)])
    penalty = np.zeros((2 * p, 2 * p))
    penalty[:p, :p] = penalty[p:, p:] = prior

    def evaluate(w):
        gradient, hessian = np.zeros(2 * p), np.zeros((2 * p, 2 * p))
        nll = _lsnm_sums(first, values, y, w[:p], w[p:], gradient, hessian)
        pull = penalty @ (w - centre)
        hessian[p:, :p] = hessian[:p, p:].T
        return nll, nll + 0.5 * pull @ (w - centre), gradient + pull, hessian + penalty

    nll, objective, gradient, hessian = evaluate(w)
    for _ in range(60):
        step = np.linalg.solve(hessian, gradient)
        decrement = gradient @ step
        if decrement < 1e-9:
            break
        size = 1.0
        while size > 1e-10:
            moved = evaluate(w - size * step)
            if moved[1] <= objective - 0.1 * size * decrement:
                break
            size *= 0.5
        else:
            break
        w = w - size * step
        nll, objective, gradient, hessian = moved
    return w, nll, objective, hessian


def fit_constant_scale(x, y, count: int = 12, ridge: float | None = None) -> ConditionalFit:
    """Fit a mean with one scale for all x: additive noise, the baseline.

    Spline ridge regression with the prior of fit_location_scale on the mean's weights; scale by
    maximum likelihood in turn with the weights; the ridge of most evidence.

    Parameters and result: as in fit_location_scale. Cost: O(n p^2 + p^3).
    """
    x, y, basis, ridges = _checked_pair(x, y, count, ridge)
    phi, n, best = basis.matrix(x), y.size, None
    gram, target = phi.T @ phi, phi.T @ y
    for level in reversed(ridges):
        prior, variance = _prior(count, level), 1.0
        for _ in range(8):
            precision = gram / variance + prior
            w = np.linalg.solve(precision, target / variance)
            variance = max(np.mean((y - phi @ w) ** 2), 1e-8)
        log_likelihood = -0.5 * n * (math.log(2 * math.pi * variance) + 1.0)
        precision = gram / variance + prior
        evidence = log_likelihood - 0.5 * w @ prior @ w + 0.5 * np.linalg.slogdet(prior)[1]
        evidence -= 0.5 * np.linalg.slogdet(precision)[1]
        if best is None or evidence > best.evidence:
            w2 = np.full(count, 0.5 / variance)
            best = ConditionalFit(basis, w / variance, w2, level, log_likelihood, float(evidence))
    return best


def _prior(count, ridge):
    differences = np.diff(np.eye(count), 2, axis=0)
    return ridge * differences.T @ differences + 0.01 * np.eye(count)


def _checked_pair(x, y, count, ridge):
    x = as_vector("x", x)
    y = as_vector("y", y, x.size)
    if x.size < 10 or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("x and y must hold at least 10 values, not all of them equal")
    count = integer("count", count, 4, 100)
    ridges = RIDGES if ridge is None else (positive("ridge", ridge),)
    return x, y, SplineBasis(x.min(), x.max(), count), ridges


@dataclass(frozen=True, eq=False)
class Direction:
    """Both ways of reading a pair: forward x -> y, backward y -> x, and the gap of their scores.

    gap : log likelihood a point that x -> y has more than y -> x; above 0: x is the cause.
    """

    forward: ConditionalFit
    backward: ConditionalFit
    gap: float


def standardise(x) -> np.ndarray:
    """Return x (n,) with mean 0 and deviation 1. Raises ValueError if it is constant."""
    x = as_vector("x", x)
    deviation = x.std()
    if deviation == 0:
        raise ValueError("x must not be constant")
    return (x - x.mean()) / deviation


MODELS = {"location and scale": fit_location_scale, "location only": fit_constant_scale}


def cause_direction(x, y, model: str = "location and scale", count: int = 12) -> Direction:
    """Compare p(x) p(y | x) with p(y) p(x | y), each fitted to the standardised pair.

    The marginals are Gaussian with mean 0 and deviation 1: they cancel, and what stays is the
    difference of two conditional fits.

    Paper: on-the-identifiability-and-estimation (Immer et al. 2023, arXiv:2210.09054)

    Parameters: x, y (n,); model, a key of MODELS; count of splines. Cost: two fits.
    """
    x, y = standardise(x), standardise(y)
    fit = MODELS[one_of("model", model, tuple(MODELS))]
    forward, backward = fit(x, y, count), fit(y, x, count)
    gap = (forward.log_likelihood - backward.log_likelihood) / x.size
    return Direction(forward, backward, float(gap))


PAIRS = ("location and scale", "scale only", "location only", "linear Gaussian")
NOISES = ("gaussian", "uniform", "student t")


def simulate_pair(kind: str, n: int, rng, noise: str = "gaussian", strength: float = 1.0):
    """Draw a cause x and an effect y = f(x) + g(x) e.

    x is a mixture of three Gaussians; f a random sum of sigmoids; g = exp(strength h) with h
    another one. "scale only" has f = 0, "location only" g = 1/2, "linear Gaussian" a Gaussian x,
    a linear f, a constant g.

    Parameters: kind, one of PAIRS; n >= 10; rng; noise e, one of NOISES, with variance 1;
    strength >= 0. Returns x, y (n,), and the functions f and g. Cost: O(n).
    """
    kind, noise = one_of("kind", kind, PAIRS), one_of("noise", noise, NOISES)
    n, strength, rng = integer("n", n, 10), nonnegative("strength", strength), as_rng(rng)
    centres, widths = rng.normal(0, 1.2, 3), rng.uniform(0.3, 0.9, 3)
    bends = [(rng.normal(0, 1, 3), rng.uniform(-1.5, 1.5, 3), rng.uniform(1, 3, 3)) for _ in "fg"]

    def smooth(bend, at):
        heights, places, slopes = bend
        return np.tanh(slopes * (np.asarray(at)[..., None] - places)) @ heights

    group = rng.integers(0, 3, n)
    x = centres[group] + widths[group] * rng.normal(size=n)
    e = {
        "gaussian": lambda: rng.normal(size=n),
        "uniform": lambda: rng.uniform(-math.sqrt(3), math.sqrt(3), n),
        "student t": lambda: rng.standard_t(5, n) / math.sqrt(5 / 3),
    }[noise]()
    f, g = (
        (lambda at: smooth(bends[0], at)),
        (lambda at: 0.5 * np.exp(strength * smooth(bends[1], at))),
    )
    if kind == "scale only":
        f = np.zeros_like
    elif kind == "location only":
        g = lambda at: np.full_like(at, 0.5)  # noqa: E731
    elif kind == "linear Gaussian":
        x, slope = rng.normal(size=n), rng.uniform(0.5, 1.5)
        e = rng.normal(size=n)
        f, g = (lambda at: slope * at), (lambda at: np.full_like(at, 0.5))
    return x, f(x) + g(x) * e, f, g


# ------------------------------------------------------------------------------------------------
# 3. Ratings missing not at random (Li et al. 2024)
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ratings:
    """All user-item pairs of a small shop, N = users x items, row by row.

    features : (N, 2 rank), user's and item's; rating, propensity : (N,); observed : (N,), bool;
    users, items : ints.
    """

    features: np.ndarray
    rating: np.ndarray
    propensity: np.ndarray
    observed: np.ndarray
    users: int
    items: int


def simulate_ratings(
    rng,
    users: int = 100,
    items: int = 80,
    rank: int = 3,
    selection: float = 1.0,
    share: float = 0.08,
    hidden: float = 0.0,
) -> Ratings:
    """Draw ratings 3 + p_u . q_i + noise and who gave one: the higher, the likelier.

    logit P(observed) = 2 selection tanh(p_u . q_i) + hidden e + c, e being the noise of the rating
    (0.3 e) that no feature shows, and c such that ``share`` is observed.

    Parameters: rng; users, items >= 2; rank >= 1; selection > 0 if happy users rate more; share in
    (0, 1); hidden, a float. Returns Ratings. Cost: O(users items rank).
    """
    rng, selection = as_rng(rng), float(selection)
    users, items, rank = (
        integer("users", users, 2),
        integer("items", items, 2),
        integer("rank", rank, 1),
    )
    share = between("share", share, 0.001, 0.999)
    p, q = rng.normal(size=(users, rank)) / rank**0.25, rng.normal(size=(items, rank)) / rank**0.25
    taste = (p @ q.T).ravel()
    noise = rng.normal(size=taste.size)
    slope = 2.0 * selection * np.tanh(taste) + float(hidden) * noise
    low, high = -30.0, 30.0
    for _ in range(60):
        c = (low + high) / 2
        low, high = (c, high) if expit(slope + c).mean() < share else (low, c)
    propensity = expit(slope + c)
    features = np.hstack([np.repeat(p, items, axis=0), np.tile(q, (users, 1))])
    rating = 3.0 + taste + 0.3 * noise
    return Ratings(features, rating, propensity, rng.random(taste.size) < propensity, users, items)


def logistic_weights(features, observed, ridge: float = 1e-3) -> np.ndarray:
    """Return weights 1 / P(observed | features) with mean 1, P by linear logistic regression.

    Parameters: features (N, d); observed (N,), bool; ridge > 0. Returns weights (n,) of the
    observed. Raises ValueError if none or all are observed. Cost: O(N d^2) an iteration.
    """
    x, observed = as_matrix("features", features), _mask(observed, len(features))
    phi = np.hstack([np.ones((len(x), 1)), x])
    beta, penalty = np.zeros(phi.shape[1]), positive("ridge", ridge) * np.eye(phi.shape[1])
    for _ in range(25):
        chance = expit(phi @ beta)
        hessian = (phi * (chance * (1 - chance))[:, None]).T @ phi + penalty
        step = np.linalg.solve(hessian, phi.T @ (observed - chance) - penalty @ beta)
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    w = 1.0 / expit(phi[observed] @ beta)
    return w / w.mean()


def _mask(observed, length):
    mask = np.asarray(observed)
    if mask.dtype != bool or mask.shape != (length,):
        raise ValueError(f"observed must be {length} booleans, got {mask.dtype} {mask.shape}")
    if not mask.any() or mask.all():
        raise ValueError("observed must hold both True and False")
    return mask


@dataclass(frozen=True, eq=False)
class Balance:
    """Weights (n,) with mean 1, the multipliers (J,) of the balance conditions, Newton's steps."""

    weights: np.ndarray
    multipliers: np.ndarray
    iterations: int


def balance_weights(features, targets, slack: float = 1e-3, start=None) -> Balance:
    """Return the weights nearest to uniform that give J functions their wanted means.

    min sum_i w_i log w_i  subject to  |mean_i w_i h_j(x_i) - targets_j| <= slack, mean w = 1.
    They are w_i = n softmax(h(x_i) . l), l minimising the dual
    log mean_i exp(h(x_i) . l) - targets . l + slack |l|_1, by Newton's method with the corner of
    |l| rounded to sqrt(l^2 + 0.01^2): the conditions hold as they stand.

    Paper: debiased-collaborative-filtering-with-kernel (Li et al. 2024, arXiv:2404.19596)

    Parameters
    ----------
    features : (n, J), h_j at the observed points
    targets : (J,), means of h_j over all points
    slack : > 0
    start : (J,), multipliers to begin with, or None

    Raises ValueError for bad shapes, or if no weights meet the conditions.
    Cost: O(n J^2 + J^3) an iteration, about 10 to 40.
    """
    h = as_matrix("features", features)
    t = as_vector("targets", targets, h.shape[1])
    slack = positive("slack", slack)
    h = h - t  # the dual does not change, and the targets become 0
    multipliers = np.zeros(t.size) if start is None else as_vector("start", start, t.size).copy()

    iterations = 0
    for soft in (1.0, 0.01) if start is None else (0.01,):
        multipliers, steps = _dual_newton(h, multipliers, slack, soft)
        iterations += steps
    scores = h @ multipliers
    w = np.exp(scores - logsumexp(scores)) * len(h)
    left = np.abs(w @ h).max() / len(h)
    if left > 1.01 * slack + 1e-9:
        raise ValueError(
            f"targets must be means that weights reach within the slack {slack:.3g}; "
            f"the best found miss by {left:.3g}"
        )
    return Balance(w, multipliers, iterations)


def _dual_newton(h, l, slack, soft):  # noqa: E741
    """Minimise log mean exp(h l) + slack sum sqrt(l^2 + soft^2), the wanted means being 0.

    Its slope vanishes where the imbalance is slack l / sqrt(l^2 + soft^2): below the slack.
    """

    def dual(at):
        scores = h @ at
        top = scores.max()
        w = np.exp(scores - top)
        total = w.sum()
        return top + math.log(total) + slack * np.sqrt(at * at + soft * soft).sum(), w / total

    value, w = dual(l)
    for iteration in range(100):
        root = np.sqrt(l * l + soft * soft)
        imbalance = w @ h
        slope = imbalance + slack * l / root
        hessian = (h * w[:, None]).T @ h - np.outer(imbalance, imbalance)
        hessian[np.diag_indices(l.size)] += slack * soft * soft / root**3 + 1e-12
        step = cho_solve(cho_factor(hessian), slope)
        if slope @ step < 1e-13 or np.abs(slope).max() < 1e-4 * slack:
            return l, iteration
        size = 1.0
        while size > 1e-8:
            lower, moved = dual(l - size * step)
            if lower <= value - 1e-4 * size * (slope @ step):
                break
            size *= 0.5
        else:
            return l, iteration  # as far as rounding allows
        l, value, w = l - size * step, lower, moved  # noqa: E741
    return l, 100


def greedy_anchors(
    kernel, features, observed, candidates, count: int, slack: float = 1e-3, relevance=None
):
    """Choose anchors one by one: always the function that is now most out of balance.

    Imbalance of k(., c): |mean over all - weighted mean over the observed|, times the relevance of
    candidate c, if given: the size of its coefficient in a kernel fit of the prediction error.

    Paper: debiased-collaborative-filtering-with-kernel (Li et al. 2024, arXiv:2404.19596)

    Parameters: kernel; features (N, d); observed (N,), bool; candidates (M, d); count <= M;
    slack > 0; relevance (M,), >= 0, or None. Returns the chosen indices (count,) and the Balance.
    Cost: O(N M) once, O(n M) and one warm Newton solve an anchor.
    """
    x, candidates = as_matrix("features", features), as_matrix("candidates", candidates)
    observed = _mask(observed, len(x))
    count = integer("count", count, 1, len(candidates))
    size = (
        np.ones(len(candidates))
        if relevance is None
        else as_vector("relevance", relevance, len(candidates))
    )
    if size.min() < 0:
        raise ValueError("relevance must be at least 0")
    gram = kernel.gram(x[observed], candidates)
    everybody = kernel.matvec(candidates, x, np.full(len(x), 1.0 / len(x)))
    chosen, weights, multipliers = [], np.ones(len(gram)), np.empty(0)
    for _ in range(count):
        imbalance = size * np.abs(everybody - weights @ gram / len(gram))
        imbalance[chosen] = -1.0
        chosen.append(int(np.argmax(imbalance)))
        balance = balance_weights(
            gram[:, chosen], everybody[chosen], slack, np.append(multipliers, 0.0)
        )
        weights, multipliers = balance.weights, balance.multipliers
    return np.array(chosen), balance


def error_relevance(kernel, x, error, candidates, ridge: float = 1.0) -> np.ndarray:
    """Return |coefficients| (M,) of the prediction error as a sum of the candidates' kernels.

    Ridge regression of error (n,) at the observed x (n, d) on k(., c). Cost: O(n M^2 + M^3).
    """
    x, candidates = as_matrix("x", x), as_matrix("candidates", candidates)
    error = as_vector("error", error, len(x))
    gram = kernel.gram(x, candidates)
    inner = gram.T @ gram + positive("ridge", ridge) * np.eye(len(candidates))
    return np.abs(np.linalg.solve(inner, gram.T @ error))


def doubly_robust(error, weights, guess_observed, guess_all) -> float:
    """Return mean(guess over all) + mean(weights (error - guess)): right if either one is.

    Parameters: error, weights, guess_observed (n,), at the observed pairs; guess_all (N,).
    With guesses of 0 it is the inverse-propensity estimate. Cost: O(N).
    """
    error = as_vector("error", error)
    weights, guess = (
        as_vector("weights", weights, error.size),
        as_vector("guess_observed", guess_observed, error.size),
    )
    return float(np.mean(as_vector("guess_all", guess_all)) + np.mean(weights * (error - guess)))


def factorise(
    user,
    item,
    rating,
    weights,
    users: int,
    items: int,
    rng,
    rank: int = 3,
    ridge: float = 1.0,
    sweeps: int = 15,
) -> np.ndarray:
    """Return predicted ratings (users, items): mean + P Q^T by weighted alternating ridge.

    min sum w (r - m - p_u . q_i)^2 + ridge (|P|^2 + |Q|^2), m being the weighted mean rating.

    Parameters: user, item (n,), ints; rating, weights (n,); rng; rank >= 1; ridge > 0; sweeps >= 1.
    Cost: O(sweeps (n rank^2 + (users + items) rank^3)).
    """
    rating = as_vector("rating", rating)
    weights = as_vector("weights", weights, rating.size)
    users, items = integer("users", users, 1), integer("items", items, 1)
    user = _indices("user", user, rating.size, users)
    item = _indices("item", item, rating.size, items)
    rank, ridge, rng = integer("rank", rank, 1), positive("ridge", ridge), as_rng(rng)
    if weights.min() < 0 or weights.sum() <= 0:
        raise ValueError("weights must be at least 0 and not all 0")
    middle = np.average(rating, weights=weights)
    left, right = rng.normal(0, 0.5, (users, rank)), rng.normal(0, 0.5, (items, rank))
    centred = rating - middle
    for _ in range(integer("sweeps", sweeps, 1)):
        left = _half_sweep(user, right[item], centred, weights, users, ridge)
        right = _half_sweep(item, left[user], centred, weights, items, ridge)
    return middle + left @ right.T


def _indices(name, value, length, count):
    array = np.asarray(value)
    if array.shape != (length,) or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {length} whole numbers, got {array.dtype} {array.shape}")
    if length and not (array.min() >= 0 and array.max() < count):
        raise ValueError(f"{name} must lie between 0 and {count - 1}")
    return array


def _half_sweep(group, other, target, weights, count, ridge):
    """Weighted ridge regressions of the target on the other side's factors, one a group."""
    rank = other.shape[1]
    inner, outer = np.zeros((count, rank, rank)), np.zeros((count, rank))
    np.add.at(inner, group, weights[:, None, None] * other[:, :, None] * other[:, None, :])
    np.add.at(outer, group, (weights * target)[:, None] * other)
    return np.linalg.solve(inner + ridge * np.eye(rank), outer[:, :, None])[:, :, 0]
