"""Sums of n kernel values for n points without n^2 evaluations: skeletons, heavy entries, noise.

The work is always y_i = sum_j K(q_i, k_j) x_j. Three things can be true of a kernel matrix, and
each section uses one:

1. The sum itself, for kernels of the distance (the baseline)
2. Far blocks have low rank: empirical interpolation and multipoles (Casenave et al. 2014)
3. Few entries are large: find these, sample the rest (Indyk et al. 2025)
4. The data is private: one noisy structure for all queries (Backurs et al. 2024)

Points lie in one or two dimensions for section 2, on a line (a coordinate at a time) for the trees
of section 4, and anywhere else.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy.linalg import lu_factor, lu_solve
from scipy.sparse import csr_array
from scipy.special import expit, ndtr

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
from kernellab.compute.elementary import exp, log
from kernellab.compute.features import fourier_features, spectral_frequencies
from kernellab.compute.kernels import Gaussian

_CONTRACT = {"contract"}
_SUMMED = {"contract", "reassoc"}

# ------------------------------------------------------------------------------------------------
# 1. The sum itself, for kernels of the distance
# ------------------------------------------------------------------------------------------------

PROFILES = ("gaussian", "matern", "1/r", "log", "oscillating")
_GAUSSIAN, _MATERN, _INVERSE, _LOG, _OSCILLATING = range(5)
_SCALE_FREE = ("1/r", "log")  # at another scale they change by a factor or by a constant
_BOUNDED = ("gaussian", "matern")  # 1 at distance 0
_LANES = 8  # lengths of inner loops are padded to multiples of this
_LEVEL = 1_000_000  # evaluations that take as long as preparing one level of a tree
_BATCH = 512  # sources whose kernel values are kept while they are added up
_MATERN_END = 750.0  # exp(-r) is 0 from here on
_FAR = 1e75  # coordinates and lengths up to here have squares that a float can hold
_PI_HIGH, _PI_LOW = 3.141592653589793, 1.2246467991473532e-16
_ROUNDER = 6755399441055744.0  # adding 1.5 * 2^52 rounds to an integer


@dataclass(frozen=True)
class RadialKernel:
    """A kernel K(x, y) = k(r) of the scaled distance r = |x - y| / length, in the plane.

    "gaussian" exp(-r^2/2); "matern" (1 + sqrt(3) r) exp(-sqrt(3) r); "1/r"; "log" -ln r;
    "oscillating" cos(r) / r, a wave of wavelength 2 pi length (r up to 1e8). The last three have no
    value at r = 0: there they count as 0, so that a point does not act on itself.

    >>> RadialKernel("1/r").gram([[0.0], [2.0]]).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """

    name: str
    length: float = 1.0

    def __post_init__(self):
        one_of("name", self.name, PROFILES)
        length = between("length", positive("length", self.length), 1 / _FAR, _FAR)
        object.__setattr__(self, "length", length)

    def gram(self, x, y=None) -> np.ndarray:
        """Return the matrix of all K(x_i, y_j), (n, m), for points (n, d) and (m, d), d <= 2."""
        x, y = _planar_pair(x, y)
        fits_in_memory("the kernel matrix", 8 * x.shape[1] * y.shape[1])
        out = np.empty((x.shape[1], y.shape[1]))
        _radial_gram(PROFILES.index(self.name), self.length, x, y, out)
        return out

    def matvec(self, x, y, v) -> np.ndarray:
        """Return sum_j K(x_i, y_j) v_j, (n,), one pair after another. Cost: n m evaluations.

        Parameters: x (n, d); y (m, d), or None for x; v (m,). Raises ValueError for other shapes.
        """
        x, y = _planar_pair(x, y)
        v = as_vector("v", v, length=y.shape[1])
        out = np.zeros(x.shape[1])
        _direct(PROFILES.index(self.name), self.length, x, y, v, out)
        return out


def _planar_pair(x, y) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of points, y None for x, as coordinates; both lie on a line, or neither."""
    plane = _planar("x", x)
    if y is None:
        return plane, plane
    other = _planar("y", y)
    as_matrix("y", y, columns=np.shape(x)[1])
    return plane, other


def _radial(kernel) -> RadialKernel:
    """Return a kernel that has to be a RadialKernel."""
    if not isinstance(kernel, RadialKernel):
        raise ValueError(f"kernel must be a RadialKernel, got {kernel!r}")
    return kernel


def _able(kernel, method: str):
    """Return a kernel that has to have a method."""
    if isinstance(kernel, type) or not callable(getattr(kernel, method, None)):
        raise ValueError(f"kernel must have a method {method}, got {kernel!r}")
    return kernel


def _below_one(tolerance) -> float:
    tolerance = positive("tolerance", tolerance)
    if tolerance >= 1:
        raise ValueError(f"tolerance must be below 1, got {tolerance:g}")
    return tolerance


def _planar(name: str, points) -> np.ndarray:
    """Return points (n, 1) or (n, 2) as two rows of coordinates, (2, n)."""
    points = as_matrix(name, points)
    if points.shape[1] > 2:
        raise ValueError(f"{name} must have one or two columns, got shape {points.shape}")
    if np.abs(points).max() > _FAR:
        raise ValueError(
            f"{name} must have coordinates up to {_FAR:g}, got {np.abs(points).max():.3g}"
        )
    plane = np.zeros((2, len(points)))
    plane[: points.shape[1]] = points.T
    return plane


@compiled("float64(float64)", forceinline=True, fastmath=_CONTRACT)
def _cos(x):
    """Return cos x for 0 <= x < 1e8, in steps that vectorise: one half-wave, with its sign."""
    k = (x * (1.0 / _PI_HIGH) + _ROUNDER) - _ROUNDER
    r = (x - k * _PI_HIGH) - k * _PI_LOW
    z = r * r
    p = 1 / 2432902008176640000
    p = p * z - 1 / 6402373705728000
    p = p * z + 1 / 20922789888000
    p = p * z - 1 / 87178291200
    p = p * z + 1 / 479001600
    p = p * z - 1 / 3628800
    p = p * z + 1 / 40320
    p = p * z - 1 / 720
    p = p * z + 1 / 24
    p = p * z - 1 / 2
    p = p * z + 1.0
    odd = k - 2.0 * math.floor(0.5 * k)
    return p * (1.0 - 2.0 * odd)


@compiled("float64(int64, float64)", forceinline=True, fastmath=_CONTRACT)
def _profile(code, s):
    """Return k(r) from s = r^2."""
    if code == _GAUSSIAN:
        return exp(-0.5 * s)
    if code == _MATERN:
        r = min(math.sqrt(3.0 * s), _MATERN_END)
        return (1.0 + r) * exp(-r)
    safe = s if s > 0.0 else 1.0
    if code == _INVERSE:
        value = 1.0 / math.sqrt(safe)
    elif code == _LOG:
        value = -0.5 * log(safe)
    else:
        r = math.sqrt(safe)
        value = _cos(r) / r
    return value if s > 0.0 else 0.0


@compiled(
    "void(int64, float64, float64, float64, float64[::1], float64[::1], float64[::1], int64, "
    "float64[::1])",
    forceinline=True,
    fastmath=_CONTRACT,
)
def _values(code, rate, x0, x1, y0, y1, weights, count, out):
    """Fill out[:count] with the weights times the kernel between one point and ``count`` others."""
    for j in range(count):
        d0, d1 = x0 - y0[j], x1 - y1[j]
        out[j] = weights[j] * _profile(code, rate * (d0 * d0 + d1 * d1))


@compiled(
    "float64(int64, float64, float64, float64, float64[::1], float64[::1], float64[::1], int64, "
    "float64[::1])",
    fastmath=_CONTRACT,
)
def _point_sum(code, rate, x0, x1, y0, y1, weights, count, work):
    """Return the weighted kernel sum at one point; each branch is compiled for one kernel."""
    if code == _GAUSSIAN:
        _values(_GAUSSIAN, rate, x0, x1, y0, y1, weights, count, work)
    elif code == _MATERN:
        _values(_MATERN, rate, x0, x1, y0, y1, weights, count, work)
    elif code == _INVERSE:
        _values(_INVERSE, rate, x0, x1, y0, y1, weights, count, work)
    elif code == _LOG:
        _values(_LOG, rate, x0, x1, y0, y1, weights, count, work)
    else:
        _values(_OSCILLATING, rate, x0, x1, y0, y1, weights, count, work)
    return _total(work, count)


@compiled("float64(float64[::1], int64)", forceinline=True, fastmath=_SUMMED)
def _total(values, count):
    total = 0.0
    for j in range(count):
        total += values[j]
    return total


@compiled("void(int64, float64, float64[:,::1], float64[:,::1], float64[:,::1])")
def _radial_gram(code, length, x, y, out):
    ones = np.ones(y.shape[1])
    for i in range(x.shape[1]):
        _point_sum(code, 1.0 / length**2, x[0, i], x[1, i], y[0], y[1], ones, y.shape[1], out[i])


@compiled("void(int64, float64, float64[:,::1], float64[:,::1], float64[::1], float64[::1])")
def _direct(code, length, x, y, v, out):
    work = np.empty(_BATCH)
    rate = 1.0 / length**2
    for start in range(0, y.shape[1], _BATCH):
        count = min(_BATCH, y.shape[1] - start)
        y0, y1 = y[0, start : start + count], y[1, start : start + count]
        weights = v[start : start + count]
        for i in range(x.shape[1]):
            out[i] += _point_sum(code, rate, x[0, i], x[1, i], y0, y1, weights, count, work)


# ------------------------------------------------------------------------------------------------
# 2. Far blocks have low rank: empirical interpolation and multipoles
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Interpolation:
    """A matrix M that is given by q of its rows and columns, M ~ M[:, c] M[r, c]^-1 M[r, :].

    Attributes
    ----------
    rows, columns : (q,), indices in the order in which they were chosen
    errors : (q + 1,), the largest residual before each choice and after the last
    """

    rows: np.ndarray
    columns: np.ndarray
    errors: np.ndarray

    @property
    def rank(self) -> int:
        """How many rows and columns were chosen."""
        return len(self.rows)


def empirical_interpolation(
    matrix, tolerance: float, max_rank: int | None = None, scale: float | None = None
) -> Interpolation:
    """Choose interpolation points of a kernel block greedily, until the residual is small.

    The residual R starts as K(X, Y). Each round takes the column whose largest entry is largest,
    and in it the row where it peaks, and subtracts R[:, c] R[r, :] / R[r, c]: afterwards row r and
    column c are exact. The largest entry left is the error estimate, at no extra cost.

    Paper: a-fast-summation-method-for-translation (Casenave et al. 2014, arXiv:1408.0210)

    Parameters
    ----------
    matrix : (G, H), kernel values between two training sets
    tolerance : >= 0, the residual to reach, relative to ``scale``
    max_rank : stop after that many points; None: min(G, H)
    scale : > 0; None: the largest entry

    Returns an Interpolation. Raises ValueError for bad input. Cost: O(q G H).

    >>> empirical_interpolation([[2.0, 4.0], [1.0, 2.0]], 1e-12).rank
    1
    """
    residual = as_matrix("matrix", matrix).copy()
    tolerance = nonnegative("tolerance", tolerance)
    limit = min(residual.shape)
    if max_rank is not None:
        limit = min(limit, integer("max_rank", max_rank, low=1))
    scale = np.abs(residual).max() if scale is None else positive("scale", scale)
    rows, columns = np.empty(limit, np.int64), np.empty(limit, np.int64)
    errors = np.empty(limit + 1)
    rank = _greedy(residual, tolerance * scale, rows, columns, errors)
    return Interpolation(rows[:rank], columns[:rank], errors[: rank + 1])


@compiled(
    "int64(float64[:,::1], float64, int64[::1], int64[::1], float64[::1])", fastmath=_CONTRACT
)
def _greedy(residual, goal, rows, columns, errors):
    """Choose pivots; a round subtracts one and looks for the next in the same sweep."""
    peaks = np.empty(residual.shape[0])
    for i in range(residual.shape[0]):
        peaks[i] = _largest(residual[i])
    for rank in range(len(rows)):
        r = np.argmax(peaks)
        errors[rank] = peaks[r]
        if peaks[r] <= goal or peaks[r] == 0.0:
            return rank
        pivot = residual[r].copy()
        c = np.argmax(np.abs(pivot))
        rows[rank], columns[rank] = r, c
        for i in range(residual.shape[0]):
            factor = residual[i, c] / pivot[c]
            line = residual[i]
            for j in range(len(pivot)):
                line[j] -= factor * pivot[j]
            line[c] = 0.0  # exactly so, whatever the rounding
            if i == r:
                line[:] = 0.0
            peaks[i] = _largest(line)
    errors[len(rows)] = peaks.max()
    return len(rows)


@compiled("float64(float64[::1])", forceinline=True, fastmath={"reassoc", "nnan", "nsz"})
def _largest(line):
    largest = 0.0
    for j in range(len(line)):
        largest = max(largest, abs(line[j]))
    return largest


def interpolated(kernel: RadialKernel, x, y, found: Interpolation, at, sources) -> np.ndarray:
    """Return the interpolant I_q K of a chosen set of points at other points, (n, m).

    I_q K(x, y) = K(x, Y) K(X, Y)^-1 K(X, y), with X = x[rows] and Y = y[columns].

    Parameters: kernel; x (G, d) and y (H, d), the training sets of ``found``; at (n, d);
    sources (m, d). Returns (n, m). Raises ValueError for other shapes. Cost: O(q (n + q) m).
    """
    kernel, x = _radial(kernel), as_matrix("x", x)
    y = as_matrix("y", y, columns=x.shape[1])
    at = as_matrix("at", at, columns=x.shape[1])
    sources = as_matrix("sources", sources, columns=x.shape[1])
    if not isinstance(found, Interpolation):
        raise ValueError(f"found must be an Interpolation, got {type(found).__name__}")
    for name, points, indices in (("x", x, found.rows), ("y", y, found.columns)):
        if indices.size and indices.max() >= len(points):
            raise ValueError(f"{name} must be the training set of found, got {len(points)} rows")
    if not found.rank:
        return np.zeros((len(at), len(sources)))
    x, y = x[found.rows], y[found.columns]
    inner = lu_solve(lu_factor(kernel.gram(x, y)), kernel.gram(x, sources))
    return kernel.gram(at, y) @ inner


def chebyshev_error(kernel: RadialKernel, order: int, at, sources) -> float:
    """Return the largest error of tensor Chebyshev interpolation over the box [-1/2, 1/2]^d.

    The fixed alternative to chosen points: K(x, .) is interpolated at order^d Chebyshev nodes.

    Parameters: kernel; order >= 1, nodes a side; at (n, d), outside of the box; sources (m, d),
    inside. Returns a float. Raises ValueError for bad input. Cost: O(order^d n m).
    """
    kernel, order = _radial(kernel), integer("order", order, low=1)
    sources = as_matrix("sources", sources)
    at = as_matrix("at", at, columns=sources.shape[1])
    angles = (2 * np.arange(order) + 1) * np.pi / (2 * order)
    nodes, weights = np.cos(angles) / 2, np.sin(angles) * (-1.0) ** np.arange(order)
    grid = np.stack(np.meshgrid(*[nodes] * sources.shape[1], indexing="ij"), axis=-1)
    basis = np.ones((len(sources), 1))
    for column in sources.T:
        gaps = column[:, None] - nodes
        gaps[gaps == 0.0] = 1e-300  # at a node its own weight outdoes all others
        shares = weights / gaps
        shares /= shares.sum(axis=1, keepdims=True)
        basis = (basis[:, :, None] * shares[:, None, :]).reshape(len(sources), -1)
    at_nodes = kernel.gram(at, grid.reshape(-1, sources.shape[1]))
    return float(np.abs(kernel.gram(at, sources) - at_nodes @ basis.T).max())


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Points that stand for any sources in a box, as seen from its far field.

    points (q, d) in the box and checks (q, d) in the far field, both relative to the box's centre;
    factor, the LU factors of K(checks, points) (q, q); error, the residual left, on the scale of
    the tolerance.
    """

    points: np.ndarray
    checks: np.ndarray
    factor: tuple
    error: float

    def charges(self, felt) -> np.ndarray:
        """Return charges (q, m) at the points that act as ``felt`` (q, m) at the checks."""
        return lu_solve(self.factor, felt, check_finite=False)

    def weights(self, potentials) -> np.ndarray:
        """Return the weights (q, m) of K(checks, .) for potentials (q, m) at the points."""
        return lu_solve(self.factor, potentials, trans=1, check_finite=False)

    @property
    def rank(self) -> int:
        """The number of points."""
        return len(self.points)


def box_skeleton(
    kernel: RadialKernel, half_width: float, reach: float, tolerance: float, dimension: int = 2
) -> Skeleton:
    """Choose a box's skeleton by empirical interpolation against all of its far field at once.

    Sources y in the box are replaced by charges lambda(y) = K(X, Y)^-1 K(X, y) at the chosen points
    Y, which agree with y at the chosen far points X. One skeleton serves every far box, because the
    training set for X is the whole ring from 3 half-widths (a box lies between) to ``reach``; and
    every box of a level, because the kernel depends on differences only.

    Paper: a-fast-summation-method-for-translation (Casenave et al. 2014, arXiv:1408.0210); its
    modification of the EIM for several levels is replaced by this ring.

    Parameters
    ----------
    kernel : a RadialKernel
    half_width : > 0, half the box's side
    reach : > 3 half_width, how far away targets may be, in the largest coordinate
    tolerance : 0 < tolerance < 1, relative to K(0) = 1, or without such to the largest
        value in the far field
    dimension : 1 or 2

    Returns a Skeleton. Raises ValueError for bad numbers. Cost: O(q) sweeps over some 1e5 values.
    """
    kernel = _radial(kernel)
    half_width, reach = positive("half_width", half_width), positive("reach", reach)
    if reach <= 3 * half_width:
        raise ValueError(
            f"reach must be above 3 half_width = {3 * half_width:.3g}, got {reach:.3g}"
        )
    tolerance, dimension = _below_one(tolerance), integer("dimension", dimension, 1, 2)
    if kernel.name in _SCALE_FREE:  # the same picture at every size: choose once, and stretch
        points, checks, error = _choose(RadialKernel(kernel.name), 1.0, 600.0, tolerance, dimension)
        points, checks = half_width * points, half_width * checks
    else:
        points, checks, error = _choose(kernel, half_width, reach, tolerance, dimension)
    factor = lu_factor(kernel.gram(checks, points)) if len(points) else ()
    return Skeleton(points, checks, factor, error)


@lru_cache(maxsize=512)
def _choose(kernel, half_width, reach, tolerance, dimension):
    """Return the points chosen in the box and in its far field, and the residual left."""
    lengths = 0.0 if kernel.name in _SCALE_FREE else half_width / kernel.length
    if kernel.name == "gaussian":  # nothing is left 9 bandwidths away
        reach = min(reach, max(4 * half_width, half_width + 9 * kernel.length))
    inside, ring = _training_sets(half_width, reach, lengths, dimension)
    block = kernel.gram(ring, inside)
    scale = 1.0 if kernel.name in _BOUNDED else np.abs(block).max()
    found = empirical_interpolation(block, tolerance, scale=scale)
    return inside[found.columns], ring[found.rows], float(found.errors[-1] / scale)


def _training_sets(half_width: float, reach: float, lengths: float, dimension: int):
    """Return the box's grid, dense at its edges, and rings around it from 3 half-widths to reach.

    A box that spans many of the kernel's ``lengths`` needs more points to see every wave. The rings
    are not symmetric on purpose: mirror images would tie for the largest residual, and rounding
    would choose between them.
    """
    nodes = int(np.clip(11 + 4 * lengths, 15, 27))
    across = half_width * np.cos(np.pi * np.arange(nodes) / (nodes - 1))
    if dimension == 1:
        radii = np.geomspace(3 * half_width, reach, 200)
        return across[:, None].copy(), np.concatenate([-radii, 1.003 * radii])[:, None]
    inside = np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2)
    edge = np.linspace(-1, 1, int(np.clip(9 + 6 * lengths, 13, 33)))[:-1]
    bottom = np.column_stack([edge, -np.ones_like(edge)])
    turn = np.array([[0, -1], [1, 0]])
    moved = [bottom + [(0.1 + 0.2 * k) * (edge[1] - edge[0]), 0.0] for k in range(4)]
    ring = np.concatenate([side @ np.linalg.matrix_power(turn, k) for k, side in enumerate(moved)])
    radii = np.geomspace(3 * half_width, reach, 10)
    return inside, (radii[:, None, None] * ring).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class _Level:
    """The occupied boxes of one level, and what moves charges and potentials between them."""

    side: int  # boxes along one axis
    cells: np.ndarray  # (boxes, 2), integer position of each box
    lookup: np.ndarray  # (side, side or 1), the box at a position, -1 where there is none
    parent: np.ndarray  # (boxes,)
    child: np.ndarray  # (boxes,), which corner of its parent a box is, 0..3
    skeleton: Skeleton
    far: np.ndarray  # (49, q, q), padded, potentials at a box's skeleton from one at an offset
    to_parent: list = field(default_factory=list)  # four (q of the parent, q)


class Multipole:
    """A plan to sum a kernel over all pairs of n points in O(n).

    A tree of square boxes: near boxes are summed pair by pair; a box further away acts through its
    skeleton, at the coarsest level at which it is not a neighbour. Up the tree charges move to
    coarser skeletons, across they become potentials, and down they are interpolated.

    Paper: a-fast-summation-method-for-translation (Casenave et al. 2014, arXiv:1408.0210)

    Parameters
    ----------
    kernel : a RadialKernel
    points : (n, d), d = 1 or 2, both sources and targets
    tolerance : 0 < tolerance < 1, of the interpolation of far blocks, as in ``box_skeleton``
    depth : levels below the root; None: chosen by counting the work

    Attributes
    ----------
    depth, ranks : the tree's depth, and the skeleton's rank at levels 2 .. depth
    errors : the interpolation error estimated at these levels
    evaluations : kernel evaluations of one sum, the set-up included
    products : multiplications that move charges and potentials between boxes, in one sum

    Raises ValueError for bad input. Cost: O(n q + boxes q^2) for a rank q.
    """

    def __init__(self, kernel: RadialKernel, points, tolerance: float, depth: int | None = None):
        points = as_matrix("points", points)
        plane = _planar("points", points)
        self.kernel, self.tolerance = _radial(kernel), _below_one(tolerance)
        self._dimension = points.shape[1]
        self.low = plane.min(axis=1)
        self.size = _rounded_up(float((plane.max(axis=1) - self.low).max()))
        limit = 9 if self._dimension == 2 else 14
        if depth is None:
            depth = self._best_depth(plane, limit)
        self.depth = integer("depth", depth, low=0, high=limit)
        self._sort(plane)
        self._levels = self._build_levels()

    @property
    def ranks(self) -> list[int]:
        """The skeletons' ranks, at levels 2 to depth."""
        return [level.skeleton.rank for level in self._levels]

    @property
    def errors(self) -> list[float]:
        """The interpolation error that the greedy choice reports, at levels 2 to depth."""
        return [level.skeleton.error for level in self._levels]

    @property
    def evaluations(self) -> int:
        """Kernel evaluations of one sum, those of the set-up included."""
        blocks = 40 if self._dimension == 2 else 4
        far = sum(blocks * level.skeleton.rank**2 for level in self._levels)
        leaf = self._levels[-1].skeleton.rank if self._levels else 0
        return self.near_pairs + far + 2 * self._order.size * leaf

    @property
    def products(self) -> int:
        """Multiplications of one sum with the matrices that are kept for each level."""
        total, above = 0, None
        for level in self._levels:
            q = level.skeleton.rank
            boxes = (level.lookup >= 0).astype(np.int64)
            if above is None:
                candidates = len(level.cells) ** 2  # the parents, 2 by 2 at most, all touch
            else:
                children = np.zeros(above.lookup.shape, np.int64)
                np.add.at(children, tuple(level.cells.T // 2), 1)
                candidates = int((children * _around(children)).sum())
                total += 2 * len(level.cells) * q * above.skeleton.rank
            total += q * q * (candidates - int((boxes * _around(boxes)).sum()))
            above = level
        return total + (2 * len(above.cells) * above.skeleton.rank**2 if above else 0)

    def boxes(self, level: int) -> np.ndarray:
        """Return centres (boxes, 2) of the occupied boxes of a level, 0 to depth."""
        level = integer("level", level, low=0, high=self.depth)
        cells = self._cells_of(level)
        return self.low + (cells + 0.5) * self.size / 2**level

    def sum(self, charges) -> np.ndarray:
        """Return sum_j K(x_i, x_j) charges_j at every point, (n,), for charges (n,)."""
        charges = as_vector("charges", charges, length=self._order.size)[self._order]
        code, length = PROFILES.index(self.kernel.name), self.kernel.length
        out = np.zeros(charges.size)
        _near(
            code, length, self._sorted, charges, self._starts, self._leaf_cells,
            1 if self._dimension == 2 else 0, out,
        )  # fmt: skip
        if self._levels and self._levels[-1].skeleton.rank:
            self._add_far(code, length, charges, out)
        answer = np.empty_like(out)
        answer[self._order] = out
        return answer

    def _add_far(self, code, length, charges, out):
        leaf = self._levels[-1]
        q = leaf.skeleton.rank
        checks = _padded_checks(leaf.skeleton)
        felt = np.zeros((len(leaf.cells), checks.shape[1]))
        _gather(
            code, length, self._sorted, charges, self._starts_of_boxes, self._centres, checks, felt
        )
        moments = [None] * len(self._levels)
        moments[-1] = leaf.skeleton.charges(felt[:, :q].T).T
        for k in range(len(self._levels) - 1, 0, -1):
            level, above = self._levels[k], self._levels[k - 1]
            moments[k - 1] = np.zeros((len(above.cells), above.skeleton.rank))
            for corner, move in enumerate(level.to_parent):
                who = level.child == corner
                moments[k - 1][level.parent[who]] += moments[k][who] @ move.T
        potentials = None
        for k, level in enumerate(self._levels):
            here = np.zeros((len(level.cells), level.far.shape[2]))
            charges = np.zeros_like(here)
            charges[:, : level.skeleton.rank] = moments[k]
            _across(charges, level.cells, level.lookup, level.far, here)
            here = here[:, : level.skeleton.rank]
            if potentials is not None:
                for corner, move in enumerate(level.to_parent):
                    who = level.child == corner
                    here[who] += potentials[level.parent[who]] @ move
            potentials = here
        weights = np.zeros_like(felt)
        weights[:, :q] = leaf.skeleton.weights(potentials.T).T
        _scatter(
            code, length, self._sorted, self._starts_of_boxes, self._centres, checks, weights, out
        )

    # --- the plan ------------------------------------------------------------------------------

    def _cells(self, plane, depth):
        cells = ((plane - self.low[:, None]) / self.size * 2**depth).astype(np.int64)
        return np.clip(cells, 0, 2**depth - 1)

    def _cells_of(self, level) -> np.ndarray:
        """Return the occupied cells of a level, (boxes, 2), in order."""
        cells = self._leaf_cells >> (self.depth - level)
        index = np.zeros(4**level if self._dimension == 2 else 2**level, bool)
        height = 2**level if self._dimension == 2 else 1
        index[cells[:, 0] * height + cells[:, 1]] = True
        occupied = np.flatnonzero(index)
        return np.column_stack([occupied // height, occupied % height])

    def _best_depth(self, plane, limit) -> int:
        """Return the depth with the least work: near pairs against products of skeletons."""
        digits = max(1.0, -math.log10(min(self.tolerance, 0.1)))
        rank = 5 * digits if self._dimension == 2 else digits + 3
        product = (27 if self._dimension == 2 else 3) * rank**2 / 4  # of a box, in evaluations
        best, least = 0, float(plane.shape[1]) ** 2
        for depth in range(2, limit + 1):
            cells = self._cells(plane, depth)
            side = 2**depth, 2**depth if self._dimension == 2 else 1
            counts = np.bincount(cells[0] * side[1] + cells[1], minlength=side[0] * side[1])
            counts = counts.reshape(side)
            around = counts.astype(float)
            for axis in range(self._dimension):
                moved = np.zeros_like(around)
                ahead, behind = [slice(None)] * 2, [slice(None)] * 2
                ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
                moved[tuple(ahead)] += around[tuple(behind)]
                moved[tuple(behind)] += around[tuple(ahead)]
                around = around + moved
            boxes = np.count_nonzero(counts)
            work = (counts * around).sum() + boxes * product + (depth - 1) * _LEVEL
            if work < least:
                best, least = depth, work
            if boxes > plane.shape[1] / 2:
                break
        return best

    def _sort(self, plane):
        cells = self._cells(plane, self.depth)
        height = 2**self.depth if self._dimension == 2 else 1
        index = cells[0] * height + cells[1]
        self._order = _sorting(index)
        self._sorted = np.ascontiguousarray(plane[:, self._order])
        counts = np.bincount(index, minlength=2**self.depth * height)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).reshape(-1).astype(np.int64)
        occupied = np.flatnonzero(counts)
        self._leaf_cells = np.ascontiguousarray(np.c_[occupied // height, occupied % height])
        self._starts_of_boxes = np.append(self._starts[occupied], len(index)).astype(np.int64)
        centres = self.low + (self._leaf_cells + 0.5) * self.size / 2**self.depth
        if self._dimension == 1:
            centres[:, 1] = self._sorted[1, 0]
        self._centres = np.ascontiguousarray(centres)
        grid = counts.reshape(2**self.depth, height)
        self.near_pairs = int((grid * _around(grid)).sum())

    def _build_levels(self) -> list[_Level]:
        levels: list[_Level] = []
        for number in range(2, self.depth + 1):
            cells = self._cells_of(number)
            height = 2**number if self._dimension == 2 else 1
            lookup = np.full((2**number, height), -1, np.int64)
            lookup[cells[:, 0], cells[:, 1]] = np.arange(len(cells))
            half = self.size / 2**number / 2
            skeleton = box_skeleton(self.kernel, half, self.size, self.tolerance, self._dimension)
            child = (cells[:, 0] % 2) * 2 + cells[:, 1] % 2
            parent = np.zeros(len(cells), np.int64)
            to_parent = []
            if levels:
                parent = levels[-1].lookup[cells[:, 0] // 2, cells[:, 1] // 2]
                to_parent = self._moves(levels[-1].skeleton, skeleton, half)
            far = self._far_blocks(skeleton, 2 * half)
            levels.append(_Level(2**number, cells, lookup, parent, child, skeleton, far, to_parent))
        return levels

    def _moves(self, above: Skeleton, below: Skeleton, half: float) -> list[np.ndarray]:
        """Return for each corner the charges at the parent's skeleton for those at the child's."""
        moves = []
        for corner in range(4):
            shift = half * (2 * np.array([corner // 2, corner % 2]) - 1)[: self._dimension]
            if self._dimension == 1 and corner % 2:
                moves.append(moves[-1])  # there are no upper boxes on a line
                continue
            if not (above.rank and below.rank):
                moves.append(np.zeros((above.rank, below.rank)))
                continue
            moves.append(above.charges(self.kernel.gram(above.checks, below.points + shift)))
        return moves

    def _far_blocks(self, skeleton: Skeleton, width: float) -> np.ndarray:
        """Return the potentials at a box's skeleton from one at each offset, -3..3 boxes away."""
        q = skeleton.rank
        padded = -(-q // _LANES) * _LANES
        far = np.zeros((49 if self._dimension == 2 else 7, padded, padded))
        for k in range(len(far)):
            offset = np.array([k // 7 - 3, k % 7 - 3] if self._dimension == 2 else [k - 3])
            if q and np.abs(offset).max() > 1:
                far[k, :q, :q] = self.kernel.gram(skeleton.points + offset * width, skeleton.points)
        return far


def _around(grid) -> np.ndarray:
    """Return for each cell the sum over it and its neighbours, 3 by 3."""
    padded = np.pad(grid, 1)
    wide, tall = grid.shape
    return sum(padded[i : i + wide, j : j + tall] for i in range(3) for j in range(3))


def _rounded_up(size: float) -> float:
    """Return size, a little larger: similar data then share their skeletons."""
    if size == 0.0:
        return 1.0
    fraction, exponent = math.frexp(size * (1 + 1e-12))
    return math.ldexp(math.ceil(fraction * 32) / 32, exponent)


def _sorting(index) -> np.ndarray:
    """Return the stable order of small whole numbers; NumPy sorts 16-bit ones in linear time."""
    small = index.astype(np.uint16) if index.max() < 2**16 else index
    return np.argsort(small, kind="stable")


def _padded_checks(skeleton: Skeleton) -> np.ndarray:
    """Return the check points as two rows of coordinates; the last one fills up the lanes."""
    checks = _planar("checks", skeleton.checks)
    missing = -checks.shape[1] % _LANES
    return np.ascontiguousarray(np.pad(checks, ((0, 0), (0, missing)), mode="edge"))


@compiled(
    "void(int64, float64, float64[:,::1], float64[::1], int64[::1], int64[:,::1], int64, "
    "float64[::1])"
)
def _near(code, length, points, charges, starts, cells, height, out):
    """Add what each point feels from the boxes around its own.

    The boxes of a column lie one behind the other, so that three neighbours are one stretch of
    points; the three stretches are copied side by side for long inner loops.
    """
    side = 1
    while side * (side if height == 1 else 1) < len(starts) - 1:
        side += 1
    tall = side if height == 1 else 1
    largest = 0
    for c in range(len(cells)):
        count = 0
        for i in range(max(cells[c, 0] - 1, 0), min(cells[c, 0] + 2, side)):
            low, high = max(cells[c, 1] - 1, 0), min(cells[c, 1] + 2, tall)
            count += starts[i * tall + high] - starts[i * tall + low]
        largest = max(largest, count)
    y0, y1 = np.empty(largest), np.empty(largest)
    weights, work = np.empty(largest), np.empty(largest)
    for c in range(len(cells)):
        count = 0
        for i in range(max(cells[c, 0] - 1, 0), min(cells[c, 0] + 2, side)):
            low, high = max(cells[c, 1] - 1, 0), min(cells[c, 1] + 2, tall)
            for j in range(starts[i * tall + low], starts[i * tall + high]):
                y0[count], y1[count], weights[count] = points[0, j], points[1, j], charges[j]
                count += 1
        home = cells[c, 0] * tall + cells[c, 1]
        for i in range(starts[home], starts[home + 1]):
            out[i] += _point_sum(
                code, 1.0 / length**2, points[0, i], points[1, i], y0, y1, weights, count, work
            )


@compiled(
    "void(int64, float64, float64[:,::1], float64[::1], int64[::1], float64[:,::1], "
    "float64[:,::1], float64[:,::1])"
)
def _gather(code, length, points, charges, starts, centres, checks, felt):
    """Fill felt[b] with what box b's charges do at its check points."""
    q = checks.shape[1]
    work, ones = np.empty(q), np.ones(q)
    for b in range(len(felt)):
        for j in range(starts[b], starts[b + 1]):
            x0, x1 = points[0, j] - centres[b, 0], points[1, j] - centres[b, 1]
            _point_sum(code, 1.0 / length**2, x0, x1, checks[0], checks[1], ones, q, work)
            for m in range(q):
                felt[b, m] += charges[j] * work[m]


@compiled(
    "void(int64, float64, float64[:,::1], int64[::1], float64[:,::1], float64[:,::1], "
    "float64[:,::1], float64[::1])"
)
def _scatter(code, length, points, starts, centres, checks, weights, out):
    """Add to each point what its box's check points say of the far field."""
    q = checks.shape[1]
    work = np.empty(q)
    for b in range(len(weights)):
        for j in range(starts[b], starts[b + 1]):
            x0, x1 = points[0, j] - centres[b, 0], points[1, j] - centres[b, 1]
            out[j] += _point_sum(
                code, 1.0 / length**2, x0, x1, checks[0], checks[1], weights[b], q, work
            )


@compiled(
    "void(float64[:,::1], int64[:,::1], int64[:,::1], float64[:,:,::1], float64[:,::1])",
    fastmath=_SUMMED,
)
def _across(moments, cells, lookup, far, out):
    """Add to each box the potentials of the boxes that are far, but whose parents are near."""
    wide, tall = lookup.shape
    for b in range(len(cells)):
        i, j = cells[b]
        here = out[b]
        for si in range(max(2 * (i // 2 - 1), 0), min(2 * (i // 2 + 2), wide)):
            for sj in range(max(2 * (j // 2 - 1), 0), min(2 * (j // 2 + 2), tall)):
                source = lookup[si, sj]
                if source < 0 or (abs(si - i) <= 1 and abs(sj - j) <= 1):
                    continue
                # far[o, k, m] moves potentials to the offset's box: the kernel is symmetric.
                block = far[(si - i + 3) * 7 + sj - j + 3] if tall > 1 else far[si - i + 3]
                _add_rows(here, moments[source], block)


class SmoothSum:
    """A plan to sum a Gaussian over all pairs of n points, without any near field.

    A Gaussian has no peak that interpolation must keep away from: the skeleton of a box one or two
    bandwidths wide can be trained on all targets, those in the box included. One level of boxes is
    then enough. And it is a product over the coordinates, so r chosen points on a line make r^2 in
    the plane, and charges become potentials along x first, then along y. The boxes are as wide as
    8 or 16 points allow, as many as a processor handles at once.

    Paper: a-fast-summation-method-for-translation (Casenave et al. 2014, arXiv:1408.0210), whose
    choice of points this applies to one coordinate; the rest is our own.

    Parameters: kernel, a Gaussian RadialKernel; points (n, d), d = 1 or 2, spread over at most 200
    bandwidths; 1e-12 <= tolerance < 1, relative to K(0) = 1.
    Attributes: rank r, of the skeleton on a line; error, its estimate; evaluations, one-dimensional
    kernel values computed in one sum.
    Raises ValueError for bad input. Cost: O(n r^2 + boxes r^3 log(1 / tolerance)^(1/2)); n^2 where
    that is less.
    """

    def __init__(self, kernel: RadialKernel, points, tolerance: float):
        points = as_matrix("points", points)
        plane, tolerance = _planar("points", points), between("tolerance", tolerance, 1e-12, 0.999)
        if not isinstance(kernel, RadialKernel) or kernel.name != "gaussian":
            raise ValueError(f"kernel must be a Gaussian RadialKernel, got {kernel!r}")
        low = plane.min(axis=1)
        spread = float((plane.max(axis=1) - low).max() / kernel.length)
        if spread > 200:
            raise ValueError(
                f"points must spread over at most 200 bandwidths, got {spread:.3g}; Multipole has "
                "boxes that follow the points"
            )
        self.kernel, self._points = kernel, points
        self._half, self._skeleton, self._blocks = _line_skeleton(tolerance)
        # In units of the bandwidth, each point relative to the centre of its box.
        local = (plane - low[:, None]) / kernel.length
        cells = (local / (2 * self._half)).astype(np.int64)
        local -= (2 * cells + 1) * self._half
        self._sides = cells.max(axis=1) + 1
        index = cells[0] * self._sides[1] + cells[1]
        self._order = _sorting(index)
        self._local = np.ascontiguousarray(local[:, self._order])
        counts = np.bincount(index, minlength=self._sides.prod())
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._few = len(points) < 1200  # then all pairs are quicker

    @property
    def rank(self) -> int:
        """The number of points in the skeleton on a line."""
        return self._skeleton.rank

    @property
    def error(self) -> float:
        """The interpolation error that the greedy choice reports."""
        return self._skeleton.error

    @property
    def evaluations(self) -> int:
        """One-dimensional kernel values computed in one sum, along both coordinates."""
        return self._order.size**2 if self._few else 4 * self._order.size * self.rank

    def sum(self, charges) -> np.ndarray:
        """Return sum_j K(x_i, x_j) charges_j at every point, (n,), for charges (n,)."""
        charges = as_vector("charges", charges, length=self._order.size)
        if self._few:
            return self.kernel.matvec(self._points, None, charges)
        charges = charges[self._order]
        r, checks = self.rank, _padded_checks(self._skeleton)[0]
        felt = np.zeros((self._sides[0], checks.size, self._sides[1], checks.size))
        _gather_product(self._local, charges, self._starts, checks, felt)
        weights = np.zeros_like(felt)
        weights[:, :r, :, :r] = self._across(self._across(felt[:, :r, :, :r]))
        out, answer = np.empty(charges.size), np.empty(charges.size)
        _scatter_product(self._local, self._starts, checks, weights, out)
        answer[self._order] = out
        return answer

    def _across(self, grid) -> np.ndarray:
        """Turn what is felt along the first axis into weights; the axes come back exchanged."""
        boxes, r, others, _ = grid.shape

        def solved(function, values):
            columns = values.reshape(boxes, r, -1).swapaxes(0, 1).reshape(r, -1)
            return function(columns).reshape(r, boxes, -1).swapaxes(0, 1)

        charges = np.ascontiguousarray(solved(self._skeleton.charges, np.ascontiguousarray(grid)))
        potentials = np.zeros_like(charges)
        reach = len(self._blocks) // 2
        for offset in range(max(-reach, 1 - boxes), min(reach + 1, boxes)):
            to = slice(max(-offset, 0), boxes - max(offset, 0))
            source = slice(max(offset, 0), boxes - max(-offset, 0))
            potentials[to] += self._blocks[offset + reach] @ charges[source]
        weights = solved(self._skeleton.weights, potentials).reshape(boxes, r, others, r)
        return weights.transpose(2, 3, 0, 1)


@lru_cache(maxsize=64)
def _line_skeleton(tolerance: float):
    """Return half a box's width, its skeleton for any target, and the blocks between boxes.

    All in bandwidths. Boxes further apart than the blocks reach feel less than the tolerance.
    """
    kernel, cut = RadialKernel("gaussian"), math.sqrt(-2 * math.log(tolerance))
    most = 8 if tolerance > 1e-7 else 16
    for half in np.linspace(3, 0.5, 51):
        inside = half * np.cos(np.pi * np.arange(64) / 63)[:, None]
        targets = np.linspace(-1, 1.003, 256)[:, None] * (half + cut)
        found = empirical_interpolation(kernel.gram(targets, inside), tolerance)
        if found.rank <= most:
            break
    points, checks = inside[found.columns], targets[found.rows]
    skeleton = Skeleton(points, checks, lu_factor(kernel.gram(checks, points)), found.errors[-1])
    reach = 1 + math.ceil(cut / (2 * half))
    offsets = range(-reach, reach + 1)
    return half, skeleton, [kernel.gram(points, points + 2 * half * o) for o in offsets]


@compiled(
    "void(float64[:,::1], float64[::1], int64[::1], float64[::1], float64[:,:,:,::1])",
    fastmath=_CONTRACT,
)
def _gather_product(points, charges, starts, checks, felt):
    """Fill felt[a, k, b, m] with what the charges of box (a, b) do at its check point (k, m)."""
    q, tall = len(checks), felt.shape[2]
    along, up, total = np.empty(q), np.empty(q), np.empty((q, q))
    for box in range(len(starts) - 1):
        if starts[box] == starts[box + 1]:
            continue
        total[:] = 0.0
        for j in range(starts[box], starts[box + 1]):
            for k in range(q):
                d0, d1 = points[0, j] - checks[k], points[1, j] - checks[k]
                along[k] = charges[j] * exp(-0.5 * d0 * d0)
                up[k] = exp(-0.5 * d1 * d1)
            for k in range(q):
                _add_row(total[k], along[k], up)
        for k in range(q):
            felt[box // tall, k, box % tall] = total[k]


@compiled(
    "void(float64[:,::1], int64[::1], float64[::1], float64[:,:,:,::1], float64[::1])",
    fastmath=_CONTRACT,
)
def _scatter_product(points, starts, checks, weights, out):
    """Fill out[j] with the kernel between point j and its box's check points, times weights."""
    q, tall = len(checks), weights.shape[2]
    along, up, total = np.empty(q), np.empty(q), np.empty(q)
    here = np.empty((q, q))
    for box in range(len(starts) - 1):
        if starts[box] == starts[box + 1]:
            continue
        for k in range(q):
            here[k] = weights[box // tall, k, box % tall]
        for j in range(starts[box], starts[box + 1]):
            for k in range(q):
                d0, d1 = points[0, j] - checks[k], points[1, j] - checks[k]
                along[k] = exp(-0.5 * d0 * d0)
                up[k] = exp(-0.5 * d1 * d1)
            total[:] = 0.0
            for k in range(q):
                _add_row(total, along[k], here[k])
            for k in range(q):
                total[k] *= up[k]
            out[j] = _total(total, q)


@compiled("void(float64[::1], float64[::1], float64[:,::1])", forceinline=True, fastmath=_SUMMED)
def _add_rows(here, factors, rows):
    """Add factors @ rows, four rows at a time to spare loads and stores of the sums."""
    for k in range(0, len(rows), 4):
        a, b, c, d = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
        first, second, third, fourth = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        for m in range(len(here)):
            here[m] += a * first[m] + b * second[m] + c * third[m] + d * fourth[m]


@compiled("void(float64[::1], float64, float64[::1])", forceinline=True, fastmath=_SUMMED)
def _add_row(here, factor, row):
    for m in range(len(here)):
        here[m] += factor * row[m]


# ------------------------------------------------------------------------------------------------
# 3. Few entries are large: find these, sample the rest
# ------------------------------------------------------------------------------------------------


def mass_per_row(kernel, queries, keys) -> float:
    """Return c = (1/n) sum_ij K_ij of a kernel >= 0, the number that a sparse matrix keeps small.

    Parameters: kernel with ``matvec``; queries (n, d); keys (m, d). Returns a float. Cost O(n m d).
    """
    keys = as_matrix("keys", keys)
    return float(_able(kernel, "matvec").matvec(queries, keys, np.ones(len(keys))).mean())


def heavy_entries(kernel, queries, keys, threshold: float) -> csr_array:
    """Return all entries |K_ij| >= threshold, by looking everywhere.

    Parameters: kernel with ``gram``; queries (n, d); keys (m, d); threshold > 0.
    Returns a sparse (n, m) array; by Markov's inequality it has at most c n / threshold entries, c
    the mass per row. Raises ValueError for bad input. Cost: O(n m d).
    """
    queries, keys = as_matrix("queries", queries), as_matrix("keys", keys)
    kernel, threshold = _able(kernel, "gram"), positive("threshold", threshold)
    blocks = []
    for start in range(0, len(queries), 512):
        gram = kernel.gram(queries[start : start + 512], keys)
        rows, columns = np.nonzero(np.abs(gram) >= threshold)
        blocks.append((rows + start, columns, gram[rows, columns]))
    rows, columns, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return csr_array((values, (rows, columns)), shape=(len(queries), len(keys)))


def collision_probability(distance, width: float) -> np.ndarray:
    """Return how likely floor((a.x + b)/width) agrees for two points, a Gaussian, b uniform.

    p(r) = 1 - 2 Phi(-w/r) - sqrt(2/pi) (r/w) (1 - exp(-w^2/(2 r^2))).

    Parameters: distance r, array of numbers > 0; width w > 0. Returns an array of its shape.
    Source: Datar et al. (2004), p-stable hashing.
    """
    distance, width = np.asarray(distance, float), positive("width", width)
    if not (np.isfinite(distance).all() and (distance > 0).all()):
        raise ValueError(f"distance must be positive, got a least value {np.min(distance)}")
    ratio = width / distance
    tail = math.sqrt(2 / math.pi) / ratio * -np.expm1(-0.5 * ratio**2)
    return 1 - 2 * ndtr(-ratio) - tail


class HashTables:
    """Tables in which near points share a bucket, to find heavy entries without all distances.

    A table has k projections; a point's bucket is floor((a_l.x + b_l) / width), l = 1 .. k. Points
    at distance r meet in a table with probability p(r)^k, in one of L tables with probability
    1 - (1 - p(r)^k)^L.

    Paper: improved-algorithms-for-kernel-matrix-vector (Indyk et al. 2025, arXiv:2507.23539), which
    leaves open which locality-sensitive hashing finds the heavy entries.

    Parameters
    ----------
    keys : (m, d)
    width : > 0, of a slab, in the units of the keys
    projections, tables : k and L, at least 1
    rng : a Generator or an int seed

    Raises ValueError for bad input. Cost: O(m L (k d + log m)).
    """

    def __init__(self, keys, width: float, projections: int, tables: int, rng):
        self.keys = as_matrix("keys", keys)
        self.width = positive("width", width)
        self.projections = integer("projections", projections, low=1)
        self.tables = integer("tables", tables, low=1)
        rng = as_rng(rng)
        total = self.projections * self.tables
        self._directions = rng.standard_normal((total, self.keys.shape[1])) / self.width
        self._shifts = rng.random(total)
        self._odd = rng.integers(1, 2**62, total) * 2 + 1
        # More slots than keys, so that few buckets share one; the whole code is kept to tell them.
        slots = 1 << (2 * len(self.keys)).bit_length()
        codes = self._codes(self.keys)
        self._starts = np.zeros((self.tables, slots + 1), np.int32)
        self._orders, self._tags = np.empty(codes.shape, np.int32), np.empty_like(codes)
        _fill_slots(codes, self._starts, self._orders, self._tags)

    def recall(self, distance) -> np.ndarray:
        """Return the probability that a pair at a distance is found, 1 - (1 - p^k)^L."""
        one = collision_probability(distance, self.width) ** self.projections
        return 1 - (1 - one) ** self.tables

    def heavy(self, queries, bandwidth: float, threshold: float) -> tuple[csr_array, int]:
        """Return the heavy entries found, and how many pairs were looked at.

        Parameters: queries (n, d); bandwidth > 0; 0 < threshold <= 1. Returns a sparse (n, m) array
        of K_ij >= threshold and an int. Raises ValueError for bad input. Cost: O(pairs d).
        """
        queries = as_matrix("queries", queries, columns=self.keys.shape[1])
        bandwidth, threshold = positive("bandwidth", bandwidth), positive("threshold", threshold)
        if threshold > 1:
            raise ValueError(f"threshold must be at most 1, got {threshold:.3g}")
        square = -2 * bandwidth**2 * math.log(threshold)
        codes = self._codes(queries)
        indptr, columns, squares, looked = _scan_buckets(
            queries, self.keys, codes, self._starts, self._orders, self._tags, square
        )
        values = np.exp(-squares / (2 * bandwidth**2))
        return csr_array((values, columns, indptr), shape=(len(queries), len(self.keys))), looked

    def _codes(self, points) -> np.ndarray:
        """Return one integer for each point's bucket in each table, (L, n)."""
        codes = np.empty((self.tables, len(points)), np.int64)
        for start in range(0, len(points), 256):  # the projections of a part fit in the cache
            part = points[start : start + 256] @ self._directions.T
            _mix(part, self._shifts, self._odd, self.projections, start, codes)
        return codes


@compiled("void(float64[:,::1], float64[::1], int64[::1], int64, int64, int64[:,::1])")
def _mix(places, shifts, odd, projections, start, codes):
    """Fill codes[t, start + i] from point i's k slabs in table t: a folded sum of odd multiples."""
    for i in range(len(places)):
        for t in range(len(codes)):
            mixed = 0
            for k in range(t * projections, (t + 1) * projections):
                mixed += int(math.floor(places[i, k] + shifts[k])) * odd[k]
            codes[t, start + i] = mixed ^ (mixed >> 32)


@compiled("void(int64[:,::1], int32[:,::1], int32[:,::1], int64[:,::1])")
def _fill_slots(codes, starts, orders, tags):
    """Sort the keys of each table by slot, by counting; starts[t, s] is where slot s begins."""
    mask = starts.shape[1] - 2
    for t in range(len(codes)):
        start = starts[t]
        for j in range(codes.shape[1]):
            start[(codes[t, j] & mask) + 1] += 1
        for s in range(1, len(start)):
            start[s] += start[s - 1]
        for j in range(codes.shape[1]):  # moves each start to the next one's place
            slot = codes[t, j] & mask
            orders[t, start[slot]] = j
            tags[t, start[slot]] = codes[t, j]
            start[slot] += 1
        for s in range(len(start) - 1, 0, -1):
            start[s] = start[s - 1]
        start[0] = 0


@compiled(
    "Tuple((int64[::1], int64[::1], float64[::1], int64))(float64[:,::1], float64[:,::1], "
    "int64[:,::1], int32[:,::1], int32[:,::1], int64[:,::1], float64)",
    fastmath=_SUMMED,
)
def _scan_buckets(queries, keys, codes, starts, orders, tags, square):
    """Return row pointers, columns and squared distances of the pairs within sqrt(square)."""
    n, m, d = len(queries), len(keys), keys.shape[1]
    indptr = np.zeros(n + 1, np.int64)
    columns, squares = np.empty(4 * n + 16, np.int64), np.empty(4 * n + 16)
    met = np.full(m, -1, np.int64)  # the last query that looked at a key
    mask = starts.shape[1] - 2
    count = looked = 0
    for i in range(n):
        for t in range(len(codes)):
            slot = codes[t, i] & mask
            for s in range(starts[t, slot], starts[t, slot + 1]):
                j = orders[t, s]
                if tags[t, s] != codes[t, i] or met[j] == i:
                    continue
                met[j] = i
                looked += 1
                total = 0.0
                for k in range(d):
                    gap = queries[i, k] - keys[j, k]
                    total += gap * gap
                if total > square:
                    continue
                if count == len(columns):
                    columns = np.append(columns, np.empty(count, np.int64))
                    squares = np.append(squares, np.empty(count))
                columns[count], squares[count] = j, total
                count += 1
        indptr[i + 1] = count
    return indptr, columns[:count].copy(), squares[:count].copy(), looked


def sampled_charges(x, samples: int, rng) -> np.ndarray:
    """Return few charges w that stand for x: drawn by size, E w = x.

    S indices are drawn with p_j = x_j^2 / ||x||^2, and w_j = (times j was drawn) x_j / (S p_j).

    Paper: improved-algorithms-for-kernel-matrix-vector (Indyk et al. 2025, arXiv:2507.23539)

    Parameters: x (m,), not all zero; samples S >= 1; rng, a Generator or an int seed.
    Returns (m,), at most S entries not zero. Raises ValueError otherwise. Cost: O(m + S).
    """
    x = as_vector("x", x)
    samples, rng = integer("samples", samples, low=1), as_rng(rng)
    square = x @ x
    if square == 0:
        raise ValueError("x must have an entry that is not zero")
    counts = rng.multinomial(samples, x**2 / square)
    drawn = counts > 0
    w = np.zeros(x.size)
    w[drawn] = counts[drawn] * square / (samples * x[drawn])
    return w


def sampled_matvec(
    kernel, queries, keys, x, samples: int, rng, heavy: csr_array | None = None
) -> np.ndarray:
    """Estimate K x: the heavy entries exactly, all others from a few drawn columns.

    With the drawn charges w (E w = x) the estimate is K w + K_heavy (x - w): where K_heavy holds an
    entry, its sampled part is taken out and the true one put in. It is unbiased whichever entries
    K_heavy holds, also when a search has missed some.

    Paper: improved-algorithms-for-kernel-matrix-vector (Indyk et al. 2025, arXiv:2507.23539)

    Parameters
    ----------
    kernel : any with ``matvec``
    queries : (n, d)
    keys : (m, d)
    x : (m,), signed
    samples : S >= 1, columns to draw
    rng : a Generator or an int seed
    heavy : sparse (n, m) of exact entries; None: sample everything

    Returns (n,). Raises ValueError for bad shapes or numbers. Cost: O(n S d + heavy entries).
    """
    queries, keys = as_matrix("queries", queries), as_matrix("keys", keys)
    kernel, x = _able(kernel, "matvec"), as_vector("x", x, length=len(keys))
    if heavy is not None and getattr(heavy, "shape", None) != (len(queries), len(keys)):
        raise ValueError(
            f"heavy must be a sparse array of shape {(len(queries), len(keys))}, "
            f"got {getattr(heavy, 'shape', type(heavy).__name__)}"
        )
    w = sampled_charges(x, samples, rng)
    drawn = np.flatnonzero(w)
    estimate = kernel.matvec(queries, keys[drawn], w[drawn])
    return estimate if heavy is None else estimate + heavy @ (x - w)


def sampling_error(light, x, samples: int) -> float:
    """Return the root mean squared l2 error of the estimate, from its closed-form variance.

    E ||estimate - K x||^2 = (||x||^2 ||K_light||_F^2 - ||K_light x||^2) / S. With no light entry
    above t and a mass of c per row it is at most t c n / S ||x||^2.

    Parameters: light (n, m), the entries that are sampled (0 elsewhere); x (m,); samples S >= 1.
    Returns a float. Raises ValueError for bad shapes. Cost: O(n m).
    """
    light = as_matrix("light", light)
    x = as_vector("x", x, length=light.shape[1])
    variance = (x @ x) * (light**2).sum() - ((light @ x) ** 2).sum()
    return math.sqrt(max(variance, 0.0) / integer("samples", samples, low=1))


def tokens(n: int, dimension: int, clusters: int, spread: float, rng):
    """Draw queries and keys in clusters, and signed values, as attention meets them.

    Parameters: n and dimension >= 1; clusters >= 1 with centres N(0, I); spread >= 0, the standard
    deviation of a point around its centre; rng. Returns queries (n, d), keys (n, d), x (n,).
    """
    n, dimension = integer("n", n, low=1), integer("dimension", dimension, low=1)
    clusters, spread = integer("clusters", clusters, low=1), nonnegative("spread", spread)
    rng = as_rng(rng)
    centres = rng.standard_normal((clusters, dimension))

    def around():
        noise = spread * rng.standard_normal((n, dimension))
        return centres[rng.integers(clusters, size=n)] + noise

    return around(), around(), rng.standard_normal(n)


# ------------------------------------------------------------------------------------------------
# 4. The data is private: one noisy structure for all queries
# ------------------------------------------------------------------------------------------------

DISTANCE_PROFILES = ("distance", "exponential", "reciprocal")


class PrivateTree:
    """Counts of points on a line in a binary tree, with Laplace noise in every node.

    One point more or less changes one node a level, so the whole tree changes by log2(B) + 1 in the
    1-norm, and noise of scale (log2(B) + 1) / epsilon makes it epsilon-differentially private. What
    is computed from it later costs no privacy.

    Paper: efficiently-computing-similarities-to-private (Backurs et al. 2024, arXiv:2403.08917)

    Parameters
    ----------
    x : (n,), the private values; those outside of [low, high] count at its ends
    epsilon : > 0; math.inf for no noise
    low, high : the public range
    bins : B, a power of 2
    rng : a Generator or an int seed

    Attributes: nodes (2 B,), the root at 1, children of k at 2 k and 2 k + 1, bins from B on;
    scale, of the noise. Raises ValueError for bad input. Cost: O(n + B).
    """

    def __init__(self, x, epsilon: float, low: float, high: float, bins: int, rng):
        bins = integer("bins", bins, low=2)
        if bins & (bins - 1):
            raise ValueError(f"bins must be a power of 2, got {bins}")
        epsilon = _privacy(epsilon)
        counts, self.low, self.width = _histogram(x, low, high, bins)
        self.bins = bins
        self.nodes = tree_counts(counts)
        self.levels = bins.bit_length()
        self.scale = 0.0 if epsilon == math.inf else self.levels / epsilon
        if self.scale:
            self.nodes[1:] += as_rng(rng).laplace(0.0, self.scale, 2 * bins - 1)

    @property
    def total(self) -> float:
        """The noisy number of points."""
        return float(self.nodes[1])

    def count(self, first: int, last: int) -> float:
        """Return the noisy number of points in bins first .. last - 1, from <= 2 log2 B nodes."""
        first = integer("first", first, low=0, high=self.bins)
        last = integer("last", last, low=first, high=self.bins)
        return float(_interval(self.nodes, self.bins, first, last)[0])

    def nodes_touched(self, first: int, last: int) -> int:
        """Return how many nodes ``count`` adds up."""
        first = integer("first", first, low=0, high=self.bins)
        last = integer("last", last, low=first, high=self.bins)
        return int(_interval(self.nodes, self.bins, first, last)[1])

    def sums(self, y, growth: float = 0.1, profile: str = "distance", scale: float = 1.0):
        """Estimate sum_i f(|x_i - y|) at many y, and the standard deviation of the noise in it.

        The bins to each side of y are put into shells whose inner and outer distance differ by a
        factor 1 + growth; a shell is counted by a few nodes and stands at its middle distance. Few
        shells mean little noise, narrow shells little bias.

        Parameters
        ----------
        y : (m,)
        growth : >= 0; 0 makes every bin a shell
        profile : "distance" f = r; "exponential" exp(-r / scale); "reciprocal" 1 / (1 + r / scale)
        scale : > 0

        Returns values (m,) and deviations (m,). Raises ValueError for bad input.
        Cost: O(log(B)^2 / growth) for each y.
        """
        positions, growth = _positions(y, self.low, self.width), nonnegative("growth", growth)
        code = DISTANCE_PROFILES.index(one_of("profile", profile, DISTANCE_PROFILES))
        values, touched = np.empty(positions.size), np.empty(positions.size)
        rate = self.width / positive("scale", scale)
        _shell_sums(self.nodes, self.bins, positions, growth, code, rate, values, touched)
        unit = self.width if code == 0 else 1.0
        return values * unit, np.sqrt(2 * touched) * self.scale * unit


class PrivateHistogram:
    """Counts of points in bins on a line, with Laplace noise in every bin (the baseline).

    One point more or less changes one count, so noise of scale 1 / epsilon is enough for
    epsilon-differential privacy, and any question can be asked of the noisy counts. But an answer
    adds the noise of all B bins: its deviation grows like sqrt(B), a tree's like a power of log B.

    Parameters: x (n,), the private values; epsilon > 0 or math.inf; low, high, the public range;
    bins B >= 1; rng. Attributes: counts (B,); scale, of the noise.
    Raises ValueError for bad input. Cost: O(n + B). Source: Dwork et al. (2006).
    """

    def __init__(self, x, epsilon: float, low: float, high: float, bins: int, rng):
        bins, epsilon = integer("bins", bins, low=1), _privacy(epsilon)
        self.counts, self.low, self.width = _histogram(x, low, high, bins)
        self.scale = 0.0 if epsilon == math.inf else 1 / epsilon
        if self.scale:
            self.counts += as_rng(rng).laplace(0.0, self.scale, bins)

    def sums(self, y, profile: str = "distance", scale: float = 1.0):
        """Estimate sum_i f(|x_i - y|) at many y, and the standard deviation of the noise in it.

        Parameters: y (m,); profile and scale as in ``PrivateTree.sums``.
        Returns values (m,) and deviations (m,). Raises ValueError for bad input. Cost: O(m B).
        """
        positions = _positions(y, self.low, self.width)
        code = DISTANCE_PROFILES.index(one_of("profile", profile, DISTANCE_PROFILES))
        values, squares = np.empty(positions.size), np.empty(positions.size)
        rate = self.width / positive("scale", scale)
        _bin_sums(self.counts, positions, code, rate, values, squares)
        unit = self.width if code == 0 else 1.0
        return values * unit, np.sqrt(2 * squares) * self.scale * unit


def _histogram(x, low, high, bins):
    """Return counts (bins,) of values over [low, high], and low and the width of a bin."""
    x, limits = as_vector("x", x), []
    for name, value in (("low", low), ("high", high)):
        limits.append(between(name, value, -1e100, 1e100))
    low, high = limits
    if not low < high:
        raise ValueError(f"low must be below high, both finite, got {low} and {high}")
    fits_in_memory("bins", 16 * bins)
    width = (high - low) / bins
    if not width > 1e-100:
        raise ValueError(f"low must be further below high for {bins} bins, got {low} and {high}")
    index = np.clip((np.clip(x, low, high) - low) / width, 0, bins - 1).astype(np.int64)
    return np.bincount(index, minlength=bins).astype(float), low, width


def _positions(y, low, width):
    """Return the places asked about in bins from the low end."""
    y = as_vector("y", y)
    if np.abs(y).max() > 1e30 * width + abs(low):
        raise ValueError(
            f"y must lie within 1e30 bins of the range, got entries up to {np.abs(y).max():.3g}"
        )
    return (y - low) / width


def tree_counts(counts) -> np.ndarray:
    """Return the sums of a binary tree over counts (B,), B a power of 2: (2 B,), root at 1."""
    counts = as_vector("counts", counts)
    if counts.size & (counts.size - 1):
        raise ValueError(f"counts must have a length that is a power of 2, got {counts.size}")
    nodes = np.zeros(2 * counts.size)
    nodes[counts.size :] = counts
    size = counts.size
    while size > 1:
        nodes[size // 2 : size] = nodes[size : 2 * size].reshape(-1, 2).sum(axis=1)
        size //= 2
    return nodes


def _privacy(epsilon) -> float:
    """Return epsilon > 0, infinity allowed."""
    if isinstance(epsilon, float) and epsilon == math.inf:
        return epsilon
    return positive("epsilon", epsilon)


def _secret(noise) -> np.random.Generator:
    """Return the generator of the noise: one of its own where none is given."""
    if noise is None:
        return np.random.default_rng()
    try:
        return as_rng(noise)
    except ValueError as error:
        raise ValueError(str(error).replace("rng", "noise", 1)) from None


@compiled("UniTuple(float64, 2)(float64[::1], int64, int64, int64)")
def _interval(nodes, bins, first, last):
    """Return the sum over bins first .. last - 1 and the number of nodes it takes."""
    total, touched = 0.0, 0.0
    a, b = first + bins, last + bins
    while a < b:
        if a & 1:
            total += nodes[a]
            touched += 1.0
            a += 1
        if b & 1:
            b -= 1
            total += nodes[b]
            touched += 1.0
        a >>= 1
        b >>= 1
    return total, touched


@compiled("float64(int64, float64, float64)", forceinline=True)
def _of_distance(code, rate, distance):
    if code == 0:
        return distance
    if code == 1:
        return math.exp(-rate * distance)
    return 1.0 / (1.0 + rate * distance)


@compiled(
    "void(float64[::1], int64, float64[::1], float64, int64, float64, float64[::1], float64[::1])"
)
def _shell_sums(nodes, bins, positions, growth, code, rate, values, touched):
    """Fill values, and touched with the sum of squared weights of the nodes; distances in bins."""
    for i in range(len(positions)):
        p = positions[i]
        home = int(min(max(math.floor(p), 0.0), bins - 1.0))
        f = _of_distance(code, rate, abs(home + 0.5 - p))
        total, squares = f * nodes[bins + home], f * f
        for side in (-1, 1):
            near = 1
            room = bins - 1 - home if side == 1 else home
            while near <= room:
                beyond = min(max(near + 1, int(near * (1.0 + growth))), room + 1)
                inner = abs(home + side * near + 0.5 - p)
                outer = abs(home + side * (beyond - 1) + 0.5 - p)
                f = _of_distance(code, rate, 0.5 * (inner + outer))
                if side == 1:
                    count, used = _interval(nodes, bins, home + near, home + beyond)
                else:
                    count, used = _interval(nodes, bins, home - beyond + 1, home - near + 1)
                total += f * count
                squares += f * f * used
                near = beyond
        values[i], touched[i] = total, squares


@compiled("void(float64[::1], float64[::1], int64, float64, float64[::1], float64[::1])")
def _bin_sums(counts, positions, code, rate, values, squares):
    """Fill values, and squares with the sum of squared weights of the bins; distances in bins."""
    for i in range(len(positions)):
        total, square = 0.0, 0.0
        for b in range(len(counts)):
            f = _of_distance(code, rate, abs(b + 0.5 - positions[i]))
            total += f * counts[b]
            square += f * f
        values[i], squares[i] = total, square


class PrivateDistances:
    """Trees for every coordinate: sum_i |x_i - y|_1 for any y, epsilon-differentially private.

    The 1-norm is a sum over coordinates, so d trees answer it; each gets epsilon / d.

    Paper: efficiently-computing-similarities-to-private (Backurs et al. 2024, arXiv:2403.08917)

    Parameters: x (n, d); epsilon > 0 or math.inf; low, high, the public range of all coordinates;
    bins, a power of 2; rng. Raises ValueError for bad input. Cost: O(d (n + B)).
    """

    def __init__(self, x, epsilon: float, low: float, high: float, bins: int, rng):
        x = as_matrix("x", x)
        rng, share = as_rng(rng), _privacy(epsilon) / x.shape[1]
        self.trees = [PrivateTree(column, share, low, high, bins, rng) for column in x.T]

    @property
    def total(self) -> float:
        """The noisy number of points: the mean of what the trees say."""
        return float(np.mean([tree.total for tree in self.trees]))

    def sums(self, y, growth: float = 0.1) -> np.ndarray:
        """Return the noisy sum_i |x_i - y|_1 at the rows of y (m, d): (m,)."""
        y = as_matrix("y", y, columns=len(self.trees))
        return sum(
            tree.sums(column, growth)[0] for tree, column in zip(self.trees, y.T, strict=True)
        )


class PrivateKernelSums:
    """One noisy vector of random features: sum_i v_i exp(-|x_i - y|^2 / (2 h^2)) for any y.

    With m features phi(x) = sqrt(2/m) cos(Wx + b) the sum is phi(y) . sum_i v_i phi(x_i). One row
    more or less, with |v| <= 1, moves that vector by at most sqrt(2 m) in the 1-norm and the count
    by 1: Laplace noise of scale (sqrt(2 m) + 1) / epsilon on both.

    Paper: efficiently-computing-similarities-to-private (Backurs et al. 2024, arXiv:2403.08917)

    Parameters
    ----------
    x : (n, d)
    bandwidth : h > 0
    features : m >= 1
    epsilon : > 0 or math.inf
    rng : a Generator or an int seed, for the frequencies and phases, which are public
    v : (n,) with entries in [-1, 1]; None: ones
    noise : a Generator or an int seed for the noise, which must stay secret and be another one for
        every release: two releases with the same noise give their exact difference away. None:
        drawn from the system's own randomness

    Attributes: vector (m,); total, the noisy number of rows; scale, of the noise.
    Raises ValueError for bad input. Cost: O(n m d), and O(m d) for a query.
    """

    def __init__(self, x, bandwidth: float, features: int, epsilon: float, rng, v=None, noise=None):
        x, rng, epsilon = as_matrix("x", x), as_rng(rng), _privacy(epsilon)
        noise = _secret(noise)
        v = np.ones(len(x)) if v is None else as_vector("v", v, length=len(x))
        if np.abs(v).max() > 1:
            raise ValueError(f"v must lie in [-1, 1], got entries up to {np.abs(v).max():.3g}")
        m = integer("features", features, low=1)
        self._frequencies = spectral_frequencies(Gaussian(bandwidth), m, x.shape[1], rng)
        self._phases = rng.uniform(0, 2 * np.pi, m)
        self.scale = 0.0 if epsilon == math.inf else (math.sqrt(2 * m) + 1) / epsilon
        self.vector = v @ self._features(x) + noise.laplace(0.0, self.scale, m)
        self.total = len(x) + float(noise.laplace(0.0, self.scale))

    def sums(self, y) -> np.ndarray:
        """Return the noisy kernel sums at the rows of y (m, d): (m,)."""
        return self._features(as_matrix("y", y, columns=self._frequencies.shape[1])) @ self.vector

    def _features(self, points):
        return fourier_features(points, self._frequencies, self._phases)


def private_logistic(
    x, labels, epsilon: float, rng, delta: float = 1e-5, steps: int = 50, clip: float = 1.0
) -> np.ndarray:
    """Return weights of a logistic regression that was trained on noisy gradients (the baseline).

    Each example's gradient is clipped to length ``clip``, their sum gets Gaussian noise. All steps
    together cost rho = (sqrt(ln(1/delta) + epsilon) - sqrt(ln(1/delta)))^2 of concentrated privacy,
    which gives (epsilon, delta): a weaker promise than the trees' and the features' epsilon.

    Parameters: x (n, d); labels (n,) of 0 and 1; epsilon > 0 or math.inf; rng; 0 < delta < 1;
    steps >= 1; clip > 0. Returns (d + 1,), the last one the intercept. Raises ValueError otherwise.
    Cost: O(steps n d). Source: Abadi et al. (2016), Bun and Steinke (2016), proposition 1.3.
    """
    x = as_matrix("x", x)
    labels = as_vector("labels", labels, length=len(x))
    if not np.isin(labels, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1")
    epsilon, rng, clip = _privacy(epsilon), as_rng(rng), positive("clip", clip)
    steps, delta = integer("steps", steps, low=1), positive("delta", delta)
    if delta >= 1:
        raise ValueError(f"delta must be below 1, got {delta}")
    noise = 0.0
    if epsilon < math.inf:
        tail = math.log(1 / delta)
        root = math.sqrt(tail + epsilon) - math.sqrt(tail)
        noise = clip * math.sqrt(steps / 2) / root
    rows = np.c_[x, np.ones(len(x))]
    lengths = np.linalg.norm(rows, axis=1)
    weights = np.zeros(rows.shape[1])
    for _ in range(steps):
        residual = expit(rows @ weights) - labels
        residual *= np.minimum(1.0, clip / np.maximum(np.abs(residual) * lengths, 1e-300))
        gradient = rows.T @ residual + noise * rng.standard_normal(weights.size)
        weights -= 4.0 / len(rows) * gradient / clip
    return weights


def nearest_class(similarities) -> np.ndarray:
    """Return for each query the class that is most similar: argmax over rows, (k, m) -> (m,)."""
    return np.argmax(as_matrix("similarities", similarities), axis=0)


def rank_for(matrix, tolerance: float) -> int:
    """Return the least rank that approximates a matrix to tolerance in the 2-norm, relative.

    Parameters: matrix (n, m); tolerance > 0. The lower bound for every low-rank scheme, from the
    singular values. Returns an int. Cost: O(n m min(n, m)).
    """
    values = np.linalg.svd(as_matrix("matrix", matrix), compute_uv=False)
    return int((values > positive("tolerance", tolerance) * values[0]).sum())
