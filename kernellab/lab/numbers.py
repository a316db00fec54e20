"""One way to print a number, and tables of them.

Every number a lab prints passes through :func:`fmt`: few digits, the same text on every machine.
While a notebook is being saved (``KERNELLAB_SAVING=1``) it also refuses a value that sits so near a
rounding boundary that another processor's last bits could turn ``0.12`` into ``0.13``.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

# Between these powers of ten a number is written out; outside them as 3.4e-7.
_SMALLEST_WRITTEN_OUT = -3
_LARGEST_WRITTEN_OUT = 5


class RoundingBoundary(ValueError):
    """A printed number could read differently on another machine; print fewer digits, or a fact."""


def fmt(value, digits: int = 2, *, floor: float | None = None, rtol: float = 1e-6) -> str:
    """Write a value as a person would, to a few significant digits.

    Parameters
    ----------
    value : a number, or a bool or string, which come back as their own text. Integers are exact.
    digits : significant digits of a float, 1 to 17.
    floor : values smaller in size than this are rounding error and print as ``< floor``.
    rtol : relative difference that another machine may show. While a notebook is saved, a value
        whose text would change within it raises.

    Returns
    -------
    str, such as ``0.035``, ``12``, ``3,400``, ``1e-5`` or ``< 1e-10``.

    Raises
    ------
    RoundingBoundary (a ValueError) while saving, if ``value * (1 ± rtol)`` prints otherwise.
    ValueError for anything that is not a real number, bool or string, or a bad ``digits``,
    ``floor`` or ``rtol``.

    Cost O(1).

    >>> fmt(0.03456), fmt(12.3), fmt(3421.7), fmt(1e-05), fmt(1024)
    ('0.035', '12', '3,400', '1e-5', '1,024')
    >>> fmt(3e-17, floor=1e-10)
    '< 1e-10'
    """
    if (
        isinstance(digits, bool)
        or not isinstance(digits, numbers.Integral)
        or not 1 <= digits <= 17
    ):
        raise ValueError(f"digits must be an integer from 1 to 17, got {digits!r}")
    if floor is not None and not (_is_real(floor) and 0 < floor < math.inf):
        raise ValueError(f"floor must be a positive number or None, got {floor!r}")
    if not (_is_real(rtol) and 0 <= rtol < 0.5):
        raise ValueError(f"rtol must lie in [0, 0.5), got {rtol!r}")

    value = _as_scalar(value)
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int) and (floor is None or abs(value) >= floor):
        return f"{value:,}"
    value = float(value)
    text = _text(value, digits, floor)
    if saving() and math.isfinite(value):
        for other in (value * (1 - rtol), value * (1 + rtol)):
            if _text(other, digits, floor) != text:
                raise RoundingBoundary(
                    f"{value!r} prints as {text} here but as {_text(other, digits, floor)} when it "
                    f"changes by a factor 1 ± {rtol:g}; use other digits (now {digits}), a floor, "
                    "or say a coarse fact instead"
                )
    return text


def saving() -> bool:
    """Whether a notebook is being executed to be saved (``KERNELLAB_SAVING=1``)."""
    return os.environ.get("KERNELLAB_SAVING", "") == "1"


def _is_real(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _as_scalar(value):
    """Python's own bool, int, float or str for a scalar of any kind, NumPy's included."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ValueError(
        f"value must be one real number, bool or string, got {type(value).__name__} {value!r:.80}"
    )


def _text(value: float, digits: int, floor: float | None) -> str:
    if not math.isfinite(value):
        return str(value)
    if floor is not None and abs(value) < floor:
        return f"< {_text(float(floor), 2, None)}"
    if value == 0:
        return "0"
    # Decimal(repr) rounds the shortest decimal of the value, the one a reader would see.
    exact = Decimal(repr(value))
    rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), ROUND_HALF_EVEN)
    power = rounded.adjusted()  # after rounding: 9.96 to two digits is 10, one power higher
    if _SMALLEST_WRITTEN_OUT <= power <= _LARGEST_WRITTEN_OUT:
        return f"{rounded:,.{max(0, digits - 1 - power)}f}"
    mantissa = f"{rounded.scaleb(-power):.{digits - 1}f}"
    if "." in mantissa:  # beside a power of ten, "1.0" says no more than "1"
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{power}"


class Table:
    """Rows of text under column heads, shown as Markdown and as aligned plain text."""

    def __init__(self, columns: Sequence[str], cells: Sequence[Sequence[str]]):
        self.columns = tuple(columns)
        self.cells = tuple(tuple(row) for row in cells)

    def markdown(self) -> str:
        """The table as GitHub-flavoured Markdown, numbers to the right."""
        head = "| " + " | ".join(map(_escape, self.columns)) + " |"
        rule = "| " + " | ".join("---:" if right else "---" for right in self._right()) + " |"
        body = ["| " + " | ".join(map(_escape, row)) + " |" for row in self.cells]
        return "\n".join([head, rule, *body])

    def __repr__(self) -> str:
        widths = [
            max(len(cell) for cell in column)
            for column in zip(self.columns, *self.cells, strict=True)
        ]
        right = self._right()

        def line(cells):
            padded = (
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(cells, widths, right, strict=True)
            )
            return "  ".join(padded).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return "\n".join([line(self.columns), rule, *map(line, self.cells)])

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": self.markdown(), "text/plain": repr(self)}

    def _right(self) -> list[bool]:
        """Columns whose every cell starts like a number stand to the right."""
        return [
            bool(self.cells) and all(_looks_like_a_number(row[i]) for row in self.cells)
            for i in range(len(self.columns))
        ]


def table(
    rows: Iterable,
    columns: Sequence[str] | None = None,
    *,
    digits: int = 2,
    floor: float | None = None,
) -> Table:
    """Put measured values side by side, each through :func:`fmt`.

    Parameters
    ----------
    rows : mappings from column to value, or sequences in the order of ``columns``.
    columns : heads, in order; for mappings the keys of the first row by default.
    digits, floor : as in :func:`fmt`, for every number. ``None`` as a value prints as "-".

    Returns
    -------
    Table, which Jupyter shows as Markdown; its plain text is what nbval compares too.

    Raises
    ------
    ValueError if there is no row, a row lacks a column or has one too many.

    >>> print(table([{"method": "ridge", "error": 0.1234}, {"method": "mean", "error": 0.5}]))
    method  error
    ------  -----
    ridge    0.12
    mean     0.50
    """
    rows = list(rows)
    if not rows:
        raise ValueError("rows must hold at least one row, got none")
    if columns is None:
        if not isinstance(rows[0], Mapping):
            raise ValueError("columns must be given when the rows are not mappings")
        columns = list(rows[0])
    columns = [str(column) for column in columns]
    if not columns:
        raise ValueError("columns must hold at least one name, got none")
    cells = []
    for number, row in enumerate(rows):
        if isinstance(row, Mapping):
            by_name = {str(key): value for key, value in row.items()}
            if set(by_name) != set(columns):
                raise ValueError(f"row {number} has columns {list(by_name)}, expected {columns}")
            row = [by_name[column] for column in columns]
        row = list(row)
        if len(row) != len(columns):
            raise ValueError(
                f"row {number} has {len(row)} values, expected {len(columns)}: {columns}"
            )
        cells.append(["-" if v is None else fmt(v, digits, floor=floor) for v in row])
    return Table(columns, cells)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def _looks_like_a_number(cell: str) -> bool:
    return cell in ("-", "nan", "inf", "-inf") or cell.lstrip("<- ")[:1].isdigit()
