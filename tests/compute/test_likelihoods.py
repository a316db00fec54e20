"""Likelihoods: derivatives by differences, averages by numerical integrals."""

import numpy as np
import pytest
from scipy import integrate, stats

from kernellab.compute.likelihoods import (
    GaussianNoise,
    Likelihood,
    Logit,
    Poisson,
    Probit,
    StudentT,
)

CASES = [
    (GaussianNoise(0.3), [0.5, -1.2, 3.0]),
    (Probit(), [1.0, -1.0, 1.0]),
    (Logit(), [1.0, -1.0, -1.0]),
    (Poisson(), [0.0, 3.0, 7.0]),
    (StudentT(0.8, 3.0), [0.5, -1.2, 4.0]),
]
every = pytest.mark.parametrize(("likelihood", "y"), CASES, ids=[repr(c[0]) for c in CASES])
MEAN, VARIANCE = np.array([0.3, -0.7, 1.9]), np.array([0.2, 1.5, 0.7])


@every
def test_derivatives_are_differences(likelihood, y):
    y, f, h = likelihood.as_targets(y, 3), MEAN, 1e-4
    low, at, high = (likelihood.log_density(y, f + step) for step in (-h, 0.0, h))
    first, second = likelihood.derivatives(y, f)
    np.testing.assert_allclose(first, (high - low) / (2 * h), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(second, (high - 2 * at + low) / h**2, rtol=1e-5, atol=1e-6)
    assert (likelihood.curvature(y, f) > 0).all()
    high, low = (likelihood.derivatives(y, f + step)[1] for step in (h, -h))
    third = likelihood.third_derivative(y, f)
    np.testing.assert_allclose(third, (high - low) / (2 * h), rtol=1e-6, atol=1e-7)


@every
def test_averages_are_integrals(likelihood, y):
    y = likelihood.as_targets(y, 3)
    value, log_z = (
        likelihood.expected(y, MEAN, VARIANCE)[0],
        likelihood.averaged(y, MEAN, VARIANCE)[0],
    )
    for i in range(3):
        law = stats.norm(MEAN[i], np.sqrt(VARIANCE[i]))

        def log_density(f, i=i):
            return likelihood.log_density(y[i : i + 1], np.array([f]))[0]

        def average(g, law=law):
            low, high = law.ppf(1e-15), law.ppf(1 - 1e-15)
            return integrate.quad(lambda f: g(f) * law.pdf(f), low, high, epsabs=1e-12, limit=200)[
                0
            ]

        assert value[i] == pytest.approx(average(log_density), abs=3e-6)
        assert log_z[i] == pytest.approx(
            np.log(average(lambda f, g=log_density: np.exp(g(f)))), abs=3e-6
        )


@every
def test_slopes_of_averages_are_differences(likelihood, y):
    y, h = likelihood.as_targets(y, 3), 1e-4
    _, by_mean, by_variance = likelihood.expected(y, MEAN, VARIANCE)
    high, low = (likelihood.expected(y, MEAN + s, VARIANCE)[0] for s in (h, -h))
    np.testing.assert_allclose(by_mean, (high - low) / (2 * h), rtol=1e-5, atol=2e-5)
    high, low = (likelihood.expected(y, MEAN, VARIANCE + s)[0] for s in (h, -h))
    np.testing.assert_allclose(by_variance, (high - low) / (2 * h), rtol=1e-4, atol=1e-4)
    at, first, second = likelihood.averaged(y, MEAN, VARIANCE)
    high, low = (likelihood.averaged(y, MEAN + s, VARIANCE)[0] for s in (h, -h))
    np.testing.assert_allclose(first, (high - low) / (2 * h), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(second, (high - 2 * at + low) / h**2, rtol=1e-3, atol=1e-3)


@every
def test_far_away_nothing_is_nan(likelihood, y):
    y = likelihood.as_targets(y, 3)
    for f in (np.full(3, -600.0), np.full(3, 600.0)):
        assert np.isfinite(likelihood.log_density(y, f)).all()
        assert np.isfinite(likelihood.derivatives(y, f)).all()
        assert np.isfinite(likelihood.averaged(y, f, VARIANCE)).all()


def test_closed_forms_are_those_of_the_quadrature():
    for likelihood, y in CASES[:2]:
        closed = likelihood.averaged(np.array(y), MEAN, VARIANCE)
        numeric = Likelihood.averaged(likelihood, np.array(y), MEAN, VARIANCE)
        np.testing.assert_allclose(closed, numeric, atol=1e-7)
    poisson, y = CASES[3]
    closed = poisson.expected(np.array(y), MEAN, VARIANCE)
    np.testing.assert_allclose(
        closed, Likelihood.expected(poisson, np.array(y), MEAN, VARIANCE), atol=1e-9
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Probit().as_targets([0.0, 1.0], 2), "y must hold the labels -1 and 1, got 0"),
        (lambda: Poisson().as_targets([1.0, 1.5], 2), "y must hold counts .* got 1.5"),
        (lambda: Logit().as_targets([1.0], 2), "y must have length 2"),
        (lambda: GaussianNoise(0.0), "variance must be a positive"),
        (lambda: StudentT(1.0, -1.0), "degrees must be a positive"),
        (lambda: StudentT(0.0), "scale must be a positive"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
