"""Sphere tracing: where rays meet solids that are given by their signed distance functions.

A solid is the set f <= 0 of its signed distance f. A ray o + t d may walk the distance f(o + t d)
without passing through the surface, so that the steps t <- t + f lead to the first hit (Hart 1996).
Near a silhouette these steps become tiny. Here they are lengthened: where f'' >= -k along the ray,

    f(t + s) >= f + f' s - k s^2/2,

and the first zero of this parabola is a safe step as well. Distances to convex solids are convex,
k = 0: then the step is Newton's, and a ray that moves away (f' >= 0) has missed. For the torus
k = 2/(distance from its axis) holds for as long as that distance is not halved.

Each solid is traced alone, inside the sphere around it; the nearest hit counts.

>>> ball = Shapes.of([("sphere", (1.0,), (0.0, 0.0, 0.0), None)])
>>> trace(ball, [[0.0, 0.0, -3.0]], [[0.0, 0.0, 1.0]]).distances
array([2.])
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kernellab.compute.checks import as_matrix, as_vector, one_of, same_length
from kernellab.compute.compiled import compiled

__all__ = [
    "KINDS",
    "Hits",
    "Shapes",
    "blocked",
    "gradients",
    "signed_distance",
    "trace",
]

SPHERE, BOX, TORUS, CAPSULE, CYLINDER, PLANE = range(6)

KINDS = {
    "sphere": ("radius",),
    "box": ("half side x", "half side y", "half side z"),
    "torus": ("radius of the ring", "radius of the tube"),
    "capsule": ("half length", "radius"),
    "cylinder": ("radius", "half height"),
    "plane": (),
}
"""The solids and their sizes. Each is centred at the origin with its axis along z; the plane is the
half-space z <= 0."""

_NAMES = tuple(KINDS)
_MAX_STEPS = 5000  # only a ray that touches a torus along its flat top takes more than 50
_LARGEST = 1e6  # of coordinates: beyond, squares would lose the digits that hits need


@dataclass(frozen=True, eq=False)
class Shapes:
    """Solids with their places: what compiled functions take.

    Parameters
    ----------
    kinds : shape (k,), numbers of ``KINDS`` in order
    sizes : shape (k, 3), in the order of ``KINDS``, unused ones 0; units of the world
    rotations : shape (k, 3, 3), from the world's axes to those of the solid
    positions : shape (k, 3), where the solid's origin is in the world

    Raises
    ------
    ValueError : other shapes, unknown kinds, sizes that are not positive, a torus whose tube is as
        thick as its ring, or rotations that are none.
    """

    kinds: np.ndarray
    sizes: np.ndarray
    rotations: np.ndarray
    positions: np.ndarray

    def __post_init__(self):
        kinds = np.asarray(self.kinds)
        if kinds.ndim != 1 or kinds.size == 0 or kinds.dtype.kind not in "iu":
            raise ValueError(
                "kinds must be a vector of at least one integer, shape (k,), "
                f"got shape {kinds.shape} of {kinds.dtype}"
            )
        if kinds.min() < 0 or kinds.max() >= len(_NAMES):
            raise ValueError(
                f"kinds must lie between 0 and {len(_NAMES) - 1}, got {kinds.tolist()}"
            )
        k = len(kinds)
        sizes = as_matrix("sizes", self.sizes, rows=k, columns=3)
        rotations = np.asarray(self.rotations, dtype=np.float64)
        if rotations.shape != (k, 3, 3):
            raise ValueError(f"rotations must have shape {(k, 3, 3)}, got {rotations.shape}")
        gap = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max()
        if not gap < 1e-9 or not (np.linalg.det(rotations) > 0.0).all():
            raise ValueError(
                f"rotations must be orthonormal with determinant 1, got a deviation of {gap:.1e}"
            )
        positions = _within("positions", as_matrix("positions", self.positions, rows=k, columns=3))
        for kind, size in zip(kinds, sizes, strict=True):
            _check_size(_NAMES[kind], size[: len(KINDS[_NAMES[kind]])])
        checked = {
            "kinds": np.ascontiguousarray(kinds, dtype=np.int64),
            "sizes": sizes,
            "rotations": np.ascontiguousarray(rotations),
            "positions": positions,
        }
        for name, array in checked.items():
            object.__setattr__(self, name, array.copy())

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def of(cls, solids) -> "Shapes":
        """Return the shapes of solids (kind, sizes, position, rotation).

        ``rotation`` turns the solid's axes into the world's, shape (3, 3); None: it is not turned.
        Raises ValueError for unknown kinds and as ``Shapes``. Cost: O(k).
        """
        solids = list(solids)
        if not solids:
            raise ValueError("solids must have at least one entry, got none")
        sizes = np.zeros((len(solids), 3))
        kinds, rotations, positions = [], [], []
        for row, (kind, size, position, rotation) in enumerate(solids):
            kinds.append(_NAMES.index(one_of("kind", kind, _NAMES)))
            names = KINDS[kind]
            if len(size) != len(names):
                expected = ", ".join(names) or "none"
                raise ValueError(
                    f"size of a {kind} must have {len(names)} numbers ({expected}), got {size}"
                )
            sizes[row, : len(names)] = size
            positions.append(as_vector("position", position, length=3))
            turned = np.eye(3) if rotation is None else np.asarray(rotation, dtype=np.float64)
            if turned.shape != (3, 3):
                raise ValueError(f"rotation must have shape (3, 3), got {turned.shape}")
            rotations.append(turned.T)
        return cls(np.array(kinds), sizes, np.array(rotations), np.array(positions))

    def bounding_radii(self) -> np.ndarray:
        """Return the radius of a sphere around each solid's origin that holds it, shape (k,).

        Infinity for a plane.
        """
        a, b, c = self.sizes.T
        choices = [a, np.sqrt(a * a + b * b + c * c), a + b, a + b, np.hypot(a, b), np.inf + 0 * a]
        return np.choose(self.kinds, choices)


class Hits(NamedTuple):
    """Where n rays meet a surface first.

    distances : shape (n,), along the ray; inf for a ray that meets nothing
    parts : shape (n,), the number of the shape, -1 for none
    normals : shape (n, 3), outward, of length 1; 0 for none
    """

    distances: np.ndarray
    parts: np.ndarray
    normals: np.ndarray


def signed_distance(shapes: Shapes, points) -> tuple[np.ndarray, np.ndarray]:
    """Return the signed distance to the union of the shapes, and which shape it belongs to.

    f(p) = min_i f_i(p), negative inside. Outside it is exact; inside, where shapes overlap, its
    size is a lower bound of the distance to the surface.

    Parameters
    ----------
    shapes : k solids
    points : shape (n, 3)

    Returns
    -------
    distances : shape (n,), units of the world
    parts : shape (n,), integers; the first of those that are equally near

    Raises
    ------
    ValueError : other shapes, or coordinates beyond 1e6.

    Cost: O(n k).
    Source: Hart 1996, "Sphere tracing", appendix A.
    """
    points = _within("points", as_matrix("points", points, columns=3))
    distances, parts = np.empty(len(points)), np.empty(len(points), dtype=np.int64)
    _signed_distance(*_arrays(shapes), points, distances, parts)
    return distances, parts


def gradients(shapes: Shapes, points) -> np.ndarray:
    """Return the gradient of the signed distance, shape (n, 3): of length 1, outward.

    On the surface it is the normal. Where the distance has a kink (on edges, on the axis of a
    solid) it is the gradient of one side.

    Parameters, errors and cost: those of ``signed_distance``.
    """
    points = _within("points", as_matrix("points", points, columns=3))
    out = np.empty_like(points)
    _gradients(*_arrays(shapes), points, out)
    return out


def trace(shapes: Shapes, origins, directions) -> Hits:
    """Return where rays meet the shapes first.

    Parameters
    ----------
    shapes : k solids
    origins, directions : shape (n, 3); directions of length 1; origins outside of all solids (a
        solid around the origin of a ray is not seen by it)

    Returns
    -------
    distances (n,), parts (n,) and normals (n, 3). Distances are exact to about 1e-12 times their
    size, except where a ray touches a silhouette.

    Raises
    ------
    ValueError : other shapes, lengths other than 1, or coordinates beyond 1e6.

    Cost: O(n k), with some 5 evaluations of f for a solid whose bounding sphere is met.
    Source: Hart 1996, "Sphere tracing"; the longer steps are explained above.
    """
    origins, directions = _rays(origins, directions)
    n = len(origins)
    hits = Hits(np.empty(n), np.empty(n, dtype=np.int64), np.empty((n, 3)))
    _trace(*_arrays(shapes), _bounds(shapes), origins, directions, *hits)
    return hits


def blocked(shapes: Shapes, origins, directions, limits=np.inf) -> np.ndarray:
    """Return which rays meet a shape before their limit, booleans (n,).

    Parameters
    ----------
    shapes, origins, directions : as for ``trace``
    limits : number or shape (n,), how far each ray goes, > 0; inf is allowed

    Raises
    ------
    ValueError : as ``trace``, or limits that are not positive.

    Cost: that of ``trace`` at most.
    """
    origins, directions = _rays(origins, directions)
    limits = np.asarray(limits, dtype=np.float64)
    if limits.ndim > 1 or (limits.ndim == 1 and len(limits) != len(origins)):
        raise ValueError(
            f"limits must be a number or have shape ({len(origins)},), got shape {limits.shape}"
        )
    if not (limits > 0.0).all():
        raise ValueError(f"limits must be positive, got {limits.min():.6g}")
    limits = np.ascontiguousarray(np.broadcast_to(limits, len(origins)))
    out = np.empty(len(origins), dtype=np.bool_)
    _blocked(*_arrays(shapes), _bounds(shapes), origins, directions, limits.copy(), out)
    return out


def _arrays(shapes: Shapes) -> tuple:
    if not isinstance(shapes, Shapes):
        raise ValueError(f"shapes must be Shapes, got {type(shapes).__name__}")
    return shapes.kinds, shapes.sizes, shapes.rotations, shapes.positions


def _bounds(shapes: Shapes) -> np.ndarray:
    """Return bounding radii, a little larger: a ray must start outside of the solid."""
    return shapes.bounding_radii() * (1.0 + 1e-9)


def _rays(origins, directions) -> tuple[np.ndarray, np.ndarray]:
    origins = _within("origins", as_matrix("origins", origins, columns=3))
    directions = as_matrix("directions", directions, columns=3)
    same_length("origins", origins, "directions", directions)
    lengths = np.linalg.norm(directions, axis=1)
    if not np.abs(lengths - 1.0).max() < 1e-6:
        worst = int(np.argmax(np.abs(lengths - 1.0)))
        raise ValueError(
            f"directions must have length 1, got {lengths[worst]:.6g} at index {worst}"
        )
    return origins, directions


def _within(name: str, array: np.ndarray) -> np.ndarray:
    if max(array.max(), -array.min()) > _LARGEST:
        largest = np.abs(array).max()
        raise ValueError(f"{name} must have coordinates up to {_LARGEST:g}, got {largest:.6g}")
    return array


def _check_size(kind: str, size: np.ndarray) -> None:
    for name, number in zip(KINDS[kind], size, strict=True):
        if not 0.0 < number <= _LARGEST:
            raise ValueError(
                f"size of a {kind} must be positive and at most {_LARGEST:g}, "
                f"got {name} {number:.6g}"
            )
    if kind == "torus" and size[1] >= size[0]:
        raise ValueError(
            "size of a torus must have a tube thinner than its ring, "
            f"got ring {size[0]:.6g} and tube {size[1]:.6g}"
        )


# Compiled


@compiled("UniTuple(float64, 5)(int64, float64, float64, float64, float64, float64, float64)")
def _field(kind, a, b, c, x, y, z):
    """Return f, its gradient, and k with f'' >= -k along any line, at a point of the solid's axes.

    k > 0 holds for steps up to 1/k.
    """
    if kind == SPHERE:
        length = math.sqrt(x * x + y * y + z * z)
        if length == 0.0:
            return -a, 0.0, 0.0, 1.0, 0.0
        return length - a, x / length, y / length, z / length, 0.0
    if kind == PLANE:
        return z, 0.0, 0.0, 1.0, 0.0
    if kind == CAPSULE:
        z -= min(max(z, -a), a)
        length = math.sqrt(x * x + y * y + z * z)
        if length == 0.0:
            return -b, 1.0, 0.0, 0.0, 0.0
        return length - b, x / length, y / length, z / length, 0.0
    if kind == BOX:
        return _box(a, b, c, x, y, z)
    rho = math.sqrt(x * x + y * y)
    u, v = (x / rho, y / rho) if rho > 0.0 else (1.0, 0.0)
    if kind == TORUS:
        q = rho - a
        length = math.sqrt(q * q + z * z)
        bend = 2.0 / max(rho, 1e-300)
        if length == 0.0:
            return -b, 0.0, 0.0, 1.0, bend
        return length - b, q / length * u, q / length * v, z / length, bend
    # A cylinder is a rectangle in (rho, z).
    q, h = rho - a, abs(z) - b
    side = math.copysign(1.0, z)
    if q > 0.0 and h > 0.0:
        length = math.sqrt(q * q + h * h)
        return length, q / length * u, q / length * v, side * h / length, 0.0
    if q > h:
        return q, u, v, 0.0, 0.0
    return h, 0.0, 0.0, side, 0.0


@compiled("UniTuple(float64, 5)(float64, float64, float64, float64, float64, float64)")
def _box(a, b, c, x, y, z):
    """Return what ``_field`` does, for a box of half sides a, b, c."""
    q, r, s = abs(x) - a, abs(y) - b, abs(z) - c
    sx, sy, sz = math.copysign(1.0, x), math.copysign(1.0, y), math.copysign(1.0, z)
    if q > 0.0 or r > 0.0 or s > 0.0:
        q, r, s = max(q, 0.0), max(r, 0.0), max(s, 0.0)
        length = math.sqrt(q * q + r * r + s * s)
        return length, sx * q / length, sy * r / length, sz * s / length, 0.0
    if q >= r and q >= s:
        return q, sx, 0.0, 0.0, 0.0
    if r >= s:
        return r, 0.0, sy, 0.0, 0.0
    return s, 0.0, 0.0, sz, 0.0


@compiled(
    "float64(int64, float64, float64, float64, float64, float64, float64, float64, float64, "
    "float64, float64, float64, float64)"
)
def _march(kind, a, b, c, x, y, z, dx, dy, dz, bound, start, limit):
    """Return the distance to the first hit between ``start`` and ``limit``, or infinity.

    The ray is given in the solid's axes; ``bound`` is the radius of a sphere around the solid.
    """
    t = start
    if bound < math.inf:
        middle = -(x * dx + y * dy + z * dz)
        px, py, pz = x + middle * dx, y + middle * dy, z + middle * dz
        gap = bound * bound - (px * px + py * py + pz * pz)
        if gap <= 0.0:
            return math.inf
        half = math.sqrt(gap)
        t, limit = max(t, middle - half), min(limit, middle + half)
    for _ in range(_MAX_STEPS):
        if t > limit:
            return math.inf
        f, gx, gy, gz, bend = _field(kind, a, b, c, x + t * dx, y + t * dy, z + t * dz)
        slope = gx * dx + gy * dy + gz * dz
        if f <= 1e-13 * (1.0 + t):
            # A ray that leaves the surface it starts from, or one that starts inside, hits nothing.
            if slope < 0.0 and f > -1e-9 * (1.0 + t):
                return t
            if bend == 0.0 or f < -1e-9 * (1.0 + t):
                return math.inf
            f = max(f, 1e-13 * (1.0 + t))
        if bend == 0.0:
            if slope >= 0.0:
                return math.inf
            t += f / -slope
        else:
            root = math.sqrt(slope * slope + 2.0 * bend * f)
            step = (slope + root) / bend if slope > 0.0 else 2.0 * f / (root - slope)
            t += max(f, min(step, 1.0 / bend))
    return t if f < 1e-9 * (1.0 + t) else math.inf


@compiled(
    "float64(int64[::1], float64[:,::1], float64[:,:,::1], float64[:,::1], float64[::1], int64, "
    "float64, float64, float64, float64, float64, float64, float64)"
)
def _meet(kinds, sizes, rotations, positions, bounds, i, ox, oy, oz, dx, dy, dz, limit):
    """Return the distance at which a ray of the world meets shape i, or infinity."""
    px, py, pz = ox - positions[i, 0], oy - positions[i, 1], oz - positions[i, 2]
    r = rotations[i]
    return _march(
        kinds[i],
        sizes[i, 0],
        sizes[i, 1],
        sizes[i, 2],
        r[0, 0] * px + r[0, 1] * py + r[0, 2] * pz,
        r[1, 0] * px + r[1, 1] * py + r[1, 2] * pz,
        r[2, 0] * px + r[2, 1] * py + r[2, 2] * pz,
        r[0, 0] * dx + r[0, 1] * dy + r[0, 2] * dz,
        r[1, 0] * dx + r[1, 1] * dy + r[1, 2] * dz,
        r[2, 0] * dx + r[2, 1] * dy + r[2, 2] * dz,
        bounds[i],
        0.0,
        limit,
    )


@compiled(
    "UniTuple(float64, 4)(int64[::1], float64[:,::1], float64[:,:,::1], float64[:,::1], int64, "
    "float64, float64, float64)"
)
def _world_field(kinds, sizes, rotations, positions, i, x, y, z):
    """Return f of shape i and its gradient at a point, in the axes of the world."""
    x, y, z = x - positions[i, 0], y - positions[i, 1], z - positions[i, 2]
    r = rotations[i]
    f, gx, gy, gz, _ = _field(
        kinds[i],
        sizes[i, 0],
        sizes[i, 1],
        sizes[i, 2],
        r[0, 0] * x + r[0, 1] * y + r[0, 2] * z,
        r[1, 0] * x + r[1, 1] * y + r[1, 2] * z,
        r[2, 0] * x + r[2, 1] * y + r[2, 2] * z,
    )
    return (
        f,
        r[0, 0] * gx + r[1, 0] * gy + r[2, 0] * gz,
        r[0, 1] * gx + r[1, 1] * gy + r[2, 1] * gz,
        r[0, 2] * gx + r[1, 2] * gy + r[2, 2] * gz,
    )


@compiled(
    "void(int64[::1], float64[:,::1], float64[:,:,::1], float64[:,::1], float64[:,::1], "
    "float64[::1], int64[::1])"
)
def _signed_distance(kinds, sizes, rotations, positions, points, distances, parts):
    for j in range(len(points)):
        x, y, z = points[j, 0], points[j, 1], points[j, 2]
        best, part = math.inf, 0
        for i in range(len(kinds)):
            f = _world_field(kinds, sizes, rotations, positions, i, x, y, z)[0]
            if f < best:
                best, part = f, i
        distances[j], parts[j] = best, part


@compiled(
    "void(int64[::1], float64[:,::1], float64[:,:,::1], float64[:,::1], float64[:,::1], "
    "float64[:,::1])"
)
def _gradients(kinds, sizes, rotations, positions, points, out):
    for j in range(len(points)):
        x, y, z = points[j, 0], points[j, 1], points[j, 2]
        best = math.inf
        for i in range(len(kinds)):
            f, gx, gy, gz = _world_field(kinds, sizes, rotations, positions, i, x, y, z)
            if f < best:
                best = f
                out[j, 0], out[j, 1], out[j, 2] = gx, gy, gz


@compiled(
    "void(int64[::1], float64[:,::1], float64[:,:,::1], float64[:,::1], float64[::1], "
    "float64[:,::1], float64[:,::1], float64[::1], int64[::1], float64[:,::1])"
)
def _trace(
    kinds, sizes, rotations, positions, bounds, origins, directions, distances, parts, normals
):
    for j in range(len(origins)):
        ox, oy, oz = origins[j, 0], origins[j, 1], origins[j, 2]
        dx, dy, dz = directions[j, 0], directions[j, 1], directions[j, 2]
        best, part = math.inf, -1
        for i in range(len(kinds)):
            t = _meet(kinds, sizes, rotations, positions, bounds, i, ox, oy, oz, dx, dy, dz, best)
            if t < best:
                best, part = t, i
        distances[j], parts[j] = best, part
        normals[j, 0], normals[j, 1], normals[j, 2] = 0.0, 0.0, 0.0
        if part >= 0:
            x, y, z = ox + best * dx, oy + best * dy, oz + best * dz
            _, gx, gy, gz = _world_field(kinds, sizes, rotations, positions, part, x, y, z)
            normals[j, 0], normals[j, 1], normals[j, 2] = gx, gy, gz


@compiled(
    "void(int64[::1], float64[:,::1], float64[:,:,::1], float64[:,::1], float64[::1], "
    "float64[:,::1], float64[:,::1], float64[::1], boolean[::1])"
)
def _blocked(kinds, sizes, rotations, positions, bounds, origins, directions, limits, out):
    for j in range(len(origins)):
        ox, oy, oz = origins[j, 0], origins[j, 1], origins[j, 2]
        dx, dy, dz = directions[j, 0], directions[j, 1], directions[j, 2]
        out[j] = False
        for i in range(len(kinds)):
            t = _meet(
                kinds, sizes, rotations, positions, bounds, i, ox, oy, oz, dx, dy, dz, limits[j]
            )
            if t < limits[j]:
                out[j] = True
                break
