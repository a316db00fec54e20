"""How much of attention is needed: four structures of the weights, and an algorithm for each.

Softmax attention of n tokens has n^2 weights. Often they have a structure that makes most of the
work unnecessary; each section turns one such structure into an algorithm with a budget:

0. How far a result is off
1. A few heavy buckets and a random rest (Zandieh et al. 2023)
2. Small scores, for which a polynomial does (Ke et al. 2025)
3. Pixels on a grid, whose row and column means stand for all (Gao et al. 2020)
4. Keys and values near a subspace, with nested bases that are trained (Lin et al. 2024)

Scores are q.k times a scale; exact attention is that of ``compute.attention``.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import autograd
import autograd.extend
import autograd.numpy as anp
import numpy as np
from scipy.special import ive

from kernellab.compute import compiled
from kernellab.compute.attention import attention_weights, softmax_attention
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    fits_in_memory,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
)
from kernellab.compute.directions import random_directions
from kernellab.compute.elementary import exp
from kernellab.compute.networks import Adam

# ------------------------------------------------------------------------------------------------
# 0. How far a result is off
# ------------------------------------------------------------------------------------------------


def spectral_error(found, exact) -> float:
    """Return |found - exact| over |exact - its mean|, in the spectral norm: 1 is what a mean gets.

    Parameters: found, exact (n, p). Returns a float. Raises ValueError for shapes that differ, or
    an exact result without variation. Cost: O(n p min(n, p)).
    """
    exact = as_matrix("exact", exact)
    found = as_matrix("found", found, *exact.shape[::-1])
    spread = np.linalg.norm(exact - exact.mean(axis=0), 2)
    if spread == 0:
        raise ValueError("exact must vary from row to row, its rows are all the same")
    return float(np.linalg.norm(found - exact, 2) / spread)


class Tokens(NamedTuple):
    """Queries, keys (n, d) and values (n, p)."""

    queries: np.ndarray
    keys: np.ndarray
    values: np.ndarray


def clustered_tokens(
    n: int, d: int, clusters: int, spread: float, rng, p: int = 4, uneven: float = 0.0
) -> Tokens:
    """Return queries and keys around common centres, in random order, and their values.

    A token is the unit vector of c + spread z, c a random unit centre, z normal with E|z|^2 = 1;
    the c-th cluster has a share of tokens in proportion to 1/c. A value is a standard normal one of
    the cluster plus a standard normal one of its own. Keys are then multiplied by exp(uneven g), g
    standard normal: with uneven > 0 some keys are looked at by many queries.

    Paper: kdeformer (Zandieh et al. 2023, arXiv:2302.02451)

    Parameters: n, d, clusters, p >= 1; spread >= 0; rng, Generator or seed; uneven >= 0. Raises
    ValueError for others. Cost: O(n (d + p)).
    """
    n, d, p = integer("n", n, low=1), integer("d", d, low=1), integer("p", p, low=1)
    clusters, rng = integer("clusters", clusters, low=1), as_rng(rng)
    spread = nonnegative("spread", spread) / math.sqrt(d)
    uneven = nonnegative("uneven", uneven)
    centres, levels = random_directions(clusters, d, rng), rng.standard_normal((clusters, p))
    shares = 1.0 / np.arange(1, clusters + 1)
    both = []
    for home in rng.choice(clusters, p=shares / shares.sum(), size=(2, n)):
        x = centres[home] + spread * rng.standard_normal((n, d))
        both.append(x / np.linalg.norm(x, axis=1, keepdims=True))
    queries, keys = both
    values = levels[home] + rng.standard_normal((n, p))
    with np.errstate(over="ignore"):
        keys = keys * np.exp(uneven * rng.standard_normal((n, 1)))
    if not np.isfinite(keys).all():
        raise ValueError(f"uneven must be smaller, keys overflow at {uneven:g}")
    return Tokens(queries, keys, values)


# ------------------------------------------------------------------------------------------------
# 1. A few heavy buckets and a random rest
# ------------------------------------------------------------------------------------------------


def angular_ranks(x, planes) -> np.ndarray:
    """Return the bucket of each row, numbered so that neighbours differ in the side of one plane.

    Bit i says on which side of plane i the row lies. The bits are read as a reflected Gray code:
    the bucket is the place of the word in that code.

    Paper: kdeformer (Zandieh et al. 2023, arXiv:2302.02451)

    Parameters: x (n, d); planes, normals (r, d), r <= 62. Returns integers (n,), 0 to 2^r - 1.
    Raises ValueError for other shapes. Cost: O(n d r). Source: the released code's angular hash;
    that one goes from place to word, so that from three planes on some neighbours differ in more.

    >>> angular_ranks([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]).tolist()
    [2, 1, 0]
    """
    x = as_matrix("x", x)
    planes = as_matrix("planes", planes, columns=x.shape[1])
    if len(planes) > 62:
        raise ValueError(f"planes must be at most 62, got {len(planes)}")
    place = np.zeros(len(x), dtype=np.int64)
    side = np.zeros(len(x), dtype=np.int64)
    for above in (x @ planes.T > 0).T:
        side ^= above  # from Gray code to place: each bit is the parity of all bits up to it
        place = 2 * place + side
    return place


SAMPLERS = ("uniform", "value norm", "column norm")


def key_probabilities(sampler: str, tokens: Tokens, scale=1.0, rows=None) -> np.ndarray:
    """Return with which probability each key is drawn.

    uniform: 1/m;
    value norm: p_j ~ |(v_j, 1)| / |[V 1]| + 1/m, as in the released code: as the sums of weights
    are drawn, too, each value carries a 1;
    column norm: p_j ~ sum_i w_ij^2 / sum_ij w_ij^2 + |v_j|^2 / |V|_F^2, w the attention weights of
    all queries, or of the given rows. The paper estimates the sums by kernel density estimation.

    Paper: kdeformer (Zandieh et al. 2023, arXiv:2302.02451)

    Parameters
    ----------
    sampler : one of ``SAMPLERS``
    tokens : Tokens; of the queries the column norm needs only some
    scale : >= 0
    rows : integers (b,), which queries the column norms are taken from; None: all

    Returns shape (m,), sum 1. Raises ValueError for others. Cost: O(b m d) for the column norm,
    O(m p^2) for the value norm. Source: section 3; |[V 1]| is the spectral norm.
    """
    queries, keys, values = _tokens(tokens)
    m, scale = len(keys), nonnegative("scale", scale)
    one_of("sampler", sampler, SAMPLERS)
    largest = max(values.max(), -values.min())
    if largest > 1e150:
        raise ValueError(f"values must be at most 1e150, their squares overflow, got {largest:.3g}")
    if sampler == "uniform":
        return np.full(m, 1.0 / m)
    if sampler == "value norm":
        with_ones = np.column_stack([values, np.ones(m)])
        share = np.linalg.norm(with_ones, axis=1) / np.linalg.norm(with_ones, 2) + 1.0 / m
        return share / share.sum()
    if rows is not None:
        queries = queries[_indices("rows", rows, len(queries))]
    squares, lengths = np.zeros(m), np.linalg.norm(values, axis=1)
    for first in range(0, len(queries), 256):  # 256 rows of weights at a time
        weights = attention_weights(queries[first : first + 256], keys, scale=scale)
        squares += np.sum(weights**2, axis=0)
    whole = np.sum(lengths**2)
    share = squares / squares.sum() + (lengths**2 / whole if whole > 0 else 1.0 / m)
    return share / share.sum()


class Sample(NamedTuple):
    """Keys drawn with replacement: which, and the logarithm of what each draw stands for."""

    keys: np.ndarray
    """(s,), their numbers"""
    log_weights: np.ndarray
    """(s,), -log(s p_j)"""


def sample_keys(probabilities, s: int, rng) -> Sample:
    """Draw s keys; sum over draws of exp(log weight) f_j is sum_j f_j on average.

    Paper: kdeformer (Zandieh et al. 2023, arXiv:2302.02451)

    Parameters: probabilities (m,), not negative, sum 1; s >= 0; rng, Generator or seed. Raises
    ValueError for others. Cost: O(m + s log m).
    """
    p = as_vector("probabilities", probabilities)
    if p.min() < 0 or abs(p.sum() - 1.0) > 1e-9:
        raise ValueError("probabilities must not be negative and sum to 1")
    s = integer("s", s, low=0)
    edges = np.cumsum(p)
    chosen = np.searchsorted(edges, as_rng(rng).random(s) * edges[-1], side="right")
    chosen = np.minimum(chosen, np.flatnonzero(p)[-1])
    return Sample(chosen, -np.log(s * p[chosen]))


def sampled_attention(tokens: Tokens, sample: Sample, scale=1.0) -> np.ndarray:
    """Return attention over drawn keys alone, each weighed by what it stands for.

    sum_draws e^(l_j + s_ij) v_j / sum_draws e^(l_j + s_ij), l log weights, s_ij = scale q_i.k_j.

    Paper: kdeformer (Zandieh et al. 2023, arXiv:2302.02451)

    Parameters: Tokens, a Sample of at least one key, scale >= 0. Returns (n, p). Raises ValueError
    for others. Cost: O(n s (d + p)).
    """
    queries, keys, values = _tokens(tokens)
    chosen, log_weights = _sample(sample, len(keys))
    if len(chosen) == 0:
        raise ValueError("sample must hold at least one key, got none")
    queries, keys = _with_weights(queries, nonnegative("scale", scale), keys[chosen], log_weights)
    return softmax_attention(queries, keys, values[chosen], scale=1.0)


def _with_weights(queries, scale, keys, log_weights):
    """Return vectors with one coordinate more: products are scores plus log weights."""
    return np.column_stack([scale * queries, np.ones(len(queries))]), np.column_stack(
        [keys, log_weights]
    )


class Buckets(NamedTuple):
    """Queries and keys in an order, cut into as many buckets of neighbours each."""

    query_order: np.ndarray
    key_order: np.ndarray
    size: int


def angular_buckets(tokens: Tokens, size: int, planes) -> Buckets:
    """Sort queries and keys by the angular hash, and cut both orders into buckets.

    Paper: kdeformer (Zandieh et al. 2023, arXiv:2302.02451)

    Parameters: tokens, as many keys as queries; size from 1 to n; planes (r, d). Raises ValueError
    for others. Cost: O(n (d r + log n)).
    """
    queries, keys, _ = _tokens(tokens)
    n = same_length("queries", queries, "keys", keys)
    orders = [np.argsort(angular_ranks(x, planes), kind="stable") for x in (queries, keys)]
    return Buckets(*orders, integer("size", size, low=1, high=n))


def random_buckets(n: int, size: int, rng) -> Buckets:
    """Return buckets that know nothing of the tokens: two random orders.

    Parameters: n >= 1, size from 1 to n, rng. Raises ValueError for others. Cost: O(n).
    """
    n, rng = integer("n", n, low=1), as_rng(rng)
    return Buckets(rng.permutation(n), rng.permutation(n), integer("size", size, low=1, high=n))


def bucket_mass(tokens: Tokens, buckets: Buckets, scale=1.0) -> float:
    """Return which share of the attention weights lies inside the buckets, mean over queries.

    Parameters: Tokens, Buckets, scale >= 0. Returns a number in [0, 1]. Raises ValueError for
    others. Cost: O(n^2 d), for looking at.
    """
    queries, keys, values = _tokens(tokens)
    query_order, key_order, size = _buckets(buckets, len(queries), len(keys))
    queries, keys = queries[query_order], keys[key_order]
    _, logs = softmax_attention(queries, keys, values, scale=scale, log_sums=True)
    inside = np.empty(len(queries))
    for first in range(0, len(queries), size):
        near = slice(first, first + size)
        part = softmax_attention(
            queries[near], keys[near], values[near], scale=scale, log_sums=True
        )
        inside[near] = part[1]
    return float(np.mean(np.exp(inside - logs)))


def kdeformer_attention(tokens: Tokens, buckets: Buckets, sample: Sample, scale=1.0) -> np.ndarray:
    """Return attention that is exact inside the buckets and sampled outside.

    out_i = (sum_{j in bucket} e^s_ij v_j + sum_{draws outside} e^(l_j + s_ij) v_j) / (the same with
    v = 1), s_ij = scale q_i.k_j. A drawn key that lies in the query's own bucket is passed over.

    Paper: kdeformer (Zandieh et al. 2023, arXiv:2302.02451)

    Parameters
    ----------
    tokens : Tokens, as many keys as queries
    buckets : from ``angular_buckets``
    sample : from ``sample_keys``, with log weights l; it may be empty
    scale : >= 0

    Returns (n, p). Raises ValueError for others. Cost: O(n (size + s) (d + p)) time, O(size (size +
    s)) memory beside the data. Source: the released code's forward pass.
    """
    queries, keys, values = _tokens(tokens)
    query_order, key_order, size = _buckets(buckets, len(queries), len(keys))
    chosen, log_weights = _sample(sample, len(keys))
    place = np.empty(len(keys), dtype=np.int64)
    place[key_order] = np.arange(len(keys))
    ones = np.zeros(len(keys))
    scale = nonnegative("scale", scale)
    scaled, padded = _with_weights(queries[query_order], scale, keys, ones)
    fits_in_memory("a bucket's scores", 8 * size * (size + len(chosen)))
    far = padded[chosen]
    far[:, -1] = log_weights
    out = np.empty((len(queries), values.shape[1]))
    _buckets_and_sample(
        scaled, padded[key_order], values[key_order], size, far, values[chosen],
        place[chosen] // size, out,
    )  # fmt: skip
    if not np.isfinite(out).all():
        raise ValueError("tokens must keep all scores and sums finite")
    result = np.empty_like(out)
    result[query_order] = out
    return result


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,::1], int64, float64[:,::1], float64[:,::1], "
    "int64[::1], float64[:,::1])",
    fastmath={"contract"},
)
def _buckets_and_sample(queries, keys, values, size, far_keys, far_values, homes, out):
    """For each bucket: gather its keys and the draws from elsewhere, then one exact softmax."""
    n, d = queries.shape
    p, s = values.shape[1], len(far_keys)
    some_keys, some_values = np.empty((size + s, d)), np.empty((size + s, p))
    buffer, totals = np.empty(size * (size + s)), np.empty(size)
    for first in range(0, n, size):
        rows = min(size, n - first)
        count = rows
        some_keys[:rows] = keys[first : first + rows]
        some_values[:rows] = values[first : first + rows]
        for j in range(s):
            if homes[j] != first // size:
                some_keys[count] = far_keys[j]
                some_values[count] = far_values[j]
                count += 1
        scores = buffer[: rows * count].reshape(rows, count)
        np.dot(queries[first : first + rows], some_keys[:count].T, scores)
        result = out[first : first + rows]
        for i in range(rows):
            totals[i] = _exponentials(scores[i])
        np.dot(scores, some_values[:count], result)
        for i in range(rows):
            for c in range(p):
                result[i, c] /= totals[i]


@compiled("float64(float64[::1])", fastmath={"contract", "reassoc"})
def _exponentials(row):
    """Replace finite scores by exp(score - maximum), and return their sum."""
    top, total = _largest(row), 0.0
    for j in range(row.size):
        value = exp(row[j] - top)
        row[j] = value
        total += value
    return total


@compiled("float64(float64[::1])", fastmath={"reassoc", "nnan", "nsz"})
def _largest(row):
    top = row[0]
    for j in range(row.size):
        top = max(top, row[j])
    return top


def seen_by(i: int, tokens: Tokens, sample: Sample, buckets: Buckets | None = None, scale=1.0):
    """Return the weights that query i gives to all keys, to look at: (m,), sum 1.

    Parameters: i, a query; the others as for ``kdeformer_attention``; buckets None: the sample
    alone. Raises ValueError for others. Cost: O(m d).
    """
    queries, keys, _ = _tokens(tokens)
    i = integer("i", i, low=0, high=len(queries) - 1)
    chosen, log_weights = _sample(sample, len(keys))
    logs = np.full(len(keys), -np.inf)
    np.logaddexp.at(logs, chosen, log_weights)
    if buckets is not None:
        query_order, key_order, size = _buckets(buckets, len(queries), len(keys))
        home = int(np.flatnonzero(query_order == i)[0]) // size
        logs[key_order[home * size : (home + 1) * size]] = 0.0
    seen = np.flatnonzero(logs > -np.inf)
    if len(seen) == 0:
        raise ValueError("sample must hold at least one key where there are no buckets")
    weights = np.zeros(len(keys))
    asked, keys = _with_weights(queries[[i]], nonnegative("scale", scale), keys[seen], logs[seen])
    weights[seen] = attention_weights(asked, keys, scale=1.0)[0]
    return weights


# ------------------------------------------------------------------------------------------------
# 2. Small scores, for which a polynomial does
# ------------------------------------------------------------------------------------------------


def feature_count(d: int, degree: int) -> int:
    """Return how many monomials of d variables have at most this degree: C(d + degree, degree).

    Paper: on-computational-limits-and-provably (Ke et al. 2025, arXiv:2501.04377)

    Parameters: d >= 1, degree >= 0. Raises ValueError for others. Cost: O(degree).

    >>> feature_count(4, 5)
    126
    """
    return math.comb(integer("d", d, low=1) + integer("degree", degree, low=0), degree)


POLYNOMIALS = ("Taylor", "Chebyshev")
_HIGHEST_DEGREE = 60
_LARGEST_BOUND = 300.0  # exp of it squared is still a number


def exponential_coefficients(degree: int, bound: float, kind: str = "Taylor") -> np.ndarray:
    """Return c_0, ..., c_g of a polynomial near exp(s) for |s| <= bound.

    Taylor: c_i = 1 / i!, whatever the bound. Chebyshev: the series I_0(B) + 2 sum_k I_k(B) T_k(s/B)
    cut at degree g and written in powers of s; I_k are modified Bessel functions.

    Paper: on-computational-limits-and-provably (Ke et al. 2025, arXiv:2501.04377)

    Parameters: degree from 0 to 60; bound > 0, for Chebyshev from 1e-3 to 300; kind. Returns
    (degree + 1,). Raises ValueError for others. Cost: O(degree^2).
    Source: Aggarwal and Alman 2022 (arXiv:2205.06249).
    """
    degree = integer("degree", degree, low=0, high=_HIGHEST_DEGREE)
    bound = positive("bound", bound)
    if one_of("kind", kind, POLYNOMIALS) == "Taylor":
        return 1.0 / np.array([math.factorial(i) for i in range(degree + 1)], dtype=float)
    bound = between("bound", bound, 1e-3, _LARGEST_BOUND)  # powers of smaller ones underflow
    series = 2.0 * ive(np.arange(degree + 1), bound) * math.exp(bound)
    series[0] /= 2.0
    powers = np.polynomial.chebyshev.cheb2poly(series)
    return np.pad(powers, (0, degree + 1 - len(powers))) / bound ** np.arange(degree + 1)


def polynomial_error(coefficients, bound: float) -> float:
    """Return the largest relative error |p(s) / e^s - 1| for |s| <= bound, on 501 points.

    Parameters: coefficients c (g + 1,), 0 <= bound <= 300. Raises ValueError for others.
    Cost: O(g).
    """
    c, bound = as_vector("coefficients", coefficients), between("bound", bound, 0.0, _LARGEST_BOUND)
    s = np.linspace(-bound, bound, 501)
    return float(np.max(np.abs(np.polynomial.polynomial.polyval(s, c) * np.exp(-s) - 1.0)))


def needed_degree(bound: float, tolerance: float = 1e-3, kind: str = "Taylor") -> int:
    """Return the least degree whose polynomial has this relative error for |s| <= bound.

    Paper: on-computational-limits-and-provably (Ke et al. 2025, arXiv:2501.04377)

    Parameters: bound > 0, to 300; tolerance > 0; kind. Returns an integer. Raises ValueError for
    others, or where degree 60 in double precision is not enough. Cost: O(degree) fits.
    """
    tolerance = positive("tolerance", tolerance)
    for degree in range(_HIGHEST_DEGREE + 1):
        if polynomial_error(exponential_coefficients(degree, bound, kind), bound) <= tolerance:
            return degree
    raise ValueError(
        f"bound must be smaller or tolerance larger: degree {_HIGHEST_DEGREE} is not enough for "
        f"bound {bound:g}, tolerance {tolerance:g}"
    )


def polynomial_features(x, degree: int) -> np.ndarray:
    """Return phi with phi(x).phi(y) = sum_{i <= g} (x.y)^i / i!.

    One feature x^a / sqrt(a!) a monomial, degree by degree. Those of degree i + 1 whose last
    variable is j are x_j times the first C(i + j, i) of degree i.

    Paper: on-computational-limits-and-provably (Ke et al. 2025, arXiv:2501.04377)

    Parameters: x (n, d), degree g >= 0. Returns (n, C(d + g, g)). Raises ValueError for others, or
    features that do not fit in memory. Cost: O(n C(d + g, g)).

    >>> polynomial_features([[1.0, 2.0]], 2).round(3).tolist()
    [[1.0, 1.0, 2.0, 0.707, 2.0, 2.828]]
    """
    x, degree = as_matrix("x", x), integer("degree", degree, low=0)
    n, d = x.shape
    count = feature_count(d, degree)
    fits_in_memory("the features", 8 * n * count)
    out = np.empty((n, count))
    _monomials(x, _roots(d, degree), degree, out)
    return out


@lru_cache(maxsize=32)
def _roots(d, degree):
    """Return for each feature 1 / sqrt(power of its last variable)."""
    last, power = np.zeros(1, dtype=int) - 1, np.zeros(1)
    roots = [np.ones(1)]
    for i in range(degree):
        blocks = []
        for j in range(d):
            m = math.comb(i + j, i)
            blocks.append((np.full(m, j), np.where(last[:m] == j, power[:m] + 1.0, 1.0)))
        last, power = (np.concatenate(part) for part in zip(*blocks, strict=True))
        roots.append(1.0 / np.sqrt(power))
    return np.concatenate(roots)


@compiled("void(float64[:,::1], float64[::1], int64, float64[:,::1])", fastmath={"contract"})
def _monomials(x, roots, degree, out):
    for row in range(len(x)):
        features = out[row]
        features[0] = 1.0
        start, end = 0, 1  # of the monomials of degree i
        for i in range(degree):
            place = end
            count = 1  # C(i + j, i)
            for j in range(x.shape[1]):
                value = x[row, j]
                for k in range(count):
                    features[place + k] = value * features[start + k] * roots[place + k]
                place += count
                count = count * (i + j + 1) // (j + 1)
            start, end = end, place


def polynomial_attention(tokens: Tokens, coefficients, scale=1.0) -> np.ndarray:
    """Return attention whose weights are a polynomial of the score, without n^2 of anything.

    out_i = sum_j P(s_ij) v_j / sum_j P(s_ij), P(s) = sum_{i <= g} c_i s^i, s_ij = scale q_i.k_j.
    As P(s_ij) = sum_f c_f' phi_f(q_i) phi_f(k_j), the sums over j are made once for all queries.

    Paper: on-computational-limits-and-provably (Ke et al. 2025, arXiv:2501.04377)

    Parameters: Tokens; coefficients c (g + 1,), g <= 60; scale >= 0. Returns (n, p); 0 where the
    weights of a query sum to 0. Raises ValueError for others, or sums that overflow.
    Cost: O(n r p) time, O(r p) memory beside the data, r = C(d + g, g).
    """
    queries, keys, values = _tokens(tokens)
    c, root = as_vector("coefficients", coefficients), math.sqrt(nonnegative("scale", scale))
    degree, d = integer("coefficients' degree", len(c) - 1, high=_HIGHEST_DEGREE), keys.shape[1]
    counts = [math.comb(d + i - 1, i) for i in range(degree + 1)]
    factors = np.repeat([value * math.factorial(i) for i, value in enumerate(c)], counts)
    values = np.column_stack([values, np.ones(len(values))])
    fits_in_memory("the sums", 8 * len(factors) * values.shape[1])
    chunk = max(1, 2**18 // len(factors))  # 2 MB of features at a time
    state = np.zeros((len(factors), values.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(0, len(keys), chunk):
            features = polynomial_features(root * keys[at : at + chunk], degree)
            state += features.T @ values[at : at + chunk]
        state *= factors[:, None]
        sums = [
            polynomial_features(root * queries[at : at + chunk], degree) @ state
            for at in range(0, len(queries), chunk)
        ]
        sums = np.concatenate(sums)
    if not np.isfinite(sums).all():
        raise ValueError("tokens must be smaller, the polynomial's sums overflow")
    total = sums[:, -1:]
    return sums[:, :-1] / np.where(total == 0, 1.0, total) * (total != 0)


def pyramid(side: int, first: int = 4) -> list[int]:
    """Return the sides of the maps of next-scale generation, doubling up to side.

    Paper: on-computational-limits-and-provably (Ke et al. 2025, arXiv:2501.04377)

    Parameters: side, first * 2^k; first >= 1. Raises ValueError for others. Cost: O(k).

    >>> pyramid(32), sum(h * h for h in pyramid(32))
    ([4, 8, 16, 32], 1360)
    """
    side, first = integer("side", side, low=1), integer("first", first, low=1)
    sides = [first]
    while sides[-1] < side:
        sides.append(2 * sides[-1])
    if sides[-1] != side:
        raise ValueError(f"side must be {first} times a power of 2, got {side}")
    return sides


def multiplications(n: int, d: int, p: int, features: int | None = None) -> int:
    """Return the multiplications of attention: exact, n^2 (d + p); by r features, 2 n r (p + 2).

    Parameters: n, d, p >= 1; features r, None: exact. Raises ValueError for others. Cost: O(1).
    """
    n, d, p = integer("n", n, low=1), integer("d", d, low=1), integer("p", p, low=1)
    if features is None:
        return n * n * (d + p)
    return 2 * n * integer("features", features, low=1) * (p + 2)


def enlarge(image) -> np.ndarray:
    """Return a map of twice the side, by bilinear interpolation between pixel centres.

    Paper: on-computational-limits-and-provably (Ke et al. 2025, arXiv:2501.04377)

    Parameters: image (h, w, c). Returns (2 h, 2 w, c); border pixels keep their value. Raises
    ValueError for others. Cost: O(h w c).
    """
    image = _grid("image", image)
    for axis in (0, 1):
        size = image.shape[axis]
        widths = [(1, 1) if axis == other else (0, 0) for other in range(3)]
        padded = np.pad(image, widths, mode="edge")
        pair = [
            0.75 * image + 0.25 * padded.take(range(first, first + size), axis) for first in (0, 2)
        ]
        shape = list(image.shape)
        shape[axis] *= 2
        image = np.stack(pair, axis + 1).reshape(shape)
    return image


def grow_image(first, maps, side: int, bound: float, attend: Callable) -> np.ndarray:
    """Generate an image from coarse to fine: enlarge, then let all tokens of all scales attend.

    At each step the last map, enlarged, joins the pyramid of maps X (L, c); then
    X <- X + attend(Q, K, X M_V), Q = R tanh(X M_Q), K = R tanh(X M_K): entries of at most R.

    Paper: on-computational-limits-and-provably (Ke et al. 2025, arXiv:2501.04377)

    Parameters
    ----------
    first : (h, h, c), the coarsest map
    maps : M_Q, M_K (c, d) and M_V (c, c)
    side : of the last map, h times a power of 2
    bound : R > 0
    attend : Tokens -> (L, c)

    Returns (side, side, c). Raises ValueError for others. Cost: that of attend on L <= 4/3 side^2
    tokens, where L^2 = O(side^4) if it is exact.
    """
    first, bound = _grid("first", first), positive("bound", bound)
    c = first.shape[2]
    if not isinstance(maps, list | tuple) or len(maps) != 3:
        raise ValueError(f"maps must be three matrices, got {type(maps).__name__}")
    to_query = as_matrix("maps[0]", maps[0], rows=c)
    to_key = as_matrix("maps[1]", maps[1], rows=c, columns=to_query.shape[1])
    to_value = as_matrix("maps[2]", maps[2], rows=c, columns=c)
    sides = pyramid(side, first.shape[0])
    if first.shape[0] != first.shape[1]:
        raise ValueError(f"first must be square, got shape {first.shape}")
    x = first.reshape(-1, c)
    for step, h in enumerate(sides):
        if step:
            x = np.concatenate(
                [x, enlarge(x[-((h // 2) ** 2) :].reshape(h // 2, h // 2, c)).reshape(-1, c)]
            )
        queries, keys = bound * np.tanh(x @ to_query), bound * np.tanh(x @ to_key)
        x = x + as_matrix(
            "attend", attend(Tokens(queries, keys, x @ to_value)), rows=len(x), columns=c
        )
    return x[-side * side :].reshape(side, side, c)


# ------------------------------------------------------------------------------------------------
# 3. Pixels on a grid
# ------------------------------------------------------------------------------------------------


def line_means(x) -> np.ndarray:
    """Return the means of the columns of a grid, then those of its rows: (w + h, c) from (h, w, c).

    Paper: kronecker-attention-networks (Gao et al. 2020, arXiv:2007.08442)

    Raises ValueError for another shape. Cost: O(h w c).
    """
    x = _grid("x", x)
    return np.concatenate([x.mean(axis=0), x.mean(axis=1)])


KRONECKER = ("KV", "QKV")


def kronecker_attention(queries, keys, values, kind: str = "KV", scale=1.0) -> np.ndarray:
    """Return attention on a grid in which row and column means stand for the pixels.

    With C_X the w column means and h row means of X:
    KV: softmax(scale Q C_K') C_V, one output a pixel;
    QKV: Y = softmax(scale C_Q C_K') C_V, one output a line; pixel (i, j) gets Y_row i + Y_column j.
    The paper has Q = K = V and scale 1.

    Paper: kronecker-attention-networks (Gao et al. 2020, arXiv:2007.08442)

    Parameters: queries, keys (h, w, d), values (h, w, p); kind; scale >= 0. Returns (h, w, p).
    Raises ValueError for others. Cost: KV O(h w (h + w) (d + p)), QKV O((h + w)^2 (d + p)), and the
    means O(h w (d + p)).
    """
    queries, keys, values = _grid("queries", queries), _grid("keys", keys), _grid("values", values)
    (h, w, d), p = queries.shape, values.shape[2]
    for name, x in (("keys", keys), ("values", values)):
        if x.shape[:2] != (h, w):
            raise ValueError(f"{name} must have the queries' {h} x {w} pixels, got {x.shape[:2]}")
    by_line = one_of("kind", kind, KRONECKER) == "QKV"
    asked = line_means(queries) if by_line else queries.reshape(-1, d)
    out = softmax_attention(asked, line_means(keys), line_means(values), scale=scale)
    if kind == "KV":
        return out.reshape(h, w, p)
    return out[None, :w] + out[w:, None]


def kronecker_counts(h: int, w: int) -> dict[str, int]:
    """Return how many pairs of tokens meet: full (h w)^2, KV h w (h + w), QKV (h + w)^2.

    Paper: kronecker-attention-networks (Gao et al. 2020, arXiv:2007.08442)

    Parameters: h, w >= 1. Raises ValueError for others. Cost: O(1).
    """
    h, w = integer("h", h, low=1), integer("w", w, low=1)
    return {"full": (h * w) ** 2, "KV": h * w * (h + w), "QKV": (h + w) ** 2}


def matrix_normal(mean, row_factor, column_factor, rng, count: int = 1) -> np.ndarray:
    """Draw matrices X = M + A Z B', Z standard normal: cov(X_ij, X_kl) = (AA')_ik (BB')_jl.

    Paper: kronecker-attention-networks (Gao et al. 2020, arXiv:2007.08442)

    Parameters: mean M (h, w), row_factor A (h, h), column_factor B (w, w), rng, count >= 1. Returns
    (count, h, w). Raises ValueError for others. Cost: O(count h w (h + w)).
    """
    mean = as_matrix("mean", mean)
    h, w = mean.shape
    a = as_matrix("row_factor", row_factor, rows=h, columns=h)
    b = as_matrix("column_factor", column_factor, rows=w, columns=w)
    z = as_rng(rng).standard_normal((integer("count", count, low=1), h, w))
    return mean + a @ z @ b.T


def filter_maps(images, filters) -> np.ndarray:
    """Return the positive parts of 3 x 3 filters over images, zeros beyond the border.

    Parameters: images (n, h, w), filters (c, 3, 3). Returns (n, h, w, c). Raises ValueError for
    others. Cost: O(n h w c).
    """
    images, filters = np.asarray(images, dtype=float), np.asarray(filters, dtype=float)
    if images.ndim != 3 or 0 in images.shape or not np.isfinite(images).all():
        raise ValueError(f"images must be finite, of shape (n, h, w), got shape {images.shape}")
    if filters.ndim != 3 or filters.shape[1:] != (3, 3) or not np.isfinite(filters).all():
        raise ValueError(f"filters must be finite, of shape (c, 3, 3), got shape {filters.shape}")
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.maximum(np.tensordot(windows, filters, axes=((3, 4), (1, 2))), 0.0)


# ------------------------------------------------------------------------------------------------
# 4. Keys and values near a subspace
# ------------------------------------------------------------------------------------------------


class Heads(NamedTuple):
    """Queries, keys and values of H heads, (..., H, n, d) each."""

    queries: np.ndarray
    keys: np.ndarray
    values: np.ndarray


class Bases(NamedTuple):
    """An orthogonal matrix a head for its keys and one for its values, (H, d, d): nested codes."""

    keys: np.ndarray
    values: np.ndarray


def misaligned_heads(count: int, n: int, d: int, rng, isotropic: bool = False) -> Heads:
    """Return heads whose keys vary along other directions than their queries.

    Queries, keys and values have deviations falling from 2 to 0.1, each in a random orthonormal
    basis of its own for each head; if isotropic, all deviations are 1.

    Paper: matryoshkakv (Lin et al. 2024, arXiv:2410.14731)

    Parameters: count, n, d >= 1; rng; isotropic. Raises ValueError for others.
    Cost: O(count (n d^2 + d^3)).
    """
    count, n, d = integer("count", count, low=1), integer("n", n, low=1), integer("d", d, low=1)
    rng, deviations = as_rng(rng), np.ones(d) if isotropic else np.geomspace(2.0, 0.1, d)
    turns = np.linalg.qr(rng.standard_normal((3, count, d, d)))[0]
    return Heads(*(rng.standard_normal((3, count, n, d)) * deviations) @ turns)


def principal_bases(heads: Heads) -> Bases:
    """Return the eigenvectors of K'K and of V'V, largest eigenvalue first.

    Paper: matryoshkakv (Lin et al. 2024, arXiv:2410.14731)

    Parameters: Heads. Raises ValueError for shapes that do not fit. Cost: O(H (N d^2 + d^3)) for N
    tokens in all. No prefix of other columns keeps more of the squared length.
    """
    heads = _heads(heads)

    def vectors(x):
        x = np.moveaxis(x, -3, 0)
        x = x.reshape(len(x), -1, x.shape[-1])
        x = x / np.maximum(np.abs(x).max(axis=(1, 2), keepdims=True), 1e-300)  # squares overflow
        return np.ascontiguousarray(np.linalg.eigh(np.swapaxes(x, 1, 2) @ x)[1][:, :, ::-1])

    return Bases(vectors(heads.keys), vectors(heads.values))


def cayley(skew):
    """Return (I - Q)(I + Q)^-1, orthogonal for a skew-symmetric Q = -Q'; I for Q = 0.

    Paper: matryoshkakv (Lin et al. 2024, arXiv:2410.14731)

    Parameters: skew (..., d, d); numbers of autograd are allowed, and not looked at. Raises
    ValueError for others. Cost: O(d^3) each.

    >>> cayley(np.array([[0.0, 1.0], [-1.0, 0.0]])).round(12).tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    """
    if np.ndim(skew) < 2 or np.shape(skew)[-1] != np.shape(skew)[-2]:
        raise ValueError(f"skew must be square matrices, got shape {np.shape(skew)}")
    if isinstance(skew, np.ndarray):
        size = np.abs(skew).max(initial=0.0)
        if not np.abs(skew + np.swapaxes(skew, -1, -2)).max(initial=0.0) <= 1e-9 * size < np.inf:
            raise ValueError("skew must be finite and equal minus its transpose")
    identity = np.eye(np.shape(skew)[-1])
    # (I - Q)(I + Q)^-1 = 2 (I + Q)^-1 - I
    return 2.0 * anp.linalg.inv(identity + skew) - identity


def projected_attention(heads: Heads, bases: Bases, key_ranks, value_ranks) -> np.ndarray:
    """Return attention from a cache of the first r coordinates of each key and value.

    The cache is K U_K[:, :r], V U_V[:, :r'] for each head; scores are q U_K[:, :r] against it, and
    the result is turned back with U_V[:, :r']'. A value of rank 0 is 0, a key of rank 0 scores 0.

    Paper: matryoshkakv (Lin et al. 2024, arXiv:2410.14731)

    Parameters: Heads (..., H, n, d); Bases; ranks, H integers from 0 to d each. Returns
    (..., H, n, d). Raises ValueError for others. Cost: O(n^2 (r + r') + n d (r + r')) a head.
    """
    heads = _heads(heads)
    keep_keys = _kept("key_ranks", key_ranks, heads)
    keep_values = _kept("value_ranks", value_ranks, heads)
    bases = _bases(bases, heads)
    with np.errstate(over="ignore", invalid="ignore"):
        out = _project(heads, bases.keys, bases.values, keep_keys, keep_values)
    if not np.isfinite(out).all():
        raise ValueError("heads must be smaller, their scores overflow")
    return out


def _project(heads, key_bases, value_bases, keep_keys, keep_values):
    """Attention of coordinates that are multiplied by 0 or 1; for autograd too."""
    queries = anp.matmul(heads.queries, key_bases)
    keys = anp.matmul(heads.keys, key_bases) * keep_keys
    scores = anp.matmul(queries, anp.swapaxes(keys, -1, -2)) / math.sqrt(keys.shape[-1])
    out = anp.matmul(_softmax(scores), anp.matmul(heads.values, value_bases) * keep_values)
    return anp.matmul(out, anp.swapaxes(value_bases, -1, -2))


@autograd.extend.primitive
def _softmax(scores):
    """Softmax over the last axis; in one piece, so that autograd keeps one array and not five."""
    weights = scores - np.max(scores, axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= np.sum(weights, axis=-1, keepdims=True)
    return weights


def _softmax_pullback(weights, scores):
    def pullback(slopes):
        slopes = slopes * weights
        slopes -= weights * np.sum(slopes, axis=-1, keepdims=True)
        return slopes

    return pullback


autograd.extend.defvjp(_softmax, _softmax_pullback)


class SquaredError(NamedTuple):
    """|out - target|^2 / |target - its mean|^2, the error of the heads' outputs."""

    target: np.ndarray

    def __call__(self, out):
        centred = self.target - np.mean(self.target, axis=-2, keepdims=True)
        return anp.sum((out - self.target) ** 2) / np.sum(centred**2)


def output_error(heads: Heads) -> SquaredError:
    """Return the function that compares outputs with those of the full heads.

    Parameters: Heads. Raises ValueError for others, or outputs that are the same for all queries.
    Cost: O(H n^2 d).
    """
    heads = _heads(heads)
    identity = np.eye(heads.keys.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        target = _project(heads, identity, identity, 1.0, 1.0)
    if not np.isfinite(target).all():
        raise ValueError("heads must be smaller, their scores overflow")
    if not np.ptp(target, axis=-2).any():
        raise ValueError("heads must give outputs that vary, they are the same for all queries")
    return SquaredError(target)


def train_bases(
    start: Bases, batches, rng, steps: int = 400, step: float = 0.02, nested: bool = True
) -> Iterator[tuple[float, tuple[Bases, float]]]:
    """Turn orthogonal bases so that every prefix of their columns loses little of the result.

    U = U_0 (I - Q)(I + Q)^-1 with Q skew stays orthogonal while Adam descends in Q. Each step cuts
    every head's keys and values at ranks of their own, drawn from d/8, 2 d/8, ..., d.

    Paper: matryoshkakv (Lin et al. 2024, arXiv:2410.14731)

    Parameters
    ----------
    start : Bases U_0, usually ``principal_bases``
    batches : one or more (Heads, loss), used in turn; loss: outputs (..., H, n, d) -> a number
    rng : Generator or seed
    steps : >= 1; step > 0: Adam's, falling to a tenth
    nested : draw ranks; False: always d/2

    Yields (fraction done, (Bases, loss before the step)). Raises ValueError for others.
    Cost: O(H (n^2 d + d^3)) a step. Source: section 3; the paper's loss is a KL divergence.
    """
    if not isinstance(batches, list | tuple) or not all(
        isinstance(pair, tuple) and len(pair) == 2 and callable(pair[1]) for pair in batches
    ):
        raise ValueError("batches must be a list of pairs (Heads, loss), loss a function")
    batches = [(_heads(heads), loss) for heads, loss in batches]
    if not batches:
        raise ValueError("batches must hold at least one pair, got none")
    for heads, _ in batches:
        start = _bases(start, heads)
    count, d = start.keys.shape[:2]
    steps, length, rng = integer("steps", steps, low=1), positive("step", step), as_rng(rng)
    skews = np.zeros((2, count, d, d))
    adam = Adam([skews], length)

    def turned(skews):
        skew = skews - anp.swapaxes(skews, -1, -2)
        return anp.matmul(start.keys, cayley(skew[0])), anp.matmul(start.values, cayley(skew[1]))

    def objective(skews, heads, loss, keep):
        return loss(_project(heads, *turned(skews), keep[0], keep[1]))

    slopes = autograd.value_and_grad(objective)

    def run():
        for t in range(steps):
            adam.step = length * (1.0 - 0.9 * t / steps)
            eighths = rng.integers(1, 9, size=(2, count)) if nested else np.full((2, count), 4)
            ranks = np.maximum(1, np.round(eighths * d / 8))
            keep = (np.arange(d) < ranks[:, :, None, None]).astype(float)
            value, gradient = slopes(skews, *batches[t % len(batches)], keep)
            adam.update([gradient])
            yield (t + 1) / steps, (Bases(*turned(skews)), float(value))

    return run()


def search_ranks(heads: Heads, loss: Callable, bases: Bases, budget: int) -> np.ndarray:
    """Choose a rank for each head: from full ranks down by one, always where the loss grows least.

    Paper: matryoshkakv (Lin et al. 2024, arXiv:2410.14731)

    Parameters: Heads; loss, outputs -> a number; Bases; budget from H to H d, the ranks' sum.
    Returns integers (H,), at least 1 each. Raises ValueError for others.
    Cost: H projections for each rank taken away.
    """
    heads = _heads(heads)
    count, d = heads.keys.shape[-3], heads.keys.shape[-1]
    budget = integer("budget", budget, low=count, high=count * d)
    ranks = np.full(count, d)
    while ranks.sum() > budget:
        losses = np.full(count, np.inf)
        for h in np.flatnonzero(ranks > 1):
            lower = ranks - (np.arange(count) == h)
            losses[h] = loss(projected_attention(heads, bases, lower, lower))
        if np.isnan(losses).any():
            raise ValueError("loss must give numbers, it gave NaN")
        ranks[np.argmin(losses)] -= 1
    return ranks


def greedy_ranks(errors, budget: int) -> np.ndarray:
    """Return one place in each row whose sum is the budget: from the ends down, cheapest cut first.

    Paper: matryoshkakv (Lin et al. 2024, arXiv:2410.14731)

    Parameters: errors (H, r), of head h at each of r ranks; budget, from 0 to H (r - 1), the sum of
    the places. Returns integers (H,). Raises ValueError for others. Cost: O(H^2 r). Best possible
    where every row is convex.

    >>> greedy_ranks([[3.0, 1.0, 0.0], [9.0, 4.0, 0.0]], 3).tolist()
    [1, 2]
    """
    errors = as_matrix("errors", errors)
    count, ranks = errors.shape
    budget = integer("budget", budget, low=0, high=count * (ranks - 1))
    places, rows = np.full(count, ranks - 1), np.arange(count)
    while places.sum() > budget:
        cost = np.where(places > 0, errors[rows, places - 1] - errors[rows, places], np.inf)
        places[np.argmin(cost)] -= 1
    return places


# A small network that reads digits, whose heads are then compressed


class Reader(NamedTuple):
    """A digit classifier with one attention layer over 16 patches of 2 x 2 pixels.

    x = patch E + P;  y = x + sum_h softmax(q k' / sqrt(d)) v W_h;  log softmax(mean relu(y A) B).
    """

    parameters: list
    """[E (4, e), P (16, e), W_Q, W_K, W_V (H, e, d), W (H, d, e), A (e, f), B (f, 10)]"""

    def heads(self, images) -> Heads:
        """Return queries, keys and values (n, H, 16, d) for images (n, 8, 8)."""
        return _reader_heads(self.parameters, _patches(images))

    def log_probabilities(self, images, outputs):
        """Return (n, 10) for the heads' outputs (n, H, 16, d); numbers of autograd are allowed."""
        return _read(self.parameters, _patches(images), outputs)

    def divergence(self, images, outputs) -> Callable:
        """Return the loss KL(full network || network with other outputs), mean over images."""
        patches, full = _patches(images), self.log_probabilities(images, outputs)
        share = np.exp(full)

        def loss(others):
            found = _read(self.parameters, patches, others)
            return anp.mean(anp.sum(share * (full - found), axis=1))

        return loss


def _patches(images):
    images = np.asarray(images, dtype=float)
    if images.ndim != 3 or images.shape[1:] != (8, 8) or len(images) == 0:
        raise ValueError(f"images must have shape (n, 8, 8), got shape {images.shape}")
    if not np.isfinite(images).all():
        raise ValueError("images must be finite")
    return images.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4)


def _reader_heads(parameters, patches):
    x = (anp.matmul(patches, parameters[0]) + parameters[1])[:, None]
    return Heads(*(anp.matmul(x, parameters[place]) for place in (2, 3, 4)))


def _read(parameters, patches, outputs):
    embed, position, _, _, _, back, inner, last = parameters
    x = anp.matmul(patches, embed) + position
    y = x + anp.sum(anp.matmul(outputs, back), axis=1)
    hidden = anp.mean(anp.maximum(anp.matmul(y, inner), 0.0), axis=1)
    z = anp.matmul(hidden, last)
    z = z - anp.max(z, axis=1, keepdims=True)
    return z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))


def train_reader(
    images, labels, rng, heads: int = 4, d: int = 8, steps: int = 400, step: float = 0.01, batch=64
) -> Iterator[tuple[float, tuple[Reader, float]]]:
    """Train the digit classifier by Adam on the cross entropy.

    Parameters: images (n, 8, 8), labels (n,) 0 to 9, rng; heads, d, steps, batch >= 1; step > 0,
    falling to a tenth. Yields (fraction done, (Reader, loss before the step)). Raises ValueError
    for others. Cost: O(batch H d (16^2 + 16 H d)) a step.
    """
    patches = _patches(images)
    labels = _indices("labels", labels, 10)
    same_length("images", patches, "labels", labels)
    count, d, rng = integer("heads", heads, low=1), integer("d", d, low=1), as_rng(rng)
    steps, batch = integer("steps", steps, low=1), integer("batch", batch, low=1)
    length, e = positive("step", step), count * d

    def normal(*shape):
        return rng.standard_normal(shape) / math.sqrt(shape[-2])

    parameters = [normal(4, e), 0.5 * rng.standard_normal((16, e))]
    parameters += [normal(count, e, d) for _ in range(3)] + [normal(count, d, e) / count]
    parameters += [normal(e, 2 * e), normal(2 * e, 10)]
    adam = Adam(parameters, length)

    def loss(parameters, some, answers):
        made = _reader_heads(parameters, some)
        logs = _read(parameters, some, _project(made, np.eye(d), np.eye(d), 1.0, 1.0))
        return -anp.mean(logs[np.arange(len(answers)), answers])

    slopes = autograd.value_and_grad(loss)

    def run():
        for t in range(steps):
            adam.step = length * (1.0 - 0.9 * t / steps)
            some = rng.integers(len(patches), size=batch)
            value, gradient = slopes(parameters, patches[some], labels[some])
            adam.update(gradient)
            yield (t + 1) / steps, (Reader([array.copy() for array in parameters]), float(value))

    return run()


# Checks


def _tokens(tokens) -> Tokens:
    queries, keys, values = _parts("tokens", tokens, "queries, keys, values")
    queries = as_matrix("queries", queries)
    keys = as_matrix("keys", keys, columns=queries.shape[1])
    return Tokens(queries, keys, as_matrix("values", values, rows=len(keys)))


def _parts(name, value, parts):
    if not isinstance(value, list | tuple) or len(value) != len(parts.split(", ")):
        raise ValueError(f"{name} must be {parts}, got {type(value).__name__}")
    return value


def _indices(name, value, high) -> np.ndarray:
    value = np.asarray(value)
    if value.ndim != 1 or value.dtype.kind not in "iu" or len(value) == 0:
        raise ValueError(f"{name} must be a vector of integers, got shape {value.shape}")
    if value.min() < 0 or value.max() >= high:
        raise ValueError(f"{name} must be integers from 0 to {high - 1}")
    return value.astype(np.int64)


def _sample(sample, m):
    chosen, log_weights = _parts("sample", sample, "keys, log_weights")
    if np.shape(chosen) == (0,) == np.shape(log_weights):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    chosen = _indices("sample.keys", chosen, m)
    return chosen, as_vector("sample.log_weights", log_weights, length=len(chosen))


def _buckets(buckets, n, m):
    if n != m:
        raise ValueError(f"queries and keys must be as many for buckets, got {n} and {m}")
    *given, size = _parts("buckets", buckets, "query_order, key_order, size")
    size = integer("buckets.size", size, low=1, high=n)
    orders = []
    for name, order in zip(("query_order", "key_order"), given, strict=True):
        order = _indices(f"buckets.{name}", order, n)
        if len(order) != n or (np.bincount(order, minlength=n) != 1).any():
            raise ValueError(f"buckets.{name} must hold each number below {n} once")
        orders.append(order)
    return *orders, size


def _grid(name, x) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    if x.ndim != 3 or 0 in x.shape or not np.isfinite(x).all():
        raise ValueError(f"{name} must be finite, of shape (h, w, c), got shape {x.shape}")
    return x


def _heads(heads) -> Heads:
    arrays = [np.asarray(x, float) for x in _parts("heads", heads, "queries, keys, values")]
    if arrays[0].ndim < 3 or 0 in arrays[0].shape:
        raise ValueError("heads must be queries, keys and values, (..., H, n, d) each")
    if any(x.shape != arrays[0].shape for x in arrays):
        raise ValueError(f"heads must have one shape, got {[x.shape for x in arrays]}")
    if not all(np.isfinite(x).all() for x in arrays):
        raise ValueError("heads must be finite")
    return Heads(*arrays)


def _bases(bases, heads) -> Bases:
    count, d = heads.keys.shape[-3], heads.keys.shape[-1]
    arrays = [np.asarray(x, dtype=float) for x in _parts("bases", bases, "keys, values")]
    for x in arrays:
        if x.shape != (count, d, d):
            raise ValueError(f"bases must have shape {(count, d, d)}, got shape {x.shape}")
        if not np.abs(np.swapaxes(x, 1, 2) @ x - np.eye(d)).max() < 1e-6:
            raise ValueError("bases must be orthogonal matrices")
    return Bases(*arrays)


def _kept(name, ranks, heads):
    """Return 0 and 1 for each coordinate, (H, 1, d)."""
    count, d = heads.keys.shape[-3], heads.keys.shape[-1]
    ranks = _indices(name, ranks, d + 1)
    if len(ranks) != count:
        raise ValueError(f"{name} must be {count} integers, one a head, got {len(ranks)}")
    return (np.arange(d) < ranks[:, None, None]).astype(float)
