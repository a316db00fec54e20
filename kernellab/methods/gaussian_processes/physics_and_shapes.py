"""Gaussian processes that know the equation, the spectrum, the surface or the shape.

1. Kernels whose samples solve a differential equation (Harkonen et al. 2023)
2. A spectrum of many frequencies, and equations solved on a grid (Fang et al. 2024)
3. Vectors compared after parallel transport on a point cloud (Peach et al. 2024)
4. Fields compared after warping them onto each other (Kabalan et al. 2025)
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import autograd.numpy as anp
import numpy as np
import scipy.linalg as sla
import scipy.sparse
from autograd import make_vjp
from scipy.sparse.linalg import eigsh
from scipy.spatial import cKDTree

from kernellab.compute import compiled, gp, linalg
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    fits_in_memory,
    integer,
    nonnegative,
    one_of,
    positive,
)
from kernellab.compute.elementary import LARGEST_ANGLE, cos, exp, sin
from kernellab.compute.iterative import conjugate_gradients
from kernellab.compute.kernels import Gaussian, Kernel, Stretched
from kernellab.compute.networks import Adam

# ------------------------------------------------------------------------------------------------
# 1. Kernels whose samples solve a differential equation
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Equation:
    """A linear equation with constant coefficients, by the exponentials that solve it.

    e^{<p, z>} solves it exactly when its symbol vanishes at z: the set of these z is the
    characteristic variety. Real frequencies w (m, parameters) run along it, on ``branches`` sheets.

    Attributes
    ----------
    name : what it is called
    dimensions : number of coordinates of a point p; the last one is the time t
    branches : number of sheets
    """

    name: str
    dimensions: int
    branches: int

    def variety(self, frequencies, speed: float = 1.0) -> np.ndarray:
        """Return the points z on the variety, complex, shape (branches, m, dimensions).

        heat: (i w, -speed w^2); wave: (i w, +-i speed |w|).
        Cost: O(m).
        """
        w, speed = self._frequencies(frequencies), positive("speed", speed)
        if self.name == "heat":
            return np.concatenate([1j * w, -speed * w**2], axis=1)[None]
        size = speed * np.sqrt(np.sum(w**2, axis=1, keepdims=True))
        return np.array([np.concatenate([1j * w, 1j * s * size], axis=1) for s in (1, -1)])

    def variety_slopes(self, frequencies, speed: float = 1.0) -> np.ndarray:
        """Return dz / dw, complex, shape (branches, m, dimensions, dimensions - 1). Cost: O(m)."""
        w, speed = self._frequencies(frequencies), positive("speed", speed)
        m, p = w.shape
        slopes = np.zeros((self.branches, m, p + 1, p), dtype=complex)
        slopes[:, :, range(p), range(p)] = 1j
        if self.name == "heat":
            slopes[0, :, 1, 0] = -2.0 * speed * w[:, 0]
        else:
            size = np.maximum(np.sqrt(np.sum(w**2, axis=1, keepdims=True)), 1e-300)
            slopes[:, :, p, :] = 1j * speed * np.array([1.0, -1.0])[:, None, None] * (w / size)
        return slopes

    def symbol(self, z, speed: float = 1.0) -> np.ndarray:
        """Return the equation's polynomial at z (..., dimensions): zero on the variety.

        heat: z_t - speed z_x^2; wave: z_t^2 - speed^2 sum z_x^2
        """
        z, speed = np.asarray(z, dtype=complex), positive("speed", speed)
        space, t = np.sum(z[..., :-1] ** 2, axis=-1), z[..., -1]
        return t - speed * space if self.name == "heat" else t**2 - speed**2 * space

    def _frequencies(self, frequencies) -> np.ndarray:
        return as_matrix("frequencies", frequencies, columns=self.dimensions - 1)


HEAT = Equation("heat", 2, 1)
WAVE = Equation("wave", 2, 2)
POND = Equation("wave in the plane", 3, 2)
EQUATIONS = {"heat": HEAT, "wave": WAVE}


@dataclass(frozen=True)
class EquationKernel(Kernel):
    """The prior whose samples all solve an equation: exponentials with Gaussian frequencies.

    k(p, p') = E Re e^{<p, z(w)> + <p', conj z(w)>}, w ~ N(0, 1/width^2), both sheets alike. With
    d = x - x', D = t - t', T = t + t' and c = speed, the integral has a closed form:

    heat, u_t = c u_xx:            width q^{-1/2} exp(-d^2 / (2 q)), q = width^2 + 2 c T
    wave, u_tt = c^2 u_xx:         mean over +- of exp(-(d +- c D)^2 / (2 width^2))

    Paper: gaussian-process-priors-for-systems-of-linear (Harkonen et al. 2023, arXiv:2212.14319)

    Parameters: equation, "heat" or "wave"; width > 0, of the field at t = 0, in units of
    x; speed > 0, the coefficient c. Points (n, 2) hold (x, t). Raises ValueError for heat at times
    before the field was a point (q <= 0). Cost: O(n m).
    """

    equation: str
    width: float
    speed: float = 1.0

    _length: ClassVar[str] = "width"

    def __post_init__(self):
        one_of("equation", self.equation, EQUATIONS)
        for name in ("width", "speed"):
            object.__setattr__(self, name, between(name, getattr(self, name), 1e-100, 1e100))

    def _gram(self, x, y):
        return self._values(*self._gaps(x, y))

    def _paired(self, x, y):
        return self._values(*(np.diagonal(part).copy() for part in self._gaps(x, y)))

    def _diagonal(self, x):
        zero, twice = np.zeros(len(x)), 2.0 * self._times(x)
        return self._values(zero, zero, twice)

    def _times(self, x):
        if x.shape[1] != 2:
            raise ValueError(f"x must have the 2 columns (x, t), got {x.shape[1]}")
        return x[:, 1]

    def _gaps(self, x, y):
        t, s = self._times(x), self._times(y)
        return x[:, 0][:, None] - y[:, 0], t[:, None] - s, t[:, None] + s

    def _values(self, d, lag, total):
        if self.equation == "heat":
            q = self._spread(total)
            return self.width / np.sqrt(q) * np.exp(-0.5 * d**2 / q)
        return np.mean([g for g, _, _ in self._waves(d, lag)], axis=0)

    def _spread(self, total):
        q = self.width**2 + 2.0 * self.speed * total
        if np.min(q) <= 0:
            raise ValueError(
                f"x must hold times after {-(self.width**2) / (4 * self.speed):.3g}, where the "
                f"heat of width {self.width:.3g} was a point; got {np.min(total) / 2:.3g}"
            )
        return q

    def _waves(self, d, lag):
        """Both sheets: the values, the shifts d +- c D and +- c D."""
        for sign in (1, -1):
            moved = sign * self.speed * lag
            yield np.exp(-0.5 * ((d + moved) / self.width) ** 2), d + moved, moved

    def _parameters(self):
        return {"width": self.width, "speed": self.speed}

    def _with(self, values):
        return replace(self, **values)

    def _gradients(self, x):
        by_x, by_t, by_width = self._slopes(x)
        return [by_width, -by_t]

    def _stretch_gradients(self, x):
        return list(self._slopes(x)[:2])

    def _slopes(self, x):
        """Minus d/d log of d and of t, and d/d log width, of the Gram matrix."""
        d, lag, total = self._gaps(x, x)
        if self.equation == "heat":
            q, k = self._spread(total), self._values(d, lag, total)
            inner = k * (d**2 / q - 1.0) / q  # twice dk / dq
            by_time = -self.speed * total * inner
            return k * d**2 / q, by_time, k + self.width**2 * inner
        parts = list(self._waves(d, lag))
        rate = 1.0 / self.width**2
        by_x = np.mean([rate * g * e * d for g, e, _ in parts], axis=0)
        by_t = np.mean([rate * g * e * moved for g, e, moved in parts], axis=0)
        by_width = np.mean([rate * g * e**2 for g, e, _ in parts], axis=0)
        return by_x, by_t, by_width


def fit_field(
    kernel, points, values, noise: float, *, width=(0.05, 20.0), speed=None
) -> gp.ExactGP:
    """Fit a field by evidence: the kernel's width, an amplitude, and the noise's given variance.

    Parameters
    ----------
    kernel : an ``EquationKernel``, or any kernel with a length (``Stretched`` for two of them)
    points (n, 2), values (n,) : measurements, in units of the field
    noise : variance of the measurements' errors, > 0
    width : bounds of all lengths
    speed : bounds of an EquationKernel's speed; None keeps it

    Returns ExactGP with the fitted kernel. Raises ValueError for arguments that do not fit.
    Cost: O(n^3) for each of some 20-40 steps.
    """
    if not isinstance(kernel, Kernel):
        raise ValueError(f"kernel must be a kernel, got {type(kernel).__name__}")
    values = as_vector("values", values)
    noise = positive("noise", noise)
    amplitude = max(float(np.mean(values**2)), noise)
    model = amplitude * kernel
    bounds = {}
    for name, value in model.hyperparameters.items():
        if name.endswith("speed"):
            bounds[name] = (value, value) if speed is None else speed
        elif name.endswith("variance"):
            bounds[name] = (1e-3 * amplitude, 1e3 * amplitude)
        else:
            bounds[name] = width
    return gp.fit(model, points, values, noise, learn_noise=False, bounds=bounds)


# Weights of the eighth-order central differences, from the middle outwards.
_FIRST = (0.0, 4 / 5, -1 / 5, 4 / 105, -1 / 280)
_SECOND = (-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560)


def pde_residual(
    equation: str, field: Callable, points, step: float, speed: float = 1.0
) -> tuple[float, float]:
    """Return the r.m.s. of an equation's defect on a field, and that of its terms.

    Central differences of order 8 in x and t; the defect of an exact solution is their error.

    Parameters: equation, "heat" or "wave"; field, maps points (m, 2) to values (m,);
    points (n, 2); step > 0, in both coordinates; speed > 0. Cost: 17 evaluations of n points.
    """
    one_of("equation", equation, EQUATIONS)
    points, step = as_matrix("points", points, columns=2), positive("step", step)
    speed = positive("speed", speed)
    shifts = np.arange(-4, 5) * step

    def along(axis, weights, power):
        stack = np.repeat(points[None], 9, axis=0)
        stack[:, :, axis] += shifts[:, None]
        values = as_vector("field", field(stack.reshape(-1, 2)), length=9 * len(points))
        sign = -1.0 if power == 1 else 1.0
        w = np.array([sign * weights[-i] if i < 0 else weights[i] for i in range(-4, 5)])
        return w @ values.reshape(9, -1) / step**power

    in_space = along(0, _SECOND, 2)
    if equation == "heat":
        terms = along(1, _FIRST, 1), -speed * in_space
    else:
        terms = along(1, _SECOND, 2), -(speed**2) * in_space
    defect = np.sqrt(np.mean((terms[0] + terms[1]) ** 2))
    return float(defect), float(np.sqrt(np.mean(terms[0] ** 2 + terms[1] ** 2)))


class Bumps(NamedTuple):
    """heights, places and widths, all (b,): an exact solution as :func:`exact_field` reads it."""

    heights: np.ndarray
    places: np.ndarray
    widths: np.ndarray


def random_bumps(rng, bumps: int = 5, length: float = 10.0) -> Bumps:
    """Draw bumps at random places of [0, length]. Cost: O(bumps)."""
    rng, bumps = as_rng(rng), integer("bumps", bumps, low=1)
    length = positive("length", length)
    places = length * (np.arange(bumps) + rng.random(bumps)) / bumps
    return Bumps(rng.normal(size=bumps), places, rng.uniform(0.05, 0.12, bumps) * length)


def exact_field(equation: str, bumps: Bumps, points, speed: float = 1.0) -> np.ndarray:
    """Return an exact solution at points (x, t), shape (n,).

    heat: each bump h exp(-(x - a)^2 / (2 w^2)) at t = 0 spreads, w^2 -> w^2 + 2 speed t;
    wave: it splits into two halves that run apart (d'Alembert).

    Parameters: equation; bumps; points (n, 2); speed > 0. Cost: O(n b).
    """
    one_of("equation", equation, EQUATIONS)
    points, speed = as_matrix("points", points, columns=2), positive("speed", speed)
    w = as_vector("widths", bumps.widths)
    if w.min() <= 0:
        raise ValueError(f"widths must be positive, got {w.min():.3g}")
    places = as_vector("places", bumps.places, length=len(w))
    heights = as_vector("heights", bumps.heights, length=len(w))
    d, t = points[:, :1] - places, points[:, 1:]
    if equation == "heat":
        q = w**2 + 2.0 * speed * t
        if np.min(q) <= 0:
            raise ValueError(f"points must lie after the bumps' birth, got t = {np.min(t):.3g}")
        return (w / np.sqrt(q) * np.exp(-0.5 * d**2 / q)) @ heights
    halves = [np.exp(-0.5 * ((d + s * speed * t) / w) ** 2) for s in (1, -1)]
    return 0.5 * (halves[0] + halves[1]) @ heights


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1])", fastmath={"contract"}
)
def _exponentials(points, growth, turn, out):
    """out[i] = [Re e^{<p_i, z_j>} for all j, then Im]; z = growth + i turn."""
    n, dims = points.shape
    m = growth.shape[0]
    for i in range(n):
        for j in range(m):
            rise, angle = 0.0, 0.0
            for a in range(dims):
                rise += points[i, a] * growth[j, a]
                angle += points[i, a] * turn[j, a]
            size = exp(rise)
            out[i, j] = size * cos(angle)
            out[i, m + j] = size * sin(angle)


def exponential_features(equation: Equation, points, frequencies, speed: float = 1.0) -> np.ndarray:
    """Return the real and imaginary parts of e^{<p, z_j>} for all points of the variety.

    Parameters: equation; points (n, dimensions); frequencies (m, dimensions - 1); speed > 0.
    Returns (n, 2 branches m): first all real parts. Raises ValueError for exponentials that leave
    the range of floats. Cost: O(n m).
    """
    points = as_matrix("points", points, columns=equation.dimensions)
    z = equation.variety(frequencies, speed).reshape(-1, equation.dimensions)
    reach = np.abs(points).max(axis=0)
    if np.max(np.abs(z.real) @ reach) > 300 or np.max(np.abs(z.imag) @ reach) > LARGEST_ANGLE:
        raise ValueError("frequencies must be small enough for the points: e^{<p, z>} overflows")
    fits_in_memory("the features", 16 * len(points) * len(z))
    out = np.empty((len(points), 2 * len(z)))
    _exponentials(points, np.ascontiguousarray(z.real), np.ascontiguousarray(z.imag), out)
    return out


class ExponentialField:
    """A sum of finitely many exponentials with Gaussian coefficients, given measurements (S-EPGP).

    u(p) = sum_j Re c_j e^{<p, z_j>}, the parts of c_j ~ N(0, deviation_j^2), one deviation a
    frequency. y = u(p) + noise, so that y ~ N(0, Phi S Phi^T + noise I) with the features Phi.

    Paper: gaussian-process-priors-for-systems-of-linear (Harkonen et al. 2023, arXiv:2212.14319)

    Parameters
    ----------
    equation : ``Equation``
    points (n, dimensions), values (n,) : measurements
    frequencies (m, dimensions - 1)
    deviations : (m,) > 0, or one number
    noise : variance > 0
    speed : > 0

    Attributes: frequencies, deviations, noise; evidence; weights (2 branches m,), the means of the
    coefficients; jitter, what the Gram matrix needed. Raises ValueError for arguments that do not
    fit. Cost: O(n^2 m + n^3).
    """

    def __init__(self, equation, points, values, frequencies, deviations, noise, speed=1.0):
        self.equation, self.speed = equation, positive("speed", speed)
        self.points = as_matrix("points", points, columns=equation.dimensions)
        self.values = as_vector("values", values, length=len(self.points))
        self.frequencies = equation._frequencies(frequencies)
        m = len(self.frequencies)
        scale = np.full(m, float(deviations)) if np.ndim(deviations) == 0 else deviations
        self.deviations = as_vector("deviations", scale, length=m)
        if self.deviations.min() <= 0:
            raise ValueError(f"deviations must be positive, got {self.deviations.min():.3g}")
        self.noise = positive("noise", noise)
        self._prior = np.tile(self.deviations**2, 2 * equation.branches)
        self._features = exponential_features(equation, self.points, self.frequencies, speed)
        gram = (self._features * self._prior) @ self._features.T
        gram[np.diag_indices(len(gram))] += self.noise
        self._factor = linalg.cholesky(gram)
        self.jitter = self._factor.jitter
        self._alpha = self._factor.solve(self.values)
        self.weights = self._prior * (self._features.T @ self._alpha)
        n = len(self.values)
        self.evidence = -0.5 * float(
            self.values @ self._alpha + self._factor.logdet() + n * math.log(2 * math.pi)
        )

    def predict(self, points) -> np.ndarray:
        """Return the posterior mean at points (q, dimensions): (q,). Cost: O(q m)."""
        return self.features(points) @ self.weights

    def spread(self, points) -> np.ndarray:
        """Return the posterior deviation of u at points (q, dimensions): (q,). Cost: O(q n m)."""
        phi = self.features(points)
        prior = np.sum(phi**2 * self._prior, axis=1)
        half = self._factor.half_solve(self._features * self._prior @ phi.T)
        return np.sqrt(np.maximum(prior - np.sum(half**2, axis=0), 0.0))

    def features(self, points) -> np.ndarray:
        """Return the features at other points (q, dimensions)."""
        return exponential_features(self.equation, points, self.frequencies, self.speed)

    def gradients(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the evidence's gradient in frequencies (m, p), log deviations (m,), log noise.

        d evidence / d Phi = (a a^T - K^{-1}) Phi S. Cost: O(n^2 m + n^3).
        """
        inverse = self._factor.inverse()
        pull = np.outer(self._alpha, self._alpha) - inverse
        by_phi = (pull @ self._features) * self._prior
        branches, m = self.equation.branches, len(self.frequencies)
        half = branches * m
        by_size = np.sum(by_phi * self._features, axis=0).reshape(-1, m).sum(axis=0)
        # Of f = sum G_R Re phi + G_I Im phi the derivative is Re sum (G_R - i G_I) d phi.
        waves = self._features[:, :half] + 1j * self._features[:, half:]
        flow = (by_phi[:, :half] - 1j * by_phi[:, half:]) * waves
        moments = (flow.T @ self.points).reshape(branches, m, -1)
        slopes = self.equation.variety_slopes(self.frequencies, self.speed)
        by_frequency = np.einsum("bma,bmap->mp", moments, slopes).real
        return by_frequency, by_size, 0.5 * self.noise * float(np.trace(pull))

    def learn(self, steps: int, rate: float = 0.05) -> Iterator["ExponentialField"]:
        """Yield the field after each of ``steps`` Adam steps on the evidence, itself first.

        Frequencies move in units of their own root mean square, deviations and noise by logarithms.
        """
        steps, unit = integer("steps", steps, low=0), float(np.sqrt(np.mean(self.frequencies**2)))
        unit = unit or 1.0
        state = [self.frequencies / unit, np.log(self.deviations), np.array([math.log(self.noise)])]
        adam, field = Adam(state, positive("rate", rate)), self
        yield field
        for _ in range(steps):
            by_frequency, by_size, by_noise = field.gradients()
            adam.update([-unit * by_frequency, -by_size, np.array([-by_noise])])
            state[2] = np.maximum(state[2], -25.0)
            field = ExponentialField(
                self.equation, self.points, self.values, unit * state[0],
                np.exp(state[1]), math.exp(state[2][0]), self.speed,
            )  # fmt: skip
            yield field


def ripples(points, stones, width: float = 0.25, speed: float = 1.0, nodes: int = 64) -> np.ndarray:
    """Return the height of a pond at points (x, y, t) after stones fell in: an exact solution.

    Each stone, (x, y, t0, height), raises a Gaussian bump of the given width at time t0, at rest:
    u = h width^2 int_0^inf k e^{-k^2 width^2 / 2} J0(k r) cos(speed k (t - t0)) dk.

    Parameters: points (n, 3); stones (s, 4); width, speed > 0; nodes of the quadrature.
    Returns (n,). Cost: O(n s nodes).
    """
    from scipy.special import j0

    points, stones = as_matrix("points", points, columns=3), as_matrix("stones", stones, columns=4)
    width, speed = positive("width", width), positive("speed", speed)
    k, weights = np.polynomial.legendre.leggauss(integer("nodes", nodes, low=8))
    k, weights = 3.5 / width * (k + 1), 3.5 / width * weights
    weights = weights * width**2 * k * np.exp(-0.5 * (k * width) ** 2)
    total = np.zeros(len(points))
    for x, y, start, height in stones:
        r = np.hypot(points[:, 0] - x, points[:, 1] - y)
        times = speed * (points[:, 2] - start)
        total += height * ((j0(r[:, None] * k) * np.cos(times[:, None] * k)) @ weights)
    return total


# ------------------------------------------------------------------------------------------------
# 2. A spectrum of many frequencies, and equations solved on a grid
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A mixture of waves: k(d) = sum_q w_q c_q(d) cos(2 pi mu_q d).

    c_q(d) = exp(-rho_q d^2) (a Gaussian bump of the spectrum around mu_q), or a Matern-5/2 of
    length 1/sqrt(2 rho_q) (a Student-t bump, with heavier tails).

    Paper: solving-high-frequency-and-multi-scale-pdes (Fang et al. 2024, arXiv:2311.04465)

    Parameters: weights (q,) > 0; frequencies (q,) >= 0, turns a unit of length; decays (q,) > 0;
    profile, "gaussian" or "matern". Raises ValueError for anything else.
    """

    weights: np.ndarray
    frequencies: np.ndarray
    decays: np.ndarray
    profile: str = "gaussian"

    def __post_init__(self):
        one_of("profile", self.profile, ("gaussian", "matern"))
        weights = as_vector("weights", self.weights)
        for name in ("weights", "frequencies", "decays"):
            value = as_vector(name, getattr(self, name), length=len(weights))
            low = value.min()
            if low < 0 or (low == 0 and name != "frequencies"):
                raise ValueError(f"{name} must be positive, got {low:.3g}")
            object.__setattr__(self, name, value)

    @classmethod
    def even(cls, highest: float, count: int, decay: float = 1.0, profile: str = "gaussian"):
        """Return equal weights 1/count on frequencies linspace(0, highest, count)."""
        count = integer("count", count, low=1)
        frequencies = np.linspace(0.0, nonnegative("highest", highest), count)
        ones = np.ones(count)
        return cls(ones / count, frequencies, positive("decay", decay) * ones, profile)

    @property
    def theta(self) -> np.ndarray:
        """log weights, frequencies, log decays: (3 q,)."""
        return np.concatenate([np.log(self.weights), self.frequencies, np.log(self.decays)])

    def with_theta(self, theta) -> "Spectrum":
        """Return the spectrum with other parameters (3 q,); frequencies count by their size."""
        a, b, c = as_vector("theta", theta, length=3 * len(self.weights)).reshape(3, -1)
        a, c = np.clip(a, -60.0, 60.0), np.clip(c, -60.0, 60.0)
        return Spectrum(np.exp(a), np.abs(b), np.exp(c), self.profile)

    def columns(self, distances) -> np.ndarray:
        """Return k and its second derivative k'' at distances (n,) >= 0: (2, n). Cost: O(n q)."""
        distances = as_vector("distances", distances)
        return _columns(self.theta, distances, self.profile)

    def share(self, frequency: float, tolerance: float = 0.05, above: float = 0.0) -> float:
        """Return the share of the weight within tolerance (relative) of a frequency.

        Only components faster than ``above`` are counted at all; 0.0 if there is none.
        """
        counted = self.frequencies >= nonnegative("above", above)
        near = np.abs(self.frequencies - frequency) <= tolerance * positive("frequency", frequency)
        total = float(self.weights[counted].sum())
        return float(self.weights[counted & near].sum()) / total if total > 0 else 0.0


def _columns(theta, d, profile):
    """k and k'' at distances d, for autograd too."""
    log_w, mu, log_rho = anp.reshape(theta, (3, -1))
    d, w, turn, rho = d[:, None], anp.exp(log_w), 2 * np.pi * mu, anp.exp(log_rho)
    if profile == "gaussian":
        c = anp.exp(-rho * d**2)
        first, second = -2 * rho * d * c, (4 * rho**2 * d**2 - 2 * rho) * c
    else:
        a = anp.sqrt(10 * rho) * d  # sqrt(5) d / length
        fall = anp.exp(-a)
        c = (1 + a + a**2 / 3) * fall
        first = -(10 * rho / 3) * d * (1 + a) * fall
        second = (10 * rho / 3) * (a**2 - a - 1) * fall
    wave, slope = anp.cos(turn * d), anp.sin(turn * d)
    bent = second * wave - 2 * first * turn * slope - c * turn**2 * wave
    return anp.stack([anp.dot(c * wave, w), anp.dot(bent, w)])


class GridSolution(NamedTuple):
    """The most likely solution on a grid.

    u (n,); evidence, the log density of the equation's right side and boundary values, u integrated
    out; jitter, what was added to the diagonal of the kernel matrix.
    """

    u: np.ndarray
    evidence: float
    jitter: float


class GridProblem:
    """u'' + potential u = source on an even grid of [0, length], u known at both ends.

    The unknowns are the values U on the grid, with the prior N(0, K) of a Spectrum. The second
    derivative is that of the conditional mean, u'' = K'' K^{-1} U (no higher derivative is needed),
    and both the equation and the boundary hold up to Gaussian errors. Everything is linear, so that
    U is eliminated exactly, as the most likely one or by integrating it out.

    Paper: solving-high-frequency-and-multi-scale-pdes (Fang et al. 2024, arXiv:2311.04465);
    there U, the spectrum and both error sizes descend together by Adam.

    Parameters
    ----------
    source : (n,), n >= 8, the right side on the grid
    ends : the two boundary values
    length : > 0
    potential : (n,) or a number
    equation_error : standard deviation of the equation's error, relative to the r.m.s. source
    boundary_error : standard deviation of the boundary's error, in units of u

    Cost of a solution and of a gradient: O(n^3).
    """

    def __init__(
        self, source, ends, length=1.0, potential=0.0, equation_error=1e-2, boundary_error=1e-3
    ):
        self.source = as_vector("source", source)
        n = len(self.source)
        if n < 8:
            raise ValueError(f"source must have at least 8 values, got {n}")
        self.ends = as_vector("ends", ends, length=2)
        self.grid = np.linspace(0.0, positive("length", length), n)
        fits_in_memory("the kernel matrices", 80 * n * n)
        potential = np.full(n, float(potential)) if np.ndim(potential) == 0 else potential
        self.potential = as_vector("potential", potential, length=n)
        self._scale = float(np.sqrt(np.mean(self.source**2))) or 1.0
        self._errors = (positive("equation_error", equation_error),
                        positive("boundary_error", boundary_error))  # fmt: skip

    def solve(self, spectrum: Spectrum) -> GridSolution:
        """Return the most likely solution under a spectrum. Cost: O(n^3)."""
        parts = self._parts(spectrum)
        u = parts["reach"] @ parts["alpha"]
        return GridSolution(u, parts["evidence"], parts["jitter"])

    def evidence_gradient(self, spectrum: Spectrum) -> tuple[float, np.ndarray]:
        """Return the evidence and its gradient (3 q,) in ``spectrum.theta``.

        With the data T U + errors, T = [ends; K'' K^{-1} + potential], M = T K T^T + errors:
        d evidence = <P, dM>, P = (a a^T - M^{-1}) / 2, a = M^{-1} y. K and K'' depend on distances
        alone, so that all their derivatives are needed by diagonals only. Cost: O(n^3 + n q).
        """
        parts = self._parts(spectrum)
        pull = 0.5 * (np.outer(parts["alpha"], parts["alpha"]) - parts["factor"].inverse())
        tied = parts["operator"].T @ pull  # (n, n + 2)
        below = tied[:, 2:]
        by_bend = 2.0 * below
        by_gram = tied @ parts["operator"] - 2.0 * below @ parts["bend"]
        sums = np.array([_diagonal_sums(by_gram), _diagonal_sums(by_bend)])
        distances = self.grid - self.grid[0]
        pullback, _ = make_vjp(lambda theta: _columns(theta, distances, spectrum.profile))(
            spectrum.theta
        )
        return parts["evidence"], pullback(sums)

    def _parts(self, spectrum: Spectrum) -> dict:
        """K (with jitter), K'' K^{-1}, T, K T^T, the factor of M, a and the evidence."""
        n = len(self.source)
        k, bent = spectrum.columns(self.grid - self.grid[0])
        size = max(float(k[0]), 1e-300)
        gram = sla.toeplitz(k)
        factor = linalg.cholesky(gram, jitter=1e-10 * size)
        gram[np.diag_indices(n)] += factor.jitter
        bend = factor.solve(sla.toeplitz(bent)).T
        operator = np.vstack([np.eye(n)[[0, -1]], bend])
        operator[np.arange(2, n + 2), np.arange(n)] += self.potential
        reach = gram @ operator.T
        middle = operator @ reach
        middle = 0.5 * (middle + middle.T)
        equation, boundary = self._errors
        errors = np.full(n + 2, (equation * self._scale) ** 2)
        errors[:2] = boundary**2
        middle[np.diag_indices(n + 2)] += errors
        # Two rows in units of u and n in units of u'': one scale for all keeps the factor sound.
        units = np.sqrt(np.diagonal(middle))
        scaled = linalg.cholesky(middle / np.outer(units, units))
        whole = linalg.CholeskyFactor(scaled.lower * units[:, None], 0.0)
        y = np.concatenate([self.ends, self.source])
        alpha = whole.solve(y)
        value = -0.5 * float(y @ alpha + whole.logdet() + len(y) * math.log(2 * math.pi))
        return {
            "bend": bend, "operator": operator, "reach": reach, "factor": whole, "alpha": alpha,
            "evidence": value, "jitter": factor.jitter,
        }  # fmt: skip

    def learn(
        self, spectrum: Spectrum, steps: int, rate: float = 0.05
    ) -> Iterator[tuple[Spectrum, float]]:
        """Yield (spectrum, evidence) before each of ``steps`` Adam steps, and after the last.

        Weights and decays descend by logarithms: a weight that is not needed keeps shrinking at a
        constant rate and dies out. Frequencies move in units of their spacing.
        """
        steps = integer("steps", steps, low=0)
        count = len(spectrum.weights)
        unit = np.ones(3 * count)
        unit[count : 2 * count] = max(np.ptp(spectrum.frequencies) / max(count - 1, 1), 0.5)
        state = spectrum.theta / unit
        adam = Adam([state], positive("rate", rate))
        for _ in range(steps):
            value, gradient = self.evidence_gradient(spectrum)
            yield spectrum, value
            adam.update([-gradient * unit])
            spectrum = spectrum.with_theta(state * unit)
        yield spectrum, self.solve(spectrum).evidence


def _diagonal_sums(matrix: np.ndarray) -> np.ndarray:
    """Sums of matrix_ij over |i - j| = d, for d = 0 .. n - 1."""
    n = len(matrix)
    distance = np.abs(np.arange(n)[:, None] - np.arange(n))
    return np.bincount(distance.ravel(), weights=matrix.ravel(), minlength=n)


def solve_allen_cahn(
    spectrum: Spectrum, source, ends, length: float = 1.0, steps: int = 8, **errors
) -> Iterator[GridSolution]:
    """Yield Newton's iterates for u'' + u (u^2 - 1) = source on an even grid.

    Around U the equation is u'' + (3 U^2 - 1) u = source + 2 U^3: a ``GridProblem`` a step.

    Parameters: spectrum; source (n,); ends, two boundary values; length > 0; steps >= 1; errors as
    in ``GridProblem``. Cost: O(n^3) a step.
    """
    source = as_vector("source", source)
    u = np.linspace(*as_vector("ends", ends, length=2), len(source))
    for _ in range(integer("steps", steps, low=1)):
        problem = GridProblem(source + 2 * u**3, ends, length, 3 * u**2 - 1, **errors)
        solution = problem.solve(spectrum)
        u = solution.u
        yield solution


def kron_matvec(a, b, v) -> np.ndarray:
    """Return (A kron B) v without forming it: A V B^T, for V = v by rows.

    Parameters: a (n1, m1), b (n2, m2), v (m1 m2,) or (m1, m2). Returns in v's rank.
    Raises ValueError for shapes that do not fit. Cost: O(n1 m1 m2 + n1 m2 n2).
    """
    a, b = as_matrix("a", a), as_matrix("b", b)
    grid, flat = _as_grid(v, a.shape[1], b.shape[1])
    out = a @ grid @ b.T
    return out.ravel() if flat else out


def kron_solve(a, b, v) -> np.ndarray:
    """Return (A kron B)^{-1} v for positive definite A and B: A^{-1} V B^{-1}.

    Parameters: a (n1, n1), b (n2, n2), v (n1 n2,) or (n1, n2). Returns in v's rank.
    Raises ValueError for shapes that do not fit. Cost: O(n1^3 + n2^3 + n1 n2 (n1 + n2)).
    """
    first, second = linalg.cholesky(a), linalg.cholesky(b)
    grid, flat = _as_grid(v, len(first.lower), len(second.lower))
    out = second.solve(np.ascontiguousarray(first.solve(grid).T)).T
    return out.ravel() if flat else np.ascontiguousarray(out)


def _as_grid(v, n1: int, n2: int) -> tuple[np.ndarray, bool]:
    if np.ndim(v) == 1:
        return as_vector("v", v, length=n1 * n2).reshape(n1, n2), True
    return as_matrix("v", v, rows=n1, columns=n2), False


class PlaneProblem:
    """u_xx + u_yy = source on an even grid of the unit square, u given on its border.

    The prior of the grid's values U (n1, n2) is that of a product kernel, K = K1 kron K2, so that
    U^T K^{-1} U = tr(K1^{-1} U K2^{-1} U^T) and u_xx = (K1'' K1^{-1}) U: no matrix is ever larger
    than a side.

    Paper: solving-high-frequency-and-multi-scale-pdes (Fang et al. 2024, arXiv:2311.04465)

    Parameters: source (n1, n2); border (n1, n2), of which only the outermost values are read;
    spectra, one a side; equation_error relative to the r.m.s. source; boundary_error in units of u.
    Raises ValueError for arguments that do not fit. Cost: O(n1^3 + n2^3), and
    O(n1 n2 (n1 + n2)) for each value, gradient or step.
    """

    def __init__(self, source, border, spectra, equation_error=1e-2, boundary_error=1e-3):
        self.source = as_matrix("source", source, min_rows=8)
        n1, n2 = self.source.shape
        if n2 < 8:
            raise ValueError(f"source must have at least 8 columns, got {n2}")
        border = as_matrix("border", border, rows=n1, columns=n2)
        self.edge = np.zeros((n1, n2))
        self.edge[[0, -1]] = 1.0
        self.edge[:, [0, -1]] = 1.0
        self.border = self.edge * border
        scale = float(np.sqrt(np.mean(self.source**2))) or 1.0
        spectra = list(spectra)
        if len(spectra) != 2:
            raise ValueError(f"spectra must be two, one a side, got {len(spectra)}")
        self.precision = (positive("equation_error", equation_error) * scale) ** -2
        self.pin = positive("boundary_error", boundary_error) ** -2
        self.lower, self.bends, jitters = [], [], []
        for spectrum, n in zip(spectra, (n1, n2), strict=True):
            k, bent = spectrum.columns(np.linspace(0.0, 1.0, n))
            factor = linalg.cholesky(sla.toeplitz(k), jitter=1e-10 * max(float(k[0]), 1e-300))
            self.lower.append(factor.lower)
            self.bends.append(np.ascontiguousarray(factor.solve(sla.toeplitz(bent)).T))
            jitters.append(factor.jitter)
        self.jitter = max(jitters)

    def objective(self, u) -> tuple[float, np.ndarray]:
        """Return minus the log joint density of U (n1, n2), up to a constant, and its gradient."""
        u = as_matrix("u", u, rows=self.source.shape[0], columns=self.source.shape[1])
        one, two = self.lower
        first = sla.cho_solve((one, True), u)
        smooth = sla.cho_solve((two, True), first.T).T
        a, b = self.bends
        defect = a @ u + u @ b.T - self.source
        off = self.edge * (u - self.border)
        value = 0.5 * (np.vdot(u, smooth) + self.precision * np.vdot(defect, defect)
                       + self.pin * np.vdot(off, off))  # fmt: skip
        gradient = smooth + self.precision * (a.T @ defect + defect @ b) + self.pin * off
        return float(value), gradient

    def solve(self, tolerance: float = 1e-6, iterations: int = 400) -> tuple[np.ndarray, int]:
        """Return the most likely U (n1, n2) and the steps of conjugate gradients it took.

        In the coordinates Z, U = L1 Z L2^T, the prior is the identity, which is half the work.
        """
        one, two = self.lower
        a, b = self.bends

        def spread(z):
            return one @ z @ two.T

        def gather(u):
            return one.T @ u @ two

        def pulled(u, source, border):
            defect = a @ u + u @ b.T - source
            return self.precision * (a.T @ defect + defect @ b) + self.pin * (
                self.edge * u - border
            )

        shape = self.source.shape
        zero = np.zeros(shape)

        def curve(z):
            z = z.reshape(shape)
            return (z + gather(pulled(spread(z), zero, zero))).ravel()

        right = -gather(pulled(zero, self.source, self.border)).ravel()
        found = conjugate_gradients(
            curve, right, tolerance=tolerance, max_iterations=integer("iterations", iterations, 1)
        )
        return spread(found.x.reshape(shape)), found.iterations


# ------------------------------------------------------------------------------------------------
# 3. Vectors compared after parallel transport on a point cloud
# ------------------------------------------------------------------------------------------------


def tangent_frames(points, neighbours: int = 12, dimension: int = 2) -> np.ndarray:
    """Return an orthonormal basis of the tangent space at each point, from its neighbours.

    The leading principal directions of the neighbours around the point itself.

    Parameters: points (n, D); neighbours >= dimension, < n; dimension < D or = D.
    Returns (n, D, dimension). Raises ValueError for arguments that do not fit.
    Cost: O(n log n + n neighbours D^2 + n D^3).
    """
    points = as_matrix("points", points)
    n, ambient = points.shape
    dimension = integer("dimension", dimension, low=1, high=ambient)
    neighbours = integer("neighbours", neighbours, low=dimension, high=n - 1)
    near = cKDTree(points).query(points, neighbours + 1)[1]
    around = points[near] - points[:, None]
    _, vectors = np.linalg.eigh(np.einsum("nka,nkb->nab", around, around))
    return np.ascontiguousarray(vectors[:, :, ::-1][:, :, :dimension])


def align(frame_i, frame_j) -> np.ndarray:
    """Return the orthogonal matrix that carries coordinates in frame j into frame i.

    The nearest orthogonal matrix to T_i^T T_j: U V^T of its singular value decomposition. It may
    turn over (determinant -1): neighbouring frames need not have the same handedness.

    Parameters: frame_i, frame_j (..., D, d), orthonormal columns. Returns (..., d, d).
    Raises ValueError for different shapes. Cost: O(D d^2 + d^3) a pair.
    """
    frame_i, frame_j = np.asarray(frame_i, float), np.asarray(frame_j, float)
    if frame_i.shape != frame_j.shape or frame_i.ndim < 2:
        raise ValueError(
            f"frame_i and frame_j must have one shape (..., D, d), got {frame_i.shape} and "
            f"{frame_j.shape}"
        )
    if not (np.isfinite(frame_i).all() and np.isfinite(frame_j).all()):
        raise ValueError("frame_i and frame_j must be finite, got NaN or infinity")
    left, _, right = np.linalg.svd(np.swapaxes(frame_i, -1, -2) @ frame_j)
    return left @ right


def neighbour_pairs(points, neighbours: int) -> np.ndarray:
    """Return all pairs i < j of which one is among the other's nearest: (pairs, 2).

    Parameters: points (n, D); neighbours in 1 .. n - 1. Cost: O(n log n + n neighbours).
    """
    points = as_matrix("points", points, min_rows=2)
    neighbours = integer("neighbours", neighbours, low=1, high=len(points) - 1)
    near = cKDTree(points).query(points, neighbours + 1)[1][:, 1:]
    pairs = np.stack([np.repeat(np.arange(len(points)), neighbours), near.ravel()], axis=1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return np.unique(np.sort(pairs, axis=1), axis=0)


def connection_laplacian(frames, pairs, transport: bool = True) -> scipy.sparse.csr_matrix:
    """Return L_c: how far a vector field is from being carried over unchanged, edge by edge.

    v^T L_c v = sum over pairs |v_i - O_ij v_j|^2, v_i in coordinates of frame i.

    Parameters: frames (n, D, d); pairs (p, 2) as from ``neighbour_pairs``; transport=False takes
    O_ij = I, as if the coordinates could be compared as they are.
    Returns a sparse (n d, n d) matrix. Raises ValueError for pairs out of range.
    Cost: O(p d^3).
    """
    frames = np.asarray(frames, dtype=np.float64)
    if frames.ndim != 3 or frames.size == 0 or not np.isfinite(frames).all():
        raise ValueError(f"frames must be finite and have shape (n, D, d), got {frames.shape}")
    n, _, d = frames.shape
    pairs = np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu" or not len(pairs):
        raise ValueError(f"pairs must be whole numbers of shape (p, 2), got shape {pairs.shape}")
    if pairs.min() < 0 or pairs.max() >= n:
        raise ValueError(f"pairs must lie in 0 .. {n - 1}, got {pairs.min()} and {pairs.max()}")
    i, j = pairs.T
    turns = align(frames[i], frames[j]) if transport else np.broadcast_to(np.eye(d), (len(i), d, d))
    a, b = np.meshgrid(np.arange(d), np.arange(d), indexing="ij")
    rows = (d * i[:, None, None] + a).ravel()
    columns = (d * j[:, None, None] + b).ravel()
    off = scipy.sparse.coo_matrix((-turns.ravel(), (rows, columns)), shape=(n * d, n * d))
    degree = np.repeat(np.bincount(pairs.ravel(), minlength=n), d).astype(float)
    return (off + off.T + scipy.sparse.diags(degree)).tocsr()


class TangentModes(NamedTuple):
    """Smoothest vector fields of a cloud: eigenvalues (K,) rising, vectors in space (n, D, K).

    frames (n, D, d) and pairs (p, 2) are what they were made from.
    """

    values: np.ndarray
    fields: np.ndarray
    frames: np.ndarray
    pairs: np.ndarray


def tangent_modes(
    points, count: int = 50, neighbours: int = 12, dimension: int = 2, transport: bool = True,
    frames=None,
) -> TangentModes:  # fmt: skip
    """Return the eigenvectors of the connection Laplacian with the smallest eigenvalues.

    Paper: implicit-gaussian-process-representation (Peach et al. 2024, arXiv:2309.16746)

    Parameters
    ----------
    points : (n, D)
    count : how many, K < n dimension
    neighbours, dimension : as in ``tangent_frames``
    transport : False compares coordinates without parallel transport
    frames : (n, D, dimension), other tangent frames

    Returns TangentModes; each field has mean squared length 1 over the points.
    Raises ValueError for arguments that do not fit. Cost: a sparse eigenproblem.
    """
    points = as_matrix("points", points)
    n = len(points)
    found = tangent_frames(points, neighbours, dimension) if frames is None else frames
    if np.shape(found) != (n, points.shape[1], dimension):
        raise ValueError(
            f"frames must have shape {(n, points.shape[1], dimension)}, got {np.shape(found)}"
        )
    found = np.asarray(found, dtype=np.float64)
    pairs = neighbour_pairs(points, neighbours)
    laplacian = connection_laplacian(found, pairs, transport)
    if np.abs(np.swapaxes(found, 1, 2) @ found - np.eye(dimension)).max() > 1e-6:
        raise ValueError("frames must have orthonormal columns")
    count = integer("count", count, low=1, high=n * dimension - 1)
    if count > n * dimension // 3 or n * dimension < 60:
        values, vectors = linalg.eigh(laplacian.toarray())
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    else:
        start = np.random.default_rng(0).standard_normal(n * dimension)
        values, vectors = eigsh(laplacian.tocsc(), count, sigma=-1e-2, which="LM", v0=start)
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
    coordinates = math.sqrt(n) * vectors.reshape(n, dimension, count)
    fields = np.einsum("nak,nkm->nam", found, coordinates)
    return TangentModes(np.maximum(values, 0.0), fields, np.asarray(found), pairs)


def spectral_weights(values, kappa: float, nu: float | None = 1.5) -> np.ndarray:
    """Return the variances s_l of a Matern process on the modes: (K,), summing to 1.

    s_l proportional to (lam_l + 2 nu / kappa^2)^-nu, or exp(-kappa^2 lam_l / 2) for nu=None.

    Parameters: values (K,) >= 0; kappa > 0, in units of lam^-1/2; nu > 0 or None. Cost: O(K).
    """
    values, kappa = as_vector("values", values), between("kappa", kappa, 1e-100, 1e100)
    if values.min() < 0:
        raise ValueError(f"values must not be negative, got {values.min():.3g}")
    if nu is None:
        s = np.exp(-0.5 * kappa**2 * (values - values.min()))
    else:
        low = 2.0 * positive("nu", nu) / kappa**2
        s = ((values + low) / (values.min() + low)) ** -nu
    return np.maximum(s / s.sum(), 1e-300)


class FieldFit(NamedTuple):
    """mean (n, D); deviation (n,), r.m.s. over directions; kappa, noise, evidence: floats."""

    mean: np.ndarray
    deviation: np.ndarray
    kappa: float
    noise: float
    evidence: float


def fit_vectors(
    modes: TangentModes, seen, vectors, kappas=None, noises=None, nu: float | None = 1.5
) -> FieldFit:
    """Regress a vector field from vectors at some of the points, the settings chosen by evidence.

    Vectors v = sum_l a_l field_l + noise, a_l ~ N(0, variance s_l): the Gram matrix has the blocks
    variance sum_l s_l field_l(i) field_l(j)^T + noise I. For each kappa and each ratio of noise to
    variance the best variance is y^T (K + ratio I)^{-1} y / (number of components).

    Paper: implicit-gaussian-process-representation (Peach et al. 2024, arXiv:2309.16746)

    Parameters
    ----------
    modes : ``TangentModes``
    seen : (m,) indices of the points, m >= 1
    vectors : (m, D)
    kappas : lengths tried (default: 12 from 0.3 to 30)
    noises : ratios of noise to signal variance tried (default: 10 from 1e-6 to 1)
    nu : as in ``spectral_weights``

    Raises ValueError for arguments that do not fit. Cost: O(m D K^2 + len(kappas) K^3).
    """
    n, ambient, count = modes.fields.shape
    seen = _indices("seen", seen, n)
    vectors = as_matrix("vectors", vectors, rows=len(seen), columns=ambient)
    kappas = np.geomspace(0.3, 30, 12) if kappas is None else as_vector("kappas", kappas)
    noises = np.geomspace(1e-6, 1, 10) if noises is None else as_vector("noises", noises)
    if min(kappas.min(), noises.min()) <= 0:
        raise ValueError("kappas and noises must be positive")
    rows = modes.fields[seen].reshape(-1, count)
    y = vectors.ravel()
    inner, pull, energy = rows.T @ rows, rows.T @ y, max(float(y @ y), 1e-300)
    best = None
    for kappa in kappas:
        half = np.sqrt(spectral_weights(modes.values, kappa, nu))
        lam, basis = linalg.eigh_checked(inner * np.outer(half, half))
        lam, turned = np.maximum(lam, 0.0), basis.T @ (half * pull)
        for ratio in noises:
            # Woodbury in the basis: y^T (K + r I)^-1 y = (|y|^2 - sum turned^2 / (lam + r)) / r
            misfit = (energy - np.sum(turned**2 / (lam + ratio))) / ratio
            variance = max(misfit, 1e-12 * energy) / len(y)
            logdet = np.sum(np.log1p(lam / ratio)) + len(y) * math.log(ratio)
            evidence = -0.5 * (len(y) * (math.log(2 * math.pi * variance) + 1) + logdet)
            if best is None or evidence > best[0]:
                weights = half * (basis @ (turned / (lam + ratio)))
                cover = (half[:, None] * basis) * np.sqrt(ratio / (lam + ratio))
                best = evidence, kappa, ratio * variance, weights, math.sqrt(variance) * cover
    evidence, kappa, noise, weights, cover = best
    mean = modes.fields @ weights
    spread = np.sqrt(np.mean(np.sum((modes.fields @ cover) ** 2, axis=2), axis=1))
    return FieldFit(mean, spread, float(kappa), float(noise), float(evidence))


def fit_channels(points, seen, vectors, lengths=None, noises=None) -> FieldFit:
    """The baseline: D independent Gaussian processes on the coordinates, with one length.

    Parameters as in ``fit_vectors``; points (n, D); lengths tried (default: 14 from 0.05 to 5 times
    the cloud's r.m.s. radius). FieldFit.kappa is the length. Cost: O(len(lengths) m^3 + n m^2).
    """
    points = as_matrix("points", points)
    seen = _indices("seen", seen, len(points))
    vectors = as_matrix("vectors", vectors, rows=len(seen))
    lengths, noises = _tried(points, lengths, noises)
    best = None
    for length in lengths:
        # One eigendecomposition serves all noises and channels.
        lam, basis = linalg.eigh_checked(Gaussian(length).gram(points[seen]))
        lam, turned = np.maximum(lam, 0.0), basis.T @ vectors
        for ratio in noises:
            # As in fit_vectors, the best variance for each length and ratio is known.
            variance = max(float(np.mean(turned**2 / (lam + ratio)[:, None])), 1e-300)
            logdet = vectors.shape[1] * float(np.sum(np.log(lam + ratio)))
            evidence = -0.5 * (vectors.size * (math.log(2 * math.pi * variance) + 1) + logdet)
            if best is None or evidence > best[0]:
                best = evidence, float(length), variance, float(ratio * variance)
    evidence, length, variance, noise = best
    model = gp.ExactGP(variance * Gaussian(length), points[seen], vectors[:, 0], noise)
    parts = [model.with_targets(channel).predict(points) for channel in vectors.T]
    mean = np.stack([part.mean for part in parts], axis=1)
    return FieldFit(mean, np.sqrt(parts[0].variance), length, noise, evidence)


def fit_projected(points, frames, seen, vectors, lengths=None, noises=None) -> FieldFit:
    """The other baseline: an ordinary kernel in space, its vectors made tangent by projection.

    Blocks k(x_i, x_j) T_i^T T_j + noise I in tangent coordinates: frames are used, but not
    carried, and no graph is needed.

    Parameters as in ``fit_channels``; frames (n, D, d), orthonormal. FieldFit.kappa is the length.
    Cost: O(len(lengths) (m d)^3 + n m D).
    """
    points = as_matrix("points", points)
    frames = np.asarray(frames, dtype=np.float64)
    if frames.ndim != 3 or frames.shape[:2] != points.shape or not np.isfinite(frames).all():
        raise ValueError(f"frames must be finite, one (D, d) for each point, got {frames.shape}")
    seen = _indices("seen", seen, len(points))
    vectors = as_matrix("vectors", vectors, rows=len(seen), columns=points.shape[1])
    lengths, noises = _tried(points, lengths, noises)
    own = frames[seen]
    y = np.einsum("mak,ma->mk", own, vectors).ravel()
    ties = np.einsum("iab,jac->ibjc", own, own)
    best = None
    for length in lengths:
        gram = Gaussian(length).gram(points[seen])
        lam, basis = linalg.eigh_checked((ties * gram[:, None, :, None]).reshape(len(y), -1))
        lam, turned = np.maximum(lam, 0.0), basis.T @ y
        for ratio in noises:
            variance = max(float(np.mean(turned**2 / (lam + ratio))), 1e-300)
            logdet = float(np.sum(np.log(lam + ratio)))
            evidence = -0.5 * (len(y) * (math.log(2 * math.pi * variance) + 1) + logdet)
            if best is None or evidence > best[0]:
                best = evidence, float(length), float(variance), float(ratio), lam, basis, turned
    evidence, length, variance, ratio, lam, basis, turned = best
    pull = np.einsum("iab,ib->ia", own, (basis @ (turned / (lam + ratio))).reshape(len(seen), -1))
    reach = Gaussian(length).gram(points, points[seen])
    mean = np.einsum("nab,ncb,nc->na", frames, frames, reach @ pull)
    cross = np.einsum("nj,nab,jac->nbjc", reach, frames, own).reshape(-1, len(y)) @ basis
    left = 1.0 - np.sum(cross**2 / (lam + ratio), axis=1)
    spread = np.sqrt(variance * np.maximum(left, 0.0).reshape(len(points), -1).mean(axis=1))
    return FieldFit(mean, spread, length, ratio * variance, float(evidence))


def _tried(points, lengths, noises):
    """The lengths and noises that a baseline tries."""
    radius = float(np.sqrt(np.mean(np.sum((points - points.mean(axis=0)) ** 2, axis=1)))) or 1.0
    lengths = radius * np.geomspace(0.05, 5, 14) if lengths is None else lengths
    noises = np.geomspace(1e-6, 1, 7) if noises is None else as_vector("noises", noises)
    lengths = as_vector("lengths", lengths)
    if min(lengths.min(), noises.min()) <= 0:
        raise ValueError("lengths and noises must be positive")
    return lengths, noises


def _indices(name: str, value, n: int) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be whole numbers of shape (m,), got shape {array.shape}")
    if array.min() < 0 or array.max() >= n:
        raise ValueError(f"{name} must lie in 0 .. {n - 1}, got {array.min()} and {array.max()}")
    return array


def angular_error(found, truth) -> np.ndarray:
    """Return the angle between vectors, in degrees: (n,), 0 to 180. Cost: O(n D).

    Parameters: found, truth (n, D); a vector of length 0 is at 90 degrees to all.
    """
    truth = as_matrix("truth", truth)
    found = as_matrix("found", found, columns=truth.shape[1], rows=len(truth))
    sizes = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
    cosine = np.sum(found * truth, axis=1) / np.maximum(sizes, 1e-300)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


class Surface(NamedTuple):
    """points (n, 3); normals (n, 3), outward units; triangles (t, 3), counted anticlockwise."""

    points: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray


def sphere(n: int, rng=0, jitter: float = 0.5) -> Surface:
    """Return n points spread over the unit sphere: a spiral lattice, shaken.

    Parameters: n >= 12; rng; jitter, standard deviation of the shaking in units of the spacing.
    Cost: O(n log n).
    """
    n, rng = integer("n", n, low=12), as_rng(rng)
    k = np.arange(n) + 0.5
    z, angle = 1 - 2 * k / n, math.pi * (1 + math.sqrt(5)) * k
    r = np.sqrt(1 - z**2)
    points = np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)
    points += nonnegative("jitter", jitter) * math.sqrt(4 / n) * 0.5 * rng.normal(size=(n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    from scipy.spatial import ConvexHull

    triangles = ConvexHull(points).simplices
    return Surface(points, points.copy(), _outward(points, points, triangles))


def torus(n: int, rng=0, tube: float = 0.45) -> Surface:
    """Return n random points on a torus of radius 1, uniform by area; no triangles.

    Parameters: n >= 12; rng; tube, the small radius, 0 < tube < 1. Cost: O(n).
    """
    n, rng = integer("n", n, low=12), as_rng(rng)
    if not 0 < positive("tube", tube) < 1:
        raise ValueError(f"tube must lie between 0 and 1, got {tube:.3g}")
    # Golden-ratio lattice in (angle, area), shaken: even, without holes.
    k = np.arange(n) + 0.5
    around = 2 * math.pi * np.mod(k * (math.sqrt(5) - 1) / 2, 1) + rng.normal(size=n) / math.sqrt(n)
    level = np.linspace(0, 2 * math.pi, 2049)
    area = (level + tube * np.sin(level)) / (2 * math.pi)
    over = np.interp(k / n, area, level)
    normal = np.stack(
        [np.cos(over) * np.cos(around), np.cos(over) * np.sin(around), np.sin(over)], 1
    )
    middle = np.stack([np.cos(around), np.sin(around), np.zeros(n)], axis=1)
    return Surface(middle + tube * normal, normal, np.empty((0, 3), dtype=int))


def roll(n: int, rng=0, turns: float = 1.5, gap: float = 0.8) -> Surface:
    """Return n points on a rolled-up strip (Swiss roll); no triangles.

    Parameters: n >= 12; rng; turns > 0; gap > 0, the distance of neighbouring sheets. Cost: O(n).
    """
    n, rng = integer("n", n, low=12), as_rng(rng)
    turns, gap = positive("turns", turns), positive("gap", gap)
    inner = 2.0 * math.pi * 0.6
    angles = np.linspace(inner, inner + 2 * math.pi * turns, 2001)
    rate = gap / (2 * math.pi)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(
        rate * angles * np.array([np.cos(angles), np.sin(angles)]), axis=1)))])  # fmt: skip
    k = np.arange(n) + 0.5
    angle = np.interp(along[-1] * np.mod(k * (math.sqrt(5) - 1) / 2, 1), along, angles)
    height = (k + 0.3 * rng.normal(size=n)) / n * 2 - 1
    r = rate * angle
    points = np.stack([r * np.cos(angle), r * np.sin(angle), height], axis=1)
    way = np.stack(
        [np.cos(angle) - angle * np.sin(angle), np.sin(angle) + angle * np.cos(angle)], 1
    )
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    normals = np.stack([way[:, 1], -way[:, 0], np.zeros(n)], axis=1)
    return Surface(points, normals, np.empty((0, 3), dtype=int))


def _outward(points, normals, triangles):
    """Turn triangles so that their normal points outwards."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    inward = np.sum(np.cross(b - a, c - a) * normals[triangles[:, 0]], axis=1) < 0
    triangles = triangles.copy()
    triangles[inward] = triangles[inward][:, ::-1]
    return triangles


def winds(surface: Surface, eyes, heights, width: float = 0.5) -> np.ndarray:
    """Return a wind that turns around each of some eyes: the stream function's slope, turned.

    psi(x) = sum_e height_e exp(-|x - eye_e|^2 / (2 width^2)), v = normal x grad psi.

    Parameters: surface (n points); eyes (e, 3); heights (e,); width > 0. Returns tangent vectors
    (n, 3). Cost: O(n e).
    """
    eyes, width = as_matrix("eyes", eyes, columns=3), positive("width", width)
    heights = as_vector("heights", heights, length=len(eyes))
    gap = surface.points[:, None] - eyes
    fall = heights * np.exp(-0.5 * np.sum(gap**2, axis=2) / width**2)
    slope = -np.einsum("ne,nea->na", fall, gap) / width**2
    return np.cross(surface.normals, slope)


def whirls(surface: Surface, vectors) -> np.ndarray:
    """Return each triangle's index: how often the field turns around while one walks around it.

    +1 at the eye of a whirl, a source or a sink, -1 at a saddle, 0 where the field has no zero.
    Over a closed surface the indices sum to its Euler characteristic (2 on a sphere).

    Vectors are made tangent first; along an edge they are carried by the least rotation that takes
    one normal into the other. Parameters: surface with triangles (t, 3); vectors (n, 3).
    Returns whole numbers (t,). Raises ValueError without triangles. Cost: O(n + t).
    """
    if len(surface.triangles) == 0:
        raise ValueError("surface must have triangles to walk around, got none")
    vectors = as_matrix("vectors", vectors, rows=len(surface.points), columns=3)
    normals = surface.normals
    vectors = vectors - np.sum(vectors * normals, axis=1, keepdims=True) * normals
    helper = np.where(np.abs(normals[:, :1]) < 0.7, [[1.0, 0, 0]], [[0, 1.0, 0]])
    first = np.cross(normals, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    angle = np.arctan2(
        np.sum(vectors * np.cross(normals, first), axis=1), np.sum(vectors * first, axis=1)
    )

    def carried(i, j):
        """The angle that frame j's first axis has in frame i after being carried to point i."""
        a, b, axis = normals[j], normals[i], first[j]
        turn = np.cross(a, b)
        cosine = np.sum(a * b, axis=1, keepdims=True)
        moved = (axis * cosine + np.cross(turn, axis)
                 + turn * np.sum(turn * axis, axis=1, keepdims=True) / (1 + cosine))  # fmt: skip
        return np.arctan2(
            np.sum(moved * np.cross(b, first[i]), axis=1), np.sum(moved * first[i], axis=1)
        )

    def wrap(a):
        return np.mod(a + np.pi, 2 * np.pi) - np.pi

    i, j, k = surface.triangles.T
    edges = [(i, j), (j, k), (k, i)]
    steps = [wrap(angle[b] + carried(a, b) - angle[a]) for a, b in edges]
    holonomy = wrap(sum(carried(a, b) for a, b in edges))
    return np.rint((sum(steps) - holonomy) / (2 * np.pi)).astype(int)


# ------------------------------------------------------------------------------------------------
# 4. Fields compared after warping them onto each other
# ------------------------------------------------------------------------------------------------


def shock_profiles(parameters, grid, thickness: float = 0.02) -> np.ndarray:
    """Return steep fronts u(x) = level + height tanh((place - x) / thickness), plus a slow wave.

    place = 0.25 + 0.5 a, height = 0.6 + 0.4 b, level = 0.2 b sin(2 pi x), for (a, b) in [0, 1]^2.

    Parameters: parameters (s, 2); grid (m,) in [0, 1]; thickness > 0. Returns (s, m). Cost: O(s m).
    """
    parameters = _knobs(parameters)
    grid, thickness = as_vector("grid", grid), positive("thickness", thickness)
    place, height = 0.25 + 0.5 * parameters[:, :1], 0.6 + 0.4 * parameters[:, 1:]
    slow = 0.2 * parameters[:, 1:] * np.sin(2 * np.pi * grid)
    return 1.2 + height * np.tanh((place - grid) / thickness) + slow


def _knobs(parameters) -> np.ndarray:
    parameters = as_matrix("parameters", parameters, columns=2)
    if parameters.min() < 0 or parameters.max() > 1:
        raise ValueError(
            f"parameters must lie in [0, 1], got {parameters.min():.3g} to {parameters.max():.3g}"
        )
    return parameters


@compiled("void(float64[:,::1], float64, float64, float64, float64[:,::1])")
def _godunov(u, dx, time, courant, flux):
    """March every row of u by u_t + (u^2/2)_x = 0 with Godunov's fluxes; outflow at both ends."""
    rows, m = u.shape
    for r in range(rows):
        done = 0.0
        while done < time:
            fastest = 1e-12
            for i in range(m):
                fastest = max(fastest, abs(u[r, i]))
            dt = min(courant * dx / fastest, time - done)
            for i in range(m + 1):
                left = u[r, max(i - 1, 0)]
                right = u[r, min(i, m - 1)]
                # The larger flux of the right-going part of left and the left-going part of right.
                a, b = max(left, 0.0), min(right, 0.0)
                flux[r, i] = max(0.5 * a * a, 0.5 * b * b)
            for i in range(m):
                u[r, i] -= dt / dx * (flux[r, i + 1] - flux[r, i])
            done += dt


def burgers(parameters, cells: int = 200, time: float = 0.35, courant: float = 0.9) -> np.ndarray:
    """Return what waves u_t + u u_x = 0 have become after some time: ramps that end in a shock.

    A bump of height 0.6 + 0.8 a and width 0.10 + 0.06 b around x = 0.25 starts on a level of 0.2.
    Finite volumes with Godunov's flux, first order, all rows at once.

    Parameters: parameters (s, 2) in [0, 1]^2; cells of [0, 1], >= 8; time in [0, 100]; courant
    in (0, 1].
    Returns cell means (s, cells). Raises ValueError for arguments that do not fit.
    Cost: O(s cells^2 time).
    """
    parameters = _knobs(parameters)
    cells, time = integer("cells", cells, low=8), between("time", time, 0.0, 100.0)
    courant = between("courant", courant, 1e-3, 1.0)
    x = (np.arange(cells) + 0.5) / cells
    height, width = 0.6 + 0.8 * parameters[:, :1], 0.10 + 0.06 * parameters[:, 1:]
    u = np.ascontiguousarray(0.2 + height * np.exp(-0.5 * ((x - 0.25) / width) ** 2))
    _godunov(u, 1.0 / cells, time, courant, np.empty((len(u), cells + 1)))
    return u


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1])", fastmath={"contract"}
)
def _pull_back(fields, places, values, slopes):
    """values[s] = fields[s] at places[s] in [0, 1], and d / d place if slopes has room for it."""
    count, m = fields.shape
    sloped = slopes.shape[0] > 0
    for s in range(count):
        for i in range(places.shape[1]):
            place = min(max(places[s, i], 0.0), 1.0) * (m - 1)
            cell = min(int(place), m - 2)
            step = fields[s, cell + 1] - fields[s, cell]
            values[s, i] = fields[s, cell] + (place - cell) * step
            if sloped:
                slopes[s, i] = step * (m - 1)


def warps(increments, size: int) -> np.ndarray:
    """Return increasing maps of [0, 1] onto itself at ``size`` even points: (s, size).

    Piecewise linear between knots; the steps between knots are exp(increment), normalised: every
    array of increments is a bijection that keeps both ends.

    Parameters: increments (s, pieces); size >= 2. Cost: O(s (pieces + size)).
    """
    increments = as_matrix("increments", increments)
    if np.abs(increments).max() > 100:
        raise ValueError(f"increments must be at most 100, got {np.abs(increments).max():.3g}")
    tall = _knots(increments)
    return tall @ _hats(increments.shape[1], integer("size", size, low=2))


def _knots(increments: np.ndarray) -> np.ndarray:
    """Heights of the knots, (s, pieces + 1), from 0 to 1."""
    steps = np.exp(increments - increments.max(axis=1, keepdims=True))
    heights = np.cumsum(steps, axis=1)
    return np.concatenate([np.zeros((len(steps), 1)), heights / heights[:, -1:]], axis=1)


def _hats(pieces: int, size: int) -> np.ndarray:
    """Values of the pieces + 1 hat functions at size even points: (pieces + 1, size)."""
    at = np.linspace(0.0, pieces, size)
    return np.maximum(1.0 - np.abs(at - np.arange(pieces + 1)[:, None]), 0.0)


def pull_back(fields, maps) -> np.ndarray:
    """Return fields_s(map_s(x)) on the even grid of [0, 1], by linear interpolation.

    Parameters: fields (s, m); maps (s, q) with values in [0, 1]. Returns (s, q).
    Raises ValueError for maps that leave [0, 1]. Cost: O(s q).
    """
    return _pulled(fields, maps, sloped=False)[0]


def _pulled(fields, maps, sloped=True):
    fields = as_matrix("fields", fields)
    maps = as_matrix("maps", maps, rows=len(fields))
    if fields.shape[1] < 2:
        raise ValueError(f"fields must have at least 2 columns, got {fields.shape[1]}")
    lowest, highest = maps.min(), maps.max()
    if lowest < -1e-9 or highest > 1 + 1e-9:
        raise ValueError(f"maps must stay in [0, 1], got {lowest:.3g} to {highest:.3g}")
    values, slopes = np.empty(maps.shape), np.empty(maps.shape if sloped else (0, 0))
    _pull_back(fields, maps, values, slopes)
    return values, slopes


def inverse_warps(maps) -> np.ndarray:
    """Return the inverse maps on the same even grid: (s, m), for increasing rows from 0 to 1."""
    maps = as_matrix("maps", maps)
    if maps.shape[1] < 2:
        raise ValueError(f"maps must have at least 2 columns, got {maps.shape[1]}")
    if np.min(np.diff(maps, axis=1)) <= 0 or np.abs(maps[:, [0, -1]] - [0.0, 1.0]).max() > 1e-9:
        raise ValueError("maps must increase from 0 to 1 along each row")
    grid = np.linspace(0.0, 1.0, maps.shape[1])
    return np.array([np.interp(grid, row, grid) for row in maps])


def captured(fields, modes: int = 1) -> tuple[float, np.ndarray]:
    """Return the share of the first eigenvalues of the normalised correlations, and all of them.

    C_ij = <v_i, v_j> / (|v_i| |v_j|); J = (sum of the ``modes`` largest) / trace, in (0, 1].

    Parameters: fields (s, m), no zero row; modes in 1 .. s. Returns J and the eigenvalues (s,),
    falling, divided by their sum. Cost: O(s^2 m + s^3).
    """
    fields = as_matrix("fields", fields)
    modes = integer("modes", modes, low=1, high=len(fields))
    unit = _unit_rows(fields)
    values = np.maximum(linalg.eigh(unit @ unit.T).values, 0.0) / len(fields)
    return float(values[:modes].sum()), values


def _unit_rows(fields):
    sizes = np.linalg.norm(fields, axis=1, keepdims=True)
    if sizes.min() == 0:
        raise ValueError("fields must not have a zero row: its direction is unknown")
    return fields / sizes


class Alignment(NamedTuple):
    """increments (s, pieces); maps (s, m); fields, pulled back (s, m); share, J; steps done."""

    increments: np.ndarray
    maps: np.ndarray
    fields: np.ndarray
    share: float
    steps: int


def align_fields(
    fields,
    pieces: int = 12,
    modes: int = 1,
    penalty: float = 0.1,
    steps: int = 150,
    rate: float = 0.05,
) -> Iterator[Alignment]:
    """Yield warps that gather the snapshots' energy in a few modes, step by step (Adam).

    Maximise J = (sum of the r largest eigenvalues of C) / trace C - penalty * mean increment^2,
    with the gradient through the eigenvectors Z: dJ / dv_i = (2/s) (Z Z^T)_i. v / |v_i|, less its
    part along v_i itself. The first yield is the identity.

    Paper: o-mmgp (Kabalan et al. 2025, arXiv:2502.11632); there warps of meshes with an elastic
    energy, here increasing maps of an interval.

    Parameters: fields (s, m); pieces >= 2 of each map; modes r; penalty >= 0; steps >= 0; rate > 0.
    Raises ValueError for arguments that do not fit. Cost: O(s^2 m + s^3) a step.
    """
    fields = as_matrix("fields", fields, min_rows=2)
    count, m = fields.shape
    pieces, modes = integer("pieces", pieces, low=2), integer("modes", modes, low=1, high=count)
    penalty, steps = nonnegative("penalty", penalty), integer("steps", steps, low=0)
    increments = np.zeros((count, pieces))
    hats, adam = _hats(pieces, m), Adam([increments], positive("rate", rate))
    for step in range(steps + 1):
        knots = _knots(increments)
        maps = knots @ hats
        pulled, slopes = _pulled(fields, maps)
        sizes = np.linalg.norm(pulled, axis=1, keepdims=True)
        unit = _unit_rows(pulled)
        values, vectors = linalg.eigh(unit @ unit.T)
        yield Alignment(increments.copy(), maps, pulled, float(values[:modes].sum() / count), step)
        z = vectors[:, :modes]
        force = (z @ (z.T @ unit)) * 2.0 / count
        force -= np.sum(force * unit, axis=1, keepdims=True) * unit
        by_knot = ((force / sizes) * slopes) @ hats.T
        # knots are sums of shares p: d knot_k / d increment_j = p_j (1[j < k] - knot_k)
        share = np.diff(knots, axis=1)
        after = np.cumsum(by_knot[:, ::-1], axis=1)[:, ::-1][:, 1:]
        by_increment = share * (after - np.sum(by_knot * knots, axis=1, keepdims=True))
        adam.update([-(by_increment - 2.0 * penalty * increments / increments.size)])
        increments -= increments.mean(axis=1, keepdims=True)  # a common shift changes nothing


class Modes(NamedTuple):
    """mean (m,), modes (r, m) orthonormal, coefficients (s, r), all shares of the variance."""

    mean: np.ndarray
    modes: np.ndarray
    coefficients: np.ndarray
    shares: np.ndarray


def principal_modes(fields, count: int) -> Modes:
    """Return the best ``count`` modes around the mean (proper orthogonal decomposition).

    Parameters: fields (s, m); count in 1 .. min(s, m). Cost: O(s m min(s, m)).
    """
    fields = as_matrix("fields", fields)
    count = integer("count", count, low=1, high=min(fields.shape))
    mean = fields.mean(axis=0)
    left, sizes, modes = np.linalg.svd(fields - mean, full_matrices=False)
    total = float(np.sum(sizes**2))
    shares = sizes**2 / total if total > 0 else np.zeros_like(sizes)
    return Modes(mean, modes[:count], (left * sizes)[:, :count], shares)


class Surrogate:
    """Fields from a few parameters: GPs for the coefficients of warps and of aligned fields.

    With maps phi: u = (mean + sum_k b_k mode_k) o phi^{-1}, phi = x + its own mean and modes with
    coefficients a_k. Without maps: plain modes of the fields (POD-GP).

    Paper: o-mmgp (Kabalan et al. 2025, arXiv:2502.11632)

    Parameters
    ----------
    parameters : (s, p), in [0, 1]^p
    fields : (s, m), as they are
    count : modes of the fields
    alignment : ``Alignment`` of the same fields, or None
    warp_count : modes of the warps
    shortest : lower bound of the GPs' length-scales: without one they shrink to noise
    noise : variance of the coefficients' scatter, relative to their variance

    Raises ValueError for arguments that do not fit.
    Cost: O(s^3) for each step of count + warp_count fits.
    """

    def __init__(
        self,
        parameters,
        fields,
        count: int,
        alignment: Alignment | None = None,
        warp_count: int = 6,
        shortest: float = 0.1,
        noise: float = 1e-3,
    ):
        self.parameters = as_matrix("parameters", parameters)
        fields = as_matrix("fields", fields, rows=len(self.parameters))
        self.shortest, self.noise = positive("shortest", shortest), positive("noise", noise)
        self.grid = np.linspace(0.0, 1.0, fields.shape[1])
        self.warp_modes = None
        if alignment is not None:
            if not isinstance(alignment, Alignment):
                kind = type(alignment).__name__
                raise ValueError(f"alignment must be an Alignment of these fields, got {kind}")
            if alignment.maps.shape != fields.shape:
                raise ValueError(
                    f"alignment must be of these fields, shape {fields.shape}, got "
                    f"{alignment.maps.shape}"
                )
            warp_count = min(integer("warp_count", warp_count, low=1), *fields.shape)
            self.warp_modes = principal_modes(alignment.maps - self.grid, warp_count)
            self._warp_models = self._models(self.warp_modes.coefficients)
            fields = alignment.fields
        self.modes = principal_modes(fields, count)
        self._models_of_fields = self._models(self.modes.coefficients)

    def _models(self, coefficients):
        models = []
        for column in coefficients.T:
            scale = float(np.sqrt(np.mean(column**2))) or 1.0
            kernel = 1.0 * _stretched(self.parameters.shape[1])
            bounds = {name: (0.1, 100.0) if name.endswith("variance") else (self.shortest, 20.0)
                      for name in kernel.hyperparameters}  # fmt: skip
            model = gp.fit(
                kernel, self.parameters, column / scale, self.noise, learn_noise=False,
                bounds=bounds,
            )  # fmt: skip
            models.append((scale, model))
        return models

    def predict(self, parameters) -> np.ndarray:
        """Return the fields (q, m) at new parameters (q, p). Cost: O(q s^2 + q m count)."""
        parameters = as_matrix("parameters", parameters, columns=self.parameters.shape[1])
        fields = self._expand(parameters, self.modes, self._models_of_fields)
        if self.warp_modes is None:
            return fields
        return pull_back(fields, inverse_warps(self.predict_maps(parameters)))

    def predict_maps(self, parameters) -> np.ndarray:
        """Return the warps (q, m) at new parameters, made increasing where modes overshoot."""
        if self.warp_modes is None:
            raise ValueError("alignment must be given to predict warps, got None")
        maps = self.grid + self._expand(parameters, self.warp_modes, self._warp_models)
        steps = np.maximum(np.diff(maps, axis=1), 0.02 / (len(self.grid) - 1))
        heights = np.cumsum(steps, axis=1)
        maps = np.concatenate([np.zeros((len(maps), 1)), heights / heights[:, -1:]], axis=1)
        maps[:, -1] = 1.0
        return maps

    def _expand(self, parameters, modes, models):
        coefficients = [scale * model.predict(parameters).mean for scale, model in models]
        return modes.mean + np.stack(coefficients, axis=1) @ modes.modes


def _stretched(columns: int) -> Kernel:
    return Stretched(Gaussian(1.0), np.full(columns, 0.5))


def relative_error(found, truth) -> np.ndarray:
    """Return |found - truth| / |truth| row by row: (s,). Cost: O(s m)."""
    truth = as_matrix("truth", truth)
    found = as_matrix("found", found, rows=len(truth), columns=truth.shape[1])
    sizes = np.maximum(np.linalg.norm(truth, axis=1), 1e-300)
    return np.linalg.norm(found - truth, axis=1) / sizes
