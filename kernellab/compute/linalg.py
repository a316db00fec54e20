"""Dense linear algebra of kernel matrices: eigenvalues and Cholesky factors, on LAPACK.

Ridge regression over many penalties is in ``ridge``, iterations that only multiply by the matrix in
``iterative``, approximations by a few of its columns in ``lowrank``, factors that grow point by
point in ``online``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg as sla

from kernellab.compute import checks

# A matrix whose lowest eigenvalue is below -NEGATIVE_TOLERANCE times its largest is indefinite;
# anything closer to zero is what rounding does to a singular kernel matrix.
NEGATIVE_TOLERANCE = 1e-8
EPSILON = float(np.finfo(float).eps)


class Eigen(NamedTuple):
    """Eigenvalues in descending order, shape (k,), and their unit eigenvectors, shape (n, k)."""

    values: np.ndarray
    vectors: np.ndarray


def eigh(matrix, top: int | None = None) -> Eigen:
    """Eigenvalues and eigenvectors of a symmetric matrix, the largest first.

    matrix = vectors diag(values) vectors^T.  Each vector's sign is fixed (its largest entry is
    positive; of entries equally large up to rounding, the first), so that pictures of eigenvectors
    look the same on every machine; of a repeated eigenvalue any basis may come.

    Parameters
    ----------
    matrix : (n, n) symmetric, not necessarily positive.
    top : return only the ``top`` largest eigenvalues (default: all n).

    Returns
    -------
    Eigen : values (k,) descending, vectors (n, k), with k = top or n.

    Raises
    ------
    ValueError : if ``matrix`` is not a finite symmetric matrix, or ``top`` is not in 1..n.

    Cost: O(n^3), about 9 n^3 operations for all pairs and 4/3 n^3 + O(n^2 k) for a few.

    >>> eigh([[2.0, 0.0], [0.0, 3.0]]).values.tolist()
    [3.0, 2.0]
    """
    matrix = checks.symmetric("matrix", matrix)
    n = matrix.shape[0]
    if top is None:
        return eigh_checked(matrix)
    top = checks.integer("top", top, low=1, high=n)
    return _descending(*sla.eigh(matrix, subset_by_index=(n - top, n - 1), check_finite=False))


def eigh_checked(matrix: np.ndarray) -> Eigen:
    """Every eigenpair of a matrix that is known to be symmetric."""
    return _descending(*sla.eigh(matrix, driver="evd", check_finite=False))


def _descending(values: np.ndarray, vectors: np.ndarray) -> Eigen:
    return Eigen(values[::-1].copy(), _fix_signs(vectors[:, ::-1]))


def _fix_signs(vectors: np.ndarray) -> np.ndarray:
    """Turn each column so that its first largest entry is positive; equal up to 1e-6 is a tie."""
    sizes = np.abs(vectors)
    leaders = np.argmax(sizes >= (1.0 - 1e-6) * sizes.max(axis=0), axis=0)
    signs = np.where(vectors[leaders, np.arange(vectors.shape[1])] < 0.0, -1.0, 1.0)
    return vectors * signs


def clip_rounding(values: np.ndarray) -> np.ndarray:
    """Set eigenvalues of a kernel matrix that rounding alone could have produced to exactly zero.

    ValueError where one is more negative than rounding explains.
    """
    largest = max(float(values.max()), 0.0)
    if values.min() < -NEGATIVE_TOLERANCE * max(largest, -float(values.min())):
        raise ValueError(
            f"gram must be positive semidefinite, but its smallest eigenvalue is "
            f"{values.min():.3g} and its largest {values.max():.3g}"
        )
    return np.where(values > len(values) * EPSILON * largest, values, 0.0)


# --- Cholesky -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CholeskyFactor:
    """The factor of ``matrix + jitter I = lower lower^T`` and what one does with it.

    Attributes
    ----------
    lower : (n, n) lower triangular, positive diagonal.
    jitter : what had to be added to the diagonal, 0.0 for a safely positive matrix.
    """

    lower: np.ndarray
    jitter: float

    def solve(self, b) -> np.ndarray:
        """Solve ``(matrix + jitter I) x = b`` for b of shape (n,) or (n, p). Cost: O(n^2 p)."""
        return sla.cho_solve((self.lower, True), self._right_side(b), check_finite=False)

    def half_solve(self, b) -> np.ndarray:
        """Return ``lower^{-1} b``: b^T (matrix + jitter I)^{-1} b is its squared length."""
        return sla.solve_triangular(self.lower, self._right_side(b), lower=True, check_finite=False)

    def logdet(self) -> float:
        """Return ``log det(matrix + jitter I)``. Cost: O(n)."""
        return 2.0 * float(np.log(np.diagonal(self.lower)).sum())

    def inverse(self) -> np.ndarray:
        """Return the symmetric inverse, shape (n, n). Cost: 2/3 n^3 operations."""
        half, info = sla.lapack.dpotri(self.lower, lower=1)
        if info != 0:
            raise ValueError("the factor's diagonal holds a zero; no inverse exists")
        return np.tril(half) + np.tril(half, -1).T

    def _right_side(self, b) -> np.ndarray:
        return _right_side(b, self.lower.shape[0])


def _right_side(b, n: int) -> np.ndarray:
    """Check a right-hand side of n rows: a vector stays a vector."""
    if np.ndim(b) == 1:
        return checks.as_vector("b", b, length=n)
    return checks.as_matrix("b", b, rows=n)


def cholesky(matrix, jitter: float = 0.0, max_jitter: float = 1e-6) -> CholeskyFactor:
    """Cholesky factor of a positive semidefinite matrix, with as little jitter as needed.

    ``matrix + jitter I = L L^T``.  Jitter starts at ``jitter`` (absolute). While the matrix is
    singular to working precision (LAPACK stops, or a pivot L_ii^2 is below n eps matrix_ii, all of
    it rounding: repeated inputs, a very smooth kernel) it grows tenfold, from 1e-12 up to
    ``max_jitter`` times the mean of the diagonal.

    Parameters
    ----------
    matrix : (n, n) symmetric positive semidefinite.
    jitter : added to the diagonal in any case, >= 0.
    max_jitter : largest extra jitter, relative to the mean of the diagonal; 0 allows none.

    Returns
    -------
    CholeskyFactor : with ``lower``, the ``jitter`` really added, ``solve``, ``logdet``, ...

    Raises
    ------
    ValueError : if ``matrix`` is not symmetric and finite, or stays singular with the most jitter.

    Cost: n^3 / 3 operations an attempt.

    >>> cholesky([[4.0]]).lower.tolist()
    [[2.0]]
    """
    return _cholesky(
        checks.symmetric("matrix", matrix),
        checks.nonnegative("jitter", jitter),
        checks.nonnegative("max_jitter", max_jitter),
    )


def _cholesky(matrix: np.ndarray, jitter: float, max_jitter: float = 1e-6) -> CholeskyFactor:
    """What :func:`cholesky` does, for checked arguments."""
    scale = float(np.mean(np.diagonal(matrix)))
    attempts = 10.0 ** np.arange(-12.0, 3.0)
    extras = [0.0, *(attempts[attempts <= max_jitter * (1.0 + 1e-9)] * max(scale, 0.0))]
    for extra in extras:
        lower = _try_cholesky(matrix, jitter + extra)
        if lower is not None:
            return CholeskyFactor(lower, jitter + extra)
    raise ValueError(
        f"matrix must be positive definite, but its Cholesky factorisation fails even with "
        f"{jitter + extras[-1]:.3g} added to the diagonal (mean diagonal {scale:.3g})"
    )


def _try_cholesky(matrix: np.ndarray, jitter: float) -> np.ndarray | None:
    """The lower factor of ``matrix + jitter I``, or None where a pivot is lost to rounding."""
    n = matrix.shape[0]
    diagonal = np.diagonal(matrix) + jitter
    shifted = np.array(matrix, order="F")
    np.fill_diagonal(shifted, diagonal)
    lower, info = sla.lapack.dpotrf(shifted, lower=1, clean=1, overwrite_a=1)
    if info != 0:
        return None
    pivots = np.diagonal(lower) ** 2
    # With n = 1 the pivot is the entry itself; otherwise it is what is left after cancellation.
    return lower if np.all(pivots > n * EPSILON * diagonal) else None


def solve(matrix, b, jitter: float = 0.0) -> np.ndarray:
    """Solve ``(matrix + jitter I) x = b`` for a positive definite matrix, by Cholesky.

    Same arguments, jitter rule and errors as :func:`cholesky`; b is (n,) or (n, p) and so is x.
    Keep the factor from :func:`cholesky` to solve again, or to learn the jitter.

    Cost: n^3 / 3 + O(n^2 p) operations.

    >>> solve([[4.0, 0.0], [0.0, 16.0]], [4.0, 8.0]).tolist()
    [1.0, 0.5]
    """
    matrix = checks.symmetric("matrix", matrix)
    b = _right_side(b, matrix.shape[0])
    return _cholesky(matrix, checks.nonnegative("jitter", jitter)).solve(b)


def logdet(matrix, jitter: float = 0.0) -> float:
    """Return ``log det(matrix + jitter I)`` of a positive definite matrix, by Cholesky.

    Same jitter rule and errors as :func:`cholesky`. Cost: n^3 / 3 operations.

    >>> logdet([[1.0, 0.0], [0.0, 1.0]])
    0.0
    """
    return cholesky(matrix, jitter).logdet()
