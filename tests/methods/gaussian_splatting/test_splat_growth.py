"""Splat growth: plain references, quadrature, identities and bad input; the claims and controls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute.splatting import (
    PLANE_RATES,
    fit_plane,
    plane_covariances,
    psnr,
    render_plane,
    render_space,
    space_covariances,
    start_plane,
)
from kernellab.datasets import photograph
from kernellab.datasets.toy_worlds import toy3d, toy_scene
from kernellab.methods.gaussian_splatting import splat_growth as sg
from tests.naive import splat_growth as naive

IMAGE = photograph("coffee", 32)
START = start_plane(IMAGE, 20, rng=0)


# 1. A fit whose splats may change


def test_without_a_rule_it_is_the_plain_fit_bit_for_bit():
    plain = fit_plane(IMAGE, START, background=np.zeros(3))
    for _ in plain.run(30):
        pass
    for rule in (sg.fixed, sg.MarkovChain(20, 30, noise=0.0, rate=0.0)):
        growth = sg.Growth(IMAGE, START, rng=0)
        *_, last = sg.grow(growth, rule, 30, every=100)
        for name, array in plain.parameters.items():
            assert np.array_equal(array, last.parameters[name])
        assert growth.fit.losses == plain.losses


def test_snapshots_tell_the_truth():
    shots = list(sg.grow(sg.Growth(IMAGE, START, rng=0), sg.fixed, 30, look=10))
    assert [s.step for s in shots] == [0, 10, 20, 30]
    for shot in shots:
        image = render_plane(shot.parameters, height=32, width=32, background=np.zeros(3)).image
        assert np.array_equal(image, shot.image)
        assert shot.psnr == pytest.approx(psnr(image, IMAGE))
    assert shots[-1].psnr > shots[0].psnr + 3


def test_divide_keeps_the_others_and_the_order():
    result, rows = sg.divide(START, [3, 7], [7], 0)
    assert rows.tolist() == [0, 1, 2, 3, -1, 4, 5, 6, -1, -1, *range(8, 20)]
    assert np.array_equal(result["means"][rows >= 0], START["means"][rows[rows >= 0]])
    assert np.array_equal(result["means"][3], result["means"][4])
    shrunk = START["log_scales"][7] - math.log(1.6)
    assert np.allclose(result["log_scales"][[8, 9]], shrunk)
    assert not np.allclose(result["means"][8], result["means"][9])


def test_split_places_are_draws_from_the_splat():
    one = {
        "means": np.tile([10.0, 5.0], (4000, 1)),
        "log_scales": np.tile(np.log([3.0, 1.0]), (4000, 1)),
        "angles": np.full(4000, 0.7),
        "logits": np.zeros(4000),
        "features": np.ones((4000, 1)),
    }
    result, _ = sg.divide(one, np.arange(4000), np.arange(4000), 0)
    truth = plane_covariances(one["log_scales"][:1], one["angles"][:1])[0]
    assert np.cov(result["means"].T) == pytest.approx(truth, abs=0.35)


def test_clone_split_respects_cap_and_drops_the_dead():
    start = {name: array.copy() for name, array in START.items()}
    start["logits"][:5] = -9.0
    growth = sg.Growth(IMAGE, start, rng=0, rates=PLANE_RATES | {"logits": 1e-9})
    *_, last = sg.grow(growth, sg.CloneSplit(33, threshold=0.0), 60, every=20)
    assert last.count == 33
    assert sg.opacities(last.parameters).min() > sg.DEAD


# 2. Splats as samples


@pytest.mark.compiled
@given(st.floats(1e-3, 0.9999), st.integers(1, 51))
@settings(max_examples=60, deadline=None)
def test_relocation_is_the_papers_double_sum(opacity, copies):
    thinner, factor = sg.relocation([opacity], [copies])
    plain = naive.relocation(opacity, copies)
    assert thinner[0] == pytest.approx(plain[0], rel=1e-12)
    assert factor[0] == pytest.approx(plain[1], rel=1e-8)


@pytest.mark.parametrize("opacity", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("copies", [1, 2, 7, 50])
def test_relocation_keeps_the_line_integral(opacity, copies):
    (thin,), (factor,) = sg.relocation([opacity], [copies])
    whole = opacity * math.sqrt(2 * math.pi) * 1.7
    assert naive.line_integral(thin, 1.7 * factor, copies) == pytest.approx(whole, rel=1e-9)
    if copies > 1:
        assert naive.line_integral(thin, 1.7, copies) > 1.001 * whole


def test_relocation_at_the_ends():
    thinner, factor = sg.relocation([1.0, 0.4], [50, 1])
    assert np.isfinite(thinner).all() and np.isfinite(factor).all()
    assert thinner[1] == pytest.approx(0.4) and factor[1] == pytest.approx(1.0)


def test_multiply_nearly_keeps_the_picture_and_plain_copies_do_not():
    start = {name: array.copy() for name, array in START.items()}
    start["logits"][:] = 0.5
    copies = np.random.default_rng(0).integers(1, 4, 20)

    def image(parameters):
        return render_plane(parameters, height=32, width=32, background=np.zeros(3)).image

    def change(means):
        return np.abs(image(sg.multiply(start, copies, means)[0]) - image(start)).mean()

    assert change(True) < 0.4 * change(False)


def test_relocated_moves_the_dead_onto_the_live():
    start = {name: array.copy() for name, array in START.items()}
    start["logits"][:8] = -9.0
    result, rows = sg.relocated(start, 5, 0)
    assert len(result["means"]) == 25 == len(rows)
    assert sg.opacities(result).min() > sg.DEAD
    assert set(map(tuple, result["means"])) <= set(map(tuple, start["means"][8:]))
    assert not np.isin(rows, np.arange(8)).any()


def test_noise_has_the_covariance_sigma_squared_and_spares_the_opaque():
    sigma = plane_covariances([[math.log(2.0), 0.0]], [0.6])
    steps = sg.langevin_noise(np.repeat(sigma, 40000, 0), np.full(40000, 0.005), 2.0, 0)
    assert np.cov(steps.T) == pytest.approx(sigma[0] @ sigma[0], abs=0.25)  # gate 1/2, strength 2
    assert np.abs(sg.langevin_noise(sigma, [0.9], 1.0, 0)).max() < 1e-12


# 3. Births where the error is


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_mean_over_phases_is_the_whole_gradient(stride):
    loss, whole, _ = sg.strided_gradients(IMAGE, START)
    parts = [
        sg.strided_gradients(IMAGE, START, stride, (r, c))
        for r in range(stride)
        for c in range(stride)
    ]
    assert np.mean([part[0] for part in parts]) == pytest.approx(loss, rel=1e-12)
    for name, slope in whole.items():
        assert np.mean([p[1][name] for p in parts], axis=0) == pytest.approx(slope, abs=1e-14)


@pytest.mark.parametrize("phase", [(0, 0), (2, 1)])
def test_strided_image_is_the_pixels_of_the_whole(phase):
    whole = render_plane(START, height=32, width=32, background=np.zeros(3)).image
    raster = sg.strided_gradients(IMAGE, START, 3, phase)[2]
    assert raster.image == pytest.approx(naive.strided_pixels(whole, 3, phase), abs=1e-12)


def test_scores_are_ranks_behind_a_gate():
    pull, color, visits = np.array([3.0, 1, 2, 9]), np.array([1.0, 2, 3, 4]), np.array([5, 5, 5, 1])
    assert sg.birth_scores(pull, color, visits, 0.0).tolist() == [3, 1, 2, 0]
    assert sg.birth_scores(pull, color, visits, 1.0).tolist() == [1, 2, 3, 0]


@given(st.integers(0, 400), st.integers(0, 50), st.floats(0.3, 3.0))
@settings(max_examples=40, deadline=None)
def test_budget_grows_is_capped_and_waits(step, largest, power):
    flat, fast = np.ones(60), 0.9 ** np.arange(60)
    now = sg.birth_budget(step, flat, largest, 100, power)
    assert 0 <= now <= sg.birth_budget(step + 10, flat, largest, 100, power) <= largest
    assert sg.birth_budget(step, fast, largest, 100, power) == 0
    assert sg.birth_budget(step, fast, largest, 100, power, tau=1.0) == now


@pytest.mark.parametrize("choose", ["score", "random"])
def test_top_score_keeps_its_cap(choose):
    growth = sg.Growth(IMAGE, START, rng=0, stride=2)
    *_, last = sg.grow(growth, sg.TopScore(45, choose, tau=1.0), 150, every=10)
    assert last.count == 45


# 4. Passers-by


def test_exposures_differ_on_the_discs_only():
    photographs, static = sg.exposures(IMAGE, 6, 0)
    assert np.array_equal(np.any(photographs != IMAGE, axis=3), ~static)
    assert sg.exposures(IMAGE, 2, 0, discs=(0, 0))[1].all()


def test_mask_loss_has_its_derivative():
    rng = np.random.default_rng(0)
    mask, alike, residual = rng.uniform(0.05, 0.95, (3, 5, 6))
    value, slope = sg.mask_loss(mask, alike, residual, 0.7, (0.4, 0.7))
    for place in ((0, 0), (2, 3), (4, 5)):
        moved = mask.copy()
        moved[place] += 1e-6
        up = sg.mask_loss(moved, alike, residual, 0.7, (0.4, 0.7))[0]
        assert (up - value) / 1e-6 == pytest.approx(slope[place], abs=1e-5)


def test_features_of_a_flat_image():
    features = sg.patch_features(np.full((7, 9, 3), 0.75), 3)
    assert features == pytest.approx(np.tile([0, 0, 0.75, 0.25], 3) * np.ones((7, 9, 12)))
    assert sg.likeness(features, features) == pytest.approx(1.0, abs=1e-6)


@given(st.integers(1, 9), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_features_are_histograms(size, bins):
    features = sg.patch_features(IMAGE, size, bins)
    sums = features.reshape(32, 32, 3, bins).sum(axis=3)
    assert features.min() > -1e-12 and sums == pytest.approx(np.ones_like(sums))
    assert sg.patch_features(IMAGE, 3) == pytest.approx(naive.soft_histograms(IMAGE, 3, 4))


def test_usable_shaves_the_rim():
    mask = np.ones((9, 9))
    mask[4, 4] = 0.0
    assert np.count_nonzero(~sg.usable(mask).astype(bool)) == 9


def test_overlap():
    a, b = np.array([True, True, False]), np.array([False, True, True])
    assert sg.overlap(a, b) == pytest.approx(1 / 3) and sg.overlap(~(a | True), ~(b | True)) == 1


def test_an_oracle_mask_restores_the_clean_fit():
    photographs, static = sg.exposures(IMAGE, 8, 0, radius=(3.0, 5.0))

    def clean(shots, masks):
        run = sg.fit_exposures(shots, START, 300, 0, masks=masks, cap=60, oracle=static)
        *_, last = run
        return psnr(last.image, IMAGE)

    spoilt, rescued = clean(photographs, "none"), clean(photographs, "oracle")
    nobody = clean(np.repeat(IMAGE[None], 8, 0), "none")
    assert rescued > spoilt + 2 and rescued > nobody - 1


def test_lamps_are_far_apart_and_the_night_is_dark():
    image, places = sg.lights(64, 12, 5)
    gaps = np.linalg.norm(places[:, None] - places, axis=2) + 99 * np.eye(12)
    columns, rows = places.astype(int).T
    assert gaps.min() > 5 and image[rows, columns].max(axis=1).min() > 0.3
    assert np.median(image) < 0.02 and image.min() >= 0 and image.max() <= 1


def test_divide_in_space_draws_from_the_splat():
    start = sg.start_space(3000, 0, (0, 0, 0), (1e-9, 1e-9, 1e-9))
    start["log_scales"][:] = np.log([0.3, 0.2, 0.1])
    start["quaternions"][:] = (0.9, 0.2, -0.3, 0.1)
    result, rows = sg.divide(start, np.arange(3000), np.arange(3000), 0)
    truth = space_covariances(start["quaternions"][:1], start["log_scales"][:1])[0]
    assert len(rows) == 6000 and (rows == -1).all()
    assert np.cov(result["means"].T) == pytest.approx(truth, abs=0.01)


def test_a_camera_for_each_exposure():
    scene = toy_scene("passer_by")
    seen = toy3d(scene, 4, 24, 24, time=np.linspace(-1, 1, 4))
    empty = toy3d(scene.without("person"), 4, 24, 24)
    static = seen.instance != scene.objects.index("person")
    options = {"cameras": seen.cameras, "background": scene.background, "cap": 90, "look": 40}

    def shown(masks, steps):
        start = sg.start_space(50, 0, (-1.9, -1.9, 0), (1.9, 1.9, 1.6))
        run = sg.fit_exposures(seen.rgb, start, steps, 0, masks=masks, oracle=static, **options)
        *_, last = run
        assert last.count <= 90 and last.step == steps and last.masks.shape == static.shape
        images = [
            render_space(last.parameters, c, background=scene.background).image
            for c in seen.cameras
        ]
        assert np.array_equal(images[0], last.image)
        return np.mean([psnr(a, b) for a, b in zip(images, empty.rgb, strict=True)]), images

    (spoilt, before), (rescued, after) = shown("none", 200), shown("oracle", 200)
    assert rescued > spoilt + 1
    memory = [sg.memory_of(i, seen.rgb, empty.rgb, static) for i in (before, after)]
    assert memory[1] < memory[0] - 0.2
    assert sg.memory_of(seen.rgb, seen.rgb, empty.rgb, static) == pytest.approx(1)
    assert sg.memory_of(empty.rgb, seen.rgb, empty.rgb, static) == pytest.approx(0)


# The claims of the lab, on pictures and photographs that the notebook does not show


def lamps(rule, seed, *, count=80, price=0.0, start=sg.clump):
    image = sg.lights(48, 9, seed)[0]
    parameters = start(image, count, rng=seed)
    parameters["logits"][:] = math.log(0.1 / 0.9)
    rates = PLANE_RATES | {"means": 0.05, "logits": 0.2}
    growth = sg.Growth(image, parameters, rng=seed, rates=rates, opacity_penalty=price)
    *_, last = sg.grow(growth, rule, 300, every=10, look=300)
    return last.psnr


def test_noise_finds_the_lamps_and_relocation_alone_does_not():
    seeds = range(33, 39)
    fixed = np.array([lamps(sg.fixed, s) for s in seeds])
    chain = np.array([lamps(sg.MarkovChain(80, 300, 3.0), s, price=1e-3) for s in seeds])
    still = np.array([lamps(sg.MarkovChain(80, 300, 0.0), s, price=1e-3) for s in seeds])
    assert (chain - fixed).mean() > 5 and (chain - fixed).min() > 1
    assert (still - fixed).mean() < 3
    spread = [lamps(sg.MarkovChain(80, 300, 3.0), s, price=1e-3, start=start_plane) for s in seeds]
    assert np.mean(spread) > chain.mean() + 1  # it does not forget its start in 300 steps


@pytest.mark.parametrize("name", ["coffee", "astronaut"])
def test_a_rising_budget_needs_fewer_steps(name):
    image = photograph(name, 32)

    def course(rule, seed):
        growth = sg.Growth(image, start_plane(image, 15, rng=seed), rng=seed)
        return np.array([(s.step, s.psnr) for s in sg.grow(growth, rule, 300, look=10)])

    found = []
    for seed in (32, 33, 34):
        goal = course(sg.TopScore(60, mix=0.0, share=0.1), seed)[-1, 1]
        for rule in (sg.TopScore(60, largest=15), sg.TopScore(60, share=0.1)):
            rows = course(rule, seed)
            found.append(np.append(rows[rows[:, 1] >= goal, 0], 300)[0] / 300)
    rising, same = np.reshape(found, (3, 2)).mean(axis=0)
    assert rising <= 0.8 < same


def test_masks_pay_and_a_learned_one_gets_a_good_part():
    def clean(masks, seed, discs=(1, 2), shift=0):
        shots, static = sg.exposures(IMAGE, 10, seed, discs=discs, radius=(3.5, 6.0))
        *_, last = sg.fit_exposures(
            shots, start_plane(IMAGE, 30, rng=seed), 300, seed, masks=masks, cap=80, look=300,
            oracle=np.roll(static, shift, axis=0),
        )  # fmt: skip
        return psnr(last.image, IMAGE)

    seeds = range(33, 37)
    none, learned, oracle, wrong = (
        np.array([clean(masks, s, shift=shift) for s in seeds])
        for masks, shift in (("none", 0), ("learned", 0), ("oracle", 0), ("oracle", 1))
    )
    assert (oracle - none).mean() > 4 > 0 > (wrong - none).mean()
    assert (learned - none).mean() > 1.5 and (learned - none).min() > 0.5
    assert clean("learned", 33, (0, 0)) - clean("none", 33, (0, 0)) < 0.5


# Bad input

BAD = [
    (sg.lights, (8,), {}),
    (sg.lights, (48, 0), {}),
    (sg.lights, (48, 100), {}),
    (sg.start_space, (0, 0, (0, 0, 0), (1, 1, 1)), {}),
    (sg.start_space, (5, 0, (0, 0, 0), (1, 1, 0)), {}),
    (sg.start_space, (5, 0, (0, 0), (1, 1, 1)), {}),
    (sg.start_space, (5, 0, (0, 0, 0), (1, 1, 1), -1.0), {}),
    (sg.memory_of, (IMAGE[None], IMAGE[None], IMAGE[None], np.zeros((1, 32, 32))), {}),
    (sg.memory_of, (IMAGE[None], IMAGE[None], IMAGE, np.zeros((1, 32, 32))), {}),
    (sg.patch_features, (IMAGE, 3, 1), {}),
    (sg.patch_features, (IMAGE[..., 0], 3), {}),
    (sg.ExposureGrowth, (IMAGE, START), {"rng": 0}),
    (sg.ExposureGrowth, (IMAGE[None], START), {"rng": 0, "cameras": []}),
    (sg.ExposureGrowth, (IMAGE[None], START), {"rng": 0, "learn_from": -1}),
    (sg.ExposureGrowth, (IMAGE[None], START), {"rng": 0, "background": (0.0,)}),
    (sg.MaskNetwork, (0,), {"decay": -1.0}),
    (sg.MaskNetwork, (0,), {"patience": 0.0}),
    (sg.clump, (IMAGE, 0), {"rng": 0}),
    (sg.clump, (IMAGE, 5), {"rng": 0, "spread": -1.0}),
    (sg.log_odds, ([np.nan],), {}),
    (sg.Growth, (IMAGE[..., 0], START), {"rng": 0}),
    (sg.Growth, (IMAGE, START), {"rng": 0, "stride": 0}),
    (sg.Growth, (IMAGE, START), {"rng": 0, "opacity_penalty": -1}),
    (sg.CloneSplit, (0,), {}),
    (sg.CloneSplit, (5, -1.0), {}),
    (sg.divide, (START, [20], [], 0), {}),
    (sg.divide, (START, [1, 1], [], 0), {}),
    (sg.divide, (START, [1], [2], 0), {}),
    (sg.relocation, ([0.0], [1]), {}),
    (sg.relocation, ([0.5], [52]), {}),
    (sg.relocation, ([0.5], [0]), {}),
    (sg.relocation, ([0.5], [1.5]), {}),
    (sg.relocation, ([0.5, 0.5], [1]), {}),
    (sg.composite_opacity, (1.5, 1.0, 2, [0.0]), {}),
    (sg.multiply, (START, np.zeros(20, int)), {}),
    (sg.multiply, (START, np.ones(19, int)), {}),
    (sg.relocated, (START, -1, 0), {}),
    (sg.relocated, (START | {"logits": np.full(20, -9.0)}, 1, 0), {}),
    (sg.langevin_noise, (np.eye(2), [0.5], 1.0, 0), {}),
    (sg.langevin_noise, (np.eye(2)[None], [0.5], -1.0, 0), {}),
    (sg.MarkovChain, (10, 0), {}),
    (sg.strided_gradients, (IMAGE, START, 2, (0, 2)), {}),
    (sg.strided_gradients, (IMAGE, START, 33), {}),
    (sg.birth_scores, ([1.0], [1.0, 2.0], [1.0]), {}),
    (sg.birth_scores, ([1.0], [1.0], [1.0], 2.0), {}),
    (sg.birth_budget, (-1, [], 5, 10), {}),
    (sg.birth_budget, (1, [[1.0]], 5, 10), {}),
    (sg.TopScore, (10, "best"), {}),
    (sg.exposures, (IMAGE[..., 0], 3, 0), {}),
    (sg.exposures, (IMAGE, 0, 0), {}),
    (sg.patch_features, (IMAGE, 0), {}),
    (sg.likeness, (IMAGE, IMAGE[1:]), {}),
    (sg.mask_loss, (np.ones((2, 2)), np.ones((3, 2)), np.ones((2, 2)), 0.0, (0, 1)), {}),
    (sg.usable, (np.ones((3, 3)), 2.0), {}),
    (sg.overlap, ([True], [True, False]), {}),
]


@pytest.mark.parametrize("function, arguments, options", BAD)
def test_bad_input_is_refused(function, arguments, options):
    with pytest.raises(ValueError):
        function(*arguments, **options)


def test_bad_runs_are_refused():
    with pytest.raises(ValueError, match="steps"):
        next(sg.grow(sg.Growth(IMAGE, START, rng=0), sg.fixed, -1))
    for options in ({"masks": "yes"}, {"masks": "oracle"}, {"begin": -1}):
        with pytest.raises(ValueError):
            next(sg.fit_exposures(IMAGE[None], START, 10, 0, **options))
