"""The picture that an explorer's ``view`` draws on.

``view`` says anew, for every frame, everything that shall be seen; what it does not draw is hidden.
Calls only collect a :class:`Frame`; nothing reaches the screen before all of it is known to be
sound, so a NaN or a mistake halfway leaves the last good picture as it was.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from kernellab.lab.figures import COLORS, FONT, INK, TICKS, TITLES

# Every colour has its own dash, symbol and hatching, so that colour is never the only carrier.
DASHES = (
    "solid",
    "dash",
    "dot",
    "dashdot",
    "longdash",
    "longdashdot",
    "9px,3px,3px,3px",
    "3px,3px",
)
SYMBOLS = (
    "circle",
    "diamond",
    "square",
    "triangle-up",
    "x",
    "star",
    "circle-open",
    "cross",
    "triangle-down",
)
SYMBOLS_3D = ("circle", "diamond", "square", "x", "cross", "circle-open", "diamond-open")
PATTERNS = ("", "/", "x", "\\", "-", ".", "+", "|")
_NAMED = ("blue", "red", "green", "purple", "orange", "sky", "black", "grey", "yellow")
_CYCLE = _NAMED[:7]

SCALES = {
    "viridis": "Viridis",
    "cividis": "Cividis",
    "grey": "Greys_r",
    "diverging": [[0, "#0072B2"], [0.5, "#f7f7f7"], [1, "#D55E00"]],
}

# Margins of the figure in pixels, and the room one panel leaves for the next one's axis.
_TOP, _BOTTOM, _LEFT, _RIGHT = 34, 58, 74, 14
_NOMINAL_WIDTH = 800
_GRID_IN_SPACE = "#c9ced4"
_GAP_X, _GAP_Y, _COLORBAR = 92, 96, 74


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    ``x``, ``y`` (and ``z`` for a panel in space) are axis titles with their units; ``x_log`` and
    ``y_log`` make an axis logarithmic; ``equal`` gives both axes the same scale; ``limits`` of an
    axis that are not set by ``picture.limits`` follow the data. ``width`` is relative to the
    panel's neighbours. ``axes=False`` hides ticks and lines.
    """

    name: str
    x: str = ""
    y: str = ""
    z: str | None = None
    title: str = ""
    x_log: bool = False
    y_log: bool = False
    equal: bool = False
    axes: bool = True
    width: float = 1.0
    x_limits: tuple | None = None
    y_limits: tuple | None = None

    @property
    def in_space(self) -> bool:
        """Whether the panel is three-dimensional."""
        return self.z is not None


@dataclass(frozen=True)
class Readout:
    """A labelled number beside the picture, as text."""

    label: str
    text: str
    volatile: bool = False


@dataclass
class Frame:
    """Everything one call of ``view`` drew: plotly traces by key, layout entries, readouts."""

    traces: dict[tuple, dict] = field(default_factory=dict)
    layout: dict = field(default_factory=dict)
    readouts: list[Readout] = field(default_factory=list)
    legend_room: int = 0  # pixels of the bottom margin that were set aside for the legend


class Stage:
    """The panels of one explorer: where they stand, and which style each name has.

    A name keeps its colour, dash and symbol in every panel and frame, in order of appearance.
    """

    def __init__(self, panels, columns: int | None = None, height: int = 400):
        self.panels = {panel.name: panel for panel in panels}
        if not self.panels or len(self.panels) < len(tuple(panels)):
            raise ValueError("panels must be one or more Panel with different names")
        count = len(self.panels)
        self.columns = columns or (2 if count == 4 else min(count, 3))
        self.height = height
        self._slots: dict[str, int] = {}
        self._foreign: dict[str, int] = {}  # names with a colour that is not ours
        self._colorbars: set[str] = set()  # panels that ever had one keep its room
        self._pictures: set[str] = set()  # panels that hold an image: no axes, first row on top
        flat = [panel.name for panel in panels if not panel.in_space]
        space = [panel.name for panel in panels if panel.in_space]
        self._number = {name: i + 1 for names in (flat, space) for i, name in enumerate(names)}

    def axis_ids(self, panel: str) -> dict:
        """The trace entries that put a trace into ``panel``."""
        number = self._number[panel]
        suffix = "" if number == 1 else str(number)
        if self.panels[panel].in_space:
            return {"scene": "scene" + suffix}
        return {"xaxis": "x" + suffix, "yaxis": "y" + suffix}

    def slot(self, name: str) -> int:
        """The style number of a name."""
        return self._slots.setdefault(name, len(self._slots))

    def color(self, name: str, color: str | None) -> tuple[str, int]:
        """The colour as CSS, and the number that picks the dash and symbol going with it."""
        if color is None:
            slot = self.slot(name)
            return COLORS[_CYCLE[slot % len(_CYCLE)]], slot
        if color in _NAMED:
            return COLORS[color], _NAMED.index(color)
        return color, self._foreign.setdefault(name, len(self._foreign))

    def needs_colorbar(self, panel: str) -> None:
        """Leave room for a colour bar at the right of ``panel``."""
        self._colorbars.add(panel)

    def holds_image(self, panel: str) -> None:
        """Show ``panel`` without axes, square pixels, the first row on top."""
        self._pictures.add(panel)

    def domains(self) -> dict[str, tuple[list, list]]:
        """The part of the figure each panel takes, as fractions: ([x0, x1], [y0, y1])."""
        names = list(self.panels)
        rows = [names[i : i + self.columns] for i in range(0, len(names), self.columns)]
        inner_height = max(self.height - _TOP - _BOTTOM, 1)
        gaps_y = [(_GAP_Y if any(map(self._has_axes, row)) else 40) / inner_height for row in rows]
        row_height = (1 - sum(gaps_y[:-1])) / len(rows)
        domains = {}
        for i, row in enumerate(rows):
            top = 1 - i * row_height - sum(gaps_y[:i])
            inner_width = _NOMINAL_WIDTH - _LEFT - _RIGHT
            gaps = [(_GAP_X if self._has_axes(name) else 24) / inner_width for name in row[1:]]
            bars = [_COLORBAR / inner_width * (name in self._colorbars) for name in row]
            free = 1 - sum(gaps) - sum(bars)
            total = sum(self.panels[name].width for name in row)
            left = 0.0
            for j, name in enumerate(row):
                left += gaps[j - 1] if j else 0.0
                right = left + free * self.panels[name].width / total
                domains[name] = ([left, right], [max(top - row_height, 0.0), top])
                left = right + bars[j]
        return domains

    def colorbar(self, panel: str, label: str) -> dict:
        """A slim colour bar at the right of ``panel``."""
        (_, right), (bottom, top) = self.domains()[panel]
        return {
            "x": right + 0.008,
            "xanchor": "left",
            "y": (bottom + top) / 2,
            "len": (top - bottom) * 1.02,
            "thickness": 12,
            "outlinewidth": 0,
            "tickfont": {"size": TICKS - 2},
            "title": {"text": label, "side": "right", "font": {"size": TICKS}},
        }

    def layout(self, titles: dict, limits: dict, rules: list, legend: int) -> dict:
        """The layout entries of a frame; ``legend`` is the room below, in pixels, for its rows."""
        domains = self.domains()
        layout: dict = {}
        annotations = []
        for name, panel in self.panels.items():
            x_domain, y_domain = domains[name]
            suffix = "" if self._number[name] == 1 else str(self._number[name])
            if panel.in_space:
                layout["scene" + suffix] = self._space(panel, x_domain, y_domain, limits)
            else:
                layout["xaxis" + suffix] = self._axis(panel, "x", suffix, x_domain, limits)
                layout["yaxis" + suffix] = self._axis(panel, "y", suffix, y_domain, limits)
            title = titles.get(name, panel.title)
            if title:
                annotations.append(
                    {
                        "text": f"<b>{title}</b>",
                        "xref": "paper",
                        "yref": "paper",
                        "x": x_domain[0],
                        "y": y_domain[1],
                        "xanchor": "left",
                        "yanchor": "bottom",
                        "yshift": 5,
                        "showarrow": False,
                        "font": FONT | {"size": TITLES},
                    }
                )
        names = list(self.panels)
        last_row = names[(len(names) - 1) // self.columns * self.columns :]
        layout["margin"] = {
            "t": _TOP if any(titles.values()) or any(p.title for p in self.panels.values()) else 14,
            "b": (_BOTTOM if any(map(self._has_axes, last_row)) else 16) + legend,
            "l": _LEFT if any(map(self._has_axes, names[:: self.columns])) else 12,
            "r": _RIGHT,
        }
        layout["showlegend"] = legend > 0
        layout["legend"] = {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
            "font": FONT | {"size": TICKS},
            "itemsizing": "constant",
            "itemwidth": 40,
            "tracegroupgap": 0,
        }
        layout["annotations"] = annotations
        layout["shapes"] = rules
        return layout

    def _has_axes(self, name: str) -> bool:
        panel = self.panels[name]
        return panel.axes and not panel.in_space and name not in self._pictures

    def _axis(self, panel: Panel, letter: str, suffix: str, domain: list, limits: dict) -> dict:
        log = panel.x_log if letter == "x" else panel.y_log
        fixed = panel.x_limits if letter == "x" else panel.y_limits
        other = ("y" if letter == "x" else "x") + suffix
        axis: dict = {"domain": domain, "anchor": other}
        if panel.name in self._pictures:
            axis |= {"visible": False, "constrain": "domain"}
            if letter == "y":
                axis |= {"autorange": "reversed", "scaleanchor": other, "constraintoward": "top"}
        elif not panel.axes:
            axis |= {"visible": False}
        else:
            axis |= {"title": {"text": panel.x if letter == "x" else panel.y}}
        if panel.equal and letter == "y" and panel.name not in self._pictures:
            axis |= {"scaleanchor": other}
        if panel.equal:
            axis |= {"constrain": "domain"}
        if log:
            axis |= {
                "type": "log",
                "tickfont": {"size": TICKS - 3},
            }  # plotly enlarges powers of ten
        pair = limits.get((panel.name, letter), fixed)
        if pair is not None:
            axis["range"] = [math.log10(end) if log else float(end) for end in pair]
            axis["autorange"] = False
        elif "autorange" not in axis:
            axis["autorange"] = True
        return axis

    def _space(self, panel: Panel, x_domain: list, y_domain: list, limits: dict) -> dict:
        def axis(letter, title):
            pair = limits.get((panel.name, letter))
            return {
                "title": {"text": title, "font": FONT | {"size": TITLES - 2}},
                "tickfont": FONT | {"size": TICKS - 3},
                "gridcolor": _GRID_IN_SPACE,
                "nticks": 5,
                "backgroundcolor": "white",
                "visible": panel.axes,
                **({"range": [float(end) for end in pair]} if pair else {}),
            }

        return {
            "domain": {"x": x_domain, "y": y_domain},
            "xaxis": axis("x", panel.x),
            "yaxis": axis("y", panel.y),
            "zaxis": axis("z", panel.z),
            "aspectmode": "data" if panel.equal else "cube",
            "camera": {"eye": {"x": 1.3, "y": -1.35, "z": 0.8}, "center": {"z": -0.12}},
        }


class Picture:
    """What ``view(picture, result)`` draws on; see the methods.

    Every drawing method takes the panel's name and the trace's name first. A name keeps its style
    in all panels; give ``color`` ("blue", "red", "green", "purple", "orange", "sky", "black",
    "yellow", "grey" or any CSS colour) to choose it. ``gaps=True`` allows NaN, which breaks a line.
    ``coarse=True`` keeps only the count of points in the text form, for results whose digits may
    differ on another machine. ``legend=False`` keeps a trace out of the legend.
    """

    def __init__(self, stage: Stage):
        self._stage = stage
        self._traces: dict[tuple, dict] = {}
        self._in_legend: set[str] = set()
        self._titles: dict[str, str] = {}
        self._limits: dict[tuple, tuple] = {}
        self._rules: list[tuple] = []
        self._readouts: list[Readout] = []

    # --- lines, points, areas ----------------------------------------------------------------

    def line(
        self, panel, name, x, y, *, color=None, dash=None, width=3, step=False, opacity=None,
        markers=False, gaps=False, coarse=False, legend=True,
    ):  # fmt: skip
        """A line through ``x`` and ``y``, both (n,); ``step=True`` draws it as a staircase."""
        css, slot = self._stage.color(name, color)
        x, y = self._pair(panel, name, x, y, gaps)
        spec = {
            "type": "scatter",
            "mode": "lines+markers" if markers else "lines",
            "x": x,
            "y": y,
            "line": {
                "color": css,
                "width": width,
                "dash": dash or DASHES[slot % len(DASHES)],
                "shape": "hv" if step else "linear",
            },
        }
        if markers:
            spec["marker"] = {"color": css, "size": 8, "symbol": SYMBOLS[slot % len(SYMBOLS)]}
        if opacity is not None:
            spec["opacity"] = opacity
        self._add(panel, name, "line", spec, coarse, legend)

    def points(
        self, panel, name, x, y, *, color=None, symbol=None, size=8, opacity=None, values=None,
        range=None, colors="viridis", label="", labels=None, gaps=False, coarse=False, legend=True,
    ):  # fmt: skip
        """Markers at ``x`` and ``y``, both (n,).

        ``values`` (n,) colours them by number, on ``colors`` over ``range`` with a colour bar that
        is called ``label``; ``size`` may be an array (n,); ``labels`` (n,) are shown on hover.
        """
        x, y = self._pair(panel, name, x, y, gaps)
        marker = self._marker(
            panel, name, len(x), color, symbol, size, values, range, colors, label
        )
        spec = {"type": "scatter", "mode": "markers", "x": x, "y": y, "marker": marker}
        if labels is not None:
            spec["text"] = [str(item) for item in labels]
        if opacity is not None:
            spec["opacity"] = opacity
        self._add(panel, name, "points", spec, coarse, legend and values is None)

    def band(
        self, panel, name, x, lower, upper, *, color=None, opacity=0.25, gaps=False, coarse=False,
        legend=None,
    ):  # fmt: skip
        """The area between ``lower`` and ``upper`` over ``x``, all (n,)."""
        css, _ = self._stage.color(name, color)
        x, lower = self._pair(panel, name, x, lower, gaps)
        _, upper = self._pair(panel, name, x, upper, gaps)
        if gaps:  # an outline cannot have holes
            kept = np.isfinite(lower) & np.isfinite(upper) & np.isfinite(x)
            x, lower, upper = x[kept], lower[kept], upper[kept]
        spec = {
            "type": "scatter",
            "mode": "lines",
            "x": np.concatenate([x, x[::-1]]),
            "y": np.concatenate([lower, upper[::-1]]),
            "fill": "toself",
            "fillcolor": _translucent(css, opacity),
            "line": {"width": 0, "color": css},
            "hoverinfo": "skip",
        }
        if legend is None:
            legend = name not in self._in_legend
        self._add(panel, name, "band", spec, coarse, legend)

    def bars(
        self, panel, name, x, height, *, color=None, width=None, opacity=None, errors=None,
        gaps=False, coarse=False, legend=True,
    ):  # fmt: skip
        """Bars of ``height`` (n,) at ``x`` (n,), numbers or names; ``errors`` (n,) as whiskers."""
        css, slot = self._stage.color(name, color)
        x, height = self._pair(panel, name, x, height, gaps)
        spec = {
            "type": "bar",
            "x": x,
            "y": height,
            "marker": {
                "color": css,
                "line": {"width": 0},
                "pattern": {
                    "shape": PATTERNS[slot % len(PATTERNS)],
                    "fillmode": "overlay",
                    "fgcolor": "white",
                    "fgopacity": 0.7,
                    "solidity": 0.25,
                },
            },
        }
        if width is not None:
            spec["width"] = width
        if errors is not None:
            spec["error_y"] = {"type": "data", "array": self._numbers(panel, name, errors, False)}
        if opacity is not None:
            spec["opacity"] = opacity
        self._add(panel, name, "bars", spec, coarse, legend)

    def segments(
        self, panel, name, x0, y0, x1, y1, *, color=None, dash="solid", width=1.5, opacity=None,
        coarse=False, legend=True,
    ):  # fmt: skip
        """Separate straight lines from (x0, y0) to (x1, y1), all (n,): the edges of a graph."""
        x0, y0 = self._pair(panel, name, x0, y0, False)
        x1, y1 = self._pair(panel, name, x1, y1, False)
        if len(x0) != len(x1):
            raise ValueError(
                f'"{name}" in panel "{panel}": {len(x0)} segments start but {len(x1)} end'
            )
        gap = np.full(len(x0), np.nan)
        x = np.column_stack([x0, x1, gap]).ravel()
        y = np.column_stack([y0, y1, gap]).ravel()
        self.line(
            panel, name, x, y, color=color, dash=dash, width=width, opacity=opacity, gaps=True,
            coarse=coarse, legend=legend,
        )  # fmt: skip

    def arrows(self, panel, name, x, y, u, v, *, color=None, width=2, coarse=False, legend=True):
        """Arrows from (x, y) by (u, v), all (n,), in the units of the axes."""
        x, y = self._pair(panel, name, x, y, False)
        u, v = self._pair(panel, name, u, v, False)
        if len(x) != len(u):
            raise ValueError(
                f'"{name}" in panel "{panel}": {len(x)} arrows start but {len(u)} have a direction'
            )
        head = 0.25  # of the arrow's length, opening 25 degrees to each side
        cos, sin = -head * math.cos(math.radians(25)), head * math.sin(math.radians(25))
        tip_x, tip_y = x + u, y + v
        left_x, left_y = tip_x + cos * u - sin * v, tip_y + sin * u + cos * v
        right_x, right_y = tip_x + cos * u + sin * v, tip_y - sin * u + cos * v
        gap = np.full(len(x), np.nan)
        xs = np.column_stack([x, tip_x, left_x, tip_x, right_x, gap]).ravel()
        ys = np.column_stack([y, tip_y, left_y, tip_y, right_y, gap]).ravel()
        self.line(
            panel, name, xs, ys, color=color, dash="solid", width=width, gaps=True, coarse=coarse,
            legend=legend,
        )  # fmt: skip

    # --- grids of numbers --------------------------------------------------------------------

    def image(self, panel, name, z, *, range=None, colors="grey", coarse=False):
        """A picture with the first row on top: ``z`` (h, w) in ``range``, or colours (h, w, 3).

        Colours are numbers in [0, 1] or uint8. Without ``range`` grey runs from the least to the
        greatest value of ``z``.
        """
        self._stage.holds_image(panel)
        z = np.asarray(z)
        if z.ndim == 3:
            self._add(panel, name, "image", {"type": "image", "z": _rgb(panel, name, z)}, coarse)
            return
        spec = self._grid(panel, name, z, range, colors, False) | {"showscale": False}
        self._add(panel, name, "image", spec, coarse)

    def heatmap(
        self, panel, name, z, *, x=None, y=None, range=None, colors="viridis", label="",
        gaps=False, coarse=False,
    ):  # fmt: skip
        """Numbers ``z`` (rows, columns) as colours over ``x`` (columns,) and ``y`` (rows,).

        ``range`` is (least, greatest) of the colour bar; ``colors`` is "viridis", "cividis",
        "grey" or "diverging" (centred on zero unless ``range`` says otherwise).
        """
        self._stage.needs_colorbar(panel)
        spec = self._grid(panel, name, z, range, colors, gaps)
        spec |= self._grid_axes(panel, name, spec["z"], x, y)
        spec |= {"showscale": True, "colorbar": label}
        self._add(panel, name, "heatmap", spec, coarse)

    def contour(
        self, panel, name, z, x, y, *, levels=8, range=None, color=None, width=2, coarse=False,
        legend=True,
    ):  # fmt: skip
        """Contour lines of ``z`` (rows, columns) over ``x`` (columns,) and ``y`` (rows,).

        ``levels`` is how many, or an ascending sequence of equally spaced values.
        """
        css, _ = self._stage.color(name, color)
        spec = self._grid(panel, name, z, range, "viridis", False)
        spec |= self._grid_axes(panel, name, spec["z"], x, y)
        low, high = spec.pop("zmin"), spec.pop("zmax")
        if np.ndim(levels):
            low, high, count = float(levels[0]), float(levels[-1]), len(levels)
        else:
            count = int(levels)
        spec |= {
            "type": "contour",
            "autocontour": False,
            "contours": {
                "coloring": "none",
                "start": low,
                "end": high,
                "size": (high - low) / max(count - 1, 1) or 1.0,
            },
            "line": {"color": css, "width": width},
            "showscale": False,
        }
        for key in ("colorscale", "zsmooth"):
            spec.pop(key, None)
        self._add(panel, name, "contour", spec, coarse, legend)

    # --- in space ----------------------------------------------------------------------------

    def line3d(self, panel, name, x, y, z, *, color=None, width=5, gaps=False, coarse=False,
               legend=True):  # fmt: skip
        """A line through points in space, all (n,)."""
        css, slot = self._stage.color(name, color)
        x, y, z = self._triple(panel, name, x, y, z, gaps)
        dash = DASHES[slot % 4]
        spec = {"type": "scatter3d", "mode": "lines", "x": x, "y": y, "z": z}
        spec["line"] = {"color": css, "width": width, "dash": dash}
        self._add(panel, name, "line", spec, coarse, legend)

    def points3d(
        self, panel, name, x, y, z, *, color=None, symbol=None, size=4, opacity=None, values=None,
        range=None, colors="viridis", label="", gaps=False, coarse=False, legend=True,
    ):  # fmt: skip
        """Markers in space, all (n,); see :meth:`points`."""
        x, y, z = self._triple(panel, name, x, y, z, gaps)
        if symbol is None:
            symbol = SYMBOLS_3D[self._stage.color(name, color)[1] % len(SYMBOLS_3D)]
        marker = self._marker(
            panel, name, len(x), color, symbol, size, values, range, colors, label
        )
        spec = {"type": "scatter3d", "mode": "markers", "x": x, "y": y, "z": z, "marker": marker}
        if opacity is not None:
            spec["opacity"] = opacity
        self._add(panel, name, "points", spec, coarse, legend and values is None)

    def surface(self, panel, name, z, x, y, *, range=None, colors="viridis", opacity=1.0,
                coarse=False):  # fmt: skip
        """A surface ``z`` (rows, columns) over ``x`` (columns,) and ``y`` (rows,).

        Two triangles a cell: plotly's own surface draws a refined copy of the grid, and takes more
        than twice as long a frame.
        """
        grid = self._grid(panel, name, z, range, colors, False)
        axes = self._grid_axes(panel, name, grid["z"], x, y)
        rows, columns = grid["z"].shape
        if min(rows, columns) < 2:
            raise ValueError(
                f'surface "{name}" in panel "{panel}" needs 2 rows and 2 columns or more, '
                f"got ({rows}, {columns})"
            )
        corner = (columns * np.arange(rows - 1)[:, None] + np.arange(columns - 1)).ravel()
        right, below = corner + 1, corner + columns
        triangles = np.concatenate(
            [np.stack([corner, right, below], 1), np.stack([right, below + 1, below], 1)]
        )
        heights = grid["z"].ravel()
        vertices = np.stack([np.tile(axes["x"], rows), np.repeat(axes["y"], columns), heights], 1)
        look = {"values": heights, "range": range, "colors": colors, "opacity": opacity}
        self._triangles(panel, name, "surface", vertices, triangles, coarse=coarse, **look)

    def mesh(self, panel, name, vertices, triangles, *, values=None, range=None, colors="viridis",
             color=None, opacity=1.0, coarse=False):  # fmt: skip
        """A triangle mesh: ``vertices`` (n, 3), ``triangles`` (m, 3) indices, ``values`` (n,)."""
        look = {"values": values, "range": range, "colors": colors, "color": color}
        look |= {"opacity": opacity, "coarse": coarse}
        self._triangles(panel, name, "mesh", vertices, triangles, **look)

    def _triangles(self, panel, name, kind, vertices, triangles, *, values, range, colors,
                   color=None, opacity, coarse):  # fmt: skip
        vertices, triangles = np.asarray(vertices, float), np.asarray(triangles)
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise ValueError(f"vertices must have shape (n, 3), got {vertices.shape}")
        if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
            raise ValueError(f"triangles must be whole numbers (m, 3), got {triangles.shape}")
        x, y, z = self._triple(panel, name, *vertices.T, False)
        i, j, k = (np.array(column, dtype=np.int32) for column in triangles.T)
        spec = {"type": "mesh3d", "x": x, "y": y, "z": z, "i": i, "j": j, "k": k}
        spec |= {"opacity": opacity, "flatshading": False}
        if values is None:
            spec["color"] = self._stage.color(name, color)[0]
        else:
            values = self._numbers(panel, name, values, False)
            low, high = _range(values, range, colors)
            spec |= {"intensity": values, "cmin": low, "cmax": high}
            spec |= {"colorscale": SCALES.get(colors, colors), "showscale": False}
        self._add(panel, name, kind, spec, coarse, legend=False)

    # --- marks and words ---------------------------------------------------------------------

    def rule(self, panel, name, *, x=None, y=None, color="grey", dash="dash", label=True):
        """A straight reference line across the panel at ``x`` or at ``y``, with its name on it."""
        self._known(panel)
        if (x is None) == (y is None):
            raise ValueError(f'rule "{name}" needs x or y, exactly one of them')
        value = float(x if y is None else y)
        log = self._stage.panels[panel].x_log if y is None else self._stage.panels[panel].y_log
        if not math.isfinite(value) or (log and value <= 0):
            raise ValueError(f'rule "{name}" in panel "{panel}" cannot be drawn at {value:g}')
        ids = self._stage.axis_ids(panel)
        upright = y is None
        css = COLORS.get(color, color)
        shape = {
            "type": "line",
            "name": str(name),
            "xref": ids["xaxis"] if upright else f"{ids['xaxis']} domain",
            "yref": f"{ids['yaxis']} domain" if upright else ids["yaxis"],
            "x0": value if upright else 0,
            "x1": value if upright else 1,
            "y0": 0 if upright else value,
            "y1": 1 if upright else value,
            "line": {"color": css, "width": 2, "dash": dash},
        }
        if label:
            shape["label"] = {
                "text": str(name),
                "textposition": "end",
                "textangle": 0,
                "xanchor": "left" if upright else "right",
                "yanchor": "top" if upright else "bottom",
                "font": FONT | {"size": TICKS - 1, "color": css},
            }
        self._rules.append((panel, "x" if upright else "y", value, shape))

    def text(self, panel, name, x, y, text, *, color="black", size=TICKS, position="top center"):
        """Words at ``x`` and ``y``: one text, or a sequence as long as the coordinates."""
        texts = [text] if isinstance(text, str) else [str(item) for item in text]
        x, y = self._pair(panel, name, np.atleast_1d(x), np.atleast_1d(y), False)
        if len(texts) != len(x):
            raise ValueError(f'"{name}" in panel "{panel}": {len(texts)} texts for {len(x)} places')
        spec = {"type": "scatter", "mode": "text", "x": x, "y": y, "text": texts}
        spec |= {"textposition": position, "hoverinfo": "skip", "cliponaxis": False}
        spec["textfont"] = {"color": COLORS.get(color, color), "size": size}
        self._add(panel, name, "text", spec, False, legend=False)

    def title(self, panel, text):
        """The panel's title in this frame."""
        self._known(panel)
        self._titles[panel] = str(text)

    def limits(self, panel, *, x=None, y=None, z=None):
        """Fix an axis to (low, high) in this frame; an axis left out follows the data."""
        described = self._known(panel)
        for letter, pair in (("x", x), ("y", y), ("z", z)):
            if pair is None:
                continue
            low, high = (float(end) for end in pair)
            log = (letter == "x" and described.x_log) or (letter == "y" and described.y_log)
            if not (math.isfinite(low) and math.isfinite(high)) or low == high:
                raise ValueError(
                    f'limits of {letter} in panel "{panel}" must be two different numbers, '
                    f"got {low:g} and {high:g}"
                )
            if log and min(low, high) <= 0:
                raise ValueError(f'limits of the log axis {letter} in "{panel}" must be positive')
            self._limits[panel, letter] = (low, high)

    def readout(self, label, value, digits=2, *, unit="", floor=None, volatile=False):
        """A number beside the picture: ``value`` to ``digits`` significant digits, or a text.

        ``volatile=True`` keeps it out of the text form, for times and other things that change.
        """
        from kernellab.lab.numbers import fmt

        if not isinstance(value, str | bool | int | np.integer) and not math.isfinite(value):
            raise ValueError(f'the readout "{label}" is {float(value)}')
        if volatile and not isinstance(value, str):
            text = f"{value:.{digits}g}"
        else:
            text = fmt(value, digits, floor=floor)
        self._readouts.append(Readout(str(label), f"{text} {unit}".strip(), volatile))

    # --- inside ------------------------------------------------------------------------------

    def finish(self) -> Frame:
        """The frame that was drawn."""
        names = [spec["name"] for spec in self._traces.values() if spec.get("showlegend")]
        legend = _legend_room(names)
        self._place_colorbars()
        rules = [self._labelled_inside(*rule) for rule in self._rules]
        layout = self._stage.layout(self._titles, self._limits, rules, legend)
        self._label_decades(layout)
        return Frame(self._traces, layout, self._readouts, legend)

    def _place_colorbars(self) -> None:
        """Turn labels into colour bars, one a panel, now that every panel's room is known."""
        served = set()
        for spec in self._traces.values():
            holder = spec if "colorbar" in spec else spec.get("marker", {})
            if "colorbar" not in holder:
                continue
            panel = spec["meta"]["panel"]
            holder["colorbar"] = self._stage.colorbar(panel, holder["colorbar"])
            holder["showscale"] = panel not in served
            served.add(panel)

    def _labelled_inside(self, panel, letter, value, shape) -> dict:
        """Turn a rule's label towards the middle of the panel, where there is room for it."""
        described = self._stage.panels[panel]
        log = described.x_log if letter == "x" else described.y_log
        ends = self._ends(panel, letter, value)
        scale = math.log10 if log else float
        middle = (scale(min(ends)) + scale(max(ends))) / 2
        if "label" in shape and scale(value) > middle:
            if letter == "x":
                shape["label"] |= {"xanchor": "right"}
            else:
                shape["label"] |= {"yanchor": "top"}
        return shape

    def _ends(self, panel, letter, *values) -> list:
        """The limits of an axis if they are set, else what its traces and ``values`` reach."""
        described = self._stage.panels[panel]
        fixed = described.x_limits if letter == "x" else described.y_limits
        ends = list(self._limits.get((panel, letter), fixed or ()))
        if ends:
            return ends
        drawn = [
            spec[letter]
            for spec in self._traces.values()
            if spec["meta"]["panel"] == panel and isinstance(spec.get(letter), np.ndarray)
        ]
        return [*values, *(end for values in drawn for end in _finite_ends(values))]

    def _label_decades(self, layout: dict) -> None:
        """Label only powers of ten where a log axis spans several: 2 and 5 would crowd."""
        domains = self._stage.domains()
        for name, panel in self._stage.panels.items():
            left, right = domains[name][0]
            labels = {"x": max((right - left) * _NOMINAL_WIDTH / 60, 2), "y": 6}  # that fit
            for letter, log in (("x", panel.x_log), ("y", panel.y_log)):
                ends = self._ends(name, letter) if log and not panel.in_space else ()
                decades = math.log10(max(ends) / min(ends)) if ends and min(ends) > 0 else 0
                if decades > 1.5:
                    axis = self._stage.axis_ids(name)[f"{letter}axis"]
                    layout[f"{letter}axis{axis[1:]}"]["dtick"] = math.ceil(decades / labels[letter])

    def _known(self, panel) -> Panel:
        if panel not in self._stage.panels:
            names = ", ".join(f'"{name}"' for name in self._stage.panels)
            raise ValueError(f'there is no panel "{panel}"; the panels are {names}')
        return self._stage.panels[panel]

    def _add(self, panel, name, kind, spec, coarse, legend=None):
        described = self._known(panel)
        if described.in_space != (spec["type"] in ("scatter3d", "mesh3d")):
            where = "in space" if described.in_space else "flat"
            raise ValueError(f'"{name}" cannot be drawn in panel "{panel}", which is {where}')
        key = (panel, kind, str(name), spec["type"])
        if key in self._traces:
            raise ValueError(f'"{name}" is drawn twice in panel "{panel}"')
        spec |= {"name": str(name), "visible": True, **self._stage.axis_ids(panel)}
        spec["meta"] = {"panel": panel, "kind": kind} | ({"coarse": True} if coarse else {})
        if legend is not None:
            first = bool(legend) and name not in self._in_legend
            spec |= {"legendgroup": str(name), "showlegend": first}
            if first:
                self._in_legend.add(name)
        self._traces[key] = spec

    def _pair(self, panel, name, x, y, gaps):
        described = self._known(panel)
        x = self._numbers(panel, name, x, gaps, described.x_log, "x")
        y = self._numbers(panel, name, y, gaps, described.y_log, "y")
        if len(x) != len(y):
            raise ValueError(
                f'"{name}" in panel "{panel}": x has {len(x)} values but y has {len(y)}'
            )
        return x, y

    def _triple(self, panel, name, x, y, z, gaps):
        arrays = [self._numbers(panel, name, values, gaps) for values in (x, y, z)]
        if len({len(array) for array in arrays}) > 1:
            lengths = ", ".join(str(len(array)) for array in arrays)
            raise ValueError(f'"{name}" in panel "{panel}": x, y and z have {lengths} values')
        return arrays

    def _numbers(self, panel, name, values, gaps, log=False, letter=""):
        """A float copy (n,) of ``values``, checked; names (strings) are left as a list."""
        array = np.asarray(values)
        if array.ndim != 1:
            raise ValueError(
                f'"{name}" in panel "{panel}" needs arrays of shape (n,), got {array.shape}'
            )
        if array.dtype.kind in "UO" and all(isinstance(item, str) for item in array):
            return [str(item) for item in array]
        array = np.array(array, dtype=np.float64)
        if gaps:
            array[~np.isfinite(array)] = np.nan
        elif not np.isfinite(array).all():
            kind = "NaN" if np.isnan(array).any() else "an infinite value"
            raise ValueError(f'the picture has {kind} in trace "{name}" of panel "{panel}"')
        if log:
            lost = array <= 0
            if gaps:
                array[lost] = np.nan
            elif lost.any():
                raise ValueError(
                    f'trace "{name}" of panel "{panel}" has {array[lost][0]:g} on the log axis '
                    f"{letter}; a log axis shows positive values only"
                )
        return array

    def _marker(self, panel, name, count, color, symbol, size, values, range, colors, label):
        css, slot = self._stage.color(name, color)
        marker = {"symbol": symbol or SYMBOLS[slot % len(SYMBOLS)], "size": size}
        if not np.isscalar(size):
            marker["size"] = self._numbers(panel, name, size, False)
            if len(marker["size"]) != count:
                raise ValueError(f'"{name}" in panel "{panel}": size needs {count} values')
        if values is None:
            return marker | {"color": css}
        values = self._numbers(panel, name, values, False)
        if len(values) != count:
            raise ValueError(
                f'"{name}" in panel "{panel}": {len(values)} values colour {count} points'
            )
        low, high = _range(values, range, colors)
        self._stage.needs_colorbar(panel)
        return marker | {
            "color": values,
            "cmin": low,
            "cmax": high,
            "colorscale": SCALES.get(colors, colors),
            "showscale": True,
            "colorbar": label,  # becomes a colour bar when all panels are known
        }

    def _grid(self, panel, name, z, range, colors, gaps):
        self._known(panel)
        z = np.array(z, dtype=np.float64)
        if z.ndim != 2 or z.size == 0:
            raise ValueError(
                f'"{name}" in panel "{panel}" needs numbers of shape (rows, columns), got {z.shape}'
            )
        if gaps:
            z[~np.isfinite(z)] = np.nan
        elif not np.isfinite(z).all():
            kind = "NaN" if np.isnan(z).any() else "an infinite value"
            raise ValueError(f'the picture has {kind} in trace "{name}" of panel "{panel}"')
        low, high = _range(z, range, colors)
        return {
            "type": "heatmap",
            "z": z,
            "zmin": low,
            "zmax": high,
            "zsmooth": False,
            "colorscale": SCALES.get(colors, colors),
        }

    def _grid_axes(self, panel, name, z, x, y):
        axes = {}
        for letter, values, count in (("x", x, z.shape[1]), ("y", y, z.shape[0])):
            if values is None:
                continue
            axes[letter] = self._numbers(panel, name, values, False)
            if len(axes[letter]) != count:
                raise ValueError(
                    f'"{name}" in panel "{panel}": {letter} needs {count} values for the grid '
                    f"{z.shape}, got {len(axes[letter])}"
                )
        return axes


def _range(values, range, colors) -> tuple[float, float]:
    if range is not None:
        low, high = (float(end) for end in range)
        if not low < high:
            raise ValueError(f"range must be (least, greatest), got ({low:g}, {high:g})")
        return low, high
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if colors == "diverging":
        high = max(abs(low), abs(high)) or 1.0
        return -high, high
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _legend_room(names: list[str]) -> int:
    """Pixels for the rows of a legend, for letters of common width; the browser measures again."""
    if not names:
        return 0
    widths = [55 + 8 * len(name) for name in names]
    room = _NOMINAL_WIDTH - _LEFT - _RIGHT
    rows = 1 if sum(widths) <= room else math.ceil(len(names) / max(1, room // max(widths)))
    return 8 + 23 * rows


def _finite_ends(values: np.ndarray) -> list[float]:
    finite = values[np.isfinite(values)]
    return [float(finite.min()), float(finite.max())] if finite.size else []


def _rgb(panel, name, z) -> np.ndarray:
    if z.shape[2] != 3:
        raise ValueError(
            f'"{name}" in panel "{panel}": colours need shape (h, w, 3), got {z.shape}'
        )
    if z.dtype == np.uint8:
        return z.copy()
    if not np.isfinite(z).all():
        raise ValueError(f'the picture has NaN in trace "{name}" of panel "{panel}"')
    return np.round(np.clip(z, 0, 1) * 255).astype(np.uint8)


def _translucent(css: str, opacity: float) -> str:
    if not css.startswith("#") or len(css) != 7:
        return css
    red, green, blue = (int(css[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


__all__ = ["Frame", "INK", "Panel", "Picture", "Readout", "Stage"]
