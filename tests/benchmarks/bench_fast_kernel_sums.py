"""The fast kernel sums lab beside its peers: multipoles, Gaussian sums, near pairs, distances."""

import math
from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Gaussian
from kernellab.methods.random_features import fast_kernel_sums as fks


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (1000, 10_000, 100_000):
        yield gravity(n)
    for n in (1000, 10_000, 100_000):
        yield waves(n)
    for n in (1000, 10_000, 100_000):
        yield bell(n)
    for n in (1000, 10_000):
        yield all_pairs(n)
    for n in (1000, 4000, 16_000):
        yield near_pairs(n)
    for n in (4000, 16_000):
        yield estimated_product(n)
    for n in (10_000, 100_000):
        yield distances(n)


def _plane(n: int):
    rng = np.random.default_rng(0)
    return rng.random((n, 2)), rng.standard_normal(n)


def _in_space(x):
    return np.asfortranarray(np.column_stack([x, np.zeros(len(x))]).T)


def gravity(n: int) -> Row:
    """Sum of 1/r over all pairs in the plane to six digits.

    The tree is built in each call; the skeletons, which depend on the kernel alone, only once.
    """
    x, v = _plane(n)
    kernel = fks.RadialKernel("1/r")

    def fmm3d():
        import fmm3dpy

        answer = fmm3dpy.lfmm3d(eps=1e-6, sources=_in_space(x), charges=v, pg=1)
        return 4 * math.pi * answer.pot  # its kernel is 1 / (4 pi r)

    peers = {"fmm3dpy": fmm3d}
    if n <= 10_000:
        peers["kernellab, all pairs"] = lambda: kernel.matvec(x, None, v)
    if n <= 1000:
        peers["SciPy cdist"] = lambda: _scipy_gravity(x, v)
    return Row(
        "sum of 1/r", f"n={n}", lambda: fks.Multipole(kernel, x, 1e-6).sum(v), peers, tolerance=1e-4
    )


def _scipy_gravity(x, v):
    from scipy.spatial.distance import cdist

    distance = cdist(x, x)
    np.fill_diagonal(distance, np.inf)
    return (1 / distance) @ v


def waves(n: int) -> Row:
    """Sum of cos(k r)/(k r), k = 20, over all pairs in the plane to six digits."""
    x, v = _plane(n)
    kernel = fks.RadialKernel("oscillating", 0.05)

    def fmm3d():
        import fmm3dpy

        answer = fmm3dpy.hfmm3d(eps=1e-6, zk=20.0, sources=_in_space(x), charges=v, pg=1)
        return 4 * math.pi * 0.05 * answer.pot.real

    return Row(
        "sum of waves",
        f"n={n}",
        lambda: fks.Multipole(kernel, x, 1e-6).sum(v),
        {"fmm3dpy": fmm3d},
        tolerance=1e-4,
    )


def bell(n: int) -> Row:
    """Gaussian sum over all pairs in the plane to six digits, plan included."""
    x, v = _plane(n)
    h = 0.05
    kernel = fks.RadialKernel("gaussian", h)

    def nufft():
        import finufft

        cut = math.sqrt(-2 * math.log(1e-6))  # beyond it the bell and its transform are left out
        period = 1 + cut * h
        modes = (math.ceil(period * cut / h / math.pi) | 1) + 2
        angle = np.ascontiguousarray((2 * np.pi * x / period - np.pi).T)
        shape = (modes, modes)
        coefficients = finufft.nufft2d1(*angle, v.astype(complex), shape, eps=1e-6, isign=-1)
        frequency = np.arange(-(modes // 2), modes // 2 + 1) * 2 * np.pi / period
        weight = np.exp(-((h * frequency) ** 2) / 2) * math.sqrt(2 * np.pi) * h / period
        coefficients = coefficients * np.outer(weight, weight)
        return finufft.nufft2d2(*angle, coefficients, eps=1e-6, isign=1).real

    def keops():
        from pykeops.numpy import LazyTensor

        z = x / (h * math.sqrt(2))
        square = ((LazyTensor(z[:, None]) - LazyTensor(z[None])) ** 2).sum(-1)
        return ((-square).exp() @ v[:, None])[:, 0]

    peers = {"finufft": nufft}
    if n <= 10_000:
        peers["pykeops, all pairs"] = keops
        peers["kernellab, all pairs"] = lambda: kernel.matvec(x, None, v)
    return Row("Gaussian sum", f"n={n}", lambda: fks.SmoothSum(kernel, x, 1e-6).sum(v), peers, 1e-4)


def all_pairs(n: int) -> Row:
    """The direct sum itself: every pair, nothing stored."""
    x, v = _plane(n)

    def keops():
        from pykeops.numpy import LazyTensor

        z = x / (0.05 * math.sqrt(2))
        square = ((LazyTensor(z[:, None]) - LazyTensor(z[None])) ** 2).sum(-1)
        return ((-square).exp() @ v[:, None])[:, 0]

    def sklearn():
        from sklearn.metrics.pairwise import rbf_kernel

        return rbf_kernel(x, gamma=0.5 / 0.05**2) @ v

    return Row(
        "all pairs, Gaussian",
        f"n={n}",
        lambda: fks.RadialKernel("gaussian", 0.05).matvec(x, None, v),
        {"pykeops": keops, "scikit-learn": sklearn},
    )


def near_pairs(n: int) -> Row:
    """Row sums of the Gaussian entries above 1/sqrt(n) in 16 dimensions; ours finds 99% of them."""
    queries, keys, _ = fks.tokens(n, 16, n // 10, 0.2, 1)
    threshold = n**-0.5
    radius = 0.7 * math.sqrt(-2 * math.log(threshold))

    def ours():
        tables = fks.HashTables(keys, 4.0, 8, 40, 0)
        return tables.heavy(queries, 0.7, threshold)[0].sum(axis=1)

    def kd_tree():
        from scipy.spatial import cKDTree

        pairs = cKDTree(queries).sparse_distance_matrix(
            cKDTree(keys), radius, output_type="coo_matrix"
        )
        return np.bincount(pairs.row, np.exp(-(pairs.data**2) / (2 * 0.7**2)), minlength=n)

    def brute():
        from sklearn.neighbors import NearestNeighbors

        found = NearestNeighbors(radius=radius, algorithm="brute").fit(keys)
        near = found.radius_neighbors_graph(queries, mode="distance")
        near.data = np.exp(-(near.data**2) / (2 * 0.7**2))
        return np.asarray(near.sum(axis=1)).ravel()

    return Row(
        "entries above 1/sqrt(n)",
        f"n={n}",
        ours,
        {"SciPy cKDTree": kd_tree, "scikit-learn brute": brute},
        tolerance=0.2,
    )


def estimated_product(n: int) -> Row:
    """Heavy entries by hashing and a sample of the rest, against the exact product.

    Not quite the same work: ours is an estimate, with an error of at most half the norm of x.
    """
    queries, keys, x = fks.tokens(n, 16, n // 10, 0.2, 1)
    threshold = n**-0.5
    samples = math.ceil(3 * threshold * n / 0.25)

    def ours():
        tables = fks.HashTables(keys, 4.0, 8, 40, 0)
        heavy, _ = tables.heavy(queries, 0.7, threshold)
        return fks.sampled_matvec(Gaussian(0.7), queries, keys, x, samples, 0, heavy)

    def sklearn():
        from sklearn.metrics.pairwise import rbf_kernel

        return rbf_kernel(queries, keys, gamma=0.5 / 0.7**2) @ x

    return Row(
        "heavy entries and a sample",
        f"n={n}",
        ours,
        {
            "scikit-learn, all pairs": sklearn,
            "kernellab, all pairs": lambda: Gaussian(0.7).matvec(queries, keys, x),
        },
        tolerance=1.0,
    )


def distances(n: int) -> Row:
    """Sums of distances on a line at 1,000 places, from a tree of 4,096 bins (no noise)."""
    rng = np.random.default_rng(0)
    x, y = rng.beta(2, 5, n), np.linspace(0, 1, 1000)

    def sklearn():
        from sklearn.metrics.pairwise import manhattan_distances

        return manhattan_distances(y[:, None], x[:, None]).sum(axis=1)

    peers = {}
    if n <= 10_000:
        peers["scikit-learn"] = sklearn
        peers["NumPy"] = lambda: np.abs(y[:, None] - x).sum(axis=1)
    else:
        peers["NumPy"] = lambda: np.array([np.abs(x - place).sum() for place in y])
    return Row(
        "sums of distances",
        f"n={n}",
        lambda: fks.PrivateTree(x, math.inf, 0, 1, 4096, 0).sums(y, 0.02)[0],
        peers,
        tolerance=5e-3,
    )
