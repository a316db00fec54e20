"""Exercises of the events and causes lab: a table of counts, a concave likelihood, balance.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import approx_fprime

from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_shape,
)

# --- 1. Count once ------------------------------------------------------------------------------


def psi_table(z, last):
    """Return sum_s z[s - t] z[s - u] for t, u = 1..last, (last, last)."""
    z = np.asarray(z, dtype=float)
    shifted = np.zeros((last, z.size))
    for t in range(1, last + 1):
        shifted[t - 1, t:] = z[: z.size - t]
    return shifted @ shifted.T


def _from_zero(z, last):
    z = np.asarray(z, dtype=float)
    shifted = np.zeros((last, z.size))
    for t in range(last):
        shifted[t, t:] = z[: z.size - t]
    return shifted @ shifted.T


def _around_the_end(z, last):
    shifted = np.array([np.roll(np.asarray(z, dtype=float), t) for t in range(1, last + 1)])
    return shifted @ shifted.T


def _no_ends(z, last):
    z = np.asarray(z, dtype=float)
    lags = [np.sum(z[: z.size - t] * z[t:]) for t in range(last)]
    return np.array([[lags[abs(t - u)] for u in range(last)] for t in range(last)])


def _into_the_future(z, last):
    z = np.asarray(z, dtype=float)
    shifted = np.zeros((last, z.size))
    for t in range(1, last + 1):
        shifted[t - 1, : z.size - t] = z[t:]
    return shifted @ shifted.T


def _present_or_not(z, last):
    return psi_table(np.asarray(z) > 0, last)


def _rolls(candidate):
    """Whether an event in the last cell meets one in the first, as on a ring."""
    return np.asarray(candidate(np.array([1, 0, 0, 0, 1]), 3), dtype=float)[0, 1] != 0


def _check_psi_table(candidate):
    on = "for one event, in the first of five cells"
    found = call(candidate, np.array([1, 0, 0, 0, 0]), 3, on=on)
    expect_shape(found, (3, 3), f"{on} and last = 3, delays 1, 2, 3 in rows and in columns")
    expect(
        not np.allclose(found, 0),
        f"{on} you find nothing: z[s - t] looks back, so the cell at s - t comes before s",
    )
    expect_close(found, np.eye(3), f"{on}, it stands 1, 2 and 3 cells before a cell in turn")

    on = "for one event, in the last of five cells"
    found = np.asarray(call(candidate, np.array([0, 0, 0, 0, 1]), 3, on=on), dtype=float)
    expect(
        not np.allclose(found, np.eye(3)),
        f"{on} no later cell is left, so every count is 0; yours go on beyond the end"
        + (", round to the first cell" if _rolls(candidate) else ""),
    )
    expect_close(
        found, np.zeros((3, 3)), f"{on}, delays begin at 1, so nothing is left to be counted"
    )

    on = "for two events in one cell"
    found = call(candidate, np.array([2, 0, 0, 0]), 2, on=on)
    expect_close(found, 4 * np.eye(2), f"{on}, each of the two meets both: 4 pairs")

    on = "for a stream without events"
    expect_close(call(candidate, np.zeros(6), 2, on=on), np.zeros((2, 2)), f"{on}, all zero")

    z = np.random.default_rng(0).poisson(0.4, 60)
    on = "for a random stream of 60 cells"
    expect_close(call(candidate, z, 8, on=on), psi_table(z, 8), on)


PSI_TABLE = Exercise(
    "events_and_causes/psi_table",
    title="Count once, fit for ever",
    task=r"""
    `z` holds the number of events in each of $G$ cells of time. Write `psi_table(z, last)`, which
    returns, shape `(last, last)`,
    $$\Psi[t, u] = \sum_{s=0}^{G-1} z[s - t]\, z[s - u], \qquad t, u = 1, \dots, \texttt{last},$$
    with $z = 0$ before the first cell. Row 0 of your array belongs to $t = 1$. What happens to an
    event in the very last cell?
    """,
    function="psi_table",
    check=_check_psi_table,
    solution=psi_table,
    wrong=[
        Wrong("delays from 0", _from_zero, says="delays begin at 1"),
        Wrong("rolls round", _around_the_end, says="round to the first cell"),
        Wrong("leaves the ends out", _no_ends, says="go on beyond the end"),
        Wrong("looks ahead", _into_the_future, says="looks back"),
        Wrong("yes or no", _present_or_not, says="each of the two meets both"),
    ],
    hints=[
        "Make the row z[s - t] for one t: t zeros, then z without its last t cells.",
        "With these rows in a matrix, Psi is the matrix times its transpose.",
    ],
)

# --- 2. A concave likelihood --------------------------------------------------------------------


def lsnm_nll(phi, y, w1, w2):
    """Return minus the log likelihood and its gradient (2p,), in natural parameters."""
    eta, v = phi @ w1, phi @ w2
    mean = eta / (2 * v)
    terms = eta * y - v * y**2 - eta**2 / (4 * v) + np.log(2 * v) / 2 - np.log(2 * np.pi) / 2
    gradient = np.concatenate([phi.T @ (mean - y), phi.T @ (y**2 - mean**2 - 1 / (2 * v))])
    return -terms.sum(), gradient


def _mean_and_log_scale(phi, y, w1, w2):
    mean, log_scale = phi @ w1, phi @ w2
    z = (y - mean) * np.exp(-log_scale)
    value = np.sum(0.5 * z**2 + log_scale + np.log(2 * np.pi) / 2)
    gradient = np.concatenate([-phi.T @ (z * np.exp(-log_scale)), phi.T @ (1 - z**2)])
    return value, gradient


def _forgets_the_square(phi, y, w1, w2):
    eta, v = phi @ w1, phi @ w2
    terms = eta * y - v * y**2 + np.log(2 * v) / 2 - np.log(2 * np.pi) / 2
    return -terms.sum(), np.concatenate([-phi.T @ y, phi.T @ (y**2 - 1 / (2 * v))])


def _wrong_sign(phi, y, w1, w2):
    value, gradient = lsnm_nll(phi, y, w1, w2)
    return -value, -gradient


def _gradient_of_the_likelihood(phi, y, w1, w2):
    value, gradient = lsnm_nll(phi, y, w1, w2)
    return value, -gradient


def _no_constant(phi, y, w1, w2):
    value, gradient = lsnm_nll(phi, y, w1, w2)
    return value - len(y) * np.log(2 * np.pi) / 2, gradient


def _mean_over_points(phi, y, w1, w2):
    value, gradient = lsnm_nll(phi, y, w1, w2)
    return value / len(y), gradient / len(y)


def _pair(found, p, on):
    expect(
        isinstance(found, tuple) and len(found) == 2 and np.ndim(found[0]) == 0,
        f"{on} return two things: the value, a number, and the gradient",
    )
    expect_shape(found[1], (2 * p,), f"{on}, the gradient in w1 and then in w2")
    return float(found[0]), np.asarray(found[1], dtype=float)


def _check_lsnm_nll(candidate):
    on = "for three points from N(1, 1), one feature, eta = 1 and v = 1/2"
    phi, y = np.ones((3, 1)), np.array([0.0, 1.0, 2.0])
    value, gradient = _pair(call(candidate, phi, y, np.ones(1), np.full(1, 0.5), on=on), 1, on)
    expect(
        not np.isclose(value, -1.0 - 1.5 * np.log(2 * np.pi)),
        f"{on} your value has the wrong sign: it is minus the log likelihood, to be made small",
    )
    expect(
        not np.isclose(value, 1.0),
        f"{on} the constant log(2 pi) / 2 of each point is missing: scores of two directions "
        "must be densities",
    )
    expect(
        not np.isclose(value, (1.0 + 1.5 * np.log(2 * np.pi)) / 3),
        f"{on} you return the mean over points; the score is their sum",
    )
    expect_close(
        value,
        1.0 + 1.5 * np.log(2 * np.pi),
        f"{on}, sum of (y - 1)^2 / 2 + log(2 pi) / 2; the term eta^2 / (4 v) and v = 1 / (2 s^2)",
    )

    rng = np.random.default_rng(0)
    phi, y = rng.random((20, 3)), rng.normal(size=20)
    draws = [(rng.normal(size=3), rng.uniform(0.2, 2, 3)) for _ in range(20)]
    on = "for random features"
    for (w1, w2), (u1, u2) in zip(draws[::2], draws[1::2], strict=True):
        value, gradient = _pair(call(candidate, phi, y, w1, w2, on=on), 3, on)
        numeric = approx_fprime(
            np.concatenate([w1, w2]), lambda w: lsnm_nll(phi, y, w[:3], w[3:])[0], 1e-7
        )
        expect_close(value, lsnm_nll(phi, y, w1, w2)[0], f"{on}, the value")
        expect(
            not np.allclose(gradient, -numeric, atol=1e-3),
            f"{on} the gradient points down the value, not up: it is that of the log likelihood",
        )
        expect_close(
            gradient, numeric, f"{on}, the gradient by finite differences", rtol=1e-3, atol=1e-3
        )
        other = float(candidate(phi, y, u1, u2)[0])
        middle = float(candidate(phi, y, (w1 + u1) / 2, (w2 + u2) / 2)[0])
        expect(
            middle <= (value + other) / 2 + 1e-9,
            f"{on} the value at the middle of two points lies above the mean of its ends",
        )


LSNM_NLL = Exercise(
    "events_and_causes/lsnm_nll",
    title="A likelihood with one top",
    task=r"""
    `phi` $(n, p)$ holds positive features, `y` $(n,)$ the effect. With $\eta = \varphi w_1$ and
    $v = \varphi w_2 > 0$,
    $$\log p(y) = \eta y - v y^2 - \frac{\eta^2}{4 v} + \tfrac12 \log 2v - \tfrac12 \log 2\pi .$$
    Write `lsnm_nll(phi, y, w1, w2)`, which returns minus the sum over the points, and its gradient
    $(2p,)$, first in $w_1$, then in $w_2$. What is $\eta / 2v$?
    """,
    function="lsnm_nll",
    check=_check_lsnm_nll,
    solution=lsnm_nll,
    wrong=[
        Wrong("mean and log scale", _mean_and_log_scale, says="v = 1 / (2 s^2)"),
        Wrong("forgets eta^2 / 4v", _forgets_the_square, says="the term eta^2 / (4 v)"),
        Wrong("wrong sign", _wrong_sign, says="wrong sign"),
        Wrong("gradient's sign", _gradient_of_the_likelihood, says="points down"),
        Wrong("no constant", _no_constant, says="constant log(2 pi) / 2"),
        Wrong("mean over points", _mean_over_points, says="the score is their sum"),
    ],
    hints=[
        "eta / 2v is the mean of y: call it m. The derivative in eta is y - m.",
        "The derivative of the log likelihood in v is -y^2 + m^2 + 1 / (2 v).",
    ],
)

# --- 3. Balance ---------------------------------------------------------------------------------


def balance_weights(h_observed, h_all):
    """Return the weights with mean 1, nearest to uniform, under which the means agree."""
    h = h_observed - h_all.mean(axis=0)
    n, multipliers = len(h), np.zeros(h.shape[1])

    def dual(at):
        scores = h @ at
        top = scores.max()
        return top + np.log(np.exp(scores - top).sum())

    for _ in range(100):
        scores = h @ multipliers
        w = np.exp(scores - scores.max())
        w /= w.sum()
        slope = w @ h
        curve = (h * w[:, None]).T @ h - np.outer(slope, slope) + 1e-12 * np.eye(h.shape[1])
        step, size = np.linalg.solve(curve, slope), 1.0
        while size > 1e-8 and dual(multipliers - size * step) > dual(multipliers):
            size /= 2
        multipliers = multipliers - size * step
    scores = h @ multipliers
    w = np.exp(scores - scores.max())
    return n * w / w.sum()


def _uniform(h_observed, h_all):
    return np.ones(len(h_observed))


def _sums_to_one(h_observed, h_all):
    return balance_weights(h_observed, h_all) / len(h_observed)


def _least_squares(h_observed, h_all):
    """Nearest to uniform in squares: some weights fall below 0."""
    h = np.hstack([np.ones((len(h_observed), 1)), h_observed])
    target = len(h) * np.concatenate([[1.0], h_all.mean(axis=0)])
    return 1 + h @ np.linalg.solve(h.T @ h, target - h.sum(axis=0))


def _clipped(h_observed, h_all):
    w = np.maximum(_least_squares(h_observed, h_all), 0)
    return w / w.mean()


def _one_step(h_observed, h_all):
    h = h_observed - h_all.mean(axis=0)
    w = np.exp(-h @ np.linalg.solve(np.cov(h.T, bias=True).reshape(2 * (h.shape[1],)), h.mean(0)))
    return w / w.mean()


def _balances_to_the_observed(h_observed, h_all):
    return balance_weights(h_observed, 2 * h_observed.mean(axis=0) - h_all)


def _check_balance_weights(candidate):
    rng = np.random.default_rng(0)
    h = rng.normal(size=(40, 2))
    on = "if the observed are already balanced"
    found = call(candidate, h, np.vstack([h, h]), on=on)
    expect_shape(found, (40,), f"{on}, one weight for each observed row")
    expect(
        not np.allclose(np.sum(found), 1),
        f"{on} your weights sum to 1; their mean must be 1",
    )
    expect_close(found, np.ones(40), f"{on}, nothing is to be done: weights 1", rtol=1e-4)

    on = "for one function that is 1 for 1 of 4 observed and for half of all"
    found = call(candidate, np.array([[1.0], [0], [0], [0]]), np.array([[1.0], [0]]), on=on)
    expect(
        not np.allclose(found, 1),
        f"{on} uniform weights leave its mean at 1/4; it must become 1/2",
    )
    expect_close(
        found, [2, 2 / 3, 2 / 3, 2 / 3], f"{on}, the one counts 2, the others 2/3", rtol=1e-4
    )

    everybody = rng.normal(size=(400, 2))
    observed = everybody[rng.random(400) < 1 / (1 + np.exp(2.5 - 1.5 * everybody[:, 0]))]
    on = "for 400 rows of which those with a large first value are observed"
    found = np.asarray(call(candidate, observed, everybody, on=on), dtype=float)
    expect(
        found.min() >= 0,
        f"{on} some weights are negative: keep them positive, w = exp(h . l) up to a factor",
    )
    expect(abs(found.mean() - 1) < 1e-6, f"{on} the weights must have mean 1")
    left = np.abs(found @ observed / len(observed) - everybody.mean(axis=0)).max()
    expect(
        left < 1e-5,
        f"{on} the weighted means miss those of all rows by {left:.2g}: go on until they agree",
    )
    expect_close(
        found,
        balance_weights(observed, everybody),
        f"{on}, of all balancing weights those nearest to uniform, least mean of w log w",
        rtol=1e-3,
        atol=1e-3,
    )


BALANCE_WEIGHTS = Exercise(
    "events_and_causes/balance_weights",
    title="Weights that balance",
    task=r"""
    `h_observed` $(n, J)$ holds $J$ functions at the observed pairs, `h_all` $(N, J)$ at all pairs.
    Invent a way to `balance_weights(h_observed, h_all)`: the weights $w$ $(n,)$, positive and with
    mean 1, of least $\sum_i w_i \log w_i$ under which
    $$\frac1n \sum_{i=1}^n w_i h_j(x_i) = \frac1N \sum_{\text{all } x} h_j(x), \quad j \le J.$$
    They have the form $w_i \propto \exp(\sum_j l_j h_j(x_i))$. Which convex function of $l$ has its
    slope zero exactly when the means agree?
    """,
    function="balance_weights",
    check=_check_balance_weights,
    solution=balance_weights,
    wrong=[
        Wrong("does nothing", _uniform, says="uniform weights leave its mean"),
        Wrong("sums to one", _sums_to_one, says="their mean must be 1"),
        Wrong("least squares", _least_squares, says="some weights are negative"),
        Wrong("clipped", _clipped, says="go on until they agree"),
        Wrong("one step only", _one_step, says="the one counts 2"),
        Wrong("other way", _balances_to_the_observed, says="the one counts 2"),
    ],
    hints=[
        "Subtract the wanted means from h first. Then log sum exp(h . l) is the function.",
        "scipy.optimize.minimize(..., jac=True, method='BFGS') will do; so will Newton.",
    ],
)


EXERCISES = (PSI_TABLE, LSNM_NLL, BALANCE_WEIGHTS)
