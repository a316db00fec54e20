"""Plain references for the compiled functions of the ridge in motion lab, to be checked by eye."""

import numpy as np


def full_gradient(gram, y, radius, step_size):
    """Functional gradient steps with every coefficient and the norm written out; step_size or None.

    Returns predictions and coefficients.
    """
    coefficients, predictions, total = np.zeros(len(y)), np.empty(len(y)), 1.0
    for t in range(len(y)):
        predictions[t] = gram[t] @ coefficients
        residual = predictions[t] - y[t]
        total += 4 * residual**2 * gram[t, t]
        eta = radius / np.sqrt(total)
        coefficients[t] -= 2 * eta * residual if step_size is None else step_size * residual
        norm = np.sqrt(coefficients @ gram @ coefficients)
        if norm > radius:
            coefficients *= radius / norm
    return predictions, coefficients


def dictionary_gradient(kernel, x, y, threshold, radius, step_size=None):
    """Projected gradients with K_S solved anew for each point; coefficients on the dictionary.

    Returns predictions, coefficients and the indices of the dictionary's points.
    """
    members, coefficients, predictions, total = [], np.zeros(0), np.empty(len(y)), 1.0
    for t in range(len(y)):
        point = x[t : t + 1]
        predictions[t] = kernel.gram(point, x[members])[0] @ coefficients if members else 0.0
        b, squared = projection(kernel, x, members, t)
        if kernel.diagonal(point)[0] - squared > threshold:
            members.append(t)
            coefficients = np.append(coefficients, 0.0)
            b, squared = projection(kernel, x, members, t)
        residual = predictions[t] - y[t]
        total += 4 * residual**2 * squared
        eta = 2 * radius / np.sqrt(total) if step_size is None else step_size
        coefficients = coefficients - eta * residual * b
        norm = np.sqrt(coefficients @ kernel.gram(x[members]) @ coefficients)
        if norm > radius:
            coefficients = coefficients * (radius / norm)
    return predictions, coefficients, members


def projection(kernel, x, members, t):
    """Coefficients b of phi(x_t)'s projection on the members, and the projection's squared norm."""
    if not members:
        return np.zeros(0), 0.0
    cross = kernel.gram(x[t : t + 1], x[members])[0]
    b = np.linalg.solve(kernel.gram(x[members]), cross)
    return b, b @ cross


def newton(features, sizes, y, ridge, curvature, bound):
    """Online Newton steps with A inverted anew each time; curvature None: the loss's own.

    Returns predictions, weights and A.
    """
    s = features.shape[1]
    matrix, weights, predictions = ridge * np.eye(s), np.zeros(s), np.empty(len(y))
    for t, z in enumerate(features):
        image = np.linalg.solve(matrix, z)
        f = weights @ z
        if abs(f) > bound:
            weights = weights - (f - np.sign(f) * bound) / (z @ image) * image
        predictions[t] = weights @ z
        residual = predictions[t] - y[t]
        matrix = matrix + (1.0 if curvature is None else curvature * residual**2) * np.outer(z, z)
        weights = weights - np.linalg.solve(matrix, residual * z)
    return predictions, weights, matrix


def teach(gram, target, lessons, step_size, chosen=None):
    """Lessons to one learner; the greedy teacher unless ``chosen`` says which points.

    Returns values, coefficients, losses and the points shown.
    """
    values, coefficients = np.zeros(len(target)), np.zeros(len(target))
    losses, shown = [np.mean((values - target) ** 2)], []
    for t in range(lessons):
        x = int(np.argmax(np.abs(values - target))) if chosen is None else chosen[t]
        move = step_size * (values[x] - target[x])
        values = values - move * gram[:, x]
        coefficients[x] -= move
        losses.append(np.mean((values - target) ** 2))
        shown.append(x)
    return values, coefficients, np.array(losses), np.array(shown)
