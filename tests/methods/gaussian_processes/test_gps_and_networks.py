"""GPs and networks: closed forms, exact posteriors, symmetries, bad input; claims and controls."""

import functools
import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from kernellab.compute.directions import random_directions
from kernellab.compute.gp import ExactGP, sample_prior
from kernellab.compute.kernels import Gaussian, Periodic
from kernellab.compute.likelihoods import GaussianNoise, Logit
from kernellab.compute.networks import dense_network, network_jacobian, network_output
from kernellab.datasets import digits, posterior_networks
from kernellab.methods.gaussian_processes import gps_and_networks as gn
from tests.naive import gps_and_networks as naive

SIZES = [1, 50, 50, 1]
LINE = np.linspace(-1, 1, 12)[:, None]


def last(states):
    *_, state = states
    return state


# Random networks, and the walk


def test_draws_and_scales():
    draws = gn.standard_draws([2, 3, 1], 400, 0)
    assert [(w.shape, b.shape) for w, b in draws] == [
        ((400, 2, 3), (400, 3)),
        ((400, 3, 1), (400, 1)),
    ]
    scaled = gn.with_scales(draws, [2.0, 0.0, 1.0, 3.0])
    assert np.array_equal(scaled[0][0], 2 * draws[0][0]) and not scaled[0][1].any()
    assert np.allclose(gn.fan_in_scales([4, 9, 1]), [0.5, 1, 1 / 3, 1])


def test_the_walk_samples_a_gaussian():
    precision = np.array([[2.0, 0.6], [0.6, 1.0]])
    theta = np.zeros((2000, 2))
    walk = gn.FrictionWalk([theta], step=0.05, friction=0.2, rng=0)
    for _ in range(400):
        walk.move([theta @ precision])
    assert np.allclose(np.cov(theta.T), np.linalg.inv(precision), atol=0.12)


def test_a_step_for_each_unknown_and_no_temperature():
    theta = [np.ones(3), np.full((2, 1), 5.0)]
    walk = gn.FrictionWalk(
        theta, step=[0.1, np.array([[0.1], [0.01]])], friction=0.3, temperature=0.0
    )
    for _ in range(600):
        walk.move([2 * theta[0], 2 * theta[1]])
    assert max(np.abs(theta[0]).max(), np.abs(theta[1]).max()) < 1e-3


# 1. Functional priors


def test_sliced_distance_and_its_gradient():
    rng = np.random.default_rng(0)
    f, g, slices = (
        rng.standard_normal((9, 4)),
        rng.standard_normal((9, 4)),
        random_directions(5, 4, 1),
    )
    value, gradient = gn.sliced_distance(f, g, slices)
    assert value == pytest.approx(naive.sliced_distance(f, g, slices))
    numeric = approx_fprime(
        f.ravel(), lambda v: gn.sliced_distance(v.reshape(9, 4), g, slices)[0], 1e-7
    )
    assert np.allclose(gradient.ravel(), numeric, atol=1e-6)


def test_w1_of_two_gaussians_is_the_gap_of_their_quantiles():
    rng = np.random.default_rng(0)
    f, g = 2 * rng.standard_normal((100_000, 1)), rng.standard_normal((100_000, 1))
    # |2 q - q| = |q|, whose mean over a standard normal is sqrt(2/pi)
    assert gn.sliced_distance(f, g, np.ones((1, 1)))[0] == pytest.approx(
        math.sqrt(2 / math.pi), rel=0.02
    )


def test_tuning_finds_the_scale_of_a_linear_network():
    # One layer, f = w x + b: as a GP its kernel is a^2 x x' + c^2, with the scales a and c.
    scales = last(gn.tune_scales(Gaussian(20.0), [1, 1], steps=150, samples=400, places=8, rng=0))[
        1
    ].scales
    assert scales[1] == pytest.approx(1.0, rel=0.1) and scales[0] < 0.15


def test_tuned_networks_are_nearer_to_the_gp():
    kernel = Gaussian(0.6)
    state = last(gn.tune_scales(kernel, [1, 30, 1], steps=60, samples=96, places=12, rng=0))[1]
    assert state.distances.size == 60 and (state.scales > 0).all()
    tuned = gn.distance_to_gp(kernel, [1, 30, 1], state.scales, 1, samples=400, repeats=2)
    habit = gn.distance_to_gp(
        kernel, [1, 30, 1], gn.fan_in_scales([1, 30, 1]), 1, samples=400, repeats=2
    )
    assert tuned < 0.7 * habit


def test_network_posterior_of_a_linear_model_is_exact():
    # One layer: Bayesian linear regression with prior scales (a, c).
    x, y, scales, noise = (
        np.array([[-0.5], [0.4], [0.9]]),
        np.array([0.2, -0.3, 0.8]),
        [1.5, 0.7],
        0.1,
    )
    walk = gn.sample_network_posterior(
        [1, 1],
        scales,
        x,
        y,
        noise,
        LINE,
        chains=64,
        burn=600,
        moves=1500,
        every=15,
        step=2e-3,
        friction=0.05,
    )
    f = last(walk)[1]
    design, at = (np.hstack([scales[0] * p, np.full((len(p), 1), scales[1])]) for p in (x, LINE))
    mean, variance = naive.linearised_laplace(design, y, np.full(3, 1 / noise), 1.0, at)
    assert np.allclose(f.mean(axis=0), mean, atol=0.06)
    assert np.allclose(f.std(axis=0), np.sqrt(variance), rtol=0.1)


def test_conditioned_draws_follow_the_gp():
    kernel, x, y = Gaussian(0.5), LINE[[1, 5, 10]], np.array([1.0, -1.0, 0.5])
    draws = sample_prior(kernel, np.vstack([x, LINE]), 20_000, 0)
    after = gn.condition_draws(draws[:, :3], draws[:, 3:], y, 0.04)
    mean, variance = ExactGP(kernel, x, y, 0.04).predict(LINE)
    assert np.allclose(after.mean(axis=0), mean, atol=0.04)
    assert np.allclose(after.var(axis=0), variance, atol=0.04)


# 2. Function space


def wave(x):
    return np.sin(2 * x[:, 0]) + 0.3 * np.cos(5 * x[:, 0])


@functools.lru_cache(maxsize=8)
def trained(seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 1.2, (80, 1))
    y = wave(x) + 0.1 * rng.standard_normal(80)
    return (
        x,
        y,
        gn.train_network(dense_network([1, 50, 1], seed), x, y, GaussianNoise(0.01), 0.1, 400),
    )


def test_training_reaches_a_flat_place():
    x, y = LINE, wave(LINE)
    start = dense_network([1, 6, 1], 0)
    found = gn.train_network(start, x, y, GaussianNoise(0.1), 0.5, 2000)

    def loss(layers):
        f = network_output(layers, x)[:, 0]
        flat = np.concatenate([a.ravel() for pair in layers for a in pair])
        return np.sum((y - f) ** 2) / 0.2 + 0.25 * flat @ flat

    assert loss(found) < loss(start)
    for pair in range(2):
        for part in range(2):
            for change in (1e-3, -1e-3):
                layers = [tuple(np.array(a) for a in pair_) for pair_ in found]
                layers[pair][part].flat[0] += change
                assert loss(layers) > loss(found) - 1e-9


def test_all_points_give_the_linearised_laplace_posterior():
    x, y, network = trained(0)
    at = np.linspace(-3, 1, 9)[:, None]
    model = gn.FunctionSpaceGP(network, GaussianNoise(0.01), 0.1, x).with_data(x, y)
    mean, variance = naive.linearised_laplace(
        network_jacobian(network, x), y, np.full(80, 100.0), 0.1, network_jacobian(network, at)
    )
    found = model.predict(at)
    assert np.allclose(found.mean, mean, atol=1e-5) and np.allclose(
        found.variance, variance, atol=1e-5
    )


def test_linear_features_are_bayesian_linear_regression_exactly():
    # A network of one layer: J = (x, 1) whatever the weights are.
    x, y, at = LINE, wave(LINE), np.array([[0.3], [2.0]])
    model = gn.FunctionSpaceGP(dense_network([1, 1], 0), GaussianNoise(0.1), 0.5, x[:4]).with_data(
        x, y
    )
    design, test = (np.hstack([p, np.ones((len(p), 1))]) for p in (x, at))
    mean, variance = naive.linearised_laplace(design, y, np.full(12, 10.0), 0.5, test)
    assert np.allclose(model.predict(at).mean, mean, atol=1e-10)
    assert np.allclose(model.predict(at).variance, variance, atol=1e-10)


@pytest.mark.parametrize("likelihood", [GaussianNoise(0.1), Logit()])
def test_in_chunks_as_all_at_once(likelihood):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 2))
    y = np.sign(x[:, 0] * x[:, 1]) if isinstance(likelihood, Logit) else x[:, 0] * x[:, 1]
    network = gn.train_network(dense_network([2, 12, 1], 0), x, y, likelihood, 0.5, 100)
    start = gn.FunctionSpaceGP(network, likelihood, 0.5, x[:10])
    whole = start.with_data(x, y)
    parts = start.with_data(x[:13], y[:13]).with_data(x[13:], y[13:])
    assert np.allclose(whole.predict(x).mean, parts.predict(x).mean)
    assert np.allclose(whole.predict(x).variance, parts.predict(x).variance)
    assert np.mean(whole.log_density(x, y)) > np.mean(start.log_density(x, y)) + 0.1


def test_claim_adding_terms_saves_most_of_what_retraining_saves():
    shares = {True: [], False: []}
    for seed in (10, 11, 12):
        x, y, network = trained(seed)
        rng = np.random.default_rng(seed + 50)
        x2, test = rng.uniform(1.2, 2.2, (20, 1)), rng.uniform(1.2, 2.2, (200, 1))
        y2, y_test = (wave(p) + 0.1 * rng.standard_normal(len(p)) for p in (x2, test))
        noise, both = GaussianNoise(0.01), (np.vstack([x, x2]), np.r_[y, y2])
        again = gn.train_network(network, *both, noise, 0.1, 400)
        old = gn.FunctionSpaceGP(network, noise, 0.1, x).with_data(x, y)
        best = gn.FunctionSpaceGP(again, noise, 0.1, both[0]).with_data(*both)
        low, high = (m.log_density(test, y_test).mean() for m in (old, best))
        for curvature, found in shares.items():
            new = old.with_data(x2, y2, curvature=curvature).log_density(test, y_test).mean()
            found.append((new - low) / (high - low))
    assert np.mean(shares[True]) > 0.65 and np.mean(shares[False]) < 0


# 3. Autoencoder


def test_turning_by_nothing_and_by_a_right_angle():
    image = digits(classes=(3,)).images[0]
    upright, turned, round_ = gn.rotated(image, [0, 90, 360], 9).reshape(3, 9, 9)
    assert np.allclose(upright, round_) and upright.max() > 0.5
    assert np.allclose(np.rot90(upright, -1), turned, atol=1e-9)


def test_code_prior_is_fitc():
    aux, inducing = np.linspace(0, 350, 20)[:, None], np.linspace(0, 288, 5)[:, None]
    kernel = Periodic(360.0, 0.8)
    prior = gn.code_prior(kernel, aux, inducing)
    covariance = prior.weights @ prior.weights.T + np.diag(prior.spread**2)
    assert np.allclose(covariance, naive.code_covariance(kernel, aux, inducing), atol=1e-5)


def autoencoder(aux=True, hidden=0, rng=0):
    images = gn.rotated(digits(classes=(3,)).images[0], np.arange(8) * 45.0, 4)
    seen = np.ones(images.shape, bool)
    seen[2] = False
    return gn._Autoencoder(
        images,
        seen,
        np.arange(8) * 45.0 if aux else None,
        2,
        hidden,
        4,
        360.0,
        np.random.default_rng(rng),
    )


@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize("aux", [True, False])
def test_the_energys_gradient(aux, hidden):
    model = autoencoder(aux, hidden)
    theta = [a + 0.1 for a in model.start()]
    model.slope(theta)  # takes the present lengthscale

    def energy(flat):
        parts = np.split(flat, np.cumsum([a.size for a in theta])[:-1])
        now = [p.reshape(a.shape) for p, a in zip(parts, theta, strict=True)]
        kept = model._prior
        if aux:
            model._prior = model._prior_at(now[-1])
        *_, misfit = model._fit(now)
        model._prior = kept
        prior = sum(np.sum(a**2) for a in [*now[:-2], now[-1]]) / 2
        log_noise = now[-2][0] / model.counted
        return 0.5 * misfit + model.seen.sum() * log_noise + prior + 0.5 * log_noise**2

    flat = np.concatenate([a.ravel() for a in theta])
    numeric = approx_fprime(flat, energy, 1e-6)
    ours = np.concatenate([a.ravel() for a in [*model.gradient(theta), *model.slope(theta)]])
    assert np.allclose(ours, numeric, atol=2e-3 * np.abs(numeric).max())


def test_sampled_codes_have_the_exact_posteriors_moments():
    # Decoder, noise and lengthscale held still: the codes' posterior is Gaussian in closed form.
    model = autoencoder()
    theta = model.start()
    rng = np.random.default_rng(1)
    for array in theta[:-4]:
        array[:] = rng.standard_normal(array.shape)
    prior = naive.code_covariance(Periodic(360.0, 1.0), model.aux, model.places)
    weights = theta[0] * model.scales[0]
    noise = 0.2
    precision = np.kron(np.linalg.inv(prior), np.eye(2))
    precision += np.kron(np.diag(model.seen.any(axis=1)) * 1.0, weights @ weights.T / noise**2)
    gap = np.where(model.seen, model.images - theta[1] * model.scales[1], 0.0)
    mean = np.linalg.solve(precision, (gap @ weights.T / noise**2).ravel())
    sd = np.sqrt(np.diagonal(np.linalg.inv(precision)))
    walk = gn.FrictionWalk(theta[-4:-2], 0.01, 0.1, rng=2)
    kept = []
    for number in range(30_000):
        walk.move(model.gradient(theta)[-3:-1])
        if number > 2000 and number % 10 == 0:
            kept.append(model._codes(*theta[-4:-2], model._prior).ravel())
    kept = np.array(kept)
    assert np.abs(kept.mean(axis=0) - mean).max() < 0.35 * sd.max()
    assert np.mean(kept.std(axis=0) / sd) == pytest.approx(1.0, abs=0.1)


@functools.lru_cache(maxsize=8)
def painted(prior, seed):
    rng = np.random.default_rng(seed)
    angles = np.arange(36) * 10.0
    clean = gn.rotated(digits(classes=(5,)).images[0], angles)
    images = clean + 0.3 * rng.standard_normal(clean.shape)
    hidden = rng.permutation(36)[:11]
    seen = np.ones(clean.shape, bool)
    seen[hidden] = False
    aux = {"angle": angles, "none": None, "shuffled": rng.permutation(angles)}[prior]
    state = last(
        gn.sample_autoencoder(images, seen, aux, channels=4, moves=1000, every=25, rng=seed)
    )[1]
    return np.mean((state.reconstructions.mean(axis=0) - clean)[hidden] ** 2), state, images


@pytest.mark.parametrize("seed", [0, 1])
def test_claim_unseen_angles(seed):
    ours, none, shuffled = (painted(prior, seed)[0] for prior in ("angle", "none", "shuffled"))
    assert ours < 0.75 * none < shuffled


def test_the_encoder_imitates_the_codes():
    _, state, images = painted("angle", 0)
    found = gn.encode(state.encoder, images)
    codes = state.codes.mean(axis=0)
    assert found.mean.shape == codes.shape and (found.variance > 0).all()
    shown = np.sum((found.mean - codes) ** 2) / np.sum((codes - codes.mean(axis=0)) ** 2)
    assert shown < 0.6


# 4. Denoising


def test_the_best_guess_is_the_conditional_mean():
    gram = Gaussian(0.6).gram(LINE)
    rng = np.random.default_rng(0)
    y0, eps = sample_prior(Gaussian(0.6), LINE, 40_000, 1), rng.standard_normal((40_000, 12))
    y = math.sqrt(0.3) * y0 + math.sqrt(0.7) * eps
    slope = np.linalg.lstsq(y, eps, rcond=None)[0]  # the least-squares guess
    ours = gn.GaussianDenoiser(gram).noise(np.eye(12), 0.3)
    assert np.allclose(slope, ours, atol=0.05)
    mixed = gn.MixtureDenoiser([gram, gram])
    assert np.allclose(mixed.noise(y[:5], 0.3), gn.GaussianDenoiser(gram).noise(y[:5], 0.3))


def test_a_mixture_finds_the_kernel_again():
    grams = [Gaussian(0.2).gram(LINE), Gaussian(1.5).gram(LINE)]
    denoiser = gn.MixtureDenoiser(grams, [0.5, 0.5])
    smooth = sample_prior(Gaussian(1.5), LINE, 200, 0)
    assert denoiser.responsibilities(gn.add_noise(smooth, 0.95, 1), 0.95)[:, 1].mean() > 0.95
    assert np.allclose(denoiser.responsibilities(smooth, 0.0), 0.5)


def test_white_noise_keeps_its_law_exactly():
    law = gn.denoised_law(gn.GaussianDenoiser(np.eye(3)), gn.noise_schedule(30), until=1)
    assert np.allclose(law.covariance, np.eye(3), atol=1e-12)


def test_unconditional_functions_have_the_kernels_covariance():
    gram = Gaussian(0.5).gram(LINE)
    law = gn.denoised_law(gn.GaussianDenoiser(gram), gn.noise_schedule(200))
    assert np.linalg.norm(law.covariance - gram) < 0.05 * np.linalg.norm(gram)
    drawn = last(
        gn.sample_by_denoising(gn.GaussianDenoiser(gram), 12, 1000, gn.noise_schedule(100), 0)
    )[1]
    assert np.linalg.norm(np.cov(drawn.T) - gram) < 0.15 * np.linalg.norm(gram)


def test_drawn_functions_follow_the_law():
    denoiser, context, values = gn.GaussianDenoiser(Gaussian(0.3).gram(LINE)), [2, 8], [1.0, -0.5]
    arguments = {"context": context, "values": values, "rounds": 3}
    law = gn.denoised_law(denoiser, gn.noise_schedule(60), **arguments)
    drawn = last(gn.sample_by_denoising(denoiser, 12, 4000, gn.noise_schedule(60), 0, **arguments))[
        1
    ]
    assert np.allclose(drawn.mean(axis=0), law.mean, atol=0.06)
    assert np.allclose(drawn.std(axis=0), np.sqrt(np.diagonal(law.covariance)), atol=0.05)
    assert np.array_equal(drawn[0, context], values)


def test_claim_rounds_bring_the_posterior():
    errors = {}
    for rounds in (1, 10):
        found = []
        for seed in range(3):
            places = np.linspace(-1, 1, 20)[:, None]
            rng = np.random.default_rng(seed)
            context = np.sort(rng.permutation(20)[:4])
            values = sample_prior(Gaussian(0.25), places, 1, rng)[0][context]
            mean, variance = ExactGP(Gaussian(0.25), places[context], values, 1e-6).predict(places)
            law = gn.denoised_law(
                gn.GaussianDenoiser(Gaussian(0.25).gram(places)), gn.noise_schedule(200),
                context=context, values=values, rounds=rounds,
            )  # fmt: skip
            open_ = variance > 0.0025
            found.append(np.mean(np.abs(law.mean - mean)[open_] / np.sqrt(variance[open_])))
        errors[rounds] = np.mean(found)
    assert errors[10] <= 0.15 < 0.3 < errors[1]


def test_attention_respects_sets():
    rng = np.random.default_rng(0)
    network = gn.attention_denoiser(0, width=8)
    x, y, kept = (
        rng.uniform(-1, 1, (3, 7, 2)),
        rng.standard_normal((3, 7)),
        rng.uniform(0.1, 0.9, 3),
    )
    order = rng.permutation(7)
    guess = gn.guess_noise(network, x, y, kept)
    assert (
        np.abs(guess[:, order] - gn.guess_noise(network, x[:, order], y[:, order], kept)).max()
        < 1e-12
    )
    assert np.abs(guess - gn.guess_noise(network, x[:, :, ::-1], y, kept)).max() < 1e-12


def test_training_uses_the_neighbours_but_does_not_beat_the_best_guess():
    exam = gn.noisy_functions(Gaussian(0.5), 10, 1, 400, gn.noise_schedule(200), 5)
    x, y, kept, eps, best = exam
    least = np.mean((best - eps) ** 2)
    alone = np.mean((np.sqrt(1 - kept)[:, None] * y - eps) ** 2)
    first = None
    for _, network, *_ in gn.train_attention_denoiser(
        Gaussian(0.5), points=10, steps=250, step=1e-2, rng=0
    ):
        if first is None:
            first = np.mean((gn.guess_noise(network, x, y, kept) - eps) ** 2)
    loss = np.mean((gn.guess_noise(network, x, y, kept) - eps) ** 2)
    assert least < loss < 0.9 * alone and first > alone


# 5. Distribution transformers


@functools.lru_cache(maxsize=1)
def networks():
    return {
        k: gn.unpack(v.weights, gn.posterior_network(0)) for k, v in posterior_networks().items()
    }


def new_priors(sensor, seed=123, n=300):
    priors = gn.random_priors(n, seed)
    _, y, counts = gn.observe(priors, sensor, seed + 1)
    return priors, y, counts


def test_the_conjugate_rule_agrees_with_the_grid():
    priors, y, counts = new_priors("direct", n=40)
    fine = np.linspace(-9, 9, 4001)
    exact = gn.grid_posteriors(priors, y, counts, "direct", fine)
    assert gn.divergence(exact, gn.mixture_posterior(priors, y, counts), fine).max() < 1e-6
    assert np.allclose(exact.sum(axis=1) * (fine[1] - fine[0]), 1.0)


def test_observations_come_from_the_model():
    priors = gn.as_mixtures(
        np.tile([0.2, 0.8], (20_000, 1)),
        np.tile([-2.0, 1.0], (20_000, 1)),
        np.full((20_000, 2), 0.1),
    )
    theta, y, counts = gn.observe(priors, "range", 0)
    assert np.mean(theta > 0) == pytest.approx(0.8, abs=0.02)
    assert np.std(y[:, 0] - np.abs(theta)) == pytest.approx(0.4, abs=0.02)
    assert set(counts) == {1, 2, 3, 4, 5}


def test_claims_of_the_shipped_networks():
    for sensor, limit in (("direct", 0.02), ("range", 0.05)):
        priors, y, counts = new_priors(sensor)
        exact = gn.grid_posteriors(priors, y, counts, sensor)
        assert gn.divergence(exact, gn.infer(networks()[sensor], priors, y, counts)).mean() < limit
        untrained = gn.infer(gn.posterior_network(0), priors, y, counts)
        assert gn.divergence(exact, untrained).mean() > 0.3
    assert gn.divergence(exact, gn.linearised_posterior(priors, y, counts, "range")).mean() > 0.3
    priors, y, counts = new_priors("direct")
    one = gn.as_mixtures(
        *(np.tile(row, (300, 1)) for row in ([0.3, 0.4, 0.3], [-1.5, 0.0, 1.5], [0.7, 0.7, 0.7]))
    )
    blind = gn.infer(networks()["direct_one_prior"], one, y, counts)
    assert gn.divergence(gn.grid_posteriors(priors, y, counts, "direct"), blind).mean() > 0.1


@pytest.mark.parametrize("name", ["direct", "range", "direct_one_prior"])
def test_training_again_takes_the_same_path(name):
    fixed = gn.as_mixtures([[0.3, 0.4, 0.3]], [[-1.5, 0.0, 1.5]], [[0.7, 0.7, 0.7]])
    sensor, steps, batch = ("range", 6000, 96) if name == "range" else ("direct", 3000, 64)
    runs = gn.train_posterior_network(
        sensor, steps, batch, fixed_prior=fixed if name == "direct_one_prior" else None
    )
    losses = [loss for _, (_, _, loss) in zip(range(40), runs, strict=False)]
    assert np.allclose(losses, posterior_networks()[name].losses, rtol=1e-5)


def test_order_of_components_means_nothing():
    priors, y, counts = new_priors("range", n=20)
    found = gn.infer(networks()["range"], priors, y, counts)
    turned = gn.infer(networks()["range"], gn.Mixtures(*(p[:, ::-1] for p in priors)), y, counts)
    assert max(np.abs(a[:, ::-1] - b).max() for a, b in zip(found, turned, strict=True)) < 1e-10
    # Observations are a set too, and those beyond the count are not looked at.
    y2 = y.copy()
    y2[counts < 5, 4] = 99.0
    again = gn.infer(networks()["range"], priors, y2, counts)
    assert np.abs(again.means - found.means).max() < 1e-10


def test_packing_and_moving():
    network = gn.posterior_network(3)
    again = gn.unpack(gn.pack(network), network)
    assert all(np.array_equal(a, b) for a, b in zip(network, again, strict=True))
    priors = gn.random_priors(5, 0)
    moved = gn.moved(priors, 1.0, 0.3)
    assert np.allclose(moved.means, priors.means + 1)
    assert np.allclose(np.exp(2 * moved.log_sds), np.exp(2 * priors.log_sds) + 0.09)
    line = gn.linearised_posterior(priors, np.ones((5, 1)), np.ones(5), "direct")
    assert np.allclose(line.means, gn.mixture_posterior(priors, np.ones((5, 1)), np.ones(5)).means)


# Bad input

PRIORS = gn.random_priors(2, 0)
DENOISER = gn.GaussianDenoiser(np.eye(3))
SCHEDULE = gn.noise_schedule(5)
ONES, TRUE = np.ones((4, 3)), np.ones((4, 3), bool)
MODEL = gn.FunctionSpaceGP(dense_network([1, 2, 1], 0), GaussianNoise(0.1), 1.0, LINE)
PARTS = gn.posterior_network(0)


BAD = [
    (lambda: gn.standard_draws([3], 2, 0), "sizes must"),
    (lambda: gn.standard_draws([3, 1], 0, 0), "n must"),
    (lambda: gn.standard_draws([3, 1], 2, -1), "rng must"),
    (lambda: gn.with_scales(gn.standard_draws([1, 1], 2, 0), [1.0]), "length 2"),
    (lambda: gn.with_scales(gn.standard_draws([1, 1], 2, 0), [1.0, -1.0]), "not be negative"),
    (lambda: gn.fan_in_scales([0, 1]), r"sizes\[0\] must"),
    (lambda: gn.FrictionWalk([np.zeros(2)], -1.0), "step must"),
    (lambda: gn.FrictionWalk([np.zeros(2)], [0.1, 0.1]), "step must"),
    (lambda: gn.FrictionWalk([np.zeros(2)], 0.1, 2.0), "friction must"),
    (lambda: gn.FrictionWalk([np.zeros(2)], 0.1, 0.1, -1), "temperature must"),
    (lambda: gn.FrictionWalk([np.zeros(2)], 0.1).move([np.array([np.nan, 0.0])]), "ran away"),
    (lambda: gn.sliced_distance(ONES, ONES[:2], np.ones((2, 3))), "g must have 4 rows"),
    (lambda: gn.sliced_distance(ONES, ONES, np.ones((2, 2))), "directions must"),
    (lambda: gn.sliced_distance(ONES * np.nan, ONES, np.ones((2, 3))), "f must be finite"),
    (lambda: last(gn.tune_scales(Gaussian(1.0), [1, 2])), "one output"),
    (lambda: last(gn.tune_scales(Gaussian(1.0), [1, 1], steps=0)), "steps must"),
    (lambda: last(gn.tune_scales(Gaussian(1.0), [1, 1], start=[1.0])), "start must"),
    (lambda: last(gn.tune_scales(Gaussian(1.0), [1, 1], step=0)), "step must"),
    (lambda: gn.distance_to_gp(Gaussian(1.0), [1, 1], [1.0], 0), "length 2"),
    (lambda: gn.distance_to_gp(Gaussian(1.0), [1, 1], [1.0, 1.0], 0, repeats=0), "repeats must"),
    (lambda: last(gn.sample_network_posterior([1, 1], [1, 1], LINE, [1], 0.1, LINE)), "y must"),
    (lambda: last(gn.sample_network_posterior([1, 1], [1, 1], LINE, LINE[:, 0], 0, LINE)), "noise"),
    (
        lambda: last(
            gn.sample_network_posterior([1, 1], [1, 1], LINE, LINE[:, 0], 1e-4, LINE, step=1.0)
        ),
        "ran away",
    ),
    (lambda: gn.condition_draws(ONES, ONES[:2], np.ones(3), 0.1), "f_at must"),
    (lambda: gn.condition_draws(ONES, ONES, np.ones(2), 0.1), "y must"),
    (lambda: gn.train_network(dense_network([1, 1], 0), LINE, [1.0], GaussianNoise(0.1), 1.0), "y"),
    (
        lambda: gn.train_network(dense_network([1, 1], 0), LINE, LINE[:, 0], GaussianNoise(0.1), 0),
        "precision",
    ),
    (
        lambda: gn.FunctionSpaceGP(dense_network([1, 1], 0), GaussianNoise(0.1), -1, LINE),
        "precision",
    ),
    (
        lambda: gn.FunctionSpaceGP(dense_network([2, 1], 0), GaussianNoise(0.1), 1, LINE),
        "follow each",
    ),
    (lambda: MODEL.with_data(np.ones((2, 2)), [1, 1]), "x must have 1 column"),
    (lambda: MODEL.with_data(LINE, [1.0]), "y must"),
    (lambda: MODEL.predict(np.ones((2, 2))), "x must have 1 column"),
    (lambda: MODEL.log_density(LINE, [1.0]), "y must"),
    (lambda: gn.rotated(np.ones((2, 3)), [0]), "square"),
    (lambda: gn.rotated(np.ones((3, 3)), []), "angles must"),
    (lambda: gn.rotated(np.ones((3, 3)), [0], 1), "size must"),
    (lambda: gn.code_prior(Gaussian(1.0), np.ones((3, 2)), np.ones((2, 1))), "aux must"),
    (lambda: last(gn.sample_autoencoder(ONES, TRUE[:2])), "seen must"),
    (lambda: last(gn.sample_autoencoder(ONES, ~TRUE)), "seen must be true somewhere"),
    (lambda: last(gn.sample_autoencoder(ONES, TRUE, np.ones(3))), "aux must"),
    (lambda: last(gn.sample_autoencoder(ONES, TRUE, channels=0)), "channels must"),
    (lambda: last(gn.sample_autoencoder(ONES, TRUE, moves=1)), "moves must"),
    (lambda: last(gn.sample_autoencoder(ONES, TRUE, step=0)), "step must"),
    (lambda: gn.encode(dense_network([3, 2], 0), np.ones((2, 2))), "follow each"),
    (lambda: gn.noise_schedule(1), "steps must"),
    (lambda: gn.add_noise(ONES, 1.5, 0), "kept must"),
    (lambda: gn.GaussianDenoiser(np.array([[1.0, 2.0], [0.0, 1.0]])), "symmetric"),
    (lambda: gn.GaussianDenoiser(-np.eye(2)), "negative eigenvalues"),
    (lambda: gn.MixtureDenoiser([]), "grams must"),
    (lambda: gn.MixtureDenoiser([np.eye(2), np.eye(3)]), "one size"),
    (lambda: gn.MixtureDenoiser([np.eye(2)], [0.0]), "weights must"),
    (lambda: gn.reverse_step(ONES, ONES, 1.0, 0.5, ONES), "beta must"),
    (lambda: gn.reverse_step(ONES, ONES, 0.1, 1.0, ONES), "kept must"),
    (lambda: last(gn.sample_by_denoising(DENOISER, 3, 0, SCHEDULE, 0)), "n must"),
    (
        lambda: last(gn.sample_by_denoising(DENOISER, 3, 2, SCHEDULE, 0, context=[3], values=[1])),
        "context",
    ),
    (lambda: gn.denoised_law(DENOISER, SCHEDULE, context=[0, 0], values=[1, 1]), "context must"),
    (lambda: gn.denoised_law(DENOISER, SCHEDULE, context=[0.5], values=[1]), "context must"),
    (lambda: gn.denoised_law(DENOISER, SCHEDULE, context=[0], values=[1, 2]), "values must"),
    (lambda: gn.denoised_law(DENOISER, SCHEDULE, rounds=0), "rounds must"),
    (lambda: gn.denoised_law(DENOISER, SCHEDULE, until=6), "until must"),
    (lambda: gn.attention_denoiser(0, 1), "width must"),
    (lambda: gn.guess_noise([], ONES[None], ONES[:, :1].T, [0.5]), "13 arrays"),
    (
        lambda: gn.guess_noise(gn.attention_denoiser(0), ONES[None], np.ones((1, 3)), [0.5]),
        "x must",
    ),
    (
        lambda: gn.guess_noise(gn.attention_denoiser(0), ONES[None], np.ones((1, 4)), [1.0]),
        "kept must",
    ),
    (lambda: last(gn.train_attention_denoiser(Gaussian(1.0), steps=0)), "steps must"),
    (lambda: gn.as_mixtures([[1.0]], [[0.0]], [[0.0]]), "must be positive"),
    (lambda: gn.as_mixtures([[1.0, 1.0]], [[0.0]], [[1.0]]), "weights must"),
    (lambda: gn.random_priors(0, 0), "n must"),
    (lambda: gn.observe(PRIORS, "sonar", 0), "sensor must"),
    (lambda: gn.grid_posteriors(PRIORS, np.ones((3, 1)), [1, 1], "range"), "y must"),
    (lambda: gn.grid_posteriors(PRIORS, np.ones((2, 1)), [1, 1], "range", [0.0]), "grid must"),
    (lambda: gn.mixture_posterior(PRIORS, np.ones((2, 1)), [1, 2]), "counts must"),
    (lambda: gn.mixture_posterior(PRIORS, np.ones((2, 1)), [0, 1]), "counts must"),
    (lambda: gn.linearised_posterior(PRIORS, np.ones((2, 1)), [1, 1], "radar"), "sensor must"),
    (lambda: gn.divergence(np.ones((2, 5)), PRIORS), "posteriors must"),
    (lambda: gn.posterior_network("seed"), "rng must"),
    (lambda: gn.infer(PARTS[:3], PRIORS, np.ones((2, 1)), [1, 1]), "24 arrays"),
    (lambda: gn.infer(PARTS, PRIORS, np.ones((2, 1)), [1.5, 1]), "counts must"),
    (lambda: gn.unpack(np.ones(3), PARTS), "vector must"),
    (lambda: last(gn.train_posterior_network("sonar")), "sensor must"),
    (lambda: last(gn.train_posterior_network("range", steps=0)), "steps must"),
    (lambda: gn.moved(PRIORS, 0.0, -1.0), "spread must"),
    (lambda: gn.moved(PRIORS, math.nan, 1.0), "drift must"),
    (lambda: gn.FrictionWalk([np.zeros(2, dtype=int)], 0.1), r"theta\[0\] must"),
    (lambda: gn.FrictionWalk([np.zeros(2)], math.inf), "step must"),
    (lambda: gn.FrictionWalk([np.zeros(2)], 0.1).move([np.ones(3)]), "gradient must"),
    (lambda: gn.FrictionWalk([np.zeros(2)], 0.1).move([]), "gradient must"),
    (lambda: last(gn.tune_scales(Gaussian(1.0), [1, 3, 1], step=1e3, steps=2)), "ran away"),
    (lambda: gn.distance_to_gp(Gaussian(1.0), [1, 3, 2], np.ones(4), 0), "one output"),
    (
        lambda: last(
            gn.sample_network_posterior([1, 3, 2], np.ones(4), [[0.0]], [0.0], 0.1, [[0.0]])
        ),
        "one output",
    ),
    (
        lambda: last(
            gn.sample_network_posterior(
                [1, 3, 1], np.ones(4), [[0.0]], [0.0], 0.1, [[0.0]], moves=4, every=5
            )
        ),
        "every must",
    ),
    (lambda: last(gn.sample_autoencoder(ONES, TRUE, moves=4, every=5)), "every must"),
    (lambda: gn.encode(dense_network([2, 3], 0), np.ones((2, 2))), "encoder must"),
    (lambda: gn.GaussianDenoiser(np.eye(2)).noise(np.ones((1, 3)), 0.5), "y must"),
    (lambda: gn.GaussianDenoiser(np.eye(2)).noise(np.ones((1, 2)), 2.0), "kept must"),
    (lambda: gn.MixtureDenoiser([np.eye(2)]).noise(np.ones((1, 3)), 0.5), "y must"),
    (lambda: gn.reverse_step(ONES, ONES[:, :1], 0.1, 0.5, ONES), "noise_guess must"),
    (lambda: gn.denoised_law(gn.MixtureDenoiser([np.eye(2)]), SCHEDULE), "denoiser must"),
    (
        lambda: gn.guess_noise(
            gn.attention_denoiser(0), np.full((1, 2, 1), np.nan), np.ones((1, 2)), [0.5]
        ),
        "finite",
    ),
    (lambda: gn.noisy_functions(Gaussian(1.0), 0, 1, 2, SCHEDULE, 0), "points must"),
    (lambda: gn.divergence(np.ones((2, 1)), PRIORS, [0.0]), "grid must"),
    (lambda: gn.divergence(np.ones((2, 3)), PRIORS, [0.0, 1.0, 3.0]), "grid must"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_noisy_functions_hold_the_exact_guess():
    x, y, kept, eps, best = gn.noisy_functions(Gaussian(0.4), 6, 2, 5, gn.noise_schedule(50), 3)
    for i in range(5):
        exact = gn.GaussianDenoiser(Gaussian(0.4).gram(x[i])).noise(y[i : i + 1], kept[i])
        np.testing.assert_allclose(best[i], exact[0], atol=1e-9)
    many = gn.noisy_functions(Gaussian(0.4), 6, 1, 4000, gn.noise_schedule(50), 4)
    clean = (many[1] - np.sqrt(1 - many[2])[:, None] * many[3]) / np.sqrt(many[2])[:, None]
    sure = many[2] > 0.1  # where little of the function is left, the division loses digits
    assert np.mean(clean[sure] ** 2) == pytest.approx(1.0, abs=0.06)


def test_the_last_functions_are_yielded_whatever_the_moves():
    found = last(
        gn.sample_network_posterior(
            [1, 3, 1], np.ones(4), [[0.0]], [0.0], 0.1, [[0.0]], chains=2, burn=3, moves=7, every=3
        )
    )
    assert found[0] == 1.0 and found[1].shape == (4, 1)
