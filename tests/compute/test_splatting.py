import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kernellab.compute import splatting as sp
from kernellab.compute.cameras import Camera
from tests.naive import splatting as naive

pytestmark = pytest.mark.compiled

SEEDS = st.integers(0, 2**32 - 1)
FEW, MANY = settings(max_examples=15), settings(max_examples=50)


def splats(n, height, width, channels=3, seed=0, sizes=(0.4, 4.0)):
    """Return means, covariances, opacities, features and a background; some lie outside."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(-3.0, np.array([width, height]) + 3.0, (n, 2))
    covariances = sp.plane_covariances(
        np.log(rng.uniform(*sizes, (n, 2))), rng.uniform(0.0, 6.0, n)
    )
    features, background = rng.standard_normal((n, channels)), rng.standard_normal(channels)
    return means, covariances, rng.uniform(0.1, 1.0, n), features, background


def solid(solidity):
    return {"kernel": "gaussian" if solidity == 1.0 else "solid", "solidity": solidity}


# Against the loops


@pytest.mark.parametrize("solidity", [1.0, 2.5])
@pytest.mark.parametrize("blend", sp.BLENDS)
@pytest.mark.parametrize(("n", "height", "width", "channels"), [(1, 5, 7, 1), (60, 17, 24, 3)])
def test_images_are_the_loop(n, height, width, channels, blend, solidity):
    means, covariances, opacities, features, background = splats(n, height, width, channels)
    opacities[::3] = 1.0
    order = np.random.default_rng(1).permutation(n)
    raster = sp.rasterise(
        *(means, covariances, opacities, features),
        height=height,
        width=width,
        background=background,
        order=order,
        blend=blend,
        **solid(solidity),
    )
    image, light, last, hits = naive.pixel_image(
        *(means[order], covariances[order], opacities[order], features[order], background),
        *(height, width, blend, solidity),
    )
    np.testing.assert_allclose(raster.image, image, atol=1e-13)
    np.testing.assert_allclose(raster.transmittance, light, atol=1e-14)
    np.testing.assert_array_equal(raster.last, last)
    np.testing.assert_array_equal(raster.hits[order], hits)


def test_the_early_stop_is_the_loop():
    scene = splats(200, 9, 8)
    scene[2][:] = 1.0
    raster = sp.rasterise(*scene[:4], height=9, width=8, background=scene[4])
    image, light, last, hits = naive.pixel_image(*scene, 9, 8)
    assert (raster.transmittance < 1e-4).mean() > 0.5 and raster.last.min() < 150
    np.testing.assert_allclose(raster.image, image, atol=1e-13)
    np.testing.assert_allclose(raster.transmittance, light, atol=1e-17)
    np.testing.assert_array_equal(raster.last, last)
    np.testing.assert_array_equal(raster.hits, hits)


@pytest.mark.parametrize("solidity", [1.0, 3.0])
@pytest.mark.parametrize("blend", sp.BLENDS)
def test_gradients_agree_with_autograd_on_the_dense_image(blend, solidity):
    height, width = 13, 18
    means, covariances, opacities, features, background = splats(25, height, width)
    opacities *= 0.6
    opacities[3] = 1.0  # clamped near its centre
    means[3], covariances[3] = [9.4, 6.6], 6.0 * np.eye(2)
    rng = np.random.default_rng(1)
    upstream = rng.standard_normal((height, width, 3))
    light_upstream = rng.standard_normal((height, width))
    raster = sp.rasterise(
        *(means, covariances, opacities, features),
        height=height,
        width=width,
        background=background,
        blend=blend,
        **solid(solidity),
    )
    assert raster.transmittance.min() > 1e-4 or blend != "alpha"
    ours = sp.rasterise_gradients(raster, upstream, light_upstream)

    def loss(*inputs):
        image, light = naive.dense_image(*inputs, height, width, blend)
        return anp.sum(image * upstream) + anp.sum(light * light_upstream)

    inputs = (means, np.linalg.inv(covariances), opacities, features, background, solidity)
    expected = autograd.grad(loss, tuple(range(6)))(*inputs)
    found = (ours.means, ours.conics, ours.opacities, ours.features, ours.background)
    for mine, other in zip(found, expected, strict=False):
        np.testing.assert_allclose(mine, other, atol=1e-10 * np.abs(other).max())
    if solidity > 1.0:
        assert ours.solidity == pytest.approx(expected[5], rel=1e-10)


def test_tiles_give_the_same_image():
    scene = splats(150, 37, 50)
    scene[2][::2] = 1.0
    options = {"height": 37, "width": 50, "background": scene[4], "depths": scene[2]}
    raster = sp.rasterise(*scene[:4], **options)
    image, light = sp.rasterise_tiles(*scene[:4], **options)
    np.testing.assert_allclose(image, raster.image, atol=1e-13)
    np.testing.assert_allclose(light, raster.transmittance, atol=1e-15)


# Against central differences. A loss jumps where a pixel crosses the cut and bends where a is
# clamped or depths change places: scenes in which a step could reach such a point are passed over.


def differences(loss, array, step=1e-5):
    """Return central differences of a function of an array that is changed in place."""
    slopes = np.empty(array.shape)
    for place in np.ndindex(array.shape):
        middle = array[place]
        array[place] = middle + step
        above = loss()
        array[place] = middle - step
        slopes[place] = (above - loss()) / (2.0 * step)
        array[place] = middle
    return slopes


def close(ours, expected, scale=None):
    """Ask for 1e-7 of the largest derivative."""
    largest = max(np.abs(expected).max(), 1e-2) if scale is None else scale
    np.testing.assert_allclose(ours, expected, atol=1e-7 * largest, rtol=0.0)


def smooth_nearby(raster, solidity, cut, margin=2e-3):
    scene = raster._scene
    conics = sp._full_matrices(scene.conics)
    height, width = raster.transmittance.shape
    power = naive.distances(scene.means, conics, height, width) ** solidity
    if scene.blend == "alpha" and raster.transmittance.min() < 2e-4:
        return False
    alpha = scene.opacities * np.exp(-power)
    clear = np.abs(power - cut).min() > margin * cut
    return clear and (scene.blend != "alpha" or np.abs(alpha - 0.99).min() > margin)


@MANY
@given(
    seed=SEEDS,
    blend=st.sampled_from(sp.BLENDS),
    solidity=st.sampled_from([1.0, 1.7, 3.0]),
    cut=st.sampled_from([4.5, 40.0]),
)
def test_gradients_in_a_plane_are_central_differences(seed, blend, solidity, cut):
    rng = np.random.default_rng(seed)
    n, height, width = 4, 7, 9
    parameters = {
        "means": rng.uniform(0.0, 8.0, (n, 2)),
        "log_scales": np.log(rng.uniform(0.8, 2.5, (n, 2))),
        "angles": rng.uniform(0.0, 6.0, n),
        "logits": rng.uniform(-2.0, 2.0, n),
        "features": rng.standard_normal((n, 2)),
    }
    options = {"height": height, "width": width, "blend": blend, "cut": cut}
    options |= {"background": rng.standard_normal(2), **solid(solidity)}
    upstream = rng.standard_normal((height, width, 2))
    light_upstream = rng.standard_normal((height, width))
    rendering = sp.render_plane(parameters, **options)
    assume(smooth_nearby(rendering.raster, solidity, cut))
    if blend == "normalised":  # where the sum of weights is tiny, slopes are steep
        weights = 1e-8 / rendering.raster.transmittance
        assume(((weights < 1e-30) | (weights > 1e-2)).all() or cut == 4.5)
        assume(weights[weights > 1.1e-8].min(initial=1.0) > 1e-3)

    def loss():
        raster = sp.render_plane(parameters, **options).raster
        return np.sum(raster.image * upstream) + np.sum(raster.transmittance * light_upstream)

    ours = rendering.gradients(upstream, light_upstream)
    assert ours.parameters.keys() == parameters.keys()
    for name, slopes in ours.parameters.items():
        close(slopes, differences(loss, parameters[name]))
    close(ours.raster.background, differences(loss, options["background"]))
    if solidity > 1.0:
        p = np.array([solidity])

        def loss_of_solidity():
            options["solidity"] = p[0]
            return loss()

        close(np.array([ours.raster.solidity]), differences(loss_of_solidity, p))


@MANY
@given(seed=SEEDS, blend=st.sampled_from(sp.BLENDS), orthographic=st.booleans())
def test_gradients_in_space_are_central_differences(seed, blend, orthographic):
    rng = np.random.default_rng(seed)
    kind = {"extent": 3.0} if orthographic else {"field_of_view": 40.0}
    camera = Camera.look_at(
        rng.standard_normal(3) + [4.0, 0.0, 0.0],
        (0.0, 0.0, 0.0),
        height=9,
        width=8,
        orthographic=orthographic,
        **kind,
    )
    n = 4
    parameters = {
        "means": rng.uniform(-0.7, 0.7, (n, 3)),
        "quaternions": rng.standard_normal((n, 4)) + [0.5, 0.0, 0.0, 0.0],
        "log_scales": np.log(rng.uniform(0.15, 0.6, (n, 3))),
        "logits": rng.uniform(-2.0, 2.0, n),
        "features": rng.standard_normal((n, 2)),
    }
    upstream, depth_upstream = rng.standard_normal((9, 8, 2)), rng.standard_normal(n)
    rendering = sp.render_space(parameters, camera, blend=blend, cut=30.0)
    assume(smooth_nearby(rendering.raster, 1.0, 30.0))
    depths = rendering.projection.depths
    assume(np.diff(np.sort(depths)).min() > 1e-3)
    assume((np.linalg.norm(parameters["quaternions"], axis=1) > 0.3).all())
    if blend == "normalised":
        assume(rendering.raster.transmittance.max() < 1e-5)

    def loss():
        found = sp.render_space(parameters, camera, blend=blend, cut=30.0)
        return np.sum(found.image * upstream) + found.projection.depths @ depth_upstream

    ours = rendering.gradients(upstream, depths=depth_upstream).parameters
    for name, slopes in ours.items():
        close(slopes, differences(loss, parameters[name]))


# The traps


@pytest.mark.parametrize("variance", [30.0, 1e4])
def test_what_lies_behind_the_stop_is_not_taken_off(variance):
    rng = np.random.default_rng(0)
    height, width, n = 6, 7, 14
    means = np.full((n, 2), [3.4, 2.9]) + 0.1 * rng.standard_normal((n, 2))
    covariances, opacities = np.tile(variance * np.eye(2), (n, 1, 1)), np.full(n, 0.9)
    features, background = rng.standard_normal((n, 2)), rng.standard_normal(2)
    upstream = rng.standard_normal((height, width, 2))
    raster = sp.rasterise(
        *(means, covariances, opacities, features),
        height=height,
        width=width,
        background=background,
    )
    assert raster.last.max() < n - 2 and (raster.last.min() < raster.last.max()) == (variance < 99)

    def loss(*inputs):
        image, _ = naive.dense_image(*inputs, background, 1.0, height, width, last=raster.last)
        return anp.sum(image * upstream)

    inputs = (means, np.linalg.inv(covariances), opacities, features)
    expected = autograd.grad(loss, (0, 1, 2, 3))(*inputs)
    ours = sp.rasterise_gradients(raster, upstream)
    found = (ours.means, ours.conics, ours.opacities, ours.features)
    for mine, other in zip(found, expected, strict=True):
        assert not mine[raster.last.max() :].any()
        np.testing.assert_allclose(mine, other, atol=1e-10 * np.abs(other).max())


def test_a_clamped_splat_passes_nothing_to_opacity_and_shape():
    raster = sp.rasterise(
        [[0.5, 0.5]], [100.0 * np.eye(2)], [1.0], [[2.0]], height=1, width=1, background=[1.0]
    )
    assert raster.transmittance[0, 0] == pytest.approx(0.01)
    slopes = sp.rasterise_gradients(raster, np.ones((1, 1, 1)))
    assert slopes.features[0, 0] == pytest.approx(0.99)
    assert slopes.background[0] == pytest.approx(0.01)
    for part in (slopes.means, slopes.covariances, slopes.opacities, slopes.movement):
        assert not part.any()


def test_movement_sums_lengths_pixel_by_pixel():
    height, width = 8, 9
    means, covariances, opacities, features, _ = splats(5, height, width)
    scene = (means, covariances, 0.7 * opacities, features)
    raster = sp.rasterise(*scene, height=height, width=width)
    rng = np.random.default_rng(0)
    upstream, total = rng.standard_normal((height, width, 3)), np.zeros(5)
    for r, c in np.ndindex(height, width):
        single = np.zeros_like(upstream)
        single[r, c] = upstream[r, c]
        total += np.linalg.norm(sp.rasterise_gradients(raster, single).means, axis=1)
    found = sp.rasterise_gradients(raster, upstream)
    np.testing.assert_allclose(found.movement, total, atol=1e-12)
    assert (found.movement >= np.linalg.norm(found.means, axis=1) - 1e-12).all()


def test_the_way_back_sees_the_scene_as_it_was():
    scene = splats(5, 8, 9)
    raster = sp.rasterise(*scene[:4], height=8, width=9, background=scene[4])
    upstream = np.ones((8, 9, 3))
    before = sp.rasterise_gradients(raster, upstream)
    for part in scene:
        part += 1.0
    after = sp.rasterise_gradients(raster, upstream)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


# What images must do


@FEW
@given(seed=SEEDS, blend=st.sampled_from(["alpha", "normalised"]))
def test_weights_and_transmittance_sum_to_one(seed, blend):
    scene = splats(20, 11, 13, seed=seed)
    scene[2][::4] = 1.0
    raster = sp.rasterise(*scene[:4], height=11, width=13, blend=blend)
    weights = sp.weight_images(raster, range(20))
    assert weights.min() >= 0.0
    np.testing.assert_allclose(weights.sum(axis=0) + raster.transmittance, 1.0, atol=1e-14)


@pytest.mark.parametrize("blend", sp.BLENDS)
def test_weights_make_the_image(blend):
    means, covariances, opacities, features, background = splats(30, 11, 13)
    raster = sp.rasterise(
        *(means, covariances, opacities, features),
        height=11,
        width=13,
        background=background,
        blend=blend,
    )
    weights = sp.weight_images(raster, range(30))
    image = np.einsum("nhw,nc->hwc", weights, features)
    image += raster.transmittance[:, :, None] * background
    np.testing.assert_allclose(raster.image, image, atol=1e-13)
    np.testing.assert_allclose(sp.splat_weights(raster), weights.sum(axis=(1, 2)), atol=1e-12)
    votes = np.random.default_rng(0).random((11, 13, 4))
    expected = np.einsum("nhw,hwc->nc", weights, votes)
    np.testing.assert_allclose(sp.splat_weights(raster, votes), expected, atol=1e-12)
    np.testing.assert_allclose(sp.weight_images(raster, [7, 2]), weights[[7, 2]], atol=0)
    np.testing.assert_array_equal((weights > 0.0).sum(axis=(1, 2)), raster.hits)
    slopes = sp.rasterise_gradients(raster, np.ones((11, 13, 3)))
    np.testing.assert_allclose(slopes.features[:, 0], sp.splat_weights(raster), atol=1e-12)


def test_pixels_know_their_splats():
    scene = splats(40, 11, 13, sizes=(1.0, 4.0))
    order = np.random.default_rng(0).permutation(40)
    raster = sp.rasterise(*scene[:4], height=11, width=13, order=order)
    facts = sp.inspect_pixels(raster, share=0.4)
    weights = sp.weight_images(raster, range(40))
    np.testing.assert_array_equal(facts.contributors, (weights > 0.0).sum(axis=0))
    np.testing.assert_allclose(facts.largest_weight, weights.max(axis=0), atol=0)
    for r, c in np.ndindex(11, 13):
        column = weights[:, r, c]
        if column.any():
            assert column[facts.heaviest[r, c]] == column.max()
        else:
            assert facts.heaviest[r, c] == -1
        light = 1.0 - np.cumsum(column[order])
        below = np.flatnonzero(light <= 0.4)
        assert facts.median[r, c] == (order[below[0]] if below.size else -1)
    empty = sp.rasterise(*empty_scene(), height=3, width=4)
    assert (sp.inspect_pixels(empty).median == -1).all()


def empty_scene(channels=2):
    return np.empty((0, 2)), np.empty((0, 2, 2)), np.empty(0), np.empty((0, channels))


@pytest.mark.parametrize("blend", sp.BLENDS)
def test_without_splats_there_is_the_background(blend):
    raster = sp.rasterise(*empty_scene(), height=3, width=4, background=[0.5, -2.0], blend=blend)
    np.testing.assert_array_equal(raster.image, np.broadcast_to([0.5, -2.0], (3, 4, 2)))
    assert (raster.transmittance == 1.0).all() and not raster.last.any() and raster.hits.size == 0
    slopes = sp.rasterise_gradients(raster, np.ones((3, 4, 2)))
    assert slopes.background.tolist() == [12.0, 12.0] and slopes.means.shape == (0, 2)
    assert sp.splat_weights(raster).shape == (0,)
    assert sp.weight_images(raster, []).shape == (0, 3, 4)


def test_opaque_splats_hide_what_is_behind():
    wide = np.tile(1e6 * np.eye(2), (4, 1, 1))
    scene = (np.full((4, 2), 3.0), wide, [1.0, 1.0, 1.0, 1.0], np.eye(4))
    image = sp.rasterise(*scene, height=6, width=6).image
    np.testing.assert_allclose(image, np.broadcast_to([0.99, 0.0099, 0.000099, 0], (6, 6, 4)))
    behind = sp.rasterise(*scene, height=6, width=6, depths=[4, 3, 2, 1]).image
    np.testing.assert_allclose(behind[..., ::-1], image)


@FEW
@given(seed=SEEDS)
def test_sums_do_not_depend_on_the_order(seed):
    scene = splats(15, 9, 10, seed=seed)
    order = np.random.default_rng(seed).permutation(15)
    for blend in ("sum", "normalised"):
        one = sp.rasterise(*scene[:4], height=9, width=10, blend=blend)
        other = sp.rasterise(*scene[:4], height=9, width=10, blend=blend, order=order)
        np.testing.assert_allclose(one.image, other.image, atol=1e-13)
    permuted = [part[order] for part in scene[:4]]
    np.testing.assert_allclose(
        sp.rasterise(*scene[:4], height=9, width=10, order=order).image,
        sp.rasterise(*permuted, height=9, width=10).image,
        atol=0,
    )


def test_the_normalised_blend_keeps_constants():
    scene = splats(40, 9, 10, sizes=(3.0, 6.0))
    raster = sp.rasterise(*scene[:3], np.full((40, 1), 2.5), height=9, width=10, blend="normalised")
    np.testing.assert_allclose(raster.image[raster.last > 0], 2.5, rtol=1e-5)


def test_solidity_one_is_the_gaussian_and_all_solid_kernels_cross():
    scene = splats(20, 9, 10)
    one = sp.rasterise(*scene[:4], height=9, width=10)
    other = sp.rasterise(*scene[:4], height=9, width=10, kernel="solid")
    np.testing.assert_allclose(other.image, one.image, atol=1e-14)
    for p in (1.0, 2.0, 7.5):  # at q = 1
        raster = sp.rasterise(
            [[0.5 + np.sqrt(2.0), 0.5]], [np.eye(2)], [0.5], [[1.0]], height=1, width=1, **solid(p)
        )
        assert raster.image[0, 0, 0] == pytest.approx(0.5 / np.e, rel=1e-12)


@pytest.mark.parametrize("blend", sp.BLENDS)
def test_splats_outside_huge_and_tiny_ones(blend):
    means = [[-50.0, 2.0], [3.0, 1e9], [4.0, 3.0], [2.5, 2.5], [3.2, 3.2], [1e9, -1e9]]
    variances = np.array([1.0, 1.0, 1e12, 1e-12, 1e-12, 1.0])
    covariances = variances[:, None, None] * np.eye(2)
    scene = (means, covariances, np.full(6, 0.5), np.eye(6))
    raster = sp.rasterise(*scene, height=5, width=7, blend=blend)
    assert raster.hits.tolist() == [0, 0, 35, 1, 0, 0]
    assert np.isfinite(raster.image).all()
    slopes = sp.rasterise_gradients(raster, np.ones((5, 7, 6)))
    assert all(np.isfinite(part).all() for part in slopes)
    assert not slopes.means[[0, 1, 4, 5]].any()


def test_long_thin_splats_keep_their_pixels():
    covariances = sp.plane_covariances(np.log([[2000.0, 0.6]]), [0.6])
    scene = ([[20.3, 17.1]], covariances, [0.9], [[1.0]])
    raster = sp.rasterise(*scene, height=33, width=40)
    image, _, _, hits = naive.pixel_image(
        np.array(scene[0]), covariances, [0.9], np.ones((1, 1)), np.zeros(1), 33, 40
    )
    np.testing.assert_array_equal(raster.hits, hits)
    np.testing.assert_allclose(raster.image, image, atol=1e-8)


def test_pixels_just_at_the_cut_are_in():
    for variance in (4.0, np.nextafter(4.0, 9.0), np.nextafter(4.0, 0.0)):
        scene = ([[0.5, 0.5]], [variance * np.eye(2)], [1.0], [[1.0]])
        raster = sp.rasterise(*scene, height=1, width=12)
        assert raster.hits[0] == 7


def test_images_of_one_row_and_of_one_column():
    scene = splats(10, 20, 20)
    whole = sp.rasterise(*scene[:4], height=20, width=20).image
    np.testing.assert_allclose(sp.rasterise(*scene[:4], height=1, width=20).image, whole[:1])
    np.testing.assert_allclose(sp.rasterise(*scene[:4], height=20, width=1).image, whole[:, :1])


# Splats of a plane and of a space


@FEW
@given(seed=SEEDS)
def test_plane_covariances_and_their_gradients(seed):
    rng = np.random.default_rng(seed)
    scales, angles = rng.standard_normal((6, 2)), rng.uniform(-7.0, 7.0, 6)
    expected = naive.plane_covariances(scales, angles)
    np.testing.assert_allclose(sp.plane_covariances(scales, angles), expected, rtol=1e-9, atol=1e-9)
    slopes = rng.standard_normal((6, 2, 2))
    slopes += slopes.transpose(0, 2, 1)

    def loss(scales, angles):
        return anp.sum(naive.plane_covariances(scales, angles) * slopes)

    others = autograd.grad(loss, (0, 1))(scales, angles)
    ours = sp.plane_covariance_gradients(scales, angles, slopes)
    for mine, other in zip(ours, others, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-11 * max(1.0, np.abs(other).max()))
    round_ones = np.column_stack([scales[:, 0], scales[:, 0]])
    assert not sp.plane_covariance_gradients(round_ones, angles, slopes)[1].any()


@pytest.mark.parametrize("orthographic", [False, True])
def test_projections_are_the_loop(orthographic):
    rng = np.random.default_rng(0)
    kind = {"extent": 4.0} if orthographic else {}
    camera = Camera.look_at(
        (3, 2, 1), (0, 0, 0), height=30, width=40, orthographic=orthographic, **kind
    )
    inputs = rng.standard_normal((8, 3)), rng.standard_normal((8, 4)), rng.uniform(-2, 0, (8, 3))
    found = sp.project(*inputs, camera, blur=0.2)
    expected = naive.project(*inputs, camera, 0.2)
    ours = (found.means, found.covariances, found.depths)
    for mine, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.means, camera.project_points(inputs[0])[0], atol=1e-11)
    turns = [naive.rotation(quaternion) for quaternion in inputs[1]]
    np.testing.assert_allclose(sp.quaternion_rotations(inputs[1]), turns, atol=1e-14)
    inside = [turn @ np.diag(np.exp(2 * s)) @ turn.T for turn, s in zip(turns, inputs[2])]  # noqa: B905
    np.testing.assert_allclose(sp.space_covariances(*inputs[1:]), inside, atol=1e-13)

    slopes = rng.standard_normal((8, 2)), rng.standard_normal((8, 2, 2)), rng.standard_normal(8)
    slopes[1][:] += slopes[1].transpose(0, 2, 1).copy()

    def loss(*inputs):
        parts = naive.project(*inputs, camera, 0.2)
        return sum(anp.sum(part * slope) for part, slope in zip(parts, slopes, strict=True))

    others = autograd.grad(loss, (0, 1, 2))(*inputs)
    for mine, other in zip(sp.project_gradients(found, *slopes), others, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12 * np.abs(other).max())


def test_projected_covariances_are_those_of_projected_points():
    camera = Camera.look_at((0, -6, 0), (0, 0, 0), height=64, width=64)
    mean, quaternion, scales = np.array([0.8, 0.0, 0.5]), [0.9, 0.2, -0.3, 0.4], [0.1, 0.05, 0.08]
    found = sp.project([mean], [quaternion], [np.log(scales)], camera, blur=0.0)
    rng = np.random.default_rng(0)
    half = sp.quaternion_rotations([quaternion])[0] * scales
    points = rng.standard_normal((200_000, 3))
    points = np.concatenate([points, -points]) @ half.T + mean
    sampled = np.cov(camera.project_points(points)[0].T)
    assert np.abs(sampled - found.covariances[0]).max() < 0.01 * np.abs(sampled).max()


def test_splats_behind_the_camera():
    camera = Camera.look_at((0, -4, 0), (0, 0, 0), height=8, width=8)
    means, turns, scales = [[0, 0, 0], [0, -9, 0]], np.ones((2, 4)), np.full((2, 3), -2.0)
    with pytest.raises(ValueError, match=r"means must lie in front .* index 1"):
        sp.project(means, turns, scales, camera)
    seen = sp.project(means, turns, scales, camera, behind="hide")
    assert seen.visible.tolist() == [True, False]
    slopes = sp.project_gradients(seen, np.ones((2, 2)), np.ones((2, 2, 2)), np.ones(2))
    assert slopes.means[0].any() and not any(part[1].any() for part in slopes)
    parameters = {"means": means, "quaternions": turns, "log_scales": scales}
    parameters["features"] = np.ones((2, 1))
    rendering = sp.render_space(parameters, camera)
    assert rendering.raster.hits[0] > 0 and rendering.raster.hits[1] == 0


def test_other_channels_of_the_same_splats():
    parameters = sp.start_plane(np.ones((8, 9, 3)), 6, rng=0)
    depth = np.arange(6.0)[:, None]
    rendering = sp.render_plane(parameters, height=8, width=9, features=depth)
    assert rendering.image.shape == (8, 9, 1)
    slopes = rendering.gradients(np.ones((8, 9, 1)))
    assert not slopes.parameters["features"].any()
    np.testing.assert_allclose(slopes.raster.features[:, 0], sp.splat_weights(rendering.raster))
    del parameters["logits"], parameters["features"]
    opaque = sp.render_plane(parameters, height=8, width=9, features=depth)
    assert opaque.raster.transmittance.min() < 0.1
    assert opaque.gradients(np.ones((8, 9, 1))).parameters.keys() == parameters.keys()


# Fitting


def picture(height=24, width=20):
    v, u = np.mgrid[:height, :width] / 10.0
    return np.stack([0.5 + 0.4 * np.sin(3 * u), 0.5 + 0.4 * np.cos(2 * v + u), u * v / 6], axis=-1)


@pytest.mark.parametrize("places", ["random", "grid"])
def test_a_fit_comes_close_to_its_picture(places):
    target = picture()
    start = sp.start_plane(target, 30, rng=0, places=places)
    fit = sp.fit_plane(target, start)
    before = sp.psnr(sp.render_plane(start, height=24, width=20).image, target)
    losses = list(fit.run(80))
    after = sp.psnr(sp.render_plane(fit.parameters, height=24, width=20).image, target)
    assert after > 25.0 > before and losses == fit.losses
    assert (sp.start_plane(target, 30, rng=0, places=places)["means"] == start["means"]).all()


def test_a_fit_goes_on_where_it_was():
    target = picture()
    start = sp.start_plane(target, 10, rng=0)
    whole, parts = sp.fit_plane(target, start), sp.fit_plane(target, start)
    list(whole.run(12))
    for _ in parts.run(100):
        if len(parts.losses) == 5:
            break
    list(parts.run(7))
    assert whole.losses == parts.losses
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(array, parts.parameters[name])


def test_parameters_without_a_rate_stay():
    target = picture()
    start = sp.start_plane(target, 10, rng=0)
    fit = sp.fit_plane(target, start, rates={"features": 0.1})
    list(fit.run(5))
    np.testing.assert_array_equal(fit.parameters["means"], start["means"])
    assert (fit.parameters["features"] != start["features"]).any()
    fit.rates["features"] = 1e-12
    before = fit.parameters["features"].copy()
    fit.step()
    np.testing.assert_allclose(fit.parameters["features"], before, atol=1e-11)


def test_replaced_splats_take_their_running_means_along():
    target = picture()
    start = sp.start_plane(target, 10, rng=0)
    one, other = sp.fit_plane(target, start), sp.fit_plane(target, start)
    list(one.run(5))
    list(other.run(5))
    kept = np.arange(10)
    other.replace(other.parameters, kept)
    one.step(), other.step()
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(array, other.parameters[name])
    rows = np.array([3, 3, -1, 0])
    other.replace({name: array[[3, 3, 5, 0]] for name, array in other.parameters.items()}, rows)
    list(other.run(3))
    assert other.parameters["means"].shape == (4, 2)
    with pytest.raises(ValueError, match="rows must lie"):
        other.replace(other.parameters, [0, 1, 2, 4])
    with pytest.raises(ValueError, match="shapes"):
        other.replace(other.parameters, [0, 1])
    with pytest.raises(ValueError, match="rows must be a vector of integers"):
        other.replace(other.parameters, [0.0, 1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="parameters must have the names"):
        other.replace({"means": np.zeros((1, 2))}, [0])
    with pytest.raises(ValueError, match=r"parameters\['means'\] must have shape"):
        other.replace({**other.parameters, "means": np.zeros((4, 3))}, kept[:4])


def test_a_fit_in_space_lowers_the_error_of_each_view():
    rng = np.random.default_rng(0)
    cameras = [
        Camera.look_at((3 * np.cos(a), 3 * np.sin(a), 1), (0, 0, 0), height=16, width=16)
        for a in (0.0, 1.5, 3.0)
    ]
    truth = {
        "means": rng.uniform(-0.6, 0.6, (6, 3)),
        "quaternions": rng.standard_normal((6, 4)),
        "log_scales": np.full((6, 3), -1.5),
        "logits": np.full(6, 1.0),
        "features": rng.random((6, 3)),
    }
    targets = [sp.render_space(truth, camera).image for camera in cameras]
    start = {**truth, "means": truth["means"] + 0.1, "features": np.full((6, 3), 0.5)}
    fit = sp.fit_space(targets, cameras, start)
    losses = np.reshape(list(fit.run(90)), (-1, 3))
    assert (losses[-1] < 0.1 * losses[0]).all() and fit.loss.view == 0
    assert fit.loss.slopes.raster.movement.shape == (6,)


def test_squared_error_and_its_slopes():
    rng = np.random.default_rng(0)
    image, target, weights = rng.random((4, 5, 2)), rng.random((4, 5, 2)), rng.random((4, 5))
    value, slopes = sp.squared_error(image, target, weights)
    assert value == pytest.approx(np.mean(weights[:, :, None] * (image - target) ** 2))
    close(slopes, differences(lambda: sp.squared_error(image, target, weights)[0], image))
    assert sp.psnr(target + 0.1, target) == pytest.approx(20.0)
    assert sp.psnr(target, target) == np.inf


# Bad input


GOOD = {
    "means": np.ones((3, 2)),
    "covariances": np.tile(np.eye(2), (3, 1, 1)),
    "opacities": np.full(3, 0.5),
    "features": np.ones((3, 2)),
    "height": 4,
    "width": 5,
}
INDEFINITE = np.tile([[1.0, 1.0], [1.0, 1.0]], (3, 1, 1))
BAD = [
    ({"means": np.ones((3, 3))}, "means must have 2 columns"),
    ({"means": np.ones(3)}, "means must be a matrix"),
    ({"means": np.full((3, 2), np.nan)}, "means must be finite"),
    ({"means": np.full((3, 2), 1e10)}, "means must lie within"),
    ({"covariances": np.ones((3, 2))}, "covariances must have shape"),
    ({"covariances": INDEFINITE}, "covariances must be positive definite"),
    ({"covariances": -INDEFINITE}, "covariances must have variances"),
    ({"covariances": np.tile(1e13 * np.eye(2), (3, 1, 1))}, "covariances must have variances"),
    ({"covariances": np.tile([[1.0, 0.5], [0.0, 1.0]], (3, 1, 1))}, "covariances must be symm"),
    ({"covariances": np.full((3, 2, 2), np.inf)}, "covariances must be finite"),
    ({"opacities": np.full(3, 1.01)}, "opacities must be between 0 and 1"),
    ({"opacities": np.full(3, -0.1)}, "opacities must be between 0 and 1"),
    ({"opacities": np.full(3, -0.1), "blend": "sum"}, "opacities must be at least 0"),
    ({"opacities": np.ones(2)}, "opacities must have length 3"),
    ({"opacities": np.ones((3, 1))}, "opacities must be a vector"),
    ({"opacities": [0.5, np.nan, 0.5]}, "opacities must be finite"),
    ({"features": np.ones((2, 2))}, "features must have 3 rows"),
    ({"features": np.ones((3, 0))}, "features must have at least one column"),
    ({"features": np.ones(3)}, "features must be a matrix"),
    ({"height": 0}, "height"),
    ({"width": 10**6}, "width"),
    ({"order": [0, 1, 1]}, "order must hold each"),
    ({"order": [0, 1, 3]}, "order must hold each"),
    ({"order": [0.0, 1.0, 2.0]}, "order must hold 3 integers"),
    ({"order": [0, 1]}, "order must hold 3 integers"),
    ({"depths": [1.0, 2.0]}, "depths must have length 3"),
    ({"depths": [1.0, 2.0, np.nan]}, "depths must be finite"),
    ({"depths": [1.0, 2.0, 3.0], "order": [0, 1, 2]}, "order and depths"),
    ({"background": [1.0]}, "background must have length 2"),
    ({"blend": "over"}, "blend must be one of"),
    ({"kernel": "box"}, "kernel must be one of"),
    ({"kernel": "solid", "solidity": 0.5}, "solidity"),
    ({"cut": 0.0}, "cut"),
    ({"cut": 1e4}, "cut"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_scenes_are_refused(change, message):
    sp.rasterise(**GOOD)
    with pytest.raises(ValueError, match=message):
        sp.rasterise(**{**GOOD, **change})


def test_other_bad_input_is_refused():
    raster = sp.rasterise(**GOOD)
    camera = Camera.look_at((0, -4, 0), (0, 0, 0), height=8, width=8)
    space = np.zeros((2, 3)), np.ones((2, 4)), np.zeros((2, 3))
    seen = sp.project(*space, camera)
    plane = sp.start_plane(np.ones((4, 5, 2)), 3, rng=0)
    target = np.ones((4, 5, 2))
    refused = [
        ("raster must be", lambda: sp.rasterise_gradients(None, target)),
        ("upstream must have shape", lambda: sp.rasterise_gradients(raster, np.ones((4, 5, 3)))),
        ("upstream must have shape", lambda: sp.rasterise_gradients(raster, np.ones((5, 4, 2)))),
        ("upstream must be finite", lambda: sp.rasterise_gradients(raster, target * np.nan)),
        ("transmittance", lambda: sp.rasterise_gradients(raster, target, np.ones((5, 4)))),
        ("images must have shape", lambda: sp.splat_weights(raster, np.ones((4, 5)))),
        (r"splats\[0\]", lambda: sp.weight_images(raster, [3])),
        ("share", lambda: sp.inspect_pixels(raster, 0.0)),
        ("'alpha'", lambda: sp.inspect_pixels(sp.rasterise(**GOOD, blend="sum"))),
        ("quaternions", lambda: sp.project(space[0], np.zeros((2, 4)), space[2], camera)),
        ("quaternions", lambda: sp.project(space[0], np.ones((3, 4)), space[2], camera)),
        ("log_scales", lambda: sp.project(*space[:2], np.full((2, 3), 50.0), camera)),
        ("blur", lambda: sp.project(*space, camera, blur=-1.0)),
        ("behind", lambda: sp.project(*space, camera, behind="keep")),
        ("camera must be", lambda: sp.project(*space, None)),
        ("projection must be", lambda: sp.project_gradients(None, None, None)),
        ("means", lambda: sp.project_gradients(seen, np.ones((3, 2)), np.ones((2, 2, 2)))),
        ("covariances", lambda: sp.project_gradients(seen, np.ones((2, 2)), np.ones((2, 2)))),
        ("angles", lambda: sp.plane_covariances(np.ones((3, 2)), np.ones(2))),
        ("without 'angles'", lambda: sp.render_plane({"means": 0, "log_scales": 0, "features": 0},
                                                     height=4, width=5)),
        ("unknown 'colours'", lambda: sp.render_plane({**plane, "colours": 0}, height=4, width=5)),
        ("parameters must be a dict", lambda: sp.render_plane([], height=4, width=5)),
        ("depths must be None", lambda: sp.render_plane(plane, height=4, width=5).gradients(
            target, depths=np.ones(3))),
        ("rates must be one of", lambda: sp.fit_plane(target, plane, rates={"colours": 1.0})),
        ("rates", lambda: sp.fit_plane(target, plane, rates={"means": 0.0})),
        ("target must have shape", lambda: sp.fit_plane(np.ones((4, 5)), plane)),
        ("targets must hold", lambda: sp.fit_space([], [], plane)),
        (r"targets\[0\] must have shape", lambda: sp.fit_space([target], [camera], plane)),
        ("count", lambda: sp.start_plane(target, 0, rng=0)),
        ("places", lambda: sp.start_plane(target, 3, rng=0, places="even")),
        ("opacity", lambda: sp.start_plane(target, 3, rng=0, opacity=1.0)),
        ("image must have shape", lambda: sp.squared_error(np.ones((5, 4, 2)), target)),
        ("weights", lambda: sp.squared_error(target, target, -np.ones((4, 5)))),
        ("peak", lambda: sp.psnr(target, target, 0.0)),
        (r"parameters\['x'\] must be finite", lambda: sp.Fit({"x": [np.nan]}, None, {})),
    ]  # fmt: skip
    for message, call in refused:
        with pytest.raises(ValueError, match=message):
            call()
