"""Numerics shared by several methods: compiled functions, kernels, checks of arguments.

Importing this package is cheap: numba is imported by the first call of a compiled function, and
nothing is ever compiled at import.
"""

import importlib

from kernellab.compute.compiled import compiled

_SUBMODULES = ("checks", "elementary", "kernels")

__all__ = ["compiled", *_SUBMODULES]


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
