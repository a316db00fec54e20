"""Plain references for the compact scenes lab, to be checked by eye."""

import math
from fractions import Fraction

import numpy as np


def graph_weights(points, neighbours, width=1.0):
    """The weights of a neighbour graph by two loops, and the scale s."""
    n = len(points)
    gaps = np.linalg.norm(points[:, None] - points, axis=2)
    joined, distances = np.zeros((n, n), dtype=bool), []
    for i in range(n):
        others = sorted((gaps[i, j], j) for j in range(n) if j != i)[:neighbours]
        for distance, j in others:
            joined[i, j] = True
            distances.append(distance)
    s = width * np.median(distances)
    return np.where(joined | joined.T, np.exp(-0.5 * (gaps / s) ** 2), 0.0)


def eigen_filter(weights, signal, response):
    """h(I - D^-1 W) f through the eigenvectors of the symmetric Laplacian."""
    degrees = weights.sum(axis=1)
    root = np.sqrt(degrees)
    laplacian = np.eye(len(weights)) - weights / root[:, None] / root
    values, vectors = np.linalg.eigh(laplacian)
    middle = vectors @ (response(values)[:, None] * (vectors.T @ (root[:, None] * signal)))
    return middle / root[:, None]


def normal_bits(x, mean, sigma, step):
    """-log2 of the mass of a bin, by the error function; fails far out."""

    def phi(z):
        return 0.5 * math.erfc(-z / math.sqrt(2.0))

    gap = -abs(x - mean)
    mass = phi((gap + 0.5 * step) / sigma) - phi((gap - 0.5 * step) / sigma)
    return -math.log2(mass)


def arithmetic_bits(symbols, starts, sizes, total):
    """The length of an exact arithmetic code: bits to name a number in the final interval.

    starts, sizes: for each symbol where its interval begins in 0 .. total, and how long it is.
    """
    length = Fraction(1)
    for size in sizes:
        length *= Fraction(int(size), int(total))
    return (length.denominator // length.numerator).bit_length() + 1


def haar_matrix(side):
    """One Haar step of a column of numbers, as an orthonormal matrix: sums, then differences."""
    matrix, half = np.zeros((side, side)), side // 2
    for i in range(half):
        matrix[i, 2 * i] = matrix[i, 2 * i + 1] = math.sqrt(0.5)
        matrix[half + i, 2 * i], matrix[half + i, 2 * i + 1] = math.sqrt(0.5), -math.sqrt(0.5)
    return matrix


def convolve(image, filters):
    """A 3 x 3 convolution (as networks call it) by loops, the image continued at its border."""
    height, width, channels = image.shape
    taps = filters.reshape(3, 3, channels, -1)
    out = np.zeros((height, width, taps.shape[3]))
    for r in range(height):
        for c in range(width):
            for i in range(3):
                for j in range(3):
                    row = min(max(r + i - 1, 0), height - 1)
                    column = min(max(c + j - 1, 0), width - 1)
                    out[r, c] += image[row, column] @ taps[i, j]
    return out
