"""Attention layers as kernel smoothers: exact, local, linear, and with rules written by the user.

Every function here computes rows of

    out_i = sum_j w_ij v_j,    w_ij = k(q_i, k_j) / sum_l k(q_i, k_l),

with queries q (n, d), keys k (m, d) and values v (m, p). Softmax attention has
k = exp(scale q.k + bias); it is computed block by block with a running maximum and sum (an *online
softmax*), so that no n x m array is stored. Several heads are several calls:
``np.stack([softmax_attention(*head) for head in zip(queries, keys, values)])``.

Products of blocks go to BLAS, from inside the compiled loop; what lies between them (biases, masks,
the exponentials) is done while a block is in the second-level cache.

>>> import numpy as np
>>> x = np.array([[0.0], [2.0]])
>>> softmax_attention(x, x, x, scale=1.0).round(3).tolist()
[[1.0], [1.964]]
"""

import functools
import hashlib
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kernellab.compute.checks import (
    as_matrix,
    as_vector,
    fits_in_memory,
    integer,
    nonnegative,
    same_length,
)
from kernellab.compute.compiled import Compiled, compiled
from kernellab.compute.elementary import exp
from kernellab.compute.kernels import Gaussian

__all__ = [
    "BlockMask",
    "Gradients",
    "and_masks",
    "attention_weights",
    "block_mask",
    "dense_mask",
    "flex_attention",
    "kernel_attention",
    "linear_attention",
    "merge_attention",
    "neighbourhood_attention",
    "neighbourhood_windows",
    "or_masks",
    "softmax_attention",
    "softmax_attention_gradients",
    "toeplitz_attention",
    "toeplitz_product",
]

EMPTY, FULL, PARTIAL = 0, 1, 2  # blocks of a mask: skipped, computed, computed and masked

_BLOCK = 256  # side of a block of scores: 512 kB, which stay in the second-level cache
_CAUSAL_BLOCK = 128  # smaller: of the blocks on the diagonal half is of no use
_CHUNK = 64  # tokens that causal linear attention takes at a time
_LARGEST_SCORE = 1e300
_NO_BIAS, _NO_MASK = np.empty((0, 0)), np.empty((0, 0), dtype=np.bool_)
_NO_PARAMETERS = np.empty(0)

# What is done to a block of scores: (scores, first row, first column, kind, bias, mask, parameters)
_ADJUST = "void(float64[:,::1], int64, int64, int64, float64[:,:], boolean[:,::1], float64[::1])"
_CONTRACT = {"contract"}
_ANY_ORDER = {"contract", "reassoc"}


# Softmax attention


def softmax_attention(
    queries, keys, values, *, scale=None, bias=None, mask=None, causal=False, log_sums=False
):
    """Return softmax attention, without storing its n x m weights.

    out_i = sum_j exp(s_ij) v_j / sum_j exp(s_ij),  s_ij = scale q_i.k_j + bias_ij, over the keys j
    that query i may see. A query that sees no key gives 0.

    Parameters
    ----------
    queries, keys, values : shapes (n, d), (m, d), (m, p)
    scale : number >= 0; None: 1/sqrt(d)
    bias : shape (n, m), added to the scores; or shape (n + m - 1,) for a bias of the relative
        position alone, with bias[j - i + n - 1] for query i and key j
    mask : booleans, shape (n, m), true where query i may see key j
    causal : query i sees keys j <= i only; needs n = m
    log_sums : also return log sum_j exp(s_ij), shape (n,), -inf for a query that sees no key

    Returns
    -------
    shape (n, p), or this and the logarithms

    Raises
    ------
    ValueError : shapes that do not fit, or numbers so large that scores or sums overflow.

    Cost: O(n m (d + p)) time, about half of it when causal; O(n + m) memory beside the result.
    Source: Vaswani et al. 2017 (arXiv:1706.03762); Milakov and Gimelshein 2018 (arXiv:1805.02867),
    algorithm 3; Dao et al. 2022 (arXiv:2205.14135), algorithm 1.
    """
    scaled, keys, values, rule, _ = _problem(queries, keys, values, scale, bias, mask, causal)
    out, logs = _run(scaled, keys, values, rule)
    return (out, logs) if log_sums else out


def attention_weights(queries, keys, *, scale=None, bias=None, mask=None, causal=False):
    """Return the matrix of softmax attention weights, to look at.

    Parameters: those of ``softmax_attention``. Returns shape (n, m); rows sum to 1, or are 0 where
    a query sees no key. Raises ValueError as there, and when the matrix does not fit in memory.
    Cost: O(n m d) time, O(n m) memory.
    """
    scaled, keys, _, rule, _ = _problem(queries, keys, None, scale, bias, mask, causal)
    fits_in_memory("the weights", 8 * len(scaled) * len(keys))
    weights = scaled @ keys.T
    _adjust(weights, 0, 0, PARTIAL if causal else FULL, rule.bias, rule.mask, rule.parameters)
    _softmax_rows(weights)
    return weights


class Gradients(NamedTuple):
    """Derivatives of sum(upstream * out), shaped as what they belong to; bias: None without one."""

    queries: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    bias: np.ndarray | None


def softmax_attention_gradients(
    queries,
    keys,
    values,
    upstream,
    *,
    scale=None,
    bias=None,
    mask=None,
    causal=False,
    forward=None,
) -> Gradients:
    """Return the derivatives of sum(upstream * softmax_attention(...)) in all of its inputs.

    The weights w are computed again from the logarithms of the sums, block by block:
    dV = w'U,  dS = w * (U V' - rowsum(U * out)),  dQ = scale dS K,  dK = scale dS'Q,  dbias = dS,
    summed along diagonals for a bias of the relative position.

    Parameters
    ----------
    queries, keys, values, scale, bias, mask, causal : as for ``softmax_attention``
    upstream : shape (n, p), U
    forward : what ``softmax_attention(..., log_sums=True)`` returned; None: it is computed

    Returns
    -------
    Gradients of shapes (n, d), (m, d), (m, p) and that of the bias

    Raises
    ------
    ValueError : as for ``softmax_attention``, and for an upstream or forward that does not fit.

    Cost: O(n m (d + p)) time, O((n + m)(d + p)) memory.
    Source: Dao et al. 2022 (arXiv:2205.14135), algorithm 4.
    """
    scaled, keys, values, rule, scale = _problem(queries, keys, values, scale, bias, mask, causal)
    (n, d), (m, p) = scaled.shape, values.shape
    upstream = as_matrix("upstream", upstream, rows=n, columns=p)
    if forward is None:
        out, logs = _run(scaled, keys, values, rule)
    else:
        out, logs = _as_forward(forward, n, p)
    mean_slopes = np.einsum("ip,ip->i", upstream, out)
    slopes = np.zeros((n, d)), np.zeros((m, d)), np.zeros((m, p))
    bias_slopes, bias_view = None, _NO_BIAS
    if bias is not None:
        bias_slopes = np.zeros(np.shape(bias))
        bias_view = _as_bias(bias_slopes, n, m)
    _backward(
        scaled, keys, values, upstream, logs, mean_slopes, *rule.arguments(), *slopes, bias_view
    )
    slopes[0][:] *= scale
    return Gradients(*slopes, bias_slopes)


def merge_attention(outputs, log_sums) -> tuple[np.ndarray, np.ndarray]:
    """Merge attention over disjoint sets of keys into attention over all of them.

    out_i = sum_b exp(l_bi - l_i) out_bi,  l_i = log sum_b exp(l_bi).

    Parameters
    ----------
    outputs : B arrays of shape (n, p), what each set of keys gave
    log_sums : B vectors of shape (n,), their logarithms of sums (-inf: no key seen)

    Returns
    -------
    shapes (n, p) and (n,)

    Raises
    ------
    ValueError : no parts, or shapes that do not fit.

    Cost: O(B n p). Source: Dao et al. 2022 (arXiv:2205.14135), section 3.1.
    """
    outputs, log_sums = list(outputs), list(log_sums)
    if same_length("outputs", outputs, "log_sums", log_sums) == 0:
        raise ValueError("outputs must hold at least one part, got none")
    n, p = as_matrix("outputs", outputs[0]).shape
    outputs = np.stack([as_matrix("outputs", part, rows=n, columns=p) for part in outputs])
    logs = np.stack([_as_log_sums("log_sums", part, n) for part in log_sums])
    top = logs.max(axis=0)
    factors = np.exp(logs - np.where(np.isfinite(top), top, 0.0))
    total = factors.sum(axis=0)
    with np.errstate(divide="ignore"):
        merged = top + np.log(total)
    factors /= np.where(total > 0.0, total, 1.0)
    return np.einsum("bn,bnp->np", factors, outputs), merged


def kernel_attention(kernel, queries, keys, values, normalise: bool = True) -> np.ndarray:
    """Return the kernel smoother of the values: Nadaraya-Watson, or its numerator alone.

    out_i = sum_j k(q_i, k_j) v_j / sum_j k(q_i, k_j).

    A normalised Gaussian is softmax attention with scores -|q - k|^2 / (2 bandwidth^2), and is
    computed as such: however far a query lies, its weights sum to 1. For other kernels a query at
    which all kernel values vanish gives 0.

    Parameters
    ----------
    kernel : one of ``kernellab.compute.kernels``
    queries, keys, values : shapes (n, d), (m, d), (m, p)
    normalise : divide by the sum of the kernel values

    Returns
    -------
    shape (n, p)

    Raises
    ------
    ValueError : shapes that do not fit.

    Cost: O(n m (d + p)) time, O(n + m) memory beside the data.
    Source: Nadaraya 1964; Tsai et al. 2019 (arXiv:1908.11775).
    """
    queries, keys, values = _triple(queries, keys, values)
    if not normalise:
        return kernel.matvec(queries, keys, values)
    if isinstance(kernel, Gaussian):
        # |q|^2 is the same for all keys; about the keys' mean |k|^2 is small, so that no digits go.
        centre = keys.mean(axis=0)
        queries, keys = queries - centre, keys - centre
        smallest = 1e-150  # smaller: refused as scores that overflow
        rate = (1.0 / max(kernel.bandwidth, smallest)) ** 2
        queries = np.column_stack([queries, np.ones(len(queries))])
        keys = np.column_stack([keys, -0.5 * np.einsum("jd,jd->j", keys, keys)])
        return softmax_attention(queries, keys, values, scale=rate)
    sums = kernel.matvec(queries, keys, np.column_stack([values, np.ones(len(values))]))
    return _divided(sums)


# Linear attention


def linear_attention(
    query_features, key_features, values, causal: bool = False, normalise: bool = True
) -> np.ndarray:
    """Return attention with the kernel phi(q).phi(k), in time linear in the number of tokens.

    out_i = phi(q_i).sum_j phi(k_j) v_j' / phi(q_i).sum_j phi(k_j), over all j or, causal, j <= i.
    Where the denominator is 0, so is the result.

    Parameters
    ----------
    query_features, key_features : phi(q) and phi(k), shapes (n, r) and (m, r)
    values : shape (m, p)
    causal : token i sees tokens j <= i only; needs n = m
    normalise : divide by the denominator

    Returns
    -------
    shape (n, p)

    Raises
    ------
    ValueError : shapes that do not fit, or numbers so large that sums overflow.

    Cost: O((n + m) r p) time; O(r p) memory beside the data.
    Source: Katharopoulos et al. 2020 (arXiv:2006.16236), equations 4 to 12.
    """
    names = "query_features", "key_features", "values"
    queries, keys, values = _triple(query_features, key_features, values, names)
    if normalise:
        values = np.column_stack([values, np.ones(len(values))])
    if causal:
        _same_for_causal(len(queries), len(keys), names)
        sums = np.zeros((len(queries), values.shape[1]))
        _causal_linear(queries, keys, values, sums)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            sums = queries @ (keys.T @ values)
    named = "query_features, key_features"
    sums = _all_finite(sums, named)
    return _all_finite(_divided(sums), named) if normalise else sums


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1])", fastmath=_CONTRACT
)
def _causal_linear(queries, keys, values, out):
    """Go through the tokens in chunks: what came before is a matrix of r x p sums."""
    (n, r), p = queries.shape, values.shape[1]
    state, added = np.zeros((r, p)), np.empty((r, p))
    scores_buffer, part_buffer = np.empty(_CHUNK * _CHUNK), np.empty(_CHUNK * p)
    for first in range(0, n, _CHUNK):
        size = min(_CHUNK, n - first)
        q, k = queries[first : first + size], keys[first : first + size]
        v, rows = values[first : first + size], out[first : first + size]
        scores = scores_buffer[: size * size].reshape(size, size)
        part = part_buffer[: size * p].reshape(size, p)
        np.dot(q, k.T, scores)
        for i in range(size):
            scores[i, i + 1 :] = 0.0
        np.dot(scores, v, part)
        np.dot(q, state, rows)
        _add(part, rows)
        np.dot(k.T, v, added)
        _add(added, state)


def toeplitz_attention(
    query_features, key_features, values, weights, normalise: bool = True
) -> np.ndarray:
    """Return linear attention whose kernel is multiplied by a weight of the relative position.

    out_i = sum_j c_{j-i} phi(q_i).phi(k_j) v_j / sum_j c_{j-i} phi(q_i).phi(k_j), where
    c = exp(b) for a relative bias b. The sums over j are Toeplitz products, made by FFT.

    Parameters
    ----------
    query_features, key_features : phi(q) and phi(k), shapes (n, r) and (m, r)
    values : shape (m, p)
    weights : shape (n + m - 1,), c_{j-i} stands at j - i + n - 1; zeros from n on: causal
    normalise : divide by the denominator (where that is 0, so is the result)

    Returns
    -------
    shape (n, p)

    Raises
    ------
    ValueError : shapes that do not fit, or numbers so large that sums overflow.

    Cost: O(r p (n + m) log(n + m)) time, O(p (n + m)) memory beside the data. The error is relative
    to the largest sum: weights that span many magnitudes lose digits where the sums are small.
    Source: Luo et al. 2021 (arXiv:2106.12566), section 3.
    """
    names = "query_features", "key_features", "values"
    queries, keys, values = _triple(query_features, key_features, values, names)
    n, m = len(queries), len(keys)
    weights = as_vector("weights", weights, length=n + m - 1)
    if normalise:
        values = np.column_stack([values, np.ones(m)])
    multiply = _toeplitz(weights, n, m)
    columns = np.ascontiguousarray(values.T)
    sums = np.zeros((len(columns), n))
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        for query_feature, key_feature in zip(queries.T, keys.T, strict=True):
            sums += query_feature * multiply(columns * key_feature)
    sums = np.ascontiguousarray(sums.T)
    sums = _all_finite(sums, "query_features, key_features, values and weights")
    return _divided(sums) if normalise else sums


def toeplitz_product(weights, x, n: int) -> np.ndarray:
    """Return C x for the n x m Toeplitz matrix C_ij = weights[j - i + n - 1].

    Parameters: weights (n + m - 1,), x (m, p), n >= 1. Returns shape (n, p). Raises ValueError for
    shapes that do not fit, or sums that overflow. Cost: O(p (n + m) log(n + m)).
    Source: embedding in a circulant matrix, Golub and Van Loan 2013, section 4.8.2.

    >>> toeplitz_product([3.0, 1.0, 2.0], [[1.0], [10.0]], n=2).round(12).tolist()
    [[21.0], [13.0]]
    """
    x, n = as_matrix("x", x), integer("n", n, low=1)
    weights = as_vector("weights", weights, length=n + len(x) - 1)
    with np.errstate(over="ignore", invalid="ignore"):  # refused here
        return _all_finite(np.ascontiguousarray(_toeplitz(weights, n, len(x))(x.T).T), "weights, x")


def _toeplitz(weights, n, m) -> Callable[[np.ndarray], np.ndarray]:
    """Return the product with a Toeplitz matrix, (p, m) -> (p, n): a convolution, by FFT."""
    from scipy import fft

    # y_i = sum_j c_{j-i} x_j is the convolution of x with the reversed weights, from entry m - 1
    # on. What a circle of n + m - 1 wraps around falls on the entries before that.
    size = fft.next_fast_len(n + m - 1, real=True)
    spectrum = fft.rfft(weights[::-1], size)

    def multiply(rows):
        return fft.irfft(fft.rfft(rows, size) * spectrum, size)[:, m - 1 : m - 1 + n]

    return multiply


# Neighbourhood attention


def neighbourhood_attention(
    queries, keys, values, *, window, dilation=1, causal=False, shape=None, scale=None, tile=None
) -> np.ndarray:
    """Return softmax attention of each token over a window around it, on a line or a grid.

    The window holds exactly ``window`` tokens: at a border it is shifted inside. With a dilation
    it holds every dilation-th token, of those with the same remainder. On a grid windows are
    products of a window of rows and one of columns.

    A tile of neighbouring queries shares the keys of all its windows: one product of matrices gives
    their scores, of which those inside each query's own window are used.

    Parameters
    ----------
    queries, keys, values : shapes (n, d), (n, d), (n, p); row-major order on a grid
    window : odd number of tokens (when causal any number), or two of them, rows and columns
    dilation : integer >= 1, or two of them; window * dilation must not exceed the axis's length
    causal : look at the window's tokens at and before one's own; at the start there are fewer
    shape : None for a line, or (height, width) with height * width = n
    scale : None: 1/sqrt(d)
    tile : queries of a tile along the line, or along both axes of a grid (one number or two);
        None: chosen by the window. It changes the time, not the result

    Returns
    -------
    shape (n, p)

    Raises
    ------
    ValueError : shapes or windows that do not fit, and as for ``softmax_attention``.

    Cost: O(n w (d + p)) time for windows of w tokens, times the waste of a tile of t queries,
    (t + w - 1) / w along each axis; O((n + w) (d + p)) memory.
    Source: Hassani et al. 2023 (arXiv:2204.07143); Hassani et al. 2024 (arXiv:2403.04690).
    """
    scaled, keys, values, _, _ = _problem(queries, keys, values, scale, None, None, False)
    n = same_length("queries", scaled, "keys", keys)
    if shape is None:
        sides = 1, n
        windows = 1, integer("window", window, low=1)
        dilations = 1, integer("dilation", dilation, low=1)
    else:
        sides = _pair("shape", shape, 1)
        windows, dilations = _pair("window", window, 1), _pair("dilation", dilation, 1)
    if sides[0] * sides[1] != n:
        raise ValueError(f"shape must have {n} places, one a token, got {sides[0]} x {sides[1]}")
    plans = [
        _window_plan(length, size, step, causal)
        for length, size, step in zip(sides, windows, dilations, strict=True)
    ]
    out = np.zeros((n, values.shape[1]))
    if tile is None:
        tiles = _tile_sides(windows, shape is None)
    elif shape is None:
        tiles = 1, min(integer("tile", tile, low=1), n)
    else:
        tiles = tuple(min(*pair) for pair in zip(_pair("tile", tile, 1), sides, strict=True))
    starts = [plan[0] for plan in plans]
    counts = [plan[1] for plan in plans]
    _neighbourhood(scaled, keys, values, sides[1], *dilations, *tiles, *starts, *counts, out)
    return _all_finite(out, "values")


def neighbourhood_windows(length, window, dilation=1, causal=False) -> np.ndarray:
    """Return which tokens of a line each token sees in neighbourhood attention.

    Parameters: as for ``neighbourhood_attention``. Returns integers, shape (length, window), in
    ascending order; when causal, -1 in the places of tokens before the start. Raises ValueError for
    an even window that is not causal, or one that does not fit. Cost: O(length window).

    >>> neighbourhood_windows(5, 3).tolist()
    [[0, 1, 2], [0, 1, 2], [1, 2, 3], [2, 3, 4], [2, 3, 4]]
    """
    length, window = integer("length", length, low=1), integer("window", window, low=1)
    dilation = integer("dilation", dilation, low=1)
    starts, counts = _window_plan(length, window, dilation, causal)
    steps = np.arange(window) - (window - counts[:, None])
    return np.where(steps >= 0, starts[:, None] + dilation * steps, -1)


def _window_plan(length, window, dilation, causal) -> tuple[np.ndarray, np.ndarray]:
    """Return the first token of each token's window, and how many tokens the window holds."""
    if not causal and window % 2 == 0:
        raise ValueError(f"window must be odd, so that it has a middle, got {window}")
    if window * dilation > length:
        raise ValueError(
            f"window times dilation must not exceed the {length} tokens of the axis, "
            f"got {window} * {dilation}"
        )
    token = np.arange(length)
    remainder, place = token % dilation, token // dilation
    if causal:
        first = np.maximum(place - window + 1, 0)
        return remainder + dilation * first, place - first + 1
    places = (length - remainder + dilation - 1) // dilation  # in the class of this remainder
    first = np.clip(place - window // 2, 0, places - window)
    return remainder + dilation * first, np.full(length, window)


def _tile_sides(windows, line) -> tuple[int, int]:
    """Return the sides of a tile of queries: wide enough for a product to pay, little waste."""
    if line:
        return 1, min(max(16, windows[1] // 2), 64)
    return tuple(min(max(4, window // 2), 8) for window in windows)


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], int64, int64, int64, int64, int64, "
    "int64[::1], int64[::1], int64[::1], int64[::1], float64[:,::1])",
    fastmath=_CONTRACT,
)
def _neighbourhood(
    queries, keys, values, width, step_y, step_x, tile_y, tile_x,
    start_y, start_x, count_y, count_x, out,
):  # fmt: skip
    """Fill out, one tile of queries of equal remainders after the other."""
    d, p, height = queries.shape[1], values.shape[1], start_y.size
    # The union of a tile's windows: at most a window and a tile less one, along each axis.
    most_y = min(count_y.max() + tile_y - 1, (height + step_y - 1) // step_y)
    most_x = min(count_x.max() + tile_x - 1, (width + step_x - 1) // step_x)
    most, tile = most_y * most_x, tile_y * tile_x
    q_buffer, k_buffer = np.empty(tile * d), np.empty(most * d)
    v_buffer, out_buffer = np.empty(most * p), np.empty(tile * p)
    scores_buffer, weights_buffer = np.empty(tile * most), np.empty(tile * most)
    for top in range(height):
        if (top // step_y) % tile_y != 0:
            continue
        rows = min(tile_y, (height - top + step_y - 1) // step_y)
        first_y = start_y[top]
        last = top + (rows - 1) * step_y
        keys_y = (start_y[last] - first_y) // step_y + count_y[last]
        for left in range(width):
            if (left // step_x) % tile_x != 0:
                continue
            columns = min(tile_x, (width - left + step_x - 1) // step_x)
            first_x = start_x[left]
            last = left + (columns - 1) * step_x
            keys_x = (start_x[last] - first_x) // step_x + count_x[last]
            size, seen = rows * columns, keys_y * keys_x
            q = q_buffer[: size * d].reshape(size, d)
            k = k_buffer[: seen * d].reshape(seen, d)
            v = v_buffer[: seen * p].reshape(seen, p)
            scores = scores_buffer[: size * seen].reshape(size, seen)
            weights = weights_buffer[: size * seen].reshape(size, seen)
            result = out_buffer[: size * p].reshape(size, p)
            _gather(queries, top, left, width, step_y, step_x, rows, columns, q)
            _gather(keys, first_y, first_x, width, step_y, step_x, keys_y, keys_x, k)
            _gather(values, first_y, first_x, width, step_y, step_x, keys_y, keys_x, v)
            np.dot(q, k.T, scores)
            for a in range(rows):
                y = top + a * step_y
                from_y = (start_y[y] - first_y) // step_y
                for b in range(columns):
                    x = left + b * step_x
                    from_x = (start_x[x] - first_x) // step_x
                    i = a * columns + b
                    _softmax_window(
                        scores[i].reshape(keys_y, keys_x), from_y, count_y[y], from_x, count_x[x],
                        weights[i].reshape(keys_y, keys_x),
                    )  # fmt: skip
            np.dot(weights, v, result)
            for a in range(rows):
                for b in range(columns):
                    token = (top + a * step_y) * width + left + b * step_x
                    out[token] = result[a * columns + b]


@compiled(
    "void(float64[:,::1], int64, int64, int64, int64, int64, int64, int64, float64[:,::1])",
)
def _gather(source, top, left, width, step_y, step_x, rows, columns, target):
    """Copy the tokens of a (dilated) rectangle of the grid into consecutive rows."""
    for a in range(rows):
        for b in range(columns):
            token = (top + a * step_y) * width + left + b * step_x
            for c in range(source.shape[1]):
                target[a * columns + b, c] = source[token, c]


@compiled("void(float64[:,::1], int64, int64, int64, int64, float64[:,::1])", fastmath=_CONTRACT)
def _softmax_window(scores, from_y, count_y, from_x, count_x, weights):
    """Fill weights with the softmax of a rectangle of the scores, and 0 around it."""
    top = -np.inf
    for a in range(from_y, from_y + count_y):
        top = max(top, _largest(scores[a, from_x : from_x + count_x]))
    weights[:] = 0.0
    total = 0.0
    for a in range(from_y, from_y + count_y):
        row = weights[a, from_x : from_x + count_x]
        row[:] = scores[a, from_x : from_x + count_x]
        total += _exponentials(row, top)
    for a in range(from_y, from_y + count_y):
        row = weights[a, from_x : from_x + count_x]
        for b in range(count_x):
            row[b] /= total


# Attention with rules written by the user


@dataclass(frozen=True, eq=False)
class BlockMask:
    """Which pairs of tokens see each other, and which blocks of pairs need work.

    Attributes
    ----------
    mask_mod : the rule, (i, j, parameters) -> bool
    n, m : numbers of queries and keys
    block : side of a block
    kinds : EMPTY, FULL or PARTIAL for each block, shape (ceil(n / block), ceil(m / block))
    parameters : what the rule is given
    """

    mask_mod: Callable
    n: int
    m: int
    block: int
    kinds: np.ndarray = field(repr=False)
    parameters: np.ndarray = field(repr=False)

    @property
    def computed(self) -> int:
        """How many blocks are computed."""
        return int(np.count_nonzero(self.kinds))

    @property
    def fraction(self) -> float:
        """Computed blocks over all blocks."""
        return self.computed / self.kinds.size


def block_mask(mask_mod, n: int, m: int, block: int = 64, parameters=None) -> BlockMask:
    """Return the block mask of a rule: its blocks are empty, full or partial.

    Parameters
    ----------
    mask_mod : (i, j, parameters) -> bool, true where query i may see key j; numba compiles it once
    n, m : numbers of queries and keys
    block : side of a block, >= 1
    parameters : shape (k,), numbers for the rule that may change without compiling it again: a
        width, or one document number a token

    Returns
    -------
    BlockMask

    Raises
    ------
    ValueError : sizes that are not positive, or a rule that cannot be compiled.

    Cost: O(n m) time, O(block m) memory.
    Source: Dong et al. 2024 (arXiv:2412.05496), section 4.

    >>> mask = block_mask(lambda i, j, parameters: j <= i, n=256, m=256, block=64)
    >>> mask.computed, mask.kinds.tolist()
    (10, [[2, 0, 0, 0], [1, 2, 0, 0], [1, 1, 2, 0], [1, 1, 1, 2]])
    """
    n, m = integer("n", n, low=1), integer("m", m, low=1)
    block = integer("block", block, low=1)
    parameters = _as_parameters(parameters)
    fill = _program("mask_mod", mask_mod)
    starts = np.arange(0, m, block)
    widths = np.minimum(block, m - starts)
    kinds = np.empty((-(-n // block), len(starts)), dtype=np.int8)
    for row, first in enumerate(range(0, n, block)):
        seen = np.empty((min(block, n - first), m), dtype=np.bool_)
        _fill(fill, seen, first, parameters)
        count = np.add.reduceat(seen.sum(axis=0, dtype=np.int64), starts)
        kinds[row] = np.where(count == 0, EMPTY, PARTIAL)
        kinds[row, count == widths * len(seen)] = FULL
    return BlockMask(mask_mod, n, m, block, kinds, parameters)


def dense_mask(mask_mod, n: int, m: int, parameters=None) -> np.ndarray:
    """Return a rule's mask as booleans, shape (n, m), to look at.

    Parameters and errors: as for ``block_mask``. Cost: O(n m).
    """
    n, m = integer("n", n, low=1), integer("m", m, low=1)
    fits_in_memory("the mask", n * m)
    seen = np.empty((n, m), dtype=np.bool_)
    _fill(_program("mask_mod", mask_mod), seen, 0, _as_parameters(parameters))
    return seen


def _fill(program, out, first, parameters):
    try:
        program(out, first, 0, parameters)
    except IndexError:
        raise ValueError(_too_few("mask_mod", parameters)) from None


def _too_few(name, parameters) -> str:
    return f"parameters must be as many as {name} reads, got {len(parameters)}"


def flex_attention(
    queries, keys, values, *, score_mod=None, mask=None, parameters=None, scale=None, log_sums=False
):
    """Return softmax attention whose scores and mask follow rules written as small functions.

    out_i = sum_j exp(s_ij) v_j / sum_j exp(s_ij),
    s_ij = score_mod(scale q_i.k_j, i, j, parameters),
    over the keys that the mask lets query i see; 0 where it sees none. Empty blocks of the mask are
    skipped, full ones computed without a look at the mask.

    Parameters
    ----------
    queries, keys, values : shapes (n, d), (m, d), (m, p)
    score_mod : (score, i, j, parameters) -> score; numba compiles it once, and keeps it on disk
    mask : BlockMask; None: all pairs
    parameters : shape (k,), numbers for score_mod (the mask has its own)
    scale : None: 1/sqrt(d)
    log_sums : also return log sum_j exp(s_ij), shape (n,)

    Returns
    -------
    shape (n, p), or this and the logarithms

    Raises
    ------
    ValueError : shapes that do not fit, a rule that cannot be compiled, or a score that is infinite
        or NaN (-inf is a masked pair).

    Cost: O(b block^2 (d + p)) time for b computed blocks, O(n + m + block^2) memory.
    Source: Dong et al. 2024 (arXiv:2412.05496), sections 3 and 4.
    """
    scaled, keys, values, _, _ = _problem(queries, keys, values, scale, None, None, False)
    n, m = len(scaled), len(keys)
    if mask is None:
        block, mask_mod = _BLOCK, None
        kinds = np.full((-(-n // block), -(-m // block)), FULL, dtype=np.int8)
        mask_parameters = _NO_PARAMETERS
    elif not isinstance(mask, BlockMask):
        raise ValueError(f"mask must be a BlockMask, got {type(mask).__name__}")
    elif (mask.n, mask.m) != (n, m):
        raise ValueError(f"mask must be of {n} x {m} tokens, got {mask.n} x {mask.m}")
    elif mask.kinds.shape != (-(-n // mask.block), -(-m // mask.block)):
        raise ValueError(f"mask must have a kind for each block, got shape {mask.kinds.shape}")
    else:
        block, kinds = mask.block, mask.kinds
        mask_mod, mask_parameters = mask.mask_mod, mask.parameters
    parameters = _as_parameters(parameters)
    # The two rules' parameters travel together; the first place says where the mask's begin.
    both = np.concatenate([[float(len(parameters))], parameters, mask_parameters])
    adjust = _program("score_mod", score_mod, mask_mod)
    rule = _Rule(block, kinds, adjust, _NO_BIAS, _NO_MASK, both)
    try:
        out, logs = _run(scaled, keys, values, rule, "score_mod and values")
    except IndexError:
        raise ValueError(_too_few("score_mod", parameters)) from None
    return (out, logs) if log_sums else out


def and_masks(*mask_mods) -> Callable:
    """Return the rule that holds where all given rules hold; they share their parameters.

    Raises ValueError when none is given.
    """
    return _combined(mask_mods, True)


def or_masks(*mask_mods) -> Callable:
    """Return the rule that holds where at least one of the rules holds; they share parameters.

    Raises ValueError when none is given.
    """
    return _combined(mask_mods, False)


def _combined(mask_mods, every) -> Callable:
    if not mask_mods:
        raise ValueError("mask_mods must hold at least one rule, got none")
    return functools.reduce(lambda a, b: _both(a, b, every), mask_mods)


def _both(first, second, every):
    first, second = _inlined("mask_mod", first), _inlined("mask_mod", second)

    def combined(i, j, parameters):
        if every:
            return first(i, j, parameters) and second(i, j, parameters)
        return first(i, j, parameters) or second(i, j, parameters)

    return combined


_RULE_ARGUMENTS = {"score_mod": "score, i, j, parameters", "mask_mod": "i, j, parameters"}


def _program(kind: str, rule: Callable | None, mask_mod: Callable | None = None):
    """Return the compiled loop over a block for a user's rules.

    ``kind`` "score_mod": the adjustment of a block of scores; "mask_mod": the booleans of a block.
    """
    for name, function in ((kind, rule), ("mask_mod", mask_mod)):
        if function is not None:
            _check_rule(name, function)
    codes = kind, _code_of(rule), _code_of(mask_mod)
    return _compiled_program(_Rules(kind, rule, mask_mod, _digest(codes)))


def _check_rule(name, function):
    function = getattr(function, "py_func", function)
    wanted = _RULE_ARGUMENTS[name]
    if not isinstance(function, types.FunctionType):
        raise ValueError(
            f"{name} must be a plain function of ({wanted}), got {type(function).__name__}"
        )
    if function.__code__.co_argcount != wanted.count(",") + 1:
        names = ", ".join(function.__code__.co_varnames[: function.__code__.co_argcount])
        raise ValueError(f"{name} must be a function of ({wanted}), got one of ({names})")


@dataclass(frozen=True)
class _Rules:
    """A user's rules; equal when their code and all constants in it are."""

    kind: str
    rule: Callable | None = field(compare=False)
    mask_mod: Callable | None = field(compare=False)
    digest: str = ""


@functools.lru_cache(maxsize=256)
def _compiled_program(rules: _Rules):
    from numba.core.errors import NumbaError

    if rules.kind == "score_mod":
        loop, signature = _adjusting(rules.rule, rules.mask_mod), _ADJUST
    else:
        loop, signature = _filling(rules.rule), "void(boolean[:,::1], int64, int64, float64[::1])"
    # The name carries the digest, so that each pair of rules has a file of its own in the cache.
    loop.__qualname__ = loop.__name__ = f"{rules.kind}_{rules.digest}"
    try:
        return Compiled(loop, signature, {"fastmath": _CONTRACT}).compile()
    except NumbaError as error:
        lines = (line.strip() for line in str(error).splitlines())
        reason = next((line for line in lines if line and not line.startswith("Failed in")), "")
        raise ValueError(f"{rules.kind} must be what numba can compile, got: {reason}") from error


def _adjusting(score_mod, mask_mod) -> Callable:
    score = _inlined("score_mod", score_mod or _same_score)
    seen = _inlined("mask_mod", mask_mod or _every_pair)

    def adjust(scores, i, j, kind, bias, mask, parameters):
        split = 1 + int(parameters[0])
        for_score, for_mask = parameters[1:split], parameters[split:]
        for r in range(scores.shape[0]):
            for c in range(scores.shape[1]):
                scores[r, c] = score(scores[r, c], i + r, j + c, for_score)
        if kind == PARTIAL:
            for r in range(scores.shape[0]):
                for c in range(scores.shape[1]):
                    if not seen(i + r, j + c, for_mask):
                        scores[r, c] = -np.inf

    return adjust


def _filling(mask_mod) -> Callable:
    seen = _inlined("mask_mod", mask_mod)

    def fill(out, i, j, parameters):
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] = seen(i + r, j + c, parameters)

    return fill


def _same_score(score, i, j, parameters):
    return score


def _every_pair(i, j, parameters):
    return True


def _inlined(name: str, function: Callable):
    """Return a numba function of a Python function, to be inlined into a loop.

    It checks bounds: the parameters' length is the caller's, and nothing else tells a wrong one.
    """
    import numba

    _check_rule(name, function)
    function = getattr(function, "py_func", function)
    return numba.njit(function, forceinline=True, boundscheck=True, error_model="numpy")


def _code_of(thing):
    """Return what makes two functions the same: their code, constants, closures and globals."""
    thing = getattr(thing, "py_func", thing)
    if isinstance(thing, types.CodeType):
        constants = tuple(_code_of(constant) for constant in thing.co_consts)
        return thing.co_code, constants, thing.co_names, thing.co_varnames, thing.co_freevars
    if isinstance(thing, np.ndarray):
        return str(thing.dtype), thing.shape, thing.tobytes()
    if not isinstance(thing, types.FunctionType):
        return type(thing).__name__, repr(thing)
    cells = tuple(_code_of(cell.cell_contents) for cell in thing.__closure__ or ())
    found = (thing.__globals__.get(name) for name in thing.__code__.co_names)
    outside = tuple(_code_of(value) for value in found if value is not None)
    return _code_of(thing.__code__), cells, outside, repr(thing.__defaults__)


def _digest(thing) -> str:
    return hashlib.sha256(repr(thing).encode()).hexdigest()[:16]


# The loops over blocks


@dataclass(frozen=True)
class _Rule:
    """How blocks of scores are chosen and changed: what the compiled loops are given."""

    block: int
    kinds: np.ndarray
    adjust: Callable
    bias: np.ndarray
    mask: np.ndarray
    parameters: np.ndarray

    def arguments(self) -> tuple:
        """All of it, in the loops' order."""
        return self.block, self.kinds, self.adjust, self.bias, self.mask, self.parameters


def _run(scaled, keys, values, rule, named="values") -> tuple[np.ndarray, np.ndarray]:
    out, logs = np.zeros((len(scaled), values.shape[1])), np.empty(len(scaled))
    _forward(scaled, keys, values, *rule.arguments(), out, logs)
    return _all_finite(out, named), logs


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], int64, int8[:,::1], "
    f"FunctionType({_ADJUST}), float64[:,:], boolean[:,::1], float64[::1], "
    "float64[:,::1], float64[::1])",
    fastmath=_CONTRACT,
)
def _forward(queries, keys, values, block, kinds, adjust, bias, mask, parameters, out, logs):
    """Fill out and the logarithms of the sums: for each block of queries, all blocks of keys."""
    (n, m), p = (len(queries), len(keys)), values.shape[1]
    scores_buffer = np.empty(min(block, n) * min(block, m))
    part_buffer = np.empty(min(block, n) * p)
    top, total = np.empty(min(block, n)), np.empty(min(block, n))
    for a in range(kinds.shape[0]):
        i = a * block
        height = min(block, n - i)
        result = out[i : i + height]
        part = part_buffer[: height * p].reshape(height, p)
        top[:] = -np.inf
        total[:] = 0.0
        for b in range(kinds.shape[1]):
            if kinds[a, b] == EMPTY:
                continue
            j = b * block
            width = min(block, m - j)
            scores = scores_buffer[: height * width].reshape(height, width)
            np.dot(queries[i : i + height], keys[j : j + width].T, scores)
            adjust(scores, i, j, kinds[a, b], bias, mask, parameters)
            _online_softmax(scores, top, total, result)
            np.dot(scores, values[j : j + width], part)
            _add(part, result)
        for r in range(height):
            logs[i + r] = top[r] + math.log(total[r]) if total[r] > 0.0 else total[r] - np.inf
            share = 1.0 / total[r] if total[r] != 0.0 else 0.0
            for c in range(p):
                result[r, c] *= share


@compiled("void(float64[:,::1], float64[::1], float64[::1], float64[:,::1])", fastmath=_CONTRACT)
def _online_softmax(scores, top, total, result):
    """Replace scores by exp(score - maximum); when the maximum grows, shrink what came before."""
    for r in range(scores.shape[0]):
        row = scores[r]
        highest = max(top[r], _largest(row))
        if highest == -np.inf:  # no key seen so far; -inf - -inf would be NaN
            for c in range(row.size):
                total[r] = total[r] if row[c] == -np.inf else np.nan  # a rule gave NaN
            row[:] = 0.0
            continue
        shrink = math.exp(top[r] - highest)
        total[r] = total[r] * shrink + _exponentials(row, highest)
        top[r] = highest
        if shrink != 1.0:
            for c in range(result.shape[1]):
                result[r, c] *= shrink


@compiled("float64(float64[::1])")
def _largest(row):
    """Return the maximum; NaN is passed over.

    Eight maxima side by side: one alone would wait for each comparison before the next.
    """
    a = b = c = d = e = f = g = h = -np.inf
    whole = row.size - row.size % 8
    for j in range(0, whole, 8):
        a, b = _larger(row[j], a), _larger(row[j + 1], b)
        c, d = _larger(row[j + 2], c), _larger(row[j + 3], d)
        e, f = _larger(row[j + 4], e), _larger(row[j + 5], f)
        g, h = _larger(row[j + 6], g), _larger(row[j + 7], h)
    for j in range(whole, row.size):
        a = _larger(row[j], a)
    a, b, c, d = _larger(a, b), _larger(c, d), _larger(e, f), _larger(g, h)
    return _larger(_larger(a, b), _larger(c, d))


@compiled("float64(float64, float64)", forceinline=True)
def _larger(x, y):
    return x if x > y else y


@compiled("float64(float64[::1], float64)", fastmath=_ANY_ORDER)
def _exponentials(row, shift):
    """Replace each entry by exp(entry - shift), and return their sum."""
    total = 0.0
    for c in range(row.size):
        value = exp(row[c] - shift)
        row[c] = value
        total += value
    return total


@compiled("void(float64[:,::1])", fastmath=_CONTRACT)
def _softmax_rows(scores):
    for r in range(scores.shape[0]):
        row = scores[r]
        highest = _largest(row)
        if highest == -np.inf:
            row[:] = 0.0
        else:
            share = 1.0 / _exponentials(row, highest)
            for c in range(row.size):
                row[c] *= share


@compiled(_ADJUST, fastmath=_CONTRACT)
def _adjust(scores, i, j, kind, bias, mask, parameters):
    """Add the bias, remove what the mask hides; a partial block lies on the causal diagonal."""
    for r in range(scores.shape[0]):
        row = scores[r]
        if bias.size > 0:
            for c in range(row.size):
                row[c] += bias[i + r, j + c]
        if mask.size > 0:
            for c in range(row.size):
                row[c] = row[c] if mask[i + r, j + c] else -np.inf
        if kind == PARTIAL:
            row[max(i + r + 1 - j, 0) :] = -np.inf


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[::1], "
    "float64[::1], int64, int8[:,::1], "
    f"FunctionType({_ADJUST}), float64[:,:], boolean[:,::1], float64[::1], "
    "float64[:,::1], float64[:,::1], float64[:,::1], float64[:,:])",
    fastmath=_CONTRACT,
)
def _backward(
    queries, keys, values, upstream, logs, mean_slopes, block, kinds, adjust, bias, mask,
    parameters, query_slopes, key_slopes, value_slopes, bias_slopes,
):  # fmt: skip
    """Add up the slopes, block by block; the weights come out of the logarithms again."""
    (n, d), (m, p) = queries.shape, values.shape
    height, width = min(block, n), min(block, m)
    weights_buffer, slopes_buffer = np.empty(height * width), np.empty(height * width)
    part = np.empty(max(height, width) * max(d, p))
    for a in range(kinds.shape[0]):
        i = a * block
        height = min(block, n - i)
        q, u = queries[i : i + height], upstream[i : i + height]
        for b in range(kinds.shape[1]):
            if kinds[a, b] == EMPTY:
                continue
            j = b * block
            width = min(block, m - j)
            k, v = keys[j : j + width], values[j : j + width]
            weights = weights_buffer[: height * width].reshape(height, width)
            slopes = slopes_buffer[: height * width].reshape(height, width)
            np.dot(q, k.T, weights)
            adjust(weights, i, j, kinds[a, b], bias, mask, parameters)
            np.dot(u, v.T, slopes)
            for r in range(height):
                row = weights[r]
                if logs[i + r] == -np.inf:
                    row[:] = 0.0
                else:
                    _exponentials(row, logs[i + r])
                for c in range(width):
                    slopes[r, c] = row[c] * (slopes[r, c] - mean_slopes[i + r])
                if bias_slopes.size > 0:
                    for c in range(width):
                        bias_slopes[i + r, j + c] += slopes[r, c]
            for_values = part[: width * p].reshape(width, p)
            np.dot(weights.T, u, for_values)
            _add(for_values, value_slopes[j : j + width])
            for_keys = part[: width * d].reshape(width, d)
            np.dot(slopes.T, q, for_keys)
            _add(for_keys, key_slopes[j : j + width])
            for_queries = part[: height * d].reshape(height, d)
            np.dot(slopes, k, for_queries)
            _add(for_queries, query_slopes[i : i + height])


@compiled("void(float64[:,::1], float64[:,::1])")
def _add(part, total):
    for r in range(total.shape[0]):
        for c in range(total.shape[1]):
            total[r, c] += part[r, c]


# Checks


def _problem(queries, keys, values, scale, bias, mask, causal):
    """Return checked (scale * queries, keys, values, rule, scale)."""
    queries, keys, values = _triple(queries, keys, values)
    (n, d), m = queries.shape, len(keys)
    scale = 1.0 / math.sqrt(d) if scale is None else nonnegative("scale", scale)
    bias = _NO_BIAS if bias is None else _as_bias(bias, n, m)
    largest = scale * d * float(abs(queries).max()) * float(abs(keys).max())
    if bias.size:
        largest += max(bias.max(), -bias.min())
    if not largest < _LARGEST_SCORE:
        raise ValueError(
            "queries, keys, scale and bias must keep all scores below 1e300, got queries up to "
            f"{abs(queries).max():.3g}, keys up to {abs(keys).max():.3g}, scale {scale:.3g}"
        )
    mask = _NO_MASK if mask is None else _as_mask(mask, n, m)
    if causal:
        _same_for_causal(n, m, ("queries", "keys"))
    block = _CAUSAL_BLOCK if causal else _BLOCK
    kinds = np.full((-(-n // block), -(-m // block)), FULL, dtype=np.int8)
    if causal:
        kinds = np.tril(kinds)
        np.fill_diagonal(kinds, PARTIAL)
    rule = _Rule(block, kinds, _adjust.compile(), bias, mask, _NO_PARAMETERS)
    return queries * scale, keys, values, rule, scale


def _triple(queries, keys, values, names=("queries", "keys", "values")):
    """Return checked matrices; values may be None."""
    queries = as_matrix(names[0], queries)
    keys = as_matrix(names[1], keys, columns=queries.shape[1])
    if values is not None:
        values = as_matrix(names[2], values, rows=len(keys))
    return queries, keys, values


def _same_for_causal(n, m, names):
    if n != m:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same length when causal, got {n} and {m}"
        )


def _as_bias(bias, n, m) -> np.ndarray:
    """Return a bias as an n x m array; one of the relative position becomes a view of itself."""
    if np.ndim(bias) == 2:
        return as_matrix("bias", bias, rows=n, columns=m)
    vector = as_vector("bias", bias, length=n + m - 1)
    # Row i of the view is vector[n - 1 - i : n - 1 - i + m].
    windows = np.lib.stride_tricks.sliding_window_view(vector, m, writeable=True)
    return windows[::-1]


def _as_mask(mask, n, m) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise ValueError(f"mask must hold booleans, got values of dtype {mask.dtype}")
    if mask.shape != (n, m):
        raise ValueError(f"mask must have shape {(n, m)}, got shape {mask.shape}")
    return np.require(mask, np.bool_, ["C", "A", "W"])


def _as_parameters(parameters) -> np.ndarray:
    return _NO_PARAMETERS if parameters is None else as_vector("parameters", parameters)


def _as_log_sums(name, logs, n) -> np.ndarray:
    """Return a vector that may hold -inf."""
    logs = np.asarray(logs, dtype=np.float64)
    if logs.shape != (n,) or np.isnan(logs).any() or (logs == np.inf).any():
        raise ValueError(f"{name} must be vectors of {n} numbers or -inf, got shape {logs.shape}")
    return np.require(logs, np.float64, ["C", "A", "W"])


def _as_forward(forward, n, p):
    try:
        out, logs = forward
    except (TypeError, ValueError):
        raise ValueError("forward must be a pair (output, log_sums)") from None
    out = as_matrix("forward", out, rows=n, columns=p)
    return out, _as_log_sums("forward", logs, n)


def _pair(name, value, low) -> tuple[int, int]:
    """Return two integers; one stands for both."""
    if np.ndim(value) == 0:
        value = (value, value)
    if np.shape(value) != (2,):
        raise ValueError(f"{name} must be an integer or two of them, got {value}")
    return tuple(integer(name, side, low=low) for side in value)


def _divided(sums) -> np.ndarray:
    """Return all columns but the last over the last; 0 where that is 0."""
    total = sums[:, -1:]
    return sums[:, :-1] / np.where(total == 0.0, 1.0, total) * (total != 0.0)


def _all_finite(out, named) -> np.ndarray:
    if not np.isfinite(out).all():
        raise ValueError(f"{named} must keep all sums finite, got an infinite or undefined result")
    return out
