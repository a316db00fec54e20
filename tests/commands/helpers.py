"""Small notebooks for the tests of the commands."""

import json
from pathlib import Path


def markdown(source: str, **cell) -> dict:
    """A text cell."""
    made = {"cell_type": "markdown", "id": "text", "metadata": {}, "source": source}
    return {**made, **cell}


def code(source: str, outputs: list | None = None, count: int | None = None, **cell) -> dict:
    """A code cell."""
    made = {"cell_type": "code", "id": "code", "metadata": {}, "source": source}
    return {**made, "outputs": outputs or [], "execution_count": count, **cell}


def shown(text: str, **data) -> dict:
    """An output that displays something."""
    content = {"text/plain": text, **{key.replace("__", "/"): value for key, value in data.items()}}
    return {"output_type": "display_data", "data": content, "metadata": {}}


def notebook(*cells: dict, **metadata) -> dict:
    """A notebook of format 4.5."""
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write(path: Path, *cells: dict, **metadata) -> Path:
    """Write a notebook as an editor might."""
    path.write_text(json.dumps(notebook(*cells, **metadata)), encoding="utf-8")
    return path
