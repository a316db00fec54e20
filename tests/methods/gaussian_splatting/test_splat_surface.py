"""Kernel fields, solid surfels, opacity along rays and stereo: identities, peers and refusals."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from kernellab.compute import splatting as sp
from kernellab.compute.cameras import Camera
from kernellab.compute.isosurface import sample_triangles
from kernellab.compute.kernels import Gaussian
from kernellab.compute.rates import log_log_slope
from kernellab.datasets.toy_parts import plane
from kernellab.datasets.toy_scenes import Scene
from kernellab.datasets.toy_worlds import toy_scene
from kernellab.methods.gaussian_splatting import splat_surface as ss
from tests.naive import splat_surface as naive

AXIS = np.linspace(-1, 1, 91)
PLANE = np.stack(np.meshgrid(AXIS, AXIS), axis=-1).reshape(-1, 2)


def star(count, noise, seed):
    rng = np.random.default_rng(seed)
    points, normals = ss.closed_curve("star", 3000)
    some = rng.choice(3000, count, replace=False)
    return ss.shaken(points[some], normals[some], noise, rng)


def splats(n=25, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "means": 0.6 * rng.normal(size=(n, 3)),
        "quaternions": rng.normal(size=(n, 4)),
        "log_scales": np.log(rng.uniform(0.05, 0.4, (n, 3))),
        "logits": rng.normal(size=n),
        "features": rng.random((n, 3)),
    }


def camera(size=48, eye=(0, -4, 0.5)):
    return Camera.look_at(eye, (0, 0, 0), height=size, width=size, field_of_view=40)


# Curves and distances


@pytest.mark.parametrize("name", ss.CURVES)
def test_curves_are_even_and_normals_point_outwards(name):
    points, normals = ss.closed_curve(name, 600)
    assert points.shape == normals.shape == (600, 2)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    gaps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert np.mean(np.abs(gaps / np.median(gaps) - 1) < 0.02) > 0.98
    middle = 0.0 if name != "two discs" else np.sign(points[:, :1]) * (0.45, 0.0)
    assert np.mean(((points - middle) * normals).sum(axis=1) > 0) > 0.99


def test_gap_and_crossings():
    gap = ss.gap_between([[0.0, 0.0]], [[3.0, 4.0], [0.0, 1.0]])
    assert gap == (1.0, 3.0) and gap.chamfer == 4.0
    values = np.linalg.norm(PLANE, axis=1).reshape(91, 91) - 0.5
    found = ss.grid_crossings(values, AXIS, AXIS)
    assert np.abs(np.linalg.norm(found, axis=1) - 0.5).max() < 1e-3
    values[:, :45] = np.nan
    assert ss.grid_crossings(values, AXIS, AXIS)[:, 0].min() >= -1e-12


# Spline fields


@pytest.mark.compiled
@pytest.mark.parametrize("d", [2, 3])
def test_field_is_the_plain_sum(d):
    rng = np.random.default_rng(d)
    points = rng.uniform(-1, 1, (40, d))
    level = ss.voxel_level(points, 0.5)
    weights = rng.normal(size=len(level.nodes))
    field = ss.SplineField((level,), (weights,), 0, None)
    query = np.concatenate([points, rng.uniform(-3, 3, (60, d)), [[1e30] * d, [-1e30] * d]])
    wanted = naive.spline_field(query, level.nodes, 0.5, weights)
    assert np.allclose(field.values(query, unknown=0.0)[:40], wanted[:40])
    assert np.isnan(field.values(query)[-2:]).all()
    known = np.isfinite(field.values(query))
    assert np.allclose(field.values(query)[known], wanted[known])
    ids, values, _ = ss.spline_stencils(level, points)
    assert (ids >= 0).all() and np.allclose(values.sum(axis=1), 1)  # partition of unity
    assert np.allclose((values * weights[ids]).sum(axis=1), wanted[:40])


def test_gradients_agree_with_differences():
    rng = np.random.default_rng(1)
    points = rng.uniform(-1, 1, (30, 3))
    level = ss.voxel_level(points, 0.4)
    field = ss.SplineField((level,), (rng.normal(size=len(level.nodes)),), 0, None)
    for a in range(3):
        step = 1e-6 * np.eye(3)[a]
        slope = (field.values(points + step) - field.values(points - step)) / 2e-6
        assert np.allclose(field.gradients(points)[:, a], slope, atol=1e-6)


def test_solution_is_that_of_the_dense_normal_equations():
    points, normals = star(80, 0.02, 0)
    field = ss.fit_spline_field(
        points, normals, (0.15, 0.3), keep_gram=True, tolerance=1e-12, value_weight=0.5
    )
    rows, wanted, h = [], [], 0.15
    weights = np.concatenate(field.weights)
    for term, scale, target in (
        (0, np.sqrt(0.5) / h, np.zeros(80)), (1, 1.0, normals[:, 0]), (2, 1.0, normals[:, 1])
    ):  # fmt: skip
        blocks = []
        for level in field.levels:
            ids, values, slopes = ss.spline_stencils(level, points)
            block = np.zeros((80, len(level.nodes)))
            np.put_along_axis(block, ids, values if term == 0 else slopes[:, term - 1], axis=1)
            blocks.append(block)
        rows.append(scale * np.hstack(blocks))
        wanted.append(scale * target)
    design = np.vstack(rows)
    gram = design.T @ design + 0.03 / h**2 * np.eye(len(weights))
    assert np.allclose(field.gram.toarray(), gram)
    dense = np.linalg.solve(gram, design.T @ np.concatenate(wanted))
    assert np.allclose(weights, dense, atol=1e-8 * np.abs(dense).max())


def test_a_plane_is_reproduced():
    x, y = (c.ravel() for c in np.meshgrid(np.linspace(-1, 1, 15), np.linspace(-1, 1, 15)))
    normal = np.array([0.3, -0.2, 0.93])
    normal /= np.linalg.norm(normal)
    points = np.stack([x, y, -(normal[0] * x + normal[1] * y) / normal[2]], axis=1)
    field = ss.fit_spline_field(
        points, np.tile(normal, (225, 1)), (0.3,), ridge=1e-10, tolerance=1e-12
    )
    assert np.abs(field.values(points)).max() < 1e-5
    assert np.abs(field.gradients(points) - normal).max() < 1e-4


def curve_error(values):
    crossings = ss.grid_crossings(values.reshape(91, 91), AXIS, AXIS)
    return ss.gap_between(crossings, ss.closed_curve("star", 1500)[0]).chamfer


def test_claim_gradients_beat_exact_interpolation_and_flipped_normals_do_not():
    for seed in range(20, 24):
        points, normals = star(200, 0.02, seed)
        rng = np.random.default_rng(seed)
        fitted = ss.fit_spline_field(points, normals, (0.1, 0.2)).values(PLANE)
        flip = np.where(rng.random(200) < 0.5, -1, 1)[:, None]
        flipped = ss.fit_spline_field(points, flip * normals, (0.1, 0.2)).values(PLANE)
        places = np.concatenate([points, points + 0.03 * normals, points - 0.03 * normals])
        kernel, wanted = Gaussian(0.1), np.repeat([0, 0.03, -0.03], 200)
        alpha = np.linalg.solve(kernel.gram(places) + 1e-9 * np.eye(600), wanted)
        exact = np.where(np.isnan(fitted), np.nan, kernel.gram(PLANE, places) @ alpha)
        assert curve_error(fitted) < 0.4 * curve_error(exact) < curve_error(flipped)


def test_claim_non_zeros_grow_with_the_points():
    counts, found = [200, 400, 800, 1600], []
    for count in counts:
        points, normals = ss.closed_curve("star", count)
        widths = (20 / count, 40 / count)
        gram = ss.fit_spline_field(points, normals, widths, keep_gram=True).gram
        assert isinstance(gram, sparse.csr_matrix)
        found.append(gram.nnz)
    assert abs(log_log_slope(counts, found) - 1) < 0.1


# Solid surfels


def ball_of_discs(count=60, seed=0, size=0.62, opacity=0.95):
    rng = np.random.default_rng(seed)
    k = np.arange(count) + 0.5
    z, angle = 1 - 2 * k / count, k * np.pi * (1 + np.sqrt(5))
    ring = np.sqrt(1 - z**2)
    points = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)
    spacing = np.sqrt(4 * np.pi / count)
    points += 0.05 * spacing * rng.normal(size=points.shape)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return ss.make_surfels(points, points, size * spacing, opacity)


@pytest.mark.compiled
@pytest.mark.parametrize("solidity", [1.0, 1.7, 6.0])
def test_rays_see_what_a_plain_version_sees(solidity):
    surfels = ball_of_discs()
    origins, rays = (part.reshape(-1, 3)[::37] for part in camera(24).rays())
    sight = ss.see_surfels(surfels, origins, rays, solidity, np.ones((60, 1)))
    for i, (origin, ray) in enumerate(zip(origins, rays, strict=True)):
        wanted = naive.see(surfels, origin, ray, solidity)
        found = sight.distance[i], sight.light[i], sight.largest[i]
        assert np.allclose(found, wanted, equal_nan=True)
    assert np.allclose(sight.features[:, 0], 1 - sight.light)


def test_solidity_one_is_the_gaussian_rasteriser():
    """Discs that face an orthographic camera are Gaussians of the image."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-1, 1, (12, 3))
    flat = Camera.look_at(
        (0, 0, 5), (0, 0, 0), up=(0, 1, 0), height=40, width=40, extent=3.0, orthographic=True
    )
    surfels = ss.make_surfels(centres, np.tile([0, 0, 1.0], (12, 1)), 0.3, 0.7)
    origins, rays = (part.reshape(-1, 3) for part in flat.rays())
    for solidity in (1.0, 3.0):
        sight = ss.see_surfels(surfels, origins, rays, solidity, centres[:, :1])
        pixels, depths = flat.project_points(centres)
        covariances = np.tile((0.3 * 40 / 3) ** 2 * np.eye(2), (12, 1, 1))
        raster = sp.rasterise(
            pixels, covariances, np.full(12, 0.7), centres[:, :1], height=40, width=40,
            depths=depths, kernel="solid", solidity=solidity,
        )  # fmt: skip
        assert np.allclose(sight.features.reshape(40, 40, 1), raster.image, atol=1e-4)


def test_kernels_cross_at_root_two():
    assert np.allclose([ss.solid_kernel(np.sqrt(2), p) for p in (1, 2.5, 8)], np.exp(-1))
    assert ss.solid_kernel(1.0, 20) > 0.999 and ss.solid_kernel(2.0, 20) < 1e-9
    p, r = 2.3, np.linspace(0.1, 2, 7)
    slope = (ss.solid_kernel(r, p + 1e-6) - ss.solid_kernel(r, p - 1e-6)) / 2e-6
    q = r**2 / 2
    assert np.allclose(slope, -np.exp(-(q**p)) * q**p * np.log(q), atol=1e-8)


EYES = 4.0 * np.array([[np.cos(a), np.sin(a), 0.2] for a in np.radians([-40, 0, 40])])


def test_claim_views_agree_best_in_between():
    points = np.random.default_rng(0).normal(size=(600, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    seen = [
        (points * (e - points)).sum(axis=1) > 0.2 * np.linalg.norm(e - points, axis=1) for e in EYES
    ]
    for seed in range(10, 14):
        discs = ball_of_discs(seed=seed)
        one, three, ten = (
            ss.view_disagreement(ss.depth_errors(discs, EYES, points, p), seen) for p in (1, 3, 10)
        )
        assert one - three > 0.015 and ten - three > 0.004


def test_a_flat_wall_does_not_care():
    y, z = (c.ravel() for c in np.meshgrid(np.linspace(-2, 2, 15), np.linspace(-2, 2, 15)))
    centres = np.stack([0 * y, y, z], axis=1)
    wall = ss.make_surfels(centres, np.tile([1.0, 0, 0], (225, 1)), 0.15, 0.95)
    points = np.stack([np.zeros(50), *np.random.default_rng(0).uniform(-1, 1, (2, 50))], axis=1)
    for p in (1.0, 4.0):
        assert np.abs(ss.depth_errors(wall, EYES, points, p)).max() < 1e-12


def flat_fit(seed, learned, count=32, curve="star", span=100.0):
    rng = np.random.default_rng(seed)
    seen = ss.flat_views(curve, span * np.array([-0.5, 0.0, 0.5]), 48)
    shades = np.where(seen.hit, 0.5 + 0.4 * np.sin(seen.points @ (9.0, 5.0)), 0.0)
    some = rng.choice(np.flatnonzero(seen.hit), count, replace=False)
    angles = np.arctan2(*seen.normals[some].T[::-1]) + 0.2 * rng.normal(size=count)
    places = seen.points[some] + 0.04 * rng.normal(size=(count, 2))
    return ss.FlatFit(
        seen.origins, seen.directions, shades, seen.normals, places, angles, 2.5 / count,
        learn_solidity=learned, guidance=1.0,
    )  # fmt: skip


def test_flat_views_lie_on_the_curve_and_face_the_camera():
    seen = ss.flat_views("star", [-50.0, 0.0, 50.0], 48)
    radius, angle = np.hypot(*seen.points[seen.hit].T), np.arctan2(*seen.points[seen.hit].T[::-1])
    assert np.abs(radius - 0.6 * (1 + 0.3 * np.cos(5 * angle))).max() < 1e-3
    assert ((seen.normals * seen.directions).sum(axis=1)[seen.hit] < 0.05).all()
    off = seen.points[seen.hit] - seen.origins[seen.hit]
    aside = off[:, 0] * seen.directions[seen.hit, 1] - off[:, 1] * seen.directions[seen.hit, 0]
    assert np.abs(aside).max() < 1e-9
    assert 0.3 < seen.hit.mean() < 0.95


def test_flat_weights_are_those_of_discs_that_do_not_end():
    fit = flat_fit(0, True, count=10)
    p = fit.parameters
    flat = lambda v: np.pad(v, ((0, 0), (0, 1)))  # noqa: E731
    normals = np.stack([np.cos(p["angles"]), np.sin(p["angles"]), 0 * p["angles"]], axis=1)
    surfels = ss.make_surfels(
        flat(p["centres"]), normals,
        np.stack([np.full(10, 1e6), np.exp(p["log_widths"])], axis=1),
        0.99 / (1 + np.exp(-p["logits"])), along=(0, 0, 1.0),
    )  # fmt: skip
    sight = ss.see_surfels(surfels, flat(fit.origins), flat(fit.directions), fit.solidity)
    weights, distances = fit.weights()
    total = weights.sum(axis=1)
    assert np.allclose(total, 1 - sight.light, atol=0.02)  # the discs are cut at exp(-4.5)
    sure = total > 0.5
    mean = (weights * distances).sum(axis=1)[sure] / total[sure]
    assert np.abs(mean - sight.distance[sure]).max() < 0.02


def test_flat_slopes_agree_with_differences():
    fit = flat_fit(0, True, count=8)
    _, slopes = fit._slopes(fit.parameters)
    for name in ("hardness", "angles", "log_widths", "logits", "shades"):
        step = np.zeros_like(fit.parameters[name])
        step[0] = 1e-6
        ends = [
            fit._loss(fit.parameters | {name: fit.parameters[name] + sign * step})
            for sign in (1, -1)
        ]
        assert slopes[name][0] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_claim_learning_the_solidity_helps():
    new = ss.flat_views("star", [-33.0, 17.0, 33.0], 150)
    means = []
    for learned in (True, False):
        gaps = []
        for seed in range(30, 33):
            fit = flat_fit(seed, learned)
            losses = list(fit.run(100))
            assert losses[-1] < 0.5 * losses[0] and fit.losses == losses
            found = fit.surface(new.origins, new.directions)
            gaps.append(ss.gap_between(found, new.points[new.hit]).chamfer)
            assert (fit.solidity > 1.5) == learned
        means.append(np.mean(gaps))
    assert means[0] < 0.95 * means[1]


def test_on_one_wall_seen_face_on_it_does_not_help():
    new = ss.flat_views("square", [-6.6, 3.4, 6.6], 150)
    means = []
    for learned in (True, False):
        gaps = []
        for seed in range(30, 32):
            fit = flat_fit(seed, learned, curve="square", span=20.0)
            list(fit.run(100))
            found = fit.surface(new.origins, new.directions)
            gaps.append(ss.gap_between(found, new.points[new.hit]).chamfer)
        means.append(np.mean(gaps))
    assert means[0] > means[1]


# Opacity along rays


@pytest.mark.compiled
def test_ray_opacity_is_that_of_a_plain_version():
    scene, view = splats(), camera()
    rng = np.random.default_rng(1)
    points = rng.uniform(-1.2, 1.2, (150, 3))
    found = ss.ray_opacity(points, view, scene)
    cov = sp.space_covariances(scene["quaternions"], scene["log_scales"])
    opacities = 1 / (1 + np.exp(-scene["logits"]))
    for point, alpha in zip(points, found, strict=True):
        u, v = view.project_points(point[None])[0][0]
        if not (0 <= u <= 48 and 0 <= v <= 48):
            assert np.isnan(alpha)
            continue
        wanted = naive.ray_opacity(point, view.centre_of_view, scene["means"], cov, opacities)
        assert alpha == pytest.approx(wanted, abs=1e-12)


def test_opacity_never_falls_and_ends_at_the_product():
    scene, view, t = splats(60, 3), camera(), np.linspace(1.0, 9.0, 300)
    for pixel in ((20.0, 22.0), (24.0, 30.0), (33.0, 20.0)):
        alpha = ss.ray_profile(view, pixel, scene, t)
        assert np.diff(alpha).min() > -1e-12
        eye = view.centre_of_view
        far = view.unproject(np.array([pixel]), [9.0])[0]
        cov = sp.space_covariances(scene["quaternions"], scene["log_scales"])
        opacities = 1 / (1 + np.exp(-scene["logits"]))
        end = naive.ray_opacity(eye + 3 * (far - eye), eye, scene["means"], cov, opacities)
        assert alpha[-1] == pytest.approx(end, abs=1e-12)


def test_one_round_splat_has_a_closed_form():
    """Seen head-on, alpha = 1/2 at the distance where o exp(-d^2/2s^2) = 1/2 before the centre."""
    one = {
        "means": np.zeros((1, 3)),
        "quaternions": np.eye(4)[:1],
        "log_scales": np.full((1, 3), np.log(0.3)),
        "logits": np.array([4.0]),
    }
    opacity = 1 / (1 + np.exp(-4.0))
    reach = 0.3 * np.sqrt(2 * np.log(2 * opacity))
    view = camera(eye=(0, -4, 0))
    front = np.array([[0.0, -reach, 0.0]])
    assert ss.ray_opacity(front, view, one)[0] == pytest.approx(0.5, abs=1e-9)
    assert ss.opacity_field(front, [view], one, 0.15)[0] == pytest.approx(-0.15, abs=1e-8)
    # every direction has a camera: the surface is a sphere of that radius
    cameras = ss.cameras_around(20, 4.0, height=32, width=32)
    grid, _ = ss.box_grid((-0.8,) * 3, (0.8,) * 3, 14)
    field = lambda points: ss.opacity_field(points, cameras, one)  # noqa: E731
    mesh = ss.mesh_of(field(grid), (-0.8,) * 3, (0.8,) * 3, 14)
    exact = ss.bisected(mesh, grid, field, 30)
    radii = np.linalg.norm(exact, axis=1)
    assert np.abs(radii - reach).max() < 1e-3  # what one sees past must also be past all others
    gaps = [
        np.linalg.norm(ss.bisected(mesh, grid, field, k) - exact, axis=1).mean() for k in (0, 1, 3)
    ]
    assert 6 < gaps[0] / gaps[2] < 10 and gaps[0] / gaps[1] < 4


def test_field_is_the_maximum_over_cameras():
    scene = splats()
    cameras = ss.cameras_around(5, 4.0, height=48, width=48)
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (200, 3))
    each = np.array([ss.opacity_field(points, [view], scene) for view in cameras])
    assert np.allclose(ss.opacity_field(points, cameras, scene), np.nanmax(each, axis=0))


@pytest.mark.compiled
def test_density_is_the_plain_sum():
    scene = splats()
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    cov = sp.space_covariances(scene["quaternions"], scene["log_scales"])
    gaps = points[:, None] - scene["means"]
    q = 0.5 * np.einsum("qni,nij,qnj->qn", gaps, np.linalg.inv(cov), gaps)
    wanted = np.exp(-q) @ (1 / (1 + np.exp(-scene["logits"])))
    assert np.allclose(ss.splat_density(points, scene), wanted, atol=1e-5)


# The ring and the block

CAMERAS = ss.cameras_around(16, 4.0, height=48, width=48)


def painted():
    plain = toy_scene("torus_and_box")
    look = {"texture": "noise", "cell": 0.3, "other": (0.98, 0.95, 0.85)}
    parts = [dataclasses.replace(part, seed=i, **look) for i, part in enumerate(plain.parts)]
    return dataclasses.replace(plain, parts=tuple(parts))


@pytest.fixture(scope="module")
def fitted():
    world, rng = painted(), np.random.default_rng(30)
    photos = [world.render(view, samples=2).rgb for view in CAMERAS]
    points = world.surface(200, rng)[0] + 0.02 * rng.normal(size=(200, 3))
    start = ss.cloud_start(points, world.albedo(points), 0.08, 0.9)
    rates = sp.SPACE_RATES | {"means": 0.003}
    fit = sp.fit_space(photos, CAMERAS, start, rates=rates, background=(0.95, 0.96, 0.98))
    for _ in fit.run(400):
        pass
    low, high = world.bounds()
    return world, fit.parameters, low - 0.1, high + 0.1


def chamfer(world, mesh):
    found = sample_triangles(mesh.vertices, mesh.triangles, 10000, 0)
    gap = ss.gap_between(found, world.surface(3000, 1)[0])
    return np.abs(world.signed_distance(found)).mean() + gap.completeness


def test_claim_rays_beat_the_sum_of_kernels_and_one_camera_does_not(fitted):
    world, scene, low, high = fitted
    grid, _ = ss.box_grid(low, high, 29)
    rays, one = (
        chamfer(world, ss.mesh_of(ss.opacity_field(grid, some, scene, 1.0), low, high, 29))
        for some in (CAMERAS, CAMERAS[:1])
    )
    density = ss.splat_density(grid, scene)
    best = min(
        chamfer(world, ss.mesh_of(c - density, low, high, 29))
        for c in (0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
    )
    assert rays < 0.8 * best < one


def test_claim_fused_stereo_beats_the_centres(fitted):
    world, scene, low, high = fitted
    grid, _ = ss.box_grid(low, high, 29)
    views = [ss.finer(view, 3) for view in CAMERAS]
    maps = []
    for view in views:
        depth, left, right = ss.stereo_depth(
            lambda place: sp.render_space(scene, place, blur=2.7).image, view, 0.6,
            nearest=2.7, farthest=5.3, radius=4,
        )  # fmt: skip
        assert left.shape == right.shape == (144, 144, 3)
        maps.append(np.where(np.isinf(ss.blended_depth(scene, view)), np.inf, depth))
    fused = chamfer(world, ss.mesh_of(ss.fuse_depths(grid, views, maps, 0.2), low, high, 29))
    gap = ss.gap_between(scene["means"], world.surface(3000, 1)[0])
    centres = np.abs(world.signed_distance(scene["means"])).mean() + gap.completeness
    assert fused < 0.7 * centres


def test_section_of_a_mesh(fitted):
    world, _, low, high = fitted
    grid, _ = ss.box_grid(low, high, 41)
    mesh = ss.mesh_of(world.signed_distance(grid), low, high, 41)
    cut = ss.section(mesh, 1, 0.03)
    places = np.insert(cut.reshape(-1, 2), 1, 0.03, axis=1)
    assert len(cut) > 50 and np.abs(world.signed_distance(places)).max() < 0.03


def test_blended_depth_of_one_splat():
    one = {
        "means": np.zeros((1, 3)),
        "quaternions": np.eye(4)[:1],
        "log_scales": np.full((1, 3), np.log(0.3)),
        "logits": np.array([5.0]),
        "features": np.ones((1, 1)),
    }
    depth = ss.blended_depth(one, camera(eye=(0, -4, 0)))
    assert depth[24, 24] == pytest.approx(4.0) and np.isinf(depth[0, 0])


# Stereo


def tilted(seed, contrast=1.0):
    look = {"texture": "noise", "cell": 0.3, "contrast": contrast, "seed": seed}
    look |= {"color": (1, 1, 1), "other": (0, 0, 0)}
    return Scene((plane((0, 3, 0), (0, -0.94, 0.342), **look),), target=(0, 3, 0), radius=3.0)


@pytest.mark.compiled
@pytest.mark.parametrize("radius", [0, 2])
def test_matching_is_that_of_a_plain_version(radius):
    rng = np.random.default_rng(0)
    left, right = rng.random((9, 20, 2)), rng.random((9, 20, 2))
    right[:, :-4] = 0.8 * left[:, 4:] + 0.2 * right[:, :-4]
    found = ss.match_blocks(left, right, 1, 8, radius=radius, slack=1.0)
    wanted = naive.match_blocks(left, right, 1, 8, radius, 1.0)
    assert np.allclose(found, wanted, equal_nan=True)
    assert np.nanmedian(found[:, 8:]) == pytest.approx(4, abs=0.5)


def test_a_plane_that_faces_the_camera_is_found_below_a_tenth_of_a_pixel():
    look = {"texture": "noise", "cell": 0.3, "color": (1, 1, 1), "other": (0, 0, 0)}
    scene = Scene((plane((0, 3, 0), (0, -1, 0), **look),), target=(0, 3, 0), radius=3.0)
    view = Camera.look_at((0, 0, 0), (0, 3, 0), height=64, width=64)
    right = ss.shifted_camera(view, 0.3)
    exact = view.focal[0] * 0.3 / 3.0
    left, other = scene.render(view).rgb, scene.render(right).rgb
    found = ss.match_blocks(left, other, 4, 14)
    assert np.nanmedian(np.abs(found - exact)) < 0.1
    flow = scene.render(view).flow(0.0, right)  # the exact disparity
    assert np.allclose(-flow[..., 0], exact) and np.allclose(flow[..., 1], 0)


def test_claim_error_falls_with_the_baseline_and_not_without_texture():
    baselines = [0.06, 0.12, 0.24, 0.48]

    def slope(contrast):
        errors = []
        for b in baselines:
            each = []
            for seed in range(40, 43):
                scene, rng = tilted(seed, contrast), np.random.default_rng(seed)
                view = Camera.look_at((0, 0, 0), (0, 3, 0), height=48, width=48)
                depth = ss.stereo_depth(
                    lambda place, s=scene, r=rng: (
                        s.render(place).rgb + 0.03 * r.normal(size=(48, 48, 3))
                    ),
                    view, b, nearest=2.25, farthest=4.2,
                )[0]  # fmt: skip
                each.append(np.nanmedian(np.abs(depth - scene.render(view).depth)))
            errors.append(np.mean(each))
        return log_log_slope(baselines, errors)

    assert -1.35 < slope(1.0) < -0.75 < slope(0.0)


def test_depth_from_disparity():
    found = ss.depth_from_disparity([[8.0, 0.0], [-1.0, np.nan]], 80, 0.2)
    assert found[0].tolist() == [2.0, np.inf] and np.isnan(found[1]).all()


@pytest.mark.compiled
@pytest.mark.parametrize("orthographic", [False, True])
def test_fusion_is_that_of_a_plain_version(orthographic):
    rng = np.random.default_rng(0)
    lens = {"extent": 3.0, "orthographic": True} if orthographic else {"field_of_view": 40}
    views = [
        Camera.look_at(eye, (0, 0, 0), height=12, width=12, **lens)
        for eye in ((0, -4, 0.5), (3, 2, 1))
    ]
    depths = rng.uniform(3, 5, (2, 12, 12))
    depths[0, 3], depths[1, 5] = np.nan, np.inf
    points = rng.uniform(-2, 2, (300, 3))
    found = ss.fuse_depths(points, views, depths, 0.4)
    assert np.allclose(found, naive.fuse(points, views, depths, 0.4), equal_nan=True)
    assert np.isnan(found).any() and np.isfinite(found).any()


def test_exact_depths_fuse_to_the_surface():
    world = painted()
    depths = [world.render(view).depth for view in CAMERAS]
    low, high = world.bounds()
    grid, _ = ss.box_grid(low - 0.1, high + 0.1, 33)
    values = ss.fuse_depths(grid, CAMERAS, depths, 0.2)
    mesh = ss.mesh_of(values, low - 0.1, high + 0.1, 33)
    assert np.abs(world.signed_distance(mesh.vertices)).mean() < 0.03


# Refusals

SURFELS = ss.make_surfels(np.eye(3), np.eye(3), 0.2, 0.5)
ONE = splats(2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ss.closed_curve("heart", 100), "name"),
        (lambda: ss.closed_curve("star", 3), "count"),
        (lambda: ss.shaken(np.ones((3, 2)), np.ones((2, 2)), 0.1, 0), "normals"),
        (lambda: ss.shaken(np.ones((3, 2)), np.ones((3, 2)), -0.1, 0), "noise"),
        (lambda: ss.gap_between(np.ones((3, 2)), np.ones((3, 3))), "found"),
        (lambda: ss.gap_between(np.ones((0, 2)), np.ones((3, 2))), "found"),
        (lambda: ss.grid_crossings(np.ones((3, 4)), np.ones(3), np.ones(3)), "values"),
        (lambda: ss.voxel_level(np.ones((3, 4)), 0.1), "points"),
        (lambda: ss.voxel_level(np.ones((3, 2)), 0.0), "width"),
        (lambda: ss.voxel_level([[0.0, 0.0], [1e9, 1e9]], 1e-4), "memory|points"),
        (lambda: ss.spline_stencils(ss.voxel_level(np.ones((3, 2)), 1), np.ones((3, 3))), "points"),
        (lambda: ss.fit_spline_field(np.ones((3, 2)), np.ones((2, 2)), (1,)), "normals"),
        (lambda: ss.fit_spline_field(np.ones((3, 2)), np.ones((3, 2)), ()), "widths"),
        (lambda: ss.fit_spline_field(np.ones((3, 2)), np.ones((3, 2)), (-1.0,)), "widths"),
        (lambda: ss.fit_spline_field(np.ones((3, 2)), np.ones((3, 2)), (1,), ridge=0), "ridge"),
        (lambda: ss.fit_spline_field(np.ones((3, 2)), np.ones((3, 2)), (1,), offset=0), "offset"),
        (
            lambda: ss.fit_spline_field(
                np.ones((3, 2)), np.ones((3, 2)), (1,), value_weight=0, gradient_weight=0
            ),
            "both",
        ),
        (lambda: ss.fit_spline_field([[np.nan, 0]], [[1.0, 0]], (1,)), "points"),
        (lambda: ss.make_surfels(np.ones((2, 3)), np.zeros((2, 3)), 1, 1), "normals"),
        (lambda: ss.make_surfels(np.ones((2, 3)), np.ones((2, 3)), 0, 1), "scale"),
        (lambda: ss.make_surfels(np.ones((2, 3)), np.ones((2, 3)), 1, 1.5), "opacity"),
        (lambda: ss.solid_kernel(1.0, 0.5), "solidity"),
        (lambda: ss.see_surfels(SURFELS, np.ones((2, 3)), np.ones((3, 3))), "directions"),
        (lambda: ss.see_surfels(SURFELS, np.ones((2, 3)), np.ones((2, 3)), 0.0), "solidity"),
        (
            lambda: ss.see_surfels(SURFELS, np.ones((2, 3)), np.ones((2, 3)), 1.0, np.ones((2, 1))),
            "features",
        ),
        (lambda: ss.depth_errors(SURFELS, np.ones(3), np.ones((2, 3))), "eyes"),
        (lambda: ss.view_disagreement(np.ones((2, 3)), np.ones((3, 2), bool)), "errors"),
        (lambda: ss.view_disagreement(np.ones((2, 3)), np.zeros((2, 3), bool)), "visible"),
        (lambda: ss.flat_views("star", [0.0], 0), "pixels"),
        (lambda: ss.flat_views("star", [0.0], 9, distance=0.5), "distance"),
        (
            lambda: ss.FlatFit(
                np.ones((2, 2)), np.ones((2, 2)), [0, 0], np.ones((3, 2)), [[0, 0]], [0], 1
            ),
            "normals",
        ),
        (
            lambda: ss.FlatFit(
                np.ones((2, 2)),
                np.ones((2, 2)),
                [0, 0],
                np.ones((2, 2)),
                [[0, 0]],
                [0],
                1,
                solidity=1.0,
            ),
            "solidity",
        ),
        (lambda: ss.ray_opacity(np.ones((2, 2)), camera(), ONE), "points"),
        (lambda: ss.ray_opacity(np.ones((2, 3)), None, ONE), "camera"),
        (lambda: ss.ray_opacity(np.ones((2, 3)), camera(), ONE | {"logits": [0.0]}), "logits"),
        (lambda: ss.ray_profile(camera(), (1.0,), ONE, [1.0]), "pixel"),
        (lambda: ss.ray_profile(camera(), (1.0, 1.0), ONE, [0.0]), "distances"),
        (lambda: ss.opacity_field(np.ones((2, 3)), [], ONE), "cameras"),
        (lambda: ss.opacity_field(np.ones((2, 3)), [camera()], ONE, np.nan), "shift"),
        (lambda: ss.splat_density(np.ones((2, 2)), ONE), "points"),
        (lambda: ss.splat_density(np.ones((2, 3)), {"means": np.ones((1, 3))}), "quaternions"),
        (lambda: ss.shifted_camera(camera(), 0.0), "baseline"),
        (lambda: ss.match_blocks(np.ones((4, 4, 1)), np.ones((4, 5, 1)), 0, 2), "right"),
        (lambda: ss.match_blocks(np.ones((4, 4)), np.ones((4, 4)), 0, 2), "left"),
        (lambda: ss.match_blocks(np.ones((4, 4, 1)), np.ones((4, 4, 1)), 2, 2), "least"),
        (lambda: ss.match_blocks(np.ones((4, 4, 1)), np.ones((4, 4, 1)), 0, 4), "largest"),
        (lambda: ss.match_blocks(np.ones((4, 4, 1)), np.ones((4, 4, 1)), 0, 2, radius=-1), "rad"),
        (lambda: ss.depth_from_disparity([1.0], 0.0, 1.0), "focal"),
        (
            lambda: ss.stereo_depth(lambda c: 0, camera(), 0.1, nearest=2.0, farthest=1.0),
            "farthest",
        ),
        (
            lambda: ss.stereo_depth(lambda c: 0, camera(), 9.0, nearest=2.0, farthest=3.0),
            "baseline",
        ),
        (lambda: ss.fuse_depths(np.ones((2, 3)), [camera()], [np.ones((3, 3))], 0.1), "depths"),
        (lambda: ss.fuse_depths(np.ones((2, 3)), [camera()], [], 0.1), "depths"),
        (lambda: ss.fuse_depths(np.ones((2, 3)), [], [], 0.1), "cameras"),
        (lambda: ss.fuse_depths(np.ones((2, 3)), [camera()], [np.ones((48, 48))], 0.0), "trunc"),
        (lambda: ss.cameras_around(0, 4.0, height=4, width=4), "count"),
        (lambda: ss.finer(camera(), 0), "times"),
        (lambda: ss.box_grid((0, 0, 0), (1, 1, 0), 4), "high"),
        (lambda: ss.mesh_of(np.ones(5), (0, 0, 0), (1, 1, 1), 2), "values"),
        (lambda: ss.cloud_start(np.ones((2, 3)), np.ones((3, 3)), 0.1), "colours"),
        (lambda: ss.cloud_start(np.ones((2, 3)), np.ones((2, 3)), 0.1, 1.0), "opacity"),
        (lambda: ss.bisected(ss.mesh_of(np.ones(8), (0,) * 3, (1,) * 3, 2), 0, abs, 1), "grid"),
        (lambda: ss.section(ss.mesh_of(np.ones(8), (0,) * 3, (1,) * 3, 2), 3, 0.0), "axis"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()
