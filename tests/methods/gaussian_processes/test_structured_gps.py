"""Structured GPs: dense references, closed forms, exact cases, bad input; the claims, controls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from kernellab.compute import linalg
from kernellab.compute.approximate_gp import variational
from kernellab.compute.gp import ExactGP, sample_prior
from kernellab.compute.kernels import Gaussian, Matern12, Matern32
from kernellab.compute.likelihoods import GaussianNoise, Logit, Poisson, StudentT
from kernellab.compute.sparse_gp import SparseGP
from kernellab.compute.vecchia import Vecchia, nearest_predecessors
from kernellab.methods.gaussian_processes import structured_gps as sg
from tests.naive import structured_gps as naive

KERNEL = Matern32(0.4)


def cloud(n=30, d=2, seed=0):
    return np.random.default_rng(seed).random((n, d))


# 1. Nearest neighbours


def test_factor_with_the_full_pattern_is_exact():
    gram = KERNEL.gram(cloud())
    factor = sg.sic_factor(gram, [np.arange(i) for i in range(30)])
    np.testing.assert_allclose(factor.T @ factor, np.linalg.inv(gram), rtol=1e-6, atol=1e-6)
    assert sg.factor_kl(gram, factor) < 1e-8


def test_divergence_falls_as_the_pattern_grows_and_agrees_with_every_formula():
    x = cloud()[sg.point_order(cloud())]
    gram, last = KERNEL.gram(x), np.inf
    for m in (1, 2, 4, 8, 29):
        near = nearest_predecessors(x, m)
        factor = sg.sic_factor(gram, [row[row >= 0] for row in near])
        model = Vecchia(KERNEL, x, m, order=np.arange(30))
        np.testing.assert_allclose(factor, model.precision_factor().toarray(), atol=1e-8)
        value = sg.factor_kl(gram, factor)
        assert value == pytest.approx(
            sg.neighbour_kl(model, linalg.cholesky(gram).logdet()), abs=1e-7
        )
        sparse = np.linalg.inv(factor.T @ factor)
        assert value == pytest.approx(sg.gaussian_kl(gram, sparse), abs=1e-6)
        assert 0 <= value <= last
        last = value


def test_no_factor_of_the_pattern_is_nearer():
    x, rng = cloud(12), np.random.default_rng(1)
    gram, near = KERNEL.gram(x), nearest_predecessors(cloud(12), 3)
    pattern = [row[row >= 0] for row in near]
    best = sg.sic_factor(gram, pattern)
    for _ in range(20):
        other = best + 0.05 * rng.normal(size=best.shape) * (best != 0)
        other[np.diag_indices(12)] = np.abs(np.diagonal(other))
        assert sg.factor_kl(gram, other) > sg.factor_kl(gram, best)


def test_kl_of_two_gaussians_is_the_mean_log_ratio():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(2, 3, 3))
    p, q = (root @ root.T + np.eye(3) for root in roots)
    draws = rng.multivariate_normal(np.zeros(3), p, 200_000)
    ratio = multivariate_normal.logpdf(draws, cov=p) - multivariate_normal.logpdf(draws, cov=q)
    assert sg.gaussian_kl(p, q) == pytest.approx(ratio.mean(), abs=5 * ratio.std() / 447)
    assert sg.gaussian_kl(p, p) < 1e-12


def test_fitc_with_all_points_is_exact():
    x = cloud()
    np.testing.assert_allclose(sg.fitc_covariance(KERNEL, x, x), KERNEL.gram(x), atol=1e-8)
    assert np.allclose(np.diagonal(sg.fitc_covariance(KERNEL, x, x[:3])), 1.0)


@pytest.mark.compiled
@pytest.mark.parametrize("posterior_m", [0, 2, 4])
@pytest.mark.parametrize("likelihood", [Logit(), Poisson(), StudentT(0.3)], ids=str)
def test_bound_and_gradient_by_dense_algebra(likelihood, posterior_m):
    x, rng = cloud(15), np.random.default_rng(2)
    y = {Logit: np.where(rng.random(15) < 0.5, 1.0, -1.0), Poisson: rng.poisson(2.0, 15)}.get(
        type(likelihood), rng.normal(size=15)
    )
    problem = sg._DoubleKL(Vecchia(KERNEL, x, 4), likelihood, y, posterior_m)
    theta = 0.2 * rng.normal(size=problem.start().size)
    mean, weights = problem._split(theta)
    value, gradient = problem.loss(theta)
    dense = naive.bound(
        naive.dense_rows(problem.prior.neighbours, problem.prior_rows),
        naive.dense_rows(problem.neighbours, weights),
        mean,
        likelihood,
        problem.y,
    )
    assert -value == pytest.approx(dense, rel=1e-9)
    slope = approx_fprime(theta, lambda t: problem.loss(t)[0], 1e-6)
    np.testing.assert_allclose(gradient, slope, atol=1e-4 * max(1.0, np.abs(slope).max()))


def test_gaussian_noise_and_full_pattern_give_the_evidence_and_the_exact_posterior():
    x = cloud(25)
    y = sample_prior(KERNEL, x, 1, 0)[0]
    fit = sg.double_kl(KERNEL, x, y, GaussianNoise(0.1), 24, steps=400)
    gp = ExactGP(KERNEL, x, y, 0.1)
    assert fit.elbo == pytest.approx(gp.log_marginal_likelihood(), abs=1e-3)
    exact = gp.predict(x)
    np.testing.assert_allclose(fit.mean, exact.mean, atol=0.01)
    np.testing.assert_allclose(fit.variance, exact.variance, rtol=0.05)


def test_inducing_posterior_is_titsias_for_gaussian_noise_and_exact_with_all_points():
    x, y = cloud(25), np.random.default_rng(0).normal(size=25)
    found = sg.inducing_posterior(KERNEL, x, y, GaussianNoise(0.1), x[:6])
    reference = SparseGP(KERNEL, x, y, 0.1, x[:6])
    assert found.elbo == pytest.approx(reference.bound(), abs=1e-6)
    np.testing.assert_allclose(found.mean, reference.predict(x).mean, atol=1e-6)
    labels = np.sign(y)
    whole = sg.inducing_posterior(KERNEL, x, labels, Logit(), x)
    exact = variational(KERNEL, x, labels, Logit())
    assert whole.elbo == pytest.approx(exact.evidence, abs=1e-5)


def test_the_sparse_posterior_is_near_and_mean_field_and_inducing_points_are_not():
    x, kernel = cloud(100, seed=3), 4.0 * Matern32(0.3)
    f = sample_prior(kernel, x, 1, 0)[0]
    y = np.random.default_rng(0).poisson(np.exp(np.minimum(f, 8))).astype(float)
    exact = variational(kernel, x, y, Poisson())
    rival = sg.inducing_posterior(kernel, x, y, Poisson(), x[sg.point_order(x)[:9]])

    def gap(q):
        return np.sqrt(np.mean((np.sqrt(q.variance) - np.sqrt(exact.variance)) ** 2))

    ours = gap(sg.double_kl(kernel, x, y, Poisson(), 8))
    assert ours < gap(rival) / 5
    assert gap(sg.double_kl(kernel, x, y, Poisson(), 8, posterior_m=0)) > 5 * ours


@pytest.mark.parametrize("length", [0.2, 0.5])
def test_neighbours_beat_inducing_points_of_the_same_storage(length):
    x, kernel = cloud(300, seed=1), Matern32(length)
    gram, order = kernel.gram(x), sg.point_order(x)
    logdet = linalg.cholesky(gram).logdet()
    for m, least in ((8, 25), (16, 100)):
        fitc = sg.gaussian_kl(gram, sg.fitc_covariance(kernel, x, x[order[: m + 1]]))
        assert fitc > least * sg.neighbour_kl(Vecchia(kernel, x, m), logdet)


@pytest.mark.parametrize("case", ["repeated", "huge", "tiny", "one"])
def test_edges_stay_finite(case):
    x = {"repeated": np.tile(cloud(5), (3, 1)), "one": np.zeros((1, 2))}.get(case, cloud(15))
    kernel = {"huge": Matern32(1e6), "tiny": Matern32(1e-6)}.get(case, KERNEL)
    y = np.where(np.arange(len(x)) % 2, 1.0, -1.0)
    fit = sg.double_kl(kernel, x, y, Logit(), min(4, len(x)))
    assert np.isfinite([*fit.mean, *fit.variance, fit.elbo]).all()
    if case in ("repeated", "huge"):
        assert fit.prior.jitter > 0


def test_orders():
    x = cloud(20)
    for order in sg.ORDERS:
        assert sorted(sg.point_order(x, order)) == list(range(20))
    assert (np.diff(x[sg.point_order(x, "coordinate"), 0]) >= 0).all()


# 2. Periods


@settings(max_examples=25, deadline=None)
@given(
    period=st.integers(1, 9),
    k=st.integers(1, 6),
    omega=st.floats(-0.95, 0.95),
    lengthscale=st.floats(0.3, 3),
)
def test_likelihood_is_the_dense_one(period, k, omega, lengthscale):
    model = sg.QuasiPeriodic(sg.seasonal_row(period, lengthscale, 1.5, 0.2), omega)
    y = model.sample(k, 1, 0)[0]
    dense = naive.gaussian_log_density(y, model.covariance(k))
    assert model.log_likelihood(y) == pytest.approx(dense, rel=1e-9, abs=1e-9)


def test_forecast_is_the_dense_conditional():
    model = sg.QuasiPeriodic(sg.seasonal_row(6, 0.9, 2.0, 0.1), 0.8)
    y, whole = model.sample(4, 1, 1)[0], model.covariance(7)
    gain = np.linalg.solve(whole[:24, :24], whole[:24, 24:]).T
    found = model.forecast(y[-6:], 3)
    np.testing.assert_allclose(found.mean, gain @ y, atol=1e-8)
    spread = np.diagonal(whole[24:, 24:] - gain @ whole[:24, 24:])
    np.testing.assert_allclose(found.variance, spread, atol=1e-8)


def test_samples_have_the_covariance_and_continue():
    model = sg.QuasiPeriodic(sg.seasonal_row(4, 1.0, 1.0, 0.3), 0.6)
    draws = model.sample(3, 40_000, 0)
    np.testing.assert_allclose(np.cov(draws.T), model.covariance(3), atol=0.04)
    after = model.sample(1, 40_000, 0, last=np.array([5.0, 0.0, -5.0, 0.0]))
    np.testing.assert_allclose(after.mean(axis=0), [3, 0, -3, 0], atol=0.03)


def test_omega_of_highest_likelihood():
    model = sg.QuasiPeriodic(sg.seasonal_row(8, 0.9, 1.0, 0.2), 0.6)
    y = model.sample(20, 1, 3)[0]
    best = sg.best_omega(y.reshape(20, 8), model.spectrum)
    grid = np.linspace(-0.99, 0.99, 1981)
    values = [sg.QuasiPeriodic(model.row, w).log_likelihood(y) for w in grid]
    assert best == pytest.approx(grid[np.argmax(values)], abs=1e-3)


def test_nearly_periodic_and_independent_series():
    still = np.tile(np.sin(np.arange(10)), 12) + 1e-4 * np.random.default_rng(0).normal(size=120)
    assert sg.fit_quasi_periodic(still, 10).omega > 0.99
    fresh = sg.QuasiPeriodic(sg.seasonal_row(10, 0.9, 1.0, 0.1), 0.0).sample(100, 1, 0)[0]
    assert abs(sg.fit_quasi_periodic(fresh, 10).omega) < 0.1


def test_fit_finds_the_model_and_a_wrong_period_loses_omega():
    world = sg.QuasiPeriodic(sg.seasonal_row(20, 0.8, 4.0, 0.4), 0.7)
    fits = [sg.fit_quasi_periodic(y, 20) for y in world.sample(80, 5, 0)]
    assert np.mean([f.omega for f in fits]) == pytest.approx(0.7, abs=0.03)
    assert np.mean([f.variance for f in fits]) == pytest.approx(4.0, rel=0.3)
    assert np.mean([f.nugget for f in fits]) == pytest.approx(0.4, rel=0.1)
    assert all(
        f.log_likelihood > world.log_likelihood(y)
        for f, y in zip(fits, world.sample(80, 5, 0), strict=True)
    )
    wrong = [sg.fit_quasi_periodic(y, 21).omega for y in world.sample(80, 5, 0)]
    assert np.max(np.abs(wrong)) < 0.2


def test_bootstrap_is_as_wide_as_the_truth():
    world = sg.QuasiPeriodic(sg.seasonal_row(20, 0.8, 1.0, 0.1), 0.7)
    real = np.std([sg.fit_quasi_periodic(y, 20).omega for y in world.sample(40, 60, 0)])
    fitted = sg.fit_quasi_periodic(world.sample(40, 1, 7)[0], 20)
    assert sg.bootstrap_omega(fitted, 40, 60, 0).std() == pytest.approx(real, rel=0.35)


def test_singular_periods_get_jitter():
    model = sg.QuasiPeriodic(sg.seasonal_row(30, 20.0, 1.0, 0.0), 0.9)
    assert model.jitter > 0 and math.isfinite(model.log_likelihood(np.ones(60)))
    assert sg.QuasiPeriodic(sg.seasonal_row(30, 20.0, 1.0, 0.1), 0.9).jitter == 0.0


# 3. Tensors


CORE = np.array([[[1, 0.5], [-0.7, 0.3]], [[0.6, -1], [0.4, 0.8]]])


def tensor(n=150, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    i = rng.random((n, 3))
    a = np.column_stack([np.sin(2 * np.pi * i[:, 0]), np.cos(3 * np.pi * i[:, 0])])
    b = np.column_stack([np.exp(-2 * i[:, 1]), np.sin(4 * i[:, 1])])
    c = np.column_stack([np.cos(2 * np.pi * i[:, 2]), i[:, 2]])
    y = np.einsum("abc,na,nb,nc->n", CORE, a, b, c) / 0.9
    return i, y, y + noise * rng.standard_normal(n)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_messages_entry_by_entry(mode):
    i, _, y = tensor(40)
    i = np.round(i, 1)  # indices that repeat
    model = sg.FunctionalTucker([Matern32(0.5)] * 3, i, y, [2, 3, 1], 1)
    model.run(2)
    found = model._messages(mode)
    wanted = naive.messages(
        model.core, model.core_covariance, model.means, model.covariances, model._row, y,
        model.noise, mode,
    )  # fmt: skip
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-9, atol=1e-9)


def test_one_mode_of_rank_one_is_regression():
    t = np.sort(np.random.default_rng(0).random(40))
    y = np.sin(6 * t)
    model = sg.FunctionalTucker([Matern32(0.4)], t[:, None], y, 1, 0)
    model.core, model.core_covariance, model.noise = np.ones(1), np.zeros((1, 1)), 0.05
    model._update_mode(0)
    gp = ExactGP(Matern32(0.4), t[:, None], y, 0.05).predict(t[:, None])
    np.testing.assert_allclose(model.means[0][:, 0], gp.mean, atol=1e-8)
    np.testing.assert_allclose(model.covariances[0][:, 0, 0], gp.variance, atol=1e-8)
    new = model.predict([[0.31], [0.77]])
    exact = ExactGP(Matern32(0.4), t[:, None], y, 0.05).predict([[0.31], [0.77]])
    np.testing.assert_allclose(new.mean, exact.mean, atol=1e-8)
    np.testing.assert_allclose(new.variance, exact.variance, atol=1e-8)


def test_functions_beat_bins_unless_the_order_is_lost():
    i, _, y = tensor(300)
    new, truth, _ = tensor(300, seed=5)

    def error(model, at):
        return np.sqrt(np.mean((model.predict(at).mean - truth) ** 2))

    smooth = sg.fit_functional_tucker([Matern32(0.5)] * 3, i, y, starts=3, sweeps=30)
    ours = error(smooth, new)
    for bins in (4, 8, 16):
        plain = sg.fit_functional_tucker([None] * 3, sg.binned(i, bins), y, starts=2, sweeps=15)
        assert error(plain, sg.binned(new, bins)) > 2 * ours
    assert smooth.noise**0.5 == pytest.approx(0.05, rel=0.3)


def test_tensor_edges_stay_finite():
    model = sg.FunctionalTucker([Matern32(1e-3), None], [[0.5, 1.0]], [2.0], 2, 0).run(3)
    found = model.predict([[0.5, 1.0], [9.0, 7.0]])
    assert np.isfinite(found.mean).all() and (found.variance >= 0).all()
    same = sg.FunctionalTucker([Matern12(1e6)] * 2, np.ones((6, 2)), np.zeros(6), 1, 0).run(3)
    assert np.isfinite(same.training_error())


def test_bins_and_angles():
    assert sg.binned([[0.05], [0.99], [2.0]], 10).ravel().tolist() == pytest.approx(
        [0.05, 0.95, 0.95]
    )
    a = np.random.default_rng(0).normal(size=(9, 2))
    assert sg.largest_angle(a, a @ [[2.0, 1.0], [0.0, 3.0]]) < 1e-5
    assert sg.largest_angle(np.eye(4)[:, :1], np.eye(4)[:, 1:2]) == pytest.approx(90)


# Bad input

ROW = sg.seasonal_row(4, 1.0, 1.0, 0.1)
BAD = [
    lambda: sg.point_order(cloud(), "sorted"),
    lambda: sg.point_order([1.0, 2.0]),
    lambda: sg.gaussian_kl(np.eye(2), np.eye(3)),
    lambda: sg.gaussian_kl([[1.0, np.nan], [np.nan, 1.0]], np.eye(2)),
    lambda: sg.neighbour_kl(Vecchia(KERNEL, cloud(), 2), np.nan),
    lambda: sg.fitc_covariance(KERNEL, cloud(), np.ones((2, 3))),
    lambda: sg.sic_factor(np.eye(3), [[], [0]]),
    lambda: sg.sic_factor(np.eye(3), [[], [1], [0]]),
    lambda: sg.sic_factor(np.ones((2, 2)), [[], [0]]),
    lambda: sg.sic_factor(np.eye(3), [[], [0], [1, 1]]),
    lambda: sg.sic_factor(np.eye(3), [[], [0.5], []]),
    lambda: sg.factor_kl(np.eye(2), np.ones((2, 2))),
    lambda: sg.neighbour_kl("model", 0.0),
    lambda: sg.bootstrap_omega(None, 5, 5),
    lambda: sg.FunctionalTucker(Matern32(1.0), np.ones((3, 1)), np.ones(3)),
    lambda: sg.FunctionalTucker(["Matern"], np.ones((3, 1)), np.ones(3)),
    lambda: sg.FunctionalTucker([None], np.ones((3, 1)), np.ones(3)).run(2, np.nan),
    lambda: sg.factor_kl(np.eye(2), np.eye(3)),
    lambda: sg.factor_kl(np.eye(2), -np.eye(2)),
    lambda: sg.double_kl(KERNEL, cloud(), np.ones(30), "logit", 3),
    lambda: sg.double_kl(KERNEL, cloud(), np.zeros(30), Logit(), 3),
    lambda: sg.double_kl(KERNEL, cloud(), np.ones(29), Logit(), 3),
    lambda: sg.double_kl(KERNEL, cloud(), np.ones(30), Logit(), 0),
    lambda: sg.double_kl(KERNEL, cloud(), np.ones(30), Logit(), 3, posterior_m=-1),
    lambda: sg.double_kl(KERNEL, cloud(), np.ones(30), Logit(), 3, steps=0),
    lambda: sg.inducing_posterior(KERNEL, cloud(), np.ones(30), Logit(), np.ones((2, 3))),
    lambda: sg.inducing_posterior(KERNEL, cloud(), np.ones(30), None, cloud(3)),
    lambda: sg.seasonal_row(0, 1.0, 1.0, 0.1),
    lambda: sg.seasonal_row(4, -1.0, 1.0, 0.1),
    lambda: sg.seasonal_row(4, 1.0, 0.0, 0.1),
    lambda: sg.QuasiPeriodic([1.0, 0.5, 0.1], 0.5),
    lambda: sg.QuasiPeriodic([1.0, 2.0, 2.0], 0.5),
    lambda: sg.QuasiPeriodic(ROW, 1.0),
    lambda: sg.QuasiPeriodic(ROW, np.nan),
    lambda: sg.QuasiPeriodic(ROW, 0.5).log_likelihood([1.0, 2.0]),
    lambda: sg.QuasiPeriodic(ROW, 0.5).forecast([1.0], 2),
    lambda: sg.QuasiPeriodic(ROW, 0.5).forecast(np.ones(4), 0),
    lambda: sg.QuasiPeriodic(ROW, 0.5).sample(0, 1, 0),
    lambda: sg.as_blocks([], 3),
    lambda: sg.best_omega(np.ones((1, 4)), np.ones(4)),
    lambda: sg.best_omega(np.ones((2, 4)), np.zeros(4)),
    lambda: sg.fit_quasi_periodic(np.zeros(12), 4),
    lambda: sg.fit_quasi_periodic(np.ones(7), 4),
    lambda: sg.fit_quasi_periodic(np.full(12, np.nan), 4),
    lambda: sg.bootstrap_omega(sg.fit_quasi_periodic(np.arange(12.0), 4), 1, 5),
    lambda: sg.FunctionalTucker([Matern32(1.0)], np.ones((3, 2)), np.ones(3)),
    lambda: sg.FunctionalTucker([Gaussian(1.0)], np.ones((3, 1)), np.ones(3)),
    lambda: sg.FunctionalTucker([None], np.ones((3, 1)), np.ones(4)),
    lambda: sg.FunctionalTucker([None], np.ones((3, 1)), np.ones(3), 0),
    lambda: sg.FunctionalTucker([None], np.ones((3, 1)), np.ones(3), [1, 1]),
    lambda: sg.FunctionalTucker([None], np.ones((3, 1)), np.ones(3)).predict(np.ones((2, 2))),
    lambda: sg.FunctionalTucker([None], np.ones((3, 1)), np.ones(3)).factor(1, [0.0]),
    lambda: sg.fit_functional_tucker([None], np.ones((3, 1)), np.ones(3), starts=0),
    lambda: sg.binned(np.ones((3, 1)), 0),
    lambda: sg.binned(np.ones((3, 1)), 2, low=1.0, high=1.0),
    lambda: sg.largest_angle(np.ones((3, 1)), np.ones((4, 1))),
    lambda: sg.largest_angle(np.ones((1, 2)), np.ones((1, 2))),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_input_is_refused(number):
    with pytest.raises(ValueError):
        BAD[number]()
