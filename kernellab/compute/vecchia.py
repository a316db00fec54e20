"""Gaussian processes by nearest neighbours: sparse inverse Cholesky factors (Vecchia).

In an order of the points, p(f) = prod_i p(f_i | f_1 .. f_{i-1}); conditioning each value on its m
nearest predecessors only is very accurate when the order is maximin: each next point is the one
farthest from all before, so that early points cover the domain and late ones have near neighbours.

>>> import numpy as np
>>> maximin_order(np.array([[0.0], [1.0], [0.9], [0.5]]), first=0).tolist()
[0, 1, 3, 2]
"""

import math

import numpy as np
import scipy.sparse

from kernellab.compute.checks import as_matrix, as_rng, as_vector, integer, nonnegative
from kernellab.compute.compiled import compiled
from kernellab.compute.gp import Prediction
from kernellab.compute.kernels import as_kernel

__all__ = ["Vecchia", "maximin_order", "nearest_predecessors"]

_CHUNK = 1 << 20  # kernel values that are held at a time


def maximin_order(x, first: int | None = None) -> np.ndarray:
    """Return an order of the points in which each next one is farthest from all before it.

    Parameters
    ----------
    x : shape (n, d)
    first : the first point's number; None: the point nearest to the mean

    Returns
    -------
    order : shape (n,); of points equally far, the lowest number comes first

    Raises
    ------
    ValueError : x is not a matrix, or first is not one of its rows.

    Cost: O(n^2 d) time, O(n) memory. Source: Guinness (2018); Schafer, Katzfuss and Owhadi (2021).
    """
    x = as_matrix("x", x)
    if first is None:
        first = int(np.argmin(((x - x.mean(axis=0)) ** 2).sum(axis=1)))
    first = integer("first", first, low=0, high=len(x) - 1)
    order = np.empty(len(x), dtype=np.int64)
    _maximin(x, first, order)
    return order


def nearest_predecessors(x, m: int, points=None) -> np.ndarray:
    """Return the m nearest earlier points of each point, nearest first, shape (n, m).

    Parameters
    ----------
    x : the points in their order, shape (n, d)
    m : how many neighbours
    points : other points (t, d): then each of them has all of x before it

    Returns
    -------
    row numbers of x, shape (n, m) or (t, m), int64; -1 where there are fewer than m before

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n^2 d) time, O(n m) memory.
    """
    x = as_matrix("x", x)
    m = integer("m", m, low=1, high=len(x))
    points_too = points is not None
    points = as_matrix("points", points, columns=x.shape[1]) if points_too else x
    neighbours = np.full((len(points), m), -1, dtype=np.int64)
    _nearest(x, points, not points_too, neighbours)
    return neighbours


class Vecchia:
    """A Gaussian process in which each value depends on its m nearest predecessors only.

    f_i | before ~ N(b_i . f_{S_i}, d_i), with b_i = K_{SS}^{-1} k_{Si}, d_i = k_ii - b_i . k_{Si}.
    Of all Gaussians whose inverse covariance has a Cholesky factor of this pattern, this one is
    nearest to N(0, K + noise I) in KL(exact || approximate); with m = n - 1 it is exact.

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    x : inputs, shape (n, d)
    m : neighbours of each point
    noise : variance added to the diagonal, >= 0: then the values are noisy targets
    order : shape (n,), the order of the points; None: ``maximin_order``

    Attributes
    ----------
    order : shape (n,)
    neighbours : shape (n, m), positions in the order; -1: none
    coefficients : b, shape (n, m)
    variances : d, shape (n,)
    jitter : the largest amount by which a d_i had to be lifted to stay positive

    Raises
    ------
    ValueError : arguments that do not fit.

    Cost: O(n m^3), and O(n^2 d) for order and neighbours.
    Source: Vecchia (1988); Schafer, Katzfuss and Owhadi, Sparse Cholesky factorization by
    Kullback-Leibler minimization (2021), theorem 2.1.
    """

    def __init__(self, kernel, x, m: int, *, noise: float = 0.0, order=None):
        self.kernel, self.noise = as_kernel(kernel), nonnegative("noise", noise)
        x = as_matrix("x", x)
        self.order = maximin_order(x) if order is None else _as_order(order, len(x))
        self.x = x[self.order]
        self.neighbours = nearest_predecessors(self.x, integer("m", m, low=1, high=len(x)))
        self.coefficients, self.variances, self.jitter = self._condition(
            self.x, self.neighbours, self.noise
        )

    def log_density(self, y) -> float:
        """Return the log density of values y (n,), given in the order of x: O(n m)."""
        y = as_vector("y", y, length=len(self.x))[self.order]
        misses = y - self._conditional_means(y)
        terms = misses**2 / self.variances + np.log(2.0 * math.pi * self.variances)
        return -0.5 * float(terms.sum())

    def _conditional_means(self, y):
        # Where there is no neighbour the coefficient is 0.
        return (self.coefficients * y[self.neighbours]).sum(axis=1)

    def sample(self, n: int, rng) -> np.ndarray:
        """Draw n vectors of values, shape (n, number of points), in the order of x: O(n m) each."""
        count = integer("n", n, low=1)
        draws = as_rng(rng).standard_normal((len(self.x), count))
        _sample(self.neighbours, self.coefficients, np.sqrt(self.variances), draws)
        out = np.empty((count, len(self.x)))
        out[:, self.order] = draws.T
        return out

    def precision_factor(self) -> scipy.sparse.csc_array:
        """Return the sparse lower triangular U (n, n) with U^T U the precision, in ``order``.

        Row i of U is (e_i - b_i) / sqrt(d_i), so that U f is white noise.
        """
        n, m = self.neighbours.shape
        rows = np.repeat(np.arange(n), m)
        known = self.neighbours.ravel() >= 0
        scale = 1.0 / np.sqrt(self.variances)
        values = np.concatenate([scale, -(self.coefficients * scale[:, None]).ravel()[known]])
        places = (
            np.concatenate([np.arange(n), rows[known]]),
            np.concatenate([np.arange(n), self.neighbours.ravel()[known]]),
        )
        return scipy.sparse.csc_array((values, places), shape=(n, n))

    def predict(self, x, y) -> Prediction:
        """Return mean and variance (t,) of f at points x (t, d), given all values y (n,).

        Each new point is conditioned on its m nearest data. Cost: O(t n d + t m^3).
        """
        x = as_matrix("x", x, columns=self.x.shape[1])
        y = as_vector("y", y, length=len(self.x))[self.order]
        neighbours = nearest_predecessors(self.x, self.neighbours.shape[1], x)
        coefficients, variances, _ = self._condition(x, neighbours, 0.0)
        return Prediction((coefficients * y[neighbours]).sum(axis=1), variances)

    def _condition(self, points, neighbours, noise):
        """Return coefficients (t, m), variances (t,) and jitter for points given neighbours."""
        t, m = neighbours.shape
        coefficients, variances = np.zeros((t, m)), np.empty(t)
        jitter, chunk = 0.0, max(1, _CHUNK // (m + 1) ** 2)
        left, right = np.tril_indices(m)
        for start in range(0, t, chunk):
            near, some = neighbours[start : start + chunk], points[start : start + chunk]
            known = np.maximum(near, 0)
            count = len(near)
            within = np.zeros((count, m, m))
            pairs = self.kernel.paired(
                self.x[known[:, left]].reshape(-1, self.x.shape[1]),
                self.x[known[:, right]].reshape(-1, self.x.shape[1]),
            )
            within[:, left, right] = pairs.reshape(count, -1)
            within[:, np.arange(m), np.arange(m)] += self.noise
            cross = self.kernel.paired(
                np.repeat(some, m, axis=0), self.x[known].reshape(-1, self.x.shape[1])
            ).reshape(count, m)
            part = slice(start, start + count)
            lifted = _regress(
                within,
                cross,
                self.kernel.diagonal(some) + noise,
                (near >= 0).sum(axis=1),
                coefficients[part],
                variances[part],
            )
            jitter = max(jitter, lifted)
        return coefficients, variances, jitter


def _as_order(order, n: int) -> np.ndarray:
    order = np.asarray(order)
    if order.shape != (n,) or not np.array_equal(np.sort(order), np.arange(n)):
        raise ValueError(f"order must hold each number from 0 to {n - 1} once")
    return order.astype(np.int64)


@compiled("void(float64[:,::1], int64, int64[::1])")
def _maximin(x, first, order):
    n, d = x.shape
    gaps = np.full(n, np.inf)
    chosen = first
    for step in range(n):
        order[step] = chosen
        gaps[chosen] = -1.0
        best, farthest = -1.0, -1
        for i in range(n):
            if gaps[i] < 0.0:
                continue
            square = 0.0
            for k in range(d):
                square += (x[i, k] - x[chosen, k]) ** 2
            gaps[i] = min(gaps[i], square)
            if gaps[i] > best:
                best, farthest = gaps[i], i
        chosen = farthest


@compiled("void(float64[:,::1], float64[:,::1], boolean, int64[:,::1])")
def _nearest(x, points, earlier, neighbours):
    """Fill in the nearest rows of x for each point, by insertion into a sorted list."""
    m = neighbours.shape[1]
    squares = np.empty(m)
    for i in range(points.shape[0]):
        squares[:] = np.inf
        for j in range(i if earlier else x.shape[0]):
            square = 0.0
            for k in range(x.shape[1]):
                square += (x[j, k] - points[i, k]) ** 2
            if not square < squares[m - 1] and neighbours[i, m - 1] >= 0:
                continue
            place = m - 1
            while place > 0 and (neighbours[i, place - 1] < 0 or squares[place - 1] > square):
                squares[place] = squares[place - 1]
                neighbours[i, place] = neighbours[i, place - 1]
                place -= 1
            squares[place] = square
            neighbours[i, place] = j


@compiled(
    "float64(float64[:,:,::1], float64[:,::1], float64[::1], int64[::1], "
    "float64[:,::1], float64[::1])"
)
def _regress(within, cross, own, counts, coefficients, variances):
    """Solve each small system K_SS b = k_S by Cholesky in place; return the largest lift of d.

    A neighbour that the others determine already (a repeated point) gets no weight of its own.
    """
    lifted = 0.0
    for t in range(within.shape[0]):
        a, n = within[t], counts[t]
        for i in range(n):
            scale = a[i, i]
            for j in range(i + 1):
                total = a[i, j]
                for k in range(j):
                    total -= a[i, k] * a[j, k]
                if j < i:
                    a[i, j] = total / a[j, j] if a[j, j] > 0.0 else 0.0
                else:
                    a[i, i] = math.sqrt(total) if total > 1e-13 * scale else 0.0
        left = own[t]
        b = coefficients[t]
        for i in range(n):
            total = cross[t, i]
            for k in range(i):
                total -= a[i, k] * b[k]
            b[i] = total / a[i, i] if a[i, i] > 0.0 else 0.0
            left -= b[i] * b[i]
        for i in range(n - 1, -1, -1):
            total = b[i]
            for k in range(i + 1, n):
                total -= a[k, i] * b[k]
            b[i] = total / a[i, i] if a[i, i] > 0.0 else 0.0
        least = 1e-13 * own[t]
        if left < least:
            lifted = max(lifted, least - left)
            left = least
        variances[t] = left
    return lifted


@compiled("void(int64[:,::1], float64[:,::1], float64[::1], float64[:,::1])")
def _sample(neighbours, coefficients, spreads, draws):
    """Turn white noise into values, point by point, in place: draws (n, count)."""
    for i in range(neighbours.shape[0]):
        for c in range(draws.shape[1]):
            draws[i, c] *= spreads[i]
        for j in range(neighbours.shape[1]):
            k = neighbours[i, j]
            if k >= 0:
                for c in range(draws.shape[1]):
                    draws[i, c] += coefficients[i, j] * draws[k, c]
