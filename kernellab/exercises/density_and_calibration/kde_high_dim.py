"""Exercises of the high-dimensional smoothing lab: a count of points, a lift, a leave-one-out map.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    describe,
    expect,
    expect_close,
    expect_shape,
)

# --- 1. How many points are in the sum -----------------------------------------------------------


def neff(logw):
    """Return (sum w)^2 / sum w^2 for weights given by their logarithms (n,)."""
    w = np.exp(logw - np.max(logw))
    return w.sum() ** 2 / np.sum(w**2)


def _underflows(logw):
    w = np.exp(logw)
    with np.errstate(invalid="ignore"):
        return w.sum() ** 2 / np.sum(w**2)


def _forgets_the_square(logw):
    w = np.exp(logw - np.max(logw))
    return w.sum() / np.sum(w**2)


def _inverts_the_largest(logw):
    w = np.exp(logw - np.max(logw))
    return w.sum()


def _uses_logarithms(logw):
    w = np.asarray(logw) - np.min(logw) + 1.0
    return w.sum() ** 2 / np.sum(w**2)


def _check_neff(candidate):
    on = "for 7 equal weights"
    found = call(candidate, np.zeros(7), on=on)
    expect_shape(found, (), f"{on}, one number")
    expect_close(found, 7.0, f"{on} all points count the same, so the answer is 7")

    on = "for log weights (0, -50, -50)"
    expect_close(
        call(candidate, np.array([0.0, -50.0, -50.0]), on=on),
        1.0,
        f"{on} one point has all the weight, so the answer is 1: the numbers given are logarithms",
        rtol=1e-6,
    )

    on = "for weights 2 and 1"
    found = call(candidate, np.log([2.0, 1.0]), on=on)
    expect(
        not np.isclose(float(found), 1.5),
        f"{on} you return 1.5, the sum over the largest weight; the answer is 3^2 / 5 = 1.8",
    )
    expect_close(
        found,
        1.8,
        f"{on} (sum w)^2 / sum w^2 = 3^2 / 5 = 1.8; it must not depend on a common factor of w, so "
        "square the sum as well",
    )

    on = "for log weights near -10,000"
    found = float(call(candidate, np.array([-1e4, -1e4, -1e4 - 1]), on=on))
    expect(
        np.isfinite(found),
        f"{on} you return {describe(np.asarray(found))}: exp(-10000) is 0 in a computer; subtract "
        "the largest logarithm first",
    )
    expect_close(found, neff(np.array([0.0, 0.0, -1.0])), f"{on}, as without the common factor")


NEFF = Exercise(
    "kde_high_dim/neff",
    title="How many points are in the sum?",
    task=r"""
    The weights $w_i$ of a kernel sum come as logarithms `logw` `(n,)`, such as
    $-|x - y_i|^2 / (2h^2)$. Write `neff(logw)`, which returns the effective number of points
    $$n_{\text{eff}} = \frac{\big(\sum_i w_i\big)^2}{\sum_i w_i^2} .$$
    In many dimensions the logarithms can be far below $-700$.
    """,
    function="neff",
    check=_check_neff,
    solution=neff,
    wrong=[
        Wrong("underflows", _underflows, says="subtract the largest logarithm"),
        Wrong("forgets a square", _forgets_the_square, says="the answer is 7"),
        Wrong("one over the largest share", _inverts_the_largest, says="3^2 / 5 = 1.8"),
        Wrong("takes logarithms as weights", _uses_logarithms, says="are logarithms"),
    ],
    hints=["A common factor of all weights cancels: choose it so that the largest is 1."],
)

# --- 2. Back from the projection -----------------------------------------------------------------


def lift_mode(X, Z, z, h):
    """Return the mean of the rows of X, weighted by a Gaussian of the distances of Z to z."""
    squares = np.sum((Z - z) ** 2, axis=1)
    v = np.exp((squares.min() - squares) / (2 * h**2))
    return v @ X / v.sum()


def _stays_below(X, Z, z, h):
    return lift_mode(Z, Z, z, h)


def _nearest_centre(X, Z, z, h):
    return X[np.argmin(np.sum((Z - z) ** 2, axis=1))]


def _no_normalisation(X, Z, z, h):
    return np.exp(-np.sum((Z - z) ** 2, axis=1) / (2 * h**2)) @ X


def _plain_distance(X, Z, z, h):
    v = np.exp(-np.sqrt(np.sum((Z - z) ** 2, axis=1)) / h)
    return v @ X / v.sum()


def _pseudo_inverse(X, Z, z, h):
    return z @ np.linalg.lstsq(Z, X, rcond=None)[0]


def _check_lift_mode(candidate):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 6)) + 3.0
    P = rng.normal(size=(6, 3)) / np.sqrt(3)
    Z = X @ P
    z = Z[4] + 0.3

    on = "with 30 points in 6 dimensions, projected to 3"
    found = np.asarray(call(candidate, X, Z, z, 0.9, on=on), dtype=float)
    expect_shape(found, (6,), f"{on}, a point of the full space: average the rows of X, not of Z")

    on = "with two points at equal distance from z"
    two = call(candidate, np.eye(4)[:2], np.array([[-1.0], [1.0]]), np.array([0.0]), 0.5, on=on)
    expect(
        not np.allclose(two, np.eye(4)[0]) and not np.allclose(two, np.eye(4)[1]),
        f"{on} you return one of them; both have the same weight, so the answer lies in the middle",
    )
    expect_close(
        two,
        np.array([0.5, 0.5, 0.0, 0.0]),
        f"{on} the answer is their middle: divide by the sum of the weights, so that the point "
        "stays among the data",
    )

    on = "when nothing was projected (Z = X)"
    squares = np.sum((X - X[4]) ** 2, axis=1)
    v = np.exp(-squares / (2 * 0.9**2))
    expect_close(
        call(candidate, X, X, X[4], 0.9, on=on),
        v @ X / v.sum(),
        f"{on} the lift is one mean-shift step, with weights exp(-|z - x_i|^2 / (2 h^2)) of the "
        "squared distances",
    )
    expect_close(found, lift_mode(X, Z, z, 0.9), "the weights come from the projected distances")
    on = "with z far from everything"
    far = np.asarray(call(candidate, X, Z, z + 100.0, 0.5, on=on), dtype=float)
    expect(
        np.isfinite(far).all(),
        f"{on} all weights underflow and you return NaN; subtract the least squared distance "
        "before the exponential",
    )


def _underflowing_lift(X, Z, z, h):
    v = np.exp(-np.sum((Z - z) ** 2, axis=1) / (2 * h**2))
    with np.errstate(invalid="ignore"):
        return v @ X / v.sum()


LIFT_MODE = Exercise(
    "kde_high_dim/lift_mode",
    title="Back from the projection",
    task=r"""
    `X` `(n, d)` are data and `Z` `(n, w)` their projections. A search ended at the place `z` `(w,)`
    of the small space. Write `lift_mode(X, Z, z, h)`, which returns a point `(d,)` of the large
    one: the mean of the rows of `X` with weights
    $$v_i = \exp\big(-|z - Z_i|^2 / (2 h^2)\big) .$$
    """,
    function="lift_mode",
    check=_check_lift_mode,
    solution=lift_mode,
    wrong=[
        Wrong("averages Z", _stays_below, says="rows of X, not of Z"),
        Wrong("nearest point", _nearest_centre, says="you return one of them"),
        Wrong("forgets to normalise", _no_normalisation, says="sum of the weights"),
        Wrong("distances not squared", _plain_distance, says="squared distances"),
        Wrong("solves for a preimage", _pseudo_inverse, says="divide by the sum"),
        Wrong("underflows far away", _underflowing_lift, says="least squared distance"),
    ],
    hints=["np.sum((Z - z) ** 2, axis=1) are the n squared distances.", "Then v @ X / v.sum()."],
)

# --- 3. Would the map know a point that it has not seen? -----------------------------------------


def nw_loo(P, s, a, b):
    """Return s_i minus the kernel regression at p_i from all other points, (n,)."""
    r2 = np.sum((P[:, None] - P[None]) ** 2, axis=2)
    k = 1.0 / (1.0 + a**2 * r2 ** (b**2))
    np.fill_diagonal(k, 0.0)
    return s - k @ s / k.sum(axis=1)


def _keeps_itself(P, s, a, b):
    r2 = np.sum((P[:, None] - P[None]) ** 2, axis=2)
    k = 1.0 / (1.0 + a**2 * r2 ** (b**2))
    return s - k @ s / k.sum(axis=1)


def _drops_twins(P, s, a, b):
    r2 = np.sum((P[:, None] - P[None]) ** 2, axis=2)
    k = np.where(r2 > 0, 1.0 / (1.0 + a**2 * r2 ** (b**2)), 0.0)
    return s - k @ s / k.sum(axis=1)


def _divides_by_n(P, s, a, b):
    r2 = np.sum((P[:, None] - P[None]) ** 2, axis=2)
    k = 1.0 / (1.0 + a**2 * r2 ** (b**2))
    np.fill_diagonal(k, 0.0)
    return s - k @ s / len(s)


def _squares_twice(P, s, a, b):
    r2 = np.sum((P[:, None] - P[None]) ** 2, axis=2)
    k = 1.0 / (1.0 + a**2 * r2 ** (2 * b**2))
    np.fill_diagonal(k, 0.0)
    return s - k @ s / k.sum(axis=1)


def _returns_the_estimate(P, s, a, b):
    return s - nw_loo(P, s, a, b)


def _check_nw_loo(candidate):
    rng = np.random.default_rng(0)
    P, s = rng.normal(size=(12, 2)), rng.normal(size=12)

    on = "for a constant score of 3"
    found = call(candidate, P, np.full(12, 3.0), 1.0, 1.0, on=on)
    expect_shape(found, (12,), f"{on}, one residual a point")
    expect(
        not np.allclose(found, 3.0),
        f"{on} you return 3 everywhere: return the residual s - estimate, not the estimate",
    )
    expect_close(
        found,
        np.zeros(12),
        f"{on} every weighted mean is 3 and every residual 0: divide by the sum of the weights",
    )

    on = "for two points with scores 0 and 1"
    found = call(
        candidate, np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([0.0, 1.0]), 1.0, 1.0, on=on
    )
    expect_close(
        found,
        np.array([-1.0, 1.0]),
        f"{on} each sees only the other: residuals -1 and 1. A point must not help to predict "
        "itself",
    )

    on = "with two points at the same place, scores 5 and -5"
    twins = np.vstack([P, P[:1]])
    scores = np.append(s, -5.0)
    scores[0] = 5.0
    expect_close(
        call(candidate, twins, scores, 2.0, 1.1, on=on),
        nw_loo(twins, scores, 2.0, 1.1),
        f"{on} leave out the point itself, by its number; its twin at distance 0 stays in, with "
        "k = 1, and k(r) = 1 / (1 + a^2 r^(2 b^2)) elsewhere",
    )


NW_LOO = Exercise(
    "kde_high_dim/nw_loo",
    title="Would the map know a point it has not seen?",
    task=r"""
    Points lie on a map at `P` `(n, 2)`, with scores `s` `(n,)`. Write `nw_loo(P, s, a, b)`, which
    returns the residuals `(n,)`
    $$s_i - \frac{\sum_{j \ne i} k(|p_i - p_j|)\, s_j}{\sum_{j \ne i} k(|p_i - p_j|)},
    \qquad k(r) = \frac{1}{1 + a^2\, r^{2 b^2}} .$$
    Then invent an experiment: on a map of two principal components, which $(a, b)$ has the least
    mean square? Is it the same on a map that was trained for the score?
    """,
    function="nw_loo",
    check=_check_nw_loo,
    solution=nw_loo,
    wrong=[
        Wrong("keeps the point itself", _keeps_itself, says="must not help to predict"),
        Wrong("drops twins", _drops_twins, says="its twin at distance 0 stays"),
        Wrong("divides by n", _divides_by_n, says="divide by the sum of the weights"),
        Wrong("wrong exponent", _squares_twice, says="1 / (1 + a^2 r^(2 b^2))"),
        Wrong("returns the estimate", _returns_the_estimate, says="not the estimate"),
    ],
    hints=[
        "Squared distances r2 give k = 1 / (1 + a**2 * r2 ** (b**2)).",
        "np.fill_diagonal(k, 0) leaves each point out of its own mean.",
    ],
)


EXERCISES = (NEFF, LIFT_MODE, NW_LOO)
