"""Photographs, small enough to compute with."""

from __future__ import annotations

import io

import numpy as np

from kernellab.datasets import _files

_FILE = "photographs.npz"
_NAMES = ("camera", "coffee", "astronaut")
_SIZES = (8, 16, 32, 64, 128)


def photograph(name: str = "camera", size: int = 128) -> np.ndarray:
    """A square photograph as numbers between 0 (black) and 1.

    Parameters
    ----------
    name : ``"camera"``, a photographer at his camera in grey; ``"coffee"``, a cup of coffee on a
        wooden table, or ``"astronaut"``, Eileen Collins before a flag, both in colour.
    size : pixels a side, 8, 16, 32, 64 or 128; smaller ones are averages over blocks of the file's.

    Returns
    -------
    (size, size) float64 for a grey picture, (size, size, 3) for red, green and blue; row 0 is the
    top.

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged; ValueError for another
    ``name`` or ``size``.

    Cost O(pixels).
    Source: Lav Varshney, Rachel Michetti and NASA, by way of scikit-image; see data/README.md.

    >>> photograph("camera", 32).shape, photograph("coffee", 16).shape
    ((32, 32), (16, 16, 3))
    """
    if not isinstance(name, str) or name not in _NAMES:
        raise ValueError(f"name must be 'camera', 'coffee' or 'astronaut', got {name!r}")
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size not in _SIZES:
        raise ValueError(f"size must be one of {', '.join(map(str, _SIZES))}, got {size!r}")
    with np.load(io.BytesIO(_files.verified(_FILE)), allow_pickle=False) as file:
        image = file[name] / 255.0
    block = len(image) // size
    return image.reshape(size, block, size, block, *image.shape[2:]).mean(axis=(1, 3))
