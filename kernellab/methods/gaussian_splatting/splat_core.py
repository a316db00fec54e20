"""What a splat is worth beyond its picture: as a token, a triangle, a surface, a datum, a layer.

All five methods rest on one property: a Gaussian stays a Gaussian when it is projected, cut, summed
or convolved. The rasteriser and its gradients are in ``kernellab.compute.splatting``.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2, vq
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from kernellab.compute.cameras import Camera
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
)
from kernellab.compute.splatting import (
    Fit,
    SpaceLoss,
    fit_plane,
    plane_covariances,
    quaternion_rotations,
    render_plane,
    squared_error,
    start_plane,
)

# Looking at splats


def outlines(means, covariances, radius: float = 1.0, points: int = 33) -> np.ndarray:
    """Return the ellipses at ``radius`` standard deviations: closed curves, shape (n, points, 2).

    Parameters: means (n, 2); covariances (n, 2, 2), positive definite; radius > 0; points >= 4.
    Raises ValueError for other shapes or a matrix that is not positive definite. Cost: O(n points).
    """
    means = as_matrix("means", means, columns=2)
    covariances = _as_covariances("covariances", covariances, len(means), 2)
    angle = np.linspace(0.0, 2.0 * np.pi, integer("points", points, low=4))
    circle = positive("radius", radius) * np.stack([np.cos(angle), np.sin(angle)])
    return means[:, None] + (np.linalg.cholesky(covariances) @ circle).transpose(0, 2, 1)


def sampled_projection(mean, covariance, camera: Camera, *, count: int = 2000, rng=0) -> np.ndarray:
    """Return where points drawn from one splat of space fall in the image, shape (count, 2).

    Parameters: mean (3,); covariance (3, 3), positive definite, units of the world; camera;
    count; rng, a Generator or seed. The draws are made to have exactly that mean and covariance, so
    that what differs from the linear camera is its error and no sampling noise. Raises ValueError
    for other shapes, fewer than 8 points, or a point that is not in front
    of the camera. Cost: O(count). Source: the exact law that EWA splatting approximates.
    """
    mean = as_vector("mean", mean, length=3)
    covariance = _as_covariances("covariance", np.asarray(covariance)[None], 1, 3)[0]
    half = as_rng(rng).standard_normal((integer("count", count, low=8) // 2, 3))
    white = half @ np.linalg.inv(np.linalg.cholesky(half.T @ half / len(half))).T
    draws = np.vstack([white, -white]) @ np.linalg.cholesky(covariance).T
    return camera.project_points(mean + draws)[0]


# Splats as tokens


def nearest_codes(features, codebook) -> np.ndarray:
    """Return for each feature the index of its nearest code, argmin_v |f - E_v|, shape (n,).

    Parameters: features (n, d); codebook E (V, d). Raises ValueError for shapes that do not fit.
    Cost: O(n V d). Paper: gaussiantoken (Dong et al. 2025, arXiv:2501.15619)
    """
    features = as_matrix("features", features)
    codebook = as_matrix("codebook", codebook, columns=features.shape[1])
    return vq(features, codebook)[0].astype(np.int64)


def learn_codebook(features, size: int, rng=0) -> np.ndarray:
    """Return ``size`` codes by k-means, shape (size, d); the features if there are fewer.

    Of features that are equal and would fill the book alone, each is kept once.

    Parameters: features (n, d); size >= 1; rng, a Generator or seed. Raises ValueError for other
    shapes. Cost: O(n size d) a round, 20 rounds.
    """
    features = as_matrix("features", features)
    size, rng = integer("size", size, low=1), as_rng(rng)
    if size >= len(features):
        return features.copy()
    distinct = np.unique(features, axis=0)
    if size >= len(distinct):
        return distinct
    with warnings.catch_warnings():  # a code that no feature is nearest to stays where it was
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        return kmeans2(features, size, iter=20, minit="++", rng=rng)[0]


class TokenLoss:
    """Squared error of an image of splats whose features are replaced by codes.

    The image is sum_k E[v_k] exp(-q_k), v_k the nearest code to f_k. The way back pretends that
    quantising did nothing (*straight-through*), and adds |sg f - e|^2 + beta |f - sg e|^2, the
    first of which moves the codes and the second the features; sg means "held fixed".

    Parameters
    ----------
    target : shape (height, width, C)
    beta : weight that ties features to their codes, >= 0

    A loss for ``Fit`` with the parameters of ``render_plane`` and "codebook" (V, C); after a call,
    ``image`` and ``codes`` are those of that call.

    Raises
    ------
    ValueError : a beta that is negative, parameters without a name they need, and what
        ``render_plane`` refuses.

    Cost: O(n V C) beside the rasteriser's.
    Paper: gaussiantoken (Dong et al. 2025, arXiv:2501.15619)
    """

    def __init__(self, target, beta: float = 0.25):
        self.target, self.beta = _as_picture("target", target), nonnegative("beta", beta)
        self.image, self.codes = None, None

    def __call__(self, parameters: dict) -> tuple[float, dict]:
        features, codebook = _parts("parameters", parameters, "features", "codebook")
        self.codes = nearest_codes(features, codebook)
        chosen = codebook[self.codes]
        rendering = _render_tokens(parameters, chosen, self.target)
        self.image = rendering.image
        value, upstream = squared_error(self.image, self.target)
        slopes = rendering.gradients(upstream)
        gap = (2.0 / features.size) * (features - chosen)
        found = dict(slopes.parameters)
        found["features"] = slopes.raster.features + self.beta * gap
        found["codebook"] = np.zeros_like(codebook)
        np.add.at(found["codebook"], self.codes, -gap)
        return value, found


class Tokens(NamedTuple):
    """A picture as tokens: ``parameters`` of splats, their ``codes`` (n,), and the ``image``."""

    parameters: dict
    codes: np.ndarray
    image: np.ndarray


def token_fit(
    image, count: int, size: int, *, steps: int = 60, joint: int = 60, move: bool = True, rng=0
) -> Iterator[tuple[float, Tokens]]:
    """Fit splats to an image, quantise their features, and go on through the quantiser.

    Parameters
    ----------
    image : shape (height, width, C)
    count : number of splats
    size : number V of codes
    steps : of Adam with free features; then k-means makes the codebook
    joint : of Adam with the straight-through gradient
    move : whether splats may leave their grid and change their shape; else only features are fitted
    rng : Generator or seed

    Yields
    ------
    (fraction done, Tokens) after every step; before the codebook exists, codes are empty

    Raises
    ------
    ValueError : a number out of its range, and what ``start_plane`` refuses.

    Cost: O(steps x rasteriser). Paper: gaussiantoken (Dong et al. 2025, arXiv:2501.15619), whose
    network predicts in one pass what is fitted here, one image at a time.
    """
    steps, joint = integer("steps", steps, low=1), integer("joint", joint, low=0)
    rng = as_rng(rng)
    start = start_plane(image, count, rng=rng, places="grid")
    del start["logits"]
    start["features"] *= 0.5  # neighbours overlap, and they add up
    rates = {"features": 0.03}
    if move:
        rates |= {"means": 0.2, "log_scales": 0.05, "angles": 0.05}
    free, total = fit_plane(image, start, rates=rates, blend="sum"), steps + joint
    for done in range(1, steps + 1):
        free.step()
        yield (
            done / total,
            Tokens(free.parameters, np.empty(0, dtype=int), free.loss.rendering.image),
        )
    codebook = learn_codebook(free.parameters["features"], size, rng)
    loss = TokenLoss(image)
    # Smaller steps: the picture is nearly right, and codes jump.
    slower = {name: 0.25 * rate for name, rate in rates.items()} | {"codebook": 0.003}
    tied = Fit(free.parameters | {"codebook": codebook}, loss, slower)
    for done in range(1, joint + 1):
        tied.step()
        yield (steps + done) / total, Tokens(tied.parameters, loss.codes, loss.image)
    loss(tied.parameters)
    yield 1.0, Tokens(tied.parameters, loss.codes, loss.image)


def draw_tokens(parameters: dict, codes, height: int, width: int) -> np.ndarray:
    """Return the image that a receiver draws from geometry, codes and the codebook.

    Parameters: parameters with "means", "log_scales", "angles" and "codebook"; codes (n,), indices
    of the codebook; height, width in pixels. Returns (height, width, C). Raises ValueError for a
    code that is not in the book. Cost: that of ``rasterise``.
    """
    book = as_matrix("codebook", _parts("parameters", parameters, "codebook")[0])
    codes = np.asarray(codes)
    height, width = integer("height", height, low=1), integer("width", width, low=1)
    if (
        codes.ndim != 1
        or codes.dtype.kind not in "iu"
        or codes.size == 0
        or codes.min() < 0
        or codes.max() >= len(book)
    ):
        raise ValueError(
            f"codes must be a vector of indices 0 .. {len(book) - 1} of the codebook, got others"
        )
    return _render_tokens(parameters, book[codes], np.empty((height, width, 1))).image


def coarse_geometry(parameters: dict, bits: int, height: int, width: int) -> dict:
    """Return splats whose places, log-scales and angles are rounded to 2^bits levels each.

    Places are rounded over the image, log-scales over [log 0.3, log 20] pixels, angles over half a
    turn: 5 x bits for a splat. Parameters: parameters of ``render_plane``; bits, 1 to 16; height,
    width in pixels. Raises ValueError for other numbers and shapes. Cost: O(n).
    """
    levels = 2 ** integer("bits", bits, low=1, high=16)
    size = np.array([integer("width", width, low=1), integer("height", height, low=1)], dtype=float)
    names = ("means", "log_scales", "angles")
    means, log_scales, angles = _parts("parameters", parameters, *names)
    means = as_matrix("means", means, columns=2)
    log_scales = as_matrix("log_scales", log_scales, rows=len(means), columns=2)
    angles = as_vector("angles", angles, length=len(means))

    def rounded(value, low, high):
        step = (high - low) / levels
        place = np.clip(np.floor((value - low) / step), 0, levels - 1)
        return low + (place + 0.5) * step

    return dict(parameters) | {
        "means": rounded(means, 0.0, size),
        "log_scales": rounded(log_scales, math.log(0.3), math.log(20.0)),
        "angles": rounded(np.mod(angles, np.pi), 0.0, np.pi),
    }


def block_tokens(image, block: tuple[int, int], size: int, rng=0) -> np.ndarray:
    """Return the image in which each block has one of ``size`` colours: the fixed grid of tokens.

    Parameters: image (height, width, C); block (rows, columns), which divide it; size of the
    codebook; rng, a Generator or seed. Raises ValueError for a block that does not divide the
    image. Cost: O(pixels + blocks x size).
    """
    image = _as_picture("image", image)
    if np.shape(block) != (2,):
        raise ValueError(f"block must be two numbers, (rows, columns), got {block!r}")
    (height, width, channels), (down, across) = image.shape, block
    down, across = integer("block[0]", down, low=1), integer("block[1]", across, low=1)
    if height % down or width % across:
        raise ValueError(f"block must divide the image {height} x {width}, got {down} x {across}")
    parts = image.reshape(height // down, down, width // across, across, channels).mean(axis=(1, 3))
    flat = parts.reshape(-1, channels)
    book = learn_codebook(flat, size, rng)
    chosen = book[nearest_codes(flat, book)].reshape(parts.shape)
    return np.repeat(np.repeat(chosen, down, axis=0), across, axis=1)


# Splats as triangles


def splats_to_triangles(means, frames, scales) -> np.ndarray:
    """Return the triangles of flat splats: v1 = mean, v2 = mean + s2 r2, v3 = mean + s3 r3.

    Parameters: means (n, 3); frames (n, 3, 3) with the columns r1 (normal), r2, r3; scales (n, 2),
    s2 and s3 > 0. Returns (n, 3, 3), vertices as rows. Raises ValueError for other shapes.
    Cost: O(n). Paper: mirage (Waczynska et al. 2024, arXiv:2410.01521)
    """
    means = as_matrix("means", means, columns=3)
    frames = _as_blocks("frames", frames, len(means))
    scales = as_matrix("scales", scales, rows=len(means), columns=2)
    positive("scales", float(scales.min()))
    sides = (frames[:, :, 1:] * scales[:, None]).transpose(0, 2, 1)
    return np.concatenate([means[:, None], means[:, None] + sides], axis=1)


def triangles_to_splats(vertices) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means (n, 3), frames (n, 3, 3) and scales (n, 2) of the flat splats of triangles.

    r1 = (v2 - v1) x (v3 - v1) and r2 = v2 - v1, both to length 1; r3 is what v3 - v1 has at right
    angles to them; s2 = |v2 - v1|, s3 = (v3 - v1).r3.

    Parameters: vertices (n, 3, 3), as rows. Raises ValueError for other shapes and for a triangle
    without area. Cost: O(n). Paper: mirage (Waczynska et al. 2024, arXiv:2410.01521)
    """
    vertices = _as_blocks("vertices", vertices)
    one, two = vertices[:, 1] - vertices[:, 0], vertices[:, 2] - vertices[:, 0]
    if not max(np.abs(one).max(), np.abs(two).max()) < 1e100:
        raise ValueError("vertices must lie less than 1e100 apart, got others")
    normal = np.cross(one, two)
    area, long = np.linalg.norm(normal, axis=1), np.linalg.norm(one, axis=1)
    if (area <= 1e-12 * np.maximum(long, np.linalg.norm(two, axis=1)) ** 2).any():
        raise ValueError(
            f"vertices must span triangles with an area, got none at index {int(area.argmin())}"
        )
    r1, r2 = normal / area[:, None], one / long[:, None]
    r3 = np.cross(r1, r2)
    scales = np.column_stack([long, np.einsum("nk,nk->n", two, r3)])
    return vertices[:, 0].copy(), np.stack([r1, r2, r3], axis=2), scales


def flat_covariances(frames, scales, thickness: float) -> np.ndarray:
    """Return R diag(thickness^2, s2^2, s3^2) R', shape (n, 3, 3).

    Parameters: frames R (n, 3, 3); scales (n, 2); thickness > 0, the standard deviation along the
    normal. Raises ValueError for other shapes. Cost: O(n).
    """
    frames = _as_blocks("frames", frames)
    scales = as_matrix("scales", scales, rows=len(frames), columns=2)
    positive("scales", float(scales.min()))
    first = np.full((len(frames), 1), positive("thickness", thickness))
    half = frames * np.hstack([first, scales])[:, None]
    return half @ half.transpose(0, 2, 1)


def triangle_parameters(vertices, thickness: float) -> dict[str, np.ndarray]:
    """Return "means", "quaternions" and "log_scales" of the flat splats of triangles.

    What ``render_space`` takes, but for opacities and features. Parameters as for
    ``triangles_to_splats`` and ``flat_covariances``. Raises ValueError as these do. Cost: O(n).
    """
    means, frames, scales = triangles_to_splats(vertices)
    first = np.full((len(means), 1), positive("thickness", thickness))
    return {
        "means": means,
        "quaternions": _quaternions(frames),
        "log_scales": np.log(np.hstack([first, scales])),
    }


def parameter_triangles(parameters: dict) -> np.ndarray:
    """Return the triangles (n, 3, 3) of splats of space, whose first axis is taken as the normal.

    Raises ValueError for shapes that do not fit. Cost: O(n).
    """
    names = ("means", "quaternions", "log_scales")
    means, quaternions, log_scales = _parts("parameters", parameters, *names)
    log_scales = as_matrix("log_scales", log_scales, columns=3)
    return splats_to_triangles(means, quaternion_rotations(quaternions), np.exp(log_scales[:, 1:]))


def mirror_cameras(size: int, distance: float = 4.0, perspective: bool = True) -> list[Camera]:
    """Return a camera in front of the sheet [-1, 1]^2 and one behind it, ``size`` pixels a side.

    The first looks along z from -distance with x to the right and y down; the second looks back
    from +distance and sees left and right exchanged.

    Parameters: size; distance > 1, units of the world; perspective or orthographic. Raises
    ValueError for other numbers. Cost: O(1). Paper: mirage (Waczynska et al. 2024)
    """
    size = integer("size", size, low=1)
    distance = positive("distance", distance)
    if distance <= 1.0:
        raise ValueError(f"distance must be above 1, outside of the sheet's half, got {distance}")
    focal = 0.5 * size * (distance if perspective else 1.0)
    back = np.diag([-1.0, 1.0, -1.0])
    return [
        Camera(turn, (0.0, 0.0, distance), (focal, focal), (0.5 * size,) * 2, size, size,
               orthographic=not perspective)
        for turn in (np.eye(3), back)
    ]  # fmt: skip


class SheetLoss(SpaceLoss):
    """A ``SpaceLoss`` for flat splats: the thickness, their first scale, stays as it is."""

    def __call__(self, parameters: dict) -> tuple[float, dict]:
        value, slopes = super().__call__(parameters)
        slopes["log_scales"][:, 0] = 0.0
        return value, slopes


def sheet_fit(
    image, count: int, *, mirror: bool = True, blend: str = "alpha", perspective: bool = True,
    thickness: float = 0.01, rng=0,
) -> Fit:  # fmt: skip
    """Return a fit of a sheet of flat splats to a picture seen from the front, and from behind.

    With the mirror camera the steps take the front and the back in turn, where the target is the
    picture with left and right exchanged.

    Parameters
    ----------
    image : shape (size, size, C)
    count : number of splats
    mirror : use the camera behind the sheet too
    blend : "alpha" or "sum"
    perspective : or orthographic cameras
    thickness : standard deviation along the normals, units of the world (the sheet is 2 wide)
    rng : Generator or seed

    Returns
    -------
    Fit, ready to run

    Raises
    ------
    ValueError : an image that is not square, or a number out of its range.

    Cost: a step costs ``render_space`` and its way back once.
    Paper: mirage (Waczynska et al. 2024, arXiv:2410.01521)
    """
    image = _as_picture("image", image)
    size = len(image)
    if image.shape[1] != size:
        raise ValueError(f"image must be square, got shape {image.shape}")
    one_of("blend", blend, ("alpha", "sum"))
    rng = as_rng(rng)
    flat = start_plane(image, count, rng=rng)
    unit = 2.0 / size
    depth = rng.uniform(-0.1, 0.1, len(flat["means"]))
    scales = np.full((count, 3), math.exp(flat["log_scales"][0, 0]) * unit)
    scales[:, 0] = positive("thickness", thickness)
    # A quarter turn about y brings the first axis, the normal, to the line of sight.
    turn = Rotation.from_euler("y", 90, degrees=True).as_quat()[[3, 0, 1, 2]]
    start = {
        "means": np.column_stack([unit * flat["means"] - 1.0, depth]),
        "quaternions": np.tile(turn, (count, 1)),
        "log_scales": np.log(scales),
        "logits": flat["logits"],
        "features": flat["features"],
    }
    cameras = mirror_cameras(size, perspective=perspective)
    views = 2 if mirror else 1
    loss = SheetLoss([image, image[:, ::-1]][:views], cameras[:views], blend=blend)
    rates = {"means": 0.015, "quaternions": 0.02, "log_scales": 0.04, "logits": 0.05,
             "features": 0.02}  # fmt: skip
    return Fit(start, loss, rates)


def bend(vertices, turn: float) -> np.ndarray:
    """Return vertices of the sheet rolled around a vertical cylinder of radius 1/turn.

    x' = sin(turn x) (1/turn - z), z' = 1/turn - cos(turn x) (1/turn - z). Parameters: vertices
    (..., 3); turn, radians a unit, 0 for none. Raises ValueError for other shapes. Cost: O(n).
    """
    moved, turn = _as_points("vertices", vertices).copy(), _number("turn", turn)
    if abs(turn) < 1e-9:
        return moved
    angle, radius = turn * moved[..., 0], 1.0 / turn - moved[..., 2]
    moved[..., 0], moved[..., 2] = np.sin(angle) * radius, 1.0 / turn - np.cos(angle) * radius
    return moved


def wave(vertices, height: float, length: float = 1.0) -> np.ndarray:
    """Return vertices moved by height sin(2 pi x / length) downwards and towards the viewer.

    Parameters: vertices (..., 3); height and length > 0, units of the world. Raises ValueError for
    other shapes. Cost: O(n).
    """
    moved = _as_points("vertices", vertices).copy()
    shift = _number("height", height) * np.sin(
        2 * np.pi * moved[..., 0] / positive("length", length)
    )
    moved[..., 1] += shift
    moved[..., 2] -= shift
    return moved


def shear(vertices, amount: float) -> np.ndarray:
    """Return vertices with x moved by amount times y. Cost: O(n)."""
    moved = _as_points("vertices", vertices).copy()
    moved[..., 0] += _number("amount", amount) * moved[..., 1]
    return moved


# Splats as coloured surfaces


def equivalent_tuples(quaternion, log_scales) -> tuple[np.ndarray, np.ndarray]:
    """Return the 48 quaternions (48, 4) and log-scales (48, 3) that mean the same covariance.

    The axes may change places and point the other way, R P for the 24 signed permutations P of
    determinant 1, and a quaternion may change its sign.

    Parameters: quaternion (4,); log_scales (3,). Raises ValueError for other shapes. Cost: O(1).
    Paper: learning-unified-representation-of-3d (Xin et al. 2026, arXiv:2509.22917)
    """
    rotation = quaternion_rotations(as_vector("quaternion", quaternion, length=4)[None])[0]
    log_scales = as_vector("log_scales", log_scales, length=3)
    swaps, places = _signed_permutations()
    turns = _quaternions(rotation @ swaps)
    return np.vstack([turns, -turns]), np.tile(log_scales[places], (2, 1))


def canonical_tuples(quaternions, log_scales) -> tuple[np.ndarray, np.ndarray]:
    """Return the one tuple a splat whose scales fall and whose frame has fixed signs.

    The first two axes point to the side where their largest entry is positive, the third completes
    a right-handed frame, and the quaternion has w >= 0.

    Parameters: quaternions (n, 4); log_scales (n, 3). Raises ValueError for other shapes.
    Cost: O(n).
    """
    rotations = quaternion_rotations(quaternions)
    log_scales = as_matrix("log_scales", log_scales, rows=len(rotations), columns=3)
    order = np.argsort(-log_scales, axis=1)
    frames = np.take_along_axis(rotations, order[:, None], axis=2)
    top = np.take_along_axis(frames, np.abs(frames).argmax(axis=1)[:, None], axis=1)
    frames = frames * np.sign(top)
    frames[:, :, 2] = np.cross(frames[:, :, 0], frames[:, :, 1])
    turns = _quaternions(frames)
    return turns * np.where(turns[:, :1] < 0, -1.0, 1.0), np.take_along_axis(log_scales, order, 1)


def sphere_grid(side: int = 12, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return directions (side^2, 3) on a grid of the sphere and their weights, which sum to 1.

    Parameters: side >= 2, angles each way; exact: latitudes at Gauss-Legendre nodes, where the
    weighted sum integrates polynomials up to degree side - 1; else evenly spaced angles with
    weights 1/side^2, which crowd at the poles. Raises ValueError for other numbers.
    """
    side = integer("side", side, low=2)
    if exact:
        height, weights = np.polynomial.legendre.leggauss(side)
        weights = 0.5 * weights
    else:
        height = np.cos(np.pi * (np.arange(side) + 0.5) / side)
        weights = np.full(side, 1.0 / side)
    angle = 2.0 * np.pi * np.arange(side) / side
    ring = np.sqrt(1.0 - height**2)
    directions = np.stack(
        [np.outer(ring, np.cos(angle)), np.outer(ring, np.sin(angle)), np.outer(height, angle**0)],
        axis=2,
    )
    return directions.reshape(-1, 3), np.repeat(weights / side, side)


def surface_field(means, quaternions, log_scales, colours, directions) -> np.ndarray:
    """Return the coloured surfaces of splats: points (n, m, 3) and their colours, (n, m, 6) in all.

    The point in direction u is mean + R diag(e^s) R' u: the matrix in front of u depends on the
    covariance alone, so that equivalent tuples give the same points in the same order. Its colour
    is c_0 + c_1 . u, spherical harmonics of degree 1 in the world's axes.

    Parameters: means (n, 3); quaternions (n, 4); log_scales (n, 3); colours (n, 4, 3), c_0 and the
    three rows of c_1; directions (m, 3), of length 1. Raises ValueError for other shapes.
    Cost: O(n m). Paper: learning-unified-representation-of-3d (Xin et al. 2026, arXiv:2509.22917)
    """
    means = as_matrix("means", means, columns=3)
    rotations = quaternion_rotations(quaternions)
    same_length("means", means, "quaternions", rotations)
    log_scales = as_matrix("log_scales", log_scales, rows=len(means), columns=3)
    directions = as_matrix("directions", directions, columns=3)
    colours = np.asarray(colours, dtype=float)
    if colours.shape != (len(means), 4, 3) or not np.isfinite(colours).all():
        raise ValueError(
            f"colours must be finite numbers of shape ({len(means)}, 4, 3), got {colours.shape}"
        )
    if log_scales.max() > 300.0:
        raise ValueError(f"log_scales must be at most 300, got {log_scales.max()}")
    if np.abs(np.linalg.norm(directions, axis=1) - 1.0).max() > 1e-6:
        raise ValueError("directions must have length 1, got others")
    root = (rotations * np.exp(log_scales)[:, None]) @ rotations.transpose(0, 2, 1)
    points = means[:, None] + directions @ root
    basis = np.hstack([np.ones((len(directions), 1)), directions])
    return np.concatenate([points, basis @ colours], axis=2)


def refit_field(field, directions, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean (3,), covariance (3, 3) and colours (4, 3) of the splat behind a surface.

    On the ellipsoid the mean square of x - mean over directions is covariance / 3; colours come
    from least squares.

    Parameters: field (m, 6); directions (m, 3); weights (m,). Raises ValueError for other shapes.
    Cost: O(m). Paper: learning-unified-representation-of-3d (Xin et al. 2026, arXiv:2509.22917)
    """
    field = as_matrix("field", field, columns=6)
    directions = as_matrix("directions", directions, rows=len(field), columns=3)
    weights = as_vector("weights", weights, length=len(field))
    if weights.min() < 0 or abs(weights.sum() - 1.0) > 1e-6:
        raise ValueError(f"weights must be >= 0 and sum to 1, got the sum {weights.sum():.6g}")
    points = field[:, :3]
    mean = weights @ points
    spread = 3.0 * np.einsum("m,mi,mj->ij", weights, points - mean, points - mean)
    basis = np.hstack([np.ones((len(field), 1)), directions])
    return mean, spread, np.linalg.lstsq(basis, field[:, 3:], rcond=None)[0]


def field_embedding(fields, frequencies, phases, weights) -> np.ndarray:
    """Return the mean of random cosines over each surface: phi = sum_j w_j cos(W p_j + b).

    Parameters: fields (n, m, d); frequencies W (D, d); phases b (D,); weights (m,). Returns (n, D),
    which do not depend on the points' order. Raises ValueError for other shapes. Cost: O(n m d D).
    Paper: learning-unified-representation-of-3d (Xin et al. 2026), with a random feature map in
    place of the trained encoder.
    """
    fields = np.asarray(fields, dtype=float)
    if fields.ndim != 3 or fields.size == 0 or not np.isfinite(fields).all():
        raise ValueError(f"fields must be finite numbers of shape (n, m, d), got {fields.shape}")
    frequencies = as_matrix("frequencies", frequencies, columns=fields.shape[2])
    phases = as_vector("phases", phases, length=len(frequencies))
    weights = as_vector("weights", weights, length=fields.shape[1])
    return np.stack([weights @ np.cos(field @ frequencies.T + phases) for field in fields])


# Splats as data


def fit_sheet_of_digits(
    images, count: int = 20, *, steps: int = 80, rng=0
) -> dict[str, np.ndarray]:
    """Return splats of many small grey images, fitted all together as one contact sheet.

    Splats add up, and a gap wider than their reach stands between the images, so that the fits do
    not touch unless a splat leaves its image.

    Parameters
    ----------
    images : shape (n, side, side)
    count : splats an image; they start at pixels drawn in proportion to their brightness
    steps : of Adam
    rng : Generator or seed

    Returns
    -------
    "means" (n, count, 2) in pixels of each image, "log_scales" (n, count, 2), "angles" (n, count),
    "features" (n, count), and "images" (n, side, side), what the splats show

    Raises
    ------
    ValueError : another shape, or an image without light.

    Cost: O(steps n (side^2 + count)). Paper: shapesplat (Ma et al. 2024, arXiv:2408.10906)
    """
    images = np.asarray(images, dtype=float)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or not len(images):
        raise ValueError(f"images must have shape (n, side, side), got {images.shape}")
    if not np.isfinite(images).all() or (images.min() < 0) or not images.any(axis=(1, 2)).all():
        raise ValueError("images must hold finite numbers >= 0 with some light, got others")
    count, rng = integer("count", count, low=1), as_rng(rng)
    n, side, _ = images.shape
    gap, across = 6, math.ceil(math.sqrt(n))
    cell, down = side + gap, math.ceil(n / across)
    sheet = np.zeros((down * cell, across * cell, 1))
    corners = np.stack([np.arange(n) % across, np.arange(n) // across], axis=1) * cell + gap // 2
    places = np.empty((n, count, 2))
    for image, (u, v), place in zip(images, corners, places, strict=True):
        sheet[v : v + side, u : u + side, 0] = image
        lit = rng.choice(side * side, size=count, p=image.ravel() / image.sum())
        place[:] = np.stack([lit % side, lit // side], axis=1) + rng.random((count, 2))
    start = {
        "means": (places + corners[:, None]).reshape(-1, 2),
        "log_scales": np.full((n * count, 2), math.log(1.3)),
        "angles": rng.uniform(0.0, np.pi, n * count),
        "features": np.full((n * count, 1), 0.4),
    }
    rates = {"means": 0.08, "log_scales": 0.04, "angles": 0.08, "features": 0.04}
    fit = fit_plane(sheet, start, rates=rates, blend="sum")
    for _ in fit.run(integer("steps", steps, low=1)):
        pass
    shown = render_plane(fit.parameters, height=sheet.shape[0], width=sheet.shape[1], blend="sum")
    found = fit.parameters
    return {
        "means": found["means"].reshape(n, count, 2) - corners[:, None],
        "log_scales": found["log_scales"].reshape(n, count, 2),
        "angles": found["angles"].reshape(n, count),
        "features": found["features"].reshape(n, count),
        "images": np.stack([shown.image[v : v + side, u : u + side, 0] for u, v in corners]),
    }


def attribute_blocks(splats: dict) -> dict[str, np.ndarray]:
    """Return the attributes of splats in blocks of mean 0 and mean square 1 each.

    "centre" (..., 2); "scale" (..., 2), the log-scales, larger first; "turn" (..., 2), the cosine
    and sine of twice the angle of the long axis; "light" (..., 1). Normalising a block as a whole
    keeps the proportions inside it.

    Parameters: splats as ``fit_sheet_of_digits`` returns them. Raises ValueError for a name that is
    not there or shapes that do not fit. Cost: O(n).
    Paper: shapesplat (Ma et al. 2024, arXiv:2408.10906)
    """
    names = ("means", "log_scales", "angles", "features")
    means, logs, angles, light = (
        np.asarray(part, dtype=float) for part in _parts("splats", splats, *names)
    )
    pair = (*angles.shape, 2)
    if not (angles.size and means.shape == logs.shape == pair and light.shape == angles.shape):
        raise ValueError(
            f"splats must have means and log_scales of shape {pair} and features of shape "
            f"{angles.shape}, as angles have, got {means.shape}, {logs.shape}, {light.shape}"
        )
    if not all(np.isfinite(part).all() for part in (means, logs, angles, light)):
        raise ValueError("splats must hold finite numbers, got others")
    long = angles + np.where(logs[..., 0] < logs[..., 1], 0.5 * np.pi, 0.0)
    raw = {
        "centre": means,
        "scale": -np.sort(-logs, axis=-1),
        "turn": np.stack([np.cos(2 * long), np.sin(2 * long)], axis=-1),
        "light": light[..., None],
    }
    blocks = {}
    for name, values in raw.items():
        flat = values - values.reshape(-1, values.shape[-1]).mean(axis=0)
        blocks[name] = flat / max(math.sqrt((flat**2).mean()), 1e-12)
    return blocks


def farthest_points(points, count: int, first: int = 0) -> np.ndarray:
    """Return indices of ``count`` points, each as far as can be from those before it.

    Parameters: points (n, d); count, 1 to n; first, the index to begin with. Raises ValueError for
    other numbers. Cost: O(n count d). Paper: shapesplat (Ma et al. 2024, arXiv:2408.10906)
    """
    points = as_matrix("points", points)
    count = integer("count", count, low=1, high=len(points))
    chosen = [integer("first", first, low=0, high=len(points) - 1)]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)


def group_weights(points, centres, size: int, temperature: float | None = None) -> np.ndarray:
    """Return how much each splat counts in each group, shape (m, n); rows sum to 1.

    Hard groups (no temperature): 1/size for the ``size`` nearest splats of a centre. Soft ones:
    softmax(-distance / temperature) over that many nearest. A temperature near 0 leaves the nearest
    splat, a very high one is the hard group.

    Parameters: points (n, d); centres (m, d); size, 1 to n; temperature > 0 or None. Raises
    ValueError for other numbers. Cost: O(n log n + m size log n).
    Paper: shapesplat (Ma et al. 2024, arXiv:2408.10906), splats pooling.
    """
    points = as_matrix("points", points)
    centres = as_matrix("centres", centres, columns=points.shape[1])
    size = integer("size", size, low=1, high=len(points))
    distances, members = cKDTree(points).query(centres, k=np.arange(1, size + 1))
    if temperature is None:
        share = np.full(distances.shape, 1.0 / size)
    else:
        share = np.exp((distances[:, :1] - distances) / positive("temperature", temperature))
        share /= share.sum(axis=1, keepdims=True)
    weights = np.zeros((len(centres), len(points)))
    np.put_along_axis(weights, members, share, axis=1)
    return weights


def weighted_jaccard(one, two) -> float:
    """Return how alike two sets of group weights are: sum of minima over sum of maxima, 0 to 1.

    Parameters: matrices of the same shape, >= 0, not both 0. Raises ValueError for others.
    Cost: O(size).
    """
    one = as_matrix("one", one)
    two = as_matrix("two", two, rows=len(one), columns=one.shape[1])
    nonnegative("one", float(one.min()))
    nonnegative("two", float(two.min()))
    positive("one + two", float(one.max() + two.max()))
    return float(np.minimum(one, two).sum() / np.maximum(one, two).sum())


# Splats as layers of a network


class Mixture(NamedTuple):
    """The function c + sum_i w_i N(x; mu_i, Sigma_i): ``weights`` (n,), of any sign, ``means``
    (n, d), ``covariances`` (n, d, d) and the constant ``offset``."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    offset: float = 0.0

    def values(self, x) -> np.ndarray:
        """Return the function at points (m, d), shape (m,).

        Raises ValueError for other points, or parts that do not make a mixture.
        Cost: O(n m d^2).
        """
        checked = _as_mixture("mixture", self)
        return checked.offset + checked.components(x) @ checked.weights

    def components(self, x) -> np.ndarray:
        """Return the densities N(x; mu_i, Sigma_i) at points (m, d), shape (m, n)."""
        x = as_matrix("x", x, columns=self.means.shape[1])
        root = np.linalg.cholesky(self.covariances)
        white = np.linalg.inv(root)
        q = np.zeros((len(x), len(root)))
        for row in range(x.shape[1]):
            q += 0.5 * (x @ white[:, row].T - np.einsum("nj,nj->n", white[:, row], self.means)) ** 2
        size = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        return np.exp(-q - size - 0.5 * x.shape[1] * math.log(2.0 * math.pi))


def splat_mixture(means, log_scales, angles, features) -> Mixture:
    """Return the mixture that splats which add up are: w = f 2 pi s_1 s_2.

    Parameters: means (n, 2); log_scales (n, 2); angles (n,); features (n,). Raises ValueError for
    other shapes. Cost: O(n).
    """
    log_scales = as_matrix("log_scales", log_scales, columns=2)
    features = as_vector("features", features, length=len(log_scales))
    means = as_matrix("means", means, rows=len(log_scales), columns=2)
    weights = 2.0 * np.pi * features * np.exp(log_scales.sum(axis=1))
    return Mixture(weights, means, plane_covariances(log_scales, angles))


def convolve(one: Mixture, two: Mixture) -> Mixture:
    """Return the convolution of two mixtures: all pairs (w v, mu + nu, Sigma + Lambda).

    Parameters: mixtures of the same dimension; constants are dropped from ``two`` and multiplied by
    its mass in ``one``. Raises ValueError for other dimensions or a constant in ``two``.
    Cost: O(n m d^2). Paper: gaussian-mixture-convolution-networks (Celarek et al. 2022,
    arXiv:2202.09153)
    """
    one, two = _as_mixture("one", one), _as_mixture("two", two)
    d = one.means.shape[1]
    if two.means.shape[1] != d:
        raise ValueError(f"two must have dimension {d}, as one has, got {two.means.shape[1]}")
    if two.offset:
        raise ValueError(f"two must have no constant, its integral is infinite, got {two.offset}")
    return Mixture(
        np.outer(one.weights, two.weights).ravel(),
        (one.means[:, None] + two.means).reshape(-1, d),
        (one.covariances[:, None] + two.covariances).reshape(-1, d, d),
        one.offset * float(two.weights.sum()),
    )


def rectify(mixture: Mixture, rounds: int = 10) -> Iterator[Mixture]:
    """Approach max(0, mixture) by a mixture with the same places and covariances.

    Targets b_i = max(0, g(mu_i)) - max(0, c), or 0 where that is negative; start x_i = |a_i| + 0.1,
    with a_i the height of component i at its mean; then x <- x (b + 0.05) / (g_x(mu) + 0.05). All x
    stay positive.

    Parameters: mixture; rounds >= 1. Yields the mixture at the start and after each round. Raises
    ValueError for other numbers. Cost: O(n^2 d^2) once, O(n^2) a round.
    Paper: gaussian-mixture-convolution-networks (Celarek et al. 2022, arXiv:2202.09153)
    """
    rounds, mixture = integer("rounds", rounds, low=1), _as_mixture("mixture", mixture)
    at = mixture.components(mixture.means)
    peaks = np.diagonal(at)
    rest = max(0.0, mixture.offset)
    target = np.maximum(0.0, mixture.offset + at @ mixture.weights) - rest
    target = np.maximum(target, 0.0)
    shapes = at / peaks
    heights = np.abs(mixture.weights) * peaks + 0.1
    for round_ in range(rounds + 1):
        if round_:
            heights = heights * (target + 0.05) / (shapes @ heights + 0.05)
        yield mixture._replace(weights=heights / peaks, offset=rest)


def merge(mixture: Mixture, groups) -> Mixture:
    """Return one component a group, with the group's mass, mean and covariance.

    Parameters: mixture with positive weights; groups (k, n), >= 0, the share of each component in
    each group, columns that sum to 1. Raises ValueError for other shapes or shares, and for an
    empty group. Cost: O(k n d^2).
    Paper: gaussian-mixture-convolution-networks (Celarek et al. 2022, arXiv:2202.09153)
    """
    mixture = _as_mixture("mixture", mixture)
    positive("weights", float(np.min(mixture.weights)))
    groups = as_matrix("groups", groups, columns=len(mixture.weights))
    nonnegative("groups", float(groups.min()))
    if np.abs(groups.sum(axis=0) - 1.0).max() > 1e-6:
        raise ValueError("groups must have columns that sum to 1, got others")
    mass = groups * mixture.weights
    total = mass.sum(axis=1)
    positive("groups", float(total.min()))
    share = mass / total[:, None]
    means = share @ mixture.means
    gaps = mixture.means - means[:, None]
    spread = np.einsum("kn,nij->kij", share, mixture.covariances)
    spread += np.einsum("kn,kni,knj->kij", share, gaps, gaps)
    return Mixture(total, means, spread, mixture.offset)


def reduce_mixture(mixture: Mixture, size: int, rounds: int = 5) -> Mixture:
    """Return a mixture of ``size`` components or fewer by hard hierarchical EM: the pooling.

    Start from components far apart, the heaviest first; then each old component goes to the new one
    from which it diverges least (Kullback-Leibler), and what went together is merged.

    Parameters: mixture with positive weights; size >= 1; rounds >= 1. Raises ValueError for other
    numbers. Cost: O(rounds n size d^3).
    Paper: gaussian-mixture-convolution-networks (Celarek et al. 2022, arXiv:2202.09153)
    """
    size, rounds = integer("size", size, low=1), integer("rounds", rounds, low=1)
    positive("weights", float(np.min(_as_mixture("mixture", mixture).weights)))
    if size >= len(mixture.weights):
        return mixture
    start = farthest_points(mixture.means, size, int(mixture.weights.argmax()))
    weights, means, covariances = (part[start] for part in mixture[:3])
    for _ in range(rounds):
        inverse = np.linalg.inv(covariances)
        gaps = mixture.means[:, None] - means
        cost = np.einsum("nki,kij,nkj->nk", gaps, inverse, gaps)
        cost += np.einsum("kij,nji->nk", inverse, mixture.covariances)
        cost += np.linalg.slogdet(covariances)[1]
        nearest = np.argmin(cost, axis=1)
        kept, nearest = np.unique(nearest, return_inverse=True)
        groups = np.zeros((len(kept), len(nearest)))
        groups[nearest, np.arange(len(nearest))] = 1.0
        weights, means, covariances, _ = merge(mixture, groups)
    return Mixture(weights, means, covariances, mixture.offset)


# Small helpers


def _render_tokens(parameters: dict, features: np.ndarray, target: np.ndarray):
    names = ("means", "log_scales", "angles")
    geometry = dict(zip(names, _parts("parameters", parameters, *names), strict=True))
    height, width = target.shape[:2]
    return render_plane(geometry, features=features, height=height, width=width, blend="sum")


@cache
def _signed_permutations() -> tuple[np.ndarray, np.ndarray]:
    """Return the 24 signed permutations of determinant 1, (24, 3, 3), and their places (24, 3)."""
    swaps, orders = [], []
    for places in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            swap = np.eye(3)[:, places] * signs
            if np.linalg.det(swap) > 0:
                swaps.append(swap)
                orders.append(places)
    return np.array(swaps), np.array(orders)


def _quaternions(rotations: np.ndarray) -> np.ndarray:
    """Return quaternions (n, 4), (w, x, y, z), of rotations (n, 3, 3)."""
    return Rotation.from_matrix(rotations).as_quat()[:, [3, 0, 1, 2]]


def _as_picture(name: str, value) -> np.ndarray:
    value = np.asarray(value, dtype=float)
    if value.ndim != 3 or value.size == 0:
        raise ValueError(f"{name} must have shape (height, width, C), got {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must hold finite numbers, got others")
    return value


def _parts(name: str, value, *keys: str) -> list:
    """Return the named parts of a dict of arrays."""
    if not isinstance(value, Mapping) or not all(key in value for key in keys):
        here = sorted(value) if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f"{name} must have the parts {', '.join(keys)}, got {here}")
    return [value[key] for key in keys]


def _as_mixture(name: str, value: Mixture) -> Mixture:
    weights = as_vector(f"{name}.weights", value.weights)
    means = as_matrix(f"{name}.means", value.means, rows=len(weights))
    covariances = _as_covariances(
        f"{name}.covariances", value.covariances, len(means), means.shape[1]
    )
    return Mixture(weights, means, covariances, _number(f"{name}.offset", value.offset))


def _as_blocks(name: str, value, count: int | None = None) -> np.ndarray:
    value = np.asarray(value, dtype=float)
    if value.ndim != 3 or value.shape[1:] != (3, 3) or not len(value):
        raise ValueError(f"{name} must have shape (n, 3, 3), got {value.shape}")
    if count not in (None, len(value)):
        raise ValueError(f"{name} must have shape ({count}, 3, 3), got {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must hold finite numbers, got others")
    return value


def _as_points(name: str, value) -> np.ndarray:
    value = np.asarray(value, dtype=float)
    if value.ndim < 2 or value.shape[-1] != 3 or not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite numbers of shape (..., 3), got {value.shape}")
    return value


def _as_covariances(name: str, value, count: int, side: int) -> np.ndarray:
    value = np.asarray(value, dtype=float)
    if value.shape != (count, side, side) or not np.isfinite(value).all():
        raise ValueError(
            f"{name} must be finite numbers of shape ({count}, {side}, {side}), got {value.shape}"
        )
    if not np.allclose(value, value.transpose(0, 2, 1), rtol=1e-8, atol=1e-300):
        raise ValueError(f"{name} must be symmetric, got a matrix that is not")
    if (np.linalg.eigvalsh(value) <= 0).any():
        raise ValueError(f"{name} must be positive definite, got a matrix that is not")
    return value


def _number(name: str, value) -> float:
    return float(as_vector(name, [value], length=1)[0])
