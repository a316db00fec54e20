"""Gaussian processes through a few inducing values: Titsias' bound, and any q(u) = N(m, S).

With inducing inputs Z, values u = f(Z) and Q = K_fu K_uu^{-1} K_uf, what u does not explain of f is
taken from the prior. ``SparseGP`` finds the best Gaussian q(u) for Gaussian noise in closed form;
``VariationalGP`` takes any q(u), for any likelihood and any batch of the data. Both also take other
inducing variables than values, as ``InducingFeatures``.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import scipy.linalg as sla

from kernellab.compute import linalg
from kernellab.compute.checks import as_matrix, as_vector, integer, positive
from kernellab.compute.gp import Prediction
from kernellab.compute.kernels import as_kernel

__all__ = ["InducingFeatures", "InducingPoints", "SparseGP", "VariationalGP", "as_features"]


class InducingFeatures(ABC):
    """Inducing variables u: m linear functions of f, known by their covariances."""

    @abstractmethod
    def gram(self) -> np.ndarray:
        """Return K_uu, the covariance of u, shape (m, m)."""

    @abstractmethod
    def cross(self, x) -> np.ndarray:
        """Return K_uf, the covariances of u with f at points x (n, d), shape (m, n)."""


class InducingPoints(InducingFeatures):
    """The values u = f(Z) at points Z (m, d) themselves."""

    def __init__(self, kernel, points):
        self.kernel, self.points = as_kernel(kernel), as_matrix("inducing", points)

    def gram(self):
        """Return K_uu, shape (m, m)."""
        return self.kernel.gram(self.points)

    def cross(self, x):
        """Return K_uf, shape (m, n), for x (n, d)."""
        return self.kernel.gram(self.points, x)


def as_features(kernel, inducing, columns: int | None = None) -> InducingFeatures:
    """Return inducing features as they are, and a matrix of points (m, d) as InducingPoints."""
    if isinstance(inducing, InducingFeatures):
        return inducing
    return InducingPoints(kernel, as_matrix("inducing", inducing, columns=columns))


class SparseGP:
    """Sparse regression with the optimal q(u) (SGPR): the bound of Titsias and its posterior.

    bound = log N(y; 0, Q + noise I) - tr(K_ff - Q) / (2 noise) <= log N(y; 0, K_ff + noise I),
    with equality where Z holds all inputs.

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    x : inputs, shape (n, d)
    y : targets, shape (n,)
    noise : variance of the noise, > 0
    inducing : Z, shape (m, d), or ``InducingFeatures``

    Attributes
    ----------
    jitter : what had to be added to the diagonal of K_uu, 0.0 unless it is singular to rounding

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n m^2). Source: Titsias, Variational learning of inducing variables in sparse Gaussian
    processes (2009), equation 9; in the form of Matthews' thesis (2016).
    """

    def __init__(self, kernel, x, y, noise, inducing):
        self.kernel, self.noise = as_kernel(kernel), positive("noise", noise)
        self.x = as_matrix("x", x)
        self.y = as_vector("y", y, length=len(self.x))
        self.features = as_features(self.kernel, inducing, self.x.shape[1])
        self._factor = linalg.cholesky(self.features.gram())
        self.jitter = self._factor.jitter
        root = math.sqrt(self.noise)
        # In whitened coordinates u = L v the prior is N(0, I), and the posterior precision B.
        self._whitened = _half(self._factor.lower, self.features.cross(self.x)) / root
        precision = self._whitened @ self._whitened.T
        precision[np.diag_indices(len(precision))] += 1.0
        self._posterior = sla.cholesky(precision, lower=True, check_finite=False)
        self._shift = _half(self._posterior, self._whitened @ self.y) / root

    def bound(self) -> float:
        """Return Titsias' lower bound on the log marginal likelihood."""
        return self._evidence() - 0.5 * self.unexplained() / self.noise

    def unexplained(self) -> float:
        """Return tr(K_ff - Q), the prior variance that the inducing values do not explain."""
        total = float(self.kernel.diagonal(self.x).sum())
        return max(total - self.noise * float(np.vdot(self._whitened, self._whitened)), 0.0)

    def _evidence(self) -> float:
        """Return log N(y; 0, Q + noise I)."""
        n = len(self.y)
        fit = float(self.y @ self.y) / self.noise - float(self._shift @ self._shift)
        logdet = n * math.log(self.noise) + 2.0 * np.log(np.diagonal(self._posterior)).sum()
        return -0.5 * (fit + float(logdet) + n * math.log(2.0 * math.pi))

    def predict(self, x, covariance: bool = False) -> Prediction:
        """Return mean and variance of f at new points x (t, d); covariance: the matrix (t, t).

        Cost: O(t m^2), and O(t^2 m) for covariances.
        """
        x = as_matrix("x", x, columns=self.x.shape[1])
        prior = _half(self._factor.lower, self.features.cross(x))
        posterior = _half(self._posterior, prior)
        mean = posterior.T @ self._shift
        if covariance:
            return Prediction(mean, self.kernel.gram(x) - prior.T @ prior + posterior.T @ posterior)
        variance = self.kernel.diagonal(x) - (prior**2).sum(axis=0) + (posterior**2).sum(axis=0)
        return Prediction(mean, np.maximum(variance, 0.0))

    def inducing_posterior(self) -> Prediction:
        """Return mean (m,) and covariance (m, m) of the optimal q(u).

        Source: Titsias (2009), equation 10.
        """
        half = _half(self._posterior, self._factor.lower.T)
        return Prediction(half.T @ self._shift, half.T @ half)


class VariationalGP:
    """The posterior that a Gaussian q(u) = N(m, S) on inducing values gives (SVGP).

    f(x) ~ N(a^T m, k(x, x) - a^T (K_uu - S) a), with a = K_uu^{-1} k_u(x). Whitened parameters are
    those of v in u = L v, K_uu = L L^T, whose prior is N(0, I): q(v) = N(m, S).

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    inducing : Z, shape (m, d), or ``InducingFeatures``
    mean : of q, shape (m,)
    root : a matrix (m, m) with S = root root^T, or a vector (m,) of standard deviations
    whitened : whether mean and root are those of v

    Attributes
    ----------
    jitter : what had to be added to the diagonal of K_uu
    whitened_mean, whitened_root : mean (m,) and root (m, m) of q(v)

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(m^3). Source: Hensman, Matthews and Ghahramani, Scalable variational Gaussian process
    classification (2015).
    """

    def __init__(self, kernel, inducing, mean, root, *, whitened: bool = True):
        self.kernel = as_kernel(kernel)
        self.features = as_features(self.kernel, inducing)
        gram = self.features.gram()
        m = len(gram)
        mean = as_vector("mean", mean, length=m)
        if np.ndim(root) == 1:
            root = np.diag(as_vector("root", root, length=m))
        root = as_matrix("root", root, rows=m, columns=m)
        self._factor = linalg.cholesky(gram)
        self.jitter = self._factor.jitter
        if not whitened:
            mean, root = (_half(self._factor.lower, part) for part in (mean, root))
        self.whitened_mean, self.whitened_root = mean, root

    def predict(self, x, covariance: bool = False) -> Prediction:
        """Return mean and variance of f at points x (t, d); covariance: the matrix (t, t).

        Cost: O(t m^2), and O(t^2 m) for covariances.
        """
        x = as_matrix("x", x)
        weights = _half(self._factor.lower, self.features.cross(x))
        spread = self.whitened_root.T @ weights
        mean = weights.T @ self.whitened_mean
        if covariance:
            return Prediction(mean, self.kernel.gram(x) - weights.T @ weights + spread.T @ spread)
        variance = self.kernel.diagonal(x) - (weights**2).sum(axis=0) + (spread**2).sum(axis=0)
        return Prediction(mean, np.maximum(variance, 0.0))

    def kl(self) -> float:
        """Return KL(q(u) || p(u)) = (1/2) (tr S + |m|^2 - m - log det S) in whitened parameters.

        It is infinite for a singular root.
        """
        sign, logdet = np.linalg.slogdet(self.whitened_root)
        if sign == 0:
            return math.inf
        size = float(np.vdot(self.whitened_root, self.whitened_root))
        length = float(self.whitened_mean @ self.whitened_mean)
        return 0.5 * (size + length - len(self.whitened_mean)) - float(logdet)

    def bound(self, x, y, likelihood, n_total: int | None = None) -> float:
        """Return the evidence lower bound sum_i E_q log p(y_i | f_i) - KL(q || p).

        A batch of b out of ``n_total`` points gives an unbiased estimate: its sum counts
        n_total / b times.

        Parameters: x (b, d); y (b,); likelihood, of ``kernellab.compute.likelihoods``; n_total.
        """
        mean, variance = self.predict(x)
        y = likelihood.as_targets(y, len(mean))
        share = 1.0 if n_total is None else integer("n_total", n_total, low=len(y)) / len(y)
        return share * float(likelihood.expected(y, mean, variance)[0].sum()) - self.kl()


def _half(lower: np.ndarray, b: np.ndarray) -> np.ndarray:
    return sla.solve_triangular(lower, b, lower=True, check_finite=False)
