"""Four ways to pull a surface out of kernels.

The zero set of a kernel regression on oriented points; the depth that solid discs agree on; the
place where the opacity along a ray passes one half; what stereo sees in rendered picture pairs.
Splats and their pictures are those of ``kernellab.compute.splatting``, meshes those of
``kernellab.compute.isosurface``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad
from autograd.scipy.special import expit
from scipy import sparse
from scipy.spatial import cKDTree

from kernellab.compute.cameras import Camera
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    fits_in_memory,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
)
from kernellab.compute.compiled import compiled
from kernellab.compute.elementary import exp
from kernellab.compute.isosurface import Mesh, marching_tetrahedra
from kernellab.compute.iterative import conjugate_gradients
from kernellab.compute.networks import Adam
from kernellab.compute.splatting import LARGEST_ALPHA, render_space, space_covariances

CURVES = ("star", "square", "two discs")
_V, _M, _A = "float64[::1]", "float64[:,::1]", "float64[:,:,::1]"
_IV, _IM = "int64[::1]", "int64[:,::1]"

# Curves, and how far a surface is from the truth


def closed_curve(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of a closed curve in the plane, evenly along it, and their outward normals.

    Parameters: name, "star" (radius 0.6 (1 + 0.3 cos 5a) at the angle a), "square" (half side 0.6)
    or "two discs" (radius 0.28 at x = -0.45 and 0.45: a torus cut through); count >= 8. Returns
    (count, 2) twice. Raises ValueError for another name or count. Cost: O(count).
    """
    one_of("name", name, CURVES)
    count = integer("count", count, low=8)
    angle = np.linspace(0.0, 2.0 * np.pi, 20001)
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if name == "star":
        pieces = [0.6 * (1.0 + 0.3 * np.cos(5.0 * angle))[:, None] * ray]
    elif name == "square":
        pieces = [0.6 * ray / np.abs(ray).max(axis=1, keepdims=True)]
    else:
        pieces = [0.28 * ray + (x, 0.0) for x in (-0.45, 0.45)]
    points, normals = [], []
    for i, piece in enumerate(pieces):
        share = count // len(pieces) + (i < count % len(pieces))
        lengths = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(piece, axis=0), axis=1))]
        at = (np.arange(share) + 0.5) * lengths[-1] / share
        points.append(np.stack([np.interp(at, lengths, c) for c in piece.T], axis=1))
        step = np.searchsorted(lengths, at) - 1
        along = np.diff(piece, axis=0)[step]
        normals.append(np.stack([along[:, 1], -along[:, 0]], axis=1))
    normals = np.concatenate(normals)
    return np.concatenate(points), normals / np.linalg.norm(normals, axis=1, keepdims=True)


def shaken(points, normals, noise: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Return points and normals with Gaussian noise of this sd in each coordinate of both.

    Parameters: points, normals (n, d); noise >= 0; rng, a Generator or seed. Normals keep length 1.
    Raises ValueError for other shapes. Cost: O(n).
    """
    points = as_matrix("points", points)
    normals = as_matrix("normals", normals, rows=len(points), columns=points.shape[1])
    noise, rng = nonnegative("noise", noise), as_rng(rng)
    points = points + noise * rng.standard_normal(points.shape)
    turned = normals + noise * rng.standard_normal(normals.shape)
    return points, turned / np.linalg.norm(turned, axis=1, keepdims=True)


class Gap(NamedTuple):
    """Mean distances between two clouds: ``accuracy`` from found to true, ``completeness`` back."""

    accuracy: float
    completeness: float

    @property
    def chamfer(self) -> float:
        """The sum of both."""
        return self.accuracy + self.completeness


def gap_between(found, truth) -> Gap:
    """Return the mean distance of each found point to the nearest true one, and the other way.

    Parameters: found (n, d); truth (m, d). Raises ValueError for other shapes, or no points.
    Cost: O((n + m) log(n + m)).
    """
    truth = as_matrix("truth", truth)
    found = as_matrix("found", found, columns=truth.shape[1])
    return Gap(
        float(cKDTree(truth).query(found)[0].mean()), float(cKDTree(found).query(truth)[0].mean())
    )


def grid_crossings(values, x, y) -> np.ndarray:
    """Return where a field known on a grid of the plane is zero, on the grid's lines: (n, 2).

    Parameters: values (rows, columns), NaN where unknown; x (columns,); y (rows,). Between two
    neighbours of different sign the field is taken as linear. Raises ValueError for other shapes.
    Cost: O(rows columns).
    """
    x, y = as_vector("x", x), as_vector("y", y)
    values = np.asarray(values, dtype=float)
    if values.shape != (len(y), len(x)):
        raise ValueError(f"values must have shape {(len(y), len(x))}, got {values.shape}")
    found = []
    for f, along, across, turn in ((values, x, y, 1), (values.T, y, x, -1)):
        one, two = f[:, :-1], f[:, 1:]
        row, column = np.nonzero((one < 0.0) != (two < 0.0))
        one, two = one[row, column], two[row, column]
        place = along[column] + one / (one - two) * (along[column + 1] - along[column])
        found.append(np.stack([place, across[row]], axis=1)[:, ::turn])
    found = np.concatenate(found)
    return found[np.isfinite(found).all(axis=1)]


# A field of splines on the voxels that points touch

NKSR = "neural-kernel-surface-reconstruction"


class Level(NamedTuple):
    """Nodes of one voxel size.

    Attributes
    ----------
    width : side h of a voxel
    nodes : shape (m, d), centres of the voxels that hold a point, and of their neighbours
    low : shape (d,), integers, the first cell of the table
    table : d-dimensional, integers: number of the node in each cell, -1 where there is none
    """

    width: float
    nodes: np.ndarray
    low: np.ndarray
    table: np.ndarray


def voxel_level(points, width: float) -> Level:
    """Return the voxels that points touch, and the neighbours of these, as nodes of a field.

    Parameters: points (n, d), d = 2 or 3; width h > 0, units of the points. Raises ValueError for
    other shapes, or voxels so small that their table would not fit. Cost: O(n 3^d + table).
    Paper: neural-kernel-surface-reconstruction (Huang et al. 2023, arXiv:2305.19590)
    """
    points, width = _as_places("points", points), positive("width", width)
    d = points.shape[1]
    span = np.ceil(np.ptp(points, axis=0) / width) + 6.0
    fits_in_memory("points / width", 8.0 * float(np.prod(span)))
    cells = np.floor(points / width).astype(np.int64)
    low = cells.min(axis=0) - 2
    table = np.full(cells.max(axis=0) - low + 3, -1, dtype=np.int64)
    for offset in itertools.product((-1, 0, 1), repeat=d):
        table[tuple((cells - low + offset).T)] = 0
    where = np.argwhere(table == 0)
    table[tuple(where.T)] = np.arange(len(where))
    return Level(width, (where + low + 0.5) * width, low, table)


def spline_stencils(level: Level, points) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the splines that are not zero at each point: their nodes, values and gradients.

    With the quadratic B-spline b(t) = 3/4 - t^2 for |t| < 1/2, (3/2 - |t|)^2/2 up to 3/2 and 0
    beyond, node i carries B_i(x) = product over axes of b((x_a - x_ia)/h): the 3^d nodes around x.

    Parameters: level; points (n, d). Returns ids (n, 3^d), -1 where the level has no node; values
    (n, 3^d); slopes (n, d, 3^d). Raises ValueError for other shapes. Cost: O(n 3^d).
    Paper: neural-kernel-surface-reconstruction (Huang et al. 2023, arXiv:2305.19590)
    """
    d = level.nodes.shape[1]
    points = as_matrix("points", points, columns=d)
    n, count = len(points), 3**d
    ids, values = np.empty((n, count), dtype=np.int64), np.empty((n, count))
    slopes = np.empty((n, d, count))
    shape = np.array(level.table.shape)
    _stencils(points, level.width, level.low, shape, level.table.ravel(), ids, values, slopes)
    return ids, values, slopes


@compiled(f"void({_M}, float64, {_IV}, {_IV}, {_IV}, {_IM}, {_M}, {_A})")
def _stencils(points, width, low, shape, table, ids, values, slopes):
    n, d = points.shape
    b, s = np.empty((3, 3)), np.empty((3, 3))
    cell = np.empty(3, dtype=np.int64)
    step = np.empty(3, dtype=np.int64)
    for i in range(n):
        for a in range(d):
            x = points[i, a] / width
            # A point far away has no node; its cell must not overflow.
            whole = min(max(math.floor(x), low[a] - 3.0), float(low[a] + shape[a] + 3))
            t = min(max(x - whole - 0.5, -0.5), 0.5)
            cell[a] = np.int64(whole) - low[a]
            b[a, 0], b[a, 1], b[a, 2] = 0.5 * (0.5 - t) ** 2, 0.75 - t * t, 0.5 * (0.5 + t) ** 2
            s[a, 0], s[a, 1], s[a, 2] = (t - 0.5) / width, -2.0 * t / width, (t + 0.5) / width
        for k in range(values.shape[1]):
            rest, place, inside, value = k, 0, True, 1.0
            for a in range(d):
                step[a] = rest % 3
                rest //= 3
                at = cell[a] + step[a] - 1
                inside = inside and at >= 0 and at < shape[a]
                place = place * shape[a] + at
                value *= b[a, step[a]]
            ids[i, k] = table[place] if inside else -1
            values[i, k] = value
            for a in range(d):
                slope = 1.0
                for c in range(d):
                    slope *= s[c, step[c]] if c == a else b[c, step[c]]
                slopes[i, a, k] = slope


@compiled(f"void({_M}, float64, {_IV}, {_IV}, {_IV}, {_V}, {_V}, {_IV})")
def _sum_splines(points, width, low, shape, table, weights, total, nodes):
    """Set the sum of weights times splines, and how many nodes each point has."""
    n, d = points.shape
    b = np.ones((3, 3))
    cell, high = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    strides = np.zeros(3, dtype=np.int64)
    for a in range(d):
        high[a] = 2
        strides[a] = 1
        for c in range(a + 1, d):
            strides[a] *= shape[c]
    for i in range(n):
        total[i], nodes[i] = 0.0, 0
        inside, corner = True, 0
        for a in range(d):
            x = points[i, a] / width
            whole = min(max(math.floor(x), low[a] - 3.0), float(low[a] + shape[a] + 3))
            t = min(max(x - whole - 0.5, -0.5), 0.5)
            cell[a] = np.int64(whole) - low[a] - 1
            # The table has an empty border, so that a cell at its edge has no node at all.
            inside = inside and cell[a] >= 0 and cell[a] + 2 < shape[a]
            corner += cell[a] * strides[a]
            b[a, 0], b[a, 1], b[a, 2] = 0.5 * (0.5 - t) ** 2, 0.75 - t * t, 0.5 * (0.5 + t) ** 2
        if not inside:
            continue
        for j in range(high[0] + 1):
            for k in range(high[1] + 1):
                for m in range(high[2] + 1):
                    at = table[corner + j * strides[0] + k * strides[1] + m * strides[2]]
                    if at >= 0:
                        nodes[i] += 1
                        total[i] += weights[at] * b[0, j] * b[1, k] * b[2, m]


class SplineField(NamedTuple):
    """A sum of splines f(x) = sum_s sum_i alpha_i^s B_i^s(x); see ``fit_spline_field``.

    Attributes
    ----------
    levels : tuple of Level
    weights : tuple of alpha^s, shape (m_s,)
    iterations : of conjugate gradients
    gram : the sparse matrix of the normal equations, (m, m), all levels together
    """

    levels: tuple
    weights: tuple
    iterations: int
    gram: sparse.csr_matrix | None

    def values(self, points, unknown=np.nan) -> np.ndarray:
        """Return f (n,) at points (n, d); ``unknown`` where the widest level lacks a node."""
        points = as_matrix("points", points, columns=self.levels[0].nodes.shape[1])
        found, total = np.zeros(len(points)), np.zeros(len(points))
        nodes = np.zeros(len(points), dtype=np.int64)
        widest = max(range(len(self.levels)), key=lambda s: self.levels[s].width)
        for s, (level, alpha) in enumerate(zip(self.levels, self.weights, strict=True)):
            place = (level.width, level.low, np.array(level.table.shape), level.table.ravel())
            _sum_splines(points, *place, alpha, total, nodes)
            found += total
            if s == widest:
                missing = nodes < 3 ** points.shape[1]
        found[missing] = unknown
        return found

    def gradients(self, points) -> np.ndarray:
        """Return the gradient of f (n, d) at points (n, d)."""
        found = 0.0
        for level, alpha in zip(self.levels, self.weights, strict=True):
            ids, _, slopes = spline_stencils(level, points)
            found = found + np.einsum("ndk,nk->nd", slopes, np.append(alpha, 0.0)[ids])
        return found


def fit_spline_field(
    points,
    normals,
    widths,
    *,
    gradient_weight: float = 1.0,
    value_weight: float = 1.0,
    ridge: float = 0.03,
    offset: float | None = None,
    keep_gram: bool = False,
    tolerance: float = 1e-6,
) -> SplineField:
    """Return the kernel field whose zero set passes by oriented points, from one sparse solve.

    Minimises w_v/h^2 sum_p f(x_p)^2 + w_g sum_p |grad f(x_p) - n_p|^2 + ridge |alpha|^2/h^2 with h
    the least width (so that no weight depends on the unit of length), by conjugate gradients with
    the diagonal as preconditioner.

    Parameters
    ----------
    points, normals : shape (n, d), d = 2 or 3; normals point out of the solid
    widths : sides of the voxels of each level, > 0, units of the points
    gradient_weight, value_weight, ridge : w_g, w_v >= 0 and the ridge > 0
    offset : eps; a number replaces the gradients by the values f(x_p + eps n_p) = eps and
        f(x_p - eps n_p) = -eps, the older way, with weight w_g/h^2
    keep_gram : form and keep the sparse matrix; without, only products with it are taken
    tolerance : of conjugate gradients

    Returns
    -------
    SplineField, negative inside

    Raises
    ------
    ValueError : shapes that do not fit, no widths, both weights 0, or a number out of its range.

    Cost: O(n d 3^d levels) an iteration; the matrix has O(m 5^d levels^2) entries.
    Paper: neural-kernel-surface-reconstruction (Huang et al. 2023, arXiv:2305.19590)
    """
    points = _as_places("points", points)
    normals = as_matrix("normals", normals, rows=len(points), columns=points.shape[1])
    widths = as_vector("widths", widths)
    if len(widths) == 0:
        raise ValueError("widths must name at least one level, got none")
    gradient_weight = nonnegative("gradient_weight", gradient_weight)
    value_weight = nonnegative("value_weight", value_weight)
    if gradient_weight + value_weight == 0.0:
        raise ValueError("gradient_weight and value_weight must not both be 0")
    ridge, unit = positive("ridge", ridge), positive("widths", float(widths.min()))
    all_points = points
    if offset is not None:
        shift = positive("offset", offset) * normals
        all_points = np.concatenate([points, points + shift, points - shift])
    levels = tuple(voxel_level(all_points, float(width)) for width in widths)
    one = math.sqrt(value_weight) / unit
    two = math.sqrt(gradient_weight) * (1.0 if offset is None else 1.0 / unit)
    if offset is None:
        values, slopes = _design(levels, points)
        rows = sparse.vstack([one * values, *(two * s for s in slopes)], format="csr")
        wanted = np.concatenate([np.zeros(len(points)), two * normals.T.ravel()])
    else:
        values, _ = _design(levels, all_points)
        scale = np.repeat([one, two, two], len(points))
        rows = sparse.diags(scale) @ values
        wanted = scale * np.repeat([0.0, offset, -offset], len(points))
    across = rows.T.tocsr()
    diagonal = np.asarray(rows.multiply(rows).sum(axis=0)).ravel() + ridge / unit**2
    gram = None
    if keep_gram:
        gram = (across @ rows + sparse.diags(np.full(rows.shape[1], ridge / unit**2))).tocsr()
    solved = conjugate_gradients(
        lambda v: across @ (rows @ v) + ridge / unit**2 * v,
        across @ wanted,
        preconditioner=lambda r: r / diagonal,
        tolerance=tolerance,
        max_iterations=1000,
    )
    ends = np.cumsum([len(level.nodes) for level in levels])[:-1]
    return SplineField(levels, tuple(np.split(solved.x, ends)), solved.iterations, gram)


def _design(levels, points):
    """Return the sparse matrices of f and of its derivatives along each axis, (n, m) each."""
    kept = [spline_stencils(level, points) for level in levels]
    shift = np.cumsum([0] + [len(level.nodes) for level in levels])
    n, total = len(points), int(shift[-1])
    ids = np.concatenate([ids + s for (ids, _, _), s in zip(kept, shift[:-1], strict=True)], axis=1)
    ends = np.arange(n + 1) * ids.shape[1]

    def matrix(parts):
        data = np.concatenate(parts, axis=1).ravel()
        return sparse.csr_matrix((data, ids.ravel(), ends), shape=(n, total))

    values = matrix([values for _, values, _ in kept])
    slopes = [matrix([s[:, a] for _, _, s in kept]) for a in range(points.shape[1])]
    return values, slopes


# Solid surfels

SOLIDGS = "solidgs"


class Surfels(NamedTuple):
    """Flat discs in space.

    Attributes
    ----------
    centres, normals : shape (n, 3), normals of length 1
    axes : shape (n, 2, 3), orthonormal, in the disc's plane
    scales : shape (n, 2), > 0
    opacities : shape (n,), in [0, 1]
    """

    centres: np.ndarray
    normals: np.ndarray
    axes: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray


class Sight(NamedTuple):
    """What rays see of surfels.

    Attributes
    ----------
    distance : shape (n,), blended distance along the ray, sum w t / sum w; NaN where nothing is met
    light : shape (n,), what is let through
    largest : shape (n,), share of the largest weight, in [0, 1]; 0 where nothing is met
    features : shape (n, C), sum w f
    """

    distance: np.ndarray
    light: np.ndarray
    largest: np.ndarray
    features: np.ndarray


def make_surfels(centres, normals, scale, opacity, along=None) -> Surfels:
    """Return discs at points, across their normals.

    Parameters: centres, normals (n, 3); scale, a number or (n, 2), > 0; opacity in [0, 1], a number
    or (n,); along, a direction (3,) for the first axis where that is possible (None: any). Raises
    ValueError for other shapes or normals of length 0. Cost: O(n).
    """
    centres = as_matrix("centres", centres, columns=3)
    normals = as_matrix("normals", normals, rows=len(centres), columns=3)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    positive("normals' lengths", float(length.min()))
    normals = normals / length
    helper = np.eye(3)[np.argmin(np.abs(normals), axis=1)]
    if along is not None:
        wanted = np.broadcast_to(as_vector("along", along, length=3), normals.shape)
        close = np.abs(np.einsum("nk,nk->n", wanted, normals)) > 0.99 * np.linalg.norm(wanted[0])
        helper = np.where(close[:, None], helper, wanted)
    first = helper - np.einsum("nk,nk->n", helper, normals)[:, None] * normals
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(normals, first)], axis=1)
    scales = np.broadcast_to(np.asarray(scale, dtype=float), (len(centres), 2)).copy()
    positive("scale", float(scales.min()))
    opacities = np.broadcast_to(np.asarray(opacity, dtype=float), (len(centres),)).copy()
    between("opacity", float(opacities.min()), 0.0, 1.0)
    between("opacity", float(opacities.max()), 0.0, 1.0)
    return Surfels(centres, normals, axes, scales, opacities)


def solid_kernel(r, solidity) -> np.ndarray:
    """Return k_p(r) = exp(-(r^2/2)^p): the Gaussian for p = 1, nearly a step at sqrt 2 for large p.

    Parameters: r of any shape; solidity p >= 1. Raises ValueError for a smaller p. Cost: O(size).
    Paper: solidgs (Shen et al. 2024, arXiv:2412.15400)
    """
    solidity = between("solidity", solidity, 1.0, 64.0)
    return np.exp(-((0.5 * np.asarray(r, dtype=float) ** 2) ** solidity))


def see_surfels(surfels: Surfels, origins, directions, solidity=1.0, features=None) -> Sight:
    """Return what rays see of surfels: each meets a disc's plane in one point, and blends in order.

    At the hit with local coordinates (u, v) in units of the scales, a = min(0.99, o k_p(r)) with
    r^2 = u^2 + v^2, cut where k_p < exp(-4.5); weights w_i = a_i times the product of 1 - a_j over
    the discs met before.

    Parameters
    ----------
    surfels : Surfels
    origins, directions : shape (R, 3); directions of length 1
    solidity : p, between 1 and 64
    features : shape (n, C), of the discs; None: none

    Returns
    -------
    Sight

    Raises
    ------
    ValueError : shapes that do not fit, or a solidity out of its range.

    Cost: O(R n). Paper: solidgs (Shen et al. 2024, arXiv:2412.15400)
    """
    origins = as_matrix("origins", origins, columns=3)
    directions = as_matrix("directions", directions, rows=len(origins), columns=3)
    solidity = between("solidity", solidity, 1.0, 64.0)
    count = len(surfels.centres)
    features = np.empty((count, 0)) if features is None else np.asarray(features, dtype=float)
    if features.ndim != 2 or len(features) != count:
        raise ValueError(f"features must have shape ({count}, C), got {features.shape}")
    out = np.zeros((len(origins), features.shape[1]))
    distance, light, largest = np.empty((3, len(origins)))
    scaled = np.ascontiguousarray(surfels.axes / surfels.scales[:, :, None])
    _see(
        *(origins, directions, surfels.centres, surfels.normals, scaled, surfels.opacities),
        *(solidity, np.ascontiguousarray(features), distance, light, largest, out),
    )
    return Sight(distance, light, largest, out)


@compiled(f"void({_M}, {_M}, {_M}, {_M}, {_A}, {_V}, float64, {_M}, {_V}, {_V}, {_V}, {_M})")
def _see(
    origins, directions, centres, normals, axes, opacities, solidity, features,
    distance, light, largest, out,
):  # fmt: skip
    count = len(centres)
    reach = 4.5 ** (1.0 / solidity)
    when, alpha = np.empty(count), np.empty(count)
    who = np.empty(count, dtype=np.int64)
    for r in range(len(origins)):
        met = 0
        for i in range(count):
            slope, ahead = 0.0, 0.0
            for a in range(3):
                slope += directions[r, a] * normals[i, a]
                ahead += (centres[i, a] - origins[r, a]) * normals[i, a]
            if abs(slope) < 1e-9:
                continue
            t = ahead / slope
            if t <= 0.0:
                continue
            u, v = 0.0, 0.0
            for a in range(3):
                aside = origins[r, a] + t * directions[r, a] - centres[i, a]
                u += aside * axes[i, 0, a]
                v += aside * axes[i, 1, a]
            q = 0.5 * (u * u + v * v)
            if q > reach:
                continue
            power = q if solidity == 1.0 else q**solidity
            strength = min(0.99, opacities[i] * math.exp(-power))
            if strength < 1e-5:
                continue
            at = met  # keep the hits in order of distance
            while at > 0 and when[at - 1] > t:
                when[at], alpha[at], who[at] = when[at - 1], alpha[at - 1], who[at - 1]
                at -= 1
            when[at], alpha[at], who[at] = t, strength, i
            met += 1
        left, total, mean, most = 1.0, 0.0, 0.0, 0.0
        for h in range(met):
            weight = alpha[h] * left
            total += weight
            mean += weight * when[h]
            most = max(most, weight)
            left *= 1.0 - alpha[h]
            for c in range(features.shape[1]):
                out[r, c] += weight * features[who[h], c]
        distance[r] = mean / total if total > 0.0 else math.nan
        light[r] = left
        largest[r] = most / total if total > 0.0 else 0.0


def depth_errors(surfels: Surfels, eyes, points, solidity=1.0) -> np.ndarray:
    """Return rendered minus true distance of surface points, as seen from each eye: (V, n).

    Parameters: surfels; eyes (V, 3); points (n, 3) on the true surface; solidity p. NaN where the
    ray meets no disc. Whether an eye sees the point is not asked. Raises ValueError for other
    shapes. Cost: O(V n discs). Paper: solidgs (Shen et al. 2024, arXiv:2412.15400)
    """
    eyes, points = as_matrix("eyes", eyes, columns=3), as_matrix("points", points, columns=3)
    found = np.empty((len(eyes), len(points)))
    for row, eye in zip(found, eyes, strict=True):
        rays = points - eye
        true = np.linalg.norm(rays, axis=1)
        origins = np.broadcast_to(eye, rays.shape).copy()
        row[:] = see_surfels(surfels, origins, rays / true[:, None], solidity).distance - true
    return found


def view_disagreement(errors, visible) -> float:
    """Return the mean difference between the depth errors of two views at the same surface point.

    Parameters: errors (V, n), see ``depth_errors``; visible (V, n), booleans. The mean is over all
    pairs of views that both see the point and meet a disc. Raises ValueError for other shapes, or
    when no point is seen twice. Cost: O(V^2 n).
    """
    errors = np.asarray(errors, dtype=float)
    seen = np.asarray(visible, dtype=bool)
    if errors.ndim != 2 or seen.shape != errors.shape:
        raise ValueError(
            f"errors and visible must have the same shape (V, n), got {errors.shape}, {seen.shape}"
        )
    seen = seen & np.isfinite(errors)
    gaps = [
        np.abs(errors[i] - errors[j])[seen[i] & seen[j]]
        for i, j in itertools.combinations(range(len(errors)), 2)
    ]
    gaps = np.concatenate(gaps) if gaps else np.empty(0)
    if gaps.size == 0:
        raise ValueError("visible must show some point in two views, got none")
    return float(gaps.mean())


class FlatViews(NamedTuple):
    """One-dimensional pictures of a curve: R rays of all pictures together.

    Attributes
    ----------
    origins, directions : shape (R, 2)
    points, normals : shape (R, 2), where rays meet the curve, and its normals; 0 where they do not
    hit : shape (R,), booleans
    """

    origins: np.ndarray
    directions: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    hit: np.ndarray


def flat_views(name: str, angles, pixels: int, *, distance=2.2, field_of_view=50.0) -> FlatViews:
    """Return what cameras around a closed curve of the plane see, without error.

    Parameters: name of the curve, see ``closed_curve``; angles (V,), degrees, where the cameras
    stand; pixels of each, >= 1; distance from the middle, > 1; field_of_view, degrees. Raises
    ValueError for others. Cost: O(V pixels x 2000).
    """
    curve, normals = closed_curve(name, 2000)
    angles = np.radians(as_vector("angles", angles))
    pixels = integer("pixels", pixels, low=1, high=4096)
    distance = between("distance", distance, 1.0, 1e6)
    half = math.tan(0.5 * math.radians(between("field_of_view", field_of_view, 1.0, 170.0)))
    ahead = -np.stack([np.cos(angles), np.sin(angles)], axis=1)
    aside = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    step = half * (2.0 * (np.arange(pixels) + 0.5) / pixels - 1.0)
    directions = (ahead[:, None] + step[:, None] * aside[:, None]).reshape(-1, 2)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.repeat(-distance * ahead, pixels, axis=0)
    along = directions @ curve.T - np.einsum("rk,rk->r", origins, directions)[:, None]
    across = np.stack([-directions[:, 1], directions[:, 0]], axis=1)
    side = across @ curve.T - np.einsum("rk,rk->r", origins, across)[:, None]
    # Neighbours on the curve; a pair that joins two separate pieces is none.
    joined = np.linalg.norm(np.roll(curve, -1, axis=0) - curve, axis=1) < 0.05
    after = np.roll(side, -1, axis=1)
    crossing = ((side < 0.0) != (after < 0.0)) & joined
    first = np.where(crossing, along, np.inf).argmin(axis=1)
    rows = np.arange(len(origins))
    hit = crossing[rows, first]
    share = side[rows, first] / np.where(hit, side[rows, first] - after[rows, first], 1.0)
    points = curve[first] + share[:, None] * (np.roll(curve, -1, axis=0) - curve)[first]
    return FlatViews(
        *(origins, directions, np.where(hit[:, None], points, 0.0)),
        *(np.where(hit[:, None], normals[first], 0.0), hit),
    )


class FlatFit:
    """Surfels of a flat world (segments in a plane) that learn from one-dimensional pictures.

    The loss is the mean squared error of colour and coverage, plus ``guidance`` times that of the
    blended normals: sum_i w_i n_i against the true normals, as the method's normal guidance has it.
    All segments share one solidity p = 1 + e^z, learned beside places, angles, widths, opacities
    and colours.

    Parameters
    ----------
    origins, directions : shape (R, 2), the rays of all pictures, directions of length 1
    colours : shape (R,), in [0, 1], 0 where the ray meets nothing
    normals : shape (R, 2), true normals; 0 where the ray meets nothing
    centres, angles : shape (n, 2) and (n,), where segments start; the angle is that of the normal
    width : first standard deviation of all segments
    learn_solidity : False keeps p where it starts
    solidity : where p starts, > 1, at most 20
    guidance : weight of the normals
    opacity : first opacity of all segments

    Attributes
    ----------
    parameters : arrays by name: centres (n, 2), angles, log_widths, logits, shades (n,), hardness
        (1,), which is z
    losses : the loss before each step so far

    Raises
    ------
    ValueError : shapes that do not fit, or a number out of its range.

    Paper: solidgs (Shen et al. 2024, arXiv:2412.15400)
    """

    RATES = {
        "centres": 0.004, "angles": 0.03, "log_widths": 0.02, "logits": 0.05, "shades": 0.02,
        "hardness": 0.05,
    }  # fmt: skip

    def __init__(
        self, origins, directions, colours, normals, centres, angles, width, *,
        learn_solidity=True, solidity=1.05, guidance=0.1, opacity=0.8,
    ):  # fmt: skip
        self.origins = as_matrix("origins", origins, columns=2)
        rows = len(self.origins)
        self.directions = as_matrix("directions", directions, rows=rows, columns=2)
        self.colours = as_vector("colours", colours, length=rows)
        self.normals = as_matrix("normals", normals, rows=rows, columns=2)
        centres = as_matrix("centres", centres, columns=2).copy()
        count = len(centres)
        solidity = positive("solidity - 1", solidity - 1.0) + 1.0
        opacity = between("opacity", opacity, 0.01, 0.99)
        self.guidance = nonnegative("guidance", guidance)
        self.parameters = {
            "centres": centres,
            "angles": as_vector("angles", angles, length=count).copy(),
            "log_widths": np.full(count, math.log(positive("width", width))),
            "logits": np.full(count, math.log(opacity / (1.0 - opacity))),
            "shades": np.full(count, 0.5),
            "hardness": np.full(1, math.log(between("solidity", solidity, 1.0, 20.0) - 1.0)),
        }
        self.losses = []
        learned = [k for k in self.parameters if learn_solidity or k != "hardness"]
        self._adams = {k: Adam(self.parameters[k], self.RATES[k]) for k in learned}
        self._slopes = value_and_grad(self._loss)

    @property
    def solidity(self) -> float:
        """p, as it is now."""
        return 1.0 + float(np.exp(self.parameters["hardness"][0]))

    def weights(self, parameters=None, origins=None, directions=None):
        """Return the weights (R, n) of segments along rays, and the distances (R, n) of hits."""
        p = self.parameters if parameters is None else parameters
        origins = self.origins if origins is None else origins
        directions = self.directions if directions is None else directions
        normal = anp.stack([anp.cos(p["angles"]), anp.sin(p["angles"])])  # (2, n)
        slope = anp.dot(directions, normal)
        slope = anp.where(anp.abs(slope) < 1e-3, 1e-3, slope)
        ahead = anp.sum(p["centres"].T * normal, axis=0) - anp.dot(origins, normal)
        t = ahead / slope
        across = anp.stack([-normal[1], normal[0]])
        start = anp.dot(origins, across) - anp.sum(p["centres"].T * across, axis=0)
        u = (start + t * anp.dot(directions, across)) * anp.exp(-p["log_widths"])
        q = anp.minimum(0.5 * u**2 + 1e-9, 30.0)
        solidity = 1.0 + anp.exp(p["hardness"][0])
        power = anp.exp(anp.minimum(solidity * anp.log(q), 4.0))
        a = anp.where(t > 0.0, LARGEST_ALPHA * expit(p["logits"]) * anp.exp(-power), 0.0)
        plain = getattr(t, "_value", t)
        in_front = (plain[:, None, :] < plain[:, :, None]).astype(float)  # of i: j
        light = anp.exp(anp.matmul(in_front, anp.log(1.0 - a)[:, :, None])[:, :, 0])
        return a * light, t

    def _loss(self, parameters):
        w, _ = self.weights(parameters)
        normal = anp.stack([anp.cos(parameters["angles"]), anp.sin(parameters["angles"])], axis=1)
        hit = (self.normals != 0.0).any(axis=1)
        colour = anp.dot(w, parameters["shades"]) - self.colours
        cover = anp.sum(w, axis=1) - hit
        turn = anp.dot(w, normal) - self.normals
        return anp.mean(colour**2 + cover**2) + self.guidance * anp.mean(anp.sum(turn**2, axis=1))

    def step(self) -> float:
        """Take one step of Adam; return the loss before it."""
        value, slopes = self._slopes(self.parameters)
        self.losses.append(float(value))
        for name, adam in self._adams.items():
            adam.update(slopes[name])
        np.clip(self.parameters["hardness"], -7.0, 3.0, out=self.parameters["hardness"])
        np.clip(self.parameters["log_widths"], -5.0, 0.0, out=self.parameters["log_widths"])
        return self.losses[-1]

    def run(self, steps: int) -> Iterator[float]:
        """Take up to ``steps`` steps, and yield the loss before each."""
        for _ in range(integer("steps", steps, low=0)):
            yield self.step()

    def surface(self, origins, directions) -> np.ndarray:
        """Return the points (m, 2) that rays see, at sum w t / sum w, where sum w > 1/2."""
        w, t = self.weights(origins=origins, directions=directions)
        total = w.sum(axis=1)
        seen = total > 0.5
        distance = (w * t).sum(axis=1)[seen] / total[seen]
        return origins[seen] + distance[:, None] * directions[seen]


# The opacity along rays as a field

GVKF = "gvkf"
_CELLS = 24  # a side, into which an image is cut to find the splats near a query


def ray_opacity(points, camera: Camera, parameters: dict) -> np.ndarray:
    """Return how much of the light from the camera to each point is stopped on the way: (n,).

    Along the ray o + t (x - o) a splat is a Gaussian of t with exponent (A t^2 - 2 B t + C)/2, its
    peak at B/A. Its share is taken at t = min(B/A, 1), for it is met no later than the query:
    a_i = min(0.99, o_i exp(-exponent)), cut at three standard deviations; the result is
    1 - product of 1 - a_i, the sum of a_i T_i from front to back, in any order.

    Parameters
    ----------
    points : shape (n, 3), units of the world, the queries
    camera : a Camera in perspective
    parameters : splats of a space as ``render_space`` takes them; features are not used

    Returns
    -------
    shape (n,), in [0, 1); NaN for queries that are outside of the image or behind the camera

    Raises
    ------
    ValueError : shapes that do not fit, or an orthographic camera.

    Cost: O(n x splats whose outline is near the query's pixel).
    Paper: gvkf (Song et al. 2024, arXiv:2411.01853)
    """
    points = as_matrix("points", points, columns=3)
    if not isinstance(camera, Camera) or camera.orthographic:
        raise ValueError("camera must be a Camera in perspective, got another")
    means, precisions, opacities, covariances = _space_splats(parameters)
    eye = camera.centre_of_view
    seen = camera.to_camera(points)
    ahead = seen[:, 2] > camera.near
    depth = np.where(ahead, seen[:, 2], 1.0)
    pixels = seen[:, :2] / depth[:, None] * camera.focal + camera.centre
    room = (camera.width + 1e-6, camera.height + 1e-6)  # rays along the very edge belong to it
    inside = ahead & ((pixels >= -1e-6) & (pixels <= room)).all(axis=1)
    size = np.array([camera.width, camera.height]) / _CELLS
    cells = np.clip(np.floor(pixels / size), 0, _CELLS - 1).astype(np.int64)
    boxes = np.clip(np.floor(_outline_boxes(means, covariances, camera) / np.tile(size, 2)), -1, 24)
    starts, members = _cell_lists(boxes.astype(np.int64))
    out = np.full(len(points), np.nan)
    _accumulate(
        *(points, eye, cells, inside, starts, members, means - eye, precisions, opacities, out)
    )
    return out


def ray_profile(camera: Camera, pixel, parameters: dict, distances) -> np.ndarray:
    """Return the opacity met along one ray, up to each distance from the camera: (n,).

    Parameters: camera; pixel (u, v) in the image; parameters of splats; distances (n,), > 0, units
    of the world. Raises ValueError as ``ray_opacity``. Cost: that of ``ray_opacity``.
    Paper: gvkf (Song et al. 2024, arXiv:2411.01853)
    """
    pixel, distances = as_vector("pixel", pixel, length=2), as_vector("distances", distances)
    positive("distances", float(distances.min()))
    eye = camera.centre_of_view
    ray = camera.unproject(pixel[None], [1.0])[0] - eye
    ray /= np.linalg.norm(ray)
    return ray_opacity(eye + distances[:, None] * ray, camera, parameters)


def opacity_field(points, cameras, parameters: dict, shift: float = 0.0) -> np.ndarray:
    """Return max over cameras of log(1/alpha - 1) - shift: positive where some camera sees past.

    alpha is ``ray_opacity``, kept in [1e-6, 1 - 1e-6]. Where it is one half the field is -shift.

    Parameters: points (n, 3); cameras, at least one; parameters of splats; shift u, in log-odds.
    Returns (n,); NaN for points in no image. Raises ValueError as ``ray_opacity``.
    Cost: that of ``ray_opacity`` for each camera.
    Paper: gvkf (Song et al. 2024, arXiv:2411.01853)
    """
    shift = float(as_vector("shift", [shift])[0])
    if len(cameras) == 0:
        raise ValueError("cameras must hold at least one, got none")
    points = as_matrix("points", points, columns=3)
    least = np.full(len(points), np.nan)  # of the opacities
    for camera in cameras:
        open_ones = np.flatnonzero(~(least <= 1e-6))  # the others are in plain sight already
        if open_ones.size:
            found = ray_opacity(points[open_ones], camera, parameters)
            least[open_ones] = np.fmin(least[open_ones], found)
    least = np.clip(least, 1e-6, 1.0 - 1e-6)
    return np.log(1.0 / least - 1.0) - shift


def splat_density(points, parameters: dict) -> np.ndarray:
    """Return sum_i o_i G_i at points (n, 3), the plain sum of kernels: (n,).

    Parameters: points; parameters of splats of a space. Raises ValueError for other shapes.
    Cost: O(n splats).
    """
    points = as_matrix("points", points, columns=3)
    means, precisions, opacities, _ = _space_splats(parameters)
    out = np.zeros(len(points))
    _density(points, means, precisions, opacities, out)
    return out


def bisected(mesh: Mesh, grid, field, rounds: int) -> np.ndarray:
    """Return a mesh's vertices, each moved along its edge to where a field is zero, by bisection.

    Starts from the middle of the edge: after k rounds a vertex is within 2^-(k+1) of the edge.

    Parameters: mesh, from ``marching_tetrahedra``; grid (g, 3), the places of the grid's points in
    flat order; field, a function of points (n, 3) that is negative inside; rounds >= 0. Raises
    ValueError for other shapes. Cost: O(rounds) evaluations of the field at all vertices.
    Paper: gvkf (Song et al. 2024, arXiv:2411.01853)
    """
    grid = as_matrix("grid", grid, columns=3)
    inner, outer = grid[mesh.edges[:, 0]], grid[mesh.edges[:, 1]]
    for _ in range(integer("rounds", rounds, low=0)):
        middle = 0.5 * (inner + outer)
        within = (field(middle) < 0.0)[:, None]
        inner, outer = np.where(within, middle, inner), np.where(within, outer, middle)
    return 0.5 * (inner + outer)


def _space_splats(parameters: dict):
    for name in ("means", "quaternions", "log_scales"):
        if name not in parameters:
            raise ValueError(f"parameters must hold {name!r}, got {sorted(parameters)}")
    means = as_matrix("means", parameters["means"], columns=3)
    covariances = space_covariances(parameters["quaternions"], parameters["log_scales"])
    same_length("means", means, "covariances", covariances)
    opacities = np.ones(len(means))
    if "logits" in parameters:
        opacities = 0.5 + 0.5 * np.tanh(0.5 * as_vector("logits", parameters["logits"]))
        same_length("means", means, "logits", opacities)
    return means, np.ascontiguousarray(np.linalg.inv(covariances)), opacities, covariances


def _outline_boxes(means, covariances, camera) -> np.ndarray:
    """Return (u0, v0, u1, v1), pixels, of the exact outlines of ellipsoids at three sd: (n, 4)."""
    seen = camera.to_camera(means)
    turned = camera.rotation @ covariances @ camera.rotation.T
    cone = 9.0 * turned - seen[:, :, None] * seen[:, None, :]  # dual conic of the outline
    boxes = np.empty((len(means), 4))
    deep = cone[:, 2, 2]
    # An ellipsoid that reaches the camera's own plane may be anywhere in the image.
    near = (deep >= -1e-12) | (seen[:, 2] <= 0.0)
    deep = np.where(near, -1.0, deep)
    for a in range(2):
        root = np.sqrt(np.maximum(cone[:, a, 2] ** 2 - cone[:, a, a] * deep, 0.0))
        for column, sign in ((a, 1.0), (2 + a, -1.0)):
            place = (cone[:, a, 2] + sign * root) / deep
            boxes[:, column] = camera.focal[a] * place + camera.centre[a]
    boxes[near] = -1e6, -1e6, 1e6, 1e6
    return boxes


@compiled(f"Tuple(({_IV}, {_IV}))({_IM})")
def _cell_lists(boxes):
    """Return which splats' boxes reach each cell: members[starts[c]:starts[c + 1]]."""
    counts = np.zeros(_CELLS * _CELLS + 1, dtype=np.int64)
    for fill in range(2):
        if fill == 1:
            for c in range(_CELLS * _CELLS):
                counts[c + 1] += counts[c]
            starts, members = counts.copy(), np.empty(counts[-1], dtype=np.int64)
            place = counts.copy()
        for i in range(len(boxes)):
            for y in range(max(boxes[i, 1], 0), min(boxes[i, 3], _CELLS - 1) + 1):
                for x in range(max(boxes[i, 0], 0), min(boxes[i, 2], _CELLS - 1) + 1):
                    c = y * _CELLS + x
                    if fill == 0:
                        counts[c + 1] += 1
                    else:
                        members[place[c]] = i
                        place[c] += 1
    return starts, members


@compiled(f"void({_M}, {_V}, {_IM}, boolean[::1], {_IV}, {_IV}, {_M}, {_A}, {_V}, {_V})")
def _accumulate(points, eye, cells, inside, starts, members, aside, precisions, opacities, out):
    count = len(aside)
    towards = np.empty((count, 3))  # P (m - o)
    for i in range(count):
        for a in range(3):
            towards[i, a] = 0.0
            for b in range(3):
                towards[i, a] += precisions[i, a, b] * aside[i, b]
    for n in range(len(points)):
        if not inside[n]:
            continue
        x, y, z = points[n, 0] - eye[0], points[n, 1] - eye[1], points[n, 2] - eye[2]
        light = 1.0
        c = cells[n, 1] * _CELLS + cells[n, 0]
        for m in range(starts[c], starts[c + 1]):
            i = members[m]
            p = precisions[i]
            bend = x * (p[0, 0] * x + 2.0 * (p[0, 1] * y + p[0, 2] * z))
            bend += y * (p[1, 1] * y + 2.0 * p[1, 2] * z) + z * p[2, 2] * z
            slope = x * towards[i, 0] + y * towards[i, 1] + z * towards[i, 2]
            if slope <= 0.0:
                continue
            t = min(slope / bend, 1.0)
            # From the distance to the splat's middle: A t^2 - 2 B t + C would be a small difference
            # of large terms, and lose four digits.
            u, v, w = aside[i, 0] - t * x, aside[i, 1] - t * y, aside[i, 2] - t * z
            q = u * (0.5 * p[0, 0] * u + p[0, 1] * v + p[0, 2] * w)
            q += v * (0.5 * p[1, 1] * v + p[1, 2] * w) + 0.5 * w * p[2, 2] * w
            if q <= 4.5:
                light *= 1.0 - min(LARGEST_ALPHA, opacities[i] * math.exp(-q))
        out[n] = 1.0 - light


@compiled(f"void({_M}, {_M}, {_A}, {_V}, {_V})")
def _density(points, means, precisions, opacities, out):
    for n in range(len(points)):
        total = 0.0
        for i in range(len(means)):
            x, y = points[n, 0] - means[i, 0], points[n, 1] - means[i, 1]
            z = points[n, 2] - means[i, 2]
            p = precisions[i]
            q = x * (p[0, 0] * x + 2.0 * (p[0, 1] * y + p[0, 2] * z))
            q = 0.5 * (q + y * (p[1, 1] * y + 2.0 * p[1, 2] * z) + z * p[2, 2] * z)
            if q < 15.0:
                total += opacities[i] * exp(-q)
        out[n] = total


# Stereo between rendered pictures

STEREO = "surface-reconstruction-from-gaussian"


def shifted_camera(camera: Camera, baseline: float) -> Camera:
    """Return the camera moved to its right by ``baseline`` > 0, units of the world.

    The pair is rectified: a point at depth z is f b/z pixels further left in the second picture.
    Raises ValueError for another kind of camera or baseline. Cost: O(1).
    Paper: surface-reconstruction-from-gaussian (Wolf et al. 2024, arXiv:2404.01810)
    """
    if not isinstance(camera, Camera) or camera.orthographic:
        raise ValueError("camera must be a Camera in perspective, got another")
    step = np.array([positive("baseline", baseline), 0.0, 0.0])
    return dataclasses.replace(camera, translation=camera.translation - step)


def match_blocks(left, right, least: int, largest: int, *, radius: int = 3, slack: float = 1.0):
    """Return the disparity of each pixel of the left picture, from blocks of absolute differences.

    cost(x, d) is the mean of |L(x) - R(x - d)| over a block of (2 radius + 1)^2 pixels. The best
    whole d is refined by the parabola through its neighbours. A pixel whose best match, matched
    back, ends more than ``slack`` pixels away is taken as hidden.

    Parameters
    ----------
    left, right : shape (H, W, C), rectified
    least, largest : of the disparities that are tried, pixels, 0 <= least < largest < W
    radius : of the blocks, pixels, >= 0
    slack : pixels, >= 0

    Returns
    -------
    disparity : shape (H, W), pixels; NaN where hidden, or where the best d is the least or largest
        one that was tried

    Raises
    ------
    ValueError : shapes that do not fit, or numbers out of their range.

    Cost: O(H W C (largest - least)), whatever the radius.
    Paper: surface-reconstruction-from-gaussian (Wolf et al. 2024, arXiv:2404.01810), which lets a
    trained network match.
    """
    left, right = _as_picture("left", left), _as_picture("right", right)
    if left.shape != right.shape:
        raise ValueError(f"right must have the shape {left.shape} of left, got {right.shape}")
    height, width, _ = left.shape
    largest = integer("largest", largest, low=1, high=width - 1)
    least = integer("least", least, low=0, high=largest - 1)
    radius, slack = integer("radius", radius, low=0, high=64), nonnegative("slack", slack)
    costs = np.full((largest - least + 1, height, width), np.inf)
    _block_costs(left, right, least, radius, costs)
    out = np.empty((height, width))
    _best_matches(costs, least, slack, out)
    return out


def depth_from_disparity(disparity, focal: float, baseline: float) -> np.ndarray:
    """Return depths z = f b/d of disparities d of any shape; infinite for 0, NaN for d < 0 and NaN.

    Parameters: disparity, pixels; focal > 0, pixels; baseline > 0, units of the world. Raises
    ValueError for other numbers. Cost: O(size).
    Paper: surface-reconstruction-from-gaussian (Wolf et al. 2024, arXiv:2404.01810)
    """
    disparity = np.asarray(disparity, dtype=float)
    top = positive("focal", focal) * positive("baseline", baseline)
    out = np.where(disparity == 0.0, np.inf, np.nan)
    np.divide(top, disparity, out=out, where=disparity > 0.0)
    return out


def stereo_depth(
    render,
    camera: Camera,
    baseline: float,
    *,
    nearest: float,
    farthest: float,
    radius: int = 3,
    slack: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depths that block matching finds between two renderings, and the two pictures.

    Parameters
    ----------
    render : a function of a camera that returns a picture (H, W, C)
    camera : the left one
    baseline : > 0, units of the world
    nearest, farthest : range of depths that is searched, units of the world
    radius, slack : as for ``match_blocks``

    Returns
    -------
    depth (H, W), units of the world, NaN where nothing is known; left, right (H, W, C)

    Raises
    ------
    ValueError : numbers out of their range, or a baseline that makes points leave the picture.

    Cost: two renderings and ``match_blocks``.
    Paper: surface-reconstruction-from-gaussian (Wolf et al. 2024, arXiv:2404.01810)
    """
    nearest = positive("nearest", nearest)
    if not positive("farthest", farthest) > nearest:
        raise ValueError(f"farthest must be above nearest = {nearest:.6g}, got {farthest:.6g}")
    other = shifted_camera(camera, baseline)
    strength = float(camera.focal[0]) * baseline
    least = max(0, math.floor(strength / farthest) - 1)
    largest = math.ceil(strength / nearest) + 1
    if largest >= camera.width:
        raise ValueError(
            f"baseline {baseline:.3g} shifts points by {largest} pixels or more, the picture is "
            f"only {camera.width} wide: take a smaller one"
        )
    left, right = render(camera), render(other)
    disparity = match_blocks(left, right, least, largest, radius=radius, slack=slack)
    depth = depth_from_disparity(disparity, float(camera.focal[0]), baseline)
    depth[~np.isfinite(depth)] = np.nan
    return depth, left, right


def blended_depth(parameters: dict, camera: Camera) -> np.ndarray:
    """Return the depths (H, W) that splats blend to, sum w z / sum w; inf where sum w < 1/2.

    Parameters: splats of a space as ``render_space`` takes them; camera. Raises ValueError as that.
    Cost: that of ``rasterise``.
    """
    depths = camera.to_camera(parameters["means"])[:, 2:]
    raster = render_space(parameters, camera, features=depths).raster
    cover = 1.0 - raster.transmittance
    return np.where(cover > 0.5, raster.image[..., 0] / np.maximum(cover, 1e-9), np.inf)


def fuse_depths(points, cameras, depths, truncation: float) -> np.ndarray:
    """Return the truncated signed distance that depth pictures agree on, in units of t.

    Each camera that sees a point votes min(1, (depth in its picture - depth of the point)/t), with
    t the truncation; points more than t behind the surface are hidden from it and get no vote. The
    mean of the votes is the field: positive outside.

    Parameters
    ----------
    points : shape (n, 3), units of the world
    cameras : V cameras
    depths : V pictures (H, W), units of the world; NaN where unknown, inf where nothing is met
    truncation : t > 0, units of the world

    Returns
    -------
    shape (n,), in [-1, 1]; NaN where no camera has a vote

    Raises
    ------
    ValueError : shapes that do not fit, or a truncation that is not positive.

    Cost: O(n V).
    Paper: surface-reconstruction-from-gaussian (Wolf et al. 2024, arXiv:2404.01810)
    """
    points, truncation = as_matrix("points", points, columns=3), positive("truncation", truncation)
    if same_length("cameras", cameras, "depths", depths) == 0:
        raise ValueError("cameras must hold at least one, got none")
    total, votes = np.zeros(len(points)), np.zeros(len(points))
    for i, (camera, depth) in enumerate(zip(cameras, depths, strict=True)):
        depth = np.ascontiguousarray(depth, dtype=float)
        if depth.shape != (camera.height, camera.width):
            raise ValueError(
                f"depths[{i}] must have shape {(camera.height, camera.width)}, got {depth.shape}"
            )
        _vote(
            *(points, camera.rotation.copy(), camera.translation.copy(), camera.focal.copy()),
            *(camera.centre.copy(), camera.near, camera.orthographic, depth, truncation),
            *(total, votes),
        )
    return np.where(votes > 0.0, total / np.maximum(votes, 1.0), np.nan)


@compiled(f"void({_A}, {_A}, int64, int64, {_A})")
def _block_costs(left, right, least, radius, costs):
    height, width, channels = left.shape
    sums = np.zeros((height + 1, width + 1))
    for k in range(len(costs)):
        d = least + k
        sums[:] = 0.0
        for y in range(height):
            row = 0.0
            for x in range(d, width):
                gap = 0.0
                for c in range(channels):
                    gap += abs(left[y, x, c] - right[y, x - d, c])
                row += gap
                sums[y + 1, x + 1] = sums[y, x + 1] + row
        for y in range(height):
            top, bottom = max(y - radius, 0), min(y + radius + 1, height)
            for x in range(d, width):
                a, b = max(x - radius, d), min(x + radius + 1, width)
                block = sums[bottom, b] - sums[top, b] - sums[bottom, a] + sums[top, a]
                costs[k, y, x] = block / ((bottom - top) * (b - a))


@compiled(f"void({_A}, int64, float64, {_M})")
def _best_matches(costs, least, slack, out):
    count, height, width = costs.shape
    for y in range(height):
        for x in range(width):
            best = 0
            for k in range(1, count):
                if costs[k, y, x] < costs[best, y, x]:
                    best = k
            out[y, x] = math.nan
            if best == 0 or best == count - 1 or not math.isfinite(costs[best + 1, y, x]):
                continue
            # The other picture's pixel x - d is matched back: its costs are costs[k, y, x - d + k].
            there, back = x - least - best, 0
            lowest = math.inf
            for k in range(count):
                at = there + least + k
                if at < width and costs[k, y, at] < lowest:
                    lowest, back = costs[k, y, at], k
            if abs(back - best) > slack:
                continue
            one, two, three = costs[best - 1, y, x], costs[best, y, x], costs[best + 1, y, x]
            bend = one - 2.0 * two + three
            shift = 0.5 * (one - three) / bend if bend > 1e-12 else 0.0
            out[y, x] = least + best + min(max(shift, -0.5), 0.5)


@compiled(f"void({_M}, {_M}, {_V}, {_V}, {_V}, float64, boolean, {_M}, float64, {_V}, {_V})")
def _vote(
    points, rotation, translation, focal, centre, near, parallel, depth, truncation, total, votes
):
    height, width = depth.shape
    seen = np.empty(3)
    for n in range(len(points)):
        for a in range(3):
            seen[a] = translation[a]
            for b in range(3):
                seen[a] += rotation[a, b] * points[n, b]
        if seen[2] <= near:
            continue
        scale = 1.0 if parallel else 1.0 / seen[2]
        u = focal[0] * seen[0] * scale + centre[0]
        v = focal[1] * seen[1] * scale + centre[1]
        if not (u >= 0.0 and v >= 0.0 and u < width and v < height):
            continue
        gap = (depth[np.int64(v), np.int64(u)] - seen[2]) / truncation
        if gap >= -1.0:  # false for NaN
            total[n] += min(gap, 1.0)
            votes[n] += 1.0


# From a field to a mesh


def box_grid(low, high, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (side^3, 3) of a grid over a box, last axis fastest, and its spacings (3,).

    Parameters: low, high (3,), corners with low < high; side >= 2. Raises ValueError for others.
    Cost: O(side^3).
    """
    low, high = as_vector("low", low, length=3), as_vector("high", high, length=3)
    side = integer("side", side, low=2, high=400)
    if not (high > low).all():
        raise ValueError(f"high must be above low on each axis, got {low} and {high}")
    axes = [np.linspace(a, b, side) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid, (high - low) / (side - 1)


def cameras_around(
    count: int,
    distance: float,
    *,
    height: int,
    width: int,
    field_of_view: float = 40.0,
    target=(0.0, 0.0, 0.0),
) -> list[Camera]:
    """Return cameras spread evenly over a sphere, all looking at its middle.

    Parameters: count >= 1; distance > 0, units of the world; height, width of the images, pixels;
    field_of_view, degrees; target (3,). Raises ValueError for others. Cost: O(count).
    """
    count, distance = integer("count", count, low=1), positive("distance", distance)
    target = as_vector("target", target, length=3)
    k = np.arange(count) + 0.5
    height_of = 0.9 * (1.0 - 2.0 * k / count)  # not quite to the poles, where "up" has no meaning
    angle, ring = k * np.pi * (1.0 + math.sqrt(5.0)), np.sqrt(1.0 - height_of**2)
    eyes = np.stack([ring * np.cos(angle), ring * np.sin(angle), height_of], axis=1)
    lens = {"height": height, "width": width, "field_of_view": field_of_view}
    return [Camera.look_at(target + distance * eye, target, **lens) for eye in eyes]


def finer(camera: Camera, times: int) -> Camera:
    """Return the same view with ``times`` as many pixels a side. Cost: O(1)."""
    times = integer("times", times, low=1, high=16)
    size = {"height": camera.height * times, "width": camera.width * times}
    return dataclasses.replace(
        camera, focal=camera.focal * times, centre=camera.centre * times, **size
    )


def section(mesh: Mesh, axis: int, place: float) -> np.ndarray:
    """Return where a plane across one axis cuts a mesh: segments (n, 2, 2) in the other two axes.

    Parameters: mesh; axis 0, 1 or 2; place, the coordinate of the plane. Raises ValueError for
    another axis. Cost: O(triangles).
    """
    axis = integer("axis", axis, low=0, high=2)
    corners = mesh.vertices[mesh.triangles]
    height = corners[:, :, axis] - float(as_vector("place", [place])[0])
    above = height > 0.0
    cut = above.any(axis=1) & ~above.all(axis=1)
    corners, height, above = corners[cut], height[cut], above[cut]
    alone = np.where(above.sum(axis=1) == 1, above.argmax(axis=1), (~above).argmax(axis=1))
    rows = np.arange(len(corners))
    start, h = corners[rows, alone], height[rows, alone]
    ends = []
    for step in (1, 2):
        other = (alone + step) % 3
        share = h / (h - height[rows, other])
        ends.append(start + share[:, None] * (corners[rows, other] - start))
    return np.delete(np.stack(ends, axis=1), axis, axis=2)


def mesh_of(values, low, high, side: int) -> Mesh:
    """Return the zero surface of field values (side^3,) on the points of ``box_grid``.

    Raises ValueError for other shapes. Cost: O(side^3).
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (side**3,):
        raise ValueError(f"values must have shape ({side**3},), got {values.shape}")
    spacing = (np.asarray(high, float) - np.asarray(low, float)) / (side - 1)
    return marching_tetrahedra(values.reshape((side,) * 3), spacing=spacing, origin=low)


def cloud_start(points, colours, scale: float, opacity: float = 0.5) -> dict[str, np.ndarray]:
    """Return round splats at points of a cloud, to start a fit from.

    Parameters: points (n, 3); colours (n, C); scale > 0, standard deviation, units of the world;
    opacity strictly between 0 and 1. Returns parameters of ``render_space``. Raises ValueError for
    other shapes or numbers. Cost: O(n).
    """
    points = as_matrix("points", points, columns=3)
    colours = as_matrix("colours", colours, rows=len(points))
    opacity = between("opacity", opacity, 1e-6, 1.0 - 1e-6)
    quaternions = np.zeros((len(points), 4))
    quaternions[:, 0] = 1.0
    return {
        "means": points.copy(),
        "quaternions": quaternions,
        "log_scales": np.full((len(points), 3), math.log(positive("scale", scale))),
        "logits": np.full(len(points), math.log(opacity / (1.0 - opacity))),
        "features": colours.copy(),
    }


def _as_places(name: str, value) -> np.ndarray:
    value = as_matrix(name, value)
    if value.shape[1] not in (2, 3):
        raise ValueError(f"{name} must have shape (n, 2) or (n, 3), got {value.shape}")
    return value


def _as_picture(name: str, value) -> np.ndarray:
    value = np.ascontiguousarray(value, dtype=float)
    if value.ndim != 3 or 0 in value.shape or not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite and have shape (H, W, C), got shape {value.shape}")
    return value
