"""Exercises of the cloud metrics lab: an unbiased MMD, a Frechet distance, precision and recall.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import sqrtm

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

# --- 1. The unbiased squared MMD ------------------------------------------------------------------


def _kernel(a, b, s):
    squares = np.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=2)
    return np.exp(-squares / (2 * s**2))


def mmd2_unbiased(x, y, s):
    """Return the U-statistic of the squared MMD with a Gaussian kernel of bandwidth s."""
    n, m = len(x), len(y)
    within_x = (_kernel(x, x, s).sum() - n) / (n * (n - 1))
    within_y = (_kernel(y, y, s).sum() - m) / (m * (m - 1))
    return within_x + within_y - 2 * _kernel(x, y, s).mean()


def _keeps_the_diagonal(x, y, s):
    return _kernel(x, x, s).mean() + _kernel(y, y, s).mean() - 2 * _kernel(x, y, s).mean()


def _drops_too_little(x, y, s):
    n, m = len(x), len(y)
    within = (_kernel(x, x, s).sum() - n) / n**2 + (_kernel(y, y, s).sum() - m) / m**2
    return within - 2 * _kernel(x, y, s).mean()


def _counts_the_cross_once(x, y, s):
    return mmd2_unbiased(x, y, s) + _kernel(x, y, s).mean()


def _forgets_the_two(x, y, s):
    return mmd2_unbiased(x, y, s / np.sqrt(2))


def _clips(x, y, s):
    return max(mmd2_unbiased(x, y, s), 0.0)


def _check_mmd2(candidate):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 2)), rng.standard_normal((7, 2)) + 2
    s = 0.8
    on = "for 5 and 7 points"
    got = call(candidate, x, y, s, on=on)
    expect_shape(got, (), "the squared MMD is one number")
    want = mmd2_unbiased(x, y, s)
    expect(
        not np.isclose(got, _keeps_the_diagonal(x, y, s)),
        "your means run over i = j too, where k = 1: that part is the same for all data, and makes "
        "two samples of one law look different; leave the diagonals out",
    )
    expect(
        not np.isclose(got, _drops_too_little(x, y, s)),
        "the diagonals are left out, but n^2 still divides: n (n - 1) pairs remain",
    )
    expect(
        not np.isclose(got, _counts_the_cross_once(x, y, s)),
        "the cross term counts twice: (a - b)^2 has -2ab in the middle",
    )
    expect(
        not np.isclose(got, _forgets_the_two(x, y, s)),
        "the kernel is exp(-|x - y|^2 / (2 s^2)), with a 2 beside s^2",
    )
    expect_close(got, want, on, rtol=1e-9)
    x, y = rng.standard_normal((2, 3)), rng.standard_normal((2, 3)) + 3
    expect_close(
        call(candidate, x, y, 1.3, on="for 2 and 2 points"),
        mmd2_unbiased(x, y, 1.3),
        "for 2 and 2 points, the fewest there can be",
        rtol=1e-9,
    )
    draws = [
        float(call(candidate, *rng.standard_normal((2, 15, 2)), 1.0, on="for two samples of a law"))
        for _ in range(200)
    ]
    error = np.std(draws, ddof=1) / np.sqrt(200)
    expect(
        min(draws) < 0,
        "over 200 pairs of samples of one law you never return a negative value; an unbiased "
        "estimate of 0 must lie below it about half of the time: do not clip",
    )
    expect(
        abs(np.mean(draws)) < 3 * error,
        f"over 200 pairs of samples of one law your mean is {np.mean(draws):.3g}, with a standard "
        f"error of {error:.2g}; it must be 0 within three of them",
    )


MMD2_UNBIASED = Exercise(
    "cloud_metrics/mmd2_unbiased",
    title="A distance that is 0 on average",
    task=r"""
    Write `mmd2_unbiased(x, y, s)` for clouds `x` $(n, d)$ and `y` $(m, d)$ and the kernel
    $k(a, b) = \exp(-|a - b|^2 / (2 s^2))$:
    $$\frac{1}{n(n-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(y_i, y_j)
    - \frac{2}{nm} \sum_{ij} k(x_i, y_j).$$
    Return one number; it may be negative.
    """,
    function="mmd2_unbiased",
    check=_check_mmd2,
    solution=mmd2_unbiased,
    wrong=[
        Wrong("keeps the diagonal", _keeps_the_diagonal, says="run over i = j too"),
        Wrong("divides by n squared", _drops_too_little, says="n (n - 1) pairs"),
        Wrong("counts the cross term once", _counts_the_cross_once, says="counts twice"),
        Wrong("forgets the two in the kernel", _forgets_the_two, says="a 2 beside"),
        Wrong("clips at zero", _clips, says="do not clip"),
    ],
    hints=[
        "x[:, None, :] - y[None, :, :] holds all differences, shape (n, m, d).",
        "The diagonal of k(x, x) holds n ones: subtract n from the sum.",
    ],
)


# --- 2. The Frechet distance ----------------------------------------------------------------------


def frechet(m1, c1, m2, c2):
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^{1/2})."""
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    overlap = np.linalg.eigvalsh(root @ c2 @ root)
    overlap = np.sqrt(np.maximum(overlap, 0)).sum()
    return np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * overlap


def _not_squared(m1, c1, m2, c2):
    return frechet(m1, c1, m1, c2) + np.linalg.norm(m1 - m2)


def _entrywise_root(m1, c1, m2, c2):
    overlap = np.trace(np.sqrt(np.abs(c1 @ c2)))
    return np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * overlap


def _as_if_commuting(m1, c1, m2, c2):
    overlap = np.trace(sqrtm(c1).real @ sqrtm(c2).real)
    return np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * overlap


def _no_root(m1, c1, m2, c2):
    return np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * np.trace(c1 @ c2)


def _by_cholesky(m1, c1, m2, c2):
    a, b = np.linalg.cholesky(c1), np.linalg.cholesky(c2)
    overlap = np.linalg.svd(a.T @ b, compute_uv=False).sum()
    return np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * overlap


def _check_frechet(candidate):
    zero = np.zeros(2)
    got = call(candidate, zero, np.eye(2), np.array([3.0, 4.0]), np.eye(2), on="for two unit balls")
    expect_shape(got, (), "the distance is one number")
    expect(
        not np.isclose(got, 5.0),
        "the means enter with their squared distance: 25 for (0, 0) and (3, 4), not 5",
    )
    expect_close(got, 25.0, "for two unit balls at distance 5", rtol=1e-8)

    wide = np.diag([4.0, 9.0])
    got = call(candidate, zero, wide, zero, np.eye(2), on="for diag(4, 9) and the identity")
    expect(
        not np.isclose(got, _no_root(zero, wide, zero, np.eye(2))),
        "the product C1 C2 stands under a root: for diag(4, 9) and I its trace is 2 + 3, not 4 + 9",
    )
    expect_close(got, 5.0, "for diag(4, 9) and I, (2 - 1)^2 + (3 - 1)^2", rtol=1e-8)

    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    tilted = turn @ np.diag([5.0, 0.5]) @ turn.T
    got = call(candidate, zero, wide, zero, tilted, on="for two ellipses that are not aligned")
    expect(
        not np.isclose(got, _entrywise_root(zero, wide, zero, tilted)),
        "np.sqrt takes the root of each entry; the root of a matrix is the one whose product with "
        "itself gives the matrix back",
    )
    expect(
        not np.isclose(got, _as_if_commuting(zero, wide, zero, tilted)),
        "C1^(1/2) C2^(1/2) is the root of C1 C2 only when the two commute; use "
        "(C1^(1/2) C2 C1^(1/2))^(1/2), which has the same trace as (C1 C2)^(1/2)",
    )
    want = frechet(zero, wide, zero, tilted)
    expect_close(got, want, "for two ellipses that are not aligned", rtol=1e-8)
    expect_close(
        call(candidate, zero, tilted, zero, wide, on="with the arguments exchanged"),
        want,
        "with the arguments exchanged the distance is the same",
        rtol=1e-8,
    )
    expect_close(
        call(candidate, zero, tilted, zero, tilted, on="for equal Gaussians"),
        0.0,
        "for equal Gaussians",
        atol=1e-7,
    )
    flat = np.diag([1.0, 0.0])
    on = "for a covariance without width in one direction"
    try:
        got = call(candidate, zero, flat, zero, np.eye(2), on=on)
    except np.linalg.LinAlgError:
        raise Refused(
            "a covariance may be singular, as it is with fewer points than dimensions: Cholesky "
            "stops there, eigenvalues do not"
        ) from None
    expect_close(got, 1.0, on, rtol=1e-7)


FRECHET = Exercise(
    "cloud_metrics/frechet",
    title="The distance of two ellipses",
    task=r"""
    Write `frechet(m1, c1, m2, c2)`, the squared Frechet distance between two Gaussians with means
    `m1`, `m2` $(d,)$ and covariances `c1`, `c2` $(d, d)$:
    $$|m_1 - m_2|^2 + \mathrm{tr}\bigl(C_1 + C_2 - 2\,(C_1 C_2)^{1/2}\bigr).$$
    The covariances need not commute, and may be singular. The trace of the root is the sum of the
    square roots of the eigenvalues of $C_1^{1/2} C_2\, C_1^{1/2}$, which is symmetric.
    """,
    function="frechet",
    check=_check_frechet,
    solution=frechet,
    wrong=[
        Wrong("does not square the means", _not_squared, says="squared distance"),
        Wrong("forgets the root", _no_root, says="stands under a root"),
        Wrong("takes roots entry by entry", _entrywise_root, says="root of each entry"),
        Wrong("multiplies the two roots", _as_if_commuting, says="only when the two commute"),
        Wrong("uses Cholesky", _by_cholesky, says="may be singular"),
    ],
    hints=[
        "np.linalg.eigh(c1) gives values and vectors with c1 = V diag(values) V^T.",
        "Rounding can make an eigenvalue slightly negative: np.maximum(values, 0) before the root.",
    ],
)


# --- 3. Precision and recall ----------------------------------------------------------------------


def precision_recall(real, generated, k):
    """Return the share of generated points in the real balls, and of real ones in the others."""

    def share(points, centres):
        own = np.linalg.norm(centres[:, None] - centres[None], axis=2)
        radii = np.sort(own, axis=1)[:, k]  # column 0 is the point itself
        gaps = np.linalg.norm(points[:, None] - centres[None], axis=2)
        return np.mean((gaps <= radii).any(axis=1))

    return share(generated, real), share(real, generated)


def _swapped(real, generated, k):
    return precision_recall(real, generated, k)[::-1]


def _counts_itself(real, generated, k):
    return _variant(real, generated, k - 1)


def _strict(real, generated, k):
    return _variant(real, generated, k, inside=np.less)


def _radii_of_the_points(real, generated, k):
    def share(points, centres):
        own = np.linalg.norm(points[:, None] - points[None], axis=2)
        gaps = np.linalg.norm(points[:, None] - centres[None], axis=2)
        return np.mean((gaps <= np.sort(own, axis=1)[:, [k]]).any(axis=1))

    return share(generated, real), share(real, generated)


def _one_radius(real, generated, k):
    return _variant(real, generated, k, radius=lambda radii: np.full_like(radii, radii.mean()))


def _variant(real, generated, k, inside=np.less_equal, radius=lambda radii: radii):
    def share(points, centres):
        own = np.sort(np.linalg.norm(centres[:, None] - centres[None], axis=2), axis=1)
        gaps = np.linalg.norm(points[:, None] - centres[None], axis=2)
        return np.mean(inside(gaps, radius(own[:, k])).any(axis=1))

    return share(generated, real), share(real, generated)


def _pair(result, on):
    if not isinstance(result, tuple) or len(result) != 2:
        raise Refused(f"{on}, return two numbers, precision and recall, not {describe(result)}")
    return tuple(float(value) for value in result)


def _check_precision_recall(candidate):
    rng = np.random.default_rng(3)
    real, generated = rng.standard_normal((40, 2)), 0.6 * rng.standard_normal((30, 2)) + 0.4
    on = "for 40 real and 30 generated points, k = 3"
    got = _pair(call(candidate, real, generated, 3, on=on), on)
    want = precision_recall(real, generated, 3)
    expect(
        not np.allclose(got, want[::-1]),
        "the two are exchanged: precision is about generated points in real balls, recall about "
        "real points in generated balls",
    )
    expect(
        not np.allclose(got, _counts_itself(real, generated, 3)),
        "a point is its own nearest neighbour at distance 0; the k-th neighbour is counted without "
        "it",
    )
    expect(
        not np.allclose(got, _radii_of_the_points(real, generated, 3)),
        "the balls stand around the points of the other cloud, with radii from that cloud; yours "
        "stand around the points that are judged",
    )
    expect(
        not np.allclose(got, _one_radius(real, generated, 3)),
        "every ball has its own radius, small where the cloud is dense; you use one for all",
    )
    expect_close(got, want, on, rtol=1e-9)
    for k in (1, 29):
        on = f"with k = {k}"
        got = _pair(call(candidate, real, generated, k, on=on), on)
        expect_close(got, precision_recall(real, generated, k), on, rtol=1e-9)
    on = "when the generated cloud is the real one"
    expect_close(_pair(call(candidate, real, real, 3, on=on), on), (1.0, 1.0), on)
    on = "when all generated points are equal to one real point"
    collapsed = np.repeat(real[:1], 10, axis=0)
    got = _pair(call(candidate, real, collapsed, 3, on=on), on)
    expect(
        got[1] > 0,
        "equal points have balls of radius 0, which still hold their centre: the real point that "
        "was copied is covered; compare with <=, not <",
    )
    expect_close(got, (1.0, 1 / 40), on)


PRECISION_RECALL = Exercise(
    "cloud_metrics/precision_recall",
    title="Inside the other cloud",
    task=r"""
    Write `precision_recall(real, generated, k)`. Around each point of a cloud stands a ball that
    reaches to its `k`-th nearest *other* point of the same cloud. Precision is the share of
    generated points that lie in (or on the edge of) some real ball; recall is the share of real
    points in some generated ball. Return `(precision, recall)`.

    The clouds may have different sizes, and may hold equal points.
    """,
    function="precision_recall",
    check=_check_precision_recall,
    solution=precision_recall,
    wrong=[
        Wrong("exchanges the two", _swapped, says="exchanged"),
        Wrong("counts the point itself", _counts_itself, says="its own nearest neighbour"),
        Wrong("balls around the judged", _radii_of_the_points, says="points that are judged"),
        Wrong("one radius for all", _one_radius, says="its own radius"),
        Wrong("leaves the edge out", _strict, says="compare with <="),
    ],
    hints=[
        "np.sort(distances, axis=1)[:, k] is the k-th neighbour when column 0 is the point itself.",
        "(gaps <= radii).any(axis=1) compares column j with the radius of centre j.",
    ],
)


EXERCISES = (MMD2_UNBIASED, FRECHET, PRECISION_RECALL)
