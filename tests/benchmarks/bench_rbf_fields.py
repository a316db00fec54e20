"""The radial fields lab beside its peers: weighted k-means, and the fit of a field."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.clustering import weighted_kmeans
from kernellab.methods.gaussian_splatting import rbf_fields as rf


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for size, count in ((64, 100), (128, 100), (128, 400)):
        yield placing(size, count)
    for size in (32, 64):
        yield fitting(size)


def placing(size: int, count: int) -> Row:
    """Twenty steps of weighted k-means on the pixels of a drawing, from random pixels."""
    points, weights = rf.pixel_places(size), 1.02 - rf.line_drawing(size).ravel()

    def scikit_learn():
        from sklearn.cluster import KMeans

        chances = weights / weights.sum()
        start = np.random.default_rng(0).choice(len(points), count, replace=False, p=chances)
        peer = KMeans(count, init=points[start], n_init=1, max_iter=20, tol=0)
        return peer.fit(points, sample_weight=weights).cluster_centers_

    return Row(
        "weighted k-means",
        f"n={size * size}, k={count}",
        lambda: weighted_kmeans(points, weights, count, 0, steps=20)[0],
        {"scikit-learn": scikit_learn},
    )


def fitting(size: int) -> Row:
    """The ridge regression of 100 kernels with four frequencies; the peer's matrix is dense."""
    points, values = rf.pixel_places(size), rf.line_drawing(size).reshape(-1, 1)
    weights = 1.02 - values[:, 0]
    centres, label, _ = weighted_kmeans(points, weights, 100, 0)
    shapes = rf.cluster_shapes(points, weights, label, centres, 2.0)
    frequencies = np.array([0.25, 0.8, 2.5, 8])

    def ours():
        return rf.fit_harmonic_field(points, values, centres, shapes, frequencies, 1e-2).weights

    def plain_numpy():
        gaps = points[:, None] - centres
        which = np.argpartition(np.sum(gaps**2, axis=2), 4, axis=1)[:, :4]
        gaps = np.take_along_axis(gaps, which[:, :, None], axis=1)
        phi = 1 / (1 + np.einsum("nma,nmab,nmb->nm", gaps, shapes[which], gaps))
        waves = np.sin((phi / phi.sum(axis=1, keepdims=True))[:, :, None] * frequencies)
        design = np.zeros((len(points), 100, 4))
        np.put_along_axis(design, which[:, :, None], waves, axis=1)
        design = design.reshape(len(points), 400)
        gram = design.T @ design + 1e-2 * np.eye(400)
        return np.linalg.solve(gram, design.T @ (values - values.mean())).reshape(100, 4, 1)

    return Row("fit a field", f"n={size * size}, 100 kernels", ours, {"plain NumPy": plain_numpy})
