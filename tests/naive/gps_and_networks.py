"""Plain references for the lab on GPs and networks, to be checked by eye."""

import numpy as np


def sliced_distance(f, g, directions):
    """Mean over directions of the mean gap of sorted projections, one direction at a time."""
    found = []
    for direction in directions:
        along_f, along_g = sorted(f @ direction), sorted(g @ direction)
        found.append(np.mean([abs(a - b) for a, b in zip(along_f, along_g, strict=True)]))
    return np.mean(found)


def linearised_laplace(jacobian, y, beta, precision, at):
    """Mean and variance of J(x) w, w the Gaussian posterior of linear regression on targets y."""
    inner = precision * np.eye(jacobian.shape[1]) + jacobian.T @ (beta[:, None] * jacobian)
    covariance = np.linalg.inv(inner)
    mean = at @ covariance @ jacobian.T @ (beta * y)
    return mean, np.einsum("ij,jk,ik->i", at, covariance, at)


def code_covariance(kernel, aux, inducing):
    """The covariance Q + diag(K - Q) of FITC codes, with an explicit inverse."""
    corner = kernel.gram(inducing) + 1e-6 * np.eye(len(inducing))
    cross = kernel.gram(aux, inducing)
    q = cross @ np.linalg.inv(corner) @ cross.T
    return q - np.diag(np.diagonal(q)) + np.diag(kernel.diagonal(aux))


def network(layers, x):
    """A tanh network's outputs, unit by unit."""
    h = np.asarray(x, dtype=float)
    for place, (weights, biases) in enumerate(layers):
        out = np.empty((len(h), weights.shape[1]))
        for unit in range(weights.shape[1]):
            out[:, unit] = h @ weights[:, unit] + biases[unit]
        h = np.tanh(out) if place < len(layers) - 1 else out
    return h
