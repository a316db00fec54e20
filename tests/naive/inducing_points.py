"""Plain references for the inducing-points lab, to be checked by eye."""

import numpy as np


def local_weights(kernel, inducing, x, neighbours):
    """Solve K_SS a = k_S(x) point by point with dense inverses: (members, weights, logdets)."""
    members, weights, logdets = [], [], []
    for point in x:
        distances = np.sum((inducing - point) ** 2, axis=1)
        nearest = np.argsort(distances, kind="stable")[:neighbours]
        within = kernel.gram(inducing[nearest])
        members.append(nearest)
        weights.append(np.linalg.solve(within, kernel.gram(inducing[nearest], point[None])[:, 0]))
        logdets.append(np.linalg.slogdet(within)[1])
    return np.array(members), np.array(weights), np.array(logdets)


def neighbour_system(members, weights, inverses, y, noise, share, m):
    """The matrix and the right side whose solution is the best mean, point by point."""
    system, right = np.zeros((m, m)), np.zeros(m)
    for nearest, a, inverse, target in zip(members, weights, inverses, y, strict=True):
        system[np.ix_(nearest, nearest)] += np.outer(a, a) / noise + share * inverse
        right[nearest] += a * target / noise
    return system, right


def expected_log_softmax(values, labels, shares):
    """sum_q shares_q log softmax(values_q)[label], and its gradient, by three loops."""
    out, gradient = np.zeros(len(values)), np.zeros_like(values)
    for i, label in enumerate(labels):
        for q, share in enumerate(shares):
            row = values[i, q] - values[i, q].max()
            chances = np.exp(row) / np.exp(row).sum()
            out[i] += share * (row[label] - np.log(np.exp(row).sum()))
            gradient[i, q] = -share * chances
            gradient[i, q, label] += share
    return out, gradient
