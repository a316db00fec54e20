"""The trust lab beside its peers: calibration error, boosting, nearest points, risk, bounds."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.density_and_calibration import predictions_you_can_trust as pt


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (1000, 10000, 100000):
        yield calibration_error(n)
    for n in (1000, 10000, 100000):
        yield boosting(n)
    for n in (1000, 5000):
        yield depth(n)
    for n in (100, 1000):
        yield p_values(n)
    for n in (1000, 10000):
        yield confidence(n)


def calibration_error(n: int) -> Row:
    """The smooth calibration error, its width found by bisection on both sides."""
    rng = np.random.default_rng(0)
    f = rng.random(n)
    y = (rng.random(n) < f**1.5).astype(float)

    def relplot():
        from relplot import smECE

        return np.array([smECE(f, y)])

    def ours():
        return np.array([pt.smooth_ece(f, y)])

    return Row("smooth calibration error", f"n={n}", ours, {"relplot": relplot}, tolerance=0.02)


def boosting(n: int) -> Row:
    """Five rounds on 20 level sets; the peer fits one tree of one split to each level set."""
    x, y, _ = pt.hidden_groups(n, 0)
    test_x, test_y, _ = pt.hidden_groups(4000, 900)

    def ours():
        model = pt.level_set_boost(x, y, 20, rounds=5, tolerance=0.0)
        return np.array([np.mean((model.predict(test_x) - test_y) ** 2)])

    def scikit_learn():
        from sklearn.tree import DecisionTreeRegressor

        level = np.full(n, round(20 * y.mean()))
        test_level = np.full(4000, level[0])
        for _ in range(5):
            moved, test_moved = level.copy(), test_level.copy()
            for v in np.unique(level):
                own, test_own = level == v, test_level == v
                if own.sum() < 10:
                    continue
                tree = DecisionTreeRegressor(max_depth=1, min_samples_leaf=10)
                tree.fit(x[own], y[own])
                moved[own] = np.rint(20 * np.clip(tree.predict(x[own]), 0, 1))
                if test_own.any():
                    at = tree.predict(test_x[test_own])
                    test_moved[test_own] = np.rint(20 * np.clip(at, 0, 1))
            level, test_level = moved, test_moved
        return np.array([np.mean((test_level / 20 - test_y) ** 2)])

    return Row(
        "level-set boosting, 5 rounds",
        f"n={n}",
        ours,
        {"scikit-learn trees": scikit_learn},
        tolerance=1e-2,
    )


def depth(n: int) -> Row:
    """How many nearest points in a row agree; the peers sort all n for each of 1000 queries."""
    rng = np.random.default_rng(0)
    points, queries = rng.normal(size=(n, 16)), rng.normal(size=(1000, 16))
    labels = (points[:, 0] > 0).astype(int)
    predicted = np.where(rng.random(n) < 0.05, 1 - labels, labels)
    wanted = (queries[:, 0] > 0).astype(int)

    def ours():
        return pt.neighbour_depth(queries, wanted, points, labels, predicted)[0]

    def scikit_learn():
        from sklearn.neighbors import NearestNeighbors

        near = NearestNeighbors(algorithm="brute").fit(points)
        order = near.kneighbors(queries, n, return_distance=False)
        agrees = (labels[order] == wanted[:, None]) & (predicted == labels)[order]
        return np.where(agrees.all(axis=1), n, (~agrees).argmax(axis=1))

    return Row(
        "agreeing nearest points, 1000 queries", f"n={n}", ours, {"scikit-learn": scikit_learn}
    )


def p_values(n: int) -> Row:
    """Hoeffding-Bentkus p-values of 200 mean losses."""
    risks = np.linspace(0.0, 0.15, 200)

    def ours():
        return pt.binomial_p_value(risks, n, 0.1)

    def mapie():
        from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

        return np.minimum(compute_hoeffding_bentkus_p_value(risks, n, 0.1).ravel(), 1.0)

    return Row("Hoeffding-Bentkus, 200 losses", f"n={n}", ours, {"MAPIE": mapie}, tolerance=1e-6)


def confidence(n: int) -> Row:
    """Clopper-Pearson lower bounds of n counts of 1000 votes."""
    counts = np.random.default_rng(0).integers(1, 1000, n)

    def ours():
        return pt.lower_confidence(counts, 1000, 1e-3)

    def statsmodels():
        from statsmodels.stats.proportion import proportion_confint

        return proportion_confint(counts, 1000, alpha=2e-3, method="beta")[0]

    return Row("Clopper-Pearson bounds", f"n={n}", ours, {"statsmodels": statsmodels})
