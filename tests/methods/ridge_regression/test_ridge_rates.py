"""Ridge rates: closed forms, brute force and peers; the lab's claims and their controls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from kernellab.compute import linalg
from kernellab.datasets import breast_cancer, digits
from kernellab.methods.ridge_regression import ridge_rates as rates
from tests.naive import ridge_rates as naive

# 1. Misspecified kernel ridge regression


@pytest.mark.compiled
def test_gram_is_the_reference_and_has_the_mercer_eigenvalues(rng):
    x, z = rng.random(13), np.array([0.0, 0.5, 1.0])
    assert np.allclose(rates.sobolev_gram(x, z), naive.sobolev_gram(x, z), atol=1e-14)
    n = 400
    grid = (np.arange(n) + 0.5) / n
    found = linalg.eigh(rates.sobolev_gram(grid) / n, top=8).values
    assert np.allclose(found, rates.sobolev_eigenvalues(8), rtol=2e-3)
    k = np.arange(200_000)
    series = np.sum((2 - (k == 0)) * np.cos(np.pi * k * 0.3) ** 2 / (1 + (np.pi * k) ** 2))
    assert rates.sobolev_gram([0.3])[0, 0] == pytest.approx(series, abs=1e-5)


@pytest.mark.compiled
@pytest.mark.parametrize("ridge", [1e-8, 1e-3, 1.0, 100.0])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_linear_time_ridge_is_the_dense_solve(rng, n, ridge):
    x, y = rng.random(n), rng.normal(size=n)
    at = np.concatenate([[0.0, 1.0], rng.random(30), x])
    fit = rates.sobolev_ridge(x, y, ridge)
    assert np.allclose(fit.predict(at), naive.sobolev_ridge(x, y, ridge, at), atol=1e-7)


def test_linear_time_ridge_is_scikit_learn():
    peer = pytest.importorskip("sklearn.kernel_ridge").KernelRidge
    rng = np.random.default_rng(3)
    x, at = rng.random(300), np.linspace(0, 1, 50)
    y = rates.fourier_target(x, 0.6) + 0.5 * rng.standard_normal(300)
    ridge = rates.theory_ridge(300, 0.6, 2.0, 0.1)
    model = peer(alpha=300 * ridge, kernel="precomputed").fit(rates.sobolev_gram(x), y)
    expected = model.predict(rates.sobolev_gram(at, x))
    assert np.allclose(rates.sobolev_ridge(x, y, ridge).predict(at), expected, atol=1e-9)


def test_zero_ridge_interpolates_with_least_norm(rng):
    x, y = rng.random(20), rng.normal(size=20)
    fit = rates.sobolev_ridge(x, y, 0.0)
    assert np.allclose(fit.predict(x), y, atol=1e-9)
    assert fit.norm() ** 2 == pytest.approx(y @ np.linalg.solve(rates.sobolev_gram(x), y))
    # The largest ridge of all leaves the zero function.
    assert rates.sobolev_ridge(x, y, 1e12).norm() < 1e-9


def test_norm_is_its_integral():
    fit = rates.sobolev_ridge([0.2, 0.5, 0.9], [1.0, -1.0, 0.5], 0.0)
    x = np.linspace(0, 1, 200_001)
    f = fit.predict(x)
    integral = np.mean((f[1:] ** 2 + f[:-1] ** 2) / 2) + np.sum(np.diff(f) ** 2) / (x[1] - x[0])
    assert fit.norm() ** 2 == pytest.approx(integral, rel=1e-4)


@pytest.mark.compiled
@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_target_is_the_plain_sum(rng, size):
    x = rng.random(size)
    found = rates.fourier_target(x, 0.4, 300)
    assert np.allclose(found, naive.fourier_target(x, 0.4, 300), atol=1e-11)
    assert np.allclose(found, rates.fourier_target(x + 3.0, 0.4, 300), atol=1e-8)


def test_target_power_is_parseval_and_its_peak_grows_only_when_rough():
    x = (np.arange(4096) + 0.5) / 4096
    values = rates.fourier_target(x, 0.5, 1000)
    assert np.mean(values**2) == pytest.approx(rates.target_power(0.5, 1000), rel=1e-10)
    near = np.array([1e-5])
    rough = [rates.fourier_target(near, 0.3, terms)[0] for terms in (100, 1000, 10_000)]
    smooth = [rates.fourier_target(near, 1.5, terms)[0] for terms in (100, 1000, 10_000)]
    assert rough[1] > 1.5 * rough[0] and rough[2] > 1.5 * rough[1]
    assert smooth[2] == pytest.approx(smooth[0], rel=0.02)
    powers = [rates.target_power(0.3, terms) for terms in (1000, 10_000)]
    assert powers[1] < 1.05 * powers[0]


def test_exponents():
    assert rates.rate_exponent(0.45, 2.0) == pytest.approx(0.9 / 1.9)
    assert rates.rate_exponent(5.0, 2.0) == rates.rate_exponent(2.0, 2.0)  # saturation
    assert rates.theory_ridge(1000, 0.5, 2.0, 0.3) == pytest.approx(0.3 / 1000)


SIZES = (250, 500, 1000, 2000, 4000, 8000)


def rate_misses(penalty, seed):
    """Largest distance between measured and theoretical slope over three smoothnesses."""
    return max(
        abs(
            rates.regression_curve(SIZES, s, 0.5, penalty, 0.01, 4, 6000, rng=seed).slope()
            + rates.rate_exponent(s, 2.0)
        )
        for s in (0.45, 0.8, 1.2)
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_claim_rates_hold_and_a_fixed_penalty_misses_them(seed):
    assert rate_misses("theory", seed) < 0.15
    assert rate_misses("fixed", seed) > 0.15


def test_interpolation_does_not_learn_below_the_noise():
    curve = rates.regression_curve(SIZES, 0.8, 0.5, "zero", rng=0)
    assert abs(curve.slope()) < 0.1
    tuned = rates.regression_curve(SIZES, 0.8, 0.5, "tuned", rng=0)
    theory = rates.regression_curve(SIZES, 0.8, 0.5, "theory", rng=0)
    assert (tuned.risks <= theory.risks).all()  # same draws, and 1 is among the multiples
    assert (curve.risks[-1] > 5 * tuned.risks[-1]).all()


def test_same_seed_same_curve():
    one, two = (rates.regression_curve((20, 40), 0.5, 0.1, rng=7) for _ in range(2))
    assert np.array_equal(one.risks, two.risks)


# 2. Kernel classifiers


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-1, 1)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_excess_risk_is_below_the_regression_error(pairs):
    fit, target = map(np.array, zip(*pairs, strict=True))
    absolute = np.mean(np.abs(fit - target))
    assert rates.excess_risk(fit, target) <= absolute + 1e-12
    assert absolute <= math.sqrt(np.mean((fit - target) ** 2)) + 1e-12


def test_excess_risk_counts_the_bayes_classifier(rng):
    target = rng.uniform(-1, 1, 200_000)
    fit = target - 0.3
    labels = rates.draw_labels(target, rng)
    ours, best = (np.mean(np.where(f >= 0, 1, -1) != labels) for f in (fit, target))
    assert rates.excess_risk(fit, target) == pytest.approx(ours - best, abs=0.01)
    assert rates.excess_risk(target, target) == 0.0


@pytest.mark.parametrize("s", [0.45, 0.8])
def test_claim_excess_risk_falls_at_least_at_the_minimax_rate(s):
    slopes = [
        rates.classification_curve(SIZES, s, scale=0.1, repeats=4, rng=r).slope("excess")
        for r in range(4)
    ]
    assert np.mean(slopes) < -rates.rate_exponent(s, 2.0) / 2 + 0.1
    stuck = rates.classification_curve(SIZES, s, "zero", repeats=4, rng=0)
    assert stuck.slope("excess") > -0.1


def test_regression_bound_holds_draw_by_draw():
    for penalty in rates.PENALTIES:
        curve = rates.classification_curve((50, 400), 0.6, penalty, rng=1)
        assert (curve.excess <= curve.absolute).all()
        assert (curve.absolute <= np.sqrt(curve.risks)).all()


@pytest.mark.parametrize("n", [12, 300])
def test_matrix_free_eigenpairs_are_the_dense_ones(rng, n):
    x = rng.random(n)
    values, vectors = rates.sobolev_eigenpairs(x, 10)
    dense = linalg.eigh(rates.sobolev_gram(x) / n, top=10)
    assert np.allclose(values, dense.values, rtol=1e-9)
    assert np.allclose(np.abs(np.sum(vectors * dense.vectors, axis=0)), 1.0)


@pytest.mark.parametrize("s", [0.3, 1.0, 1.7])
def test_estimate_is_exact_on_a_planted_power_law(rng, s):
    n, beta = 80, 2.5
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    i = np.arange(1.0, n + 1)
    y = vectors @ (np.sqrt(n) * i ** (-(s * beta + 1) / 2) * rng.choice([-1, 1], n))
    found = rates.estimate_smoothness(i**-beta, vectors, y)
    assert found.smoothness == pytest.approx(s) and found.beta == pytest.approx(beta)
    assert found.energies == pytest.approx(i ** -(s * beta + 1))


def mean_smoothness(s, n, seed, shuffled=False, last=15):
    found = []
    for draw in range(32):  # one draw scatters by 0.5
        rng = np.random.default_rng([seed, draw])
        x = rng.random(n)
        y = rates.draw_labels(rates.classification_target(x, s), rng)
        y = rng.permutation(y) if shuffled else y
        values, vectors = rates.sobolev_eigenpairs(x, 40)
        found.append(rates.estimate_smoothness(values, vectors, y, 2, last, beta=2.0).smoothness)
    return float(np.mean(found))


@pytest.mark.parametrize("s", [0.8, 1.2])
def test_claim_smoothness_is_read_off_labels_but_not_off_shuffled_ones(s):
    assert abs(mean_smoothness(s, 5000, 0) - s) < 0.35
    assert mean_smoothness(s, 5000, 0, shuffled=True) < 0.0
    # A window that runs into the noise floor underestimates.
    assert mean_smoothness(s, 2000, 0, last=40) < mean_smoothness(s, 2000, 0) - 0.2


def test_floor_is_that_of_pure_noise(rng):
    x, y = rng.random(2000), rng.standard_normal(2000)
    values, vectors = rates.sobolev_eigenpairs(x, 40)
    found = rates.estimate_smoothness(values, vectors, y)
    assert found.floor == pytest.approx(1 / 2000, rel=0.1)


# 3. The cost of overfitting


@pytest.mark.compiled
@given(
    st.integers(1, 30),
    st.floats(0.0, 10.0),
    st.lists(st.floats(1e-6, 10.0), min_size=31, max_size=60),
)
@settings(max_examples=80, deadline=None)
def test_effective_ridge_is_the_reference(n, delta, values):
    values = np.array(values)
    kappa = rates.effective_ridge(values, n, delta)
    assert kappa == pytest.approx(naive.effective_ridge(values, n, delta), rel=1e-9)
    assert np.sum(values / (values + kappa)) + delta / kappa == pytest.approx(n, rel=1e-9)
    if n > 1:  # fewer points, more ridge
        assert rates.effective_ridge(values, n - 1, delta) > kappa


@pytest.mark.parametrize("n", [1, 50, 500, 680])
def test_effective_ridge_spans_three_hundred_decades(n):
    values, _ = rates.spectrum("exponential", 10_000, 1.0)
    kappa = rates.effective_ridge(values, n)
    assert np.sum(values / (values + kappa)) == pytest.approx(n, rel=1e-10)


def test_effective_ridge_is_brentq():
    values, tail = rates.spectrum("power", 1000, 1.7)

    def excess(log_kappa):
        kappa = math.exp(log_kappa)
        return np.sum(values / (values + kappa)) + (0.3 + tail) / kappa - 40

    expected = math.exp(brentq(excess, -30, 10, xtol=1e-13))
    assert rates.effective_ridge(values, 40, 0.3, tail) == pytest.approx(expected, rel=1e-10)


def test_effective_ridge_closed_forms():
    # m equal eigenvalues: n (1 + kappa) = m.
    assert rates.effective_ridge(np.ones(30), 10) == pytest.approx(2.0)
    # One eigenvalue, one point: 1 = l/(l + kappa) + delta/kappa.
    assert rates.effective_ridge([2.0], 1, 3.0) == pytest.approx((3 + math.sqrt(33)) / 2)
    # Power law, integral form: n = kappa^(-1/a) (pi/a)/sin(pi/a) - 1/2.
    values, tail = rates.spectrum("power", 100_000, 2.0)
    assert rates.effective_ridge(values, 300, tail=tail) == pytest.approx(
        (math.pi / 2 / 300.5) ** 2, rel=1e-3
    )
    with pytest.raises(ValueError, match="delta must be positive .* n = 30"):
        rates.effective_ridge(np.ones(30), 30)


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("n", [200, 500])
def test_claim_interpolation_costs_the_exponent_of_a_power_law(exponent, n):
    values, tail = rates.spectrum("power", 10_000, exponent)
    assert rates.overfitting_bound(values, n, tail=tail) == pytest.approx(exponent, rel=0.01)
    # Without the tail the cut shows where the spectrum decays slowly.
    if exponent == 1.5 and n == 500:
        assert rates.overfitting_bound(values, n) > 1.03 * exponent


def test_claim_exponential_spectra_grow_without_bound():
    values, _ = rates.spectrum("exponential", 10_000, 1.0)
    found = [rates.overfitting_bound(values, n) for n in (50, 100, 200, 400)]
    assert found == pytest.approx([50, 100, 200, 400], rel=1e-3)


def test_claim_cost_stays_below_its_bound_for_any_target(rng):
    worst = 0.0
    for _ in range(1000):
        exponent = rng.uniform(1.2, 4.0)
        values = np.arange(1.0, 301.0) ** -exponent
        power = rng.gamma(0.3, size=300) * values ** rng.uniform(0, 2)
        noise, n = rng.choice([0.0, 0.01, 1.0]), int(rng.integers(5, 200))
        cost = rates.cost_of_overfitting(values, power, noise, n)
        bound = rates.overfitting_bound(values, n)
        assert 1.0 <= cost <= bound * (1 + 1e-9)
        worst = max(worst, cost / bound)
    assert worst > 0.9
    # The bound is nearly attained by noise alone.
    only_noise = rates.cost_of_overfitting(values, np.zeros(300), 1.0, n)
    assert only_noise == pytest.approx(bound, rel=1e-3)


def test_best_ridge_beats_a_fine_grid():
    values, tail = rates.spectrum("power", 2000, 2.0)
    power = np.arange(1.0, 2001.0) ** -1.8
    delta, risk = rates.best_ridge(values, power, 0.2, 100, tail)
    grid = [
        rates.omniscient_risk(values, power, 0.2, 100, d, tail) for d in np.logspace(-6, 3, 400)
    ]
    assert risk <= min(grid) + 1e-12
    assert rates.omniscient_risk(values, power, 0.2, 100, delta, tail) == pytest.approx(risk)
    # Without noise and with a target as smooth as the prior allows, no ridge is best.
    assert rates.best_ridge(values, values**3, 0.0, 100, tail)[0] < 1e-3


def formula_miss(n, with_factor=True, draws=120):
    """Relative distance of simulated and predicted test errors, without ridge and with."""
    p = 1000
    values, _ = rates.spectrum("power", p, 2.0)
    power = np.arange(1.0, p + 1) ** -1.8
    misses = []
    for delta in (0.0, rates.best_ridge(values, power, 0.3, n)[0]):
        rng = np.random.default_rng(5)
        found = [
            rates.gaussian_ridge_risks(
                rng.standard_normal((n, p)),
                rng.standard_normal(n),
                values,
                power,
                0.3,
                [n],
                [delta],
            )[0]
            for _ in range(draws)
        ]
        predicted = rates.omniscient_risk(values, power, 0.3, n, delta)
        factor = 1.0 if with_factor else rates.overfitting_bound(values, n, delta)
        misses.append(abs(np.mean(found) / (predicted / factor) - 1.0))
    return max(misses)


def test_claim_the_formula_knows_the_test_error_and_not_without_its_factor():
    assert formula_miss(100) < 0.08
    assert formula_miss(100, with_factor=False) > 0.5


def test_simulation_is_dense_ridge_regression(rng):
    n, p = 12, 40
    z, draw = rng.standard_normal((n, p)), rng.standard_normal(n)
    values, power = rng.random(p), rng.random(p)
    found = rates.gaussian_ridge_risks(z, draw, values, power, 0.5, [5, n], [0.1, 0.0])
    y = z @ np.sqrt(power) + math.sqrt(0.5) * draw
    # Ridge on features sqrt(l) z, in the primal; the second by least norm.
    features = z * np.sqrt(values)
    weights = np.linalg.solve(
        features[:5].T @ features[:5] + 0.1 * np.eye(p), features[:5].T @ y[:5]
    )
    least_norm = np.linalg.pinv(features) @ y
    for w, risk in zip((weights, least_norm), found, strict=True):
        expected = np.sum((np.sqrt(values) * w - np.sqrt(power)) ** 2) + 0.5
        assert risk == pytest.approx(expected, rel=1e-7)


def test_spectra_sum_to_what_they_should():
    values, tail = rates.spectrum("power", 1000, 2.0)
    assert values.sum() + tail == pytest.approx(math.pi**2 / 6, rel=1e-9)
    short, long = (rates.spectrum("log", count) for count in (1000, 100_000))
    assert short[0].sum() + short[1] == pytest.approx(long[0].sum() + long[1], rel=1e-3)
    assert rates.spectrum("spiked", 1000)[0].sum() == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("name", "exponent", "regime"),
    [
        ("power", 1.5, "tempered"),
        ("power", 3.0, "tempered"),
        ("exponential", 0.5, "catastrophic"),
        ("log", 1.0, "benign"),
        ("spiked", 1.0, "benign"),
    ],
)
def test_regimes(name, exponent, regime):
    values, tail = rates.spectrum(name, 10_000, exponent)
    assert rates.overfitting_regime(values, 200, tail) == regime


def test_effective_ranks_of_flat_and_spiked_spectra():
    assert rates.effective_ranks(np.full(50, 0.2), 10) == pytest.approx((40.0, 40.0))
    values, _ = rates.spectrum("spiked", 1000)
    assert rates.effective_ranks(values, 10)[1] == pytest.approx(990.0)
    assert rates.effective_ranks([1.0, 0.5], 1, tail=0.5) == pytest.approx((2.0, 4.0))


# 4. Supersamples


@pytest.fixture(scope="module")
def handwriting():
    """600 digits, even or odd, with squared distances."""
    data = digits()
    x, labels = data.x[:600], np.where(data.labels[:600] % 2 == 0, 1.0, -1.0)
    norms = np.sum(x**2, axis=1)
    return x, labels, np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0.0)


def test_draws_are_pairs_without_repetition():
    indices, coins = rates.draw_supersamples(50, 25, 40, rng=0)
    assert all(len(set(draw.ravel())) == 50 for draw in indices)
    assert set(coins.ravel()) == {0, 1}
    fixed, _ = rates.draw_supersamples(50, 20, 10, rng=0, fixed=True)
    assert (fixed == fixed[0]).all()


@pytest.mark.compiled
def test_nearest_neighbour_is_the_reference_and_interpolates(handwriting):
    _, labels, distances = handwriting
    indices, coins = rates.draw_supersamples(600, 15, 10, rng=1)
    found = rates.nearest_neighbour_losses(distances, labels, indices, coins)
    assert np.array_equal(found, naive.nearest_neighbour_losses(distances, labels, indices, coins))
    assert rates.pair_report(found, coins).train == 0.0


@pytest.mark.compiled
@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_tree_is_the_reference(handwriting, depth):
    x, labels, _ = handwriting
    x = x[:, 20:40] + 1e-3 * np.random.default_rng(0).random((600, 20))  # no ties
    indices, coins = rates.draw_supersamples(600, 12, 8, rng=2)
    found = rates.tree_losses(x, labels, indices, coins, depth)
    assert np.array_equal(found, naive.tree_losses(x, labels, indices, coins, depth))


def test_ridge_classifier_is_one_solve_at_a_time(handwriting):
    x, labels, distances = handwriting
    gram = np.exp(-distances / 10.0)
    indices, coins = rates.draw_supersamples(600, 10, 6, rng=3)
    found = rates.ridge_classifier_losses(gram, labels, indices, coins, 0.01)
    for t in range(6):
        trained = indices[t, np.arange(10), coins[t]]
        block = gram[np.ix_(trained, trained)] + 10 * 0.01 * np.eye(10)
        fit = gram[:, trained] @ np.linalg.solve(block, labels[trained])
        assert np.array_equal(found[t], (np.sign(fit) != labels)[indices[t]])


def interpolation_miss(losses, coins):
    report = rates.pair_report(losses, coins)
    return abs(report.test - rates.interpolation_error(report.ld))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_claim_pairs_tell_the_error_of_an_interpolating_learner(handwriting, seed):
    _, labels, distances = handwriting
    indices, coins = rates.draw_supersamples(600, 20, 2000, rng=seed)
    nearest = rates.nearest_neighbour_losses(distances, labels, indices, coins)
    assert interpolation_miss(nearest, coins) < 0.01
    constant = rates.constant_losses(labels, indices, 1.0)
    assert interpolation_miss(constant, coins) > 0.3
    # A learner that does not interpolate breaks the equality too.
    smooth = rates.ridge_classifier_losses(
        np.exp(-distances / 10.0), labels, indices[:500], coins[:500], 1.0
    )
    assert interpolation_miss(smooth, coins[:500]) > 0.05


def test_fixed_pairs_tell_more_than_the_error(handwriting):
    _, labels, distances = handwriting
    indices, coins = rates.draw_supersamples(600, 20, 1000, rng=0, fixed=True)
    losses = rates.nearest_neighbour_losses(distances, labels, indices, coins)
    report = rates.pair_report(losses, coins, pooled=False)
    assert rates.interpolation_error(report.ld) > report.test + 0.005


@pytest.mark.parametrize("source", ["digits", "tumours"])
def test_bounds_are_ordered(handwriting, source):
    if source == "digits":
        x, labels, _ = handwriting
    else:
        data = breast_cancer()
        x, labels = data.x, 1.0 - 2.0 * data.malignant
    norms = np.sum(x**2, axis=1)
    distances = np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0.0)
    gram = np.exp(-distances / np.median(distances))
    gram = (gram + gram.T) / 2
    indices, coins = rates.draw_supersamples(len(x), 20, 400, rng=5)
    every = {
        "nearest": rates.nearest_neighbour_losses(distances, labels, indices, coins),
        "tree": rates.tree_losses(x, labels, indices, coins, 2),
        "ridge": rates.ridge_classifier_losses(gram, labels, indices, coins, 0.1),
    }
    for losses in every.values():
        report = rates.pair_report(losses, coins)
        assert report.gap < report.ld_bound <= report.e_bound + 1e-12
        assert report.e_bound <= math.sqrt(2 * math.log(2)) + 1e-12
        assert report.gap < report.single_bound
        assert report.test < report.fast_bound


def test_constant_rule_has_no_gap(handwriting):
    _, labels, _ = handwriting
    indices, coins = rates.draw_supersamples(600, 20, 2000, rng=0)
    report = rates.pair_report(rates.constant_losses(labels, indices, 1.0), coins)
    assert abs(report.gap) < 0.02 and report.ld_bound < 0.03


def test_mutual_information_is_scikit_learn(rng):
    score = pytest.importorskip("sklearn.metrics").mutual_info_score
    a, b = rng.integers(0, 3, 200), rng.integers(0, 2, 200)
    table = np.zeros((3, 2))
    np.add.at(table, (a, b), 1)
    assert rates.mutual_information(table) == pytest.approx(score(a, b))


@pytest.mark.parametrize("error", [0.0, 0.25, 1.0])
def test_interpolating_counts_in_closed_form(error):
    # Rows D = -1, 0, 1; columns U = 0, 1.
    table = [[0, error], [1 - error, 1 - error], [error, 0]]
    found = rates.mutual_information(table)
    assert rates.interpolation_error(found) == pytest.approx(error, abs=1e-12)


def test_fast_rate_bound_against_a_search():
    found = rates.fast_rate_bound(0.1, 0.05)
    c2 = np.linspace(1e-4, 0.3465, 5000)
    c1 = -np.log(2 - np.exp(2 * c2)) / (2 * c2)
    assert found == pytest.approx(np.min(0.1 * c1 + 0.05 / c2), rel=1e-3)
    assert rates.fast_rate_bound(0.0, 0.05) == pytest.approx(0.1 / math.log(2))
    assert rates.fast_rate_bound(0.3, 0.0) == pytest.approx(0.3, rel=1e-3)


# Bad input

ONE = np.array([1.0])
INDICES, COINS = np.array([[[0, 1]]]), np.array([[0]])
LOSSES = np.zeros((1, 1, 2))
SQUARE, SIGNS = np.eye(2), np.array([1.0, -1.0])

BAD = [
    ("x must lie between 0 and 1, got 2", lambda: rates.sobolev_gram([0.5, 2.0])),
    ("z must lie between 0 and 1", lambda: rates.sobolev_gram([0.5], [-0.1])),
    ("x must be a vector", lambda: rates.sobolev_gram([[0.5]])),
    ("count must be an integer", lambda: rates.sobolev_eigenvalues(0)),
    ("x must hold different points, got 0.5", lambda: rates.sobolev_ridge([0.5, 0.5], [1, 2], 1)),
    ("y must have length 1", lambda: rates.sobolev_ridge([0.5], [1, 2], 1)),
    ("ridge must be a number that is not neg", lambda: rates.sobolev_ridge([0.5], [1], -1)),
    ("at must lie between", lambda: rates.sobolev_ridge([0.5], [1], 1).predict([3.0])),
    ("x must be finite", lambda: rates.fourier_target([np.nan], 1)),
    ("smoothness must be a positive", lambda: rates.fourier_target(ONE, 0)),
    ("terms must be an integer", lambda: rates.fourier_target(ONE, 1, 0)),
    ("smoothness must be", lambda: rates.target_power(-1)),
    ("beta must be greater than 1", lambda: rates.rate_exponent(1, 1)),
    ("n must be an integer", lambda: rates.theory_ridge(0, 1, 2)),
    ("scale must be a positive", lambda: rates.theory_ridge(5, 1, 2, 0)),
    ("penalty must be one of", lambda: rates.regression_curve([9], 1, 0.1, "theroy")),
    ("sizes must hold at least one", lambda: rates.regression_curve([], 1, 0.1)),
    ("sizes must be an integer", lambda: rates.regression_curve([1], 1, 0.1)),
    ("noise must be", lambda: rates.regression_curve([9], 1, -0.1)),
    ("repeats must be", lambda: rates.classification_curve([9], 1, repeats=0)),
    ("name must be 'risks'", lambda: rates.regression_curve([9], 1, 0).slope("excess")),
    ("smoothness must be", lambda: rates.classification_target(ONE, 0)),
    ("target must lie between -1 and 1, got 2", lambda: rates.draw_labels([2.0], 0)),
    ("rng must be", lambda: rates.draw_labels([0.0], None)),
    ("fit and target must have the same", lambda: rates.excess_risk([1], [1, 2])),
    ("count must be an integer between 1", lambda: rates.sobolev_eigenpairs([0.1, 0.2], 2)),
    ("y must have length 2", lambda: rates.label_energies(SQUARE, [1])),
    ("last must be", lambda: rates.estimate_smoothness([1, 0.5], SQUARE, [1, 2])),
    (
        "first must be",
        lambda: rates.estimate_smoothness(np.ones(4), np.eye(4), np.ones(4), 3, 4),
    ),
    ("name must be one of", lambda: rates.spectrum("flat")),
    ("exponent must be greater than 1", lambda: rates.spectrum("power", 100, 1.0)),
    ("count must be an integer", lambda: rates.spectrum("power", 3)),
    ("eigenvalues must not be negative", lambda: rates.effective_ridge([1, -1], 1)),
    ("eigenvalues must not all be zero", lambda: rates.effective_ridge([0, 0], 1, 1)),
    ("delta must be a number", lambda: rates.effective_ridge([1, 1], 1, -1)),
    ("tail must be a number", lambda: rates.overfitting_bound([1, 1], 1, 0, -1)),
    ("power must not be negative", lambda: rates.omniscient_risk([1, 1], [1, -1], 1, 1)),
    ("power must have length 2", lambda: rates.best_ridge([1, 1], [1], 1, 1)),
    ("power and noise_variance", lambda: rates.cost_of_overfitting([1, 1], [0, 0], 0, 1)),
    ("k must be an integer", lambda: rates.effective_ranks([1, 1], 2)),
    ("n must be an integer", lambda: rates.overfitting_regime([1, 1], 2)),
    (
        "sizes must be an integer",
        lambda: rates.gaussian_ridge_risks(SQUARE, ONE.repeat(2), [1, 1], [1, 1], 1, [3], [1]),
    ),
    (
        "sizes and deltas must have",
        lambda: rates.gaussian_ridge_risks(SQUARE, ONE.repeat(2), [1, 1], [1, 1], 1, [2], []),
    ),
    (
        "deltas must make K",
        lambda: rates.gaussian_ridge_risks(
            np.ones((2, 2)), ONE.repeat(2), [1, 1], [1, 1], 1, [2], [0.0]
        ),
    ),
    ("points must be an integer of at least 4", lambda: rates.draw_supersamples(3, 2, 1, 0)),
    (
        "distances must have shape",
        lambda: rates.nearest_neighbour_losses(np.eye(3), SIGNS, INDICES, COINS),
    ),
    (
        "indices must lie between 0 and 1",
        lambda: rates.nearest_neighbour_losses(SQUARE, SIGNS, INDICES + 1, COINS),
    ),
    (
        "coins must have shape",
        lambda: rates.nearest_neighbour_losses(SQUARE, SIGNS, INDICES, COINS[0]),
    ),
    (
        "coins must be 0 or 1",
        lambda: rates.nearest_neighbour_losses(SQUARE, SIGNS, INDICES, COINS + 2),
    ),
    (
        "labels must be",
        lambda: rates.ridge_classifier_losses(SQUARE, [0.0, 1.0], INDICES, COINS, 1.0),
    ),
    (
        "ridge must be a positive",
        lambda: rates.ridge_classifier_losses(SQUARE, SIGNS, INDICES, COINS, 0.0),
    ),
    ("depth must be", lambda: rates.tree_losses(SQUARE, SIGNS, INDICES, COINS, 11)),
    ("indices must have shape", lambda: rates.constant_losses(SIGNS, [[0, 1]], 1.0)),
    ("counts must not be negative", lambda: rates.mutual_information([[1, -1]])),
    ("counts must not all be zero", lambda: rates.mutual_information([[0, 0]])),
    ("losses must be 0 or 1", lambda: rates.pair_report(LOSSES + 2, COINS)),
    ("losses must hold whole", lambda: rates.pair_report(LOSSES + 0.5, COINS)),
    ("information must not be negative", lambda: rates.square_root_bound([-1.0])),
    ("train must be", lambda: rates.fast_rate_bound(-1, 0)),
    ("information must be", lambda: rates.interpolation_error(-1)),
]


@pytest.mark.parametrize(
    ("message", "call"), BAD, ids=[f"{i}-{b[0][:30]}" for i, b in enumerate(BAD)]
)
def test_bad_input_is_refused(message, call):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def rng():
    return np.random.default_rng(20)
