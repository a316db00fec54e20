"""The structured GP lab beside its peers: likelihoods in time, periods, neighbours, tensors."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Matern32, Oscillator
from kernellab.compute.state_space import StateSpaceGP
from kernellab.compute.vecchia import Vecchia
from kernellab.methods.gaussian_processes import structured_gps as sg


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for k, p in ((20, 20), (80, 20), (40, 50)):
        yield periods(k, p)
    for n in (1000, 10_000, 100_000):
        yield oscillator(n)
    for n in (500, 1000, 2000):
        yield neighbours(n)


def periods(k: int, p: int) -> Row:
    """The likelihood of k periods of p points; the peer forms the dense matrix."""
    model = sg.QuasiPeriodic(sg.seasonal_row(p, 0.9, 1.0, 0.1), 0.7)
    y = model.sample(k, 1, 0)[0]

    def scipy():
        from scipy.linalg import cho_factor, cho_solve, toeplitz

        place = np.arange(k)
        covariance = np.kron(0.7 ** np.abs(place[:, None] - place), toeplitz(model.row))
        factor = cho_factor(covariance, lower=True)
        logdet = 2 * np.log(np.diagonal(factor[0])).sum()
        return -0.5 * (y @ cho_solve(factor, y) + logdet + k * p * np.log(2 * np.pi))

    return Row(
        "quasi-periodic likelihood",
        f"k={k}, p={p}",
        lambda: model.log_likelihood(y),
        {"SciPy, dense": scipy},
    )


def oscillator(n: int) -> Row:
    """The likelihood of one damped oscillator in time."""
    rng = np.random.default_rng(0)
    times, y = np.sort(rng.uniform(0, n / 10, n)), rng.standard_normal(n)

    def celerite():
        import celerite2
        from celerite2 import terms

        # S0 w0 Q is the variance, and rho = 2 pi / w0 the period without damping.
        gp = celerite2.GaussianProcess(terms.SHOTerm(sigma=1.0, rho=3.0, Q=4.0))
        gp.compute(times, diag=np.full(n, 0.1))
        return gp.log_likelihood(y)

    def ours():
        return StateSpaceGP(Oscillator(3.0, 4.0), times, y, 0.1).log_marginal_likelihood()

    return Row("damped oscillator likelihood", f"n={n}", ours, {"celerite2": celerite})


def neighbours(n: int) -> Row:
    """A prior's factor with 10 neighbours, order and search included, beside plain NumPy."""
    x = np.random.default_rng(0).random((n, 2))

    def plain():
        from sklearn.gaussian_process.kernels import Matern

        kernel, order = Matern(0.3, nu=1.5), sg.point_order(x)
        placed, variances = x[order], np.ones(n)
        for i in range(1, n):
            near = np.argsort(np.sum((placed[:i] - placed[i]) ** 2, axis=1), kind="stable")[:10]
            cross = kernel(placed[near], placed[i : i + 1])[:, 0]
            variances[i] -= cross @ np.linalg.solve(kernel(placed[near]), cross)
        return np.log(variances).sum()

    def ours():
        return np.log(Vecchia(Matern32(0.3), x, 10).variances).sum()

    return Row("neighbour prior, m=10", f"n={n}", ours, {"scikit-learn kernel + NumPy": plain})
