"""Who may import whom, and what an import costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kernellab.paths import ROOT

PACKAGE = ROOT / "kernellab"

# From the top down: a module imports from its own layer and from those below it.
LAYERS = ["cli", "commands", "exercises", "lab", "methods", "datasets", "compute", "paths"]

DRAWING = {"IPython", "anywidget", "ipywidgets", "matplotlib", "plotly"}
HEAVY = ["plotly", "ipywidgets", "matplotlib", "IPython", "jupyter_core", "scipy", "numba"]

SOURCES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of all modules a file imports, also inside functions."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return names


def layer(name: str) -> str | None:
    """The layer of a module of ours, by its full name."""
    parts = name.split(".")
    return parts[1] if parts[0] == "kernellab" and len(parts) > 1 and parts[1] in LAYERS else None


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own not in LAYERS:
        return  # kernellab/__init__.py names the subpackages
    # The commands raise the errors that the command line reports.
    above = set(LAYERS[: LAYERS.index(own)]) - ({"cli"} if own == "commands" else set())
    wrong = sorted(name for name in imported(path) if layer(name) in above)
    assert not wrong, f"{_id(path)} imports {wrong} from a layer above its own"


@pytest.mark.parametrize("folder", ["methods", "compute", "datasets"])
def test_no_drawing_below_the_labs(folder):
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        wrong = {name.split(".")[0] for name in imported(path)} & DRAWING
        assert not wrong, f"{_id(path)} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "methods").rglob("*.py")), ids=_id)
def test_methods_do_not_print(path):
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
    ]
    assert not calls, f"{_id(path)} prints in lines {calls}"


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_no_module_only_forwards(path):
    """A file that only passes names on makes a reader search twice."""
    if path.name == "__init__.py":
        return
    body = ast.parse(path.read_text(encoding="utf-8")).body
    own = [
        node
        for node in body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    ]
    assert own, f"{_id(path)} defines nothing of its own"


def run(code: str):
    """What the code prints as JSON, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def seconds(code: str) -> float:
    """The time of the code in a fresh process, the best of several: other work only adds to it."""
    timed = f"import time; start = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    return min(run(timed) for _ in range(3))


@pytest.mark.parametrize("module", ["kernellab", "kernellab.cli"])
def test_import_brings_in_nothing_heavy(module):
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    assert not set(run(code)).intersection([*HEAVY, "numpy"])


@pytest.mark.parametrize("module", ["kernellab.lab", "kernellab.compute", "kernellab.methods"])
def test_subpackages_bring_in_no_drawing(module):
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    assert not set(run(code)).intersection(["llvmlite", *DRAWING])


def test_import_is_quick():
    assert seconds("import kernellab") < 0.5


def test_compute_costs_little_over_numpy_and_numba():
    # Measured one after the other, so that a busy moment of the machine hits both alike.
    code = "import numpy, numba\nbase = time.perf_counter()\nimport kernellab.compute"
    timed = f"import time\n{code}\nprint(time.perf_counter() - base)"
    assert min(run(timed) for _ in range(3)) < 0.1


def test_no_compiling_at_import():
    code = (
        "import importlib, json, pkgutil, kernellab.methods as methods\n"
        "for found in pkgutil.walk_packages(methods.__path__, 'kernellab.methods.'):\n"
        "    importlib.import_module(found.name)\n"
        "from kernellab.compute.compiled import registry\n"
        "print(json.dumps([f.__name__ for f in registry() if f._ready is not None]))"
    )
    assert run(code) == []
