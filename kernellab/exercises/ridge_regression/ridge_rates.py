"""Exercises of the lab on learning rates and the cost of interpolation."""

import numpy as np
from scipy.optimize import brentq

from kernellab.lab.exercises import Exercise, Refused, Wrong

# 1. The effective ridge


def effective_ridge(lams, n, delta):
    """Return kappa > 0 with n = sum l/(l + kappa) + delta/kappa."""
    lams = np.asarray(lams, float)
    if delta == 0 and np.count_nonzero(lams) <= n:
        raise ValueError("delta must be positive when there are no more eigenvalues than points")

    def excess(log_kappa):
        kappa = np.exp(log_kappa)
        return np.sum(lams / (lams + kappa)) + delta / kappa - n

    high = np.log((lams.sum() + delta) / n)
    low = high - 1.0
    while excess(low) < 0:
        low -= 5.0
    return float(np.exp(brentq(excess, low, high + 1e-9, xtol=1e-13)))


def _ridge_as_it_is(lams, n, delta):
    if delta == 0 and len(lams) <= n:
        raise ValueError("delta must be positive")
    return delta / n


def _without_delta(lams, n, delta):
    if len(lams) <= n:
        raise ValueError("more eigenvalues needed")
    return effective_ridge(lams, n, 0.0)


def _squared(lams, n, delta):
    lams = np.asarray(lams, float)
    if delta == 0 and len(lams) <= n:
        raise ValueError("delta must be positive")
    grid = np.logspace(-12, 4, 4001)
    sums = [np.sum((lams / (lams + k)) ** 2) + delta / k - n for k in grid]
    return float(grid[np.argmin(np.abs(sums))])


def _never_refuses(lams, n, delta):
    if delta == 0 and np.count_nonzero(lams) <= n:
        return 0.0
    return effective_ridge(lams, n, delta)


def _check_effective_ridge(candidate):
    # m equal eigenvalues 1: n (1 + kappa) = m.
    found = _number(candidate(np.ones(3), 1, 0.0))
    if abs(found) < 1e-9:
        raise Refused(
            "Ridgeless is not free of ridge: with three eigenvalues 1 and one point kappa is 2 "
            "even at delta = 0; you return 0."
        )
    if abs(found - 0.7320508) < 0.01:
        raise Refused(
            "The sum is over L = l/(l + kappa), not over its square, which belongs to E; with "
            "three eigenvalues 1 and one point kappa must be 2."
        )
    if abs(found - 2.0) > 1e-6:
        raise Refused(f"With three eigenvalues 1 and n = 1, kappa is 2; you return {found:.6g}.")
    rng = np.random.default_rng(0)
    for n, delta in ((5, 0.5), (20, 0.0), (39, 2.0), (60, 0.1)):
        lams = np.sort(rng.gamma(1.0, size=40))[::-1]
        expected = effective_ridge(lams, n, delta)
        try:
            found = _number(candidate(lams, n, delta))
        except ValueError as error:
            raise Refused(
                f"delta = {delta} > 0 keeps kappa positive even with fewer eigenvalues than "
                f"points (n = {n}); you raise {error}."
            ) from error
        if abs(found / expected - 1.0) > 1e-4:
            without = effective_ridge(lams, n, 0.0) if n < 40 else np.inf
            if delta > 0 and abs(found / without - 1.0) < 1e-4:
                raise Refused("The ridge itself is missing: add delta/kappa to the sum.")
            raise Refused(
                f"At kappa = {found:.4g} the sum plus delta/kappa is not n = {n} "
                f"(delta = {delta}); kappa should be {expected:.4g}."
            )
    power = np.arange(1.0, 20_001.0) ** -2
    kappas = [_number(candidate(power, n, 0.0)) for n in (50, 100, 200)]
    if not kappas[0] > kappas[1] > kappas[2]:
        raise Refused("More points must mean a smaller kappa: it should fall with n.")
    try:
        found = candidate(np.ones(4), 4, 0.0)
    except ValueError:
        return
    raise Refused(
        f"With four eigenvalues, four points and delta = 0 no kappa > 0 solves the equation: "
        f"raise a ValueError; you return {found}."
    )


EFFECTIVE_RIDGE = Exercise(
    "ridge_rates/effective_ridge",
    title="The ridge that n points leave behind",
    task=r"""
    Write `effective_ridge(lams, n, delta)`: the $\kappa > 0$ that solves
    $$n = \sum_i \frac{\lambda_i}{\lambda_i + \kappa} + \frac{\delta}{\kappa}.$$
    The right side falls with $\kappa$, so any bracketing solver will do (try it on
    $\log\kappa$). When `delta` is 0 and there are no more positive eigenvalues than points there
    is no solution: raise a `ValueError`.
    """,
    function="effective_ridge",
    check=_check_effective_ridge,
    solution=effective_ridge,
    wrong=[
        Wrong("returns delta/n", _ridge_as_it_is, says="Ridgeless is not free of ridge"),
        Wrong("forgets delta/kappa", _without_delta, says="delta/kappa to the sum"),
        Wrong("sums the squares", _squared, says="not over its square"),
        Wrong("returns 0 without a solution", _never_refuses, says="raise a ValueError"),
    ],
    hints=[
        "At kappa = (sum of lams + delta)/n the right side is at most n: an upper bracket.",
        "Walk down from there until the right side exceeds n, then call scipy.optimize.brentq.",
    ],
)


# 2. The smoothness of labels


def estimate_s(K, y, beta):
    """Return s from the slope -(s beta + 1) of log p_i on log i, i = 2 .. 15."""
    vectors = np.linalg.eigh(K)[1][:, ::-1]
    energies = (vectors.T @ y) ** 2
    i = np.arange(2, 16)
    slope = np.polyfit(np.log(i), np.log(energies[1:15]), 1)[0]
    return (-slope - 1.0) / beta


def _log_slope(energies, first, last):
    i = np.arange(first, last + 1)
    return np.polyfit(np.log(i), np.log(energies[first - 1 : last] + 1e-300), 1)[0]


def _smallest_first(K, y, beta):
    return (-_log_slope((np.linalg.eigh(K)[1].T @ y) ** 2, 2, 15) - 1.0) / beta


def _all_indices(K, y, beta):
    energies = (np.linalg.eigh(K)[1][:, ::-1].T @ y) ** 2
    return (-_log_slope(energies, 2, len(y)) - 1.0) / beta


def _without_one(K, y, beta):
    return -_log_slope((np.linalg.eigh(K)[1][:, ::-1].T @ y) ** 2, 2, 15) / beta


def _not_squared(K, y, beta):
    energies = np.abs(np.linalg.eigh(K)[1][:, ::-1].T @ y)
    return (-_log_slope(energies, 2, 15) - 1.0) / beta


def _planted(s, beta, noise, rng, n=120):
    """A Gram matrix and labels whose energies are exactly i^-(s beta + 1), plus white noise."""
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    i = np.arange(1.0, n + 1)
    K = (vectors * i**-beta) @ vectors.T
    y = vectors @ (i ** (-(s * beta + 1) / 2) * rng.choice([-1.0, 1.0], n))
    return (K + K.T) / 2, y + noise * rng.standard_normal(n)


def _check_estimate_s(candidate):
    rng = np.random.default_rng(1)
    for s, beta in ((0.8, 2.0), (0.4, 3.0), (1.5, 2.0)):
        K, y = _planted(s, beta, 0.0, rng)
        found = _number(candidate(K, y, beta))
        if abs(found - s) < 0.02:
            continue
        if abs(found - (s + 1 / beta)) < 0.02:
            raise Refused(
                f"p_i falls as i^-(s beta + 1), so take 1 from the slope before dividing by beta: "
                f"you return {found:.2f} for s = {s}."
            )
        if abs(found - ((s * beta + 1) / 2 - 1) / beta) < 0.02:
            raise Refused("p_i is the square of u_i^T y: without the square the slope is halved.")
        if found < -1.0 / beta:
            raise Refused(
                f"For s = {s} you return {found:.2f}: your energies grow with i. numpy's eigh puts "
                "the smallest eigenvalue first, and i = 1 must be the largest."
            )
        raise Refused(f"For labels of exact smoothness s = {s} you return {found:.3g}.")
    found = []
    for _ in range(8):
        K, y = _planted(0.8, 2.0, 0.012, rng)
        found.append(_number(candidate(K, y, 2.0)))
    if abs(np.mean(found) - 0.8) > 0.25:
        raise Refused(
            f"With a little noise you return {np.mean(found):.2f} for s = 0.8: beyond the first "
            "indices p_i is a flat noise floor; fit i = 2 .. 15 only."
        )


ESTIMATE_S = Exercise(
    "ridge_rates/estimate_s",
    title="Read the smoothness off the labels",
    task=r"""
    Write `estimate_s(K, y, beta)`. With $u_i$ the eigenvectors of the Gram matrix `K`, largest
    eigenvalue first, the energies $p_i = (u_i^\top y)^2$ of labels of smoothness $s$ fall as
    $i^{-(s\beta + 1)}$, until they reach the floor of the noise. Fit a line to $\log p_i$ against
    $\log i$ for $i = 2, \dots, 15$ (index 1 only sees the mean) and return $s$.
    """,
    function="estimate_s",
    check=_check_estimate_s,
    solution=estimate_s,
    wrong=[
        Wrong("smallest eigenvalue first", _smallest_first, says="puts the smallest eigenvalue"),
        Wrong("fits all indices", _all_indices, says="flat noise floor"),
        Wrong("forgets the 1", _without_one, says="take 1 from the slope"),
        Wrong("does not square", _not_squared, says="without the square"),
    ],
    hints=["np.linalg.eigh returns ascending eigenvalues: reverse the columns of the vectors."],
)


# 3. What a pair's losses say about its coin


def ld_cmi(losses, coins):
    """Return the plug-in mutual information, in nats, of D = L^1 - L^0 and the coin."""
    difference = losses[:, 1] - losses[:, 0]
    information = 0.0
    for d in (-1, 0, 1):
        for u in (0, 1):
            joint = np.mean((difference == d) & (coins == u))
            if joint > 0:
                independent = np.mean(difference == d) * np.mean(coins == u)
                information += joint * np.log(joint / independent)
    return information


def _in_bits(losses, coins):
    return ld_cmi(losses, coins) / np.log(2)


def _absolute_difference(losses, coins):
    return ld_cmi(np.stack([0 * losses[:, 0], np.abs(losses[:, 1] - losses[:, 0])], axis=1), coins)


def _both_losses(losses, coins):
    information = 0.0
    for a in (0, 1):
        for b in (0, 1):
            here = (losses[:, 0] == a) & (losses[:, 1] == b)
            for u in (0, 1):
                joint = np.mean(here & (coins == u))
                if joint > 0:
                    information += joint * np.log(joint / (np.mean(here) * np.mean(coins == u)))
    return information


def _zero_times_log_zero(losses, coins):
    difference = losses[:, 1] - losses[:, 0]
    information = 0.0
    with np.errstate(all="ignore"):
        for d in (-1, 0, 1):
            for u in (0, 1):
                joint = np.mean((difference == d) & (coins == u))
                independent = np.mean(difference == d) * np.mean(coins == u)
                information += joint * np.log(joint / independent)
    return information


def _check_ld_cmi(candidate):
    # An interpolating learner with error 1/4: the loss is 1 only in the column not trained on.
    coins = np.repeat([0, 1], 8)
    wrong = np.tile([1, 1, 0, 0, 0, 0, 0, 0], 2)
    losses = np.stack([wrong * (coins == 1), wrong * (coins == 0)], axis=1)
    found, expected = float(candidate(losses, coins)), np.log(2) / 4
    if np.isnan(found):
        raise Refused(
            "You return nan: a combination that never occurs adds 0, so skip it before the log."
        )
    if abs(found - 0.25) < 1e-9:
        raise Refused("Use the natural logarithm: the bounds are in nats, and you return bits.")
    if abs(found) < 1e-9:
        raise Refused(
            "The sign of D says which point of the pair was trained on: you return 0 for a "
            "learner whose every error betrays its coin."
        )
    if abs(found - expected) > 1e-9:
        raise Refused(
            f"For an interpolating learner with error 1/4, I(D; U) is log(2)/4 = {expected:.4f}; "
            f"you return {found:.4f}."
        )
    # Independent of the coin by construction.
    losses = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (2, 1))
    found = float(candidate(losses, np.repeat([0, 1], 4)))
    if abs(found) > 1e-9:
        raise Refused(f"Losses that do not depend on the coin tell 0; you return {found:.4f}.")
    # Losses (0, 0) with coin 0 and (1, 1) with coin 1: the pair tells the coin, D is always 0.
    losses, coins = np.repeat([[0, 0], [1, 1]], 3, axis=0), np.repeat([0, 1], 3)
    found = float(candidate(losses, coins))
    if abs(found) > 1e-9:
        raise Refused(
            "D is 0 for both losses 0 and for both losses 1: count the difference, not the pair, "
            f"which here tells {found:.2f} more."
        )
    rng = np.random.default_rng(2)
    for _ in range(20):
        losses, coins = rng.integers(0, 2, (30, 2)), rng.integers(0, 2, 30)
        found, expected = float(candidate(losses, coins)), ld_cmi(losses, coins)
        if not abs(found - expected) < 1e-9:
            raise Refused(f"For 30 random pairs you return {found:.4f}, it is {expected:.4f}.")


LD_CMI = Exercise(
    "ridge_rates/ld_cmi",
    title="How well does a pair betray its coin?",
    task=r"""
    Write `ld_cmi(losses, coins)`. `losses` has shape (N, 2), the 0-1 losses $L^0, L^1$ of each
    pair; `coins`, shape (N,), says which column was trained on. Return the mutual information of
    $D = L^1 - L^0$ and $U$ in nats, with the observed frequencies as probabilities:
    $$I = \sum_{d,u} p(d, u) \log\frac{p(d, u)}{p(d)\,p(u)}.$$
    """,
    function="ld_cmi",
    check=_check_ld_cmi,
    solution=ld_cmi,
    wrong=[
        Wrong("answers in bits", _in_bits, says="natural logarithm"),
        Wrong("drops the sign of D", _absolute_difference, says="The sign of D"),
        Wrong("counts the pair of losses", _both_losses, says="count the difference"),
        Wrong("takes the log of zero", _zero_times_log_zero, says="skip it before the log"),
    ],
    hints=["D takes the values -1, 0 and 1, U the values 0 and 1: six frequencies."],
)


def _number(value) -> float:
    """Return the answer as a float, or say what came instead."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Refused(f"Return one number, not {type(value).__name__}.") from None
    if not np.isfinite(number):
        raise Refused(f"The answer must be finite; you return {number}.")
    return number


EXERCISES = (EFFECTIVE_RIDGE, ESTIMATE_S, LD_CMI)
