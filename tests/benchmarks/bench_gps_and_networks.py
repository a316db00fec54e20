"""The lab on GPs and networks beside its peers: slices, Jacobians, many networks at once."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.directions import random_directions
from kernellab.compute.networks import dense_network, network_jacobian, network_pullback
from kernellab.methods.gaussian_processes import gps_and_networks as gn


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for samples in (256, 1000, 4000):
        yield slices(samples)
    for n in (100, 400, 1600):
        yield jacobians(n)
    for networks in (64, 256, 1024):
        yield side_by_side(networks)


def slices(samples: int) -> Row:
    """Sliced 1-Wasserstein distance; ours gives the gradient as well."""
    rng = np.random.default_rng(0)
    f, g = rng.standard_normal((samples, 32)), rng.standard_normal((samples, 32))
    directions = random_directions(64, 32, 0)

    def pot():
        import ot

        return ot.sliced_wasserstein_distance(f, g, projections=directions.T.copy(), p=1)

    return Row(
        "sliced Wasserstein, 64 slices",
        f"S={samples}, m=32",
        lambda: gn.sliced_distance(f, g, directions)[0],
        {"POT": pot},
    )


def jacobians(n: int) -> Row:
    """Derivatives of a network's output in its 2,701 weights, one row a point."""
    network = dense_network([1, 50, 50, 1], 0)
    x = np.linspace(-1, 1, n)[:, None]

    def torch():
        import torch

        torch.set_num_threads(1)
        weights = [torch.tensor(a) for pair in network for a in pair]
        points = torch.tensor(x)

        def output(w, point):
            h = point
            for i in range(0, 4, 2):
                h = torch.tanh(h @ w[i] + w[i + 1])
            return (h @ w[4] + w[5])[0]

        per_point = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0))
        return np.hstack([part.reshape(n, -1).numpy() for part in per_point(weights, points)])

    return Row(
        "tangent features, 1-50-50-1",
        f"n={n}",
        lambda: network_jacobian(network, x),
        {"torch": torch},
    )


def side_by_side(networks: int) -> Row:
    """Functions of many random networks at 25 places."""
    draws = gn.standard_draws([1, 50, 50, 1], networks, 0)
    x = np.linspace(-1, 1, 25)[:, None]

    def torch():
        import torch

        torch.set_num_threads(1)
        h = torch.tensor(x)
        layers = [(torch.from_numpy(w), torch.from_numpy(b)) for w, b in draws]
        for weights, biases in layers[:-1]:
            h = torch.tanh(h @ weights + biases[:, None])
        return (h @ layers[-1][0] + layers[-1][1][:, None])[..., 0].numpy()

    return Row(
        "functions of many networks",
        f"S={networks}, m=25",
        lambda: network_pullback(draws, x)[0][..., 0],
        {"torch": torch},
    )
