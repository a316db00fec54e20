"""Tables and JSON on standard output."""

import json
import shutil
import sys

LEAST_WIDTH = 10  # of a column that may be cut


def print_json(value) -> None:
    """One readable JSON document."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(head: list[str], rows: list[list], flexible: list[int]) -> None:
    """Columns as wide as their longest entry.

    In a terminal the columns ``flexible`` are cut so that a row fits a line; in a pipe nothing is.
    """
    cells = [head, *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - 2 * (len(head) - 1)
        while sum(widths) > room:
            widest = max(flexible, key=lambda column: widths[column])
            if widths[widest] <= LEAST_WIDTH:
                break
            widths[widest] -= 1
    for row in cells:
        text = [_cut(value, width).ljust(width) for value, width in zip(row, widths, strict=True)]
        print("  ".join(text).rstrip())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
