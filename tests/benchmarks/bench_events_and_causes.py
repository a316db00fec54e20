"""The events and causes lab beside its peers: delays, location-scale fits, balancing weights."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Gaussian
from kernellab.methods.density_and_calibration import events_and_causes as ec


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for horizon in (1000.0, 10000.0, 100000.0):
        yield losses(horizon)
    for horizon in (1000.0, 10000.0):
        yield delays(horizon)
    for n in (500, 5000):
        yield location_scale(n)
    for anchors in (10, 30, 80):
        yield balance(anchors)


def recording(horizon: float):
    """Stream A sets off stream B after a delay."""
    return ec.simulate_events(horizon, [0.8, 0.4], [[0, 0], [0.6, 0.2]], 0.3, 0.15, 0)


def losses(horizon: float) -> Row:
    """The loss of 50 guesses, counting included; the peer walks over the grid for each."""
    events, phi = recording(horizon), np.full((2, 50), 0.1)
    guesses = np.linspace(0.1, 1.0, 50)

    def ours():
        tables = ec.event_tables(events, horizon, 1.0, 0.02)
        return np.array([tables.loss(1, mu, phi)[0] for mu in guesses])

    def plain_numpy():
        cells = round(horizon / 0.02)
        z = [np.bincount((t / 0.02).astype(int), minlength=cells).astype(float) for t in events]
        found = []
        for mu in guesses:
            rate = np.full(cells, mu)
            for count, kernel in zip(z, phi, strict=True):
                rate[1:] += np.convolve(count, kernel)[: cells - 1]
            found.append(0.02 * np.sum(rate * rate) - 2 * np.sum(z[1] * rate))
        return np.array(found) / sum(count.sum() for count in z)

    return Row("Hawkes loss of 50 guesses", f"T={horizon:g}", ours, {"NumPy convolve": plain_numpy})


def delays(horizon: float) -> Row:
    """Delay kernels between two streams; the peer estimates 50 free values of each by EM."""
    events = recording(horizon)

    def ours():
        tables = ec.event_tables(events, horizon, 1.0, 0.02)
        return np.array([ec.fit_hawkes(tables).branching[1, 0]])

    def tick():
        # tick's own wrapper class does not start on newer Pythons; its compiled core does.
        from tick.hawkes.inference.build.hawkes_inference import HawkesEM

        core = HawkesEM(1.0, 50, 1)
        core.set_data([events], np.array([horizon]))
        rates = np.full(2, 0.5)
        kernels = 0.1 * np.random.default_rng(0).uniform(0.5, 1.5, (2, 100))
        for _ in range(100):
            core.solve(rates, kernels)
        return np.array([kernels[1, :50].sum() * 0.02])

    return Row(
        "delay kernels of two streams",
        f"T={horizon:g}",
        ours,
        {"tick HawkesEM, 100 steps": tick},
        tolerance=0.2,
    )


def location_scale(n: int) -> Row:
    """A location-scale spline fit at one ridge; the peer takes L-BFGS on the same objective."""
    x, y, *_ = ec.simulate_pair("location and scale", n, 10)
    x, y = ec.standardise(x), ec.standardise(y)
    basis = ec.SplineBasis(x.min(), x.max(), 12)
    phi = basis.matrix(x)
    steps = np.diff(np.eye(12), 2, axis=0)
    prior = steps.T @ steps + 0.01 * np.eye(12)

    def scipy():
        from scipy.optimize import minimize

        centre = np.concatenate([np.zeros(12), np.full(12, 0.5)])

        def objective(w):
            eta, v = phi @ w[:12], phi @ w[12:]
            if v.min() <= 0:
                return 1e10, np.zeros(24)
            mean = eta / (2 * v)
            value = -np.sum(eta * y - v * y * y - eta * mean / 2 + np.log(v / np.pi) / 2)
            slope = np.concatenate([phi.T @ (mean - y), phi.T @ (y * y - mean**2 - 0.5 / v)])
            gap = (w - centre).reshape(2, 12)
            return value + 0.5 * np.sum(gap @ prior * gap), slope + (gap @ prior).ravel()

        options = {"maxiter": 2000, "maxfun": 5000, "ftol": 1e-12}
        found = minimize(objective, centre, jac=True, method="L-BFGS-B", options=options)
        return np.array([found.fun])

    def ours():
        fit = ec.fit_location_scale(x, y, 12, 1.0)
        gap = np.array([fit.w1, fit.w2 - 0.5])
        return np.array([-fit.log_likelihood + 0.5 * np.sum(gap @ prior * gap)])

    return Row("location-scale spline fit", f"n={n}", ours, {"SciPy L-BFGS": scipy}, tolerance=1e-2)


def balance(anchors: int) -> Row:
    """Balancing weights with slack; the peer solves the dual with bounds on split multipliers."""
    shop, kernel = ec.simulate_ratings(0), Gaussian(1.8)
    places = shop.features[np.random.default_rng(0).choice(8000, anchors, replace=False)]
    h = kernel.gram(shop.features[shop.observed], places)
    targets = kernel.matvec(places, shop.features, np.full(8000, 1 / 8000))
    seen = shop.rating[shop.observed]

    def scipy():
        from scipy.optimize import minimize
        from scipy.special import logsumexp, softmax

        centred = h - targets

        def dual(split):
            scores = centred @ (split[:anchors] - split[anchors:])
            slope = softmax(scores) @ centred
            value = logsumexp(scores) + 1e-3 * split.sum()
            return value, np.concatenate([slope, -slope]) + 1e-3

        options = {"maxiter": 20000, "maxfun": 20000, "ftol": 1e-14, "gtol": 1e-7}
        found = minimize(
            dual,
            np.zeros(2 * anchors),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * (2 * anchors),
            options=options,
        ).x
        w = softmax(centred @ (found[:anchors] - found[anchors:]))
        return np.array([w @ seen])

    def ours():
        return np.array([np.mean(ec.balance_weights(h, targets).weights * seen)])

    return Row(
        "balancing weights",
        f"n={len(h)}, J={anchors}",
        ours,
        {"SciPy L-BFGS-B": scipy},
        tolerance=1e-2,
    )
