"""Plain references for the compiled functions of the random features lab, to be checked by eye."""

import itertools

import numpy as np


def simplex_matrix(d):
    """The corners s_i of the simplex, as they are written in the paper."""
    s = np.zeros((d, d))
    ones = np.append(np.ones(d - 1), 0.0)
    for i in range(d - 1):
        s[i] = -(np.sqrt(d) + 1) / (d - 1) ** 1.5 * ones
        s[i, i] += np.sqrt(d / (d - 1))
    s[d - 1] = ones / np.sqrt(d - 1)
    return s


def balance(vectors, sweeps):
    """Turn each vector of a block against the sum of the others."""
    w = vectors.copy()
    for _ in range(sweeps):
        for i in range(len(w)):
            rest = w.sum(axis=0) - w[i]
            w[i] = -np.linalg.norm(w[i]) * rest / np.linalg.norm(rest)
    return w


def shape_noise(z, lags, weights, step, block):
    """A one-bit quantiser with memory, one entry after another; the state restarts with a block."""
    q, u = np.zeros_like(z), np.zeros_like(z)
    for row in range(len(z)):
        for i in range(z.shape[1]):
            s = z[row, i]
            for lag, weight in zip(lags, weights, strict=True):
                if i - lag >= (i // block) * block:
                    s += weight * u[row, i - lag]
            q[row, i] = step if s >= 0 else -step
            u[row, i] = s - q[row, i]
    return q, u


def projection_dpp(phi, uniform):
    """Points by the chain rule, each chance a Schur complement of the kernel K = phi phi^T."""
    kernel = phi @ phi.T
    sets = []
    for marks in uniform:
        chosen = []
        for mark in marks:
            block = kernel[np.ix_(chosen, chosen)]
            cross = kernel[:, chosen]
            left = np.diagonal(kernel) - np.sum(
                cross * np.linalg.solve(block, cross.T).T if chosen else cross, axis=1
            )
            left[chosen] = 0.0
            rising = np.cumsum(np.maximum(left, 0.0))
            chosen.append(int(np.searchsorted(rising, mark * rising[-1], side="right")))
        sets.append(chosen)
    return np.array(sets)


def dpp_probabilities(phi):
    """The chance of every set of m points: its squared volume over all of them."""
    g, m = phi.shape
    volumes = {s: np.linalg.det(phi[list(s)]) ** 2 for s in itertools.combinations(range(g), m)}
    total = sum(volumes.values())
    return {s: volume / total for s, volume in volumes.items()}
