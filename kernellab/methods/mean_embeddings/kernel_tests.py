"""Tests whose statistic is a witness: a learned function that sees how data and model differ.

Every test here asks whether data came from a model. It learns the function that differs most
between the two, takes how much it differs as its statistic, and needs an honest threshold for it.
The sections differ in what is known of the model, and in where the threshold comes from:

1. Rates with error bars, and p-values (what all tests share)
2. A reference sample: the log-ratio, learned; thresholds from toys (Grosso et al. 2023)
3. A stream of pairs: independence as a betting game, with no threshold to choose (Podkopaev et al.
   2023), beside the batch test that it replaces
4. A density without its constant, with modes far apart: the Stein test, after moves that the model
   does not notice (Liu et al. 2023)
5. A law of strings, known by ratios: a Stein test from edits (Baum et al. 2023)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import pdist
from scipy.special import expit, logsumexp
from scipy.stats import binomtest, chi2, norm

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
    symmetric,
)
from kernellab.compute.elementary import exp
from kernellab.compute.linalg import cholesky
from kernellab.compute.lowrank import pivoted_cholesky
from kernellab.compute.mmd import PermutationTest
from kernellab.compute.stein import ksd_squared, stein_bootstrap, stein_gram

# ------------------------------------------------------------------------------------------------
# 1. Rates with error bars, and p-values
# ------------------------------------------------------------------------------------------------


class Rate(NamedTuple):
    """How often a test rejected, with the ends of a 95% interval for the true rate."""

    value: float
    low: float
    high: float


def rejection_rate(rejected) -> Rate:
    """Return the share of rejections and Wilson's 95% interval of a binomial share.

    Parameters: rejected (trials,), true where the test rejected. Raises ValueError if it is empty.
    Cost: O(trials). Source: Wilson (1927), JASA 22.
    """
    rejected = as_vector("rejected", rejected)
    count = int(np.count_nonzero(rejected))
    interval = binomtest(count, rejected.size).proportion_ci(method="wilson")
    return Rate(count / rejected.size, float(interval.low), float(interval.high))


def p_value(statistic: float, null) -> float:
    """Return (1 + #{null >= statistic}) / (1 + B), valid when statistic and null are exchangeable.

    Parameters: statistic, a finite number; null (B,), draws under the null hypothesis.
    Raises ValueError if null is empty, or a number is not finite. Cost: O(B).
    """
    # No comparison with NaN is true, and a test that failed would seem to reject.
    statistic = between("statistic", statistic, -math.inf, math.inf)
    null = as_vector("null", null)
    return (1 + int(np.count_nonzero(null >= statistic))) / (1 + null.size)


# ------------------------------------------------------------------------------------------------
# 2. A reference sample: the log-ratio, learned
# ------------------------------------------------------------------------------------------------

MUON_FEATURES = ("time 1 (ns)", "time 2 (ns)", "time 3 (ns)", "time 4 (ns)", "angle (deg)", "hits")
MUON_ANOMALIES = ("none", "slow layer", "moved layer", "low threshold")
_CELL, _LAYER, _SPEED = 42.0, 13.0, 0.054  # a cell's width and height in mm, drift in mm per ns


def drift_tubes(n: int, rng, anomaly: str = "none", size: float = 0.0) -> np.ndarray:
    """Simulate muons that cross four layers of drift tubes, and what the chamber records.

    A straight track passes each layer at a distance from the nearest wire; the charge it sets free
    needs time to drift there. Layers are staggered by half a cell, so the four times fit together.

    Parameters
    ----------
    n : muons, >= 1
    rng : Generator or seed
    anomaly : "slow layer": charge drifts slower in layer 2, by half at size 1; "moved layer": the
        wires of layer 2 stand elsewhere, by half a cell at size 1, which leaves the law of each
        single time as it was; "low threshold": noise makes more hits, twice as many at size 1
    size : in [0, 1]

    Returns
    -------
    (n, 6): four drift times (ns), the angle (degrees), the number of hits; see MUON_FEATURES.

    Raises ValueError for an unknown anomaly or numbers out of range. Cost: O(n).
    Source: a chamber like the paper's; its noise and its faults are simulated here.
    Paper: fast-kernel-methods-for-data-quality (Grosso et al. 2023, arXiv:2303.05413)
    """
    n, rng = integer("n", n, low=1), as_rng(rng)
    anomaly, size = one_of("anomaly", anomaly, MUON_ANOMALIES), between("size", size, 0, 1)
    angle = np.radians(15) * rng.standard_normal(n)
    height = (np.arange(4) - 1.5) * _LAYER
    track = rng.uniform(0, _CELL, (n, 1)) + np.tan(angle)[:, None] * height
    wires = _CELL / 2 * (np.arange(4) % 2)
    speed = np.full(4, _SPEED)
    if anomaly == "moved layer":
        wires[1] += size * _CELL / 2
    if anomaly == "slow layer":
        speed[1] *= 1 - size / 2
    distance = np.abs((track - wires) % _CELL - _CELL / 2)
    times = distance / speed + 5 * rng.standard_normal((n, 4))
    seen_angle = np.degrees(angle) + rng.standard_normal(n)
    noise_hits = rng.poisson(3 * (1 + size * (anomaly == "low threshold")), n)
    return np.column_stack([times, seen_angle, 4 + noise_hits])


def far_distance(x, share: float = 0.9) -> float:
    """Return the distance that ``share`` of all pairs of points do not exceed (1,000 rows at most).

    Parameters: x (n, d), n >= 2; share in [0, 1]. Cost: O(min(n, 1000)^2 d).
    Source: the paper's rule for the width of the kernel, with share 0.9.
    Paper: fast-kernel-methods-for-data-quality (Grosso et al. 2023, arXiv:2303.05413)
    """
    x = as_matrix("x", x, min_rows=2)
    return float(np.quantile(pdist(x[:1000]), between("share", share, 0, 1)))


@dataclass(frozen=True, eq=False)
class LearnedRatio:
    """The fitted log-ratio f(x) = sum_j weights_j k(x, centres_j), and the statistic it gives.

    kernel; centres (M, d); weights (M,); statistic t, a float; steps, Newton steps taken.
    """

    kernel: object
    centres: np.ndarray
    weights: np.ndarray
    statistic: float
    steps: int

    def log_ratio(self, x) -> np.ndarray:
        """Return f at the rows of x (m, d): (m,). Cost: m M kernel evaluations."""
        return self.kernel.matvec(x, self.centres, self.weights)


def learn_ratio(data, reference, kernel, centres: int, ridge: float, rng) -> LearnedRatio:
    """Learn f = log(density of data / density of reference) and test with it.

    f minimises, over functions on M centres drawn from both samples,
        w sum_R log(1 + e^f) + sum_D log(1 + e^-f) + ridge |f|_H^2,   w = n_D / n_R,
    and the statistic is the extended likelihood ratio
        t = 2 [ sum_D f - w sum_R (e^f - 1) ].

    Newton's directions come from conjugate gradients, preconditioned by the curvature at f = 0.

    Parameters
    ----------
    data : (n_D, d)
    reference : (n_R, d)
    kernel : a kernel
    centres : M, 1 .. n_D + n_R
    ridge : > 0
    rng : Generator or seed, draws the centres

    Returns a LearnedRatio. Raises ValueError for bad shapes or numbers.
    Cost: O(n M^2) once and O(n M) a step of conjugate gradients, n = n_D + n_R.
    Source: the paper's loss and statistic; Meanti et al. 2020 for the solver.
    Paper: fast-kernel-methods-for-data-quality (Grosso et al. 2023, arXiv:2303.05413)
    """
    data = as_matrix("data", data)
    reference = as_matrix("reference", reference, columns=data.shape[1])
    both = np.vstack([reference, data])
    centres = integer("centres", centres, low=1, high=len(both))
    ridge, rng = positive("ridge", ridge), as_rng(rng)
    chosen = both[rng.choice(len(both), centres, replace=False)]
    # Coordinates in which |f|_H is the length of the weights.
    lower = cholesky(kernel.gram(chosen), jitter=1e-10 * centres).lower
    features = solve_triangular(lower, kernel.gram(chosen, both), lower=True).T
    is_data = np.arange(len(both)) >= len(reference)
    cost = np.where(is_data, 1.0, len(data) / len(reference))
    weights, steps = _fit_logistic(features, is_data, cost, ridge)
    f = features @ weights
    t = 2 * (f[is_data].sum() - np.sum(cost[~is_data] * np.expm1(f[~is_data])))
    weights = solve_triangular(lower, weights, lower=True, trans="T")
    return LearnedRatio(kernel, chosen, weights, float(t), steps)


def _fit_logistic(features, is_data, cost, ridge, tolerance=1e-6, steps=50):
    """Minimise the weighted logistic loss by Newton steps; return weights and how many steps."""
    sign = np.where(is_data, -1.0, 1.0)
    weighted = features * cost[:, None]
    # sigma' is largest at f = 0, so this curvature bounds the true one from above everywhere.
    bound = 0.25 * features.T @ weighted
    bound.flat[:: len(bound) + 1] += 2 * ridge
    factor = cho_factor(bound)
    weights = np.zeros(features.shape[1])
    loss = _logistic_loss(features, weights, sign, cost, ridge)
    taken = 0
    while taken < steps:
        share = expit(features @ weights)
        gradient = weighted.T @ (share - is_data) + 2 * ridge * weights
        size = math.sqrt(gradient @ cho_solve(factor, gradient))
        if size < tolerance:
            break
        curvature = cost * share * (1 - share)
        direction = _solve_newton(features, curvature, ridge, gradient, factor, 0.1)
        length = 1.0
        while True:  # halve a step that would climb
            trial = weights - length * direction
            trial_loss = _logistic_loss(features, trial, sign, cost, ridge)
            if trial_loss <= loss or length < 1e-6:
                break
            length /= 2
        weights, loss, taken = trial, trial_loss, taken + 1
    return weights, taken


def _logistic_loss(features, weights, sign, cost, ridge):
    return np.sum(cost * np.logaddexp(0, sign * (features @ weights))) + ridge * weights @ weights


def _solve_newton(features, curvature, ridge, gradient, factor, tolerance):
    """Solve (features^T curvature features + 2 ridge) x = gradient by preconditioned CG."""
    x, left = np.zeros_like(gradient), gradient.copy()
    image = cho_solve(factor, left)
    direction, size = image.copy(), left @ image
    enough = tolerance**2 * size
    for _ in range(50):
        moved = features.T @ (curvature * (features @ direction)) + 2 * ridge * direction
        length = size / (direction @ moved)
        x += length * direction
        left -= length * moved
        image = cho_solve(factor, left)
        size, before = left @ image, size
        if size <= enough:
            break
        direction = image + size / before * direction
    return x


def z_score(statistic: float, toys) -> float:
    """Return how many standard deviations of surprise: Phi^-1(1 - p) under a fitted chi-square.

    The toys, (B,) draws of a positive statistic under the null, fix its degrees of freedom by their
    mean. A chi-square tail reaches further than B toys can. Never above 8.2, below -8.2.
    Raises ValueError unless the statistic is finite and the toys' mean positive. Cost: O(B).
    Paper: fast-kernel-methods-for-data-quality (Grosso et al. 2023, arXiv:2303.05413)
    """
    statistic = between("statistic", statistic, -math.inf, math.inf)
    degrees = positive("the mean of toys", float(as_vector("toys", toys).mean()))
    p = chi2.sf(max(statistic, 0.0), degrees)
    return float(np.clip(norm.isf(p), -8.2, 8.2))


def reference_bins(reference, bins: int = 10) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut each feature into bins of about equal reference share.

    Parameters: reference (N, d); bins >= 2. Returns, for each feature, its inner edges and the
    share of the reference in each bin. Cost: O(d N log N).
    """
    reference = as_matrix("reference", reference)
    inner = np.arange(1, integer("bins", bins, low=2)) / bins
    made = []
    for column in reference.T:
        edges = np.unique(np.quantile(column, inner))
        counts = np.bincount(np.searchsorted(edges, column), minlength=len(edges) + 1)
        # Half a count keeps a bin that the reference misses from dividing by zero.
        made.append((edges, np.maximum(counts, 0.5) / len(column)))
    return made


def largest_chi_square(data, binned) -> float:
    """Return the largest of d chi-square statistics, one a feature: one variable at a time.

    sum_b (n_b - e_b)^2 / e_b with n_b the data's count in bin b and e_b what the reference expects.
    Parameters: data (n, d); binned, from :func:`reference_bins`. Cost: O(n d log bins).
    Source: Pearson (1900).
    """
    data = as_matrix("data", data, columns=len(binned))
    largest = 0.0
    for column, (edges, shares) in zip(data.T, binned, strict=True):
        counts = np.bincount(np.searchsorted(edges, column), minlength=len(shares))
        expected = len(data) * shares
        largest = max(largest, float(np.sum((counts - expected) ** 2 / expected)))
    return largest


def mmd_to_reference(data, reference, kernel) -> float:
    """Return MMD^2 between data and a fixed reference, less what the reference alone contributes.

    mean_{i != j} k(x_i, x_j) - 2 mean k(x_i, r_j). For toys on one reference the rest is constant.
    Parameters: data (n, d), n >= 2; reference (N, d). Cost: O(n (n + N) d).
    """
    data = as_matrix("data", data, min_rows=2)
    n = len(data)
    within = kernel.total(data) - float(np.sum(kernel.diagonal(data)))
    return within / (n * (n - 1)) - 2 * kernel.total(data, reference) / (n * len(reference))


# ------------------------------------------------------------------------------------------------
# 3. A stream of pairs: independence as a betting game
# ------------------------------------------------------------------------------------------------

STREAMS = ("line", "circle", "drift")


def pair_stream(kind: str, strength: float, pairs: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw a stream of pairs (x_t, y_t) with a dependence that may be hard to see.

    Parameters
    ----------
    kind : "line": y = strength x + noise; "circle": round a circle, blurred less as strength grows,
        without any correlation; "drift": x and y independent at each moment, but the law of both
        moves half-way through the stream, by ``strength`` standard deviations
    strength : >= 0; 0 is independence
    pairs : >= 2
    rng : Generator or seed

    Returns x (pairs, 1) and y (pairs, 1). Raises ValueError for an unknown kind or bad numbers.
    """
    kind, strength = one_of("kind", kind, STREAMS), nonnegative("strength", strength)
    pairs, rng = integer("pairs", pairs, low=2), as_rng(rng)
    x, y = rng.standard_normal((2, pairs, 1))
    if kind == "line":
        y = strength * x + y
    elif kind == "circle":
        turn = rng.uniform(0, 2 * np.pi, (pairs, 1))
        x, y = x + 2 * strength * np.cos(turn), y + 2 * strength * np.sin(turn)
    else:
        later = np.arange(pairs)[:, None] >= pairs // 2
        x, y = x + strength * later, y + strength * later
    return x, y


def betting_payoffs(x, y, bandwidth_x: float, bandwidth_y: float) -> np.ndarray:
    """Return the payoff of each round of the betting game against independence.

    Round t takes the next two pairs (X1, Y1), (X2, Y2). With the witness of all pairs before,
    g = (mu_XY - mu_X mu_Y) / |mu_XY - mu_X mu_Y|, mu the means of kernel functions,
        f_t = [ g(X1, Y1) + g(X2, Y2) - g(X1, Y2) - g(X2, Y1) ] / 2.
    Swapping Y1 and Y2 turns its sign, so independence makes it fair, whatever the past was. Both
    kernels are Gaussian, so that |f_t| <= 1. The first round, without a past, pays 0.

    Parameters
    ----------
    x : (2 T, d)
    y : (2 T, e)
    bandwidth_x, bandwidth_y : > 0, chosen before the stream begins

    Returns (T,). Raises ValueError for bad shapes, an odd number of pairs, or bad numbers.
    Cost: O(t (d + e)) a round, O(T^2 (d + e)) in all; O(T) memory.
    Paper: sequential-kernelized-independence-testing (Podkopaev et al. 2023, arXiv:2212.07383)
    """
    x, y = as_matrix("x", x), as_matrix("y", y)
    if same_length("x", x, "y", y) % 2:
        raise ValueError(f"x and y must hold an even number of pairs, got {len(x)}")
    x = np.ascontiguousarray(x.T) / (math.sqrt(2) * positive("bandwidth_x", bandwidth_x))
    y = np.ascontiguousarray(y.T) / (math.sqrt(2) * positive("bandwidth_y", bandwidth_y))
    payoffs = np.empty(x.shape[1] // 2)
    _payoffs(x, y, payoffs)
    return payoffs


@compiled("void(float64[:,::1], float64[::1], int64, int64)", fastmath={"contract"})
def _to_past(points, row, new, past):
    """Fill row with the Gaussian kernel between the new point and the first ``past`` ones."""
    for s in range(past):
        row[s] = 0.0
    for c in range(points.shape[0]):
        values, value = points[c], points[c, new]
        for s in range(past):
            step = values[s] - value
            row[s] += step * step
    for s in range(past):
        row[s] = exp(-row[s])


@compiled("float64(int64, float64, float64, float64, float64)", fastmath={"contract"})
def _witness_norm2(n, product, square, all_x, all_y):
    """Return |mu_XY - mu_X mu_Y|^2 from the sums over n pairs."""
    count = float(n)  # n^4 leaves 64-bit integers at n = 55,109
    return product / count**2 - 2.0 * square / count**3 + all_x * all_y / count**4


@compiled("void(float64[:,::1], float64[:,::1], float64[::1])", fastmath={"contract", "reassoc"})
def _payoffs(x, y, payoffs):
    """Fill payoffs (T,); x (d, 2 T) and y (e, 2 T) are in units of sqrt(2) bandwidths."""
    length = x.shape[1]
    kx1, kx2 = np.empty(length), np.empty(length)
    ky1, ky2 = np.empty(length), np.empty(length)
    row_x, row_y = np.zeros(length), np.zeros(length)  # row sums of both Gram matrices
    product = 0.0  # sum of K o L
    for t in range(length // 2):
        first, n = 2 * t, 2 * t
        _to_past(x, kx1, first, n)
        _to_past(y, ky1, first, n)
        _to_past(x, kx2, first + 1, n + 1)  # the last entry is the kernel of the two new ones
        _to_past(y, ky2, first + 1, n + 1)
        # What the past says: its sums before the new points join them.
        square, all_x, all_y = 0.0, 0.0, 0.0
        for s in range(n):
            square += row_x[s] * row_y[s]
            all_x += row_x[s]
            all_y += row_y[s]
        joint, own, cross = 0.0, 0.0, 0.0
        x1, x2, y1, y2 = 0.0, 0.0, 0.0, 0.0
        for s in range(n):
            a1, a2, b1, b2 = kx1[s], kx2[s], ky1[s], ky2[s]
            joint += (a1 - a2) * (b1 - b2)
            own += a1 * b1
            cross += a2 * b2
            x1 += a1
            x2 += a2
            y1 += b1
            y2 += b2
            row_x[s] += a1 + a2
            row_y[s] += b1 + b2
        payoffs[t] = 0.0
        if n > 0:
            norm2 = _witness_norm2(n, product, square, all_x, all_y)
            if norm2 > 1e-14:
                witness = joint / n - (x1 - x2) * (y1 - y2) / float(n) ** 2
                payoffs[t] = 0.5 * witness / np.sqrt(norm2)
        near_x, near_y = kx2[n], ky2[n]
        row_x[first] = x1 + 1.0 + near_x
        row_x[first + 1] = x2 + 1.0 + near_x
        row_y[first] = y1 + 1.0 + near_y
        row_y[first + 1] = y2 + 1.0 + near_y
        product += 2.0 * (own + cross + near_x * near_y) + 2.0


def witness(x, y, at_x, at_y, bandwidth_x: float, bandwidth_y: float) -> np.ndarray:
    """Return the witness of dependence, mu_XY - mu_X mu_Y, on a grid.

    Positive where pairs are commoner than independence would have them.
    Parameters: x (n, 1), y (n, 1), the pairs; at_x (p,), at_y (q,), the grid; bandwidths > 0.
    Returns (q, p), the rows along y. Cost: O(n p q), one matrix product.
    Paper: sequential-kernelized-independence-testing (Podkopaev et al. 2023, arXiv:2212.07383)
    """
    x, y = as_matrix("x", x, columns=1), as_matrix("y", y, columns=1)
    n = same_length("x", x, "y", y)
    at_x, at_y = as_vector("at_x", at_x), as_vector("at_y", at_y)
    kx = np.exp(-0.5 * ((at_x[:, None] - x.T) / positive("bandwidth_x", bandwidth_x)) ** 2)
    ky = np.exp(-0.5 * ((at_y[:, None] - y.T) / positive("bandwidth_y", bandwidth_y)) ** 2)
    return ky @ kx.T / n - np.outer(ky.mean(axis=1), kx.mean(axis=1))


def wealth(payoffs, bet: str | float = "newton") -> np.ndarray:
    """Return the wealth after each round of a game with these payoffs, starting from 1.

    K_t = K_{t-1} (1 + lambda_t f_t), lambda_t chosen before f_t is seen. If the payoffs are fair,
    E K_t <= 1 for every t, and K ever reaches 1/alpha with probability at most alpha (Ville).

    Parameters
    ----------
    payoffs : (T,) in [-1, 1]
    bet : "newton", online Newton steps on the log of the wealth, in [0, 1/2]; "growth", the mean of
        past payoffs over their mean square, in [0, 0.9]; or a constant in [0, 1)

    Returns (T,). Raises ValueError for payoffs outside [-1, 1] or an unknown bet. Cost: O(T).
    Source: the paper; Cutkosky and Orabona 2018 for Newton's constant; Waudby-Smith and Ramdas
    2023 for the growth bet.
    Paper: sequential-kernelized-independence-testing (Podkopaev et al. 2023, arXiv:2212.07383)
    """
    payoffs = as_vector("payoffs", payoffs)
    if np.abs(payoffs).max() > 1 + 1e-12:
        raise ValueError(f"payoffs must lie in [-1, 1], got {np.abs(payoffs).max():.4g}")
    rules = {"newton": _newton_bets, "growth": _growth_bets}
    if isinstance(bet, str):
        bets = rules[one_of("bet", bet, rules)](payoffs)
    else:
        bets = between("bet", bet, 0, 1 - 1e-9)
    return np.exp(np.cumsum(np.log1p(bets * payoffs)))


def _newton_bets(payoffs):
    bets, curvature, bet = np.empty(payoffs.size), 1.0, 0.0
    for t, f in enumerate(payoffs.tolist()):
        bets[t] = bet
        z = -f / (1 + bet * f)
        curvature += z * z
        bet = min(max(bet - 2 / (2 - math.log(3)) * z / curvature, 0.0), 0.5)
    return bets


def _growth_bets(payoffs):
    total, squares = np.cumsum(payoffs), np.cumsum(payoffs**2)
    past = np.divide(total, squares, out=np.zeros_like(total), where=squares > 0)
    return np.clip(np.concatenate([[0.0], past[:-1]]), 0, 0.9)


def stopping_time(path, level: float = 0.05) -> float:
    """Return the first round (from 1) at which wealth reaches 1/level, or infinity.

    Parameters: path (T,), the wealth; level in (0, 1]. Cost: O(T).
    Paper: sequential-kernelized-independence-testing (Podkopaev et al. 2023, arXiv:2212.07383)
    """
    path = as_vector("path", path)
    reached = np.flatnonzero(path >= 1 / positive("level", between("level", level, 0, 1)))
    return float(reached[0] + 1) if reached.size else math.inf


def hsic_permutation_test(
    x, y, kernel_x, kernel_y, permutations: int, rng, tolerance: float = 1e-8
) -> PermutationTest:
    """Test independence of a finished sample by HSIC under random pairings.

    HSIC = |H F_x^T F_y|^2 / n^2 with K_x = F_x F_x^T, K_y = F_y F_y^T and H the centring. F are
    pivoted Cholesky factors; for smooth kernels in few dimensions they have few columns r.

    Parameters
    ----------
    x : (n, d)
    y : (n, e)
    kernel_x, kernel_y : kernels
    permutations : B >= 1
    rng : Generator or seed
    tolerance : share of the kernels' trace that the factors may leave out

    Returns PermutationTest(statistic, null (B,), p_value). Raises ValueError for bad shapes.
    Cost: O(n r^2) for the factors and O(n r^2) a permutation.
    Source: Gretton et al. 2008; this is the batch test that the paper compares with.
    """
    x, y = as_matrix("x", x, min_rows=2), as_matrix("y", y)
    n = same_length("x", x, "y", y)
    permutations, rng = integer("permutations", permutations, low=1), as_rng(rng)
    factor_x, factor_y = (
        np.ascontiguousarray(_centred_factor(k, points, tolerance))
        for k, points in ((kernel_x, x), (kernel_y, y))
    )
    orders = rng.permuted(np.tile(np.arange(n), (permutations + 1, 1)), axis=1)
    orders[0] = np.arange(n)  # the pairs as they came
    values = np.empty(permutations + 1)
    _paired_squares(factor_x, factor_y, orders, values)
    values /= n**2
    return PermutationTest(float(values[0]), values[1:], p_value(values[0], values[1:]))


@compiled(
    "void(float64[:,::1], float64[:,::1], int64[:,::1], float64[::1])",
    fastmath={"contract", "reassoc"},
)
def _paired_squares(x, y, orders, out):
    """Fill out (B,) with |x^T y[orders[b]]|^2; x (n, p) and y (n, q) stay in the cache."""
    (n, p), q = x.shape, y.shape[1]
    product = np.empty((p, q))
    for b in range(len(orders)):
        product[:] = 0.0
        for i in range(n):
            row, partner = x[i], y[orders[b, i]]
            for j in range(p):
                weight, line = row[j], product[j]
                for k in range(q):
                    line[k] += weight * partner[k]
        total = 0.0
        for j in range(p):
            for k in range(q):
                total += product[j, k] * product[j, k]
        out[b] = total


def _centred_factor(kernel, points, tolerance):
    factor = pivoted_cholesky(kernel, points, rank=len(points), tolerance=tolerance).factor
    return factor - factor.mean(axis=0)


# ------------------------------------------------------------------------------------------------
# 4. A density without its constant, with modes far apart
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of round Gaussians: weights (K,), means (K, d), one standard deviation scale."""

    weights: np.ndarray
    means: np.ndarray
    scale: float = 1.0

    def __post_init__(self):
        means = as_matrix("means", self.means)
        weights = as_vector("weights", self.weights, length=len(means))
        if weights.min() < 0 or not weights.sum() > 0:
            raise ValueError(f"weights must be >= 0 with a positive sum, got {weights}")
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "weights", weights / weights.sum())
        object.__setattr__(self, "scale", positive("scale", self.scale))

    def _log_parts(self, x):
        x = as_matrix("x", x, columns=self.means.shape[1])
        squares = np.sum((x[:, None, :] - self.means) ** 2, axis=2) / self.scale**2
        with np.errstate(divide="ignore"):
            return x, np.log(self.weights) - 0.5 * squares

    def log_density(self, x) -> np.ndarray:
        """Return the log-density at x (n, d), with its constant: (n,). Cost: O(n K d)."""
        x, parts = self._log_parts(x)
        constant = x.shape[1] * (0.5 * math.log(2 * math.pi) + math.log(self.scale))
        return logsumexp(parts, axis=1) - constant

    def score(self, x) -> np.ndarray:
        """Return the gradient of the log-density at x (n, d): (n, d). Cost: O(n K d)."""
        x, parts = self._log_parts(x)
        parts = np.exp(parts - parts.max(axis=1, keepdims=True))
        parts /= parts.sum(axis=1, keepdims=True)
        return (parts @ self.means - x) / self.scale**2

    def sample(self, n: int, rng) -> np.ndarray:
        """Draw n points: (n, d)."""
        n, rng = integer("n", n, low=1), as_rng(rng)
        home = rng.choice(len(self.weights), n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        return self.means[home] + self.scale * noise


def two_towns(distance: float, share: float, dimension: int = 1) -> GaussianMixture:
    """Return two unit Gaussians at -distance and +distance on the first axis.

    Parameters: distance >= 0, from the middle to each; share in [0, 1], the weight of the right
    one; dimension >= 1.
    Paper: using-perturbation-to-improve-goodness-of-fit (Liu et al. 2023, arXiv:2304.14762)
    """
    share = between("share", share, 0, 1)
    means = np.zeros((2, integer("dimension", dimension, low=1)))
    means[:, 0] = nonnegative("distance", distance) * np.array([-1, 1])
    return GaussianMixture(np.array([1 - share, share]), means)


class Modes(NamedTuple):
    """Modes (K, d) of a density, and square roots A^(1/2) (K, d, d) of its inverse curvature."""

    points: np.ndarray
    roots: np.ndarray


def find_modes(log_density: Callable, score: Callable, starts, merge_below: float = 1.0) -> Modes:
    """Find modes of a density by climbing from some points with BFGS.

    A climb ends at a new mode unless its Mahalanobis distance to a known one, by that one's
    curvature, is below ``merge_below``. The curvature -(d/dx) score is taken by differences.

    Parameters
    ----------
    log_density : (n, d) -> (n,); a constant may be missing
    score : (n, d) -> (n, d), its gradient
    starts : (m, d), for example some of the data
    merge_below : > 0

    Returns Modes. Raises ValueError if no climb ends at a peak. Cost: m climbs.
    Paper: using-perturbation-to-improve-goodness-of-fit (Liu et al. 2023, arXiv:2304.14762)
    """
    starts = as_matrix("starts", starts)
    merge_below = positive("merge_below", merge_below)
    points, roots, whitening = [], [], []
    for start in starts:
        end = minimize(
            lambda x: -float(log_density(x[None])[0]),
            start,
            jac=lambda x: -score(x[None])[0],
            method="BFGS",
        ).x
        if any(
            np.linalg.norm(white @ (end - point)) < merge_below
            for white, point in zip(whitening, points, strict=True)
        ):
            continue
        values, vectors = np.linalg.eigh(_curvature(score, end))
        if values[0] > 0:
            points.append(end)
            whitening.append((vectors * np.sqrt(values)) @ vectors.T)
            roots.append((vectors / np.sqrt(values)) @ vectors.T)
    if not points:
        raise ValueError("starts must lead to a peak of the density, got none from them")
    return Modes(np.array(points), np.array(roots))


def _curvature(score, point, step=1e-4):
    """Return minus the derivative of the score, symmetrised, by central differences."""
    shifts = step * np.eye(len(point))
    slopes = (score(point - shifts) - score(point + shifts)) / (2 * step)
    return (slopes + slopes.T) / 2


def jump_between_modes(
    x, log_density: Callable, modes: Modes, reach: float, steps: int, rng
) -> np.ndarray:
    """Move each point by Metropolis jumps from mode to mode that leave the density invariant.

    For a random ordered pair of modes (i, j), i != j, propose
        x' = A_j^(1/2) A_i^(-1/2) (x - reach mu_i) + reach mu_j
    and accept with probability min(1, p(x') |A_j^(1/2) A_i^(-1/2)| / p(x)). The jump back is as
    likely to be proposed, so points from p stay points from p, for every ``reach``.

    Parameters
    ----------
    x : (n, d)
    log_density : (n, d) -> (n,); a constant may be missing
    modes : from :func:`find_modes`; with a single mode nothing moves
    reach : theta >= 0; 1 maps mode onto mode
    steps : T >= 0 jumps a point
    rng : Generator or seed

    Returns (n, d). Raises ValueError for bad shapes or numbers. Cost: T (n d^2 + n densities).
    Paper: using-perturbation-to-improve-goodness-of-fit (Liu et al. 2023, arXiv:2304.14762)
    """
    points = as_matrix("modes", modes.points)
    x = as_matrix("x", x, columns=points.shape[1]).copy()
    reach, steps, rng = nonnegative("reach", reach), integer("steps", steps, low=0), as_rng(rng)
    count, d = points.shape
    roots = np.asarray(modes.roots, dtype=np.float64)
    if roots.shape != (count, d, d) or not np.isfinite(roots).all():
        raise ValueError(
            f"modes must hold one finite root ({d}, {d}) for each of {count} points, "
            f"got roots of shape {roots.shape}"
        )
    if count == 1:
        return x
    maps = roots[None, :] @ np.linalg.inv(roots)[:, None]  # [i, j] maps i to j
    volumes = np.linalg.slogdet(maps)[1]
    here = _log_values("log_density", log_density(x), len(x))
    for _ in range(steps):
        i = rng.integers(count, size=len(x))
        j = (i + rng.integers(1, count, size=len(x))) % count
        step = x - reach * points[i]
        proposal = np.einsum("nab,nb->na", maps[i, j], step) + reach * points[j]
        there = _log_values("log_density", log_density(proposal), len(x))
        accept = np.log(rng.random(len(x))) < there - here + volumes[i, j]
        x[accept], here[accept] = proposal[accept], there[accept]
    return x


def _log_values(name, values, count):
    """Return a copy of what a log-density said at ``count`` points; -inf is allowed, NaN is not."""
    values = np.array(values, dtype=np.float64)
    if values.shape != (count,) or np.isnan(values).any():
        got = f"shape {values.shape}" if values.shape != (count,) else "NaN"
        raise ValueError(f"{name} must return one number for each of {count} rows, got {got}")
    return values


def stein_test(gram, replicates: int, rng) -> PermutationTest:
    """Test a sample by its Stein matrix: the unbiased statistic and a multinomial bootstrap.

    Parameters: gram (n, n), symmetric; replicates B >= 1; rng, a Generator or seed.
    Returns PermutationTest(statistic, null (B,), p_value). Raises ValueError for another matrix.
    Cost: O(B n^2). Source: Liu, Lee and Jordan 2016.
    """
    statistic, null = ksd_squared(gram), stein_bootstrap(gram, replicates, rng)
    return PermutationTest(statistic, null, p_value(statistic, null))


def stein_ratio(gram) -> float:
    """Return KSD^2 / sigma, on which the power of a Stein test rests: the larger, the better.

    sigma^2 = 4 Var_i mean_j U_ij is the statistic's variance (times n) when the model is wrong.
    Parameters: gram (n, n), symmetric, n >= 2. Cost: O(n^2).
    Source: Liu, Lee and Jordan 2016, theorem 4.1.
    Paper: using-perturbation-to-improve-goodness-of-fit (Liu et al. 2023, arXiv:2304.14762)
    """
    gram = symmetric("gram", gram)
    spread = 2 * float(np.std(gram.mean(axis=1)))
    return ksd_squared(gram) / max(spread, 1e-12)


def perturbed_stein_gram(
    x, model: GaussianMixture, modes: Modes, kernel, reach: float, steps: int, rng
) -> np.ndarray:
    """Return the Stein matrix (n, n) of the sample after jumps between modes.

    Parameters: x (n, d); model with ``log_density`` and ``score``; the rest as in
    :func:`jump_between_modes`, kernel a Gaussian or InverseMultiquadric. Cost: O(n^2 d) and jumps.
    Paper: using-perturbation-to-improve-goodness-of-fit (Liu et al. 2023, arXiv:2304.14762)
    """
    moved = jump_between_modes(x, model.log_density, modes, reach, steps, rng)
    return stein_gram(kernel, moved, model.score(moved))


def choose_reach(
    x, model: GaussianMixture, modes: Modes, kernel, reaches: Sequence[float], steps: int, rng
) -> float:
    """Return the reach whose perturbed sample has the largest KSD^2 / sigma (ospKSD).

    Choose on one part of the data and test on the other, or the level is lost.
    Parameters: x (n, d), the part to choose on; reaches, the candidates; others as above.
    Cost: one Stein matrix a candidate.
    Paper: using-perturbation-to-improve-goodness-of-fit (Liu et al. 2023, arXiv:2304.14762)
    """
    reaches, rng = as_vector("reaches", reaches), as_rng(rng)
    ratios = [
        stein_ratio(perturbed_stein_gram(x, model, modes, kernel, reach, steps, rng))
        for reach in reaches
    ]
    return float(reaches[int(np.argmax(ratios))])


def summed_stein_gram(
    x, model: GaussianMixture, modes: Modes, kernel, reaches: Sequence[float], steps: int, rng
) -> np.ndarray:
    """Return the sum of perturbed Stein matrices over a grid of reaches (spKSD), to test with.

    No data are spent on choosing. Parameters as in :func:`choose_reach`. Returns (n, n).
    Paper: using-perturbation-to-improve-goodness-of-fit (Liu et al. 2023, arXiv:2304.14762)
    """
    reaches, rng = as_vector("reaches", reaches), as_rng(rng)
    total = np.zeros((len(x), len(x)))
    for reach in reaches:
        total += perturbed_stein_gram(x, model, modes, kernel, reach, steps, rng)
    return total


# ------------------------------------------------------------------------------------------------
# 5. A law of strings, known by ratios
# ------------------------------------------------------------------------------------------------

EDITS = ("substitute", "insert", "delete")
BALANCES = ("barker", "minimum", "root")


class Strings(NamedTuple):
    """Strings of different lengths: symbols (n, longest) as integers, -1 after the end."""

    symbols: np.ndarray
    lengths: np.ndarray

    def words(self, letters: str = "abcdefghij") -> list[str]:
        """Return them as text, symbol i written as letters[i].

        Raises ValueError if there are more symbols than letters.
        """
        used = int(self.symbols.max(initial=-1)) + 1
        if used > len(letters):
            raise ValueError(f"letters must name all {used} symbols, got {letters!r}")
        return ["".join(letters[s] for s in row if s >= 0) for row in self.symbols]

    def take(self, rows) -> "Strings":
        """Return some of the strings."""
        return Strings(self.symbols[rows], self.lengths[rows])


def from_words(words: Sequence[str], letters: str, longest: int) -> Strings:
    """Read text into Strings, letters[i] as symbol i.

    Raises ValueError for a letter that is not among ``letters``, or a word that is empty or longer
    than ``longest``. Cost: O(total length).
    """
    longest = integer("longest", longest, low=1)
    words = list(words)
    symbols = np.full((len(words), longest), -1, dtype=np.int64)
    for row, word in zip(symbols, words, strict=True):
        if not 1 <= len(word) <= longest or set(word) - set(letters):
            raise ValueError(f"words must hold 1 to {longest} letters of {letters!r}, got {word!r}")
        row[: len(word)] = [letters.index(letter) for letter in word]
    if not words:
        raise ValueError("words must hold at least one word, got none")
    return Strings(symbols, (symbols >= 0).sum(axis=1))


def _checked(strings, alphabet):
    """Return well-formed Strings over symbols 0 .. alphabet - 1, or raise ValueError."""
    try:
        symbols, lengths = (np.asarray(part) for part in strings)
    except (TypeError, ValueError):
        raise ValueError(
            f"strings must be Strings(symbols, lengths), got {type(strings).__name__}"
        ) from None
    whole = all(part.dtype.kind in "iu" for part in (symbols, lengths))
    if not whole or symbols.ndim != 2 or lengths.shape != symbols.shape[:1] or not symbols.size:
        raise ValueError(
            "strings must hold integers, symbols (n, longest) and lengths (n,), "
            f"got shapes {symbols.shape} and {lengths.shape}"
        )
    longest = symbols.shape[1]
    if lengths.min() < 1 or lengths.max() > longest:
        raise ValueError(
            f"strings must have 1 to {longest} symbols, the width of their table, "
            f"got lengths from {lengths.min()} to {lengths.max()}"
        )
    inside = np.arange(longest) < lengths[:, None]
    fits = np.where(inside, (symbols >= 0) & (symbols < alphabet), symbols == -1)
    if not fits.all():
        row = int(np.argmin(fits.all(axis=1)))
        raise ValueError(
            f"strings must hold symbols 0 to {alphabet - 1}, and -1 after the end, "
            f"got {symbols[row].tolist()} of length {lengths[row]} in row {row}"
        )
    return Strings(symbols, lengths)


@dataclass(frozen=True, eq=False)
class StringModel:
    """A Markov chain that writes strings of 1 to ``longest`` symbols.

    start (S,), law of the first symbol; transition (S, S), of the next one given the last; end, the
    chance to stop after each symbol (certain at ``longest``); and, for a chain of second order,
    ``echo`` in [0, 1]: the chance that a symbol repeats the one before last.
    """

    start: np.ndarray
    transition: np.ndarray
    end: float
    longest: int = 20
    echo: float = 0.0

    def __post_init__(self):
        start = as_vector("start", self.start)
        transition = as_matrix("transition", self.transition, rows=start.size, columns=start.size)
        for name, law in (("start", start[None]), ("transition", transition)):
            if law.min() <= 0 or np.abs(law.sum(axis=1) - 1).max() > 1e-9:
                raise ValueError(f"{name} must hold positive probabilities with sum 1, got {law}")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "transition", transition)
        object.__setattr__(self, "end", between("end", self.end, 1e-9, 1 - 1e-9))
        object.__setattr__(self, "longest", integer("longest", self.longest, low=1))
        object.__setattr__(self, "echo", between("echo", self.echo, 0, 1 - 1e-9))

    @property
    def alphabet(self) -> int:
        """Number of symbols S."""
        return self.start.size

    def sample(self, n: int, rng) -> Strings:
        """Draw n strings. Cost: O(n longest)."""
        n, rng = integer("n", n, low=1), as_rng(rng)
        lengths = np.minimum(rng.geometric(self.end, n), self.longest)
        symbols = np.empty((n, self.longest), dtype=np.int64)
        symbols[:, 0] = _draw(np.broadcast_to(self.start, (n, self.alphabet)), rng)
        for t in range(1, self.longest):
            symbols[:, t] = _draw(self.transition[symbols[:, t - 1]], rng)
            if t > 1:
                repeats = rng.random(n) < self.echo
                symbols[repeats, t] = symbols[repeats, t - 2]
        symbols[np.arange(self.longest) >= lengths[:, None]] = -1
        return Strings(symbols, lengths)

    def log_probability(self, strings: Strings) -> np.ndarray:
        """Return the log-probability of each string, (n,).

        Raises ValueError for strings with another ``longest`` or alphabet. Cost: O(n longest).
        """
        symbols, lengths = _checked(strings, self.alphabet)
        if symbols.shape[1] != self.longest:
            raise ValueError(
                f"strings must have room for {self.longest} symbols, got {symbols.shape[1]}"
            )
        log_p = np.log(self.start)[symbols[:, 0]]
        log_p = log_p + (lengths - 1) * math.log(1 - self.end)
        log_p += np.where(lengths < self.longest, math.log(self.end), 0.0)
        last, now = symbols[:, :-1], symbols[:, 1:]
        steps = self.transition[last, now]
        if self.echo > 0:
            same = now[:, 1:] == symbols[:, :-2]
            steps[:, 1:] = (1 - self.echo) * steps[:, 1:] + self.echo * same
        return log_p + np.sum(np.where(now >= 0, np.log(np.maximum(steps, 1e-300)), 0.0), axis=1)


def _draw(laws, rng):
    """Draw one symbol from each row of ``laws`` (n, S)."""
    chosen = (rng.random((len(laws), 1)) > np.cumsum(laws, axis=1)).sum(axis=1)
    return np.minimum(chosen, laws.shape[1] - 1)


def neighbours(
    strings: Strings, alphabet: int, edits: Sequence[str] = EDITS, where: str = "end"
) -> tuple[Strings, np.ndarray]:
    """List every string that one edit makes of each string, each of them once.

    Parameters
    ----------
    strings : n strings of 1 to ``longest`` symbols
    alphabet : S >= 2
    edits : out of "substitute", "insert", "delete"; insert and delete undo each other
    where : "end": only the last symbol is replaced, taken away or followed by one; "anywhere"

    Returns
    -------
    the neighbours and, for each, the row (m,) of the string that it is a neighbour of, ascending

    No neighbour is empty or longer than ``longest``; y is a neighbour of x just when x is one of y,
    given both insert and delete, or neither. Raises ValueError for unknown edits, or for strings
    that are malformed or hold other symbols.
    Cost: O(m longest).
    Paper: a-kernel-stein-test-of-goodness-of-fit (Baum et al. 2023, arXiv:2210.10741)
    """
    alphabet = integer("alphabet", alphabet, low=2)
    where = one_of("where", where, ("end", "anywhere"))
    edits = [one_of("edits", edit, EDITS) for edit in edits]
    symbols, lengths = strings = _checked(strings, alphabet)
    n, longest = symbols.shape
    made, origins = [np.zeros((0, longest), dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for edit in edits:
        if where == "anywhere":
            places = np.broadcast_to(np.arange(longest), (n, longest))
        else:
            places = (lengths - (edit != "insert"))[:, None]
        rows, place, symbol = np.nonzero(_allowed(strings, places, alphabet, edit, where))
        made.append(_edited(symbols[rows], places[rows, place], symbol, edit))
        origins.append(rows)
    rows, changed = np.concatenate(origins), np.vstack(made)
    order = np.argsort(rows, kind="stable")
    changed = changed[order]
    return Strings(changed, (changed >= 0).sum(axis=1)), rows[order]


def _allowed(strings, places, alphabet, edit, where):
    """Tell which edits (n, places, symbols) there are, so that no neighbour is met twice."""
    symbols, lengths = strings
    n, longest = symbols.shape
    rows, length = np.arange(n)[:, None], lengths[:, None]
    here = symbols[rows, np.minimum(places, longest - 1)]
    before = np.where(places > 0, symbols[rows, places - 1], -1)
    symbol = np.arange(1 if edit == "delete" else alphabet)
    if edit == "substitute":
        return (places < length)[:, :, None] & (here[:, :, None] != symbol)
    # Within a run of equal symbols only the first place counts: the others give the same string.
    if edit == "insert":
        fits = (places <= length) & (length < longest)
        first = before[:, :, None] != symbol
    else:
        fits = (places < length) & (length > 1)
        first = (before != here)[:, :, None]
    return fits[:, :, None] & (first | (where == "end"))


def _edited(symbols, at, symbol, edit):
    """Return the strings (m, longest) after one edit each, at the place ``at`` (m,) of each."""
    rows, position = np.arange(len(symbols)), np.arange(symbols.shape[1])
    if edit == "delete":
        moved = np.full_like(symbols, -1)
        moved[:, :-1] = symbols[:, 1:]
        return np.where(position >= at[:, None], moved, symbols)
    changed = symbols.copy()
    if edit == "insert":
        later = position[1:] > at[:, None]
        changed[:, 1:] = np.where(later, symbols[:, :-1], symbols[:, 1:])
    changed[rows, at] = symbol
    return changed


def balance(log_ratio, kind: str = "barker") -> np.ndarray:
    """Return the rate g(u) of a move, u = p(y)/p(x), from log u; all satisfy g(u) = u g(1/u).

    Parameters: log_ratio, an array; kind: "barker" u / (1 + u), "minimum" min(1, u), "root" u^0.5.
    Source: Zanella 2020.
    Paper: a-kernel-stein-test-of-goodness-of-fit (Baum et al. 2023, arXiv:2210.10741)
    """
    log_ratio = np.asarray(log_ratio, dtype=np.float64)
    kind = one_of("kind", kind, BALANCES)
    if kind == "barker":
        return expit(log_ratio)
    return np.exp(np.minimum(log_ratio, 0)) if kind == "minimum" else np.exp(0.5 * log_ratio)


def piece_counts(strings: Strings, alphabet: int, mers: int = 3) -> np.ndarray:
    """Return how often each string holds each piece of 1 to ``mers`` symbols, scaled to length 1.

    Parameters: strings (n of them); alphabet S >= 2; mers >= 1.
    Returns (n, S + S^2 + .. + S^mers). Raises ValueError for strings that are malformed or hold
    other symbols, or for counts too many to hold. Cost: O(n longest mers) and the result's size.
    Source: Leslie, Eskin and Noble 2002, the spectrum kernel.
    """
    alphabet, mers = integer("alphabet", alphabet, low=2), integer("mers", mers, low=1)
    symbols, _ = _checked(strings, alphabet)
    n, longest = symbols.shape
    mers = min(mers, longest)  # no string holds a longer piece
    pieces = sum(alphabet**k for k in range(1, mers + 1))
    fits_in_memory(f"the counts of pieces of up to {mers} symbols", 24 * n * pieces)
    blocks = []
    for k in range(1, mers + 1):
        size = alphabet**k
        code = np.zeros((n, longest - k + 1), dtype=np.int64)
        for i in range(k):
            code = code * alphabet + symbols[:, i : longest - k + 1 + i]
        whole = symbols[:, k - 1 :] >= 0
        row = size * np.arange(n)[:, None]
        blocks.append(np.bincount((row + code)[whole], minlength=n * size).reshape(n, size))
    counts = np.hstack(blocks).astype(np.float64)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def length_features(longest: int, length_scale: float) -> np.ndarray:
    """Return features (longest, longest) of a Gaussian kernel on lengths; row l - 1 is length l.

    Smooth on purpose: an edit moves the length by one, and under a rough kernel such as
    exp(-|l - l'|) steps at different lengths are almost uncorrelated, so that hints never add up.
    """
    axis = np.arange(integer("longest", longest, low=1)) / positive("length_scale", length_scale)
    values, vectors = np.linalg.eigh(np.exp(-0.5 * (axis[:, None] - axis) ** 2))
    return vectors * np.sqrt(np.maximum(values, 0.0))


def string_features(
    strings: Strings,
    alphabet: int,
    mers: int = 3,
    length_scale: float = 10.0,
    length_weight: float = 3.0,
) -> np.ndarray:
    """Return features of a kernel on strings: which pieces they hold, and how long they are.

    k(x, x') = <c(x), c(x')> + length_weight^2 exp(-(l - l')^2 / (2 length_scale^2)), c from
    :func:`piece_counts` and l the number of symbols.

    Parameters: as in :func:`piece_counts`; length_scale > 0, in symbols; length_weight >= 0.
    Returns (n, S + .. + S^mers + longest), so that k is their inner product.
    Cost: O(n (S^mers + longest mers)).
    Paper: a-kernel-stein-test-of-goodness-of-fit (Baum et al. 2023, arXiv:2210.10741)
    """
    counts = piece_counts(strings, alphabet, mers)
    strings = _checked(strings, alphabet)
    lengths = length_features(strings.symbols.shape[1], length_scale)[strings.lengths - 1]
    return np.hstack([counts, nonnegative("length_weight", length_weight) * lengths])


def string_stein_features(
    strings: Strings,
    log_probability: Callable,
    alphabet: int,
    *,
    edits: Sequence[str] = EDITS,
    where: str = "end",
    kind: str = "barker",
    mers: int = 3,
    length_scale: float = 10.0,
    length_weight: float = 3.0,
) -> np.ndarray:
    """Return what the edits of each string do to its features, in mean zero under the model.

    xi(x) = sum_{y next to x} g(p(y) / p(x)) (phi(y) - phi(x)). Moves at these rates keep p as it is
    (a jump process in detailed balance), so E_p xi = 0; k_p(x, x') = <xi(x), xi(x')> is the Stein
    kernel. Only ratios of p are needed.

    Parameters
    ----------
    strings : n strings
    log_probability : Strings -> (n,); a constant may be missing
    alphabet : S
    edits, where : as in :func:`neighbours`
    kind : as in :func:`balance`
    mers, length_scale, length_weight : as in :func:`string_features`

    Returns (n, F). Raises ValueError for unknown names, malformed strings, or a log_probability
    that is not one number a string (-inf only for neighbours). Cost: O(m F), m neighbours in all.
    Paper: a-kernel-stein-test-of-goodness-of-fit (Baum et al. 2023, arXiv:2210.10741)
    """
    near, origin = neighbours(strings, alphabet, edits, where)
    own = string_features(strings, alphabet, mers, length_scale, length_weight)
    if not len(origin):
        return np.zeros_like(own)
    here = as_vector("log_probability", log_probability(strings), length=len(own))
    there = _log_values("log_probability", log_probability(near), len(origin))
    rates = balance(there - here[origin], kind)
    moves = sparse.csr_matrix((rates, (origin, np.arange(len(rates)))), (len(own), len(rates)))
    leaving = np.bincount(origin, rates, minlength=len(own))
    arriving = moves @ string_features(near, alphabet, mers, length_scale, length_weight)
    return arriving - leaving[:, None] * own


def feature_mmd_test(features_x, features_y, permutations: int, rng) -> PermutationTest:
    """Test by MMD whether two samples, given by features of a kernel, have one law.

    |mean of features_x - mean of features_y|^2 (V-statistic) under random relabellings.

    Parameters: features_x (n, F), features_y (m, F); permutations B >= 1; rng, Generator or seed.
    Returns PermutationTest(statistic, null (B,), p_value). Cost: O(B (n + m) F).
    Source: Gretton et al. 2012.
    """
    features_x = as_matrix("features_x", features_x)
    features_y = as_matrix("features_y", features_y, columns=features_x.shape[1])
    permutations, rng = integer("permutations", permutations, low=1), as_rng(rng)
    n, m = len(features_x), len(features_y)
    weights = np.tile(np.r_[np.full(n, 1 / n), np.full(m, -1 / m)], (permutations + 1, 1))
    weights[1:] = rng.permuted(weights[1:], axis=1)
    values = np.sum((weights @ np.vstack([features_x, features_y])) ** 2, axis=1)
    return PermutationTest(float(values[0]), values[1:], p_value(values[0], values[1:]))
