"""Exercises of the Stein fitting lab: a pinned field, doubly robust weights, a shared control.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.compute.kernels import Gaussian
from kernellab.compute.stein import stein_gram
from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    describe,
    expect,
    expect_close,
    expect_raises,
    expect_shape,
)

# --- 1. A field that vanishes at the border ------------------------------------------------------


def project_out(u, u_border, cross, corner):
    """Return the field at q points after its part in the span of the k(., b_j) is taken away."""
    return u - cross @ np.linalg.solve(corner, u_border)


def _forgets_the_corner(u, u_border, cross, corner):
    return u - cross @ u_border


def _keeps_the_projection(u, u_border, cross, corner):
    return cross @ np.linalg.solve(corner, u_border)


def _multiplies_by_the_corner(u, u_border, cross, corner):
    return u - cross @ corner @ u_border


def _one_point_at_a_time(u, u_border, cross, corner):
    return u - cross @ (u_border / np.diagonal(corner)[:, None])


def _nearest_pin(u, u_border, cross, corner):
    return u - u_border[np.argmax(cross, axis=1)]


def _check_project_out(candidate):
    rng, kernel = np.random.default_rng(0), Gaussian(0.7)
    at, border, data = rng.normal(size=(9, 2)), rng.normal(size=(4, 2)), rng.normal(size=(20, 2))
    weights = rng.normal(size=(20, 2))

    def field(places):
        return kernel.gram(places, data) @ weights

    one = border[:1]
    on = "with one border point, b"
    found = call(candidate, field(at), field(one), kernel.gram(at, one), 2 * np.eye(1), on=on)
    expect_shape(found, (9, 2), f"{on}, one row for each of the 9 points")
    expect_close(
        found,
        field(at) - kernel.gram(at, one) * field(one) / 2,
        f"{on} and k(b, b) = 2, g(y) = u(y) - k(y, b) u(b) / 2",
    )

    on = "at the four border points themselves"
    corner = kernel.gram(border)
    found = call(candidate, field(border), field(border), corner, corner, on=on)
    left = np.abs(np.asarray(found, dtype=float)).max()
    expect(
        not np.allclose(found, field(border)),
        f"{on} you return u(b) itself: that is the projection; return what is left without it",
    )
    expect(
        left < 1e-8,
        f"{on} the field must be zero, and yours is up to {left:.3g}: the four functions k(., b_j) "
        "overlap, so solve K_bb c = u(b) for all coefficients together",
    )

    on = "at nine points away from the border"
    cross = kernel.gram(at, border)
    found = call(candidate, field(at), field(border), cross, corner, on=on)
    expect(
        not np.allclose(found, field(at) - field(border)[np.argmax(cross, axis=1)]),
        f"{on} you subtract the value at the nearest border point; subtract a combination of the "
        "functions k(., b_j), which reaches as far as the kernel does",
    )
    expect_close(found, project_out(field(at), field(border), cross, corner), on, rtol=1e-7)


PROJECT_OUT = Exercise(
    "stein_fitting/project_out",
    title="Pin a field to the border",
    task=r"""
    A field $u$ in a kernel's space is known at $q$ points $y$ (`u`, shape `(q, d)`) and at $m$
    border points $b$ (`u_border`, shape `(m, d)`). With `cross` $= k(y, b)$, shape `(q, m)`, and
    `corner` $= k(b, b)$, shape `(m, m)`, write
    `project_out(u, u_border, cross, corner)`, one line that returns, at the $q$ points,
    $$g(y) = u(y) - k(y, b)\, k(b, b)^{-1}\, u(b).$$
    Which value must it have at the border points?
    """,
    function="project_out",
    check=_check_project_out,
    solution=project_out,
    wrong=[
        Wrong("forgets the inverse", _forgets_the_corner, says="u(y) - k(y, b) u(b) / 2"),
        Wrong("returns the projection", _keeps_the_projection, says="u(y) - k(y, b) u(b) / 2"),
        Wrong("multiplies", _multiplies_by_the_corner, says="u(y) - k(y, b) u(b) / 2"),
        Wrong("pins one by one", _one_point_at_a_time, says="overlap, so solve"),
        Wrong("nearest pin", _nearest_pin, says="u(y) - k(y, b) u(b) / 2"),
    ],
    hints=[
        "np.linalg.solve(corner, u_border) gives the coefficients of the k(., b_j).",
        "cross @ coefficients is their combination at the q points.",
    ],
)

# --- 2. Doubly robust weights --------------------------------------------------------------------


def dr_weights(treated, chance, gram, ridge):
    """Return w with sum_j w_j f(Y_j) the doubly robust estimate of E f(Y^1), for every f."""
    n, known = len(treated), np.flatnonzero(treated)
    if known.size == 0:
        raise ValueError("nobody is treated, so there is nothing to learn from")
    lift = treated / chance
    inner = gram[np.ix_(known, known)] + ridge * np.eye(known.size)
    w = lift / n
    w[known] += np.linalg.solve(inner, gram[known] @ (1 - lift)) / n
    return w


def _no_correction(treated, chance, gram, ridge):
    if not np.any(treated):
        raise ValueError("nobody is treated")
    return treated / chance / len(treated)


def _only_plug_in(treated, chance, gram, ridge):
    n, known = len(treated), np.flatnonzero(treated)
    if known.size == 0:
        raise ValueError("nobody is treated")
    w = np.zeros(n)
    inner = gram[np.ix_(known, known)] + ridge * np.eye(known.size)
    w[known] = np.linalg.solve(inner, gram[known].sum(axis=1)) / n
    return w


def _adds_both(treated, chance, gram, ridge):
    return _no_correction(treated, chance, gram, ridge) + _only_plug_in(
        treated, chance, gram, ridge
    )


def _uses_the_untreated(treated, chance, gram, ridge):
    n, lift = len(treated), treated / chance
    if not np.any(treated):
        raise ValueError("nobody is treated")
    return (lift + np.linalg.solve(gram + ridge * np.eye(n), gram @ (1 - lift))) / n


def _sums(treated, chance, gram, ridge):
    return len(treated) * dr_weights(treated, chance, gram, ridge)


def _accepts_nobody(treated, chance, gram, ridge):
    if not np.any(treated):
        return np.zeros(len(treated))
    return dr_weights(treated, chance, gram, ridge)


def _check_dr_weights(candidate):
    rng, n = np.random.default_rng(0), 30
    x = rng.normal(size=(n, 1))
    chance = 1 / (1 + np.exp(-x[:, 0]))
    treated = rng.random(n) < chance
    gram = Gaussian(1.0).gram(x)

    on = "with 30 people"
    w = call(candidate, treated, chance, gram, 0.5, on=on)
    expect_shape(w, (n,), f"{on}, one weight a person")
    w = np.asarray(w, dtype=float)
    expect(
        np.abs(w[~treated]).max() == 0,
        "an untreated person has a weight; nobody saw their outcome under treatment, so learn c(x) "
        "from the treated only",
    )

    # A huge ridge predicts 0 for everybody: only the weighted outcomes are left.
    expect_close(
        call(candidate, treated, chance, gram, 1e12, on="with a huge ridge"),
        treated / chance / n,
        "with a huge ridge all predictions are 0, so w_j = A_j / (n pi_j)",
        atol=1e-8,
    )

    # The chances are wrong, but f(Y) lies in the space of the outcome model.
    wrong_chance = np.full(n, 0.9)
    f = gram @ rng.normal(size=n) / n
    w = call(candidate, treated, wrong_chance, gram, 1e-9, on="with wrong chances of treatment")
    gap = abs(float(np.asarray(w) @ f) - f.mean())
    expect(
        not np.allclose(w, treated / wrong_chance / n),
        "these are the weights of plain weighting; without the outcome model a wrong chance is "
        "never corrected: add sum_i (1 - A_i / pi_i) c_j(x_i) / n",
    )
    expect(
        gap < 1e-3,
        f"with wrong chances and a right outcome model sum_j w_j f(Y_j) must be the mean of f "
        f"within 0.001; yours is off by {gap:.3g}: the prediction counts 1 - A_i / pi_i times for "
        "person i",
    )

    on = "on a second group"
    found = call(candidate, treated, chance, gram, 0.5, on=on)
    plug_in = _only_plug_in(treated, chance, gram, 0.5)
    expect(
        not np.allclose(found, plug_in),
        "these are the weights of the plug-in estimate; the treated must also add their residuals "
        "f(Y_i) - sum_j c_j(x_i) f(Y_j), divided by their chance",
    )
    expect_close(found, dr_weights(treated, chance, gram, 0.5), f"{on} of 30 people")
    expect_raises(
        ValueError,
        candidate,
        np.zeros(n, dtype=bool),
        chance,
        gram,
        0.5,
        says="with nobody treated there is nothing to learn from",
    )


DR_WEIGHTS = Exercise(
    "stein_fitting/dr_weights",
    title="Weights that forgive one wrong model",
    task=r"""
    `treated` (booleans), `chance` $= \hat\pi$ (both `(n,)`), and `gram`, the `(n, n)` kernel
    matrix of the covariates, belong to $n$ people. With $K$ the kernel matrix of the treated among
    themselves, $c(x) = (K + \text{ridge}\, I)^{-1} k(x)$ predicts $\mathbb{E}[f(Y) \mid x]$ by
    $\hat f(x) = \sum_j c_j(x) f(Y_j)$, a sum over the treated. Write
    `dr_weights(treated, chance, gram, ridge)`, which returns the weights $w$ `(n,)` with
    $$\sum_j w_j f(Y_j) = \frac1n \sum_i \Big\{ \frac{A_i}{\hat\pi_i}
    \big[ f(Y_i) - \hat f(x_i) \big] + \hat f(x_i) \Big\} \quad \text{for every } f,$$
    and raises `ValueError` when nobody is treated. (One fold: no splitting here.)
    """,
    function="dr_weights",
    check=_check_dr_weights,
    solution=dr_weights,
    wrong=[
        Wrong("weighting only", _no_correction, says="plain weighting"),
        Wrong("plug-in only", _only_plug_in, says="with a huge ridge"),
        Wrong("adds both", _adds_both, says="1 - A_i / pi_i times"),
        Wrong("learns from the untreated", _uses_the_untreated, says="untreated person"),
        Wrong("forgets 1/n", _sums, says="with a huge ridge"),
        Wrong("nobody treated", _accepts_nobody, says="nothing to learn from"),
    ],
    hints=[
        "Sort the sum by j: f(Y_j) appears as a treated person's own, and in every prediction.",
        "All predictions together: solve(K + ridge I, gram[known] @ (1 - A / chance)) / n.",
    ],
)

# --- 3. A control variate for several integrals --------------------------------------------------


def stein_cv(values, base, task, coupling, ridge):
    """Return the estimates (T,) of the integrals of T integrands."""
    n = len(values)
    matrix = base * coupling[np.ix_(task, task)] + ridge * np.eye(n)
    member = np.equal(task[:, None], np.arange(len(coupling))).astype(float)
    solved = np.linalg.solve(matrix, np.column_stack([member, values]))
    return np.linalg.solve(member.T @ solved[:, :-1], member.T @ solved[:, -1])


def _plain_means(values, base, task, coupling, ridge):
    return np.array([values[task == t].mean() for t in range(len(coupling))])


def _one_constant(values, base, task, coupling, ridge):
    matrix = base * coupling[np.ix_(task, task)] + ridge * np.eye(len(values))
    ones = np.linalg.solve(matrix, np.ones(len(values)))
    return np.full(len(coupling), ones @ values / ones.sum())


def _no_coupling(values, base, task, coupling, ridge):
    return stein_cv(values, base, task, np.ones_like(coupling), ridge)


def _tasks_apart(values, base, task, coupling, ridge):
    return stein_cv(values, base, task, np.diag(np.diagonal(coupling)), ridge)


def _no_constant(values, base, task, coupling, ridge):
    matrix = base * coupling[np.ix_(task, task)]
    fitted = matrix @ np.linalg.solve(matrix + ridge * np.eye(len(values)), values)
    return _plain_means(values - fitted, base, task, coupling, ridge)


def _check_stein_cv(candidate):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(26, 1))
    task = rng.permutation(np.repeat([0, 1], [18, 8]))
    base = stein_gram(Gaussian(1.0), x, -x)
    wave = np.sin(2 * x[:, 0]) + x[:, 0] ** 2
    related = np.array([[1.0, 0.9], [0.9, 1.0]])

    on = "for constant integrands, 3 and -5"
    found = call(candidate, np.where(task == 0, 3.0, -5.0), base, task, related, 1e-3, on=on)
    expect_shape(found, (2,), f"{on}, one estimate a task")
    expect(
        not np.isclose(found[0], found[1]),
        f"{on} you return {describe(np.asarray(found))}: every task has a constant of its own, so "
        "E has one column a task",
    )
    expect_close(
        found,
        np.array([3.0, -5.0]),
        f"{on} the estimates are the constants themselves: solve for beta, do not average what "
        "the kernel leaves",
        rtol=1e-6,
    )

    on = "with B = I"
    found = call(candidate, wave, base, task, np.eye(2), 1e-3, on=on)
    apart = [
        stein_cv(
            wave[task == t],
            base[np.ix_(task == t, task == t)],
            np.zeros(np.sum(task == t), int),
            np.eye(1),
            1e-3,
        )[0]
        for t in (0, 1)
    ]
    expect(
        not np.allclose(found, _plain_means(wave, base, task, np.eye(2), 1e-3)),
        "these are the means of the values; the kernel's functions, whose integral is zero, should "
        "explain the waves first",
    )
    expect_close(
        found,
        np.array(apart),
        f"{on} the tasks know nothing of each other, so each estimate is that of its own points "
        "alone: multiply base_ij by B[task_i, task_j]",
        rtol=1e-6,
    )

    on = "with B_12 = 0.9"
    found = call(candidate, wave, base, task, related, 1e-3, on=on)
    expect(
        not np.allclose(found, apart),
        f"{on} you return what B = I gives: the entry B_12 must let one task's points help the "
        "other",
    )
    expect_close(found, stein_cv(wave, base, task, related, 1e-3), on, rtol=1e-6)


STEIN_CV = Exercise(
    "stein_fitting/stein_cv",
    title="Integrals that help each other",
    task=r"""
    $N$ evaluations `values` belong to the tasks `task` (integers from 0, shape `(N,)`). `base` is
    the `(N, N)` Stein kernel of all points; each row integrates to zero. Write
    `stein_cv(values, base, task, coupling, ridge)`, which returns the estimates $\beta$ `(T,)` of
    $$(K_0 + \text{ridge}\, I)\, a + E\beta = \text{values}, \qquad E^\top a = 0,$$
    with $K_{0,ij} = B_{t_i t_j}\, \text{base}_{ij}$, $B$ = `coupling`, and $E_{it} = 1$ if
    $t_i = t$, else 0.
    Then invent an experiment: which integrands make sharing harmful, and what does $B$ have to be?
    """,
    function="stein_cv",
    check=_check_stein_cv,
    solution=stein_cv,
    wrong=[
        Wrong("plain means", _plain_means, says="these are the means of the values"),
        Wrong("one constant for all", _one_constant, says="a constant of its own"),
        Wrong("ignores B", _no_coupling, says="multiply base_ij by B"),
        Wrong("keeps tasks apart", _tasks_apart, says="what B = I gives"),
        Wrong("averages residuals", _no_constant, says="solve for beta"),
    ],
    hints=[
        "coupling[np.ix_(task, task)] has the right entry of B for every pair of points.",
        "With A = K0 + ridge I: beta = (E^T A^-1 E)^-1 E^T A^-1 values.",
    ],
)


EXERCISES = (PROJECT_OUT, DR_WEIGHTS, STEIN_CV)
