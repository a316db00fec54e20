"""Random features: how the draws are coupled, how few bits they need, and where to look.

A kernel is an average over draws w of products of features, k(x, z) = E f_w(x) f_w(z), and m draws
give an estimate with an error of order 1/sqrt(m). The sections improve on independent draws:

1. Positive features, and directions that point away from each other (Reid et al. 2023)
2. One-bit features that carry their rounding errors along (Zhang et al. 2021)
3. Features that take a layer of a neural network apart (Sehanobish et al. 2024)
4. Sample points that keep away from each other (Nouy and Michel 2023)
5. All feature maps of a Gaussian kernel behind one name
"""

import functools
import math
import numbers
from dataclasses import dataclass

import autograd
import autograd.numpy as anp
import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import hyp0f1, roots_genlaguerre

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
)
from kernellab.compute.directions import orthogonal_directions
from kernellab.compute.features import scaled_cosines, spectral_frequencies
from kernellab.compute.kernels import Gaussian
from kernellab.compute.networks import Adam, dense_network, network_output

# Sums may run on several lanes; NaN and infinity stay honest.
FAST = {"reassoc", "contract"}

# ------------------------------------------------------------------------------------------------
# 1. Positive features, and directions that point away from each other
# ------------------------------------------------------------------------------------------------

COUPLINGS = ("iid", "orthogonal", "simplex", "simplex+")


def positive_features(x, projections, kernel: str = "gaussian") -> np.ndarray:
    """Return features without a sign: f_w(x) = exp(w.x - |x|^2) / sqrt(m), w normal.

    Their inner products estimate exp(-|x - z|^2 / 2). With ``kernel="softmax"`` the exponent is
    w.x - |x|^2 / 2, and they estimate exp(x.z).

    Paper: simplex-random-features (Reid et al. 2023, arXiv:2301.13856)

    Parameters
    ----------
    x : (n, d), in units of the kernel's bandwidth
    projections : (m, d), one vector w a row
    kernel : "gaussian" or "softmax"

    Returns (n, m). Raises ValueError for other shapes or names, and where a feature overflows.
    Cost: O(n m d). Source: Choromanski et al. (2021), lemma 1.
    """
    x = as_matrix("x", x)
    projections = as_matrix("projections", projections, columns=x.shape[1])
    share = 1.0 if one_of("kernel", kernel, ("gaussian", "softmax")) == "gaussian" else 0.5
    m = len(projections)
    fits_in_memory("the features", 16 * len(x) * m)
    with np.errstate(over="ignore", invalid="ignore"):
        exponents = x @ projections.T
        exponents -= share * np.sum(x**2, axis=1)[:, None]
        return _finite("x", np.exp(_finite("x", exponents)) / math.sqrt(m))


def _finite(name: str, features: np.ndarray) -> np.ndarray:
    """Return features, or say which argument was too large for them."""
    if not np.isfinite(features).all():
        raise ValueError(f"{name} must be smaller, its features are beyond the largest float")
    return features


def draw_projections(m: int, d: int, coupling: str, rng) -> np.ndarray:
    """Draw m vectors, each standard normal in R^d, coupled in blocks of d.

    "iid": no coupling. "orthogonal": the directions of a block are at right angles. "simplex": they
    are the corners of a regular simplex, every pair at an angle with cosine -1/(d - 1). "simplex+":
    they are turned further until each points against the sum of the others, given the lengths.
    Lengths are independent (chi with d degrees of freedom), and a block is turned at random, so
    that each vector alone is normal: estimates stay unbiased.

    Paper: simplex-random-features (Reid et al. 2023, arXiv:2301.13856)

    Parameters
    ----------
    m : number of vectors, >= 1; the last block is cut when d does not divide m
    d : dimension, >= 1 (>= 2 for the simplex)
    coupling : "iid", "orthogonal", "simplex" or "simplex+"
    rng : Generator or seed

    Returns (m, d). Raises ValueError for other values. Cost: O(m d^2), O(m d) when "iid".

    >>> w = draw_projections(8, 8, "simplex", rng=0)
    >>> s = w / np.linalg.norm(w, axis=1, keepdims=True)
    >>> bool(abs((s @ s.T)[0, 1:] + 1 / 7).max() < 1e-12)
    True
    """
    m, rng = integer("m", m, low=1), as_rng(rng)
    one_of("coupling", coupling, COUPLINGS)
    d = integer("d", d, low=2 if coupling.startswith("simplex") else 1)
    if coupling == "iid":
        return rng.standard_normal((m, d))
    blocks = -(-m // d)
    directions = orthogonal_directions(blocks * d, d, rng)
    if coupling != "orthogonal":
        simplices = np.empty_like(directions)
        _simplex_rows(directions, simplices)
        directions = simplices
    vectors = directions * np.sqrt(rng.chisquare(d, (blocks * d, 1)))
    if coupling == "simplex+":
        _balance(vectors, 10)
    return np.ascontiguousarray(vectors[:m])


def block_projections(blocks: int, d: int, coupling: str, rng) -> np.ndarray:
    """Return w_i.e for the d vectors of many blocks and one unit vector e, without the vectors.

    A random turn R of a block makes R e a uniform unit vector u, and the projections are those of
    the unturned block on u: lengths times u (orthogonal) or times S u (simplex).

    Paper: simplex-random-features (Reid et al. 2023, arXiv:2301.13856)

    Parameters: blocks >= 1; d, coupling and rng as in ``draw_projections``. Returns (blocks, d),
    each entry standard normal. Raises ValueError otherwise. Cost: O(blocks d), O(blocks d^2) for
    "simplex+".
    """
    blocks, rng = integer("blocks", blocks, low=1), as_rng(rng)
    one_of("coupling", coupling, COUPLINGS)
    d = integer("d", d, low=2 if coupling.startswith("simplex") else 1)
    normals = rng.standard_normal((blocks, d))
    if coupling == "iid":
        return normals
    turned = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    lengths = np.sqrt(rng.chisquare(d, (blocks, d)))
    if coupling == "orthogonal":
        return lengths * turned
    if coupling == "simplex":
        return lengths * simplex_product(turned, d)
    vectors = (lengths[:, :, None] * simplex_directions(d)).reshape(blocks * d, d)
    _balance(vectors, 10)
    return np.einsum("bij,bj->bi", vectors.reshape(blocks, d, d), turned)


def simplex_directions(d: int) -> np.ndarray:
    """Return the corners of a regular simplex with its centre at 0: d unit vectors in R^d.

    s_i = sqrt(d/(d-1)) e_i - (sqrt(d) + 1)/(d-1)^(3/2) (1, ..., 1, 0) for i < d, and
    s_d = (1, ..., 1, 0)/sqrt(d-1): d corners span d - 1 dimensions, so the last entry is 0.

    Paper: simplex-random-features (Reid et al. 2023, arXiv:2301.13856)

    Parameters: d >= 2. Returns (d, d), rows of length 1 with inner products -1/(d-1).
    Raises ValueError for another d. Cost: O(d^2).

    >>> simplex_directions(2)
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    d = integer("d", d, low=2)
    corners = np.empty((d, d))
    _simplex_rows(np.eye(d), corners)
    return corners


def simplex_product(y, d: int) -> np.ndarray:
    """Multiply each block of d entries by the simplex matrix S with one running sum.

    (S y)_i = sqrt(d/(d-1)) y_i - c (y_1 + ... + y_{d-1}): O(d) a block where a matrix takes O(d^2).

    Paper: simplex-random-features (Reid et al. 2023, arXiv:2301.13856)

    Parameters: y (n, b d), b blocks a row; d >= 2. Returns (n, b d). Raises ValueError when d does
    not divide the columns. Cost: O(n b d).
    """
    y, d = as_matrix("y", y), integer("d", d, low=2)
    if y.shape[1] % d:
        raise ValueError(f"d must divide the {y.shape[1]} columns of y, got {d}")
    out = np.empty_like(y)
    _simplex_blocks(y.reshape(-1, d), out.reshape(-1, d))
    return out


@compiled("void(float64[:,::1], float64[:,::1])", fastmath=FAST)
def _simplex_blocks(y, out):
    """Fill each row of out with S times the row of y."""
    d = y.shape[1]
    stretch = np.sqrt(d / (d - 1.0))
    shift = (np.sqrt(d) + 1.0) / (d - 1.0) ** 1.5
    last = 1.0 / np.sqrt(d - 1.0)
    for r in range(len(y)):
        total = 0.0
        for i in range(d - 1):
            total += y[r, i]
        for i in range(d - 1):
            out[r, i] = stretch * y[r, i] - shift * total
        out[r, d - 1] = last * total


@compiled("void(float64[:,::1], float64[:,::1])", fastmath=FAST)
def _simplex_rows(y, out):
    """Fill out with S Y for each block Y of d rows; the row of d - 1 sums is kept in its last."""
    d = y.shape[1]
    stretch = np.sqrt(d / (d - 1.0))
    shift = (np.sqrt(d) + 1.0) / (d - 1.0) ** 1.5
    last = 1.0 / np.sqrt(d - 1.0)
    for start in range(0, len(y), d):
        total = out[start + d - 1]
        total[:] = 0.0
        for i in range(start, start + d - 1):
            for c in range(d):
                total[c] += y[i, c]
        for i in range(start, start + d - 1):
            for c in range(d):
                out[i, c] = stretch * y[i, c] - shift * total[c]
        for c in range(d):
            total[c] *= last


@compiled("void(float64[:,::1], int64)", fastmath=FAST)
def _balance(w, sweeps):
    """Turn each vector against the sum of the others in its block of d; lengths are kept."""
    d = w.shape[1]
    total = np.empty(d)
    for start in range(0, len(w), d):
        total[:] = 0.0
        for i in range(start, start + d):
            for c in range(d):
                total[c] += w[i, c]
        for _ in range(sweeps):
            for i in range(start, start + d):
                own = 0.0
                rest = 0.0
                for c in range(d):
                    total[c] -= w[i, c]
                    own += w[i, c] * w[i, c]
                    rest += total[c] * total[c]
                turn = -np.sqrt(own / rest) if rest > 0.0 else 0.0
                for c in range(d):
                    if rest > 0.0:
                        w[i, c] = turn * total[c]
                    total[c] += w[i, c]


def pair_expectation(d: int, length, coupling: str | float) -> np.ndarray:
    """Return E exp((w_i + w_j).v) for two vectors of a block: all that coupling can change.

    A sum of length r in a random direction gives 0F1(d/2; r^2 |v|^2/4), and r^2 = a^2 + b^2 +
    2 a b cos, where a and b are independent chi lengths and cos is the angle's: 0 for "orthogonal",
    -1/(d - 1) for "simplex". For "iid" the pair gives exp(|v|^2).

    Paper: simplex-random-features (Reid et al. 2023, arXiv:2301.13856)

    Parameters: d, 2 to 256; length, |v| = |x + z|, a number or (k,), at most 5; coupling, "iid",
    "orthogonal", "simplex", or a cosine of your own from -1 to 1. Returns an array of the shape of
    length. Raises ValueError otherwise.
    Cost: 48^2 values of 0F1 a length (Gauss-Laguerre quadrature over a^2 and b^2).
    """
    d = integer("d", d, low=2, high=256)
    if isinstance(coupling, numbers.Real):
        cosine = between("coupling", coupling, -1.0, 1.0)
    else:
        one_of("coupling", coupling, COUPLINGS[:3])
        cosine = -1.0 / (d - 1) if coupling == "simplex" else 0.0
    length = np.asarray(length, dtype=float)
    if not (np.isfinite(length).all() and (length >= 0).all() and (length <= 5).all()):
        raise ValueError(f"length must lie between 0 and 5, got {length}")
    if coupling == "iid":
        return np.exp(length**2)
    nodes, weights = roots_genlaguerre(48, d / 2 - 1)
    squares, weights = 2 * nodes, weights / weights.sum()
    a = np.sqrt(squares)
    r_squared = squares[:, None] + squares[None, :] + 2 * cosine * np.outer(a, a)
    values = hyp0f1(d / 2, r_squared * length[..., None, None] ** 2 / 4)
    return np.einsum("...ij,i,j->...", values, weights, weights)


def block_variance(d: int, length, coupling: str | float) -> np.ndarray:
    """Return the variance of a kernel estimate from one block of d features, relative to k^2.

    (exp(2 |v|^2)/d + (d - 1)/d E exp((w_i + w_j).v)) exp(-|v|^2) - 1 with v = x + z; b independent
    blocks divide it by b.

    Paper: simplex-random-features (Reid et al. 2023, arXiv:2301.13856)

    Parameters and errors as in ``pair_expectation``. Returns an array of the shape of length.
    """
    pairs = pair_expectation(d, length, coupling)
    square = np.asarray(length, dtype=float) ** 2
    return np.exp(square) / d + (d - 1) / d * pairs * np.exp(-square) - 1.0


# ------------------------------------------------------------------------------------------------
# 2. One-bit features that carry their rounding errors along
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseShaper:
    """A one-bit quantiser with memory: s_i = z_i + sum_j weights_j u_{i - lags_j}.

    The answer is q_i = step * sign(s_i), and what it missed is kept, u_i = s_i - q_i.

    Attributes
    ----------
    lags, weights : which earlier states come back (integers >= 1), and how strongly
    step : the answers are -step and +step. |u| never exceeds it, because it must be at least
        1 + step * sum |weights| - step
    beta : None, or the growth of the state in a block, > 0; the state then restarts with each block
    order : 1 or 2, how often the average is taken (the power of the window)

    Raises ValueError for other values.
    """

    lags: tuple[int, ...]
    weights: tuple[float, ...]
    step: float
    beta: float | None = None
    order: int = 1

    def __post_init__(self):
        for name, values in (("lags", self.lags), ("weights", self.weights)):
            if not isinstance(values, tuple) or not values:
                raise ValueError(f"{name} must be a tuple with an entry or more, got {values!r}")
        for lag in self.lags:
            integer("lags", lag, low=1, high=1 << 31)
        weights = as_vector("weights", self.weights)
        same_length("lags", self.lags, "weights", self.weights)
        least = 1.0 + (np.abs(weights).sum() - 1.0) * positive("step", self.step)
        if self.step < least * (1.0 - 1e-9):
            raise ValueError(
                "step must bound the state, 2 step >= 1 + step * sum |weights|, "
                f"got step {self.step} with weights {self.weights}"
            )
        if self.beta is not None:
            positive("beta", self.beta)
        integer("order", self.order, low=1, high=2)

    def window(self, oversampling: int) -> np.ndarray:
        """Return the weights (oversampling,) with which a block of answers is averaged.

        Ones for order 1; a triangle for order 2, whose length must be odd; beta^-i for a
        distributed shaper. Raises ValueError for other lengths.
        """
        length = integer("oversampling", oversampling, low=1)
        if self.beta is not None:
            return self.beta ** -np.arange(1.0, length + 1)
        if self.order == 1:
            return np.ones(length)
        if length % 2 == 0:
            raise ValueError(f"oversampling must be odd for order 2, got {length}")
        half = np.ones((length + 1) // 2)
        return np.convolve(half, half)

    def bits(self, oversampling: int) -> float:
        """Return the bits that store one average: log2 of the number of values it can take."""
        window = self.window(oversampling)
        if self.beta is not None:
            return float(window.size)
        return math.log2(window.sum() + 1)


def sigma_delta(order: int = 1) -> NoiseShaper:
    """Return a sigma-delta quantiser of order 1 or 2 for inputs in [-1, 1].

    Order 1: u_i = u_{i-1} + z_i - q_i, answers +-1. Order 2: the filter (7/6) u_{i-1} -
    (1/6) u_{i-7}, whose noise 1 - (7/6) t + (1/6) t^7 has a double zero at t = 1; its weights
    add up to 4/3 in size, and |s| <= 1 + (4/3) c <= 2 c makes c = 3/2 the step that is safe.

    Paper: sigma-delta-and-distributed-noise-shaping (Zhang et al. 2021, arXiv:2106.02614)

    Parameters: order, 1 or 2. Returns a NoiseShaper. Raises ValueError for another order.
    Source: Gunturk (2003) for filters with few taps.
    """
    if integer("order", order, low=1, high=2) == 1:
        return NoiseShaper((1,), (1.0,), 1.0)
    return NoiseShaper((1, 7), (7 / 6, -1 / 6), 1.5, order=2)


def distributed_shaping(beta: float) -> NoiseShaper:
    """Return a quantiser whose state grows by beta within a block: u_i = beta u_{i-1} + z_i - q_i.

    Averaged with beta^-1, beta^-2, ... a block's error is beta^-length u_last: it falls
    exponentially. The state stays within the step c when beta c + 1 <= 2 c: c = 1/(2 - beta).

    Paper: sigma-delta-and-distributed-noise-shaping (Zhang et al. 2021, arXiv:2106.02614)

    Parameters: beta, 1 to 1.9. Returns a NoiseShaper. Raises ValueError otherwise.
    """
    beta = between("beta", beta, 1.0, 1.9)
    return NoiseShaper((1,), (beta,), 1.0 / (2.0 - beta), beta=beta)


def shape_noise(z, shaper: NoiseShaper, oversampling: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Quantise the entries of each row to two values, and pass each rounding error on.

    Paper: sigma-delta-and-distributed-noise-shaping (Zhang et al. 2021, arXiv:2106.02614)

    Parameters
    ----------
    z : (n, m), entries in [-1, 1]
    shaper : a NoiseShaper
    oversampling : the length of a block; matters when the state restarts with each block

    Returns q (n, m) in {-step, step} and the states u (n, m), |u| <= step.
    Raises ValueError for entries outside [-1, 1]. Cost: O(n m).
    """
    z = as_matrix("z", z)
    if not isinstance(shaper, NoiseShaper):
        raise ValueError(f"shaper must be a NoiseShaper, got {type(shaper).__name__}")
    oversampling = integer("oversampling", oversampling, low=1)
    if np.abs(z).max() > 1.0:
        raise ValueError(f"z must lie in [-1, 1], got {np.abs(z).max():.6g} in size")
    block = oversampling if shaper.beta is not None else z.shape[1]
    lags = np.array(shaper.lags, dtype=np.int64)
    weights = np.array(shaper.weights, dtype=np.float64)
    q, states = np.empty_like(z), np.empty_like(z)
    _shape_noise(z, lags, weights, float(shaper.step), block, q, states)
    return q, states


@compiled(
    "void(float64[:,::1], int64[::1], float64[::1], float64, int64, float64[:,::1], "
    "float64[:,::1])",
    fastmath={"contract"},
)
def _shape_noise(z, lags, weights, step, block, q, states):
    """Fill q and states. Four rows go together: each waits for its own last step only."""
    n, m = z.shape
    for start in range(0, n, 4):
        rows = min(4, n - start)
        for i in range(m):
            inside = i % block
            for r in range(start, start + rows):
                s = z[r, i]
                for j in range(len(lags)):
                    if lags[j] <= inside:
                        s += weights[j] * states[r, i - lags[j]]
                answer = step if s >= 0.0 else -step
                q[r, i] = answer
                states[r, i] = s - answer


def condense(q, window) -> np.ndarray:
    """Average each block of features with a window: V q, V = (I x window^T)/(|window| sqrt(p)).

    For cosines z of m = p len(window) random frequencies with random phases, 2 (V z(x)).(V z(y))
    estimates the kernel.

    Paper: sigma-delta-and-distributed-noise-shaping (Zhang et al. 2021, arXiv:2106.02614)

    Parameters: q (n, p l); window (l,). Returns (n, p). Raises ValueError when l does not divide
    the columns or the window is 0. Cost: O(n p l).
    """
    q, window = as_matrix("q", q), as_vector("window", window)
    if q.shape[1] % window.size:
        raise ValueError(f"window's length must divide {q.shape[1]} columns, got {window.size}")
    if not window.any():
        raise ValueError("window must not be 0 everywhere")
    p = q.shape[1] // window.size
    return q.reshape(len(q), p, window.size) @ (window / np.linalg.norm(window)) / math.sqrt(p)


def dithered_signs(z, rng) -> np.ndarray:
    """Round each entry to -1 or 1 at random, so that its mean is the entry.

    Unbiased for different rows; the product of a row with itself is always m.

    Parameters: z (n, m) in [-1, 1]; rng, Generator or seed. Returns (n, m). Cost: O(n m).
    Source: the baseline of Zhang et al. (2021), stochastic rounding.
    """
    z, rng = as_matrix("z", z), as_rng(rng)
    if np.abs(z).max() > 1.0:
        raise ValueError(f"z must lie in [-1, 1], got {np.abs(z).max():.6g} in size")
    return np.where(2.0 * rng.random(z.shape) < 1.0 + z, 1.0, -1.0)


def rounded(z, steps: int) -> np.ndarray:
    """Round each entry to the nearest of steps + 1 equally spaced levels from -1 to 1.

    What log2(steps + 1) bits hold without any oversampling; one step leaves the sign.

    Parameters: z (n, m) in [-1, 1]; steps >= 1. Returns (n, m), each entry off by at most 1/steps.
    Raises ValueError otherwise. Cost: O(n m).

    >>> rounded([[0.9, 0.2, -0.4]], 3)
    array([[ 1.        ,  0.33333333, -0.33333333]])
    """
    z, steps = as_matrix("z", z), integer("steps", steps, low=1)
    if np.abs(z).max() > 1.0:
        raise ValueError(f"z must lie in [-1, 1], got {np.abs(z).max():.6g} in size")
    return np.floor(0.5 * steps * (z + 1.0) + 0.5) * (2.0 / steps) - 1.0


def sign_kernel(squared_distances, terms: int = 60) -> np.ndarray:
    """Return what one-bit signs of cosines estimate, when the cosines estimate a Gaussian kernel.

    sum_j 8/(pi (2j+1))^2 exp(-(2j+1)^2 r^2/2): the Fourier series of a triangle wave. Adding
    features does not bring it nearer to exp(-r^2/2).

    Parameters: squared_distances r^2 >= 0, an array, in units of the bandwidth; terms >= 1.
    Returns an array of the same shape. Raises ValueError otherwise. Cost: O(size x terms).
    Source: Schellekens and Jacques (2020), the kernel of universally quantised features.
    """
    squares = np.asarray(squared_distances, dtype=float)
    if not (np.isfinite(squares).all() and (squares >= 0).all()):
        raise ValueError("squared_distances must be finite and nonnegative")
    odd = 2.0 * np.arange(integer("terms", terms, low=1)) + 1.0
    return np.exp(-0.5 * squares[..., None] * odd**2) @ (8.0 / (math.pi * odd) ** 2)


# ------------------------------------------------------------------------------------------------
# 3. Features that take a layer of a neural network apart
# ------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "sin": np.sin,
    "cos": np.cos,
    "bump": lambda t: np.exp(-0.5 * t**2),
}


@dataclass(frozen=True, eq=False)
class LayerFeatures:
    """Random features that split f(w.x + b) into a part of x and a part of (w, b).

    f(t) = Re E[c e^{i s t}] over frequencies s, and for complex vectors u = sqrt(i s) x and
    v = sqrt(i s) w, e^{i s w.x} = exp(u.v) = E L_g(u) L_g(v) over normal g, where
    L_g(u) = (1 - 4A)^(d/4) exp(A |g|^2 + sqrt(1 - 4A) g.u - u.u/2). The number A <= 0 tames long
    draws g.

    Paper: scalable-neural-network-kernels (Sehanobish et al. 2024, arXiv:2310.13225)

    Attributes
    ----------
    directions : (m, d), the draws g
    frequencies : (m,), the draws s
    coefficients : (m,) complex, the c that go with them
    shape : A <= 0
    """

    directions: np.ndarray
    frequencies: np.ndarray
    coefficients: np.ndarray
    shape: float

    def of_inputs(self, x) -> np.ndarray:
        """Return the features of inputs x (n, d): (n, 2 m), real parts, then imaginary ones."""
        values = self._half(as_matrix("x", x, columns=self.directions.shape[1]))
        values /= math.sqrt(len(self.directions))
        return np.hstack([values.real, values.imag])

    def of_parameters(self, w, b) -> np.ndarray:
        """Return the features of k neurons, weights w (k, d) and offsets b (k,): (k, 2 m)."""
        w = as_matrix("w", w, columns=self.directions.shape[1])
        b = as_vector("b", b, length=len(w))
        values = self._half(w) * np.exp(1j * b[:, None] * self.frequencies) * self.coefficients
        values /= math.sqrt(len(self.directions))
        return np.hstack([values.real, -values.imag])

    def _half(self, x: np.ndarray) -> np.ndarray:
        """Return L_g(sqrt(i s) x), (n, m) complex."""
        turn = np.sqrt(1j * self.frequencies)
        slope, d = math.sqrt(1.0 - 4.0 * self.shape), x.shape[1]
        constant = self.shape * np.sum(self.directions**2, axis=1) + 0.25 * d * math.log(
            1.0 - 4.0 * self.shape
        )
        exponents = (x @ self.directions.T) * (slope * turn) + constant
        exponents -= 0.5j * np.sum(x**2, axis=1)[:, None] * self.frequencies
        return np.exp(exponents)


def layer_features(m: int, d: int, activation: str, rng, shape: float = 0.0) -> LayerFeatures:
    """Draw features for layers with the activation "sin", "cos" or "bump" (exp(-t^2/2)).

    A sine has one frequency, 1, and c = -i; a cosine c = 1; the bump has normal frequencies and
    c = 1, because exp(-t^2/2) = E e^{i s t}.

    Paper: scalable-neural-network-kernels (Sehanobish et al. 2024, arXiv:2310.13225)

    Parameters
    ----------
    m, d : number of draws and dimension, both >= 1
    activation : "sin", "cos" or "bump"
    rng : Generator or seed
    shape : A in [-10, 0]; see ``best_shape``

    Returns LayerFeatures. Raises ValueError for other values. Cost: O(m d).
    """
    m, d, rng = integer("m", m, low=1), integer("d", d, low=1), as_rng(rng)
    one_of("activation", activation, ACTIVATIONS)
    shape = between("shape", shape, -10.0, 0.0)
    directions = rng.standard_normal((m, d))
    frequencies = rng.standard_normal(m) if activation == "bump" else np.ones(m)
    coefficients = np.full(m, -1j if activation == "sin" else 1.0 + 0j)
    return LayerFeatures(directions, frequencies, coefficients, shape)


def layer_variance(x, w, b, shape: float = 0.0) -> np.ndarray:
    """Return the variance of one draw's estimate of sin(w.x + b), for each row.

    Half the mean squared size, M = (1-4A)^d (1-8A)^(-d/2) exp(q |x + w|^2), plus half the real part
    of the mean square, less the squared mean; q = (1-4A)/(1-8A). It grows like exp(|x + w|^2).

    Paper: scalable-neural-network-kernels (Sehanobish et al. 2024, arXiv:2310.13225)

    Parameters: x and w (n, d); b (n,); shape A in [-10, 0]. Returns (n,). Raises ValueError for
    other shapes. Cost: O(n d).
    """
    x = as_matrix("x", x)
    w = as_matrix("w", w, rows=len(x), columns=x.shape[1])
    b = as_vector("b", b, length=len(x))
    shape, d = between("shape", shape, -10.0, 0.0), x.shape[1]
    q = (1.0 - 4.0 * shape) / (1.0 - 8.0 * shape)
    scale = math.exp(d * math.log1p(-4.0 * shape) - 0.5 * d * math.log1p(-8.0 * shape))
    together = np.sum((x + w) ** 2, axis=1)
    phase = 2.0 * q * together - np.sum(x**2, axis=1) - np.sum(w**2, axis=1) + 2.0 * b
    square = 0.5 * scale * (np.exp(q * together) - np.cos(phase))
    return square - np.sin(np.sum(x * w, axis=1) + b) ** 2


def best_shape(d: int, squared_length: float) -> float:
    """Return the A <= 0 with the smallest mean squared feature product at |x + w|^2.

    The root of 32 d A^2 - 4 (d - l) A - l = 0, l = |x + w|^2.

    Paper: scalable-neural-network-kernels (Sehanobish et al. 2024, arXiv:2310.13225)

    Parameters: d >= 1; squared_length >= 0. Returns a float. Raises ValueError otherwise.
    Cost: O(1).

    >>> round(best_shape(8, 2.0), 4)
    -0.0532
    """
    d, length = integer("d", d, low=1), nonnegative("squared_length", squared_length)
    gap = d - length
    return (gap - math.sqrt(gap**2 + 8.0 * d * length)) / (16.0 * d)


def bundle(features, targets, ridge: float) -> np.ndarray:
    """Return the matrix M that replaces all layers after the features: ridge regression.

    M = (F^T F + n ridge I)^-1 F^T Y. A bundled network is x -> F(x) M: nothing else is trained.

    Paper: scalable-neural-network-kernels (Sehanobish et al. 2024, arXiv:2310.13225)

    Parameters: features F (n, p); targets Y (n, k); ridge > 0. Returns (p, k). Raises ValueError
    for other shapes. Cost: O(n p^2 + p^3).
    """
    features, targets = as_matrix("features", features), as_matrix("targets", targets)
    same_length("features", features, "targets", targets)
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += len(features) * positive("ridge", ridge)
    return cho_solve(cho_factor(gram, lower=True), features.T @ targets)


def train_network(x, labels, hidden: int, epochs: int, rng) -> tuple[list, int]:
    """Train a network with one layer of sines to name classes, and count its parameters.

    Cross-entropy, Adam with step 0.01 on batches of 128. The first weights begin five times as
    large as usual, so that the sines bend.

    Parameters
    ----------
    x : (n, d)
    labels : (n,), integers from 0 to n - 1
    hidden : neurons in the layer, >= 1
    epochs : passes over the data, >= 1
    rng : Generator or seed

    Returns (layers, number of parameters); ``network_output(layers, x, np.sin)`` gives the scores.
    Raises ValueError for other values. Cost: O(epochs n d hidden).
    """
    x = as_matrix("x", x)
    labels = as_vector("labels", labels, length=len(x))
    wrong = labels[(labels < 0) | (labels != np.floor(labels)) | (labels >= len(x))]
    if wrong.size:
        raise ValueError(
            f"labels must be integers from 0 to n - 1 = {len(x) - 1}, got {wrong[0]:g} among them"
        )
    labels = labels.astype(int)
    hidden, epochs = integer("hidden", hidden, low=1), integer("epochs", epochs, low=1)
    rng = as_rng(rng)
    targets = np.eye(labels.max() + 1)[labels]
    layers = dense_network([x.shape[1], hidden, targets.shape[1]], rng)
    layers[0][0][:] *= 5.0

    def loss(layers, x, targets):
        scores = network_output(layers, x, anp.sin)
        top = anp.max(scores, axis=1, keepdims=True)
        logs = anp.log(anp.sum(anp.exp(scores - top), axis=1)) + top[:, 0]
        return anp.mean(logs - anp.sum(scores * targets, axis=1))

    gradient, adam = autograd.grad(loss), Adam(layers, step=0.01)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), 128):
            batch = order[start : start + 128]
            adam.update(gradient(layers, x[batch], targets[batch]))
    return layers, sum(part.size for layer in layers for part in layer)


# ------------------------------------------------------------------------------------------------
# 4. Sample points that keep away from each other
# ------------------------------------------------------------------------------------------------

SAMPLINGS = ("uniform", "leverage", "volume", "dpp")


def interval_grid(size: int) -> np.ndarray:
    """Return the midpoints (size,) of equal cells of [-1, 1]. Raises ValueError for size < 1."""
    size = integer("size", size, low=1)
    return -1.0 + (2.0 * np.arange(size) + 1.0) / size


def orthonormal_basis(functions) -> np.ndarray:
    """Return the same space's orthonormal basis with respect to the mean over the points.

    Paper: weighted-least-squares-approximation (Nouy and Michel 2023, arXiv:2312.14057)

    Parameters: functions (g, m), the value of m functions at g >= m points. Returns phi (g, m) with
    phi^T phi / g = I, each column with the sign that agrees with its function. Raises ValueError
    when the functions are linearly dependent on the points. Cost: O(g m^2).
    """
    functions = as_matrix("functions", functions)
    functions = as_matrix("functions", functions, min_rows=functions.shape[1])
    q, r = np.linalg.qr(functions)
    diagonal = np.diagonal(r)
    if np.abs(diagonal).min() <= 1e-12 * np.abs(diagonal).max():
        raise ValueError(
            "functions must be linearly independent on the points, got a column that depends on "
            f"those before it: number {int(np.argmin(np.abs(diagonal)))}"
        )
    return np.ascontiguousarray(q * np.sign(diagonal) * math.sqrt(len(functions)))


def legendre_basis(points, m: int) -> np.ndarray:
    """Return polynomials of degree 0 to m - 1, orthonormal with respect to the mean over points.

    Parameters: points (g,) in [-1, 1], g >= m different ones; m >= 1. Returns (g, m). Raises
    ValueError otherwise. Cost: O(g m^2).
    """
    points, m = as_vector("points", points), integer("m", m, low=1)
    if np.abs(points).max() > 1.0:
        raise ValueError(f"points must lie in [-1, 1], got {np.abs(points).max():.6g} in size")
    return orthonormal_basis(np.polynomial.legendre.legvander(points, m - 1))


def _orthonormal(phi) -> np.ndarray:
    """Return phi as a matrix (g, m) whose columns are orthonormal for the mean over points."""
    phi = as_matrix("phi", phi)
    g, m = phi.shape
    with np.errstate(over="ignore", invalid="ignore"):
        worst = np.abs(phi.T @ phi / g - np.eye(m)).max()
    if not worst <= 1e-8:
        raise ValueError(
            f"phi must be orthonormal (phi^T phi / g = I), got an entry that is {worst:.3g} off; "
            "use orthonormal_basis"
        )
    return phi


def sample_weights(phi) -> np.ndarray:
    """Return w(x) = m / |phi(x)|^2 at each point (g,): small where the functions can be large.

    1/w is the density of leverage sampling with respect to the uniform one.

    Paper: weighted-least-squares-approximation (Nouy and Michel 2023, arXiv:2312.14057)

    Parameters: phi (g, m), orthonormal. Raises ValueError where all functions vanish. Cost: O(g m).
    """
    phi = as_matrix("phi", phi)
    squares = np.sum(phi**2, axis=1)
    if squares.min() <= 0.0:
        raise ValueError(f"phi must not vanish at a point, got a row of 0 at {squares.argmin()}")
    return phi.shape[1] / squares


def projection_dpp(phi, repeats: int, rng) -> np.ndarray:
    """Draw sets of m points whose chance is the squared volume that their rows of phi span.

    P(x_1, ..., x_m) = det(phi(x_i)^T phi(x_j))/(m! g^m). Point by point: each comes with a chance
    proportional to |(I - Q Q^T) phi(x)|^2, where Q spans the rows of those before it. A point is
    never drawn twice, and it is among the m with probability |phi(x)|^2/g.

    Paper: weighted-least-squares-approximation (Nouy and Michel 2023, arXiv:2312.14057)

    Parameters: phi (g, m), orthonormal for the mean over points; repeats >= 1, independent draws;
    rng, Generator or seed. Returns (repeats, m), indices of points. Raises ValueError when phi is
    not orthonormal. Cost: O(repeats g m^2). Source: Hough, Krishnapur, Peres and Virag (2006).
    """
    phi = _orthonormal(phi)
    repeats, rng = integer("repeats", repeats, low=1), as_rng(rng)
    m = phi.shape[1]
    chosen = np.empty((repeats, m), dtype=np.int64)
    _projection_dpp(np.ascontiguousarray(phi.T), rng.random((repeats, m)), chosen)
    return chosen


@compiled("void(float64[:,::1], float64[:,::1], int64[:,::1])", fastmath=FAST)
def _projection_dpp(phi, uniform, chosen):
    """Fill chosen by the chain rule; phi is (m, g), so that loops over points are contiguous."""
    m, g = phi.shape
    start, left, product = np.zeros(g), np.empty(g), np.empty(g)
    basis = np.empty((m, m))
    for j in range(m):
        for x in range(g):
            start[x] += phi[j, x] * phi[j, x]
    for t in range(len(uniform)):
        left[:] = start
        for k in range(m):
            total = 0.0
            for x in range(g):
                total += left[x]
            target = uniform[t, k] * total
            point = 0
            passed = left[0]
            while passed <= target and point < g - 1:
                point += 1
                passed += left[point]
            while left[point] <= 0.0 and point > 0:  # rounding ran past the last possible point
                point -= 1
            chosen[t, k] = point
            new = basis[k]
            for j in range(m):
                new[j] = phi[j, point]
            for _ in range(2):  # Gram-Schmidt, twice for rounding
                for i in range(k):
                    along = 0.0
                    for j in range(m):
                        along += basis[i, j] * new[j]
                    for j in range(m):
                        new[j] -= along * basis[i, j]
            length = 0.0
            for j in range(m):
                length += new[j] * new[j]
            scale = 1.0 / np.sqrt(length)
            product[:] = 0.0
            for j in range(m):
                new[j] *= scale
                for x in range(g):
                    product[x] += new[j] * phi[j, x]
            for x in range(g):
                left[x] = max(left[x] - product[x] * product[x], 0.0)
            for i in range(k + 1):
                left[chosen[t, i]] = 0.0


def sample_points(phi, n: int, sampling: str, repeats: int, rng) -> np.ndarray:
    """Draw n points, ``repeats`` times, in one of four ways.

    "uniform": independent. "leverage": independent, with density |phi(x)|^2/m. "volume": a DPP of m
    points and n - m independent ones by leverage, which is the law with density det(G). "dpp":
    independent DPPs of m points one after another until n are reached (a multiple of m).

    Paper: weighted-least-squares-approximation (Nouy and Michel 2023, arXiv:2312.14057)

    Parameters
    ----------
    phi : (g, m), orthonormal for the mean over points
    n : points a draw; at least m, and a multiple of m for "dpp"
    sampling : "uniform", "leverage", "volume" or "dpp"
    repeats : independent draws, >= 1
    rng : Generator or seed

    Returns (repeats, n), indices of points. Raises ValueError for other values.
    Cost: O(repeats (n + g m^2)).
    """
    phi = _orthonormal(phi)
    g, m = phi.shape
    n, repeats = integer("n", n, low=m), integer("repeats", repeats, low=1)
    one_of("sampling", sampling, SAMPLINGS)
    rng = as_rng(rng)
    if sampling == "uniform":
        return rng.integers(g, size=(repeats, n))
    if sampling == "dpp":
        if n % m:
            raise ValueError(f"n must be a multiple of m = {m} for repeated DPPs, got {n}")
        return projection_dpp(phi, repeats * (n // m), rng).reshape(repeats, n)
    first = (
        projection_dpp(phi, repeats, rng) if sampling == "volume" else np.empty((repeats, 0), int)
    )
    rising = np.cumsum(np.sum(phi**2, axis=1))
    marks = rng.random((repeats, n - first.shape[1])) * rising[-1]
    others = np.minimum(np.searchsorted(rising, marks, side="right"), g - 1)
    return np.concatenate([first, others], axis=1)


@dataclass(frozen=True, eq=False)
class Fits:
    """Weighted least-squares fits to several samples.

    coefficients (r, m); smallest (r,), the smallest eigenvalue of each sample's Gram matrix G;
    points (r, n).
    """

    coefficients: np.ndarray
    smallest: np.ndarray
    points: np.ndarray


def weighted_fit(phi, values, points, weights) -> Fits:
    """Fit values at sample points by the functions phi, weighted: min sum_i w(x_i) (f - v)(x_i)^2.

    With G = (1/n) sum_i w(x_i) phi(x_i) phi(x_i)^T, whose mean is I when w undoes the sampling.

    Paper: weighted-least-squares-approximation (Nouy and Michel 2023, arXiv:2312.14057)

    Parameters
    ----------
    phi : (g, m), orthonormal for the mean over points
    values : (g,), of which those at the sample points are used
    points : (r, n) indices, one sample a row
    weights : (g,), positive

    Returns Fits, with the fit of least norm where a sample does not determine it. Raises
    ValueError for other shapes. Cost: O(r n m^2).
    """
    phi = _orthonormal(phi)
    values = as_vector("values", values, length=len(phi))
    weights = as_vector("weights", weights, length=len(phi))
    if weights.min() <= 0.0:
        raise ValueError(f"weights must be positive, got {weights.min():.3g} among them")
    points = np.asarray(points)
    if points.ndim != 2 or points.dtype.kind not in "iu" or points.size == 0:
        raise ValueError(f"points must be indices of shape (r, n), got shape {points.shape}")
    if points.min() < 0 or points.max() >= len(phi):
        raise ValueError(f"points must be indices from 0 to {len(phi) - 1}")
    n = points.shape[1]
    roots = np.sqrt(weights[points] / n)
    rows = phi[points] * roots[..., None]
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    kept = singular > 1e-12 * singular[:, :1]
    inverse = np.where(kept, 1.0 / np.where(kept, singular, 1.0), 0.0)
    inside = np.einsum("rnk,rn->rk", left, values[points] * roots) * inverse
    smallest = singular[:, -1] ** 2 if n >= phi.shape[1] else np.zeros(len(points))
    return Fits(np.einsum("rkm,rk->rm", right, inside), smallest, points)


def sampling_study(phi, values, n: int, sampling: str, repeats: int, rng):
    """Fit from ``repeats`` samples of n points; say how near each comes to the best fit there is.

    Paper: weighted-least-squares-approximation (Nouy and Michel 2023, arXiv:2312.14057)

    Parameters as in ``sample_points``, and values (g,), not exactly in the space of phi.
    Returns (ratios, fits): (repeats,) mean squared errors over the best one, and Fits. Raises
    ValueError for other values. Cost: that of the draws and the fits, and O(repeats g m).
    """
    phi = _orthonormal(phi)
    values = as_vector("values", values, length=len(phi))
    target = phi.T @ values / len(phi)
    best = float(np.mean((values - phi @ target) ** 2))
    if best <= 1e-24 * float(np.mean(values**2)):
        raise ValueError("values must not lie in the space of phi: the best error is 0")
    points = sample_points(phi, n, sampling, repeats, rng)
    weights = np.ones(len(phi)) if sampling == "uniform" else sample_weights(phi)
    fits = weighted_fit(phi, values, points, weights)
    return 1.0 + np.sum((fits.coefficients - target) ** 2, axis=1) / best, fits


# ------------------------------------------------------------------------------------------------
# 5. All feature maps of a Gaussian kernel behind one name
# ------------------------------------------------------------------------------------------------

MAPS = (
    "cosines",
    "rounded cosines",
    "positive, iid",
    "positive, orthogonal",
    "positive, simplex",
    "signs",
    "dithered signs",
    "sigma-delta",
    "sigma-delta 2",
    "distributed",
)


def gaussian_features(
    x, m: int, name: str, bandwidth: float, rng, oversampling: int = 15
) -> np.ndarray:
    """Return m features of each point whose inner products estimate a Gaussian kernel.

    Parameters
    ----------
    x : (n, d)
    m : number of features, >= 1
    name : "cosines", "rounded cosines" (to oversampling + 1 levels, as many as the averages of
        "sigma-delta" take), "positive, iid" (or orthogonal, simplex), "signs", "dithered signs",
        "sigma-delta", "sigma-delta 2" or "distributed"; the last three average ``oversampling``
        one-bit features for each one that they return
    bandwidth : > 0, of exp(-|x - z|^2 / (2 bandwidth^2))
    rng : Generator or seed
    oversampling : an odd number >= 1

    Returns (n, m): estimates from the first l columns alone are sqrt(m/l) times as large.
    Raises ValueError for other values, and for an x whose features overflow. Cost: O(n m d), times
    oversampling where features are averaged.
    """
    x, m = as_matrix("x", x), integer("m", m, low=1)
    one_of("name", name, MAPS)
    bandwidth, rng = positive("bandwidth", bandwidth), as_rng(rng)
    oversampling, d = integer("oversampling", oversampling, low=1), x.shape[1]
    if name.startswith("positive"):
        coupling = name.removeprefix("positive, ")
        return positive_features(x / bandwidth, draw_projections(m, d, coupling, rng))
    shaper = _shapers().get(name)
    count = m if shaper is None else m * oversampling
    with np.errstate(over="ignore", invalid="ignore"):
        z = _finite("x", x @ spectral_frequencies(Gaussian(bandwidth), count, d, rng).T)
    z += rng.uniform(0.0, 2.0 * math.pi, count)
    if name == "cosines":
        return scaled_cosines(z, math.sqrt(2.0 / m))
    z = scaled_cosines(z)
    if name == "rounded cosines":
        return math.sqrt(2.0 / m) * rounded(z, oversampling)
    if name == "signs":
        return np.where(z >= 0.0, 1.0, -1.0) / math.sqrt(m)
    if name == "dithered signs":
        return math.sqrt(2.0 / m) * dithered_signs(z, rng)
    q, _ = shape_noise(z, shaper, oversampling)
    return math.sqrt(2.0) * condense(q, shaper.window(oversampling))


def bits_per_feature(name: str, oversampling: int = 15) -> float:
    """Return how many bits store one feature of ``gaussian_features``; 32 if not quantised."""
    one_of("name", name, MAPS)
    shaper = _shapers().get(name)
    if shaper is not None:
        return shaper.bits(oversampling)
    if name == "rounded cosines":
        return math.log2(integer("oversampling", oversampling, low=1) + 1)
    return 1.0 if name.endswith("signs") else 32.0


@functools.cache
def _shapers() -> dict[str, NoiseShaper]:
    return {
        "sigma-delta": sigma_delta(1),
        "sigma-delta 2": sigma_delta(2),
        "distributed": distributed_shaping(1.5),
    }


def running_estimates(left, right, counts) -> np.ndarray:
    """Return kernel estimates of pairs from the first features only, for several counts.

    Parameters: left and right (p, m), features of the two points of p pairs, scaled for all m;
    counts (c,), rising integers from 1 to m. Returns (c, p). Raises ValueError otherwise.
    Cost: O(p m).
    """
    left = as_matrix("left", left)
    right = as_matrix("right", right, rows=len(left), columns=left.shape[1])
    m = left.shape[1]
    if np.ndim(counts) != 1:
        raise ValueError(f"counts must be a list of rising integers, got {counts!r}")
    counts = np.array([integer("counts", c, low=1, high=m) for c in counts])
    if counts.size == 0 or (np.diff(counts) <= 0).any():
        raise ValueError(f"counts must rise, got {counts.tolist()}")
    starts = np.concatenate([[0], counts[:-1]])
    pieces = np.add.reduceat(left[:, : counts[-1]] * right[:, : counts[-1]], starts, axis=1)
    return np.cumsum(pieces, axis=1).T * (m / counts[:, None])
