"""The tracer against plain loops, closed forms and dense samples of surfaces."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from kernellab.compute import sphere_tracing as tracing
from kernellab.compute.compiled import registry
from kernellab.compute.sphere_tracing import KINDS, Shapes
from tests.naive import sphere_tracing as naive

pytestmark = pytest.mark.compiled

SIZES = {
    "sphere": (0.8,),
    "box": (0.9, 0.5, 0.3),
    "torus": (0.9, 0.3),
    "capsule": (0.6, 0.4),
    "cylinder": (0.7, 0.4),
    "plane": (),
}
FORMS = list(SIZES)


def rotation(rng):
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.linalg.det(q))


def solids(seed=0):
    """One solid of each kind, turned and in its place; the plane lies below."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-1.5, 1.5, (6, 3))
    return [
        (kind, size, np.array([0.0, 0.0, -3.0]), None)
        if kind == "plane"
        else (kind, size, place, rotation(rng))
        for (kind, size), place in zip(SIZES.items(), places, strict=True)
    ]


def rays(n, seed=0, reach=1.8):
    """Rays from a far sphere's upper half towards the middle."""
    rng = np.random.default_rng(seed)
    origins = rng.standard_normal((n, 3))
    origins *= 6.0 / np.linalg.norm(origins, axis=1, keepdims=True)
    origins[:, 2] = np.abs(origins[:, 2])
    directions = rng.uniform(-reach, reach, (n, 3)) - origins
    return origins, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def one(kind):
    return Shapes.of([(kind, SIZES[kind], (0.0, 0.0, 0.0), None)])


def surface(kind, fine=400):
    """A fine net of points on a solid's surface, by its parametric form."""
    a, b, c = (*SIZES[kind], 0.0, 0.0)[:3]
    turn = np.linspace(0.0, 2.0 * math.pi, fine, endpoint=False)
    u, v = (w.ravel() for w in np.meshgrid(turn, np.linspace(0.0, 1.0, fine)))
    ring = np.stack([np.cos(u), np.sin(u)], axis=1)

    def around(radius, height):
        return np.column_stack([np.broadcast_to(radius, u.shape)[:, None] * ring, height])

    if kind == "sphere":
        return around(a * np.sin(math.pi * v), a * np.cos(math.pi * v))
    if kind == "torus":
        tube = 2.0 * math.pi * v
        return around(a + b * np.cos(tube), b * np.sin(tube))
    if kind == "cylinder":
        caps = [around(a * v, np.full(u.shape, h)) for h in (-b, b)]
        return np.concatenate([*caps, around(a, b * (2.0 * v - 1.0))])
    if kind == "capsule":
        ball = around(b * np.sin(math.pi * v), b * np.cos(math.pi * v))
        ball[:, 2] += np.copysign(a, ball[:, 2])
        return np.concatenate([ball, around(b, a * (2.0 * v - 1.0))])
    p, q = (w.ravel() for w in np.meshgrid(*[np.linspace(-1.0, 1.0, fine)] * 2))
    faces = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            face = np.insert(np.stack([p, q], axis=1), axis, side, axis=1)
            faces.append(face * (a, b, c))
    return np.concatenate(faces)


# Signed distances


@pytest.mark.parametrize("kind", [k for k in FORMS if k != "plane"])
def test_distances_are_those_to_dense_samples(kind):
    points = np.random.default_rng(1).uniform(-1.6, 1.6, (400, 3))
    ours, _ = tracing.signed_distance(one(kind), points)
    brute, _ = cKDTree(surface(kind)).query(points)
    assert (np.abs(ours) <= brute + 1e-12).all()
    assert np.abs(np.abs(ours) - brute).max() < 0.01
    assert (ours < 0).any() and (ours > 0).any()


def test_distance_to_a_plane():
    points = np.random.default_rng(1).uniform(-2, 2, (50, 3))
    np.testing.assert_array_equal(tracing.signed_distance(one("plane"), points)[0], points[:, 2])


@pytest.mark.parametrize("seed", [0, 1])
def test_signed_distance_is_the_loop(seed):
    points = np.random.default_rng(seed).uniform(-3, 3, (200, 3))
    points[:10] = 0.0
    expected = np.array([naive.distances(solids(seed), p) for p in points])
    ours, parts = tracing.signed_distance(Shapes.of(solids(seed)), points)
    np.testing.assert_allclose(ours, expected.min(axis=1), atol=1e-14)
    np.testing.assert_array_equal(parts, expected.argmin(axis=1))


def test_gradients_are_differences():
    points = np.random.default_rng(2).uniform(-3, 3, (300, 3))
    ours = tracing.gradients(Shapes.of(solids()), points)
    expected = np.array([naive.gradient(solids(), p) for p in points])
    smooth = np.linalg.norm(expected, axis=1) > 1.0 - 1e-8  # kinks make differences shorter
    assert smooth.mean() > 0.97
    np.testing.assert_allclose(ours[smooth], expected[smooth], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("kind", FORMS)
def test_middles_and_axes_give_finite_numbers(kind):
    points = np.array([[0, 0, 0], [0, 0, 0.1], [0, 0, 5], [0, 0, -5], [0.9, 0, 0], [0, 0, 0.6]])
    f, _ = tracing.signed_distance(one(kind), points)
    np.testing.assert_allclose(
        f, [naive.distance(kind, SIZES[kind], p) for p in points], atol=1e-15
    )
    gradients = tracing.gradients(one(kind), points)
    lengths = np.linalg.norm(gradients, axis=1)
    # On a torus's axis the distance has a kink: the gradient there is that along the axis.
    assert (lengths <= 1.0 + 1e-12).all()
    if kind != "torus":
        np.testing.assert_allclose(lengths, 1.0)


# Rays


def test_trace_is_the_loop():
    shapes = Shapes.of(solids())
    origins, directions = rays(250)
    hits = tracing.trace(shapes, origins, directions)
    assert set(hits.parts) == set(range(-1, 6))
    for j in range(len(origins)):
        t, part = naive.trace(solids(), origins[j], directions[j])
        if part != hits.parts[j]:  # the loop stops 1e-9 before a silhouette
            assert naive.distances(solids(), origins[j] + t * directions[j])[part] < 1e-8
            continue
        grazing = abs(hits.normals[j] @ directions[j])
        assert hits.distances[j] == t or abs(hits.distances[j] - t) < 2e-9 / grazing
    missing = hits.parts < 0
    assert (hits.distances[missing] == np.inf).all() and not hits.normals[missing].any()


def test_the_loop_finds_misses_too():
    shapes = Shapes.of(solids()[:5])
    origins, directions = rays(150, seed=3, reach=4.0)
    hits = tracing.trace(shapes, origins, directions)
    expected = [
        naive.trace(solids()[:5], o, d)[1] for o, d in zip(origins, directions, strict=True)
    ]
    np.testing.assert_array_equal(hits.parts, expected)
    assert 20 < (hits.parts < 0).sum() < 130


def test_a_sphere_by_its_closed_form():
    origins, directions = rays(3000, reach=1.0)
    middle = np.einsum("ij,ij->i", origins, directions)
    under = middle**2 - np.einsum("ij,ij->i", origins, origins) + 0.64
    expected = np.where(under > 0, -middle - np.sqrt(np.abs(under)), np.inf)
    hits = tracing.trace(one("sphere"), origins, directions)
    np.testing.assert_array_equal(hits.parts >= 0, under > 0)
    np.testing.assert_allclose(hits.distances, expected, atol=1e-9)
    hit = under > 0
    points = origins[hit] + expected[hit, None] * directions[hit]
    np.testing.assert_allclose(hits.normals[hit], points / 0.8, atol=1e-8)


def test_a_torus_by_the_roots_of_its_quartic():
    """(|p|^2 + R^2 - r^2)^2 = 4 R^2 (x^2 + y^2), the first root along each ray."""
    ring, tube = SIZES["torus"]
    origins, directions = rays(1500, reach=1.3)
    hits = tracing.trace(one("torus"), origins, directions)
    near_miss = 0
    for o, d, t in zip(origins, directions, hits.distances, strict=True):
        square = np.poly1d([1.0, 2.0 * o @ d, o @ o + ring**2 - tube**2])
        flat = np.poly1d([d[:2] @ d[:2], 2.0 * o[:2] @ d[:2], o[:2] @ o[:2]])
        roots = (square * square - 4.0 * ring**2 * flat).roots
        real = np.sort(roots.real[np.abs(roots.imag) < 1e-6])
        if len(real) and t < np.inf:
            assert min(abs(real - t)) < 1e-6 and t < real[0] + 1e-6
        else:
            near_miss += len(real) > 0 or t < np.inf
    assert near_miss <= 1
    assert 300 < (hits.parts >= 0).sum() < 1400


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
def test_silhouettes_are_sharp(kind, gap):
    """Rays along a tangent, a little outside and a little inside."""
    top = {"capsule": 0.4, "torus": 0.3, "box": 0.3, "cylinder": 0.4, "plane": 0.0}.get(kind, 0.8)
    if kind == "capsule":
        origins = np.array([[-9.0, top + gap, 0.1], [-9.0, top - gap, 0.1]])
    else:
        origins = np.array([[-9.0, 0.0, top + gap], [-9.0, 0.0, top - gap]])
    directions = np.tile([1.0, 0.0, 0.0], (2, 1))
    if kind == "plane":
        directions = np.array([[1.0, 0.0, 1e-9], [1.0, 0.0, -1e-6]])
        origins[1, 2] = gap
    if kind == "torus":  # over the ring: the ray touches the near side first
        origins[:, 1] = 0.9
    hits = tracing.trace(one(kind), origins, directions)
    assert hits.parts.tolist() == [-1, 0]


def test_a_ray_through_the_hole_of_a_torus_hits_nothing():
    origins, directions = np.array([[0.0, 0.0, 5.0]]), np.array([[0.0, 0.0, -1.0]])
    assert tracing.trace(one("torus"), origins, directions).parts[0] == -1
    slanted = np.array([[0.4, 0.0, -1.0]]) / math.hypot(0.4, 1.0)
    assert tracing.trace(one("torus"), origins, slanted).parts[0] == -1
    assert tracing.trace(one("torus"), origins - [0.0, 0.0, 5.0], slanted).parts[0] == -1


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_hits_lie_on_the_surface_and_nothing_is_before_them(seed):
    shapes = Shapes.of(solids(seed))
    origins, directions = rays(40, seed)
    hits = tracing.trace(shapes, origins, directions)
    hit = hits.parts >= 0
    points = origins[hit] + hits.distances[hit, None] * directions[hit]
    f, _ = tracing.signed_distance(shapes, points)
    assert np.abs(f).max() < 1e-10
    assert (np.einsum("ij,ij->i", hits.normals[hit], directions[hit]) <= 1e-6).all()
    ends = np.minimum(hits.distances, 15.0) - 1e-6
    steps = np.linspace(0.0, 1.0, 300)[:, None, None] * ends[:, None]
    before, _ = tracing.signed_distance(shapes, (origins + steps * directions).reshape(-1, 3))
    assert before.min() > -1e-9


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_a_rigid_motion_of_everything_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    turn, shift = rotation(rng), rng.uniform(-2, 2, 3)
    origins, directions = rays(60, seed)
    before = tracing.trace(Shapes.of(solids(seed)), origins, directions)
    moved = [
        (kind, size, turn @ place + shift, turn @ (np.eye(3) if own is None else own))
        for kind, size, place, own in solids(seed)
    ]
    after = tracing.trace(Shapes.of(moved), origins @ turn.T + shift, directions @ turn.T)
    same = before.parts == after.parts  # a silhouette may fall to either side
    assert same.mean() > 0.98
    grazing = np.abs(np.einsum("ij,ij->i", before.normals, directions))
    clear = same & (before.parts >= 0) & (grazing > 1e-3)
    np.testing.assert_allclose(after.distances[clear], before.distances[clear], atol=1e-9)
    np.testing.assert_allclose(after.normals[clear], before.normals[clear] @ turn.T, atol=1e-5)


def test_blocked_is_a_hit_before_the_limit():
    shapes = Shapes.of(solids())
    origins, directions = rays(400, seed=5, reach=4.0)
    distances = tracing.trace(shapes, origins, directions).distances
    np.testing.assert_array_equal(tracing.blocked(shapes, origins, directions), distances < np.inf)
    np.testing.assert_array_equal(tracing.blocked(shapes, origins, directions, 5.0), distances < 5)
    limits = np.where(np.arange(400) % 2, distances + 1e-6, np.maximum(distances - 1e-6, 1e-3))
    limits[np.isinf(distances)] = 10.0
    expected = (np.arange(400) % 2 == 1) & (distances < np.inf)
    np.testing.assert_array_equal(tracing.blocked(shapes, origins, directions, limits), expected)


@pytest.mark.parametrize("kind", FORMS)
def test_a_surface_does_not_block_itself(kind):
    if kind == "plane":
        points = np.column_stack([np.random.default_rng(0).uniform(-1, 1, (300, 2)), np.zeros(300)])
    else:
        points = surface(kind, 40)
    normals = tracing.gradients(one(kind), points)
    starts = points + 1e-6 * normals
    assert not tracing.blocked(one(kind), starts, normals, 0.3).any()
    if kind not in ("torus",):  # convex: nothing above the tangent plane
        side = np.cross(normals, [0.36, 0.48, 0.8])
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        low = 0.8 * side + 0.6 * normals
        assert not tracing.blocked(one(kind), starts, low).any()


def test_a_solid_around_the_origin_is_not_seen():
    shapes = Shapes.of([("box", (2.0, 2.0, 2.0), (0, 0, 0), None)])
    assert tracing.trace(shapes, np.zeros((1, 3)), [[0.0, 0.0, 1.0]]).parts[0] == -1


def test_bounding_radii():
    shapes = Shapes.of([(kind, size, (0, 0, 0), None) for kind, size in SIZES.items()])
    radii = shapes.bounding_radii()
    for kind, radius in zip(FORMS[:5], radii, strict=False):
        assert np.linalg.norm(surface(kind), axis=1).max() == pytest.approx(radius, abs=1e-4)
    assert radii[5] == np.inf and len(shapes) == 6


# Bad input


@pytest.mark.parametrize(
    ("solid", "message"),
    [
        (("cone", (1.0,), (0, 0, 0), None), "kind must be one of"),
        (("sphere", (1.0, 2.0), (0, 0, 0), None), r"size of a sphere must have 1 numbers"),
        (("sphere", (0.0,), (0, 0, 0), None), "size of a sphere must be positive"),
        (("box", (1.0, -1.0, 1.0), (0, 0, 0), None), "got half side y -1"),
        (("sphere", (np.nan,), (0, 0, 0), None), "sizes must be finite"),
        (("torus", (0.3, 0.3), (0, 0, 0), None), "tube thinner than its ring"),
        (("sphere", (1.0,), (0, 0), None), "position must have length 3"),
        (("sphere", (1.0,), (0, 0, 1e9), None), "positions must have coordinates up to"),
        (("sphere", (1.0,), (0, 0, 0), np.ones((3, 3))), "rotations must be orthonormal"),
        (("sphere", (1.0,), (0, 0, 0), np.diag([1.0, 1, -1])), "rotations must be orthonormal"),
        (("sphere", (1.0,), (0, 0, 0), np.full((3, 3), np.nan)), "rotations must be orthonormal"),
        (("sphere", (1.0,), (0, 0, 0), np.eye(2)), r"rotation must have shape \(3, 3\)"),
    ],
)
def test_solids_that_are_none(solid, message):
    with pytest.raises(ValueError, match=message):
        Shapes.of([solid])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": np.array([], dtype=int)}, "kinds must be a vector of at least one integer"),
        ({"kinds": np.array([0.0, 1.0])}, "kinds must be a vector of at least one integer"),
        ({"kinds": np.array([0, 6])}, "kinds must lie between 0 and 5"),
        ({"kinds": np.array([0, -1])}, "kinds must lie between 0 and 5"),
        ({"sizes": np.ones((2, 2))}, "sizes must have 3 columns"),
        ({"rotations": np.eye(3)}, r"rotations must have shape \(2, 3, 3\)"),
        ({"positions": np.zeros((3, 3))}, "positions must have 2 rows"),
    ],
)
def test_arrays_that_do_not_fit(change, message):
    arrays = {
        "kinds": np.array([0, 0]),
        "sizes": np.ones((2, 3)),
        "rotations": np.tile(np.eye(3), (2, 1, 1)),
        "positions": np.zeros((2, 3)),
    }
    Shapes(**arrays)
    with pytest.raises(ValueError, match=message):
        Shapes(**{**arrays, **change})


@pytest.mark.parametrize("function", [tracing.signed_distance, tracing.gradients])
def test_points_are_checked(function):
    for points, message in [
        (np.zeros(3), "points must be a matrix"),
        (np.zeros((2, 2)), "points must have 3 columns"),
        (np.zeros((0, 3)), "points must have at least 1 row"),
        ([[np.nan, 0, 0]], "points must be finite"),
        ([[1e7, 0, 0]], "points must have coordinates up to"),
    ]:
        with pytest.raises(ValueError, match=message):
            function(one("sphere"), points)
    with pytest.raises(ValueError, match="shapes must be Shapes, got list"):
        function([1], np.zeros((1, 3)))


@pytest.mark.parametrize("function", [tracing.trace, tracing.blocked])
def test_rays_are_checked(function):
    o, d = np.zeros((2, 3)) + 3.0, np.tile([0.0, 0.0, 1.0], (2, 1))
    for origins, directions, message in [
        (o[:1], d, "origins and directions must have the same length"),
        (o, 2 * d, "directions must have length 1, got 2 at index 0"),
        (o, 0 * d, "directions must have length 1, got 0"),
        (o[:, :2], d, "origins must have 3 columns"),
        (o, d * np.nan, "directions must be finite"),
        (o * 1e7, d, "origins must have coordinates up to"),
    ]:
        with pytest.raises(ValueError, match=message):
            function(one("sphere"), origins, directions)
    for limits in (0.0, -1.0, np.nan, np.ones(3), np.ones((2, 1))):
        with pytest.raises(ValueError, match="limits must be"):
            tracing.blocked(one("sphere"), o, d, limits)


def test_no_shapes_are_refused():
    with pytest.raises(ValueError, match="solids must have at least one entry"):
        Shapes.of([])


def test_every_compiled_function_is_listed():
    mine = [f for f in registry() if f.__module__ == tracing.__name__]
    assert len(mine) == 9 and set(KINDS) == set(FORMS)
