"""The ridge rates lab beside its peers: Sobolev ridge regression, the effective ridge."""

import math
from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.ridge_regression import ridge_rates


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (250, 1000, 2000):
        yield sobolev_ridge(n)
    for p in (1000, 10_000, 100_000):
        yield effective_ridge(p)


def sobolev_ridge(n: int) -> Row:
    """A fit and its values at 1,000 new points; the peers are handed the Gram matrices."""
    rng = np.random.default_rng(0)
    x, at = rng.random(n), rng.random(1000)
    y = ridge_rates.fourier_target(x, 0.5) + 0.5 * rng.standard_normal(n)
    ridge = ridge_rates.theory_ridge(n, 0.5, 2.0, 0.1)
    gram, cross = ridge_rates.sobolev_gram(x), ridge_rates.sobolev_gram(at, x)

    def scikit_learn():
        from sklearn.kernel_ridge import KernelRidge

        return KernelRidge(alpha=n * ridge, kernel="precomputed").fit(gram, y).predict(cross)

    def himalaya():
        from himalaya.kernel_ridge import solve_kernel_ridge_eigenvalues

        return cross @ solve_kernel_ridge_eigenvalues(gram, y[:, None], alpha=n * ridge)[:, 0]

    return Row(
        "Sobolev ridge regression",
        f"n={n}",
        lambda: ridge_rates.sobolev_ridge(x, y, ridge).predict(at),
        {"scikit-learn": scikit_learn, "himalaya": himalaya},
    )


def effective_ridge(p: int) -> Row:
    """The root of n = sum l/(l + kappa) + delta/kappa for p eigenvalues."""
    from scipy.optimize import brentq

    eigenvalues, tail = ridge_rates.spectrum("power", p, 2.0)

    def scipy():
        def excess(u):
            kappa = math.exp(u)
            return np.sum(eigenvalues / (eigenvalues + kappa)) + tail / kappa - 200

        high = math.log((eigenvalues.sum() + tail) / 200)
        return np.array([math.exp(brentq(excess, math.log(tail / 200), high, xtol=1e-12))])

    return Row(
        "effective ridge, 200 points",
        f"p={p}",
        lambda: np.array([ridge_rates.effective_ridge(eigenvalues, 200, tail=tail)]),
        {"SciPy brentq": scipy},
    )
