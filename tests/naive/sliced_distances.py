"""Plain references for the compiled functions of the sliced distances lab, to be checked by eye."""

import math

import numpy as np


def w2_line(a, b, a_masses=None, b_masses=None):
    """W_2^2 on a line: cut (0, 1) wherever either quantile function jumps."""
    a_masses = np.full(len(a), 1 / len(a)) if a_masses is None else np.asarray(a_masses)
    b_masses = np.full(len(b), 1 / len(b)) if b_masses is None else np.asarray(b_masses)
    rank_a, rank_b = np.argsort(a), np.argsort(b)
    ends_a, ends_b = np.cumsum(a_masses[rank_a]), np.cumsum(b_masses[rank_b])
    cuts = np.sort(np.concatenate([[0.0], ends_a, ends_b]))
    total = 0.0
    for low, high in zip(cuts[:-1], cuts[1:], strict=True):
        middle = (low + high) / 2
        i = min(np.searchsorted(ends_a, middle), len(a) - 1)
        j = min(np.searchsorted(ends_b, middle), len(b) - 1)
        total += (high - low) * (a[rank_a[i]] - b[rank_b[j]]) ** 2
    return total


def costs(x, y, directions):
    """W_2^2 of every shadow."""
    return np.array([w2_line(x @ theta, y @ theta) for theta in directions])


def gradient(x, y, directions):
    """Gradient of the mean cost: each point pulled to the mean of the partners of its share."""
    n, m = len(x), len(y)
    total = np.zeros_like(x)
    for theta in directions:
        a, b = x @ theta, y @ theta
        # Repeat every point so that both shadows have n m equally heavy points.
        for rank, i in enumerate(np.argsort(a)):
            partners = np.repeat(np.sort(b), n)[rank * m : (rank + 1) * m]
            total[i] += 2 * (a[i] - partners.mean()) / n * theta
    return total / len(directions)


def pair_energy(points, coulomb):
    """Energy and force, pair by pair."""
    energy, force = 0.0, np.zeros_like(points)
    for i in range(len(points)):
        for j in range(len(points)):
            if i == j:
                continue
            gap = points[i] - points[j]
            r = math.sqrt(gap @ gap)
            energy += 0.5 / r if coulomb else -0.5 * r
            force[i] += gap / r**3 if coulomb else gap / r
    return energy, force
