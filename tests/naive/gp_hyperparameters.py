"""Plain references for the hyper-parameter lab, to be checked by eye."""

import numpy as np


def noisy_gram(x, theta):
    """amplitude^2 exp(-1/2 sum_k (x_k - x'_k)^2 / length_k^2) + noise^2 I, entry by entry."""
    amplitude, *lengths, noise = np.exp(theta)
    gram = np.empty((len(x), len(x)))
    for i, a in enumerate(x):
        for j, b in enumerate(x):
            squares = sum((a[k] - b[k]) ** 2 / lengths[k] ** 2 for k in range(len(a)))
            gram[i, j] = amplitude**2 * np.exp(-0.5 * squares) + (noise**2 if i == j else 0.0)
    return gram


def log_posterior(x, y, theta, centre, deviation):
    """log N(y; 0, Ky) - 1/2 sum_j ((theta_j - centre_j) / deviation_j)^2, with an inverse."""
    gram = noisy_gram(x, theta)
    fit = y @ np.linalg.inv(gram) @ y + np.log(np.linalg.det(2 * np.pi * gram))
    return -0.5 * fit - 0.5 * np.sum(((theta - centre) / deviation) ** 2)


def gradient(function, theta, step=1e-5):
    """Central differences."""
    moves = step * np.eye(len(theta))
    return np.array([(function(theta + m) - function(theta - m)) / (2 * step) for m in moves])


def leapfrog(slope, theta, momentum, step, steps):
    """Half a kick, a move, half a kick."""
    for _ in range(steps):
        momentum = momentum + step / 2 * slope(theta)
        theta = theta + step * momentum
        momentum = momentum + step / 2 * slope(theta)
    return theta, momentum


def predict(x, y, theta, at):
    """Mean and variance of y at points, with an explicit inverse."""
    inverse = np.linalg.inv(noisy_gram(x, theta))
    both = noisy_gram(np.vstack([x, at]), theta)
    cross = both[len(x) :, : len(x)]
    return cross @ inverse @ y, np.diagonal(both[len(x) :, len(x) :] - cross @ inverse @ cross.T)


def coordinate_ascent(features, y, kappa, prior_variance, noise2, rounds):
    """The four updates of the isotropic fit, in the space of the weights."""
    n, d = features.shape
    for _ in range(rounds):
        precision = kappa * features.T @ features / noise2 + np.eye(d) / prior_variance
        mean = np.linalg.solve(precision, kappa * features.T @ y / noise2)
        variance = d / np.trace(precision)
        prior_variance = (mean @ mean + d * variance) / d
        noise2 = (np.sum((y - features @ mean) ** 2) + variance * np.sum(features**2)) / n
    return mean, variance, prior_variance, noise2
