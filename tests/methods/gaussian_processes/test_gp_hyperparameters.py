"""Hyper-parameters: plain references, closed forms, quadrature, bad input; claims and controls."""

import functools
import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal

from kernellab.compute.approximate_gp import expectation_propagation, posterior_from_sites
from kernellab.compute.kernels import Gaussian
from kernellab.compute.likelihoods import GaussianNoise, Probit, StudentT
from kernellab.compute.networks import dense_network, network_output
from kernellab.compute.rates import log_log_slope
from kernellab.datasets import breast_cancer, digits
from kernellab.methods.gaussian_processes import gp_hyperparameters as gph
from tests.naive import gp_hyperparameters as naive

CENTRE = np.log([1.0, 0.2, 0.2])


def data(n=9, d=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, d)), rng.normal(size=n)


def one(x, y, **prior):
    return gph.HyperPosterior(x, y, **prior)


# 1. The posterior of the hyper-parameters


@pytest.mark.compiled
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_density_and_gradient_are_the_plain_ones(n, d):
    x, y = data(n, d)
    centre = np.linspace(-1, 1, d + 2)
    posterior = gph.HyperPosterior(x, y, centre, 0.7)
    thetas = np.random.default_rng(1).normal(scale=0.5, size=(4, d + 2))
    values, gradients = posterior.log_density(thetas)
    for theta, value, slope in zip(thetas, values, gradients, strict=True):

        def plain(t):
            return naive.log_posterior(x, y, t, centre, 0.7)

        assert value == pytest.approx(plain(theta), rel=1e-9)
        assert np.allclose(slope, naive.gradient(plain, theta), rtol=1e-5, atol=1e-6)


def test_evidence_is_that_of_the_exact_regression():
    posterior = gph.HyperPosterior(*data()).evidence_alone()
    theta = np.array([0.1, -0.5, 0.3, -1.0])
    gp = posterior.regression(theta)
    value, gradient = posterior.log_density(theta[None])
    assert value[0] == pytest.approx(gp.log_marginal_likelihood(), rel=1e-12)
    # ExactGP differentiates in the logarithms of the variances.
    assert np.allclose(gradient[0], gp.log_marginal_likelihood_gradient() * [2, 1, 1, 2])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-60, 60), min_size=3, max_size=3), st.integers(1, 12))
def test_extreme_hyper_parameters_give_no_nan(theta, n):
    x, y = np.repeat([[0.1], [0.7]], 6, axis=0)[:n], np.linspace(-1, 1, n)
    value, gradient = gph.HyperPosterior(x, y).log_density(np.array([theta]))
    assert not np.isnan(value[0]) and value[0] < np.inf and np.isfinite(gradient).all()


def test_singular_gram_is_impossible_for_the_sampler_and_gets_jitter_in_a_prediction():
    x, y = np.repeat([[0.1], [0.7]], 4, axis=0), np.linspace(-1, 1, 8)
    posterior = gph.HyperPosterior(x, y)
    theta = np.log([[1.0, 0.3, 1e-12]])
    assert np.isneginf(posterior.log_density(theta)[0][0])
    prediction = gph.predict_mixture(posterior, theta, [[0.4]])
    assert prediction.jitter > 0 and np.isfinite(prediction.mean).all()
    assert gph.predict_mixture(posterior, np.zeros((1, 3)), [[0.4]]).jitter == 0.0


@pytest.mark.compiled
def test_leapfrog_is_the_plain_one_reversible_and_of_second_order():
    posterior = gph.HyperPosterior(*data(12, 1), CENTRE, 1.0)
    theta, momentum = CENTRE + 0.3, np.array([0.5, -0.4, 0.2])

    def slope(t):
        return posterior.log_density(t[None])[1][0]

    plain = naive.leapfrog(slope, theta, momentum, 0.1, 7)
    ours = gph.leapfrog(posterior, theta, momentum, 0.1, 7)
    assert np.allclose(ours[0], plain[0]) and np.allclose(ours[1], plain[1])
    back = gph.leapfrog(posterior, ours[0], -ours[1], 0.1, 7)
    assert np.allclose(back[0], theta, atol=1e-10) and np.allclose(-back[1], momentum, atol=1e-10)

    def energy(t, m):
        return 0.5 * m @ m - posterior.log_density(t[None])[0][0]

    sizes = np.array([0.02, 0.01, 0.005])
    before = energy(theta, momentum)
    errors = [
        abs(energy(*gph.leapfrog(posterior, theta, momentum, s, round(0.2 / s))) - before)
        for s in sizes
    ]
    assert log_log_slope(sizes, errors) == pytest.approx(2.0, abs=0.2)


def test_chain_finds_the_posterior_on_a_grid():
    # The noise and the amplitude are pinned by their priors: one free parameter, by quadrature.
    x, y, _, _ = gph.prior_draw(10, 0.2, 0.2, 3)
    posterior = gph.HyperPosterior(x, y, CENTRE, [1e-2, 1.0, 1e-2])
    grid = np.tile(CENTRE, (401, 1))
    grid[:, 1] += np.linspace(-4, 4, 401)
    logs = posterior.log_density(grid)[0]
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    mean = weights @ grid[:, 1]
    deviation = np.sqrt(weights @ (grid[:, 1] - mean) ** 2)
    wide = gph.hamiltonian_draws(posterior, 4000, 0, steps=60, warmup=300)
    lengths = wide.thetas[:, 1]
    assert lengths.mean() == pytest.approx(mean, abs=0.1 * deviation)
    assert lengths.std() == pytest.approx(deviation, rel=0.1)
    assert wide.acceptance > 0.6 and np.isfinite(wide.energy_errors).all()


def test_narrow_prior_is_its_centre_and_variational_fit_finds_it():
    x, y, xt, _ = gph.prior_draw(12, 0.2, 0.2, 0)
    posterior = gph.HyperPosterior(x, y, CENTRE, 0.01)
    plug = gph.predict_mixture(posterior, CENTRE[None], xt)
    draws = gph.hamiltonian_draws(posterior, 300, 0).thetas
    ours = gph.predict_mixture(posterior, draws, xt)
    assert np.allclose(ours.mean, plug.mean, atol=0.01)
    fit = gph.variational_hyperposterior(posterior, 0, steps=1500)
    assert np.allclose(fit.mean, CENTRE, atol=0.02)
    assert np.sqrt(np.diagonal(fit.covariance)) == pytest.approx(0.01, rel=0.3)


def test_variational_fit_of_a_flat_likelihood_is_the_prior():
    # One point of amplitude far below the noise says nothing of the length.
    posterior = gph.HyperPosterior([[0.0]], [0.0], [-3, 0.5, 0], [0.3, 0.8, 0.3])
    fit = gph.variational_hyperposterior(posterior, 0, steps=2000)
    assert fit.mean[1] == pytest.approx(0.5, abs=0.1)
    assert math.sqrt(fit.covariance[1, 1]) == pytest.approx(0.8, rel=0.15)
    diagonal = gph.variational_hyperposterior(posterior, 0, full=False)
    assert np.count_nonzero(diagonal.root - np.diag(np.diagonal(diagonal.root))) == 0
    assert diagonal.draws(5, 0).shape == (5, 3)


@pytest.mark.compiled
@pytest.mark.parametrize("d", [1, 3])
def test_mixture_prediction_is_the_plain_one_and_obeys_total_variance(d):
    x, y = data(8, d)
    at, thetas = data(5, d, seed=2)[0], np.random.default_rng(3).normal(-0.5, 0.4, (6, d + 2))
    weights = np.arange(1.0, 7.0)
    ours = gph.predict_mixture(gph.HyperPosterior(x, y), thetas, at, weights)
    plain = [naive.predict(x, y, theta, at) for theta in thetas]
    assert np.allclose(ours.means, [p[0] for p in plain], atol=1e-8)
    assert np.allclose(ours.variances, [p[1] for p in plain], atol=1e-8)
    share = weights / weights.sum()
    second = share @ (ours.variances + ours.means**2)
    assert np.allclose(ours.variance, second - (share @ ours.means) ** 2)
    grid = np.linspace(-9, 9, 4001)
    for j in (0, 4):
        density = np.exp(
            [
                gph.MixturePrediction(
                    ours.means[:, [j]], ours.variances[:, [j]], share, 0.0
                ).log_density([t])[0]
                for t in grid[::40]
            ]
        )
        assert density.sum() * (grid[40] - grid[0]) == pytest.approx(1.0, abs=1e-3)


def test_read_only_input_is_taken():
    x, y = data(5, 1)
    thetas = np.zeros((1, 3))
    for array in (x, y, thetas):
        array.flags.writeable = False
    posterior = gph.HyperPosterior(x, y)
    assert np.isfinite(posterior.log_density(thetas)[0]).all()
    assert np.isfinite(gph.predict_mixture(posterior, thetas, x).mean).all()


@functools.cache
def study(n, draws, seed=0):
    rows = []
    for draw in range(draws):
        x, y, xt, yt = gph.prior_draw(n, 0.2, 0.2, seed + draw)
        posterior = gph.HyperPosterior(x, y, CENTRE, 1.0)
        top = posterior.evidence_alone().maximise(restarts=2, bounds=(1e-2, 1e2))[None]
        chain = gph.hamiltonian_draws(posterior, 200, draw, steps=15).thetas
        full = gph.variational_hyperposterior(posterior, draw, steps=300)
        row = []
        for thetas in (top, chain[::2], full.draws(100, 1)):
            p = gph.predict_mixture(posterior, thetas, xt)
            row += [-p.log_density(yt).mean(), gph.interval_coverage(p.mean, p.variance, yt)]
        rows.append(row)
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("seed", [0, 300])
def test_claim_averaging_beats_the_maximiser_with_few_points(seed):
    top, top_cover, chain, chain_cover, full, _ = study(12, 40, seed)
    assert top - max(chain, full) > 0.15
    assert top_cover < 0.91 and 0.92 < chain_cover < 0.975


def test_control_with_many_points_the_gap_is_gone():
    top, _, chain, _, full, _ = study(50, 5)
    assert abs(top - chain) < 0.06 and abs(top - full) < 0.06


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: one([1.0, 2.0], [1.0, 2.0]), "x"),
        (lambda: one(np.empty((0, 1)), []), "x"),
        (lambda: one([[np.nan]], [1.0]), "x"),
        (lambda: one([[1.0]], [1.0, 2.0]), "y"),
        (lambda: one([[1.0]], [1.0], centre=[0.0]), "centre"),
        (lambda: one([[1.0]], [1.0], deviation=0.0), "deviation"),
        (lambda: one([[1.0]], [1.0], deviation=[1.0, 2.0]), "deviation"),
        (lambda: one([[1.0]], [1.0], deviation=1e-200), "deviation"),
        (lambda: one([[1.0]], [1.0]).log_density([[0.0]]), "thetas"),
        (lambda: one([[1.0]], [1.0]).regression([0.0]), "theta"),
        (lambda: gph.leapfrog(one([[1.0]], [1.0]), [0.0], [0.0] * 3, 0.1, 1), "theta"),
        (lambda: gph.leapfrog(one([[1.0]], [1.0]), [0.0] * 3, [0.0], 0.1, 1), "momentum"),
        (lambda: gph.leapfrog(one([[1.0]], [1.0]), [0.0] * 3, [0.0] * 3, -1, 1), "step"),
        (lambda: gph.leapfrog(one([[1.0]], [1.0]), [99.0] * 3, [0.0] * 3, 1, 1), "theta"),
        (lambda: gph.hamiltonian_draws(one([[1.0]], [1.0]), 0, 0), "draws"),
        (lambda: gph.hamiltonian_draws(one([[1.0]], [1.0]), 5, 0, steps=0), "steps"),
        (lambda: gph.hamiltonian_draws(one([[1.0]], [1.0]), 5, 0, start=[99.0] * 3), "start"),
        (lambda: gph.variational_hyperposterior(one([[1.0]], [1.0]), 0, samples=3), "samples"),
        (lambda: gph.variational_hyperposterior(one([[1.0]], [1.0]), 0, steps=1), "steps"),
        (lambda: gph.predict_mixture(one([[1.0]], [1.0]), [[0.0] * 3], [[1.0, 2.0]]), "at"),
        (lambda: gph.predict_mixture(one([[1.0]], [1.0]), [[99.0] * 3], [[1.0]]), "thetas"),
        (lambda: gph.predict_mixture(one([[1.0]], [1.0]), [[0.0] * 3], [[1.0]], [-1.0]), "weights"),
        (lambda: gph.prior_draw(0, 0.2, 0.2, 0), "n"),
        (lambda: gph.prior_draw(5, -0.2, 0.2, 0), "length"),
        (lambda: gph.interval_coverage([0.0], [1.0], [0.0, 1.0]), "mean"),
        (lambda: gph.interval_coverage([0.0], [1.0], [0.0], level=1.5), "level"),
        (lambda: gph.interval_coverage([0.0], [-1.0], [0.0]), "variance"),
    ],
)
def test_bad_input_of_the_first_section(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# 2. Labels


@functools.cache
def tumours(n, seed):
    table = breast_cancer()
    parts = gph.principal_parts(table.measurements)
    mine = np.random.default_rng(seed).permutation(len(parts))[:n]
    return parts[mine], 2.0 * table.malignant[mine] - 1


def test_principal_parts_are_scikit_learns():
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = breast_cancer().measurements
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    theirs = decomposition.PCA(2, whiten=True).fit_transform(z)
    ours = gph.principal_parts(x)
    assert np.allclose(np.abs(ours), np.abs(theirs), rtol=2e-3, atol=1e-6)
    assert np.allclose(ours.T @ ours / len(ours), np.eye(2), atol=1e-10)


def test_two_moons_interleave():
    x, y = gph.two_moons(200, 0.0, 0)
    assert np.allclose(np.linalg.norm(x[y < 0], axis=1), 1.0)
    assert np.allclose(np.linalg.norm(x[y > 0] - [1.0, 0.5], axis=1), 1.0)
    assert abs(y.sum()) == 0


def test_with_gaussian_noise_all_estimates_are_the_likelihood():
    x, y = data(15, 2)
    kernel = 2.0 * Gaussian(0.5)
    found, sites = gph.site_objectives(kernel, x, y, GaussianNoise(0.3))
    gram = kernel.gram(x) + 0.3 * np.eye(15)
    exact = multivariate_normal(np.zeros(15), gram).logpdf(y)
    assert list(found) == list(gph.OBJECTIVES)
    assert np.allclose(list(found.values()), exact, rtol=1e-8) and sites.converged


def test_two_points_by_quadrature():
    x, y = np.array([[0.0], [0.8]]), np.array([1.0, -1.0])
    kernel = 4.0 * Gaussian(1.0)
    factor = np.linalg.cholesky(kernel.gram(x))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    w = np.outer(weights, weights).ravel() / weights.sum() ** 2
    logs = Probit().log_density(y, z @ factor.T).sum(axis=1)
    exact = math.log(w @ np.exp(logs))
    found, _ = gph.site_objectives(kernel, x, y, Probit())
    assert found["elbo"] < exact - 0.01
    assert abs(found["ep"] - exact) < 0.02 and abs(found["ep-like"] - exact) < 0.03


PROBIT = Probit()


@functools.cache
def surfaces(seed, likelihood=PROBIT, n=80):
    amplitudes = np.array([0.5, 1, 2, 4, 8, 16.0])
    which, lengths = ("elbo", "ep-like", "ep"), [0.5, 1.0, 2.0, 4.0]
    x, y = tumours(n, seed)
    steps = list(gph.objective_surface(x, y, likelihood, amplitudes, lengths, which=which))
    shares = [share for share, _ in steps]
    assert shares[-1] == 1.0 and np.all(np.diff(shares) > 0)
    return steps[-1][1]


@pytest.mark.parametrize("seed", range(3))
def test_claim_ep_like_is_near_ep_and_the_bound_falls_short_with_the_amplitude(seed):
    found = surfaces(seed)
    assert np.abs(found["ep-like"] - found["ep"]).max() / 80 < 0.02
    short = (found["ep"] - found["elbo"]).mean(axis=1)
    assert np.abs(found["elbo"] - found["ep"]).max() / 80 > 0.04
    assert np.all(np.diff(short) > 0) and short[-1] > 10 * short[1]


def test_control_no_shortfall_with_gaussian_noise():
    found = surfaces(0, GaussianNoise(0.3), 30)
    assert np.abs(found["ep"] - found["elbo"]).max() < 1e-6


@pytest.mark.parametrize("objective", ["elbo", "ep-like"])
def test_alternation_ends_at_the_top_of_its_surface(objective):
    x, y = gph.two_moons(40, 0.15, 0)
    *_, (share, found) = gph.learn_hyperparameters(
        4.0 * Gaussian(1.0), x, y, Probit(), objective=objective, rounds=60
    )
    assert share == 1.0 and len(found.kernels) == len(found.path) + 1
    assert np.all(np.diff(found.path) > -0.02)
    amplitudes, lengths = np.geomspace(2, 24, 9), np.geomspace(0.3, 1.6, 9)
    *_, (_, grid) = gph.objective_surface(x, y, Probit(), amplitudes, lengths, which=(objective,))
    assert found.path[-1] > grid[objective].max() - 0.15


def test_alternation_climbs_the_likelihood_for_gaussian_noise():
    x, y = gph.sine_data(25, 0.3, 0)
    *_, (_, found) = gph.learn_hyperparameters(
        1.0 * Gaussian(1.0), x, y, GaussianNoise(0.09), rounds=40
    )
    gram = found.kernel.gram(x) + 0.09 * np.eye(25)
    value = multivariate_normal(np.zeros(25), gram).logpdf(y)
    assert found.path[-1] == pytest.approx(value, abs=0.05)
    posterior = posterior_from_sites(
        found.kernel, x, y, GaussianNoise(0.09), found.posterior.shift, found.posterior.precision
    )
    assert posterior.elbo() == pytest.approx(value, abs=1e-8)


def test_alternation_takes_outliers():
    x, y = gph.sine_data(30, 0.1, 0)
    y[::7] += 3.0
    *_, (_, found) = gph.learn_hyperparameters(
        1.0 * Gaussian(0.7), x, y, StudentT(0.1, 3.0), objective="elbo", rounds=8
    )
    assert np.isfinite(found.path).all() and found.path[-1] > found.path[0]


def test_ep_agrees_with_scikit_learns_laplace_fit():
    process = pytest.importorskip("sklearn.gaussian_process")
    x, y = tumours(60, 0)
    kernel = 4.0 * Gaussian(1.0)
    theirs = process.GaussianProcessClassifier(
        2.0**2 * process.kernels.RBF(1.0), optimizer=None
    ).fit(x, y)
    ours = expectation_propagation(kernel, x, y, Probit()).probability(x)
    # Theirs is a logistic Laplace fit: the same side of 1/2, and a near-by probability.
    assert np.mean((ours > 0.5) == (theirs.predict_proba(x)[:, 1] > 0.5)) > 0.95


X2 = np.zeros((2, 1))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: gph.two_moons(1, 0.1, 0), "n"),
        (lambda: gph.two_moons(4, -0.1, 0), "noise"),
        (lambda: gph.principal_parts(np.ones((4, 2))), "vary"),
        (lambda: gph.principal_parts(np.eye(3), 4), "parts"),
        (lambda: gph.site_objectives(Gaussian(1.0), X2, [1, 2], Probit()), "labels"),
        (lambda: gph.site_objectives(Gaussian(1.0), X2, [1, 1], Probit(), which=("x",)), "which"),
        (lambda: gph.site_objectives("k", X2, [1, 1], Probit()), "kernel"),
        (lambda: next(gph.objective_surface(X2, [1, 1], Probit(), [-1.0], [1.0])), "positive"),
        (lambda: next(gph.objective_surface(X2, [1, 1], Probit(), [], [1.0])), "amplitudes"),
        (
            lambda: next(
                gph.learn_hyperparameters(Gaussian(1.0), X2, [1, 1], Probit(), objective="ml")
            ),
            "objective",
        ),
        (
            lambda: next(gph.learn_hyperparameters(Gaussian(1.0), X2, [1, 1], Probit(), rounds=0)),
            "rounds",
        ),
    ],
)
def test_bad_input_of_the_second_section(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# 3. Many weights


def test_bound_is_below_the_evidence_and_equal_for_one_weight():
    rng = np.random.default_rng(0)
    features, y = rng.normal(size=(12, 4)), rng.normal(size=12)
    exact = multivariate_normal(
        np.zeros(12), 0.7 * features @ features.T + 0.25 * np.eye(12)
    ).logpdf(y)
    spectrum, c = gph.feature_spectrum(features, y)
    best = gph.isotropic_bounds(spectrum, c, 4, [0.7], 0.5, 1.0)[0]
    assert best < exact
    for _ in range(20):
        assert (
            gph.emphasised_bound(features, y, rng.normal(size=4), rng.random() + 0.01, 0.7, 0.5)
            < best
        )
    column = features[:, :1]
    alone = multivariate_normal(np.zeros(12), 0.7 * column @ column.T + 0.25 * np.eye(12))
    spectrum, c = gph.feature_spectrum(column, y)
    tight = gph.isotropic_bounds(spectrum, c, 1, [0.7], 0.5, 1.0)[0]
    assert tight == pytest.approx(alone.logpdf(y), rel=1e-9)


def test_prior_variance_is_the_numerical_maximiser():
    rng = np.random.default_rng(1)
    features, y, mean = rng.normal(size=(6, 9)), rng.normal(size=6), rng.normal(size=9)
    found = minimize_scalar(
        lambda t: -gph.emphasised_bound(features, y, mean, 0.3, math.exp(t), 0.5), bounds=(-5, 5)
    )
    assert math.exp(found.x) == pytest.approx(gph.best_prior_variance(mean, 0.3), rel=1e-4)
    assert gph.best_prior_variance(mean, 0.0, centre=mean) == 0.0


@pytest.mark.compiled
@pytest.mark.parametrize("kappa", [1.0, 5.0])
def test_coordinate_updates_are_the_plain_ones_in_weight_space(kappa):
    x, y = gph.sine_data(15, 0.2, 0)
    features = gph.cosine_features(x, 0.8, 30)
    fit = gph.fit_isotropic(features, y, kappa)
    mean, variance, lam, noise2 = naive.coordinate_ascent(features, y, kappa, 1.0, 0.1, 4000)
    assert np.allclose(fit.mean, mean, atol=1e-5)
    assert fit.variance == pytest.approx(variance, rel=1e-5)
    assert fit.prior_variance == pytest.approx(lam, rel=1e-5)
    assert fit.noise**2 == pytest.approx(noise2, rel=1e-5)
    assert fit.training_error == pytest.approx(np.mean((y - features @ mean) ** 2), rel=1e-5)
    # A maximum: no neighbour is higher.
    for factor in (0.97, 1.03):
        moved = gph.emphasised_bound(
            features, y, fit.mean, fit.variance * factor, fit.prior_variance, fit.noise, kappa
        )
        assert moved < fit.bound
    spectrum, c = gph.feature_spectrum(features, y)
    top = gph.isotropic_bounds(spectrum, c, 30, [lam], fit.noise, kappa)[0]
    assert top == pytest.approx(fit.bound, rel=1e-6)
    values = (fit.mean, fit.variance, fit.prior_variance, fit.noise, kappa)
    assert gph.emphasised_bound(features, y, *values) == pytest.approx(fit.bound, rel=1e-6)


def test_given_noise_is_kept():
    x, y = gph.sine_data(15, 0.2, 0)
    assert gph.fit_isotropic(gph.cosine_features(x, 0.8, 30), y, noise=0.4).noise == 0.4


@pytest.mark.parametrize("d", [256, 1024])
@pytest.mark.parametrize("seed", range(3))
def test_claim_emphasis_cures_the_underfit(seed, d):
    x, y = gph.sine_data(20, 0.1, seed)
    features = gph.cosine_features(x, 0.7, d)
    loud, plain = gph.fit_isotropic(features, y, d / 20), gph.fit_isotropic(features, y)
    assert loud.training_error <= 0.02 < 0.05 < plain.training_error
    assert plain.noise > 3 * 0.1


def test_with_as_many_weights_as_data_the_two_coincide():
    x, y = gph.sine_data(20, 0.1, 0)
    features = gph.cosine_features(x, 0.7, 20)
    assert gph.fit_isotropic(features, y, 20 / 20).bound == gph.fit_isotropic(features, y).bound


def test_features_make_the_gaussian_kernel():
    x = np.random.default_rng(0).random((6, 2))
    z = gph.cosine_features(x, 0.5, 20_000)
    assert np.abs(z @ z.T - Gaussian(0.5).gram(x)).max() < 0.04
    assert np.array_equal(z, gph.cosine_features(x, 0.5, 20_000))


@functools.cache
def fine_tuned(kappa, seed):
    drawn = digits()
    old = drawn.labels < 5
    base = gph.train_classifier(drawn.x[old][:400], drawn.labels[old][:400], 32, 1e-3, 0)
    x, labels = drawn.x[~old], drawn.labels[~old] - 5
    order = np.random.default_rng(seed).permutation(len(x))
    *_, (share, fit) = gph.fine_tune(base, x[order[:100]], labels[order[:100]], kappa, 0, steps=500)
    assert share == 1.0
    return np.mean(fit.classify(x[order[100:]]) == labels[order[100:]]), fit


@pytest.mark.parametrize("seed", range(2))
def test_claim_fine_tuning(seed):
    assert fine_tuned(22.45, seed)[0] > 0.9
    accuracy, fit = fine_tuned(1.0, seed)
    assert accuracy < 0.87
    assert 0.15 < fit.deviation < 0.3  # left its start, 0.1: as uncertain as the prior


def test_fine_tuned_prior_variances_are_the_closed_form():
    _, fit = fine_tuned(22.45, 0)
    assert set(fit.prior_variances) == {"backbone", "head"}
    assert min(fit.prior_variances.values()) > fit.deviation**2
    assert fit.bounds[-50:].mean() > fit.bounds[:50].mean()


BASE = dense_network([2, 3, 2], 0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: gph.best_prior_variance([], 1.0), "mean"),
        (lambda: gph.best_prior_variance([1.0], -1.0), "variance"),
        (lambda: gph.best_prior_variance([1.0], 1.0, centre=[1.0, 2.0]), "centre"),
        (lambda: gph.emphasised_bound(np.eye(2), [1.0], [0, 0], 1, 1, 1), "y"),
        (lambda: gph.emphasised_bound(np.eye(2), [1, 1], [0], 1, 1, 1), "mean"),
        (lambda: gph.emphasised_bound(np.eye(2), [1, 1], [0, 0], 0, 1, 1), "variance"),
        (lambda: gph.emphasised_bound(np.eye(2), [1, 1], [0, 0], 1, 1, 1, kappa=0), "kappa"),
        (lambda: gph.fit_isotropic(np.zeros((2, 2)), [1, 1]), "features"),
        (lambda: gph.fit_isotropic(np.eye(2), [1, 1], -1), "kappa"),
        (lambda: gph.fit_isotropic(np.eye(2), [1, 1], noise=0), "noise"),
        (lambda: gph.fit_isotropic(np.eye(2), [1, np.nan]), "y"),
        (lambda: gph.isotropic_bounds([1.0], [1.0], 0, [1.0], 1, 1), "d"),
        (lambda: gph.isotropic_bounds([1.0], [1.0], 1, [-1.0], 1, 1), "prior_variances"),
        (lambda: gph.isotropic_bounds([1.0], [1.0, 2.0], 1, [1.0], 1, 1), "coordinates"),
        (lambda: gph.isotropic_bounds([-5.0], [1.0], 1, [1.0], 1, 1), "spectrum"),
        (lambda: gph.cosine_features([[1.0]], 0.0, 5), "length"),
        (lambda: gph.cosine_features([[1.0]], 1.0, 0), "features"),
        (lambda: gph.fit_isotropic(np.eye(2), [1, 1]).predict(np.eye(3)), "features"),
        (lambda: next(gph.fine_tune(BASE, np.eye(3), [0], 1, 0)), "x"),
        (lambda: next(gph.fine_tune(BASE, np.eye(2), [0, 0.5], 1, 0)), "lab"),
        (lambda: next(gph.fine_tune(BASE, np.eye(2), [0, 1], 0, 0)), "kappa"),
        (lambda: gph.train_classifier(np.eye(2), [0, -1], 3, 0.1, 0), "labels"),
        (lambda: gph.train_classifier(np.eye(2), [0, 1], 3, -0.1, 0), "decay"),
        (lambda: gph.train_regression(np.eye(2), [0, 1], 3, 0.0, 1.0, 0), "noise"),
        (lambda: gph.train_regression(np.eye(2), [0, 1], 3, 1.0, -1.0, 0), "precisions"),
        (lambda: gph.train_regression(np.eye(2), [0, 1], 3, 1.0, [1.0] * 3, 0), "precisions"),
        (lambda: gph.sine_data(0, 0.1, 0), "n"),
        (lambda: gph.sine_data(3, 0.1, 0, rate=np.nan), "rate"),
        (lambda: next(gph.fine_tune([], np.eye(2), [0, 1], 1, 0)), "pretrained"),
    ],
)  # fmt: skip
def test_bad_input_of_the_third_section(call, match):
    with pytest.raises(ValueError, match=match):
        call()


# 4. Blocks


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 14), st.integers(1, 8), st.integers(0, 10_000))
def test_fischer_bounds_any_positive_matrix_and_joining_blocks_tightens(n, rank, seed):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n, rank)) * 10.0 ** rng.uniform(-2, 2)
    matrix, rows = factor @ factor.T, rng.permutation(n)
    exact = np.linalg.slogdet(np.eye(n) + matrix)[1]
    cuts = np.unique(rng.integers(1, n, 3))
    blocks = np.split(rows, cuts)
    fine = gph.fischer_bound(matrix, blocks)
    coarse = gph.fischer_bound(matrix, [np.concatenate(blocks[:2]), *blocks[2:]])
    assert fine >= coarse - 1e-8 * (1 + abs(fine)) and coarse >= exact - 1e-8 * (1 + abs(exact))
    assert gph.fischer_bound(matrix, [rows]) == pytest.approx(exact, rel=1e-7, abs=1e-7)


def test_block_diagonal_matrix_is_bounded_exactly():
    rng = np.random.default_rng(0)
    matrix = np.zeros((6, 6))
    for part in (slice(0, 2), slice(2, 6)):
        a = rng.normal(size=(part.stop - part.start,) * 2)
        matrix[part, part] = a @ a.T
    assert gph.fischer_bound(matrix, [np.arange(2), np.arange(2, 6)]) == pytest.approx(
        np.linalg.slogdet(np.eye(6) + matrix)[1]
    )


def test_groups_are_partitions_and_neighbours_are_consecutive():
    order = np.random.default_rng(0).random(23)
    for how in ("random", "neighbours"):
        parts = gph.groups(23, 5, how, 1, order)
        assert [len(p) for p in parts] == [5, 5, 5, 5, 3]
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(23))
    assert max(order[parts[0]]) <= min(order[parts[1]])
    rows = gph.point_blocks([np.array([2, 0]), np.array([1])], 2)
    assert [r.tolist() for r in rows] == [[4, 5, 0, 1], [2, 3]]
    apart = gph.point_blocks([np.array([2, 0]), np.array([1])], 2, apart=True)
    assert [r.tolist() for r in apart] == [[4, 0], [5, 1], [2], [3]]


@pytest.mark.parametrize("sizes", [[2, 5, 3], [3, 4, 1], [2, 4, 3, 2]])
def test_jacobians_are_autograds(sizes):
    weights = dense_network(sizes, 0)
    x = np.random.default_rng(1).normal(size=(4, sizes[0]))
    ours = gph.output_jacobians(weights, x)

    def flat(vector, c, point):
        layers, start = [], 0
        for w, b in weights:
            parts = vector[start : start + w.size], vector[start + w.size : start + w.size + b.size]
            layers.append((anp.reshape(parts[0], w.shape), parts[1]))
            start += w.size + b.size
        return network_output(layers, point[None])[0, c]

    vector = np.concatenate([a.ravel() for layer in weights for a in layer])
    for i, point in enumerate(x):
        for c in range(sizes[-1]):
            theirs = autograd.grad(flat)(vector, c, point)
            assert np.allclose(ours[i, c], theirs, atol=1e-12)


@functools.cache
def sine_evidence(seed):
    x, y = gph.sine_data(150, 0.2, seed)
    weights = gph.train_regression(x, y, 30, 0.2, 1.0, seed)
    return gph.regression_evidence(weights, x, y, 0.2), x[:, 0], weights, (x, y)


@functools.cache
def digit_evidence():
    three = digits((0, 1, 8))
    labels = np.searchsorted([0, 1, 8], three.labels[:40])
    weights = gph.train_classifier(three.x[:40], labels, 8, 1.0, 0)
    return gph.classification_evidence(weights, three.x[:40], labels), weights, three.x[:40], labels


def test_training_ends_where_the_slope_is_zero():
    _, _, weights, (x, y) = sine_evidence(0)

    def loss(layers):
        miss = network_output(layers, x)[:, 0] - y
        decay = sum(anp.sum(a**2) for layer in layers for a in layer)
        return anp.sum(miss**2) / (2 * 0.04) + decay / 2

    def steepness(layers):
        slope = autograd.grad(loss)([tuple(layer) for layer in layers])
        return max(np.abs(g).max() for layer in slope for g in layer)

    assert steepness(weights) < 0.01 * steepness(dense_network([1, 30, 1], 0))


def test_determinant_is_that_of_the_weights():
    evidence, _, weights, (x, _) = sine_evidence(0)
    rows = gph.output_jacobians(weights, x)[:, 0] / 0.2
    by_weights = np.linalg.slogdet(np.eye(rows.shape[1]) + rows.T @ rows / 0.7)[1]
    fit = evidence.log_likelihood - 0.35 * evidence.squares.sum()
    assert evidence.exact(0.7) == pytest.approx(fit - 0.5 * by_weights, rel=1e-9)
    blocks = gph.groups(150, 20, "random", 0)
    assert evidence.bound(0.7, blocks) < evidence.exact(0.7)
    assert evidence.diagonal_bound(0.7) < evidence.exact(0.7)


def test_layers_have_their_own_precision():
    evidence, _, weights, (x, _) = sine_evidence(0)
    rows = gph.output_jacobians(weights, x)[:, 0] / 0.2
    delta = np.repeat([0.5, 2.0], [60, 31])
    by_weights = np.linalg.slogdet(np.eye(91) + rows.T @ (rows / delta))[1]
    # The columns are scaled: det(I + J D^-1 J') on either side.
    fit = evidence.log_likelihood - 0.5 * (0.5 * evidence.squares[0] + 2.0 * evidence.squares[1])
    assert evidence.exact([0.5, 2.0]) == pytest.approx(fit - 0.5 * by_weights, rel=1e-9)


def test_classification_curvature_is_the_softmax_hessian():
    evidence, weights, x, labels = digit_evidence()
    jacobian = gph.output_jacobians(weights, x)
    scores = network_output(weights, x)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    total = np.zeros((jacobian.shape[2],) * 2)
    for j, share in zip(jacobian, p, strict=True):
        total += j.T @ (np.diag(share) - np.outer(share, share)) @ j
    by_weights = np.linalg.slogdet(np.eye(len(total)) + total / 1.5)[1]
    fit = np.log(p[np.arange(40), labels]).sum() - 0.75 * evidence.squares.sum()
    assert evidence.exact(1.5) == pytest.approx(fit - 0.5 * by_weights, rel=1e-9)


def test_gradient_is_the_slope_and_one_block_is_right_on_average():
    evidence, *_ = sine_evidence(0)
    blocks = gph.groups(150, 20, "random", 0)
    start = np.log([0.6, 1.4])
    numeric = naive.gradient(lambda t: evidence.bound(np.exp(t), blocks), start, 1e-4)
    whole = evidence.gradient(np.exp(start), blocks)
    assert np.allclose(whole, numeric, rtol=1e-5)
    singles = [evidence.gradient(np.exp(start), blocks, b) for b in range(len(blocks))]
    assert np.allclose(np.mean(singles, axis=0), whole, rtol=1e-10)
    outside = -0.5 * np.exp(start) * evidence.squares
    without_factor = np.mean([outside + (s - outside) / len(blocks) for s in singles], axis=0)
    assert not np.allclose(without_factor, whole, rtol=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_claim_neighbours_are_tighter_than_random_blocks(seed):
    evidence, order, *_ = sine_evidence(seed)
    exact, best = evidence.exact(1.0), {}
    slack = {}
    for how in ("random", "neighbours"):
        blocks = gph.groups(150, 20, how, seed, order)
        slack[how] = exact - evidence.bound(1.0, blocks)
        best[how] = gph.best_precision(lambda d, b=blocks: evidence.bound(d, b))
    top = gph.best_precision(evidence.exact)
    assert slack["random"] > 3 * slack["neighbours"] > 0
    assert best["neighbours"] < 3 * top and best["random"] > 3.5 * top
    assert gph.best_precision(evidence.diagonal_bound) > best["random"]


def test_classes_are_the_better_groups_for_digits():
    evidence, _, _, labels = digit_evidence()
    exact = evidence.exact(1.0)
    slack = {
        how: exact
        - np.mean(
            [
                evidence.bound(
                    1.0, gph.point_blocks(gph.groups(40, 10, how, s, labels.astype(float)), 3)
                )
                for s in range(5)
            ]
        )
        for how in ("random", "neighbours")
    }
    assert slack["neighbours"] < slack["random"]
    whole = [np.arange(40)]
    apart = evidence.bound(1.0, gph.point_blocks(whole, 3, apart=True))
    assert apart < exact == pytest.approx(evidence.bound(1.0, gph.point_blocks(whole, 3)))


def test_best_precision_is_the_maximiser():
    found = gph.best_precision(lambda d: -((math.log(d) - 1.0) ** 2))
    assert found == pytest.approx(math.e, rel=1e-3)


def test_stochastic_path_ends_near_the_bounds_top():
    evidence, order, *_ = sine_evidence(0)
    blocks = gph.groups(150, 50, "neighbours", 0, order)
    *_, (share, path) = gph.learn_precisions(evidence, blocks, 0, steps=300, rate=0.05)
    assert share == 1.0 and path.shape == (301, 2) and np.all(path[0] == 1.0)
    late = evidence.bound(np.exp(np.log(path[-100:]).mean(axis=0)), blocks)
    assert late > evidence.bound(1.0, blocks) and late > evidence.bound(path[20], blocks)


def test_weights_and_precisions_together():
    x, y = gph.sine_data(80, 0.2, 0)
    *_, (share, weights, path) = gph.train_with_evidence(
        x, y, 20, 0.2, 20, "neighbours", 0, rounds=6
    )
    assert share == 1.0 and path.shape == (121, 2)
    grid = np.linspace(-3, 3, 50)[:, None]
    assert (
        np.sqrt(np.mean((network_output(weights, grid)[:, 0] - np.sin(2 * grid[:, 0])) ** 2)) < 0.2
    )


W, TWO = dense_network([1, 3, 1], 0), dense_network([1, 3, 2], 0)
X1 = np.zeros((4, 1))


def evidence4():
    return gph.regression_evidence(W, np.arange(4.0)[:, None], np.zeros(4), 0.5)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: gph.fischer_bound(np.ones((2, 3)), [[0], [1]]), "matrix"),
        (lambda: gph.fischer_bound(np.eye(3), [[0], [1]]), "exactly once"),
        (lambda: gph.fischer_bound(np.eye(2), [[0, 0], [1]]), "exactly once"),
        (lambda: gph.fischer_bound(np.eye(2), [[0, 2]]), "exactly once"),
        (lambda: gph.fischer_bound(np.eye(2), [[0.0, 1.0]]), "index arrays"),
        (lambda: gph.fischer_bound(np.eye(2), []), "exactly once"),
        (lambda: gph.fischer_bound(np.full((2, 2), np.nan), [[0, 1]]), "matrix"),
        (lambda: gph.groups(0, 1, "random"), "n"),
        (lambda: gph.groups(4, 0, "random"), "size"),
        (lambda: gph.groups(4, 2, "alphabet"), "how"),
        (lambda: gph.groups(4, 2, "neighbours", 0, [1.0]), "order"),
        (lambda: gph.point_blocks([[0]], 0), "outputs"),
        (lambda: gph.output_jacobians(W, np.zeros((4, 2))), "x"),
        (lambda: gph.regression_evidence(W, X1, [0.0], 0.5), "y"),
        (lambda: gph.regression_evidence(W, X1, np.zeros(4), 0.0), "noise"),
        (lambda: gph.regression_evidence(TWO, X1, np.zeros(4), 1), "output"),
        (lambda: gph.classification_evidence(TWO, X1, [0, 1, 2, 0]), "labels"),
        (lambda: gph.TangentEvidence(np.nan, np.zeros((4, 10)), W), "log_likelihood"),
        (lambda: gph.TangentEvidence(0.0, np.zeros((4, 9)), W), "rows"),
        (lambda: evidence4().exact(0.0), "precisions"),
        (lambda: evidence4().bound([1.0] * 3, [np.arange(4)]), "precisions"),
        (lambda: evidence4().gradient(1.0, [np.arange(4)], 1), "which"),
        (lambda: gph.best_precision(lambda d: d, 1.0, 1.0), "low"),
        (lambda: gph.best_precision(lambda d: np.nan), "objective"),
        (lambda: gph.fischer_bound(np.eye(2), 2), "blocks"),
        (lambda: gph.output_jacobians([], X1), "weights"),
        (lambda: next(gph.train_with_evidence(np.eye(4), np.ones(4), 3, 1.0, 2, "x", 0)), "x"),
        (lambda: next(gph.learn_precisions(evidence4(), [np.arange(3)], 0)), "exactly once"),
        (lambda: next(gph.train_with_evidence(X1, np.zeros(4), 3, 1.0, 2, "x", 0)), "how"),
        (lambda: next(gph.train_with_evidence(X1, np.zeros(4), 3, 1.0, 2, "x", 0, rounds=0)), "r"),
    ],
)  # fmt: skip
def test_bad_input_of_the_fourth_section(call, match):
    with pytest.raises(ValueError, match=match):
        call()
