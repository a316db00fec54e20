"""The catalogue's files are sound, and its status is what the saved notebooks show."""

import json
import os
import time

import pytest

from kernellab import paths
from kernellab.lab import Explorer, Panel, Scene, catalogue, slider
from kernellab.lab.claims import claim


def test_the_course_is_complete():
    parts, labs, papers = catalogue.parts(), catalogue.labs(), catalogue.papers()
    assert (len(parts), len(labs), len(papers)) == (23, 111, 470)
    assert [part.order for part in parts] == list(range(1, 24))
    assert parts[0].folder == "01_ridge_regression"
    assert sum(len(lab.papers) for lab in labs) == 470
    assert sum(len(part.labs) for part in parts) == 111
    assert labs[0].notebook == (paths.NOTEBOOKS / "01_ridge_regression" / "01_ridge_filters.ipynb")
    for paper in papers:
        assert paper.summary[0].isupper() or not paper.summary[0].isalpha(), paper.slug
        assert paper.summary.endswith((".", "?")), paper.slug
        assert len(paper.summary) < 320, paper.slug
    for lab in labs:
        assert lab.title.endswith("?") or lab.title[0].isupper(), lab.name
        assert 20 <= lab.minutes <= 120, lab.name


def test_only_verified_ids_are_linked():
    for paper in catalogue.papers():
        assert (paper.link is not None) == (paper.arxiv_verified and paper.arxiv is not None)
    assert catalogue.paper("spectrally-transformed-kernel-regression").link == (
        "https://arxiv.org/abs/2402.00645"
    )


def test_every_status_is_derivable():
    for paper in catalogue.papers():
        assert paper.status in ("works", "in progress", "planned")
        assert (paper.status == "works") == (not paper.missing)


def test_find():
    (only,) = catalogue.find("spectrally TRANSFORMED")
    assert only.slug == "spectrally-transformed-kernel-regression"
    assert only in catalogue.find("zhai 2024")
    assert only in catalogue.find("2402.00645")
    assert catalogue.find("no such words anywhere") == []
    first = catalogue.find("distillation")[0]
    assert "distillation" in first.title.lower()
    assert len(catalogue.find("ridge")) >= 20


@pytest.mark.parametrize("words", ["", "  ", None, 3])
def test_find_needs_words(words):
    with pytest.raises(ValueError, match="words"):
        catalogue.find(words)


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="did you mean.*flat-minima-in-linear-estimation"):
        catalogue.paper("flat-minima-linear-estimation")
    with pytest.raises(ValueError, match="did you mean ridge_filters"):
        catalogue.lab("ridge_filter")
    assert catalogue.lab("ridge_filters").minutes == 60


PART = """
order = 1
title = "One part"
about = "After this part you can count."

[[lab]]
name = "counting"
order = 1
title = "How many?"
minutes = 30

[[paper]]
slug = "one-paper"
lab = "counting"
title = "One paper"
year = 2020
arxiv = "2001.00001"
arxiv_verified = true
summary = "It counts."

[[paper]]
slug = "two-paper"
lab = "counting"
title = "Another paper"
summary = "It counts again."
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    for name in ("DATA", "NOTEBOOKS", "TESTS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "data" / "papers").mkdir(parents=True)
    (tmp_path / "data" / "papers" / "counts.toml").write_text(PART)
    return tmp_path


def rewrite(course, *replacements):
    text = PART
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    (course / "data" / "papers" / "counts.toml").write_text(text)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("order = 1", "order = '1'", "order must be a int"),
        ('about = "After', 'abuot = "After', "key 'abuot' is not known"),
        ("minutes = 30", "", "lab counting lacks 'minutes'"),
        ('name = "counting"', 'name = "Counting-lab"', "no lower-case Python name"),
        ('lab = "counting"', 'lab = "other"', r"lab 'other' is not among \['counting'\]"),
        ('"one-paper"', '"One Paper"', "a slug is lower-case words"),
        ('"one-paper"', '"two-paper"', "paper 'two-paper' occurs twice"),
        ("2001.00001", "20.1", "no arXiv id"),
        ("year = 2020", "year = 20", "20 is no year"),
        ('"It counts."', '""', "summary must be a str"),
        ("title =", "title", "cannot be read"),
    ],
)
def test_contradictions_are_named(course, old, new, complaint):
    rewrite(course, (old, new))
    with pytest.raises(ValueError, match=complaint):
        catalogue.papers()


def test_an_empty_catalogue_is_an_error(course):
    (course / "data" / "papers" / "counts.toml").unlink()
    with pytest.raises(ValueError, match="holds no .toml file"):
        catalogue.papers()


def claim_line(slug):
    return claim(
        slug,
        "it counts",
        measured=lambda: 1.0,
        holds=lambda v: v > 0.5,
        control=lambda: 0.0,
        control_label="no counting",
    ).text()


def explorer_text(*slugs):
    papers = [f"papers: {', '.join(slugs)}"] if slugs else []
    return "\n".join(["How many? [counting]", *papers, "controls: n 3", "1. Few", "   n: 3"])


def test_an_explorers_own_text_is_recognised():
    def view(picture, result):
        picture.line("p", "one", [0, 1], [0, result])

    explorer = Explorer(
        name="counting",
        title="How many?",
        compute=lambda n: n,
        view=view,
        controls={"n": slider(0, 5, 3)},
        panels=[Panel("p", x="x", y="y")],
        scenes=[Scene(f"Scene {i}", "Look.", n=i) for i in (1, 2, 3)],
        papers=["one-paper", "two-paper"],
        alt="A line.",
    )
    assert catalogue._papers_of_explorer(explorer.text()) == {"one-paper", "two-paper"}
    assert catalogue._papers_of_explorer(claim_line("one-paper")) is None


def write(course, *cells, minute=0):
    made = []
    for kind, content in cells:
        cell = {"cell_type": "code", "source": "", "outputs": []}
        if kind == "markdown":
            cell = {"cell_type": "markdown", "source": content.splitlines(keepends=True)}
        elif kind == "error":
            cell["outputs"] = [{"output_type": "error", "ename": content}]
        else:
            lines = content.splitlines(keepends=True)
            cell["outputs"] = [{"output_type": "execute_result", "data": {"text/plain": lines}}]
        made.append(cell)
    file = catalogue.lab("counting").notebook
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"cells": made}))
    os.utime(file, ns=(time.time_ns(), 10**18 + minute))


HEAD_ONE = ("markdown", '## One <a id="one-paper"></a>\n\nText.')
HEAD_TWO = ("markdown", '## Two <a id="two-paper"></a>')


def test_status_follows_the_saved_notebook(course):
    one, two = catalogue.papers()
    lab = catalogue.lab("counting")
    assert (one.status, one.missing, one.claim) == ("planned", ["a notebook"], None)
    assert lab.status == "planned"

    write(course, HEAD_ONE, ("output", "3"), minute=1)
    assert one.status == lab.status == "in progress"
    assert [m.split()[1] for m in one.missing] == ["explorer", "claim"]
    assert len(two.missing) == 3

    write(
        course,
        ("output", explorer_text("two-paper")),
        HEAD_ONE,
        ("output", explorer_text()),
        ("output", claim_line("one-paper")),
        HEAD_TWO,
        minute=2,
    )
    assert (one.status, one.missing) == ("works", [])
    assert one.claim.statement == "it counts"
    assert one.claim.measured == "1.0"
    assert [m.split()[1] for m in two.missing] == ["claim"]
    assert lab.status == "in progress"

    write(
        course,
        HEAD_ONE,
        ("markdown", "### Its mechanism"),
        ("output", explorer_text()),
        ("output", claim_line("one-paper")),
        HEAD_TWO,
        ("output", claim_line("two-paper")),
        ("markdown", "## Side by side"),
        ("output", explorer_text()),
        minute=3,
    )
    assert one.status == "works"
    assert [m.split()[1] for m in two.missing] == ["explorer"]  # the last one is not in its section


def test_an_error_in_the_notebook_is_no_working_paper(course):
    one, _ = catalogue.papers()
    cells = [HEAD_ONE, ("output", explorer_text()), ("output", claim_line("one-paper"))]
    write(course, *cells, ("error", "ValueError"))
    assert one.missing == ["a run without errors"]


def test_an_anchor_in_running_text_or_a_mere_mention_is_not_enough(course):
    one, _ = catalogue.papers()
    write(
        course,
        ("markdown", 'See <a id="one-paper"></a> here.'),
        ("output", "controls: papers: one-paper"),
        ("output", "claim holds · one-paper · it counts"),
    )
    assert len(one.missing) == 3


def test_a_damaged_notebook_is_named(course):
    one, _ = catalogue.papers()
    write(course)
    one._lab.notebook.write_text("{")
    with pytest.raises(ValueError, match="01_counting.ipynb is no Jupyter notebook"):
        one.status  # noqa: B018


def test_functions_are_read_from_the_module(course):
    one, two = catalogue.papers()
    assert one.functions == []
    module = one._lab.module
    module.parent.mkdir(parents=True)
    module.write_text(
        'import not_installed\n'
        'def count(x):\n    """Count (arXiv:2001.00001, eq. 3)."""\n'
        'def other(x):\n    """See arXiv:2001.000012 or one-paper-more."""\n'
        'class Counter:\n    """For one-paper and two-paper."""\n'
        'def _hidden():\n    """one-paper"""\n'
    )  # fmt: skip
    assert one.functions == ["count", "Counter"]
    assert two.functions == ["Counter"]
