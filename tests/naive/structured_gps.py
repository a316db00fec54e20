"""Plain references for the structured GP lab, to be checked by eye."""

import numpy as np


def dense_rows(neighbours, rows):
    """The lower triangular matrix that sparse rows stand for; the diagonal entry comes last."""
    n, m = neighbours.shape
    matrix = np.zeros((n, n))
    for i in range(n):
        for k in range(m):
            if neighbours[i, k] >= 0:
                matrix[i, neighbours[i, k]] = rows[i, k]
        matrix[i, i] = rows[i, m]
    return matrix


def bound(prior, weights, mean, likelihood, y):
    """The evidence bound of q = N(mean, (W^T W)^-1) under the prior N(0, (U^T U)^-1)."""
    covariance = np.linalg.inv(weights.T @ weights)
    precision = prior.T @ prior
    expected = likelihood.expected(y, mean, np.diagonal(covariance))[0].sum()
    kl = np.trace(precision @ covariance) + mean @ precision @ mean - len(mean)
    kl += np.linalg.slogdet(weights.T @ weights)[1] - np.linalg.slogdet(precision)[1]
    return expected - 0.5 * kl


def gaussian_log_density(y, covariance):
    """log N(y; 0, covariance)."""
    fit = y @ np.linalg.solve(covariance, y)
    return -0.5 * (fit + np.linalg.slogdet(2 * np.pi * covariance)[1])


def messages(core, core_covariance, means, covariances, rows, y, noise, mode):
    """Shift and precision to one mode of three, entry by entry and index by index."""
    ranks = [m.shape[1] for m in means]
    second = (core_covariance + np.outer(core, core)).reshape(ranks * 2)
    first = core.reshape(ranks)
    others = [k for k in range(3) if k != mode]
    count, r = means[mode].shape
    shift, precision = np.zeros((count, r)), np.zeros((count, r, r))
    for n, value in enumerate(y):
        a, b = (means[k][rows[k][n]] for k in others)
        squares = [
            covariances[k][rows[k][n]] + np.outer(means[k][rows[k][n]], means[k][rows[k][n]])
            for k in others
        ]
        b_mean = np.einsum("rab,a,b->r", np.moveaxis(first, mode, 0), a, b)
        order = [mode, *others]
        moved = second.transpose(order + [3 + k for k in order])
        b_square = np.einsum("rabscd,ac,bd->rs", moved, *squares)
        shift[rows[mode][n]] += value * b_mean / noise
        precision[rows[mode][n]] += b_square / noise
    return shift, precision
