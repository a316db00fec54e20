"""Plain references for the attention-on-grids lab, to be checked by eye."""

import math

import numpy as np


def bi_wkv(w, u, keys, values):
    """The two-sided weighted mean, token by token and channel by channel."""
    length, channels = keys.shape
    out = np.empty((length, channels))
    for c in range(channels):
        for t in range(length):
            scores = [
                keys[i, c] + (u / length if i == t else -(abs(t - i) - 1) * w / length)
                for i in range(length)
            ]
            top = max(scores)
            weights = [math.exp(score - top) for score in scores]
            total = math.fsum(weights)
            out[t, c] = math.fsum(a * v for a, v in zip(weights, values[:, c], strict=True)) / total
    return out


def neighbourhood(queries, keys, values, shape, window, dilation, padded):
    """Attention over windows, one pixel after the other; windows shifted, or padded with zeros."""
    height, width = shape
    out = np.empty((len(queries), values.shape[1]))
    for i in range(len(queries)):
        rows = places(i // width, height, window, dilation, padded)
        columns = places(i % width, width, window, dilation, padded)
        scores, seen = [], []
        for a in rows:
            for b in columns:
                inside = a is not None and b is not None
                key = keys[a * width + b] if inside else np.zeros(keys.shape[1])
                scores.append(queries[i] @ key / math.sqrt(keys.shape[1]))
                seen.append(values[a * width + b] if inside else np.zeros(values.shape[1]))
        weights = np.exp(np.array(scores) - max(scores))
        out[i] = weights @ np.array(seen) / weights.sum()
    return out


def places(i, length, window, dilation, padded):
    """What place i sees along an axis; None: a zero outside."""
    if length == 1:
        return [0]
    if padded:
        wanted = [i + dilation * (a - window // 2) for a in range(window)]
        return [a if 0 <= a < length else None for a in wanted]
    group = [j for j in range(length) if j % dilation == i % dilation]
    first = min(max(group.index(i) - window // 2, 0), len(group) - window)
    return group[first : first + window]


def filtered(picture, kernel):
    """A picture correlated with a filter of odd side, zeros outside."""
    half = len(kernel) // 2
    out = np.zeros_like(picture)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            for a in range(len(kernel)):
                for b in range(len(kernel)):
                    row, column = y + a - half, x + b - half
                    if 0 <= row < picture.shape[0] and 0 <= column < picture.shape[1]:
                        out[y, x] += kernel[a, b] * picture[row, column]
    return out


def transform(picture):
    """The centred unitary transform by its definition."""
    side = len(picture)
    k = np.arange(side) - side // 2
    waves = np.exp(-2j * np.pi * np.outer(k, k) / side)
    return waves @ picture @ waves.T / side


RULES = {
    "all pairs": lambda i, j, side, reach, step: True,
    "causal": lambda i, j, side, reach, step: j <= i,
    "window on the line": lambda i, j, side, reach, step: (
        abs(i - j) <= reach * step and (i - j) % step == 0
    ),
    "window on the grid": lambda i, j, side, reach, step: all(
        abs(a - b) <= reach * step and (a - b) % step == 0
        for a, b in zip(divmod(i, side), divmod(j, side), strict=True)
    ),
    "documents": lambda i, j, side, reach, step: (
        i // side // (reach + 1) == j // side // (reach + 1)
    ),
    "prefix": lambda i, j, side, reach, step: j <= i or j < (reach + 1) * side,
}
