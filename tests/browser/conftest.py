"""One server, one browser and one report for all browser tests.

Every test here is skipped, with one reason, where there is no browser to drive.
"""

import json
import os
from pathlib import Path

import pytest

from kernellab import paths
from kernellab.commands import _browser

from . import jupyter

REPORT = pytest.StashKey[dict]()


def _missing() -> str | None:
    """Why the browser tests cannot run here; None if they can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is missing: install kernellab[browser]"
    return None if _browser.find_chromium() else _browser.MISSING


def pytest_configure(config):
    config.stash[REPORT] = {}


@pytest.fixture(scope="session")
def chromium():
    """The browser of the session."""
    reason = _missing()
    if reason:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_browser.find_chromium(), args=jupyter.CHROMIUM_ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(chromium, tmp_path_factory):
    """A JupyterLab server on a copy of the notebooks; the checkout stays as it is."""
    server = jupyter.Server(tmp_path_factory.mktemp("jupyter") / "lab", paths.NOTEBOOKS)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def context(chromium):
    """A browser window's settings, shared by all pages (so they share the cache)."""
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    yield context
    context.close()


@pytest.fixture(scope="session")
def report(request, tmp_path_factory):
    """Where measured times and screenshots go; KERNELLAB_BROWSER_REPORT chooses the folder."""
    chosen = os.environ.get("KERNELLAB_BROWSER_REPORT")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("browser-report")
    folder.mkdir(parents=True, exist_ok=True)
    content = request.config.stash[REPORT]
    content.update(folder=folder, labs={})
    yield content
    text = json.dumps({"labs": content["labs"]}, indent=1)
    (folder / "report.json").write_text(text + "\n")


def pytest_terminal_summary(terminalreporter, config):
    """Print the times from the hand to the pixel, and where the pictures are."""
    content = config.stash.get(REPORT, {})
    if not content.get("labs"):
        return
    terminalreporter.section("browser: seconds to open and run, ms from hand to pixel")
    for path, lab in content["labs"].items():
        terminalreporter.line(
            f"{path}: open {lab['open']:.1f} s, run {lab['run']:.1f} s, "
            f"last explorer {lab['last_explorer']:.1f} s, {lab['megabytes']:.2f} MB"
        )
        for name, one in lab.get("explorers", {}).items():
            terminalreporter.line(
                f"  {name:<28} {one['control']:<16} median {one['median']:4.0f}  "
                f"p90 {one['p90']:4.0f}  settled after {one['settled']:4.0f}  "
                f"({one['inputs']} inputs, {one['frames']} frames)"
            )
    terminalreporter.line(f"pictures and report.json: {content['folder']}")
