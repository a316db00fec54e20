"""Small data sets: real ones, read from the data folder and checked, and simulated ones, computed.

Loaders are imported when first used (PEP 562).
"""

import importlib

# Modules are not named like the loaders, or importing one would hide its loader.
_HOME = {
    "breast_cancer": "tumours",
    "diabetes": "patients",
    "digits": "handwriting",
    "el_nino": "oceans",
    "iris": "flowers",
    "kspace_network": "trained",
    "mauna_loa_co2": "atmosphere",
    "photograph": "photographs",
    "posterior_networks": "trained",
    "social_graph": "acquaintances",
    "sunspots": "suns",
    "toy3d": "toy_worlds",
    "toy_scene": "toy_worlds",
    "wine": "wines",
}

__all__ = [
    "breast_cancer",
    "diabetes",
    "digits",
    "el_nino",
    "iris",
    "kspace_network",
    "mauna_loa_co2",
    "photograph",
    "posterior_networks",
    "social_graph",
    "sunspots",
    "toy3d",
    "toy_scene",
    "wine",
]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
