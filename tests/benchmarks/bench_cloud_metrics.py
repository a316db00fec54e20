"""The cloud metrics lab beside its peers: kernel distances, neighbours, precision and recall."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Gaussian
from kernellab.compute.mmd import mmd_squared
from kernellab.methods.mean_embeddings import cloud_metrics as cm


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (500, 2000, 5000):
        yield fused_mmd(n, 32)
    for n, d in ((500, 32), (2000, 32), (5000, 32), (2000, 2), (20_000, 2)):
        yield radii(n, d)
    for n in (500, 2000, 5000):
        yield balls(n)
    for n in (400, 1600):
        yield cycles(n)
    yield frechet(64)
    yield frechet(512)


def clouds(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)), 0.8 * rng.standard_normal((n, d)) + 0.1


def fused_mmd(n: int, d: int) -> Row:
    """The unbiased squared MMD of two clouds with a Gaussian kernel."""
    x, y = clouds(n, d)
    kernel = Gaussian(5.0)

    def sklearn():
        from sklearn.metrics.pairwise import rbf_kernel

        within = sum((rbf_kernel(z, z, gamma=0.02).sum() - n) / (n * (n - 1)) for z in (x, y))
        return within - 2 * rbf_kernel(x, y, gamma=0.02).mean()

    return Row(
        "unbiased MMD", f"n={n}, d={d}", lambda: mmd_squared(x, y, kernel),
        {"scikit-learn rbf_kernel": sklearn},
    )  # fmt: skip


def radii(n: int, d: int) -> Row:
    """Every point's distance to its third neighbour."""
    x, _ = clouds(n, d)

    def sklearn():
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors(n_neighbors=3).fit(x).kneighbors()[0][:, -1]

    return Row(
        "k-NN radii", f"n={n}, d={d}", lambda: cm.knn_radii(x, 3),
        {"scikit-learn NearestNeighbors": sklearn},
    )  # fmt: skip


def balls(n: int) -> Row:
    """Precision and recall of two clouds in 32 dimensions; the peer adds two measures."""
    x, y = clouds(n, 32)

    def prdc():
        from prdc import compute_prdc

        found = compute_prdc(x, y, nearest_k=3)
        return np.array([found["precision"], found["recall"]])

    def ours():
        found = cm.precision_recall(x, y, 3)
        return np.array([found.precision, found.recall])

    return Row("precision and recall", f"n={n}, d=32", ours, {"prdc": prdc})


def cycles(n: int) -> Row:
    """Three spectral moments; the peer forms the triangles, as the formula is written."""
    data = cm.simulate_responses(n, np.linspace(0.9, 0.1, 50), 0)

    def triangles():
        from math import comb

        a, b = np.triu(data.y @ data.y.T, 1), np.triu(data.x @ data.x.T, 1)
        gram, path, moments = data.x @ data.x.T, a, []
        for p in (1, 2, 3):
            moments.append(np.sum(path * gram) / comb(n, 2 * p))
            if p < 3:
                path = a @ (b @ path)
        return np.array(moments)

    return Row(
        "spectral moments", f"n={n}, N=50", lambda: cm.spectral_moments(data.x, data.y, 3),
        {"NumPy, triangles": triangles},
    )  # fmt: skip


def frechet(d: int) -> Row:
    """The Frechet distance of two fitted Gaussians."""
    x, y = clouds(2000, d)
    moments = x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T)

    def scipy():
        from scipy.linalg import sqrtm

        m1, c1, m2, c2 = moments
        return np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)

    return Row(
        "Frechet distance", f"d={d}", lambda: cm.frechet(*moments), {"SciPy sqrtm": scipy}
    )  # fmt: skip
