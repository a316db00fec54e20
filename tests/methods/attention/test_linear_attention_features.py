"""Linear attention: references, closed forms, finite differences, bad input, claims, controls."""

import functools

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from scipy.fft import dct
from scipy.linalg import matmul_toeplitz
from scipy.optimize import approx_fprime

from kernellab.compute.attention import (
    linear_attention,
    softmax_attention,
    toeplitz_attention,
    toeplitz_product,
)
from kernellab.compute.features import fourier_features
from kernellab.compute.rates import log_log_slope
from kernellab.datasets import photograph
from kernellab.methods.attention import linear_attention_features as la
from kernellab.methods.random_features.random_features import draw_projections, positive_features
from tests.naive import linear_attention_features as naive


def cloud(n=30, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


# 0. Tokens, and the gradient of linear attention


def test_unit_rows_have_length_one_however_large_and_zero_stays():
    x = np.vstack([cloud(5), 1e200 * cloud(2, seed=1), np.zeros((1, 4))])
    lengths = np.linalg.norm(la.unit_rows(x), axis=1)
    assert np.allclose(lengths[:-1], 1.0) and lengths[-1] == 0


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_patch_tokens_are_the_patches(radius):
    image = np.random.default_rng(0).random((6, 5))
    assert np.allclose(la.patch_tokens(image, radius, 0.3), naive.patches(image, radius, 0.3))


def test_attention_pullback_is_linear_attention_and_its_gradient():
    rng = np.random.default_rng(0)
    q, k, v, g = rng.random((6, 3)), rng.random((7, 3)), cloud(7, 2), cloud(6, 2, 1)
    out, pullback = la.attention_pullback(q, k, v)
    assert np.allclose(out, linear_attention(q, k, v), atol=1e-13)
    of_q, of_k = pullback(g)

    def total(flat):
        return np.sum(g * linear_attention(flat[:18].reshape(6, 3), flat[18:].reshape(7, 3), v))

    numeric = approx_fprime(np.concatenate([q.ravel(), k.ravel()]), total, 1e-7)
    assert np.allclose(np.concatenate([of_q.ravel(), of_k.ravel()]), numeric, atol=1e-5)


def test_output_error_of_a_constant_is_one():
    exact = cloud(50, 2)
    assert la.output_error(np.tile(exact.mean(axis=0), (50, 1)), exact) == pytest.approx(1.0)
    assert la.output_error(exact, exact) == 0


# 1. Frequencies that are learned

TRUTH = la.spectrum([[0.0, 0.0], [4.0, 0.0]])


def test_mixture_kernel_is_its_closed_form():
    r = cloud(40, 2)
    want = np.exp(-0.5 * np.sum(r**2, axis=1)) * (1 + np.cos(4 * r[:, 0])) / 2
    assert np.allclose(TRUTH.kernel(r), want, atol=1e-14)


def test_waves_tend_to_the_mixture_kernel_like_one_over_the_root():
    r, sizes = cloud(60, 2), np.array([64, 512, 4096])
    errors = []
    for m in sizes:
        gaps = [
            np.mean(np.cos(r @ TRUTH.frequencies(cloud(m, 2, s).reshape(2, m // 2, 2)).T), axis=1)
            for s in range(12)
        ]
        errors.append(np.sqrt(np.mean((np.array(gaps) - TRUTH.kernel(r)) ** 2)))
    assert -0.6 < log_log_slope(sizes, errors) < -0.4


def test_kernel_smoother_is_brute_force():
    q, k, v = cloud(5, 2), cloud(6, 2, 1), cloud(6, 3, 2)
    gram = np.exp(-((q[:, None] - k) ** 2).sum(axis=2))
    want = naive.smoother(lambda a, b: np.exp(-np.sum((a - b) ** 2)), q, k, v)
    assert np.allclose(la.kernel_smoother(gram, v), want)


def bumpy(seed, n=128):
    rng = np.random.default_rng(seed)
    x, v = 0.5 * rng.standard_normal((n, 2)), rng.standard_normal((n, 1))
    gram = TRUTH.kernel((x[:, None] - x).reshape(-1, 2)).reshape(n, n)
    return x, v, la.kernel_smoother(gram, v)


def test_learning_follows_the_gradient_of_autograd():
    x, v, y = bumpy(0, 20)
    noise = cloud(12, 2, 5).reshape(2, 6, 2)
    start = la.spectrum([[0.3, -0.2], [0.1, 0.5]], 0.8)

    def loss(centres, logs):
        w = anp.reshape(centres[:, None] + anp.exp(logs)[:, None] * noise, (-1, 2))
        angles = anp.dot(x, w.T)
        phi = anp.concatenate([anp.cos(angles), anp.sin(angles)], axis=1) / anp.sqrt(12)
        gram = anp.dot(phi, phi.T)
        out = anp.dot(gram, v) / anp.sum(gram, axis=1, keepdims=True)
        return anp.mean((out - y) ** 2)

    slope = autograd.grad(loss)(start.centres, start.log_deviations)
    (_, (moved, value)), *_ = la.learn_spectrum(start, noise, x, v, y, steps=1, step=0.01)
    assert value == pytest.approx(loss(start.centres, start.log_deviations))
    # Adam's first step has the length of its step, against the sign of each derivative.
    assert np.allclose(moved.centres, start.centres - 0.01 * np.sign(slope), atol=1e-5)
    by_logs = autograd.grad(loss, 1)(start.centres, start.log_deviations)
    want = start.log_deviations - 0.01 * np.sign(by_logs)
    assert np.allclose(moved.log_deviations, want, atol=1e-5)


GAUSSIANS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.5, 2.8, 3.5, 4.0)


def wave_error(spectrum, noise, seed):
    x, v, y = bumpy(50 + seed, 256)
    phi = fourier_features(x, spectrum.frequencies(noise))
    return np.mean((linear_attention(phi, phi, v) - y) ** 2)


@functools.cache
def gain(seed, shuffled):
    rng = np.random.default_rng(100 + seed)
    noise, start = rng.standard_normal((2, 32, 2)), la.spectrum(0.3 * rng.standard_normal((2, 2)))
    x, v, y = bumpy(seed)
    y = np.random.default_rng(9).permutation(y) if shuffled else y
    fit = la.last(la.learn_spectrum(start, noise, x, v, y))[0]
    best = min(wave_error(la.spectrum(np.zeros((2, 2)), s), noise, seed) for s in GAUSSIANS)
    return best / wave_error(fit, noise, seed), best / wave_error(start, noise, seed)


def test_claim_learned_frequencies_beat_the_best_gaussian():
    trained, before = np.median([gain(seed, False) for seed in range(8)], axis=0)
    assert trained >= 2 and before < 1.5
    assert np.median([gain(seed, True)[0] for seed in range(8)]) < 1.5


def test_claim_a_good_start_learns_the_spectrum_itself_and_a_bad_one_does_not():
    gains, gaps = {}, []
    for second in ((2.5, 0.0), (0.0, 3.0)):
        for seed in range(12):
            noise = np.random.default_rng(100 + seed).standard_normal((2, 32, 2))
            start = la.spectrum([(0.0, 0.0), second])
            fit = la.last(la.learn_spectrum(start, noise, *bumpy(seed)))[0]
            anew = np.random.default_rng(900 + seed).standard_normal((2, 32, 2))
            rivals = [la.spectrum(np.zeros((2, 2)), s) for s in GAUSSIANS]
            best = min(wave_error(rival, anew, seed) for rival in rivals)
            gains.setdefault(second, []).append(best / wave_error(fit, anew, seed))
            if second == (2.5, 0.0):
                gaps.append(np.linalg.norm(fit.centres[1] - TRUTH.centres[1]))
    assert np.median(gains[2.5, 0.0]) >= 2 and np.median(gaps) < 0.6
    assert np.median(gains[0.0, 3.0]) < 2


# 2. A small network as feature map


def test_identity_weights_and_softplus_are_plain_linear_attention():
    q, k, v = cloud(6), cloud(7, seed=1), cloud(7, 2, 2)
    network = la.FeatureNetwork([np.eye(4), np.zeros(4)], "softplus")
    out = linear_attention(network.features(q), network.features(k), v)
    want = naive.smoother(lambda a, b: np.log1p(np.exp(a)) @ np.log1p(np.exp(b)), q, k, v)
    assert np.allclose(out, want)


def test_elu_features():
    assert np.allclose(la.elu_features([[2.0, -1.0, 0.0]]), [[3.0, np.exp(-1), 1.0]])
    assert np.isfinite(la.elu_features([[1e300, -1e300]])).all()


@pytest.mark.parametrize("activation", la.ACTIVATIONS)
@pytest.mark.parametrize("kind", la.MAPS)
def test_network_gradient_is_a_finite_difference(kind, activation):
    network, x, g = la.feature_network(3, 5, kind, 0, activation), cloud(4, 3), cloud(4, 5, 1)
    shapes = [layer.shape for layer in network.layers]
    flat = np.concatenate([layer.ravel() for layer in network.layers])

    def total(flat):
        cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        layers = [
            part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)
        ]
        return np.sum(g * la.FeatureNetwork(layers, activation).features(x))

    slopes = np.concatenate([part.ravel() for part in network.pullback(x)[1](g)])
    assert np.allclose(slopes, approx_fprime(flat, total, 1e-7), atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4)])
def test_orthogonality_is_zero_for_scaled_rotations_and_has_its_gradient(shape):
    q = np.linalg.qr(cloud(7, 7))[0][: shape[0], : shape[1]]
    if shape != (4, 4):
        assert la.orthogonality(3.7 * q)[0] == pytest.approx(0.0, abs=1e-12)
    weights = cloud(*shape, seed=1)
    value, slope = la.orthogonality(weights)
    assert la.orthogonality(5.0 * weights)[0] == pytest.approx(value)
    numeric = approx_fprime(weights.ravel(), lambda w: la.orthogonality(w.reshape(shape))[0], 1e-7)
    assert np.allclose(slope.ravel(), numeric, atol=1e-4)


def head(name="camera", draw=0, R=4.0, turn=None, some=None):
    clean = photograph(name, 32)
    clean = clean if clean.ndim == 2 else clean.mean(axis=2)
    noisy = clean + 0.2 * np.random.default_rng(draw).standard_normal(clean.shape)
    u, v = R * la.patch_tokens(noisy), noisy.reshape(-1, 1)
    if some is not None:
        u, v = u[some], v[some]
    k = u if turn is None else u @ turn
    return u, k, v, softmax_attention(u, k, v, scale=1.0)


@functools.cache
def distilled(seed, turned=False, penalty=0.0):
    rng = np.random.default_rng(500 + seed)
    turn = np.linalg.qr(cloud(10, 10, 5))[0] if turned else None
    batches = [
        head(draw=100 + 20 * seed + b, turn=turn, some=rng.choice(1024, 192, replace=False))
        for b in range(12)
    ]
    start = la.feature_network(10, 32, "one layer", seed, "exp")
    return la.last(la.distil(start, batches, penalty, steps=200, step=0.05))


def error_of(features, name, draw):
    u, _, v, exact = head(name, draw)
    phi = features(u)
    return la.output_error(linear_attention(phi, phi, v), exact)


def test_claim_distilled_features_beat_untrained_ones_and_the_control_does_not():
    for name in ("camera", "astronaut"):
        for seed in range(3):
            w = draw_projections(32, 10, "orthogonal", 1000 + seed)
            maps = (
                la.elu_features,
                lambda x, w=w: positive_features(x, w, "softmax"),
                la.feature_network(10, 32, "one layer", seed, "exp").features,
            )
            untrained = min(error_of(phi, name, seed) for phi in maps)
            assert untrained / error_of(distilled(seed)[0].features, name, seed) >= 2
            assert untrained / error_of(distilled(seed, True)[0].features, name, seed) < 2


def test_the_penalty_makes_weights_orthogonal():
    assert np.linalg.cond(distilled(0)[0].layers[0]) > 3
    assert np.linalg.cond(distilled(0, penalty=0.1)[0].layers[0]) < 1.2


def test_one_feature_gives_every_query_the_same():
    u, _, v, _ = head()
    phi = la.feature_network(10, 1, "gated", 0).features(u)
    assert np.ptp(linear_attention(phi, phi, v)) < 1e-12


def test_training_leaves_its_start_alone_and_last_is_the_last():
    start = la.feature_network(4, 3, "one layer", 0)
    before = [layer.copy() for layer in start.layers]
    q, v = cloud(), cloud(30, 2, 1)
    run = list(la.distil(start, [(q, q, v, softmax_attention(q, q, v))], steps=5))
    assert all(np.array_equal(a, b) for a, b in zip(before, start.layers, strict=True))
    assert [fraction for fraction, _ in run] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert la.last(run) is run[-1][1]
    with pytest.raises(ValueError, match="at least one state"):
        la.last([])


# 3. A cosine transform with fitted weights


@pytest.mark.parametrize("sequence", la.SEQUENCES)
def test_quantiles_follow_the_normal_law(sequence):
    t = la.normal_quantiles(1024, sequence, 0)
    assert np.isfinite(t).all() and abs(t.mean()) < 0.1 and abs(t.std() - 1) < 0.1


def test_cosine_features_multiply_by_the_matrix():
    x, t = cloud(6, 8), la.normal_quantiles(20, "Sobol", 0)
    matrix = naive.cosine_matrix(8)
    assert np.allclose(matrix @ matrix.T, np.eye(8), atol=1e-12)
    assert np.allclose(x @ matrix.T, dct(x, norm="ortho", axis=1), atol=1e-12)
    rows = t[:, None] * matrix[np.arange(20) % 8]
    want = np.exp(x @ rows.T) / np.sqrt(20)
    assert np.allclose(la.cosine_features(x, t, rescaled=False), want, rtol=1e-12)
    want = np.exp(np.sqrt(8) * x @ rows.T - 0.5 * np.sum(x**2, axis=1)[:, None]) / np.sqrt(20)
    assert np.allclose(la.cosine_features(x, t), want, rtol=1e-12)
    weights = np.arange(20.0)
    assert np.allclose(la.cosine_features(x, t, weights), want * np.sqrt(weights), rtol=1e-12)


def test_random_rows_are_unbiased():
    x = 0.5 * la.unit_rows(cloud(6, 5))
    found = [positive_features(x, draw_projections(64, 5, "iid", s), "softmax") for s in range(400)]
    products = np.array([f @ f.T for f in found])
    error = products.std(axis=0) / 20
    assert (np.abs(products.mean(axis=0) - np.exp(x @ x.T)) < 4 * error).all()


def test_importance_weights_find_weights_that_exist():
    left, right = np.random.default_rng(0).random((2, 50, 6))
    weights = np.array([0.0, 1.0, 2.0, 0.0, 0.5, 3.0])
    for power in (0.0, 0.5, 1.0):
        found = la.importance_weights(left, right, (left * right) @ weights, power)
        assert np.allclose(found, weights, atol=1e-9)


@functools.cache
def cosine_errors(draw, length, m=32):
    """Median relative errors of Gaussian rows, then of cosine rows: equal, fitted, shuffled."""
    rng = np.random.default_rng(300 + draw)
    pairs = []
    for n in (200, 400):
        q, k = (la.unit_rows(rng.standard_normal((n, 32))) for _ in range(2))
        k[: n // 2] = la.unit_rows(q[: n // 2] + 0.7 * k[: n // 2])
        pairs.append((length * q, length * k, np.exp(length**2 * np.sum(q * k, axis=1))))
    w, t = draw_projections(m, 32, "iid", 1000 + draw), la.normal_quantiles(m, "Sobol", draw)
    (q, k, exact), (fresh_q, fresh_k, fresh) = pairs
    errors = []
    for phi in (
        lambda x: positive_features(x, w, "softmax"),
        lambda x: la.cosine_features(x, t),
    ):
        fit = la.importance_weights(phi(q), phi(k), exact)
        mixed = np.random.default_rng(draw).permutation(fit)
        products = phi(fresh_q) * phi(fresh_k)
        for weights in (np.ones(m), fit, mixed):
            errors.append(np.median(np.abs(products @ weights / fresh - 1)))
    return errors


def test_claim_the_fit_helps_any_rows_and_the_right_features_only():
    draws, equal, fitted, shuffled = np.array([cosine_errors(s, 0.5) for s in range(8)]), 3, 4, 5
    ratios = draws.mean(axis=0) / draws[:, fitted].mean()
    assert ratios[equal] > 1.5 and ratios[shuffled] > 1.5
    assert ratios[0] > 1.15  # Gaussian draws, equal weights
    assert 0.85 < ratios[1] < 1.25  # Gaussian draws, fitted: as good as cosines
    long = np.array([cosine_errors(s, 2.0) for s in range(8)]).mean(axis=0)
    assert min(long) > 0.7


def test_claim_more_rows_help_gaussian_draws_and_not_cosines():
    few, many = (np.mean([cosine_errors(s, 0.5, m) for s in range(8)], axis=0) for m in (32, 128))
    assert few[1] / many[1] >= 1.5 and few[4] / many[4] < 1.2


# 4. Squares


@pytest.mark.compiled
@pytest.mark.parametrize("d", [1, 2, 5])
def test_square_features_are_the_triangle_and_the_square(d):
    q, k = cloud(7, d), cloud(5, d, 1)
    assert np.allclose(la.square_features(q, 4.0), naive.outer_triangle(q, 2.0), atol=1e-14)
    assert la.square_features(q).shape == (7, d * (d + 1) // 2)
    products = la.square_features(q, 0.3) @ la.square_features(k, 0.3).T
    assert np.allclose(products, 0.3 * (q @ k.T) ** 2, atol=1e-12)


def test_taylor_features_are_the_polynomial():
    q, k = cloud(7, 5), cloud(6, 5, 1)
    s = q @ k.T / np.sqrt(5)
    assert np.allclose(la.taylor_features(q) @ la.taylor_features(k).T, 1 + s + s**2 / 2)


def test_rebased_features_are_the_closed_form():
    q, k, gain, shift = cloud(7, 5), cloud(6, 5, 1), cloud(1, 5, 2)[0], cloud(1, 5, 3)[0]
    moved = [gain * la.layer_norm(x) + shift for x in (q, k)]
    products = la.rebased_features(q, gain, shift) @ la.rebased_features(k, gain, shift).T
    assert np.allclose(products, (moved[0] @ moved[1].T) ** 2 / 5, atol=1e-12)
    assert np.allclose(la.layer_norm(q).mean(axis=1), 0, atol=1e-12)


def test_recurrent_form_is_the_causal_one():
    x, v = cloud(70, 4), cloud(70, 2, 1)
    phi = la.rebased_features(x, np.ones(4), np.zeros(4))
    state, total, rows = np.zeros((phi.shape[1], 2)), np.zeros(phi.shape[1]), []
    for f, value in zip(phi, v, strict=True):
        state, total = state + np.outer(f, value), total + f
        rows.append(f @ state / (f @ total))
    assert np.allclose(linear_attention(phi, phi, v, causal=True), rows, atol=1e-10)


@pytest.mark.parametrize("kernel", la.RECALL_KERNELS)
def test_recall_weights_are_those_of_the_features(kernel):
    layer = la.recall_layer(kernel, 6, 4, 0)
    asked, stored = cloud(5, 6), cloud(8, 6, 1)
    weights = layer.weights(asked, stored)
    assert np.allclose(weights.sum(axis=1), 1)
    q, k = asked @ layer.parameters[0], stored @ layer.parameters[1]
    if kernel == "softmax":
        want = np.exp(q @ k.T / 2)
    elif kernel == "ReBased":
        ones, zeros = np.ones(4), np.zeros(4)
        want = la.rebased_features(q, ones, zeros) @ la.rebased_features(k, ones, zeros).T
    elif kernel == "bare square":
        want = la.square_features(q, 0.25) @ la.square_features(k, 0.25).T
    else:
        q, k = (la.layer_norm(x) if "norm" in kernel else x for x in (q, k))
        want = la.taylor_features(q) @ la.taylor_features(k).T
    assert np.allclose(weights, want / want.sum(axis=1, keepdims=True), atol=1e-8)


@functools.cache
def recall_32(kernel, seed, trained=True):
    layer = la.recall_layer(kernel, 32, 8, seed)
    if trained:
        layer = la.last(la.train_recall(layer, 8, 10 + seed, steps=200, step=0.03))[0]
    return la.recall(layer, 32, rng=5000, sequences=40)[0]


def test_claim_rebased_recalls_better_than_based():
    for seed in range(2):
        assert recall_32("ReBased", seed, trained=False) < 0.6
        assert recall_32("ReBased", seed) - recall_32("Based", seed) >= 0.08
        assert recall_32("bare square", seed) - recall_32("Based", seed) < 0.08


# 5. Relative positions


def rpe_problem(n, m=6):
    rng = np.random.default_rng(n)
    return rng.random((n, m)), rng.random((n, m)), rng.normal(size=(n, 2))


@pytest.mark.parametrize("n", [1, 2, 37, 64])
@pytest.mark.parametrize("family", la.FAMILIES)
def test_positions_by_fft_are_the_matrix_written_out(n, family):
    q, k, v = rpe_problem(n)
    c = la.position_weights(n, family, 0.7, 3.0)
    matrix = c[np.arange(n) - np.arange(n)[:, None] + n - 1]
    want = la.kernel_smoother(matrix * (q @ k.T), v)
    assert np.allclose(toeplitz_attention(q, k, v, c), want, atol=1e-12)
    jittered = matrix * np.exp(0.3 * np.random.default_rng(0).normal(size=(n, n)))
    if n > 2:  # not a Toeplitz matrix: it must not agree
        assert not np.allclose(la.kernel_smoother(jittered * (q @ k.T), v), want, atol=1e-4)
    columns = cloud(n, 3)
    by_scipy = matmul_toeplitz((c[n - 1 :: -1], c[n - 1 :]), columns)
    assert np.allclose(toeplitz_product(c, columns, n), by_scipy, atol=1e-10)


def test_no_rate_is_plain_linear_attention():
    q, k, v = rpe_problem(50)
    c = la.position_weights(50, "logarithmic", 0.0)
    assert np.allclose(toeplitz_attention(q, k, v, c), linear_attention(q, k, v), atol=1e-12)


def test_families_of_position_weights():
    assert np.allclose(la.position_weights(3, "decay", 2.0, 4.0), np.exp([-1, -0.5, 0, -0.5, -1]))
    assert np.allclose(la.position_weights(2, "logarithmic", 2.0, 1.0), [0.25, 1, 0.25])


def test_extreme_sizes_do_not_overflow():
    weights = cloud(3, 4)
    value, slope = la.orthogonality(weights)
    for scale in (1e200, 1e-200):
        large, steep = la.orthogonality(scale * weights)
        assert large == pytest.approx(value) and np.allclose(steep * scale, slope)
    exact, found = cloud(9, 1), cloud(9, 1, 1)
    wanted = la.output_error(found, exact)
    assert la.output_error(1e200 * found, 1e200 * exact) == pytest.approx(wanted)
    for family in la.FAMILIES:
        assert la.position_weights(2, family, 0.0, 1e-320).tolist() == [1.0, 1.0, 1.0]
        assert la.position_weights(2, family, 1e308, 1e-320)[0] == 0


def test_positive_feature_deviation_is_measured():
    q, k = 0.6 * la.unit_rows(cloud(8, 3)), 0.6 * la.unit_rows(cloud(8, 3, 1))
    draws = []
    for seed in range(4000):
        w = draw_projections(16, 3, "iid", seed)
        left, right = positive_features(q, w, "softmax"), positive_features(k, w, "softmax")
        draws.append(np.sum(left * right, axis=1) / np.exp(np.sum(q * k, axis=1)))
    want = la.positive_feature_deviation(q, k, 16)
    assert np.allclose(np.std(draws, axis=0), want, rtol=0.25)


# Bad input

NAN = np.array([[np.nan, 1.0]])
NET = la.feature_network(4, 3, "one layer", 0)
LAYER = la.recall_layer("Based", 4, 3, 0)
SEQ = cloud(5, 2), cloud(5, 1), cloud(5, 1)
BAD = {
    "unit_rows rank": lambda: la.unit_rows([1.0, 2.0]),
    "unit_rows nan": lambda: la.unit_rows(NAN),
    "patch radius": lambda: la.patch_tokens(np.ones((4, 4)), -1),
    "patch too wide": lambda: la.patch_tokens(np.ones((4, 4)), 4),
    "patch lift": lambda: la.patch_tokens(np.ones((4, 4)), 1, 0.0),
    "error shapes": lambda: la.output_error(cloud(3), cloud(4)),
    "error constant": lambda: la.output_error(np.ones((3, 1)), np.ones((3, 1))),
    "spectrum deviation": lambda: la.spectrum([[0.0, 1.0]], 0.0),
    "spectrum deviations": lambda: la.spectrum([[0.0, 1.0]], [[1.0, -1.0]]),
    "spectrum empty": lambda: la.spectrum(np.empty((0, 2))),
    "spectrum gaps": lambda: TRUTH.kernel(cloud(3, 3)),
    "smoother shapes": lambda: la.kernel_smoother(cloud(3, 4), cloud(3, 1)),
    "smoother zero": lambda: la.kernel_smoother(np.zeros((2, 2)), cloud(2, 1)),
    "learn noise": lambda: la.learn_spectrum(TRUTH, cloud(4, 2), *SEQ),
    "learn noise empty": lambda: la.learn_spectrum(TRUTH, np.ones((2, 0, 2)), *SEQ),
    "learn noise nan": lambda: la.learn_spectrum(TRUTH, np.full((2, 3, 2), np.nan), *SEQ),
    "frequencies noise": lambda: TRUTH.frequencies(np.ones((3, 4, 2))),
    "pullback columns": lambda: la.attention_pullback(np.ones((3, 2)), np.ones((4, 3)), cloud(4)),
    "pullback zero": lambda: la.attention_pullback(np.zeros((3, 2)), np.ones((4, 2)), cloud(4)),
    "learn steps": lambda: la.learn_spectrum(TRUTH, np.ones((2, 3, 2)), *SEQ, steps=0),
    "learn targets": lambda: la.learn_spectrum(TRUTH, np.ones((2, 3, 2)), *SEQ[:2], cloud(4, 1)),
    "learn step": lambda: la.learn_spectrum(TRUTH, np.ones((2, 3, 2)), *SEQ, step=-1.0),
    "elu": lambda: la.elu_features([1.0]),
    "network size": lambda: la.feature_network(0, 3, "gated", 0),
    "network kind": lambda: la.feature_network(2, 3, "deep", 0),
    "network activation": lambda: la.feature_network(2, 3, "gated", 0, "relu"),
    "network columns": lambda: NET.features(cloud(3, 5)),
    "orthogonality zero": lambda: la.orthogonality(np.zeros((2, 3))),
    "orthogonality rank": lambda: la.orthogonality(np.ones(3)),
    "network unknown": lambda: la.FeatureNetwork(NET.layers, "relu").features(cloud()),
    "distil unknown": lambda: la.distil(la.FeatureNetwork(NET.layers, "relu"), [(cloud(),) * 4]),
    "distil parts": lambda: la.distil(NET, [(cloud(), cloud(), cloud())]),
    "distil vanishing": lambda: la.last(
        la.distil(
            la.FeatureNetwork([np.zeros((4, 3)), np.full(3, -1e6)], "softplus"), [(cloud(),) * 4]
        )
    ),
    "distil nothing": lambda: la.distil(NET, []),
    "distil shapes": lambda: la.distil(NET, [(cloud(), cloud(), cloud(5, 1), cloud(30, 1))]),
    "distil targets": lambda: la.distil(NET, [(cloud(), cloud(), cloud(30, 1), cloud(29, 1))]),
    "distil penalty": lambda: la.distil(NET, [(cloud(),) * 4], -1.0),
    "quantiles m": lambda: la.normal_quantiles(0, "Sobol", 0),
    "quantiles name": lambda: la.normal_quantiles(3, "sobol", 0),
    "quantiles rng": lambda: la.normal_quantiles(3, "Sobol", -1),
    "cosine quantiles": lambda: la.cosine_features(cloud(), []),
    "cosine weights": lambda: la.cosine_features(cloud(), [1.0, 2.0], [1.0]),
    "cosine negative": lambda: la.cosine_features(cloud(), [1.0, 2.0], [1.0, -1.0]),
    "cosine overflow": lambda: la.cosine_features(1e4 * cloud(), [1.0, 2.0], rescaled=False),
    "importance shapes": lambda: la.importance_weights(cloud(3), cloud(4), [1.0, 1, 1]),
    "importance exact": lambda: la.importance_weights(cloud(3), cloud(3), [1.0, 0, 1]),
    "importance overflow": lambda: la.importance_weights(
        1e200 * np.ones((3, 2)), 1e200 * np.ones((3, 2)), np.ones(3)
    ),
    "importance power": lambda: la.importance_weights(cloud(3), cloud(3), [1.0, 1, 1], 2.0),
    "square scale": lambda: la.square_features(cloud(), 0.0),
    "square nan": lambda: la.square_features(NAN),
    "square overflow": lambda: la.square_features(1e200 * cloud()),
    "norm overflow": lambda: la.layer_norm(1e200 * cloud()),
    "taylor": lambda: la.taylor_features([1.0]),
    "norm": lambda: la.layer_norm(np.empty((0, 2))),
    "rebased gain": lambda: la.rebased_features(cloud(), np.ones(3), np.zeros(4)),
    "layer kernel": lambda: la.recall_layer("rebased", 4, 3, 0),
    "layer size": lambda: la.recall_layer("Based", 4, 0, 0),
    "layer alike": lambda: la.recall_layer("Based", 4, 3, 0, 1.5),
    "weights columns": lambda: LAYER.weights(cloud(3, 5), cloud(3, 4)),
    "recall kernel": lambda: la.recall(la.RecallLayer("none", LAYER.parameters), 4, 0),
    "recall memory": lambda: la.recall(LAYER, 10**6, 0, 10**6),
    "train kernel": lambda: la.train_recall(la.RecallLayer("none", LAYER.parameters), 4, 0),
    "recall pairs": lambda: la.recall(LAYER, 1, 0),
    "recall sequences": lambda: la.recall(LAYER, 4, 0, 0),
    "train pairs": lambda: la.train_recall(LAYER, 1, 0),
    "train steps": lambda: la.train_recall(LAYER, 4, 0, steps=0),
    "train step": lambda: la.train_recall(LAYER, 4, 0, step=0.0),
    "weights n": lambda: la.position_weights(0, "decay"),
    "weights memory": lambda: la.position_weights(10**13, "decay"),
    "weights family": lambda: la.position_weights(3, "none"),
    "weights rate": lambda: la.position_weights(3, "decay", -1.0),
    "weights reach": lambda: la.position_weights(3, "decay", 1.0, 0.0),
    "deviation shapes": lambda: la.positive_feature_deviation(cloud(3), cloud(4), 3),
    "deviation m": lambda: la.positive_feature_deviation(cloud(3), cloud(3), 0),
    "deviation overflow": lambda: la.positive_feature_deviation(1e3 * cloud(3), cloud(3), 3),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused(bad):
    with pytest.raises(ValueError):
        bad()
