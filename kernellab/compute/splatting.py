"""Splats: images made of Gaussians, and what flows back from an image to them.

A *splat* is a kernel with a mean, a covariance, an opacity and a vector of features (a colour, a
normal, a label, ...). At the centre x of a pixel

    d = x - mean,  q = d' covariance^-1 d / 2,  G = exp(-q),  a = min(0.99, opacity G),

and G = 0 where q > 4.5 (three standard deviations). Splats are blended in one of three ways:

    "alpha"       I = sum_i f_i a_i T_i + T b,   T_i = product of 1 - a_j over the splats in front,
    "sum"         I = sum_i f_i o_i G_i + b,
    "normalised"  I = (sum_i f_i o_i G_i + e b) / (sum_i o_i G_i + e),   e = 1e-8,

with the background b. ``rasterise`` makes the image and ``rasterise_gradients`` goes back through
it. Splats of a plane come from log-scales and an angle (``plane_covariances``), splats of a space
from log-scales, a quaternion and a camera (``project``); ``render_plane`` and ``render_space`` put
these steps together and ``Fit`` moves all parameters down a loss.

>>> import numpy as np
>>> picture = rasterise(
...     [[2.5, 1.5]], [np.eye(2)], [0.5], [[1.0]], height=3, width=5, background=[0.0]
... )
>>> picture.image[..., 0].round(2).tolist()[1]
[0.07, 0.3, 0.5, 0.3, 0.07]
>>> rasterise_gradients(picture, np.ones((3, 5, 1))).opacities.round(2).tolist()
[5.5]
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kernellab.compute.cameras import Camera
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    between,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
)
from kernellab.compute.compiled import compiled
from kernellab.compute.elementary import exp, log
from kernellab.compute.networks import Adam

BLENDS = ("alpha", "sum", "normalised")
KERNELS = ("gaussian", "solid")

LARGEST_ALPHA = 0.99  # a splat always lets some light through: 1 / (1 - a) stays bounded
# A pixel with less transmittance takes no further splat: 1e-4, but not quite, since two clamped
# splats leave just that, and rounding would decide.
LEAST_LIGHT = 0.999999e-4
EPSILON = 1e-8  # weight of the background in the normalised blend
CUT = 4.5  # three standard deviations

_SLACK = 1e-9  # pixels, so that rounding never loses the edge of a footprint
_LARGEST_PLACE = 1e9  # pixels
_OUTSIDE = 1e15  # where a row's padding lies: beyond the cut of every splat
_LARGEST_VARIANCE, _LEAST_VARIANCE = 1e12, 1e-12  # pixels^2
_LEAST_DETERMINANT = 1e-12  # of the correlation matrix
_LARGEST_SIDE = 1 << 13  # pixels
_LARGEST_SOLIDITY = 64.0
_TILE = 16  # pixels a side
_LARGEST_LOG_SCALE = 13.0
_LEAST_QUATERNION = 1e-9
_ASIDE = -1e8  # pixels, the place of a splat that no camera sees

_CONTRACT = {"contract"}
_ANY_ORDER = {"contract", "reassoc"}

_V, _M, _A = "float64[::1]", "float64[:,::1]", "float64[:,:,::1]"
_IV, _IM = "int64[::1]", "int64[:,::1]"
# order, means, conics, opacities, features, solidity, cut, width, xs
_SCENE = f"{_IV}, {_M}, {_M}, {_V}, {_M}, float64, float64, int64, {_V}"
# starts, sizes, weights
_ROOM = f"uint64[::1], uint64[::1], {_V}"


# Results


@dataclass(frozen=True, eq=False)
class Raster:
    """An image of splats, and what the way back needs to know.

    Attributes
    ----------
    image : shape (height, width, C)
    transmittance : shape (height, width), the weight of the background: T for "alpha", 1 for "sum",
        e / (sum_i o_i G_i + e) for "normalised"
    last : shape (height, width), integers: place in the order, counted from 1, of the last splat
        that was blended; 0 where there is none. "alpha" only; for the others the number of splats
    hits : shape (n,), integers: the number of pixels in which a splat was blended
    """

    image: np.ndarray
    transmittance: np.ndarray
    last: np.ndarray
    hits: np.ndarray
    _scene: "_Scene" = field(repr=False)


class RasterGradients(NamedTuple):
    """Derivatives of a loss in what ``rasterise`` took.

    For matrices these are symmetric, dL = sum_kl G_kl dV_kl: the derivative in the one number that
    stands off the diagonal twice is 2 G_01.

    Attributes
    ----------
    means : shape (n, 2)
    covariances, conics : shapes (n, 2, 2); conics are the inverses of covariances
    opacities : shape (n,)
    features : shape (n, C)
    background : shape (C,)
    solidity : a number; 0 for the Gaussian kernel
    movement : shape (n,), sum over pixels of the length of each pixel's part of ``means``: the
        signal that tells where splats should be divided
    """

    means: np.ndarray
    covariances: np.ndarray
    conics: np.ndarray
    opacities: np.ndarray
    features: np.ndarray
    background: np.ndarray
    solidity: float
    movement: np.ndarray


class PixelFacts(NamedTuple):
    """What alpha blending did in each pixel, arrays of shape (height, width).

    Attributes
    ----------
    contributors : number of splats with a positive weight
    heaviest : index of the splat with the largest weight; -1 where there is none
    largest_weight : that weight, a T
    median : index of the splat at which the transmittance fell to ``share`` or below; -1 where it
        never did. ``depths[median]`` is the median depth
    """

    contributors: np.ndarray
    heaviest: np.ndarray
    largest_weight: np.ndarray
    median: np.ndarray


class _Scene(NamedTuple):
    """Checked arguments of ``rasterise``, and its padded buffers."""

    order: np.ndarray
    means: np.ndarray
    conics: np.ndarray  # (n, 3): xx, xy, yy
    opacities: np.ndarray
    features: np.ndarray
    background: np.ndarray
    height: int
    width: int
    blend: str
    solidity: float  # 0: the Gaussian
    cut: float
    light: np.ndarray  # (height, padded): transmittance, or the sum of weights
    last: np.ndarray  # (height, padded)

    def arguments(self) -> tuple:
        """Return what every compiled pass over the splats begins with."""
        xs = np.arange(_padded(self.width)) + 0.5
        xs[self.width :] = _OUTSIDE
        return (
            *(self.order, self.means, self.conics, self.opacities, self.features),
            *(self.solidity, self.cut, self.width, xs),
        )

    def room(self) -> tuple:
        """Return the work space of a pass: the rows' starts and sizes, and a footprint."""
        rows = np.empty((2, self.height), dtype=np.uint64)
        return rows[0], rows[1], np.empty(self.height * _padded(self.width))


def _padded(width: int) -> int:
    """Return the length of a row in memory: vectors of 8 may reach over the image's edge."""
    return (width + 15) // 8 * 8


# Images


def rasterise(
    means,
    covariances,
    opacities,
    features,
    *,
    height,
    width,
    order=None,
    depths=None,
    background=None,
    blend="alpha",
    kernel="gaussian",
    solidity=1.0,
    cut=CUT,
) -> Raster:
    """Return the image that splats make; the formulas stand at the head of this module.

    The pixel in row r and column c has its centre at (c + 0.5, r + 0.5). Alpha blending stops in a
    pixel as soon as its transmittance is below 1e-4.

    Parameters
    ----------
    means : shape (n, 2), pixels, (to the right, down); n = 0 gives the background
    covariances : shape (n, 2, 2), pixels^2, positive definite
    opacities : shape (n,), in [0, 1] for "alpha" and >= 0 for the other blends
    features : shape (n, C)
    height, width : of the image, pixels
    order : the splats from front to back, a permutation of 0 .. n - 1
    depths : shape (n,), in place of an order: the smallest is in front. With neither, the first
        splat is in front
    background : shape (C,); None: zeros
    blend : "alpha", "sum" or "normalised"
    kernel : "gaussian", or "solid" for G = exp(-q^p)
    solidity : p, between 1 (the Gaussian) and 64
    cut : G = 0 where q^p > cut, which is where G falls below exp(-cut), for both kernels; at most
        700, where nothing but the end of floating-point numbers is cut

    Returns
    -------
    Raster

    Raises
    ------
    ValueError : shapes that do not fit, a covariance that is not symmetric and positive definite
        (up to rounding: a correlation within 5e-13 of 1 counts as degenerate), or a number out of
        its range.

    Cost: O(C x number of pixels in all footprints), O(C height width) memory.
    Source: Zwicker et al. 2001 (EWA splatting); Kerbl et al. 2023 (arXiv:2308.04079); the solid
    kernel follows the idea of Shen et al. 2024 (arXiv:2412.15400).
    """
    scene = _checked_scene(
        *(means, covariances, opacities, features, height, width, order, depths),
        *(background, blend, kernel, solidity, cut),
    )
    count, channels = scene.features.shape
    planes = np.zeros((channels, *scene.light.shape))
    hits = np.zeros(count, dtype=np.int64)
    passing = _blend_alpha if scene.blend == "alpha" else _blend_additive
    passing(*scene.arguments(), *scene.room(), planes, scene.light, scene.last, hits)
    light = scene.light
    if scene.blend == "sum":
        light = np.ones(light.shape)
    elif scene.blend == "normalised":
        light = EPSILON / (light + EPSILON)
        planes *= light / EPSILON
    if scene.background.any():
        planes += scene.background[:, None, None] * light
    image = np.ascontiguousarray(planes[:, :, : scene.width].transpose(1, 2, 0))
    light = light[:, : scene.width].copy()
    return Raster(image, light, scene.last[:, : scene.width].copy(), hits, scene)


def rasterise_tiles(
    means,
    covariances,
    opacities,
    features,
    *,
    height,
    width,
    order=None,
    depths=None,
    background=None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of ``rasterise`` and its transmittance, made tile by tile as on a GPU.

    The image is cut into tiles of 16 x 16 pixels, each with the list of splats whose bounding boxes
    meet it. Here to be timed against ``rasterise``: on a CPU, where no hundreds of threads wait for
    a tile, it evaluates many pixels in vain. Alpha blending of Gaussians only.

    Parameters: those of ``rasterise``. Returns (height, width, C) and (height, width). Raises
    ValueError as there. Cost: O(256 C x number of pairs of a tile and a splat).
    Source: Kerbl et al. 2023 (arXiv:2308.04079), section 6.
    """
    scene = _checked_scene(
        *(means, covariances, opacities, features, height, width, order, depths),
        *(background, "alpha", "gaussian", 1.0, CUT),
    )
    channels, across = scene.features.shape[1], -(-scene.width // _TILE)
    down = -(-scene.height // _TILE)
    planes = np.zeros((channels, down * _TILE, across * _TILE))
    light = np.ones(planes.shape[1:])
    _blend_tiles(
        *(scene.order, scene.means, scene.conics, scene.opacities, scene.features),
        *(
            scene.cut,
            scene.height,
            scene.width,
            planes,
            light,
            np.zeros(light.shape, dtype=np.int64),
        ),
    )
    light = light[: scene.height, : scene.width].copy()
    image = planes[:, : scene.height, : scene.width].transpose(1, 2, 0)
    return image + light[:, :, None] * scene.background, light


def rasterise_gradients(raster: Raster, upstream, transmittance=None) -> RasterGradients:
    """Return the derivatives of a loss in the splats, from those in the image.

    For alpha blending the splats are taken back to front, with the colour behind each (as seen by
    the loss) kept in S, one number a pixel:

        T_i = T / (1 - a),  dL/da = T_i (g.f_i - S),  S <- a g.f_i + (1 - a) S.

    A clamped a passes nothing to opacity and shape, and splats behind the stop get nothing at all.

    Parameters
    ----------
    raster : what ``rasterise`` returned
    upstream : shape (height, width, C), g: derivatives of the loss in the image
    transmittance : shape (height, width), derivatives of the loss in the transmittance; None: 0

    Returns
    -------
    RasterGradients

    Raises
    ------
    ValueError : shapes that do not fit, or numbers that are not finite.

    Cost: O(C x number of pixels in all footprints), O(C height width) memory.
    Source: Kerbl et al. 2023 (arXiv:2308.04079), appendix; ``movement`` is the signal of Ye et al.
    2024 (arXiv:2404.10484) with lengths for absolute values.
    """
    scene = _scene_of(raster)
    (count, channels), (height, width) = scene.features.shape, raster.transmittance.shape
    upstream = _as_image("upstream", upstream, height, width, channels)
    planes = _planes(upstream)
    behind = np.zeros(planes.shape[1:])  # S
    seen, light = behind[:, :width], raster.transmittance
    if transmittance is not None:
        seen[:] = as_matrix("transmittance", transmittance, rows=height, columns=width)
    background_slopes = np.einsum("chw,hw->c", planes[:, :, :width], light)
    if scene.blend == "alpha":
        for channel, colour in enumerate(scene.background):
            if colour:
                behind += colour * planes[channel]
    elif scene.blend == "sum":
        seen[:] = 0.0  # nothing changes the transmittance
    else:
        share = light / EPSILON  # one over the sum of weights
        seen *= light
        seen += np.einsum("hwc,hwc->hw", upstream, raster.image)
        seen *= share
        planes[:, :, :width] *= share
    means, conics = np.zeros((count, 2)), np.zeros((count, 3))
    opacities, movement = np.zeros(count), np.zeros(count)
    features = np.zeros((count, channels))
    solidity = _go_back(
        *scene.arguments(),
        *scene.room(),
        scene.blend == "alpha",
        planes,
        scene.light.copy(),
        scene.last,
        behind,
        *(means, conics, opacities, features, movement),
    )
    full = _full_matrices(conics)
    # K = V^-1: dK = -K dV K.
    conic = _full_matrices(scene.conics)
    covariances = -conic @ full @ conic
    return RasterGradients(
        means, covariances, full, opacities, features, background_slopes, solidity, movement
    )


def splat_weights(raster: Raster, images=None) -> np.ndarray:
    """Return how much each splat counts in the image, or in which parts of it.

    sum over pixels of w_i y, where w_i is the splat's weight in the pixel: a_i T_i for "alpha",
    o_i G_i for "sum" and that over the sum of weights for "normalised". With a mask or one-hot
    labels as y these are the votes of the pixels for the splat.

    Parameters
    ----------
    raster : what ``rasterise`` returned
    images : y, shape (height, width, C); None: 1 in each pixel

    Returns
    -------
    shape (n, C); without images (n,)

    Raises
    ------
    ValueError : images of another shape.

    Cost: O(C x number of pixels in all footprints).
    """
    scene = _scene_of(raster)
    height, width = raster.transmittance.shape
    values = np.ones((height, width, 1)) if images is None else images
    values = _as_image("images", values, height, width)
    if scene.blend == "normalised":
        values = values * (raster.transmittance / EPSILON)[:, :, None]
    sums = np.zeros((len(scene.order), values.shape[2]))
    light = np.ones_like(scene.light)
    last = np.zeros_like(scene.last)
    passing = (*scene.arguments(), *scene.room(), scene.blend == "alpha")
    _collect(*passing, _planes(values), light, last, sums)
    return sums[:, 0] if images is None else sums


def weight_images(raster: Raster, splats) -> np.ndarray:
    """Return in which pixels the chosen splats count: their weights w_i, as images.

    Parameters
    ----------
    raster : what ``rasterise`` returned
    splats : k indices, each in 0 .. n - 1

    Returns
    -------
    shape (k, height, width); with all splats and "alpha" or "normalised", these and the
    transmittance sum to 1

    Raises
    ------
    ValueError : an index out of range.

    Cost: O(k x number of pixels in all footprints).
    """
    scene = _scene_of(raster)
    count = len(scene.order)
    splats = [integer(f"splats[{i}]", s, 0, count - 1) for i, s in enumerate(splats)]
    chosen = np.zeros((count, len(splats)))
    chosen[splats, np.arange(len(splats))] = 1.0
    image = np.zeros((len(splats), *scene.light.shape))
    fresh = np.ones_like(scene.light), np.zeros_like(scene.last), np.zeros(count, dtype=np.int64)
    passing = _blend_alpha if scene.blend == "alpha" else _blend_additive
    passing(*scene._replace(features=chosen).arguments(), *scene.room(), image, *fresh)
    image = np.ascontiguousarray(image[:, :, : scene.width])
    if scene.blend == "normalised":
        image *= raster.transmittance / EPSILON
    return image


def inspect_pixels(raster: Raster, share: float = 0.5) -> PixelFacts:
    """Return, for each pixel, how many splats were blended and which of them matter most.

    Parameters
    ----------
    raster : what ``rasterise(..., blend="alpha")`` returned
    share : of light, between 1e-4 and 1; the median splat takes the transmittance down to it

    Returns
    -------
    PixelFacts

    Raises
    ------
    ValueError : another blend, or a share out of its range.

    Cost: O(number of pixels in all footprints).
    """
    scene = _scene_of(raster)
    if scene.blend != "alpha":
        raise ValueError(f"raster must be of the blend 'alpha', got {scene.blend!r}")
    share = between("share", share, 1e-4, 1.0)
    light, last = np.ones_like(scene.light), np.zeros_like(scene.last)
    count, heaviest, median = np.zeros_like(last), np.full_like(last, -1), np.full_like(last, -1)
    largest = np.zeros_like(light)
    _inspect(
        *(*scene.arguments(), *scene.room(), share),
        *(light, last, count, heaviest, largest, median),
    )
    facts = (count, heaviest, largest, median)
    return PixelFacts(*(np.ascontiguousarray(part[:, : scene.width]) for part in facts))


# Splats of a plane


def plane_covariances(log_scales, angles) -> np.ndarray:
    """Return covariances R diag(e^(2 s)) R' of splats in a plane, R a turn by the angle.

    The first axis points along (cos angle, sin angle); v grows downwards, so that a positive angle
    turns clockwise on the screen.

    Parameters: log_scales (n, 2), logarithms of standard deviations in pixels; angles (n,),
    radians. Returns (n, 2, 2). Raises ValueError for other shapes. Cost: O(n).
    """
    log_scales = _as_rows("log_scales", log_scales, 2)
    angles = _as_numbers("angles", angles, len(log_scales))
    c, s = np.cos(angles), np.sin(angles)
    one, two = np.exp(2.0 * log_scales).T
    xx, xy, yy = c * c * one + s * s * two, c * s * (one - two), s * s * one + c * c * two
    return np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)


def plane_covariance_gradients(log_scales, angles, slopes) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of a loss in log-scales and angles, from those in the covariances.

    With r_1, r_2 the columns of R and G the slopes: dL/ds_k = 2 e^(2 s_k) r_k'G r_k and
    dL/dangle = 2 (e^(2 s_1) - e^(2 s_2)) r_1'G r_2.

    Parameters: log_scales (n, 2); angles (n,); slopes (n, 2, 2), symmetric (as in
    ``RasterGradients``). Returns (n, 2) and (n,). Raises ValueError for other shapes. Cost: O(n).
    """
    log_scales = _as_rows("log_scales", log_scales, 2)
    angles = _as_numbers("angles", angles, len(log_scales))
    slopes = _as_matrices("slopes", slopes, len(log_scales), 2)
    c, s = np.cos(angles), np.sin(angles)
    one, two = np.exp(2.0 * log_scales).T
    xx, xy, yy = slopes[:, 0, 0], slopes[:, 0, 1], slopes[:, 1, 1]
    first = c * c * xx + 2.0 * c * s * xy + s * s * yy
    second = s * s * xx - 2.0 * c * s * xy + c * c * yy
    across = c * s * (yy - xx) + (c * c - s * s) * xy
    scales = np.column_stack([2.0 * one * first, 2.0 * two * second])
    return scales, 2.0 * (one - two) * across


# Splats of a space


@dataclass(frozen=True, eq=False)
class Projection:
    """Splats of a space as a camera sees them.

    Attributes
    ----------
    means : shape (n, 2), pixels
    covariances : shape (n, 2, 2), pixels^2
    depths : shape (n,), units of the world
    visible : shape (n,), booleans: false for splats at a depth of at most ``near``, which were set
        aside with ``behind="hide"``: they have a place far outside of the image
    """

    means: np.ndarray
    covariances: np.ndarray
    depths: np.ndarray
    visible: np.ndarray
    _scene: tuple = field(repr=False)


class ProjectionGradients(NamedTuple):
    """Derivatives of a loss in what ``project`` took: shapes (n, 3), (n, 4), (n, 3)."""

    means: np.ndarray
    quaternions: np.ndarray
    log_scales: np.ndarray


def quaternion_rotations(quaternions) -> np.ndarray:
    """Return the rotations (n, 3, 3) of quaternions (n, 4), each (w, x, y, z) of any length but 0.

    Raises ValueError for another shape or a quaternion of length 0. Cost: O(n).

    >>> quaternion_rotations([[1.0, 0.0, 0.0, 1.0]]).round(12)[0].tolist()  # a quarter about z
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    units, _ = _unit_quaternions(quaternions)
    w, x, y, z = units.T
    entries = [
        *(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)),
        *(2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)),
        *(2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)),
    ]
    return np.stack(entries, axis=1).reshape(-1, 3, 3)


def space_covariances(quaternions, log_scales) -> np.ndarray:
    """Return covariances M M' with M = R(quaternion) diag(e^s), shape (n, 3, 3).

    Parameters: quaternions (n, 4), (w, x, y, z) of any length but 0; log_scales (n, 3), logarithms
    of standard deviations in units of the world. Raises ValueError for other shapes. Cost: O(n).
    """
    rotations = quaternion_rotations(quaternions)
    log_scales = _as_rows("log_scales", log_scales, 3, rows=len(rotations))
    half = rotations * np.exp(log_scales)[:, None, :]
    return half @ half.transpose(0, 2, 1)


def project(
    means, quaternions, log_scales, camera: Camera, *, blur: float = 0.3, behind: str = "refuse"
) -> Projection:
    """Return what a camera sees of splats in space, by a linear approximation at each mean.

    With x = R mean + t, J the derivative of the image point in x and U = J R,
    V = U Sigma U' + blur I. For an orthographic camera this is exact; in perspective the error
    grows with size over depth.

    Parameters
    ----------
    means : shape (n, 3), units of the world
    quaternions : shape (n, 4), (w, x, y, z), of any length but 0
    log_scales : shape (n, 3), logarithms of standard deviations in units of the world
    camera : a Camera
    blur : variance that is added, pixels^2; splats thinner than a pixel need it
    behind : "refuse" splats at a depth of at most ``camera.near``, or "hide" them

    Returns
    -------
    Projection

    Raises
    ------
    ValueError : shapes that do not fit, a quaternion of length 0, a negative blur, or a splat that
        is not in front of the camera.

    Cost: O(n). Source: Zwicker et al. 2001 (EWA volume splatting), section 6.2.2; Kerbl et al. 2023
    (arXiv:2308.04079), equation 5.
    """
    if not isinstance(camera, Camera):
        raise ValueError(f"camera must be a Camera, got {type(camera).__name__}")
    means = _as_rows("means", means, 3)
    count = len(means)
    units, lengths = _unit_quaternions(quaternions, count)
    log_scales = _as_rows("log_scales", log_scales, 3, rows=count)
    if np.abs(log_scales).max(initial=0.0) > _LARGEST_LOG_SCALE:
        raise ValueError(
            f"log_scales must lie between -{_LARGEST_LOG_SCALE:g} and {_LARGEST_LOG_SCALE:g}, "
            f"got {log_scales.flat[np.argmax(np.abs(log_scales))]:.3g}"
        )
    blur = nonnegative("blur", blur)
    one_of("behind", behind, ("refuse", "hide"))
    seen = means @ camera.rotation.T + camera.translation
    visible = seen[:, 2] > camera.near
    if behind == "refuse" and not visible.all():
        i = int(np.argmin(seen[:, 2]))
        raise ValueError(
            f"means must lie in front of the camera, at depths above near = {camera.near:.6g}, got "
            f"depth {seen[i, 2]:.6g} at index {i}; behind='hide' sets such splats aside"
        )
    scene = (
        *(seen, units, lengths, np.exp(log_scales), visible, camera.rotation.copy()),
        *(camera.focal.copy(), camera.orthographic),
    )
    places, covariances = np.empty((count, 2)), np.empty((count, 2, 2))
    _project(*scene, camera.centre.copy(), blur, places, covariances)
    return Projection(places, covariances, seen[:, 2].copy(), visible, scene)


def project_gradients(
    projection: Projection, means, covariances, depths=None
) -> ProjectionGradients:
    """Return the derivatives of a loss in splats of a space, from those in their projections.

    With dU = 2 G U Sigma and dM = 2 U'G U M for the slopes G of the covariances; M gives log-scales
    and quaternions (through their normalisation), and the means are reached through the places, the
    depths and, in perspective, J.

    Parameters
    ----------
    projection : what ``project`` returned
    means : shape (n, 2), derivatives in the places
    covariances : shape (n, 2, 2), symmetric, derivatives in the covariances
    depths : shape (n,), derivatives in the depths; None: 0

    Returns
    -------
    ProjectionGradients; zeros for splats that were set aside

    Raises
    ------
    ValueError : shapes that do not fit.

    Cost: O(n).
    """
    if not isinstance(projection, Projection):
        raise ValueError(
            "projection must be what project returned, a Projection, got "
            f"{type(projection).__name__}"
        )
    count = len(projection.means)
    means = _as_rows("means", means, 2, rows=count)
    covariances = _as_matrices("covariances", covariances, count, 2)
    depths = np.zeros(count) if depths is None else _as_numbers("depths", depths, count)
    slopes = ProjectionGradients(np.zeros((count, 3)), np.zeros((count, 4)), np.zeros((count, 3)))
    _project_back(*projection._scene, means, covariances, depths, *slopes)
    return slopes


def _unit_quaternions(quaternions, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return quaternions of length 1, and the lengths they had."""
    quaternions = _as_rows("quaternions", quaternions, 4, rows=count)
    lengths = np.sqrt(np.einsum("nk,nk->n", quaternions, quaternions))
    if (lengths < _LEAST_QUATERNION).any():
        i = int(np.argmin(lengths))
        raise ValueError(
            f"quaternions must have lengths above {_LEAST_QUATERNION:g}, got "
            f"{quaternions[i].tolist()} at index {i}"
        )
    return quaternions / lengths[:, None], lengths


# seen, units, lengths, scales, visible, rotation, focal, orthographic
_SPACE = f"{_M}, {_M}, {_V}, {_M}, boolean[::1], {_M}, {_V}, boolean"


@compiled(f"void({_V}, {_V}, {_M})")
def _half_covariance(unit, scales, half):
    """Set M = R(quaternion) diag(scales)."""
    w, x, y, z = unit[0], unit[1], unit[2], unit[3]
    half[0, 0] = 1.0 - 2.0 * (y * y + z * z)
    half[0, 1] = 2.0 * (x * y - w * z)
    half[0, 2] = 2.0 * (x * z + w * y)
    half[1, 0] = 2.0 * (x * y + w * z)
    half[1, 1] = 1.0 - 2.0 * (x * x + z * z)
    half[1, 2] = 2.0 * (y * z - w * x)
    half[2, 0] = 2.0 * (x * z - w * y)
    half[2, 1] = 2.0 * (y * z + w * x)
    half[2, 2] = 1.0 - 2.0 * (x * x + y * y)
    for k in range(3):
        for i in range(3):
            half[i, k] *= scales[k]


@compiled(f"void({_V}, {_M}, {_V}, boolean, {_M}, {_M})")
def _image_slopes(x, rotation, focal, orthographic, slope, to_image):
    """Set J and U = J R."""
    slope[:] = 0.0
    for i in range(2):
        if orthographic:
            slope[i, i] = focal[i]
        else:
            slope[i, i] = focal[i] / x[2]
            slope[i, 2] = -focal[i] * x[i] / (x[2] * x[2])
        for k in range(3):
            to_image[i, k] = slope[i, i] * rotation[i, k] + slope[i, 2] * rotation[2, k]


@compiled(f"void({_SPACE}, {_V}, float64, {_M}, {_A})")
def _project(
    seen, units, lengths, scales, visible, rotation, focal, orthographic,
    centre, blur, places, covariances,
):  # fmt: skip
    slope, to_image = np.empty((2, 3)), np.empty((2, 3))
    half, flat = np.empty((3, 3)), np.empty((2, 3))
    for s in range(len(seen)):
        if not visible[s]:
            places[s] = _ASIDE
            covariances[s] = np.eye(2)
            continue
        _half_covariance(units[s], scales[s], half)
        _image_slopes(seen[s], rotation, focal, orthographic, slope, to_image)
        for i in range(2):
            depth = 1.0 if orthographic else seen[s, 2]
            places[s, i] = focal[i] * seen[s, i] / depth + centre[i]
            for k in range(3):
                total = 0.0
                for j in range(3):
                    total += to_image[i, j] * half[j, k]
                flat[i, k] = total
        for i in range(2):
            for j in range(2):
                total = blur if i == j else 0.0
                for k in range(3):
                    total += flat[i, k] * flat[j, k]
                covariances[s, i, j] = total


@compiled(f"void({_SPACE}, {_M}, {_A}, {_V}, {_M}, {_M}, {_M})")
def _project_back(
    seen, units, lengths, scales, visible, rotation, focal, orthographic,
    place_slopes, covariance_slopes, depth_slopes, mean_slopes, quaternion_slopes, scale_slopes,
):  # fmt: skip
    slope, to_image = np.empty((2, 3)), np.empty((2, 3))
    half, flat, turn = np.empty((3, 3)), np.empty((2, 3)), np.empty((3, 3))
    in_flat, in_image, x_slopes = np.empty((2, 3)), np.empty((2, 3)), np.empty(3)
    u_slopes = np.empty(4)
    for s in range(len(seen)):
        if not visible[s]:
            continue
        _half_covariance(units[s], scales[s], half)
        _image_slopes(seen[s], rotation, focal, orthographic, slope, to_image)
        for i in range(2):
            for k in range(3):
                total = 0.0
                for j in range(3):
                    total += to_image[i, j] * half[j, k]
                flat[i, k] = total  # B = U M, so that V = B B' + blur
        for i in range(2):
            for k in range(3):
                total = 0.0
                for j in range(2):
                    total += covariance_slopes[s, i, j] * flat[j, k]
                in_flat[i, k] = 2.0 * total  # dB = 2 G B
        for i in range(3):
            for k in range(3):
                total = 0.0
                for j in range(2):
                    total += to_image[j, i] * in_flat[j, k]
                scale_slopes[s, k] += total * half[i, k]
                turn[i, k] = total * scales[s, k]  # dR from dM = U' dB
        for i in range(2):
            for k in range(3):
                total = 0.0
                for j in range(3):
                    total += in_flat[i, j] * half[k, j]
                in_image[i, k] = total  # dU = dB M'
        # Camera coordinates: through the places, and in perspective through J.
        x_slopes[2] = depth_slopes[s]
        z = seen[s, 2]
        for i in range(2):
            x_slopes[i] = place_slopes[s, i] * slope[i, i]
            x_slopes[2] += place_slopes[s, i] * slope[i, 2]
            if not orthographic:
                on_axis, on_depth = 0.0, 0.0
                for k in range(3):
                    on_axis += in_image[i, k] * rotation[i, k]
                    on_depth += in_image[i, k] * rotation[2, k]
                rate = focal[i] / (z * z)
                x_slopes[i] -= on_depth * rate
                x_slopes[2] += rate * (2.0 * on_depth * seen[s, i] / z - on_axis)
        for k in range(3):
            for i in range(3):
                mean_slopes[s, k] += rotation[i, k] * x_slopes[i]
        _quaternion_back(units[s], turn, u_slopes)
        along = 0.0
        for k in range(4):
            along += units[s, k] * u_slopes[k]
        for k in range(4):
            quaternion_slopes[s, k] = (u_slopes[k] - along * units[s, k]) / lengths[s]


@compiled(f"void({_V}, {_M}, {_V})")
def _quaternion_back(unit, t, slopes):
    """Set the derivatives in a quaternion of length 1, from those in its rotation."""
    w, x, y, z = unit[0], unit[1], unit[2], unit[3]
    skew_x, skew_y, skew_z = t[2, 1] - t[1, 2], t[0, 2] - t[2, 0], t[1, 0] - t[0, 1]
    xy, xz, yz = t[0, 1] + t[1, 0], t[0, 2] + t[2, 0], t[1, 2] + t[2, 1]
    slopes[0] = 2.0 * (x * skew_x + y * skew_y + z * skew_z)
    slopes[1] = 2.0 * (w * skew_x + y * xy + z * xz) - 4.0 * x * (t[1, 1] + t[2, 2])
    slopes[2] = 2.0 * (w * skew_y + x * xy + z * yz) - 4.0 * y * (t[0, 0] + t[2, 2])
    slopes[3] = 2.0 * (w * skew_z + x * xz + y * yz) - 4.0 * z * (t[0, 0] + t[1, 1])


# Rendering: from parameters to an image and back


class RenderGradients(NamedTuple):
    """Derivatives of a loss in parameters, by their names, and in what ``rasterise`` took."""

    parameters: dict[str, np.ndarray]
    raster: RasterGradients


@dataclass(frozen=True, eq=False)
class Rendering:
    """An image with the way back to the parameters.

    Attributes
    ----------
    raster : a Raster; its image is ``raster.image``
    projection : a Projection; None for splats of a plane
    """

    raster: Raster
    projection: Projection | None
    _parameters: dict[str, np.ndarray] = field(repr=False)
    _own_features: bool = field(repr=False)

    @property
    def image(self) -> np.ndarray:
        """The image, shape (height, width, C)."""
        return self.raster.image

    def gradients(self, upstream, transmittance=None, depths=None) -> RenderGradients:
        """Return the derivatives of a loss in the parameters, from those in the image.

        Parameters
        ----------
        upstream : shape (height, width, C), derivatives of the loss in the image
        transmittance : shape (height, width), those in the transmittance; None: 0
        depths : shape (n,), those in the splats' depths (when features were made of them); None: 0.
            Splats of a space only

        Returns
        -------
        RenderGradients, with arrays shaped as the parameters

        Raises
        ------
        ValueError : shapes that do not fit.

        Cost: that of ``rasterise_gradients``.
        """
        slopes = rasterise_gradients(self.raster, upstream, transmittance)
        given = self._parameters
        if self.projection is None:
            if depths is not None:
                raise ValueError("depths must be None for splats of a plane, which have none")
            scales, angles = plane_covariance_gradients(
                given["log_scales"], given["angles"], slopes.covariances
            )
            found = {"means": slopes.means, "log_scales": scales, "angles": angles}
        else:
            back = project_gradients(self.projection, slopes.means, slopes.covariances, depths)
            found = back._asdict()
        if "logits" in given:
            opacities = self.raster._scene.opacities
            found["logits"] = slopes.opacities * opacities * (1.0 - opacities)
        if self._own_features:
            found["features"] = slopes.features
        elif "features" in given:
            found["features"] = np.zeros_like(given["features"])
        return RenderGradients({name: found[name] for name in given}, slopes)


def render_plane(parameters: dict, *, height, width, features=None, **options) -> Rendering:
    """Return the image of splats in a plane.

    Parameters
    ----------
    parameters : "means" (n, 2), pixels; "log_scales" (n, 2), logarithms of standard deviations in
        pixels; "angles" (n,), radians; "logits" (n,), log-odds of the opacities (without them all
        opacities are 1); "features" (n, C)
    height, width : of the image, pixels
    features : shape (n, C), in place of those among the parameters: another channel of the scene
    options : ``order``, ``depths``, ``background``, ``blend``, ``kernel``, ``solidity`` and ``cut``
        of ``rasterise``

    Returns
    -------
    Rendering

    Raises
    ------
    ValueError : a parameter that is missing or unknown, or what ``rasterise`` refuses.

    Cost: that of ``rasterise``.
    """
    parameters, own = _checked_parameters(parameters, "angles", features)
    covariances = plane_covariances(parameters["log_scales"], parameters["angles"])
    raster = rasterise(
        *(parameters["means"], covariances, _opacities(parameters)),
        parameters["features"] if own else features,
        height=height,
        width=width,
        **options,
    )
    return Rendering(raster, None, parameters, own)


def render_space(
    parameters: dict, camera: Camera, *, blur=0.3, behind="hide", features=None, **options
) -> Rendering:
    """Return what a camera sees of splats in space, the nearest in front.

    Parameters
    ----------
    parameters : "means" (n, 3), units of the world; "quaternions" (n, 4), (w, x, y, z);
        "log_scales" (n, 3), logarithms of standard deviations in units of the world; "logits" (n,),
        log-odds of the opacities (without them all opacities are 1); "features" (n, C)
    camera : a Camera
    blur, behind : as for ``project``
    features : shape (n, C), in place of those among the parameters: depths, normals, labels, ...
    options : ``background``, ``blend``, ``kernel``, ``solidity`` and ``cut`` of ``rasterise``

    Returns
    -------
    Rendering

    Raises
    ------
    ValueError : a parameter that is missing or unknown, or what ``project`` and ``rasterise``
        refuse.

    Cost: that of ``rasterise``.
    """
    parameters, own = _checked_parameters(parameters, "quaternions", features)
    seen = project(
        *(parameters["means"], parameters["quaternions"], parameters["log_scales"], camera),
        blur=blur,
        behind=behind,
    )
    raster = rasterise(
        *(seen.means, seen.covariances, _opacities(parameters)),
        parameters["features"] if own else features,
        height=camera.height,
        width=camera.width,
        depths=seen.depths,
        **options,
    )
    return Rendering(raster, seen, parameters, own)


def _checked_parameters(parameters, turn: str, features) -> tuple[dict, bool]:
    """Return parameters whose names are known, and whether their features are rendered."""
    if not isinstance(parameters, dict):
        raise ValueError(f"parameters must be a dict, got {type(parameters).__name__}")
    needed = {"means", "log_scales", turn} | ({"features"} if features is None else set())
    missing = sorted(needed - parameters.keys())
    unknown = sorted(map(str, parameters.keys() - needed - {"logits", "features"}))
    if missing or unknown:
        wrong = f"without {missing[0]!r}" if missing else f"with the unknown {unknown[0]!r}"
        raise ValueError(
            f"parameters must have the names {sorted(needed)} and may have 'logits', got {wrong}"
        )
    return dict(parameters), features is None


def _opacities(parameters: dict) -> np.ndarray:
    count = len(parameters["means"])
    if "logits" not in parameters:
        return np.ones(count)
    logits = _as_numbers("logits", parameters["logits"], count)
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


# Fitting

PLANE_RATES = {"means": 0.3, "log_scales": 0.05, "angles": 0.05, "logits": 0.05, "features": 0.02}
SPACE_RATES = {
    "means": 0.01,
    "quaternions": 0.02,
    "log_scales": 0.02,
    "logits": 0.05,
    "features": 0.02,
}


class Fit:
    """Adam with a rate for each group of parameters, one step at a time.

    A fit can be stopped after any step and goes on where it was; between steps the parameters may
    be changed in place, and ``replace`` gives it others (births, deaths).

    Parameters
    ----------
    parameters : arrays by name; copied
    loss : a function of such a dict that returns (loss, derivatives by name); derivatives of
        parameters without a rate are not needed
    rates : step of Adam by name, > 0; parameters that are not named stay as they are. The dict is
        read at each step, so that rates may change

    Attributes
    ----------
    parameters : arrays by name, as they are now
    losses : the loss before each step so far
    loss : as given

    Raises
    ------
    ValueError : a rate of a parameter that is not there, or that is not positive.

    >>> square = lambda p: (p["x"] @ p["x"], {"x": 2 * p["x"]})
    >>> fit = Fit({"x": np.array([3.0])}, square, {"x": 0.1})
    >>> for value in fit.run(100):
    ...     if value < 1.0:
    ...         break
    >>> len(fit.losses)
    23

    Source: Kingma and Ba 2015, algorithm 1.
    """

    def __init__(self, parameters: dict, loss, rates: dict):
        self.parameters = {name: _copied(name, array) for name, array in parameters.items()}
        self.loss, self.rates, self.losses = loss, dict(rates), []
        for name, rate in self.rates.items():
            one_of("rates", name, tuple(self.parameters))
            positive(f"rates[{name!r}]", rate)
        self._adams = {name: Adam(self.parameters[name], self.rates[name]) for name in self.rates}

    def step(self) -> float:
        """Take one step; return the loss before it."""
        value, gradients = self.loss(self.parameters)
        for name, adam in self._adams.items():
            adam.step = positive(f"rates[{name!r}]", self.rates[name])
            adam.update(gradients[name])
        self.losses.append(float(value))
        return self.losses[-1]

    def run(self, steps: int) -> Iterator[float]:
        """Take up to ``steps`` steps, and yield the loss before each of them."""
        for _ in range(integer("steps", steps, low=0)):
            yield self.step()

    def replace(self, parameters: dict, rows) -> None:
        """Go on with other splats.

        Parameters
        ----------
        parameters : arrays with the same names; copied
        rows : shape (m,), integers: splat i takes the running means of Adam from splat rows[i]
            before, and starts without any where rows[i] is -1

        Raises
        ------
        ValueError : other names, other shapes than (m, ...), or rows out of range.

        Cost: O(size of the parameters).
        """
        if parameters.keys() != self.parameters.keys():
            raise ValueError(
                f"parameters must have the names {sorted(self.parameters)}, "
                f"got {sorted(parameters)}"
            )
        copies = {name: _copied(name, array) for name, array in parameters.items()}
        for name, array in copies.items():
            before = self.parameters[name]
            if array.ndim != before.ndim or array.shape[1:] != before.shape[1:]:
                raise ValueError(
                    f"parameters[{name!r}] must have shape (m, ...) with {before.shape[1:]} behind "
                    f"m, got {array.shape}"
                )
        for name, adam in self._adams.items():
            adam.carry(copies[name], rows)
        self.parameters = copies


class PlaneLoss:
    """Mean squared difference between the image of splats in a plane and a target.

    A loss for ``Fit``; after a call, ``rendering`` and ``slopes`` are those of that call.

    Parameters
    ----------
    target : shape (height, width, C)
    weights : shape (height, width), >= 0, of the pixels; None: 1
    options : of ``render_plane``

    Raises
    ------
    ValueError : shapes that do not fit.
    """

    def __init__(self, target, weights=None, **options):
        self.target = _as_picture("target", target)
        self.weights, self.options = weights, options
        self.rendering, self.slopes = None, None

    def __call__(self, parameters: dict) -> tuple[float, dict]:
        height, width, _ = self.target.shape
        self.rendering = render_plane(parameters, height=height, width=width, **self.options)
        value, upstream = squared_error(self.rendering.image, self.target, self.weights)
        self.slopes = self.rendering.gradients(upstream)
        return value, self.slopes.parameters


class SpaceLoss:
    """Mean squared difference between what a camera sees of splats in space and a photograph.

    A loss for ``Fit`` that takes another view at each call, in turn (``view`` is the next one);
    after a call, ``rendering`` and ``slopes`` are those of that call.

    Parameters
    ----------
    targets : V images of shape (height, width, C)
    cameras : V cameras
    options : of ``render_space``

    Raises
    ------
    ValueError : no views, another number of cameras, or a target that is not of its camera's size.
    """

    def __init__(self, targets, cameras, **options):
        self.cameras = list(cameras)
        self.targets = [_as_picture(f"targets[{i}]", image) for i, image in enumerate(targets)]
        if same_length("targets", self.targets, "cameras", self.cameras) == 0:
            raise ValueError("targets must hold at least one view, got none")
        for i, (image, camera) in enumerate(zip(self.targets, self.cameras, strict=True)):
            if not isinstance(camera, Camera):
                raise ValueError(f"cameras[{i}] must be a Camera, got {type(camera).__name__}")
            _as_image(f"targets[{i}]", image, camera.height, camera.width)
        self.options, self.view = options, 0
        self.rendering, self.slopes = None, None

    def __call__(self, parameters: dict) -> tuple[float, dict]:
        camera, target = self.cameras[self.view], self.targets[self.view]
        self.view = (self.view + 1) % len(self.cameras)
        self.rendering = render_space(parameters, camera, **self.options)
        value, upstream = squared_error(self.rendering.image, target)
        self.slopes = self.rendering.gradients(upstream)
        return value, self.slopes.parameters


def fit_plane(target, parameters: dict, *, rates=None, weights=None, **options) -> Fit:
    """Return a fit of splats in a plane to an image, ready to ``run``.

    Parameters
    ----------
    target : shape (height, width, C)
    parameters : as for ``render_plane``, e.g. from ``start_plane``
    rates : step of Adam by name; None: ``PLANE_RATES``
    weights, options : as for ``PlaneLoss``

    Returns
    -------
    Fit; its loss is a PlaneLoss

    Raises
    ------
    ValueError : what ``PlaneLoss`` and ``Fit`` refuse.

    Cost: a step costs ``rasterise`` and ``rasterise_gradients`` once.
    """
    return Fit(
        parameters, PlaneLoss(target, weights, **options), _rates(rates, PLANE_RATES, parameters)
    )


def fit_space(targets, cameras, parameters: dict, *, rates=None, **options) -> Fit:
    """Return a fit of splats in space to photographs, ready to ``run``; a step sees one view.

    Parameters
    ----------
    targets, cameras, options : as for ``SpaceLoss``
    parameters : as for ``render_space``
    rates : step of Adam by name; None: ``SPACE_RATES``, for a scene about 2 units wide

    Returns
    -------
    Fit; its loss is a SpaceLoss

    Raises
    ------
    ValueError : what ``SpaceLoss`` and ``Fit`` refuse.

    Cost: a step costs ``project``, ``rasterise`` and their ways back once.
    """
    return Fit(
        parameters, SpaceLoss(targets, cameras, **options), _rates(rates, SPACE_RATES, parameters)
    )


def start_plane(
    image, count: int, *, rng, places: str = "random", scale=None, opacity: float = 0.5
) -> dict[str, np.ndarray]:
    """Return parameters of splats in a plane to start a fit from: round, in the image's colours.

    Parameters
    ----------
    image : shape (height, width, C)
    count : number n of splats
    rng : Generator or seed
    places : "random" (uniform) or "grid" (one in the middle of each cell of a grid with at least n
        cells, chosen at random where there are more)
    scale : standard deviation, pixels; None: half the distance between neighbours on a grid
    opacity : between 0 and 1, both excluded

    Returns
    -------
    "means" (n, 2), "log_scales" (n, 2), "angles" (n,), "logits" (n,) and "features" (n, C)

    Raises
    ------
    ValueError : another shape, or a number out of its range.

    Cost: O(n).
    """
    image, rng = _as_picture("image", image), as_rng(rng)
    count = integer("count", count, low=1)
    height, width, _ = image.shape
    spacing = math.sqrt(height * width / count)
    scale = 0.5 * spacing if scale is None else positive("scale", scale)
    opacity = between("opacity", opacity, 1e-6, 1.0 - 1e-6)
    if one_of("places", places, ("random", "grid")) == "random":
        means = rng.uniform((0.0, 0.0), (width, height), (count, 2))
    else:
        across = max(1, min(count, math.ceil(width / spacing)))
        down = math.ceil(count / across)
        v, u = np.divmod(np.sort(rng.permutation(across * down)[:count]), across)
        means = np.column_stack([(u + 0.5) * width / across, (v + 0.5) * height / down])
    columns, rows = np.minimum(means, (width - 1e-6, height - 1e-6)).astype(int).T
    return {
        "means": means,
        "log_scales": np.full((count, 2), math.log(scale)),
        "angles": np.zeros(count),
        "logits": np.full(count, math.log(opacity / (1.0 - opacity))),
        "features": image[rows, columns].copy(),
    }


def squared_error(image, target, weights=None) -> tuple[float, np.ndarray]:
    """Return the mean of (image - target)^2 and its derivatives in the image.

    Parameters: image, target (height, width, C); weights (height, width), >= 0, of the pixels
    (None: 1; the mean still counts every pixel). Returns a number and (height, width, C). Raises
    ValueError for shapes that do not fit. Cost: O(size of the image).
    """
    target = _as_picture("target", target)
    image = _as_image("image", image, *target.shape)
    gap = image - target
    slopes = gap * (2.0 / gap.size)
    if weights is not None:
        weights = as_matrix("weights", weights, rows=len(target), columns=target.shape[1])
        nonnegative("weights", float(weights.min()))
        slopes *= weights[:, :, None]
    return 0.5 * float((slopes * gap).sum()), slopes


def psnr(image, target, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio 10 log10(peak^2 / mean squared error), decibels.

    Infinite for equal images. Raises ValueError for shapes that do not fit or a peak <= 0.
    """
    error, peak = squared_error(image, target)[0], positive("peak", peak)
    return math.inf if error == 0.0 else 10.0 * math.log10(peak * peak / error)


def _rates(rates, standard: dict, parameters: dict) -> dict:
    return {k: v for k, v in standard.items() if k in parameters} if rates is None else rates


def _copied(name: str, array) -> np.ndarray:
    array = np.array(array, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"parameters[{name!r}] must be finite, got NaN or infinity")
    return array


def _as_picture(name: str, value) -> np.ndarray:
    if np.ndim(value) != 3 or 0 in np.shape(value):
        raise ValueError(f"{name} must have shape (height, width, C), got shape {np.shape(value)}")
    return _as_image(name, value, *np.shape(value))


# Compiled passes over splats. The footprint of a splat is kept row by row in one buffer, so that
# the exponentials, which cost the most, are taken in one long loop; each row's piece is a multiple
# of 8 pixels long, so that no loop has a scalar rest. What sticks out of the footprint has q > cut.
#
# A piece of a row is columns left <= i < right, kept in the buffer at i + shift. Indices are
# unsigned, which spares the test for negative ones, and rows are not sliced out, which would count
# references: both would cost more than the arithmetic.


@compiled(
    f"void(uint64, uint64, uint64, {_V}, float64, float64, float64, float64, {_V})",
    fastmath=_CONTRACT,
)
def _row_distances(left, right, shift, xs, mean, half_a, slope, offset, q):
    """Set q = d'Kd/2 along a row."""
    for i in range(left, right):
        dx = xs[i] - mean
        q[i + shift] = (half_a * dx + slope) * dx + offset


@compiled(
    f"UniTuple(uint64, 3)(float64, float64, float64, float64, float64, float64, int64, {_V}, "
    f"{_ROOM})",
    fastmath=_CONTRACT,
)
def _footprint(mx, my, a, b, c, reach, width, xs, starts, sizes, q):
    """Find the pixels with q <= reach; return the first row, the row after the last, and the size.

    In a row, q = a (dx + b dy / a)^2 / 2 + (c - b^2 / a) dy^2 / 2.
    """
    shear, rest, inverse = b / a, c - b * b / a, 2.0 / a
    half = math.sqrt(2.0 * reach / rest) + _SLACK
    first, stop = _pixels_between(my - half, my + half, starts.size)
    total = np.uint64(0)
    for r in range(first, stop):
        dy = r + 0.5 - my
        inside = reach - 0.5 * rest * dy * dy
        half = math.sqrt(inverse * (inside if inside > 0.0 else 0.0)) + _SLACK
        middle = mx - shear * dy
        left, right = _pixels_between(middle - half, middle + half, width)
        size = (right - left + np.uint64(7)) & ~np.uint64(7)
        right = left + size
        starts[r], sizes[r] = left, size
        _row_distances(left, right, total - left, xs, mx, 0.5 * a, b * dy, 0.5 * c * dy * dy, q)
        total += size
    return first, stop, total


@compiled("UniTuple(uint64, 2)(float64, float64, int64)", forceinline=True)
def _pixels_between(low, high, side):
    """Return the first pixel with its centre in an interval, and the one after the last."""
    low, high = low - 0.5, high + 0.5
    low = low if low > 0.0 else 0.0
    high = high if high < side else float(side)
    first, stop = np.int64(low), np.int64(high)
    first += first < low
    return np.uint64(first), np.uint64(stop if stop > first else first)


@compiled(f"void(uint64, {_V}, float64, float64)", fastmath=_CONTRACT)
def _kernel_values(size, q, solidity, cut):
    """Turn q into G; 0 beyond the cut."""
    if solidity == 0.0:
        for i in range(size):
            g = exp(-q[i])
            q[i] = g if q[i] <= cut else 0.0
    else:
        for i in range(size):
            power = exp(solidity * log(q[i] if q[i] > 1e-300 else 1e-300))
            g = exp(-power)
            q[i] = g if power <= cut else 0.0


@compiled(f"void(uint64, {_V}, float64, float64, {_V}, {_V})", fastmath=_CONTRACT)
def _solid_slopes(size, q, solidity, reach, outward, harder):
    """Set d(q^p)/dq = p q^(p-1) and d(q^p)/dp = q^p ln q."""
    for i in range(size):
        x = q[i] if q[i] > 1e-300 else 1e-300
        logarithm = log(x if x < reach else reach)
        outward[i] = solidity * exp((solidity - 1.0) * logarithm)
        harder[i] = exp(solidity * logarithm) * logarithm


@compiled("float64(float64, float64)")
def _reach(solidity, cut):
    """Return the largest q that is not cut."""
    return cut if solidity == 0.0 else cut ** (1.0 / solidity) * (1.0 + 1e-9)


@compiled(
    f"int64(int64, float64, uint64, uint64, uint64, uint64, {_V}, {_M}, {_IM})", fastmath=_CONTRACT
)
def _over_row(place, opacity, r, left, right, shift, w, light, last):
    """Blend a row of kernel values; they become weights a T. Return how many pixels took it."""
    hits = 0
    for i in range(left, right):
        g, t = w[i + shift], light[r, i]
        taken = (g > 0.0) & (t >= LEAST_LIGHT)
        a = opacity * g
        a = LARGEST_ALPHA if a > LARGEST_ALPHA else a
        a = a * t if taken else 0.0
        last[r, i] = place if taken else last[r, i]
        hits += taken
        w[i + shift] = a
        light[r, i] = t - a
    return hits


@compiled(f"int64(float64, uint64, uint64, uint64, uint64, {_V}, {_M}, {_IM})", fastmath=_CONTRACT)
def _add_row(opacity, r, left, right, shift, w, total, count):
    """Add a row of kernel values; they become weights o G. Return how many pixels took it."""
    hits = 0
    for i in range(left, right):
        g = w[i + shift]
        taken = g > 0.0
        hits += taken
        count[r, i] += taken
        w[i + shift] = opacity * g
        total[r, i] += opacity * g
    return hits


@compiled(f"void(float64, int64, uint64, uint64, uint64, uint64, {_V}, {_A})", fastmath=_CONTRACT)
def _paint_row(feature, channel, r, left, right, shift, w, image):
    for i in range(left, right):
        image[channel, r, i] += feature * w[i + shift]


@compiled(f"float64(int64, uint64, uint64, uint64, uint64, {_V}, {_A})", fastmath=_ANY_ORDER)
def _dot_row(channel, r, left, right, shift, w, image):
    total = 0.0
    for i in range(left, right):
        total += image[channel, r, i] * w[i + shift]
    return total


@compiled(f"void({_SCENE}, {_ROOM}, {_A}, {_M}, {_IM}, {_IV})", fastmath=_CONTRACT)
def _blend_alpha(
    order, means, conics, opacities, features, solidity, cut, width, xs,
    starts, sizes, w, image, light, last, hits,
):  # fmt: skip
    """Blend splats front to back."""
    reach, here = _reach(solidity, cut), np.uint64(0)
    for place in range(order.size):
        s = order[place]
        a, b, c = conics[s, 0], conics[s, 1], conics[s, 2]
        first, stop, size = _footprint(
            means[s, 0], means[s, 1], a, b, c, reach, width, xs, starts, sizes, w
        )
        _kernel_values(size, w, solidity, cut)
        here = np.uint64(0)
        for r in range(first, stop):
            left, right, shift = starts[r], starts[r] + sizes[r], here - starts[r]
            here += sizes[r]
            taken = _over_row(place + 1, opacities[s], r, left, right, shift, w, light, last)
            if taken:
                hits[s] += taken
                for channel in range(features.shape[1]):
                    _paint_row(features[s, channel], channel, r, left, right, shift, w, image)


@compiled(f"void({_SCENE}, {_ROOM}, {_A}, {_M}, {_IM}, {_IV})", fastmath=_CONTRACT)
def _blend_additive(
    order, means, conics, opacities, features, solidity, cut, width, xs,
    starts, sizes, w, image, total, count, hits,
):  # fmt: skip
    """Add splats up."""
    reach, here = _reach(solidity, cut), np.uint64(0)
    for place in range(order.size):
        s = order[place]
        a, b, c = conics[s, 0], conics[s, 1], conics[s, 2]
        first, stop, size = _footprint(
            means[s, 0], means[s, 1], a, b, c, reach, width, xs, starts, sizes, w
        )
        _kernel_values(size, w, solidity, cut)
        here = np.uint64(0)
        for r in range(first, stop):
            left, right, shift = starts[r], starts[r] + sizes[r], here - starts[r]
            here += sizes[r]
            hits[s] += _add_row(opacities[s], r, left, right, shift, w, total, count)
            for channel in range(features.shape[1]):
                _paint_row(features[s, channel], channel, r, left, right, shift, w, image)


@compiled(f"void({_SCENE}, {_ROOM}, boolean, {_A}, {_M}, {_IM}, {_M})", fastmath=_CONTRACT)
def _collect(
    order, means, conics, opacities, features, solidity, cut, width, xs,
    starts, sizes, w, alpha, values, light, last, sums,
):  # fmt: skip
    """Sum up weights times values, splat by splat."""
    reach, here = _reach(solidity, cut), np.uint64(0)
    for place in range(order.size):
        s = order[place]
        a, b, c = conics[s, 0], conics[s, 1], conics[s, 2]
        first, stop, size = _footprint(
            means[s, 0], means[s, 1], a, b, c, reach, width, xs, starts, sizes, w
        )
        _kernel_values(size, w, solidity, cut)
        here = np.uint64(0)
        for r in range(first, stop):
            left, right, shift = starts[r], starts[r] + sizes[r], here - starts[r]
            here += sizes[r]
            if alpha:
                _over_row(place, opacities[s], r, left, right, shift, w, light, last)
            else:
                _add_row(opacities[s], r, left, right, shift, w, light, last)
            for channel in range(values.shape[0]):
                sums[s, channel] += _dot_row(channel, r, left, right, shift, w, values)


@compiled(
    f"void({_SCENE}, {_ROOM}, float64, {_M}, {_IM}, {_IM}, {_IM}, {_M}, {_IM})", fastmath=_CONTRACT
)
def _inspect(
    order, means, conics, opacities, features, solidity, cut, width, xs,
    starts, sizes, w, share, light, last, count, heaviest, largest, median,
):  # fmt: skip
    """Blend without features, and note what happens in each pixel."""
    reach, here = _reach(solidity, cut), np.uint64(0)
    for place in range(order.size):
        s = order[place]
        a, b, c = conics[s, 0], conics[s, 1], conics[s, 2]
        first, stop, size = _footprint(
            means[s, 0], means[s, 1], a, b, c, reach, width, xs, starts, sizes, w
        )
        _kernel_values(size, w, solidity, cut)
        here = np.uint64(0)
        for r in range(first, stop):
            left, right, shift = starts[r], starts[r] + sizes[r], here - starts[r]
            here += sizes[r]
            _over_row(place, opacities[s], r, left, right, shift, w, light, last)
            for i in range(left, right):
                weight = w[i + shift]
                if weight > 0.0:
                    count[r, i] += 1
                    if weight > largest[r, i]:
                        largest[r, i], heaviest[r, i] = weight, s
                    if median[r, i] < 0 and light[r, i] <= share:
                        median[r, i] = s


@compiled(
    f"void({_IV}, {_M}, {_M}, {_V}, {_M}, float64, int64, int64, {_A}, {_M}, {_IM})",
    fastmath=_CONTRACT,
)
def _blend_tiles(
    order, means, conics, opacities, features, cut, height, width, image, light, last
):  # fmt: skip
    """Blend front to back within each tile."""
    count, down, across = order.size, light.shape[0] // _TILE, light.shape[1] // _TILE
    boxes = np.empty((count, 4), dtype=np.uint64)  # in pixels, then tiles
    lengths = np.zeros(down * across + 1, dtype=np.int64)
    for place in range(count):
        s = order[place]
        a, b, c = conics[s, 0], conics[s, 1], conics[s, 2]
        scale = 2.0 * cut / (a * c - b * b)
        for axis in range(2):
            half = math.sqrt(scale * (c if axis == 0 else a)) + _SLACK
            side = width if axis == 0 else height
            low, high = _pixels_between(means[s, axis] - half, means[s, axis] + half, side)
            boxes[place, axis] = low // np.uint64(_TILE)
            boxes[place, 2 + axis] = (high + np.uint64(_TILE - 1)) // np.uint64(_TILE)
            if low == high:
                boxes[place, axis] = boxes[place, 2 + axis]
        for y in range(boxes[place, 1], boxes[place, 3]):
            for x in range(boxes[place, 0], boxes[place, 2]):
                lengths[np.int64(y) * across + np.int64(x) + 1] += 1
    ends = np.cumsum(lengths)
    filled, lists = ends.copy(), np.empty(ends[-1], dtype=np.int64)
    for place in range(count):
        for y in range(boxes[place, 1], boxes[place, 3]):
            for x in range(boxes[place, 0], boxes[place, 2]):
                tile = np.int64(y) * across + np.int64(x)
                lists[filled[tile]] = place
                filled[tile] += 1
    xs, w = np.arange(light.shape[1]) + 0.5, np.empty(_TILE * _TILE)
    for tile in range(down * across):
        top, left = np.uint64(tile // across * _TILE), np.uint64(tile % across * _TILE)
        right, bottom = left + np.uint64(_TILE), top + np.uint64(_TILE)
        for entry in range(ends[tile], ends[tile + 1]):
            place = lists[entry]
            s = order[place]
            a, b, c = conics[s, 0], conics[s, 1], conics[s, 2]
            here = np.uint64(0)
            for r in range(top, bottom):
                dy = r + 0.5 - means[s, 1]
                offset = 0.5 * c * dy * dy
                _row_distances(
                    left, right, here - left, xs, means[s, 0], 0.5 * a, b * dy, offset, w
                )
                here += np.uint64(_TILE)
            _kernel_values(here, w, 0.0, cut)
            here = np.uint64(0)
            for r in range(top, bottom):
                shift = here - left
                here += np.uint64(_TILE)
                if _over_row(place + 1, opacities[s], r, left, right, shift, w, light, last):
                    for channel in range(features.shape[1]):
                        _paint_row(features[s, channel], channel, r, left, right, shift, w, image)


# The way back


@compiled(f"void(float64, int64, uint64, uint64, uint64, {_A}, {_V})", fastmath=_CONTRACT)
def _set_multiple(feature, channel, r, left, right, upstream, pull):
    for i in range(left, right):
        pull[i] = feature * upstream[channel, r, i]


@compiled(f"void(float64, int64, uint64, uint64, uint64, {_A}, {_V})", fastmath=_CONTRACT)
def _add_multiple(feature, channel, r, left, right, upstream, pull):
    for i in range(left, right):
        pull[i] += feature * upstream[channel, r, i]


@compiled(
    f"void(int64, float64, uint64, uint64, uint64, uint64, {_V}, {_M}, {_IM}, {_M}, {_V})",
    fastmath=_CONTRACT,
)
def _under_row(place, opacity, r, left, right, shift, w, light, last, behind, pull):
    """Take a splat off a row.

    w: kernel values G, which become weights a T; pull: g.f, which becomes G dL/da, or 0 where a is
    clamped.
    """
    for i in range(left, right):
        g = w[i + shift]
        raw = opacity * g
        taken = (g > 0.0) & (last[r, i] >= place)
        a = LARGEST_ALPHA if raw > LARGEST_ALPHA else raw
        a = a if taken else 0.0
        t = light[r, i] / (1.0 - a)
        gain = pull[i] - behind[r, i]
        light[r, i] = t
        behind[r, i] += a * gain
        w[i + shift] = a * t
        free = taken & (raw <= LARGEST_ALPHA)
        pull[i] = g * t * gain if free else 0.0


@compiled(f"void(float64, uint64, uint64, uint64, uint64, {_V}, {_M}, {_V})", fastmath=_CONTRACT)
def _beside_row(opacity, r, left, right, shift, w, behind, pull):
    """The same where splats only add up."""
    for i in range(left, right):
        g = w[i + shift]
        pull[i] = g * (pull[i] - behind[r, i])
        w[i + shift] = opacity * g


@compiled(f"UniTuple(float64, 2)(uint64, uint64, uint64, {_V}, {_V}, {_V})", fastmath=_ANY_ORDER)
def _solid_row(left, right, shift, outward, harder, pull):
    """Sum the pulls of G, also times the slope in p, and turn them into pulls of q."""
    total, in_solidity = 0.0, 0.0
    for i in range(left, right):
        r = pull[i]
        total += r
        in_solidity += r * harder[i + shift]
        pull[i] = r * outward[i + shift]
    return total, in_solidity


@compiled(
    f"UniTuple(float64, 4)(uint64, uint64, {_V}, {_V}, float64, float64, float64, float64, "
    "float64)",
    fastmath=_ANY_ORDER,
)
def _moments(left, right, pull, xs, mean, a, b, b_dy, c_dy):
    """Return the sums of r, r dx, r dx^2 and |r| |K d| along a row."""
    m0, m1, m2, length = 0.0, 0.0, 0.0, 0.0
    for i in range(left, right):
        r, dx = pull[i], xs[i] - mean
        r_dx = r * dx
        m0 += r
        m1 += r_dx
        m2 += r_dx * dx
        along, across = a * dx + b_dy, b * dx + c_dy
        length += abs(r) * math.sqrt(along * along + across * across)
    return m0, m1, m2, length


@compiled(
    f"float64({_SCENE}, {_ROOM}, boolean, {_A}, {_M}, {_IM}, {_M}, {_M}, {_M}, {_V}, {_M}, {_V})",
    fastmath=_CONTRACT,
)
def _go_back(
    order, means, conics, opacities, features, solidity, cut, width, xs,
    starts, sizes, w, alpha, upstream, light, last, behind,
    mean_slopes, conic_slopes, opacity_slopes, feature_slopes, movement,
):  # fmt: skip
    """Take splats off, back to front; return the derivative in the solidity."""
    reach, here = _reach(solidity, cut), np.uint64(0)
    channels, solid = features.shape[1], solidity != 0.0
    pull = np.empty(xs.size)
    outward = np.empty(w.size if solid else 0)
    harder = np.empty(w.size if solid else 0)
    solidity_slope = 0.0
    for place in range(order.size - 1, -1, -1):
        s = order[place]
        mx, my, opacity = means[s, 0], means[s, 1], opacities[s]
        a, b, c = conics[s, 0], conics[s, 1], conics[s, 2]
        first, stop, size = _footprint(mx, my, a, b, c, reach, width, xs, starts, sizes, w)
        if solid:
            _solid_slopes(size, w, solidity, reach, outward, harder)
        _kernel_values(size, w, solidity, cut)
        x, y, xx, xy, yy, length, free = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        here = np.uint64(0)
        for r in range(first, stop):
            left, right, shift = starts[r], starts[r] + sizes[r], here - starts[r]
            here += sizes[r]
            _set_multiple(features[s, 0], 0, r, left, right, upstream, pull)
            for channel in range(1, channels):
                _add_multiple(features[s, channel], channel, r, left, right, upstream, pull)
            if alpha:
                _under_row(place + 1, opacity, r, left, right, shift, w, light, last, behind, pull)
            else:
                _beside_row(opacity, r, left, right, shift, w, behind, pull)
            for channel in range(channels):
                feature_slopes[s, channel] += _dot_row(channel, r, left, right, shift, w, upstream)
            if solid:
                total, in_solidity = _solid_row(left, right, shift, outward, harder, pull)
                free += total
                solidity_slope -= opacity * in_solidity
            dy = r + 0.5 - my
            m0, m1, m2, part = _moments(left, right, pull, xs, mx, a, b, b * dy, c * dy)
            x += m1
            y += dy * m0
            xx += m2
            xy += dy * m1
            yy += dy * dy * m0
            length += part
            if not solid:
                free += m0
        # dL/dq = -opacity times what was summed.
        opacity_slopes[s] = free
        mean_slopes[s, 0] = opacity * (a * x + b * y)
        mean_slopes[s, 1] = opacity * (b * x + c * y)
        conic_slopes[s, 0] = -0.5 * opacity * xx
        conic_slopes[s, 1] = -0.5 * opacity * xy
        conic_slopes[s, 2] = -0.5 * opacity * yy
        movement[s] = opacity * length
    return solidity_slope


# Checks


def _checked_scene(
    means, covariances, opacities, features, height, width, order, depths,
    background, blend, kernel, solidity, cut,
) -> _Scene:  # fmt: skip
    """Return checked arguments of ``rasterise``, with fresh buffers."""
    height = integer("height", height, low=1, high=_LARGEST_SIDE)
    width = integer("width", width, low=1, high=_LARGEST_SIDE)
    one_of("blend", blend, BLENDS)
    one_of("kernel", kernel, KERNELS)
    solidity = between("solidity", solidity, 1.0, _LARGEST_SOLIDITY)
    # Round splats in the middle of a pixel have others just at the cut: in, on any machine.
    cut = between("cut", cut, 1e-6, 700.0) * (1.0 + 1e-9)
    means = _as_rows("means", means, 2)
    count = len(means)
    if np.abs(means).max(initial=0.0) > _LARGEST_PLACE:
        raise ValueError(
            f"means must lie within {_LARGEST_PLACE:g} pixels, got {np.abs(means).max():.3g}"
        )
    conics = _conics(covariances, count)
    opacities = _as_numbers("opacities", opacities, count)
    highest = 1.0 if blend == "alpha" else math.inf
    low, high = opacities.min(initial=0.0), opacities.max(initial=0.0)
    if low < 0.0 or high > highest:
        allowed = "between 0 and 1" if blend == "alpha" else "at least 0"
        raise ValueError(f"opacities must be {allowed}, got {low if low < 0.0 else high:.6g}")
    features = as_matrix("features", features, rows=count, min_rows=0)
    channels = features.shape[1]
    background = np.zeros(channels) if background is None else background
    background = _as_numbers("background", background, channels)
    light = np.full((height, _padded(width)), 1.0 if blend == "alpha" else 0.0)
    last = np.zeros(light.shape, dtype=np.int64)
    return _Scene(
        _as_order(order, depths, count),
        # Copies: what stands outside may change before the way back.
        *(means.copy(), conics, opacities.copy(), features.copy(), background.copy()),
        *(height, width, blend),
        *(solidity if kernel == "solid" else 0.0, cut, light, last),
    )


def _scene_of(raster) -> _Scene:
    if not isinstance(raster, Raster):
        raise ValueError(
            f"raster must be what rasterise returned, a Raster, got {type(raster).__name__}"
        )
    return raster._scene


def _as_rows(name: str, value, columns: int, rows: int | None = None) -> np.ndarray:
    """Return a matrix with that many columns, which may have no rows."""
    if np.ndim(value) == 1 and np.size(value) == 0:
        value = np.empty((0, columns))
    return as_matrix(name, value, columns=columns, rows=rows, min_rows=0)


def _as_numbers(name: str, value, length: int) -> np.ndarray:
    """Return a vector of finite numbers, which may be empty."""
    if np.ndim(value) != 1:
        raise ValueError(f"{name} must be a vector, shape ({length},), got shape {np.shape(value)}")
    if len(value) != length:
        raise ValueError(f"{name} must have length {length}, got length {len(value)}")
    return as_matrix(name, np.reshape(value, (1, -1)))[0] if length else np.empty(0)


def _as_image(name: str, value, height: int, width: int, channels: int | None = None):
    """Return an image (height, width, C) of finite numbers."""
    shape = np.shape(value)
    expected = (height, width, "C" if channels is None else channels)
    fits = len(shape) == 3 and shape[:2] == (height, width) and shape[2] > 0
    if not fits or channels not in (None, shape[2]):
        text = ", ".join(str(side) for side in expected)
        raise ValueError(f"{name} must have shape ({text}), got shape {shape}")
    return as_matrix(name, np.reshape(value, (height, -1))).reshape(shape)


def _planes(image: np.ndarray) -> np.ndarray:
    """Return channels one after the other, shape (C, height, padded width)."""
    height, width, channels = image.shape
    planes = np.zeros((channels, height, _padded(width)))
    planes[:, :, :width] = image.transpose(2, 0, 1)
    return planes


def _as_order(order, depths, count: int) -> np.ndarray:
    if order is not None and depths is not None:
        raise ValueError("order and depths must not both be given: an order is what depths give")
    if depths is not None:
        return np.argsort(_as_numbers("depths", depths, count), kind="stable")
    if order is None:
        return np.arange(count)
    order = np.asarray(order)
    if order.size == 0 and count == 0:
        return np.arange(0)
    if order.shape != (count,) or order.dtype.kind not in "iu":
        raise ValueError(
            f"order must hold {count} integers, got shape {order.shape} of dtype {order.dtype}"
        )
    order = order.astype(np.int64)
    if not np.array_equal(np.sort(order), np.arange(count)):
        raise ValueError(f"order must hold each of 0 .. {count - 1} once, got other numbers")
    return order


def _as_matrices(name: str, value, count: int, side: int) -> np.ndarray:
    """Return finite symmetric matrices (n, side, side)."""
    if np.size(value) == 0 and count == 0:
        return np.empty((0, side, side))
    if np.shape(value) != (count, side, side):
        raise ValueError(
            f"{name} must have shape ({count}, {side}, {side}), got shape {np.shape(value)}"
        )
    matrices = as_matrix(name, np.reshape(value, (count, -1))).reshape(count, side, side)
    gap = np.abs(matrices - matrices.transpose(0, 2, 1)).max(axis=(1, 2))
    wrong = gap > 1e-9 * np.abs(matrices).max(axis=(1, 2))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"{name} must be symmetric, got {matrices[i].tolist()} at index {i}")
    return matrices


def _conics(covariances, count: int) -> np.ndarray:
    """Return the inverses of covariances, shape (n, 3) for xx, xy, yy."""
    matrices = _as_matrices("covariances", covariances, count, 2)
    xx, yy = matrices[:, 0, 0], matrices[:, 1, 1]
    xy = 0.5 * (matrices[:, 0, 1] + matrices[:, 1, 0])
    least, largest = np.minimum(xx, yy), np.maximum(xx, yy)
    wrong = (least < _LEAST_VARIANCE) | (largest > _LARGEST_VARIANCE)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"covariances must have variances between {_LEAST_VARIANCE:g} and "
            f"{_LARGEST_VARIANCE:g} pixels^2, got {xx[i]:.3g} and {yy[i]:.3g} at index {i}"
        )
    determinant = xx * yy - xy * xy
    wrong = determinant <= _LEAST_DETERMINANT * xx * yy
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"covariances must be positive definite, got {matrices[i].tolist()} at index {i}"
        )
    return np.column_stack([yy, -xy, xx]) / determinant[:, None]


def _full_matrices(packed: np.ndarray) -> np.ndarray:
    """Return symmetric matrices (n, 2, 2) from xx, xy, yy."""
    return packed[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
