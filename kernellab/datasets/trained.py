"""Weights of networks that take minutes to train; data/build.py trains them."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np

from kernellab.datasets import _files

_FILE = "posterior_networks.npz"


class Trained(NamedTuple):
    """A trained network: weights (P,) in one vector, and losses (40,) of its first updates."""

    weights: np.ndarray
    losses: np.ndarray


def posterior_networks() -> dict[str, Trained]:
    """Networks that turn a prior and observations into a posterior (lab gps_and_networks).

    Returns
    -------
    Trained by name: "direct" and "range" for two sensors, and "direct_one_prior", which was shown
    the same prior every time.

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged.

    Cost O(P).
    Source: trained by data/build.py; see data/README.md.

    >>> sorted(posterior_networks())
    ['direct', 'direct_one_prior', 'range']
    """
    with np.load(io.BytesIO(_files.verified(_FILE)), allow_pickle=False) as file:
        names = [name.removesuffix("_weights") for name in file.files if name.endswith("_weights")]
        return {
            name: Trained(file[f"{name}_weights"].astype(np.float64), file[f"{name}_losses"])
            for name in names
        }


def kspace_network() -> np.ndarray:
    """Weights of the network that fills in frequencies (lab attention_on_grids), as one vector.

    Returns
    -------
    (P,), for ``attention_on_grids.with_weights``

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged.

    Cost O(P).
    Source: trained by data/build.py; see data/README.md.

    >>> kspace_network().shape
    (27300,)
    """
    with np.load(io.BytesIO(_files.verified("kspace_network.npz")), allow_pickle=False) as file:
        return file["weights"].astype(np.float64)
