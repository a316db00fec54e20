"""Exercises of the random features lab: a simplex, a quantiser with memory, repulsive points.

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

# --- 1. The corners of a simplex ------------------------------------------------------------------


def simplex_directions(d):
    """Return d unit vectors in R^d, one a row, with pairwise inner products -1/(d-1)."""
    centred = np.eye(d) - 1 / d
    return centred / np.sqrt(1 - 1 / d)


def _axes(d):
    return np.eye(d)


def _not_centred(d):
    corners = np.eye(d) + 1.0
    return corners / np.linalg.norm(corners, axis=1, keepdims=True)


def _not_normalised(d):
    return np.eye(d) - 1 / d


def _one_more(d):
    corners = np.eye(d + 1) - 1 / (d + 1)
    return corners / np.sqrt(1 - 1 / (d + 1))


def _random_directions(d):
    corners = np.random.default_rng(0).standard_normal((d, d))
    return corners / np.linalg.norm(corners, axis=1, keepdims=True)


def _check_simplex_directions(candidate):
    for d in (4, 2, 3, 20):
        on = f"with d = {d}"
        got = call(candidate, d, on=on)
        expect_shape(got, (d, d), f"{on}, there are d directions with d coordinates each")
        gram = np.asarray(got) @ np.asarray(got).T
        lengths = np.sqrt(np.diagonal(gram))
        expect(
            bool(np.allclose(lengths, 1, atol=1e-9)),
            f"{on}, each direction must have length 1; the first has {lengths[0]:.4g}",
        )
        off = gram[~np.eye(d, dtype=bool)]
        expect(
            not np.allclose(off, 0, atol=1e-9),
            f"{on}, the directions are at right angles; a simplex has its corners further apart: "
            f"their inner product is -1/(d-1) = {-1 / (d - 1):.3g}",
        )
        expect(
            not (np.allclose(off, off[0]) and off[0] > 0),
            f"{on}, all pairs have the same angle, but an acute one ({off[0]:.3g} is positive): "
            "the corners must be seen from the centre of the simplex, so subtract the mean",
        )
        expect(
            bool(np.allclose(off, off[0], atol=1e-9)),
            f"{on}, some pairs are nearer than others: inner products go from {off.min():.3g} to "
            f"{off.max():.3g}",
        )
        expect_close(off, np.full(off.size, -1 / (d - 1)), f"{on}, inner products", atol=1e-9)


SIMPLEX_DIRECTIONS = Exercise(
    "random_features/simplex_directions",
    title="Corners as far apart as can be",
    task=r"""
    Write `simplex_directions(d)` for $d \ge 2$: an array $(d, d)$ whose rows are $d$ unit vectors
    with the same inner product for every pair, $-1/(d-1)$. Those are the corners of a regular
    simplex with its centre at 0; they span only $d - 1$ dimensions. How they are turned does not
    matter.

    One way: the unit vectors $e_1, \dots, e_d$ are the corners of a simplex whose centre is not 0.
    """,
    function="simplex_directions",
    check=_check_simplex_directions,
    solution=simplex_directions,
    wrong=[
        Wrong("stays with the axes", _axes, says="right angles"),
        Wrong("moves the wrong way", _not_centred, says="an acute one"),
        Wrong("forgets the length", _not_normalised, says="length 1"),
        Wrong("makes one corner too many", _one_more, says="d directions"),
        Wrong("draws at random", _random_directions, says="some pairs are nearer"),
    ],
    hints=[
        "Subtract the mean of the corners, 1/d in each coordinate, from np.eye(d).",
        "Each row then has the squared length 1 - 1/d.",
    ],
)


# --- 2. A quantiser with memory -------------------------------------------------------------------


def sigma_delta(z, lags, weights, step):
    """Return the answers and the states of a one-bit quantiser with memory."""
    q, u = np.zeros(len(z)), np.zeros(len(z))
    for i in range(len(z)):
        s = z[i] + sum(w * u[i - lag] for lag, w in zip(lags, weights, strict=True) if lag <= i)
        q[i] = step if s >= 0 else -step
        u[i] = s - q[i]
    return q, u


def _variant(start, answer, keep):
    """A quantiser with another sum, answer or memory."""

    def sigma_delta(z, lags, weights, step):
        q, u = np.zeros(len(z)), np.zeros(len(z))
        for i in range(len(z)):
            s = start(z, u, i, lags, weights)
            q[i] = answer(s, step)
            u[i] = keep(s, z[i], q[i])
        return q, u

    return sigma_delta


def _remember(z, u, i, lags, weights):
    return z[i] + sum(w * u[i - lag] for lag, w in zip(lags, weights, strict=True) if lag <= i)


def _bit(s, step):
    return step if s >= 0 else -step


_forgets = _variant(lambda z, u, i, lags, weights: z[i], _bit, lambda s, z, q: s - q)
_wrong_sign = _variant(
    lambda z, u, i, lags, weights: 2 * z[i] - _remember(z, u, i, lags, weights),
    _bit,
    lambda s, z, q: s - q,
)
_first_lag = _variant(
    lambda z, u, i, lags, weights: z[i] + (u[i - 1] if i else 0.0), _bit, lambda s, z, q: s - q
)
_unit_bits = _variant(_remember, lambda s, step: 1.0 if s >= 0 else -1.0, lambda s, z, q: s - q)
_rounds = _variant(_remember, lambda s, step: step * np.round(s / step), lambda s, z, q: s - q)
_last_error = _variant(_remember, _bit, lambda s, z, q: z - q)


def _check_sigma_delta(candidate):
    def run(z, lags, weights, step, on):
        result = call(candidate, z, lags, weights, step, on=on)
        expect(
            isinstance(result, tuple) and len(result) == 2,
            f"return two arrays, answers and states; you return {describe(result)}",
        )
        q, u = (np.asarray(part, dtype=float) for part in result)
        expect_shape(q, (len(z),), "there is one answer for each entry")
        expect_shape(u, (len(z),), "there is one state for each entry")
        return q, u

    on = "for the constant 0.3 at order 1"
    z = np.full(500, 0.3)
    q, u = run(z, (1,), (1.0,), 1.0, on)
    expect(
        bool(np.isin(q, (-1.0, 1.0)).all()),
        f"{on}, one bit has two values, -step and +step; you answer "
        f"{describe(np.unique(np.round(q, 4))[:5])}",
    )
    expect(
        not (q[1] == 1 and np.isclose(u[1], 0.3 - u[0] - 1)),
        f"{on}, the second sum is z - u; the memory must be added, so that what was answered too "
        "high is answered lower next time",
    )
    expect(
        not (q == 1).all(),
        f"{on}, all answers are 1, so their mean is 1 and not 0.3: the state of the step before "
        "must be added to z before the sign is taken",
    )
    expect(
        bool(np.abs(u).max() <= 1 + 1e-9),
        f"{on}, the state must stay within one step; it reaches {np.abs(u).max():.3g}: what is "
        "kept is s - q, the rest of the whole sum and not of z alone",
    )
    expect(
        abs(q.mean() - 0.3) < 0.01,
        f"{on}, the mean of the answers is {q.mean():.3g}: they must follow the mean of z",
    )
    rng = np.random.default_rng(0)
    for lags, weights, step in (
        ((1,), (1.0,), 1.0),
        ((1,), (1.5,), 2.0),
        ((1, 7), (7 / 6, -1 / 6), 1.5),
    ):
        z = rng.uniform(-1, 1, 200) if len(weights) > 1 else rng.uniform(-1, 1, 30)
        on = f"with lags {lags} and step {step}"
        q, u = run(z, lags, weights, step, on)
        expect(
            bool(np.allclose(np.abs(q), step)),
            f"{on}, answers must be -step and +step, which are not always -1 and 1",
        )
        right, states = sigma_delta(z, lags, weights, step)
        first = sigma_delta(z, (1,), (1.0,), step)
        expect(
            not np.allclose(u, first[1]) or np.allclose(u, states),
            f"{on}, you add the last state as it is: add weights[j] * u[i - lags[j]] for every j",
        )
        expect_close(q, right, f"{on}, answers")
        expect_close(u, states, f"{on}, states", rtol=1e-7, atol=1e-9)


SIGMA_DELTA = Exercise(
    "random_features/sigma_delta",
    title="A quantiser that remembers",
    task=r"""
    Write `sigma_delta(z, lags, weights, step)` for a vector `z` with entries in $[-1, 1]$. For
    $i = 0, 1, \dots$
    $$s_i = z_i + \sum_j \text{weights}_j\; u_{i - \text{lags}_j}, \qquad
    q_i = \pm\text{step with the sign of } s_i, \qquad u_i = s_i - q_i,$$
    with $u = 0$ before the start, and $+\text{step}$ when $s_i = 0$. Return `(q, u)`.

    `lags=(1,), weights=(1,), step=1` is first-order sigma-delta; `(1, 7), (7/6, -1/6), 1.5` is of
    second order.
    """,
    function="sigma_delta",
    check=_check_sigma_delta,
    solution=sigma_delta,
    wrong=[
        Wrong("has no memory", _forgets, says="the state of the step before"),
        Wrong("subtracts the memory", _wrong_sign, says="the second sum is z - u"),
        Wrong("keeps z - q only", _last_error, says="not of z alone"),
        Wrong("uses the last state only", _first_lag, says="weights[j]"),
        Wrong("answers with 1 always", _unit_bits, says="not always -1 and 1"),
        Wrong("rounds to many levels", _rounds, says="two values"),
    ],
    hints=[
        "Keep an array of states of the length of z, and skip a lag that is larger than i.",
        "u[i] = s - q[i], where s holds z[i] and the memory.",
    ],
)


# --- 3. Points that repel ------------------------------------------------------------------------


def dpp_sample(phi, rng):
    """Draw m of g points by the chain rule of a projection DPP."""
    left = phi.copy()
    chosen = []
    for _ in range(phi.shape[1]):
        chances = np.sum(left**2, axis=1)
        point = rng.choice(len(phi), p=chances / chances.sum())
        chosen.append(point)
        direction = left[point] / np.linalg.norm(left[point])
        left -= np.outer(left @ direction, direction)
        left[point] = 0.0
    return np.array(chosen)


def _independent(phi, rng):
    chances = np.sum(phi**2, axis=1)
    return rng.choice(len(phi), phi.shape[1], p=chances / chances.sum())


def _only_distinct(phi, rng):
    chances = np.sum(phi**2, axis=1)
    return rng.choice(len(phi), phi.shape[1], replace=False, p=chances / chances.sum())


def _uniform(phi, rng):
    return rng.choice(len(phi), phi.shape[1], replace=False)


def _greedy(phi, rng):
    left, chosen = phi.copy(), []
    for _ in range(phi.shape[1]):
        point = int(np.argmax(np.sum(left**2, axis=1)))
        chosen.append(point)
        direction = left[point] / np.linalg.norm(left[point])
        left = left - np.outer(left @ direction, direction)
    return np.array(chosen)


def _not_squared(phi, rng):
    left, chosen = phi.copy(), []
    for _ in range(phi.shape[1]):
        chances = np.sqrt(np.sum(left**2, axis=1))
        chances[chances < 1e-9] = 0.0
        point = rng.choice(len(phi), p=chances / chances.sum())
        chosen.append(point)
        direction = left[point] / np.linalg.norm(left[point])
        left = left - np.outer(left @ direction, direction)
    return np.array(chosen)


def _check_dpp_sample(candidate):
    g, m, repeats = 12, 3, 1500
    x = np.linspace(-1, 1, g)
    phi, _ = np.linalg.qr(np.vander(x, m, increasing=True))
    phi *= np.sqrt(g)
    rng = np.random.default_rng(0)
    counts, pairs = np.zeros(g), np.zeros((g, g))
    for _ in range(repeats):
        got = call(candidate, phi, rng, on="with three polynomials on twelve points")
        got = np.asarray(got)
        expect_shape(got, (m,), "return m indices of points, one for each function")
        expect(
            got.dtype.kind in "iu" and got.min() >= 0 and got.max() < g,
            f"the indices must be whole numbers from 0 to {g - 1}; you return {describe(got)}",
        )
        expect(
            len(set(got.tolist())) == m,
            f"a point came twice ({describe(got)}): after a point is drawn, its direction must be "
            "projected out of all rows, which leaves nothing of the point itself",
        )
        counts[got] += 1
        pairs[np.ix_(got, got)] += 1
    expect(
        not ((counts == 0) | (counts == repeats)).all(),
        "every draw is the same: a DPP is random, so draw with chances proportional to the squared "
        "lengths, do not take the largest",
    )
    leverage = np.sum(phi**2, axis=1) / g
    error = np.sqrt(leverage * (1 - leverage) / repeats)
    worst = int(np.argmax(np.abs(counts / repeats - leverage) / error))
    kernel = phi @ phi.T / g
    truth = leverage[:, None] * leverage - kernel**2
    neighbours = np.mean(np.diagonal(pairs / repeats, 1))
    expected = np.mean(np.diagonal(truth, 1))
    expect(
        neighbours < 1.6 * expected + 0.01,
        f"neighbours come together in {100 * neighbours:.1f}% of the draws, and must in "
        f"{100 * expected:.1f}%: later points must keep away from those drawn before, so project "
        "their directions out",
    )
    expect(
        abs(counts[worst] / repeats - leverage[worst]) < 4.5 * error[worst],
        f"point {worst} comes in {100 * counts[worst] / repeats:.1f}% of the draws; its leverage "
        f"|phi(x)|^2/g says {100 * leverage[worst]:.1f}%. The chances are squared lengths",
    )
    off = ~np.eye(g, dtype=bool)
    deviation = np.abs(pairs / repeats - truth)[off] / np.sqrt(
        np.maximum(truth * (1 - truth), 1e-4)[off] / repeats
    )
    expect(
        deviation.max() < 6,
        "single points come as often as they must, but pairs do not: the chance of a pair is the "
        "determinant of its two by two block",
    )


DPP_SAMPLE = Exercise(
    "random_features/dpp_sample",
    title="Draw points that repel",
    task=r"""
    `phi` $(g, m)$ holds $m$ functions at $g$ points, with $\phi^\top\phi/g = I$. Write
    `dpp_sample(phi, rng)` that draws $m$ different points, with chance $\propto$ the squared volume
    of their rows, by the chain rule:

    1. draw a point with a chance proportional to the squared length of its row;
    2. project the direction of its row out of **all** rows;
    3. repeat with what is left, until $m$ points are drawn.

    Return their indices $(m,)$. `rng.choice(g, p=chances)` draws. Rounding may leave a crumb of a
    drawn point's own row: set it to 0. Leave the caller's `phi` as it is. Each point must then come
    with the probability $|\phi(x)|^2/g$, its leverage.
    """,
    function="dpp_sample",
    check=_check_dpp_sample,
    solution=dpp_sample,
    wrong=[
        Wrong("draws independently", _independent, says="a point came twice"),
        Wrong("only avoids repetitions", _only_distinct, says="neighbours come together"),
        Wrong("draws uniformly", _uniform, says="keep away"),
        Wrong("takes the longest row", _greedy, says="every draw is the same"),
        Wrong("forgets the square", _not_squared, says="squared lengths"),
    ],
    hints=[
        "left = phi.copy(); chances = np.sum(left**2, axis=1).",
        "With e the normalised row: left -= np.outer(left @ e, e).",
    ],
)


EXERCISES = (SIMPLEX_DIRECTIONS, SIGMA_DELTA, DPP_SAMPLE)
