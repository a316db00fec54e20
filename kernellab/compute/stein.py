"""Langevin Stein kernels: functions whose mean under a law is known from its score alone.

For a law p with score s = grad log p and a smooth kernel k,

    k_p(x, y) = s(x).s(y) k + s(x).grad_y k + s(y).grad_x k + tr(grad_x grad_y' k)

has mean zero under p in each argument, whatever the normalising constant of p.

>>> import numpy as np
>>> from kernellab.compute.kernels import Gaussian
>>> x = np.random.default_rng(0).standard_normal((500, 1))
>>> fits, shifted = (ksd_squared(stein_gram(Gaussian(1.0), x, s)) for s in (-x, 1.0 - x))
>>> abs(fits) < 0.01 < shifted
True
"""

import math

import numpy as np

from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    fits_in_memory,
    integer,
    one_of,
    symmetric,
)
from kernellab.compute.compiled import compiled
from kernellab.compute.elementary import exp
from kernellab.compute.kernels import Gaussian, InverseMultiquadric, RationalQuadratic

__all__ = ["ksd_squared", "stein_bootstrap", "stein_features", "stein_gram"]

_BLOCK = 128  # columns that are worked on at a time: six rows of a block stay in the first cache


def stein_gram(kernel, x, scores, y=None, y_scores=None) -> np.ndarray:
    """Return the matrix of Langevin Stein kernel values k_p(x_i, y_j).

    For k = f(r), r = |x - y|^2, as both base kernels are,
    k_p = s(x).s(y) f + 2 f' (s(y) - s(x)).(x - y) - 2 d f' - 4 r f''.

    Parameters
    ----------
    kernel : ``Gaussian`` or ``InverseMultiquadric``
    x : shape (n, d)
    scores : shape (n, d), grad log p at x
    y, y_scores : shapes (m, d), or both None for y = x: the matrix is then exactly symmetric

    Returns
    -------
    shape (n, m)

    Raises
    ------
    ValueError : another kernel, shapes that do not fit, numbers so large that the result overflows,
        or a result that does not fit in memory.

    Cost: O(n m d). Source: Chwialkowski, Strathmann and Gretton 2016; Liu, Lee and Jordan 2016.
    """
    rate, is_gaussian = _rate(kernel)
    x, scores = _scored("x", x, "scores", scores)
    if (y is None) != (y_scores is None):
        raise ValueError("y and y_scores must be given together, got only one of them")
    if y is None:
        y, y_scores = x, scores
    else:
        y, y_scores = _scored("y", y, "y_scores", y_scores, columns=x.shape[1])
    fits_in_memory("the Stein matrix", 8 * len(x) * len(y))
    out = np.empty((len(x), len(y)))
    columns = np.ascontiguousarray(y.T), np.ascontiguousarray(y_scores.T)
    _stein_gram(is_gaussian, rate, x, scores, *columns, out)
    if not np.isfinite(out).all():
        largest = max(abs(x).max(), abs(y).max()), max(abs(scores).max(), abs(y_scores).max())
        raise ValueError(
            "x, scores and the kernel's scale must leave the products of their squares below "
            f"1e308, got points up to {largest[0]:.3g}, scores up to {largest[1]:.3g}, {kernel}"
        )
    return out


@compiled(
    "void(boolean, float64, float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], "
    "float64[:,::1])",
    fastmath={"contract"},
)
def _stein_gram(is_gaussian, rate, x, scores, y, y_scores, out):
    """Fill out (n, m); y and its scores come with one row a coordinate, (d, m)."""
    (n, d), m = x.shape, y.shape[1]
    far, both, turn = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    for first in range(0, m, _BLOCK):
        width = min(_BLOCK, m - first)
        for i in range(n):
            far[:] = 0.0  # |x - y|^2
            both[:] = 0.0  # s(x).s(y)
            turn[:] = 0.0  # (s(y) - s(x)).(x - y)
            for k in range(d):
                place, slope = x[i, k], scores[i, k]
                places = y[k, first : first + width]
                slopes = y_scores[k, first : first + width]
                for j in range(width):
                    step = place - places[j]
                    far[j] += step * step
                    both[j] += slope * slopes[j]
                    turn[j] += (slopes[j] - slope) * step
            row = out[i, first : first + width]
            if is_gaussian:
                for j in range(width):
                    inside = both[j] - 2.0 * rate * (turn[j] - d) - 4.0 * rate * rate * far[j]
                    row[j] = exp(-rate * far[j]) * inside
            else:
                for j in range(width):
                    t = 1.0 / (1.0 + rate * far[j])
                    inside = both[j] - rate * t * (turn[j] - d) - 3.0 * rate * rate * t * t * far[j]
                    row[j] = math.sqrt(t) * inside


def stein_features(kernel, x, scores, at, weights=None) -> np.ndarray:
    """Return the weighted mean of Stein features of points x, seen at other places.

    u(b) = sum_i w_i [ s(x_i) k(x_i, b) + grad_{x_i} k(x_i, b) ], a vector of d functions of b, each
    with mean 0 when x is drawn from p.

    Parameters
    ----------
    kernel : ``Gaussian`` or ``InverseMultiquadric``
    x : shape (n, d)
    scores : shape (n, d), grad log p at x
    at : shape (m, d), the places b
    weights : shape (n,); None: 1/n each

    Returns
    -------
    shape (m, d)

    Raises
    ------
    ValueError : another kernel, or shapes that do not fit.

    Cost: O(n m d) time, O((n + m) d) memory. Source: Liu, Lee and Jordan 2016, equation 5.
    """
    rate, is_gaussian = _rate(kernel)
    x, scores = _scored("x", x, "scores", scores)
    n, d = x.shape
    at = as_matrix("at", at, columns=d)
    weights = np.full(n, 1.0 / n) if weights is None else as_vector("weights", weights, length=n)
    # grad_x f(r) = 2 f'(r) (x - b), where -2 f' is again a kernel, up to a constant.
    steps = np.column_stack([weights[:, None] * x, weights])
    scored = kernel.matvec(at, x, weights[:, None] * scores)
    if is_gaussian:
        slope = 2.0 * rate * kernel.matvec(at, x, steps)
    else:  # (1 + a r)^(-3/2)
        steeper = RationalQuadratic(lengthscale=1.0 / math.sqrt(3.0 * rate), alpha=1.5)
        slope = rate * steeper.matvec(at, x, steps)
    return scored - slope[:, :d] + at * slope[:, d:]


def ksd_squared(gram, unbiased: bool = True) -> float:
    """Return the squared kernel Stein discrepancy from a Stein matrix of the sample with itself.

    Parameters: gram (n, n), symmetric; unbiased: leave out the diagonal (U-statistic, n >= 2).
    Returns a float. Raises ValueError for another matrix. Cost: O(n^2).
    Source: Liu, Lee and Jordan 2016, equation 14.

    >>> ksd_squared([[2.0, 0.5], [0.5, 4.0]]), ksd_squared([[2.0, 0.5], [0.5, 4.0]], unbiased=False)
    (0.5, 1.75)
    """
    gram = symmetric("gram", gram)
    n = len(gram)
    if not unbiased:
        return float(gram.sum()) / n**2
    if n < 2:
        raise ValueError(f"gram must be of at least 2 points when unbiased, got {n}")
    return float(gram.sum() - np.trace(gram)) / (n * (n - 1))


def stein_bootstrap(gram, replicates: int, rng, kind: str = "multinomial") -> np.ndarray:
    """Return draws from the null law of the unbiased ``ksd_squared``, for a test's threshold.

    sum_{i != j} w_i w_j U_ij with w = Multinomial(n; 1/n, ..., 1/n)/n - 1/n, or w = (random
    signs)/n for ``"wild"``: under the model the statistic and these draws share their limit law.

    Parameters
    ----------
    gram : shape (n, n), symmetric, n >= 2: the Stein matrix U
    replicates : B >= 1
    rng : Generator or seed
    kind : "multinomial" or "wild"

    Returns
    -------
    shape (B,)

    Raises
    ------
    ValueError : another matrix, number or kind.

    Cost: O(B n^2), one matrix product.
    Source: Arcones and Gine 1992; Liu, Lee and Jordan 2016, algorithm 1; Chwialkowski et al. 2016.
    """
    gram = symmetric("gram", gram)
    n = len(gram)
    if n < 2:
        raise ValueError(f"gram must be of at least 2 points, got {n}")
    replicates, rng = integer("replicates", replicates, low=1), as_rng(rng)
    if one_of("kind", kind, ("multinomial", "wild")) == "multinomial":
        weights = (_multinomial_counts(n, replicates, rng) - 1.0) / n
    else:
        weights = (2.0 * rng.integers(0, 2, size=(replicates, n)) - 1.0) / n
    squares = np.einsum("bi,bi->b", weights @ gram, weights)
    return squares - weights**2 @ np.diagonal(gram)


def _multinomial_counts(n: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each of n points is drawn in n draws with replacement, shape (B, n).

    By counting the draws: several times as fast as ``rng.multinomial``.
    """
    drawn = rng.integers(n, size=(replicates, n))
    drawn += n * np.arange(replicates)[:, None]
    return np.bincount(drawn.ravel(), minlength=replicates * n).reshape(replicates, n)


def _rate(kernel) -> tuple[float, bool]:
    """Return a, and whether k = exp(-a r) rather than (1 + a r)^(-1/2), r = |x - y|^2."""
    if isinstance(kernel, Gaussian):
        return 0.5 / kernel.bandwidth**2, True
    if isinstance(kernel, InverseMultiquadric):
        return 1.0 / kernel.scale**2, False
    raise ValueError(
        f"kernel must be a Gaussian or an InverseMultiquadric, got {type(kernel).__name__}"
    )


def _scored(name: str, x, scores_name: str, scores, columns: int | None = None):
    x = as_matrix(name, x, columns=columns)
    return x, as_matrix(scores_name, scores, columns=x.shape[1], rows=len(x))
