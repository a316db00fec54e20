"""The ridge Gaussian worlds lab: independent checks, properties, bad input, and every claim with
its control."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf

from kernellab.methods.ridge_regression import ridge_gaussian_worlds as gw
from tests.naive import ridge_gaussian_worlds as naive


def direction(d, seed):
    return gw.random_encoder(1, d, seed)[0]


def labelled(seed, n=20_000, slab=0.0, flip_rate=0.2, adversarial=0.0, law="Gaussian"):
    rng = np.random.default_rng(seed)
    x, w = gw.draw_inputs(law, n, 10, rng), direction(10, seed)
    x = gw.plant_slab(x, w, slab, rng)
    return x, gw.noisy_labels(x, w, rng, flip_rate, adversarial), w


# --- Input laws ---------------------------------------------------------------------------------


@pytest.mark.parametrize("law", gw.LAWS)
def test_every_law_has_mean_zero_and_covariance_one(law):
    x = gw.draw_inputs(law, 100_000, 4, 0)
    assert np.abs(x.mean(axis=0)).max() < 0.02
    assert np.abs(x.T @ x / len(x) - np.eye(4)).max() < 0.06
    assert np.array_equal(x, gw.draw_inputs(law, 100_000, 4, 0))


def test_whiten():
    x = np.random.default_rng(0).standard_normal((200, 5)) @ np.diag([3, 2, 1, 0.1, 0]) + 7
    z = gw.whiten(x, 4)
    assert np.allclose(z.T @ z / 200, np.eye(4)) and np.allclose(z.mean(axis=0), 0)
    with pytest.raises(ValueError, match="dimension must be an integer between 1 and 4"):
        gw.whiten(x, 5)


# --- Grokking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.05, 0.5, 0.95, 1.0, 1.05, 3.0])
def test_quadrature_against_scipy_on_the_density(ratio):
    s, w = gw.marchenko_pastur(ratio, 4000)
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2
    atom = max(0.0, 1 - 1 / ratio)
    for f in (lambda v: v, lambda v: np.exp(-4 * v * 0.7), lambda v: np.cos(3 * v)):
        want = quad(
            lambda v, f=f: f(v) * gw.marchenko_pastur_density([v], ratio)[0], low, high, limit=300
        )[0]
        assert w @ f(s) == pytest.approx(want + atom * f(0.0), abs=2e-6)
    assert w.sum() == pytest.approx(1, abs=1e-3 if ratio == 1 else 1e-9)
    assert w @ s == pytest.approx(1, abs=1e-9)
    assert w @ s**2 == pytest.approx(1 + ratio, abs=1e-9)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(30, 8), (5, 8)])
def test_errors_are_those_of_literal_gradient_descent(decay, shape):
    x = np.random.default_rng(1).standard_normal(shape)
    world = gw.teacher_student(x, 2)
    u = world.eigenvectors
    got = u @ gw.student_errors(world, [1.5], decay)[0]
    want = naive.gradient_descent_errors(x, u @ world.teacher, u @ world.start, 1.5, decay)
    assert np.allclose(got, want, atol=2e-4)
    train, test = gw.training_losses(world, [0.0, 1.5], decay)
    assert test[1] == pytest.approx(got @ got) and train[1] == pytest.approx(
        np.mean((x @ got) ** 2)
    )
    assert test[0] == pytest.approx(world.energy.sum())


def loss_mismatch(law, seed, d=400, ratio=0.5):
    times = np.geomspace(0.01, 30, 40)
    world = gw.teacher_student(gw.draw_inputs(law, int(d / ratio), d, seed), seed)
    average = np.exp(-4 * np.outer(times, world.eigenvalues)).mean(axis=1)
    predicted = gw.predicted_losses(ratio, times)[1]
    seen = predicted > 1e-2
    return np.abs(average / predicted - 1)[seen].max()


@pytest.mark.parametrize("seed", range(2))
def test_claim_losses_follow_marchenko_pastur_and_two_lengths_do_not(seed):
    assert loss_mismatch("Gaussian", seed) < 0.05
    assert loss_mismatch("signs", seed) < 0.05
    assert loss_mismatch("two lengths", seed) > 1


def test_predicted_losses_with_decay_are_averages_over_teachers():
    times = np.array([0.0, 0.3, 2.0, 50.0])
    runs = []
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((400, 200))
        runs.append(gw.training_losses(gw.teacher_student(x, seed), times, 0.1))
    assert np.allclose(np.mean(runs, axis=0), gw.predicted_losses(0.5, times, 0.1), rtol=0.06)


@pytest.mark.parametrize("seed", range(2))
def test_claim_accuracy_is_erf(seed):
    times = np.geomspace(0.01, 30, 30)
    rng = np.random.default_rng(seed)
    world = gw.teacher_student(rng.standard_normal((300, 200)), rng)
    errors = gw.student_errors(world, times)
    fresh = rng.standard_normal((20_000, 200))
    _, test = gw.training_losses(world, times)
    got = gw.share_within(fresh @ world.eigenvectors, errors, 1e-3)
    assert np.abs(got - gw.gaussian_accuracy(test, 1e-3)).max() < 0.02
    assert np.abs(got - gw.gaussian_accuracy(test / 2, 1e-3)).max() > 0.05


def gap_ratio(tolerance, ratio, seed, d=500):
    x = np.random.default_rng(seed).standard_normal((int(d / ratio), d))
    s = gw.teacher_student(x, seed).eigenvalues
    train, test = gw.grokking_times(s, np.full(d, 1 / d), tolerance)
    return (test - train) / gw.grokking_gap_formula(ratio)


@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_claim_gap_and_large_tolerance(ratio):
    assert 0.7 < gap_ratio(1e-6, ratio, 0) < 1.05
    assert gap_ratio(1e-3, ratio, 0) < 0.65


def test_gap_approaches_its_formula_from_below_and_grows_with_the_ratio():
    gaps = []
    for ratio in (0.3, 0.5, 0.7, 0.9):
        s, w = gw.marchenko_pastur(ratio, 4000)
        found = [np.subtract(*gw.grokking_times(s, w, eps)[::-1]) for eps in (1e-3, 1e-6, 1e-10)]
        assert found[0] < found[1] < found[2] < gw.grokking_gap_formula(ratio)
        gaps.append(found[1])
    assert np.all(np.diff(gaps) > 0)


def test_more_dimensions_than_points_never_generalise():
    train, test = gw.grokking_times(*gw.marchenko_pastur(1.5), 1e-3)
    assert np.isfinite(train) and test == np.inf
    _, test = gw.predicted_losses(1.5, [0.0, 1e6])
    assert test == pytest.approx([1, 1 / 3])
    assert gw.grokking_times([1.0], [1.0], 1e3) == (0.0, 0.0)


# --- Autoencoders -------------------------------------------------------------------------------


def test_arcsine_law_and_risk_by_monte_carlo():
    rng = np.random.default_rng(0)
    b = gw.random_encoder(9, 5, rng)
    x = rng.standard_normal((200_000, 5))
    codes = np.sign(x @ b.T)
    assert np.abs(codes.T @ codes / len(x) - gw.code_correlations(b)).max() < 0.01
    risk = gw.autoencoder_risk(b)
    assert gw.sampled_risk(x, b) == pytest.approx(risk, abs=0.004)
    assert gw.sampled_risk(x, b, gw.best_decoder(b)) == pytest.approx(risk, abs=0.004)
    assert gw.sampled_risk(x, b, 0.9 * gw.best_decoder(b)) > risk + 0.004


def test_direction_of_ascent_by_finite_differences():
    rng = np.random.default_rng(3)
    b = gw.random_encoder(6, 4, rng)
    move = rng.standard_normal((6, 4))
    move -= np.sum(move * b, axis=1, keepdims=True) * b  # along the spheres

    def gain(t):
        return np.pi * 4 / 2 * (1 - gw.autoencoder_risk(gw.unit_rows(b + t * move)))

    slope = (gain(1e-5) - gain(-1e-5)) / 2e-5
    assert np.sum(gw.risk_ascent_direction(b) * move) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("n", [1, 10, 40])
def test_claim_orthonormal_rows_reach_the_limit(n):
    gap = gw.autoencoder_risk(gw.spread_encoder(n, 40, 0)) - gw.autoencoder_limit(n / 40)
    assert abs(gap) < 1e-8
    if n > 1:
        random = gw.autoencoder_risk(gw.random_encoder(n, 40, 0))
        assert random > gw.autoencoder_limit(n / 40) + 0.005


@pytest.mark.parametrize("n", [10, 40, 60, 80])
def test_claim_gradient_descent_reaches_the_limit(n):
    start, limit = gw.random_encoder(n, 40, 1), gw.autoencoder_limit(n / 40)
    end, risks = gw.train_encoder(start, 200)
    assert np.all(np.diff(risks) < 1e-9)
    assert risks[-1] / limit - 1 < 0.01 < risks[0] / limit - 1
    assert risks[-1] == gw.autoencoder_risk(end)


def test_tight_frame_and_repeated_rows():
    values = np.linalg.svd(gw.spread_encoder(60, 30, 0))[1]
    assert np.ptp(values) < 1e-3
    assert gw.autoencoder_risk(gw.spread_encoder(160, 80, 0)) == pytest.approx(0.222, abs=0.002)
    b = gw.random_encoder(3, 5, 0)
    twice = np.vstack([b, b[:1]])
    assert gw.autoencoder_risk(twice) == pytest.approx(gw.autoencoder_risk(b), abs=1e-8)
    assert gw.train_encoder(twice, 3)[1][-1] < gw.autoencoder_risk(b)


@given(st.floats(0.01, 20))
def test_limit_falls_and_is_continuous(rate):
    assert 0 < gw.autoencoder_limit(rate * 1.01) < gw.autoencoder_limit(rate) < 1
    assert gw.autoencoder_limit(1.0) == pytest.approx(gw.autoencoder_limit(1 + 1e-12))


def test_two_lengths_break_the_limit_and_independent_signs_do_not():
    b = gw.spread_encoder(32, 32, 0)
    limit = gw.autoencoder_limit(1)
    assert abs(gw.sampled_risk(gw.draw_inputs("Gaussian", 4000, 32, 0), b) / limit - 1) < 0.05
    assert abs(gw.sampled_risk(gw.draw_inputs("signs", 4000, 32, 0), b) / limit - 1) < 0.06
    assert gw.sampled_risk(gw.draw_inputs("two lengths", 4000, 32, 0), b) > 1.3 * limit
    assert gw.sampled_risk(gw.draw_inputs("signs", 4000, 32, 0), np.eye(32)) < 1e-3


# --- Halfspaces ---------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.05, 3), st.floats(0.01, 1))
def test_ramp_pass_against_naive(seed, width, step):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((50, 3)), rng.choice([-1.0, 1.0], 50)
    order, w = rng.permutation(50), gw.random_encoder(1, 3, rng)[0]
    got = w.copy()
    gw._ramp_pass(x, y, order, width, step, got)
    assert np.allclose(got, naive.ramp_pass(x, y, order, width, step, w), atol=1e-9)


def test_ramp_and_angles():
    assert np.allclose(gw.ramp([-9, -0.2, 0, 0.2, 9], 0.2), [0, 0, 0.5, 1, 1])
    assert gw.angle_between([1, 0], [1, 1]) == pytest.approx(45)
    assert gw.angle_between([1, 0], [-2, 0]) == pytest.approx(180)
    for v in (direction(6, 1), -np.eye(6)[0], np.eye(6)[0]):
        q = gw.orthogonal_basis(v)
        assert np.allclose(q.T @ q, np.eye(5)) and np.allclose(q.T @ v, 0)


def test_gaussian_band_and_disagreement():
    x = np.random.default_rng(0).standard_normal((200_000, 4))
    v, w = direction(4, 0), direction(4, 1)
    verdict = gw.certify(x, w)
    assert np.mean(np.abs(x @ w) < 0.2) == pytest.approx(erf(0.2 / np.sqrt(2)), rel=0.03)
    assert verdict.mass == pytest.approx(np.ones(10), abs=0.06) and verdict.passed
    assert verdict.least.min() > 0.9 and verdict.greatest.max() < 1.1
    differ = np.mean(np.sign(x @ v) != np.sign(x @ w))
    assert differ == pytest.approx(gw.angle_between(v, w) / 180, abs=0.005)


def test_flips_are_bounded_and_where_they_should_be():
    x, w = np.random.default_rng(0).standard_normal((50_000, 3)), np.array([0.6, 0.8, 0.0])
    clean = gw.noisy_labels(x, w, 0)
    assert gw.zero_one_error(x, clean, w) == 0
    y = gw.noisy_labels(x, w, 0, flip_rate=0.3)
    assert gw.zero_one_error(x, y, w) == pytest.approx(0.15, abs=0.01)
    y = gw.noisy_labels(x, w, 0, adversarial=0.05)
    assert gw.zero_one_error(x, y, w) == pytest.approx(0.05, abs=1e-6)


def test_each_test_can_fail_alone():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((40_000, 5)), direction(5, 0)
    across = gw.orthogonal_basis(w)[:, 1]
    margins = np.abs(x @ w)
    assert "band mass" in gw.certify(x[(margins > 0.2) | (rng.random(40_000) < 0.3)], w).failed
    flat = x.copy()
    flat[margins < 0.2] -= np.outer(flat[margins < 0.2] @ across, across)
    assert gw.certify(flat, w).failed == ("band moments",)
    far = x.copy()
    far[margins > 1.4] += 2 * np.outer(far[margins > 1.4] @ across, across)
    assert gw.certify(far, w).failed == ("disagreement",)


@pytest.mark.parametrize("noise", [{"flip_rate": 0.2}, {"flip_rate": 0.0, "adversarial": 0.05}])
def test_claim_gaussian_accepted_and_slab_rejected(noise):
    for seed in range(5):
        x, y, w = labelled(seed, **noise)
        outcome = gw.learn_or_reject(x, y, seed)
        assert outcome.accepted
        assert gw.zero_one_error(x, y, outcome.w) - gw.zero_one_error(x, y, w) <= 0.025
        x, y, w = labelled(seed, slab=0.3, **noise)
        assert not gw.learn_or_reject(x, y, seed).accepted
        trusting = gw.learn_or_reject(x, y, seed, test=None)
        assert trusting.accepted  # the control: without tests the slab is believed
        assert gw.zero_one_error(x, y, trusting.w) - gw.zero_one_error(x, y, w) > 0.03


def test_claim_accepted_means_near_the_best():
    rng = np.random.default_rng(0)
    blind, vouched = [], []
    for seed in range(60):
        slab, law = rng.choice([0, 0.02, 0.1, 0.3]), str(rng.choice(gw.LAWS))
        x, y, w = labelled(seed, 10_000, slab, rng.uniform(0, 0.2), law=law)
        best = gw.zero_one_error(x, y, w)
        outcome = gw.learn_or_reject(x, y, seed)
        blind.append(gw.zero_one_error(x, y, gw.learn_or_reject(x, y, seed, test=None).w) - best)
        if outcome.accepted:
            vouched.append(gw.zero_one_error(x, y, outcome.w) - best)
    assert len(vouched) >= 5 and max(vouched) <= 0.05 < max(blind)


def test_learner_beats_averaging_and_logistic_regression_against_an_adversary():
    logistic = pytest.importorskip("sklearn.linear_model").LogisticRegression
    for seed in range(3):
        x, y, w = labelled(seed, flip_rate=0.0, adversarial=0.05)
        angle = gw.angle_between(gw.learn_or_reject(x, y, seed).w, w)
        peer = logistic(fit_intercept=False).fit(x, y).coef_[0]
        assert angle < 7 < gw.angle_between(peer, w)
        assert angle < 7 < gw.angle_between(gw.average_direction(x, y), w)


# --- Bad input ----------------------------------------------------------------------------------

X, Y, W = np.ones((4, 2)), np.array([1.0, 1, -1, 1]), np.array([1.0, 0])
WORLD = gw.teacher_student(np.eye(2), 0)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: gw.draw_inputs("gauss", 2, 2, 0), "law"),
        (lambda: gw.draw_inputs("Gaussian", 0, 2, 0), "n must"),
        (lambda: gw.draw_inputs("Gaussian", 2, 2, "a"), "rng"),
        (lambda: gw.whiten(np.ones((4, 2)), 1), "x must vary"),
        (lambda: gw.unit_rows([[0.0, 0.0]]), "matrix"),
        (lambda: gw.marchenko_pastur(0), "ratio"),
        (lambda: gw.marchenko_pastur(0.5, 1), "nodes"),
        (lambda: gw.marchenko_pastur_density([1.0], -1), "ratio"),
        (lambda: gw.teacher_student([1.0], 0), "x"),
        (lambda: gw.student_errors(WORLD, [-1.0]), "times"),
        (lambda: gw.student_errors(WORLD, [1.0], -1), "decay"),
        (lambda: gw.training_losses(WORLD, [np.nan]), "times"),
        (lambda: gw.predicted_losses(0.5, [-1.0]), "times"),
        (lambda: gw.predicted_losses(0.5, [1.0], -1), "decay"),
        (lambda: gw.share_within(X, np.ones((1, 3)), 0.1), "x must have 3 columns"),
        (lambda: gw.share_within(X, X, 0), "tolerance"),
        (lambda: gw.gaussian_accuracy([-1.0], 0.1), "loss"),
        (lambda: gw.grokking_times([-1.0], [1.0], 0.1), "eigenvalues"),
        (lambda: gw.grokking_times([1.0], [1.0, 2.0], 0.1), "energy"),
        (lambda: gw.grokking_times([1.0], [1.0], 0.1, 1.0), "level"),
        (lambda: gw.grokking_gap_formula(1.0), "ratio"),
        (lambda: gw.code_correlations(2 * np.eye(2)), "encoder"),
        (lambda: gw.best_decoder(2 * np.eye(2)), "encoder"),
        (lambda: gw.autoencoder_risk([[1.0, np.nan]]), "encoder"),
        (lambda: gw.autoencoder_limit(0), "rate"),
        (lambda: gw.random_encoder(0, 2, 0), "n must"),
        (lambda: gw.spread_encoder(2, 0, 0), "dimension"),
        (lambda: gw.risk_ascent_direction(2 * np.eye(2)), "encoder"),
        (lambda: gw.train_encoder(np.eye(2), -1), "steps"),
        (lambda: gw.train_encoder(np.eye(2), 1, 0), "step_size"),
        (lambda: gw.sampled_risk(X, np.eye(3)), "x must have 3 columns"),
        (lambda: gw.sampled_risk(X, np.eye(2), np.eye(3)), "decoder"),
        (lambda: gw.noisy_labels(X, [2.0, 0], 0), "normal"),
        (lambda: gw.noisy_labels(X, W, 0, flip_rate=0.5), "flip_rate"),
        (lambda: gw.noisy_labels(X, W, 0, adversarial=0.6), "adversarial"),
        (lambda: gw.plant_slab(X, W, 2, 0), "share"),
        (lambda: gw.plant_slab(X, W, 0.5, 0, margin=0), "margin"),
        (lambda: gw.ramp([0.0], 0), "width"),
        (lambda: gw.learn_halfspace(X, Y[:3], 0), "x and y"),
        (lambda: gw.learn_halfspace(X, 2 * Y, 0), "y must hold"),
        (lambda: gw.learn_halfspace(X[:, :1], Y, 0), "two columns"),
        (lambda: gw.learn_halfspace(X, Y, 0, starts=0), "starts"),
        (lambda: gw.average_direction(X, 0 * Y), "y must hold"),
        (lambda: gw.zero_one_error(X, Y, [1.0]), "w must"),
        (lambda: gw.angle_between([1.0, 0], [1.0]), "w must"),
        (lambda: gw.orthogonal_basis([1.0]), "normal"),
        (lambda: gw.certify(X, W, 0), "width"),
        (lambda: gw.certify(X, W, slices=1), "slices"),
        (lambda: gw.certify(X, W, mass_factor=1.0), "mass_factor"),
        (lambda: gw.learn_or_reject(X, Y, 0, width=-1), "width"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(ValueError, match=names):
        call()
