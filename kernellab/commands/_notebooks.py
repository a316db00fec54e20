"""Notebook files: where they are, how they are read and written, and their normal form.

A saved notebook is in *normal form*: the same on every machine, small, and without anything a
browser or a kernel left behind. `normalise` brings a notebook there (without executing it);
`faults` names what it cannot mend.
"""

import copy
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from kernellab.paths import NOTEBOOKS, ROOT

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
MAX_BYTES = 500_000
MAX_CODE_LINES = 25

NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
CELL_METADATA = ("jupyter", "slideshow", "tags")

VALID_ID = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
# What editors give a new cell; it says nothing, and some tools draw a new one at every conversion.
MACHINE_ID = re.compile(r"^([0-9a-f]{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$")
MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])(?:/home/|/Users/|/root/|/tmp/|/var/folders/|/usr/local/lib/|[A-Za-z]:\\)[^\s'\"]*"
)
MEMORY_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}")


@dataclass(frozen=True)
class Fault:
    """Something wrong in one notebook: the cell it is in ("" when it is the whole file)."""

    cell: str
    message: str


def notebook_paths() -> list[Path]:
    """Every notebook of the course, in teaching order."""
    found = NOTEBOOKS.rglob("*.ipynb")
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def shown(path: Path) -> str:
    """A path as the reader would type it: relative to the checkout where it can be."""
    path = Path(path).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def text_of(value: str | list[str]) -> str:
    """A notebook file stores long strings as one string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def read(path: Path) -> dict:
    """The notebook as plain dictionaries, its multi-line strings joined.

    Raises ValueError when the file is not a notebook of format 4.
    """
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{shown(path)} is not a readable notebook: {error}") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or "cells" not in notebook:
        raise ValueError(f"{shown(path)} is not a notebook of format 4")
    for cell in notebook["cells"]:
        cell["source"] = text_of(cell.get("source", ""))
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = text_of(output["text"])
            for mime, value in output.get("data", {}).items():
                if isinstance(value, list) and not mime.endswith("json"):
                    output["data"][mime] = text_of(value)
    return notebook


def serialise(notebook: dict) -> str:
    """The text of the file, exactly as it is saved."""
    import nbformat

    text = nbformat.writes(nbformat.from_dict(notebook), version=nbformat.NO_CONVERT)
    return text if text.endswith("\n") else text + "\n"


def write(path: Path, notebook: dict) -> None:
    """Save atomically: a crash leaves the old file, never half of a new one."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(serialise(notebook), encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def slug(source: str, fallback: str) -> str:
    """A readable cell id from a cell's first telling line."""
    for line in source.splitlines():
        line = re.sub(r"<[^>]*>|https?://\S+", " ", line)
        words = re.findall(r"[a-z0-9]+", line.lower())
        if words and words[0] not in ("from", "import"):
            return "-".join(words)[:40].strip("-")
        if words:
            return "imports"
    return fallback


def give_ids(cells: list[dict]) -> None:
    """Keep every id that a person could have given; name the other cells after what they say."""
    taken = set()
    unnamed = []
    for cell in cells:
        chosen = cell.get("id", "")
        if VALID_ID.match(chosen) and not MACHINE_ID.match(chosen) and chosen not in taken:
            taken.add(chosen)
        else:
            unnamed.append(cell)
    for index, cell in enumerate(cells, start=1):
        if not any(cell is other for other in unnamed):
            continue
        stem = chosen = slug(cell["source"], f"cell-{index}")
        number = 1
        while chosen in taken:
            number += 1
            chosen = f"{stem}-{number}"
        cell["id"] = chosen
        taken.add(chosen)


def _normal_outputs(outputs: list[dict]) -> list[dict]:
    """Outputs without widget models and browser state; streams of one name become one."""
    kept, streams = [], {}
    for output in outputs:
        if output["output_type"] == "stream":
            name = output["name"]
            if name in streams:
                streams[name]["text"] += output["text"]
                continue
            streams[name] = output
        elif output["output_type"] in ("display_data", "execute_result"):
            data = output["data"]
            data.pop(WIDGET, None)
            if PLOTLY in data:  # an explorer keeps its text, and its figure for the poster
                allowed = ("text/plain", "image/png", PLOTLY)
                output["data"] = {mime: data[mime] for mime in allowed if mime in data}
            output["metadata"] = {}
            output.pop("transient", None)
            if not output["data"]:
                continue
        kept.append(output)
    return kept


def normalise(notebook: dict) -> dict:
    """The notebook in normal form; posters and execution are `save`'s work, not done here."""
    result = copy.deepcopy(notebook)
    give_ids(result["cells"])
    count = 0
    for cell in result["cells"]:
        metadata = {
            key: cell["metadata"][key] for key in CELL_METADATA if cell["metadata"].get(key)
        }
        cell["metadata"] = metadata
        if not cell.get("attachments"):
            cell.pop("attachments", None)
        if cell["cell_type"] != "code":
            cell.pop("outputs", None)
            cell.pop("execution_count", None)
            continue
        ran = cell.get("execution_count") is not None
        count += ran
        cell["execution_count"] = count if ran else None
        cell["outputs"] = _normal_outputs(cell.get("outputs", []))
        for output in cell["outputs"]:
            if output["output_type"] == "execute_result":
                output["execution_count"] = cell["execution_count"]
    result["metadata"] = copy.deepcopy(NOTEBOOK_METADATA)
    result["nbformat"], result["nbformat_minor"] = 4, 5
    return result


def _output_text(output: dict) -> str:
    """Everything readable in one output, for the checks of paths and addresses."""
    parts = [output.get("text", ""), *output.get("traceback", [])]
    parts += [
        value
        for mime, value in output.get("data", {}).items()
        if isinstance(value, str) and mime.startswith("text/")
    ]
    return "\n".join(parts)


def _output_faults(cell: dict) -> list[str]:
    found = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "error":
            found.append(f"its output is an error ({output.get('ename')}: {output.get('evalue')})")
        text = _output_text(output)
        if machine := MACHINE_PATH.search(text):
            found.append(f"its output shows a path of this machine: {machine[0][:60]}")
        if MEMORY_ADDRESS.search(text):
            found.append("its output shows a memory address, which differs in every run")
    return found


def faults(notebook: dict) -> list[Fault]:
    """What keeps a notebook out of normal form and has to be mended by its author."""
    found = []
    for cell in notebook["cells"]:
        name = cell.get("id", "?")
        if cell["cell_type"] == "code":
            lines = len(cell["source"].splitlines())
            if lines > MAX_CODE_LINES:
                found.append(Fault(name, f"code of {lines} lines (at most {MAX_CODE_LINES})"))
            if cell["source"].strip() and cell.get("execution_count") is None:
                found.append(Fault(name, "was never executed"))
            found += [Fault(name, message) for message in _output_faults(cell)]
        if machine := MACHINE_PATH.search(cell["source"]):
            found.append(Fault(name, f"names a path of this machine: {machine[0][:60]}"))
    size = len(json.dumps(notebook, indent=1, ensure_ascii=False).encode())
    if size > MAX_BYTES:
        largest = max(notebook["cells"], key=lambda cell: len(json.dumps(cell)))
        kilobytes = len(json.dumps(largest)) // 1000
        message = f"the notebook has {size // 1000} kB (at most {MAX_BYTES // 1000}); "
        found.append(Fault(largest["id"], f"{message}this cell alone has {kilobytes} kB"))
    return found


def difference(notebook: dict) -> list[Fault]:
    """Where a notebook differs from its own normal form: one line a cell."""
    normal, found = normalise(notebook), []
    for cell, wanted in zip(notebook["cells"], normal["cells"], strict=True):
        keys = sorted(key for key in {*cell, *wanted} if cell.get(key) != wanted.get(key))
        if keys:
            found.append(Fault(cell.get("id", "?"), f"not normalised ({', '.join(keys)})"))
    if notebook["metadata"] != normal["metadata"]:
        found.append(Fault("", "notebook metadata not normalised"))
    if (notebook["nbformat"], notebook["nbformat_minor"]) != (4, 5):
        found.append(Fault("", "not in notebook format 4.5"))
    return found
