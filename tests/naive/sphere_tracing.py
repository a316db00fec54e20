"""Solids, rays and Lambert's law by plain loops over points, for small images only."""

import math

import numpy as np


def distance(kind, size, p):
    """Return the signed distance of one point, in the solid's axes."""
    x, y, z = p
    if kind == "sphere":
        return math.hypot(x, y, z) - size[0]
    if kind == "plane":
        return z
    if kind == "torus":
        return math.hypot(math.hypot(x, y) - size[0], z) - size[1]
    if kind == "capsule":
        nearest = sorted([-size[0], z, size[0]])[1]
        return math.hypot(x, y, z - nearest) - size[1]
    if kind == "cylinder":
        over = [math.hypot(x, y) - size[0], abs(z) - size[1]]
    else:
        over = [abs(x) - size[0], abs(y) - size[1], abs(z) - size[2]]
    return min(max(over), 0.0) + math.hypot(*(max(o, 0.0) for o in over))


def distances(solids, p):
    """Return the signed distance of a point to each solid (kind, size, position, rotation)."""
    return [
        distance(kind, size, (rotation.T if rotation is not None else np.eye(3)) @ (p - position))
        for kind, size, position, rotation in solids
    ]


def gradient(solids, p, step=1e-6):
    """Return the gradient of the union's distance by central differences."""
    moved = np.eye(3) * step
    ends = [(min(distances(solids, p + m)), min(distances(solids, p - m))) for m in moved]
    return np.array([(a - b) / (2.0 * step) for a, b in ends])


def trace(solids, origin, direction, far=1e4):
    """Return (distance, part) of the first hit by plain sphere tracing, (inf, -1) for none."""
    t = 0.0
    while t < far:
        f = distances(solids, origin + t * direction)
        if min(f) < 1e-9:
            return t, int(np.argmin(f))
        t += min(f)
    return math.inf, -1


def rgb(solids, paint, light, background, origin, direction):
    """Return the colour of one ray by Lambert's law; ``paint(part, p)`` is the albedo."""
    t, part = trace(solids, origin, direction)
    if part < 0:
        return np.array(background)
    p = origin + t * direction
    n = gradient(solids, p)
    to_lamp = np.array(light.direction)
    sees_lamp = trace(solids, p + 1e-6 * n, to_lamp)[1] < 0 or not light.shadows
    direct = light.diffuse * max(n @ to_lamp, 0.0) * sees_lamp * np.array(light.color)
    return paint(part, p) * (light.ambient + 0.5 * light.sky * (1.0 + n[2]) + direct)
