"""Exercises of the ridge Gaussian worlds lab: a mean over a spectrum, a code's error, a test.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from kernellab.lab.exercises import Exercise, Wrong, call, expect, expect_close
from kernellab.methods.ridge_regression import ridge_gaussian_worlds as methods

# --- 1. A mean over the Marchenko-Pastur law ----------------------------------------------------


def mp_moment(f, lam):
    """Return the mean of f over the Marchenko-Pastur law with ratio lam."""
    a = (np.arange(4000) + 0.5) * np.pi / 4000
    s = 1 + lam + 2 * np.sqrt(lam) * np.cos(a)
    mean = np.mean(f(s) * 2 * np.sin(a) ** 2 / s)
    return mean + (1 - 1 / lam) * f(np.zeros(1))[0] if lam > 1 else mean


def _no_atom(f, lam):
    a = (np.arange(4000) + 0.5) * np.pi / 4000
    s = 1 + lam + 2 * np.sqrt(lam) * np.cos(a)
    return np.mean(f(s) * 2 * np.sin(a) ** 2 / s)


def _forgets_one_over_s(f, lam):
    a = (np.arange(4000) + 0.5) * np.pi / 4000
    s = 1 + lam + 2 * np.sqrt(lam) * np.cos(a)
    return np.mean(f(s) * 2 * np.sin(a) ** 2)


def _semicircle(f, lam):
    a = (np.arange(4000) + 0.5) * np.pi / 4000
    return np.mean(f(1 + np.sqrt(lam) * 2 * np.cos(a)) * 2 * np.sin(a) ** 2)


def _check_mp_moment(candidate):
    for lam in (0.2, 0.8):
        one = call(candidate, np.ones_like, lam, on=f"with f = 1 and lam = {lam}")
        expect_close(
            one,
            1,
            f"with f = 1 and lam = {lam} the weights must add up to 1",
            rtol=1e-3,
        )
        mean = call(candidate, lambda s: s, lam, on=f"with f = s and lam = {lam}")
        expect_close(
            mean,
            1,
            f"with f = s and lam = {lam} the mean eigenvalue is 1 (does the density keep its "
            "factor 1/s?)",
            rtol=1e-3,
        )
        square = call(candidate, lambda s: s**2, lam, on=f"with f = s^2 and lam = {lam}")
        expect_close(
            square, 1 + lam, f"with f = s^2 and lam = {lam} the mean is 1 + lam", rtol=1e-3
        )
        inverse = call(candidate, lambda s: 1 / s, lam, on=f"with f = 1/s and lam = {lam}")
        expect_close(
            inverse,
            1 / (1 - lam),
            f"with f = 1/s and lam = {lam} the mean is 1/(1 - lam): small eigenvalues are more "
            "common than a half circle around 1 has them",
            rtol=1e-3,
        )
    one = call(candidate, np.ones_like, 2.0, on="with f = 1 and lam = 2")
    expect_close(
        one,
        1,
        "with f = 1 and lam = 2 half of the eigenvalues are exactly 0: fewer points than "
        "dimensions leave an atom of 1 - 1/lam there",
        rtol=1e-3,
    )
    plateau = call(candidate, lambda s: np.exp(-1e4 * s), 2.0, on="with f = exp(-10000 s), lam = 2")
    expect_close(
        plateau,
        0.5,
        "with f = exp(-10000 s) and lam = 2 only the zeros are left, half of all",
        rtol=1e-3,
    )


MP_MOMENT = Exercise(
    id="ridge_gaussian_worlds/mp_moment",
    title="Average over a spectrum you never computed",
    task="""
    For Gaussian inputs with $d/N = \\lambda$ the eigenvalues of $X^\\top X/N$ have the density
    $\\sqrt{(b - s)(s - a)} / (2\\pi\\lambda s)$ between $a = (1-\\sqrt\\lambda)^2$ and
    $b = (1+\\sqrt\\lambda)^2$; for $\\lambda > 1$ a share $1 - 1/\\lambda$ of them is 0.

    Return the mean of `f` over this law, to three digits. `f` takes and returns an array.
    """,
    function="mp_moment",
    check=_check_mp_moment,
    solution=mp_moment,
    wrong=[
        Wrong("forgets the zeros", _no_atom, says="atom"),
        Wrong("loses the factor 1/s", _forgets_one_over_s, says="factor 1/s"),
        Wrong("takes a half circle", _semicircle, says="half circle"),
    ],
    hints=[
        "$s = 1 + \\lambda + 2\\sqrt\\lambda\\cos\\alpha$ has weight $2\\sin^2\\alpha/(\\pi s)$.",
        "`np.mean` over a fine grid of angles is enough; at $\\lambda > 1$ add the zeros.",
    ],
)


# --- 2. The error of a one-bit code -------------------------------------------------------------


def sign_ae_error(B):
    """Return 1 - 2/(pi d) tr(B^T G^+ B) with G = (2/pi) arcsin(B B^T)."""
    cosines = np.clip(B @ B.T, -1, 1)
    np.fill_diagonal(cosines, 1)
    G = 2 / np.pi * np.arcsin(cosines)
    return 1 - 2 / (np.pi * B.shape[1]) * np.trace(B.T @ np.linalg.pinv(G, rcond=1e-10) @ B)


def _linear_codes(B):
    G = B @ B.T
    return 1 - 2 / (np.pi * B.shape[1]) * np.trace(B.T @ np.linalg.pinv(G, rcond=1e-10) @ B)


def _as_if_independent(B):
    return 1 - 2 / (np.pi * B.shape[1]) * np.trace(B.T @ B)


def _per_bit(B):
    return 1 - (1 - sign_ae_error(B)) * B.shape[1] / B.shape[0]


def _inverts(B):
    G = 2 / np.pi * np.arcsin(np.clip(B @ B.T, -1, 1))
    np.fill_diagonal(G, 1)
    return 1 - 2 / (np.pi * B.shape[1]) * np.trace(B.T @ np.linalg.inv(G) @ B)


def _check_sign_ae_error(candidate):
    close = {"rtol": 1e-6, "atol": 1e-8}
    got = call(candidate, np.eye(5), on="with B = I")
    expect_close(got, 1 - 2 / np.pi, "with B = I each coordinate costs 1 - 2/pi", **close)
    got = call(candidate, np.eye(6)[:2], on="with two orthonormal rows in six dimensions")
    expect_close(
        got,
        1 - 2 / np.pi / 3,
        "with two orthonormal rows in six dimensions four coordinates are lost altogether, so "
        "divide by d",
        **close,
    )
    pair = np.array([[1.0, 0.0], [1.0, 0.0]])
    got = call(candidate, pair, on="with the same row twice")
    expect_close(
        got,
        1 - 1 / np.pi,
        "with the same row twice the second bit says nothing new, and G is singular (a "
        "pseudo-inverse leaves it out)",
        **close,
    )
    for n, d in ((3, 4), (9, 4)):
        b = methods.random_encoder(n, d, n)
        got = call(candidate, b, on=f"with {n} random rows in {d} dimensions")
        expect_close(
            got,
            methods.autoencoder_risk(b),
            f"with {n} random rows in {d} dimensions signs are correlated, by (2/pi) arcsin of "
            "the rows' cosines",
            **close,
        )


SIGN_AE_ERROR = Exercise(
    id="ridge_gaussian_worlds/sign_ae_error",
    title="What can n bits say about d numbers?",
    task="""
    A Gaussian vector $x$ in $d$ dimensions is kept as the $n$ bits $\\mathrm{sign}(Bx)$; the rows
    of `B` (n, d) have length 1. Then $E[x\\,\\mathrm{sign}(Bx)^\\top] = \\sqrt{2/\\pi}\\,B^\\top$
    and $G = E[\\mathrm{sign}(Bx)\\,\\mathrm{sign}(Bx)^\\top] = \\tfrac{2}{\\pi}\\arcsin(BB^\\top)$.

    Return the least mean squared error a coordinate of any linear decoder,
    $1 - \\tfrac{2}{\\pi d}\\,\\mathrm{tr}(B^\\top G^{+} B)$. Rows may
    repeat, and $n$ may exceed $d$.
    """,
    function="sign_ae_error",
    check=_check_sign_ae_error,
    solution=sign_ae_error,
    wrong=[
        Wrong("treats the code as linear", _linear_codes, says="arcsin"),
        Wrong("takes the bits for independent", _as_if_independent, says="nothing new"),
        Wrong("divides by the bits", _per_bit, says="divide by d"),
        Wrong("inverts a singular matrix", _inverts, says="same row twice"),
    ],
    hints=[
        "`np.clip(B @ B.T, -1, 1)`, with 1 on the diagonal: rounding may leave [-1, 1].",
        "`np.linalg.pinv(G, rcond=1e-10)`.",
    ],
)


# --- 3. A test of the band ----------------------------------------------------------------------


def band_test(X, w, sigma):
    """Return whether the band |<w, x>| <= sigma looks Gaussian in mass and in spread."""
    margins = X @ w
    inside = np.abs(margins) <= sigma
    if not 2 / 3 <= inside.mean() / erf(sigma / np.sqrt(2)) <= 3 / 2:
        return False
    rest = X[inside] - np.outer(margins[inside], w)
    moments = np.linalg.eigvalsh(rest.T @ rest / inside.sum())[1:]  # the first belongs to w
    return bool(moments[0] >= 1 / 2 and moments[-1] <= 2)


def _mass_only(X, w, sigma):
    share = np.mean(np.abs(X @ w) <= sigma)
    return bool(2 / 3 <= share / erf(sigma / np.sqrt(2)) <= 3 / 2)


def _upper_bounds_only(X, w, sigma):
    margins = X @ w
    inside = np.abs(margins) <= sigma
    rest = X[inside] - np.outer(margins[inside], w)
    spread = np.linalg.eigvalsh(rest.T @ rest / max(inside.sum(), 1))[-1]
    return bool(inside.mean() / erf(sigma / np.sqrt(2)) <= 3 / 2 and spread <= 2)


def _keeps_the_normal(X, w, sigma):
    inside = np.abs(X @ w) <= sigma
    share = inside.mean() / erf(sigma / np.sqrt(2))
    moments = np.linalg.eigvalsh(X[inside].T @ X[inside] / max(inside.sum(), 1))
    return bool(2 / 3 <= share <= 3 / 2 and moments[0] >= 1 / 2 and moments[-1] <= 2)


def _whole_sample(X, w, sigma):
    margins = X @ w
    share = np.mean(np.abs(margins) <= sigma) / erf(sigma / np.sqrt(2))
    rest = X - np.outer(margins, w)
    moments = np.linalg.eigvalsh(rest.T @ rest / len(X))[1:]
    return bool(2 / 3 <= share <= 3 / 2 and moments[0] >= 1 / 2 and moments[-1] <= 2)


def _check_band_test(candidate):
    rng = np.random.default_rng(6)
    w = methods.unit_rows(rng.standard_normal((1, 5)))[0]
    across = methods.orthogonal_basis(w)[:, 0]
    for sigma in (0.2, 0.5):
        x = rng.standard_normal((20_000, 5))
        got = call(candidate, x, w, sigma, on=f"on Gaussian points with sigma = {sigma}")
        expect(
            bool(got),
            f"on Gaussian points with sigma = {sigma} you return False; the moments are those "
            "orthogonal to w (along w a thin band has almost none)",
        )
    wide = rng.standard_normal((20_000, 5))
    outside = np.abs(wide @ w) > 0.2
    wide[outside] += np.outer(wide[outside] @ across, across)
    got = call(candidate, wide, w, 0.2, on="with a band as it should be")
    expect(
        bool(got),
        "with a Gaussian band and more spread outside it you return False: only the moments "
        "inside the band count",
    )
    slab = methods.plant_slab(rng.standard_normal((20_000, 5)), w, 0.3, rng)
    got = call(candidate, slab, w, 0.2, on="with 30% of the points in a slab at the boundary")
    expect(not got, "with 30% of the points in a slab at the boundary you still return True")
    few = methods.plant_slab(rng.standard_normal((20_000, 5)), w, 0.04, rng, reach=4.0)
    got = call(candidate, few, w, 0.2, on="with a small slab far out")
    expect(
        not got,
        "a slab of 4%, but far out, leaves the mass of the band and of the whole sample "
        "unsuspicious; only the second moments inside the band show it",
    )
    empty = rng.standard_normal((20_000, 5))
    empty += np.outer(np.sign(empty @ w) * 0.5, w)
    got = call(candidate, empty, w, 0.2, on="with no point in the band")
    expect(not got, "with no point in the band you return True; it needs a lower bound, too")
    flat = rng.standard_normal((20_000, 5))
    inside = np.abs(flat @ w) <= 0.2
    flat[inside] -= np.outer(flat[inside] @ across, across)
    got = call(candidate, flat, w, 0.2, on="with a band without any spread in one direction")
    expect(
        not got,
        "with no spread at all in one direction of the band you return True; the least second "
        "moment needs a lower bound, too",
    )


BAND_TEST = Exercise(
    id="ridge_gaussian_worlds/band_test",
    title="Distrust your sample",
    task="""
    A learner offers the halfspace with unit normal `w` (d,) for the points `X` (N, d). Before you
    believe it, look at the band $|\\langle w, x\\rangle| \\le \\sigma$. Return True only if

    - the share of points inside is within a factor 3/2 of
      $\\mathrm{erf}(\\sigma/\\sqrt2)$, the Gaussian one;
    - inside, the second moment in every direction orthogonal to `w` lies between 1/2 and 2.
    """,
    function="band_test",
    check=_check_band_test,
    solution=band_test,
    wrong=[
        Wrong("looks at the mass only", _mass_only, says="only the second moments"),
        Wrong("bounds from above only", _upper_bounds_only, says="lower bound"),
        Wrong("keeps the direction of w", _keeps_the_normal, says="orthogonal to w"),
        Wrong("takes the moments of all points", _whole_sample, says="inside the band count"),
    ],
    hints=[
        "`rest = X[inside] - np.outer(X[inside] @ w, w)` has no component along w.",
        "`np.linalg.eigvalsh` then returns one eigenvalue 0 (for w) and the d - 1 that you want.",
    ],
)

EXERCISES = (MP_MOMENT, SIGN_AE_ERROR, BAND_TEST)
