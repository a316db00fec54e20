"""Exercises of the ridge in motion lab: a dictionary, a projected step, a greedy teacher.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.compute.kernels import Gaussian, Laplace
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

# --- 1. Approximate linear dependence ------------------------------------------------------------


def ald_step(dictionary, inverse, x, kernel, threshold):
    """Show the dictionary one point; return dictionary, inverse and the residual delta."""
    point = x.reshape(1, -1)
    cross = kernel.gram(point, dictionary)[0]
    b = inverse @ cross
    delta = kernel.diagonal(point)[0] - cross @ b
    if delta <= threshold:
        return dictionary, inverse, delta
    corner = np.block([[np.outer(b, b), -b[:, None]], [-b[None, :], np.ones((1, 1))]]) / delta
    grown = corner + np.pad(inverse, (0, 1))
    return np.vstack([dictionary, point]), grown, delta


def _grow_anyhow(dictionary, inverse, x, kernel, delta):
    """Add x to the dictionary and invert from scratch; for wrong answers about delta."""
    grown = np.vstack([dictionary, x])
    return grown, np.linalg.inv(kernel.gram(grown)), delta


def _nearest_member(dictionary, inverse, x, kernel, threshold):
    delta = 1.0 - kernel.gram(x.reshape(1, -1), dictionary).max() ** 2
    if delta <= threshold:
        return dictionary, inverse, delta
    return _grow_anyhow(dictionary, inverse, x, kernel, delta)


def _no_inverse(dictionary, inverse, x, kernel, threshold):
    cross = kernel.gram(x.reshape(1, -1), dictionary)[0]
    delta = 1.0 - cross @ cross
    if delta <= threshold:
        return dictionary, inverse, delta
    return _grow_anyhow(dictionary, inverse, x, kernel, delta)


def _admits_the_known(dictionary, inverse, x, kernel, threshold):
    with np.errstate(divide="ignore", invalid="ignore"):
        grown, inverse_grown, delta = ald_step(dictionary, inverse, x, kernel, -np.inf)
    return (grown, inverse_grown, delta) if delta <= threshold else (dictionary, inverse, delta)


def _block_diagonal(dictionary, inverse, x, kernel, threshold):
    grown, _, delta = ald_step(dictionary, inverse, x, kernel, threshold)
    if len(grown) == len(dictionary):
        return dictionary, inverse, delta
    wider = np.pad(inverse, (0, 1))
    wider[-1, -1] = 1.0 / delta
    return grown, wider, delta


def _keeps_the_old_block(dictionary, inverse, x, kernel, threshold):
    grown, right, delta = ald_step(dictionary, inverse, x, kernel, threshold)
    if len(grown) > len(dictionary):
        right = right.copy()
        right[:-1, :-1] = inverse
    return grown, right, delta


def _ald_result(result, on):
    """Take the learner's three results apart, or say what came instead."""
    if not isinstance(result, tuple) or len(result) != 3:
        raise Refused(
            f"{on}, return three things, dictionary, inverse and delta; you return "
            f"{describe(result)}"
        )
    return result


def _check_ald_step(candidate):
    kernel, rng = Gaussian(0.5), np.random.default_rng(0)
    start = np.array([[0.0], [0.6]])
    inverse = np.linalg.inv(kernel.gram(start))

    # A point between two members: both explain a part of it.
    middle = np.array([0.3])
    cross = kernel.gram(middle[None], start)[0]
    delta = 1.0 - cross @ inverse @ cross
    on = "for a point half way between two members"
    _, _, found = _ald_result(call(candidate, start, inverse, middle, kernel, 2.0, on=on), on)
    expect_shape(found, (), "delta is one number")
    expect(
        not np.isclose(found, 1.0 - cross.max() ** 2),
        "delta looks at the nearest member only; the point half way between two members is "
        "explained by both together: b = K^-1 k",
    )
    expect(
        not np.isclose(found, 1.0 - cross @ cross),
        "delta is k(x,x) - k^T K^-1 k; without K^-1 the overlap of the two members is counted "
        f"twice: you return {float(found):.4g} and it must be {delta:.4g}",
    )
    expect_close(found, delta, f"{on}, delta is what its projection leaves", rtol=1e-6)

    on = "for a point that is in the dictionary already"
    kept, _, _ = _ald_result(call(candidate, start, inverse, start[1], kernel, 1e-6, on=on), on)
    expect(
        len(kept) == 2,
        f"{on} nothing is left (delta = 0), so it must not join: add x only when delta is above "
        "the threshold",
    )

    points = rng.uniform(-1, 1, (6, 2))
    kernel = Laplace(1.0)
    dictionary, inverse = points[:1], np.ones((1, 1))
    for t, x in enumerate(points[1:], 2):
        on = f"when point {t} of 6 distinct ones comes, at threshold 0"
        dictionary, inverse, _ = _ald_result(
            call(candidate, dictionary, inverse, x, kernel, 0.0, on=on), on
        )
        expect(len(dictionary) == t, f"{on}, every distinct point must join the dictionary")
        expect_close(dictionary, points[:t], f"{on}, append x as the last row")
        expect_shape(inverse, (t, t), f"{on}, the inverse grows with the dictionary")
        right = np.linalg.inv(kernel.gram(dictionary))
        off = np.abs(inverse - right)
        expect(
            not (off[:-1, -1].max() > 1e-8 and np.allclose(inverse[:-1, -1], 0)),
            "the new row and column of the inverse are -b/delta, not zeros: members overlap",
        )
        expect(
            not (off[:-1, :-1].max() > 1e-8 and off[:, -1].max() < 1e-8),
            "the old block of the inverse changes too: add b b^T / delta to it",
        )
        expect_close(
            inverse, right, f"{on}, the inverse must stay that of K_S", rtol=1e-8, atol=1e-8
        )


ALD_STEP = Exercise(
    "ridge_in_motion/ald_step",
    title="Does this point bring a new direction?",
    task=r"""
    Write `ald_step(dictionary, inverse, x, kernel, threshold)`: show one point `x` (a vector of
    length $d$) to a dictionary $S$ (an array with one point a row) that carries
    `inverse` $= K_S^{-1}$. With $k = k_S(x)$ (`kernel.gram(x.reshape(1, -1), dictionary)[0]`) and
    $b = K_S^{-1} k$, what the dictionary cannot explain is $\delta = k(x, x) - k^\top b$.

    If $\delta$ is above `threshold`, append `x` to the dictionary and update the inverse in
    $O(s^2)$:
    $$K_S^{-1} \leftarrow \begin{pmatrix} K_S^{-1} + b b^\top/\delta & -b/\delta \\
    -b^\top/\delta & 1/\delta \end{pmatrix}.$$
    Return `(dictionary, inverse, delta)`, changed or not. `kernel.diagonal(points)` gives
    $k(x, x)$.
    """,
    function="ald_step",
    check=_check_ald_step,
    solution=ald_step,
    wrong=[
        Wrong("looks at the nearest member", _nearest_member, says="nearest member only"),
        Wrong("forgets the inverse in delta", _no_inverse, says="counted twice"),
        Wrong("adds what is known", _admits_the_known, says="must not join"),
        Wrong("borders with zeros", _block_diagonal, says="not zeros"),
        Wrong("leaves the old block alone", _keeps_the_old_block, says="old block"),
    ],
    hints=[
        "delta is one number: kernel.diagonal(x.reshape(1, -1))[0] - k @ b.",
        "np.block([[A, B], [C, D]]) puts the four pieces together; b[:, None] is a column.",
    ],
)


# --- 2. A projected gradient step -----------------------------------------------------------------


def projected_step(weights, y, cross, gram, step_size):
    """Return a - step K(Z,Z)^-1 K(Z,X_m) (K(X_m,Z) a - y)."""
    residual = cross @ weights - y
    return weights - step_size * np.linalg.solve(gram, cross.T @ residual)


def _never_projects(weights, y, cross, gram, step_size):
    return weights - step_size * cross.T @ (cross @ weights - y)


def _multiplies_by_the_gram(weights, y, cross, gram, step_size):
    return weights - step_size * gram @ (cross.T @ (cross @ weights - y))


def _averages(weights, y, cross, gram, step_size):
    residual = cross @ weights - y
    return weights - step_size * np.linalg.solve(gram, cross.T @ residual) / len(y)


def _uphill(weights, y, cross, gram, step_size):
    residual = y - cross @ weights
    return weights - step_size * np.linalg.solve(gram, cross.T @ residual)


def _check_projected_step(candidate):
    rng = np.random.default_rng(1)
    kernel = Laplace(0.7)
    x = rng.uniform(0, 1, (8, 1))
    gram, y, weights = kernel.gram(x), rng.standard_normal(8), rng.standard_normal(8)
    step = 0.1
    descent = weights - step * (gram @ weights - y)

    on = "with all points as centres and as batch"
    got = call(candidate, weights, y, gram, gram, step, on=on)
    expect_shape(got, (8,), "there is one weight a centre")
    residual = gram @ weights - y
    expect(
        not np.allclose(got, weights - step * gram @ residual),
        "K(Z, X_m) g holds values of the step at the centres, not weights: solve K(Z, Z) theta = h "
        "to get the function with these values",
    )
    expect(
        not np.allclose(got, weights - step * gram @ gram @ residual),
        "multiplying by K(Z, Z) goes from weights to values, which is the wrong way: solve with it",
    )
    expect(
        not np.allclose(got, weights + step * residual),
        "the step climbs: the residual is f(X_m) - y, and the step goes against it",
    )
    expect(
        not np.allclose(got, weights - step * residual / 8),
        "the gradient is the sum over the batch here; you divide it by the batch's size",
    )
    expect_close(got, descent, f"{on}, this must be kernel gradient descent, a - step g", rtol=1e-6)

    centres, batch = x[:3], x[3:7]
    cross, small = kernel.gram(batch, centres), kernel.gram(centres)
    got = call(
        candidate, weights[:3], y[3:7], cross, small, step, on="with 3 centres, a batch of 4"
    )
    expect_close(
        got,
        projected_step(weights[:3], y[3:7], cross, small, step),
        "with 3 centres and a batch of 4",
        rtol=1e-6,
    )
    # Steps on all the data must end at least squares.
    cross = kernel.gram(x, centres)
    theta = np.zeros(3)
    for _ in range(400):
        theta = call(candidate, theta, y, cross, small, 0.2, on="in the course of 400 steps")
    best = np.linalg.lstsq(cross, y, rcond=None)[0]
    expect_close(theta, best, "after 400 full steps the weights must be least squares", rtol=1e-4)


PROJECTED_STEP = Exercise(
    "ridge_in_motion/projected_step",
    title="A step that comes back to the centres",
    task=r"""
    The model is $f = \sum_j a_j k(\cdot, z_j)$ on $p$ centres. A batch $(X_m, y_m)$ asks it to move
    along $k(\cdot, X_m)\, g$ with $g = f(X_m) - y_m$, a function that is not on the centres. Its
    projection is the $\theta$ with $K(Z, Z)\,\theta = K(Z, X_m)\, g$.

    Write `projected_step(weights, y, cross, gram, step_size)` that returns
    $a - \text{step}\cdot\theta$, where `weights` is $a$, `cross` is $K(X_m, Z)$ with one row an
    example, and `gram` is $K(Z, Z)$. Sum over the batch, do not average.
    """,
    function="projected_step",
    check=_check_projected_step,
    solution=projected_step,
    wrong=[
        Wrong("never projects", _never_projects, says="values of the step at the centres"),
        Wrong("multiplies instead of solving", _multiplies_by_the_gram, says="the wrong way"),
        Wrong("averages over the batch", _averages, says="sum over the batch"),
        Wrong("climbs", _uphill, says="the step climbs"),
    ],
    hints=[
        "The residual is cross @ weights - y, and h = cross.T @ residual.",
        "np.linalg.solve(gram, h) is K(Z, Z)^-1 h.",
    ],
)


# --- 3. A greedy teacher --------------------------------------------------------------------------


def greedy_teach(values, target, gram, step_size, lessons):
    """Return the learner's values after the lessons and the points that it was shown."""
    values = values.copy()
    chosen = np.empty(lessons, dtype=int)
    for t in range(lessons):
        x = np.argmax(np.abs(values - target))
        chosen[t] = x
        values -= step_size * (values[x] - target[x]) * gram[x]
    return values, chosen


def _teach_by(pick, move):
    """A teacher with another rule for the point or for what the learner does with it."""

    def greedy_teach(values, target, gram, step_size, lessons):
        values = values.copy()
        chosen = np.empty(lessons, dtype=int)
        for t in range(lessons):
            chosen[t] = pick(values - target)
            values = move(values, target, gram, step_size, chosen[t])
        return values, chosen

    return greedy_teach


def _right_pick(error):
    return np.argmax(np.abs(error))


def _right_move(values, target, gram, step_size, x):
    return values - step_size * (values[x] - target[x]) * gram[x]


_signed = _teach_by(np.argmax, _right_move)
_smallest_error = _teach_by(lambda error: np.argmin(np.abs(error)), _right_move)


def _one_value(values, target, gram, step_size, x):
    moved = values.copy()
    moved[x] -= step_size * (values[x] - target[x])
    return moved


def _whole_gradient(values, target, gram, step_size, x):
    return values - step_size * gram @ (values - target)


_forgets_the_kernel = _teach_by(_right_pick, _one_value)
_teaches_everything = _teach_by(_right_pick, _whole_gradient)


def _teaches_away(values, target, gram, step_size, lessons):
    return _teach_by(_right_pick, lambda v, t, g, s, x: v + s * (v[x] - t[x]) * g[x])(
        values, target, gram, step_size, lessons
    )


def _plans_ahead(values, target, gram, step_size, lessons):
    """Chooses all points by the first errors."""
    chosen = np.argsort(-np.abs(values - target))[:lessons]
    values = values.copy()
    for x in chosen:
        values -= step_size * (values[x] - target[x]) * gram[x]
    return values, chosen


def _check_greedy_teach(candidate):
    rng = np.random.default_rng(2)
    points = np.linspace(0, 1, 12)[:, None]
    gram = Gaussian(0.1).gram(points)
    truth = rng.standard_normal(12)
    target = gram @ truth
    target *= np.sign(target[np.argmax(np.abs(target))])  # the largest error lies below the target
    start = np.zeros(12)
    start[3] = (
        target[3] + 0.2
    )  # a small error above the target: a teacher who drops signs goes here

    def lesson(count, on, step=0.5):
        result = call(candidate, start, target, gram, step, count, on=on)
        expect(
            isinstance(result, tuple) and len(result) == 2,
            f"return two things, values and chosen; you return {describe(result)}",
        )
        values, chosen = result
        expect_shape(values, (12,), "values holds the learner's function at all points")
        expect_shape(chosen, (count,), "chosen holds one point a lesson")
        return np.asarray(values), np.asarray(chosen)

    error = start - target
    values, chosen = lesson(1, "in the first lesson")
    worst = int(np.argmax(np.abs(error)))
    expect(
        int(chosen[0]) != int(np.argmax(error)) or int(chosen[0]) == worst,
        "errors below the target count as much as errors above it: take the largest |f - f*|",
    )
    expect(
        int(chosen[0]) == worst,
        f"the first lesson shows point {describe(chosen[0])}, where |f - f*| is "
        f"{abs(error[int(chosen[0]) % 12]):.3g}; at point {worst} it is {abs(error[worst]):.3g}",
    )
    expect(
        np.count_nonzero(np.abs(values - start) > 1e-12) > 1,
        "only the value at the chosen point moves; the learner moves along k(x, .), and its "
        "neighbours move with it",
    )
    expect(
        not np.allclose(values, start + 0.5 * error[worst] * gram[worst]),
        "the learner moves away from the target: subtract step (f(x) - f*(x)) k(x, .)",
    )
    expect(
        not np.allclose(values, start - 0.5 * gram @ error),
        "that is a gradient step on all points at once; a lesson shows one example",
    )
    expect_close(
        values, start - 0.5 * error[worst] * gram[worst], "after the first lesson", rtol=1e-7
    )
    values, chosen = lesson(8, "in eight lessons")
    want, order = greedy_teach(start, target, gram, 0.5, 8)
    expect(
        not (np.asarray(chosen) == np.argsort(-np.abs(error))[:8]).all(),
        "all points are chosen by the first errors; look again after each lesson, because the "
        "neighbours have moved",
    )
    expect(
        (np.asarray(chosen) == order).all(),
        f"the points shown must be {describe(order[:6])} ...; they are {describe(chosen[:6])} ...",
    )
    expect_close(values, want, "after eight lessons", rtol=1e-7)

    # In the kernel's space every lesson brings the learner nearer, for any step below 2.
    inverse = np.linalg.inv(gram)
    for step in (0.5, 1.0, 1.9):
        distances = [(start - target) @ inverse @ (start - target)]
        for count in (1, 2, 4, 8):
            gap = lesson(count, f"with step {step}", step)[0] - target
            distances.append(gap @ inverse @ gap)
        expect(
            bool(np.all(np.diff(distances) < 0)),
            f"with step {step} < 2 each lesson must lower ||f - f*|| in the kernel's space",
        )


GREEDY_TEACH = Exercise(
    "ridge_in_motion/greedy_teach",
    title="Teach what is known worst",
    task=r"""
    A learner's function is known by its `values` at $N$ points, and the teacher knows the `target`
    $f^*$ there. Write `greedy_teach(values, target, gram, step_size, lessons)`: in each lesson take
    the point $x = \arg\max |f - f^*|$ and let the learner move by
    $$f \leftarrow f - \text{step}\,(f(x) - f^*(x))\, k(x, \cdot),$$
    where row $x$ of `gram` is $k(x, \cdot)$ at the points. Return `(values, chosen)`: the values
    at the end, and the index shown in each lesson. Leave the caller's `values` as they are.
    """,
    function="greedy_teach",
    check=_check_greedy_teach,
    solution=greedy_teach,
    wrong=[
        Wrong("drops the sign", _signed, says="errors below the target"),
        Wrong("takes the smallest error", _smallest_error, says="the first lesson shows point"),
        Wrong("moves one value only", _forgets_the_kernel, says="neighbours move with it"),
        Wrong("teaches away", _teaches_away, says="away from the target"),
        Wrong("teaches all points at once", _teaches_everything, says="shows one example"),
        Wrong("plans all lessons ahead", _plans_ahead, says="look again after each lesson"),
    ],
    hints=[
        "np.argmax(np.abs(values - target)) is the point to show.",
        "The learner's move is a whole row of the gram matrix, scaled by one number.",
    ],
)


EXERCISES = (ALD_STEP, PROJECTED_STEP, GREEDY_TEACH)
