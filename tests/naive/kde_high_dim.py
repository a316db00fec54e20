"""Plain references for the high-dimensional smoothing lab, to be checked by eye."""

import math

import numpy as np


def smoothing(squares, bandwidth, d):
    """Density, largest share and effective count of one place, from all its weights."""
    weights = [math.exp(-s / (2 * bandwidth**2)) for s in squares]
    total = sum(weights)
    density = total / (len(weights) * bandwidth**d * (2 * math.pi) ** (d / 2))
    return density, max(weights) / total, total**2 / sum(w**2 for w in weights)


def profile(kind, r, power):
    """The three kernels as functions of the distance in bandwidths."""
    if kind == "gaussian":
        return math.exp(-(r**2) / 2)
    if kind == "logistic":
        return 1 / math.cosh(r / 2) ** 2
    return math.exp(-(r**power))


def map_kernel(r, a, b):
    """k(r) = 1 / (1 + a^2 r^(2 b^2))."""
    return 1 / (1 + a**2 * r ** (2 * b**2))


def map_regression(places, scores, at, level, a, b, leave=False):
    """Nadaraya-Watson, by two loops."""
    out = []
    for i, p in enumerate(at):
        above = below = 0.0
        for j, q in enumerate(places):
            if leave and i == j:
                continue
            k = map_kernel(math.dist(p, q), a, b)
            above, below = above + k * scores[j], below + k
        out.append(level**2 * above / below)
    return np.array(out)


def neighbour_loss(places, affinities):
    """KL(P || Q) with Q over ordered pairs of different points."""
    n = len(places)
    near = {
        (i, j): 1 / (1 + math.dist(places[i], places[j]) ** 2)
        for i in range(n)
        for j in range(n)
        if i != j
    }
    total = sum(near.values())
    return sum(
        affinities[i, j] * math.log(affinities[i, j] / (k / total))
        for (i, j), k in near.items()
        if affinities[i, j] > 0
    )


def regression_loss(places, scores, training, level, a, b):
    """0.3 mean_train (s - m)^2 + mean_rest (s - m)^2, m from the training points."""
    m = map_regression(places[training], scores[training], places, level, a, b)
    gaps = (scores - m) ** 2
    return 0.3 * gaps[training].mean() + gaps[~training].mean()
