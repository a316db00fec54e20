"""Laplace, variational and EP fits against exact regression, quadrature, scikit-learn."""

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import multivariate_normal

from kernellab.compute.approximate_gp import (
    expectation_propagation,
    laplace,
    posterior_from_sites,
    variational,
)
from kernellab.compute.gp import ExactGP
from kernellab.compute.kernels import Gaussian, Matern32
from kernellab.compute.likelihoods import GaussianNoise, Logit, Poisson, Probit, StudentT
from tests.naive import approximate_gp as naive

METHODS = [laplace, variational, expectation_propagation]
every_method = pytest.mark.parametrize("method", METHODS)
KERNEL = 2.0 * Gaussian(0.9)


def data(likelihood, n=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 2))
    f = 1.5 * np.sin(2 * x[:, 0]) + 0.5 * x[:, 1]
    if isinstance(likelihood, (Probit, Logit)):
        return x, np.where(f + 0.7 * rng.standard_normal(n) > 0, 1.0, -1.0)
    if isinstance(likelihood, Poisson):
        return x, rng.poisson(np.exp(f)).astype(float)
    y = f + 0.2 * rng.standard_normal(n)
    y[::9] += 4.0  # outliers
    return x, y


@every_method
def test_gaussian_noise_gives_exact_regression(method):
    x, y = data(GaussianNoise(0.1))
    exact = ExactGP(KERNEL, x, y, 0.1)
    fit = method(KERNEL, x, y, GaussianNoise(0.1))
    assert fit.converged
    value = exact.log_marginal_likelihood()
    for evidence in (fit.evidence, fit.elbo(), fit.ep_evidence()):
        assert evidence == pytest.approx(value, abs=1e-10 * abs(value))
    new = data(GaussianNoise(0.1), 9, 1)[0]
    for ours, theirs in zip(fit.predict(new), exact.predict(new), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_allclose(
        fit.predict(new, covariance=True).variance,
        exact.predict(new, covariance=True).variance,
        atol=1e-9,
    )


@pytest.mark.parametrize("likelihood", [Probit(), Logit(), Poisson(), StudentT(0.2, 4.0)], ids=repr)
def test_two_points_by_quadrature(likelihood):
    x, y = np.array([[0.0], [0.7]]), np.array([1.0, 1.0])
    kernel = 0.8 * Gaussian(1.0)
    prior = multivariate_normal([0.0, 0.0], kernel.gram(x))

    def joint(b, a, power=0):
        f = np.array([a, b])
        return a**power * prior.pdf(f) * np.exp(likelihood.log_density(y, f).sum())

    z, first, second = (
        integrate.dblquad(joint, -6, 6, -6, 6, args=(k,), epsabs=1e-7)[0] for k in range(3)
    )
    ep = expectation_propagation(kernel, x, y, likelihood)
    vb, lp = variational(kernel, x, y, likelihood), laplace(kernel, x, y, likelihood)
    assert ep.converged and vb.converged and lp.converged
    assert ep.evidence == pytest.approx(np.log(z), abs=0.02)
    assert vb.evidence <= np.log(z) + 1e-6
    assert vb.evidence == pytest.approx(np.log(z), abs=0.05)
    assert lp.evidence == pytest.approx(np.log(z), abs=0.3)
    assert ep.mean[0] == pytest.approx(first / z, abs=0.02)
    assert ep.variance[0] == pytest.approx(second / z - (first / z) ** 2, abs=0.03)


def test_scikit_learn_finds_the_same_mode():
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    x, y = data(Logit(), 60)
    peer = GaussianProcessClassifier(ConstantKernel(2.0) * RBF(0.9), optimizer=None).fit(x, y)
    ours = laplace(KERNEL, x, y, Logit())
    assert ours.evidence == pytest.approx(peer.log_marginal_likelihood_value_, abs=1e-6)
    np.testing.assert_allclose(ours.mean, peer.base_estimator_.f_cached, atol=1e-5)
    new = data(Logit(), 9, 1)[0]
    # The peer approximates the logistic function by five error functions.
    np.testing.assert_allclose(ours.probability(new), peer.predict_proba(new)[:, 1], atol=3e-3)


def test_parallel_ep_rests_where_the_textbook_does():
    x, y = data(Probit(), 15)
    mean, covariance, value = naive.expectation_propagation(KERNEL.gram(x), y)
    ours = expectation_propagation(KERNEL, x, y, Probit())
    np.testing.assert_allclose(ours.mean, mean, atol=1e-7)
    np.testing.assert_allclose(ours.variance, np.diag(covariance), atol=1e-7)
    assert ours.evidence == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("likelihood", [Probit(), Logit(), Poisson()], ids=repr)
def test_the_bound_is_highest_at_the_variational_sites(likelihood):
    x, y = data(likelihood)
    fit = variational(KERNEL, x, y, likelihood)
    assert fit.converged
    assert fit.evidence == pytest.approx(fit.elbo())
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1):
        shift = fit.shift + size * rng.standard_normal(len(y))
        precision = fit.precision * np.exp(size * rng.standard_normal(len(y)))
        other = posterior_from_sites(KERNEL, x, y, likelihood, shift, precision)
        assert other.evidence < fit.evidence
    # The three agree on what is to be seen.
    ep = expectation_propagation(KERNEL, x, y, likelihood)
    assert ep.converged and ep.evidence > fit.evidence
    assert fit.ep_evidence() == pytest.approx(ep.evidence, abs=0.02 * len(y))
    np.testing.assert_allclose(fit.mean, ep.mean, atol=0.2)


def test_a_heavy_tail_ignores_outliers():
    likelihood = StudentT(0.2, 4.0)
    x, y = data(likelihood)
    truth = 1.5 * np.sin(2 * x[:, 0]) + 0.5 * x[:, 1]
    plain = ExactGP(KERNEL, x, y, 0.04).predict(x).mean
    for method in METHODS:
        fit = method(KERNEL, x, y, likelihood)
        assert np.isfinite(fit.evidence)
        assert np.mean((fit.mean - truth) ** 2) < 0.2 * np.mean((plain - truth) ** 2)


@every_method
@pytest.mark.parametrize(
    "likelihood", [GaussianNoise(0.1), Probit(), Logit(), Poisson(), StudentT(0.5, 5.0)], ids=repr
)
def test_evidence_gradients_are_differences(method, likelihood):
    x, y = data(likelihood, 25)
    kernel = 1.3 * Gaussian(0.9)
    theta = np.log(list(kernel.hyperparameters.values()))

    def value(theta):
        fit = method(kernel.with_log_hyperparameters(theta), x, y, likelihood, tolerance=1e-13)
        return fit.evidence

    gradient = method(kernel, x, y, likelihood, tolerance=1e-13).evidence_gradient()
    for j in range(2):
        step = 1e-4 * np.eye(2)[j]
        slope = (value(theta + step) - value(theta - step)) / 2e-4
        assert gradient[j] == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_a_start_near_by_saves_steps():
    x, y = data(Probit())
    for method in (variational, expectation_propagation):
        far = method(KERNEL, x, y, Probit())
        near = method(1.02 * KERNEL, x, y, Probit(), start=far)
        again = method(1.02 * KERNEL, x, y, Probit())
        assert near.evidence == pytest.approx(again.evidence, abs=1e-7)
        assert near.iterations <= again.iterations


@every_method
@pytest.mark.parametrize("length", [1e-9, 1e6])
def test_repeated_points_and_extreme_lengths_stay_finite(method, length):
    for likelihood in (Probit(), Logit(), Poisson(), StudentT(0.3)):
        x, y = data(likelihood, 12)
        x, y = np.vstack([x, x]), np.concatenate([y, y])
        fit = method(5.0 * Gaussian(length), x, y, likelihood)
        assert np.isfinite(fit.evidence)
        assert np.isfinite(fit.predict(x + 0.1)).all()
    one = method(Matern32(1.0), [[0.0]], [1.0], Probit())
    assert np.isfinite(one.evidence) and 0.5 < one.probability([[0.0]])[0] < 1.0


def test_predictions_of_targets():
    x, y = data(Poisson())
    fit = variational(KERNEL, x, y, Poisson())
    total = sum(np.exp(fit.log_predictive(x[:1], [float(k)]))[0] for k in range(200))
    assert total == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: laplace("k", x, y, Probit()), "kernel must be a kernel"),
        (lambda x, y: laplace(KERNEL, x, y, "probit"), "likelihood must be one of"),
        (lambda x, y: variational(KERNEL, x, 2 * y, Probit()), "y must hold the labels"),
        (lambda x, y: variational(KERNEL, x, y, Probit(), step=0.0), "step must be a positive"),
        (lambda x, y: variational(KERNEL, x, y, Probit(), start=1), "start must be"),
        (
            lambda x, y: expectation_propagation(KERNEL, x, y, Probit(), max_iterations=0),
            "max_iterations must be",
        ),
        (
            lambda x, y: posterior_from_sites(KERNEL, x, y, Probit(), y, -10.0 * np.ones(40)),
            "precision must leave a proper posterior",
        ),
        (lambda x, y: laplace(KERNEL, x, y, StudentT(1.0)).probability(x), "one of labels"),
        (
            lambda x, y: posterior_from_sites(
                KERNEL, x, y, Probit(), y, np.ones(40)
            ).evidence_gradient(),
            "must come from a method",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*data(Probit()))
