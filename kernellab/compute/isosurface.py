"""Surfaces where a field takes a value: marching tetrahedra, and points drawn from a mesh.

Each cube of a grid is cut into the six tetrahedra around its long diagonal. In a tetrahedron the
field is nearly linear, so that its level set is a triangle or two of them, with corners on edges
whose ends lie on different sides. Neighbours share edges, and so vertices: the surface has no
cracks. Triangles are turned so that their normals point to larger values.

>>> import numpy as np
>>> axis = np.linspace(-1.0, 1.0, 9)
>>> distance = np.sqrt(sum(c**2 for c in np.meshgrid(axis, axis, axis, indexing="ij"))) - 0.7
>>> ball = marching_tetrahedra(distance, spacing=0.25, origin=(-1, -1, -1))
>>> float(np.abs(np.linalg.norm(ball.vertices, axis=1) - 0.7).max().round(2))
0.03
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernellab.compute.checks import as_matrix, as_rng, as_vector, fits_in_memory, integer, positive
from kernellab.compute.compiled import compiled

__all__ = ["Mesh", "marching_tetrahedra", "sample_triangles", "welded"]

_A, _M = "float64[:,:,::1]", "float64[:,::1]"
_IV, _IM = "int64[::1]", "int64[:,::1]"


class Mesh(NamedTuple):
    """A triangle mesh.

    Attributes
    ----------
    vertices : shape (n, 3)
    triangles : shape (m, 3), indices of vertices; normals point to larger values of the field
    edges : shape (n, 2), for each vertex the flat indices of the two grid points it lies between,
        the one below the level first
    """

    vertices: np.ndarray
    triangles: np.ndarray
    edges: np.ndarray


def marching_tetrahedra(values, level=0.0, *, spacing=1.0, origin=(0.0, 0.0, 0.0)) -> Mesh:
    """Return the surface on which a field, known on a grid, takes the value ``level``.

    A vertex lies on the edge from a point p below the level to a point q that is not, at
    p + (level - f_p)/(f_q - f_p) (q - p).

    Parameters
    ----------
    values : shape (nx, ny, nz), each side at least 2; NaN where the field is not known: tetrahedra
        with such a corner are left out
    level : a number
    spacing : distance of neighbours on the grid, a number or one for each axis
    origin : place of values[0, 0, 0], shape (3,)

    Returns
    -------
    Mesh; without vertices where the field does not cross the level

    Raises
    ------
    ValueError : another shape, an infinite value, or a spacing that is not positive.

    Cost: O(number of grid points). Source: Doi and Koide 1991; the cut into six tetrahedra is
    Kuhn's.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.ndim != 3 or min(values.shape) < 2:
        raise ValueError(
            f"values must have shape (nx, ny, nz), each at least 2, got {values.shape}"
        )
    if np.isinf(values).any():
        raise ValueError("values must be finite or NaN, got infinity")
    level = float(as_vector("level", [level])[0])
    sides = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (3,))
    for side in sides:
        positive("spacing", float(side))
    origin = as_vector("origin", origin, length=3)
    fits_in_memory("values", 16 * values.size)
    cells, points = _crossed(values < level)
    row = np.empty(values.size, dtype=np.int32)  # of a point among ``points``, set for these alone
    row[points] = np.arange(len(points))
    numbers = np.full((len(points), 7), -1, dtype=np.int64)
    count = _number_edges(values, level, points, numbers)
    places, edges = np.empty((count, 3)), np.empty((count, 2), dtype=np.int64)
    _place_vertices(values, level, points, numbers, places, edges)
    what = (values, level, cells, row, numbers)
    triangles = np.empty((_triangles(*what, np.empty((0, 3), dtype=np.int64)), 3), dtype=np.int64)
    _triangles(*what, triangles)
    used = np.zeros(count, dtype=bool)  # an edge beside NaN may belong to no whole tetrahedron
    used[triangles.ravel()] = True
    renamed = np.cumsum(used) - 1
    return Mesh(places[used] * sides + origin, renamed[triangles], edges[used])


def welded(mesh: Mesh, grid) -> tuple[np.ndarray, np.ndarray]:
    """Return a lighter mesh for the eye: vertices that share their nearest grid point become one.

    Each new vertex is the mean of those it replaces, and triangles without area are dropped: a
    quarter of them stays. Where two sheets pass the same grid point they are joined.

    Parameters: mesh, from ``marching_tetrahedra``; grid (g, 3), the places of the grid's points in
    flat order. Returns vertices (k, 3) and triangles (m, 3). Raises ValueError for another shape of
    the grid, or too few points. Cost: O(n log n + m log m).
    """
    grid = as_matrix("grid", grid, columns=3)
    if len(mesh.edges) == 0:
        return mesh.vertices, mesh.triangles
    if mesh.edges.max() >= len(grid):
        raise ValueError(f"grid must have more than {mesh.edges.max()} points, got {len(grid)}")
    far = np.linalg.norm(mesh.vertices[:, None] - grid[mesh.edges], axis=2)
    nearest = mesh.edges[np.arange(len(far)), far.argmin(axis=1)]
    _, renamed, counts = np.unique(nearest, return_inverse=True, return_counts=True)
    sums = [np.bincount(renamed, weights=axis) for axis in mesh.vertices.T]
    triangles = renamed[mesh.triangles]
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    turned = np.take_along_axis(  # the least index first, so that doubles are found
        triangles, (triangles.argmin(axis=1)[:, None] + np.arange(3)) % 3, axis=1
    )
    return np.stack(sums, axis=1) / counts[:, None], np.unique(turned, axis=0)


def sample_triangles(vertices, triangles, n: int, rng) -> np.ndarray:
    """Return n points (n, 3) drawn evenly from the area of a mesh.

    Parameters: vertices (v, 3); triangles (m, 3), indices; n >= 1; rng, a Generator or seed. Raises
    ValueError for other shapes, indices out of range, or a mesh without area. Cost: O(m + n log m).
    """
    vertices, n, rng = (
        as_matrix("vertices", vertices, columns=3),
        integer("n", n, low=1),
        as_rng(rng),
    )
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
        raise ValueError(f"triangles must be integers of shape (m, 3), got {triangles.shape}")
    if len(triangles) == 0 or triangles.min() < 0 or triangles.max() >= len(vertices):
        raise ValueError(f"triangles must be indices of the {len(vertices)} vertices, got others")
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    ends = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    if ends[-1] <= 0.0:
        raise ValueError("triangles must have an area to draw from, got 0")
    chosen = np.minimum(np.searchsorted(ends, rng.random(n) * ends[-1], "right"), len(ends) - 1)
    one, two = rng.random((2, n))
    root = np.sqrt(one)[:, None]
    share = (1.0 - root, root * (1.0 - two[:, None]), root * two[:, None])
    return share[0] * a[chosen] + share[1] * b[chosen] + share[2] * c[chosen]


def _crossed(below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells with corners on both sides, by their first corner, and all their corners.

    Both are flat indices of grid points. Few cells are crossed, so that all that follows is short.
    """
    some, every = below, below
    for axis in range(3):
        one, two = (
            tuple(part if a == axis else slice(None) for a in range(3))
            for part in (slice(None, -1), slice(1, None))
        )
        some, every = some[one] | some[two], every[one] & every[two]
    crossed = some & ~every
    touched = np.zeros(below.shape, dtype=bool)
    touched[:-1, :-1, :-1] = crossed
    cells = np.flatnonzero(touched)
    for axis in range(3):  # from the first corner to all eight
        one, two = (
            tuple(part if a == axis else slice(None) for a in range(3))
            for part in (slice(None, -1), slice(1, None))
        )
        touched[two] |= touched[one].copy()
    return cells, np.flatnonzero(touched)


# An edge of the cut leads from a grid point to the one that is 0 or 1 further along each axis; its
# kind is 4 dx + 2 dy + dz, from 1 to 7, and its row among ``numbers`` that of its first point.


@compiled(f"int64({_A}, float64, {_IV}, {_IM})")
def _number_edges(values, level, points, numbers):
    """Number the edges that cross the level; return how many there are."""
    nx, ny, nz = values.shape
    count = 0
    for n in range(len(points)):
        x, y, z = points[n] // (ny * nz), points[n] // nz % ny, points[n] % nz
        here = values[x, y, z]
        if math.isnan(here):
            continue
        for kind in range(1, 8):
            i, j, k = x + (kind >> 2), y + ((kind >> 1) & 1), z + (kind & 1)
            if i < nx and j < ny and k < nz:
                there = values[i, j, k]
                if not math.isnan(there) and (here < level) != (there < level):
                    numbers[n, kind - 1] = count
                    count += 1
    return count


@compiled(f"void({_A}, float64, {_IV}, {_IM}, {_M}, {_IM})")
def _place_vertices(values, level, points, numbers, places, edges):
    """Set each vertex, in units of the grid, and the ends of its edge."""
    ny, nz = values.shape[1:]
    for n in range(len(points)):
        x, y, z = points[n] // (ny * nz), points[n] // nz % ny, points[n] % nz
        for kind in range(1, 8):
            number = numbers[n, kind - 1]
            if number < 0:
                continue
            dx, dy, dz = kind >> 2, (kind >> 1) & 1, kind & 1
            here, there = values[x, y, z], values[x + dx, y + dy, z + dz]
            share = (level - here) / (there - here)
            places[number, 0] = x + share * dx
            places[number, 1] = y + share * dy
            places[number, 2] = z + share * dz
            other = ((x + dx) * ny + y + dy) * nz + z + dz
            edges[number, 0] = points[n] if here < level else other
            edges[number, 1] = other if here < level else points[n]


@compiled(f"int64({_A}, float64, {_IV}, int32[::1], {_IM}, {_IM})")
def _triangles(values, level, cells, row, numbers, triangles):
    """Return the number of triangles; set them where ``triangles`` has rows for them."""
    ny, nz = values.shape[1:]
    # The four corners of each tetrahedron, as kinds of edges from the cube's first corner; in the
    # first three the corners 1, 2, 3 turn to the right as seen from 0, in the others to the left.
    corners = (
        (0, 4, 6, 7), (0, 2, 3, 7), (0, 1, 5, 7),
        (0, 4, 5, 7), (0, 2, 6, 7), (0, 1, 3, 7),
    )  # fmt: skip
    rows, below = np.empty(4, dtype=np.int64), np.empty(4, dtype=np.bool_)
    kinds, order = np.empty(4, dtype=np.int64), np.empty(4, dtype=np.int64)
    count = 0
    for n in range(len(cells)):
        x, y, z = cells[n] // (ny * nz), cells[n] // nz % ny, cells[n] % nz
        for which in range(6):
            known, inside = True, 0
            for c in range(4):
                kind = corners[which][c]
                i, j, k = x + (kind >> 2), y + ((kind >> 1) & 1), z + (kind & 1)
                v = values[i, j, k]
                known = known and not math.isnan(v)
                kinds[c], rows[c], below[c] = kind, row[(i * ny + j) * nz + k], v < level
                inside += below[c]
            if not known or inside == 0 or inside == 4:
                continue
            if len(triangles) == 0:
                count += 2 if inside == 2 else 1
                continue
            # Corners below the level first; the sign of this order and of the tetrahedron tell on
            # which side the triangle shows its face.
            place, swaps = 0, 0
            for side in range(2):
                for c in range(4):
                    if below[c] == (side == 0):
                        order[place] = c
                        place += 1
            for c in range(4):
                for d in range(c + 1, 4):
                    swaps += order[c] > order[d]
            turned = (swaps % 2 == 1) != (which >= 3)
            for part in range(2 if inside == 2 else 1):
                for t in range(3):
                    if inside == 2:
                        corner = 0 if t == 0 else part + t  # of the quadrangle
                        c, d = order[corner >> 1], order[2 + (corner == 1 or corner == 2)]
                    else:
                        c, d = order[0 if inside == 1 else 3], order[t + 1 if inside == 1 else t]
                    edge = abs(kinds[d] - kinds[c]) - 1
                    triangles[count, 2 - t if turned else t] = numbers[rows[min(c, d)], edge]
                count += 1
    return count
