"""The random features lab beside its peers: feature maps, simplex blocks, repulsive points."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.random_features import random_features as rf


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (2_000, 20_000):
        yield feature_map(n)
    for d in (16, 64, 256):
        yield simplex_blocks(d)
    for m in (1_000, 4_000):
        yield noise_shaping(m)
    for g in (500, 4_000):
        yield repulsive_points(g)


def feature_map(n: int) -> Row:
    """Random cosines of n points, the draw included; both sides report the kernel's mean square."""
    x = np.random.default_rng(0).standard_normal((n, 32))

    def ours():
        z = rf.gaussian_features(x, 512, "cosines", 4.0, 0)
        return np.array([z.mean(), np.mean(z**2) * 512])

    def scikit():
        from sklearn.kernel_approximation import RBFSampler

        z = RBFSampler(gamma=1 / 32, n_components=512, random_state=0).fit_transform(x)
        return np.array([z.mean(), np.mean(z**2) * 512])

    # Different draws of the same features: their averages agree to sampling error.
    return Row("512 random cosines", f"n={n}, d=32", ours, {"scikit-learn": scikit}, tolerance=0.1)


def simplex_blocks(d: int) -> Row:
    """S y for 64 blocks of 1,000 points, S the simplex matrix."""
    y = np.random.default_rng(0).standard_normal((1000, 64 * d))

    def matrix():
        return (y.reshape(-1, d) @ rf.simplex_directions(d).T).reshape(y.shape)

    return Row(
        "simplex block product",
        f"d={d}",
        lambda: rf.simplex_product(y, d),
        {"NumPy (BLAS)": matrix},
    )


def noise_shaping(m: int) -> Row:
    """First-order sigma-delta of m features of 1,000 points."""
    z = np.cos(7.0 * np.random.default_rng(0).standard_normal((1000, m)))

    def columns():
        q, u = np.empty_like(z), np.zeros(len(z))
        for i in range(m):
            u += z[:, i]
            q[:, i] = np.where(u >= 0, 1.0, -1.0)
            u -= q[:, i]
        return q

    return Row(
        "sigma-delta, order 1",
        f"m={m}",
        lambda: rf.shape_noise(z, rf.sigma_delta(1))[0],
        {"NumPy, by column": columns},
    )


def repulsive_points(g: int) -> Row:
    """100 projection DPPs of 10 of g points; compared by how often the left half is drawn."""
    phi = rf.legendre_basis(rf.interval_grid(g), 10)

    def ours():
        return np.array([np.mean(rf.projection_dpp(phi, 100, 0) < g // 2)])

    def dppy():
        from dppy.finite_dpps import FiniteDPP

        dpp = FiniteDPP("correlation", projection=True, K_eig_dec=(np.ones(10), phi / np.sqrt(g)))
        rng = np.random.RandomState(0)
        points = np.array([dpp.sample_exact(random_state=rng) for _ in range(100)])
        return np.array([np.mean(points < g // 2)])

    return Row("100 DPPs of 10 points", f"g={g}", ours, {"DPPy": dppy}, tolerance=0.1)
