"""The ridge Gaussian worlds lab beside its peer: a training curve as a spectral integral."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.ridge_regression import ridge_gaussian_worlds


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for m in (10, 60, 300):
        yield training_curve(m)


def training_curve(m: int, ratio: float = 0.5) -> Row:
    """The test loss at m times, the mean of exp(-4 s t) over the Marchenko-Pastur law."""
    times = np.geomspace(0.02, 20, m)

    def scipy():
        from scipy.integrate import quad

        low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2

        def mean(t):
            def weighted(s):
                density = np.sqrt((high - s) * (s - low)) / (2 * np.pi * ratio * s)
                return density * np.exp(-4 * s * t)

            return quad(weighted, low, high, limit=200)[0]

        return np.array([mean(t) for t in times])

    return Row(
        "Marchenko-Pastur training curve",
        f"times={m}",
        lambda: ridge_gaussian_worlds.predicted_losses(ratio, times)[1],
        {"SciPy quad": scipy},
    )
