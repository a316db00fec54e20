"""Plain references for the physics and shapes lab, to be checked by eye."""

import cmath

import numpy as np


def exponentials(points, z):
    """Real and imaginary parts of e^{<p, z>}, one number at a time: (n, 2 m)."""
    out = np.empty((len(points), 2 * len(z)))
    for i, p in enumerate(points):
        for j, frequency in enumerate(z):
            value = cmath.exp(sum(a * b for a, b in zip(p, frequency, strict=True)))
            out[i, j], out[i, len(z) + j] = value.real, value.imag
    return out


def pull_back(fields, maps):
    """Linear interpolation of each row at its map's places."""
    grid = np.linspace(0, 1, fields.shape[1])
    return np.array([np.interp(m, grid, f) for f, m in zip(fields, maps, strict=True)])


def godunov(u, dx, time, courant):
    """Burgers' equation for one row: the exact flux between two constant states, step by step."""
    u = u.copy()
    done = 0.0
    while done < time:
        dt = min(courant * dx / max(np.abs(u).max(), 1e-12), time - done)
        wide = np.concatenate([u[:1], u, u[-1:]])
        flux = np.empty(len(u) + 1)
        for i, (left, right) in enumerate(zip(wide[:-1], wide[1:], strict=True)):
            states = np.linspace(left, right, 5)
            if left <= right:  # a fan: the least flux between the states
                inside = [0.0] if left <= 0 <= right else []
                flux[i] = min(0.5 * s**2 for s in [*states, *inside])
            else:  # a shock: the greatest
                flux[i] = max(0.5 * s**2 for s in states)
        u -= dt / dx * np.diff(flux)
        done += dt
    return u


def connection_laplacian(frames, pairs, transport=True):
    """Block by block, dense."""
    n, _, d = frames.shape
    out = np.zeros((n * d, n * d))
    for i, j in pairs:
        turn = np.eye(d)
        if transport:
            left, _, right = np.linalg.svd(frames[i].T @ frames[j])
            turn = left @ right
        a, b = slice(d * i, d * i + d), slice(d * j, d * j + d)
        out[a, b] -= turn
        out[b, a] -= turn.T
        out[a, a] += np.eye(d)
        out[b, b] += np.eye(d)
    return out
