"""Exercises of the linear attention lab: a square's features, safe random features, positions.

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
    expect_shape,
)

# --- 1. The features of a square -----------------------------------------------------------------


def rebased_features(x, gain, shift):
    """Return phi (n, d (d + 1) / 2) with phi(q).phi(k) = (q'.k')^2."""
    centred = x - x.mean(axis=1, keepdims=True)
    moved = gain * centred / np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + 1e-5) + shift
    i, j = np.triu_indices(x.shape[1])
    return np.where(i == j, 1.0, np.sqrt(2.0)) * moved[:, i] * moved[:, j]


def _moved(x, gain, shift):
    centred = x - x.mean(axis=1, keepdims=True)
    return gain * centred / np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + 1e-5) + shift


def _all_products(x, gain, shift):
    moved = _moved(x, gain, shift)
    return (moved[:, :, None] * moved[:, None, :]).reshape(len(x), -1)


def _no_root(x, gain, shift):
    moved = _moved(x, gain, shift)
    i, j = np.triu_indices(x.shape[1])
    return moved[:, i] * moved[:, j]


def _squares_only(x, gain, shift):
    moved = _moved(x, gain, shift)
    i, _ = np.triu_indices(x.shape[1])
    return np.where(np.arange(len(i)) < x.shape[1], 1.0, 0.0) * moved[:, i] ** 2


def _not_normalised(x, gain, shift):
    moved = gain * x + shift
    i, j = np.triu_indices(x.shape[1])
    return np.where(i == j, 1.0, np.sqrt(2.0)) * moved[:, i] * moved[:, j]


def _over_tokens(x, gain, shift):
    centred = x - x.mean(axis=0)
    moved = gain * centred / np.sqrt(np.mean(centred**2, axis=0) + 1e-5) + shift
    i, j = np.triu_indices(x.shape[1])
    return np.where(i == j, 1.0, np.sqrt(2.0)) * moved[:, i] * moved[:, j]


def _check_rebased_features(candidate):
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(5, 4)), rng.normal(size=(7, 4))
    ones, zeros = np.ones(4), np.zeros(4)

    on = "for 5 rows of 4 numbers"
    found = call(candidate, q, ones, zeros, on=on)
    expect_shape(
        found, (5, 10), f"{on} there are 4 * 5 / 2 features: x_i x_j and x_j x_i are one of them"
    )

    left = np.asarray(found, dtype=float)
    right = np.asarray(call(candidate, k, ones, zeros, on=on), dtype=float)
    want = (_moved(q, ones, zeros) @ _moved(k, ones, zeros).T) ** 2
    plain = (q @ k.T) ** 2
    expect(
        not np.allclose(left @ right.T, plain),
        "your products are (q.k)^2 of the vectors as they came; first bring every row to mean 0 "
        "and variance 1",
    )
    tokens = left @ right.T
    alone = np.asarray(call(candidate, q[:1], ones, zeros, on="for one row"), dtype=float)
    expect(
        np.allclose(alone, left[:1]),
        "the features of a row change with its neighbours: the mean and the variance are taken "
        "over the numbers of one row, axis=1",
    )
    expect_close(
        tokens,
        want,
        "phi(q).phi(k) must be (q'.k')^2; in that square x_i x_j with i < j occurs twice, "
        "so its feature carries sqrt(2)",
        rtol=1e-8,
    )
    gain, shift = rng.normal(size=4), rng.normal(size=4)
    on = "with a gain and a shift"
    expect_close(
        call(candidate, q, gain, shift, on=on),
        rebased_features(q, gain, shift),
        f"{on}, x' = gain * LN(x) + shift, entries in the order of np.triu_indices",
        rtol=1e-8,
    )


REBASED_FEATURES = Exercise(
    "linear_attention_features/rebased_features",
    title="The features of a square",
    task=r"""
    Write `rebased_features(x, gain, shift)` for `x` of shape `(n, d)`. Each row becomes
    $x' = \text{gain} \odot \mathrm{LN}(x) + \text{shift}$; LN takes away the row's mean and divides
    by $\sqrt{\text{variance} + 10^{-5}}$. Return features `(n, d (d + 1) / 2)` with
    $$\phi(q) \cdot \phi(k) = (q' \cdot k')^2 ,$$
    the products $x'_i x'_j$, $i \le j$, in the order of `np.triu_indices(d)`, each with its factor.
    """,
    function="rebased_features",
    check=_check_rebased_features,
    solution=rebased_features,
    wrong=[
        Wrong("all products", _all_products, says="are one of them"),
        Wrong("forgets the root", _no_root, says="carries sqrt(2)"),
        Wrong("squares only", _squares_only, says="carries sqrt(2)"),
        Wrong("does not normalise", _not_normalised, says="as they came"),
        Wrong("normalises over tokens", _over_tokens, says="of one row, axis=1"),
    ],
    hints=[
        "i, j = np.triu_indices(d) lists the pairs i <= j; moved[:, i] * moved[:, j] the products.",
        "np.where(i == j, 1, np.sqrt(2)) is the factor of each.",
    ],
)

# --- 2. Positive random features that do not overflow --------------------------------------------


def prf(x, w):
    """Return positive features (n, m), divided by one common number."""
    exponents = x @ w.T - 0.5 * np.sum(x**2, axis=1, keepdims=True)
    return np.exp(exponents - exponents.max()) / np.sqrt(len(w))


def _no_maximum(x, w):
    with np.errstate(over="ignore"):
        return np.exp(x @ w.T - 0.5 * np.sum(x**2, axis=1, keepdims=True)) / np.sqrt(len(w))


def _row_maximum(x, w):
    exponents = x @ w.T - 0.5 * np.sum(x**2, axis=1, keepdims=True)
    return np.exp(exponents - exponents.max(axis=1, keepdims=True)) / np.sqrt(len(w))


def _no_length(x, w):
    exponents = x @ w.T
    return np.exp(exponents - exponents.max()) / np.sqrt(len(w))


def _whole_length(x, w):
    exponents = x @ w.T - np.sum(x**2, axis=1, keepdims=True)
    return np.exp(exponents - exponents.max()) / np.sqrt(len(w))


def _waves(x, w):
    angles = x @ w.T
    return np.cos(angles) / np.sqrt(len(w))


def _check_prf(candidate):
    rng = np.random.default_rng(0)
    x, w = 0.5 * rng.normal(size=(6, 3)), rng.normal(size=(10_000, 3))
    on = "for 6 rows and 10,000 draws"
    found = call(candidate, x, w, on=on)
    expect_shape(found, (6, 10_000), f"{on}, one feature a draw")
    found = np.asarray(found, dtype=float)
    expect(bool((found > 0).all()), "a feature is not positive; exp(...) is, a wave has both signs")

    loud = 30.0 * np.eye(3)[:2]
    on = "for vectors of length 30"
    with np.errstate(over="ignore", invalid="ignore"):
        big = np.asarray(call(candidate, loud, 40.0 * np.eye(3), on=on), dtype=float)
    expect(
        bool(np.isfinite(big).all()),
        f"{on} a feature overflows: exp(750) is no number. Subtract the largest exponent first",
    )

    # Against the first pair, so that one common factor does not matter.
    estimate = found @ found.T
    exact = np.exp(x @ x.T)
    ratio = estimate / exact
    shape = ratio / ratio[0, 0]
    whole = np.exp(0.5 * np.sum(x**2, axis=1))
    no_length = np.outer(whole, whole)
    expect(
        not np.allclose(shape, no_length / no_length[0, 0], rtol=0.2),
        "on average your products are exp(q.k) times exp(|q|^2 / 2 + |k|^2 / 2): the exponent "
        "lacks -|x|^2 / 2",
    )
    expect(
        not np.allclose(shape, no_length[0, 0] / no_length, rtol=0.2),
        "on average your products are the Gaussian kernel exp(-|q - k|^2 / 2), not exp(q.k): "
        "take half of |x|^2",
    )
    single = np.asarray(prf(x, w), dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = found / single
    expect(
        bool(np.allclose(factors, factors.ravel()[0], rtol=1e-6)),
        "features must be exp(w.x - |x|^2 / 2) up to ONE number for all rows: a maximum of each "
        "row changes how much a key counts",
    )
    same = np.asarray(call(candidate, x, w[:500], on="for 500 draws"), dtype=float)
    top = (x @ w[:500].T - 0.5 * np.sum(x**2, axis=1)[:, None]).max()
    mean = np.mean(same @ same.T * np.exp(2 * top) / exact)
    expect(
        bool(0.7 < mean < 1.4),
        f"your features are off by a factor: times exp(largest exponent) their products are "
        f"{mean:.3g} times exp(q.k); divide by sqrt(m)",
    )


def _no_root_of_m(x, w):
    return prf(x, w) * np.sqrt(len(w))


PRF = Exercise(
    "linear_attention_features/prf",
    title="Positive features that survive long vectors",
    task=r"""
    For rows `x` `(n, d)` and normal draws `w` `(m, d)` write `prf(x, w)`, which returns
    $$\frac{1}{\sqrt m}\, e^{\,w_i \cdot x - |x|^2/2 - c}, \qquad
    c = \text{the largest exponent of all,}$$
    shape `(n, m)`. Their inner products are, up to the factor $e^{-2c}$, unbiased for
    $e^{q \cdot k}$; attention cancels a common factor. Why must $c$ be one number for all rows of
    keys? And for queries?
    """,
    function="prf",
    check=_check_prf,
    solution=prf,
    wrong=[
        Wrong("no maximum", _no_maximum, says="overflows"),
        Wrong("maximum of each row", _row_maximum, says="ONE number for all rows"),
        Wrong("forgets the length", _no_length, says="lacks -|x|^2 / 2"),
        Wrong("all of the length", _whole_length, says="take half"),
        Wrong("waves", _waves, says="a wave has both signs"),
        Wrong("no 1 / sqrt(m)", _no_root_of_m, says="divide by sqrt(m)"),
    ],
    hints=[
        "exponents = x @ w.T - 0.5 * np.sum(x**2, axis=1, keepdims=True)",
        "A factor of a query's row cancels in its own quotient; a factor of a key's does not.",
    ],
)

# --- 3. Relative positions by FFT ----------------------------------------------------------------


def rpe_linear_attention(query_features, key_features, values, bias):
    """Return linear attention times exp(bias) of the relative position, by FFT."""
    n, m = len(values), query_features.shape[1]
    padded = np.column_stack([values, np.ones(n)])
    columns = (key_features[:, :, None] * padded[:, None, :]).reshape(n, -1)
    length = 3 * n
    reverse = np.fft.rfft(np.exp(bias)[::-1], length)[:, None]
    product = np.fft.irfft(reverse * np.fft.rfft(columns, length, axis=0), length, axis=0)
    sums = product[n - 1 : 2 * n - 1].reshape(n, m, -1)
    sums = np.einsum("im,imp->ip", query_features, sums)
    return sums[:, :-1] / sums[:, -1:]


def _explicit(query_features, key_features, values, bias):
    place = np.arange(len(values))
    weights = np.exp(bias)[place - place[:, None] + len(values) - 1]
    gram = weights * (query_features @ key_features.T)
    return gram @ values / gram.sum(axis=1, keepdims=True)


def _no_bias(query_features, key_features, values, bias):
    return _explicit(query_features, key_features, values, np.zeros_like(bias))


def _mirrored(query_features, key_features, values, bias):
    return rpe_linear_attention(query_features, key_features, values, bias[::-1])


def _wraps_around(query_features, key_features, values, bias):
    n = len(values)
    gap = (np.arange(n) - np.arange(n)[:, None]) % n
    weights = np.exp(bias)[np.where(gap == 0, 0, gap - n) + n - 1]
    gram = weights * (query_features @ key_features.T)
    return (
        gram
        @ values
        / np.where(gram.sum(axis=1, keepdims=True) == 0, 1, gram.sum(axis=1, keepdims=True))
    )


def _plain_denominator(query_features, key_features, values, bias):
    place = np.arange(len(values))
    weights = np.exp(bias)[place - place[:, None] + len(values) - 1]
    gram = query_features @ key_features.T
    return (weights * gram) @ values / gram.sum(axis=1, keepdims=True)


def _forgets_exp(query_features, key_features, values, bias):
    finite = np.where(np.isfinite(bias), bias, 0.0)
    place = np.arange(len(values))
    gram = finite[place - place[:, None] + len(values) - 1] * (query_features @ key_features.T)
    total = gram.sum(axis=1, keepdims=True)
    return gram @ values / np.where(total == 0, 1, total)


def _check_rpe(candidate):
    rng = np.random.default_rng(0)

    def problem(n):
        return (
            0.1 + rng.random((n, 4)),
            0.1 + rng.random((n, 4)),
            rng.normal(size=(n, 2)),
            rng.normal(size=2 * n - 1),
        )

    on = "for one token"
    q, k, v, b = problem(1)
    expect_close(
        call(candidate, q, k, v, b, on=on),
        v,
        f"{on} the output is its own value whatever the bias: numerator and denominator carry the "
        "same exp(b)",
    )

    q, k, v, b = problem(37)
    on = "with all biases 0"
    plain = _no_bias(q, k, v, b)
    expect_close(
        call(candidate, q, k, v, 0 * b, on=on),
        plain,
        f"{on} exp(b) = 1 everywhere and plain linear attention must come out",
        rtol=1e-7,
    )

    on = "for 37 tokens and biases without symmetry"
    found = call(candidate, q, k, v, b, on=on)
    expect_shape(found, (37, 2), f"{on}, one output a token")
    found = np.asarray(found, dtype=float)
    expect(
        not np.allclose(found, plain),
        f"{on} you return plain linear attention: the bias is not used",
    )
    expect(
        not np.allclose(found, _explicit(q, k, v, b[::-1])),
        f"{on} past and future are exchanged: the weight of key j for query i stands at "
        "j - i + n - 1",
    )
    expect(
        not np.allclose(found, _wraps_around(q, k, v, b)),
        f"{on} the first token sees the last as its neighbour: pad with zeros before the FFT, "
        "a convolution by FFT runs around a circle",
    )
    expect_close(found, _explicit(q, k, v, b), on, rtol=1e-7)

    on = "with b = -inf for all keys that come later"
    causal = np.where(np.arange(-36, 37) > 0, -np.inf, 0.0)
    out = np.asarray(call(candidate, q, k, v, causal, on=on), dtype=float)
    expect(bool(np.isfinite(out).all()), f"{on} a result is not finite; exp(-inf) is 0")
    expect_close(
        out, _explicit(q, k, v, causal), f"{on} a token must not see the later ones", rtol=1e-6
    )


RPE_ATTENTION = Exercise(
    "linear_attention_features/rpe_linear_attention",
    title="Relative positions by FFT",
    task=r"""
    `query_features`, `key_features` `(n, m)`, `values` `(n, p)` and `bias` `(2 n - 1,)`; its entry
    $j - i + n - 1$ belongs to query $i$ and key $j$ ($-\infty$: not seen). Write
    `rpe_linear_attention(query_features, key_features, values, bias)`, which returns
    $$o_i = \frac{\sum_j e^{b_{j-i}}\, \phi(q_i) \cdot \phi(k_j)\, v_j}
    {\sum_j e^{b_{j-i}}\, \phi(q_i) \cdot \phi(k_j)} ,$$
    without any $n \times n$ array if you can. Then invent an experiment: for which $b$ does the
    FFT's rounding begin to show?
    """,
    function="rpe_linear_attention",
    check=_check_rpe,
    solution=rpe_linear_attention,
    wrong=[
        Wrong("ignores the bias", _no_bias, says="the bias is not used"),
        Wrong("past and future", _mirrored, says="exchanged"),
        Wrong("runs around", _wraps_around, says="runs around a circle"),
        Wrong("plain denominator", _plain_denominator, says="carry the same exp(b)"),
        Wrong("forgets exp", _forgets_exp, says="exp(b) = 1 everywhere"),
    ],
    hints=[
        "Give values a column of ones: its sums are the denominator.",
        "C x is the convolution of x with exp(bias)[::-1], entries n - 1 to 2 n - 2 of it.",
        "All products of a feature with a value column can be convolved together, as columns.",
    ],
)


EXERCISES = (REBASED_FEATURES, PRF, RPE_ATTENTION)
