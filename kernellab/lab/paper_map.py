"""A map of the papers: near means written in similar words.

Four steps, each a kernel method of this course on a real data set, the course itself: counts of
words weighted by TF-IDF; the cosine kernel between papers; its leading principal components; and an
embedding that keeps neighbours near (t-SNE). Deterministic on one machine; on another the last bits
differ, and with them the picture's details, so nothing but coarse facts of it is ever printed.
"""

import functools
import re
from collections import Counter

import numpy as np

from kernellab.compute import linalg
from kernellab.compute.kernels import Polynomial
from kernellab.lab import catalogue

_WORD = re.compile(r"[a-z][a-z0-9]+")
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ations?|ings?|ed|es|ly|s)$")  # a stem is what is left
_TOO_COMMON = """
a all also an and any are as at be become between by can do does down for from has have how if
in instead into is it its make more most much no not of off often on one only or other out over
own per same should so some such than that the their them then these they this those to two
under up use used using via was we what when where which while who whose why with without you
your
"""
_STOP = frozenset(_TOO_COMMON.split())
_COMPONENTS = 20
_NEIGHBOURS = 20.0  # the perplexity of the embedding
_ROUNDS = 300
_STEP = 20.0
_GAP = 0.016  # between two points of the map, so that each can be pointed at
_EXAGGERATED = (_ROUNDS // 3, 4.0)  # so many rounds pull this much harder, to form groups first


@functools.cache
def positions() -> np.ndarray:
    """Where each paper of the catalogue stands, shape (470, 2), each coordinate in [0, 1].

    Cost O(n^2) a round for n papers, a third of a second in all; kept for the process.
    """
    questions = {lab.name: lab.title for lab in catalogue.labs()}
    texts = [f"{p.title} {p.summary} {questions[p.lab]}" for p in catalogue.papers()]
    gram = Polynomial(degree=1, offset=0.0).gram(tf_idf(texts))
    places = embed(similarities(kernel_pca(gram, _COMPONENTS)), kernel_pca(gram, 2))
    return _unit_square(spread_out(_unit_square(places), _GAP))


def _unit_square(places: np.ndarray) -> np.ndarray:
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low) / (high - low)


def stems(text: str) -> list[str]:
    """The telling words of a text without their endings, and its pairs of words.

    >>> stems("Learning the kernels")
    ['learn', 'kernel', 'learn kernel']
    """
    found = [_ENDING.sub("", w) for w in _WORD.findall(text.lower()) if w not in _STOP]
    return found + [f"{a} {b}" for a, b in zip(found, found[1:], strict=False)]


def tf_idf(texts: list[str]) -> np.ndarray:
    """Unit vectors of word weights, (1 + log count) log(n / texts with the word), shape (n, words).

    Words that only one text holds say nothing about likeness and are left out.
    Cost O(n words).
    """
    counts = [Counter(stems(text)) for text in texts]
    spread = Counter(word for count in counts for word in count)
    column = {w: i for i, w in enumerate(sorted(w for w in spread if spread[w] > 1))}
    rows = np.zeros((len(texts), len(column)))
    for row, count in zip(rows, counts, strict=True):
        for word, times in count.items():
            if word in column:
                row[column[word]] = (1 + np.log(times)) * np.log(len(texts) / spread[word])
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(size > 0, size, 1.0)


def kernel_pca(gram: np.ndarray, components: int) -> np.ndarray:
    """The leading principal components in a kernel's feature space, shape (n, components).

    Eigenvectors of the centred Gram matrix times the roots of their eigenvalues (Schoelkopf, Smola
    and Mueller 1998). Signs are those of :func:`kernellab.compute.linalg.eigh`. Cost O(n^3).
    """
    means = gram.mean(axis=0)
    centred = gram - means - means[:, None] + means.mean()
    eigen = linalg.eigh((centred + centred.T) / 2, top=components)
    return eigen.vectors * np.sqrt(np.maximum(eigen.values, 0.0))


def similarities(points: np.ndarray, neighbours: float = _NEIGHBOURS) -> np.ndarray:
    """How likely each pair is to be neighbours, (n, n), symmetric, of sum 1.

    A Gaussian kernel on the directions of ``points`` (n, d), whose bandwidth differs from row to
    row so that each row has the entropy of ``neighbours`` equal ones. Cost O(n^2).
    """
    n = len(points)
    size = np.linalg.norm(points, axis=1, keepdims=True)
    points = points / np.where(size > 0, size, 1.0)
    squares = 2 - 2 * points @ points.T
    np.fill_diagonal(squares, np.inf)
    squares -= squares.min(axis=1, keepdims=True)  # cancels in each row's sum, prevents underflow
    low, high = np.full(n, 1e-6), np.full(n, 1e6)
    for _ in range(40):  # bisection of each row's precision, on a logarithmic scale
        precision = np.sqrt(low * high)
        rows = np.exp(-squares * precision[:, None])
        rows /= rows.sum(axis=1, keepdims=True)
        entropy = -np.sum(rows * np.log(np.maximum(rows, 1e-300)), axis=1)
        wide = entropy > np.log(neighbours)
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
    return (rows + rows.T) / (2 * n)


def embed(pairs: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Points in the plane whose neighbourhoods imitate ``pairs`` (n, n), from ``start`` (n, 2).

    Gradient descent with momentum on the divergence between ``pairs`` and the shares of the kernel
    1/(1 + |y_i - y_j|^2): t-SNE (van der Maaten and Hinton 2008). Cost O(n^2) a round.
    """
    y = start / start[:, 0].std() * 1e-2
    velocity = np.zeros_like(y)
    for i in range(_ROUNDS):
        early = i < _EXAGGERATED[0]
        pull = _EXAGGERATED[1] if early else 1.0
        squares = np.sum(y**2, axis=1)
        kernel = 1 / (1 + squares[:, None] + squares - 2 * y @ y.T)
        np.fill_diagonal(kernel, 0.0)
        force = (pull * pairs - kernel / kernel.sum()) * kernel
        gradient = 4 * (force.sum(axis=1)[:, None] * y - force @ y)
        velocity = (0.5 if early else 0.8) * velocity - _STEP * gradient
        y = y + velocity
        y -= y.mean(axis=0)
    return y


def spread_out(places: np.ndarray, gap: float, rounds: int = 60) -> np.ndarray:
    """Push points (n, 2) apart that are nearer than ``gap``.

    Cost O(n log n) a round.
    """
    from scipy.spatial import cKDTree

    places = places.copy()
    for _ in range(rounds):
        pairs = cKDTree(places).query_pairs(0.999 * gap, output_type="ndarray")
        if not len(pairs):
            break
        i, j = pairs.T
        apart = places[i] - places[j]
        distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-9)
        push = apart * ((gap - distance) / distance / 2)[:, None]
        np.add.at(places, i, push)
        np.add.at(places, j, -push)
    return places


def neighbour_agreement(places: np.ndarray, groups: list, neighbours: int = 10) -> float:
    """The share of each point's nearest neighbours that are of its own group, averaged."""
    squares = np.sum((places[:, None] - places) ** 2, axis=2)
    np.fill_diagonal(squares, np.inf)
    nearest = np.argsort(squares, axis=1)[:, :neighbours]
    groups = np.asarray(groups)
    return float(np.mean(groups[nearest] == groups[:, None]))
