"""Likelihoods p(y | f) of Gaussian-process models, point by point, and their Gaussian averages.

Three ways of using a likelihood meet here: Laplace takes derivatives of log p(y | f), variational
inference the average of log p under a Gaussian f, expectation propagation the logarithm of the
average of p. What has no closed form is integrated by Gauss-Hermite quadrature with 64 nodes: near
1e-8 where p(y | f) is about as wide in f as the Gaussian, fewer digits where it is much narrower.

>>> import numpy as np
>>> Probit().log_density(np.array([1.0]), np.array([0.0])).round(3).tolist()
[-0.693]
"""

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln, log_expit, log_ndtr

from kernellab.compute.checks import as_vector, positive

__all__ = ["GaussianNoise", "Likelihood", "Logit", "Poisson", "Probit", "StudentT"]

_QUADRATURE = 64  # nodes; exact for polynomials up to degree 127
_LOG_2PI = math.log(2.0 * math.pi)
_LARGEST_EXPONENT = 700.0


class Likelihood(ABC):
    """log p(y | f) for independent observations; every method takes and returns vectors (n,)."""

    def as_targets(self, y, n: int) -> np.ndarray:
        """Return checked targets (n,), or raise ValueError saying which values are allowed."""
        return as_vector("y", y, length=n)

    @abstractmethod
    def log_density(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Return log p(y | f); f may have more axes before the last."""

    @abstractmethod
    def derivatives(self, y: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return first and second derivative of log p(y | f) in f."""

    @abstractmethod
    def third_derivative(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Return the third derivative of log p(y | f) in f."""

    def curvature(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Return a positive stand-in for -d^2 log p / df^2, for steps towards the mode."""
        return -self.derivatives(y, f)[1]

    def expected(self, y, mean, variance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return E log p(y | f) for f ~ N(mean, variance), and its derivatives in both.

        d/d mean = E (log p)', d/d variance = (1/2) E (log p)'' = E (log p)' t / (2 sd), with the
        standardised f in t. The last form is the very derivative of the quadrature's sum, so that
        climbing along it never falls; only for tiny variances the other one takes its place.
        Cost: O(n) times 64 nodes where there is no closed form.
        """
        nodes, weights = _gauss_hermite()
        spread = np.sqrt(variance)
        f = mean + spread * nodes[:, None]
        value, first, second = self._value_and_derivatives(y, f)
        by_parts = (weights * nodes) @ first / np.where(spread > 1e-4, 2.0 * spread, 1.0)
        slope = np.where(spread > 1e-4, by_parts, 0.5 * (weights @ second))
        return weights @ value, weights @ first, slope

    def _value_and_derivatives(self, y, f):
        """Return log p(y | f) and its first two derivatives, sharing what they share."""
        return self.log_density(y, f), *self.derivatives(y, f)

    def averaged(self, y, mean, variance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log Z = log E p(y | f) for f ~ N(mean, variance), and d, d^2 of it in the mean.

        log Z is also the log predictive density of y. The mean and variance of f given y are
        mean + variance d and variance + variance^2 d^2.
        """
        nodes, weights = _gauss_hermite()
        f = mean + np.sqrt(variance) * nodes[:, None]
        logs = self.log_density(y, f)
        top = logs.max(axis=0)
        shares = weights[:, None] * np.exp(logs - top)
        total = shares.sum(axis=0)
        # By parts: with t the standardised f, d/d mean log Z = E t / sd under the tilted law.
        first = (nodes[:, None] * shares).sum(axis=0) / total
        second = ((nodes[:, None] - first) ** 2 * shares).sum(axis=0) / total
        return top + np.log(total), first / np.sqrt(variance), (second - 1.0) / variance


@functools.cache
def _gauss_hermite() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights (64,) for averages over N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_QUADRATURE)
    return nodes, weights / weights.sum()


@dataclass(frozen=True)
class GaussianNoise(Likelihood):
    """y = f + N(0, variance); everything in closed form."""

    variance: float

    def __post_init__(self):
        object.__setattr__(self, "variance", positive("variance", self.variance))

    def log_density(self, y, f):
        return -0.5 * ((y - f) ** 2 / self.variance + math.log(self.variance) + _LOG_2PI)

    def derivatives(self, y, f):
        return (y - f) / self.variance, np.full_like(f, -1.0 / self.variance)

    def third_derivative(self, y, f):
        return np.zeros_like(f)

    def expected(self, y, mean, variance):
        value = self.log_density(y, mean) - 0.5 * variance / self.variance
        slope = np.full_like(mean, -0.5 / self.variance)
        return value, (y - mean) / self.variance, slope

    def averaged(self, y, mean, variance):
        total = variance + self.variance
        value = -0.5 * ((y - mean) ** 2 / total + np.log(total) + _LOG_2PI)
        return value, (y - mean) / total, -1.0 / total


class _Labels(Likelihood):
    """Two classes, -1 and 1."""

    def as_targets(self, y, n):
        y = super().as_targets(y, n)
        wrong = np.abs(y) != 1.0
        if wrong.any():
            raise ValueError(f"y must hold the labels -1 and 1, got {y[np.argmax(wrong)]:g}")
        return y

    def probability(self, mean, variance) -> np.ndarray:
        """Return P(y = 1) for f ~ N(mean, variance)."""
        return np.exp(self.averaged(np.ones_like(mean), mean, variance)[0])


@dataclass(frozen=True)
class Probit(_Labels):
    """Labels -1 and 1 with P(y | f) = Phi(y f), the Gaussian distribution function."""

    def log_density(self, y, f):
        return log_ndtr(y * f)

    def derivatives(self, y, f):
        return self._value_and_derivatives(y, f)[1:]

    def _value_and_derivatives(self, y, f):
        z = y * f
        value = log_ndtr(z)
        ratio = _hazard(z, value)
        return value, y * ratio, -ratio * (z + ratio)

    def third_derivative(self, y, f):
        z = y * f
        ratio = _hazard(z, log_ndtr(z))
        return y * ratio * ((z + ratio) * (z + 2.0 * ratio) - 1.0)

    def averaged(self, y, mean, variance):
        spread = np.sqrt(1.0 + variance)
        z = y * mean / spread
        value = log_ndtr(z)
        ratio = _hazard(z, value)
        return value, y * ratio / spread, -ratio * (z + ratio) / spread**2


def _hazard(z, log_phi):
    """Return N(z; 0, 1) / Phi(z), given log Phi(z)."""
    return np.exp(-0.5 * z * z - 0.5 * _LOG_2PI - log_phi)


@dataclass(frozen=True)
class Logit(_Labels):
    """Labels -1 and 1 with P(y | f) = 1 / (1 + exp(-y f))."""

    def log_density(self, y, f):
        return log_expit(y * f)

    def derivatives(self, y, f):
        return y * expit(-y * f), -expit(f) * expit(-f)

    def third_derivative(self, y, f):
        return expit(f) * expit(-f) * (expit(f) - expit(-f))


@dataclass(frozen=True)
class Poisson(Likelihood):
    """Counts y = 0, 1, ... with rate exp(f)."""

    def as_targets(self, y, n):
        y = super().as_targets(y, n)
        wrong = (y < 0) | (y != np.floor(y))
        if wrong.any():
            raise ValueError(f"y must hold counts 0, 1, 2, ..., got {y[np.argmax(wrong)]:g}")
        return y

    def log_density(self, y, f):
        return y * f - _rate(f) - gammaln(y + 1.0)

    def derivatives(self, y, f):
        return y - _rate(f), -_rate(f)

    def third_derivative(self, y, f):
        return -_rate(f)

    def expected(self, y, mean, variance):
        rate = _rate(mean + 0.5 * variance)
        return y * mean - rate - gammaln(y + 1.0), y - rate, -0.5 * rate


def _rate(f):
    return np.exp(np.minimum(f, _LARGEST_EXPONENT))


@dataclass(frozen=True)
class StudentT(Likelihood):
    """y = f + scale t, with Student's t of ``degrees`` degrees of freedom: outliers are welcome.

    log p is not concave in f: Laplace and expectation propagation can meet several modes.
    """

    scale: float
    degrees: float = 4.0

    def __post_init__(self):
        object.__setattr__(self, "scale", positive("scale", self.scale))
        object.__setattr__(self, "degrees", positive("degrees", self.degrees))

    def log_density(self, y, f):
        v = self.degrees
        constant = gammaln(0.5 * (v + 1.0)) - gammaln(0.5 * v)
        constant -= 0.5 * math.log(v * math.pi) + math.log(self.scale)
        return constant - 0.5 * (v + 1.0) * np.log1p(((y - f) / self.scale) ** 2 / v)

    def derivatives(self, y, f):
        v, miss = self.degrees, y - f
        width = v * self.scale**2 + miss**2
        first = (v + 1.0) * miss / width
        return first, (v + 1.0) * (miss**2 - v * self.scale**2) / width**2

    def third_derivative(self, y, f):
        v, miss = self.degrees, y - f
        square = v * self.scale**2
        return 2.0 * (v + 1.0) * miss * (miss**2 - 3.0 * square) / (square + miss**2) ** 3

    def curvature(self, y, f):
        # The weight of iteratively reweighted least squares: the same modes, and always positive.
        return (self.degrees + 1.0) / (self.degrees * self.scale**2 + (y - f) ** 2)
