"""An explorer in a page, moved as a reader moves it: mouse, keyboard, buttons."""

import math
import statistics
import time
from dataclasses import dataclass

from . import jupyter

MOVES = 25  # mouse movements of a drag
BETWEEN_MOVES = 0.016  # s; a mouse reports about sixty times a second
USUAL_PACE = 8.5  # ms for the work of ``OnPage.pace``, on the machines these tests were set on
SETTLE = 0.5  # s after the last movement, in which the last value must be on screen


@dataclass(frozen=True)
class Scale:
    """The control behind a slider, its values at both ends, and whether it is logarithmic."""

    control: str
    low: float
    high: float
    log: bool

    def as_dict(self) -> dict:
        return vars(self)


class OnPage:
    """One explorer of an open lab."""

    def __init__(self, lab: jupyter.Lab, name: str):
        self.lab = lab
        self.page = lab.page
        self.name = name
        self.readouts: set[str] = set()  # all that were seen at the ends of the sliders
        self.root = lab.page.locator(f'.kl-explorer[data-name="{name}"]')
        self.root.scroll_into_view_if_needed()
        assert self.wait(lambda state: state["picture"], 10)["picture"], f"{name} is not drawn"

    def state(self) -> dict:
        """What is shown: picture (a digest), controls, readouts, error, busy, slider positions."""
        return self.page.evaluate("name => kernellabPage.state(name)", self.name)

    def wait(self, condition, seconds: float = 5.0) -> dict:
        """The first state that fulfils the condition, or the last one seen."""
        deadline = time.monotonic() + seconds
        while not condition(state := self.state()) and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        return state

    def toggle_more(self) -> None:
        """Open or close what is folded under "More controls"."""
        folded = self.root.locator("details.kl-more > summary")
        if folded.count():
            folded.click()
            self.page.wait_for_timeout(200)  # the rest of the page moves

    @property
    def live(self) -> bool:
        """Whether it answers every movement (another one runs on a button)."""
        return self.root.locator(".kl-run").count() == 0

    def sliders(self) -> list[str]:
        """The controls that are sliders, from top to bottom."""
        return self.page.evaluate("name => kernellabPage.sliderNames(name)", self.name)

    def slider(self, control: str):
        return self.root.locator(f'.kl-control[data-name="{control}"] input[type=range]')

    def press(self, control: str, key: str) -> None:
        """Press a key on a slider."""
        self.slider(control).focus()
        self.page.keyboard.press(key)

    def press_and_wait(self, control: str, key: str, seconds: float = 5.0) -> dict:
        """Press a key on a slider; the state once it is answered."""
        before = self.state()
        frame = before["frame"]
        self.press(control, key)
        self.page.wait_for_timeout(40 if self.live else 200)
        state = self.state()
        if not self.live or state["sliders"] == before["sliders"]:
            return state  # it stood there already, and nothing was asked
        return self.wait(
            lambda state: not state["busy"] and (state["error"] or state["frame"] != frame), seconds
        )

    def ends(self, control: str, seconds: float = 5.0) -> tuple[Scale | None, list[str]]:
        """Go to both ends by keyboard: the slider's scale, and what was wrong on the way.

        There is no scale (None) when the picture is the same at both ends.
        """
        values, pictures, wrong = {}, {}, []
        index = self.sliders().index(control)
        before = self.state()
        self.readouts.add(str(before["readouts"]))
        ends = {"Home": 0.0, "End": 1.0}
        # Each press has to move it: where it stands already, it comes last.
        for key in sorted(ends, key=lambda key: ends[key] == before["sliders"][index]):
            state = self.press_and_wait(control, key, seconds)
            if abs(state["sliders"][index] - ends[key]) > 1e-6:
                wrong.append(f"{control}: {key} does not reach the end")
            values[key], pictures[key] = state["controls"].get(control), state["picture"]
            self.readouts.add(str(state["readouts"]))
        low, high = values["Home"], values["End"]
        if not self.live or low is None or high is None or low == high:
            return None, wrong
        if pictures["Home"] == pictures["End"]:
            return None, wrong  # it does not matter in this scene
        return Scale(control, low, high, False), wrong

    def drag(self, scale: Scale) -> tuple[dict, list[str]]:
        """Drag a slider to its left end and back to another place: times, and what was wrong."""
        control, index = scale.control, self.sliders().index(scale.control)
        self.slider(control).scroll_into_view_if_needed()
        self.page.evaluate(
            "([name, index]) => kernellabPage.record(name, index)", [self.name, index]
        )
        before = self.state()
        box = self.slider(control).bounding_box()
        thumb = 18.0
        inside = box["width"] - thumb

        def x(at: float) -> float:
            return box["x"] + thumb / 2 + at * inside

        y = box["y"] + box["height"] / 2
        mouse, start = self.page.mouse, before["sliders"][index]
        mouse.move(x(start), y)
        mouse.down()
        end = 0.66 if abs(start - 0.66) > 0.1 else 0.4
        there = [start * (1 - k / 8) for k in range(1, 9)]
        back = [end * k / (MOVES - 8) for k in range(1, MOVES - 7)]
        for at in (*there, *back):
            mouse.move(x(at), y)
            time.sleep(BETWEEN_MOVES)
        mouse.up()
        self.page.wait_for_timeout(1000 * SETTLE)
        after = self.state()
        self.readouts |= {str(before["readouts"]), str(after["readouts"])}
        wrong = []
        scale = fitting(scale, after["sliders"][index], after["controls"][control])
        settled = self.page.evaluate(
            "([name, index, scale]) => kernellabPage.settled(name, index, scale)",
            [self.name, index, scale.as_dict()],
        )
        if not settled and after["error"] is None:
            wrong.append(
                f"{control}: {SETTLE} s after a drag the picture belongs to "
                f"{after['controls'][control]:g}, the slider stands at "
                f"{after['sliders'][index]:.0%} of {scale.low:g} to {scale.high:g}"
            )
        if after["picture"] == before["picture"]:
            wrong.append(f"{control}: the picture did not change with a drag")
        times = self.page.evaluate(
            "([name, scale]) => kernellabPage.latencies(name, scale)",
            [self.name, scale.as_dict()],
        )
        return times, wrong

    def drag_calmly(self, scale: Scale, limit: float, tries: int = 3) -> tuple[dict, list[str]]:
        """As ``drag``; again if the median wait is over the limit, for the machine may be busy.

        The limit (ms) holds for a machine of the usual pace, and grows with how much slower this
        one is while it is tried. The quickest of the drags is returned, and all that was wrong in
        any of them.
        """
        best, wrong = None, []
        for _ in range(tries):
            times, found = self.drag(scale)
            wrong += found
            times["median"] = statistics.median(times["waits"] or [math.inf])
            times["limit"] = limit * max(1.0, self.pace() / USUAL_PACE)
            if best is None or times["median"] < best["median"]:
                best = times
            if best["median"] < best["limit"]:
                break
        return best, wrong

    def pace(self) -> float:
        """Milliseconds that the page takes for a fixed piece of work."""
        return statistics.median(self.page.evaluate("kernellabPage.pace()") for _ in range(9))

    def go(self, scene: int, seconds: float = 5.0) -> dict:
        """Press a scene's button; the state once it is answered."""
        frame = self.state()["frame"]
        self.scenes().nth(scene).click()
        return self.wait(
            lambda state: not state["busy"] and state["frame"] != frame and state["scene"] == scene,
            seconds,
        )

    def scenes(self):
        """The buttons of the scenes."""
        return self.root.locator(".kl-scene")


def fitting(scale: Scale, position: float, value: float) -> Scale:
    """The scale, linear or logarithmic, on which the value comes closest to the slider."""
    if not 0 < scale.low < scale.high or value <= 0:
        return scale
    linear = (value - scale.low) / (scale.high - scale.low)
    log = math.log(value / scale.low) / math.log(scale.high / scale.low)
    closer = abs(log - position) < abs(linear - position)
    return Scale(scale.control, scale.low, scale.high, closer)


def summary(control: str, times: dict) -> dict:
    """One row of the report: how long the hand waited for the pixel, in milliseconds."""
    waits = times["waits"] or [math.nan]
    return {
        "control": control,
        "median": statistics.median(waits),
        "p90": sorted(waits)[math.ceil(0.9 * len(waits)) - 1],
        "settled": times["settled"] if times["settled"] is not None else math.nan,
        "inputs": times["inputs"],
        "frames": times["frames"],
        "busy": times["busy"],
        "limit": times.get("limit"),
    }
