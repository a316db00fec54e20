"""Kernel tests: plain references, closed forms, bad input; the claims and their controls."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from kernellab.compute.kernels import Gaussian, InverseMultiquadric, Laplace
from kernellab.compute.mmd import median_bandwidth, mmd_squared
from kernellab.compute.stein import ksd_squared, stein_gram
from kernellab.methods.mean_embeddings import kernel_tests as kt
from tests.naive import kernel_tests as naive

# 1. Rates and p-values


def test_rejection_rate_is_wilsons():
    rate = kt.rejection_rate([True] * 5 + [False] * 95)
    z2 = chi2.ppf(0.95, 1)
    middle = (0.05 + z2 / 200) / (1 + z2 / 100)
    half = np.sqrt(z2) / (1 + z2 / 100) * np.sqrt(0.05 * 0.95 / 100 + z2 / 40000)
    assert rate.value == 0.05
    assert (rate.low, rate.high) == pytest.approx((middle - half, middle + half))
    assert kt.rejection_rate([0, 0, 0]).low == pytest.approx(0, abs=1e-12)


def test_p_value_counts_ties_against_the_test():
    assert kt.p_value(1.0, [0.0, 1.0, 2.0]) == 0.75
    assert kt.p_value(9.0, [0.0, 1.0, 2.0]) == 0.25


# 2. The learned ratio


def test_a_moved_layer_leaves_each_time_alone_and_changes_the_pair():
    good, moved = kt.drift_tubes(20000, 0), kt.drift_tubes(20000, 1, "moved layer", 0.5)
    for column in range(6):
        assert abs(good[:, column].mean() - moved[:, column].mean()) < 0.05 * good[:, column].std()
    together = [np.corrcoef(x[:, 0], x[:, 1])[0, 1] for x in (good, moved)]
    assert abs(together[0] - together[1]) > 0.2
    assert kt.drift_tubes(2000, 0, "slow layer", 0.5)[:, 1].mean() > 1.2 * good[:, 1].mean()
    assert kt.drift_tubes(2000, 0, "low threshold", 1.0)[:, 5].mean() > good[:, 5].mean() + 2


def gaussians(rng, correlation, n):
    x = rng.standard_normal((n, 2))
    x[:, 1] = correlation * x[:, 0] + np.sqrt(1 - correlation**2) * x[:, 1]
    return x


def test_learned_ratio_is_close_to_the_true_one():
    rng = np.random.default_rng(0)
    reference, data = gaussians(rng, 0.0, 8000), gaussians(rng, 0.6, 4000)
    fit = kt.learn_ratio(data, reference, Gaussian(2.0), 80, 0.5, rng)
    x = gaussians(rng, 0.3, 500)
    x = x[np.linalg.norm(x, axis=1) < 1.8]
    true = -0.5 * np.log(1 - 0.36) - 0.5 * (
        (x[:, 0] ** 2 - 1.2 * x[:, 0] * x[:, 1] + x[:, 1] ** 2) / 0.64 - np.sum(x**2, axis=1)
    )
    assert np.corrcoef(fit.log_ratio(x), true)[0, 1] > 0.98
    assert np.abs(fit.log_ratio(x) - true).mean() < 0.1


def test_learned_ratio_is_at_the_minimum_and_says_its_statistic():
    rng = np.random.default_rng(1)
    reference, data = rng.normal(size=(300, 3)), rng.normal(0.3, 1, size=(60, 3))
    fit = kt.learn_ratio(data, reference, Gaussian(1.5), 25, 0.1, 3)
    f_data, f_reference, w = fit.log_ratio(data), fit.log_ratio(reference), 60 / 300
    t = 2 * (f_data.sum() - w * np.sum(np.exp(f_reference) - 1))
    assert fit.statistic == pytest.approx(t, rel=1e-6)
    gram = Gaussian(1.5).gram(fit.centres)
    kernels = Gaussian(1.5).gram(reference, fit.centres), Gaussian(1.5).gram(data, fit.centres)

    def objective(weights):
        known, new = kernels[0] @ weights, kernels[1] @ weights
        loss = w * np.sum(np.logaddexp(0, known)) + np.sum(np.logaddexp(0, -new))
        return loss + 0.1 * weights @ gram @ weights

    best = objective(fit.weights)
    for _ in range(50):  # no direction leads further down
        assert objective(fit.weights + 1e-3 * rng.standard_normal(25)) > best
    step = 1e-5 * np.eye(25)
    slopes = [(objective(fit.weights + s) - objective(fit.weights - s)) / 2e-5 for s in step]
    assert np.abs(slopes).max() < 1e-3


def test_no_function_no_evidence():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2))
    fit = kt.learn_ratio(x, x, Gaussian(1.0), 20, 1.0, 0)
    assert fit.statistic == pytest.approx(0, abs=1e-6)
    assert np.abs(fit.log_ratio(x)).max() < 1e-6


def test_a_stiff_fit_converges():
    rng = np.random.default_rng(0)
    reference, data = rng.normal(size=(200, 1)), rng.normal(6, 0.1, size=(40, 1))  # separable
    fit = kt.learn_ratio(data, reference, Gaussian(1.0), 30, 1e-6, rng)
    assert fit.steps < 50 and np.isfinite(fit.statistic)
    assert fit.log_ratio(data).min() > 5


def test_z_score_of_a_chi_square():
    toys = chi2.rvs(12, size=4000, random_state=0)
    assert kt.z_score(chi2.isf(0.001, 12), toys) == pytest.approx(3.09, abs=0.1)
    assert kt.z_score(-50.0, toys) == -8.2 and kt.z_score(1e6, toys) == 8.2


def test_one_variable_at_a_time():
    reference = np.linspace(0, 1, 1000)[:, None]
    binned = kt.reference_bins(reference, 10)
    assert kt.largest_chi_square(reference, binned) == pytest.approx(0, abs=1e-9)
    half = np.linspace(0, 0.5, 400)[:, None]  # 80 in each of the first five bins, not 40
    assert kt.largest_chi_square(half, binned) == pytest.approx(400, rel=0.05)
    counts = np.array([[1.0], [1.0], [1.0], [2.0]])  # equal values share a bin
    assert kt.largest_chi_square(counts, kt.reference_bins(counts, 4)) < 1
    rng = np.random.default_rng(0)
    null = [
        kt.largest_chi_square(rng.random((200, 1)), kt.reference_bins(rng.random((20000, 1))))
        for _ in range(300)
    ]
    assert np.mean(null) == pytest.approx(9, abs=0.8)  # chi-square with 9 degrees of freedom


def test_mmd_to_reference_is_the_mmd_less_a_constant():
    rng = np.random.default_rng(0)
    reference, kernel = rng.normal(size=(60, 2)), Gaussian(1.0)
    gaps = []
    for _ in range(2):
        data = rng.normal(size=(20, 2))
        unbiased = mmd_squared(data, reference, kernel)
        gaps.append(unbiased - kt.mmd_to_reference(data, reference, kernel))
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-12)


# 3. Betting


@pytest.mark.compiled
@pytest.mark.parametrize(("d", "e", "pairs"), [(1, 1, 2), (1, 1, 40), (3, 2, 30)])
def test_payoffs_are_the_reference(d, e, pairs):
    rng = np.random.default_rng(pairs)
    x, y = rng.normal(size=(pairs, d)), rng.normal(size=(pairs, e))
    y[:, 0] += x[:, 0]
    expected = naive.payoffs(x, y, 0.8, 1.3)
    assert np.allclose(kt.betting_payoffs(x, y, 0.8, 1.3), expected, atol=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("n", [2, 60_000, 10**7])
def test_the_witness_has_its_norm_in_long_streams(n):
    # The sums of two constant kernels, but for half as much again in the first one.
    size = float(n)
    assert kt._witness_norm2(n, 1.5 * size**2, size**3, size**2, size**2) == pytest.approx(0.5)


@pytest.mark.compiled
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), pairs=st.integers(2, 30))
def test_payoffs_are_bounded_and_turn_with_a_swap(seed, pairs):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2 * pairs, 2)), rng.normal(size=(2 * pairs, 1))
    payoffs = kt.betting_payoffs(x, y, 1.0, 1.0)
    assert payoffs[0] == 0 and np.abs(payoffs).max() <= 1
    swapped = y.copy()
    swapped[[-1, -2]] = y[[-2, -1]]
    assert kt.betting_payoffs(x, swapped, 1.0, 1.0)[-1] == pytest.approx(-payoffs[-1], abs=1e-12)
    same = np.zeros((2 * pairs, 1))
    assert not kt.betting_payoffs(x, same, 1.0, 1.0).any()


def test_wealth_of_every_stake():
    assert np.array_equal(kt.wealth(np.zeros(4)), np.ones(4))
    assert np.allclose(kt.wealth([1.0, -1.0], 0.5), [1.5, 0.75])
    rng = np.random.default_rng(0)
    payoffs = rng.uniform(-1, 1, 200)
    for bet in ("newton", "growth", 0.3):
        path = kt.wealth(payoffs, bet)
        assert path.min() > 0
        # A stake knows the past only: another future leaves the path so far as it was.
        other = payoffs.copy()
        other[100:] = -other[100:]
        assert np.array_equal(kt.wealth(other, bet)[:100], path[:100])
    # Newton's first steps by hand.
    z = -0.5
    bet = min(2 / (2 - np.log(3)) * 0.5 / (1 + z * z), 0.5)
    assert kt.wealth([0.5, 0.2])[-1] == pytest.approx(1 + bet * 0.2)


def test_the_game_is_fair():
    ends = [
        kt.wealth(kt.betting_payoffs(*kt.pair_stream("line", 0, 80, 5000 + i), 1.0, 1.0))[-1]
        for i in range(1500)
    ]
    assert abs(np.mean(ends) - 1) < 3 * np.std(ends) / np.sqrt(len(ends))


def test_stopping_time():
    assert kt.stopping_time([1.0, 25.0, 0.1]) == 2
    assert kt.stopping_time([1.0, 19.9]) == np.inf
    assert kt.stopping_time([1.0, 2.0], 0.5) == 2


def test_streams():
    x, y = kt.pair_stream("circle", 3.0, 4000, 0)
    assert abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1]) < 0.05
    assert np.corrcoef(x[:, 0] ** 2, y[:, 0] ** 2)[0, 1] < -0.5
    x, y = kt.pair_stream("drift", 2.0, 4000, 0)
    assert np.corrcoef(x[:, 0], y[:, 0])[0, 1] > 0.3
    assert abs(np.corrcoef(x[:2000, 0], y[:2000, 0])[0, 1]) < 0.06


def test_witness_is_its_definition():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12, 1))
    at_x, at_y = np.array([0.1, -1.0, 2.0]), np.array([0.5, 0.0])
    kx, ky = Gaussian(0.7).gram(at_x[:, None], x), Gaussian(1.1).gram(at_y[:, None], y)
    expected = [[np.mean(a * b) - a.mean() * b.mean() for a in kx] for b in ky]
    assert np.allclose(kt.witness(x, y, at_x, at_y, 0.7, 1.1), expected)


@pytest.mark.compiled
def test_paired_squares_are_the_reference():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(31, 4)), rng.normal(size=(31, 7))
    orders = rng.permuted(np.tile(np.arange(31), (5, 1)), axis=1)
    out = np.empty(5)
    kt._paired_squares(x, y, orders, out)
    assert np.allclose(out, naive.paired_squares(x, y, orders))


def test_hsic_is_its_definition_and_keeps_its_level():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), rng.normal(size=(60, 1))
    centring = np.eye(60) - 1 / 60
    hsic = np.trace(Laplace(1.0).gram(x) @ centring @ Gaussian(0.8).gram(y) @ centring) / 3600
    test = kt.hsic_permutation_test(x, y, Laplace(1.0), Gaussian(0.8), 19, rng, 0.0)
    assert test.statistic == pytest.approx(hsic, rel=1e-9) and test.null.shape == (19,)
    p = [
        kt.hsic_permutation_test(*rng.normal(size=(2, 40, 1)), Gaussian(1), Gaussian(1), 19, rng)[2]
        for _ in range(300)
    ]
    assert kt.rejection_rate(np.array(p) <= 0.05).low < 0.05 < 0.1
    assert kstest(p, "uniform").statistic < 0.12
    assert kt.hsic_permutation_test(x, x, Gaussian(1), Gaussian(1), 99, rng).p_value == 0.01


# 4. Jumps


def test_mixture_density_score_and_sample():
    model = kt.GaussianMixture([1.0, 3.0], [[0.0, 0.0], [2.0, 1.0]], 0.7)
    assert np.allclose(model.weights, [0.25, 0.75])
    x = np.random.default_rng(0).normal(size=(7, 2))
    step = 1e-6
    for k in range(2):
        shift = step * np.eye(2)[k]
        slope = (model.log_density(x + shift) - model.log_density(x - shift)) / (2 * step)
        assert np.allclose(model.score(x)[:, k], slope, atol=1e-6)
    axis = np.linspace(-6, 8, 281)
    grid = np.array(list(itertools.product(axis, axis)))
    assert np.exp(model.log_density(grid)).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1)
    sample = model.sample(20000, 0)
    assert np.allclose(sample.mean(axis=0), [1.5, 0.75], atol=0.03)
    far = kt.two_towns(40.0, 0.0, 1)  # a town without people
    assert np.isfinite(far.log_density([[40.0]])[0]) and np.isfinite(far.score([[40.0]])).all()


def test_modes_of_round_and_of_stretched_peaks():
    model = kt.two_towns(4.0, 0.1, 2)
    modes = kt.find_modes(model.log_density, model.score, [[-6.0, 1.0], [-2, 0], [5, 1], [1, 0]])
    assert np.allclose(np.sort(modes.points[:, 0]), [-4, 4], atol=1e-3)
    assert np.allclose(modes.roots, np.eye(2), atol=1e-3)
    covariance = np.array([[2.0, 0.6], [0.6, 1.0]])
    inverse = np.linalg.inv(covariance)
    modes = kt.find_modes(
        lambda x: -0.5 * np.einsum("na,ab,nb->n", x, inverse, x),
        lambda x: -x @ inverse,
        np.ones((2, 2)),
    )
    assert len(modes.points) == 1
    assert np.allclose(modes.roots[0] @ modes.roots[0], covariance, atol=1e-4)
    with pytest.raises(ValueError, match="starts must lead to a peak"):
        kt.find_modes(lambda x: np.sum(x**2, axis=1), lambda x: 2 * x, np.zeros((1, 1)))


@pytest.mark.parametrize("reach", [0.0, 0.7, 1.0, 1.3])
def test_jumps_leave_the_model_alone(reach):
    rng = np.random.default_rng(1)
    model = kt.two_towns(2.0, 0.3)
    modes = kt.find_modes(model.log_density, model.score, np.array([[-2.0], [2.0]]))
    moved = kt.jump_between_modes(model.sample(4000, rng), model.log_density, modes, reach, 10, rng)

    def distribution(x):
        from scipy.stats import norm

        return 0.7 * norm.cdf(x, -2) + 0.3 * norm.cdf(x, 2)

    assert kstest(moved[:, 0], distribution).pvalue > 0.01


def test_jumps_between_peaks_of_different_widths_need_the_volume():
    """On a line, narrow and wide peak: the share of each peak survives only with |J|."""
    rng = np.random.default_rng(2)
    narrow, wide = 0.2, 2.0

    def log_density(x):
        return np.logaddexp(
            np.log(0.5 / narrow) - 0.5 * ((x[:, 0] + 8) / narrow) ** 2,
            np.log(0.5 / wide) - 0.5 * ((x[:, 0] - 8) / wide) ** 2,
        )

    modes = kt.Modes(np.array([[-8.0], [8.0]]), np.array([[[narrow]], [[wide]]]))
    home = rng.random(6000) < 0.5
    x = np.where(
        home, -8 + narrow * rng.standard_normal(6000), 8 + wide * rng.standard_normal(6000)
    )
    moved = kt.jump_between_modes(x[:, None], log_density, modes, 1.0, 6, rng)
    assert np.mean(moved < 0) == pytest.approx(0.5, abs=0.03)
    assert np.std(moved[moved < 0]) == pytest.approx(narrow, rel=0.05)
    wrong = np.where(rng.random(6000) < 0.9, -8.0, 8.0)[:, None]  # shares are repaired
    assert np.mean(kt.jump_between_modes(wrong, log_density, modes, 1.0, 40, rng) < 0) < 0.6


def test_jumps_do_not_change_their_input():
    model = kt.two_towns(2.0, 0.3)
    modes = kt.find_modes(model.log_density, model.score, np.array([[-2.0], [2.0]]))
    x = model.sample(20, 0)
    kept = x.copy()
    kt.jump_between_modes(x, model.log_density, modes, 0.9, 5, 0)
    assert np.array_equal(x, kept)
    single = kt.Modes(modes.points[:1], modes.roots[:1])
    assert np.array_equal(kt.jump_between_modes(x, model.log_density, single, 0.9, 5, 0), x)


def test_stein_matrix_and_its_ratio():
    model = kt.two_towns(1.0, 0.3)
    x = model.sample(30, 0)
    gram = stein_gram(Gaussian(1.0), x, model.score(x))
    loop = sum(gram[i, j] for i in range(30) for j in range(30) if i != j) / (30 * 29)
    assert ksd_squared(gram) == pytest.approx(loop)
    means = gram.mean(axis=1)
    assert kt.stein_ratio(gram) == pytest.approx(loop / (2 * np.std(means)))
    test = kt.stein_test(gram, 50, 0)
    assert test.statistic == pytest.approx(loop) and test.null.shape == (50,)


def test_reach_is_chosen_away_from_the_perfect_copy():
    model = kt.two_towns(4.0, 0.1)
    modes = kt.find_modes(model.log_density, model.score, np.array([[-4.0], [4.0]]))
    x, kernel = kt.two_towns(4.0, 0.5).sample(150, 0), InverseMultiquadric(4.0)
    chosen = kt.choose_reach(x, model, modes, kernel, [0.8, 1.0, 1.2], 10, 0)
    assert chosen != 1.0
    total = kt.summed_stein_gram(x, model, modes, kernel, [0.8, 1.0], 10, 5)
    rng = np.random.default_rng(5)
    parts = [kt.perturbed_stein_gram(x, model, modes, kernel, r, 10, rng) for r in (0.8, 1.0)]
    assert np.allclose(total, sum(parts))


# 5. Strings

START = np.array([0.5, 0.3, 0.2])
STEPS = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])


def chain(**changes):
    return kt.StringModel(START, STEPS, **{"end": 0.15, "longest": 20, **changes})


def every_word(letters, longest):
    return ["".join(w) for n in range(1, longest + 1) for w in itertools.product(letters, repeat=n)]


@pytest.mark.parametrize("echo", [0.0, 0.4])
def test_probabilities_add_up_and_agree_with_samples(echo):
    model = chain(end=0.3, longest=4, echo=echo)
    words = every_word("abc", 4)
    p = np.exp(model.log_probability(kt.from_words(words, "abc", 4)))
    assert p.sum() == pytest.approx(1)
    drawn = model.sample(60000, 0).words("abc")
    for word in ("a", "ab", "aba", "abab", "cc"):
        expected = p[words.index(word)]
        assert drawn.count(word) / 60000 == pytest.approx(
            expected, abs=4 * np.sqrt(expected / 60000)
        )


@pytest.mark.parametrize("where", ["end", "anywhere"])
@pytest.mark.parametrize("edits", [kt.EDITS, ("substitute",), ("insert", "delete")])
def test_neighbours_are_the_set_of_words_one_edit_away(where, edits):
    words = every_word("ab", 4)
    strings = kt.from_words(words, "ab", 4)
    near, origin = kt.neighbours(strings, 2, edits, where)
    assert np.all(np.diff(origin) >= 0)
    found = near.words("ab")
    for i, word in enumerate(words):
        mine = [found[j] for j in np.flatnonzero(origin == i)]
        assert len(mine) == len(set(mine))
        assert set(mine) == naive.neighbour_words(word, "ab", 4, edits, where)


@pytest.mark.parametrize("kind", kt.BALANCES)
@pytest.mark.parametrize("where", ["end", "anywhere"])
def test_stein_features_have_mean_zero_over_all_strings(kind, where):
    model = chain(end=0.25, longest=5)
    strings = kt.from_words(every_word("abc", 5), "abc", 5)
    features = kt.string_stein_features(strings, model.log_probability, 3, where=where, kind=kind)
    p = np.exp(model.log_probability(strings))
    assert np.abs(p @ features).max() < 1e-12
    other = np.exp(chain(end=0.4, longest=5).log_probability(strings))
    assert np.abs(other @ features).max() > 1e-3


def test_substitutions_do_not_see_lengths():
    strings = kt.from_words(every_word("abc", 5), "abc", 5)
    features = kt.string_stein_features(
        strings, chain(end=0.25, longest=5).log_probability, 3, edits=("substitute",)
    )
    other = np.exp(chain(end=0.6, longest=5).log_probability(strings))
    assert np.abs(other @ features).max() < 1e-12


def test_string_features_and_stein_kernel_are_the_formula():
    model = chain(end=0.3, longest=4)
    words = ["a", "ab", "bba", "abca", "cccc"]
    strings = kt.from_words(words, "abc", 4)

    def kernel(a, b):
        return naive.word_kernel(a, b, "abc", 2, 3.0, 1.5)

    features = kt.string_features(strings, 3, 2, 3.0, 1.5)
    assert np.allclose(features @ features.T, [[kernel(a, b) for a in words] for b in words])
    stein = kt.string_stein_features(
        strings, model.log_probability, 3, where="anywhere", mers=2, length_scale=3.0,
        length_weight=1.5,
    )  # fmt: skip

    def probability(word):
        return np.exp(model.log_probability(kt.from_words([word], "abc", 4))[0])

    def neighbours(word):
        return naive.neighbour_words(word, "abc", 4, kt.EDITS, "anywhere")

    for i, j in ((1, 2), (3, 3), (0, 4)):
        expected = naive.word_stein_kernel(words[i], words[j], probability, kernel, neighbours)
        assert stein[i] @ stein[j] == pytest.approx(expected)


def test_balanced_rates():
    log_u = np.linspace(-3, 3, 13)
    for kind in kt.BALANCES:
        assert np.allclose(kt.balance(log_u, kind), np.exp(log_u) * kt.balance(-log_u, kind))


def test_words_and_back():
    words = ["a", "cab", "abc"]
    strings = kt.from_words(words, "abc", 5)
    assert strings.words("abc") == words and strings.lengths.tolist() == [1, 3, 3]
    assert strings.take([2, 0]).words("abc") == ["abc", "a"]


def test_feature_mmd_is_the_distance_of_means():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(1, 1, size=(20, 4))
    test = kt.feature_mmd_test(x, y, 99, rng)
    assert test.statistic == pytest.approx(np.sum((x.mean(0) - y.mean(0)) ** 2))
    assert test.p_value == 0.01
    level = [kt.feature_mmd_test(x[:15], x[15:], 39, seed).p_value for seed in range(20)]
    assert np.std(level) < 0.2  # the same split, other relabellings


# Bad input

X, Y = np.zeros((4, 1)), np.arange(4.0)[:, None]
MODEL = kt.two_towns(2.0, 0.5)
MODES = kt.Modes(np.array([[-2.0], [2.0]]), np.ones((2, 1, 1)))
STRINGS = kt.from_words(["ab", "c"], "abc", 20)
K = Gaussian(1.0)


def jump(modes, log_density=MODEL.log_density):
    return kt.jump_between_modes(Y, log_density, modes, 1.0, 3, 0)


def stein_features(log_probability):
    return kt.string_stein_features(STRINGS, log_probability, 3)


BAD = [
    (lambda: kt.rejection_rate([]), "rejected"),
    (lambda: kt.p_value(1.0, []), "null"),
    (lambda: kt.p_value(np.nan, [0.0]), "statistic"),
    (lambda: kt.p_value(None, [0.0]), "statistic"),
    (lambda: kt.drift_tubes(0, 0), "n must"),
    (lambda: kt.drift_tubes(5, 0, "dead layer"), "anomaly"),
    (lambda: kt.drift_tubes(5, 0, "slow layer", 2.0), "size"),
    (lambda: kt.far_distance(X[:1]), "x must"),
    (lambda: kt.far_distance(X, 2.0), "share"),
    (lambda: kt.learn_ratio(X, np.zeros((3, 2)), K, 2, 1.0, 0), "reference"),
    (lambda: kt.learn_ratio(X, Y, K, 9, 1.0, 0), "centres"),
    (lambda: kt.learn_ratio(X, Y, K, 2, 0.0, 0), "ridge"),
    (lambda: kt.z_score(1.0, [-1.0, -2.0]), "toys"),
    (lambda: kt.z_score(np.nan, [1.0]), "statistic"),
    (lambda: kt.reference_bins(Y, 1), "bins"),
    (lambda: kt.largest_chi_square(np.zeros((3, 2)), kt.reference_bins(Y)), "data"),
    (lambda: kt.mmd_to_reference(X[:1], Y, K), "data"),
    (lambda: kt.pair_stream("spiral", 1.0, 4, 0), "kind"),
    (lambda: kt.pair_stream("line", -1.0, 4, 0), "strength"),
    (lambda: kt.pair_stream("line", 1.0, 1, 0), "pairs"),
    (lambda: kt.betting_payoffs(X[:3], Y[:3], 1.0, 1.0), "even number"),
    (lambda: kt.betting_payoffs(X[:2], Y, 1.0, 1.0), "same length"),
    (lambda: kt.betting_payoffs(X, Y, 0.0, 1.0), "bandwidth_x"),
    (lambda: kt.witness(np.zeros((4, 2)), Y, [0.0], [0.0], 1.0, 1.0), "x must"),
    (lambda: kt.wealth([2.0]), "payoffs"),
    (lambda: kt.wealth([0.5], "all in"), "bet"),
    (lambda: kt.wealth([0.5], 1.0), "bet"),
    (lambda: kt.stopping_time([1.0], 0.0), "level"),
    (lambda: kt.hsic_permutation_test(X, Y[:3], K, K, 9, 0), "same length"),
    (lambda: kt.hsic_permutation_test(X, Y, K, K, 0, 0), "permutations"),
    (lambda: kt.GaussianMixture([1.0, -1.0], [[0.0], [1.0]]), "weights"),
    (lambda: kt.GaussianMixture([1.0], [[0.0]], 0.0), "scale"),
    (lambda: kt.two_towns(-1.0, 0.5), "distance"),
    (lambda: kt.two_towns(1.0, 1.5), "share"),
    (lambda: MODEL.sample(0, 0), "n must"),
    (lambda: MODEL.score(np.zeros((2, 2))), "x must"),
    (lambda: kt.find_modes(MODEL.log_density, MODEL.score, Y, 0.0), "merge_below"),
    (lambda: kt.jump_between_modes(Y, MODEL.log_density, MODES, -1.0, 3, 0), "reach"),
    (lambda: kt.jump_between_modes(Y, MODEL.log_density, MODES, 1.0, -3, 0), "steps"),
    (lambda: jump(MODES._replace(roots=np.ones((3, 1, 1)))), "modes"),
    (lambda: jump(MODES._replace(roots=np.ones((1, 1, 1)))), "modes"),
    (lambda: jump(MODES, lambda x: np.zeros(1)), "log_density"),
    (lambda: kt.stein_test(np.zeros((2, 3)), 9, 0), "gram"),
    (lambda: kt.stein_ratio([[0.0, 1.0], [2.0, 0.0]]), "gram"),
    (lambda: kt.choose_reach(Y, MODEL, MODES, K, [], 3, 0), "reaches"),
    (lambda: kt.from_words(["ad"], "abc", 5), "words"),
    (lambda: kt.from_words([""], "abc", 5), "words"),
    (lambda: kt.from_words([], "abc", 5), "words"),
    (lambda: chain(end=0.0), "end"),
    (lambda: chain(echo=1.0), "echo"),
    (lambda: kt.StringModel([0.5, 0.6], np.full((2, 2), 0.5), 0.2), "start"),
    (lambda: kt.StringModel([0.5, 0.5], [[0.5, 0.5], [1.0, 0.0]], 0.2), "transition"),
    (lambda: chain(longest=5).log_probability(STRINGS), "strings"),
    (lambda: STRINGS.words("ab"), "letters"),
    (lambda: kt.neighbours(STRINGS, 2), "symbols 0 to 1"),
    (lambda: kt.piece_counts(STRINGS, 2, 1), "symbols 0 to 1"),
    (lambda: kt.string_features(STRINGS, 2), "symbols 0 to 1"),
    (lambda: kt.piece_counts(STRINGS, 3, mers=40), "memory"),
    (lambda: stein_features(lambda s: np.zeros(1)), "log_probability"),
    (lambda: stein_features(lambda s: np.full(len(s.lengths), np.nan)), "log_probability"),
    (lambda: kt.neighbours(STRINGS, 3, ("swap",)), "edits"),
    (lambda: kt.neighbours(STRINGS, 3, where="middle"), "where"),
    (lambda: kt.balance([0.0], "metropolis"), "kind"),
    (lambda: kt.piece_counts(STRINGS, 3, 0), "mers"),
    (lambda: kt.length_features(5, 0.0), "length_scale"),
    (lambda: kt.string_features(STRINGS, 3, length_weight=-1.0), "length_weight"),
    (lambda: kt.feature_mmd_test(X, np.zeros((3, 2)), 9, 0), "features_y"),
]


@pytest.mark.parametrize(("bad", "says"), BAD)
def test_bad_input_is_refused_by_name(bad, says):
    with pytest.raises(ValueError, match=says):
        bad()


@pytest.mark.parametrize(
    ("symbols", "lengths"),
    [
        ([[0, 1, -1]], [9]),
        ([[0, 1, -1]], [0]),
        ([[0, 1, -1]], [3]),
        ([[0, 1, 1]], [2]),
        ([[-1, 1, -1]], [2]),
        ([[0, 3, -1]], [2]),
        ([[0, 1, -1]], [2, 2]),
        ([[0.0, 1.0, -1.0]], [2]),
        ([0, 1, -1], [2]),
    ],
)
def test_malformed_strings_are_refused_everywhere(symbols, lengths):
    strings = kt.Strings(np.array(symbols), np.array(lengths))
    model = chain(longest=3)
    for use in (
        lambda: model.log_probability(strings),
        lambda: kt.neighbours(strings, 3),
        lambda: kt.piece_counts(strings, 3),
        lambda: kt.string_features(strings, 3),
        lambda: kt.string_stein_features(strings, model.log_probability, 3),
    ):
        with pytest.raises(ValueError, match="strings must"):
            use()


# The claims, on other draws than the notebook's


def test_learned_ratio_catches_the_slipped_layer():
    rng = np.random.default_rng(100)
    raw = kt.drift_tubes(2000, rng)
    centre, spread = raw.mean(axis=0), raw.std(axis=0)
    reference = (raw - centre) / spread
    wide, median = Gaussian(kt.far_distance(reference)), Gaussian(median_bandwidth(reference))
    binned = kt.reference_bins(reference)

    def statistics(anomaly="none", size=0.0):
        data = (kt.drift_tubes(250, rng, anomaly, size) - centre) / spread
        return [
            kt.learn_ratio(data, reference, wide, 60, 0.1, rng).statistic,
            kt.mmd_to_reference(data, reference, median),
            kt.largest_chi_square(data, binned),
        ]

    limits = np.quantile([statistics() for _ in range(99)], 0.95, axis=0)
    power = np.mean([statistics("moved layer", 0.3) > limits for _ in range(30)], axis=0)
    assert power[0] >= 0.85 and power[1:].max() <= power[0] / 2
    plain = np.mean([statistics("slow layer", 0.35) > limits for _ in range(15)], axis=0)
    assert plain.min() >= 0.85
    size = kt.rejection_rate([statistics()[0] > limits[0] for _ in range(100)])
    assert size.low < 0.08


def test_betting_keeps_its_level_and_drift_does_not_fool_it():
    def peak(kind, strength, seed):
        x, y = kt.pair_stream(kind, strength, 600, 1000 + seed)
        return kt.wealth(kt.betting_payoffs(x, y, 1.0, 1.0)).max()

    assert np.mean([peak("line", 0.0, seed) >= 20 for seed in range(300)]) <= 0.05
    assert np.mean([peak("drift", 2.0, seed) >= 20 for seed in range(60)]) <= 0.05
    assert np.mean([peak("line", 0.8, seed) >= 20 for seed in range(20)]) >= 0.95
    x, y = kt.pair_stream("drift", 2.0, 600, 0)
    assert kt.hsic_permutation_test(x, y, K, K, 99, 0).p_value == 0.01  # the batch test is


def test_jumps_restore_the_power_and_a_perfect_copy_does_not():
    model = kt.two_towns(4.0, 0.1)
    modes = kt.find_modes(model.log_density, model.score, np.linspace(-8, 8, 8)[:, None])

    def rejected(reach, share, trials):
        count = 0
        for seed in range(trials):
            rng = np.random.default_rng(500 + seed)
            x = kt.two_towns(4.0, share).sample(300, rng)
            kernel = InverseMultiquadric(median_bandwidth(x))
            gram = kt.perturbed_stein_gram(x, model, modes, kernel, reach, 10, rng)
            count += kt.stein_test(gram, 199, rng).p_value <= 0.05
        return count / trials

    assert rejected(0.9, 0.5, 20) >= 0.9
    assert rejected(1.0, 0.5, 30) <= 0.2
    assert rejected(0.9, 0.1, 40) <= 0.2


@pytest.mark.parametrize(
    ("changes", "options", "lowest", "highest"),
    [
        ({"echo": 0.4}, {}, 0.7, 1.0),
        ({"end": 0.3}, {}, 0.0, 0.35),
        ({"end": 0.3}, {"length_weight": 20.0}, 0.7, 1.0),
        ({"end": 0.3}, {"length_weight": 20.0, "edits": ("substitute",)}, 0.0, 0.25),
        ({}, {}, 0.0, 0.25),
    ],
)
def test_power_of_the_string_test(changes, options, lowest, highest):
    rejected = []
    for seed in range(30):
        rng = np.random.default_rng(700 + seed)
        x = chain(**changes).sample(100, rng)
        xi = kt.string_stein_features(x, chain().log_probability, 3, where="anywhere", **options)
        rejected.append(kt.stein_test(xi @ xi.T, 199, rng).p_value <= 0.05)
    assert lowest <= np.mean(rejected) <= highest
