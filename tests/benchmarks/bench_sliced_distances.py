"""The sliced distances lab beside its peers: distances, gradients, growth with the points."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.directions import random_directions
from kernellab.methods.mean_embeddings import sliced_distances as sd


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n, directions in ((500, 100), (2000, 200), (10_000, 500)):
        yield distance(n, n, directions)
    yield distance(2000, 1500, 200)
    for n, directions in ((500, 100), (2000, 200), (10_000, 200)):
        yield gradient(n, directions)
    for nodes in (100, 1000):
        yield weighted(nodes)


def clouds(n: int, m: int, directions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 3)), rng.exponential(1.0, (m, 3))
    return x, y, random_directions(directions, 3, rng)


def distance(n: int, m: int, directions: int) -> Row:
    """SW_2 on given directions."""
    x, y, theta = clouds(n, m, directions)
    across = np.ascontiguousarray(theta.T)

    def pot():
        import ot

        return ot.sliced_wasserstein_distance(x, y, projections=across, p=2) ** 2

    peers = {"POT": pot}
    if n == m:
        peers["NumPy"] = lambda: np.mean(
            (np.sort(x @ across, axis=0) - np.sort(y @ across, axis=0)) ** 2
        )
    size = f"n={n}, L={directions}" if n == m else f"n={n}, m={m}, L={directions}"
    return Row("sliced distance", size, lambda: sd.sliced_squared(x, y, theta), peers)


def gradient(n: int, directions: int) -> Row:
    """The gradient of SW_2^2 in the points of one cloud."""
    x, y, theta = clouds(n, n, directions)

    def plain_numpy():
        shadows = x @ theta.T
        order = np.argsort(shadows, axis=0)
        partners = np.empty_like(shadows)
        np.put_along_axis(partners, order, np.sort(y @ theta.T, axis=0), axis=0)
        return 2.0 / (n * directions) * (shadows - partners) @ theta

    return Row(
        "sliced gradient",
        f"n={n}, L={directions}",
        lambda: sd.sliced_gradient(x, y, theta)[1],
        {"NumPy": plain_numpy},
    )


def weighted(nodes: int) -> Row:
    """ISW_2^2 of two histograms on a graph with ten eigenvectors."""
    rng = np.random.default_rng(1)
    values, weights = rng.standard_normal((nodes, 10)), rng.random(10)
    a, b = rng.dirichlet(np.ones(nodes)), rng.dirichlet(np.ones(nodes))

    def pot():
        import ot

        return sum(
            w * ot.emd2_1d(np.ascontiguousarray(v), np.ascontiguousarray(v), a, b)
            for w, v in zip(weights, values.T, strict=True)
        )

    return Row(
        "intrinsic distance, histograms",
        f"N={nodes}",
        lambda: sd.intrinsic_squared(values, values, weights, a, b),
        {"POT": pot},
    )
