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
    for n in (12, 40, 100):
        yield path(n)
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


def path(n: int) -> Row:
    """Three hundred leapfrog steps, the inside of Hamiltonian Monte Carlo."""
    x, y, _, _ = gph.prior_draw(n, 0.2, 0.2, 0)
    posterior = gph.HyperPosterior(x, y, np.log([1.0, 0.2, 0.2]), 1.0)
    start, push = posterior.centre + 0.2, np.array([0.5, -0.4, 0.3])

    def plain_numpy():
        squares, eye = (x - x.T) ** 2, np.eye(n)

        def slope(theta):
            amplitude2, length2, noise2 = np.exp(2 * theta)
            gram = amplitude2 * np.exp(-0.5 * squares / length2)
            inverse = np.linalg.inv(gram + noise2 * eye)
            solved = inverse @ y
            weights = np.outer(solved, solved) - inverse
            traces = (
                2 * np.sum(weights * gram),
                np.sum(weights * gram * squares) / length2,
                2 * noise2 * np.trace(weights),
            )
            return 0.5 * np.array(traces) - (theta - posterior.centre)

        theta, momentum = start.copy(), push + 0.5 * 0.05 * slope(start)
        for _ in range(300):
            theta = theta + 0.05 * momentum
            momentum = momentum + 0.05 * slope(theta)
        return theta

    return Row(
        "300 leapfrog steps",
        f"n={n}",
        lambda: gph.leapfrog(posterior, start, push, 0.05, 300)[0],
        {"plain NumPy": plain_numpy},
    )


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
    """The isotropic fit, to convergence; the peer runs the same updates in Python."""
    x, y = gph.sine_data(20, 0.1, 0)
    features = gph.cosine_features(x, 0.7, d)
    kappa = d / 20

    def plain_numpy():
        lam, noise2 = 1.0, 0.1
        values, vectors = np.linalg.eigh(features @ features.T)
        turned, trace = vectors.T @ y, values.sum()
        for _ in range(1000):
            ridge = noise2 / (kappa * lam)
            shares = turned / (values + ridge)
            variance = d / (kappa * trace / noise2 + d / lam)
            old, lam = lam, values @ shares**2 / d + variance
            noise2 = (ridge**2 * shares @ shares + variance * trace) / 20
            if abs(lam / old - 1) < 1e-10:
                break
        return features.T @ (vectors @ (turned / (values + noise2 / (kappa * lam))))

    return Row(
        "data-emphasised fit",
        f"N=20, D={d}",
        lambda: gph.fit_isotropic(features, y, kappa).mean,
        {"plain NumPy": plain_numpy},
    )
