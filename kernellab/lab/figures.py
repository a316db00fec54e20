"""Figures: one style, and one copy of plotly's JavaScript a page.

A plain ``FigureWidget`` carries 5 MB of JavaScript with every figure. Here a hidden
:class:`Library` holds plotly, our own front end and its style sheet once, compressed; each
:class:`Figure` brings a few lines (``static/boot.js``) that find the library through the widget
manager, unpack it and keep it for every other figure of the page. Nothing comes from a network.

A figure is drawn from :class:`~kernellab.lab.pictures.Frame` objects. Of a new frame only what
differs from the last one is sent, arrays as binary buffers, in one message; ``figure.data`` and
``figure.layout`` stay true, because the digest under test is computed from them.
"""

import contextlib
import functools
import gzip
import hashlib
import json
import os
import threading
from pathlib import Path

import anywidget
import numpy as np
import platformdirs
import plotly
import plotly.graph_objects as go
from traitlets import Dict, Int, Unicode, default

from kernellab.lab.late_imports import put_off_grammars

put_off_grammars()  # before the first widget, with which plotly loads the rest of itself

_STATIC = Path(__file__).parent / "static"
_PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

# Okabe and Ito's palette: distinct for every common kind of colour blindness.
COLORS = {
    "blue": "#0072B2",
    "red": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "yellow": "#F0E442",
    "grey": "#767676",
}
INK = "#1b1f24"
GRID = "#e4e7eb"

FONT = {"family": "Inter, Helvetica Neue, Arial, Liberation Sans, sans-serif", "color": INK}
TICKS = 15
TITLES = 16

AXIS = {
    "showline": True,
    "linecolor": "#5b6570",
    "linewidth": 1.5,
    "gridcolor": GRID,
    "zeroline": False,
    "ticks": "outside",
    "ticklen": 5,
    "tickcolor": "#5b6570",
    "tickfont": {"size": TICKS},
    "title": {"font": {"size": TITLES}, "standoff": 6},
    "exponentformat": "power",
    "minor": {"ticks": ""},
}

TEMPLATE = {
    "layout": {
        "font": FONT | {"size": TICKS},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": list(COLORS.values()),
        "xaxis": AXIS,
        "yaxis": AXIS,
        "separators": ".",  # no thousands: a year is 1998.5, not 1,998.5
        "hovermode": "closest",
        "hoverlabel": {"font": {"size": 14}},
        "legend": {"font": {"size": TICKS}, "bgcolor": "rgba(0,0,0,0)"},
        "bargap": 0.15,
        "dragmode": "zoom",
        "modebar": {
            "bgcolor": "rgba(255,255,255,0.8)",
            "color": "#8a939c",
            "activecolor": INK,
            "remove": ["select", "lasso", "autoscale", "zoomin", "zoomout", "toimage"],
        },
    }
}

CONFIG = {"displaylogo": False, "responsive": False, "displayModeBar": "hover", "showTips": False}


class Library(anywidget.AnyWidget):
    """The page's one copy of plotly's JavaScript, our front end and its style sheet."""

    _esm = "export default { render() {} };"
    _payload = Dict().tag(sync=True)

    @classmethod
    def shared(cls) -> "Library":
        """The library of this process, made when the first figure is shown."""
        global _library
        with _library_lock:
            if _library is None or _library.comm is None:
                _library = cls(_payload=_payload())
        return _library


_library: Library | None = None
_library_lock = threading.Lock()


def _payload() -> dict:
    return {
        "plotly": _compressed_plotly(),
        "front": (_STATIC / "front.js").read_text(encoding="utf-8"),
        "style": (_STATIC / "front.css").read_text(encoding="utf-8"),
    }


@functools.cache
def _fingerprint() -> str:
    """Changes when plotly or our front end does, so that a page never mixes two versions."""
    digest = hashlib.sha256(plotly.__version__.encode())
    for name in ("front.js", "front.css"):
        digest.update((_STATIC / name).read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _compressed_plotly() -> bytes:
    """plotly.min.js, gzipped; kept on disk, because compressing 5 MB takes a third of a second."""
    source = _PLOTLY_JS.read_bytes
    size = _PLOTLY_JS.stat().st_size
    kept = platformdirs.user_cache_path("kernellab") / f"plotly-{plotly.__version__}-{size}.js.gz"
    with contextlib.suppress(OSError, EOFError):
        packed = kept.read_bytes()
        if len(packed) > 8 and int.from_bytes(packed[-4:], "little") == size:  # gzip's own length
            return packed
    packed = gzip.compress(source(), compresslevel=6, mtime=0)
    with contextlib.suppress(OSError):  # a read-only home only means compressing again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(packed)
        partial.replace(kept)
    return packed


class Figure(go.FigureWidget):
    """A ``FigureWidget`` that shares its JavaScript and redraws from frames.

    Created closed: the browser's counterpart is opened when the figure is first displayed, so
    headless use costs no messages.
    """

    _esm = (_STATIC / "boot.js").read_text(encoding="utf-8")
    _library = Unicode().tag(sync=True)
    _front = Unicode().tag(sync=True)
    _static = Dict().tag(sync=True)
    _snapshot = Int().tag(sync=True, to_json=lambda _, figure: figure._encoded_snapshot())

    def __init__(self, *, height: int = 400, alt: str = "", static: dict | None = None):
        self._may_open = False
        self._quiet = True
        self._guard = threading.RLock()
        self._place: dict[tuple, int] = {}  # key of a trace -> its index in figure.data
        self._shown: dict[tuple, dict] = {}  # key -> its specification as last drawn
        self._shown_layout: dict[str, object] = {}
        self._frame = 0
        self._dynamic: dict = {}
        super().__init__(layout={"template": TEMPLATE, "height": height, "autosize": True})
        self._config = CONFIG
        self._static = {"alt": alt, "height": height} | (static or {})
        self._quiet = False
        self._may_open = True
        self.on_msg(self._on_browser_message)

    # --- the widget's life -------------------------------------------------------------------

    def open(self):
        """Open the comm with the whole figure in its first message (not while constructing)."""
        if not self._may_open or self.comm is not None:
            return
        library = Library.shared()
        self._library, self._front = library.model_id, _fingerprint()
        super().open()

    @property
    def model_id(self) -> str:
        """The widget's id; asking for it opens the widget."""
        self.open()
        return self.comm.comm_id

    @default("keys")
    def _synced(self):
        # plotly's own transport traits stay at home; a frame travels as one message instead.
        ours = ("_library", "_front", "_static", "_snapshot", "_esm", "_css")
        return [
            name
            for name in self.traits(sync=True)
            if name in ours or not name.startswith(("_widget_", "_py2js", "_js2py", "_last_"))
        ]

    def _repr_mimebundle_(self, include=None, exclude=None, **_):
        return {
            "text/plain": self._static["alt"] or "figure",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.model_id,
            },
        }

    # --- drawing -----------------------------------------------------------------------------

    @property
    def frame(self) -> int:
        """How many frames this figure has shown."""
        return self._frame

    def show_frame(self, traces: dict, layout: dict, meta: dict, reply: dict | None = None) -> None:
        """Draw a frame: ``traces`` by key, the ``layout`` entries, and what belongs to it.

        Traces that are not in the frame are hidden. ``meta`` becomes ``layout.meta`` together with
        the frame's number. Cost: a comparison with the last frame, then what changed is sent.
        """
        with self._guard:
            self._frame += 1
            changed, added = self._take_traces(traces)
            moved = self._take_layout(layout | {"meta": {"frame": self._frame} | meta})
            self._post({"changed": changed, "added": added, "layout": moved}, reply)

    def poster(self, width: int = 900) -> dict:
        """The present picture as plotly's JSON, to be turned into a PNG."""
        spec = json.loads(self.to_json(validate=False))
        for written, own in zip(spec["data"], self._data, strict=True):
            if own["type"] == "image":  # plotly.js does not read colours (h, w, 3) as bytes
                written["z"] = own["z"].tolist()
        spec["layout"] |= {"width": width, "autosize": False}
        return spec

    def send_dynamic(self, reply: dict | None = None, **dynamic) -> None:
        """Send what stands around the picture (readouts, sentences), without redrawing it."""
        with self._guard:
            self._dynamic = self._dynamic | dynamic
            self._post({}, reply)

    def set_dynamic(self, **dynamic) -> None:
        """Set what stands around the picture; it travels with the next frame."""
        with self._guard:
            self._dynamic = self._dynamic | dynamic

    @contextlib.contextmanager
    def off_stage(self):
        """Draw frames that no browser shall see, then show the present state again."""
        with self._guard:
            before = self._quiet
            self._quiet = True
            try:
                yield
            finally:
                self._quiet = before
                if self.comm is not None and not self._quiet:
                    self._send_whole()

    def _take_traces(self, traces: dict) -> tuple[dict, list]:
        fresh = {key: spec for key, spec in traces.items() if key not in self._place}
        if fresh:
            with self._silence():
                # First of all, and nothing is noted if plotly refuses one: it checks each new trace
                # once. What has no place is tried again with the next frame.
                self.add_traces(list(fresh.values()))
        changed: dict[int, dict] = {}
        for key, i in self._place.items():
            if key in traces:
                spec = traces[key]
                update = _difference(self._shown[key], spec)
                if update:
                    changed[i] = update
                    _merge(self._data[i], update)
                self._shown[key] = spec
            elif self._shown[key]["visible"] is not False:
                self._shown[key] = self._shown[key] | {"visible": False}
                self._data[i]["visible"] = False
                changed[i] = {"visible": False}
        for key, spec in fresh.items():
            self._place[key] = len(self._place)
            self._shown[key] = spec
        added = self._data[-len(fresh) :] if fresh else []
        return changed, added

    def _take_layout(self, layout: dict) -> dict:
        moved = {}
        for key, value in layout.items():
            if key in self._shown_layout and _same(self._shown_layout[key], value):
                continue
            if key == "meta" or (key in self._shown_layout and isinstance(value, dict)):
                self._layout[key] = value  # known to plotly already: no second validation
            else:
                with self._silence():
                    self.layout[key] = value
            self._shown_layout[key] = value
            moved[key] = value
        return moved

    @contextlib.contextmanager
    def _silence(self):
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    # --- messages ----------------------------------------------------------------------------

    def _post(self, content: dict, reply: dict | None = None) -> None:
        if self._quiet or self.comm is None:
            return
        buffers: list = []
        message = {"kind": "frame", "frame": self._frame, "dynamic": self._dynamic}
        message |= {"reply": reply} if reply else {}
        message |= {name: _encode(part, buffers) for name, part in content.items() if part}
        self.send(message, buffers)

    def _send_whole(self) -> None:
        self._post({"data": self._data, "whole_layout": self._layout, "config": self._config})

    def _encoded_snapshot(self) -> dict:
        buffers: list = []
        with self._guard:
            message = {"kind": "frame", "frame": self._frame, "dynamic": self._dynamic}
            message["data"] = _encode(self._data, buffers)
            message["whole_layout"] = _encode(self._layout, buffers)
            message["config"] = dict(self._config)
        return {"message": message, "buffers": buffers}

    def _on_browser_message(self, _, content, buffers) -> None:
        # A browser that opens late (or missed a message) asks for the whole figure.
        if isinstance(content, dict) and content.get("kind") == "hello":
            with self._guard:
                if content.get("frame") != self._frame or content.get("again"):
                    self._send_whole()

    # plotly's own ways of sending: whoever edits figure.data or figure.layout directly is served
    # with the whole figure.

    def _send_changes(self, *args, **kwargs):
        if not self._quiet and self.comm is not None:
            self._send_whole()

    _send_addTraces_msg = _send_changes
    _send_moveTraces_msg = _send_changes
    _send_deleteTraces_msg = _send_changes
    _send_restyle_msg = _send_changes
    _send_relayout_msg = _send_changes
    _send_update_msg = _send_changes
    _send_animate_msg = _send_changes


def _difference(old: dict, new: dict) -> dict:
    """Top-level entries of ``new`` that differ from ``old``; None for those that are gone."""
    update = {
        key: value for key, value in new.items() if key not in old or not _same(old[key], value)
    }
    return update | {key: None for key in old if key not in new}


def _merge(into: dict, update: dict) -> None:
    for key, value in update.items():
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value


def _same(a, b) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(a, np.ndarray)
            and isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and (a.tobytes() == b.tobytes())  # bytes, so that a gap (NaN) equals itself
        )
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def _encode(value, buffers: list):
    """Plain JSON with arrays moved into ``buffers``; grids travel as float32 (they are colours)."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiu":
            return value.tolist()
        if value.ndim > 1 and value.dtype.kind == "f":
            value = value.astype(np.float32)
        elif value.dtype.itemsize == 8 and value.dtype.kind != "f":
            value = value.astype(np.float64)
        buffers.append(value.tobytes())
        return {"~": len(buffers) - 1, "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, dict):
        return {str(key): _encode(item, buffers) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item, buffers) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
