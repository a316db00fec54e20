"""Kernels as plain loops over plain numbers, to be checked by eye against their formulas."""

import math

import numpy as np


def gaussian(x, y, bandwidth):
    return math.exp(-(distance(x, y) ** 2) / (2 * bandwidth**2))


def laplace(x, y, bandwidth):
    return math.exp(-sum(abs(a - b) for a, b in zip(x, y, strict=True)) / bandwidth)


def matern12(x, y, lengthscale):
    return math.exp(-distance(x, y) / lengthscale)


def matern32(x, y, lengthscale):
    r = math.sqrt(3) * distance(x, y) / lengthscale
    return (1 + r) * math.exp(-r)


def matern52(x, y, lengthscale):
    r = math.sqrt(5) * distance(x, y) / lengthscale
    return (1 + r + r**2 / 3) * math.exp(-r)


def rational_quadratic(x, y, lengthscale, alpha):
    return (1 + distance(x, y) ** 2 / (2 * alpha * lengthscale**2)) ** -alpha


def inverse_multiquadric(x, y, scale):
    return 1 / math.sqrt(1 + distance(x, y) ** 2 / scale**2)


def periodic(x, y, period, lengthscale):
    total = sum(math.sin(math.pi * (a - b) / period) ** 2 for a, b in zip(x, y, strict=True))
    return math.exp(-2 * total / lengthscale**2)


def polynomial(x, y, degree, offset=1.0, scale=1.0):
    return (scale * sum(a * b for a, b in zip(x, y, strict=True)) + offset) ** degree


def arc_cosine(x, y, order):
    """Return the kernel between two points that are not 0."""
    product = sum(a * b for a, b in zip(x, y, strict=True))
    norms = math.hypot(*x) * math.hypot(*y)
    t = math.acos(max(-1.0, min(1.0, product / norms)))
    if order == 0:
        j = math.pi - t
    elif order == 1:
        j = math.sin(t) + (math.pi - t) * math.cos(t)
    else:
        j = 3 * math.sin(t) * math.cos(t) + (math.pi - t) * (1 + 2 * math.cos(t) ** 2)
    return norms**order * j / math.pi


def distance(x, y):
    return math.hypot(*(a - b for a, b in zip(x, y, strict=True)))


def gram(kernel, x, y, **parameters):
    """Return the matrix of all kernel(x_i, y_j)."""
    rows = np.asarray(x, dtype=float).tolist()
    columns = np.asarray(y, dtype=float).tolist()
    return np.array([[kernel(a, b, **parameters) for b in columns] for a in rows])
