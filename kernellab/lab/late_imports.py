"""What plotly's import would load too early, put off until somebody needs it."""

import importlib
import importlib.util
import sys
import types

_GRAMMARS = "rfc3987_syntax"


def put_off_grammars() -> None:
    """Let ``rfc3987_syntax`` build its 38 grammars at its first use, not when plotly is imported.

    plotly asks for nbformat, nbformat for jsonschema, and jsonschema for this checker of
    international web addresses, which no notebook holds. Its grammars were 2.1 of the 2.8 s that a
    lab took to import (jsonschema 4.26; python-jsonschema/jsonschema#1428).
    """
    spec = importlib.util.find_spec(_GRAMMARS)
    if spec is None or _GRAMMARS in sys.modules:
        return
    late = types.ModuleType(_GRAMMARS)
    late.__spec__, late.__path__ = spec, spec.submodule_search_locations

    def real():
        if sys.modules.get(_GRAMMARS) is late:
            del sys.modules[_GRAMMARS]
        return importlib.import_module(_GRAMMARS)

    late.is_valid_syntax = lambda rule, text: real().is_valid_syntax(rule, text)
    late.__getattr__ = lambda name: getattr(real(), name)
    sys.modules[_GRAMMARS] = late
