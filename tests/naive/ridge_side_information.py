"""The compiled method of the side information lab written out plainly."""

import numpy as np


def robust_self_training(x, y, extra, weight, gamma, steps, step_size):
    """Take the subgradient steps with whole arrays."""
    pull = (y[:, None] * x).mean(axis=0)
    pull = pull / np.linalg.norm(pull)
    theta, path = pull, [pull]
    for t in range(1, steps + 1):
        score = extra @ theta
        near = np.abs(score) < 1 / gamma
        away = gamma * (near * np.where(score >= 0, 1, -1)) @ extra / len(extra)
        gradient = -pull - weight * away
        gradient = gradient - (gradient @ theta) * theta
        theta = theta - step_size / np.sqrt(t) * gradient
        theta = theta / np.linalg.norm(theta)
        path.append(theta)
    return np.array(path)


def robust_surrogate(theta, x, y, gamma):
    """Search the supremum along the ray to the boundary, and beyond it."""
    theta = theta / np.linalg.norm(theta)
    values = []
    for point, label in zip(x, y, strict=True):
        best = -np.inf
        for distance in np.linspace(0, 5, 5_001):
            moved = point - label * distance * theta
            best = max(best, float(label * (moved @ theta) <= 1e-12) - gamma * distance)
        values.append(best)
    return np.array(values)
