"""Numerics shared by several methods: compiled functions, kernels, checks of arguments.

Importing this package is cheap: numba is imported by the first call of a compiled function, and
nothing is ever compiled at import.
"""

import importlib
import importlib.util
import pkgutil

from kernellab.compute.compiled import compiled

__all__ = ["compiled"]


def __getattr__(name: str):
    """Import a module of this package when it is first used (PEP 562)."""
    path = f"{__name__}.{name}"
    if not name.startswith("_") and importlib.util.find_spec(path) is not None:
        return importlib.import_module(path)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(module.name for module in pkgutil.iter_modules(__path__))})
