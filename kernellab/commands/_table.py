"""Tables and JSON on standard output."""

import json
import shutil
import sys


def print_json(value) -> None:
    """One readable JSON document."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(head: list[str], rows: list[list], flexible: int) -> None:
    """Columns as wide as their longest entry.

    In a terminal the column ``flexible`` is cut so that a row fits a line; in a pipe nothing is cut.
    """
    cells = [head, *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    if sys.stdout.isatty():
        others = sum(widths) - widths[flexible] + 2 * (len(head) - 1)
        room = shutil.get_terminal_size().columns - others
        widths[flexible] = max(20, min(widths[flexible], room))
    for row in cells:
        text = [_cut(value, width).ljust(width) for value, width in zip(row, widths, strict=True)]
        print("  ".join(text).rstrip())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
