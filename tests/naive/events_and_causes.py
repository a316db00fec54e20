"""Plain references for the events and causes lab, to be checked by eye."""

import numpy as np


def counts(times, cells, step):
    """Events in each cell of the grid."""
    z = np.zeros(cells)
    for t in times:
        z[min(int(t / step), cells - 1)] += 1
    return z


def lag_table(a, b, last):
    """sum_s a[s - t] b[s - u] for t, u = 1..last, cell by cell."""
    out = np.zeros((last, last))
    for t in range(1, last + 1):
        for u in range(1, last + 1):
            for s in range(max(t, u), len(a)):
                out[t - 1, u - 1] += a[s - t] * b[s - u]
    return out


def grid_loss(streams, step, i, baseline, kernels):
    """D sum lam^2 - 2 sum z lam over the total of events, with the rate summed up cell by cell."""
    total = 0.0
    for s in range(len(streams[i])):
        rate = baseline
        for z, phi in zip(streams, kernels, strict=True):
            for tau in range(1, len(phi) + 1):
                if s - tau >= 0:
                    rate += phi[tau - 1] * z[s - tau]
        total += step * rate**2 - 2 * streams[i][s] * rate
    return total / sum(z.sum() for z in streams)


def gaussian_nll(y, mean, scale):
    """Minus log density of independent normal values."""
    total = 0.0
    for value, m, s in zip(y, mean, scale, strict=True):
        total += 0.5 * ((value - m) / s) ** 2 + np.log(s) + 0.5 * np.log(2 * np.pi)
    return total
