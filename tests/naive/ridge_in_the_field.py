"""The compiled loops of the lab in the field, written out plainly."""

import numpy as np


def scan(a, b, delays, bandwidth):
    """Return mean squared residual, offset and share compared, (D, 3), reading by reading."""
    rows = []
    for delay in delays:
        residuals, weights = [], []
        for t, x, s in zip(b.times, b.values, b.errors, strict=True):
            near = np.exp(-((t - delay - a.times) ** 2) / (2 * bandwidth**2))
            residuals.append(x - np.average(a.values, weights=near / a.errors**2))
            weights.append(near.sum() / (1 + near.sum()) / s**2)
        for t, x, s in zip(a.times, a.values, a.errors, strict=True):
            near = np.exp(-((t + delay - b.times) ** 2) / (2 * bandwidth**2))
            residuals.append(np.average(b.values, weights=near / b.errors**2) - x)
            weights.append(near.sum() / (1 + near.sum()) / s**2)
        offset = np.average(residuals, weights=weights)
        squares = np.average((np.array(residuals) - offset) ** 2, weights=weights)
        most = np.sum(a.errors**-2.0) + np.sum(b.errors**-2.0)
        rows.append([squares, offset, np.sum(weights) / most])
    return np.array(rows)


def smo(gram, labels, cost, tolerance, max_updates):
    """Move the worst violating pair, with the gradient computed afresh every time."""
    signed = labels[:, None] * gram * labels
    dual = np.zeros(len(labels))
    for update in range(max_updates):
        slope = -labels * (signed @ dual - 1)
        rises = np.where(labels > 0, dual < cost, dual > 0)
        falls = np.where(labels > 0, dual > 0, dual < cost)
        i = np.argmax(np.where(rises, slope, -np.inf))
        j = np.argmin(np.where(falls, slope, np.inf))
        if slope[i] - slope[j] < tolerance:
            return dual, update
        step = (slope[i] - slope[j]) / max(gram[i, i] + gram[j, j] - 2 * gram[i, j], 1e-12)
        step = min(step, cost - dual[i] if labels[i] > 0 else dual[i])
        step = min(step, dual[j] if labels[j] > 0 else cost - dual[j])
        dual[i] += labels[i] * step
        dual[j] -= labels[j] * step
    return dual, max_updates
