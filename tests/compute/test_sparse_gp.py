"""Inducing values against dense formulas: bounds, optimal and free posteriors."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from kernellab.compute.gp import ExactGP
from kernellab.compute.kernels import Gaussian, Matern32
from kernellab.compute.sparse_gp import InducingFeatures, SparseGP, VariationalGP

KERNEL = 1.4 * Matern32(0.8)


def data(n=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 1))
    return x, np.sin(3 * x[:, 0]) + 0.2 * rng.standard_normal(n)


Z = np.linspace(-2, 2, 9)[:, None]


def dense():
    """The parts of Titsias' formulas, written out."""
    x, y = data()
    kuu, kuf = KERNEL.gram(Z), KERNEL.gram(Z, x)
    return x, y, kuu, kuf, kuf.T @ np.linalg.solve(kuu, kuf)


def test_the_bound_is_titsias_formula():
    x, y, _, _, q = dense()
    evidence = multivariate_normal(np.zeros(40), q + 0.05 * np.eye(40)).logpdf(y)
    expected = evidence - np.trace(KERNEL.gram(x) - q) / (2 * 0.05)
    assert SparseGP(KERNEL, x, y, 0.05, Z).bound() == pytest.approx(expected, abs=1e-8)


def test_posterior_is_the_dense_formula():
    x, y, kuu, kuf, _ = dense()
    sparse = SparseGP(KERNEL, x, y, 0.05, Z)
    sigma = np.linalg.inv(kuu + kuf @ kuf.T / 0.05)
    mean, covariance = kuu @ sigma @ kuf @ y / 0.05, kuu @ sigma @ kuu
    np.testing.assert_allclose(sparse.inducing_posterior().mean, mean, atol=1e-9)
    np.testing.assert_allclose(sparse.inducing_posterior().variance, covariance, atol=1e-9)
    new = np.linspace(-3, 3, 11)[:, None]
    weights = np.linalg.solve(kuu, KERNEL.gram(Z, new))
    full = KERNEL.gram(new) - weights.T @ (kuu - covariance) @ weights
    predicted = sparse.predict(new, covariance=True)
    np.testing.assert_allclose(predicted.mean, weights.T @ mean, atol=1e-9)
    np.testing.assert_allclose(predicted.variance, full, atol=1e-9)
    np.testing.assert_allclose(sparse.predict(new).variance, np.diag(full), atol=1e-9)


def test_all_inputs_as_inducing_points_are_exact():
    x, y = data()
    exact, sparse = ExactGP(KERNEL, x, y, 0.05), SparseGP(KERNEL, x, y, 0.05, x)
    assert sparse.bound() == pytest.approx(exact.log_marginal_likelihood(), abs=1e-8)
    np.testing.assert_allclose(sparse.predict(Z).mean, exact.predict(Z).mean, atol=1e-8)
    np.testing.assert_allclose(sparse.predict(Z).variance, exact.predict(Z).variance, atol=1e-8)


def test_more_inducing_points_never_lower_the_bound():
    x, y = data()
    bounds = [SparseGP(KERNEL, x, y, 0.05, x[:m]).bound() for m in (1, 3, 10, 20, 40)]
    assert all(a <= b + 1e-9 for a, b in zip(bounds, bounds[1:], strict=False))
    assert bounds[-1] <= ExactGP(KERNEL, x, y, 0.05).log_marginal_likelihood() + 1e-8


@pytest.mark.parametrize("whitened", [True, False])
def test_any_q_predicts_by_the_dense_formula(whitened):
    rng = np.random.default_rng(0)
    m, root = rng.standard_normal(9), 0.3 * rng.standard_normal((9, 9))
    model = VariationalGP(KERNEL, Z, m, root, whitened=whitened)
    kuu = KERNEL.gram(Z)
    lower = np.linalg.cholesky(kuu) if whitened else np.eye(9)
    mean, s = lower @ m, lower @ root @ root.T @ lower.T
    new = np.linspace(-3, 3, 11)[:, None]
    weights = np.linalg.solve(kuu, KERNEL.gram(Z, new))
    full = KERNEL.gram(new) - weights.T @ (kuu - s) @ weights
    predicted = model.predict(new, covariance=True)
    np.testing.assert_allclose(predicted.mean, weights.T @ mean, atol=1e-9)
    np.testing.assert_allclose(predicted.variance, full, atol=1e-9)
    np.testing.assert_allclose(model.predict(new).variance, np.diag(full), atol=1e-9)
    inverse = np.linalg.inv(kuu)
    logdets = np.linalg.slogdet(kuu)[1] - np.linalg.slogdet(s)[1]
    kl = 0.5 * (np.trace(inverse @ s) + mean @ inverse @ mean - 9 + logdets)
    assert model.kl() == pytest.approx(kl, rel=1e-8)


def test_the_prior_as_q_changes_nothing():
    model = VariationalGP(KERNEL, Z, np.zeros(9), np.ones(9))
    assert model.kl() == 0.0
    np.testing.assert_allclose(model.predict(Z + 0.1).variance, 1.4)
    assert VariationalGP(KERNEL, Z, np.zeros(9), np.zeros(9)).kl() == np.inf


class Mixtures(InducingFeatures):
    """Linear mixtures of the values at points."""

    def __init__(self, mixing):
        self.mixing = mixing

    def gram(self):
        return self.mixing @ KERNEL.gram(Z) @ self.mixing.T

    def cross(self, x):
        return self.mixing @ KERNEL.gram(Z, x)


def test_inducing_features_that_span_the_same_say_the_same():
    x, y = data()
    features = Mixtures(np.random.default_rng(0).standard_normal((9, 9)))
    points, mixed = SparseGP(KERNEL, x, y, 0.05, Z), SparseGP(KERNEL, x, y, 0.05, features)
    assert mixed.bound() == pytest.approx(points.bound(), abs=1e-6)
    np.testing.assert_allclose(mixed.predict(x).variance, points.predict(x).variance, atol=1e-8)
    q = mixed.inducing_posterior()
    root = np.linalg.cholesky(q.variance)
    free = VariationalGP(KERNEL, features, q.mean, root, whitened=False)
    np.testing.assert_allclose(free.predict(x).mean, points.predict(x).mean, atol=1e-7)


@pytest.mark.parametrize("length", [1e-9, 1e6])
def test_repeated_and_useless_inducing_points_stay_finite(length):
    x, y = data()
    z = np.vstack([Z, Z])
    sparse = SparseGP(Gaussian(length), x, y, 1e-6, z)
    assert np.isfinite(sparse.bound()) and sparse.jitter > 0
    assert np.isfinite(sparse.predict(x)).all()
    assert np.isfinite(SparseGP(Gaussian(1.0), x[:1], y[:1], 0.1, x[:1]).bound())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: SparseGP("k", x, y, 0.1, Z), "kernel must be a kernel"),
        (lambda x, y: SparseGP(KERNEL, x, y, 0.0, Z), "noise must be a positive"),
        (lambda x, y: SparseGP(KERNEL, x, y[1:], 0.1, Z), "y must have length 40"),
        (lambda x, y: SparseGP(KERNEL, x, y, 0.1, np.ones((2, 2))), "inducing must have 1 column"),
        (lambda x, y: VariationalGP(KERNEL, Z, y, np.ones(9)), "mean must have length 9"),
        (lambda x, y: VariationalGP(KERNEL, Z, np.ones(9), np.ones(8)), "root must have length 9"),
        (
            lambda x, y: VariationalGP(KERNEL, Z, np.ones(9), np.ones((9, 8))),
            "root must have 9 columns",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*data())
