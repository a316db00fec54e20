"""The picture: what is drawn, how it is styled, and what is refused."""

import numpy as np
import pytest

from kernellab.lab.figures import COLORS, Figure
from kernellab.lab.pictures import Panel, Picture, Stage

X = np.linspace(0.1, 1, 12)


@pytest.fixture
def stage():
    return Stage(
        [
            Panel("fit", x="x", y="y", title="Fit"),
            Panel("log", x="x", y="y", x_log=True, y_log=True),
            Panel("space", x="x", y="y", z="z"),
            Panel("pixels"),
        ]
    )


@pytest.fixture
def picture(stage):
    return Picture(stage)


def trace(frame, name):
    (found,) = [spec for spec in frame.traces.values() if spec["name"] == name]
    return found


def every_method(p):
    grid = np.outer(X, X)
    p.line("fit", "line", X, X)
    p.line("fit", "stairs", X, X, step=True, markers=True, opacity=0.5)
    p.points("fit", "points", X, X, labels=list("abcdefghijkl"), size=X * 10)
    p.points("fit", "coloured", X, X, values=X, range=(0, 1), label="density")
    p.band("fit", "band", X, X - 1, X + 1)
    p.bars("fit", "bars", X, X, errors=X)
    p.segments("fit", "edges", X, X, X + 1, X - 1)
    p.arrows("fit", "arrows", X, X, X, X)
    p.text("fit", "words", 0.5, 0.5, "here")
    p.rule("fit", "limit", y=0.5)
    p.contour("fit", "levels", grid, X, X, levels=[0.1, 0.2, 0.3])
    p.line("log", "line", X, X)
    p.rule("log", "η", x=0.5)
    p.line3d("space", "curve", X, X, X)
    p.points3d("space", "knots", X, X, X, values=X)
    p.surface("space", "hill", grid, X, X)
    p.mesh("space", "mesh", np.eye(3), np.array([[0, 1, 2]]))
    p.image("pixels", "grey", grid, range=(0, 1))
    p.image("pixels", "colour", np.ones((4, 5, 3)))
    p.heatmap("pixels", "heat", grid, colors="diverging")
    p.title("fit", "New title")
    p.limits("fit", x=(0, 1), y=(-2, 2))
    p.limits("log", x=(0.1, 10))
    p.readout("error", 0.1234)


def test_plotly_accepts_everything_that_can_be_drawn(picture):
    every_method(picture)
    frame = picture.finish()
    figure = Figure()
    figure.show_frame(frame.traces, frame.layout, {})
    assert len(figure.data) == len(frame.traces) == 18
    assert figure.layout.annotations[0].text == "<b>New title</b>"
    assert figure.layout.xaxis2.range == (-1, 1)  # of a log axis: powers of ten
    assert frame.readouts[0].text == "0.12"
    figure.close()


def test_a_name_keeps_its_style_in_all_panels_and_frames(stage):
    first = Picture(stage)
    first.line("fit", "ridge", X, X)
    first.line("fit", "gd", X, X)
    second = Picture(stage)
    second.line("log", "gd", X, X)
    one, two = trace(first.finish(), "gd"), trace(second.finish(), "gd")
    assert one["line"] == two["line"]
    assert one["line"]["color"] == COLORS["red"]


def test_colour_is_never_the_only_carrier(picture):
    for i in range(7):
        picture.line("fit", f"line {i}", X, X)
        picture.points("fit", f"points {i}", X, X, color=list(COLORS)[i])
        picture.bars("fit", f"bars {i}", X, X, color=list(COLORS)[i])
    specs = picture.finish().traces.values()
    assert len({spec["line"]["dash"] for spec in specs if spec["meta"]["kind"] == "line"}) == 7
    assert len({s["marker"]["symbol"] for s in specs if s["meta"]["kind"] == "points"}) == 7
    shapes = {s["marker"]["pattern"]["shape"] for s in specs if s["meta"]["kind"] == "bars"}
    assert len(shapes) == 7


def test_a_named_colour_takes_no_place_in_the_cycle(picture):
    picture.points("fit", "data", X, X, color="black")
    picture.line("fit", "truth", X, X, color="grey")
    picture.line("fit", "fit", X, X)
    assert trace(picture.finish(), "fit")["line"]["color"] == COLORS["blue"]


def test_the_legend_names_each_method_once(picture):
    picture.line("fit", "ridge", X, X)
    picture.band("fit", "ridge", X, X, X)
    picture.line("log", "ridge", X, X)
    frame = picture.finish()
    assert sum(spec["showlegend"] for spec in frame.traces.values()) == 1
    assert frame.layout["showlegend"]


def test_a_log_axis_and_a_rule_on_it(picture):
    picture.line("log", "fit", X, X)
    picture.rule("log", "η", x=0.9)
    layout = picture.finish().layout
    assert layout["xaxis2"]["type"] == "log"
    assert layout["shapes"][0]["xref"] == "x2"
    assert layout["shapes"][0]["label"]["xanchor"] == "right"  # there is room on the left only


def test_panels_do_not_overlap_and_fill_the_figure(stage):
    boxes = list(stage.domains().values())
    for (x0, x1), (y0, y1) in boxes:
        assert 0 <= x0 < x1 <= 1 + 1e-12 and 0 <= y0 < y1 <= 1 + 1e-12
    for i, (xs, ys) in enumerate(boxes):
        for other_xs, other_ys in boxes[:i]:
            beside = xs[0] >= other_xs[1] or other_xs[0] >= xs[1]
            assert beside or ys[0] >= other_ys[1] or other_ys[0] >= ys[1]


def test_a_colour_bar_gets_its_room(stage):
    before = stage.domains()["fit"][0][1]
    picture = Picture(stage)
    picture.heatmap("fit", "heat", np.eye(3), label="k(x, y)")
    bar = trace(picture.finish(), "heat")["colorbar"]
    after = stage.domains()["fit"][0][1]
    assert after < before and after < bar["x"] < before + 0.05


def test_drawn_arrays_are_copies(picture):
    y = X.copy()
    picture.line("fit", "fit", X, y)
    y[:] = 99
    assert trace(picture.finish(), "fit")["y"][0] == X[0]


def test_gaps_break_a_line_only_when_asked_for(picture):
    y = X.copy()
    y[3] = np.nan
    with pytest.raises(ValueError, match='the picture has NaN in trace "fit" of panel "fit"'):
        picture.line("fit", "fit", X, y)
    y[4] = np.inf
    picture.line("fit", "fit", X, y, gaps=True)
    assert np.isnan(trace(picture.finish(), "fit")["y"][[3, 4]]).all()


def test_a_volatile_readout_is_marked(picture):
    picture.readout("time", 0.01234, unit="s", volatile=True)
    picture.readout("method", "ridge")
    picture.readout("points", 1024)
    assert [(r.text, r.volatile) for r in picture.finish().readouts] == [
        ("0.012 s", True),
        ("ridge", False),
        ("1,024", False),
    ]


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda p: p.line("fot", "a", X, X), 'there is no panel "fot"; the panels are "fit"'),
        (lambda p: p.line("fit", "a", X, X[:3]), "x has 12 values but y has 3"),
        (lambda p: p.line("fit", "a", X[:, None], X), r"arrays of shape \(n,\), got \(12, 1\)"),
        (lambda p: [p.line("fit", "a", X, X) for _ in "12"], '"a" is drawn twice in panel "fit"'),
        (lambda p: p.line("fit", "a", X, X * np.inf), "an infinite value in trace"),
        (lambda p: p.line("log", "a", X, X - 1), "on the log axis y"),
        (lambda p: p.line("space", "a", X, X), "which is in space"),
        (lambda p: p.line3d("fit", "a", X, X, X), "which is flat"),
        (lambda p: p.line3d("space", "a", X, X, X[:2]), "x, y and z have 12, 12, 2 values"),
        (lambda p: p.image("fit", "a", X), r"shape \(rows, columns\), got \(12,\)"),
        (lambda p: p.image("fit", "a", np.ones((2, 2, 4))), r"shape \(h, w, 3\)"),
        (lambda p: p.image("fit", "a", np.full((2, 2), np.nan)), "NaN in trace"),
        (lambda p: p.image("fit", "a", np.eye(2), range=(1, 1)), "range must be"),
        (lambda p: p.heatmap("fit", "a", np.eye(2), x=X), "x needs 2 values for the grid"),
        (lambda p: p.points("fit", "a", X, X, values=X[:2]), "2 values colour 12 points"),
        (lambda p: p.rule("fit", "a"), "exactly one"),
        (lambda p: p.rule("log", "a", x=0), "cannot be drawn at 0"),
        (lambda p: p.limits("fit", x=(1, 1)), "two different numbers"),
        (lambda p: p.limits("log", x=(0, 1)), "must be positive"),
        (lambda p: p.text("fit", "a", X, X, ["one"]), "1 texts for 12 places"),
        (lambda p: p.readout("error", np.nan), 'the readout "error" is nan'),
        (lambda p: p.mesh("space", "a", np.eye(2), [[0, 1, 2]]), r"shape \(n, 3\)"),
        (lambda p: p.surface("space", "a", np.ones((1, 12)), X, X[:1]), "needs 2 rows"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_sentence(picture, draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw(picture)


def test_panels_need_different_names():
    with pytest.raises(ValueError, match="different names"):
        Stage([Panel("a"), Panel("a")])


def test_a_log_axis_over_decades_labels_powers_of_ten_only(picture):
    picture.line("log", "long", [1e-4, 1.0], [1.0, 5.0])
    layout = picture.finish().layout
    assert layout["xaxis2"]["dtick"] == 1
    assert "dtick" not in layout["yaxis2"]  # 1 to 5: the small digits are needed
