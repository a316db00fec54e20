"""Figures share one copy of plotly, send what changed, and keep figure.data true."""

import gzip
import json

import numpy as np
import plotly.graph_objects as go
import pytest

from kernellab.lab import figures
from kernellab.lab.figures import Figure, Library
from kernellab.lab.pictures import Panel, Picture, Stage


class Sent(list):
    """Collects what an open figure sends."""

    def watch(self, figure):
        figure.open()
        figure.send = lambda content, buffers=None: self.append((content, buffers))
        return figure


def frame(stage, draw):
    picture = Picture(stage)
    draw(picture)
    return picture.finish()


def show(figure, drawn, **controls):
    figure.show_frame(drawn.traces, drawn.layout, {"controls": controls})


X = np.linspace(0, 1, 500)


@pytest.fixture
def stage():
    return Stage([Panel("left", x="x", y="y"), Panel("right", x="x", y="y")])


@pytest.fixture
def figure():
    made = Figure(alt="A test.")
    yield made
    made.close()


def test_it_is_a_figure_widget_without_plotlys_javascript(figure):
    assert isinstance(figure, go.FigureWidget)
    assert len(str(figure._esm)) < 5_000
    figure.open()
    state = figure.get_state()
    assert not [key for key in state if key.startswith(("_py2js", "_js2py", "_widget_"))]
    assert len(repr(state)) < 12_000


def test_the_library_travels_once_and_holds_plotly():
    first, second = Figure(), Figure()
    first.open(), second.open()
    assert first._library == second._library == Library.shared().model_id
    assert first._front == second._front != ""
    packed = Library.shared()._payload["plotly"]
    assert len(packed) < 1_700_000
    assert gzip.decompress(packed) == figures._PLOTLY_JS.read_bytes()
    first.close(), second.close()


def test_a_damaged_copy_on_disk_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(figures.platformdirs, "user_cache_path", lambda name: tmp_path)
    fresh = figures._compressed_plotly.__wrapped__()
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == fresh
    kept.write_bytes(fresh[:1000])
    assert figures._compressed_plotly.__wrapped__() == fresh
    kept.write_bytes(b"")
    assert figures._compressed_plotly.__wrapped__() == fresh


def test_headless_use_opens_nothing(figure, stage):
    show(figure, frame(stage, lambda p: p.line("left", "fit", X, X)))
    assert figure.comm is None
    assert figure.data[0].name == "fit"


def test_one_message_with_only_what_changed(figure, stage):
    sent = Sent()

    def draw(p, slope):
        p.line("left", "fixed", X, X)
        p.line("left", "moving", X, slope * X)

    show(figure, frame(stage, lambda p: draw(p, 1)), slope=1)
    sent.watch(figure)
    show(figure, frame(stage, lambda p: draw(p, 2)), slope=2)
    ((message, buffers),) = sent
    assert list(message["changed"]) == ["1"]
    assert list(message["changed"]["1"]) == ["y"]
    assert message["layout"] == {"meta": {"frame": 2, "controls": {"slope": 2}}}
    assert "added" not in message
    np.testing.assert_array_equal(np.frombuffer(buffers[0]), 2 * X)
    np.testing.assert_array_equal(figure.data[1].y, 2 * X)


def test_traces_that_are_not_drawn_are_hidden_and_come_back(figure, stage):
    def both(p):
        p.line("left", "a", X, X)
        p.line("left", "b", X, -X)

    show(figure, frame(stage, both))
    show(figure, frame(stage, lambda p: p.line("left", "b", X, -X)))
    assert [trace.visible for trace in figure.data] == [False, True]
    show(figure, frame(stage, both))
    assert [trace.visible for trace in figure.data] == [True, True]
    assert len(figure.data) == 2


def test_a_refused_trace_leaves_the_figure_as_it_was(figure, stage):
    show(figure, frame(stage, lambda p: p.line("left", "a", X, X)))

    def wrong(picture):
        picture.line("left", "a", X, 2 * X)
        picture.line("left", "b", X, X, color="no such colour")

    for _ in range(2):
        with pytest.raises(ValueError, match="no such colour"):
            show(figure, frame(stage, wrong))
        assert [trace.name for trace in figure.data] == ["a"]
        np.testing.assert_array_equal(figure.data[0].y, X)
    show(figure, frame(stage, lambda p: p.line("left", "b", X, X)))
    assert [(trace.name, trace.visible) for trace in figure.data] == [("a", False), ("b", True)]


def test_layout_is_true_for_plotly_too(figure, stage):
    show(figure, frame(stage, lambda p: p.limits("right", x=(0, 5))))
    assert figure.layout.xaxis2.range == (0, 5)
    show(figure, frame(stage, lambda p: (p.limits("right", x=(0, 9)), p.rule("left", "η", x=1))))
    assert figure.layout.xaxis2.range == (0, 9)
    assert figure.layout.shapes[0].name == "η"
    assert figure.layout.meta["frame"] == 2


def test_whoever_edits_the_figure_directly_is_seen_too(figure, stage):
    sent = Sent()
    show(figure, frame(stage, lambda p: p.line("left", "fit", X, X)))
    sent.watch(figure)
    figure.data[0].line.width = 7
    figure.layout.title.text = "new"
    assert sent[0][0]["data"][0]["line"]["width"] == 7
    assert sent[-1][0]["whole_layout"]["title"]["text"] == "new"


def test_a_late_browser_gets_the_whole_figure(figure, stage):
    sent = Sent()
    show(figure, frame(stage, lambda p: p.line("left", "fit", X, X)))
    sent.watch(figure)
    figure._on_browser_message(figure, {"kind": "hello", "frame": 1}, [])
    assert sent == []
    figure._on_browser_message(figure, {"kind": "hello", "frame": 0}, [])
    assert sent[0][0]["data"][0]["name"] == "fit"


def test_the_first_state_holds_the_whole_figure(figure, stage):
    show(figure, frame(stage, lambda p: p.line("left", "fit", X, X)))
    snapshot = figure.get_state()["_snapshot"]
    assert snapshot["message"]["data"][0]["name"] == "fit"
    assert sum(map(len, snapshot["buffers"])) == 2 * X.nbytes


def test_a_poster_is_plain_json_with_colours_written_out(figure, stage):
    show(figure, frame(stage, lambda p: p.image("left", "tile", np.zeros((2, 3, 3)))))
    poster = json.loads(json.dumps(figure.poster(width=700)))
    assert poster["data"][0]["z"] == [[[0, 0, 0]] * 3] * 2
    assert poster["layout"]["width"] == 700


def test_grids_travel_as_float32_and_empty_arrays_travel_too():
    buffers = []
    encoded = figures._encode({"z": np.ones((3, 4)), "x": np.array([]), "n": np.arange(3)}, buffers)
    assert encoded["z"]["dtype"] == "float32" and encoded["z"]["shape"] == [3, 4]
    assert encoded["x"]["shape"] == [0]
    assert encoded["n"]["dtype"] == "float64"
    assert [len(buffer) for buffer in buffers] == [48, 0, 24]


def test_drawing_ten_traces_costs_a_few_milliseconds(figure, stage):
    import time

    def draw(p, i):
        for k in range(10):
            p.line("left" if k % 2 else "right", f"trace {k}", X, X * (i + k))

    show(figure, frame(stage, lambda p: draw(p, 0)))
    times = []
    for i in range(1, 21):
        started = time.perf_counter()
        show(figure, frame(stage, lambda p, i=i: draw(p, i)))
        times.append(time.perf_counter() - started)
    assert sorted(times)[10] < 0.02
