"""Exercises of the compact scenes lab: a high-pass on a graph, the bits of a number, and anchors.

Each has a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr, ndtr

from kernellab.lab.exercises import Exercise, Wrong, call, expect, expect_close, expect_shape

# --- 1. What neighbours cannot predict ------------------------------------------------------------


def highpass_score(points, signal, k):
    """Return |f_i - mean of f over the k nearest other points|, shape (n,)."""
    squared = ((points[:, None] - points) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.abs(signal - signal[nearest].mean(axis=1))


def _counts_itself(points, signal, k):
    squared = ((points[:, None] - points) ** 2).sum(axis=2)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.abs(signal - signal[nearest].mean(axis=1))


def _keeps_the_sign(points, signal, k):
    squared = ((points[:, None] - points) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return signal - signal[nearest].mean(axis=1)


def _adds_up(points, signal, k):
    squared = ((points[:, None] - points) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.abs(signal - signal[nearest].sum(axis=1))


def _neighbours_in_the_list(points, signal, k):
    n = len(signal)
    gaps = np.abs(np.arange(n)[:, None] - np.arange(n)).astype(float)
    np.fill_diagonal(gaps, np.inf)
    nearest = np.argsort(gaps, axis=1, kind="stable")[:, :k]
    return np.abs(signal - signal[nearest].mean(axis=1))


def _check_highpass_score(candidate):
    rng = np.random.default_rng(0)
    on = "with a constant signal"
    points = rng.random((30, 3))
    found = call(candidate, points, np.full(30, 2.5), 4, on=on)
    expect_shape(found, (30,), f"{on}, one number a point")
    expect_close(found, np.zeros(30), f"{on} each point is the mean of its neighbours: divide by k")
    line = np.column_stack([np.arange(12.0), np.zeros(12), np.zeros(12)])
    line[:, 0] += 0.1 * np.arange(12) ** 2 / 12
    step = (np.arange(12) > 5).astype(float)
    on = "with a step between points 5 and 6 of a line"
    found = np.asarray(call(candidate, line, step, 1, on=on), dtype=float)
    expect(
        np.any(found != 0.0),
        f"{on} and k = 1 every score is 0: the nearest point of a point is itself, leave it out",
    )
    found = np.asarray(call(candidate, line, step, 2, on=on), dtype=float)
    expect(
        bool(np.all(found >= 0)), f"{on} some scores are negative: how much is an absolute value"
    )
    expect_close(found, highpass_score(line, step, 2), f"{on} only points next to it score")
    on = "with the same points in another order"
    order = rng.permutation(30)
    signal = rng.standard_normal(30)
    found = call(candidate, points[order], signal[order], 4, on=on)
    expect_close(
        found,
        highpass_score(points, signal, 4)[order],
        f"{on} the scores must only change places: neighbours are near in space, not in the list",
    )


HIGHPASS_SCORE = Exercise(
    "splat_compact/highpass_score",
    title="What neighbours cannot predict",
    task=r"""
    `points` `(n, 3)` carry a `signal` $f$ `(n,)`. Write `highpass_score(points, signal, k)`: for
    each point
    $$\Big|\, f_i - \frac1k \sum_{j \in N_k(i)} f_j \Big|,$$
    where $N_k(i)$ are the `k` points nearest to point $i$, without itself.
    """,
    function="highpass_score",
    check=_check_highpass_score,
    solution=highpass_score,
    wrong=[
        Wrong("counts itself", _counts_itself, says="leave it out"),
        Wrong("keeps the sign", _keeps_the_sign, says="absolute value"),
        Wrong("adds up", _adds_up, says="divide by k"),
        Wrong("neighbours in the list", _neighbours_in_the_list, says="near in space"),
    ],
    hints=[
        "All squared distances: ((points[:, None] - points) ** 2).sum(axis=2).",
        "Put infinity on their diagonal before you sort.",
    ],
)

# --- 2. The bits of a number ----------------------------------------------------------------------


def rate_bits(x, mean, sigma, step):
    """Return -log2 [Phi((x + step/2 - mean)/sigma) - Phi((x - step/2 - mean)/sigma)]."""
    gap = -np.abs(x - mean)
    upper, lower = (gap + 0.5 * step) / sigma, (gap - 0.5 * step) / sigma
    top = log_ndtr(upper)
    return -(top + np.log1p(-np.exp(log_ndtr(lower) - top))) / math.log(2.0)


def _infinite_far_out(x, mean, sigma, step):
    with np.errstate(divide="ignore"):
        return -np.log2(
            ndtr((x + 0.5 * step - mean) / sigma) - ndtr((x - 0.5 * step - mean) / sigma)
        )


def _density_times_step(x, mean, sigma, step):
    z = (x - mean) / sigma
    return -np.log2(step / (sigma * math.sqrt(2.0 * math.pi))) + 0.5 * z**2 / math.log(2.0)


def _nats(x, mean, sigma, step):
    return rate_bits(x, mean, sigma, step) * math.log(2.0)


def _whole_steps(x, mean, sigma, step):
    return rate_bits(x, mean, sigma, 2.0 * step)


def _check_rate_bits(candidate):
    on = "with a bin that holds half of the Gaussian"
    half = 2.0 * 0.6744897501960817
    found = call(candidate, np.zeros(1), np.zeros(1), np.ones(1), half, on=on)
    expect_shape(found, (1,), f"{on}, a number for each x")
    value = float(np.asarray(found)[0])
    expect(
        abs(value - math.log(2.0)) > 1e-6,
        f"{on} you return {value:.3f}: that is the natural logarithm, bits are log2",
    )
    expect(
        abs(value - rate_bits(0.0, 0.0, 1.0, 2 * half)) > 1e-6,
        f"{on} you return {value:.3f}: the bin goes from x - step/2 to x + step/2",
    )
    expect_close(
        found,
        np.ones(1),
        f"{on} it costs one bit: a coarse bin holds a difference of Phi, not a density x step",
    )
    on = "with x at 60 sigma"
    found = call(candidate, np.array([60.0, -60.0]), np.zeros(2), np.ones(2), 0.1, on=on)
    expect(
        bool(np.all(np.isfinite(np.asarray(found, dtype=float)))),
        f"{on} the bits are not finite: Phi is 1 on both ends there. Take its left side, and "
        "logarithms from the start: scipy.special.log_ndtr",
    )
    expect_close(found, rate_bits(np.array([60.0, -60.0]), 0.0, 1.0, 0.1), on, rtol=1e-6)
    on = "with 2000 numbers"
    rng = np.random.default_rng(0)
    mean, sigma = rng.standard_normal(2000), np.exp(0.5 * rng.standard_normal(2000))
    x = 0.25 * np.round((mean + sigma * rng.standard_normal(2000)) / 0.25)
    found = call(candidate, x, mean, sigma, 0.25, on=on)
    expect_close(found, rate_bits(x, mean, sigma, 0.25), on, rtol=1e-6)


RATE_BITS = Exercise(
    "splat_compact/rate_bits",
    title="The bits of a number",
    task=r"""
    Numbers `x` are multiples of `step` $\Delta$, and a coder expects a Gaussian with `mean` $\mu$
    and `sigma` $s$ (arrays). Write `rate_bits(x, mean, sigma, step)`, what it pays for each:
    $$-\log_2 \Big[ \Phi\Big(\tfrac{x + \Delta/2 - \mu}{s}\Big)
    - \Phi\Big(\tfrac{x - \Delta/2 - \mu}{s}\Big) \Big].$$
    It must stay finite for numbers that nobody expected.
    """,
    function="rate_bits",
    check=_check_rate_bits,
    solution=rate_bits,
    wrong=[
        Wrong("infinite far out", _infinite_far_out, says="not finite"),
        Wrong("density times step", _density_times_step, says="not a density"),
        Wrong("nats", _nats, says="natural logarithm"),
        Wrong("bin twice as wide", _whole_steps, says="x - step/2 to x + step/2"),
    ],
    hints=[
        "The Gaussian is even: use -|x - mean| in place of x - mean.",
        "log(a - b) = log a + log1p(-exp(log b - log a)).",
    ],
)

# --- 3. Anchors -----------------------------------------------------------------------------------


def anchors(points, side):
    """Return the distinct multiples of ``side`` nearest to points, in lexicographic order."""
    return np.unique(np.floor(points / side + 0.5), axis=0) * side


def _towards_zero(points, side):
    return np.unique((points / side + 0.5).astype(int), axis=0) * side


def _one_a_point(points, side):
    return np.floor(points / side + 0.5) * side


def _cell_numbers(points, side):
    return np.unique(np.floor(points / side + 0.5), axis=0)


def _means_of_cells(points, side):
    cells, label = np.unique(np.floor(points / side + 0.5), axis=0, return_inverse=True)
    label = label.ravel()
    return np.stack([points[label == i].mean(axis=0) for i in range(len(cells))])


def _check_anchors(candidate):
    on = "with points in two cells"
    points = np.array([[0.1, 0.0, 0.2], [0.2, 0.1, 0.0], [0.9, 1.1, 1.0]])
    found = np.asarray(call(candidate, points, 0.5, on=on), dtype=float)
    expect(
        found.shape != (3, 3),
        f"{on} you return one anchor a point: two points share a cell, and it needs one anchor",
    )
    expect_shape(found, (2, 3), f"{on}, one anchor for each")
    expect(
        not np.allclose(found, [[0, 0, 0], [2, 2, 2]]),
        f"{on} you return the numbers of cells: multiply by the side to be back in the world",
    )
    expect(
        not np.allclose(found, [[0.15, 0.05, 0.1], [0.9, 1.1, 1.0]]),
        f"{on} you return the means of the cells' points: an anchor is the middle of its cell, so "
        "that the anchors of anchors are the same",
    )
    expect_close(found, np.array([[0.0, 0, 0], [1.0, 1, 1]]), on)
    on = "with negative coordinates"
    points = np.array([[-0.9, -0.9, -0.9], [0.1, 0.1, 0.1], [-0.2, 0.1, -0.1]])
    found = call(candidate, points, 1.0, on=on)
    expect_shape(
        found,
        (2, 3),
        f"{on}: -0.9 is nearer to -1 than to 0, cutting off the digits goes towards zero",
    )
    expect_close(
        found,
        anchors(points, 1.0),
        f"{on}, cutting off the digits goes towards zero: round down, with floor",
    )
    on = "with 400 points"
    points = np.random.default_rng(0).standard_normal((400, 3))
    found = call(candidate, points, 0.7, on=on)
    expect_close(found, anchors(points, 0.7), on)
    expect_close(call(candidate, found, 0.7, on=on), found, f"{on} anchors are their own anchors")


ANCHORS = Exercise(
    "splat_compact/anchors",
    title="Anchors",
    task=r"""
    Write `anchors(points, side)`: for each cubic cell that holds at least one of the points
    `(n, 3)`, return its middle, a multiple of `side`. A point $p$ lies in the cell of
    $\lfloor p/\text{side} + \tfrac12 \rfloor$. Return the middles in lexicographic order (as
    `np.unique` gives them).
    """,
    function="anchors",
    check=_check_anchors,
    solution=anchors,
    wrong=[
        Wrong("cuts towards zero", _towards_zero, says="towards zero"),
        Wrong("one a point", _one_a_point, says="one anchor a point"),
        Wrong("numbers of cells", _cell_numbers, says="multiply by the side"),
        Wrong("means of cells", _means_of_cells, says="middle of its cell"),
    ],
    hints=["np.unique(cells, axis=0) drops the rows that come again."],
)

EXERCISES = (HIGHPASS_SCORE, RATE_BITS, ANCHORS)
