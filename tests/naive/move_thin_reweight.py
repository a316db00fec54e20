"""Plain references for the move, thin, re-weight lab, to be checked by eye."""

import math

import numpy as np


def halve(gram, factor, uniforms):
    """Kernel halving with every sum written out: rows kept, rows left, (b^2, alpha, a, chance)."""
    kept, left, trace, variance = [], [], [], 0.0
    for i in range(0, len(gram), 2):
        j = i + 1
        step = gram[i, i] + gram[j, j] - 2 * gram[i, j]
        alpha = sum(gram[z, i] - gram[z, j] for z in left)
        alpha -= sum(gram[z, i] - gram[z, j] for z in kept)
        bound = max(math.sqrt(step * variance) * factor, step)
        chance = min(max((1 - alpha / bound) / 2, 0.0), 1.0)
        variance += max(step * (1 + (step - 2 * bound) * variance / bound**2), 0.0)
        second = uniforms[i // 2] < chance
        kept.append(j if second else i)
        left.append(i if second else j)
        trace.append((step, alpha, bound, chance))
    return np.array(kept), np.array(left), np.array(trace)


def split(gram, members, left, factor, uniforms):
    """Halve rows again and again; factor(size), and uniforms (level, pair) as in the lab."""
    sets, level = [list(members)], 0
    while level < left:
        halves, size = [], len(sets[0])
        for part, rows in enumerate(sets):
            coins = uniforms[level, part * size // 2 : (part + 1) * size // 2]
            kept, rest, _ = halve(gram[np.ix_(rows, rows)], factor(size), coins)
            halves += [[rows[i] for i in kept], [rows[i] for i in rest]]
        sets, level = halves, level + 1
    return np.array(sets)


def swap(gram, coreset):
    """Each place in turn takes the point that makes the MMD smallest, by trying all of them."""
    coreset = list(coreset)

    def squared(rows):
        return gram[np.ix_(rows, rows)].mean() - 2 * gram[rows].mean()

    for i in range(len(coreset)):
        tries = [squared(coreset[:i] + [x] + coreset[i + 1 :]) for x in range(len(gram))]
        coreset[i] = int(np.argmin(tries))
    return np.array(coreset)


def energy(x, y):
    """Half the energy distance between points of R^d, up to the target's own constant."""
    across = np.linalg.norm(x[:, None] - y, axis=2).mean()
    return across - np.linalg.norm(x[:, None] - x, axis=2).mean() / 2


def energy_gradient(x, y, r=1.0):
    """Gradient of E|x - y|^r - E|x - x'|^r / 2, pair by pair; equal points do not pull."""
    n, m = len(x), len(y)
    gradient = np.zeros_like(x)
    for i in range(n):
        for cloud, factor in ((y, 1 / (n * m)), (x, -1 / n**2)):
            for other in cloud:
                apart = x[i] - other
                size = np.linalg.norm(apart)
                if size > 0:
                    gradient[i] += factor * r * size ** (r - 2) * apart
    return gradient


def sliced_gradient(x, y, directions, constant):
    """The gradient by slices, each slice from all pairs."""
    total = np.zeros_like(x)
    for xi in directions:
        slope = energy_gradient((x @ xi)[:, None], (y @ xi)[:, None])
        total += slope * xi
    return constant * total / len(directions)


def kernel(a, b, width):
    """The inverse multiquadric kernel."""
    return 1 / math.sqrt(1 + ((a - b) ** 2).sum() / width**2)


def kernel_slope(a, b, width):
    """Its gradient with respect to the first point."""
    return -(kernel(a, b, width) ** 3) * (a - b) / width**2


def mirrored_direction(theta, score, inverse, divergence, width):
    """Mirrored SVGD, particle by particle."""
    count = len(theta)
    direction = np.zeros_like(theta)
    for i in range(count):
        for j in range(count):
            drift = inverse[j] @ score[j] + divergence[j]
            push = inverse[j] @ kernel_slope(theta[j], theta[i], width)
            direction[i] += (kernel(theta[i], theta[j], width) * drift + push) / count
    return direction


def mirror_descent_direction(theta, score, hessian, inverse, divergence, width):
    """Stein variational mirror descent through its matrix kernel, with sums written out."""
    count = len(theta)
    gram = np.array([[kernel(a, b, width) for b in theta] for a in theta])
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-5 * values[-1]
    values, u = values[kept] / count, vectors[:, kept] * math.sqrt(count)

    def u_slope(j, at):  # gradient of eigenfunction j at particle ``at``
        total = sum(kernel_slope(theta[at], theta[m], width) * u[m, j] for m in range(count))
        return total / (count * values[j])

    slopes = np.array([[u_slope(j, at) for j in range(len(values))] for at in range(count)])
    root = (u * np.sqrt(values)) @ u.T
    root_slope = np.einsum("j,tj,ljc->tlc", np.sqrt(values), u, slopes)
    result = np.zeros_like(theta)
    for i in range(count):
        for m in range(count):
            for t in range(count):
                matrix = root[i, t] * root[t, m] * hessian[t] / count
                drift = inverse[m] @ score[m] + divergence[m]
                bend = root[i, t] * hessian[t] @ inverse[m] @ root_slope[t, m] / count
                result[i] += (matrix @ drift + bend) / count
            own = root_slope[i, m] * root[m, m] + root[i, m] * root_slope[m, m]
            own -= root[i, m] * root[m, m] * hessian[m] @ divergence[m]
            result[i] += own / count**2
    return result
