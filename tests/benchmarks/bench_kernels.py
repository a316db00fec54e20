"""Kernel matrices and products with them, beside scikit-learn, SciPy and KeOps."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Gaussian, Laplace, Matern32

SIZES = [(n, d) for n in (500, 2000, 8000) for d in (2, 20)]
LENGTH = 0.7


def rows() -> Iterator[Row]:
    """Yield all comparisons."""
    for make in (gaussian_gram, matern_gram, laplace_gram, gaussian_matvec):
        for n, d in SIZES:
            rng = np.random.default_rng(0)
            # Distances near 1 whatever the dimension, so that no entry is trivially 0.
            x = rng.standard_normal((n, d)) / np.sqrt(d)
            yield make(f"n={n}, d={d}", x, rng.standard_normal(n))


def gaussian_gram(size, x, _) -> Row:
    return Row(
        "Gaussian Gram",
        size,
        lambda: Gaussian(LENGTH).gram(x),
        {
            "scikit-learn rbf_kernel": lambda: scikit_learn_gaussian(x),
            "SciPy cdist, exp": lambda: scipy_gaussian(x),
        },
    )


def matern_gram(size, x, _) -> Row:
    return Row(
        "Matern 3/2 Gram",
        size,
        lambda: Matern32(LENGTH).gram(x),
        {
            "scikit-learn Matern": lambda: scikit_learn_matern(x),
            "SciPy cdist, exp": lambda: scipy_matern(x),
        },
    )


def laplace_gram(size, x, _) -> Row:
    return Row(
        "Laplace Gram",
        size,
        lambda: Laplace(LENGTH).gram(x),
        {
            "scikit-learn laplacian": lambda: scikit_learn_laplace(x),
            "SciPy cdist, exp": lambda: scipy_laplace(x),
        },
    )


def gaussian_matvec(size, x, v) -> Row:
    return Row(
        "Gaussian matvec",
        size,
        lambda: Gaussian(LENGTH).matvec(x, x, v),
        {
            "KeOps": lambda: keops_matvec(x, v),
            "scikit-learn rbf_kernel @": lambda: scikit_learn_gaussian(x) @ v,
            "SciPy cdist, exp, @": lambda: scipy_gaussian(x) @ v,
        },
    )


def scikit_learn_gaussian(x):
    from sklearn.metrics.pairwise import rbf_kernel

    return rbf_kernel(x, gamma=0.5 / LENGTH**2)


def scikit_learn_laplace(x):
    from sklearn.metrics.pairwise import laplacian_kernel

    return laplacian_kernel(x, gamma=1 / LENGTH)


def scikit_learn_matern(x):
    from sklearn.gaussian_process.kernels import Matern

    return Matern(length_scale=LENGTH, nu=1.5)(x)


def scipy_gaussian(x):
    from scipy.spatial.distance import cdist

    values = cdist(x, x, "sqeuclidean")
    values *= -0.5 / LENGTH**2
    return np.exp(values, out=values)


def scipy_laplace(x):
    from scipy.spatial.distance import cdist

    values = cdist(x, x, "cityblock")
    values *= -1 / LENGTH
    return np.exp(values, out=values)


def scipy_matern(x):
    from scipy.spatial.distance import cdist

    values = cdist(x, x)
    values *= np.sqrt(3) / LENGTH
    return (1 + values) * np.exp(-values)


def keops_matvec(x, v):
    import pykeops

    pykeops.set_verbose(False)
    from pykeops.numpy import LazyTensor

    squared = ((LazyTensor(x[:, None]) - LazyTensor(x[None, :])) ** 2).sum(-1)
    return ((squared * (-0.5 / LENGTH**2)).exp() @ v[:, None])[:, 0]
