"""Where the next Gaussian goes: births, deaths and moves of splats while an image is being fitted.

A gradient moves a splat only where its footprint already is, so a fit from a bad start stays bad
unless splats are born, moved or shaken. The sections:

1. A fit whose splats may change: ``Growth`` and the rule of clone and split
2. Splats as samples (Kheradmand et al. 2024): noise, and moves that keep the picture
3. Births where the error is, when the loss has flattened (Lu, Dhiman et al. 2024)
4. Passers-by (Fu et al. 2025): masks, and growth that waits
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import minimum_filter, uniform_filter
from scipy.special import expit

from kernellab.compute import compiled
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
from kernellab.compute.networks import Adam
from kernellab.compute.splatting import (
    PLANE_RATES,
    SPACE_RATES,
    Fit,
    Rendering,
    plane_covariances,
    psnr,
    quaternion_rotations,
    render_plane,
    render_space,
    squared_error,
    start_plane,
)

DEAD = 0.005  # opacity below which a splat shows nothing
SPLIT = 1.6  # a splat that splits hands on its scales divided by this
_LARGEST_OPACITY = 1.0 - 1e-9
PLANE_SCALES = (0.3, 32.0)  # pixels, least and largest
SPACE_SCALES = (0.02, 1.0)  # units of the world
LARGE_IN_SPACE = 0.15  # units of the world; a larger splat splits, a smaller one is cloned
_LAMPS = np.array([[1, 0.8, 0.3], [0.35, 0.7, 1], [1, 0.4, 0.35], [0.6, 1, 0.5], [0.9, 0.6, 1]])

# ------------------------------------------------------------------------------------------------
# 1. A fit whose splats may change
# ------------------------------------------------------------------------------------------------


def opacities(parameters: dict) -> np.ndarray:
    """Return the opacities (n,) of splats with "logits" (n,). Cost: O(n)."""
    return expit(as_vector("logits", parameters["logits"]))


def log_odds(opacity) -> np.ndarray:
    """Return log(o / (1 - o)) for opacities in [0, 1], kept finite. Cost: O(n)."""
    o = np.clip(as_vector("opacity", opacity), 1e-6, 1.0 - 1e-6)
    return np.log(o / (1.0 - o))


def lights(size: int = 48, count: int = 9, rng=0) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of coloured lamps on black, far apart, and where they are.

    Between the lamps nothing is to be seen, so a splat there is not pulled anywhere.

    Parameters
    ----------
    size : pixels a side, at least 16
    count : number of lamps, at most size^2 / 200
    rng : Generator or seed

    Returns
    -------
    (size, size, 3), in [0, 1], and places (count, 2), pixels (to the right, down)

    Raises
    ------
    ValueError : a number out of its range.

    Cost: O(count size^2).
    """
    size, rng = integer("size", size, low=16), as_rng(rng)
    count = integer("count", count, low=1, high=size * size // 200)
    places, apart = np.empty((0, 2)), 0.6 * size / math.sqrt(count)
    while len(places) < count:
        place = rng.uniform(4.0, size - 4.0, 2)
        if np.all(np.hypot(*(places - place).T) > apart):
            places = np.vstack([places, place])
        apart *= 0.999  # so that the last lamp finds room
    middle = np.arange(size) + 0.5
    image = np.zeros((size, size, 3))
    for x, y in places:
        away = np.hypot(middle - x, middle[:, None] - y)
        lamp = expit(2.5 * (rng.uniform(2.0, 3.5) - away)) * (0.75 + 0.25 * np.cos(1.2 * away))
        image += lamp[:, :, None] * _LAMPS[rng.integers(len(_LAMPS))]
    return np.clip(image, 0.0, 1.0), places


def clump(image, count: int, *, rng, spread: float = 3.0) -> dict[str, np.ndarray]:
    """Return round splats whose means are normal around the image's middle, in its colours there.

    Parameters: image (height, width, C); count n; spread, the standard deviation in pixels; rng, a
    Generator or seed. Returns parameters as ``start_plane`` does. Raises ValueError for a number
    out of its range. Cost: O(n).
    """
    rng, spread = as_rng(rng), positive("spread", spread)
    parameters = start_plane(image, count, rng=rng)
    height, width = np.shape(image)[:2]
    middle = 0.5 * np.array([width, height])
    means = np.clip(middle + spread * rng.standard_normal((count, 2)), 0.5, 2 * middle - 0.5)
    columns, rows = means.astype(int).T
    return parameters | {"means": means, "features": np.asarray(image, float)[rows, columns]}


@dataclass(frozen=True)
class Snapshot:
    """A fit at one moment: step, psnr in decibels, number of splats n, image and parameters."""

    step: int
    psnr: float
    count: int
    image: np.ndarray
    parameters: dict[str, np.ndarray]


class Growing:
    """A fit of splats whose number may change, with what growth needs to know about each splat.

    Parameters
    ----------
    parameters : splats to start from
    loss : as for ``Fit``; calls ``record`` with what it saw
    rng : Generator or seed: of noise, births and pixels
    rates : step of Adam by name
    scales : least and largest standard deviation; those of all splats are kept between them

    Attributes
    ----------
    fit : the Fit; ``fit.parameters`` and ``fit.losses`` are its state
    pull : (n,), mean over the steps since the last birth of the length of the gradient in the
        place in the image, times the number of pixels of the image
    color_pull : (n,), the same for the gradient in the features
    visits : (n,), pixels a step in which the splat was blended

    Raises
    ------
    ValueError : shapes that do not fit, or a number out of its range.
    """

    def __init__(self, parameters, loss, rng, rates, scales):
        self.rng = as_rng(rng)
        self._bounds = [math.log(positive("scales", scale)) for scale in scales]
        self.fit = Fit(parameters, loss, rates)
        self.step_number = 0
        self._forget()

    def _forget(self) -> None:
        self._sums, self._steps = np.zeros((3, self.count)), 0

    def record(self, places, features, hits, pixels: int) -> None:
        """Remember a step: derivatives in places (n, 2) and features (n, C), hits (n,), pixels."""
        self._sums[0] += pixels * np.linalg.norm(places, axis=1)
        self._sums[1] += pixels * np.linalg.norm(features, axis=1)
        self._sums[2] += hits
        self._steps += 1

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The splats as they are now."""
        return self.fit.parameters

    @property
    def count(self) -> int:
        """The number of splats."""
        return len(self.parameters["means"])

    @property
    def pull(self) -> np.ndarray:
        """Mean length of the gradient in each place since the last change of the splats."""
        return self._sums[0] / max(self._steps, 1)

    @property
    def color_pull(self) -> np.ndarray:
        """Mean length of the gradient in each splat's features since the last change."""
        return self._sums[1] / max(self._steps, 1)

    @property
    def visits(self) -> np.ndarray:
        """Pixels a step in which each splat was blended since the last change."""
        return self._sums[2] / max(self._steps, 1)

    def replace(self, parameters: dict, rows) -> None:
        """Go on with other splats (``rows`` as in ``Fit.replace``), and forget the statistics."""
        self.fit.replace(parameters, rows)
        self._forget()

    def step(self) -> float:
        """Take one step down; return the loss before it."""
        loss = self.fit.step()
        np.clip(self.parameters["log_scales"], *self._bounds, out=self.parameters["log_scales"])
        self.step_number += 1
        return loss


class Growth(Growing):
    """A fit of splats of a plane to one image, as ``Growing``.

    Parameters
    ----------
    image : target, shape (height, width, C)
    parameters : splats to start from
    rng : Generator or seed: of noise, births and pixels
    stride : render every ``stride``-th pixel each way, from a random first one
    rates : step of Adam by name; None: ``PLANE_RATES``
    opacity_penalty, scale_penalty : weights of the mean opacity and the mean scale (pixels)

    Raises
    ------
    ValueError : shapes that do not fit, or a number out of its range.

    Cost: a step costs one ``rasterise`` and its way back, over stride^2 as many pixels.
    """

    def __init__(
        self, image, parameters, *, rng, stride=1, rates=None, opacity_penalty=0.0,
        scale_penalty=0.0,
    ):  # fmt: skip
        self.image = np.asarray(image, dtype=np.float64)
        squared_error(self.image, self.image)  # refuses what is not an image
        self.stride = integer("stride", stride, low=1, high=min(self.image.shape[:2]))
        self.penalties = (
            nonnegative("opacity_penalty", opacity_penalty),
            nonnegative("scale_penalty", scale_penalty),
        )
        rates = PLANE_RATES if rates is None else rates
        super().__init__(parameters, self._loss, rng, rates, PLANE_SCALES)

    def _loss(self, parameters):
        phase = self.rng.integers(self.stride, size=2) if self.stride > 1 else (0, 0)
        value, slopes, raster = strided_gradients(self.image, parameters, self.stride, phase)
        pixels = self.image.shape[0] * self.image.shape[1]
        self.record(slopes["means"], slopes["features"], raster.hits * self.stride**2, pixels)
        n, (weak, small) = len(slopes["means"]), self.penalties
        if weak or small:
            o, scales = opacities(parameters), np.exp(parameters["log_scales"])
            value += weak * o.mean() + small * scales.mean()
            slopes["logits"] = slopes["logits"] + weak / n * o * (1.0 - o)
            slopes["log_scales"] = slopes["log_scales"] + small / (2 * n) * scales
        return value, slopes

    def snapshot(self) -> Snapshot:
        """Return the fit as it is now; costs one ``rasterise``."""
        image = render_plane(
            self.parameters, height=self.image.shape[0], width=self.image.shape[1],
            background=np.zeros(self.image.shape[2]),
        ).image  # fmt: skip
        copies = {name: array.copy() for name, array in self.parameters.items()}
        return Snapshot(self.step_number, psnr(image, self.image), self.count, image, copies)


def grow(
    growth: Growth, rule: Callable, steps: int, *, every: int = 25, begin: int = 0, look: int = 25
) -> Iterator[Snapshot]:
    """Take steps and apply a rule of growth between them; yield snapshots.

    Parameters
    ----------
    growth : a Growth, changed in place
    rule : called as rule(growth, births), births being whether this is a step for births: every
        ``every`` steps from ``begin`` on, but not in the last fifth of the run
    steps : number of steps
    look : steps between snapshots; the start and the end are always shown

    Raises
    ------
    ValueError : a number out of its range.

    Cost: that of the steps.
    """
    steps, every = integer("steps", steps, low=0), integer("every", every, low=1)
    begin, look = integer("begin", begin, low=0), integer("look", look, low=1)
    yield growth.snapshot()
    for number in range(1, steps + 1):
        growth.step()
        births = number % every == 0 and begin < number <= 0.8 * steps
        rule(growth, births)
        if number % look == 0 or number == steps:
            yield growth.snapshot()


def fixed(growth: Growth, births: bool) -> None:
    """The rule that changes nothing."""


@dataclass(frozen=True)
class CloneSplit:
    """Clone small splats and split large ones where the mean is pulled hard; drop the dead.

    ``threshold`` of ``Growing.pull``; splats larger than ``large`` (pixels, or units of the world)
    are split in two with scales / 1.6 at places drawn from the old splat, others are doubled; never
    more than ``cap``.

    Source: Kerbl et al. 2023 (arXiv:2308.04079), section 5.2.
    """

    cap: int
    threshold: float = 0.03
    large: float = 2.0

    def __post_init__(self):
        integer("cap", self.cap, low=1)
        nonnegative("threshold", self.threshold)
        positive("large", self.large)

    def __call__(self, growth: Growing, births: bool) -> None:
        if not births:
            return
        pull, live = growth.pull, opacities(growth.parameters) > DEAD
        room = max(self.cap - int(live.sum()), 0)
        chosen = np.flatnonzero(live & (pull > self.threshold))
        chosen = chosen[np.argsort(-pull[chosen], kind="stable")][:room]
        if chosen.size == 0 and live.all():
            return
        size = np.exp(growth.parameters["log_scales"]).max(axis=1)
        large = chosen[size[chosen] > self.large]
        parameters, rows = divide(growth.parameters, chosen, large, growth.rng)
        keep = opacities(parameters) > DEAD
        if keep.any():
            growth.replace({name: array[keep] for name, array in parameters.items()}, rows[keep])


def divide(parameters: dict, chosen, split, rng) -> tuple[dict, np.ndarray]:
    """Return splats in which the chosen ones are doubled; those in ``split`` become two smaller.

    Parameters
    ----------
    parameters : n splats of a plane or of a space
    chosen : indices, without repeats, of splats that become two
    split : those of them whose two halves get scales / 1.6 and places drawn from the splat before;
        the others get an equal twin
    rng : Generator or seed

    Returns
    -------
    parameters of n + len(chosen) splats, twins next to each other in the order of blending, and
    rows for ``Fit.replace``: -1 for new splats

    Raises
    ------
    ValueError : indices out of range or repeated.

    Cost: O(n).
    """
    n, rng = len(as_matrix("means", parameters["means"])), as_rng(rng)
    chosen, split = _indices("chosen", chosen, n), _indices("split", split, n)
    if not np.isin(split, chosen).all():
        raise ValueError("split must hold chosen splats only")
    source = np.sort(np.concatenate([np.arange(n), chosen]), kind="stable")
    new = np.append(False, source[1:] == source[:-1])
    result = {name: np.asarray(array)[source].copy() for name, array in parameters.items()}
    smaller = np.isin(source, split)
    if smaller.any():
        roots = _roots({name: array[smaller] for name, array in result.items()})
        draws = rng.standard_normal(roots.shape[:2])
        result["means"][smaller] += np.einsum("nij,nj->ni", roots, draws)
        result["log_scales"][smaller] -= math.log(SPLIT)
    return result, np.where(new | smaller, -1, source)


def _roots(parameters: dict) -> np.ndarray:
    """Return R diag(s) for each splat: it turns standard normal draws into draws from it."""
    if "quaternions" in parameters:
        turn = quaternion_rotations(parameters["quaternions"])
    else:
        c, s = np.cos(parameters["angles"]), np.sin(parameters["angles"])
        turn = np.moveaxis(np.array([[c, -s], [s, c]]), 2, 0)
    return turn * np.exp(parameters["log_scales"])[:, None, :]


def _indices(name: str, value, n: int) -> np.ndarray:
    array = np.asarray(value)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be a vector of integers, got {value!r}")
    if array.min() < 0 or array.max() >= n or len(np.unique(array)) != array.size:
        raise ValueError(f"{name} must be distinct integers from 0 to {n - 1}, got {array}")
    return array.astype(np.int64)


# ------------------------------------------------------------------------------------------------
# 2. Splats as samples
# ------------------------------------------------------------------------------------------------


@compiled("void(float64[::1], int64[::1], float64[::1], float64[::1])")
def _relocation(opacity, copies, thinner, factor):
    """For each splat: the opacity of one of its copies, and the factor of their scales."""
    for i in range(opacity.size):
        m = copies[i]
        o = 1.0 - (1.0 - opacity[i]) ** (1.0 / m)
        term, total = -1.0, 0.0  # term becomes C(m, k) (-1)^(k+1) o^k
        for k in range(1, m + 1):
            term *= -o * (m - k + 1) / k
            total += term / math.sqrt(k)
        thinner[i] = o
        factor[i] = opacity[i] / total


def relocation(opacity, copies) -> tuple[np.ndarray, np.ndarray]:
    """Return opacity and scale factor of m coinciding copies that look like one splat.

    With o' = 1 - (1 - o)^(1/m) the copies together are as opaque in the middle as the one splat
    was; their scales are multiplied by

        o / sum_(k=1)^m C(m, k) (-1)^(k+1) o'^k / sqrt(k),

    which keeps the integral of the composite opacity along a line through the middle. (The paper
    writes the sum as a double one; sum_i C(i - 1, k) = C(m, k + 1) makes it one.)

    Paper: 3d-gaussian-splatting-as-markov-chain-monte (Kheradmand et al. 2024, arXiv:2404.09591)

    Parameters
    ----------
    opacity : (n,), above 0 and at most 1 (1 is taken as 1 - 1e-9)
    copies : (n,), integers from 1 to 51, the number m of copies

    Returns
    -------
    (n,) opacities o' and (n,) factors

    Raises
    ------
    ValueError : lengths that differ, or a number out of its range.

    Cost: O(sum of copies).

    >>> thinner, factor = relocation([0.5, 0.5], [1, 2])
    >>> thinner.round(3).tolist(), factor.round(3).tolist()
    ([0.5, 0.293], [1.0, 0.952])
    """
    opacity = as_vector("opacity", opacity)
    if opacity.min() <= 0 or opacity.max() > 1:
        raise ValueError(f"opacity must be above 0 and at most 1, got {opacity}")
    many = np.asarray(copies)
    if many.shape != opacity.shape or many.dtype.kind not in "iu":
        raise ValueError(f"copies must be {opacity.size} integers, got {copies!r}")
    if many.min() < 1 or many.max() > 51:
        raise ValueError(f"copies must lie between 1 and 51, got {many.min()} to {many.max()}")
    thinner, factor = np.empty_like(opacity), np.empty_like(opacity)
    opacity = np.minimum(opacity, _LARGEST_OPACITY)
    _relocation(opacity, many.astype(np.int64), thinner, factor)
    return thinner, factor


def composite_opacity(opacity, scale, copies, places) -> np.ndarray:
    """Return 1 - (1 - o exp(-x^2 / (2 s^2)))^m at places x (q,): m coinciding splats on a line.

    Parameters: opacity in [0, 1], scale > 0 and copies m >= 1, numbers. Raises ValueError
    otherwise. Cost: O(q).
    """
    opacity, scale = between("opacity", opacity, 0.0, 1.0), positive("scale", scale)
    x = as_vector("places", places)
    return 1.0 - (1.0 - opacity * np.exp(-0.5 * (x / scale) ** 2)) ** integer("copies", copies, 1)


def multiply(parameters: dict, copies, means=True) -> tuple[dict, np.ndarray]:
    """Return splats in which splat i is replaced by copies_i of itself that look like one.

    Parameters
    ----------
    parameters : n splats of a plane
    copies : (n,), integers from 0 (gone) to 51
    means : whether scales and opacities follow ``relocation``; False: plain copies

    Returns
    -------
    parameters of sum(copies) splats, copies next to each other in the order of blending, and rows
    for ``Fit.replace``: -1 for every splat of which there are now several

    Raises
    ------
    ValueError : as ``relocation``, or no splats left.

    Cost: O(sum of copies).
    """
    many = np.asarray(copies)
    n = len(as_matrix("means", parameters["means"], columns=2))
    if many.shape != (n,) or many.dtype.kind not in "iu" or many.min() < 0 or many.sum() == 0:
        raise ValueError(f"copies must be {n} integers >= 0, not all 0, got {copies!r}")
    source = np.repeat(np.arange(n), many)
    result = {name: np.asarray(array)[source].copy() for name, array in parameters.items()}
    several = many[source] > 1
    if means and several.any():
        thinner, factor = relocation(
            np.maximum(opacities(result)[several], 1e-6), many[source[several]]
        )
        result["logits"][several] = log_odds(thinner)
        result["log_scales"][several] += np.log(factor)[:, None]
    return result, np.where(several, -1, source)


def relocated(parameters: dict, births: int, rng, dead=DEAD, keep_picture=True):
    """Return splats after the dead have moved onto live ones, and after births beside live ones.

    Live splats are drawn in proportion to their opacity; each draw makes one more copy of it.

    Parameters
    ----------
    parameters : n splats of a plane
    births : number of splats to add
    rng : Generator or seed
    dead : opacity at or below which a splat moves
    keep_picture : as ``means`` of ``multiply``

    Returns
    -------
    as ``multiply``: n + births splats, fewer if one was drawn more than 50 times

    Raises
    ------
    ValueError : a number out of its range, or no live splat.

    Cost: O(n + births).
    """
    births, rng = integer("births", births, low=0), as_rng(rng)
    o = opacities(parameters)
    live = o > between("dead", dead, 0.0, 1.0)
    if not live.any():
        raise ValueError(f"parameters must have a splat more opaque than {dead}, got none")
    copies, extra = live.astype(np.int64), births + int((~live).sum())
    drawn = rng.choice(o.size, extra, p=np.where(live, o, 0.0) / o[live].sum())
    copies += np.bincount(drawn, minlength=o.size)
    return multiply(parameters, np.minimum(copies, 51), keep_picture)


def langevin_noise(covariances, opacity, strength: float, rng, steepness=100.0, knee=DEAD):
    """Return random steps (n, 2) for the means: strength sigmoid(-k (o - t)) covariance eta.

    Paper: 3d-gaussian-splatting-as-markov-chain-monte (Kheradmand et al. 2024, arXiv:2404.09591)

    Parameters
    ----------
    covariances : (n, 2, 2), pixels^2
    opacity : (n,); opaque splats (o far above t) are not shaken
    strength : >= 0, 1/pixels: learning rate times noise rate in the paper
    rng : Generator or seed, of eta, standard normal
    steepness, knee : k and t

    Raises
    ------
    ValueError : shapes that do not fit, or a number out of its range.

    Cost: O(n).
    """
    opacity, rng = as_vector("opacity", opacity), as_rng(rng)
    covariances = np.asarray(covariances, dtype=np.float64)
    if covariances.shape != (opacity.size, 2, 2) or not np.isfinite(covariances).all():
        raise ValueError(
            f"covariances must be finite, of shape {(opacity.size, 2, 2)}, got {covariances.shape}"
        )
    steepness = positive("steepness", steepness)
    gate = expit(-steepness * (opacity - between("knee", knee, 0.0, 1.0)))
    draws = rng.standard_normal((opacity.size, 2))
    shaken = np.einsum("nij,nj->ni", covariances, draws)
    return nonnegative("strength", strength) * gate[:, None] * shaken


@dataclass(frozen=True)
class MarkovChain:
    """Noise after each step; every so often the dead move, and a few are born, up to ``cap``.

    ``noise`` in 1/pixels at the first step, falling to a hundredth of it at ``steps``; ``rate`` is
    the share of splats born at an event; ``keep_picture=False`` copies splats as they are.

    Paper: 3d-gaussian-splatting-as-markov-chain-monte (Kheradmand et al. 2024, arXiv:2404.09591)
    """

    cap: int
    steps: int
    noise: float = 1.0
    rate: float = 0.05
    keep_picture: bool = True

    def __post_init__(self):
        integer("cap", self.cap, low=1)
        integer("steps", self.steps, low=1)
        nonnegative("noise", self.noise)
        between("rate", self.rate, 0.0, 1.0)

    def __call__(self, growth: Growth, births: bool) -> None:
        given = growth.parameters
        if births:
            room = max(self.cap - growth.count, 0)
            wanted = min(room, math.ceil(self.rate * growth.count)) if self.rate else 0
            o = opacities(given)
            if (o > DEAD).any() and (wanted or (o <= DEAD).any()):
                growth.replace(
                    *relocated(given, wanted, growth.rng, keep_picture=self.keep_picture)
                )
                given = growth.parameters
        if self.noise:
            strength = self.noise * 0.01 ** (growth.step_number / self.steps)
            covariances = plane_covariances(given["log_scales"], given["angles"])
            given["means"] += langevin_noise(covariances, opacities(given), strength, growth.rng)
            height, width = growth.image.shape[:2]
            np.clip(given["means"], 0.0, (width, height), out=given["means"])


# ------------------------------------------------------------------------------------------------
# 3. Births where the error is, when the loss has flattened
# ------------------------------------------------------------------------------------------------


def strided_gradients(image, parameters: dict, stride: int = 1, phase=(0, 0)):
    """Return loss, gradients and raster of every ``stride``-th pixel each way.

    A pixel keeps its place: with u' = (u - phase - 1/2) / stride + 1/2 for means and covariances /
    stride^2, a small raster takes each splat's value exactly at the pixels chosen. If the stride
    divides both sides, the mean over all stride^2 phases is the gradient of the whole image.

    Paper: turbo-gs (Lu, Dhiman et al. 2024, arXiv:2412.13547)

    Parameters
    ----------
    image : (height, width, C)
    parameters : splats of a plane with "logits"
    stride : >= 1
    phase : (row, column) of the first pixel, each from 0 to stride - 1

    Returns
    -------
    mean squared error over the chosen pixels, its derivatives by name, and the Raster

    Raises
    ------
    ValueError : shapes that do not fit, or a number out of its range.

    Cost: that of ``rasterise`` and its way back for 1/stride^2 of the pixels.
    """
    image, d = np.asarray(image, dtype=np.float64), integer("stride", stride, low=1)
    if image.ndim != 3 or min(image.shape) == 0:
        raise ValueError(f"image must have shape (height, width, C), got {image.shape}")
    if d > min(image.shape[:2]):
        raise ValueError(f"stride must be at most {min(image.shape[:2])}, got {d}")
    row, column = (integer("phase", int(p), 0, d - 1) for p in phase)
    part = np.ascontiguousarray(image[row::d, column::d])
    moved = dict(parameters)
    if d > 1:
        moved["means"] = (parameters["means"] - (column + 0.5, row + 0.5)) / d + 0.5
        moved["log_scales"] = parameters["log_scales"] - math.log(d)
    rendering = render_plane(
        moved, height=part.shape[0], width=part.shape[1], background=np.zeros(part.shape[2])
    )
    value, upstream = squared_error(rendering.image, part)
    slopes = rendering.gradients(upstream).parameters
    if d > 1:
        slopes["means"] = slopes["means"] / d
    return value, slopes, rendering.raster


def birth_scores(pull, color_pull, visits, mix: float = 0.5) -> np.ndarray:
    """Return each splat's claim to give birth: ranks of both gradients, 0 for the rarely seen.

    (1 - mix) rank(pull) + mix rank(color_pull), ranks counted from 1 for the least, for splats seen
    in at least the median number of pixels.

    Paper: turbo-gs (Lu, Dhiman et al. 2024, arXiv:2412.13547); the joint score is the paper's idea,
    this form of it is ours

    Parameters: three vectors (n,), mix in [0, 1]. Raises ValueError for other lengths or a mix out
    of its range. Cost: O(n log n).
    """
    pull, color_pull = as_vector("pull", pull), as_vector("color_pull", color_pull)
    visits, mix = as_vector("visits", visits), between("mix", mix, 0.0, 1.0)
    same_length("pull", pull, "color_pull", color_pull)
    same_length("pull", pull, "visits", visits)
    ranks = [1.0 + np.argsort(np.argsort(v, kind="stable")) for v in (pull, color_pull)]
    return np.where(visits >= np.median(visits), (1 - mix) * ranks[0] + mix * ranks[1], 0.0)


def birth_budget(step: int, losses, largest: int, ramp: int, power=1.0, window=25, tau=0.15):
    """Return how many splats may be born now: a power of the step, none while the loss falls fast.

    largest min(1, step / ramp)^power if the mean loss of the last ``window`` steps is less than
    1 - tau times that of the ``window`` before, the budget is 0: the splats there are still learn.

    Paper: turbo-gs (Lu, Dhiman et al. 2024, arXiv:2412.13547); the formula is ours

    Parameters
    ----------
    step : >= 0
    losses : the losses of all steps so far
    largest : budget after ``ramp`` steps
    power : > 0
    window : steps, >= 1
    tau : relative drop over a window that counts as fast; at least 1: births never wait

    Raises
    ------
    ValueError : a number out of its range.

    Cost: O(window).
    """
    step, largest = integer("step", step, low=0), integer("largest", largest, low=0)
    ramp, window = integer("ramp", ramp, low=1), integer("window", window, low=1)
    power, tau = positive("power", power), nonnegative("tau", tau)
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 1:
        raise ValueError(f"losses must be a vector, got shape {losses.shape}")
    if tau < 1 and losses.size >= 2 * window:
        before, now = losses[-2 * window : -window].mean(), losses[-window:].mean()
        if now < (1.0 - tau) * before:
            return 0
    return int(largest * min(1.0, step / ramp) ** power)


@dataclass(frozen=True)
class TopScore:
    """Split the splats with the largest score in two, as many as the budget allows, up to ``cap``.

    ``choose`` is "score" or "random"; ``share`` > 0 replaces the budget by that share of the splats
    at each event. The other fields are those of ``birth_budget`` and ``birth_scores``.

    Paper: turbo-gs (Lu, Dhiman et al. 2024, arXiv:2412.13547)
    """

    cap: int
    choose: str = "score"
    mix: float = 0.5
    largest: int = 40
    ramp: int = 100
    power: float = 1.0
    tau: float = 0.3
    share: float = 0.0
    gate_visits: bool = True

    def __post_init__(self):
        integer("cap", self.cap, low=1)
        one_of("choose", self.choose, ("score", "random"))
        between("share", self.share, 0.0, 1.0)
        between("mix", self.mix, 0.0, 1.0)
        birth_budget(0, [], self.largest, self.ramp, self.power, 25, self.tau)

    def __call__(self, growth: Growth, births: bool) -> None:
        if not births:
            return
        losses = growth.fit.losses
        if self.share:
            budget = math.ceil(self.share * growth.count)
        else:
            budget = birth_budget(
                growth.step_number, losses, self.largest, self.ramp, self.power, 25, self.tau
            )
        budget = min(budget, self.cap - growth.count, growth.count)
        if budget <= 0:
            return
        if self.choose == "random":
            chosen = growth.rng.choice(growth.count, budget, replace=False)
        else:
            visits = growth.visits if self.gate_visits else np.ones(growth.count)
            scores = birth_scores(growth.pull, growth.color_pull, visits, self.mix)
            chosen = np.argsort(-scores, kind="stable")[:budget]
        growth.replace(*divide(growth.parameters, chosen, chosen, growth.rng))


# ------------------------------------------------------------------------------------------------
# 4. Passers-by
# ------------------------------------------------------------------------------------------------


def exposures(image, count: int, rng, discs=(1, 2), radius=(5.0, 9.0)):
    """Return photographs of one picture with opaque discs passing before it, and where they are.

    Parameters
    ----------
    image : (height, width, 3)
    count : number E of photographs
    rng : Generator or seed
    discs : least and greatest number of discs; (0, 0): none
    radius : least and greatest radius, pixels

    Returns
    -------
    photographs (E, height, width, 3) and static (E, height, width), False on a disc

    Raises
    ------
    ValueError : a shape or a number out of its range.

    Cost: O(E height width).
    """
    image, rng = np.asarray(image, dtype=np.float64), as_rng(rng)
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must have shape (height, width, 3), got {image.shape}")
    count = integer("count", count, low=1)
    least, most = integer("discs", discs[0], low=0), integer("discs", discs[1], low=discs[0])
    low, high = positive("radius", radius[0]), positive("radius", radius[1])
    height, width, _ = image.shape
    rows, columns = np.mgrid[:height, :width] + 0.5
    photographs, static = np.repeat(image[None], count, 0), np.ones((count, height, width), bool)
    for photograph, still in zip(photographs, static, strict=True):
        for _ in range(rng.integers(least, most + 1)):
            row, column = rng.uniform((0, 0), (height, width))
            size, color = rng.uniform(low, max(low, high)), rng.permutation([0.05, 0.3, 0.95])
            inside = (rows - row) ** 2 + (columns - column) ** 2 < size**2
            photograph[inside], still[inside] = color, False
    return photographs, static


def patch_features(image, size: int, bins: int = 4) -> np.ndarray:
    """Return, around each pixel, how often each channel is dark, ..., bright: soft histograms.

    A value counts for the two bins next to it, in proportion; the bins' middles run from 0 to 1.

    Parameters: image (height, width, 3), in [0, 1] (clipped); size of the square window, pixels;
    bins, at least 2. Returns (height, width, 3 bins); the bins of a channel sum to 1. Raises
    ValueError for another shape or a number out of its range. Cost: O(pixels bins).
    """
    image, size = np.asarray(image, dtype=np.float64), integer("size", size, low=1)
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must have shape (height, width, 3), got {image.shape}")
    bins = integer("bins", bins, low=2)
    away = np.abs(np.clip(image, 0.0, 1.0)[..., None] * (bins - 1) - np.arange(bins))
    counts = np.maximum(0.0, 1.0 - away).reshape(*image.shape[:2], 3 * bins)
    return uniform_filter(counts, (size, size, 1), mode="nearest")


def likeness(features, others) -> np.ndarray:
    """Return 1 less twice the cosine distance of two maps of features, kept in [0, 1].

    Parameters: two arrays (height, width, d). Returns (height, width). Raises ValueError for
    shapes that differ. Cost: O(size).
    """
    a, b = np.asarray(features, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(
            f"features and others must have one shape (h, w, d), got {a.shape}, {b.shape}"
        )
    lengths = np.linalg.norm(a, axis=2) * np.linalg.norm(b, axis=2) + 1e-9
    return np.clip(1.0 - 2.0 * (1.0 - (a * b).sum(axis=2) / lengths), 0.0, 1.0)


def mask_loss(mask, alike, residual, age: float, thresholds) -> tuple[float, np.ndarray]:
    """Return the loss that teaches a mask m (1: static), and its derivative in m.

    mean of 1/2 |m - c| + 1/2 (max(m - U, 0) + max(L - m, 0)) + 2 e^(-age) (1 - m), with c the
    likeness, L and U (0 or 1) whether the residual lies below the lower and the upper threshold,
    smoothed by the majority of 3 x 3 pixels.

    Paper: robustsplat (Fu et al. 2025, arXiv:2506.02751)

    Parameters
    ----------
    mask, alike, residual : (height, width)
    age : >= 0, steps over the time after which the mask may doubt
    thresholds : (lower, upper), of the residual

    Raises
    ------
    ValueError : shapes that differ, or a number out of its range.

    Cost: O(pixels).
    """
    mask, residual = as_matrix("mask", mask), as_matrix("residual", residual)
    alike = as_matrix("alike", alike, columns=mask.shape[1], rows=len(mask))
    as_matrix("residual", residual, columns=mask.shape[1], rows=len(mask))
    age = nonnegative("age", age)
    lower, upper = (
        (uniform_filter((residual < t).astype(float), 3, mode="nearest") > 0.5).astype(float)
        for t in thresholds
    )
    trust = 2.0 * math.exp(-age)
    low, high = np.maximum(lower - mask, 0.0), np.maximum(mask - upper, 0.0)
    terms = 0.5 * np.abs(mask - alike) + 0.5 * (low + high) + trust * (1.0 - mask)
    slope = 0.5 * np.sign(mask - alike) + 0.5 * ((high > 0).astype(float) - (low > 0)) - trust
    return float(terms.mean()), slope / mask.size


class MaskNetwork:
    """Two histograms a pixel -> eight tanh units -> the chance that the pixel is static.

    The histograms are ``patch_features`` of the photograph and of the splats' image. ``coarse`` and
    ``fine`` are window sizes; coarse ones are used while ``step`` < ``switch``. ``patience`` is the
    time in steps after which the mask may doubt; ``decay`` pulls the weights to 0.

    Paper: robustsplat (Fu et al. 2025, arXiv:2506.02751), with these features in place of those of
    a large trained network
    """

    def __init__(
        self, rng, *, coarse=8, fine=3, switch=400, patience=40.0, rate=0.02, decay=0.01
    ):  # fmt: skip
        rng = as_rng(rng)
        self.coarse, self.fine = integer("coarse", coarse, low=1), integer("fine", fine, low=1)
        self.switch, self.patience = integer("switch", switch, 0), positive("patience", patience)
        self.decay = nonnegative("decay", decay)
        self.weights = [
            0.5 * rng.standard_normal((24, 8)), np.zeros(8),
            0.1 * rng.standard_normal(8), np.ones(1),
        ]  # fmt: skip
        self._adam, self._thresholds = Adam(self.weights, rate), None

    def update(self, photograph, image, step: int) -> np.ndarray:
        """Learn from one photograph and the splats' image of it; return the mask (h, w)."""
        size = self.coarse if step < self.switch else self.fine
        a, b = patch_features(photograph, size), patch_features(image, size)
        inputs = 4.0 * np.concatenate([a, b], axis=2).reshape(-1, 24)
        hidden = np.tanh(inputs @ self.weights[0] + self.weights[1])
        mask = expit(hidden @ self.weights[2] + self.weights[3]).reshape(a.shape[:2])
        residual = np.abs(np.asarray(photograph) - image).mean(axis=2)
        if step < self.switch:
            residual = uniform_filter(residual, size, mode="nearest")
        found = np.quantile(residual, (0.6, 0.8))
        last = found if self._thresholds is None else self._thresholds
        self._thresholds = 0.95 * last + 0.05 * found
        age = step / self.patience
        _, slope = mask_loss(mask, likeness(a, b), residual, age, self._thresholds)
        back = (slope * mask * (1.0 - mask)).ravel()
        deep = back[:, None] * self.weights[2] * (1.0 - hidden**2)
        slopes = [inputs.T @ deep, deep.sum(axis=0), hidden.T @ back, back.sum(keepdims=True)]
        pairs = zip(slopes, self.weights, strict=True)
        self._adam.update([found + self.decay * weight for found, weight in pairs])
        return mask


def usable(mask, threshold=0.25, margin=3) -> np.ndarray:
    """Return which pixels count (height, width): mask above a threshold, the rims shaved off.

    Parameters: mask (height, width) in [0, 1]; margin, the side of the square that must be static
    all over, pixels. Raises ValueError for a number out of its range. Cost: O(pixels).
    """
    good = as_matrix("mask", mask) > between("threshold", threshold, 0.0, 1.0)
    return minimum_filter(good, integer("margin", margin, low=1), mode="nearest")


@dataclass(frozen=True)
class RobustState:
    """A fit to exposures at one moment.

    Attributes: step; count n; image, what the splats show (to the first camera, if there are
    several); masks (E, height, width), as last used, 1 where a pixel counts; parameters
    """

    step: int
    count: int
    image: np.ndarray
    masks: np.ndarray
    parameters: dict[str, np.ndarray]


class ExposureGrowth(Growing):
    """A fit of splats to photographs that passers-by spoil; each step sees one, at random.

    Parameters
    ----------
    photographs : (E, height, width, 3)
    parameters : splats of a plane, or with cameras of a space
    rng : Generator or seed
    cameras : E cameras; None: all photographs show the plane of the splats
    masks : "none", "learned" or "oracle"
    oracle : (E, height, width), True where static; for masks="oracle"
    network : MaskNetwork, for masks="learned"
    learn_from : first step at which learned masks are used
    background : colour behind the splats, three numbers

    Attributes: those of ``Growing``, and ``masks`` (E, height, width), 1 where a pixel counts.

    Raises
    ------
    ValueError : shapes that do not fit, or a number out of its range.
    """

    def __init__(
        self, photographs, parameters, *, rng, cameras=None, masks="none", oracle=None,
        network=None, learn_from=10, background=(0.0, 0.0, 0.0),
    ):  # fmt: skip
        photographs = np.asarray(photographs, dtype=np.float64)
        if photographs.ndim != 4 or photographs.size == 0:
            raise ValueError(f"photographs must have shape (E, h, w, 3), got {photographs.shape}")
        one_of("masks", masks, ("none", "learned", "oracle"))
        shape = photographs.shape[:3]
        if masks == "oracle" and np.shape(oracle) != shape:
            raise ValueError(f"oracle must have shape {shape}, got {np.shape(oracle)}")
        if cameras is not None:
            same_length("photographs", photographs, "cameras", cameras)
        self.photographs, self.cameras = photographs, cameras
        self.background = as_vector("background", background, length=photographs.shape[3])
        self.masks = np.asarray(oracle, dtype=float) if masks == "oracle" else np.ones(shape)
        self._network = network if masks == "learned" else None
        self._learn_from = integer("learn_from", learn_from, low=0)
        rates, scales = (
            (PLANE_RATES, PLANE_SCALES) if cameras is None else (SPACE_RATES, SPACE_SCALES)
        )
        super().__init__(parameters, self._loss, rng, rates, scales)

    def render(self, number: int = 0) -> Rendering:
        """Return what the splats show of photograph ``number``."""
        return self._rendered(self.parameters, number)

    def _rendered(self, parameters, number):
        if self.cameras is not None:
            return render_space(parameters, self.cameras[number], background=self.background)
        height, width = self.photographs.shape[1:3]
        return render_plane(parameters, height=height, width=width, background=self.background)

    def _loss(self, parameters):
        e = int(self.rng.integers(len(self.photographs)))
        rendering, target = self._rendered(parameters, e), self.photographs[e]
        if self._network is not None:
            found = self._network.update(target, rendering.image, self.step_number)
            if self.step_number >= self._learn_from:
                self.masks[e] = usable(found)
        value, upstream = squared_error(rendering.image, target, self.masks[e])
        slopes = rendering.gradients(upstream)
        self.record(
            slopes.raster.means, slopes.raster.features, rendering.raster.hits, target.size // 3
        )
        return value, slopes.parameters


def fit_exposures(
    photographs, parameters: dict, steps: int, rng, *, masks="none", begin=20, cap=200, look=50,
    oracle=None, coarse=8, learn_from=10, cameras=None, background=(0.0, 0.0, 0.0),
) -> Iterator[RobustState]:  # fmt: skip
    """Fit splats to photographs of one picture or scene that passers-by spoil; yield states.

    Each step sees one photograph, at random; births as ``CloneSplit``, every 20 steps from
    ``begin`` on, but not in the last fifth. Pixels count where the mask says static.

    Paper: robustsplat (Fu et al. 2025, arXiv:2506.02751)

    Parameters
    ----------
    photographs : (E, height, width, 3)
    parameters : splats to start from, of a plane or (with cameras) of a space
    steps, rng : as usual
    masks : "none", "learned" or "oracle"
    begin : first step of births
    cap : largest number of splats
    look : steps between states
    oracle : (E, height, width), True where static; for masks="oracle"
    coarse : window of the features in the first two thirds, pixels; 3: never coarse
    learn_from : first step at which learned masks are used
    cameras : E cameras; None: one picture in the plane of the splats
    background : colour behind the splats

    Raises
    ------
    ValueError : shapes that do not fit, or a number out of its range.

    Cost: a step of ``Growing`` and O(pixels) for the mask.
    """
    rng, steps = as_rng(rng), integer("steps", steps, low=1)
    begin, look = integer("begin", begin, low=0), integer("look", look, low=1)
    # 2000 of 30000 steps in the paper.
    network = MaskNetwork(rng, coarse=coarse, switch=2 * steps // 3, patience=steps / 15)
    growth = ExposureGrowth(
        photographs, parameters, rng=rng, cameras=cameras, masks=masks, oracle=oracle,
        network=network, learn_from=learn_from, background=background,
    )  # fmt: skip
    rule = CloneSplit(cap) if cameras is None else CloneSplit(cap, large=LARGE_IN_SPACE)
    for number in range(steps):
        growth.step()
        rule(growth, number % 20 == 0 and begin <= number <= 0.8 * steps)
        if (number + 1) % look == 0 or number + 1 == steps:
            copies = {name: array.copy() for name, array in growth.parameters.items()}
            image = growth.render().image
            yield RobustState(number + 1, growth.count, image, growth.masks.copy(), copies)


def start_space(count: int, rng, low, high, scale: float = 0.15) -> dict[str, np.ndarray]:
    """Return round grey splats at random places in a box, to start a fit of a scene from.

    Parameters: count n; rng, Generator or seed; low, high, corners of the box, three numbers each;
    scale, standard deviation, units of the world. Returns "means" (n, 3), "log_scales" (n, 3),
    "quaternions" (n, 4), "logits" (n,) and "features" (n, 3). Raises ValueError for a number out of
    its range. Cost: O(n).
    """
    count, rng = integer("count", count, low=1), as_rng(rng)
    low, high = as_vector("low", low, length=3), as_vector("high", high, length=3)
    if np.any(low >= high):
        raise ValueError(f"low must lie below high, got {low} and {high}")
    return {
        "means": rng.uniform(low, high, (count, 3)),
        "log_scales": np.full((count, 3), math.log(positive("scale", scale))),
        "quaternions": np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
        "logits": np.zeros(count),
        "features": np.full((count, 3), 0.5),
    }


def memory_of(images, photographs, clean, static) -> float:
    """Return which share of the passers-by the splats have memorised, over the pixels not static.

    sum (image - clean).(photograph - clean) / sum |photograph - clean|^2: 1 if they are shown just
    as in the photographs, 0 if they are gone.

    Parameters: images, photographs, clean (E, height, width, 3); static (E, height, width). Raises
    ValueError for shapes that differ, or if nobody passes by. Cost: O(size).
    """
    images, photographs = np.asarray(images, float), np.asarray(photographs, float)
    clean, static = np.asarray(clean, float), np.asarray(static, dtype=bool)
    if not (images.shape == photographs.shape == clean.shape and static.shape == clean.shape[:-1]):
        raise ValueError(
            "images, photographs, clean and static must have one shape but for the channels, got "
            f"{images.shape}, {photographs.shape}, {clean.shape} and {static.shape}"
        )
    people = (photographs - clean)[~static]
    if not people.any():
        raise ValueError("static must leave pixels in which the photographs differ from clean")
    return float(((images - clean)[~static] * people).sum() / (people * people).sum())


def overlap(found, truth) -> float:
    """Return intersection over union of two sets of pixels (booleans of one shape); 1 if empty.

    Raises ValueError for shapes that differ. Cost: O(size).
    """
    found, truth = np.asarray(found, dtype=bool), np.asarray(truth, dtype=bool)
    if found.shape != truth.shape:
        raise ValueError(f"found and truth must have one shape, got {found.shape}, {truth.shape}")
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0
