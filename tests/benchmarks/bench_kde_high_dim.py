"""The high-dimensional smoothing lab beside its peers: density, climbing, reading a map."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.density_and_calibration import kde_high_dim as kd


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    yield density(2_000, 1)
    for n in (2_000, 20_000, 100_000):
        yield density(n, 20)
    for n in (500, 2_000, 8_000):
        yield climbs(n)
    for n in (600, 3_000):
        yield reading(n)
    for n in (500, 1_000):
        yield neighbours(n)


def cloud(n: int, d: int):
    """Points whose sample covariance is the identity (as SciPy's bandwidth needs), and places."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((n, d))
    y = (y - y.mean(axis=0)) @ np.linalg.cholesky(np.linalg.inv(np.cov(y.T)))
    return y, kd.typical_places(40, d, rng)


def density(n: int, bandwidths: int, d: int = 16) -> Row:
    """Log density at 40 places, from the points."""
    y, x = cloud(n, d)
    # Further down scikit-learn's tree loses digits: at 0.4 its log densities are off by up to 3.
    tried = np.geomspace(2.0, 0.8, bandwidths)

    def ours():
        return kd.smooth(kd.squared_distances(x, y), tried, d).log_density

    def scikit_learn():
        from sklearn.neighbors import KernelDensity

        return np.column_stack([KernelDensity(bandwidth=h).fit(y).score_samples(x) for h in tried])

    def scipy():
        from scipy.stats import gaussian_kde

        return np.column_stack([gaussian_kde(y.T, h).logpdf(x.T) for h in tried])

    def kdepy():
        from KDEpy import NaiveKDE

        return np.column_stack(
            [np.log(NaiveKDE(kernel="gaussian", bw=h).fit(y).evaluate(x)) for h in tried]
        )

    peers = {"scikit-learn KernelDensity": scikit_learn, "scipy gaussian_kde": scipy}
    tolerance = 1e-9
    if n * bandwidths <= 2_000:  # KDEpy loops over the points in Python, and cuts the kernel off
        tolerance = 1e-4
        peers["KDEpy NaiveKDE"] = kdepy
    return Row(f"log density, bandwidths: {bandwidths}", f"n={n}, d={d}", ours, peers, tolerance)


def climbs(n: int, d: int = 64) -> Row:
    """Fifty climbs of twenty mean-shift steps."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, d))[rng.integers(8, size=n)] + 0.3 * rng.normal(size=(n, d))
    kernel = kd.Radial("gaussian", 1.5)

    def plain_numpy():
        x, lengths = centres[:50], np.sum(centres**2, axis=1)
        for _ in range(20):
            squares = np.sum(x**2, axis=1)[:, None] + lengths - 2 * x @ centres.T
            weights = np.exp(-squares / (2 * 1.5**2))
            x = weights @ centres / weights.sum(axis=1, keepdims=True)
        return x

    return Row(
        "mean shift, Gaussian kernel",
        f"n={n}, d={d}, 50 starts",
        lambda: kd.mean_shift(kernel, centres, centres[:50], 20, 0.0).points,
        {"plain NumPy": plain_numpy},
    )


def reading(n: int) -> Row:
    """A score read from a map at 2,500 places."""
    rng = np.random.default_rng(0)
    places, scores, at = rng.normal(size=(n, 2)), rng.normal(size=n), rng.normal(size=(2500, 2))
    kernel = kd.MapKernel(1.0, 1.5, 1.2)

    def plain_numpy():
        squares = (at[:, 0, None] - places[:, 0]) ** 2 + (at[:, 1, None] - places[:, 1]) ** 2
        k = 1 / (1 + 1.5**2 * squares ** (1.2**2))
        return k @ scores / k.sum(axis=1)

    return Row(
        "kernel regression on a map",
        f"n={n}, 2500 places",
        lambda: kd.map_regression(kernel, places, scores, at),
        {"plain NumPy": plain_numpy},
    )


def neighbours(n: int) -> Row:
    """t-SNE's joint probabilities; scikit-learn's are in single precision."""
    x = np.random.default_rng(0).normal(size=(n, 30))

    def scikit_learn():
        from scipy.spatial.distance import squareform
        from sklearn.manifold._t_sne import _joint_probabilities

        squares = kd.squared_distances(x, x).astype(np.float32)
        np.fill_diagonal(squares, 0)
        return squareform(_joint_probabilities(squares, 30.0, 0))

    return Row(
        "neighbour affinities",
        f"n={n}, d=30",
        lambda: kd.neighbour_affinities(x, 30.0),
        {"scikit-learn": scikit_learn},
        tolerance=1e-4,
    )
