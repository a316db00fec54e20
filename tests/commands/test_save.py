"""`kernellab save`: executed, normal, refused when wrong. Most tests here start a kernel."""

import base64
import json
import sys

import pytest

from kernellab.cli import main
from kernellab.commands import _browser, _notebooks, _posters, save
from tests.commands.helpers import code, markdown, notebook, shown, write

FIGURE = """
class Explorer:
    def _repr_mimebundle_(self, **_):
        line = {"type": "scatter", "x": [0, 1, 2], "y": [0, 1, 4]}
        figure = {"data": [line], "layout": {"height": 300}}
        return {"text/plain": "one line", "application/vnd.plotly.v1+json": figure}
Explorer()
"""


def chromium_or_skip():
    pytest.importorskip("playwright")
    chromium = _browser.find_chromium()
    return chromium or pytest.skip(_browser.MISSING)


def test_saves_what_a_kernel_of_this_environment_says(tmp_path, capsys):
    path = write(
        tmp_path / "lab.ipynb",
        markdown("# A question", id="title"),
        code("import os, sys", id="imports"),
        code("print('a', flush=True)\nprint('b')", id="out"),
        code("sys.executable == os.environ['ASKED'], os.environ['KERNELLAB_SAVING']", id="who"),
        code("from ipywidgets import IntSlider\nIntSlider(3)", id="widget"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASKED", sys.executable)
        assert main(["save", str(path)]) == 0
    assert "saved" in capsys.readouterr().out
    cells = {cell["id"]: cell for cell in _notebooks.read(path)["cells"]}
    assert cells["out"]["outputs"] == [
        {"name": "stdout", "output_type": "stream", "text": "a\nb\n"}
    ]
    assert cells["who"]["outputs"][0]["data"] == {"text/plain": "(True, '1')"}
    assert cells["widget"]["outputs"][0]["data"] == {"text/plain": "IntSlider(value=3)"}
    assert [cells[name]["execution_count"] for name in ("imports", "out", "who")] == [1, 2, 3]
    assert main(["save", "--check", str(path)]) == 0
    before = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASKED", sys.executable)
        assert main(["save", str(path)]) == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "cell broken: ZeroDivisionError"),
        ("'x' * 600_000", "lab.ipynb:broken: the notebook has 6"),
        ("object()", "lab.ipynb:broken: its output shows a memory address"),
    ],
)
def test_a_bad_notebook_is_not_stored(source, said, tmp_path, capsys):
    path = write(tmp_path / "lab.ipynb", code("1", id="fine"), code(source, id="broken"))
    before = path.read_bytes()
    assert main(["save", str(path)]) == 1
    err = capsys.readouterr().err
    assert said in err and "nothing was stored" in err
    assert path.read_bytes() == before


def test_an_explorer_becomes_a_picture(tmp_path):
    chromium_or_skip()
    path = write(tmp_path / "lab.ipynb", code(FIGURE, id="e"))
    assert main(["save", str(path)]) == 0
    data = _notebooks.read(path)["cells"][0]["outputs"][0]["data"]
    assert set(data) == {"text/plain", "image/png"}
    png = base64.b64decode(data["image/png"])
    assert png.startswith(b"\x89PNG") and len(png) <= _posters.MAX_POSTER_BYTES


def test_without_a_browser_the_old_picture_stays(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERNELLAB_CHROMIUM", "")
    old = shown("x", **{"image/png": "b2xk"})
    path = write(tmp_path / "lab.ipynb", code(FIGURE, [old], 1, id="old"), code(FIGURE, id="new"))
    assert main(["save", str(path)]) == 0
    err = capsys.readouterr().err
    assert "no new pictures" in err
    assert "lab.ipynb:old: kept the old picture" in err and "lab.ipynb:new: has no picture" in err
    cells = _notebooks.read(path)["cells"]
    assert cells[0]["outputs"][0]["data"]["image/png"] == "b2xk"
    assert set(cells[1]["outputs"][0]["data"]) == {"text/plain"}


def test_check_only_looks(tmp_path, capsys):
    path = write(tmp_path / "lab.ipynb", code("1", id="0123abcd"))
    before = path.read_bytes()
    assert main(["save", "--check", str(path)]) == 1
    assert "not normalised" in capsys.readouterr().out
    assert path.read_bytes() == before


def test_wrong_use(tmp_path, capsys):
    (tmp_path / "a.py").touch()
    for given in (tmp_path / "none.ipynb", tmp_path / "a.py", tmp_path):
        assert main(["save", str(given)]) == 2
    assert capsys.readouterr().err.count("kernellab save:") == 3


def test_posters_are_small_even_when_the_figure_is_not():
    chromium = chromium_or_skip()
    noise = [[(i * j * 7919) % 255 for i in range(300)] for j in range(150)]
    figure = {"data": [{"type": "heatmap", "z": noise}], "layout": {"height": 500}}
    with _posters.PosterMaker(chromium) as maker:
        assert len(maker.png(json.dumps(figure))) <= _posters.MAX_POSTER_BYTES
        maker._page.close()  # as when the browser dies
        with pytest.raises(_posters.PosterError):
            maker.png(figure)


def test_failure_names_the_cell_that_was_running():
    cells = notebook(code("1", count=1, id="done"), code("2", id="running"), code("3", id="later"))
    assert save._failure(cells, "took too long").startswith("cell running: took too long")
