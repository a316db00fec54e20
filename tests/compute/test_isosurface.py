"""Marching tetrahedra: closed, turned outwards, near the truth, and as skimage says."""

import numpy as np
import pytest

from kernellab.compute.isosurface import marching_tetrahedra, sample_triangles, welded


def grid(side, low=-1.0, high=1.0):
    axis = np.linspace(low, high, side)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def ball(side, radius=0.713, stretch=(1.0, 1.0, 1.0)):
    values = np.linalg.norm(grid(side) * stretch, axis=-1) - radius
    return values, marching_tetrahedra(values, spacing=2 / (side - 1), origin=(-1, -1, -1))


def normals(mesh):
    a, b, c = mesh.vertices[mesh.triangles].transpose(1, 0, 2)
    return np.cross(b - a, c - a), (a + b + c) / 3


def naive(values, level):
    """Every tetrahedron on its own: corners of its triangles as points."""
    from itertools import permutations, product

    corners = set()
    for cell in product(*(range(n - 1) for n in values.shape)):
        for order in permutations(range(3)):
            path = [np.array(cell)]
            for axis in order:
                path.append(path[-1] + np.eye(3, dtype=int)[axis])
            f = [values[tuple(p)] for p in path]
            for i in range(4):
                for j in range(i + 1, 4):
                    if (f[i] < level) != (f[j] < level):
                        share = (level - f[i]) / (f[j] - f[i])
                        corners.add(tuple(np.round(path[i] + share * (path[j] - path[i]), 9)))
    return np.array(sorted(corners))


@pytest.mark.compiled
@pytest.mark.parametrize("level", [0.0, 0.4])
def test_vertices_are_those_of_a_plain_version(level):
    values = np.random.default_rng(0).normal(size=(4, 5, 3))
    mesh = marching_tetrahedra(values, level)
    found = np.array(sorted({tuple(np.round(v, 9)) for v in mesh.vertices}))
    assert found.shape == naive(values, level).shape
    assert np.allclose(found, naive(values, level))


def test_a_ball_is_closed_and_turned_outwards():
    values, mesh = ball(21)
    edges = np.concatenate([mesh.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    directed = {tuple(e) for e in edges}
    assert len(directed) == len(edges) and all((b, a) in directed for a, b in directed)
    assert len(mesh.vertices) - len(edges) // 2 + len(mesh.triangles) == 2  # Euler
    normal, middle = normals(mesh)
    large = (
        np.linalg.norm(normal, axis=1) > 1e-9
    )  # where the ball meets a grid point, a few are not
    assert large.mean() > 0.95 and ((normal * middle).sum(axis=1)[large] > 0).all()
    flat = values.ravel()
    assert (flat[mesh.edges[:, 0]] < 0).all() and (flat[mesh.edges[:, 1]] >= 0).all()


def test_normals_point_to_larger_values_of_any_field():
    field = np.sin(3 * grid(24)).sum(axis=-1)
    mesh = marching_tetrahedra(field, 0.3, spacing=2 / 23, origin=(-1, -1, -1))
    normal, middle = normals(mesh)
    up = (normal * 3 * np.cos(3 * middle)).sum(axis=1)
    large = np.linalg.norm(normal, axis=1) > 1e-5
    assert (up[large] > 0).all()


def test_error_falls_with_the_square_of_the_spacing():
    errors = []
    for side in (11, 21, 41):
        mesh = ball(side)[1]
        errors.append(np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.713).mean())
    slopes = np.diff(np.log(errors)) / np.diff(np.log([0.2, 0.1, 0.05]))
    assert np.all(slopes > 1.7)
    normal, _ = normals(ball(41)[1])
    assert np.linalg.norm(normal, axis=1).sum() / 2 == pytest.approx(4 * np.pi * 0.713**2, rel=0.01)


def test_agrees_with_skimage():
    measure = pytest.importorskip("skimage.measure")
    values, mesh = ball(25, stretch=(1.0, 1.3, 0.8))
    vertices, faces, _, _ = measure.marching_cubes(values, 0.0, spacing=(2 / 24,) * 3)
    area = np.linalg.norm(normals(mesh)[0], axis=1).sum() / 2
    assert area == pytest.approx(measure.mesh_surface_area(vertices, faces), rel=0.01)


def test_unknown_values_leave_a_hole_and_nothing_else():
    values, whole = ball(15)
    torn = values.copy()
    torn[:7] = np.nan
    mesh = marching_tetrahedra(torn, spacing=2 / 14, origin=(-1, -1, -1))
    assert 0 < len(mesh.triangles) < len(whole.triangles)
    assert np.isfinite(mesh.vertices).all() and mesh.vertices[:, 0].min() >= 0.0 - 1e-12
    assert set(mesh.triangles.ravel()) == set(range(len(mesh.vertices)))


def test_no_crossing_gives_an_empty_mesh():
    mesh = marching_tetrahedra(np.ones((3, 3, 3)))
    assert mesh.vertices.shape == (0, 3) and mesh.triangles.shape == (0, 3)


def test_a_welded_ball_is_lighter_and_still_a_ball():
    _, mesh = ball(21)
    vertices, triangles = welded(mesh, grid(21).reshape(-1, 3))
    assert len(triangles) < 0.35 * len(mesh.triangles)
    assert np.abs(np.linalg.norm(vertices, axis=1) - 0.713).max() < 0.02
    edges = np.sort(np.concatenate([triangles[:, p] for p in ([0, 1], [1, 2], [2, 0])]), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()  # closed
    assert len(vertices) - len(unique) + len(triangles) == 2
    with pytest.raises(ValueError, match="grid must have"):
        welded(mesh, np.ones((5, 3)))
    empty = marching_tetrahedra(np.ones((3, 3, 3)))
    assert welded(empty, np.ones((27, 3)))[1].shape == (0, 3)


def test_samples_are_even_over_the_area():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 3, 0.0]])
    points = sample_triangles(vertices, np.array([[0, 1, 2], [1, 3, 2]]), 4000, 0)
    share = np.mean(points[:, 0] + points[:, 1] < 1)
    assert share == pytest.approx(0.5 / 3.0, abs=0.03)
    small = points[points[:, 0] + points[:, 1] < 1]
    assert np.allclose(small.mean(axis=0), [1 / 3, 1 / 3, 0], atol=0.04)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"values": np.ones((2, 2))}, "values must have shape"),
        ({"values": np.ones((1, 2, 2))}, "values must have shape"),
        ({"values": np.full((2, 2, 2), np.inf)}, "finite or NaN"),
        ({"values": np.ones((2, 2, 2)), "spacing": 0.0}, "spacing"),
        ({"values": np.ones((2, 2, 2)), "level": np.nan}, "level"),
        ({"values": np.ones((2, 2, 2)), "origin": (0, 0)}, "origin"),
    ],
)
def test_bad_fields_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        marching_tetrahedra(**arguments)


@pytest.mark.parametrize(
    ("triangles", "n", "says"),
    [
        (np.array([[0, 1, 3]]), 5, "indices of the 3 vertices"),
        (np.array([[0, 1, -1]]), 5, "indices of the 3 vertices"),
        (np.array([[0.0, 1, 2]]), 5, "integers"),
        (np.zeros((0, 3), int), 5, "indices"),
        (np.array([[0, 0, 0]]), 5, "area"),
        (np.array([[0, 1, 2]]), 0, "n must"),
    ],
)
def test_bad_meshes_are_refused(triangles, n, says):
    with pytest.raises(ValueError, match=says):
        sample_triangles(np.eye(3), triangles, n, 0)
