"""Exercises of the attention budget lab: ranks within a budget, hashing by angle, polynomials.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import math
import tracemalloc

import numpy as np

from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_shape,
)

# --- 1. Ranks within a budget --------------------------------------------------------------------


def greedy_ranks(errors, budget):
    """Return one place in each row, sum = budget: from the ends down, cheapest cut first."""
    rows, places = np.arange(len(errors)), np.full(len(errors), errors.shape[1] - 1)
    while places.sum() > budget:
        cost = np.where(places > 0, errors[rows, places - 1] - errors[rows, places], np.inf)
        places[np.argmin(cost)] -= 1
    return places


def _equal_ranks(errors, budget):
    return np.full(len(errors), budget // len(errors))


def _smallest_error(errors, budget):
    rows, places = np.arange(len(errors)), np.full(len(errors), errors.shape[1] - 1)
    while places.sum() > budget:
        places[np.argmin(np.where(places > 0, errors[rows, places - 1], np.inf))] -= 1
    return places


def _one_too_few(errors, budget):
    return greedy_ranks(errors, max(budget - 1, 0))


def _below_zero(errors, budget):
    rows, places = np.arange(len(errors)), np.full(len(errors), errors.shape[1] - 1)
    while places.sum() > budget:
        places[np.argmin(errors[rows, places - 1] - errors[rows, places])] -= 1
    return places


def _keeps_places(found, errors, budget, on):
    expect_shape(found, (len(errors),), f"{on} there is one place for each head")
    found = np.asarray(found, dtype=float)
    expect(
        bool((found >= 0).all() and (found < errors.shape[1]).all()),
        f"{on} a place lies outside 0 to {errors.shape[1] - 1}: a head that is at 0 cannot go down",
    )
    expect(
        int(found.sum()) == budget,
        f"{on} your places sum to {found.sum():g}, the budget is {budget}: stop as soon as it is "
        "met, and spend all of it",
    )
    return found.astype(int)


def _brute_force(errors, budget):
    best = np.inf
    for flat in np.ndindex(*(errors.shape[1],) * len(errors)):
        if sum(flat) == budget:
            best = min(best, sum(errors[h, r] for h, r in enumerate(flat)))
    return best


def _check_greedy_ranks(candidate):
    two = np.array([[0.1, 0.05, 0.0], [5.0, 2.0, 0.0]])
    on = "for a head that costs next to nothing, a dear one and a budget of 2,"
    found = _keeps_places(call(candidate, two.copy(), 2, on=on), two, 2, on)
    expect(
        tuple(found) != (1, 1),
        f"{on} both get the same rank, whatever a cut costs: look at what the next cut adds to "
        "each head's error",
    )
    errors = np.array([[9.0, 4.0, 1.0, 0.0], [3.0, 1.2, 0.3, 0.0], [8.0, 1.0, 0.5, 0.0]])
    for budget in (6, 5, 3):
        on = f"for three heads and a budget of {budget},"
        found = _keeps_places(call(candidate, errors.copy(), budget, on=on), errors, budget, on)
        total = errors[np.arange(3), found].sum()
        best = _brute_force(errors, budget)
        expect(
            total <= best + 1e-9,
            f"{on} your errors sum to {total:g}, {best:g} is possible: cut where the error GROWS "
            "least, errors[h, r - 1] - errors[h, r], not where it is least",
        )
    flat = np.array([[0.1, 0.05, 0.0], [5.0, 2.0, 0.0]])
    on = "for a head that costs next to nothing and a budget of 1,"
    found = _keeps_places(call(candidate, flat.copy(), 1, on=on), flat, 1, on)
    expect(tuple(found) == (0, 1), f"{on} the cheap head goes to 0 first: (0, 1)")


GREEDY_RANKS = Exercise(
    "attention_budget/greedy_ranks",
    title="Ranks within a budget",
    task=r"""
    `errors[h, r]` is the error when head `h` keeps `r` directions, `r = 0, ..., d`, in an array
    `(H, d + 1)`; errors of different heads add up. Write `greedy_ranks(errors, budget)`: start with
    all heads at `d`, take one direction away where the error *grows least*, and go on until the
    ranks sum to `budget`. Return the `H` ranks. (Where every row is convex no other choice is
    better.)
    """,
    function="greedy_ranks",
    check=_check_greedy_ranks,
    solution=greedy_ranks,
    wrong=[
        Wrong("all alike", _equal_ranks, says="the same rank"),
        Wrong("least error, not least growth", _smallest_error, says="cut where the error GROWS"),
        Wrong("one too few", _one_too_few, says="spend all of it"),
        Wrong("below zero", _below_zero, says="cannot go down"),
    ],
    hints=[
        "errors[rows, places - 1] - errors[rows, places] is what each head's next cut costs.",
        "np.where(places > 0, cost, np.inf) keeps heads at 0 from being chosen.",
    ],
)

# --- 2. Hashing by angle -------------------------------------------------------------------------


def angular_lsh(x, planes):
    """Return the place of each row's sign pattern in the reflected Gray code."""
    bits = (x @ planes.T > 0).astype(int)
    parities = np.cumsum(bits, axis=1) % 2  # from Gray code to place
    return parities @ (2 ** np.arange(planes.shape[0])[::-1])


def _plain_binary(x, planes):
    return (x @ planes.T > 0).astype(int) @ (2 ** np.arange(len(planes))[::-1])


def _place_to_gray(x, planes):
    place = _plain_binary(x, planes)
    return place ^ (place >> 1)


def _of_distance(x, planes):
    return (x @ planes.T > 0).sum(axis=1)


def _check_angular_lsh(candidate):
    rng = np.random.default_rng(0)
    planes = np.eye(3)
    # One row for each word of the reflected Gray code, in its order.
    order = [place ^ (place >> 1) for place in range(8)]
    words = np.array([[(word >> bit) & 1 for bit in (2, 1, 0)] for word in order])
    rows = 2.0 * words - 1.0
    on = "for one row on each of the 8 sides of 3 planes"
    found = call(candidate, rows, planes, on=on)
    expect_shape(found, (8,), f"{on}, one number a row")
    found = np.asarray(found)
    expect(
        sorted(found.tolist()) == list(range(8)),
        f"{on} the numbers must be 0 to 7, each once; got {found.tolist()}. A count of positive "
        "sides puts different sides together",
    )
    inverse = np.argsort(found)
    steps = [int(np.sum(words[inverse[i]] != words[inverse[i - 1]])) for i in range(8)]
    expect(
        max(steps) == 1,
        f"{on} neighbours must differ in the side of ONE plane, also the last and the first; two "
        f"of yours differ in {max(steps)}. Number the sides by their place in a Gray code: "
        "the parities of the first 1, 2, 3 bits, read as a binary number",
    )
    expect(
        bool((found == np.arange(8)).all()),
        f"{on} the order is a Gray code, but not the one that starts at 0 for no positive side and "
        "has plane 0 as its slowest bit",
    )
    expect_close(
        call(candidate, 0.01 * rows, planes, on="for short rows"),
        np.arange(8),
        "short rows change their bucket: it may depend only on the side of each plane, x.w > 0",
    )
    one = np.array([[1.0, 2.0], [-1.0, 0.5]])
    expect_close(
        call(candidate, one, np.array([[1.0, 0.0]]), on="for a single plane"),
        np.array([1, 0]),
        "with one plane the buckets are 1 for the positive side and 0 for the other",
    )
    x, planes = rng.normal(size=(50, 4)), rng.normal(size=(6, 4))
    found = np.asarray(call(candidate, x, planes, on="for 50 rows and 6 planes"))
    expect_close(found, angular_lsh(x, planes), "for 50 rows and 6 planes a bucket is wrong")


def _needs_length(x, planes):
    bits = (x @ planes.T > 0.5).astype(int)
    return (np.cumsum(bits, axis=1) % 2) @ (2 ** np.arange(len(planes))[::-1])


ANGULAR_LSH = Exercise(
    "attention_budget/angular_lsh",
    title="Buckets by angle, neighbours side by side",
    task=r"""
    Write `angular_lsh(x, planes)` for rows `x` `(n, d)` and normals `planes` `(r, d)`. Bit $i$
    of a row is 1 where it lies on the positive side of plane $i$ (`x @ planes.T > 0`). Read the
    bits as a *reflected Gray code*, plane 0 first, and return the place of the word in that code:
    integers `(n,)` from 0 to $2^r - 1$. For two bits the code is 00, 01, 11, 10: consecutive
    buckets differ in one plane.
    """,
    function="angular_lsh",
    check=_check_angular_lsh,
    solution=angular_lsh,
    wrong=[
        Wrong("plain binary", _plain_binary, says="side of ONE plane"),
        Wrong("the wrong direction", _place_to_gray, says="side of ONE plane"),
        Wrong("counts positive sides", _of_distance, says="puts different sides together"),
        Wrong("looks at lengths", _needs_length, says="short rows change"),
    ],
    hints=[
        "np.cumsum(bits, axis=1) % 2 are the parities of the first 1, 2, ... bits.",
        "parities @ (2 ** np.arange(r)[::-1]) reads them as a binary number.",
    ],
)

# --- 3. Attention by a polynomial ----------------------------------------------------------------


def poly_attention(queries, keys, values, degree):
    """Return attention with sum_{i <= degree} s^i / i! in place of exp(s), s = q.k."""
    n, d = queries.shape
    tops = np.zeros((n, values.shape[1]))
    bottoms = np.zeros((n, 1))
    query_powers, key_powers = np.ones((n, 1)), np.ones((len(keys), 1))
    for i in range(degree + 1):
        tops += query_powers @ (key_powers.T @ values) / math.factorial(i)
        bottoms += query_powers @ key_powers.sum(axis=0)[:, None] / math.factorial(i)
        query_powers = (query_powers[:, :, None] * queries[:, None]).reshape(n, -1)
        key_powers = (key_powers[:, :, None] * keys[:, None]).reshape(len(keys), -1)
    return tops / bottoms


def _weights_of(scores, degree, factorial=True):
    return sum(scores**i / (math.factorial(i) if factorial else 1.0) for i in range(degree + 1))


def _no_factorial(queries, keys, values, degree):
    weights = _weights_of(queries @ keys.T, degree, factorial=False)
    return weights @ values / weights.sum(axis=1, keepdims=True)


def _no_normaliser(queries, keys, values, degree):
    return _weights_of(queries @ keys.T, degree) @ values / len(keys)


def _highest_only(queries, keys, values, degree):
    weights = (queries @ keys.T) ** degree / math.factorial(degree)
    return weights @ values / weights.sum(axis=1, keepdims=True)


def _stops_early(queries, keys, values, degree):
    weights = _weights_of(queries @ keys.T, max(degree - 1, 0))
    return weights @ values / weights.sum(axis=1, keepdims=True)


def _exact_softmax(queries, keys, values, degree):
    weights = np.exp(queries @ keys.T)
    return weights @ values / weights.sum(axis=1, keepdims=True)


def _quadratic(queries, keys, values, degree):
    weights = _weights_of(queries @ keys.T, degree)
    return weights @ values / weights.sum(axis=1, keepdims=True)


def _check_poly_attention(candidate):
    rng = np.random.default_rng(0)
    q, k, v = 0.6 * rng.normal(size=(7, 3)), 0.6 * rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    on = "at degree 0"
    found = call(candidate, q, k, v, 0, on=on)
    expect_shape(found, (7, 2), f"{on}, one output a query")
    expect_close(
        found,
        np.broadcast_to(v.mean(axis=0), (7, 2)),
        f"{on} all weights are 1, and the output is the mean of the values",
    )
    exact = _exact_softmax(q, k, v, 0)
    for degree in (1, 2, 4):
        on = f"at degree {degree}"
        found = np.asarray(call(candidate, q, k, v, degree, on=on), dtype=float)
        want = poly_attention(q, k, v, degree)
        expect(
            not np.allclose(found, exact, atol=1e-9),
            f"{on} your weights are those of the softmax itself; use the terms up to the degree",
        )
        expect(
            not np.allclose(found, _highest_only(q, k, v, degree)),
            f"{on} only the highest power is there; the polynomial sums ALL terms up to it",
        )
        expect(
            not np.allclose(found, _stops_early(q, k, v, degree)),
            f"{on} the highest term is missing: the degree itself belongs to the sum",
        )
        expect(
            degree < 2 or not np.allclose(found, _no_factorial(q, k, v, degree)),
            f"{on} the terms are s^i; those of exp(s) are s^i / i!",
        )
        expect_close(
            found,
            want,
            f"{on} the weights are sum_i s^i / i!, divided by their sum over the keys",
            rtol=1e-8,
        )
    many = 0.3 * rng.normal(size=(2000, 2))
    tracemalloc.start()
    try:
        call(candidate, many, many, np.ones((2000, 1)), 2, on="for 2,000 tokens")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    expect(
        peak < 0.5 * 8 * 2000**2,
        "for 2,000 tokens you store all pairs of scores; powers of q and of k apart, as features, "
        "need one pass over the keys",
    )


POLY_ATTENTION = Exercise(
    "attention_budget/poly_attention",
    title="Attention by a polynomial, in one pass",
    task=r"""
    Write `poly_attention(queries, keys, values, degree)` for `(n, d)`, `(m, d)`, `(m, p)`:
    attention with weights $\sum_{i \le g} s^i / i!$, $s = q \cdot k$, in place of $e^s$. Do not
    form the `n x m` scores: $(q \cdot k)^i$ is the inner product of all products of $i$ entries of
    $q$ and of $k$, $d^i$ of them (those that occur several times may stay several times).
    """,
    function="poly_attention",
    check=_check_poly_attention,
    solution=poly_attention,
    wrong=[
        Wrong("forgets the factorials", _no_factorial, says="s^i / i!"),
        Wrong("does not divide", _no_normaliser, says="divided by their sum"),
        Wrong("the highest power only", _highest_only, says="ALL terms"),
        Wrong("one term short", _stops_early, says="highest term is missing"),
        Wrong("the softmax", _exact_softmax, says="mean of the values"),
        Wrong("all pairs", _quadratic, says="store all pairs"),
    ],
    hints=[
        "powers = (powers[:, :, None] * x[:, None]).reshape(len(x), -1) goes from i to i + 1.",
        "query_powers @ (key_powers.T @ values): the bracket is made once for all queries.",
    ],
)

EXERCISES = [GREEDY_RANKS, ANGULAR_LSH, POLY_ATTENTION]
