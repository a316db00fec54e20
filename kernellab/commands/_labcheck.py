"""The rules of one lab that can be read from its files, without executing anything."""

import ast
import re
from pathlib import Path
from urllib.parse import unquote

from kernellab.commands._notebooks import Fault

SLIDE_TYPES = ("slide", "subslide", "fragment", "skip", "notes", "-")
LEAST_SCENES = 3
LEAST_EXERCISES = 3
LEAST_WRONG = 2
PLACEHOLDER = "FILL IN"
IGNORE = "nbval-ignore-output"
FORBIDDEN_TAGS = ("nbval-skip", "raises-exception", "nbval-raises-exception")

_HEADING = re.compile(r"^#{1,6}\s.*$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([^"]+)">')
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:src|href)=\"([^\"]+)\"")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_TIME = re.compile(r"\d\s?(?:ns|µs|us|ms|s|min|seconds?|milliseconds?)\b")
_SCENE = re.compile(r"^\d+\. ", re.MULTILINE)


def texts(cell: dict) -> list[str]:
    """The text form of each output of a cell, streams included."""
    return [
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", [])
    ]


def is_explorer(text: str) -> bool:
    """Tell an explorer's text form: its controls stand in the second or third line."""
    return any(line.startswith("controls: ") for line in text.splitlines()[1:3])


def slides(cells: list[dict]) -> list[Fault]:
    """Every cell says how it is presented."""
    found = []
    for cell in cells:
        kind = cell["metadata"].get("slideshow", {}).get("slide_type")
        if kind not in SLIDE_TYPES:
            allowed = ", ".join(SLIDE_TYPES)
            found.append(
                Fault(cell.get("id", "?"), f"slide_type is {kind!r}, not one of {allowed}")
            )
    return found


def tags(cells: list[dict]) -> list[Fault]:
    """No cell escapes the comparison of outputs, except one that shows a time."""
    found = []
    for cell in cells:
        given = cell["metadata"].get("tags", [])
        for tag in set(given).intersection(FORBIDDEN_TAGS):
            found.append(Fault(cell["id"], f"the tag {tag} would hide a failure"))
        if IGNORE in given and not any(_TIME.search(text) for text in texts(cell)):
            found.append(Fault(cell["id"], f"has the tag {IGNORE}, but shows no time"))
    return found


def placeholders(cells: list[dict]) -> list[Fault]:
    """Nothing of the scaffold is left."""
    return [
        Fault(cell["id"], f"still says {PLACEHOLDER}")
        for cell in cells
        if PLACEHOLDER in cell["source"]
    ]


def anchors(cells: list[dict]) -> list[str]:
    """The ids that links within the notebook can point to."""
    headings = "\n".join(
        heading
        for cell in cells
        if cell["cell_type"] == "markdown"
        for heading in _HEADING.findall(cell["source"])
    )
    # Jupyter also makes an id from each heading's words.
    words = [re.sub(r"<[^>]*>", "", line.lstrip("#")).strip() for line in headings.splitlines()]
    return _ANCHOR.findall(headings) + [line.replace(" ", "-") for line in words]


def broken_links(folder: Path, text: str, known: list[str]) -> list[str]:
    """What is wrong with the links of a Markdown text that stands in ``folder``."""
    found = []
    for match in _LINK.finditer(_CODE.sub("", text)):
        target = match[1] or match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # elsewhere on the web, or an attachment
        file, _, fragment = target.partition("#")
        if file and not (folder / unquote(file)).exists():
            found.append(f"links to {file}, which does not exist")
        elif not file and unquote(fragment) not in known:
            found.append(f"links to #{fragment}, which is no heading here")
    return found


def links(path: Path, cells: list[dict]) -> list[Fault]:
    """Links to files lead to files; links within the notebook lead to a heading."""
    known, found = anchors(cells), []
    for cell in cells:
        texts = [
            output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])
        ]
        if cell["cell_type"] == "markdown":
            texts.append(cell["source"])
        for text in texts:
            found += [Fault(cell["id"], line) for line in broken_links(path.parent, text, known)]
    return found


def imports(cells: list[dict]) -> list[Fault]:
    """The first code cell imports, and does nothing else."""
    first = next((cell for cell in cells if cell["cell_type"] == "code"), None)
    if first is None:
        return [Fault("", "has no code")]
    try:
        body = ast.parse(first["source"]).body
    except SyntaxError:
        body = [None]
    if all(isinstance(node, ast.Import | ast.ImportFrom) for node in body):
        return []
    return [Fault(first["id"], "the first code cell must hold imports and nothing else")]


def building_blocks(cells: list[dict]) -> list[Fault]:
    """Scenes, exercises and a prediction are there, in an order that makes sense."""
    explorers, exercises, predictions, claims = [], set(), [], []
    for index, cell in enumerate(cells):
        for text in texts(cell):
            if is_explorer(text):
                explorers.append((cell["id"], text))
            elif text.startswith("exercise · "):
                exercises.add(text.split(" · ")[1])
            elif text.startswith("predict · "):
                predictions.append(index)
            elif text.startswith("claim holds · "):
                claims.append(index)
    found = []
    if not explorers:
        found.append(Fault("", "shows no explorer"))
    else:
        main, text = explorers[0]
        scenes = len(_SCENE.findall(text))
        if scenes < LEAST_SCENES:
            found.append(Fault(main, f"the main explorer has {scenes} scenes (>= {LEAST_SCENES})"))
    for cell, text in explorers:
        if "\n   error: " in text:
            found.append(Fault(cell, "a scene of this explorer shows an error"))
    if len(exercises) < LEAST_EXERCISES:
        found.append(Fault("", f"shows {len(exercises)} exercises (at least {LEAST_EXERCISES})"))
    if not predictions:
        found.append(Fault("", "asks the reader for no prediction"))
    elif claims and predictions[0] > max(claims):
        found.append(
            Fault(cells[predictions[0]]["id"], "asks for a prediction after the last claim")
        )
    return found


def wrong_answers(module: Path) -> list[Fault]:
    """Each Exercise of a module lists enough wrong answers."""
    try:
        tree = ast.parse(module.read_text(encoding="utf-8"))
    except SyntaxError as error:
        return [Fault("", f"is no valid Python: {error.msg} in line {error.lineno}")]
    lists = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    exercises = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Exercise"
    ]
    found = []
    for call in exercises:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        wrong = given.get("wrong")
        if isinstance(wrong, ast.Name):
            wrong = lists.get(wrong.id)
        count = len(wrong.elts) if isinstance(wrong, ast.List | ast.Tuple) else 0
        if count < LEAST_WRONG:
            name = ast.unparse(call.args[0]) if call.args else "an exercise"
            found.append(Fault("", f"{name} lists {count} wrong answers (at least {LEAST_WRONG})"))
    if len(exercises) < LEAST_EXERCISES:
        found.append(Fault("", f"has {len(exercises)} exercises (at least {LEAST_EXERCISES})"))
    return found
