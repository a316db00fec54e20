"""A notebook made for the tests, and the list of the labs that have explorers.

The made notebook holds one explorer of each temper (quick, slow, run by a button, one that refuses
some settings) and one card of each kind, so that every behaviour is tried whatever the labs hold.
"""

from pathlib import Path

import nbformat
from nbformat import v4

from kernellab import paths

EXPLORERS = "made/explorers.ipynb"
CARDS = "made/cards.ipynb"

_QUICK = """
import time

import numpy as np

from kernellab.lab import (
    Explorer, Panel, Scene, Step, choice, choices, int_slider, log_slider, slider, toggle,
)


def compute(frequency, decay, n, shape, parts, noisy):
    x = np.linspace(0, 1, n)
    wave = np.sin if shape == "sine" else np.cos
    y = wave(2 * np.pi * frequency * x) * np.exp(-decay * x)
    if noisy:
        y = y + 0.05 * np.random.default_rng(0).standard_normal(n)
    return x, y, parts


def view(picture, result):
    x, y, parts = result
    if "line" in parts:
        picture.line("wave", "wave", x, y, color="blue")
    if "points" in parts:
        picture.points("wave", "samples", x[::4], y[::4], color="red")
    picture.bars("spectrum", "energy", np.arange(8), np.abs(np.fft.rfft(y))[:8])
    picture.limits("wave", x=(0, 1), y=(-1.2, 1.2))
    picture.readout("mean square", float(np.mean(y**2)), digits=4)


Explorer(
    name="quick",
    title="A damped wave",
    compute=compute,
    view=view,
    controls=dict(
        frequency=slider(1, 9, 3, step=0.1, label="frequency f (1/s)"),
        decay=log_slider(1e-2, 10, 1, label="decay d (1/s)"),
        n=int_slider(32, 512, 128, label="samples"),
        shape=choice(["sine", "cosine"], "sine"),
        parts=choices(["line", "points"], ["line", "points"]),
        noisy=toggle(False),
    ),
    panels=[Panel("wave", x="time (s)", y="height"), Panel("spectrum", x="bin", y="energy")],
    scenes=[
        Scene("Damped", "Look at how the wave dies away."),
        Scene("Free", "Look at the right end: nothing is lost.", decay=0.01),
        Scene("Fast", "Look at the bars: the energy moved to the right.", frequency=6.0),
    ],
    alt="A damped wave over one second, and its spectrum.",
)
"""

_SLOW = """
def compute(offset):
    time.sleep(0.45)
    x = np.linspace(0, 1, 50)
    return x, x + offset


def view(picture, result):
    x, y = result
    picture.line("line", "line", x, y)
    picture.limits("line", x=(0, 1), y=(-1, 3))
    picture.readout("at zero", float(y[0]), digits=2)


Explorer(
    name="slow",
    title="Half a second a move",
    compute=compute,
    view=view,
    controls=dict(offset=slider(-1, 2, 0, step=0.01)),
    panels=[Panel("line", x="position", y="value")],
    small=True,
    scenes=[Scene("Low", "Look at the line.", offset=-0.5), Scene("High", "Now.", offset=1.5)],
    alt="A line that moves up and down.",
)
"""

_BUTTON = """
def compute(steps, rate):
    x = 1.0
    for k in range(steps):
        time.sleep(0.05)
        x = x * (1 - rate)
        yield Step((k + 1) / steps, (k + 1, x), f"step {k + 1}")


def view(picture, result):
    k, x = result
    picture.points("descent", "distance", np.array([float(k)]), np.array([x]))
    picture.limits("descent", x=(0, 210), y=(0, 1.05))
    picture.readout("steps done", k)


Explorer(
    name="button",
    title="Gradient descent, run by hand",
    compute=compute,
    view=view,
    controls=dict(
        steps=int_slider(10, 200, 40, label="steps"), rate=slider(0.01, 0.5, 0.1, label="rate")
    ),
    panels=[Panel("descent", x="step", y="distance")],
    small=True,
    scenes=[Scene("Slow", "Watch it.", rate=0.02), Scene("Quick", "Watch it.", rate=0.3)],
    alt="The distance to the minimum, step by step.",
    run="button",
)
"""

_REFUSING = """
def compute(low, high):
    if low >= high:
        raise ValueError(f"low must lie below high, got low = {low:g} and high = {high:g}")
    return np.linspace(low, high, 30)


def view(picture, result):
    picture.line("between", "between", np.arange(30.0), result)
    picture.limits("between", y=(0, 1))
    picture.readout("width", float(result[-1] - result[0]), digits=2)


Explorer(
    name="refusing",
    title="Two ends",
    compute=compute,
    view=view,
    controls=dict(low=slider(0, 1, 0.2, step=0.05), high=slider(0, 1, 0.6, step=0.05)),
    panels=[Panel("between", x="index", y="value")],
    small=True,
    scenes=[Scene("Wide", "Look.", low=0.0, high=1.0), Scene("Narrow", "Look.", low=0.45)],
    alt="A line from the low end to the high end.",
)
"""

_CLAIM = """
from kernellab.lab import Exercise, Refused, Wrong, claim, predict

claim(
    "a-made-paper",
    "halving 40 times leaves less than a millionth",
    measured=lambda: 0.5**40,
    holds=lambda left: left < 1e-6,
    control=lambda: 0.9**40,
    control_label="taking a tenth away",
    measured_label="what is left",
    floor=1e-10,
)
"""

_PREDICT_OPTION = """
predict(
    "Which leaves less after 40 rounds?",
    answer="halving",
    options=["halving", "taking a tenth away"],
    explain="Halving forty times leaves a millionth of a millionth.",
)
"""

_PREDICT_NUMBER = """
predict(
    "How many percent are left after ten rounds of taking a tenth away?",
    answer=lambda: 100 * 0.9**10,
    low=0,
    high=100,
    unit="%",
    explain="Each round keeps nine tenths of what was there.",
)
"""

_EXERCISE = """
def halve(x):
    return x / 2


def double(x):
    return 2 * x


def keep(x):
    return x


def check(candidate):
    if candidate(3.0) == 3.0:
        raise Refused("nothing happened: for 3 you return 3, it must be 1.5")
    if candidate(3.0) != 1.5:
        raise Refused(f"wrong: for 3 you return {candidate(3.0):g}, it must be 1.5")


exercise = Exercise(
    id="made/halve",
    title="Halve a number",
    task="Write `halve(x)`, which returns half of `x`.",
    function="halve",
    check=check,
    solution=halve,
    wrong=[Wrong("doubled", double, says="you return 6"), Wrong("kept", keep, says="nothing")],
)
exercise
"""

_ATTEMPT = """
def my_attempt_at_halving(x):
    return x * 2


exercise.check(my_attempt_at_halving)
"""


def _save(path: Path, cells: list[str]) -> None:
    sources = [v4.new_code_cell(source.strip()) for source in cells]
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Made for the tests"), *sources])
    notebook.metadata.kernelspec = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def make(root: Path) -> None:
    """Write the made notebooks below ``root``."""
    _save(root / EXPLORERS, [_QUICK, _SLOW, _BUTTON, _REFUSING])
    _save(root / CARDS, [_CLAIM, _PREDICT_OPTION, _PREDICT_NUMBER, _EXERCISE, _ATTEMPT])


def labs() -> list[str]:
    """Every lab with an explorer, as a path below notebooks/."""
    found = []
    for path in sorted(paths.NOTEBOOKS.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        cells = nbformat.read(path, as_version=4).cells
        if any(cell.cell_type == "code" and "Explorer(" in cell.source for cell in cells):
            found.append(path.relative_to(paths.NOTEBOOKS).as_posix())
    return found
