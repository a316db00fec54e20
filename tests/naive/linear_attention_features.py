"""Plain references for the linear attention lab, to be checked by eye."""

import math

import numpy as np


def smoother(kernel, queries, keys, values):
    """Attention with any kernel of two vectors, pair by pair."""
    out = np.empty((len(queries), values.shape[1]))
    for i, q in enumerate(queries):
        weights = np.array([kernel(q, k) for k in keys])
        out[i] = weights @ values / weights.sum()
    return out


def outer_triangle(x, scale):
    """The upper triangle of scale x x^T, off the diagonal times sqrt(2)."""
    rows = []
    for row in x:
        entries = []
        for i in range(len(row)):
            for j in range(i, len(row)):
                entries.append(scale * row[i] * row[j] * (1.0 if i == j else math.sqrt(2.0)))
        rows.append(entries)
    return np.array(rows)


def cosine_matrix(d):
    """The orthonormal cosine transform, entry by entry."""
    matrix = np.empty((d, d))
    for i in range(d):
        scale = math.sqrt((1.0 if i == 0 else 2.0) / d)
        for j in range(d):
            matrix[i, j] = scale * math.cos(math.pi * i * (2 * j + 1) / (2 * d))
    return matrix


def patches(image, radius, lift):
    """One unit vector a pixel, by loops; the border is mirrored."""
    h, w = image.shape
    side = 2 * radius + 1

    def mirrored(i, n):
        return -i if i < 0 else 2 * (n - 1) - i if i >= n else i

    rows = []
    for i in range(h):
        for j in range(w):
            row = [
                (image[mirrored(i + a, h), mirrored(j + b, w)] - 0.5) / side
                for a in range(-radius, radius + 1)
                for b in range(-radius, radius + 1)
            ]
            row = np.array([*row, lift])
            rows.append(row / math.sqrt(row @ row))
    return np.array(rows)
