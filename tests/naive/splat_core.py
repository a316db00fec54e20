"""Plain references for the splat core lab, to be checked by eye."""

import itertools

import numpy as np


def nearest_codes(features, codebook):
    """The nearest code of each feature, by two loops."""
    return [int(np.argmin([np.sum((f - code) ** 2) for code in codebook])) for f in features]


def block_means(image, down, across):
    """The image with each block painted in its mean colour."""
    painted = image.copy()
    for v in range(0, len(image), down):
        for u in range(0, image.shape[1], across):
            part = image[v : v + down, u : u + across]
            painted[v : v + down, u : u + across] = part.reshape(-1, image.shape[2]).mean(axis=0)
    return painted


def splat_of_triangle(v1, v2, v3):
    """Frame and scales of one flat splat: Gram-Schmidt, one vector after the other."""
    one, two = v2 - v1, v3 - v1
    r2 = one / np.linalg.norm(one)
    rest = two - (two @ r2) * r2
    r3 = rest / np.linalg.norm(rest)
    return np.column_stack([np.cross(r2, r3), r2, r3]), np.array([np.linalg.norm(one), two @ r3])


def frames_of_a_covariance(rotation, scales):
    """All (rotation, scales) with the same covariance: every signed permutation is tried."""
    found, wanted = [], rotation @ np.diag(scales**2) @ rotation.T
    for places in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            frame = rotation[:, places] * signs
            same = np.allclose(frame @ np.diag(scales[list(places)] ** 2) @ frame.T, wanted)
            if same and np.linalg.det(frame) > 0:
                found.append((frame, scales[list(places)]))
    return found


def embedding(field, frequencies, phases, weights):
    """The weighted mean of cosines over the points of one surface, feature by feature."""
    means = []
    for frequency, phase in zip(frequencies, phases, strict=True):
        cosines = [w * np.cos(frequency @ p + phase) for p, w in zip(field, weights, strict=True)]
        means.append(sum(cosines))
    return np.array(means)


def farthest_points(points, count, first):
    """Each next point has the largest distance to the nearest of those chosen."""
    chosen = [first]
    while len(chosen) < count:
        gaps = [min(np.linalg.norm(x - points[c]) for c in chosen) for x in points]
        chosen.append(int(np.argmax(gaps)))
    return chosen


def group_weights(points, centres, size, temperature=None):
    """The share of each point in each group: sort by distance, keep some, normalise."""
    weights = np.zeros((len(centres), len(points)))
    for row, centre in zip(weights, centres, strict=True):
        gaps = np.linalg.norm(points - centre, axis=1)
        for member in np.argsort(gaps)[:size]:
            row[member] = 1.0 if temperature is None else np.exp(-gaps[member] / temperature)
        row /= row.sum()
    return weights


def density(x, mean, covariance):
    """One normal density at one point."""
    gap = x - mean
    size = np.sqrt(np.linalg.det(2 * np.pi * covariance))
    return np.exp(-0.5 * gap @ np.linalg.inv(covariance) @ gap) / size


def mixture_value(mixture, x):
    """The mixture at one point, one component after the other."""
    parts = zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    return mixture.offset + sum(w * density(x, m, v) for w, m, v in parts)


def convolved_value(one, two, x):
    """The convolution of two mixtures without constants at one point: all pairs."""
    value = 0.0
    for w, m, v in zip(one.weights, one.means, one.covariances, strict=True):
        for u, n, s in zip(two.weights, two.means, two.covariances, strict=True):
            value += w * u * density(x, m + n, v + s)
    return value


def rectified_heights(mixture, rounds):
    """Heights of the components after the fixed point's rounds, by loops over pairs."""
    places = list(zip(mixture.means, mixture.covariances, strict=True))
    peaks = [density(m, m, v) for m, v in places]
    rest = max(0.0, mixture.offset)
    target = [max(0.0, max(0.0, mixture_value(mixture, m)) - rest) for m, _ in places]
    heights = [abs(w) * p + 0.1 for w, p in zip(mixture.weights, peaks, strict=True)]
    for _ in range(rounds):
        present = []
        for x, _ in places:
            parts = zip(heights, places, peaks, strict=True)
            present.append(sum(h * density(x, m, v) / p for h, (m, v), p in parts))
        ratios = [(b + 0.05) / (g + 0.05) for b, g in zip(target, present, strict=True)]
        heights = [h * ratio for h, ratio in zip(heights, ratios, strict=True)]
    return np.array(heights)


def merged(mixture, members):
    """Mass, mean and covariance of the members of one group, from their raw second moments."""
    mass = sum(mixture.weights[i] for i in members)
    mean = sum(mixture.weights[i] * mixture.means[i] for i in members) / mass
    square = sum(
        mixture.weights[i] * (mixture.covariances[i] + np.outer(mixture.means[i], mixture.means[i]))
        for i in members
    )
    return mass, mean, square / mass - np.outer(mean, mean)
