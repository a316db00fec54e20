"""Stein fitting: plain references, closed forms, quadrature, bad input; the claims and controls."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize

from kernellab.compute.kernels import Gaussian, InverseMultiquadric, Laplace
from kernellab.compute.mmd import median_bandwidth
from kernellab.compute.rates import log_log_slope
from kernellab.compute.stein import ksd_squared, stein_features, stein_gram
from kernellab.methods.mean_embeddings import stein_fitting as sf
from tests.naive import stein_fitting as naive

KERNEL = Gaussian(0.9)
COLONY = np.array([1.3, 1.0])
THETA = np.array([0.4, 1.5, 0.0])
SQUARE = np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)])


def cloud(n=40, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


# 1. The discrepancy as a quadratic form


@pytest.mark.parametrize("m", [None, 1, 7])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_objective_is_the_mean_of_the_pairs(d, m):
    x, scores = cloud(d=d), cloud(d=d, seed=1)
    boundary = None if m is None else cloud(m, d, seed=2)
    pairs = naive.truncated_gram(0.9, x, scores, boundary, 1e-3)
    objective = sf.SteinObjective(KERNEL, x, boundary=boundary)
    assert objective.value(scores) == pytest.approx(pairs.mean(), abs=1e-12)
    apart = sf.SteinObjective(KERNEL, x, boundary=boundary, unbiased=True)
    assert apart.value(scores) == pytest.approx(ksd_squared(pairs, unbiased=True), abs=1e-12)
    weights = np.random.default_rng(3).normal(size=40)
    weighted = sf.SteinObjective(KERNEL, x, weights, boundary=boundary)
    assert weighted.value(scores) == pytest.approx(weights @ pairs @ weights, abs=1e-10)


def test_without_boundary_points_it_is_the_kernel_stein_discrepancy():
    x = cloud(100)
    gram = stein_gram(KERNEL, x, 0.3 - x)
    value = sf.SteinObjective(KERNEL, x).value(0.3 - x)
    assert value == pytest.approx(ksd_squared(gram, unbiased=False), abs=1e-12)


def test_far_from_the_origin_no_digits_are_lost():
    x, scores, boundary = cloud(), cloud(seed=1), cloud(5, seed=2)
    near = sf.SteinObjective(KERNEL, x, boundary=boundary).value(scores)
    far = sf.SteinObjective(KERNEL, x + 1e4, boundary=boundary + 1e4).value(scores)
    assert far == pytest.approx(near, rel=1e-7)


def test_gradient_is_the_witness():
    x, scores, boundary = cloud(), cloud(seed=1), cloud(6, seed=2)
    weights = np.random.default_rng(0).random(40)
    objective = sf.SteinObjective(KERNEL, x, weights, boundary=boundary)
    value, gradient = objective.value_and_gradient(scores)
    assert value == pytest.approx(objective.value(scores))
    witness = objective.witness(scores, x)
    assert np.allclose(gradient, 2 * weights[:, None] * witness, atol=1e-12)
    numeric = approx_fprime(scores.ravel(), lambda s: objective.value(s.reshape(40, 2)), 1e-6)
    assert np.allclose(gradient.ravel(), numeric, atol=1e-4)


def test_witness_is_the_shared_stein_feature_and_vanishes_at_the_boundary():
    x, scores, boundary, at = cloud(), cloud(seed=1), cloud(6, seed=2), cloud(9, seed=3)
    free = sf.SteinObjective(KERNEL, x)
    assert np.allclose(free.witness(scores, at), stein_features(KERNEL, x, scores, at))
    held = sf.SteinObjective(KERNEL, x, boundary=boundary, ridge=1e-9)
    assert np.abs(held.witness(scores, boundary)).max() < 1e-6
    assert np.abs(free.witness(scores, boundary)).max() > 1e-2


def test_witness_has_the_largest_value_of_the_identity():
    # mean of s.g + div g is |g|^2, for the witness g (ridge to 0: g lies in the subspace)
    x, scores, boundary = cloud(), cloud(seed=1), cloud(6, seed=2)
    objective = sf.SteinObjective(KERNEL, x, boundary=boundary, ridge=1e-10)
    g, step = objective.witness(scores, x), 1e-5
    divergence = sum(
        (objective.witness(scores, x + e) - objective.witness(scores, x - e))[:, axis] / (2 * step)
        for axis, e in enumerate(step * np.eye(2))
    )
    mean = np.mean(np.sum(scores * g, axis=1) + divergence)
    assert mean == pytest.approx(objective.value(scores), rel=1e-5)


def test_linear_fit_is_the_least_value_and_its_landscape():
    x, boundary = cloud(), cloud(6, seed=2)
    model = sf.gaussian_mean_scores(x, 1.3)
    objective = sf.SteinObjective(KERNEL, x, boundary=boundary)
    fit = objective.fit(model)
    assert objective.value(model.at(fit.theta)) == pytest.approx(fit.value, abs=1e-12)
    tried = cloud(5, seed=4)
    values = [objective.value(model.at(theta)) for theta in tried]
    assert np.allclose(fit.landscape(tried), values) and min(values) > fit.value
    found = minimize(
        lambda theta: objective.value(model.at(theta)), np.zeros(2), method="BFGS", tol=1e-10
    )
    assert np.allclose(found.x, fit.theta, atol=1e-6)


def test_quartic_fit_equals_bfgs():
    y = sf.simulate_trial(300, THETA, 0.0, 0).would_be
    objective, model = sf.SteinObjective(Gaussian(1.0), y[:, None]), sf.quartic_scores(y)

    def pull(theta):
        return model.at(theta), lambda a: np.einsum("ndp,nd->p", model.slopes, a)

    found = sf.minimise_discrepancy(objective, pull, np.zeros(3))
    assert np.allclose(found.parameters, objective.fit(model).theta, atol=1e-6)
    assert found.value == pytest.approx(objective.fit(model).value, abs=1e-12)


@pytest.mark.parametrize("shares", [None, [0.2, 0.5, 0.3]])
def test_mixture_scores_are_a_gradient_and_the_pullback_is_their_derivative(shares):
    x, centres, push = cloud(6), cloud(3, seed=1), cloud(6, seed=2)
    weights = np.ones(3) if shares is None else np.array(shares)

    def log_density(point):
        return np.log(weights @ np.exp(-np.sum((point - centres) ** 2, axis=1) / (2 * 0.7**2)))

    scores = sf.mixture_scores(x, centres, 0.7, shares)
    for point, score in zip(x, scores, strict=True):
        assert np.allclose(score, approx_fprime(point, log_density, 1e-7), atol=1e-4)
    again, pullback = sf.mixture_pullback(x, 0.7, shares)(centres)
    assert np.array_equal(again, scores)

    def pushed(flat):
        return np.sum(push * sf.mixture_scores(x, flat.reshape(3, 2), 0.7, shares))

    assert np.allclose(
        pullback(push).ravel(), approx_fprime(centres.ravel(), pushed, 1e-7), atol=1e-4
    )


def test_two_colonies_are_found():
    centres = np.array([[1.3, 1.0], [-1.3, -0.9]])
    x = sf.truncated_gaussian(600, centres, sf.ISLAND, 0, 0.7)
    border = sf.along_border(sf.ISLAND, 40)
    objective = sf.SteinObjective(Gaussian(median_bandwidth(x)), x, boundary=border)
    side = x @ centres[0] > 0
    start = np.array([x[side].mean(axis=0), x[~side].mean(axis=0)])
    fit = sf.minimise_discrepancy(objective, sf.mixture_pullback(x, 0.7), start)
    assert np.abs(fit.parameters - centres).max() < 0.2 < np.abs(start - centres).max()
    assert fit.value < objective.value(sf.mixture_scores(x, start, 0.7)) and fit.evaluations > 1


# 2. A sample cut off at a border


@pytest.mark.compiled
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (13, 9, 2), (8, 33, 3)])
def test_boundary_blocks_are_the_reference(n, m, d):
    x, scores, boundary = cloud(n, d), cloud(n, d, seed=1), cloud(m, d, seed=2)
    blocks = sf.boundary_blocks(KERNEL, x, scores, boundary)
    assert np.allclose(blocks, naive.boundary_blocks(0.9, x, scores, boundary), atol=1e-14)
    means = stein_features(KERNEL, x, scores, boundary)
    assert np.allclose(blocks.mean(axis=1).T, means)


def test_truncated_gram_is_the_reference_and_positive():
    x, scores, boundary = cloud(20), cloud(20, seed=1), cloud(6, seed=2)
    gram = sf.truncated_stein_gram(KERNEL, x, scores, boundary, 1e-2)
    assert np.allclose(gram, naive.truncated_gram(0.9, x, scores, boundary, 1e-2))
    assert np.linalg.eigvalsh(gram)[0] > -1e-10
    assert np.array_equal(sf.truncated_stein_gram(KERNEL, x, scores), stein_gram(KERNEL, x, scores))


def test_inside_and_border():
    points = np.random.default_rng(0).uniform(-2, 2, (500, 2))
    assert np.array_equal(sf.inside(SQUARE, points), np.abs(points).max(axis=1) < 1)
    assert sf.inside(sf.ISLAND, [[0.0, 0.0], [-1.5, 0.2], [1.5, 0.15]]).tolist() == [
        True,
        False,
        False,
    ]
    border = sf.along_border(SQUARE, 16)
    assert np.allclose(np.abs(border).max(axis=1), 1)
    assert np.allclose(np.linalg.norm(np.diff(border, axis=0), axis=1).max(), 0.5)
    half = sf.along_border(SQUARE, 16, 0.5)
    assert np.all((half[:, 1] == -1) | (half[:, 0] == 1))
    distance, slope = sf.border_distance(SQUARE, points)
    within = np.abs(points).max(axis=1) < 1
    assert np.allclose(distance[within], 1 - np.abs(points[within]).max(axis=1))
    assert np.allclose(np.linalg.norm(slope, axis=1), 1)
    moved, _ = sf.border_distance(SQUARE, points + 1e-6 * slope)
    assert np.median(moved - distance) == pytest.approx(1e-6, rel=1e-3)
    assert sf.border_distance(sf.ISLAND, sf.along_border(sf.ISLAND, 50))[0].max() < 1e-12


def test_truncated_gaussian_stays_inside_and_has_the_right_mean():
    x = sf.truncated_gaussian(4000, [0.5, 0.0], SQUARE, 0)
    assert x.shape == (4000, 2) and sf.inside(SQUARE, x).all()
    grid = np.linspace(-1, 1, 2001)
    weights = np.exp(-((grid - 0.5) ** 2) / 2)
    assert x[:, 0].mean() == pytest.approx(weights @ grid / weights.sum(), abs=0.03)
    assert np.array_equal(
        x, sf.truncated_gaussian(4000, [0.5, 0.0], SQUARE, np.random.default_rng(0))
    )


def test_truncated_mle_matches_the_moment_and_a_direct_search():
    x = sf.truncated_gaussian(500, COLONY, sf.disc(1.75), 0)
    mean = sf.truncated_mle(x, sf.disc(1.75), cells=200)
    axis = np.linspace(-1.75, 1.75, 201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    grid = grid[np.linalg.norm(grid, axis=1) < 1.75]

    def loss(m):
        constant = np.mean(np.exp(-np.sum((grid - m) ** 2, axis=1) / 2))
        return np.mean(np.sum((x - m) ** 2, axis=1)) / 2 + np.log(constant)

    assert np.allclose(minimize(loss, [0.0, 0.0]).x, mean, atol=0.02)


def test_as_the_region_grows_the_estimate_is_the_sample_mean():
    x = 0.3 + cloud(200)
    far = sf.disc(50.0)
    kernel = Gaussian(30.0)  # wide: every point counts alike
    fit = sf.SteinObjective(kernel, x, boundary=sf.along_border(sf.disc(5000.0), 60)).fit(
        sf.gaussian_mean_scores(x)
    )
    assert np.allclose(fit.theta, x.mean(axis=0), atol=1e-2)
    assert np.allclose(sf.truncated_mle(x, far, cells=400), x.mean(axis=0), atol=1e-3)
    assert np.allclose(sf.distance_score_matching(x, sf.disc(5000.0)), x.mean(axis=0), atol=1e-3)


@functools.cache
def colony_error(n, m, draws=12):
    errors = []
    for seed in range(draws):
        x = sf.truncated_gaussian(n, COLONY, sf.ISLAND, 100 + seed)
        if m is None:
            errors.append(np.linalg.norm(x.mean(axis=0) - COLONY))
            continue
        border = sf.along_border(sf.ISLAND, m) if m else None
        objective = sf.SteinObjective(Gaussian(median_bandwidth(x)), x, boundary=border)
        errors.append(np.linalg.norm(objective.fit(sf.gaussian_mean_scores(x)).theta - COLONY))
    return float(np.mean(errors))


def test_claim_border_points_remove_the_pull_of_the_border():
    for n in (300, 900):
        assert colony_error(n, 30) < 0.4 * colony_error(n, None)
        assert colony_error(n, 0) > 0.8 * colony_error(n, None)  # the control
        assert colony_error(n, 80) == pytest.approx(colony_error(n, 30), rel=0.15)  # the plateau


def test_claim_the_error_falls_with_n():
    sizes = [150, 300, 600, 1200]
    assert -0.9 < log_log_slope(sizes, [colony_error(n, 30) for n in sizes]) < -0.3
    assert abs(log_log_slope(sizes, [colony_error(n, None) for n in sizes])) < 0.05


# 3. Outcomes that nobody observed


def test_trial_has_the_law_it_says_and_confounding():
    trial = sf.simulate_trial(20_000, THETA, 1.5, 0)
    grid = np.linspace(-3.5, 3.5, 701)
    p = sf.quartic_density(THETA, grid)
    assert p.sum() * (grid[1] - grid[0]) == pytest.approx(1)
    for power in (1, 2):
        expected = np.sum(p * grid**power) * (grid[1] - grid[0])
        assert np.mean(trial.would_be**power) == pytest.approx(expected, abs=0.02)
    assert trial.would_be[trial.treated].mean() > trial.would_be.mean() + 0.2
    assert np.array_equal(trial.outcome[trial.treated], trial.would_be[trial.treated])
    assert sf.total_variation(p, p, grid) == 0
    shifted = np.roll(p, 350)
    assert sf.total_variation(p, shifted, grid) == pytest.approx(1, abs=0.01)


def test_logistic_propensity_finds_the_truth_and_settles():
    trial = sf.simulate_trial(20_000, THETA, 1.0, 1)
    at = np.array([[-2.0], [0.0], [2.0]])
    chance = sf.logistic_propensity(trial.x, trial.treated, at)
    assert np.allclose(chance, 1 / (1 + np.exp(-at[:, 0])), atol=0.02)
    split = sf.logistic_propensity([[0.0], [1.0]], [0, 1])  # separable: the penalty keeps it finite
    assert 0 < split[0] < 0.5 < split[1] < 1


def test_embedding_weights_are_ridge_regression():
    x, at, y = cloud(30), cloud(5, seed=1), cloud(30, 1, seed=2)[:, 0]
    c = sf.embedding_weights(KERNEL, x, at, 0.3)
    expected = KERNEL.gram(at, x) @ np.linalg.solve(KERNEL.gram(x) + 0.3 * np.eye(30), y)
    assert np.allclose(c @ y, expected)


@pytest.mark.parametrize("outcome", ["kernel", "constant"])
@pytest.mark.parametrize("propensity", ["logistic", "constant"])
def test_rows_are_the_doubly_robust_mean_person_by_person(propensity, outcome):
    trial = sf.simulate_trial(60, THETA, 1.0, 0)
    x, a, y = trial.x, trial.treated, trial.outcome
    rows = sf.counterfactual_rows(
        x, a, KERNEL, ridge=0.4, propensity=propensity, outcome=outcome, rng=3
    )
    assert np.abs(rows[:, ~a]).max() == 0
    fold = np.random.default_rng(3).permutation(60) % 2
    f, total = np.sin(3 * y), 0.0
    for here in (0, 1):
        test, train = fold == here, fold != here
        known = train & a
        if propensity == "logistic":
            chance = sf.logistic_propensity(x[train], a[train], x[test])
        else:
            chance = np.full(test.sum(), a[train].mean())
        if outcome == "kernel":
            guess = sf.embedding_weights(KERNEL, x[known], x[test], 0.4) @ f[known]
        else:
            guess = np.full(test.sum(), f[known].mean())
        total += test.sum() * naive.counterfactual_mean(f[test], a[test], chance, guess)
    assert rows.mean(axis=0) @ f == pytest.approx(total / 60)


def test_estimators_are_parts_of_the_doubly_robust_one():
    trial = sf.simulate_trial(80, THETA, 1.0, 0)
    x, a = trial.x, trial.treated
    rows = {e: sf.counterfactual_rows(x, a, KERNEL, estimator=e, rng=1) for e in sf.ESTIMATORS}
    lift = np.diagonal(rows["weighting"])[:, None]
    expected = rows["weighting"] + (1 - lift) * rows["plug-in"]
    assert np.allclose(rows["doubly robust"], expected)
    assert np.allclose(rows["treated only"].mean(axis=0), a / a.sum())


def test_two_kinds_of_people_enumerated():
    # x is 0 or 1; the outcome model that knows x is the mean among the treated of the same kind.
    rng = np.random.default_rng(0)
    x = np.repeat([0.0, 1.0], 40)[:, None]
    a = rng.random(80) < np.where(x[:, 0] == 0, 0.3, 0.8)
    y = 2 * x[:, 0] + rng.normal(size=80)
    fold = np.random.default_rng(5).permutation(80) % 2
    rows = sf.counterfactual_rows(x, a, Gaussian(0.01), estimator="plug-in", ridge=1e-8, rng=5)
    expected = 0.0
    for i in range(80):
        alike = a & (fold != fold[i]) & (x[:, 0] == x[i, 0])
        expected += y[alike].mean() / 80
    assert rows.mean(axis=0) @ y == pytest.approx(expected, rel=1e-6)


def test_in_a_randomised_trial_weighting_is_the_ordinary_fit():
    rng = np.random.default_rng(0)
    y = sf.simulate_trial(400, THETA, 0.0, 0).would_be
    a = rng.permutation(400) < 200
    ordinary = sf.SteinObjective(Gaussian(1.0), y[a][:, None]).fit(sf.quartic_scores(y[a]))
    weights = np.where(a, 2.0, 0.0) / 400  # pi = 1/2 and c = 0
    weighted = sf.SteinObjective(Gaussian(1.0), y[:, None], weights).fit(sf.quartic_scores(y))
    assert np.allclose(ordinary.theta, weighted.theta, atol=1e-8)


def test_sandwich_is_the_spread_of_the_fits():
    found, errors = [], []
    for seed in range(60):
        y = sf.simulate_trial(300, THETA, 0.0, seed).would_be
        objective, model = sf.SteinObjective(Gaussian(1.0), y[:, None]), sf.quartic_scores(y)
        fit = objective.fit(model)
        found.append(fit.theta)
        errors.append(np.sqrt(np.diag(sf.sandwich(objective, model, fit, np.eye(300)))))
    assert np.allclose(np.std(found, axis=0), np.mean(errors, axis=0), rtol=0.25)
    assert np.mean(np.abs(np.array(found) - THETA) < 1.96 * np.array(errors)) > 0.88


@functools.cache
def misplaced(estimator, propensity, outcome, n, draws=8):
    grid = np.linspace(-2.6, 2.6, 261)
    truth, found = sf.quartic_density(THETA, grid), []
    for seed in range(draws):
        trial = sf.simulate_trial(n, THETA, 1.0, 50 + seed, link=0.9)
        rows = sf.counterfactual_rows(
            trial.x, trial.treated, Gaussian(1.0), estimator=estimator, ridge=0.3,
            propensity=propensity, outcome=outcome,
        )  # fmt: skip
        y, w = trial.outcome[trial.treated], rows.mean(axis=0)[trial.treated]
        fit = sf.SteinObjective(Gaussian(1.0), y[:, None], w).fit(sf.quartic_scores(y))
        found.append(sf.total_variation(sf.quartic_density(fit.theta, grid), truth, grid))
    return float(np.mean(found))


def test_claim_one_model_may_be_wrong():
    naive_fit = misplaced("treated only", "logistic", "kernel", 1200)
    for propensity, outcome in (
        ("logistic", "kernel"),
        ("constant", "kernel"),
        ("logistic", "constant"),
    ):
        assert misplaced("doubly robust", propensity, outcome, 1200) < naive_fit / 3
    for estimator, propensity, outcome in (
        ("weighting", "constant", "kernel"),
        ("plug-in", "logistic", "constant"),
        ("doubly robust", "constant", "constant"),
    ):
        assert misplaced(estimator, propensity, outcome, 1200) > 0.8 * naive_fit


def test_claim_the_outcome_error_falls_with_n():
    sizes = (150, 300, 600, 1200)
    errors = [misplaced("doubly robust", "logistic", "kernel", n) for n in sizes]
    assert log_log_slope(sizes, errors) < -0.35
    still = [misplaced("treated only", "logistic", "kernel", n) for n in sizes]
    assert log_log_slope(sizes, still) > -0.2


# 4. Integrals that help each other

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def rough(x):
    return np.sin(3 * x) + x


def good(x):
    return rough(x) + 0.1 * np.cos(3 * x) + 0.05 * x


def two_tasks(seed, second=good, cheap=60, costly=10, kernel=None):
    x = np.random.default_rng(seed).normal(size=(cheap + costly, 1))
    task = np.repeat([0, 1], [cheap, costly])
    values = np.where(task == 0, rough(x[:, 0]), second(x[:, 0]))
    return sf.TaskStein(kernel or Gaussian(1.0), x, -x, task), values


@pytest.mark.parametrize("kernel", [Gaussian(1.0), InverseMultiquadric(1.5)])
def test_fit_is_the_stacked_system(kernel):
    task, values = two_tasks(0, kernel=kernel)
    coupling = np.array([[1.0, 0.6], [0.6, 2.0]])
    fit = task.fit(values, coupling, 1e-2)
    estimates, coefficients = naive.multitask(task.base, task.task, values, coupling, 1e-2)
    assert np.allclose(fit.estimates, estimates) and np.allclose(fit.coefficients, coefficients)
    for t in (0, 1):  # the model passes the values by ridge times the coefficients
        of = task.task == t
        at = task.points[of]
        model = task.predict(fit, coupling, t, at, -at)
        assert np.allclose(model, values[of] - 1e-2 * fit.coefficients[of])


def test_models_integrate_to_the_estimates_under_each_tasks_own_law():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1)) * np.repeat([1.0, 2.0], 20)[:, None]
    task = np.repeat([0, 1], 20)
    scores = -x / np.repeat([1.0, 4.0], 20)[:, None]  # N(0, 1) and N(0, 4)
    tasks = sf.TaskStein(Gaussian(1.5), x, scores, task)
    fit = tasks.fit(np.cos(x[:, 0]), sf.pair_coupling(0.7), 1e-3)
    for t, spread in ((0, 1.0), (1, 2.0)):
        at = spread * NODES[:, None]
        model = tasks.predict(fit, sf.pair_coupling(0.7), t, at, -at / spread**2)
        assert WEIGHTS @ model == pytest.approx(fit.estimates[t], abs=1e-6)
        assert fit.estimates[t] == pytest.approx(np.exp(-(spread**2) / 2), abs=0.1)


def test_identity_coupling_is_two_separate_control_functionals():
    task, values = two_tasks(1)
    fit = task.fit(values, np.eye(2), 1e-4)
    for t in (0, 1):
        of = task.task == t
        alone = sf.TaskStein(
            Gaussian(1.0), task.points[of], task.scores[of], np.zeros(of.sum(), int)
        )
        assert alone.fit(values[of], [[1.0]], 1e-4).estimates[0] == pytest.approx(
            fit.estimates[t], abs=1e-10
        )


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.99, 0.99), st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 100))
def test_constants_are_integrated_exactly(b, first, second, seed):
    task, _ = two_tasks(seed, cheap=12, costly=5)
    values = np.where(task.task == 0, first, second)
    assert np.allclose(task.fit(values, sf.pair_coupling(b), 1e-3).estimates, [first, second])


def test_shared_points_fall_apart_into_eigenvectors():
    x = cloud(25)
    values = np.array([np.sin(x[:, 0]), np.cos(x[:, 1]), x[:, 0] * x[:, 1]])
    root = cloud(3, 3, seed=4)
    coupling = root @ root.T
    task = sf.TaskStein(KERNEL, np.vstack([x] * 3), -np.vstack([x] * 3), np.repeat([0, 1, 2], 25))
    expected = task.fit(values.ravel(), coupling, 1e-2).estimates
    assert np.allclose(sf.shared_control(KERNEL, x, -x, values, coupling, 1e-2), expected)


def test_evidence_is_the_restricted_likelihood():
    # A flat constant: the likelihood of contrasts that do not see the constants, up to a constant.
    task, values = two_tasks(0, cheap=8, costly=5)
    contrast = np.linalg.svd(task.member.T)[2][2:]

    def reference(b):
        covariance = contrast @ (task.gram(sf.pair_coupling(b)) + 1e-2 * np.eye(13)) @ contrast.T
        seen = contrast @ values
        return -0.5 * (seen @ np.linalg.solve(covariance, seen) + np.linalg.slogdet(covariance)[1])

    gap = [
        task.fit(values, sf.pair_coupling(b), 1e-2).evidence - reference(b)
        for b in (-0.5, 0.2, 0.9)
    ]
    assert np.ptp(gap) < 1e-8


def test_learning_the_coupling_descends_and_finds_the_sign():
    def objective(coupling, fit):
        return fit.energy + np.sum(coupling**2)

    for sign in (1, -1):
        task, values = two_tasks(3, second=lambda x, sign=sign: sign * good(x))
        path = list(task.learn_coupling(values, 1e-3, steps=40))
        lost = np.diff([objective(b, fit) for _, b, fit in path])
        assert lost.max() <= 1e-9 and path[0][0] == 0 and path[-1][0] == 1
        coupling = path[-1][1]
        assert sign * coupling[0, 1] / np.sqrt(coupling[0, 0] * coupling[1, 1]) > 0.3
        # the derivative that the steps use, against differences
        middle = path[10][1]
        fit = task.fit(values, middle, 1e-3)
        weighted = task.member * fit.coefficients[:, None]
        slope = 2 * middle - weighted.T @ task.base @ weighted
        bump = 1e-5 * np.array([[0.0, 1.0], [1.0, 0.0]])
        ends = [objective(m, task.fit(values, m, 1e-3)) for m in (middle - bump, middle + bump)]
        assert (ends[1] - ends[0]) / 2e-5 == pytest.approx(2 * slope[0, 1], rel=1e-4)


def errors_of_the_second(second, b, draws=60):
    truth, found = WEIGHTS @ second(NODES), []
    for seed in range(draws):
        task, values = two_tasks(200 + seed, second)
        estimate = (
            values[60:].mean()
            if b is None
            else task.fit(values, sf.pair_coupling(b), 1e-3).estimates[1]
        )
        found.append(estimate - truth)
    return np.sqrt(np.mean(np.square(found)))


def test_claim_each_step_gains_and_strangers_lose():
    alone, apart, shared = (errors_of_the_second(good, b) for b in (None, 0.0, 0.95))
    assert alone > 1.5 * apart and apart > 1.5 * shared
    strange = [errors_of_the_second(lambda x: 2 * np.cos(2 * x), b) for b in (0.0, 0.95)]
    assert strange[1] > 1.3 * strange[0]


# Bad input

X, S = cloud(6), cloud(6, seed=1)
FREE = sf.SteinObjective(KERNEL, X)
TASKS, VALUES = two_tasks(0, cheap=6, costly=4)
MEAN = sf.gaussian_mean_scores(X)
TREATED = [1, 0] * 3
NOBODY = [0] * 6
FIRST = "treated only"
FITTED = TASKS.fit(VALUES, np.eye(2))
BAD = {
    "kernel must be Gaussian": lambda: sf.SteinObjective(Laplace(1.0), X),
    "x must be a matrix": lambda: sf.SteinObjective(KERNEL, X[0]),
    "weights must have length 6": lambda: sf.SteinObjective(KERNEL, X, [1.0]),
    "boundary must have 2 columns": lambda: sf.SteinObjective(KERNEL, X, boundary=cloud(3, 1)),
    "ridge must be": lambda: sf.SteinObjective(KERNEL, X, ridge=-1),
    "squares summing to less than 1 if unbiased, got 1": lambda: sf.SteinObjective(
        KERNEL, X[:1], unbiased=True),
    "less than 1 if unbiased, got 1": lambda: sf.SteinObjective(
        KERNEL, X, [1.0, 0, 0, 0, 0, 0], unbiased=True),
    "scores must have": lambda: FREE.value(S[:3]),
    "scores must have 6": lambda: FREE.value_and_gradient(S[:3]),
    "at must have 2 columns": lambda: FREE.witness(S, cloud(2, 3)),
    "model must have scores at x": lambda: FREE.fit(sf.gaussian_mean_scores(X[:3])),
    "model must be determined": lambda: FREE.fit(sf.LinearScores(np.zeros((6, 2, 1)), S)),
    "slopes must have shape": lambda: sf.LinearScores(np.zeros((6, 2)), S),
    "slopes must be finite": lambda: sf.LinearScores(np.full((6, 2, 1), np.nan), S),
    "theta must have length 2": lambda: sf.gaussian_mean_scores(X).at([1.0]),
    "parameters must have 2": lambda: FREE.fit(sf.gaussian_mean_scores(X)).landscape([[1.0]]),
    "start must hold": lambda: sf.minimise_discrepancy(FREE, sf.mixture_pullback(X), [np.nan]),
    "deviation must be": lambda: sf.mixture_scores(X, X[:2], 0.0),
    "shares must be positive": lambda: sf.mixture_scores(X, X[:2], 1.0, [0.0, 1.0]),
    "centres must have 2 columns": lambda: sf.mixture_scores(X, X[:2, :1]),
    "centres must have 2": lambda: sf.mixture_pullback(X)(X[:2, :1]),
    "deviation must": lambda: sf.gaussian_mean_scores(X, -1),
    "x must": lambda: sf.mixture_pullback(X[0]),
    "radius must be": lambda: sf.disc(0.0),
    "corners must be": lambda: sf.disc(1.0, 2),
    "polygon must have at least 3": lambda: sf.inside(SQUARE[:2], X),
    "polygon must not repeat": lambda: sf.along_border(np.vstack([SQUARE, SQUARE[:1]]), 5),
    "polygon must enclose an area": lambda: sf.truncated_mle(X, np.outer([0.0, 1, 2], [1, 1])),
    "m must be": lambda: sf.along_border(SQUARE, 0),
    "known must be": lambda: sf.along_border(SQUARE, 3, 0.0),
    "points must have 2": lambda: sf.border_distance(SQUARE, cloud(3, 3)),
    "n must be": lambda: sf.truncated_gaussian(0, COLONY, SQUARE, 0),
    "centres must be near": lambda: sf.truncated_gaussian(5, [30.0, 0.0], SQUARE, 0),
    "rng must be": lambda: sf.truncated_gaussian(5, COLONY, SQUARE, "a"),
    "kernel must be Gaussian(bandwidth)": lambda: sf.boundary_blocks(Laplace(1.0), X, S, X),
    "scores must have 2": lambda: sf.boundary_blocks(KERNEL, X, cloud(6, 1), X),
    "boundary must have": lambda: sf.truncated_stein_gram(KERNEL, X, S, cloud(3, 1)),
    "cells must be": lambda: sf.truncated_mle(X, SQUARE, cells=2),
    "x must lie inside": lambda: sf.truncated_mle(X + 9, SQUARE),
    "cells must be more": lambda: sf.truncated_mle(X, [(0.0, 0), (1, 1), (1, 1 + 1e-6)]),
    "got 6 of 6 outside": lambda: sf.distance_score_matching(X + 50, SQUARE),
    "all on its border": lambda: sf.distance_score_matching(SQUARE, SQUARE),
    "x must have 2": lambda: sf.distance_score_matching(cloud(4, 1), SQUARE),
    "y must": lambda: sf.quartic_scores(X),
    "theta must have length 3": lambda: sf.quartic_density([1.0], VALUES),
    "grid must hold at least 2": lambda: sf.quartic_density(THETA, [0.0]),
    "grid must rise": lambda: sf.quartic_density(THETA, [1.0, 0.5, 0.0]),
    "grid must rise in even": lambda: sf.total_variation(VALUES, VALUES, np.arange(10.0) ** 2),
    "grid must hold": lambda: sf.total_variation([1.0], [1.0], [0.0]),
    "q must have length": lambda: sf.total_variation(VALUES, VALUES[:2], np.arange(10)),
    "n must be an": lambda: sf.simulate_trial(3, THETA, 1.0, 0),
    "link must be": lambda: sf.simulate_trial(30, THETA, 1.0, 0, link=2.0),
    "confounding must be": lambda: sf.simulate_trial(30, THETA, np.nan, 0),
    "treated must hold both": lambda: sf.logistic_propensity(X, np.ones(6, bool)),
    "treated must hold True": lambda: sf.logistic_propensity(X, np.arange(6)),
    "treated must have length": lambda: sf.logistic_propensity(X, [1, 0]),
    "ridge must": lambda: sf.embedding_weights(KERNEL, X, X, 0.0),
    "estimator must be one of": lambda: sf.counterfactual_rows(X, TREATED, KERNEL, estimator="x"),
    "propensity must be": lambda: sf.counterfactual_rows(X, TREATED, KERNEL, propensity="x"),
    "outcome must be": lambda: sf.counterfactual_rows(X, TREATED, KERNEL, outcome="x"),
    "nobody treated outside": lambda: sf.counterfactual_rows(X, [1, 0, 0, 0, 0, 0], KERNEL),
    "everybody treated outside": lambda: sf.counterfactual_rows(X, [0, 1, 1, 1, 1, 1], KERNEL),
    "at least one treated": lambda: sf.counterfactual_rows(X, NOBODY, KERNEL, estimator=FIRST),
    "ridge must be a positive number, got -1": lambda: sf.counterfactual_rows(
        X, TREATED, KERNEL, estimator="weighting", ridge=-1),
    "folds must be": lambda: sf.counterfactual_rows(X, TREATED, KERNEL, folds=1),
    "rows must have 6": lambda: sf.sandwich(FREE, MEAN, FREE.fit(MEAN), S),
    "task must hold": lambda: sf.TaskStein(KERNEL, X, S, [0, 1]),
    "task must name": lambda: sf.TaskStein(KERNEL, X, S, [0, 0, 0, 2, 2, 2]),
    "number of points, 6, got 0 to 1000000000000": lambda: sf.TaskStein(
        KERNEL, X, S, [0, 0, 0, 1, 1, 10**12]),
    "got -1 to 1": lambda: sf.TaskStein(KERNEL, X, S, [-1, 0, 0, 1, 1, 1]),
    "coupling must have shape": lambda: TASKS.fit(VALUES, np.eye(3)),
    "coupling must be positive": lambda: TASKS.fit(VALUES, [[1.0, 2.0], [2.0, 1.0]]),
    "values must have length": lambda: TASKS.fit(VALUES[:3], np.eye(2)),
    "task must be": lambda: TASKS.predict(FITTED, np.eye(2), 2, X[:, :1], S[:, :1]),
    "penalty must be": lambda: next(TASKS.learn_coupling(VALUES, penalty=0.0)),
    "steps must be": lambda: next(TASKS.learn_coupling(VALUES, steps=0)),
    "b must be": lambda: sf.pair_coupling(1.5),
    "values must have": lambda: sf.shared_control(KERNEL, X, S, np.ones((2, 5)), np.eye(2)),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused_in_words(message):
    with pytest.raises(ValueError) as caught:
        BAD[message]()
    assert message in str(caught.value)


def test_a_boundary_has_no_place_in_the_sandwich():
    objective = sf.SteinObjective(KERNEL, X, boundary=S)
    model = sf.gaussian_mean_scores(X)
    with pytest.raises(ValueError, match="no boundary points"):
        sf.sandwich(objective, model, objective.fit(model), np.eye(6))
