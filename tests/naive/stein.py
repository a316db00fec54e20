"""Langevin Stein kernels by numerical derivatives of the base kernel: slow, and plain to see."""

import numpy as np

_STEP = 1e-4


def langevin(kernel, x, y, score_x, score_y):
    """s(x).s(y) k + s(x).grad_y k + s(y).grad_x k + tr grad_x grad_y k; kernel: of two points."""
    value = np.dot(score_x, score_y) * kernel(x, y)
    for k in range(len(x)):
        e = np.zeros(len(x))
        e[k] = _STEP
        along_x = (kernel(x + e, y) - kernel(x - e, y)) / (2 * _STEP)
        along_y = (kernel(x, y + e) - kernel(x, y - e)) / (2 * _STEP)
        both = (
            kernel(x + e, y + e)
            - kernel(x + e, y - e)
            - kernel(x - e, y + e)
            + kernel(x - e, y - e)
        ) / (2 * _STEP) ** 2
        value += score_x[k] * along_y + score_y[k] * along_x + both
    return value


def features(kernel, x, scores, at, weights):
    """sum_i w_i [s_i k(x_i, b) + grad_x k(x_i, b)] for each b; kernel: of two points."""
    out = np.zeros((len(at), x.shape[1]))
    for j, b in enumerate(at):
        for point, score, weight in zip(x, scores, weights, strict=True):
            for k in range(x.shape[1]):
                e = np.zeros(x.shape[1])
                e[k] = _STEP
                slope = (kernel(point + e, b) - kernel(point - e, b)) / (2 * _STEP)
                out[j, k] += weight * (score[k] * kernel(point, b) + slope)
    return out
