"""Exercises of the deep random features lab: line plus noise, the error's formula, a boosted layer.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

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
from kernellab.methods.random_features import deep_random_features as methods

# --- 1. A line plus noise -------------------------------------------------------------------------

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def gauss_coeffs(act, r):
    """Return slope and variance of the rest of act(u), u ~ N(0, r)."""
    u = np.sqrt(r) * _NODES
    s = act(u)
    mean = _WEIGHTS @ s
    slope = _WEIGHTS @ (u * s) / r
    return slope, _WEIGHTS @ s**2 - mean**2 - r * slope**2


def _unit_variance(act, r):
    return gauss_coeffs(act, 1.0)


def _slope_not_divided(act, r):
    u = np.sqrt(r) * _NODES
    s = act(u)
    slope = _WEIGHTS @ (u * s)
    return slope, _WEIGHTS @ s**2 - (_WEIGHTS @ s) ** 2 - r * slope**2


def _rest_forgets_r(act, r):
    u = np.sqrt(r) * _NODES
    s = act(u)
    slope = _WEIGHTS @ (u * s) / r
    return slope, _WEIGHTS @ s**2 - (_WEIGHTS @ s) ** 2 - slope**2


def _rest_keeps_the_mean(act, r):
    u = np.sqrt(r) * _NODES
    s = act(u)
    slope = _WEIGHTS @ (u * s) / r
    return slope, _WEIGHTS @ s**2 - r * slope**2


def _pair(got, on):
    if not (isinstance(got, tuple) and len(got) == 2):
        raise Refused(f"{on}, return two numbers, kappa1 and kappa*^2; you return {describe(got)}")
    for value in got:
        expect_shape(value, (), f"{on}, kappa1 and kappa*^2 are numbers")
    return got


def _check_gauss_coeffs(candidate):
    def ask(act, r, on):
        return _pair(call(candidate, act, r, on=on), on)

    on = "for s(u) = u and r = 1"
    slope, rest = ask(lambda u: u, 1.0, on)
    expect_close(slope, 1.0, f"{on}, the line through the identity has slope 1", rtol=1e-3)
    expect_close(rest, 0.0, f"{on}, nothing is left over", atol=1e-6)

    on = "for s(u) = u and r = 4"
    slope, rest = ask(lambda u: u, 4.0, on)
    expect(
        not np.isclose(slope, 4.0),
        f"{on}, your slope is E[u s(u)]; the best slope is that divided by r, which is 1",
    )
    expect_close(slope, 1.0, f"{on}, the slope is 1 whatever r is", rtol=1e-3)
    expect(
        not np.isclose(rest, 3.0),
        f"{on}, your rest is 3: the line explains r kappa1^2 of the variance, not kappa1^2",
    )
    expect_close(rest, 0.0, f"{on}, nothing is left over", atol=1e-6)

    on = "for s(u) = u^2 and r = 2"
    slope, rest = ask(lambda u: u**2, 2.0, on)
    expect_close(slope, 0.0, f"{on}, an even function has no slope", atol=1e-6)
    expect(
        not np.isclose(rest, 12.0, rtol=1e-3),
        f"{on}, your rest is E[s^2] = 12: the constant E[s] = 2 belongs to the line, take its "
        "square away",
    )
    expect(
        not np.isclose(rest, 2.0, rtol=1e-3),
        f"{on}, your rest is that of r = 1: draw u with variance r, u = sqrt(r) z",
    )
    expect_close(rest, 8.0, f"{on}, the rest has the variance of u^2, 2 r^2", rtol=1e-3)

    on = "for relu and r = 3"
    slope, rest = ask(lambda u: np.maximum(u, 0.0), 3.0, on)
    expect_close(slope, 0.5, f"{on}, half of the inputs pass with slope 1", rtol=0.02)
    expect_close(rest, 3 * (0.25 - 0.5 / np.pi), f"{on}, r (1/4 - 1/(2 pi)) is left", rtol=0.05)

    on = "for tanh and r = 2"
    want = methods.gaussian_coefficients(np.tanh, 2.0)[1:]
    expect_close(ask(np.tanh, 2.0, on), want, on, rtol=5e-3)


GAUSS_COEFFS = Exercise(
    "deep_random_features/gauss_coeffs",
    title="What an activation looks like to a Gaussian",
    task=r"""
    Write `gauss_coeffs(act, r)` for a function `act` $= s$ of an array and a variance `r`. With
    $u \sim \mathcal N(0, r)$, return the pair
    $$\kappa_1 = \frac{\mathbb E[u\, s(u)]}{r}, \qquad
    \kappa_*^2 = \mathbb E[s(u)^2] - \mathbb E[s(u)]^2 - r \kappa_1^2,$$
    the slope of the best line and the variance of what the line leaves over. Compute the
    expectations numerically, good to three digits for smooth $s$.
    """,
    function="gauss_coeffs",
    check=_check_gauss_coeffs,
    solution=gauss_coeffs,
    wrong=[
        Wrong("takes variance 1", _unit_variance, says="that of r = 1"),
        Wrong("does not divide the slope", _slope_not_divided, says="divided by r"),
        Wrong("explains too little", _rest_forgets_r, says="not kappa1^2"),
        Wrong("keeps the mean", _rest_keeps_the_mean, says="take its square away"),
    ],
    hints=[
        "z, w = np.polynomial.hermite_e.hermegauss(100) gives nodes and weights for exp(-z^2/2).",
        "Divide w by its sum; then w @ f(np.sqrt(r) * z) is E f(u).",
    ],
)


# --- 2. The test error without a test -------------------------------------------------------------


def _kappa(values, n, lam):
    def excess(kappa):
        return np.sum(values / (values + kappa)) + lam / kappa - n

    return brentq(excess, lam / n * (1 - 1e-9), (values.sum() + lam) / n * (1 + 1e-9), xtol=1e-14)


def _formula(kappa_of, top_noise=True, power=2, bias_power=2):
    """The formula with one of its parts replaced."""

    def det_equiv_error(omega, theta, n, lam, noise):
        values, vectors = np.linalg.eigh(omega)
        kappa = kappa_of(values, n, lam)
        energy = (vectors.T @ theta) ** 2 * values
        bias = np.sum(energy * (kappa / (values + kappa)) ** bias_power)
        spread = np.sum((values / (values + kappa)) ** power) if power else 0.0
        return (bias + noise * top_noise) / (1 - spread / n)

    return det_equiv_error


_plain_ridge = _formula(lambda values, n, lam: lam / n)
_no_noise = _formula(_kappa, top_noise=False)
_no_denominator = _formula(_kappa, power=0)
_first_power = _formula(_kappa, power=1)
_bias_once = _formula(_kappa, bias_power=1)


def det_equiv_error(omega, theta, n, lam, noise):
    """Return the expected squared test error of ridge regression on Gaussian features."""
    values, vectors = np.linalg.eigh(omega)
    kappa = _kappa(values, n, lam)
    kept = values / (values + kappa)
    bias = np.sum((vectors.T @ theta) ** 2 * values * (1 - kept) ** 2)
    return (bias + noise) / (1 - np.sum(kept**2) / n)


def _check_det_equiv_error(candidate):
    rng = np.random.default_rng(0)

    def ask(omega, theta, n, lam, noise, on):
        got = call(candidate, omega, theta, n, lam, noise, on=on)
        expect_shape(got, (), f"{on}, the error is one number")
        return float(got)

    k = 30
    theta = rng.standard_normal(k)
    omega = np.diag(1.0 / np.arange(1, k + 1))

    on = "for theta = 0 and noise variance 2"
    got = ask(np.eye(4), np.zeros(4), 10_000_000, 1.0, 2.0, on + ", with ten million samples")
    expect(
        got > 1e-3,
        f"{on}, the test label itself is noisy: with all samples in the world the error stays at 2",
    )
    expect_close(got, 2.0, f"{on}, only the noise of the test label is left", rtol=1e-3)

    on = "for Omega = I, k = n = 30, lam = 3"
    # 30 = 30/(1 + kappa) + 3/kappa: 10 kappa^2 = 1 + kappa.
    kappa = (1 + np.sqrt(41)) / 20
    bias, spread = np.sum(theta**2) * (kappa / (1 + kappa)) ** 2, 1 / (1 + kappa) ** 2
    want = (bias + 0.5) / (1 - spread)
    got = ask(np.eye(k), theta, k, 3.0, 0.5, on)
    expect(
        not np.isclose(got, _plain_ridge(np.eye(k), theta, k, 3.0, 0.5), rtol=1e-4),
        f"{on}, your kappa is lam / n; the sample adds its own ridge, solve the equation for kappa",
    )
    expect(
        not np.isclose(got, _no_denominator(np.eye(k), theta, k, 3.0, 0.5), rtol=1e-4),
        f"{on}, you leave out the division by 1 - df2/n: the fit's own fluctuations are missing",
    )
    expect(
        not np.isclose(got, _first_power(np.eye(k), theta, k, 3.0, 0.5), rtol=1e-4),
        f"{on}, df2 sums the squares of l/(l + kappa); you sum the first powers",
    )
    expect(
        not np.isclose(got, _bias_once(np.eye(k), theta, k, 3.0, 0.5), rtol=1e-4),
        f"{on}, the bias has kappa^2 / (l + kappa)^2: what is lost counts squared",
    )
    expect_close(got, want, on, rtol=1e-5)

    rotation, _ = np.linalg.qr(rng.standard_normal((k, k)))
    for n, lam in ((10, 0.1), (200, 1.0)):
        on = f"for eigenvalues 1, 1/2, ... 1/30 in a rotated basis, n = {n}, lam = {lam}"
        turned = rotation @ omega @ rotation.T
        want = methods.RidgeFormula(turned, rotation @ theta, 0.3).error(n, lam)
        got = ask(turned, rotation @ theta, n, lam, 0.3, on)
        expect_close(got, want, on, rtol=1e-5)


DET_EQUIV_ERROR = Exercise(
    "deep_random_features/det_equiv_error",
    title="The test error without a test",
    task=r"""
    Write `det_equiv_error(omega, theta, n, lam, noise)`: the expected error of ridge regression
    with penalty `lam` on `n` Gaussian samples with covariance `omega` $= \Omega$ (k by k), where
    $y = \theta \cdot \phi$ plus noise of variance `noise`. Solve
    $$n = \sum_i \frac{l_i}{l_i + \kappa} + \frac{\text{lam}}{\kappa}$$
    for $\kappa$ over the eigenvalues $l_i$ of $\Omega$, and return
    $$\frac{\sum_i (v_i \cdot \theta)^2\, l_i\, \kappa^2 / (l_i + \kappa)^2 + \text{noise}}
    {1 - \frac1n \sum_i l_i^2 / (l_i + \kappa)^2},$$
    with $v_i$ the eigenvectors.
    """,
    function="det_equiv_error",
    check=_check_det_equiv_error,
    solution=det_equiv_error,
    wrong=[
        Wrong("takes kappa = lam / n", _plain_ridge, says="adds its own ridge"),
        Wrong("forgets the noise", _no_noise, says="the test label itself is noisy"),
        Wrong("never divides", _no_denominator, says="the division by 1 - df2/n"),
        Wrong("sums first powers", _first_power, says="the first powers"),
        Wrong("loses the square of the bias", _bias_once, says="counts squared"),
    ],
    hints=[
        "np.linalg.eigh(omega) gives l and the v_i as columns.",
        "scipy.optimize.brentq finds kappa between lam / n and (l.sum() + lam) / n.",
    ],
)


# --- 3. One boosted layer -------------------------------------------------------------------------


def boost_layer(F, Phi, W, y, lam):
    """Return Phi + F Delta, Delta the sandwiched least-squares solution."""
    R = y - Phi @ W
    s, U = np.linalg.eigh(F.T @ F)
    g, V = np.linalg.eigh(W @ W.T)
    inner = U.T @ F.T @ R @ W.T @ V
    return Phi + F @ (U @ (inner / (np.outer(s, g) + lam * len(y))) @ V.T)


def _refits_from_scratch(F, Phi, W, y, lam):
    return Phi + boost_layer(F, np.zeros_like(Phi), W, y, lam)


def _forgets_n(F, Phi, W, y, lam):
    return boost_layer(F, Phi, W, y, lam / len(y))


def _backwards(F, Phi, W, y, lam):
    return 2 * Phi - boost_layer(F, Phi, W, y, lam)


def _replaces(F, Phi, W, y, lam):
    return boost_layer(F, Phi, W, y, lam) - Phi


def _fits_the_gradient(F, Phi, W, y, lam):
    gradient = (y - Phi @ W) @ W.T
    return Phi + F @ np.linalg.solve(F.T @ F + lam * len(y) * np.eye(F.shape[1]), F.T @ gradient)


def _check_boost_layer(candidate):
    rng = np.random.default_rng(1)
    F, Phi = rng.standard_normal((30, 6)), rng.standard_normal((30, 4))
    W, y = rng.standard_normal((4, 2)), rng.standard_normal((30, 2))

    on = "with a huge penalty, lam = 1e12"
    got = call(candidate, F, Phi, W, y, 1e12, on=on)
    expect_shape(got, (30, 4), "the new representation has the shape of Phi")
    expect(
        not np.allclose(got, 0.0, atol=1e-6),
        f"{on}, you return 0: add F Delta to Phi, do not replace it",
    )
    expect_close(got, Phi, f"{on}, Delta is 0 and Phi stays as it is", rtol=1e-6, atol=1e-6)

    on = "with lam = 0.1"
    got = np.asarray(call(candidate, F, Phi, W, y, 0.1, on=on))
    expect_shape(got, (30, 4), "the new representation has the shape of Phi")
    mistakes = {
        _refits_from_scratch: "you fit y itself; fit the residual y - Phi W, Phi knows the rest",
        _forgets_n: "the loss is a mean over N = 30 rows: the penalty in the sum is lam N",
        _backwards: "the training loss rises: you move against the residual",
        _fits_the_gradient: "that is ridge regression of R W^T on F; a step along it must still be "
        "scaled, while the sandwich divides by S_i G_j + lam N",
    }
    for wrong, sentence in mistakes.items():
        expect(not np.allclose(got, wrong(F, Phi, W, y, 0.1)), f"{on}, {sentence}")
    before, after = (np.mean((y - phi @ W) ** 2) for phi in (Phi, got))
    expect(after <= before, f"{on}, the training loss rises from {before:.3g} to {after:.3g}")

    # All entries of Delta in one vector: F Delta W = (W^T kron F) vec Delta.
    tall = np.kron(W.T, F)
    system = tall.T @ tall + 0.1 * 30 * np.eye(24)
    delta = np.linalg.solve(system, tall.T @ (y - Phi @ W).T.ravel()).reshape(4, 6).T
    expect_close(
        got, Phi + F @ delta, f"{on}, against the full linear system", rtol=1e-6, atol=1e-8
    )

    on = "with more columns in F than rows, and one output"
    F, W, y = rng.standard_normal((30, 50)), W[:, :1], y[:, :1]
    got = np.asarray(call(candidate, F, Phi, W, y, 1e-3, on=on))
    expect_close(got, boost_layer(F, Phi, W, y, 1e-3), on, rtol=1e-5, atol=1e-7)


BOOST_LAYER = Exercise(
    "deep_random_features/boost_layer",
    title="Move the representation, in closed form",
    task=r"""
    Write `boost_layer(F, Phi, W, y, lam)`: one round of boosting. `Phi` (N, D) is the
    representation, `W` (D, c) its head, `y` (N, c) the targets, `F` (N, p) fresh random features.
    With $R = y - \Phi W$, find
    $$\Delta = \arg\min \tfrac1N \lVert R - F \Delta W \rVert^2
    + \text{lam}\, \lVert\Delta\rVert^2$$
    and return $\Phi + F\Delta$. Either solve for all $pD$ entries at once, or use
    $\Delta = U\big[(U^\top F^\top R W^\top V)_{ij} / (S_i G_j + \text{lam}\, N)\big] V^\top$ with
    $F^\top F = U S U^\top$ and $W W^\top = V G V^\top$.
    """,
    function="boost_layer",
    check=_check_boost_layer,
    solution=boost_layer,
    wrong=[
        Wrong("fits y, not the residual", _refits_from_scratch, says="fit the residual"),
        Wrong("forgets the N of the penalty", _forgets_n, says="lam N"),
        Wrong("moves against the residual", _backwards, says="against the residual"),
        Wrong("replaces the representation", _replaces, says="do not replace it"),
        Wrong("fits the gradient only", _fits_the_gradient, says="must still be scaled"),
    ],
    hints=[
        "s, U = np.linalg.eigh(F.T @ F) and g, V = np.linalg.eigh(W @ W.T).",
        "np.outer(s, g) + lam * len(y) is the matrix to divide by, entry by entry.",
    ],
)


EXERCISES = (GAUSS_COEFFS, DET_EQUIV_ERROR, BOOST_LAYER)
