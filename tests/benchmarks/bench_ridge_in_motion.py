"""The ridge in motion lab beside its peers: streams, fixed centres, a teacher."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Gaussian, Matern12
from kernellab.methods.ridge_regression import ridge_in_motion as motion
from tests.benchmarks.bench_linalg import gaussian_gram


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (500, 2000, 8000):
        yield newton_stream(n)
    for n in (500, 2000):
        yield refits(n)
    for side in (16, 32):
        yield greedy_lessons(side)
    for p in (100, 300):
        yield epoch(p)


def newton_stream(n: int) -> Row:
    """Online ridge regression on a dictionary: predictions for a whole stream.

    The peer gets the dictionary's features for free, and does the recursion only.
    """
    x, y = motion.sine_stream(n, 0.1, 0)
    kernel = Gaussian(0.15)
    features, _ = motion.OnlineNewton(kernel, 1e-4)._features(x)

    def plain():
        import padasip

        # padasip's step: eps is the ridge, mu = 1 forgets nothing.
        peer = padasip.filters.FilterRLS(n=features.shape[1], mu=1.0, eps=1.0, w="zeros")
        return peer.run(y, features)[0]

    return Row(
        "online ridge, dictionary",
        f"T={n}",
        lambda: motion.OnlineNewton(kernel, 1e-4, ridge=1.0).learn(x, y),
        {"padasip FilterRLS": plain},
    )


def refits(n: int) -> Row:
    """Each example predicted by the fit to all before it, kernel matrix given."""
    x, y = motion.sine_stream(n, 0.1, 0)
    gram = gaussian_gram(x, bandwidth=0.15)

    def plain_numpy():
        inverse, predictions = np.zeros((0, 0)), np.zeros(n)
        for t in range(n):
            cross = gram[t, :t]
            image = inverse @ cross
            predictions[t] = image @ y[:t]
            left = gram[t, t] + 1.0 - cross @ image
            row = np.append(-image, 1.0)
            inverse = np.pad(inverse, (0, 1)) + np.outer(row, row) / left
        return predictions

    return Row(
        "online ridge, full kernel",
        f"T={n}",
        lambda: motion.full_online_ridge(gram, y, 1.0).predictions,
        {"NumPy, bordered inverse": plain_numpy},
    )


def greedy_lessons(side: int) -> Row:
    """Losses of 600 greedy lessons on a picture's grid."""
    gram = Gaussian(0.06).gram(motion.unit_grid(side))
    target, _ = motion.smooth_target(gram, 20, 0)

    def plain_numpy():
        values, losses = np.zeros(side**2), np.empty(601)
        for t in range(600):
            error = values - target
            losses[t] = np.mean(error**2)
            x = np.argmax(np.abs(error))
            values = values - 0.5 * error[x] * gram[x]
        losses[600] = np.mean((values - target) ** 2)
        return losses

    return Row(
        "600 greedy lessons",
        f"N={side**2}",
        lambda: motion.teach(gram, target, 600).losses[:, 0],
        {"plain NumPy": plain_numpy},
    )


def epoch(p: int) -> Row:
    """Set up and train five epochs on p centres; the peer writes out the same steps with scipy."""
    from scipy.linalg import cho_factor, cho_solve
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(0)
    x = rng.random((1400, 64))
    y = np.sin(3 * x[:, :10])
    centres, sample = x[:p], x[-300:]

    def ours():
        preconditioner = motion.nystrom_preconditioner(Matern12(3.0), sample, 50)
        model = motion.ProjectedGradient(
            Matern12(3.0), x, y, centres, preconditioner, 200, step_size=0.5, rng=0
        )
        *_, last = model.epochs(5)
        return last.weights

    def scipy():
        def kernel(a, b):
            return np.exp(-cdist(a, b) / 3.0)

        values, vectors = np.linalg.eigh(kernel(sample, sample) / 300)
        values, vectors = values[::-1], vectors[:, ::-1]
        damping = 1 - values[50] / values[:50]
        maps = vectors[:, :50] / np.sqrt(300 * values[:50])
        factor = cho_factor(kernel(centres, centres))
        at_centres = kernel(centres, sample) @ maps
        weights, order_rng = np.zeros((p, 10)), np.random.default_rng(0)
        for _ in range(5):
            order = order_rng.permutation(1400)
            for start in range(0, 1400, 200):
                rows = order[start : start + 200]
                cross = kernel(x[rows], centres)
                residual = cross @ weights - y[rows]
                psi = kernel(x[rows], sample) @ maps
                h = cross.T @ residual - (at_centres * damping) @ (psi.T @ residual)
                weights = weights - 0.5 * cho_solve(factor, h)
        return weights

    return Row("projected gradient, 5 epochs", f"n=1400, p={p}", ours, {"SciPy": scipy})
