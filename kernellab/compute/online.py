"""Factors that grow or change point by point, in O(n^2) a step instead of O(n^3).

Rank-one changes of a Cholesky factor, factors and inverses that gain or lose a row, recursive least
squares, and a dictionary of points whose kernel features are nearly independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg as sla

from kernellab.compute import checks
from kernellab.compute.compiled import compiled

EPSILON = float(np.finfo(float).eps)
FAST = {"reassoc", "contract"}  # lets sums run on several lanes; NaN and infinity stay honest


# --- Rank-one changes ---------------------------------------------------------------------------


def cholesky_update(lower, v, *, downdate: bool = False) -> np.ndarray:
    """Cholesky factor of ``L L^T + v v^T``, or of ``L L^T - v v^T``, from L.

    A sweep of (hyperbolic) rotations: for k = 0, 1, ...:  r = sqrt(L_kk^2 +- v_k^2), c = r / L_kk,
    s = v_k / L_kk;  L_kk = r,  L_ik <- (L_ik +- s v_i) / c,  v_i <- c v_i - s L_ik  for i > k.

    Parameters
    ----------
    lower : (n, n) lower triangular with a positive diagonal (what is above it is not read).
    v : (n,).
    downdate : subtract instead of adding.

    Returns
    -------
    (n, n) the new lower factor; the argument is not changed.

    Raises
    ------
    ValueError : on bad shapes, a diagonal that is not positive, or a downdate that leaves the
        matrix no longer positive definite.

    Cost: O(n^2), against O(n^3) for a new factorisation.
    Source: Gill, Golub, Murray and Saunders (1974); Stewart (1979) for downdates.

    >>> cholesky_update([[3.0]], [4.0]).tolist()
    [[5.0]]
    """
    upper = _upper_from(lower)
    v = checks.as_vector("v", v, length=len(upper)).copy()
    if not _rotate(upper, v, -1.0 if downdate else 1.0):
        raise ValueError("v must leave L L^T - v v^T positive definite, but v is too long for that")
    return upper.T


@compiled("boolean(float64[:,::1], float64[::1], float64)", fastmath={"contract"})
def _rotate(upper, v, sign):
    """Make U^T U + sign v v^T the product of the new U, in place; False where it is not positive.

    v is used up.
    """
    n = len(v)
    for k in range(n):
        pivot = upper[k, k]
        ratio = v[k] / pivot
        growth = 1.0 + sign * ratio * ratio
        if not growth > n * 2.3e-16:  # only rounding is left of the pivot
            return False
        c = np.sqrt(growth)
        upper[k, k] = pivot * c
        row = upper[k, k + 1 :]
        rest = v[k + 1 :]
        inverse, tilt = 1.0 / c, sign * ratio
        for i in range(n - k - 1):
            row[i] = (row[i] + tilt * rest[i]) * inverse
            rest[i] = c * rest[i] - ratio * row[i]
    return True


def _upper_from(lower) -> np.ndarray:
    """Check a lower factor; return its transpose as a fresh C-contiguous array.

    Row k of it is column k of L, so that the sweep runs through memory in order.
    """
    array = np.asarray(lower)
    if array.ndim == 2 and array.flags.f_contiguous and array.shape[0] == array.shape[1]:
        upper = np.triu(checks.as_matrix("lower", array.T))  # LAPACK's order: no transposition
    else:
        upper = np.triu(checks.as_matrix("lower", lower).T)
    if upper.shape[0] != upper.shape[1]:
        raise ValueError(f"lower must be square, got shape {array.shape}")
    smallest = float(np.diagonal(upper).min())
    if smallest <= 0.0:
        raise ValueError(f"lower must have a positive diagonal, got {smallest:.3g} on it")
    return np.ascontiguousarray(upper)


# --- Factors that grow ----------------------------------------------------------------------------


class GrowingCholesky:
    """Cholesky factor of a positive definite matrix that gains and loses rows.

    Appending (k, kappa): with l = L^{-1} k, the new row is (l, sqrt(kappa - l^T l)). The number
    under the root is what is left of kappa given the points so far: a Gaussian process's posterior
    variance, the residual of approximate linear dependence.

    Parameters
    ----------
    matrix : (n, n) to start from (default: empty).

    Raises ValueError if ``matrix`` is not symmetric positive definite.

    Cost: O(n^2) to append, remove or solve. len() gives n.

    >>> factor = GrowingCholesky([[4.0]])
    >>> factor.append([2.0], 2.0)
    1.0
    >>> factor.lower.tolist()
    [[2.0, 0.0], [1.0, 1.0]]
    """

    def __init__(self, matrix=None):
        self._size = 0
        self._store = np.zeros((16, 16))
        if matrix is not None:
            matrix = checks.symmetric("matrix", matrix)
            lower, info = sla.lapack.dpotrf(matrix, lower=1, clean=1)
            if info != 0:
                raise ValueError("matrix must be positive definite")
            self._replace(lower)

    def __len__(self) -> int:
        return self._size

    @property
    def lower(self) -> np.ndarray:
        """The factor L, (n, n), as a copy."""
        return self._store[: self._size, : self._size].copy()

    def append(self, cross, diagonal: float) -> float:
        """Add a last row and column to the matrix.

        cross : (n,) entries with the rows so far (empty for the first). diagonal : the new corner.

        Returns ``diagonal - cross^T matrix^{-1} cross``, the square of the new pivot.
        Raises ValueError where only rounding is left of it: the new row depends on the others.
        """
        diagonal = checks.positive("diagonal", diagonal)
        half = self._checked_half_solve("cross", cross) if self._size else np.zeros(0)
        if not self._size and np.size(cross):
            raise ValueError(f"cross must be empty for the first row, got {np.size(cross)} entries")
        left = diagonal - float(half @ half)
        if not left > (self._size + 1) * EPSILON * diagonal:
            raise ValueError(
                f"cross must leave the matrix positive definite, but the new row depends linearly "
                f"on the {self._size} so far: {left:.3g} is left of {diagonal:.3g}"
            )
        self._reserve(self._size + 1)
        self._store[self._size, : self._size] = half
        self._store[self._size, self._size] = np.sqrt(left)
        self._size += 1
        return left

    def remove(self, index: int) -> None:
        """Delete row and column ``index``; the rows behind it move up."""
        index = checks.integer("index", index, low=0, high=self._size - 1)
        lower = self.lower
        # The deleted column leaves the block below it by a rank-one update.
        block = lower[index + 1 :, index + 1 :].T.copy()
        _rotate(block, lower[index + 1 :, index].copy(), 1.0)
        lower[index + 1 :, index + 1 :] = block.T
        kept = np.arange(self._size) != index
        self._replace(lower[np.ix_(kept, kept)])

    def half_solve(self, b) -> np.ndarray:
        """``L^{-1} b`` for b of shape (n,) or (n, p)."""
        return self._checked_half_solve("b", b)

    def solve(self, b) -> np.ndarray:
        """``matrix^{-1} b`` for b of shape (n,) or (n, p)."""
        rows, is_vector = self._rows("b", b)
        _forward_rows(self._store, self._size, rows)
        _backward_rows(self._store, self._size, rows)
        return rows[0] if is_vector else rows.T.copy()

    def logdet(self) -> float:
        """``log det matrix``; 0 when empty. Cost: O(n)."""
        return 2.0 * float(np.log(np.diagonal(self._store)[: self._size]).sum())

    def inverse(self) -> np.ndarray:
        """``matrix^{-1}``, (n, n). Cost: O(n^3)."""
        return self.solve(np.eye(self._size)) if self._size else np.zeros((0, 0))

    def _checked_half_solve(self, name: str, b) -> np.ndarray:
        rows, is_vector = self._rows(name, b)
        _forward_rows(self._store, self._size, rows)
        return rows[0] if is_vector else rows.T.copy()

    def _rows(self, name: str, b) -> tuple[np.ndarray, bool]:
        """Right-hand sides as a fresh array with one a row."""
        if self._size == 0:
            raise ValueError("the matrix is still empty; append a row first")
        if np.ndim(b) == 1:
            return checks.as_vector(name, b, length=self._size)[None].copy(), True
        return checks.as_matrix(name, b, rows=self._size).T.copy(), False

    def _reserve(self, size: int) -> None:
        """Keep room by doubling, so that n appends copy O(n^2) numbers in all, not O(n^3)."""
        if size > len(self._store):
            store = np.zeros((2 * size, 2 * size))
            store[: self._size, : self._size] = self._store[: self._size, : self._size]
            self._store = store

    def _replace(self, lower: np.ndarray) -> None:
        self._size = 0
        self._reserve(len(lower))
        self._size = len(lower)
        self._store[: self._size, : self._size] = lower


@compiled("void(float64[:,::1], int64, float64[::1])", fastmath=FAST)
def _forward(lower, n, b):
    """Solve L y = b in place with the leading n x n block."""
    for i in range(n):
        row = lower[i]
        total = 0.0
        for k in range(i):
            total += row[k] * b[k]
        b[i] = (b[i] - total) / row[i]


@compiled("void(float64[:,::1], int64, float64[::1])", fastmath=FAST)
def _backward(lower, n, y):
    """Solve L^T x = y in place with the leading n x n block."""
    for i in range(n - 1, -1, -1):
        row = lower[i]
        x = y[i] / row[i]
        y[i] = x
        for k in range(i):
            y[k] -= x * row[k]


@compiled("void(float64[:,::1], int64, float64[:,::1])")
def _forward_rows(lower, n, b):
    for i in range(len(b)):
        _forward(lower, n, b[i])


@compiled("void(float64[:,::1], int64, float64[:,::1])")
def _backward_rows(lower, n, y):
    for i in range(len(y)):
        _backward(lower, n, y[i])


class GrowingInverse:
    """Inverse of a symmetric positive definite matrix that gains and loses rows, by bordering.

    Appending (k, kappa): with b = A^{-1} k and s = kappa - k^T b,
    A^{-1} <- [[A^{-1} + b b^T / s, -b / s], [-b^T / s, 1 / s]].
    :class:`GrowingCholesky` keeps more digits; the inverse is for methods that need its entries.

    Parameters
    ----------
    matrix : (n, n) to start from (default: empty).

    Raises ValueError if ``matrix`` is not symmetric positive definite.

    Cost: O(n^2) to append or remove. len() gives n.

    >>> inverse = GrowingInverse([[4.0]])
    >>> inverse.append([2.0], 2.0)
    1.0
    >>> inverse.matrix.tolist()
    [[0.5, -0.5], [-0.5, 1.0]]
    """

    def __init__(self, matrix=None):
        self._size = 0
        self._store = np.zeros((16, 16))
        if matrix is not None:
            inverse = GrowingCholesky(matrix).inverse()
            self._reserve(len(inverse))
            self._size = len(inverse)
            self._view()[:] = 0.5 * (inverse + inverse.T)

    def __len__(self) -> int:
        return self._size

    @property
    def matrix(self) -> np.ndarray:
        """The inverse, (n, n), as a copy."""
        return self._view().copy()

    def append(self, cross, diagonal: float) -> float:
        """Add a last row and column to the matrix that is inverted.

        cross : (n,) entries with the rows so far (empty for the first). diagonal : the new corner.

        Returns s, what is left of the corner given the rows so far.
        Raises ValueError where only rounding is left of it.
        """
        diagonal = checks.positive("diagonal", diagonal)
        if self._size:
            cross = checks.as_vector("cross", cross, length=self._size)
        elif np.size(cross):
            raise ValueError(f"cross must be empty for the first row, got {np.size(cross)} entries")
        else:
            cross = np.zeros(0)
        image = self._view() @ cross
        left = diagonal - float(cross @ image)
        if not left > (self._size + 1) * EPSILON * diagonal:
            raise ValueError(
                f"cross must leave the matrix positive definite, but the new row depends linearly "
                f"on the {self._size} so far: {left:.3g} is left of {diagonal:.3g}"
            )
        self._reserve(self._size + 1)
        self._view()[:] += np.outer(image, image) / left
        self._store[self._size, : self._size] = -image / left
        self._store[: self._size, self._size] = -image / left
        self._store[self._size, self._size] = 1.0 / left
        self._size += 1
        return left

    def remove(self, index: int) -> None:
        """Delete row and column ``index`` of the matrix that is inverted."""
        index = checks.integer("index", index, low=0, high=self._size - 1)
        kept = np.arange(self._size) != index
        inverse = self._view()
        column = inverse[kept, index]
        smaller = inverse[np.ix_(kept, kept)] - np.outer(column, column) / inverse[index, index]
        self._size -= 1
        self._view()[:] = smaller

    def _view(self) -> np.ndarray:
        return self._store[: self._size, : self._size]

    def _reserve(self, size: int) -> None:
        if size > len(self._store):
            store = np.zeros((2 * size, 2 * size))
            store[: self._size, : self._size] = self._view()
            self._store = store


# --- Recursive least squares ----------------------------------------------------------------------


class RecursiveLeastSquares:
    """Least squares kept up to date with a stream, with optional forgetting.

    After t pairs the weights minimise
    sum_s forgetting^(t-s) ||phi_s^T w - y_s||^2 + forgetting^t ridge ||w||^2.
    A step: h = P phi, g = h / (forgetting + phi^T h), e = y - phi^T w;  w += g e,
    P <- (P - g h^T) / forgetting.

    Parameters
    ----------
    n_features : m.
    n_outputs : p; None (default) for one output given as numbers.
    ridge : > 0, the penalty before any data; P starts as I / ridge.
    forgetting : in (0, 1]; 1 forgets nothing. Below 1, P grows in directions that no data visit.

    Attributes
    ----------
    weights : (m,) or (m, p). covariance : P, (m, m).

    Raises ValueError on bad sizes, ridge or forgetting.

    Cost: O(m^2) a pair.
    Source: Haykin, Adaptive Filter Theory, chapter on the RLS algorithm.
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int | None = None,
        *,
        ridge: float = 1.0,
        forgetting: float = 1.0,
    ):
        n_features = checks.integer("n_features", n_features, low=1)
        self._is_vector = n_outputs is None
        n_outputs = 1 if n_outputs is None else checks.integer("n_outputs", n_outputs, low=1)
        self.ridge = checks.positive("ridge", ridge)
        self.forgetting = checks.between("forgetting", forgetting, 0.0, 1.0)
        checks.positive("forgetting", forgetting)
        self.covariance = np.eye(n_features) / self.ridge
        self._weights = np.zeros((n_features, n_outputs))

    @property
    def weights(self) -> np.ndarray:
        weights = self._weights[:, 0] if self._is_vector else self._weights
        return weights.copy()

    def predict(self, features) -> np.ndarray | float:
        """``features @ weights`` for one (m,) or many (T, m) feature vectors."""
        rows, single = self._features(features)
        result = rows @ self._weights
        result = result[:, 0] if self._is_vector else result
        return (float(result[0]) if self._is_vector else result[0]) if single else result

    def update(self, features, targets) -> np.ndarray | float:
        """Take in one pair, or T of them in order.

        features : (m,) or (T, m). targets : a number or (p,) for one pair; (T,) or (T, p) for T.

        Returns the errors y - phi^T w, each made before its pair was learned, shaped as targets.
        """
        rows, single = self._features(features)
        wanted = (len(rows), self._weights.shape[1])
        shape = wanted[:1] if self._is_vector else wanted
        shape = shape[1:] if single else shape
        if np.shape(targets) != shape:
            raise ValueError(f"targets must have shape {shape}, got shape {np.shape(targets)}")
        targets = checks.as_matrix("targets", np.reshape(targets, wanted))
        errors = np.empty(wanted)
        _rls(self.covariance, self._weights, rows, targets, self.forgetting, errors)
        return float(errors[0, 0]) if shape == () else errors.reshape(shape)

    def _features(self, features) -> tuple[np.ndarray, bool]:
        m = len(self._weights)
        if np.ndim(features) == 1:
            return checks.as_vector("features", features, length=m)[None], True
        return checks.as_matrix("features", features, columns=m), False


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64, float64[:,::1])",
    fastmath=FAST,
)
def _rls(covariance, weights, features, targets, forgetting, errors):
    """Run the recursion over the rows of features; covariance and weights change in place."""
    m, p = weights.shape
    image = np.empty(m)
    for t in range(len(features)):
        phi = features[t]
        power = forgetting
        for i in range(m):
            row = covariance[i]
            total = 0.0
            for k in range(m):
                total += row[k] * phi[k]
            image[i] = total
            power += phi[i] * total
        for j in range(p):
            errors[t, j] = targets[t, j]
        for i in range(m):
            for j in range(p):
                errors[t, j] -= phi[i] * weights[i, j]
        for i in range(m):
            gain = image[i] / power
            for j in range(p):
                weights[i, j] += gain * errors[t, j]
        # One product of two numbers an entry, so that the covariance stays exactly symmetric.
        for i in range(m):
            row = covariance[i]
            for k in range(m):
                row[k] = (row[k] - (image[i] * image[k]) / power) / forgetting


# --- Approximate linear dependence ----------------------------------------------------------------


@dataclass(frozen=True)
class Observed:
    """What a dictionary made of a stream of T points, s being its size afterwards.

    Attributes
    ----------
    added : (T,) whether the point joined.
    residuals : (T,) squared distance in feature space to the span of the dictionary before it.
    sizes : (T,) size of the dictionary just after the point.
    cross : (T, s) kernel between the point and the dictionary just after it; 0 for later members.
    coefficients : (T, s) of the point's projection on that dictionary; 0 for later members, and a
        single 1 for a point that joined.
    """

    added: np.ndarray
    residuals: np.ndarray
    sizes: np.ndarray
    cross: np.ndarray
    coefficients: np.ndarray


class KernelDictionary:
    """Points of a stream whose kernel features are nearly linearly independent.

    A point x joins when  delta = k(x, x) - k_S(x)^T K_S^{-1} k_S(x) = min_b ||phi(x) - sum_j b_j
    phi(s_j)||^2  exceeds the threshold (approximate linear dependence); the others are represented
    by b = K_S^{-1} k_S(x). On a compact set the dictionary stays finite however long the stream.

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``.
    threshold : >= 0, in units of k(x, x). At 0 every point joins that is not a repetition (or
        dependent on the others up to rounding).
    max_size : the dictionary closes when it holds this many (default: no limit).

    Attributes
    ----------
    points : (s, d). factor : :class:`GrowingCholesky` of K_S.

    Raises ValueError on bad arguments.

    Cost: O(s^2) and s kernel values a point.
    Source: Engel, Mannor and Meir (2004), The kernel recursive least squares algorithm.
    """

    def __init__(self, kernel, threshold: float, max_size: int | None = None):
        for method in ("gram", "diagonal"):
            if not callable(getattr(kernel, method, None)):
                raise ValueError(
                    f"kernel must have the methods gram(x, y) and diagonal(x), "
                    f"got {type(kernel).__name__}"
                )
        self.kernel = kernel
        self.threshold = checks.nonnegative("threshold", threshold)
        self.max_size = None if max_size is None else checks.integer("max_size", max_size, low=1)
        self.factor = GrowingCholesky()
        self.points = np.zeros((0, 0))

    def __len__(self) -> int:
        return len(self.factor)

    def observe(self, x) -> Observed:
        """Show the dictionary the points x, (T, d), one after another; it keeps some of them."""
        x = self._checked(x)
        n_points = len(x)
        size = len(self)
        diagonal = np.array(self.kernel.diagonal(x), dtype=np.float64)
        limit = n_points + size if self.max_size is None else self.max_size
        cross = np.zeros((n_points, size + 16))
        coefficients = np.zeros_like(cross)
        if size:
            cross[:, :size] = self.kernel.gram(x, self.points)
        residuals = np.empty(n_points)
        kept = []
        start = 0
        while True:
            self.factor._reserve(size + 1)
            threshold = self.threshold if size < limit else np.inf
            t = _next_member(
                self.factor._store, size, cross, diagonal, start, threshold, residuals, coefficients
            )
            if t == n_points:
                break
            kept.append(t)
            if size + 1 > cross.shape[1]:
                checks.fits_in_memory("the kernel values", 16 * n_points * 2 * size)
                cross, coefficients = _widen(cross, 2 * size), _widen(coefficients, 2 * size)
            # The new member's kernel with the rest of the stream, in one go.
            cross[t:, size] = self.kernel.gram(x[t : t + 1], x[t:])[0]
            coefficients[t, size] = 1.0
            size += 1
            self.factor._size = size
            start = t + 1
        added = np.zeros(n_points, dtype=bool)
        added[kept] = True
        if kept:
            self.points = np.concatenate([self.points.reshape(-1, x.shape[1]), x[kept]])
        return Observed(
            added,
            residuals,
            size - len(kept) + np.cumsum(added),
            cross[:, :size].copy(),
            coefficients[:, :size].copy(),
        )

    def project(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Represent points by the dictionary as it is, without adding any.

        Returns coefficients (T, s) and residuals delta (T,).
        """
        x = self._checked(x)
        if not len(self):
            raise ValueError("the dictionary is still empty; observe points first")
        cross = self.kernel.gram(x, self.points)
        coefficients = self.factor.solve(cross.T).T
        residuals = self.kernel.diagonal(x) - np.einsum("ij,ij->i", cross, coefficients)
        return coefficients, np.maximum(residuals, 0.0)

    def inverse(self) -> np.ndarray:
        """K_S^{-1}, (s, s). Cost: O(s^3)."""
        return self.factor.inverse()

    def _checked(self, x) -> np.ndarray:
        return checks.as_matrix("x", x, columns=self.points.shape[1] if len(self) else None)


def _widen(matrix: np.ndarray, columns: int) -> np.ndarray:
    wider = np.zeros((len(matrix), columns))
    wider[:, : matrix.shape[1]] = matrix
    return wider


@compiled(
    "int64(float64[:,::1], int64, float64[:,::1], float64[::1], int64, float64, float64[::1],"
    " float64[:,::1])"
)
def _next_member(lower, size, cross, diagonal, start, threshold, residuals, coefficients):
    """Project points from ``start`` on until one must join; return its index, or their number.

    The factor gets the new member's row, so it must have room for it.
    """
    n_points = len(diagonal)
    work = np.empty(size)
    for t in range(start, n_points):
        left = diagonal[t]
        for k in range(size):
            work[k] = cross[t, k]
        _forward(lower, size, work)
        for k in range(size):
            left -= work[k] * work[k]
        residuals[t] = max(left, 0.0)
        if left > threshold and left > (size + 1) * 2.3e-16 * diagonal[t]:
            for k in range(size):
                lower[size, k] = work[k]
            lower[size, size] = np.sqrt(left)
            return t
        _backward(lower, size, work)
        for k in range(size):
            coefficients[t, k] = work[k]
    return n_points
