"""Positive-definite kernels on R^d: Gram matrices and matrix-free products with vectors.

Each kernel is a small frozen dataclass that checks its parameters and says how it is computed: what
is summed over the features, and which profile turns the sum into a value. The loops are in
``kernellab.compute.tiles``.

>>> import numpy as np
>>> Gaussian(bandwidth=1.0).gram(np.array([[0.0], [1.0]])).round(3)
array([[1.   , 0.607],
       [0.607, 1.   ]])
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from kernellab.compute import tiles
from kernellab.compute.checks import (
    as_matrix,
    as_vector,
    fits_in_memory,
    integer,
    nonnegative,
    positive,
)
from kernellab.compute.tiles import Recipe

__all__ = [
    "ArcCosine",
    "Gaussian",
    "InverseMultiquadric",
    "Kernel",
    "Laplace",
    "Matern12",
    "Matern32",
    "Matern52",
    "Periodic",
    "Polynomial",
    "RationalQuadratic",
]

# Rates above this would make 0 times infinity; the kernel is 0 off the diagonal long before.
_LARGEST_RATE = 1e300


class Kernel(ABC):
    """A positive-definite kernel k(x, y) on R^d."""

    def gram(self, x, y=None) -> np.ndarray:
        """Return the matrix of all k(x_i, y_j).

        Parameters
        ----------
        x : shape (n, d)
        y : shape (m, d); None: y = x, and the matrix is exactly symmetric

        Returns
        -------
        shape (n, m)

        Raises
        ------
        ValueError : not matrices of finite numbers with equally many columns, or a result that
            does not fit in memory.

        Cost: O(n m d).
        """
        x, y = _points(x, y)
        fits_in_memory("the Gram matrix", 8 * len(x) * len(y))
        return tiles.gram(self._recipe(x, y))

    def matvec(self, x, y, v) -> np.ndarray:
        """Return sum_j k(x_i, y_j) v_j; the kernel matrix is never stored.

        Parameters
        ----------
        x : shape (n, d)
        y : shape (m, d); None: y = x
        v : shape (m,) or (m, p)

        Returns
        -------
        shape (n,) or (n, p), as v

        Raises
        ------
        ValueError : as ``gram``, or when v does not have m rows.

        Cost: O(n m (d + p)) time, O((n + m) (d + p)) memory.
        """
        x, y = _points(x, y)
        if np.ndim(v) == 1:
            v = as_vector("v", v, length=len(y))
            return tiles.matvec(self._recipe(x, y), v[:, None])[:, 0]
        v = as_matrix("v", v, rows=len(y))
        return tiles.matvec(self._recipe(x, y), v)

    def total(self, x, y=None) -> float:
        """Return sum_ij k(x_i, y_j), the sum of all entries; the kernel matrix is never stored.

        Parameters: x (n, d); y (m, d), None: y = x, at half the cost. Returns a float.
        Raises ValueError as ``gram``. Cost: O(n m d) time, O((n + m) d) memory.
        """
        symmetric = y is None
        x, y = _points(x, y)
        return float(tiles.row_totals(self._recipe(x, y), symmetric).sum())

    def diagonal(self, x) -> np.ndarray:
        """Return all k(x_i, x_i), shape (n,), for x of shape (n, d). Cost: O(n d)."""
        return np.ones(len(as_matrix("x", x)))

    @abstractmethod
    def _recipe(self, x: np.ndarray, y: np.ndarray) -> Recipe:
        """Return how the kernel between checked points is computed; y may be x itself."""


@dataclass(frozen=True)
class Gaussian(Kernel):
    """Gaussian (squared exponential, RBF) kernel: exp(-|x - y|^2 / (2 bandwidth^2))."""

    bandwidth: float

    def __post_init__(self):
        _set(self, bandwidth=positive("bandwidth", self.bandwidth))

    def _recipe(self, x, y):
        x, y, unit = _in_units("bandwidth", self.bandwidth, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.EXPONENTIAL, a=0.5 / unit**2)


@dataclass(frozen=True)
class Laplace(Kernel):
    """Laplace kernel with the 1-norm: exp(-sum_k |x_k - y_k| / bandwidth)."""

    bandwidth: float

    def __post_init__(self):
        _set(self, bandwidth=positive("bandwidth", self.bandwidth))

    def _recipe(self, x, y):
        x, y, unit = _in_units("bandwidth", self.bandwidth, x, y)
        return Recipe(x, y, tiles.ABSOLUTE, tiles.EXPONENTIAL, a=1.0 / unit)


@dataclass(frozen=True)
class Matern12(Kernel):
    """Matern kernel of smoothness 1/2: exp(-r), with r = |x - y| / lengthscale."""

    lengthscale: float

    def __post_init__(self):
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))

    def _recipe(self, x, y):
        x, y, unit = _in_units("lengthscale", self.lengthscale, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.MATERN12, a=1.0 / unit)


@dataclass(frozen=True)
class Matern32(Kernel):
    """Matern kernel of smoothness 3/2: (1 + r) exp(-r), with r = sqrt(3) |x - y| / lengthscale."""

    lengthscale: float

    def __post_init__(self):
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))

    def _recipe(self, x, y):
        x, y, unit = _in_units("lengthscale", self.lengthscale, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.MATERN32, a=math.sqrt(3) / unit)


@dataclass(frozen=True)
class Matern52(Kernel):
    """Matern kernel of smoothness 5/2.

    (1 + r + r^2 / 3) exp(-r), with r = sqrt(5) |x - y| / lengthscale.
    """

    lengthscale: float

    def __post_init__(self):
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))

    def _recipe(self, x, y):
        x, y, unit = _in_units("lengthscale", self.lengthscale, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.MATERN52, a=math.sqrt(5) / unit)


@dataclass(frozen=True)
class RationalQuadratic(Kernel):
    """Rational quadratic kernel: (1 + |x - y|^2 / (2 alpha lengthscale^2))^-alpha."""

    lengthscale: float
    alpha: float

    def __post_init__(self):
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))
        _set(self, alpha=positive("alpha", self.alpha))

    def _recipe(self, x, y):
        x, y, unit = _in_units("lengthscale", self.lengthscale, x, y)
        rate = min(0.5 / unit**2 / self.alpha, _LARGEST_RATE)
        return Recipe(x, y, tiles.SQUARED, tiles.RATIONAL, a=rate, b=self.alpha)


@dataclass(frozen=True)
class InverseMultiquadric(Kernel):
    """Inverse multiquadric kernel: (1 + |x - y|^2 / scale^2)^(-1/2)."""

    scale: float

    def __post_init__(self):
        _set(self, scale=positive("scale", self.scale))

    def _recipe(self, x, y):
        x, y, unit = _in_units("scale", self.scale, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.INVERSE_ROOT, a=1.0 / unit**2)


@dataclass(frozen=True)
class Periodic(Kernel):
    """Periodic kernel: exp(-2 sum_k sin^2(pi (x_k - y_k) / period) / lengthscale^2).

    With each coordinate wound around a circle, u = (cos, sin)(2 pi x / period), it is the Gaussian
    kernel of u. (A periodic function of |x - y| alone would not be positive definite for d > 1.)

    Source: MacKay, Introduction to Gaussian processes (1998), equation 47, one factor a coordinate.
    """

    period: float
    lengthscale: float

    def __post_init__(self):
        _set(self, period=positive("period", self.period))
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))

    def _recipe(self, x, y):
        wound_x = self._wind(x)
        wound_y = wound_x if y is x else self._wind(y)
        return Gaussian(self.lengthscale)._recipe(wound_x, wound_y)

    def _wind(self, x):
        angle = 2 * np.pi * (np.remainder(x, self.period) / self.period)
        return np.hstack([np.cos(angle), np.sin(angle)])


@dataclass(frozen=True)
class Polynomial(Kernel):
    """Polynomial kernel: (scale x.y + offset)^degree, with scale > 0, offset >= 0, degree >= 1."""

    degree: int
    offset: float = 1.0
    scale: float = 1.0

    def __post_init__(self):
        _set(self, degree=integer("degree", self.degree, low=1))
        _set(self, offset=nonnegative("offset", self.offset))
        _set(self, scale=positive("scale", self.scale))

    def diagonal(self, x):
        x = as_matrix("x", x)
        self._refuse_overflow(x, x)
        return (self.scale * (x * x).sum(axis=1) + self.offset) ** self.degree

    def _recipe(self, x, y):
        self._refuse_overflow(x, y)
        # The offset is left to the profile, the scale goes into the rows.
        return Recipe(
            self.scale * x, y, tiles.PRODUCT, tiles.POWER, a=self.offset, b=float(self.degree)
        )

    def _refuse_overflow(self, x, y):
        """Raise ValueError when values may be too large for a float."""
        with np.errstate(over="ignore"):
            product = np.linalg.norm(x, axis=1).max() * np.linalg.norm(y, axis=1).max()
            largest = np.float64(self.scale * product + self.offset) ** self.degree
        if not np.isfinite(largest):
            raise ValueError(
                "x must be small enough for (scale x.y + offset)^degree to be a float, got entries "
                f"up to {max(np.abs(x).max(), np.abs(y).max()):.3g} with degree {self.degree}, "
                f"scale {self.scale:.3g} and offset {self.offset:.3g}"
            )


@dataclass(frozen=True)
class ArcCosine(Kernel):
    """Arc-cosine kernel: a wide layer of random units with activation max(0, t)^order.

    |x|^order |y|^order J(angle between x and y) / pi, where with the angle t
    order 0: J = pi - t (steps);
    order 1: J = sin t + (pi - t) cos t (ReLU);
    order 2: J = 3 sin t cos t + (pi - t) (1 + 2 cos^2 t).
    A point at 0 counts as orthogonal to all other points. For opposite points the angle, and with
    it the value of order 0, is good to 1e-8; elsewhere the error is near 1e-15.

    Source: Cho and Saul, Kernel methods for deep learning (2009), equations 3-7.
    """

    order: int

    def __post_init__(self):
        _set(self, order=integer("order", self.order, low=0, high=2))

    def diagonal(self, x):
        weights = self._weights(as_matrix("x", x))
        self._refuse_overflow(weights, weights)
        return (3.0 if self.order == 2 else 1.0) * (weights * weights)

    def _recipe(self, x, y):
        row_weights, column_weights = self._weights(x), self._weights(y)
        self._refuse_overflow(row_weights, column_weights)
        ux = _unit_rows(x)
        uy = ux if y is x else _unit_rows(y)
        return Recipe(
            ux,
            uy,
            tiles.SQUARED,
            tiles.ARC_COSINE,
            a=float(self.order),
            row_weights=row_weights,
            column_weights=column_weights,
        )

    def _weights(self, x):
        with np.errstate(over="ignore"):
            return _norms(x) ** self.order

    def _refuse_overflow(self, row_weights, column_weights):
        with np.errstate(over="ignore"):
            largest = 3.0 * row_weights.max() * column_weights.max()
        if not np.isfinite(largest):
            raise ValueError(
                "x must be small enough for |x|^order |y|^order to be a float, got a value beyond "
                f"1e308 with order {self.order}"
            )


# What the kernels share


def _set(kernel: Kernel, **values) -> None:
    """Store checked parameters; a frozen dataclass lets only ``object`` do so."""
    for name, value in values.items():
        object.__setattr__(kernel, name, value)


def _points(x, y) -> tuple[np.ndarray, np.ndarray]:
    """Return checked points; without y, y is x itself."""
    x = as_matrix("x", x)
    if y is None:
        return x, x
    return x, as_matrix("y", y, columns=x.shape[1])


def _in_units(
    name: str, length: float, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return points in a unit near ``length``, and ``length`` in that unit.

    The unit is a power of 2, so that nothing is rounded; with it, squares of tiny or huge distances
    neither vanish nor overflow before they are divided by ``length``.
    """
    fraction, exponent = math.frexp(length)
    with np.errstate(over="ignore", under="ignore"):
        scaled_x = np.ldexp(x, -exponent)
        scaled_y = scaled_x if y is x else np.ldexp(y, -exponent)
    for values, scaled, argument in ((x, scaled_x, "x"), (y, scaled_y, "y")):
        if not np.isfinite(scaled).all():
            raise ValueError(
                f"{name} must not be so small that {argument} / {name} is beyond 1e308, "
                f"got {length:.3g} for entries up to {np.abs(values).max():.3g}"
            )
    return scaled_x, scaled_y, fraction


def _norms(x: np.ndarray) -> np.ndarray:
    """Return the lengths of rows, shape (n,), safe from overflow of their squares."""
    largest = np.abs(x).max(axis=1)
    safe = np.where(largest > 0, largest, 1.0)[:, None]
    return largest * np.linalg.norm(x / safe, axis=1)


def _unit_rows(x: np.ndarray) -> np.ndarray:
    """Return rows of length 1, shape (n, d + 1): a row of zeros points into the added dimension."""
    largest = np.abs(x).max(axis=1)
    zero = largest == 0
    unit = x / np.where(zero, 1.0, largest)[:, None]
    unit /= np.where(zero, 1.0, np.linalg.norm(unit, axis=1))[:, None]
    return np.hstack([unit, zero[:, None].astype(float)])
