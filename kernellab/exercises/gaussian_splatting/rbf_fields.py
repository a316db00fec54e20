"""Exercises of the radial fields lab: weighted k-means, a Laplacian, and harmonics of a kernel.

Each has a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.lab.exercises import Exercise, Wrong, call, expect, expect_close, expect_shape

# --- 1. Weighted k-means --------------------------------------------------------------------------


def kmeans_step(points, weights, centres):
    """Return the centres (k, d) after one step of weighted k-means."""
    gaps = np.sum((points[:, None] - centres) ** 2, axis=2)
    label, moved = gaps.argmin(axis=1), centres.copy()
    for i in range(len(centres)):
        mass = weights[label == i].sum()
        if mass > 0:
            moved[i] = weights[label == i] @ points[label == i] / mass
    return moved


def _ignores_weights(points, weights, centres):
    return kmeans_step(points, np.ones(len(points)), centres)


def _divides_by_count(points, weights, centres):
    label = np.sum((points[:, None] - centres) ** 2, axis=2).argmin(axis=1)
    moved = centres.copy()
    for i in range(len(centres)):
        if np.any(label == i):
            moved[i] = weights[label == i] @ points[label == i] / np.sum(label == i)
    return moved


def _lets_empty_go(points, weights, centres):
    label = np.sum((points[:, None] - centres) ** 2, axis=2).argmin(axis=1)
    with np.errstate(all="ignore"):
        return np.array(
            [
                weights[label == i] @ points[label == i] / weights[label == i].sum()
                for i in range(len(centres))
            ]
        )


def _weights_distances(points, weights, centres):
    label = np.sum(np.abs(points[:, None] - centres), axis=2).argmin(axis=1)
    moved = centres.copy()
    for i in range(len(centres)):
        mass = weights[label == i].sum()
        if mass > 0:
            moved[i] = weights[label == i] @ points[label == i] / mass
    return moved


def _check_kmeans_step(candidate):
    points = np.array([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0], [12.0, 0.0]])
    centres = np.array([[0.3, 0.0], [11.0, 0.0]])
    on = "with two groups on a line"
    found = call(candidate, points, np.array([3.0, 2, 1, 1]), centres, on=on)
    expect_shape(found, (2, 2), f"{on}, one row a centre")
    expect(
        not np.allclose(np.asarray(found), [[0.5, 0], [11, 0]]),
        f"{on} and weights 3, 2, 1, 1 you return the plain means; a point of weight 3 counts as "
        "three points",
    )
    expect_close(
        found,
        np.array([[0.4, 0], [11, 0]]),
        f"{on}, a weighted mean is sum w x / sum w: divide by the weights, not by the count",
    )
    on = "with a centre that nobody chose"
    far = np.array([[0.4, 0.0], [11.0, 0.0], [50.0, 50.0]])
    found = np.asarray(call(candidate, points, np.ones(4), far, on=on), dtype=float)
    expect(
        bool(np.all(np.isfinite(found))) and np.allclose(found[2], far[2]),
        f"{on} that centre must stay where it is: its mean would be 0/0",
    )
    on = "with 60 points in the plane"
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=(60, 2)), rng.random(60)
    weights[::5] = 0
    start = points[[1, 2, 3, 4, 6, 7]] + 0.2
    found = call(candidate, points, weights, start, on=on)
    expect_close(
        found,
        kmeans_step(points, weights, start),
        f"{on}, nearest is meant in Euclid's distance, the one that means make small",
    )


KMEANS_STEP = Exercise(
    "rbf_fields/kmeans_step",
    title="One step of weighted k-means",
    task=r"""
    `points` $x_p$ `(n, d)` have `weights` $w_p \ge 0$ `(n,)`. Write
    `kmeans_step(points, weights, centres)`: give each point to its nearest centre (Euclid's
    distance), then move each centre to the weighted mean of its points,
    $$c_i = \frac{\sum_{p \in i} w_p x_p}{\sum_{p \in i} w_p}.$$
    A centre whose points have no weight stays. Return the new centres `(k, d)`.
    """,
    function="kmeans_step",
    check=_check_kmeans_step,
    solution=kmeans_step,
    wrong=[
        Wrong("ignores the weights", _ignores_weights, says="plain means"),
        Wrong("divides by the count", _divides_by_count, says="divide by the weights"),
        Wrong("empty cluster", _lets_empty_go, says="must stay where it is"),
        Wrong("city-block distance", _weights_distances, says="Euclid's distance"),
    ],
    hints=[
        "np.argmin of the squared distances along the centres gives each point's label.",
        "weights[label == i] @ points[label == i] is the weighted sum of cluster i.",
    ],
)

# --- 2. The Laplacian of a Gaussian ---------------------------------------------------------------


def gauss_laplacian(x, centre, widths):
    """Return the Laplacian of exp(-sum_a (x_a - c_a)^2/(2 s_a^2)) at the rows of x: (n,)."""
    z = (x - centre) / widths
    return np.exp(-0.5 * np.sum(z**2, axis=1)) * np.sum((z**2 - 1) / widths**2, axis=1)


def _forgets_the_trace(x, centre, widths):
    z = (x - centre) / widths
    return np.exp(-0.5 * np.sum(z**2, axis=1)) * np.sum(z**2 / widths**2, axis=1)


def _one_dimension(x, centre, widths):
    z = (x - centre) / widths
    return np.exp(-0.5 * np.sum(z**2, axis=1)) * (np.sum(z**2 / widths**2, axis=1) - 1)


def _mean_width(x, centre, widths):
    return gauss_laplacian(x, centre, np.full_like(widths, np.mean(widths)))


def _slope(x, centre, widths):
    z = (x - centre) / widths
    return -np.exp(-0.5 * np.sum(z**2, axis=1)) * np.sum(z / widths, axis=1)


def _check_gauss_laplacian(candidate):
    centre, widths = np.array([0.2, -0.1]), np.array([0.5, 0.5])
    aside = centre + np.array([[0.5, 0.0]])
    found = call(candidate, aside, centre, widths, on="one width beside the centre")
    expect(
        not np.allclose(found, _slope(aside, centre, widths)),
        "you return the sum of the slopes; the Laplacian takes second derivatives",
    )
    on = "at the centre, widths 0.5 and 0.5"
    found = call(candidate, centre[None], centre, widths, on=on)
    expect_shape(found, (1,), f"{on}, one number a point")
    expect(
        not np.isclose(float(np.asarray(found)[0]), 0.0),
        f"{on} you return 0, but a hill's top bends down: the term -1/s^2 is missing",
    )
    expect_close(found, np.array([-8.0]), f"{on}, each axis bends by -1/s^2 = -4, together -8")
    on = "with widths 0.3 and 0.8"
    widths, x = np.array([0.3, 0.8]), np.random.default_rng(0).normal(size=(7, 2))
    found = call(candidate, x, centre, widths, on=on)
    expect_close(
        found,
        gauss_laplacian(x, centre, widths),
        f"{on}, every axis has its own width: sum_a (z_a^2 - 1)/s_a^2, times the Gaussian",
    )


GAUSS_LAPLACIAN = Exercise(
    "rbf_fields/gauss_laplacian",
    title="How a Gaussian bends",
    task=r"""
    Write `gauss_laplacian(x, centre, widths)`: at the rows of `x` `(n, d)` the Laplacian
    $\sum_a \partial^2 / \partial x_a^2$ of
    $$\varphi(x) = \exp\Big(-\sum_a \frac{(x_a - c_a)^2}{2 s_a^2}\Big),$$
    with $c$ = `centre` and $s$ = `widths`, both `(d,)`. Return `(n,)`.
    """,
    function="gauss_laplacian",
    check=_check_gauss_laplacian,
    solution=gauss_laplacian,
    wrong=[
        Wrong("forgets the trace", _forgets_the_trace, says="the term -1/s^2 is missing"),
        Wrong("slopes", _slope, says="the sum of the slopes"),
        Wrong("subtracts 1", _one_dimension, says="together -8"),
        Wrong("one width", _mean_width, says="every axis has its own width"),
    ],
    hints=[
        "With z = (x - c)/s, the slope along axis a is -z_a/s_a times the Gaussian.",
        "Differentiate once more: (z_a^2 - 1)/s_a^2 times the Gaussian.",
    ],
)

# --- 3. Several features out of one kernel --------------------------------------------------------


def harmonic_rbf(phi, freqs):
    """Return sin(m_l phi)/m_l: phi's shape + (L,)."""
    return np.sin(np.asarray(phi)[..., None] * freqs) / freqs


def _not_scaled(phi, freqs):
    return np.sin(np.asarray(phi)[..., None] * freqs)


def _outside(phi, freqs):
    return freqs * np.sin(np.asarray(phi)[..., None]) / freqs


def _turns(phi, freqs):
    return np.sin(2 * np.pi * np.asarray(phi)[..., None] * freqs) / (2 * np.pi * freqs)


def _flat(phi, freqs):
    return harmonic_rbf(np.ravel(phi), freqs)


def _check_harmonic_rbf(candidate):
    phi = np.random.default_rng(0).random((5, 4))
    on = "for phi (5, 4) and three small frequencies"
    small = np.array([1e-4, 1e-3, 1e-2])
    found = call(candidate, phi, small, on=on)
    expect_shape(found, (5, 4, 3), f"{on}, the frequencies are a new last axis")
    expect(
        not np.allclose(found, np.sin(phi)[..., None]),
        f"{on} your features are all alike: the frequency belongs inside the sine",
    )
    expect(
        np.allclose(found, phi[..., None], atol=1e-3),
        f"{on} sin(m phi)/m must be almost phi; do you divide by m?",
    )
    on = "for frequencies 1, 5 and 25"
    freqs = np.array([1.0, 5.0, 25.0])
    found = call(candidate, phi, freqs, on=on)
    expect_close(
        found, np.sin(phi[..., None] * freqs) / freqs, f"{on}, m phi is an angle in radians"
    )


HARMONIC_RBF = Exercise(
    "rbf_fields/harmonic_rbf",
    title="Several features out of one kernel",
    task=r"""
    Write `harmonic_rbf(phi, freqs)`: for kernel values `phi` of any shape and frequencies $m_l > 0$
    `(L,)` return $\sin(m_l \varphi)/m_l$, with the frequencies as a new last axis. Then plot the
    singular values of the result for all $m_l$ small, and for $m_l$ from 0.1 to 100: how many
    different features does one kernel give?
    """,
    function="harmonic_rbf",
    check=_check_harmonic_rbf,
    solution=harmonic_rbf,
    wrong=[
        Wrong("does not divide", _not_scaled, says="do you divide by m"),
        Wrong("frequency outside", _outside, says="belongs inside the sine"),
        Wrong("counts turns", _turns, says="an angle in radians"),
        Wrong("flattens", _flat, says="new last axis"),
    ],
    hints=["phi[..., None] * freqs multiplies every value by every frequency."],
)


EXERCISES = (KMEANS_STEP, GAUSS_LAPLACIAN, HARMONIC_RBF)
