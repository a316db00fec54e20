"""Events and causes: plain references, closed forms, peers, bad input; claims and controls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import BSpline
from scipy.optimize import approx_fprime, minimize

from kernellab.compute.kernels import Gaussian
from kernellab.compute.rates import log_log_slope
from kernellab.methods.density_and_calibration import events_and_causes as ec
from tests.naive import events_and_causes as naive

KERNEL = Gaussian(1.8)
BRANCHING = [[0.0, 0.0], [0.6, 0.2]]


def recording(horizon=1000.0, draw=0, latency=0.3):
    return ec.simulate_events(horizon, [0.8, 0.4], BRANCHING, latency, 0.15, draw)


# 1. Event streams


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        ("raised cosine", [0.7, 0.3, 0.15]),
        ("gaussian", [0.7, 0.4, 0.1]),
        ("gaussian", [0.5, 0.05, 0.3]),
        ("exponential", [0.7, 3.0]),
        ("exponential", [0.7, 0.01]),
    ],
)
def test_kernels_have_mass_a_and_true_derivatives(family, parameters):
    def value(t):
        return ec.delay_kernel(family, parameters, [t], 1.0)[0][0]

    assert quad(value, 0, 1, limit=200)[0] == pytest.approx(parameters[0], abs=1e-6)
    assert value(1.2) == 0 and value(-0.1) == 0
    delays = np.linspace(0.013, 0.987, 23)
    slopes = ec.delay_kernel(family, parameters, delays, 1.0)[1]
    for t, slope in zip(delays, slopes.T, strict=True):
        numeric = approx_fprime(
            np.array(parameters), lambda q, t=t: ec.delay_kernel(family, q, [t], 1.0)[0][0], 1e-7
        )
        assert np.allclose(slope, numeric, atol=1e-4)


def test_simulated_rates_delays_and_branching():
    events = recording(20000.0)
    rates = np.linalg.solve(np.eye(2) - np.array(BRANCHING), [0.8, 0.4])
    found = [times.size / 20000 for times in events]
    assert np.allclose(found, rates, rtol=0.05)
    assert all(np.all(np.diff(times) >= 0) and times[0] >= 0 for times in events)
    # B alone, triggered once by A: the excess of delays has the kernel's mass and mean
    events = ec.simulate_events(20000.0, [0.2, 0.0], [[0, 0], [0.5, 0]], 0.3, 0.15, 0)
    tables = ec.event_tables(events, 20000.0, 1.0, 0.01)
    excess = ec.excess_rate(tables, 1, 0)
    assert 0.01 * excess.sum() == pytest.approx(0.5, abs=0.04)
    assert np.sum(tables.delays * excess) / excess.sum() == pytest.approx(0.45, abs=0.02)


@pytest.mark.compiled
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0, 2), max_size=25),
    st.lists(st.floats(0, 2), max_size=25),
    st.sampled_from([0.05, 0.1, 0.5]),
)
def test_tables_are_the_naive_counts(a, b, step):
    cells, last = round(2 / step), round(0.5 / step)
    tables = ec.event_tables([np.array(a), np.array(b)], 2.0, 0.5, step)
    z = [naive.counts(times, cells, step) for times in (a, b)]
    for j in range(2):
        assert tables.counts[j] == len((a, b)[j])
        shifted = [z[j][: cells - t].sum() for t in range(1, last + 1)]
        assert np.array_equal(tables.before[j], shifted)
        for k in range(2):
            assert np.array_equal(tables.pairs[j, k], naive.lag_table(z[j], z[k], last))
            hits = [np.sum(z[j][t:] * z[k][: cells - t]) for t in range(1, last + 1)]
            assert np.array_equal(tables.hits[j, k], hits)


def test_loss_is_that_of_the_grid_and_its_gradient():
    events, rng = recording(30.0), np.random.default_rng(0)
    tables, phi = ec.event_tables(events, 30.0, 1.0, 0.05), rng.random((2, 20))
    z = [naive.counts(times, 600, 0.05) for times in events]
    for i in range(2):
        value, slope, slopes = tables.loss(i, 0.4, phi)
        assert value == pytest.approx(naive.grid_loss(z, 0.05, i, 0.4, phi), abs=1e-10)
        assert value == pytest.approx(ec.direct_loss(events, 30.0, 0.05, i, 0.4, phi), abs=1e-10)
        numeric = approx_fprime(
            np.concatenate([[0.4], phi.ravel()]),
            lambda q, i=i: tables.loss(i, q[0], q[1:].reshape(2, 20))[0],
            1e-6,
        )
        assert np.allclose(np.concatenate([[slope], slopes.ravel()]), numeric, atol=1e-4)


def test_without_triggering_the_rate_is_the_mean():
    rng = np.random.default_rng(0)
    tables = ec.event_tables([np.sort(rng.uniform(0, 2000, 2000))], 2000.0, 1.0, 0.05)
    fit = ec.fit_hawkes(tables)
    assert fit.branching[0, 0] < 0.1 and fit.baselines[0] == pytest.approx(1.0, abs=0.1)
    silent = ec.fit_hawkes(ec.event_tables([np.empty(0)], 10.0, 1.0, 0.1))
    assert silent.baselines[0] == pytest.approx(0, abs=1e-6)


def test_fit_finds_the_graph_and_the_baselines():
    fit = ec.fit_hawkes(ec.event_tables(recording(5000.0), 5000.0, 1.0, 0.02))
    assert np.allclose(fit.branching, BRANCHING, atol=0.06)
    assert np.allclose(fit.baselines, [0.8, 0.4], atol=0.06)
    shifted = ec.fit_hawkes(ec.event_tables(recording(5000.0)[::-1], 5000.0, 1.0, 0.02))
    assert np.allclose(shifted.branching, fit.branching[::-1, ::-1], atol=1e-3)


@pytest.mark.parametrize("draw", range(3))
def test_claim_delay_found_and_not_by_the_exponential(draw):
    tables = ec.event_tables(recording(10000.0, draw), 10000.0, 1.0, 0.02)
    fit, control = ec.fit_hawkes(tables), ec.fit_hawkes(tables, "exponential")
    bell = ec.fit_hawkes(tables, "gaussian")
    assert abs(fit.parameters[1, 0, 1:].sum() - 0.45) < 0.02
    assert abs(bell.parameters[1, 0, 1] - 0.45) < 0.02
    assert np.argmax(control.kernels[1, 0]) == 0
    assert fit.loss < control.loss - 0.3


def test_claim_bias_falls_with_the_cell():
    steps, bias = (0.1, 0.05, 0.025), []
    for step in steps:
        fits = [
            ec.fit_hawkes(ec.event_tables(recording(10000.0, draw), 10000.0, 1.0, step))
            for draw in range(3)
        ]
        bias.append(abs(np.mean([fit.parameters[1, 0, 1] for fit in fits]) - 0.3))
    assert log_log_slope(steps, bias) > 1


# 2. Direction of cause


def test_splines_are_scipys_positive_and_sum_to_one():
    basis, x = ec.SplineBasis(-1.0, 2.0, 9), np.linspace(-1, 2, 50)
    values = basis.matrix(x)
    knots = -1.0 + 0.5 * np.arange(-3, 10)
    wanted = BSpline.design_matrix(x, knots, 3).toarray()
    assert np.allclose(values, wanted) and values.min() >= 0
    assert np.allclose(values.sum(axis=1), 1)
    assert np.allclose(basis.matrix([-5.0, 9.0]), basis.matrix([-1.0, 2.0]))


def weights(rng, p=6):
    return rng.normal(size=p), rng.uniform(0.1, 2, p)


def test_natural_likelihood_is_the_normal_density():
    rng = np.random.default_rng(0)
    phi, y = ec.SplineBasis(-1.0, 1.0, 6).matrix(rng.uniform(-1, 1, 30)), rng.normal(size=30)
    w1, w2 = weights(rng)
    scale = 1 / np.sqrt(2 * phi @ w2)
    value, gradient = ec.natural_nll(phi, y, w1, w2)
    assert value == pytest.approx(naive.gaussian_nll(y, phi @ w1 * scale**2, scale))
    numeric = approx_fprime(
        np.concatenate([w1, w2]), lambda w: ec.natural_nll(phi, y, w[:6], w[6:])[0], 1e-7
    )
    assert np.allclose(gradient, numeric, atol=1e-3)
    assert ec.natural_nll(phi, y, w1, -w2)[0] == math.inf


def test_claim_concave_at_random_midpoints():
    rng = np.random.default_rng(1)
    phi, y = ec.SplineBasis(-1.0, 1.0, 6).matrix(rng.uniform(-1, 1, 30)), 2 * rng.normal(size=30)
    for _ in range(300):
        (a1, a2), (b1, b2) = weights(rng), weights(rng)
        middle = ec.natural_nll(phi, y, (a1 + b1) / 2, (a2 + b2) / 2)[0]
        ends = ec.natural_nll(phi, y, a1, a2)[0] + ec.natural_nll(phi, y, b1, b2)[0]
        assert middle <= ends / 2 + 1e-9


@pytest.mark.compiled
def test_compiled_sums_are_the_naive_likelihood():
    rng = np.random.default_rng(0)
    basis, x, y = ec.SplineBasis(-1.0, 1.0, 6), rng.uniform(-1, 1, 30), rng.normal(size=30)
    first, values = basis.local(x)
    w1, w2 = weights(rng)

    def sums(w):
        gradient, hessian = np.zeros(12), np.zeros((12, 12))
        value = ec._lsnm_sums(first, values, y, w[:6].copy(), w[6:].copy(), gradient, hessian)
        hessian[6:, :6] = hessian[:6, 6:].T
        return value, gradient, hessian

    w = np.concatenate([w1, w2])
    value, gradient, hessian = sums(w)
    wanted, wanted_gradient = ec.natural_nll(basis.matrix(x), y, w1, w2)
    assert value == pytest.approx(wanted) and np.allclose(gradient, wanted_gradient)
    numeric = np.array([(sums(w + e)[1] - sums(w - e)[1]) / 2e-6 for e in 1e-6 * np.eye(12)])
    assert np.allclose(hessian, numeric, rtol=1e-4, atol=1e-3)
    assert np.linalg.eigvalsh(hessian).min() > -1e-9
    assert sums(-w)[0] == math.inf


def test_newton_finds_the_minimum_of_bfgs():
    x, y, *_ = ec.simulate_pair("location and scale", 200, 3)
    x, y = ec.standardise(x), ec.standardise(y)
    fit = ec.fit_location_scale(x, y, 8, 1.0)
    phi, prior = fit.basis.matrix(x), ec._prior(8, 1.0)
    centre = np.concatenate([np.zeros(8), np.full(8, 0.5)])

    def objective(w):
        value, gradient = ec.natural_nll(phi, y, w[:8], w[8:])
        if not np.isfinite(value):
            return 1e10, np.zeros(16)
        pull = np.concatenate([prior @ (w - centre)[:8], prior @ (w - centre)[8:]])
        return value + 0.5 * pull @ (w - centre), gradient + pull

    found = minimize(objective, centre, jac=True, method="BFGS", options={"gtol": 1e-6})
    assert objective(np.concatenate([fit.w1, fit.w2]))[0] <= found.fun + 1e-6
    mean, scale = fit.at(x)
    assert fit.log_likelihood == pytest.approx(-naive.gaussian_nll(y, mean, scale), abs=1e-6)


def test_known_scale_is_weighted_least_squares():
    statsmodels = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    basis, x = ec.SplineBasis(-2.0, 2.0, 6), np.linspace(-2, 2, 4000)
    phi = basis.matrix(x)
    w2 = np.array([0.5, 1, 2, 3, 2, 1.0])
    v = phi @ w2
    y = np.sin(x) + rng.normal(size=x.size) / np.sqrt(2 * v)
    known = statsmodels.WLS(y, phi, weights=2 * v).fit()
    fit = ec.fit_location_scale(x, y, 10, 1e-3)
    mean, scale = fit.at(x)
    assert np.abs(mean - known.fittedvalues).max() < 0.12
    assert np.abs(scale * np.sqrt(2 * v) - 1).max() < 0.25


def test_constant_scale_is_ridge_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = 0.5 * x + 0.3 * rng.normal(size=300)
    fit = ec.fit_constant_scale(x, y, 8, 10.0)
    mean, scale = fit.at(x)
    assert np.ptp(scale) < 1e-12 and scale[0] == pytest.approx(0.3, abs=0.03)
    assert np.abs(mean - 0.5 * x)[np.abs(x) < 2].max() < 0.15
    assert fit.log_likelihood == pytest.approx(-naive.gaussian_nll(y, mean, scale), abs=0.1)


def accuracy(kind, model, pairs=25, noise="gaussian"):
    draws = [ec.simulate_pair(kind, 500, draw, noise)[:2] for draw in range(pairs)]
    return np.mean([ec.cause_direction(x, y, model).gap > 0 for x, y in draws])


def test_claim_directions_and_controls():
    for kind in ("location and scale", "scale only"):
        assert accuracy(kind, "location and scale") >= 0.8
        assert accuracy(kind, "location only") <= 0.6
    assert 0.25 < accuracy("linear Gaussian", "location and scale") < 0.75
    assert accuracy("location only", "location only") >= 0.75


def test_gap_changes_sign_with_the_columns_and_not_with_units():
    x, y, *_ = ec.simulate_pair("location and scale", 300, 4)
    gap = ec.cause_direction(x, y).gap
    assert ec.cause_direction(y, x).gap == pytest.approx(-gap, abs=1e-12)
    assert ec.cause_direction(7 + 3 * x, 100 * y).gap == pytest.approx(gap, abs=1e-6)


@pytest.mark.parametrize("noise", ec.NOISES)
@pytest.mark.parametrize("kind", ec.PAIRS)
def test_simulated_pairs_follow_their_functions(kind, noise):
    x, y, f, g = ec.simulate_pair(kind, 4000, 0, noise)
    e = (y - f(x)) / g(x)
    assert abs(e.mean()) < 0.08 and e.std() == pytest.approx(1, abs=0.08)
    assert abs(np.corrcoef(x, e)[0, 1]) < 0.06


# 3. Ratings


def balance_problem(draw=0, anchors=30):
    s = ec.simulate_ratings(draw)
    places = s.features[np.random.default_rng(draw).choice(8000, anchors, replace=False)]
    targets = KERNEL.matvec(places, s.features, np.full(8000, 1 / 8000))
    return s, places, KERNEL.gram(s.features[s.observed], places), targets


@pytest.mark.parametrize("slack", [1e-3, 1e-2])
def test_balance_meets_the_conditions_of_optimality(slack):
    _, _, h, t = balance_problem()
    balance = ec.balance_weights(h, t, slack)
    w, l = balance.weights, balance.multipliers  # noqa: E741
    left = w @ h / len(h) - t
    assert w.min() > 0 and w.mean() == pytest.approx(1)
    assert np.abs(left).max() <= 1.001 * slack
    strong = np.abs(l) > 0.5  # these conditions bind, on the side that l pushes from
    assert strong.any() and np.allclose(left[strong], -slack * np.sign(l[strong]), rtol=1e-3)
    log_w = np.log(w) - h @ l
    assert np.ptp(log_w) < 1e-6


def test_balance_is_the_entropy_minimum():
    rng = np.random.default_rng(0)
    h = rng.normal(size=(30, 2))
    t = np.array([0.3, -0.2])
    balance = ec.balance_weights(h, t, 1e-6)
    rules = [
        {"type": "eq", "fun": lambda w: w.mean() - 1},
        {"type": "eq", "fun": lambda w: w @ h / 30 - t},
    ]
    found = minimize(
        lambda w: np.sum(w * np.log(w)),
        np.ones(30),
        method="SLSQP",
        bounds=[(1e-9, None)] * 30,
        constraints=rules,
        options={"maxiter": 300, "ftol": 1e-12},
    )
    assert np.allclose(balance.weights, found.x, atol=1e-3)


def test_balanced_already_means_uniform_and_out_of_reach_is_refused():
    h = np.random.default_rng(0).normal(size=(50, 4))
    assert np.allclose(ec.balance_weights(h, h.mean(axis=0)).weights, 1)
    with pytest.raises(ValueError, match="targets must be means that weights reach"):
        ec.balance_weights(h, h.max(axis=0) + 1.0)


def test_a_warm_start_ends_at_the_same_weights():
    _, _, h, t = balance_problem()
    cold = ec.balance_weights(h, t)
    warm = ec.balance_weights(h, t, start=np.linspace(-1, 1, t.size))
    assert np.allclose(cold.weights, warm.weights, rtol=1e-3, atol=1e-3)


def test_greedy_takes_the_worst_function_first():
    s, places, h, t = balance_problem()
    chosen, balance = ec.greedy_anchors(KERNEL, s.features, s.observed, places, 5)
    assert chosen[0] == np.argmax(np.abs(h.mean(axis=0) - t)) and len(set(chosen)) == 5
    direct = ec.balance_weights(h[:, chosen], t[chosen])
    assert np.allclose(balance.weights, direct.weights, rtol=1e-3, atol=1e-3)
    only = np.zeros(30)
    only[7] = 1.0
    picked, _ = ec.greedy_anchors(KERNEL, s.features, s.observed, places, 1, relevance=only)
    assert picked[0] == 7


def test_true_chances_are_unbiased_and_doubly_robust_needs_one_truth():
    s = ec.simulate_ratings(0)
    rng, found, dr = np.random.default_rng(0), [], []
    for _ in range(300):
        seen = rng.random(8000) < s.propensity
        w = 1 / s.propensity[seen]
        found.append(np.sum(w * s.rating[seen]) / 8000)
        ones = np.ones(seen.sum())
        dr.append(ec.doubly_robust(s.rating[seen], ones, s.rating[seen], s.rating))
    assert np.mean(found) == pytest.approx(s.rating.mean(), abs=4 * np.std(found) / 300**0.5)
    assert np.allclose(dr, s.rating.mean())  # right guesses: any weights
    zeros = ec.doubly_robust([1.0, 3.0], [0.5, 1.5], [0.0, 0.0], np.zeros(9))
    assert zeros == pytest.approx(2.5)


def test_logistic_weights_agree_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    s = ec.simulate_ratings(0)
    model = linear_model.LogisticRegression(C=1e3, tol=1e-10, max_iter=1000)
    chance = model.fit(s.features, s.observed).predict_proba(s.features)[s.observed, 1]
    wanted = 1 / chance
    assert np.allclose(
        ec.logistic_weights(s.features, s.observed), wanted / wanted.mean(), rtol=1e-3
    )


def test_factorisation_recovers_low_rank_and_follows_weights():
    rng = np.random.default_rng(0)
    truth = 3 + rng.normal(size=(40, 2)) @ rng.normal(size=(2, 30))
    user, item = np.divmod(np.arange(1200), 30)
    ones = np.ones(1200)
    found = ec.factorise(user, item, truth.ravel(), ones, 40, 30, 0, 3, 1e-3, 60)
    assert np.abs(found - truth).max() < 0.05
    kept = rng.random(1200) < 0.7
    half = ec.factorise(user, item, truth.ravel(), kept.astype(float), 40, 30, 0, 2, 0.1)
    part = ec.factorise(user[kept], item[kept], truth.ravel()[kept], ones[kept], 40, 30, 0, 2, 0.1)
    assert np.allclose(half, part)


def test_error_relevance_is_ridge_regression():
    rng = np.random.default_rng(0)
    x, candidates, error = rng.normal(size=(50, 2)), rng.normal(size=(8, 2)), rng.normal(size=50)
    gram = KERNEL.gram(x, candidates)
    stacked = np.vstack([gram, np.eye(8)])
    wanted = np.linalg.lstsq(stacked, np.concatenate([error, np.zeros(8)]), rcond=None)[0]
    assert np.allclose(ec.error_relevance(KERNEL, x, error, candidates), np.abs(wanted))


def test_claim_balance_and_its_controls():
    errors = {name: [] for name in ("none", "logistic", "chosen", "loose")}
    ratios = []
    for draw in range(4):
        s = ec.simulate_ratings(draw)
        seen, rng = s.rating[s.observed], np.random.default_rng(1000 + draw)
        places = s.features[rng.choice(8000, 200, replace=False)]
        found = {
            "none": np.ones(seen.size),
            "logistic": ec.logistic_weights(s.features, s.observed),
            "chosen": ec.greedy_anchors(KERNEL, s.features, s.observed, places, 30)[1].weights,
            "loose": ec.greedy_anchors(KERNEL, s.features, s.observed, places, 30, 0.01)[1].weights,
        }
        for name, w in found.items():
            errors[name].append(np.mean(w * seen) - s.rating.mean())
        user, item = np.divmod(np.flatnonzero(s.observed), s.items)
        rmse = [
            np.mean((ec.factorise(user, item, seen, found[n], 100, 80, 0).ravel() - s.rating) ** 2)
            for n in ("chosen", "none")
        ]
        ratios.append(math.sqrt(rmse[0] / rmse[1]))
    size = {name: np.sqrt(np.mean(np.square(found))) for name, found in errors.items()}
    assert size["none"] > 3 * size["chosen"]
    assert size["none"] < 2 * size["loose"] and size["none"] < 1.2 * size["logistic"]
    assert np.mean(ratios) < 0.85


# Bad input


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ec.raised_cosine([0.5, 0.1], [0.1]), "parameters"),
        (lambda: ec.raised_cosine([0.5, 0.1, 0], [0.1]), "parameters"),
        (lambda: ec.truncated_gaussian([0.5, 0.1, 0.1], [0.1], 0), "window"),
        (lambda: ec.truncated_exponential([0.5, -1], [0.1], 1), "parameters"),
        (lambda: ec.delay_kernel("square", [1], [0.1], 1), "family"),
        (lambda: ec.simulate_events(-1, [1], [[0]], 0.1, 0.1, 0), "horizon"),
        (lambda: ec.simulate_events(9, [1], [[1.2]], 0.1, 0.1, 0), "spectral radius"),
        (lambda: ec.simulate_events(9, [-1], [[0.2]], 0.1, 0.1, 0), "at least 0"),
        (lambda: ec.simulate_events(9, [1], [[0, 1]], 0.1, 0.1, 0), "branching"),
        (lambda: ec.to_cells([2.0], 1.0, 0.1), "times"),
        (lambda: ec.to_cells([np.nan], 1.0, 0.1), "times"),
        (lambda: ec.event_tables([], 1.0), "events"),
        (lambda: ec.event_tables([[0.1]], 10.0, 1.0, 3.0), "step"),
        (lambda: ec.event_tables([[0.1]], 0.5, 1.0, 0.1), "step"),
        (lambda: ec.event_tables([[0.1]], 2.0).loss(1, 0.1, np.zeros((1, 100))), "i must"),
        (lambda: ec.event_tables([[0.1]], 2.0).loss(0, 0.1, np.zeros((1, 9))), "kernels"),
        (lambda: ec.direct_loss([[0.1]], 2.0, 0.1, 0, 0.1, np.zeros((2, 9))), "kernels"),
        (lambda: ec.fit_hawkes(ec.event_tables([[0.1]], 2.0), "square"), "family"),
        (lambda: ec.fit_stream(ec.event_tables([[0.1]], 2.0), 1), "i must"),
        (lambda: ec.SplineBasis(1.0, 0.0), "low"),
        (lambda: ec.SplineBasis(0.0, 1.0, 3), "count"),
        (lambda: ec.SplineBasis(0.0, 1.0).local([np.nan]), "x"),
        (lambda: ec.natural_nll(np.ones((3, 2)), [1, 2], [1, 1], [1, 1]), "y"),
        (lambda: ec.natural_nll(np.ones((3, 2)), [1, 2, 3], [1], [1, 1]), "w1"),
        (lambda: ec.fit_location_scale(np.ones(20), np.arange(20.0)), "x and y"),
        (lambda: ec.fit_location_scale(np.arange(5.0), np.arange(5.0)), "x and y"),
        (lambda: ec.fit_constant_scale(np.arange(20.0), np.arange(20.0), 12, -1.0), "ridge"),
        (lambda: ec.standardise(np.ones(3)), "constant"),
        (lambda: ec.cause_direction(np.arange(20.0), np.arange(20.0), "both"), "model"),
        (lambda: ec.simulate_pair("odd", 100, 0), "kind"),
        (lambda: ec.simulate_pair("scale only", 100, 0, "cauchy"), "noise"),
        (lambda: ec.simulate_pair("scale only", 100, 0, strength=-1), "strength"),
        (lambda: ec.simulate_ratings(0, share=0.0), "share"),
        (lambda: ec.simulate_ratings(0, users=1), "users"),
        (lambda: ec.logistic_weights(np.ones((3, 1)), np.ones(3, bool)), "observed"),
        (lambda: ec.logistic_weights(np.ones((3, 1)), [1, 0, 1]), "observed"),
        (lambda: ec.balance_weights(np.ones((3, 2)), [1.0]), "targets"),
        (lambda: ec.balance_weights(np.ones((3, 1)), [1.0], slack=0), "slack"),
        (lambda: ec.doubly_robust([1.0], [1.0, 2.0], [0.0], [0.0]), "weights"),
        (lambda: ec.factorise([0], [0], [1.0], [-1.0], 2, 2, 0), "weights"),
        (lambda: ec.factorise([0, 1], [0], [1.0], [1.0], 2, 2, 0), "user"),
        (lambda: ec.factorise([5], [0], [1.0], [1.0], 2, 2, 0), "user"),
        (lambda: ec.factorise([0.5], [0], [1.0], [1.0], 2, 2, 0), "user"),
        (lambda: ec.error_relevance(KERNEL, [[1.0]], [1.0, 2.0], [[1.0]]), "error"),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"count": 9}, "count"),
        ({"relevance": [-1.0, 0, 0]}, "relevance"),
        ({"relevance": [1.0]}, "relevance"),
    ],
)
def test_bad_anchors_are_refused(change, match):
    x = np.arange(8.0)[:, None]
    arguments = {"count": 2} | change
    with pytest.raises(ValueError, match=match):
        ec.greedy_anchors(KERNEL, x, np.arange(8) < 4, x[:3], **arguments)
