"""Exercises of the surface lab: a compact kernel, the opacity along a ray, and depth from stereo.

Each has a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.lab.exercises import Exercise, Wrong, call, expect, expect_close, expect_shape

# --- 1. A kernel that ends ------------------------------------------------------------------------


def bspline_kernel(x, y, h):
    """Return the products over axes of b((x_a - y_a)/h), b the quadratic B-spline: (n, m)."""
    t = np.abs(x[:, None] - y) / h
    b = np.where(t < 0.5, 0.75 - t**2, np.where(t < 1.5, 0.5 * (1.5 - t) ** 2, 0.0))
    return np.prod(b, axis=2)


def _tent(x, y, h):
    return np.prod(np.maximum(0.0, 1.0 - np.abs(x[:, None] - y) / h), axis=2)


def _never_ends(x, y, h):
    t = np.abs(x[:, None] - y) / h
    return np.prod(np.where(t < 0.5, 0.75 - t**2, 0.5 * (1.5 - t) ** 2), axis=2)


def _ignores_width(x, y, h):
    return bspline_kernel(x, y, 1.0)


def _radial(x, y, h):
    t = np.linalg.norm(x[:, None] - y, axis=2) / h
    return np.where(t < 0.5, 0.75 - t**2, np.where(t < 1.5, 0.5 * (1.5 - t) ** 2, 0.0))


def _check_bspline_kernel(candidate):
    on = "for one point and nodes at distances 0, 1, 1.4, 1.6 and 3 with h = 1"
    places = np.array([[0.0], [1.0], [1.4], [1.6], [3.0]])
    found = call(candidate, np.zeros((1, 1)), places, 1.0, on=on)
    expect_shape(found, (1, 5), f"{on}, one row a point and one column a node")
    found = np.asarray(found, dtype=float)[0]
    expect(
        abs(found[3]) < 1e-12 and abs(found[4]) < 1e-12,
        f"{on} the kernel must be exactly 0 from 1.5 h on: that is what makes the matrix sparse",
    )
    expect(
        found[1] > 1e-12,
        f"{on} you are 0 already at h: that is the tent, whose slope jumps; b reaches 1.5 h",
    )
    on = "with h = 0.5"
    x = np.random.default_rng(0).uniform(-0.6, 0.6, (9, 1))
    nodes = 0.5 * np.arange(-6, 7)[:, None]
    found = call(candidate, x, nodes, 0.5, on=on)
    expect_close(
        np.sum(np.asarray(found, dtype=float), axis=1),
        np.ones(9),
        f"{on} the kernels of all nodes must add up to 1; distances count in units of h",
    )
    on = "in the plane"
    x = np.random.default_rng(1).uniform(-1, 1, (6, 2))
    nodes = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-3, 4)), axis=-1).reshape(-1, 2) * 0.7
    expect_close(
        call(candidate, x, nodes, 0.7, on=on),
        bspline_kernel(x, nodes, 0.7),
        f"{on} the kernel is the product of one b for each axis, not a function of the distance",
    )


BSPLINE_KERNEL = Exercise(
    "splat_surface/bspline_kernel",
    title="A kernel that ends",
    task=r"""
    Write `bspline_kernel(x, y, h)` for points `x` `(n, d)` and nodes `y` `(m, d)`: the matrix
    `(n, m)` of $\prod_a b((x_a - y_a)/h)$ with
    $$b(t) = \begin{cases} 3/4 - t^2 & |t| < 1/2 \\
    (3/2 - |t|)^2/2 & 1/2 \le |t| < 3/2 \\ 0 & \text{else.} \end{cases}$$
    """,
    function="bspline_kernel",
    check=_check_bspline_kernel,
    solution=bspline_kernel,
    wrong=[
        Wrong("a tent", _tent, says="that is the tent"),
        Wrong("never ends", _never_ends, says="exactly 0 from 1.5 h on"),
        Wrong("ignores the width", _ignores_width, says="in units of h"),
        Wrong("radial", _radial, says="not a function of the distance"),
    ],
    hints=[
        "x[:, None] - y has shape (n, m, d); take the absolute value and divide by h.",
        "np.where twice gives b; np.prod along the last axis the kernel.",
    ],
)

# --- 2. The opacity along a ray -------------------------------------------------------------------


def ray_occupancy(t, peaks, widths, opacities):
    """Return 1 - prod(1 - o exp(-(min(t, m) - m)^2/(2 s^2))) for each distance in t: (n,)."""
    z = (np.minimum(t[:, None], peaks) - peaks) / widths
    return 1.0 - np.prod(1.0 - opacities * np.exp(-0.5 * z**2), axis=1)


def _forgets_the_peak(t, peaks, widths, opacities):
    z = (t[:, None] - peaks) / widths
    return 1.0 - np.prod(1.0 - opacities * np.exp(-0.5 * z**2), axis=1)


def _adds(t, peaks, widths, opacities):
    z = (np.minimum(t[:, None], peaks) - peaks) / widths
    return np.sum(opacities * np.exp(-0.5 * z**2), axis=1)


def _light(t, peaks, widths, opacities):
    return 1.0 - ray_occupancy(t, peaks, widths, opacities)


def _steps(t, peaks, widths, opacities):
    return 1.0 - np.prod(1.0 - opacities * (t[:, None] >= peaks), axis=1)


def _check_ray_occupancy(candidate):
    peaks, widths = np.array([2.0, 2.5, 4.0]), np.array([0.3, 0.5, 0.2])
    opacities = np.array([0.6, 0.5, 0.8])
    t = np.linspace(0.01, 8.0, 200)
    on = "for three splats and 200 distances"
    found = call(candidate, t, peaks, widths, opacities, on=on)
    expect_shape(found, (200,), f"{on}, one number a distance")
    found = np.asarray(found, dtype=float)
    expect(
        not (found[0] > 0.9 and found[-1] < 0.2),
        f"{on} you return the light that is left; the opacity is 1 minus that",
    )
    expect(bool(np.all(found <= 1.0)), f"{on} you exceed 1: shares of light multiply, never add")
    expect(
        bool(np.all(np.diff(found) >= -1e-12)),
        f"{on} your opacity falls again behind a splat, but what is stopped stays stopped: after "
        "its peak a splat keeps the value it has there, min(t, m)",
    )
    whole = 1.0 - np.prod(1.0 - opacities)
    expect_close(found[-1], whole, f"{on}, far behind all of them it must be 1 - prod(1 - o)")
    expect_close(
        found,
        ray_occupancy(t, peaks, widths, opacities),
        f"{on}, before its peak a splat has stopped o exp(-(t - m)^2/(2 s^2)), a smooth rise",
    )


RAY_OCCUPANCY = Exercise(
    "splat_surface/ray_occupancy",
    title="Opacity along a ray",
    task=r"""
    On one ray, splat $i$ is a Gaussian of the distance with its peak at $m_i$, width $s_i$ and
    opacity $o_i$. Write `ray_occupancy(t, peaks, widths, opacities)`: for distances `t` `(n,)` the
    share of light that is stopped until there,
    $$\alpha(t) = 1 - \prod_i
    \Big(1 - o_i \exp\Big(-\frac{(\min(t, m_i) - m_i)^2}{2 s_i^2}\Big)\Big).$$
    Then find the distance at which it passes one half: where would you say the surface is?
    """,
    function="ray_occupancy",
    check=_check_ray_occupancy,
    solution=ray_occupancy,
    wrong=[
        Wrong("forgets the peak", _forgets_the_peak, says="stays stopped"),
        Wrong("adds", _adds, says="never add"),
        Wrong("returns the light", _light, says="1 minus that"),
        Wrong("steps", _steps, says="a smooth rise"),
    ],
    hints=["np.minimum(t[:, None], peaks) has shape (n, splats).", "np.prod(..., axis=1)."],
)

# --- 3. Depth from two pictures -------------------------------------------------------------------


def disparity_to_depth(disparity, focal, baseline):
    """Return f b/d: infinite where d = 0, NaN where d < 0 or d is NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = focal * baseline / np.asarray(disparity, dtype=float)
    return np.where(disparity == 0, np.inf, np.where(disparity > 0, depth, np.nan))


def _upside_down(disparity, focal, baseline):
    return np.asarray(disparity, dtype=float) * baseline / focal


def _forgets_baseline(disparity, focal, baseline):
    return disparity_to_depth(disparity, focal, 1.0)


def _negative_depth(disparity, focal, baseline):
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = focal * baseline / np.asarray(disparity, dtype=float)
    return np.where(disparity == 0, np.inf, depth)


def _clipped(disparity, focal, baseline):
    return focal * baseline / np.maximum(np.asarray(disparity, dtype=float), 1e-6)


def _check_disparity_to_depth(candidate):
    on = "for disparities of 4, 8 and 16 pixels, f = 80 and b = 0.2"
    found = call(candidate, np.array([4.0, 8.0, 16.0]), 80.0, 0.2, on=on)
    expect_shape(found, (3,), f"{on}, the shape of the disparities")
    found = np.asarray(found, dtype=float)
    expect(
        found[0] > found[2],
        f"{on} your depth grows with disparity; near things are the ones that jump",
    )
    expect_close(found, np.array([4.0, 2.0, 1.0]), f"{on}, z = f b/d gives 4, 2 and 1")
    on = "for a disparity of 0"
    found = np.asarray(call(candidate, np.array([0.0, 4.0]), 80.0, 0.2, on=on), dtype=float)
    expect(
        bool(np.isposinf(found[0])),
        f"{on} nothing moves between the pictures: the point is infinitely far, return inf",
    )
    on = "for hidden pixels (NaN) and for a disparity of -2"
    bad = np.array([[np.nan, -2.0], [4.0, 8.0]])
    found = np.asarray(call(candidate, bad, 80.0, 0.2, on=on), dtype=float)
    expect(
        found.shape == (2, 2) and bool(np.isnan(found[0]).all()),
        f"{on} no point in front of both cameras looks like that: return NaN, never a number",
    )


DISPARITY_TO_DEPTH = Exercise(
    "splat_surface/disparity_to_depth",
    title="Depth from two pictures",
    task=r"""
    Write `disparity_to_depth(disparity, focal, baseline)`: depths $z = f b/d$ for `disparity` of
    any shape, in pixels. A disparity of 0 is infinitely far (`inf`); where it is NaN (hidden) or
    negative, the depth is not known: NaN. Then invent the experiment: with an error of a quarter of
    a pixel, which baseline would you choose for an object at depth 4?
    """,
    function="disparity_to_depth",
    check=_check_disparity_to_depth,
    solution=disparity_to_depth,
    wrong=[
        Wrong("upside down", _upside_down, says="near things are the ones that jump"),
        Wrong("forgets the baseline", _forgets_baseline, says="z = f b/d gives 4"),
        Wrong("clips", _clipped, says="infinitely far"),
        Wrong("negative depth", _negative_depth, says="never a number"),
    ],
    hints=["np.where chooses between cases; np.errstate keeps NumPy quiet about 1/0."],
)


EXERCISES = (BSPLINE_KERNEL, RAY_OCCUPANCY, DISPARITY_TO_DEPTH)
