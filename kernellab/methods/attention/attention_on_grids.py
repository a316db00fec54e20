"""Attention on grids: which pairs are visited, in which order, and what that costs.

Attention over the n pixels of a picture has n^2 pairs. The sections are four ways to visit fewer:

0. The picture as tokens, and the dense reference that everybody writes first
1. Rules as small functions inside one block-sparse loop (Dong et al. 2024)
2. Windows that slide over a grid, in tiles (Hassani et al. 2024)
3. Scans: attention as a recurrence along rows and columns (Yang et al. 2024)
4. Frequencies as tokens: from measured ones to the missing (Zhao et al. 2022)

The loops themselves (online softmax, block masks, neighbourhoods, gradients) are those of
``compute.attention``.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import autograd
import autograd.extend
import autograd.numpy as anp
import numpy as np
from scipy import ndimage
from scipy.special import expit

from kernellab.compute import compiled
from kernellab.compute.attention import (
    EMPTY,
    FULL,
    PARTIAL,
    attention_weights,
    kernel_attention,
    neighbourhood_windows,
    softmax_attention,
    softmax_attention_gradients,
)
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    fits_in_memory,
    integer,
    one_of,
    positive,
)
from kernellab.compute.elementary import exp
from kernellab.compute.kernels import Gaussian
from kernellab.compute.networks import Adam, dense_network, network_output

# ------------------------------------------------------------------------------------------------
# 0. Dense attention, and how pictures are compared
# ------------------------------------------------------------------------------------------------


def dense_attention(queries, keys, values, seen, score_mod=None, parameters=()) -> np.ndarray:
    """Return masked softmax attention as one writes it first: all n^2 scores, most thrown away.

    Parameters
    ----------
    queries, keys, values : (n, d), (m, d), (m, p)
    seen : booleans (n, m)
    score_mod : (score, i, j, parameters) -> score, written so that it takes arrays; None: as is
    parameters : for score_mod

    Returns
    -------
    (n, p), 0 where a query sees no key

    Raises
    ------
    ValueError : shapes that do not fit, or scores that are NaN or too large.

    Cost: O(n m (d + p)) time and O(n m) memory, whatever the mask.
    """
    queries = as_matrix("queries", queries)
    keys = as_matrix("keys", keys, columns=queries.shape[1])
    values = as_matrix("values", values, rows=len(keys))
    _check_scores(queries, keys)
    seen = _as_seen(seen, (len(queries), len(keys)))
    fits_in_memory("the scores", 8 * seen.size)
    scores = queries @ keys.T / math.sqrt(queries.shape[1])
    if score_mod is not None:
        i, j = np.arange(len(queries))[:, None], np.arange(len(keys))
        scores = _modified(score_mod, scores, i, j, parameters)
    scores = np.where(seen, scores, -np.inf)
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
    total = weights.sum(axis=1, keepdims=True)
    return weights @ values / np.where(total > 0, total, 1.0)


def psnr(found, truth) -> np.ndarray:
    """Return -10 log10 of the mean squared error over the last two axes, in dB (the peak is 1).

    Parameters: found, truth, arrays of one shape with at least two axes. Raises ValueError for
    shapes that differ, numbers that are not finite, or a picture without an error. Cost: O(size).
    """
    found, truth = _as_real("found", found), _as_real("truth", truth)
    if found.shape != truth.shape or found.ndim < 2:
        raise ValueError(f"found must have the shape of truth, {truth.shape}, got {found.shape}")
    error = np.mean((found - truth) ** 2, axis=(-2, -1))
    if np.any(error == 0):
        raise ValueError("found must differ from truth: without an error there is no ratio")
    return -10.0 * np.log10(error)


def _modified(score_mod, scores, i, j, parameters) -> np.ndarray:
    """Return what a score rule makes of all scores."""
    parameters = _as_real("parameters", parameters, empty=True)
    try:
        found = np.broadcast_to(score_mod(scores, i, j, parameters), scores.shape)
    except IndexError:
        raise ValueError(
            f"parameters must be as many as score_mod reads, got {parameters.size}"
        ) from None
    if np.isnan(found).any() or (found == np.inf).any():
        raise ValueError("score_mod must return numbers or -inf, got NaN or infinity")
    return found


def _check_scores(queries, keys) -> None:
    """Refuse tokens of which a score would overflow."""
    largest = queries.shape[1] * float(abs(queries).max()) * float(abs(keys).max())
    if not largest < 1e300:
        raise ValueError(f"queries and keys must keep all scores below 1e300, got {largest:.3g}")


def _as_real(name, value, empty=False) -> np.ndarray:
    """Return an array of finite real numbers of any shape."""
    value = np.asarray(value)
    if value.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got values of dtype {value.dtype}")
    value = np.ascontiguousarray(value, dtype=np.float64)
    if value.size == 0 and not empty:
        raise ValueError(f"{name} must not be empty, got shape {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return value


def _as_seen(seen, shape) -> np.ndarray:
    seen = np.asarray(seen)
    if seen.dtype != np.bool_ or seen.shape != shape or seen.ndim != 2 or seen.size == 0:
        raise ValueError(f"seen must be booleans of shape {shape}, got {seen.dtype} {seen.shape}")
    return seen


# ------------------------------------------------------------------------------------------------
# 1. Rules as small functions
# ------------------------------------------------------------------------------------------------

# What the rules below read. First come single numbers, at the places named here; then for each
# token its row, its column, and the number of its document.
TOKENS, REACH, STEP, FIRST, SECOND, JOIN, SCORE, SLOPE, PREFIX, HEAD = range(10)
JOINS = "first alone", "AND", "OR"


def every_pair(i, j, parameters):
    """Every query sees every key."""
    return True


def causal(i, j, parameters):
    """A token sees those that came before it, and itself."""
    return j <= i


def line_window(i, j, parameters):
    """A token sees every STEP-th of those up to REACH steps away in the reading order."""
    gap = abs(i - j)
    return gap <= parameters[REACH] * parameters[STEP] and gap % parameters[STEP] == 0


def grid_window(i, j, parameters):
    """A pixel sees every STEP-th of those up to REACH steps away, both down and across."""
    far, step, n = parameters[REACH] * parameters[STEP], parameters[STEP], int(parameters[TOKENS])
    down = abs(parameters[HEAD + i] - parameters[HEAD + j])
    across = abs(parameters[HEAD + n + i] - parameters[HEAD + n + j])
    return down <= far and across <= far and down % step == 0 and across % step == 0


def documents(i, j, parameters):
    """A token sees its own document."""
    first = HEAD + 2 * int(parameters[TOKENS])
    return parameters[first + i] == parameters[first + j]


def prefix(i, j, parameters):
    """A token sees those that came before it, and the first PREFIX tokens."""
    return j <= i or j < parameters[PREFIX]


RULES = {
    "all pairs": every_pair,
    "causal": causal,
    "window on the line": line_window,
    "window on the grid": grid_window,
    "documents": documents,
    "prefix": prefix,
}


def plain(score, i, j, parameters):
    """The score as it is."""
    return score


def alibi(score, i, j, parameters):
    """The score less SLOPE times the distance in the reading order."""
    return score - parameters[SLOPE] * abs(i - j)


def soft_cap(score, i, j, parameters):
    """The score bent so that it stays between -1 / SLOPE and 1 / SLOPE."""
    return np.tanh(parameters[SLOPE] * score) / parameters[SLOPE]


SCORES = {"plain": plain, "ALiBi": alibi, "soft cap": soft_cap}


@functools.lru_cache(maxsize=1)
def menu() -> tuple[Callable, Callable]:
    """Return a mask rule that is any of ``RULES`` or two of them joined, and a score rule.

    Which ones hold is read from the parameters (``menu_parameters``), so that all of them share one
    compiled loop.

    Paper: flex-attention (Dong et al. 2024, arXiv:2412.05496)

    Cost: one compilation.
    """
    import numba

    rules = [numba.njit(rule, boundscheck=True) for rule in RULES.values()]
    every, before, line, grid, document, start = rules

    @numba.njit(boundscheck=True)
    def one(number, i, j, parameters):
        if number == 0:
            return every(i, j, parameters)
        if number == 1:
            return before(i, j, parameters)
        if number == 2:
            return line(i, j, parameters)
        if number == 3:
            return grid(i, j, parameters)
        if number == 4:
            return document(i, j, parameters)
        return start(i, j, parameters)

    def mask_mod(i, j, parameters):
        first, join = one(parameters[FIRST], i, j, parameters), parameters[JOIN]
        if join == 0 or (join == 1 and not first) or (join == 2 and first):
            return first
        return one(parameters[SECOND], i, j, parameters)

    def score_mod(score, i, j, parameters):
        if parameters[SCORE] == 1:
            return score - parameters[SLOPE] * abs(i - j)
        if parameters[SCORE] == 2:
            return np.tanh(parameters[SLOPE] * score) / parameters[SLOPE]
        return score

    return mask_mod, score_mod


def menu_parameters(
    first: str, second: str = "all pairs", join: str = "first alone", *, side: int,
    reach: int = 2, step: int = 1, score: str = "plain", slope: float = 0.05,
) -> np.ndarray:  # fmt: skip
    """Return what the rules of this section read, for the pixels of a square picture.

    Documents are bands of reach + 1 rows; the prefix is the first reach + 1 rows.

    Parameters: first, second, of ``RULES``; join, of ``JOINS``; side >= 1, of the picture;
    reach >= 0 and step >= 1, of the windows; score, of ``SCORES``; slope > 0, of the score rules.
    Returns (HEAD + 3 side^2,). Raises ValueError for others. Cost: O(side^2).
    """
    names = tuple(RULES)
    for name, value in (("first", first), ("second", second)):
        one_of(name, value, names)
    one_of("join", join, JOINS)
    one_of("score", score, tuple(SCORES))
    side, reach = integer("side", side, low=1), integer("reach", reach, low=0)
    rows, columns = np.repeat(np.arange(side), side), np.tile(np.arange(side), side)
    numbers = [
        side * side, reach, integer("step", step, low=1), names.index(first), names.index(second),
        JOINS.index(join), tuple(SCORES).index(score), positive("slope", slope), (reach + 1) * side,
    ]  # fmt: skip
    return np.concatenate([numbers, rows, columns, rows // (reach + 1)]).astype(np.float64)


def blocks_of(seen, block: int) -> np.ndarray:
    """Return which blocks of a mask are EMPTY (0), FULL (1) or PARTIAL (2).

    Paper: flex-attention (Dong et al. 2024, arXiv:2412.05496)

    Parameters: seen, booleans (n, m); block >= 1. Returns (ceil(n / block), ceil(m / block)).
    Raises ValueError for others. Cost: O(n m). ``compute.attention.block_mask`` does it without
    the mask.
    """
    seen = _as_seen(seen, np.shape(seen))
    block = integer("block", block, low=1)
    starts = [np.arange(0, side, block) for side in seen.shape]
    count = np.add.reduceat(seen.astype(np.int64), starts[0], axis=0)
    count = np.add.reduceat(count, starts[1], axis=1)
    sizes = [
        np.minimum(block, side - first) for side, first in zip(seen.shape, starts, strict=True)
    ]
    kinds = np.where(count == np.outer(*sizes), FULL, PARTIAL)
    return np.where(count == 0, EMPTY, kinds).astype(np.int8)


class Online(NamedTuple):
    """The state of an online softmax after some keys, for each query of a tile."""

    top: np.ndarray
    """(n,), the largest score so far"""
    total: np.ndarray
    """(n,), sum of exp(score - top)"""
    sums: np.ndarray
    """(n, p), sum of exp(score - top) value; over ``total`` it is the attention so far"""

    @property
    def output(self) -> np.ndarray:
        """Attention over the keys so far, (n, p); 0 where none was seen."""
        return self.sums / np.where(self.total > 0, self.total, 1.0)[:, None]


def online_softmax(scores, values, block: int, rescale: bool = True) -> Iterator[Online]:
    """Go through the keys in blocks, keeping a running maximum, sum and weighted sum.

    m' = max(m, max S),  f = exp(m - m'),  l' = f l + sum exp(S - m'),  a' = f a + exp(S - m') V.

    Paper: flex-attention (Dong et al. 2024, arXiv:2412.05496)

    Parameters
    ----------
    scores : (n, m); -inf where a key is not seen
    values : (m, p)
    block : >= 1, keys a block
    rescale : False forgets the factor f, to see what it is for

    Yields
    ------
    Online after each block

    Raises
    ------
    ValueError : shapes that do not fit, or scores that are NaN or +inf.

    Cost: O(n m p) in all; O(n (block + p)) memory beside the input.
    Source: Milakov and Gimelshein 2018 (arXiv:1805.02867), algorithm 3.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0 or np.isnan(scores).any() or (scores == np.inf).any():
        raise ValueError(f"scores must be (n, m), numbers or -inf, got shape {scores.shape}")
    values = as_matrix("values", values, rows=scores.shape[1])
    block = integer("block", block, low=1)

    def run():
        n = len(scores)
        top, total = np.full(n, -np.inf), np.zeros(n)
        sums = np.zeros((n, values.shape[1]))
        for first in range(0, scores.shape[1], block):
            part = scores[:, first : first + block]
            highest = np.maximum(top, part.max(axis=1))
            base = np.where(highest > -np.inf, highest, 0.0)  # no key so far: -inf - -inf is NaN
            factor = np.exp(top - base) if rescale else np.ones(n)
            weights = np.exp(part - base[:, None])
            total = factor * total + weights.sum(axis=1)
            sums = factor[:, None] * sums + weights @ values[first : first + block]
            top = highest
            yield Online(top, total, sums)

    return run()


# ------------------------------------------------------------------------------------------------
# 2. Windows that slide over a grid
# ------------------------------------------------------------------------------------------------


def gathered_attention(
    queries, keys, values, shape, window, dilation: int = 1, padded: bool = False
) -> np.ndarray:
    """Return neighbourhood attention token by token: gather the window, weigh, sum.

    Paper: faster-neighborhood-attention (Hassani et al. 2024, arXiv:2403.04690), its "naive" form

    Parameters
    ----------
    queries, keys, values : (n, d), (n, d), (n, p), pixels row by row
    shape : (height, width), height * width = n; (1, n) is a line
    window : odd side of the window; along an axis of length 1 it is 1
    dilation : >= 1, the step inside the window
    padded : windows stay centred and see zeros (key and value) outside of the picture, in place of
        being shifted inside

    Returns
    -------
    (n, p)

    Raises
    ------
    ValueError : shapes or windows that do not fit.

    Cost: O(n w (d + p)) time for windows of w tokens, O(n + w) memory beside the data.
    """
    queries, keys, values, shape = _grid_tokens(queries, keys, values, shape)
    plans = [_centred(side, window, dilation) if padded else _shifted(side, window, dilation)
             for side in shape]  # fmt: skip
    out = np.empty((len(queries), values.shape[1]))
    _gathered(queries / math.sqrt(queries.shape[1]), keys, values, *plans, out)
    return out


def _shifted(side, window, dilation):
    """Return the places along an axis that each place sees; an axis of length 1 has one."""
    return neighbourhood_windows(side, *(window, dilation) if side > 1 else (1, 1))


def _centred(side, window, dilation):
    """The same with windows that stay centred: -1 outside."""
    if side == 1:
        return np.zeros((1, 1), dtype=np.int64)
    _shifted(side, window, dilation)  # the same refusals
    offsets = dilation * (np.arange(window) - window // 2)
    places = np.arange(side)[:, None] + offsets
    return np.where((places >= 0) & (places < side), places, -1)


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], int64[:,::1], int64[:,::1], "
    "float64[:,::1])",
    fastmath={"contract"},
)
def _gathered(queries, keys, values, rows, columns, out):
    width, d, p = len(columns), keys.shape[1], values.shape[1]
    scores = np.empty(rows.shape[1] * columns.shape[1])
    for i in range(len(queries)):
        y, x = i // width, i % width
        count = 0
        for a in rows[y]:
            for b in columns[x]:
                score = 0.0
                if a >= 0 and b >= 0:
                    for c in range(d):
                        score += queries[i, c] * keys[a * width + b, c]
                scores[count] = score
                count += 1
        top = scores.max()
        total = 0.0
        for c in range(count):
            scores[c] = exp(scores[c] - top)
            total += scores[c]
        out[i] = 0.0
        count = 0
        for a in rows[y]:
            for b in columns[x]:
                if a >= 0 and b >= 0:
                    for c in range(p):
                        out[i, c] += scores[count] * values[a * width + b, c]
                count += 1
        for c in range(p):
            out[i, c] /= total


class Tile(NamedTuple):
    """Some queries, the union of their windows, and where in it each query's window lies."""

    queries: np.ndarray
    """(t,), token numbers"""
    keys: np.ndarray
    """(s,), token numbers: the tile's halo"""
    places: np.ndarray
    """(t, w): the window of query a is keys[places[a]]"""


def tiles(shape, window: int, dilation: int = 1, tile: int = 8) -> Iterator[Tile]:
    """Cut a grid into tiles of queries, each with the keys that its windows reach.

    Along an axis a tile is ``tile`` places of one remainder modulo the dilation; on a grid it is a
    product of two such.

    Paper: faster-neighborhood-attention (Hassani et al. 2024, arXiv:2403.04690)

    Parameters: shape (height, width); window, odd; dilation >= 1; tile >= 1. Yields ``Tile``.
    Raises ValueError for a window that does not fit. Cost: O(w) a query.
    """
    shape = _as_shape(shape)
    tile = integer("tile", tile, low=1)
    axes = [
        list(_axis_tiles(_shifted(side, window, dilation), dilation if side > 1 else 1, tile))
        for side in shape
    ]

    def run():
        width = shape[1]
        for rows in axes[0]:
            for columns in axes[1]:
                yield Tile(
                    (rows.queries[:, None] * width + columns.queries).ravel(),
                    (rows.keys[:, None] * width + columns.keys).ravel(),
                    (
                        rows.places[:, None, :, None] * len(columns.keys)
                        + columns.places[None, :, None, :]
                    ).reshape(len(rows.queries) * len(columns.queries), -1),
                )

    return run()


def _axis_tiles(windows, dilation, tile):
    """Yield the tiles of one axis."""
    for remainder in range(dilation):
        members = np.arange(remainder, len(windows), dilation)
        for first in range(0, len(members), tile):
            queries = members[first : first + tile]
            seen = windows[queries]
            keys = np.arange(seen.min(), seen.max() + 1, dilation)
            yield Tile(queries, keys, (seen - seen.min()) // dilation)


def tiled_attention(
    queries, keys, values, shape, window: int, dilation: int = 1, tile: int = 8
) -> np.ndarray:
    """Return neighbourhood attention by products of matrices, one a tile, in two passes.

    The first pass makes the scores of a tile with its whole halo, and keeps those in the windows
    (n x w numbers); after the softmax the second spreads them out again and multiplies the values.

    Paper: faster-neighborhood-attention (Hassani et al. 2024, arXiv:2403.04690), its "GEMM" form

    Parameters: as for ``gathered_attention``; tile >= 1, queries along an axis of a tile. Returns
    (n, p). Raises ValueError for shapes or windows that do not fit. Cost: O(n w (d + p)) times
    ``waste``; O(n w) memory. The form of one pass is ``compute.attention.neighbourhood_attention``.
    """
    queries, keys, values, shape = _grid_tokens(queries, keys, values, shape)
    cut = list(tiles(shape, window, dilation, tile))
    scores = np.empty((len(queries), cut[0].places.shape[1]))
    scaled = queries / math.sqrt(queries.shape[1])
    for part in cut:
        product = scaled[part.queries] @ keys[part.keys].T
        scores[part.queries] = np.take_along_axis(product, part.places, axis=1)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    out = np.empty((len(queries), values.shape[1]))
    for part in cut:
        spread = np.zeros((len(part.queries), len(part.keys)))
        np.put_along_axis(spread, part.places, weights[part.queries], axis=1)
        out[part.queries] = spread @ values[part.keys]
    return out


def waste(shape, window: int, dilation: int = 1, tile: int = 8) -> float:
    """Return the scores that tiles compute over those that windows need.

    Inside the grid that is ((tile + window - 1) / window) along each axis; at the border less.

    Paper: faster-neighborhood-attention (Hassani et al. 2024, arXiv:2403.04690)

    Parameters and errors: those of ``tiles``. Cost: O(n w).
    """
    made, needed = 0, 0
    for part in tiles(shape, window, dilation, tile):
        made += len(part.queries) * len(part.keys)
        needed += part.places.size
    return made / needed


def _as_shape(shape) -> tuple[int, int]:
    if np.shape(shape) != (2,):
        raise ValueError(f"shape must be (height, width), got {shape!r}")
    return tuple(integer(f"shape[{axis}]", side, low=1) for axis, side in enumerate(shape))


def _grid_tokens(queries, keys, values, shape):
    shape = _as_shape(shape)
    n = shape[0] * shape[1]
    queries = as_matrix("queries", queries, rows=n)
    keys = as_matrix("keys", keys, columns=queries.shape[1], rows=n)
    _check_scores(queries, keys)
    return queries, keys, as_matrix("values", values, rows=n), shape


# ------------------------------------------------------------------------------------------------
# 3. Scans: attention as a recurrence
# ------------------------------------------------------------------------------------------------

_SAFE_RANGE = 600.0  # exp of differences up to this neither over- nor underflows


def bi_wkv(w, u, keys, values) -> np.ndarray:
    """Return two-sided attention with weights that fall exponentially, in time linear in T.

    y_t = (sum_{i != t} e^{-(|t - i| - 1) w / T + k_i} v_i + e^{u / T + k_t} v_t)
        / (sum_{i != t} e^{-(|t - i| - 1) w / T + k_i} + e^{u / T + k_t}),

    for each channel: a scan forwards, a scan backwards, and the token itself.

    Paper: restore-rwkv (Yang et al. 2024, arXiv:2407.11087)

    Parameters
    ----------
    w : decay of a channel over the whole length T, one number or (C,); it may be negative
    u : bonus of the token itself, one number or (C,)
    keys, values : (T, C)

    Returns
    -------
    (T, C)

    Raises
    ------
    ValueError : shapes that do not fit, or numbers so large that a score or a sum overflows.

    Cost: O(T C) time, O(T C) memory.
    Source: Duan et al. 2024 (arXiv:2403.02308), equation 3 in the form of Yang et al.
    """
    w, u, keys, values = _scan_arguments(w, u, keys, values)
    numerator, denominator, _ = _scan(w, u, keys, values)
    if not np.isfinite(numerator).all():
        raise ValueError(
            f"values must keep all sums finite, got some up to {abs(values).max():.3g}"
        )
    return numerator / denominator


def _scan_arguments(w, u, keys, values):
    keys = as_matrix("keys", keys)
    values = as_matrix("values", values, *keys.shape[::-1])
    channels = keys.shape[1]
    w = np.full(channels, w) if np.ndim(w) == 0 else w
    u = np.full(channels, u) if np.ndim(u) == 0 else u
    w, u = as_vector("w", w, length=channels), as_vector("u", u, length=channels)
    largest = max(abs(w).max(), abs(u).max(), abs(keys).max())
    if largest > 1e300:
        raise ValueError(f"w, u and keys must be below 1e300 in size, got {largest:.3g}")
    return w, u, keys, values


def _scan(w, u, keys, values):
    """Return sums e^{score - top} v and e^{score - top}, and top, all (T, C)."""
    length = len(keys)
    numerator, denominator = np.empty_like(keys), np.empty_like(keys)
    top = np.empty_like(keys)
    spread = np.ptp(keys, axis=0) + abs(w) + abs(u) / length
    if spread.max() < _SAFE_RANGE:  # one maximum for a whole channel will do
        top[:] = keys.max(axis=0)
        numerator[:] = values
        denominator[:] = keys - top[0]
        _plain_scan(w / length, u / length, numerator, denominator)
    else:
        _running_scan(w / length, u / length, keys, values, numerator, denominator, top)
    return numerator, denominator, top


@compiled("void(float64[::1], float64[::1], float64[:,::1], float64[:,::1])", fastmath={"contract"})
def _plain_scan(w, u, numerator, denominator):
    """Replace values and keys by both sums; e^{k} stays far from over- and underflow."""
    length, channels = numerator.shape
    weight, moved = np.empty((length, channels)), np.empty((length, channels))
    ahead, ahead_one = np.zeros(channels), np.zeros(channels)
    decay, bonus = np.empty(channels), np.empty(channels)
    for c in range(channels):
        decay[c], bonus[c] = exp(-w[c]), exp(u[c])
    for t in range(length):
        for c in range(channels):
            weight[t, c] = exp(denominator[t, c])
            moved[t, c] = weight[t, c] * numerator[t, c]
            numerator[t, c] = ahead[c] + bonus[c] * moved[t, c]
            denominator[t, c] = ahead_one[c] + bonus[c] * weight[t, c]
            ahead[c] = decay[c] * ahead[c] + moved[t, c]
            ahead_one[c] = decay[c] * ahead_one[c] + weight[t, c]
    ahead[:] = 0.0
    ahead_one[:] = 0.0
    for t in range(length - 1, -1, -1):
        for c in range(channels):
            numerator[t, c] += ahead[c]
            denominator[t, c] += ahead_one[c]
            ahead[c] = decay[c] * ahead[c] + moved[t, c]
            ahead_one[c] = decay[c] * ahead_one[c] + weight[t, c]


@compiled(
    "void(float64[::1], float64[::1], float64[:,::1], float64[:,::1], float64[:,::1], "
    "float64[:,::1], float64[:,::1])",
    fastmath={"contract"},
)
def _running_scan(w, u, keys, values, numerator, denominator, top):
    """The same with a running maximum for each sum, which is what an online softmax keeps."""
    length, channels = keys.shape
    for c in range(channels):
        high, a, b = -np.inf, 0.0, 0.0
        for t in range(length):
            own = u[c] + keys[t, c]
            best = max(high, own)
            old, new = math.exp(high - best), math.exp(own - best)
            top[t, c] = best
            numerator[t, c] = old * a + new * values[t, c]
            denominator[t, c] = old * b + new
            best = max(high - w[c], keys[t, c])
            old, new = math.exp(high - w[c] - best), math.exp(keys[t, c] - best)
            a, b, high = old * a + new * values[t, c], old * b + new, best
        high, a, b = -np.inf, 0.0, 0.0
        for t in range(length - 1, -1, -1):
            best = max(high, top[t, c])
            old, new = math.exp(top[t, c] - best), math.exp(high - best)
            top[t, c] = best
            numerator[t, c] = old * numerator[t, c] + new * a
            denominator[t, c] = old * denominator[t, c] + new * b
            best = max(high - w[c], keys[t, c])
            old, new = math.exp(high - w[c] - best), math.exp(keys[t, c] - best)
            a, b, high = old * a + new * values[t, c], old * b + new, best


def wkv_as_attention(w: float, u: float, keys, values) -> np.ndarray:
    """Return ``bi_wkv`` of one channel as what it is: softmax attention with a relative bias.

    The score of token i for any query at t is k_i - (|t - i| - 1) w / T; its own is k_t + u / T.

    Paper: restore-rwkv (Yang et al. 2024, arXiv:2407.11087)

    Parameters: w, u, numbers; keys (T,); values (T, p). Returns (T, p). Raises ValueError for other
    shapes. Cost: O(T^2 p): for comparison.
    """
    keys = as_vector("keys", keys)
    length = len(keys)
    values = as_matrix("values", values, rows=length)
    gap = np.abs(np.arange(1 - length, length))
    bias = np.where(gap > 0, -(gap - 1.0) * w / length, u / length)
    return softmax_attention(np.ones((length, 1)), keys[:, None], values, scale=1.0, bias=bias)


class Scan(NamedTuple):
    """One pass over a picture."""

    direction: str
    """"rows" or "columns": which pixels follow each other"""
    w: float
    """decay"""
    u: float
    """bonus of the pixel itself"""


DIRECTIONS = "rows", "columns"


def re_wkv(scans, keys, values, shape) -> np.ndarray:
    """Return values after several scans over a picture, each with the same keys.

    Paper: restore-rwkv (Yang et al. 2024, arXiv:2407.11087)

    Parameters
    ----------
    scans : ``Scan``s; the paper takes one along the rows and one along the columns
    keys, values : (height * width, C), pixels row by row
    shape : (height, width)

    Returns
    -------
    (height * width, C)

    Raises
    ------
    ValueError : no scans, an unknown direction, or shapes that do not fit.

    Cost: O(scans * pixels * C).
    """
    scans, shape, order = _scan_orders(scans, shape)
    keys = as_matrix("keys", keys, rows=shape[0] * shape[1])
    values = as_matrix("values", values, *keys.shape[::-1])
    for scan in scans:
        path = order[scan.direction]
        moved = bi_wkv(scan.w, scan.u, keys[path], values[path])
        values = np.empty_like(values)
        values[path] = moved
    return values


def receptive_field(scans, keys, shape, place: int) -> np.ndarray:
    """Return the derivatives of one pixel of ``re_wkv`` in all pixels it was made from.

    re_wkv is linear in its values. Its transpose is a scan too: with D_t the denominators,
    (A'g)_i = e^{k_i} sum_t e^{-(|t - i| - 1) w / T} g_t / D_t.

    Paper: restore-rwkv (Yang et al. 2024, arXiv:2407.11087), figure 1

    Parameters: scans and shape as for ``re_wkv``; keys (height * width,), of one channel; place,
    the pixel's number. Returns (height, width), which sums to 1 and is nowhere negative. Raises
    ValueError for others. Cost: O(scans * pixels).
    """
    scans, shape, order = _scan_orders(scans, shape)
    n = shape[0] * shape[1]
    keys = as_vector("keys", keys, length=n)[:, None]
    slopes = np.zeros((n, 1))
    slopes[integer("place", place, low=0, high=n - 1)] = 1.0
    for scan in reversed(scans):
        path = order[scan.direction]
        w, u, k, g = _scan_arguments(scan.w, scan.u, keys[path], slopes[path])
        _, total, top = _scan(w, u, k, g)
        spread, _, height = _scan(w, u, -(top + np.log(total)), g)
        slopes = np.empty_like(slopes)
        slopes[path] = spread * np.exp(k + height)
    return slopes.reshape(shape)


def field_spread(weights) -> tuple[float, float]:
    """Return the variances of a field of weights, down and across, in pixels squared.

    Parameters: weights (height, width), not negative. Raises ValueError for others. Cost: O(size).
    """
    weights = as_matrix("weights", weights)
    if weights.min() < 0 or weights.sum() == 0:
        raise ValueError("weights must not be negative, and not all be 0")
    share = weights / weights.sum()
    found = []
    for axis in (0, 1):
        one = share.sum(axis=1 - axis)
        place = np.arange(len(one))
        found.append(float(one @ (place - one @ place) ** 2))
    return tuple(found)


def _scan_orders(scans, shape):
    """Return checked scans, the shape, and the order of the pixels for each direction."""
    shape, scans = _as_shape(shape), list(scans)
    if len(scans) == 0:
        raise ValueError("scans must hold at least one scan, got none")
    for scan in scans:
        if not isinstance(scan, Scan):
            raise ValueError(f"scans must be a list of Scan, got one of {type(scan).__name__}")
        one_of("direction", scan.direction, DIRECTIONS)
    numbers = np.arange(shape[0] * shape[1]).reshape(shape)
    return scans, shape, {"rows": numbers.ravel(), "columns": numbers.T.ravel()}


class Shift(NamedTuple):
    """The weights of an omni-shift: a number and three square filters, each a channel."""

    own: np.ndarray
    """(C,)"""
    one: np.ndarray
    """(C, 1, 1)"""
    three: np.ndarray
    """(C, 3, 3)"""
    five: np.ndarray
    """(C, 5, 5)"""


def omni_shift(pictures, shift: Shift) -> np.ndarray:
    """Return the sum of a picture and its three filtered versions, four branches, as in training.

    Paper: restore-rwkv (Yang et al. 2024, arXiv:2407.11087)

    Parameters: pictures (C, height, width); shift. Returns the same shape; outside of the picture
    there are zeros. Raises ValueError for shapes that do not fit. Cost: O(36 C height width).
    """
    pictures, shift = _shift_arguments(pictures, shift)
    branches = [filter_channels(pictures, kernel) for kernel in shift[1:]]
    return pictures * shift.own[:, None, None] + sum(branches)


def merge_shift(shift: Shift) -> np.ndarray:
    """Return the one 5 x 5 filter a channel that does what all branches of a shift do together.

    Paper: restore-rwkv (Yang et al. 2024, arXiv:2407.11087)

    Parameters: shift. Returns (C, 5, 5). Raises ValueError for shapes that do not fit. Cost: O(C).
    """
    _, shift = _shift_arguments(None, shift)
    merged = shift.five.copy()
    merged[:, 1:4, 1:4] += shift.three
    merged[:, 2:3, 2:3] += shift.one
    merged[:, 2, 2] += shift.own
    return merged


def filter_channels(pictures, kernels) -> np.ndarray:
    """Return each channel correlated with its own square filter of odd side; zeros outside.

    Parameters: pictures (C, height, width), kernels (C, s, s). Returns the pictures' shape. Raises
    ValueError for shapes that do not fit. Cost: O(C s^2 height width).
    """
    pictures, kernels = _as_real("pictures", pictures), _as_real("kernels", kernels)
    if pictures.ndim != 3 or kernels.ndim != 3 or len(pictures) != len(kernels):
        raise ValueError(
            f"pictures (C, h, w) and kernels (C, s, s) must have as many channels, got "
            f"{pictures.shape} and {kernels.shape}"
        )
    if kernels.shape[1] != kernels.shape[2] or kernels.shape[1] % 2 == 0:
        raise ValueError(f"kernels must be squares of odd side, got {kernels.shape[1:]}")
    half = kernels.shape[1] // 2
    around = np.pad(pictures, ((0, 0), (half, half), (half, half)))
    out = np.zeros_like(pictures)
    _filtered(around, kernels, out)
    return out


@compiled(
    "void(float64[:,:,::1], float64[:,:,::1], float64[:,:,::1])", fastmath={"contract", "reassoc"}
)
def _filtered(around, kernels, out):
    """Add up shifted rows: all of them are contiguous, and stay in the first-level cache."""
    channels, height, width = out.shape
    side = kernels.shape[1]
    for c in range(channels):
        for y in range(height):
            row = out[c, y]
            for a in range(side):
                source = around[c, y + a]
                for b in range(side):
                    weight = kernels[c, a, b]
                    for x in range(width):
                        row[x] += weight * source[x + b]


def draw_shift(channels: int, rng) -> Shift:
    """Return a random shift: normal weights of variance 1 / (number of weights of its filter).

    Parameters: channels >= 1; rng, Generator or seed. Cost: O(channels).
    """
    channels, rng = integer("channels", channels, low=1), as_rng(rng)
    own = rng.standard_normal(channels)
    return Shift(own, *(rng.standard_normal((channels, s, s)) / s for s in (1, 3, 5)))


def _shift_arguments(pictures, shift):
    arrays = [_as_real("shift", part) for part in shift]
    channels = arrays[0].size
    wanted = [(channels,), *((channels, s, s) for s in (1, 3, 5))]
    if [a.shape for a in arrays] != wanted:
        raise ValueError(f"shift must have shapes {wanted}, got {[a.shape for a in arrays]}")
    if pictures is not None:
        pictures = _as_real("pictures", pictures)
        if pictures.ndim != 3 or len(pictures) != channels:
            raise ValueError(
                f"pictures must have shape {(channels, 'h', 'w')}, got {pictures.shape}"
            )
    return pictures, Shift(*arrays)


class RestoreBlock(NamedTuple):
    """The weights of one block: a shift and maps for mixing in space, the same for channels."""

    shift: Shift
    maps: tuple
    """W_r, W_k, W_v, W_o, each (C, C)"""
    scans: tuple
    """of ``Scan``"""
    channel_shift: Shift
    channel_maps: tuple
    """W_r (C, C), W_k (C, 4 C), W_v (4 C, C)"""


def draw_block(channels: int, rng, w: float = 200.0, u: float = 20.0) -> RestoreBlock:
    """Return a random block with one scan along the rows and one along the columns.

    Parameters: channels >= 1; rng, Generator or seed; w, u, of both scans. Cost: O(channels^2).
    """
    rng, channels = as_rng(rng), integer("channels", channels, low=1)

    def linear(a, b):
        return rng.standard_normal((a, b)) / math.sqrt(a)

    maps = tuple(linear(channels, channels) for _ in range(4))
    wide = (
        linear(channels, channels),
        linear(channels, 4 * channels),
        linear(4 * channels, channels),
    )
    scans = Scan("rows", w, u), Scan("columns", w, u)
    return RestoreBlock(draw_shift(channels, rng), maps, scans, draw_shift(channels, rng), wide)


def restore_block(pictures, block: RestoreBlock, merged: bool = True) -> np.ndarray:
    """Return pictures after one block: mixing over the pixels, then over the channels.

    x <- x + W_o (sigmoid(r) * Re-WKV(k, v)), r, k, v = W (shifted x);
    x <- x + sigmoid(r) * W_v relu(W_k (shifted x))^2.

    Paper: restore-rwkv (Yang et al. 2024, arXiv:2407.11087); without its layer normalisation

    Parameters: pictures (C, height, width); block; merged: use one 5 x 5 filter a shift. Returns
    the same shape. Raises ValueError for shapes that do not fit. Cost: O(height width C (C + 25)).
    """
    pictures, _ = _shift_arguments(pictures, block.shift)
    shape = pictures.shape[1:]

    def shifted(x, shift):
        done = filter_channels(x, merge_shift(shift)) if merged else omni_shift(x, shift)
        return done.reshape(len(x), -1).T

    r, k, v = (shifted(pictures, block.shift) @ a for a in block.maps[:3])
    mixed = (expit(r) * re_wkv(block.scans, k, v, shape)) @ block.maps[3]
    pictures = pictures + mixed.T.reshape(pictures.shape)
    x = shifted(pictures, block.channel_shift)
    r, k = x @ block.channel_maps[0], np.maximum(x @ block.channel_maps[1], 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        mixed = expit(r) * (k**2 @ block.channel_maps[2])
    return _as_real("pictures and their sums", pictures + mixed.T.reshape(pictures.shape))


# ------------------------------------------------------------------------------------------------
# 4. Frequencies as tokens
# ------------------------------------------------------------------------------------------------

CODE_SCALE, CODE_BASE = 250.0, 10_000.0  # of the position codes: those of the paper
KINDS = "variable density", "uniform", "lines"


def ellipse_phantoms(count: int, side: int, rng, parts: int = 5) -> np.ndarray:
    """Return pictures of a round head with smaller ellipses in it, grey values in [0, 1].

    Parameters: count >= 1; side >= 4, pixels; rng, Generator or seed; parts >= 0, ellipses inside.
    Returns (count, side, side), each pixel the mean of 16 places in it. Raises ValueError for
    others. Cost: O(count side^2 parts). Source: in the manner of Shepp and Logan 1974.
    """
    count, side = integer("count", count, low=1), integer("side", side, low=4)
    parts, rng = integer("parts", parts, low=0), as_rng(rng)
    axis = (np.arange(4 * side) + 0.5) / (2 * side) - 1.0

    def ellipse(centre, radii, angle):
        y, x = axis[:, None] - centre[0], axis[None] - centre[1]
        c, s = math.cos(angle), math.sin(angle)
        return ((c * x + s * y) / radii[0]) ** 2 + ((c * y - s * x) / radii[1]) ** 2 <= 1.0

    pictures = np.empty((count, side, side))
    for picture in pictures:
        head = ellipse(
            rng.uniform(-0.08, 0.08, 2), rng.uniform(0.6, 0.75, 2), rng.uniform(0, np.pi)
        )
        fine = 0.5 * head
        for _ in range(parts):
            distance, angle = rng.uniform(0, 0.4), rng.uniform(0, 2 * np.pi)
            centre = distance * np.array([math.sin(angle), math.cos(angle)])
            inside = ellipse(centre, rng.uniform(0.08, 0.3, 2), rng.uniform(0, np.pi))
            fine = fine + rng.uniform(-0.3, 0.4) * (inside & head)
        picture[:] = np.clip(fine, 0, 1).reshape(side, 4, side, 4).mean(axis=(1, 3))
    return pictures


def to_frequencies(pictures) -> np.ndarray:
    """Return the centred, unitary discrete Fourier transform of pictures (..., side, side).

    Frequency 0 stands at [side // 2, side // 2], and so does the origin of the picture: a picture
    in the middle has a smooth transform. Unitary: |F|^2 sums to what |x|^2 does (Parseval).

    Parameters: pictures, real or complex. Returns complex numbers of the same shape. Raises
    ValueError for other shapes. Cost: O(pixels log side).
    """
    moved = np.fft.ifftshift(_as_squares("pictures", pictures), axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(moved, norm="ortho"), axes=(-2, -1))


def to_picture(spectra) -> np.ndarray:
    """Return the inverse of ``to_frequencies``, complex (..., side, side).

    Parameters: spectra (..., side, side). Raises ValueError for other shapes. Cost: O(pixels log
    side).
    """
    moved = np.fft.ifftshift(_as_squares("spectra", spectra), axes=(-2, -1))
    return np.fft.fftshift(np.fft.ifft2(moved, norm="ortho"), axes=(-2, -1))


def sampling_mask(side: int, rate: float, rng, kind: str = "variable density") -> np.ndarray:
    """Return which frequencies are measured: the middle ones, and a random choice of the rest.

    A real picture has F(-k) = conj F(k): frequencies are chosen in such pairs, so that no sample
    repeats another.

    Parameters
    ----------
    side : even, >= 8
    rate : in (0, 1], the share of the frequencies to measure; whole rows come in pairs, and their
        share is the next that can be reached above it
    rng : Generator or seed
    kind : "variable density" (the denser the lower), "uniform", or "lines" (whole rows)

    Returns
    -------
    booleans (side, side), symmetric under k -> -k (modulo the side)

    Raises
    ------
    ValueError : others.

    Cost: O(side^2 log side). Source: Lustig, Donoho and Pauly 2007, section 5.
    """
    side = _as_side(side)
    rate = between("rate", positive("rate", rate), 0.0, 1.0)
    one_of("kind", kind, KINDS)
    rng = as_rng(rng)
    k = np.arange(side) - side // 2
    radius = np.abs(k)[:, None] + np.zeros(side) if kind == "lines" else np.hypot(k[:, None], k)
    width = np.inf if kind == "uniform" else side / 5
    chance = np.exp(-0.5 * (radius / width) ** 2) + 0.05
    # The least of exponential clocks rings first: a draw without replacement, by weight.
    if kind == "lines":
        clocks = np.repeat(rng.exponential(size=(side, 1)), side, axis=1) / chance
    else:
        clocks = rng.exponential(size=(side, side)) / chance
    clocks[radius <= 2] = radius[radius <= 2] * 1e-9
    clocks = np.minimum(clocks, _mirrored(clocks))
    wanted = max(1, round(rate * side * side))
    return clocks <= np.sort(clocks, axis=None)[wanted - 1]


def _mirrored(spectra):
    """Return spectra at -k (modulo the side, which is even)."""
    return np.roll(spectra[..., ::-1, ::-1], 1, axis=(-2, -1))


def frequency_codes(side: int, d: int) -> np.ndarray:
    """Return a vector for each frequency: sines and cosines of its scaled coordinates.

    Of each coordinate k / side in [-1/2, 1/2), with s = 250 k / side: sin(s / 10000^(4 t / d)) and
    cos(...), t = 0 .. d/4 - 1.

    Paper: k-space-transformer-for-undersampled-mri (Zhao et al. 2022, arXiv:2206.06947)

    Parameters: side >= 1; d >= 4, a multiple of 4. Returns (side^2, d), row by row. Raises
    ValueError for others. Cost: O(side^2 d).
    """
    side, d = integer("side", side, low=1), integer("d", d, low=4)
    if d % 4:
        raise ValueError(f"d must be a multiple of 4, got {d}")
    k = (np.arange(side) - side // 2) / side
    angles = CODE_SCALE * k[:, None] / CODE_BASE ** (4 * np.arange(d // 4) / d)
    one = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    rows, columns = np.repeat(one, side, axis=0), np.tile(one, (side, 1))
    return np.concatenate([rows, columns], axis=1)


_codes = functools.lru_cache(maxsize=8)(frequency_codes)


def _by_row(maps, x):
    """Return a network's (or a matrix') output for the rows of x (B, n, d), as one tall matrix."""
    rows = anp.reshape(x, (-1, x.shape[-1]))
    out = anp.dot(rows, maps) if hasattr(maps, "shape") else network_output(maps, rows)
    return anp.reshape(out, (*x.shape[:-1], out.shape[-1]))


@autograd.extend.primitive
def _attend(queries, keys, values):
    """Softmax attention for every picture and head: (B, h, n, e), (B, h, m, e), (B, h, m, p)."""
    out = np.empty((*queries.shape[:3], values.shape[3]))
    for b, h in np.ndindex(*queries.shape[:2]):
        out[b, h] = softmax_attention(queries[b, h], keys[b, h], values[b, h])
    return out


def _attend_slopes(argnums, answer, inputs, options):
    queries, keys, values = inputs

    def pullback(upstream):
        slopes = [np.empty_like(x) for x in inputs]
        for b, h in np.ndindex(*queries.shape[:2]):
            found = softmax_attention_gradients(
                queries[b, h], keys[b, h], values[b, h], upstream[b, h]
            )
            for slope, part in zip(slopes, found[:3], strict=True):
                slope[b, h] = part
        return tuple(slopes[number] for number in argnums)

    return pullback


autograd.extend.defvjp_argnums(_attend, _attend_slopes)


class Reconstruction(NamedTuple):
    """What ``KSpaceTransformer`` makes of samples."""

    spectra: np.ndarray
    """(B, side, side), complex: the samples as measured, and predictions elsewhere"""
    pictures: np.ndarray
    """(B, side, side), real"""
    coarse: np.ndarray
    """(B, coarse, coarse), real: the pictures of the first stage"""


@dataclass(frozen=True, eq=False)
class KSpaceTransformer:
    """Attention from measured frequencies to those that were not, first coarse, then fine.

    1. A sample's token is a small network of (Re, Im) plus the code of its frequency; tokens look
       at each other.
    2. The codes of the coarse x coarse lowest frequencies ask the tokens; a linear map of what
       they hear gives the values not measured, and the inverse transform a coarse picture.
    3. That is enlarged (cubic splines) and transformed back. The frequencies that were not measured
       ask, with their code plus a network of the enlarged value, the coarse tokens; the answer is
       added to the enlarged value.
    4. Measured values stay as they are (data consistency).

    Values are divided by their usual size at that distance from 0, ``amplitudes``.

    Paper: k-space-transformer-for-undersampled-mri (Zhao et al. 2022, arXiv:2206.06947); of its
    layers one of each kind, without layer normalisation and the refining convolutions.

    Attributes
    ----------
    weights : nested lists of arrays
    side, coarse, d, heads : sizes
    """

    weights: list = field(repr=False)
    side: int = 24
    coarse: int = 8
    d: int = 32
    heads: int = 2

    def reconstruct(self, spectra, mask) -> Reconstruction:
        """Return the pictures from the samples spectra[..., mask].

        Parameters: spectra (B, side, side), complex, of real pictures, read where mask (side, side)
        is true. Raises ValueError for other shapes, or samples with F(-k) other than conj F(k).
        Cost: samples^2 and ``decoding_pairs`` products of d numbers.
        """
        spectra, mask = self._checked(spectra, mask)
        fine, coarse, _ = self._stages(self.weights, spectra, mask)
        filled = spectra.copy()
        filled[:, ~mask] = _complex(fine)
        pictures = to_picture(filled).real
        return Reconstruction(
            filled, pictures, coarse.reshape(len(spectra), self.coarse, self.coarse)
        )

    def sample_weights(self, spectra, mask, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return whom frequency number ``place`` listens to, means over the heads.

        Parameters: spectra (side, side) of one picture, mask; place: of a frequency not measured,
        row by row. Returns the weights of the coarse frequencies, (coarse, coarse), and through
        them those of the samples, (side, side), 0 where nothing was measured; both sum to 1.
        Raises ValueError for a place that was measured. Cost: as for ``reconstruct``.
        """
        spectra, mask = self._checked(np.asarray(spectra)[None], mask)
        place = integer("place", place, low=0, high=mask.size - 1)
        if mask.ravel()[place]:
            raise ValueError(f"place must be of a frequency that was not measured, got {place}")
        _, _, (tokens, coarse, fine) = self._stages(self.weights, spectra, mask)
        row = np.count_nonzero(~mask.ravel()[:place])
        codes = _codes(self.side, self.d)[_low(self.side, self.coarse)]
        over_coarse = self._mean_weights(self.weights[5], fine[0, row][None], coarse[0])
        over_tokens = self._mean_weights(self.weights[2], codes, tokens[0])
        samples = np.zeros(mask.size)
        samples[mask.ravel()] = (over_coarse @ over_tokens)[0]
        return over_coarse.reshape(self.coarse, self.coarse), samples.reshape(mask.shape)

    def loss(self, weights, spectra, mask):
        """Return the mean squared errors of the fine and the coarse pictures, added.

        By Parseval the fine error is a sum over the frequencies that were not measured.
        """
        truth = to_pairs(spectra)[:, ~mask.ravel()]
        low = _low(self.side, self.coarse)
        small = to_pairs(spectra)[:, low] * (self.coarse / self.side)
        wanted = anp.tensordot(small, _inverse_matrix(self.coarse), 2)
        fine, coarse, _ = self._stages(weights, spectra, mask)
        return anp.sum((fine - truth) ** 2) / spectra.size + anp.mean((coarse - wanted) ** 2)

    def _stages(self, weights, spectra, mask):
        """Return fine values (B, missing, 2), coarse pictures (B, coarse^2), and all tokens."""
        value, encoder, to_coarse, coarse_out, enlarged, to_fine, fine_out = weights
        seen, missing = np.flatnonzero(mask), np.flatnonzero(~mask)
        low = _low(self.side, self.coarse)
        codes, size = _codes(self.side, self.d), amplitudes(self.side)[:, None]
        samples = to_pairs(spectra)[:, seen] / size[seen]
        tokens = _by_row(value, samples) + codes[seen]
        tokens = self._block(encoder, tokens, tokens)
        queries = np.tile(codes[low], (len(spectra), 1, 1))
        coarse = self._block(to_coarse, queries, tokens)
        values = _by_row(coarse_out, coarse) * size[low]
        known = mask.ravel()[low][:, None]
        values = anp.where(known, to_pairs(spectra)[:, low], values) * (self.coarse / self.side)
        picture = anp.tensordot(values, _inverse_matrix(self.coarse), 2)
        up = anp.tensordot(picture, _enlarging_matrix(self.side, self.coarse), 1)[:, missing]
        if missing.size == 0:
            return up, picture, (tokens, coarse, None)
        queries = _by_row(enlarged, up / size[missing]) + codes[missing]
        fine = up + size[missing] * _by_row(fine_out, self._block(to_fine, queries, coarse))
        # A real picture: F(-k) = conj F(k).
        partner = np.searchsorted(missing, _mirrored(np.arange(mask.size).reshape(mask.shape))
                                  .ravel()[missing])  # fmt: skip
        fine = 0.5 * (fine + fine[:, partner] * np.array([1.0, -1.0]))
        return fine, picture, (tokens, coarse, queries)

    def _block(self, weights, queries, keys):
        """Return H + network(H), H = queries + what the heads found."""
        of_queries, of_keys, of_values, joined, network = weights
        found = _attend(
            self._split(_by_row(of_queries, queries)),
            self._split(_by_row(of_keys, keys)),
            self._split(_by_row(of_values, keys)),
        )
        found = anp.reshape(anp.swapaxes(found, 1, 2), queries.shape)
        hidden = queries + _by_row(joined, found)
        return hidden + _by_row(network, hidden)

    def _split(self, rows):
        """Return (B, n, d) as (B, heads, n, d / heads)."""
        parts = anp.reshape(rows, (*rows.shape[:2], self.heads, self.d // self.heads))
        return anp.swapaxes(parts, 1, 2)

    def _mean_weights(self, block, queries, keys):
        """Return attention weights, mean over the heads."""
        q = np.split(queries @ block[0], self.heads, axis=1)
        k = np.split(keys @ block[1], self.heads, axis=1)
        return np.mean([attention_weights(a, b) for a, b in zip(q, k, strict=True)], axis=0)

    def _checked(self, spectra, mask):
        return _as_samples(spectra, mask, self.side)


def kspace_transformer(
    rng, side: int = 24, coarse: int = 8, d: int = 32, heads: int = 2
) -> KSpaceTransformer:
    """Return a network with random weights.

    Parameters: rng, Generator or seed; side, even, >= 8; coarse, even, between 2 and side; d, a
    multiple of 4 and of heads. Raises ValueError for others. Cost: O(d^2).
    """
    rng, side = as_rng(rng), _as_side(side)
    coarse = integer("coarse", coarse, low=2, high=side)
    d, heads = integer("d", d, low=4), integer("heads", heads, low=1)
    if d % 4 or d % heads or coarse % 2:
        raise ValueError(
            f"d must be a multiple of 4 and of heads, and coarse even, got {d}, {heads}, {coarse}"
        )

    def block():
        maps = [rng.standard_normal((d, d)) / math.sqrt(d) for _ in range(4)]
        return [*maps, dense_network([d, 2 * d, d], rng)]

    def values():
        ((w, b),) = dense_network([d, 2], rng)
        return [(0.1 * w, b)]

    first = [dense_network([2, d, d], rng), block(), block(), values()]
    weights = [*first, dense_network([2, d, d], rng), block(), values()]
    return KSpaceTransformer(weights, side, coarse, d, heads)


def weights_vector(network: KSpaceTransformer) -> np.ndarray:
    """Return all weights, one after the other. Cost: O(number of weights)."""
    return np.concatenate([array.ravel() for array in _leaves(network.weights)])


def with_weights(network: KSpaceTransformer, vector) -> KSpaceTransformer:
    """Return a network of the same sizes with the weights of a vector.

    Raises ValueError for a vector of another length. Cost: O(number of weights).
    """
    vector = as_vector("vector", vector, length=len(weights_vector(network)))
    pieces, first = [], 0
    for array in _leaves(network.weights):
        pieces.append(vector[first : first + array.size].reshape(array.shape).copy())
        first += array.size
    weights = _rebuilt(network.weights, iter(pieces))
    return dataclasses.replace(network, weights=weights)


def _leaves(tree):
    if isinstance(tree, np.ndarray):
        yield tree
    else:
        for branch in tree:
            yield from _leaves(branch)


def _rebuilt(tree, pieces):
    if isinstance(tree, np.ndarray):
        return next(pieces)
    return type(tree)(_rebuilt(branch, pieces) for branch in tree)


def train_kspace(
    network: KSpaceTransformer, spectra, steps: int, rng, *, batch: int = 8, step: float = 3e-3,
    rates=(0.2, 0.5), kinds=KINDS,
) -> Iterator[tuple[float, tuple[KSpaceTransformer, float]]]:  # fmt: skip
    """Descend the loss with Adam; every step has other pictures and another mask.

    The step grows over the first 50 updates and then falls linearly to a hundredth.

    Paper: k-space-transformer-for-undersampled-mri (Zhao et al. 2022, arXiv:2206.06947)

    Parameters
    ----------
    network : where to start; it is not changed
    spectra : (count, side, side), complex, of the training pictures
    steps, batch : >= 1
    rng : Generator or seed
    step : > 0
    rates : (low, high), of the masks
    kinds : of ``KINDS``; the first is drawn in seven steps of ten

    Yields
    ------
    (fraction done, (network, loss before the step)); the network's arrays go on changing

    Raises
    ------
    ValueError : others.

    Cost: O(batch (samples^2 + side^2 coarse^2) d) a step.
    """
    steps, rng = integer("steps", steps, low=1), as_rng(rng)
    step = positive("step", step)
    spectra, _ = network._checked(spectra, np.ones((network.side, network.side), dtype=bool))
    batch = integer("batch", batch, low=1, high=len(spectra))
    low, high = as_vector("rates", rates, length=2)
    if not 0.0 < low <= high <= 1.0:
        raise ValueError(f"rates must be (low, high) with 0 < low <= high <= 1, got {rates}")
    if not kinds:
        raise ValueError("kinds must name at least one kind of mask, got none")
    for kind in kinds:
        one_of("kinds", kind, KINDS)
    chances = np.array([0.7, *[0.3 / (len(kinds) - 1)] * (len(kinds) - 1)]) if kinds[1:] else [1.0]
    moving = with_weights(network, weights_vector(network))

    def run():
        adam = Adam(moving.weights, step)
        slope = autograd.value_and_grad(moving.loss)
        for t in range(steps):
            adam.step = step * min(1.0, (t + 1) / 50) * (1.0 - 0.99 * t / steps)
            kind = kinds[rng.choice(len(kinds), p=chances)]
            mask = sampling_mask(network.side, rng.uniform(low, high), rng, kind)
            chosen = rng.choice(len(spectra), batch, replace=False)
            loss, gradients = slope(moving.weights, spectra[chosen], mask)
            adam.update(gradients)
            yield (t + 1) / steps, (moving, float(loss))

    return run()


def zero_fill(spectra, mask) -> np.ndarray:
    """Return pictures (B, side, side) with 0 for what was not measured: the baseline.

    Parameters: spectra (B, side, side) of real pictures, mask (side, side). Raises ValueError for
    others. Cost: O(B side^2 log side).
    """
    spectra, mask = _as_samples(spectra, mask)
    return to_picture(np.where(mask, spectra, 0.0)).real


def shuffle_samples(spectra, mask, rng) -> np.ndarray:
    """Return spectra whose samples stand at one another's places: for an experiment.

    A sample and its mirror image move together, and those that are their own stay, so that it
    still is the spectrum of a real picture, with the same values.

    Parameters: spectra (B, side, side), mask (side, side); rng, Generator or seed. Returns
    (B, side, side). Raises ValueError for others. Cost: O(B side^2).
    """
    spectra, mask = _as_samples(spectra, mask)
    mirror = _mirrored(np.arange(mask.size).reshape(mask.shape)).ravel()
    seen = np.flatnonzero(mask)
    to = seen[seen < mirror[seen]]
    given = as_rng(rng).permutation(to)
    moved, flat = spectra.reshape(len(spectra), -1).copy(), spectra.reshape(len(spectra), -1)
    moved[:, to], moved[:, mirror[to]] = flat[:, given], flat[:, mirror[given]]
    return moved.reshape(spectra.shape)


def kernel_fill(spectra, mask, bandwidth: float) -> np.ndarray:
    """Return spectra whose gaps hold a Gaussian mean of the samples around.

    Fixed attention: the weight of a sample is exp(-distance^2 / (2 bandwidth^2)). Values are
    divided by ``amplitudes`` before and multiplied after, as in the network.

    Parameters: spectra (B, side, side), mask, bandwidth > 0 in frequencies. Returns (B, side,
    side). Raises ValueError for others. Cost: O(B missing samples).
    """
    spectra, mask = _as_samples(spectra, mask)
    side = len(mask)
    if mask.all():
        return spectra.copy()
    places = np.argwhere(np.ones_like(mask)).astype(float)
    seen, size = mask.ravel(), amplitudes(side)
    values = (spectra.reshape(len(spectra), -1) / size)[:, seen].T
    parts = np.column_stack([values.real, values.imag])
    kernel = Gaussian(positive("bandwidth", bandwidth))
    found = kernel_attention(kernel, places[~seen], places[seen], parts)
    filled = spectra.reshape(len(spectra), -1).copy()
    real, imaginary = np.split(found.T, 2)
    filled[:, ~seen] = (real + 1j * imaginary) * size[~seen]
    return filled.reshape(spectra.shape)


def linear_fill(spectra, mask, known) -> np.ndarray:
    """Return spectra whose gaps hold the best linear guess that training pictures teach.

    E[missing | samples] of a normal distribution with the mean and covariance of ``known``.

    Parameters: spectra (B, side, side), mask, known (count, side, side). Returns (B, side, side).
    Raises ValueError for others. Cost: O((count + samples) side^2 samples).
    """
    spectra, mask = _as_samples(spectra, mask)
    side = len(mask)
    known, seen = to_pairs(_as_spectra(known, side)), mask.ravel()
    mean = known.mean(axis=0)
    centred = known - mean
    samples = centred[:, seen].reshape(len(known), -1)
    missing = centred[:, ~seen].reshape(len(known), -1)
    gram = samples.T @ samples / len(known)
    gram[np.diag_indices_from(gram)] += 1e-4
    guess = np.linalg.solve(gram, samples.T @ missing / len(known))
    given = (to_pairs(spectra) - mean)[:, seen].reshape(len(spectra), -1)
    filled = to_pairs(spectra)
    filled[:, ~seen] = mean[~seen] + (given @ guess).reshape(len(spectra), -1, 2)
    return _complex(filled).reshape(spectra.shape)


def decoding_pairs(side: int, coarse: int, samples: int) -> dict[str, int]:
    """Return how many pairs of tokens the decoder weighs, and two ways without a coarse stage.

    Paper: k-space-transformer-for-undersampled-mri (Zhao et al. 2022, arXiv:2206.06947)

    The samples^2 pairs of the encoder come before.

    Parameters: side, coarse, samples, numbers >= 1; samples at most side^2. Returns pairs by name:
    in two stages (coarse^2 samples + missing coarse^2), missing ones asking all samples, and all
    frequencies asking all. Raises ValueError for others. Cost: O(1).
    """
    side = integer("side", side, low=1)
    coarse = integer("coarse", coarse, low=1, high=side)
    samples = integer("samples", samples, low=1, high=side * side)
    missing = side * side - samples
    return {
        "two stages": coarse**2 * (samples + missing),
        "missing ask samples": missing * samples,
        "all ask all": side**4,
    }


@functools.lru_cache(maxsize=8)
def amplitudes(side: int) -> np.ndarray:
    """Return the usual size of a phantom's frequency, 0.3 side / (1 + |k|)^1.5, (side^2,).

    Raises ValueError for a side below 1. Cost: O(side^2).
    """
    side = integer("side", side, low=1)
    k = np.arange(side) - side // 2
    return (0.3 * side / (1.0 + np.hypot(k[:, None], k)) ** 1.5).ravel()


def to_pairs(spectra) -> np.ndarray:
    """Return spectra (B, side, side) as pairs (Re, Im), (B, side^2, 2).

    Raises ValueError for other shapes. Cost: O(size).
    """
    spectra = _as_spectra(spectra, np.shape(spectra)[-1] if np.ndim(spectra) else 0)
    return np.stack([spectra.real, spectra.imag], axis=-1).reshape(len(spectra), -1, 2)


def _complex(pairs):
    return pairs[..., 0] + 1j * pairs[..., 1]


def _low(side, coarse):
    """Return the numbers of the coarse x coarse frequencies in the middle."""
    middle = np.arange(coarse) - coarse // 2 + side // 2
    return (middle[:, None] * side + middle).ravel()


@functools.lru_cache(maxsize=8)
def _inverse_matrix(side):
    """Return the map from pairs (side^2, 2) to the real picture, (side^2, 2, side^2)."""
    units = np.eye(side * side).reshape(-1, side, side)
    both = np.stack([to_picture(units).real, to_picture(1j * units).real], axis=1)
    return both.reshape(side * side, 2, side * side)


@functools.lru_cache(maxsize=8)
def _enlarging_matrix(side, coarse):
    """Return the map from a coarse picture to the pairs of its enlargement by cubic splines."""
    at = (np.arange(side) - side // 2) * (coarse / side) + coarse // 2
    places = np.meshgrid(at, np.arange(coarse), indexing="ij")
    one = ndimage.map_coordinates(np.eye(coarse), places, order=3, mode="nearest")
    return to_pairs(to_frequencies(np.kron(one, one).T.reshape(-1, side, side)))


def _as_squares(name, arrays):
    arrays = np.asarray(arrays)
    if arrays.dtype.kind not in "fiubc" or not np.isfinite(arrays).all():
        raise ValueError(f"{name} must hold finite numbers, got some that are not")
    if arrays.ndim < 2 or arrays.shape[-1] != arrays.shape[-2] or arrays.size == 0:
        raise ValueError(f"{name} must have shape (..., side, side), got {arrays.shape}")
    return arrays


def _as_side(side):
    side = integer("side", side, low=8)
    if side % 2:
        raise ValueError(f"side must be even, got {side}")
    return side


def _as_samples(spectra, mask, side=None):
    """Return checked (spectra, mask); where the mask holds, F(-k) = conj F(k)."""
    if side is None:
        side = np.shape(spectra)[-1] if np.ndim(spectra) else 0
    spectra, mask = _as_spectra(spectra, side), _as_sampling(mask, side)
    odd = abs(spectra - _mirrored(spectra).conj())[:, mask].max()
    if odd > 1e-8 * abs(spectra[:, mask]).max():
        raise ValueError(f"spectra must be of real pictures, F(-k) = conj F(k), got {odd:.2g} off")
    return spectra, mask


def _as_spectra(spectra, side):
    spectra = np.asarray(spectra, dtype=np.complex128)
    if spectra.ndim != 3 or spectra.shape[1:] != (side, side) or not len(spectra):
        raise ValueError(f"spectra must have shape {('B', side, side)}, got {spectra.shape}")
    if not np.isfinite(spectra).all():
        raise ValueError("spectra must be finite, got NaN or infinity")
    return spectra


def _as_sampling(mask, side):
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape != (side, side) or side % 2:
        raise ValueError(
            f"mask must be booleans of shape {(side, side)}, the side even, got {mask.shape}"
        )
    if not mask.any() or not np.array_equal(mask, _mirrored(mask)):
        raise ValueError("mask must hold a sample, and -k with every k")
    return mask
