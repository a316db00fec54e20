"""Networks as priors over functions, and priors over functions as networks.

A dense network with random weights is a random function, and so is a Gaussian process (GP). Five
ways to go from one to the other:

1. Scales of the weights for which the network's functions look like a GP's (Tran et al. 2022)
2. A trained network read as a sparse GP that can be told more data (Scannell et al. 2024)
3. An autoencoder whose codes follow GPs, with every unknown sampled (Tran et al. 2023)
4. A sampler of functions that denoises (Dutordoir et al. 2023)
5. A prior in, a posterior out (Whittle et al. 2025)
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad
from scipy.ndimage import map_coordinates
from scipy.special import logsumexp

from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    integer,
    nonnegative,
    one_of,
    positive,
    symmetric,
)
from kernellab.compute.directions import random_directions
from kernellab.compute.gp import Prediction, sample_prior
from kernellab.compute.kernels import Periodic
from kernellab.compute.likelihoods import Likelihood
from kernellab.compute.linalg import cholesky, eigh
from kernellab.compute.networks import Adam, dense_network, network_jacobian, network_pullback

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# ------------------------------------------------------------------------------------------------
# What several sections share: random networks, and a sampler with friction
# ------------------------------------------------------------------------------------------------


def standard_draws(sizes, n: int, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw standard normal weights and biases for n networks side by side.

    Parameters: sizes, numbers of units (inputs, hidden ..., outputs); n >= 1; rng.
    Returns one pair (W (n, inputs, outputs), b (n, outputs)) a layer.
    Raises ValueError for other sizes or n. Cost: O(n P), P weights a network.
    """
    sizes, n, rng = _checked_sizes(sizes), integer("n", n, low=1), as_rng(rng)
    return [
        (rng.standard_normal((n, a, b)), rng.standard_normal((n, b)))
        for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def with_scales(draws, scales) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the weights s_l eps: each array of ``standard_draws`` times its own scale.

    Parameters: draws, L pairs of arrays; scales (2 L,) >= 0, in the order W_1, b_1, W_2, b_2, ...
    Raises ValueError for other scales. Cost: O(number of weights).
    """
    scales = as_vector("scales", scales, length=2 * len(draws))
    if (scales < 0).any():
        raise ValueError(f"scales must not be negative, got {scales.min():.3g}")
    pairs = zip(draws, scales[::2], scales[1::2], strict=True)
    return [(a * w, b * c) for (w, b), a, c in pairs]


def fan_in_scales(sizes) -> np.ndarray:
    """Return the usual scales: 1/sqrt(inputs of the layer) for weights, 1 for biases, (2 L,).

    Raises ValueError for other sizes. Cost: O(L).
    """
    sizes = _checked_sizes(sizes)
    return np.ravel([(1.0 / math.sqrt(a), 1.0) for a in sizes[:-1]])


def _checked_sizes(sizes) -> list[int]:
    sizes = [integer(f"sizes[{i}]", size, low=1) for i, size in enumerate(sizes)]
    if len(sizes) < 2:
        raise ValueError(f"sizes must name inputs and outputs, got {sizes}")
    return sizes


def _one_output(sizes) -> list[int]:
    sizes = _checked_sizes(sizes)
    if sizes[-1] != 1:
        raise ValueError(f"sizes must end with one output, got {sizes}")
    return sizes


class FrictionWalk:
    """Stochastic gradient Hamiltonian Monte Carlo: a rolling ball with friction and noise.

    v <- (1 - a) v - eta grad U(theta) + N(0, 2 a eta T),  theta <- theta + v. For small eta, theta
    is a draw from a law prop. to exp(-U / T): the friction a takes out as much as the noise puts
    in. The gradient may be an unbiased estimate; then the law is a little too wide.

    Paper: all-you-need-is-a-good-functional-prior (Tran et al. 2022, arXiv:2011.12829)
    Paper: fully-bayesian-autoencoders-with-latent (Tran et al. 2023, arXiv:2302.04534)

    Parameters
    ----------
    theta : list of arrays, changed in place by ``move``
    step : eta > 0, one number or one a theta (an array that fits it); below 4 over the largest
        curvature of U, or the walk runs away
    friction : a in (0, 1]
    temperature : T >= 0; 0 rolls downhill to a minimum
    rng : Generator or seed

    Raises ValueError for bad arguments. Cost of a move: O(number of unknowns).
    Source: T. Chen, E. Fox and C. Guestrin, Stochastic gradient HMC, 2014.
    """

    def __init__(self, theta, step, friction: float = 0.05, temperature=1.0, rng=0):
        self.theta = list(theta)
        for i, array in enumerate(self.theta):
            if not isinstance(array, np.ndarray) or array.dtype != np.float64:
                raise ValueError(f"theta[{i}] must be an array of float64, to be changed in place")
        steps = list(step) if isinstance(step, (list, tuple)) else [step] * len(self.theta)
        if len(steps) != len(self.theta) or any(
            not (np.all(np.asarray(s) > 0) and np.all(np.isfinite(s))) for s in steps
        ):
            raise ValueError(
                f"step must be positive and finite, one number or {len(self.theta)}, got {step}"
            )
        self.step = [np.asarray(s, dtype=np.float64) for s in steps]
        self.friction = between("friction", friction, 1e-6, 1.0)
        self.temperature = nonnegative("temperature", temperature)
        self._rng = as_rng(rng)
        self._velocity = [np.zeros_like(array) for array in self.theta]

    def move(self, gradient) -> None:
        """Take one step, given the gradient of U, a list of arrays shaped like theta.

        Raises ValueError for other shapes, or when the walk ran away: the step was too long.
        """
        wanted, got = [a.shape for a in self.theta], [np.shape(g) for g in gradient]
        if got != wanted:
            raise ValueError(f"gradient must hold arrays of shapes {wanted}, got {got}")
        heat = 2.0 * self.friction * self.temperature
        for theta, v, g, step in zip(self.theta, self._velocity, gradient, self.step, strict=True):
            v *= 1.0 - self.friction
            v -= step * g
            if heat:
                v += np.sqrt(heat * step) * self._rng.standard_normal(v.shape)
            theta += v
            if not np.abs(np.sum(theta)) < 1e9:
                raise ValueError(f"step must be smaller than {step.max():.3g}: the walk ran away")


# ------------------------------------------------------------------------------------------------
# 1. Scales of the weights that make a network look like a GP (Tran et al. 2022)
# ------------------------------------------------------------------------------------------------


def sliced_distance(f, g, directions) -> tuple[float, np.ndarray]:
    """Return the sliced Wasserstein distance of two sets of functions, and its gradient in f.

    mean_r (1/S) sum_i |sort(f d_r)_i - sort(g d_r)_i|: the 1-Wasserstein distance of the S
    projections on each unit direction d_r, averaged.

    Paper: all-you-need-is-a-good-functional-prior (Tran et al. 2022, arXiv:2011.12829); there the
    distance is W1, by a trained critic.

    Parameters: f, g (S, m), S functions at m places each; directions (R, m).
    Returns the distance, and its derivatives (S, m). Raises ValueError for shapes that do not fit.
    Cost: O(S R (m + log S)).
    """
    f = as_matrix("f", f)
    g = as_matrix("g", g, f.shape[1], f.shape[0])
    directions = as_matrix("directions", directions, f.shape[1])
    along_f, along_g = directions @ f.T, directions @ g.T
    order = np.argsort(along_f, axis=1)
    gap = np.take_along_axis(along_f, order, axis=1) - np.sort(along_g, axis=1)
    sign = np.empty_like(gap)
    np.put_along_axis(sign, order, np.sign(gap), axis=1)
    return float(np.mean(np.abs(gap))), sign.T @ directions / gap.size


class TunedScales(NamedTuple):
    """Scales (2 L,) of the weights, and the distance to the GP at each update so far."""

    scales: np.ndarray
    distances: np.ndarray


def tune_scales(
    kernel,
    sizes,
    *,
    start=None,
    steps: int = 150,
    samples: int = 256,
    places: int = 32,
    directions: int = 64,
    step: float = 0.1,
    rng=0,
) -> Iterator[tuple[float, TunedScales]]:
    """Choose the scales of a network's weights so that its functions look like those of a GP.

    Every update draws measurement places uniformly on [-1, 1]^d, functions of the GP and of
    the network there, and takes an Adam step on the logarithms of the scales down the gradient of
    ``sliced_distance``; weights are s_l eps, so the gradient passes through the draws. The step
    falls as a cosine.

    Paper: all-you-need-is-a-good-functional-prior (Tran et al. 2022, arXiv:2011.12829)

    Parameters
    ----------
    kernel : of the GP
    sizes : units of the network (d, hidden ..., 1)
    start : first scales (2 L,) > 0; None: ``fan_in_scales``
    steps, samples, places, directions : updates; functions, places and slices in each
    step : > 0, of Adam
    rng : Generator or seed

    Yields (fraction done, TunedScales) after every update. Raises ValueError for bad arguments.
    Cost: O(samples places P + places^3 + samples directions places) an update.
    """
    sizes, rng = _one_output(sizes), as_rng(rng)
    start = as_vector("start", fan_in_scales(sizes) if start is None else start)
    if start.size != 2 * (len(sizes) - 1) or (start <= 0).any():
        raise ValueError(f"start must be {2 * (len(sizes) - 1)} positive numbers, got {start}")
    steps = integer("steps", steps, low=1)
    samples, places = integer("samples", samples, low=2), integer("places", places, low=1)
    directions, step = integer("directions", directions, low=1), positive("step", step)
    logs = np.log(start)
    adam, distances = Adam(logs, step), []
    for number in range(steps):
        x = rng.uniform(-1.0, 1.0, (places, sizes[0]))
        wanted = sample_prior(kernel, x, samples, rng)
        draws = standard_draws(sizes, samples, rng)
        outputs, pullback = network_pullback(with_scales(draws, np.exp(logs)), x)
        slices = random_directions(directions, places, rng)
        distance, sensitivity = sliced_distance(outputs[..., 0], wanted, slices)
        by_weights, _ = pullback(sensitivity[..., None])
        gradient = [
            float(np.vdot(slope, eps)) * math.exp(scale)
            for slopes, pair, scales in zip(by_weights, draws, logs.reshape(-1, 2), strict=True)
            for slope, eps, scale in zip(slopes, pair, scales, strict=True)
        ]
        adam.step = step * (0.5 + 0.5 * math.cos(math.pi * number / steps)) + 1e-6
        adam.update(np.array(gradient))
        if not np.abs(logs).max() < 50.0:
            raise ValueError(f"step must be smaller than {step:.3g}: the scales ran away")
        distances.append(distance)
        yield (number + 1) / steps, TunedScales(np.exp(logs), np.array(distances))


def distance_to_gp(kernel, sizes, scales, rng, samples: int = 1000, repeats: int = 4) -> float:
    """Return the sliced distance between fresh functions of a network and of a GP.

    32 places on [-1, 1]^d and 64 directions a repeat; ``scales`` (2 L,), or None: the distance of
    two sets of functions of the GP itself, which is what chance leaves.

    Raises ValueError for bad arguments. Cost: repeats times that of ``sliced_distance``.
    """
    sizes, rng = _one_output(sizes), as_rng(rng)
    found = []
    for _ in range(integer("repeats", repeats, low=1)):
        x = rng.uniform(-1.0, 1.0, (32, sizes[0]))
        wanted = sample_prior(kernel, x, samples, rng)
        if scales is None:
            ours = sample_prior(kernel, x, samples, rng)
        else:
            ours = network_pullback(with_scales(standard_draws(sizes, samples, rng), scales), x)
            ours = ours[0][..., 0]
        found.append(sliced_distance(ours, wanted, random_directions(64, 32, rng))[0])
    return float(np.mean(found))


def sample_network_posterior(
    sizes,
    scales,
    x,
    y,
    noise: float,
    at,
    *,
    chains: int = 8,
    burn: int = 1500,
    moves: int = 1500,
    every: int = 10,
    step: float = 1e-4,
    friction: float = 0.02,
    rng=0,
) -> Iterator[tuple[float, np.ndarray]]:
    """Sample the functions of a Bayesian network given data, by SGHMC over its weights.

    Weights are s_l eps with eps ~ N(0, 1), so U(eps) = |eps|^2 / 2 + sum_i (y_i - f(x_i))^2 /
    (2 noise): the untempered posterior.

    Paper: all-you-need-is-a-good-functional-prior (Tran et al. 2022, arXiv:2011.12829)

    Parameters
    ----------
    sizes, scales : of the network, and of its weights (2 L,)
    x, y : data (n, d) and (n,)
    noise : variance of the noise, > 0
    at : places (m, d) at which the functions are wanted
    chains : walks side by side
    burn, moves, every : moves thrown away; moves after that; one function a chain is kept every so
        many of them
    step, friction : of ``FrictionWalk``

    Yields (fraction done, functions (kept, m) so far) every 50 kept moves, and at the end. Raises
    ValueError for bad arguments, or a walk that runs away. Cost: O(chains n P) a move.
    """
    sizes = _one_output(sizes)
    x = as_matrix("x", x, columns=sizes[0])
    y = as_vector("y", y, length=len(x))
    at = as_matrix("at", at, columns=sizes[0])
    noise, rng = positive("noise", noise), as_rng(rng)
    burn, moves = integer("burn", burn, low=0), integer("moves", moves, low=1)
    every = integer("every", every, low=1, high=moves)
    draws = standard_draws(sizes, integer("chains", chains, low=1), rng)
    with_scales(draws, scales)
    walk = FrictionWalk([a for pair in draws for a in pair], step, friction, rng=rng)
    pairs = list(zip(walk.theta[::2], walk.theta[1::2], strict=True))
    kept = []
    for number in range(burn + moves):
        outputs, pullback = network_pullback(with_scales(pairs, scales), x)
        slopes, _ = pullback((outputs - y[:, None]) / noise)
        by_layer = zip([s for pair in slopes for s in pair], scales, walk.theta, strict=True)
        walk.move([slope * scale + eps for slope, scale, eps in by_layer])
        after = number + 1 - burn
        if after > 0 and after % every == 0:
            kept.append(network_pullback(with_scales(pairs, scales), at)[0][..., 0])
        if kept and (after % (50 * every) == 0 or after == moves):
            yield (number + 1) / (burn + moves), np.concatenate(kept)
        elif number % 250 == 249 and not kept:
            yield (number + 1) / (burn + moves), np.empty((0, len(at)))


def condition_draws(f_data, f_at, y, noise: float) -> np.ndarray:
    """Condition functions drawn from a prior on data, as if the prior were Gaussian.

    f(at) + C (C_data + noise I)^-1 (y - f(data) - e) for each draw, with the draws' own
    covariances C = cov(f(at), f(data)) and C_data, and fresh noise e: for a Gaussian prior and many
    draws these are draws from the posterior (Matheron's rule). Seeded, so that nothing flickers.

    Parameters: f_data (S, n) and f_at (S, m), the same functions at data and elsewhere; y (n,);
    noise > 0, a variance. Returns (S, m). Raises ValueError for shapes that do not fit.
    Cost: O(S n (n + m) + n^3).
    """
    f_data = as_matrix("f_data", f_data, min_rows=2)
    f_at = as_matrix("f_at", f_at, rows=len(f_data))
    y, noise = as_vector("y", y, length=f_data.shape[1]), positive("noise", noise)
    centred = (f_data - f_data.mean(axis=0)) / math.sqrt(len(f_data) - 1)
    others = (f_at - f_at.mean(axis=0)) / math.sqrt(len(f_data) - 1)
    corner = centred.T @ centred + noise * np.eye(y.size)
    gap = y - f_data - math.sqrt(noise) * as_rng(0).standard_normal(f_data.shape)
    return f_at + cholesky(corner).solve(gap.T).T @ (centred.T @ others)


# ------------------------------------------------------------------------------------------------
# 2. A trained network as a sparse GP that takes more data (Scannell et al. 2024)
# ------------------------------------------------------------------------------------------------


def train_network(
    start, x, y, likelihood: Likelihood, precision: float, iterations: int = 200
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fit a network with one output: the most probable weights, by damped Gauss-Newton steps.

    Minimises -sum_i log p(y_i | f(x_i)) + (precision / 2) |w|^2. A step solves (J^T beta J +
    (precision + damping) I) d = -gradient, beta_i = -d^2 log p / df^2; the damping falls after a
    step that helped and rises after one that did not (Levenberg-Marquardt). It stops at rest, so
    that the result depends little on rounding.

    Parameters: start, as from ``dense_network``; x (n, d); y (n,); likelihood; precision > 0 of
    the weights' prior; iterations >= 1. Returns weights in the form of the start.
    Raises ValueError for bad arguments. Cost: O(n^2 P + n^3) an iteration.
    """
    x = as_matrix("x", x)
    y, precision = likelihood.as_targets(y, len(x)), positive("precision", precision)
    weights, damping = _flatten(start), 1.0

    def loss_at(flat):
        f = network_pullback(_unflatten(flat, start), x)[0][:, 0]
        return 0.5 * precision * float(flat @ flat) - np.sum(likelihood.log_density(y, f)), f

    loss, f = loss_at(weights)
    fresh = True
    for _ in range(integer("iterations", iterations, low=1)):
        if fresh:
            first, _ = likelihood.derivatives(y, f)
            jacobian = network_jacobian(_unflatten(weights, start), x)
            gradient = precision * weights - jacobian.T @ first
            half = np.sqrt(likelihood.curvature(y, f))[:, None] * jacobian
            inner, along = half @ half.T, half @ gradient
        ridge = precision + damping
        solved = cholesky(inner + ridge * np.eye(len(x))).solve(along)
        step = (half.T @ solved - gradient) / ridge
        tried, f_tried = loss_at(weights + step)
        fresh = tried < loss
        if not fresh:
            damping = min(4.0 * damping, 1e12)
            if np.abs(step).max() < 1e-9:
                break
            continue
        rest = loss - tried < 1e-11 * abs(loss)
        weights, loss, f, damping = weights + step, tried, f_tried, max(damping / 3.0, 1e-9)
        if rest:
            break
    return _unflatten(weights, start)


def _flatten(layers) -> np.ndarray:
    return np.concatenate([array.ravel() for pair in layers for array in pair])


def _unflatten(flat, like):
    layers, place = [], 0
    for pair in like:
        arrays = []
        for array in pair:
            arrays.append(flat[place : place + array.size].reshape(array.shape))
            place += array.size
        layers.append(tuple(arrays))
    return layers


class FunctionSpaceGP:
    """A trained network as a sparse GP: its tangent kernel, and two sums over the data.

    With J(x) the derivatives of the output in the weights, k(x, x') = J(x) J(x')^T / precision. A
    point adds its slope alpha_i = d log p(y_i | f)/df and curvature beta_i = -d^2 log p/df^2, both
    at f_i, the network's output, to

        a_u = sum_i k_zi (alpha_i + beta_i f_i),   B_u = sum_i k_zi beta_i k_iz,

    the dual variables at the inducing points z. Predictions solve with them:

        mean k_xz (K_zz + B_u)^-1 a_u,  variance k_xx - k_xz [K_zz^-1 - (K_zz + B_u)^-1] k_zx.

    More data means more terms in the sums; the network is not trained again, and J stays what it
    was. (The sums are kept in a basis in which K_zz = I; directions of K_zz below 1e-12 of its
    largest are left out.)

    Paper: function-space-parameterization-of-neural (Scannell et al. 2024, arXiv:2403.10929)

    Parameters
    ----------
    network : weights as from ``train_network``
    likelihood : kernellab.compute.likelihoods.Likelihood
    precision : > 0, of the weights' prior
    inducing : z, (M, d)

    Raises ValueError for bad arguments. Cost: O(M^2 P + M^3).
    """

    def __init__(self, network, likelihood: Likelihood, precision: float, inducing):
        self.network, self.likelihood = network, likelihood
        self.precision = positive("precision", precision)
        self.inducing = as_matrix("inducing", inducing)
        jacobian = network_jacobian(network, self.inducing) / math.sqrt(self.precision)
        values, vectors = eigh(jacobian @ jacobian.T)
        kept = values > 1e-12 * values.max()
        self._basis = (vectors[:, kept] / np.sqrt(values[kept])).T @ jacobian
        self.dual_mean = np.zeros(len(self._basis))
        self.dual_precision = np.zeros((len(self._basis), len(self._basis)))

    def _features(self, x):
        """The coordinates of k(z, x) in the basis, (r, n), and k(x, x), (n,)."""
        jacobian = network_jacobian(self.network, x) / math.sqrt(self.precision)
        return self._basis @ jacobian.T, np.einsum("ij,ij->i", jacobian, jacobian)

    def with_data(self, x, y, *, curvature: bool = True) -> "FunctionSpaceGP":
        """Return the GP after more data: x (n, d), y (n,). Cost: O(n M (P + M)).

        curvature=False forgets to add to B_u: wrong, and what the lab's control does.
        """
        x = as_matrix("x", x, columns=self.inducing.shape[1])
        y = self.likelihood.as_targets(y, len(x))
        f = network_pullback(self.network, x)[0][:, 0]
        first, second = self.likelihood.derivatives(y, f)
        features, _ = self._features(x)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.dual_mean = self.dual_mean + features @ (first - second * f)
        if curvature:
            other.dual_precision = self.dual_precision - (features * second) @ features.T
        return other

    def predict(self, x) -> Prediction:
        """Return mean and variance of f at x (m, d), without noise. Cost: O(m M (P + M) + M^3)."""
        x = as_matrix("x", x, columns=self.inducing.shape[1])
        features, own = self._features(x)
        factor = cholesky(np.eye(len(self.dual_mean)) + self.dual_precision)
        mean = features.T @ factor.solve(self.dual_mean)
        left = np.einsum("ij,ij->j", features, features - factor.solve(features))
        return Prediction(mean, np.maximum(own - left, 0.0))

    def log_density(self, x, y) -> np.ndarray:
        """Return log p(y_i | data) at new points x (m, d), y (m,): (m,). Cost: as ``predict``."""
        mean, variance = self.predict(x)
        y = self.likelihood.as_targets(y, len(mean))
        return self.likelihood.averaged(y, mean, np.maximum(variance, 1e-12))[0]


# ------------------------------------------------------------------------------------------------
# 3. An autoencoder whose codes follow GPs, with every unknown sampled (Tran et al. 2023)
# ------------------------------------------------------------------------------------------------


def rotated(image, angles, size: int = 12) -> np.ndarray:
    """Return a square image turned by each angle, on a grid of size x size pixels, in rows.

    The corners outside the inscribed circle are 0. Bilinear interpolation.

    Parameters: image (h, h), h >= 2; angles (n,) in degrees; size >= 2. Returns (n, size^2).
    Raises ValueError for bad arguments. Cost: O(n size^2).
    """
    image = as_matrix("image", image, min_rows=2)
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"image must be square, got shape {image.shape}")
    angles, size = np.radians(as_vector("angles", angles)), integer("size", size, low=2)
    places = np.linspace(-1.0, 1.0, size)
    down, right = (a.ravel() for a in np.meshgrid(places, places, indexing="ij"))
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    half = (len(image) - 1) / 2
    rows = (cos * down - sin * right) * half * 1.15 + half
    columns = (sin * down + cos * right) * half * 1.15 + half
    values = map_coordinates(image, [rows.ravel(), columns.ravel()], order=1)
    return values.reshape(len(angles), -1) * (down**2 + right**2 <= 1.0)


class CodePrior(NamedTuple):
    """Codes as a sparse GP of a known input: z = weights u + spread e (FITC).

    weights (n, M) = K_zu K_uu^-1 L, for whitened inducing values u ~ N(0, I), K_uu = L L^T;
    spread (n,) = sqrt(k(a, a) - what the inducing points explain), for e ~ N(0, 1).
    """

    weights: np.ndarray
    spread: np.ndarray


def code_prior(kernel, aux, inducing) -> CodePrior:
    """Return the sparse GP prior of one code at inputs aux (n, d), by inducing inputs (M, d).

    p(z | u) = N(K_zu K_uu^-1 u, diag(k(a_i, a_i) - K_iu K_uu^-1 K_ui)).

    Paper: fully-bayesian-autoencoders-with-latent (Tran et al. 2023, arXiv:2302.04534)

    Raises ValueError for arguments that do not fit. Cost: O(n M^2 + M^3).
    """
    inducing = as_matrix("inducing", inducing)
    aux = as_matrix("aux", aux, columns=inducing.shape[1])
    corner = kernel.gram(inducing)
    factor = cholesky(corner, jitter=1e-6)
    weights = factor.half_solve(kernel.gram(inducing, aux)).T
    left = kernel.diagonal(aux) - np.einsum("ij,ij->i", weights, weights)
    return CodePrior(weights, np.sqrt(np.maximum(left, 1e-6)))


class AutoencoderState(NamedTuple):
    """What the walk has found so far; the last axes are those of one sample.

    reconstructions (S, n, D): decoded images, S samples; codes (S, n, C); lengthscale (S,) and
    noise (S,), the standard deviation of a pixel; encoder: layers of the amortised encoder.
    """

    reconstructions: np.ndarray
    codes: np.ndarray
    lengthscale: np.ndarray
    noise: np.ndarray
    encoder: list


def sample_autoencoder(
    images,
    seen,
    aux=None,
    *,
    channels: int = 3,
    hidden: int = 0,
    inducing: int = 10,
    period: float = 360.0,
    moves: int = 2000,
    every: int = 20,
    step: float = 0.1,
    friction: float = 0.05,
    temperature: float = 1.0,
    rng=0,
) -> Iterator[tuple[float, AutoencoderState]]:
    """Sample all unknowns of an autoencoder whose codes are sparse GPs of a known input, by SGHMC.

    y_n = decoder(z_n) + noise on the pixels that were seen; each of the C codes is a GP of aux with
    a periodic kernel, through inducing values (``code_prior``). The walk moves the decoder's
    weights, inducing values, codes, the kernel's lengthscale and the noise together, each whitened
    so that its prior is N(0, 1); a stochastic encoder (a small network that gives mean and log
    s.d.) is trained on the way to draw the codes that the walk finds for fully seen images.

    Paper: fully-bayesian-autoencoders-with-latent (Tran et al. 2023, arXiv:2302.04534)

    Parameters
    ----------
    images : (n, D)
    seen : (n, D) booleans; an image without a seen pixel is known by its aux alone
    aux : (n,), the known input (an angle); None: codes are independent N(0, 1)
    channels, hidden : codes an image; units in the decoder's hidden layer (0: a linear decoder)
    inducing, period : inducing inputs, spread evenly over one period; the kernel's period
    moves, every : of the walk; a sample is kept every so many moves of the second half
    step : > 0, in units of one over each unknown's curvature; friction, temperature : of
        ``FrictionWalk``; temperature 0 finds a most probable point
    rng : Generator or seed

    Yields (fraction done, AutoencoderState) every ``every`` moves.
    Raises ValueError for bad arguments, or a walk that runs away.
    Cost: O(n D (C + hidden) + n C M) a move, and O(n M^2) for the lengthscale.
    """
    model = _Autoencoder(images, seen, aux, channels, hidden, inducing, period, as_rng(rng))
    moves = integer("moves", moves, low=2)
    every = integer("every", every, low=1, high=moves)
    theta = model.start()
    walk = FrictionWalk(theta[:-1], model.steps(step), friction, temperature, model.rng)
    slow = FrictionWalk(theta[-1:], model.slow_step(step), 0.1, temperature, model.rng)
    kept: list[tuple] = []
    for number in range(1, moves + 1):
        walk.move(model.gradient(theta))
        if number % 5 == 0:
            if number > moves // 4:  # codes that are still random would ask for no smoothness
                slow.move(model.slope(theta))
            model.teach_encoder(theta)
        if number % every == 0:
            if number <= moves // 2 or temperature == 0.0:
                kept.clear()
            kept.append(model.sample(theta))
            parts = (np.array(part) for part in zip(*kept, strict=True))
            yield number / moves, AutoencoderState(*parts, model.encoder)


class _Autoencoder:
    """The energy of all unknowns of ``sample_autoencoder``, and its gradient.

    theta is a list: the decoder's W and b, layer by layer; inducing values u (M, C); the codes' own
    parts e (n, C); log noise (1,); log lengthscale (1,). All are N(0, 1) before the data.
    """

    def __init__(self, images, seen, aux, channels, hidden, inducing, period, rng):
        self.images = as_matrix("images", images)
        self.seen = np.asarray(seen)
        if self.seen.shape != self.images.shape or self.seen.dtype != bool:
            raise ValueError(
                f"seen must be booleans of shape {self.images.shape}, got {self.seen.dtype} "
                f"of shape {self.seen.shape}"
            )
        if not self.seen.any():
            raise ValueError("seen must be true somewhere, got no seen pixel")
        self.channels = integer("channels", channels, low=1)
        hidden = integer("hidden", hidden, low=0)
        self.period = positive("period", period)
        self.rng = as_rng(rng)
        n, pixels = self.images.shape
        self.aux = None if aux is None else as_vector("aux", aux, length=n)[:, None]
        count = integer("inducing", inducing, low=2)
        self.places = self.period * np.arange(count)[:, None] / count
        middle = [hidden] if hidden else []
        self.sizes = [self.channels, *middle, pixels]
        self.scales = fan_in_scales(self.sizes)
        # Pixels lie in [0, 1] and vary by about a quarter: so does what the decoder's prior paints.
        self.scales[-2:] *= [0.25, 0.5]
        self.counted = math.sqrt(2.0 * self.seen.sum())  # curvature of the energy in log noise
        self.whole = np.flatnonzero(self.seen.all(axis=1))
        self.encoder = dense_network([pixels, 24, 2 * self.channels], self.rng)
        self._encoder_adam = Adam(self.encoder, 5e-3)
        self._prior = None
        if self.aux is not None:
            self._prior = self._prior_at(np.zeros(1))

    def start(self) -> list[np.ndarray]:
        """Small random codes and decoder: the walk finds its own way."""
        rng, n = self.rng, len(self.images)
        layers = [0.3 * a[0] for pair in standard_draws(self.sizes, 1, rng) for a in pair]
        u = rng.standard_normal((len(self.places), self.channels))
        e = 0.3 * rng.standard_normal((n, self.channels))
        return [*layers, u, e, np.zeros(1), np.zeros(1)]

    def steps(self, step: float) -> list:
        """Steps of ``step`` over the curvature that each unknown has about, all but the last."""
        rate = positive("step", step)
        one = self.scales[-2] ** 2 / 0.1**2  # of one pixel in one code, the noise being 0.1
        a_code, a_weight = one * self.seen.sum(axis=1), one * self.seen.any(axis=1).sum()
        codes = rate / (1.0 + (1.0 if self._prior is None else 0.3) * a_code)[:, None]
        weights = rate / (1.0 + (self.channels + 1.0) * a_weight)
        shared = rate / (1.0 + 2.0 * self.seen.sum() * one / len(self.places))
        return [weights] * len(self.scales) + [shared, codes, rate]

    def slow_step(self, step: float) -> float:
        """The step for the log lengthscale, which moves all codes at once."""
        return step / (1.0 + 0.05 * self.scales[-2] ** 2 / 0.1**2 * self.seen.sum())

    def _prior_at(self, log_length):
        return code_prior(
            Periodic(self.period, self._lengthscale(log_length)), self.aux, self.places
        )

    def _decoder(self, theta):
        arrays = [a * s for a, s in zip(theta[:-4], self.scales, strict=True)]
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    @staticmethod
    def _lengthscale(log_length):
        return math.exp(0.5 * float(log_length[0]))  # median 1: about a sixth of a turn

    def _noise(self, log_noise):
        return 0.2 * math.exp(float(log_noise[0]) / self.counted)

    @staticmethod
    def _codes(u, e, prior):
        return e if prior is None else prior.weights @ u + prior.spread[:, None] * e

    def _fit(self, theta):
        """The gradient of the misfit: by layer, by code, and the squared misfit over noise^2."""
        u, e, log_noise, _ = theta[-4:]
        outputs, pullback = network_pullback(self._decoder(theta), self._codes(u, e, self._prior))
        noise = self._noise(log_noise)
        gap = np.where(self.seen, outputs - self.images, 0.0)
        slopes, by_codes = pullback(gap / noise**2)
        return slopes, by_codes, float(np.vdot(gap, gap)) / noise**2

    def gradient(self, theta) -> list[np.ndarray]:
        """Of the energy in all unknowns but the log lengthscale."""
        u, e, log_noise, _ = theta[-4:]
        slopes, by_codes, misfit = self._fit(theta)
        flat = [s for pair in slopes for s in pair]
        found = [s * c + a for s, c, a in zip(flat, self.scales, theta[:-4], strict=True)]
        by_noise = (self.seen.sum() - misfit) / self.counted + log_noise / self.counted**2
        if self._prior is None:
            return [*found, u, by_codes + e, by_noise]
        by_u = self._prior.weights.T @ by_codes + u
        return [*found, by_u, self._prior.spread[:, None] * by_codes + e, by_noise]

    def slope(self, theta) -> list[np.ndarray]:
        """Of the energy in the log lengthscale, by a central difference of the codes."""
        u, e, _, log_length = theta[-4:]
        if self.aux is None:
            return [log_length]
        self._prior = self._prior_at(log_length)
        _, by_codes, _ = self._fit(theta)
        above, below = (self._codes(u, e, self._prior_at(log_length + d)) for d in (1e-4, -1e-4))
        return [log_length + float(np.vdot(by_codes, above - below)) / 2e-4]

    def teach_encoder(self, theta) -> None:
        """One Adam step up the log density of the present codes, given their images."""
        if self.whole.size == 0:
            return
        wanted = self._codes(*theta[-4:-2], self._prior)[self.whole]
        outputs, pullback = network_pullback(self.encoder, self.images[self.whole])
        mean, log_sd = np.split(outputs, 2, axis=1)
        log_sd = np.clip(log_sd, -5.0, 3.0)
        gap = (mean - wanted) * np.exp(-2.0 * log_sd)
        slope = np.hstack([gap, 1.0 - gap * (mean - wanted)]) / self.whole.size
        slopes, _ = pullback(slope)
        length = math.sqrt(sum(float(np.vdot(s, s)) for pair in slopes for s in pair))
        self._encoder_adam.update([tuple(s / max(length, 1.0) for s in pair) for pair in slopes])

    def sample(self, theta) -> tuple:
        codes = self._codes(*theta[-4:-2], self._prior)
        images = network_pullback(self._decoder(theta), codes)[0]
        return images, codes, self._lengthscale(theta[-1]), self._noise(theta[-2])


def encode(encoder, images) -> Prediction:
    """Return the encoder's mean and variance of the codes, both (n, C), of images (n, D).

    Raises ValueError for images that do not fit. Cost: O(n D).
    """
    outputs = network_pullback(encoder, as_matrix("images", images))[0]
    if outputs.shape[1] % 2:
        raise ValueError(f"encoder must give means and log s.d., got {outputs.shape[1]} outputs")
    mean, log_sd = np.split(outputs, 2, axis=1)
    return Prediction(mean, np.exp(2.0 * np.clip(log_sd, -5.0, 3.0)))


# ------------------------------------------------------------------------------------------------
# 4. A sampler of functions that denoises (Dutordoir et al. 2023)
# ------------------------------------------------------------------------------------------------


class Schedule(NamedTuple):
    """How noise is added: beta (T,), the variance of a step, and kept (T,) = prod (1 - beta)."""

    beta: np.ndarray
    kept: np.ndarray


def noise_schedule(steps: int = 200) -> Schedule:
    """Return a schedule whose variances rise linearly, and leave about 4e-5 of the signal.

    Raises ValueError for steps < 2. Cost: O(T).
    """
    steps = integer("steps", steps, low=2)
    beta = np.minimum(np.linspace(0.1, 20.0, steps) / steps, 0.999)
    return Schedule(beta, np.cumprod(1.0 - beta))


def add_noise(y, kept: float, rng) -> np.ndarray:
    """Return sqrt(kept) y + sqrt(1 - kept) N(0, 1), for y of any shape and kept in [0, 1]."""
    kept = between("kept", kept, 0.0, 1.0)
    y = np.asarray(y, dtype=np.float64)
    return math.sqrt(kept) * y + math.sqrt(1.0 - kept) * as_rng(rng).standard_normal(y.shape)


class GaussianDenoiser:
    """The best guess of the noise in functions of GP(0, K): what a perfect network would learn.

    E[eps | y_t] = sqrt(1 - kept) (kept K + (1 - kept) I)^-1 y_t.

    Paper: neural-diffusion-processes (Dutordoir et al. 2023, arXiv:2206.03992); there a network
    trained on |eps - eps_theta|^2, whose least value this is.

    Parameters: gram, K (n, n). Raises ValueError unless it is symmetric and its eigenvalues are
    not negative. Cost: O(n^3) once, O(S n^2) a call.
    """

    def __init__(self, gram):
        values, self.vectors = eigh(symmetric("gram", gram))
        if values.min() < -1e-8 * abs(values).max():
            raise ValueError(f"gram must not have negative eigenvalues, got {values.min():g}")
        self.values = np.maximum(values, 0.0)

    def gain(self, kept: float) -> np.ndarray:
        """Return (kept K + (1 - kept) I)^-1, (n, n), for kept in [0, 1)."""
        kept = between("kept", kept, 0.0, 1.0 - 1e-12)
        return (self.vectors / (kept * self.values + 1.0 - kept)) @ self.vectors.T

    def noise(self, y, kept: float) -> np.ndarray:
        """Return the guess of eps for noisy functions y (S, n)."""
        y = as_matrix("y", y, columns=len(self.values))
        return y @ (self.gain(kept) * math.sqrt(1.0 - kept))


class MixtureDenoiser:
    """The best guess of the noise when the kernel itself is drawn: a mixture of GPs.

    E[eps | y_t] = sum_h w_h(y_t) E_h[eps | y_t] with w_h prop. to the prior weight times
    N(y_t; 0, kept K_h + (1 - kept) I): hyper-parameters are averaged without being named.

    Paper: neural-diffusion-processes (Dutordoir et al. 2023, arXiv:2206.03992)

    Parameters: grams, H matrices (n, n); weights (H,) > 0, None: equal.
    Raises ValueError for bad arguments. Cost: O(H n^3) once, O(H S n^2) a call.
    """

    def __init__(self, grams, weights=None):
        self.parts = [GaussianDenoiser(gram) for gram in grams]
        if not self.parts or len({len(p.values) for p in self.parts}) > 1:
            raise ValueError("grams must be at least one matrix, all of one size")
        weights = np.ones(len(self.parts)) if weights is None else weights
        weights = as_vector("weights", weights, length=len(self.parts))
        if (weights <= 0).any():
            raise ValueError(f"weights must be positive, got {weights.min():.3g}")
        self._log_weights = np.log(weights / weights.sum())

    def responsibilities(self, y, kept: float) -> np.ndarray:
        """Return w_h(y_t), (S, H), for noisy functions y (S, n)."""
        y = as_matrix("y", y, columns=len(self.parts[0].values))
        kept, logs = between("kept", kept, 0.0, 1.0 - 1e-12), np.empty((len(y), len(self.parts)))
        for h, part in enumerate(self.parts):
            spread = kept * part.values + 1.0 - kept
            squares = np.sum((y @ part.vectors) ** 2 / spread, axis=1)
            logs[:, h] = self._log_weights[h] - 0.5 * (squares + np.sum(np.log(spread)))
        return np.exp(logs - logsumexp(logs, axis=1, keepdims=True))

    def noise(self, y, kept: float) -> np.ndarray:
        """Return the guess of eps for noisy functions y (S, n)."""
        shares = self.responsibilities(y, kept)
        return sum(
            share[:, None] * part.noise(y, kept)
            for share, part in zip(shares.T, self.parts, strict=True)
        )


def reverse_step(y, noise_guess, beta: float, kept: float, fresh) -> np.ndarray:
    """Return y_{t-1} given y_t: take out a little of the guessed noise, put some fresh noise in.

    (y_t - beta / sqrt(1 - kept) eps) / sqrt(1 - beta) + sqrt(beta) z, z ~ N(0, 1).

    Parameters: y, noise_guess, fresh (z), all of one shape; beta and kept of the step.
    Raises ValueError for numbers outside (0, 1). Cost: O(size of y).
    """
    beta, kept = between("beta", beta, 1e-12, 1.0 - 1e-12), between("kept", kept, 0.0, 1.0 - 1e-12)
    if np.shape(noise_guess) != np.shape(y):
        raise ValueError(f"noise_guess must be like y, {np.shape(y)}, got {np.shape(noise_guess)}")
    mean = (y - beta / math.sqrt(1.0 - kept) * noise_guess) / math.sqrt(1.0 - beta)
    return mean + math.sqrt(beta) * fresh


def sample_by_denoising(
    denoiser,
    places: int,
    n: int,
    schedule: Schedule,
    rng,
    *,
    context=None,
    values=None,
    rounds: int = 1,
) -> Iterator[tuple[float, np.ndarray]]:
    """Draw functions from pure noise by taking the noise out, perhaps through given values.

    Conditioning is by clamping: before each step the context entries are replaced by their own
    noised values. A step is repeated ``rounds`` times, with one step's noise put back between
    repeats, so that the other entries hear of the context.

    Paper: neural-diffusion-processes (Dutordoir et al. 2023, arXiv:2206.03992)

    Parameters
    ----------
    denoiser : with ``noise(y, kept)``
    places, n : values a function, and functions
    schedule : as from ``noise_schedule``
    rng : Generator or seed
    context, values : indices (c,) and the values there (c,); None: unconditional
    rounds : >= 1

    Yields (fraction done, functions (n, places)) after every step.
    Raises ValueError for bad arguments. Cost: O(T rounds n places^2) for a Gaussian denoiser.
    """
    places, n = integer("places", places, low=1), integer("n", n, low=1)
    rounds, rng = integer("rounds", rounds, low=1), as_rng(rng)
    context, values = _checked_context(context, values, places)
    y = rng.standard_normal((n, places))
    steps = len(schedule.beta)
    for t in range(steps - 1, -1, -1):
        beta, kept = float(schedule.beta[t]), float(schedule.kept[t])
        for repeat in range(rounds):
            if context.size:
                y[:, context] = add_noise(np.tile(values, (n, 1)), kept, rng)
            fresh = rng.standard_normal(y.shape) if t else 0.0
            y = reverse_step(y, denoiser.noise(y, kept), beta, kept, fresh)
            if repeat < rounds - 1 and t:
                y = add_noise(y, 1.0 - beta, rng)
        if t == 0 and context.size:
            y[:, context] = values
        yield (steps - t) / steps, y


class Law(NamedTuple):
    """mean (n,) and covariance (n, n) of a Gaussian."""

    mean: np.ndarray
    covariance: np.ndarray


def denoised_law(
    denoiser: GaussianDenoiser,
    schedule: Schedule,
    *,
    context=None,
    values=None,
    rounds: int = 1,
    until: int = 0,
) -> Law:
    """Return the exact law of what ``sample_by_denoising`` draws with a Gaussian denoiser.

    Every operation there is linear with Gaussian noise: y <- A y + N(0, Q) takes N(m, C) to
    N(A m, A C A^T + Q). So the sampler's error can be seen without drawing a single sample.

    Parameters: as there; until, the number of steps that are left undone (0: none).
    Returns a Law. Raises ValueError for bad arguments. Cost: O((T - until) rounds n^3).
    """
    if not isinstance(denoiser, GaussianDenoiser):
        raise ValueError(f"denoiser must be a GaussianDenoiser, got {type(denoiser).__name__}")
    n, steps = len(denoiser.values), len(schedule.beta)
    rounds, until = integer("rounds", rounds, low=1), integer("until", until, low=0, high=steps)
    context, values = _checked_context(context, values, n)
    mean, covariance = np.zeros(n), np.eye(n)
    diagonal = np.diag_indices(n)
    for t in range(steps - 1, until - 1, -1):
        beta, kept = float(schedule.beta[t]), float(schedule.kept[t])
        keep = math.sqrt(1.0 - beta)
        step = (np.eye(n) - beta * denoiser.gain(kept)) / keep
        for repeat in range(rounds):
            if context.size:
                mean[context] = math.sqrt(kept) * values
                covariance[context] = 0.0
                covariance[:, context] = 0.0
                covariance[context, context] = 1.0 - kept
            mean, covariance = step @ mean, step @ covariance @ step
            if t:
                covariance[diagonal] += beta
                if repeat < rounds - 1:
                    mean, covariance = keep * mean, (1.0 - beta) * covariance
                    covariance[diagonal] += beta
    if context.size and until == 0:
        mean[context] = values
        covariance[context] = 0.0
        covariance[:, context] = 0.0
    return Law(mean, covariance)


def _checked_context(context, values, n):
    if context is None and values is None:
        return np.empty(0, dtype=np.intp), np.empty(0)
    context = np.asarray(context)
    if context.ndim != 1 or context.size == 0 or context.dtype.kind not in "iu":
        raise ValueError(f"context must be whole numbers (c,), got shape {context.shape}")
    if context.min() < 0 or context.max() >= n or np.unique(context).size < context.size:
        raise ValueError(f"context must be different indices from 0 to {n - 1}, got {context}")
    return context, as_vector("values", values, length=context.size)


def attention_denoiser(rng, width: int = 16) -> list[np.ndarray]:
    """Return random weights of a bi-dimensional attention block, 13 arrays.

    Raises ValueError for a bad rng or width. Cost: O(width^2).
    """
    rng, w = as_rng(rng), integer("width", width, low=2)

    def matrix(inputs, outputs, gain=1.0):
        return gain / math.sqrt(inputs) * rng.standard_normal((inputs, outputs))

    return [
        *(matrix(5, w), np.zeros(w)),
        *(matrix(w, 3 * w), matrix(w, w, 0.5)),
        *(matrix(w, 3 * w), matrix(w, w, 0.5)),
        *(matrix(w, 2 * w), np.zeros(2 * w), matrix(2 * w, w, 0.5)),
        *(matrix(w, 2 * w), np.zeros(2 * w), matrix(2 * w, 1, 0.3), np.zeros(1)),
    ]


def guess_noise(parameters: list, x, y, kept) -> np.ndarray:
    """Return what a bi-dimensional attention block takes for the noise in y.

    Each pair (point i, input dimension d) is a token, made of (x_id, y_i, and three numbers of the
    noise level). Tokens attend over the points, for each dimension, and over the dimensions, for
    each point; the sum over dimensions passes the head. So the order of the points, or of the
    dimensions, changes nothing but the order of the answers.

    Paper: neural-diffusion-processes (Dutordoir et al. 2023, arXiv:2206.03992)

    Parameters: parameters as from ``attention_denoiser``; x (B, n, d); y (B, n); kept (B,) in (0,
    1). Returns (B, n). Raises ValueError for shapes that do not fit. Cost: O(B (n^2 d + n d^2) w).
    """
    if len(parameters) != 13:
        raise ValueError(f"parameters must be 13 arrays, got {len(parameters)}")
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    kept = as_vector("kept", kept)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y must be finite")
    if x.ndim != 3 or 0 in x.shape or y.shape != x.shape[:2] or kept.size != len(x):
        raise ValueError(
            f"x must be (B, n, d), y (B, n) and kept (B,), got {x.shape}, {y.shape}, {kept.shape}"
        )
    if kept.min() <= 0 or kept.max() >= 1:
        raise ValueError(f"kept must lie in (0, 1), got {kept.min():.3g} to {kept.max():.3g}")
    return _guess_noise(parameters, x, y, kept)


def _guess_noise(parameters, x, y, kept):
    level = np.stack([np.log((1 - kept) / kept) / 3, np.sqrt(kept), np.sqrt(1 - kept)], axis=-1)
    level = np.broadcast_to(level[:, None, None, :], (*x.shape, 3))
    pairs = np.stack([x, np.broadcast_to(y[..., None], x.shape)], axis=-1)
    inside, bias, qkv_points, out_points, qkv_sides, out_sides, *rest = parameters
    w = inside.shape[1]
    tokens = anp.tanh(anp.dot(np.concatenate([pairs, level], axis=-1), inside) + bias)
    over_points = anp.swapaxes(tokens, 1, 2)  # (B, d, n, w): the points are the tokens
    z = anp.dot(over_points, qkv_points)
    mixed = anp.dot(_attend(z[..., :w], z[..., w : 2 * w], z[..., 2 * w :]), out_points)
    tokens = tokens + anp.swapaxes(mixed, 1, 2)
    z = anp.dot(tokens, qkv_sides)
    tokens = tokens + anp.dot(_attend(z[..., :w], z[..., w : 2 * w], z[..., 2 * w :]), out_sides)
    inner, inner_bias, outer, last, last_bias, head, shift = rest
    tokens = tokens + anp.dot(anp.tanh(anp.dot(tokens, inner) + inner_bias), outer)
    pooled = anp.sum(tokens, axis=2)
    guess = anp.dot(anp.tanh(anp.dot(pooled, last) + last_bias), head) + shift
    return guess[..., 0] + np.sqrt(1 - kept)[:, None] * y


def train_attention_denoiser(
    kernel, *, points: int = 16, dimensions: int = 1, steps: int = 600, batch: int = 24,
    step: float = 5e-3, rng=0,
) -> Iterator[tuple[float, list, float, float]]:  # fmt: skip
    """Train the attention block to guess the noise in functions of a GP at random places.

    Yields (fraction done, parameters (changed in place), loss, least possible loss) after every
    update; the loss is the mean squared error of the noise, and the least is that of the exact
    denoiser on the same functions.

    Paper: neural-diffusion-processes (Dutordoir et al. 2023, arXiv:2206.03992)

    Parameters: kernel of the GP; points and dimensions of the inputs, uniform on [-1, 1]^d; steps,
    batch (functions an update); step > 0 of Adam, falls as a cosine; rng.
    Raises ValueError for bad arguments. Cost: O(batch (n^3 + P n d)) an update.
    """
    points, dimensions = integer("points", points, low=1), integer("dimensions", dimensions, low=1)
    steps, batch = integer("steps", steps, low=1), integer("batch", batch, low=1)
    step, rng, schedule = positive("step", step), as_rng(rng), noise_schedule(200)
    parameters = attention_denoiser(rng)
    adam = Adam(parameters, step)

    def loss(weights, x, y, kept, eps):
        return anp.mean((_guess_noise(weights, x, y, kept) - eps) ** 2)

    value_and_gradient = value_and_grad(loss)
    for number in range(steps):
        x, y, kept, eps, best = noisy_functions(kernel, points, dimensions, batch, schedule, rng)
        value, gradient = value_and_gradient(parameters, x, y, kept, eps)
        adam.step = step * (0.5 + 0.5 * math.cos(math.pi * number / steps)) + 1e-6
        length = math.sqrt(sum(float(np.vdot(g, g)) for g in gradient))
        adam.update([g / max(length, 1.0) for g in gradient])
        yield (number + 1) / steps, parameters, float(value), float(np.mean((best - eps) ** 2))


def noisy_functions(kernel, points: int, dimensions: int, batch: int, schedule: Schedule, rng):
    """Draw noisy functions: (x (B, n, d), y (B, n), kept (B,), eps (B, n), best guess of eps).

    Each row has places, a function of the GP and a noise level of its own.
    Raises ValueError for bad arguments. Cost: O(B n^3).
    """
    points, dimensions = integer("points", points, low=1), integer("dimensions", dimensions, low=1)
    batch, rng = integer("batch", batch, low=1), as_rng(rng)
    x = rng.uniform(-1.0, 1.0, (batch, points, dimensions))
    kept = schedule.kept[rng.integers(0, len(schedule.kept), batch)]
    eps = rng.standard_normal((batch, points))
    values, vectors = np.linalg.eigh(np.stack([kernel.gram(places) for places in x]))
    values, flipped = np.maximum(values, 0.0)[:, None, :], np.swapaxes(vectors, 1, 2)
    noise = 1.0 - kept[:, None]
    roots = (vectors * np.sqrt(values)) @ flipped  # symmetric: the signs of the vectors drop out
    clean = (roots @ rng.standard_normal((batch, points, 1)))[..., 0]
    y = np.sqrt(kept)[:, None] * clean + np.sqrt(noise) * eps
    gains = (vectors / (kept[:, None, None] * values + noise[..., None])) @ flipped
    best = np.sqrt(noise) * (gains @ y[..., None])[..., 0]
    return x, y, kept, eps, best


# ------------------------------------------------------------------------------------------------
# 5. A prior in, a posterior out (Whittle et al. 2025)
# ------------------------------------------------------------------------------------------------

SENSORS = {"direct": lambda theta: theta, "range": np.abs}
SENSOR_NOISE = 0.4
COMPONENTS = 3
MOST_OBSERVATIONS = 5
GRID = np.linspace(-7.0, 7.0, 281)  # for theta; sd 0.12, the narrowest posterior, is 2.4 cells
_WIDTH, _LAYERS = 24, 2


class Mixtures(NamedTuple):
    """B Gaussian mixtures on the line, K components each.

    log_weights (B, K), their exponentials sum to 1; means (B, K); log_sds (B, K).
    """

    log_weights: np.ndarray
    means: np.ndarray
    log_sds: np.ndarray

    def log_density(self, theta) -> np.ndarray:
        """Return log p (B, m) at the places theta (m,), the same for all. Cost: O(B K m)."""
        return _mixture_log_density(self, as_vector("theta", theta))


def as_mixtures(weights, means, sds) -> Mixtures:
    """Return checked mixtures from weights, means and standard deviations, all (B, K).

    Weights are divided by their sum. Raises ValueError for other shapes, or weights or deviations
    that are not positive. Cost: O(B K).
    """
    means = as_matrix("means", means)
    weights = as_matrix("weights", weights, means.shape[1], means.shape[0])
    sds = as_matrix("sds", sds, means.shape[1], means.shape[0])
    if (weights <= 0).any() or (sds <= 0).any():
        raise ValueError(
            f"weights and sds must be positive, got {weights.min():.3g} and {sds.min():.3g}"
        )
    return Mixtures(np.log(weights / weights.sum(axis=1, keepdims=True)), means, np.log(sds))


def random_priors(n: int, rng) -> Mixtures:
    """Draw n priors from the meta-prior: the world that the network is trained for.

    Weights are uniform on the simplex, means N(0, 1.5^2), standard deviations log-uniform on
    [0.15, 1.5]; there are three components.

    Raises ValueError for n < 1. Cost: O(n).
    """
    rng, shape = as_rng(rng), (integer("n", n, low=1), COMPONENTS)
    weights = rng.dirichlet(np.ones(COMPONENTS), shape[0]) + 1e-3
    means = 1.5 * rng.standard_normal(shape)
    log_sds = rng.uniform(math.log(0.15), math.log(1.5), shape)
    return Mixtures(np.log(weights / weights.sum(axis=1, keepdims=True)), means, log_sds)


def observe(priors: Mixtures, sensor: str, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw for each prior a theta, a number of observations 1..5, and y = sensor(theta) + noise.

    Parameters: priors, B mixtures; sensor, "direct" (theta) or "range" (|theta|); rng.
    Returns theta (B,), y (B, 5), of which only the first counts[i] of row i are used, and counts
    (B,). The noise has standard deviation 0.4. Raises ValueError for another sensor.
    Cost: O(B K).
    """
    see, rng = SENSORS[one_of("sensor", sensor, SENSORS)], as_rng(rng)
    size = len(priors.means)
    edges = np.cumsum(np.exp(priors.log_weights), axis=1)
    which = np.minimum((rng.random((size, 1)) > edges).sum(axis=1), priors.means.shape[1] - 1)
    rows = np.arange(size)
    sds = np.exp(priors.log_sds[rows, which])
    theta = priors.means[rows, which] + sds * rng.standard_normal(size)
    counts = rng.integers(1, MOST_OBSERVATIONS + 1, size)
    y = see(theta)[:, None] + SENSOR_NOISE * rng.standard_normal((size, MOST_OBSERVATIONS))
    return theta, y, counts


def grid_posteriors(priors: Mixtures, y, counts, sensor: str, grid=GRID) -> np.ndarray:
    """Return the exact posterior density of theta on an equally spaced grid, one row a prior.

    p(theta | y) prop. to p(theta) prod_i N(y_i; sensor(theta), 0.4^2), divided by its sum.

    Parameters: priors, B mixtures; y (B, m) and counts (B,) as from ``observe``; grid (g,).
    Returns (B, g). Raises ValueError for arguments that do not fit. Cost: O(B g (K + m)).
    """
    see = SENSORS[one_of("sensor", sensor, SENSORS)]
    grid = _checked_grid(grid)
    y, counts = _checked_observations(priors, y, counts)
    log_p = priors.log_density(grid)
    seen = see(grid)
    for column in range(y.shape[1]):
        gap = (y[:, column, None] - seen) / SENSOR_NOISE
        log_p -= 0.5 * (counts > column)[:, None] * gap**2
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return p / (p.sum(axis=1, keepdims=True) * (grid[1] - grid[0]))


def _checked_grid(grid):
    grid = as_vector("grid", grid)
    gaps = np.diff(grid)
    if grid.size < 2 or gaps[0] <= 0 or np.ptp(gaps) > 1e-6 * gaps[0]:
        raise ValueError(f"grid must be two or more even steps upwards, got {grid.size} places")
    return grid


def mixture_posterior(priors: Mixtures, y, counts) -> Mixtures:
    """Return the exact posteriors for the direct sensor: again mixtures.

    With ybar the mean of n observations and s^2 = 0.4^2 / n:  w_k' prop. to w_k N(ybar; mu_k,
    s_k^2 + s^2), 1 / s_k'^2 = 1 / s_k^2 + 1 / s^2, mu_k' = s_k'^2 (mu_k / s_k^2 + ybar / s^2).

    Raises ValueError for arguments that do not fit. Cost: O(B (K + m)).
    """
    y, counts = _checked_observations(priors, y, counts)
    used = np.arange(y.shape[1]) < counts[:, None]
    middle = np.sum(y * used, axis=1, keepdims=True) / counts[:, None]
    noise, spread = SENSOR_NOISE**2 / counts[:, None], np.exp(2 * priors.log_sds)
    total = spread + noise
    log_w = priors.log_weights - 0.5 * np.log(total) - 0.5 * (middle - priors.means) ** 2 / total
    log_w -= logsumexp(log_w, axis=1, keepdims=True)
    means = (priors.means * noise + middle * spread) / total
    return Mixtures(log_w, means, priors.log_sds + 0.5 * np.log(noise / total))


def linearised_posterior(priors: Mixtures, y, counts, sensor: str) -> Mixtures:
    """Return what a bank of extended Kalman filters makes of the data: the sensor as a line.

    Each component's sensor is replaced by its tangent at the component's mean, and the exact rule
    of ``mixture_posterior`` is applied. For |theta| the tangent has slope sign(mu_k).

    Raises ValueError for arguments that do not fit. Cost: O(B (K + m)).
    """
    one_of("sensor", sensor, SENSORS)
    if sensor == "direct":
        return mixture_posterior(priors, y, counts)
    sign = np.where(priors.means < 0, -1.0, 1.0)
    flipped = mixture_posterior(priors._replace(means=sign * priors.means), y, counts)
    return flipped._replace(means=sign * flipped.means)


def divergence(posteriors: np.ndarray, found: Mixtures, grid=GRID) -> np.ndarray:
    """Return KL(exact || found) in nats, (B,), by the sum over a grid.

    Parameters: posteriors (B, g), densities on the grid; found, B mixtures; grid (g,).
    Raises ValueError for shapes that do not fit. Cost: O(B K g).
    """
    grid = _checked_grid(grid)
    p = as_matrix("posteriors", posteriors, grid.size, len(found.means))
    gap = np.log(np.maximum(p, 1e-300)) - found.log_density(grid)
    return np.sum(p * gap, axis=1) * (grid[1] - grid[0])


def posterior_network(rng) -> list[np.ndarray]:
    """Return random weights of a distribution transformer: 15,459 numbers in 24 arrays.

    Raises ValueError for a bad rng. Cost: O(number of weights).
    """
    rng = as_rng(rng)

    def matrix(inputs, outputs, gain=1.0):
        return gain / math.sqrt(inputs) * rng.standard_normal((inputs, outputs))

    w = _WIDTH
    parameters = [matrix(4, w), np.zeros(w), matrix(2, w), np.zeros(w)]
    for _ in range(_LAYERS):
        parameters += [matrix(w, 3 * w), matrix(w, w, 0.3)]  # among components: q k v, out
        parameters += [matrix(w, w), matrix(w, 2 * w), matrix(w, w, 0.3)]  # to the data
        parameters += [matrix(w, 2 * w), np.zeros(2 * w), matrix(2 * w, w, 0.3)]
    return [*parameters, matrix(w, 2 * w), np.zeros(2 * w), matrix(2 * w, 3, 0.1), np.zeros(3)]


def pack(parameters: list) -> np.ndarray:
    """Return the arrays of a network one after the other in a vector. Cost: O(P)."""
    return np.concatenate([np.ravel(array) for array in parameters])


def unpack(vector, like: list) -> list[np.ndarray]:
    """Return a vector (P,) cut into arrays shaped as those in ``like``; ``pack`` undone.

    Raises ValueError for a vector of another length. Cost: O(P).
    """
    sizes = [array.size for array in like]
    vector = as_vector("vector", vector, length=sum(sizes))
    pieces = np.split(vector, np.cumsum(sizes)[:-1])
    return [piece.reshape(array.shape) for piece, array in zip(pieces, like, strict=True)]


def infer(parameters: list, priors: Mixtures, y, counts) -> Mixtures:
    """Return the posteriors that a distribution transformer reads off priors and data.

    Every component is a token made of (log w_k, mu_k, log s_k, s_k), every observation one of (y_i,
    log n). Twice: components attend to each other, then to the observations, then pass a small
    dense network, all added to what was there. The head gives changes of log w_k, mu_k and log
    s_k. No token knows its place, so the order of the components changes nothing.

    Paper: distribution-transformers (Whittle et al. 2025, arXiv:2502.02463)

    Parameters: parameters as from ``posterior_network``; priors, B mixtures; y (B, m) and counts
    (B,) as from ``observe``. Returns B mixtures. Raises ValueError for arguments that do not fit.
    Cost: O(B K (P + K w + m w)) for P weights and width w.
    """
    if len(parameters) != 8 + 8 * _LAYERS:
        raise ValueError(f"parameters must be {8 + 8 * _LAYERS} arrays, got {len(parameters)}")
    y, counts = _checked_observations(priors, y, counts)
    return _infer(parameters, priors, y, counts)


def _infer(parameters, priors, y, counts):
    log_w, means, log_sds = priors
    w = _WIDTH
    features = anp.stack([log_w, means, log_sds, anp.exp(log_sds)], axis=-1)
    tokens = anp.tanh(anp.dot(features, parameters[0]) + parameters[1])
    seen = np.stack([y, np.broadcast_to(np.log(counts)[:, None], y.shape)], axis=-1)
    data = anp.tanh(anp.dot(seen, parameters[2]) + parameters[3])
    hidden = np.where(np.arange(y.shape[1]) < counts[:, None], 0.0, -1e9)[:, None, :]
    for start in range(4, 4 + 8 * _LAYERS, 8):
        qkv, out, query, key_value, out_data, inner, bias, outer = parameters[start : start + 8]
        z = anp.dot(_unit_size(tokens), qkv)
        tokens = tokens + anp.dot(_attend(z[..., :w], z[..., w : 2 * w], z[..., 2 * w :]), out)
        q, kv = anp.dot(_unit_size(tokens), query), anp.dot(data, key_value)
        tokens = tokens + anp.dot(_attend(q, kv[..., :w], kv[..., w:], hidden), out_data)
        tokens = tokens + anp.dot(anp.tanh(anp.dot(_unit_size(tokens), inner) + bias), outer)
    inner, bias, outer, shift = parameters[-4:]
    change = anp.dot(anp.tanh(anp.dot(tokens, inner) + bias), outer) + shift
    log_w = log_w + change[..., 0]
    top = anp.max(log_w, axis=1, keepdims=True)
    log_w = log_w - top - anp.log(anp.sum(anp.exp(log_w - top), axis=1, keepdims=True))
    return Mixtures(log_w, means + change[..., 1], log_sds + change[..., 2])


def _attend(query, key, value, mask=0.0):
    """softmax(Q K^T / sqrt(w) + mask) V over the last axes but one."""
    scores = anp.matmul(query, anp.swapaxes(key, -1, -2)) / math.sqrt(query.shape[-1]) + mask
    scores = anp.exp(scores - anp.max(scores, axis=-1, keepdims=True))
    return anp.matmul(scores / anp.sum(scores, axis=-1, keepdims=True), value)


def _unit_size(tokens):
    return tokens / anp.sqrt(anp.mean(tokens * tokens, axis=-1, keepdims=True) + 1e-6)


def _mixture_log_density(mixtures, grid):
    gap = (grid - mixtures.means[..., None]) * anp.exp(-mixtures.log_sds)[..., None]
    terms = (mixtures.log_weights - mixtures.log_sds - _HALF_LOG_2PI)[..., None] - 0.5 * gap**2
    top = anp.max(terms, axis=1, keepdims=True)
    return top[:, 0] + anp.log(anp.sum(anp.exp(terms - top), axis=1))


def _checked_observations(priors, y, counts):
    y = as_matrix("y", y, rows=len(priors.means))
    counts = as_vector("counts", counts, length=len(y))
    if (counts < 1).any() or (counts > y.shape[1]).any() or (counts % 1 != 0).any():
        raise ValueError(f"counts must be whole numbers from 1 to {y.shape[1]}, got {counts}")
    return y, counts


def train_posterior_network(
    sensor: str, steps: int = 5000, batch: int = 96, step: float = 5e-3, rng=0, fixed_prior=None
) -> Iterator[tuple[float, list, float]]:
    """Train a distribution transformer on priors, parameters and data drawn from the meta-prior.

    The loss is -E log q(theta | prior, y): of all mixtures the one nearest in KL to the posterior
    has the least. theta is on a line here, so the mean over theta given the data is taken exactly,
    on a grid, instead of by the one theta drawn: the same loss with less noise. Adam, with a step
    that warms up over 50 updates and then falls as a cosine; gradients longer than 1 are shortened.

    Paper: distribution-transformers (Whittle et al. 2025, arXiv:2502.02463)

    Parameters
    ----------
    sensor : "direct" or "range"
    steps, batch : updates, and priors in each
    step : > 0, the largest step
    rng : Generator or seed
    fixed_prior : a mixture (one row) that the network is shown in place of every prior, or None

    Yields (fraction done, parameters (changed in place), loss) after every update.
    Raises ValueError for bad arguments. Cost: O(batch (K P + K g)) an update.
    """
    one_of("sensor", sensor, SENSORS)
    steps, batch = integer("steps", steps, low=1), integer("batch", batch, low=1)
    step, rng = positive("step", step), as_rng(rng)
    parameters = posterior_network(rng)
    adam = Adam(parameters, step)
    cell = GRID[1] - GRID[0]

    def loss(weights, shown, y, counts, target):
        found = _infer(weights, shown, y, counts)
        return -anp.sum(target * _mixture_log_density(found, GRID)) * (cell / len(target))

    value_and_gradient = value_and_grad(loss)
    for number in range(steps):
        priors = random_priors(batch, rng)
        _, y, counts = observe(priors, sensor, rng)
        target = grid_posteriors(priors, y, counts, sensor)
        shown = priors
        if fixed_prior is not None:
            shown = Mixtures(*(np.broadcast_to(a, priors.means.shape) for a in fixed_prior))
        value, gradient = value_and_gradient(parameters, shown, y, counts.astype(float), target)
        length = math.sqrt(sum(float(np.vdot(g, g)) for g in gradient))
        cosine = 0.5 + 0.5 * math.cos(math.pi * number / steps)
        adam.step = step * min(1.0, (number + 1) / 50) * cosine + 1e-6
        adam.update([g / max(length, 1.0) for g in gradient])
        yield (number + 1) / steps, parameters, float(value)


def moved(mixtures: Mixtures, drift: float, spread: float) -> Mixtures:
    """Return the law of theta + drift + N(0, spread^2) for theta from each mixture.

    Raises ValueError for a drift that is not finite or spread < 0. Cost: O(B K).
    """
    drift, spread = between("drift", drift, -1e6, 1e6), nonnegative("spread", spread)
    log_sds = 0.5 * np.log(np.exp(2 * mixtures.log_sds) + spread**2)
    return Mixtures(mixtures.log_weights, mixtures.means + drift, log_sds)
