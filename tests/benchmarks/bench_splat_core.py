"""The splat core lab beside its peers: codes, groups, and convolution without a grid."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.gaussian_splatting import splat_core as sc


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for codes in (64, 512):
        yield coding(1024, codes)
    for count in (200, 2000):
        yield grouping(count)
    for components in (20, 200):
        yield convolving(components)


def coding(count: int, codes: int) -> Row:
    """The nearest code of each feature."""
    rng = np.random.default_rng(0)
    features, book = rng.random((count, 3)), rng.random((codes, 3))

    def scikit_learn():
        from sklearn.metrics import pairwise_distances_argmin

        return pairwise_distances_argmin(features, book)

    def plain_numpy():
        return np.argmin(((features[:, None] - book) ** 2).sum(axis=2), axis=1)

    peers = {"scikit-learn": scikit_learn, "plain NumPy": plain_numpy}
    ours = lambda: sc.nearest_codes(features, book)  # noqa: E731
    return Row("nearest codes", f"n={count}, V={codes}", ours, peers)


def grouping(count: int) -> Row:
    """Soft groups of ten splats about six centres."""
    points = np.random.default_rng(0).normal(size=(count, 7))
    centres = points[sc.farthest_points(points, 6)]

    def scikit_learn():
        from sklearn.neighbors import NearestNeighbors

        gaps, members = NearestNeighbors(n_neighbors=10).fit(points).kneighbors(centres)
        share = np.exp((gaps[:, :1] - gaps) / 0.5)
        weights = np.zeros((len(centres), count))
        np.put_along_axis(weights, members, share / share.sum(axis=1, keepdims=True), axis=1)
        return weights

    ours = lambda: sc.group_weights(points, centres, 10, 0.5)  # noqa: E731
    return Row("soft groups", f"n={count}", ours, {"scikit-learn": scikit_learn})


def convolving(components: int) -> Row:
    """A mixture of splats by one of three, to have its values on a grid of 64 x 64."""
    one, two = _mixture(components, 0), _mixture(3, 1)
    step = 0.5
    places = (np.arange(64) - 32) * step
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)

    def ours():
        return sc.convolve(one, two).values(grid).reshape(64, 64)

    def scipy_fft():
        from scipy.signal import fftconvolve

        maps = [mixture.values(grid).reshape(64, 64) for mixture in (one, two)]
        return fftconvolve(*maps)[32:96, 32:96] * step**2

    peers = {"scipy FFT": scipy_fft}
    return Row("convolve and draw", f"n={components}, k=3", ours, peers, tolerance=1e-6)


def _mixture(count: int, seed: int) -> sc.Mixture:
    rng = np.random.default_rng(seed)
    return sc.Mixture(
        rng.normal(size=count),
        rng.uniform(-6, 6, (count, 2)) / (3 if count == 3 else 1),
        rng.uniform(0.6, 1.5, count)[:, None, None] * np.eye(2),
    )
