"""Exercises of the ridge filters lab: a filter, a chain of students, and the error on the circle.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.compute.kernels import Gaussian, Laplace
from kernellab.lab.exercises import Exercise, Wrong, call, expect, expect_close, expect_shape
from kernellab.methods.ridge_regression import ridge_filters as methods

# --- 1. A filter --------------------------------------------------------------------------------


def filtered_fit(gram, y, profile):
    """Return U h(l) U^T y with l the eigenvalues of K/n."""
    eigenvalues, eigenvectors = np.linalg.eigh(gram / len(y))
    return eigenvectors @ (profile(np.maximum(eigenvalues, 0)) * (eigenvectors.T @ y))


def _forgets_n(gram, y, profile):
    eigenvalues, eigenvectors = np.linalg.eigh(gram)
    return eigenvectors @ (profile(np.maximum(eigenvalues, 0)) * (eigenvectors.T @ y))


def _forgets_transpose(gram, y, profile):
    eigenvalues, eigenvectors = np.linalg.eigh(gram / len(y))
    return eigenvectors @ (profile(np.maximum(eigenvalues, 0)) * (eigenvectors @ y))


def _stays_rotated(gram, y, profile):
    eigenvalues, eigenvectors = np.linalg.eigh(gram / len(y))
    return profile(np.maximum(eigenvalues, 0)) * (eigenvectors.T @ y)


def _divides_by_eigenvalues(gram, y, profile):
    eigenvalues, eigenvectors = np.linalg.eigh(gram / len(y))
    eigenvalues = np.maximum(eigenvalues, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = profile(eigenvalues) / (len(y) * eigenvalues)
        return gram @ (eigenvectors @ (scale * (eigenvectors.T @ y)))


def _check_filtered_fit(candidate):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (6, 1))
    gram, y = Laplace(0.3).gram(x), rng.standard_normal(6)

    kept = call(candidate, gram, y, np.ones_like, on="with the profile h = 1")
    expect_shape(kept, (6,), "there is one fitted value for each of the n points")
    if np.allclose(kept, np.linalg.eigh(gram)[1].T @ y):
        expect(
            False,
            "with h = 1 you return U^T y, the targets in the eigenvectors' coordinates; multiply "
            "by U to come back to the points",
        )
    expect_close(
        kept, y, "with h = 1 nothing is filtered, so U^T must rotate y before U brings it back",
        rtol=1e-6, atol=1e-8,
    )  # fmt: skip
    none = call(candidate, gram, y, np.zeros_like, on="with the profile h = 0")
    expect_close(none, np.zeros(6), "with h = 0 nothing may pass")

    for n, ridge in ((6, 0.1), (25, 1e-3)):
        x = rng.uniform(0, 1, (n, 1))
        gram, y = Laplace(0.3).gram(x), rng.standard_normal(n)
        got = call(
            candidate, gram, y, lambda v, e=ridge: v / (v + e), on="with h = l / (l + ridge)"
        )
        want = gram @ np.linalg.solve(gram + n * ridge * np.eye(n), y)
        if np.allclose(got, gram @ np.linalg.solve(gram + ridge * np.eye(n), y)):
            expect(
                False,
                "with h = l / (l + ridge) your penalty on K is ridge instead of n ridge: l are "
                "the eigenvalues of K/n, so divide K by the number of points",
            )
        expect_close(
            got, want, f"with h = l / (l + {ridge}) this is kernel ridge regression with the "
            f"penalty n ridge = {n * ridge:g}", rtol=1e-6, atol=1e-8,
        )  # fmt: skip

    # A linear kernel in one dimension has rank 1: the other eigenvalues are exactly 0.
    rank_one, targets = np.diag([2.0, 0.0, 0.0]), np.array([1.0, 2.0, 3.0])
    fit = call(candidate, rank_one, targets, np.ones_like, on="on a kernel matrix of rank 1")
    expect_close(
        fit, targets, "on a kernel matrix of rank 1 some l are 0 and h = 1 still keeps all of y "
        "(nothing needs to be divided by l)",
    )  # fmt: skip


FILTERED_FIT = Exercise(
    id="ridge_filters/filtered_fit",
    title="Write ridge regression as a filter",
    task="""
    Given a kernel matrix `gram` (n, n), targets `y` (n,) and a function `profile`, return the
    fitted values $U\\,h(\\Lambda)\\,U^\\top y$ (n,), where $K/n = U \\Lambda U^\\top$ and
    `profile(eigenvalues)` gives $h$ at every eigenvalue.

    One line after `numpy.linalg.eigh`. It must also work when some eigenvalues are 0 (rounding
    can even make them slightly negative).
    """,
    function="filtered_fit",
    check=_check_filtered_fit,
    solution=filtered_fit,
    wrong=[
        Wrong("decomposes K instead of K/n", _forgets_n, says="divide K by the number of points"),
        Wrong("rotates with U twice", _forgets_transpose, says="U^T must rotate y"),
        Wrong("stays in the eigenvectors' coordinates", _stays_rotated, says="multiply by U"),
        Wrong("divides by the eigenvalues", _divides_by_eigenvalues, says="rank 1"),
    ],
    hints=[
        "`values, vectors = np.linalg.eigh(gram / len(y))` gives the columns of U.",
        "Read the formula from right to left: rotate y, scale every coordinate, rotate back.",
    ],
)


# --- 2. A chain of students ---------------------------------------------------------------------


def distill(gram, y, ridge, truth_weights):
    """Return the last student's fitted values (n,); without rounds the teacher's."""
    smoother = gram @ np.linalg.inv(gram + len(y) * ridge * np.eye(len(y)))
    fit = smoother @ y
    for alpha in truth_weights:
        fit = smoother @ (alpha * y + (1 - alpha) * fit)
    return fit


def _no_teacher(gram, y, ridge, truth_weights):
    smoother = gram @ np.linalg.inv(gram + len(y) * ridge * np.eye(len(y)))
    fit = y
    for alpha in truth_weights:
        fit = smoother @ (alpha * y + (1 - alpha) * fit)
    return fit


def _swapped_weights(gram, y, ridge, truth_weights):
    smoother = gram @ np.linalg.inv(gram + len(y) * ridge * np.eye(len(y)))
    fit = smoother @ y
    for alpha in truth_weights:
        fit = smoother @ ((1 - alpha) * y + alpha * fit)
    return fit


def _mixes_after_fitting(gram, y, ridge, truth_weights):
    smoother = gram @ np.linalg.inv(gram + len(y) * ridge * np.eye(len(y)))
    fit = smoother @ y
    for alpha in truth_weights:
        fit = alpha * y + (1 - alpha) * smoother @ fit
    return fit


def _always_from_the_first_teacher(gram, y, ridge, truth_weights):
    smoother = gram @ np.linalg.inv(gram + len(y) * ridge * np.eye(len(y)))
    teacher = fit = smoother @ y
    for alpha in truth_weights:
        fit = smoother @ (alpha * y + (1 - alpha) * teacher)
    return fit


def _check_distill(candidate):
    rng = np.random.default_rng(1)
    n, ridge = 12, 0.02
    gram, y = Gaussian(0.2).gram(rng.uniform(0, 1, (n, 1))), rng.standard_normal(n)
    smoother = gram @ np.linalg.inv(gram + n * ridge * np.eye(n))
    close = {"rtol": 1e-6, "atol": 1e-8}

    teacher = call(candidate, gram, y, ridge, [], on="with no rounds")
    expect_shape(teacher, (n,), "return the last fit only, one value a point")
    expect_close(
        teacher, smoother @ y, "an empty list of weights leaves the teacher, ridge regression on "
        "the true labels", **close,
    )  # fmt: skip
    same = call(candidate, gram, y, ridge, [1.0], on="with alpha = 1")
    if np.allclose(same, y):
        expect(
            False,
            "with alpha = 1 the student copies y itself: mix the targets first, then fit them",
        )
    expect_close(
        same, smoother @ y, "alpha = 1 means the true labels only, so the student is the teacher "
        "again", **close,
    )  # fmt: skip
    for rounds in (1, 4):
        got = call(candidate, gram, y, ridge, [0.0] * rounds, on=f"with {rounds} times alpha = 0")
        want = np.linalg.matrix_power(smoother, rounds + 1) @ y
        expect_close(
            got, want, f"with alpha = 0 and {rounds} round{'s' * (rounds > 1)} every student fits "
            "the student before it, so the filter is B to the power rounds + 1", **close,
        )  # fmt: skip
    far = call(candidate, gram, y, ridge, [0.0] * 20_000, on="with 20000 times alpha = 0")
    expect(
        np.abs(far).max() < 1e-3,
        "with alpha = 0 the fit must shrink towards 0 as the rounds go on",
    )
    for alpha in (0.2, 0.7):
        got = call(candidate, gram, y, ridge, [alpha] * 400, on=f"with 400 times alpha = {alpha}")
        want = gram @ np.linalg.solve(gram + n * ridge / alpha * np.eye(n), y)
        expect_close(
            got, want, f"a constant alpha = {alpha} must end at ridge regression with the penalty "
            "ridge / alpha", **close,
        )  # fmt: skip
    weights = rng.uniform(0, 1, 5)
    got = call(candidate, gram, y, ridge, weights, on="with five different weights")
    expect_close(
        got,
        methods.distill(gram, y, ridge, weights)[-1],
        "the weights belong to the rounds in their order",
        **close,
    )


DISTILL = Exercise(
    id="ridge_filters/distill",
    title="Let a model learn from itself",
    task="""
    Fit kernel ridge regression, `gram @ inv(gram + n * ridge * I) @ targets`, to the labels `y`:
    that is the teacher. Then, for every `alpha` in `truth_weights`, fit a student to the targets
    `alpha * y + (1 - alpha) * fit`, where `fit` are the fitted values of the model before it.

    Return the fitted values (n,) of the last model. The list may be empty.
    """,
    function="distill",
    check=_check_distill,
    solution=distill,
    wrong=[
        Wrong("forgets the teacher", _no_teacher, says="empty list"),
        Wrong("swaps the weights", _swapped_weights, says="alpha = 1 means the true labels"),
        Wrong("mixes the labels in after the fit", _mixes_after_fitting, says="mix the targets"),
        Wrong(
            "always learns from the first teacher",
            _always_from_the_first_teacher,
            says="the student before it",
        ),
    ],
    hints=[
        "`smoother = gram @ np.linalg.inv(...)` never changes: compute it once.",
        "Only the targets change from round to round.",
    ],
)


# --- 3. The error on the circle -----------------------------------------------------------------


def circle_loss(eigenvalues, energy, n, h, noise_variance):
    """Fold the harmonics l = -J..J onto n bins and add up the loss of the profile values h."""
    orders = np.arange(eigenvalues.size) - eigenvalues.size // 2
    loss = 0.0
    for k in range(n):
        lam, c2 = eigenvalues[orders % n == k], energy[orders % n == k]
        r = h[k] / lam.sum()
        s0, s1, s2 = c2.sum(), np.sum(lam * c2), np.sum(lam**2)
        loss += s0 - 2 * r * s1 + r**2 * s2 * (s0 + noise_variance / n)
    return loss


def _forgets_to_fold(eigenvalues, energy, n, h, noise_variance):
    half = eigenvalues.size // 2
    orders = np.arange(n)
    orders = np.where(orders > n // 2, orders - n, orders) + half
    rest = energy.sum() - energy[orders].sum()
    return rest + np.sum((1 - h) ** 2 * energy[orders] + h**2 * noise_variance / n)


def _noise_not_averaged(eigenvalues, energy, n, h, noise_variance):
    return circle_loss(eigenvalues, energy, n, h, n * noise_variance)


def _starts_at_zero(eigenvalues, energy, n, h, noise_variance):
    shift = eigenvalues.size // 2
    return circle_loss(np.roll(eigenvalues, -shift), np.roll(energy, -shift), n, h, noise_variance)


def _no_aliased_signal(eigenvalues, energy, n, h, noise_variance):
    orders = np.arange(eigenvalues.size) - eigenvalues.size // 2
    loss = 0.0
    for k in range(n):
        lam, c2 = eigenvalues[orders % n == k], energy[orders % n == k]
        r = h[k] / lam.sum()
        # (1 - r lam)^2 c^2 for every harmonic: what leaks from one to another is missing
        loss += np.sum((1 - r * lam) ** 2 * c2) + r**2 * np.sum(lam**2) * noise_variance / n
    return loss


def _check_circle_loss(candidate):
    rng = np.random.default_rng(2)
    close = {"rtol": 1e-8, "atol": 1e-10}
    for n in (4, 5):
        lam, c2 = methods.power_laws(2.0, 1.5, n, 6)
        nothing = call(candidate, lam, c2, n, np.zeros(n), 0.3, on="with h = 0")
        expect_close(
            nothing, c2.sum(), "with h = 0 the fit is 0 and the loss is all of the target's "
            "energy, the sum of c_l^2", **close,
        )  # fmt: skip

    # As many harmonics as points: nothing folds, every bin is (1 - h)^2 c^2 + h^2 sigma^2 / N.
    n = 7
    lam, c2 = methods.power_laws(2.0, 1.5, 1, 6)
    order = np.arange(n) + 3
    order = np.where(order >= n, order - n, order)  # bins 0..6 are l = 0, 1, 2, 3, -3, -2, -1
    h = rng.uniform(0, 1, n)
    uneven = c2 * rng.uniform(0.5, 1.5, n)
    got = call(candidate, lam, uneven, n, h, 0.0, on="with as many harmonics as points, no noise")
    expect_close(
        got, np.sum((1 - h) ** 2 * uneven[order]), "with as many harmonics as points bin k holds "
        "the harmonic l = k mod N, and the first entry of the arrays is l = -J", **close,
    )  # fmt: skip
    got = call(candidate, lam, uneven, n, h, 0.7, on="with as many harmonics as points")
    expect_close(
        got, np.sum((1 - h) ** 2 * uneven[order] + h**2 * 0.7 / n), "noise of variance sigma^2 "
        "adds h^2 sigma^2 / N to a bin (N points average it)", **close,
    )  # fmt: skip

    for n in (8, 9):
        lam, c2 = methods.power_laws(2.0, 1.5, n)
        circle = methods.fold_circle(lam, c2, n, 0.04)
        h = methods.ridge_profile(circle.eigenvalues, 0.02)
        want = methods.circle_loss(circle, h)
        got = call(candidate, lam, c2, n, h, 0.04, on=f"with N = {n} points")
        leaks = _no_aliased_signal(lam, c2, n, h, 0.04)
        if np.ndim(got) == 0 and np.isclose(got, leaks, rtol=1e-8):
            expect(
                False,
                "the signal that leaks from one harmonic to another in its bin is missing: the "
                "last term is (h / lam_hat)^2 S2 (S0 + sigma^2 / N), with S0 in the bracket",
            )
        expect_close(
            got, want, f"with N = {n} points and 20 harmonics a bin, l and l + N look alike on "
            "the grid and must be folded together before the formula", **close,
        )  # fmt: skip
        losses = [
            methods.simulate_circle(lam, c2, n, 0.04, lambda v: methods.ridge_profile(v, 0.02), rng)
            for _ in range(100)
        ]
        error = np.std(losses, ddof=1) / np.sqrt(len(losses))
        expect(
            abs(np.mean(losses) - got) < 4 * error,
            f"for N = {n} a hundred simulated fits lose {np.mean(losses):.3f} on average, which "
            f"your {got:.3f} does not match",
        )


CIRCLE_LOSS = Exercise(
    id="ridge_filters/circle_loss",
    title="Know the error before fitting anything",
    task="""
    On N equispaced points of the circle the harmonics $l$ and $l + N$ look alike. For every bin
    $k = 0, \\dots, N-1$ collect, over all $l = k \\bmod N$,
    $\\hat\\lambda = \\sum \\lambda_l$, $S_0 = \\sum c_l^2$, $S_1 = \\sum \\lambda_l c_l^2$,
    $S_2 = \\sum \\lambda_l^2$, and return the expected loss

    $$\\sum_k S_0 - 2 \\tfrac{h_k}{\\hat\\lambda} S_1
    + \\bigl(\\tfrac{h_k}{\\hat\\lambda}\\bigr)^2 S_2 (S_0 + \\sigma^2 / N).$$

    `eigenvalues` and `energy` hold $\\lambda_l$ and $c_l^2$ for $l = -J, \\dots, J$; `h` (N,) holds
    the profile, bin by bin; `noise_variance` is $\\sigma^2$.
    """,
    function="circle_loss",
    check=_check_circle_loss,
    solution=circle_loss,
    wrong=[
        Wrong("forgets to fold", _forgets_to_fold, says="look alike"),
        Wrong("does not average the noise", _noise_not_averaged, says="N points average it"),
        Wrong("takes the first entry for l = 0", _starts_at_zero, says="l = -J"),
        Wrong("lets no signal leak between harmonics", _no_aliased_signal, says="leaks"),
    ],
    hints=[
        "`np.arange(-J, J + 1) % n` is the bin of every harmonic, also of the negative ones.",
        "`np.bincount(bins, weights=...)` adds up all bins at once.",
    ],
)

EXERCISES = (FILTERED_FIT, DISTILL, CIRCLE_LOSS)
