"""The physics and shapes lab beside its peers: exponentials, Kronecker solves, modes, warps."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.gaussian_processes import physics_and_shapes as ps


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n, m in ((300, 100), (2000, 200), (8000, 400)):
        yield exponentials(n, m)
    for side in (20, 40, 60):
        yield kronecker(side)
    for n in (400, 1500, 4000):
        yield modes(n)
    for runs in (40, 200, 1000):
        yield pulled(runs)
    for n in (100, 300, 900):
        yield channels(n)


def exponentials(n: int, m: int) -> Row:
    """Plane waves in the plane and time at n points."""
    rng = np.random.default_rng(0)
    points, frequencies = rng.random((n, 3)), rng.normal(size=(m, 2))

    def plain_numpy():
        z = ps.POND.variety(frequencies).reshape(-1, 3)
        waves = np.exp(points @ z.T)
        return np.hstack([waves.real, waves.imag])

    return Row(
        "exponential features",
        f"n={n}, m={m}",
        lambda: ps.exponential_features(ps.POND, points, frequencies),
        {"plain NumPy": plain_numpy},
    )


def kronecker(side: int) -> Row:
    """Solve with a product of two factors; the peer forms the dense matrix."""
    rng = np.random.default_rng(0)
    a, b = (np.cov(rng.normal(size=(side, 2 * side))) + np.eye(side) for _ in range(2))
    v = rng.normal(size=side * side)

    def scipy():
        from scipy.linalg import cho_factor, cho_solve

        return cho_solve(cho_factor(np.kron(a, b)), v)

    return Row("Kronecker solve", f"side={side}", lambda: ps.kron_solve(a, b, v), {"SciPy": scipy})


def modes(n: int) -> Row:
    """Eigenvalues of the 30 smoothest vector fields on a torus; the peer goes edge by edge."""
    points = ps.torus(n, 0).points

    def plain_scipy():
        from scipy.sparse import lil_matrix
        from scipy.sparse.linalg import eigsh
        from scipy.spatial import cKDTree

        near = cKDTree(points).query(points, 13)[1]
        frames = [np.linalg.svd(points[row] - points[i])[2][:2].T for i, row in enumerate(near)]
        edges = {tuple(sorted((i, j))) for i, row in enumerate(near) for j in row if i != j}
        laplacian = lil_matrix((2 * n, 2 * n))
        for i, j in edges:
            left, _, right = np.linalg.svd(frames[i].T @ frames[j])
            one, two = slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)
            laplacian[one, two] = -left @ right
            laplacian[two, one] = -(left @ right).T
            laplacian[one, one] += np.eye(2)
            laplacian[two, two] += np.eye(2)
        return np.sort(eigsh(laplacian.tocsc(), 30, sigma=-1e-2)[0])

    return Row(
        "connection Laplacian modes",
        f"n={n}, K=30",
        lambda: ps.tangent_modes(points, 30).values,
        {"plain SciPy": plain_scipy},
    )


def pulled(runs: int) -> Row:
    """Fields of 500 points under a warp each."""
    rng = np.random.default_rng(0)
    fields, maps = rng.normal(size=(runs, 500)), ps.warps(rng.normal(size=(runs, 12)), 500)
    grid = np.linspace(0, 1, 500)

    def plain_numpy():
        return np.array([np.interp(m, grid, f) for f, m in zip(fields, maps, strict=True)])

    return Row(
        "fields under warps",
        f"s={runs}, m=500",
        lambda: ps.pull_back(fields, maps),
        {"NumPy interp": plain_numpy},
    )


def channels(n: int) -> Row:
    """Three channels with one length out of 8 and one noise out of 5, chosen by evidence."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(n, 3))
    vectors = np.cross([0.0, 0, 1], points)
    lengths, noises, seen = np.geomspace(0.3, 4, 8), np.geomspace(1e-4, 1, 5), np.arange(n)

    def scikit_learn():
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF

        best = None
        for length in lengths:
            for noise in noises:
                size = 1.0
                for _ in range(2):  # the best variance in closed form, from a first fit
                    kernel = size * RBF(length)
                    model = GaussianProcessRegressor(kernel, alpha=size * noise, optimizer=None)
                    model.fit(points, vectors)
                    size *= np.sum(vectors * model.alpha_) / vectors.size
                value = model.log_marginal_likelihood_value_
                if best is None or value > best[0]:
                    best = value, model
        return best[1].predict(points)

    return Row(
        "three channels by evidence",
        f"n={n}",
        lambda: ps.fit_channels(points, seen, vectors, lengths, noises).mean,
        {"scikit-learn": scikit_learn},
    )
