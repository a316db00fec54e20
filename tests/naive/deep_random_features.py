"""Plain references for the compiled functions of the deep random features lab."""

import math

import numpy as np


def relu_layer(gram, scale_x, scale_y):
    """E[relu(u) relu(v)] entry by entry, from the angle."""
    out = np.zeros_like(gram)
    for i in range(gram.shape[0]):
        for j in range(gram.shape[1]):
            size = scale_x[i] * scale_y[j]
            c = max(-1.0, min(1.0, gram[i, j] / size)) if size > 0 else 0.0
            t = math.acos(c)
            out[i, j] = size * (math.sin(t) + (math.pi - t) * math.cos(t)) / (2 * math.pi)
    return out


def erf_layer(gram, scale_x, scale_y):
    """E[erf(u) erf(v)] entry by entry."""
    out = np.zeros_like(gram)
    for i in range(gram.shape[0]):
        for j in range(gram.shape[1]):
            out[i, j] = 2 / math.pi * math.asin(2 * gram[i, j] * scale_x[i] * scale_y[j])
    return out


def quadratics(x):
    """Products of two inputs, orthonormal for Gaussian x: one row a point."""
    rows = []
    for point in x:
        row = []
        for i in range(len(point)):
            row.append((point[i] ** 2 - 1) / math.sqrt(2))
            row += [point[i] * point[j] for j in range(i + 1, len(point))]
        rows.append(row)
    return np.array(rows)


def sandwiched(features, residual, head, ridge):
    """All entries of Delta in one linear system: F Delta W = (W^T kron F) vec Delta."""
    p, width = features.shape[1], head.shape[0]
    tall = np.kron(head.T, features)
    system = tall.T @ tall + ridge * len(features) * np.eye(p * width)
    return np.linalg.solve(system, tall.T @ residual.T.ravel()).reshape(width, p).T


def descent(features, y, steps, rate):
    """Gradient steps from zero, one after another."""
    w = np.zeros(features.shape[1])
    rate = min(rate, 1 / np.linalg.eigvalsh(features.T @ features / len(y))[-1])
    for _ in range(steps):
        w = w + rate * features.T @ (y - features @ w) / len(y)
    return w
