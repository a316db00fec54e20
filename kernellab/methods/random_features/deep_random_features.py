"""Networks whose layers are drawn and frozen, and what it buys to let the features move.

Everything below is a linear map on features of x; the sections differ in where these come from.

1. Random layers, and the kernel of infinitely wide ones (Takhanov 2024)
2. Ridge on frozen features has a formula (Schröder et al. 2023)
3. A wide teacher seen from few samples is a noisy linear one (Camilli et al. 2023)
4. Features that grow by boosting (Zozoulenko et al. 2025)
5. Features that are learned in one stage (Wang et al. 2024)
6. Smooth enough? The sensitivity of interpolating networks (Bombari et al. 2023)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve
from scipy.optimize import brentq
from scipy.special import erf, expit

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
    symmetric,
)
from kernellab.compute.elementary import arcsin
from kernellab.compute.linalg import cholesky, clip_rounding, eigh

# ------------------------------------------------------------------------------------------------
# 1. Random layers, and the kernel of infinitely wide ones
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Activation:
    """A function s of one number with its first two derivatives, for arrays of any shape.

    For the kink of relu and the jump of sign the derivatives are those of the smooth parts.
    """

    name: str
    value: Callable = field(repr=False)
    slope: Callable = field(repr=False)
    curvature: Callable = field(repr=False)

    def __call__(self, z) -> np.ndarray:
        """Return s(z)."""
        return self.value(z)


def _tanh_slope(z):
    return 1.0 - np.tanh(z) ** 2


def _tanh_curvature(z):
    t = np.tanh(z)
    return -2.0 * t * (1.0 - t**2)


def _gauss(z):
    return 2.0 / math.sqrt(math.pi) * np.exp(-(z**2))


ACTIVATIONS = {
    "tanh": Activation("tanh", np.tanh, _tanh_slope, _tanh_curvature),
    "erf": Activation("erf", erf, _gauss, lambda z: -2.0 * z * _gauss(z)),
    "sign": Activation("sign", np.sign, np.zeros_like, np.zeros_like),
    "relu": Activation(
        "relu", lambda z: np.maximum(z, 0.0), lambda z: (z > 0) * 1.0, np.zeros_like
    ),
    "z tanh z": Activation(
        "z tanh z",
        lambda z: z * np.tanh(z),
        lambda z: np.tanh(z) + z * _tanh_slope(z),
        lambda z: 2.0 * _tanh_slope(z) + z * _tanh_curvature(z),
    ),
}


def activation_named(name: str) -> Activation:
    """Return one of the ACTIVATIONS; ValueError for a name that is not among them."""
    return ACTIVATIONS[one_of("name", name, ACTIVATIONS)]


def blend(even_share: float) -> Activation:
    """Return (1 - share) tanh z + share z tanh z: odd at share 0, even at share 1."""
    share = between("even_share", even_share, 0.0, 1.0)
    odd, even = ACTIVATIONS["tanh"], ACTIVATIONS["z tanh z"]

    def mixed(a, b):
        return lambda z: (1.0 - share) * a(z) + share * b(z)

    return Activation(
        f"{share:g} even",
        mixed(odd.value, even.value),
        mixed(odd.slope, even.slope),
        mixed(odd.curvature, even.curvature),
    )


def sphere_points(n: int, d: int, rng, radius: float = 1.0) -> np.ndarray:
    """Draw n uniform points (n, d) on the sphere of a radius in d dimensions."""
    n, d = integer("n", n, low=1), integer("d", d, low=1)
    points = as_rng(rng).standard_normal((n, d))
    points *= positive("radius", radius) / np.linalg.norm(points, axis=1, keepdims=True)
    return points


def random_layers(d: int, widths: Sequence[int], rng, gain: float = 1.0) -> list[np.ndarray]:
    """Draw the weights of a deep network: W_l (k_l, k_(l-1)) with entries N(0, gain^2 / k_(l-1)).

    Parameters: d, the number of inputs; widths, k_1 ... k_L >= 1; rng; gain > 0.
    Returns a list of L matrices. Raises ValueError for no layers. Cost: O(sum k_l k_(l-1)).
    """
    _list("widths", widths)
    sizes = [integer("d", d, low=1), *(integer("widths", k, low=1) for k in widths)]
    if len(sizes) == 1:
        raise ValueError("widths must name at least one layer, got none")
    gain, rng = positive("gain", gain), as_rng(rng)
    return [
        gain / math.sqrt(inputs) * rng.standard_normal((outputs, inputs))
        for inputs, outputs in zip(sizes, sizes[1:], strict=False)
    ]


def _list(name, value):
    if np.ndim(value) != 1:
        raise ValueError(f"{name} must be a list of whole numbers, got {value!r}")


def deep_features(x, layers: Sequence[np.ndarray], activation: Activation) -> np.ndarray:
    """Pass points through frozen random layers, h_l = s(W_l h_(l-1)).

    Paper: multi-layer-random-features (Takhanov 2024, arXiv:2404.17461)

    Parameters
    ----------
    x : (n, d)
    layers : matrices (k_1, d), (k_2, k_1) ..., as random_layers draws them
    activation : an Activation, or any function of an array

    Returns
    -------
    h_L : (n, k_L); h_L(x) . h_L(z) / k_L approximates the kernel of infinitely wide layers.

    Raises ValueError if a layer does not fit the one before. Cost: O(n sum k_l k_(l-1)).
    """
    h = as_matrix("x", x)
    for weights in layers:
        h = activation(h @ as_matrix("layers", weights, columns=h.shape[1]).T)
    return h


def wide_kernel(x, y=None, *, depth: int, activation: str = "relu", gain: float = 1.0):
    """Return the kernel that h_L(x) . h_L(y) / k_L tends to when all layers grow wide.

    k_0(x, y) = gain^2 x.y / d;  k_(l+1)(x, y) = gain^2 E[s(u) s(v)] with (u, v) Gaussian of
    covariance k_l, the last layer without the factor. In closed form, with the angle t of u and v:
    relu: sqrt(k(x,x) k(y,y)) (sin t + (pi - t) cos t) / (2 pi);
    erf: (2/pi) arcsin(2 k(x,y) / sqrt((1 + 2 k(x,x)) (1 + 2 k(y,y)))).

    Paper: multi-layer-random-features (Takhanov 2024, arXiv:2404.17461)

    Parameters
    ----------
    x, y : (n, d) and (m, d); y = x if it is left out
    depth : number of layers L >= 1
    activation : "relu" or "erf"
    gain : of the weights, as in random_layers

    Returns (n, m). Raises ValueError for other shapes or names. Cost: O(n m (d + L)).
    Source: Cho and Saul (2009) for relu; Williams (1997) for erf.
    """
    x = as_matrix("x", x)
    y = x if y is None else as_matrix("y", y, columns=x.shape[1])
    depth = integer("depth", depth, low=1)
    relu = one_of("activation", activation, ("relu", "erf")) == "relu"
    factor = positive("gain", gain) ** 2
    with np.errstate(over="ignore", invalid="ignore"):
        gram = np.ascontiguousarray(x @ y.T) / x.shape[1]
        own_x, own_y = (np.einsum("ij,ij->i", z, z) / x.shape[1] for z in (x, y))
    for _ in range(depth):
        largest = float(factor * max(own_x.max(), own_y.max()))
        if not largest < 1e300:
            raise ValueError(
                f"x, y and gain must keep k(x, x) below 1e300, got {largest:.3g}: use smaller units"
            )
        gram, own_x, own_y = factor * gram, factor * own_x, factor * own_y
        if relu:
            _relu_layer(gram, np.sqrt(own_x), np.sqrt(own_y))
            own_x, own_y = own_x / 2, own_y / 2
        else:
            _erf_layer(gram, 1.0 / np.sqrt(1 + 2 * own_x), 1.0 / np.sqrt(1 + 2 * own_y))
            own_x, own_y = (2 / math.pi * np.arcsin(2 * q / (1 + 2 * q)) for q in (own_x, own_y))
    return gram


@compiled("void(float64[:,::1], float64[::1], float64[::1])", fastmath={"contract"})
def _relu_layer(gram, scale_x, scale_y):
    """Replace gram by E[relu(u) relu(v)]; the scales are the standard deviations of u and v."""
    for i in range(gram.shape[0]):
        for j in range(gram.shape[1]):
            size = scale_x[i] * scale_y[j]
            c = gram[i, j] / size if size > 0.0 else 0.0
            c = min(max(c, -1.0), 1.0)
            below = arcsin(abs(c))  # pi/2 minus the angle to the nearer of u and -u
            rest = 0.5 * math.pi + (below if c > 0.0 else -below)  # pi - t
            gram[i, j] = size * (math.sqrt(1.0 - c * c) + rest * c) / (2.0 * math.pi)


@compiled("void(float64[:,::1], float64[::1], float64[::1])", fastmath={"contract"})
def _erf_layer(gram, scale_x, scale_y):
    """Replace gram by E[erf(u) erf(v)]; the scales are 1/sqrt(1 + 2 var u) and for v."""
    for i in range(gram.shape[0]):
        for j in range(gram.shape[1]):
            c = 2.0 * gram[i, j] * scale_x[i] * scale_y[j]
            value = 2.0 / math.pi * arcsin(min(abs(c), 1.0))
            gram[i, j] = value if c > 0.0 else -value


# ------------------------------------------------------------------------------------------------
# 2. Ridge on frozen features has a formula
# ------------------------------------------------------------------------------------------------

_LEGENDRE = np.polynomial.legendre.leggauss(160)
_REACH = 9.0  # standard deviations; a Gaussian has 2e-19 of its mass beyond


def gaussian_coefficients(activation, variance, mean=0.0):
    """Return what s looks like to a Gaussian u ~ N(mean, variance): offset, slope and rest.

    s(u) = kappa0 + kappa1 (u - mean) + rest, uncorrelated terms, with
    kappa0 = E s(u),  kappa1 = E s'(u) = E[(u - mean) s(u)] / variance,
    kappa*^2 = E (s(u) - kappa0 - kappa1 (u - mean))^2, the variance of the rest.

    Paper: deterministic-equivalent-and-error (Schröder et al. 2023, arXiv:2302.00401)

    Parameters: activation, a function of an array, smooth but for a kink or jump at 0; variance > 0
    and mean, numbers or vectors (k,).
    Returns kappa0, kappa1, kappa*^2: floats, or (k,) each. Raises ValueError if a variance is not
    positive, lengths differ, or s is not finite somewhere. Cost: O(320 k).
    Source: Gauss-Legendre quadrature on both sides of 0, on each Gaussian's own scale.

    >>> [round(c, 6) for c in gaussian_coefficients(lambda u: 2 * u + 1, 3.0)]
    [1.0, 2.0, 0.0]
    """
    single = np.ndim(variance) == 0 and np.ndim(mean) == 0
    k = max(np.size(variance), np.size(mean))
    r = as_vector("variance", _repeated(variance, k), length=k)
    mu = as_vector("mean", _repeated(mean, k), length=k)
    if r.min() <= 0:
        raise ValueError(f"variance must be positive, got {r.min():.3g}")
    z, weight = _standard_nodes(np.clip(-mu / np.sqrt(r), -_REACH, _REACH))
    u = mu[:, None] + np.sqrt(r)[:, None] * z
    s = _finite_values(activation, u)

    def expected(values):
        return np.einsum("ij,ij->i", weight, values)

    offset = expected(s)
    away = s - offset[:, None]
    slope = expected(z * away)
    rest = expected((away - slope[:, None] * z) ** 2)
    found = offset, slope / np.sqrt(r), rest
    return tuple(float(c[0]) for c in found) if single else found


def _repeated(value, k):
    return np.full(k, value) if np.ndim(value) == 0 else value


def _standard_nodes(cuts):
    """Nodes and weights (k, 320) of E f(z), z ~ N(0, 1), on either side of each cut (k,)."""
    unit, weight = 0.5 * (_LEGENDRE[0] + 1.0), 0.5 * _LEGENDRE[1]
    left, right = (cuts + _REACH)[:, None], (_REACH - cuts)[:, None]
    z = np.hstack([left * unit - _REACH, cuts[:, None] + right * unit])
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return z, density * np.hstack([left * weight, right * weight])


def _finite_values(activation, u):
    with np.errstate(all="ignore"):
        s = np.asarray(activation(u), float)
    if s.shape != u.shape:
        raise ValueError(f"activation must return an array of shape {u.shape}, got {s.shape}")
    if not np.isfinite(s).all():
        at = u[~np.isfinite(s)][0]
        raise ValueError(
            f"activation must be finite everywhere, got a value that is not at {at:.3g}"
        )
    return s


@dataclass(frozen=True, eq=False)
class LinearEquivalent:
    """Gaussian features with the first two moments of a random network's last layer.

    mean (k,); covariance (k, k); cross (k, d), the covariance of the features with the inputs.
    """

    mean: np.ndarray
    covariance: np.ndarray
    cross: np.ndarray

    def target(self, linear_part, variance: float) -> tuple[np.ndarray, float]:
        """Return theta (k,) and noise: how a function of x looks from these features.

        The best linear read-out of f is theta = Omega^-1 cross beta with beta = E[x f(x)]; all else
        in f acts as noise of variance Var f - theta^T Omega theta.
        Parameters: linear_part, beta (d,); variance of f. Cost: O(k^3).
        """
        beta = as_vector("linear_part", linear_part, length=self.cross.shape[1])
        variance = nonnegative("variance", variance)
        seen = self.cross @ beta
        theta = solve(self.covariance, seen, assume_a="pos")
        return theta, max(variance - float(theta @ seen), 0.0)


def linear_equivalent(
    layers: Sequence[np.ndarray], activation, input_covariance=None, *, keep_rest: bool = True
) -> LinearEquivalent:
    """Carry mean and covariance of Gaussian inputs through frozen random layers.

    Each layer acts as s(u) ~ kappa0 + kappa1 (u - mean) + kappa* z with fresh noise z, so that
    Omega_(l+1) = D1 W Omega_l W^T D1 + D*,  D1 = diag(kappa1), D* = diag(kappa*^2),
    with the coefficients of each unit's own Gaussian N((W m_l)_i, (W Omega_l W^T)_ii). The paper
    takes odd s and one variance a layer, the mean over its units; both agree as layers grow wide,
    and the unit's own variance is closer at finite width. With an even part all units also follow
    |x|^2 together; that one direction is left out here.

    Paper: deterministic-equivalent-and-error (Schröder et al. 2023, arXiv:2302.00401)

    Parameters
    ----------
    layers : matrices W_1 (k_1, d) ... W_L (k_L, k_(L-1))
    activation : an Activation or a function; odd ones keep all means at 0, as the paper assumes
    input_covariance : (d, d), the identity if left out; inputs have mean 0
    keep_rest : False leaves out D*, which is wrong and shows what it is for

    Returns a LinearEquivalent. Raises ValueError if a layer does not fit. Cost: O(sum k_l^3).
    """
    if not len(layers):
        raise ValueError("layers must hold at least one matrix, got none")
    d = as_matrix("layers", layers[0]).shape[1]
    omega = (
        np.eye(d) if input_covariance is None else symmetric("input_covariance", input_covariance)
    )
    if len(omega) != d:
        raise ValueError(f"input_covariance must be {d} by {d}, got {len(omega)} by {len(omega)}")
    mean, cross = np.zeros(d), omega
    for weights in layers:
        weights = as_matrix("layers", weights, columns=len(omega))
        before = weights @ omega @ weights.T
        offset, slope, rest = gaussian_coefficients(activation, np.diag(before), weights @ mean)
        omega = slope[:, None] * before * slope
        if keep_rest:
            omega[np.diag_indices_from(omega)] += rest
        cross = slope[:, None] * (weights @ cross)
        mean = offset
    return LinearEquivalent(mean, 0.5 * (omega + omega.T), cross)


class RidgeFormula:
    """The test error of ridge regression on Gaussian features, without drawing a sample.

    For y = theta . phi + noise and weights (Phi^T Phi + ridge I)^-1 Phi^T y from n samples, let
    kappa solve n = sum_i l_i / (l_i + kappa) + ridge / kappa over the eigenvalues l of Omega. Then
    E (y - prediction)^2 = (kappa^2 theta^T Omega (Omega + kappa)^-2 theta + noise) / (1 - df2 / n),
    df2 = sum_i (l_i / (l_i + kappa))^2; exact in the limit of many features and samples.
    Without ridge the error has no bound where n meets the rank of Omega.

    Paper: deterministic-equivalent-and-error (Schröder et al. 2023, arXiv:2302.00401)

    Parameters
    ----------
    covariance : Omega (k, k)
    theta : (k,)
    noise : variance >= 0 of the part of y that no read-out reaches

    Raises ValueError for other shapes. Cost: O(k^3) once, then O(k) a step of the root search.
    """

    def __init__(self, covariance, theta, noise: float = 0.0):
        values, vectors = eigh(symmetric("covariance", covariance))
        self.eigenvalues = clip_rounding(values)
        theta = as_vector("theta", theta, length=len(values))
        self.energy = (vectors.T @ theta) ** 2 * self.eigenvalues  # of y, by direction
        self.noise = nonnegative("noise", noise)

    def effective_ridge(self, n: int, ridge: float) -> float:
        """Return kappa for n samples and an absolute penalty ridge > 0."""
        n = integer("n", n, low=1)
        ridge = max(positive("ridge", ridge), 1e-290)  # smaller ones are the limit of no ridge
        values = self.eigenvalues

        def excess(log_kappa):
            kappa = math.exp(log_kappa)
            return float(np.sum(values / (values + kappa))) + ridge / kappa - n

        high = (float(np.sum(values)) + ridge) / n
        low = ridge / n
        if high <= low * (1 + 1e-12):
            return low
        # A little wider on both sides, as rounding may hide the sign at the ends.
        ends = math.log(low) - 1e-9, math.log(high) + 1e-9
        return math.exp(brentq(excess, *ends, xtol=1e-12, rtol=1e-12))

    def error(self, n: int, ridge: float) -> float:
        """Return the expected squared test error, noise of the test label included.

        Raises ValueError if the ridge is so small that the error at this n has no bound.
        """
        kappa = self.effective_ridge(n, ridge)
        kept = self.eigenvalues / (self.eigenvalues + kappa)
        bias = float(np.sum(self.energy * (1.0 - kept) ** 2))
        left = 1.0 - float(np.sum(kept**2)) / n
        if left < 1e-10:
            raise ValueError(f"ridge must be larger where n = {n} meets the rank, got {ridge:.3g}")
        return (bias + self.noise) / left


@dataclass(frozen=True, eq=False)
class Head:
    """A linear read-out: features @ weights + offset."""

    weights: np.ndarray
    offset: np.ndarray

    def predict(self, features) -> np.ndarray:
        """Return the outputs at the rows of features (m, k)."""
        features = as_matrix("features", features, columns=len(self.weights))
        return features @ self.weights + self.offset


def fit_head(features, y, ridge: float, *, intercept: bool = True) -> Head:
    """Fit the last layer only: ridge regression of y on features.

    Minimises sum |y - features w - offset|^2 + ridge |w|^2; the offset is free of penalty.

    Parameters: features (n, k); y (n,) or (n, p); ridge > 0; intercept, or an offset of 0.
    Returns a Head. Raises ValueError for other shapes. Cost: O(n k min(n, k)).
    """
    features = as_matrix("features", features)
    y = as_vector("y", y) if np.ndim(y) == 1 else as_matrix("y", y)
    n, ridge = same_length("features", features, "y", y), positive("ridge", ridge)
    centre, level = (features.mean(axis=0), y.mean(axis=0)) if intercept else (0.0, 0.0 * y[0])
    f, t = features - centre, y - level
    if features.shape[1] <= n:
        system = f.T @ f
        system[np.diag_indices_from(system)] += ridge
        weights = cho_solve(cho_factor(system, overwrite_a=True), f.T @ t)
    else:
        system = f @ f.T
        system[np.diag_indices_from(system)] += ridge
        weights = f.T @ cho_solve(cho_factor(system, overwrite_a=True), t)
    return Head(weights, level - centre @ weights if intercept else level)


def fit_logistic_head(features, labels, ridge: float, steps: int = 50) -> np.ndarray:
    """Fit the last layer to labels -1 and +1 by logistic regression without an offset.

    Minimises sum log(1 + exp(-y w.phi)) + ridge |w|^2 / 2 by Newton's method, each step halved
    until the loss falls.

    Paper: deterministic-equivalent-and-error (Schröder et al. 2023, arXiv:2302.00401), whose
    equivalence is conjectured for all convex losses.

    Parameters: features (n, k); labels (n,), -1 or +1; ridge > 0; steps, at most so many.
    Returns the weights (k,). Raises ValueError for other labels. Cost: O(n k^2 + k^3) a step.
    """
    features = as_matrix("features", features)
    labels = as_vector("labels", labels, length=len(features))
    if not np.all(np.abs(labels) == 1):
        raise ValueError(f"labels must be -1 or +1, got {labels[np.abs(labels) != 1][0]:.3g}")
    ridge, steps = positive("ridge", ridge), integer("steps", steps, low=1)
    signed = features * labels[:, None]

    def loss(w):
        return float(np.sum(np.logaddexp(0.0, -signed @ w)) + 0.5 * ridge * w @ w)

    w, now = np.zeros(features.shape[1]), len(labels) * math.log(2.0)
    for _ in range(steps):
        wrong = expit(-signed @ w)
        gradient = ridge * w - signed.T @ wrong
        system = (signed.T * (wrong * (1.0 - wrong))) @ signed
        system[np.diag_indices_from(system)] += ridge
        move = cho_solve(cho_factor(system, overwrite_a=True), gradient)
        if gradient @ move <= 1e-14 * max(now, 1.0):
            break
        while (after := loss(w - move)) > now and np.abs(move).max() > 1e-12:
            move = 0.5 * move
        w, now = w - move, after
    return w


# ------------------------------------------------------------------------------------------------
# 3. A wide teacher seen from few samples is a noisy linear one
# ------------------------------------------------------------------------------------------------


def noisy_linear_kernel(x, y=None, *, activation: str = "erf") -> np.ndarray:
    """Return the covariance of rho v.x / sqrt(d) + epsilon xi, v Gaussian, xi fresh a sample.

    It stands in for a wide random network a . s(W x / sqrt(d)) / sqrt(p) when samples are few:
    rho = E s'(z) and epsilon^2 = E s(z)^2 - rho^2 for z ~ N(0, 1), s odd.

    Paper: fundamental-limits-of-overparametrized (Camilli et al. 2023, arXiv:2307.05635)

    Parameters: x (n, d); y (m, d), or None for x with itself, which has epsilon^2 on its diagonal;
    activation, the name of an odd one.
    Returns (n, m). Raises ValueError for other shapes. Cost: O(n m d).
    """
    x = as_matrix("x", x)
    s = activation_named(one_of("activation", activation, ("erf", "tanh", "sign")))
    _, rho, rest = gaussian_coefficients(s, 1.0)
    if y is None:
        gram = rho**2 * (x @ x.T) / x.shape[1]
        gram[np.diag_indices_from(gram)] += rest
        return gram
    return rho**2 * (x @ as_matrix("y", y, columns=x.shape[1]).T) / x.shape[1]


@dataclass(frozen=True, eq=False)
class BayesCurve:
    """What the best possible learner knows of a Gaussian teacher after 0, 1, ... n labels.

    errors (n + 1,): mean squared error of its answers; information (n + 1,): nats in the labels.
    """

    errors: np.ndarray
    information: np.ndarray


def bayes_curve(gram, cross, prior, noise: float) -> BayesCurve:
    """Follow the best possible learner through a sample, for a teacher that is a Gaussian process.

    errors_n = mean of prior_j - c_j (K_n + noise I)^-1 c_j^T over the test points and
    information_n = log det(I + K_n / noise) / 2, with K_n the first n rows and columns. One
    Cholesky factor serves all n: its leading blocks are those of K_n.

    Paper: fundamental-limits-of-overparametrized (Camilli et al. 2023, arXiv:2307.05635)

    Parameters
    ----------
    gram : K (n, n), the covariance of the teacher's answers at the training points
    cross : c (m, n), of its answers at the test points with those
    prior : (m,), variances of the test answers
    noise : > 0, variance of what is added to each label

    Returns a BayesCurve. Raises ValueError for other shapes, and for covariances that no one
    process has. Cost: O(n^3 + n^2 m).
    """
    gram = symmetric("gram", gram)
    cross = as_matrix("cross", cross, columns=len(gram))
    prior = as_vector("prior", prior, length=len(cross))
    noise = positive("noise", noise)
    factor = cholesky(gram + noise * np.eye(len(gram)))
    learned = np.mean(factor.half_solve(cross.T) ** 2, axis=1)
    nats = np.log(np.diagonal(factor.lower)) - 0.5 * math.log(noise)
    errors = np.mean(prior) - np.concatenate([[0.0], np.cumsum(learned)])
    if errors.min() < -1e-8 * max(1.0, np.abs(prior).max()):
        raise ValueError(
            "cross must hold covariances that go with gram and prior; these lead to a squared "
            f"error of {errors.min():.3g}"
        )
    return BayesCurve(errors, np.concatenate([[0.0], np.cumsum(nats)]))


# ------------------------------------------------------------------------------------------------
# 4. Features that grow by boosting
# ------------------------------------------------------------------------------------------------

VARIANTS = ("dense", "diagonal", "scalar", "gradient")


def sandwiched_least_squares(features, residual, head, ridge: float) -> np.ndarray:
    """Solve for the matrix between features and head that explains the residual best.

    Delta = argmin |R - F Delta W|^2 / N + ridge |Delta|^2. With F^T F = U S U^T, W W^T = V G V^T,
    Delta = U [ (U^T F^T R W^T V)_ij / (S_i G_j + ridge N) ] V^T.

    Paper: random-feature-representation-boosting (Zozoulenko et al. 2025, arXiv:2501.18283)

    Parameters: features F (N, p); residual R (N, c); head W (D, c); ridge > 0.
    Returns Delta (p, D). Raises ValueError for other shapes. Cost: O(N p^2 + p^3 + D^3), instead of
    O((p D)^3) for the linear system of all its entries.
    """
    features = as_matrix("features", features)
    residual = as_matrix("residual", residual, rows=len(features))
    head = as_matrix("head", head, columns=residual.shape[1])
    penalty = positive("ridge", ridge) * len(features)
    s, u = eigh(features.T @ features)
    g, v = eigh(head @ head.T)
    inner = u.T @ (features.T @ residual) @ (head.T @ v)
    return u @ (inner / (np.outer(clip_rounding(s), clip_rounding(g)) + penalty)) @ v.T


def boosting_step(features, residual, head, ridge: float, variant: str = "dense") -> np.ndarray:
    """Return the change (N, D) of a representation that moves its outputs along the residual.

    dense: F Delta with any matrix Delta (sandwiched_least_squares); diagonal and scalar: Delta
    restricted to diag(delta) or delta I, F of the representation's width; gradient: ridge
    regression of the functional gradient R W^T on F, then the best length by a line search.

    Paper: random-feature-representation-boosting (Zozoulenko et al. 2025, arXiv:2501.18283)

    Parameters: features F (N, p); residual R (N, c); head W (D, c); ridge > 0; variant.
    Returns the map (p, D) from features to the change. Raises ValueError for other shapes.
    Cost: that of its least-squares problem, O(N p^2 + p^3).
    """
    variant = one_of("variant", variant, VARIANTS)
    if variant == "dense":
        return sandwiched_least_squares(features, residual, head, ridge)
    features = as_matrix("features", features)
    residual = as_matrix("residual", residual, rows=len(features))
    head = as_matrix("head", head, columns=residual.shape[1])
    penalty = positive("ridge", ridge) * len(features)
    if variant == "gradient":
        gradient = residual @ head.T
        gradient /= math.sqrt(max(float(np.mean(gradient**2)), 1e-300))
        system = features.T @ features
        system[np.diag_indices_from(system)] += penalty
        direction = solve(system, features.T @ gradient, assume_a="pos")
        moved = features @ direction @ head
        return direction * (np.sum(residual * moved) / max(float(np.sum(moved**2)), 1e-300))
    if features.shape[1] != len(head):
        raise ValueError(
            f'features must have {len(head)} columns for the variant "{variant}", got '
            f"{features.shape[1]}"
        )
    pull = np.einsum("ij,ij->j", features, residual @ head.T)
    system = (features.T @ features) * (head @ head.T)
    if variant == "scalar":
        return np.eye(len(head)) * (pull.sum() / (system.sum() + penalty))
    return np.diag(solve(system + penalty * np.eye(len(head)), pull, assume_a="pos"))


@dataclass(frozen=True, eq=False)
class BoostedNetwork:
    """A residual network of frozen random features after some rounds of boosting.

    lift (d, D) and shift (D,) map inputs to Phi_0 = tanh(x lift + shift); blocks hold (A, B, c,
    Delta) of Phi <- Phi + tanh([Phi A, x B] + c) Delta; head reads Phi. losses (T + 1,): the
    penalised training loss after each round; representation: Phi (N, D) at the training points.
    """

    lift: np.ndarray
    shift: np.ndarray
    blocks: tuple
    head: Head
    losses: np.ndarray
    representation: np.ndarray

    def features(self, x) -> np.ndarray:
        """Return Phi at the rows of x (m, d)."""
        x = as_matrix("x", x, columns=len(self.lift))
        phi = np.tanh(x @ self.lift + self.shift)
        for a, b, c, delta in self.blocks:
            phi = phi + _block_features(phi, x, a, b, c) @ delta
        return phi

    def predict(self, x) -> np.ndarray:
        """Return the outputs at the rows of x (m, d): (m, c)."""
        return self.head.predict(self.features(x))


def _block_features(phi, x, a, b, c):
    return np.tanh(np.hstack([phi @ a, x @ b]) + c)


def boost(
    x,
    y,
    rounds: int,
    rng,
    *,
    width: int = 128,
    frozen: int = 256,
    ridge: float = 1e-3,
    head_ridge: float = 1e-3,
    step: float = 1.0,
    variant: str = "dense",
    blind: bool = False,
) -> Iterator[tuple[float, BoostedNetwork]]:
    """Grow a residual network block by block; only small linear maps are solved for.

    A round draws frozen features F = tanh([Phi A, x B] + c), solves boosting_step for Delta,
    moves Phi <- Phi + step F Delta and refits the head. The loss |y - Phi W|^2/N + head_ridge |W|^2
    can only fall for step <= 1: the move lowers its first part, the refit the sum.

    Paper: random-feature-representation-boosting (Zozoulenko et al. 2025, arXiv:2501.18283)

    Parameters
    ----------
    x : (N, d), columns of about unit variance
    y : (N, c)
    rounds : T >= 0
    rng : Generator or int seed
    width, frozen : D of the representation, and p >= 2 frozen features a round (half of them look
        at Phi, half at x); the variants diagonal and scalar take p = D
    ridge, head_ridge : > 0, penalties of Delta and of the head, per sample
    step : in (0, 1]
    variant : one of VARIANTS
    blind : a control: A = 0 and each x is replaced by noise, so F knows nothing about the point

    Yields (fraction done, BoostedNetwork), first after no round. Raises ValueError otherwise.
    Cost: O(N p (p + D) + p^3 + D^3) a round.
    """
    x = as_matrix("x", x)
    y = as_matrix("y", y, rows=len(x))
    rounds, rng = integer("rounds", rounds, low=0), as_rng(rng)
    width, frozen = integer("width", width, low=2), integer("frozen", frozen, low=2)
    ridge, head_ridge = positive("ridge", ridge), positive("head_ridge", head_ridge)
    step, variant = between("step", step, 1e-6, 1.0), one_of("variant", variant, VARIANTS)
    size = width if variant in ("diagonal", "scalar") else frozen
    # A generator of its own, so that arguments are checked now and not at the first round.
    return _grow(x, y, rounds, rng, width, size, ridge, head_ridge, step, variant, blind)


def _grow(x, y, rounds, rng, width, size, ridge, head_ridge, step, variant, blind):
    """Yield the network of boost after each round; ``size`` is the number of frozen features."""
    n, d = x.shape
    lift = rng.standard_normal((d, width)) / math.sqrt(d)
    shift = rng.standard_normal(width)
    phi, blocks, losses = np.tanh(x @ lift + shift), [], []
    for done in range(rounds + 1):
        head = fit_head(phi, y, head_ridge * n)
        residual = y - head.predict(phi)
        losses.append(float(np.sum(residual**2) / n + head_ridge * np.sum(head.weights**2)))
        network = BoostedNetwork(lift, shift, tuple(blocks), head, np.array(losses), phi)
        yield (done / rounds if rounds else 1.0), network
        if done == rounds:
            return
        a = rng.standard_normal((width, size // 2)) / math.sqrt(width)
        b = rng.standard_normal((d, size - size // 2)) / math.sqrt(d)
        c = rng.standard_normal(size)
        if blind:
            a = np.zeros_like(a)
        seen = rng.standard_normal(x.shape) if blind else x
        f = _block_features(phi, seen, a, b, c)
        delta = step * boosting_step(f, residual, head.weights, ridge, variant)
        phi = phi + f @ delta
        blocks.append((a, b, c, delta))


# ------------------------------------------------------------------------------------------------
# 5. Features that are learned in one stage
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class HierarchicalTarget:
    """A function g(p(x)): a quadratic form p of many directions, then a cubic g of one number.

    p(x) = x^T A x with A traceless and E p^2 = 1 for x ~ N(0, I); g(z) = linear z + quadratic
    (z^2 - 1) + cubic (z^3 - 3 z), so that E g'(z) = linear for a Gaussian z.
    """

    matrix: np.ndarray
    linear: float = 1.9
    quadratic: float = 0.5
    cubic: float = 0.3

    def inner(self, x) -> np.ndarray:
        """Return p at the rows of x (n, d)."""
        x = as_matrix("x", x, columns=len(self.matrix))
        return np.einsum("ij,ij->i", x @ self.matrix, x)

    def __call__(self, x) -> np.ndarray:
        """Return g(p(x)) at the rows of x (n, d)."""
        p = self.inner(x)
        return self.linear * p + self.quadratic * (p**2 - 1) + self.cubic * (p**3 - 3 * p)


def hierarchical_target(d: int, rng, linear: float = 1.9) -> HierarchicalTarget:
    """Draw a target on d >= 2 inputs; linear = 0 hides p from its first Hermite coefficient.

    With 1.9 the outer function is g(z) = z + (z^2 - 1) / 2 + 0.3 z^3.
    """
    d, rng = integer("d", d, low=2), as_rng(rng)
    linear = between("linear", linear, -1e6, 1e6)
    a = rng.standard_normal((d, d))
    a += a.T
    a[np.diag_indices(d)] -= np.trace(a) / d
    return HierarchicalTarget(a / (math.sqrt(2) * np.linalg.norm(a)), linear)


def quadratic_features(x) -> np.ndarray:
    """Return all products of two inputs, orthonormal for x ~ N(0, I).

    x_i x_j for i < j and (x_i^2 - 1) / sqrt(2).

    Parameters: x (n, d). Returns (n, d (d + 1) / 2). Cost: O(n d^2).

    >>> quadratic_features([[1.0, 2.0]]).round(3).tolist()
    [[0.0, 2.0, 2.121]]
    """
    x = as_matrix("x", x)
    d = x.shape[1]
    out = np.empty((len(x), d * (d + 1) // 2))
    _quadratics(x, out)
    return out


@compiled("void(float64[:,::1], float64[:,::1])", fastmath={"contract"})
def _quadratics(x, out):
    """Fill out with the products of each row of x, upper triangle row by row."""
    d = x.shape[1]
    for n in range(x.shape[0]):
        k = 0
        for i in range(d):
            out[n, k] = (x[n, i] * x[n, i] - 1.0) * math.sqrt(0.5)
            for j in range(1, d - i):
                out[n, k + j] = x[n, i] * x[n, i + j]
            k += d - i


def descent_path(features, y, steps: Sequence[int], rate: float = 0.3) -> np.ndarray:
    """Return the weights after some numbers of gradient steps from zero.

    w <- w + rate F^T (y - F w) / n, in closed form by the eigenvalues l of F^T F / n: a direction
    has covered 1 - (1 - rate l)^t of its way to least squares after t steps. One step is the mean
    of y_i F(x_i). A rate above 1 / l_max is cut down to that.

    Paper: learning-hierarchical-polynomials-with-three (Wang et al. 2024, arXiv:2311.13774)

    Parameters: features F (n, m); y (n,); steps, T whole numbers >= 0; rate > 0.
    Returns (T, m). Raises ValueError for other shapes. Cost: O(n m^2 + m^3) for any steps.
    """
    features = as_matrix("features", features)
    y = as_vector("y", y, length=len(features))
    _list("steps", steps)
    steps = np.array([integer("steps", t, low=0) for t in steps], dtype=float)
    values, vectors = eigh(features.T @ features / len(y))
    values = clip_rounding(values)
    rate = min(positive("rate", rate), 1.0 / max(float(values[0]), 1e-300))
    left = -np.expm1(steps[:, None] * np.log1p(-np.minimum(rate * values, 1.0 - 1e-15)))
    # A direction without variance has not moved, and l = 0 would divide 0 by 0.
    way = left / np.where(values > 0, values, 1.0)
    return way * (vectors.T @ (features.T @ y) / len(y)) @ vectors.T


@dataclass(frozen=True, eq=False)
class LayerwiseNetwork:
    """A three-layer network that was trained layer by layer.

    Its hidden number is u(x) = w . quadratic_features(x) / scale; its output a sum of relu units
    sign_j (u - bias_j), read by a head.
    """

    weights: np.ndarray
    scale: float
    signs: np.ndarray
    biases: np.ndarray
    head: Head

    def hidden(self, x) -> np.ndarray:
        """Return the learned feature u at the rows of x (n, d)."""
        d = (math.isqrt(8 * len(self.weights) + 1) - 1) // 2  # there are d (d + 1) / 2 weights
        x = as_matrix("x", x, columns=d)
        return quadratic_features(x) @ self.weights / self.scale

    def predict(self, x) -> np.ndarray:
        """Return the outputs at the rows of x (n, d)."""
        return self.head.predict(_outer_units(self.hidden(x), self.signs, self.biases))


def _outer_units(u, signs, biases):
    return np.maximum(signs * (u[:, None] - biases), 0.0)


def train_layerwise(
    x, y, rng, *, steps: int = 30, rate: float = 0.3, units: int = 100, ridge: float = 1.0
) -> LayerwiseNetwork:
    """Train the inner feature by gradient descent, then the outer function by ridge regression.

    Stage 1 runs descent_path on the quadratic features (the degree-2 part of a wide random inner
    layer). The projection of y = g(p(x)) on quadratics is E[g'] p: the feature finds p.
    Stage 2 fits y on relu units of that one number with random signs and biases.

    Paper: learning-hierarchical-polynomials-with-three (Wang et al. 2024, arXiv:2311.13774)

    Parameters: x (n, d); y (n,); rng; steps >= 1 and rate of stage 1; units and ridge of stage 2.
    Returns a LayerwiseNetwork. Raises ValueError for other arguments. Cost: O(n d^4 + d^6).
    """
    x = as_matrix("x", x)
    y = as_vector("y", y, length=len(x))
    steps, units = integer("steps", steps, low=1), integer("units", units, low=1)
    ridge, rng = positive("ridge", ridge), as_rng(rng)
    features = quadratic_features(x)
    weights = descent_path(features, y - y.mean(), [steps], rate)[0]
    u = features @ weights
    scale = max(float(np.std(u)), 1e-300)
    signs, biases = rng.choice([-1.0, 1.0], units), 1.5 * rng.standard_normal(units)
    head = fit_head(_outer_units(u / scale, signs, biases), y, ridge)
    return LayerwiseNetwork(weights, scale, signs, biases, head)


# ------------------------------------------------------------------------------------------------
# 6. Smooth enough? The sensitivity of interpolating networks
# ------------------------------------------------------------------------------------------------


class _Sensitive:
    """What both interpolating models share: the size of the reaction to a small change."""

    def sensitivity(self, z) -> np.ndarray:
        """Return |z| |grad f(z)| at the rows of z (m, d): the reaction to a relative change."""
        z = as_matrix("z", z)
        return np.linalg.norm(z, axis=1) * np.linalg.norm(self.gradient(z), axis=1)


@dataclass(frozen=True, eq=False)
class RandomFeatureInterpolant(_Sensitive):
    """f(z) = s(V z) . weights, with directions V (p, d) and weights (p,)."""

    directions: np.ndarray
    activation: Activation
    weights: np.ndarray

    def predict(self, z) -> np.ndarray:
        """Return f at the rows of z (m, d)."""
        z = as_matrix("z", z, columns=self.directions.shape[1])
        return self.activation(z @ self.directions.T) @ self.weights

    def gradient(self, z) -> np.ndarray:
        """Return grad f (m, d). Cost: O(m p d)."""
        z = as_matrix("z", z, columns=self.directions.shape[1])
        slopes = self.activation.slope(z @ self.directions.T)
        return (slopes * self.weights) @ self.directions


@dataclass(frozen=True, eq=False)
class TangentInterpolant(_Sensitive):
    """f(z) = sum_i alpha_i (x_i . z) (s'(W x_i) . s'(W z)) of N points x and k directions W.

    points (N, d); directions (k, d); slopes (N, k), s'(W x_i); coefficients alpha (N,).
    """

    points: np.ndarray
    directions: np.ndarray
    activation: Activation
    slopes: np.ndarray
    coefficients: np.ndarray

    def predict(self, z) -> np.ndarray:
        """Return f at the rows of z (m, d)."""
        z = as_matrix("z", z, columns=self.directions.shape[1])
        slopes = self.activation.slope(z @ self.directions.T)
        return ((z @ self.points.T) * (slopes @ self.slopes.T)) @ self.coefficients

    def gradient(self, z) -> np.ndarray:
        """Return grad f (m, d), by both factors of each product. Cost: O(m N k + m (N + k) d)."""
        z = as_matrix("z", z, columns=self.directions.shape[1])
        inputs = z @ self.directions.T
        overlap = (self.activation.slope(inputs) @ self.slopes.T) * self.coefficients
        inner = ((z @ self.points.T) * self.coefficients) @ self.slopes
        curved = self.activation.curvature(inputs) * inner
        return overlap @ self.points + curved @ self.directions


def interpolate_random_features(x, y, directions, activation: Activation):
    """Fit labels exactly with the smallest weights of p random features, Phi = s(X V^T).

    weights = Phi^T (Phi Phi^T)^-1 y.

    Paper: beyond-the-universal-law-of-robustness (Bombari et al. 2023, arXiv:2302.01629)

    Parameters: x (N, d); y (N,); directions V (p, d), p >= N; activation.
    Returns a RandomFeatureInterpolant. Raises ValueError if p < N or labels cannot be met.
    Cost: O(N^2 p + N^3).
    """
    x, y, directions = _interpolation(x, y, directions, activation)
    if len(directions) < len(x):
        raise ValueError(
            f"directions must hold at least {len(x)} rows to meet {len(x)} labels, got "
            f"{len(directions)}"
        )
    features = activation(x @ directions.T)
    weights = features.T @ cholesky(features @ features.T, max_jitter=1e-10).solve(y)
    return _met(RandomFeatureInterpolant(directions, activation, weights), x, y)


def interpolate_tangent(x, y, directions, activation: Activation):
    """Fit labels exactly with the smallest move of a two-layer network's first layer.

    The features are x (x) s'(W x), d k of them; their kernel (x.z) (s'(W x) . s'(W z)) is never
    larger than N by N. The network starts at f = 0.

    Paper: beyond-the-universal-law-of-robustness (Bombari et al. 2023, arXiv:2302.01629)

    Parameters: x (N, d); y (N,); directions W (k, d), k d >= N; activation.
    Returns a TangentInterpolant. Raises ValueError if labels cannot be met.
    Cost: O(N^2 (k + d) + N^3).
    """
    x, y, directions = _interpolation(x, y, directions, activation)
    if directions.size < len(x):
        raise ValueError(
            f"directions must have at least {len(x)} entries to meet {len(x)} labels, got "
            f"{directions.size}"
        )
    slopes = activation.slope(x @ directions.T)
    gram = (x @ x.T) * (slopes @ slopes.T)
    coefficients = cholesky(gram, max_jitter=1e-10).solve(y)
    return _met(TangentInterpolant(x, directions, activation, slopes, coefficients), x, y)


def _interpolation(x, y, directions, activation):
    if not isinstance(activation, Activation):
        raise ValueError(
            "activation must be an Activation, which knows its derivatives, such as "
            f"ACTIVATIONS['tanh']; got {type(activation).__name__}"
        )
    x = as_matrix("x", x)
    return (
        x,
        as_vector("y", y, length=len(x)),
        as_matrix("directions", directions, columns=x.shape[1]),
    )


def _met(fit, x, y):
    """Return the fit; the jitter of its factor may have hidden labels that it cannot meet."""
    gap = float(np.abs(fit.predict(x) - y).max())
    if not gap <= 1e-6 * max(1.0, np.abs(y).max()):
        raise ValueError(
            f"y must be within reach of these features, but a label is missed by {gap:.3g}; points "
            "that coincide, or directions that are too alike or too short, can be the reason"
        )
    return fit


def smallest_flip(fit, z, steps: int = 30, overshoot: float = 0.02) -> np.ndarray:
    """Move points just across f = 0, each along its own gradient.

    z <- z - (1 + overshoot) f(z) grad f(z) / |grad f(z)|^2, for the points that have not crossed.

    Parameters: fit, with predict and gradient; z (m, d); steps >= 1; overshoot >= 0.
    Returns the moved points (m, d); a point where the gradient vanishes stays. Cost: that of
    ``steps`` gradients. Source: Moosavi-Dezfooli et al. (2016), DeepFool, for two classes.
    """
    start = as_matrix("z", z)
    steps, overshoot = integer("steps", steps, low=1), nonnegative("overshoot", overshoot)
    moved, sign = start.copy(), np.sign(fit.predict(start))
    for _ in range(steps):
        values = fit.predict(moved)
        open_ = np.sign(values) == sign
        if not open_.any():
            break
        gradient = fit.gradient(moved[open_])
        squared = np.maximum(np.sum(gradient**2, axis=1), 1e-300)
        moved[open_] -= ((1 + overshoot) * values[open_] / squared)[:, None] * gradient
    return moved
