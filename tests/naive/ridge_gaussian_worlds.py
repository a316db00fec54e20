"""Plain references for the ridge Gaussian worlds lab, to be checked by eye."""

import numpy as np


def ramp_pass(x, y, order, width, step, w):
    """Projected SGD on 3 u^2 - 2 u^3, one point at a time, by the chain rule as it stands."""
    w = np.array(w)
    for k, i in enumerate(order):
        margin = w @ x[i]
        if abs(margin) >= width:
            continue
        u = (1 - y[i] * margin / width) / 2  # the loss is ramp(-y margin)
        slope = 6 * u * (1 - u) * (-y[i] / (2 * width))
        gradient = slope * (x[i] - margin * w)  # tangent to the sphere
        w = w - step / np.sqrt(1 + k) * gradient
        w = w / np.linalg.norm(w)
    return w


def gradient_descent_errors(x, teacher, start, time, decay, steps=20_000):
    """Student minus teacher after literal gradient descent with tiny steps."""
    covariance = x.T @ x / len(x)
    student = np.array(start)
    for _ in range(steps):
        gradient = 2 * covariance @ (student - teacher) + 2 * decay * student
        student = student - time / steps * gradient
    return student - teacher
