"""Plain references for the compiled functions of the fast kernel sums lab, to be checked by eye."""

import math

import numpy as np


def radial(name, r):
    """k(r) for one scaled distance; 0 at r = 0 where the kernel has no value."""
    if name == "gaussian":
        return math.exp(-r * r / 2)
    if name == "matern":
        return (1 + math.sqrt(3) * r) * math.exp(-math.sqrt(3) * r)
    if r == 0:
        return 0.0
    return {"1/r": 1 / r, "log": -math.log(r), "oscillating": math.cos(r) / r}[name]


def kernel_sum(name, length, x, y, v):
    """One pair after another."""
    out = np.zeros(len(x))
    for i in range(len(x)):
        for j in range(len(y)):
            out[i] += radial(name, math.dist(x[i], y[j]) / length) * v[j]
    return out


def greedy(matrix, tolerance):
    """Rows, columns and residuals of empirical interpolation with the whole residual kept."""
    residual, rows, columns = matrix.copy(), [], []
    errors = [np.abs(residual).max()]
    while errors[-1] > tolerance * errors[0] and len(rows) < min(matrix.shape):
        r, c = np.unravel_index(np.argmax(np.abs(residual)), residual.shape)
        rows.append(r)
        columns.append(c)
        residual = residual - np.outer(residual[:, c], residual[r]) / residual[r, c]
        errors.append(np.abs(residual).max())
    return rows, columns, errors


def near_sum(kernel, points, charges, low, size, depth):
    """The part of the sum that comes from a point's own and the eight neighbouring leaf boxes."""
    cells = np.floor((points - low) / size * 2**depth).astype(int)
    near = np.abs(cells[:, None] - cells[None]).max(axis=2) <= 1
    return (kernel.gram(points) * near) @ charges


def bucket_pairs(slabs_queries, slabs_keys, projections):
    """All pairs that share, in some table, all k slabs."""
    pairs = set()
    for start in range(0, slabs_queries.shape[1], projections):
        for i, q in enumerate(slabs_queries[:, start : start + projections]):
            for j, k in enumerate(slabs_keys[:, start : start + projections]):
                if (q == k).all():
                    pairs.add((i, j))
    return pairs


def interval(nodes, first, last):
    """The sum over leaves, and the nodes of the canonical cover, found from the root down."""

    def cover(node, low, high):
        if high <= first or low >= last:
            return 0
        if first <= low and high <= last:
            return 1
        middle = (low + high) // 2
        return cover(2 * node, low, middle) + cover(2 * node + 1, middle, high)

    bins = len(nodes) // 2
    return nodes[bins + first : bins + last].sum(), cover(1, 0, bins)


def shell_sum(counts, position, growth, f):
    """Sum of f(distance) with each shell at its middle distance, for exact counts of bins."""
    bins = len(counts)
    home = min(max(math.floor(position), 0), bins - 1)
    total = f(abs(home + 0.5 - position)) * counts[home]
    for side in (-1, 1):
        near, room = 1, bins - 1 - home if side == 1 else home
        while near <= room:
            beyond = min(max(near + 1, int(near * (1 + growth))), room + 1)
            members = [home + side * k for k in range(near, beyond)]
            ends = [abs(b + 0.5 - position) for b in (members[0], members[-1])]
            total += f(sum(ends) / 2) * sum(counts[b] for b in members)
            near = beyond
    return total
