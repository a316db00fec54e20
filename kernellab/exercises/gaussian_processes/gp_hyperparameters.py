"""Exercises of the hyper-parameter lab: a gradient, a reversible step, a bound by blocks.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.lab.exercises import Exercise, Wrong, call, describe, expect, expect_close

# --- 1. The log marginal likelihood and its gradient ---------------------------------------------


def lml_and_grad(theta, x, y):
    """Return log p(y | theta) and its gradient, theta = log of (amplitude, length, noise)."""
    amplitude2, length2, noise2 = np.exp(2 * np.asarray(theta))
    squares = np.sum((x[:, None] - x) ** 2, axis=2) / length2
    gram = amplitude2 * np.exp(-squares / 2)
    inverse = np.linalg.inv(gram + noise2 * np.eye(len(y)))
    a = inverse @ y
    value = -0.5 * (y @ a - np.linalg.slogdet(inverse)[1] + len(y) * np.log(2 * np.pi))
    weights = np.outer(a, a) - inverse
    changes = (2 * gram, gram * squares, 2 * noise2 * np.eye(len(y)))
    return value, np.array([0.5 * np.sum(weights * change) for change in changes])


def _no_occam(theta, x, y):
    amplitude2, length2, noise2 = np.exp(2 * np.asarray(theta))
    squares = np.sum((x[:, None] - x) ** 2, axis=2) / length2
    gram = amplitude2 * np.exp(-squares / 2)
    noisy = gram + noise2 * np.eye(len(y))
    a = np.linalg.solve(noisy, y)
    value = -0.5 * (y @ a + np.linalg.slogdet(noisy)[1] + len(y) * np.log(2 * np.pi))
    changes = (2 * gram, gram * squares, 2 * noise2 * np.eye(len(y)))
    return value, np.array([0.5 * a @ change @ a for change in changes])


def _not_in_logs(theta, x, y):
    value, gradient = lml_and_grad(theta, x, y)
    return value, gradient / np.exp(np.asarray(theta))


def _no_noise_in_gram(theta, x, y):
    amplitude2, length2, noise2 = np.exp(2 * np.asarray(theta))
    squares = np.sum((x[:, None] - x) ** 2, axis=2) / length2
    gram = amplitude2 * np.exp(-squares / 2)
    inverse = np.linalg.inv(gram)
    a = inverse @ y
    value = -0.5 * (y @ a - np.linalg.slogdet(inverse)[1] + len(y) * np.log(2 * np.pi))
    weights = np.outer(a, a) - inverse
    changes = (2 * gram, gram * squares, 2 * noise2 * np.eye(len(y)))
    return value, np.array([0.5 * np.sum(weights * change) for change in changes])


def _variances_not_deviations(theta, x, y):
    value, gradient = lml_and_grad(np.asarray(theta) * [0.5, 1, 0.5], x, y)
    return value, gradient * [0.5, 1, 0.5]


def _opposite_sign(theta, x, y):
    value, gradient = lml_and_grad(theta, x, y)
    return -value, -gradient


def _check_lml(candidate):
    rng = np.random.default_rng(0)
    on = "with one point, y = 1.5, amplitude 1 and noise 0.5"
    theta = np.log([1.0, 0.3, 0.5])
    answer = call(candidate, theta, np.array([[0.2]]), np.array([1.5]), on=on)
    expect(
        isinstance(answer, tuple) and len(answer) == 2,
        f"return two things, the value and the gradient; you return {describe(answer)}",
    )
    value = float(np.asarray(answer[0], dtype=float))
    want = -0.5 * (1.5**2 / 1.25 + np.log(1.25) + np.log(2 * np.pi))
    expect(
        not np.isclose(value, -want),
        f"{on} log N(1.5; 0, 1.25) is {want:.4f}, yours has the opposite sign: it is "
        "to be maximised, so return it, not a loss",
    )
    at_variance = -0.5 * (1.5**2 / 1.5 + np.log(1.5) + np.log(2 * np.pi))
    expect(
        not np.isclose(value, at_variance),
        f"{on} you return log N(1.5; 0, 1 + 0.5); the hyper-parameters are standard deviations, so "
        "the variances are exp(2 theta)",
    )

    on = "with inputs that repeat and noise 0.5"
    x, y = rng.integers(0, 4, size=(9, 1)) / 4.0, rng.normal(size=9)
    try:
        value, gradient = call(candidate, theta, x, y, on=on)
        sound = np.isfinite(value) and np.abs(value) < 1e3
    except np.linalg.LinAlgError:
        sound = False
    expect(
        sound,
        f"{on} the likelihood is finite, for noise^2 on the diagonal makes Ky = K + noise^2 I "
        "invertible; K alone is singular",
    )
    want, slope = lml_and_grad(theta, x, y)
    expect_close(value, want, f"{on} the value", rtol=1e-8)
    gradient = np.asarray(gradient, dtype=float)
    expect(
        not np.allclose(gradient, slope / np.exp(theta)),
        f"{on} these are the derivatives in the hyper-parameters themselves; in their logarithms "
        "each one is multiplied by the hyper-parameter",
    )
    expect(
        not np.allclose(gradient, _no_occam(theta, x, y)[1]),
        f"{on} your gradient only rewards the fit; log det Ky also changes: subtract tr(Ky^-1 dK), "
        "the term that makes a flexible model pay",
    )
    expect_close(gradient, slope, f"{on} the gradient", rtol=1e-6)


LML_AND_GRAD = Exercise(
    "gp_hyperparameters/lml_and_grad",
    title="The surface and its slope",
    task=r"""
    $\theta = (\log \text{amplitude}, \log \text{length}, \log \text{noise})$, standard deviations,
    inputs `x` of shape `(n, d)`, targets `y` `(n,)`,
    $K_{ij} = \text{amplitude}^2 \exp(-\lVert x_i - x_j \rVert^2 / (2\, \text{length}^2))$ and
    $K_y = K + \text{noise}^2 I$. Write
    `lml_and_grad(theta, x, y)`, which returns $\log \mathcal{N}(y; 0, K_y)$ and its gradient `(3,)`
    in $\theta$,
    $$\frac{\partial}{\partial \theta_j} = \tfrac12 \operatorname{tr}\big[ (a a^\top - K_y^{-1})
    \, \partial K_y / \partial \theta_j \big], \qquad a = K_y^{-1} y .$$
    """,
    function="lml_and_grad",
    check=_check_lml,
    solution=lml_and_grad,
    wrong=[
        Wrong("fit without the determinant", _no_occam, says="only rewards the fit"),
        Wrong("not in logarithms", _not_in_logs, says="in their logarithms"),
        Wrong("forgets the noise", _no_noise_in_gram, says="K alone is singular"),
        Wrong("variances", _variances_not_deviations, says="standard deviations"),
        Wrong("a loss", _opposite_sign, says="opposite sign"),
    ],
    hints=[
        "d K / d log amplitude = 2 K; d K / d log length = K * squared distance / length^2.",
        "tr(A B) of symmetric matrices is np.sum(A * B).",
    ],
)

# --- 2. A leapfrog step ---------------------------------------------------------------------------


def leapfrog(theta, momentum, gradient, step, steps):
    """Return theta and momentum after leapfrog steps; gradient(theta) is that of log p."""
    for _ in range(steps):
        momentum = momentum + 0.5 * step * gradient(theta)
        theta = theta + step * momentum
        momentum = momentum + 0.5 * step * gradient(theta)
    return theta, momentum


def _euler(theta, momentum, gradient, step, steps):
    for _ in range(steps):
        theta, momentum = theta + step * momentum, momentum + step * gradient(theta)
    return theta, momentum


def _whole_kicks(theta, momentum, gradient, step, steps):
    for _ in range(steps):
        momentum = momentum + step * gradient(theta)
        theta = theta + step * momentum
    return theta, momentum


def _downhill(theta, momentum, gradient, step, steps):
    return leapfrog(theta, momentum, lambda t: -gradient(t), step, steps)


def _one_step(theta, momentum, gradient, step, steps):
    return leapfrog(theta, momentum, gradient, step, 1)


def _stale_slope(theta, momentum, gradient, step, steps):
    for _ in range(steps):
        slope = gradient(theta)
        momentum = momentum + 0.5 * step * slope
        theta = theta + step * momentum
        momentum = momentum + 0.5 * step * slope
    return theta, momentum


def _energy(theta, momentum):
    """H of a Gaussian with variances 1 and 4."""
    return 0.5 * (momentum @ momentum + theta @ (theta / [1.0, 4.0]))


def _check_leapfrog(candidate):
    start, push = np.array([1.0, -0.5]), np.array([0.3, 0.8])

    def slope(theta):
        return -np.asarray(theta) / [1.0, 4.0]

    on = "with one step of 0.2"
    answer = call(candidate, start.copy(), push.copy(), slope, 0.2, 1, on=on)
    expect(
        isinstance(answer, tuple) and len(answer) == 2,
        f"return theta and momentum; you return {describe(answer)}",
    )
    down = _downhill(start, push, slope, 0.2, 1)
    expect(
        not np.allclose(answer[0], down[0]),
        f"{on} theta is pushed down the density; the momentum grows along + grad log p",
    )
    theta, momentum = (np.asarray(part, dtype=float) for part in answer)
    back, turned = call(
        candidate, theta.copy(), -momentum, slope, 0.2, 1, on="on the way back, momentum reversed"
    )
    expect(
        np.allclose(back, start) and np.allclose(-np.asarray(turned), push),
        f"{on} and then one with the momentum reversed you end at {describe(np.asarray(back))}, "
        "not at the start [1, -0.5]: the step must be symmetric, half a kick with the slope where "
        "you are, a move, half a kick with the slope where you arrive",
    )

    on = "with five steps of 0.2"
    found = call(candidate, start.copy(), push.copy(), slope, 0.2, 5, on=on)
    expect(
        not np.allclose(found[0], leapfrog(start, push, slope, 0.2, 1)[0]),
        f"{on} you are where one step leads: repeat the three lines for each step",
    )
    errors = []
    for size in (0.1, 0.05):
        end = call(candidate, start.copy(), push.copy(), slope, size, round(2 / size))
        errors.append(abs(_energy(*end) - _energy(start, push)))
    rate = np.log2(errors[0] / max(errors[1], 1e-300))
    expect(
        rate > 1.5,
        f"halving the step divides the energy error by 2^{rate:.2f}; of a leapfrog it is 2^2",
    )
    wanted = leapfrog(start, push, slope, 0.2, 5)
    expect_close(found[0], wanted[0], f"{on} theta")
    expect_close(found[1], wanted[1], f"{on} the momentum")


LEAPFROG = Exercise(
    "gp_hyperparameters/leapfrog",
    title="A step that can be undone",
    task=r"""
    `gradient(theta)` returns $\nabla \log p(\theta)$, `(p,)`. Write
    `leapfrog(theta, momentum, gradient, step, steps)`, which returns both after `steps` times
    $$m \mathrel{+}= \tfrac{\epsilon}{2} \nabla \log p(\theta), \quad
    \theta \mathrel{+}= \epsilon m, \quad
    m \mathrel{+}= \tfrac{\epsilon}{2} \nabla \log p(\theta).$$
    With the momentum reversed, the same number of steps must lead back; the energy
    $\lVert m \rVert^2/2 - \log p$ must be kept up to a multiple of $\epsilon^2$.
    """,
    function="leapfrog",
    check=_check_leapfrog,
    solution=leapfrog,
    wrong=[
        Wrong("Euler", _euler, says="must be symmetric"),
        Wrong("whole kicks", _whole_kicks, says="must be symmetric"),
        Wrong("downhill", _downhill, says="down the density"),
        Wrong("one step only", _one_step, says="where one step leads"),
        Wrong("old slope", _stale_slope, says="must be symmetric"),
    ],
    hints=["Compute the gradient again after theta has moved."],
)

# --- 3. Fischer's bound ---------------------------------------------------------------------------


def fischer_bound(matrix, blocks):
    """Return sum over blocks of log det(I + M_bb)."""
    return sum(
        np.linalg.slogdet(np.eye(len(block)) + matrix[np.ix_(block, block)])[1] for block in blocks
    )


def _whole_matrix(matrix, blocks):
    return np.linalg.slogdet(np.eye(len(matrix)) + matrix)[1]


def _diagonal_only(matrix, blocks):
    return np.log1p(np.diagonal(matrix)).sum()


def _no_identity(matrix, blocks):
    return sum(
        np.linalg.slogdet(matrix[np.ix_(block, block)] + 1e-12 * np.eye(len(block)))[1]
        for block in blocks
    )


def _first_rows(matrix, blocks):
    ends = np.cumsum([0, *(len(block) for block in blocks)])
    parts = [np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return fischer_bound(matrix, parts)


def _first_block_times(matrix, blocks):
    return len(blocks) * fischer_bound(matrix, blocks[:1])


def _check_fischer(candidate):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(8, 5))
    matrix = factor @ factor.T
    shuffled = rng.permutation(8)
    thirds = [shuffled[:4], shuffled[4:7], shuffled[7:]]
    one = [np.arange(8)]

    on = "for M = 0"
    value = float(call(candidate, np.zeros((8, 8)), thirds, on=on))
    expect(
        abs(value) < 1e-9,
        f"{on} log det I = 0, yours is {value:.3g}: each block is I + M_bb, not M_bb",
    )
    exact = _whole_matrix(matrix, one)
    on = "with one block, all rows"
    value = float(call(candidate, matrix, one, on=on))
    expect(
        not np.isclose(value, _diagonal_only(matrix, one)),
        f"{on} you use the diagonal alone; a block keeps its couplings inside",
    )
    expect_close(value, exact, f"{on} the bound is the log-determinant itself")

    on = "with three blocks of shuffled rows"
    value = float(call(candidate, matrix, thirds, on=on))
    expect(
        not np.isclose(value, exact),
        f"{on} you return the exact log-determinant; what couples two blocks must be left out",
    )
    expect(
        not np.isclose(value, _first_rows(matrix, thirds)),
        f"{on} you cut the matrix into consecutive rows; take the rows and columns that the block "
        "names: np.ix_(block, block)",
    )
    expect(
        not np.isclose(value, _first_block_times(matrix, thirds)),
        f"{on} you count the first block three times; blocks differ, so add them all",
    )
    expect(
        value >= exact - 1e-9,
        f"{on} the sum must not be below the exact {exact:.3f}, yours is {value:.3f}",
    )
    expect_close(value, fischer_bound(matrix, thirds), on)


FISCHER = Exercise(
    "gp_hyperparameters/fischer_bound",
    title="A determinant in pieces",
    task=r"""
    $M$ (`matrix`, `(m, m)`) is positive semidefinite, and `blocks` is a list of index arrays which
    together hold each row once. Write `fischer_bound(matrix, blocks)`, which returns
    $$\sum_b \log \det(I + M_{bb}) \;\ge\; \log \det(I + M).$$
    For which $M$ is it equal for every partition, and for which partition is it equal for every
    $M$? Then invent an experiment: which grouping of the digits makes it tightest?
    """,
    function="fischer_bound",
    check=_check_fischer,
    solution=fischer_bound,
    wrong=[
        Wrong("the whole matrix", _whole_matrix, says="must be left out"),
        Wrong("the diagonal", _diagonal_only, says="diagonal alone"),
        Wrong("forgets I", _no_identity, says="I + M_bb"),
        Wrong("consecutive rows", _first_rows, says="np.ix_"),
        Wrong("one block counted", _first_block_times, says="add them all"),
    ],
    hints=["np.linalg.slogdet(A)[1] is log |det A| without overflow."],
)


EXERCISES = (LML_AND_GRAD, LEAPFROG, FISCHER)
