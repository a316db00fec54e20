"""The sweep finds what it is there to find: tried on explorers that are broken on purpose."""

import json

import pytest

from tests.notebooks.test_sweep import run_sweep

HEAD = """
import time
import numpy as np
from kernellab.lab import Explorer, Panel, Scene, Step, slider

def view(picture, result):
    picture.line("p", "curve", [0, 1, 2], result)

def make(name, compute, view=view, **options):
    return Explorer(name=name, title="A title", alt="One curve.", compute=compute, view=view,
        controls=dict(a=slider(0, 1, 0.5)), panels=[Panel("p", x="x", y="y")],
        scenes=[Scene("s", "Look.")], small=True, **options)
"""

BROKEN = {
    "sound": ("def compute(a): return [a, a, a]", None),
    "refuses": (
        """def compute(a):
    if a == 1:
        raise ValueError("a must be below 1")
    return [a, a, a]""",
        None,
    ),
    "raises": ("def compute(a): return [a, a, 1 / (1 - int(a))]", "ZeroDivisionError"),
    "undeclared": (
        "def compute(a): return np.zeros(3 + int(a)) + np.zeros(3)",
        "nobody declared",
    ),
    "nan": ("def compute(a): return [a, a, np.nan if a == 0 else 1]", "could not draw"),
    "slow": ("def compute(a): time.sleep(0.26 * (a == 1)); return [a, a, a]", "takes over"),
}


def _notebook(folder, source):
    path = folder / "lab.ipynb"
    cell = {"cell_type": "code", "id": "a", "source": source, "metadata": {}, "outputs": []}
    cell["execution_count"] = None
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))
    return path


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "slow"])
def test_broken_on_purpose(name, tmp_path):
    source, expected = BROKEN[name]
    report = run_sweep(_notebook(tmp_path, f"{HEAD}\n{source}\nmake({name!r}, compute)"), tmp_path)
    assert [row["name"] for row in report["explorers"]] == [name]
    if expected is None:
        assert report["failures"] == []
    else:
        assert any(expected in failure for failure in report["failures"])


def test_declared_sentences_are_reported(tmp_path):
    source = f"{HEAD}\n{BROKEN['refuses'][0]}\nmake('refuses', compute)"
    report = run_sweep(_notebook(tmp_path, source), tmp_path)
    assert report["explorers"][0]["said"] == ["a must be below 1"]


@pytest.mark.slow
def test_slow_callbacks(tmp_path):
    source = f"{HEAD}\n{BROKEN['slow'][0]}\nmake('slow', compute)"
    report = run_sweep(_notebook(tmp_path, source), tmp_path)
    assert any("takes over" in failure for failure in report["failures"])


@pytest.mark.parametrize(("last", "wrong"), [("[a, a, a]", False), ("[a, a, np.nan]", True)])
def test_runs_on_a_button(last, wrong, tmp_path):
    compute = f"""def compute(a):
    for i in range(3000):
        time.sleep(0.001)
        yield Step(i / 3000, {last})"""
    cell = f"{HEAD}\n{compute}\nmake('run', compute, run='button')"
    report = run_sweep(_notebook(tmp_path, cell), tmp_path)
    assert report["explorers"][0]["frames"] == 4
    assert bool(report["failures"]) == wrong


def test_a_cell_that_fails(tmp_path):
    report = run_sweep(_notebook(tmp_path, "1 / 0"), tmp_path)
    assert "cell a: division by zero" in report["failures"][0]
