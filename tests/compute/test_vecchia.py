"""Nearest-neighbour Gaussian processes against their definitions and the dense process."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from kernellab.compute.gp import ExactGP
from kernellab.compute.kernels import Gaussian, Matern32, Stretched
from kernellab.compute.vecchia import Vecchia, maximin_order, nearest_predecessors
from tests.naive import vecchia as naive

pytestmark = pytest.mark.compiled

KERNEL = 1.5 * Stretched(Matern32(1.0), (0.3, 0.6))


def points(n=60, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (n, 2))


@given(n=st.integers(1, 25), d=st.integers(1, 3), m=st.integers(1, 8), seed=st.integers(0, 99))
def test_order_and_neighbours_are_what_they_say(n, d, m, seed):
    x, m = np.random.default_rng(seed).standard_normal((n, d)), min(m, n)
    first = seed % n
    np.testing.assert_array_equal(maximin_order(x, first), naive.maximin_order(x, first))
    np.testing.assert_array_equal(nearest_predecessors(x, m), naive.nearest_predecessors(x, m))


def test_repeated_points_come_last_and_each_once():
    x = np.zeros((5, 2))
    x[3] = 1.0
    assert sorted(maximin_order(x, 0)) == [0, 1, 2, 3, 4]
    assert maximin_order(x, 0)[1] == 3


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("m", [1, 5, 60])
def test_factors_are_small_regressions(m, noise):
    x = points()
    model = Vecchia(KERNEL, x, m, noise=noise)
    gram = KERNEL.gram(model.x) + noise * np.eye(60)
    coefficients, variances = naive.vecchia(gram, model.neighbours)
    np.testing.assert_allclose(model.coefficients, coefficients, atol=1e-8)
    np.testing.assert_allclose(model.variances, variances, atol=1e-10)


def test_all_predecessors_give_the_dense_process():
    x, y = points(), np.random.default_rng(1).standard_normal(60)
    model = Vecchia(KERNEL, x, 60, noise=0.1)
    covariance = KERNEL.gram(x) + 0.1 * np.eye(60)
    expected = multivariate_normal(np.zeros(60), covariance).logpdf(y)
    assert model.log_density(y) == pytest.approx(expected, abs=1e-9)
    u = model.precision_factor()
    ordered = covariance[np.ix_(model.order, model.order)]
    np.testing.assert_allclose((u.T @ u) @ ordered, np.eye(60), atol=1e-10)
    dense, ours = ExactGP(KERNEL, x, y, 0.1).predict(points(9, 2)), model.predict(points(9, 2), y)
    np.testing.assert_allclose(ours.mean, dense.mean, atol=1e-9)
    np.testing.assert_allclose(ours.variance, dense.variance, atol=1e-9)


def test_more_neighbours_come_nearer_and_maximin_beats_chance():
    x, rng = points(200), np.random.default_rng(0)
    kernel = Matern32(0.3)
    logdet = np.linalg.slogdet(kernel.gram(x))[1]

    def divergence(m, order=None):  # KL(exact || approximate)
        return 0.5 * (np.log(Vecchia(kernel, x, m, order=order).variances).sum() - logdet)

    gaps = [divergence(m) for m in (1, 2, 4, 8, 16)]
    assert all(a > b > -1e-9 for a, b in zip(gaps, gaps[1:], strict=False))
    assert gaps[3] < divergence(8, rng.permutation(200))


def test_samples_have_the_covariance():
    x = points(6)
    draws = Vecchia(KERNEL, x, 6).sample(60_000, rng=0)
    np.testing.assert_allclose(np.cov(draws.T), KERNEL.gram(x), atol=0.03)


def test_repeated_points_and_flat_kernels_stay_finite():
    x, y = np.vstack([points(20), points(20)]), np.ones(40)
    for kernel in (Matern32(0.3), Gaussian(1e3), Gaussian(1e-9)):
        model = Vecchia(kernel, x, 10)
        assert np.isfinite(model.coefficients).all() and (model.variances > 0).all()
        assert np.isfinite(model.log_density(y))
        assert np.isfinite(model.predict(x + 0.01, y)).all()
        assert model.jitter > 0
    assert Vecchia(KERNEL, [[0.5, 0.5]], 1).log_density([0.0]) < 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: Vecchia("k", x, 3), "kernel must be a kernel"),
        (lambda x: Vecchia(KERNEL, x, 61), "m must be an integer between 1 and 60"),
        (lambda x: Vecchia(KERNEL, x, 3, noise=-1.0), "noise must be"),
        (lambda x: Vecchia(KERNEL, x, 3, order=[0] * 60), "order must hold each number"),
        (lambda x: Vecchia(KERNEL, x, 3).log_density([1.0]), "y must have length 60"),
        (lambda x: Vecchia(KERNEL, x, 3).sample(0, 0), "n must be"),
        (lambda x: maximin_order(x, 60), "first must be"),
        (lambda x: nearest_predecessors(x, 3, [[0.0]]), "points must have 2 columns"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(points())
