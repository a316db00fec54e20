"""Exercises of the attention-on-grids lab: a softmax in chunks, a window at the border, a scan.

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

# --- 1. A softmax in chunks ----------------------------------------------------------------------


def online_softmax(chunks):
    """Return (n, p): softmax attention over all chunks, one chunk in memory at a time."""
    top, total, sums = -np.inf, 0.0, 0.0
    for scores, values in chunks:
        highest = np.maximum(top, scores.max(axis=1, keepdims=True))
        base = np.where(highest > -np.inf, highest, 0.0)
        factor, weights = np.exp(top - base), np.exp(scores - base)
        total = factor * total + weights.sum(axis=1, keepdims=True)
        sums = factor * sums + weights @ values
        top = highest
    return sums / np.where(total > 0, total, 1.0)


def _no_maximum(chunks):
    total, sums = 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for scores, values in chunks:
            weights = np.exp(scores)
            total = total + weights.sum(axis=1, keepdims=True)
            sums = sums + weights @ values
        return sums / total


def _forgets_to_rescale(chunks):
    top, total, sums = -np.inf, 0.0, 0.0
    for scores, values in chunks:
        top = np.maximum(top, scores.max(axis=1, keepdims=True))
        weights = np.exp(scores - np.where(top > -np.inf, top, 0.0))
        total = total + weights.sum(axis=1, keepdims=True)
        sums = sums + weights @ values
    return sums / np.where(total > 0, total, 1.0)


def _rescales_sums_only(chunks):
    top, total, sums = -np.inf, 0.0, 0.0
    for scores, values in chunks:
        highest = np.maximum(top, scores.max(axis=1, keepdims=True))
        base = np.where(highest > -np.inf, highest, 0.0)
        weights = np.exp(scores - base)
        total = total + weights.sum(axis=1, keepdims=True)
        sums = np.exp(top - base) * sums + weights @ values
        top = highest
    return sums / np.where(total > 0, total, 1.0)


def _empty_rows(chunks):
    top, total, sums = -np.inf, 0.0, 0.0
    with np.errstate(invalid="ignore"):
        for scores, values in chunks:
            highest = np.maximum(top, scores.max(axis=1, keepdims=True))
            factor, weights = np.exp(top - highest), np.exp(scores - highest)
            total = factor * total + weights.sum(axis=1, keepdims=True)
            sums = factor * sums + weights @ values
            top = highest
        return sums / total


def _mean_of_chunks(chunks):
    parts = [online_softmax([chunk]) for chunk in chunks]
    return np.mean(parts, axis=0)


def _dense(chunks):
    """All at once, in NumPy: what the answers are judged by."""
    scores = np.concatenate([scores for scores, _ in chunks], axis=1)
    values = np.concatenate([values for _, values in chunks])
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - np.where(top > -np.inf, top, 0.0))
    total = weights.sum(axis=1, keepdims=True)
    return weights @ values / np.where(total > 0, total, 1.0)


def _chunks(rng, sizes, scale=1.0, n=4):
    return [(scale * rng.normal(size=(n, m)), rng.normal(size=(m, 2))) for m in sizes]


def _check_online_softmax(candidate):
    rng = np.random.default_rng(0)
    one = _chunks(rng, [5])
    on = "for one chunk"
    found = call(candidate, one, on=on)
    expect_shape(found, (4, 2), f"{on} of 4 queries and values of 2 numbers")
    expect_close(found, _dense(one), f"{on} it is plain softmax attention", rtol=1e-8)

    loud = _chunks(rng, [5, 3, 6], 1e4)
    on = "for scores up to 10,000"
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = np.asarray(call(candidate, loud, on=on), dtype=float)
    expect(
        bool(np.isfinite(found).all()),
        f"{on} a number overflows: exp(10000) is infinite. Subtract the largest score so far first",
    )

    rising = [(scores + 3.0 * step, values) for step, (scores, values)
              in enumerate(_chunks(rng, [4, 4, 4]))]  # fmt: skip
    on = "for three chunks with growing scores"
    found = np.asarray(call(candidate, rising, on=on), dtype=float)
    expect(
        not np.allclose(found, _mean_of_chunks(rising)),
        "you average the chunks' answers; a chunk with large scores must count more, by its sum "
        "of exponentials",
    )
    expect(
        not np.allclose(found, _rescales_sums_only(rising)),
        "when the maximum grows the old sum of weights shrinks too: by the same factor as the "
        "weighted sum",
    )
    expect_close(
        found,
        _dense(rising),
        f"{on}: what was added with the old maximum must be multiplied by exp(old - new)",
        rtol=1e-8,
    )
    masked = [(np.where([[False], [True], [True], [True]], scores, -np.inf), values)
              for scores, values in rising]  # fmt: skip
    masked[0][0][1] = -np.inf  # and one query sees nothing in the first chunk only
    on = "with -inf for hidden keys"
    with np.errstate(invalid="ignore"):
        found = np.asarray(call(candidate, masked, on=on), dtype=float)
    expect(
        bool(np.isfinite(found).all()),
        f"{on} a result is NaN: for a row without keys so far -inf - (-inf) is no number; such a "
        "row gives 0",
    )
    expect_close(found, _dense(masked), on, rtol=1e-8)


ONLINE_SOFTMAX = Exercise(
    "attention_on_grids/online_softmax",
    title="A softmax in chunks",
    task=r"""
    `chunks` is a list of pairs `(scores, values)` of shapes `(n, m_c)` and `(m_c, p)`: the keys
    arrive in pieces. Write `online_softmax(chunks)`, which returns softmax attention over *all*
    keys, `(n, p)`, and never holds more than one chunk. Keep a maximum $m$, a sum $l$ and a
    weighted sum $a$:
    $$m' = \max(m, \max S), \quad l' = e^{m - m'} l + \sum e^{S - m'}, \quad
    a' = e^{m - m'} a + e^{S - m'} V .$$
    A score may be $-\infty$ (hidden); a query without any key gives 0.
    """,
    function="online_softmax",
    check=_check_online_softmax,
    solution=online_softmax,
    wrong=[
        Wrong("no maximum", _no_maximum, says="overflows"),
        Wrong("forgets to rescale", _forgets_to_rescale, says="exp(old - new)"),
        Wrong("rescales one sum", _rescales_sums_only, says="shrinks too"),
        Wrong("rows without keys", _empty_rows, says="is no number"),
        Wrong("mean of the chunks", _mean_of_chunks, says="average the chunks"),
    ],
    hints=[
        "Start with top = -inf, total = 0, sums = 0; exp(-inf - m) is 0.",
        "base = np.where(highest > -np.inf, highest, 0) is safe to subtract.",
    ],
)

# --- 2. A window at the border -------------------------------------------------------------------


def na_window(i, length, window, dilation):
    """Return the tokens that token i sees, ascending."""
    if window % 2 == 0:
        raise ValueError(f"window must be odd, got {window}")
    group = np.arange(i % dilation, length, dilation)
    size = min(window, len(group))
    first = np.clip(i // dilation - window // 2, 0, len(group) - size)
    return group[first : first + size]


def _cut_off(i, length, window, dilation):
    if window % 2 == 0:
        raise ValueError("window must be odd")
    places = i + dilation * (np.arange(window) - window // 2)
    return places[(places >= 0) & (places < length)]


def _even_allowed(i, length, window, dilation):
    group = np.arange(i % dilation, length, dilation)
    size = min(window, len(group))
    first = np.clip(i // dilation - window // 2, 0, len(group) - size)
    return group[first : first + size]


def _no_dilation(i, length, window, dilation):
    return na_window(i, length, window, 1)


def _leaves_class(i, length, window, dilation):
    if window % 2 == 0:
        raise ValueError("window must be odd")
    span = dilation * (window - 1) + 1
    if span > length:
        return na_window(i, length, window, dilation)
    first = int(np.clip(i - dilation * (window // 2), 0, length - span))
    return first + dilation * np.arange(window)


def _too_large(i, length, window, dilation):
    if window % 2 == 0:
        raise ValueError("window must be odd")
    group = np.arange(i % dilation, length, dilation)
    first = max(min(i // dilation - window // 2, len(group) - window), 0)
    return group[0] + dilation * (first + np.arange(window))


def _check_na_window(candidate):
    def seen(i, length, window, dilation):
        on = f"for i={i}, length={length}, window={window}, dilation={dilation}"
        found = np.asarray(call(candidate, i, length, window, dilation, on=on))
        expect(found.ndim == 1, f"{on} a list of token numbers is wanted, got shape {found.shape}")
        return found.tolist()

    expect(seen(5, 11, 3, 1) == [4, 5, 6], "in the middle token 5 with a window of 3 sees 4, 5, 6")
    edge = seen(0, 11, 5, 1)
    expect(
        len(edge) == 5,
        f"token 0 sees {len(edge)} tokens of 5: at the border the window is shifted inside, "
        "so that every token sees equally many",
    )
    expect(edge == [0, 1, 2, 3, 4], "token 0 of 11 with a window of 5 sees 0 to 4")
    spaced = seen(6, 13, 3, 2)
    expect(
        spaced == [4, 6, 8],
        f"with dilation 2 token 6 sees every second token, 4, 6 and 8; yours sees {spaced}",
    )
    border = seen(1, 13, 5, 3)
    expect(
        all(token % 3 == 1 for token in border),
        "at the border a dilated window leaves its remainder: token 1 with dilation 3 sees only "
        "1, 4, 7, 10, ...",
    )
    wide = seen(2, 5, 9, 1)
    expect(
        wide == [0, 1, 2, 3, 4],
        f"a window larger than the line sees all tokens once; yours sees {wide}",
    )
    for length, window, dilation in ((13, 5, 2), (16, 3, 4), (9, 9, 1), (10, 1, 3)):
        for i in range(length):
            want = na_window(i, length, window, dilation).tolist()
            found = seen(i, length, window, dilation)
            on = f"for i={i}, length={length}, window={window}, dilation={dilation}"
            expect(found == want, f"{on} the tokens are {want}, yours are {found}")
    expect_raises(
        ValueError, candidate, 3, 11, 4, 1, says="a window of 4 has no middle: refuse even windows"
    )


NA_WINDOW = Exercise(
    "attention_on_grids/na_window",
    title="A window at the border",
    task=r"""
    Write `na_window(i, length, window, dilation)`: the numbers of the tokens that token `i` sees in
    neighbourhood attention, ascending. There are exactly `window` of them (odd, else a
    `ValueError`), all with the same remainder as `i` modulo `dilation`, as centred on `i` as the
    border allows. If that class has fewer tokens than `window`, it sees all of them.
    """,
    function="na_window",
    check=_check_na_window,
    solution=na_window,
    wrong=[
        Wrong("cut off at the border", _cut_off, says="shifted inside"),
        Wrong("even windows", _even_allowed, says="has no middle"),
        Wrong("no dilation", _no_dilation, says="every second token"),
        Wrong("leaves its remainder", _leaves_class, says="leaves its remainder"),
        Wrong("wider than the line", _too_large, says="sees all tokens once"),
    ],
    hints=[
        "group = np.arange(i % dilation, length, dilation); i is its entry i // dilation.",
        "np.clip(start, 0, len(group) - size) shifts a window inside.",
    ],
)

# --- 3. A scan in both directions ----------------------------------------------------------------


def bi_wkv(w, u, k, v):
    """Return (T,): two scans with a running maximum, and the token itself."""
    length = len(k)
    step, top, a, b = w / length, np.full(length, -np.inf), np.zeros(length), np.zeros(length)
    for order in (range(length), range(length - 1, -1, -1)):
        high, num, den = -np.inf, 0.0, 0.0
        for t in order:
            own = k[t] + u / length if order.step == 1 else -np.inf
            best = max(top[t], high, own) if max(top[t], high, own) > -np.inf else 0.0
            old, new, mine = np.exp(top[t] - best), np.exp(high - best), np.exp(own - best)
            a[t] = old * a[t] + new * num + mine * v[t]
            b[t] = old * b[t] + new * den + mine
            top[t] = best
            best = max(high - step, k[t])
            old, new = np.exp(high - step - best), np.exp(k[t] - best)
            num, den, high = old * num + new * v[t], old * den + new, best
    return a / b


def _double_loop(w, u, k, v):
    """The definition, in T^2 steps: what the answers are judged by."""
    length = len(k)
    gap = np.abs(np.arange(length)[:, None] - np.arange(length))
    scores = np.where(gap == 0, k + u / length, k - (gap - 1) * w / length)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ v / weights.sum(axis=1)


def _forward_only(w, u, k, v):
    length = len(k)
    gap = np.arange(length)[:, None] - np.arange(length)
    scores = np.where(gap == 0, k + u / length, k - (gap - 1) * w / length)
    scores = np.where(gap >= 0, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ v / weights.sum(axis=1)


def _own_as_others(w, u, k, v):
    length = len(k)
    gap = np.abs(np.arange(length)[:, None] - np.arange(length))
    scores = k - gap * w / length
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ v / weights.sum(axis=1)


def _decay_not_shared(w, u, k, v):
    return _double_loop(w * len(k), u * len(k), k, v)


def _gap_without_one(w, u, k, v):
    return _double_loop(w, u - w, k, v)


def _overflows(w, u, k, v):
    length = len(k)
    gap = np.abs(np.arange(length)[:, None] - np.arange(length))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        weights = np.exp(np.where(gap == 0, k + u / length, k - (gap - 1) * w / length))
        return weights @ v / weights.sum(axis=1)


def _check_bi_wkv(candidate):
    rng = np.random.default_rng(0)
    k, v = rng.normal(size=12), rng.normal(size=12)
    on = "for one token"
    expect_close(
        call(candidate, 2.0, 1.0, k[:1], v[:1], on=on),
        v[:1],
        f"{on} there is one value to average: the output is that value",
    )
    on = "for 12 tokens, w=6, u=3"
    found = call(candidate, 6.0, 3.0, k, v, on=on)
    expect_shape(found, (12,), f"{on}, one output a token")
    found = np.asarray(found, dtype=float)
    for wrong, sentence in (
        (_forward_only, "a token hears only those before it; a second scan must come from the end"),
        (_own_as_others, "the token itself is weighed like the others; its score is k + u / T"),
        (
            _decay_not_shared,
            "w and u are per length: each step decays by w / T, the bonus is u / T",
        ),
        (_gap_without_one, "the next neighbour's score is k itself: the exponent has |t - i| - 1"),
    ):
        expect(not np.allclose(found, wrong(6.0, 3.0, k, v)), sentence)
    expect_close(found, _double_loop(6.0, 3.0, k, v), on, rtol=1e-8)
    on = "for w=-20 (weights that grow with the distance)"
    expect_close(
        call(candidate, -20.0, 3.0, k, v, on=on), _double_loop(-20.0, 3.0, k, v), on, rtol=1e-8
    )
    loud = 1000.0 * k
    on = "for keys in the thousands"
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = np.asarray(call(candidate, 6.0, 3.0, loud, v, on=on), dtype=float)
    expect(
        bool(np.isfinite(found).all()),
        f"{on} a number over- or underflows: keep a running maximum with each sum",
    )
    expect_close(found, _double_loop(6.0, 3.0, loud, v), on, rtol=1e-8)


BI_WKV = Exercise(
    "attention_on_grids/bi_wkv",
    title="Attention as two scans",
    task=r"""
    For one channel with keys `k` and values `v`, both `(T,)`, write `bi_wkv(w, u, k, v)`:
    $$y_t = \frac{\sum_{i \ne t} e^{-(|t - i| - 1) w / T + k_i} v_i + e^{u / T + k_t} v_t}
    {\sum_{i \ne t} e^{-(|t - i| - 1) w / T + k_i} + e^{u / T + k_t}} ,$$
    in time linear in $T$ if you can: one scan from the front, one from the back, each with a
    running maximum. `w` may be negative, and keys large. Then invent an experiment: from which $T$
    on is your scan faster than the $T \times T$ formula?
    """,
    function="bi_wkv",
    check=_check_bi_wkv,
    solution=bi_wkv,
    wrong=[
        Wrong("forwards only", _forward_only, says="second scan"),
        Wrong("itself like others", _own_as_others, says="weighed like the others"),
        Wrong("w a step", _decay_not_shared, says="per length"),
        Wrong("distance not less one", _gap_without_one, says="|t - i| - 1"),
        Wrong("no maximum", _overflows, says="running maximum"),
    ],
    hints=[
        "Keep sums of e^{k_i - (t - i - 1) w / T} v_i; a step: times e^{-w / T}, plus e^k v.",
        "Store (high, sum) for e^high * sum; merging two such pairs takes the larger high.",
    ],
)


EXERCISES = (ONLINE_SOFTMAX, NA_WINDOW, BI_WKV)
