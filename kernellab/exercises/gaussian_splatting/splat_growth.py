"""Exercises of the splat growth lab: copies that keep the picture, noise for the weak, a budget.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import math

import numpy as np

from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_shape,
)

# --- 1. Copies that keep the picture -------------------------------------------------------------


def relocate(o, s, m):
    """Return opacity and scale of each of m coinciding copies of a splat (o, s)."""
    o = min(o, 1 - 1e-9)
    thin = 1 - (1 - o) ** (1 / m)
    total = sum(math.comb(m, k) * (-1) ** (k + 1) * thin**k / math.sqrt(k) for k in range(1, m + 1))
    return thin, s * o / total


def _divides_the_opacity(o, s, m):
    return o / m, s


def _keeps_the_scale(o, s, m):
    return relocate(o, s, m)[0], s


def _forgets_the_root(o, s, m):
    o = min(o, 1 - 1e-9)
    thin = 1 - (1 - o) ** (1 / m)
    total = sum(math.comb(m, k) * (-1) ** (k + 1) * thin**k / k for k in range(1, m + 1))
    return thin, s * o / total


def _plain_copies(o, s, m):
    return o, s


def _line_integral(o, s, m):
    """Composite opacity along a line, by a fine sum."""
    x = np.linspace(-12.0, 12.0, 4801)
    return np.sum(1 - (1 - o * np.exp(-0.5 * (x / s) ** 2)) ** m) * (x[1] - x[0])


def _check_relocate(candidate):
    found = call(candidate, 0.7, 1.3, 1, on="for m = 1")
    expect_shape(found, (2,), "two numbers, the opacity and the scale of one copy")
    expect_close(found, (0.7, 1.3), "one copy is the splat itself")
    found = call(candidate, 0.9, 1.0, 3, on="for o = 0.9, m = 3")
    expect_shape(found, (2,), "two numbers, the opacity and the scale of one copy")
    thin, scale = map(float, found)
    expect(
        abs(thin - 0.9) > 1e-9,
        "each of your copies is as opaque as the splat was, so three hide more than one did",
    )
    expect(
        abs(1 - (1 - thin) ** 3 - 0.9) < 1e-9,
        "in the middle three copies let (1 - o')^3 of the light through, and that must be 1 - o: "
        "solve it for o'",
    )
    expect(
        abs(scale - 1.0) > 1e-6,
        "you keep the scale, but thin copies add up on the slopes: the picture grows wider; make "
        "the copies smaller so that the line integral stays",
    )
    for o, m in ((0.9, 3), (0.3, 7), (0.6, 50), (0.99, 20)):
        thin, scale = map(float, call(candidate, o, 1.0, m, on=f"for o = {o}, m = {m}"))
        whole = o * math.sqrt(2 * math.pi)
        expect(
            abs(_line_integral(thin, scale, m) - whole) < 1e-8,
            f"for o = {o}, m = {m} the integral along a line must stay {whole:.4g}; the k-th power "
            "of a Gaussian has standard deviation s / sqrt(k)",
        )
    found = np.array(call(candidate, 1.0, 1.0, 4, on="for an opaque splat"), dtype=float)
    expect(np.isfinite(found).all(), "for o = 1 your answer is not finite")


RELOCATE = Exercise(
    "splat_growth/relocate",
    title="Copies that keep the picture",
    task=r"""
    A splat of opacity $o$ and scale $s$ becomes $m$ copies in the same place. Write
    `relocate(o, s, m)`, which returns opacity $o'$ and scale $s'$ of each copy, with
    $$1 - (1 - o')^m = o, \qquad
    \int 1 - \big(1 - o' e^{-x^2/2s'^2}\big)^m dx = o\, s \sqrt{2\pi}.$$
    """,
    function="relocate",
    check=_check_relocate,
    solution=relocate,
    wrong=[
        Wrong("divides the opacity", _divides_the_opacity, says="let (1 - o')^3 of the light"),
        Wrong("keeps the scale", _keeps_the_scale, says="you keep the scale"),
        Wrong("an area, not a line", _forgets_the_root, says="has standard deviation"),
        Wrong("plain copies", _plain_copies, says="as opaque as the splat was"),
    ],
    hints=[
        "Expand the power with math.comb(m, k); the k-th term is a Gaussian of scale s' / sqrt(k).",
        "Its integral is s' sqrt(2 pi / k), so s' = o s / sum_k C(m, k) (-1)^(k+1) o'^k / sqrt(k).",
    ],
)

# --- 2. Noise for the weak -----------------------------------------------------------------------


def sgld_noise(cov, o, eta):
    """Return the random steps of n splats, from standard normal draws eta."""
    gate = 1 / (1 + np.exp(np.minimum(100 * (o - 0.005), 700)))
    return gate[:, None] * np.einsum("nij,nj->ni", cov, eta)


def _shakes_all(cov, o, eta):
    return np.einsum("nij,nj->ni", cov, eta)


def _takes_the_root(cov, o, eta):
    gate = 1 / (1 + np.exp(np.minimum(100 * (o - 0.005), 700)))
    return gate[:, None] * np.einsum("nij,nj->ni", np.linalg.cholesky(cov), eta)


def _shakes_the_opaque(cov, o, eta):
    return sgld_noise(cov, 1 - o, eta)


def _round(cov, o, eta):
    gate = 1 / (1 + np.exp(np.minimum(100 * (o - 0.005), 700)))
    return (gate * np.trace(cov, axis1=1, axis2=2) / 2)[:, None] * eta


def _check_sgld_noise(candidate):
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(6, 2, 2))
    cov, eta = roots @ roots.transpose(0, 2, 1) + 0.2 * np.eye(2), rng.normal(size=(6, 2))
    on = "for six splats that are nearly transparent"
    found = call(candidate, cov, np.full(6, 1e-6), eta, on=on)
    expect_shape(found, (6, 2), f"{on}, one step a splat")
    expect(
        np.abs(np.asarray(found, float)).max() > 1e-3,
        f"{on} your noise vanishes; they are the ones to be shaken, so the gate is upside down",
    )
    on = "for six opaque splats"
    found = call(candidate, cov, np.full(6, 0.9), eta, on=on)
    expect_shape(found, (6, 2), f"{on}, one step a splat")
    expect(
        np.abs(np.asarray(found, float)).max() < 1e-12,
        f"{on} there must be no noise: they carry the picture; the gate falls as o rises",
    )
    on = "for round splats of variance 4 at the knee o = 0.005"
    round_cov = 4.0 * np.tile(np.eye(2), (6, 1, 1))
    expect_close(
        call(candidate, round_cov, np.full(6, 0.005), eta, on=on),
        2.0 * eta,
        f"{on} the step is half of Sigma eta (Sigma itself, not its root)",
    )
    on = "for long splats"
    o = np.linspace(0.001, 0.03, 6)
    expect_close(
        call(candidate, cov, o, eta, on=on),
        sgld_noise(cov, o, eta),
        f"{on} the noise follows the splat's shape, Sigma eta",
    )


SGLD_NOISE = Exercise(
    "splat_growth/sgld_noise",
    title="Noise for the weak",
    task=r"""
    `cov` `(n, 2, 2)` are covariances, `o` `(n,)` opacities, `eta` `(n, 2)` standard normal draws.
    Write `sgld_noise(cov, o, eta)`, which returns
    $\sigma(-100 (o - 0.005))\, \Sigma\, \eta$, a step for each splat. What is the covariance of a
    step, and which way is a long thin splat shaken most?
    """,
    function="sgld_noise",
    check=_check_sgld_noise,
    solution=sgld_noise,
    wrong=[
        Wrong("no gate", _shakes_all, says="they carry the picture"),
        Wrong("takes the root", _takes_the_root, says="not its root"),
        Wrong("gate upside down", _shakes_the_opaque, says="gate is upside down"),
        Wrong("round noise", _round, says="follows the splat's shape"),
    ],
    hints=["einsum('nij,nj->ni', cov, eta) multiplies each splat's matrix by its own draw."],
)

# --- 3. A budget of births -----------------------------------------------------------------------


def budget(t, losses, largest, ramp, window, tau):
    """Return how many splats may be born at step t."""
    if len(losses) >= 2 * window:
        before, now = np.mean(losses[-2 * window : -window]), np.mean(losses[-window:])
        if now < (1 - tau) * before:
            return 0
    return int(largest * min(1.0, t / ramp))


def _never_waits(t, losses, largest, ramp, window, tau):
    return int(largest * min(1.0, t / ramp))


def _no_cap(t, losses, largest, ramp, window, tau):
    return 0 if budget(t, losses, largest, ramp, window, tau) == 0 else int(largest * t / ramp)


def _upside_down(t, losses, largest, ramp, window, tau):
    free = int(largest * min(1.0, t / ramp))
    return 0 if budget(t, losses, largest, ramp, window, tau) else free


def _absolute_drop(t, losses, largest, ramp, window, tau):
    if len(losses) >= 2 * window:
        before, now = np.mean(losses[-2 * window : -window]), np.mean(losses[-window:])
        if before - now > tau:
            return 0
    return int(largest * min(1.0, t / ramp))


def _check_budget(candidate):
    flat, fast = np.ones(100), 0.8 ** np.arange(100)
    found = [
        call(candidate, t, flat, 40, 100, 10, 0.1, on=f"at t = {t}") for t in (0, 50, 100, 900)
    ]
    expect(
        found[1] > 0,
        "the loss is flat, so the splats there have learned what they can, and new ones may come",
    )
    expect(found[3] <= 40, f"at t = 900 you allow {found[3]} births; after the ramp it stays 40")
    expect_close(found, (0, 20, 40, 40), "with a flat loss the budget climbs to 40 at t = 100")
    high = 1000 * fast[:30]
    expect(
        call(candidate, 100, high, 40, 100, 10, 0.1, on="while a loss near 1000 falls fast") == 0,
        "the loss has fallen to a tenth in a window, and you let splats be born; they should wait",
    )
    expect(
        call(candidate, 100, fast, 40, 100, 10, 0.1, on="while the loss falls fast") == 0,
        "the loss falls by 20% a step, so the splats there still learn: no births now; compare the "
        "mean of the last window with (1 - tau) times the one before",
    )
    expect(
        call(candidate, 100, fast[:15], 40, 100, 10, 0.1, on="with 15 losses") == 40,
        "with fewer than two windows nothing can be compared, and the ramp alone decides",
    )


BUDGET = Exercise(
    "splat_growth/budget",
    title="A budget of births",
    task=r"""
    `losses` are the losses so far, `t` the step. Write `budget(t, losses, largest, ramp, window,
    tau)`: 0 if there are at least two windows and the mean of the last `window` losses is below
    $1 - \tau$ times that of the window before; otherwise `largest` times $\min(1, t/\text{ramp})$,
    rounded down. Then try other budgets on your own picture: which is fastest?
    """,
    function="budget",
    check=_check_budget,
    solution=budget,
    wrong=[
        Wrong("never waits", _never_waits, says="they should wait"),
        Wrong("grows for ever", _no_cap, says="after the ramp it stays 40"),
        Wrong("upside down", _upside_down, says="new ones may come"),
        Wrong("absolute drop", _absolute_drop, says="no births now"),
    ],
    hints=["losses[-2 * window : -window] is the window before the last one."],
)


EXERCISES = (RELOCATE, SGLD_NOISE, BUDGET)
