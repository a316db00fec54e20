"""Random features: plain references, closed forms, brute force, bad input; claims and controls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute.kernels import Gaussian
from kernellab.compute.networks import network_output
from kernellab.compute.rates import log_log_slope
from kernellab.datasets import digits
from kernellab.methods.random_features import random_features as rf
from tests.naive import random_features as naive

GRID = rf.interval_grid(501)
RUNGE = 1 / (1 + 10 * GRID**2)


# 1. Positive features and simplex directions


@pytest.mark.compiled
@pytest.mark.parametrize("d", [2, 3, 7, 16])
def test_simplex_is_the_reference_and_what_the_paper_says(d):
    s = rf.simplex_directions(d)
    assert np.allclose(s, naive.simplex_matrix(d), atol=1e-14)
    # S S^T = (1 + 1/(d-1)) I - 11^T/(d-1): unit length, all pairs alike
    assert np.allclose(s @ s.T, (1 + 1 / (d - 1)) * np.eye(d) - 1 / (d - 1), atol=1e-13)
    assert np.allclose(s.sum(axis=0), 0, atol=1e-13)
    y = np.random.default_rng(0).standard_normal((5, 3 * d))
    blocks = y.reshape(5, 3, d) @ s.T
    assert np.allclose(rf.simplex_product(y, d), blocks.reshape(5, 3 * d), atol=1e-12)


@pytest.mark.compiled
def test_simplex_rows_are_blockwise_products():
    y = np.random.default_rng(1).standard_normal((12, 4))
    out = np.empty_like(y)
    rf._simplex_rows(y, out)
    assert np.allclose(out.reshape(3, 4, 4), naive.simplex_matrix(4) @ y.reshape(3, 4, 4))


@pytest.mark.compiled
def test_balance_is_the_reference():
    w = np.random.default_rng(0).standard_normal((10, 5))
    turned = w.copy()
    rf._balance(turned, 7)
    for block in (slice(0, 5), slice(5, 10)):
        assert np.allclose(turned[block], naive.balance(w[block], 7), atol=1e-10)
    assert np.allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(w, axis=1))
    still = np.zeros((3, 3))
    rf._balance(still, 2)  # nothing to turn against
    assert not still.any()


@pytest.mark.parametrize("coupling", rf.COUPLINGS)
def test_each_projection_is_standard_normal_and_blocks_have_their_angles(coupling):
    d = 5
    w = rf.draw_projections(d * 4000, d, coupling, 0)
    assert np.allclose(w.T @ w / len(w), np.eye(d), atol=0.05)
    assert np.mean(w[:, 0] ** 4) == pytest.approx(3, abs=0.2)
    block = w[:d] / np.linalg.norm(w[:d], axis=1, keepdims=True)
    cosines = (block @ block.T)[~np.eye(d, dtype=bool)]
    if coupling == "orthogonal":
        assert np.allclose(cosines, 0, atol=1e-12)
    if coupling == "simplex":
        assert np.allclose(cosines, -1 / (d - 1), atol=1e-12)
    assert rf.draw_projections(7, d, coupling, 0).shape == (7, d)


def test_simplex_plus_makes_the_sum_of_a_block_small():
    sums = {
        coupling: np.linalg.norm(
            rf.draw_projections(6 * 200, 6, coupling, 0).reshape(200, 6, 6).sum(axis=1), axis=1
        )
        for coupling in rf.COUPLINGS
    }
    assert np.median(sums["simplex+"]) < 0.05 * np.median(sums["simplex"])
    assert np.median(sums["simplex"]) < 0.5 * np.median(sums["orthogonal"])


@pytest.mark.parametrize("kernel", ["gaussian", "softmax"])
def test_positive_features_average_to_the_kernel(kernel):
    x = 0.4 * np.random.default_rng(0).standard_normal((6, 3))
    z = rf.positive_features(x, rf.draw_projections(150_000, 3, "iid", 1), kernel)
    truth = Gaussian(1.0).gram(x) if kernel == "gaussian" else np.exp(x @ x.T)
    assert (z > 0).all() and np.allclose(z @ z.T, truth, atol=0.02)


def test_pair_expectation_against_sampling_and_known_values():
    rng = np.random.default_rng(0)
    for coupling, cosine in (("orthogonal", 0.0), ("simplex", -1 / 4)):
        a, b = np.sqrt(rng.chisquare(5, (2, 400_000)))
        r_squared = a**2 + b**2 + 2 * cosine * a * b
        u = rng.standard_normal((400_000, 5))
        along = u[:, 0] / np.linalg.norm(u, axis=1)
        sampled = np.exp(0.8 * np.sqrt(r_squared) * along).mean()
        assert rf.pair_expectation(5, 0.8, coupling) == pytest.approx(sampled, rel=0.01)
    assert rf.pair_expectation(5, 0.8, "iid") == pytest.approx(math.exp(0.64))
    assert rf.pair_expectation(5, 0.8, -0.25) == rf.pair_expectation(5, 0.8, "simplex")
    assert rf.pair_expectation(5, 0.8, 0.25) > rf.pair_expectation(5, 0.8, 0.0)
    # In two dimensions a simplex pair is opposite: r = |a - b| along one direction.
    small = 1e-2
    expected = 1 + small**2 * (4 - np.pi) / 4  # E (a - b)^2 = 4 - pi, E cos^2 = 1/2
    assert rf.pair_expectation(2, small, "simplex") == pytest.approx(expected, rel=1e-7)
    assert rf.pair_expectation(4, np.array([0.0, 0.0]), "orthogonal") == pytest.approx(1)


@pytest.mark.parametrize("coupling", rf.COUPLINGS[:3])
def test_block_variance_is_what_blocks_show(coupling):
    projections = rf.block_projections(60_000, 6, coupling, 0)
    estimates = np.exp(0.8 * projections - 0.32).mean(axis=1)
    assert estimates.mean() == pytest.approx(1, abs=0.01)
    assert np.var(estimates) == pytest.approx(float(rf.block_variance(6, 0.8, coupling)), rel=0.06)


@pytest.mark.parametrize("coupling", rf.COUPLINGS)
def test_block_projections_have_the_law_of_full_vectors(coupling):
    full = rf.draw_projections(4 * 3000, 4, coupling, 1)[:, 2].reshape(3000, 4)
    short = rf.block_projections(3000, 4, coupling, 2)
    for moment in (lambda t: t.sum(axis=1) ** 2, lambda t: np.exp(0.5 * t).mean(axis=1)):
        a, b = moment(full), moment(short)
        assert a.mean() == pytest.approx(b.mean(), abs=5 * np.hypot(a.std(), b.std()) / 54)


def test_simplex_is_best_then_orthogonal_then_independent_everywhere():
    lengths = np.linspace(0.1, 2, 8)
    for d in (3, 4, 6, 16, 64):
        iid, orthogonal, simplex = (rf.block_variance(d, lengths, c) for c in rf.COUPLINGS[:3])
        assert (simplex < orthogonal).all() and (orthogonal < iid).all()
    # At small v the simplex leaves about 1/(2d), and at long v nothing is gained.
    assert rf.block_variance(64, 0.05, "simplex") / rf.block_variance(64, 0.05, "iid") < 1.2 / 128
    assert rf.block_variance(4, 3.0, "simplex") / rf.block_variance(4, 3.0, "iid") > 0.99


def test_claim_simplex_and_its_control():
    for seed in range(3):
        ratio = {}
        for coupling in ("simplex", "orthogonal"):
            estimate = np.exp(rf.block_projections(20_000, 6, coupling, seed) - 0.5).mean(axis=1)
            ratio[coupling] = np.var(estimate) / rf.block_variance(6, 1.0, "iid")
        assert ratio["simplex"] < 0.6 < ratio["orthogonal"]


# 2. Noise shaping


@pytest.mark.compiled
@pytest.mark.parametrize("n", [1, 4, 7])
@pytest.mark.parametrize(
    "shaper", [rf.sigma_delta(1), rf.sigma_delta(2), rf.distributed_shaping(1.5)], ids=str
)
def test_shape_noise_is_the_reference(shaper, n):
    z = np.random.default_rng(0).uniform(-1, 1, (n, 63))
    q, u = rf.shape_noise(z, shaper, 9)
    block = 9 if shaper.beta else 63
    answers, states = naive.shape_noise(z, shaper.lags, shaper.weights, shaper.step, block)
    assert np.array_equal(q, answers) and np.allclose(u, states, atol=1e-12)


SHAPERS = [rf.sigma_delta(1), rf.sigma_delta(2), *map(rf.distributed_shaping, (1.0, 1.3, 1.9))]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(SHAPERS))
def test_states_are_bounded_whatever_comes(seed, shaper):
    rng = np.random.default_rng(seed)
    z = np.clip(rng.uniform(-1, 1) + rng.uniform(0, 1) * rng.standard_normal((3, 200)), -1, 1)
    q, u = rf.shape_noise(z, shaper, 10)
    assert np.abs(u).max() <= shaper.step * (1 + 1e-12)
    assert np.array_equal(np.abs(q), np.full_like(q, shaper.step))


def test_windows_and_bits():
    assert rf.sigma_delta(2).window(5).tolist() == [1, 2, 3, 2, 1]
    assert rf.sigma_delta(1).bits(15) == 4 and rf.sigma_delta(2).bits(5) == pytest.approx(
        np.log2(10)
    )
    assert rf.distributed_shaping(1.5).bits(7) == 7
    # The number of values is what a window can make of signs.
    for shaper, length in ((rf.sigma_delta(1), 7), (rf.sigma_delta(2), 7)):
        signs = np.array(np.meshgrid(*[[-1, 1]] * length)).reshape(length, -1)
        values = np.unique(np.round(shaper.window(length) @ signs, 9))
        assert 2 ** shaper.bits(length) == pytest.approx(values.size)


def test_distributed_error_is_the_last_state():
    shaper = rf.distributed_shaping(1.4)
    z = np.random.default_rng(0).uniform(-1, 1, (3, 24))
    q, u = rf.shape_noise(z, shaper, 8)
    window = shaper.window(8)
    error = rf.condense(z - q, window) * np.linalg.norm(window) * np.sqrt(3)
    assert np.allclose(error, u[:, 7::8] * 1.4**-8.0, atol=1e-12)


def test_condensed_cosines_estimate_the_kernel():
    x = 0.5 * np.random.default_rng(0).standard_normal((8, 3))
    truth = Gaussian(1.0).gram(x)
    for name in ("cosines", "dithered signs", "sigma-delta", "sigma-delta 2", "distributed"):
        z = rf.gaussian_features(x, 6000, name, 1.0, 0, 15)
        off = ~np.eye(8, dtype=bool)
        assert np.abs(z @ z.T - truth)[off].max() < 0.08, name
    z = rf.gaussian_features(x, 6000, "dithered signs", 1.0, 0)
    assert np.allclose(np.sum(z**2, axis=1), 2)  # its known flaw: the diagonal


def test_large_oversampling_equals_unquantised_features():
    rng = np.random.default_rng(0)
    z = np.cos(rng.standard_normal((5, 3)) @ rng.standard_normal((3, 20 * 501)))
    for shaper, limit in ((rf.sigma_delta(1), 4 / 501), (rf.sigma_delta(2), 1e-5)):
        q, _ = rf.shape_noise(z, shaper)
        window = shaper.window(501)
        error = rf.condense(q, window) - rf.condense(z, window)
        assert np.sum(error**2, axis=1).max() <= limit


def test_rounding_takes_the_nearest_level():
    z = np.random.default_rng(0).uniform(-1, 1, (3, 50))
    for steps in (1, 3, 15):
        levels = np.linspace(-1, 1, steps + 1)
        nearest = levels[np.abs(z[..., None] - levels).argmin(axis=-1)]
        assert np.allclose(rf.rounded(z, steps), nearest, atol=1e-15)
    assert np.array_equal(rf.rounded([[-1.0, 1.0]], 7), [[-1.0, 1.0]])


def test_signs_estimate_the_sign_kernel_and_no_other():
    x = np.linspace(0, 2, 12)[:, None]
    z = rf.gaussian_features(x, 200_000, "signs", 1.0, 0)
    estimate = z[:1] @ z.T
    assert np.allclose(estimate[0], rf.sign_kernel(x[:, 0] ** 2), atol=0.01)
    assert np.abs(rf.sign_kernel(x[:, 0] ** 2) - np.exp(-(x[:, 0] ** 2) / 2)).max() > 0.1
    assert rf.sign_kernel(0.0) == pytest.approx(1, abs=0.01)


def condensed_slope(quantise):
    lengths, errors = (3, 7, 15, 31, 63), []
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 4))
    for length in lengths:
        z = np.cos(x @ rng.standard_normal((4, 128 * length)) + rng.uniform(0, 7, 128 * length))
        window = np.ones(length)
        error = rf.condense(quantise(z), window) - rf.condense(z, window)
        errors.append(np.sum(error**2, axis=1).max())
    return log_log_slope(lengths, errors)


def test_claim_noise_shaping_and_its_controls():
    assert -1.15 < condensed_slope(lambda z: rf.shape_noise(z, rf.sigma_delta(1))[0]) < -0.85
    assert abs(condensed_slope(lambda z: rf.dithered_signs(z, 0))) < 0.15
    assert abs(condensed_slope(lambda z: np.sign(z) / np.sqrt(2))) < 0.15


# 3. Layers of a neural network


@pytest.mark.parametrize("shape", [0.0, -0.08])
@pytest.mark.parametrize("activation", rf.ACTIVATIONS)
def test_layer_features_average_to_the_layer(activation, shape):
    rng = np.random.default_rng(0)
    x, w = 0.5 * rng.standard_normal((2, 6, 3))
    b = rng.uniform(-2, 2, 6)
    layer = rf.layer_features(200_000, 3, activation, 1, shape)
    estimate = layer.of_inputs(x) @ layer.of_parameters(w, b).T
    assert np.allclose(estimate, rf.ACTIVATIONS[activation](x @ w.T + b), atol=0.03)


@pytest.mark.parametrize("shape", [0.0, -0.08])
def test_identity_behind_layer_features_by_quadrature(shape):
    """exp(u v) = E L_g(u) L_g(v) for complex u and v, by Gauss-Hermite in one dimension."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    layer = rf.LayerFeatures(nodes[:, None], np.full(80, 1.3), np.ones(80, complex), shape)
    x, w = np.array([[0.7]]), np.array([[-0.4]])
    products = layer._half(x)[0] * layer._half(w)[0]
    mean = products @ weights / weights.sum()
    assert mean == pytest.approx(np.exp(1.3j * 0.7 * -0.4), abs=1e-10)


@pytest.mark.parametrize("shape", [0.0, -0.1])
def test_layer_variance_is_what_draws_show(shape):
    rng = np.random.default_rng(0)
    x, w = 0.4 * rng.standard_normal((2, 5, 3))
    b = rng.uniform(-2, 2, 5)
    layer = rf.layer_features(300_000, 3, "sin", 1, shape)
    left, right = layer.of_inputs(x), layer.of_parameters(w, b)
    m = 300_000
    one = m * (left[:, :m] * right[:, :m] + left[:, m:] * right[:, m:])
    assert np.allclose(one.var(axis=1), rf.layer_variance(x, w, b, shape), rtol=0.06)


@pytest.mark.parametrize("d, length", [(3, 0.5), (8, 2.0), (8, 20.0), (64, 2.0)])
def test_best_shape_minimises_the_mean_square(d, length):
    def mean_square(a):
        q = (1 - 4 * a) / (1 - 8 * a)
        return d * np.log(1 - 4 * a) - d / 2 * np.log(1 - 8 * a) + q * length

    best = rf.best_shape(d, length)
    assert best < 0
    for other in best * np.array([0.0, 0.5, 0.9, 1.1, 2.0]):
        assert mean_square(best) <= mean_square(other) + 1e-12
    assert rf.best_shape(d, 0.0) == pytest.approx(0)


def test_bundle_is_ridge_regression():
    rng = np.random.default_rng(0)
    features, targets = rng.standard_normal((30, 6)), rng.standard_normal((30, 2))
    expected = np.linalg.solve(features.T @ features + 30 * 0.1 * np.eye(6), features.T @ targets)
    assert np.allclose(rf.bundle(features, targets, 0.1), expected)


def test_claim_layer_slope_and_its_control():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 60, 8))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    b, counts = rng.uniform(-2, 2, 60), [8, 32, 128, 512, 2048]
    truth = np.sin(np.sum(x * w, axis=1) + b)
    both, real = np.zeros(5), np.zeros(5)
    for seed in range(10):
        layer = rf.layer_features(2048, 8, "sin", seed)
        left, right = layer.of_inputs(x), layer.of_parameters(w, b)
        a = rf.running_estimates(left[:, :2048], right[:, :2048], counts)
        c = rf.running_estimates(left[:, 2048:], right[:, 2048:], counts)
        both += np.mean((a + c - truth) ** 2, axis=1)
        real += np.mean((2 * a - truth) ** 2, axis=1)
    assert abs(log_log_slope(counts, np.sqrt(both)) + 0.5) < 0.08
    assert abs(log_log_slope(counts, np.sqrt(real)) + 0.5) > 0.2


def test_claim_bundled_network_and_its_control():
    x, labels = digits().x, digits().labels
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    order = np.random.default_rng(3).permutation(len(x))
    train, test = order[:1347], order[1347:]
    layers, size = rf.train_network(x[train], labels[train], 100, 100, 3)
    network = np.mean(network_output(layers, x[test], np.sin).argmax(1) == labels[test])
    right = {}
    for draws in (128, 32):
        features = rf.layer_features(draws, 64, "sin", 3).of_inputs(x)
        matrix = rf.bundle(features[train], np.eye(10)[labels[train]], 1e-6)
        right[draws] = np.mean((features[test] @ matrix).argmax(1) == labels[test])
    assert size == 7510 and matrix.size == 640 and network > 0.95
    assert network - right[128] < 0.02 < network - right[32]


# 4. Sample points


@pytest.mark.compiled
@pytest.mark.parametrize("g, m", [(5, 5), (40, 1), (60, 7)])
def test_projection_dpp_is_the_reference(g, m):
    phi = rf.legendre_basis(rf.interval_grid(g), m)
    uniform = np.random.default_rng(3).random((30, m))
    assert np.array_equal(rf.projection_dpp(phi, 30, 3), naive.projection_dpp(phi, uniform))


def test_projection_dpp_draws_sets_with_their_volume():
    phi = rf.legendre_basis(rf.interval_grid(7), 3)
    draws = 30_000
    drawn = np.sort(rf.projection_dpp(phi, draws, 0), axis=1)
    sets, counts = np.unique(drawn, axis=0, return_counts=True)
    seen = dict(zip(map(tuple, sets.tolist()), counts / draws, strict=True))
    for points, chance in naive.dpp_probabilities(phi).items():
        error = np.sqrt(chance * (1 - chance) / draws) + 1e-9
        assert abs(seen.get(points, 0.0) - chance) < 5 * error + 1e-4
    # One point at a time: inclusion is leverage.
    included = np.bincount(drawn.ravel(), minlength=7) / draws
    assert np.allclose(included, np.sum(phi**2, axis=1) / 7, atol=0.015)


def test_projection_dpp_agrees_with_dppy():
    dppy = pytest.importorskip("dppy.finite_dpps")
    phi = rf.legendre_basis(rf.interval_grid(30), 4) / np.sqrt(30)
    dpp = dppy.FiniteDPP("correlation", projection=True, K_eig_dec=(np.ones(4), phi))
    rng = np.random.RandomState(0)
    theirs = np.concatenate([dpp.sample_exact(random_state=rng) for _ in range(2000)])
    ours = rf.projection_dpp(phi * np.sqrt(30), 2000, 0).ravel()
    counts = [np.bincount(side, minlength=30) / 2000 for side in (theirs, ours)]
    assert np.allclose(counts[0], counts[1], atol=0.06)


def test_bases_are_orthonormal():
    phi = rf.legendre_basis(GRID, 8)
    assert np.allclose(phi.T @ phi / 501, np.eye(8), atol=1e-12)
    # On a fine grid these are Legendre's polynomials.
    expected = np.polynomial.legendre.legvander(GRID, 7) * np.sqrt(2 * np.arange(8) + 1)
    assert np.allclose(phi, expected, atol=0.01)
    assert np.mean(1 / rf.sample_weights(phi)) == pytest.approx(1)


@pytest.mark.parametrize("sampling", rf.SAMPLINGS)
def test_sample_points_have_the_law_they_promise(sampling):
    phi = rf.legendre_basis(rf.interval_grid(20), 3)
    points = rf.sample_points(phi, 6, sampling, 8000, 0)
    assert points.shape == (8000, 6)
    share = np.bincount(points.ravel(), minlength=20) / points.size
    expected = np.full(20, 1 / 20) if sampling == "uniform" else np.sum(phi**2, axis=1) / 60
    assert np.allclose(share, expected, atol=0.006)
    # The weighted Gram matrix has mean I for all but volume sampling, whose weights differ by law.
    if sampling in ("leverage", "dpp"):
        rows = phi[points] * np.sqrt(rf.sample_weights(phi)[points] / 6)[..., None]
        assert np.allclose(np.einsum("rni,rnj->ij", rows, rows) / 8000, np.eye(3), atol=0.03)


def test_weighted_fit_is_weighted_least_squares():
    phi = rf.legendre_basis(GRID, 4)
    points = rf.sample_points(phi, 8, "leverage", 5, 0)
    weights = rf.sample_weights(phi)
    fits = rf.weighted_fit(phi, RUNGE, points, weights)
    for c, smallest, chosen in zip(fits.coefficients, fits.smallest, points, strict=True):
        root = np.sqrt(weights[chosen])[:, None]
        expected = np.linalg.lstsq(root * phi[chosen], root[:, 0] * RUNGE[chosen], rcond=None)[0]
        gram = (root * phi[chosen]).T @ (root * phi[chosen]) / 8
        assert np.allclose(c, expected, atol=1e-9)
        assert smallest == pytest.approx(np.linalg.eigvalsh(gram)[0], abs=1e-12)
    # Functions in the space are found exactly; too few points give the fit of least norm.
    exact = rf.weighted_fit(phi, phi @ np.arange(4.0), points, weights)
    assert np.allclose(exact.coefficients, np.arange(4.0), atol=1e-8)
    few = rf.weighted_fit(phi, RUNGE, points[:, :2], weights)
    assert few.coefficients.shape == (5, 4) and not few.smallest.any()


def test_sampling_study_measures_the_error_on_all_points():
    phi = rf.legendre_basis(GRID, 5)
    ratios, fits = rf.sampling_study(phi, RUNGE, 10, "dpp", 4, 0)
    best = np.mean((RUNGE - phi @ (phi.T @ RUNGE / 501)) ** 2)
    errors = np.mean((RUNGE - fits.coefficients @ phi.T) ** 2, axis=1)
    assert np.allclose(ratios, errors / best)


def test_claims_of_repulsive_points_and_their_controls():
    phi, weights = rf.legendre_basis(GRID, 6), rf.sample_weights(rf.legendre_basis(GRID, 6))
    for seed in range(2):
        ninth = {
            name: np.quantile(rf.sampling_study(phi, RUNGE, 12, name, 300, seed)[0], 0.9)
            for name in ("dpp", "volume", "leverage")
        }
        assert max(ninth["dpp"], ninth["volume"]) < 6 < ninth["leverage"]
        median = {
            name: np.median(rf.sampling_study(phi, RUNGE, 6, name, 300, seed)[0])
            for name in ("dpp", "leverage")
        }
        assert 3 * median["dpp"] < median["leverage"]
    # The mean of volume-sampled fits is the projection, in each coefficient.
    target, deviation = phi.T @ RUNGE / 501, {}
    for name in ("volume", "leverage", "dpp"):
        points = rf.sample_points(phi, 12, name, 4000, 1)
        c = rf.weighted_fit(phi, RUNGE, points, weights).coefficients - target
        deviation[name] = np.max(np.abs(c.mean(axis=0)) / (c.std(axis=0) / np.sqrt(4000)))
    assert deviation["volume"] < 4 < min(deviation["leverage"], deviation["dpp"])


# 5. All maps behind one name


@pytest.mark.parametrize("name", rf.MAPS)
def test_maps_are_reproducible_and_have_their_size(name):
    x = np.random.default_rng(0).standard_normal((5, 4))
    z = rf.gaussian_features(x, 30, name, 2.0, 7, 5)
    assert z.shape == (5, 30) and np.array_equal(z, rf.gaussian_features(x, 30, name, 2.0, 7, 5))
    assert 0 < rf.bits_per_feature(name, 5) <= 32


def test_at_equal_bits_rounding_beats_sigma_delta():
    x = np.random.default_rng(0).standard_normal((60, 16)) / math.sqrt(32)
    truth = np.exp(-0.5 * np.sum((x[:, None] - x) ** 2, axis=2))
    error = {}
    for name in ("rounded cosines", "sigma-delta", "cosines"):
        m = int(512 / rf.bits_per_feature(name, 15))
        found = [rf.gaussian_features(x, m, name, 1.0, seed, 15) for seed in range(8)]
        error[name] = np.sqrt(np.mean([(z @ z.T - truth) ** 2 for z in found]))
    assert error["rounded cosines"] < error["sigma-delta"] < error["cosines"]


def test_running_estimates_are_prefix_products():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 3, 10))
    found = rf.running_estimates(left, right, [2, 5, 10])
    for row, count in zip(found, (2, 5, 10), strict=True):
        expected = np.sum(left[:, :count] * right[:, :count], axis=1) * 10 / count
        assert np.allclose(row, expected)


def test_against_scikit_learn():
    sampler = pytest.importorskip("sklearn.kernel_approximation").RBFSampler
    x = np.random.default_rng(0).standard_normal((40, 6))
    off, ours, theirs = np.triu_indices(40, 1), [], []
    truth = Gaussian(2.0).gram(x)[off]
    for seed in range(8):
        z = rf.gaussian_features(x, 200, "cosines", 2.0, seed)
        peer = sampler(gamma=1 / 8, n_components=200, random_state=seed).fit_transform(x)
        ours.append(np.mean(((z @ z.T)[off] - truth) ** 2))
        theirs.append(np.mean(((peer @ peer.T)[off] - truth) ** 2))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.35)


# Bad input

PHI = rf.legendre_basis(rf.interval_grid(20), 3)
X = np.zeros((4, 3))
BAD = [
    ("projections", lambda: rf.positive_features(X, np.zeros((5, 2)))),
    ("kernel", lambda: rf.positive_features(X, np.zeros((5, 3)), "laplace")),
    ("m ", lambda: rf.draw_projections(0, 3, "iid", 0)),
    ("x ", lambda: rf.positive_features([[50.0]], [[50.0]], "softmax")),
    ("coupling", lambda: rf.draw_projections(3, 3, "ortogonal", 0)),
    ("d ", lambda: rf.draw_projections(3, 1, "simplex", 0)),
    ("blocks", lambda: rf.block_projections(0, 3, "iid", 0)),
    ("coupling", lambda: rf.block_projections(2, 3, "all", 0)),
    ("d ", lambda: rf.simplex_directions(1)),
    ("d ", lambda: rf.simplex_product(np.zeros((2, 5)), 3)),
    ("length", lambda: rf.pair_expectation(3, -1.0, "iid")),
    ("length", lambda: rf.block_variance(3, np.nan, "simplex")),
    ("coupling", lambda: rf.pair_expectation(3, 1.0, "simplex+")),
    ("coupling", lambda: rf.pair_expectation(3, 1.0, 1.5)),
    ("coupling", lambda: rf.block_variance(3, 1.0, ["iid"])),
    ("order", lambda: rf.sigma_delta(3)),
    ("beta", lambda: rf.distributed_shaping(2.0)),
    ("oversampling", lambda: rf.sigma_delta(2).window(4)),
    ("z ", lambda: rf.shape_noise(2 * np.ones((1, 3)), rf.sigma_delta(1))),
    ("oversampling", lambda: rf.shape_noise(X, rf.sigma_delta(1), 0)),
    ("lags", lambda: rf.NoiseShaper((-(10**12),), (1.0,), 1.0)),
    ("lags", lambda: rf.NoiseShaper((0,), (1.0,), 1.0)),
    ("lags", lambda: rf.NoiseShaper((1.0,), (1.0,), 1.0)),
    ("lags", lambda: rf.NoiseShaper(1, (1.0,), 1.0)),
    ("lags and weights", lambda: rf.NoiseShaper((1, 2, 3), (1.0,), 1.0)),
    ("weights", lambda: rf.NoiseShaper((1,), (math.nan,), 1.0)),
    ("weights", lambda: rf.NoiseShaper((1,), (), 1.0)),
    ("step", lambda: rf.NoiseShaper((1,), (1.0,), -1.0)),
    ("step", lambda: rf.NoiseShaper((1,), (3.0,), 1.0)),
    ("beta", lambda: rf.NoiseShaper((1,), (1.0,), 1.0, beta=0.0)),
    ("order", lambda: rf.NoiseShaper((1,), (1.0,), 1.0, order=3)),
    ("shaper", lambda: rf.shape_noise(X, "sigma-delta")),
    ("z ", lambda: rf.rounded(2 * np.ones((1, 3)), 3)),
    ("steps", lambda: rf.rounded(X, 0)),
    ("window", lambda: rf.condense(X, np.ones(2))),
    ("window", lambda: rf.condense(X, np.zeros(3))),
    ("z ", lambda: rf.dithered_signs(2 * np.ones((1, 3)), 0)),
    ("squared_distances", lambda: rf.sign_kernel(-1.0)),
    ("terms", lambda: rf.sign_kernel(1.0, 0)),
    ("activation", lambda: rf.layer_features(4, 3, "relu", 0)),
    ("shape", lambda: rf.layer_features(4, 3, "sin", 0, 0.2)),
    ("x ", lambda: rf.layer_features(4, 3, "sin", 0).of_inputs(np.zeros((2, 2)))),
    ("b ", lambda: rf.layer_features(4, 3, "sin", 0).of_parameters(X, [0.0])),
    ("w ", lambda: rf.layer_variance(X, np.zeros((4, 2)), np.zeros(4))),
    ("squared_length", lambda: rf.best_shape(3, -1.0)),
    ("targets", lambda: rf.bundle(X, np.zeros((3, 1)), 0.1)),
    ("ridge", lambda: rf.bundle(X, np.zeros((4, 1)), 0.0)),
    ("labels", lambda: rf.train_network(X, [-1, 0, 0, 0], 2, 1, 0)),
    ("labels", lambda: rf.train_network(X, [0.5, 1.7, 0, 0], 2, 1, 0)),
    ("labels", lambda: rf.train_network(X, [0, 10**7, 0, 0], 2, 1, 0)),
    ("hidden", lambda: rf.train_network(X, [0, 1, 0, 1], 0, 1, 0)),
    ("size", lambda: rf.interval_grid(0)),
    ("functions", lambda: rf.orthonormal_basis(np.ones((5, 2)))),
    ("functions", lambda: rf.orthonormal_basis(np.ones((2, 3)))),
    ("points", lambda: rf.legendre_basis([0.0, 2.0], 1)),
    ("phi", lambda: rf.sample_weights(np.zeros((3, 2)))),
    ("phi", lambda: rf.projection_dpp(2 * PHI, 1, 0)),
    ("repeats", lambda: rf.projection_dpp(PHI, 0, 0)),
    ("phi", lambda: rf.sample_points(np.zeros((6, 2)), 2, "leverage", 1, 0)),
    ("phi", lambda: rf.sample_points(2 * PHI, 3, "uniform", 1, 0)),
    ("phi", lambda: rf.weighted_fit(2 * PHI, np.zeros(20), [[0, 1]], np.ones(20))),
    ("phi", lambda: rf.sampling_study(1e200 * PHI, np.ones(20), 3, "dpp", 1, 0)),
    ("n ", lambda: rf.sample_points(PHI, 2, "leverage", 1, 0)),
    ("n ", lambda: rf.sample_points(PHI, 4, "dpp", 1, 0)),
    ("sampling", lambda: rf.sample_points(PHI, 4, "sobol", 1, 0)),
    ("values", lambda: rf.weighted_fit(PHI, np.zeros(3), [[0, 1]], np.ones(20))),
    ("weights", lambda: rf.weighted_fit(PHI, np.zeros(20), [[0, 1]], np.zeros(20))),
    ("points", lambda: rf.weighted_fit(PHI, np.zeros(20), [[0, 20]], np.ones(20))),
    ("points", lambda: rf.weighted_fit(PHI, np.zeros(20), [0, 1], np.ones(20))),
    ("values", lambda: rf.sampling_study(PHI, PHI[:, 0], 3, "dpp", 1, 0)),
    ("name", lambda: rf.gaussian_features(X, 4, "cosine", 1.0, 0)),
    ("bandwidth", lambda: rf.gaussian_features(X, 4, "cosines", 0.0, 0)),
    ("x ", lambda: rf.gaussian_features([[1e308]], 4, "cosines", 0.1, 0)),
    ("x ", lambda: rf.gaussian_features([[1e308]], 4, "positive, iid", 1.0, 0)),
    ("oversampling", lambda: rf.gaussian_features(X, 4, "rounded cosines", 1.0, 0, 0)),
    ("name", lambda: rf.bits_per_feature("all")),
    ("right", lambda: rf.running_estimates(X, np.zeros((4, 2)), [1])),
    ("counts", lambda: rf.running_estimates(X, X, [2, 1])),
    ("counts", lambda: rf.running_estimates(X, X, 2)),
]


@pytest.mark.parametrize("argument, bad", BAD, ids=range(len(BAD)))
def test_bad_input_is_refused_by_name(argument, bad):
    with pytest.raises(ValueError, match=argument):
        bad()
