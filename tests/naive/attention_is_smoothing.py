"""Plain references for the smoothing lab, by loops over tokens."""

import math

import numpy as np


def smoothing_weights(rule, queries, keys, bandwidth, bias):
    """Return the weights of a rule, entry by entry."""
    mean, spread = keys.mean(axis=0), keys.std(axis=0)
    weights = np.empty((len(queries), len(keys)))
    for i, q in enumerate(queries):
        for j, k in enumerate(keys):
            if rule == "dot product":
                score = q @ k
            elif rule == "own value":
                score = -0.5 * np.sum(((k - mean) / spread) ** 2)
            else:
                score = -0.5 * np.sum((q - k) ** 2)
            weights[i, j] = math.exp(score / bandwidth**2 + bias[i, j])
    if rule == "Gaussian, not normalised":
        return weights
    return weights / weights.sum(axis=1, keepdims=True)


def mab(block, x, y, heads):
    """Return MAB(x, y) for one set, head by head and row by row."""
    d = x.shape[1]
    size, seen = d // heads, np.zeros(x.shape)
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        for i, row in enumerate(x):
            scores = [
                (row @ block.query[:, part]) @ (other @ block.key[:, part]) / math.sqrt(d)
                for other in y
            ]
            weights = np.exp(np.array(scores) - max(scores))
            weights /= weights.sum()
            seen[i, part] = sum(
                w * (other @ block.value[:, part]) for w, other in zip(weights, y, strict=True)
            )
    middle = x + seen @ block.out
    return middle + np.maximum(middle @ block.row + block.bias, 0.0)


def psd_offset(matrix, largest=1e4):
    """Return the least c by bisection on the least eigenvalue of K + c."""
    low, high = 0.0, largest
    for _ in range(80):
        middle = 0.5 * (low + high)
        if np.linalg.eigvalsh(matrix + middle)[0] >= -1e-10 * np.abs(matrix).max():
            high = middle
        else:
            low = middle
    return high


def forecast(series, length, width, bias):
    """Return the forecast after each window, value by value; bias(distance)."""
    found = []
    for t in range(length - 1, len(series) - 1):
        top, bottom = 0.0, 0.0
        for j in range(t - length + 1, t):
            w = math.exp(-((series[t] - series[j]) ** 2) / width + bias(t - j))
            top, bottom = top + w * series[j + 1], bottom + w
        found.append(top / bottom)
    return np.array(found)


def layer_loss(kernel, x, targets, layer):
    """Return the loss of a one-layer attention model."""
    loss = 0.0
    for tokens, target in zip(x, targets, strict=True):
        q, k, v = tokens @ layer.query, tokens @ layer.key, tokens @ layer.value
        for j in range(len(tokens)):
            if kernel == "softmax":
                s = np.exp(k @ q[j])
            else:
                s = np.exp(-0.5 * np.sum((q[j] - k) ** 2, axis=1))
            if kernel != "Gaussian":
                s = s / s.sum()
            loss += 0.5 * (s @ v - target[j]) ** 2
    return loss


def adaptive_weights(x, offsets, scales):
    """Return the product of normal densities of the standardised values, head by head."""
    heads = len(offsets)
    size = x.shape[1] // heads
    out = np.empty_like(x)
    for t, row in enumerate(x):
        for h in range(heads):
            part = row[h * size : (h + 1) * size]
            weights = np.ones(size)
            for delta, c in zip(offsets[h], scales[h], strict=True):
                z = (part - (part.mean() + delta)) / np.sqrt(part.var() + 1e-8)
                weights *= np.exp(-(z**2) / (2 * c**2)) / np.sqrt(2 * np.pi * c**2)
            out[t, h * size : (h + 1) * size] = weights / weights.sum()
    return out
