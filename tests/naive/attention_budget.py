"""Plain references for the attention budget lab, to be checked by eye."""

import math
from itertools import product

import numpy as np


def buckets_and_sample(queries, keys, values, buckets, chosen, log_weights, scale):
    """Attention over a query's own bucket and the draws from other buckets, query by query."""
    query_order, key_order, size = buckets
    query_home = {int(i): place // size for place, i in enumerate(query_order)}
    key_home = {int(j): place // size for place, j in enumerate(key_order)}
    out = np.empty((len(queries), values.shape[1]))
    for i, q in enumerate(queries):
        top, bottom = np.zeros(values.shape[1]), 0.0
        for j, k in enumerate(keys):
            if key_home[j] == query_home[i]:
                weight = math.exp(scale * float(q @ k))
                top, bottom = top + weight * values[j], bottom + weight
        for j, log_weight in zip(chosen, log_weights, strict=True):
            if key_home[int(j)] != query_home[i]:
                weight = math.exp(log_weight + scale * float(q @ keys[j]))
                top, bottom = top + weight * values[j], bottom + weight
        out[i] = top / bottom
    return out


def gray_words(r):
    """The reflected Gray code of r bits, word by word: each half is the other one backwards."""
    if r == 0:
        return [()]
    shorter = gray_words(r - 1)
    return [(0, *word) for word in shorter] + [(1, *word) for word in reversed(shorter)]


def monomials(x, degree):
    """Features x^a / sqrt(a!) of all exponents a with at most this degree, unordered."""
    columns = []
    for powers in product(range(degree + 1), repeat=x.shape[1]):
        if sum(powers) <= degree:
            scale = math.sqrt(math.prod(math.factorial(a) for a in powers))
            columns.append(np.prod(x ** np.array(powers), axis=1) / scale)
    return np.array(columns).T


def kronecker(queries, keys, values, kind, scale):
    """Row and column means in place of pixels, by loops."""
    h, w, _ = queries.shape
    lines = [(slice(None), j) for j in range(w)] + [(i, slice(None)) for i in range(h)]

    def mean(x, line):
        return x[line].mean(axis=0)

    def answer(q):
        weights = np.array([math.exp(scale * float(q @ mean(keys, line))) for line in lines])
        return weights @ np.array([mean(values, line) for line in lines]) / weights.sum()

    out = np.empty((h, w, values.shape[2]))
    for i in range(h):
        for j in range(w):
            if kind == "KV":
                out[i, j] = answer(queries[i, j])
            else:
                out[i, j] = answer(queries[:, j].mean(axis=0)) + answer(queries[i].mean(axis=0))
    return out


def bilinear(image, row, column):
    """The value of a map at a point, pixel centres at whole numbers, edges held."""
    h, w, _ = image.shape
    row, column = min(max(row, 0.0), h - 1.0), min(max(column, 0.0), w - 1.0)
    top, left = min(int(row), h - 2) if h > 1 else 0, min(int(column), w - 2) if w > 1 else 0
    a, b = row - top, column - left
    low, right = min(top + 1, h - 1), min(left + 1, w - 1)
    upper = (1 - b) * image[top, left] + b * image[top, right]
    lower = (1 - b) * image[low, left] + b * image[low, right]
    return (1 - a) * upper + a * lower
