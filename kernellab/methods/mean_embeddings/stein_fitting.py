"""Fitting and integrating when only the score s = grad log p of a model is known.

A score does not contain the normalising constant. With a kernel k it makes, out of every point x,

    xi(x) = s(x) k(x, .) + grad_x k(x, .),

a d-vector of functions whose mean under p is zero. The length of its mean over a sample is the
kernel Stein discrepancy (KSD). The sections use that zero in four ways:

1. The discrepancy as a quadratic form in the scores
2. A sample cut off at a border (Williams and Liu 2023)
3. Outcomes that nobody observed (Martinez-Taboada and Kennedy 2024)
4. Integrals that help each other (Sun et al. 2023)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, lapack, solve_triangular
from scipy.optimize import minimize
from scipy.special import expit, ndtr, softmax

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
    symmetric,
)
from kernellab.compute.elementary import exp
from kernellab.compute.kernels import Gaussian
from kernellab.compute.linalg import cholesky, eigh
from kernellab.compute.stein import stein_gram

# ------------------------------------------------------------------------------------------------
# 1. The discrepancy as a quadratic form in the scores
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LinearScores:
    """Scores that are linear in the parameters: s_theta(x_i) = slopes_i theta + offsets_i.

    Every exponential family has such scores: log p = theta . t(x) + a(x) - constant(theta).

    Attributes
    ----------
    slopes : (n, d, p), the derivatives of t
    offsets : (n, d), the gradient of a
    """

    slopes: np.ndarray
    offsets: np.ndarray

    def __post_init__(self):
        slopes = np.asarray(self.slopes, dtype=np.float64)
        offsets = as_matrix("offsets", self.offsets)
        if slopes.ndim != 3 or slopes.shape[:2] != offsets.shape or slopes.shape[2] == 0:
            raise ValueError(
                f"slopes must have shape {(*offsets.shape, 'p')}, got shape {slopes.shape}"
            )
        if not np.isfinite(slopes).all():
            raise ValueError("slopes must be finite, got NaN or infinity")
        object.__setattr__(self, "slopes", slopes)
        object.__setattr__(self, "offsets", offsets)

    def at(self, theta) -> np.ndarray:
        """Return the scores (n, d) for parameters theta (p,). Cost: O(n d p)."""
        return self.slopes @ as_vector("theta", theta, self.slopes.shape[2]) + self.offsets


@dataclass(frozen=True, eq=False)
class SteinFit:
    """The least Stein discrepancy of a model with linear scores.

    The squared discrepancy is value + (t - theta)^T curvature (t - theta) for all parameters t.

    theta (p,); curvature (p, p); value, a float (a U-statistic's may be below 0).
    """

    theta: np.ndarray
    curvature: np.ndarray
    value: float

    def landscape(self, parameters) -> np.ndarray:
        """Return the squared discrepancy at each row of parameters (q, p): (q,). Cost: O(q p^2)."""
        gap = as_matrix("parameters", parameters, columns=self.theta.size) - self.theta
        return self.value + np.sum((gap @ self.curvature) * gap, axis=1)


class SteinObjective:
    """The squared Stein discrepancy of weighted points, as a function of the scores there.

    |sum_i w_i xi(x_i)|^2 = sum_l [ s_l^T matrix s_l + 2 s_l . linear_l ] + constant,

    s_l (n,) being coordinate l of all n scores. With K the Gaussian Gram matrix, matrix_ij =
    w_i w_j K_ij, linear_i = w_i sum_j w_j grad_{x_j} k(x_i, x_j), constant = sum_ij w_i w_j
    tr grad grad' k(x_i, x_j). All that depends on the model is s, so that a fit forms these once.

    Given boundary points b, k is replaced by k_b(x, y) = k(x, y) - k(x, b) (K_bb + ridge I)^-1
    k(b, y): its functions are those that vanish at the b (for ridge 0), and the discrepancy is the
    largest that such a function of unit length can show (TKSD).

    Paper: approximate-stein-classes-for-truncated (Williams and Liu 2023, arXiv:2306.00602)

    Parameters
    ----------
    kernel : Gaussian
    x : (n, d)
    weights : (n,), may be negative; None: 1/n each
    boundary : (m, d), points at which the test functions must vanish; None: none
    ridge : >= 0, added to the diagonal of K_bb (k(b, b) = 1)
    unbiased : leave out the pairs i = j and divide by 1 - sum w^2 (a U-statistic)

    Raises ValueError for bad shapes or numbers, or unbiased with sum w^2 >= 1 (no pair is left).
    Cost: O(n^2 (d + m) + m^3), memory O(n (n + m)).
    """

    def __init__(self, kernel, x, weights=None, boundary=None, ridge=1e-3, unbiased=False):
        if not isinstance(kernel, Gaussian):
            raise ValueError(f"kernel must be Gaussian(bandwidth), got {type(kernel).__name__}")
        self.kernel, self.x = kernel, as_matrix("x", x)
        n, d = self.x.shape
        fits_in_memory("the Gram matrix", 16 * n * n)
        w = np.full(n, 1.0 / n) if weights is None else as_vector("weights", weights, length=n)
        self.weights, self.ridge = w, nonnegative("ridge", ridge)
        pairs = 1.0 - float(np.sum(w**2))
        if unbiased and pairs <= 0:
            raise ValueError(
                f"weights must have squares summing to less than 1 if unbiased, got {1 - pairs:.3g}"
            )
        self._middle = self.x.mean(axis=0)  # centred points lose fewer digits in differences
        self.boundary = None if boundary is None else as_matrix("boundary", boundary, columns=d)
        gram = kernel.gram(self.x)
        slope, constant = self._free_parts(gram)
        if self.boundary is not None:
            half, half_pull = self._pinned_parts()
            gram -= half.T @ half
            slope -= half.T @ half_pull
            constant -= np.sum(half_pull**2)
        scale = 1.0
        if unbiased:
            own_slope, own_constant = self._own_parts()
            gram[np.diag_indices(n)] = 0.0
            slope -= w[:, None] * own_slope
            constant -= w**2 @ own_constant
            scale = 1.0 / pairs
        gram *= scale * w
        gram *= w[:, None]
        self.matrix, self.linear = gram, scale * w[:, None] * slope
        self.constant = scale * constant

    def _free_parts(self, gram):
        """sum_j w_j grad_{x_j} k(x_i, x_j), (n, d), and sum_ij w_i w_j tr grad grad' k."""
        w, y, rate = self.weights, self.x - self._middle, 1.0 / self.kernel.bandwidth**2
        image, moved = gram @ w, gram @ (w[:, None] * y)
        squares = 2.0 * (w * np.sum(y**2, axis=1)) @ image - 2.0 * np.sum(w[:, None] * y * moved)
        constant = rate * (y.shape[1] * w @ image - rate * squares)
        return rate * (y * image[:, None] - moved), constant

    def _pinned_parts(self):
        """L^-1 k(b, x), (m, n), and L^-1 sum_j w_j grad_{x_j} k(b, x_j), (m, d); L L^T = K_bb."""
        corner = self.kernel.gram(self.boundary)
        corner[np.diag_indices(len(corner))] += self.ridge
        self._lower = cholesky(corner).lower
        cross = self.kernel.gram(self.boundary, self.x)
        b, weighted = self.boundary - self._middle, self.weights[:, None] * (self.x - self._middle)
        pull = (b * (cross @ self.weights)[:, None] - cross @ weighted) / self.kernel.bandwidth**2
        return (solve_triangular(self._lower, part, lower=True) for part in (cross, pull))

    def _own_parts(self):
        """What a point adds with itself: grad_y k_b(x, y) and tr grad grad' k_b at y = x."""
        (n, d), rate = self.x.shape, 1.0 / self.kernel.bandwidth**2
        slope, trace = np.zeros((n, d)), np.full(n, d * rate)
        if self.boundary is None:
            return slope, trace
        cross = self.kernel.gram(self.boundary, self.x)
        both = cho_solve((self._lower, True), cross)
        for axis in range(d):
            part = rate * (self.boundary[:, axis, None] - self.x[:, axis]) * cross
            slope[:, axis] = -np.sum(both * part, axis=0)
            trace -= np.sum(solve_triangular(self._lower, part, lower=True) ** 2, axis=0)
        return slope, trace

    def value(self, scores) -> float:
        """Return the squared discrepancy for scores (n, d). Cost: O(n^2 d)."""
        s = as_matrix("scores", scores, *self.x.shape[::-1])
        return float(np.sum(s * (self.matrix @ s + 2.0 * self.linear)) + self.constant)

    def value_and_gradient(self, scores) -> tuple[float, np.ndarray]:
        """Return the squared discrepancy and its gradient (n, d) in the scores (n, d).

        The gradient at point i is 2 w_i g(x_i), g being the witness: the discrepancy falls where
        the score turns against g. Cost: O(n^2 d).
        """
        s = as_matrix("scores", scores, *self.x.shape[::-1])
        image = self.matrix @ s
        value = float(np.sum(s * (image + 2.0 * self.linear)) + self.constant)
        return value, 2.0 * (image + self.linear)

    def fit(self, model: LinearScores) -> SteinFit:
        """Return the parameters of least discrepancy: one linear system.

        Raises ValueError if the points do not determine the parameters. Cost: O(n^2 d p).
        """
        if model.offsets.shape != self.x.shape:
            raise ValueError(
                f"model must have scores at x, shape {self.x.shape}, got {model.offsets.shape}"
            )
        n, d, p = model.slopes.shape
        image = (self.matrix @ model.slopes.reshape(n, d * p)).reshape(n, d, p)
        curvature = np.tensordot(model.slopes, image, axes=([0, 1], [0, 1]))
        start = self.matrix @ model.offsets + self.linear
        target = -np.tensordot(model.slopes, start, axes=([0, 1], [0, 1]))
        curvature = (curvature + curvature.T) / 2
        if np.linalg.cond(curvature) > 1e14:
            raise ValueError(
                "model must be determined by x and boundary, but its system is singular"
            )
        theta = np.linalg.solve(curvature, target)
        least = np.sum(model.offsets * (start + self.linear)) + self.constant - target @ theta
        return SteinFit(theta, curvature, float(least))

    def witness(self, scores, at) -> np.ndarray:
        """Return the function that shows the discrepancy, at points ``at`` (q, d): (q, d).

        g = u - k(., b) (K_bb + ridge I)^-1 u(b), with u(y) = sum_i w_i xi(x_i)(y): of all functions
        of its length that vanish at the boundary points it has the largest mean of s . g + div g,
        and that mean is |g|^2, the squared discrepancy.

        Cost: O((q + m) n d).
        """
        s = as_matrix("scores", scores, *self.x.shape[::-1])
        at = as_matrix("at", at, columns=self.x.shape[1])
        g = self._mean_feature(s, at)
        if self.boundary is not None:
            held = cho_solve((self._lower, True), self._mean_feature(s, self.boundary))
            g -= self.kernel.matvec(at, self.boundary, held)
        return g

    def _mean_feature(self, s, at):
        """u(y) = sum_i w_i [ s_i k(x_i, y) + (y - x_i) / h^2 k(x_i, y) ], at the rows of at."""
        d, w, rate = s.shape[1], self.weights[:, None], 1.0 / self.kernel.bandwidth**2
        y = self.x - self._middle
        sums = self.kernel.matvec(at, self.x, np.hstack([w * (s - rate * y), w]))
        return sums[:, :d] + rate * (at - self._middle) * sums[:, d:]


@dataclass(frozen=True, eq=False)
class DescentFit:
    """parameters, in the start's shape; value, the squared discrepancy; evaluations, an int."""

    parameters: np.ndarray
    value: float
    evaluations: int


def minimise_discrepancy(
    objective: SteinObjective, scores_and_pullback: Callable, start
) -> DescentFit:
    """Fit a model with any scores by BFGS on the squared discrepancy.

    The derivative in the parameters is the scores' derivative, transposed, at 2 w_i g(x_i).

    Parameters
    ----------
    objective : SteinObjective
    scores_and_pullback : parameters -> (scores (n, d), pullback); pullback maps sensitivities
        (n, d) to sum_i (d s_i / d parameters)^T sensitivities_i, in the shape of the parameters
    start : the first parameters, any shape

    Returns a DescentFit. Raises ValueError for a start that is not finite.
    Cost: O(n^2 d) an evaluation.
    """
    start = np.asarray(start, dtype=np.float64)
    if start.size == 0 or not np.isfinite(start).all():
        raise ValueError(f"start must hold finite numbers, got shape {start.shape}")

    def value_and_gradient(flat):
        scores, pullback = scores_and_pullback(flat.reshape(start.shape))
        value, sensitivity = objective.value_and_gradient(scores)
        return value, np.ravel(pullback(sensitivity))

    found = minimize(
        value_and_gradient, start.ravel(), jac=True, method="BFGS", options={"gtol": 1e-7}
    )
    return DescentFit(found.x.reshape(start.shape), float(found.fun), int(found.nfev))


def gaussian_mean_scores(x, deviation: float = 1.0) -> LinearScores:
    """Return the scores (theta - x) / deviation^2 of N(theta, deviation^2 I); theta is the mean.

    Parameters: x (n, d); deviation > 0. Returns LinearScores with p = d. Cost: O(n d^2).
    """
    x, rate = as_matrix("x", x), 1.0 / positive("deviation", deviation) ** 2
    return LinearScores(
        np.broadcast_to(rate * np.eye(x.shape[1]), (*x.shape, x.shape[1])), -rate * x
    )


def mixture_scores(x, centres, deviation: float = 1.0, shares=None) -> np.ndarray:
    """Return the scores (n, d) of a mixture of Gaussians N(centres_k, deviation^2 I).

    s(x) = sum_k r_k(x) (centres_k - x) / deviation^2, r_k(x) being the chance that x is of k.

    Parameters: x (n, d); centres (k, d); deviation > 0; shares (k,) > 0, None: equal.
    Raises ValueError for bad shapes or numbers. Cost: O(n k d).
    """
    x = as_matrix("x", x)
    rate = 1.0 / positive("deviation", deviation) ** 2
    r, gap = _responsibilities(x, centres, rate, shares)
    return rate * np.einsum("ik,ikl->il", r, gap)


def mixture_pullback(x, deviation: float = 1.0, shares=None) -> Callable:
    """Return centres -> (scores, pullback), as :func:`minimise_discrepancy` takes it.

    Parameters: as in mixture_scores. Cost of a call: O(n k d).
    """
    x, rate = as_matrix("x", x), 1.0 / positive("deviation", deviation) ** 2

    def scores_and_pullback(centres):
        r, gap = _responsibilities(x, centres, rate, shares)
        scores = rate * np.einsum("ik,ikl->il", r, gap)

        def pullback(sensitivity):
            push = rate * np.einsum("ikl,il->ik", gap, sensitivity)
            change = r * (push - np.sum(r * push, axis=1, keepdims=True))
            return rate * (r.T @ sensitivity - np.einsum("ik,ikl->kl", change, gap))

        return scores, pullback

    return scores_and_pullback


def _responsibilities(x, centres, rate, shares):
    centres = as_matrix("centres", centres, columns=x.shape[1])
    gap = centres[None, :, :] - x[:, None, :]
    if shares is None:
        shares = np.ones(len(centres))
    shares = as_vector("shares", shares, length=len(centres))
    if shares.min() <= 0:
        raise ValueError(f"shares must be positive, got {shares.min():.3g}")
    return softmax(np.log(shares) - 0.5 * rate * np.sum(gap**2, axis=2), axis=1), gap


# ------------------------------------------------------------------------------------------------
# 2. A sample cut off at a border
# ------------------------------------------------------------------------------------------------

# A coarse outline of an island, drawn for this course; kilometres, counter-clockwise.
ISLAND = np.array(
    [
        (-1.9, -0.7), (-1.2, -1.5), (-0.3, -1.2), (0.5, -1.7), (1.5, -1.3), (1.9, -0.4),
        (1.2, 0.1), (1.7, 0.9), (0.9, 1.6), (0.1, 1.1), (-0.8, 1.7), (-1.6, 1.1), (-1.3, 0.2),
    ]
)  # fmt: skip


def disc(radius: float, corners: int = 90) -> np.ndarray:
    """Return a regular polygon (corners, 2) that stands for a disc around 0.

    Parameters: radius > 0; corners >= 3.
    """
    angle = 2 * np.pi * np.arange(integer("corners", corners, low=3)) / corners
    return positive("radius", radius) * np.column_stack([np.cos(angle), np.sin(angle)])


def inside(polygon, points) -> np.ndarray:
    """Tell which points (n, 2) lie inside a polygon (v, 2): booleans (n,).

    A ray to the right crosses the border an odd number of times. Cost: O(n v).
    """
    polygon, points = _polygon(polygon), as_matrix("points", points, columns=2)
    (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
    x, y = points[:, :1], points[:, 1:]
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return np.sum(crosses & right, axis=1) % 2 == 1


def along_border(polygon, m: int, known: float = 1.0) -> np.ndarray:
    """Return m points (m, 2) at equal distances along a polygon's border.

    Parameters: polygon (v, 2); m >= 1; known in (0, 1], the first share of the border's length that
    the points cover, from the first corner on. Cost: O(m + v).
    """
    polygon, m = _polygon(polygon), integer("m", m, low=1)
    known = between("known", known, 1e-6, 1.0)
    edges = np.roll(polygon, -1, axis=0) - polygon
    ends = np.concatenate([[0.0], np.cumsum(np.linalg.norm(edges, axis=1))])
    place = known * ends[-1] * (np.arange(m) + 0.5) / m
    closed = np.vstack([polygon, polygon[:1]])
    return np.column_stack([np.interp(place, ends, closed[:, axis]) for axis in (0, 1)])


def border_distance(polygon, points) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's distance to the polygon's border (n,), and its gradient (n, 2).

    Parameters: polygon (v, 2); points (n, 2). Cost: O(n v).
    """
    polygon, points = _polygon(polygon), as_matrix("points", points, columns=2)
    edges = np.roll(polygon, -1, axis=0) - polygon
    gap = points[:, None, :] - polygon
    share = np.clip(np.sum(gap * edges, axis=2) / np.sum(edges**2, axis=1), 0.0, 1.0)
    gap = gap - share[:, :, None] * edges
    distance = np.linalg.norm(gap, axis=2)
    nearest = np.argmin(distance, axis=1)
    rows = np.arange(len(points))
    least = distance[rows, nearest]
    return least, gap[rows, nearest] / np.maximum(least, 1e-12)[:, None]


def truncated_gaussian(n: int, centres, polygon, rng, deviation: float = 1.0) -> np.ndarray:
    """Draw n points of a Gaussian (or an equal mixture of several) that fall inside a polygon.

    Parameters: n >= 1; centres (2,) or (k, 2); polygon (v, 2); rng; deviation > 0.
    Returns (n, 2). Raises ValueError if fewer than one draw in 2000 falls inside.
    Cost: O(draws v).
    """
    n, rng, polygon = integer("n", n, low=1), as_rng(rng), _polygon(polygon)
    centres = as_matrix("centres", np.atleast_2d(centres), columns=2)
    deviation, kept, drawn = positive("deviation", deviation), np.empty((0, 2)), 0
    while len(kept) < n:
        size = max(4 * n, 1000)
        which = rng.integers(0, len(centres), size)
        points = centres[which] + deviation * rng.standard_normal((size, 2))
        kept, drawn = np.vstack([kept, points[inside(polygon, points)]]), drawn + size
        if drawn >= 20_000 and len(kept) * 2000 < drawn:
            raise ValueError(
                f"centres must be near the polygon: {len(kept)} of {drawn} draws fell inside it"
            )
    return kept[:n]


def boundary_blocks(kernel, x, scores, boundary) -> np.ndarray:
    """Return the Stein features of points at boundary points: (d, n, m).

    blocks_l,ij = s_l(x_i) k(x_i, b_j) + d/dx_il k(x_i, b_j)

    Paper: approximate-stein-classes-for-truncated (Williams and Liu 2023, arXiv:2306.00602)

    Parameters: kernel Gaussian; x (n, d); scores (n, d); boundary (m, d).
    Raises ValueError for other kernels or shapes. Cost: O(n m d).
    """
    if not isinstance(kernel, Gaussian):
        raise ValueError(f"kernel must be Gaussian(bandwidth), got {type(kernel).__name__}")
    x = as_matrix("x", x)
    n, d = x.shape
    scores = as_matrix("scores", scores, columns=d, rows=n)
    boundary = as_matrix("boundary", boundary, columns=d)
    fits_in_memory("the boundary blocks", 8 * n * d * len(boundary))
    blocks = np.empty((d, n, len(boundary)))
    columns = np.ascontiguousarray(boundary.T)
    _boundary_blocks(x, scores, columns, 1.0 / kernel.bandwidth**2, blocks)
    return blocks


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64, float64[:,:,::1])",
    fastmath={"contract"},
)
def _boundary_blocks(x, scores, columns, rate, blocks):
    """Fill blocks (d, n, m); columns is the transposed boundary (d, m), so that j runs fast."""
    d, m = columns.shape
    values = np.empty(m)
    for i in range(len(x)):
        for j in range(m):
            values[j] = 0.0
        for axis in range(d):
            at, b = x[i, axis], columns[axis]
            for j in range(m):
                values[j] += (at - b[j]) * (at - b[j])
        for j in range(m):
            values[j] = exp(-0.5 * rate * values[j])
        for axis in range(d):
            b, out = columns[axis], blocks[axis, i]
            start = scores[i, axis] - rate * x[i, axis]
            for j in range(m):
                out[j] = (start + rate * b[j]) * values[j]


def truncated_stein_gram(kernel, x, scores, boundary=None, ridge: float = 1e-3) -> np.ndarray:
    """Return the Stein kernel of k_b at all pairs, (n, n): its mean is the squared TKSD.

    k_p(x_i, x_j) - sum_l F_l (K_bb + ridge I)^-1 F_l^T, with the blocks F_l (n, m) of
    :func:`boundary_blocks`. A fit needs less (:class:`SteinObjective`); a test of fit needs the
    pairs.

    Paper: approximate-stein-classes-for-truncated (Williams and Liu 2023, arXiv:2306.00602)

    Parameters: kernel Gaussian; x, scores (n, d); boundary (m, d) or None; ridge >= 0.
    Cost: O(n (n + m) d + n^2 m d).
    """
    gram = stein_gram(kernel, x, scores)
    if boundary is None:
        return gram
    boundary = as_matrix("boundary", boundary)
    corner = kernel.gram(boundary) + nonnegative("ridge", ridge) * np.eye(len(boundary))
    lower = cholesky(corner).lower
    for block in boundary_blocks(kernel, x, scores, boundary):
        half = solve_triangular(lower, block.T, lower=True)
        gram -= half.T @ half
    return gram


def truncated_mle(x, polygon, deviation: float = 1.0, cells: int = 120) -> np.ndarray:
    """Return the mean (2,) of N(mean, deviation^2 I), cut to a polygon, of largest likelihood.

    The gold standard, for those who can integrate over the region: the constant is a sum over a
    grid of cells x cells squares. At the maximum the model's mean inside is the sample mean.

    Parameters: x (n, 2); polygon (v, 2); deviation > 0; cells >= 10.
    Raises ValueError if Newton's steps do not settle, or the squares are too coarse.
    Cost: O(cells^2 (v + steps)).
    """
    x, polygon = as_matrix("x", x, columns=2), _polygon(polygon)
    rate, cells = 1.0 / positive("deviation", deviation) ** 2, integer("cells", cells, low=10)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    centres = [
        a + (b - a) * (np.arange(cells) + 0.5) / cells for a, b in zip(low, high, strict=True)
    ]
    grid = np.stack(np.meshgrid(*centres), axis=-1).reshape(-1, 2)
    grid = grid[inside(polygon, grid)]
    if _on_a_line(grid):
        raise ValueError(
            f"cells must be more for so thin a polygon: {len(grid)} of {cells}^2 fell inside"
        )
    wanted = x.mean(axis=0)
    mean = wanted.copy()

    def moments(mean):
        w = softmax(-0.5 * rate * np.sum((grid - mean) ** 2, axis=1))
        inner = w @ grid
        return inner, rate * ((w[:, None] * grid).T @ grid - np.outer(inner, inner))

    for _ in range(100):
        inner, slope = moments(mean)
        step = np.linalg.solve(slope, wanted - inner)
        mean = mean + step * min(1.0, 0.5 / (np.linalg.norm(step) + 1e-300) / math.sqrt(rate))
        if np.linalg.norm(step) < 1e-9:
            return mean
    raise ValueError("x must lie inside the polygon, spread out: the likelihood has no maximum")


def distance_score_matching(x, polygon, deviation: float = 1.0) -> np.ndarray:
    """Return the Gaussian mean (2,) by score matching weighted with the distance to the border.

    Minimises E[ h (|s|^2 + 2 div s) + 2 grad h . s ], h the distance; for s = (m - x) / deviation^2
    the minimiser is (sum h_i x_i - deviation^2 sum grad h_i) / sum h_i. It needs the whole border.

    Parameters: x (n, 2), inside or on the border, one at least inside; polygon (v, 2);
    deviation > 0. Raises ValueError for points outside. Cost: O(n v).
    Source: Liu, Kanamori and Williams (2022), truncated score matching.
    """
    x = as_matrix("x", x, columns=2)
    h, slope = border_distance(polygon, x)
    size = np.ptp(polygon, axis=0).max()
    outside = np.count_nonzero(~inside(polygon, x) & (h > 1e-9 * size))
    if outside or h.max() <= 1e-9 * size:
        where = f"{outside} of {len(x)} outside" if outside else "all on its border"
        raise ValueError(f"x must lie inside the polygon, got {where}")
    pushed = positive("deviation", deviation) ** 2 * slope.sum(axis=0)
    return (h @ x - pushed) / h.sum()


def _polygon(polygon) -> np.ndarray:
    polygon = as_matrix("polygon", polygon, columns=2, min_rows=3)
    following = np.roll(polygon, -1, axis=0)
    if (polygon == following).all(axis=1).any():
        raise ValueError("polygon must not repeat a corner: leave out the closing one")
    if _on_a_line(polygon):
        raise ValueError("polygon must enclose an area, got corners on one line")
    return polygon


def _on_a_line(points) -> bool:
    if len(points) < 3:
        return True
    long, short = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return short <= 1e-12 * long


# ------------------------------------------------------------------------------------------------
# 3. Outcomes that nobody observed
# ------------------------------------------------------------------------------------------------

ESTIMATORS = ("treated only", "weighting", "plug-in", "doubly robust")
_LEAST_PROPENSITY = 0.02


def quartic_scores(y) -> LinearScores:
    """Return the scores t1 + 2 t2 y + 3 t3 y^2 - 4 y^3 of p(y) ~ exp(t1 y + t2 y^2 + t3 y^3 - y^4).

    Parameters: y (n,). Returns LinearScores with d = 1 and p = 3. Cost: O(n).
    """
    y = as_vector("y", y)
    slopes = np.column_stack([np.ones_like(y), 2 * y, 3 * y**2])
    return LinearScores(slopes[:, None, :], -4 * y[:, None] ** 3)


def quartic_density(theta, grid) -> np.ndarray:
    """Return p(y) ~ exp(t1 y + t2 y^2 + t3 y^3 - y^4) on an even grid (g,), summing to 1/step.

    For pictures and for measuring errors only: no fit uses the constant.
    Raises ValueError for a grid that is not even and rising. Cost: O(g).
    """
    theta, (grid, step) = as_vector("theta", theta, length=3), _even_grid(grid)
    p = softmax(grid * (theta[0] + grid * (theta[1] + grid * (theta[2] - grid))))
    return p / step


def total_variation(p, q, grid) -> float:
    """Return half the integral of |p - q|, densities (g,) on an even grid (g,): from 0 to 1.

    Raises ValueError for a grid that is not even and rising. Cost: O(g).
    """
    grid, step = _even_grid(grid)
    p, q = as_vector("p", p, length=grid.size), as_vector("q", q, length=grid.size)
    return 0.5 * float(np.sum(np.abs(p - q)) * step)


def _even_grid(grid) -> tuple[np.ndarray, float]:
    """The grid and its step."""
    grid = as_vector("grid", grid)
    if grid.size < 2:
        raise ValueError(f"grid must hold at least 2 points, got {grid.size}")
    step = (grid[-1] - grid[0]) / (grid.size - 1)
    if step <= 0 or np.abs(np.diff(grid) - step).max() > 1e-6 * step:
        raise ValueError("grid must rise in even steps")
    return grid, step


@dataclass(frozen=True, eq=False)
class Trial:
    """Who was treated, and what happened.

    x (n, d), covariates; treated (n,), booleans; outcome (n,), of the untreated too; would_be (n,),
    the outcome under treatment, which a study sees for the treated only.
    """

    x: np.ndarray
    treated: np.ndarray
    outcome: np.ndarray
    would_be: np.ndarray


def simulate_trial(n: int, theta, confounding: float, rng, link: float = 0.8) -> Trial:
    """Draw a study in which the covariate decides who is treated and tilts what happens.

    x ~ N(0, 1); P(treated | x) = logistic(confounding x); the outcome under treatment has exactly
    the law p ~ exp(t1 y + t2 y^2 + t3 y^3 - y^4), tied to x by a Gaussian copula of correlation
    ``link``; without treatment it is 0.6 lower.

    Parameters: n >= 8; theta (3,); confounding, any number; rng; link in [-1, 1].
    Returns a Trial. Cost: O(n log n).
    """
    n, rng = integer("n", n, low=8), as_rng(rng)
    link = between("link", link, -1.0, 1.0)
    confounding = between("confounding", confounding, -20.0, 20.0)
    x = rng.standard_normal(n)
    hidden = link * x + math.sqrt(1 - link**2) * rng.standard_normal(n)
    grid = np.linspace(-3.5, 3.5, 4001)
    cumulative = np.cumsum(quartic_density(theta, grid)) * (grid[1] - grid[0])
    would_be = np.interp(ndtr(hidden), cumulative, grid)
    treated = rng.random(n) < expit(confounding * x)
    return Trial(x[:, None], treated, would_be - 0.6 * ~treated, would_be)


def logistic_propensity(x, treated, at=None, penalty: float = 1.0) -> np.ndarray:
    """Return P(treated | x) by ridge-penalised logistic regression, at the rows of ``at``.

    Newton's steps on sum log-likelihood - penalty |w|^2 / 2; the intercept is free.

    Parameters: x (n, d); treated (n,) booleans, both kinds; at (q, d), None: x; penalty > 0.
    Returns (q,). Raises ValueError when all or none are treated. Cost: O(n d^2) a step.
    """
    x = as_matrix("x", x)
    a = _flags("treated", treated, len(x)).astype(float)
    at = x if at is None else as_matrix("at", at, columns=x.shape[1])
    if a.min() == a.max():
        raise ValueError(f"treated must hold both kinds, got {'all' if a[0] else 'none'} treated")
    design = np.column_stack([np.ones(len(x)), x])
    shrink = np.diag([0.0, *[positive("penalty", penalty)] * x.shape[1]])
    w = np.zeros(design.shape[1])
    for _ in range(50):
        p = expit(design @ w)
        slope = design.T @ (a - p) - shrink @ w
        step = np.linalg.solve((design.T * (p * (1 - p))) @ design + shrink, slope)
        w = w + step * min(1.0, 5.0 / (np.linalg.norm(step) + 1e-300))
        if np.linalg.norm(step) < 1e-10:
            break
    return expit(w[0] + at @ w[1:])


def embedding_weights(kernel, x_treated, x, ridge: float) -> np.ndarray:
    """Return the weights c(x) (n, t) of the conditional mean embedding.

    c(x) = (K + ridge I)^-1 k(x): E[f(Y) | x] is estimated by sum_j c_j(x) f(Y_j), whatever f.

    Paper: counterfactual-density-estimation-using (Martinez-Taboada and Kennedy 2024,
    arXiv:2309.16129)

    Parameters: kernel with ``gram``; x_treated (t, d); x (n, d); ridge > 0.
    Cost: O(t^3 + n t^2).
    """
    x_treated = as_matrix("x_treated", x_treated)
    cross = kernel.gram(x_treated, as_matrix("x", x, columns=x_treated.shape[1]))
    factor = cholesky(kernel.gram(x_treated), positive("ridge", ridge))
    return factor.solve(cross).T


def counterfactual_rows(
    x,
    treated,
    kernel,
    *,
    estimator: str = "doubly robust",
    ridge: float = 1.0,
    propensity: str = "logistic",
    outcome: str = "kernel",
    folds: int = 2,
    rng=0,
) -> np.ndarray:
    """Return what each person adds to an estimate of E f(Y^1): row i holds the f(Y_j)'s weights.

    With c the embedding weights and pi the propensity, both learned on the other folds,

        doubly robust   A_i / pi_i (e_i - c(x_i)) + c(x_i)
        weighting       A_i / pi_i e_i
        plug-in         c(x_i)
        treated only    A_i n / n_treated e_i

    The column means are signed weights w, and sum_j w_j f(Y_j) estimates E f(Y^1) for every f at
    once; no untreated person's outcome is ever used. Propensities below 0.02 count as 0.02.

    Paper: counterfactual-density-estimation-using (Martinez-Taboada and Kennedy 2024,
    arXiv:2309.16129)

    Parameters
    ----------
    x : (n, d) covariates
    treated : (n,) booleans
    kernel : on covariates, with ``gram``
    estimator : one of ESTIMATORS
    ridge : > 0, of the embedding weights
    propensity : "logistic" in x, or "constant" (a model that forgets the covariates)
    outcome : "kernel" in x, or "constant" (a model that forgets the covariates)
    folds : >= 2
    rng : decides the folds

    Returns (n, n). Raises ValueError for bad arguments, or when the treated of the other folds are
    none or all. Cost: O(n^3 / folds^2) time, O(n^2) memory.
    """
    x = as_matrix("x", x, min_rows=4)
    n = len(x)
    a = _flags("treated", treated, n)
    one_of("estimator", estimator, ESTIMATORS)
    one_of("propensity", propensity, ("logistic", "constant"))
    one_of("outcome", outcome, ("kernel", "constant"))
    ridge = positive("ridge", ridge)  # also where this estimator does without it
    folds = integer("folds", folds, low=2, high=n)
    fold = as_rng(rng).permutation(n) % folds
    fits_in_memory("the rows", 8 * n * n)
    rows = np.zeros((n, n))
    if estimator == "treated only":
        if not a.any():
            raise ValueError("treated must hold at least one treated person, got none")
        rows[a, a] = n / np.count_nonzero(a)
        return rows
    for here in range(folds):
        test, train = np.flatnonzero(fold == here), fold != here
        known = np.flatnonzero(train & a)
        if known.size in (0, np.count_nonzero(train)):
            kind = "nobody" if known.size == 0 else "everybody"
            raise ValueError(
                f"treated must differ in each fold, got {kind} treated outside fold {here}"
            )
        lift = np.zeros(test.size)
        if estimator != "plug-in":
            if propensity == "logistic":
                chance = logistic_propensity(x[train], a[train], x[test])
            else:
                chance = np.full(test.size, np.mean(a[train]))
            lift = a[test] / np.maximum(chance, _LEAST_PROPENSITY)
            rows[test, test] = lift
        if estimator != "weighting":
            if outcome == "kernel":
                c = embedding_weights(kernel, x[known], x[test], ridge)
            else:
                c = np.full((test.size, known.size), 1.0 / known.size)
            rows[np.ix_(test, known)] = (1.0 - lift)[:, None] * c
    return rows


def sandwich(objective: SteinObjective, model: LinearScores, fit: SteinFit, rows) -> np.ndarray:
    """Return the covariance (p, p) of the fitted parameters, from each person's contribution.

    With t_i = sum_j rows_ij <d u / d theta, xi_theta(y_j)>, u the weighted mean of the xi_theta:
    curvature^-1 cov(t) curvature^-1 / people. The t_i have mean zero at the fit.

    Paper: counterfactual-density-estimation-using (Martinez-Taboada and Kennedy 2024,
    arXiv:2309.16129)

    Parameters: objective, without boundary, with the column means of ``rows`` as weights; model and
    fit as given to and by ``objective.fit``; rows (people, n), what each adds to the n weights.
    Cost: O(n (n + people) d p).
    """
    n, d, p = model.slopes.shape
    rows = as_matrix("rows", rows, columns=n, min_rows=2)
    if objective.boundary is not None:
        raise ValueError("objective must have no boundary points here")
    x, rate = objective.x, 1.0 / objective.kernel.bandwidth**2
    pushed = objective.weights[:, None, None] * model.slopes
    columns = np.concatenate([pushed.reshape(n, d * p), np.einsum("idp,id->ip", pushed, x)], axis=1)
    sums = objective.kernel.matvec(x, None, columns)
    near = sums[:, : d * p].reshape(n, d, p)
    # <sum_i w_i slopes_i k(x_i, .), xi(x_j)>: s_j times the sum, and the sum's divergence at x_j
    product = (
        np.einsum("jd,jdp->jp", model.at(fit.theta) - rate * x, near) + rate * sums[:, d * p :]
    )
    influence = rows @ product
    spread = np.cov(influence, rowvar=False).reshape(p, p)
    inverse = np.linalg.inv(fit.curvature)
    return inverse @ spread @ inverse / len(rows)


def _flags(name: str, value, length: int) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != (length,):
        raise ValueError(f"{name} must have length {length}, got shape {array.shape}")
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must hold True and False (or 1 and 0) only")
    return array.astype(bool)


# ------------------------------------------------------------------------------------------------
# 4. Integrals that help each other
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ControlFit:
    """Estimates of several integrals, from functions that interpolate the integrands.

    f_t(x) is modelled by estimates_t + sum_j coupling_t,task_j k0((x, t), (x_j, task_j))
    coefficients_j, whose mean under task t's law is estimates_t.

    estimates (T,); coefficients (N,); evidence, the log marginal likelihood (flat in the
    estimates); energy, coefficients^T K0 coefficients + ridge |coefficients|^2.
    """

    estimates: np.ndarray
    coefficients: np.ndarray
    evidence: float
    energy: float


class TaskStein:
    """Points of several tasks, each with its own score, and their Stein kernel before coupling.

    K0_ij = coupling_{t_i t_j} k0(x_i, x_j), k0 being the Stein kernel of k that takes x_i with task
    t_i's score and x_j with task t_j's. Every row integrates to zero under its task's law.

    Paper: vector-valued-control-variates (Sun et al. 2023, arXiv:2109.08944)

    Parameters
    ----------
    kernel : Gaussian or InverseMultiquadric
    points, scores : (N, d), all tasks' points on top of each other, and each one's score
    task : (N,) integers 0 .. T - 1, each of which occurs

    Raises ValueError on bad shapes or labels. Cost: O(N^2 d).
    """

    def __init__(self, kernel, points, scores, task):
        self.kernel = kernel
        self.points = as_matrix("points", points)
        self.scores = as_matrix("scores", scores, *self.points.shape[::-1])
        self.task = np.asarray(task)
        if self.task.shape != (len(self.points),) or self.task.dtype.kind not in "iu":
            raise ValueError(
                f"task must hold {len(self.points)} integers, got shape {self.task.shape} "
                f"of {self.task.dtype}"
            )
        if self.task.min() < 0 or self.task.max() >= len(self.task):
            raise ValueError(
                f"task must hold labels from 0 to less than the number of points, "
                f"{len(self.task)}, got {self.task.min()} to {self.task.max()}"
            )
        self.tasks = int(self.task.max()) + 1
        if not np.array_equal(np.unique(self.task), np.arange(self.tasks)):
            raise ValueError("task must name every task from 0 on at least once")
        self.base = stein_gram(kernel, self.points, self.scores)
        self.member = np.equal(self.task[:, None], np.arange(self.tasks)).astype(float)

    def gram(self, coupling) -> np.ndarray:
        """Return K0 (N, N) for a coupling (T, T). Cost: O(N^2)."""
        # coupling at every pair of points: a product with members is quicker than picking entries
        gram = (self.member @ _coupling(coupling, self.tasks)) @ self.member.T
        gram *= self.base
        return gram

    def fit(self, values, coupling, ridge: float = 1e-6) -> ControlFit:
        """Return the estimates for values (N,): f_t at each task's own points.

        Solves (K0 + ridge I) coefficients + member estimates = values, member^T coefficients = 0.

        Paper: vector-valued-control-variates (Sun et al. 2023, arXiv:2109.08944)

        Parameters: values (N,); coupling (T, T), positive semidefinite; ridge > 0.
        Cost: O(N^3).
        """
        values = as_vector("values", values, length=len(self.task))
        lower = _lower(self.gram(coupling), positive("ridge", ridge))
        half = _half_solve(lower, np.column_stack([values, self.member]))
        inner = half[:, 1:].T @ half[:, 1:]
        estimates = np.linalg.solve(inner, half[:, 1:].T @ half[:, 0])
        left = half[:, 0] - half[:, 1:] @ estimates
        coefficients = _half_solve(lower, left, trans=1)
        energy = float(left @ left)
        volume = 2.0 * np.sum(np.log(np.diagonal(lower))) + np.linalg.slogdet(inner)[1]
        return ControlFit(estimates, coefficients, -0.5 * float(energy + volume), energy)

    def predict(self, fit: ControlFit, coupling, task: int, at, at_scores) -> np.ndarray:
        """Return the model of f_task at points (q, d) with that task's scores (q, d): (q,)."""
        task = integer("task", task, 0, self.tasks - 1)
        coupling = _coupling(coupling, self.tasks)
        cross = stein_gram(self.kernel, at, at_scores, self.points, self.scores)
        return fit.estimates[task] + cross @ (coupling[task, self.task] * fit.coefficients)

    def learn_coupling(
        self, values, ridge: float = 1e-6, penalty: float = 1.0, steps: int = 100
    ) -> Iterator[tuple[float, np.ndarray, ControlFit]]:
        """Alternate: solve for the coefficients, then one gradient step on the coupling's factor.

        Lowers energy + penalty |B|_F^2 over B = L L^T: with the coefficients a just solved for, the
        derivative in B_tt' is 2 penalty B_tt' - sum_{i in t, j in t'} a_i k0_ij a_j. Steps are
        halved until the objective falls. Yields (fraction done, B, fit), from B = I on.

        Paper: vector-valued-control-variates (Sun et al. 2023, arXiv:2109.08944)

        Parameters: values (N,); ridge, penalty > 0; steps >= 1. Cost: O(N^3) a step.
        """
        values = as_vector("values", values, length=len(self.task))
        penalty, steps = positive("penalty", penalty), integer("steps", steps, low=1)
        ridge = positive("ridge", ridge)

        def judge(lower):
            coupling = lower @ lower.T
            fit = self.fit(values, coupling, ridge)
            return coupling, fit, fit.energy + penalty * np.sum(coupling**2)

        lower = np.eye(self.tasks)
        coupling, fit, now = judge(lower)
        step = 0.1
        for done in range(steps):
            yield done / steps, coupling, fit
            weighted = self.member * fit.coefficients[:, None]
            slope = 2 * penalty * coupling - weighted.T @ self.base @ weighted
            direction = np.tril(2 * slope @ lower)
            length = np.linalg.norm(direction)
            while step > 1e-10 and length > 0:
                moved = lower - step * direction / length
                try:
                    tried = judge(moved)
                except ValueError:  # the step left the positive definite matrices
                    step /= 2
                    continue
                if tried[2] < now:
                    lower, (coupling, fit, now) = moved, tried
                    step *= 1.6
                    break
                step /= 2
        yield 1.0, coupling, fit


def pair_coupling(b: float) -> np.ndarray:
    """Return the coupling [[1, b], [b, 1]] of two tasks, -1 <= b <= 1."""
    b = between("b", b, -1.0, 1.0)
    return np.array([[1.0, b], [b, 1.0]])


def shared_control(kernel, x, scores, values, coupling, ridge: float = 1e-6) -> np.ndarray:
    """Return the estimates (T,) when all T integrands are known at the same n points.

    K0 is then the Kronecker product of the coupling B and one Stein Gram matrix k0. With the
    eigenvectors of both, the system falls apart into n T numbers: O(n^3 + T^3), not O((n T)^3).

    Paper: vector-valued-control-variates (Sun et al. 2023, arXiv:2109.08944)

    Parameters: kernel Gaussian or InverseMultiquadric; x, scores (n, d); values (T, n); coupling
    (T, T), positive semidefinite; ridge > 0.
    Raises ValueError for bad shapes. Cost: O(n^3 + T^3 + n T (n + T)).
    """
    x = as_matrix("x", x)
    values = as_matrix("values", values, columns=len(x))
    coupling, ridge = _coupling(coupling, len(values)), positive("ridge", ridge)
    base, tasks = eigh(stein_gram(kernel, x, scores)), eigh(coupling)
    shrink = 1.0 / (np.outer(np.maximum(tasks.values, 0), np.maximum(base.values, 0)) + ridge)
    # In the eigenvectors the constant 1 of task t is (row t of U_B) outer (U_0^T 1).
    ones = base.vectors.T @ np.ones(len(x))
    rotated = tasks.vectors.T @ values @ base.vectors
    inner = (tasks.vectors * (shrink @ ones**2)) @ tasks.vectors.T
    return np.linalg.solve(inner, tasks.vectors @ ((shrink * rotated) @ ones))


def _lower(gram, ridge):
    """The Cholesky factor of gram + ridge I; gram is symmetric by construction, so unchecked."""
    shifted = gram.T.copy(order="F")  # the layout LAPACK works on in place
    shifted[np.diag_indices(len(gram))] += ridge
    lower, info = lapack.dpotrf(shifted, lower=1, clean=1, overwrite_a=1)
    # Lost to rounding: add as little to the diagonal as it takes.
    return lower if info == 0 else np.asfortranarray(cholesky(gram, ridge).lower)


def _half_solve(lower, right, trans=0):
    """lower^-1 right, or lower^-T right."""
    return lapack.dtrtrs(lower, right, lower=1, trans=trans)[0]


def _coupling(coupling, tasks: int) -> np.ndarray:
    coupling = symmetric("coupling", coupling)
    if len(coupling) != tasks:
        raise ValueError(f"coupling must have shape {(tasks, tasks)}, got {coupling.shape}")
    least = np.linalg.eigvalsh(coupling)[0]
    if least < -1e-9 * np.abs(coupling).max():
        raise ValueError(f"coupling must be positive semidefinite, got an eigenvalue {least:.3g}")
    return coupling
