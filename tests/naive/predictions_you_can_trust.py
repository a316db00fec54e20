"""Plain references for the trust lab: sums over all pairs, loops over points and pixels."""

import math

import numpy as np


def smoothed_residual(f, y, width, places):
    """r_s(t) with the Gaussian's images at 0 and 1 added one by one."""
    found = np.zeros(len(places))
    for k in range(-6, 7):
        for centre in (f + 2 * k, -f + 2 * k):
            bell = np.exp(-0.5 * ((places[:, None] - centre) / width) ** 2)
            found += bell @ (y - f) / (width * math.sqrt(2 * math.pi) * len(f))
    return found


def best_stump(x, y, least):
    """Best split over all columns and all places: (loss, feature, threshold, below, above)."""
    best = (np.sum((y - y.mean()) ** 2), -1, 0.0, y.mean(), y.mean())
    for j in range(x.shape[1]):
        values = np.unique(x[:, j])
        for threshold in (values[1:] + values[:-1]) / 2:
            below = x[:, j] <= threshold
            if min(below.sum(), (~below).sum()) < least:
                continue
            a, b = y[below].mean(), y[~below].mean()
            loss = np.sum((y[below] - a) ** 2) + np.sum((y[~below] - b) ** 2)
            if loss < best[0] - 1e-9:
                best = (loss, j, threshold, a, b)
    return best


def depth(query, wanted, points, labels, predicted):
    """Walk through the training points from the nearest on."""
    distances = np.sqrt(((points - query) ** 2).sum(axis=1))
    count = 0
    for j in np.argsort(distances, kind="stable"):
        if labels[j] != wanted or predicted[j] != labels[j]:
            break
        count += 1
    return count, distances.min()


def bound_mean(truth, lower, upper, widths, q):
    """Mean of the convex bound, pixel by pixel."""
    total = 0.0
    for i in range(truth.shape[0]):
        for j in range(truth.shape[1]):
            middle = (lower[i, j] + upper[i, j]) / 2
            room = upper[i, j] - lower[i, j] + 2 * widths[j]
            total += max(2 * (1 + q) * abs(truth[i, j] - middle) / room - q, 0.0)
    return total / truth.size


def votes(layers, x, noise, draws, rng):
    """Noise added to the pixels themselves."""
    counts = np.zeros(layers[-1][0].shape[1], dtype=int)
    for _ in range(draws):
        values = x + noise * rng.standard_normal(x.size)
        for weights, biases in layers[:-1]:
            values = np.maximum(values @ weights + biases, 0)
        counts[np.argmax(values @ layers[-1][0] + layers[-1][1])] += 1
    return counts
