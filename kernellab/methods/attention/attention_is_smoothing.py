"""Attention as kernel smoothing: which kernel, which keys, which positions, and what they change.

An attention layer is a weighted mean of values, out_i = sum_j w_ij v_j with w_ij from a kernel of
query i and key j, so that every choice below is a choice of the matrix w:

1. One smoother, many kernels: dot product, Gaussian, own value; landmarks; features
2. Networks on sets, built from attention alone (Lee et al. 2019)
3. Kernels of the position, and how they reach beyond the length trained on (Chi et al. 2022)
4. What gradient descent sees of the kernel (Song et al. 2024)
5. Weights from a feature's own value (Ioannides et al. 2024)

The fast exact, local and linear forms are ``kernellab.compute.attention``.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kernellab.compute.attention import attention_weights, linear_attention, softmax_attention
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
from kernellab.compute.compiled import compiled
from kernellab.compute.networks import Adam

# ------------------------------------------------------------------------------------------------
# 1. One smoother, many kernels
# ------------------------------------------------------------------------------------------------

RULES = ("dot product", "Gaussian", "Gaussian, not normalised", "own value")


def smoothing_weights(rule: str, queries, keys, bandwidth: float = 1.0, bias=None) -> np.ndarray:
    """Return the matrix w of a smoother out = w v, for one of four rules.

    With h the bandwidth and b the bias, rows that sum to 1, proportional to
    dot product: exp(q_i.k_j / h^2 + b_ij);  Gaussian: exp(-|q_i - k_j|^2 / (2 h^2) + b_ij);
    own value: exp(-|z_j|^2 / (2 h^2) + b_ij), z_j the key less the keys' mean, over their standard
    deviation (the query has no say). "Gaussian, not normalised" is the Gaussian value itself.

    Parameters
    ----------
    rule : one of ``RULES``
    queries, keys : shapes (n, d) and (m, d)
    bandwidth : h > 0, in units of the keys ("own value": of their standard deviation)
    bias : shape (n, m), added to the exponent

    Returns
    -------
    shape (n, m)

    Raises
    ------
    ValueError : shapes that do not fit, another rule, or exponents that overflow.

    Cost: O(n m d). Source: Nadaraya 1964; Vaswani et al. 2017 (arXiv:1706.03762).
    """
    rule = one_of("rule", rule, RULES)
    queries = as_matrix("queries", queries)
    keys = as_matrix("keys", keys, columns=queries.shape[1])
    if positive("bandwidth", bandwidth) < 1e-150:
        raise ValueError(f"bandwidth must be at least 1e-150, got {bandwidth}")
    rate = bandwidth**-2.0
    if bias is not None:
        bias = as_matrix("bias", bias, rows=len(queries), columns=len(keys))
    if rule == "dot product":
        return attention_weights(queries, keys, scale=rate, bias=bias)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        if rule == "own value":
            spread = np.sqrt(keys.var(axis=0) + 1e-8)
            spread[np.isinf(spread)] = np.nan
            own = -0.5 * rate * np.sum(((keys - keys.mean(axis=0)) / spread) ** 2, axis=1)
            scores = np.repeat(own[None], len(queries), axis=0)
        else:
            centre = keys.mean(axis=0)
            q, k = queries - centre, keys - centre
            squares = np.sum(q * q, 1)[:, None] + np.sum(k * k, 1) - 2.0 * q @ k.T
            scores = -0.5 * rate * np.maximum(squares, 0.0)
    if bias is not None:
        scores += bias
    if not np.isfinite(scores).all():
        raise ValueError("queries, keys and bandwidth must keep all exponents finite")
    if rule == "Gaussian, not normalised":
        if scores.max() > 700.0:
            raise ValueError(f"bias must keep exponents below 700, got {scores.max():.3g}")
        return np.exp(scores)
    return _softmax(scores)


def effective_keys(weights) -> np.ndarray:
    """Return how many keys each query listens to: exp(entropy of its row), from 1 to m.

    Parameters: weights (n, m) >= 0, rows that sum to something positive. Returns (n,). Raises
    ValueError otherwise. Cost: O(n m).

    >>> effective_keys([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).round(12).tolist()
    [2.0, 1.0]
    """
    weights = as_matrix("weights", weights)
    largest = weights.max(axis=1, keepdims=True)
    if weights.min() < 0 or largest.min() <= 0:
        raise ValueError("weights must be >= 0 and every row must hold a positive one")
    p = weights / largest
    p /= p.sum(axis=1, keepdims=True)
    return np.exp(-np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1))


def landmark_attention(queries, landmarks, keys, values, scale=None) -> np.ndarray:
    """Return attention in two steps through m landmarks, which first gather and then hand on.

    out = softmax(scale Q L') [softmax(scale L K') V]: the middle part of an ISAB.

    Paper: set-transformer (Lee et al. 2019, arXiv:1810.00825)

    Parameters: queries (n, d), landmarks (m, d), keys (l, d), values (l, p), scale >= 0 or None for
    1/sqrt(d). Returns (n, p). Raises ValueError for shapes that do not fit.
    Cost: O((n + l) m (d + p)).
    """
    gathered = softmax_attention(landmarks, keys, values, scale=scale)
    return softmax_attention(queries, landmarks, gathered, scale=scale)


class FeatureMap(NamedTuple):
    """Positive features phi_r(x) = exp(w_r.x + b_r - |x|^2/2): frequencies (m, d), offsets (m,)."""

    frequencies: np.ndarray
    offsets: np.ndarray


def draw_features(m: int, d: int, rng) -> FeatureMap:
    """Return m random positive features: w normal, b = 0, so that E phi(q).phi(k)/m = exp(q.k).

    Parameters: m, d >= 1; rng, Generator or seed. Raises ValueError otherwise. Cost: O(m d).
    Source: Choromanski et al. 2021 (arXiv:2009.14794), lemma 1.
    """
    m, d = integer("m", m, low=1), integer("d", d, low=1)
    fits_in_memory("the m x d frequencies", 8 * m * d)
    return FeatureMap(as_rng(rng).standard_normal((m, d)), np.zeros(m))


def feature_attention(features: FeatureMap, queries, keys, values) -> np.ndarray:
    """Return attention with the kernel phi(q).phi(k), which never forms the n x m weights.

    Parameters: features; queries (n, d), keys (l, d), values (l, p), already multiplied by the
    square root of the scale. Returns (n, p). Raises ValueError for shapes that do not fit.
    Cost: O((n + l) m (d + p)).
    """
    return linear_attention(*_both_features(features, queries, keys), values)


def feature_weights(features: FeatureMap, queries, keys) -> np.ndarray:
    """Return the weights (n, l) that ``feature_attention`` uses without forming them."""
    phi_q, phi_k = _both_features(features, queries, keys)
    products = phi_q @ phi_k.T
    return products / products.sum(axis=1, keepdims=True)


def learn_features(
    tokens, m: int, rng, steps: int = 300, batch: int = 48, scales=(0.5, 8.0), step: float = 0.03
) -> tuple[FeatureMap, np.ndarray]:
    """Return m positive features, trained so that their attention weights are the softmax's.

    Adam lowers the mean cross-entropy -sum_j p_ij log w_ij of the feature weights w to the softmax
    weights p, on random batches of tokens multiplied by the root of a random scale, so that one map
    serves all scales of a range. The start is ``draw_features(m, d, rng)``.

    Parameters
    ----------
    tokens : shape (n, d), queries and keys alike
    m : features, >= 1
    rng : Generator or seed
    steps : Adam steps, >= 0
    batch : tokens a step, 2 to n
    scales : least and greatest scale of the scores
    step : Adam's first step; it falls linearly to 0

    Returns
    -------
    FeatureMap, and the losses (steps,), above the entropy of p

    Raises
    ------
    ValueError : numbers out of range.

    Cost: O(steps batch (batch + d) m). Source: the softmax-mimicking loss of Zhang et al. 2024
    (arXiv:2402.04347), with the positive features of Choromanski et al. 2021.
    """
    tokens = as_matrix("tokens", tokens, min_rows=2)
    steps = integer("steps", steps, low=0)
    batch = integer("batch", batch, low=2, high=len(tokens))
    if np.shape(scales) != (2,):
        raise ValueError(f"scales must be two numbers, the least and the greatest, got {scales}")
    low, high = (positive(f"scales[{i}]", scale) for i, scale in enumerate(scales))
    if low > high:
        raise ValueError(f"scales must ascend, got {scales}")
    rng = as_rng(rng)
    features = draw_features(m, tokens.shape[1], rng)
    adam, losses = Adam(features, positive("step", step)), np.empty(steps)
    for t in range(steps):
        scale = math.exp(rng.uniform(math.log(low), math.log(high)))
        x = math.sqrt(scale) * tokens[rng.choice(len(tokens), batch, replace=False)]
        target = _softmax(x @ x.T)
        losses[t], slopes = _mimic(features, x, target)
        adam.step = step * (1.0 - t / steps)
        adam.update(slopes)
    return features, losses


def _mimic(features, x, target):
    """Return the cross-entropy of feature weights to the target, less its entropy; and slopes."""
    phi_q, phi_k = _both_features(features, x, x)
    products = phi_q @ phi_k.T
    totals = products.sum(axis=1, keepdims=True)
    entropies = target * np.log(np.where(target > 0.0, target, 1.0))
    loss = np.mean(np.sum(entropies + target * np.log(totals / products), axis=1))
    up = (1.0 / totals - target / products) / len(x)  # d loss / d products
    # phi = exp(w.x + b + ...), so that d phi / d w = phi x; the shifts of the exponents cancel.
    slopes_q, slopes_k = (up @ phi_k) * phi_q, (up.T @ phi_q) * phi_k
    both = slopes_q + slopes_k
    return loss, FeatureMap(both.T @ x, both.sum(axis=0))


def _both_features(features, queries, keys):
    """Return features of queries and keys up to factors that cancel when rows are divided."""
    frequencies = as_matrix("frequencies", features.frequencies)
    offsets = as_vector("offsets", features.offsets, length=len(frequencies))
    queries = as_matrix("queries", queries, columns=frequencies.shape[1])
    keys = as_matrix("keys", keys, columns=frequencies.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        exponents_q = queries @ frequencies.T + offsets
        exponents_k = keys @ frequencies.T + offsets - 0.5 * np.sum(keys * keys, 1)[:, None]
    if not (np.isfinite(exponents_q).all() and np.isfinite(exponents_k).all()):
        raise ValueError("queries, keys and frequencies must keep all exponents finite")
    exponents_q -= exponents_q.max(axis=1, keepdims=True)
    exponents_k -= exponents_k.max()
    # No feature vanishes altogether: a query whose only large feature no key shares sees all keys.
    return np.exp(np.maximum(exponents_q, -300.0)), np.exp(np.maximum(exponents_k, -300.0))


def _softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


# ------------------------------------------------------------------------------------------------
# 2. Networks on sets
# ------------------------------------------------------------------------------------------------

ENCODERS, POOLS = ("rows", "isab", "sab"), ("attention", "mean", "sum", "max")


class Block(NamedTuple):
    """Weights of one MAB: query, key, value, out, row (d, d) and bias (d,)."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    out: np.ndarray
    row: np.ndarray
    bias: np.ndarray


def draw_block(d: int, rng) -> Block:
    """Return a block with normal weights of variance 1/d and no bias. Cost: O(d^2)."""
    d, rng = integer("d", d, low=1), as_rng(rng)
    return Block(*(rng.standard_normal((5, d, d)) / math.sqrt(d)), np.zeros(d))


def mab(block: Block, x, y, heads: int = 2) -> np.ndarray:
    """Return the multihead attention block: rows of x look at rows of y.

    MAB(x, y) = H + relu(H W + b),  H = x + [softmax(Q_1 K_1'/sqrt(d)) V_1, ...] W_out, with
    Q = x W_q, K = y W_k, V = y W_v cut into heads by columns. (The paper's layer normalisation is
    left out; at this size nets train without it.)

    Paper: set-transformer (Lee et al. 2019, arXiv:1810.00825)

    Parameters: block; x (..., n, d), y (..., m, d); heads, which divides d. Returns (..., n, d).
    Raises ValueError for shapes that do not fit. Cost: O(n m d + (n + m) d^2).
    """
    x, y, heads = _as_sets(block, x, y, heads)
    if max(x.ndim, y.ndim) > 2:  # many sets: small ones, stacked
        return mab_pullback(block, x, y, heads)[0]
    projected = x @ block.query, y @ block.key, y @ block.value
    parts = zip(*(np.split(rows, heads, axis=1) for rows in projected), strict=True)
    scale = 1.0 / math.sqrt(x.shape[1])
    seen = np.hstack([softmax_attention(q, k, v, scale=scale) for q, k, v in parts])
    middle = x + seen @ block.out
    return middle + np.maximum(middle @ block.row + block.bias, 0.0)


def sab(block: Block, x, heads: int = 2) -> np.ndarray:
    """Return SAB(x) = MAB(x, x): every element looks at every other. Cost: O(n^2 d)."""
    return mab(block, x, x, heads)


def isab(gather: Block, spread: Block, inducing, x, heads: int = 2) -> np.ndarray:
    """Return ISAB(x) = MAB(x, MAB(I, x)): elements meet in m inducing points I (m, d).

    Paper: set-transformer (Lee et al. 2019, arXiv:1810.00825). Cost: O(n m d).
    """
    return mab(spread, x, mab(gather, inducing, x, heads), heads)


def pma(block: Block, seeds, x, heads: int = 2) -> np.ndarray:
    """Return PMA(x) = MAB(S, x): the seeds S (k, d) look at the set and become k outputs.

    Paper: set-transformer (Lee et al. 2019, arXiv:1810.00825). Cost: O(n k d).
    """
    return mab(block, seeds, x, heads)


def mab_pullback(block: Block, x, y, heads: int = 2):
    """Return (MAB(x, y), its weights (..., heads, n, m), and the map from slopes to slopes).

    The map takes d loss / d out and returns (slopes of the block, of x, of y).

    Parameters and cost: as for ``mab``.
    """
    x, y, heads = _as_sets(block, x, y, heads)
    q, k, v = (_cut(rows, heads) for rows in (x @ block.query, y @ block.key, y @ block.value))
    scale = 1.0 / math.sqrt(x.shape[-1])
    weights = _softmax(scale * q @ _turned(k))
    seen = _joined(weights @ v)
    middle = x + seen @ block.out
    inner = np.maximum(middle @ block.row + block.bias, 0.0)

    def pullback(up):
        up_inner = up * (inner > 0.0)
        up_middle = up + up_inner @ block.row.T
        up_seen = _cut(up_middle @ block.out.T, heads)
        up_weights = up_seen @ _turned(v)
        up_scores = weights * (up_weights - np.sum(weights * up_weights, -1, keepdims=True))
        up_q, up_k = _joined(up_scores @ k) * scale, _joined(_turned(up_scores) @ q) * scale
        up_v = _joined(_turned(weights) @ up_seen)
        slopes = Block(
            *map(_outer, (x, y, y, seen, middle), (up_q, up_k, up_v, up_middle, up_inner)),
            up_inner.reshape(-1, up.shape[-1]).sum(axis=0),
        )
        up_x = up_middle + up_q @ block.query.T
        return slopes, up_x, up_k @ block.key.T + up_v @ block.value.T

    return middle + inner, weights, pullback


def _as_sets(block, x, y, heads):
    d = len(block.bias)
    for name, part in zip(Block._fields, block, strict=True):
        wanted = (d,) if name == "bias" else (d, d)
        if np.shape(part) != wanted:
            raise ValueError(f"block.{name} must have shape {wanted}, got {np.shape(part)}")
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    for name, rows in (("x", x), ("y", y)):
        if rows.ndim < 2 or rows.shape[-1] != d or rows.shape[-2] == 0:
            raise ValueError(f"{name} must have shape (..., n >= 1, {d}), got {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} must be finite")
    heads = integer("heads", heads, low=1)
    if d % heads:
        raise ValueError(f"heads must divide the {d} columns, got {heads}")
    try:
        shape = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise ValueError(
            f"x and y must have leading axes that fit, got shapes {x.shape} and {y.shape}"
        ) from None
    if x.shape[:-2] != shape:
        x = np.broadcast_to(x, shape + x.shape[-2:])
    return x, y, heads


def _cut(rows, heads):
    """(..., n, d) -> (..., heads, n, d / heads)."""
    return np.swapaxes(rows.reshape(*rows.shape[:-1], heads, -1), -2, -3)


def _joined(parts):
    """(..., heads, n, d / heads) -> (..., n, d)."""
    rows = np.swapaxes(parts, -2, -3)
    return rows.reshape(*rows.shape[:-2], -1)


def _turned(matrix):
    return np.swapaxes(matrix, -1, -2)


def _outer(rows, slopes):
    """Return sum over all leading axes of rows' slopes: the slopes of a weight matrix."""
    return rows.reshape(-1, rows.shape[-1]).T @ slopes.reshape(-1, slopes.shape[-1])


class SetNetwork:
    """A network from sets of numbers to one number: embed, encode, pool, read out.

    x (..., n, 1) -> E = relu(x a + b) (..., n, d) -> two encoding blocks -> pool -> linear.
    Encoders: "rows" changes each element by itself (layers H + relu(H W + b)), "isab" lets them
    meet in m inducing points, "sab" with one another. Pools: "attention" (PMA with one seed), or
    "mean", "sum" (over 10), "max", each followed by five layers H + relu(H W + b), which have as
    many weights as a PMA (1,360 against 1,328 for d = 16).

    Paper: set-transformer (Lee et al. 2019, arXiv:1810.00825)

    Parameters: encoder, one of ``ENCODERS``; pool, one of ``POOLS``; rng; d, heads, inducing (m).
    Raises ValueError for other values.
    """

    def __init__(self, encoder="rows", pool="attention", rng=0, d=16, heads=2, inducing=4):
        self.encoder = one_of("encoder", encoder, ENCODERS)
        self.pool = one_of("pool", pool, POOLS)
        rng, d = as_rng(rng), integer("d", d, low=1)
        self.heads, m = integer("heads", heads, low=1), integer("inducing", inducing, low=1)
        if d % heads:
            raise ValueError(f"heads must divide d = {d}, got {heads}")

        def row_layer():
            return rng.standard_normal((d, d)) / math.sqrt(d), np.zeros(d)

        def encoding_layer():
            if self.encoder == "rows":
                return row_layer()
            if self.encoder == "sab":
                return (draw_block(d, rng),)
            return rng.standard_normal((m, d)), draw_block(d, rng), draw_block(d, rng)

        embed = rng.standard_normal((1, d)), 0.5 * rng.standard_normal(d)
        layers = [encoding_layer() for _ in range(2)]
        if self.pool == "attention":
            pooling = [rng.standard_normal((1, d)), draw_block(d, rng)]
        else:
            pooling = [row_layer() for _ in range(5)]
        read = rng.standard_normal((d, 1)) / math.sqrt(d), np.zeros(1)
        parameters = [embed, layers, pooling, read]
        # All weights are views of one vector, so that an update is one line for all of them.
        self.vector = np.concatenate([array.ravel() for array in _arrays(parameters)])
        self.embed, self.layers, self.pooling, self.read = _views(parameters, self.vector)

    def predict(self, sets) -> np.ndarray:
        """Return one number a set: sets (..., n, 1) -> (...,)."""
        return self.pullback(sets)[0]

    def attention(self, sets) -> np.ndarray:
        """Return the pooling weights (..., heads, n) that an attention pool gives the elements."""
        if self.pool != "attention":
            raise ValueError(f"the network must pool by attention, it pools by {self.pool}")
        return self.pullback(sets)[1]

    def pullback(self, sets):
        """Return predictions, pooling weights or None, and the map from their slopes (...,) to
        those of all weights, in the order of ``vector``."""
        x = np.asarray(sets, dtype=np.float64)
        if x.ndim < 2 or x.shape[-1] != 1 or 0 in x.shape or not np.isfinite(x).all():
            raise ValueError(f"sets must be finite, of shape (..., n >= 1, 1), got {x.shape}")
        at = hidden = np.maximum(x @ self.embed[0] + self.embed[1], 0.0)
        steps = []
        for layer in self.layers:
            at, step = self._encode(layer, at)
            steps.append(step)
        pooled, weights, unpool = self._pool(at)
        predictions = (pooled @ self.read[0] + self.read[1])[..., 0]

        def slopes(up):
            up = np.asarray(up, dtype=np.float64)[..., None]
            read = _outer(pooled, up), up.reshape(-1, 1).sum(axis=0)
            pooling, back = unpool(up @ self.read[0].T)
            layers = []
            for step in reversed(steps):
                layer, back = step(back)
                layers.insert(0, layer)
            back = back * (hidden > 0.0)
            embed = _outer(x, back), back.reshape(-1, back.shape[-1]).sum(axis=0)
            tree = [embed, layers, pooling, read]
            return np.concatenate([array.ravel() for array in _arrays(tree)])

        return predictions, weights, slopes

    def _encode(self, layer, x):
        if self.encoder == "rows":
            return _row_layer(layer, x)
        if self.encoder == "sab":
            out, _, through = mab_pullback(layer[0], x, x, self.heads)

            def back(up):
                slopes, up_x, up_y = through(up)
                return (slopes,), up_x + up_y

            return out, back
        points, gather, spread = layer
        middle, _, gathering = mab_pullback(gather, points, x, self.heads)
        out, _, spreading = mab_pullback(spread, x, middle, self.heads)

        def back(up):
            slopes_spread, up_x, up_middle = spreading(up)
            slopes_gather, up_points, up_set = gathering(up_middle)
            up_points = up_points.reshape(-1, *points.shape).sum(axis=0)
            return (up_points, slopes_gather, slopes_spread), up_x + up_set

        return out, back

    def _pool(self, x):
        if self.pool == "attention":
            seeds, block = self.pooling
            out, weights, through = mab_pullback(block, seeds, x, self.heads)

            def back(up):
                slopes, up_seeds, up_x = through(up[..., None, :])
                return [up_seeds.reshape(-1, *seeds.shape).sum(axis=0), slopes], up_x

            return out[..., 0, :], weights[..., 0, :], back
        if self.pool == "max":
            at = x.max(axis=-2)
            winners = x == at[..., None, :]
            shares = winners / winners.sum(axis=-2, keepdims=True)
        else:
            shares = np.full((x.shape[-2], 1), 0.1 if self.pool == "sum" else 1.0 / x.shape[-2])
            at = np.sum(shares * x, axis=-2)
        steps = []
        for layer in self.pooling:
            at, step = _row_layer(layer, at)
            steps.append(step)

        def back_through(up):
            slopes = []
            for step in reversed(steps):
                layer, up = step(up)
                slopes.insert(0, layer)
            return slopes, shares * up[..., None, :]

        return at, None, back_through


def _row_layer(layer, x):
    """Return H + relu(H W + b), and the map from its slopes to those of (W, b) and of H."""
    inner = np.maximum(x @ layer[0] + layer[1], 0.0)

    def back(up):
        cut = up * (inner > 0.0)
        slopes = _outer(x, cut), cut.reshape(-1, cut.shape[-1]).sum(axis=0)
        return slopes, up + cut @ layer[0].T

    return x + inner, back


def _arrays(tree) -> Iterator[np.ndarray]:
    """Yield the arrays of nested lists and tuples, in order."""
    if isinstance(tree, np.ndarray):
        yield tree
    else:
        for branch in tree:
            yield from _arrays(branch)


def _views(tree, vector):
    """Return the tree with each array replaced by the next part of a vector."""
    place = 0

    def view(branch):
        nonlocal place
        if isinstance(branch, np.ndarray):
            first, place = place, place + branch.size
            return vector[first:place].reshape(branch.shape)
        return Block(*map(view, branch)) if isinstance(branch, Block) else [view(b) for b in branch]

    return view(tree)


def train_on_maximum(
    network: SetNetwork, rng, steps: int = 1000, largest_set: int = 10, batch: int = 64,
    step: float = 1e-2,
) -> Iterator[tuple[float, float]]:  # fmt: skip
    """Train a network to say the largest of 1 to 10 numbers; yield (fraction done, loss).

    Each step draws a batch of sets of n uniform numbers, n uniform from 1 to ``largest_set``, and
    takes an Adam step down the mean squared error; its length falls linearly to 0.

    Paper: set-transformer (Lee et al. 2019, arXiv:1810.00825), section 5.1

    Parameters: network, changed in place; rng; steps, largest_set, batch >= 1; step > 0. Raises
    ValueError otherwise. Cost a step: O(batch n (n + d) d).
    """
    rng, steps = as_rng(rng), integer("steps", steps, low=1)
    largest_set, batch = (
        integer("largest_set", largest_set, low=1),
        integer("batch", batch, low=1),
    )
    adam = Adam(network.vector, positive("step", step))
    for t in range(steps):
        sets = rng.random((batch, rng.integers(1, largest_set + 1), 1))
        predictions, _, slopes = network.pullback(sets)
        gap = predictions - sets.max(axis=(1, 2))
        adam.step = step * (1.0 - t / steps)
        adam.update(slopes(2.0 * gap / batch))
        yield (t + 1) / steps, float(gap @ gap) / batch


def maximum_error(network: SetNetwork, rng, sizes=range(1, 11), sets: int = 200) -> float:
    """Return the mean absolute error for the largest of n uniform numbers, averaged over sizes n.

    Parameters: network; rng; sizes >= 1; sets a size. Raises ValueError otherwise.
    Cost: ``sets`` evaluations a size.
    """
    rng, errors, sizes = as_rng(rng), [], np.atleast_1d(np.asarray(sizes)).tolist()
    if not sizes:
        raise ValueError("sizes must hold at least one set size, got none")
    for n in sizes:
        x = rng.random((integer("sets", sets, low=1), integer("sizes", n, low=1), 1))
        errors.append(np.abs(network.predict(x) - x.max(axis=(1, 2))).mean())
    return float(np.mean(errors))


# ------------------------------------------------------------------------------------------------
# 3. Kernels of the position
# ------------------------------------------------------------------------------------------------

FAMILIES = ("none", "power", "log")


def position_bias(family: str, distance, r1: float, r2: float) -> np.ndarray:
    """Return a relative-position bias: power -r1 d^r2, log -r1 log(1 + r2 d), or none, 0.

    Both are conditionally positive definite kernels of positions when d = |m - n|, r1 > 0 and
    0 < r2 (power: r2 <= 2). Power with r2 = 1 is ALiBi.

    Paper: kerple (Chi et al. 2022, arXiv:2205.09921)

    Parameters: family, one of ``FAMILIES``; distance >= 0, any shape; r1 >= 0, r2 > 0. Returns the
    shape of distance. Raises ValueError otherwise. Cost: O(size).
    """
    family = one_of("family", family, FAMILIES)
    distance = np.asarray(distance, dtype=np.float64)
    if distance.size == 0 or not np.isfinite(distance).all() or distance.min() < 0:
        raise ValueError("distance must hold finite numbers >= 0")
    r1, r2 = nonnegative("r1", r1), positive("r2", r2)
    if family == "none":
        return np.zeros_like(distance)
    with np.errstate(over="ignore"):
        bias = -r1 * (distance**r2 if family == "power" else np.log1p(r2 * distance))
    if not np.isfinite(bias).all():
        raise ValueError(f"distance, r1 and r2 must keep the bias finite, got r1 {r1}, r2 {r2}")
    return bias


def position_gram(family: str, n: int, r1: float, r2: float) -> np.ndarray:
    """Return the n x n matrix of biases between positions 0, ..., n - 1. Cost: O(n^2)."""
    n = integer("n", n, low=1)
    fits_in_memory("the n x n matrix", 8 * n * n)
    places = np.arange(n, dtype=float)
    return position_bias(family, np.abs(places[:, None] - places), r1, r2)


def centred_least(matrix) -> float:
    """Return the least of c'K c over unit vectors c with sum 0: >= 0 means K is CPD on its points.

    Paper: kerple (Chi et al. 2022, arXiv:2205.09921), definition 1

    Parameters: matrix, symmetric (n, n), n >= 2. Raises ValueError otherwise. Cost: O(n^3).
    """
    matrix, scale = _scaled(matrix)
    if len(matrix) < 2:
        raise ValueError(f"matrix must have at least 2 rows, got {len(matrix)}")
    _, inner, _ = _about_ones(matrix)
    return scale * float(np.linalg.eigvalsh(inner)[0])


def psd_offset(matrix, rtol: float = 1e-10) -> float:
    """Return the least c >= 0 for which K + c 11' is positive semidefinite; inf if none is.

    In a basis of 1/sqrt(n) and its complement K is [[a, b'], [b, P]]; c adds n c to a. So K must
    have P >= 0 (it is CPD) and b in the range of P, and then c = (b' P^+ b - a)/n.

    Paper: kerple (Chi et al. 2022, arXiv:2205.09921), proposition 1

    Parameters: matrix, symmetric (n, n); rtol, eigenvalues of P below rtol times the largest entry
    of K times n count as 0. Returns a float. Raises ValueError for other input. Cost: O(n^3).

    >>> places = np.arange(5.0)
    >>> round(psd_offset(-abs(places[:, None] - places)), 9)
    2.0
    """
    (matrix, scale), rtol = _scaled(matrix), positive("rtol", rtol)
    a, inner, b = _about_ones(matrix)
    small = rtol * len(matrix)
    if len(inner) == 0:
        return scale * max(-a, 0.0)
    values, vectors = np.linalg.eigh(inner)
    along = vectors.T @ b
    if values[0] < -small or np.abs(along[values <= small]).max(initial=0.0) > small:
        return math.inf
    kept = values > small
    c = (np.sum(along[kept] ** 2 / values[kept]) - a) / len(matrix)
    return scale * float(c) if c > rtol else 0.0


def _scaled(matrix):
    """Return a checked matrix over its largest entry, and that entry."""
    matrix = symmetric("matrix", matrix)
    scale = max(float(np.abs(matrix).max()), 1e-300)
    return matrix / scale, scale


def _about_ones(matrix):
    """Return (a, P, b): the matrix in a basis of 1/sqrt(n) and a reflection of the unit vectors."""
    n = len(matrix)
    u = np.full(n, 1.0 / math.sqrt(n))
    u[0] += 1.0
    mirror = np.eye(n) - 2.0 * np.outer(u, u) / (u @ u)  # Householder: e_1 <-> -1/sqrt(n)
    turned = mirror @ matrix @ mirror
    return turned[0, 0], turned[1:, 1:], turned[1:, 0]


def local_level(n: int, rng, step: float = 0.15, noise: float = 0.5) -> np.ndarray:
    """Return a random walk with normal steps, seen with normal noise: (n,). Cost: O(n).

    Parameters: n >= 1; rng; step and noise >= 0, standard deviations. Raises ValueError otherwise.
    """
    n, rng = integer("n", n, low=1), as_rng(rng)
    walk = np.cumsum(nonnegative("step", step) * rng.standard_normal(n))
    return walk + nonnegative("noise", noise) * rng.standard_normal(n)


class Forecaster(NamedTuple):
    """One attention head that forecasts a series: content width s, and the position bias."""

    family: str
    width: float
    r1: float
    r2: float

    def weights(self, series, length: int) -> np.ndarray:
        """Return the weights on the pasts of all windows of a length: (windows, length - 1)."""
        return _softmax(_past(self, *_windows(series, length)[:2])[0])

    def predict(self, series, length: int) -> np.ndarray:
        """Return the forecast of what follows each window of a length: (windows,).

        The query is the window's last value x_t; keys are the values x_j before it, each with the
        value x_{j+1} that followed it:  w_j ~ exp(-(x_t - x_j)^2 / s + bias(t - j)).

        Paper: kerple (Chi et al. 2022, arXiv:2205.09921)
        """
        gaps, distance, values, _ = _windows(series, length)
        return np.sum(_softmax(_past(self, gaps, distance)[0]) * values, axis=1)

    def error(self, series, length: int) -> float:
        """Return the mean squared error of the forecasts of x_{t+1} from windows of a length."""
        gap = self.predict(series, length) - _windows(series, length)[3]
        return float(np.mean(gap**2))


def fit_forecaster(
    family: str, series, length: int = 32, steps: int = 200, step: float = 0.05
) -> Forecaster:
    """Return the head whose log width, log r1 and log r2 Adam fitted on windows of one length.

    Paper: kerple (Chi et al. 2022, arXiv:2205.09921)

    Parameters
    ----------
    family : one of ``FAMILIES``
    series : shape (n,), n > length
    length : of the windows, >= 2
    steps, step : of Adam; r2 of the power family is kept at 2 or below

    Returns
    -------
    Forecaster

    Raises
    ------
    ValueError : a series too short, other numbers.

    Cost: O(steps n length).
    """
    family, steps = one_of("family", family, FAMILIES), integer("steps", steps, low=0)
    gaps, distance, values, target = _windows(series, length)
    logs = np.log(np.array([1.0 + np.var(target), 0.1, 0.5]))
    adam = Adam(logs, positive("step", step))
    for _ in range(steps):
        head = Forecaster(family, *np.exp(logs))
        scores, by_width, by_r1, by_r2 = _past(head, gaps, distance)
        weights = _softmax(scores)
        forecast = np.sum(weights * values, axis=1)
        up = weights * (values - forecast[:, None])
        up *= (2.0 / len(target)) * (forecast - target)[:, None]  # d error / d scores
        adam.update(np.array([np.sum(up * by_width), np.sum(up * by_r1), np.sum(up * by_r2)]))
        np.clip(logs, -12.0, 12.0, out=logs)
        if family == "power":
            logs[2] = min(logs[2], math.log(2.0))
    return Forecaster(family, *(float(value) for value in np.exp(logs)))


def _windows(series, length):
    """Return gaps x_t - x_j (windows, length - 1), distances t - j, values x_{j+1}, targets."""
    length = integer("length", length, low=2)
    series = as_vector("series", series)
    if len(series) <= length:
        raise ValueError(f"series must hold more than {length} values, got {len(series)}")
    windows = np.lib.stride_tricks.sliding_window_view(series, length)[:-1]
    return (
        windows[:, -1:] - windows[:, :-1],
        np.arange(length - 1, 0, -1.0),
        windows[:, 1:],
        series[length:],
    )


def _past(head, gaps, distance):
    """Return scores, and their derivatives in the logarithms of width, r1 and r2."""
    with np.errstate(over="ignore"):
        content = -(gaps**2) / positive("width", head.width)
    if not np.isfinite(content).all():
        raise ValueError("series and width must keep all scores finite")
    bias = position_bias(head.family, distance, head.r1, head.r2)
    if head.family == "power":
        by_r2 = bias * head.r2 * np.log(distance)
    elif head.family == "log":
        by_r2 = -head.r1 * head.r2 * distance / (1.0 + head.r2 * distance)
    else:
        by_r2 = bias
    return content + bias, -content, bias, by_r2


# ------------------------------------------------------------------------------------------------
# 4. What gradient descent sees of the kernel
# ------------------------------------------------------------------------------------------------

KERNELS = ("softmax", "Gaussian", "Gaussian, normalised")
TRAINED = ("query", "key", "value")


class Layer(NamedTuple):
    """A one-layer attention model: query and key (D, D), value (D,)."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray


def attention_task(
    d: int, rng, sequences: int = 4, tokens: int = 3, spread: float | None = None
) -> tuple[np.ndarray, np.ndarray, Layer]:
    """Return tokens (N, n, D) of norm 1, normal targets (N, n) of deviation 1/2, a first layer.

    All weights are normal with variance 1/D. With a ``spread``, each token is moved along the value
    weights so that its value x W_value is 1 + spread times a normal number, and targets are moved
    by 1: at spread 0 all values are equal, and targets lie around them.

    Parameters: d >= 2; rng; sequences and tokens >= 1; spread >= 0 or None. Raises ValueError
    otherwise. Cost: O(N n D + D^2).
    """
    d, rng = integer("d", d, low=2), as_rng(rng)
    shape = integer("sequences", sequences, low=1), integer("tokens", tokens, low=1)
    x = rng.standard_normal((*shape, d))
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    targets = 0.5 * rng.standard_normal(shape)
    query, key = rng.standard_normal((2, d, d)) / math.sqrt(d)
    value = rng.standard_normal(d) / math.sqrt(d)
    if spread is not None:
        wanted = 1.0 + nonnegative("spread", spread) * rng.standard_normal(shape)
        x += (wanted - x @ value)[..., None] * value / (value @ value)
        targets += 1.0
    return x, targets, Layer(query, key, value)


def layer_loss(kernel: str, x, targets, layer: Layer) -> tuple[float, Layer]:
    """Return the loss of a one-layer attention model, and its slopes in the three weights.

    1/2 sum_i |S_i X_i W_value - y_i|^2, with S_jl = softmax_l(x_j W_query . x_l W_key) or the
    Gaussian exp(-|x_j W_query - x_l W_key|^2 / 2), whose rows do not sum to 1 unless normalised.

    Paper: unraveling-the-gradient-descent-dynamics (Song et al. 2024, arXiv:2411.07538)

    Parameters: kernel, one of ``KERNELS``; x (N, n, D); targets (N, n); layer. Returns the loss and
    a Layer of slopes. Raises ValueError for shapes that do not fit. Cost: O(N n D (n + D)).
    """
    x, targets, weights = _as_task(kernel, x, targets, layer)
    slopes = Layer(*(np.zeros_like(part) for part in weights))
    loss = _layer_slopes(KERNELS.index(kernel), x, targets, *weights, *slopes)
    if not all(np.isfinite(part).all() for part in (loss, *slopes)):
        raise ValueError("x, targets and layer must keep the loss and its slopes finite")
    return loss, slopes


def descend(
    kernel: str, x, targets, layer: Layer, steps: int = 500, step: float = 0.3, train=TRAINED
) -> tuple[Layer, np.ndarray, np.ndarray]:
    """Run gradient descent with a constant step on some of the three weights.

    Paper: unraveling-the-gradient-descent-dynamics (Song et al. 2024, arXiv:2411.07538)

    Parameters
    ----------
    kernel, x, targets, layer : as for ``layer_loss``; the layer is the start, and is kept
    steps : >= 0
    step : > 0
    train : some of "query", "key", "value"

    Returns
    -------
    the last Layer, losses (steps + 1,), and norms (steps + 1,) of the slopes in the query weights.
    A run whose loss leaves 1e12 stops there: the layer is the one it had come to, and the losses
    repeat the last one below.

    Raises
    ------
    ValueError : other names or numbers, shapes that do not fit.

    Cost: O(steps N n D (n + D)).
    """
    x, targets, weights = _as_task(kernel, x, targets, layer)
    steps, step = integer("steps", steps, low=0), positive("step", step)
    for name in train:
        one_of("train", name, TRAINED)
    losses, norms = np.empty(steps + 1), np.empty(steps + 1)
    lengths = np.array([step * (name in train) for name in TRAINED])
    _descend(KERNELS.index(kernel), x, targets, *weights, lengths, losses, norms)
    return weights, losses, norms


def loss_slice(kernel: str, x, targets, layer: Layer, directions, reach) -> np.ndarray:
    """Return the loss where the query weights move along two directions: (len(reach),) squared.

    Entry [i, j] is at W_query + reach_i directions[1] + reach_j directions[0].

    Parameters: as for ``layer_loss``; directions, two (D, D) arrays; reach (g,). Raises ValueError
    for shapes that do not fit. Cost: O(g^2 N n D (n + D)).
    """
    x, targets, weights = _as_task(kernel, x, targets, layer)
    d, reach = len(weights.value), as_vector("reach", reach)
    if len(directions) != 2:
        raise ValueError(f"directions must be two matrices, got {len(directions)}")
    first, second = (as_matrix("directions", part, rows=d, columns=d) for part in directions)
    out = np.empty((len(reach), len(reach)))
    _slice(KERNELS.index(kernel), x, targets, *weights, first, second, reach, out)
    if not np.isfinite(out).all():
        raise ValueError("layer, directions and reach must keep the loss finite")
    return out


def _as_task(kernel, x, targets, layer):
    one_of("kernel", kernel, KERNELS)
    x = np.require(x, np.float64, ["C", "A", "W"])
    if x.ndim != 3 or 0 in x.shape or not np.isfinite(x).all():
        raise ValueError(f"x must be finite, of shape (N, n, D), got shape {x.shape}")
    d = x.shape[2]
    if len(layer) != 3:
        raise ValueError(f"layer must hold query, key and value weights, got {len(layer)} parts")
    targets = as_matrix("targets", targets, rows=x.shape[0], columns=x.shape[1])
    query, key = (as_matrix("layer", part, rows=d, columns=d).copy() for part in layer[:2])
    return x, targets, Layer(query, key, as_vector("layer", layer[2], length=d).copy())


_TASK = "int64, float64[:,:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[::1]"


@compiled(f"float64({_TASK}, float64[:,::1], float64[:,::1], float64[::1])", fastmath={"contract"})
def _layer_slopes(kernel, x, targets, query, key, value, up_query, up_key, up_value):
    """Return the loss; write the slopes. All sizes are small, so that loops beat BLAS calls."""
    gaussian, normalised = kernel > 0, kernel != 1
    sequences, n, d = x.shape
    up_query[:], up_key[:], up_value[:] = 0.0, 0.0, 0.0
    q, k, v = np.empty((n, d)), np.empty((n, d)), np.empty(n)
    up_q, up_k = np.empty((n, d)), np.empty((n, d))
    s, up_s = np.empty((n, n)), np.empty((n, n))
    loss = 0.0
    for i in range(sequences):
        tokens = x[i]
        for j in range(n):
            q[j], k[j], up_q[j], up_k[j] = 0.0, 0.0, 0.0, 0.0
            v[j] = 0.0
            for a in range(d):
                v[j] += tokens[j, a] * value[a]
                for b in range(d):
                    q[j, b] += tokens[j, a] * query[a, b]
                    k[j, b] += tokens[j, a] * key[a, b]
        for j in range(n):
            top = -np.inf
            for m in range(n):
                score = 0.0
                for b in range(d):
                    gap = q[j, b] - k[m, b]
                    score += -0.5 * gap * gap if gaussian else q[j, b] * k[m, b]
                s[j, m] = score
                top = max(top, score)
            total = 0.0
            for m in range(n):
                s[j, m] = math.exp(s[j, m] - top if normalised else s[j, m])
                total += s[j, m]
            out = 0.0
            for m in range(n):
                if normalised:
                    s[j, m] /= total
                out += s[j, m] * v[m]
            gap = out - targets[i, j]
            loss += 0.5 * gap * gap
            for m in range(n):
                # normalised: s (v - out), the row Jacobian diag(s) - s s' times v; otherwise s v
                up_s[j, m] = gap * s[j, m] * (v[m] - out if normalised else v[m])
                for a in range(d):
                    up_value[a] += gap * s[j, m] * tokens[m, a]
        for j in range(n):
            for m in range(n):
                for b in range(d):
                    if gaussian:
                        turn = up_s[j, m] * (k[m, b] - q[j, b])
                        up_q[j, b] += turn
                        up_k[m, b] -= turn
                    else:
                        up_q[j, b] += up_s[j, m] * k[m, b]
                        up_k[m, b] += up_s[j, m] * q[j, b]
        for j in range(n):
            for a in range(d):
                for b in range(d):
                    up_query[a, b] += tokens[j, a] * up_q[j, b]
                    up_key[a, b] += tokens[j, a] * up_k[j, b]
    return loss


@compiled(f"void({_TASK}, float64[::1], float64[::1], float64[::1])", fastmath={"contract"})
def _descend(kernel, x, targets, query, key, value, lengths, losses, norms):
    """Change the weights in place; losses and norms are those before each step, and at the end."""
    up_query, up_key = np.empty_like(query), np.empty_like(key)
    up_value = np.empty_like(value)
    d = value.size
    for t in range(losses.size):
        loss = _layer_slopes(kernel, x, targets, query, key, value, up_query, up_key, up_value)
        square = 0.0
        for a in range(d):
            for b in range(d):
                square += up_query[a, b] * up_query[a, b]
        losses[t], norms[t] = loss, math.sqrt(square)
        if not loss < 1e12:
            last = losses[max(t - 1, 0)]
            losses[t:] = last
            norms[t:] = norms[max(t - 1, 0)]
            return
        if t + 1 < losses.size:
            for a in range(d):
                value[a] -= lengths[2] * up_value[a]
                for b in range(d):
                    query[a, b] -= lengths[0] * up_query[a, b]
                    key[a, b] -= lengths[1] * up_key[a, b]


@compiled(
    f"void({_TASK}, float64[:,::1], float64[:,::1], float64[::1], float64[:,::1])",
    fastmath={"contract"},
)
def _slice(kernel, x, targets, query, key, value, first, second, reach, out):
    up_query, up_key = np.empty_like(query), np.empty_like(key)
    up_value, moved = np.empty_like(value), np.empty_like(query)
    d = value.size
    for i in range(reach.size):
        for j in range(reach.size):
            for a in range(d):
                for b in range(d):
                    moved[a, b] = query[a, b] + reach[j] * first[a, b] + reach[i] * second[a, b]
            out[i, j] = _layer_slopes(
                kernel, x, targets, moved, key, value, up_query, up_key, up_value
            )


# ------------------------------------------------------------------------------------------------
# 5. Weights from a feature's own value
# ------------------------------------------------------------------------------------------------


def adaptive_weights(x, offsets, scales) -> np.ndarray:
    """Return Gaussian adaptive attention weights of features, from their own standardised values.

    Each head takes an equal part of the columns. In it, with mean mu and variance v of a row,
    z_g = (x - (mu + delta_g)) / sqrt(v + 1e-8) and w ~ prod_g exp(-z_g^2 / (2 c_g^2)), divided by
    the row's sum. (The factors 1/sqrt(2 pi c^2) of the densities cancel.)

    Paper: gaussian-adaptive-attention-is-all-you-need (Ioannides et al. 2024, arXiv:2401.11143)

    Parameters
    ----------
    x : shape (T, F)
    offsets : delta, shape (H, G), in units of x; H divides F
    scales : c, shape (H, G), not 0; the sign is of no consequence

    Returns
    -------
    shape (T, F); each head's part of a row sums to 1

    Raises
    ------
    ValueError : shapes that do not fit, a scale of 0.

    Cost: O(T F G).
    """
    x = as_matrix("x", x)
    offsets = as_matrix("offsets", offsets)
    heads, count = offsets.shape
    scales = as_matrix("scales", scales, rows=heads, columns=count)
    if x.shape[1] % heads:
        raise ValueError(
            f"offsets must have heads (rows) that divide the {x.shape[1]} columns of x, got {heads}"
        )
    _check_scales(scales)
    if max(np.abs(x).max(), np.abs(offsets).max()) > 1e100:
        raise ValueError("x and offsets must not exceed 1e100")
    return _adaptive(x, offsets, scales).reshape(x.shape)


def _check_scales(scales):
    sizes = np.abs(scales)
    if sizes.min() < 1e-150 or sizes.max() > 1e100:
        raise ValueError(
            "scales must lie between 1e-150 and 1e100 in size, and not be 0, got sizes from "
            f"{sizes.min():.3g} to {sizes.max():.3g}"
        )


def _adaptive(x, offsets, scales):
    """Return the weights (T, H, F / H)."""
    z, spread = _standardised(x, len(offsets))
    exponents = 0.0
    for delta, c in zip(offsets.T, scales.T, strict=True):
        gap = np.clip((z - delta[:, None] / spread) / c[:, None], -1e50, 1e50)
        exponents = exponents - 0.5 * gap * gap
    return _softmax(exponents)


def _standardised(x, heads):
    parts = x.reshape(len(x), heads, -1)
    spread = np.sqrt(parts.var(axis=2, keepdims=True) + 1e-8)
    return (parts - parts.mean(axis=2, keepdims=True)) / spread, spread


def one_gaussian(offsets, scales) -> tuple[np.ndarray, np.ndarray]:
    """Return the one Gaussian (offset (H,), scale (H,)) that a head's product of Gaussians equals.

    1/c^2 = sum_g 1/c_g^2 and delta = c^2 sum_g delta_g / c_g^2: a product of Gaussians is narrower
    than each, and still has one peak.

    Parameters: offsets, scales (H, G), scales not 0. Raises ValueError otherwise. Cost: O(H G).
    """
    offsets = as_matrix("offsets", offsets)
    scales = as_matrix("scales", scales, rows=len(offsets), columns=offsets.shape[1])
    _check_scales(scales)
    rates = scales**-2.0
    total = rates.sum(axis=1)
    return np.sum(offsets * rates, axis=1) / total, total**-0.5


def importance(x, offsets, scales) -> np.ndarray:
    """Return the importance factor of each feature: its mean weight, scaled to [0, 1].

    Paper: gaussian-adaptive-attention-is-all-you-need (Ioannides et al. 2024, arXiv:2401.11143)

    Parameters: as for ``adaptive_weights``. Returns (F,); zeros if all means are equal.
    """
    means = adaptive_weights(x, offsets, scales).mean(axis=0)
    span = means.max() - means.min()
    return (means - means.min()) / span if span > 0 else np.zeros_like(means)


def ranking_auc(scores, chosen) -> float:
    """Return the chance that a chosen feature has a higher score than another; ties count half.

    Parameters: scores (n,); chosen, booleans (n,), some but not all true. Raises ValueError
    otherwise. Cost: O(n^2).
    """
    scores = as_vector("scores", scores)
    chosen = np.asarray(chosen)
    if chosen.dtype != np.bool_ or chosen.shape != scores.shape or chosen.all() or not chosen.any():
        raise ValueError("chosen must hold booleans, one a score, some but not all true")
    gap = scores[chosen][:, None] - scores[~chosen]
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))


class Frames(NamedTuple):
    """Labelled frames: x (T, F), labels (T,) integers, band (F,) booleans, the informative part."""

    x: np.ndarray
    labels: np.ndarray
    band: np.ndarray


def band_frames(
    n: int, rng, lift: float = 3.0, signal: float = 1.0, wander: bool = False
) -> Frames:
    """Return spectrum-like frames of 32 features, 6 of which are raised and tell two classes apart.

    All features are normal; those of the band (12 to 17) are raised by ``lift`` standard deviations
    and carry +-signal in a fixed pattern of signs, by class. With ``wander`` each frame's band
    stands at a place of its own (round a circle): then no feature is special.

    Parameters: n >= 2; rng; lift, signal finite; wander. Raises ValueError otherwise.
    Cost: O(n).
    """
    n, rng = integer("n", n, low=2), as_rng(rng)
    lift = between("lift", lift, -1e3, 1e3)
    signal = between("signal", signal, -1e3, 1e3)
    x = rng.standard_normal((n, 32))
    labels = rng.integers(0, 2, n)
    pattern = np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    raised = lift + signal * np.where(labels == 1, 1.0, -1.0)[:, None] * pattern
    starts = rng.integers(0, 32, n) if wander else np.full(n, 12)
    columns = (starts[:, None] + np.arange(6)) % 32
    np.put_along_axis(x, columns, np.take_along_axis(x, columns, axis=1) + raised, axis=1)
    band = np.zeros(32, dtype=bool)
    band[12:18] = True
    return Frames(x, labels.astype(np.int64), band)


class Head(NamedTuple):
    """A linear classifier, perhaps behind an adaptive layer: weights (F, classes), bias, layer."""

    weights: np.ndarray
    bias: np.ndarray
    offsets: np.ndarray | None
    scales: np.ndarray | None
    residual: bool

    def features(self, x) -> np.ndarray:
        """Return what the linear part sees: x, or x times F/H times the weights (plus x)."""
        x = as_matrix("x", x, columns=len(self.weights))
        if self.offsets is None:
            return x
        weights = adaptive_weights(x, self.offsets, self.scales)
        return x * (weights * (x.shape[1] / len(self.offsets)) + float(self.residual))

    def accuracy(self, x, labels) -> float:
        """Return the share of rows whose largest logit is that of their label."""
        logits = self.features(x) @ self.weights + self.bias
        if np.shape(labels) != (len(logits),):
            raise ValueError(f"labels must be {len(logits)} integers, got {np.shape(labels)}")
        return float(np.mean(logits.argmax(axis=1) == np.asarray(labels)))


def train_head(
    x, labels, rng, attention: bool = True, residual: bool = False, heads: int = 1,
    gaussians: int = 3, steps: int = 300, step: float = 0.03,
) -> Head:  # fmt: skip
    """Train a softmax regression by Adam, behind a Gaussian adaptive layer or on x itself.

    The layer starts at delta = 0 and c from N(0, 1), as in the released package; c is kept at 0.05
    or more in size, where a weight is one feature's already.

    Paper: gaussian-adaptive-attention-is-all-you-need (Ioannides et al. 2024, arXiv:2401.11143)

    Parameters
    ----------
    x : shape (n, F)
    labels : integers from 0, shape (n,)
    rng : Generator or seed
    attention : with the layer
    residual : the layer returns x + x w rather than x w
    heads, gaussians : H, which divides F, and G
    steps, step : of Adam, on all rows at once; the step falls linearly to 0

    Returns
    -------
    Head

    Raises
    ------
    ValueError : shapes that do not fit, other labels.

    Cost: O(steps n F (G + classes)).
    """
    x, rng = as_matrix("x", x), as_rng(rng)
    labels = np.asarray(labels)
    if labels.shape != (len(x),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(f"labels must be {len(x)} integers from 0, got shape {labels.shape}")
    heads, gaussians = integer("heads", heads, low=1), integer("gaussians", gaussians, low=1)
    if labels.max() >= 10 * len(labels) + 10:
        raise ValueError(f"labels must number the classes from 0, got {labels.max()}")
    if np.abs(x).max() > 1e100:
        raise ValueError("x must not exceed 1e100")
    (n, width), classes = x.shape, int(labels.max()) + 1
    if width % heads:
        raise ValueError(f"heads must divide the {width} columns of x, got {heads}")
    steps, step = integer("steps", steps, low=1), positive("step", step)
    weights, bias = np.zeros((width, classes)), np.zeros(classes)
    offsets, scales = np.zeros((heads, gaussians)), rng.standard_normal((heads, gaussians))
    scales = np.where(np.abs(scales) < 0.05, 0.05, scales)
    wanted = np.eye(classes)[labels]
    adam = Adam([weights, bias, offsets, scales] if attention else [weights, bias], step)
    part = width // heads
    z, spread = _standardised(x, heads)
    for t in range(steps):
        if attention:
            w = _adaptive(x, offsets, scales)
            seen = x * (w.reshape(n, width) * part + float(residual))
        else:
            seen = x
        up = (_softmax(seen @ weights + bias) - wanted) / n
        slopes = [seen.T @ up, up.sum(axis=0)]
        if attention:
            up_w = ((up @ weights.T) * x * part).reshape(n, heads, part)
            up_scores = w * (up_w - np.sum(w * up_w, axis=2, keepdims=True))
            slopes += _layer_gradients(up_scores, z, spread, offsets, scales)
        adam.step = step * (1.0 - t / steps)
        adam.update(slopes)
        if attention:
            scales[:] = np.where(np.abs(scales) < 0.05, np.copysign(0.05, scales), scales)
    return Head(weights, bias, *((offsets, scales) if attention else (None, None)), bool(residual))


def _layer_gradients(up_scores, z, spread, offsets, scales):
    """Return slopes in offsets and scales, from those in the exponents -(z - delta/s)^2/(2 c^2).

    The exponents are quadratic in z, so that three sums a head serve all its Gaussians; constants
    along a row have no slope, as the rows of ``up_scores`` sum to 0.
    """
    by_square = np.einsum("thf,thf->h", up_scores, z * z)
    by_ratio = np.einsum("thf,thf->h", up_scores, z / spread)
    # exponent: -(z^2 - 2 z delta/s) / (2 c^2) + constant of the row
    up_offsets = by_ratio[:, None] / scales**2
    up_scales = (by_square[:, None] - 2.0 * offsets * by_ratio[:, None]) / scales**3
    return [up_offsets, up_scales]
