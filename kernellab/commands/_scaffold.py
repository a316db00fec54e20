"""The files a new lab starts from. Each place to fill in says ``FILL IN``: `check` looks for it."""

from pathlib import Path

from kernellab import paths

_MODULE = '''"""FILL IN: one sentence on what the methods of this lab share, and how.

The sections:

{sections}
"""
'''

_EXERCISES = '''"""Exercises of the lab {lab}.

FILL IN: at least three `Exercise(...)`, from "complete one line" to "invent the experiment", each
with its check, its solution and at least two typical wrong answers; then list them below.
"""

EXERCISES = ()
'''

_METHOD_TESTS = '''"""FILL IN: hold the methods of {lab} to closed forms, brute force or peers.

Each compiled function agrees with its plain reference in tests/naive/; each public function refuses
bad input with a clear ValueError; the independent check of each paper is here.
"""
'''

_EXERCISE_TESTS = '''\
"""The solutions pass, and every typical wrong answer hears its own sentence."""

import pytest

from kernellab.exercises.{part}.{lab} import EXERCISES
from kernellab.lab.exercises import verify


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)
'''

_PACKAGE = '"""{title}: one module a lab."""\n'


def _markdown(id: str, slide: str, source: str) -> dict:
    metadata = {"slideshow": {"slide_type": slide}}
    return {"cell_type": "markdown", "id": id[:64], "metadata": metadata, "source": source}


def _code(id: str, slide: str, source: str) -> dict:
    cell = _markdown(id, slide, source)
    return {**cell, "cell_type": "code", "execution_count": None, "outputs": []}


def _paper_line(paper) -> str:
    name = f"[{paper.title}]({paper.link})" if paper.link else paper.title
    return f"| {name} | {paper.authors} | {paper.year or ''} |"


def _title(lab) -> dict:
    source = "\n".join(
        [
            f"# {lab.title}",
            "",
            "| paper | authors | year |",
            "| --- | --- | --- |",
            *map(_paper_line, lab.papers),
            "",
            f"About {lab.minutes} minutes. FILL IN: which labs to know first.",
            "FILL IN: what you will be able to do afterwards.",
        ]
    )
    return _markdown("title", "slide", source)


def _section(paper) -> list[dict]:
    """The cells of one paper: idea and formula, code, explorer, claim."""
    slug = paper.slug
    idea = (
        f'## FILL IN: short name <a id="{slug}"></a>\n\n{paper.authors}, {paper.title}.\n\n'
        "FILL IN: the idea in plain words, then the formula with every symbol named."
    )
    explorer = (
        f"# FILL IN: a small explorer of this paper's mechanism, or delete this cell\n"
        f'# where the main explorer shows it. Either way list papers=["{slug}"] there.'
    )
    claim = (
        f'# FILL IN: claim("{slug}", "one sentence", measured=..., holds=...,\n'
        "#     control=..., control_label=...)"
    )
    return [
        _markdown(slug, "slide", idea),
        _code(f"{slug}-code", "skip", "# FILL IN: show_source(function)"),
        _code(f"{slug}-explorer", "subslide", explorer),
        _markdown(f"{slug}-notice", "fragment", "FILL IN: what to notice."),
        _code(f"{slug}-claim", "fragment", claim),
    ]


def notebook(lab) -> dict:
    """The notebook of a new lab: every section a lab needs, one section a paper."""
    paper_names = ", ".join(f'"{paper.slug}"' for paper in lab.papers)
    cells = [
        _title(lab),
        _code("set-up", "skip", "# FILL IN: imports, and nothing else"),
        _markdown(
            "problem",
            "slide",
            "## The problem\n\nFILL IN: a concrete problem and its data in a picture, before any "
            "formula; the baseline everyone would try, and where it falls short.",
        ),
        _code("problem-data", "fragment", "# FILL IN: the data and the baseline, in a picture"),
        _markdown("main", "slide", "## All at once\n\nFILL IN: what the explorer compares."),
        _code(
            "main-explorer",
            "fragment",
            f"# FILL IN: the main explorer, with at least three scenes\n# papers=[{paper_names}]",
        ),
        _markdown("guess", "slide", "## Your guess\n\nFILL IN: what the reader is asked, and why."),
        _code("prediction", "fragment", "# FILL IN: predict(question, answer=..., options=[...])"),
        *(cell for paper in lab.papers for cell in _section(paper)),
        _markdown("side-by-side", "slide", "## Side by side\n\nFILL IN: the same work for all."),
        _code("table", "fragment", "# FILL IN: one table: quality, cost, growth"),
        _markdown(
            "where-it-breaks",
            "slide",
            "## Where it breaks\n\nFILL IN: the setting in which the method fails or the baseline "
            "wins, shown; and what the lab scales down from the papers.",
        ),
        _code("breaking", "fragment", "# FILL IN: show it fail"),
        _markdown("take-it-home", "slide", "## Take it home\n\nFILL IN: what to check first."),
        _code("own-data", "fragment", "# FILL IN: three or four lines on the reader's own data"),
        _markdown("exercises", "slide", "## Exercises\n\nFILL IN: how the three build up."),
        *(
            _code(f"exercise-{number}", "fragment", f"# FILL IN: exercise {number}")
            for number in (1, 2, 3)
        ),
        _markdown(
            "next", "slide", "## Next\n\nFILL IN: two or three labs that follow; references."
        ),
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def files(lab, part) -> dict[Path, str]:
    """The text files of a new lab, by path; the notebook is apart."""
    names = {"lab": lab.name, "part": lab.part}
    sections = "\n".join(f"{number}. {p.slug}" for number, p in enumerate(lab.papers, start=1))
    return {
        lab.module: _MODULE.format(sections=sections),
        lab.exercises: _EXERCISES.format(**names),
        lab.tests: _METHOD_TESTS.format(**names),
        paths.TESTS / "exercises" / lab.part / f"test_{lab.name}.py": _EXERCISE_TESTS.format(
            **names
        ),
    }


def packages(lab, part) -> dict[Path, str]:
    """The ``__init__.py`` of the part, where it is missing."""
    text = _PACKAGE.format(title=part.title)
    paths = [lab.module.with_name("__init__.py"), lab.exercises.with_name("__init__.py")]
    return {path: text for path in paths if not path.exists()}
