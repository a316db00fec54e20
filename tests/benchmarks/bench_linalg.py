"""Kernel linear algebra beside its peers: ridge paths, partial and changing factorisations."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute import iterative, linalg, lowrank, online
from kernellab.compute.kernels import Gaussian
from kernellab.compute.ridge import FeatureRidgePath, RidgePath
from tests.naive import linalg as naive

PENALTIES = np.logspace(-3, 2, 30)


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (200, 500, 1000):
        yield ridge_path(n)
    for n in (500, 2000):
        yield leave_one_out_of_features(n)
    for n, rank in ((2000, 50), (10_000, 100)):
        yield pivoted(n, rank)
    for n, rank in ((2000, 50), (10_000, 100)):
        yield nystrom_features(n, rank)
    for n in (1000, 2000, 4000):
        yield preconditioned(n)
    for n in (200, 1000):
        yield rank_one(n)
    for n in (500, 2000):
        yield dictionary(n)


def data(n: int, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 1.0, (n, d))
    return x, np.sin(3.0 * x[:, 0]) + 0.1 * rng.normal(size=n)


def gaussian_gram(x: np.ndarray, y: np.ndarray | None = None, bandwidth: float = 0.5) -> np.ndarray:
    from sklearn.metrics.pairwise import rbf_kernel

    return rbf_kernel(x, y, gamma=0.5 / bandwidth**2)


def ridge_path(n: int) -> Row:
    """Dual coefficients at 30 penalties for a given kernel matrix."""
    from sklearn.kernel_ridge import KernelRidge

    x, y = data(n)
    gram = gaussian_gram(x)

    def scikit_learn():
        models = (KernelRidge(alpha=a, kernel="precomputed") for a in PENALTIES)
        return np.array([model.fit(gram, y).dual_coef_ for model in models])

    def himalaya():
        from himalaya.kernel_ridge import solve_kernel_ridge_eigenvalues

        # One target a penalty is its way to a path from one decomposition.
        targets = np.repeat(y[:, None], len(PENALTIES), axis=1)
        return solve_kernel_ridge_eigenvalues(gram, targets, alpha=PENALTIES).T

    return Row(
        "ridge path, 30 penalties",
        f"n={n}",
        lambda: RidgePath(gram, y).coefficients(PENALTIES),
        {"scikit-learn KernelRidge": scikit_learn, "himalaya eigenvalues": himalaya},
        # Ours takes eigenvalues below n eps lambda_1 for zeros: up to that over the ridge is lost.
        tolerance=1e-7,
    )


def leave_one_out_of_features(n: int) -> Row:
    """Mean squared leave-one-out error at 30 penalties on 100 explicit features."""
    from sklearn.linear_model import RidgeCV

    rng = np.random.default_rng(1)
    features, y = rng.normal(size=(n, 100)), rng.normal(size=n)

    def scikit_learn():
        model = RidgeCV(alphas=PENALTIES, fit_intercept=False, store_cv_results=True)
        return model.fit(features, y).cv_results_.mean(axis=0)

    return Row(
        "leave-one-out of features",
        f"n={n}, m=100",
        lambda: FeatureRidgePath(features, y).loo_error(PENALTIES),
        {"scikit-learn RidgeCV": scikit_learn},
    )


def pivoted(n: int, rank: int) -> Row:
    """Residual traces of a greedy partial Cholesky factorisation, kernel columns on the fly."""
    x, _ = data(n, d=5)

    def plain_numpy():
        factor, diagonal = np.empty((n, rank), order="F"), np.ones(n)
        traces = [diagonal.sum()]
        for j in range(rank):
            p = np.argmax(diagonal)
            column = gaussian_gram(x, x[p : p + 1])[:, 0] - factor[:, :j] @ factor[p, :j]
            factor[:, j] = column / np.sqrt(diagonal[p])
            diagonal = diagonal - factor[:, j] ** 2
            traces.append(diagonal.sum())
        return np.array(traces)

    return Row(
        "pivoted Cholesky",
        f"n={n}, rank={rank}",
        lambda: lowrank.pivoted_cholesky(Gaussian(bandwidth=0.5), x, rank=rank).trace_errors,
        {"plain NumPy": plain_numpy},
    )


def nystrom_features(n: int, rank: int) -> Row:
    """Diagonal of the Nystrom approximation, landmarks given."""
    from sklearn.kernel_approximation import Nystroem

    x, _ = data(n, d=5)
    peer = Nystroem(kernel="rbf", gamma=2.0, n_components=rank, random_state=0)
    landmarks = peer.fit(x).components_

    def scikit_learn():
        features = peer.fit(x).transform(x)
        return np.einsum("ij,ij->i", features, features)

    def ours():
        features = lowrank.Nystrom(Gaussian(bandwidth=0.5), landmarks).features(x)
        return np.einsum("ij,ij->i", features, features)

    return Row(
        "Nystrom features", f"n={n}, m={rank}", ours, {"scikit-learn Nystroem": scikit_learn}
    )


def preconditioned(n: int) -> Row:
    """Solve a badly conditioned ridge system by preconditioned conjugate gradients."""
    from scipy.linalg import solve
    from scipy.sparse.linalg import cg

    x, y = data(n)
    gram = gaussian_gram(x)
    system = gram + 1e-3 * np.eye(n)

    def ours():
        factor = lowrank.pivoted_cholesky(Gaussian(bandwidth=0.5), x, rank=300).factor
        near = lowrank.LowRankPlusDiagonal(factor, 1e-3)
        return iterative.conjugate_gradients(
            system, y, preconditioner=near.solve, tolerance=1e-10
        ).x

    return Row(
        "ridge system",
        f"n={n}",
        ours,
        {
            "SciPy solve (Cholesky)": lambda: solve(system, y, assume_a="pos"),
            "SciPy cg": lambda: cg(system, y, rtol=1e-10, maxiter=10 * n)[0],
        },
        tolerance=1e-4,
    )


def rank_one(n: int) -> Row:
    """Cholesky factor after a rank-one change."""
    x, v = data(n)
    matrix = gaussian_gram(x) + 0.1 * np.eye(n)
    lower = linalg.cholesky(matrix).lower
    return Row(
        "rank-one update",
        f"n={n}",
        lambda: online.cholesky_update(lower, v),
        {"NumPy, factoring anew": lambda: np.linalg.cholesky(matrix + np.outer(v, v))},
    )


def dictionary(n: int) -> Row:
    """Which points of a stream pass the test of approximate linear dependence."""
    x, _ = data(n, d=1)
    kernel = Gaussian(bandwidth=0.5)

    def plain_numpy():
        return np.array(naive.linear_dependence_dictionary(gaussian_gram(x), 1e-4))

    return Row(
        "linear-dependence dictionary",
        f"n={n}",
        lambda: np.flatnonzero(online.KernelDictionary(kernel, 1e-4).observe(x).added),
        {"plain NumPy": plain_numpy},
    )
