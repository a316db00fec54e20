"""Ridge regression with something besides labels: a base model, a causal graph, unlabelled data.

Few labels determine little. Each method here starts from the same small regression problem and
borrows from one more source:

1. The shared problem: two handwritten digits under a lamp
2. A base model: the penalty pulls towards it instead of towards 0 (Bendou et al. 2025)
3. A causal graph: an independence that it implies becomes a projection (Bouabid et al. 2023)
4. Unlabelled, shifted points: a margin penalty on them (Saberi et al. 2024)
5. Unlabelled points: inputs of low dimension, learnt from them (Ge et al. 2024)

``ridge`` is the absolute penalty throughout: the system is K + ridge I.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtr

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
from kernellab.compute.kernels import Kernel
from kernellab.compute.linalg import cholesky, eigh, solve
from kernellab.compute.ridge import FeatureRidgePath

# ------------------------------------------------------------------------------------------------
# 1. The shared problem
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LitDigits:
    """Pictures of two digits under a lamp: few with labels, more without, the rest for testing.

    Attributes
    ----------
    x, lamp, y : (2k, 64) pixels, (2k, 1) the lamp's position in [-1, 1], (2k,) labels -1 and 1
    extra, extra_lamp : (m, 64) and (m, 1), pictures without labels
    new, new_lamp, new_y : (t, 64), (t, 1), (t,), for testing
    """

    x: np.ndarray
    lamp: np.ndarray
    y: np.ndarray
    extra: np.ndarray
    extra_lamp: np.ndarray
    new: np.ndarray
    new_lamp: np.ndarray
    new_y: np.ndarray


def lit_digits(images, is_second, per_class, extra, offset, strength, rng) -> LitDigits:
    """Draw labelled, unlabelled and test pictures of two digits, each under a lamp of its own.

    The lamp stands somewhere between the left (-1) and the right (1) side, whatever the digit, and
    adds a ramp of light to the picture: digit and lamp are two causes of one picture. A third of
    each digit's pictures is kept for labels, a third goes without, a third is for testing.

    Parameters
    ----------
    images : (n, h, w), ink in [0, 1]
    is_second : (n,), true for the second of the two digits
    per_class : labelled pictures of each digit, 1 to a third of the rarer digit's
    extra : pictures without label, >= 1; drawn with repetition, so that one may come again under
        another lamp. Neither the labelled nor the test pictures depend on it.
    offset : in [0, 1], pixels by which the camera of the extra pictures stood too far left
    strength : >= 0, how much light the lamp adds at the border
    rng : generator or seed

    Returns: LitDigits. Raises ValueError for bad shapes or too few pictures. Cost: O(n h w).
    """
    images = np.asarray(images, dtype=float)
    if images.ndim != 3 or not np.isfinite(images).all():
        raise ValueError(f"images must be finite, of shape (n, h, w), got shape {images.shape}")
    label = np.where(np.asarray(is_second, dtype=bool), 1.0, -1.0)
    same_length("images", images, "is_second", label)
    rng = as_rng(rng)
    order = rng.permutation(len(label))
    both = [order[label[order] == side] for side in (-1, 1)]
    third = min(map(len, both)) // 3
    if third == 0:
        raise ValueError("is_second must leave at least three pictures of each digit")
    per_class = integer("per_class", per_class, low=1, high=third)
    labelled = np.concatenate([group[:per_class] for group in both])
    pool = np.concatenate([group[third : 2 * third] for group in both])
    new = np.concatenate([group[2 * third :] for group in both])
    lamp = rng.uniform(-1, 1, len(label))
    chosen = rng.choice(pool, integer("extra", extra, low=1))
    extra_lamp = rng.uniform(-1, 1, len(chosen))
    return LitDigits(
        x=relight(images[labelled], lamp[labelled], strength),
        lamp=lamp[labelled, None],
        y=label[labelled],
        extra=relight(move_right(images[chosen], offset), extra_lamp, strength),
        extra_lamp=extra_lamp[:, None],
        new=relight(images[new], lamp[new], strength),
        new_lamp=lamp[new, None],
        new_y=label[new],
    )


def relight(images, lamp, strength: float) -> np.ndarray:
    """Add a lamp's ramp of light, from dark on the far side to bright on the near one.

    Parameters: images (n, h, w); lamp (n,), -1 left to 1 right; strength >= 0.
    Returns (n, h * w), the pixels as rows. Cost: O(n h w).
    """
    images = np.asarray(images, dtype=float)
    lamp = as_vector("lamp", lamp, length=len(images))
    ramp = np.linspace(-1, 1, images.shape[2])
    light = nonnegative("strength", strength) * lamp[:, None, None] * ramp
    return (images + light).reshape(len(images), -1)


def move_right(images, pixels: float) -> np.ndarray:
    """Move pictures (n, h, w) to the right by 0 to 1 ``pixels``, between pixels linearly."""
    pixels = between("pixels", pixels, 0, 1)
    moved = (1 - pixels) * images
    moved[:, :, 1:] += pixels * images[:, :, :-1]
    return moved


# ------------------------------------------------------------------------------------------------
# 2. A base model
# ------------------------------------------------------------------------------------------------


def proximal_krr(gram, cross_gram, y, base_train, base_new, ridge: float) -> np.ndarray:
    """Return kernel ridge regression that is pulled towards a base model instead of towards 0.

    Minimising sum_i (f(s_i) - y_i)^2 + ridge ||f - f_0||_H^2 gives ridge regression on what the
    base model f_0 leaves over:

        f(x) = f_0(x) + k(x, S) (K + ridge I)^-1 (y - f_0(S)).

    Parameters
    ----------
    gram : (n, n), K at the labelled points S
    cross_gram : (t, n), k(new, S)
    y : (n,) or (n, c), labels; c columns for c classes
    base_train, base_new : f_0 at S, shaped like y, and at the new points, (t,) or (t, c)
    ridge : > 0; large: the base model, small: interpolation

    Returns: (t,) or (t, c). Raises ValueError for shapes that do not fit. Cost: O(n^3 + t n c).
    Paper: proker (Bendou et al. 2025, arXiv:2501.11175)

    >>> proximal_krr([[1.0]], [[0.5]], [3.0], [1.0], [1.0], 1.0)
    array([1.5])
    """
    y, base_train = _like("y", y, "base_train", base_train)
    cross_gram = as_matrix("cross_gram", cross_gram, columns=len(y))
    base_new = _new_values("base_new", base_new, len(cross_gram), y)
    residual = y - base_train
    return base_new + cross_gram @ solve(gram, residual, jitter=positive("ridge", ridge))


def cache_scores(cross_gram, y, base_new, weight: float) -> np.ndarray:
    """Return a key-value cache's scores: the base model plus every label, weighted by closeness.

        f(x) = f_0(x) + weight * sum_i k(x, s_i) y_i      (Tip-Adapter's form)

    Shots vote one by one: none of them knows what the base model, or the others, already say.
    Parameters: cross_gram (t, n); y (n,) or (n, c); base_new (t,) or (t, c); weight >= 0.
    Returns like base_new. Cost: O(t n c).
    Paper: proker (Bendou et al. 2025, arXiv:2501.11175), the method it starts from
    """
    y, _ = _like("y", y, "y", y)
    cross_gram = as_matrix("cross_gram", cross_gram, columns=len(y))
    base_new = _new_values("base_new", base_new, len(cross_gram), y)
    return base_new + nonnegative("weight", weight) * (cross_gram @ y)


def local_mean(cross_gram, y) -> np.ndarray:
    """Return the Nadaraya-Watson mean sum_i k(x, s_i) y_i / sum_i k(x, s_i).

    Parameters: cross_gram (t, n) with entries >= 0 and no row of zeros; y (n,) or (n, c).
    Returns (t,) or (t, c). Cost: O(t n c).
    Paper: proker (Bendou et al. 2025, arXiv:2501.11175)
    """
    y, _ = _like("y", y, "y", y)
    cross_gram = as_matrix("cross_gram", cross_gram, columns=len(y))
    total = cross_gram.sum(axis=1)
    if cross_gram.min() < 0 or total.min() <= 0:
        raise ValueError("cross_gram must have entries >= 0 and in each row one above 0")
    return (cross_gram @ y) / (total if y.ndim == 1 else total[:, None])


def local_linear(new, x, y, cross_gram, ridge: float = 1e-6) -> np.ndarray:
    """Return local linear regression: around each new point a weighted straight fit.

    At x: min over a, b of sum_i k(x, s_i) (y_i - a - b^T (s_i - x))^2 + ridge |b|^2; the value is
    a. Unlike the local mean it is not biased at the border of the data.

    Parameters: new (t, d); x (n, d); y (n,) or (n, c); cross_gram (t, n), entries >= 0; ridge > 0.
    Returns (t,) or (t, c). Cost: O(t (n d^2 + d^3)).
    Paper: proker (Bendou et al. 2025, arXiv:2501.11175)
    """
    x = as_matrix("x", x)
    new = as_matrix("new", new, columns=x.shape[1])
    cross_gram = as_matrix("cross_gram", cross_gram, rows=len(new), columns=len(x))
    y, _ = _like("y", y, "y", y)
    same_length("x", x, "y", y)
    penalty = np.diag([0.0] + [positive("ridge", ridge)] * x.shape[1])
    values = np.empty((len(new), *y.shape[1:]))
    for i, (point, weights) in enumerate(zip(new, cross_gram, strict=True)):
        design = np.column_stack([np.ones(len(x)), x - point])
        weighted = (weights / max(weights.max(), 1e-300))[:, None] * design
        values[i] = np.linalg.lstsq(design.T @ weighted + penalty, weighted.T @ y, rcond=None)[0][0]
    return values


def noisy_prototypes(x, labels, classes: int, noise: float, rng) -> np.ndarray:
    """Return a unit vector for each class: the direction of its mean, turned at random.

    It plays the part of a text embedding in a vision-language model: it knows the class, roughly.
    Parameters: x (n, d); labels (n,), integers 0..classes-1, each at least once; noise >= 0, the
    length of a random vector added to the unit mean. Returns (classes, d).
    Paper: proker (Bendou et al. 2025, arXiv:2501.11175), a stand-in for its CLIP text features
    """
    x = as_matrix("x", x)
    labels = np.asarray(labels)
    same_length("x", x, "labels", labels)
    classes = integer("classes", classes, low=1)
    if set(np.unique(labels)) != set(range(classes)):
        raise ValueError(f"labels must hold each of 0..{classes - 1}, got {np.unique(labels)}")
    means = unit_rows([x[labels == c].mean(axis=0) for c in range(classes)])
    turn = unit_rows(as_rng(rng).standard_normal(means.shape))
    return unit_rows(means + nonnegative("noise", noise) * turn)


def unit_rows(x) -> np.ndarray:
    """Return the rows of x (n, d), scaled to length 1; a row of zeros is refused."""
    x = as_matrix("x", x)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if lengths.min() == 0:
        raise ValueError(f"x must have no row of zeros, got one at index {int(lengths.argmin())}")
    return x / lengths


def _like(name_a: str, a, name_b: str, b) -> tuple[np.ndarray, np.ndarray]:
    """Check two arrays that are both (n,) or both (n, c)."""
    a = as_vector(name_a, a) if np.ndim(a) == 1 else as_matrix(name_a, a)
    if np.shape(b) != a.shape:
        raise ValueError(
            f"{name_b} must have the shape {a.shape} of {name_a}, got shape {np.shape(b)}"
        )
    return a, as_vector(name_b, b) if a.ndim == 1 else as_matrix(name_b, b)


def _new_values(name: str, value, rows: int, y: np.ndarray) -> np.ndarray:
    if y.ndim == 1:
        return as_vector(name, value, length=rows)
    return as_matrix(name, value, rows=rows, columns=y.shape[1])


# ------------------------------------------------------------------------------------------------
# 3. A causal graph
# ------------------------------------------------------------------------------------------------


class ConditionalMean:
    """The conditional mean embedding of X1 given X2, estimated from pairs without labels.

        E[r(X1, .) | X2 = z] ~ sum_j w_j(z) r(x1_j, .),   w(z) = (L + m smoothing I)^-1 l(x2, z)

    with Gram matrix L of kernel l on x2: ridge regression whose targets are functions.

    Parameters: x1 (m, p); x2 (m, q); kernel1 (r) and kernel2 (l); smoothing > 0.
    Cost: O(m^3) once, then O(m^2) a point.
    Paper: returning-the-favour (Bouabid et al. 2023, arXiv:2301.11214)
    """

    def __init__(self, x1, x2, kernel1: Kernel, kernel2: Kernel, smoothing: float):
        self.x1, self.x2 = as_matrix("x1", x1), as_matrix("x2", x2)
        m = same_length("x1", self.x1, "x2", self.x2)
        self.kernel1, self.kernel2 = kernel1, kernel2
        jitter = m * positive("smoothing", smoothing)
        self._factor = cholesky(kernel2.gram(self.x2), jitter=jitter)

    def weights(self, x2) -> np.ndarray:
        """Return (t, m): row i holds w(x2_i), for x2 of shape (t, q)."""
        return self._factor.solve(self.kernel2.gram(self.x2, x2)).T

    def expected_gram(self, x2, z1) -> np.ndarray:
        """Return (t, n): E[r(X1, z1_k) | X2 = x2_i], for x2 (t, q) and z1 (n, p)."""
        # w^T R = l(z)^T (L + ...)^-1 R: solve for whichever side has fewer columns.
        if len(z1) < len(x2):
            return self.kernel2.gram(x2, self.x2) @ self._factor.solve(
                self.kernel1.gram(self.x1, z1)
            )
        return self.weights(x2) @ self.kernel1.gram(self.x1, z1)

    def residual_gram(self, x1, x2, z1, z2) -> np.ndarray:
        """Return (t, n): <r(x1_i) - E[r | x2_i], r(z1_k) - E[r | z2_k]>, the centred kernel."""
        expected = self.weights(x2)
        both = self.expected_gram(z2, self.x1)  # (n, m): w(z2)^T R
        return (
            self.kernel1.gram(x1, z1)
            - expected @ self.kernel1.gram(self.x1, z1)
            - self.expected_gram(z2, x1).T
            + expected @ both.T
        )


@dataclass(frozen=True, eq=False)
class ColliderFit:
    """A fitted function of (x1, x2); see :func:`collider_ridge`."""

    x1: np.ndarray
    x2: np.ndarray
    dual: np.ndarray
    mean: ConditionalMean
    kernel2: Kernel | None
    projection: str

    def predict(self, x1, x2) -> np.ndarray:
        """Return the (t,) predictions at x1 (t, p) and x2 (t, q)."""
        x1, x2 = as_matrix("x1", x1, columns=self.x1.shape[1]), as_matrix("x2", x2)
        same_length("x1", x1, "x2", x2)
        if self.projection == "inside":
            cross = self.mean.residual_gram(x1, x2, self.x1, self.x2)
        else:
            cross = self.mean.kernel1.gram(x1, self.x1)
            if self.projection == "after":
                cross = cross - self.mean.expected_gram(x2, self.x1)
        return _times(cross, self.kernel2, x2, self.x2) @ self.dual


def collider_ridge(
    x1, x2, y, mean: ConditionalMean, kernel2: Kernel | None, ridge: float, projection: str
) -> ColliderFit:
    """Fit y on (x1, x2) when x1 is caused by y and by x2, so that y is independent of x2.

    Then E[f(X1, X2) | X2] must be E[Y] = 0, and the projection P f = f - E[f | X2] enforces it. In
    the space of the kernel r(x1, x1') l(x2, x2') it replaces r(x1, .) by r(x1, .) - E[r(X1, .) |
    x2], where ``mean`` says what to expect.

    Parameters
    ----------
    x1, x2, y : (n, p), (n, q), (n,); y with mean 0
    mean : the conditional mean of kernel1's features; its kernel1 is r
    kernel2 : l, or None for functions of x1 alone before the projection
    ridge : > 0
    projection : "none" is plain ridge regression; "after" fits, then projects; "inside" does ridge
        regression among projected functions

    Returns: ColliderFit. Cost: O(n^3 + m^2 n) with m pairs in ``mean``.
    Paper: returning-the-favour (Bouabid et al. 2023, arXiv:2301.11214)
    """
    x1, x2 = as_matrix("x1", x1), as_matrix("x2", x2)
    n = same_length("x1", x1, "x2", x2)
    y = as_vector("y", y, length=n)
    one_of("projection", projection, ("none", "after", "inside"))
    if projection == "inside":
        gram = mean.residual_gram(x1, x2, x1, x2)
        gram = (gram + gram.T) / 2  # symmetric but for rounding
    else:
        gram = mean.kernel1.gram(x1)
    gram = _times(gram, kernel2, x2, x2)
    dual = solve(gram, y, jitter=positive("ridge", ridge))
    return ColliderFit(x1, x2, dual, mean, kernel2, projection)


def simulate_collider(n: int, leak: float, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw x1 (n, 1), x2 (n, 1), y (n,): x1 = 0.7 y + sin(2 x2) + 0.5 noise.

    x2 and the noises are standard normal and y = noise + leak * x2: with leak = 0, y and x2 are
    independent causes of x1; otherwise the graph that the method believes in is wrong.
    Paper: returning-the-favour (Bouabid et al. 2023, arXiv:2301.11214), a setting of its kind
    """
    n, rng = integer("n", n, low=1), as_rng(rng)
    x2, own, noise = rng.standard_normal((3, n))
    y = own + float(leak) * x2
    return (0.7 * y + np.sin(2 * x2) + 0.5 * noise)[:, None], x2[:, None], y


def collider_risks(f: Callable, leak: float, order: int = 32) -> dict[str, float]:
    """Return the exact risks of f and of its projection in :func:`simulate_collider`'s world.

    Where Y is independent of X2 and has mean 0, the gain is known beforehand:

        E(Y - f)^2 - E(Y - P f)^2 = E[E[f | X2]^2] >= 0.

    Here every expectation is a Gauss-Hermite sum, E[f | X2] included.

    Parameters: f(x1, x2) with (k, 1) arrays, returning (k,); leak; order >= 2 points a variable.
    Returns: "plain" and "projected" risk, and the "promised" gain. Cost: order^3 calls' work.
    Paper: returning-the-favour (Bouabid et al. 2023, arXiv:2301.11214)
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(integer("order", order, low=2))
    weights = weights / weights.sum()
    x2, own, noise = (g.ravel() for g in np.meshgrid(nodes, nodes, nodes, indexing="ij"))
    y = own + float(leak) * x2
    values = as_vector(
        "f(x1, x2)", f((0.7 * y + np.sin(2 * x2) + 0.5 * noise)[:, None], x2[:, None])
    )
    shape, inner = (nodes.size, -1), np.outer(weights, weights).ravel()
    values, y = values.reshape(shape), y.reshape(shape)
    # Given X2 the two other noises keep their law, so the inner sum is the conditional mean.
    given = values @ inner
    return {
        "plain": float(weights @ ((y - values) ** 2 @ inner)),
        "projected": float(weights @ ((y - values + given[:, None]) ** 2 @ inner)),
        "promised": float(weights @ given**2),
    }


def project_out(f, conditional) -> np.ndarray:
    """Return the table f(x1, x2) - E[f(X1, x2) | X2 = x2] on a finite grid.

    Parameters: f (a, b), a value for each x1 (row) and x2 (column); conditional (a, b), where
    column j is the law of X1 given the j-th x2 (entries >= 0, sum 1). Returns (a, b). Cost: O(a b).
    Paper: returning-the-favour (Bouabid et al. 2023, arXiv:2301.11214)
    """
    f = as_matrix("f", f)
    conditional = as_matrix("conditional", conditional, rows=f.shape[0], columns=f.shape[1])
    if conditional.min() < 0 or not np.allclose(conditional.sum(axis=0), 1):
        raise ValueError("conditional must have entries >= 0 and columns that sum to 1")
    return f - (conditional * f).sum(axis=0)


def _times(gram: np.ndarray, kernel: Kernel | None, x, z) -> np.ndarray:
    return gram if kernel is None else gram * kernel.gram(x, z)


# ------------------------------------------------------------------------------------------------
# 4. Unlabelled, shifted points
# ------------------------------------------------------------------------------------------------


def class_mean_rule(x, y) -> np.ndarray:
    """Return the unit direction of mean(y x): the labels' own linear rule sign <theta, x>.

    On the unit sphere it minimises the mean of the linear loss -y <theta, x>, and for two round
    clouds at +-mu it is the maximum-likelihood rule.
    Parameters: x (m, d), already centred between the classes; y (m,), -1 or 1. Returns (d,).
    Paper: out-of-domain-unlabeled-data-improves (Saberi et al. 2024, arXiv:2310.00027), the start
    """
    x, y = _signed(x, y)
    return unit_rows((y @ x / len(y))[None])[0]


def robust_margin(theta, x, gamma: float) -> np.ndarray:
    """Return max(0, 1 - gamma * distance to the boundary): how easily a point changes sides.

    It is the robust surrogate sup_z 1[sign <theta, z> is not the pseudo-label of x] - gamma |z - x|
    of the 0-1 loss, where the pseudo-label is sign <theta, x> itself.

    Parameters: theta (d,), not 0; x (n, d); gamma > 0, the price of moving by 1. Returns (n,).
    Cost: O(n d).
    Paper: out-of-domain-unlabeled-data-improves (Saberi et al. 2024, arXiv:2310.00027)

    >>> robust_margin([2.0, 0.0], [[0.5, 7.0], [3.0, 0.0]], 1.0)
    array([0.5, 0. ])
    """
    theta = as_vector("theta", theta)
    x = as_matrix("x", x, columns=theta.size)
    distance = np.abs(x @ unit_rows(theta[None])[0])
    return np.maximum(0, 1 - positive("gamma", gamma) * distance)


def robust_surrogate(theta, x, y, gamma: float) -> np.ndarray:
    """Return sup_z 1[y <theta, z> <= 0] - gamma |z - x|: the robust 0-1 loss of labelled points.

    It is 1 on the wrong side (nothing needs to move), else :func:`robust_margin`.
    Parameters: theta (d,); x (m, d); y (m,), -1 or 1; gamma > 0. Returns (m,). Cost: O(m d).
    Paper: out-of-domain-unlabeled-data-improves (Saberi et al. 2024, arXiv:2310.00027)
    """
    x, y = _signed(x, y)
    safe = robust_margin(theta, x, gamma)
    return np.where(y * (x @ np.asarray(theta, dtype=float)) <= 0, 1.0, safe)


def robust_self_training(
    x, y, extra, weight: float, gamma: float = 1.0, steps: int = 100, step_size: float = 0.5
) -> np.ndarray:
    """Turn the labels' rule until few unlabelled points lie near its boundary.

    Projected subgradient steps of length step_size / sqrt(t) on the unit sphere, from
    :func:`class_mean_rule`, for

        -mean_i y_i <theta, x_i> / |mean_i y_i x_i|  +  weight * mean_j robust_margin(theta, x'_j).

    Both terms are robust surrogates: for the linear loss and |theta| <= gamma moving a point never
    pays, so that the surrogate is the loss. weight = 0 keeps the labels' rule.

    Parameters
    ----------
    x, y : (m, d) and (m,), labelled points, centred, with labels -1 and 1
    extra : (n, d), unlabelled points, perhaps from a shifted distribution
    weight : >= 0, of the unlabelled term
    gamma : > 0; points nearer to the boundary than 1 / gamma push it away
    steps, step_size : >= 0 and > 0

    Returns: (steps + 1, d), the unit vectors on the way; the last one is the rule.
    Cost: O(steps n d).
    Paper: out-of-domain-unlabeled-data-improves (Saberi et al. 2024, arXiv:2310.00027)
    """
    x, y = _signed(x, y)
    extra = as_matrix("extra", extra, columns=x.shape[1])
    path = np.empty((integer("steps", steps, low=0) + 1, x.shape[1]))
    path[0] = class_mean_rule(x, y)
    reach = 1 / positive("gamma", gamma)
    step_size = positive("step_size", step_size)
    _descend(extra, nonnegative("weight", weight) / (reach * len(extra)), reach, step_size, path)
    return path


@compiled("void(float64[:,::1], float64, float64, float64, float64[:,::1])", fastmath=True)
def _descend(extra, push, reach, step_size, path):
    """Fill path[1:]; each unlabelled point within ``reach`` pushes the boundary to its far side."""
    n, d = extra.shape
    theta = path[0].copy()
    gradient = np.empty(d)
    for t in range(1, len(path)):
        for k in range(d):
            gradient[k] = -path[0, k]  # the labels' pull
        for j in range(n):
            point = extra[j]
            side = 0.0
            for k in range(d):
                side += theta[k] * point[k]
            if abs(side) < reach:
                signed = push if side >= 0 else -push
                for k in range(d):
                    gradient[k] -= signed * point[k]
        radial = 0.0
        for k in range(d):
            radial += gradient[k] * theta[k]
        length = 0.0
        for k in range(d):
            theta[k] -= step_size / np.sqrt(t) * (gradient[k] - radial * theta[k])
            length += theta[k] * theta[k]
        for k in range(d):
            theta[k] /= np.sqrt(length)
            path[t, k] = theta[k]


def two_clouds(n: int, mean, spread: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw x = y mean + spread * normal noise, (n, d), with fair labels y in {-1, 1}, (n,).

    Paper: out-of-domain-unlabeled-data-improves (Saberi et al. 2024, arXiv:2310.00027)
    """
    mean, rng = as_vector("mean", mean), as_rng(rng)
    y = rng.choice([-1.0, 1.0], integer("n", n, low=1))
    noise = rng.standard_normal((len(y), mean.size))
    return y[:, None] * mean + nonnegative("spread", spread) * noise, y


def cloud_error(theta, mean, spread: float) -> np.ndarray | float:
    """Return the exact error Phi(-<theta, mean> / (spread |theta|)) of sign <theta, x>.

    Parameters: theta (d,) or (s, d) for s rules; mean (d,); spread > 0. Returns a float or (s,).
    Paper: out-of-domain-unlabeled-data-improves (Saberi et al. 2024, arXiv:2310.00027)
    """
    mean = as_vector("mean", mean)
    rules = as_matrix("theta", np.atleast_2d(theta), columns=mean.size)
    errors = ndtr(-(unit_rows(rules) @ mean) / positive("spread", spread))
    return float(errors[0]) if np.ndim(theta) == 1 else errors


def _signed(x, y) -> tuple[np.ndarray, np.ndarray]:
    x = as_matrix("x", x)
    y = as_vector("y", y, length=len(x))
    if not np.all(np.abs(y) == 1):
        raise ValueError(f"y must hold labels -1 and 1 only, got {np.unique(y)[:5]}")
    return x, y


# ------------------------------------------------------------------------------------------------
# 5. Inputs learnt from unlabelled points
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FactorModel:
    """x = mean + loadings z + noise: a few factors z behind many measurements x.

    Attributes: mean (d,); loadings (d, r); noise_variance, the same for all d.
    Paper: on-the-provable-advantage-of-unsupervised (Ge et al. 2024, arXiv:2303.01566)
    """

    mean: np.ndarray
    loadings: np.ndarray
    noise_variance: float

    def reader(self) -> np.ndarray:
        """Return A = (B^T B + noise_variance I)^-1 B^T, (r, d), so that E[z | x] = A (x - mean)."""
        b = self.loadings
        return solve(b.T @ b, b.T, jitter=self.noise_variance)

    def scores(self, x) -> np.ndarray:
        """Return E[z | x], (n, r), for x of shape (n, d): the learnt representation."""
        x = as_matrix("x", x, columns=self.mean.size)
        return (x - self.mean) @ self.reader().T


def fit_factors(x, rank: int, noise_variance: float | None = None, mean=None) -> FactorModel:
    """Fit a factor model with equal noise by maximum likelihood (probabilistic PCA).

    B = U_r (Lambda_r - noise_variance I)^(1/2), from the leading eigenpairs of the sample
    covariance; any rotation of the factors is as likely, and a linear head undoes it.

    Parameters: x (n, d), n >= 2; rank in 1..d-1; noise_variance > 0 and mean (d,) where they are
    known. By default both are estimated: the mean of the eigenvalues left over, the mean of x.
    Returns FactorModel. Cost: O(n d^2 + d^3).
    Paper: on-the-provable-advantage-of-unsupervised (Ge et al. 2024, arXiv:2303.01566)
    """
    x = as_matrix("x", x, min_rows=2)
    n, d = x.shape
    rank = integer("rank", rank, low=1, high=d - 1)
    mean = x.mean(axis=0) if mean is None else as_vector("mean", mean, length=d)
    values, vectors = eigh((x - mean).T @ (x - mean) / n)
    if noise_variance is None:
        noise_variance = max(float(values[rank:].mean()), 1e-12 * float(values[0]), 1e-300)
    noise_variance = positive("noise_variance", noise_variance)
    strength = np.sqrt(np.maximum(values[:rank] - noise_variance, 1e-12 * noise_variance))
    return FactorModel(mean, vectors[:, :rank] * strength, noise_variance)


def fit_head(features, y, ridge: float = 0.0) -> np.ndarray:
    """Return the (r,) weights of linear regression on features (n, r); of least norm if not unique.

    Paper: on-the-provable-advantage-of-unsupervised (Ge et al. 2024, arXiv:2303.01566)
    """
    return FeatureRidgePath(features, as_vector("y", y)).weights(nonnegative("ridge", ridge))


@dataclass(frozen=True, eq=False)
class FactorWorld:
    """A known factor model whose labels follow its factors, or else its noise.

    x = B z + noise, z ~ N(0, I_r), noise ~ N(0, I_d), and y = signal . z + label_noise, or
    y = signal . noise + label_noise when ``from_noise``.

    Attributes: loadings B (d, r); signal (r,), or (d,) when from_noise; label_noise > 0.
    Paper: on-the-provable-advantage-of-unsupervised (Ge et al. 2024, arXiv:2303.01566)
    """

    loadings: np.ndarray
    signal: np.ndarray
    label_noise: float = 0.5
    from_noise: bool = False

    def draw(self, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
        """Draw x (n, d) and y (n,)."""
        n, rng = integer("n", n, low=1), as_rng(rng)
        d, r = self.loadings.shape
        z, noise = rng.standard_normal((n, r)), rng.standard_normal((n, d))
        cause = noise if self.from_noise else z
        y = cause @ self.signal + self.label_noise * rng.standard_normal(n)
        return z @ self.loadings.T + noise, y

    @property
    def covariance(self) -> np.ndarray:
        """B B^T + I, (d, d), the covariance of x."""
        return self.loadings @ self.loadings.T + np.eye(len(self.loadings))

    def best(self) -> tuple[np.ndarray, float]:
        """Return the best weights on x, (d,), and the variance of y that x leaves open."""
        shared = self.signal if self.from_noise else self.loadings @ self.signal
        weights = solve(self.covariance, shared)
        return weights, float(self.label_noise**2 + self.signal @ self.signal - shared @ weights)

    def excess(self, weights, shift: float = 0.0) -> float:
        """Return the exact E(w x + shift - best x)^2 of a linear predictor, weights w (d,)."""
        off = as_vector("weights", weights, length=len(self.loadings)) - self.best()[0]
        return float(off @ self.covariance @ off + shift**2)

    def excess_of(self, model: FactorModel, head) -> float:
        """Return the exact excess error of head . E[z | x] under a fitted factor model."""
        weights = as_vector("head", head) @ model.reader()
        return self.excess(weights, -float(weights @ model.mean))


def factor_world(
    d: int, rank: int, strength: float, rng, label_noise: float = 0.5, from_noise: bool = False
) -> FactorWorld:
    """Draw a FactorWorld: entries of B are N(0, strength^2), those of the signal N(0, 1).

    With ``from_noise`` the d signal entries are N(0, 1/d) times sqrt(rank): the same total size.
    Parameters: d > rank >= 1; strength > 0; label_noise > 0.
    Paper: on-the-provable-advantage-of-unsupervised (Ge et al. 2024, arXiv:2303.01566)
    """
    rank = integer("rank", rank, low=1)
    d, rng = integer("d", d, low=rank + 1), as_rng(rng)
    loadings = positive("strength", strength) * rng.standard_normal((d, rank))
    signal = rng.standard_normal(d) * np.sqrt(rank / d) if from_noise else rng.standard_normal(rank)
    return FactorWorld(loadings, signal, positive("label_noise", label_noise), bool(from_noise))


@dataclass(frozen=True, eq=False)
class Mixture:
    """Round Gaussian clouds of one size.

    Attributes: means (k, d); shares (k,), positive, sum 1; variance > 0; log_likelihood, a point's
    mean on the training points.
    Paper: on-the-provable-advantage-of-unsupervised (Ge et al. 2024, arXiv:2303.01566)
    """

    means: np.ndarray
    shares: np.ndarray
    variance: float
    log_likelihood: float = -np.inf

    def posterior(self, x) -> np.ndarray:
        """Return (n, k): the chance that each point of x (n, d) came from each cloud."""
        joint = self._log_joint(as_matrix("x", x, columns=self.means.shape[1]))
        return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))

    def _log_joint(self, x: np.ndarray) -> np.ndarray:
        squares = (x**2).sum(1)[:, None] - 2 * x @ self.means.T + (self.means**2).sum(1)
        scale = np.log(self.shares) - 0.5 * x.shape[1] * np.log(2 * np.pi * self.variance)
        return scale - squares / (2 * self.variance)


def fit_mixture(x, clouds: int, rng, steps: int = 50, starts: int = 4) -> Mixture:
    """Fit round Gaussian clouds by expectation-maximisation; the likeliest of several starts.

    Parameters: x (n, d); clouds in 1..n; steps and starts >= 1. Returns Mixture.
    Cost: O(starts steps n clouds d).
    Paper: on-the-provable-advantage-of-unsupervised (Ge et al. 2024, arXiv:2303.01566)
    """
    x, rng = as_matrix("x", x, min_rows=2), as_rng(rng)
    clouds = integer("clouds", clouds, low=1, high=len(x))
    steps, starts = integer("steps", steps, low=1), integer("starts", starts, low=1)
    runs = [_expectation_maximisation(x, _spread_out(x, clouds, rng), steps) for _ in range(starts)]
    return max(runs, key=lambda run: run.log_likelihood)


def _spread_out(x: np.ndarray, clouds: int, rng) -> np.ndarray:
    """Choose points one by one, each with a chance in proportion to its squared distance."""
    chosen = [x[rng.integers(len(x))]]
    for _ in range(clouds - 1):
        square = np.min([((x - c) ** 2).sum(axis=1) for c in chosen], axis=0)
        chance = square / square.sum() if square.sum() > 0 else None
        chosen.append(x[rng.choice(len(x), p=chance)])
    return np.array(chosen)


def _expectation_maximisation(x: np.ndarray, means: np.ndarray, steps: int) -> Mixture:
    n, d = x.shape
    clouds = len(means)
    variance = max(float(x.var(axis=0).mean()), 1e-12)
    model = Mixture(means, np.full(clouds, 1 / clouds), variance)
    for _ in range(steps):
        member = model.posterior(x)
        size = member.sum(axis=0) + 1e-9  # a cloud that lost all its points stays where it is
        means = (member.T @ x + 1e-9 * model.means) / size[:, None]
        square = (x**2).sum() - 2 * np.sum(member.T @ x * means) + size @ (means**2).sum(axis=1)
        model = Mixture(means, size / size.sum(), max(float(square) / (n * d), 1e-12))
    likelihood = float(logsumexp(model._log_joint(x), axis=1).mean())
    return Mixture(model.means, model.shares, model.variance, likelihood)


def name_clouds(posterior, labels, classes: int) -> np.ndarray:
    """Return for each cloud the class that most of its labelled points carry, (k,) integers.

    Parameters: posterior (n, k) of the labelled points; labels (n,), integers 0..classes-1.
    Paper: on-the-provable-advantage-of-unsupervised (Ge et al. 2024, arXiv:2303.01566)
    """
    posterior = as_matrix("posterior", posterior)
    labels = np.asarray(labels)
    same_length("posterior", posterior, "labels", labels)
    classes = integer("classes", classes, low=1)
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be integers 0..{classes - 1}, got {np.unique(labels)[:5]}")
    return np.argmax(posterior.T @ np.eye(classes)[labels], axis=1)
