"""Where a Chromium is found for the pictures `save` takes and for the browser tests."""

import os
import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

MISSING = (
    "no Chromium found: install chromium or Google Chrome, or set KERNELLAB_CHROMIUM to its program"
)


def _usual_places() -> list[Path]:
    """Where installers put a Chromium that is not on PATH."""
    home = Path.home()
    if sys.platform == "darwin":
        apps = (
            "Google Chrome.app/Contents/MacOS/Google Chrome",
            "Chromium.app/Contents/MacOS/Chromium",
        )
        places = [Path("/Applications") / app for app in apps]
        cache, pattern = (
            home / "Library/Caches/ms-playwright",
            "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
        )
    elif sys.platform == "win32":
        roots = [
            os.environ.get(name) for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")
        ]
        places = [Path(root) / "Google/Chrome/Application/chrome.exe" for root in roots if root]
        cache, pattern = home / "AppData/Local/ms-playwright", "chromium-*/chrome-win*/chrome.exe"
    else:
        places = []
        cache, pattern = home / ".cache/ms-playwright", "chromium-*/chrome-linux*/chrome"
    return places + sorted(cache.glob(pattern), reverse=True)


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome program, or None.

    ``KERNELLAB_CHROMIUM`` wins (and is the whole answer when it is set: an empty value or a file
    that is not there means "no browser"); then the usual names on PATH, then the usual places.
    """
    chosen = os.environ.get("KERNELLAB_CHROMIUM")
    if chosen is not None:
        return shutil.which(chosen) if chosen else None
    for name in NAMES:
        if found := shutil.which(name):
            return found
    return next((str(place) for place in _usual_places() if place.is_file()), None)
