"""Regression that is learned step by step: from a stream, on fixed centres, or from a teacher.

All methods here take functional gradient steps

    f <- f - step (f(x_t) - y_t) k(x_t, .),

which add one kernel function an example: after T examples f has T terms and has cost T^2/2 kernel
evaluations. The sections differ in what keeps that small:

1. The plain step, and what it costs (the baselines)
2. A dictionary that admits only new directions (Li and Liao 2023)
3. A fixed set of centres, preconditioning and a projection (Abedsoltan et al. 2023)
4. A teacher who picks the examples (Zhang et al. 2023)

Learners keep their state, so that a run can be drawn, stopped and continued: feed them the next
part of the stream, or take the next step of their generator.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import solve_triangular

from kernellab.compute import compiled
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
    same_length,
    symmetric,
)
from kernellab.compute.linalg import EPSILON, cholesky, clip_rounding, eigh
from kernellab.compute.online import KernelDictionary

# Sums may run on several lanes; NaN and infinity stay honest.
FAST = {"reassoc", "contract"}

# ------------------------------------------------------------------------------------------------
# 1. The plain step, and what it costs
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Expansion:
    """A function f(x) = sum_j coefficients_j k(x, points_j).

    Attributes
    ----------
    kernel : a kernel with ``gram`` and ``matvec``
    points : (s, d), the s centres of its kernel functions
    coefficients : (s,), or (s, p) for p outputs
    """

    kernel: object
    points: np.ndarray
    coefficients: np.ndarray

    def predict(self, x) -> np.ndarray:
        """Return f at the rows of x (m, d): (m,) or (m, p). Cost: m s kernel evaluations."""
        return self.kernel.matvec(x, self.points, self.coefficients)

    def norm(self) -> float:
        """Return the norm sqrt(a^T K a) in the kernel's space (of all outputs together)."""
        image = self.kernel.matvec(self.points, None, self.coefficients)
        return math.sqrt(max(float(np.sum(self.coefficients * image)), 0.0))


def sine_stream(n: int, noise: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw a stream of n noisy values of sin(2 pi x) at uniform x in [0, 1].

    Parameters: n >= 1; noise >= 0, the standard deviation added; rng, a Generator or an int seed.
    Returns x (n, 1) and y (n,).
    """
    n, noise, rng = integer("n", n, low=1), nonnegative("noise", noise), as_rng(rng)
    x = rng.uniform(0, 1, (n, 1))
    return x, np.sin(2 * np.pi * x[:, 0]) + noise * rng.standard_normal(n)


@dataclass(frozen=True, eq=False)
class FullRun:
    """An online run that keeps every example.

    predictions (T,), each made before its answer was seen; coefficients (T,), of k(x_t, .) in the
    last function; kernel_evaluations, an int.
    """

    predictions: np.ndarray
    coefficients: np.ndarray
    kernel_evaluations: int


def full_online_gradient(gram, y, radius: float, step_size: float | None = None) -> FullRun:
    """Learn a stream by functional gradient steps, one new kernel function an example.

    f <- P(f - step 2 (f(x_t) - y_t) k(x_t, .)), P the projection on the ball ||f|| <= radius. The
    step adapts to the gradients g met so far, radius / sqrt(1 + sum ||g||^2), or is given.

    Parameters
    ----------
    gram : (T, T), the kernel of the stream with itself
    y : (T,)
    radius : U > 0
    step_size : None for the adaptive step; a number s < 2 / k(x, x) for f - s (f(x) - y) k(x, .)

    Returns a FullRun. Raises ValueError for bad shapes or numbers. Cost: O(T^2).
    Source: Zinkevich (2003), online gradient descent, in the kernel's space.
    """
    gram = symmetric("gram", gram)
    y = as_vector("y", y, length=len(gram))
    radius = positive("radius", radius)
    constant = 0.0 if step_size is None else positive("step_size", step_size)
    coefficients, predictions = np.zeros(y.size), np.empty(y.size)
    _full_gradient(gram, y, radius, constant, coefficients, predictions)
    return FullRun(predictions, coefficients, y.size * (y.size + 1) // 2)


@compiled(
    "void(float64[:,::1], float64[::1], float64, float64, float64[::1], float64[::1])",
    fastmath=FAST,
)
def _full_gradient(gram, y, radius, constant, coefficients, predictions):
    """Fill coefficients and predictions; ``constant`` 0 asks for the adaptive step."""
    total = 1.0  # 1 + the squared lengths of the gradients
    square = 0.0  # ||f||^2
    scale = 1.0  # f is scale times what the coefficients say: a projection costs O(1)
    for t in range(len(y)):
        row = gram[t]
        f = 0.0
        for j in range(t):
            f += row[j] * coefficients[j]
        f *= scale
        predictions[t] = f
        residual = f - y[t]
        total += 4.0 * residual * residual * row[t]
        step = constant * residual if constant > 0.0 else 2.0 * residual * radius / np.sqrt(total)
        square = max(square - 2.0 * step * f + step * step * row[t], 0.0)
        coefficients[t] = -step / scale
        if square > radius * radius:
            scale *= radius / np.sqrt(square)
            square = radius * radius
    for j in range(len(y)):
        coefficients[j] *= scale


def full_online_ridge(gram, y, ridge: float) -> FullRun:
    """Predict each y_t by ridge regression on all examples before it.

    With L the Cholesky factor of K + ridge I, the errors of all T refits are y_t - f_t(x_t) =
    L_tt (L^-1 y)_t: one factorisation, not T.

    Parameters: gram (T, T); y (T,); ridge > 0, the penalty added to K.
    Returns a FullRun; its coefficients (T,) belong to the fit to the whole stream. Cost: O(T^3).

    >>> full_online_ridge([[1.0, 0.5], [0.5, 1.0]], [2.0, 0.0], ridge=1.0).predictions
    array([0. , 0.5])
    """
    gram = symmetric("gram", gram)
    y = as_vector("y", y, length=len(gram))
    factor = cholesky(gram, positive("ridge", ridge), max_jitter=0.0)
    errors = np.diagonal(factor.lower) * factor.half_solve(y)
    return FullRun(y - errors, factor.solve(y), y.size * (y.size + 1) // 2)


# ------------------------------------------------------------------------------------------------
# 2. A dictionary that admits only new directions
# ------------------------------------------------------------------------------------------------


class _DictionaryLearner:
    """What both online learners share: a dictionary and weights in its Cholesky coordinates.

    With K_S = L L^T, the features z(x) = L^-1 k_S(x) are those of phi(x)'s projection on the span
    of the dictionary in an orthonormal basis, so that ||f|| = ||w|| and f(x) = w . z(x). A new
    member adds one coordinate and leaves the others alone: there is nothing to re-map.
    """

    def __init__(self, kernel, threshold: float, max_size: int | None = None):
        self.dictionary = KernelDictionary(kernel, threshold, max_size)
        self.weights = np.zeros(0)
        self.seen = 0
        self.kernel_evaluations = 0

    @property
    def size(self) -> int:
        """The number of points kept."""
        return len(self.dictionary)

    @property
    def function(self) -> Expansion:
        """The function learned so far, an Expansion on the dictionary's points."""
        if not self.size:
            raise ValueError(
                f"the dictionary is empty after {self.seen} examples: learn(x, y) first, and keep "
                f"threshold below k(x, x), got {self.dictionary.threshold:.3g}"
            )
        lower = self.dictionary.factor.lower
        coefficients = solve_triangular(lower, self.weights, lower=True, trans=1)
        return Expansion(self.dictionary.kernel, self.dictionary.points.copy(), coefficients)

    def learn(self, x, y) -> np.ndarray:
        """Take in examples one after another; return the predictions made before each answer.

        Parameters: x (T, d); y (T,). May be called again with the next part of the stream; the
        result does not depend on how the stream is cut.
        Returns (T,). Raises ValueError for other shapes. Cost: O(T s^2), T s kernel evaluations.
        """
        x = as_matrix("x", x)
        y = as_vector("y", y, length=len(x))
        features, sizes = self._features(x)
        grown = np.zeros(self.size)
        grown[: self.weights.size] = self.weights
        self.weights = grown
        predictions = np.empty(y.size)
        self._pass(features, sizes, y, predictions)
        self.seen += y.size
        return predictions

    def _features(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return z (T, s) of each point with the dictionary just after it, and its sizes (T,)."""
        observed = self.dictionary.observe(x)
        sizes = observed.sizes.astype(np.int64)
        # A point meets the dictionary as it was before it, and itself.
        self.kernel_evaluations += int(np.sum(sizes - observed.added + 1))
        if not self.size:  # the threshold is above k(x, x): nothing ever joins
            return np.zeros((len(x), 0)), sizes
        features = np.ascontiguousarray(self.dictionary.factor.half_solve(observed.cross.T).T)
        later = np.arange(self.size)[None, :] >= sizes[:, None]  # members that were not there yet
        features[later] = 0.0
        return features, sizes


class OnlineGradient(_DictionaryLearner):
    """Online gradient descent whose gradients live in the span of a small dictionary.

    g_t = 2 (f_t(x_t) - y_t) P_S phi(x_t),  f_{t+1} = ball projection of f_t - eta_t g_t,
    eta_t = U / sqrt(1 + sum_{s<=t} ||g_s||^2). A point joins the dictionary S when its squared
    distance to the span, k(x, x) - k_S(x)^T K_S^-1 k_S(x), exceeds the threshold; P_S is the
    projection on the span after that, so that a member's gradient is exact. (AOGD-ALD.)

    Paper: nearly-optimal-algorithms-with-sublinear (Li and Liao 2023, arXiv:2306.08320)

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``
    threshold : >= 0, in units of k(x, x); 0 keeps every point that is not a repetition
    radius : U > 0, the ball ||f|| <= U in the kernel's space
    step_size : None for eta_t above; a number s for f - s (f(x) - y) P_S phi(x)
    max_size : the dictionary closes at this size (default: no limit)

    Attributes
    ----------
    weights : (s,) in the dictionary's orthonormal coordinates. function : an Expansion.
    size, seen, kernel_evaluations : ints.

    Raises ValueError on bad arguments. Cost: O(s^2) and s + 1 kernel evaluations an example.
    """

    def __init__(
        self,
        kernel,
        threshold: float,
        radius: float = 5.0,
        step_size: float | None = None,
        max_size: int | None = None,
    ):
        super().__init__(kernel, threshold, max_size)
        self.radius = positive("radius", radius)
        self.step_size = None if step_size is None else positive("step_size", step_size)
        self._total = np.ones(1)  # 1 + the squared lengths of the gradients

    def _pass(self, features, sizes, y, predictions):
        constant = 0.0 if self.step_size is None else self.step_size
        _gradient_pass(
            features, sizes, y, self.radius, constant, self.weights, self._total, predictions
        )


@compiled(
    "void(float64[:,::1], int64[::1], float64[::1], float64, float64, float64[::1], float64[::1],"
    " float64[::1])",
    fastmath=FAST,
)
def _gradient_pass(features, sizes, y, radius, constant, weights, total, predictions):
    """Run gradient steps over the rows; weights and total[0] change in place."""
    for t in range(len(y)):
        z = features[t, : sizes[t]]
        f = 0.0
        square = 0.0
        for i in range(len(z)):
            f += weights[i] * z[i]
            square += z[i] * z[i]
        predictions[t] = f
        residual = f - y[t]
        total[0] += 4.0 * residual * residual * square
        if constant > 0.0:
            step = constant * residual
        else:
            step = 2.0 * residual * radius / np.sqrt(total[0])
        length = 0.0
        for i in range(len(z)):
            weights[i] -= step * z[i]
            length += weights[i] * weights[i]
        if length > radius * radius:
            shrink = radius / np.sqrt(length)
            for i in range(len(z)):
                weights[i] *= shrink


class OnlineNewton(_DictionaryLearner):
    """Online Newton steps in the span of a small dictionary.

    With features z, error r = w.z - y and gradient g = r z (of r^2 / 2):
    A <- A + c r^2 z z^T,  w <- w - A^-1 g, from A = ridge I. A constant c is the online Newton
    step; it needs predictions bounded by C: before predicting, w is projected (in the norm of A)
    on |w.z| <= C. With c = None, A gains the loss's own curvature z z^T instead, and the
    predictions are those of ridge regression on the projected features of all examples so far.
    A new member of the dictionary adds one coordinate to w and a corner ridge to A. (NONS-ALD.)

    Paper: nearly-optimal-algorithms-with-sublinear (Li and Liao 2023, arXiv:2306.08320)

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``
    threshold : >= 0, as in OnlineGradient
    ridge : > 0, A before any example
    curvature : c > 0 (theory: about 1 / (4 C^2)), or None
    bound : C > 0, or None for no bound; a given curvature needs one
    max_size : the dictionary closes at this size (default: no limit)

    Attributes: as OnlineGradient, and inverse (s, s), A^-1.

    Raises ValueError on bad arguments. Cost: O(s^2) and s + 1 kernel evaluations an example.
    """

    def __init__(
        self,
        kernel,
        threshold: float,
        ridge: float = 1.0,
        curvature: float | None = None,
        bound: float | None = None,
        max_size: int | None = None,
    ):
        super().__init__(kernel, threshold, max_size)
        self.ridge = positive("ridge", ridge)
        self.curvature = None if curvature is None else positive("curvature", curvature)
        self.bound = None if bound is None else positive("bound", bound)
        if self.curvature is not None and self.bound is None:
            raise ValueError("bound must be given with a curvature: Newton steps may overshoot")
        self.inverse = np.zeros((0, 0))

    def _pass(self, features, sizes, y, predictions):
        grown = np.eye(self.size) / self.ridge
        before = len(self.inverse)
        grown[:before, :before] = self.inverse
        self.inverse = grown
        curvature = 0.0 if self.curvature is None else self.curvature
        bound = np.inf if self.bound is None else self.bound
        _newton_pass(features, sizes, y, curvature, bound, self.weights, self.inverse, predictions)


@compiled(
    "void(float64[:,::1], int64[::1], float64[::1], float64, float64, float64[::1],"
    " float64[:,::1], float64[::1])",
    fastmath=FAST,
)
def _newton_pass(features, sizes, y, curvature, bound, weights, inverse, predictions):
    """Run Newton steps over the rows; weights and inverse = A^-1 change in place.

    ``curvature`` 0 stands for the loss's own: A + z z^T.
    """
    image = np.empty(features.shape[1])
    for t in range(len(y)):
        s = sizes[t]
        z = features[t, :s]
        f = 0.0
        power = 0.0  # z^T A^-1 z
        for i in range(s):
            row = inverse[i]
            total = 0.0
            for k in range(s):
                total += row[k] * z[k]
            image[i] = total
            power += z[i] * total
            f += weights[i] * z[i]
        if power <= 0.0:  # a point that the kernel maps to 0 teaches nothing
            predictions[t] = f
            continue
        if abs(f) > bound:
            excess = (f - np.sign(f) * bound) / power
            for i in range(s):
                weights[i] -= excess * image[i]
            f = np.sign(f) * bound
        predictions[t] = f
        residual = f - y[t]
        gain = 1.0 if curvature == 0.0 else curvature * residual * residual
        # Sherman-Morrison; A^-1 z after the update is image / (1 + gain power).
        shrink = 1.0 / (1.0 + gain * power)
        root = np.sqrt(gain * shrink)
        for i in range(s):
            weights[i] -= residual * shrink * image[i]
            image[i] *= root
        # One product of two numbers an entry, so that the inverse stays exactly symmetric.
        for i in range(s):
            row = inverse[i]
            for k in range(s):
                row[k] -= image[i] * image[k]


@dataclass(frozen=True, eq=False)
class Streamed:
    """An online learner after some of a stream.

    seen, size, kernel_evaluations : ints, so far; predictions (block,), made before the answers of
    the newest block; loss, the sum of their squared errors since the start; function, an Expansion.
    """

    seen: int
    size: int
    kernel_evaluations: int
    predictions: np.ndarray
    loss: float
    function: Expansion


def stream(learner, x, y, block: int = 1) -> Iterator[Streamed]:
    """Feed a stream to an OnlineGradient or OnlineNewton learner and yield after every block.

    Paper: nearly-optimal-algorithms-with-sublinear (Li and Liao 2023, arXiv:2306.08320)

    Parameters: learner, which keeps what it learned (go on with it later); x (T, d); y (T,);
    block >= 1, examples a step of the generator (the last may be shorter).
    Yields Streamed. Raises ValueError for bad arguments, at the call. Cost: as the learner's.
    """
    if not isinstance(learner, _DictionaryLearner):
        raise ValueError(
            f"learner must be an OnlineGradient or OnlineNewton, got {type(learner).__name__}"
        )
    x = as_matrix("x", x)
    y = as_vector("y", y, length=len(x))
    return _stream(learner, x, y, integer("block", block, low=1))


def _stream(learner, x, y, block):
    loss = 0.0
    for start in range(0, y.size, block):
        part = slice(start, start + block)
        predictions = learner.learn(x[part], y[part])
        loss += float(np.sum((predictions - y[part]) ** 2))
        yield Streamed(
            learner.seen,
            learner.size,
            learner.kernel_evaluations,
            predictions,
            loss,
            learner.function,
        )


# ------------------------------------------------------------------------------------------------
# 3. A fixed set of centres, preconditioning and a projection
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """P = I - sum_{i<q} (1 - l_q / l_i) psi_i (x) psi_i: the q strongest directions, calmed down.

    Attributes
    ----------
    kernel : the kernel
    points : (s, d), the sample X_s from which the directions come
    eigenvalues : (q,), l_0 >= ... >= l_{q-1} of K(X_s, X_s) / s
    tail : l_q, the next eigenvalue: what the largest becomes
    map : (s, q), psi_i(x) = k(x, X_s) map_i, functions of unit norm in the kernel's space
    """

    kernel: object
    points: np.ndarray
    eigenvalues: np.ndarray
    tail: float
    map: np.ndarray

    @property
    def level(self) -> int:
        """The number q of directions."""
        return self.eigenvalues.size

    @property
    def damping(self) -> np.ndarray:
        """What P takes away of each direction, 1 - l_q / l_i, (q,)."""
        return 1 - self.tail / self.eigenvalues

    def eigenfunctions(self, x) -> np.ndarray:
        """Return psi_i at the rows of x (n, d), shape (n, q). Cost: n s kernel evaluations."""
        return self.kernel.gram(x, self.points) @ self.map


def nystrom_preconditioner(kernel, points, level: int) -> Preconditioner:
    """Estimate the strongest directions of gradient descent from a sample of the inputs.

    K(X_s, X_s) / s = E diag(l) E^T;  psi_i = k(., X_s) E_i / sqrt(s l_i).

    Paper: toward-large-kernel-models (Abedsoltan et al. 2023, arXiv:2302.02605)

    Parameters: kernel; points X_s (s, d); level q with 0 <= q < s (0: no preconditioning, P = I).
    Returns a Preconditioner. Raises ValueError for a level at which l_q is only rounding.
    Cost: O(s^3), s^2 kernel evaluations.
    """
    points = as_matrix("points", points)
    s = len(points)
    level = integer("level", level, low=0, high=s - 1)
    values, vectors = eigh(kernel.gram(points) / s)
    values = clip_rounding(values)
    if values[level] == 0:
        raise ValueError(
            f"level must be below the sample's rank {np.count_nonzero(values)}, got {level}"
        )
    top = values[:level]
    return Preconditioner(
        kernel, points, top, float(values[level]), vectors[:, :level] / np.sqrt(s * top)
    )


def critical_batch(preconditioner: Preconditioner, beta: float = 1.0) -> int:
    """Return the batch size, about beta / l_q, beyond which larger batches save no more steps.

    Paper: toward-large-kernel-models (Abedsoltan et al. 2023, arXiv:2302.02605)

    Parameters: preconditioner; beta > 0, the largest k(x, x). Returns an int >= 1.
    """
    return max(1, round(positive("beta", beta) / preconditioner.tail))


def matching_level(kernel, points, batch: int) -> int:
    """Return the largest level q whose critical batch, beta / l_q, is at most ``batch``.

    A lower level leaves strong directions that forbid long steps; a higher one calms so many down
    that batches of this size crawl.

    Paper: toward-large-kernel-models (Abedsoltan et al. 2023, arXiv:2302.02605)

    Parameters: kernel; points X_s (s, d); batch >= 1. Returns q in 0..s - 1. Cost: O(s^3).
    """
    points = as_matrix("points", points)
    batch = integer("batch", batch, low=1)
    values = eigh(kernel.gram(points) / len(points)).values
    beta = float(np.max(kernel.diagonal(points)))
    return max(0, int(np.count_nonzero(values * batch >= beta)) - 1)


def stable_step(tail: float, batch: int, beta: float = 1.0) -> float:
    """Return 1 / (beta + (batch - 1) l_q), the step for a gradient summed over a batch.

    One example moves f at its own point by step beta, and the other batch - 1 push the strongest
    direction along by step l_q each: both must stay within 1.

    Paper: toward-large-kernel-models (Abedsoltan et al. 2023, arXiv:2302.02605)

    Parameters: tail, l_q > 0; batch >= 1; beta > 0, the largest k(x, x).
    """
    return 1 / (
        positive("beta", beta) + (integer("batch", batch, low=1) - 1) * positive("tail", tail)
    )


def projected_step(
    weights, residual, cross, solve_centres, step_size, directions=None
) -> np.ndarray:
    """Take one preconditioned gradient step on a batch and project it back on the centres.

    The step's function, P k(., X_m) g with residual g = f(X_m) - y_m, has at the centres Z

        h = K(Z, X_m) g - psi(Z) diag(1 - l_q / l_i) psi(X_m)^T g,

    and sum_j theta_j k(., z_j) with K(Z, Z) theta = h is its projection: a <- a - step theta.

    Paper: toward-large-kernel-models (Abedsoltan et al. 2023, arXiv:2302.02605)

    Parameters
    ----------
    weights : a, (p,) or (p, c) for c outputs
    residual : g, (m,) or (m, c)
    cross : K(X_m, Z), (m, p)
    solve_centres : function h -> K(Z, Z)^-1 h
    step_size : > 0, for the summed (not averaged) gradient
    directions : None for P = I, else (psi(Z) (p, q), damping (q,), psi(X_m) (m, q))

    Returns the new weights, like the old. Cost: O((m + q) p c + q m c), and the solve.
    """
    weights, residual = _outputs("weights", weights), _outputs("residual", residual)
    cross = as_matrix("cross", cross, rows=len(residual), columns=len(weights))
    step_size = positive("step_size", step_size)
    if weights.shape[1:] != residual.shape[1:]:
        raise ValueError(
            "weights and residual must have the same outputs, got shapes "
            f"{weights.shape} and {residual.shape}"
        )
    if not callable(solve_centres):
        raise ValueError(
            f"solve_centres must be a function h -> theta, got {type(solve_centres).__name__}"
        )
    if directions is not None:
        at_centres = as_matrix("directions[0]", directions[0], rows=len(weights))
        damping = as_vector("directions[1]", directions[1], length=at_centres.shape[1])
        at_batch = as_matrix(
            "directions[2]", directions[2], rows=len(residual), columns=damping.size
        )
        directions = at_centres, damping, at_batch
    return _projected_step(weights, residual, cross, solve_centres, step_size, directions)


def _projected_step(weights, residual, cross, solve_centres, step_size, directions):
    """What :func:`projected_step` does, for checked arguments."""
    h = cross.T @ residual
    if directions is not None:
        at_centres, damping, at_batch = directions
        h -= (at_centres * damping) @ (at_batch.T @ residual)
    return weights - step_size * solve_centres(h)


@dataclass(frozen=True, eq=False)
class Trained:
    """A ProjectedGradient run after some steps.

    step, kernel_evaluations, multiply_adds : ints, so far; epoch, a float; weights (p,) or (p, c);
    mse, the mean squared training error (over examples and outputs); diverged, whether that has
    grown a million times beyond the start: the generator ends with it.
    """

    step: int
    epoch: float
    kernel_evaluations: int
    multiply_adds: int
    weights: np.ndarray
    mse: float
    diverged: bool = False


class ProjectedGradient:
    """Train f = sum_j a_j k(., z_j) on p fixed centres by preconditioned stochastic gradients.

    The model's size p has nothing to do with the number n of examples. Each step takes a batch,
    moves in the whole function space and comes back by a projection on the centres: see
    :func:`projected_step`. (EigenPro 3, with the projection solved exactly by Cholesky.)

    Paper: toward-large-kernel-models (Abedsoltan et al. 2023, arXiv:2302.02605)

    Parameters
    ----------
    kernel : a kernel with ``gram`` and ``diagonal``
    x : (n, d). y : (n,), or (n, c) for c outputs
    centres : Z, (p, d), distinct points
    preconditioner : from :func:`nystrom_preconditioner`; None for P = I
    batch : m in 1..n; None for the critical batch (at most n)
    step_size : > 0 for the summed gradient; None for :func:`stable_step`
    rng : Generator or seed, shuffles the examples in each epoch

    Attributes
    ----------
    weights : (p,) or (p, c), zero at first. batch, step_size : as chosen.
    kernel_evaluations : as if every batch computed its own m (p + s) kernel values; at this scale
        they are kept from the start. multiply_adds : the linear algebra of the steps.

    Raises ValueError on bad arguments. Cost: O(n (p + s)) kernel evaluations and O(p^3) to set up.
    """

    def __init__(
        self, kernel, x, y, centres, preconditioner=None, batch=None, step_size=None, rng=0
    ):
        self.kernel = kernel
        x = as_matrix("x", x)
        self.y = _outputs("y", y)
        same_length("x", x, "y", self.y)
        self.centres = as_matrix("centres", centres, columns=x.shape[1])
        n, p = len(x), len(self.centres)
        fits_in_memory("the kernel between x and centres", 8 * n * p)
        self._cross = kernel.gram(x, self.centres)
        self._factor = cholesky(kernel.gram(self.centres))
        beta = float(np.max(kernel.diagonal(x)))
        if preconditioner is None:
            # The gradient's strongest direction is as strong as the examples say.
            sample = nystrom_preconditioner(kernel, x[_spread(n, 300)], 0)
            self._directions, tail, self._sample = None, sample.tail, 0
        else:
            if not isinstance(preconditioner, Preconditioner):
                raise ValueError(
                    "preconditioner must come from nystrom_preconditioner, "
                    f"got {type(preconditioner).__name__}"
                )
            tail = preconditioner.tail
            self._sample = len(preconditioner.points) if preconditioner.level else 0
            self._directions = (
                (
                    preconditioner.eigenfunctions(self.centres),
                    preconditioner.damping,
                    preconditioner.eigenfunctions(x),
                )
                if preconditioner.level
                else None
            )
        if batch is None:
            batch = min(n, max(1, round(beta / tail)))
        self.batch = integer("batch", batch, low=1, high=n)
        self.step_size = (
            stable_step(tail, self.batch, beta)
            if step_size is None
            else positive("step_size", step_size)
        )
        self._rng = as_rng(rng)
        self._order = np.zeros(0, dtype=np.int64)  # what is left of this epoch
        self.weights = np.zeros((p,) + self.y.shape[1:])
        self.taken = 0
        self.used = 0
        self.kernel_evaluations = 0
        self.multiply_adds = 0

    @property
    def function(self) -> Expansion:
        """The function so far."""
        return Expansion(self.kernel, self.centres, self.weights.copy())

    def mse(self, weights=None) -> float:
        """Return the mean squared training error of ``weights`` (default: the current ones)."""
        if weights is None:
            weights = self.weights
        elif np.shape(weights) != self.weights.shape:
            raise ValueError(
                f"weights must have shape {self.weights.shape}, got {np.shape(weights)}"
            )
        return float(np.mean((self._cross @ weights - self.y) ** 2))

    def step(self) -> None:
        """Take one step on the next batch. Cost: O((m + q + p) p c + q m c)."""
        if not self._order.size:
            self._order = self._rng.permutation(len(self.y))
        rows, self._order = self._order[: self.batch], self._order[self.batch :]
        cross = self._cross[rows]
        residual = cross @ self.weights - self.y[rows]
        directions = self._directions
        if directions is not None:
            directions = directions[0], directions[1], directions[2][rows]
        self.weights = _projected_step(
            self.weights, residual, cross, self._factor.solve, self.step_size, directions
        )
        m, p = cross.shape
        q = 0 if directions is None else directions[1].size
        self.taken += 1
        self.used += m
        self.kernel_evaluations += m * (p + self._sample)
        # residual, gradient, the solve and the preconditioner
        outputs = self.weights[0].size
        self.multiply_adds += (2 * m * p + p * p + q * (m + p)) * outputs + m * self._sample * q

    def steps(self, every: int = 1) -> Iterator[Trained]:
        """Yield a Trained for the state now and after every ``every`` steps, without end.

        Steps that are too long for the data (a sample too small for its level misjudges the
        strongest direction left) end it with ``diverged``.
        """
        return self._steps(integer("every", every, low=1))

    def _steps(self, every):
        while True:
            trained = self._trained()
            yield trained
            if trained.diverged:
                return
            for _ in range(every):
                self.step()

    def epochs(self, count: int) -> Iterator[Trained]:
        """Yield a Trained for the state now and after each of ``count`` passes over the data."""
        return self._epochs(integer("count", count, low=0))

    def _epochs(self, count):
        trained = self._trained()
        yield trained
        for _ in range(count):
            if trained.diverged:
                return
            self.step()
            while self._order.size:
                self.step()
            trained = self._trained()
            yield trained

    def fixed_point(self) -> np.ndarray:
        """Return the weights that steps on the whole data set leave alone, (p,) or (p, c).

        They solve G (K(X, Z) a - y) = 0 with G = K(Z, X) - psi(Z) diag(1 - l_q / l_i) psi(X)^T.
        With P = I, or when the sample X_s lies among the centres, that is least squares; with X_s
        from X it is least squares slightly reweighted. Cost: O(n p^2 + p^3).
        """
        pull = self._cross.T
        if self._directions is not None:
            at_centres, damping, at_points = self._directions
            pull = pull - (at_centres * damping) @ at_points.T
        return np.linalg.solve(pull @ self._cross, pull @ self.y)

    def best(self) -> np.ndarray:
        """Return the least-squares weights argmin ||K(X, Z) a - y||^2. Cost: O(n p^2)."""
        return np.linalg.lstsq(self._cross, self.y, rcond=None)[0]

    def _trained(self) -> Trained:
        mse = self.mse()
        return Trained(
            self.taken,
            self.used / len(self.y),
            self.kernel_evaluations,
            self.multiply_adds,
            self.weights.copy(),
            mse,
            not mse <= 1e6 * max(float(np.mean(self.y**2)), np.finfo(float).tiny),
        )


def epochs_to_reach(errors, level: float) -> float:
    """Return the first index at which errors fall to ``level``, or infinity if they never do.

    Parameters: errors (e,), before the first epoch and after each; level, a number.
    """
    reached = np.flatnonzero(as_vector("errors", errors) <= level)
    return float(reached[0]) if reached.size else math.inf


def one_hot(labels, n_classes: int) -> np.ndarray:
    """Return one-against-the-rest targets, (n, n_classes): 1 in the label's column, 0 elsewhere.

    Parameters: labels (n,), integers in 0..n_classes - 1; n_classes >= 1.
    """
    n_classes = integer("n_classes", n_classes, low=1)
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be a vector of integers, got shape {labels.shape} of {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(
            f"labels must lie in 0..{n_classes - 1}, got {labels.min()}..{labels.max()}"
        )
    return np.eye(n_classes)[labels]


def _spread(n: int, count: int) -> np.ndarray:
    """Return up to ``count`` indices spread evenly over 0..n-1."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).astype(np.int64))


def _outputs(name: str, value) -> np.ndarray:
    """Return a vector (one output) or a matrix (several), checked."""
    return as_vector(name, value) if np.ndim(value) == 1 else as_matrix(name, value)


# ------------------------------------------------------------------------------------------------
# 4. A teacher who picks the examples
# ------------------------------------------------------------------------------------------------

TEACHERS = ("greedy", "random")


@dataclass(frozen=True, eq=False)
class Taught:
    """What d learners became on N points after T lessons.

    Attributes
    ----------
    chosen : (T, d), the point each learner was shown in each lesson
    values : (d, N), the learners' functions at the points
    coefficients : (d, N), of k(x_i, .) in what the lessons added to the start
    losses : (T + 1, d), mean squared errors before the first and after each lesson
    mixtures : (T, d, d), the matrix by which the learners were mixed before each lesson
    """

    chosen: np.ndarray
    values: np.ndarray
    coefficients: np.ndarray
    losses: np.ndarray
    mixtures: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class Lesson:
    """The learners after a lesson (or before the first).

    number, lessons so far; chosen (d,), the points just shown (empty before the first lesson);
    values (d, N); coefficients (d, N); losses (d,); mixture (d, d), applied before this lesson.
    """

    number: int
    chosen: np.ndarray
    values: np.ndarray
    coefficients: np.ndarray
    losses: np.ndarray
    mixture: np.ndarray


def teach(
    gram,
    targets,
    lessons: int,
    step_size: float = 0.5,
    teacher: str = "greedy",
    communicate: bool = False,
    start=None,
    rng=None,
) -> Taught:
    """Teach d functions on N points, one example a learner and lesson.

    f <- f - step (f(x) - f*(x)) k(x, .), with the point x chosen by the teacher, who knows f*:
    greedy takes x = argmax |f - f*|, where the gradient is largest; random draws it uniformly.
    With ``communicate``, the learners' functions are first mixed, F <- A F, by the matrix A that
    serves them best (:func:`best_mixture`).

    Paper: nonparametric-teaching-for-multiple-learners (Zhang et al. 2023, arXiv:2311.10318)

    Parameters
    ----------
    gram : (N, N), kernel of the points
    targets : f* at the points, (N,) for one learner or (d, N)
    lessons : T >= 0
    step_size : in (0, 2 / max k(x, x)); up to 1 / (2 max k) the paper's guarantees hold
    teacher : "greedy" or "random"
    communicate : mix before every lesson
    start : (N,) or (d, N), the functions to begin with (default: zero)
    rng : Generator or seed, for the random teacher

    Returns Taught. Raises ValueError for bad arguments, such as a step that may diverge.
    Cost: O(d N) a lesson, and O(d^2 N) more with communication.
    """
    lessons = integer("lessons", lessons, low=0)
    if communicate:
        return _collect(teach_steps(gram, targets, step_size, teacher, True, start, rng), lessons)
    gram, targets, values, rng = _classroom(gram, targets, step_size, teacher, start, rng)
    d, n = targets.shape
    residual, coefficients = values - targets, np.zeros((d, n))
    chosen, losses = np.empty((lessons, d), dtype=np.int64), np.empty((lessons + 1, d))
    if teacher == "random":
        chosen[:] = rng.integers(n, size=(lessons, d))
    _teach(gram, residual, coefficients, step_size, teacher == "greedy", chosen, losses)
    mixtures = np.broadcast_to(np.eye(d), (lessons, d, d))
    return Taught(chosen, targets + residual, coefficients, losses, mixtures)


def teach_steps(
    gram,
    targets,
    step_size: float = 0.5,
    teacher: str = "greedy",
    communicate: bool = False,
    start=None,
    rng=None,
) -> Iterator[Lesson]:
    """Lessons of :func:`teach` one by one, without end, for callers who watch them.

    Yields a Lesson for the start and after every lesson. Same arguments and errors, at the call.

    Paper: nonparametric-teaching-for-multiple-learners (Zhang et al. 2023, arXiv:2311.10318)
    """
    classroom = _classroom(gram, targets, step_size, teacher, start, rng)
    return _lessons(*classroom, float(step_size), teacher, bool(communicate))


def _lessons(gram, targets, values, rng, step_size, teacher, communicate):
    d, n = targets.shape
    coefficients = np.zeros((d, n))
    chosen, losses = np.empty((1, d), dtype=np.int64), np.empty((2, d))
    mixture = np.eye(d)
    yield _lesson(0, np.empty(0, np.int64), values, coefficients, targets, mixture)
    number = 0
    while True:
        number += 1
        if communicate:
            mixture = best_mixture(values, targets)
            values, coefficients = mixture @ values, mixture @ coefficients
        residual = values - targets
        if teacher == "random":
            chosen[:] = rng.integers(n, size=(1, d))
        _teach(gram, residual, coefficients, step_size, teacher == "greedy", chosen, losses)
        values = targets + residual
        yield _lesson(number, chosen[0].copy(), values, coefficients, targets, mixture)


def _lesson(number, chosen, values, coefficients, targets, mixture) -> Lesson:
    losses = np.mean((values - targets) ** 2, axis=1)
    return Lesson(number, chosen, values.copy(), coefficients.copy(), losses, mixture)


def _collect(steps: Iterator[Lesson], lessons: int) -> Taught:
    first = lesson = next(steps)
    d = len(first.losses)
    chosen, losses = np.empty((lessons, d), dtype=np.int64), np.empty((lessons + 1, d))
    mixtures = np.empty((lessons, d, d))
    losses[0] = first.losses
    for t in range(lessons):
        lesson = next(steps)
        chosen[t], losses[t + 1], mixtures[t] = lesson.chosen, lesson.losses, lesson.mixture
    return Taught(chosen, lesson.values, lesson.coefficients, losses, mixtures)


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], float64, boolean, int64[:,::1],"
    " float64[:,::1])",
    fastmath=FAST,
)
def _teach(gram, residual, coefficients, step_size, greedy, chosen, losses):
    """Give len(chosen) lessons; residual f - f* and coefficients change in place.

    ``chosen`` is read for the random teacher and written for the greedy one.
    """
    d, n = residual.shape
    for j in range(d):
        left = residual[j]
        total = 0.0
        for i in range(n):
            total += left[i] * left[i]
        losses[0, j] = total / n
        for t in range(len(chosen)):
            if greedy:
                largest = -1.0
                for i in range(n):
                    size = abs(left[i])
                    if size > largest:
                        largest = size
                        chosen[t, j] = i
            x = chosen[t, j]
            move = step_size * left[x]
            coefficients[j, x] -= move
            row = gram[x]
            total = 0.0
            for i in range(n):
                left[i] -= move * row[i]
                total += left[i] * left[i]
            losses[t + 1, j] = total / n


def best_mixture(functions, targets) -> np.ndarray:
    """Return the matrix A, (d, d), for which the mixed functions A F come closest to F*.

    A = argmin ||A F - F*||^2, least squares over the points; the smallest A where several do.
    Since A = I is among the candidates, mixing never does harm.

    Paper: nonparametric-teaching-for-multiple-learners (Zhang et al. 2023, arXiv:2311.10318)

    Parameters: functions F (d, N); targets F* (d, N). Returns (d, d). Cost: O(d^2 N).
    """
    functions = as_matrix("functions", functions)
    targets = as_matrix("targets", targets, rows=len(functions), columns=functions.shape[1])
    return np.linalg.lstsq(functions.T, targets.T, rcond=None)[0].T


def rkhs_distance_squared(gram, coefficients, target_coefficients) -> float:
    """Return ||f - f*||^2 = (a - a*)^T K (a - a*) in the kernel's space.

    A lesson at x with step s changes it by exactly (s^2 k(x, x) - 2 s) (f(x) - f*(x))^2, whatever x
    is; so the point of largest error lowers it most.

    Paper: nonparametric-teaching-for-multiple-learners (Zhang et al. 2023, arXiv:2311.10318)

    Parameters: gram (N, N); coefficients a (N,); target_coefficients a* (N,). Cost: O(N^2).
    """
    gram = symmetric("gram", gram)
    gap = as_vector("coefficients", coefficients, length=len(gram)) - as_vector(
        "target_coefficients", target_coefficients, length=len(gram)
    )
    return max(float(gap @ gram @ gap), 0.0)


def unit_grid(side: int) -> np.ndarray:
    """Return the side^2 pixel centres of a square picture in [0, 1]^2, row by row, as (y, x).

    Parameters: side >= 1. Returns (side^2, 2): values.reshape(side, side) is the picture.
    """
    middle = (np.arange(integer("side", side, low=1)) + 0.5) / side
    return np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2)


def smooth_target(gram, bumps: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw a target inside the kernel's space: a sum of ``bumps`` kernel functions.

    Parameters: gram (N, N); bumps in 1..N, at distinct points with Gaussian coefficients; rng.
    Returns values (N,), scaled to standard deviation 1, and coefficients (N,).
    """
    gram = symmetric("gram", gram)
    bumps, rng = integer("bumps", bumps, low=1, high=len(gram)), as_rng(rng)
    coefficients = np.zeros(len(gram))
    coefficients[rng.choice(len(gram), bumps, replace=False)] = rng.standard_normal(bumps)
    values = gram @ coefficients
    spread = values.std()
    if spread <= EPSILON * np.abs(values).max():  # one point, or a constant kernel
        return values, coefficients
    return values / spread, coefficients / spread


def step_target(points, position: float = 0.5) -> np.ndarray:
    """Return +1 where a point's last coordinate is beyond ``position``, else -1: a sharp edge.

    Parameters: points (N, d); position in [0, 1]. Returns (N,). No smooth function has this edge.
    """
    points = as_matrix("points", points)
    return np.where(points[:, -1] > between("position", position, 0, 1), 1.0, -1.0)


def _classroom(gram, targets, step_size, teacher, start, rng):
    """Check what the teaching functions share; return gram, targets, start values, generator."""
    gram = as_matrix("gram", gram)
    if gram.shape[0] != gram.shape[1]:
        raise ValueError(f"gram must be a symmetric matrix, got shape {gram.shape}")
    # To compare all entries with their mirror images would take longer than all lessons.
    if not np.allclose(gram[0], gram[:, 0]):
        raise ValueError("gram must be a symmetric matrix, got another first row than column")
    targets = np.atleast_2d(_outputs("targets", targets))
    if targets.shape[1] != len(gram):
        raise ValueError(
            f"targets must have one column a point, {len(gram)}, got shape {targets.shape}"
        )
    largest = float(np.diagonal(gram).max())
    if not 0 < positive("step_size", step_size) * largest < 2:
        raise ValueError(
            f"step_size must be below 2 / (largest k(x, x)) = {2 / largest:.3g}, got {step_size}"
        )
    one_of("teacher", teacher, TEACHERS)
    if teacher == "random" and rng is None:
        raise ValueError("rng must be given for the random teacher")
    if start is None:
        values = np.zeros_like(targets)
    else:
        values = np.atleast_2d(_outputs("start", start)).copy()
        if values.shape != targets.shape:
            raise ValueError(
                f"start must have the shape of targets, {targets.shape}, got {values.shape}"
            )
    return gram, targets, values, None if rng is None else as_rng(rng)
