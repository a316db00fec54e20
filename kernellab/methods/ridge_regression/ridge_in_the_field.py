"""Kernel methods on messy signals: a quasar's echo, a phone's position, the edges of a picture.

Three applied papers built on one step, the similarity exp(-distance^2 / (2 h^2)) between noisy
measurement vectors, each with a simulator whose truth is known and a baseline to beat. The
sections:

1. Time delays between two light curves (Al Otaibi et al. 2016)
2. Positions from radio fingerprints (Ng et al. 2023)
3. Edges by a support vector machine (Irandoust-Pakchin et al. 2017)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from kernellab.compute import compiled
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    integer,
    nonnegative,
    positive,
    same_length,
)
from kernellab.compute.elementary import exp
from kernellab.compute.kernels import Gaussian

# ------------------------------------------------------------------------------------------------
# 1. Time delays between two light curves
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LightCurve:
    """Brightness readings of one image: times (n,) in days, values and errors (n,) in magnitudes.

    Times ascend; errors are standard deviations and positive.
    """

    times: np.ndarray
    values: np.ndarray
    errors: np.ndarray

    def __post_init__(self):
        times = as_vector("times", self.times)
        if np.any(np.diff(times) < 0):
            raise ValueError("times must ascend, got a later reading before an earlier one")
        values = as_vector("values", self.values, length=times.size)
        errors = as_vector("errors", self.errors, length=times.size)
        if errors.min() <= 0:
            raise ValueError(f"errors must be positive, got {errors.min():g}")
        for name, array in (("times", times), ("values", values), ("errors", errors)):
            object.__setattr__(self, name, array)


def damped_random_walk(times, sd: float, memory: float, rng) -> np.ndarray:
    """Return a quasar's brightness at ``times``: a stationary process that forgets exponentially.

        Cov(x(s), x(t)) = sd^2 exp(-|s - t| / memory)

    Parameters: times (n,) ascending, days; sd > 0 (magnitudes); memory > 0 (days); rng, a Generator
    or seed. Returns (n,). Cost: O(n).
    """
    times = as_vector("times", times)
    if np.any(np.diff(times) < 0):
        raise ValueError("times must ascend, got a later time before an earlier one")
    sd, memory = positive("sd", sd), positive("memory", memory)
    kept = np.exp(-np.diff(times) / memory)
    shocks = sd * as_rng(rng).standard_normal(times.size)
    walk = np.empty(times.size)
    walk[0] = shocks[0]
    for i, keep in enumerate(kept):  # exact: a step of any length is one Gaussian draw
        walk[i + 1] = keep * walk[i] + np.sqrt(1 - keep**2) * shocks[i + 1]
    return walk


def simulate_quasar(
    delay: float,
    rng,
    *,
    nights: int = 80,
    span: float = 1200.0,
    gap: float = 0.3,
    noise: float = 0.01,
    offset: float = 0.3,
    sd: float = 0.2,
    memory: float = 300.0,
) -> tuple[LightCurve, LightCurve]:
    """Simulate readings of two images of one quasar, x_B(t) = offset + x_A(t - delay).

    Both images are seen in the same nights, at irregular times; in every year a share ``gap`` of
    the days has none, because the Sun stands too near.

    Parameters
    ----------
    delay : days by which image B comes later (any sign)
    rng : Generator or seed
    nights : readings of each image, at least 4
    span : days from the first season to the last
    gap : share of each year without readings, 0 to 0.9
    noise : standard deviation of a reading (magnitudes; 0.01 is about one percent of the light)
    offset : B's magnitude minus A's
    sd, memory : of the damped random walk (magnitudes, days)

    Returns: the curves A and B. Raises ValueError for a setting outside these limits.
    Cost: O(nights).
    """
    if not np.isfinite(delay) or not np.isfinite(offset):
        raise ValueError(f"delay and offset must be finite, got {delay} and {offset}")
    nights = integer("nights", nights, low=4)
    span, gap = positive("span", span), between("gap", gap, 0, 0.9)
    noise, rng = nonnegative("noise", noise), as_rng(rng)
    days = rng.uniform(0, span, 20 * nights + 200)
    times = np.sort(days[(days % 365.25) / 365.25 >= gap][:nights])
    if times.size < nights:
        raise ValueError(f"gap must leave days to observe within span, got {gap} of {span} days")
    moments = np.concatenate([times, times - delay])  # when the light of each reading set out
    order = np.argsort(moments)
    light = np.empty(moments.size)
    light[order] = damped_random_walk(moments[order], sd, memory, rng)
    light += noise * rng.standard_normal(light.size)
    errors = np.full(nights, max(noise, 1e-6))
    a, b = light[:nights], light[nights:] + offset
    return LightCurve(times, a, errors), LightCurve(times, b, errors)


@compiled(
    "void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1],"
    " float64[::1], float64, float64[:,::1])",
    fastmath={"contract"},
)
def _cross_losses(ta, xa, wa, tb, xb, wb, delays, bandwidth, out):
    """Fill out (D, 3) with mean squared residual, offset and share compared for each trial delay.

    One similarity serves both directions: e_ij = exp(-(tb_j - delay - ta_i)^2 / (2 h^2)).
    """
    n, m = ta.size, tb.size
    scale = 0.5 / bandwidth**2
    similar = np.empty(n)
    top_a, bottom_a, mass_a = np.empty(n), np.empty(n), np.empty(n)
    residual, weight = np.empty(n + m), np.empty(n + m)
    everything = wa.sum() + wb.sum()
    for d in range(delays.size):
        top_a[:] = 0.0
        bottom_a[:] = 0.0
        mass_a[:] = 0.0
        for j in range(m):
            t = tb[j] - delays[d]
            for i in range(n):  # vectorises
                similar[i] = exp(-scale * (t - ta[i]) ** 2)
            top = bottom = mass = 0.0
            for i in range(n):
                e = similar[i]
                top += e * wa[i] * xa[i]
                bottom += e * wa[i]
                mass += e
                top_a[i] += e * wb[j] * xb[j]
                bottom_a[i] += e * wb[j]
                mass_a[i] += e
            residual[n + j] = xb[j] - top / bottom if bottom > 0 else 0.0
            weight[n + j] = wb[j] * mass / (1 + mass)
        for i in range(n):
            residual[i] = top_a[i] / bottom_a[i] - xa[i] if bottom_a[i] > 0 else 0.0
            weight[i] = wa[i] * mass_a[i] / (1 + mass_a[i])
        total = offset = loss = 0.0
        for k in range(n + m):
            total += weight[k]
            offset += weight[k] * residual[k]
        offset = offset / total if total > 0 else 0.0
        for k in range(n + m):
            loss += weight[k] * (residual[k] - offset) ** 2
        out[d, 0] = loss / total if total > 0 else 0.0
        out[d, 1] = offset
        out[d, 2] = total / everything


def delay_losses(a, b, delays, bandwidth: float, *, penalise_gaps: bool = True) -> np.ndarray:
    """Return how badly each image predicts the other, (D,), for every trial delay.

    The Nadaraya-Watson average of curve A at time t is

        xhat_A(t) = sum_i w_i x_i / sum_i w_i,   w_i = exp(-(t - t_i)^2 / (2 h^2)) / s_i^2.

    Undo the delay, predict each reading of B from A and each of A from B, and take off the offset M
    that fits best (weighted least squares). A reading counts with weight m / (1 + m) / s^2, where m
    sums the similarities to the other curve's readings: in a gap there is nothing to compare with.
    The loss is the weighted mean of the squared residuals, divided by the share of all weight that
    could be compared, because a delay that moves readings into gaps must not win by silence.

    Parameters
    ----------
    a, b : LightCurve
    delays : (D,) trial delays in days; positive if B comes later
    bandwidth : h > 0 in days
    penalise_gaps : False leaves that division out, as a warning example

    Returns: (D,), in magnitudes^2. Raises ValueError if at some delay no reading of one curve comes
    within reach of the other. Cost: O(D n m).
    Paper: kernel-regression-estimates-of-time-delays (Al Otaibi et al. 2016, arXiv:1508.03439)
    """
    squares, _, share = _scan(a, b, delays, bandwidth).T
    return squares / share if penalise_gaps else squares.copy()


def compared_share(a: LightCurve, b: LightCurve, delays, bandwidth: float) -> np.ndarray:
    """Return the share of the readings' weight with a counterpart nearby, (D,), in (0, 1]."""
    return _scan(a, b, delays, bandwidth)[:, 2].copy()


def offset_at(a: LightCurve, b: LightCurve, delay: float, bandwidth: float) -> float:
    """Return the offset M of B over A that fits best at one delay, in magnitudes. Cost: O(n m)."""
    return float(_scan(a, b, [delay], bandwidth)[0, 1])


def _scan(a, b, delays, bandwidth) -> np.ndarray:
    for name, curve in (("a", a), ("b", b)):
        if not isinstance(curve, LightCurve):
            raise ValueError(f"{name} must be a LightCurve, got {type(curve).__name__}")
    delays, bandwidth = as_vector("delays", delays), positive("bandwidth", bandwidth)
    out = np.empty((delays.size, 3))
    weights = a.errors**-2, b.errors**-2
    _cross_losses(
        a.times, a.values, weights[0], b.times, b.values, weights[1], delays, bandwidth, out
    )
    if out[:, 2].min() <= 0:
        lost = delays[np.argmin(out[:, 2])]
        raise ValueError(
            f"delays must let the curves overlap within the bandwidth, got {lost:g} days, where no "
            "reading of one is near a reading of the other"
        )
    return out


def interpolation_losses(a: LightCurve, b: LightCurve, delays) -> np.ndarray:
    """Return the same score with straight lines between readings instead of kernel averages.

    Readings outside the other curve's range do not count. Returns (D,). The baseline.
    Cost: O(D (n + m)).
    """
    delays = as_vector("delays", delays)[:, None]
    back, forth = b.times - delays, a.times + delays
    residual = np.hstack(
        [
            np.interp(forth, b.times, b.values) - a.values,
            b.values - np.interp(back, a.times, a.values),
        ]
    )
    inside = np.hstack(
        [
            (forth >= b.times[0]) & (forth <= b.times[-1]),
            (back >= a.times[0]) & (back <= a.times[-1]),
        ]
    )
    weights = inside * np.concatenate([a.errors**-2, b.errors**-2])
    total = weights.sum(axis=1)
    if total.min() == 0:
        lost = delays[np.argmin(total), 0]
        raise ValueError(f"delays must let the curves overlap, got {lost:g} days")
    offset = np.sum(weights * residual, axis=1) / total
    return np.sum(weights * (residual - offset[:, None]) ** 2, axis=1) / total


def estimate_delay(pairs: Sequence[tuple[LightCurve, LightCurve]], delays, bandwidth) -> float:
    """Return the trial delay with the smallest loss, added up over all pairs of curves.

    Pairs are the same quasar in other colours or at radio wavelengths: they share the delay, and
    each has an offset of its own.

    Parameters: pairs, at least one (A, B); delays (D,); bandwidth > 0, or one a pair.
    Returns days. Cost: O(D n m) a pair.
    Paper: kernel-regression-estimates-of-time-delays (Al Otaibi et al. 2016, arXiv:1508.03439)
    """
    if len(pairs) == 0:
        raise ValueError("pairs must hold at least one pair of curves, got none")
    delays = as_vector("delays", delays)
    widths = np.broadcast_to(bandwidth, len(pairs))
    total = 0.0
    for (a, b), h in zip(pairs, widths, strict=True):
        # In units of the readings' errors, or a noisy pair would drown a precise one.
        unit = (np.mean(a.errors**2) + np.mean(b.errors**2)) / 2
        total = total + delay_losses(a, b, delays, h) / unit
    return float(delays[np.argmin(total)])


def leave_one_out_bandwidth(curves: Sequence[LightCurve], bandwidths) -> float:
    """Return the bandwidth that predicts every reading best from the others of its own curve.

    Parameters: curves, at least one; bandwidths (H,) > 0, days. Cost: O(H n^2).
    """
    bandwidths = as_vector("bandwidths", bandwidths)
    if len(curves) == 0:
        raise ValueError("curves must hold at least one curve, got none")
    errors = np.zeros(bandwidths.size)
    for curve in curves:
        apart = (curve.times[:, None] - curve.times) ** 2
        np.fill_diagonal(apart, np.inf)
        apart -= apart.min(axis=1, keepdims=True)  # the nearest reading always has weight 1
        for h, bandwidth in enumerate(bandwidths):
            w = np.exp(-apart / (2 * positive("bandwidths", bandwidth) ** 2)) / curve.errors**2
            errors[h] += np.mean(((w @ curve.values) / w.sum(axis=1) - curve.values) ** 2)
    return float(bandwidths[np.argmin(errors)])


def resampled_delays(
    pairs: Sequence[tuple[LightCurve, LightCurve]], delays, bandwidth, draws: int, rng
) -> np.ndarray:
    """Return (draws,) delays estimated after adding each reading's error to it once more.

    Their spread is the paper's kind of error bar. Cost: ``draws`` scans.
    Paper: kernel-regression-estimates-of-time-delays (Al Otaibi et al. 2016, arXiv:1508.03439)
    """
    draws, rng = integer("draws", draws, low=1), as_rng(rng)

    def shaken(curve):
        values = curve.values + curve.errors * rng.standard_normal(curve.values.size)
        return LightCurve(curve.times, values, curve.errors)

    return np.array(
        [
            estimate_delay([(shaken(a), shaken(b)) for a, b in pairs], delays, bandwidth)
            for _ in range(draws)
        ]
    )


# ------------------------------------------------------------------------------------------------
# 2. Positions from radio fingerprints
# ------------------------------------------------------------------------------------------------

PATH_LOSS = 2.2  # exponent of the fall of power with distance, typical of open indoor space
AT_ONE_METRE = -59.0  # dBm, what a beacon is calibrated to


@dataclass(frozen=True, eq=False)
class Building:
    """A floor with beacons, of which the low ones are shadowed by whoever carries the phone.

    Attributes
    ----------
    size : (2,) width and depth in metres
    beacons : (N, 2) positions in metres
    heights : (N,) metres above the phone
    exposed : (N,) 1 for beacons at table height, near 0 for those at the ceiling
    waves : (N, W, 3) random waves whose sum is the fixed shadowing of walls and shelves
    shadowing : standard deviation of that shadowing, dB
    """

    size: np.ndarray
    beacons: np.ndarray
    heights: np.ndarray
    exposed: np.ndarray
    waves: np.ndarray
    shadowing: float

    def strengths(self, positions, facing, body_loss: float) -> np.ndarray:
        """Return noiseless strengths in dBm, (Q, N), at (Q, 2) positions.

        The body takes ``body_loss`` dB from beacons behind it: those more than 90 degrees away
        from ``facing``, (Q,) or one angle in radians; fully from the low ones, a tenth from those
        at the ceiling.
        """
        positions = as_matrix("positions", positions, columns=2)
        facing = np.broadcast_to(np.asarray(facing, float), len(positions))
        away = self.beacons - positions[:, None]
        distance = np.sqrt(np.sum(away**2, axis=2) + self.heights**2)
        phases = positions @ self.waves[:, :, :2].transpose(0, 2, 1) + self.waves[:, None, :, 2]
        walls = self.shadowing * np.sqrt(2 / self.waves.shape[1]) * np.cos(phases).sum(axis=2).T
        ahead = away[..., 0] * np.cos(facing)[:, None] + away[..., 1] * np.sin(facing)[:, None]
        body = nonnegative("body_loss", body_loss) * self.exposed * (ahead < 0)
        return AT_ONE_METRE - 10 * PATH_LOSS * np.log10(np.maximum(distance, 0.5)) + walls - body


def random_building(beacons: int, rng, *, low_share: float = 0.5, shadowing: float = 3.0):
    """Place ``beacons`` at random on a 20 m by 12 m floor, a share of them at table height.

    Parameters: beacons >= 2; rng; low_share in [0, 1]; shadowing >= 0 (dB). Returns a Building.
    """
    beacons, rng = integer("beacons", beacons, low=2), as_rng(rng)
    low = np.arange(beacons) < round(between("low_share", low_share, 0, 1) * beacons)
    size = np.array([20.0, 12.0])
    # Waves of 4 to 12 metres: what shelves and walls do changes over a few metres.
    numbers = 2 * np.pi / rng.uniform(4, 12, (beacons, 12))
    angles, phases = rng.uniform(0, 2 * np.pi, (2, beacons, 12))
    waves = np.stack([numbers * np.cos(angles), numbers * np.sin(angles), phases], axis=2)
    return Building(
        size,
        rng.uniform(0, 1, (beacons, 2)) * size,
        np.where(low, 0.0, 2.0),
        np.where(low, 1.0, 0.1),
        waves,
        nonnegative("shadowing", shadowing),
    )


def survey_grid(building: Building, spacing: float = 1.0) -> np.ndarray:
    """Return the (M, 2) survey points in metres, cell centres ``spacing`` apart."""
    spacing = between("spacing", spacing, 0.25, 6.0)
    x, y = (np.arange(spacing / 2, side, spacing) for side in building.size)
    return np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2)


def survey(building, points, facings, body_loss: float, noise: float, rng) -> np.ndarray:
    """Record the fingerprints: strengths in dBm, (P, M, N), at each point in each of P poses.

    Parameters: points (M, 2); facings (P,), the way the body faces in each pose (radians);
    body_loss and noise in dB, >= 0; rng.
    """
    points, facings = as_matrix("points", points, columns=2), as_vector("facings", facings)
    noise, rng = nonnegative("noise", noise), as_rng(rng)
    clean = np.array([building.strengths(points, angle, body_loss) for angle in facings])
    return clean + noise * rng.standard_normal(clean.shape)


def pose_sensitivity(by_pose) -> np.ndarray:
    """Return for each beacon how much of its signal is the pose's and not the place's, (N,).

        v_n = mean over points of (variance across poses) / variance over points of (pose mean)

    Parameters: by_pose (P, M, N) strengths in dBm, P >= 2 poses, M >= 2 points. A beacon that is
    the same everywhere tells nothing: v = infinity. Cost: O(P M N).
    Paper: a-kernel-method-to-nonlinear-location (Ng et al. 2023, arXiv:2204.03724)
    """
    by_pose = _as_surveys(by_pose)
    nuisance = by_pose.var(axis=0).mean(axis=0)
    signal = by_pose.mean(axis=0).var(axis=0)
    return np.divide(nuisance, signal, out=np.full(signal.size, np.inf), where=signal > 0)


def select_beacons(by_pose, keep: int) -> np.ndarray:
    """Return the indices, ascending, of the ``keep`` beacons least sensitive to the pose.

    Parameters: by_pose (P, M, N); keep in 1..N. Cost: O(P M N).
    Paper: a-kernel-method-to-nonlinear-location (Ng et al. 2023, arXiv:2204.03724)
    """
    sensitivity = pose_sensitivity(by_pose)
    keep = integer("keep", keep, low=1, high=sensitivity.size)
    return np.sort(np.argsort(sensitivity, kind="stable")[:keep])


def similarities(queries, fingerprints, bandwidth: float) -> np.ndarray:
    """Return exp(-(|r - r_g|^2 - nearest) / (2 s^2)), (Q, M): 1 at the most similar fingerprint.

    Taking off each query's smallest squared distance changes no weighted average, and keeps a
    narrow kernel from rounding to 0 everywhere. Cost: O(Q M N).
    """
    apart = cdist(*_as_queries(queries, fingerprints), "sqeuclidean")
    apart -= apart.min(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        return np.exp(-apart / 2 / positive("bandwidth", bandwidth) / bandwidth)


def locate(queries, fingerprints, points, neighbours: int, bandwidth: float) -> np.ndarray:
    """Return positions (Q, 2): the kernel-weighted mean of the most similar survey points.

        p = sum_g k(r, r_g) p_g / sum_g k(r, r_g)   over the ``neighbours`` largest k

    Parameters
    ----------
    queries : (Q, N) strengths in dBm, of the kept beacons
    fingerprints : (M, N), of the same beacons
    points : (M, 2) where they were recorded, metres
    neighbours : k in 1..M
    bandwidth : s > 0 of the Gaussian kernel, dB; s -> 0 is the nearest fingerprint alone,
        s -> infinity the plain mean of k neighbours

    Raises ValueError for other shapes. Cost: O(Q M N).
    Paper: a-kernel-method-to-nonlinear-location (Ng et al. 2023, arXiv:2204.03724)
    """
    weights = similarities(queries, fingerprints, bandwidth)
    return _mean_of_nearest(queries, fingerprints, points, neighbours, weights)


def locate_by_neighbours(queries, fingerprints, points, neighbours: int) -> np.ndarray:
    """Return positions (Q, 2): the plain mean of the k most similar survey points. The baseline."""
    weights = np.ones((len(queries), len(fingerprints)))
    return _mean_of_nearest(queries, fingerprints, points, neighbours, weights)


def _mean_of_nearest(queries, fingerprints, points, neighbours, weights) -> np.ndarray:
    queries, fingerprints = _as_queries(queries, fingerprints)
    points = as_matrix("points", points, columns=2, rows=len(fingerprints))
    neighbours = integer("neighbours", neighbours, low=1, high=len(points))
    apart = cdist(queries, fingerprints, "sqeuclidean")
    nearest = np.argpartition(apart, neighbours - 1, axis=1)[:, :neighbours]
    chosen = np.take_along_axis(weights, nearest, axis=1)
    return np.einsum("qk,qkd->qd", chosen, points[nearest]) / chosen.sum(axis=1, keepdims=True)


def _as_queries(queries, fingerprints):
    fingerprints = as_matrix("fingerprints", fingerprints)
    return as_matrix("queries", queries, columns=fingerprints.shape[1]), fingerprints


def _as_surveys(by_pose) -> np.ndarray:
    by_pose = np.asarray(by_pose, dtype=float)
    if by_pose.ndim != 3 or by_pose.shape[0] < 2 or by_pose.shape[1] < 2 or by_pose.size == 0:
        raise ValueError(
            "by_pose must hold strengths (poses, points, beacons) of at least 2 poses and 2 "
            f"points, got shape {by_pose.shape}"
        )
    if not np.isfinite(by_pose).all():
        raise ValueError("by_pose must be finite, got NaN or infinity")
    return by_pose


# ------------------------------------------------------------------------------------------------
# 3. Edges by a support vector machine
# ------------------------------------------------------------------------------------------------


def edge_features(image, smoothing: float = 1.0) -> np.ndarray:
    """Return three numbers a pixel, (h, w, 3): what a small window says about an edge there.

        |I(x+1) - I(x-1)|,   |I(y+1) - I(y-1)|,   |sum of 4 neighbours - 4 I|

    of the picture after a Gaussian blur of ``smoothing`` pixels (0: none). For grey values in
    [0, 1] the first two lie in [0, 1]; the third, the second difference, in [0, 4]. At the border
    the picture goes on as its last pixel.

    Parameters: image (h, w), at least 3 by 3. Cost: O(pixels).
    Paper: gaussian-three-dimensional-kernel-svm (Irandoust-Pakchin et al. 2017, arXiv:1710.01260)
    """
    image = _smoothed(image, smoothing)
    p = np.pad(image, 1, mode="edge")
    left, right, above, below = p[1:-1, :-2], p[1:-1, 2:], p[:-2, 1:-1], p[2:, 1:-1]
    second = left + right + above + below - 4 * image
    return np.stack([np.abs(right - left), np.abs(below - above), np.abs(second)], axis=2)


def sobel_gradient(image, smoothing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the horizontal and vertical Sobel derivative, (h, w) each, per pixel. O(pixels)."""
    image = _smoothed(image, smoothing)
    return tuple(ndimage.sobel(image, axis=axis, mode="nearest") / 8 for axis in (1, 0))


def thin(strength, gradient) -> np.ndarray:
    """Keep a pixel's strength only where neither neighbour along the gradient is stronger.

    Parameters: strength (h, w); gradient, the pair (horizontal, vertical), (h, w) each; its
    direction is rounded to 0, 45, 90 or 135 degrees. Returns (h, w), -infinity where suppressed.
    Cost: O(pixels).
    """
    strength = as_matrix("strength", strength)
    gx, gy = (as_matrix("gradient", g, *reversed(strength.shape)) for g in gradient)
    sector = np.round(np.arctan2(gy, gx) / (np.pi / 4)).astype(int) % 4
    p = np.pad(strength, 1, mode="constant", constant_values=-np.inf)
    h, w = strength.shape
    kept = np.zeros(strength.shape, bool)
    for number, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = p[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]
        behind = p[1 - dy : 1 - dy + h, 1 - dx : 1 - dx + w]
        # Of two equal neighbours one stays: strict on one side only.
        kept |= (sector == number) & (strength >= ahead) & (strength > behind)
    return np.where(kept, strength, -np.inf)


def canny_edges(image, smoothing: float, low: float, high: float) -> np.ndarray:
    """Return a boolean edge map by Canny's recipe, the classical baseline.

    Smooth, take gradients, thin, and keep chains of pixels above ``low`` that contain one above
    ``high`` (strengths are Sobel's, per pixel). Cost: O(pixels).
    """
    low = between("low", low, 0, positive("high", high))
    gradient = sobel_gradient(image, smoothing)
    thinned = thin(np.hypot(*gradient), gradient)
    chains, count = ndimage.label(thinned > low, structure=np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[chains[thinned > high]] = True
    strong[0] = False
    return strong[chains]


def edge_score(found, truth) -> float:
    """Return F1, the harmonic mean of precision and recall, forgiving one pixel.

    A found pixel is right if a true one is among its 8 neighbours or itself, and a true one is
    recalled if a found one is. Parameters: boolean maps (h, w). Nothing found scores 0.
    """
    found, truth = (np.asarray(array, bool) for array in (found, truth))
    if found.ndim != 2 or found.shape != truth.shape:
        raise ValueError(
            f"found and truth must be maps of one shape (h, w), got {found.shape}, {truth.shape}"
        )
    if not truth.any():
        raise ValueError("truth must mark at least one pixel, got none")
    if not found.any():
        return 0.0
    near = np.ones((3, 3))
    precision = np.mean(ndimage.binary_dilation(truth, near)[found])
    recall = np.mean(ndimage.binary_dilation(found, near)[truth])
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def shapes_picture(size: int, blur: float, noise: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw a disc, a tilted square and a triangle of random greys; return picture and true edges.

    Parameters: size of a side, at least 32; blur and noise >= 0 (pixels; share of white); rng.
    Returns image (size, size) and truth, boolean: pixels whose right or lower neighbour belongs to
    another shape.
    """
    size, rng = integer("size", size, low=32), as_rng(rng)
    y, x = np.mgrid[:size, :size] / size
    shape = np.zeros((size, size), int)
    turn = rng.uniform(0, np.pi / 2)
    u, v = x - 0.68, y - 0.35
    u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    shape[np.hypot(x - 0.3, y - 0.33) < rng.uniform(0.16, 0.22)] = 1
    shape[np.maximum(np.abs(u), np.abs(v)) < rng.uniform(0.14, 0.19)] = 2
    shape[(y < 0.92) & (y - 0.6 > rng.uniform(1, 1.8) * np.abs(x - 0.5))] = 3
    greys = np.array([0.5, *(0.5 + rng.choice([-1, 1], 3) * rng.uniform(0.15, 0.45, 3))])
    image = ndimage.gaussian_filter(greys[shape], nonnegative("blur", blur), mode="nearest")
    truth = np.zeros(shape.shape, bool)
    truth[:, :-1] |= shape[:, 1:] != shape[:, :-1]
    truth[:-1] |= shape[1:] != shape[:-1]
    return image + nonnegative("noise", noise) * rng.standard_normal(image.shape), truth


def training_pixels(count: int, smoothing: float, rng, *, least_height: float = 0.1, noise=0.03):
    """Return features (count, 3) and labels (count,) of pixels from tiny synthetic patches.

    Half are edges (+1): the middle of a straight step of random angle, height and softness. The
    others (-1) are flat, on a gentle ramp, or two to four pixels beside a step; all carry noise.

    Parameters: count >= 4; smoothing as in ``edge_features``; rng; least_height in (0, 1], of the
    steps; noise, the largest standard deviation.
    Paper: gaussian-three-dimensional-kernel-svm (Irandoust-Pakchin et al. 2017, arXiv:1710.01260)
    """
    count, rng = integer("count", count, low=4), as_rng(rng)
    least = between("least_height", least_height, 1e-3, 1)
    noise = nonnegative("noise", noise)
    y, x = np.mgrid[-6:7, -6:7]
    features, labels = np.empty((count, 3)), np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    for i, label in enumerate(labels):
        angle, height = rng.uniform(0, 2 * np.pi), rng.uniform(least, 1)
        across = x * np.cos(angle) + y * np.sin(angle)
        kind = rng.integers(3)
        off = rng.choice([-1, 1]) * rng.uniform(2, 4)
        place = rng.uniform(-0.5, 0.5) if label > 0 else off
        patch = height * (across > place)
        if label < 0 and kind == 0:
            patch = np.zeros(x.shape)
        elif label < 0 and kind == 1:
            patch = across * rng.uniform(0, 0.02)
        patch = ndimage.gaussian_filter(patch.astype(float), rng.uniform(0, 1.5), mode="nearest")
        patch = patch + rng.uniform(0, noise) * rng.standard_normal(x.shape)
        features[i] = edge_features(patch, smoothing)[6, 6]
    return features, labels


@compiled(
    "int64(float64[:,::1], float64[::1], float64, float64, int64, float64[::1], float64[::1])"
)
def _smo(gram, labels, cost, tolerance, max_updates, dual, gradient):
    """Move the pair that violates optimality most, until none does; return the updates made.

    ``gradient`` is Q dual - 1 with Q_ij = y_i y_j k_ij and is kept up to date; dual starts at 0.
    """
    n = labels.size
    for update in range(max_updates):
        highest, lowest, i, j = -np.inf, np.inf, -1, -1
        for t in range(n):
            slope = -labels[t] * gradient[t]
            rises = dual[t] < cost if labels[t] > 0 else dual[t] > 0
            falls = dual[t] > 0 if labels[t] > 0 else dual[t] < cost
            if rises and slope > highest:
                highest, i = slope, t
            if falls and slope < lowest:
                lowest, j = slope, t
        if highest - lowest < tolerance:
            return update
        # The step along y_i e_i - y_j e_j keeps sum_i dual_i y_i; its best length, then the box.
        curvature = max(gram[i, i] + gram[j, j] - 2 * gram[i, j], 1e-12)
        step = (highest - lowest) / curvature
        step = min(step, cost - dual[i] if labels[i] > 0 else dual[i])
        step = min(step, dual[j] if labels[j] > 0 else cost - dual[j])
        dual[i] += labels[i] * step
        dual[j] -= labels[j] * step
        for t in range(n):
            gradient[t] += labels[t] * step * (gram[i, t] - gram[j, t])
    return max_updates


@dataclass(frozen=True, eq=False)
class SupportVectorMachine:
    """A classifier sign(sum_i a_i y_i k(x_i, x) + b) with a Gaussian kernel.

    Attributes
    ----------
    kernel : Gaussian
    support : (S, d) the points with a_i > 0
    coefficients : (S,) a_i y_i
    offset : b
    dual : (n,) all a_i
    objective : the dual objective, sum_i a_i - a^T Q a / 2
    violation : how far the worst pair of points is from optimality (KKT); 0 is optimal
    updates : pairs moved
    """

    kernel: Gaussian
    support: np.ndarray
    coefficients: np.ndarray
    offset: float
    dual: np.ndarray
    objective: float
    violation: float
    updates: int

    def decide(self, points) -> np.ndarray:
        """Return the decision values (m,) of (m, d) points; positive means +1. O(m S d)."""
        points = as_matrix("points", points, columns=self.support.shape[1])
        return self.kernel.matvec(points, self.support, self.coefficients) + self.offset


def fit_svm(
    points,
    labels,
    bandwidth: float,
    cost: float,
    *,
    tolerance: float = 1e-4,
    max_updates: int = 100_000,
) -> SupportVectorMachine:
    """Train a support vector machine by sequential minimal optimisation (two variables a step).

        max sum_i a_i - 1/2 sum_ij a_i a_j y_i y_j k(x_i, x_j)
        with 0 <= a_i <= cost and sum_i a_i y_i = 0

    Parameters
    ----------
    points : (n, d)
    labels : (n,) of +1 and -1, both present
    bandwidth : of the Gaussian kernel, > 0, in the units of the points
    cost : C > 0, the price of a point on the wrong side
    tolerance : stop when the worst violating pair is within it
    max_updates : stop after so many pairs in any case (0: untrained)

    Raises ValueError for other labels or a single class. Cost: O(n^2 d) for the Gram matrix and
    O(n) an update.
    Paper: gaussian-three-dimensional-kernel-svm (Irandoust-Pakchin et al. 2017, arXiv:1710.01260)
    """
    points, labels = as_matrix("points", points), as_vector("labels", labels)
    n = same_length("points", points, "labels", labels)
    if not (np.isin(labels, (-1, 1)).all() and np.unique(labels).size == 2):
        raise ValueError("labels must be +1 and -1, both present, got others or one class only")
    kernel, cost = Gaussian(positive("bandwidth", bandwidth)), positive("cost", cost)
    gram, dual, gradient = kernel.gram(points), np.zeros(n), -np.ones(n)
    updates = _smo(
        gram, labels, cost, positive("tolerance", tolerance),
        integer("max_updates", max_updates, low=0), dual, gradient,
    )  # fmt: skip
    slope = -labels * gradient
    highest = slope[np.where(labels > 0, dual < cost, dual > 0)].max()
    lowest = slope[np.where(labels > 0, dual > 0, dual < cost)].min()
    held = dual > 0
    if not held.any():  # untrained: say "no" everywhere
        held[0] = True
    return SupportVectorMachine(
        kernel,
        points[held],
        (dual * labels)[held],
        float(highest + lowest) / 2,
        dual,
        float(dual.sum() - 0.5 * dual @ (gradient + 1)),
        float(max(highest - lowest, 0)),
        int(updates),
    )


def svm_edges(machine: SupportVectorMachine, image, smoothing: float) -> tuple:
    """Return the decision value of every pixel, and the same thinned (-infinity: suppressed).

    Both (h, w); an edge is where the second is positive. Cost: O(pixels S).
    Paper: gaussian-three-dimensional-kernel-svm (Irandoust-Pakchin et al. 2017, arXiv:1710.01260)
    """
    features = edge_features(image, smoothing)
    strength = machine.decide(features.reshape(-1, 3)).reshape(features.shape[:2])
    return strength, thin(strength, sobel_gradient(image, smoothing))


def best_threshold(thinned, truth, thresholds) -> tuple[float, float]:
    """Return the threshold on a thinned strength with the best F1 against the truth, and that F1.

    A baseline's luxury: nobody knows the truth when choosing. Cost: O(T pixels).
    """
    thresholds = as_vector("thresholds", thresholds)
    scores = [edge_score(thinned > threshold, truth) for threshold in thresholds]
    best = int(np.argmax(scores))
    return float(thresholds[best]), scores[best]


def _smoothed(image, smoothing) -> np.ndarray:
    image = as_matrix("image", image, min_rows=3)
    if image.shape[1] < 3:
        raise ValueError(f"image must be at least 3 by 3 pixels, got shape {image.shape}")
    smoothing = nonnegative("smoothing", smoothing)
    return ndimage.gaussian_filter(image, smoothing, mode="nearest") if smoothing else image
