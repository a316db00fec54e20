"""Plain references for the compiled functions of the ridge rates lab, to be checked by eye."""

import numpy as np


def sobolev_gram(x, z):
    """k(x, z) = cosh(min) cosh(1 - max) / sinh(1), entry by entry."""
    return np.array(
        [[np.cosh(min(a, b)) * np.cosh(1 - max(a, b)) / np.sinh(1) for b in z] for a in x]
    )


def sobolev_ridge(x, y, ridge, at):
    """The textbook's dense solve."""
    n = len(x)
    weights = np.linalg.solve(sobolev_gram(x, x) + n * ridge * np.eye(n), y)
    return sobolev_gram(at, x) @ weights


def fourier_target(x, smoothness, terms):
    total = np.zeros(len(x))
    for k in range(1, terms + 1):
        wave = np.sin(2 * np.pi * k * x) + np.cos(2 * np.pi * k * x)
        total += k ** -(smoothness + 0.5) * wave
    return total


def effective_ridge(eigenvalues, n, ridge):
    """Bisection on n = sum l/(l + kappa) + ridge/kappa, whose right side falls with kappa."""
    low, high = 1e-30, 1e30
    for _ in range(2000):
        middle = np.sqrt(low * high)
        if np.sum(eigenvalues / (eigenvalues + middle)) + ridge / middle > n:
            low = middle
        else:
            high = middle
    return middle


def nearest_neighbour_losses(distances, labels, indices, coins):
    losses = np.empty(indices.shape)
    for t, pairs in enumerate(indices):
        trained = [pair[coin] for pair, coin in zip(pairs, coins[t], strict=True)]
        for i, pair in enumerate(pairs):
            for column, point in enumerate(pair):
                nearest = min(trained, key=lambda j: distances[point, j])
                losses[t, i, column] = labels[nearest] != labels[point]
    return losses


def tree(x, labels, depth):
    """A greedy tree as a function of one point; splits as in the lab's module."""
    vote = 1.0 if labels.sum() >= 0 else -1.0
    best, split = abs(labels.sum()), None
    if depth > 0 and best < len(labels):
        for k in range(x.shape[1]):
            levels = np.unique(x[:, k])
            for threshold in (levels[1:] + levels[:-1]) / 2:
                left = x[:, k] <= threshold
                score = abs(labels[left].sum()) + abs(labels[~left].sum())
                if score > best:
                    best, split = score, (k, threshold)
    if split is None:
        return lambda point: vote
    k, threshold = split
    left = x[:, k] <= threshold
    below = tree(x[left], labels[left], depth - 1)
    above = tree(x[~left], labels[~left], depth - 1)
    return lambda point: below(point) if point[k] <= threshold else above(point)


def tree_losses(x, labels, indices, coins, depth):
    losses = np.empty(indices.shape)
    for t, pairs in enumerate(indices):
        trained = np.array([pair[coin] for pair, coin in zip(pairs, coins[t], strict=True)])
        rule = tree(x[trained], labels[trained], depth)
        for i, pair in enumerate(pairs):
            for column, point in enumerate(pair):
                losses[t, i, column] = rule(x[point]) != labels[point]
    return losses
