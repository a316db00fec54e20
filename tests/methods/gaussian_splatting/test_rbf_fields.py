"""Radial fields: plain references, differences, peers, bad input; the claims and their controls."""

import functools

import numpy as np
import pytest

from kernellab.compute.clustering import weighted_kmeans
from kernellab.compute.kernels import Gaussian
from kernellab.datasets import photograph
from kernellab.methods.gaussian_splatting import rbf_fields as rf
from tests.naive import rbf_fields as naive

PLACES = rf.pixel_places(16)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def grid_centres(side=10):
    axis = np.linspace(-1, 1, side)
    return np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)


# Targets


def test_pixel_places_are_the_middles():
    assert np.allclose(rf.pixel_places(1, 2), [[0.25, 0.5], [0.75, 0.5]])


def test_star_distance_is_a_distance():
    points = np.random.default_rng(0).random((300, 2))
    found, step = rf.star_distance(points), 1e-6
    slopes = [(rf.star_distance(points + d) - found) / step for d in step * np.eye(2)]
    assert np.median(np.abs(np.hypot(*slopes) - 1)) < 1e-4
    assert rf.star_distance([[0.5, 0.5]])[0] < 0 < rf.star_distance([[0.99, 0.99]])[0]
    assert rf.star_distance([[0.5, 0.12]])[0] == pytest.approx(0, abs=1e-12)


def test_line_drawing_is_thin_and_psnr_is_the_formula():
    image = rf.line_drawing(32)
    assert image.min() >= 0 and image.max() == 1 and 0.03 < np.mean(image < 1) < 0.6
    assert rf.psnr(np.zeros(4), np.full(4, 0.1)) == pytest.approx(20)


def test_bilinear_grid_is_least_squares():
    image = np.random.default_rng(0).random((12, 12, 2))
    matrix = rf.grid_interpolation(rf.pixel_places(12), 5).toarray()
    best = matrix @ np.linalg.lstsq(matrix, image.reshape(144, 2), rcond=None)[0]
    assert np.allclose(rf.bilinear_grid_fit(image, 5).reshape(144, 2), best)


# 1. NeuRBF


def test_shapes_follow_a_line():
    x = np.linspace(0, 1, 50)
    points, label = np.column_stack([x, 0.5 * x]), np.zeros(50, dtype=int)
    centre = points.mean(axis=0)[None]
    full = rf.cluster_shapes(points, np.ones(50), label, centre, 2.0)[0]
    along, across = np.array([2, 1]) / 5**0.5, np.array([-1, 2]) / 5**0.5
    assert across @ full @ across > 100 * (along @ full @ along)
    variance = np.var(points @ along)
    assert 1 / (along @ full @ along) == pytest.approx(4 * variance, rel=0.02)
    round_ = rf.cluster_shapes(points, np.ones(50), label, centre, shape="isotropic")[0]
    assert np.allclose(round_, round_[0, 0] * np.eye(2))


@pytest.mark.parametrize("profile", rf.PROFILES)
@pytest.mark.parametrize("normalise", [True, False])
def test_nearest_kernels_one_by_one(profile, normalise):
    centres, precisions = np.random.default_rng(0).random((6, 2)), np.array([[40.0, 9], [9, 20]])
    which, phi = rf.nearest_kernels(
        PLACES, centres, np.tile(precisions, (6, 1, 1)), 3, profile, normalise
    )
    for p in (0, 77, 200):
        gaps = PLACES[p] - centres
        assert set(which[p]) == set(np.argsort(np.sum(gaps**2, axis=1))[:3])
        q = np.array([g @ precisions @ g for g in gaps[which[p]]])
        want = 1 / (1 + q) if profile == rf.PROFILES[0] else np.exp(-q / 2)
        assert np.allclose(phi[p], want / want.sum() if normalise else want)


@pytest.mark.compiled
def test_harmonic_field_is_dense_ridge_regression():
    targets, centres = draw(256, 2), np.random.default_rng(1).random((9, 2))
    precisions, frequencies = np.tile(30 * np.eye(2), (9, 1, 1)), np.array([0.5, 3.0])
    field = rf.fit_harmonic_field(PLACES, targets, centres, precisions, frequencies, 0.01)
    which, phi = rf.nearest_kernels(PLACES, centres, precisions)
    a = naive.design(which, rf.harmonics(phi, frequencies), 9)
    weights = np.linalg.solve(a.T @ a + 0.01 * np.eye(18), a.T @ (targets - targets.mean(axis=0)))
    assert np.allclose(field.weights.reshape(18, 2), weights)
    assert np.allclose(field.at(PLACES), a @ weights + targets.mean(axis=0))
    assert field.floats == 9 * (5 + 4) + 2


def test_small_frequencies_give_back_the_kernel():
    phi = np.random.default_rng(0).random((5, 4))
    assert np.allclose(rf.harmonics(phi, [1e-4])[..., 0] / 1e-4, phi)


def feature_rank(frequencies):
    values = np.linalg.svd(rf.harmonics(np.linspace(0, 1, 400), frequencies), compute_uv=False)
    return int(np.sum(values > 1e-2 * values[0]))


def test_claim_sinusoids_create_features():
    assert feature_rank(np.geomspace(1 / 8, 4096, 8)) >= 6
    assert feature_rank(np.geomspace(1 / 64, 1 / 2, 8)) <= 2  # control: all small


FOUR = tuple(np.geomspace(0.25, 8, 4))


def drawing_psnr(seed, placement, frequencies=FOUR):
    image, points = rf.line_drawing(), rf.pixel_places(64)
    weights = 1 - image.ravel()
    weights = weights + 0.02 * weights.mean()
    if placement == "shuffled":
        weights = np.random.default_rng(seed + 50).permutation(weights)
    centres, label, _ = weighted_kmeans(points, weights, 100, seed)
    shapes = rf.cluster_shapes(points, weights, label, centres, 2.0)
    field = rf.fit_harmonic_field(
        points, image.reshape(-1, 1), centres, shapes, frequencies, normalise=False
    )
    return rf.psnr(field.at(points)[:, 0], image.ravel())


@pytest.mark.parametrize("seed", range(3))
def test_claim_kernels_on_the_ink(seed):
    image = rf.line_drawing()
    grid = rf.psnr(rf.bilinear_grid_fit(image, 30), image)
    assert drawing_psnr(seed, "weighted") > grid + 1
    assert drawing_psnr(seed, "shuffled") < grid - 1  # control
    assert drawing_psnr(seed, "weighted", [0.25]) < grid - 1  # without the sinusoids


# 2. Gaussian RBFNet


@pytest.mark.parametrize("decoder", rf.DECODERS)
def test_field_gradient_by_differences(decoder):
    field = rf.GridField(PLACES, draw(256, 3), decoder, units=5, features=2, sides=(3, 5))
    _, (grids, parameters) = field.loss_and_gradient()
    for array, gradient in zip(
        [*field.grids, *field.parameters], [*grids, *parameters], strict=True
    ):
        step, there = 1e-6, np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
        array[there] += step
        more = field.loss_and_gradient()[0]
        array[there] -= 2 * step
        less = field.loss_and_gradient()[0]
        array[there] += step
        assert (more - less) / (2 * step) == pytest.approx(gradient[there], rel=1e-4)
    assert field.floats == sum(g.size for g in [*grids, *parameters])


def test_centres_at_the_data_make_it_kernel_ridge_regression():
    ridge = pytest.importorskip("sklearn.kernel_ridge")
    z, y = draw(60, 4), draw(60, 2, seed=1)
    gram = Gaussian(0.8).gram(z)
    weights = np.linalg.solve(gram + 0.1 * np.eye(60), y)
    out, _ = rf.decoder_output("gaussian", [z, np.full(60, np.log(0.8)), weights, np.zeros(2)], z)
    peer = ridge.KernelRidge(alpha=0.1, kernel="rbf", gamma=1 / (2 * 0.64)).fit(z, y)
    assert np.allclose(out, peer.predict(z), atol=1e-8)


@functools.lru_cache
def decoded(decoder, seed, width=0.3, trained=True, star=False, rate=0.01):
    places = rf.pixel_places(64)
    picture = photograph("coffee", 64).reshape(-1, 3)
    if star:
        picture = np.clip(0.5 + 2 * rf.star_distance(places), 0, 1).reshape(-1, 1)
    field = rf.GridField(
        places, picture, decoder, width=width, train_width=trained, rate=rate, rng=seed
    )
    for _ in field.train(400):
        pass
    return rf.psnr(field.predict(), picture)


@pytest.mark.parametrize("seed", range(3))
def test_claim_narrow_kernels_in_feature_space(seed):
    linear = decoded("linear", seed)
    assert decoded("gaussian", seed, trained=False) > linear + 3.8
    assert decoded("gaussian", seed, 1.35, False) < linear + 3.8  # control: only the width differs
    assert decoded("gaussian", seed) > linear + 3.8
    assert decoded("gaussian", seed) > decoded("relu", seed) + 1  # at this rate of 0.01
    assert abs(decoded("gaussian", seed) - decoded("two relu layers", seed)) < 1.5  # no win here


@pytest.mark.parametrize("seed", range(2))
def test_on_a_smooth_star_gaussians_lead_both_relu_decoders(seed):
    others = [decoded(name, seed, star=True, rate=0.02) for name in ("relu", "two relu layers")]
    assert decoded("gaussian", seed, star=True, rate=0.02) > max(others) + 3


def test_responses_are_one_at_a_centre():
    field = rf.GridField(PLACES, draw(256, 1), units=4, features=1, sides=(4,))
    field.parameters[0][2] = field.features()[10]
    assert field.responses()[10, 2] == pytest.approx(1)
    with pytest.raises(ValueError, match="decoder"):
        rf.GridField(PLACES, draw(256, 1), "linear").responses()


# 3. PIG


@pytest.mark.compiled
def test_jets_by_differences():
    points, means, logs = draw(6, 2), draw(3, 2, seed=1), 0.3 * draw(3, 2, seed=2)
    jets, _ = rf.gaussian_jets(points, means, logs)
    for p in range(6):
        for i in range(3):
            want = naive.jets(
                lambda x, i=i: naive.gaussian(x, means[i], np.exp(logs[i])), points[p]
            )
            assert np.allclose(jets[:, p, i], want, atol=1e-5)


@pytest.mark.compiled
def test_jets_pull_back_by_differences():
    points, means, logs = draw(6, 2), draw(3, 2, seed=1), 0.3 * draw(3, 2, seed=2)
    jets, pullback = rf.gaussian_jets(points, means, logs)
    s = draw(*jets.shape, seed=3)
    for part, gradient in zip((means, logs), pullback(s), strict=True):
        for place in np.ndindex(part.shape):
            change = []
            for step in (1e-6, -2e-6):
                part[place] += step
                change.append(np.sum(s * rf.gaussian_jets(points, means, logs)[0]))
            part[place] += 1e-6
            slope = (change[0] - change[1]) / 2e-6
            assert gradient[place] == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("log_width", [-1e6, -400, 400, 1e6])
def test_jets_stay_finite_for_widths_beyond_all_bounds(log_width):
    jets, pullback = rf.gaussian_jets(PLACES, PLACES[:3], np.full((3, 2), float(log_width)))
    assert np.all(np.isfinite(jets)) and np.all(np.isfinite(pullback(np.ones_like(jets))[0]))


@pytest.mark.parametrize("make", [rf.standing_wave, rf.sharp_front, rf.narrow_peak])
def test_solutions_solve_the_equation(make):
    for x in np.random.default_rng(0).uniform(-1, 1, (5, 2)):
        jets = naive.jets(lambda place: make(place[None])[0][0], x)
        assert jets[3] + jets[0] == pytest.approx(make(x[None])[1][0], abs=2e-4)


@pytest.mark.compiled
@pytest.mark.parametrize(
    "model", [rf.MovingGaussians(0.8 * draw(12, 2), 0.4), rf.WaveNetwork((7, 5))]
)
def test_loss_gradient_and_jets_by_differences(model):
    points, border = rf.collocation(30, 12)
    loss = rf.helmholtz_loss(model, rf.standing_wave, points, border)
    theta, way = model.start, draw(model.start.size)
    slope = (loss(theta + 1e-6 * way)[0] - loss(theta - 1e-6 * way)[0]) / 2e-6
    assert loss(theta)[1] @ way == pytest.approx(slope, rel=1e-5)
    want = naive.jets(lambda x: model.jets(theta, x[None])[0][0, 0], points[3])
    assert np.allclose(model.jets(theta, points)[0][:, 3], want, atol=1e-4)


def test_frozen_kernels_stay():
    model = rf.MovingGaussians(draw(5, 2), move_means=False, move_widths=False)
    loss = rf.helmholtz_loss(model, rf.standing_wave, *rf.collocation(20, 8))
    assert np.all(loss(model.start)[1][:20] == 0)
    assert np.any(loss(model.start)[1][20:] != 0)


def test_direct_collocation_finds_a_sum_of_its_own_gaussians():
    means, weights = grid_centres(4), draw(16)

    def made(points):
        jets = rf.gaussian_jets(points, means, np.full((16, 2), np.log(0.5)))[0] @ weights
        return jets[0], jets[3] + jets[0]

    points, border = rf.collocation(200, 40)
    u = rf.direct_collocation(means, 0.5, made, points, border)
    assert np.allclose(u(points), made(points)[0], atol=1e-9)


def test_minimise_finds_rosenbrocks_valley():
    def rosenbrock(p):
        x, y = p
        slope = np.array([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)])
        return 100 * (y - x * x) ** 2 + (1 - x) ** 2, slope

    steps = list(rf.minimise(rosenbrock, np.array([-1.2, 1.0]), 100))
    assert np.allclose(steps[-1][1], 1, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_minimise_ends_where_there_is_nothing_to_gain():
    assert list(rf.minimise(lambda p: (0.0, 0 * p), np.ones(2), 5)) == []
    with pytest.raises(ValueError, match="loss must be finite"):
        next(rf.minimise(lambda p: (np.nan, np.nan * p), np.ones(2), 5))
    assert len(list(rf.minimise(lambda p: (p @ p, 2 * p), np.ones(2), 50))) < 50


def wave_error(seed, moves):
    points, border = rf.collocation(400, 120, 0)
    model = rf.MovingGaussians(
        grid_centres(), move_means="means" in moves, move_widths="widths" in moves, rng=seed
    )
    loss = rf.helmholtz_loss(model, rf.standing_wave, points, border)
    theta = list(rf.minimise(loss, model.start, 150))[-1][1]
    at = np.random.default_rng(9).uniform(-1, 1, (2000, 2))
    u = rf.standing_wave(at)[0]
    return np.linalg.norm(model.jets(theta, at)[0][0] - u) / np.linalg.norm(u)


def test_claim_a_mesh_that_moves():
    names = ("means and widths", "means", "widths", "nothing")
    errors = {moves: np.median([wave_error(seed, moves) for seed in range(5)]) for moves in names}
    assert 3 * errors["means and widths"] < errors["nothing"]
    assert 3 * errors["means"] < errors["nothing"]
    assert 3 * errors["widths"] > errors["nothing"]  # control: it is the means that matter


# Bad input


@pytest.mark.parametrize(
    "call",
    [
        lambda: rf.pixel_places(0),
        lambda: rf.star_distance(np.zeros((3, 3))),
        lambda: rf.star_distance(PLACES, outer=0.1, inner=0.2),
        lambda: rf.line_drawing(0),
        lambda: rf.psnr(np.zeros(3), np.zeros(4)),
        lambda: rf.psnr(np.zeros(3), np.zeros(3)),
        lambda: rf.bilinear_grid_fit(np.zeros((3, 4)), 2),
        lambda: rf.bilinear_grid_fit(np.full((3, 3), np.nan), 2),
        lambda: rf.standing_wave(PLACES, np.nan),
        lambda: rf.sharp_front(PLACES, 1e200),
        lambda: rf.narrow_peak(PLACES, 1e-200),
        lambda: rf.cluster_shapes(PLACES, -np.ones(256), np.zeros(256, int), PLACES[:1]),
        lambda: rf.cluster_shapes(PLACES, np.ones(256), np.zeros(256, int), PLACES[:1], 1e200),
        lambda: rf.nearest_kernels(PLACES, PLACES[:1], -np.eye(2)[None]),
        lambda: rf.nearest_kernels(PLACES, PLACES[:1], np.array([[[1.0, 2.0], [2.0, 1.0]]])),
        lambda: rf.nearest_kernels(PLACES, PLACES[:1], np.array([[[1.0, 0.5], [0.0, 1.0]]])),
        lambda: rf.nearest_kernels(PLACES, np.full((1, 2), 1e200), np.eye(2)[None]),
        lambda: rf.GridField(PLACES, np.ones((256, 1)), sides=8),
        lambda: rf.GridField(PLACES, np.ones((256, 1)), width=1e-200),
        lambda: rf.decoder_output("linear", [], np.ones((4, 2))),
        lambda: rf.decoder_output("linear", [np.ones(2), np.ones(1)], np.ones((4, 2))),
        lambda: rf.decoder_output("relu", [np.ones((2, 3)), np.ones(3)], np.ones((4, 2))),
        lambda: rf.decoder_output("gaussian", [np.ones((3, 2))], np.ones((4, 2))),
        lambda: rf.decoder_output(
            "gaussian", [np.ones((3, 2)), np.ones(2), np.ones((3, 1)), np.ones(1)], np.ones((4, 2))
        ),
        lambda: rf.gaussian_jets(PLACES, PLACES, PLACES)[1](np.ones((4, 256, 255))),
        lambda: rf.jet_network([], np.ones((4, 5, 2))),
        lambda: rf.jet_network([(np.ones((2, 1)), np.ones(1))], np.ones((4, 5, 2)))[1](np.ones(3)),
        lambda: rf.jet_network([(np.ones(2), np.ones(1))], np.ones((4, 5, 2))),
        lambda: rf.jet_network(
            [(np.ones((2, 3)), np.ones(3)), (np.ones((2, 1)), np.ones(1))], np.ones((4, 5, 2))
        ),
        lambda: rf.helmholtz_loss(None, lambda p: (np.ones(2), np.ones(2)), PLACES, PLACES),
        lambda: rf.direct_collocation(PLACES, 1, lambda p: (p[:, 0],), PLACES, PLACES),
        lambda: rf.cluster_shapes(PLACES, np.ones(256), np.full(256, 4), PLACES[:4]),
        lambda: rf.cluster_shapes(PLACES, np.ones(256), np.zeros(256, int), PLACES[:4], shape="x"),
        lambda: rf.nearest_kernels(PLACES, PLACES[:4], np.zeros((3, 2, 2))),
        lambda: rf.nearest_kernels(PLACES, PLACES[:1], np.eye(2)[None], profile="x"),
        lambda: rf.harmonics([np.nan], [1.0]),
        lambda: rf.fit_harmonic_field(PLACES, np.ones((5, 1)), PLACES[:1], np.eye(2)[None], [1.0]),
        lambda: rf.grid_interpolation(PLACES + 1, 4),
        lambda: rf.GridField(PLACES, np.ones((5, 1))),
        lambda: rf.GridField(PLACES, np.ones((256, 1)), "deep"),
        lambda: rf.GridField(PLACES, np.ones((256, 1)), sides=()),
        lambda: rf.decoder_output("linear", [np.ones((3, 1)), np.ones(1)], np.ones((4, 2))),
        lambda: rf.gaussian_jets(PLACES, np.ones((3, 2)), np.ones((2, 2))),
        lambda: rf.jet_network([(np.ones((2, 1)), np.ones(1))], np.ones((3, 5, 2))),
        lambda: rf.MovingGaussians(np.ones((3, 2)), width=0),
        lambda: rf.WaveNetwork((0,)),
        lambda: rf.collocation(1, 8),
        lambda: rf.sharp_front(PLACES, sharpness=-1),
        lambda: rf.narrow_peak(PLACES, place=(1, 2, 3)),
        lambda: rf.helmholtz_loss(None, rf.standing_wave, PLACES, PLACES, weight=0),
        lambda: rf.direct_collocation(PLACES, 0, rf.standing_wave, PLACES, PLACES),
        lambda: next(rf.minimise(None, np.ones((2, 2)))),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError):
        call()
