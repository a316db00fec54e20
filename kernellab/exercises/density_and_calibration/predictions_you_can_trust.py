"""Exercises of the trust lab: smoothed residuals, a law through a ReLU, a width that is proved.

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

# --- 1. An error without bins -------------------------------------------------------------------


def smooth_ece(f, y, s):
    """Return the integral over [0, 1] of |mean_i (y_i - f_i) K_s(t, f_i)|."""
    return _smoothed(f, y, s, images=range(-3, 4))


def _smoothed(f, y, s, images=(0,), mirror=True, sizes=False, normed=False):
    f, y = np.asarray(f, dtype=float), np.asarray(y, dtype=float)
    t = (np.arange(2000) + 0.5)[:, None] / 2000
    kernel = np.zeros((2000, f.size))
    for k in images:
        for centre in (f, -f) if mirror else (f,):
            kernel += np.exp(-0.5 * ((t - centre - 2 * k) / s) ** 2)
    kernel /= s * np.sqrt(2 * np.pi)
    gap = np.abs(y - f) if sizes else y - f
    curve = kernel @ gap / (kernel.sum(axis=1) if normed else f.size)
    return np.abs(curve).mean()


def _no_reflection(f, y, s):
    return _smoothed(f, y, s, mirror=False)


def _sizes_first(f, y, s):
    return _smoothed(f, y, s, images=range(-3, 4), sizes=True)


def _by_density(f, y, s):
    return _smoothed(f, y, s, images=range(-3, 4), normed=True)


def _signed(f, y, s):
    return abs(np.mean(np.asarray(y, dtype=float) - f))


def _sum_over_points(f, y, s):
    return smooth_ece(f, y, s) * len(f)


def _check_smooth_ece(candidate):
    coin = np.tile([0.0, 1.0], 50)
    on = "for a constant forecast 0.9 of a fair coin, s = 0.1"
    found = call(candidate, np.full(100, 0.9), coin, 0.1, on=on)
    expect_shape(found, (), f"{on}, one number")
    found = float(found)
    expect(
        found <= 5,
        f"{on} you find {found:.3g}: divide by the number of forecasts, it is a mean",
    )
    expect(
        not 0.30 < found < 0.395,
        f"{on} you find {found:.3g} and not 0.4: part of the Gaussian hangs over the end at 1; "
        "reflect it back, so that no mass is lost",
    )
    expect(
        not 0.45 < found < 0.55,
        f"{on} you find 0.5: residuals of both signs must cancel where they overlap; take the "
        "absolute value after smoothing, not before",
    )
    expect(
        abs(found - 0.4) < 0.005,
        f"{on} the residuals have mean -0.4 everywhere, so the error is 0.4, whatever s; you find "
        f"{found:.3g}",
    )

    on = "for forecasts 0.2 and 0.8 of which the first always comes true and the second never"
    f, y = np.repeat([0.2, 0.8], 50), np.repeat([1.0, 0.0], 50)
    found = float(call(candidate, f, y, 0.02, on=on))
    expect(
        found > 0.1,
        f"{on} the residuals cancel only if you add them up before the absolute value; keep the "
        f"places t apart: the error is 0.8, you find {found:.3g}",
    )
    expect_close(found, 0.8, f"{on}, s = 0.02", rtol=0.01)
    wide = float(call(candidate, f, y, 1.0, on=on))
    expect(wide < 0.1, f"{on}, with s = 1 they must nearly cancel; you find {wide:.3g}")

    rng = np.random.default_rng(0)
    f = rng.random(200)
    y = (rng.random(200) < f**2).astype(float)
    on = "for 200 random forecasts, s = 0.07"
    found = float(call(candidate, f, y, 0.07, on=on))
    expect(
        not np.isclose(found, _by_density(f, y, 0.07), rtol=1e-2),
        f"{on} you average the gap over places, all alike; r_s is a mean over forecasts, not "
        "divided by their density: many forecasts count more than few",
    )
    expect_close(found, smooth_ece(f, y, 0.07), on, rtol=0.02)
    shuffle = rng.permutation(200)
    expect_close(
        float(candidate(f[shuffle], y[shuffle], 0.07)), found, f"{on}, in another order", rtol=1e-6
    )


SMOOTH_ECE = Exercise(
    "predictions_you_can_trust/smooth_ece",
    title="Smooth first, then take sizes",
    task=r"""
    `f` $(n,)$ holds forecasts in $[0, 1]$, `y` $(n,)$ outcomes 0 or 1. Complete
    `smooth_ece(f, y, s)`, which returns
    $$\int_0^1 \Big| \frac1n \sum_i (y_i - f_i)\, K_s(t, f_i) \Big|\, dt, \qquad
    K_s(t, u) = \sum_{k} N(t - u - 2k;\, s^2) + N(t + u - 2k;\, s^2),$$
    the Gaussian reflected at 0 and at 1; $k = -3, \dots, 3$ is enough. A grid of a thousand places
    will do for the integral. What must come out for a constant forecast?
    """,
    function="smooth_ece",
    check=_check_smooth_ece,
    solution=smooth_ece,
    wrong=[
        Wrong("no reflection", _no_reflection, says="reflect it back"),
        Wrong("sizes first", _sizes_first, says="absolute value after smoothing"),
        Wrong("divides by the density", _by_density, says="many forecasts count more"),
        Wrong("one mean for all", _signed, says="keep the places t apart"),
        Wrong("a sum", _sum_over_points, says="it is a mean"),
    ],
    hints=[
        "Make a matrix K of shape (places, n); the curve is K @ (y - f) / n.",
        "Places in the middles of equal cells: the integral over [0, 1] is then a plain mean.",
    ],
)

# --- 2. A law through a ReLU --------------------------------------------------------------------


def sdp_relu(mean, cov):
    """Return what passes of N(mean, cov): coordinates above 0, unchanged."""
    passes = (mean > 0).astype(float)
    return mean * passes, cov * np.outer(passes, passes)


def _keeps_the_covariance(mean, cov):
    return np.maximum(mean, 0), cov


def _one_side(mean, cov):
    return np.maximum(mean, 0), cov * (mean > 0)[:, None]


def _diagonal_only(mean, cov):
    return np.maximum(mean, 0), np.diag(np.diag(cov) * (mean > 0))


def _clips_the_covariance(mean, cov):
    passes = (mean > 0).astype(float)
    return mean * passes, np.maximum(cov, 0) * np.outer(passes, passes)


def _mean_passes(mean, cov):
    passes = (mean > 0).astype(float)
    return mean, cov * np.outer(passes, passes)


def _check_sdp_relu(candidate):
    mean = np.array([1.0, 2.0, 0.5])
    cov = np.array([[1.0, -0.5, 0.3], [-0.5, 2.0, 0.0], [0.3, 0.0, 1.0]])
    on = "for means 1, 2 and 0.5, all above 0"
    found = call(candidate, mean, cov, on=on)
    expect(
        isinstance(found, tuple) and len(found) == 2, f"{on} return two things: mean, covariance"
    )
    expect_shape(found[1], (3, 3), f"{on}, the covariance")
    expect_close(found[0], mean, f"{on}, the mean passes unchanged")
    expect(
        not np.allclose(np.asarray(found[1], dtype=float), np.diag([1.0, 2.0, 1.0])),
        f"{on} you drop the covariances between them: correlations must pass too",
    )
    expect_close(found[1], cov, f"{on}, the covariance passes unchanged, negative entries included")

    on = "for means -1 and -2, both below 0"
    cov = np.array([[1.0, -0.5], [-0.5, 2.0]])
    found = call(candidate, np.array([-1.0, -2.0]), cov, on=on)
    expect_close(found[0], np.zeros(2), f"{on}, ReLU makes 0 of both means")
    expect_close(found[1], np.zeros((2, 2)), f"{on}, nothing is left uncertain: covariance 0")

    on = "for means 1 and -1"
    mean, cov = np.array([1.0, -1.0]), np.array([[1.0, 0.5], [0.5, 2.0]])
    found = np.asarray(call(candidate, mean, cov, on=on)[1], dtype=float)
    expect(
        np.allclose(found, found.T),
        f"{on} your covariance is not symmetric: rows and columns of the second must both vanish",
    )
    expect_close(found, np.array([[1.0, 0.0], [0.0, 0.0]]), f"{on}, only the first is uncertain")


SDP_RELU = Exercise(
    "predictions_you_can_trust/sdp_relu",
    title="A law through a ReLU",
    task=r"""
    Before a ReLU the law is $N(\mu, \Sigma)$; `mean` is $(d,)$, `cov` is $(d, d)$. Write
    `sdp_relu(mean, cov)`, which returns mean and covariance after it: with $J$ the diagonal matrix
    of the derivatives of ReLU at $\mu$ (1 above 0, otherwise 0), they are
    $$\max(0, \mu), \qquad J\, \Sigma\, J .$$
    """,
    function="sdp_relu",
    check=_check_sdp_relu,
    solution=sdp_relu,
    wrong=[
        Wrong("covariance as it was", _keeps_the_covariance, says="nothing is left uncertain"),
        Wrong("rows only", _one_side, says="rows and columns"),
        Wrong("variances only", _diagonal_only, says="correlations must pass"),
        Wrong("clips the covariance", _clips_the_covariance, says="negative entries included"),
        Wrong("mean as it was", _mean_passes, says="ReLU makes 0 of both means"),
    ],
    hints=["np.outer(j, j) holds a 1 where both coordinates pass."],
)

# --- 3. A width that is proved ------------------------------------------------------------------


def rcps_lambda(outside, eps, delta):
    """Return the least widening whose risk Hoeffding's bound proves, or infinity."""
    outside = np.asarray(outside, dtype=float)
    allowed = eps - np.sqrt(np.log(1 / delta) / (2 * len(outside)))
    return _least(outside, allowed)


def _least(outside, allowed):
    if allowed < 0:
        return np.inf
    falling = np.append(np.sort(np.maximum(outside, 0).ravel())[::-1], 0.0)
    return float(falling[int(allowed * outside.size + 1e-9)])


def _no_bound(outside, eps, delta):
    return _least(np.asarray(outside, dtype=float), eps)


def _pixels_counted_as_pictures(outside, eps, delta):
    outside = np.asarray(outside, dtype=float)
    return _least(outside, eps - np.sqrt(np.log(1 / delta) / (2 * outside.size)))


def _never_gives_up(outside, eps, delta):
    outside = np.asarray(outside, dtype=float)
    return _least(outside, max(eps - np.sqrt(np.log(1 / delta) / (2 * len(outside))), 0.0))


def _bound_added(outside, eps, delta):
    outside = np.asarray(outside, dtype=float)
    return _least(outside, min(eps + np.sqrt(np.log(1 / delta) / (2 * len(outside))), 1.0))


def _narrows(outside, eps, delta):
    outside = np.asarray(outside, dtype=float)
    allowed = eps - np.sqrt(np.log(1 / delta) / (2 * len(outside)))
    if allowed < 0:
        return np.inf
    return float(np.sort(outside.ravel())[::-1][int(allowed * outside.size + 1e-9)])


def _one_number(found, on):
    number = np.ndim(found) == 0 and isinstance(found, int | float | np.number)
    expect(number, f"{on} return one number")
    return float(found)


def _check_rcps_lambda(candidate):
    rng = np.random.default_rng(0)
    outside = rng.normal(size=(400, 20))
    on = "for 400 pictures of 20 pixels, eps = 0.15 and delta = 0.1"
    found = _one_number(call(candidate, outside, 0.15, 0.1, on=on), on)
    expect(
        np.isfinite(found),
        f"{on} it can be done: 400 pictures leave an allowed mean of 0.096",
    )
    lost = np.mean(outside > found)
    expect(
        abs(lost - 0.15) > 0.003,
        f"{on} you allow a mean loss of eps itself: on fresh pictures the risk is then above eps "
        "half of the time; subtract the margin first",
    )
    expect(
        lost < 0.15,
        f"{on} {lost:.2g} of the pixels stay outside, more than eps: the margin makes the rule "
        "stricter, subtract it",
    )
    expect(
        lost < 0.11,
        f"{on} {lost:.2g} of the pixels stay outside: the pixels of a picture belong together, so "
        "n is 400 pictures, not 8000 pixels",
    )
    expect_close(found, rcps_lambda(outside, 0.15, 0.1), on, rtol=1e-3, atol=1e-3)

    on = "for 5 pictures, eps = 0.1 and delta = 0.1"
    found = _one_number(call(candidate, -np.ones((5, 20)), 0.1, 0.1, on=on), on)
    expect(
        np.isinf(found) and found > 0,
        f"{on} the margin 0.48 is larger than eps: nothing can be proved, return infinity",
    )
    on = "for 400 pictures with every pixel well inside"
    found = _one_number(call(candidate, -np.ones((400, 20)), 0.15, 0.1, on=on), on)
    expect(np.isfinite(found), f"{on} no widening is needed: return 0")
    expect(found >= 0, f"{on} you return {found:.3g}: intervals are widened, never cut")
    expect_close(found, 0.0, f"{on}, no widening is needed")
    on = "as eps grows"
    widths = [float(call(candidate, outside, eps, 0.1, on=on)) for eps in (0.1, 0.2, 0.3)]
    expect(widths[0] >= widths[1] >= widths[2], f"{on} the widening must not grow")


RCPS_LAMBDA = Exercise(
    "predictions_you_can_trust/rcps_lambda",
    title="Widen until it is proved",
    task=r"""
    `outside` $(n, d)$ tells by how much each of $d$ pixels of $n$ pictures lies outside its
    interval (negative: inside). A picture's loss at a widening $\lambda \ge 0$ is the share of its
    pixels with `outside` $> \lambda$. By Hoeffding's inequality the true risk is at most the mean
    loss plus $\sqrt{\log(1/\delta) / 2n}$, with chance $1 - \delta$. Invent
    `rcps_lambda(outside, eps, delta)`: the least $\lambda \ge 0$ for which this proves a risk of at
    most `eps`, or `np.inf` if no $\lambda$ will do. No search over $\lambda$ is needed.
    """,
    function="rcps_lambda",
    check=_check_rcps_lambda,
    solution=rcps_lambda,
    wrong=[
        Wrong("no margin", _no_bound, says="subtract the margin first"),
        Wrong("pixels as pictures", _pixels_counted_as_pictures, says="not 8000 pixels"),
        Wrong("never gives up", _never_gives_up, says="return infinity"),
        Wrong("margin added", _bound_added, says="stricter"),
        Wrong("cuts intervals", _narrows, says="never cut"),
    ],
    hints=[
        "Which share of all pixels may stay outside? Then lambda is a quantile.",
        "Sort max(outside, 0) downwards and skip as many pixels as may be lost.",
    ],
)


EXERCISES = (SMOOTH_ECE, SDP_RELU, RCPS_LAMBDA)
