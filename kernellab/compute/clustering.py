"""Centres of weighted points: the nearest one of each point, and Lloyd's algorithm.

>>> import numpy as np
>>> points, weights = np.array([[0.0], [1.0], [9.0]]), np.array([3.0, 1.0, 1.0])
>>> centres, label, inertia = weighted_kmeans(points, weights, count=2)
>>> np.sort(centres[:, 0]).tolist(), float(inertia[-1])
([0.25, 9.0], 0.75)
"""

import numpy as np

from kernellab.compute.checks import as_matrix, as_rng, as_vector, integer
from kernellab.compute.compiled import compiled

_BLOCK = 512  # points whose least distances so far stay in the nearest cache, for all centres


@compiled("void(float64[:,::1], float64[:,::1], int64[::1], float64[::1])")
def _nearest_centres(axes, centres, label, squared):
    # Points lie along the rows of axes (d, n), so that several are compared in one instruction: the
    # innermost loop runs over points, and its choice is a selection, not a jump.
    d, n = axes.shape
    total = np.empty(_BLOCK)
    for start in range(0, n, _BLOCK):
        stop = min(n, start + _BLOCK)
        who, least = label[start:stop], squared[start:stop]
        x, y = axes[0, start:stop], axes[min(1, d - 1), start:stop]
        z = axes[min(2, d - 1), start:stop]
        who[:] = 0
        least[:] = np.inf
        for i in range(centres.shape[0]):
            if d == 2:
                a, b = centres[i, 0], centres[i, 1]
                for p in range(x.size):
                    gap = (x[p] - a) * (x[p] - a) + (y[p] - b) * (y[p] - b)
                    who[p] = i if gap < least[p] else who[p]
                    least[p] = gap if gap < least[p] else least[p]
            elif d == 3:
                a, b, c = centres[i, 0], centres[i, 1], centres[i, 2]
                for p in range(x.size):
                    gap = (x[p] - a) * (x[p] - a) + (y[p] - b) * (y[p] - b)
                    gap += (z[p] - c) * (z[p] - c)
                    who[p] = i if gap < least[p] else who[p]
                    least[p] = gap if gap < least[p] else least[p]
            else:
                total[:] = 0
                for axis in range(d):
                    along, a = axes[axis, start:stop], centres[i, axis]
                    for p in range(along.size):
                        total[p] += (along[p] - a) * (along[p] - a)
                for p in range(x.size):
                    who[p] = i if total[p] < least[p] else who[p]
                    least[p] = total[p] if total[p] < least[p] else least[p]


def nearest_centres(points, centres):
    """Return the nearest centre of each point, the first of equals, and how far it is.

    Parameters: points (n, d); centres (k, d). Returns label (n,), and the squared distances (n,).
    Raises ValueError for other shapes. Cost O(n k d).
    """
    points = as_matrix("points", points)
    centres = as_matrix("centres", centres, columns=points.shape[1])
    return _assign(np.ascontiguousarray(points.T), centres)


def _assign(axes, centres):
    label, squared = np.empty(axes.shape[1], dtype=np.int64), np.empty(axes.shape[1])
    _nearest_centres(axes, centres, label, squared)
    return label, squared


def weighted_kmeans(points, weights, count: int, rng=0, steps: int = 20):
    """Place centres where the weight is: Lloyd's algorithm on weighted points.

    Repeats: give each point to its nearest centre; move each centre to the weighted mean of its
    points. The inertia sum_p weight_p |x_p - c(p)|^2 never grows. The start is drawn from the
    points in proportion to their weights; a centre left without weight moves to the point that
    costs most.

    Parameters
    ----------
    points : (n, d)
    weights : (n,) >= 0, of which at least ``count`` are positive
    count : how many centres
    rng : seed or Generator; steps : >= 1

    Returns
    -------
    centres (count, d), label (n,) of the nearest centre, inertia (steps + 1,) before each step and
    at the end

    Raises
    ------
    ValueError for other shapes, negative weights, or fewer weighted points than centres.

    Cost O(steps n count d), less once nothing moves any more.
    Source: Lloyd 1982, Least squares quantization in PCM.
    """
    points = as_matrix("points", points)
    weights = as_vector("weights", weights, length=len(points))
    if weights.min() < 0:
        raise ValueError(f"weights must be >= 0, the least is {weights.min():g}")
    count, steps = integer("count", count, low=1), integer("steps", steps, low=1)
    if np.count_nonzero(weights) < count:
        raise ValueError(
            f"count must be at most the {np.count_nonzero(weights)} points with weight, got {count}"
        )
    chances = weights / weights.sum()
    centres = points[as_rng(rng).choice(len(points), count, replace=False, p=chances)].copy()
    axes, inertia = np.ascontiguousarray(points.T), np.empty(steps + 1)
    for step in range(steps):
        label, squared = _assign(axes, centres)
        inertia[step:] = weights @ squared
        moved = _means(axes, weights, label, centres)
        if np.array_equal(moved, centres):
            return centres, label, inertia
        centres = moved
    label, squared = _assign(axes, centres)
    inertia[steps] = weights @ squared
    return centres, label, inertia


def _means(axes, weights, label, centres):
    """Return weighted means of the clusters; those without weight go to the costliest points."""
    mass, moved = np.bincount(label, weights, len(centres)), centres.copy()
    kept = mass > 0
    for axis, along in enumerate(axes):
        sums = np.bincount(label, weights * along, len(centres))
        moved[kept, axis] = sums[kept] / mass[kept]
    if not kept.all():
        costly = np.argsort(-weights * _assign(axes, moved)[1], kind="stable")
        moved[~kept] = axes[:, costly[: np.count_nonzero(~kept)]].T
    return moved
