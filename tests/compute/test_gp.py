"""Exact Gaussian-process regression against dense formulas, differences and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from kernellab.compute.gp import ExactGP, fit, likelihood_grid, sample_prior
from kernellab.compute.kernels import (
    Gaussian,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    RationalQuadratic,
    Stretched,
)

KERNELS = [
    1.7 * Gaussian(0.6),
    0.5 * Stretched(Matern52(1.0), (0.5, 2.0)) + 2.0 * Matern12(3.0),
    Periodic(1.3, 0.7) * RationalQuadratic(2.0, 0.8),
]


def data(n=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 2))
    return x, np.sin(2 * x[:, 0]) + 0.3 * rng.standard_normal(n)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
@pytest.mark.parametrize("noise", [0.1, "unequal"])
def test_evidence_and_predictions_are_those_of_dense_formulas(kernel, noise):
    x, y = data()
    noise = np.linspace(0.05, 0.3, 30) if noise == "unequal" else noise
    gp = ExactGP(kernel, x, y, noise, mean=0.3)
    covariance = kernel.gram(x) + np.diag(np.broadcast_to(noise, 30))
    expected = multivariate_normal(np.full(30, 0.3), covariance).logpdf(y)
    assert gp.log_marginal_likelihood() == pytest.approx(expected, abs=1e-9)
    assert gp.jitter == 0.0
    new = data(7, 1)[0]
    cross = kernel.gram(new, x)
    mean, full = gp.predict(new, covariance=True)
    np.testing.assert_allclose(mean, 0.3 + cross @ np.linalg.solve(covariance, y - 0.3))
    posterior = kernel.gram(new) - cross @ np.linalg.solve(covariance, cross.T)
    np.testing.assert_allclose(full, posterior, atol=1e-12)
    np.testing.assert_allclose(gp.predict(new).variance, np.diag(posterior), atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_gradient_is_that_of_differences(kernel):
    x, y = data()
    theta = np.log([*kernel.hyperparameters.values(), 0.1])

    def value(theta):
        model = ExactGP(kernel.with_log_hyperparameters(theta[:-1]), x, y, np.exp(theta[-1]))
        return model.log_marginal_likelihood()

    gradient = ExactGP(kernel, x, y, 0.1).log_marginal_likelihood_gradient()
    for j in range(len(theta)):
        step = 1e-5 * np.eye(len(theta))[j]
        slope = (value(theta + step) - value(theta - step)) / 2e-5
        assert gradient[j] == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_scikit_learn_agrees():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    x, y = data(60)
    peer = GaussianProcessRegressor(
        ConstantKernel(1.5) * RBF([0.7, 1.9]) + WhiteKernel(0.1), alpha=0.0, optimizer=None
    ).fit(x, y)
    value, slopes = peer.log_marginal_likelihood(peer.kernel_.theta, eval_gradient=True)
    ours = ExactGP(1.5 * Stretched(Gaussian(1.0), (0.7, 1.9)), x, y, 0.1)
    assert ours.log_marginal_likelihood() == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(ours.log_marginal_likelihood_gradient(), slopes, rtol=1e-8)
    new = data(9, 1)[0]
    mean, spread = peer.predict(new, return_std=True)
    np.testing.assert_allclose(ours.predict(new).mean, mean, rtol=1e-9)
    np.testing.assert_allclose(ours.predict(new).variance + 0.1, spread**2, rtol=1e-9)


def test_fit_finds_what_scikit_learn_finds():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    x, y = data(60)
    peer = GaussianProcessRegressor(ConstantKernel(1.0) * RBF([1.0, 1.0]) + WhiteKernel(0.5)).fit(
        x, y
    )
    ours = fit(1.0 * Stretched(Gaussian(1.0), (1.0, 1.0)), x, y, 0.5, restarts=2)
    best = peer.log_marginal_likelihood_value_
    assert ours.log_marginal_likelihood() >= best - 1e-4
    assert np.sqrt(ours.noise) == pytest.approx(0.3, abs=0.1)


def test_fit_can_keep_the_noise_and_the_bounds():
    x, y = data()
    kept = fit(Gaussian(1.0), x, y, 0.04, learn_noise=False)
    assert kept.noise == 0.04 and kept.kernel != Gaussian(1.0)
    bound = fit(1.0 * Gaussian(1.0), x, y, 0.04, bounds={"bandwidth": (2.0, 3.0)})
    assert 2.0 <= bound.kernel.hyperparameters["bandwidth"] <= 3.0 + 1e-9
    unequal = fit(Gaussian(1.0), x, y, np.linspace(0.1, 0.2, 30))
    np.testing.assert_allclose(unequal.noise / unequal.noise[0], np.linspace(1, 2, 30))


def test_leave_one_out_is_what_refits_give():
    x, y = data(12)
    kernel = 1.3 * Matern32(0.8)
    gp = ExactGP(kernel, x, y, 0.1)
    for i in range(12):
        rest = np.arange(12) != i
        mean, variance = ExactGP(kernel, x[rest], y[rest], 0.1).predict(x[i : i + 1])
        assert gp.leave_one_out().mean[i] == pytest.approx(mean[0])
        assert gp.leave_one_out().variance[i] == pytest.approx(variance[0] + 0.1)


def test_samples_have_the_right_moments():
    x, y = data(8)
    gp, new = ExactGP(Gaussian(0.8), x, y, 0.1), data(4, 1)[0]
    draws = gp.sample(new, 40_000, rng=0)
    mean, covariance = gp.predict(new, covariance=True)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.02)
    prior = sample_prior(Gaussian(0.8), new, 40_000, rng=0)
    np.testing.assert_allclose(np.cov(prior.T), Gaussian(0.8).gram(new), atol=0.03)


def test_other_targets_share_the_factor():
    x, y = data()
    gp = ExactGP(Gaussian(0.8), x, y, 0.1)
    other = gp.with_targets(2 * y)
    assert other.factor is gp.factor
    np.testing.assert_allclose(other.predict(x).mean, 2 * gp.predict(x).mean)


def test_a_mean_function_is_added_back():
    x, y = data()

    def slope(x):
        return 2.0 * x[:, 0]

    plain = ExactGP(Gaussian(0.8), x, y, 0.1)
    moved = ExactGP(Gaussian(0.8), x, y + slope(x), 0.1, mean=slope)
    np.testing.assert_allclose(moved.predict(x).mean, plain.predict(x).mean + slope(x))


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("few", [True, False])
def test_the_grid_is_one_regression_after_another(gradients, few):
    x, y = data(20)
    kernels = [Matern32(0.4), Matern32(2.0)]
    variances, noises = np.array([0.5, 1.0, 2.0][: 1 if few else 3]), np.array([0.01, 0.1])
    grid = likelihood_grid(kernels, x, y, variances, noises, mean=0.2, gradients=gradients)
    assert (grid.gradients is not None) == gradients
    for i, kernel in enumerate(kernels):
        for j, variance in enumerate(variances):
            for k, noise in enumerate(noises):
                gp = ExactGP(variance * kernel, x, y, noise, mean=0.2)
                assert grid.values[i, j, k] == pytest.approx(gp.log_marginal_likelihood())
                if gradients:
                    by_variance, by_length, by_noise = gp.log_marginal_likelihood_gradient()
                    expected = [by_length, by_variance, by_noise]
                    np.testing.assert_allclose(grid.gradients[i, j, k], expected, rtol=1e-7)


def test_a_singular_grid_stays_finite():
    x, y = data(20)
    x, y = np.vstack([x, x]), np.concatenate([y, y])
    for variances in ([1.0], np.geomspace(1e-3, 1e3, 9)):
        grid = likelihood_grid(
            [Gaussian(1e-9), Gaussian(1.0), Gaussian(1e9)], x, y, variances, 1e-18
        )
        assert np.isfinite(grid.values).all() and np.isfinite(grid.gradients).all()


# At the edge


@pytest.mark.parametrize("length", [1e-12, 1e-3, 1.0, 1e6, 1e200])
@pytest.mark.parametrize("noise", [0.0, 1e-14, 1e-6])
@pytest.mark.parametrize("repeat", [False, True])
def test_nothing_is_ever_nan(length, noise, repeat):
    x, y = data(20)
    if repeat:
        x, y = np.vstack([x, x[:5]]), np.concatenate([y, y[:5]])
    gp = ExactGP(Gaussian(length), x, y, noise)
    assert np.isfinite(gp.log_marginal_likelihood())
    assert np.isfinite(gp.log_marginal_likelihood_gradient()).all()
    prediction = gp.predict(np.vstack([x, x + 0.1]))
    assert np.isfinite(prediction.mean).all() and (prediction.variance >= 0).all()
    assert np.isfinite(gp.leave_one_out().mean).all()
    if noise == 0.0 and length != 1.0:
        assert (gp.jitter > 0) == (repeat or length > 1e3)


def test_jitter_is_reported():
    x = [[0.0], [0.0], [1.0]]
    assert ExactGP(Gaussian(1.0), x, [1.0, 1.0, 0.0], 0.0).jitter == pytest.approx(1e-12)
    assert ExactGP(Gaussian(1.0), x, [1.0, 1.0, 0.0], 0.1).jitter == 0.0


def test_one_point_is_enough():
    gp = fit(1.0 * Gaussian(1.0), [[0.0]], [0.5], 0.1, restarts=1)
    assert np.isfinite(gp.log_marginal_likelihood())
    assert np.isfinite(gp.leave_one_out().mean).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: ExactGP("gaussian", x, y, 0.1), "kernel must be a kernel"),
        (lambda x, y: ExactGP(Gaussian(1.0), y, y, 0.1), "x must be a matrix"),
        (lambda x, y: ExactGP(Gaussian(1.0), x, y[:-1], 0.1), "y must have length 30"),
        (lambda x, y: ExactGP(Gaussian(1.0), x, y * np.nan, 0.1), "y must be finite"),
        (lambda x, y: ExactGP(Gaussian(1.0), x, y, -0.1), "noise must be a number that is not"),
        (lambda x, y: ExactGP(Gaussian(1.0), x, y, -np.ones(30)), "noise must not be negative"),
        (lambda x, y: ExactGP(Gaussian(1.0), x, y, 0.1, mean=np.nan), "mean must be finite"),
        (lambda x, y: ExactGP(Gaussian(1.0), x, y, 0.1).predict(x[:, :1]), "x must have 2 columns"),
        (lambda x, y: ExactGP(Gaussian(1.0), x, y, 0.1).sample(x, 0, 0), "n must be an integer"),
        (lambda x, y: ExactGP(Gaussian(1.0), x, y, 0.1).sample(x, 1, -1), "rng must be"),
        (lambda x, y: fit(Gaussian(1.0), x, y, 0.0), "noise must be a positive"),
        (lambda x, y: fit(Gaussian(1.0), x, y, 0.1, bounds=(0.0, 1.0)), "bounds must be pairs"),
        (lambda x, y: fit(Gaussian(1.0), x, y, 0.1, bounds={"b": (1, 2)}), "bounds must be for"),
        (lambda x, y: fit(Gaussian(1.0), x, y, 0.1, restarts=-1), "restarts must be"),
        (lambda x, y: likelihood_grid([], x, y, 1.0, 0.1), "kernels must be at least one"),
        (lambda x, y: likelihood_grid([Gaussian(1.0)], x, y, 0.0, 0.1), "variances must be pos"),
        (lambda x, y: likelihood_grid([Gaussian(1.0)], x, y, 1.0, 0.0), "noises must be pos"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*data())
