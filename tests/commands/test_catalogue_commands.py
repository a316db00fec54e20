"""papers, claims, progress: what they list, and how they refuse."""

import json

import pytest

from kernellab.cli import main
from kernellab.lab import catalogue


def read_json(capsys):
    return json.loads(capsys.readouterr().out)


def test_papers_as_json(capsys):
    assert main(["papers", "--json"]) == 0
    rows = read_json(capsys)
    assert [row["slug"] for row in rows] == [paper.slug for paper in catalogue.papers()]
    assert {"slug", "title", "part", "lab", "functions", "claim", "status"} <= set(rows[0])


def test_papers_by_words_part_lab_and_status(capsys):
    first = catalogue.papers()[0]
    main(["papers", *first.title.split()[:4], "--json"])
    assert first.slug in [row["slug"] for row in read_json(capsys)]
    main(["papers", "--lab", first.lab, "--part", first.part, "--json"])
    assert {row["lab"] for row in read_json(capsys)} == {first.lab}
    for status in ("works", "in progress", "planned"):
        main(["papers", "--status", status, "--json"])
        assert {row["status"] for row in read_json(capsys)} <= {status}


def test_papers_as_a_table(capsys):
    assert main(["papers", "--lab", catalogue.labs()[0].name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["slug", "title", "part", "lab", "functions", "claim", "status"]
    assert lines[-1] == f"{len(catalogue.labs()[0].papers)} papers"


def test_no_paper_fits(capsys):
    assert main(["papers", "xyzzyplugh"]) == 1
    assert capsys.readouterr().out == "No paper fits.\n"


@pytest.mark.parametrize("kind", ["part", "lab"])
def test_an_unknown_name_is_wrong_use(kind, capsys):
    assert main(["papers", f"--{kind}", "ridge_regressio"]) == 2
    assert f"no {kind} is called 'ridge_regressio'; there is ridge_" in capsys.readouterr().err


def test_claims_come_from_the_notebooks(capsys):
    assert main(["claims", "--json"]) == 0
    rows = read_json(capsys)
    working = {paper.slug for paper in catalogue.papers() if paper.claim}
    assert {row["slug"] for row in rows} >= working
    assert main(["claims"]) == 0
    text = capsys.readouterr().out
    assert all(row["statement"] in text for row in rows)


def test_progress_shows_attempts_and_guesses(capsys, tmp_path, monkeypatch):
    from kernellab.lab import progress

    monkeypatch.setenv("KERNELLAB_DATA_DIR", str(tmp_path))
    assert main(["progress"]) == 0
    assert "Nothing yet" in capsys.readouterr().out
    attempt = progress.start_attempt("ridge_filters/first", "def f(): ...")
    progress.finish_attempt(attempt, True, "Right.")
    progress.store_guess("Which one wins?", "ridge")
    assert main(["progress"]) == 0
    text = capsys.readouterr().out
    assert "ridge_filters/first" in text and "solved" in text and "Which one wins?" in text
    assert main(["progress", "--json"]) == 0
    content = read_json(capsys)
    assert content["exercises"][0]["passed"] is True
    assert content["attempts"][0]["source"] == "def f(): ..."
    assert content["guesses"][0]["guess"] == "ridge"
