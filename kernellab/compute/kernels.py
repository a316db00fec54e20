"""Positive-definite kernels on R^d: Gram matrices, products with vectors, sums and products.

Each kernel is a small frozen dataclass that checks its parameters and says how it is computed: what
is summed over the features, and which profile turns the sum into a value. The loops are in
``kernellab.compute.tiles``. Kernels compose: ``k1 + k2``, ``k1 * k2``, ``2.0 * k``,
``Stretched(k, lengthscales)``, ``OnColumns(k, columns)``, ``Coregionalised(k, mixing)``; each knows
its positive hyper-parameters and the derivatives of its Gram matrix in their logarithms.

>>> import numpy as np
>>> Gaussian(bandwidth=1.0).gram(np.array([[0.0], [1.0]])).round(3)
array([[1.   , 0.607],
       [0.607, 1.   ]])
>>> trend_and_season = 2.0 * Gaussian(5.0) + Periodic(period=1.0, lengthscale=0.5)
>>> trend_and_season.hyperparameters
{'0.variance': 2.0, '0.bandwidth': 5.0, '1.period': 1.0, '1.lengthscale': 0.5}
"""

import math
import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

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
from kernellab.compute.compiled import compiled
from kernellab.compute.tiles import _TILE, Recipe, _apply

__all__ = [
    "ArcCosine",
    "Coregionalised",
    "Cosine",
    "Gaussian",
    "InverseMultiquadric",
    "Kernel",
    "Laplace",
    "Matern12",
    "Matern32",
    "Matern52",
    "OnColumns",
    "Oscillator",
    "Periodic",
    "Polynomial",
    "Product",
    "RationalQuadratic",
    "Scaled",
    "Stretched",
    "Sum",
    "as_kernel",
]

# Rates above this would make 0 times infinity; the kernel is 0 off the diagonal long before.
_LARGEST_RATE = 1e300
_BLOCK = 1 << 20  # entries of a Gram matrix that a product of kernels holds at a time


class Kernel(ABC):
    """A positive-definite kernel k(x, y) on R^d."""

    # NumPy numbers leave ``number * kernel`` to the kernel.
    __array_ufunc__ = None
    # The hyper-parameter that does nothing but divide the inputs, if there is one.
    _length: ClassVar[str | None] = None

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
        return self._gram(x, y)

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
            return self._matvec(x, y, v[:, None])[:, 0]
        return self._matvec(x, y, as_matrix("v", v, rows=len(y)))

    def total(self, x, y=None) -> float:
        """Return sum_ij k(x_i, y_j), the sum of all entries; the kernel matrix is never stored.

        Parameters: x (n, d); y (m, d), None: y = x, at half the cost. Returns a float.
        Raises ValueError as ``gram``. Cost: O(n m d) time, O((n + m) d) memory.
        """
        return float(self._total(*_points(x, y)))

    def diagonal(self, x) -> np.ndarray:
        """Return all k(x_i, x_i), shape (n,), for x of shape (n, d). Cost: O(n d)."""
        return self._diagonal(as_matrix("x", x))

    def paired(self, x, y) -> np.ndarray:
        """Return k(x_i, y_i) for each i, shape (n,), for x and y of shape (n, d). Cost: O(n d).

        >>> Gaussian(1.0).paired([[0.0], [1.0]], [[0.0], [0.0]]).round(3).tolist()
        [1.0, 0.607]
        """
        x = as_matrix("x", x)
        return self._paired(x, as_matrix("y", y, columns=x.shape[1], rows=len(x)))

    # Composition

    def __add__(self, other):
        if not isinstance(other, Kernel):
            return NotImplemented
        return Sum((*_terms(self, Sum), *_terms(other, Sum)))

    def __mul__(self, other):
        if isinstance(other, Kernel):
            return Product((*_terms(self, Product), *_terms(other, Product)))
        if isinstance(other, numbers.Real):
            return Scaled(self, other)
        return NotImplemented

    __rmul__ = __mul__

    # Hyper-parameters

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Names and values of all positive hyper-parameters; their logarithms are any numbers."""
        return self._parameters()

    def with_log_hyperparameters(self, vector) -> "Kernel":
        """Return the same kernel with hyper-parameters exp(vector), in the order of their names.

        Raises ValueError when vector does not hold one finite number for each of them, or exp
        leaves the range of floats.

        >>> Gaussian(1.0).with_log_hyperparameters([0.0])
        Gaussian(bandwidth=1.0)
        """
        names = list(self._parameters())
        if not names:
            if np.size(vector):
                raise ValueError(
                    f"vector must be empty for {self!r}, got {np.size(vector)} entries"
                )
            return self
        with np.errstate(over="ignore", under="ignore"):
            values = np.exp(as_vector("vector", vector, length=len(names)))
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(
                f"vector must lie between -700 and 700 for its exponential to be a positive float, "
                f"got entries from {np.min(vector):.3g} to {np.max(vector):.3g}"
            )
        return self._with(dict(zip(names, values.tolist(), strict=True)))

    def gram_gradients(self, x) -> np.ndarray:
        """Return dK / d log theta_j for each hyper-parameter, shape (p, n, n), for x (n, d).

        Raises ValueError as ``gram``. Cost: O(p n^2 d).
        """
        x = as_matrix("x", x)
        gradients = self._gradients(x)
        fits_in_memory("the gradients", 8 * len(gradients) * len(x) ** 2)
        return np.array(gradients).reshape(len(gradients), len(x), len(x))

    # What a kernel implements, on checked points; y may be x itself

    @abstractmethod
    def _gram(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return all k(x_i, y_j)."""

    @abstractmethod
    def _paired(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return k(x_i, y_i) for each i."""

    @abstractmethod
    def _parameters(self) -> dict[str, float]:
        """Return the positive hyper-parameters by name."""

    @abstractmethod
    def _with(self, values: dict[str, float]) -> "Kernel":
        """Return the kernel with other values of all hyper-parameters."""

    @abstractmethod
    def _gradients(self, x: np.ndarray) -> list[np.ndarray]:
        """Return dK / d log theta_j in the order of ``_parameters``."""

    @abstractmethod
    def _stretch_gradients(self, x: np.ndarray) -> list[np.ndarray]:
        """Return d/d log l_k of the Gram matrix of x / l at l = 1, one matrix a column of x."""

    def _diagonal(self, x: np.ndarray) -> np.ndarray:
        return self._paired(x, x)

    def _matvec(self, x, y, v):
        rows = max(1, _BLOCK // len(y))
        parts = [self._gram(x[i : i + rows], y) @ v for i in range(0, len(x), rows)]
        return np.concatenate(parts)

    def _total(self, x, y):
        return self._matvec(x, y, np.ones((len(y), 1))).sum()


class _Elementary(Kernel):
    """A kernel that ``tiles`` computes from one recipe."""

    _positive: ClassVar[tuple[str, ...]] = ()  # names of the hyper-parameters

    @abstractmethod
    def _recipe(self, x: np.ndarray, y: np.ndarray) -> Recipe:
        """Return how the kernel between checked points is computed; y may be x itself."""

    def _gram(self, x, y):
        return tiles.gram(self._recipe(x, y))

    def _matvec(self, x, y, v):
        return tiles.matvec(self._recipe(x, y), v)

    def _total(self, x, y):
        return tiles.row_totals(self._recipe(x, y), y is x).sum()

    def _diagonal(self, x):
        return np.ones(len(x))

    def _paired(self, x, y):
        return _paired_values(self._recipe(x, y))

    def _parameters(self):
        return {name: getattr(self, name) for name in self._positive}

    def _with(self, values):
        return replace(self, **values)


class _Radial(_Elementary):
    """A kernel phi(t), where t is |x - y|^2 / length^2, or |x - y|_1 / length for ``_power`` 1."""

    _power: ClassVar[int] = 2

    @abstractmethod
    def _fall(self, t: np.ndarray) -> np.ndarray:
        """Return -dphi/dt, shape as t; where t = 0 it may be anything finite."""

    def _gradients(self, x):
        t = self._measure(x)
        return [self._power * t * self._fall(t)]

    def _stretch_gradients(self, x):
        weights = self._power * self._fall(self._measure(x))
        x, _, unit = _in_units(self._length, getattr(self, self._length), x, x)
        result = []
        with np.errstate(over="ignore"):
            for column in x.T:
                part = np.abs(np.subtract.outer(column, column))
                part /= unit
                if self._power == 2:
                    part *= part
                result.append(np.multiply(np.minimum(part, _LARGEST_RATE, out=part), weights, part))
        return result

    def _measure(self, x):
        """Return t between all points, at most 1e300 so that 0 times it is 0."""
        measure = tiles.SQUARED if self._power == 2 else tiles.ABSOLUTE
        x, _, unit = _in_units(self._length, getattr(self, self._length), x, x)
        sums = tiles.gram(Recipe(x, x, measure, tiles.POWER, a=0.0, b=1.0))
        return np.minimum(sums / unit**self._power, _LARGEST_RATE)


@dataclass(frozen=True)
class Gaussian(_Radial):
    """Gaussian (squared exponential, RBF) kernel: exp(-|x - y|^2 / (2 bandwidth^2))."""

    bandwidth: float

    _length: ClassVar[str] = "bandwidth"
    _positive: ClassVar[tuple[str, ...]] = ("bandwidth",)

    def __post_init__(self):
        _set(self, bandwidth=positive("bandwidth", self.bandwidth))

    def _recipe(self, x, y):
        x, y, unit = _in_units("bandwidth", self.bandwidth, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.EXPONENTIAL, a=0.5 / unit**2)

    def _fall(self, t):
        return 0.5 * np.exp(-0.5 * t)


@dataclass(frozen=True)
class Laplace(_Radial):
    """Laplace kernel with the 1-norm: exp(-sum_k |x_k - y_k| / bandwidth)."""

    bandwidth: float

    _length: ClassVar[str] = "bandwidth"
    _power: ClassVar[int] = 1
    _positive: ClassVar[tuple[str, ...]] = ("bandwidth",)

    def __post_init__(self):
        _set(self, bandwidth=positive("bandwidth", self.bandwidth))

    def _recipe(self, x, y):
        x, y, unit = _in_units("bandwidth", self.bandwidth, x, y)
        return Recipe(x, y, tiles.ABSOLUTE, tiles.EXPONENTIAL, a=1.0 / unit)

    def _fall(self, t):
        return np.exp(-t)


@dataclass(frozen=True)
class Matern12(_Radial):
    """Matern kernel of smoothness 1/2: exp(-r), with r = |x - y| / lengthscale."""

    lengthscale: float

    _length: ClassVar[str] = "lengthscale"
    _positive: ClassVar[tuple[str, ...]] = ("lengthscale",)

    def __post_init__(self):
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))

    def _recipe(self, x, y):
        x, y, unit = _in_units("lengthscale", self.lengthscale, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.MATERN12, a=1.0 / unit)

    def _fall(self, t):
        r = np.sqrt(t)
        return 0.5 * np.exp(-r) / np.where(r > 0.0, r, 1.0)


@dataclass(frozen=True)
class Matern32(_Radial):
    """Matern kernel of smoothness 3/2: (1 + r) exp(-r), with r = sqrt(3) |x - y| / lengthscale."""

    lengthscale: float

    _length: ClassVar[str] = "lengthscale"
    _positive: ClassVar[tuple[str, ...]] = ("lengthscale",)

    def __post_init__(self):
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))

    def _recipe(self, x, y):
        x, y, unit = _in_units("lengthscale", self.lengthscale, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.MATERN32, a=math.sqrt(3) / unit)

    def _fall(self, t):
        return 1.5 * np.exp(-np.sqrt(3.0 * t))


@dataclass(frozen=True)
class Matern52(_Radial):
    """Matern kernel of smoothness 5/2.

    (1 + r + r^2 / 3) exp(-r), with r = sqrt(5) |x - y| / lengthscale.
    """

    lengthscale: float

    _length: ClassVar[str] = "lengthscale"
    _positive: ClassVar[tuple[str, ...]] = ("lengthscale",)

    def __post_init__(self):
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))

    def _recipe(self, x, y):
        x, y, unit = _in_units("lengthscale", self.lengthscale, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.MATERN52, a=math.sqrt(5) / unit)

    def _fall(self, t):
        r = np.sqrt(5.0 * t)
        return 5.0 / 6.0 * (1.0 + r) * np.exp(-r)


@dataclass(frozen=True)
class RationalQuadratic(_Radial):
    """Rational quadratic kernel: (1 + |x - y|^2 / (2 alpha lengthscale^2))^-alpha."""

    lengthscale: float
    alpha: float

    _length: ClassVar[str] = "lengthscale"
    _positive: ClassVar[tuple[str, ...]] = ("lengthscale", "alpha")

    def __post_init__(self):
        _set(self, lengthscale=positive("lengthscale", self.lengthscale))
        _set(self, alpha=positive("alpha", self.alpha))

    def _recipe(self, x, y):
        x, y, unit = _in_units("lengthscale", self.lengthscale, x, y)
        rate = min(0.5 / unit**2 / self.alpha, _LARGEST_RATE)
        return Recipe(x, y, tiles.SQUARED, tiles.RATIONAL, a=rate, b=self.alpha)

    def _fall(self, t):
        return 0.5 * np.exp(-(self.alpha + 1.0) * np.log1p(t / (2.0 * self.alpha)))

    def _gradients(self, x):
        t = self._measure(x)
        ratio = np.minimum(t / (2.0 * self.alpha), _LARGEST_RATE)
        log = np.log1p(ratio)
        by_alpha = self.alpha * (ratio / (1.0 + ratio) - log) * np.exp(-self.alpha * log)
        return [2.0 * t * self._fall(t), by_alpha]


@dataclass(frozen=True)
class InverseMultiquadric(_Radial):
    """Inverse multiquadric kernel: (1 + |x - y|^2 / scale^2)^(-1/2)."""

    scale: float

    _length: ClassVar[str] = "scale"
    _positive: ClassVar[tuple[str, ...]] = ("scale",)

    def __post_init__(self):
        _set(self, scale=positive("scale", self.scale))

    def _recipe(self, x, y):
        x, y, unit = _in_units("scale", self.scale, x, y)
        return Recipe(x, y, tiles.SQUARED, tiles.INVERSE_ROOT, a=1.0 / unit**2)

    def _fall(self, t):
        return 0.5 * np.exp(-1.5 * np.log1p(t))


@dataclass(frozen=True)
class Periodic(_Elementary):
    """Periodic kernel: exp(-2 sum_k sin^2(pi (x_k - y_k) / period) / lengthscale^2).

    With each coordinate wound around a circle, u = (cos, sin)(2 pi x / period), it is the Gaussian
    kernel of u. (A periodic function of |x - y| alone would not be positive definite for d > 1.)

    Source: MacKay, Introduction to Gaussian processes (1998), equation 47, one factor a coordinate.
    """

    period: float
    lengthscale: float

    _length: ClassVar[str] = "period"
    _positive: ClassVar[tuple[str, ...]] = ("period", "lengthscale")

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

    def _gradients(self, x):
        by_lengthscale = Gaussian(self.lengthscale)._gradients(self._wind(x))
        return [sum(self._stretch_gradients(x)), *by_lengthscale]

    def _stretch_gradients(self, x):
        gram = self._gram(x, x)
        turns = [(column[:, None] - column) * (np.pi / self.period) for column in x.T]
        rate = 2.0 / self.lengthscale / self.lengthscale  # the factors one by one: no 0/0
        return [np.where(gram > 0.0, gram * rate, 0.0) * np.sin(2.0 * t) * t for t in turns]


@dataclass(frozen=True)
class Cosine(_Elementary):
    """A wave of one frequency: cos(2 pi sum_k (x_k - y_k) / period).

    Its functions are a cos(2 pi x / period) + b sin(2 pi x / period) with random a and b. Times a
    Matern kernel it becomes quasi-periodic; ``Stretched`` turns it into a wave in any direction.
    """

    period: float

    _length: ClassVar[str] = "period"
    _positive: ClassVar[tuple[str, ...]] = ("period",)

    def __post_init__(self):
        _set(self, period=positive("period", self.period))

    def _recipe(self, x, y):
        waves_x = self._waves(x)
        waves_y = waves_x if y is x else self._waves(y)
        return Recipe(waves_x, waves_y, tiles.PRODUCT, tiles.POWER, a=0.0, b=1.0)

    def _waves(self, x):
        turns = np.remainder(x, self.period).sum(axis=1, keepdims=True) / self.period
        return np.hstack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)])

    def _gradients(self, x):
        return [sum(self._stretch_gradients(x))]

    def _stretch_gradients(self, x):
        turns = [(column[:, None] - column) * (2 * np.pi / self.period) for column in x.T]
        sine = np.sin(sum(turns))
        return [sine * turn for turn in turns]


@dataclass(frozen=True)
class Oscillator(Kernel):
    """A damped oscillator driven by white noise, on a line (the SHO kernel of asteroseismology).

    exp(-c t) (cos(d t) + (c/d) sin(d t)) at distance t, with w = 2 pi / period, c = w / (2 quality)
    and d^2 = w^2 - c^2. The period is that without damping. For quality 1/2 it is a Matern32
    kernel; below, nothing oscillates (d is imaginary), and the same formula holds.

    Source: Foreman-Mackey, Agol, Ambikasaran and Angus, Fast and scalable Gaussian process modeling
    (2017), equation 23.
    """

    period: float
    quality: float

    _length: ClassVar[str] = "period"

    def __post_init__(self):
        _set(self, period=positive("period", self.period))
        _set(self, quality=positive("quality", self.quality))

    def rates(self) -> tuple[float, float, complex]:
        """Return w, c and d, in radians a unit of the inputs."""
        w = 2.0 * math.pi / self.period
        c = 0.5 * w / self.quality
        # At quality 1/2 the formula is 0/0; 1e-6 beside it it differs by 1e-12.
        d2 = 1.0 - (0.5 / self.quality) ** 2
        return w, c, w * np.sqrt(complex(d2 if abs(d2) > 1e-12 else 1e-12))

    def waves(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return exp(-c t) cos(d t) and w exp(-c t) sin(d t) / d at distances t >= 0."""
        w, c, d = self.rates()
        # Two decaying exponentials: for an imaginary d, cosh and sinh alone would overflow.
        with np.errstate(under="ignore"):
            up, down = np.exp((1j * d - c) * t), np.exp((-1j * d - c) * t)
        return 0.5 * (up + down).real, w * ((up - down) / (2j * d)).real

    def _gram(self, x, y):
        return self._values(np.abs(self._line(x)[:, None] - self._line(y)))

    def _paired(self, x, y):
        return self._values(np.abs(self._line(x) - self._line(y)))

    def _values(self, t):
        cosine, sine = self.waves(t)
        return cosine + 0.5 / self.quality * sine

    def _line(self, x):
        if x.shape[1] != 1:
            raise ValueError(f"x must have 1 column for an Oscillator, got {x.shape[1]}")
        return x[:, 0]

    def _parameters(self):
        return {"period": self.period, "quality": self.quality}

    def _with(self, values):
        return Oscillator(**values)

    def _gradients(self, x):
        t = np.abs(self._line(x)[:, None] - self._line(x))
        cosine, sine = self.waves(t)
        w, c, d = self.rates()
        turn, damping, square = w * t, 0.5 / self.quality, ((d / w) ** 2).real
        # (turn cosine - sine) / square is 0/0 near quality 1/2: there, by its series.
        small = np.abs(square) * turn**2 < 1e-4
        series = turn**3 * np.exp(-c * t) * (square * turn**2 / 30.0 - 1.0 / 3.0)
        change = np.where(small, series, (turn * cosine - sine) / square)
        # With g = c / w, square = 1 - g^2; d/d log quality is -g d/dg.
        by_damping = sine - turn * cosine - damping**2 * change
        return [turn * sine, -damping * by_damping]

    def _stretch_gradients(self, x):
        return self._gradients(x)[:1]


@dataclass(frozen=True)
class Polynomial(_Elementary):
    """Polynomial kernel: (scale x.y + offset)^degree, with scale > 0, offset >= 0, degree >= 1."""

    degree: int
    offset: float = 1.0
    scale: float = 1.0

    _length: ClassVar[str] = "scale"

    def __post_init__(self):
        _set(self, degree=integer("degree", self.degree, low=1))
        _set(self, offset=nonnegative("offset", self.offset))
        _set(self, scale=positive("scale", self.scale))

    def _parameters(self):
        # An offset of 0 has no logarithm; it stays.
        return (
            {"offset": self.offset, "scale": self.scale} if self.offset else {"scale": self.scale}
        )

    def _gradients(self, x):
        slope, product = self._slope(x), self.scale * (x @ x.T)
        return [slope * self.offset, slope * product] if self.offset else [slope * product]

    def _stretch_gradients(self, x):
        slope = self._slope(x)
        return [-2.0 * self.scale * np.outer(column, column) * slope for column in x.T]

    def _slope(self, x):
        """Return the derivative of the power at the inner products, (n, n)."""
        self._refuse_overflow(x, x)
        return self.degree * (self.scale * (x @ x.T) + self.offset) ** (self.degree - 1)

    def _diagonal(self, x):
        self._refuse_overflow(x, x)
        return (self.scale * (x * x).sum(axis=1) + self.offset) ** self.degree

    def _recipe(self, x, y):
        self._refuse_overflow(x, y)
        # The offset is left to the profile; the scale goes into both sides, for exact symmetry.
        root = math.sqrt(self.scale)
        x, y = root * x, root * y
        return Recipe(x, y, tiles.PRODUCT, tiles.POWER, a=self.offset, b=float(self.degree))

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
class ArcCosine(_Elementary):
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

    def _gradients(self, x):
        return []

    def _stretch_gradients(self, x):
        # The kernel is size * J(angle) / pi; a stretch changes the sizes |x|, |y| and the angle.
        gram, unit = self._gram(x, x), _unit_rows(x)
        cosine = np.clip(unit @ unit.T, -1.0, 1.0)
        angle, sine = np.arccos(cosine), np.sqrt(1.0 - cosine**2)
        if self.order == 0:
            by_cosine = 1.0 / np.where(sine > 1e-7, sine, np.inf)
        elif self.order == 1:
            by_cosine = np.pi - angle
        else:
            by_cosine = 4.0 * sine + 4.0 * (np.pi - angle) * cosine
        weights = self._weights(x)
        by_cosine = by_cosine * np.outer(weights, weights) / np.pi
        result = []
        for column in unit[:, : x.shape[1]].T:
            sizes = column[:, None] ** 2 + column**2
            result.append(
                by_cosine * (cosine * sizes - 2.0 * np.outer(column, column))
                - self.order * sizes * gram
            )
        return result

    def _diagonal(self, x):
        weights = self._weights(x)
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


# Composition


@dataclass(frozen=True)
class Sum(Kernel):
    """The kernel k_1 + k_2 + ... of a tuple of kernels: of a sum of independent functions.

    ``k1 + k2`` makes one. Hyper-parameters are named "0.lengthscale", "1.period" and so on.
    """

    kernels: tuple

    def __post_init__(self):
        _set(self, kernels=_as_kernels(self.kernels))

    def _gram(self, x, y):
        out = self.kernels[0]._gram(x, y)
        for kernel in self.kernels[1:]:
            out += kernel._gram(x, y)
        return out

    def _matvec(self, x, y, v):
        return sum(kernel._matvec(x, y, v) for kernel in self.kernels)

    def _total(self, x, y):
        return sum(kernel._total(x, y) for kernel in self.kernels)

    def _diagonal(self, x):
        return sum(kernel._diagonal(x) for kernel in self.kernels)

    def _paired(self, x, y):
        return sum(kernel._paired(x, y) for kernel in self.kernels)

    def _parameters(self):
        return _numbered(self.kernels)

    def _with(self, values):
        return Sum(_renewed(self.kernels, values))

    def _gradients(self, x):
        return [gradient for kernel in self.kernels for gradient in kernel._gradients(x)]

    def _stretch_gradients(self, x):
        parts = [kernel._stretch_gradients(x) for kernel in self.kernels]
        return [sum(column) for column in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Product(Kernel):
    """The kernel k_1 k_2 ... of a tuple of kernels; ``k1 * k2`` makes one.

    Hyper-parameters are named "0.lengthscale", "1.period" and so on.
    """

    kernels: tuple

    def __post_init__(self):
        _set(self, kernels=_as_kernels(self.kernels))

    def _gram(self, x, y):
        out = self.kernels[0]._gram(x, y)
        for kernel in self.kernels[1:]:
            out *= kernel._gram(x, y)
        return out

    def _diagonal(self, x):
        return math.prod(kernel._diagonal(x) for kernel in self.kernels)

    def _paired(self, x, y):
        return math.prod(kernel._paired(x, y) for kernel in self.kernels)

    def _parameters(self):
        return _numbered(self.kernels)

    def _with(self, values):
        return Product(_renewed(self.kernels, values))

    def _gradients(self, x):
        return [
            gradient * others
            for kernel, others in zip(self.kernels, self._others(x), strict=True)
            for gradient in kernel._gradients(x)
        ]

    def _stretch_gradients(self, x):
        parts = [
            [gradient * others for gradient in kernel._stretch_gradients(x)]
            for kernel, others in zip(self.kernels, self._others(x), strict=True)
        ]
        return [sum(column) for column in zip(*parts, strict=True)]

    def _others(self, x):
        """Return, for each factor, the product of the Gram matrices of all others."""
        grams = [kernel._gram(x, x) for kernel in self.kernels]
        return [math.prod(grams[:i] + grams[i + 1 :]) for i in range(len(grams))]


@dataclass(frozen=True)
class Scaled(Kernel):
    """The kernel variance * k; ``2.0 * k`` makes one."""

    kernel: Kernel
    variance: float

    def __post_init__(self):
        inner, variance = as_kernel(self.kernel), positive("variance", self.variance)
        if isinstance(inner, Scaled):  # one factor says it all
            inner, variance = inner.kernel, positive("variance", variance * inner.variance)
        _set(self, kernel=inner, variance=variance)

    @property
    def _length(self):
        return self.kernel._length

    def _gram(self, x, y):
        out = self.kernel._gram(x, y)
        out *= self.variance
        return out

    def _matvec(self, x, y, v):
        return self.variance * self.kernel._matvec(x, y, v)

    def _total(self, x, y):
        return self.variance * self.kernel._total(x, y)

    def _diagonal(self, x):
        return self.variance * self.kernel._diagonal(x)

    def _paired(self, x, y):
        return self.variance * self.kernel._paired(x, y)

    def _parameters(self):
        return {"variance": self.variance, **self.kernel._parameters()}

    def _with(self, values):
        values = dict(values)
        variance = values.pop("variance")
        return Scaled(self.kernel._with(values), variance)

    def _gradients(self, x):
        return [self._gram(x, x), *self._scale(self.kernel._gradients(x))]

    def _stretch_gradients(self, x):
        return self._scale(self.kernel._stretch_gradients(x))

    def _scale(self, gradients):
        return [self.variance * gradient for gradient in gradients]


@dataclass(frozen=True)
class Stretched(Kernel):
    """The kernel k(x / l, y / l), with one lengthscale for each column (ARD).

    The lengthscales replace the inner kernel's own length among the hyper-parameters; that stays as
    it is (usually 1), because it would only multiply all of them.

    >>> Stretched(Gaussian(1.0), (0.5, 3.0)).hyperparameters
    {'lengthscales[0]': 0.5, 'lengthscales[1]': 3.0}
    """

    kernel: Kernel
    lengthscales: tuple

    def __post_init__(self):
        inner, lengths = as_kernel(self.kernel), as_vector("lengthscales", self.lengthscales)
        if isinstance(inner, Stretched):
            lengths = lengths * as_vector("lengthscales", inner.lengthscales, length=len(lengths))
            inner = inner.kernel
        checked = tuple(positive(f"lengthscales[{k}]", float(v)) for k, v in enumerate(lengths))
        _set(self, kernel=inner, lengthscales=checked)

    def _gram(self, x, y):
        return self.kernel._gram(*self._stretch(x, y))

    def _matvec(self, x, y, v):
        return self.kernel._matvec(*self._stretch(x, y), v)

    def _total(self, x, y):
        return self.kernel._total(*self._stretch(x, y))

    def _diagonal(self, x):
        return self.kernel._diagonal(self._stretch(x, x)[0])

    def _paired(self, x, y):
        return self.kernel._paired(*self._stretch(x, y))

    def _stretch(self, x, y):
        if x.shape[1] != len(self.lengthscales):
            raise ValueError(
                f"x must have {len(self.lengthscales)} columns, one for each of the lengthscales, "
                f"got {x.shape[1]}"
            )
        with np.errstate(over="ignore"):
            near = x / self.lengthscales
            far = near if y is x else y / self.lengthscales
        if not (np.isfinite(near).all() and np.isfinite(far).all()):
            raise ValueError("lengthscales must not be so small that x / lengthscales overflows")
        return near, far

    def _inner(self):
        """Return the inner kernel's hyper-parameters without its length."""
        own = self.kernel._parameters()
        return {name: value for name, value in own.items() if name != self.kernel._length}

    def _parameters(self):
        lengths = {f"lengthscales[{k}]": value for k, value in enumerate(self.lengthscales)}
        return {**lengths, **self._inner()}

    def _with(self, values):
        values = list(values.values())
        count = len(self.lengthscales)
        inner = self.kernel._parameters() | dict(zip(self._inner(), values[count:], strict=True))
        return Stretched(self.kernel._with(inner), tuple(values[:count]))

    def _gradients(self, x):
        x, _ = self._stretch(x, x)
        result = self.kernel._stretch_gradients(x)
        if self._inner():
            named = zip(self.kernel._parameters(), self.kernel._gradients(x), strict=True)
            result += [gradient for name, gradient in named if name != self.kernel._length]
        return result

    def _stretch_gradients(self, x):
        return self.kernel._stretch_gradients(self._stretch(x, x)[0])


@dataclass(frozen=True)
class OnColumns(Kernel):
    """A kernel that sees only some columns: ``OnColumns(Gaussian(1.0), (0, 2))``."""

    kernel: Kernel
    columns: tuple

    def __post_init__(self):
        columns = tuple(integer("columns", int(c), low=0) for c in np.atleast_1d(self.columns))
        if not columns or len(set(columns)) < len(columns):
            raise ValueError(f"columns must be different column numbers, got {self.columns}")
        _set(self, kernel=as_kernel(self.kernel), columns=columns)

    def _gram(self, x, y):
        return self.kernel._gram(*self._choose(x, y))

    def _matvec(self, x, y, v):
        return self.kernel._matvec(*self._choose(x, y), v)

    def _total(self, x, y):
        return self.kernel._total(*self._choose(x, y))

    def _diagonal(self, x):
        return self.kernel._diagonal(self._choose(x, x)[0])

    def _paired(self, x, y):
        return self.kernel._paired(*self._choose(x, y))

    def _choose(self, x, y):
        if max(self.columns) >= x.shape[1]:
            raise ValueError(
                f"x must have a column {max(self.columns)} for columns {self.columns}, "
                f"got {x.shape[1]} columns"
            )
        near = np.ascontiguousarray(x[:, self.columns])
        return near, near if y is x else np.ascontiguousarray(y[:, self.columns])

    def _parameters(self):
        return self.kernel._parameters()

    def _with(self, values):
        return OnColumns(self.kernel._with(values), self.columns)

    def _gradients(self, x):
        return self.kernel._gradients(self._choose(x, x)[0])

    def _stretch_gradients(self, x):
        result = [np.zeros((len(x), len(x))) for _ in range(x.shape[1])]
        inner = self.kernel._stretch_gradients(self._choose(x, x)[0])
        for column, gradient in zip(self.columns, inner, strict=True):
            result[column] = gradient
        return result


@dataclass(frozen=True)
class Coregionalised(Kernel):
    """Several outputs that share functions: k((x, i), (y, j)) = (W W^T)_ij k(x, y).

    The last column of the inputs is the output's number. Row i of ``mixing`` W says how output i
    mixes independent functions with kernel k; a sum of two gives a linear model of
    coregionalisation. Hyper-parameters are the sizes |W_ir| of the entries that are not 0 (their
    signs stay) and those of k.

    Source: Bonilla, Chai and Williams, Multi-task Gaussian process prediction (2007), equation 1.

    >>> both = Coregionalised(Gaussian(1.0), [[1.0, 0.0], [0.6, 0.8]])
    >>> both.gram([[0.0, 0], [0.0, 1]]).round(3).tolist()
    [[1.0, 0.6], [0.6, 1.0]]
    """

    kernel: Kernel
    mixing: tuple

    def __post_init__(self):
        inner, mixing = as_kernel(self.kernel), as_matrix("mixing", self.mixing)
        if any(name.startswith("mixing") for name in inner._parameters()):
            raise ValueError("kernel must not mix outputs itself: give both mixings as one")
        _set(self, kernel=inner, mixing=tuple(map(tuple, mixing.tolist())))

    def _gram(self, x, y):
        (x, i), (y, j) = self._split(x, y)
        out = self.kernel._gram(x, y)
        out *= self._covariance()[i[:, None], j]
        return out

    def _diagonal(self, x):
        (x, i), _ = self._split(x, x)
        return self.kernel._diagonal(x) * self._covariance()[i, i]

    def _paired(self, x, y):
        (x, i), (y, j) = self._split(x, y)
        return self.kernel._paired(x, y) * self._covariance()[i, j]

    def _covariance(self):
        mixing = np.array(self.mixing)
        return mixing @ mixing.T

    def _split(self, x, y):
        near = self._output("x", x)
        return near, near if y is x else self._output("y", y)

    def _output(self, name, x):
        """Return the inputs and the outputs' numbers."""
        if x.shape[1] < 2:
            raise ValueError(
                f"{name} must have inputs and, last, the output's number; got 1 column"
            )
        number = x[:, -1]
        wrong = (number != np.floor(number)) | (number < 0) | (number >= len(self.mixing))
        if wrong.any():
            raise ValueError(
                f"the last column of {name} must be an output's number from 0 to "
                f"{len(self.mixing) - 1}, got {number[np.argmax(wrong)]:g}"
            )
        return np.ascontiguousarray(x[:, :-1]), number.astype(np.int64)

    def _entries(self):
        """Return the places of the mixing entries that are not 0."""
        return [tuple(map(int, place)) for place in np.argwhere(np.array(self.mixing) != 0.0)]

    def _parameters(self):
        sizes = {f"mixing[{i},{r}]": abs(self.mixing[i][r]) for i, r in self._entries()}
        return {**sizes, **self.kernel._parameters()}

    def _with(self, values):
        values, mixing = dict(values), np.array(self.mixing)
        for i, r in self._entries():
            mixing[i, r] = math.copysign(values.pop(f"mixing[{i},{r}]"), mixing[i, r])
        return Coregionalised(self.kernel._with(values), mixing)

    def _gradients(self, x):
        (x, i), _ = self._split(x, x)
        gram, mixing = self.kernel._gram(x, x), np.array(self.mixing)
        result = []
        for output, r in self._entries():
            change = np.zeros((len(mixing), len(mixing)))
            change[output] = mixing[output, r] * mixing[:, r]
            result.append(gram * (change + change.T)[i[:, None], i])
        weights = self._covariance()[i[:, None], i]
        return result + [weights * gradient for gradient in self.kernel._gradients(x)]

    def _stretch_gradients(self, x):
        (inputs, i), _ = self._split(x, x)
        weights = self._covariance()[i[:, None], i]
        inner = [weights * gradient for gradient in self.kernel._stretch_gradients(inputs)]
        return [*inner, np.zeros((len(x), len(x)))]


# What the kernels share


def _set(kernel: Kernel, /, **values) -> None:
    """Store checked parameters; a frozen dataclass lets only ``object`` do so."""
    for name, value in values.items():
        object.__setattr__(kernel, name, value)


def as_kernel(kernel) -> Kernel:
    """Return ``kernel``, or raise ValueError when it is none."""
    if not isinstance(kernel, Kernel):
        raise ValueError(f"kernel must be a kernel of kernellab.compute.kernels, got {kernel!r}")
    return kernel


def _as_kernels(kernels) -> tuple:
    """Return a tuple of at least one kernel."""
    if isinstance(kernels, Kernel) or not np.iterable(kernels) or not len(tuple(kernels)):
        raise ValueError(f"kernels must be a tuple of at least one kernel, got {kernels!r}")
    return tuple(as_kernel(kernel) for kernel in kernels)


def _terms(kernel: Kernel, kind: type) -> tuple:
    """Return the parts of a sum (or product), so that k1 + k2 + k3 is one sum of three."""
    return kernel.kernels if isinstance(kernel, kind) else (kernel,)


def _numbered(kernels: tuple) -> dict[str, float]:
    """Return all hyper-parameters, each name with its kernel's number in front."""
    return {
        f"{i}.{name}": value
        for i, kernel in enumerate(kernels)
        for name, value in kernel._parameters().items()
    }


def _renewed(kernels: tuple, values: dict[str, float]) -> tuple:
    """Return the kernels with values named as in ``_numbered``."""
    return tuple(
        kernel._with({name: values[f"{i}.{name}"] for name in kernel._parameters()})
        for i, kernel in enumerate(kernels)
    )


def _paired_values(recipe: Recipe) -> np.ndarray:
    """Return what a recipe gives for x_i with y_i, shape (n,)."""
    x, y = recipe.x, recipe.y
    with np.errstate(over="ignore"):
        if recipe.measure == tiles.PRODUCT:
            sums = np.einsum("ij,ij->i", x, y)
        elif recipe.measure == tiles.ABSOLUTE:
            sums = np.abs(x - y).sum(axis=1)
        else:
            sums = ((x - y) ** 2).sum(axis=1)
    padded = np.zeros(-(-len(sums) // _TILE) * _TILE)
    padded[: len(sums)] = sums
    _profile(recipe.profile, recipe.a, recipe.b, padded)
    values = padded[: len(sums)]
    for weights in (recipe.row_weights, recipe.column_weights):
        values = values if weights is None else values * weights
    return values


@compiled("void(int64, float64, float64, float64[::1])")
def _profile(profile, a, b, sums):
    """Replace sums by kernel values, a whole tile at a time."""
    for first in range(0, sums.size, _TILE):
        _apply(profile, a, b, sums[first : first + _TILE])


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
