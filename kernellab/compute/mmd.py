"""Maximum mean discrepancies and energy distances between two clouds of points.

>>> import math
>>> import numpy as np
>>> from kernellab.compute.kernels import Gaussian
>>> rng = np.random.default_rng(0)
>>> x, y = rng.standard_normal((2000, 2)), rng.standard_normal((2000, 2)) + [1.0, 0.0]
>>> between_laws = 2 / 3 * (1 - math.exp(-1 / 6))
>>> abs(mmd_squared(x, y, Gaussian(bandwidth=1.0)) - between_laws) < 0.02
True
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist

from kernellab.compute import tiles
from kernellab.compute.checks import as_matrix, as_rng, fits_in_memory, integer

__all__ = [
    "PermutationTest",
    "energy_distance",
    "median_bandwidth",
    "mmd_permutation_test",
    "mmd_squared",
]

_MEDIAN_POINTS = 2000  # of the pooled sample are compared by ``median_bandwidth``


class PermutationTest(NamedTuple):
    """A statistic, its values under random relabellings (B,), and the p-value they give."""

    statistic: float
    null: np.ndarray
    p_value: float


def median_bandwidth(x, y=None) -> float:
    """Return the median distance between different points of the pooled clouds.

    Parameters
    ----------
    x : shape (n, d)
    y : shape (m, d) or None

    Returns
    -------
    a positive float. Of more than 2,000 pooled points, 2,000 evenly spaced rows are used.

    Raises
    ------
    ValueError : not matrices with equally many columns, or fewer than two different points.

    Cost: O(min(n + m, 2000)^2 d). Source: the usual heuristic, e.g. Gretton et al. 2012, section 8.

    >>> median_bandwidth([[0.0], [1.0], [3.0]])
    2.0
    """
    pooled = as_matrix("x", x)
    if y is not None:
        pooled = np.vstack([pooled, as_matrix("y", y, columns=pooled.shape[1])])
    if len(pooled) > _MEDIAN_POINTS:
        pooled = pooled[np.linspace(0, len(pooled) - 1, _MEDIAN_POINTS).astype(int)]
    distances = pdist(pooled)
    distances = distances[distances > 0]
    if not distances.size:
        raise ValueError(f"x must hold two different points, got {len(pooled)} equal ones")
    return float(np.median(distances))


def mmd_squared(x, y, kernel, *, unbiased: bool = True) -> float:
    """Return the squared maximum mean discrepancy between two samples.

    MMD^2 = mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j). The unbiased U-statistic
    leaves out i = j in the first two means (and can be negative); the biased V-statistic keeps it.

    Parameters
    ----------
    x : shape (n, d)
    y : shape (m, d)
    kernel : a ``kernellab.compute.kernels.Kernel``
    unbiased : leave out the diagonals; needs n, m >= 2

    Returns
    -------
    float

    Raises
    ------
    ValueError : not matrices with equally many columns, or too few points.

    Cost: O((n + m)^2 d) time, O((n + m) d) memory: no Gram matrix is stored.
    Source: Gretton, Borgwardt, Rasch, Scholkopf and Smola 2012, equations 3 and 5.
    """
    x, y = _clouds(x, y, at_least=2 if unbiased else 1)
    between = kernel.total(x, y) / (len(x) * len(y))
    return _within(x, kernel, unbiased) + _within(y, kernel, unbiased) - 2.0 * between


def _within(x: np.ndarray, kernel, unbiased: bool) -> float:
    total, n = kernel.total(x), len(x)
    if unbiased:
        return (total - float(np.sum(kernel.diagonal(x)))) / (n * (n - 1))
    return total / n**2


def energy_distance(x, y) -> float:
    """Return the energy distance 2 E|x - y| - E|x - x'| - E|y - y'| between two samples.

    The means run over all pairs, i = j included (V-statistic), so the value is at least 0, and 0
    only for equal clouds: it is the biased MMD^2 of the conditionally positive-definite kernel
    -|x - y|.

    Parameters
    ----------
    x : shape (n, d)
    y : shape (m, d)

    Returns
    -------
    float

    Raises
    ------
    ValueError : not matrices with equally many columns.

    Cost: O((n + m)^2 d) time, O((n + m) d) memory. Source: Szekely and Rizzo 2013, equation 2.5.

    >>> energy_distance([[0.0]], [[3.0]])
    6.0
    """
    x, y = _clouds(x, y, at_least=1)
    unit = max(abs(x).max(), abs(y).max()) or 1.0  # huge coordinates must not overflow when squared
    x, y = x / unit, y / unit
    between = _total_distance(x, y) / (len(x) * len(y))
    within = _total_distance(x) / len(x) ** 2 + _total_distance(y) / len(y) ** 2
    return float(unit * (2.0 * between - within))


def _total_distance(x: np.ndarray, y: np.ndarray | None = None) -> float:
    recipe = tiles.Recipe(x, x if y is None else y, tiles.SQUARED, tiles.DISTANCE)
    return float(tiles.row_totals(recipe, y is None).sum())


def mmd_permutation_test(x, y, kernel, permutations: int, rng) -> PermutationTest:
    """Test whether two samples have one law, by the unbiased MMD^2 under random relabellings.

    p = (1 + #{b : MMD_b^2 >= MMD^2}) / (1 + B), which is at most alpha with probability at most
    alpha when the laws agree.

    Parameters
    ----------
    x : shape (n, d), n >= 2
    y : shape (m, d), m >= 2
    kernel : a ``kernellab.compute.kernels.Kernel``
    permutations : B >= 1
    rng : Generator or seed

    Returns
    -------
    PermutationTest(statistic, null of shape (B,), p_value)

    Raises
    ------
    ValueError : not matrices with equally many columns, too few points or permutations, or a Gram
        matrix that does not fit in memory.

    Cost: O((n + m)^2 (d + B)) time, O((n + m) (n + m + B)) memory. Source: Gretton et al. 2012.
    """
    x, y = _clouds(x, y, at_least=2)
    permutations, rng = integer("permutations", permutations, low=1), as_rng(rng)
    n, pooled = len(x), np.vstack([x, y])
    fits_in_memory("the relabellings", 8 * len(pooled) * (len(pooled) + 2 * permutations))
    members = np.zeros((permutations + 1, len(pooled)))
    members[0, :n] = 1.0  # the labels as they came
    members[1:] = rng.permuted(np.tile(members[0], (permutations, 1)), axis=1)
    values = _relabelled(kernel.gram(pooled), members)
    p_value = (1 + np.count_nonzero(values[1:] >= values[0])) / (1 + permutations)
    return PermutationTest(float(values[0]), values[1:], float(p_value))


def _relabelled(gram: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the unbiased MMD^2 for each row of 0/1 memberships, shapes (N, N), (B, N) -> (B,)."""
    np.fill_diagonal(gram, 0.0)
    n = members[0].sum()
    m = len(gram) - n
    sums = gram.sum(axis=1)
    within_x = np.einsum("bi,bi->b", members @ gram, members)
    between = members @ sums - within_x
    within_y = sums.sum() - within_x - 2.0 * between
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2.0 * between / (n * m)


def _clouds(x, y, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    x = as_matrix("x", x, min_rows=at_least)
    return x, as_matrix("y", y, columns=x.shape[1], min_rows=at_least)
