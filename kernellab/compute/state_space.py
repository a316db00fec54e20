"""Gaussian processes in time as linear systems: Kalman filter and smoother in linear time.

A Matern, constant-period or quasi-periodic process f(t) = H z(t) is the first output of a state z
that only needs its last value: z(t + s) = A(s) z(t) + noise. With covariance P_inf of z at rest,
k(s) = H A(s) P_inf H^T. Conditioning n points in turn takes O(n), where a Gram matrix takes O(n^3),
and the result is the same.

>>> import numpy as np
>>> from kernellab.compute.gp import ExactGP
>>> from kernellab.compute.kernels import Matern32
>>> times, y = np.array([0.0, 0.4, 1.0]), np.array([0.1, 0.3, -0.2])
>>> fast = StateSpaceGP(Matern32(0.5), times, y, noise=0.1)
>>> dense = ExactGP(Matern32(0.5), times[:, None], y, noise=0.1)
>>> abs(fast.log_marginal_likelihood() - dense.log_marginal_likelihood()) < 1e-12
True
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sla
from scipy.special import ive

from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    fits_in_memory,
    integer,
    nonnegative,
    positive,
)
from kernellab.compute.compiled import compiled
from kernellab.compute.elementary import cos, exp, log, sin
from kernellab.compute.gp import Prediction, maximise_evidence
from kernellab.compute.kernels import (
    Cosine,
    Matern12,
    Matern32,
    Matern52,
    Oscillator,
    Periodic,
    Product,
    Scaled,
    Sum,
)

__all__ = ["StateSpace", "StateSpaceGP", "fit_series", "smooth_messages", "state_space"]

_LARGEST_DECAY = 750.0  # exp(-750) is 0
_SMALLEST_WAVE = 1e-15  # harmonics of a periodic kernel below this variance are left out
_MOST_WAVES = 60


@dataclass(frozen=True, eq=False)
class StateSpace:
    """A stationary Gaussian process as the output of a linear system driven by white noise.

    dz = feedback z dt + noise, z ~ N(0, stationary) at any time, f = measurement . z.

    Attributes
    ----------
    feedback : F, shape (s, s)
    stationary : P_inf, shape (s, s)
    measurement : H, shape (s,)
    transitions : maps waiting times (n,) to the matrices A = expm(F t), shape (n, s, s)
    """

    feedback: np.ndarray
    stationary: np.ndarray
    measurement: np.ndarray
    transitions: Callable[[np.ndarray], np.ndarray]

    def covariance(self, lags) -> np.ndarray:
        """Return the kernel H A(|lag|) P_inf H^T at lags of shape (n,)."""
        lags = np.abs(as_vector("lags", lags))
        return self.transitions(lags) @ (self.stationary @ self.measurement) @ self.measurement


def state_space(kernel) -> StateSpace:
    """Return the linear system whose output has this kernel.

    Matern12, Matern32, Matern52 (1, 2 and 3 states: f and its derivatives), Oscillator and Cosine
    (2), Periodic (a constant and as many harmonics as have a variance over 1e-15), and sums,
    products and multiples of these: ``Matern32(5.0) * Periodic(1.0, 0.7)`` is quasi-periodic.

    Parameters
    ----------
    kernel : such a kernel, of inputs on a line

    Returns
    -------
    StateSpace : with s states; a sum adds, a product multiplies the numbers of states

    Raises
    ------
    ValueError : any other kernel, or a Periodic one that needs more than 60 harmonics.

    Source: Hartikainen and Sarkka, Kalman filtering and smoothing solutions to temporal Gaussian
    process regression models (2010); periodic: Solin and Sarkka (2014), equation 28.
    """
    if isinstance(kernel, (Matern12, Matern32, Matern52)):
        return _matern(kernel)
    if isinstance(kernel, Cosine):
        return _wave(2.0 * math.pi / kernel.period, 1.0)
    if isinstance(kernel, Oscillator):
        return _oscillator(kernel)
    if isinstance(kernel, Periodic):
        return _periodic(kernel)
    if isinstance(kernel, Scaled):
        inner = state_space(kernel.kernel)
        return StateSpace(
            inner.feedback,
            kernel.variance * inner.stationary,
            inner.measurement,
            inner.transitions,
        )
    if isinstance(kernel, Sum):
        return _sum([state_space(part) for part in kernel.kernels])
    if isinstance(kernel, Product):
        result = state_space(kernel.kernels[0])
        for part in kernel.kernels[1:]:
            result = _product(result, state_space(part))
        return result
    raise ValueError(
        "kernel must be made of Matern12, Matern32, Matern52, Oscillator, Cosine and Periodic by "
        f"sums, products and multiples, got {kernel!r}"
    )


def _matern(kernel) -> StateSpace:
    """f, f'/rate, f''/rate^2: in these units nothing but the rate depends on the lengthscale."""
    order = {Matern12: 1, Matern32: 2, Matern52: 3}[type(kernel)]
    rate = math.sqrt(2 * order - 1) / kernel.lengthscale
    unit = np.eye(order, k=1)
    # The characteristic polynomial is (1 + s)^order.
    unit[-1] = [-math.comb(order, k) for k in range(order)]
    third = 1.0 / 3.0
    stationary = np.array([[1.0, 0.0, -third], [0.0, third, 0.0], [-third, 0.0, 1.0]])
    stationary = stationary if order == 3 else np.eye(order)

    def transitions(waits):
        out = np.empty((len(waits), order, order))
        _matern_steps(rate, waits, out)
        return out

    return StateSpace(rate * unit, stationary, np.eye(order)[0], transitions)


def _wave(frequency: float, variance: float) -> StateSpace:
    """A sine of fixed frequency (radians a unit of time) with random amplitude and phase."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])

    def transitions(waits):
        out = np.empty((len(waits), 2, 2))
        _wave_steps(frequency / (2.0 * math.pi), waits, out)
        return out

    return StateSpace(frequency * turn, variance * np.eye(2), np.array([1.0, 0.0]), transitions)


def _oscillator(kernel: Oscillator) -> StateSpace:
    """f and f'/w of a damped spring: expm(F t) = exp(-c t) (cos(d t) + (F + c) sin(d t) / d)."""
    w, c, d = kernel.rates()
    spring = np.array([[0.0, 1.0], [-1.0, -1.0 / kernel.quality]])
    centred = spring + c / w * np.eye(2)

    def transitions(waits):
        out = np.empty((len(waits), 2, 2))
        if d.imag == 0.0:
            _oscillator_steps(c, d.real, w / d.real, centred, waits, out)
        else:
            cosine, sine = kernel.waves(waits)
            out[:] = cosine[:, None, None] * np.eye(2) + sine[:, None, None] * centred
        return out

    return StateSpace(w * spring, np.eye(2), np.array([1.0, 0.0]), transitions)


def _periodic(kernel: Periodic) -> StateSpace:
    """exp(-z + z cos a) = sum_j w_j cos(j a), with Bessel functions w_j = 2 exp(-z) I_j(z)."""
    z = 1.0 / kernel.lengthscale**2
    weights = 2.0 * ive(np.arange(_MOST_WAVES + 1), z)
    count = int(np.sum(weights > _SMALLEST_WAVE))
    if not math.isfinite(z) or count > _MOST_WAVES:
        raise ValueError(
            f"the lengthscale of Periodic must be at least about 0.2 for {_MOST_WAVES} harmonics "
            f"to be enough, got {kernel.lengthscale:.3g}"
        )
    zero = np.zeros((1, 1))
    constant = StateSpace(
        zero, zero + 0.5 * weights[0], np.ones(1), lambda waits: np.ones((len(waits), 1, 1))
    )
    turn = 2.0 * math.pi / kernel.period
    return _sum([constant, *(_wave(j * turn, weights[j]) for j in range(1, count))])


def _sum(parts: list[StateSpace]) -> StateSpace:
    sizes = [len(part.measurement) for part in parts]
    starts = np.cumsum([0, *sizes])

    def transitions(waits):
        out = np.zeros((len(waits), starts[-1], starts[-1]))
        for part, start in zip(parts, starts[:-1], strict=True):
            _place(part.transitions(waits), start, out)
        return out

    return StateSpace(
        sla.block_diag(*(part.feedback for part in parts)),
        sla.block_diag(*(part.stationary for part in parts)),
        np.concatenate([part.measurement for part in parts]),
        transitions,
    )


def _product(a: StateSpace, b: StateSpace) -> StateSpace:
    size = len(a.measurement) * len(b.measurement)

    def transitions(waits):
        out = np.empty((len(waits), size, size))
        _products(a.transitions(waits), b.transitions(waits), out)
        return out

    return StateSpace(
        _kronecker(a.feedback, np.eye(len(b.measurement)))
        + _kronecker(np.eye(len(a.measurement)), b.feedback),
        _kronecker(a.stationary, b.stationary),
        np.outer(a.measurement, b.measurement).ravel(),
        transitions,
    )


def _kronecker(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What np.kron returns, in a fifth of its time for matrices as small as these."""
    size = len(a) * len(b)
    return (a[:, None, :, None] * b[None, :, None, :]).reshape(size, size)


class StateSpaceGP:
    """Gaussian-process regression in time, in O(n): what ``gp.ExactGP`` gives, without a matrix.

    Parameters
    ----------
    kernel : a kernel that ``state_space`` knows
    times : shape (n,), in any order and at any distances; equal times are welcome
    y : targets, shape (n,)
    noise : variance of the noise, >= 0: one number, or one for each point, shape (n,)
    mean : a number

    Raises
    ------
    ValueError : arguments that do not fit, or noise 0 where a point is known already (a time that
        comes twice).

    Cost: O(n s^3) with s states.
    """

    def __init__(self, kernel, times, y, noise, mean: float = 0.0):
        self.kernel, self.system = kernel, state_space(kernel)
        times = as_vector("times", times)
        y = as_vector("y", y, length=len(times))
        self.mean = float(as_vector("mean", [mean])[0])
        if np.ndim(noise) == 0:
            noise = np.full(len(times), nonnegative("noise", noise))
        else:
            noise = as_vector("noise", noise, length=len(times))
            if noise.min() < 0:
                raise ValueError(f"noise must not be negative, got {noise.min():.3g}")
        if (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            times, y, noise = times[order], y[order], noise[order]
        self.times, self.y, self.noise = times, y, noise

    def log_marginal_likelihood(self) -> float:
        """Return log N(y; mean, K + noise I), as the sum of the log densities of innovations."""
        value = _log_likelihood(
            *self._steps(self.times), self.y - self.mean, self.noise, self._least_spread()
        )
        return float(self._known_once(value))

    def predict(self, times=None) -> Prediction:
        """Return mean and variance (m,) of f (without noise) at times (m,), None: the data's.

        Kalman filter forwards, then backwards the smoother in the form of Bryson and Frazier,
        which inverts no matrix. New times are steps at which nothing is observed.

        Raises ValueError when times is not a vector. Cost: O((n + m) s^3).
        Source: Durbin and Koopman, Time series analysis by state space methods (2012), section 4.4.
        """
        new = self.times if times is None else as_vector("times", times)
        mean, variance = self._smooth(new, self.y - self.mean)
        return Prediction(self.mean + mean, variance)

    def sample(self, times, n: int, rng) -> np.ndarray:
        """Draw n functions from the posterior at times (m,), shape (n, m).

        A draw from the prior is moved by what the data say about its error (Matheron's rule).
        Cost: O(n (data + m) s^3).
        """
        new, rng = as_vector("times", times), as_rng(rng)
        count = integer("n", n, low=1)
        every = np.concatenate([self.times, new])
        prior = self._sample_prior(every, count, rng)
        noisy = prior[:, : len(self.times)] + rng.standard_normal(
            (count, len(self.times))
        ) * np.sqrt(self.noise)
        moved = [self._smooth(new, self.y - self.mean - row)[0] for row in noisy]
        return self.mean + prior[:, len(self.times) :] + np.array(moved)

    def _sample_prior(self, times, count, rng):
        """Draw f at all times, shape (count, m), by running the system forwards."""
        order = np.argsort(times, kind="stable")
        transitions, stationary, measurement = self._steps(times[order])
        driving = stationary - transitions @ stationary @ transitions.transpose(0, 2, 1)
        driving[0] = stationary
        values, vectors = np.linalg.eigh(driving)
        roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        state = np.zeros((count, len(measurement)))
        out = np.empty((count, len(times)))
        for i, (step, root) in enumerate(zip(transitions, roots, strict=True)):
            state = state @ step.T + rng.standard_normal(state.shape) @ root.T
            out[:, order[i]] = state @ measurement
        return out

    def _steps(self, times):
        """Return the transitions to each of the sorted times, P_inf and H."""
        size = len(self.system.measurement)
        fits_in_memory("the transitions", 8 * len(times) * size**2)
        waits = np.diff(times, prepend=times[0])
        if not np.isfinite(waits).all():
            raise ValueError("times must not lie further apart than 1e308")
        transitions = np.ascontiguousarray(self.system.transitions(waits))
        return transitions, self.system.stationary, self.system.measurement

    def _least_spread(self) -> float:
        """Return the variance of an innovation that is nothing but rounding."""
        h = self.system.measurement
        return 1e-14 * float(h @ self.system.stationary @ h)

    def _known_once(self, value: float) -> float:
        if math.isnan(value):
            raise ValueError(
                "noise must be positive where times repeat (or nearly), got 0 for a point whose "
                "value the others fix already"
            )
        return value

    def _smooth(self, new, y):
        """Return the posterior mean and variance at the times ``new``."""
        times = np.concatenate([self.times, new])
        order = np.argsort(times, kind="stable")
        unseen = np.full(len(new), np.inf)
        noise = np.concatenate([self.noise, unseen])[order]
        y = np.concatenate([y, np.zeros(len(new))])[order]
        n, size = len(times), len(self.system.measurement)
        fits_in_memory("the smoother", 8 * n * (2 * size**2 + size))
        steps = self._steps(times[order])
        means, deviations = np.empty((n, size)), np.empty((n, size, size))
        misses, weights = np.empty(n), np.empty(n)
        value = _filter(*steps, y, noise, self._least_spread(), means, deviations, misses, weights)
        self._known_once(value)
        mean, variance = np.empty(n), np.empty(n)
        _smoother(*steps, means, deviations, misses, weights, mean, variance)
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        place = place[len(self.times) :]
        return mean[place], np.maximum(variance[place], 0.0)


def smooth_messages(kernel, times, shift, precision) -> Prediction:
    """Return the posterior of r independent processes that Gaussian messages tie together.

    f_1, .., f_r ~ GP(0, kernel), and at time t something said exp(shift_t . f - f . precision_t f
    / 2), f = (f_1(t), .., f_r(t)): a likelihood of all r at once. A precision of zeros says nothing
    (a time at which to predict).

    Parameters
    ----------
    kernel : a kernel that ``state_space`` knows
    times : shape (n,), in any order
    shift : shape (n, r)
    precision : shape (n, r, r), symmetric and positive semidefinite

    Returns
    -------
    Prediction : means (n, r) and covariances (n, r, r) of f at the times

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n r^3 s^3) with s states. Source: as ``StateSpaceGP.predict``, with r outputs.
    """
    system, times = state_space(kernel), as_vector("times", times)
    shift = as_matrix("shift", shift, rows=len(times))
    n, r = shift.shape
    precision = np.asarray(precision, dtype=np.float64)
    if precision.shape != (n, r, r) or not np.isfinite(precision).all():
        raise ValueError(
            f"precision must be finite with shape {(n, r, r)}, got shape {precision.shape}"
        )
    order = np.argsort(times, kind="stable")
    s = len(system.measurement)
    fits_in_memory("the smoother", 8 * n * (2 * (r * s) ** 2 + s * s))
    waits = np.diff(times[order], prepend=times[order[0]])
    steps = np.ascontiguousarray(system.transitions(waits))
    means, covariances = np.empty((n, r)), np.empty((n, r, r))
    _smooth_messages(
        steps,
        system.stationary,
        system.measurement,
        np.ascontiguousarray(shift[order]),
        np.ascontiguousarray(precision[order]),
        means,
        covariances,
    )
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    return Prediction(means[place], covariances[place])


def fit_series(
    kernel,
    times,
    y,
    noise: float,
    *,
    mean: float = 0.0,
    learn_noise: bool = True,
    restarts: int = 0,
    bounds=(1e-5, 1e5),
    rng=0,
) -> StateSpaceGP:
    """Return the series model whose hyper-parameters maximise the log marginal likelihood.

    As ``gp.fit``, with the same arguments and errors, but each step takes O(n): the gradient comes
    from central differences of the filter's likelihood, good to about 1e-6 of its size.

    Cost: O(p n s^3) for each of usually 20-100 steps a start.
    """
    model = StateSpaceGP(kernel, times, y, noise, mean)
    start = dict(kernel.hyperparameters)
    if learn_noise:
        positive("noise", float(model.noise.min()))
        start["noise"] = float(model.noise.max())
    n_kernel, shares = len(kernel.hyperparameters), model.noise / (model.noise.max() or 1.0)

    def at(theta):
        level = shares * math.exp(theta[-1]) if learn_noise else model.noise
        renewed = kernel.with_log_hyperparameters(theta[:n_kernel])
        return StateSpaceGP(renewed, model.times, model.y, level, mean)

    def evidence(theta):
        steps = 1e-5 * np.eye(len(theta))
        high, low = (
            np.array([at(theta + sign * step).log_marginal_likelihood() for step in steps])
            for sign in (1.0, -1.0)
        )
        return at(theta).log_marginal_likelihood(), (high - low) / 2e-5

    return at(maximise_evidence(evidence, start, bounds=bounds, restarts=restarts, rng=rng))


# Compiled transitions


@compiled("void(float64, float64[::1], float64[:,:,::1])")
def _matern_steps(rate, waits, out):
    """Fill in expm(F t) for f, f'/rate, f''/rate^2: exp(-r) times a polynomial in r = rate t."""
    for t in range(waits.size):
        r = min(rate * waits[t], _LARGEST_DECAY)
        e = exp(-r)
        if out.shape[1] == 1:
            out[t, 0, 0] = e
        elif out.shape[1] == 2:
            out[t, 0, 0] = (1.0 + r) * e
            out[t, 0, 1] = r * e
            out[t, 1, 0] = -r * e
            out[t, 1, 1] = (1.0 - r) * e
        else:
            h = 0.5 * r * r
            out[t, 0, 0] = (1.0 + r + h) * e
            out[t, 0, 1] = (r + 2.0 * h) * e
            out[t, 0, 2] = h * e
            out[t, 1, 0] = -h * e
            out[t, 1, 1] = (1.0 + r - 2.0 * h) * e
            out[t, 1, 2] = (r - h) * e
            out[t, 2, 0] = (h - r) * e
            out[t, 2, 1] = (2.0 * h - 3.0 * r) * e
            out[t, 2, 2] = (1.0 - 2.0 * r + h) * e


@compiled("void(float64, float64[::1], float64[:,:,::1])")
def _wave_steps(turns, waits, out):
    """Fill in rotations by 2 pi turns t; whole turns go first, for the sake of the digits."""
    cosines, sines = np.empty(waits.size), np.empty(waits.size)
    for t in range(waits.size):
        turn = turns * waits[t]
        angle = 2.0 * math.pi * (turn - np.floor(turn))
        cosines[t] = cos(angle)
        sines[t] = sin(angle)
    for t in range(waits.size):
        out[t, 0, 0] = out[t, 1, 1] = cosines[t]
        out[t, 0, 1] = -sines[t]
        out[t, 1, 0] = sines[t]


@compiled("void(float64, float64, float64, float64[:,::1], float64[::1], float64[:,:,::1])")
def _oscillator_steps(c, d, ratio, centred, waits, out):
    """Fill in exp(-c t) (cos(d t) + ratio sin(d t) centred), whole turns away first."""
    cosines, sines = np.empty(waits.size), np.empty(waits.size)
    turns = d / (2.0 * math.pi)
    for t in range(waits.size):
        turn = turns * waits[t]
        angle = 2.0 * math.pi * (turn - np.floor(turn))
        decay = exp(-c * waits[t])
        cosines[t] = decay * cos(angle)
        sines[t] = ratio * decay * sin(angle)
    for t in range(waits.size):
        out[t, 0, 0] = cosines[t] + sines[t] * centred[0, 0]
        out[t, 0, 1] = sines[t] * centred[0, 1]
        out[t, 1, 0] = sines[t] * centred[1, 0]
        out[t, 1, 1] = cosines[t] + sines[t] * centred[1, 1]


@compiled("void(float64[:,:,::1], int64, float64[:,:,::1])")
def _place(block, start, out):
    """Put the blocks on the diagonals of ``out``, from ``start`` on."""
    for t in range(block.shape[0]):
        for i in range(block.shape[1]):
            for j in range(block.shape[1]):
                out[t, start + i, start + j] = block[t, i, j]


@compiled("void(float64[:,:,::1], float64[:,:,::1], float64[:,:,::1])")
def _products(a, b, out):
    """Fill in the Kronecker products of matrices."""
    p, q = a.shape[1], b.shape[1]
    if p == 1:  # only a factor
        for t in range(a.shape[0]):
            for k in range(q):
                for m in range(q):
                    out[t, k, m] = a[t, 0, 0] * b[t, k, m]
        return
    for t in range(a.shape[0]):
        for i in range(p):
            for j in range(p):
                for k in range(q):
                    for m in range(q):
                        out[t, i * q + k, j * q + m] = a[t, i, j] * b[t, k, m]


# Compiled recursions. The predicted covariance is kept as its deviation D = P - P_inf from rest:
# then a step is D <- A D A^T, and the covariance of the driving noise is never needed.


@compiled(
    "float64(float64[:,:,::1], float64[:,::1], float64[::1], float64[::1], float64[::1], float64)"
)
def _log_likelihood_1(transitions, stationary, measurement, y, noise, least):
    """The same for one state, with nothing kept in memory: this is where the time goes."""
    h, n = measurement[0], transitions.shape[0]
    rest = stationary[0, 0] * h
    mean, deviation, total = 0.0, 0.0, 0.0
    for t in range(n):
        a = transitions[t, 0, 0]
        mean, deviation = a * mean, a * a * deviation
        gain = rest + deviation * h
        spread, miss = noise[t] + gain * h, y[t] - mean * h
        if not spread > least:
            return np.nan
        weight = 1.0 / spread
        total += log(spread) + miss * miss * weight
        mean += gain * (weight * miss)
        deviation -= weight * (gain * gain)
    return -0.5 * (total + n * math.log(2.0 * math.pi))


@compiled(
    "float64(float64[:,:,::1], float64[:,::1], float64[::1], float64[::1], float64[::1], float64)"
)
def _log_likelihood_2(transitions, stationary, measurement, y, noise, least):
    """The same for two states."""
    g, h, n = measurement[0], measurement[1], transitions.shape[0]
    rest_p = stationary[0, 0] * g + stationary[0, 1] * h
    rest_q = stationary[1, 0] * g + stationary[1, 1] * h
    p, q, pp, pq, qq, total = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(n):
        a, b, c, d = (
            transitions[t, 0, 0],
            transitions[t, 0, 1],
            transitions[t, 1, 0],
            transitions[t, 1, 1],
        )
        p, q = a * p + b * q, c * p + d * q
        left_p, left_q, right_p, right_q = (
            a * pp + b * pq,
            a * pq + b * qq,
            c * pp + d * pq,
            c * pq + d * qq,
        )
        pp, pq, qq = left_p * a + left_q * b, left_p * c + left_q * d, right_p * c + right_q * d
        gain_p, gain_q = rest_p + pp * g + pq * h, rest_q + pq * g + qq * h
        spread, miss = noise[t] + gain_p * g + gain_q * h, y[t] - p * g - q * h
        if not spread > least:
            return np.nan
        weight = 1.0 / spread
        total += log(spread) + miss * miss * weight
        scaled_p, scaled_q = weight * gain_p, weight * gain_q
        p, q = p + scaled_p * miss, q + scaled_q * miss
        pp, pq, qq = pp - scaled_p * gain_p, pq - scaled_p * gain_q, qq - scaled_q * gain_q
    return -0.5 * (total + n * math.log(2.0 * math.pi))


@compiled(
    "float64(float64[:,:,::1], float64[:,::1], float64[::1], float64[::1], float64[::1], float64)"
)
def _log_likelihood(transitions, stationary, measurement, y, noise, least):
    """Return the log likelihood of the whole series; nothing is kept. NaN: a spread of 0."""
    n, s = transitions.shape[0], transitions.shape[1]
    if s == 1:
        return _log_likelihood_1(transitions, stationary, measurement, y, noise, least)
    if s == 2:
        return _log_likelihood_2(transitions, stationary, measurement, y, noise, least)
    mean, deviation = np.zeros(s), np.zeros((s, s))
    gain, scratch = np.empty(s), np.empty((s, s))
    rest = stationary @ measurement
    total = 0.0
    for t in range(n):
        _advance(transitions[t], mean, deviation, gain, scratch)
        spread, miss = noise[t], y[t]
        for i in range(s):
            cross = rest[i]
            for j in range(s):
                cross += deviation[i, j] * measurement[j]
            gain[i] = cross
            spread += cross * measurement[i]
            miss -= mean[i] * measurement[i]
        if not spread > least:
            return np.nan
        weight = 1.0 / spread
        total += math.log(spread) + miss * miss * weight
        _correct(gain, weight, miss, mean, deviation)
    return -0.5 * (total + n * math.log(2.0 * math.pi))


@compiled(
    "float64(float64[:,:,::1], float64[:,::1], float64[::1], float64[::1], float64[::1], float64, "
    "float64[:,::1], float64[:,:,::1], float64[::1], float64[::1])"
)
def _filter(
    transitions, stationary, measurement, y, noise, least, means, deviations, misses, weights
):
    """Keep each step's predicted mean, deviation, y - prediction and 1 / spread."""
    n, s = transitions.shape[0], transitions.shape[1]
    mean, deviation = np.zeros(s), np.zeros((s, s))
    gain, scratch = np.empty(s), np.empty((s, s))
    rest = stationary @ measurement
    for t in range(n):
        _advance(transitions[t], mean, deviation, gain, scratch)
        means[t], deviations[t] = mean, deviation
        spread, miss = noise[t], y[t]
        for i in range(s):
            cross = rest[i]
            for j in range(s):
                cross += deviation[i, j] * measurement[j]
            gain[i] = cross
            spread += cross * measurement[i]
            miss -= mean[i] * measurement[i]
        if not spread > least:
            return np.nan
        misses[t], weights[t] = miss, 1.0 / spread  # 0 where nothing is observed
        _correct(gain, weights[t], miss, mean, deviation)
    return 0.0


@compiled(
    "void(float64[:,::1], float64[::1], float64[:,::1], float64[::1], float64[:,::1])",
    forceinline=True,
)
def _advance(a, mean, deviation, vector, scratch):
    """mean <- A mean, deviation <- A deviation A^T."""
    s = len(mean)
    for i in range(s):
        total = 0.0
        for j in range(s):
            total += a[i, j] * mean[j]
            entry = 0.0
            for k in range(s):
                entry += a[i, k] * deviation[k, j]
            scratch[i, j] = entry
        vector[i] = total
    for i in range(s):
        mean[i] = vector[i]
        for j in range(i + 1):
            entry = 0.0
            for k in range(s):
                entry += scratch[i, k] * a[j, k]
            deviation[i, j] = entry
            deviation[j, i] = entry


@compiled(
    "void(float64[::1], float64, float64, float64[::1], float64[:,::1])",
    forceinline=True,
)
def _correct(gain, weight, miss, mean, deviation):
    """Condition on an observation: gain = P H^T, weight = 1 / spread."""
    for i in range(len(mean)):
        mean[i] += gain[i] * (weight * miss)
        for j in range(len(mean)):
            deviation[i, j] -= weight * (gain[i] * gain[j])


@compiled(
    "void(float64[:,:,::1], float64[:,::1], float64[::1], float64[:,::1], float64[:,:,::1], "
    "float64[::1], float64[::1], float64[::1], float64[::1])"
)
def _smoother(
    transitions, stationary, measurement, means, deviations, misses, weights, mean, variance
):
    """Walk back with r and N: what the later points say of the state, and how surely."""
    n, s = transitions.shape[0], transitions.shape[1]
    r, later = np.zeros(s), np.zeros((s, s))
    for t in range(n - 1, -1, -1):
        gain = (stationary + deviations[t]) @ measurement
        if t + 1 < n:
            a = transitions[t + 1]
            r = a.T @ r
            later = a.T @ later @ a
        # r <- H w miss + (I - w gain H)^T r, and N alike.
        along = later @ gain
        pull = weights[t] * (misses[t] - gain @ r)
        both = weights[t] * (1.0 + weights[t] * (gain @ along))
        for i in range(s):
            r[i] += measurement[i] * pull
            for j in range(s):
                later[i, j] += measurement[i] * measurement[j] * both - weights[t] * (
                    measurement[i] * along[j] + along[i] * measurement[j]
                )
        mean[t] = measurement @ means[t] + gain @ r
        variance[t] = measurement @ gain - gain @ (later @ gain)


@compiled(
    "void(float64[:,:,::1], float64[:,::1], float64[::1], float64[:,::1], float64[:,:,::1], "
    "float64[:,::1], float64[:,:,::1])"
)
def _smooth_messages(transitions, stationary, measurement, shift, precision, means, covariances):
    """Filter and smooth r copies of one system at once: output a reads the states a s .. a s + s.

    With G = P H^T, C = H G and M = (I + precision C)^{-1} precision, a message takes the predicted
    mean m to m + G (I + precision C)^{-1} (shift - precision H m), and P to P - G M G^T.
    """
    n, r = shift.shape
    s = len(measurement)
    size = r * s
    rest, out = np.zeros((size, size)), np.zeros((r, size))
    for a in range(r):
        rest[a * s : a * s + s, a * s : a * s + s] = stationary
        out[a, a * s : a * s + s] = measurement
    mean, deviation = np.zeros(size), np.zeros((size, size))
    vector, scratch, step = np.empty(size), np.empty((size, size)), np.zeros((size, size))
    ahead, gains = np.empty((n, size)), np.empty((n, size, r))
    weights, pulls = np.empty((n, r, r)), np.empty((n, r))
    for t in range(n):
        for a in range(r):
            step[a * s : a * s + s, a * s : a * s + s] = transitions[t]
        _advance(step, mean, deviation, vector, scratch)
        gain = (rest + deviation) @ out.T
        inner = precision[t] @ (out @ gain)
        for a in range(r):
            inner[a, a] += 1.0
        inverse = np.linalg.inv(inner)
        ahead[t], gains[t] = mean, gain
        weights[t] = inverse @ precision[t]
        pulls[t] = inverse @ (shift[t] - precision[t] @ (out @ mean))
        mean = mean + gain @ pulls[t]
        change = gain @ weights[t] @ gain.T
        deviation = deviation - 0.5 * (change + change.T)
    back, later = np.zeros(size), np.zeros((size, size))
    for t in range(n - 1, -1, -1):
        if t + 1 < n:
            for a in range(r):
                step[a * s : a * s + s, a * s : a * s + s] = transitions[t + 1]
            back = step.T @ back
            later = step.T @ later @ step
        gain = gains[t]
        kept = np.eye(size) - gain @ weights[t] @ out
        back = out.T @ pulls[t] + kept.T @ back
        later = out.T @ weights[t] @ out + kept.T @ later @ kept
        means[t] = out @ ahead[t] + gain.T @ back
        covariances[t] = out @ gain - gain.T @ later @ gain
        covariances[t] = 0.5 * (covariances[t] + covariances[t].T)
