"""Move, thin, re-weight: plain references, closed forms, peers, bad input; claims and controls."""

import numpy as np
import pytest
import scipy.stats
from autograd import elementwise_grad
from autograd import numpy as anp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp

from kernellab.compute.directions import random_directions
from kernellab.compute.features import fourier_features
from kernellab.compute.kernels import Gaussian, Laplace, Matern12, Matern32, Matern52
from kernellab.compute.mmd import energy_distance, mmd_squared
from kernellab.compute.rates import log_log_slope
from kernellab.methods.mean_embeddings import move_thin_reweight as mt
from tests.naive import move_thin_reweight as naive

KERNEL = Gaussian(1.0)


def slopes(function, x, step=1e-6):
    """The gradient of a scalar function by central differences."""
    found = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        found[index] = (function(up) - function(down)) / (2 * step)
    return found


# 1. Laws


@pytest.mark.parametrize("law", [mt.moons(), mt.petals(), mt.spiral()])
def test_scores_of_bumps_are_slopes_of_the_log_density(law):
    x = law.sample(6, 0)

    def log_density(points):
        squares = ((points[:, None] - law.means) ** 2).sum(axis=2)
        return logsumexp(np.log(law.weights) - squares / (2 * law.spread**2), axis=1).sum()

    assert np.allclose(law.score(x), slopes(log_density, x), rtol=1e-5, atol=1e-5)
    assert law.sample(5, 1).shape == (5, 2)


def test_dirichlet_has_the_moments_and_the_score():
    a = np.array([2.0, 3.0, 4.0])
    law = mt.Dirichlet(a)
    x = law.sample(40_000, 0)
    assert np.allclose(x.mean(axis=0), scipy.stats.dirichlet(a).mean()[:2], atol=0.005)
    assert np.allclose(x.var(axis=0), scipy.stats.dirichlet(a).var()[:2], atol=0.002)

    def log_density(points):
        return sum(scipy.stats.dirichlet(a).logpdf(np.append(p, 1 - p.sum())) for p in points)

    assert np.allclose(law.score(x[:4]), slopes(log_density, x[:4]), rtol=1e-4)


def test_logistic_posterior_and_its_metric():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)), rng.integers(0, 2, 50)
    law, theta = mt.LogisticPosterior(x, y, 2.0), rng.standard_normal((2, 3))
    assert np.allclose(
        law.score(theta), slopes(lambda t: law.log_density(t).sum(), theta), atol=1e-4
    )
    fisher, inverse, divergence = law.metric(theta)
    assert np.allclose(fisher @ inverse, np.eye(3))
    assert np.linalg.eigvalsh(fisher).min() > 0
    for k in range(2):
        for a in range(3):
            total = 0.0
            for c in range(3):
                shift = 1e-5 * np.eye(3)[c]
                up, down = (law.metric((theta[k] + s)[None])[1][0, a, c] for s in (shift, -shift))
                total += (up - down) / 2e-5
            assert divergence[k, a] == pytest.approx(total, rel=1e-4, abs=1e-7)


def test_metropolis_visits_a_normal_law():
    walk = mt.metropolis(lambda z: -0.5 * (z**2).sum(axis=1), [1.0], 20_000, 2.0, 0)
    assert abs(walk.mean()) < 0.1 and walk.std() == pytest.approx(1, abs=0.05)
    again = mt.metropolis(lambda z: -0.5 * (z**2).sum(axis=1), [1.0], 20_000, 2.0, 0)
    assert np.array_equal(walk, again)


def test_a_standardised_law_has_the_score_in_its_own_units():
    law = mt.moons()
    scaled = mt.Standardised(law, [1.0, -1.0], [2.0, 0.5])
    z = np.array([[0.3, 0.2]])
    assert np.allclose(scaled.score(z), law.score([[1.6, -0.9]]) * [2.0, 0.5])


# 2. Kernel thinning


@pytest.mark.compiled
@pytest.mark.parametrize("kernel", [KERNEL, Laplace(0.7), Matern32(0.5)])
@pytest.mark.parametrize("n", [2, 10, 300])
def test_halving_is_the_reference(kernel, n):
    x = mt.moons().sample(n, 1)
    halving = mt.halve(x, kernel, 3, delta=0.4, rounds=2)
    factor = np.sqrt(2 * np.log(2 * 2 * n / 0.4))
    coins = np.random.default_rng(3).random(n // 2)
    kept, left, trace = naive.halve(kernel.gram(x), factor, coins)
    assert np.array_equal(halving.kept, kept) and np.array_equal(halving.left, left)
    assert np.allclose(halving.trace, trace, atol=1e-10)
    signs = np.ones(n)
    signs[kept] = -1
    gap = np.sqrt(max(signs @ kernel.gram(x) @ signs, 0)) / n
    assert halving.discrepancy()[-1] == pytest.approx(gap, abs=1e-9)


@pytest.mark.compiled
@pytest.mark.parametrize(("n", "rounds"), [(8, 1), (64, 3), (96, 5)])
def test_split_is_the_reference(n, rounds):
    x = mt.petals().sample(n, 2)
    coresets = mt.split(x, rounds, KERNEL, 7, delta=0.3)
    coins = np.random.default_rng(7).random((rounds, n // 2))
    expected = naive.split(
        KERNEL.gram(x), range(n), rounds,
        lambda size: np.sqrt(2 * np.log(2 * rounds * size / 0.3)), coins,
    )  # fmt: skip
    assert np.array_equal(coresets, expected)
    assert np.array_equal(np.sort(coresets.ravel()), np.arange(n))


def test_large_inputs_are_split_without_their_gram_matrix(monkeypatch):
    x = mt.moons().sample(256, 0)
    whole = mt.split(x, 3, KERNEL, 0)
    monkeypatch.setattr(mt, "_SMALL", 64)
    parts = mt.split(x, 3, KERNEL, 0)
    assert np.array_equal(np.sort(parts.ravel()), np.arange(256)) and parts.shape == whole.shape
    means = mt.mean_similarity(x, KERNEL)
    average = [np.mean([mt.coreset_mmd(x, c, KERNEL, means) for c in s]) for s in (whole, parts)]
    assert average[0] == pytest.approx(average[1], rel=0.3)


def test_swap_is_the_reference_and_never_hurts():
    x = mt.moons().sample(40, 0)
    start = np.arange(5)
    polished = mt.finish(mt.swap(x, start, KERNEL))
    assert np.array_equal(polished, naive.swap(KERNEL.gram(x), start))
    distances = [mt.coreset_mmd(x, rows, KERNEL) for _, rows in mt.swap(x, start, KERNEL)]
    assert np.all(np.diff(distances) < 1e-12) and np.array_equal(start, np.arange(5))


def test_coreset_mmd_is_the_mmd():
    x = mt.moons().sample(60, 0)
    rows = np.array([3, 7, 7, 20])
    expected = np.sqrt(mmd_squared(x[rows], x, KERNEL, unbiased=False))
    assert mt.coreset_mmd(x, rows, KERNEL) == pytest.approx(expected)
    assert mt.coreset_mmd(x, np.arange(60), KERNEL) == pytest.approx(0, abs=1e-7)


def test_halving_agrees_with_goodpoints_coin_by_coin():
    kt = pytest.importorskip("goodpoints.kt")
    for seed in range(5):
        x = mt.moons().sample(128, seed)
        theirs = kt.halve_K(KERNEL.gram(x), delta=0.5, seed=seed)[0]
        ours = mt.halve(x, KERNEL, seed).kept
        assert np.array_equal(np.sort(theirs), np.sort(ours)) or np.array_equal(
            np.sort(theirs), np.sort(mt.halve(x, KERNEL, seed).left)
        )


def test_thinning_is_as_good_as_goodpoints():
    kt = pytest.importorskip("goodpoints.kt")
    ours, theirs = [], []
    for seed in range(12):
        x = mt.moons().sample(256, seed)
        gram = KERNEL.gram(x)
        ours.append(mt.coreset_mmd(x, mt.kernel_thin(x, 4, KERNEL, seed), KERNEL))
        chosen = np.asarray(kt.thin_K(gram, gram, 4, delta=0.5, seed=seed))
        theirs.append(mt.coreset_mmd(x, chosen, KERNEL))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.3)


@pytest.mark.parametrize(
    ("kernel", "power", "d"), [(Matern32(0.8), 0.6, 2), (Gaussian(0.7), 0.5, 2)]
)
def test_the_power_kernel_has_the_power_of_the_spectrum(kernel, power, d):
    changed = mt.power_kernel(kernel, power, d)

    def spectrum(k, frequency):  # Hankel transform of a radial kernel in the plane
        from scipy.special import j0

        radial = lambda r: k.gram(np.zeros((1, 2)), np.array([[r, 0.0]]))[0, 0]  # noqa: E731
        return quad(lambda r: r * radial(r) * j0(r * frequency), 0, 40, limit=400)[0]

    ratios = [spectrum(changed, w) / spectrum(kernel, w) ** power for w in (0.5, 1.0, 2.0)]
    assert np.allclose(ratios, ratios[0], rtol=1e-3)


def test_power_kernels_of_matern_and_their_limits():
    assert mt.power_kernel(Matern52(1.0), 1.0, 3) == Matern52(1.0)
    assert isinstance(mt.power_kernel(Matern52(1.0), 5 / 7, 2), Matern32)
    assert isinstance(mt.power_kernel(Matern52(1.0), 3 / 7, 2), Matern12)
    with pytest.raises(ValueError, match="power"):
        mt.power_kernel(Matern32(1.0), 0.9, 2)
    with pytest.raises(ValueError, match="kernel"):
        mt.power_kernel(Laplace(1.0), 0.5, 2)


def test_thinning_a_repeated_point():
    x = np.zeros((16, 2))
    rows = mt.kernel_thin(x, 2, KERNEL, 0)
    assert rows.shape == (4,) and mt.coreset_mmd(x, rows, KERNEL) == pytest.approx(0, abs=1e-7)


def test_standard_thinning():
    assert np.array_equal(mt.standard_thinning(12, 3), [3, 7, 11])
    assert np.array_equal(mt.standard_thinning(5, 5), np.arange(5))


# 3. Kernel method of moments


@pytest.fixture(scope="module")
def moments():
    rng = np.random.default_rng(0)
    data = rng.standard_normal((40, 1))
    reference = mt.jittered_copies(data, 2, 1.0, rng)
    waves = rng.standard_normal((25, 1))
    return data, reference, *(fourier_features(x, waves) for x in (data, reference))


def test_the_law_found_satisfies_the_condition_and_duality_is_tight(moments):
    _, reference, at_data, at_reference = moments
    epsilon = 0.2
    fit = mt.moment_profile(at_data, at_reference, reference - 0.8, epsilon)
    assert fit.weights @ reference[:, 0] == pytest.approx(0.8, abs=1e-6)
    assert fit.weights.sum() == pytest.approx(1) and fit.weights.min() >= 0
    mmd = ((fit.weights @ at_reference - at_data.mean(axis=0)) ** 2).sum()
    divergence = (fit.weights * np.log(fit.weights * len(reference))).sum()
    assert fit.value == pytest.approx(mmd / 2 + epsilon * divergence, rel=1e-7)


def test_no_other_law_is_cheaper(moments):
    data, reference, at_data, at_reference = moments
    fit = mt.moment_profile(at_data, at_reference, reference - 0.8, 0.2)
    rng, x = np.random.default_rng(1), reference[:, 0]
    basis = np.linalg.qr(np.column_stack([np.ones_like(x), x]))[0]
    for _ in range(20):
        move = rng.standard_normal(len(x))
        move = move - basis @ (basis.T @ move)  # keeps the mass and the mean
        other = fit.weights + 0.3 * fit.weights.min() * move / np.abs(move).max()
        mmd = ((other @ at_reference - at_data.mean(axis=0)) ** 2).sum()
        assert mmd / 2 + 0.2 * (other * np.log(other * len(x))).sum() >= fit.value - 1e-12


def test_the_slope_of_the_profile_is_the_envelope(moments):
    _, reference, at_data, at_reference = moments

    def value(theta):
        return mt.moment_profile(at_data, at_reference, reference - theta, 0.3).value

    fit = mt.moment_profile(at_data, at_reference, reference - 0.6, 0.3)
    # dR/dtheta = sum_i p_i h . dpsi_i/dtheta, and psi = x - theta falls with theta.
    envelope = -fit.multipliers[0]
    assert envelope == pytest.approx((value(0.6 + 1e-4) - value(0.6 - 1e-4)) / 2e-4, rel=1e-4)


def test_without_a_condition_the_nearest_law_is_the_data(moments):
    data, _, at_data, _ = moments
    fit = mt.moment_profile(at_data, at_data, np.zeros((40, 1)), 0.1)
    assert fit.value == pytest.approx(0, abs=1e-12) and np.allclose(fit.weights, 1 / 40)


def test_empirical_likelihood_is_owens():
    rng = np.random.default_rng(2)
    psi = rng.standard_normal((50, 2))
    value, weights = mt.empirical_likelihood(psi)
    assert np.allclose(weights @ psi, 0, atol=1e-8) and weights.sum() == pytest.approx(1)
    assert value == pytest.approx(-np.log(50 * weights).mean(), rel=1e-6)
    outside, nothing = mt.empirical_likelihood(psi + [10.0, 0.0])
    assert np.isinf(outside) and np.isnan(nothing).all()


def test_exponential_tilting_solves_for_its_multiplier():
    x = np.random.default_rng(3).standard_normal((60, 1))
    value, weights = mt.exponential_tilting(x - 0.3)
    ratio = np.log(weights)
    slope = np.polyfit(x[:, 0], ratio, 1)
    assert np.allclose(np.polyval(slope, x[:, 0]), ratio, atol=1e-6)
    assert weights @ x[:, 0] == pytest.approx(0.3, abs=1e-7)
    assert value == pytest.approx((weights * np.log(60 * weights)).sum(), rel=1e-6)


def test_a_dear_reference_gives_exponential_tilting(moments):
    data, _, at_data, _ = moments
    _, tilted = mt.exponential_tilting(data - 0.3)
    gaps = []
    for epsilon in (0.1, 10.0, 1e4):
        weights = mt.moment_profile(at_data, at_data, data - 0.3, epsilon).weights
        gaps.append(40 * np.abs(weights - tilted).max())
    assert gaps[0] > 0.1 and gaps[2] < 1e-3 and gaps[0] > gaps[1] > gaps[2]


def test_outside_the_hull_only_kernel_moments_answer(moments):
    data, reference, at_data, at_reference = moments
    beyond = data.max() + 0.2
    assert reference.max() > beyond + 0.1
    assert np.isinf(mt.empirical_likelihood(data - beyond)[0])
    assert mt.moment_profile(at_data, at_reference, reference - beyond, 0.1).value < 2
    assert np.isinf(mt.moment_profile(at_data, at_data, data - beyond, 0.1).value)
    far = reference.max() + 1
    assert np.isinf(mt.moment_profile(at_data, at_reference, reference - far, 0.1).value)


def test_a_start_changes_the_steps_only(moments):
    _, reference, at_data, at_reference = moments
    first = mt.moment_profile(at_data, at_reference, reference - 0.5, 0.1)
    again = mt.moment_profile(at_data, at_reference, reference - 0.5, 0.1, start=first)
    assert again.value == pytest.approx(first.value, rel=1e-9) and again.steps < first.steps


def test_instruments_find_the_effect_and_least_squares_does_not():
    errors = []
    for seed in range(12):
        data = mt.instrument_problem(300, 1.0, 0.5, seed)
        slopes_found = (
            mt.kernel_moments_slope(data, 1.0, seed),
            mt.gmm_slope(data, mt.polynomial_instruments(data.z, 6)),
            mt.least_squares_slope(data),
        )
        errors.append(np.array(slopes_found) - 1)
    kernel, optimal, ordinary = np.sqrt(np.mean(np.square(errors), axis=0))
    assert kernel < ordinary / 3 and kernel < 1.3 * optimal


def test_gmm_with_one_instrument_is_the_ratio_of_covariances():
    data = mt.instrument_problem(100, 2.0, 0.3, 0)
    b = data.z[:, None]
    assert mt.gmm_slope(data, b) == pytest.approx((data.z @ data.y) / (data.z @ data.t), rel=1e-6)


# 4. Sliced energy flows


@pytest.mark.compiled
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (12, 1), (30, 45), (50, 50)])
@pytest.mark.parametrize("digits", [None, 1, 0])
def test_ranks_give_the_gradient_of_all_pairs(n, m, digits):
    rng = np.random.default_rng(n + m)
    x, y = rng.standard_normal(n), rng.standard_normal(m)
    if digits is not None:  # with ties
        x, y = np.round(x, digits), np.round(y, digits)
    expected = naive.energy_gradient(x[:, None], y[:, None])[:, 0]
    assert np.allclose(mt.energy_gradient_1d(x, y), expected, atol=1e-13)
    assert np.allclose(mt.riesz_gradient(x[:, None], y[:, None])[:, 0], expected, atol=1e-13)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=12),
    st.lists(st.integers(-5, 5), min_size=1, max_size=12),
)
def test_one_dimensional_energy_distance_is_scipys(x, y):
    x, y = np.array(x, float), np.array(y, float)
    ours = mt.sliced_energy_distance(x[:, None], y[:, None], np.ones((1, 1)))
    assert ours == pytest.approx(scipy.stats.energy_distance(x, y) ** 2, abs=1e-12)
    assert ours == pytest.approx(energy_distance(x[:, None], y[:, None]), abs=1e-12)
    assert np.allclose(
        mt.energy_gradient_1d(x, y), naive.energy_gradient(x[:, None], y[:, None])[:, 0]
    )


@pytest.mark.compiled
@pytest.mark.parametrize("d", [1, 2, 5])
def test_slices_are_the_reference(d):
    rng = np.random.default_rng(d)
    x, y = rng.standard_normal((9, d)), rng.standard_normal((14, d))
    directions = random_directions(6, d, rng)
    expected = naive.sliced_gradient(x, y, directions, mt.slicing_constant(d))
    assert np.allclose(mt.sliced_energy_gradient(x, y, directions), expected, atol=1e-12)


@pytest.mark.parametrize("r", [0.5, 1.0, 1.5])
def test_riesz_gradient_is_a_slope(r):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 2)), rng.standard_normal((7, 2))

    def value(points):
        across = (np.linalg.norm(points[:, None] - y, axis=2) ** r).mean()
        return across - (np.linalg.norm(points[:, None] - points, axis=2) ** r).mean() / 2

    assert np.allclose(mt.riesz_gradient(x, y, r), slopes(value, x), atol=1e-6)
    assert np.allclose(mt.riesz_gradient(x, y, r), naive.energy_gradient(x, y, r))


def test_slices_times_the_constant_are_the_energy_distance():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((200, 3)), rng.standard_normal((200, 3)) + 0.4
    sliced = mt.sliced_energy_distance(x, y, random_directions(4000, 3, rng))
    assert sliced == pytest.approx(energy_distance(x, y), rel=0.03)
    assert mt.slicing_constant(3) == pytest.approx(2)  # the control: without it, half
    for d, r in ((2, 1.0), (4, 0.5), (3, 1.5)):
        shadows = np.abs(random_directions(200_000, d, 0)[:, 0]) ** r
        assert mt.slicing_constant(d, r) * shadows.mean() == pytest.approx(1, rel=0.01)


def test_gradient_error_falls_like_one_over_root_p_and_grows_with_d():
    rng = np.random.default_rng(0)
    counts, at_eight = (4, 16, 64, 256), []
    for d in (4, 16, 64):
        x, y = rng.standard_normal((50, d)), rng.standard_normal((60, d)) + 1 / np.sqrt(d)
        exact, errors = mt.riesz_gradient(x, y), []
        for count in counts:
            tries = [
                mt.sliced_energy_gradient(x, y, random_directions(count, d, rng)) - exact
                for _ in range(12)
            ]
            errors.append(np.sqrt(np.mean(np.square(tries))) / np.sqrt(np.mean(exact**2)))
        assert log_log_slope(counts, errors) == pytest.approx(-0.5, abs=0.08)
        at_eight.append(errors[0])
    assert log_log_slope((4, 16, 64), at_eight) == pytest.approx(0.5, abs=0.15)


def test_energy_flow_reaches_the_target_and_holds_what_it_must():
    y = mt.moons().sample(200, 0)
    start = np.random.default_rng(1).standard_normal((64, 2))
    states = [x for _, x in mt.energy_flow(start, y, 80, 0, step_size=0.1, momentum=0.8, slices=8)]
    floor = np.mean([energy_distance(mt.moons().sample(64, s), y) for s in range(5)])
    assert energy_distance(states[-1], y) < 0.1 * floor < energy_distance(start, y)
    assert np.array_equal(states[0], start) and len(states) == 81
    held = mt.finish(mt.energy_flow(start, y, 5, 0, slices=4, moving=1))
    assert np.array_equal(held[:, 1], start[:, 1]) and not np.allclose(held[:, 0], start[:, 0])
    # One step with a held coordinate is the masked gradient.
    directions = random_directions(4, 2, np.random.default_rng(0))
    gradient = mt.sliced_energy_gradient(start, y, directions)
    one = mt.finish(mt.energy_flow(start, y, 1, 0, step_size=0.3, slices=4, moving=1))
    assert np.allclose(one[:, 0], start[:, 0] - 0.3 * 64 * gradient[:, 0])


def test_exact_flow_with_another_exponent():
    y = mt.petals().sample(100, 0)
    start = np.random.default_rng(1).standard_normal((30, 2))
    end = mt.finish(mt.energy_flow(start, y, 60, 0, step_size=0.2, momentum=0.5, r=1.5, exact=True))
    assert energy_distance(end, y) < 0.2 * energy_distance(start, y)


def test_flow_maps_interpolate_their_path():
    rng = np.random.default_rng(0)
    path = [rng.standard_normal((20, 2)) for _ in range(3)]
    maps = mt.fit_flow_maps(path, Gaussian(0.3), 1e-12)
    assert np.allclose(maps.push(path[0]), path[-1], atol=1e-5)


# 5. Posterior flows


@pytest.fixture(scope="module")
def inverse():
    return mt.LinearInverse(mt.Bumps([[-1.5], [0.3], [1.5]], 0.25), [[1.0]], 0.5)


def test_the_exact_posterior_is_bayes_rule(inverse):
    axis = np.linspace(-4, 4, 4001)
    prior = np.exp(-((axis[:, None] - inverse.prior.means[:, 0]) ** 2) / (2 * 0.25**2)).sum(axis=1)
    density = prior * np.exp(-((0.9 - axis) ** 2) / (2 * 0.5**2))
    density /= density.sum()
    weights, means, covariance = inverse.posterior([0.9])
    assert weights @ means[:, 0] == pytest.approx(density @ axis, abs=1e-6)
    second = weights @ (means[:, 0] ** 2 + covariance[0, 0])
    assert second == pytest.approx(density @ axis**2, abs=1e-6)
    drawn = inverse.sample_posterior([0.9], 20_000, 0)
    assert drawn.mean() == pytest.approx(density @ axis, abs=0.02)
    assert inverse.posterior_mean([[0.9]])[0, 0] == pytest.approx(density @ axis, abs=1e-6)


def test_a_gaussian_prior_gives_the_textbook_posterior():
    a = np.array([[1.0, 0.5]])
    problem = mt.LinearInverse(mt.Bumps([[0.5, -1.0]], 0.8), a, 0.3)
    precision = np.eye(2) / 0.8**2 + a.T @ a / 0.3**2
    _, means, covariance = problem.posterior([1.2])
    mean = np.linalg.solve(precision, np.array([0.5, -1.0]) / 0.8**2 + a[0] * 1.2 / 0.3**2)
    assert np.allclose(covariance, np.linalg.inv(precision)) and np.allclose(means[0], mean)


def test_posterior_flow_and_its_control(inverse):
    gaps = {True: [], False: []}
    prior = []
    for hold in (True, False):
        for seed in range(2):
            x, y = inverse.sample(300, seed)
            states = mt.posterior_flow(
                x, y, 800, seed, weight=2.0, step_size=0.1, slices=4, hold=hold
            )
            end = mt.finish(states)
            if hold:
                assert np.allclose(end[:, 1], y[:, 0])
            for y0 in (-1.0, 0.0, 1.0):
                exact = inverse.sample_posterior([y0], 1000, 0)
                asked = np.abs(y[:, 0] - y0) < 0.25
                gaps[hold].append(energy_distance(end[asked, :1], exact))
                prior.append(energy_distance(x, exact))
    assert np.mean(gaps[True]) < 0.1 * np.mean(prior) < np.mean(gaps[False])


# 6. Mirrored Stein operators


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-25, 25), min_size=2, max_size=4))
def test_the_mirror_has_an_inverse(eta):
    eta = np.array([eta])
    theta = mt.unmirror(eta)
    assert theta.min() > 0 and theta.sum() <= 1
    if theta.sum() < 1 and 1 - theta.sum() > 1e-6:
        assert np.allclose(mt.mirror(theta), eta, rtol=1e-6, atol=1e-6)


def test_unmirror_at_the_edges():
    far = mt.unmirror(np.array([[800.0, 790.0], [-800.0, -800.0]]))
    assert np.isfinite(far).all() and far[0].sum() == pytest.approx(1)
    assert np.array_equal(far[1], [0, 0])


def test_the_metric_belongs_to_the_mirror():
    theta = np.random.default_rng(0).dirichlet([2, 2, 2], 4)[:, :2]
    hessian, inverse, divergence = mt.entropy_metric(theta)
    assert np.allclose(hessian @ inverse, np.eye(2))
    for i, point in enumerate(theta):
        for c in range(2):
            shift = 1e-6 * np.eye(2)[c]
            slope = (mt.mirror((point + shift)[None]) - mt.mirror((point - shift)[None]))[0] / 2e-6
            assert np.allclose(hessian[i, :, c], slope, rtol=1e-5)
        total = sum(
            (mt.entropy_metric((point + s)[None])[1] - mt.entropy_metric((point - s)[None])[1])[
                0, :, c
            ]
            / 2e-6
            for c, s in enumerate(1e-6 * np.eye(2))
        )
        assert np.allclose(divergence[i], total, atol=1e-6)


def test_the_dual_score_is_a_change_of_variables():
    a = np.array([1.5, 2.0, 0.7])
    law, eta = mt.Dirichlet(a), np.array([[0.3, -0.8]])
    theta = mt.unmirror(eta)
    _, inverse, divergence = mt.entropy_metric(theta)

    def log_density(e):  # log p(theta(eta)) + log |d theta/d eta|, up to a constant
        raw = anp.concatenate([e, anp.zeros((1, 1))], axis=1)
        shares = anp.exp(raw) / anp.sum(anp.exp(raw))
        return anp.sum((a - 1) * anp.log(shares)) + anp.sum(anp.log(shares))

    ours = inverse[0] @ law.score(theta)[0] + divergence[0]
    assert np.allclose(ours, elementwise_grad(log_density)(eta)[0])


@pytest.mark.compiled
@pytest.mark.parametrize(("count", "d"), [(1, 2), (7, 2), (12, 3)])
def test_stein_directions_are_the_references(count, d):
    theta = np.random.default_rng(count).dirichlet(np.full(d + 1, 3.0), count)[:, :-1]
    law = mt.Dirichlet(np.arange(1, d + 2) + 0.5)
    score, metric = law.score(theta), mt.entropy_metric(theta)
    ours = mt.mirrored_direction(theta, score, metric, 0.4)
    assert np.allclose(ours, naive.mirrored_direction(theta, score, *metric[1:], 0.4))
    ours = mt.mirror_descent_direction(theta, score, metric, 0.4)
    expected = naive.mirror_descent_direction(theta, score, *metric, 0.4)
    assert np.allclose(ours, expected, rtol=1e-6, atol=1e-8)


def test_one_particle_of_svmd_descends_and_of_msvgd_does_not():
    theta, law = np.array([[0.2, 0.5]]), mt.Dirichlet((3.0, 2.0, 4.0))
    score, metric = law.score(theta), mt.entropy_metric(theta)
    assert np.allclose(mt.mirror_descent_direction(theta, score, metric), score, atol=1e-10)
    assert not np.allclose(mt.mirrored_direction(theta, score, metric), score, atol=1e-2)


@pytest.mark.parametrize("concentration", [(90.1, 5.1, 5.1), (5.1, 2.1, 0.1)])
def test_mirrored_particles_stay_inside_and_beat_the_projected_ones(concentration):
    law = mt.Dirichlet(concentration)
    exact, found = law.sample(2000, 99), {}
    for method in ("mirrored", "projected"):
        distances = []
        for seed in range(3):
            start = np.random.default_rng(seed).dirichlet([5, 5, 5], 40)[:, :2]
            for _, theta in mt.stein_path(start, law, 200, method=method):
                assert theta.min() > 0 and theta.sum(axis=1).max() < 1
            distances.append(energy_distance(theta, exact))
        found[method] = np.mean(distances)
    floor = np.mean([energy_distance(law.sample(40, s), exact) for s in range(10)])
    assert found["mirrored"] < 2 * floor and found["projected"] > 10 * found["mirrored"]


def test_projection_onto_the_simplex():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 2))
    nearest = mt.to_simplex(points, 0.01)
    shares = np.column_stack([nearest, 1 - nearest.sum(axis=1)])
    assert shares.min() >= 0.01 - 1e-12
    inside = rng.dirichlet([1, 1, 1], 4000) * 0.97 + 0.01
    full = np.column_stack([points, 1 - points.sum(axis=1)])
    distance = np.linalg.norm(shares - full, axis=1)
    others = np.linalg.norm(inside[:, None] - full, axis=2).min(axis=0)
    assert np.all(distance <= others + 1e-9)
    assert np.allclose(mt.to_simplex(inside[:, :2]), inside[:, :2])


def test_natural_gradients_are_faster_on_a_logistic_posterior():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 2))
    y = (rng.random(100) < 1 / (1 + np.exp(-x @ [2.0, 1.0]))).astype(int)
    law, start = mt.LogisticPosterior(x, y), 0.7 * rng.standard_normal((30, 2))
    reference = mt.metropolis(law.log_density, [2.0, 1.0], 8000, 0.5, 0)[500::5]
    natural = mt.finish(mt.natural_path(start, law, 20, step_size=1.0))
    plain = mt.finish(mt.natural_path(start, law, 20, natural=False, step_size=0.1))
    assert energy_distance(natural, reference) < 0.1 < energy_distance(plain, reference)


# 7. Kernelised normalising flows


def bent(kind, d=2, layers=3, penalty_free=True):
    """A flow whose layers do something, and points."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, d)) @ rng.standard_normal((d, d))
    flow = mt.coupling_flow(x, layers, 5, 1, kind=kind)
    for layer in flow.layers:
        layer.stretch += 0.2 * rng.standard_normal(layer.stretch.shape)
        layer.shift += 0.4 * rng.standard_normal(layer.shift.shape)
    return flow, x


@pytest.mark.parametrize("kind", ["kernel", "neurons"])
@pytest.mark.parametrize("d", [2, 3, 4])
def test_flow_gradients_are_slopes(kind, d):
    flow, x = bent(kind, d)
    _, gradients = flow.loss_gradient(x, 0.07)
    for layer, parts in zip(flow.layers, gradients, strict=True):
        for parameter, gradient in zip(layer.parameters, parts, strict=True):
            keep = parameter.copy()

            def loss(value, parameter=parameter):
                parameter[...] = value
                return flow.loss_gradient(x, 0.07)[0]

            found = slopes(loss, keep)
            parameter[...] = keep
            assert np.allclose(gradient, found, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["kernel", "neurons"])
@pytest.mark.parametrize("d", [2, 3])
def test_flows_are_undone_and_their_determinant_is_the_jacobians(kind, d):
    flow, x = bent(kind, d)
    z, log_det = flow.forward(x)
    assert np.abs(flow.inverse(z) - x).max() < 1e-10
    for point, value in zip(x[:4], log_det[:4], strict=True):
        jacobian = np.array(
            [
                (flow.forward((point + s)[None])[0] - flow.forward((point - s)[None])[0])[0] / 2e-6
                for s in 1e-6 * np.eye(d)
            ]
        )
        assert np.log(abs(np.linalg.det(jacobian))) == pytest.approx(value, abs=1e-6)


def test_a_fresh_flow_is_the_fitted_gaussian_without_correlation():
    x = mt.moons().sample(200, 0)
    flow = mt.coupling_flow(x, 2, 3, 0)
    expected = scipy.stats.norm(x.mean(axis=0), x.std(axis=0)).logpdf(x).sum(axis=1)
    assert np.allclose(flow.log_density(x), expected) and flow.size == 2 * (3 + 1 + 3 + 3)
    assert flow.sample(50, 0).shape == (50, 2)


def test_training_beats_a_gaussian_with_mass_one_and_keeps_up_with_a_network():
    found = {}
    for kind, units in (("kernel", 15), ("neurons", 16)):
        x, fresh = mt.moons().sample(300, 0), mt.moons().sample(500, 99)
        flow = mt.coupling_flow(x, 6, units, 0, kind=kind)
        before = flow.log_density(fresh).mean()
        penalty = 0.01 if kind == "kernel" else 0.0
        record = mt.finish(mt.train_flow(flow, x, 150, penalty=penalty, held_out=fresh))
        found[kind] = record.held_out[-1]
        assert record.held_out[-1] > before + 0.3 and record.train[-1] > record.train[0]
        axis = np.linspace(-8, 8, 300)
        mesh = np.column_stack([m.ravel() for m in np.meshgrid(axis, axis)])
        mass = np.exp(flow.log_density(mesh)).sum() * (axis[1] - axis[0]) ** 2
        assert mass == pytest.approx(1, abs=0.01)
    assert found["kernel"] > found["neurons"] - 0.15


# The claims of the thinning section


def test_thinned_points_beat_random_ones_at_a_faster_rate():
    sizes, rates = (64, 256, 1024), {}
    for fair in (False, True):
        means = []
        for n in sizes:
            values = []
            for seed in range(5):
                x = mt.moons().sample(n, seed)
                rows = mt.kernel_thin(
                    x, int(np.log2(n)) // 2, KERNEL, seed, fair=fair, polish=not fair
                )
                values.append(mt.coreset_mmd(x, rows, KERNEL))
            means.append(np.mean(values))
        rates[fair] = log_log_slope(sizes, means)
    assert rates[False] < -0.4 < rates[True]


def test_the_balanced_coin_beats_the_fair_one():
    clouds = [mt.moons().sample(512, seed) for seed in range(10)]
    gaps = [
        np.mean([mt.halve(x, KERNEL, 0, fair=fair).discrepancy()[-1] for x in clouds])
        for fair in (False, True)
    ]
    assert gaps[0] < 0.6 * gaps[1]


# Bad input

X = np.random.default_rng(0).standard_normal((8, 2))
SHARES = np.full((4, 2), 0.25)
METRIC = mt.entropy_metric(SHARES)
DATA = mt.instrument_problem(20, 1.0, 0.5, 0)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: mt.Bumps([[0.0]], 0.0), "spread"),
        (lambda: mt.Bumps([[0.0]], 1.0, [-1.0]), "weights"),
        (lambda: mt.moons().sample(0, 0), "n"),
        (lambda: mt.moons().score([1.0]), "x"),
        (lambda: mt.Dirichlet((1.0, 0.0)), "concentration"),
        (lambda: mt.Dirichlet((1.0, 1.0)).score([[1.5]]), "theta"),
        (lambda: mt.LogisticPosterior(X, np.full(8, 2.0)), "y"),
        (lambda: mt.LogisticPosterior(X, np.ones(7)), "same length"),
        (lambda: mt.Standardised(mt.moons(), [0.0, 0.0], [1.0, 0.0]), "spread"),
        (lambda: mt.metropolis(lambda z: z, [0.0], 0, 1.0, 0), "steps"),
        (lambda: mt.power_kernel(KERNEL, 0.0, 2), "power"),
        (lambda: mt.halve(X[:7], KERNEL, 0), "x"),
        (lambda: mt.halve(X, KERNEL, 0, delta=1.0), "delta"),
        (lambda: mt.split(X, 4, KERNEL, 0), "x"),
        (lambda: mt.swap(X, [0, 9], KERNEL), "coreset"),
        (lambda: mt.swap(X, [0.5], KERNEL), "coreset"),
        (lambda: mt.coreset_mmd(X, [], KERNEL), "coreset"),
        (lambda: mt.kernel_thin(X, -1, KERNEL, 0), "rounds"),
        (lambda: mt.mean_similarity([1.0], KERNEL), "x"),
        (lambda: mt.standard_thinning(4, 5), "m"),
        (lambda: mt.moment_profile(X, X[:, :1], X, 1.0), "reference_features"),
        (lambda: mt.moment_profile(X, X, X[:5], 1.0), "psi"),
        (lambda: mt.moment_profile(X, X, X, 0.0), "epsilon"),
        (lambda: mt.moment_profile(X, X, X, 1.0, penalty=-1), "penalty"),
        (lambda: mt.empirical_likelihood([1.0]), "psi"),
        (lambda: mt.exponential_tilting([1.0]), "psi"),
        (lambda: mt.jittered_copies(X, -1, 1.0, 0), "copies"),
        (lambda: mt.instrument_problem(100, 1.0, 2.0, 0), "confounding"),
        (lambda: mt.gmm_slope(DATA, X), "instruments"),
        (lambda: mt.polynomial_instruments([1.0, 2.0], 0), "q"),
        (lambda: mt.kernel_moments_slope(DATA, 1.0, 0, features=0), "features"),
        (lambda: mt.slicing_constant(0), "d"),
        (lambda: mt.energy_gradient_1d([], [1.0]), "x"),
        (lambda: mt.energy_gradient_1d([np.nan], [1.0]), "x"),
        (lambda: mt.sliced_energy_gradient(X, X[:, :1], X), "y"),
        (lambda: mt.sliced_energy_distance(X, X, X[:, :1]), "directions"),
        (lambda: mt.riesz_gradient(X, X, 2.5), "r"),
        (lambda: mt.energy_flow(X, X, 0, 0), "steps"),
        (lambda: mt.energy_flow(X, X, 5, 0, moving=3), "moving"),
        (lambda: mt.energy_flow(X, X, 5, 0, r=1.5), "r"),
        (lambda: mt.energy_flow(X, X, 5, 0, momentum=1.0), "momentum"),
        (lambda: mt.fit_flow_maps([X], KERNEL, 1.0), "path"),
        (lambda: mt.fit_flow_maps([X, X], KERNEL, 0.0), "ridge"),
        (lambda: mt.LinearInverse(mt.moons(), [[1.0]], 1.0), "operator"),
        (lambda: mt.LinearInverse(mt.moons(), [[1.0, 1.0]], 0.0), "noise"),
        (lambda: mt.posterior_flow(X, X[:5], 5, 0), "same length"),
        (lambda: mt.posterior_flow(X, X, 5, 0, weight=0.0), "weight"),
        (lambda: mt.mirror([[0.5, 0.5]]), "theta"),
        (lambda: mt.unmirror([1.0]), "eta"),
        (lambda: mt.entropy_metric([[0.0, 0.5]]), "theta"),
        (lambda: mt.identity_metric([1.0]), "theta"),
        (lambda: mt.median_width([1.0]), "theta"),
        (lambda: mt.inverse_multiquadric(X, 0.0), "width"),
        (lambda: mt.mirrored_direction(SHARES, SHARES[:2], METRIC), "score"),
        (lambda: mt.mirrored_direction(SHARES, SHARES, METRIC[:2]), "metric"),
        (lambda: mt.mirror_descent_direction(SHARES, SHARES, METRIC, -1.0), "width"),
        (lambda: mt.to_simplex(X, 0.5), "floor"),
        (lambda: mt.stein_path(X, mt.moons(), 5), "theta"),
        (lambda: mt.stein_path(SHARES, mt.moons(), 5, method="none"), "method"),
        (lambda: mt.natural_path(X, mt.moons(), 5, step_size=0.0), "step_size"),
        (lambda: mt.coupling_flow(X[:, :1], 2, 3, 0), "x"),
        (lambda: mt.coupling_flow(np.ones((4, 2)), 2, 3, 0), "x"),
        (lambda: mt.coupling_flow(X, 2, 3, 0, kind="none"), "kind"),
        (lambda: mt.coupling_flow(X, 2, 3, 0).forward(X[:, :1]), "x"),
        (lambda: mt.coupling_flow(X, 2, 3, 0).inverse([[1.0]]), "z"),
        (lambda: mt.coupling_flow(X, 2, 3, 0).sample(0, 0), "n"),
        (lambda: mt.train_flow(mt.coupling_flow(X, 2, 3, 0), X, 0), "steps"),
        (lambda: mt.train_flow(mt.coupling_flow(X, 2, 3, 0), X, 5, penalty=-1.0), "penalty"),
        (lambda: mt.coupling_flow(X, 2, 3, 0).loss_gradient(X, np.nan), "penalty"),
        (lambda: mt.coupling_flow(X, 2, 3, 0).loss_gradient(X, -1.0), "penalty"),
        (lambda: mt.metropolis(lambda t: np.full(len(t), -np.inf), [0.0], 5, 1.0, 0), "start"),
        (lambda: mt.metropolis(lambda t: np.full(len(t), np.nan), [0.0], 5, 1.0, 0), "start"),
        (lambda: mt.sliced_energy_distance(X, X, [[3.0, 0.0]]), "directions"),
        (lambda: mt.sliced_energy_gradient(X, X, [[1.0, 0.0], [0.0, 0.0]]), "directions"),
        (lambda: mt.Instrumented([1.0, np.nan], [1.0, 2.0], [1.0, 2.0]), "y"),
        (lambda: mt.Instrumented([1.0, 2.0], [1.0, 1.0], [1.0, 2.0]), "t"),
        (lambda: mt.Instrumented([1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0]), "z"),
        (lambda: mt.polynomial_instruments(np.zeros(5), 3), "q"),
        (lambda: mt.polynomial_instruments([1.0, 2.0], 3), "q"),
        (lambda: mt.mirrored_direction(SHARES, SHARES, [np.nan * m for m in METRIC]), "metric"),
        (lambda: mt.natural_path(X, mt.moons(), 5), "law"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        call()


@pytest.mark.parametrize("point", [[1e17, 0.0], [-1e17, 3.0], [5.0, 5.0]])
@pytest.mark.parametrize("floor", [0.0, 0.01, 1 / 3])
def test_far_points_are_projected_into_the_simplex(point, floor):
    theta = mt.to_simplex([point], floor)[0]
    assert min(theta.min(), 1 - theta.sum()) >= floor - 1e-12
