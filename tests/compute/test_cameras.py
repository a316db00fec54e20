import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernellab.compute.cameras import Camera

EYES = [(0, -4, 0), (3, 2, 1), (-1, 0.5, -5)]


def camera(eye=(3.0, 2.0, 1.0), orthographic=False, **options):
    kind = {"extent": 5.0} if orthographic else {"field_of_view": 50.0}
    sides = {"height": 30, "width": 40}
    return Camera.look_at(
        eye, (0.1, 0.2, -0.3), orthographic=orthographic, **{**sides, **kind, **options}
    )


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("eye", EYES)
def test_target_is_in_the_middle_and_up_is_up(eye, orthographic):
    view = camera(eye, orthographic)
    target = np.array([0.1, 0.2, -0.3])
    points = np.stack([target, target + [0, 0, 0.1], target + 0.1 * view.rotation[0]])
    pixels, depths = view.project_points(points)
    np.testing.assert_allclose(pixels[0], [20, 15], atol=1e-10)
    assert depths[0] == pytest.approx(np.linalg.norm(target - eye), rel=1e-12)
    assert pixels[1, 0] == pytest.approx(20, abs=1e-9) and pixels[1, 1] < 15
    assert pixels[2, 0] > 20 and pixels[2, 1] == pytest.approx(15, abs=1e-9)
    np.testing.assert_allclose(view.centre_of_view, eye, atol=1e-12)


def test_rotation_is_one():
    view = camera()
    np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(view.rotation) == pytest.approx(1.0)


def test_edges_of_the_image_are_the_field_of_view_and_the_extent():
    angle = np.radians(25.0)
    view = Camera.look_at((0, 0, 0), (0, 1, 0), field_of_view=50, height=30, width=40)
    edge = view.project_points([[np.sin(angle), np.cos(angle), 0.0]])[0]
    np.testing.assert_allclose(edge, [[40, 15]], atol=1e-10)
    flat = Camera.look_at((0, 0, 0), (0, 1, 0), extent=5, height=30, width=40, orthographic=True)
    np.testing.assert_allclose(flat.project_points([[2.5, 1, 0]])[0], [[40, 15]], atol=1e-10)


@pytest.mark.parametrize("orthographic", [False, True])
def test_rays_pass_through_their_pixels(orthographic):
    view = camera(orthographic=orthographic)
    origins, directions = view.rays()
    assert origins.shape == directions.shape == (30, 40, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0, atol=1e-14)
    pixels = view.project_points((origins + 2.5 * directions).reshape(-1, 3))[0]
    rows, columns = np.divmod(np.arange(1200), 40)
    np.testing.assert_allclose(pixels, np.column_stack([columns, rows]) + 0.5, atol=1e-9)
    if not orthographic:
        np.testing.assert_allclose(origins[3, 4], view.centre_of_view, atol=1e-14)
    else:
        np.testing.assert_allclose(view.to_camera(origins.reshape(-1, 3))[:, 2], 0, atol=1e-12)


@given(seed=st.integers(0, 10**6), orthographic=st.booleans())
def test_unproject_inverts_project_points(seed, orthographic):
    rng = np.random.default_rng(seed)
    view = camera(rng.standard_normal(3) + [4, 0, 0], orthographic)
    pixels, depths = rng.uniform(-20, 60, (9, 2)), rng.uniform(0.1, 9, 9)
    points = view.unproject(pixels, depths)
    again, z = view.project_points(points)
    np.testing.assert_allclose(again, pixels, atol=1e-7)
    np.testing.assert_allclose(z, depths, rtol=1e-9)
    assert view.in_front(points).all()


def test_arrays_cannot_be_changed_and_are_copies():
    rotation = np.eye(3)
    view = Camera(rotation, np.zeros(3), (50, 40), (3, 3), 6, 6)
    rotation[0, 0] = 7.0
    assert view.rotation[0, 0] == 1.0
    with pytest.raises(ValueError):
        view.rotation[0, 0] = 2.0
    with pytest.raises(AttributeError):
        view.height = 4


def test_points_behind_are_refused():
    view = camera()
    behind = view.centre_of_view - view.rotation[2]
    assert view.in_front([behind, [0, 0, 0]]).tolist() == [False, True]
    with pytest.raises(ValueError, match=r"points must lie in front .* index 1"):
        view.project_points([[0, 0, 0], behind])
    with pytest.raises(ValueError, match="depths must be above near"):
        view.unproject([[1, 1]], [0.0])


BAD = [
    ({"rotation": np.eye(2)}, "rotation"),
    ({"rotation": -np.eye(3)}, "rotation must be orthonormal"),
    ({"rotation": 2 * np.eye(3)}, "rotation must be orthonormal"),
    ({"translation": [0, 0]}, "translation"),
    ({"translation": [0, 0, np.nan]}, "translation"),
    ({"focal": (0, 1)}, "focal"),
    ({"focal": 3.0}, "focal"),
    ({"centre": (1, np.inf)}, "centre"),
    ({"height": 0}, "height"),
    ({"width": 3.5}, "width"),
    ({"near": 0.0}, "near"),
    ({"orthographic": "yes"}, "orthographic"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_cameras_are_refused(change, message):
    good = {
        "rotation": np.eye(3),
        "translation": np.zeros(3),
        "focal": (10, 10),
        "centre": (4, 4),
        "height": 8,
        "width": 8,
    }
    Camera(**good)
    with pytest.raises(ValueError, match=message):
        Camera(**{**good, **change})


BAD_LOOKS = [
    ({"target": (3.0, 2.0, 1.0)}, "target must differ"),
    ({"up": (0, 0, 0)}, "up must not"),
    ({"up": (-6, -4, -2)}, "up must not"),
    ({"eye": (1, 2)}, "eye"),
    ({"field_of_view": 0.0}, "field_of_view"),
    ({"field_of_view": 180.0}, "field_of_view"),
    ({"extent": 2.0}, "extent must be None"),
    ({"orthographic": True}, "extent"),
    ({"orthographic": True, "extent": 2.0, "field_of_view": 30.0}, "field_of_view must be None"),
]


@pytest.mark.parametrize(("change", "message"), BAD_LOOKS)
def test_bad_looks_are_refused(change, message):
    good = {"eye": (3.0, 2.0, 1.0), "target": (0.0, 0.0, 0.0), "height": 8, "width": 8}
    with pytest.raises(ValueError, match=message):
        Camera.look_at(**{**good, **change})


@pytest.mark.parametrize(
    "points", [[1, 2, 3], np.zeros((2, 2)), np.zeros((0, 3)), [[0, 0, np.nan]]]
)
def test_bad_points_are_refused(points):
    for method in (camera().project_points, camera().to_camera, camera().in_front):
        with pytest.raises(ValueError, match="points"):
            method(points)
