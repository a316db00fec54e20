"""Kernel matrices from a few of their columns: pivoted Cholesky, Nystrom, leverage scores.

Functions that say ``kernel`` take any object with ``gram(x, y)`` and ``diagonal(x)``, such as those
of ``kernels``; the full matrix is never formed. Ridge penalties are absolute, as in ``ridge``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg as sla

from kernellab.compute import checks, linalg
from kernellab.compute.compiled import compiled
from kernellab.compute.ridge import RidgePath

EPSILON = float(np.finfo(float).eps)


# --- Pivoted Cholesky -----------------------------------------------------------------------------


@dataclass(frozen=True)
class PivotedCholesky:
    """A partial factorisation ``K ~ factor factor^T`` from r columns of K.

    Attributes
    ----------
    factor : (n, r); its rows at the pivots are lower triangular.
    pivots : (r,) the chosen points, in the order chosen.
    trace_errors : (r + 1,) tr(K - F F^T) with 0, 1, ..., r columns of the factor.
    residual_diagonal : (n,) diagonal of K - F F^T, which is what each point still lacks.
    """

    factor: np.ndarray
    pivots: np.ndarray
    trace_errors: np.ndarray
    residual_diagonal: np.ndarray

    @property
    def rank(self) -> int:
        return len(self.pivots)


def pivoted_cholesky(
    kernel, x=None, *, rank: int, tolerance: float = 0.0, pivots: str = "greedy", rng=None
) -> PivotedCholesky:
    """Partial Cholesky factorisation of a kernel matrix, choosing its columns as it goes.

    With d the diagonal of what is left, K - F F^T, pick a pivot p, and append the column
    f = (K[:, p] - F F[p]^T) / sqrt(d_p);  d <- d - f^2.  "greedy" takes the largest d_p: the point
    that the others explain least. "random" draws p with probability d_p / sum d, which is less
    easily led astray by outliers.

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``, together with x; or the matrix itself, (n, n)
        symmetric positive semidefinite, without x.
    x : (n, d) points, for a kernel.
    rank : at most this many columns, 1..n.
    tolerance : stop when tr(K - F F^T) <= tolerance tr K. Whatever it is, the factorisation stops
        when only rounding is left.
    pivots : "greedy" or "random".
    rng : Generator or seed, for "random".

    Returns
    -------
    PivotedCholesky : with at most ``rank`` columns.

    Raises
    ------
    ValueError : on bad shapes, a negative diagonal, a rank outside 1..n, a missing rng.

    Cost: r columns of K, and O(n r^2) operations.
    Source: Harbrecht, Peters and Schneider (2012), algorithm 1; "random": Chen, Epperly, Tropp and
    Webber (2022, arXiv:2207.06503), algorithm 2.1.

    >>> pivoted_cholesky([[1.0, 0.0], [0.0, 4.0]], rank=1).pivots.tolist()
    [1]
    """
    if x is None:
        if hasattr(kernel, "gram"):
            raise ValueError("x must be given with a kernel: the points whose matrix to factorise")
        matrix = checks.symmetric("kernel", kernel)
        diagonal = np.diagonal(matrix).copy()

        def column(p: int) -> np.ndarray:
            return matrix[p]

    else:
        _require_kernel(kernel)
        x = checks.as_matrix("x", x)
        diagonal = np.array(kernel.diagonal(x), dtype=np.float64)

        def column(p: int) -> np.ndarray:
            return kernel.gram(x[p : p + 1], x)[0]  # a long row fills the vector lanes

    n = len(diagonal)
    rank = checks.integer("rank", rank, low=1, high=n)
    tolerance = checks.nonnegative("tolerance", tolerance)
    pivots = checks.one_of("pivots", pivots, ("greedy", "random"))
    draws = checks.as_rng(rng).random(rank) if pivots == "random" else None
    if diagonal.min() < 0.0:
        raise ValueError(
            f"kernel must be positive semidefinite, but its diagonal holds {diagonal.min():.3g}"
        )
    return _factorise(column, diagonal, rank, tolerance, draws)


def _factorise(column, diagonal, rank, tolerance, draws) -> PivotedCholesky:
    n = len(diagonal)
    checks.fits_in_memory("the factor", 8 * n * rank)
    # One row a pivot: appending a column of the factor then walks through memory in order.
    rows = np.empty((rank, n))
    chosen = np.empty(rank, dtype=np.int64)
    errors = [float(diagonal.sum())]
    # A remainder of this size is what rounding leaves of a diagonal entry that is used up.
    floor = n * EPSILON * float(diagonal.max())
    for j in range(rank):
        if errors[-1] <= tolerance * errors[0]:
            break
        p = int(np.argmax(diagonal))
        if diagonal[p] <= floor:
            break
        if draws is not None:
            mass = np.cumsum(np.where(diagonal > floor, diagonal, 0.0))
            p = int(np.searchsorted(mass, draws[j] * mass[-1], side="right"))
        rows[j] = column(p)
        chosen[j] = p
        errors.append(_append_pivot(rows, j, p, diagonal))
    r = len(errors) - 1
    return PivotedCholesky(rows[:r].T.copy(), chosen[:r].copy(), np.array(errors), diagonal)


@compiled("float64(float64[:,::1], int64, int64, float64[::1])", fastmath={"reassoc", "contract"})
def _append_pivot(rows, j, p, diagonal):
    """Turn row j from a column of K into one of the factor; update the diagonal; return its sum.

    Works on blocks of points that stay in the first-level cache while the earlier rows pass by,
    four at a time: one trip through the factor, and few writes.
    """
    n = rows.shape[1]
    block = 1024
    scale = 1.0 / np.sqrt(diagonal[p])
    total = 0.0
    for low in range(0, n, block):
        high = min(low + block, n)
        new = rows[j, low:high]
        left = diagonal[low:high]
        i = 0
        while i + 4 <= j:
            a, b, c, d = rows[i, p], rows[i + 1, p], rows[i + 2, p], rows[i + 3, p]
            row_a, row_b = rows[i, low:high], rows[i + 1, low:high]
            row_c, row_d = rows[i + 2, low:high], rows[i + 3, low:high]
            for k in range(high - low):
                new[k] -= a * row_a[k] + b * row_b[k] + c * row_c[k] + d * row_d[k]
            i += 4
        while i < j:
            a = rows[i, p]
            row_a = rows[i, low:high]
            for k in range(high - low):
                new[k] -= a * row_a[k]
            i += 1
        for k in range(high - low):
            new[k] *= scale
            rest = left[k] - new[k] * new[k]
            left[k] = rest if rest > 0.0 else 0.0
            total += left[k]
    # The pivot is explained exactly; rounding must not leave it a second chance.
    total -= diagonal[p]
    diagonal[p] = 0.0
    return total


def _require_kernel(kernel) -> None:
    for method in ("gram", "diagonal"):
        if not callable(getattr(kernel, method, None)):
            raise ValueError(
                f"kernel must have the methods gram(x, y) and diagonal(x), "
                f"got {type(kernel).__name__}"
            )


# --- Nystrom --------------------------------------------------------------------------------------


def choose_landmarks(
    kernel, x, count: int, *, how: str = "uniform", ridge: float | None = None, rng=None
) -> np.ndarray:
    """Indices of ``count`` different points of x that can stand for all of them.

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``.
    x : (n, d) points.
    count : how many, 1..n.
    how : "uniform" (each subset equally likely), "pivoted" (greedy pivots, deterministic), "random
        pivoted", or "leverage" (drawn in proportion to approximate ridge leverage scores).
    ridge : penalty of the leverage scores; needed for "leverage".
    rng : Generator or seed, for all but "pivoted".

    Returns
    -------
    (count,) indices; the two pivoted rules give fewer when the matrix has a lower rank.

    Raises ValueError on bad arguments.

    Cost: uniform O(n); pivoted O(n count^2); leverage as
    :func:`approximate_leverage_scores`.
    """
    _require_kernel(kernel)
    x = checks.as_matrix("x", x)
    count = checks.integer("count", count, low=1, high=len(x))
    how = checks.one_of("how", how, ("uniform", "pivoted", "random pivoted", "leverage"))
    if how == "pivoted":
        return pivoted_cholesky(kernel, x, rank=count).pivots
    rng = checks.as_rng(rng)
    if how == "random pivoted":
        return pivoted_cholesky(kernel, x, rank=count, pivots="random", rng=rng).pivots
    if how == "uniform":
        return rng.choice(len(x), size=count, replace=False)
    if ridge is None:
        raise ValueError("ridge must be given for how='leverage'")
    scores = approximate_leverage_scores(kernel, x, ridge, rng=rng)
    # A score of 0 (a point the kernel maps to 0) may still be needed to make up the number.
    chances = np.maximum(scores, 1e-12)
    return rng.choice(len(x), size=count, replace=False, p=chances / chances.sum())


class Nystrom:
    """Nystrom approximation of a kernel by its values at landmarks.

    k_hat(x, z) = k(x, L) K_LL^+ k(L, z) = <phi(x), phi(z)>,
    phi(x) = diag(l)^{-1/2} U^T k(L, x)  with  K_LL = U diag(l) U^T.
    Eigenvalues within rounding of zero are left out, so that repeated or nearly equal landmarks do
    no harm.

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``.
    landmarks : (m, d) points.

    Attributes
    ----------
    landmarks : (m, d). rank : number of features r <= m.
    map : (m, r), U diag(l)^{-1/2}: features are ``kernel.gram(x, landmarks) @ map``.

    Raises
    ------
    ValueError : on bad shapes, or a kernel that is not positive semidefinite on the landmarks.

    Cost: O(m^3) to build, O(n m r) for the features of n points.
    Source: Williams and Seeger (2001).
    """

    def __init__(self, kernel, landmarks):
        _require_kernel(kernel)
        self.kernel = kernel
        self.landmarks = checks.as_matrix("landmarks", landmarks)
        gram = kernel.gram(self.landmarks, self.landmarks)
        values, vectors = linalg.eigh(0.5 * (gram + gram.T))
        values = linalg.clip_rounding(values)
        kept = values > 0.0
        self.map = vectors[:, kept] / np.sqrt(values[kept])

    @property
    def rank(self) -> int:
        return self.map.shape[1]

    def features(self, x) -> np.ndarray:
        """Features phi of n points, shape (n, r): ``phi @ phi.T`` approximates the Gram matrix."""
        x = checks.as_matrix("x", x, columns=self.landmarks.shape[1])
        return self.kernel.gram(x, self.landmarks) @ self.map

    def gram(self, x, y=None) -> np.ndarray:
        """Approximate Gram matrix k_hat(x, y), shape (n, m)."""
        features = self.features(x)
        return features @ (features if y is None else self.features(y)).T

    def diagonal(self, x) -> np.ndarray:
        """Approximate k_hat(x_i, x_i), shape (n,); never above the kernel's own."""
        return np.einsum("ij,ij->i", *[self.features(x)] * 2)

    def matvec(self, x, y, v) -> np.ndarray:
        """``gram(x, y) @ v`` in O((n + m) r), without forming the matrix."""
        other = self.features(y)
        v = checks.as_vector("v", v) if np.ndim(v) == 1 else checks.as_matrix("v", v)
        checks.same_length("y", other, "v", v)
        return self.features(x) @ (other.T @ v)


@dataclass(frozen=True)
class NystromRidge:
    """Kernel ridge regression on landmarks: ``f(x) = k(x, L) coefficients``.

    Attributes
    ----------
    approximation : the :class:`Nystrom` map.
    coefficients : (m,) or (m, p).
    fitted : (n,) or (n, p), f at the training points.
    """

    approximation: Nystrom
    coefficients: np.ndarray
    fitted: np.ndarray

    def predict(self, x) -> np.ndarray:
        """f at new points, (t,) or (t, p). Cost: O(t m (d + p))."""
        landmarks = self.approximation.landmarks
        x = checks.as_matrix("x", x, columns=landmarks.shape[1])
        return self.approximation.kernel.gram(x, landmarks) @ self.coefficients


def nystrom_ridge(kernel, x, y, landmarks, ridge: float) -> NystromRidge:
    """Kernel ridge regression restricted to functions on landmarks.

    min_a ||K_nm a - y||^2 + ridge a^T K_mm a, solved in the features phi of :class:`Nystrom`, where
    the penalty is ridge ||w||^2 and the system far better conditioned than in a itself. With every
    training point a landmark it is ordinary kernel ridge regression with K + ridge I.

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``.
    x : (n, d) training points. y : (n,) or (n, p) targets.
    landmarks : (m, d) points, or m indices into x (integers).
    ridge : penalty, > 0.

    Returns
    -------
    NystromRidge : with ``predict``.

    Raises ValueError on bad shapes, indices outside x, or a ridge that is not positive.

    Cost: O(n m^2 + m^3). For many ridges give ``Nystrom(...).features(x)`` to
    ``ridge.FeatureRidgePath``.
    Source: Rudi, Camoriano and Rosasco (2015, arXiv:1507.04717).
    """
    x = checks.as_matrix("x", x)
    ridge = checks.positive("ridge", ridge)
    if np.ndim(y) == 1:
        y = checks.as_vector("y", y, length=len(x))
    else:
        y = checks.as_matrix("y", y, rows=len(x))
    approximation = Nystrom(kernel, _points(landmarks, x))
    features = approximation.features(x)
    system = features.T @ features
    system.flat[:: len(system) + 1] += ridge
    weights = linalg.cholesky(system).solve(features.T @ y)
    return NystromRidge(approximation, approximation.map @ weights, features @ weights)


def _points(landmarks, x: np.ndarray) -> np.ndarray:
    """Landmarks as points, whether given as such or as indices into x."""
    indices = np.asarray(landmarks)
    if indices.ndim != 1:
        return checks.as_matrix("landmarks", landmarks, columns=x.shape[1])
    if indices.dtype.kind not in "iu" or indices.size == 0:
        raise ValueError(
            "landmarks must be a matrix of points, shape (m, d), or a vector of integer indices, "
            f"got a vector of dtype {indices.dtype} and length {indices.size}"
        )
    if indices.min() < 0 or indices.max() >= len(x):
        raise ValueError(
            f"landmarks must be indices between 0 and {len(x) - 1}, "
            f"got {indices.min()} to {indices.max()}"
        )
    return x[indices]


# --- Low rank plus diagonal -----------------------------------------------------------------------


class LowRankPlusDiagonal:
    """Solves and determinants with ``A = F F^T + diag(noise)``, by Woodbury's identity.

    With G = diag(noise)^{-1/2} F and the QR factors of G stacked on I,  [G; I] = [Q; .] R:
    A^{-1} = diag(noise)^{-1/2} (I - Q Q^T) diag(noise)^{-1/2},  log det A = sum log noise
    + 2 sum log |R_kk|.  This is (I + G^T G)^{-1} of the usual form without squaring its condition.
    ``solve`` is a preconditioner for conjugate gradients on K + noise I.

    Parameters
    ----------
    factor : (n, r) matrix F: a pivoted Cholesky factor, Nystrom features, random features.
    noise : > 0, or (n,) of them.

    Raises ValueError on bad shapes or a noise that is not positive.

    Cost: O((n + r) r^2) to build, O(n r p) a solve with p right-hand sides.
    Source: Woodbury (1950).
    """

    def __init__(self, factor, noise):
        factor = checks.as_matrix("factor", factor)
        if np.ndim(noise) == 0:
            noise = np.full(len(factor), checks.positive("noise", noise))
        else:
            noise = checks.as_vector("noise", noise, length=len(factor))
            if noise.min() <= 0.0:
                raise ValueError(f"noise must be positive, got {noise.min():.3g} among its entries")
        self.factor = factor
        self.noise = noise
        self._root = np.sqrt(noise)
        stacked = np.vstack([factor / self._root[:, None], np.eye(factor.shape[1])])
        basis, self._triangle = sla.qr(
            stacked, mode="economic", overwrite_a=True, check_finite=False
        )
        self._basis = np.ascontiguousarray(basis[: len(factor)])

    def matvec(self, v) -> np.ndarray:
        """``A v`` for v of shape (n,) or (n, p)."""
        v = self._checked(v)
        return self.factor @ (self.factor.T @ v) + self._along(self.noise, v) * v

    def solve(self, v) -> np.ndarray:
        """``A^{-1} v`` for v of shape (n,) or (n, p)."""
        v = self._checked(v)
        root = self._along(self._root, v)
        scaled = v / root
        return (scaled - self._basis @ (self._basis.T @ scaled)) / root

    def logdet(self) -> float:
        """``log det A``."""
        diagonal = np.abs(np.diagonal(self._triangle))
        return float(np.log(self.noise).sum() + 2.0 * np.log(diagonal).sum())

    def inverse_diagonal(self) -> np.ndarray:
        """Diagonal of A^{-1}, shape (n,)."""
        return (1.0 - np.einsum("ij,ij->i", self._basis, self._basis)) / self.noise

    def _checked(self, v) -> np.ndarray:
        n = len(self.noise)
        if np.ndim(v) == 1:
            return checks.as_vector("v", v, length=n)
        return checks.as_matrix("v", v, rows=n)

    @staticmethod
    def _along(weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Weights of rows, shaped to multiply v."""
        return weights if v.ndim == 1 else weights[:, None]


# --- Ridge leverage scores ------------------------------------------------------------------------


def leverage_scores(gram, ridge: float) -> np.ndarray:
    """Ridge leverage scores, how much each point's fit depends on its own target.

    tau_i = [K (K + ridge I)^{-1}]_ii, between 0 and 1.

    Parameters
    ----------
    gram : (n, n) symmetric positive semidefinite.
    ridge : >= 0.

    Returns
    -------
    (n,) scores; their sum is the effective dimension.

    Raises ValueError as :class:`ridge.RidgePath`. Cost: O(n^3).
    Source: Alaoui and Mahoney (2015, arXiv:1411.0306).

    >>> leverage_scores([[1.0, 0.0], [0.0, 3.0]], 1.0).tolist()
    [0.5, 0.75]
    """
    gram = checks.symmetric("gram", gram)
    return RidgePath(gram, np.zeros(len(gram))).leverage(checks.nonnegative("ridge", ridge))


def effective_dimension(eigenvalues, ridge: float) -> float:
    """Effective dimension of a kernel at a ridge: how many directions it leaves free.

    d(ridge) = sum_i l_i / (l_i + ridge) = tr K (K + ridge I)^{-1}.

    Parameters
    ----------
    eigenvalues : (n,) nonnegative eigenvalues of K (divide both by n for those of the operator).
    ridge : >= 0; at 0 it is the number of positive eigenvalues.

    Raises ValueError on negative eigenvalues or ridge. Cost: O(n).

    >>> effective_dimension([1.0, 3.0], 1.0)
    1.25
    """
    values = checks.as_vector("eigenvalues", eigenvalues)
    ridge = checks.nonnegative("ridge", ridge)
    if values.min() < 0.0:
        raise ValueError(f"eigenvalues must not be negative, got {values.min():.3g} among them")
    shifted = values + ridge
    return float(np.sum(np.divide(values, shifted, out=np.zeros_like(values), where=shifted > 0)))


def approximate_leverage_scores(
    kernel, x, ridge: float, *, oversampling: float = 4.0, rng
) -> np.ndarray:
    """Ridge leverage scores from recursively sampled landmarks, without the full matrix.

    With landmarks S and weights W (1 / probability of each),
    tau~_i = [ k_ii - k_iS (K_SS + ridge W^{-1})^{-1} k_Si ] / ridge, capped at 1.
    It starts on a small random part of x; each pass doubles the part, scores it by the landmarks of
    the pass before, and draws new landmarks with probability min(1, oversampling log(n) tau~). All
    points are scored twice, the second time by landmarks drawn from all of them.

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``.
    x : (n, d) points.
    ridge : > 0.
    oversampling : > 0; more gives more landmarks (about oversampling * log(n) * effective
        dimension) and closer scores.
    rng : Generator or seed.

    Returns
    -------
    (n,) scores in (0, 1], within a constant factor of the exact ones with high probability.

    Raises ValueError on bad arguments.

    Cost: O(n s^2) and n s kernel values for s landmarks.
    Source: Musco and Musco (2017, arXiv:1605.07583), algorithm 2.
    """
    _require_kernel(kernel)
    x = checks.as_matrix("x", x)
    ridge = checks.positive("ridge", ridge)
    oversampling = checks.positive("oversampling", oversampling)
    rng = checks.as_rng(rng)
    n = len(x)
    rate = oversampling * np.log(max(n, 2))
    order = rng.permutation(n)
    size = min(n, max(32, int(np.ceil(rate))))
    chosen, chances = order[:size], np.ones(size)  # the first part is its own set of landmarks
    last_pass = size == n
    while True:
        size = min(n, 2 * size)
        part = order[:size]
        scores = _scores_from(kernel, x[part], x[chosen], chances, ridge)
        if last_pass:
            result = np.empty(n)
            result[part] = scores
            return result
        last_pass = size == n  # once more, with landmarks drawn from all points
        chance = np.minimum(1.0, rate * scores)
        drawn = rng.random(size) < chance
        if not drawn.any():
            drawn[int(np.argmax(chance))] = True
        chosen, chances = part[drawn], chance[drawn]


def _scores_from(kernel, points, landmarks, chances, ridge) -> np.ndarray:
    """Scores of points by landmarks that were kept with the given chances."""
    system = kernel.gram(landmarks, landmarks)
    system.flat[:: len(system) + 1] += ridge * chances
    factor = linalg.cholesky(0.5 * (system + system.T))
    half = factor.half_solve(kernel.gram(landmarks, points))
    unexplained = kernel.diagonal(points) - np.einsum("ij,ij->j", half, half)
    return np.clip(unexplained / ridge, EPSILON, 1.0)
