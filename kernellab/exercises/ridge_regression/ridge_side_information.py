"""The exercises of the side information lab: proximal ridge, a projection, a robust margin."""

import numpy as np

from kernellab.compute.kernels import Laplace
from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_shape,
)
from kernellab.methods.ridge_regression import ridge_side_information as methods

CLOSE = {"rtol": 1e-6, "atol": 1e-8}

# --- 1. Ridge regression around a base model ----------------------------------------------------


def proximal_krr(gram, cross_gram, y, base_train, base_new, ridge):
    """Fit what the base model leaves over, and add the base model back."""
    dual = np.linalg.solve(gram + ridge * np.eye(len(y)), y - base_train)
    return base_new + cross_gram @ dual


def _forgets_the_base_at_new(gram, cross_gram, y, base_train, base_new, ridge):
    return cross_gram @ np.linalg.solve(gram + ridge * np.eye(len(y)), y - base_train)


def _fits_the_labels(gram, cross_gram, y, base_train, base_new, ridge):
    return base_new + cross_gram @ np.linalg.solve(gram + ridge * np.eye(len(y)), y)


def _multiplies_by_n(gram, cross_gram, y, base_train, base_new, ridge):
    n = len(y)
    return base_new + cross_gram @ np.linalg.solve(gram + n * ridge * np.eye(n), y - base_train)


def _votes(gram, cross_gram, y, base_train, base_new, ridge):
    return base_new + cross_gram @ (y - base_train) / ridge


def _check_proximal_krr(candidate):
    rng = np.random.default_rng(0)
    x, new = rng.uniform(0, 1, (9, 1)), rng.uniform(0, 1, (5, 1))
    gram, cross = Laplace(0.3).gram(x), Laplace(0.3).gram(new, x)
    y, base_train, base_new = (rng.standard_normal(size) for size in (9, 9, 5))
    zero = np.zeros

    far = call(candidate, gram, cross, y, base_train, base_new, 1e14, on="with a huge ridge")
    expect_shape(far, (5,), "there is one prediction for each new point")
    expect_close(
        far, base_new, "with a huge ridge nothing but the base model may be left",
        rtol=1e-6, atol=1e-6,
    )  # fmt: skip
    plain = call(candidate, gram, cross, y, zero(9), zero(5), 0.5, on="with a base model of zeros")
    want = cross @ np.linalg.solve(gram + 0.5 * np.eye(9), y)
    scaled = cross @ np.linalg.solve(gram + 4.5 * np.eye(9), y)
    expect(
        np.shape(plain) != (5,) or not np.allclose(plain, scaled),
        "with a base model of zeros your penalty on K is n ridge; here it is ridge itself",
    )
    expect(
        np.shape(plain) != (5,) or not np.allclose(plain, cross @ y / 0.5),
        "with a base model of zeros every label only votes by its kernel value, as in a cache; "
        "ridge regression solves with K + ridge I, so that the labels know of each other",
    )
    expect_close(plain, want, "with a base model of zeros this is kernel ridge regression", **CLOSE)
    same = call(candidate, gram, cross, base_train, base_train, base_new, 0.1,
                on="where the labels are what the base model says")  # fmt: skip
    expect_close(
        same, base_new, "where the labels are what the base model already says there is nothing "
        "left to fit, so the residual y - base_train belongs into the solve", **CLOSE,
    )  # fmt: skip
    through = call(candidate, gram, gram, y, base_train, base_train, 1e-10,
                   on="at the training points, with a tiny ridge")  # fmt: skip
    expect_close(through, y, "a tiny ridge must pass through the labels", rtol=1e-5, atol=1e-5)
    many = rng.standard_normal((9, 3)), rng.standard_normal((9, 3)), rng.standard_normal((5, 3))
    got = call(candidate, gram, cross, *many, 0.2, on="with three columns of labels")
    expect_close(
        got, methods.proximal_krr(gram, cross, *many, 0.2), "each column of labels is a problem of "
        "its own", **CLOSE,
    )  # fmt: skip


PROXIMAL_KRR = Exercise(
    id="ridge_side_information/proximal_krr",
    title="Pull towards a base model",
    task="""
    Given the kernel matrix `gram` (n, n) of the labelled points, `cross_gram` (t, n) between new
    and labelled points, labels `y` (n,), and a base model's values at both (`base_train`,
    `base_new`), return the predictions (t,) of the minimiser of

    $$\\sum_i (f(s_i) - y_i)^2 + \\text{ridge} \\, \\lVert f - f_0 \\rVert_{\\mathcal H}^2 .$$

    Write $g = f - f_0$: what problem does $g$ solve? It should also work for `y` of shape (n, c).
    """,
    function="proximal_krr",
    check=_check_proximal_krr,
    solution=proximal_krr,
    wrong=[
        Wrong("forgets the base at new points", _forgets_the_base_at_new, says="huge ridge"),
        Wrong("fits the labels, not the residual", _fits_the_labels, says="nothing left to fit"),
        Wrong("multiplies the penalty by n", _multiplies_by_n, says="ridge itself"),
        Wrong("lets each label vote", _votes, says="know of each other"),
    ],
    hints=[
        "g has a plain ridge penalty, and its labels are `y - base_train`.",
        "Solve `(gram + ridge * I) a = residual`, then come back with `base_new + cross_gram @ a`.",
    ],
)


# --- 2. A projection ----------------------------------------------------------------------------


def project_out(f, conditional):
    """Take from each column its own weighted mean."""
    return f - (conditional * f).sum(axis=0)


def _returns_the_mean(f, conditional):
    return np.broadcast_to((conditional * f).sum(axis=0), f.shape).copy()


def _plain_mean(f, conditional):
    return f - f.mean(axis=0)


def _along_the_wrong_axis(f, conditional):
    return f - (conditional * f).sum(axis=1, keepdims=True)


def _one_mean_for_all(f, conditional):
    return f - (conditional * f).sum() / conditional.sum()


def _check_project_out(candidate):
    rng = np.random.default_rng(1)
    weights = rng.dirichlet(np.ones(4), 3).T  # (4, 3), each column a law of x1
    f = rng.standard_normal((4, 3))

    only_x2 = np.tile(rng.standard_normal(3), (4, 1))
    got = call(candidate, only_x2, weights, on="for an f that depends on x2 only")
    expect_shape(got, (4, 3), "the projection of a table is a table of the same shape")
    expect(
        not np.allclose(got, only_x2),
        "for an f that depends on x2 only you return f itself, which is the part to take away: "
        "return f minus its conditional mean",
    )
    expect(
        not np.allclose(got, only_x2 - only_x2.mean()),
        "for an f that depends on x2 only you take one mean for the whole table; each x2 (each "
        "column) has a conditional mean of its own",
    )
    expect_close(
        got, np.zeros((4, 3)), "for an f that depends on x2 only nothing may be left, since "
        "column j of `conditional` is the law of x1 given the j-th x2", **CLOSE,
    )  # fmt: skip
    once = call(candidate, f, weights, on="on a random table")
    if not np.allclose(np.sum(weights * once, axis=0), 0):
        expect(
            not np.allclose(once, f - f.mean(axis=0)),
            "on a random table you average the rows alike; E[f | x2] weights them by `conditional`",
        )
    expect_close(
        np.sum(weights * once, axis=0), np.zeros(3), "given each x2 the projected table must "
        "average to zero", **CLOSE,
    )  # fmt: skip
    twice = call(candidate, once, weights, on="on its own result")
    expect_close(twice, once, "projecting twice must change nothing more", **CLOSE)
    expect_close(
        once, methods.project_out(f, weights), "what is taken away depends on x2 only", **CLOSE
    )
    single = call(candidate, np.array([[2.0]]), np.array([[1.0]]), on="on a table of one entry")
    expect_close(single, np.array([[0.0]]), "one entry is its own mean", **CLOSE)


PROJECT_OUT = Exercise(
    id="ridge_side_information/project_out",
    title="Take away what the graph forbids",
    task="""
    The causal graph says: given $x_2$, the best predictor averages to zero. On a finite grid `f`
    (a, b) holds $f(x_1, x_2)$, one row for each $x_1$ and one column for each $x_2$;
    column j of `conditional` (a, b) is the law of $x_1$ given the j-th $x_2$ and sums to 1.

    Return the table of $P f = f - E[f(X_1, X_2) \\mid X_2]$, of the same shape.
    """,
    function="project_out",
    check=_check_project_out,
    solution=project_out,
    wrong=[
        Wrong("returns what should go", _returns_the_mean, says="the part to take away"),
        Wrong("averages the rows alike", _plain_mean, says="weights them"),
        Wrong("sums along the wrong axis", _along_the_wrong_axis, says="nothing may be left"),
        Wrong("takes one mean for all", _one_mean_for_all, says="a conditional mean of its own"),
    ],
    hints=["The conditional mean is a vector with one entry a column.", "`sum(axis=0)` sums rows."],
)


# --- 3. A robust margin -------------------------------------------------------------------------


def robust_margin(theta, x, gamma):
    """Pay gamma a unit of way to the boundary; nobody pays more than crossing is worth."""
    return np.maximum(0, 1 - gamma * np.abs(x @ theta) / np.linalg.norm(theta))


def _not_a_distance(theta, x, gamma):
    return np.maximum(0, 1 - gamma * np.abs(x @ theta))


def _keeps_the_sign(theta, x, gamma):
    return np.maximum(0, 1 - gamma * (x @ theta) / np.linalg.norm(theta))


def _goes_negative(theta, x, gamma):
    return 1 - gamma * np.abs(x @ theta) / np.linalg.norm(theta)


def _divides_by_gamma(theta, x, gamma):
    return np.maximum(0, 1 - np.abs(x @ theta) / (gamma * np.linalg.norm(theta)))


def _brute_force(theta, x, gamma):
    """The supremum over points on a fine ray to the boundary and past it."""
    unit = theta / np.linalg.norm(theta)
    score = x @ unit
    steps = np.linspace(0, 6, 60_001)
    crossed = steps[None, :] >= np.abs(score)[:, None]
    return np.max(crossed - gamma * steps, axis=1)


def _check_robust_margin(candidate):
    rng = np.random.default_rng(2)
    theta, x = np.array([1.0, 0.0]), np.array([[0.5, 3.0], [4.0, 0.0], [0.0, 1.0]])
    got = call(candidate, theta, x, 1.0, on="for the boundary x_1 = 0 and gamma = 1")
    expect_shape(got, (3,), "there is one value for each point")
    expect(
        np.min(got) >= 0,
        "a point far from the boundary stays where it is, at no cost and no loss: the supremum is "
        "never below 0",
    )
    expect_close(
        got, np.array([0.5, 0.0, 1.0]), "for the boundary x_1 = 0 and gamma = 1 the points at "
        "distances 0.5, 4 and 0 gain 1 - 0.5, nothing and 1", **CLOSE,
    )  # fmt: skip
    mirrored = call(candidate, theta, -x, 1.0, on="on the other side of the boundary")
    expect_close(
        mirrored, got, "a point has its own side as pseudo-label, so both sides of the boundary "
        "count alike (a distance has no sign)", **CLOSE,
    )  # fmt: skip
    longer = call(candidate, 3 * theta, x, 1.0, on="with theta three times as long")
    expect_close(
        longer, got, "theta and 3 theta have the same boundary, so the distance is |<theta, x>| "
        "divided by the length of theta", **CLOSE,
    )  # fmt: skip
    for gamma in (0.5, 2.0):
        theta, x = rng.standard_normal(4), rng.standard_normal((20, 4))
        got = call(candidate, theta, x, gamma, on=f"with gamma = {gamma}")
        expect_close(
            got, _brute_force(theta, x, gamma), f"with gamma = {gamma} a way of length s costs "
            "gamma s (compared with the best of 60,001 points on the ray to the boundary)",
            rtol=0, atol=1e-3,
        )  # fmt: skip


ROBUST_MARGIN = Exercise(
    id="ridge_side_information/robust_margin",
    title="How easily does a point change sides?",
    task="""
    A rule $\\operatorname{sign}\\langle \\theta, z \\rangle$ gives a point $x$ its own side as
    pseudo-label. An adversary may move $x$ to $z$: it gains 1 when $z$ is on (or beyond) the
    boundary, and pays $\\gamma \\lVert z - x \\rVert$. Return its best result

    $$\\sup_z \\; \\mathbf 1[z \\text{ reached the boundary}] - \\gamma \\lVert z - x \\rVert$$

    for each row of `x` (n, d), as an array (n,). `theta` (d,) is not 0 and need not have length 1.
    """,
    function="robust_margin",
    check=_check_robust_margin,
    solution=robust_margin,
    wrong=[
        Wrong("measures no distance", _not_a_distance, says="the length of theta"),
        Wrong("keeps the sign", _keeps_the_sign, says="both sides"),
        Wrong("goes below zero", _goes_negative, says="never below 0"),
        Wrong("divides by gamma", _divides_by_gamma, says="costs"),
    ],
    hints=[
        "The cheapest way to the boundary is the straight one, along theta.",
        "Either the point goes there, or it stays: compare two numbers.",
    ],
)

EXERCISES = (PROXIMAL_KRR, PROJECT_OUT, ROBUST_MARGIN)
