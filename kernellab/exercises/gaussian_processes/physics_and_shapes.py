"""Exercises of the physics and shapes lab: a heat kernel, a Kronecker solve, a transport.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_raises,
    expect_shape,
)

# --- 1. A kernel that solves the heat equation ---------------------------------------------------


def heat_kernel(x, t, x2, t2, width):
    """Return the covariance of the heat at (x, t) and at (x2, t2)."""
    q = width**2 + 2 * (t + t2)
    return width / np.sqrt(q) * np.exp(-((x - x2) ** 2) / (2 * q))


def _difference_of_times(x, t, x2, t2, width):
    q = width**2 + 2 * np.abs(t - t2)
    return width / np.sqrt(q) * np.exp(-((x - x2) ** 2) / (2 * q))


def _no_cooling(x, t, x2, t2, width):
    q = width**2 + 2 * (t + t2)
    return np.exp(-((x - x2) ** 2) / (2 * q))


def _forgets_the_factor(x, t, x2, t2, width):
    q = width**2 + t + t2
    return width / np.sqrt(q) * np.exp(-((x - x2) ** 2) / (2 * q))


def _not_one_at_zero(x, t, x2, t2, width):
    q = width**2 + 2 * (t + t2)
    return np.exp(-((x - x2) ** 2) / (2 * q)) / np.sqrt(q)


def _separable(x, t, x2, t2, width):
    return np.exp(-((x - x2) ** 2) / (2 * width**2)) * np.exp(-((t - t2) ** 2) / (2 * width**2))


def _check_heat_kernel(candidate):
    rng = np.random.default_rng(0)
    d = rng.normal(size=6)
    on = "at t = t' = 0"
    found = call(candidate, d, 0.0, 0.0, 0.0, 0.7, on=on)
    expect_shape(found, (6,), f"{on}, for six values of x")
    expect_close(
        found,
        np.exp(-(d**2) / (2 * 0.49)),
        f"{on} it is the Gaussian kernel of that width, with k = 1 at distance 0",
    )

    x, t, x2, t2, width = 0.4, 0.5, -0.3, 0.8, 0.7

    def k(x, t):
        return float(np.asarray(call(candidate, x, t, x2, t2, width, on="by differences")))

    step = 1e-3
    by_t = (k(x, t + step) - k(x, t - step)) / (2 * step)
    by_x = (k(x + step, t) - 2 * k(x, t) + k(x - step, t)) / step**2
    late = k(x2, 1e4)
    expect(
        late < 0.5 * k(x2, 0.0),
        "much later your kernel has not fallen at x = x': heat that spreads gets lower too, by "
        "width / sqrt(q), and time enters by the sum t + t'",
    )
    expect(
        abs(by_t - by_x) < 1e-4 * max(abs(by_x), 1e-3),
        f"by finite differences k_t = {by_t:.4g} but k_xx = {by_x:.4g}; the heat equation wants "
        "them equal: check how q grows with t and t'",
    )
    expect(
        abs(k(0.1, 0.2) - float(np.asarray(candidate(x2, t2, 0.1, 0.2, width)))) < 1e-12,
        "k((x, t), (x', t')) must be k((x', t'), (x, t)): a covariance is symmetric",
    )
    points = rng.random((12, 2)) * [3, 1]
    gram = np.array([[float(np.asarray(candidate(*p, *q, width))) for q in points] for p in points])
    expect(
        np.linalg.eigvalsh(gram).min() > -1e-9,
        "the matrix of 12 points has a negative eigenvalue, so this is no covariance",
    )
    expect_close(gram[0], heat_kernel(*points[0], *points.T, width), "at 12 random points")


HEAT_KERNEL = Exercise(
    "physics_and_shapes/heat_kernel",
    title="A kernel that solves the heat equation",
    task=r"""
    Waves $e^{i\omega x - \omega^2 t}$ solve $u_t = u_{xx}$. With
    $\omega \sim N(0, 1/\ell^2)$ their covariance is
    $$k\big((x, t), (x', t')\big) = \frac{\ell}{\sqrt{q}}\, e^{-(x - x')^2 / (2 q)}, \qquad
    q = \ell^2 + 2\,(t + t').$$
    Write `heat_kernel(x, t, x2, t2, width)` with `width` $= \ell$; arguments may be arrays that
    broadcast. The checker differentiates it: $k_t = k_{xx}$ must hold.
    """,
    function="heat_kernel",
    check=_check_heat_kernel,
    solution=heat_kernel,
    wrong=[
        Wrong("difference of the times", _difference_of_times, says="want"),
        Wrong("does not cool", _no_cooling, says="has not fallen"),
        Wrong("forgets the 2", _forgets_the_factor, says="by finite differences"),
        Wrong("not 1 at the start", _not_one_at_zero, says="at t = t' = 0"),
        Wrong("an ordinary kernel", _separable, says="by finite differences"),
    ],
    hints=[
        "q grows by 2 for each unit of either time: heat that left x' at t' has spread for t + t'.",
        "A bump that spreads keeps its area, so its height falls like 1 / sqrt(q).",
    ],
)

# --- 2. A solve with a Kronecker product ---------------------------------------------------------


def kron_solve(a, b, v):
    """Return (A kron B)^{-1} v, without the product."""
    if len(v) != len(a) * len(b):
        raise ValueError(f"v must have {len(a) * len(b)} entries, got {len(v)}")
    grid = np.reshape(v, (len(a), len(b)))
    return np.linalg.solve(b, np.linalg.solve(a, grid).T).T.ravel()


def _wrong_order(a, b, v):
    if len(v) != len(a) * len(b):
        raise ValueError("length")
    grid = np.reshape(v, (len(b), len(a)))
    return np.linalg.solve(a, np.linalg.solve(b, grid).T).T.ravel()


def _multiplies(a, b, v):
    if len(v) != len(a) * len(b):
        raise ValueError("length")
    return (a @ np.reshape(v, (len(a), len(b))) @ b.T).ravel()


def _only_one_side(a, b, v):
    if len(v) != len(a) * len(b):
        raise ValueError("length")
    return np.linalg.solve(a, np.reshape(v, (len(a), len(b)))).ravel()


def _result_transposed(a, b, v):
    if len(v) != len(a) * len(b):
        raise ValueError("length")
    return np.linalg.solve(b, np.linalg.solve(a, np.reshape(v, (len(a), len(b)))).T).ravel()


def _forms_it(a, b, v):
    return np.linalg.solve(np.kron(a, b), v)


def _accepts_any_length(a, b, v):
    return kron_solve(a, b, np.resize(v, len(a) * len(b)))


def _positive(rng, n):
    half = rng.normal(size=(n, n))
    return half @ half.T + n * np.eye(n)


def _check_kron_solve(candidate):
    rng = np.random.default_rng(0)
    on = "with A = 2 (one number) and B of side 3"
    b, v = _positive(rng, 3), rng.normal(size=3)
    found = call(candidate, np.array([[2.0]]), b, v, on=on)
    expect_shape(found, (3,), on)
    expect(
        not np.allclose(found, v / 2),
        f"{on} you return A^-1 v: B must be undone as well",
    )
    expect(
        not np.allclose(found, 2 * b @ v),
        f"{on} you return (A kron B) v: solve with both factors instead of multiplying",
    )
    expect_close(found, np.linalg.solve(b, v) / 2, f"{on} it is B^-1 v / 2")

    a, b = _positive(rng, 2), _positive(rng, 5)
    v, on = rng.normal(size=10), "with A of side 2 and B of side 5"
    found = np.asarray(call(candidate, a, b, v, on=on), dtype=float)
    want = np.linalg.solve(np.kron(a, b), v)
    expect_shape(found, (10,), on)
    expect(
        not np.allclose(found, want.reshape(2, 5).T.ravel()),
        f"{on} the numbers are right but their order is not: transpose back before you flatten",
    )
    expect(
        not np.allclose(found, np.linalg.solve(np.kron(b, a), v)),
        f"{on} you solve with B kron A: in A kron B the index of A runs slowest, so v by rows is a "
        "grid with one row for each row of A",
    )
    expect_close(found, want, f"{on}, against the dense matrix", rtol=1e-8)

    big = np.eye(300)
    on = "with two factors of side 300 (the dense matrix would take 65 GB)"
    try:
        found = call(candidate, 2 * big, 4 * big, np.ones(90000), on=on)
    except MemoryError:
        expect(False, f"{on} memory runs out: use the factors, never their product")
    expect_close(np.asarray(found)[:3], np.full(3, 0.125), on)
    expect_raises(ValueError, candidate, a, b, np.ones(9), says="9 numbers do not fit 2 times 5")


def _refuses_to_form_it(a, b, v):
    """What np.kron of two large factors comes to, without waiting for it."""
    if len(a) * len(b) > 5000:
        raise MemoryError
    return _forms_it(a, b, v)


KRON_SOLVE = Exercise(
    "physics_and_shapes/kron_solve",
    title="Solve with a matrix that is never formed",
    task=r"""
    `a` $(n_1, n_1)$ and `b` $(n_2, n_2)$ are positive definite, `v` has $n_1 n_2$ entries. Write
    `kron_solve(a, b, v)`, which returns $(A \otimes B)^{-1} v$ without forming the product, by
    $$(A \otimes B)^{-1} v = \operatorname{vec}\big( A^{-1} V B^{-1} \big),$$
    $V$ being `v` as an $(n_1, n_2)$ grid, by rows. Raise `ValueError` when the lengths do not fit.
    """,
    function="kron_solve",
    check=_check_kron_solve,
    solution=kron_solve,
    wrong=[
        Wrong("factors in the wrong order", _wrong_order, says="B kron A"),
        Wrong("multiplies", _multiplies, says="instead of multiplying"),
        Wrong("one side only", _only_one_side, says="B must be undone"),
        Wrong("forgets to transpose back", _result_transposed, says="order is not"),
        Wrong("forms the product", _refuses_to_form_it, says="memory runs out"),
        Wrong("accepts any length", _accepts_any_length, says="9 numbers do not fit"),
    ],
    hints=[
        "np.linalg.solve(a, V) undoes A on every column of V.",
        "To undo B on the rows, transpose, solve, transpose back.",
    ],
)

# --- 3. Parallel transport between two tangent planes --------------------------------------------


def align(frame_i, frame_j):
    """Return the orthogonal (d, d) matrix nearest to T_i^T T_j."""
    left, _, right = np.linalg.svd(frame_i.T @ frame_j)
    return left @ right


def _no_projection(frame_i, frame_j):
    return frame_i.T @ frame_j


def _wrong_way(frame_i, frame_j):
    return align(frame_i, frame_j).T


def _forgets_the_transpose(frame_i, frame_j):
    left, _, right = np.linalg.svd(frame_i.T @ frame_j)
    return left @ right.T


def _forces_a_rotation(frame_i, frame_j):
    left, _, right = np.linalg.svd(frame_i.T @ frame_j)
    left[:, -1] *= np.sign(np.linalg.det(left @ right))
    return left @ right


def _no_transport(frame_i, frame_j):
    return np.eye(frame_i.shape[1])


def _check_align(candidate):
    rng = np.random.default_rng(0)
    plane = np.eye(3)[:, :2]
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    on = "in a flat plane, with frame j turned by 37 degrees"
    found = call(candidate, plane, plane @ turn, on=on)
    expect_shape(found, (2, 2), on)
    found = np.asarray(found, dtype=float)
    expect(
        not np.allclose(found, np.eye(2)),
        f"{on} you return the identity, as if coordinates in different frames were the same",
    )
    expect(
        not np.allclose(found, turn.T),
        f"{on} you carry from i to j; O_ij takes coordinates at j and gives coordinates at i",
    )
    expect_close(found, turn, f"{on} O_ij is that turn, T_i^T T_j")

    on = "in a flat plane, with the second axis of frame j turned over"
    flip = np.diag([1.0, -1.0])
    expect_close(
        call(candidate, plane, plane @ flip, on=on),
        flip,
        f"{on} O_ij must turn over too (determinant -1): a frame's handedness is arbitrary",
    )

    on = "with planes tilted against each other by 50 degrees"
    tilt = np.radians(50)
    tilted = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)]]).T @ turn
    found = np.asarray(call(candidate, plane, tilted, on=on), dtype=float)
    gap = np.abs(found.T @ found - np.eye(2)).max()
    expect(
        gap < 1e-8,
        f"{on} O^T O differs from I by {gap:.3g}: arrows must keep their length when they are "
        "carried, so take the nearest orthogonal matrix, U V^T of the SVD",
    )
    expect_close(found, turn, f"{on} around a common axis, the turn within the plane is left")

    frame_i, frame_j = (np.linalg.qr(rng.normal(size=(6, 3)))[0] for _ in range(2))
    on = "with two random 3-dimensional frames in 6 dimensions"
    expect_close(
        call(candidate, frame_i, frame_j, on=on),
        align(frame_i, frame_j),
        f"{on}: numpy's svd returns V^T already",
    )


ALIGN = Exercise(
    "physics_and_shapes/align",
    title="Carry an arrow to the next tangent plane",
    task=r"""
    `frame_i` and `frame_j`, both $(D, d)$ with orthonormal columns, span the tangent planes at two
    neighbouring points. Write `align(frame_i, frame_j)`: the orthogonal $(d, d)$ matrix $O_{ij}$
    nearest to $T_i^\top T_j$, which turns coordinates at $j$ into coordinates at $i$. With the SVD
    $T_i^\top T_j = U S V^\top$ it is $U V^\top$. Then invent an experiment: on which surface does a
    vector that is carried around a loop *not* come back as it was, and by which angle?
    """,
    function="align",
    check=_check_align,
    solution=align,
    wrong=[
        Wrong("no projection", _no_projection, says="keep their length"),
        Wrong("the other way", _wrong_way, says="from i to j"),
        Wrong("V instead of its transpose", _forgets_the_transpose, says="returns V^T already"),
        Wrong("insists on a rotation", _forces_a_rotation, says="handedness"),
        Wrong("no transport", _no_transport, says="as if coordinates"),
    ],
    hints=[
        "left, sizes, right = np.linalg.svd(...): right is V^T already.",
        "A reflection between the two frames is allowed: do not touch the determinant.",
    ],
)


EXERCISES = (HEAT_KERNEL, KRON_SOLVE, ALIGN)
