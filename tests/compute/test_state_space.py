"""Linear-time regression equals the dense one, to rounding."""

import numpy as np
import pytest
from scipy.linalg import block_diag, expm

from kernellab.compute.gp import ExactGP, fit
from kernellab.compute.kernels import (
    Cosine,
    Gaussian,
    Matern12,
    Matern32,
    Matern52,
    Oscillator,
    Periodic,
)
from kernellab.compute.state_space import (
    StateSpaceGP,
    fit_series,
    smooth_messages,
    state_space,
)
from tests.naive import state_space as naive

pytestmark = pytest.mark.compiled

KERNELS = [
    Matern12(0.7),
    Matern32(0.7),
    Matern52(0.7),
    0.3 * Matern12(2.0) + 1.5 * Matern52(0.4),
    Matern32(3.0) * Cosine(0.9),
    2.0 * (Matern12(4.0) * Periodic(1.1, 0.8)) + 0.5 * Matern32(5.0),
    Matern32(1.0) * Matern52(2.0),
    Periodic(1.3, 0.5),
    Oscillator(1.1, 5.0),
    Oscillator(2.0, 0.5) + 0.5 * Oscillator(2.0, 0.3),
    Oscillator(1.1, 8.0) * Matern12(4.0),
]
every = pytest.mark.parametrize("kernel", KERNELS, ids=repr)


def data(n=60, seed=0):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 6, n))
    times[10] = times[11]  # a time that comes twice
    return times, np.sin(3 * times) + 0.2 * rng.standard_normal(n)


@every
def test_the_system_has_the_kernel(kernel):
    lags = np.array([0.0, 1e-6, 0.1, 1.0, 30.0])
    system = state_space(kernel)
    expected = kernel.gram(lags[:, None], [[0.0]])[:, 0]
    np.testing.assert_allclose(system.covariance(lags), expected, atol=1e-12)
    for lag, step in zip(lags[:4], system.transitions(lags[:4]), strict=True):
        np.testing.assert_allclose(step, expm(system.feedback * lag), atol=1e-10)
    f, p = system.feedback, system.stationary
    driving = -(f @ p + p @ f.T)
    assert np.linalg.eigvalsh(driving)[0] > -1e-9 * max(1.0, np.abs(driving).max())


@every
@pytest.mark.parametrize("noise", [0.1, "unequal"])
def test_regression_is_the_dense_one(kernel, noise):
    times, y = data()
    noise = np.linspace(0.05, 0.2, 60) if noise == "unequal" else noise
    fast = StateSpaceGP(kernel, times, y, noise, mean=0.4)
    dense = ExactGP(kernel, times[:, None], y, noise, mean=0.4)
    expected = dense.log_marginal_likelihood()
    assert fast.log_marginal_likelihood() == pytest.approx(expected, abs=1e-8)
    new = np.array([-1.0, 0.0, times[10], 3.3, 3.3, 2.0, 9.0])
    for ours, theirs in zip(fast.predict(new), dense.predict(new[:, None]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_allclose(fast.predict().mean, dense.predict(times[:, None]).mean, atol=1e-9)


@every
def test_regression_is_the_textbook_filter_and_smoother(kernel):
    times, y = data(25)
    noise = np.linspace(0.05, 0.2, 25)
    system = state_space(kernel)
    value, means, variances = naive.filter_and_smooth(
        system.feedback, system.stationary, system.measurement, times, y, noise
    )
    fast = StateSpaceGP(kernel, times, y, noise)
    assert fast.log_marginal_likelihood() == pytest.approx(value, abs=1e-8)
    np.testing.assert_allclose(fast.predict().mean, means, atol=1e-7)
    np.testing.assert_allclose(fast.predict().variance, variances, atol=1e-7)


def test_the_order_of_the_data_does_not_matter():
    times, y = data()
    noise = np.linspace(0.05, 0.2, 60)
    shuffle = np.random.default_rng(1).permutation(60)
    a = StateSpaceGP(Matern32(0.7), times, y, noise)
    b = StateSpaceGP(Matern32(0.7), times[shuffle], y[shuffle], noise[shuffle])
    assert a.log_marginal_likelihood() == pytest.approx(b.log_marginal_likelihood())
    np.testing.assert_allclose(b.predict(times).mean, a.predict(times).mean)


def test_samples_have_the_right_moments():
    times, y = data(12)
    gp, new = StateSpaceGP(Matern32(0.7), times, y, 0.1), np.array([0.3, 1.0, 2.0])
    draws = gp.sample(new, 8000, rng=0)
    dense = ExactGP(Matern32(0.7), times[:, None], y, 0.1).predict(new[:, None], covariance=True)
    np.testing.assert_allclose(draws.mean(axis=0), dense.mean, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), dense.variance, atol=0.03)


def test_fit_finds_what_the_dense_fit_finds():
    times, y = data()
    kernel = 1.0 * Matern32(1.0)
    fast, dense = fit_series(kernel, times, y, 0.1), fit(kernel, times[:, None], y, 0.1)
    assert fast.log_marginal_likelihood() == pytest.approx(
        dense.log_marginal_likelihood(), abs=1e-5
    )
    assert fast.noise[0] == pytest.approx(dense.noise, rel=1e-2)
    kept = fit_series(kernel, times, y, 0.04, learn_noise=False, bounds={"lengthscale": (1, 2)})
    assert kept.noise[0] == 0.04 and 1.0 <= kept.kernel.hyperparameters["lengthscale"] <= 2.0001
    unequal = fit_series(kernel, times, y, np.linspace(0.1, 0.2, 60))
    np.testing.assert_allclose(unequal.noise / unequal.noise[0], np.linspace(1, 2, 60))


def test_exact_observations_are_met():
    times, y = data(20)
    times[10] = 0.5 * (times[9] + times[11])
    gp = StateSpaceGP(Matern32(0.7), times, y, 0.0)
    np.testing.assert_allclose(gp.predict(times).mean, y, atol=1e-9)
    np.testing.assert_allclose(gp.predict(times).variance, 0.0, atol=1e-9)


def spring(period):
    return Oscillator(period, 2.0)


@pytest.mark.parametrize("length", [1e-200, 1e-9, 1e-2, 1e3, 1e9, 1e200])
@pytest.mark.parametrize("kind", [Matern12, Matern32, Matern52, spring])
def test_extreme_lengthscales_stay_finite_and_right(kind, length):
    times, y = data()
    gp = StateSpaceGP(kind(length), times, y, 0.1)
    dense = ExactGP(kind(length), times[:, None], y, 0.1)
    assert gp.log_marginal_likelihood() == pytest.approx(dense.log_marginal_likelihood(), rel=1e-7)
    assert np.isfinite(gp.predict(times + 0.01)).all()


def test_one_point_is_enough():
    gp = StateSpaceGP(Matern52(1.0), [3.0], [1.0], 1.0)
    assert gp.predict([3.0]).mean[0] == pytest.approx(0.5)
    assert gp.predict([1e300]).variance[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, y: StateSpaceGP(Gaussian(1.0), t, y, 0.1), "kernel must be made of Matern12"),
        (lambda t, y: StateSpaceGP(Periodic(1.0, 0.01), t, y, 0.1), "lengthscale of Periodic"),
        (lambda t, y: StateSpaceGP(Matern12(1.0), t[:, None], y, 0.1), "times must be a vector"),
        (lambda t, y: StateSpaceGP(Matern12(1.0), t, y[1:], 0.1), "y must have length 60"),
        (lambda t, y: StateSpaceGP(Matern12(1.0), t, y, -1.0), "noise must be a number that is"),
        (lambda t, y: StateSpaceGP(Matern12(1.0), t, y, -(y**2)), "noise must not be negative"),
        (
            lambda t, y: StateSpaceGP(Matern12(1.0), t, y, 0.0).log_marginal_likelihood(),
            "noise must be positive where times repeat",
        ),
        (lambda t, y: StateSpaceGP(Matern12(1.0), t, y, 0.0).predict(), "noise must be positive"),
        (lambda t, y: StateSpaceGP(Matern12(1.0), t, y, 0.1).predict(t[:, None]), "times must be"),
        (lambda t, y: StateSpaceGP(Matern12(1.0), t, y, 0.1).sample(t, 0, 0), "n must be"),
        (lambda t, y: fit_series(Matern12(1.0), t, y, 0.0), "noise must be a positive"),
        (lambda t, y: fit_series(Matern12(1.0), t, y, 0.1, bounds=(1, 0)), "bounds must be"),
        (lambda t, y: fit_series(Gaussian(1.0), t, y, 0.1), "kernel must be made of"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*data())


@pytest.mark.parametrize("r", [1, 3])
@pytest.mark.parametrize("kernel", KERNELS[:3], ids=repr)
def test_messages_on_several_outputs_give_the_dense_posterior(kernel, r):
    rng, n = np.random.default_rng(0), 25
    times, roots = rng.uniform(0, 4, n), rng.normal(size=(n, r, r))
    precision, shift = roots @ roots.transpose(0, 2, 1), rng.normal(size=(n, r))
    precision[3], shift[3] = 0.0, 0.0  # a time about which nothing is said
    found = smooth_messages(kernel, times, shift, precision)
    gram = np.kron(kernel.gram(times[:, None]), np.eye(r))
    whole = block_diag(*precision)
    covariance = gram - gram @ whole @ np.linalg.solve(np.eye(n * r) + gram @ whole, gram)
    mean = (covariance @ shift.ravel()).reshape(n, r)
    np.testing.assert_allclose(found.mean, mean, atol=1e-8)
    for t in range(n):
        block = covariance[t * r : t * r + r, t * r : t * r + r]
        np.testing.assert_allclose(found.variance[t], block, atol=1e-8)


def test_one_output_with_noise_is_regression():
    times, y = data()
    model = StateSpaceGP(Matern32(0.6), times, y, noise=0.1)
    found = smooth_messages(Matern32(0.6), times, y[:, None] / 0.1, np.full((len(y), 1, 1), 10.0))
    np.testing.assert_allclose(found.mean[:, 0], model.predict().mean, atol=1e-10)
    np.testing.assert_allclose(found.variance[:, 0, 0], model.predict().variance, atol=1e-10)


def test_messages_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="precision must be finite with shape"):
        smooth_messages(Matern12(1.0), [0.0, 1.0], np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="shift"):
        smooth_messages(Matern12(1.0), [0.0, 1.0], np.zeros((3, 2)), np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="kernel must be made of"):
        smooth_messages(Gaussian(1.0), [0.0], np.zeros((1, 1)), np.zeros((1, 1, 1)))
