"""Trust: plain references, closed forms, peers, bad input; claims and controls."""

import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest, norm

from kernellab.compute.networks import dense_network, network_output
from kernellab.compute.rates import log_log_slope
from kernellab.datasets import digits
from kernellab.methods.density_and_calibration import predictions_you_can_trust as pt
from tests.naive import predictions_you_can_trust as naive


def forecasts(n=500, power=1.0, seed=0):
    rng = np.random.default_rng(seed)
    f = rng.random(n)
    return f, (rng.random(n) < f**power).astype(float)


def small_network(sizes=(6, 8, 8, 4), seed=0):
    rng = np.random.default_rng(seed)
    layers = dense_network(sizes, rng)
    return pt.Classifier([(w, rng.normal(size=b.size)) for w, b in layers])


@pytest.fixture(scope="module")
def trained():
    data, rng = digits(), np.random.default_rng(0)
    order = rng.permutation(len(data.x))
    net = pt.train_classifier(data.x[order[:700]], data.labels[order[:700]], rng=0)
    return data, order, net


@pytest.fixture(scope="module")
def restored():
    data, rng = digits(), np.random.default_rng(0)
    order = rng.permutation(len(data.x))
    prior = pt.fit_mixture(data.x[order[:600]], data.labels[order[:600]])
    truth = data.x[order[600:1200]]
    noisy = truth + 0.3 * rng.standard_normal(truth.shape)
    samples = pt.posterior_samples(prior, noisy, np.full(64, 0.3), 64, rng)
    fresh = pt.posterior_samples(prior, noisy, np.full(64, 0.3), 1, rng)[:, 0]
    return truth, samples.mean(axis=1), *pt.entry_intervals(samples, 0.1), fresh


def narrowed(restored, scale):
    truth, middle, lower, upper, _ = restored
    return truth, middle + scale * (lower - middle), middle + scale * (upper - middle)


# 0. Classifiers


def test_training_gradient_is_autograds():
    net, rng = small_network(), np.random.default_rng(1)
    x, wanted = rng.normal(size=(9, 6)), np.eye(4)[rng.integers(0, 4, 9)]

    def loss(layers):
        z = network_output(layers, x, lambda v: anp.maximum(v, 0.0))
        return -anp.mean(anp.sum(wanted * (z - anp.log(anp.sum(anp.exp(z), 1))[:, None]), 1))

    for ours, theirs in zip(
        pt._gradients(net.layers, x, wanted), autograd.grad(loss)(net.layers), strict=True
    ):
        assert all(np.allclose(a, b) for a, b in zip(ours, theirs, strict=True))


def test_network_learns_and_reports(trained):
    data, order, net = trained
    x, labels = data.x[order[700:]], data.labels[order[700:]]
    assert np.mean(net.scores(x).argmax(axis=1) == labels) > 0.93
    assert net.inputs == 64 and net.classes == 10 and net.features(x).shape == (len(x), 16)
    assert np.allclose(net.probabilities(x, 2.0).sum(axis=1), 1)
    flat = net.probabilities(x, 50.0).max(axis=1).mean()
    assert flat < net.probabilities(x, 1.0).max(axis=1).mean()
    linear = pt.train_classifier(x, labels, (), 30, step=0.1)
    assert np.allclose(linear.features(x), x) and len(linear.layers) == 1


def test_turning():
    images = np.zeros((2, 8, 8))
    images[:, 0, 3:5] = 1.0
    assert np.array_equal(pt.turned(images, 0), images) and pt.turned(images, 0) is not images
    quarter = pt.turned(images, 90)
    assert np.allclose(quarter[:, 3:5, 0], 1.0) or np.allclose(quarter[:, 3:5, 7], 1.0)


# 1. Smooth ECE


@pytest.mark.parametrize("width", [0.02, 0.1, 0.7])
def test_smoothing_is_the_sum_of_reflected_gaussians(width):
    f, y = forecasts(200, 2.0)
    held = pt.residuals(f, y)
    wanted = naive.smoothed_residual(f, y, width, held.places)
    assert np.allclose(held.curve(width), wanted, atol=2e-3)
    assert held.error(width) == pytest.approx(np.abs(wanted).mean(), abs=1e-4)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(3, 200), st.floats(0.3, 3))
def test_error_falls_with_width_and_meets_it(seed, n, power):
    f, y = forecasts(n, power, seed)
    held = pt.residuals(f, y)
    errors = [held.error(w) for w in np.geomspace(0.002, 2, 15)]
    assert np.all(np.diff(errors) < 1e-9)
    own = held.own_width()
    assert held.error(own) == pytest.approx(own, abs=2e-3)
    shuffle = np.random.default_rng(seed).permutation(n)
    assert pt.smooth_ece(f[shuffle], y[shuffle]) == pytest.approx(own, abs=1e-9)


def test_constant_forecast_and_edges():
    coin = np.tile([0.0, 1.0], 50)
    for width in (None, 0.01, 0.3, 2.0):
        assert pt.smooth_ece(np.full(100, 0.9), coin, width) == pytest.approx(0.4, abs=1e-6)
    assert pt.smooth_ece([0.0, 1.0], [0.0, 1.0]) < 1e-2
    assert pt.smooth_ece([0.0, 1.0], [1.0, 0.0], 0.01) == pytest.approx(1.0, abs=1e-6)


def test_diagram_area_is_the_error():
    f, y = forecasts(2000, 2.0)
    mean, outcome, density = pt.reliability_curve(f, y, 0.05)
    area = np.mean(np.abs(outcome - mean) * density)
    assert area == pytest.approx(pt.smooth_ece(f, y, 0.05), abs=1e-3)
    assert np.all((mean >= 0) & (mean <= 1) & (outcome >= 0) & (outcome <= 1))
    assert density.mean() == pytest.approx(1.0, abs=1e-6)
    near = (mean > 0.3) & (mean < 0.8)
    assert np.abs(outcome - mean**2)[near].max() < 0.12


def test_relplot_agrees():
    relplot = pytest.importorskip("relplot")
    for n, power, seed in ((300, 1.0, 0), (300, 2.0, 1), (3000, 0.5, 2), (3000, 1.0, 3)):
        f, y = forecasts(n, power, seed)
        assert pt.smooth_ece(f, y) == pytest.approx(float(relplot.smECE(f, y)), abs=1.2e-3)
        fixed = float(relplot.smECE_sigma(f, y, 0.1))
        assert pt.smooth_ece(f, y, 0.1) == pytest.approx(fixed, rel=0.02)


def test_knife_edge_moves_bins_only():
    y = np.tile([0.0, 1.0], 100)
    pushed = 0.5 + 1e-6 * (0.5 - y)
    assert pt.binned_ece(pushed, y) == pytest.approx(0.5, abs=1e-5)
    assert pt.binned_ece(pushed, y, 15) < 1e-5 and pt.smooth_ece(pushed, y) < 0.01


def test_slopes_in_n():
    sizes, own, fixed, off = [100, 1000, 10000], [], [], []
    for n in sizes:
        calibrated = [forecasts(n, 1.0, seed) for seed in range(12)]
        own.append(np.mean([pt.smooth_ece(*draw) for draw in calibrated]))
        fixed.append(np.mean([pt.smooth_ece(*draw, 0.05) for draw in calibrated]))
        off.append(np.std([pt.smooth_ece(*forecasts(n, 2.0, seed)) for seed in range(30)]))
    assert -0.40 < log_log_slope(sizes, own) < -0.28
    assert log_log_slope(sizes, fixed) < -0.43  # the control
    assert -0.65 < log_log_slope(sizes, off) < -0.38


# 2. Level sets


@pytest.mark.compiled
@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(8, 60))
def test_stumps_of_all_levels_are_the_naive_ones(seed, n):
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.random((n, 3)), 1), rng.random(n)  # with ties
    level = rng.integers(0, 3, n)
    columns = np.ascontiguousarray(x.T)
    found = np.zeros((3, 5))
    pt._level_stumps(columns, np.argsort(columns, axis=1), level, y, 2, found)
    for v in range(3):
        own = level == v
        assert found[v, 4] == own.sum()
        if own.sum() == 0:
            continue
        loss, j, *_ = naive.best_stump(x[own], y[own], 2)
        feature, threshold, below, above, _ = found[v]
        if j < 0:
            assert feature == -1
            continue
        left = x[own][:, int(feature)] <= threshold
        ours = np.sum((y[own] - np.where(left, below, above)) ** 2)
        assert ours == pytest.approx(loss, abs=1e-9)


@pytest.mark.parametrize("learner", pt.LEARNERS)
def test_boosting_falls_each_round_and_stays_on_the_grid(learner):
    x, y, _ = pt.hidden_groups(800, 0)
    model = pt.level_set_boost(x, y, 12, learner)
    assert np.all(np.diff(model.losses) < 0)
    trace = model.trace(x)
    assert np.allclose(trace * 12, np.round(trace * 12)) and trace.min() >= 0 and trace.max() <= 1
    assert np.allclose(np.mean((trace - y) ** 2, axis=1), model.losses)
    assert np.array_equal(model.predict(x), trace[-1])
    assert len(pt.level_set_boost(x, y, 12, learner, rounds=0).rounds) == 0


def test_a_gap_is_worth_its_square():
    """max over eta of E(y - v)^2 - E(y - v - eta h)^2 = E[h (y - v)]^2 / E[h^2]."""
    rng = np.random.default_rng(0)
    y, h, v = rng.random(50), rng.normal(size=50), 0.4
    best = minimize(lambda eta: np.mean((y - v - eta[0] * h) ** 2), [0.0]).fun
    gain = np.mean((y - v) ** 2) - best
    assert gain == pytest.approx(np.mean(h * (y - v)) ** 2 / np.mean(h**2), rel=1e-5)


def test_group_gaps_and_groups():
    x, y, _ = pt.hidden_groups(400, 0)
    groups = pt.threshold_groups(x)
    assert groups.shape == (400, 73) and groups[:, 0].all()
    predicted = np.round(4 * np.random.default_rng(0).random(400)) / 4
    found = pt.group_gaps(predicted, y, groups, 4)
    for g in (0, 5, 40):
        for v in range(5):
            own = (groups[:, g] > 0) & (predicted == v / 4)
            assert found[g, v] == pytest.approx(np.sum((y - predicted)[own]) / 400)
    assert pt.threshold_groups(x, (0.3, 0.6), pairs=False).shape == (400, 25)


def boosted(learner, seed, levels=20):
    x, y, _ = pt.hidden_groups(4000, seed)
    test_x, test_y, mean = pt.hidden_groups(8000, 900)
    model = pt.level_set_boost(x[:3000], y[:3000], levels, learner)
    held = np.mean((model.trace(x[3000:]) - y[3000:]) ** 2, axis=1)
    trace, groups = model.trace(test_x), pt.threshold_groups(test_x)
    kept = trace[np.argmin(held)]
    gaps = [np.abs(pt.group_gaps(f, test_y, groups, levels)).max() for f in (trace[0], kept)]
    return gaps[0] / gaps[1], np.mean((kept - test_y) ** 2) - np.mean((mean - test_y) ** 2)


def test_stumps_multicalibrate_and_constants_do_not():
    for seed in range(3):
        factor, above = boosted("stumps", seed)
        assert factor >= 4 and above < 0.004
        assert boosted("constant", seed)[0] < 4 and boosted("linear", seed)[1] > 0.004


def test_a_linear_class_reaches_a_linear_target():
    rng = np.random.default_rng(0)
    x = rng.random((4000, 3))
    y = 0.2 + 0.3 * x[:, 0] + 0.3 * x[:, 1]
    model = pt.level_set_boost(x, y, 50, "linear", tolerance=1e-7)
    assert model.losses[-1] < 2 * (1 / 50) ** 2 / 12


def test_scikit_learn_needs_the_interaction():
    """As many additive stumps at rate 0.1 stay behind: they cannot express pairs of columns."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    x, y, _ = pt.hidden_groups(3000, 0)
    test_x, test_y, _ = pt.hidden_groups(8000, 900)
    model = pt.level_set_boost(x, y, 20, rounds=6)
    peer = ensemble.GradientBoostingRegressor(n_estimators=6 * 20, max_depth=1).fit(x, y)
    ours = np.mean((model.predict(test_x) - test_y) ** 2)
    assert ours < np.mean((peer.predict(test_x) - test_y) ** 2)


# 3. Evidence


@pytest.mark.compiled
@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 4))
def test_depth_is_the_naive_walk(seed, n, d):
    rng = np.random.default_rng(seed)
    points, queries = rng.normal(size=(n, d)), rng.normal(size=(5, d))
    labels, predicted, wanted = (rng.integers(0, 2, k) for k in (n, n, 5))
    depth, nearest = pt.neighbour_depth(queries, wanted, points, labels, predicted)
    for i in range(5):
        count, distance = naive.depth(queries[i], wanted[i], points, labels, predicted)
        assert depth[i] == count and nearest[i] == pytest.approx(distance)


def test_sdm_contains_softmax_and_keeps_the_order():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 5)) * 4
    softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert np.allclose(pt.sdm(z, np.e - 2, 1.0), softmax, atol=1e-12)
    assert np.allclose(pt.sdm(z, 7.0, 0.0), 0.2)
    q, d = rng.integers(0, 100, 30), rng.uniform(0.1, 1, 30)
    found = pt.sdm(z, q, d)
    powers = (2.0 + q)[:, None] ** (d[:, None] * (z - z.max(axis=1, keepdims=True)))
    assert np.allclose(found, powers / powers.sum(axis=1, keepdims=True))
    assert np.array_equal(found.argmax(axis=1), z.argmax(axis=1))
    assert np.isfinite(pt.sdm(1e3 * z, 1e6, 1.0)).all()


def test_quantile_is_the_share_of_farther_calibration_points(trained):
    data, order, net = trained
    train, held, test = order[:700], order[700:1000], order[1000:1050]
    evidence = pt.gather_evidence(net, data.x[train], data.labels[train], data.x[held])
    scores, depth, quantile = evidence.measure(data.x[test])
    wanted = scores.argmax(axis=1)
    distances = np.linalg.norm(
        net.features(data.x[test])[:, None] - net.features(data.x[train]), axis=2
    ).min(axis=1)
    for i in range(50):
        known = evidence.distances[wanted[i]]
        expected = np.mean(known >= distances[i] - 1e-9) if depth[i] else 0.0
        assert quantile[i] == pytest.approx(expected, abs=1e-9)
    assert np.allclose(evidence.score(data.x[test]), quantile * np.log(2 + depth))
    assert np.allclose(evidence.probabilities(data.x[test]).sum(axis=1), 1)
    far = evidence.measure(100 + data.x[test])
    assert np.all(far[2] == 0)


def test_evidence_accepts_less_of_what_is_strange():
    data, ratios = digits(), []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        hidden = np.isin(data.labels, rng.choice(10, 2, replace=False))
        names = np.unique(data.labels[~hidden], return_inverse=True)[1]
        x, order = data.x[~hidden], rng.permutation((~hidden).sum())
        train, held, test = order[:700], order[700:1000], order[1000:]
        net = pt.train_classifier(x[train], names[train], rng=seed)
        evidence = pt.gather_evidence(net, x[train], names[train], x[held])
        noisy = x[test] + 0.3 * rng.standard_normal((len(test), 64))

        def shares(score, held=x[held], strange=(noisy, data.x[hidden])):
            limit = pt.acceptance_threshold(score(held), 0.8)
            return np.array([np.mean(score(s) >= limit) for s in strange])

        def softmax(points, net=net):
            top = np.sort(net.scores(points), axis=1)
            return -np.log(np.exp(top[:, :-1] - top[:, -1:]).sum(axis=1))

        ratios.append(shares(evidence.score) / shares(softmax))
    assert np.all(np.mean(ratios, axis=0) < 0.9) and np.mean(ratios, axis=0)[0] < 0.6


def test_thresholds():
    score = np.arange(10.0)
    assert pt.acceptance_threshold(score, 0.3) == 7.0
    assert pt.acceptance_threshold(score, 1.0) == 0.0
    assert np.mean(score >= pt.acceptance_threshold(score, 0.0)) <= 0.1


# 4. Intervals


def test_posterior_is_exact_for_one_and_two_laws():
    rng = np.random.default_rng(0)
    one = pt.Mixture(np.ones(1), np.array([[1.0, -1.0]]), np.array([[[1.0, 0.6], [0.6, 2.0]]]))
    samples = pt.posterior_samples(one, [[2.0, 0.0]], [0.5, 1.0], 40000, rng)[0]
    gain = one.covariances[0] @ np.linalg.inv(one.covariances[0] + np.diag([0.25, 1.0]))
    wanted = one.means[0] + gain @ (np.array([2.0, 0.0]) - one.means[0])
    assert np.allclose(samples.mean(axis=0), wanted, atol=0.02)
    assert np.allclose(np.cov(samples.T), one.covariances[0] - gain @ one.covariances[0], atol=0.02)
    two = pt.Mixture(np.array([0.3, 0.7]), np.array([[-1.0], [1.0]]), np.full((2, 1, 1), 0.01))
    samples = pt.posterior_samples(two, [[0.0]], [1.0], 40000, rng)[0]
    assert np.mean(samples < 0) == pytest.approx(0.3, abs=0.02)


def test_fresh_samples_fall_inside(restored):
    truth, _, lower, upper, fresh = restored
    inside = np.mean((fresh >= lower) & (fresh <= upper))
    assert inside == pytest.approx(1 - 2 * 3 / 65, abs=0.01) and inside >= 0.9
    assert truth.shape == lower.shape


def test_p_value_is_mapies_and_grows():
    for risk, n, eps in ((0.02, 100, 0.1), (0.0, 30, 0.05), (0.09, 400, 0.1), (0.2, 50, 0.1)):
        value = pt.binomial_p_value(risk, n, eps)
        assert 0 <= value <= 1 and value <= pt.binomial_p_value(risk + 0.01, n, eps) + 1e-12
    module = pytest.importorskip("mapie.risk_control.methods")
    for risk, n in ((0.02, 100), (0.05, 320), (0.0, 64)):
        peer = module.compute_hoeffding_bentkus_p_value(np.array([risk]), n, 0.1)
        assert pt.binomial_p_value(risk, n, 0.1) == pytest.approx(min(float(peer.min()), 1), 1e-6)


def test_allowed_risk_is_the_largest():
    for n, eps, delta in ((50, 0.1, 0.1), (320, 0.05, 0.01), (1000, 0.2, 0.3)):
        risk = pt.allowed_risk(n, eps, delta)
        assert pt.binomial_p_value(risk, n, eps) <= delta
        assert pt.binomial_p_value(risk + 1e-6 + 1 / n, n, eps) > delta or risk > eps - 1 / n
    assert pt.allowed_risk(5, 0.1, 0.01) == -1.0


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.05, 0.4))
def test_width_is_the_least_that_keeps_the_loss(seed, eps):
    rng = np.random.default_rng(seed)
    outside = rng.normal(size=(200, 5)) - 0.5
    shape = rng.random(5) * (seed % 2)
    widths = pt.rcps_width(outside, eps, 0.1, shape)
    risk = pt.allowed_risk(200, eps, 0.1)
    assert np.mean(outside > widths) <= risk and widths.min() >= 0
    if widths.min() > 1e-6:
        assert np.mean(outside > widths - 1e-6) > risk - 1e-3
    assert np.all(pt.rcps_width(outside, min(eps + 0.1, 0.6), 0.1, shape) <= widths + 1e-12)


def test_convex_bound_is_one_outside(restored):
    truth, lower, upper = narrowed(restored, 0.5)
    for gamma in (0.0, 0.3, 0.9):
        for widths in (np.zeros(64), np.linspace(0, 0.3, 64)):
            bound = pt.convex_bound(truth, lower, upper, widths, gamma)
            outside = pt.excess(truth, lower, upper) > widths
            assert np.all(bound[outside] >= 1 - 1e-9) and bound.min() >= 0


@pytest.mark.parametrize(("eps", "gamma"), [(0.3, 0.5), (0.05, 0.3), (0.1, 0.7)])
def test_group_widths_solve_the_convex_program(restored, eps, gamma):
    """Two groups: for each widening of one, the least of the other; then the best pair."""
    truth, lower, upper = (part[:30] for part in narrowed(restored, 0.5))
    groups, odds = (np.arange(64) % 3 > 0).astype(int), gamma / (1 - gamma)
    sizes = np.bincount(groups) / 64

    def over(first, second):
        widths = np.array([first, second])[groups]
        return pt.convex_bound(truth, lower, upper, widths, gamma).mean() - eps

    def length(first):
        second = brentq(lambda w: over(first, w), 0, 100) if over(first, 0) > 0 else 0.0
        return sizes @ [first, second] if over(first, second) < 1e-6 else np.inf

    enough = brentq(lambda w: over(w, 100.0), 0, 100) if over(0, 100.0) > 0 else 0.0
    best = minimize_scalar(length, bounds=(enough + 1e-6, enough + 2), options={"xatol": 1e-5}).fun
    widths = pt.group_widths(truth, lower, upper, groups, eps, gamma)
    assert naive.bound_mean(truth, lower, upper, widths, odds) <= eps + 1e-6
    assert widths.mean() == pytest.approx(best, rel=2e-3)
    lax = pt.group_widths(truth, lower, upper, groups, 1.0, 0.0)
    assert lax.max() <= widths.max()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-6, 6), st.sampled_from([0.0, 0.5, 0.95]))
@example(9447, 0.0, 0.95)  # the solver alone stops at 0.1011
def test_group_widths_keep_to_the_bound_in_any_unit(seed, unit, gamma):
    rng = np.random.default_rng(seed)
    n, groups = int(rng.integers(1, 40)), np.arange(12) % int(rng.integers(1, 13))
    truth = 10**unit * rng.standard_cauchy((n, 12))
    half = np.abs(truth).mean() * rng.random((n, 12)) * rng.choice([0.0, 1.0])
    widths = pt.group_widths(truth, -half, half, groups, 0.1, gamma)
    assert np.isfinite(widths).all() and widths.min() >= 0
    assert pt.convex_bound(truth, -half, half, widths, gamma).mean() <= 0.1 + 1e-5


def test_groups_are_equal_and_ranked(restored):
    outside = pt.excess(*narrowed(restored, 0.5))
    groups = pt.pixel_groups(outside, 4)
    assert np.array_equal(np.bincount(groups), [16] * 4)
    shares = [(outside[:, groups == k] > 0).mean() for k in range(4)]
    assert np.all(np.diff(shares) > 0)


def test_risk_holds_over_splits_and_fails_without_the_bound(restored):
    parts = narrowed(restored, 0.5)
    outside = pt.excess(*parts)
    risks = {"rcps": [], "k-rcps": [], "mean": []}
    for draw in range(100):
        own = np.random.default_rng(draw).integers(0, len(outside), 320)
        few = [part[own] for part in parts]
        for name, k in (("rcps", 1), ("k-rcps", 4)):
            widths = pt.calibrate_intervals(*few, 0.1, 0.1, groups=k, gammas=(0.5,))
            risks[name].append(np.mean(outside > widths))
        risks["mean"].append(np.mean(outside > np.quantile(np.maximum(outside[own], 0), 0.9)))
    failures = {name: np.mean(np.array(values) > 0.1) for name, values in risks.items()}
    allowed = 0.1 + 2 * math.sqrt(0.09 / 100)
    assert max(failures["rcps"], failures["k-rcps"]) <= allowed < failures["mean"]


def test_groups_shorten_unless_pixels_are_alike(restored):
    places = np.argsort(np.random.default_rng(5).random(restored[0].shape), axis=1)
    ratios = {True: [], False: []}
    for shuffled in ratios:
        parts = narrowed(restored, 0.5)
        if shuffled:
            parts = [np.take_along_axis(part, places, axis=1) for part in parts]
        for draw in range(8):
            own = np.random.default_rng(draw).integers(0, len(places), 320)
            few = [part[own] for part in parts]
            widths = [pt.calibrate_intervals(*few, 0.05, groups=k).mean() for k in (1, 8)]
            length = np.mean(parts[2] - parts[1])
            ratios[shuffled].append((length + 2 * widths[1]) / (length + 2 * widths[0]))
    assert np.mean(ratios[False]) < 0.95 < np.mean(ratios[True])


# 5. Propagation


def test_linear_networks_are_exact():
    net, x = small_network((6, 4)), np.arange(6.0)
    mean, cov = pt.propagate(net, x, 0.7)
    weights = net.layers[0][0]
    assert np.allclose(mean, net.scores(x[None])[0], atol=1e-12)
    assert np.allclose(cov, 0.49 * weights.T @ weights, atol=1e-12)
    for rule in ("sdp", "moments"):
        m, v = pt.propagate_diagonal(net, x, 0.7, rule)
        assert np.allclose(m, mean) and np.allclose(v, np.diag(cov))
    assert np.allclose(pt.propagate_cauchy(net, x, 0.7)[1], 0.7 * np.abs(weights).sum(axis=0))


def test_jacobian_by_finite_differences():
    net, x = small_network(), np.random.default_rng(3).normal(size=6)
    mean, jacobian = pt._linearised(net, x)
    numeric = [
        (net.scores([x + 1e-6 * e]) - net.scores([x - 1e-6 * e]))[0] / 2e-6 for e in np.eye(6)
    ]
    assert np.allclose(jacobian, numeric, atol=1e-6)
    cov = pt.propagate(net, x, 0.3)[1]
    assert np.allclose(cov, 0.09 * jacobian.T @ jacobian)
    assert np.allclose(mean, net.scores([x])[0])


def test_relu_moments_by_quadrature():
    for m, v in ((0.4, 1.0), (-2.0, 0.5), (3.0, 0.1)):
        law = norm(m, math.sqrt(v))
        first = quad(lambda t, law=law: t * law.pdf(t), 0, 12)[0]
        second = quad(lambda t, law=law: t * t * law.pdf(t), 0, 12)[0]
        mean, variance = pt.relu_moments([m], [v])
        assert mean[0] == pytest.approx(first, abs=1e-8)
        assert variance[0] == pytest.approx(second - first**2, abs=1e-8)
    mean, variance = pt.relu_moments([1.0, -1.0], [0.0, 0.0])
    assert np.allclose(mean, [1, 0]) and np.allclose(variance, 0)


@pytest.mark.parametrize("mu", [0.0, 0.4, 1.5])
def test_passing_unchanged_is_nearest(mu):
    own = pt.relu_distance(mu, 1.0, mu, 1.0)
    assert own == pytest.approx(ndtr(-mu), abs=1e-9)
    others = [
        pt.relu_distance(mu, 1.0, mu + a, v)
        for a in np.linspace(-1, 1, 21)
        for v in np.linspace(0.4, 1.6, 25)
    ]
    assert own <= min(others) + 1e-6
    m, v = pt.relu_moments([mu], [1.0])
    assert pt.relu_distance(mu, 1.0, m[0], math.sqrt(v[0])) > own + 1e-3  # the control


def test_correlations_matter_and_linearising_ends(trained):
    data, order, net = trained
    off = {}
    for noise in (0.01, 0.1, 0.3):
        for rule in ("full", "sdp", "moments"):
            parts = []
            for k in range(8):
                x = data.x[order[1000 + k]]
                scores = net.scores(x + noise * np.random.default_rng(k).normal(size=(1500, 64)))
                if rule == "full":
                    mean, cov = pt.propagate(net, x, noise)
                    spread = np.sqrt(np.diag(cov))
                else:
                    mean, variance = pt.propagate_diagonal(net, x, noise, rule)
                    spread = np.sqrt(variance)
                parts += [
                    pt.distance_to_normal(z, m, s) / z.std()
                    for z, m, s in zip(scores.T, mean, spread, strict=True)
                ]
            off[noise, rule] = np.mean(parts)
    for noise in (0.01, 0.1, 0.3):
        assert off[noise, "full"] < 0.25 < min(off[noise, "sdp"], off[noise, "moments"])


@pytest.mark.parametrize("law", ["gaussian", "cauchy"])
def test_pairs_by_counting(trained, law):
    data, order, net = trained
    x, rng = data.x[order[1003]], np.random.default_rng(0)
    noise = 0.02 if law == "gaussian" else 1e-4
    grain = rng.normal(size=(4000, 64)) if law == "gaussian" else rng.standard_cauchy((4000, 64))
    near = np.argsort(net.scores([x])[0])[-3:]
    scores = net.scores(x + noise * grain)
    ahead = pt.pairwise_probability(net, x, noise, law)
    assert np.allclose(ahead + ahead.T, 1) and np.allclose(np.diag(ahead), 0.5)
    for i in near:
        for j in near:
            if i != j:
                counted = np.mean(scores[:, i] > scores[:, j])
                assert ahead[i, j] == pytest.approx(counted, abs=0.04)


def test_distance_to_normal():
    levels = ndtri((np.arange(5000) + 0.5) / 5000)
    assert pt.distance_to_normal(levels, 0.0, 1.0) < 1e-12
    assert pt.distance_to_normal(levels + 2, 0.0, 1.0) == pytest.approx(2.0)
    assert pt.distance_to_normal(2 * levels, 0, 1) == pytest.approx(
        math.sqrt(2 / math.pi), rel=1e-2
    )


# 6. Certificates


def test_checkerboard_splits_evenly():
    left, right = pt.checkerboard(4, 6)
    assert left.size == right.size == 12 and not set(left) & set(right)
    assert 0 in left and 1 in right and 6 in right


def test_training_with_noise_is_ridge():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    weights, biases = pt.noisy_ridge(x, labels, 0.5).layers[0]
    many = np.repeat(x, 3000, axis=0) + 0.5 * rng.normal(size=(180000, 4))
    wanted = np.repeat(np.eye(3)[labels], 3000, axis=0)
    design = np.hstack([many, np.ones((180000, 1))])
    fitted = np.linalg.lstsq(design, wanted, rcond=None)[0]
    assert np.allclose(weights, fitted[:4], atol=5e-3) and np.allclose(biases, fitted[4], atol=5e-3)


@pytest.mark.parametrize("sizes", [(6, 3), (6, 5, 4, 3), (3, 8, 3)])
def test_votes_are_those_of_noisy_pixels(sizes):
    net, x = small_network(sizes), np.random.default_rng(2).normal(size=sizes[0])
    ours = pt.noisy_votes(net, x[None], 0.8, 6000, 1)[0] / 6000
    plain = naive.votes(net.layers, x, 0.8, 6000, np.random.default_rng(5)) / 6000
    assert ours.sum() == pytest.approx(1) and np.abs(ours - plain).max() < 0.035


def test_linear_votes_have_a_closed_form():
    rng = np.random.default_rng(0)
    w, b, x = rng.normal(size=8), 0.3, rng.normal(size=8)
    net = pt.Classifier([(np.stack([np.zeros(8), w], axis=1), np.array([0.0, b]))])
    p = ndtr((w @ x + b) / (0.7 * np.linalg.norm(w)))
    count = pt.noisy_votes(net, x[None], 0.7, 20000, 1)[0, 1]
    assert count / 20000 == pytest.approx(p, abs=0.012)
    # the certificate of the population is the distance to the boundary
    radius = pt.smoothing_radius(max(p, 1 - p), 0.7)
    assert radius == pytest.approx(abs(w @ x + b) / np.linalg.norm(w), rel=1e-9)


def test_lower_confidence_is_clopper_pearson():
    for count in (0, 1, 57, 99, 100):
        wanted = binomtest(count, 100, alternative="greater").proportion_ci(0.999).low
        assert pt.lower_confidence(count, 100, 1e-3) == pytest.approx(wanted, abs=1e-10)
    assert pt.lower_confidence(1000, 1000, 1e-3) == pytest.approx(1e-3**1e-3)
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low = proportion.proportion_confint(57, 100, alpha=2e-3, method="beta")[0]
    assert pt.lower_confidence(57, 100, 1e-3) == pytest.approx(low)
    assert np.allclose(pt.lower_confidence([57, 0], 100, 1e-3), [low, 0])


def test_the_ceiling_is_higher_by_root_two():
    p, half = 1e-3 ** (1 / 1000), 5e-4 ** (1 / 1000)
    one = pt.smoothing_radius(p, 0.5)
    assert pt.dual_radius(p, p, 0.5) / one == pytest.approx(math.sqrt(2))
    assert 1.38 < pt.dual_radius(half, half, 0.5) / one < math.sqrt(2)
    assert np.array_equal(pt.dual_radius([1, 1, 0], [1, 0, 0.9], 0.5), [np.inf, 0, 0])


def test_duplicated_pixels_give_both_schemes_the_same_radius():
    rng = np.random.default_rng(0)
    for _ in range(20):
        v, u, b = rng.normal(size=9), rng.normal(size=9), rng.normal()
        margin = v @ u + b / 2
        one = pt.smoothing_radius(ndtr(2 * margin / (0.5 * math.sqrt(2) * np.linalg.norm(v))), 0.5)
        p = ndtr(margin / (0.5 * np.linalg.norm(v)))
        assert pt.dual_radius(p, p, 0.5) == pytest.approx(one, abs=1e-9)


@settings(max_examples=50)
@given(st.floats(-1, 3), st.floats(-1, 3), st.integers(0, 1000))
def test_no_attack_inside_the_radius(left, right, seed):
    radius = pt.dual_radius(ndtr(left), ndtr(right), 0.5)
    share = np.random.default_rng(seed).random() * math.pi / 2
    pushes = [(radius / math.sqrt(2),) * 2, (radius * math.cos(share), radius * math.sin(share))]

    def votes(scale, push):
        return ndtr(left - scale * push[0] / 0.5) + ndtr(right - scale * push[1] / 0.5)

    if radius > 1e-3:
        assert all(votes(0.999, push) > 1 for push in pushes)
        assert votes(1.001, pushes[0]) < 1
    else:
        assert left + right < 1e-2


def test_root_of_squares_claims_too_much():
    left, right = 0.4, 2.0
    wrong = np.hypot(pt.smoothing_radius(ndtr(left), 0.5), pt.smoothing_radius(ndtr(right), 0.5))
    assert wrong > pt.dual_radius(ndtr(left), ndtr(right), 0.5)
    push = 0.999 * wrong / math.sqrt(2)
    assert ndtr(left - push / 0.5) + ndtr(right - push / 0.5) < 1


def test_two_half_votes_pass_the_ceiling_and_texture_stops_them():
    data, halves = digits(), pt.checkerboard(16, 16)
    large = data.images.repeat(2, axis=1).repeat(2, axis=2).reshape(-1, 256)
    texture = large.copy()
    texture[:, halves[1]] = np.random.default_rng(0).random((len(large), 128))
    train, test = np.arange(600), np.arange(600, 680)
    beyond = []
    for x in (large, texture):
        parts = [pt.noisy_ridge(x[train][:, h], data.labels[train], 0.5, 10) for h in halves]
        named, radius = pt.certify_dual(*parts, halves, x[test], 0.5, 1000, 1e-3, 1)
        beyond.append(np.mean((named == data.labels[test]) & (radius > 1.25)))
    whole = pt.noisy_ridge(large[train], data.labels[train], 0.5, 10)
    named, radius = pt.certify(whole, large[test], 0.5, 1000, 1e-3, 1)
    assert beyond[0] >= 0.12 and beyond[1] < 0.05 and radius.max() < 1.25
    assert np.mean(named == data.labels[test]) > 0.7


def test_two_bounds_share_the_chance_to_fail():
    """With every vote right, each half is certified at level alpha / 2, one vote at alpha."""
    sure = pt.Classifier([(np.zeros((1, 2)), np.array([1.0, 0.0]))])
    x, halves = np.zeros((1, 2)), (np.array([0]), np.array([1]))
    half = (0.01 / 2) ** (1 / 100)
    named, radius = pt.certify_dual(sure, sure, halves, x, 0.5, 100, 0.01, 0)
    assert named[0] == 0 and radius[0] == pytest.approx(pt.dual_radius(half, half, 0.5))
    whole = pt.Classifier([(np.zeros((2, 2)), np.array([1.0, 0.0]))])
    one = pt.certify(whole, x, 0.5, 100, 0.01, 0)[1]
    assert one[0] == pytest.approx(pt.smoothing_radius(0.01 ** (1 / 100), 0.5))


def test_certificates_survive_attacks():
    """Certified classes of noisy votes do not change under pushes inside the radius."""
    data, halves = digits(), pt.checkerboard(8, 8)
    parts = [pt.noisy_ridge(data.x[:600][:, h], data.labels[:600], 0.4, 10) for h in halves]
    x, rng = data.x[600:620], np.random.default_rng(0)
    named, radius = pt.certify_dual(*parts, halves, x, 0.4, 2000, 1e-3, 1)
    for _ in range(4):
        push = rng.normal(size=x.shape)
        moved = x + 0.9 * radius[:, None] * push / np.linalg.norm(push, axis=1, keepdims=True)
        votes = [
            pt.noisy_votes(c, moved[:, h], 0.4, 4000, 2) for c, h in zip(parts, halves, strict=True)
        ]
        winner = sum(votes).argmax(axis=1)
        assert np.array_equal(winner[radius > 0.02], named[radius > 0.02])


# Bad input

NET = small_network()
MIX = pt.Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
M = np.ones((4, 3))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NET.scores(np.ones(6)),
        lambda: NET.scores(np.ones((2, 5))),
        lambda: NET.features(np.full((2, 6), np.nan)),
        lambda: NET.probabilities(np.ones((2, 6)), 0),
        lambda: pt.train_classifier(M, [0, 1]),
        lambda: pt.train_classifier(M, [0, 1, 0.5, 1]),
        lambda: pt.train_classifier(M, [0, 1, 0, 1], steps=0),
        lambda: pt.as_labels("labels", [-1, 2]),
        lambda: pt.as_labels("labels", []),
        lambda: pt.turned(np.ones((8, 8)), 10),
        lambda: pt.turned(np.full((1, 8, 8), np.nan), 10),
        lambda: pt.turned(np.ones((1, 8, 8)), 1000),
        lambda: pt.smooth_ece([0.5, 1.5], [0, 1]),
        lambda: pt.smooth_ece([0.5], [2.0]),
        lambda: pt.smooth_ece([0.5, 0.5], [1.0]),
        lambda: pt.smooth_ece([], []),
        lambda: pt.smooth_ece([np.nan], [1]),
        lambda: pt.smooth_ece([0.5], [1], 0.0),
        lambda: pt.residuals([0.5], [1], cells=4),
        lambda: pt.reliability_curve([0.5], [1], -1),
        lambda: pt.binned_ece([0.5], [1], 0),
        lambda: pt.binned_ece([1.5], [1]),
        lambda: pt.binned_ece([0.5, 0.2], [1]),
        lambda: pt.hidden_groups(0, 0),
        lambda: pt.hidden_groups(5, -1),
        lambda: pt.level_set_boost(M, [0, 1, 0]),
        lambda: pt.level_set_boost(M, [0, 1, 0, 2]),
        lambda: pt.level_set_boost(M, np.zeros(4), levels=0),
        lambda: pt.level_set_boost(M, np.zeros(4), learner="trees"),
        lambda: pt.level_set_boost(M, np.zeros(4), tolerance=-1),
        lambda: pt.level_set_boost(np.empty((0, 3)), []),
        lambda: pt.level_set_boost(M, np.zeros(4), least=0),
        lambda: pt.level_set_boost(M, np.arange(4) / 4, least=1).predict(M[:, :2]),
        lambda: pt.group_gaps([0.5], [1.0], [[1.0], [1.0]], 4),
        lambda: pt.group_gaps([0.5], [1.0, 0.0], [[1.0]], 4),
        lambda: pt.group_gaps([0.5], [1.0], [[1.0]], 0),
        lambda: pt.threshold_groups(np.ones(3)),
        lambda: pt.threshold_groups(M, []),
        lambda: pt.neighbour_depth(M, [0, 1, 0], M, np.zeros(4), np.zeros(4)),
        lambda: pt.neighbour_depth(np.ones((4, 2)), np.zeros(4), M, np.zeros(4), np.zeros(4)),
        lambda: pt.neighbour_depth(M, np.zeros(4), M, np.zeros(3), np.zeros(4)),
        lambda: pt.sdm(M, -1, 1),
        lambda: pt.sdm(M, 1, 1.5),
        lambda: pt.sdm(np.full((1, 2), np.inf), 1, 1),
        lambda: pt.gather_evidence(NET, np.ones((3, 6)), [0, 1], np.ones((2, 6))),
        lambda: pt.gather_evidence(NET, np.ones((3, 5)), [0, 1, 2], np.ones((2, 6))),
        lambda: pt.acceptance_threshold([], 0.5),
        lambda: pt.acceptance_threshold([1.0], 1.5),
        lambda: pt.fit_mixture(M, [0, 0, 2, 2]),
        lambda: pt.fit_mixture(M, [0, 0, 1, 1], 0),
        lambda: pt.posterior_samples(MIX, [[1.0]], [1.0, 1.0], 3, 0),
        lambda: pt.posterior_samples(MIX, [[1.0, 1.0]], [1.0, 0.0], 3, 0),
        lambda: pt.posterior_samples(MIX, [[1.0, 1.0]], [1.0, 1.0], 0, 0),
        lambda: pt.entry_intervals(np.ones((3, 4))),
        lambda: pt.entry_intervals(np.ones((3, 4, 2)), 0.1),
        lambda: pt.entry_intervals(np.ones((3, 99, 2)), 1.5),
        lambda: pt.binomial_p_value(1.5, 10, 0.1),
        lambda: pt.binomial_p_value(0.1, 0, 0.1),
        lambda: pt.allowed_risk(10, 1.5, 0.1),
        lambda: pt.excess(M, M, M[:2]),
        lambda: pt.rcps_width(M, 0.1, 0.1),
        lambda: pt.rcps_width(np.ones((400, 3)), 0.1, 0.1, np.ones(2)),
        lambda: pt.pixel_groups(M, 4),
        lambda: pt.excess(M, M, M - 1),
        lambda: pt.convex_bound(M, M, M, 0.0, 1.0),
        lambda: pt.convex_bound(M, M, M, np.nan, 0.5),
        lambda: pt.group_widths(M, M, M, [0, 2, 2], 0.1),
        lambda: pt.group_widths(M, M, M, [0, 1], 0.1),
        lambda: pt.group_widths(M, M, M, [0, 1, 1], 0.0),
        lambda: pt.calibrate_intervals(M, M, M, 0.1, groups=5),
        lambda: pt.calibrate_intervals(M, M, M, 0.1, groups=2, optimise=4),
        lambda: pt.calibrate_intervals(M, M, M, 0.1, groups=2, optimise=2, gammas=()),
        lambda: pt.sdp_relu(np.ones(2), np.ones((3, 3))),
        lambda: pt.sdp_relu([], []),
        lambda: pt.propagate(NET, np.ones(5), 0.1),
        lambda: pt.propagate(NET, np.ones(6), -0.1),
        lambda: pt.propagate_diagonal(NET, np.ones(6), 0.1, "best"),
        lambda: pt.propagate_cauchy(NET, np.ones(6), -1),
        lambda: pt.relu_moments([1.0], [-1.0]),
        lambda: pt.relu_moments([1.0], [1.0, 2.0]),
        lambda: pt.pairwise_probability(NET, np.ones(6), 0.0),
        lambda: pt.pairwise_probability(NET, np.ones(6), 0.1, "uniform"),
        lambda: pt.relu_distance(0.0, 0.0, 0.0, 1.0),
        lambda: pt.relu_distance(0.0, 1.0, 0.0, 1.0, points=3),
        lambda: pt.distance_to_normal([], 0, 1),
        lambda: pt.distance_to_normal([1.0], 0, -1),
        lambda: pt.checkerboard(0, 4),
        lambda: pt.checkerboard(4, 1),
        lambda: pt.noisy_ridge(M, [0, 1, 0, 1], 0.0),
        lambda: pt.noisy_ridge(M, [0, 1, 0, 3], 0.1, 2),
        lambda: pt.noisy_votes(NET, np.ones((1, 6)), 0.0, 10, 0),
        lambda: pt.noisy_votes(NET, np.ones((1, 6)), 0.1, 0, 0),
        lambda: pt.noisy_votes(NET, np.ones(6), 0.1, 10, 0),
        lambda: pt.lower_confidence(11, 10, 0.1),
        lambda: pt.lower_confidence(np.nan, 10, 0.1),
        lambda: pt.lower_confidence(1, 10, 0.0),
        lambda: pt.smoothing_radius(1.5, 0.1),
        lambda: pt.smoothing_radius(0.5, 0.0),
        lambda: pt.dual_radius(0.5, np.nan, 1.0),
        lambda: pt.certify(NET, np.ones((1, 6)), 0.1, 1, 0.1, 0),
        lambda: pt.certify_dual(NET, NET, ([0], [1]), np.ones((1, 6)), 0.1, 10, 0.1, 0),
        lambda: pt.certify_dual(NET, NET, ([0, 9], [1]), np.ones((1, 6)), 0.1, 10, 0.1, 0),
        lambda: pt.certify_dual(NET, NET, ([0],), np.ones((1, 6)), 0.1, 10, 0.1, 0),
    ],
)
def test_bad_input_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\w+ .*(must|and)"):
        wrong()
