"""The hyper-parameter lab beside its peers: the evidence, its posterior, labels, determinants."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.approximate_gp import laplace
from kernellab.compute.kernels import Gaussian
from kernellab.compute.likelihoods import Logit
from kernellab.methods.gaussian_processes import gp_hyperparameters as gph


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (12, 40, 100):
        yield evidence(n)
    for n in (12, 40):
        yield chain(n)
    for n in (60, 200):
        yield labels(n)
    for n in (150, 600):
        yield jacobian(n)
    for d in (256, 1024):
        yield emphasis(d)


def evidence(n: int) -> Row:
    """The log marginal likelihood and its gradient at 100 settings."""
    x, y, _, _ = gph.prior_draw(n, 0.2, 0.2, 0)
    thetas = np.log([1.0, 0.2, 0.2]) + 0.3 * np.random.default_rng(0).normal(size=(100, 3))
    posterior = gph.HyperPosterior(x, y).evidence_alone()

    def scikit_learn():
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        kernel = ConstantKernel(1.0) * RBF(0.2) + WhiteKernel(0.04)
        model = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(x, y)
        found = [
            model.log_marginal_likelihood(t * [2, 1, 2], eval_gradient=True, clone_kernel=False)
            for t in thetas
        ]
        return np.array([value for value, _ in found])

    return Row(
        "evidence and gradient, 100 settings",
        f"n={n}",
        lambda: posterior.log_density(thetas)[0],
        {"scikit-learn": scikit_learn},
    )


def chain(n: int) -> Row:
    """A hundred HMC draws, 15 leapfrog steps each; the peer runs the same steps on its gradient."""
    x, y, _, _ = gph.prior_draw(n, 0.2, 0.2, 0)
    posterior = gph.HyperPosterior(x, y, np.log([1.0, 0.2, 0.2]), 1.0)
    start = posterior.maximise(restarts=0)

    def ours():
        return gph.hamiltonian_draws(posterior, 90, 0, steps=15, warmup=10, start=start).thetas

    def plain_numpy():
        rng, now, step = np.random.default_rng(0), start.copy(), 0.15
        squares = (x - x.T) ** 2

        def log_density(theta):
            a, l, s = np.exp(2 * theta)  # noqa: E741
            gram = a * np.exp(-0.5 * squares / l)
            lower = np.linalg.cholesky(gram + s * np.eye(n))
            inverse = np.linalg.inv(lower)
            inverse = inverse.T @ inverse
            solved = inverse @ y
            weights = np.outer(solved, solved) - inverse
            gap = theta - posterior.centre
            value = -0.5 * (y @ solved + gap @ gap) - np.log(np.diagonal(lower)).sum()
            changes = (2 * gram, gram * squares / l, 2 * s * np.eye(n))
            return value, 0.5 * np.array([np.sum(weights * c) for c in changes]) - gap

        draws, (value, slope) = [], log_density(now)
        for _ in range(100):
            theta, momentum = now.copy(), rng.standard_normal(3)
            energy, after, push = value - 0.5 * momentum @ momentum, value, slope
            for _ in range(15):
                momentum = momentum + 0.5 * step * push
                theta = theta + step * momentum
                after, push = log_density(theta)
                momentum = momentum + 0.5 * step * push
            if np.log(rng.random()) < after - 0.5 * momentum @ momentum - energy:
                now, value, slope = theta, after, push
            draws.append(now)
        return np.array(draws)

    return Row("100 HMC draws", f"n={n}", ours, {"plain NumPy": plain_numpy})


def labels(n: int) -> Row:
    """A Laplace fit of labels: the one approximation that the peer has as well."""
    x, y = gph.two_moons(n, 0.15, 0)

    def scikit_learn():
        from sklearn.gaussian_process import GaussianProcessClassifier
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel

        kernel = ConstantKernel(16.0) * RBF(0.7)
        model = GaussianProcessClassifier(kernel, optimizer=None).fit(x, y)
        return np.array([model.log_marginal_likelihood()])

    return Row(
        "Laplace fit of labels",
        f"n={n}",
        lambda: np.array([laplace(16.0 * Gaussian(0.7), x, y, Logit()).evidence]),
        {"scikit-learn": scikit_learn},
    )


def jacobian(n: int) -> Row:
    """The tangent kernel of a network with 3 outputs; the peer differentiates it in torch."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 16))
    weights = gph.dense_network([16, 20, 3], 0)

    def ours():
        rows = gph.output_jacobians(weights, x).reshape(3 * n, -1)
        return rows @ rows.T

    def torch():
        import torch

        torch.set_num_threads(1)
        flat = [torch.tensor(a) for layer in weights for a in layer]

        def output(w1, b1, w2, b2, point):
            return torch.tanh(point @ w1 + b1) @ w2 + b2

        each = torch.func.vmap(
            torch.func.jacrev(output, argnums=(0, 1, 2, 3)), in_dims=(None,) * 4 + (0,)
        )
        parts = [part.reshape(3 * n, -1) for part in each(*flat, torch.tensor(x))]
        rows = torch.cat(parts, dim=1)
        return (rows @ rows.T).numpy()

    return Row("tangent kernel, 3 outputs", f"n={n}, P=403", ours, {"torch": torch})


def emphasis(d: int) -> Row:
    """The isotropic fit, to convergence; the peer runs the updates in the space of the weights."""
    x, y = gph.sine_data(20, 0.1, 0)
    features = gph.cosine_features(x, 0.7, d)
    kappa = d / 20

    def plain_numpy():
        lam, noise2 = 1.0, 0.1
        gram, target = features.T @ features, features.T @ y
        trace = np.trace(gram)
        values, vectors = np.linalg.eigh(gram)
        turned = vectors.T @ target
        for _ in range(200):
            mean = vectors @ (turned / (values + noise2 / (kappa * lam)))
            variance = d / (kappa * trace / noise2 + d / lam)
            lam = mean @ mean / d + variance
            noise2 = (np.sum((y - features @ mean) ** 2) + variance * trace) / 20
        return mean

    return Row(
        "data-emphasised fit",
        f"N=20, D={d}",
        lambda: gph.fit_isotropic(features, y, kappa).mean,
        {"plain NumPy": plain_numpy},
    )
