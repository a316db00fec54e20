"""The way in: find a paper, see what is near it, choose a path, see how far you are.

Four displays for the start page: :class:`Atlas`, :class:`Contents`, :class:`Paths` and
:class:`Progress`. What works is read from the saved notebooks when a display is made. Their text
forms, which nbval compares, hold only what does not change when a lab lands or a reader works.
"""

import ast
import functools
import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from kernellab import paths
from kernellab.lab import cards, catalogue

STATUSES = ("works", "in progress", "planned")

_STATIC = Path(__file__).parent / "static"
_ANCHORED = re.compile(r'^#{1,6} .*<a id="([^"]+)">', re.MULTILINE)
_PREDICTION = re.compile(r"^predict · (.+?) · ", re.MULTILINE)
_SHOWS_SAVED_PICTURE = "application/vnd.plotly.v1+json"

# Okabe and Ito's colours, darkened where they would be too pale on white. With three shapes each
# of the 23 parts has its own pair.
_COLORS = ("#0072B2", "#C24E00", "#007E5C", "#B0568A", "#A87200", "#2F8FC4", "#3B4046", "#7A5BB5")
_SHAPES = ("circle", "square", "diamond")


def search(words: str = "", part: str | None = None, status: str | None = None) -> list:
    """Papers that hold every word, in one part and of one status; best matches first.

    Parameters
    ----------
    words : as in :func:`kernellab.lab.catalogue.find`; without words, all in teaching order.
    part : a part's name, or None for all.
    status : "works", "in progress" or "planned", or None for all.

    Returns
    -------
    list of catalogue.Paper

    Raises
    ------
    ValueError if part or status is unknown. Cost O(number of papers).

    >>> [paper.slug for paper in search("zhai", part="ridge_regression")]
    ['spectrally-transformed-kernel-regression']
    """
    if not isinstance(words, str):
        raise ValueError(f"words must be a string, got {words!r}")
    names = [entry.name for entry in catalogue.parts()]
    if part is not None and part not in names:
        raise ValueError(f"part must be one of {', '.join(names)}, got {part!r}")
    if status is not None and status not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {status!r}")
    found = catalogue.find(words) if words.split() else catalogue.papers()
    return [p for p in found if part in (None, p.part) and status in (None, p.status)]


def lab_link(lab: catalogue.Lab) -> str | None:
    """The lab's notebook as seen from the start page, or None while there is none."""
    if not lab.notebook.is_file():
        return None
    return lab.notebook.relative_to(paths.NOTEBOOKS).as_posix()


def paper_link(paper: catalogue.Paper) -> str | None:
    """The paper's section in its lab, or the lab if it has no section yet; None without a lab.

    JupyterLab goes to a cell by its id, which a saved notebook keeps.
    """
    lab = catalogue.lab(paper.lab)
    link = lab_link(lab)
    if link is None:
        return None
    cell = _sections(lab.notebook, lab.notebook.stat().st_mtime_ns).get(paper.slug)
    return f"{link}#cell-id={cell}" if cell else link


@functools.lru_cache(maxsize=512)
def _sections(notebook: Path, changed: int) -> dict[str, str]:
    """The id of the cell in which each paper's section begins, by slug."""
    return {
        slug: cell["id"]
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "markdown" and "id" in cell
        for slug in _ANCHORED.findall("".join(cell["source"]))
    }


# Suggested paths


@dataclass(frozen=True)
class Stop:
    """One lab on a path, and what to do there."""

    lab: catalogue.Lab
    when: str
    why: str


@dataclass(frozen=True)
class Route:
    """A way through the course for one kind of reader."""

    title: str
    about: str
    stops: tuple[Stop, ...]

    @property
    def ready(self) -> int:
        """How many of its labs work today."""
        return sum(stop.lab.status == "works" for stop in self.stops)


def suggested_paths() -> list[Route]:
    """The paths in ``data/paths.toml``.

    Raises
    ------
    ValueError, naming the entry, if a stop names no lab of the catalogue or lacks something.
    """
    file = paths.DATA / "paths.toml"
    made = []
    for entry in tomllib.loads(file.read_text(encoding="utf-8"))["path"]:
        stops = []
        for stop in entry["stop"]:
            try:
                stops.append(Stop(catalogue.lab(stop["lab"]), stop["when"], stop["why"]))
            except (KeyError, ValueError) as error:
                raise ValueError(f"{file.name}, path {entry['title']!r}: {error}") from None
        made.append(Route(entry["title"], entry["about"], tuple(stops)))
    return made


# A reader's progress


@dataclass(frozen=True)
class LabProgress:
    """What a reader did in one notebook: exercises passed of all, predictions guessed of all."""

    lab: str
    passed: int
    exercises: int
    guessed: int
    predictions: int


def lab_progress() -> list[LabProgress]:
    """One row a notebook that exists, the start page first.

    Cost: reads notebooks and exercises as text, and the progress file once.
    """
    from kernellab.lab import progress

    passed = {row.exercise for row in progress.summary() if row.passed}
    guessed = {guess.question for guess in progress.guesses()}
    start = paths.ROOT / "kernellab" / "exercises" / "start_here.py"
    places = [("start_here", paths.NOTEBOOKS / "00_start_here.ipynb", start)]
    places += [(lab.name, lab.notebook, lab.exercises) for lab in catalogue.labs()]
    rows = []
    for name, notebook, module in places:
        if not notebook.is_file():
            continue
        ids = _exercise_ids(module)
        questions = _questions(notebook)
        done = len(ids & passed), len(ids), len(questions & guessed), len(questions)
        rows.append(LabProgress(name, *done))
    return rows


def _exercise_ids(module: Path) -> set[str]:
    """Ids of the exercises that a module makes, read without importing it."""
    if not module.is_file():
        return set()
    calls = [
        node
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Exercise"
    ]
    given = [c.args[0] if c.args else _keyword(c, "id") for c in calls]
    return {node.value for node in given if isinstance(node, ast.Constant)}


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _questions(notebook: Path) -> set[str]:
    """Questions of the predictions that a saved notebook shows."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [
        "".join(output.get("data", {}).get("text/plain", ""))
        for cell in cells
        for output in cell.get("outputs", ())
    ]
    return {question for text in texts for question in _PREDICTION.findall(text)}


# What the page gets: plain lists, drawn by static/atlas.js


def _part_rows() -> list[dict]:
    return [
        {
            "name": part.name,
            "order": part.order,
            "label": _label(part.name),
            "title": part.title,
            "color": _COLORS[i % len(_COLORS)],
            "shape": _SHAPES[i // len(_COLORS)],
        }
        for i, part in enumerate(catalogue.parts())
    ]


def _label(name: str) -> str:
    """A part's name as the map shows it.

    >>> _label("gp_at_work")
    'GPs at work'
    """
    proper = {"gp": "GPs", "gaussian": "Gaussian", "markov": "Markov"}
    return " ".join(proper.get(word, word) for word in name.split("_"))


def _lab_rows() -> list[dict]:
    papers: dict[str, int] = {}
    for paper in catalogue.papers():
        papers[paper.lab] = papers.get(paper.lab, 0) + 1
    return [
        {
            "name": lab.name,
            "part": lab.part,
            "number": f"{lab.part_folder[:2]}.{lab.order}",
            "title": lab.title,
            "minutes": lab.minutes,
            "papers": papers[lab.name],
            "status": lab.status,
            "href": lab_link(lab),
        }
        for lab in catalogue.labs()
    ]


def _paper_rows() -> list[dict]:
    from kernellab.lab import paper_map

    return [
        {
            "slug": paper.slug,
            "title": paper.title,
            "authors": paper.authors,
            "year": paper.year,
            "arxiv": paper.arxiv,
            "link": paper.link,
            "summary": paper.summary,
            "part": paper.part,
            "lab": paper.lab,
            "status": paper.status,
            "href": paper_link(paper),
            "x": round(float(x), 4),
            "y": round(float(y), 4),
        }
        for paper, (x, y) in zip(catalogue.papers(), paper_map.positions(), strict=True)
    ]


@functools.cache
def _view_class():
    import anywidget
    import traitlets

    class View(anywidget.AnyWidget):
        """One display of the start page; ``content`` says which, and holds what it shows."""

        _esm = (_STATIC / "atlas.js").read_text(encoding="utf-8")
        _css = (_STATIC / "atlas.css").read_text(encoding="utf-8")
        content = traitlets.Dict().tag(sync=True)

    return View


class _Display:
    """Something of the start page: one widget, and a text form that stays the same."""

    _widget = None

    def text(self) -> str:
        raise NotImplementedError

    def content(self) -> dict:
        """What the browser draws."""
        raise NotImplementedError

    def widget(self):
        """The widget, made once."""
        if self._widget is None:
            self._widget = _view_class()(content=self.content())
            self._widget.on_msg(self._on_message)
        return self._widget

    def _on_message(self, _widget, message, _buffers) -> None:
        if isinstance(message, dict) and message.get("kind") == "refresh":
            self._widget.content = self.content()

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, include=None, exclude=None):
        view = {"version_major": 2, "version_minor": 0, "model_id": self.widget().model_id}
        return {"text/plain": self.text(), cards.WIDGET_MIME: view}


class Atlas(_Display):
    """All papers: search, filters, a list, and a map on which near means similar words."""

    def text(self) -> str:
        from kernellab.lab import paper_map

        groups = [paper.part for paper in catalogue.papers()]
        share = paper_map.neighbour_agreement(paper_map.positions(), groups)
        chance = sum((groups.count(name) / len(groups)) ** 2 for name in set(groups))
        told = "more than five times" if share > 5 * chance else "less than five times"
        return (
            f"atlas · {len(groups)} papers in {len(catalogue.parts())} parts and "
            f"{len(catalogue.labs())} labs\n"
            f"map · {len(groups)} points; a paper's nearest neighbours are of its own part {told} "
            "as often as chance would have it"
        )

    def content(self) -> dict:
        return {
            "view": "atlas",
            "parts": _part_rows(),
            "labs": _lab_rows(),
            "papers": _paper_rows(),
        }

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = super()._repr_mimebundle_(include, exclude)
        if os.environ.get("KERNELLAB_SAVING") == "1":
            bundle[_SHOWS_SAVED_PICTURE] = map_figure()
        return bundle


class Contents(_Display):
    """All parts with their labs: what works, what is being built, what is planned."""

    def text(self) -> str:
        lines = []
        for part in catalogue.parts():
            labs = part.labs
            papers = sum(len(lab.papers) for lab in labs)
            count = f"{len(labs)} lab{'s' if len(labs) > 1 else ''}"
            lines.append(f"{part.order:02d} {part.title}: {count}, {papers} papers")
        return "\n".join(lines)

    def content(self) -> dict:
        about = {part.name: part.about for part in catalogue.parts()}
        rows = [row | {"about": about[row["name"]]} for row in _part_rows()]
        return {"view": "contents", "parts": rows, "labs": _lab_rows()}


class Paths(_Display):
    """Three ways through the course."""

    def text(self) -> str:
        return "\n".join(
            f"{path.title}: " + ", ".join(stop.lab.name for stop in path.stops)
            for path in suggested_paths()
        )

    def content(self) -> dict:
        rows = {row["name"]: row for row in _lab_rows()}
        return {
            "view": "paths",
            "paths": [
                {
                    "title": path.title,
                    "about": path.about,
                    "ready": path.ready,
                    "stops": [
                        rows[stop.lab.name] | {"when": stop.when, "why": stop.why}
                        for stop in path.stops
                    ],
                }
                for path in suggested_paths()
            ],
        }


class Progress(_Display):
    """Exercises passed and predictions guessed, notebook by notebook, with a refresh."""

    def text(self) -> str:
        return "your progress · exercises passed and guesses made, one row a notebook"

    def content(self) -> dict:
        from kernellab.lab import progress

        titles = {lab.name: lab.title for lab in catalogue.labs()}
        links = {lab.name: lab_link(lab) for lab in catalogue.labs()}
        rows = [
            vars(row) | {"title": titles.get(row.lab, "Start here"), "href": links.get(row.lab)}
            for row in lab_progress()
        ]
        return {"view": "progress", "rows": rows, "problem": progress.problem()}


def map_figure() -> dict:
    """The map as plotly's JSON, for the picture that a saved notebook keeps."""
    papers = _paper_rows()
    traces = []
    for part in _part_rows():
        mine = [paper for paper in papers if paper["part"] == part["name"]]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{part['order']:02d} {part['label']}",
                "x": [paper["x"] for paper in mine],
                "y": [paper["y"] for paper in mine],
                "marker": {"color": part["color"], "symbol": part["shape"], "size": 8},
            }
        )
    hidden = {"visible": False, "range": [-0.03, 1.03]}
    layout = {
        "width": 1000,
        "height": 560,
        "margin": {"l": 10, "r": 10, "t": 44, "b": 10},
        "plot_bgcolor": "white",
        "title": {"text": "The papers: near means similar words", "x": 0.02},
        "xaxis": hidden,
        "yaxis": hidden,
        "font": {"size": 14, "color": "#1b1f24"},
        "legend": {"font": {"size": 12}, "tracegroupgap": 0},
    }
    return {"data": traces, "layout": layout}
