"""The kernel tests lab beside its peers: Stein matrices, bootstraps, permutation tests, bets."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Gaussian, InverseMultiquadric
from kernellab.compute.mmd import mmd_permutation_test
from kernellab.compute.stein import stein_bootstrap, stein_gram
from kernellab.methods.mean_embeddings import kernel_tests as kt


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (300, 1000, 3000):
        yield stein_matrix(n)
    for n in (300, 1000):
        yield bootstrap(n)
    for n in (100, 300, 1000):
        yield hsic(n)
    for n in (50, 150, 500):
        yield mmd(n)
    for n in (200, 1000, 4000):
        yield bets(n)
    for n in (1000, 10000):
        yield ratio(n)


def stein_matrix(n: int) -> Row:
    """The Stein matrix of n points in ten dimensions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 10))
    scores = -x

    def plain_numpy():
        far = np.maximum(np.sum(x**2, axis=1)[:, None] + np.sum(x**2, axis=1) - 2 * x @ x.T, 0)
        rate = 1 / 9.0
        t = 1 / (1 + rate * far)
        own = np.sum(scores * x, axis=1)
        turn = scores @ x.T + x @ scores.T - own[:, None] - own
        inside = scores @ scores.T - rate * t * (turn - 10) - 3 * rate**2 * t**2 * far
        return np.sqrt(t) * inside

    def stein_thinning():
        from stein_thinning.kernel import make_imq

        kernel = make_imq(x, preconditioner="9.0")  # |x - y|^2 / 9, as scale 3 has it
        return np.array([kernel(x, x[i : i + 1], scores, scores[i : i + 1]) for i in range(n)])

    return Row(
        "Stein matrix, IMQ",
        f"n={n}, d=10",
        lambda: stein_gram(InverseMultiquadric(3.0), x, scores),
        {"NumPy": plain_numpy, "stein-thinning": stein_thinning},
        tolerance=1e-8,
    )


def bootstrap(n: int) -> Row:
    """500 multinomial bootstrap replicates of a Stein statistic; their spread is compared."""
    x = np.random.default_rng(0).standard_normal((n, 2))
    gram = stein_gram(InverseMultiquadric(2.0), x, -x)

    def plain_numpy():
        rng = np.random.default_rng(1)
        weights = (rng.multinomial(n, np.full(n, 1 / n), size=500) - 1.0) / n
        off = gram - np.diag(np.diag(gram))
        return np.std(np.sum((weights @ off) * weights, axis=1))

    return Row(
        "Stein bootstrap, 500",
        f"n={n}",
        lambda: np.std(stein_bootstrap(gram, 500, np.random.default_rng(1))),
        {"NumPy": plain_numpy},
        tolerance=0.3,  # two samples of 500
    )


def hsic(n: int) -> Row:
    """HSIC with 200 permutations: the statistic is compared, the work is the whole test."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 1))
    y = x**2 + rng.standard_normal((n, 1))
    kernel = Gaussian(1.0)

    def plain_numpy():
        draws = np.random.default_rng(1)
        kx, ky = kernel.gram(x), kernel.gram(y)
        kx = kx - kx.mean(axis=0)
        kx = kx - kx.mean(axis=1)[:, None]
        null = np.empty(200)
        for b in range(200):
            order = draws.permutation(n)
            null[b] = np.sum(kx * ky[np.ix_(order, order)]) / n**2
        statistic = np.sum(kx * ky) / n**2
        assert np.mean(null >= statistic) < 0.5
        return statistic

    def hyppo():
        import warnings

        from hyppo.independence import Hsic

        np.random.seed(1)  # noqa: NPY002 - hyppo draws from the global generator
        test = Hsic(compute_kernel="rbf", bias=True, gamma=0.5)
        with warnings.catch_warnings():  # it finds 200 permutations few
            warnings.simplefilter("ignore")
            test.test(x, y, reps=200, workers=1, auto=False)
        # hyppo divides by the norms of both kernel matrices and takes the root.
        centring = np.eye(n) - 1 / n
        kx, ky = centring @ kernel.gram(x) @ centring, centring @ kernel.gram(y) @ centring
        scale = np.sqrt(np.sum(kx**2) * np.sum(ky**2)) / n**2
        return test.stat**2 * scale

    return Row(
        "HSIC test, 200 permutations",
        f"n={n}",
        lambda: kt.hsic_permutation_test(x, y, kernel, kernel, 200, np.random.default_rng(1))[0],
        {"NumPy": plain_numpy, "hyppo Hsic": hyppo},
        tolerance=1e-6,
    )


def mmd(n: int) -> Row:
    """MMD with 200 permutations of two samples so far apart that no relabelling comes near.

    hyppo scales its statistic otherwise, so p-values are compared.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 3)), rng.normal(1.0, 1, (n, 3))

    def hyppo():
        import warnings

        from hyppo.ksample import MMD

        test = MMD(compute_kernel="rbf", bias=True, gamma=0.5)
        with warnings.catch_warnings():  # it finds 200 permutations few
            warnings.simplefilter("ignore")
            return test.test(x, y, reps=200, workers=1, auto=False).pvalue

    return Row(
        "MMD test, 200 permutations",
        f"n=m={n}",
        lambda: mmd_permutation_test(x, y, Gaussian(1.0), 200, 1).p_value,
        {"hyppo MMD": hyppo},
    )


def bets(n: int) -> Row:
    """Payoffs of the betting game for a stream of n pairs."""
    x, y = kt.pair_stream("line", 0.3, n, 0)

    def plain_numpy():
        payoffs = np.zeros(n // 2)
        kx, ky = np.exp(-0.5 * (x - x.T) ** 2), np.exp(-0.5 * (y - y.T) ** 2)
        row_x, row_y, product = kx[:2, :2].sum(axis=0), ky[:2, :2].sum(axis=0), 0.0
        product = np.sum(kx[:2, :2] * ky[:2, :2])
        for t in range(1, n // 2):
            past, new = slice(0, 2 * t), slice(2 * t, 2 * t + 2)
            m = 2 * t
            norm2 = product / m**2 - 2 * row_x @ row_y / m**3 + row_x.sum() * row_y.sum() / m**4
            a, b = kx[past, new], ky[past, new]
            da, db = a[:, 0] - a[:, 1], b[:, 0] - b[:, 1]
            payoffs[t] = 0.5 * (da @ db / m - da.sum() * db.sum() / m**2) / np.sqrt(norm2)
            product += 2 * np.sum(a * b) + np.sum(kx[new, new] * ky[new, new])
            row_x = np.append(row_x + a.sum(axis=1), a.sum(axis=0) + kx[new, new].sum(axis=0))
            row_y = np.append(row_y + b.sum(axis=1), b.sum(axis=0) + ky[new, new].sum(axis=0))
        return payoffs

    return Row(
        "betting payoffs",
        f"pairs={n}",
        lambda: kt.betting_payoffs(x, y, 1.0, 1.0),
        {"NumPy, both Gram matrices": plain_numpy},
        tolerance=1e-7,
    )


def ratio(n: int) -> Row:
    """One training of the log-ratio; the peer is a logistic regression on the same features."""
    rng = np.random.default_rng(0)
    reference, data = rng.standard_normal((n, 6)), rng.normal(0.1, 1, (n // 8, 6))
    kernel = Gaussian(4.0)
    at = rng.standard_normal((200, 6))
    fit = kt.learn_ratio(data, reference, kernel, 60, 0.1, 1)

    def scikit_learn():
        from scipy.linalg import solve_triangular
        from sklearn.linear_model import LogisticRegression

        lower = np.linalg.cholesky(kernel.gram(fit.centres) + 6e-9 * np.eye(60))
        both = np.vstack([reference, data])

        def features(points):
            return solve_triangular(lower, kernel.gram(fit.centres, points), lower=True).T

        model = LogisticRegression(C=5.0, fit_intercept=False, tol=1e-8, max_iter=500)
        label = np.arange(len(both)) >= n
        model.fit(features(both), label, np.where(label, 1.0, len(data) / n))
        return model.decision_function(features(at))

    return Row(
        "learned ratio, 60 centres",
        f"n={n}",
        lambda: kt.learn_ratio(data, reference, kernel, 60, 0.1, 1).log_ratio(at),
        {"scikit-learn": scikit_learn},
        tolerance=1e-4,
    )
