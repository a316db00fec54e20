"""kernellab: kernel methods you can see, touch and check.

``import kernellab`` is cheap: the subpackages below are imported when first used (PEP 562).
"""

import importlib

__version__ = "0.1.0"

_SUBPACKAGES = ("compute", "datasets", "exercises", "lab", "methods")

__all__ = ["__version__", *_SUBPACKAGES]


def __getattr__(name: str):
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
