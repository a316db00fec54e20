"""Splat tokens, triangles, surfaces, groups and mixtures: identities, peers and refusals."""

import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from kernellab.compute import splatting as sp
from kernellab.compute.cameras import Camera
from kernellab.datasets import photograph
from kernellab.methods.gaussian_splatting import splat_core as sc
from tests.naive import splat_core as naive


def small_splats(n=12, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "means": rng.uniform(2, 14, (n, 2)),
        "log_scales": rng.normal(scale=0.3, size=(n, 2)),
        "angles": rng.normal(size=n),
        "features": rng.random((n, 3)),
    }


# Looking


def test_outlines_have_the_mahalanobis_radius():
    splats = small_splats()
    v = sp.plane_covariances(splats["log_scales"], splats["angles"])
    gaps = sc.outlines(splats["means"], v, 1.5, 9) - splats["means"][:, None]
    radii = np.sqrt(np.einsum("npi,nij,npj->np", gaps, np.linalg.inv(v), gaps))
    assert np.allclose(radii, 1.5)


@pytest.mark.parametrize(("size", "bound"), [(1 / 60, 0.03), (1 / 15, 0.04), (2 / 15, 0.09)])
def test_projection_agrees_with_sampling_for_small_splats(size, bound):
    camera = Camera(np.eye(3), np.zeros(3), (50, 50), (32, 32), 64, 64)
    mean, logs = np.array([0.5, 0.3, 3.0]), np.log(3 * size * np.array([1.0, 0.6, 0.8]))
    seen = sp.project(mean[None], [[0.9, 0.2, 0.1, 0.3]], logs[None], camera, blur=0.0)
    v = sp.space_covariances([[0.9, 0.2, 0.1, 0.3]], logs[None])[0]
    points = sc.sampled_projection(mean, v, camera, count=40000)
    gap = np.linalg.norm(np.cov(points.T) - seen.covariances[0])
    assert gap < bound * np.linalg.norm(seen.covariances[0])


# Tokens


def test_an_unlimited_codebook_changes_nothing():
    image = photograph("coffee", 16)
    *_, (_, tokens) = sc.token_fit(image, 20, 99, steps=10, joint=0)
    assert np.array_equal(tokens.codes, np.arange(20))
    names = ("means", "log_scales", "angles", "features")
    plain = {name: tokens.parameters[name] for name in names}
    free = sp.render_plane(plain, height=16, width=16, blend="sum")
    assert np.abs(free.image - tokens.image).max() < 1e-12


def test_token_gradients_of_codes_and_geometry_by_differences():
    image, splats = photograph("coffee", 16), small_splats()
    rng = np.random.default_rng(1)
    splats["codebook"] = rng.random((3, 3))
    loss = sc.TokenLoss(image, beta=0.0)
    _, slopes = loss(splats)
    h = 1e-6
    for name in ("means", "log_scales", "angles"):
        for index in ((0,), (5,)):
            at = index + (0,) * (splats[name].ndim - 1)
            up, down = ({k: a.copy() for k, a in splats.items()} for _ in range(2))
            up[name][at] += h
            down[name][at] -= h
            numeric = (loss(up)[0] - loss(down)[0]) / (2 * h)
            assert np.isclose(slopes[name][at], numeric, rtol=1e-4, atol=1e-8)


def test_straight_through_passes_the_codes_slopes_to_the_features():
    image, splats = photograph("coffee", 16), small_splats()
    splats["codebook"] = np.random.default_rng(1).random((3, 3))
    loss = sc.TokenLoss(image, beta=0.25)
    _, slopes = loss(splats)
    chosen = splats["codebook"][loss.codes]
    plain = {k: splats[k] for k in ("means", "log_scales", "angles")} | {"features": chosen}
    rendering = sp.render_plane(plain, height=16, width=16, blend="sum")
    _, upstream = sp.squared_error(rendering.image, image)
    pull = 2 * (splats["features"] - chosen) / splats["features"].size
    wanted = rendering.gradients(upstream).parameters["features"] + 0.25 * pull
    assert np.allclose(slopes["features"], wanted, atol=1e-14)
    for code in range(3):
        assert np.allclose(slopes["codebook"][code], -pull[loss.codes == code].sum(axis=0))


def test_receiver_draws_the_same_and_rounding_converges():
    image = photograph("coffee", 32)
    *_, (_, tokens) = sc.token_fit(image, 40, 8, steps=10, joint=5)
    drawn = sc.draw_tokens(tokens.parameters, tokens.codes, 32, 32)
    assert np.abs(drawn - tokens.image).max() < 1e-12
    gaps = []
    for bits in (4, 8, 14):
        coarse = sc.coarse_geometry(tokens.parameters, bits, 32, 32)
        gaps.append(np.abs(sc.draw_tokens(coarse, tokens.codes, 32, 32) - drawn).mean())
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-2


def test_block_tokens_are_block_means_when_the_book_is_large():
    image = photograph("coffee", 16)
    found = sc.block_tokens(image, (4, 2), 10**4)
    wanted = image.reshape(4, 4, 8, 2, 3).mean(axis=(1, 3))
    assert np.allclose(found[::4, ::2], wanted)


# Triangles


def flat_splats(n=30, seed=0):
    rng = np.random.default_rng(seed)
    frames = Rotation.random(n, rng=rng).as_matrix()
    return rng.normal(size=(n, 3)), frames, rng.uniform(0.1, 1.0, (n, 2))


def test_triangles_and_back():
    means, frames, scales = flat_splats()
    triangles = sc.splats_to_triangles(means, frames, scales)
    found = sc.triangles_to_splats(triangles)
    for one, two in zip(found, (means, frames, scales), strict=True):
        assert np.abs(one - two).max() < 1e-12
    parameters = sc.triangle_parameters(triangles, 0.01)
    assert np.abs(sc.parameter_triangles(parameters) - triangles).max() < 1e-12
    v = sp.space_covariances(parameters["quaternions"], parameters["log_scales"])
    assert np.abs(v - sc.flat_covariances(frames, scales, 0.01)).max() < 1e-12


def test_rigid_motions_carry_covariances_and_shears_do_not():
    means, frames, scales = flat_splats()
    triangles = sc.splats_to_triangles(means, frames, scales)
    turn = Rotation.from_rotvec([0.4, -0.2, 1.0]).as_matrix()
    off = []
    for motion in (turn, np.eye(3) + 0.1 * np.eye(3, k=1), np.eye(3) + 0.4 * np.eye(3, k=1)):
        _, f, s = sc.triangles_to_splats(triangles @ motion.T)
        wanted = motion @ sc.flat_covariances(frames, scales, 0.01) @ motion.T
        off.append(np.abs(sc.flat_covariances(f, s, 0.01) - wanted).max())
    assert off[0] < 1e-12 < 1e-3 < off[1] < off[2]


def test_cameras_see_the_sheet_mirrored_and_front_is_the_plane_rasteriser():
    front, back = sc.mirror_cameras(64, perspective=False)
    points = np.array([[0.3, -0.2, 0.0], [-0.7, 0.5, 0.1]])
    one, two = front.project_points(points)[0], back.project_points(points)[0]
    assert np.allclose(one[:, 0] + two[:, 0], 64) and np.allclose(one[:, 1], two[:, 1])
    fit = sc.sheet_fit(photograph("astronaut", 64), 40, mirror=True, perspective=False)
    for _ in fit.run(3):
        pass
    seen = sp.render_space(fit.parameters, front)
    flat = sp.rasterise(
        seen.projection.means, seen.projection.covariances, sp._opacities(fit.parameters),
        fit.parameters["features"], height=64, width=64, depths=seen.projection.depths,
    )  # fmt: skip
    assert np.abs(flat.image - seen.image).max() < 1e-12
    assert np.allclose(fit.parameters["log_scales"][:, 0], np.log(0.01))


def test_behind_is_the_mirrored_front_when_splats_only_add_up():
    front, back = sc.mirror_cameras(32, perspective=False)
    fit = sc.sheet_fit(photograph("astronaut", 32), 30, blend="sum", perspective=False)
    images = [sp.render_space(fit.parameters, c, blend="sum").image for c in (front, back)]
    assert np.abs(images[0][:, ::-1] - images[1]).max() < 1e-12


def test_deformations():
    x = np.random.default_rng(0).uniform(-1, 1, (5, 3, 3))
    assert np.array_equal(sc.bend(x, 0.0), x) and np.array_equal(sc.shear(x, 0.0), x)
    assert np.abs(sc.bend(x, 1e-5) - x).max() < 1e-4
    sheet = np.array([[a, 0.0, 0.0] for a in np.linspace(-1, 1, 400)])
    length = np.linalg.norm(np.diff(sc.bend(sheet, 1.5), axis=0), axis=1).sum()
    assert np.isclose(length, 2.0, atol=1e-4)  # bending does not stretch
    assert np.allclose(sc.wave(x, 0.2, 0.5)[..., 0], x[..., 0])


# Surfaces


def test_exactly_48_names():
    q, s = sc.equivalent_tuples([0.7, 0.1, -0.5, 0.2], [-0.4, 0.1, 0.8])
    v = sp.space_covariances(q, s)
    assert np.abs(v - v[0]).max() < 1e-12
    assert len(np.unique(np.hstack([q, s]).round(9), axis=0)) == 48
    canonical = np.hstack(sc.canonical_tuples(q, s))
    assert np.abs(canonical - canonical[0]).max() < 1e-12
    assert np.abs(sp.space_covariances(*np.split(canonical, [4], axis=1)) - v[0]).max() < 1e-12


def test_surfaces_do_not_depend_on_the_name_and_refit_is_exact_on_the_weighted_grid():
    rng = np.random.default_rng(0)
    q, s = sc.equivalent_tuples(rng.normal(size=4), [-0.4, 0.1, 0.8])
    colours, mean = rng.normal(size=(4, 3)), rng.normal(size=3)
    u, w = sc.sphere_grid(12, exact=True)
    fields = sc.surface_field(np.tile(mean, (48, 1)), q, s, np.tile(colours, (48, 1, 1)), u)
    assert np.abs(fields - fields[0]).max() < 1e-10
    found = sc.refit_field(fields[7], u, w)
    wanted = mean, sp.space_covariances(q[:1], s[:1])[0], colours
    for one, two in zip(found, wanted, strict=True):
        assert np.abs(one - two).max() < 1e-12


def test_embedding_ignores_the_order():
    rng = np.random.default_rng(0)
    fields, w = rng.normal(size=(2, 20, 3)), np.full(20, 0.05)
    bank = rng.normal(size=(30, 3)), rng.uniform(0, 6, 30)
    one = sc.field_embedding(fields, *bank, w)
    assert np.allclose(one, sc.field_embedding(fields[:, rng.permutation(20)], *bank, w))
    assert np.isclose(one[1, 4], np.mean(np.cos(fields[1] @ bank[0][4] + bank[1][4])))


# Data


def test_digits_are_fitted_each_in_its_cell():
    images = np.zeros((3, 16, 16))
    images[0, 4:12, 7:9], images[1, 7:9, 4:12], images[2, 3:6, 3:6] = 1.0, 1.0, 0.7
    splats = sc.fit_sheet_of_digits(images, 8, steps=60)
    assert splats["means"].shape == (3, 8, 2) and np.mean((splats["images"] - images) ** 2) < 0.01
    one = {k: splats[k][1] for k in ("means", "log_scales", "angles")}
    one["features"] = splats["features"][1][:, None]
    alone = sp.render_plane(one, height=16, width=16, blend="sum").image[..., 0]
    assert np.abs(alone - splats["images"][1]).max() < 0.02
    blocks = sc.attribute_blocks(splats)
    for block in blocks.values():
        assert np.isclose(np.mean(block**2), 1.0) and np.allclose(block.mean(axis=(0, 1)), 0)


def test_farthest_points_by_brute_force():
    x = np.random.default_rng(0).normal(size=(40, 3))
    chosen = sc.farthest_points(x, 10, 3)
    for i in range(1, 10):
        gaps = np.linalg.norm(x[:, None] - x[chosen[:i]], axis=2).min(axis=1)
        assert chosen[i] == gaps.argmax()


def test_group_weights_and_their_limits():
    x = np.random.default_rng(0).normal(size=(40, 3))
    hard = sc.group_weights(x, x[:5], 6)
    members = cKDTree(x).query(x[:5], k=6)[1]
    assert all(set(np.flatnonzero(row)) == set(m) for row, m in zip(hard, members, strict=True))
    assert np.allclose(sc.group_weights(x, x[:5], 6, 1e9), hard)
    assert np.allclose(sc.group_weights(x, x[:5], 6, 1e-4), np.eye(40)[:5])
    assert np.allclose(sc.group_weights(x, x[:5], 40, 0.7).sum(axis=1), 1.0)
    assert sc.weighted_jaccard(hard, hard) == 1.0


# Mixtures


def mixture(n=6, d=2, seed=0, signed=True):
    rng = np.random.default_rng(seed)
    half = rng.normal(scale=0.4, size=(n, d, d)) + np.eye(d)
    weights = rng.normal(size=n) if signed else rng.uniform(0.5, 2, n)
    return sc.Mixture(
        weights, rng.uniform(-2, 2, (n, d)), half @ half.transpose(0, 2, 1) + 0.2 * np.eye(d)
    )


def test_convolution_is_that_of_a_grid():
    one, two = mixture(), mixture(3, seed=1)
    g = np.arange(-16, 16.01, 0.25)
    x = np.stack(np.meshgrid(g, g), -1).reshape(-1, 2)
    maps = [m.values(x).reshape(len(g), -1) for m in (one, two)]
    grid = fftconvolve(*maps, mode="same") * 0.25**2
    found = sc.convolve(one, two).values(x).reshape(grid.shape)
    assert np.abs(found - grid).max() < 1e-6 * np.abs(grid).max()
    shifted = sc.convolve(one._replace(offset=2.0), two)
    assert np.isclose(shifted.offset, 2.0 * two.weights.sum())


def test_values_are_scipys_densities():
    from scipy.stats import multivariate_normal

    one, x = mixture(4, 3), np.random.default_rng(3).normal(size=(9, 3))
    parts = zip(one.weights, one.means, one.covariances, strict=True)
    assert np.allclose(
        one.values(x), sum(w * multivariate_normal(m, v).pdf(x) for w, m, v in parts)
    )


def test_merging_keeps_mass_mean_and_covariance():
    one = mixture(9, 3, signed=False)
    groups = np.zeros((2, 9))
    groups[0, :4], groups[1, 4:] = 1, 1

    def moments(m):
        mean = m.weights @ m.means / m.weights.sum()
        gaps = m.means - mean
        spread = np.einsum("n,nij->ij", m.weights, m.covariances)
        return m.weights.sum(), mean, spread + (m.weights * gaps.T) @ gaps

    for few in (sc.merge(one, groups), sc.reduce_mixture(one, 3)):
        for a, b in zip(moments(one), moments(few), strict=True):
            assert np.allclose(a, b, rtol=1e-12, atol=1e-12)
    assert len(sc.reduce_mixture(one, 3).weights) <= 3
    assert sc.reduce_mixture(one, 20) is one


def test_rectifier_stays_positive_and_fits_the_centres():
    one = mixture(16, seed=2)
    one = one._replace(means=3 * one.means, weights=9 * one.weights)
    wanted = np.maximum(one.values(one.means), 0)
    errors = [np.sum((m.values(one.means) - wanted) ** 2) for m in sc.rectify(one, 30)]
    assert errors[-1] < 0.1 * errors[0]
    assert all((m.weights > 0).all() for m in sc.rectify(one, 3))


def test_splat_mixture_is_the_picture():
    splats = small_splats()
    v = sc.splat_mixture(
        splats["means"], splats["log_scales"], splats["angles"], splats["features"][:, 0]
    )
    splats["features"] = splats["features"][:, :1]
    image = sp.render_plane(splats, height=16, width=16, blend="sum", cut=700).image[..., 0]
    x = np.stack(np.meshgrid(np.arange(16) + 0.5, np.arange(16) + 0.5), -1).reshape(-1, 2)
    assert np.allclose(v.values(x).reshape(16, 16), image, atol=1e-10)


# Beside the plain references


def test_tokens_agree_with_plain_loops():
    rng = np.random.default_rng(4)
    features, book = rng.normal(size=(30, 2)), rng.normal(size=(5, 2))
    assert sc.nearest_codes(features, book).tolist() == naive.nearest_codes(features, book)
    image = rng.random((6, 8, 3))
    assert np.allclose(sc.block_tokens(image, (3, 2), 99), naive.block_means(image, 3, 2))


def test_equal_features_make_one_code():
    assert sc.learn_codebook(np.ones((9, 2)), 4).tolist() == [[1.0, 1.0]]


def test_tokens_that_may_not_move_stay_on_their_grid():
    image = photograph("coffee", 32)
    *_, (_, tokens) = sc.token_fit(image, 16, 4, steps=5, joint=5, move=False)
    assert len(np.unique(tokens.parameters["means"] % 8.0)) == 1
    assert np.ptp(tokens.parameters["log_scales"]) == 0 and not tokens.parameters["angles"].any()


def test_splats_of_slanted_triangles_are_those_of_gram_schmidt():
    vertices = np.random.default_rng(5).normal(size=(20, 3, 3))
    means, frames, scales = sc.triangles_to_splats(vertices)
    for corner, mean, frame, scale in zip(vertices, means, frames, scales, strict=True):
        wanted_frame, wanted_scale = naive.splat_of_triangle(*corner)
        assert np.allclose(mean, corner[0]) and np.allclose(scale, wanted_scale)
        assert np.allclose(frame, wanted_frame)


def test_names_are_all_signed_permutations():
    q, logs = np.array([0.7, 0.1, -0.5, 0.2]), np.array([-0.4, 0.1, 0.8])
    turns, scales = sc.equivalent_tuples(q, logs)
    found = sp.quaternion_rotations(turns[:24])
    wanted = naive.frames_of_a_covariance(sp.quaternion_rotations(q[None])[0], np.exp(logs))
    assert len(wanted) == 24
    for frame, widths in wanted:
        gaps = np.abs(found - frame).max(axis=(1, 2)) + np.abs(np.exp(scales[:24]) - widths).max(1)
        assert np.sum(gaps < 1e-9) == 1


def test_embedding_and_groups_agree_with_plain_loops():
    rng = np.random.default_rng(6)
    fields, w, bank = rng.normal(size=(2, 9, 3)), rng.random(9), rng.normal(size=(7, 3))
    found = sc.field_embedding(fields, bank, np.arange(7.0), w)
    for field, row in zip(fields, found, strict=True):
        assert np.allclose(row, naive.embedding(field, bank, np.arange(7.0), w))
    x = rng.normal(size=(25, 3))
    assert sc.farthest_points(x, 6, 2).tolist() == naive.farthest_points(x, 6, 2)
    for temperature in (None, 0.4):
        found = sc.group_weights(x, x[:4], 7, temperature)
        assert np.allclose(found, naive.group_weights(x, x[:4], 7, temperature))


def test_mixtures_agree_with_plain_loops():
    one, two = mixture(5)._replace(offset=0.3), mixture(3, seed=1)
    x = np.random.default_rng(7).normal(size=(6, 2))
    assert np.allclose(one.values(x), [naive.mixture_value(one, point) for point in x])
    both = sc.convolve(one._replace(offset=0.0), two).values(x)
    assert np.allclose(both, [naive.convolved_value(one, two, point) for point in x])
    for offset in (0.3, -0.2):
        *_, end = sc.rectify(one._replace(offset=offset), 4)
        peaks = np.diagonal(end.components(end.means))
        wanted = naive.rectified_heights(one._replace(offset=offset), 4)
        assert np.allclose(end.weights * peaks, wanted)
    full = mixture(5, signed=False)
    few = sc.merge(full, [[1, 1, 0, 0, 1], [0, 0, 1, 1, 0]])
    for group, part in zip(([0, 1, 4], [2, 3]), zip(*few[:3], strict=True), strict=True):
        for a, b in zip(part, naive.merged(full, group), strict=True):
            assert np.allclose(a, b)


# Refusals

EYE3, SPLATS = np.eye(3)[None], small_splats()
CAMERA = Camera(np.eye(3), np.zeros(3), (50, 50), (32, 32), 64, 64)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: sc.outlines([[0.0, 0.0]], [-np.eye(2)]),
        lambda: sc.outlines([[0.0, np.nan]], [np.eye(2)]),
        lambda: sc.outlines([[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]),
        lambda: sc.sampled_projection([0, 0, -1.0], 0.01 * np.eye(3), CAMERA),
        lambda: sc.nearest_codes([[1.0, 2.0]], [[1.0]]),
        lambda: sc.learn_codebook([[1.0]], 0),
        lambda: sc.TokenLoss(np.zeros((4, 4, 1)), beta=-1.0),
        lambda: list(sc.token_fit(np.zeros((4, 4)), 3, 2)),
        lambda: list(sc.token_fit(np.zeros((4, 4, 1)), 3, 2, steps=0)),
        lambda: sc.draw_tokens({"codebook": np.ones((2, 3))}, [5], 4, 4),
        lambda: sc.draw_tokens(SPLATS, [0] * 12, 4, 4),
        lambda: sc.draw_tokens(SPLATS | {"codebook": np.ones((2, 3))}, [0] * 12, -4, 4),
        lambda: sc.coarse_geometry(SPLATS, 0, 4, 4),
        lambda: sc.coarse_geometry({}, 4, 4, 4),
        lambda: sc.coarse_geometry(SPLATS, 4, 0, 4),
        lambda: sc.coarse_geometry(SPLATS | {"angles": np.full(12, np.nan)}, 4, 4, 4),
        lambda: sc.block_tokens(np.zeros((6, 6, 1)), (4, 2), 3),
        lambda: sc.block_tokens(np.zeros((6, 6, 1)), 4, 3),
        lambda: sc.TokenLoss(np.zeros((4, 4, 3)))(SPLATS),
        lambda: sc.splats_to_triangles([[0, 0, 0.0]], EYE3, [[1.0, -1.0]]),
        lambda: sc.triangles_to_splats(np.zeros((2, 3, 3))),
        lambda: sc.triangles_to_splats(np.zeros((2, 3))),
        lambda: sc.triangles_to_splats(None),
        lambda: sc.triangles_to_splats(1e200 * np.eye(3)[None]),
        lambda: sc.parameter_triangles({}),
        lambda: sc.flat_covariances(EYE3, [[1.0, 1.0]], 0.0),
        lambda: sc.flat_covariances(EYE3, [[-1.0, 1.0]], 0.1),
        lambda: sc.triangle_parameters(np.full((1, 3, 3), np.nan), 0.1),
        lambda: sc.mirror_cameras(0),
        lambda: sc.mirror_cameras(8, 0.5),
        lambda: sc.sheet_fit(np.zeros((4, 6, 3)), 3),
        lambda: sc.sheet_fit(np.zeros((4, 4, 3)), 3, blend="normalised"),
        lambda: sc.bend(np.zeros((2, 2)), 1.0),
        lambda: sc.wave(np.zeros((2, 3)), 1.0, 0.0),
        lambda: sc.shear(np.zeros((2, 3)), np.nan),
        lambda: sc.equivalent_tuples([1.0, 0, 0], [0, 0, 0.0]),
        lambda: sc.canonical_tuples([[1.0, 0, 0, 0]], [[0.0, 0]]),
        lambda: sc.sphere_grid(1),
        lambda: sc.surface_field(
            [[0, 0, 0.0]], [[1, 0, 0, 0.0]], [[0, 0, 0.0]], np.ones(4), EYE3[0]
        ),
        lambda: sc.refit_field(np.zeros((3, 5)), EYE3[0], [1, 1, 1.0]),
        lambda: sc.refit_field(np.zeros((3, 6)), EYE3[0], [1, 1, 1.0]),
        lambda: sc.field_embedding(np.zeros((3, 3)), EYE3[0], [0, 0, 0.0], [1.0]),
        lambda: sc.field_embedding(np.empty((0, 3, 3)), EYE3[0], [0, 0, 0.0], [1, 1, 1.0]),
        lambda: sc.attribute_blocks({}),
        lambda: sc.attribute_blocks(SPLATS),
        lambda: sc.fit_sheet_of_digits(np.zeros((2, 8, 8))),
        lambda: sc.fit_sheet_of_digits(np.ones((8, 8))),
        lambda: sc.farthest_points([[1.0], [2.0]], 3),
        lambda: sc.group_weights([[1.0], [2.0]], [[1.0]], 3),
        lambda: sc.group_weights([[1.0], [2.0]], [[1.0]], 2, 0.0),
        lambda: sc.weighted_jaccard([[1.0]], [[1.0, 2.0]]),
        lambda: sc.weighted_jaccard([[0.0]], [[0.0]]),
        lambda: sc.weighted_jaccard([[-1.0]], [[1.0]]),
        lambda: sc.splat_mixture([[0.0, 0]], [[0.0, 0]], [0.0], [1.0, 2.0]),
        lambda: sc.convolve(mixture(), mixture(3, 3)),
        lambda: sc.convolve(mixture(), mixture(3)._replace(covariances=np.eye(2)[None])),
        lambda: sc.convolve(mixture(), mixture()._replace(offset=1.0)),
        lambda: list(sc.rectify(mixture(), 0)),
        lambda: sc.merge(mixture(signed=False), np.zeros((1, 6))),
        lambda: sc.merge(mixture(signed=False), np.full((1, 6), 2.0)),
        lambda: sc.reduce_mixture(mixture(), 2),
        lambda: mixture().values([[1.0]]),
        lambda: sc.Mixture([np.nan], [[0.0]], [[[1.0]]]).values([[1.0]]),
    ],
)
def test_bad_input_is_refused(bad):
    with pytest.raises(ValueError):
        bad()
