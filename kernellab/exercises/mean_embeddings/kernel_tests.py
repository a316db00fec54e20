"""Exercises of the kernel tests lab: a fair game, a Stein kernel, a Stein operator from edits.

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

# --- 1. A fair game -------------------------------------------------------------------------------


def wealth(payoffs, stakes, level):
    """Return the path of the wealth from 1, and the first round at or above 1/level, or None."""
    path = np.cumprod(1 + stakes * payoffs)
    reached = np.flatnonzero(path >= 1 / level)
    return path, int(reached[0]) + 1 if reached.size else None


def _adds_up(payoffs, stakes, level):
    path = 1 + np.cumsum(stakes * payoffs)
    reached = np.flatnonzero(path >= 1 / level)
    return path, int(reached[0]) + 1 if reached.size else None


def _last_round_only(payoffs, stakes, level):
    path = np.cumprod(1 + stakes * payoffs)
    return path, len(path) if path[-1] >= 1 / level else None


def _counts_from_zero(payoffs, stakes, level):
    path = np.cumprod(1 + stakes * payoffs)
    reached = np.flatnonzero(path >= 1 / level)
    return path, int(reached[0]) if reached.size else None


def _starts_with_nothing(payoffs, stakes, level):
    path = np.concatenate([[1.0], np.cumprod(1 + stakes * payoffs)])
    reached = np.flatnonzero(path >= 1 / level)
    return path, int(reached[0]) if reached.size else None


def _stakes_see_the_payoff(payoffs, stakes, level):
    path = np.cumprod(1 + stakes * np.abs(payoffs))
    reached = np.flatnonzero(path >= 1 / level)
    return path, int(reached[0]) + 1 if reached.size else None


def _check_wealth(candidate):
    def play(payoffs, stakes, level, on):
        payoffs = np.asarray(payoffs, dtype=float)
        stakes = np.broadcast_to(stakes, payoffs.shape).copy()
        result = call(candidate, payoffs, stakes, level, on=on)
        expect(
            isinstance(result, tuple) and len(result) == 2,
            f"{on}, return two things, the path and the round; you return {describe(result)}",
        )
        expect_shape(result[0], payoffs.shape, f"{on}, the path has one wealth after each round")
        return np.asarray(result[0], dtype=float), result[1]

    path, stop = play(np.zeros(5), 0.5, 0.05, "without any payoff")
    expect_close(path, np.ones(5), "without any payoff the wealth stays at 1")
    expect(stop is None, "the level is never reached, so the round is None")

    path, _ = play([0.5, -1.0, 1.0], 0.5, 0.05, "after a win, a loss and a win")
    expect(
        not np.allclose(path, [1.25, 1.875, 2.8125]),
        "a lost round must cost something: multiply by 1 + stake * payoff, with the payoff's sign",
    )
    expect(
        not np.allclose(path, [1.25, 0.75, 1.25]),
        "the stake is a share of the present wealth, so the rounds multiply; you add them up",
    )
    expect(
        path.min() > 0,
        "with stakes below 1 and payoffs of at least -1 the wealth never reaches 0",
    )
    expect_close(path, [1.25, 0.625, 0.9375], "after a win, a loss and a win")

    path, stop = play([1, 1, 1, -1, -1], 0.9, 0.2, "when the wealth rises above 1/level and falls")
    expect(
        stop is not None,
        "reaching 1/level once is enough, whatever comes later: look at the whole path, not at "
        "its end",
    )
    expect(stop != 2, "rounds are counted from 1: the third round is 3, you return 2")
    expect(
        stop == 3,
        f"1, 1.9, 3.61, 6.86: the wealth passes 5 in round 3, you return {describe(stop)}",
    )

    rng = np.random.default_rng(0)
    hits = sum(
        play(rng.choice([-1.0, 1.0], 100), 0.3, 0.1, "with a fair coin")[1] is not None
        for _ in range(300)
    )
    expect(
        hits <= 45,
        "a fair coin must reach 1/level = 10 in at most a tenth of the games; yours does in "
        f"{hits} of 300",
    )


WEALTH = Exercise(
    "kernel_tests/wealth",
    title="A game that you may leave at any time",
    task=r"""
    You begin with wealth 1. In round $t$ you stake the share `stakes[t]` of what you have, and the
    round multiplies your wealth by $1 + \text{stake} \cdot \text{payoff}$ (payoffs in $[-1, 1]$).

    Write `wealth(payoffs, stakes, level)` that returns two things: the array of wealths **after**
    each round, and the number of the first round (counted from 1) at which the wealth is at least
    $1/\text{level}$, or `None` if that never happens.
    """,
    function="wealth",
    check=_check_wealth,
    solution=wealth,
    wrong=[
        Wrong("adds the rounds up", _adds_up, says="rounds multiply"),
        Wrong("looks at the end only", _last_round_only, says="whole path"),
        Wrong("counts from zero", _counts_from_zero, says="counted from 1"),
        Wrong("keeps the first 1", _starts_with_nothing, says="after each round"),
        Wrong("never loses", _stakes_see_the_payoff, says="must cost something"),
    ],
    hints=[
        "np.cumprod multiplies up along an array.",
        "np.flatnonzero(path >= 1 / level) lists the rounds that are high enough.",
    ],
)


# --- 2. A Stein kernel ----------------------------------------------------------------------------


def stein_gram_of(x, scores, bandwidth):
    """Return the Langevin Stein matrix of a Gaussian kernel."""
    difference = x[:, None, :] - x[None, :, :]
    squares = np.sum(difference**2, axis=2)
    h2 = bandwidth**2
    kernel = np.exp(-squares / (2 * h2))
    d = x.shape[1]
    # grad_y k = (x - y) k / h^2 and grad_x k = -(x - y) k / h^2.
    cross = np.einsum("id,ijd->ij", scores, difference) / h2
    cross -= np.einsum("jd,ijd->ij", scores, difference) / h2
    trace = d / h2 - squares / h2**2
    return kernel * (scores @ scores.T + cross + trace)


def _flips_the_gradients(x, scores, bandwidth):
    difference = x[:, None, :] - x[None, :, :]
    squares = np.sum(difference**2, axis=2)
    h2 = bandwidth**2
    cross = np.einsum("id,ijd->ij", scores, difference) - np.einsum(
        "jd,ijd->ij", scores, difference
    )
    trace = x.shape[1] / h2 - squares / h2**2
    return np.exp(-squares / (2 * h2)) * (scores @ scores.T - cross / h2 + trace)


def _forgets_the_trace(x, scores, bandwidth):
    squares = np.sum((x[:, None, :] - x[None, :, :]) ** 2, axis=2)
    h2 = bandwidth**2
    kernel = np.exp(-squares / (2 * h2))
    return stein_gram_of(x, scores, bandwidth) - kernel * (x.shape[1] / h2 - squares / h2**2)


def _trace_of_one_dimension(x, scores, bandwidth):
    squares = np.sum((x[:, None, :] - x[None, :, :]) ** 2, axis=2)
    h2 = bandwidth**2
    extra = np.exp(-squares / (2 * h2)) * (x.shape[1] - 1) / h2
    return stein_gram_of(x, scores, bandwidth) - extra


def _scores_only(x, scores, bandwidth):
    squares = np.sum((x[:, None, :] - x[None, :, :]) ** 2, axis=2)
    return np.exp(-squares / (2 * bandwidth**2)) * (scores @ scores.T)


def _check_stein_gram(candidate):
    rng = np.random.default_rng(1)
    x, scores = np.array([[0.0], [1.0]]), np.array([[2.0], [-1.0]])
    on = "for two points on a line"
    got = call(candidate, x, scores, 1.0, on=on)
    expect_shape(got, (2, 2), f"{on}, one number a pair")
    got = np.asarray(got, dtype=float)
    expect(
        not np.allclose(got, _scores_only(x, scores, 1.0)),
        "s(x).s(y) k is the first of four terms only; the derivatives of k are missing",
    )
    expect(
        not np.allclose(got, _forgets_the_trace(x, scores, 1.0)),
        "the last term is missing: tr grad_x grad_y k = (d/h^2 - r/h^4) k, r the squared distance",
    )
    expect(
        not np.allclose(got, _flips_the_gradients(x, scores, 1.0)),
        "a sign is turned: grad_y k = (x - y) k / h^2, and grad_x k is minus that",
    )
    right = stein_gram_of(x, scores, 1.0)
    expect_close(got, right, on, rtol=1e-8)

    x = rng.standard_normal((40, 5))
    got = np.asarray(call(candidate, x, -x, 2.0, on="in five dimensions"), dtype=float)
    expect(
        not np.allclose(got, _trace_of_one_dimension(x, -x, 2.0)),
        "the trace has d terms: its first part is d/h^2, not 1/h^2; that shows in five dimensions",
    )
    expect_close(got, stein_gram_of(x, -x, 2.0), "in five dimensions", rtol=1e-8, atol=1e-10)
    expect_close(got, got.T, "the matrix must be symmetric")
    lowest = np.linalg.eigvalsh(got)[0]
    expect(lowest > -1e-8, f"a kernel matrix has no negative eigenvalue, yours has {lowest:.3g}")


STEIN_GRAM = Exercise(
    "kernel_tests/stein_gram_of",
    title="A kernel whose mean is zero",
    task=r"""
    Write `stein_gram_of(x, scores, bandwidth)` for points `x` (n, d) with `scores` (n, d)
    $= \nabla \log p$ and the Gaussian kernel $k = e^{-r/(2h^2)}$, $r = \|x - y\|^2$. It returns the
    (n, n) matrix of
    $$k_p(x, y) = s(x)^\top s(y)\, k + s(x)^\top \nabla_y k + s(y)^\top \nabla_x k +
    \mathrm{tr}\, \nabla_x \nabla_y k .$$
    Work out first: $\nabla_y k = (x - y)\, k / h^2$, and the trace is $(d/h^2 - r/h^4)\, k$.
    """,
    function="stein_gram_of",
    check=_check_stein_gram,
    solution=stein_gram_of,
    wrong=[
        Wrong("turns the gradients round", _flips_the_gradients, says="a sign is turned"),
        Wrong("forgets the trace", _forgets_the_trace, says="last term is missing"),
        Wrong("takes d for 1", _trace_of_one_dimension, says="d/h^2, not 1/h^2"),
        Wrong("weights k by scores only", _scores_only, says="first of four terms"),
    ],
    hints=[
        "difference = x[:, None, :] - x[None, :, :] has shape (n, n, d).",
        "np.einsum('id,ijd->ij', scores, difference) is s(x_i).(x_i - x_j).",
    ],
)


# --- 3. A Stein operator from edits ---------------------------------------------------------------


def zanella_stein(p, adjacent, h):
    """Return sum over neighbours of g(p(y)/p(x)) (h(y) - h(x)), g(u) = u / (1 + u)."""
    ratio = p[None, :] / p[:, None]
    rates = adjacent * ratio / (1 + ratio)
    return np.sum(rates * (h[None, :] - h[:, None]), axis=1)


def _inverted_ratio(p, adjacent, h):
    ratio = p[:, None] / p[None, :]
    rates = adjacent * ratio / (1 + ratio)
    return np.sum(rates * (h[None, :] - h[:, None]), axis=1)


def _plain_ratio(p, adjacent, h):
    return np.sum(adjacent * (p[None, :] / p[:, None]) * (h[None, :] - h[:, None]), axis=1)


def _never_leaves(p, adjacent, h):
    ratio = p[None, :] / p[:, None]
    return (adjacent * ratio / (1 + ratio)) @ h


def _ignores_neighbourhood(p, adjacent, h):
    return zanella_stein(p, np.ones_like(adjacent), h)


def _averages(p, adjacent, h):
    return zanella_stein(p, adjacent, h) / adjacent.sum(axis=1)


def _check_zanella(candidate):
    rng = np.random.default_rng(2)
    p = np.array([0.1, 0.2, 0.3, 0.4])
    path = (np.abs(np.subtract.outer(np.arange(4), np.arange(4))) == 1).astype(float)

    got = call(candidate, p, path, np.ones(4), on="for a constant h")
    expect_shape(got, (4,), "there is one value a state")
    expect(
        np.allclose(got, 0),
        "a function that is the same everywhere does not change along any move: take h(y) - h(x), "
        "not h(y)",
    )
    h = rng.standard_normal(4)
    on = "on a path of four states"
    got = np.asarray(call(candidate, p, path, h, on=on), dtype=float)
    expect(
        not np.allclose(got, _inverted_ratio(p, path, h)),
        "the ratio is upside down: the rate of a move from x to y depends on p(y)/p(x)",
    )
    expect(
        not np.allclose(got, _plain_ratio(p, path, h)),
        "the rate is g(u) = u/(1+u), you use u itself, and u = u g(1/u) does not hold for g(u) = u",
    )
    expect(
        not np.allclose(got, _ignores_neighbourhood(p, path, h)),
        "only neighbours can be reached: multiply by the adjacency",
    )
    expect(
        not np.allclose(got, _averages(p, path, h)),
        "sum over the neighbours; dividing by their number upsets the balance where states have "
        "different numbers of neighbours",
    )
    expect_close(got, zanella_stein(p, path, h), on, rtol=1e-8)

    p = rng.dirichlet(np.ones(30))
    adjacent = np.triu(rng.random((30, 30)) < 0.2, 1).astype(float)
    adjacent += adjacent.T
    h = rng.standard_normal(30)
    mean = float(p @ call(candidate, p, adjacent, h, on="on a graph of 30 states"))
    expect(abs(mean) < 1e-12, f"the mean under p must be 0 on any graph, yours is {mean:.3g}")


ZANELLA = Exercise(
    "kernel_tests/zanella_stein",
    title="A score without a derivative",
    task=r"""
    A law on finitely many states is given by its probabilities `p` (N,); `adjacent` (N, N) holds 1
    where two states are neighbours (symmetric, zero diagonal). Write
    `zanella_stein(p, adjacent, h)` that returns, for a function `h` (N,), the (N,) values
    $$(\mathcal{A} h)(x) = \sum_{y \text{ next to } x} g\!\left(\frac{p(y)}{p(x)}\right)
    \big(h(y) - h(x)\big), \qquad g(u) = \frac{u}{1 + u} .$$
    Then try to invent an `h` whose mean `p @ zanella_stein(p, adjacent, h)` is not zero.
    """,
    function="zanella_stein",
    check=_check_zanella,
    solution=zanella_stein,
    wrong=[
        Wrong("turns the ratio over", _inverted_ratio, says="upside down"),
        Wrong("takes the ratio as rate", _plain_ratio, says="you use u itself"),
        Wrong("forgets to leave", _never_leaves, says="not h(y)"),
        Wrong("jumps anywhere", _ignores_neighbourhood, says="only neighbours"),
        Wrong("averages over the neighbours", _averages, says="upsets the balance"),
    ],
    hints=[
        "ratio = p[None, :] / p[:, None] has p(y)/p(x) in row x, column y.",
        "h[None, :] - h[:, None] has h(y) - h(x) there.",
    ],
)

EXERCISES = [WEALTH, STEIN_GRAM, ZANELLA]
