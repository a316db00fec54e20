"""Six ways to wrap a fitted predictor, so that what it says can be believed.

0. The classifiers that are wrapped, and shifted data
1. A calibration error without bins (Blasiok and Nakkiran 2024)
2. Boosting on level sets until no subgroup is miscalibrated (Globus-Harris et al. 2023)
3. Evidence from the nearest training points (Schmaltz 2025)
4. Pixel intervals whose risk is under control (Teneggi et al. 2023)
5. Input noise carried through a network (Petersen et al. 2024)
6. Certified radii from two half images (Xia et al. 2024)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import dct
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import rotate
from scipy.optimize import brentq, minimize
from scipy.special import bdtr, betaincinv, log_softmax, ndtr, ndtri, softmax, xlogy

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
from kernellab.compute.networks import Adam, dense_network, network_output

# ------------------------------------------------------------------------------------------------
# 0. The classifiers that are wrapped
# ------------------------------------------------------------------------------------------------


def relu(x):
    """Return max(x, 0), entry by entry."""
    return np.maximum(x, 0.0)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network of dense ReLU layers that scores classes.

    layers : one pair (W (inputs, outputs), b (outputs,)) a layer; a single one is a linear model.
    """

    layers: list[tuple[np.ndarray, np.ndarray]]

    @property
    def inputs(self) -> int:
        """The number of inputs."""
        return self.layers[0][0].shape[0]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.layers[-1][0].shape[1]

    def scores(self, x) -> np.ndarray:
        """Return the scores (logits) of the classes, (n, classes), for x (n, inputs)."""
        return network_output(self.layers, as_matrix("x", x, self.inputs), relu)

    def features(self, x) -> np.ndarray:
        """Return the last hidden layer (n, width); the inputs themselves for a linear model."""
        x = as_matrix("x", x, self.inputs)
        for weights, biases in self.layers[:-1]:
            x = relu(x @ weights + biases)
        return x

    def probabilities(self, x, temperature: float = 1.0) -> np.ndarray:
        """Return softmax(scores / temperature), (n, classes)."""
        return softmax(self.scores(x) / positive("temperature", temperature), axis=1)


def train_classifier(
    x, labels, hidden: Sequence[int] = (32, 16), steps: int = 200, rng=0, *, step: float = 0.01
) -> Classifier:
    """Train a network by Adam on the mean cross-entropy over all points.

    Parameters
    ----------
    x : (n, d) points
    labels : (n,) classes, whole numbers from 0
    hidden : sizes of the hidden layers; () for a linear model
    steps : full gradient steps, >= 1
    rng : Generator or seed of the first weights
    step : Adam's step, > 0

    Raises ValueError for other input. Cost: O(steps n x number of weights).
    """
    x, labels = as_matrix("x", x), as_labels("labels", labels)
    same_length("x", x, "labels", labels)
    steps, classes = integer("steps", steps, low=1), int(labels.max()) + 1
    layers = dense_network([x.shape[1], *hidden, max(classes, 2)], rng)
    adam = Adam(layers, step)
    wanted = np.eye(max(classes, 2))[labels]
    for _ in range(steps):
        adam.update(_gradients(layers, x, wanted))
    return Classifier(layers)


def _gradients(layers, x, wanted):
    """The gradient of the mean cross-entropy, in the layers' form."""
    inputs = [x]
    for weights, biases in layers[:-1]:
        inputs.append(relu(inputs[-1] @ weights + biases))
    weights, biases = layers[-1]
    slope = (softmax(inputs[-1] @ weights + biases, axis=1) - wanted) / len(x)
    found = []
    for (weights, _), before in zip(layers[::-1], inputs[::-1], strict=True):
        found.append((before.T @ slope, slope.sum(axis=0)))
        slope = (slope @ weights.T) * (before > 0)
    return found[::-1]


def as_labels(name: str, labels, length: int | None = None) -> np.ndarray:
    """Return labels (n,) as int64; they must be whole numbers from 0."""
    values = as_vector(name, labels, length)
    if values.min() < 0 or np.any(values != np.round(values)) or values.max() > 1e6:
        raise ValueError(f"{name} must be whole numbers from 0, got {values.min():g} to "
                         f"{values.max():g}")  # fmt: skip
    return values.astype(np.int64)


def turned(images, degrees: float) -> np.ndarray:
    """Return images (n, h, w) rotated about their middle, empty corners 0. Cost: O(n h w)."""
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 3 or images.size == 0 or not np.isfinite(images).all():
        raise ValueError(f"images must have shape (n, h, w), got {images.shape}")
    degrees = between("degrees", degrees, -360.0, 360.0)
    if degrees == 0:
        return images.copy()
    return rotate(images, degrees, axes=(1, 2), reshape=False, order=1)


# ------------------------------------------------------------------------------------------------
# 1. A calibration error without bins (Blasiok and Nakkiran 2024)
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals y - f and the density of f along the predictions, ready for any width.

    The Gaussian of width s, reflected at 0 and 1, is
    K_s(t, u) = 1 + 2 sum_k exp(-k^2 pi^2 s^2 / 2) cos(k pi t) cos(k pi u),
    so that smoothing multiplies the k-th cosine coefficient by a number.

    residual, density, stated : (cells,) cosine coefficients of y - f, 1 and f
    """

    residual: np.ndarray
    density: np.ndarray
    stated: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """The places t (cells,) at which curves are given."""
        cells = self.residual.size
        return (np.arange(cells) + 0.5) / cells

    def _smoothed(self, coefficients, width):
        rate = np.pi * positive("width", width)
        decay = np.exp(-0.5 * (rate * np.arange(coefficients.size)) ** 2)
        return dct(coefficients * decay, type=3)

    def curve(self, width: float) -> np.ndarray:
        """Return r_s(t) = mean_i (y_i - f_i) K_s(t, f_i) at the places t, (cells,)."""
        return self._smoothed(self.residual, width)

    def error(self, width: float) -> float:
        """Return smECE_s = integral of |r_s(t)| over [0, 1]."""
        return float(np.abs(self.curve(width)).mean())

    def own_width(self) -> float:
        """Return the width s at which smECE_s = s, by bisection; at least one cell."""
        low, high = 1.0 / self.residual.size, 1.0
        if self.error(low) <= low:
            return low
        for _ in range(30):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.error(middle) > middle else (low, middle)
        return 0.5 * (low + high)


def residuals(f, y, cells: int = 1024) -> Residuals:
    """Collect predictions f and outcomes y on a grid over [0, 1].

    Parameters: f (n,) probabilities; y (n,) outcomes in [0, 1], mostly 0 or 1; cells >= 16.
    Raises ValueError for values outside [0, 1]. Cost: O(n + cells log cells).
    """
    f, y = as_vector("f", f), as_vector("y", y)
    same_length("f", f, "y", y)
    cells = integer("cells", cells, 16, 1 << 22)
    for name, values in (("f", f), ("y", y)):
        if values.min() < 0 or values.max() > 1:
            raise ValueError(f"{name} must lie in [0, 1], got {values.min():g} to "
                             f"{values.max():g}")  # fmt: skip
    place = f * cells - 0.5
    low = np.floor(place).astype(np.int64)
    share = place - low  # between two cells; the first and last reflect what falls outside
    where = np.concatenate([np.maximum(low, 0), np.minimum(low + 1, cells - 1)])
    weight = np.concatenate([1.0 - share, share]) / f.size
    gaps = np.tile(y - f, 2)
    stated = np.tile(f, 2)
    sums = [np.bincount(where, weight * w, minlength=cells) for w in (gaps, 1.0, stated)]
    return Residuals(*(0.5 * dct(values, type=2) for values in sums))


def smooth_ece(f, y, width: float | None = None) -> float:
    """Return the smooth calibration error: at a width s, or at the width that equals it.

    smECE_s = int_0^1 |(1/n) sum_i (y_i - f_i) K_s(t, f_i)| dt falls as s grows; the width s* with
    smECE_{s*} = s* is the error itself. Nothing is left to be chosen.

    Paper: smooth-ece (Blasiok and Nakkiran 2024, arXiv:2309.12236)

    Parameters: f (n,) in [0, 1]; y (n,) in [0, 1]; width > 0 or None.
    Raises ValueError for other values. Cost: O(n + G log G), G = 1024 cells.
    """
    held = residuals(f, y)
    return held.own_width() if width is None else held.error(width)


def reliability_curve(f, y, width: float | None = None):
    """Return the mean prediction, the mean outcome and the density in a window about each place.

    sum_i f_i K_s(t, f_i) / sum_i K_s(t, f_i) against the same of y_i: the smooth reliability
    diagram. Its height above the diagonal is r_s(t) / density(t), so the area between the two,
    weighted by the density, is smECE_s.

    Parameters as in smooth_ece; places that no window reaches have density 0, and are left where
    they are. Returns three arrays (1024,). Cost: O(n + G log G).
    """
    held = residuals(f, y)
    width = held.own_width() if width is None else width
    density = np.maximum(held._smoothed(held.density, width), 0.0)
    safe = np.where(density > 1e-9, density, np.inf)
    mean = np.clip(held._smoothed(held.stated, width) / safe, 0.0, 1.0)
    mean = np.where(density > 1e-9, mean, held.places)
    return mean, np.clip(mean + held.curve(width) / safe, 0.0, 1.0), density


def binned_ece(f, y, bins: int = 10) -> float:
    """Return sum over equal bins of |sum_{i in bin} (y_i - f_i)| / n. Cost: O(n)."""
    f, y = as_vector("f", f), as_vector("y", y)
    same_length("f", f, "y", y)
    bins = integer("bins", bins, low=1)
    if f.min() < 0 or f.max() > 1:
        raise ValueError(f"f must lie in [0, 1], got {f.min():g} to {f.max():g}")
    where = np.minimum((f * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(where, y - f)).sum() / f.size)


# ------------------------------------------------------------------------------------------------
# 2. Boosting on level sets (Globus-Harris et al. 2023)
# ------------------------------------------------------------------------------------------------

LEARNERS = ("stumps", "linear", "constant")


def hidden_groups(n: int, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw people whose outcome depends on groups that no single column shows.

    Six uniform columns; mean = 0.35 + 0.3 x_0 + 0.25 [x_1 > 0.6, x_2 < 0.5]
    - 0.2 [x_3 > 0.5, x_0 < 0.5] + 0.1 [x_4 > 0.8]; noise of s.d. 0.1.

    Returns x (n, 6), y (n,) in [0, 1], means (n,). Raises ValueError for n < 1. Cost: O(n).
    """
    n, rng = integer("n", n, low=1), as_rng(rng)
    x = rng.random((n, 6))
    mean = 0.35 + 0.3 * x[:, 0] + 0.25 * ((x[:, 1] > 0.6) & (x[:, 2] < 0.5))
    mean += 0.1 * (x[:, 4] > 0.8) - 0.2 * ((x[:, 3] > 0.5) & (x[:, 0] < 0.5))
    return x, np.clip(mean + 0.1 * rng.normal(size=n), 0.0, 1.0), mean


@compiled(
    "void(float64[:,::1], int64[:,::1], int64[::1], float64[::1], int64, float64[:,::1])",
)
def _level_stumps(columns, order, level, y, least, stumps):
    """For each level: feature, threshold, mean below, mean above of the best split, count.

    One walk over a sorted column serves all levels: each keeps its own running count and sum.
    """
    levels = stumps.shape[0]
    n, total, whole = y.size, np.zeros(levels), np.zeros(levels)
    for i in range(n):
        whole[level[i]] += 1.0
        total[level[i]] += y[i]
    best = np.zeros(levels)
    for v in range(levels):
        stumps[v, 0] = -1.0
        stumps[v, 4] = whole[v]
        if whole[v] > 0:
            stumps[v, 2] = stumps[v, 3] = total[v] / whole[v]
            best[v] = total[v] * total[v] / whole[v] * (1.0 + 1e-12)
    for j in range(columns.shape[0]):
        count, part, last = np.zeros(levels), np.zeros(levels), np.zeros(levels)
        for k in range(n):
            i = order[j, k]
            v, at = level[i], columns[j, i]
            left, right = count[v], whole[v] - count[v]
            if left >= least and right >= least and at > last[v]:
                gain = part[v] ** 2 / left + (total[v] - part[v]) ** 2 / right
                if gain > best[v]:
                    best[v] = gain
                    stumps[v, 0] = j
                    stumps[v, 1] = 0.5 * (at + last[v])
                    stumps[v, 2] = part[v] / left
                    stumps[v, 3] = (total[v] - part[v]) / right
            count[v] += 1.0
            part[v] += y[i]
            last[v] = at


@dataclass(frozen=True, eq=False)
class LevelSetModel:
    """A predictor with values 0, 1/m, .., 1, corrected round by round within its level sets.

    levels : m; learner : see LEARNERS; start : the constant of round 0, on the grid
    columns : d, of the points it was fitted to
    rounds : one array (m + 1, parameters) a round, a row for each level
    losses : (rounds + 1,) mean squared error on the training points
    """

    levels: int
    learner: str
    start: float
    columns: int
    rounds: list[np.ndarray]
    losses: np.ndarray

    def trace(self, x) -> np.ndarray:
        """Return the predictions after 0, 1, .., all rounds, (rounds + 1, n), for x (n, d)."""
        x = as_matrix("x", x, self.columns)
        level = np.full(len(x), round(self.start * self.levels))
        found = [level]
        for correction in self.rounds:
            value = _corrected(self.learner, correction, level, x)
            level = np.rint(np.clip(value, 0.0, 1.0) * self.levels).astype(np.int64)
            found.append(level)
        return np.array(found) / self.levels

    def predict(self, x) -> np.ndarray:
        """Return the predictions (n,) after all rounds."""
        return self.trace(x)[-1]


def level_set_boost(
    x, y, levels: int = 10, learner: str = "stumps", rounds: int = 100,
    tolerance: float = 1e-5, least: int = 10,
) -> LevelSetModel:  # fmt: skip
    """Replace the predictions on each level set by the best regressor there, until none helps.

    f_0 is constant. In a round, h_v minimises the squared error over {x : f(x) = v} for each v;
    then f <- round(sum_v 1[f = v] h_v(x)) to the grid 0, 1/m, .., 1. It stops when the mean squared
    error falls by less than the tolerance (alpha / 2B in the paper); that round is dropped.

    Paper: multicalibration-as-boosting-for-regression (Globus-Harris et al. 2023, arXiv:2301.13767)

    Parameters
    ----------
    x, y : (n, d) and (n,) with y in [0, 1]
    levels : m >= 1
    learner : "stumps" (one split), "linear" (least squares), "constant" (the mean)
    rounds : at most so many
    tolerance : >= 0
    least : level sets or sides of a split with fewer points are left alone

    Raises ValueError for other input. Cost a round: O(n d) for stumps, O(n d^2) for linear.
    """
    x, y = as_matrix("x", x), as_vector("y", y)
    same_length("x", x, "y", y)
    if y.min() < 0 or y.max() > 1:
        raise ValueError(f"y must lie in [0, 1], got {y.min():g} to {y.max():g}")
    levels, rounds = integer("levels", levels, 1, 1000), integer("rounds", rounds, low=0)
    learner, least = one_of("learner", learner, LEARNERS), integer("least", least, low=1)
    tolerance = nonnegative("tolerance", tolerance)
    columns = np.ascontiguousarray(x.T)
    order = np.argsort(columns, axis=1, kind="stable")
    level = np.full(y.size, round(y.mean() * levels), dtype=np.int64)
    model = LevelSetModel(levels, learner, level[0] / levels, x.shape[1], [], np.empty(0))
    losses = [np.mean((y - model.start) ** 2)]
    for _ in range(rounds):
        correction = _fit_levels(learner, x, columns, order, level, y, levels, least)
        value = _corrected(learner, correction, level, x)
        moved = np.rint(np.clip(value, 0.0, 1.0) * levels).astype(np.int64)
        loss = np.mean((y - moved / levels) ** 2)
        if loss > losses[-1] - tolerance:
            break
        level = moved
        model.rounds.append(correction)
        losses.append(loss)
    return replace(model, losses=np.array(losses))


def _fit_levels(learner, x, columns, order, level, y, levels, least):
    """The best correction of each level, one row each."""
    if learner == "linear":
        found = np.zeros((levels + 1, x.shape[1] + 1))
        found[:, 0] = np.arange(levels + 1) / levels
        for v in np.flatnonzero(np.bincount(level) >= max(least, 2 * x.shape[1])):
            inside = level == v
            with_one = np.hstack([np.ones((inside.sum(), 1)), x[inside]])
            found[v] = np.linalg.lstsq(with_one, y[inside], rcond=None)[0]
        return found
    found = np.zeros((levels + 1, 5))
    _level_stumps(columns[: x.shape[1] * (learner == "stumps")], order, level, y, least, found)
    rare = found[:, 4] < least
    found[rare, 0] = -1.0
    found[rare, 2] = found[rare, 3] = np.flatnonzero(rare) / levels
    return found


def _corrected(learner, correction, level, x):
    """The value of each point's own correction, before rounding."""
    own = correction[level]
    if learner == "linear":
        return own[:, 0] + np.sum(own[:, 1:] * x, axis=1)
    feature = np.maximum(own[:, 0], 0).astype(np.int64)
    above = (x[np.arange(len(x)), feature] > own[:, 1]) & (own[:, 0] >= 0)
    return np.where(above, own[:, 3], own[:, 2])


def group_gaps(predicted, y, groups, levels: int) -> np.ndarray:
    """Return E[(y - f) g(x) 1(f = v)] for each group and level, (g, levels + 1).

    Parameters: predicted (n,), on the grid 0, 1/levels, .., 1 (others are rounded to it);
    y (n,); groups (n, g), 0 or 1, or weights. Raises ValueError otherwise. Cost: O(n g).
    """
    predicted, y = as_vector("predicted", predicted), as_vector("y", y)
    same_length("predicted", predicted, "y", y)
    groups = as_matrix("groups", groups, rows=y.size)
    levels = integer("levels", levels, 1, 100000)
    level = np.rint(np.clip(predicted, 0.0, 1.0) * levels).astype(np.int64)
    gap = (y - predicted)[:, None] * groups / y.size
    return np.array([np.bincount(level, g, minlength=levels + 1) for g in gap.T])


def threshold_groups(x, cuts=(0.5,), pairs: bool = True) -> np.ndarray:
    """Return indicators (n, g): everybody, x_j above or below each cut, and pairs of these.

    Parameters: x (n, d); cuts, numbers; pairs, whether groups of two columns are included.
    Cost: O(n g), g = O((d cuts)^2).
    """
    x, cuts = as_matrix("x", x), as_vector("cuts", cuts)
    single = [
        (j, side) for j in range(x.shape[1]) for c in cuts for side in (x[:, j] > c, x[:, j] <= c)
    ]
    found = [np.ones(len(x), dtype=bool), *(side for _, side in single)]
    if pairs:
        found += [a & b for k, (i, a) in enumerate(single) for j, b in single[k:] if i < j]
    return np.array(found, dtype=np.float64).T


# ------------------------------------------------------------------------------------------------
# 3. Evidence from the nearest training points (Schmaltz 2025)
# ------------------------------------------------------------------------------------------------


@compiled(
    "void(float64[:,::1], int64[::1], float64[:,::1], int64[::1], boolean[::1],"
    " int64[::1], float64[::1])",
    fastmath={"contract"},
)
def _depths(queries, wanted, points, labels, right, depth, nearest):
    """Points that agree and lie nearer than the first that does not; distance to the nearest."""
    squares = np.empty(points.shape[0])
    for i in range(queries.shape[0]):
        squares[:] = 0.0
        for k in range(points.shape[1]):
            at = queries[i, k]
            for j in range(points.shape[0]):
                gap = points[j, k] - at
                squares[j] += gap * gap
        edge, least = np.inf, np.inf
        for j in range(points.shape[0]):
            if labels[j] != wanted[i] or not right[j]:
                edge = min(edge, squares[j])
            least = min(least, squares[j])
        count = 0
        for j in range(points.shape[0]):
            count += squares[j] < edge
        depth[i], nearest[i] = count, math.sqrt(least)


def neighbour_depth(queries, wanted, points, labels, predicted):
    """Return how many nearest points in a row agree with each query, and how far the nearest is.

    A point agrees when its label is the query's class and the model itself gets the point right.
    Counting stops at the first that does not: no sorting is needed, only the distance to it.

    Parameters
    ----------
    queries : (q, d) features
    wanted : (q,) predicted classes of the queries
    points : (n, d) features of training points; labels, predicted : (n,)

    Returns depths (q,) int64, distances (q,). Raises ValueError for other input.
    Cost: O(q n d).
    """
    queries = as_matrix("queries", queries)
    points = as_matrix("points", points, queries.shape[1])
    wanted = as_labels("wanted", wanted, len(queries))
    labels = as_labels("labels", labels, len(points))
    right = labels == as_labels("predicted", predicted, len(points))
    depth, nearest = np.empty(len(queries), np.int64), np.empty(len(queries))
    _depths(queries, wanted, points, labels, right, depth, nearest)
    return depth, nearest


def sdm(scores, depth, quantile) -> np.ndarray:
    """Return (2 + q)^(d z_c) / sum_k (2 + q)^(d z_k), row by row.

    With q = e - 2 and d = 1 it is softmax; with d = 0 all classes are alike.

    Parameters: scores z (n, classes); depth q >= 0 and quantile d in [0, 1], (n,) or numbers.
    Raises ValueError for other values. Cost: O(n classes).
    """
    return np.exp(_log_sdm(scores, depth, quantile))


def _log_sdm(scores, depth, quantile):
    scores = as_matrix("scores", scores)
    depth = as_vector("depth", np.broadcast_to(depth, len(scores)))
    quantile = as_vector("quantile", np.broadcast_to(quantile, len(scores)))
    if depth.min() < 0 or quantile.min() < 0 or quantile.max() > 1:
        raise ValueError("depth must be at least 0, and quantile between 0 and 1")
    return log_softmax((quantile * np.log(2.0 + depth))[:, None] * scores, axis=1)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is kept of training and calibration data to judge new predictions.

    classifier : Classifier
    points, labels, predicted : training features (n, h), labels and predictions (n,)
    distances : one sorted array a class, of calibration points with depth > 0 to their nearest
    """

    classifier: Classifier
    points: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    distances: list[np.ndarray]

    def measure(self, x) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return scores (n, classes), depth q (n,) and quantile d (n,) of points x (n, inputs).

        d = share of calibration points of the predicted class whose nearest training point lies
        farther away; 0 where q = 0.
        """
        scores = self.classifier.scores(x)
        wanted = scores.argmax(axis=1)
        depth, nearest = neighbour_depth(
            self.classifier.features(x), wanted, self.points, self.labels, self.predicted
        )
        quantile = np.zeros(len(scores))
        for c, known in enumerate(self.distances):
            own = (wanted == c) & (depth > 0)
            below = np.searchsorted(known, nearest[own], side="left")
            quantile[own] = 1.0 - below / max(known.size, 1) if known.size else 0.0
        return scores, depth, quantile

    def probabilities(self, x) -> np.ndarray:
        """Return the SDM probabilities (n, classes)."""
        return sdm(*self.measure(x))

    def score(self, x) -> np.ndarray:
        """Return d log(2 + q), (n,): the factor by which evidence stretches the scores."""
        _, depth, quantile = self.measure(x)
        return quantile * np.log(2.0 + depth)


def gather_evidence(classifier: Classifier, x, labels, x_calibration) -> Evidence:
    """Keep what is needed to tell how well supported a new prediction is.

    Paper: similarity-distance-magnitude-universal (Schmaltz 2025, arXiv:2502.20167)

    Parameters: classifier; x (n, inputs) and labels (n,), the training points;
    x_calibration (m, inputs), fresh points of the same kind (their labels are not needed here).
    Raises ValueError for other shapes. Cost: O(n m h), h features.
    """
    points = classifier.features(x)
    labels = as_labels("labels", labels, len(points))
    predicted = classifier.scores(x).argmax(axis=1)
    wanted = classifier.scores(x_calibration).argmax(axis=1)
    depth, nearest = neighbour_depth(
        classifier.features(x_calibration), wanted, points, labels, predicted
    )
    distances = [np.sort(nearest[(wanted == c) & (depth > 0)]) for c in range(classifier.classes)]
    return Evidence(classifier, points, labels, predicted, distances)


def acceptance_threshold(score, share: float) -> float:
    """Return the score above or at which ``share`` of the given points lie. Cost: O(n log n)."""
    score = np.sort(as_vector("score", score))
    share = between("share", share, 0.0, 1.0)
    return float(score[min(int((1.0 - share) * score.size), score.size - 1)])


# ------------------------------------------------------------------------------------------------
# 4. Pixel intervals whose risk is under control (Teneggi et al. 2023)
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of normal laws: weights (k,), means (k, d), covariances (k, d, d)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def fit_mixture(x, labels, floor: float = 0.05) -> Mixture:
    """Fit one normal law a class: mean, and covariance half its own, half that of all classes.

    Parameters: x (n, d); labels (n,); floor > 0, a standard deviation added to every coordinate.
    Raises ValueError for a class without points. Cost: O(n d^2).
    """
    x = as_matrix("x", x)
    labels = as_labels("labels", labels, len(x))
    floor, counts = positive("floor", floor), np.bincount(labels)
    if counts.min() == 0:
        raise ValueError(f"labels must use each class, but class {counts.argmin()} is empty")
    means = np.array([x[labels == c].mean(axis=0) for c in range(counts.size)])
    centred = x - means[labels]
    own = np.array([centred[labels == c].T @ centred[labels == c] for c in range(counts.size)])
    pooled = own.sum(axis=0) / len(x)
    blended = 0.5 * own / counts[:, None, None] + 0.5 * pooled + floor**2 * np.eye(x.shape[1])
    return Mixture(counts / len(x), means, blended)


def posterior_samples(mixture: Mixture, noisy, noise, draws: int, rng) -> np.ndarray:
    """Draw x given y = x + noise, exactly, when x comes from the mixture.

    Given component c, x | y is normal with mean m_c + G (y - m_c) and covariance S_c - G S_c,
    G = S_c (S_c + N)^-1; components have weights p_c N(y; m_c, S_c + N).

    Parameters: noisy (n, d); noise (d,) > 0, standard deviations; draws >= 1.
    Returns (n, draws, d). Raises ValueError otherwise. Cost: O(k d^3 + n draws d^2).
    """
    d = mixture.means.shape[1]
    noisy, noise = as_matrix("noisy", noisy, d), as_vector("noise", noise, d)
    if noise.min() <= 0:
        raise ValueError(f"noise must be positive, got {noise.min():g}")
    draws, rng = integer("draws", draws, low=1), as_rng(rng)
    fits_in_memory("the samples", 24 * len(noisy) * draws * d)
    log_weights, laws = [], []
    for p, mean, cov in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
        factor = cho_factor(cov + np.diag(noise**2), lower=True)
        gap = noisy - mean
        solved = cho_solve(factor, gap.T).T
        log_det = 2.0 * np.log(np.diag(factor[0])).sum()
        log_weights.append(math.log(p) - 0.5 * (log_det + np.sum(gap * solved, axis=1)))
        spread = cov - cov @ cho_solve(factor, cov)
        laws.append((mean + solved @ cov, np.linalg.cholesky(0.5 * (spread + spread.T))))
    chances = np.cumsum(softmax(np.array(log_weights), axis=0), axis=0)
    which = (rng.random((len(noisy), draws, 1)) > chances.T[:, None, :-1]).sum(axis=2)
    found = rng.standard_normal((len(noisy), draws, d))
    for c, (centre, root) in enumerate(laws):
        image, draw = np.nonzero(which == c)
        found[image, draw] = centre[image] + found[image, draw] @ root.T
    return found


def entry_intervals(samples, alpha: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return, pixel by pixel, the ends of an interval that holds a fresh sample at 1 - alpha.

    The k-th smallest and k-th largest of m samples, k = floor((m + 1) alpha / 2): a fresh one is
    equally likely to fall into each of the m + 1 gaps.

    Parameters: samples (n, m, d); alpha in (0, 1) with (m + 1) alpha >= 2.
    Returns two arrays (n, d). Raises ValueError otherwise. Cost: O(n d m log m).
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 3 or samples.size == 0 or not np.isfinite(samples).all():
        raise ValueError(f"samples must be finite, shape (n, m, d), got {samples.shape}")
    m = samples.shape[1]
    k = int((m + 1) * between("alpha", alpha, 0.0, 1.0) / 2)
    if not 1 <= k <= m / 2:
        raise ValueError(f"alpha must lie between 2 / (m + 1) = {2 / (m + 1):.3g} and 1, "
                         f"got {alpha}")  # fmt: skip
    ordered = np.sort(samples, axis=1)
    return ordered[:, k - 1].copy(), ordered[:, m - k].copy()


def binomial_p_value(risk, n: int, eps: float):
    """Return the Hoeffding-Bentkus p-value of "true risk >= eps", given a mean loss over n images.

    min( exp(-n h(min(risk, eps), eps)), e P(Bin(n, eps) <= ceil(n risk)), 1 ),
    h(a, b) = a log(a / b) + (1 - a) log((1 - a) / (1 - b)), for losses in [0, 1].

    Parameters: risk in [0, 1], a number or an array; n >= 1; eps in (0, 1).
    Raises ValueError for other values. Cost: O(1) each. Source: Bates et al. 2021, JACM 68(6).
    """
    n, eps = integer("n", n, low=1), between("eps", eps, 1e-9, 1.0 - 1e-9)
    risk = _shares("risk", risk)
    low = np.minimum(risk, eps)
    h = xlogy(low, low / eps) + xlogy(1.0 - low, (1.0 - low) / (1.0 - eps))
    tail = bdtr(np.ceil(n * risk - 1e-9), n, eps)
    value = np.minimum(np.minimum(np.exp(-n * h), math.e * tail), 1.0)
    return float(value) if value.ndim == 0 else value


def allowed_risk(n: int, eps: float, delta: float) -> float:
    """Return the largest mean loss over n images that still proves risk <= eps at level delta.

    Returns -1 when even no loss at all proves nothing (n too small). Cost: O(1).
    """
    eps, delta = between("eps", eps, 1e-9, 1 - 1e-9), between("delta", delta, 1e-12, 1.0)
    if binomial_p_value(0.0, n, eps) > delta:
        return -1.0
    low, high = 0.0, eps
    for _ in range(8):  # the p-value rises with the loss: 64 places at a time instead of halving
        tried = np.linspace(low, high, 65)
        good = np.count_nonzero(binomial_p_value(tried, n, eps) <= delta)
        low, high = tried[good - 1], tried[min(good, 64)]
    return float(low)


def excess(truth, lower, upper) -> np.ndarray:
    """Return by how much each pixel lies outside its interval (negative: inside), (n, d)."""
    truth, lower, upper = _interval(truth, lower, upper)
    return np.maximum(lower - truth, truth - upper)


def _interval(truth, lower, upper):
    truth = as_matrix("truth", truth)
    lower = as_matrix("lower", lower, truth.shape[1], len(truth))
    upper = as_matrix("upper", upper, truth.shape[1], len(truth))
    if np.any(lower > upper):
        raise ValueError("upper must nowhere lie below lower")
    return truth, lower, upper


def rcps_width(outside, eps: float, delta: float, widths=0.0) -> np.ndarray:
    """Return the least widening whose risk is proved to be at most eps, with chance 1 - delta.

    Pixel j is widened by max(w_j + omega, 0) at both ends; the loss of an image is the share of its
    pixels outside. The loss falls as omega grows, so omega is a quantile of outside - w.

    Parameters
    ----------
    outside : (n, d), as from ``excess``, of n calibration images
    eps, delta : the risk, and the chance of exceeding it
    widths : w, a number or (d,), chosen on other images

    Returns the widenings (d,). Raises ValueError where n images cannot prove it.
    Cost: O(n d).
    """
    outside = as_matrix("outside", outside)
    widths = as_vector("widths", np.broadcast_to(widths, outside.shape[1]))
    risk = allowed_risk(len(outside), eps, delta)
    if risk < 0:
        raise ValueError(f"outside must hold more images: {len(outside)} without any loss do not "
                         f"prove a risk of {eps:g} at level {delta:g}")  # fmt: skip
    needed = np.where(outside > 0, outside - widths, -np.inf).ravel()
    lost = int(risk * needed.size)
    place = needed.size - 1 - lost
    omega = np.partition(needed, place)[place]
    return np.maximum(widths + max(omega, -widths.max()), 0.0)


def pixel_groups(outside, groups: int) -> np.ndarray:
    """Return a group 0..groups - 1 for each pixel, by its share of images outside: (d,).

    Groups have equal sizes as far as they can; equal shares are ranked by the mean excess.
    Cost: O(n d).
    """
    outside = as_matrix("outside", outside)
    groups = integer("groups", groups, 1, outside.shape[1])
    ranked = np.lexsort((np.maximum(outside, 0).mean(axis=0), (outside > 0).mean(axis=0)))
    found = np.empty(ranked.size, dtype=np.int64)
    found[ranked] = np.arange(ranked.size) * groups // ranked.size
    return found


def convex_bound(truth, lower, upper, widths, gamma: float) -> np.ndarray:
    """Return [2 (1 + q)|x - c| / (u - l + 2 w) - q]_+ with q = gamma / (1 - gamma), (n, d).

    c is the middle of the interval. It is convex in w, and at least 1 where x lies outside.

    Parameters: truth, lower, upper (n, d); widths, a number or (d,); gamma in [0, 0.99].
    Raises ValueError otherwise. Cost: O(n d).
    """
    truth, lower, upper = _interval(truth, lower, upper)
    q = _odds(gamma)
    widths = as_vector("widths", np.broadcast_to(widths, truth.shape[1]))
    room = np.maximum(upper - lower + 2.0 * widths, 1e-12)
    return np.maximum(2 * (1 + q) * np.abs(truth - 0.5 * (lower + upper)) / room - q, 0.0)


def _odds(gamma):
    gamma = between("gamma", gamma, 0.0, 0.99)
    return gamma / (1.0 - gamma)


def group_widths(truth, lower, upper, groups, eps: float, gamma: float = 0.5) -> np.ndarray:
    """Return the widenings, one a group, of least total length under a convex bound of the risk.

    min sum_k n_k w_k  subject to  mean [2 (1 + q)|x - c| / (u - l + 2 w_k) - q]_+ <= eps, w >= 0,
    by sequential quadratic programs. It keeps to the bound, but with a handful of images, where
    the bound has few kinks, far apart, it may be too long: up to half at 3 images and gamma 0.95.

    Parameters: truth, lower, upper (n, d); groups (d,), whole numbers from 0; eps in (0, 1);
    gamma in [0, 0.99]. Returns (d,), the widening of each pixel. Raises ValueError otherwise.
    Cost: O(n d) times about fifty.
    """
    truth, lower, upper = _interval(truth, lower, upper)
    groups, eps = as_labels("groups", groups, truth.shape[1]), between("eps", eps, 1e-9, 1.0)
    sizes, q = np.bincount(groups), _odds(gamma)
    if sizes.min() == 0:
        raise ValueError(f"groups must use each number, but {sizes.argmin()} is missing")
    order = np.argsort(groups, kind="stable")
    own, starts = groups[order], np.cumsum(sizes) - sizes
    gaps = np.abs(truth - 0.5 * (lower + upper))[:, order]
    unit = gaps.max() or 1.0  # lengths are counted in it: the solver's tolerance is absolute
    start = np.full(sizes.size, gaps.mean() / unit)
    gaps *= 2.0 * (1.0 + q) / unit
    lengths = np.maximum((upper - lower)[:, order] / unit, 1e-9)

    def left(w):
        return eps - np.maximum(gaps / (lengths + 2.0 * w[own]) - q, 0.0).mean()

    def slope(w):
        room = lengths + 2.0 * w[own]
        ratio = gaps / room
        counted = np.where(ratio > q, ratio / room, 0.0).sum(axis=0)
        return np.add.reduceat(counted, starts) * (2.0 / gaps.size)

    none, share = np.zeros(sizes.size), sizes / groups.size
    if left(none) >= 0:
        return none[groups]
    found = minimize(
        lambda w: (w @ share, share), start, jac=True,
        bounds=[(0.0, None)] * sizes.size, constraints={"type": "ineq", "fun": left, "jac": slope},
        method="SLSQP", options={"ftol": 1e-7, "maxiter": 300},
    )  # fmt: skip
    # The program may stop a little short of the bound (heavy tails): widen until it holds.
    widths = np.maximum(found.x, 0.0)
    if left(widths) < 0:
        enough = widths.max() + gaps.max()
        while left(widths + enough) < 0:
            enough *= 2.0
        more = brentq(lambda step: left(widths + step), 0.0, enough)
        widths += more if left(widths + more) >= 0 else more * (1.0 + 1e-9) + 1e-12
    return unit * widths[groups]


def calibrate_intervals(
    truth, lower, upper, eps: float, delta: float = 0.1, *, groups: int = 1,
    optimise: int = 64, gammas: Sequence[float] = (0.3, 0.5, 0.7),
) -> np.ndarray:  # fmt: skip
    """Return widenings (d,) that lose at most a share eps of the pixels, with chance 1 - delta.

    One group: RCPS, the same widening everywhere. More: K-RCPS. The first ``optimise`` images sort
    pixels into groups and shape the widths; the others prove the risk along w + omega.

    Paper: how-to-trust-your-diffusion-model (Teneggi et al. 2023, arXiv:2302.03791)

    Parameters
    ----------
    truth, lower, upper : (n, d), calibration images and their intervals
    eps, delta : the risk, and the chance of exceeding it
    groups : K >= 1
    optimise : images that shape the widths when groups > 1; the rest must be able to prove eps
    gammas : tried for the convex bound; the shortest result on the first images is kept

    Raises ValueError for other input. Cost: O(n d) times about fifty a gamma.
    """
    truth = as_matrix("truth", truth)
    outside = excess(truth, lower, upper)
    groups = integer("groups", groups, 1, truth.shape[1])
    if groups == 1:
        return rcps_width(outside, eps, delta)
    optimise = integer("optimise", optimise, 1, len(truth) - 1)
    gammas = as_vector("gammas", gammas)
    first, rest = slice(optimise), slice(optimise, None)
    labels = pixel_groups(outside[first], groups)
    # A shape is judged by the length it needs, moved along w + omega, for a loss of eps.
    tried = []
    for gamma in gammas:
        shape = group_widths(truth[first], lower[first], upper[first], labels, eps, gamma)
        tried.append((_moved(outside[first], shape, eps).sum(), gamma, shape))
    return rcps_width(outside[rest], eps, delta, min(tried, key=lambda item: item[:2])[2])


def _moved(outside, widths, risk):
    needed = np.where(outside > 0, outside - widths, -np.inf).ravel()
    place = max(needed.size - 1 - int(risk * needed.size), 0)
    omega = np.partition(needed, place)[place]
    return np.maximum(widths + max(omega, -widths.max()), 0.0)


# ------------------------------------------------------------------------------------------------
# 5. Input noise carried through a network (Petersen et al. 2024)
# ------------------------------------------------------------------------------------------------


def sdp_relu(mean, cov) -> tuple[np.ndarray, np.ndarray]:
    """Return max(0, mean) and the covariance of the coordinates whose mean is above 0.

    Coordinates with mean > 0 pass unchanged, the others become 0 for certain: J S J with
    J = diag(mean > 0). Of all normal laws and points it is the nearest in total variation.

    Parameters: mean (d,); cov (d, d), symmetric. Raises ValueError otherwise. Cost: O(d^2).
    """
    mean = as_vector("mean", mean)
    cov = as_matrix("cov", cov, mean.size, mean.size)
    passes = (mean > 0).astype(np.float64)
    return mean * passes, cov * passes[:, None] * passes


def propagate(classifier: Classifier, x, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (classes,) and covariance of the scores of x + N(0, noise^2 I), linearised.

    A dense layer maps N(mu, S) to N(W' mu + b, W' S W), exactly; a ReLU by ``sdp_relu``. All in
    all: the scores of x itself, and noise^2 J J' with J the network's Jacobian at x.

    Paper: uncertainty-quantification-via-stable (Petersen et al. 2024, arXiv:2402.08324)

    Parameters: x (inputs,); noise >= 0. Raises ValueError otherwise.
    Cost: O(inputs x width^2), one forward pass and its Jacobian.
    """
    mean = as_vector("x", x, classifier.inputs)
    cov = nonnegative("noise", noise) ** 2 * np.eye(mean.size)
    last = len(classifier.layers) - 1
    for k, (weights, biases) in enumerate(classifier.layers):
        mean, cov = mean @ weights + biases, weights.T @ cov @ weights
        if k < last:
            mean, cov = sdp_relu(mean, cov)
    return mean, cov


def propagate_diagonal(classifier: Classifier, x, noise: float, rule: str = "sdp"):
    """Return mean and variances (classes,) when correlations are dropped at every layer.

    A dense layer maps variances v to (W^2)' v. A ReLU passes coordinates of mean > 0 unchanged
    (rule "sdp"), or takes mean and variance of max(0, N(mu, v)) (rule "moments").

    Parameters: x (inputs,); noise >= 0. Raises ValueError otherwise. Cost: O(number of weights).
    """
    mean, rule = as_vector("x", x, classifier.inputs), one_of("rule", rule, ("sdp", "moments"))
    variance = np.full(mean.size, nonnegative("noise", noise) ** 2)
    last = len(classifier.layers) - 1
    for k, (weights, biases) in enumerate(classifier.layers):
        mean, variance = mean @ weights + biases, variance @ weights**2
        if k < last and rule == "sdp":
            mean, variance = relu(mean), variance * (mean > 0)
        elif k < last:
            mean, variance = relu_moments(mean, variance)
    return mean, variance


def relu_moments(mean, variance) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of max(0, X), X ~ N(mean, variance), entry by entry.

    m' = m Phi(a) + s phi(a), v' = (m^2 + s^2) Phi(a) + m s phi(a) - m'^2, a = m / s.

    Raises ValueError for a negative variance. Cost: O(d).
    """
    mean, variance = as_vector("mean", mean), as_vector("variance", variance)
    same_length("mean", mean, "variance", variance)
    if variance.min() < 0:
        raise ValueError(f"variance must be at least 0, got {variance.min():g}")
    s = np.sqrt(variance)
    a = np.clip(mean / np.maximum(s, 1e-300), -37.0, 37.0)  # beyond, the tail is below rounding
    bell = np.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi)
    first = mean * ndtr(a) + s * bell
    second = (mean * mean + variance) * ndtr(a) + mean * s * bell
    return first, np.maximum(second - first * first, 0.0)


def propagate_cauchy(classifier: Classifier, x, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and scale (classes,) of the scores under independent Cauchy noise, linearised.

    A sum of independent Cauchy numbers w_i x_i is Cauchy with scale sum |w_i| g_i. Each score is
    linear in the inputs near x, so its scale is that of its own row of the Jacobian.

    Parameters: x (inputs,); scale >= 0. Raises ValueError otherwise.
    Cost: O(inputs x width^2).
    """
    mean, scale = as_vector("x", x, classifier.inputs), nonnegative("scale", scale)
    mean, jacobian = _linearised(classifier, mean)
    return mean, scale * np.abs(jacobian).sum(axis=0)


def _linearised(classifier, mean):
    """The scores at a point, and their derivatives (inputs, classes)."""
    jacobian = np.eye(mean.size)
    for weights, biases in classifier.layers[:-1]:
        mean, jacobian = mean @ weights + biases, jacobian @ weights
        jacobian = jacobian * (mean > 0)
        mean = relu(mean)
    weights, biases = classifier.layers[-1]
    return mean @ weights + biases, jacobian @ weights


def pairwise_probability(classifier: Classifier, x, noise: float, law: str = "gaussian"):
    """Return P(score_i > score_j) under noise in the input, (classes, classes), linearised.

    Gaussian: Phi((m_i - m_j) / sqrt(S_ii + S_jj - 2 S_ij)); Cauchy: 1/2 + arctan(.)/pi with the
    scale of the difference. The diagonal is 1/2.

    Parameters: x (inputs,); noise > 0, standard deviation or Cauchy scale.
    Raises ValueError otherwise. Cost: O(inputs x width^2 + inputs classes^2).
    """
    law, noise = one_of("law", law, ("gaussian", "cauchy")), positive("noise", noise)
    mean, jacobian = _linearised(classifier, as_vector("x", x, classifier.inputs))
    gap = mean[:, None] - mean
    slopes = jacobian[:, :, None] - jacobian[:, None, :]
    if law == "cauchy":
        spread = noise * np.abs(slopes).sum(axis=0)
    else:
        spread = noise * np.sqrt(np.sum(slopes**2, axis=0))
    ratio = gap / np.maximum(spread, 1e-300)
    return 0.5 + np.arctan(ratio) / np.pi if law == "cauchy" else ndtr(ratio)


def relu_distance(mu: float, s: float, m: float, v: float, points: int = 4001) -> float:
    """Return the total variation between max(0, N(mu, s^2)) and N(m, v^2).

    The first law has an atom P0 = Phi(-mu / s) at 0, which no normal law has:
    TV = (P0 + Phi(-m / v) + int_0^inf |p - q|) / 2.

    Parameters: mu, m; s, v > 0 (standard deviations); points of the quadrature, odd.
    Raises ValueError otherwise. Cost: O(points).
    """
    s, v, points = positive("s", s), positive("v", v), integer("points", points, 101, 10**6)
    mu, m = between("mu", mu, -1e6, 1e6), between("m", m, -1e6, 1e6)
    top = max(mu + 9.0 * s, m + 9.0 * v, 1e-9)
    t = np.linspace(0.0, top, points)
    gap = np.abs(_bell(t, mu, s) - _bell(t, m, v))
    inside = np.sum((gap[1:] + gap[:-1]) * np.diff(t)) / 2.0
    return float(0.5 * (ndtr(-mu / s) + ndtr(-m / v) + inside))


def _bell(t, mean, scale):
    return np.exp(-0.5 * ((t - mean) / scale) ** 2) / (scale * math.sqrt(2.0 * math.pi))


def distance_to_normal(samples, mean: float, scale: float) -> float:
    """Return the Wasserstein-1 distance of samples (n,) to N(mean, scale^2), by quantiles.

    Raises ValueError for scale < 0 or no samples. Cost: O(n log n).
    """
    samples = np.sort(as_vector("samples", samples))
    level = (np.arange(samples.size) + 0.5) / samples.size
    ideal = between("mean", mean, -1e9, 1e9) + nonnegative("scale", scale) * ndtri(level)
    return float(np.abs(samples - ideal).mean())


# ------------------------------------------------------------------------------------------------
# 6. Certified radii from two half images (Xia et al. 2024)
# ------------------------------------------------------------------------------------------------


def checkerboard(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of the two colours of a checkerboard, as indices into a flat image."""
    height, width = integer("height", height, low=1), integer("width", width, low=2)
    colour = (np.add.outer(np.arange(height), np.arange(width)) % 2).ravel()
    return np.flatnonzero(colour == 0), np.flatnonzero(colour == 1)


def noisy_ridge(x, labels, noise: float, classes: int | None = None) -> Classifier:
    """Fit a linear model to one-hot labels under Gaussian noise on the inputs, in closed form.

    E|W'(x + e) + b - y|^2 = |W'x + b - y|^2 + noise^2 |W|^2: training with noise is ridge
    regression with penalty n noise^2.

    Parameters: x (n, d); labels (n,); noise > 0; classes, by default those that occur.
    Raises ValueError otherwise. Cost: O(n d^2 + d^3).
    """
    x, noise = as_matrix("x", x), positive("noise", noise)
    labels = as_labels("labels", labels, len(x))
    classes = integer("classes", classes or labels.max() + 1, low=max(int(labels.max()) + 1, 2))
    wanted = np.eye(classes)[labels]
    middle, mean = x.mean(axis=0), wanted.mean(axis=0)
    centred = x - middle
    system = centred.T @ centred + len(x) * noise**2 * np.eye(x.shape[1])
    weights = cho_solve(cho_factor(system), centred.T @ (wanted - mean))
    return Classifier([(weights, mean - middle @ weights)])


def noisy_votes(classifier: Classifier, x, noise: float, draws: int, rng) -> np.ndarray:
    """Return how often each class wins when Gaussian noise is added to the inputs.

    What noise on the inputs does to the first layer is N(0, noise^2 W'W): it is drawn there, in as
    many numbers as the layer has outputs, and not pixel by pixel.

    Parameters: x (n, inputs); noise > 0; draws >= 1. Returns counts (n, classes).
    Raises ValueError otherwise. Cost: O(n draws x weights behind the first layer).
    """
    x, noise = as_matrix("x", x, classifier.inputs), positive("noise", noise)
    draws, rng = integer("draws", draws, low=1), as_rng(rng)
    (weights, biases), *rest = classifier.layers
    _, sizes, turn = np.linalg.svd(weights, full_matrices=False)
    fits_in_memory("the noise", 32 * draws * sizes.size)
    spread, start = noise * sizes[:, None] * turn, x @ weights + biases
    counts = np.empty((len(x), classifier.classes), dtype=np.int64)
    for i in range(len(x)):
        values = start[i] + rng.standard_normal((draws, sizes.size)) @ spread
        for w, b in rest:
            values = relu(values) @ w + b
        counts[i] = np.bincount(values.argmax(axis=1), minlength=classifier.classes)
    return counts


def lower_confidence(count, draws: int, alpha: float):
    """Return the Clopper-Pearson lower bound of a probability at level 1 - alpha.

    The alpha-quantile of Beta(count, draws - count + 1); 0 for no success.

    Parameters: count, 0..draws, a number or an array; alpha in (0, 1). Cost: O(1) each.
    """
    draws, alpha = integer("draws", draws, low=1), between("alpha", alpha, 1e-12, 1 - 1e-12)
    count = np.asarray(count, dtype=np.float64)
    if count.size and (np.isnan(count).any() or count.min() < 0 or count.max() > draws):
        raise ValueError(f"count must lie between 0 and draws = {draws}")
    bound = betaincinv(np.maximum(count, 1.0), draws - np.minimum(count, draws) + 1.0, alpha)
    bound = np.where(count > 0, bound, 0.0)
    return float(bound) if bound.ndim == 0 else bound


def smoothing_radius(p, noise: float):
    """Return noise Phi^-1(p), below which no change of the input undoes a majority p; 0 if none."""
    return np.maximum(positive("noise", noise) * ndtri(_shares("p", p)), 0.0)


def dual_radius(p_left, p_right, noise: float):
    """Return noise (Phi^-1(p_left) + Phi^-1(p_right)) / sqrt 2, at least 0.

    A change (a, b) of the halves leaves the class at least
    Phi(Phi^-1(p_left) - |a| / noise) + Phi(Phi^-1(p_right) - |b| / noise) > 1 of 2 votes while
    |a| + |b| < noise (Phi^-1(p_left) + Phi^-1(p_right)); |a| + |b| <= sqrt 2 |(a, b)|.

    Paper: mitigating-the-curse-of-dimensionality (Xia et al. 2024, arXiv:2404.09586)

    Parameters: probabilities in [0, 1], numbers or arrays; noise > 0.
    Raises ValueError otherwise. Cost: O(1) each.
    """
    left, right = ndtri(_shares("p_left", p_left)), ndtri(_shares("p_right", p_right))
    with np.errstate(invalid="ignore"):  # inf - inf: one half is certain, the other hopeless
        both = positive("noise", noise) * (left + right) / math.sqrt(2)
    return np.fmax(both, 0.0)


def _shares(name, value):
    value = np.asarray(value, dtype=np.float64)
    if value.size and not (value.min() >= 0 and value.max() <= 1):
        raise ValueError(f"{name} must lie in [0, 1]")
    return value


def certify(classifier: Classifier, x, noise: float, draws: int, alpha: float, rng):
    """Return the class that noise votes for, and its certified radius (0: abstain), for x (n, d).

    A tenth of the draws name the class; the others bound its share from below at level alpha.

    Raises ValueError for other input. Cost: that of ``noisy_votes``.
    """
    rng, draws = as_rng(rng), integer("draws", draws, low=2)
    named = noisy_votes(classifier, x, noise, max(draws // 10, 1), rng).argmax(axis=1)
    counts = noisy_votes(classifier, x, noise, draws, rng)[np.arange(len(named)), named]
    return named, smoothing_radius(lower_confidence(counts, draws, alpha), noise)


def certify_dual(left: Classifier, right: Classifier, halves, x, noise, draws, alpha, rng):
    """Return class and certified radius when two classifiers each see half of the pixels.

    Each bound takes alpha / 2, so that both hold at level alpha.

    Parameters: left, right, for the pixels halves[0] and halves[1]; the rest as in ``certify``.
    Raises ValueError for other input. Cost: that of two ``noisy_votes`` on half images.
    """
    rng, draws = as_rng(rng), integer("draws", draws, low=2)
    x = as_matrix("x", x)
    if len(halves) != 2 or not all(np.isin(half, np.arange(x.shape[1])).all() for half in halves):
        raise ValueError(f"halves must be two arrays of pixels below {x.shape[1]}")
    parts = [(left, x[:, halves[0]]), (right, x[:, halves[1]])]
    few = max(draws // 10, 1)
    named = sum(noisy_votes(c, part, noise, few, rng) for c, part in parts).argmax(axis=1)
    counts = [noisy_votes(c, p, noise, draws, rng)[np.arange(len(named)), named] for c, p in parts]
    bounds = [lower_confidence(count, draws, alpha / 2.0) for count in counts]
    return named, dual_radius(*bounds, noise)
