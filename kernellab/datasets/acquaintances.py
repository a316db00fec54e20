"""Small graphs of who knows whom."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from kernellab.datasets import _files

_FILE = "social_graphs.npz"
_NAMES = ("karate", "les_miserables")


@dataclass(frozen=True, eq=False)
class SocialGraph:
    """An undirected graph with weights; nodes are numbered from 0."""

    names: list[str]
    """n names of the nodes."""
    edges: np.ndarray
    """(m, 2) int64: pairs of nodes, the smaller number first, in order."""
    weights: np.ndarray
    """(m,) float64: in how many contexts (karate) or chapters (novel) the two meet."""
    groups: np.ndarray | None
    """(n,) int64 0 or 1, the side a member of the karate club took; None for the novel."""

    def adjacency(self, weighted: bool = False) -> np.ndarray:
        """(n, n) float64, symmetric: 1 (or the weight) where two nodes are joined, else 0."""
        matrix = np.zeros((len(self.names), len(self.names)))
        first, second = self.edges.T
        matrix[first, second] = matrix[second, first] = self.weights if weighted else 1.0
        return matrix


def social_graph(name: str = "karate") -> SocialGraph:
    """A small graph of people who meet.

    Parameters
    ----------
    name : ``"karate"``, 34 members of a karate club that split into two, or ``"les_miserables"``,
        77 characters of Victor Hugo's novel.

    Returns
    -------
    SocialGraph with ``names``, ``edges``, ``weights``, ``groups`` and ``adjacency()``.

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged; ValueError for another name.

    Cost O(edges).
    Source: W. W. Zachary, 1977; D. E. Knuth, 1993; see data/README.md.

    >>> len(social_graph("karate").edges), social_graph("les_miserables").names[:2]
    (78, ['Napoleon', 'Myriel'])
    """
    if not isinstance(name, str) or name not in _NAMES:
        raise ValueError(f"name must be 'karate' or 'les_miserables', got {name!r}")
    with np.load(io.BytesIO(_files.verified(_FILE)), allow_pickle=False) as file:
        return SocialGraph(
            names=file[f"{name}_names"].tolist(),
            edges=file[f"{name}_edges"].astype(np.int64),
            weights=file[f"{name}_weights"].astype(np.float64),
            groups=file["karate_groups"].astype(np.int64) if name == "karate" else None,
        )
