"""Iris flowers, measured."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from kernellab.datasets import _files
from kernellab.datasets._tables import Table

_FILE = "iris.npz"


@dataclass(frozen=True, eq=False)
class Flowers(Table):
    """Iris flowers, measured, and which kind each is."""

    species: np.ndarray
    """(n,) int64: 0 setosa, 1 versicolor, 2 virginica."""

    @property
    def names(self) -> list[str]:
        """The 4 columns."""
        return ["sepal length", "sepal width", "petal length", "petal width"]


def iris() -> Flowers:
    """150 iris flowers of three species, each with four lengths in cm.

    Returns
    -------
    Flowers with ``measurements`` (150, 4), ``species`` (150,), standardised ``x`` and ``names``.

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged.

    Cost O(n).
    Source: E. Anderson, 1935, and R. A. Fisher, 1936; see data/README.md.

    >>> iris().x.shape, np.bincount(iris().species).tolist()
    ((150, 4), [50, 50, 50])
    """
    with np.load(io.BytesIO(_files.verified(_FILE)), allow_pickle=False) as file:
        return Flowers(file["measurements"], file["species"].astype(np.int64))
