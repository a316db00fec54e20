"""The inducing-points lab beside its peers: exact and sparse regression, local solves, softmax."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Gaussian, Matern12
from kernellab.methods.gaussian_processes import inducing_points as ip


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (300, 1000, 2000):
        yield coreset(n)
    for m in (100, 400, 1600):
        yield neighbours(m, 20)
    for m in (100, 400, 900):
        yield step(m, 20)
    for classes in (2, 10, 50):
        yield softmax(600, classes)


def waves(n: int):
    """Two-dimensional inputs and a noisy wave."""
    rng = np.random.default_rng(0)
    x = rng.random((n, 2))
    return x, np.sin(8 * x[:, 0]) * np.cos(6 * x[:, 1]) + 0.1 * rng.standard_normal(n)


def coreset(n: int) -> Row:
    """All n data as a coreset with weights 1, which is the exact posterior: same work."""
    x, y = waves(n)
    new = waves(1000)[0]

    def ours():
        return np.array(ip.CoresetGP(Gaussian(0.2), x, y, np.ones(n), 0.01).predict(new))

    def scikit_learn():
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF

        gp = GaussianProcessRegressor(RBF(0.2), alpha=0.01, optimizer=None).fit(x, y)
        mean, deviation = gp.predict(new, return_std=True)
        return np.array([mean, deviation**2])

    return Row("coreset of all data", f"n={n}", ours, {"scikit-learn": scikit_learn}, 1e-6)


def neighbours(m: int, h: int) -> Row:
    """Weights of 1,000 points on their H nearest inducing points, all M by one factor as peer."""
    x, z = waves(1000)[0], np.random.default_rng(1).random((m, 2))

    def numpy_batched():
        from scipy.spatial import cKDTree

        members = cKDTree(z).query(x, h)[1]
        near = z[members]
        within = np.exp(-np.sum((near[:, :, None] - near[:, None]) ** 2, axis=3) / (2 * 0.05**2))
        cross = np.exp(-np.sum((near - x[:, None]) ** 2, axis=2) / (2 * 0.05**2))
        return np.sort(np.linalg.solve(within, cross[:, :, None])[:, :, 0], axis=1)

    return Row(
        "local weights",
        f"M={m}, H={h}",
        lambda: np.sort(ip.local_weights(Gaussian(0.05), z, x, h).weights, axis=1),
        {"SciPy tree + NumPy": numpy_batched},
        1e-3,  # systems close to singular
    )


def step(m: int, h: int) -> Row:
    """Gradients of one stochastic step on 100 points; the peer differentiates the batched bound."""
    x, y = waves(100)
    z = np.random.default_rng(1).random((m, 2))
    rng = np.random.default_rng(2)
    mean, deviations = rng.standard_normal(m), rng.uniform(0.1, 1, m)
    kernel = Matern12(0.1)

    def ours():
        return np.array(ip.neighbour_gradient(kernel, x, y, 0.01, z, h, mean, deviations, 3000))

    def pytorch():
        import torch
        from scipy.spatial import cKDTree

        members = torch.from_numpy(cKDTree(z).query(x, h)[1])
        inputs, targets, points = (torch.from_numpy(part) for part in (x, y, z))
        centre = torch.from_numpy(mean.copy()).requires_grad_()
        logs = torch.from_numpy(np.log(deviations)).requires_grad_()
        near = points[members]
        within = torch.exp(-torch.cdist(near, near) / 0.1)
        cross = torch.exp(-torch.linalg.vector_norm(near - inputs[:, None], dim=2) / 0.1)
        inverse = torch.linalg.inv(within)
        a = torch.einsum("nhk,nk->nh", inverse, cross)
        c, s = centre[members], torch.exp(2 * logs)[members]
        fit = -0.5 * ((targets - (a * c).sum(1)) ** 2 + (a**2 * s).sum(1)).sum() / 0.01 * 30
        distance = torch.einsum("nh,nhk,nk->n", c, inverse, c)
        trace = (torch.diagonal(inverse, dim1=1, dim2=2) * s).sum(1)
        price = 0.5 * (distance + trace - torch.log(s).sum(1)).mean() * m / h
        (fit - price).backward()
        return np.array([centre.grad.numpy(), logs.grad.numpy()])

    return Row("stochastic step, batch of 100", f"M={m}, H={h}", ours, {"PyTorch": pytorch}, 1e-6)


def softmax(n: int, classes: int) -> Row:
    """Quadrature of log softmax with its gradient at 16 nodes."""
    rng = np.random.default_rng(0)
    values, labels = rng.standard_normal((n, 16, classes)), rng.integers(0, classes, n)
    shares = np.full(16, 1 / 16)

    def scipy():
        from scipy.special import log_softmax

        logs = log_softmax(values, axis=2)
        gradient = -np.exp(logs)
        gradient[np.arange(n), :, labels] += 1
        return gradient * shares[:, None]

    return Row(
        "softmax quadrature",
        f"n={n}, C={classes}",
        lambda: ip.expected_log_softmax(values, labels, shares)[1],
        {"SciPy": scipy},
    )
