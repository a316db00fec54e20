"""Fields made of few radial kernels: placed on the structure, living in features, or moving.

A field f(x) = sum_i w_i k((x - c_i)/s_i) is linear in its weights w, and not in its centres c and
shapes s. Three ways to choose those: from the data by weighted k-means, in the feature space of a
coarse grid, or by descent on the residual of a differential equation.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import line_search
from scipy.spatial import cKDTree

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
from kernellab.compute.networks import Adam

__all__ = [
    "DECODERS",
    "PROFILES",
    "SHAPES",
    "GridField",
    "HarmonicField",
    "MovingGaussians",
    "WaveNetwork",
    "bilinear_grid_fit",
    "cluster_shapes",
    "collocation",
    "decoder_output",
    "direct_collocation",
    "fit_harmonic_field",
    "gaussian_jets",
    "grid_interpolation",
    "harmonics",
    "helmholtz_loss",
    "jet_network",
    "line_drawing",
    "minimise",
    "narrow_peak",
    "nearest_kernels",
    "pixel_places",
    "psnr",
    "sharp_front",
    "standing_wave",
    "star_distance",
]

# --- Targets --------------------------------------------------------------------------------------


def pixel_places(rows: int, columns: int | None = None) -> np.ndarray:
    """Return the centres of the pixels of a picture on the unit square, row by row.

    Parameters: rows, columns >= 1 (columns: as many as rows). Returns (rows columns, 2): x to the
    right and y down, both in (0, 1). Raises ValueError for sizes below 1. Cost O(pixels).
    """
    rows = integer("rows", rows, low=1)
    columns = rows if columns is None else integer("columns", columns, low=1)
    fits_in_memory("pixel_places", 16 * rows * columns)
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.column_stack([(x + 0.5) / columns, (y + 0.5) / rows])


def star_distance(points, outer: float = 0.38, inner: float = 0.16, spikes: int = 5) -> np.ndarray:
    """Return the signed distance to a star around (0.5, 0.5), negative inside.

    The distance to the nearest of its 2 x spikes edges, with the sign from counting crossings.

    Parameters: points (n, 2); outer > inner > 0, the radii of tips and notches; spikes >= 2.
    Returns (n,). Raises ValueError for other shapes or radii. Cost O(n spikes).
    """
    points = as_matrix("points", points, columns=2)
    inner, spikes = positive("inner", inner), integer("spikes", spikes, low=2)
    outer = between("outer", outer, inner * (1 + 1e-12), np.inf)
    angles = np.pi * np.arange(2 * spikes) / spikes - np.pi / 2
    radii = np.where(np.arange(2 * spikes) % 2 == 0, outer, inner)
    corners = 0.5 + radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    nearest, crossings = np.full(len(points), np.inf), np.zeros(len(points), dtype=int)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge, gap = b - a, points - a
        along = np.clip(gap @ edge / (edge @ edge), 0, 1)
        nearest = np.minimum(nearest, np.sum((gap - along[:, None] * edge) ** 2, axis=1))
        between_ends = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        height = edge[1] if edge[1] != 0 else 1.0
        left_of = points[:, 0] < a[0] + gap[:, 1] * edge[0] / height
        crossings += between_ends & left_of
    return np.where(crossings % 2 == 1, -1.0, 1.0) * np.sqrt(nearest)


def line_drawing(size: int = 64, width: float = 0.012) -> np.ndarray:
    """Return a thin black curve on white paper, x = sin(3t + 1/2), y = sin 2t, scaled to the page.

    Parameters: size, pixels a side; width, half that of the line, in sides. Returns (size, size) in
    [0, 1]: the white share of each pixel, counted on 4 x 4 places. Raises ValueError for sizes
    below 1. Cost O(size^2 log).
    """
    size, width = integer("size", size, low=1), positive("width", width)
    t = np.linspace(0, 2 * np.pi, 1200)
    curve = 0.5 + 0.42 * np.column_stack([np.sin(3 * t + 0.5), np.sin(2 * t)])
    away = cKDTree(curve).query(pixel_places(4 * size))[0] > width
    return away.reshape(size, 4, size, 4).mean(axis=(1, 3))


def psnr(picture, target) -> float:
    """Return the peak signal-to-noise ratio -10 log10(mean squared error) in dB, for peak 1.

    Parameters: picture, target, arrays of one shape. Raises ValueError if the shapes differ, they
    are empty, or are equal (no finite ratio). Cost O(pixels).
    """
    picture, target = np.asarray(picture, dtype=float), np.asarray(target, dtype=float)
    if picture.shape != target.shape or picture.size == 0:
        raise ValueError(
            f"picture and target must have one shape, got {picture.shape} and {target.shape}"
        )
    error = np.mean((picture - target) ** 2)
    if not (np.isfinite(error) and error > 0):
        raise ValueError(f"picture and target must be finite and differ, mean square is {error}")
    return float(-10 * np.log10(error))


def bilinear_grid_fit(image, side: int) -> np.ndarray:
    """Return the best approximation of a picture by a bilinear grid of side x side numbers.

    Least squares separates: V = A+ Y (A+)^T for A the interpolation of one axis, then A V A^T.

    Parameters: image (m, m) or (m, m, C); side >= 2. Returns the fitted picture, same shape.
    Raises ValueError for other shapes. Cost O(m^2 side).
    """
    image = np.asarray(image, dtype=float)
    if image.ndim not in (2, 3) or image.shape[0] != image.shape[1] or not image.size:
        raise ValueError(f"image must be square, (m, m) or (m, m, C), got {image.shape}")
    if not np.all(np.isfinite(image)):
        raise ValueError("image must be finite")
    side = integer("side", side, low=2)
    axis = _hats((np.arange(len(image)) + 0.5) / len(image), side)
    project = axis @ np.linalg.pinv(axis)
    return np.einsum("ij,jk...,lk->il...", project, image, project, optimize=True)


def _hats(x, side):
    """Return the side hat functions of a grid on [0, 1] at x: (n, side)."""
    return np.maximum(0, 1 - np.abs(x[:, None] * (side - 1) - np.arange(side)))


# --- 1. Kernels placed on the structure -----------------------------------------------------------
# Paper: neurbf (Chen et al. 2023, arXiv:2309.15426)

SHAPES = ("isotropic", "diagonal", "full")
PROFILES = ("inverse quadratic", "gaussian")


def cluster_shapes(points, weights, label, centres, spread: float = 1.0, shape: str = "full"):
    """Return the kernels' inverse shape matrices, from the points that each centre was given.

    S_i^-1 = (spread^2 C_i)^-1 with C_i the weighted covariance of cluster i; a hundredth of the
    mean covariance is added, so that no kernel becomes a needle.

    Paper: neurbf (Chen et al. 2023, arXiv:2309.15426)

    Parameters: points (n, 2), weights (n,), label (n,) and centres (k, 2) as from
    ``kernellab.compute.clustering.weighted_kmeans``; spread in [1e-50, 1e50], a kernel's size in
    units of its cluster's; shape, one of ``SHAPES``. Returns (k, 2, 2). Raises ValueError for other
    shapes, or negative weights. Cost O(n + k).
    """
    points, centres = as_matrix("points", points, columns=2), as_matrix("centres", centres, 2)
    weights, label = as_vector("weights", weights, length=len(points)), np.asarray(label)
    if weights.min() < 0:
        raise ValueError(f"weights must be >= 0, the least is {weights.min():g}")
    if label.shape != (len(points),) or label.dtype.kind not in "iu":
        raise ValueError(f"label must be {len(points)} whole numbers, got {label.shape}")
    if label.min() < 0 or label.max() >= len(centres):
        raise ValueError(
            f"label must lie in [0, {len(centres)}), got {label.min()} to {label.max()}"
        )
    spread, shape = between("spread", spread, 1e-50, 1e50), one_of("shape", shape, SHAPES)
    gap, k = points - centres[label], len(centres)
    mass = np.maximum(np.bincount(label, weights, k), 1e-300)
    covariance = np.empty((k, 2, 2))
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        covariance[:, a, b] = np.bincount(label, weights * gap[:, a] * gap[:, b], k) / mass
    trace = np.trace(covariance, axis1=1, axis2=2)
    floor = max(0.01 * trace.mean() / 2, 1e-12)
    if shape == "isotropic":
        covariance = trace[:, None, None] / 2 * np.eye(2)
    elif shape == "diagonal":
        covariance = covariance * np.eye(2)
    return np.linalg.inv(spread**2 * (covariance + floor * np.eye(2)))


def nearest_kernels(
    points, centres, precisions, nearest: int = 4, profile=PROFILES[0], normalise: bool = True
):
    """Evaluate at each point its nearest kernels, perhaps scaled to sum to one.

    phi_i(x) = 1/(1 + q) or e^(-q/2) with q = (x - c_i)^T S_i^-1 (x - c_i); normalised,
    phi_i / sum_j phi_j over the nearest.

    Paper: neurbf (Chen et al. 2023, arXiv:2309.15426)

    Parameters: points (n, 2); centres (k, 2); precisions S_i^-1 (k, 2, 2), symmetric without
    negative eigenvalues; nearest >= 1 (k at most are used); profile, one of ``PROFILES``;
    normalise. Returns which (n, m) kernels, and their values (n, m). Raises ValueError for other
    shapes or matrices. Cost O((n + k) log k).
    """
    points, centres = as_matrix("points", points, columns=2), as_matrix("centres", centres, 2)
    precisions = np.asarray(precisions, dtype=float)
    if precisions.shape != (len(centres), 2, 2) or not np.all(np.isfinite(precisions)):
        raise ValueError(
            f"precisions must be finite, ({len(centres)}, 2, 2), got {precisions.shape}"
        )
    _no_negative_direction(precisions)
    one_of("profile", profile, PROFILES)
    nearest = min(integer("nearest", nearest, low=1), len(centres))
    distance, which = cKDTree(centres).query(points, k=np.arange(1, nearest + 1))
    if not np.all(np.isfinite(distance)):
        raise ValueError("points lie too far from the centres: a squared distance is not finite")
    x, y = np.moveaxis(points[:, None] - centres[which], -1, 0)
    s = precisions[which]
    q = s[..., 0, 0] * x * x + 2 * s[..., 0, 1] * x * y + s[..., 1, 1] * y * y
    if profile == "gaussian":
        if normalise:  # the ratios do not change, and do not become 0/0 far away
            q = q - q.min(axis=1, keepdims=True)
        phi = np.exp(-0.5 * q)
    else:
        phi = 1 / (1 + q)
    if normalise:
        phi = phi / phi.sum(axis=1, keepdims=True)
    return which.astype(np.int64), phi


def _no_negative_direction(matrices):
    """Refuse matrices (k, 2, 2) by which a squared distance could be negative."""
    (a, b), (c, d) = matrices[:, 0].T, matrices[:, 1].T
    scale = np.abs(a) + np.abs(d)
    good = (a >= 0) & (d >= 0) & (np.abs(b - c) <= 1e-9 * scale)
    good &= np.abs(b) <= np.sqrt(np.maximum(a, 0)) * np.sqrt(np.maximum(d, 0)) + 1e-9 * scale
    if not good.all():
        raise ValueError(
            "precisions must be symmetric without negative eigenvalues, "
            f"matrix {np.argmin(good)} is {matrices[np.argmin(good)].tolist()}"
        )


def harmonics(phi, frequencies) -> np.ndarray:
    """Return sin(m_l phi), several features out of each kernel.

    Paper: neurbf (Chen et al. 2023, arXiv:2309.15426)

    Parameters: phi, kernel values of any shape; frequencies m (L,). Returns phi's shape + (L,).
    Raises ValueError for frequencies that are not a vector. Cost O(size L).
    """
    phi = np.asarray(phi, dtype=float)
    if not np.all(np.isfinite(phi)):
        raise ValueError("phi must be finite")
    return np.sin(phi[..., None] * as_vector("frequencies", frequencies))


@dataclass(frozen=True)
class HarmonicField:
    """f(x) = sum_i sum_l W_il sin(m_l phi_i(x)) over the kernels i nearest to x, plus a constant.

    Attributes: centres (k, 2), precisions (k, 2, 2), frequencies (L,), weights (k, L, C), constant
    (C,), nearest, profile, normalise.
    """

    centres: np.ndarray
    precisions: np.ndarray
    frequencies: np.ndarray
    weights: np.ndarray
    constant: np.ndarray
    nearest: int
    profile: str
    normalise: bool

    @property
    def floats(self) -> int:
        """How many numbers are stored: 2 + 3 + L C a kernel, and the constant."""
        k, frequencies, colours = self.weights.shape
        return k * (5 + frequencies * colours) + colours

    def at(self, points) -> np.ndarray:
        """Return the field at points (n, 2): (n, C). Cost O(n m L C)."""
        which, phi = nearest_kernels(
            points, self.centres, self.precisions, self.nearest, self.profile, self.normalise
        )
        waves = harmonics(phi, self.frequencies)
        return self.constant + np.einsum("nml,nmlc->nc", waves, self.weights[which], optimize=True)


@compiled("void(int64[:,::1], float64[:,:,::1], float64[:,::1], float64[:,::1], float64[:,::1])")
def _normal_equations(which, waves, targets, gram, right):
    n, m = which.shape
    length = waves.shape[2]
    for p in range(n):
        for a in range(m):
            for l in range(length):  # noqa: E741
                row, value = which[p, a] * length + l, waves[p, a, l]
                for b in range(m):
                    start = which[p, b] * length
                    for k in range(length):
                        gram[row, start + k] += value * waves[p, b, k]
                for c in range(targets.shape[1]):
                    right[row, c] += value * targets[p, c]


def fit_harmonic_field(
    points, targets, centres, precisions, frequencies, ridge=1e-4, nearest=4, profile=PROFILES[0],
    normalise=True,
) -> HarmonicField:  # fmt: skip
    """Fit the weights of fixed kernels by ridge regression: the linear decoder of NeuRBF.

    min_W sum_p |y_p - f(x_p)|^2 + ridge |W|^2. A linear map behind the features h_l would only be
    multiplied into W, so this is the best that decoder can do.

    Paper: neurbf (Chen et al. 2023, arXiv:2309.15426)

    Parameters
    ----------
    points : (n, 2); targets : (n, C); centres, precisions, nearest, profile, normalise :
        as in ``nearest_kernels``; frequencies : (L,); ridge : > 0

    Returns
    -------
    HarmonicField

    Raises
    ------
    ValueError for other shapes or a ridge that is not positive.

    Cost O(n (m L)^2 + (k L)^3).
    """
    targets = as_matrix("targets", targets)
    points = as_matrix("points", points, columns=2)
    same_length("points", points, "targets", targets)
    frequencies, ridge = as_vector("frequencies", frequencies), positive("ridge", ridge)
    which, phi = nearest_kernels(points, centres, precisions, nearest, profile, normalise)
    size = len(centres) * len(frequencies)
    fits_in_memory("gram", 16 * size * size)
    gram, right = np.zeros((size, size)), np.zeros((size, targets.shape[1]))
    constant = targets.mean(axis=0)
    _normal_equations(which, harmonics(phi, frequencies), targets - constant, gram, right)
    gram[np.diag_indices(size)] += ridge
    try:
        weights = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), right)
    except np.linalg.LinAlgError as problem:
        raise ValueError(f"ridge must be larger for kernels so alike, got {ridge:g}") from problem
    return HarmonicField(
        as_matrix("centres", centres),
        np.asarray(precisions, dtype=float),
        frequencies,
        weights.reshape(len(centres), len(frequencies), -1),
        constant,
        nearest,
        profile,
        bool(normalise),
    )


# --- 2. Kernels in feature space ------------------------------------------------------------------
# Paper: gaussian-rbfnet (Bouzidi et al. 2025, arXiv:2503.06762)

DECODERS = ("gaussian", "relu", "two relu layers", "linear")


def grid_interpolation(points, side: int) -> sparse.csr_matrix:
    """Return the bilinear weights of a side x side grid on the unit square, four a point.

    Paper: gaussian-rbfnet (Bouzidi et al. 2025, arXiv:2503.06762)

    Parameters: points (n, 2) in [0, 1]; side >= 2. Returns a sparse (n, side^2) matrix whose rows
    sum to one. Raises ValueError for points outside. Cost O(n).
    """
    points, side = as_matrix("points", points, columns=2), integer("side", side, low=2)
    if points.min() < 0 or points.max() > 1:
        raise ValueError(f"points must lie in [0, 1], got {points.min():g} to {points.max():g}")
    place = points * (side - 1)
    cell = np.minimum(place.astype(int), side - 2)
    x, y = (place - cell).T
    first = cell[:, 1] * side + cell[:, 0]
    columns = first[:, None] + np.array([0, 1, side, side + 1])
    values = np.column_stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
    starts = np.arange(0, 4 * len(points) + 1, 4)
    return sparse.csr_matrix(
        (values.ravel(), columns.ravel(), starts), shape=(len(points), side * side)
    )


class GridField:
    """Features from coarse grids, decoded by Gaussian kernels in feature space or by ReLU layers.

    z(x) = interpolated grid features; y(x) = sum_k w_k exp(-|z - mu_k|^2/(2 s_k^2)) + b for the
    decoder "gaussian". Grid, centres mu, widths s, weights w and b are trained together.

    Paper: gaussian-rbfnet (Bouzidi et al. 2025, arXiv:2503.06762)

    Parameters
    ----------
    points : (n, 2) in [0, 1]; targets : (n, C)
    decoder : one of ``DECODERS``
    units : Gaussians, or ReLU units a layer
    features : a grid level; sides : of the grids
    width : in [1e-6, 1e6], at the start; train_width : whether it is trained
    rate : > 0, Adam's step
    rng : seed or Generator

    Raises
    ------
    ValueError for other shapes or values.

    Attributes: grids, decoder's parameters, floats (all of them).
    """

    def __init__(
        self, points, targets, decoder="gaussian", units=32, features=4, sides=(8, 16),
        width=0.3, train_width=True, rate=0.01, rng=0,
    ):  # fmt: skip
        points, targets = as_matrix("points", points, columns=2), as_matrix("targets", targets)
        same_length("points", points, "targets", targets)
        self.decoder = one_of("decoder", decoder, DECODERS)
        units, features = integer("units", units, low=1), integer("features", features, low=1)
        width, self._rng = between("width", width, 1e-6, 1e6), as_rng(rng)
        if np.ndim(sides) != 1 or len(sides) == 0:
            raise ValueError(f"sides must name one grid or more, like (8, 16), got {sides!r}")
        maps = [grid_interpolation(points, side) for side in sides]
        self._map = sparse.hstack(maps, format="csr")  # one matrix, one product for all grids
        self._parts = [  # of a block matrix, where each grid has rows and columns of its own
            (slice(end - m.shape[1], end), slice(k * features, (k + 1) * features))
            for k, (m, end) in enumerate(
                zip(maps, np.cumsum([m.shape[1] for m in maps]), strict=True)
            )
        ]
        self.targets, self.train_width = targets, bool(train_width)
        draw = self._rng.standard_normal
        self.grids = [0.5 * draw((m.shape[1], features)) for m in maps]
        d, colours = features * len(sides), targets.shape[1]
        self.parameters = _decoder_start(self.decoder, d, units, colours, width, draw)
        self.parameters[-1] += targets.mean(axis=0)
        self._adam = Adam([self.grids, self.parameters], step=rate)

    @property
    def floats(self) -> int:
        """How many numbers are stored."""
        return sum(a.size for a in self.grids) + sum(a.size for a in self.parameters)

    def features(self, rows=slice(None)) -> np.ndarray:
        """Return z at the points: (n, d)."""
        return self._weights(rows) @ self._blocks()

    def _weights(self, rows):
        return self._map if isinstance(rows, slice) and rows == slice(None) else self._map[rows]

    def _blocks(self):
        """The grids as one block matrix: (all nodes, d)."""
        rows, columns = self._parts[-1]
        blocks = np.zeros((rows.stop, columns.stop))
        for part, grid in zip(self._parts, self.grids, strict=True):
            blocks[part] = grid
        return blocks

    def predict(self) -> np.ndarray:
        """Return the field at all points: (n, C). Cost O(n d units)."""
        return decoder_output(self.decoder, self.parameters, self.features())[0]

    def responses(self) -> np.ndarray:
        """Return what each Gaussian of the decoder says at all points: (n, units)."""
        if self.decoder != "gaussian":
            raise ValueError(f'only the decoder "gaussian" has responses, not "{self.decoder}"')
        centres, log_width = self.parameters[0], self.parameters[1]
        return np.exp(-0.5 * _squares(self.features(), centres) * np.exp(-2 * log_width))

    def loss_and_gradient(self, rows=slice(None)):
        """Return the mean squared error on some rows, with derivatives (grids, parameters)."""
        weights = self._weights(rows)
        found, pullback = decoder_output(self.decoder, self.parameters, weights @ self._blocks())
        gap = found - self.targets[rows]
        gradients, dz = pullback(2 * gap / gap.size)
        if self.decoder == "gaussian" and not self.train_width:
            gradients[1][:] = 0
        d_blocks = weights.T @ dz
        return float(np.mean(gap**2)), ([d_blocks[part] for part in self._parts], gradients)

    def train(self, steps: int, batch: int = 1024) -> Iterator[int]:
        """Take Adam steps on random batches of pixels; yields the number of steps taken."""
        steps, batch = integer("steps", steps, low=1), integer("batch", batch, low=1)
        n = len(self.targets)
        for step in range(steps):
            rows = self._rng.integers(0, n, batch) if batch < n else slice(None)
            grids, parameters = self.loss_and_gradient(rows)[1]
            self._adam.update([grids, parameters])
            yield step + 1


def _squares(z, centres):
    """Squared distances (n, k), not below zero."""
    gaps = np.sum(z**2, axis=1)[:, None] - 2 * z @ centres.T + np.sum(centres**2, axis=1)
    return np.maximum(gaps, 0)


def _decoder_start(decoder, d, units, colours, width, draw):
    """Random parameters, the output's constant last."""
    if decoder == "gaussian":
        centres, scale = 0.5 * draw((units, d)), np.full(units, np.log(width))
        return [centres, scale, draw((units, colours)) / np.sqrt(units), np.zeros(colours)]
    hidden = {"relu": 1, "two relu layers": 2, "linear": 0}[decoder]
    sizes, parameters = [d, *[units] * hidden, colours], []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        parameters += [draw((inputs, outputs)) * np.sqrt(2 / inputs), np.zeros(outputs)]
    return parameters


def decoder_output(decoder: str, parameters, z):
    """Return a decoder's output at features, and the map from sensitivities to derivatives.

    Paper: gaussian-rbfnet (Bouzidi et al. 2025, arXiv:2503.06762)

    Parameters: decoder, one of ``DECODERS``; parameters as ``GridField`` holds them; z (n, d).
    Returns output (n, C), and pullback: (n, C) -> (list of derivatives, dz (n, d)).
    Raises ValueError for parameters that do not fit together or to z. Cost O(n d units).
    """
    one_of("decoder", decoder, DECODERS)
    z = as_matrix("z", z)
    _fitting(decoder, parameters, z.shape[1])
    if decoder == "gaussian":
        return _gaussian_layer(*parameters, z)
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    hidden = [z]
    for weights, biases in pairs[:-1]:
        hidden.append(np.maximum(hidden[-1] @ weights + biases, 0))
    output = hidden[-1] @ pairs[-1][0] + pairs[-1][1]

    def pullback(s):
        gradients = []
        for place in range(len(pairs) - 1, -1, -1):
            gradients[:0] = [hidden[place].T @ s, s.sum(axis=0)]
            s = s @ pairs[place][0].T
            if place:
                s = s * (hidden[place] > 0)
        return gradients, s

    return output, pullback


def _fitting(decoder, parameters, inputs):
    """Refuse parameters that do not fit together, or to so many inputs."""
    shapes = [np.shape(a) for a in parameters]
    if decoder == "gaussian":
        units, colours = ((shapes[place : place + 1] or [()])[0] or (0,) for place in (1, 3))
        wanted = [(units[0], inputs), units[:1], (units[0], colours[0]), colours[:1]]
    else:
        hidden = {"relu": 1, "two relu layers": 2, "linear": 0}[decoder]
        sizes = [inputs, *((a or (0,))[0] for a in shapes[1::2])]
        wanted = [s for i, o in zip(sizes[:-1], sizes[1:], strict=True) for s in ((i, o), (o,))]
        wanted = wanted if len(sizes) == hidden + 2 else None
    if shapes != wanted:
        raise ValueError(
            f'parameters of the decoder "{decoder}" must fit together and to the {inputs} columns '
            f"of z, got shapes {shapes}"
        )


def _gaussian_layer(centres, log_width, weights, constant, z):
    """One layer of Gaussians, with its derivatives written out."""
    squares, rate = _squares(z, centres), np.exp(-2 * log_width)
    phi = np.exp(-0.5 * squares * rate)

    def pullback(s):
        pull = (s @ weights.T) * phi  # sensitivity of the exponent
        turn = pull * rate
        d_centres = turn.T @ z - turn.sum(axis=0)[:, None] * centres
        d_width = np.sum(pull * squares, axis=0) * rate
        dz = turn @ centres - turn.sum(axis=1)[:, None] * z
        return [d_centres, d_width, phi.T @ s, s.sum(axis=0)], dz

    return phi @ weights + constant, pullback


# --- 3. Kernels that move -------------------------------------------------------------------------
# Paper: pig (Kang et al. 2025, arXiv:2412.05994)


def standing_wave(points, a1: float = 2, a2: float = 1):
    """Return u = sin(a1 pi x) sin(a2 pi y) and q = Lap u + u at points (n, 2): two (n,).

    Raises ValueError for other points, or frequencies beyond a million. Cost O(n).
    """
    points = as_matrix("points", points, columns=2)
    a1, a2 = between("a1", a1, -1e6, 1e6), between("a2", a2, -1e6, 1e6)
    u = np.sin(a1 * np.pi * points[:, 0]) * np.sin(a2 * np.pi * points[:, 1])
    return u, (1 - np.pi**2 * (a1**2 + a2**2)) * u


def sharp_front(points, sharpness: float = 8, radius: float = 0.6):
    """Return u = tanh(sharpness (x^2 + y^2 - radius^2)) and q = Lap u + u: two (n,).

    Raises ValueError for other points, a sharpness not in [0, 1e6], or radius < 0. Cost O(n).
    """
    points = as_matrix("points", points, columns=2)
    c, squares = between("sharpness", sharpness, 0, 1e6), np.sum(points**2, axis=1)
    u = np.tanh(c * (squares - nonnegative("radius", radius) ** 2))
    slope = 1 - u * u
    return u, u + slope * 4 * c - 2 * u * slope * 4 * c * c * squares


def narrow_peak(points, width: float = 0.12, place=(0.35, -0.25)):
    """Return u = 1/(1 + r^2/width^2), r the distance to a place, and q = Lap u + u: two (n,).

    Raises ValueError for other points or places, or a width not in [1e-6, 1e6]. Cost O(n).
    """
    points, square = as_matrix("points", points, columns=2), between("width", width, 1e-6, 1e6) ** 2
    squares = np.sum((points - as_vector("place", place, length=2)) ** 2, axis=1)
    u = 1 / (1 + squares / square)
    return u, u - 4 / square * u**2 + 8 * squares / square**2 * u**3


LARGEST_LOG_WIDTH = 75  # the least is its negative: further out, cubes of 1/s^2 overflow


@compiled("void(float64[:,::1], float64[:,::1], float64[:,::1])")
def _columns(means, log_widths, out):
    # Means and 1/s^2 of all Gaussians, each a row, so that a loop over Gaussians reads in order.
    for i in range(means.shape[0]):
        for axis in range(2):
            log_width = min(max(log_widths[i, axis], -LARGEST_LOG_WIDTH), LARGEST_LOG_WIDTH)
            out[axis, i], out[2 + axis, i] = means[i, axis], exp(-2 * log_width)


@compiled("void(float64[:,::1], float64[:,::1], float64[:,:,::1])", fastmath={"contract"})
def _jets(points, columns, out):
    for p in range(points.shape[0]):
        at_x, at_y = points[p, 0], points[p, 1]
        for i in range(columns.shape[1]):
            x, y, a, b = at_x - columns[0, i], at_y - columns[1, i], columns[2, i], columns[3, i]
            u, v = x * a, y * b
            phi = exp(-0.5 * (x * u + y * v))
            out[0, p, i] = phi
            out[1, p, i] = -u * phi
            out[2, p, i] = -v * phi
            out[3, p, i] = (u * u + v * v - a - b) * phi


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,:,::1], float64[:,:,::1], float64[:,::1])",
    fastmath={"contract"},
)
def _jets_back(points, columns, jets, s, out):
    for p in range(points.shape[0]):
        at_x, at_y = points[p, 0], points[p, 1]
        for i in range(columns.shape[1]):
            x, y, a, b = at_x - columns[0, i], at_y - columns[1, i], columns[2, i], columns[3, i]
            phi, u, v = jets[0, p, i], x * a, y * b
            s1, s2, s3 = s[1, p, i], s[2, p, i], s[3, p, i]
            inner = s[0, p, i] - s1 * u - s2 * v + s3 * (u * u + v * v - a - b)
            out[0, i] += phi * (u * inner + a * (s1 - 2 * s3 * u))
            out[1, i] += phi * (v * inner + b * (s2 - 2 * s3 * v))
            out[2, i] += phi * (x * u * inner + 2 * s1 * u + s3 * (2 * a - 4 * u * u))
            out[3, i] += phi * (y * v * inner + 2 * s2 * v + s3 * (2 * b - 4 * v * v))


def gaussian_jets(points, means, log_widths):
    """Return Gaussians, their slopes and Laplacians at points, and the derivatives of all that.

    phi_i = exp(-z^2/2) with z = (x - mu_i)/s_i; Lap phi = phi sum_a (z_a^2 - 1)/s_a^2.

    Paper: pig (Kang et al. 2025, arXiv:2412.05994)

    Parameters: points (n, 2); means (k, 2); log_widths log s (k, 2), held in [-75, 75]. Returns
    jets (4, n, k): phi, d/dx, d/dy, Laplacian; and pullback: (4, n, k) -> d means, d log_widths
    (k, 2). Raises ValueError for other shapes, there too. Cost O(n k).
    """
    points, means = as_matrix("points", points, columns=2), as_matrix("means", means, columns=2)
    log_widths = as_matrix("log_widths", log_widths, columns=2)
    same_length("means", means, "log_widths", log_widths)
    fits_in_memory("jets", 64 * len(points) * len(means))
    columns, jets = np.empty((4, len(means))), np.empty((4, len(points), len(means)))
    _columns(means, log_widths, columns)
    _jets(points, columns, jets)

    def pullback(s):
        s = np.ascontiguousarray(s, dtype=float)
        if s.shape != jets.shape:
            raise ValueError(f"sensitivities must be {jets.shape} like the jets, got {s.shape}")
        out = np.zeros((4, len(means)))
        _jets_back(points, columns, jets, s, out)
        return out[:2].T.copy(), out[2:].T.copy()

    return jets, pullback


@compiled("void(float64[:,::1], float64[:,::1])", fastmath={"contract"})
def _tanh_jets(a, h):
    for i in range(a.shape[1]):  # h[0] = tanh(a[0]) is there already
        t = h[0, i]
        slope = 1 - t * t
        h[1, i], h[2, i] = slope * a[1, i], slope * a[2, i]
        h[3, i] = slope * (a[3, i] - 2 * t * (a[1, i] * a[1, i] + a[2, i] * a[2, i]))


@compiled("void(float64[:,::1], float64[::1], float64[:,::1])", fastmath={"contract"})
def _tanh_jets_back(a, tanh, s):
    for i in range(a.shape[1]):
        t, x, y, s3 = tanh[i], a[1, i], a[2, i], s[3, i]
        slope = 1 - t * t
        bend = -2 * t * slope
        value = bend * (s[1, i] * x + s[2, i] * y + s3 * a[3, i])
        s[0, i] = s[0, i] * slope + value + slope * (6 * t * t - 2) * s3 * (x * x + y * y)
        s[1, i] = s[1, i] * slope + 2 * bend * s3 * x
        s[2, i] = s[2, i] * slope + 2 * bend * s3 * y
        s[3, i] = s3 * slope


def jet_network(layers, jets):
    """Push values, slopes and Laplacians through tanh layers (the last one without tanh).

    With a = W h: slopes and Laplacian of a are W times those of h; then
    grad tanh(a) = t' grad a and Lap tanh(a) = t' Lap a + t'' |grad a|^2.

    Paper: pig (Kang et al. 2025, arXiv:2412.05994)

    Parameters: layers, pairs W (inputs, outputs) and b (outputs,); jets (4, n, inputs).
    Returns jets (4, n, outputs), and pullback: sensitivities of that shape -> (pairs dW, db;
    d jets (4, n, inputs)). Raises ValueError for other shapes, there too.
    Cost O(n x number of weights).
    """
    jets = np.asarray(jets, dtype=float)
    if jets.ndim != 3 or jets.shape[0] != 4:
        raise ValueError(f"jets must be (4, n, inputs), got {jets.shape}")
    _chained(layers, jets.shape[2])
    inputs, inner = [jets], []
    for weights, biases in layers[:-1]:
        a = np.ascontiguousarray(inputs[-1] @ weights)
        a[0] += biases
        h = np.empty_like(a)
        np.tanh(a[0], out=h[0])
        _tanh_jets(a.reshape(4, -1), h.reshape(4, -1))
        inner.append(a)
        inputs.append(h)
    output = inputs[-1] @ layers[-1][0]
    output[0] += layers[-1][1]

    def pullback(s):
        s, gradients = np.asarray(s, dtype=float), []
        if s.shape != output.shape:
            raise ValueError(f"sensitivities must be {output.shape}, got {s.shape}")
        for place in range(len(layers) - 1, -1, -1):
            h, weights = inputs[place], layers[place][0]
            flat = s.reshape(-1, s.shape[2])
            gradients.insert(0, (h.reshape(len(flat), -1).T @ flat, s[0].sum(axis=0)))
            s = np.ascontiguousarray(s @ weights.T)
            if place:
                _tanh_jets_back(inner[place - 1].reshape(4, -1), h[0].ravel(), s.reshape(4, -1))
        return gradients, s

    return output, pullback


def _chained(layers, inputs):
    """Refuse layers that do not fit to each other, or to so many inputs."""
    shapes = [(np.shape(weights), np.shape(biases)) for weights, biases in layers]
    width, fit = inputs, len(shapes) > 0
    for weights, biases in shapes:
        fit = fit and len(weights) == 2 and weights[0] == width and biases == weights[1:]
        width = weights[-1] if weights else 0
    if not fit:
        raise ValueError(
            "layers must be pairs (inputs, outputs), (outputs,) that fit to each other and to "
            f"{inputs} inputs, got shapes {shapes}"
        )


class _Packed:
    """Parameters as a list of arrays, and as one long vector for the minimiser."""

    def __init__(self, arrays):
        self._shapes = [a.shape for a in arrays]
        self._cuts = np.cumsum([a.size for a in arrays])[:-1]
        self.start = np.concatenate([a.ravel() for a in arrays])

    def unpack(self, theta):
        parts = np.split(theta, self._cuts)
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]


class MovingGaussians(_Packed):
    """u = MLP(F(x)), F(x) = sum_i f_i exp(-sum_a (x_a - mu_ia)^2/(2 s_ia^2)), f_i in R^k.

    Paper: pig (Kang et al. 2025, arXiv:2412.05994)

    Parameters
    ----------
    means : (N, 2), where they start; width : > 0, at the start
    features : k; hidden : units of the one tanh layer
    move_means, move_widths : whether descent changes them
    rng : seed or Generator, for f and the network

    Attributes: start (P,), all parameters in one vector. ``jets(theta, points)`` returns u, u_x,
    u_y, Lap u (4, n), and the pullback to theta.

    Raises ValueError for other shapes or values.
    """

    def __init__(
        self, means, width=0.2, features=4, hidden=16, move_means=True, move_widths=True, rng=0
    ):
        means = as_matrix("means", means, columns=2)
        features, hidden = integer("features", features, low=1), integer("hidden", hidden, low=1)
        log_widths = np.full(means.shape, np.log(positive("width", width)))
        draw = as_rng(rng).standard_normal
        super().__init__(
            [
                means,
                log_widths,
                0.5 * draw((len(means), features)),
                draw((features, hidden)) / np.sqrt(features),
                np.zeros(hidden),
                draw((hidden, 1)) / np.sqrt(hidden),
                np.zeros(1),
            ]
        )
        self._moves = float(bool(move_means)), float(bool(move_widths))

    def jets(self, theta, points):
        means, log_widths, f, w1, b1, w2, b2 = self.unpack(theta)
        basis, basis_back = gaussian_jets(points, means, log_widths)
        output, back = jet_network([(w1, b1), (w2, b2)], basis @ f)

        def pullback(s):
            ((d_w1, d_b1), (d_w2, d_b2)), s = back(s[:, :, None])
            d_f = basis.reshape(-1, len(f)).T @ s.reshape(-1, f.shape[1])
            d_means, d_widths = np.zeros_like(means), np.zeros_like(means)
            if any(self._moves):
                d_means, d_widths = basis_back(s @ f.T)
            parts = self._moves[0] * d_means, self._moves[1] * d_widths, d_f
            return np.concatenate([a.ravel() for a in (*parts, d_w1, d_b1, d_w2, d_b2)])

        return output[:, :, 0], pullback


class WaveNetwork(_Packed):
    """The usual physics-informed network: coordinates -> tanh layers -> u.

    Paper: pig (Kang et al. 2025, arXiv:2412.05994), its baseline

    Parameters: hidden, the sizes of the layers; rng. ``start`` and ``jets`` as in
    ``MovingGaussians``. Raises ValueError for sizes below 1.
    """

    def __init__(self, hidden=(28, 26), rng=0):
        sizes = [2, *(integer("hidden", size, low=1) for size in hidden), 1]
        draw, arrays = as_rng(rng).standard_normal, []
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
            arrays += [draw((inputs, outputs)) / np.sqrt(inputs), np.zeros(outputs)]
        super().__init__(arrays)

    def jets(self, theta, points):
        points = as_matrix("points", points, columns=2)
        arrays = self.unpack(theta)
        start = np.zeros((4, len(points), 2))
        start[0], start[1, :, 0], start[2, :, 1] = points, 1, 1
        output, back = jet_network(list(zip(arrays[::2], arrays[1::2], strict=True)), start)

        def pullback(s):
            return np.concatenate([a.ravel() for pair in back(s[:, :, None])[0] for a in pair])

        return output[:, :, 0], pullback


def collocation(inside: int, along: int, rng=0):
    """Return random points in the square [-1, 1]^2, and points along its border.

    Parameters: inside, along >= 4; rng. Returns (inside, 2) and (4 (along // 4), 2).
    Raises ValueError for fewer. Cost O(points).
    """
    inside, along = integer("inside", inside, low=4), integer("along", along, low=4)
    points = as_rng(rng).uniform(-1, 1, (inside, 2))
    t = np.linspace(-1, 1, along // 4, endpoint=False)
    one = np.ones_like(t)
    edges = [(t, -one), (one, t), (-t, one), (-one, -t)]
    return points, np.vstack([np.column_stack(edge) for edge in edges])


def helmholtz_loss(model, solution, points, border, weight: float = 1e-3):
    """Return the loss of Lap u + u = q with given border values, as a function of the parameters.

    mean (u - u*)^2 on the border + weight mean (Lap u + u - q)^2 inside.

    Paper: pig (Kang et al. 2025, arXiv:2412.05994)

    Parameters: model with ``jets(theta, points)``; solution(points) -> u*, q (n,); points (n, 2),
    border (m, 2); weight > 0. Returns theta -> (loss, gradient). Raises ValueError for other
    shapes. Cost of a call: that of the model's jets at n + m points.
    """
    points = as_matrix("points", points, columns=2)
    border, weight = as_matrix("border", border, columns=2), positive("weight", weight)
    everywhere, n = np.vstack([points, border]), len(points)
    q, values = _given(solution, points)[1], _given(solution, border)[0]

    def loss(theta):
        jets, pullback = model.jets(theta, everywhere)
        residual = jets[3, :n] + jets[0, :n] - q
        gap = jets[0, n:] - values
        s = np.zeros_like(jets)
        s[0, :n] = s[3, :n] = 2 * weight * residual / n
        s[0, n:] = 2 * gap / len(gap)
        return np.mean(gap**2) + weight * np.mean(residual**2), pullback(s)

    return loss


def _given(solution, points):
    """The solution and the right side at points, if they are vectors of that length."""
    parts = solution(points)
    if len(parts) != 2 or any(np.shape(part) != (len(points),) for part in parts):
        shapes = [np.shape(part) for part in parts]
        raise ValueError(f"solution must give u and q, ({len(points)},) each, got shapes {shapes}")
    return parts


def direct_collocation(means, width, solution, points, border, weight: float = 1e-3):
    """Solve for the weights of fixed Gaussians: the same loss without a network, by least squares.

    Kansa's method: u = sum_i w_i phi_i is linear in w, and so are its residual and border values.

    Paper: pig (Kang et al. 2025, arXiv:2412.05994), the linear special case

    Parameters: means (k, 2); width > 0; the rest as in ``helmholtz_loss``. Returns u, a function of
    points (n, 2). Raises ValueError for other shapes. Cost O((n + m) k^2).
    """
    means = as_matrix("means", means, columns=2)
    points, border = as_matrix("points", points, columns=2), as_matrix("border", border, columns=2)
    log_widths = np.full(means.shape, np.log(positive("width", width)))
    inside = np.sqrt(positive("weight", weight) / len(points))
    basis = gaussian_jets(points, means, log_widths)[0]
    edge = gaussian_jets(border, means, log_widths)[0][0] / np.sqrt(len(border))
    system = np.vstack([inside * (basis[0] + basis[3]), edge])
    q, values = _given(solution, points)[1], _given(solution, border)[0]
    wanted = [inside * q, values / np.sqrt(len(border))]
    # Wide Gaussians are nearly the same function: their smallest directions are left out.
    weights = np.linalg.lstsq(system, np.concatenate(wanted), rcond=1e-12)[0]
    return lambda at: gaussian_jets(at, means, log_widths)[0][0] @ weights


def minimise(loss, start, steps: int = 500, memory: int = 20) -> Iterator[tuple[int, np.ndarray]]:
    """Descend by L-BFGS, one step at a time, so that a run can be watched and stopped.

    The direction is -H g with H built from the last ``memory`` steps and changes of gradient; its
    length satisfies Wolfe's conditions.

    Parameters: loss, theta -> (value, gradient); start (P,); steps, memory >= 1. Yields the number
    of steps taken and theta; ends early when no step lowers the loss. Raises ValueError for a start
    that is not a vector, or where the loss is not finite. Cost of a step: one or two losses and
    O(memory P).
    Source: Nocedal and Wright 2006, algorithms 7.4 and 7.5.
    """
    theta, steps = as_vector("start", start), integer("steps", steps, low=1)
    memory, seen = integer("memory", memory, low=1), {}

    def at(place):
        key = place.tobytes()
        if key not in seen:
            while len(seen) > 4:
                seen.pop(next(iter(seen)))
            seen[key] = loss(place)
        return seen[key]

    pairs, old, (value, gradient) = [], None, at(theta)
    if not np.isfinite(value):
        raise ValueError(f"loss must be finite at the start, got {value}")
    for step in range(steps):
        if not np.any(gradient):
            return
        direction = -_two_loops(pairs, gradient)
        if direction @ gradient >= 0:
            pairs, direction = [], -gradient
        if not pairs:
            direction = direction / max(1.0, np.linalg.norm(direction))
        with warnings.catch_warnings():  # a search without success is dealt with below
            warnings.simplefilter("ignore", RuntimeWarning)
            found = line_search(
                lambda p: at(p)[0], lambda p: at(p)[1], theta, direction, gradient, value, old,
                c2=0.9, maxiter=12,
            )[0]  # fmt: skip
        if found is None or not np.isfinite(at(theta + found * direction)[0]):
            if not pairs:
                return
            pairs, old = [], None
            continue
        new = theta + found * direction
        old, (value, new_gradient) = value, at(new)
        change = new_gradient - gradient
        if change @ (new - theta) > 1e-14 * (change @ change):
            pairs = [*pairs, (new - theta, change)][-memory:]
        theta, gradient = new, new_gradient
        yield step + 1, theta


def _two_loops(pairs, gradient):
    """H g from the remembered steps s and changes of gradient y."""
    g, alphas = gradient.copy(), []
    for s, y in reversed(pairs):
        alphas.append(s @ g / (s @ y))
        g -= alphas[-1] * y
    if pairs:
        s, y = pairs[-1]
        g *= s @ y / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        g += s * (alpha - y @ g / (s @ y))
    return g
