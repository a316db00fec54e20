"""Measurements of breast tumours."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from kernellab.datasets import _files
from kernellab.datasets._tables import Table

_FILE = "breast_cancer.npz"
_TRAITS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)


@dataclass(frozen=True, eq=False)
class Tumours(Table):
    """Shapes of cell nuclei in breast tumours, and whether the tumour was malignant."""

    malignant: np.ndarray
    """(n,) int64: 1 for a malignant tumour, 0 for a benign one."""

    @property
    def names(self) -> list[str]:
        """The 30 columns: means, standard errors and largest values of the ten traits."""
        return [f"{kind} {trait}" for kind in ("mean", "error", "worst") for trait in _TRAITS]


def breast_cancer() -> Tumours:
    """569 breast tumours from Wisconsin, 357 of them benign, each with 30 measurements.

    Returns
    -------
    Tumours with ``measurements`` (569, 30), ``malignant`` (569,), standardised ``x`` and ``names``.

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged.

    Cost O(n).
    Source: W. Wolberg, O. Mangasarian, N. Street and W. Street, 1993; see data/README.md.

    >>> breast_cancer().x.shape, int(breast_cancer().malignant.sum())
    ((569, 30), 212)
    """
    with np.load(io.BytesIO(_files.verified(_FILE)), allow_pickle=False) as file:
        return Tumours(file["measurements"], file["malignant"].astype(np.int64))
