"""Feature maps that take the place of the softmax: attention in time linear in the tokens.

If a kernel is an inner product, k(q, k) = phi(q).phi(k), the sum over the keys

    sum_j phi(q).phi(k_j) v_j = phi(q).(sum_j phi(k_j) v_j')

needs one pass over the keys for all queries together. What phi is, is the question. The sections:

0. Tokens of a photograph, whose exact attention removes noise
1. Frequencies that are learned (Chowdhury et al. 2021)
2. A small network as feature map (Yorsh and Kovalenko 2022)
3. A cosine transform with fitted weights in place of random draws (Chen et al. 2024)
4. Squares that can be zero (Aksenov et al. 2024)
5. Weights of the relative position, by FFT (Luo et al. 2021)

Positive random features and their draws are those of ``methods.random_features``; attention itself
is that of ``compute.attention``.
"""

import math
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import autograd
import autograd.numpy as anp
import numpy as np
from scipy.fft import dct
from scipy.optimize import nnls
from scipy.special import expit, ndtri

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
)
from kernellab.compute.directions import random_directions, sobol_points
from kernellab.compute.features import fourier_features
from kernellab.compute.networks import Adam

# ------------------------------------------------------------------------------------------------
# 0. Tokens of a photograph
# ------------------------------------------------------------------------------------------------


def unit_rows(x) -> np.ndarray:
    """Return the rows of x divided by their lengths; a row of zeros stays.

    Paper: stable-fast-and-accurate (Luo et al. 2021, arXiv:2106.12566)

    Parameters: x (n, d). Returns (n, d). Raises ValueError for another shape. Cost: O(n d).
    Source: section 3.3, where attention with such queries and keys is called normalised.
    """
    x = as_matrix("x", x)
    x = x / np.where(x.any(axis=1), np.abs(x).max(axis=1), 1.0)[:, None]  # no overflow in squares
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length == 0, 1.0, length)


def patch_tokens(image, radius: int = 1, lift: float = 0.5) -> np.ndarray:
    """Return one unit vector a pixel: the grey values around it, and a constant.

    (p - 1/2) / w, with the w^2 = (2 radius + 1)^2 grey values p of the window (mirrored at the
    border), and the number ``lift``; then divided by the length. The constant keeps dark, middle
    and bright patches apart that are multiples of each other. With queries and keys R times these
    tokens, softmax attention averages each pixel over the pixels with similar surroundings
    (non-local means), R^2 saying how similar.

    Parameters: image (h, w), radius >= 0, lift > 0. Returns (h w, (2 radius + 1)^2 + 1), pixels row
    by row. Raises ValueError for others. Cost: O(h w radius^2).
    Source: Buades, Coll and Morel 2005, of which this is a form with normalised patches.
    """
    image, lift = as_matrix("image", image), positive("lift", lift)
    radius = integer("radius", radius, low=0, high=min(image.shape) - 1)
    side = 2 * radius + 1
    around = np.pad(image, radius, mode="reflect") if radius else image
    windows = np.lib.stride_tricks.sliding_window_view(around, (side, side))
    grey = (windows.reshape(image.size, -1) - 0.5) / side
    return unit_rows(np.column_stack([grey, np.full(len(grey), lift)]))


def attention_pullback(query_features, key_features, values):
    """Return linear attention, and the map from sensitivities to those of the features.

    out = N / D with N = phi_Q (phi_K^T V), D = phi_Q (phi_K^T 1).

    Parameters: phi_Q (n, r), phi_K (m, r), values (m, p). Returns out (n, p) and pullback: G (n, p)
    -> derivatives of sum(G * out) in phi_Q (n, r) and phi_K (m, r). Raises ValueError for shapes
    that do not fit, or where D is 0. Cost: O((n + m) r p).
    """
    query_features = as_matrix("query_features", query_features)
    key_features = as_matrix("key_features", key_features, columns=query_features.shape[1])
    values = as_matrix("values", values, rows=len(key_features))
    padded = np.column_stack([values, np.ones(len(values))])
    state = key_features.T @ padded
    sums = query_features @ state
    total = sums[:, -1:]
    if not total.all():
        raise ValueError("query_features and key_features must have products whose sums are not 0")
    out = sums[:, :-1] / total

    def pullback(slopes):
        inner = np.column_stack([slopes, -np.sum(slopes * out, axis=1)]) / total
        return inner @ state.T, padded @ (query_features.T @ inner).T

    return out, pullback


def output_error(found, exact) -> float:
    """Return |found - exact| over |exact - its mean|: 1 is what a constant reaches.

    Parameters: found, exact (n, p). Returns a float. Raises ValueError for shapes that differ, or
    an exact output without variation. Cost: O(n p).
    """
    exact = as_matrix("exact", exact)
    found = as_matrix("found", found, *exact.shape[::-1])
    top = np.abs(exact).max() or 1.0  # no overflow in squares
    exact, found = exact / top, found / top
    spread = np.linalg.norm(exact - exact.mean(axis=0))
    if spread == 0:
        raise ValueError("exact must vary from row to row, its rows are all the same")
    return float(np.linalg.norm(found - exact) / spread)


# ------------------------------------------------------------------------------------------------
# 1. Frequencies that are learned
# ------------------------------------------------------------------------------------------------


class Spectrum(NamedTuple):
    """A mixture of C normal densities of frequencies, all of the same weight."""

    centres: np.ndarray
    """(C, d), the means mu_c"""
    log_deviations: np.ndarray
    """(C, d), logarithms of the standard deviations"""

    def frequencies(self, noise) -> np.ndarray:
        """Return w = mu_c + sigma_c eps, (C r, d), for standard normal noise (C, r, d), r >= 1."""
        noise = _as_noise(noise, *self.centres.shape)
        return (self.centres[:, None] + np.exp(self.log_deviations)[:, None] * noise).reshape(
            -1, self.centres.shape[1]
        )

    def kernel(self, gaps) -> np.ndarray:
        """Return E cos(w.r) = mean_c exp(-|sigma_c r|^2 / 2) cos(mu_c.r) for gaps r (n, d): (n,).

        Cost: O(n C d).
        """
        gaps = as_matrix("gaps", gaps, columns=self.centres.shape[1])
        damping = np.exp(-0.5 * gaps**2 @ np.exp(2 * self.log_deviations).T)
        return np.mean(damping * np.cos(gaps @ self.centres.T), axis=1)


def _as_noise(noise, components, d) -> np.ndarray:
    noise = np.asarray(noise, dtype=np.float64)
    if noise.ndim != 3 or noise.shape[::2] != (components, d) or noise.shape[1] == 0:
        raise ValueError(
            f"noise must have shape ({components}, r, {d}), r >= 1, got shape {noise.shape}"
        )
    if not np.isfinite(noise).all():
        raise ValueError("noise must be finite, got infinite or undefined entries")
    return noise


def spectrum(centres, deviations=1.0) -> Spectrum:
    """Return a mixture with the given centres (C, d) and standard deviations, one or (C, d).

    Paper: on-learning-the-transformer-kernel (Chowdhury et al. 2021, arXiv:2110.08323)

    Raises ValueError for other shapes, or deviations that are not positive. Cost: O(C d).

    >>> spectrum([[0.0, 0.0], [4.0, 0.0]]).kernel([[0.0, 0.0]]).tolist()
    [1.0]
    """
    centres = as_matrix("centres", centres)
    if np.ndim(deviations) == 0:
        deviations = np.full(centres.shape, positive("deviations", deviations))
    deviations = as_matrix("deviations", deviations, *centres.shape[::-1])
    if deviations.min() <= 0:
        raise ValueError(f"deviations must be positive, got {deviations.min()}")
    return Spectrum(centres, np.log(deviations))


def kernel_smoother(gram, values) -> np.ndarray:
    """Return attention with given kernel values: (gram @ values) / row sums.

    Parameters: gram (n, m), values (m, p). Returns (n, p). Raises ValueError for shapes that do not
    fit, or a row sum of 0. Cost: O(n m p).
    """
    gram = as_matrix("gram", gram)
    values = as_matrix("values", values, rows=gram.shape[1])
    total = gram.sum(axis=1, keepdims=True)
    if not total.all():
        raise ValueError("gram must have row sums that are not 0")
    return gram @ values / total


def learn_spectrum(
    start: Spectrum, noise, tokens, values, targets, steps: int = 300, step: float = 0.03
) -> Iterator[tuple[float, tuple[Spectrum, float]]]:
    """Fit the mixture of frequencies so that linear attention gives the targets.

    With phi(x) = [cos(w_1.x), ..., sin(w_1.x), ...] / sqrt(M), w = mu_c + sigma_c eps and the noise
    eps kept, Adam descends the mean square of N / D - targets in mu and log sigma.

    Paper: on-learning-the-transformer-kernel (Chowdhury et al. 2021, arXiv:2110.08323)

    Parameters
    ----------
    start : Spectrum of C components
    noise : (C, r, d), standard normal; M = C r
    tokens : (n, d), queries and keys at once
    values, targets : (n, p)
    steps : >= 1; step : > 0, the length of Adam's

    Yields (fraction done, (Spectrum, loss before the step)). Raises ValueError for shapes that do
    not fit. Cost: O(n M (d + p)) a step. Source: section 3.2, the mixture variant.
    """
    tokens, values, targets = _sequence(tokens, values, targets)
    centres = as_matrix("start.centres", start.centres, columns=tokens.shape[1]).copy()
    logs = as_matrix("start.log_deviations", start.log_deviations, *centres.shape[::-1]).copy()
    noise = _as_noise(noise, *centres.shape)
    steps, adam = integer("steps", steps, low=1), Adam([centres, logs], positive("step", step))

    def run():
        for t in range(steps):
            now = Spectrum(centres, logs)
            w = now.frequencies(noise)
            features = fourier_features(tokens, w)
            out, pullback = attention_pullback(features, features, values)
            loss = float(np.mean((out - targets) ** 2))
            slopes = sum(pullback(2.0 * (out - targets) / out.size))
            cosines, sines = np.split(features, 2, axis=1)
            of_cosines, of_sines = np.split(slopes, 2, axis=1)
            of_w = (cosines * of_sines - sines * of_cosines).T @ tokens
            of_w = of_w.reshape(noise.shape)
            adam.update([of_w.sum(axis=1), (of_w * noise).sum(axis=1) * np.exp(logs)])
            yield (t + 1) / steps, (Spectrum(centres.copy(), logs.copy()), loss)

    return run()


def _sequence(tokens, values, targets):
    tokens = as_matrix("tokens", tokens)
    values = as_matrix("values", values, rows=len(tokens))
    return tokens, values, as_matrix("targets", targets, *values.shape[::-1])


# ------------------------------------------------------------------------------------------------
# 2. A small network as feature map
# ------------------------------------------------------------------------------------------------

MAPS = ("one layer", "gated")
ACTIVATIONS = ("softplus", "exp")


def elu_features(x) -> np.ndarray:
    """Return elu(x) + 1: x + 1 above 0, exp(x) below; the map without a parameter.

    Parameters: x (n, d). Returns (n, d). Raises ValueError for another shape. Cost: O(n d).
    Source: Katharopoulos et al. 2020 (arXiv:2006.16236), equation 7.
    """
    x = as_matrix("x", x)
    return np.where(x > 0, x + 1.0, np.exp(np.minimum(x, 0.0)))


class FeatureNetwork(NamedTuple):
    """A feature map phi(x) = a(z), one for queries and keys.

    z = x W + b for one layer, (x W + b) sigmoid(x W' + b') with a gate.
    """

    layers: list
    """[W (d, m), b (m,)], and [.., W' (d, m), b' (m,)] with a gate"""
    activation: str
    """a: "softplus", log(1 + e^z), or "exp" """

    def features(self, x) -> np.ndarray:
        """Return phi of the rows of x (n, d): (n, m). Cost: O(n d m)."""
        one_of("activation", self.activation, ACTIVATIONS)
        return self.pullback(as_matrix("x", x, columns=self.layers[0].shape[0]))[0]

    def pullback(self, x):
        """Return phi(x) and the map from its sensitivities (n, m) to those of the layers."""
        a = x @ self.layers[0] + self.layers[1]
        gate = expit(x @ self.layers[2] + self.layers[3]) if len(self.layers) == 4 else None
        z = a if gate is None else a * gate
        phi = np.exp(np.minimum(z, 300.0)) if self.activation == "exp" else np.logaddexp(0.0, z)

        def pullback(slopes):
            of_z = slopes * (phi if self.activation == "exp" else expit(z))
            if gate is None:
                return [x.T @ of_z, of_z.sum(axis=0)]
            of_a, of_gate = of_z * gate, of_z * a * gate * (1.0 - gate)
            return [x.T @ of_a, of_a.sum(axis=0), x.T @ of_gate, of_gate.sum(axis=0)]

        return phi, pullback


def feature_network(d: int, m: int, kind: str, rng, activation: str = "softplus") -> FeatureNetwork:
    """Return an untrained feature map: normal weights of variance 1/d, biases 0.

    Paper: linear-self-attention-approximation (Yorsh and Kovalenko 2022, arXiv:2211.04076)

    Parameters: d inputs, m features, both >= 1; kind "one layer" or "gated"; rng, Generator or
    seed; activation "softplus" or "exp". Raises ValueError for others. Cost: O(d m).
    """
    d, m, rng = integer("d", d, low=1), integer("m", m, low=1), as_rng(rng)
    one_of("activation", activation, ACTIVATIONS)
    rounds = 1 + (one_of("kind", kind, MAPS) == "gated")
    layers = []
    for _ in range(rounds):
        layers += [rng.standard_normal((d, m)) / math.sqrt(d), np.zeros(m)]
    return FeatureNetwork(layers, activation)


def orthogonality(weights) -> tuple[float, np.ndarray]:
    """Return how far a matrix is from orthogonal up to a scale, and the gradient.

    |G / s - I|_F^2 with G = W W^T, or W^T W if W is tall, and s = tr G / (size of G): 0 when all
    singular values are equal, whatever they are.

    Paper: linear-self-attention-approximation (Yorsh and Kovalenko 2022, arXiv:2211.04076)

    Parameters: weights W (d, m), not all 0. Returns a float and (d, m). Raises ValueError for
    others. Cost: O(d m min(d, m)). The paper's penalty has s = 1, which fixes the scale too.
    """
    weights = as_matrix("weights", weights)
    top = np.abs(weights).max()
    if top == 0:
        raise ValueError("weights must not all be 0")
    weights = weights / top  # the value does not change, and squares do not overflow
    wide = weights if weights.shape[0] <= weights.shape[1] else weights.T
    gram = wide @ wide.T
    size, scale = len(gram), np.trace(gram) / len(gram)
    gap = gram / scale - np.eye(size)
    of_gram = 2.0 / scale * (gap - np.sum(gap * gram) / (scale * size) * np.eye(size))
    gradient = 2.0 / top * of_gram @ wide
    return float(np.sum(gap**2)), gradient if wide is weights else gradient.T


def distil(
    network: FeatureNetwork, batches, penalty: float = 0.0, steps: int = 300, step: float = 0.02
) -> Iterator[tuple[float, tuple[FeatureNetwork, float]]]:
    """Train a feature map until its linear attention gives what a softmax head gave.

    Adam descends |N / D - targets|^2 / |targets - mean|^2 + penalty |G / s - I|_F^2 (the latter for
    each matrix of weights), over the batches in turn.

    Paper: linear-self-attention-approximation (Yorsh and Kovalenko 2022, arXiv:2211.04076)

    Parameters
    ----------
    network : where to start; it is not changed
    batches : one or more (queries (n, d), keys (m, d), values (m, p), targets (n, p))
    penalty : >= 0
    steps : >= 1; step : > 0, the length of Adam's, falling to a tenth at the end

    Yields (fraction done, (FeatureNetwork, loss before the step)). Raises ValueError for shapes
    that do not fit. Cost: O((n + m) r (d + p)) a step, r features.
    """
    d = network.layers[0].shape[0]
    one_of("network.activation", network.activation, ACTIVATIONS)
    batches = [_batch(batch, d) for batch in batches]
    if not batches:
        raise ValueError("batches must hold at least one batch, got none")
    penalty, steps = nonnegative("penalty", penalty), integer("steps", steps, low=1)
    step = positive("step", step)
    layers = [layer.copy() for layer in network.layers]
    moved, adam = FeatureNetwork(layers, network.activation), Adam(layers, step)

    def run():
        for t in range(steps):
            adam.step = step * (1.0 - 0.9 * t / steps)
            loss, slopes = _distillation(moved, *batches[t % len(batches)])
            for place in range(0, len(layers), 2) if penalty else ():
                value, slope = orthogonality(layers[place])
                loss += penalty * value
                slopes[place] += penalty * slope
            adam.update(slopes)
            kept = FeatureNetwork([layer.copy() for layer in layers], network.activation)
            yield (t + 1) / steps, (kept, loss)

    return run()


def _batch(batch, d):
    if len(batch) != 4:
        raise ValueError(
            f"batches must hold (queries, keys, values, targets), got {len(batch)} parts"
        )
    queries, keys, values, targets = batch
    shared = keys is queries
    queries = as_matrix("queries", queries, columns=d)
    keys = queries if shared else as_matrix("keys", keys, columns=d)
    values = as_matrix("values", values, rows=len(keys))
    targets = as_matrix("targets", targets, rows=len(queries), columns=values.shape[1])
    spread = np.sum((targets - targets.mean(axis=0)) ** 2)
    return queries, keys, values, targets, spread if spread > 0 else 1.0


def _distillation(network, queries, keys, values, targets, spread):
    """Return the relative squared error of a batch, and its gradient in the layers."""
    shared = keys is queries  # one array for both: its features are made once
    phi, pullback = network.pullback(queries if shared else np.vstack([queries, keys]))
    n = len(queries)
    out, through = attention_pullback(*((phi, phi) if shared else (phi[:n], phi[n:])), values)
    gap = out - targets
    of_queries, of_keys = through(2.0 * gap / spread)
    slopes = of_queries + of_keys if shared else np.vstack([of_queries, of_keys])
    return float(np.sum(gap**2) / spread), pullback(slopes)


def last(iterator):
    """Return the final state of a training run that yields (fraction, state).

    >>> last([(0.5, "half"), (1.0, "done")])
    'done'
    """
    states = deque((state for _, state in iterator), maxlen=1)
    if not states:
        raise ValueError("iterator must yield at least one state, got none")
    return states[0]


# ------------------------------------------------------------------------------------------------
# 3. A cosine transform with fitted weights
# ------------------------------------------------------------------------------------------------

SEQUENCES = ("random", "Sobol", "Halton")


def normal_quantiles(m: int, sequence: str, rng) -> np.ndarray:
    """Return m numbers that follow a standard normal law: quantiles of points in (0, 1).

    Paper: dijiang (Chen et al. 2024, arXiv:2403.19928)

    Parameters: m >= 1; sequence "random" (independent points), "Sobol" or "Halton" (evenly spread,
    scrambled); rng, Generator or seed. Returns (m,). Raises ValueError for others.
    Cost: O(m log m).
    """
    m, rng = integer("m", m, low=1), as_rng(rng)
    one_of("sequence", sequence, SEQUENCES)
    if sequence == "random":
        return rng.standard_normal(m)
    if sequence == "Sobol":
        return ndtri(sobol_points(m, 1, rng)[:, 0])
    from scipy.stats import qmc  # costs 0.3 s, which other sections need not pay

    points = qmc.Halton(1, rng=rng).random(m)[:, 0]
    return ndtri(np.clip(points, 2.0**-53, 1.0 - 2.0**-53))


def cosine_features(x, quantiles, weights=None, rescaled: bool = True) -> np.ndarray:
    """Return the features D exp(T C x), C the cosine transform of the entries of x.

    As written in the paper phi(x) = D exp(T C x) / sqrt(m), T = diag(t), rows t_i c_i of length
    |t_i|. Gaussian draws, for which exp(w.x - |x|^2 / 2) gives exp(q.k) on average, have a length
    near sqrt(d): ``rescaled`` multiplies the rows by sqrt(d) and includes exp(-|x|^2 / 2).

    Paper: dijiang (Chen et al. 2024, arXiv:2403.19928)

    Parameters
    ----------
    x : (n, d)
    quantiles : t (m,); feature i uses row i mod d of C
    weights : the diagonal of D^2 (m,), >= 0; None: ones
    rescaled : see above

    Returns (n, m). Raises ValueError for other shapes, or features that overflow.
    Cost: O(n (d log d + m)).
    """
    x, quantiles = as_matrix("x", x), as_vector("quantiles", quantiles)
    m, d = len(quantiles), x.shape[1]
    fits_in_memory("the features", 16 * len(x) * m)
    z = dct(x, type=2, norm="ortho", axis=1)[:, np.arange(m) % d] * quantiles
    if rescaled:
        z = math.sqrt(d) * z - 0.5 * np.sum(x**2, axis=1)[:, None]
    with np.errstate(over="ignore"):
        features = np.exp(z) / math.sqrt(m)
    if not np.isfinite(features).all():
        raise ValueError("x must be smaller, its features are beyond the largest float")
    if weights is not None:
        weights = as_vector("weights", weights, length=m)
        if weights.min() < 0:
            raise ValueError(f"weights must not be negative, got {weights.min()}")
        features *= np.sqrt(weights)
    return features


def importance_weights(query_features, key_features, exact, power: float = 1.0) -> np.ndarray:
    """Return weights D^2 >= 0 for which sum_i D_i^2 phi_i(q) phi_i(k) is nearest to the kernel.

    Least squares over given pairs, no weight below 0, of the errors divided by exact^power:
    relative errors for 1, absolute ones for 0.

    Paper: dijiang (Chen et al. 2024, arXiv:2403.19928)

    Parameters: features of the pairs, both (p, m); exact kernel values (p,), positive; power
    from 0 to 1. Returns (m,). Raises ValueError for others. Cost: O(p m^2) or a few times that.
    """
    left = as_matrix("query_features", query_features)
    right = as_matrix("key_features", key_features, *left.shape[::-1])
    exact = as_vector("exact", exact, length=len(left))
    if exact.min() <= 0:
        raise ValueError(f"exact must be positive, got {exact.min()}")
    power = between("power", power, 0.0, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = exact**-power
        products, wanted = left * right * scale[:, None], exact * scale
    if not (np.isfinite(products).all() and np.isfinite(wanted).all()):
        raise ValueError(
            "query_features, key_features and exact must keep the weighted products finite"
        )
    return nnls(products, wanted)[0]


# ------------------------------------------------------------------------------------------------
# 4. Squares that can be zero
# ------------------------------------------------------------------------------------------------


def square_features(x, scale: float = 1.0) -> np.ndarray:
    """Return phi with phi(q).phi(k) = scale (q.k)^2: x_i^2, and sqrt(2) x_i x_j for i < j.

    Paper: linear-transformers-with-learnable-kernel (Aksenov et al. 2024, arXiv:2402.10644)

    Parameters: x (n, d), scale > 0. Returns (n, d (d + 1) / 2), the upper triangle row by row.
    Raises ValueError for others, or products that overflow. Cost: O(n d^2).

    >>> square_features([[1.0, 3.0]]).round(3).tolist()
    [[1.0, 4.243, 9.0]]
    """
    x = as_matrix("x", x)
    n, d = x.shape
    fits_in_memory("the features", 4 * n * d * (d + 1))
    out = np.empty((n, d * (d + 1) // 2))
    _outer_triangle(x, math.sqrt(positive("scale", scale)), out)
    if not np.isfinite(out).all():
        raise ValueError(f"x must keep its products finite, got entries up to {abs(x).max():.3g}")
    return out


@compiled("void(float64[:,::1], float64, float64[:,::1])", fastmath={"contract"})
def _outer_triangle(x, scale, out):
    """Fill rows of out with scale x_i^2 and scale sqrt(2) x_i x_j, i < j."""
    n, d = x.shape
    root = math.sqrt(2.0) * scale
    for row in range(n):
        place = 0
        for i in range(d):
            first = root * x[row, i]
            for j in range(i, d):
                out[row, place + j - i] = first * x[row, j]
            out[row, place] = scale * x[row, i] * x[row, i]
            place += d - i


def taylor_features(x) -> np.ndarray:
    """Return phi with phi(q).phi(k) = 1 + s + s^2 / 2, s = q.k / sqrt(d), as in Based.

    Paper: linear-transformers-with-learnable-kernel (Aksenov et al. 2024, arXiv:2402.10644)

    Parameters: x (n, d). Returns (n, 1 + d + d (d + 1) / 2). Raises ValueError for another shape.
    Cost: O(n d^2). Source of Based: Arora et al. 2024 (arXiv:2402.18668).
    """
    x = as_matrix("x", x)
    d = x.shape[1]
    squares = square_features(x, 0.5 / d)
    return np.hstack([np.ones((len(x), 1)), x / d**0.25, squares])


def layer_norm(x) -> np.ndarray:
    """Return rows with mean 0 and variance 1: (x - mean) / sqrt(variance + 1e-5).

    Parameters: x (n, d). Returns (n, d). Raises ValueError for another shape, or entries whose
    squares overflow. Cost: O(n d).
    """
    x = as_matrix("x", x)
    largest = np.abs(x).max()
    if largest > 1e150:
        raise ValueError(f"x must have entries below 1e150, got {largest:.3g}")
    return _layer_norm(x)


def _layer_norm(x):
    x = x - anp.mean(x, axis=-1, keepdims=True)
    return x / anp.sqrt(anp.mean(x**2, axis=-1, keepdims=True) + 1e-5)


def rebased_features(x, gain, shift) -> np.ndarray:
    """Return phi with phi(q).phi(k) = (q'.k')^2 / d, x' = gain * LN(x) + shift.

    Paper: linear-transformers-with-learnable-kernel (Aksenov et al. 2024, arXiv:2402.10644)

    Parameters: x (n, d); gain, shift (d,), one pair for queries and one for keys. Returns
    (n, d (d + 1) / 2). Raises ValueError for others. Cost: O(n d^2).
    """
    x = as_matrix("x", x)
    d = x.shape[1]
    gain, shift = as_vector("gain", gain, length=d), as_vector("shift", shift, length=d)
    return square_features(gain * layer_norm(x) + shift, 1.0 / d)


class RecallLayer(NamedTuple):
    """One attention layer that looks a key up: q = x W_Q, k = x W_K, a kernel, and no more."""

    kernel: str
    """one of RECALL_KERNELS"""
    parameters: list
    """[W_Q (e, d), W_K (e, d)]; with normalised rows then gain, shift (d,) of queries, of keys"""

    def weights(self, asked, stored):
        """Return the weights (..., a, p) of stored keys (..., p, e) for asked ones (..., a, e)."""
        one_of("kernel", self.kernel, RECALL_KERNELS)
        e = self.parameters[0].shape[0]
        for name, keys in (("asked", asked), ("stored", stored)):
            if np.ndim(keys) < 2 or np.shape(keys)[-1] != e:
                raise ValueError(f"{name} must have shape (..., {e}), got shape {np.shape(keys)}")
        return _recall_weights(self.kernel, self.parameters, asked, stored)


RECALL_KERNELS = ("softmax", "Based", "Based, normalised", "ReBased", "bare square")
_NORMALISED = ("Based, normalised", "ReBased")


def _recall_weights(kernel, parameters, asked, stored):
    queries, keys = anp.matmul(asked, parameters[0]), anp.matmul(stored, parameters[1])
    d = parameters[0].shape[1]
    if kernel in _NORMALISED:
        queries = parameters[2] * _layer_norm(queries) + parameters[3]
        keys = parameters[4] * _layer_norm(keys) + parameters[5]
    scores = anp.matmul(queries, anp.swapaxes(keys, -1, -2)) / math.sqrt(d)
    if kernel == "softmax":
        similar = anp.exp(scores - anp.max(scores, axis=-1, keepdims=True))
    elif kernel.startswith("Based"):
        similar = 1.0 + scores + 0.5 * scores**2
    else:
        similar = scores**2 + 1e-12
    return similar / anp.sum(similar, axis=-1, keepdims=True)


def recall_layer(kernel: str, e: int, d: int, rng, alike: float = 0.7) -> RecallLayer:
    """Return an untrained layer: standard normal weights, gains 1, shifts 0.

    Entries of W_Q and W_K have the correlation ``alike``. Squares do not know which of s and -s is
    right, and from independent maps they need far more steps than the others.

    Paper: linear-transformers-with-learnable-kernel (Aksenov et al. 2024, arXiv:2402.10644)

    Parameters: kernel, one of RECALL_KERNELS; e numbers a token, d features after the maps, both
    >= 1; rng, Generator or seed; alike from -1 to 1. Raises ValueError for others. Cost: O(e d).
    """
    one_of("kernel", kernel, RECALL_KERNELS)
    e, d, rng = integer("e", e, low=1), integer("d", d, low=1), as_rng(rng)
    alike = between("alike", alike, -1.0, 1.0)
    first, other = rng.standard_normal((2, e, d))
    parameters = [first, alike * first + math.sqrt(1.0 - alike**2) * other]
    if kernel in _NORMALISED:
        parameters += [np.ones(d), np.zeros(d), np.ones(d), np.zeros(d)]
    return RecallLayer(kernel, parameters)


def recall(layer: RecallLayer, pairs: int, rng, sequences: int = 60) -> tuple[float, float]:
    """Return how often the right key is the heaviest, and the mean weight on the right key.

    Paper: linear-transformers-with-learnable-kernel (Aksenov et al. 2024, arXiv:2402.10644)

    Parameters: layer; pairs >= 2 stored in each of ``sequences`` >= 1; rng. Returns two numbers in
    [0, 1]. Raises ValueError for others. Cost: O(sequences pairs (pairs + e) d).
    """
    pairs, sequences = integer("pairs", pairs, low=2), integer("sequences", sequences, low=1)
    e, own = layer.parameters[0].shape[0], np.arange(pairs)
    fits_in_memory("the weights", 24 * sequences * pairs**2)
    keys = random_directions(sequences * pairs, e, rng).reshape(sequences, pairs, e)
    weights = layer.weights(keys, keys)
    right = weights[:, own, own]
    return float(np.mean(weights.argmax(axis=2) == own)), float(right.mean())


def train_recall(
    layer: RecallLayer, pairs: int, rng, steps: int = 300, step: float = 0.02, batch: int = 16
) -> Iterator[tuple[float, tuple[RecallLayer, float]]]:
    """Train a layer to look up the right one of some stored keys.

    Each sequence stores ``pairs`` fresh random unit keys and asks for each of them; Adam descends
    the mean of -log(weight on the right key).

    Paper: linear-transformers-with-learnable-kernel (Aksenov et al. 2024, arXiv:2402.10644)

    Parameters: layer, not changed; pairs >= 2; rng; steps >= 1; step > 0; batch >= 1 sequences a
    step. Yields (fraction done, (RecallLayer, loss)). Raises ValueError for others.
    Cost: O(batch pairs (pairs + e) d) a step.
    """
    pairs, steps = integer("pairs", pairs, low=2), integer("steps", steps, low=1)
    batch, rng = integer("batch", batch, low=1), as_rng(rng)
    one_of("layer.kernel", layer.kernel, RECALL_KERNELS)
    parameters = [array.copy() for array in layer.parameters]
    e, adam = parameters[0].shape[0], Adam(parameters, positive("step", step))
    own = np.arange(pairs)

    def loss(parameters, keys):
        weights = _recall_weights(layer.kernel, parameters, keys, keys)
        return -anp.mean(anp.log(weights[:, own, own] + 1e-9))

    slopes = autograd.value_and_grad(loss)

    def run():
        for t in range(steps):
            keys = random_directions(batch * pairs, e, rng).reshape(batch, pairs, e)
            value, gradient = slopes(parameters, keys)
            adam.update(gradient)
            kept = [array.copy() for array in parameters]
            yield (t + 1) / steps, (RecallLayer(layer.kernel, kept), float(value))

    return run()


# ------------------------------------------------------------------------------------------------
# 5. Weights of the relative position
# ------------------------------------------------------------------------------------------------

FAMILIES = ("logarithmic", "decay")


def position_weights(n: int, family: str, rate: float = 1.0, reach: float = 1.0) -> np.ndarray:
    """Return exp(b) for the biases of relative positions -(n - 1), ..., n - 1.

    "logarithmic": b = -rate log(1 + |gap| / reach), weights that fall like a power.
    "decay": b = -rate |gap| / reach, as a state that forgets.

    Paper: stable-fast-and-accurate (Luo et al. 2021, arXiv:2106.12566)

    Parameters: n >= 1 tokens; family; rate >= 0; reach > 0, in tokens. Returns (2 n - 1,), as
    ``toeplitz_attention`` takes it. Raises ValueError for others. Cost: O(n).
    Source of the families: Chi et al. 2022 (arXiv:2205.09921); Chen et al. 2024 (arXiv:2403.19928).

    >>> position_weights(2, "decay", rate=0.0).tolist()
    [1.0, 1.0, 1.0]
    """
    n, rate, reach = integer("n", n, low=1), nonnegative("rate", rate), positive("reach", reach)
    one_of("family", family, FAMILIES)
    fits_in_memory("the weights", 48 * n)
    with np.errstate(over="ignore"):
        gaps = np.minimum(np.abs(np.arange(1.0 - n, n)) / reach, 1e300)  # rate 0 times inf is NaN
        return np.exp(-rate * (gaps if family == "decay" else np.log1p(gaps)))


def positive_feature_deviation(queries, keys, m: int) -> np.ndarray:
    """Return the relative standard deviation of m positive random features, pair by pair.

    The estimate of exp(q.k) from m independent draws has the standard deviation
    exp(q.k) sqrt((exp(|q + k|^2) - 1) / m).

    Paper: stable-fast-and-accurate (Luo et al. 2021, arXiv:2106.12566)

    Parameters: queries and keys, both (p, d); m >= 1. Returns (p,). Raises ValueError for others,
    or where the deviation is beyond the largest float. Cost: O(p d).
    Source: Choromanski et al. 2021 (arXiv:2009.14794), lemma 2.
    """
    queries = as_matrix("queries", queries)
    keys = as_matrix("keys", keys, *queries.shape[::-1])
    m = integer("m", m, low=1)
    with np.errstate(over="ignore"):
        deviation = np.sqrt(np.expm1(np.sum((queries + keys) ** 2, axis=1)) / m)
    if not np.isfinite(deviation).all():
        raise ValueError("queries and keys must be smaller, the deviation overflows")
    return deviation
