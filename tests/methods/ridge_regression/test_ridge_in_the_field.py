"""The lab in the field: independent checks, properties, bad input, every claim with its control."""

import numpy as np
import pytest
from scipy.optimize import minimize

from kernellab.compute.kernels import Gaussian
from kernellab.methods.ridge_regression import ridge_in_the_field as rf
from tests.naive import ridge_in_the_field as naive

TRUE = 417.0
DELAYS = np.arange(200, 650, 1.0)


def miss(estimate, *, skies=range(12), copies=1, **sky):
    """Errors in days of an estimator of the delay over simulated skies."""
    errors = []
    for seed in skies:
        rng = np.random.default_rng(seed)
        pairs = [rf.simulate_quasar(TRUE, rng, **sky) for _ in range(copies)]
        errors.append(estimate(pairs) - TRUE)
    return np.array(errors)


def by_kernel(bandwidth, **options):
    return lambda pairs: DELAYS[np.argmin(rf.delay_losses(*pairs[0], DELAYS, bandwidth, **options))]


def by_lines(pairs):
    return DELAYS[np.argmin(rf.interpolation_losses(*pairs[0], DELAYS))]


# --- Time delays --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_scan_is_the_plain_loop(seed):
    rng = np.random.default_rng(seed)
    n, m = (3, 7, 20, 41)[seed], (1, 5, 30, 17)[seed]
    curves = [
        rf.LightCurve(
            np.sort(rng.uniform(0, 60, k)), rng.standard_normal(k), rng.uniform(0.01, 0.1, k)
        )
        for k in (n, m)
    ]
    delays = rng.uniform(-15, 15, 9)
    want = naive.scan(*curves, delays, 6.0)
    got = rf.delay_losses(*curves, delays, 6.0)
    assert np.allclose(got, want[:, 0] / want[:, 2], rtol=1e-9, atol=1e-13)
    plain = rf.delay_losses(*curves, delays, 6.0, penalise_gaps=False)
    assert np.allclose(plain, want[:, 0], rtol=1e-9, atol=1e-13)
    assert np.allclose(rf.compared_share(*curves, delays, 6.0), want[:, 2])
    assert np.isclose(rf.offset_at(*curves, delays[0], 6.0), want[0, 1])


def test_loss_is_symmetric_and_blind_to_the_offset():
    a, b = rf.simulate_quasar(30, 1, nights=40, span=300)
    swapped = rf.delay_losses(b, a, [-30.0, 10.0], 5.0)
    assert np.allclose(rf.delay_losses(a, b, [30.0, -10.0], 5.0), swapped)
    lifted = rf.LightCurve(b.times, b.values + 3, b.errors)
    assert np.allclose(rf.delay_losses(a, lifted, [30.0], 5.0), rf.delay_losses(a, b, [30.0], 5.0))
    assert np.isclose(rf.offset_at(a, lifted, 30.0, 5.0) - rf.offset_at(a, b, 30.0, 5.0), 3)


def test_straight_lines_fit_a_straight_drift():
    times = np.arange(0.0, 50.0, 2.5)
    a = rf.LightCurve(times, 0.1 * times, np.full(20, 0.1))
    b = rf.LightCurve(times, 0.1 * (times - 7) + 2, np.full(20, 0.1))
    assert np.allclose(rf.interpolation_losses(a, b, [7.0, -3.0]), 0, atol=1e-20)  # M fits
    bent = rf.LightCurve(times, np.where(times < 20, 0.0, 1.0), np.full(20, 0.1))
    later = rf.LightCurve(times + 10, bent.values - 3, bent.errors)
    losses = rf.interpolation_losses(bent, later, np.arange(0.0, 20.0))
    assert np.argmin(losses) == 10 and np.isclose(losses[10], 0)


def test_dense_quiet_curves_give_the_delay_and_a_wide_kernel_does_not():
    pair = rf.simulate_quasar(TRUE, 0, nights=600, gap=0, noise=0)
    for bandwidth in (2.0, 5.0, 10.0):
        assert rf.estimate_delay([pair], DELAYS, bandwidth) == TRUE
    assert rf.estimate_delay([pair], DELAYS, 60.0) != TRUE


def test_the_kernel_agrees_with_a_gaussian_process():
    processes = pytest.importorskip("sklearn.gaussian_process")
    kernels = processes.kernels
    a, b = rf.simulate_quasar(TRUE, 2, gap=0.3, noise=0.01)
    walk = 0.2**2 * kernels.Matern(300.0, nu=0.5) + kernels.WhiteKernel(0.01**2)
    grid = np.arange(395, 440, 1.0)
    offset = rf.offset_at(a, b, TRUE, 10.0)
    likelihood = [
        processes.GaussianProcessRegressor(walk, optimizer=None)
        .fit(np.r_[a.times, b.times - d][:, None], np.r_[a.values, b.values - offset])
        .log_marginal_likelihood_value_
        for d in grid
    ]
    ours = rf.estimate_delay([(a, b)], DELAYS, 5.0)
    assert abs(grid[np.argmax(likelihood)] - TRUE) <= 3
    assert abs(grid[np.argmax(likelihood)] - ours) <= 5


def test_claim_gaps_are_crossed_and_straight_lines_are_not():
    sky = {"gap": 0.6, "noise": 0.03, "skies": range(20)}
    assert np.abs(miss(by_kernel(10.0), **sky)).max() < 20
    assert np.abs(miss(by_lines, **sky)).max() > 100


def test_claim_silence_must_not_win():
    sky = {"gap": 0.5, "noise": 0.01}
    assert np.abs(miss(by_kernel(10.0), **sky)).max() < 10
    assert np.median(np.abs(miss(by_kernel(5.0, penalise_gaps=False), **sky))) > 50
    a, b = rf.simulate_quasar(TRUE, 0, gap=0.5)
    share = rf.compared_share(a, b, [417.0, 560.0], 10.0)
    assert share[1] < 0.5 * share[0]


def test_claim_three_data_sets_beat_one_and_copies_do_not():
    sky = {"gap": 0.3, "noise": 0.08, "copies": 3, "skies": range(20)}

    def rms(errors):
        return np.sqrt(np.mean(errors**2))

    assert rms(miss(lambda pairs: rf.estimate_delay(pairs, DELAYS, 10.0), **sky)) < 12
    assert rms(miss(lambda pairs: rf.estimate_delay(pairs[:1] * 3, DELAYS, 10.0), **sky)) > 15


def test_bandwidth_by_leave_one_out_grows_with_the_noise():
    widths = np.geomspace(1, 60, 25)
    quiet, loud = (
        rf.leave_one_out_bandwidth(rf.simulate_quasar(TRUE, 0, noise=noise), widths)
        for noise in (0.01, 0.1)
    )
    assert 2 < quiet < loud < 60


def test_resampled_delays_spread_with_the_noise_and_repeat():
    pairs = [rf.simulate_quasar(TRUE, 0, gap=0.2)]
    grid = np.arange(390, 445, 1.0)
    spread = rf.resampled_delays(pairs, grid, 10.0, 20, 0)
    assert spread.shape == (20,)
    assert np.array_equal(spread, rf.resampled_delays(pairs, grid, 10.0, 20, 0))
    assert 0 < spread.std() < 10


def test_quasar_simulator():
    a, b = rf.simulate_quasar(50, 3, gap=0.4, noise=0, offset=1.5, sd=0.3)
    assert a.times.size == b.times.size == 80
    assert ((a.times % 365.25) / 365.25 >= 0.4).all()
    assert (np.diff(a.times) >= 0).all()
    times = np.arange(0, 40_000, 10.0)
    walk = rf.damped_random_walk(times, 0.2, 300.0, 0)
    assert np.isclose(walk.std(), 0.2, rtol=0.15)
    assert np.isclose(np.corrcoef(walk[:-30], walk[30:])[0, 1], np.exp(-1), atol=0.15)


# --- Positions ----------------------------------------------------------------------------------


def floor(seed, body_loss, beacons=24, queries=200, noise=2.0):
    rng = np.random.default_rng(seed)
    building = rf.random_building(beacons, rng)
    points = rf.survey_grid(building)
    by_pose = rf.survey(building, points, rng.uniform(0, 2 * np.pi, 3), body_loss, noise, rng)
    places = rng.uniform(0, 1, (queries, 2)) * building.size
    heard = building.strengths(places, rng.uniform(0, 2 * np.pi, queries), body_loss)
    heard += noise * rng.standard_normal(heard.shape)
    random_half = np.sort(rng.choice(beacons, beacons // 2, replace=False))
    return points, by_pose, places, heard, random_half


def test_selection_drops_the_planted_beacons():
    rng = np.random.default_rng(0)
    place = rng.normal(0, 8, (50, 6))
    by_pose = place + rng.normal(0, 0.5, (3, 50, 6))
    by_pose[:, :, [1, 4]] += rng.normal(0, 10, (3, 50, 2))
    assert rf.select_beacons(by_pose, 4).tolist() == [0, 2, 3, 5]
    by_pose[:, :, 3] = -70.0  # the same everywhere: useless, though no pose disturbs it
    assert rf.pose_sensitivity(by_pose)[3] == np.inf
    assert 3 not in rf.select_beacons(by_pose, 4)


def test_location_between_nearest_and_plain_mean():
    points, by_pose, _, heard, _ = floor(0, 6.0)
    prints = by_pose.mean(axis=0)
    one = rf.locate(heard, prints, points, 8, 1e-200)
    assert np.allclose(one, rf.locate_by_neighbours(heard, prints, points, 1))
    flat = rf.locate(heard, prints, points, 8, 1e8)
    assert np.allclose(flat, rf.locate_by_neighbours(heard, prints, points, 8))
    peer = pytest.importorskip("sklearn.neighbors").KNeighborsRegressor
    assert np.allclose(peer(8).fit(prints, points).predict(heard), flat)

    def weigh(distance):
        return np.exp(-(distance**2) / (2 * 20.0**2))

    weighted = peer(8, weights=weigh).fit(prints, points).predict(heard)
    assert np.allclose(rf.locate(heard, prints, points, 8, 20.0), weighted)
    exact = Gaussian(20.0).gram(heard, prints)
    ratio = rf.similarities(heard, prints, 20.0) / exact
    assert np.allclose(ratio, ratio[:, :1])


def mean_error(seed, body_loss, method):
    points, by_pose, places, heard, random_half = floor(seed, body_loss)
    prints = by_pose.mean(axis=0)
    kept = {
        "kernel": rf.select_beacons(by_pose, 12),
        "random half": random_half,
        "all, plain": np.arange(24),
        "all, kernel": np.arange(24),
        "selected, plain": rf.select_beacons(by_pose, 12),
    }[method]
    if "plain" in method:
        found = rf.locate_by_neighbours(heard[:, kept], prints[:, kept], points, 6)
    else:
        found = rf.locate(heard[:, kept], prints[:, kept], points, 6, 4.0)
    return np.mean(np.hypot(*(found - places).T))


def test_claim_selection_and_kernel_against_bodies():
    def saved(method, body_loss):
        ours, plain = (
            np.mean([mean_error(seed, body_loss, name) for seed in range(6)])
            for name in (method, "all, plain")
        )
        return 1 - ours / plain

    assert saved("kernel", 10.0) > 0.25
    assert saved("random half", 10.0) < 0
    assert saved("kernel", 0.0) < 0  # nothing to drop: half the beacons are thrown away
    for seed in range(6):
        for body_loss in (0.0, 10.0):
            weighted, plain = (
                mean_error(seed, body_loss, name) for name in ("kernel", "selected, plain")
            )
            assert weighted < 0.95 * plain


def test_building():
    building = rf.random_building(10, 0, shadowing=0)
    here = building.beacons[:1] + [[0.0, -3.0]]
    ahead, behind = (building.strengths(here, angle, 8.0)[0] for angle in (np.pi / 2, -np.pi / 2))
    assert np.isclose(ahead[0] - behind[0], 8)  # the first beacon hangs low
    assert np.isclose(ahead[0], rf.AT_ONE_METRE - 10 * rf.PATH_LOSS * np.log10(3))
    assert np.abs(ahead - behind)[5:].max() <= 0.8 + 1e-9  # those at the ceiling
    assert rf.survey_grid(building).shape == (240, 2)
    walls = rf.random_building(200, 1, shadowing=3.0)
    there = np.array([[10.0, 6.0]])
    bare = rf.Building(walls.size, walls.beacons, walls.heights, walls.exposed, walls.waves, 0.0)
    assert np.isclose(
        np.std(walls.strengths(there, 0, 0) - bare.strengths(there, 0, 0)), 3, rtol=0.2
    )


# --- Edges --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pixels():
    return rf.training_pixels(300, 1.0, 0)


@pytest.mark.parametrize("updates", [0, 1, 25, 10_000])
def test_smo_is_the_plain_loop(updates):
    features, labels = rf.training_pixels(40, 1.0, 1)
    gram = Gaussian(0.2).gram(features)
    dual, _ = naive.smo(gram, labels, 10.0, 1e-6, updates)
    machine = rf.fit_svm(features, labels, 0.2, 10.0, tolerance=1e-6, max_updates=updates)
    assert np.allclose(machine.dual, dual, atol=1e-4)


@pytest.mark.parametrize("cost", [0.5, 10.0, 1000.0])
def test_svm_is_sklearns(pixels, cost):
    peer = pytest.importorskip("sklearn.svm").SVC(C=cost, gamma=0.5 / 0.2**2, tol=1e-5)
    peer.fit(*pixels)
    machine = rf.fit_svm(*pixels, 0.2, cost, tolerance=1e-5)
    assert machine.violation < 1e-5
    weights = np.zeros(300)
    weights[peer.support_] = peer.dual_coef_[0]
    objective = np.abs(weights).sum() - 0.5 * weights @ Gaussian(0.2).gram(pixels[0]) @ weights
    assert np.isclose(machine.objective, objective, rtol=1e-4)
    assert np.allclose(machine.decide(pixels[0]), peer.decision_function(pixels[0]), atol=1e-2)
    assert abs(machine.dual @ pixels[1]) < 1e-8 * cost * 300
    assert machine.dual.min() >= 0 and machine.dual.max() <= cost


def test_svm_objective_is_a_general_solvers():
    features, labels = rf.training_pixels(16, 1.0, 2)
    signed = labels[:, None] * Gaussian(0.3).gram(features) * labels
    best = minimize(
        lambda a: 0.5 * a @ signed @ a - a.sum(),
        np.zeros(16),
        jac=lambda a: signed @ a - 1,
        bounds=[(0, 5.0)] * 16,
        constraints={"type": "eq", "fun": lambda a: a @ labels, "jac": lambda a: labels},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert np.isclose(rf.fit_svm(features, labels, 0.3, 5.0).objective, -best.fun, rtol=1e-5)


def test_claim_smo_ends_at_the_optimum_and_not_before(pixels):
    assert rf.fit_svm(*pixels, 0.2, 10.0).violation < 1e-3
    assert rf.fit_svm(*pixels, 0.2, 10.0, max_updates=30).violation > 0.1


def test_untrained_machine_says_the_same_everywhere(pixels):
    machine = rf.fit_svm(*pixels, 0.2, 10.0, max_updates=0)
    assert np.ptp(machine.decide(pixels[0])) == 0


def test_edge_features():
    assert np.array_equal(rf.edge_features(np.full((5, 4), 0.3), 0), np.zeros((5, 4, 3)))
    step = np.zeros((5, 6))
    step[:, 3:] = 0.5
    features = rf.edge_features(step, 0)
    assert np.allclose(features[:, :, 0], [[0, 0, 0.5, 0.5, 0, 0]] * 5)
    assert np.allclose(features[:, :, 1], 0)
    assert np.allclose(features[:, :, 2], [[0, 0, 0.5, 0.5, 0, 0]] * 5)
    turned = rf.edge_features(step.T, 0)
    assert np.allclose(turned.transpose(1, 0, 2)[:, :, [1, 0, 2]], features)
    image = np.random.default_rng(0).random((20, 30))
    assert np.allclose(rf.edge_features(image, 1.0), rf.edge_features(1 - image, 1.0))


def test_sobel_and_canny_are_scikit_images():
    filters = pytest.importorskip("skimage.filters")
    feature = pytest.importorskip("skimage.feature")
    image, truth = rf.shapes_picture(96, 1.0, 0.02, 0)
    strength = np.hypot(*rf.sobel_gradient(image))
    assert np.allclose(strength * np.sqrt(2), filters.sobel(image), atol=1e-12)
    ours = rf.canny_edges(image, 1.5, 0.02, 0.04)
    peer = feature.canny(image, 1.5, low_threshold=0.16, high_threshold=0.32)
    assert rf.edge_score(ours, peer) > 0.97
    assert rf.edge_score(ours, truth) > 0.95


def test_thin_keeps_one_pixel_across():
    image = np.zeros((12, 12))
    image[:, 6:] = 1
    for turned in (image, image.T):
        gradient = rf.sobel_gradient(turned, 1.5)
        kept = np.isfinite(rf.thin(np.hypot(*gradient), gradient)) & (np.hypot(*gradient) > 0.01)
        assert set(kept.sum(axis=int(turned is image))) == {1}


def test_edge_score():
    truth = np.zeros((9, 9), bool)
    truth[:, 4] = True
    assert rf.edge_score(truth, truth) == 1
    assert rf.edge_score(np.roll(truth, 1, axis=1), truth) == 1
    assert rf.edge_score(np.roll(truth, 2, axis=1), truth) == 0
    assert rf.edge_score(np.zeros_like(truth), truth) == 0
    assert np.isclose(rf.edge_score(np.ones_like(truth), truth), 2 * (1 / 3) / (1 / 3 + 1))


def test_claim_smoothing_saves_the_machine_but_not_from_sobel():
    thresholds = np.linspace(0.005, 0.3, 40)
    machines = {s: rf.fit_svm(*rf.training_pixels(400, s, 0), 0.2, 10.0) for s in (0.0, 1.0)}
    lead = {0.0: [], 1.0: []}
    for blur in (0.5, 1.5):
        for noise in (0.02, 0.05, 0.08):
            image, truth = rf.shapes_picture(128, blur, noise, 0)
            score = {
                s: rf.edge_score(rf.svm_edges(m, image, s)[1] > 0, truth)
                for s, m in machines.items()
            }
            if noise == 0.05:
                assert score[1.0] > 0.9 and score[0.0] < 0.5
            for s, gaps in lead.items():
                gradient = rf.sobel_gradient(image, s)
                thinned = rf.thin(np.hypot(*gradient), gradient)
                gaps.append(rf.best_threshold(thinned, truth, thresholds)[1] - score[1.0])
    assert min(lead[1.0]) > -0.03  # on the same smoothed picture Sobel is never worse
    assert min(lead[0.0]) < -0.05  # on the noisy one it can be


# --- Bad input ----------------------------------------------------------------------------------

CURVE = rf.LightCurve([0.0, 1.0], [0.0, 0.0], [1.0, 1.0])
FAR = rf.LightCurve([1e6, 1e6 + 1], [0.0, 0.0], [1.0, 1.0])
ONES = np.ones((5, 5))
FLOOR = rf.random_building(3, 0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rf.LightCurve([1.0, 0.0], [0, 0], [1, 1]), "times must ascend"),
        (lambda: rf.LightCurve([0.0, 1.0], [0], [1, 1]), "values"),
        (lambda: rf.LightCurve([0.0], [0], [0.0]), "errors must be positive"),
        (lambda: rf.damped_random_walk([1.0, 0.0], 1, 1, 0), "times must ascend"),
        (lambda: rf.damped_random_walk([1.0], 0, 1, 0), "sd"),
        (lambda: rf.simulate_quasar(np.nan, 0), "delay"),
        (lambda: rf.simulate_quasar(1.0, 0, gap=1.0), "gap"),
        (lambda: rf.simulate_quasar(1.0, 0, span=30.0, gap=0.5), "gap must leave days"),
        (lambda: rf.simulate_quasar(1.0, 0, nights=3), "nights"),
        (lambda: rf.delay_losses(1, CURVE, [0.0], 1.0), "a must be a LightCurve"),
        (lambda: rf.delay_losses(CURVE, CURVE, [], 1.0), "delays"),
        (lambda: rf.delay_losses(CURVE, CURVE, [0.0], 0.0), "bandwidth"),
        (lambda: rf.delay_losses(CURVE, FAR, [0.0], 1.0), "delays must let the curves overlap"),
        (lambda: rf.compared_share(CURVE, CURVE, [np.nan], 1.0), "delays"),
        (lambda: rf.offset_at(CURVE, CURVE, 0.0, -1.0), "bandwidth"),
        (lambda: rf.interpolation_losses(CURVE, FAR, [0.0]), "delays must let"),
        (lambda: rf.estimate_delay([], [0.0], 1.0), "pairs"),
        (lambda: rf.leave_one_out_bandwidth([], [1.0]), "curves"),
        (lambda: rf.leave_one_out_bandwidth([CURVE], [0.0]), "bandwidths"),
        (lambda: rf.resampled_delays([(CURVE, CURVE)], [0.0], 1.0, 0, 0), "draws"),
        (lambda: rf.random_building(1, 0), "beacons"),
        (lambda: rf.random_building(4, 0, low_share=2), "low_share"),
        (lambda: rf.random_building(4, 0, shadowing=-1), "shadowing"),
        (lambda: rf.survey_grid(FLOOR, 0), "spacing"),
        (lambda: rf.survey(FLOOR, [[0.0, 0.0]], [0.0], 1.0, -1.0, 0), "noise"),
        (lambda: FLOOR.strengths([[0.0]], 0.0, 1.0), "positions"),
        (lambda: FLOOR.strengths([[0.0, 1.0]], 0.0, -1.0), "body_loss"),
        (lambda: rf.pose_sensitivity(ONES), "by_pose"),
        (lambda: rf.pose_sensitivity(np.full((2, 2, 2), np.nan)), "by_pose must be finite"),
        (lambda: rf.select_beacons(np.ones((2, 2, 3)), 4), "keep"),
        (lambda: rf.similarities(ONES, ONES[:, :3], 1.0), "queries"),
        (lambda: rf.similarities(ONES, ONES, 0.0), "bandwidth"),
        (lambda: rf.locate(ONES, ONES, np.ones((4, 2)), 1, 1.0), "points"),
        (lambda: rf.locate(ONES, ONES, np.ones((5, 2)), 6, 1.0), "neighbours"),
        (lambda: rf.locate_by_neighbours(ONES, ONES, np.ones((5, 2)), 0), "neighbours"),
        (lambda: rf.edge_features(np.ones((2, 9))), "image"),
        (lambda: rf.edge_features(ONES, -1), "smoothing"),
        (lambda: rf.sobel_gradient(ONES * np.nan), "image"),
        (lambda: rf.thin(ONES, (ONES, ONES[:4])), "gradient"),
        (lambda: rf.canny_edges(ONES, 1.0, 2.0, 1.0), "low"),
        (lambda: rf.edge_score(ONES > 0, ONES[:4] > 0), "found and truth"),
        (lambda: rf.edge_score(ONES > 0, ONES < 0), "truth must mark"),
        (lambda: rf.shapes_picture(16, 1.0, 0.0, 0), "size"),
        (lambda: rf.shapes_picture(32, -1.0, 0.0, 0), "blur"),
        (lambda: rf.training_pixels(2, 1.0, 0), "count"),
        (lambda: rf.training_pixels(8, 1.0, 0, least_height=0), "least_height"),
        (lambda: rf.fit_svm(ONES, np.ones(5), 1.0, 1.0), "labels"),
        (lambda: rf.fit_svm(ONES, [1, -1, 0, 1, 1], 1.0, 1.0), "labels"),
        (lambda: rf.fit_svm(ONES, [1, -1], 1.0, 1.0), "points and labels"),
        (lambda: rf.fit_svm(ONES, [1, -1, 1, 1, 1], 0.0, 1.0), "bandwidth"),
        (lambda: rf.fit_svm(ONES, [1, -1, 1, 1, 1], 1.0, 0.0), "cost"),
        (lambda: rf.fit_svm(ONES, [1, -1, 1, 1, 1], 1.0, 1.0, max_updates=-1), "max_updates"),
        (lambda: rf.fit_svm(*rf.training_pixels(8, 1, 0), 1.0, 1.0).decide(ONES), "points"),
        (lambda: rf.best_threshold(ONES, ONES > 0, []), "thresholds"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
