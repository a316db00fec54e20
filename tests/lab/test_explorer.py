"""Explorers without a browser: scenes, errors, the last value, the text form, runs on a button."""

import gc
import json
import time
import weakref

import numpy as np
import pytest

from kernellab.lab import Explorer, Panel, Scene, Step, choices, int_slider, log_slider, toggle
from kernellab.lab.explorer import instances

X = np.linspace(0, 1, 50)


def compute(slope, n, methods, flat):
    if slope > 50:
        raise ValueError("slope above 50 leaves the panel")
    if n == 13:
        raise KeyError("thirteen")
    return {"slope": slope, "n": n, "methods": methods, "flat": flat}


def view(picture, result):
    for method in result["methods"]:
        sign = -1 if method == "down" else 1
        picture.line("fit", method, X, sign * result["slope"] * X * (not result["flat"]))
    if result["n"] == 17:
        picture.line("fit", "broken", X, X * np.nan)
    picture.points("fit", "data", X[: result["n"]], X[: result["n"]], color="black")
    picture.readout("slope", result["slope"])


SCENES = (
    Scene("Gentle", "Look at the low line."),
    Scene("Steep", "Look at the high line.", slope=10.0),
    Scene("Both", "Compare the two.", methods=["up", "down"], n=20),
)


@pytest.fixture
def explorers():
    made = []

    def make(**changes):
        settings = {
            "name": "slopes",
            "title": "How steep is the line?",
            "compute": compute,
            "view": view,
            "controls": {
                "slope": log_slider(0.1, 100, 1.0, label="slope s"),
                "n": int_slider(5, 50, 10),
                "methods": choices(["up", "down"], ["up"]),
                "flat": toggle(False),
            },
            "panels": [Panel("fit", x="x", y="value")],
            "scenes": SCENES,
            "papers": ["a-paper"],
            "alt": "Lines through the origin.",
        }
        made.append(Explorer(**(settings | changes)))
        return made[-1]

    yield make
    for explorer in made:
        explorer.close()


@pytest.fixture
def explorer(explorers):
    return explorers()


def counted(function):
    def inner(**values):
        inner.calls.append(values)
        return function(**values)

    inner.calls = []
    return inner


# --- moving ------------------------------------------------------------------------------------


def test_the_first_scene_is_drawn_at_once(explorer):
    assert explorer.values == {"slope": 1.0, "n": 10, "methods": ("up",), "flat": False}
    assert explorer.error is None
    assert explorer.figure.layout.meta["controls"]["methods"] == ["up"]
    assert explorer.figure.data[0].y[-1] == 1.0
    assert explorer.readouts == {"slope": "1.0"}


def test_setting_a_control_moves_the_picture_and_counts_a_frame(explorer):
    before = explorer.figure.frame
    explorer.set(slope=4.0)
    assert explorer.figure.data[0].y[-1] == 4.0
    assert explorer.figure.layout.meta == {
        "frame": before + 1,
        "controls": {"slope": 4.0, "n": 10, "methods": ["up"], "flat": False},
    }
    assert len(explorer.timings) == 2


def test_a_scene_sets_all_controls_with_one_computation(explorers):
    calls = counted(compute)
    explorer = explorers(compute=calls)
    explorer.set(slope=7.0)
    calls.calls.clear()
    explorer.scene("Both")
    assert calls.calls == [{"slope": 1.0, "n": 20, "methods": ("up", "down"), "flat": False}]
    explorer.scene(1)
    assert explorer.values["slope"] == 10.0 and explorer.values["methods"] == ("up",)
    with pytest.raises(ValueError, match="there is no scene 'Neither'"):
        explorer.scene("Neither")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"slop": 1.0}, 'there is no control "slop"; the controls are slope, n'),
        ({"slope": 1000.0}, "slope must lie between"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(explorer, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        explorer.set(**values)
    assert explorer.values["slope"] == 1.0


# --- errors ------------------------------------------------------------------------------------


def test_an_error_keeps_the_last_good_picture(explorer):
    explorer.set(slope=60.0)
    assert explorer.error == "slope above 50 leaves the panel"
    assert "ValueError" in explorer.traceback
    assert explorer.figure.data[0].y[-1] == 1.0
    assert explorer.figure.layout.meta["controls"]["slope"] == 1.0
    explorer.set(slope=2.0)
    assert explorer.error is None and explorer.traceback is None
    assert explorer.figure.data[0].y[-1] == 2.0


def test_other_errors_show_their_type_in_one_line(explorer, capfd):
    explorer.set(n=13)
    assert explorer.error == "KeyError: 'thirteen'"
    assert "Traceback" in explorer.traceback
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


def test_nan_on_screen_is_an_error_and_nothing_of_that_frame_is_shown(explorer):
    explorer.set(n=17, slope=3.0)
    assert explorer.error == 'the picture has NaN in trace "broken" of panel "fit"'
    assert explorer.figure.data[0].y[-1] == 1.0
    assert len(explorer.figure.data) == 2


def test_an_explorer_that_fails_at_once_still_opens(explorers):
    explorer = explorers(scenes=[Scene("Bad", "Look.", slope=60.0)], small=True)
    assert explorer.error
    explorer.set(slope=1.0)
    assert explorer.error is None and explorer.figure.data[0].y[-1] == 1.0


# --- construction ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scenes": SCENES[:2]}, "has 2 scenes, it needs at least 3"),
        ({"scenes": (*SCENES, Scene("Both", "Again."))}, "scene titles must differ"),
        ({"scenes": (*SCENES, Scene("Far", "Look.", slope=1e9))}, 'scene "Far": slope must lie'),
        ({"scenes": (*SCENES, Scene("Odd", "Look.", speed=1))}, 'there is no control "speed"'),
        ({"alt": " "}, "needs alt"),
        ({"run": "fast"}, 'run must be "live" or "button"'),
        ({"controls": {"slope": 3}}, 'control "slope" must be made by slider'),
        ({"panels": []}, "panels must be"),
    ],
)
def test_what_does_not_fit_together_is_refused(explorers, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        explorers(**changes)


def test_folded_controls_are_told_to_the_browser_and_must_exist(explorers):
    specs = explorers(more=["n", "flat"])._static(400)["controls"]
    assert [spec["name"] for spec in specs if spec["folded"]] == ["n", "flat"]
    with pytest.raises(ValueError, match=r"more names \['speed'\]"):
        explorers(more=["speed"])


def test_a_scene_needs_its_sentence():
    with pytest.raises(ValueError, match="what to look at"):
        Scene("Title", "")


def test_few_scenes_are_fine_for_a_small_explorer(explorers):
    assert explorers(scenes=SCENES[:1], small=True).error is None


# --- the text form -----------------------------------------------------------------------------


def test_the_text_has_every_scene_with_readouts_and_what_is_drawn(explorer):
    text = explorer.text()
    assert text.splitlines()[:8] == [
        "How steep is the line? [slopes]",
        "papers: a-paper",
        "controls: slope s 1 · n 10 · methods up · flat off",
        "1. Gentle",
        "   slope: 1.0",
        "   fit · up: line of 50, x 0.0 to 1.0, y 0.0 to 1.0, mean 0.5",
        "   fit · data: points of 10, x 0.00 to 0.18, y 0.00 to 0.18, mean 0.09",
        "2. Steep (slope s = 10)",
    ]
    assert "3. Both (n = 20, methods = up + down)" in text


def test_the_text_is_the_same_again_and_after_moves(explorers):
    first = explorers().text()
    explorer = explorers()
    explorer.set(slope=3.3, flat=True)
    assert explorer.text() == first
    assert explorer.values["slope"] == 3.3
    assert explorer.figure.layout.meta["controls"]["slope"] == 3.3
    assert explorer.figure.data[0].visible and explorer.figure.data[0].y[-1] == 0


def test_the_text_changes_with_what_is_drawn(explorers):
    def other(picture, result):
        view(picture, result | {"slope": 1.5 * result["slope"]})

    assert explorers().text() != explorers(view=other).text()


def test_a_scene_that_fails_says_so_in_the_text(explorers):
    explorer = explorers(scenes=(*SCENES, Scene("Too far", "It breaks here.", slope=60.0)))
    assert explorer.text().endswith("   error: slope above 50 leaves the panel")
    assert explorer.error is None


def test_while_saving_a_crash_is_not_kept_in_the_notebook(explorers, monkeypatch):
    monkeypatch.setenv("KERNELLAB_SAVING", "1")
    explorer = explorers(scenes=(*SCENES, Scene("Crash", "It breaks here.", n=13)))
    with pytest.raises(KeyError):
        explorer.text()


def test_while_saving_a_value_on_a_boundary_is_refused_by_scene_and_trace(explorers, monkeypatch):
    def near(picture, result):
        picture.line("fit", "edge", [0.0, 1.0], [(0.5 - 0.0137) * 0.1, 1.2])

    monkeypatch.setenv("KERNELLAB_SAVING", "1")
    with pytest.raises(ValueError, match='scene "Gentle": trace "edge" of panel "fit"'):
        explorers(view=near).text()


def test_while_saving_a_doubtful_readout_is_refused_by_scene(explorers, monkeypatch):
    def doubtful(picture, result):
        view(picture, result)
        picture.readout("error", 0.1250000001)

    made = explorers(view=doubtful)
    assert "error: 0.13" in made.text() or "error: 0.12" in made.text()
    monkeypatch.setenv("KERNELLAB_SAVING", "1")
    with pytest.raises(ValueError, match='scene "Gentle": .*prints as'):
        explorers(view=doubtful).text()


def test_displaying_is_fast_and_gives_text_and_widget(explorer):
    started = time.perf_counter()
    bundle = explorer._repr_mimebundle_()
    assert time.perf_counter() - started < 1.0
    assert set(bundle) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == explorer.figure.model_id


def test_while_saving_the_first_scene_comes_as_a_plotly_figure(explorer, monkeypatch):
    monkeypatch.setenv("KERNELLAB_SAVING", "1")
    explorer.scene("Steep")
    bundle = explorer._repr_mimebundle_()
    poster = bundle["application/vnd.plotly.v1+json"]
    json.dumps(poster)
    assert poster["layout"]["meta"]["controls"]["slope"] == 1.0
    assert poster["layout"]["width"] > 0
    assert explorer.values["slope"] == 10.0
    assert explorer.figure.layout.meta["controls"]["slope"] == 10.0


# --- the browser's messages --------------------------------------------------------------------


def answers(explorer):
    sent = []
    explorer.figure.open()
    explorer.figure.send = lambda content, buffers=None: sent.append(content)
    return sent


def say(explorer, **content):
    explorer._on_message(explorer.figure, {"view": "v", "turn": 1} | content, [])


def test_a_move_is_answered_once_with_its_values(explorer):
    sent = answers(explorer)
    say(explorer, kind="set", values={"slope": 5.0, "methods": [1], "flat": True}, turn=7)
    (answer,) = sent
    assert answer["reply"] == {"view": "v", "turn": 7}
    assert answer["layout"]["meta"]["controls"]["methods"] == ["down"]
    assert answer["dynamic"]["values"] == {"slope": 5.0, "n": 10, "methods": [1], "flat": True}
    assert answer["dynamic"]["touched"] and answer["dynamic"]["error"] is None


def test_the_last_value_wins(explorer):
    for slope in np.geomspace(0.1, 40, 60):
        say(explorer, kind="set", values={"slope": float(slope)})
    assert explorer.figure.layout.meta["controls"]["slope"] == pytest.approx(40)
    assert explorer.figure.data[0].y[-1] == pytest.approx(40)


def test_every_question_is_answered_even_a_broken_one(explorer):
    sent = answers(explorer)
    say(explorer, kind="set", values={"slope": 1e9}, turn=3)
    assert sent[-1]["reply"]["turn"] == 3
    assert "slope must lie between" in sent[-1]["dynamic"]["error"]
    say(explorer, kind="set", values={"nothing": 1}, turn=4)
    assert sent[-1]["reply"]["turn"] == 4
    say(explorer, kind="scene", index=2, turn=5)
    assert sent[-1]["dynamic"]["scene"] == 2
    assert sent[-1]["dynamic"]["error"] is None
    assert sent[-1]["dynamic"]["touched"] is False
    before = len(sent)
    explorer._on_message(explorer.figure, {"kind": "gossip"}, [])
    explorer._on_message(explorer.figure, "gossip", [])
    assert len(sent) == before


def test_showing_the_text_leaves_the_browser_with_the_present_picture(explorer):
    sent = answers(explorer)
    explorer.set(slope=2.0)
    sent.clear()
    explorer.text()
    (only,) = sent
    assert only["whole_layout"]["meta"]["controls"]["slope"] == 2.0


# --- registration ------------------------------------------------------------------------------


def test_the_last_explorer_of_a_name_wins_and_the_first_is_let_go(explorers):
    first = Explorer(
        name="twin", title="t", compute=compute, view=view, alt="a", scenes=SCENES,
        panels=[Panel("fit")],
        controls={"slope": log_slider(0.1, 100, 1.0), "n": int_slider(5, 50, 10),
                  "methods": choices(["up", "down"], ["up"]), "flat": toggle()},
    )  # fmt: skip
    first._repr_mimebundle_()
    gone = weakref.ref(first)
    second = explorers(name="twin")
    assert [e for e in instances() if e.name == "twin"] == [second]
    assert first.figure.comm is None
    del first
    gc.collect()
    assert gone() is None
    second.close()
    assert second not in instances()


# --- on a button -------------------------------------------------------------------------------


def slow(n, rate):
    if rate > 5:
        raise ValueError("rate above 5 diverges")
    for i in range(n):
        time.sleep(0.004)
        if i == 30:
            raise RuntimeError("thirty")
        yield Step((i + 1) / n, rate * (i + 1), f"step {i + 1}")


def slow_view(picture, result):
    picture.line("fit", "loss", X, X * result)
    picture.readout("last", result)


@pytest.fixture
def button(explorers):
    return explorers(
        name="button",
        compute=slow,
        view=slow_view,
        run="button",
        controls={"n": int_slider(2, 60, 10), "rate": log_slider(0.1, 10, 1.0)},
        scenes=(
            Scene("Ten", "Look."),
            Scene("Two", "See.", n=2),
            Scene("Fast", "Note.", rate=3.0),
        ),
    )


def test_a_button_explorer_waits_for_its_button(button):
    assert button.run_state == "idle"
    assert button.result is None
    button.start()
    assert button.run_state == "running"
    button.wait(5)
    assert button.run_state == "finished"
    assert button.result == 10.0
    assert button.figure.data[0].y[-1] == 10.0


def test_stop_and_continue(button):
    button.set(n=25)
    button.start()
    time.sleep(0.03)
    button.stop()
    assert button.run_state == "stopped"
    reached = button.result
    assert 0 < reached < 25
    assert button.figure.data[0].y[-1] == reached
    button.resume()
    button.wait(5)
    assert button.run_state == "finished" and button.result == 25.0


def test_a_run_stopped_at_its_very_last_step_can_be_continued(explorers):
    def single(n, rate):
        time.sleep(0.05)
        yield Step(1.0, n * rate, "one step of one")

    button = explorers(
        name="single",
        compute=single,
        view=slow_view,
        run="button",
        controls={"n": int_slider(2, 60, 10), "rate": log_slider(0.1, 10, 1.0)},
        scenes=(Scene("Ten", "Look."), Scene("Two", "See.", n=2), Scene("Fast", "Note.", rate=3.0)),
    )
    button.start()
    button.stop()
    assert button.run_state == "stopped" and button.result == 10.0
    button.resume()
    button.wait(5)
    assert button.run_state == "finished" and button.result == 10.0 and button.error is None


def test_intermediate_results_are_drawn_but_not_all_of_them(button):
    button.set(n=28)
    before = button.figure.frame
    button.start()
    button.wait(5)
    assert 2 <= button.figure.frame - before <= 12


def test_a_changed_control_marks_the_picture_as_earlier(button):
    sent = answers(button)
    button.start()
    button.wait(5)
    say(button, kind="set", values={"rate": 2.0})
    assert sent[-1]["dynamic"]["stale"]
    assert button.figure.layout.meta["controls"]["rate"] == 1.0
    say(button, kind="start")
    button.wait(5)
    assert not sent[-1]["dynamic"]["stale"]
    assert sent[-1]["dynamic"]["run"]["state"] == "finished"
    assert button.result == 20.0


def test_an_error_in_the_thread_becomes_a_sentence(button):
    button.set(n=40)
    assert button.run_state == "failed"
    assert button.error == "RuntimeError: thirty"
    button.set(n=5, rate=8.0)
    assert button.error == "rate above 5 diverges"
    button.set(rate=1.0)
    assert button.error is None and button.result == 5.0


def test_the_text_runs_every_scene_to_its_end_and_the_first_one_opens(button):
    text = button.text()
    assert "2. Two (n = 2)\n   last: 2.0" in text
    assert "   last: 30" in text
    assert button.result == 10.0 and button.run_state == "finished"
    assert button.figure.data[0].y[-1] == 10.0
    calls = len(button.timings)
    button.scene("Two")  # its result is known
    assert button.result == 2.0 and len(button.timings) == calls


def test_a_live_explorer_has_no_button(explorer):
    with pytest.raises(ValueError, match="is live"):
        explorer.start()
