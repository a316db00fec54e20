"""Simulated scenes: depth, normals, colours, shadows, labels and motion against what is known."""

import dataclasses
import math

import numpy as np
import pytest

from kernellab.compute.cameras import Camera
from kernellab.compute.sphere_tracing import KINDS
from kernellab.datasets import toy3d, toy_scene, toy_worlds
from kernellab.datasets.toy_parts import (
    CATEGORIES,
    Light,
    Motion,
    Part,
    box,
    capsule,
    cylinder,
    plane,
    sphere,
    torus,
    turned,
)
from kernellab.datasets.toy_scenes import IMAGES, Scene, View
from tests.naive import sphere_tracing as naive

pytestmark = pytest.mark.compiled

NAMES = list(toy_worlds.SCENES)
MOVING = ("figure", "moving", "passer_by")
BALL = sphere(0.8, (0.2, -0.1, 0.3), color=(0.2, 0.6, 0.9))


@pytest.fixture(scope="module")
def all_views():
    return {name: toy3d(name, 3, 20, 24, time=0.2) for name in NAMES}


def solids(scene, time=0.0):
    places = [part.place(time) for part in scene.parts]
    return [
        (part.kind, part.size, position, rotation)
        for part, (rotation, position) in zip(scene.parts, places, strict=True)
    ]


def look(**options):
    size = {"height": 24, "width": 32, **options}
    return Camera.look_at((1.0, -4.0, 2.0), (0.1, 0.0, 0.3), **size)


# Images


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_conventions(all_views, name):
    views = all_views[name]
    assert len(views) == len(views.cameras) == len(views.times) == 3
    for image in IMAGES:
        array = getattr(views, image)
        vector = image in ("rgb", "normal", "points", "velocity", "albedo")
        assert array.shape == (3, 20, 24) + (3,) * vector and not np.isnan(array).any()
    assert views.rgb.min() >= 0 and views.rgb.max() <= 1
    hit, scene = views.hit, views.scene
    assert 0.1 < hit.mean() <= 1.0
    np.testing.assert_array_equal(hit, np.isfinite(views.depth))
    np.testing.assert_array_equal(hit, views.part >= 0)
    np.testing.assert_array_equal(hit, np.linalg.norm(views.normal, axis=-1) > 0.5)
    np.testing.assert_allclose(np.linalg.norm(views.normal[hit], axis=-1), 1.0)
    for labels in (views.part, views.instance, views.semantic):
        assert labels.dtype.kind == "i" and (labels[~hit] == -1).all()
    assert views.instance.max() < len(scene.objects) and views.semantic.max() < len(CATEGORIES)
    np.testing.assert_array_equal(views.rgb[~hit], np.tile(scene.background, ((~hit).sum(), 1)))
    for image in ("normal", "points", "velocity", "albedo", "lit"):
        assert not getattr(views, image)[~hit].any()
    one = views[1]
    assert isinstance(one, View) and one.camera is views.cameras[1] and one.time == 0.2
    np.testing.assert_array_equal(one.depth, views.depth[1])
    assert [view.time for view in views] == [0.2] * 3
    with pytest.raises(TypeError):
        views[:2]


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_those_of_the_nearest_part(all_views, name):
    views = all_views[name]
    scene, hit = views.scene, views.hit
    parts = scene.nearest_part(views.points[hit], 0.2)
    # Where two parts meet both are at distance 0 up to rounding.
    other = parts != views.part[hit]
    assert other.mean() < 0.02
    for p, part in zip(views.points[hit][other], views.part[hit][other], strict=True):
        assert abs(naive.distances(solids(scene, 0.2), p)[part]) < 1e-9
    np.testing.assert_allclose(scene.signed_distance(views.points[hit], 0.2), 0.0, atol=1e-9)
    objects = [scene.parts[part].object for part in views.part[hit]]
    assert [scene.objects[i] for i in views.instance[hit]] == objects
    categories = [scene.parts[part].category for part in views.part[hit]]
    assert [scene.categories[i] for i in views.semantic[hit]] == categories
    same = parts == views.part[hit]
    np.testing.assert_allclose(scene.albedo(views.points[hit], 0.2)[same], views.albedo[hit][same])


@pytest.mark.parametrize("orthographic", [False, True])
def test_depth_of_one_sphere_and_a_plane(orthographic):
    scene = Scene((BALL, plane((0.0, 0.0, -0.5))))
    lens = {"extent": 4.0} if orthographic else {"field_of_view": 50.0}
    camera = look(orthographic=orthographic, **lens)
    view = scene.render(camera)
    origins, directions = camera.rays()
    offset = origins - BALL.position
    middle = (offset * directions).sum(axis=-1)
    under = middle**2 - (offset**2).sum(axis=-1) + 0.64
    to_ball = np.where(under > 0, -middle - np.sqrt(np.maximum(under, 0)), np.inf)
    to_plane = -(origins[..., 2] + 0.5) / directions[..., 2]
    to_plane = np.where(to_plane > 0, to_plane, np.inf)
    distance = np.minimum(to_ball, to_plane)
    expected = distance * (directions @ camera.rotation[2])
    np.testing.assert_allclose(view.depth, expected, atol=1e-8)
    np.testing.assert_array_equal(
        view.part, np.where(np.isinf(distance), -1, np.where(to_ball < to_plane, 0, 1))
    )
    assert set(np.unique(view.part)) >= {0, 1}
    rows, columns = np.nonzero(view.hit)
    pixels, depths = camera.project_points(view.points[view.hit])
    np.testing.assert_allclose(pixels, np.column_stack([columns, rows]) + 0.5, atol=1e-9)
    np.testing.assert_allclose(depths, view.depth[view.hit])


@pytest.mark.parametrize("name", ["torus_and_box", "figure", "table", "room"])
def test_normals_are_differences_of_the_distance(all_views, name):
    views = all_views[name]
    points, normals = views.points[views.hit][::7], views.normal[views.hit][::7]
    outside = points + 1e-4 * normals  # on the surface itself the two sides of an edge mix
    differences = np.stack(
        [
            views.scene.signed_distance(outside + step, 0.2)
            - views.scene.signed_distance(outside - step, 0.2)
            for step in 1e-6 * np.eye(3)
        ],
        axis=1,
    )
    close = np.abs(differences / 2e-6 - normals).max(axis=1) < 1e-3
    assert close.mean() > 0.97  # the rest is within 1e-4 of where two parts meet
    np.testing.assert_allclose(views.scene.normal(points, 0.2)[close], normals[close], atol=1e-6)


@pytest.mark.parametrize("name", ["torus_and_box", "spheres", "moving", "street"])
def test_images_are_those_of_plain_loops(name):
    light = Light((0.3, -0.7, 0.6), color=(1.0, 0.9, 0.7))
    scene, time = toy_scene(name), 0.3
    camera = scene.cameras(3, 7, 8)[1]
    view = scene.render(camera, time, light)
    origins, directions = camera.rays()
    known = solids(scene, time)

    def paint(part, p):
        rotation, position = scene.parts[part].place(time)
        return scene.parts[part].paint(((p - position) @ rotation)[None])[0]

    for pixel in np.ndindex(7, 8):
        ray = origins[pixel], directions[pixel]
        expected = naive.rgb(known, paint, light, scene.background, *ray)
        np.testing.assert_allclose(view.rgb[pixel], expected, atol=1e-5)
        t, part = naive.trace(known, *ray)
        assert part == view.part[pixel]
        assert (
            t == np.inf
            or abs(t * directions[pixel] @ camera.rotation[2] - view.depth[pixel]) < 1e-6
        )
    assert {-1} < set(view.part.ravel()) and view.lit.any() and not view.lit[view.hit].all()


def test_colour_is_lamberts_law():
    light = Light((1.0, -1.0, 1.0), diffuse=0.5, ambient=0.1, sky=0.3, color=(1.0, 0.5, 0.25))
    view = Scene((BALL,)).render(look(), light=light)
    to_lamp = np.array([1.0, -1.0, 1.0]) / math.sqrt(3.0)
    normals = (view.points[view.hit] - BALL.position) / 0.8
    cosines = np.maximum(normals @ to_lamp, 0.0)
    even = 0.1 + 0.15 * (1.0 + normals[:, 2])
    direct = 0.5 * cosines[:, None] * [1.0, 0.5, 0.25]
    np.testing.assert_allclose(
        view.rgb[view.hit], np.array([0.2, 0.6, 0.9]) * (even[:, None] + direct), atol=1e-9
    )
    np.testing.assert_array_equal(view.lit[view.hit], normals @ to_lamp > 0)
    assert view.lit.any() and not view.lit[view.hit].all()


def test_highlights_are_phongs_and_move_with_the_eye():
    shiny = dataclasses.replace(BALL, gloss=0.3, shininess=12.0)
    light = Light((0.3, -1.0, 1.0))
    camera = look()
    dull, view = (Scene((ball,)).render(camera, light=light) for ball in (BALL, shiny))
    to_lamp = np.array(light.direction)
    points, normals = view.points[view.hit], view.normal[view.hit]
    to_eye = camera.centre_of_view - points
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    mirror = 2.0 * (normals @ to_lamp)[:, None] * normals - to_lamp
    expected = 0.3 * np.maximum((mirror * to_eye).sum(axis=1), 0.0) ** 12.0 * view.lit[view.hit]
    np.testing.assert_allclose(
        view.rgb[view.hit], np.minimum(dull.rgb[view.hit] + expected[:, None], 1.0), atol=1e-9
    )
    assert expected.max() > 0.25


@pytest.mark.parametrize("near_lamp", [False, True])
def test_shadows_are_where_the_ball_blocks_the_lamp(near_lamp):
    ball = sphere(0.5, (0.0, 0.0, 1.2))
    scene = Scene((plane((0.0, 0.0, 0.0)), ball))
    light = Light(position=(0.5, 0.2, 4.0)) if near_lamp else Light((0.4, 0.2, 1.0))
    camera = Camera.look_at((0.5, -5.0, 3.0), (0.0, 0.0, 0.0), height=40, width=40)
    view = scene.render(camera, light=light)
    floor = view.part == 0
    points = view.points[floor]
    to_lamp = np.array(light.direction)
    if near_lamp:
        to_lamp = np.array([0.5, 0.2, 4.0]) - points
        to_lamp /= np.linalg.norm(to_lamp, axis=1, keepdims=True)
    offset = np.array(ball.position) - points
    along = (offset * to_lamp).sum(axis=1)
    apart = np.sqrt(np.maximum((offset**2).sum(axis=1) - along**2, 0.0))
    np.testing.assert_array_equal(view.lit[floor], apart > 0.5)
    assert (apart < 0.5).sum() > 10
    without = scene.render(camera, light=dataclasses.replace(light, shadows=False))
    assert without.lit[floor].all()
    dark = floor & ~view.lit
    assert (without.rgb[dark] > 1.5 * view.rgb[dark]).all()
    np.testing.assert_allclose(without.rgb[floor & view.lit], view.rgb[floor & view.lit])


def test_a_lamp_below_what_it_lights_is_not_blocked_by_what_is_behind_it():
    scene = Scene((plane((0.0, 0.0, 0.0)), sphere(0.5, (0.0, 0.0, 3.0))))
    camera = Camera.look_at((0.0, -5.0, 2.0), (0.0, 0.0, 0.0), height=20, width=20)
    view = scene.render(camera, light=Light(position=(0.0, 0.0, 1.5)))
    assert view.lit[view.part == 0].all()


def test_samples_are_means_over_pixels(all_views):
    scene = all_views["spheres"].scene
    camera = scene.cameras(1, 12, 10)[0]
    fine = dataclasses.replace(
        camera, focal=camera.focal * 3, centre=camera.centre * 3, height=36, width=30
    )
    expected = scene.render(fine).rgb.reshape(12, 3, 10, 3, 3).mean(axis=(1, 3))
    view, plain = scene.render(camera, samples=3), scene.render(camera)
    np.testing.assert_allclose(view.rgb, expected)
    np.testing.assert_array_equal(view.depth, plain.depth)
    assert np.abs(view.rgb - plain.rgb).max() > 0.05
    np.testing.assert_allclose(toy3d("spheres", 1, 12, 10, samples=3).rgb[0], expected)


# Several views


@pytest.mark.parametrize("name", ["spheres", "torus_and_box", "room", "textured"])
def test_views_agree_about_depth(name):
    views = toy3d(name, 8, 40, 40)
    here, there = views[0], views[1]
    points = here.points[here.hit]
    pixels, depths = there.camera.project_points(points)
    eye = there.camera.centre_of_view
    rays = points - eye
    lengths = np.linalg.norm(rays, axis=1)
    hits = views.scene.trace(np.tile(eye, (len(rays), 1)), rays / lengths[:, None])
    assert (hits.distances < lengths + 1e-6).all()  # nothing is seen through a surface
    visible = hits.distances > lengths - 1e-6
    assert visible.mean() > 0.2
    # The same in the image: the pixel's centre is up to half a pixel away, where the surface's
    # tangent plane says how much depth changes.
    inside = ((pixels >= 0) & (pixels < 40)).all(axis=1)
    columns, rows = np.floor(pixels).astype(int).clip(0, 39).T
    seen = visible & inside & (there.part[rows, columns] == here.part[here.hit])
    normals = there.normal[rows, columns]
    place = there.points[rows, columns]
    off_plane = np.abs(((points - place) * normals).sum(axis=1))[seen]
    assert seen.sum() > 100 and np.quantile(off_plane, 0.9) < 0.02
    hidden = inside & ~visible & (there.part[rows, columns] >= 0)
    nearer = depths[hidden] > there.depth[rows, columns][hidden] - 0.1
    assert hidden.sum() == 0 or nearer.mean() > 0.8


def test_flow_to_a_shifted_camera_is_the_disparity():
    scene = toy_scene("textured")
    left = scene.cameras(3, 32, 32)[1]
    right = dataclasses.replace(left, translation=left.translation - [0.2, 0.0, 0.0])
    view = scene.render(left)
    flow = view.flow(0.0, right)
    expected = np.where(view.hit, -left.focal[0] * 0.2 / view.depth, 0.0)
    np.testing.assert_allclose(flow[..., 0], expected, atol=1e-9)
    np.testing.assert_allclose(flow[..., 1], 0.0, atol=1e-9)
    assert np.ptp(expected[view.hit]) > 0.3


@pytest.mark.parametrize("path", ["ring", "spiral"])
@pytest.mark.parametrize("orthographic", [False, True])
def test_cameras_stand_around_the_scene(path, orthographic):
    scene = toy_scene("spheres")
    cameras = scene.cameras(8, 10, 12, path=path, orthographic=orthographic, near=0.1)
    eyes = np.array([camera.centre_of_view for camera in cameras]) - scene.target
    np.testing.assert_allclose(np.linalg.norm(eyes, axis=1), 5.0)
    elevations = np.degrees(np.arcsin(eyes[:, 2] / 5.0))
    if path == "ring":
        np.testing.assert_allclose(elevations, 30.0)
        np.testing.assert_allclose(eyes.sum(axis=0)[:2], 0.0, atol=1e-9)
    else:
        np.testing.assert_allclose(elevations, np.linspace(15.0, 60.0, 8))
    np.testing.assert_allclose(eyes[0, :2] / np.linalg.norm(eyes[0, :2]), [0, -1], atol=1e-12)
    for camera in cameras:
        pixels, depths = camera.project_points([scene.target])
        np.testing.assert_allclose(pixels, [[6.0, 5.0]])
        assert (camera.height, camera.width, camera.near) == (10, 12, 0.1)
        assert camera.orthographic == orthographic and depths[0] == pytest.approx(5.0)
        # The same width of the scene is shown at the target.
        edge = camera.unproject([[12.0, 5.0]], [5.0]) - scene.target
        assert np.linalg.norm(edge) == pytest.approx(5.0 * math.tan(math.radians(22.5)))


def test_cameras_on_an_arc_reach_both_ends():
    scene = toy_scene("room")

    def azimuths(n):
        eyes = [camera.centre_of_view - scene.target for camera in scene.cameras(n, 4, 4)]
        return [math.degrees(math.atan2(eye[1], eye[0])) for eye in eyes]

    np.testing.assert_allclose(azimuths(3), [-80.0, -50.0, -20.0])
    np.testing.assert_allclose(azimuths(1), [-50.0])


# Motion


def test_time_moves_only_what_moves():
    plain = Light(shadows=False)
    scene = toy_scene("moving")
    camera = scene.cameras(1, 40, 40)[0]
    before, after = (scene.render(camera, time, plain) for time in (0.0, 0.15))
    moving = np.array([part.motion is not None for part in scene.parts])
    rest = ~(moving[before.part] & before.hit) & ~(moving[after.part] & after.hit)
    for image in ("rgb", "depth", "part", "normal"):
        np.testing.assert_array_equal(getattr(before, image)[rest], getattr(after, image)[rest])
    assert not before.velocity[rest].any()
    assert (before.part != after.part).sum() > 20 and 0.5 < rest.mean() < 1
    again = scene.render(camera, 1.0, plain)
    np.testing.assert_allclose(again.rgb, before.rgb, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MOVING])
def test_other_scenes_stand_still(all_views, name):
    views = all_views[name]
    assert not views.velocity.any() and all(part.motion is None for part in views.scene.parts)
    np.testing.assert_array_equal(toy3d(name, 3, 20, 24, time=5.0).rgb, views.rgb)


@pytest.mark.parametrize("name", MOVING)
def test_velocities_are_differences_of_places(name):
    scene = toy_scene(name)
    time, step = 0.37, 1e-5
    view = scene.render(scene.cameras(1, 40, 40)[0], time)
    points, parts = view.points[view.hit], view.part[view.hit]
    ends = [scene.carry(points, parts, time, time + s) for s in (-step, step)]
    np.testing.assert_allclose(view.velocity[view.hit], (ends[1] - ends[0]) / (2 * step), atol=1e-7)
    np.testing.assert_allclose(scene.velocity(points, parts, time), view.velocity[view.hit])
    assert np.abs(view.velocity).max() > 0.5
    there = scene.carry(points, parts, time, 0.8)
    np.testing.assert_allclose(scene.carry(there, parts, 0.8, time), points, atol=1e-12)
    known = solids(scene, 0.8)
    own = [naive.distances(known, p)[part] for p, part in zip(there, parts, strict=True)]
    np.testing.assert_allclose(own, 0.0, atol=1e-9)


def test_known_speeds_of_the_moving_scene():
    scene = toy_scene("moving")
    block, swinging, ring, resting = (
        next(i for i, part in enumerate(scene.parts) if part.object == name)
        for name in ("block", "swinging ball", "ring", "resting ball")
    )
    points = np.array([[1.15, 0.0, 0.3], [0.0, 0.0, 1.4], [-0.95, 1.42, 0.6], [0.0, 0.3, 0.3]])
    velocity = scene.velocity(points, np.array([block, swinging, ring, resting]))
    turn = 2.0 * math.pi
    expected = [[0, 1.15 * turn, 0], [0, 0, 0.45 * turn], [0, 0, 0.42 * turn], [0, 0, 0]]
    np.testing.assert_allclose(velocity, expected, atol=1e-12)


def test_flow_is_where_points_go_in_the_image():
    scene = Scene((sphere(0.5, (0.0, 0.0, 0.0), motion=Motion(velocity=(0.3, 0.0, 0.2))),))
    camera = Camera.look_at(
        (0, -5.0, 0), (0, 0, 0), height=30, width=30, extent=3.0, orthographic=True
    )
    view = scene.render(camera)
    flow = view.flow(0.5)
    np.testing.assert_allclose(flow[view.hit], [[1.5, -1.0]] * view.hit.sum(), atol=1e-12)
    assert not flow[~view.hit].any()
    empty = scene.render(dataclasses.replace(camera, translation=(50.0, 0.0, 5.0)))
    assert not empty.hit.any() and not empty.flow(1.0).any()


def test_a_textured_solid_takes_its_texture_along():
    scene = toy_scene("textured")
    motion = Motion(velocity=(0.5, 0.2, -0.1), spin=(0.0, 0.0, 1.0), pivot=(0.3, 0.0, 0.0))
    for kind in ("noise", "checker", "stripes"):
        moving = scene.changing("ball", motion=motion, texture=kind)
        points, parts = moving.only("ball").surface(200, 0)
        there = moving.only("ball").carry(points, parts, 0.0, 2.0)
        before, after = (moving.only("ball").albedo(p, t) for p, t in ((points, 0.0), (there, 2.0)))
        np.testing.assert_allclose(after, before, atol=1e-9)
        assert before.std(axis=0).max() > 0.05


def test_one_time_for_each_view():
    views = toy3d("passer_by", 3, 24, 24, time=[-0.5, 0.0, 0.5])
    assert views.times == (-0.5, 0.0, 0.5)
    person = views.instance == views.scene.objects.index("person")
    places = [views.points[k][person[k]][:, 0].mean() for k in range(3)]
    np.testing.assert_allclose(places, [-0.75, 0.0, 0.75], atol=0.2)


# Textures


def test_contrast_reaches_from_one_colour_to_the_other():
    points = np.random.default_rng(0).uniform(-1, 1, (4000, 3))
    for kind in ("checker", "stripes", "noise"):
        part = box((1, 1, 1), (0, 0, 0), color=(0, 0, 0), other=(1, 1, 1), texture=kind, cell=0.31)
        full = part.paint(points)
        assert full.min() < 0.02 and full.max() > 0.98 and 0.4 < full.mean() < 0.6
        half = dataclasses.replace(part, contrast=0.5).paint(points)
        np.testing.assert_allclose(half, 0.5 * full)
        assert not dataclasses.replace(part, contrast=0.0).paint(points).any()
    flat = toy_scene("textured").with_contrast(0.0)
    assert (
        len(np.unique(flat.render(flat.cameras(1, 30, 30)[0]).albedo.reshape(-1, 3), axis=0)) <= 5
    )


def test_checks_do_not_flicker_on_faces():
    part = box((1.0, 1.0, 0.5), (0, 0, 0), texture="checker", cell=0.5)
    grid = np.array([[x, y, z] for x in (-0.3, 0.3) for y in (-0.2, 0.7) for z in (-0.5, 0.5)])
    for error in (-1e-12, 1e-12):
        np.testing.assert_array_equal(part.paint(grid + [0, 0, error]), part.paint(grid))
    floor = plane((0, 0, 0), texture="checker", cell=0.5)
    colors = floor.paint(np.array([[0.1, 0.1, 1e-13], [0.1, 0.1, -1e-13], [0.6, 0.1, 0.0]]))
    assert (colors[0] == colors[1]).all() and (colors[0] != colors[2]).any()


# Scenes as things to work with


def test_points_drawn_from_a_surface():
    scene = toy_scene("table")
    points, parts = scene.surface(4000, 0)
    assert points.shape == (4000, 3)
    np.testing.assert_allclose(scene.signed_distance(points), 0.0, atol=1e-9)
    again, _ = scene.surface(4000, np.random.default_rng(0))
    np.testing.assert_array_equal(points, again)
    low, high = scene.bounds()
    assert (points >= low).all() and (points <= high).all() and set(parts) <= set(range(14))
    moved, where = toy_scene("moving").surface(300, 1, time=0.4)
    np.testing.assert_allclose(toy_scene("moving").signed_distance(moved, 0.4), 0.0, atol=1e-9)
    assert len(np.unique(where)) == 5


# Beside the area, a region and its share of the area.
SURFACES = [
    (sphere(0.7, (0, 0, 0)), 4 * math.pi * 0.49, lambda p: abs(p[2]) < 0.35, 1 / 2),
    (box((0.5, 1.0, 2.0), (0, 0, 0)), 28.0, lambda p: abs(p[2]) < 1.0, 12 / 28),
    (box((0.5, 1.0, 2.0), (0, 0, 0)), 28.0, lambda p: abs(p[0]) == 0.5, 16 / 28),
    (
        torus(0.8, 0.3, (0, 0, 0)),
        4 * math.pi**2 * 0.24,
        lambda p: np.hypot(p[0], p[1]) > 0.8,
        1 / 2 + 0.3 / (0.8 * math.pi),
    ),
    (capsule((0, 0, -0.6), (0, 0, 0.6), 0.4), 1.6 * math.pi, lambda p: abs(p[2]) < 0.6, 0.6),
    (cylinder(0.5, 0.8, (0, 0, 0)), 2.1 * math.pi, lambda p: abs(p[2]) < 0.8, 1.6 / 2.1),
    (
        cylinder(0.5, 0.8, (0, 0, 0)),
        2.1 * math.pi,
        lambda p: np.hypot(p[0], p[1]) < 0.25,
        0.125 / 2.1,
    ),
]


@pytest.mark.parametrize(("part", "area", "region", "share"), SURFACES)
def test_areas_and_even_draws(part, area, region, share):
    assert part.area() == pytest.approx(area)
    points = part.draw_surface(40000, np.random.default_rng(0))
    np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=0.03)
    assert region(points.T).mean() == pytest.approx(share, abs=0.01)
    f = Scene((part,)).signed_distance(points @ part.rotation.T)
    np.testing.assert_allclose(f, 0.0, atol=1e-12)


def test_scenes_can_be_taken_apart_and_changed():
    table = toy_scene("table")
    mug = table.only("mug")
    assert mug.objects == ("mug",) and len(mug.parts) == 2
    rest = table.without("mug", "table")
    assert rest.objects == ("bottle", "ball", "book", "doughnut", "dumbbell")
    red = table.changing("book", color=(1, 0, 0), texture="plain")
    assert {p.color for p in red.parts if p.object == "book"} == {(1.0, 0.0, 0.0)}
    assert [p for p in red.parts if p.object != "book"] == [
        p for p in table.parts if p.object != "book"
    ]
    more = table.adding(sphere(0.1, (0, 0, 1.5), object="marble"))
    assert more.objects[-1] == "marble" and len(table.objects) == 7
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    parts = [table.only(name).signed_distance(points) for name in table.objects]
    np.testing.assert_allclose(np.min(parts, axis=0), table.signed_distance(points))


def test_a_range_sensor():
    scene = toy_scene("street")
    angles = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    directions = np.column_stack([np.cos(angles), np.sin(angles), 0 * angles])
    hits = scene.trace(np.tile([0.0, -0.6, 0.45], (60, 1)), directions)
    found = {scene.parts[part].object for part in hits.parts if part >= 0}
    assert {"blue car", "red car"} <= found and (hits.parts == -1).any()


def test_capsules_and_planes_point_where_they_should():
    for end in ([0, 0, 2], [0, 0, -2], [1, 2, -0.5], [1e-7, 0, -1]):
        rod = Scene((capsule((0, 0, 0), end, 0.1),))
        line = np.linspace(0, 1, 5)[:, None] * np.array(end, dtype=float)
        np.testing.assert_allclose(rod.signed_distance(line), -0.1, atol=1e-9)
    for normal in ([0, 0, 1], [0, 0, -3], [1, -1, 0.5]):
        wall = Scene((plane((1, 2, 3), normal),))
        unit = np.array(normal) / np.linalg.norm(normal)
        np.testing.assert_allclose(wall.signed_distance([[1, 2, 3] + 0.7 * unit]), 0.7)
        np.testing.assert_allclose(wall.normal([[0, 0, 0]]), [unit], atol=1e-12)


def test_random_scenes():
    counts = set()
    for seed in range(30):
        scene = toy_scene("random", seed)
        counts.add(len(scene.parts) - 1)
        known = solids(scene)
        points, parts = scene.surface(200, 0)
        for p, part in list(zip(points, parts, strict=True))[::5]:
            if part:  # solids stand on the floor, apart from each other
                f = np.delete(naive.distances(known[1:], p), part - 1)
                assert f.size == 0 or f.min() > 0.01
                assert p[2] > -1e-9 and math.hypot(p[0], p[1]) < 1.75
    assert counts == {2, 3, 4, 5, 6}
    kinds = {p.kind for seed in range(30) for p in toy_scene("random", seed).parts}
    assert kinds == set(KINDS) - {"plane"}


@pytest.mark.parametrize("name", ["random", "textured"])
def test_the_same_seed_gives_the_same_images(name):
    one, same, other = (toy3d(name, 2, 16, 16, seed=seed) for seed in (3, 3, 4))
    for image in IMAGES:
        np.testing.assert_array_equal(getattr(one, image), getattr(same, image))
    assert np.abs(one.rgb - other.rgb).max() > 0.1
    np.testing.assert_array_equal(toy3d(toy_scene(name, 3), 2, 16, 16).rgb, one.rgb)


def test_inputs_are_left_alone():
    rotation, direction = turned((0.0, 0.3, 0.0)), np.array([1.0, 2.0, 3.0])
    part = box((1, 1, 1), (0, 0, 0), rotation=rotation)
    Light(direction)
    rotation[0, 0] = 5.0
    assert part.rotation[0, 0] != 5.0 and (direction == [1, 2, 3]).all()
    with pytest.raises(dataclasses.FrozenInstanceError):
        toy3d("spheres", 1, 4, 4).rgb = 0


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scene": "sphere"}, "scene must be one of .* did you mean 'spheres'"),
        ({"scene": None}, "scene must be one of"),
        ({"n_views": 0}, "n_views must be an integer of at least 1, got 0"),
        ({"n_views": 2.0}, "n_views must be an integer"),
        ({"height": 0}, "height must be an integer"),
        ({"width": -3}, "width must be an integer"),
        ({"time": np.nan}, "time must be a number"),
        ({"time": "now"}, "time must be"),
        ({"time": [0.0, 1.0]}, "time must have length 3, got length 2"),
        ({"time": [0.0, np.inf, 1.0]}, "time must be finite"),
        ({"light": (1, 0, 0)}, "light must be a Light"),
        ({"seed": -1}, "seed must be an integer"),
        ({"seed": 0.5}, "seed must be an integer"),
        ({"path": "line"}, "path must be one of 'ring', 'spiral'"),
        ({"orthographic": 1}, "orthographic must be True or False"),
        ({"samples": 0}, "samples must be an integer between 1 and 16"),
        ({"height": 30000, "width": 30000, "n_views": 3000}, "images must fit in memory"),
    ],
)
def test_arguments_of_toy3d(options, message):
    with pytest.raises(ValueError, match=message):
        toy3d(**{"n_views": 3, "height": 4, "width": 4, **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sphere(-1, (0, 0, 0)), "size of a sphere must be positive"),
        (lambda: Part("sphere", 1.0), "size must be a vector"),
        (lambda: Part("cone", (1.0,)), "kind must be one of"),
        (lambda: sphere(1, (0, 0)), "position must have length 3"),
        (lambda: sphere(1, (0, 0, 0), color=(0, 0, 2)), "color must have three numbers between"),
        (lambda: sphere(1, (0, 0, 0), texture="dots"), "texture must be one of"),
        (lambda: sphere(1, (0, 0, 0), contrast=2), "contrast must be a number between 0"),
        (lambda: sphere(1, (0, 0, 0), cell=0), "cell must be a positive number"),
        (lambda: sphere(1, (0, 0, 0), gloss=-1), "gloss must be"),
        (lambda: sphere(1, (0, 0, 0), shininess=0), "shininess must be"),
        (lambda: sphere(1, (0, 0, 0), object=""), "object must be a name"),
        (lambda: sphere(1, (0, 0, 0), category=3), "category must be a name"),
        (lambda: sphere(1, (0, 0, 0), motion=1), "motion must be a Motion or None"),
        (lambda: sphere(1, (0, 0, 0), seed=-1), "seed must be an integer"),
        (lambda: box((1, 1, 1), (0, 0, 0), rotation=2 * np.eye(3)), "rotations must be ortho"),
        (lambda: capsule((0, 0, 0), (0, 0, 0), 1), "end must differ from start"),
        (lambda: capsule((0, 0, 0), (0, 0, 1), 0), "radius must be a positive number"),
        (lambda: plane((0, 0, 0), (0, 0, 0)), r"normal must not be \(0, 0, 0\)"),
        (lambda: plane((0, 0, 0)).draw_surface(3, None), "kind must be a solid with an end"),
        (lambda: Motion(velocity=(1, 2)), "velocity must have length 3"),
        (lambda: Motion(period=0), "period must be a positive number"),
        (lambda: Motion(spin=(1, 0, 0), rock=(0, 1, 0)), "rock must be along the axis of spin"),
        (lambda: Light((0, 0, 0)), r"direction must not be \(0, 0, 0\)"),
        (lambda: Light(diffuse=-1), "diffuse must be"),
        (lambda: Light(color=(1, 1, 1.5)), "color must have three numbers"),
        (lambda: Light(position=(1, 1)), "position must have length 3"),
        (lambda: Light(shadows=2), "shadows must be True or False"),
        (lambda: Scene(()), "parts must be a tuple of at least one Part"),
        (lambda: Scene((1,)), "parts must be a tuple of at least one Part"),
        (lambda: Scene((BALL,), radius=0), "radius must be a positive number"),
        (lambda: Scene((BALL,), elevation=90), "elevation must be a number between"),
        (lambda: Scene((BALL,), arc=(0, 400)), "arc must be a number between"),
        (lambda: Scene((BALL,), field_of_view=0), "field_of_view must be"),
        (lambda: Scene((BALL,), background=(0, 0, -1)), "background must have three numbers"),
        (lambda: Scene((BALL,), light=0), "light must be a Light"),
        (lambda: Scene((BALL,), categories=("cat",)), "category must be one of 'cat'"),
        (
            lambda: Scene((BALL, dataclasses.replace(BALL, category="ring"))),
            "category must be the same for all parts of 'ball'",
        ),
    ],
)
def test_parts_lights_and_scenes_that_are_none(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.render(None), "camera must be a Camera"),
        (lambda s: s.render(look(), np.inf), "time must be a number"),
        (lambda s: s.render(look(), light=3), "light must be a Light"),
        (lambda s: s.render(look(), samples=True), "samples must be an integer"),
        (lambda s: s.signed_distance(np.zeros(3)), "points must be a matrix"),
        (lambda s: s.normal(np.zeros((2, 2))), "points must have 3 columns"),
        (lambda s: s.albedo([[np.nan, 0, 0]]), "points must be finite"),
        (lambda s: s.velocity(np.zeros((2, 3)), [0]), r"parts must be integers of shape \(2,\)"),
        (lambda s: s.velocity(np.zeros((1, 3)), [0.0]), "parts must be integers"),
        (lambda s: s.velocity(np.zeros((1, 3)), [4]), "parts must lie between 0 and 3"),
        (lambda s: s.carry(np.zeros((1, 3)), [-1], 0, 1), "parts must lie between 0 and 3"),
        (lambda s: s.carry(np.zeros((1, 3)), [0], 0, None), "end must be a number"),
        (lambda s: s.only("cube"), "object must be one of"),
        (lambda s: s.only(), "parts must be a tuple of at least one Part"),
        (lambda s: s.without(*s.objects), "parts must be a tuple of at least one Part"),
        (lambda s: s.changing("cube", gloss=1), "object must be one of"),
        (lambda s: s.changing("floor", colour=1), "fields must be fields of Part, got colour"),
        (lambda s: s.with_contrast(-1), "contrast must be a number between"),
        (lambda s: s.surface(0, 0), "n must be an integer of at least 1"),
        (lambda s: s.surface(5, "a"), "rng must be"),
        (lambda s: s.cameras(0, 4, 4), "n_views must be an integer"),
        (lambda s: s.cameras(1, 4, 4, near=0), "near must be a positive number"),
        (lambda s: s.trace(np.zeros((1, 3)), [[0, 0, 1.0]]), "origins must lie outside .* 'floor'"),
        (lambda s: toy_scene("room").only("floor").bounds(), "planes only"),
        (lambda s: toy_scene("room").only("floor").surface(3, 0), "planes only"),
    ],
)
def test_what_a_scene_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(toy_scene("spheres"))


def test_a_camera_inside_a_solid_is_refused():
    camera = Camera.look_at(BALL.position, (5, 0, 0), height=4, width=4)
    with pytest.raises(ValueError, match="camera must stand outside of all solids.*'ball'"):
        Scene((BALL,)).render(camera)
    wide = look(orthographic=True, extent=30.0)
    with pytest.raises(ValueError, match="camera must stand outside of all solids"):
        Scene((plane((0, 0, 0)),)).render(wide)
    with pytest.raises(ValueError, match="position of the light must not lie on a surface"):
        lamp = Light(position=(0.0, 0.0, 0.0))
        lamp.towards(np.zeros((1, 3)))
