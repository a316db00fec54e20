"""Plain references for the kernel tests lab, to be checked by eye."""

import itertools

import numpy as np


def payoffs(x, y, bandwidth_x, bandwidth_y):
    """Payoffs of the betting game, every witness and every norm written out anew."""

    def k(points, at, bandwidth):
        return np.exp(-np.sum((points - at) ** 2, axis=1) / (2 * bandwidth**2))

    found = [0.0]
    for first in range(2, len(x), 2):
        past_x, past_y = x[:first], y[:first]
        grams = [
            np.array([k(past, point, bandwidth) for point in past])
            for past, bandwidth in ((past_x, bandwidth_x), (past_y, bandwidth_y))
        ]
        centring = np.eye(first) - 1 / first
        norm = np.sqrt(np.trace(grams[0] @ centring @ grams[1] @ centring)) / first

        def g(i, j, past_x=past_x, past_y=past_y):
            kx, ky = k(past_x, x[i], bandwidth_x), k(past_y, y[j], bandwidth_y)
            return np.mean(kx * ky) - np.mean(kx) * np.mean(ky)

        one, two = first, first + 1
        found.append((g(one, one) + g(two, two) - g(one, two) - g(two, one)) / 2 / norm)
    return np.array(found)


def paired_squares(x, y, orders):
    """|x^T y[order]|^2 for each order."""
    return np.array([np.sum((x.T @ y[order]) ** 2) for order in orders])


def neighbour_words(word, letters, longest, edits, where):
    """The set of words that one edit makes of a word."""
    found = set()
    places = range(len(word) + 1) if where == "anywhere" else [len(word) - 1, len(word)]
    for place, letter in itertools.product(places, letters):
        if "substitute" in edits and place < len(word):
            found.add(word[:place] + letter + word[place + 1 :])
        if "insert" in edits and (where == "anywhere" or place == len(word)):
            found.add(word[:place] + letter + word[place:])
        if "delete" in edits and place < len(word):
            found.add(word[:place] + word[place + 1 :])
    return {w for w in found if 1 <= len(w) <= longest} - {word}


def pieces(word, letters, mers):
    """Counts of all pieces of 1 to mers letters, shortest first, scaled to length 1."""
    counts = []
    for k in range(1, mers + 1):
        for piece in itertools.product(letters, repeat=k):
            text = "".join(piece)
            counts.append(sum(word[i : i + k] == text for i in range(len(word) - k + 1)))
    counts = np.array(counts, dtype=float)
    return counts / np.linalg.norm(counts)


def word_kernel(a, b, letters, mers, length_scale, length_weight):
    """The kernel on strings, from its formula."""
    lengths = np.exp(-((len(a) - len(b)) ** 2) / (2 * length_scale**2))
    return pieces(a, letters, mers) @ pieces(b, letters, mers) + length_weight**2 * lengths


def word_stein_kernel(a, b, probability, kernel, neighbours):
    """k_p by the fourfold sum over the neighbours of both words; rates u / (1 + u)."""

    def rate(x, y):
        u = probability(y) / probability(x)
        return u / (1 + u)

    return sum(
        rate(a, y) * rate(b, z) * (kernel(y, z) - kernel(a, z) - kernel(y, b) + kernel(a, b))
        for y in neighbours(a)
        for z in neighbours(b)
    )
