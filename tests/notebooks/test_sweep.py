"""Every explorer of every notebook over its scenes, extremes and random settings (see sweep.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernellab.commands._notebooks import notebook_paths
from kernellab.paths import ROOT

SWEEP = Path(__file__).with_name("sweep.py")
GOAL = 0.050  # seconds: median of a live callback
SECONDS = 900  # for one notebook

pytestmark = pytest.mark.sweep


def _row(row: dict) -> str:
    times = "  ".join(f"{row[name] * 1000:7.1f}" for name in ("median", "p95", "worst"))
    kind = "" if row["live"] else "  (on a button: times of a watched run)"
    goal = "" if not row["live"] or row["median"] <= GOAL else "  median over the goal of 50 ms"
    return f"{row['name']:<28} {row['frames']:>6}  {times}{kind}{goal}"


def table(report: dict) -> str:
    """The report as text: one line an explorer, times in milliseconds."""
    head = f"{'explorer':<28} {'frames':>6}  {'median':>7}  {'p95':>7}  {'max':>7}  ms"
    lines = [head, *map(_row, report["explorers"])]
    for row in report["explorers"]:
        lines += [f"    {row['name']} may say: {sentence}" for sentence in row["said"]]
    return "\n".join(lines)


def run_sweep(notebook: Path, folder: Path) -> dict:
    """Sweep one notebook in a process of its own."""
    report = folder / "report.json"
    environment = {**os.environ, "KERNELLAB_DATA_DIR": str(folder / "data"), "MPLBACKEND": "agg"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, str(SWEEP), str(notebook), str(report)],
        cwd=notebook.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0 and report.exists(), (
        f"the sweep itself broke:\n{done.stderr[-4000:]}"
    )
    return json.loads(report.read_text(encoding="utf-8"))


@pytest.mark.parametrize("notebook", notebook_paths(), ids=lambda path: path.stem)
def test_explorers_hold(notebook, tmp_path):
    report = run_sweep(notebook, tmp_path)
    if report["explorers"]:
        print(f"\n{notebook.stem}\n{table(report)}")
    failures = report["failures"]
    assert not failures, f"{len(failures)} failures, the first ones:\n" + "\n".join(failures[:10])
