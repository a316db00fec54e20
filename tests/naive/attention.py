"""Attention by loops over tokens: slow, and plain to see."""

import math

import numpy as np


def softmax_attention(queries, keys, values, scale, bias=None, seen=None, score_mod=None):
    """Return (out, weights, log sums); ``seen(i, j)`` tells whether query i sees key j."""
    n, m = len(queries), len(keys)
    weights, logs = np.zeros((n, m)), np.full(n, -np.inf)
    for i in range(n):
        scores = {}
        for j in range(m):
            if seen is None or seen(i, j):
                score = scale * math.fsum(queries[i] * keys[j])
                score += 0.0 if bias is None else bias[i, j]
                scores[j] = score if score_mod is None else score_mod(score, i, j)
        if not scores:
            continue
        top = max(scores.values())
        total = math.fsum(math.exp(score - top) for score in scores.values())
        logs[i] = top + math.log(total)
        for j, score in scores.items():
            weights[i, j] = math.exp(score - top) / total
    return weights @ values, weights, logs


def kernel_attention(kernel, queries, keys, values, normalise=True):
    """Return the smoother for a kernel of two points."""
    out = np.zeros((len(queries), values.shape[1]))
    for i, query in enumerate(queries):
        row = np.array([kernel(query, key) for key in keys])
        out[i] = row @ values / (row.sum() if normalise else 1.0)
    return out


def linear_attention(query_features, key_features, values, weights=None, causal=False):
    """Return normalised attention with kernel phi(q).phi(k) and relative weights."""
    n, m = len(query_features), len(key_features)
    out = np.zeros((n, values.shape[1]))
    for i in range(n):
        total = 0.0
        for j in range(i + 1 if causal else m):
            weight = query_features[i] @ key_features[j]
            weight *= 1.0 if weights is None else weights[j - i + n - 1]
            out[i] += weight * values[j]
            total += weight
        out[i] = out[i] / total if total else 0.0
    return out


def window(i, length, size, dilation, causal):
    """Return the tokens that token i sees on a line."""
    group = [j for j in range(length) if j % dilation == i % dilation]
    place = group.index(i)
    if causal:
        return group[max(place - size + 1, 0) : place + 1]
    first = min(max(place - size // 2, 0), len(group) - size)
    return group[first : first + size]


def sees_on_grid(shape, sizes, dilations, causal):
    """Return the rule ``seen(i, j)`` of neighbourhood attention on a grid."""
    height, width = shape

    def seen(i, j):
        (y, x), (to_y, to_x) = divmod(i, width), divmod(j, width)
        rows = window(y, height, sizes[0], dilations[0], causal)
        return to_y in rows and to_x in window(x, width, sizes[1], dilations[1], causal)

    return seen
