"""Exercises of the move, thin, re-weight lab: ranks that pull, a mirror, a balanced coin.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.compute.kernels import Gaussian
from kernellab.lab.exercises import (
    Exercise,
    Refused,
    Wrong,
    call,
    describe,
    expect,
    expect_close,
    expect_shape,
)

# --- 1. The gradient of the energy distance, from ranks -------------------------------------------


def energy_grad_1d(x, y):
    """Return the gradient of half the energy distance; ties take the mean of their ranks."""
    n, m = len(x), len(y)
    sorted_x, sorted_y = np.sort(x), np.sort(y)

    def ranks(values):  # twice the number below, ties counted half
        return np.searchsorted(values, x, "left") + np.searchsorted(values, x, "right")

    return (ranks(sorted_y) - m) / (n * m) - (ranks(sorted_x) - n) / n**2


def _by_pairs(x, y):
    pull = np.sign(x[:, None] - y).sum(axis=1) / (len(x) * len(y))
    return pull - np.sign(x[:, None] - x).sum(axis=1) / len(x) ** 2


def _no_repulsion(x, y):
    below = np.searchsorted(np.sort(y), x)
    return (2 * below - len(y)) / (len(x) * len(y))


def _one_size(x, y):
    n = len(x)
    below = np.searchsorted(np.sort(y), x)
    place = np.argsort(np.argsort(x)) + 1
    return (2 * below - n) / n**2 - (2 * place - n - 1) / n**2


def _broken_ties(x, y):
    n, m = len(x), len(y)
    below = np.searchsorted(np.sort(y), x)
    place = np.argsort(np.argsort(x, kind="stable"), kind="stable") + 1
    return (2 * below - m) / (n * m) - (2 * place - n - 1) / n**2


def _sorted_order(x, y):
    return energy_grad_1d(np.sort(x), y)


def _uphill(x, y):
    return -energy_grad_1d(x, y)


def _check_energy_grad(candidate):
    on = "for the point 0 and the targets 1 and 2"
    got = call(candidate, np.array([0.0]), np.array([1.0, 2.0]), on=on)
    expect_shape(got, (1,), "one number a point of x")
    expect(
        not np.isclose(np.asarray(got)[0], 1.0),
        f"{on}, moving right brings x nearer, so F falls and its derivative is -1; you return +1: "
        "the sign is turned around",
    )
    expect_close(got, [-1.0], f"{on}, F falls at rate 1")

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(6), rng.standard_normal(6)
    want = _by_pairs(x, y)
    got = call(candidate, x, y, on="for 6 points and 6 targets")
    expect_shape(got, (6,), "one number a point of x")
    expect(
        not np.allclose(got, _no_repulsion(x, y)),
        "the points pull towards the targets, but they must also push each other apart: subtract "
        "the term with their own ranks",
    )
    expect(
        not (np.allclose(np.sort(got), np.sort(want)) and not np.allclose(got, want)),
        "these are the right numbers in sorted order; return them in the order of x",
    )
    expect_close(got, want, "for 6 points and 6 targets the ranks must give the mean over pairs")

    x, y = rng.standard_normal(5), rng.standard_normal(8)
    got, want = call(candidate, x, y, on="for 5 points and 8 targets"), _by_pairs(x, y)
    expect_close(
        got, want, "for N = 5 points and M = 8 targets (N and M differ: divide by N M and by N^2)"
    )

    x, y = np.array([0.0, 0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])
    got = np.asarray(call(candidate, x, y, on="for x = 0, 0, 1, 2 and y = 0, 1, 1"))
    expect(
        bool(got.shape == (4,) and np.isclose(got[0], got[1])),
        "two points at the same place must feel the same pull: let ties share the mean of their "
        "ranks",
    )
    expect_close(got, _by_pairs(x, y), "a target at the very place of a point pulls neither way")


ENERGY_GRADIENT = Exercise(
    "move_thin_reweight/energy_grad_1d",
    title="A pull made of ranks",
    task=r"""
    Half the energy distance between points $x_1..x_N$ and targets $y_1..y_M$ on a line is
    $$F = \frac{1}{NM}\sum_{ij}|x_i-y_j| - \frac{1}{2N^2}\sum_{ij}|x_i-x_j| + \text{const}.$$
    Write `energy_grad_1d(x, y)` that returns $\partial F/\partial x_i$, shape $(N,)$, by
    sorting:
    $$\frac{2 r_y(x_i) - M}{NM} - \frac{2 r_x(x_i) - N - 1}{N^2},$$
    $r_y$ = number of targets below $x_i$, $r_x$ = place of $x_i$ among the points, from 1. Ties
    share their ranks: a target exactly at $x_i$ counts one half, equal points get their mean place.
    """,
    function="energy_grad_1d",
    check=_check_energy_grad,
    solution=energy_grad_1d,
    wrong=[
        Wrong("forgets the repulsion", _no_repulsion, says="push each other apart"),
        Wrong("takes N for M", _one_size, says="N and M differ"),
        Wrong("breaks ties by order", _broken_ties, says="share the mean of their ranks"),
        Wrong("returns sorted order", _sorted_order, says="in the order of x"),
        Wrong("climbs", _uphill, says="sign is turned around"),
    ],
    hints=[
        "np.searchsorted(np.sort(y), x) counts the targets strictly below each x.",
        "The mean of side='left' and side='right' handles ties, for y and for x itself.",
    ],
)


# --- 2. Back through the mirror -------------------------------------------------------------------


def unmirror(eta):
    """Return exp(eta) / (1 + sum exp(eta)) without overflow."""
    top = np.maximum(eta.max(axis=1, keepdims=True), 0.0)
    raw = np.exp(eta - top)
    return raw / (raw.sum(axis=1, keepdims=True) + np.exp(-top))


def _plain_softmax(eta):
    raw = np.exp(eta - eta.max(axis=1, keepdims=True))
    return raw / raw.sum(axis=1, keepdims=True)


def _overflows(eta):
    with np.errstate(over="ignore", invalid="ignore"):
        raw = np.exp(eta)
        return raw / (1 + raw.sum(axis=1, keepdims=True))


def _sigmoid_each(eta):
    return 0.5 * (1 + np.tanh(eta / 2))


def _forgets_to_shift_one(eta):
    raw = np.exp(eta - np.maximum(eta.max(axis=1, keepdims=True), 0.0))
    return raw / (1 + raw.sum(axis=1, keepdims=True))


def _check_unmirror(candidate):
    on = "for eta = (0, log 2)"
    got = call(candidate, np.array([[0.0, np.log(2.0)]]), on=on)
    expect_shape(got, (1, 2), "return the first d shares of each row")
    expect(
        not np.allclose(got, [[1 / 3, 2 / 3]]),
        f"{on} you return 1/3, 2/3, which leaves nothing for the last share: there are d + 1 "
        "shares, and the last one has eta = 0",
    )
    expect(
        not np.allclose(got, [[1 / 2, 2 / 3]]),
        "each coordinate on its own ignores the others: the shares compete, divide by their sum",
    )
    expect(
        not np.allclose(got, [[1 / 5, 2 / 5]]),
        "a shift inside the exponentials must reach the 1 too: it becomes exp(-shift)",
    )
    expect_close(got, [[1 / 4, 1 / 2]], f"{on} the shares are 1/4, 1/2 and the last one 1/4")

    rng = np.random.default_rng(0)
    shares = rng.dirichlet([0.5, 0.5, 0.5, 0.5], 20)
    shares = np.maximum(shares, 1e-6)
    shares /= shares.sum(axis=1, keepdims=True)
    theta = shares[:, :3]
    eta = np.log(theta) - np.log(shares[:, 3:])
    got = call(candidate, eta, on="for the mirror images of 20 points")
    expect_shape(got, (20, 3), "return the first d shares of each row")
    expect_close(
        got,
        theta,
        "the mirror image of a point must come back to the point",
        rtol=1e-9,
    )

    far = np.array([[800.0, 790.0], [-800.0, -800.0]])
    got = np.asarray(call(candidate, far, on="for eta = 800"))
    expect(
        bool(np.isfinite(got).all()),
        "for eta = 800 you return NaN: exp overflows, so take the largest of eta and 0 off first",
    )
    expect_close(got[0], [1 / (1 + np.exp(-10)), 1 / (1 + np.exp(10))], "for eta = (800, 790)")
    expect_close(got[1], [0.0, 0.0], "for eta = (-800, -800) the last share takes everything")


MIRROR = Exercise(
    "move_thin_reweight/unmirror",
    title="Back through the mirror",
    task=r"""
    The mirror map sends $d+1$ shares (first $d$ of them: $\theta$) to $\eta_i = \log\theta_i -
    \log\theta_{d+1}$. Write `unmirror(eta)` that undoes it for rows of `eta`, shape $(n, d)$:
    $$\theta_i = \frac{e^{\eta_i}}{1 + \sum_j e^{\eta_j}}.$$
    It must also work for `eta` of several hundred, near the corners of the simplex.
    """,
    function="unmirror",
    check=_check_unmirror,
    solution=unmirror,
    wrong=[
        Wrong("forgets the last share", _plain_softmax, says="nothing for the last share"),
        Wrong("overflows", _overflows, says="exp overflows"),
        Wrong("treats coordinates alone", _sigmoid_each, says="ignores the others"),
        Wrong("shifts all but the 1", _forgets_to_shift_one, says="must reach the 1 too"),
    ],
    hints=[
        "Multiply numerator and denominator by exp(-top); the 1 becomes exp(-top).",
        "top = np.maximum(eta.max(axis=1, keepdims=True), 0).",
    ],
)


# --- 3. Kernel halving ----------------------------------------------------------------------------


def kernel_halve(K, delta, uniforms):
    """Return the row numbers kept by one halving with a self-balancing coin."""
    n = len(K)
    signs, kept, variance = np.zeros(n), [], 0.0
    factor = np.sqrt(2 * np.log(2 * n / delta))
    for i in range(0, n, 2):
        j = i + 1
        step = K[i, i] + K[j, j] - 2 * K[i, j]
        bound = max(np.sqrt(step * variance) * factor, step)
        alpha = signs @ (K[i] - K[j])
        tilt = alpha / bound if bound > 0 else 0.0
        if bound > 0:
            variance += max(step * (1 + (step - 2 * bound) * variance / bound**2), 0.0)
        first = uniforms[i // 2] >= (1 - tilt) / 2
        kept.append(i if first else j)
        signs[i], signs[j] = (-1, 1) if first else (1, -1)
    return np.array(kept)


def _variant(turned=False, fair=False, frozen=False, only_kept=False):
    """Kernel halving with one mistake."""

    def kernel_halve(K, delta, uniforms):
        n = len(K)
        signs, kept, variance = np.zeros(n), [], 0.0
        factor = np.sqrt(2 * np.log(2 * n / delta))
        for i in range(0, n, 2):
            j = i + 1
            step = K[i, i] + K[j, j] - 2 * K[i, j]
            bound = max(np.sqrt(step * variance) * factor, step)
            memory = np.minimum(signs, 0) if only_kept else signs
            tilt = memory @ (K[i] - K[j]) / bound if bound > 0 else 0.0
            tilt = 0.0 if fair else -tilt if turned else tilt
            if bound > 0 and not frozen:
                variance += max(step * (1 + (step - 2 * bound) * variance / bound**2), 0.0)
            first = uniforms[i // 2] >= (1 - tilt) / 2
            kept.append(i if first else j)
            signs[i], signs[j] = (-1, 1) if first else (1, -1)
        return np.array(kept)

    return kernel_halve


def _lucky_half(K, delta, uniforms):
    return np.argsort(uniforms.repeat(2))[: len(K) // 2]


def _check_kernel_halve(candidate):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 2))
    K, uniforms = Gaussian(1.0).gram(x), rng.random(32)
    kept = np.asarray(call(candidate, K, 0.5, uniforms, on="for 64 points"))
    if kept.shape != (32,) or kept.dtype.kind not in "iu":
        raise Refused(
            f"return 32 row numbers for 64 points, one a pair; you return {describe(kept)}"
        )
    expect(
        bool(np.array_equal(np.sort(kept // 2), np.arange(32))),
        "keep exactly one of rows 0 and 1, one of rows 2 and 3, and so on, in the order of the "
        "pairs",
    )

    def gap(kept, gram):
        signs = np.ones(len(gram))
        signs[kept] = -1
        return signs @ gram @ signs / len(gram)

    gaps, fair = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        gram, coins = Gaussian(1.0).gram(rng.standard_normal((128, 2))), rng.random(64)
        on = "for 128 points"
        gaps.append(gap(np.asarray(call(candidate, gram, 0.5, coins, on=on)), gram))
        fair.append(gap(_variant(fair=True)(gram, 0.5, coins), gram))
    half_seen = _variant(only_kept=True)(gram, 0.5, coins)
    expect(
        not np.array_equal(call(candidate, gram, 0.5, coins), half_seen),
        "alpha looks at the points kept only: add the similarities to the points left, and "
        "subtract those to the points kept",
    )
    expect(
        np.mean(gaps) < 1.5 * np.mean(fair),
        "the halves are further apart than a fair coin's: the coin leans the wrong way. A positive "
        "alpha means that x lies where much was left, so x is kept with the larger chance",
    )
    expect(
        np.mean(gaps) < 0.7 * np.mean(fair),
        "the halves are no closer than a fair coin's: the chance must depend on alpha, which "
        "compares both the points left and the points kept",
    )
    for n in (2, 16, 64):
        rng = np.random.default_rng(n)
        gram, coins = Gaussian(0.5).gram(rng.standard_normal((n, 2))), rng.random(n // 2)
        got = np.asarray(call(candidate, gram, 0.5, coins, on=f"for {n} points"))
        expect(
            bool(np.array_equal(got, kernel_halve(gram, 0.5, coins))),
            f"for {n} points some coins fall differently: check the bound a = max(b sigma sqrt(2 "
            "log(2n/delta)), b^2) and that sigma^2 grows after each pair",
        )


KERNEL_HALVE = Exercise(
    "move_thin_reweight/kernel_halve",
    title="A coin that balances itself",
    task=r"""
    Write `kernel_halve(K, delta, uniforms)` for a kernel matrix `K` of $n$ points ($n$ even) that
    returns the $n/2$ row numbers kept, one of each pair $(0,1), (2,3), \dots$ in this order. Start
    with $\sigma^2 = 0$. For the pair of rows $i$ and $j = i + 1$: $b^2 = K_{ii}+K_{jj}-2K_{ij}$,
    $a = \max(b\,\sigma\sqrt{2\log(2n/\delta)},\, b^2)$ and
    $\alpha = \sum_{\text{left}}(K_{iz}-K_{jz}) - \sum_{\text{kept}}(K_{iz}-K_{jz})$ over the
    earlier points $z$. Keep $j$ if `uniforms[i // 2]` $< \frac12(1-\alpha/a)$, else $i$. Then
    $\sigma^2 \leftarrow \sigma^2 + b^2\,(1 + (b^2-2a)\,\sigma^2/a^2)_+$, where $b$ and $a$ are this
    pair's.
    """,
    function="kernel_halve",
    check=_check_kernel_halve,
    solution=kernel_halve,
    wrong=[
        Wrong("leans the wrong way", _variant(turned=True), says="leans the wrong way"),
        Wrong("tosses a fair coin", _variant(fair=True), says="must depend on alpha"),
        Wrong("never grows sigma", _variant(frozen=True), says="sigma^2 grows"),
        Wrong("keeps any half", _lucky_half, says="exactly one of rows 0 and 1"),
        Wrong("looks at kept points only", _variant(only_kept=True), says="points left"),
    ],
    hints=[
        "Keep an array of signs: +1 for points left, -1 for points kept, 0 for those to come.",
        "Then alpha is signs @ (K[i] - K[j]).",
    ],
)


EXERCISES = (ENERGY_GRADIENT, MIRROR, KERNEL_HALVE)
