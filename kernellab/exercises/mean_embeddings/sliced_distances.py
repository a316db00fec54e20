"""Exercises of the sliced distances lab: shadows of unequal clouds, a spiral, shadows on a graph.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_shape,
)

# --- 1. The sliced distance of clouds of different sizes ------------------------------------------


def sw2(x, y, theta):
    """Return the mean over the rows of theta of W_2^2 between the shadows of x and y."""
    n, m = len(x), len(y)
    a, b = np.sort(x @ theta.T, axis=0), np.sort(y @ theta.T, axis=0)
    ends = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # in steps of 1 / (n m)
    middles, widths = (ends[1:] + ends[:-1]) / 2, np.diff(ends) / (n * m)
    i, j = (middles // m).astype(int), (middles // n).astype(int)
    return np.mean(widths @ (a[i] - b[j]) ** 2)


def _unsorted(x, y, theta):
    k = min(len(x), len(y))
    return np.mean((x[:k] @ theta.T - y[:k] @ theta.T) ** 2)


def _truncates(x, y, theta):
    k = min(len(x), len(y))
    a, b = np.sort(x @ theta.T, axis=0), np.sort(y @ theta.T, axis=0)
    return np.mean((a[:k] - b[:k]) ** 2)


def _takes_the_root(x, y, theta):
    return np.sqrt(sw2(x, y, theta))


def _sums_over_points(x, y, theta):
    return len(x) * sw2(x, y, theta)


def _sorts_points(x, y, theta):
    """Sorts the points themselves, coordinate by coordinate, before projecting."""
    return sw2(np.sort(x, axis=0), np.sort(y, axis=0), theta)


def _interpolates(x, y, theta):
    s = (np.arange(400) + 0.5) / 400
    gaps = np.quantile(x @ theta.T, s, axis=0) - np.quantile(y @ theta.T, s, axis=0)
    return np.mean(gaps**2)


def _check_sw2(candidate):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 2)), rng.standard_normal((6, 2)) + 1.0
    theta = np.array([[1.0, 0.0], [0.6, 0.8]])

    on = "for two clouds of six points and two directions"
    want = sw2(x, y, theta)
    got = call(candidate, x, y, theta, on=on)
    expect_shape(got, (), "the distance is one number")
    expect(
        not np.isclose(got, _interpolates(x, y, theta)),
        "quantiles are interpolated between the points, which puts mass where there is none; a "
        "cloud's quantile function is a staircase",
    )
    expect(
        not np.isclose(got, np.mean((x @ theta.T - y @ theta.T) ** 2)),
        "the points are paired in the order in which they came; in one dimension the best pairing "
        "is by rank, so sort each shadow first",
    )
    expect(
        not np.isclose(got, np.sqrt(want)),
        "that is the root; return SW_2 squared, the mean of the squared gaps",
    )
    expect(
        not np.isclose(got, 6 * want),
        "the gaps are summed over the points; each point carries the share 1/n, so take the mean",
    )
    expect(
        not np.isclose(got, _sorts_points(x, y, theta)),
        "the coordinates of the cloud are sorted, which makes new points; project first, and sort "
        "the shadows",
    )
    expect_close(got, want, on, rtol=1e-9)

    x, y = np.array([[0.0], [1.0]]), np.array([[0.0], [1.0], [5.0]])
    on = "for the points 0, 1 against 0, 1, 5 on a line"
    got = call(candidate, x, y, np.ones((1, 1)), on=on)
    expect(
        not np.isclose(got, 0.0),
        f"{on} you return 0: the points beyond the smaller size are dropped; every point of a "
        "cloud of m carries 1/m of its mass",
    )
    expect_close(got, (1 / 6) * 1.0 + (1 / 3) * 16.0, f"{on} (1/6 moves by 1, 1/3 by 4)", rtol=1e-9)

    x, shift = rng.standard_normal((40, 3)), np.array([1.0, -2.0, 0.5])
    on = "for a cloud and itself moved by c, on the three axes"
    got = call(candidate, x, x + shift, np.eye(3), on=on)
    expect_close(got, shift @ shift / 3, f"{on}, this must be |c|^2 / 3", rtol=1e-9)
    y = rng.standard_normal((25, 3))
    theta = rng.standard_normal((5, 3))
    on = "for 40 points against 25 in space"
    expect_close(call(candidate, x, y, theta, on=on), sw2(x, y, theta), on, rtol=1e-9)


SW2 = Exercise(
    "sliced_distances/sw2",
    title="Shadows of clouds of different sizes",
    task=r"""
    Write `sw2(x, y, theta)`, the sliced distance
    $$SW_2^2 = \frac1L \sum_{l=1}^L \int_0^1 \bigl(F_{x\theta_l}^{-1}(s) -
    F_{y\theta_l}^{-1}(s)\bigr)^2 ds$$
    of a cloud `x` of shape $(n, d)$ and a cloud `y` of shape $(m, d)$; `theta` holds one
    direction a row. $F^{-1}$ is the quantile function of a shadow: a staircase that stays on
    the smallest value for $s < 1/n$, on the next one until $2/n$, and so on. For $n = m$ this is
    the mean squared gap of the sorted shadows; your function must also work for $n \ne m$.
    """,
    function="sw2",
    check=_check_sw2,
    solution=sw2,
    wrong=[
        Wrong("does not sort", _unsorted, says="paired in the order"),
        Wrong("drops points", _truncates, says="points beyond the smaller size"),
        Wrong("takes the root", _takes_the_root, says="that is the root"),
        Wrong("sums over the points", _sums_over_points, says="summed over the points"),
        Wrong("sorts before projecting", _sorts_points, says="makes new points"),
        Wrong("interpolates quantiles", _interpolates, says="where there is none"),
    ],
    hints=[
        "Start with n = m: np.sort(x @ theta.T, axis=0) sorts every shadow.",
        (
            "For n != m cut (0, 1) at all i/n and all j/m. In units of 1/(n m) the cuts are whole "
            "numbers: np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)."
        ),
    ],
)


# --- 2. A spiral of directions --------------------------------------------------------------------


def spiral(count):
    """Return directions (count, 3) along a spiral from pole to pole."""
    z = 1 - (2 * np.arange(1, count + 1) - 1) / count
    longitude = 1.8 * np.sqrt(count) * np.arccos(z)
    radius = np.sqrt(1 - z**2)
    return np.column_stack([radius * np.cos(longitude), radius * np.sin(longitude), z])


def _winding(heights, turns=lambda count: 1.8 * np.sqrt(count), radius=None):
    """A spiral with other heights, winding or radius."""

    def spiral(count):
        z = np.asarray(heights(count), float)
        longitude = turns(count) * np.arccos(z)
        r = np.sqrt(np.maximum(1 - z**2, 0)) if radius is None else radius(z)
        return np.column_stack([r * np.cos(longitude), r * np.sin(longitude), z])

    return spiral


def _right_heights(count):
    return 1 - (2 * np.arange(1, count + 1) - 1) / count


_even_angles = _winding(lambda n: np.cos(np.pi * (np.arange(1, n + 1) - 0.5) / n))
_from_the_poles = _winding(lambda n: np.linspace(1, -1, n) if n > 1 else np.ones(1))
_winds_too_little = _winding(_right_heights, turns=lambda n: 1.8)
_cylinder = _winding(_right_heights, radius=lambda z: np.ones_like(z))


def _check_spiral(candidate):
    on = "for 200 directions"
    got = call(candidate, 200, on=on)
    expect_shape(got, (200, 3), "one direction a row")
    got = np.asarray(got, float)
    length = np.linalg.norm(got, axis=1)
    expect(
        np.allclose(length, 1.0),
        f"the rows must have length 1; yours run from {length.min():.3g} to {length.max():.3g}: "
        "at height z the circle has radius sqrt(1 - z^2)",
    )
    heights = np.sort(got[:, 2])
    share = np.mean(np.abs(heights) > 0.9)
    expect(
        share < 0.15,
        f"{100 * share:.0f}% of your directions lie within 0.1 of the poles' heights, which is 10% "
        "of the sphere: heights must be spaced evenly, not angles",
    )
    expect(
        not np.isclose(heights[-1], 1.0),
        "the first direction sits on the pole; each stands in the middle of its share of the "
        "heights, z_1 = 1 - 1/L",
    )
    ranks = np.arange(1, 201) / 200
    worst = 0.0
    for centre in np.random.default_rng(0).standard_normal((60, 3)):
        inside = np.sort(got @ (centre / np.linalg.norm(centre)))
        worst = max(worst, np.max(np.abs(ranks - (1 + inside) / 2)))
    expect(
        worst < 0.08,
        f"some cap of the sphere holds a share of directions that is wrong by {worst:.2f}: the "
        "spiral must wind more often for more directions, with sqrt(L)",
    )
    expect_close(got, spiral(200), on, rtol=1e-9, atol=1e-12)
    one = call(candidate, 1, on="for a single direction")
    expect_close(one, spiral(1), "a single direction lies on the equator", rtol=1e-9)


SPIRAL = Exercise(
    "sliced_distances/spiral",
    title="A spiral of directions",
    task=r"""
    Archimedes found that slices of a sphere of equal height have equal area. So $L$ directions
    spread over it when their heights are spaced evenly and each goes on around by a little:
    $$z_i = 1 - \frac{2i - 1}{L}, \qquad \text{longitude}_i = 1.8 \sqrt L \, \arccos z_i, \qquad
    i = 1, \dots, L.$$
    Write `spiral(count)` that returns these $L$ = `count` directions, one unit row each.
    """,
    function="spiral",
    check=_check_spiral,
    solution=spiral,
    wrong=[
        Wrong("spaces angles evenly", _even_angles, says="not angles"),
        Wrong("starts on the pole", _from_the_poles, says="sits on the pole"),
        Wrong("winds too little", _winds_too_little, says="wind more often"),
        Wrong("stays on a cylinder", _cylinder, says="must have length 1"),
    ],
    hints=[
        "i = np.arange(1, count + 1) gives all heights in one line.",
        "The row is (r cos(longitude), r sin(longitude), z) with r = sqrt(1 - z^2).",
    ],
)


# --- 3. Shadows on a graph ------------------------------------------------------------------------


def isw(mu, nu, phi, lam):
    """Return sum over l of exp(-lam_l) W_2^2(phi_l # mu, phi_l # nu)."""
    total = 0.0
    for values, eigenvalue in zip(phi.T, lam, strict=True):
        order = np.argsort(values)
        line, ends_mu, ends_nu = values[order], np.cumsum(mu[order]), np.cumsum(nu[order])
        cuts = np.sort(np.concatenate([[0.0], ends_mu, ends_nu]))
        middles = (cuts[1:] + cuts[:-1]) / 2
        last = len(line) - 1
        i = np.minimum(np.searchsorted(ends_mu, middles), last)
        j = np.minimum(np.searchsorted(ends_nu, middles), last)
        total += np.exp(-eigenvalue) * np.sum(np.diff(cuts) * (line[i] - line[j]) ** 2)
    return total


def _means_only(mu, nu, phi, lam):
    return np.sum(np.exp(-lam) * ((mu - nu) @ phi) ** 2)


def _masses_left_behind(mu, nu, phi, lam):
    total = 0.0
    for values, eigenvalue in zip(phi.T, lam, strict=True):
        total += isw(mu, nu, np.sort(values)[:, None], [eigenvalue])
    return total


def _no_weights(mu, nu, phi, lam):
    return isw(mu, nu, phi, np.zeros(len(lam)))


def _first_power(mu, nu, phi, lam):
    total = 0.0
    for values, eigenvalue in zip(phi.T, lam, strict=True):
        order = np.argsort(values)
        gaps = np.abs(np.cumsum(mu[order] - nu[order]))[:-1]
        total += np.exp(-eigenvalue) * np.sum(gaps * np.diff(values[order]))
    return total


def _check_isw(candidate):
    # A path of three nodes by hand: values -1, 0, 1.
    phi, lam = np.array([[-1.0], [0.0], [1.0]]), np.zeros(1)
    ends, middle = np.array([0.5, 0.0, 0.5]), np.array([0.0, 1.0, 0.0])
    on = "for half the mass on each end of a line against all of it in the middle"
    got = call(candidate, ends, middle, phi, lam, on=on)
    expect_shape(got, (), "the distance is one number")
    expect(
        not np.isclose(got, 0.0),
        f"{on} you return 0: only the means of the eigenfunction are compared; move the mass in "
        "sorted order and square every gap",
    )
    expect_close(got, 1.0, f"{on}, all mass moves by 1", rtol=1e-9)
    on = "for all the mass on one end against all of it on the other"
    got = call(candidate, np.eye(3)[0], np.eye(3)[2], phi, lam, on=on)
    expect(
        not np.isclose(got, 2.0),
        f"{on} you return 2, the distance itself; the cost is its square, 4",
    )
    expect_close(got, 4.0, f"{on}, the cost is 2 squared", rtol=1e-9)

    rng = np.random.default_rng(0)
    mu, nu = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(8))
    phi, lam = rng.standard_normal((8, 4)), np.array([0.0, 0.4, 1.0, 3.0])
    want = isw(mu, nu, phi, lam)
    on = "for two histograms on eight nodes"
    got = call(candidate, mu, nu, phi, lam, on=on)
    expect(
        not np.isclose(got, _masses_left_behind(mu, nu, phi, lam)),
        "the values are sorted but the masses stay where they were; a node's mass must travel "
        "with its value",
    )
    expect(
        not np.isclose(got, _no_weights(mu, nu, phi, lam)),
        "every eigenfunction counts the same; the weight of the l-th is exp(-lam[l])",
    )
    expect_close(got, want, on, rtol=1e-7)
    expect_close(call(candidate, nu, mu, phi, lam, on=on), want, "the distance is symmetric")
    same = call(candidate, mu, mu, phi, lam, on="for a histogram and itself")
    expect_close(same, 0.0, "a histogram has distance 0 to itself", atol=1e-12)
    constant = np.column_stack([np.ones(8), phi])
    got = call(candidate, mu, nu, constant, np.append(0.0, lam), on="with a constant eigenfunction")
    expect_close(got, want, "a constant eigenfunction adds nothing", rtol=1e-7)


ISW = Exercise(
    "sliced_distances/isw",
    title="Shadows on a graph",
    task=r"""
    A graph has no straight lines, but each eigenvector of its Laplacian puts the nodes on a line.
    Write `isw(mu, nu, phi, lam)` that returns
    $$\sum_l e^{-\lambda_l} \, W_2^2\bigl(\varphi_l \# \mu, \varphi_l \# \nu\bigr),$$
    where `mu` and `nu` are histograms on the $N$ nodes (each sums to 1), column $l$ of `phi`,
    shape $(N, K)$, holds $\varphi_l$ at the nodes, and `lam` its eigenvalue. On the line of
    $\varphi_l$ node $i$ carries `mu[i]` of the one mass and `nu[i]` of the other; $W_2^2$ moves
    the mass in sorted order and pays the squared way.
    """,
    function="isw",
    check=_check_isw,
    solution=isw,
    wrong=[
        Wrong("compares means", _means_only, says="only the means"),
        Wrong("leaves the masses behind", _masses_left_behind, says="travel with its value"),
        Wrong("forgets the weights", _no_weights, says="counts the same"),
        Wrong("does not square the way", _first_power, says="the cost is its square"),
    ],
    hints=[
        (
            "For one eigenvector: order = np.argsort(values), and use values[order], mu[order], "
            "nu[order]."
        ),
        (
            "Cut (0, 1) at the cumulative sums of both; in the middle of each piece "
            "np.searchsorted(cumulative, middle) says which node that piece comes from."
        ),
    ],
)


EXERCISES = (SW2, SPIRAL, ISW)
