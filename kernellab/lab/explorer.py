"""Explorers: a method that moves under the hand.

An :class:`Explorer` joins controls, a pure ``compute(**controls)`` and a ``view(picture, result)``.
The browser sends a control's value only after it has drawn the answer to the one before, so a drag
leaves no queue behind and the last value wins. Each answer is one message: the traces that changed,
the readouts, and the control values they belong to (``layout.meta`` of the figure).
"""

import contextlib
import logging
import threading
import time
import traceback as tracebacks
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kernellab.lab.controls import Choice, Choices, Control
from kernellab.lab.digest import TooNear, figure_lines
from kernellab.lab.figures import Figure
from kernellab.lab.numbers import RoundingBoundary, saving
from kernellab.lab.pictures import Frame, Panel, Picture, Stage
from kernellab.lab.threads import use_one_blas_thread

logger = logging.getLogger(__name__)
use_one_blas_thread()

_DRAWS_PER_SECOND = 8  # of a computation that runs on a button
_LEAST_SCENES = 3

_explorers: dict[str, "Explorer"] = {}


def instances() -> list["Explorer"]:
    """The explorers of this session, the newest of each name, in order of creation."""
    return list(_explorers.values())


class Scene:
    """A named setting of the controls and a sentence that says what to look at.

    Controls that are not named take their default.
    """

    def __init__(self, title: str, look: str, **settings):
        if not title.strip() or not look.strip():
            raise ValueError("a scene needs a title and a sentence that says what to look at")
        self.title = title
        self.look = look
        self.settings = settings

    def __repr__(self) -> str:
        return f"Scene({self.title!r}, {self.settings!r})"


@dataclass(frozen=True)
class Step:
    """One intermediate result of a long computation: ``fraction`` done (0 to 1) and a message."""

    fraction: float
    result: object
    message: str = ""


class Explorer:
    """Controls, a computation and a picture of its result, with prepared scenes.

    Parameters
    ----------
    name : unique in the notebook; a second explorer of the same name replaces the first.
    title : the line above the picture.
    compute : called with the controls' values; returns the result. It may raise ValueError, whose
        sentence is shown while the last good picture stays. With ``run="button"`` a generator of
        :class:`Step`.
    view : called with a :class:`~kernellab.lab.pictures.Picture` and the result.
    controls : the controls by the name of ``compute``'s argument.
    more : names of controls that stand folded under "More controls", so that the rest fit a screen.
    panels : the axes of the picture.
    scenes : at least three :class:`Scene`; the first one opens. ``small=True`` allows fewer.
    papers : slugs of the papers it shows.
    alt : one sentence that says what the picture shows, for those who do not see it.
    run : "live" recomputes with every move; "button" runs on a button, with progress and a stop.
    height : of the picture in pixels.
    columns : panels a row (by default up to three; four stand two by two).

    Raises
    ------
    ValueError if a name, a scene or a setting does not fit.
    """

    def __init__(
        self,
        *,
        name: str,
        title: str,
        compute: Callable,
        view: Callable,
        controls: Mapping[str, Control],
        more: Sequence[str] = (),
        panels: Sequence[Panel],
        scenes: Sequence[Scene],
        papers: Sequence[str] = (),
        alt: str = "",
        run: str = "live",
        small: bool = False,
        height: int = 400,
        columns: int | None = None,
    ):
        if run not in ("live", "button"):
            raise ValueError(f'run must be "live" or "button", got {run!r}')
        if not alt.strip():
            raise ValueError(
                f'the explorer "{name}" needs alt: one sentence that says what it shows'
            )
        self.name = name
        self.title = title
        self.papers = tuple(papers)
        self.alt = alt
        self.live = run == "live"
        self.controls = dict(controls)
        self._folded = frozenset(more)
        self.panels = tuple(panels)
        self.scenes = tuple(scenes)
        self._compute = compute
        self._view = view
        self._check_controls()
        self._scene_values = [self._checked_scene(scene) for scene in self.scenes]
        self._check_scenes(small)

        self.error: str | None = None
        self.traceback: str | None = None  # of the last error, for whoever wants to dig
        self.result: object = None
        self.timings: list[float] = []  # seconds of each callback, compute and update together
        self.values = dict(self._scene_values[0])
        self._drawn_values = dict(self.values)  # what the picture on screen belongs to
        self._scene = 0
        self._text: str | None = None
        self._finished: dict[int, object] = {}  # results of a button explorer's scenes
        self._run = _Run(self)
        self._lock = threading.RLock()
        self._stage = Stage(self.panels, columns, height)
        self._last = Frame(layout=Picture(self._stage).finish().layout)
        self.figure = Figure(height=height, alt=alt, static=self._static(height))
        self.figure.on_msg(self._on_message)

        earlier = _explorers.pop(name, None)
        if earlier is not None:
            earlier.close()
        _explorers[name] = self
        if self.live:
            self._refresh()
        else:
            self._present()

    # --- headless use ------------------------------------------------------------------------

    def set(self, **values) -> None:
        """Apply control values and redraw; a button explorer runs to its end.

        Raises ValueError for an unknown control or a value that it does not allow. What ``compute``
        and ``view`` raise becomes ``error``.
        """
        self._apply(self._checked(values))
        self._complete()

    def scene(self, which: int | str) -> None:
        """Go to a scene, by its number (from 0) or its title: all controls at once, one redraw."""
        self._apply(self._scene_values[self._scene_index(which)], self._scene_index(which))
        self._complete()

    def start(self) -> None:
        """Start the computation of a button explorer in its thread."""
        self._need_button()
        self._run.start(dict(self.values))

    def stop(self) -> None:
        """Stop a running computation after its present step; it can be continued."""
        self._need_button()
        self._run.stop()

    def resume(self) -> None:
        """Continue a stopped computation."""
        self._need_button()
        self._run.resume()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the thread of a button explorer is at rest."""
        self._run.wait(timeout)

    @property
    def run_state(self) -> str:
        """Of a button explorer: "idle", "running", "stopped", "finished" or "failed"."""
        return self._run.state

    @property
    def readouts(self) -> dict[str, str]:
        """The readouts beside the picture, by label."""
        return {readout.label: readout.text for readout in self._last.readouts}

    def close(self) -> None:
        """Let go of the picture and of the browser's counterpart."""
        self._run.stop()
        if _explorers.get(self.name) is self:
            del _explorers[self.name]
        self.figure.close()

    # --- text form and display ---------------------------------------------------------------

    def text(self) -> str:
        """The text form: one row a scene, its readouts and a digest of what is drawn in it.

        Every scene is drawn once, off stage; then the present picture returns.
        """
        if self._text is None:
            self._run.stop()
            with self._lock, self.figure.off_stage():
                kept = (self.values, self._drawn_values, self.result, self._last, self._scene)
                problem = (self.error, self.traceback)
                timings = len(self.timings)
                try:
                    parts = [self._scene_text(i) for i in range(len(self.scenes))]
                finally:
                    self.values, self._drawn_values, self.result, self._last, self._scene = kept
                    self.error, self.traceback = problem
                    del self.timings[timings:]
                    if not self.live and self.result is None:
                        self._show_finished(0)  # a button explorer opens with scene one's result
                    self._present()
            self._text = "\n".join([self._heading(), *parts])
        return self._text

    def _repr_mimebundle_(self, include=None, exclude=None, **_):
        text = self.text()
        bundle = {"text/plain": text}
        if saving():
            with self._lock, self.figure.off_stage():
                kept = self.values, self._drawn_values, self.result, self._last, self._scene
                self.scene(0)
                bundle["application/vnd.plotly.v1+json"] = self.figure.poster()
                self.values, self._drawn_values, self.result, self._last, self._scene = kept
                self._present()
        bundle["application/vnd.jupyter.widget-view+json"] = {
            "version_major": 2,
            "version_minor": 0,
            "model_id": self.figure.model_id,
        }
        return bundle

    def __repr__(self) -> str:
        return f"Explorer({self.name!r})"

    def _heading(self) -> str:
        lines = [f"{self.title} [{self.name}]"]
        if self.papers:
            lines.append("papers: " + ", ".join(self.papers))
        settings = [
            f"{control.spec(name)['label']} {control.format(control.default)}"
            for name, control in self.controls.items()
        ]
        return "\n".join([*lines, "controls: " + " · ".join(settings)])

    def _scene_text(self, index: int) -> str:
        scene, values = self.scenes[index], self._scene_values[index]
        changed = [
            f"{control.spec(name)['label']} = {control.format(values[name])}"
            for name, control in self.controls.items()
            if values[name] != control.default
        ]
        lines = [f"{index + 1}. {scene.title}" + (f" ({', '.join(changed)})" if changed else "")]
        try:
            self.error = None
            self._apply(values, index)
            self._complete()
            if self.error is not None:
                if saving() and isinstance(self._problem, RoundingBoundary):
                    raise RoundingBoundary(
                        f'explorer "{self.name}", scene "{scene.title}": {self._problem}'
                    )
                if saving() and not isinstance(self._problem, ValueError):
                    raise self._problem
                return "\n".join([*lines, f"   error: {self.error}"])
            lines += [
                f"   {readout.label}: {'(changes)' if readout.volatile else readout.text}"
                for readout in self._last.readouts
            ]
            lines += [f"   {line}" for line in figure_lines(self.figure, strict=saving())]
        except TooNear as error:
            raise TooNear(f'explorer "{self.name}", scene "{scene.title}": {error}') from None
        return "\n".join(lines)

    # --- one move ----------------------------------------------------------------------------

    def _apply(self, values: dict, scene: int | None = None) -> None:
        """Take over control values; ``scene`` is the scene they make up."""
        with self._lock:
            self.values = dict(self.values) | values
            if scene is not None:
                self._scene = scene

    def _complete(self, reply: dict | None = None) -> None:
        """Make the picture belong to the present values."""
        if self.live:
            self._refresh(reply)
        elif self._scene in self._finished and self.values == self._scene_values[self._scene]:
            self._run.forget()
            self._show_finished(self._scene)
            self._present(reply)
        else:
            self._run.start(dict(self.values), threaded=False)
            if self.error is None and self.values == self._scene_values[self._scene]:
                self._finished[self._scene] = self.result
            self._present(reply)

    def _refresh(self, reply: dict | None = None) -> None:
        """Compute, draw and send, as one callback."""
        started = time.perf_counter()
        with self._lock:
            values = dict(self.values)
            with self._sentences():
                self._take(self._compute(**values), values)
            self._present(reply)
        self.timings.append(time.perf_counter() - started)

    def _take(self, result, values: dict) -> None:
        """Draw a result; only if all of it is sound does it replace the last one."""
        picture = Picture(self._stage)
        self._view(picture, result)
        self._last = picture.finish()
        self.result, self._drawn_values = result, values
        self.error = self.traceback = self._problem = None

    _problem: BaseException | None = None

    @contextlib.contextmanager
    def _sentences(self):
        """Turn what is raised inside into one sentence; the last good picture stays."""
        try:
            yield
        except Exception as error:  # whatever a computation raises must not reach the page
            self._problem = error
            self.error = _sentence(error)
            self.traceback = "".join(tracebacks.format_exception(error))
            logger.info("explorer %s with %s:\n%s", self.name, self.values, self.traceback)

    def _present(self, reply: dict | None = None) -> None:
        """Send the last good frame and everything around it."""
        with self._lock:
            self.figure.set_dynamic(**self._around())
            meta = {"controls": _plain(self._drawn_values)}
            layout = self._last.layout | {
                "uirevision": f"scene {self._scene}"
            }  # zoom lasts a scene
            self.figure.show_frame(self._last.traces, layout, meta, reply)

    def _show_finished(self, index: int) -> None:
        if index in self._finished:
            with self._sentences():
                self._take(self._finished[index], dict(self._scene_values[index]))
            self._run.forget("finished")

    def _around(self) -> dict:
        """What the browser shows around the picture."""
        scene_values = self._scene_values[self._scene]
        return {
            "values": {
                name: _to_browser(control, self.values[name])
                for name, control in self.controls.items()
            },
            "shown": {
                name: control.format(self.values[name]) for name, control in self.controls.items()
            },
            "scene": self._scene,
            "touched": self.values != scene_values,
            "readouts": [
                {"label": readout.label, "text": readout.text} for readout in self._last.readouts
            ],
            "error": self.error,
            "legend_room": self._last.legend_room,
            "stale": not self.live
            and self.result is not None
            and self.values != self._drawn_values,
            "run": None if self.live else self._run.report(),
        }

    # --- messages from the browser -----------------------------------------------------------

    def _on_message(self, _, content, buffers) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind not in ("set", "scene", "start", "stop", "resume"):
            return
        reply = {"view": content.get("view"), "turn": content.get("turn")}
        try:
            if kind == "set":
                values = {
                    name: _from_browser(self.controls[name], value)
                    for name, value in content["values"].items()
                }
                self._apply(self._checked(values))
            elif kind == "scene":
                index = self._scene_index(content["index"])
                self._apply(self._scene_values[index], index)
            else:
                getattr(self, kind)()
        except Exception as error:  # always answer, or the page would wait for ever
            self.error = _sentence(error)
            self._present(reply)
            return
        if self.live:
            self._refresh(reply)
        elif kind == "scene":
            self._run.stop()
            self._run.forget()
            self._show_finished(self._scene)
            self._present(reply)
        else:
            self.figure.set_dynamic(**self._around())
            self.figure.send_dynamic(reply)

    # --- checks ------------------------------------------------------------------------------

    def _check_controls(self) -> None:
        for name, control in self.controls.items():
            if not isinstance(control, Control):
                raise ValueError(
                    f'control "{name}" must be made by slider, choice, ...: {control!r}'
                )
        unknown = sorted(self._folded - self.controls.keys())
        if unknown:
            raise ValueError(f'more names {unknown}, which explorer "{self.name}" does not control')

    def _check_scenes(self, small: bool) -> None:
        titles = [scene.title for scene in self.scenes]
        if len(set(titles)) < len(titles):
            raise ValueError(f'explorer "{self.name}": scene titles must differ, got {titles}')
        least = 1 if small else _LEAST_SCENES
        if len(titles) < least:
            raise ValueError(
                f'explorer "{self.name}" has {len(titles)} scenes, it needs at least {least}'
            )

    def _checked_scene(self, scene: Scene) -> dict:
        defaults = {name: control.default for name, control in self.controls.items()}
        try:
            return self._checked(defaults | scene.settings)
        except ValueError as error:
            raise ValueError(f'explorer "{self.name}", scene "{scene.title}": {error}') from None

    def _checked(self, values: Mapping) -> dict:
        unknown = [name for name in values if name not in self.controls]
        if unknown:
            raise ValueError(
                f'there is no control "{unknown[0]}"; the controls are {", ".join(self.controls)}'
            )
        return {name: self.controls[name].check(name, value) for name, value in values.items()}

    def _scene_index(self, which: int | str) -> int:
        titles = [scene.title for scene in self.scenes]
        if isinstance(which, str) and which in titles:
            return titles.index(which)
        if isinstance(which, int) and 0 <= which < len(titles):
            return which
        raise ValueError(f"there is no scene {which!r}; the scenes are {', '.join(titles)}")

    def _need_button(self) -> None:
        if self.live:
            raise ValueError(f'explorer "{self.name}" is live; only run="button" starts and stops')

    def _static(self, height: int) -> dict:
        return {
            "name": self.name,
            "title": self.title,
            "papers": list(self.papers),
            "run": "live" if self.live else "button",
            "controls": [
                control.spec(name) | {"folded": name in self._folded}
                for name, control in self.controls.items()
            ],
            "scenes": [{"title": scene.title, "look": scene.look} for scene in self.scenes],
        }


class _Run:
    """The thread of a button explorer: a generator that can stop between two steps and go on."""

    def __init__(self, explorer: Explorer):
        self._explorer = explorer
        self.state = "idle"
        self.fraction = 0.0
        self.message = ""
        self._steps = None
        self._values: dict = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._ticket = 0  # of the run whose steps may be drawn

    def report(self) -> dict:
        """State, fraction and message, for the browser."""
        return {"state": self.state, "fraction": self.fraction, "message": self.message}

    def start(self, values: dict, threaded: bool = True) -> None:
        """Begin anew with ``values``."""
        self.stop()
        self._values, self.fraction, self.message = values, 0.0, ""
        self._steps = None
        self._go(threaded)

    def resume(self) -> None:
        """Go on with a stopped run."""
        if self.state == "stopped" and self._steps is not None:
            self._go(True)

    def stop(self) -> None:
        """Ask the thread to stop after its step, and wait for that."""
        self._stop.set()
        self.wait()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the thread, if there is one."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def forget(self, state: str = "idle") -> None:
        """Drop a run that is at rest."""
        self.state, self.fraction, self.message, self._steps = state, 0.0, "", None

    def _go(self, threaded: bool) -> None:
        self._stop.clear()
        self.state = "running"
        if threaded:
            self._thread = threading.Thread(target=self._loop, args=(True,), daemon=True)
            self._thread.start()
        else:
            self._loop(False)

    def _loop(self, on_screen: bool) -> None:
        """Advance the generator; on screen, draw a result up to eight times a second."""
        explorer, step, drawn_at = self._explorer, None, 0.0
        with explorer._sentences():
            fresh = self._steps is None
            if fresh:
                self._steps = iter(explorer._compute(**self._values))
            ended = True
            for step in self._steps:
                self.fraction, self.message = float(step.fraction), step.message
                if self._stop.is_set():
                    ended = False
                    break
                now = time.perf_counter()
                if on_screen and now - drawn_at > 1 / _DRAWS_PER_SECOND:
                    self._draw(step)
                    drawn_at = time.perf_counter()
            self.state = "finished" if ended else "stopped"
            if step is not None:
                self._draw(step)
            elif fresh:
                raise ValueError("the computation ended without a single step")
            else:  # it was stopped at its very last step: all is drawn already
                explorer._present()
            return
        self.state = "failed"
        explorer._present()

    def _draw(self, step: Step) -> None:
        explorer = self._explorer
        started = time.perf_counter()
        with explorer._lock:
            explorer._take(step.result, dict(self._values))
            explorer._present()
        explorer.timings.append(time.perf_counter() - started)


def _sentence(error: BaseException) -> str:
    """One line for the page: a ValueError's own words, another error with its type."""
    words = str(error).strip().splitlines()
    line = words[0] if words else "no message"
    return line if isinstance(error, ValueError) else f"{type(error).__name__}: {line}"


def _to_browser(control: Control, value):
    """Options travel as their numbers, so that they may be of any type."""
    if isinstance(control, Choice):
        return control.options.index(value)
    if isinstance(control, Choices):
        return [control.options.index(item) for item in value]
    return value


def _from_browser(control: Control, value):
    if isinstance(control, Choice):
        return control.options[value]
    if isinstance(control, Choices):
        return [control.options[i] for i in value]
    if control.kind == "int_slider":
        return int(value)
    return value


def _plain(values: dict) -> dict:
    """Control values as JSON holds them."""

    def plain(value):
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return value if isinstance(value, bool | int | float | str) else str(value)

    return {name: plain(value) for name, value in values.items()}


__all__ = ["Explorer", "Panel", "Scene", "Step", "instances"]
