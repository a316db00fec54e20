"""Three learners of which everything can be proved when the inputs are Gaussian.

A training curve, the limit of a compression, and a certificate for a classifier: each is an
explicit formula in the Gaussian world, and each is computed here beside the thing that it predicts,
so that the inputs can be exchanged. The sections:

1. Input laws: coordinates or lengths that are not Gaussian, with the same covariance
2. Grokking in linear estimators (Levi et al. 2024)
3. Two-layer autoencoders with one-bit codes (Shevchenko et al. 2023)
4. A tester-learner for halfspaces (Gollakota et al. 2023)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import erf, erfinv

from kernellab.compute import compiled
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
)
from kernellab.compute.linalg import eigh

# ------------------------------------------------------------------------------------------------
# 1. Input laws
# ------------------------------------------------------------------------------------------------

LAWS = ("Gaussian", "signs", "Laplace", "skewed", "sparse", "two lengths")
_SPARSITY = 0.1
_LENGTHS = np.sqrt([0.1, 1.9])  # equally likely; the squares have mean 1


def draw_inputs(law: str, n: int, dimension: int, rng) -> np.ndarray:
    """Draw n points with mean 0 and covariance I from a law that need not be Gaussian.

    "signs", "Laplace", "skewed" (exponential minus 1) and "sparse" (zero nine times in ten) have
    independent coordinates. "two lengths" is a Gaussian vector, shortened to a third or stretched
    by a third as a whole, so that its coordinates are uncorrelated but not independent.

    Parameters: law, one of LAWS; n, dimension >= 1; rng, a Generator or an int seed.
    Returns (n, dimension). Cost: O(n dimension).
    """
    one_of("law", law, LAWS)
    shape = integer("n", n, low=1), integer("dimension", dimension, low=1)
    rng = as_rng(rng)
    if law == "signs":
        return rng.choice([-1.0, 1.0], shape)
    if law == "Laplace":
        return rng.laplace(scale=np.sqrt(0.5), size=shape)
    if law == "skewed":
        return rng.exponential(size=shape) - 1
    x = rng.standard_normal(shape)
    if law == "sparse":
        return x * (rng.random(shape) < _SPARSITY) / np.sqrt(_SPARSITY)
    if law == "two lengths":
        return x * rng.choice(_LENGTHS, (shape[0], 1))
    return x


def whiten(x, dimension: int) -> np.ndarray:
    """Return the leading principal components of x, each scaled to variance 1.

    Parameters: x (n, p); dimension, 1 .. the number of components with any variance.
    Returns (n, dimension) with mean 0 and covariance I. Cost: O(n p^2).
    """
    x = as_matrix("x", x, min_rows=2)
    centred = x - x.mean(axis=0)
    variances, directions = eigh(centred.T @ centred / len(x))
    usable = int(np.count_nonzero(variances > 1e-10 * max(variances[0], np.finfo(float).tiny)))
    dimension = integer("dimension", dimension, low=1, high=max(usable, 1))
    if usable == 0:
        raise ValueError("x must vary, got rows that are all the same")
    return centred @ directions[:, :dimension] / np.sqrt(variances[:dimension])


def unit_rows(matrix) -> np.ndarray:
    """Return the matrix with every row scaled to length 1; a zero row is refused."""
    matrix = as_matrix("matrix", matrix)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if lengths.min() == 0:
        raise ValueError("matrix must not have a row of zeros")
    return matrix / lengths


# ------------------------------------------------------------------------------------------------
# 2. Grokking in linear estimators
# ------------------------------------------------------------------------------------------------


def marchenko_pastur(ratio: float, nodes: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return a quadrature (s, w) for the eigenvalues of X^T X / N, with sum w = 1.

    For X (N, d) with independent entries of variance 1 and d/N -> ratio the eigenvalues fill
    [(1 - sqrt(ratio))^2, (1 + sqrt(ratio))^2], with density

        sqrt((s_max - s)(s - s_min)) / (2 pi ratio s),

    and for ratio > 1 a share 1 - 1/ratio of them is 0. With s = 1 + ratio + 2 sqrt(ratio) cos(a)
    the density becomes 2 sin(a)^2 / (pi s) on [0, pi], for which the midpoint rule is as good as
    exact. So the mean of f over the law is sum(w * f(s)).

    Parameters: ratio > 0; nodes >= 2.
    Returns: s, w, both (nodes,), or (nodes + 1,) when there are zeros. Cost: O(nodes).
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)

    >>> s, w = marchenko_pastur(0.5)
    >>> bool(np.isclose(w.sum(), 1) and np.isclose(w @ s, 1) and np.isclose(w @ s**2, 1.5))
    True
    """
    ratio, nodes = positive("ratio", ratio), integer("nodes", nodes, low=2)
    angle = (np.arange(nodes) + 0.5) * np.pi / nodes
    # |1 + sqrt(ratio) e^(i angle)|^2, written so that nothing cancels near s = 0
    s = (1 - np.sqrt(ratio)) ** 2 + 4 * np.sqrt(ratio) * np.cos(angle / 2) ** 2
    weights = 2 * np.sin(angle) ** 2 / (nodes * s)
    if ratio > 1:
        return np.append(s, 0.0), np.append(weights, 1 - 1 / ratio)
    return s, weights


def marchenko_pastur_density(s, ratio: float) -> np.ndarray:
    """Return the density of the eigenvalues at s (m,), without the share that is exactly 0.

    Parameters: s, any numbers; ratio > 0. Cost: O(m).
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    s, ratio = as_vector("s", s), positive("ratio", ratio)
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2
    inside = (s > low) & (s < high)
    safe = np.where(inside, s, (low + high) / 2)
    return np.where(inside, np.sqrt((high - safe) * (safe - low)) / (2 * np.pi * ratio * safe), 0)


@dataclass(frozen=True, eq=False)
class TeacherStudent:
    """A linear student that learns from a linear teacher, in the eigenvectors of X^T X / N.

    eigenvalues (d,), largest first; eigenvectors (d, d); teacher (d,) and start (d,), the
    coordinates of the teacher and of the student at time 0.
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    teacher: np.ndarray
    start: np.ndarray

    @property
    def energy(self) -> np.ndarray:
        """Squared coordinates (d,) of student minus teacher at time 0; their mean sum is 1."""
        return (self.start - self.teacher) ** 2


def teacher_student(x, rng) -> TeacherStudent:
    """Draw a teacher and a student at random for the inputs x (N, d), coordinates N(0, 1/(2d)).

    Cost: O(N d^2 + d^3), once; the whole of training afterwards costs O(d) a moment.
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    x = as_matrix("x", x)
    values, vectors = eigh(x.T @ x / len(x))
    teacher, start = as_rng(rng).standard_normal((2, x.shape[1])) / np.sqrt(2 * x.shape[1])
    values = np.where(values > 1e-12 * values[0], values, 0.0)  # rank, when there are few points
    return TeacherStudent(values, vectors, teacher, start)


def student_errors(world: TeacherStudent, times, decay: float = 0.0) -> np.ndarray:
    """Return student minus teacher under gradient flow on the training loss, at every time.

    Without weight decay the coordinate i of the difference is exp(-2 s_i t) times what it was.
    A penalty g |student|^2 speeds all rates up by 2 g and pulls the student towards zero, so that
    it ends at -g / (s_i + g) times the teacher:

        D_i(t) = e D_i(0) - (1 - e) g / (s_i + g) teacher_i,   e = exp(-2 (s_i + g) t).

    Parameters: times (m,) >= 0; decay g >= 0. Returns (m, d), in the eigenvectors' coordinates.
    Cost: O(m d).
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    times, decay = _as_times(times), nonnegative("decay", decay)
    s = world.eigenvalues
    kept = np.exp(-2 * np.outer(times, s + decay))
    pull = decay / (s + decay) if decay > 0 else np.zeros_like(s)
    return kept * (world.start - world.teacher) - (1 - kept) * pull * world.teacher


def training_losses(world: TeacherStudent, times, decay: float = 0.0):
    """Return the training loss sum s_i D_i^2 and the test loss sum D_i^2, both (m,).

    The test loss is the mean squared error on fresh inputs of covariance I. Cost: O(m d).
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    squares = student_errors(world, times, decay) ** 2
    return squares @ world.eigenvalues, squares.sum(axis=1)


def predicted_losses(ratio: float, times, decay: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and test losses for N, d -> infinity with d/N = ratio, no simulation.

    Without decay they are the means of s exp(-4 s t) and exp(-4 s t) over the Marchenko-Pastur law.
    Parameters: ratio > 0; times (m,) >= 0; decay >= 0. Returns two (m,) arrays. Cost: O(1000 m).
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    s, weights = marchenko_pastur(ratio)
    times, decay = _as_times(times), nonnegative("decay", decay)
    kept = np.exp(-2 * np.outer(times, s + decay))
    if decay > 0:  # teacher and start have mean squares 1/2 each
        pull = decay / (s + decay)
        squares = (kept**2 + (kept + (1 - kept) * pull) ** 2) / 2
    else:
        squares = kept**2
    return squares @ (weights * s), squares @ weights


def share_within(x, errors, tolerance: float) -> np.ndarray:
    """Return the accuracy: the share of inputs whose squared error is at most ``tolerance``.

    Parameters: x (N, d), inputs; errors (m, d), student minus teacher in the coordinates of x;
    tolerance > 0. Returns (m,). Cost: O(N m d).
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    errors = as_matrix("errors", errors)
    x = as_matrix("x", x, columns=errors.shape[1])
    return np.mean((x @ errors.T) ** 2 <= positive("tolerance", tolerance), axis=0)


def gaussian_accuracy(loss, tolerance: float) -> np.ndarray:
    """Return erf(sqrt(tolerance / (2 loss))), the accuracy when errors are N(0, loss).

    Parameters: loss (m,) >= 0; tolerance > 0. Returns (m,); a loss of 0 gives 1.
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    loss, tolerance = as_vector("loss", loss), positive("tolerance", tolerance)
    if loss.min() < 0:
        raise ValueError(f"loss must not be negative, got {loss.min():.3g}")
    with np.errstate(divide="ignore", over="ignore"):
        return erf(np.sqrt(tolerance / (2 * loss)))


def grokking_times(eigenvalues, energy, tolerance: float, level: float = 0.95):
    """Return the times at which training and test accuracy reach ``level``, without weight decay.

    Accuracy reaches it when the loss falls to tolerance / (2 erfinv(level)^2). The losses are
    sum c_i s_i exp(-4 s_i t) and sum c_i exp(-4 s_i t).

    Parameters: eigenvalues s (d,) >= 0; energy c (d,) >= 0 (or the weights of marchenko_pastur);
    tolerance > 0; level in (0, 1). Returns (training time, test time); infinity where the loss
    never gets there. Cost: O(100 d).
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    s = as_vector("eigenvalues", eigenvalues)
    energy = as_vector("energy", energy, length=s.size)
    if s.min() < 0 or energy.min() < 0:
        raise ValueError("eigenvalues and energy must not be negative")
    level = between("level", level, 1e-6, 1 - 1e-6)
    goal = positive("tolerance", tolerance) / (2 * erfinv(level) ** 2)
    return _time_to(s, energy * s, goal), _time_to(s, energy, goal)


def _time_to(s, energy, goal: float) -> float:
    def excess(log_time):
        return np.log(energy @ np.exp(-4 * s * np.exp(log_time)) + 1e-300) - np.log(goal)

    if energy.sum() <= goal:
        return 0.0
    if energy[s == 0].sum() >= goal:
        return np.inf
    low, high = -20.0, 0.0
    while excess(high) > 0:
        low, high = high, high + 1
        if high > 100:
            return np.inf
    return float(np.exp(brentq(excess, low, high, xtol=1e-12)))


def grokking_gap_formula(ratio: float) -> float:
    """Return log(1 / s_min) / (4 s_min) with s_min = (1 - sqrt(ratio))^2: the gap at late times.

    Late in training only the smallest eigenvalue is left, the training loss is s_min times the
    test loss, and both fall like exp(-4 s_min t). Parameter: ratio > 0, not 1.
    Paper: grokking-in-linear-estimators (Levi et al. 2024, arXiv:2310.16441)
    """
    smallest = (1 - np.sqrt(positive("ratio", ratio))) ** 2
    if smallest == 0:
        raise ValueError("ratio must not be 1, where the gap is infinite")
    return float(np.log(1 / smallest) / (4 * smallest))


def _as_times(times) -> np.ndarray:
    times = as_vector("times", times)
    if times.min() < 0:
        raise ValueError(f"times must not be negative, got {times.min():.3g}")
    return times


# ------------------------------------------------------------------------------------------------
# 3. Two-layer autoencoders with one-bit codes
# ------------------------------------------------------------------------------------------------


def code_correlations(encoder) -> np.ndarray:
    """Return E[sign(B x) sign(B x)^T] = (2/pi) arcsin(B B^T) for x ~ N(0, I).

    Parameters: encoder B (n, d), rows of length 1. Returns (n, n). Cost: O(n^2 d).
    Paper: fundamental-limits-of-two-layer-autoencoders (Shevchenko et al. 2023, arXiv:2212.13468)
    """
    b = _as_encoder(encoder)
    return 2 / np.pi * np.arcsin(_cosines(b))


def best_decoder(encoder) -> np.ndarray:
    """Return A (d, n), the least-squares decoder x_hat = A sign(B x) in the Gaussian world.

    A = sqrt(2/pi) B^T G^+, with G = code_correlations(B) (repeated rows make it singular).
    Parameters: encoder B (n, d), rows of length 1. Cost: O(n^3 + n^2 d).
    Paper: fundamental-limits-of-two-layer-autoencoders (Shevchenko et al. 2023, arXiv:2212.13468)
    """
    b = _as_encoder(encoder)
    return np.sqrt(2 / np.pi) * _solve(code_correlations(b), b).T


def autoencoder_risk(encoder) -> float:
    """Return R(B) = (1/d) E |x - A sign(B x)|^2 with the best decoder A, for x ~ N(0, I).

        R(B) = 1 - 2 / (pi d) tr(B^T G^+ B)

    Parameters: encoder B (n, d), rows of length 1. Returns a float in [0, 1]. Cost: O(n^3).
    Paper: fundamental-limits-of-two-layer-autoencoders (Shevchenko et al. 2023, arXiv:2212.13468)

    >>> round(autoencoder_risk(np.eye(3)), 4)  # one bit a coordinate: 1 - 2/pi
    0.3634
    """
    b = _as_encoder(encoder)
    return float(1 - 2 / (np.pi * b.shape[1]) * np.sum(b * _solve(code_correlations(b), b)))


def autoencoder_limit(rate: float) -> float:
    """Return the least risk of any encoder at rate = n/d bits a coordinate, for d -> infinity.

        1 - 2 rate / pi   for rate <= 1,     1 - rate / (rate + pi/2 - 1)   above.

    Up to rate 1 orthonormal rows attain it for every d. Parameter: rate > 0.
    Paper: fundamental-limits-of-two-layer-autoencoders (Shevchenko et al. 2023, arXiv:2212.13468)
    """
    rate = positive("rate", rate)
    return 1 - 2 * rate / np.pi if rate <= 1 else 1 - rate / (rate + np.pi / 2 - 1)


def random_encoder(n: int, dimension: int, rng) -> np.ndarray:
    """Return B (n, dimension) with independent rows, uniform on the sphere."""
    shape = integer("n", n, low=1), integer("dimension", dimension, low=1)
    return unit_rows(as_rng(rng).standard_normal(shape))


def spread_encoder(n: int, dimension: int, rng) -> np.ndarray:
    """Return B with all singular values (nearly) equal: orthonormal rows, or a tight frame.

    For n <= dimension the rows are orthonormal. Otherwise the columns are, up to scale; rows are
    rescaled to length 1 and columns made orthogonal again, in turn, until both hold.

    Parameters: n, dimension >= 1; rng, a Generator or an int seed. Cost: O(100 n dimension^2).
    Paper: fundamental-limits-of-two-layer-autoencoders (Shevchenko et al. 2023, arXiv:2212.13468)
    """
    b = random_encoder(n, dimension, rng)
    for _ in range(100):
        u, values, v = np.linalg.svd(b, full_matrices=False)
        if values[0] - values[-1] < 1e-4:
            break
        b = unit_rows(u @ v)
    return b


def risk_ascent_direction(encoder) -> np.ndarray:
    """Return the gradient (n, d) of tr(B^T G^-1 B), the part of the input that the code recovers.

    With M = G^-1 B and W_ij = (2/pi) (M M^T)_ij / sqrt(1 - (B B^T)_ij^2) off the diagonal (which
    does not move while rows have length 1) it is 2 (M - W B). Cost: O(n^3 + n^2 d).
    Paper: fundamental-limits-of-two-layer-autoencoders (Shevchenko et al. 2023, arXiv:2212.13468)
    """
    b = _as_encoder(encoder)
    cosines = _cosines(b)
    m = _solve(2 / np.pi * np.arcsin(cosines), b)
    w = 2 / np.pi * (m @ m.T) / np.sqrt(np.maximum(1 - cosines**2, 1e-12))
    np.fill_diagonal(w, 0)
    return 2 * (m - w @ b)


def train_encoder(encoder, steps: int, step_size: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Train B by projected gradient descent on the risk: step, then rows back to length 1.

    Parameters: encoder B (n, d), the start; steps >= 0; step_size > 0.
    Returns the last B (n, d) and the risks (steps + 1,). Cost: O(steps (n^3 + n^2 d)).
    Paper: fundamental-limits-of-two-layer-autoencoders (Shevchenko et al. 2023, arXiv:2212.13468)
    """
    b, step_size = _as_encoder(encoder), positive("step_size", step_size)
    risks = [autoencoder_risk(b)]
    for _ in range(integer("steps", steps, low=0)):
        b = unit_rows(b + step_size * risk_ascent_direction(b))
        risks.append(autoencoder_risk(b))
    return b, np.array(risks)


def sampled_risk(x, encoder, decoder=None) -> float:
    """Return the mean of |x - A sign(B x)|^2 / d over the rows of x, whatever their law.

    Parameters: x (N, d); encoder B (n, d); decoder A (d, n), by default fitted to x by least
    squares. A sign of 0 counts as +1: the code is one bit. Cost: O(N n (n + d)).
    Paper: fundamental-limits-of-two-layer-autoencoders (Shevchenko et al. 2023, arXiv:2212.13468)
    """
    b = _as_encoder(encoder)
    x = as_matrix("x", x, columns=b.shape[1])
    codes = np.where(x @ b.T >= 0, 1.0, -1.0)
    if decoder is None:
        decoder = _solve(codes.T @ codes / len(x), codes.T @ x / len(x)).T
    else:
        decoder = as_matrix("decoder", decoder, rows=b.shape[1], columns=b.shape[0])
    return float(np.mean((x - codes @ decoder.T) ** 2))


def _cosines(b: np.ndarray) -> np.ndarray:
    cosines = np.clip(b @ b.T, -1, 1)
    np.fill_diagonal(cosines, 1)
    return cosines


def _solve(g: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return G^+ right for a positive semi-definite G, which repeated rows make singular."""
    try:
        factor = np.linalg.cholesky(g)
        if factor.diagonal().min() > 1e-6:
            return np.linalg.solve(g, right)
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(g)
    kept = values > 1e-10 * values[-1]
    return (vectors[:, kept] / values[kept]) @ (vectors[:, kept].T @ right)


def _as_encoder(encoder) -> np.ndarray:
    b = as_matrix("encoder", encoder)
    lengths = np.linalg.norm(b, axis=1)
    if np.abs(lengths - 1).max() > 1e-6:
        worst = lengths[np.argmax(np.abs(lengths - 1))]
        raise ValueError(f"encoder must have rows of length 1, got one of length {worst:.3g}")
    return b


# ------------------------------------------------------------------------------------------------
# 4. A tester-learner for halfspaces
# ------------------------------------------------------------------------------------------------


def noisy_labels(x, normal, rng, flip_rate: float = 0.0, adversarial: float = 0.0) -> np.ndarray:
    """Return the labels sign(<normal, x>), +1 or -1, with flips of two kinds.

    Massart noise flips with probability ``flip_rate``, but only on one side of a hyperplane at 45
    degrees to the true one; so the noise is bounded, and it is not symmetric. An adversary then
    flips the share ``adversarial`` of all points, those that speak loudest against a direction
    orthogonal to the normal.

    Parameters: x (N, d), d >= 2; normal (d,), length 1; rng; flip_rate in [0, 0.5); adversarial in
    [0, 0.5]. Returns (N,). Cost: O(N d + N log N).
    Paper: an-efficient-tester-learner-for-halfspaces (Gollakota et al. 2023, arXiv:2302.14853)
    """
    x, normal = _points_and_normal(x, normal)
    flip_rate = between("flip_rate", flip_rate, 0, 0.499)
    adversarial = between("adversarial", adversarial, 0, 0.5)
    across = orthogonal_basis(normal)[:, 0]
    margins, sideways = x @ normal, x @ across
    y = np.where(margins >= 0, 1.0, -1.0)
    y[(as_rng(rng).random(len(x)) < flip_rate) & (margins + sideways > 0)] *= -1
    against = np.where(y * sideways < 0, np.abs(sideways), 0.0)
    flipped = np.argsort(-against, kind="stable")[: int(adversarial * len(x))]
    y[flipped] *= -1
    return y


def plant_slab(x, normal, share: float, rng, margin: float = 0.08, reach: float = 3.0):
    """Return a copy of x in which a share of the rows lies in a thin slab at the boundary.

    These rows have margins uniform in [-margin, margin] and lie ``reach`` away in a direction
    orthogonal to the normal, on either side: to turn the boundary by margin/reach is to get
    many of them wrong.

    Parameters: x (N, d), d >= 2; normal (d,), length 1; share in [0, 1]; rng; margin, reach > 0.
    Paper: an-efficient-tester-learner-for-halfspaces (Gollakota et al. 2023, arXiv:2302.14853)
    """
    x, normal = _points_and_normal(x, normal)
    rng, share = as_rng(rng), between("share", share, 0, 1)
    margin, reach = positive("margin", margin), positive("reach", reach)
    basis = orthogonal_basis(normal)
    chosen = rng.choice(len(x), int(share * len(x)), replace=False)
    margins = rng.uniform(-margin, margin, chosen.size)
    sides = rng.choice([-reach, reach], chosen.size)
    planted = x.copy()
    planted[chosen] -= np.outer(x[chosen] @ normal - margins, normal)
    planted[chosen] -= np.outer(x[chosen] @ basis[:, 0] - sides, basis[:, 0])
    return planted


def ramp(t, width: float) -> np.ndarray:
    """Return the smooth ramp from 0 at -width to 1 at width, 3 u^2 - 2 u^3 with u in [0, 1].

    The loss of a point is ramp(-y <w, x>), a smooth count of mistakes.
    Paper: an-efficient-tester-learner-for-halfspaces (Gollakota et al. 2023, arXiv:2302.14853)
    """
    u = np.clip((as_vector("t", t) / positive("width", width) + 1) / 2, 0, 1)
    return u * u * (3 - 2 * u)


@compiled("void(float64[:,::1], float64[::1], int64[::1], float64, float64, float64[::1])")
def _ramp_pass(x, y, order, width, step, w):
    """Move w along minus the gradient of each point's ramp loss in turn, on the sphere."""
    d = w.size
    for k in range(order.size):
        i = order[k]
        margin = 0.0
        for j in range(d):
            margin += w[j] * x[i, j]
        if abs(margin) >= width:
            continue  # the ramp is flat here
        u = (margin / width + 1) / 2
        pace = step / np.sqrt(1.0 + k) * 3 * u * (1 - u) / width * y[i]
        length = 0.0
        for j in range(d):
            w[j] += pace * (x[i, j] - margin * w[j])
            length += w[j] * w[j]
        length = np.sqrt(length)
        for j in range(d):
            w[j] /= length


def learn_halfspace(x, y, rng, width: float = 0.2, starts: int = 3, step: float = 0.2):
    """Return candidates (2 starts, d): projected stochastic gradient descent on the ramp loss.

    Every start is a random direction, moved once through the points in random order with steps
    step / sqrt(k). Only points within ``width`` of the present boundary pull. The loss is not
    convex, so each result w joins the list together with -w.

    Parameters: x (N, d), d >= 2; y (N,), +1 or -1; rng; width, step > 0; starts >= 1.
    Cost: O(starts N d).
    Paper: an-efficient-tester-learner-for-halfspaces (Gollakota et al. 2023, arXiv:2302.14853)
    """
    x, y = _labelled(x, y)
    rng = as_rng(rng)
    width, step = positive("width", width), positive("step", step)
    found = []
    for _ in range(integer("starts", starts, low=1)):
        w = unit_rows(rng.standard_normal((1, x.shape[1])))[0]
        _ramp_pass(x, y, rng.permutation(len(x)), width, step, w)
        found += [w, -w]
    return np.array(found)


def average_direction(x, y) -> np.ndarray:
    """Return the direction of mean(y x), (d,): the classical answer, right under symmetric noise.

    Paper: an-efficient-tester-learner-for-halfspaces (Gollakota et al. 2023, arXiv:2302.14853)
    """
    x, y = _labelled(x, y)
    return unit_rows((y @ x)[None])[0]


def zero_one_error(x, y, w) -> float:
    """Return the share of points with sign(<w, x>) different from y (a sign of 0 is +1)."""
    x, y = _labelled(x, y)
    w = as_vector("w", w, length=x.shape[1])
    return float(np.mean(np.where(x @ w >= 0, 1.0, -1.0) != y))


def angle_between(v, w) -> float:
    """Return the angle between two vectors (d,) in degrees."""
    v = as_vector("v", v)
    rows = unit_rows(np.stack([v, as_vector("w", w, length=v.size)]))
    return float(
        np.degrees(2 * np.arctan2(*(np.linalg.norm([rows[0] - rows[1], rows.sum(axis=0)], axis=1))))
    )


def orthogonal_basis(normal) -> np.ndarray:
    """Return (d, d - 1) orthonormal columns orthogonal to ``normal`` (d,), length 1, d >= 2.

    They are the last columns of the reflection that maps the normal to the first axis.
    """
    normal = as_vector("normal", normal)
    if normal.size < 2 or abs(np.linalg.norm(normal) - 1) > 1e-6:
        raise ValueError("normal must have two or more coordinates and length 1")
    mirror = normal.copy()
    mirror[0] += 1.0 if normal[0] >= 0 else -1.0
    reflection = np.eye(normal.size) - 2 * np.outer(mirror, mirror) / (mirror @ mirror)
    return np.ascontiguousarray(reflection[:, 1:])


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the tests of one candidate measured, slice by slice, nearest to the boundary first.

    mass (k,), the share of points in the slice over the Gaussian share; least and greatest (k,),
    extreme second moments in the directions orthogonal to the candidate (Gaussian: 1);
    failed, the names of the tests that did not pass.
    """

    mass: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    failed: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return not self.failed


def certify(
    x, w, width: float = 0.2, slices: int = 10, mass_factor: float = 1.5, moment_factor: float = 2.0
) -> Verdict:
    """Test on the sample what the proof for a candidate w would take from Gaussian inputs.

    Slice i holds the points with i width <= |<w, x>| < (i + 1) width; the last one is open.

    - "band mass": slice 0 holds the Gaussian share erf(width / sqrt 2), up to ``mass_factor``
    - "band moments": in slice 0, E <v, x>^2 is within ``moment_factor`` of 1 for every v
      orthogonal to w
    - "disagreement": no slice holds more than mass_factor times its share, nor has a second moment
      above moment_factor; so whoever differs from w by a small angle differs on few points

    The labels play no part. Parameters: x (N, d), d >= 2; w (d,), length 1; width > 0;
    slices >= 2; both factors > 1. Returns a Verdict. Cost: O(N d^2 + slices d^3).
    Paper: an-efficient-tester-learner-for-halfspaces (Gollakota et al. 2023, arXiv:2302.14853)
    """
    x, w = _points_and_normal(x, w)
    width, slices = positive("width", width), integer("slices", slices, low=2)
    for name, factor in (("mass_factor", mass_factor), ("moment_factor", moment_factor)):
        if positive(name, factor) <= 1:
            raise ValueError(f"{name} must be above 1, got {factor}")
    which = np.minimum(np.abs(x @ w) / width, slices - 1).astype(np.int64)
    sideways = x @ orthogonal_basis(w)
    reached = erf(np.append(width * np.arange(slices), np.inf) / np.sqrt(2))
    counts = np.bincount(which, minlength=slices)
    mass = counts / len(x) / np.diff(reached)
    least, greatest = np.zeros(slices), np.zeros(slices)
    for i in np.flatnonzero(counts):
        inside = sideways[which == i]
        least[i], greatest[i] = np.linalg.eigvalsh(inside.T @ inside / len(inside))[[0, -1]]
    passes = {
        "band mass": 1 / mass_factor <= mass[0] <= mass_factor,
        "band moments": 1 / moment_factor <= least[0] and greatest[0] <= moment_factor,
        "disagreement": mass.max() <= mass_factor and greatest.max() <= moment_factor,
    }
    return Verdict(mass, least, greatest, tuple(name for name, ok in passes.items() if not ok))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a tester-learner answers: a normal w (d,), whether it vouches for it, and why."""

    w: np.ndarray
    accepted: bool
    verdict: Verdict


def learn_or_reject(
    x, y, rng, width: float = 0.2, test: Callable[..., Verdict] | None = certify
) -> Outcome:
    """Learn a halfspace, and vouch for it only if the sample passes the tests.

    Candidates come from learn_halfspace. Those that pass compete by their error on the sample; if
    none passes, the best one is returned as not accepted.

    Parameters: x (N, d), d >= 2; y (N,), +1 or -1; rng; width > 0; test, a function like certify,
    or None for a learner that always vouches. Returns an Outcome. Cost: O(N d^2).
    Paper: an-efficient-tester-learner-for-halfspaces (Gollakota et al. 2023, arXiv:2302.14853)
    """
    candidates = learn_halfspace(x, y, rng, width)
    ranked = sorted(candidates, key=lambda w: zero_one_error(x, y, w))
    if test is None:
        return Outcome(ranked[0], True, certify(x, ranked[0], width))
    verdicts = []
    for w in ranked:
        verdicts.append(test(x, w, width))
        if verdicts[-1].passed:
            return Outcome(w, True, verdicts[-1])
    return Outcome(ranked[0], False, verdicts[0])


def _labelled(x, y) -> tuple[np.ndarray, np.ndarray]:
    x = as_matrix("x", x)
    if x.shape[1] < 2:
        raise ValueError(f"x must have at least two columns, got shape {x.shape}")
    y = as_vector("y", y)
    same_length("x", x, "y", y)
    if not np.all(np.abs(y) == 1):
        raise ValueError("y must hold +1 and -1 only")
    return x, y


def _points_and_normal(x, normal) -> tuple[np.ndarray, np.ndarray]:
    x = as_matrix("x", x)
    normal = as_vector("normal", normal, length=x.shape[1])
    if normal.size < 2 or abs(np.linalg.norm(normal) - 1) > 1e-6:
        raise ValueError("normal must have two or more coordinates and length 1")
    return x, normal
