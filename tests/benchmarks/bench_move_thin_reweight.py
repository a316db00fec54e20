"""The move, thin, re-weight lab beside its peers: thinning, energy gradients, Stein particles."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.directions import random_directions
from kernellab.compute.kernels import Gaussian
from kernellab.methods.mean_embeddings import move_thin_reweight as mt


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (1024, 4096, 16384):
        yield halving(n)
    for n in (1024, 4096, 9216):
        yield thinning(n)
    for n in (500, 2000, 8000):
        yield energy_gradient(n)
    for n in (500, 2000, 8000):
        yield sliced_distance(n)
    for count in (50, 200, 800):
        yield stein_direction(count)


def _gaussian(y, x):
    """The kernel as goodpoints takes it: one row of the Gram matrix."""
    return np.exp(-((x - y) ** 2).sum(axis=-1) / 2)


def halving(n: int) -> Row:
    """Halve n points in the plane without storing their Gram matrix, the same coin tosses."""
    x, kernel = mt.moons().sample(n, 0), Gaussian(1.0)

    def compiled_peer():
        from goodpoints import kt
        from sklearn.metrics.pairwise import rbf_kernel

        return np.sort(np.asarray(kt.halve_K(rbf_kernel(x, gamma=0.5), delta=0.5, seed=0)[0]))

    def ours():
        return np.sort(mt.halve(x, kernel, 0).kept)

    return Row("kernel halving", f"n={n}", ours, {"scikit-learn, goodpoints": compiled_peer})


def thinning(n: int) -> Row:
    """Thin to about sqrt(n) points; compared by the MMD that is reached, within a factor 2."""
    x, kernel = mt.moons().sample(n, 0), Gaussian(1.0)
    rounds = int(np.log2(n)) // 2
    means = mt.mean_similarity(x, kernel)

    def reached(chosen):
        return np.array([mt.coreset_mmd(x, np.asarray(chosen), kernel, means)])

    def matrix():
        from goodpoints import kt
        from sklearn.metrics.pairwise import rbf_kernel

        gram = rbf_kernel(x, gamma=0.5)
        return reached(kt.thin_K(gram, gram, rounds, delta=0.5, seed=0))

    def rows_only():
        from goodpoints import kt

        return reached(kt.thin_X(x, rounds, _gaussian, _gaussian, delta=0.5, seed=0))

    return Row(
        "kernel thinning to sqrt(n)",
        f"n={n}",
        lambda: reached(mt.kernel_thin(x, rounds, kernel, 0)),
        {"scikit-learn, goodpoints": matrix, "goodpoints, by rows": rows_only},
        tolerance=1.0,
    )


def energy_gradient(n: int) -> Row:
    """The gradient of the energy distance on a line, N = M = n."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(n), rng.standard_normal(n) + 0.5

    def numpy_ranks():
        below = np.searchsorted(np.sort(y), x)
        place = np.argsort(np.argsort(x)) + 1
        return (2 * below - n) / n**2 - (2 * place - n - 1) / n**2

    def numpy_pairs():
        pull = np.sign(x[:, None] - y).sum(axis=1) - np.sign(x[:, None] - x).sum(axis=1)
        return pull / n**2

    peers = {"NumPy, by ranks": numpy_ranks, "NumPy, all pairs": numpy_pairs}
    return Row("energy gradient on a line", f"N={n}", lambda: mt.energy_gradient_1d(x, y), peers)


def sliced_distance(n: int) -> Row:
    """A sliced distance and its gradient in 64 dimensions, 32 slices; POT's is the Wasserstein."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 64)), rng.standard_normal((n, 64)) + 0.2
    directions = random_directions(32, 64, rng)

    def numpy_ranks():
        total = np.zeros_like(x)
        for xi in directions:
            shadow, other = x @ xi, np.sort(y @ xi)
            place = np.empty(n)
            place[np.argsort(shadow)] = np.arange(1, n + 1)
            slope = (2 * np.searchsorted(other, shadow) - n - (2 * place - n - 1)) / n**2
            total += slope[:, None] * xi
        return mt.slicing_constant(64) * total / 32

    def numpy_pairs():
        apart = x[:, None] - y
        across = apart / np.linalg.norm(apart, axis=2, keepdims=True)
        own = x[:, None] - x
        size = np.linalg.norm(own, axis=2, keepdims=True)
        own = np.divide(own, size, out=np.zeros_like(own), where=size > 0)
        return (across.sum(axis=1) - own.sum(axis=1)) / n**2

    peers = {"NumPy, by ranks": numpy_ranks}
    if n <= 500:  # 8 d n^2 bytes
        peers["NumPy, all pairs (exact)"] = numpy_pairs
    return Row(
        "sliced energy gradient, d=64",
        f"N={n}",
        lambda: mt.sliced_energy_gradient(x, y, directions),
        peers,
        tolerance=20.0 if n <= 500 else 1e-9,  # the exact one differs by the slices' noise
    )


def stein_direction(count: int) -> Row:
    """Mirrored SVGD's direction for particles on the simplex."""
    law = mt.Dirichlet((3.0, 4.0, 5.0))
    theta = law.sample(count, 0)
    score, metric = law.score(theta), mt.entropy_metric(theta)

    def numpy_blocks():
        _, inverse, divergence = metric
        gram, slope = mt.inverse_multiquadric(theta, 0.3)
        drift = np.einsum("kab,kb->ka", inverse, score) + divergence
        push = np.einsum("jab,jib->ia", inverse, slope, optimize=True)
        return (gram @ drift + push) / count

    return Row(
        "mirrored SVGD direction",
        f"K={count}",
        lambda: mt.mirrored_direction(theta, score, metric, 0.3),
        {"NumPy": numpy_blocks},
    )
