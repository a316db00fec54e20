"""Small scenes out of large ones: anchors, prototypes, graph filters, coded splats, view networks.

A scene of N splats is fitted to photographs from all sides, and then made smaller. Everything that
is trained here is a *model*: ``model(parameters, camera)`` returns a ``Drawing``, an image with the
way back to the parameters, and ``fit_model`` moves them down the squared error of the photographs.
The rasteriser is in ``kernellab.compute.splatting``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from scipy.special import log_ndtr, ndtr

from kernellab.compute.cameras import Camera
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
)
from kernellab.compute.clustering import weighted_kmeans
from kernellab.compute.networks import Adam, dense_network, network_pullback
from kernellab.compute.splatting import (
    SPACE_RATES,
    Fit,
    project,
    project_gradients,
    rasterise,
    rasterise_gradients,
    render_space,
    space_covariances,
    splat_weights,
    squared_error,
)
from kernellab.datasets import toy3d
from kernellab.datasets.toy_worlds import toy_scene
from kernellab.methods.gaussian_splatting.rbf_fields import grid_interpolation

# --- The scene ------------------------------------------------------------------------------------

KINDS = ("glossy", "matt", "blinds")


SIZE = 32  # pixels a side of the photographs that fits learn from

# Of Adam: a scene of hundreds of splats at 40 pixels bears larger steps than a large one.
RATES = {name: 4.0 * rate for name, rate in SPACE_RATES.items()}
FINE = {name: 2.0 * rate for name, rate in SPACE_RATES.items()}  # to repair what was fitted


class Photographs(NamedTuple):
    """Views of a scene: ``targets`` with ``cameras`` to learn from, ``unseen`` with
    ``unseen_cameras`` to be judged by, the ``background`` (3,), the toy ``scene`` and ``kind``."""

    targets: np.ndarray
    cameras: list
    unseen: np.ndarray
    unseen_cameras: list
    background: np.ndarray
    scene: object
    kind: str


def photographs(
    kind: str = "glossy", size: int = SIZE, views: int = 48, gloss: float = 0.8
) -> Photographs:
    """Return photographs of three balls on a floor from a ring of cameras; every fourth is unseen.

    "glossy": balls and floor shine (Phong's highlight with exponent 4), and what shines moves with
    the eye. "matt" is the same scene where each point has one colour. "blinds" puts a shell around
    the matt balls that hides them from two sides: its opacity is 0.05 + 0.85 cos(azimuth)^2.

    Parameters: kind, one of ``KINDS``; size of the images, pixels; views >= 4; gloss >= 0,
    the strength of the highlights of "glossy". Raises ValueError for other numbers.
    Cost: O(views size^2).
    """
    one_of("kind", kind, KINDS)
    gloss = nonnegative("gloss", gloss) if kind == "glossy" else 0.0
    views = integer("views", views, low=4)
    size = integer("size", size, low=4)
    world = toy_scene("glossy")
    for name in world.objects:
        world = world.changing(name, gloss=gloss, shininess=4.0, texture="plain")
    seen = toy3d(world, views, size, size, samples=2)
    images, cameras = seen.rgb, np.array(seen.cameras, dtype=object)
    if kind == "blinds":
        pairs = zip(images, cameras, strict=True)
        images = np.stack([_behind_blinds(image, camera) for image, camera in pairs])
    held = np.arange(views) % 4 == 3
    return Photographs(
        images[~held],
        list(cameras[~held]),
        images[held],
        list(cameras[held]),
        seen.rgb[0, 0, 0].copy(),
        world,
        kind,
    )


SHELL = (np.array([0.0, 0.1, 0.75]), 1.0)  # its centre and radius
SHELL_COLOUR = np.array([0.93, 0.77, 0.25])


def _behind_blinds(image, camera):
    """Return the image with a shell around the balls that is see-through from two sides."""
    origins, rays = camera.rays()
    centre, radius = SHELL
    gap = centre - origins
    along = (gap * rays).sum(axis=-1)
    miss = np.sqrt(np.maximum((gap**2).sum(axis=-1) - along**2, 0.0))
    eye = camera.centre_of_view - centre
    opacity = 0.05 + 0.85 * eye[0] ** 2 / (eye[0] ** 2 + eye[1] ** 2)
    cover = np.clip((radius - miss) / 0.08 + 0.5, 0.0, 1.0)[..., None] * opacity
    return (1.0 - cover) * image + cover * SHELL_COLOUR


def start_space(photos: Photographs, count: int, rng=0, opacity: float = 0.7) -> dict:
    """Return splats on the scene's surface to start a fit from: round, in the surface's colours.

    Parameters: photos; count n; rng, Generator or seed; opacity between 0 and 1. Returns parameters
    of ``render_space``. Raises ValueError for other numbers. Cost: O(n).
    """
    count, rng = integer("count", count, low=1), as_rng(rng)
    between("opacity", opacity, 1e-6, 1.0 - 1e-6)
    points, _ = photos.scene.surface(count, rng)
    points = points + 0.01 * rng.standard_normal(points.shape)
    colours = 0.8 * photos.scene.albedo(points)
    if photos.kind == "blinds":  # every other splat begins on the shell
        centre, radius = SHELL
        ways = rng.standard_normal((len(points[::2]), 3))
        points[::2] = centre + radius * ways / np.linalg.norm(ways, axis=1, keepdims=True)
        colours[::2] = SHELL_COLOUR
    return {
        "means": points,
        "quaternions": np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        "log_scales": np.full((count, 3), math.log(1.6 / math.sqrt(count))),
        "logits": np.full(count, math.log(opacity / (1.0 - opacity))),
        "features": colours,
    }


def camera_at(photos: Photographs, azimuth: float, size: int = 64) -> Camera:
    """Return a camera on the ring of the photographs' cameras, looking at the scene.

    Parameters: photos; azimuth, degrees, 0 at the first photograph; size of the image, pixels.
    Raises ValueError for other numbers. Cost: O(1).
    """
    scene = photos.scene
    around = math.radians(between("azimuth", azimuth, -3600.0, 3600.0) + scene.arc[0])
    lift = math.radians(scene.elevation)
    way = (math.cos(around) * math.cos(lift), math.sin(around) * math.cos(lift), math.sin(lift))
    eye = np.array(scene.target) + scene.radius * np.array(way)
    lens = {"field_of_view": scene.field_of_view}
    return Camera.look_at(eye, scene.target, height=size, width=size, **lens)


def photograph_from(photos: Photographs, camera: Camera) -> np.ndarray:
    """Return what a camera sees of the photographed scene, (height, width, 3). Cost: O(pixels)."""
    image = photos.scene.render(camera, samples=2).rgb
    return _behind_blinds(image, camera) if photos.kind == "blinds" else image


class Drawing(NamedTuple):
    """An ``image`` (height, width, C), and ``pullback``: derivatives of a loss in the image ->
    those in the parameters, by name. ``facts`` is what the model wants to tell, by name."""

    image: np.ndarray
    pullback: Callable
    facts: dict = {}


Model = Callable[[dict, Camera], Drawing]


def plain(background=None, blur: float = 0.3) -> Model:
    """Return the model of ``render_space``: each splat has one colour from wherever it is seen.

    Parameters: background (3,), None for zeros; blur, pixels^2, see ``project``.
    """

    def draw(parameters, camera):
        seen = render_space(parameters, camera, background=background, blur=blur)
        return Drawing(seen.image, lambda upstream: seen.gradients(upstream).parameters)

    return draw


class ViewLoss:
    """Squared error of a model's image, one photograph after the other: a loss for ``Fit``.

    Parameters: model; targets, V images; cameras, V; error, a function (image, target) -> (value,
    derivatives), perhaps ``haar_error``. After a call ``drawing`` is that of the call.
    Raises ValueError for no views, or another number of cameras.
    """

    def __init__(self, model: Model, targets, cameras, error=squared_error):
        if same_length("targets", targets, "cameras", cameras) == 0:
            raise ValueError("targets must hold at least one view, got none")
        self.model, self.targets, self.cameras = model, targets, cameras
        self.error, self.view, self.drawing = error, 0, None

    def __call__(self, parameters: dict) -> tuple[float, dict]:
        place = self.view % len(self.cameras)
        # Steps of 7 visit every view of a ring, and neighbours never follow each other.
        self.view += 7 if math.gcd(7, len(self.cameras)) == 1 else 1
        self.drawing = self.model(parameters, self.cameras[place])
        value, upstream = self.error(self.drawing.image, self.targets[place])
        return value, self.drawing.pullback(upstream)


def fit_model(
    model: Model, parameters: dict, photos: Photographs, rates: dict | None = None, **options
) -> Fit:
    """Return a fit of a model's parameters to photographs, ready to ``run``; a step sees one view.

    Parameters: model; parameters, arrays by name; photos; rates of Adam by name (None: ``RATES``);
    options of ``ViewLoss``. Raises ValueError as these do.
    """
    if rates is None:
        rates = {name: rate for name, rate in RATES.items() if name in parameters}
    return Fit(parameters, ViewLoss(model, photos.targets, photos.cameras, **options), rates)


def cool(fit: Fit, steps: int) -> Iterator[float]:
    """Take ``steps`` steps of a fit, whose rates fall to a tenth; yield the share done.

    Parameters: fit; steps >= 1. Raises ValueError for another number.
    """
    steps = integer("steps", steps, low=1)
    first = dict(fit.rates)
    for done in range(steps):
        for name, rate in first.items():
            fit.rates[name] = rate * 0.1 ** (done / steps)
        fit.step()
        yield (done + 1) / steps
    fit.rates.update(first)


def quality(model: Model, parameters: dict, photos: Photographs) -> float:
    """Return the PSNR in decibels over all unseen photographs together. Cost: that of drawing."""
    errors = [
        squared_error(np.clip(model(parameters, camera).image, 0.0, 1.0), image)[0]
        for camera, image in zip(photos.unseen_cameras, photos.unseen, strict=True)
    ]
    return -10.0 * math.log10(max(float(np.mean(errors)), 1e-30))


def floats(parameters: dict) -> int:
    """Return how many numbers must be kept."""
    return sum(np.size(array) for array in parameters.values())


def subset(parameters: dict, kept) -> dict:
    """Return the splats whose indices are given.

    Parameters: parameters by name, "means" among them; kept (m,), integers 0 .. n - 1. Raises
    ValueError for others. Cost: O(m).
    """
    kept, n = np.asarray(kept), len(_array(parameters, "means"))
    if kept.ndim != 1 or kept.dtype.kind not in "iu":
        raise ValueError(f"kept must be a vector of integers, got {kept.dtype} of {kept.shape}")
    if len(kept) and not 0 <= kept.min() <= kept.max() < n:
        raise ValueError(f"kept must lie between 0 and {n - 1}, got {kept.min()} to {kept.max()}")
    return {name: array[kept].copy() for name, array in parameters.items()}


def _array(parameters, name):
    """One array of the parameters, or a ValueError that names it."""
    if not isinstance(parameters, dict) or name not in parameters:
        raise ValueError(
            f"parameters must be a dict of arrays with {name!r}, got none of that name"
        )
    return parameters[name]


def importance(parameters: dict, photos: Photographs) -> np.ndarray:
    """Return what each splat gives to the photographs: the sum of a T over all pixels, (n,).

    Cost: that of drawing all views.
    """
    total = np.zeros(len(parameters["means"]))
    for camera in photos.cameras:
        total += splat_weights(render_space(parameters, camera).raster)
    return total


def mean_pull(parameters: dict, photos: Photographs) -> np.ndarray:
    """Return how strongly the photographs pull at each splat's place in the image, (n,).

    The mean over views of the sum over pixels of |dL/d place|: what decides where anchors grow.
    Cost: that of drawing all views and going back.
    """
    total = np.zeros(len(parameters["means"]))
    for image, camera in zip(photos.targets, photos.cameras, strict=True):
        seen = render_space(parameters, camera, background=photos.background)
        total += seen.gradients(squared_error(seen.image, image)[1]).raster.movement
    return total / len(photos.cameras)


class _Shown(NamedTuple):
    """Splats with opacities and colours as a camera sees them, and the way back."""

    raster: object
    projection: object
    kept: np.ndarray
    count: int

    def back(self, upstream):
        """Return derivatives in means, quaternions, log-scales, opacities and features."""
        slopes = rasterise_gradients(self.raster, upstream)
        space = project_gradients(self.projection, slopes.means, slopes.covariances)
        return [self._full(part) for part in (*space, slopes.opacities, slopes.features)]

    def _full(self, part):
        full = np.zeros((self.count, *part.shape[1:]))
        full[self.kept] = part
        return full


def _show(means, quaternions, log_scales, opacities, features, camera, background, blur, kept=None):
    """Draw splats whose opacities and features are given for this view."""
    count = len(means)
    kept = np.arange(count) if kept is None else kept
    seen = project(
        *(means[kept], quaternions[kept], log_scales[kept], camera), behind="hide", blur=blur
    )
    raster = rasterise(
        *(seen.means, seen.covariances, opacities[kept], features[kept]),
        height=camera.height,
        width=camera.width,
        depths=seen.depths,
        background=background,
    )
    return _Shown(raster, seen, kept, count)


def _directions(points, camera):
    """Return distances (n,) from the camera's eye, and unit directions (n, 3) away from it."""
    gap = points - camera.centre_of_view
    distance = np.linalg.norm(gap, axis=1)
    return distance, gap / distance[:, None]


_TURN = 2.0  # directions enter the networks this long: highlights are narrower than tanh is wide


def _layers(parameters: dict, name: str):
    return [(parameters[f"{name} w{i}"], parameters[f"{name} b{i}"]) for i in (1, 2)]


def _named(layers, name: str) -> dict:
    named = {}
    for i, (weights, biases) in enumerate(layers, 1):
        named[f"{name} w{i}"], named[f"{name} b{i}"] = weights, biases
    return named


# --- 1. Anchors that emit splats ------------------------------------------------------------------
# Paper: scaffold-gs (Lu et al. 2024, arXiv:2312.00109)


def voxel_anchors(points, side: float) -> np.ndarray:
    """Return one anchor for each cell that holds points: the distinct round(p/side) side, (m, 3).

    Parameters: points (n, 3); side > 0 of a cell, units of the world. Raises ValueError for others.
    Cost: O(n log n). Paper: scaffold-gs (Lu et al. 2024, arXiv:2312.00109), equation 4.
    """
    points, side = as_matrix("points", points, columns=3), positive("side", side)
    # floor(x + 1/2) and not round: np.round takes halves to the even neighbour.
    return np.unique(np.floor(points / side + 0.5), axis=0) * side


def grow_anchors(anchors, places, slopes, side: float, level: int = 1, threshold: float = 1e-4):
    """Return anchors to add at one level of growth, (m, 3).

    Splats whose mean slope is above threshold 2^(level - 1) vote for their cell of side
    side/4^(level - 1); a cell that has an anchor already gets none.

    Parameters: anchors (a, 3); places (n, 3) of splats; slopes (n,), mean lengths of the image
    loss's derivative in their places; side > 0; level >= 1; threshold > 0. Raises ValueError for
    other numbers. Cost: O((a + n) log(a + n)).
    Paper: scaffold-gs (Lu et al. 2024, arXiv:2312.00109), section 3.3.
    """
    anchors, places = as_matrix("anchors", anchors, columns=3), as_matrix("places", places, 3)
    slopes = as_vector("slopes", slopes, length=len(places))
    level = integer("level", level, low=1, high=20)
    side = positive("side", side) / 4 ** (level - 1)
    wanted = slopes > positive("threshold", threshold) * 2 ** (level - 1)
    if not wanted.any():
        return np.empty((0, 3))
    cells = np.unique(np.floor(places[wanted] / side + 0.5), axis=0)
    taken = {tuple(cell) for cell in np.floor(anchors / side + 0.5)}
    free = [cell for cell in cells if tuple(cell) not in taken]
    return np.array(free).reshape(-1, 3) * side


def start_anchors(
    photos: Photographs, count: int, splats: int = 4, features: int = 8, width: int = 16, rng=0
) -> dict:
    """Return parameters of ``anchor_model``: anchors on the scene's surface, and four networks.

    The cells' side is chosen by bisection so that about ``count`` of them are occupied.

    Parameters: photos; count of anchors; splats k an anchor; features of an anchor; width of the
    hidden layers; rng. Raises ValueError for other numbers. Cost: O(20 n log n), n = 4000 points.
    Paper: scaffold-gs (Lu et al. 2024, arXiv:2312.00109)
    """
    count, splats = integer("count", count, low=1), integer("splats", splats, low=1)
    features, rng = integer("features", features, low=1), as_rng(rng)
    points, _ = photos.scene.surface(4000, rng)
    low, high = 0.01, 4.0
    for _ in range(24):
        side = math.sqrt(low * high)
        low, high = (side, high) if len(voxel_anchors(points, side)) > count else (low, side)
    anchors = voxel_anchors(points, side)
    # An anchor is a cell's centre; the paper keeps it there, and only its splats move.
    near = points[cKDTree(points).query(anchors)[1]]
    own = 0.3 * rng.standard_normal((len(anchors), features))
    shade = np.clip(photos.scene.albedo(near), 0.02, 0.98)[:, :features]
    own[:, :3] = np.log(shade / (1.0 - shade))
    parameters = {
        "anchors": anchors,
        "features": own,
        "log_sizes": np.full((len(anchors), 3), math.log(0.7 * side)),
        "offsets": 0.7 * rng.uniform(-1, 1, (len(anchors), splats, 3)),
    }
    start = {
        "opacity": np.full(splats, 0.8),
        "colour": np.zeros(3),
        "size": np.full(3 * splats, -0.5),
        "turn": np.tile([1.0, 0.0, 0.0, 0.0], splats),
    }
    for name, outputs in (("opacity", 1), ("colour", 3), ("size", 3), ("turn", 4)):
        layers = dense_network([features + 4, width, outputs * splats], rng)
        layers[-1] = (0.5 * layers[-1][0], np.resize(start[name], outputs * splats).astype(float))
        parameters |= _named(layers, name)
    return parameters


ANCHOR_RATES = {"features": 0.1, "log_sizes": 0.04, "offsets": 0.06} | {
    f"{name} {kind}{i}": 0.03
    for name in ("opacity", "colour", "size", "turn")
    for kind in "wb"
    for i in (1, 2)
}


class Emitted(NamedTuple):
    """The splats that anchors emit for one camera, (n, k, ...) each, and what made them."""

    means: np.ndarray
    quaternions: np.ndarray
    log_scales: np.ndarray
    opacities: np.ndarray
    features: np.ndarray
    pullbacks: dict


def emit(parameters: dict, camera: Camera, looks: bool = True) -> Emitted:
    """Return the splats that anchors emit for a camera: sigma are the networks' outputs.

    mean = x + O l, opacity = tanh(.), colour = sigmoid(.), scales = l sigmoid(.), turn = (.); each
    network sees the anchor's feature f, its distance from the eye and the direction.

    Parameters: parameters as from ``start_anchors``; camera; looks, False to hide distance and
    direction from the networks. Cost: O(n width (features + 11 k)).
    Paper: scaffold-gs (Lu et al. 2024, arXiv:2312.00109), equations 5 to 8.
    """
    anchors, offsets = parameters["anchors"], parameters["offsets"]
    count, splats, _ = offsets.shape
    distance, direction = _directions(anchors, camera)
    seen = np.column_stack([parameters["features"], 0.2 * distance, _TURN * direction])
    if not looks:
        seen[:, -4:] = 0.0
    raw, pullbacks = {}, {}
    for name in ("opacity", "colour", "size", "turn"):
        raw[name], pullbacks[name] = network_pullback(_layers(parameters, name), seen)
    sizes = parameters["log_sizes"][:, None]
    return Emitted(
        anchors[:, None] + offsets * np.exp(sizes),
        raw["turn"].reshape(count, splats, 4),
        sizes - np.logaddexp(0.0, -raw["size"].reshape(count, splats, 3)),
        np.tanh(raw["opacity"]),
        _sigmoid(raw["colour"]).reshape(count, splats, 3),
        pullbacks,
    )


def anchor_model(
    background=None, threshold: float = 0.0, volume: float = 0.0, *, looks=True, blur: float = 0.3
) -> Model:
    """Return the model in which anchors emit splats for each camera anew.

    Only splats with an opacity above the threshold are drawn. ``volume`` weighs the sum of the
    splats' volumes, prod(scales), which joins the loss. Without ``looks`` the networks do not see
    where the camera is: each anchor's splats are the same from everywhere.

    Parameters: background (3,); threshold, 0 to 1; volume >= 0; looks; blur, see ``project``.
    ``facts`` of its drawings are "active", how many splats are drawn, and "emitted". Raises
    ValueError for other numbers.
    Paper: scaffold-gs (Lu et al. 2024, arXiv:2312.00109)
    """
    between("threshold", threshold, 0.0, 1.0)
    nonnegative("volume", volume)

    def draw(parameters, camera):
        emitted = emit(parameters, camera, looks)
        count, splats, _ = emitted.means.shape
        flat = [part.reshape(count * splats, -1) for part in emitted[:5]]
        opacities = flat[3][:, 0]
        kept = np.flatnonzero(opacities > threshold)
        shown = _show(*flat[:3], opacities, flat[4], camera, background, blur, kept)

        def pullback(upstream):
            means, turns, scales, opaque, colours = (
                part.reshape(count, splats, -1) for part in shown.back(upstream)
            )
            if volume:
                scales = scales + volume * np.exp(emitted.log_scales.sum(axis=2))[:, :, None]
            sizes = np.exp(parameters["log_sizes"])[:, None]
            share = np.exp(emitted.log_scales - parameters["log_sizes"][:, None])
            found = {
                "anchors": np.zeros_like(parameters["anchors"]),
                "offsets": means * sizes,
                "log_sizes": (scales + means * parameters["offsets"] * sizes).sum(axis=1),
            }
            raw = {
                "opacity": opaque[:, :, 0] * (1.0 - emitted.opacities**2),
                "colour": colours * emitted.features * (1.0 - emitted.features),
                "size": scales * (1.0 - share),
                "turn": turns,
            }
            inputs = 0.0
            for name, slopes in raw.items():
                layers, back = emitted.pullbacks[name](slopes.reshape(count, -1))
                found |= _named(layers, name)
                inputs = inputs + back
            found["features"] = inputs[:, : parameters["features"].shape[1]]
            return found

        return Drawing(shown.raster.image, pullback, {"active": len(kept), "emitted": emitted})

    return draw


def _sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)


# --- 2. Prototypes --------------------------------------------------------------------------------
# Paper: protogs (Gao et al. 2025, arXiv:2503.17486)


def splat_rows(parameters: dict, place: float = 1.0) -> np.ndarray:
    """Return the attributes of splats as rows to be clustered, each of mean 0 and variance 1.

    Place, log-scales, opacity's logit and colour; ``place`` weighs the places. Turns are left out:
    a quaternion and its negative are the same turn, and their mean is none.

    Parameters: parameters of ``render_space``; place > 0. Returns (n, 10). Raises ValueError for
    another weight or a missing array. Cost: O(n).
    Paper: protogs (Gao et al. 2025, arXiv:2503.17486)
    """
    blocks = [
        positive("place", place) * _white(_array(parameters, "means")),
        _white(np.sort(_array(parameters, "log_scales"), axis=1)),
        _white(_array(parameters, "logits")[:, None]),
        _white(_array(parameters, "features")),
    ]
    return np.hstack(blocks)


def _white(rows):
    return (rows - rows.mean(axis=0)) / np.maximum(rows.std(), 1e-9)


def merge_splats(parameters: dict, label, count: int, spread: float = 0.0) -> dict:
    """Return one splat a group: means of place, colour and logit, and of the covariance matrix.

    ``spread`` adds that share of the scatter of the group's places to its covariance; 1 matches
    the moments of the group's mixture.

    Parameters: parameters of ``render_space``; label (n,), integers 0 .. count - 1, each of which
    occurs; spread >= 0. Raises ValueError for other labels. Cost: O(n).
    Paper: protogs (Gao et al. 2025, arXiv:2503.17486)
    """
    label, count = np.asarray(label), integer("count", count, low=1)
    n = len(parameters["means"])
    if label.shape != (n,) or label.dtype.kind not in "iu":
        raise ValueError(f"label must hold {n} integers, got shape {label.shape}")
    if n == 0 or label.min() < 0 or label.max() >= count:
        raise ValueError(f"label must lie between 0 and {count - 1}, got others")
    size = np.bincount(label, minlength=count)
    if not size.all():
        raise ValueError(f"label must name each group, got none of group {int(size.argmin())}")
    chosen = sparse.csr_matrix((1.0 / size[label], (label, np.arange(n))), shape=(count, n))
    means = chosen @ parameters["means"]
    gap = parameters["means"] - means[label]
    covariances = space_covariances(parameters["quaternions"], parameters["log_scales"])
    covariances = covariances + nonnegative("spread", spread) * gap[:, :, None] * gap[:, None, :]
    covariances = (chosen @ covariances.reshape(n, 9)).reshape(count, 3, 3)
    values, axes = np.linalg.eigh(covariances)
    axes[:, :, 0] *= np.linalg.det(axes)[:, None]
    return {
        "means": means,
        "quaternions": Rotation.from_matrix(axes).as_quat()[:, [3, 0, 1, 2]],
        "log_scales": 0.5 * np.log(np.maximum(values, 1e-12)),
        "logits": chosen @ parameters["logits"],
        "features": chosen @ parameters["features"],
    }


class Prototypes(NamedTuple):
    """``parameters`` of the prototypes, the ``label`` (n,) of each splat, its ``tile`` (n,), and
    ``distances``, how many squared distances a round of k-means takes."""

    parameters: dict
    label: np.ndarray
    tile: np.ndarray
    distances: int


def prototypes(
    parameters: dict, fraction: float, anchors=None, *, place: float = 1.0, spread=0.0, rng=0
) -> Prototypes:
    """Return prototypes of splats: k-means of their attributes, tile by tile.

    A tile is what is nearest to one anchor; it gets round(fraction x its splats) prototypes, one
    at least.

    Parameters: parameters of ``render_space``; fraction, above 0 and at most 1; anchors (a, 3) or
    None for one tile; place, weight of the places; spread, see ``merge_splats``; rng. Raises
    ValueError for other numbers. Cost: O(20 x sum over tiles of n_t K_t).
    Paper: protogs (Gao et al. 2025, arXiv:2503.17486)
    """
    rows, rng = splat_rows(parameters, place), as_rng(rng)
    fraction = between("fraction", positive("fraction", fraction), 0.0, 1.0)
    tile = np.zeros(len(rows), dtype=int)
    if anchors is not None:
        tile = cKDTree(as_matrix("anchors", anchors, columns=3)).query(parameters["means"])[1]
    label, count, distances = np.empty(len(rows), dtype=np.int64), 0, 0
    for number in np.unique(tile):
        members = np.flatnonzero(tile == number)
        groups = max(1, round(fraction * len(members)))
        if groups == len(members):
            found = np.arange(groups)
        else:
            _, found, _ = weighted_kmeans(rows[members], np.ones(len(members)), groups, rng)
        # A group that lost all its members is dropped.
        kept, found = np.unique(found, return_inverse=True)
        label[members] = count + found
        count, distances = count + len(kept), distances + groups * len(members)
    merged = merge_splats(parameters, label, count, spread)
    return Prototypes(merged, label, tile, distances)


# --- 3. Graph frequencies, and a network that repairs ---------------------------------------------
# Paper: spectrally-pruned-gaussian-fields-with-neural (Yang et al. 2024, arXiv:2405.00676)


def neighbour_graph(points, neighbours: int = 8, width: float = 1.0) -> sparse.csr_matrix:
    """Return the weights of a graph on points: W_ij = exp(-|x_i - x_j|^2 / (2 s^2)), (n, n).

    Joined are i and j when one is among the ``neighbours`` nearest of the other; s is ``width``
    times the median distance of joined points.

    Parameters: points (n, d), n >= 2; neighbours >= 1 (n - 1 at most are used); width > 0. Raises
    ValueError for others. Cost: O(n log n).
    Paper: spectrally-pruned-gaussian-fields-with-neural (Yang et al. 2024, arXiv:2405.00676)
    """
    points = as_matrix("points", points, min_rows=2)
    neighbours = min(integer("neighbours", neighbours, low=1), len(points) - 1)
    width = positive("width", width)
    rows, other, distance = _neighbours(points, neighbours)
    s = width * max(float(np.median(distance)), 1e-12)
    weights = np.exp(-0.5 * np.minimum(distance / s, 30.0) ** 2)
    half = sparse.csr_matrix((weights, (rows, other)), shape=(len(points),) * 2)
    return half.maximum(half.T).tocsr()


def _neighbours(points, count):
    """Return pairs (i, one of its nearest others) and their distances, (n count,) each."""
    distance, other = cKDTree(points).query(points, k=np.arange(1, count + 2))
    itself = other == np.arange(len(points))[:, None]
    # Of several equal points, one may be found often enough to be missing in its own list.
    itself[~itself.any(axis=1), -1] = True
    rows = np.repeat(np.arange(len(points)), count)
    return rows, other[~itself], distance[~itself]


def graph_filter(graph, signal, response, degree: int = 12) -> np.ndarray:
    """Return the signal with its graph frequencies weighed: h(L) f, L = I - D^-1 W.

    The eigenvalues of L are graph frequencies, 0 (constant) to 2 (each unlike its neighbours).
    h is replaced by its Chebyshev series up to ``degree``, so that only products with L are needed:
    a polynomial h is exact. L is similar to the symmetric I - D^-1/2 W D^-1/2.

    Parameters: graph (n, n), symmetric weights >= 0, each point joined to another; signal (n, C);
    response h, a function of frequencies in [0, 2]; degree >= 1. Raises ValueError for others.
    Cost: O(degree x edges x C).
    Source: Hammond, Vandergheynst and Gribonval 2011 (arXiv:0912.3848).
    Paper: spectrally-pruned-gaussian-fields-with-neural (Yang et al. 2024, arXiv:2405.00676)
    """
    degree = integer("degree", degree, low=1, high=200)
    signal = as_matrix("signal", signal)
    walk = _walk(graph, len(signal))
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    values = np.asarray(response(1.0 + nodes), dtype=float)
    orders = np.arange(degree + 1)[:, None]
    coefficients = np.cos(orders * np.arccos(nodes)) @ values * (2.0 / (degree + 1))
    coefficients[0] *= 0.5
    # With frequencies 1 + t, t in [-1, 1]: L - I = -D^-1 W.
    before, now = signal, -(walk @ signal)
    total = coefficients[0] * before + coefficients[1] * now
    for c in coefficients[2:]:
        before, now = now, -2.0 * (walk @ now) - before
        total += c * now
    return total


def _walk(graph, count: int) -> sparse.csr_matrix:
    """Return D^-1 W."""
    graph = sparse.csr_matrix(graph)
    if graph.shape != (count, count):
        raise ValueError(f"graph must have shape ({count}, {count}), got {graph.shape}")
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    if not np.isfinite(degrees).all() or (graph.nnz and graph.data.min() < 0):
        raise ValueError("graph must hold finite weights >= 0, got others")
    if degrees.min() <= 0:
        raise ValueError(f"graph must join each point to another, got none at {degrees.argmin()}")
    return sparse.diags(1.0 / degrees) @ graph


def highpass(frequency):
    """h = frequency: what is left of a signal when its neighbours' mean is taken away."""
    return np.asarray(frequency, dtype=float)


def splat_scores(parameters: dict, neighbours: int = 8, response=highpass) -> np.ndarray:
    """Return how much of each splat's colour, opacity and size its neighbours cannot predict, (n,).

    The length of each row of h(L) f, with the attributes f at variance 1.

    Parameters: parameters of ``render_space``; neighbours; response h. Cost: O(n log n).
    Paper: spectrally-pruned-gaussian-fields-with-neural (Yang et al. 2024, arXiv:2405.00676)
    """
    graph = neighbour_graph(parameters["means"], neighbours)
    return np.linalg.norm(graph_filter(graph, splat_rows(parameters)[:, 3:], response), axis=1)


def keep_bands(scores, count: int, high: float = 0.5) -> np.ndarray:
    """Return the indices of ``count`` splats: a share ``high`` of the largest scores, the rest of
    the smallest, sorted.

    Parameters: scores (n,); count, 1 to n; high, 0 to 1. Raises ValueError for others.
    Cost: O(n log n).
    Paper: spectrally-pruned-gaussian-fields-with-neural (Yang et al. 2024, arXiv:2405.00676)
    """
    order = np.argsort(-as_vector("scores", scores), kind="stable")
    count = integer("count", count, low=1, high=len(order))
    top = round(between("high", high, 0.0, 1.0) * count)
    return np.sort(np.concatenate([order[:top], order[len(order) - count + top :]]))


def start_head(parameters: dict, channels: int = 6, rng=0) -> dict:
    """Return the parameters of ``head_model``: splats with more channels, and a 3 x 3 convolution.

    The first three channels are the colours, the others begin near 0, and so does the convolution.

    Parameters: parameters of ``render_space``; channels >= 4; rng. Raises ValueError for others.
    Paper: spectrally-pruned-gaussian-fields-with-neural (Yang et al. 2024, arXiv:2405.00676)
    """
    channels, rng = integer("channels", channels, low=4), as_rng(rng)
    extra = 0.1 * rng.standard_normal((len(parameters["means"]), channels - 3))
    filters = 0.02 * rng.standard_normal((9 * channels, 3))
    found = dict(parameters) | {"features": np.hstack([parameters["features"], extra])}
    return found | {"filters": filters, "shift": np.zeros(3)}


HEAD_RATES = dict(FINE) | {"filters": 0.01, "shift": 0.01}


def head_model(background=None) -> Model:
    """Return the model that repairs the image of splats: colours + convolution of all channels.

    I = F[:3] + sum over the 3 x 3 neighbours of filters . F + shift, with the rasterised channels
    F; beyond the border F is continued.

    Parameters: background (3,), None for zeros; further channels have 0. Parameters of the model
    are those of ``start_head``.
    Paper: spectrally-pruned-gaussian-fields-with-neural (Yang et al. 2024, arXiv:2405.00676)
    """

    def draw(parameters, camera):
        splats = {k: v for k, v in parameters.items() if k not in ("filters", "shift")}
        behind = np.zeros(splats["features"].shape[1])
        behind[:3] = 0.0 if background is None else background
        seen = render_space(splats, camera, background=behind)
        height, width, channels = seen.image.shape
        windows = _windows(seen.image).reshape(height * width, 9 * channels)
        repair = (windows @ parameters["filters"] + parameters["shift"]).reshape(height, width, 3)

        def pullback(upstream):
            flat = upstream.reshape(-1, 3)
            to_image = _windows_back(
                (flat @ parameters["filters"].T).reshape(height, width, 9, channels)
            )
            to_image[..., :3] += upstream
            found = dict(seen.gradients(to_image).parameters)
            return found | {"filters": windows.T @ flat, "shift": flat.sum(axis=0)}

        return Drawing(seen.image[..., :3] + repair, pullback, {"repair": repair})

    return draw


def _windows(image):
    """Return the 3 x 3 surroundings of each pixel, (height, width, 9, C)."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = image.shape[:2]
    return np.stack(
        [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=2
    )


def _windows_back(slopes):
    """The transpose of ``_windows``."""
    height, width, _, channels = slopes.shape
    padded = np.zeros((height + 2, width + 2, channels))
    for place in range(9):
        i, j = divmod(place, 3)
        padded[i : i + height, j : j + width] += slopes[:, :, place]
    padded[1] += padded[0]
    padded[-2] += padded[-1]
    padded[:, 1] += padded[:, 0]
    padded[:, -2] += padded[:, -1]
    return padded[1:-1, 1:-1]


# --- 4. Context for an entropy coder --------------------------------------------------------------
# Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221)

CONTEXTS = ("independent", "position", "tri-plane", "tri-plane + neighbours")


_CODED = {"log_scales": 3, "quaternions": 4, "logits": 1, "features": 3}  # and how many numbers


class Rows(NamedTuple):
    """What is coded of splats, as ``values`` (n, 11) of mean 0 and variance 1, with the ``shift``
    and ``scale`` (11,) that make it attributes again, and the places ``means`` (n, 3)."""

    values: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    means: np.ndarray

    def parameters(self, values) -> dict:
        """Return the splats whose coded numbers are ``values``."""
        split = np.split(self.shift + self.scale * values, np.cumsum(list(_CODED.values()))[:-1], 1)
        found = dict(zip(_CODED, split, strict=True)) | {"means": self.means}
        return found | {"logits": found["logits"][:, 0]}


def coded_rows(parameters: dict) -> Rows:
    """Return what is coded of each splat: log-scales, quaternion, logit of the opacity, colour.

    Quaternions get length 1 and a positive largest number. Places are left out: they are sent
    first, and are the context.

    Parameters: parameters of ``render_space``. Cost: O(n).
    Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221)
    """
    turns = parameters["quaternions"]
    turns = turns / np.linalg.norm(turns, axis=1, keepdims=True)
    largest = np.take_along_axis(turns, np.abs(turns).argmax(axis=1)[:, None], axis=1)
    rows = _side_by_side(parameters | {"quaternions": turns * np.sign(largest)})
    shift, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-9)
    return Rows((rows - shift) / scale, shift, scale, parameters["means"])


def _side_by_side(parameters):
    return np.hstack([np.reshape(parameters[name], (-1, width)) for name, width in _CODED.items()])


def quantise(rows, step: float) -> np.ndarray:
    """Return the integers nearest to rows / step, as in ``rows``'s shape. Raises ValueError for a
    step <= 0, or so small that the integers pass 2^53. Cost: O(size)."""
    with np.errstate(over="ignore"):
        steps = np.floor(as_matrix("rows", rows) / positive("step", step) + 0.5)
    if np.abs(steps).max() > 2.0**53:
        raise ValueError(f"step must be so large that rows / step stays below 2^53, got {step:g}")
    return steps.astype(np.int64)


def rate_bits(x, mean, sigma, step: float):
    """Return the bits that an ideal coder pays for x, quantised in steps, under a Gaussian.

    -log2 [Phi((x + step/2 - mean)/sigma) - Phi((x - step/2 - mean)/sigma)]

    Parameters: x, mean, sigma > 0, arrays that fit together; step > 0. Returns their shape; finite
    for any x. Raises ValueError for numbers that are not finite. Cost: O(size).
    Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221)
    """
    return rate_slopes(x, mean, sigma, step)[0]


def rate_slopes(x, mean, sigma, step: float):
    """Return ``rate_bits`` and its derivatives in the mean and in log(sigma); as there."""
    x, mean, sigma = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (x, mean, sigma)))
    for name, array in (("x", x), ("mean", mean), ("sigma", sigma)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    if sigma.size and sigma.min() <= 0:
        raise ValueError(f"sigma must be positive, got {sigma.min():g}")
    half, gap = 0.5 * positive("step", step), x - mean
    # The Gaussian is even: on the left side differences of Phi do not lose their digits.
    side = np.where(gap > 0, -1.0, 1.0)
    upper, lower = (side * gap + half) / sigma, (side * gap - half) / sigma
    top = log_ndtr(upper)
    log_p = top + np.log1p(-np.exp(np.minimum(log_ndtr(lower) - top, -1e-16)))
    constant = 0.5 * math.log(2.0 * math.pi)
    at_upper = np.exp(-0.5 * upper**2 - constant - log_p)
    at_lower = np.exp(-0.5 * lower**2 - constant - log_p)
    bit = 1.0 / math.log(2.0)
    to_mean = side * (at_upper - at_lower) / sigma
    to_log_sigma = at_upper * upper - at_lower * lower
    return -log_p * bit, to_mean * bit, to_log_sigma * bit


class Context(NamedTuple):
    """What a context predicts for each number: ``mean`` and ``sigma`` (n, A); ``bits`` (n, A);
    ``side``, how many numbers the decoder needs besides."""

    mean: np.ndarray
    sigma: np.ndarray
    bits: np.ndarray
    side: int


class ContextModel:
    """A predictor of attributes from places, trained to make their code short.

    Each place is looked up in three planes (xy, yz, xz) of side^2 cells with ``channels`` numbers,
    bilinearly; with neighbours, the mean of what their places look up joins. A network takes that,
    and sines and cosines of the place, to a mean and a log sigma for each attribute.

    Parameters
    ----------
    places : (n, 3); values : (n, A), as they are decoded, multiples of the step; step > 0
    kind : one of ``CONTEXTS``
    side, channels, neighbours, width : of the planes, the neighbourhood and the network
    learn : (n,) booleans, the splats to learn from; None: all
    rng : Generator or seed

    Raises ValueError for other shapes or numbers. Cost: O(n (channels + width A)) a step.
    Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221)
    """

    def __init__(
        self, places, values, step, kind="tri-plane", *, side=8, channels=4, neighbours=4,
        width=16, learn=None, rng=0,
    ):  # fmt: skip
        places = as_matrix("places", places, columns=3, min_rows=2)
        self.values = as_matrix("values", values, rows=len(places))
        self.step, self.kind = positive("step", step), one_of("kind", kind, CONTEXTS)
        rng, count = as_rng(rng), self.values.shape[1]
        low, high = places.min(axis=0), places.max(axis=0)
        unit = (places - low) / np.maximum(high - low, 1e-12)
        self._learn = np.ones(len(places), dtype=bool) if learn is None else np.asarray(learn)
        if self._learn.shape != (len(places),) or self._learn.dtype != bool:
            raise ValueError(f"learn must hold {len(places)} booleans, got {self._learn.shape}")
        known = self.values[self._learn]
        self._base = [known.mean(axis=0), np.log(np.maximum(known.std(axis=0), 0.1 * self.step))]
        waves = [np.pi * k * unit for k in (1, 2)]
        self._fixed = np.hstack([unit, *map(np.sin, waves), *map(np.cos, waves)])
        self._look = [
            sparse.csr_matrix(grid_interpolation(unit[:, axes], integer("side", side, low=2)))
            for axes in ([0, 1], [1, 2], [0, 2])
        ]
        neighbours = min(integer("neighbours", neighbours, low=1), len(places) - 1)
        rows, other, _ = _neighbours(places, neighbours)
        self._near = sparse.csr_matrix(
            (np.full(len(rows), 1.0 / neighbours), (rows, other)), shape=(len(places),) * 2
        )
        inputs, self._planes, self._layers = self._fixed.shape[1], [], []
        if kind.startswith("tri-plane"):
            channels = integer("channels", channels, low=1)
            self._planes = [0.1 * rng.standard_normal((side * side, channels)) for _ in range(3)]
            inputs += 3 * channels * (2 if kind.endswith("neighbours") else 1)
        if kind != "independent":
            self._layers = dense_network([inputs, integer("width", width, low=1), 2 * count], rng)
            self._layers[-1] = (0.1 * self._layers[-1][0], self._layers[-1][1])
        self._adams = [Adam(self._layers or self._base), Adam(self._planes)]

    @property
    def side_numbers(self) -> int:
        """How many numbers the decoder needs besides the code."""
        arrays = [*self._planes, *(array for layer in self._layers for array in layer)]
        return sum(array.size for array in arrays) + 2 * self.values.shape[1]

    def _predict(self):
        blocks = [self._fixed]
        if self._planes:
            looked = np.hstack([a @ p for a, p in zip(self._look, self._planes, strict=True)])
            blocks.append(looked)
            if self.kind.endswith("neighbours"):
                blocks.append(self._near @ looked)
        if not self._layers:
            return *(np.broadcast_to(base, self.values.shape) for base in self._base), None
        out, pullback = network_pullback(self._layers, np.hstack(blocks))
        count = self.values.shape[1]
        return self._base[0] + out[:, :count], self._base[1] + out[:, count:], pullback

    def context(self, values=None) -> Context:
        """Return what the context predicts now, and what values (None: the model's own) cost."""
        mean, log_sigma, _ = self._predict()
        sigma = np.exp(np.clip(log_sigma, -8.0, 8.0))
        values = self.values if values is None else values
        return Context(mean, sigma, rate_bits(values, mean, sigma, self.step), self.side_numbers)

    def learn(self, values, pace: float = 1.0) -> tuple[float, np.ndarray]:
        """Take a step of Adam down the bits of values (n, A), of the splats to learn from.

        Returns bits a number before the step, and their derivatives in the values. ``pace``
        shortens the step.
        """
        mean, log_sigma, pullback = self._predict()
        sigma = np.exp(np.clip(log_sigma, -8.0, 8.0))
        bits, to_mean, to_sigma = rate_slopes(values, mean, sigma, self.step)
        share = self._learn[:, None] / (self._learn.sum() * self.values.shape[1])
        to_mean, to_sigma = to_mean * share, to_sigma * share
        slopes = np.hstack([to_mean, to_sigma])
        if pullback is None:
            self._adams[0].step = 0.01 * pace
            self._adams[0].update(list(np.split(slopes.sum(axis=0), 2)))
        else:
            layers, inputs = pullback(slopes)
            self._adams[0].step = 0.01 * pace
            self._adams[0].update(layers)
            if self._planes:
                looked, first = inputs[:, self._fixed.shape[1] :], 3 * self._planes[0].shape[1]
                if looked.shape[1] > first:
                    looked = looked[:, :first] + self._near.T @ looked[:, first:]
                self._adams[1].step = 0.02 * pace
                pairs = zip(self._look, np.hsplit(looked, 3), strict=True)
                self._adams[1].update([look.T @ slope for look, slope in pairs])
        return float((bits * share).sum()), -to_mean

    def train(self, steps: int = 300) -> Iterator[float]:
        """Learn to predict the values as they are; yield bits a number before each step."""
        for done in range(integer("steps", steps, low=0)):
            yield self.learn(self.values, 0.1 ** (done / steps))[0]


class PricedLoss:
    """Squared error of the photographs + price x bits a number: a loss for ``Fit``.

    Each call adds uniform noise of one quantisation step to what is coded, as rounding will, draws
    it, and lets the context learn from it.

    Parameters: rows, the splats' numbers and how to read them; context, a ContextModel on their
    places; photos; price >= 0; rng. After a call ``bits`` is that of the call. Raises ValueError
    for a negative price. Cost: that of drawing and of ``ContextModel.learn``.
    Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221)
    """

    def __init__(self, rows: Rows, context: ContextModel, photos, price: float = 0.0, rng=0):
        self.rows, self.context, self.price = rows, context, nonnegative("price", price)
        self._loss = ViewLoss(plain(photos.background), photos.targets, photos.cameras)
        self._rng, self.bits = as_rng(rng), math.nan

    def __call__(self, parameters: dict) -> tuple[float, dict]:
        step = self.context.step
        values = parameters["values"] + step * self._rng.uniform(-0.5, 0.5, self.rows.values.shape)
        error, found = self._loss(self.rows.parameters(values))
        self.bits, slopes = self.context.learn(values)
        slopes = _side_by_side(found) * self.rows.scale + self.price * slopes
        return error + self.price * self.bits, {"values": slopes}


def priced_fit(
    parameters: dict,
    photos: Photographs,
    price: float,
    *,
    step: float = 0.25,
    kind: str = "tri-plane",
    places=None,
    rng=0,
    **sizes,
) -> Fit:
    """Return a fit of splats to photographs that pays for its bits, ready to ``run``.

    Its parameter is "values" (n, 11), see ``Rows``; its loss is a PricedLoss.

    Parameters: parameters of ``render_space``; photos; price of a bit a number, in squared error;
    step of quantisation, in standard deviations; kind and sizes of the ContextModel; places (n, 3)
    that the context is told (None: where the splats are); rng. Raises ValueError as these do.
    Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221)
    """
    rows = coded_rows(parameters)
    places = rows.means if places is None else places
    context = ContextModel(places, rows.values, step, kind, rng=rng, **sizes)
    loss = PricedLoss(rows, context, photos, price, rng)
    return Fit({"values": rows.values}, loss, {"values": 0.05})


class Coded(NamedTuple):
    """What a receiver gets: the ``parameters``, the ``symbols`` (n, 11), their ``context``, the
    ``bits`` of the code, and ``side`` bits for the decoder at 8 a number."""

    parameters: dict
    symbols: np.ndarray
    context: Context
    bits: float
    side: int


def coded(fit: Fit) -> Coded:
    """Return the splats of a ``priced_fit`` as they arrive. Cost: O(n)."""
    loss = fit.loss
    symbols = quantise(fit.parameters["values"], loss.context.step)
    values = symbols * loss.context.step
    context = loss.context.context(values)
    arrives = loss.rows.parameters(values)
    return Coded(arrives, symbols, context, float(context.bits.sum()), 8 * context.side)


_PRECISION = 24  # bits of a probability
_WORD = 32  # bits that are sent at once


def encode(symbols, mean, sigma) -> list[int]:
    """Return words of 32 bits that hold integers, coded under rounded Gaussians.

    Asymmetric numeral systems: a symbol with frequency f of 2^24, beginning at c, takes the state x
    to (x // f) 2^24 + x % f + c, so that x grows by the factor 1/probability. Each symbol between
    the least and the greatest has a frequency of at least 1; these two are sent in front.

    Parameters: symbols (n,), integers; mean, sigma (n,), in steps. Raises ValueError for other
    shapes, or a range of symbols above 2^16. Cost: O(n).
    Source: Duda 2013 (arXiv:1311.2540). Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221)
    """
    symbols, mean, sigma = _as_message(symbols, mean, sigma)
    low, high = int(symbols.min()), int(symbols.max())
    starts = _starts(symbols, mean, sigma, low, high).tolist()
    ends = _starts(symbols + 1, mean, sigma, low, high).tolist()
    state, words = 1 << _WORD, []
    for start, end in zip(reversed(starts), reversed(ends), strict=True):
        f = end - start
        if state >= f << (2 * _WORD - _PRECISION):
            words.append(state & ((1 << _WORD) - 1))
            state >>= _WORD
        state = ((state // f) << _PRECISION) + state % f + start
    words += [state & ((1 << _WORD) - 1), state >> _WORD]
    return [low % (1 << _WORD), high % (1 << _WORD), *reversed(words)]


def decode(words, mean, sigma) -> np.ndarray:
    """Return the integers that ``encode`` made words of, (n,).

    Parameters: words; mean, sigma (n,), the very numbers that the encoder had. Raises ValueError
    for words that are no message of ``encode``, and other shapes. Cost: O(n x range of symbols).
    """
    _, mean, sigma = _as_message(np.zeros(np.size(mean), dtype=int), mean, sigma)
    words = list(words)
    whole = all(isinstance(word, int) and 0 <= word < 1 << _WORD for word in words)
    if len(words) < 4 or not whole:
        raise ValueError("words must be at least four integers of 32 bits, got others")
    low, high = (word - (1 << _WORD) * (word >> (_WORD - 1)) for word in words[:2])
    if not 0 <= high - low < 1 << 16:
        raise ValueError(
            f"words must begin with the least and the greatest symbol, got {low}, {high}"
        )
    rest = iter(words[2:])
    state = (next(rest) << _WORD) + next(rest)
    found = np.empty(len(mean), dtype=np.int64)
    alphabet = np.arange(low, high + 2)
    for i in range(len(mean)):
        slot = state & ((1 << _PRECISION) - 1)
        edges = _starts(alphabet, mean[i], sigma[i], low, high)
        place = min(int(np.searchsorted(edges, slot, side="right")) - 1, high - low)
        start, end = int(edges[place]), int(edges[place + 1])
        found[i] = low + place
        state = (end - start) * (state >> _PRECISION) + slot - start
        if state < 1 << _WORD:
            state = (state << _WORD) + next(rest, 0)
    return found


def _starts(symbols, mean, sigma, low, high):
    """Return where the frequencies of symbols begin, of 2^24."""
    room = (1 << _PRECISION) - (high - low + 1)
    bottom, top = ndtr((low - 0.5 - mean) / sigma), ndtr((high + 0.5 - mean) / sigma)
    share = (ndtr((symbols - 0.5 - mean) / sigma) - bottom) / np.maximum(top - bottom, 1e-300)
    return np.floor(room * np.clip(share, 0.0, 1.0)).astype(np.int64) + (symbols - low)


def _as_message(symbols, mean, sigma):
    symbols = np.asarray(symbols)
    if symbols.ndim != 1 or symbols.size == 0 or symbols.dtype.kind not in "iu":
        raise ValueError(f"symbols must be a vector of integers, got shape {symbols.shape}")
    symbols = symbols.astype(np.int64)
    if symbols.max() - symbols.min() >= 1 << 16:
        raise ValueError("symbols must span less than 2^16, got more")
    mean = as_vector("mean", mean, length=len(symbols))
    sigma = as_vector("sigma", sigma, length=len(symbols))
    positive("sigma", float(sigma.min()))
    return symbols, mean, sigma


def haar(image) -> np.ndarray:
    """Return the four bands of one step of the orthonormal Haar transform, (4, h/2, w/2, C).

    Sums, and differences across, down and both, of each block of 2 x 2, divided by 2.

    Parameters: image (h, w, C), h and w even. Raises ValueError for others. Cost: O(size).
    Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221)
    """
    image = np.asarray(image, dtype=float)
    if image.ndim != 3 or image.size == 0 or image.shape[0] % 2 or image.shape[1] % 2:
        raise ValueError(f"image must be (h, w, C) with even h and w, got {image.shape}")
    if not np.isfinite(image).all():
        raise ValueError("image must be finite")
    a, b = image[::2, ::2], image[::2, 1::2]
    c, d = image[1::2, ::2], image[1::2, 1::2]
    return 0.5 * np.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d])


def haar_error(image, target, high: float = 1.0) -> tuple[float, np.ndarray]:
    """Return the mean squared error in Haar bands, the three high ones weighed, and derivatives.

    The transform is orthonormal: with high = 1 this is the squared error.

    Parameters: image, target (h, w, C); high >= 0. Raises ValueError for others. Cost: O(size).
    Paper: tc-gs (Wang et al. 2025, arXiv:2503.20221), whose weight grows during training.
    """
    nonnegative("high", high)
    bands = haar(image) - haar(target)
    weights = np.array([1.0, high, high, high])[:, None, None, None]
    value = float((weights * bands**2).sum() / np.size(image))
    s, t, u, v = weights * bands / np.size(image)  # the inverse is the transpose, times 2/2
    slopes = np.empty(np.shape(image))
    slopes[::2, ::2], slopes[::2, 1::2] = s + t + u + v, s - t + u - v
    slopes[1::2, ::2], slopes[1::2, 1::2] = s + t - u - v, s - t - u + v
    return value, slopes


# --- 5. A network for what depends on the eye -----------------------------------------------------
# Paper: gaussian-splatting-with-nerf-based-color (Malarz et al. 2023, arXiv:2312.13729)

CHANGES = ("nothing", "opacity", "colour", "both")
OPERATORS = ("multiply", "add")

_FREQUENCIES = np.random.default_rng(11).normal(size=(3, 4))
_MOST = 0.995  # a changed opacity is cut here


def start_modulated(parameters: dict, change: str = "both", width: int = 16, rng=0) -> dict:
    """Return splats with a network that changes them with the view; it begins by changing nothing.

    Parameters: parameters of ``render_space``; change, one of ``CHANGES``; width of the hidden
    layer; rng. Raises ValueError for others.
    Paper: gaussian-splatting-with-nerf-based-color (Malarz et al. 2023, arXiv:2312.13729)
    """
    outputs = {"nothing": 0, "opacity": 1, "colour": 3, "both": 4}[
        one_of("change", change, CHANGES)
    ]
    if not outputs:
        return dict(parameters)
    layers = dense_network([2 * _FREQUENCIES.shape[1] + 3, width, outputs], as_rng(rng))
    layers[-1] = (np.zeros_like(layers[-1][0]), layers[-1][1])
    return dict(parameters) | _named(layers, "view")


VIEW_RATES = dict(RATES) | {f"view {kind}{i}": 0.015 for kind in "wb" for i in (1, 2)}


def modulated(
    background=None, change: str = "both", operator: str = "multiply", *, blur: float = 0.3
) -> Model:
    """Return the model in which a network changes opacity or colour with the direction of view.

    With z the network's outputs for (cos, sin of frequencies . mean, direction u):
    multiply: o (1 + 0.9 tanh z), c (1 + 0.9 tanh z); add: o + tanh z, c + tanh z. Opacities are cut
    to [0, 0.995].

    Parameters: background (3,); change, one of ``CHANGES``; operator, one of ``OPERATORS``; blur.
    Parameters of the model are those of ``start_modulated``; "tilts" (n, 3, 3) instead of a network
    is a colour c + tilts u, the harmonics of degree 1. Raises ValueError for others.
    Paper: gaussian-splatting-with-nerf-based-color (Malarz et al. 2023, arXiv:2312.13729)
    """
    one_of("change", change, CHANGES)
    times = one_of("operator", operator, OPERATORS) == "multiply"

    def draw(parameters, camera):
        means, logits, colours = (parameters[k] for k in ("means", "logits", "features"))
        opaque = _sigmoid(logits)
        distance, direction = _directions(means, camera)
        angles = means @ _FREQUENCIES
        waves = np.hstack([np.cos(angles), np.sin(angles)])
        opacities, features, back = opaque, colours, None
        if change != "nothing":
            z, back = network_pullback(
                _layers(parameters, "view"), np.hstack([waves, _TURN * direction])
            )
            t = np.tanh(z)
            if change != "colour":
                raised = opaque * (1.0 + 0.9 * t[:, 0]) if times else opaque + t[:, 0]
                opacities = np.clip(raised, 0.0, _MOST)
            if change != "opacity":
                features = colours * (1.0 + 0.9 * t[:, -3:]) if times else colours + t[:, -3:]
        if "tilts" in parameters:
            features = features + np.einsum("nck,nk->nc", parameters["tilts"], direction)
        shown = _show(
            *(means, parameters["quaternions"], parameters["log_scales"]),
            *(opacities, features, camera, background, blur),
        )

        def pullback(upstream):
            to_means, turns, scales, to_opaque, to_colours = shown.back(upstream)
            found = {"quaternions": turns, "log_scales": scales}
            to_direction = np.zeros_like(means)
            if "tilts" in parameters:
                found["tilts"] = to_colours[:, :, None] * direction[:, None, :]
                to_direction += np.einsum("nck,nc->nk", parameters["tilts"], to_colours)
            if back is not None:
                to_z = np.zeros_like(z)
                if change != "colour":
                    to_opaque = np.where((raised > 0.0) & (raised < _MOST), to_opaque, 0.0)
                    to_z[:, 0] = to_opaque * (0.9 * opaque if times else 1.0)
                    if times:
                        to_opaque = to_opaque * (1.0 + 0.9 * t[:, 0])
                if change != "opacity":
                    to_z[:, -3:] = to_colours * (0.9 * colours if times else 1.0)
                    if times:
                        to_colours = to_colours * (1.0 + 0.9 * t[:, -3:])
                layers, inputs = back(to_z * (1.0 - t * t))
                found |= _named(layers, "view")
                half = angles.shape[1]
                to_angles = inputs[:, half : 2 * half] * np.cos(angles)
                to_angles -= inputs[:, :half] * np.sin(angles)
                to_means = to_means + to_angles @ _FREQUENCIES.T
                to_direction += _TURN * inputs[:, 2 * half :]
            # u = gap / |gap|
            inward = (to_direction * direction).sum(axis=1, keepdims=True)
            to_means = to_means + (to_direction - inward * direction) / distance[:, None]
            found |= {"means": to_means, "features": to_colours}
            found["logits"] = to_opaque * opaque * (1.0 - opaque)
            return found

        return Drawing(shown.raster.image, pullback, {"opacities": opacities, "features": features})

    return draw
