"""Ridge regression for many penalties from one decomposition.

:class:`RidgePath` starts from a kernel matrix, :class:`FeatureRidgePath` from explicit features;
both answer the same questions: fits, predictions, leave-one-out residuals, generalised
cross-validation, effective degrees of freedom, likelihood.

Penalties are absolute: the system is ``K + ridge I``. A text that divides by n, as in
(K/n + eta I), means ``ridge = n * eta``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg as sla

from kernellab.compute import checks, linalg


class _SpectralRidge:
    """Ridge regression in the eigenbasis of K: what both paths below share.

    ``vectors`` (n, r) and ``eigenvalues`` (r,) describe K; where r < n the targets' part outside
    their span is kept apart in ``_outside``, because K is zero there.
    """

    def __init__(self, values: np.ndarray, vectors: np.ndarray, y):
        self.eigenvalues = values
        self.vectors = vectors
        self._squares = vectors**2
        self._set_targets(y)

    @property
    def n(self) -> int:
        """Number of training points."""
        return self.vectors.shape[0]

    def with_targets(self, y):
        """The same path for other targets y, (n,) or (n, p), without a new decomposition.

        Cost: O(n^2 p), which is what lets a noise slider run live.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._set_targets(y)
        return other

    def _set_targets(self, y) -> None:
        n, rank = self.vectors.shape
        self._is_vector = np.ndim(y) == 1
        if self._is_vector:
            self.y = checks.as_vector("y", y, length=n)
        else:
            self.y = checks.as_matrix("y", y, rows=n)
        targets = self.y.reshape(n, -1)
        self._coordinates = self.vectors.T @ targets
        self._outside = targets - self.vectors @ self._coordinates if rank < n else None

    @property
    def coordinates(self) -> np.ndarray:
        """The targets in the eigenbasis, U^T y, shape (r,) or (r, p)."""
        return self._coordinates[:, 0] if self._is_vector else self._coordinates

    # Every quantity is U diag(w) U^T y for some weights w, one row of them a ridge.

    def _combine(self, weights: np.ndarray, outside: np.ndarray, basis=None) -> np.ndarray:
        """Rows ``basis diag(w) U^T y (+ w_outside y_outside)``: (m, r) weights -> (m, n, p)."""
        basis = self.vectors if basis is None else basis
        m, rank = weights.shape
        n_outputs = self._coordinates.shape[1]
        scaled = weights[:, None, :] * self._coordinates.T  # (m, p, r)
        rows = scaled.reshape(m * n_outputs, rank) @ basis.T
        result = rows.reshape(m, n_outputs, -1).transpose(0, 2, 1)
        if self._outside is not None and basis is self.vectors:
            result = result + outside[:, None, None] * self._outside
        return result

    def _shape(self, result: np.ndarray, single: bool) -> np.ndarray:
        """Drop the axis of outputs for vector targets, and that of ridges for a single ridge."""
        result = result[..., 0] if self._is_vector else result
        return np.ascontiguousarray(result[0] if single else result)

    def _residual_profile(self, ridges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights proportional to 1/(l + ridge), scaled so that they stay finite as ridge -> 0.

        Leave-one-out residuals and GCV are ratios that do not change under this scaling. With
        ridge = 0 and a singular K the weights become the projection onto the null space.
        """
        lowest = 0.0 if self._outside is not None else float(self.eigenvalues.min())
        shifted = self.eigenvalues + ridges[:, None]
        ones = np.ones_like(shifted)
        inside = np.divide((lowest + ridges)[:, None], shifted, out=ones, where=shifted > 0.0)
        return inside, np.ones(len(ridges))

    def _inverse_profile(self, ridges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights 1/(l + ridge), and 0 where that sum is 0 (the pseudo-inverse)."""
        shifted = self.eigenvalues + ridges[:, None]
        inside = np.divide(1.0, shifted, out=np.zeros_like(shifted), where=shifted > 0.0)
        outside = np.divide(1.0, ridges, out=np.zeros_like(ridges), where=ridges > 0.0)
        return inside, outside

    def filter(self, ridges) -> np.ndarray:
        """The ridge filter h(l) = l / (l + ridge) on each eigenvalue, shape (r,) or (m, r)."""
        ridges, single = _as_ridges(ridges)
        profile = self.eigenvalues * self._inverse_profile(ridges)[0]
        return profile[0] if single else profile

    def filtered(self, profile: Callable[[np.ndarray], np.ndarray] | np.ndarray) -> np.ndarray:
        """Fit with any spectral filter: ``U diag(h) U^T y`` at the training points.

        Parameters
        ----------
        profile : a function of the eigenvalues, (r,) -> (r,), or its values, shape (r,). A function
            is also asked for h(0), which acts on what the eigenvectors leave out (if anything).

        Returns
        -------
        fitted values, (n,) or (n, p). Cost: O(n^2 p).
        """
        outside = np.zeros(1)
        if callable(profile):
            values = profile(self.eigenvalues)
            if self._outside is not None:
                outside = checks.as_vector("profile", profile(np.zeros(1)), length=1)
        else:
            values = profile
        weights = checks.as_vector("profile", values, length=len(self.eigenvalues))
        return self._shape(self._combine(weights[None], outside), single=True)

    def fitted(self, ridges) -> np.ndarray:
        """Fitted values ``K (K + ridge I)^{-1} y``: (n[, p]), or (m, n[, p]) for m ridges."""
        ridges, single = _as_ridges(ridges)
        weights = self.eigenvalues * self._inverse_profile(ridges)[0]
        return self._shape(self._combine(weights, np.zeros(len(ridges))), single)

    def leave_one_out(self, ridges) -> np.ndarray:
        """Leave-one-out residuals ``y_i - f_{-i}(x_i)`` without refitting.

        r_i = [(K + ridge I)^{-1} y]_i / [(K + ridge I)^{-1}]_ii.  At ridge = 0 this is the limit
        from above, also for a singular K.

        Returns shape (n[, p]), or (m, n[, p]) for m ridges. Cost: O(n^2 p) a ridge.
        Source: Allen's PRESS; Golub, Heath and Wahba (1979).
        """
        ridges, single = _as_ridges(ridges)
        top, bottom = self._loo_parts(*self._residual_profile(ridges))
        # A point that no null direction touches: both parts are 0, and the rest decides.
        lost = bottom <= self.n * linalg.EPSILON
        if lost.any():
            inside, _ = self._inverse_profile(ridges)
            inside = np.where(self.eigenvalues > 0.0, inside, 0.0)
            top_rest, bottom_rest = self._loo_parts(inside, np.zeros(len(ridges)))
            top = np.where(lost[..., None], top_rest, top)
            bottom = np.where(lost, bottom_rest, bottom)
        # K = 0 at ridge 0 has no direction at all; such a model predicts 0.
        bottom = np.where(bottom > 0.0, bottom, 1.0)
        return self._shape(top / bottom[..., None], single)

    def _loo_parts(self, inside, outside) -> tuple[np.ndarray, np.ndarray]:
        diagonal = inside @ self._squares.T
        if self._outside is not None:
            left_over = np.clip(1.0 - self._squares.sum(axis=1), 0.0, None)
            diagonal = diagonal + outside[:, None] * left_over
        return self._combine(inside, outside), diagonal

    def loo_error(self, ridges) -> np.ndarray | float:
        """Mean squared leave-one-out residual over points and outputs, one value a ridge."""
        ridges, single = _as_ridges(ridges)
        residuals = self.leave_one_out(ridges).reshape(len(ridges), -1)
        return _values(np.mean(residuals**2, axis=1), single)

    def gcv(self, ridges) -> np.ndarray | float:
        """Generalised cross-validation score, averaged over outputs, one value a ridge.

        V(ridge) = (1/n) ||(I - H) y||^2 / (tr(I - H) / n)^2,  H = K (K + ridge I)^{-1}.

        Cost: O(n p) a ridge. Source: Golub, Heath and Wahba (1979).
        """
        ridges, single = _as_ridges(ridges)
        inside, outside = self._residual_profile(ridges)
        n_outputs = self._coordinates.shape[1]
        squares = inside**2 @ (self._coordinates**2).sum(axis=1)
        trace = inside.sum(axis=1)
        if self._outside is not None:
            squares = squares + outside**2 * float((self._outside**2).sum())
            trace = trace + outside * (self.n - len(self.eigenvalues))
        return _values(self.n * squares / (trace**2 * n_outputs), single)

    def degrees_of_freedom(self, ridges) -> np.ndarray | float:
        """Effective degrees of freedom ``tr K (K + ridge I)^{-1} = sum l/(l + ridge)``."""
        ridges, single = _as_ridges(ridges)
        return _values((self.eigenvalues * self._inverse_profile(ridges)[0]).sum(axis=1), single)

    def leverage(self, ridges) -> np.ndarray:
        """Ridge leverage scores, the diagonal of ``K (K + ridge I)^{-1}``: (n,) or (m, n)."""
        ridges, single = _as_ridges(ridges)
        scores = (self.eigenvalues * self._inverse_profile(ridges)[0]) @ self._squares.T
        return scores[0] if single else scores

    def log_marginal_likelihood(self, ridges) -> np.ndarray | float:
        """Log density of y under N(0, K + ridge I), summed over outputs, one value a ridge.

        -(1/2) y^T (K + ridge I)^{-1} y - (1/2) log det(K + ridge I) - (n/2) log 2 pi,
        with ``ridge`` the variance of the noise.

        Raises ValueError where ridge = 0 and K is singular. Cost: O(n p) a ridge.
        """
        ridges, single = _as_ridges(ridges)
        lowest = 0.0 if self._outside is not None else float(self.eigenvalues.min())
        if np.any(ridges + lowest <= 0.0):
            raise ValueError("ridges must be positive here, because gram is singular; got 0")
        shifted = self.eigenvalues + ridges[:, None]
        n_outputs = self._coordinates.shape[1]
        fit = (1.0 / shifted) @ (self._coordinates**2).sum(axis=1)
        volume = np.log(shifted).sum(axis=1)
        if self._outside is not None:
            fit = fit + float((self._outside**2).sum()) / ridges
            volume = volume + (self.n - len(self.eigenvalues)) * np.log(ridges)
        constant = self.n * np.log(2.0 * np.pi)
        return _values(-0.5 * (fit + n_outputs * (volume + constant)), single)

    def best(self, ridges, by: str = "loo") -> float:
        """The ridge among ``ridges`` with the best score.

        by : "loo" (least :meth:`loo_error`), "gcv" (least :meth:`gcv`) or "likelihood" (greatest
            :meth:`log_marginal_likelihood`).
        """
        ridges = checks.as_vector("ridges", np.atleast_1d(ridges))
        by = checks.one_of("by", by, ("loo", "gcv", "likelihood"))
        score = {
            "loo": self.loo_error,
            "gcv": self.gcv,
            "likelihood": lambda r: -self.log_marginal_likelihood(r),
        }[by]
        return float(ridges[np.argmin(score(ridges))])


class RidgePath(_SpectralRidge):
    """Kernel ridge regression for many penalties from one eigendecomposition.

    a(ridge) = (K + ridge I)^{-1} y,  f(x) = k(x)^T a(ridge).  With K = U diag(l) U^T each penalty
    only rescales U^T y. Every method takes one ridge or a vector of m of them; m adds a first axis.

    Parameters
    ----------
    gram : (n, n) symmetric positive semidefinite kernel matrix K.
    y : targets, (n,) or (n, p).

    Attributes
    ----------
    eigenvalues : (n,) descending; those within rounding of zero are exactly 0.
    vectors : (n, n) eigenvectors, one a column.

    Raises
    ------
    ValueError : if ``gram`` is not symmetric, finite and positive semidefinite, or y does not fit.

    Cost: one O(n^3) eigendecomposition; then O(n^2 p) for coefficients, fits and leave-one-out
    residuals, O(n p) for GCV, likelihood and degrees of freedom, each for one ridge.

    >>> path = RidgePath([[2.0, 0.0], [0.0, 1.0]], [3.0, 3.0])
    >>> path.coefficients(1.0).tolist()
    [1.0, 1.5]
    """

    def __init__(self, gram, y):
        gram = checks.symmetric("gram", gram)
        values, vectors = linalg.eigh_checked(gram)
        super().__init__(linalg.clip_rounding(values), vectors, y)

    def coefficients(self, ridges) -> np.ndarray:
        """Dual coefficients ``(K + ridge I)^{-1} y``: (n[, p]), or (m, n[, p]) for m ridges.

        At ridge = 0 and a singular K: the solution of least norm.
        """
        ridges, single = _as_ridges(ridges)
        return self._shape(self._combine(*self._inverse_profile(ridges)), single)

    def predict(self, cross_gram, ridges) -> np.ndarray:
        """Predictions at new points: (t[, p]), or (m, t[, p]) for m ridges.

        Directions in which K is zero are left out: they contribute nothing to f, but a small
        ridge would blow up their rounding errors.

        Parameters
        ----------
        cross_gram : (t, n), kernel between the t new points and the training points.
        ridges : one ridge or m of them.

        Cost: O(t n r) once plus O(t r p) a ridge for more ridges than new points, otherwise
        O(n^2 p + t n p) a ridge.
        """
        cross_gram = checks.as_matrix("cross_gram", cross_gram, columns=self.n)
        ridges, single = _as_ridges(ridges)
        inside, _ = self._inverse_profile(ridges)
        inside = np.where(self.eigenvalues > 0.0, inside, 0.0)
        if len(ridges) * self._coordinates.shape[1] > cross_gram.shape[0]:
            result = self._combine(inside, np.zeros(len(ridges)), basis=cross_gram @ self.vectors)
        else:
            result = cross_gram @ self._combine(inside, np.zeros(len(ridges)))
        return self._shape(result, single)


class FeatureRidgePath(_SpectralRidge):
    """Ridge regression on explicit features for many penalties from one thin SVD.

    w(ridge) = (F^T F + ridge I)^{-1} F^T y: the same fit as :class:`RidgePath` with K = F F^T, but
    in O(n m min(n, m)). Random features and Nystrom features go here.

    Parameters
    ----------
    features : (n, m) matrix F, one row a training point.
    y : targets, (n,) or (n, p).

    Attributes
    ----------
    eigenvalues : (r,) positive eigenvalues of F F^T, descending; r is the numerical rank of F.
    vectors : (n, r) their eigenvectors.

    Raises
    ------
    ValueError : if ``features`` is not a finite matrix, or y does not fit.
    """

    def __init__(self, features, y):
        features = checks.as_matrix("features", features)
        left, singular, right = sla.svd(features, full_matrices=False, check_finite=False)
        largest = singular[0] if len(singular) else 0.0
        rank = max(1, int(np.sum(singular > max(features.shape) * linalg.EPSILON * largest)))
        self._right = right[:rank].T
        self._singular = singular[:rank]
        super().__init__(self._singular**2, np.ascontiguousarray(left[:, :rank]), y)

    def weights(self, ridges) -> np.ndarray:
        """Weights w of the features: (m[, p]), or (number of ridges, m[, p])."""
        ridges, single = _as_ridges(ridges)
        scaled = self._singular * self._inverse_profile(ridges)[0]
        return self._shape(self._combine(scaled, np.zeros(len(ridges)), basis=self._right), single)

    def predict(self, features, ridges) -> np.ndarray:
        """Predictions ``features @ w`` for features of shape (t, m), one row a new point."""
        features = checks.as_matrix("features", features, columns=self._right.shape[0])
        ridges, single = _as_ridges(ridges)
        scaled = self._singular * self._inverse_profile(ridges)[0]
        weights = self._combine(scaled, np.zeros(len(ridges)), basis=self._right)
        return self._shape(features @ weights, single)


def _as_ridges(ridges) -> tuple[np.ndarray, bool]:
    """Check one ridge or a vector of them; say which it was."""
    single = np.ndim(ridges) == 0
    if single:
        return np.array([checks.nonnegative("ridges", ridges)]), True
    values = checks.as_vector("ridges", ridges)
    if values.min() < 0.0:
        raise ValueError(f"ridges must be nonnegative, got {values.min():.3g} among them")
    return values, False


def _values(values: np.ndarray, single: bool) -> np.ndarray | float:
    return float(values[0]) if single else values
