"""The stages of `kernellab test`: what each runs, and how its results are counted."""

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from kernellab.paths import ROOT

STAGES = {
    "ruff": "style and simple mistakes",
    "unit": "unit and property tests",
    "boundscheck": "compiled functions once more, with bounds checked",
    "notebooks": "every notebook executed, outputs compared",
    "sweep": "every explorer over its extremes and at random",
    "browser": "labs in a real browser",
}
PORTABLE_STAGES = ("unit", "notebooks")

CELL_TIMEOUT = 300  # seconds one cell may take
WORKERS = min(os.cpu_count() or 1, 4)  # processes a stage's tests are shared out to

# Not the browser: its tests measure how long a hand waits. A file's tests stay in one process (a
# notebook's cells must), except the sweep's, which start one for each notebook.
SHARED_OUT = {
    "unit": "loadfile",
    "boundscheck": "loadfile",
    "notebooks": "loadfile",
    "sweep": "worksteal",
}

NO_TESTS = 5  # pytest's exit code when nothing was collected

# OpenBLAS's oldest processor: what it can do, every processor of that family can.
OLDEST_CORE = {"x86_64": "Nehalem", "amd64": "Nehalem", "aarch64": "ARMV8", "arm64": "ARMV8"}


@dataclass(frozen=True)
class Outcome:
    """What came out of one stage."""

    stage: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    note: str = ""


def one_thread() -> dict[str, str]:
    """Environment in which every numerical library uses one thread."""
    names = ("NUMBA", "OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "BLIS")
    return {f"{name}_NUM_THREADS": "1" for name in names}


def dispatched_features() -> list[str]:
    """CPU features that this NumPy chooses at run time and has found on this processor.

    Only these may be disabled: NumPy refuses to be imported without one of its baseline. A fresh
    process is asked, since this one may have been started with some features disabled.
    """
    code = (
        "import numpy._core._multiarray_umath as u; "
        "print(*(f for f in u.__cpu_dispatch__ if u.__cpu_features__.get(f)))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NPY_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def portable_environment() -> dict[str, str]:
    """Environment in which this machine computes like the plainest one of its family."""
    environment = {"NUMBA_CPU_NAME": "generic", **one_thread()}
    if core := OLDEST_CORE.get(platform.machine().lower()):
        environment["OPENBLAS_CORETYPE"] = core
    if features := dispatched_features():
        environment["NPY_DISABLE_CPU_FEATURES"] = " ".join(features)
    return environment


def _tests(folders: list[str], lab: str | None) -> list[str]:
    """The test files below some folders; with ``lab``, only this lab's."""
    pattern = f"test_{lab}.py" if lab else "*"
    if lab is None:
        return [f"tests/{folder}" if folder else "tests" for folder in folders]
    found = {path for folder in folders for path in (ROOT / "tests" / folder).rglob(pattern)}
    return [path.relative_to(ROOT).as_posix() for path in sorted(found)]


def _notebooks(lab: str | None) -> list[str]:
    if lab is None:
        return ["notebooks"]
    return [p.relative_to(ROOT).as_posix() for p in sorted(ROOT.glob(f"notebooks/*/*_{lab}.ipynb"))]


def pytest_arguments(stage: str, lab: str | None, portable: bool) -> list[str] | None:
    """What pytest is given for one stage; None when the lab has nothing for it."""
    if stage == "notebooks":
        chosen = _notebooks(lab)
        options = ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_TIMEOUT}"]
    elif stage == "sweep":
        chosen = ["tests/notebooks/test_sweep.py"]
        options = ["-m", "sweep", "-rP"]  # the tables of times, at the end
    elif stage == "browser":
        chosen = ["tests/browser"]
        options = ["-m", "browser", "-s"]
    elif stage == "boundscheck":
        chosen = _tests(["compute", "methods"], lab)
        options = ["-m", "compiled"]
    else:
        numerics = ["compute", "methods", "exercises"]
        chosen = _tests(numerics if portable else [""], lab)
        options = ["-m", "not browser and not sweep"]
    if lab is None and stage in SHARED_OUT and WORKERS > 1:
        options += ["-n", str(WORKERS), "--dist", SHARED_OUT[stage]]
    if lab and stage in ("sweep", "browser"):
        options += ["-k", lab]
    return [*chosen, *options] if chosen else None


def _counts(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) from pytest's JUnit report."""
    total = failed = skipped = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return max(total - failed - skipped, 0), failed, skipped


def _run_pytest(arguments: list[str], environment: dict, chosen_lab: bool):
    """Run pytest with live output; ``(passed, failed, skipped, note)``."""
    with tempfile.TemporaryDirectory(prefix="kernellab-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junit-xml={report}", "-q", *arguments]
        code = subprocess.run(command, cwd=ROOT, env=environment).returncode
        if code == NO_TESTS:
            return (0, 0, 0, "no tests of this lab") if chosen_lab else (0, 1, 0, "no tests found")
        if not report.exists():
            return 0, 1, 0, f"pytest ended with code {code}"
        passed, failed, skipped = _counts(report)
    # A crash after the last test must not look like success.
    note = f"pytest ended with code {code}" if code and not failed else ""
    return passed, failed or int(bool(code)), skipped, note


def _run_ruff(environment: dict):
    """Run ruff's checks and its formatter's check: together one test."""
    if importlib.util.find_spec("ruff") is None:
        return 0, 1, 0, "ruff is not installed: pip install -e '.[test]'"
    ruff = [sys.executable, "-m", "ruff"]
    codes = [
        subprocess.run([*ruff, *what, "."], cwd=ROOT, env=environment).returncode
        for what in (["check"], ["format", "--check"])
    ]
    return (0, 1, 0, "") if any(codes) else (1, 0, 0, "")


def run_stage(stage: str, lab: str | None, environment: dict, portable: bool = False) -> Outcome:
    """Run one stage with live output and count its results."""
    started = time.perf_counter()
    if stage == "ruff":
        counts = _run_ruff(environment)
    else:
        if stage == "boundscheck":
            environment = {**environment, "NUMBA_BOUNDSCHECK": "1"}
        arguments = pytest_arguments(stage, lab, portable)
        if arguments is None:
            counts = (0, 0, 0, "nothing of this lab")
        else:
            counts = _run_pytest(arguments, environment, chosen_lab=lab is not None)
    passed, failed, skipped, note = counts
    return Outcome(stage, passed, failed, skipped, time.perf_counter() - started, note)
