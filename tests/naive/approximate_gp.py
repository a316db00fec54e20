"""Expectation propagation for probit classification, one site after the other, by dense algebra."""

import numpy as np
from scipy.stats import norm


def expectation_propagation(gram, y, sweeps=200):
    """Return posterior mean, covariance and EP's log evidence (Rasmussen and Williams, 3.5)."""
    n = len(y)
    shift, precision = np.zeros(n), np.zeros(n)
    prior = np.linalg.inv(gram)
    for _ in range(sweeps):
        for i in range(n):
            covariance = np.linalg.inv(prior + np.diag(precision))
            mean = covariance @ shift
            left = 1 / covariance[i, i] - precision[i]
            m, v = (mean[i] / covariance[i, i] - shift[i]) / left, 1 / left
            z = y[i] * m / np.sqrt(1 + v)
            ratio = norm.pdf(z) / norm.cdf(z)
            tilted_mean = m + y[i] * v * ratio / np.sqrt(1 + v)
            tilted_variance = v - v**2 * ratio * (z + ratio) / (1 + v)
            precision[i] = 1 / tilted_variance - left
            shift[i] = tilted_mean / tilted_variance - m * left
    covariance = np.linalg.inv(prior + np.diag(precision))
    mean = covariance @ shift
    value = 0.5 * shift @ mean - 0.5 * np.linalg.slogdet(np.eye(n) + gram * precision)[1]
    for i in range(n):
        left = 1 / covariance[i, i] - precision[i]
        m, v = (mean[i] / covariance[i, i] - shift[i]) / left, 1 / left
        value += norm.logcdf(y[i] * m / np.sqrt(1 + v))
        total = left + precision[i]
        site = 0.5 * (m * left + shift[i]) ** 2 / total - 0.5 * m**2 * left
        value -= site - 0.5 * np.log(total / left)
    return mean, covariance, value
