"""Kernel linear algebra written out plainly: dense formulas, literal refits, loops over pivots."""

import numpy as np


def ridge_coefficients(gram, y, ridge):
    """Solve the ridge system as it stands."""
    return np.linalg.solve(gram + ridge * np.eye(len(gram)), y)


def leave_one_out(gram, y, ridge):
    """Refit n times, each time without one point."""
    n = len(gram)
    residuals = np.empty_like(y)
    for i in range(n):
        rest = np.arange(n) != i
        # lstsq: without a ridge the reduced system may be singular (or, for n = 1, empty).
        system = gram[np.ix_(rest, rest)] + ridge * np.eye(n - 1)
        coefficients = np.linalg.lstsq(system, y[rest], rcond=None)[0]
        residuals[i] = y[i] - gram[i, rest] @ coefficients
    return residuals


def hat_matrix(gram, ridge):
    """Return H with fitted = H y."""
    return gram @ np.linalg.inv(gram + ridge * np.eye(len(gram)))


def gcv(gram, y, ridge):
    n = len(gram)
    complement = np.eye(n) - hat_matrix(gram, ridge)
    residual = complement @ y.reshape(n, -1)
    return np.mean(residual**2) / (np.trace(complement) / n) ** 2


def log_marginal_likelihood(gram, y, ridge):
    n = len(gram)
    covariance = gram + ridge * np.eye(n)
    total = 0.0
    for column in y.reshape(n, -1).T:
        total -= 0.5 * column @ np.linalg.solve(covariance, column)
        total -= 0.5 * np.linalg.slogdet(covariance)[1]
        total -= 0.5 * n * np.log(2 * np.pi)
    return total


def pivoted_cholesky(gram, rank):
    """Greedy pivoted Cholesky: Schur complement formed in full after each pivot."""
    rest = np.array(gram, dtype=float)
    factor = np.zeros((len(gram), rank))
    pivots, errors = [], [np.trace(rest)]
    for j in range(rank):
        pivot = int(np.argmax(np.diagonal(rest)))
        column = rest[:, pivot] / np.sqrt(rest[pivot, pivot])
        factor[:, j] = column
        rest = rest - np.outer(column, column)
        pivots.append(pivot)
        errors.append(np.trace(rest))
    return factor, np.array(pivots), np.array(errors)


def conjugate_gradients(matrix, b, iterations):
    """The textbook recursion for one right-hand side."""
    x = np.zeros_like(b)
    residual = b - matrix @ x
    direction = residual
    for _ in range(iterations):
        step = (residual @ residual) / (direction @ matrix @ direction)
        x = x + step * direction
        new = residual - step * (matrix @ direction)
        direction = new + (new @ new) / (residual @ residual) * direction
        residual = new
    return x


def recursive_least_squares(features, targets, ridge, forgetting):
    """Solve the weighted least-squares problem anew at each step; return all weights."""
    weights = []
    for t in range(1, len(features) + 1):
        age = np.arange(t - 1, -1, -1)
        weight = forgetting ** age.astype(float)
        phi = features[:t]
        weighted = weight[:, None] * phi
        information = weighted.T @ phi + forgetting**t * ridge * np.eye(phi.shape[1])
        weights.append(np.linalg.solve(information, weighted.T @ targets[:t]))
    return np.array(weights)


def linear_dependence_dictionary(gram, threshold):
    """Indices kept by the approximate-linear-dependence test, with fresh solves."""
    kept = []
    for t in range(len(gram)):
        residual = gram[t, t]
        if kept:
            cross = gram[kept, t]
            residual = gram[t, t] - cross @ np.linalg.solve(gram[np.ix_(kept, kept)], cross)
        if residual > threshold:
            kept.append(t)
    return kept


class PlainGaussian:
    """exp(-||x - y||^2 / (2 bandwidth^2)), entry by entry; the least a kernel object must offer."""

    def __init__(self, bandwidth=1.0):
        self.bandwidth = bandwidth

    def gram(self, x, y=None):
        y = x if y is None else y
        squares = ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)
        return np.exp(-squares / (2 * self.bandwidth**2))

    def diagonal(self, x):
        return np.ones(len(x))
