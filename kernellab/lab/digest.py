"""A short text of what a figure shows, the same on every machine.

Values that another processor computes with its own last bits must print alike. So each trace is
rounded to a unit taken from its own spread, a small fixed offset keeps "nice" values (whole and
half units) away from the boundary between two roundings, and what is below 1e-9 counts as zero.
While a notebook is saved, a value that is still too near a boundary is refused.
"""

import math

import numpy as np

_NOISE = 1e-9  # sizes below this are rounding error
_RELATIVE = 1e-6  # how far apart two machines may be, relative to a trace's scale
_OFFSET = 0.0137  # of a unit, before rounding: moves whole and half units off the boundary


class TooNear(ValueError):
    """A drawn value is so near a rounding boundary that another machine could print another."""


def figure_lines(figure, strict: bool = False) -> list[str]:
    """One line for each visible trace and each rule of ``figure``, from the figure's own data.

    ``strict`` raises :class:`TooNear` for values near a rounding boundary.
    Cost O(total number of drawn values).
    """
    lines = []
    for trace in figure.data:
        if trace.visible is not True or not trace.meta:
            continue
        head = f"{trace.meta['panel']} · {trace.name}"
        try:
            lines.append(f"{head}: {_trace(figure, trace, strict)}")
        except TooNear as error:
            raise TooNear(
                f'trace "{trace.name}" of panel "{trace.meta["panel"]}": {error}'
            ) from None
    for shape in figure.layout.shapes or ():
        lines.append(_rule(figure, shape))
    return lines


def _trace(figure, trace, strict) -> str:
    kind, coarse = trace.meta["kind"], trace.meta.get("coarse", False)
    if kind == "text":
        return f"text {_counted(trace.text)}: " + ", ".join(trace.text[:6])
    if kind == "image" and trace.type == "image":
        z = np.asarray(trace.z)
        head = f"image {z.shape[0]} x {z.shape[1]} in colour"
        return head if coarse else f"{head}, {summary(z.ravel() / 255, strict=strict, mean=True)}"
    if trace.type in ("heatmap", "contour"):
        z = np.asarray(trace.z, float)
        head = f"{kind} {z.shape[0]} x {z.shape[1]}"
        return head if coarse else f"{head}, z {summary(z.ravel(), strict=strict, mean=True)}"
    head = f"{kind} of {len(trace.x)}"
    if kind == "band":
        head = f"{kind} of {len(trace.x) // 2}"
    if coarse:
        return head
    parts = [head]
    for letter in ("x", "y", "z"):
        values = getattr(trace, letter, None)
        if values is None:
            continue
        if len(values) and isinstance(values[0], str):
            parts.append(f"{letter} " + ", ".join(values[:8]))
            continue
        log = letter != "z" and _is_log(figure, trace, letter)
        mean = letter != "x" or "3d" in trace.type
        parts.append(f"{letter} {summary(values, log=log, strict=strict, mean=mean)}")
    color = trace.marker.color if kind == "points" else None
    if color is not None and not isinstance(color, str):
        parts.append(f"colour {summary(color, strict=strict, mean=True)}")
    return ", ".join(parts)


def _is_log(figure, trace, letter) -> bool:
    axis = getattr(trace, f"{letter}axis", None)
    return bool(axis) and figure.layout[axis.replace(letter, f"{letter}axis")].type == "log"


def _rule(figure, shape) -> str:
    letter = "x" if shape.x0 == shape.x1 else "y"
    return f"rule · {shape.name}: {letter} = {_three_digits(getattr(shape, letter + '0'))}"


def _three_digits(value: float) -> str:
    return "0" if abs(value) < _NOISE else f"{value * (1 + 1e-7):.3g}"


def _counted(texts) -> str:
    return f"of {len(texts)}"


def summary(values, *, log: bool = False, strict: bool = False, mean: bool = False) -> str:
    """The range (and mean) of ``values`` (n,), rounded to two digits of their spread.

    On a log axis the decimal logarithms are summarised, with sizes below 1e-9 counted as 1e-9.

    >>> summary(np.linspace(-1, 1, 11), mean=True)
    '-1.0 to 1.0, mean 0.0'
    >>> summary([1e-3, 1.0], log=True)
    '10^-3.0 to 10^0.0'
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return "none"
    if log:
        values = np.log10(np.maximum(np.abs(values), _NOISE))
    low, high = float(values.min()), float(values.max())
    scale = max(abs(low), abs(high), 1.0 if log else 0.0)
    if scale < _NOISE:
        return "0"
    unit, digits = (0.1, 1) if log else _unit(high - low, scale, strict)

    def text(value):
        rounded = _rounded(value, unit, scale, strict)
        shown = f"{rounded:.{digits}f}"
        shown = shown.lstrip("-") if float(shown) == 0 else shown
        return f"10^{shown}" if log else shown

    if text(low) == text(high):
        return text(low)
    return f"{text(low)} to {text(high)}" + (f", mean {text(float(values.mean()))}" if mean else "")


def _unit(spread: float, scale: float, strict: bool) -> tuple[float, int]:
    """A power of ten, two digits of the spread; of the scale, three, if values hardly differ."""
    least = 1e-3 * scale
    if strict and (abs(spread - least) < _RELATIVE * scale or abs(scale / _NOISE - 1) < _RELATIVE):
        raise TooNear(f"its spread {spread!r} is too near a limit of the digest; show other limits")
    spread = spread if spread > least else scale * 0.1
    exponent = math.log10(spread * 1.0037)  # the factor keeps spreads like 1 or 0.1 off the edge
    if strict and abs(exponent - round(exponent)) < _RELATIVE:
        raise TooNear(f"its spread {spread!r} is too near a power of ten; show other limits")
    power = math.floor(exponent) - 1
    return 10.0**power, max(0, -power)


def _rounded(value: float, unit: float, scale: float, strict: bool) -> float:
    position = value / unit + _OFFSET
    if strict and abs(position - math.floor(position) - 0.5) * unit < _RELATIVE * scale:
        raise TooNear(f"{value!r} is too near the boundary between two roundings to {unit:g}")
    return math.floor(position + 0.5) * unit
