"""`kernellab present`, as slides and as a page, on the projectors people have."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernellab import paths
from kernellab.commands import present

pytestmark = pytest.mark.browser

LAB = paths.NOTEBOOKS / "01_ridge_regression" / "01_ridge_filters.ipynb"
SIZES = [(1280, 720), (1920, 1080)]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S*\?token=\w[\w-]+")

# Where an explorer stands that can be seen: its name and its box.
IN_VIEW = """() => [...document.querySelectorAll(".kl-explorer")]
  .filter((node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
  .map((node) => [node, node.getBoundingClientRect()])
  .filter(([, box]) => box.height > 50 && box.bottom > 0 && box.top < innerHeight)
  .map(([node, { left, top, right, bottom }]) => [node.dataset.name, left, top, right, bottom])"""

# The picture has been drawn and lies in the window with every one of its letters.
PICTURE = """(name) => {
  const node = document.querySelector(`.kl-explorer[data-name="${name}"]`);
  const inside = ({ left, top, right, bottom }) =>
    left >= -1 && top >= -1 && right <= innerWidth + 1 && bottom <= innerHeight + 1;
  const parts = [node, ...node.querySelectorAll(".kl-picture, .kl-plot .main-svg, .kl-plot text")];
  const plot = node.querySelector(".js-plotly-plot");
  return {
    drawn: Boolean(plot?._fullLayout) && node.querySelectorAll(".kl-plot text").length > 0,
    outside: parts.filter((part) => !inside(part.getBoundingClientRect())).map((part) =>
      `${part.getAttribute("class")}: ${part.textContent.slice(0, 30)}`),
    scene: [...node.querySelectorAll(".kl-scene")].findIndex((one) => one.ariaPressed === "true"),
    content: plot ? JSON.stringify(plot.data.map(({ x, y, visible }) => [
      Array.from(x ?? []), Array.from(y ?? []), visible])) : "",
    width: node.querySelector(".kl-plot .main-svg")?.getBoundingClientRect().width ?? 0,
    room: node.querySelector(".kl-picture").getBoundingClientRect().width,
  };
}"""

ERRORS = """() => [...document.querySelectorAll(
  ".jupyter-widgets-error-widget, [data-mime-type='application/vnd.jupyter.error'], "
  + "[data-mime-type='application/vnd.jupyter.stderr'], .kl-error:not([hidden])"
)].map((node) => node.textContent.trim().slice(0, 300))"""


class Show:
    """`kernellab present` as a process, and its page."""

    def __init__(self, chromium, folder: Path, form: str):
        self.form = form
        self.log = folder / "log"
        environment = dict(
            os.environ,
            KERNELLAB_DATA_DIR=str(folder / "progress"),
            JUPYTER_RUNTIME_DIR=str(folder / "runtime"),
            JUPYTERLAB_SETTINGS_DIR=str(folder / "settings"),
            JUPYTERLAB_WORKSPACES_DIR=str(folder / "workspaces"),
            IPYTHONDIR=str(folder / "ipython"),
        )
        environment.pop("KERNELLAB_SAVING", None)
        command = [sys.executable, "-m", "kernellab.cli", "present", str(LAB), "--no-browser"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *(["--app"] if form == "app" else [])],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.page = chromium.new_page(viewport={"width": SIZES[0][0], "height": SIZES[0][1]})
        self.page_errors: list[str] = []
        self.outside: list[str] = []
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        self.page.on("request", self._request)

    def _request(self, request):
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            self.outside.append(request.url)

    def open(self) -> "Show":
        """Open the printed address; wait until the lab has run."""
        until = time.monotonic() + 60
        while "is running at" not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.2)
        self.page.goto(ADDRESS.search(self.log.read_text())[0], timeout=120_000)
        ready = (
            "document.body.dataset.klDeck === 'ready'"
            if self.form == "slides"
            else "document.querySelector('.kl-explorer .js-plotly-plot') !== null"
        )
        self.page.wait_for_function(ready, timeout=120_000)
        self._to_first_explorer()
        return self

    def _to_first_explorer(self):
        if self.form == "app":
            self.page.locator(".kl-explorer").first.scroll_into_view_if_needed()
            return
        for _ in range(10):
            if self.page.evaluate(IN_VIEW):
                return
            self.page.keyboard.press("Space")
            self.page.wait_for_timeout(500)
        raise AssertionError("no explorer within ten steps")

    def resize(self, width: int, height: int):
        """Another projector."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(1500)
        if self.form == "app":
            self.page.evaluate(
                "document.querySelector('.kl-explorer').scrollIntoView({ block: 'center' })"
            )
            self.page.wait_for_timeout(300)

    def picture(self) -> dict:
        """The state of the explorer in view."""
        [(name, *_)] = self.page.evaluate(IN_VIEW)[:1]
        return self.page.evaluate(PICTURE, name)

    def press(self, key: str):
        """Press a key and let its picture be drawn."""
        self.page.keyboard.press(key)
        self.page.wait_for_timeout(1200)

    def close(self):
        """End the page, the server and its kernel."""
        self.page.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@pytest.fixture(scope="module", params=["slides", "app"])
def show(request, chromium, tmp_path_factory):
    """The lab, shown in one of the two forms."""
    package = present.NEEDED[request.param]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is missing: install kernellab[present]")
    before = LAB.read_bytes()
    show = Show(chromium, tmp_path_factory.mktemp(request.param), request.param)
    try:
        yield show.open()
    finally:
        show.close()
    assert LAB.read_bytes() == before, "showing a lab must not change it"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_the_picture_fills_the_window_and_scenes_step_by_key(show, report, size):
    show.resize(*size)
    first = show.picture()
    name = f"present-{show.form}-{size[0]}x{size[1]}"
    show.page.screenshot(path=report["folder"] / f"{name}.png")
    assert first["drawn"] and first["outside"] == []
    assert first["width"] == pytest.approx(first["room"], abs=3), "drawn for another width"
    show.press("n")
    second = show.picture()
    show.page.screenshot(path=report["folder"] / f"{name}-next.png")
    assert second["scene"] == first["scene"] + 1 and second["content"] != first["content"]
    assert second["outside"] == []
    show.press("[")
    assert show.picture()["scene"] == first["scene"]


def test_a_text_field_keeps_its_keys(show):
    before = show.picture()["scene"]
    show.page.evaluate(
        """() => {
          const field = document.createElement("input");
          field.id = "probe";
          field.style = "position: fixed; top: 0; left: 0";
          document.body.append(field);
          field.focus();
        }"""
    )
    show.press("n")
    assert show.page.evaluate("document.querySelector('#probe').value") == "n"
    assert show.picture()["scene"] == before
    show.page.evaluate("document.querySelector('#probe').remove()")


def test_after_a_slider_the_slides_go_on(show):
    if show.form != "slides":
        pytest.skip("only slides go on")
    [(name, *_)] = show.page.evaluate(IN_VIEW)[:1]
    explorer = show.page.locator(f'.kl-explorer[data-name="{name}"]')
    explorer.locator("input[type=range]").first.click()
    show.press("Space")
    assert name not in [one[0] for one in show.page.evaluate(IN_VIEW)]
    show.press("PageUp")
    explorer.locator(".kl-scene").nth(1).click()
    show.press("Space")
    assert name not in [one[0] for one in show.page.evaluate(IN_VIEW)]
    show.press("Shift+Space")
    assert name in [one[0] for one in show.page.evaluate(IN_VIEW)]


def test_nothing_failed_and_nothing_came_from_outside(show):
    assert show.page.evaluate(ERRORS) == []
    assert show.page_errors == []
    assert show.outside == []


def test_there_is_no_code_but_what_the_lab_shows(show):
    shown = show.page.evaluate(
        """() => [...document.querySelectorAll(".jp-CodeCell .jp-InputArea-editor")]
          .filter((node) => node.checkVisibility()).length"""
    )
    assert shown == 0
    if show.form == "app":
        assert "ridge regression" in show.page.title()
