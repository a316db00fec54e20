"""The ridge filters lab: independent checks, properties, bad input, and every claim with its
control."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize

from kernellab.compute.kernels import Gaussian
from kernellab.compute.rates import log_log_slope
from kernellab.methods.ridge_regression import ridge_filters as rf
from tests.naive import ridge_filters as naive

SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
LOADINGS = np.geomspace(1e-4, 1e2, 40)


def noisy_sine(n, seed, noise=0.3):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 1, n))[:, None]
    return x, np.sin(2 * np.pi * x[:, 0]) + noise * rng.standard_normal(n)


@pytest.fixture(scope="module")
def sine():
    x, y = noisy_sine(60, 0)
    return x, y, Gaussian(0.1).gram(x)


# --- Filters ------------------------------------------------------------------------------------


def test_ridge_filter_is_sklearn_kernel_ridge(sine):
    x, y, gram = sine
    ridge = pytest.importorskip("sklearn.kernel_ridge").KernelRidge
    new = np.linspace(-0.2, 1.2, 30)[:, None]
    for eta in (1e-6, 1e-2, 1.0):
        peer = ridge(alpha=60 * eta, kernel="precomputed").fit(gram, y)
        s = rf.spectrum(gram, y)
        h = rf.ridge_profile(s.eigenvalues, eta)
        assert np.allclose(s.fitted(h), peer.predict(gram), atol=1e-9)
        cross = Gaussian(0.1).gram(new, x)
        assert np.allclose(s.predict(cross, h), peer.predict(cross), atol=1e-7)
        again = rf.filtered_fit(gram, y, lambda v, e=eta: rf.ridge_profile(v, e))
        assert np.allclose(again, s.fitted(h), atol=1e-12)


@pytest.mark.parametrize("step_size", [0.1, 1.0, 1.9])
@pytest.mark.parametrize("steps", [0, 1, 7, 100])
def test_gradient_descent_profile_is_gradient_descent(sine, steps, step_size):
    _, y, gram = sine
    top = rf.spectrum(gram, y).eigenvalues[0]
    got = rf.filtered_fit(gram, y, lambda v: rf.gradient_descent_profile(v, steps, step_size / top))
    assert np.allclose(got, naive.gradient_descent(gram, y, steps, step_size / top), atol=1e-10)


def test_gradient_flow_is_the_limit_of_small_steps():
    v = np.array([1.0, 0.1, 1e-4, 0.0])
    small = rf.gradient_descent_profile(v, 1_000_000, 1e-5)
    assert np.allclose(rf.gradient_flow_profile(v, 10.0), small, atol=1e-5)


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=8),
    st.floats(1e-6, 10),
    st.floats(0, 1),
    st.integers(0, 30),
)
def test_profiles_stay_between_zero_and_one_and_grow_with_the_eigenvalue(v, ridge, alpha, rounds):
    v = np.sort(v)
    for h in (
        rf.ridge_profile(v, ridge),
        rf.gradient_flow_profile(v, 1 / ridge),
        rf.gradient_descent_profile(v, rounds, 0.1),
        rf.distilled_profile(v, ridge, rounds, alpha),
        rf.uniform_shrinkage_profile(v, alpha),
        rf.clipped_shrinkage_profile(v, ridge),
        rf.truncation_profile(v, ridge),
    ):
        assert h.shape == v.shape
        assert np.all((h >= 0) & (h <= 1 + 1e-12))
        assert np.all(np.diff(h) >= -1e-12)


def test_rank_deficient_and_tiny_kernel_matrices():
    x = np.array([[0.0], [0.0], [1.0]])
    gram, y = Gaussian(0.5).gram(x), np.array([1.0, 3.0, 2.0])
    s = rf.spectrum(gram, y)
    fit = s.fitted(np.ones(3))
    assert np.allclose(fit, y)
    kept = gram @ s.dual(np.ones(3))  # what a function can fit: the mean at a repeated point
    assert np.allclose(kept, [2, 2, 2])
    assert np.allclose(rf.filtered_fit([[2.0]], [3.0], lambda v: rf.ridge_profile(v, 2.0)), [1.5])
    assert np.allclose(rf.filtered_fit(np.zeros((2, 2)), [1.0, 2.0], np.zeros_like), 0)


def test_leave_one_out_is_exact_for_ridge(sine):
    _, y, gram = sine
    s = rf.spectrum(gram, y)
    profiles = np.array([rf.ridge_profile(s.eigenvalues, eta) for eta in (1e-4, 1e-2, 1.0)])
    got = rf.leave_one_out(s.eigenvectors, profiles, y)
    want = [naive.leave_one_out(gram, y, eta) for eta in (1e-4, 1e-2, 1.0)]
    assert np.allclose(got, want, rtol=1e-7)
    assert rf.leave_one_out(s.eigenvectors, profiles[1], y) == pytest.approx(want[1])
    both = rf.leave_one_out(s.eigenvectors, profiles, y + 1j * y)
    assert np.allclose(both, 2 * np.array(want), rtol=1e-7)
    assert rf.leave_one_out(np.eye(2), np.ones(2), np.ones(2)) == np.inf


# --- Self-distilled ridge -----------------------------------------------------------------------


@pytest.mark.parametrize("weights", [[], [0.3], [0.0] * 6, [0.5, 0.0, 1.0, -0.4, 1.7]])
def test_distill_against_literal_refits(sine, weights):
    _, y, gram = sine
    assert np.allclose(
        rf.distill(gram, y, 1e-3, weights), naive.distill(gram, y, 1e-3, weights), atol=1e-9
    )


@settings(max_examples=40)
@given(st.floats(1e-6, 10), st.integers(0, 12), st.floats(0, 1))
def test_distilled_profile_against_its_sum(ridge, rounds, alpha):
    v = np.array([0.0, 1e-8, 1e-3, 0.5, 30.0])
    got = rf.distilled_profile(v, ridge, rounds, alpha)
    assert np.allclose(got, naive.distilled_profile(v, ridge, rounds, alpha), atol=1e-12)


def test_distilled_profile_is_what_distill_does(sine):
    _, y, gram = sine
    s = rf.spectrum(gram, y)
    for alpha in (0.0, 0.4, 1.0):
        fits = rf.distill(gram, y, 1e-2, np.full(20, alpha))
        for t in (0, 1, 20):
            h = rf.distilled_profile(s.eigenvalues, 1e-2, t, alpha)
            assert np.abs(fits[t] - s.fitted(h)).max() < 1e-12


def distillation_gap(seed, alpha, ridge_of):
    x, y = noisy_sine(80, seed)
    gram = Gaussian(0.1).gram(x)
    last = rf.distill(gram, y, 1e-2, np.full(500, alpha))[-1]
    return np.abs(last - rf.distill(gram, y, ridge_of(1e-2, alpha), [])[0]).max()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_claim_distillation_ends_at_ridge_with_a_larger_penalty(seed, alpha):
    def holds(gap):
        return gap < 1e-10

    assert holds(distillation_gap(seed, alpha, rf.limit_ridge))
    assert not holds(distillation_gap(seed, alpha, lambda ridge, _: ridge))


def test_limit_agrees_with_sklearn(sine):
    _, y, gram = sine
    ridge = pytest.importorskip("sklearn.kernel_ridge").KernelRidge
    peer = ridge(alpha=60 * 1e-2 / 0.2, kernel="precomputed").fit(gram, y).predict(gram)
    assert np.abs(rf.distill(gram, y, 1e-2, np.full(500, 0.2))[-1] - peer).max() < 1e-10


@pytest.mark.parametrize("seed", range(5))
def test_claim_best_weight_is_the_argmin_of_a_grid(seed):
    x, y = noisy_sine(80, seed)
    x_val, y_val = noisy_sine(60, seed + 100)
    cross = Gaussian(0.1).gram(x_val, x)
    s = rf.spectrum(Gaussian(0.1).gram(x), y)
    h = rf.ridge_profile(s.eigenvalues, 0.1)
    fresh, student = s.predict(cross, h), s.predict(cross, h**2)
    grid = np.linspace(-10, 10, 2001)
    mixed = grid[:, None] * fresh + (1 - grid[:, None]) * student
    best = grid[np.argmin(np.mean((y_val - mixed) ** 2, axis=1))]

    def holds(alpha):
        return abs(alpha - best) <= 0.01

    alpha = rf.best_truth_weight(student, fresh, y_val)
    assert holds(alpha)
    assert not holds(1.0)  # no distillation
    assert alpha > 1.5  # after a teacher this smooth, the best student walks away from it
    tuned = rf.distill_tuned(Gaussian(0.1).gram(x), y, 0.1, cross, y_val, 1)
    assert tuned.truth_weights[0] == pytest.approx(alpha)
    assert tuned.errors[1] < tuned.errors[0]


def test_distill_tuned_follows_distill(sine):
    x, y, gram = sine
    tuned = rf.distill_tuned(gram, y, 1e-2, gram, np.sin(2 * np.pi * x[:, 0]), 3)
    assert np.allclose(tuned.fits, rf.distill(gram, y, 1e-2, tuned.truth_weights), atol=1e-9)
    assert np.allclose(tuned.predictions, tuned.fits, atol=1e-9)
    assert rf.distill_tuned(gram, y, 1e-2, gram, y, 0).errors.shape == (1,)
    assert rf.best_truth_weight([1.0, 2.0], [1.0, 2.0], [0.0, 0.0]) == 1.0


# --- Self-distilled Gaussian processes ----------------------------------------------------------


def gp_problem(seed, n=40, noise_variance=0.1, m=60):
    rng = np.random.default_rng(seed)
    x = np.r_[rng.uniform(0, 1, n), np.linspace(0, 1, m)][:, None]
    truth = np.sin(2 * np.pi * x[:, 0])
    y = truth[:n] + np.sqrt(noise_variance) * rng.standard_normal(n)
    return x, Gaussian(0.15).gram(x), y, truth


def test_condition_against_the_textbook_formula_and_sklearn():
    x, gram, y, _ = gp_problem(0)
    post = rf.condition(rf.gp_prior(gram), y, 0.1)
    mean, covariance = naive.gp_posterior(gram, y, 0.1)
    assert np.allclose(post.mean, mean, atol=1e-10)
    assert np.allclose(post.covariance, covariance, atol=1e-10)
    gp = pytest.importorskip("sklearn.gaussian_process")
    peer = gp.GaussianProcessRegressor(gp.kernels.RBF(0.15, "fixed"), alpha=0.1 / 3).fit(x[:40], y)
    want_mean, want_covariance = peer.predict(x, return_cov=True)
    three = rf.distill_distribution(gram, y, [0.1] * 3)[-1]
    assert np.abs(three.mean - want_mean).max() < 1e-9
    assert np.abs(three.covariance - want_covariance).max() < 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_claim_distribution_centric_is_one_gp_with_less_noise(seed):
    _, gram, y, _ = gp_problem(seed)
    noises = [0.1, 0.3, 0.05, 0.1]
    last = rf.distill_distribution(gram, y, noises)[-1]

    def gap(noise_variance):
        one = rf.condition(rf.gp_prior(gram), y, noise_variance)
        return max(
            np.abs(last.mean - one.mean).max(), np.abs(last.covariance - one.covariance).max()
        )

    def holds(value):
        return value < 1e-9

    assert holds(gap(rf.combined_noise(noises)))
    assert not holds(gap(np.mean(noises)))


def test_duplicated_data_is_distribution_centric_distillation():
    x, _, y, _ = gp_problem(1, m=5)
    twice = Gaussian(0.15).gram(np.r_[x[:40], x[:40], x[40:]])
    doubled = rf.condition(rf.gp_prior(twice), np.r_[y, y], 0.1)
    rounds = rf.distill_distribution(Gaussian(0.15).gram(x), y, [0.1, 0.1])[-1]
    assert np.allclose(doubled.mean[80:], rounds.mean[40:], atol=1e-8)
    assert np.allclose(doubled.covariance[80:, 80:], rounds.covariance[40:, 40:], atol=1e-8)


def test_data_centric_is_the_spectral_product():
    _, gram, y, _ = gp_problem(2)
    s = rf.spectrum(gram[:40, :40], y)
    noises = [0.1, 0.3, 0.05]
    h = np.ones(40)
    for g, belief in zip(noises, rf.distill_data(gram, y, noises), strict=True):
        h = h * rf.ridge_profile(s.eigenvalues, g / 40)
        assert np.abs(belief.mean[:40] - s.fitted(h)).max() < 1e-10
        one = rf.condition(rf.gp_prior(gram), y, g)
        assert np.allclose(belief.covariance, one.covariance)


def coverage(kind, rounds, seeds=20):
    values = []
    for seed in range(seeds):
        _, gram, y, truth = gp_problem(seed)
        values.append(rf.coverage(kind(gram, y, [0.1] * rounds)[-1], truth[40:]))
    return np.mean(values)


def test_claim_distribution_centric_distillation_loses_coverage():
    def holds(value):
        return value < 0.8

    assert holds(coverage(rf.distill_distribution, 5))
    assert not holds(coverage(rf.distill_distribution, 1))  # one round keeps its 95%
    assert not holds(coverage(rf.distill_data, 5))  # nor does the other kind lose it so soon
    assert 0.92 < coverage(rf.distill_distribution, 1) < 0.99


def test_continuous_bernoulli_constant_normalises():
    p = np.array([1e-6, 0.03, 0.3, 0.5 - 1e-9, 0.5, 0.5 + 1e-5, 0.8, 1 - 1e-4])
    for value, log_c in zip(p, rf.log_continuous_bernoulli_constant(p), strict=True):
        area, _ = quad(lambda y, v=value: v**y * (1 - v) ** (1 - y), 0, 1, epsabs=1e-13)
        assert np.exp(log_c) * area == pytest.approx(1, abs=1e-10)
    assert rf.log_continuous_bernoulli_constant([0.5])[0] == pytest.approx(np.log(2))


@pytest.mark.parametrize("f", [-30.0, -2.0, -0.06, -0.049, -1e-4, 0.0, 1e-9, 0.05, 0.7, 500.0])
def test_continuous_bernoulli_mean_and_variance_by_quadrature(f):
    grid = (np.arange(200_000) + 0.5) / 200_000
    weights = np.exp(f * grid - max(f, 0))
    weights /= weights.sum()
    mean = weights @ grid
    assert rf.expected_target([f], "continuous bernoulli")[0] == pytest.approx(mean, abs=2e-6)
    variance = weights @ (grid - mean) ** 2
    assert rf._variance(np.array([f]), "continuous bernoulli")[0] == pytest.approx(
        variance, abs=1e-6
    )
    y = np.array([0.3])
    p = 1 / (1 + np.exp(-min(max(f, -30), 30)))
    if abs(f) < 20:
        direct = 0.3 * np.log(p) + 0.7 * np.log1p(-p)
        direct += rf.log_continuous_bernoulli_constant([p])[0]
        got = rf._log_likelihood(y, np.array([f]), "continuous bernoulli")[0]
        assert got == pytest.approx(direct, abs=1e-9)


def test_continuous_bernoulli_branches_meet():
    for at, function in ((0.05, rf._variance), (1e-3, lambda f, k: rf._log_likelihood(0.5, f, k))):
        below, above = np.nextafter(at, 0), np.nextafter(at, 1)
        two = function(np.array([below, above]), "continuous bernoulli")
        assert abs(two[1] - two[0]) < 1e-11
    two = rf.expected_target([np.nextafter(0.05, 0), 0.05], "continuous bernoulli")
    assert abs(two[1] - two[0]) < 1e-12


@pytest.mark.parametrize("likelihood", rf.LIKELIHOODS)
def test_laplace_finds_the_mode(likelihood):
    x, labels = rf.two_moons(20, 0.2, 0)
    y = labels if likelihood == "bernoulli" else 0.1 + 0.8 * labels
    gram = Gaussian(0.5).gram(x) + 1e-3 * np.eye(20)
    belief = rf.laplace_condition(rf.gp_prior(gram), y, likelihood, copies=2)
    inverse = np.linalg.inv(gram)

    def cost(f):
        likely = 2 * np.sum(rf._log_likelihood(y, f, likelihood))
        return f @ inverse @ f / 2 - likely, inverse @ f - 2 * (
            y - rf.expected_target(f, likelihood)
        )

    best = minimize(cost, np.zeros(20), jac=True, method="BFGS", options={"gtol": 1e-9})
    assert np.allclose(belief.mean, best.x, atol=1e-5)
    curvature = inverse + np.diag(2 * rf._variance(belief.mean, likelihood))
    assert np.allclose(belief.covariance, np.linalg.inv(curvature), atol=1e-6)


def test_laplace_agrees_with_sklearn():
    x, labels = rf.two_moons(60, 0.2, 3)
    x_new, _ = rf.two_moons(30, 0.2, 4)
    gp = pytest.importorskip("sklearn.gaussian_process")
    kernel = gp.kernels.ConstantKernel(4.0, "fixed") * gp.kernels.RBF(0.5, "fixed")
    peer = gp.GaussianProcessClassifier(kernel, optimizer=None).fit(x, labels)
    gram = 4 * Gaussian(0.5).gram(np.r_[x, x_new])
    belief = rf.laplace_condition(rf.gp_prior(gram), labels, "bernoulli")
    # scikit-learn integrates with an approximation of the sigmoid, hence the loose tolerance
    want = peer.predict_proba(x_new)[:, 1]
    assert np.abs(rf.class_probability(belief)[60:] - want).max() < 5e-3


def confidence(kind, seed, rounds):
    x, labels = rf.two_moons(60, 0.2, seed)
    x_new, _ = rf.two_moons(100, 0.2, seed + 100)
    belief = kind(4 * Gaussian(0.5).gram(np.r_[x, x_new]), labels, rounds)[-1]
    soft = kind is rf.distill_classifier_data and rounds > 1
    p = rf.class_probability(belief, rf.LIKELIHOODS[soft])[60:]
    return np.maximum(p, 1 - p).mean()


@pytest.mark.parametrize("seed", range(3))
def test_claim_classifiers_drift_in_opposite_directions(seed):
    teacher = confidence(rf.distill_classifier_data, seed, 1)

    def holds(sure, unsure):
        return sure - teacher > 0.03 and teacher - unsure > 0.1

    sure = confidence(rf.distill_classifier_distribution, seed, 5)
    unsure = confidence(rf.distill_classifier_data, seed, 5)
    assert holds(sure, unsure)
    assert not holds(unsure, sure)
    assert not holds(teacher, teacher)


@pytest.mark.parametrize("seed", range(3))
def test_claim_distilled_classifier_is_nearly_duplicated_data(seed):
    x, labels = rf.two_moons(80, 0.2, seed)
    gram = 4 * Gaussian(0.5).gram(x)
    five = rf.class_probability(rf.distill_classifier_distribution(gram, labels, 5)[-1])

    def holds(copies):
        once = rf.laplace_condition(rf.gp_prior(gram), labels, "bernoulli", copies=copies)
        return np.abs(five - rf.class_probability(once)).max() < 0.05

    assert holds(5)
    assert not holds(1)


def test_two_moons_are_two_interleaved_half_circles():
    points, labels = rf.two_moons(101, 0.0, 0)
    assert points.shape == (101, 2) and labels.sum() == 50
    upper, lower = points[labels == 0], points[labels == 1]
    assert np.allclose(np.hypot(*upper.T), 1) and upper[:, 1].min() >= 0
    assert np.allclose(np.hypot(*(lower - [1, 0.5]).T), 1) and lower[:, 1].max() <= 0.5
    assert np.array_equal(points, rf.two_moons(101, 0.0, 0)[0])


# --- Linear estimators of bounded bias ----------------------------------------------------------


@pytest.mark.parametrize("norm", rf.BIAS_NORMS)
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_bounded_bias_weights_solve_their_constrained_problem(norm, share):
    s = np.array([3.0, 2.0, 1.2, 0.7, 0.4])
    bound = share * rf.schatten_norm(np.ones(5), norm)
    w = rf.bounded_bias_weights(s, bound, norm)
    assert rf.schatten_norm(1 - w, norm) == pytest.approx(bound, rel=1e-8)
    constraint = {
        "spectral": lambda b: bound - b,
        "frobenius": lambda b: bound**2 - b @ b,
        "nuclear": lambda b: bound - b.sum(),  # 0 <= b, see bounds
    }[norm]
    found = minimize(
        lambda b: np.sum(((1 - b) / s) ** 2),
        np.full(5, 0.05),
        jac=lambda b: -2 * (1 - b) / s**2,
        bounds=[(0, 1)] * 5,
        constraints={"type": "ineq", "fun": constraint},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    cost = rf.estimator_variance(w, s, 1.0)
    assert cost == pytest.approx(found.fun, abs=1e-6)
    assert np.allclose(1 - w, found.x, atol=1e-4)


@pytest.mark.parametrize("norm", rf.BIAS_NORMS)
def test_bounded_bias_weights_at_the_ends(norm):
    s = np.array([2.0, 1.0, 0.1])
    assert np.array_equal(rf.bounded_bias_weights(s, 0, norm), np.ones(3))
    assert np.array_equal(rf.bounded_bias_weights(s, 3, norm), np.zeros(3))
    path = rf.weight_path(s, norm, 50)
    assert path.shape == (50, 3) and np.all(np.diff(path, axis=0) <= 1e-12)


def test_each_estimator_has_the_least_bias_in_its_own_norm():
    s = np.array([3.0, 2.0, 1.2, 0.7, 0.4])
    variance = 0.3 * rf.estimator_variance(np.ones(5), s, 1.0)
    same = {}
    for norm in rf.BIAS_NORMS:
        path = rf.weight_path(s, norm, 20_000)
        nearest = np.argmin(np.abs(rf.estimator_variance(path, s, 1.0) - variance))
        same[norm] = path[nearest]
    for norm in rf.BIAS_NORMS:
        sizes = {other: rf.schatten_norm(1 - w, norm) for other, w in same.items()}
        assert min(sizes, key=sizes.get) == norm
        assert sorted(sizes.values())[1] > 1.02 * sizes[norm]


def test_linear_risk_against_matrices_and_simulation():
    p = rf.power_law_problem(30, 6, 1.0, -0.5, 0.7, 0)
    w = rf.bounded_bias_weights(p.singular_values, 0.8, "frobenius")
    estimator = (p.right * (w / p.singular_values)) @ p.left.T
    assert np.allclose(estimator @ p.y, rf.estimate_coefficients(p, w))
    want = naive.linear_risk(p.design, p.coefficients, p.noise, estimator)
    assert rf.linear_risk(w, p.singular_values, p.target, p.noise) == pytest.approx(want)
    rng = np.random.default_rng(0)
    y = p.design @ p.coefficients + p.noise * rng.standard_normal((20_000, 30))
    errors = np.sum(((y @ estimator.T - p.coefficients) @ p.design.T) ** 2, axis=1)
    exact = rf.linear_risk(w, p.singular_values, p.target, p.noise, prediction=True)
    assert abs(errors.mean() - exact) < 4 * errors.std() / np.sqrt(len(errors))


def test_frobenius_path_is_sklearn_ridge():
    p = rf.power_law_problem(40, 8, 1.0, 0.0, 0.5, 1)
    linear_model = pytest.importorskip("sklearn.linear_model")
    for w in rf.weight_path(p.singular_values, "frobenius", 9):
        penalty = p.singular_values[0] ** 2 * (1 / w[0] - 1)
        peer = linear_model.Ridge(alpha=penalty, fit_intercept=False, solver="svd")
        want = peer.fit(p.design, p.y).coef_
        assert np.allclose(rf.estimate_coefficients(p, w), want, atol=1e-7)


def test_ideal_weights_beat_every_family():
    p = rf.power_law_problem(80, 40, 1.0, -1.0, 1.0, 0)
    ideal = rf.linear_risk(rf.ideal_weights(p), p.singular_values, p.target, p.noise)
    assert all(ideal < rf.oracle_risk(p, norm) for norm in rf.BIAS_NORMS)
    even = rf.power_law_problem(80, 40, 1.0, 0.0, 1.0, 0)
    ideal = rf.linear_risk(rf.ideal_weights(even), even.singular_values, even.target, 1.0)
    assert rf.oracle_risk(even, "frobenius") == pytest.approx(ideal, rel=1e-3)


def risk_ratio(norm, growth, seed, prediction):
    p = rf.power_law_problem(80, 40, 1.0, growth, 1.0, seed)
    return rf.oracle_risk(p, norm, prediction) / rf.oracle_risk(p, "frobenius", prediction)


@pytest.mark.parametrize("seed", range(5))
def test_claim_the_target_decides_which_shrinkage_wins(seed):
    assert risk_ratio("nuclear", -2.0, seed, False) < 0.6
    assert not risk_ratio("nuclear", 0.0, seed, False) < 0.6
    assert risk_ratio("spectral", 2.0, seed, True) < 0.9
    assert not risk_ratio("spectral", 0.0, seed, True) < 0.9
    for norm in ("nuclear", "spectral"):  # ridge's home ground
        assert risk_ratio(norm, 0.0, seed, False) > 1.02


def test_claim_nuclear_wins_also_when_tuned_by_leave_one_out():
    def ratio(growth):
        ratios = []
        for seed in range(10):
            p = rf.power_law_problem(80, 40, 1.0, growth, 1.0, seed)
            risk = {
                norm: rf.linear_risk(
                    rf.leave_one_out_weights(p, norm), p.singular_values, p.target, p.noise
                )
                for norm in ("nuclear", "frobenius")
            }
            ratios.append(risk["nuclear"] / risk["frobenius"])
        return np.median(ratios)

    assert ratio(-2.0) < 0.6
    assert not ratio(0.0) < 0.6


# --- Spectrally transformed kernel regression ---------------------------------------------------


@pytest.fixture(scope="module")
def moons():
    points, labels = rf.two_moons(120, 0.1, 0)
    gram = Gaussian(0.3).gram(points)
    return points, 2 * labels - 1, gram, rf.kernel_eigensystem(gram)


def transforms(top):
    return [
        rf.InverseLaplacian(0.0),
        rf.InverseLaplacian(0.9 / top),
        rf.PowerSeries((1.0,)),
        rf.PowerSeries((0.5, 0.0, 3.0)),
        rf.PowerSeries((0.0,) * 7 + (1.0,)),
    ]


@pytest.mark.parametrize("which", range(5))
def test_transformed_fit_against_dense_eigenvectors(moons, which):
    points, y, gram, (values, vectors) = moons
    transform = transforms(values[0])[which]
    labelled = np.array([3, 50, 7, 99, 20, 31])
    dense = naive.transformed_gram(gram, transform.profile)
    dual = np.linalg.solve(dense[np.ix_(labelled, labelled)] + 6e-3 * np.eye(6), y[labelled])
    for eigensystem in (None, (values, vectors)):
        fit = rf.fit_transformed(gram, labelled, y[labelled], transform, 1e-3, eigensystem)
        scale = np.abs(dense[:, labelled] @ dual).max()
        assert np.abs(fit.fitted - dense[:, labelled] @ dual).max() < 1e-7 * scale
        # the claim of the inductive formula, and its control: leave out the unlabelled points
        assert np.abs(fit.predict(gram) - fit.fitted).max() < 1e-8 * scale
        if which not in (0, 2):
            plain = gram[:, labelled] @ fit.dual
            assert not np.abs(plain - fit.fitted).max() < 1e-8 * scale


def test_no_transform_is_kernel_ridge(moons):
    points, y, gram, eigensystem = moons
    ridge = pytest.importorskip("sklearn.kernel_ridge").KernelRidge
    labelled = np.arange(10)
    peer = ridge(alpha=10 * 1e-2, kernel="precomputed").fit(gram[:10, :10], y[:10])
    fit = rf.fit_transformed(gram, labelled, y[:10], rf.InverseLaplacian(0.0), 1e-2, eigensystem)
    assert np.allclose(fit.fitted, peer.predict(gram[:, :10]), atol=1e-9)


def test_richardson_solves_the_inverse_laplacian(moons):
    _, _, gram, (values, _) = moons
    average = gram / len(gram)
    block = np.ascontiguousarray(gram[:, :4])
    counts = []
    for share in (0.0, 0.5, 0.9):
        eta = share / values[0]
        got, steps = rf.inverse_laplacian_solve(average, block, eta)
        want = np.linalg.solve(np.eye(len(gram)) - eta * average, block)
        assert np.abs(got - want).max() < 1e-9 * np.abs(want).max()
        counts.append(steps)
    assert counts[0] < counts[1] < counts[2]
    one, _ = rf.inverse_laplacian_solve(average, block[:, 0], 0.9 / values[0])
    assert np.allclose(one, got[:, 0])
    assert rf.largest_eigenvalue(average) == pytest.approx(values[0], rel=1e-10)
    assert rf.largest_eigenvalue(average[:5, :5]) == pytest.approx(
        np.linalg.eigvalsh(average[:5, :5])[-1]
    )


def test_kernel_pca_is_least_squares_on_eigenfunctions(moons):
    _, y, gram, (values, vectors) = moons
    labelled = np.arange(0, 120, 4)
    fit = rf.fit_kernel_pca(gram, labelled, y[labelled], 5)
    features = vectors[:, :5]
    weights = np.linalg.lstsq(features[labelled], y[labelled], rcond=None)[0]
    assert np.allclose(fit.fitted, features @ weights, atol=1e-8)
    assert np.allclose(fit.predict(gram), fit.fitted, atol=1e-7)
    again = rf.fit_kernel_pca(gram, labelled, y[labelled], 5, (values, vectors))
    assert np.allclose(again.fitted, fit.fitted, atol=1e-8)


def moons_errors(bandwidth, share, seeds=10):
    errors = []
    for seed in range(seeds):
        points, labels = rf.two_moons(500, 0.1, seed)
        y = 2 * labels - 1
        kernel = Gaussian(bandwidth)
        gram, cross = kernel.gram(points[:300]), kernel.gram(points[300:], points[:300])
        labelled = np.r_[np.flatnonzero(labels[:300])[:5], np.flatnonzero(labels[:300] == 0)[:5]]
        system = rf.kernel_eigensystem(gram)
        transform = rf.InverseLaplacian(share / system[0][0])
        fit = rf.fit_transformed(gram, labelled, y[labelled], transform, 1e-3, system)
        errors.append(np.mean(np.sign(fit.predict(cross)) != y[300:]))
    return np.mean(errors)


def test_claim_unlabelled_points_help_where_the_kernel_is_narrow():
    def holds(bandwidth):
        return moons_errors(bandwidth, 0.99) <= 0.6 * moons_errors(bandwidth, 0.0)

    assert holds(0.158)  # exp(-20 r^2)
    assert not holds(1.58)  # exp(-0.2 r^2): only the nearly constant eigenfunction is lifted


def test_label_spreading_agrees_on_the_moons():
    """A peer that uses the same idea, the normalised graph Laplacian, labels the same points."""
    semi = pytest.importorskip("sklearn.semi_supervised")
    points, labels = rf.two_moons(300, 0.08, 5)
    y = 2 * labels - 1
    labelled = np.r_[np.flatnonzero(labels)[:5], np.flatnonzero(labels == 0)[:5]]
    partial = np.full(300, -1)
    partial[labelled] = labels[labelled]
    peer = semi.LabelSpreading(kernel="rbf", gamma=20, alpha=0.99, max_iter=2000)
    want = 2 * peer.fit(points, partial).transduction_ - 1
    gram = Gaussian(np.sqrt(1 / 40)).gram(points)
    system = rf.kernel_eigensystem(gram)
    transform = rf.InverseLaplacian(0.99 / system[0][0])
    fit = rf.fit_transformed(gram, labelled, y[labelled], transform, 1e-3, system)
    assert np.mean(np.sign(fit.fitted) == want) > 0.95


def test_claim_digits_gain_with_a_narrow_kernel_only():
    from kernellab.datasets import digits

    data = digits(classes=(3, 8))
    y = np.where(data.labels == 3, 1.0, -1.0)

    def ratio(bandwidth, draws=15):
        errors = np.zeros((draws, 2))
        for draw in range(draws):
            order = np.random.default_rng(1000 + draw).permutation(len(y))
            seen, held = order[:214], order[214:]
            labelled = np.r_[np.flatnonzero(y[seen] > 0)[:10], np.flatnonzero(y[seen] < 0)[:10]]
            gram = Gaussian(bandwidth).gram(data.x[seen])
            cross = Gaussian(bandwidth).gram(data.x[held], data.x[seen])
            system = rf.kernel_eigensystem(gram)
            for i, share in enumerate((0.0, 0.9)):
                transform = rf.InverseLaplacian(share / system[0][0])
                fit = rf.fit_transformed(gram, labelled, y[seen][labelled], transform, 1e-3, system)
                errors[draw, i] = np.mean(np.sign(fit.predict(cross)) != y[held])
        return errors[:, 1].mean() / errors[:, 0].mean()

    assert ratio(0.5) < 0.8
    assert not ratio(1.58) < 0.8


# --- The exact error on the circle --------------------------------------------------------------


@pytest.mark.compiled
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 41])
def test_fold_against_the_loop(n):
    rng = np.random.default_rng(n)
    lam, c2 = rng.uniform(0.1, 1, 41), rng.uniform(0, 1, 41)
    circle = rf.fold_circle(lam, c2, n, 0.3)
    want = naive.fold(lam, c2, n)
    got = circle.eigenvalues, circle.energy, circle.aligned, circle.leakage
    assert np.allclose(got, want, rtol=1e-13)
    h = rng.uniform(0, 1, n)
    assert rf.circle_loss(circle, h) == pytest.approx(naive.circle_loss(lam, c2, n, 0.3, h))
    assert rf.circle_loss(circle, np.zeros(n)) == pytest.approx(c2.sum())


@pytest.mark.compiled
@pytest.mark.parametrize("n", [4, 5])
def test_circle_loss_is_the_mean_over_all_shifts(n):
    """Without noise the average over shifts is a finite sum: an identity, no sampling."""
    lam, c2 = rf.power_laws(1.5, 1.0, n, 6)
    rng = np.random.default_rng(0)
    coefficients = np.sqrt(c2) * np.exp(2j * np.pi * rng.random(len(c2)))
    circle = rf.fold_circle(lam, c2, n, 0.0)

    def profile(v):
        return rf.ridge_profile(v, 0.05)

    # one fit's loss has period 2 pi / n and finitely many frequencies in the shift
    shifts = 2 * np.pi / n * np.arange(64) / 64
    losses = [naive.shifted_circle_loss(lam, coefficients, n, profile, u) for u in shifts]
    assert rf.circle_loss(circle, profile(circle.eigenvalues)) == pytest.approx(np.mean(losses))


def circle_deviation(n, loss_of, runs=300, seed=0):
    """Return |formula - simulation| in standard errors."""
    laws = rf.power_laws(2.0, 1.5, n)
    circle = rf.fold_circle(*laws, n, 0.04)
    rng = np.random.default_rng(seed)
    losses = [
        rf.simulate_circle(*laws, n, 0.04, lambda v: rf.ridge_profile(v, 1e-2), rng)
        for _ in range(runs)
    ]
    formula = loss_of(circle, rf.ridge_profile(circle.eigenvalues, 1e-2))
    return abs(np.mean(losses) - formula) / (np.std(losses, ddof=1) / np.sqrt(runs))


def without_aliasing(circle, h):
    n = h.size
    return np.sum((1 - h) ** 2 * circle.energy + h**2 * circle.noise_variance / n)


@pytest.mark.compiled
@pytest.mark.parametrize("n", [15, 16])
def test_claim_the_circle_formula_is_the_simulation(n):
    assert circle_deviation(n, rf.circle_loss) < 4
    assert not circle_deviation(n, without_aliasing) < 4


@pytest.mark.compiled
def test_optimal_profile_beats_random_and_tuned_ones():
    circle = rf.fold_circle(*rf.power_laws(2.0, 1.5, 32), 32, 0.04)
    best = rf.optimal_profile(circle)
    least = rf.circle_loss(circle, best)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 1.0):
        for _ in range(334):
            assert rf.circle_loss(circle, best + size * rng.standard_normal(32)) > least
    for method in rf.CIRCLE_METHODS:
        strength, loss = rf.tuned_circle_loss(circle, method)
        assert loss > least
        assert loss == pytest.approx(
            rf.circle_loss(circle, rf.circle_profile(circle, method, strength))
        )
        for other in (0.5 * strength, 2 * strength):
            assert rf.circle_loss(circle, rf.circle_profile(circle, method, other)) >= loss - 1e-12
    assert rf.learning_curve(2.0, 1.5, 0.04, [32], "optimal")[0] == pytest.approx(least)


@pytest.mark.compiled
def test_loss_parts_and_frequencies_add_up():
    circle = rf.fold_circle(*rf.power_laws(2.0, 1.5, 9), 9, 0.04)
    h = rf.ridge_profile(circle.eigenvalues, 0.1)
    signal, noise = rf.circle_loss_parts(circle, h)
    assert signal.min() > 0 and noise.min() > 0
    total = rf.by_frequency(signal).sum() + rf.by_frequency(noise).sum()
    assert total == pytest.approx(rf.circle_loss(circle, h))
    assert np.array_equal(rf.by_frequency(np.arange(5.0)), [0, 5, 5])
    assert np.array_equal(rf.by_frequency(np.arange(4.0)), [0, 4, 2])


@pytest.mark.compiled
def test_claim_ridge_saturates_and_gradient_flow_does_not():
    def slopes(kappa):
        return {
            method: log_log_slope(SIZES, rf.learning_curve(2.0, kappa, 0.04, SIZES, method))
            for method in ("ridge", "gradient flow")
        }

    def holds(s):
        return s["ridge"] - s["gradient flow"] > 0.02

    smooth, rough = slopes(5.0), slopes(3.0)
    assert holds(smooth)
    assert not holds(rough)
    assert smooth["gradient flow"] == pytest.approx(-5 / 6, abs=0.05)
    assert smooth["ridge"] == pytest.approx(-4 / 5, abs=0.05)
    for value in rough.values():
        assert value == pytest.approx(-3 / 4, abs=0.05)


def test_waves_and_the_circle_kernel():
    lam, energy = rf.power_laws(2.0, 1.5, 4, 4)
    wave = rf.random_wave(energy, 0)
    x = np.arange(64) / 64
    assert np.mean(wave(x) ** 2) == pytest.approx(energy.sum())  # Parseval
    assert np.allclose(wave(x), wave(x + 1))
    found = rf.fit_wave(x, wave(x), 8)
    assert np.allclose(found.coefficients, wave.coefficients, atol=1e-10)
    rng = np.random.default_rng(0)
    a, b = rng.random(5), rng.random(3)
    orders = np.arange(-8, 9)
    want = np.cos(2 * np.pi * (a[:, None] - b)[:, :, None] * orders) @ lam
    assert np.allclose(rf.circle_gram(a, b, lam), want)
    # on the grid, the eigenvalues of K/n are the folded ones
    grid = np.arange(4) / 4
    values, _ = rf.kernel_eigensystem(rf.circle_gram(grid, grid, lam))
    assert np.allclose(values, np.sort(rf.fold_circle(lam, energy, 4, 0.0).eigenvalues)[::-1])


@pytest.mark.compiled
def test_random_design_has_the_grids_shape():
    laws = rf.power_laws(2.0, 1.5, 128, 8)
    circle = rf.fold_circle(*laws, 128, 0.04)
    for eta in (1e-3, 1e-2, 1e-1):
        losses = [
            rf.simulate_random_design(
                *laws, 128, 0.04, lambda v, e=eta: rf.ridge_profile(v, e), seed
            )
            for seed in range(6)
        ]
        exact = rf.circle_loss(circle, rf.ridge_profile(circle.eigenvalues, eta))
        assert 0.9 * exact < np.mean(losses) < 1.6 * exact


# --- Receive beamforming ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def array():
    rng = np.random.default_rng(0)
    channel = rf.random_channel(8, 4, rng)
    return channel, rf.antenna_snapshots(channel, 12, 0.5, rng)


def test_linear_beamformer_is_ridge_on_stacked_reals(array):
    _, pilots = array
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, s = pilots.received, pilots.symbols
    # a complex product in real numbers: [re, im] from [[A, -B], [B, A]]
    rows = np.vstack([np.hstack([x.real, -x.imag]), np.hstack([x.imag, x.real])])
    peer = linear_model.Ridge(alpha=12 * 0.3, fit_intercept=False, solver="svd")
    coefficients = peer.fit(rows, np.vstack([s.real, s.imag])).coef_
    w = rf.linear_beamformer(rf.sample_covariances(pilots), 0.3)
    assert np.allclose(w, coefficients[:, :8] + 1j * coefficients[:, 8:], atol=1e-9)


def test_linear_beamformer_minimises_its_risk(array):
    channel, pilots = array
    for covariances in (rf.sample_covariances(pilots), rf.channel_covariances(channel, 0.5)):
        for loading in (0.0, 0.2):
            w = rf.linear_beamformer(covariances, loading)
            least = rf.beamforming_risk(w, covariances, loading)
            rng = np.random.default_rng(1)
            for _ in range(20):
                other = w + 0.01 * (rng.standard_normal(w.shape) + 1j * rng.standard_normal())
                assert rf.beamforming_risk(other, covariances, loading) > least


def test_beamforming_risk_against_simulation(array):
    channel, pilots = array
    w = rf.linear_beamformer(rf.sample_covariances(pilots), 0.3)
    exact = rf.beamforming_risk(w, rf.channel_covariances(channel, 0.5))
    simulated = naive.beamforming_risk(w, channel, 0.5, np.random.default_rng(0), 100_000)
    assert simulated == pytest.approx(exact, rel=0.02)
    known = rf.linear_beamformer(rf.channel_covariances(channel, 0.5))
    assert rf.beamforming_risk(known, rf.channel_covariances(channel, 0.5)) < exact


def test_fewer_snapshots_than_antennas():
    rng = np.random.default_rng(3)
    pilots = rf.antenna_snapshots(rf.random_channel(8, 2, rng), 5, 0.1, rng)
    w = rf.linear_beamformer(rf.sample_covariances(pilots))
    assert np.allclose(rf.estimate_symbols(w, pilots.received), pilots.symbols, atol=1e-8)
    assert np.allclose(w, (np.linalg.pinv(pilots.received) @ pilots.symbols).T, atol=1e-8)


def test_threshold_beamformer_is_clipped_shrinkage(array):
    _, pilots = array
    c = rf.sample_covariances(pilots)
    power, vectors = np.linalg.eigh(c.received)
    h = rf.clipped_shrinkage_profile(power, 1.0)
    want = c.cross @ (vectors * (h / power)) @ vectors.conj().T
    assert np.allclose(rf.threshold_beamformer(c, 1.0), want)


@pytest.mark.parametrize("seed", range(3))
def test_claim_loading_is_the_worst_case_over_the_set(seed):
    rng = np.random.default_rng(seed)
    channel = rf.random_channel(8, 4, rng)
    c = rf.sample_covariances(rf.antenna_snapshots(channel, 12, 0.5, rng))
    w, size = rf.linear_beamformer(c, 0.5), 0.5
    excess = []
    for trial in range(500):
        basis, _ = np.linalg.qr(rng.standard_normal((8, 8)) + 1j * rng.standard_normal((8, 8)))
        shift = rng.uniform(-size, size, 8) if trial % 2 else size * rng.choice([-1.0, 1.0], 8)
        moved = rf.Covariances(c.received + (basis * shift) @ basis.conj().T, c.cross, c.symbols)
        excess.append(rf.beamforming_risk(w, moved))
    extreme = rf.Covariances(c.received + size * np.eye(8), c.cross, c.symbols)
    worst = rf.beamforming_risk(w, extreme)

    def holds(bound):
        return max(excess) <= bound + 1e-12 and abs(worst - bound) < 1e-12

    assert holds(rf.beamforming_risk(w, c, size))
    assert not holds(rf.beamforming_risk(w, c))  # the plain objective is exceeded


def loading_gain(pilots, noise=0.5):
    gains = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        channel = rf.random_channel(8, 4, rng)
        snapshots = rf.antenna_snapshots(channel, pilots, noise, rng)
        true, sample = rf.channel_covariances(channel, noise), rf.sample_covariances(snapshots)
        loading = rf.tune_loading(snapshots, LOADINGS)
        loaded = rf.beamforming_risk(rf.linear_beamformer(sample, loading), true)
        gains.append(1 - loaded / rf.beamforming_risk(rf.linear_beamformer(sample), true))
    return np.median(gains)


def test_claim_loading_halves_the_error_when_pilots_are_few():
    def holds(gain):
        return gain > 0.5

    assert holds(loading_gain(10))
    assert not holds(loading_gain(200))
    assert loading_gain(200) < 0.01


def rbf_ratio(pilots, seed, constellation="qpsk"):
    rng = np.random.default_rng(seed)
    channel = rf.random_channel(8, 4, rng)
    train, test = (
        rf.antenna_snapshots(channel, size, 0.1, rng, constellation, saturation=0.5)
        for size in (pilots, 500)
    )
    w = rf.linear_beamformer(rf.sample_covariances(train), rf.tune_loading(train, LOADINGS))
    linear = rf.symbol_mse(rf.estimate_symbols(w, test.received), test.symbols)
    kernel = Gaussian(8.0)
    x = rf.stack_reals(train.received)
    gram, cross = kernel.gram(x), kernel.gram(rf.stack_reals(test.received), x)
    loading = rf.tune_kernel_loading(gram, train.symbols, np.geomspace(1e-7, 1, 30))
    dual = rf.kernel_beamformer(gram, train.symbols, loading)
    return rf.symbol_mse(cross @ dual, test.symbols) / linear


@pytest.mark.parametrize("seed", range(3))
def test_claim_kernel_beamformer_needs_many_pilots(seed):
    def holds(ratio):
        return ratio < 0.8

    assert holds(rbf_ratio(800, seed))
    assert not holds(rbf_ratio(50, seed))
    assert not holds(rbf_ratio(400, seed, "gaussian"))  # no constellation to learn


def test_kernel_beamformer_is_sklearn_kernel_ridge(array):
    _, pilots = array
    ridge = pytest.importorskip("sklearn.kernel_ridge").KernelRidge
    gram = Gaussian(4.0).gram(rf.stack_reals(pilots.received))
    peer = ridge(alpha=12 * 0.1, kernel="precomputed").fit(gram, rf.stack_reals(pilots.symbols))
    got = gram @ rf.kernel_beamformer(gram, pilots.symbols, 0.1)
    assert np.allclose(rf.stack_reals(got), peer.predict(gram), atol=1e-9)


def test_snapshots_have_the_powers_they_should():
    rng = np.random.default_rng(0)
    channel = rf.random_channel(3, 2, rng)
    clean = rf.antenna_snapshots(channel, 4000, 0.0, rng)
    assert np.allclose(clean.received, clean.symbols @ channel.T)
    assert np.allclose(np.abs(clean.symbols), 1)
    noisy = rf.antenna_snapshots(channel, 4000, 0.25, rng, "gaussian")
    v = noisy.received - noisy.symbols @ channel.T
    assert np.mean(np.abs(v) ** 2) == pytest.approx(0.25, rel=0.05)
    assert np.mean(np.abs(noisy.symbols) ** 2) == pytest.approx(1, rel=0.05)
    hit = rf.antenna_snapshots(channel, 4000, 0.0, rng, impulse_rate=0.1)
    v = hit.received - hit.symbols @ channel.T
    assert np.mean(v != 0) == pytest.approx(0.1, abs=0.01)
    bent = rf.antenna_snapshots(channel, 4000, 0.0, rng, saturation=2.0)
    assert np.abs(bent.received.real).max() <= 0.5
    same = [rf.antenna_snapshots(channel, 5, 0.1, 7).received for _ in range(2)]
    assert np.array_equal(*same)


# --- Bad input ----------------------------------------------------------------------------------

I2, Y2, NAN2 = np.eye(2), np.ones(2), np.array([1.0, np.nan])
PRIOR = rf.JointGaussian(np.zeros(2), I2)
COV = rf.Covariances(np.eye(2), np.ones((1, 2)), np.ones((1, 1)))
SNAP = rf.Snapshots(np.ones((3, 2)) + 0j, np.ones((3, 1)) + 0j)
PROBLEM = rf.power_law_problem(5, 2, 1.0, 0.0, 1.0, 0)
CIRCLE = rf.Circle(np.ones(3), np.ones(3), np.ones(3), np.ones(3), 0.1)
LAWS = (np.ones(5), np.ones(5))

BAD = [
    (lambda: rf.spectrum(np.ones((2, 3)), Y2), "matrix|gram"),
    (lambda: rf.spectrum([[1.0, 2.0], [0.0, 1.0]], Y2), "symmetric"),
    (lambda: rf.spectrum(-I2, Y2), "positive semi"),
    (lambda: rf.spectrum(I2, np.ones(3)), "y"),
    (lambda: rf.kernel_eigensystem(-I2), "positive semi"),
    (lambda: rf.spectrum(I2, Y2).fitted(np.ones(3)), "h"),
    (lambda: rf.spectrum(I2, Y2).dual(NAN2), "h"),
    (lambda: rf.spectrum(I2, Y2).predict(np.ones((2, 3)), Y2), "cross_gram"),
    (lambda: rf.filtered_fit(I2, Y2, lambda v: v[:1]), "h"),
    (lambda: rf.filtered_fit(I2, NAN2, np.ones_like), "y"),
    (lambda: rf.ridge_profile(Y2, 0), "ridge"),
    (lambda: rf.ridge_profile(-Y2, 1), "eigenvalues"),
    (lambda: rf.gradient_descent_profile(Y2, -1, 0.1), "steps"),
    (lambda: rf.gradient_descent_profile(Y2, 1.5, 0.1), "steps"),
    (lambda: rf.gradient_descent_profile(Y2, 1, 2.0), "step_size"),
    (lambda: rf.gradient_flow_profile(Y2, -1.0), "time"),
    (lambda: rf.distilled_profile(Y2, 1.0, -1, 0.5), "rounds"),
    (lambda: rf.distilled_profile(Y2, 1.0, 1, 1.5), "truth_weight"),
    (lambda: rf.distilled_profile(Y2, 0.0, 1, 0.5), "ridge"),
    (lambda: rf.uniform_shrinkage_profile(Y2, 1.1), "shrinkage"),
    (lambda: rf.clipped_shrinkage_profile(Y2, 0.0), "ridge"),
    (lambda: rf.truncation_profile(Y2, -1.0), "threshold"),
    (lambda: rf.leave_one_out(I2, np.ones(3), Y2), "h"),
    (lambda: rf.leave_one_out(I2, Y2, np.ones(3)), "same length"),
    (lambda: rf.leave_one_out(NAN2[:, None], np.ones(1), Y2), "basis"),
    (lambda: rf.distill(I2, Y2, -1.0, []), "ridge"),
    (lambda: rf.distill(I2, np.ones(3), 1.0, []), "y"),
    (lambda: rf.distill(I2, Y2, 1.0, NAN2), "truth_weights"),
    (lambda: rf.distill(-9 * I2, Y2, 1.0, []), "positive"),
    (lambda: rf.limit_ridge(1.0, 0.0), "truth_weight"),
    (lambda: rf.limit_ridge(0.0, 0.5), "ridge"),
    (lambda: rf.best_truth_weight(Y2, np.ones(3), Y2), "fresh"),
    (lambda: rf.best_truth_weight(NAN2, Y2, Y2), "student"),
    (lambda: rf.distill_tuned(I2, Y2, 1.0, np.ones((2, 3)), Y2, 1), "cross_gram"),
    (lambda: rf.distill_tuned(I2, Y2, 1.0, I2, np.ones(3), 1), "y_validation"),
    (lambda: rf.distill_tuned(I2, Y2, 1.0, I2, Y2, -1), "rounds"),
    (lambda: rf.gp_prior(np.ones((2, 3))), "gram"),
    (lambda: rf.condition(PRIOR, np.ones(3), 0.1), "y"),
    (lambda: rf.condition(PRIOR, Y2, 0.0), "noise_variance"),
    (lambda: rf.distill_data(I2, Y2, [0.1, -0.1]), "noise_variance"),
    (lambda: rf.distill_data(I2, Y2, []), "noise_variances"),
    (lambda: rf.distill_distribution(I2, np.ones(3), [0.1]), "y"),
    (lambda: rf.distill_distribution(I2, Y2, [0.0]), "noise_variance"),
    (lambda: rf.combined_noise([0.1, 0.0]), "noise_variances"),
    (lambda: rf.coverage(PRIOR, np.ones(3)), "truth"),
    (lambda: rf.coverage(PRIOR, Y2, 1.0), "level"),
    (lambda: rf.log_continuous_bernoulli_constant([0.0, 0.5]), "p"),
    (lambda: rf.expected_target(Y2, "gaussian"), "likelihood"),
    (lambda: rf.laplace_condition(PRIOR, [0.5, 1.0], "bernoulli"), "0 or 1"),
    (lambda: rf.laplace_condition(PRIOR, [0.5, 1.5], "continuous bernoulli"), "y"),
    (lambda: rf.laplace_condition(PRIOR, Y2, "probit"), "likelihood"),
    (lambda: rf.laplace_condition(PRIOR, Y2, "bernoulli", 0), "copies"),
    (lambda: rf.class_probability(PRIOR, "probit"), "likelihood"),
    (lambda: rf.distill_classifier_data(I2, Y2, 0), "rounds"),
    (lambda: rf.distill_classifier_distribution(I2, Y2, 0), "rounds"),
    (lambda: rf.distill_classifier_distribution(I2, [0.5, 1], 1), "0 or 1"),
    (lambda: rf.two_moons(1, 0.1, 0), "n"),
    (lambda: rf.two_moons(10, -0.1, 0), "noise"),
    (lambda: rf.two_moons(10, 0.1, None), "rng"),
    (lambda: rf.power_law_problem(2, 3, 1.0, 0.0, 1.0, 0), "n"),
    (lambda: rf.power_law_problem(3, 0, 1.0, 0.0, 1.0, 0), "d"),
    (lambda: rf.power_law_problem(3, 2, -1.0, 0.0, 1.0, 0), "decay"),
    (lambda: rf.power_law_problem(3, 2, 1.0, 99.0, 1.0, 0), "growth"),
    (lambda: rf.power_law_problem(3, 2, 1.0, 0.0, 0.0, 0), "noise"),
    (lambda: rf.schatten_norm(Y2, "trace"), "norm"),
    (lambda: rf.bounded_bias_weights([1.0, 0.0], 0.5, "nuclear"), "singular_values"),
    (lambda: rf.bounded_bias_weights(Y2, -1, "nuclear"), "bias_bound"),
    (lambda: rf.bounded_bias_weights(Y2, 1, "euclid"), "norm"),
    (lambda: rf.weight_path(Y2, "euclid"), "norm"),
    (lambda: rf.weight_path(Y2, "nuclear", 1), "size"),
    (lambda: rf.estimator_variance(np.ones(3), Y2, 1.0), "weights"),
    (lambda: rf.linear_risk(Y2, Y2, np.ones(3), 1.0), "target"),
    (lambda: rf.linear_risk(Y2, Y2, Y2, -1.0), "noise"),
    (lambda: rf.oracle_risk(PROBLEM, "euclid"), "norm"),
    (lambda: rf.leave_one_out_weights(PROBLEM, "euclid"), "norm"),
    (lambda: rf.estimate_coefficients(PROBLEM, np.ones(3)), "weights"),
    (lambda: rf.PowerSeries(()), "coefficients"),
    (lambda: rf.PowerSeries((1.0, -1.0)), "coefficients"),
    (lambda: rf.PowerSeries((0.0,)), "coefficients"),
    (lambda: rf.InverseLaplacian(-1.0), "eta"),
    (lambda: rf.InverseLaplacian(2.0).profile(Y2), "eta"),
    (lambda: rf.inverse_laplacian_solve(I2, Y2, 1.0), "eta"),
    (lambda: rf.inverse_laplacian_solve(I2, np.ones(3), 0.5), "block"),
    (lambda: rf.largest_eigenvalue(np.ones((2, 3))), "matrix"),
    (lambda: rf.fit_transformed(I2, [0, 2], Y2, rf.PowerSeries((1.0,)), 1.0), "labelled"),
    (lambda: rf.fit_transformed(I2, [0, 0], Y2, rf.PowerSeries((1.0,)), 1.0), "labelled"),
    (lambda: rf.fit_transformed(I2, [0.5], [1.0], rf.PowerSeries((1.0,)), 1.0), "labelled"),
    (lambda: rf.fit_transformed(I2, [0], Y2, rf.PowerSeries((1.0,)), 1.0), "y"),
    (lambda: rf.fit_transformed(I2, [0], [1.0], rf.PowerSeries((1.0,)), 0.0), "ridge"),
    (lambda: rf.fit_transformed(I2, [0], [1.0], rf.InverseLaplacian(2.0), 1.0), "eta"),
    (
        lambda: rf.fit_transformed(I2, [0], [1.0], rf.PowerSeries((1.0,)), 1.0).predict(
            np.ones((1, 3))
        ),
        "cross_gram",
    ),
    (lambda: rf.fit_kernel_pca(I2, [0], [1.0], 3), "components"),
    (lambda: rf.fit_kernel_pca(np.ones((2, 2)), [0], [1.0], 2), "components"),
    (lambda: rf.fold_circle(np.ones(4), np.ones(4), 2, 0.1), "odd"),
    (lambda: rf.fold_circle(np.ones(5), np.ones(3), 2, 0.1), "energy"),
    (lambda: rf.fold_circle(*LAWS, 6, 0.1), "n"),
    (lambda: rf.fold_circle(*LAWS, 0, 0.1), "n"),
    (lambda: rf.fold_circle(-np.ones(5), np.ones(5), 2, 0.1), "eigenvalues"),
    (lambda: rf.fold_circle(*LAWS, 2, -0.1), "noise_variance"),
    (lambda: rf.power_laws(1.0, 1.0, 4), "smoothness"),
    (lambda: rf.power_laws(2.0, 0.0, 4), "target_smoothness"),
    (lambda: rf.power_laws(2.0, 1.0, 4, 1), "per_bin"),
    (lambda: rf.random_wave(np.ones(4), 0), "odd"),
    (lambda: rf.random_wave(-np.ones(3), 0), "not be negative"),
    (lambda: rf.fit_wave(Y2, Y2, 1), "orders"),
    (lambda: rf.fit_wave(Y2, np.ones(3), 0), "y"),
    (lambda: rf.circle_gram(Y2, NAN2, np.ones(3)), "z"),
    (lambda: rf.circle_gram(Y2, Y2, np.ones(2)), "odd"),
    (lambda: rf.circle_loss(CIRCLE, np.ones(2)), "h"),
    (lambda: rf.circle_loss_parts(CIRCLE, [1, 2, np.nan]), "h"),
    (lambda: rf.by_frequency([]), "values"),
    (lambda: rf.circle_profile(CIRCLE, "lasso", 1.0), "method"),
    (lambda: rf.circle_profile(CIRCLE, "ridge", 0.0), "strength"),
    (lambda: rf.tuned_circle_loss(CIRCLE, "lasso"), "method"),
    (lambda: rf.learning_curve(2.0, 1.0, 0.1, [4], "lasso"), "method"),
    (lambda: rf.simulate_circle(*LAWS, 2, -0.1, np.ones_like, 0), "noise_variance"),
    (
        lambda: rf.simulate_circle([1.0, 1, 2], np.ones(3), 2, 0.1, np.ones_like, 0),
        "the same for l and -l",
    ),
    (lambda: rf.simulate_random_design(*LAWS, 2, 0.1, np.ones_like, "seed"), "rng"),
    (lambda: rf.random_channel(0, 1, 0), "n_antennas"),
    (lambda: rf.random_channel(1, 0, 0), "n_sources"),
    (lambda: rf.antenna_snapshots(Y2, 3, 0.1, 0), "channel"),
    (lambda: rf.antenna_snapshots(I2 * np.nan, 3, 0.1, 0), "channel"),
    (lambda: rf.antenna_snapshots(I2, 0, 0.1, 0), "n_snapshots"),
    (lambda: rf.antenna_snapshots(I2, 3, -0.1, 0), "noise"),
    (lambda: rf.antenna_snapshots(I2, 3, 0.1, 0, "psk8"), "constellation"),
    (lambda: rf.antenna_snapshots(I2, 3, 0.1, 0, saturation=-1.0), "saturation"),
    (lambda: rf.antenna_snapshots(I2, 3, 0.1, 0, impulse_rate=1.1), "impulse_rate"),
    (lambda: rf.antenna_snapshots(I2, 3, 0.1, 0, impulse_size=-1.0), "impulse_size"),
    (lambda: rf.sample_covariances(rf.Snapshots(I2, np.ones((3, 1)))), "same length"),
    (lambda: rf.channel_covariances(I2, -1.0), "noise"),
    (lambda: rf.linear_beamformer(COV, -1.0), "loading"),
    (lambda: rf.threshold_beamformer(COV, 0.0), "floor"),
    (lambda: rf.estimate_symbols(np.ones((1, 3)), np.ones((4, 2))), "received"),
    (lambda: rf.beamforming_risk(np.ones((1, 2)), COV, -1.0), "loading"),
    (lambda: rf.beamforming_risk(np.ones((1, 3)), COV), "beamformer"),
    (lambda: rf.stack_reals(Y2), "values"),
    (lambda: rf.kernel_beamformer(I2, np.ones((3, 1)), 1.0), "same length"),
    (lambda: rf.kernel_beamformer(I2, np.ones((2, 1)), 0.0), "loading"),
    (lambda: rf.symbol_mse(np.ones((2, 1)), np.ones((3, 1))), "estimates"),
    (lambda: rf.tune_loading(SNAP, [0.0, 1.0]), "loadings"),
    (lambda: rf.tune_kernel_loading(I2, np.ones((2, 1)), [-1.0]), "loadings"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input_is_refused_by_name(case):
    call, names = BAD[case]
    with pytest.raises(ValueError, match=names):
        call()


def test_every_public_function_has_a_bad_input_test_and_names_its_cost_or_paper():
    import inspect

    tested = "\n".join(inspect.getsource(call) for call, _ in BAD)
    for name, item in vars(rf).items():
        own = getattr(item, "__module__", None) == rf.__name__
        if name.startswith("_") or not inspect.isfunction(item) or not own:
            continue
        assert item.__doc__, name
        if name not in ("optimal_profile", "ideal_weights"):  # take a checked object only
            assert f"rf.{name}(" in tested, name
