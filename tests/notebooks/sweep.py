"""Drive every explorer of one notebook, without a browser, and report what went wrong.

Run as a program, in a process of its own: ``python sweep.py NOTEBOOK REPORT``. All code cells run
first; then each explorer goes through its scenes, the extremes of each control, corners (several
controls at an end) and random settings. The report is a JSON file with a row an explorer
(``name, live, frames, median, p95, worst, slowest, said``; times in seconds) and all failures.
"""

import contextlib
import io
import json
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from kernellab.paths import ROOT

RANDOM_SETTINGS = 100
CORNERS = 24
HARD_LIMIT = 0.250  # seconds: more than this does not feel live
BUTTON_SECONDS = 2.0  # how long a run on a button is watched before it is stopped


def run_cells(path: Path) -> None:
    """Execute the notebook's code cells in IPython, without a kernel."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            done = shell.run_cell("".join(cell["source"]), store_history=True)
        if not done.success:
            raise RuntimeError(
                f"cell {cell.get('id')}: {done.error_in_exec or done.error_before_exec}"
            )


def settings(explorer, rng: np.random.Generator) -> list[tuple[str, dict]]:
    """What to set, in order: ``(what it is, values)``; controls that are not named: the default."""
    controls = explorer.controls
    plan = [("default", {})]
    plan += [
        (f"{name} at an end", {name: value})
        for name, control in controls.items()
        for value in control.extremes()
    ]
    for _ in range(CORNERS if controls else 0):
        corner = {}
        for name, control in controls.items():
            ends = control.extremes()
            if rng.random() < 0.7:
                corner[name] = ends[rng.integers(len(ends))]
        plan.append(("corner", corner))
    plan += [
        ("random", {name: control.random(rng) for name, control in controls.items()})
        for _ in range(RANDOM_SETTINGS if controls else 0)
    ]
    defaults = {name: control.default for name, control in controls.items()}
    return [(kind, defaults | values) for kind, values in plan]


def refusal(explorer) -> str | None:
    """Why the explorer's error is a fault; None for a sentence that ``compute`` chose to say.

    Such a sentence is raised by a ``raise`` statement of this project or of the notebook, in
    ``compute``. A ValueError out of NumPy, or out of the drawing (a NaN), is a fault.
    """
    problem = explorer._problem
    if not isinstance(problem, ValueError):
        return f"raised {explorer.error}"
    frames = traceback.extract_tb(problem.__traceback__)
    if any(Path(frame.filename).name == "pictures.py" for frame in frames):
        return f"could not draw: {explorer.error}"
    codes = [frame.f_code for frame, _ in traceback.walk_tb(problem.__traceback__)]
    if getattr(explorer._view, "__code__", None) in codes:
        return f"the view failed: {explorer.error}"
    last = frames[-1]
    ours = (
        Path(last.filename).is_relative_to(ROOT / "kernellab") or "ipython-input" in last.filename
    )
    if not (ours and (last.line or "").lstrip().startswith("raise ")):
        return f"stumbled over a ValueError that nobody declared: {explorer.error}"
    return None


def bad_number(figure) -> str | None:
    """The first trace on screen with NaN or infinity in it, or None."""
    for trace in figure.data:
        if trace.visible is False:
            continue
        for axis in ("x", "y", "z"):
            values = getattr(trace, axis, None)
            if values is None:
                continue
            try:
                values = np.asarray(values, dtype=float)
            except (TypeError, ValueError):
                continue  # names on an axis
            if np.isinf(values).any():
                return f"infinity in {axis} of {trace.name!r}"
            # A picture refuses NaN itself, unless the view asked for gaps; all-NaN is no gap.
            if values.size and np.isnan(values).all():
                return f"nothing but NaN in {axis} of {trace.name!r}"
    return None


def _drawn(explorer) -> str:
    meta = dict(explorer.figure.layout.meta or {})
    return repr(meta.get("controls"))


class Sweep:
    """One explorer's sweep: what it said, how long it took, what failed."""

    def __init__(self, explorer, rng):
        self.explorer, self.rng = explorer, rng
        self.failures: list[str] = []
        self.seconds: list[tuple[float, str]] = []
        self.said: set[str] = set()

    def fail(self, where: str, values: dict, message: str) -> None:
        """Note a failure, with the settings that bring it back."""
        self.failures.append(f"{self.explorer.name}, {where}, {values}: {message}")

    def judge(self, where: str, values: dict, before: str, may_refuse: bool) -> None:
        """Look at the explorer after it was set to something."""
        explorer = self.explorer
        if explorer.error is not None:
            fault = refusal(explorer)
            if fault is None and not may_refuse:
                fault = f"may not be refused: {explorer.error}"
            if fault is None and _drawn(explorer) != before:
                fault = f"the last good picture did not stay when it said: {explorer.error}"
            self.said.add(explorer.error)
            if fault:
                self.fail(where, values, fault)
        elif bad := bad_number(explorer.figure):
            self.fail(where, values, bad)

    def timed(self, values: dict) -> float:
        """Set the controls; seconds of the callback."""
        started = time.perf_counter()
        self.explorer.set(**values)
        return time.perf_counter() - started

    def live(self) -> None:
        """Scenes, extremes, corners, random settings."""
        for index, scene in enumerate(self.explorer.scenes):
            before = _drawn(self.explorer)
            self.explorer.scene(index)
            self.judge(f'scene "{scene.title}"', scene.settings, before, may_refuse=False)
        for where, values in settings(self.explorer, self.rng):
            before = _drawn(self.explorer)
            seconds = self.timed(values)
            self.judge(where, values, before, may_refuse=where != "default")
            if seconds > HARD_LIMIT:  # other work on this machine may have been in the way
                seconds = min(seconds, self.timed(values))
            self.seconds.append((seconds, f"{where} {values}"))
        p95 = self.quantile(0.95)
        if p95 > HARD_LIMIT:
            slow, where = max(self.seconds)
            self.failures.append(
                f"{self.explorer.name}: one callback in twenty takes over {p95 * 1000:.0f} ms "
                f"(limit {HARD_LIMIT * 1000:.0f} ms), up to {slow * 1000:.0f} ms at {where}"
            )

    def button(self) -> None:
        """Start at the default and at random settings, watch, stop, continue, stop."""
        plan = settings(self.explorer, self.rng)
        chosen = [plan[0], *[item for item in plan if item[0] == "random"][:3]]
        for where, values in chosen:
            before = _drawn(self.explorer)
            # The control values alone: `set` would run to the end.
            self.explorer._apply(self.explorer._checked(values))
            started = time.perf_counter()
            self.explorer.start()
            self.explorer.wait(BUTTON_SECONDS)
            self.explorer.stop()
            self.seconds.append((time.perf_counter() - started, f"{where} {values}"))
            self.judge(where, values, before, may_refuse=where != "default")
            state = self.explorer.run_state
            if state == "stopped":
                self.explorer.resume()
                self.explorer.stop()
                self.judge(f"{where}, continued", values, _drawn(self.explorer), may_refuse=False)
            elif state != "finished" and self.explorer.error is None:
                self.fail(where, values, f"is {state!r} after it was stopped")

    def quantile(self, q: float) -> float:
        """A quantile of the times."""
        return float(np.quantile([seconds for seconds, _ in self.seconds], q))

    def report(self) -> dict:
        """One row of the table."""
        worst, slowest = max(self.seconds)
        return {
            "name": self.explorer.name,
            "live": self.explorer.live,
            "frames": len(self.seconds),
            "median": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "worst": worst,
            "slowest": slowest,
            "said": sorted(self.said),
        }


def sweep(path: Path) -> dict:
    """Run a notebook and drive all its explorers."""
    try:
        run_cells(path)
    except RuntimeError as error:
        return {"explorers": [], "failures": [str(error)]}
    # A notebook without explorers must not bring in what draws them.
    module = sys.modules.get("kernellab.lab.explorer")
    rows, failures = [], []
    for number, explorer in enumerate(module.instances() if module else []):
        one = Sweep(explorer, np.random.default_rng(number))
        one.live() if explorer.live else one.button()
        rows.append(one.report())
        failures += one.failures
    return {"explorers": rows, "failures": failures}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(sweep(Path(sys.argv[1])), indent=1), encoding="utf-8")
