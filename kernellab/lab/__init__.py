"""What a notebook needs around a method: explorers, claims, predictions, exercises, the catalogue.

Names are imported when first used (PEP 562), so ``import kernellab.lab`` loads no plotting.
"""

import importlib

# Every public name and the module that defines it, one line each.
_HOME = {
    "Claim": "claims",
    "ClaimError": "claims",
    "Exercise": "exercises",
    "Explorer": "explorer",
    "Panel": "pictures",
    "Refused": "exercises",
    "Scene": "explorer",
    "Step": "explorer",
    "Wrong": "exercises",
    "choice": "controls",
    "choices": "controls",
    "claim": "claims",
    "fmt": "numbers",
    "int_slider": "controls",
    "log_slider": "controls",
    "predict": "predictions",
    "show_source": "source",
    "slider": "controls",
    "table": "numbers",
    "toggle": "controls",
}

_MODULES = (
    "atlas",
    "cards",
    "catalogue",
    "claims",
    "controls",
    "digest",
    "exercises",
    "explorer",
    "figures",
    "late_imports",
    "numbers",
    "paper_map",
    "pictures",
    "predictions",
    "progress",
    "source",
    "threads",
)

__all__ = [*_HOME, "catalogue"]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
