"""The compiled loops behind all kernels: one scheme, with the kernel's profile plugged in.

A kernel matrix is computed tile by tile, 4 rows by 64 columns, so that every step of a tile works
on data that stays in the first-level cache:

1. ``_measure`` adds up |x_k - y_k|^2 (or |x_k - y_k|, or x_k y_k) over the features k;
2. ``_apply`` turns these sums into kernel values, in place (``exp(-rate * sum)`` for a Gaussian);
3. the tile is stored into the Gram matrix, or multiplied with a vector and forgotten.

The columns lie in panels of 64 points with one row per feature, padded by zeros. All inner loops
thus run over 64 neighbours in memory, a number known when they are compiled: LLVM turns them into
vector instructions with nothing left over, and every entry of a matrix goes through the same
instructions, so that a Gram matrix comes out exactly symmetric. (To compute one half and mirror it
was tried: the mirroring, which goes down columns of memory, costs more than it saves.)

Distances are sums of squared differences. The shortcut |x|^2 + |y|^2 - 2 x.y would use a fast
matrix product, but it cancels for near points; here that is not even slower.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kernellab.compute.compiled import compiled
from kernellab.compute.elementary import arcsin, exp, log1p

# Step 1: what is added up over the features.
SQUARED, ABSOLUTE, PRODUCT = 0, 1, 2

# Step 2: what is made of the sum s, with parameters a and b.
EXPONENTIAL = 0  # exp(-a s)
MATERN12 = 1  # exp(-r), r = a sqrt(s)
MATERN32 = 2  # (1 + r) exp(-r)
MATERN52 = 3  # (1 + r + r^2/3) exp(-r)
POWER = 4  # (s + a)^b
RATIONAL = 5  # (1 + a s)^-b
INVERSE_ROOT = 6  # (1 + a s)^-1/2
ARC_COSINE = 7  # Cho and Saul's J_a at the angle between unit vectors at squared distance s, / pi
DISTANCE = 8  # sqrt(s), for energy distances

_ROWS, _COLUMNS, _FEATURES = 4, 64, 4  # of a tile; _measure spells out the two fours
_TILE = _ROWS * _COLUMNS
_BAND = 32  # rows that use one panel before the next panel is fetched
_MATERN_END = 750.0  # exp(-r) is 0 from here on; a larger r could give infinity times 0
_PER_THREAD = 1_000_000  # entries for which starting a thread pays
_CONTRACT = {"contract"}


@dataclass(frozen=True)
class Recipe:
    """A kernel between points x and y, as the three steps of a tile.

    Attributes
    ----------
    x, y : points or their features, shapes (n, d) and (m, d)
    measure : SQUARED, ABSOLUTE or PRODUCT
    profile : EXPONENTIAL, ..., ARC_COSINE
    a, b : the profile's parameters
    row_weights, column_weights : shapes (n,) and (m,), factors of the rows and columns (None: 1)
    """

    x: np.ndarray
    y: np.ndarray
    measure: int
    profile: int
    a: float = 1.0
    b: float = 1.0
    row_weights: np.ndarray | None = None
    column_weights: np.ndarray | None = None


def gram(recipe: Recipe) -> np.ndarray:
    """Return the kernel matrix, shape (n, m). Cost: O(n m d)."""
    n, m = len(recipe.x), len(recipe.y)
    out = np.empty((n, m))
    rows, panels = _padded_rows(recipe.x), _panels(recipe.y)
    row_weights = np.ones(n) if recipe.row_weights is None else recipe.row_weights
    column_weights = np.ones(m) if recipe.column_weights is None else recipe.column_weights
    steps = (recipe.measure, recipe.profile, recipe.a, recipe.b)

    def fill(start, stop):
        _gram(*steps, rows, panels, row_weights, column_weights, start, stop, out)

    _over_rows(fill, n, n * m)
    return out


def matvec(recipe: Recipe, v: np.ndarray) -> np.ndarray:
    """Return the kernel matrix times v, shapes (m, p) -> (n, p), without storing the matrix.

    Cost: O(n m (d + p)) time, O((n + m) (d + p)) memory.
    """
    (n, m), p = (len(recipe.x), len(recipe.y)), v.shape[1]
    if recipe.column_weights is not None:
        v = v * recipe.column_weights[:, None]
    vectors = np.zeros((p, -(-m // _COLUMNS) * _COLUMNS))
    vectors[:, :m] = v.T
    out = np.zeros((n, p))
    rows, panels = _padded_rows(recipe.x), _panels(recipe.y)
    steps = (recipe.measure, recipe.profile, recipe.a, recipe.b)

    def fill(start, stop):
        _matvec(*steps, rows, panels, vectors, start, stop, out)

    _over_rows(fill, n, n * m)
    return out if recipe.row_weights is None else out * recipe.row_weights[:, None]


def row_totals(recipe: Recipe, symmetric: bool) -> np.ndarray:
    """Return sums over the rows of the kernel matrix, shape (n,), that add up to its total.

    For ``symmetric`` matrices only the upper half is computed: row i then holds its diagonal entry
    and twice what stands to the right of it. Cost: O(n m d) time, O((n + m) d) memory.
    """
    n, m = len(recipe.x), len(recipe.y)
    out = np.zeros(n)
    rows, panels = _padded_rows(recipe.x), _panels(recipe.y)
    column_weights = np.zeros((len(panels), _COLUMNS))
    column_weights.ravel()[:m] = 1.0 if recipe.column_weights is None else recipe.column_weights
    steps = (recipe.measure, recipe.profile, recipe.a, recipe.b)

    def fill(start, stop):
        _row_totals(*steps, rows, panels, column_weights, symmetric, start, stop, out)

    _over_rows(fill, n, n * m)
    return out if recipe.row_weights is None else out * recipe.row_weights


def _padded_rows(x: np.ndarray) -> np.ndarray:
    """Return x with zero rows and features added up to multiples of 4."""
    n, d = x.shape
    rows = np.zeros((-(-n // _ROWS) * _ROWS, -(-d // _FEATURES) * _FEATURES))
    rows[:n, :d] = x
    return rows


def _panels(y: np.ndarray) -> np.ndarray:
    """Return y in panels of 64 points, each flattened feature after feature, padded by zeros."""
    m, d = y.shape
    count, features = -(-m // _COLUMNS), -(-d // _FEATURES) * _FEATURES
    points = np.zeros((count * _COLUMNS, features))
    points[:m, :d] = y
    panels = points.reshape(count, _COLUMNS, features).transpose(0, 2, 1)
    return np.ascontiguousarray(panels).reshape(count, features * _COLUMNS)


def _over_rows(fill: Callable[[int, int], None], n_rows: int, n_entries: int) -> None:
    """Call ``fill(start, stop)`` for all rows; large work is shared among threads.

    Compiled code lets go of Python's lock, and a row comes out the same whoever computes it.
    """
    threads = max(1, min(_thread_count(), n_entries // _PER_THREAD))
    if threads == 1:
        fill(0, n_rows)
        return
    # Several parts a thread even out threads of different speed.
    step = -(-n_rows // (4 * threads * _BAND)) * _BAND
    starts = range(0, n_rows, step)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda start: fill(start, min(start + step, n_rows)), starts))


def _thread_count() -> int:
    """Return how many threads to use: NUMBA_NUM_THREADS when set, else one a core we may use."""
    wanted = os.environ.get("NUMBA_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# The loops over tiles


@compiled(
    "void(int64, int64, float64, float64, float64[:,::1], float64[:,::1], "
    "float64[::1], float64[::1], int64, int64, float64[:,::1])",
    fastmath=_CONTRACT,
)
def _gram(measure, profile, a, b, rows, panels, row_weights, column_weights, start, stop, out):
    tile = np.empty(_TILE)
    for band in range(start, stop, _BAND):
        for p in range(panels.shape[0]):
            first = p * _COLUMNS
            weights = column_weights[first : first + _COLUMNS]
            for i in range(band, min(band + _BAND, stop), _ROWS):
                _measure(measure, rows, i, panels[p], tile)
                _apply(profile, a, b, tile)
                for r in range(min(_ROWS, stop - i)):
                    values = tile[r * _COLUMNS : (r + 1) * _COLUMNS]
                    place = out[i + r, first : first + _COLUMNS]
                    if place.size == _COLUMNS:  # a constant length makes for faster stores
                        _store(values, row_weights[i + r], weights, place, _COLUMNS)
                    else:
                        _store(values, row_weights[i + r], weights, place, place.size)


@compiled(
    "void(float64[::1], float64, float64[::1], float64[::1], int64)",
    forceinline=True,
    fastmath=_CONTRACT,
)
def _store(values, row_weight, column_weights, place, width):
    for j in range(width):
        # In this order the product is the same for (i, j) and (j, i).
        place[j] = values[j] * (row_weight * column_weights[j])


@compiled(
    "void(int64, int64, float64, float64, float64[:,::1], float64[:,::1], "
    "float64[:,::1], int64, int64, float64[:,::1])",
    fastmath=_CONTRACT,
)
def _matvec(measure, profile, a, b, rows, panels, vectors, start, stop, out):
    tile = np.empty(_TILE)
    for band in range(start, stop, _BAND):
        for p in range(panels.shape[0]):
            first = p * _COLUMNS
            for i in range(band, min(band + _BAND, stop), _ROWS):
                _measure(measure, rows, i, panels[p], tile)
                _apply(profile, a, b, tile)
                for r in range(min(_ROWS, stop - i)):
                    values = tile[r * _COLUMNS : (r + 1) * _COLUMNS]
                    for c in range(vectors.shape[0]):
                        out[i + r, c] += _dot(values, vectors[c, first : first + _COLUMNS])


@compiled(
    "void(int64, int64, float64, float64, float64[:,::1], float64[:,::1], "
    "float64[:,::1], boolean, int64, int64, float64[::1])",
    fastmath=_CONTRACT,
)
def _row_totals(measure, profile, a, b, rows, panels, weights, symmetric, start, stop, out):
    tile = np.empty(_TILE)
    for band in range(start, stop, _BAND):
        for p in range(panels.shape[0]):
            first = p * _COLUMNS
            if symmetric and first + _COLUMNS <= band:  # wholly left of the diagonal
                continue
            for i in range(band, min(band + _BAND, stop), _ROWS):
                _measure(measure, rows, i, panels[p], tile)
                _apply(profile, a, b, tile)
                for r in range(min(_ROWS, stop - i)):
                    values = tile[r * _COLUMNS : (r + 1) * _COLUMNS]
                    if not symmetric:
                        out[i + r] += _dot(values, weights[p])
                    elif first > i + r:
                        out[i + r] += 2.0 * _dot(values, weights[p])
                    else:
                        out[i + r] += _from_diagonal(values, weights[p], i + r - first)


@compiled("float64(float64[::1], float64[::1], int64)")
def _from_diagonal(values, weights, diagonal):
    """Return the entry at ``diagonal`` plus twice those to the right of it."""
    total = 0.0
    for j in range(max(diagonal, 0), _COLUMNS):
        total += values[j] * weights[j] * (1.0 if j == diagonal else 2.0)
    return total


@compiled("float64(float64[::1], float64[::1])", forceinline=True, fastmath={"contract", "reassoc"})
def _dot(values, v):
    """Return the sum of 64 products, in whichever order suits the processor."""
    total = 0.0
    for j in range(_COLUMNS):
        total += values[j] * v[j]
    return total


# Step 1: sums over features


@compiled("void(int64, float64[:,::1], int64, float64[::1], float64[::1])", fastmath=_CONTRACT)
def _measure(measure, rows, i, panel, tile):
    """Fill a tile with the chosen sums between rows i .. i+3 and the points of a panel."""
    # Each call below is compiled for its constant, so that no choice is left in its loop.
    if measure == SQUARED:
        _add_up(SQUARED, rows, i, panel, tile)
    elif measure == ABSOLUTE:
        _add_up(ABSOLUTE, rows, i, panel, tile)
    else:
        _add_up(PRODUCT, rows, i, panel, tile)


@compiled(
    "void(int64, float64[:,::1], int64, float64[::1], float64[::1])",
    forceinline=True,
    fastmath=_CONTRACT,
)
def _add_up(m, rows, i, panel, tile):
    """Add four features at a time: 16 terms for each 4 loads of y and 4 loads of sums."""
    tile[:] = 0.0
    for k in range(0, rows.shape[1], 4):
        a0, a1, a2, a3 = rows[i, k], rows[i, k + 1], rows[i, k + 2], rows[i, k + 3]
        b0, b1, b2, b3 = rows[i + 1, k], rows[i + 1, k + 1], rows[i + 1, k + 2], rows[i + 1, k + 3]
        c0, c1, c2, c3 = rows[i + 2, k], rows[i + 2, k + 1], rows[i + 2, k + 2], rows[i + 2, k + 3]
        d0, d1, d2, d3 = rows[i + 3, k], rows[i + 3, k + 1], rows[i + 3, k + 2], rows[i + 3, k + 3]
        y = panel[k * 64 : (k + 4) * 64]
        for j in range(64):
            y0, y1, y2, y3 = y[j], y[j + 64], y[j + 128], y[j + 192]
            s, t, u, v = tile[j], tile[j + 64], tile[j + 128], tile[j + 192]
            s = s + _term(m, a0, y0) + _term(m, a1, y1) + _term(m, a2, y2) + _term(m, a3, y3)
            t = t + _term(m, b0, y0) + _term(m, b1, y1) + _term(m, b2, y2) + _term(m, b3, y3)
            u = u + _term(m, c0, y0) + _term(m, c1, y1) + _term(m, c2, y2) + _term(m, c3, y3)
            v = v + _term(m, d0, y0) + _term(m, d1, y1) + _term(m, d2, y2) + _term(m, d3, y3)
            tile[j], tile[j + 64], tile[j + 128], tile[j + 192] = s, t, u, v


@compiled("float64(int64, float64, float64)", forceinline=True, fastmath=_CONTRACT)
def _term(measure, x, y):
    if measure == PRODUCT:
        return x * y
    difference = x - y
    return abs(difference) if measure == ABSOLUTE else difference * difference


# Step 2: profiles


@compiled("void(int64, float64, float64, float64[::1])", fastmath=_CONTRACT)
def _apply(profile, a, b, tile):
    """Replace the sums in a tile by kernel values."""
    if profile == EXPONENTIAL:
        for j in range(_TILE):
            tile[j] = exp(-a * tile[j])
    elif profile == MATERN12:
        for j in range(_TILE):
            tile[j] = exp(-a * math.sqrt(tile[j]))
    elif profile == MATERN32:
        for j in range(_TILE):
            r = min(a * math.sqrt(tile[j]), _MATERN_END)
            tile[j] = (1.0 + r) * exp(-r)
    elif profile == MATERN52:
        for j in range(_TILE):
            r = min(a * math.sqrt(tile[j]), _MATERN_END)
            tile[j] = (1.0 + r + r * r / 3.0) * exp(-r)
    elif profile == POWER:
        _power(a, b, tile)
    elif profile == RATIONAL:
        for j in range(_TILE):
            tile[j] = exp(-b * log1p(a * tile[j]))
    elif profile == INVERSE_ROOT:
        for j in range(_TILE):
            tile[j] = 1.0 / math.sqrt(1.0 + a * tile[j])
    elif profile == DISTANCE:
        for j in range(_TILE):
            tile[j] = math.sqrt(tile[j])
    else:
        _arc_cosine(a, tile)


@compiled("void(float64, float64, float64[::1])", fastmath=_CONTRACT)
def _power(offset, degree, tile):
    """Replace s by (s + offset)^degree, by repeated squaring."""
    square = np.empty(_TILE)
    for j in range(_TILE):
        square[j] = tile[j] + offset
        tile[j] = 1.0
    rest = int(degree)
    while True:
        if rest % 2 == 1:
            for j in range(_TILE):
                tile[j] *= square[j]
        rest //= 2
        if rest == 0:
            break
        for j in range(_TILE):
            square[j] *= square[j]


@compiled("void(float64, float64[::1])", fastmath=_CONTRACT)
def _arc_cosine(order, tile):
    """Replace the squared distance s of unit vectors by J_order(angle) / pi.

    The angle comes from the chord, sin(angle/2) = sqrt(s)/2, and not from the inner product, whose
    arccos loses half of its digits for near points.
    """
    for j in range(_TILE):
        half_chord = min(0.5 * math.sqrt(tile[j]), 1.0)
        angle = 2.0 * arcsin(half_chord)
        cosine = 1.0 - 2.0 * half_chord * half_chord
        sine = 2.0 * half_chord * math.sqrt(max(1.0 - half_chord * half_chord, 0.0))
        if order == 0.0:
            value = math.pi - angle
        elif order == 1.0:
            value = sine + (math.pi - angle) * cosine
        else:
            value = 3.0 * sine * cosine + (math.pi - angle) * (1.0 + 2.0 * cosine * cosine)
        tile[j] = value / math.pi
