"""The course's papers, labs and parts, and what of them works today.

What is known about a paper before its lab exists stands in ``data/papers/<part>.toml``. What its
lab *shows* is read from the lab itself: status and claim from the saved notebook, functions from
the module. So the catalogue cannot promise what is not there.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import tomllib
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from kernellab import paths
from kernellab.lab import claims

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ARXIV = re.compile(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}")
_HEADING = re.compile(r"^(#{1,6})\s+(.*)$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([^"]+)">\s*</a>')

_PART = {"order": int, "title": str, "about": str, "lab": list, "paper": list}
_LAB = {"name": str, "order": int, "title": str, "minutes": int}
_PAPER = {"slug": str, "lab": str, "title": str, "summary": str}
_PAPER_IF_KNOWN = {"authors": str, "year": int, "arxiv": str, "arxiv_verified": bool}


@dataclass(frozen=True)
class Part:
    """A part of the course: one folder of labs."""

    name: str
    order: int
    title: str
    about: str

    @property
    def folder(self) -> str:
        """Its folder's name among the notebooks, such as ``01_ridge_regression``."""
        return f"{self.order:02d}_{self.name}"

    @property
    def labs(self) -> list[Lab]:
        """Its labs, in teaching order."""
        return [lab for lab in labs() if lab.part == self.name]


@dataclass(frozen=True)
class Lab:
    """A notebook with its module and tests, around one question."""

    name: str
    part: str
    order: int
    title: str
    minutes: int
    part_folder: str

    @property
    def notebook(self) -> Path:
        """Where its notebook is, or will be."""
        return paths.NOTEBOOKS / self.part_folder / f"{self.order:02d}_{self.name}.ipynb"

    @property
    def module(self) -> Path:
        """Where its methods are, or will be."""
        return paths.ROOT / "kernellab" / "methods" / self.part / f"{self.name}.py"

    @property
    def exercises(self) -> Path:
        """Where its exercises are, or will be."""
        return paths.ROOT / "kernellab" / "exercises" / self.part / f"{self.name}.py"

    @property
    def tests(self) -> Path:
        """Where the tests of its methods are, or will be."""
        return paths.TESTS / "methods" / self.part / f"test_{self.name}.py"

    @property
    def papers(self) -> list[Paper]:
        """Its papers, in teaching order."""
        return [paper for paper in papers() if paper.lab == self.name]

    @property
    def status(self) -> str:
        """``works`` when all its papers do, ``in progress`` with a notebook, else ``planned``."""
        if not self.notebook.is_file():
            return "planned"
        return "works" if all(p.status == "works" for p in self.papers) else "in progress"


@dataclass(frozen=True)
class Paper:
    """A paper; ``authors`` is empty, ``year`` and ``arxiv`` are None where they are not known."""

    slug: str
    title: str
    part: str
    lab: str
    authors: str
    year: int | None
    arxiv: str | None
    arxiv_verified: bool
    summary: str
    _lab: Lab = field(repr=False, compare=False)

    @property
    def link(self) -> str | None:
        """Its page on arXiv, if the id was seen beside the title; else None."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv and self.arxiv_verified else None

    @property
    def functions(self) -> list[str]:
        """Public functions and classes of the lab's module whose docstring names the paper."""
        marks = [self.slug, self.arxiv] if self.arxiv else [self.slug]
        docs = _docstrings(self._lab.module, _changed(self._lab.module))
        return [name for name, doc in docs if any(_names(doc, mark) for mark in marks)]

    @property
    def claim(self) -> claims.Record | None:
        """The claim that the saved notebook shows for this paper, or None."""
        found = _shown(self._lab.notebook, _changed(self._lab.notebook))
        return found.claims.get(self.slug) if found else None

    @property
    def missing(self) -> list[str]:
        """What the lab's saved notebook still lacks for this paper."""
        found = _shown(self._lab.notebook, _changed(self._lab.notebook))
        if found is None:
            return ["a notebook"]
        lacks = []
        if self.slug not in found.sections:
            lacks.append(f'a section headed <a id="{self.slug}"></a>')
        if self.slug not in found.explorers:
            lacks.append("an explorer in its section, or one that lists it among its papers")
        if self.slug not in found.claims:
            lacks.append("a claim that holds, with a control that fails")
        if found.errors:
            lacks.append("a run without errors")
        return lacks

    @property
    def status(self) -> str:
        """``works``, ``in progress`` (see ``missing``) or ``planned``."""
        lacks = self.missing
        if lacks == ["a notebook"]:
            return "planned"
        return "in progress" if lacks else "works"


def parts() -> list[Part]:
    """All parts, in teaching order."""
    return list(_catalogue(_folder())[0])


def labs() -> list[Lab]:
    """All labs, in teaching order."""
    return list(_catalogue(_folder())[1])


def papers() -> list[Paper]:
    """All papers, in teaching order.

    Raises
    ------
    ValueError, naming file and entry, if the catalogue's files contradict themselves.
    """
    return list(_catalogue(_folder())[2])


def paper(slug: str) -> Paper:
    """The paper with this slug.

    Raises
    ------
    ValueError if there is none; the nearest slugs are named.
    """
    by_slug = {p.slug: p for p in papers()}
    if slug not in by_slug:
        raise ValueError(f"slug must be in the catalogue, got {slug!r}{_nearest(slug, by_slug)}")
    return by_slug[slug]


def lab(name: str) -> Lab:
    """The lab with this name.

    Raises
    ------
    ValueError if there is none; the nearest names are named.
    """
    by_name = {entry.name: entry for entry in labs()}
    if name not in by_name:
        raise ValueError(f"name must be that of a lab, got {name!r}{_nearest(name, by_name)}")
    return by_name[name]


def find(words: str) -> list[Paper]:
    """Papers in which every word occurs, those with the words in title or authors first.

    Words match parts of words, without regard to case or accents, in a paper's slug, title,
    authors, year, arXiv id and summary, and in the titles of its lab and part.

    Raises
    ------
    ValueError if there is no word.

    Cost O(number of papers).
    """
    if not isinstance(words, str) or not words.split():
        raise ValueError(f"words must hold at least one word, got {words!r}")
    wanted = _folded(words).split()
    part_titles = {part.name: part.title for part in parts()}
    found = []
    for order, entry in enumerate(papers()):
        near = _folded(f"{entry.title} {entry.authors} {entry.slug} {entry.year} {entry.arxiv}")
        far = _folded(
            f"{entry.summary} {entry.lab} {entry._lab.title} {entry.part} {part_titles[entry.part]}"
        )
        if all(word in near or word in far for word in wanted):
            found.append((-sum(word in near for word in wanted), order, entry))
    return [entry for _score, _order, entry in sorted(found, key=lambda item: item[:2])]


def _folder() -> Path:
    return paths.DATA / "papers"


@functools.cache
def _catalogue(folder: Path) -> tuple[tuple[Part, ...], tuple[Lab, ...], tuple[Paper, ...]]:
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise ValueError(f"the catalogue's folder {folder} holds no .toml file")
    every_part, every_lab, every_paper, problems = [], [], [], []
    for file in files:
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file.name} cannot be read: {error}") from error
        wrong = _wrong_in(content)
        problems += [f"{file.name}: {problem}" for problem in wrong]
        if not wrong:
            part, its_labs, its_papers = _entries(file.stem, content)
            every_part.append(part)
            every_lab += its_labs
            every_paper += its_papers
    for what, names in (
        ("part order", [part.order for part in every_part]),
        ("lab", [entry.name for entry in every_lab]),
        ("paper", [entry.slug for entry in every_paper]),
    ):
        problems += [f"{what} {name!r} occurs twice" for name in _twice(names)]
    if problems:
        raise ValueError("the catalogue contradicts itself:\n" + "\n".join(problems))
    order = {part.name: part.order for part in every_part}
    every_part.sort(key=lambda part: part.order)
    every_lab.sort(key=lambda entry: (order[entry.part], entry.order))
    lab_order = {entry.name: index for index, entry in enumerate(every_lab)}
    every_paper.sort(key=lambda entry: lab_order[entry.lab])  # stable: a file's order stays
    return tuple(every_part), tuple(every_lab), tuple(every_paper)


def _entries(name: str, content: dict) -> tuple[Part, list[Lab], list[Paper]]:
    part = Part(name, content["order"], content["title"], content["about"])
    its_labs = [Lab(**entry, part=name, part_folder=part.folder) for entry in content["lab"]]
    by_name = {entry.name: entry for entry in its_labs}
    unknown = {"authors": "", "year": None, "arxiv": None, "arxiv_verified": False}
    its_papers = [
        Paper(**(unknown | entry), part=name, _lab=by_name[entry["lab"]])
        for entry in content["paper"]
    ]
    return part, its_labs, its_papers


def _wrong_in(content: dict) -> list[str]:
    """What is wrong in one part's file, in words."""
    problems = _wrong_keys("the part", content, _PART, {})
    if problems:
        return problems
    names = []
    for entry in content["lab"]:
        name = entry.get("name", "without a name")
        names.append(name)
        problems += _wrong_keys(f"lab {name}", entry, _LAB, {})
        if not _NAME.fullmatch(str(name)):
            problems.append(f"lab name {name!r} is no lower-case Python name")
    problems += [f"lab order {order} occurs twice" for order in _twice([
        entry.get("order") for entry in content["lab"]
    ])]  # fmt: skip
    for entry in content["paper"]:
        slug = entry.get("slug", "without a slug")
        problems += _wrong_keys(f"paper {slug}", entry, _PAPER, _PAPER_IF_KNOWN)
        if not _SLUG.fullmatch(str(slug)):
            problems.append(f"paper {slug!r}: a slug is lower-case words joined by '-'")
        if entry.get("lab") not in names:
            problems.append(f"paper {slug}: lab {entry.get('lab')!r} is not among {names}")
        if "arxiv" in entry and not _ARXIV.fullmatch(str(entry["arxiv"])):
            problems.append(f"paper {slug}: {entry['arxiv']!r} is no arXiv id")
        if not 1900 <= entry.get("year", 2000) <= 2100:
            problems.append(f"paper {slug}: {entry['year']} is no year")
    used = {entry.get("lab") for entry in content["paper"]}
    problems += [f"lab {name} has no paper" for name in names if name not in used]
    return problems


def _wrong_keys(where: str, entry: dict, must: dict, may: dict) -> list[str]:
    problems = [f"{where} lacks {key!r}" for key in must if key not in entry]
    for key, value in entry.items():
        kind = must.get(key) or may.get(key)
        if kind is None:
            problems.append(f"{where}: key {key!r} is not known")
        elif type(value) is not kind or value == "":
            problems.append(f"{where}: {key} must be a {kind.__name__}, got {value!r:.60}")
    return problems


def _twice(names: list) -> list:
    return sorted({name for name in names if names.count(name) > 1}, key=str)


def _nearest(name: str, names) -> str:
    import difflib

    near = difflib.get_close_matches(str(name), list(names), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _folded(text: str) -> str:
    """Lower case without accents."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold()


# What a lab shows, read from its files and kept until they change.


@dataclass(frozen=True)
class _Shown:
    """What a saved notebook holds, slug by slug."""

    sections: frozenset[str]
    explorers: frozenset[str]
    claims: dict[str, claims.Record]
    errors: bool


def _changed(file: Path) -> int | None:
    """The file's time of change, which the caches below are keyed by; None without a file."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


@functools.lru_cache(maxsize=512)
def _shown(notebook: Path, changed: int | None) -> _Shown | None:
    if changed is None:
        return None
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{notebook.name} is no Jupyter notebook: {error}") from error
    sections, explorers = set(), set()
    here: set[str] = set()  # slugs whose section a cell belongs to
    level = 0
    for cell in cells:
        if cell.get("cell_type") == "markdown":
            for heading in _HEADING.finditer("".join(cell.get("source", ""))):
                anchors = set(_ANCHOR.findall(heading[2]))
                if anchors:
                    here, level = anchors, len(heading[1])
                    sections |= anchors
                elif len(heading[1]) <= level:  # a deeper heading stays within the section
                    here, level = set(), 0
            continue
        for text in _texts(cell):
            listed = _papers_of_explorer(text)
            if listed is not None:
                explorers |= listed | here
    records = {record.slug: record for record in claims.from_cells(cells)}
    errors = any(
        output.get("output_type") == "error" for c in cells for output in c.get("outputs", ())
    )
    return _Shown(frozenset(sections), frozenset(explorers), records, errors)


def _texts(cell: dict) -> list[str]:
    return ["".join(o.get("data", {}).get("text/plain", "")) for o in cell.get("outputs", ())]


def _papers_of_explorer(text: str) -> set[str] | None:
    """Slugs that an explorer's text form lists; None if the text is not an explorer's.

    Its head is the title with the explorer's name, then "papers: ..." if it has any, then
    "controls: ..."; see :class:`kernellab.lab.explorer.Explorer`.
    """
    head = text.splitlines()[:3]
    if not any(line.startswith("controls: ") for line in head[1:]):
        return None
    listed = [line.removeprefix("papers: ") for line in head if line.startswith("papers: ")]
    return {slug.strip() for line in listed for slug in line.split(",")}


@functools.lru_cache(maxsize=512)
def _docstrings(module: Path, changed: int | None) -> tuple[tuple[str, str], ...]:
    """(name, docstring) of a module's public functions and classes, without importing it."""
    if changed is None:
        return ()
    try:
        tree = ast.parse(module.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{module.name} cannot be read as Python: {error}") from error
    return tuple(
        (node.name, ast.get_docstring(node) or "")
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    )


def _names(docstring: str, mark: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(mark)}(?![\w-])", docstring) is not None
