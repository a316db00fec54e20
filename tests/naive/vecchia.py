"""Maximin order, nearest predecessors and Vecchia's factors, as their definitions read."""

import numpy as np


def maximin_order(x, first):
    order = [first]
    while len(order) < len(x):
        gaps = [min(np.sum((x[i] - x[j]) ** 2) for j in order) for i in range(len(x))]
        rest = [i for i in range(len(x)) if i not in order]
        order.append(max(rest, key=lambda i: gaps[i]))
    return np.array(order)


def nearest_predecessors(x, m):
    out = np.full((len(x), m), -1)
    for i in range(len(x)):
        near = sorted(range(i), key=lambda j: np.sum((x[i] - x[j]) ** 2))[:m]
        out[i, : len(near)] = near
    return out


def vecchia(gram, neighbours):
    """Return coefficients and conditional variances."""
    coefficients, variances = np.zeros(neighbours.shape), np.empty(len(gram))
    for i, row in enumerate(neighbours):
        s = row[row >= 0]
        b = np.linalg.solve(gram[np.ix_(s, s)], gram[s, i])
        coefficients[i, : len(s)] = b
        variances[i] = gram[i, i] - b @ gram[s, i]
    return coefficients, variances
