"""Plain references for the Stein fitting lab, to be checked by eye."""

import numpy as np


def boundary_blocks(bandwidth, x, scores, boundary):
    """s_l(x_i) k(x_i, b_j) + d/dx_il k(x_i, b_j) with a Gaussian k, by three loops: (d, n, m)."""
    blocks = np.empty((x.shape[1], len(x), len(boundary)))
    for i, point in enumerate(x):
        for j, b in enumerate(boundary):
            k = np.exp(-np.sum((point - b) ** 2) / (2 * bandwidth**2))
            blocks[:, i, j] = scores[i] * k - (point - b) / bandwidth**2 * k
    return blocks


def stein_kernel(bandwidth, x, sx, y, sy):
    """The Langevin Stein kernel of two points with a Gaussian k, term by term."""
    gap, rate = x - y, 1 / bandwidth**2
    k = np.exp(-0.5 * rate * gap @ gap)
    slope_x, slope_y = -rate * gap * k, rate * gap * k
    trace = (len(x) * rate - rate**2 * gap @ gap) * k
    return sx @ sy * k + sx @ slope_y + sy @ slope_x + trace


def truncated_gram(bandwidth, x, scores, boundary, ridge):
    """The Stein kernel of k_b at all pairs, with an explicit inverse."""
    gram = np.array(
        [
            [stein_kernel(bandwidth, a, sa, b, sb) for b, sb in zip(x, scores, strict=True)]
            for a, sa in zip(x, scores, strict=True)
        ]
    )
    if boundary is None:
        return gram
    gaps = np.sum((boundary[:, None] - boundary[None]) ** 2, axis=2)
    inverse = np.linalg.inv(np.exp(-gaps / (2 * bandwidth**2)) + ridge * np.eye(len(boundary)))
    for block in boundary_blocks(bandwidth, x, scores, boundary):
        gram = gram - block @ inverse @ block.T
    return gram


def counterfactual_mean(values, treated, chance, predictions):
    """The doubly robust mean of one function, person by person."""
    total = 0.0
    for value, a, pi, guess in zip(values, treated, chance, predictions, strict=True):
        total += (a / pi) * (value - guess) + guess if a else guess
    return total / len(values)


def multitask(base, task, values, coupling, ridge):
    """The stacked system of coefficients and constants, solved as it stands."""
    n, tasks = len(values), len(coupling)
    system = np.zeros((n + tasks, n + tasks))
    for i in range(n):
        for j in range(n):
            system[i, j] = base[i, j] * coupling[task[i], task[j]] + ridge * (i == j)
        system[i, n + task[i]] = system[n + task[i], i] = 1.0
    solved = np.linalg.solve(system, np.concatenate([values, np.zeros(tasks)]))
    return solved[n:], solved[:n]
