"""Plain references for the compiled functions of the cloud metrics lab, to be checked by eye."""

import itertools
import math

import numpy as np


def neighbour_distances(x, k):
    """Distances to the k nearest others, by sorting all of them."""
    found = []
    for i, point in enumerate(x):
        others = np.delete(x, i, axis=0)
        found.append(np.sort(np.linalg.norm(others - point, axis=1))[:k])
    return np.array(found)


def inside(points, centres, radii):
    """One comparison after the other."""
    return np.array(
        [
            any(
                np.linalg.norm(point - c) <= r * (1 + 1e-14)
                for c, r in zip(centres, radii, strict=True)
            )
            for point in points
        ]
    )


def precision_recall(real, generated, k):
    """The definition, written out."""
    balls = neighbour_distances(real, k)[:, -1], neighbour_distances(generated, k)[:, -1]
    return inside(generated, real, balls[0]).mean(), inside(real, generated, balls[1]).mean()


def realism(points, real, k, prune):
    """max_r radius / distance, over the smaller half of the balls when ``prune``."""
    radii = neighbour_distances(real, k)[:, -1]
    kept = radii <= np.median(radii) if prune else np.ones(len(real), dtype=bool)
    scores = []
    for point in points:
        gaps = np.linalg.norm(real - point, axis=1)
        with np.errstate(divide="ignore"):
            scores.append((radii[kept] / gaps[kept]).max())
    return np.array(scores)


def spectral_moment(x, y, p):
    """The mean over all ascending cycles of 2p distinct samples."""
    total = 0.0
    for cycle in itertools.combinations(range(len(x)), 2 * p):
        product = 1.0
        for step in range(p):
            a, b, c = cycle[2 * step], cycle[2 * step + 1], cycle[(2 * step + 2) % (2 * p)]
            product *= (y[a] @ y[b]) * (x[b] @ x[c])
        total += product
    return total / math.comb(len(x), 2 * p)


def suffix_product(a, v):
    """triu(a a^T, 1) v."""
    return np.triu(a @ a.T, 1) @ v
