"""Exercises of the splat core lab: blending, slopes of shapes, projected covariances."""

from __future__ import annotations

import numpy as np

from kernellab.compute.cameras import Camera
from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_raises,
)

# --- 1. Blend front to back ----------------------------------------------------------------------


def over(alphas, colors, background):
    """Return the colour of a pixel: sum_i c_i a_i T_i + T b."""
    light = np.cumprod(np.concatenate([[1.0], 1.0 - alphas]))
    return (alphas * light[:-1]) @ colors + light[-1] * background


def _adds(alphas, colors, background):
    return alphas @ colors + background * (1 - alphas.sum())


def _too_late(alphas, colors, background):
    light = np.cumprod(1.0 - alphas)
    return (alphas * light) @ colors + (light[-1] if len(light) else 1.0) * background


def _back_to_front(alphas, colors, background):
    return over(alphas[::-1], colors[::-1], background)


def _no_background(alphas, colors, background):
    light = np.cumprod(np.concatenate([[1.0], 1.0 - alphas]))
    return (alphas * light[:-1]) @ colors


def _check_over(candidate):
    rng = np.random.default_rng(0)
    sky = np.array([0.2, 0.4, 0.9])
    on = "with no splat at all"
    found = call(candidate, np.empty(0), np.empty((0, 3)), sky, on=on)
    expect_close(found, sky, f"{on} the pixel shows the background")
    on = "with one splat of alpha 0.3"
    color = np.array([[1.0, 0.5, 0.0]])
    found = call(candidate, np.array([0.3]), color, sky, on=on)
    expect_close(found, 0.3 * color[0] + 0.7 * sky, f"{on} nothing stands before it, so T_1 = 1")
    on = "with an opaque splat in front"
    alphas, colors = np.array([1.0, 0.8, 0.5]), rng.random((3, 3))
    found = call(candidate, alphas, colors, sky, on=on)
    expect_close(found, colors[0], f"{on} (the first one) nothing behind it is seen")
    on = "with six splats"
    alphas, colors = rng.random(6), rng.random((6, 3))
    want, light = np.zeros(3), 1.0
    for a, c in zip(alphas, colors, strict=True):
        want, light = want + light * a * c, light * (1 - a)
    found = call(candidate, alphas, colors, sky, on=on)
    expect_close(found, want + light * sky, f"{on} each sees the light that those in front let by")


OVER = Exercise(
    "splat_core/over",
    title="Blend front to back",
    task=r"""
    In one pixel $n$ splats lie behind each other, the first in front, with `alphas` (n,) and
    `colors` (n, 3). Write `over(alphas, colors, background)`, which returns
    $$\sum_i c_i\, a_i T_i + T_{n+1}\, b, \qquad T_i = \prod_{j<i} (1 - a_j).$$
    No splat at all is allowed. What do the weights and the last $T$ sum to?
    """,
    function="over",
    check=_check_over,
    solution=over,
    wrong=[
        Wrong("adds up", _adds, says="nothing behind it is seen"),
        Wrong("includes itself", _too_late, says="nothing stands before it"),
        Wrong("from the wrong end", _back_to_front, says="nothing behind it is seen"),
        Wrong("forgets the background", _no_background, says="the pixel shows the background"),
    ],
    hints=[
        "np.cumprod(1 - alphas) holds T_2, T_3, ...; T_1 is 1.",
        "np.concatenate([[1.0], 1.0 - alphas]) before np.cumprod gives all of them.",
    ],
)

# --- 2. From the covariance to the shape ---------------------------------------------------------


def shape_slopes(log_scales, angle, slopes):
    """Return dL/dlog_scales (2,) and dL/dangle of V = R diag(e^2s) R' from G = dL/dV."""
    c, s = np.cos(angle), np.sin(angle)
    turn, squares = np.array([[c, -s], [s, c]]), np.exp(2 * log_scales)
    inside = turn.T @ slopes @ turn
    return 2 * squares * np.diagonal(inside), 2 * (squares[0] - squares[1]) * inside[0, 1]


def _no_square(log_scales, angle, slopes):
    scales, turned = shape_slopes(log_scales, angle, slopes)
    return scales / np.exp(log_scales), turned


def _no_turn(log_scales, angle, slopes):
    squares = np.exp(2 * log_scales)
    return 2 * squares * np.diagonal(slopes), 2 * (squares[0] - squares[1]) * slopes[0, 1]


def _sums_in_angle(log_scales, angle, slopes):
    scales, _ = shape_slopes(log_scales, angle, slopes)
    c, s = np.cos(angle), np.sin(angle)
    turn, squares = np.array([[c, -s], [s, c]]), np.exp(2 * log_scales)
    return scales, 2 * squares.sum() * (turn.T @ slopes @ turn)[0, 1]


def _check_shape(candidate):
    rng = np.random.default_rng(1)

    def value(logs, angle, slopes):
        c, s = np.cos(angle), np.sin(angle)
        half = np.array([[c, -s], [s, c]]) * np.exp(logs)
        return np.sum(slopes * (half @ half.T))

    slopes = np.array([[0.5, 0.2], [0.2, -0.3]])
    on = "for a splat along the axes (angle 0)"
    logs = np.log([3.0, 2.0])
    scales, _ = call(candidate, logs, 0.0, slopes, on=on)
    expect_close(scales, [9.0, -2.4], f"{on} with standard deviations 3 and 2, 2 e^(2s) G_kk")
    on = "for a round splat"
    _, turned = call(candidate, np.zeros(2), 0.4, slopes, on=on)
    expect(abs(turned) < 1e-12, f"{on} turning changes nothing, so the slope in the angle is 0")
    for _ in range(4):
        logs, angle = rng.normal(size=2), rng.normal()
        slopes = rng.normal(size=(2, 2))
        slopes = slopes + slopes.T
        on = "for a tilted splat"
        scales, turned = call(candidate, logs, angle, slopes, on=on)
        h = 1e-5
        want = [
            (value(logs + h * e, angle, slopes) - value(logs - h * e, angle, slopes)) / (2 * h)
            for e in np.eye(2)
        ]
        expect_close(scales, want, f"{on}, against finite differences", rtol=1e-5, atol=1e-6)
        want = (value(logs, angle + h, slopes) - value(logs, angle - h, slopes)) / (2 * h)
        expect_close(turned, want, f"{on}, the slope in the angle", rtol=1e-5, atol=1e-6)


SHAPE_SLOPES = Exercise(
    "splat_core/shape_slopes",
    title="From a covariance back to scales and angle",
    task=r"""
    A splat has $V = R\,\mathrm{diag}(e^{2 s_1}, e^{2 s_2})\,R^\top$ with $R$ the turn by `angle`,
    and the loss has the symmetric derivative $G$ (`slopes`, shape (2, 2)),
    $dL = \sum_{kl} G_{kl}\, dV_{kl}$. Write `shape_slopes(log_scales, angle, slopes)`, which
    returns the pair $\partial L/\partial s$, shape (2,), and $\partial L/\partial$ angle.
    """,
    function="shape_slopes",
    check=_check_shape,
    solution=shape_slopes,
    wrong=[
        Wrong("scales for variances", _no_square, says="2 e^(2s) G_kk"),
        Wrong("forgets the turn", _no_turn, says="against finite differences"),
        Wrong("a sum in the angle", _sums_in_angle, says="turning changes nothing"),
    ],
    hints=[
        "In the splat's own axes the derivative is R' G R.",
        "dR/dangle swaps the axes: the angle sees 2 (e^(2 s1) - e^(2 s2)) times entry (1, 2).",
    ],
)

# --- 3. Project a covariance ---------------------------------------------------------------------


def project_cov(mean, covariance, camera):
    """Return the covariance (2, 2) in pixels of a splat of space, by the derivative at its mean."""
    x, y, z = camera.rotation @ mean + camera.translation
    if z <= camera.near:
        raise ValueError("the splat is not in front of the camera")
    fx, fy = camera.focal
    if camera.orthographic:
        slope = np.array([[fx, 0, 0], [0, fy, 0]])
    else:
        slope = np.array([[fx / z, 0, -fx * x / z**2], [0, fy / z, -fy * y / z**2]])
    to_image = slope @ camera.rotation
    return to_image @ covariance @ to_image.T


def _ignores_depth(mean, covariance, camera):
    x, y, z = camera.rotation @ mean + camera.translation
    if z <= camera.near:
        raise ValueError("behind")
    scale = np.ones(2) if camera.orthographic else np.ones(2) / z
    to_image = (camera.focal * scale)[:, None] * camera.rotation[:2]
    return to_image @ covariance @ to_image.T


def _ignores_the_turn(mean, covariance, camera):
    x, y, z = camera.rotation @ mean + camera.translation
    if z <= camera.near:
        raise ValueError("behind")
    turned = camera.rotation.T @ covariance @ camera.rotation
    return project_cov(mean, turned, camera)


def _sees_behind(mean, covariance, camera):
    x, y, z = camera.rotation @ mean + camera.translation
    far = Camera(camera.rotation, camera.translation, camera.focal, camera.centre, camera.height,
                 camera.width, 1e-9, camera.orthographic)  # fmt: skip
    return project_cov(mean, covariance, far) if z > 0 else np.eye(2)


def _check_project(candidate):
    rng = np.random.default_rng(2)
    half = rng.normal(size=(3, 3))
    sizes = {"height": 64, "width": 64}
    on = "with an orthographic camera"
    flat = Camera.look_at((3, -4, 2), (0, 0, 0), extent=4.0, orthographic=True, **sizes)
    rows = flat.focal[:, None] * flat.rotation[:2]
    found = call(candidate, np.zeros(3), half @ half.T, flat, on=on)
    expect_close(found, rows @ half @ half.T @ rows.T, f"{on} the map is linear: F R Sigma R' F'")
    camera = Camera.look_at((0, -6, 0), (0, 0, 0), field_of_view=50, **sizes)
    on = "for a splat behind the camera"
    expect_raises(
        ValueError, candidate, np.array([0.0, -7.0, 0.0]), np.eye(3), camera,
        says=f"{on} there is no image",
    )  # fmt: skip
    on = "for a small splat off the axis"
    mean, small = np.array([1.8, 0.0, 1.2]), (0.1 / np.linalg.norm(half)) ** 2 * half @ half.T
    draws = rng.standard_normal((20000, 3)) @ np.linalg.cholesky(small).T
    pixels, _ = camera.project_points(mean + np.vstack([draws, -draws]))
    want = np.cov(pixels.T)
    found = np.asarray(call(candidate, mean, small, camera, on=on), dtype=float)
    expect(
        found.shape == (2, 2) and np.linalg.norm(found - want) < 0.04 * np.linalg.norm(want),
        f"{on} 40000 projected points have another covariance: the image point also moves when the "
        "depth changes (third column of J)",
    )


PROJECT_COV = Exercise(
    "splat_core/project_cov",
    title="Project a covariance, and test it by sampling",
    task=r"""
    Write `project_cov(mean, covariance, camera)`: the covariance in pixels, shape (2, 2), of a
    splat of space. The camera has `rotation` $R$, `translation` $t$, `focal` $(f_x, f_y)$, `near`
    and `orthographic`; with $(x, y, z) = R\,\mathrm{mean} + t$ and $J$ the derivative of the image
    point $(f_x x / z, f_y y / z)$ in $(x, y, z)$, it is $J R\, \Sigma\, R^\top J^\top$. An
    orthographic camera does not divide by $z$. Refuse $z \le$ `near` with a ValueError.
    How would you find out, without a formula, how large a splat may be?
    """,
    function="project_cov",
    check=_check_project,
    solution=project_cov,
    wrong=[
        Wrong("ignores depth", _ignores_depth, says="third column of J"),
        Wrong("turns twice", _ignores_the_turn, says="the map is linear"),
        Wrong("looks behind", _sees_behind, says="there is no image"),
    ],
    hints=[
        "J has the rows (fx/z, 0, -fx x/z^2) and (0, fy/z, -fy y/z^2).",
        "Draw points of the splat, project them, and compare their covariance with yours.",
    ],
)

EXERCISES = [OVER, SHAPE_SLOPES, PROJECT_COV]
