"""A paper's key claim as one measured statement, beside a control on which it must fail.

A check that cannot fail is no check. So :func:`claim` measures twice: the method, on which the
statement must hold, and a control (a baseline, or the method broken on purpose), on which it must
not. If either goes the other way, the cell fails, and with it the notebook's test.
"""

from __future__ import annotations

import json
import math
import numbers
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kernellab.lab import cards
from kernellab.lab.numbers import fmt

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LINE = re.compile(
    r"claim holds · (?P<slug>[^·]+) · (?P<statement>.+?) · (?P<measured_label>[^·]+?): "
    r"(?P<measured>[^·]+) · control \((?P<control_label>[^·]+?)\): (?P<control>[^·]+), "
    r"fails as it must",
)


class ClaimError(AssertionError):
    """A claim that does not hold, or that its control satisfies as well."""


class Claim(cards.Card):
    """A statement that was measured to hold, with the control that was measured to fail it."""

    def __init__(self, paper, statement, measured, control, labels, holds, again, show):
        self.paper = paper
        self.statement = statement
        self.measured = measured
        self.control = control
        self.measured_label, self.control_label = labels
        self._holds = holds
        self._again = again
        self._show = show

    def text(self) -> str:
        """The line that nbval compares and :func:`from_notebook` reads."""
        measured, control = _joined(self._show(self.measured)), _joined(self._show(self.control))
        return (
            f"claim holds · {self.paper} · {self.statement} · {self.measured_label}: {measured}"
            f" · control ({self.control_label}): {control}, fails as it must"
        )

    def markdown(self) -> str:
        """The card for a page that runs no widgets."""
        measured, control = _joined(self._show(self.measured)), _joined(self._show(self.control))
        return (
            f"**Claim, holds:** {self.statement}\n\n"
            f"| {_cell(self.measured_label)}: the method holds "
            f"| {_cell(self.control_label)}: the control fails, as it must |\n"
            f"| --- | --- |\n| **{_cell(measured)}** | **{_cell(control)}** |"
        )

    def build(self):
        """The card: both numbers side by side, and a button that runs the broken one live."""
        numbers_side_by_side = cards.pair(
            cards.side(
                f"The method: {self.measured_label}", self._show(self.measured), "holds", "good"
            ),
            cards.side(
                f"Control: {self.control_label}",
                self._show(self.control),
                "fails as it must",
                "bad",
            ),
        )
        button = cards.button(
            "Run the broken one live", f"Runs the control again: {self.control_label}"
        )
        live = cards.html("")

        def run(_button):
            button.disabled = True
            live.value = '<div class="kl-word">Running the control...</div>'
            try:
                live.value = self._run_control()
            finally:
                button.disabled = False

        button.on_click(run)
        return cards.card(
            cards.head(f"Claim · {self.paper}") + cards.statement(self.statement),
            numbers_side_by_side,
            button,
            live,
        )

    def _run_control(self) -> str:
        start = time.perf_counter()
        try:
            value = self._again()
            word = "holds, which it must not" if self._holds(value) else "fails as it must"
            shown = self._show(value)
        except Exception as error:  # a reader may have changed what the control uses
            return cards.side("The control stopped", [("", f"{type(error).__name__}: {error}")], "")
        took = cards.seconds(time.perf_counter() - start)
        return cards.side(f"{self.control_label}, just now, in {took}", shown, word, "bad")


def claim(
    paper: str,
    statement: str,
    *,
    measured: Callable[[], float | Mapping[str, float]],
    holds: Callable[[float | Mapping[str, float]], bool],
    control: Callable[[], float | Mapping[str, float]],
    control_label: str,
    measured_label: str = "measured",
    digits: int = 2,
    floor: float | None = None,
    unit: str = "",
    rtol: float = 1e-6,
) -> Claim:
    """Measure a paper's statement on the method, and show that its control fails it.

    Parameters
    ----------
    paper : the paper's slug in the catalogue.
    statement : one sentence, without " · ".
    measured, control : called once each, here and now; they return a number, or a dict of numbers.
    holds : is given the very value that ``measured`` (or ``control``) returned.
    control_label, measured_label : what the two numbers are.
    digits, floor, rtol : as in :func:`kernellab.lab.numbers.fmt`.
    unit : written after each number.

    Returns
    -------
    Claim, a card with both numbers and a button that runs the control again.

    Raises
    ------
    ClaimError if the method does not satisfy the statement, the control does, or either measures
    NaN (of which every comparison is false, so that it would "fail as it must" unseen).
    ValueError if an argument is not what is described here.

    Cost: one call of ``measured`` and one of ``control``.
    """
    if not isinstance(paper, str) or not _SLUG.fullmatch(paper):
        raise ValueError(f"paper must be a slug such as 'kernel-thinning', got {paper!r}")
    statement = cards.one_line("statement", statement, forbid="·")
    labels = (
        cards.one_line("measured_label", measured_label, forbid=":"),
        cards.one_line("control_label", control_label, forbid=":"),
    )
    for name, function in (("measured", measured), ("holds", holds), ("control", control)):
        if not callable(function):
            raise ValueError(f"{name} must be a function, got {type(function).__name__}")
    if not isinstance(unit, str):
        raise ValueError(f"unit must be a string, got {unit!r}")

    def show(value) -> list[tuple[str, str]]:
        pairs = value.items() if isinstance(value, Mapping) else [("", value)]
        after = f" {unit}" if unit else ""
        return [(str(name), fmt(v, digits, floor=floor, rtol=rtol) + after) for name, v in pairs]

    def satisfied(value) -> bool:
        answer = holds(value)
        if getattr(answer, "shape", ()) != () or not isinstance(bool(answer), bool):
            raise ValueError(f"holds must return one bool, got {answer!r}")
        return bool(answer)

    def again():
        return _measure("control", control)

    value = _measure("measured", measured)
    if not satisfied(value):
        raise ClaimError(
            f"{paper}: the claim does not hold: {statement} "
            f"({labels[0]}: {_plain(value)}; control, {labels[1]}, not run)"
        )
    broken = again()
    if satisfied(broken):
        raise ClaimError(
            f"{paper}: the control satisfies the claim too, so the check cannot fail: {statement} "
            f"({labels[0]}: {_plain(value)}; control, {labels[1]}: {_plain(broken)})"
        )
    made = Claim(paper, statement, value, broken, labels, satisfied, again, show)
    # Prints every number once now, so that a doubtful digit fails here while saving.
    if parse(made.text()) is None:
        raise ValueError(f"labels and names of values must not hold '·' or line breaks: {made}")
    _MADE[paper, statement] = made
    return made


_MADE: dict[tuple[str, str], Claim] = {}


def made() -> list[Claim]:
    """Claims measured in this process, in order; one measured again counts once."""
    return list(_MADE.values())


@dataclass(frozen=True)
class Record:
    """A claim as a saved notebook tells it."""

    slug: str
    statement: str
    measured_label: str
    measured: str
    control_label: str
    control: str
    cell: int


def parse(line: str) -> Record | None:
    """The claim in one line of text, or None if it holds none."""
    found = _LINE.fullmatch(line.strip())
    return Record(**found.groupdict(), cell=-1) if found else None


def from_notebook(path: str | Path) -> list[Record]:
    """Claims that an executed notebook shows, in order, each with the index of its cell.

    Raises
    ------
    ValueError if the file is missing or is no notebook.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"path must be a Jupyter notebook, {path} is not: {error}") from error
    return from_cells(cells)


def from_cells(cells: list[dict]) -> list[Record]:
    """As :func:`from_notebook`, for the cells of a notebook that was read already."""
    records = []
    for index, cell in enumerate(cells):
        for output in cell.get("outputs", ()):
            text = output.get("data", {}).get("text/plain", "")
            record = parse("".join(text))
            if record:
                records.append(Record(**{**vars(record), "cell": index}))
    return records


def _measure(name: str, function: Callable):
    value = function()
    parts = value.values() if isinstance(value, Mapping) else [value]
    if isinstance(value, Mapping) and not value:
        raise ValueError(f"{name} must return at least one number, got an empty dict")
    for part in parts:
        part = part.item() if getattr(part, "shape", None) == () else part
        if not isinstance(part, numbers.Real):
            raise ValueError(
                f"{name} must return a number or a dict of numbers, got {type(part).__name__}"
            )
        if math.isnan(part):
            raise ClaimError(f"{name} gave NaN, which decides nothing: {_plain(value)}")
    return value


def _joined(shown: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {text}" if name else text for name, text in shown)


def _plain(value) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {float(part):.6g}" for name, part in value.items())
    return f"{float(value):.6g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
