"""Exercises of the smoothing lab: an induced block, a Gaussian layer, the hidden constant.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.lab.exercises import Exercise, Wrong, call, expect, expect_close, expect_shape
from kernellab.methods.attention.attention_is_smoothing import draw_block, mab, position_gram

# --- 1. Self-attention through inducing points ---------------------------------------------------


def isab(X, I, params):  # noqa: E741
    """Return MAB(X, MAB(I, X)): the inducing points gather, then the set reads them."""
    gather, spread = params
    return mab(spread, X, mab(gather, I, X))


def _forgets_the_points(X, I, params):  # noqa: E741
    return mab(params[1], X, X)


def _stops_halfway(X, I, params):  # noqa: E741
    return mab(params[0], I, X)


def _swaps_the_roles(X, I, params):  # noqa: E741
    return mab(params[1], mab(params[0], X, I), X)


def _points_untouched(X, I, params):  # noqa: E741
    return mab(params[1], X, I)


def _first_elements(X, I, params):  # noqa: E741
    return mab(params[1], X, mab(params[0], X[: len(I)], X))


def _one_block_twice(X, I, params):  # noqa: E741
    return mab(params[0], X, mab(params[0], I, X))


def _check_isab(candidate):
    rng = np.random.default_rng(0)
    params = draw_block(8, rng), draw_block(8, rng)
    x, points = rng.standard_normal((9, 8)), rng.standard_normal((4, 8))

    on = "for 9 elements and 4 inducing points"
    found = call(candidate, x, points, params, on=on)
    expect_shape(found, (9, 8), f"{on}, one row for each element: X asks last, so X stands first")
    found = np.asarray(found, dtype=float)

    p = rng.permutation(9)
    turned = np.asarray(call(candidate, x[p], points, params, on="for permuted elements"))
    expect(
        turned.shape == found.shape and np.abs(turned - found[p]).max() < 1e-10,
        "when the elements are permuted, the rows of the answer must be permuted alike; yours "
        "change: use the inducing points I, not elements picked by their place",
    )
    moved = np.asarray(call(candidate, x, points + 1.0, params, on="for other inducing points"))
    expect(
        not np.allclose(moved, found),
        "your answer does not change with the inducing points I: that is the costly SAB, in which "
        "all elements look at all others",
    )
    other = x.copy()
    other[3] += 1.0
    changed = np.asarray(call(candidate, other, points, params, on="for one element changed"))
    expect(
        not np.allclose(changed[:3], found[:3]),
        "changing one element leaves the other rows as they are: the points I must look at the set "
        "first, MAB(I, X), or nothing passes from element to element",
    )
    swapped = np.asarray(
        call(candidate, x, points, (params[0], params[0]), on="with both blocks equal")
    )
    expect(
        not np.allclose(swapped, found),
        "your answer does not depend on the second block: params is (gather, spread), one for each "
        "of the two steps",
    )
    expect_close(found, isab(x, points, params), f"{on}, MAB(X, MAB(I, X))")
    for n, m, words in (
        (9, 1, "with one inducing point"),
        (2, 4, "with fewer elements than points"),
    ):
        found = call(candidate, x[:n], points[:m], params, on=words)
        expect_shape(found, (n, 8), f"{words}, one row for each element")
        expect_close(found, isab(x[:n], points[:m], params), words)


ISAB = Exercise(
    "attention_is_smoothing/isab",
    title="A set that meets in m points",
    task=r"""
    Use `sm.mab` of this lab: `sm.mab(block, X, Y)` lets the rows of `X` look at the rows of `Y`.
    With a set `X` `(n, d)`, inducing points `I` `(m, d)` and
    `params = (gather, spread)`, two blocks, write `isab(X, I, params)`, one line that returns
    $$\mathrm{MAB}_{\text{spread}}\big(X, \mathrm{MAB}_{\text{gather}}(I, X)\big).$$
    What is its cost in $n$? And through how many numbers does all news between elements pass?
    """,
    function="isab",
    check=_check_isab,
    solution=isab,
    wrong=[
        Wrong("plain self-attention", _forgets_the_points, says="costly SAB"),
        Wrong("stops halfway", _stops_halfway, says="one row for each element"),
        Wrong("swaps the roles", _swaps_the_roles, says="MAB(X, MAB(I, X))"),
        Wrong("points do not look", _points_untouched, says="must look at the set"),
        Wrong("first elements as points", _first_elements, says="by their place"),
        Wrong("one block twice", _one_block_twice, says="second block"),
    ],
    hints=[
        "The points look at the set first: mab(gather, I, X) has m rows.",
        "Then the set looks at those m rows.",
    ],
)

# --- 2. A Gaussian layer -------------------------------------------------------------------------


def gauss_attention(Q, K, V, normalise):
    """Return sum_j w_ij v_j with w_ij = exp(-|q_i - k_j|^2 / 2), divided by their sum or not."""
    scores = -0.5 * np.sum((Q[:, None, :] - K[None, :, :]) ** 2, axis=2)
    if not normalise:
        return np.exp(scores) @ V
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ V


def _no_maximum(Q, K, V, normalise):
    weights = np.exp(-0.5 * np.sum((Q[:, None, :] - K[None, :, :]) ** 2, axis=2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights / weights.sum(axis=1, keepdims=True) if normalise else weights) @ V


def _dot_product(Q, K, V, normalise):
    scores = Q @ K.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True) if normalise else scores)
    return (weights / weights.sum(axis=1, keepdims=True) if normalise else weights) @ V


def _no_half(Q, K, V, normalise):
    return gauss_attention(np.sqrt(2) * Q, np.sqrt(2) * K, V, normalise)


def _always_divides(Q, K, V, normalise):
    return gauss_attention(Q, K, V, True)


def _divides_columns(Q, K, V, normalise):
    if not normalise:
        return gauss_attention(Q, K, V, False)
    scores = -0.5 * np.sum((Q[:, None, :] - K[None, :, :]) ** 2, axis=2)
    weights = np.exp(scores - scores.max(axis=0))
    return weights / weights.sum(axis=0) @ V


def _small_number(Q, K, V, normalise):
    weights = np.exp(-0.5 * np.sum((Q[:, None, :] - K[None, :, :]) ** 2, axis=2))
    return (weights / (weights.sum(axis=1, keepdims=True) + 1e-12) if normalise else weights) @ V


def _check_gauss(candidate):
    one = np.array([[1.0]])
    on = "for one query at distance 2 from one key with value 1, not normalised,"
    found = call(candidate, np.array([[3.0]]), one, one, False, on=on)
    expect_shape(found, (1, 1), f"{on} one row for the query")
    expect(
        not np.isclose(found[0, 0], 1.0),
        f"{on} you return 1: with normalise=False the weights must not be divided by their sum",
    )
    expect_close(found, [[np.exp(-2.0)]], f"{on} exp(-2^2 / 2)")

    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((6, 3)), rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    found = call(candidate, q, k, np.ones((8, 2)), True, on="for values that are all 1")
    expect_close(
        found,
        np.ones((6, 2)),
        "for values that are all 1 a normalised smoother returns 1: each query's weights, a row, "
        "sum to 1",
    )
    for normalise in (True, False):
        on = f"with normalise={normalise}"
        found = call(candidate, q, k, v, normalise, on=on)
        moved = call(candidate, q + 5.0, k + 5.0, v, normalise, on=f"{on}, queries and keys moved,")
        expect(
            np.allclose(found, moved),
            f"{on} the answer changes when all queries and keys move by the same vector: use the "
            "distance of query and key, not their product",
        )
        expect_close(found, gauss_attention(q, k, v, normalise), on)

    far = call(candidate, q + 100.0, k, v, True, on="for queries far from all keys")
    expect(
        np.isfinite(far).all(),
        "far from all keys every exponential is 0, and 0/0 is NaN: subtract each row's largest "
        "score before the exponential",
    )
    expect_close(
        far,
        gauss_attention(q + 100.0, k, v, True),
        "far from all keys the nearest key still gets most of the weight: subtract each row's "
        "largest score before the exponential, and add nothing to the sum",
    )


GAUSS_ATTENTION = Exercise(
    "attention_is_smoothing/gauss_attention",
    title="A layer with a Gaussian kernel",
    task=r"""
    For queries `Q` `(n, d)`, keys `K` `(m, d)` and values `V` `(m, p)` write
    `gauss_attention(Q, K, V, normalise)`, which returns `(n, p)`,
    $$\mathrm{out}_i = \sum_j w_{ij} v_j, \qquad w_{ij} = e^{-|q_i - k_j|^2 / 2},$$
    with each row of $w$ divided by its sum if `normalise` is true. It must work for queries so far
    away that every exponential underflows.
    """,
    function="gauss_attention",
    check=_check_gauss,
    solution=gauss_attention,
    wrong=[
        Wrong("underflows", _no_maximum, says="0/0 is NaN"),
        Wrong("dot product", _dot_product, says="exp(-2^2 / 2)"),
        Wrong("forgets the half", _no_half, says="exp(-2^2 / 2)"),
        Wrong("always divides", _always_divides, says="must not be divided"),
        Wrong("divides columns", _divides_columns, says="each query's weights, a row"),
        Wrong("adds a small number", _small_number, says="add nothing to the sum"),
    ],
    hints=[
        "Q[:, None] - K[None] has shape (n, m, d).",
        "The largest score of a row may be subtracted: the factor cancels in the division.",
    ],
)

# --- 3. The constant that softmax hides ----------------------------------------------------------


def cpd_offset(K):
    """Return the least c >= 0 for which K + c 11^T is positive semidefinite, or inf."""
    n = len(K)
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0]
    turned = basis.T @ K @ basis
    a, b, inner = turned[0, 0], turned[1:, 0], turned[1:, 1:]
    values, vectors = np.linalg.eigh(inner)
    small = 1e-10 * n * np.abs(K).max()
    along, kept = vectors.T @ b, values > small
    if values.min() < -small or np.abs(along[~kept]).max(initial=0.0) > small:
        return np.inf
    return max((np.sum(along[kept] ** 2 / values[kept]) - a) / n, 0.0)


def _least_eigenvalue(K):
    return max(-np.linalg.eigvalsh(K)[0], 0.0)


def _largest_entry(K):
    return np.abs(K).max()


def _never_infinite(K):
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        if np.linalg.eigvalsh(K + middle)[0] >= -1e-9 * np.abs(K).max():
            high = middle
        else:
            low = middle
    return high if high > 1e-6 else 0.0


def _formula_only(K):
    inverse = np.linalg.pinv(K)
    return float(-1.0 / inverse.sum())


def _always_infinite(K):
    return 0.0 if np.linalg.eigvalsh(K)[0] >= -1e-9 else np.inf


def _check_offset(candidate):
    places = np.arange(40.0)
    distance = np.abs(places[:, None] - places)

    on = "for K = -|i - j| on 3 places"
    found = call(candidate, -distance[:3, :3], on=on)
    expect(np.ndim(found) == 0, f"{on} return one number, not an array")
    expect(
        float(found) < 1.0 + 1e-6 or found == np.inf,
        f"{on} you return {float(found):.3g}, more than is needed: c stands in every entry of the "
        "matrix, not only on its diagonal",
    )
    expect_close(float(found), 1.0, f"{on} c = (n - 1)/2 = 1", rtol=1e-6)
    expect_close(
        float(call(candidate, -distance, on="on 40 places")),
        19.5,
        "on 40 places c = 19.5",
        rtol=1e-6,
    )
    log = position_gram("log", 40, 1.0, 1.0)
    expect_close(
        float(call(candidate, log, on="for K = -log(1 + |i - j|)")),
        cpd_offset(log),
        "for K = -log(1 + |i - j|) on 40 places",
        rtol=1e-6,
    )
    gram = np.exp(-distance)
    found = float(call(candidate, gram, on="for exp(-|i - j|)"))
    expect(
        found == 0.0,
        f"exp(-|i - j|) is positive definite as it is, so c = 0; you return {found:.3g}",
    )
    found = float(call(candidate, -(distance**2.5), on="for -|i - j|^2.5"))
    expect(
        found == np.inf,
        f"-|i - j|^2.5 is not conditionally positive definite, so no c will do; you return "
        f"{found:.3g}, not inf: look at c^T K c for vectors of sum 0, which c never reaches",
    )


CPD_OFFSET = Exercise(
    "attention_is_smoothing/cpd_offset",
    title="The constant that softmax hides",
    task=r"""
    For a symmetric matrix `K` `(n, n)` write `cpd_offset(K)`, which returns the smallest
    $c \ge 0$ for which $K + c\,\mathbf 1 \mathbf 1^\top$ is positive semidefinite, and
    `np.inf` if there is none.
    A vector of sum 0 does not feel $c$. So turn $K$ into a basis whose first vector is
    $\mathbf 1 / \sqrt n$: only one entry of the matrix changes with $c$. When is it large enough?

    Then invent the experiment: which function of the distance, other than power and log, is a
    bias with a finite $c$, and does it forecast better than they do?
    """,
    function="cpd_offset",
    check=_check_offset,
    solution=cpd_offset,
    wrong=[
        Wrong("the least eigenvalue", _least_eigenvalue, says="c stands in every entry"),
        Wrong("the largest entry", _largest_entry, says="c stands in every entry"),
        Wrong("bisects to a million", _never_infinite, says="not inf"),
        Wrong("formula without a look", _formula_only, says="positive definite as it is"),
        Wrong("gives up", _always_infinite, says="c = (n - 1)/2"),
    ],
    hints=[
        "np.linalg.qr of [1, e_2, ..., e_n] gives such a basis.",
        "[[a + n c, b^T], [b, P]] is positive semidefinite if P is and a + n c >= b^T P^-1 b.",
    ],
)


EXERCISES = (ISAB, GAUSS_ATTENTION, CPD_OFFSET)
