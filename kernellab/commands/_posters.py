"""Pictures of figures: a Plotly figure drawn by Chromium, stored as a small PNG."""

import base64
import io
import json
from pathlib import Path

from kernellab.cli import CommandError

WIDTH, DEFAULT_HEIGHT = 900, 450
MAX_POSTER_BYTES = 60_000

_PAGE = """<!doctype html><meta charset="utf-8">
<style>body { margin: 0; background: white } #figure { display: inline-block }</style>
<div id="figure"></div>"""

_DRAW = """async (figure) => {
    const layout = Object.assign({}, figure.layout,
        {width: figure.width, height: figure.height, autosize: false});
    await Plotly.newPlot("figure", figure.data, layout, {staticPlot: true, displayModeBar: false});
    await document.fonts.ready;
}"""


class PosterError(CommandError):
    """The browser could not draw the figure."""


def shrink(png: bytes, max_bytes: int = MAX_POSTER_BYTES) -> bytes:
    """A picture with a small palette; fewer colours, then fewer pixels, until it fits."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    for scale in (1.0, 0.8, 0.65, 0.5):
        size = (round(image.width * scale), round(image.height * scale))
        scaled = image if scale == 1.0 else image.resize(size, Image.Resampling.LANCZOS)
        for colours in (128, 64, 32):
            buffer = io.BytesIO()
            scaled.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
            if buffer.tell() <= max_bytes:
                return buffer.getvalue()
    return buffer.getvalue()


class PosterMaker:
    """Draws figures in one Chromium; use as a context manager."""

    def __init__(self, chromium: str):
        self.chromium = chromium

    def __enter__(self):
        import plotly
        from playwright.sync_api import sync_playwright

        script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        self._playwright = sync_playwright().start()
        # Containers and CI run as root, where Chromium's sandbox refuses to start; the page shows
        # only figures this project drew itself.
        self._browser = self._playwright.chromium.launch(
            executable_path=self.chromium, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        self._page = self._browser.new_page(viewport={"width": WIDTH, "height": 900})
        self._page.set_content(_PAGE)
        self._page.add_script_tag(path=script)
        return self

    def __exit__(self, *_):
        self._browser.close()
        self._playwright.stop()

    def png(self, figure: dict | str) -> bytes:
        """The figure (Plotly's JSON) as PNG bytes, at most `MAX_POSTER_BYTES` long."""
        figure = json.loads(figure) if isinstance(figure, str) else dict(figure)
        height = figure.get("layout", {}).get("height") or DEFAULT_HEIGHT
        figure.update(width=WIDTH, height=height, frames=[])
        try:
            self._page.evaluate(_DRAW, figure)
            return shrink(self._page.locator("#figure").screenshot(animations="disabled"))
        except Exception as error:
            raise PosterError(str(error).splitlines()[0]) from None

    def base64(self, figure: dict | str) -> str:
        """The picture as a notebook stores it."""
        return base64.b64encode(self.png(figure)).decode("ascii")
