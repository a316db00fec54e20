"""`kernellab check`: each rule finds what it is there to find."""

import time

import pytest

from kernellab import paths
from kernellab.cli import main
from kernellab.commands import _labcheck as rules
from kernellab.commands import check
from kernellab.lab import catalogue
from tests.commands.helpers import code, markdown, shown

SLIDE = {"slideshow": {"slide_type": "slide"}}


def explorer(scenes=3, extra=""):
    rows = "\n".join(
        f"{i}. Scene {i}\n   fit · curve: line of 3{extra}" for i in range(1, scenes + 1)
    )
    return shown(f"A title [name]\npapers: a-paper\ncontrols: a 1\n{rows}")


def good_cells():
    return [
        markdown("# Question", id="title", metadata=SLIDE),
        code("import numpy as np", id="imports", metadata=SLIDE),
        code("e", [explorer()], id="main", metadata=SLIDE),
        code("p", [shown("predict · Which? · a or b · measured: a")], id="guess", metadata=SLIDE),
        code("c", [shown("claim holds · a · b · c: 1 · control (d): 2, fails as it must")], id="c"),
        *(code("x", [shown(f"exercise · lab/e{i} · T · write f()")], id=f"e{i}") for i in range(3)),
    ]


def messages(faults):
    return [fault.message for fault in faults]


def test_a_good_lab_has_no_faults():
    assert rules.building_blocks(good_cells()) == []
    assert rules.imports(good_cells()) == []


@pytest.mark.parametrize(
    ("index", "outputs", "message"),
    [
        (2, [], "shows no explorer"),
        (2, [explorer(scenes=2)], "the main explorer has 2 scenes"),
        (2, [explorer(extra="\n   error: no")], "shows an error"),
        (3, [], "no prediction"),
        (5, [], "shows 2 exercises"),
    ],
)
def test_missing_blocks(index, outputs, message):
    cells = good_cells()
    cells[index]["outputs"] = outputs
    assert any(message in m for m in messages(rules.building_blocks(cells)))


def test_a_prediction_after_the_last_claim_comes_too_late():
    cells = good_cells()
    cells[3], cells[4] = cells[4], cells[3]
    assert messages(rules.building_blocks(cells)) == ["asks for a prediction after the last claim"]


def test_slides_and_tags():
    cells = [
        markdown("x", metadata={}),
        markdown("x", metadata={"slideshow": {"slide_type": "side"}}),
        code("x", [shown("2.1 ms")], metadata={**SLIDE, "tags": [rules.IGNORE]}),
        code("x", [shown("0.12")], metadata={**SLIDE, "tags": [rules.IGNORE]}),
        code("x", metadata={**SLIDE, "tags": ["nbval-skip"]}),
    ]
    assert len(rules.slides(cells)) == 2
    assert messages(rules.tags(cells)) == [
        f"has the tag {rules.IGNORE}, but shows no time",
        "the tag nbval-skip would hide a failure",
    ]


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("[a](there.py) ![b](<there.py>) [c](https://example.org/x) [d](#here)", 0),
        ("[a](gone.py)", 1),
        ('<img src="gone.png">', 1),
        ("[a](#nowhere)", 1),
        ("[a](#A-heading-of-words)", 0),
        ("`[a](gone.py)` and\n```\n[b](gone.py)\n```", 0),
        ("[a](there.py#L10)", 0),
    ],
)
def test_links(source, bad, tmp_path):
    (tmp_path / "there.py").touch()
    head = markdown('## Name <a id="here"></a>\n\ntext\n\n### A heading of words')
    found = rules.links(tmp_path / "lab.ipynb", [head, markdown(source)])
    assert len(found) == bad


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("wrong=[Wrong('a', f, says='s')]", "lists 1 wrong answers"),
        ("", "lists 0 wrong answers"),
        ("wrong=LISTED", None),
        ("wrong=[Wrong('a', f, says='s'), Wrong('b', g, says='t')]", None),
    ],
)
def test_wrong_answers(wrong, message, tmp_path):
    module = tmp_path / "exercises.py"
    calls = "\n".join(f"E{i} = Exercise('lab/e{i}', {wrong})" for i in range(3))
    module.write_text(f"LISTED = [Wrong('a', f), Wrong('b', g)]\n{calls}\n")
    found = messages(rules.wrong_answers(module))
    assert len(found) == (3 if message else 0)
    assert all(message in m for m in found)


def test_too_few_exercises(tmp_path):
    module = tmp_path / "exercises.py"
    module.write_text("E = Exercise('lab/e', wrong=(1, 2))\n")
    assert messages(rules.wrong_answers(module)) == ["has 1 exercises (at least 3)"]


def test_set_up_only_imports():
    assert rules.imports([code("import numpy as np\nx = 1")])
    assert rules.imports([markdown("no code")])


@pytest.fixture
def empty_checkout(tmp_path, monkeypatch):
    """A checkout without any lab, but with the catalogue of this one."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "TESTS", tmp_path / "tests")
    return tmp_path


def test_a_scaffold_is_complete_but_flagged(empty_checkout, capsys):
    lab = catalogue.labs()[-1]
    assert main(["new", lab.part, lab.name]) == 0
    files = [lab.notebook, lab.module, lab.exercises, lab.tests, check.exercise_tests(lab)]
    assert all(path.is_file() and empty_checkout in path.parents for path in files)
    found = [fault.message for _path, fault in check.check_lab(lab)]
    assert not [message for message in found if message.startswith("missing")]
    assert not [message for message in found if "lacks a section" in message]
    assert [message for message in found if "still says FILL IN" in message]
    assert all(f"{paper.slug}: lacks a claim" in " ".join(found) for paper in lab.papers)
    other = [fault.message for _path, fault in check.check_notebook(lab.notebook)]
    assert len(other) == 1 and "was never executed" in other[0]


def test_new_overwrites_nothing(empty_checkout, capsys):
    lab = catalogue.labs()[-1]
    lab.tests.parent.mkdir(parents=True)
    lab.tests.write_text("mine")
    assert main(["new", lab.part, lab.name]) == 1
    assert "exists already; nothing was written" in capsys.readouterr().err
    assert [path for path in empty_checkout.rglob("*") if path.is_file()] == [lab.tests]


def test_new_knows_the_catalogue(empty_checkout, capsys):
    lab = catalogue.labs()[0]
    assert main(["new", lab.part + "x", lab.name]) == 2
    assert main(["new", lab.part, lab.name + "x"]) == 2
    assert lab.name in capsys.readouterr().err


def test_this_checkout_has_no_problems_and_that_is_soon_said(capsys):
    started = time.perf_counter()
    code = main(["check"])
    assert time.perf_counter() - started < 10
    said = capsys.readouterr().out
    assert code == 0, said
    assert len(said.splitlines()) == 1 and said.startswith("no problems")


def test_an_unknown_lab_is_wrong_use(capsys):
    assert main(["check", "ridge_filtres"]) == 2
    assert "ridge_filters" in capsys.readouterr().err
