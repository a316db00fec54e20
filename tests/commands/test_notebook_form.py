"""The normal form of a notebook: what is kept, what goes, what is refused."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernellab.commands import _notebooks as notebooks
from tests.commands.helpers import code, markdown, notebook, shown, write

WIDGET, PLOTLY = notebooks.WIDGET, notebooks.PLOTLY


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def test_widget_state_times_and_versions_go():
    messy = notebook(
        code(
            "1",
            [shown("a", **{WIDGET: {"model_id": "x"}})],
            count=7,
            metadata={"execution": {"x": 1}, "tags": ["t"], "slideshow": {"slide_type": "slide"}},
        ),
        language_info={"name": "python", "version": "3.11.7"},
        widgets={"state": {"big": "x" * 1000}},
    )
    normal = notebooks.normalise(messy)
    assert normal["metadata"] == notebooks.NOTEBOOK_METADATA
    cell = normal["cells"][0]
    assert cell["execution_count"] == 1
    assert cell["metadata"] == {"tags": ["t"], "slideshow": {"slide_type": "slide"}}
    assert cell["outputs"][0]["data"] == {"text/plain": "a"}
    assert notebooks.difference(messy) and not notebooks.difference(normal)


def test_an_explorer_keeps_text_and_figure_only():
    output = shown("t", **{PLOTLY: {"data": []}, WIDGET: {}, "text/html": "h", "image/png": "p"})
    data = notebooks.normalise(notebook(code("e", [output], 1)))["cells"][0]["outputs"][0]["data"]
    assert set(data) == {"text/plain", "image/png", PLOTLY}


def test_streams_are_merged_by_name():
    outputs = [stream("a\n"), stream("w\n", "stderr"), shown("x"), stream("b\n")]
    cell = notebooks.normalise(notebook(code("e", outputs, 1)))["cells"][0]
    texts = [(o.get("name"), o.get("text")) for o in cell["outputs"]]
    assert texts == [("stdout", "a\nb\n"), ("stderr", "w\n"), (None, None)]


def test_ids_of_people_stay_and_the_others_say_something():
    cells = [
        markdown("## The problem", id="0a1b2c3d"),
        markdown("## The problem", id="the-problem"),
        code('claim("a-paper", "x")', id="bad id!"),
        code("import numpy as np", id="same"),
        code("", id="same"),
        code("x = 1", id="9c0d6a52-7a1b-4c3d-8e9f-000000000000"),
    ]
    ids = [cell["id"] for cell in notebooks.normalise(notebook(*cells))["cells"]]
    assert ids == ["the-problem-2", "the-problem", "claim-a-paper-x", "same", "cell-5", "x-1"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["code", "markdown"]),
            st.text(max_size=30),
            st.one_of(st.none(), st.text(max_size=10), st.just("0123abcd")),
        ),
        max_size=8,
    )
)
def test_normal_form_is_stable_and_ids_are_unique(cells):
    made = []
    for kind, source, id in cells:
        cell = code(source) if kind == "code" else markdown(source)
        if id is None:
            del cell["id"]
        else:
            cell["id"] = id
        made.append(cell)
    once = notebooks.normalise(notebook(*made))
    assert notebooks.normalise(once) == once
    ids = [cell["id"] for cell in once["cells"]]
    assert len(set(ids)) == len(ids) and all(map(notebooks.VALID_ID.match, ids))


def test_normalise_leaves_its_argument_alone():
    given_one = notebook(code("1", [shown("a", **{WIDGET: {}})], 3))
    before = copy.deepcopy(given_one)
    notebooks.normalise(given_one)
    assert given_one == before


HOME = "/ho" + "me/ada"  # in two pieces, so that this file names no machine's path itself


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (code("\n".join(["x = 1"] * 26), count=1), "26 lines"),
        (code("x = 1"), "never executed"),
        (code("x", [{"output_type": "error", "ename": "E", "evalue": "v"}], 1), "is an error"),
        (code("x", [shown(f"{HOME}/x.py")], 1), "path of this machine"),
        (code("x", [stream("C:\\Users\\ada\\x")], 1), "path of this machine"),
        (code("x", [shown("<f at 0x7f00aa00bb00>")], 1), "memory address"),
        (code(f"open('{HOME}/x')", count=1), "path of this machine"),
        (code("x", [shown("x" * 600_000)], 1), "600 kB"),
    ],
)
def test_faults(cell, message):
    found = notebooks.faults(notebook(cell))
    assert len(found) == 1 and message in found[0].message and found[0].cell == "code"


@pytest.mark.parametrize("text", ["https://x.org/home/a", "a/b/home/c", "1 / 2", "s: /s", "ratio"])
def test_no_false_machine_paths(text):
    assert notebooks.faults(notebook(code("x", [shown(text)], 1))) == []


def test_files_are_read_and_written_whole(tmp_path):
    path = write(tmp_path / "a.ipynb", code("a\nb", [stream("x")], 1))
    normal = notebooks.normalise(notebooks.read(path))
    notebooks.write(path, normal)
    assert notebooks.read(path) == normal
    assert path.read_text().endswith("}\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "[]", '{"nbformat": 3, "cells": []}', "no json"])
def test_what_is_no_notebook_is_refused(text, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.ipynb is not a"):
        notebooks.read(path)
