"""Discrepancies between clouds as plain double loops."""

import math


def mmd_squared(x, y, kernel, unbiased=True):
    """kernel: a function of two points."""
    return _mean(x, x, kernel, unbiased) + _mean(y, y, kernel, unbiased) - 2 * _mean(x, y, kernel)


def energy_distance(x, y):
    return 2 * _mean(x, y, math.dist) - _mean(x, x, math.dist) - _mean(y, y, math.dist)


def _mean(x, y, function, without_diagonal=False):
    values = [
        function(a, b)
        for i, a in enumerate(x)
        for j, b in enumerate(y)
        if not (without_diagonal and i == j)
    ]
    return sum(values) / len(values)
