"""Smoothing in many dimensions: plain references, Monte Carlo, peers; the claims and controls."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.spatial.distance import squareform

from kernellab.compute.rates import log_log_slope
from kernellab.datasets import digits
from kernellab.methods.density_and_calibration import kde_high_dim as kd
from tests.naive import kde_high_dim as naive


def cloud(n=40, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_squared_distances_far_from_the_origin():
    x, y = cloud(5) + 1e4, cloud(9, seed=1) + 1e4
    expected = np.sum((x[:, None] - y) ** 2, axis=2)
    assert np.allclose(kd.squared_distances(x, y), expected, rtol=1e-9)
    assert kd.squared_distances(x, x).min() >= 0


# 1. Phases


@pytest.mark.compiled
@pytest.mark.parametrize("n", [1, 7, 256, 700])
def test_smooth_is_the_reference(n):
    squares = kd.squared_distances(cloud(4), cloud(n, seed=1))
    found = kd.smooth(squares, [0.4, 1.3], 3)
    for q, row in enumerate(squares):
        for k, h in enumerate((0.4, 1.3)):
            density, largest, effective = naive.smoothing(row, h, 3)
            assert found.log_density[q, k] == pytest.approx(np.log(density))
            assert found.largest[q, k] == pytest.approx(largest)
            assert found.effective[q, k] == pytest.approx(effective)


def test_nothing_underflows():
    found = kd.smooth(np.full((1, 50), 1e6), 1.0, 100)
    assert np.isfinite(found.log_density).all()
    assert found.effective[0, 0] == pytest.approx(50)


def test_density_equals_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    x, y = cloud(20, 6), cloud(300, 6, seed=1)
    peer = neighbors.KernelDensity(bandwidth=0.8).fit(y).score_samples(x)
    found = kd.smooth(kd.squared_distances(x, y), 0.8, 6).log_density[:, 0]
    assert np.allclose(found, peer, atol=1e-8)


def test_largest_weights_fall_and_start_with_the_largest_share():
    squares = kd.squared_distances(cloud(4), cloud(60, seed=1))
    shares = kd.largest_weights(squares, 0.7, 60)
    assert np.all(np.diff(shares, axis=1) <= 0) and np.allclose(shares.sum(axis=1), 1)
    assert np.allclose(shares[:, 0], kd.smooth(squares, 0.7, 3).largest[:, 0])


@pytest.mark.parametrize("u", [0.1, 0.7, 2.0])
def test_log_mean_weight_by_monte_carlo(u):
    d, rng = 4, np.random.default_rng(0)
    squares = kd.squared_distances(kd.typical_places(1, d, 1), rng.standard_normal((400_000, d)))
    measured = np.log(np.mean(np.exp(-0.5 * u * squares))) / d
    assert kd.log_mean_weight(u) == pytest.approx(measured, abs=0.01)
    step = 1e-5
    slope = (kd.log_mean_weight(u + step) - kd.log_mean_weight(u - step)) / (2 * step)
    assert kd.rarity(u) == pytest.approx(u * slope - kd.log_mean_weight(u), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 10**7), d=st.integers(1, 200))
def test_phases_solve_their_equations(n, d):
    found = kd.phases(n, d)
    assert kd.rarity(found.glass**-2) == pytest.approx(np.log(n) / d, rel=1e-6)
    assert kd.rarity(2 / found.gaussian**2) == pytest.approx(np.log(n) / d, rel=1e-6)
    assert found.tail_index(found.glass) == pytest.approx(1)
    assert found.tail_index(found.gaussian) == pytest.approx(2)


def test_redrawn_squares_have_the_law_of_drawn_ones():
    drawn = kd.squared_distances(kd.typical_places(1, 5, 0), cloud(200_000, 5, seed=1))[0]
    quick = kd.redrawn_squares(1, 200_000, 5, 2)[0]
    levels = [0.01, 0.1, 0.5, 0.9, 0.99]
    assert np.allclose(np.quantile(drawn, levels), np.quantile(quick, levels), rtol=0.02)


def test_hill_finds_the_power_of_a_pareto_law():
    values = np.random.default_rng(0).random(100_000) ** (-1 / 1.7)
    assert kd.hill_index(values, 2000) == pytest.approx(1.7, rel=0.08)


@functools.cache
def shares(d=24, n=20_000, seed=0):
    rng, theory = np.random.default_rng(seed), kd.phases(n, d)
    y = rng.standard_normal((n, d))
    relative = np.array([0.5, 0.8, 1.0, 1.2, 1.4, 2.0, 2.5])
    places = kd.squared_distances(kd.typical_places(40, d, rng), y)
    found = [
        kd.smooth(s, relative * theory.glass, d) for s in (places, kd.squared_distances(y[:40], y))
    ]
    return relative, *found


@pytest.mark.parametrize("seed", range(4))
def test_claim_one_point_is_the_sum_below_the_glass(seed):
    _, places, _ = shares(seed=seed)
    assert np.median(places.largest[:, 0]) > 0.8
    assert np.median(places.largest[:, 5]) < 0.03  # the control: 2 h_G
    assert np.all(np.diff(np.median(places.largest, axis=0)) < 0)


@pytest.mark.parametrize("seed", range(4))
def test_claim_the_best_bandwidth_lies_between_the_thresholds(seed):
    relative, places, own = shares(seed=seed)
    assert 1.0 <= relative[np.argmax(places.log_density.mean(axis=0))] <= 1.42
    assert np.argmax(own.log_density.mean(axis=0)) == 0  # the control: judged on the data


def test_claim_the_tail_index_rises_with_the_bandwidth():
    theory, squares = kd.phases(10_000, 16), kd.redrawn_squares(400, 10_000, 16, 5)
    s = kd.smooth(squares, np.array([1.1, 1.3, 2.0]) * theory.glass, 16).log_density
    low, high, normal = (kd.hill_index(np.exp(row - row.max())) for row in s.T)
    assert low < high < 8 < normal


def test_in_one_dimension_the_classical_rate_returns():
    grid = np.linspace(-4, 4, 161)[:, None]
    truth = np.exp(-(grid[:, 0] ** 2) / 2) / np.sqrt(2 * np.pi)
    sizes, errors = [200, 800, 3200], []
    for n in sizes:
        found = []
        for seed in range(60):
            squares = kd.squared_distances(grid, cloud(n, 1, seed=7 * n + seed))
            density = np.exp(kd.smooth(squares, 1.06 * n**-0.2, 1).log_density[:, 0])
            found.append(np.mean((density - truth) ** 2))
        errors.append(np.mean(found))
    assert log_log_slope(sizes, errors) == pytest.approx(-0.8, abs=0.12)


# 2. Modes


@pytest.mark.compiled
@pytest.mark.parametrize("kind", kd.KERNELS)
@pytest.mark.parametrize("n", [1, 256, 300])
def test_values_and_pulls_are_the_reference(kind, n):
    kernel = kd.Radial(kind, 0.8, 1.4)
    squares = kd.squared_distances(cloud(3), cloud(n, seed=1))
    values, pulls = kernel.values_and_pulls(squares)
    for i, row in enumerate(squares):
        r = np.sqrt(row) / 0.8
        assert values[i] == pytest.approx(np.mean([naive.profile(kind, x, 1.4) for x in r]))
        step = 1e-6
        for x, pull in zip(r, pulls[i], strict=True):
            ends = [naive.profile(kind, np.sqrt(x**2 + e), 1.4) for e in (step, -step)]
            assert pull == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-4)


@pytest.mark.parametrize("kind", kd.KERNELS)
def test_mean_shift_never_falls_and_ends_at_a_stationary_point(kind):
    centres, kernel = cloud(200), kd.Radial(kind, 0.9)
    climb = kd.mean_shift(kernel, centres, centres[:10], 400, 1e-9)
    assert np.diff(climb.heights, axis=0).min() > -1e-13
    assert climb.heights[-1].max() == climb.heights[-1, climb.best]
    top = climb.points[climb.best]
    slope = approx_fprime(top, lambda x: kernel.height(centres, x[None])[0], 1e-6)
    assert kind == "power" or np.abs(slope).max() < 1e-4
    assert np.allclose(kernel.height(centres, climb.points), climb.heights[-1])


def test_mean_shift_finds_the_modes_of_a_peer():
    cluster = pytest.importorskip("sklearn.cluster")
    two = np.vstack([cloud(150, 2) * 0.3, cloud(100, 2, seed=1) * 0.3 + 4])
    peer = cluster.MeanShift(bandwidth=2.0).fit(two).cluster_centers_  # a flat kernel
    climb = kd.mean_shift(kd.Radial("gaussian", 0.6), two, peer + 0.3, 200)
    assert np.allclose(climb.points, peer, atol=0.15)


def test_a_point_with_no_weights_stays():
    climb = kd.mean_shift(kd.Radial("gaussian", 0.1), np.zeros((3, 2)), [[90.0, 0.0]], 5)
    assert np.array_equal(climb.points, [[90.0, 0.0]])


def test_random_projection_keeps_lengths_on_average():
    x = cloud(1, 400)
    ratio = [np.sum((x @ kd.random_projection(400, 50, s)) ** 2) / np.sum(x**2) for s in range(200)]
    assert np.mean(ratio) == pytest.approx(1, abs=0.05)
    assert np.std(ratio) == pytest.approx(np.sqrt(2 / 50), rel=0.2)


def test_lift_is_a_mean_shift_step_when_nothing_is_projected_and_stays_in_the_hull():
    centres, kernel = cloud(50), kd.Radial("logistic", 0.7)
    step = kd.mean_shift(kernel, centres, centres[:1], 1, 0.0).points[0]
    assert np.allclose(kd.lift_mode(kernel, centres, centres, centres[0]), step)
    corners = np.eye(4)
    lifted = kd.lift_mode(kernel, corners, corners @ kd.random_projection(4, 2, 0), [0.1, 0.2])
    assert lifted.min() > 0 and lifted.sum() == pytest.approx(1)
    far = kd.lift_mode(kd.Radial("gaussian", 0.1), corners, corners[:, :1], [99.0])
    assert np.array_equal(far, corners[0])


@functools.cache
def ratios(h, w, kind="gaussian"):
    x, kernel = digits().x, kd.Radial(kind, h)
    best = kd.find_mode(kernel, x, 60, 25)
    assert best.height >= 0.999 * kernel.height(x, x).max()  # every data point, tried in turn
    found = [
        kd.find_mode(kernel, x, 20, 25, kd.random_projection(64, w, s), rng=s).height
        for s in range(9)
    ]
    return np.array(found) / best.height


@pytest.mark.parametrize("kind", ["gaussian", "power"])
def test_claim_a_projected_search_finds_the_peak(kind):
    assert np.median(ratios(0.5, 25, kind)) > 0.9
    assert np.median(ratios(0.5, 4, kind)) < 0.3  # the control


# 3. The map


def batch(n=24):
    rng = np.random.default_rng(0)
    affinities = kd.neighbour_affinities(rng.normal(size=(n, 5)), 6.0)
    return rng.normal(size=(n, 2)), affinities, rng.normal(size=n), np.arange(n) >= 4


def test_affinities_have_the_perplexity_and_sum():
    x = cloud(60, 5)
    p = kd.neighbour_affinities(x, 12.0)
    assert np.array_equal(p, p.T) and p.sum() == pytest.approx(1) and np.diagonal(p).max() == 0


def test_affinities_equal_scikit_learn():
    peer = pytest.importorskip("sklearn.manifold._t_sne")
    x = cloud(60, 5)
    squares = kd.squared_distances(x, x).astype(np.float32)
    np.fill_diagonal(squares, 0)
    joint = squareform(peer._joint_probabilities(squares, 12.0, 0))
    assert np.allclose(joint, kd.neighbour_affinities(x, 12.0), atol=1e-6)


@pytest.mark.compiled
def test_regression_is_the_reference():
    places, _, scores, _ = batch()
    at = cloud(7, 2, seed=3)
    kernel = kd.MapKernel(1.1, 1.7, 1.2)
    found = kd.map_regression(kernel, places, scores, at)
    assert np.allclose(found, naive.map_regression(places, scores, at, 1.1, 1.7, 1.2))
    left = kd.map_regression(kernel, places, scores)
    assert np.allclose(left, naive.map_regression(places, scores, places, 1.1, 1.7, 1.2, True))
    assert np.allclose(kernel.profile([0.0, 2.0]), [1, naive.map_kernel(2.0, 1.7, 1.2)])
    assert np.allclose(kd.MapKernel().profile([3.0]), [1 / 10])  # Cauchy


@pytest.mark.compiled
def test_losses_are_the_references_and_their_slopes():
    places, affinities, scores, training = batch()
    shape = np.array([1.1, 1.4, 1.2])

    def losses(places, shape):
        return kd.map_losses(places, affinities, scores, training, kd.MapKernel(*shape))[0]

    found, slopes, by_shape = kd.map_losses(
        places, affinities, scores, training, kd.MapKernel(*shape)
    )
    assert found[0] == pytest.approx(naive.neighbour_loss(places, affinities))
    assert found[1] == pytest.approx(naive.regression_loss(places, scores, training, *shape))
    for which in (0, 1):
        numeric = approx_fprime(
            places.ravel(), lambda p, w=which: losses(p.reshape(-1, 2), shape)[w], 1e-7
        )
        assert np.allclose(slopes[which].ravel(), numeric, atol=1e-5)
    numeric = approx_fprime(shape, lambda s: losses(places, s)[1], 1e-7)
    assert np.allclose(by_shape, numeric, atol=1e-5)


def test_sharpness_is_the_best_tried():
    places, _, scores, _ = batch()
    tried = np.geomspace(0.3, 10, 7)
    kernel = kd.fit_sharpness(places, scores, 1.0, tried)
    errors = [
        np.mean((scores - naive.map_regression(places, scores, places, 1, a, 1, True)) ** 2)
        for a in tried
    ]
    assert kernel.sharpness == tried[np.argmin(errors)]


def test_trustworthiness_equals_scikit_learn():
    manifold = pytest.importorskip("sklearn.manifold")
    x = cloud(80, 6)
    for k in (3, 10):
        peer = manifold.trustworthiness(x, x[:, :2], n_neighbors=k)
        assert kd.trustworthiness(x, x[:, :2], k) == pytest.approx(peer)
    assert kd.trustworthiness(x[:, :2], x[:, :2]) == 1


def test_principal_map_and_explained():
    x = cloud(50, 5) * [5, 3, 1, 1, 1]
    p = (x - x.mean(axis=0)) @ kd.principal_map(x)
    assert np.allclose(np.cov(p.T, bias=True), np.eye(2), atol=1e-10)
    assert kd.explained([1.0, 2, 3], [1.0, 2, 3]) == 1
    assert kd.explained([1.0, 2, 3], [2.0, 2, 2]) == 0


def test_learning_is_repeatable_lowers_the_loss_and_places_new_points():
    x = cloud(60, 4)
    options = {"steps": 40, "batch": 40, "perplexity": 8.0, "hidden": 8, "rng": 1}
    first, again = (list(kd.learn_map(x, x[:, 0], 0.5, **options)) for _ in range(2))
    assert len(first) == 20 and first[-1][0] == 1
    assert np.array_equal(first[-1][1].place(x), again[-1][1].place(x))
    assert first[-1][1].losses[0] < first[0][1].losses[0]
    assert first[-1][1].place(cloud(3, 4, seed=2)).shape == (3, 2)
    fixed = list(kd.learn_map(x, x[:, 0], 0.5, learn_kernel=False, **options))
    assert fixed[-1][1].kernel == kd.MapKernel()
    given_p = kd.neighbour_affinities(x, 8.0)
    given_map = list(kd.learn_map(x, x[:, 0], 0.5, affinities=given_p, **options))
    assert np.array_equal(given_map[-1][1].place(x), first[-1][1].place(x))
    other_scores = list(kd.learn_map(x, -x[:, 1], 0.0, **options))
    plain = list(kd.learn_map(x, x[:, 0], 0.0, **options))
    assert np.array_equal(other_scores[-1][1].place(x), plain[-1][1].place(x))


@functools.cache
def slant_data():
    data = digits()
    rows, columns = np.mgrid[:8, :8]
    ink = data.images.sum(axis=(1, 2))
    down = rows - ((data.images * rows).sum(axis=(1, 2)) / ink)[:, None, None]
    right = columns - ((data.images * columns).sum(axis=(1, 2)) / ink)[:, None, None]
    slant = (data.images * down * right).sum((1, 2)) / (data.images * down**2).sum((1, 2))
    centred = data.x - data.x.mean(axis=0)
    z = centred @ np.linalg.svd(centred, full_matrices=False)[2][:30].T
    return z / z.std(), slant


@functools.cache
def quality(weight, seed, shuffled=False):
    z, s = slant_data()
    perm = np.random.default_rng(seed).permutation(len(z))
    train, test = perm[:600], perm[600:1200]
    s = (s - s[train].mean()) / s[train].std()
    if shuffled:
        s = np.random.default_rng(9).permutation(s)
    *_, (_, found) = kd.learn_map(z[train], s[train], weight, rng=seed)
    p, q = found.place(z[train]), found.place(z[test])
    kernel = kd.fit_sharpness(p, s[train])
    predicted = kd.map_regression(kernel, p, s[train], q)
    return kd.explained(s[test], predicted), kd.trustworthiness(z[train], p)


def test_claim_the_map_learns_the_score_and_keeps_its_neighbours():
    seeds = range(3, 6)  # others than the notebook's
    with_score = np.mean([quality(0.5, seed) for seed in seeds], axis=0)
    without = np.mean([quality(0.0, seed) for seed in seeds], axis=0)
    assert with_score[0] > without[0] + 0.1 and without[1] - with_score[1] < 0.05
    assert np.mean([quality(0.5, seed, True)[0] for seed in seeds]) < 0.05  # the control


# Bad input

X, SQ = cloud(6), np.ones((2, 5))
PLACES, AFFINITIES, SCORES, TRAINING = batch()
CAUCHY = kd.MapKernel()
BAD = {
    "y must have 3 columns": lambda: kd.squared_distances(X, cloud(4, 2)),
    "squares must be >= 0": lambda: kd.smooth(-SQ, 1.0, 3),
    "bandwidths must be > 0": lambda: kd.smooth(SQ, [1.0, 0.0], 3),
    "d must be": lambda: kd.smooth(SQ, 1.0, 0),
    "top must be": lambda: kd.largest_weights(SQ, 1.0, 6),
    "bandwidth must be": lambda: kd.largest_weights(SQ, 0.0, 2),
    "u must be >= 0": lambda: kd.rarity(-0.5),
    "u must be >= 0, got -2": lambda: kd.log_mean_weight(-2.0),
    "n must be": lambda: kd.phases(1, 3),
    "count must be": lambda: kd.typical_places(0, 3, 0),
    "sharpness must be finite": lambda: kd.MapKernel(1.0, np.nan),
    "r must be >= 0": lambda: kd.MapKernel().profile([-1.0]),
    "redraws must be": lambda: kd.redrawn_squares(0, 5, 3, 0),
    "rng must be": lambda: kd.redrawn_squares(2, 5, 3, "a"),
    "top must": lambda: kd.hill_index([1.0, 2.0], 2),
    "values must be positive": lambda: kd.hill_index([1.0, 0.0], 1),
    "kind must be one of": lambda: kd.Radial("box"),
    "bandwidth must": lambda: kd.Radial("gaussian", 0.0),
    "power must be": lambda: kd.Radial("power", 1.0, 3.0),
    "starts must have 3": lambda: kd.mean_shift(kd.Radial(), X, cloud(2, 2)),
    "steps must be": lambda: kd.mean_shift(kd.Radial(), X, X, 0),
    "tolerance must be": lambda: kd.mean_shift(kd.Radial(), X, X, 1, -1.0),
    "w must be": lambda: kd.random_projection(3, 0, 0),
    "projected": lambda: kd.lift_mode(kd.Radial(), X, X[:3], X[0]),
    "place must have length 3": lambda: kd.lift_mode(kd.Radial(), X, X, [1.0]),
    "starts must be": lambda: kd.find_mode(kd.Radial(), X, 0),
    "projection must have 3 rows": lambda: kd.find_mode(kd.Radial(), X, projection=np.eye(4)),
    "perplexity must": lambda: kd.neighbour_affinities(X, 9.0),
    "places must have 2 columns": lambda: kd.map_regression(CAUCHY, X, SCORES[:6]),
    "scores must have length 24": lambda: kd.map_regression(CAUCHY, PLACES, SCORES[:6]),
    "at must have 2": lambda: kd.map_regression(CAUCHY, PLACES, SCORES, X),
    "exponent must be": lambda: kd.fit_sharpness(PLACES, SCORES, 0.0),
    "affinities must have": lambda: kd.map_losses(PLACES, X, SCORES, TRAINING, CAUCHY),
    "training must hold": lambda: kd.map_losses(PLACES, AFFINITIES, SCORES, SCORES > -99, CAUCHY),
    "weight must be": lambda: next(kd.learn_map(PLACES, SCORES, -1.0)),
    "batch must be": lambda: next(kd.learn_map(PLACES, SCORES, batch=50)),
    "hidden must be": lambda: next(kd.learn_map(PLACES, SCORES, batch=20, perplexity=5, hidden=0)),
    "step must be": lambda: next(kd.learn_map(PLACES, SCORES, batch=20, perplexity=5, step=0)),
    "x must": lambda: kd.principal_map(X[0]),
    "predicted must have length": lambda: kd.explained([1.0, 2.0], [1.0]),
    "neighbours must be": lambda: kd.trustworthiness(X, X[:, :2], 5),
    "places must have 6": lambda: kd.trustworthiness(X, PLACES, 2),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused_in_words(message):
    with pytest.raises(ValueError) as caught:
        BAD[message]()
    assert message in str(caught.value)
