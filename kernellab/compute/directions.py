"""Random directions and rotations, and evenly spread points: what Monte Carlo averages run over.

>>> directions = orthogonal_directions(3, 3, rng=0)
>>> bool(abs(directions @ directions.T - np.eye(3)).max() < 1e-12)
True
"""

import warnings

import numpy as np

from kernellab.compute.checks import as_rng, integer

__all__ = ["orthogonal_directions", "random_directions", "random_rotation", "sobol_points"]

_MOST_SOBOL_DIMENSIONS = 21201  # of SciPy's table of direction numbers


def random_directions(n: int, d: int, rng) -> np.ndarray:
    """Return independent directions, uniform on the unit sphere of R^d.

    Parameters: n >= 1, d >= 1, rng a Generator or seed. Returns (n, d), rows of length 1.
    Raises ValueError for other numbers. Cost: O(n d).
    """
    n, d, rng = integer("n", n, low=1), integer("d", d, low=1), as_rng(rng)
    normals = rng.standard_normal((n, d))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def random_rotation(d: int, rng) -> np.ndarray:
    """Return an orthogonal matrix from the Haar measure: every one is as likely as every other.

    The QR factors of a Gaussian matrix, with signs that make the diagonal of R positive.

    Parameters: d >= 1, rng a Generator or seed. Returns (d, d); its determinant is 1 or -1.
    Raises ValueError for another d. Cost: O(d^3). Source: Mezzadri 2007, section 5.
    """
    d, rng = integer("d", d, low=1), as_rng(rng)
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diagonal(r))


def orthogonal_directions(n: int, d: int, rng) -> np.ndarray:
    """Return directions in blocks of d that are orthogonal within a block, each uniform.

    Parameters: n >= 1, d >= 1, rng a Generator or seed. Returns (n, d), rows of length 1; the last
    block is cut when d does not divide n. Raises ValueError for other numbers. Cost: O(n d^2).
    Source: Yu, Suresh, Choromanski, Holtmann-Rice and Kumar 2016, section 3.
    """
    n, d, rng = integer("n", n, low=1), integer("d", d, low=1), as_rng(rng)
    blocks = [random_rotation(d, rng) for _ in range(-(-n // d))]
    return np.ascontiguousarray(np.concatenate(blocks)[:n])


def sobol_points(n: int, d: int, rng=None) -> np.ndarray:
    """Return the first n points of a Sobol sequence, strictly inside the unit cube.

    Parameters
    ----------
    n : number of points; powers of 2 are spread best
    d : dimension, 1 to 21,201
    rng : Generator or seed: the points are scrambled (Owen), each then uniform; None: the plain
        sequence without its first point, which is 0

    Returns
    -------
    shape (n, d)

    Raises
    ------
    ValueError : other numbers.

    Cost: O(n d). Source: Sobol 1967, Owen 1998, as in ``scipy.stats.qmc.Sobol``.

    >>> sobol_points(3, 2).tolist()
    [[0.5, 0.5], [0.75, 0.25], [0.25, 0.75]]
    """
    from scipy.stats import qmc  # costs 0.3 s, which other users of this module need not pay

    n, d = integer("n", n, low=1), integer("d", d, low=1, high=_MOST_SOBOL_DIMENSIONS)
    if rng is None:
        return qmc.Sobol(d, scramble=False).fast_forward(1).random(n)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The balance properties of Sobol")
        points = qmc.Sobol(d, rng=as_rng(rng)).random(n)
    return np.clip(points, 2.0**-53, 1.0 - 2.0**-53)  # a scrambled point may be 0
