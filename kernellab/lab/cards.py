"""What claims, predictions and exercises share: calm cards, in the colours of the reader's theme.

A card has three forms. In a running notebook it is a widget; in a saved one, Markdown, which every
host shows; and one deterministic text line, which nbval compares. What a reader did (an attempt, a
guess) changes only the widget, so a notebook passes its tests on every reader's machine.
"""

from __future__ import annotations

from html import escape

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"

# Jupyter sets the --jp variables in both its themes; the fallbacks serve pages without them.
_STYLE = """<style>
.kl-card { border: 1px solid var(--jp-border-color2, #c4c4c4); border-radius: 4px;
  padding: 10px 16px 12px; margin: 4px 0; max-width: 880px; overflow: hidden;
  background: var(--jp-layout-color1, #fff); color: var(--jp-ui-font-color1, #212121); }
.kl-card .widget-html-content, .kl-html { color: var(--jp-ui-font-color1, #212121);
  font-family: var(--jp-content-font-family, sans-serif); font-size: 15px; line-height: 1.45; }
.kl-card .widget-html, .kl-card .jupyter-widget-html { height: auto; min-height: 0; width: 100%; }
.kl-card .widget-html-content { white-space: normal; overflow-wrap: anywhere; width: 100%; }
.kl-head { font-size: 13px; color: var(--jp-ui-font-color2, #555); margin: 0 0 2px; }
.kl-statement { font-size: 17px; margin: 0 0 8px; }
.kl-pair { display: flex; flex-wrap: wrap; gap: 12px; }
.kl-side { flex: 1 1 220px; padding: 8px 12px; background: var(--jp-layout-color2, #f3f3f3);
  border-left: 4px solid var(--jp-border-color1, #999); border-radius: 2px; }
.kl-good { border-left-color: #0072b2; }
.kl-bad { border-left-color: #d55e00; }
.kl-label { font-size: 13px; color: var(--jp-ui-font-color2, #555); }
.kl-value { font-size: 24px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.kl-many .kl-value { font-size: 17px; }
.kl-word { font-size: 14px; font-weight: 600; }
.kl-card button.jupyter-button { padding: 0 14px; font-size: 14px;
  border: 1px solid var(--jp-border-color1, #999); border-radius: 3px; }
.kl-card details { margin: 6px 0; }
.kl-card summary { cursor: pointer; }
.kl-card pre, .kl-card code { font-family: var(--jp-code-font-family, monospace); font-size: 13px;
  color: inherit; background: var(--jp-layout-color2, #f3f3f3); }
.kl-card pre { padding: 8px 10px; white-space: pre-wrap; overflow-x: auto; line-height: 1.35; }
.kl-card td, .kl-card th { padding: 2px 12px 2px 0; text-align: left; vertical-align: top;
  font-size: 14px; }
.kl-card .widget-radio-box label, .kl-card .widget-label, .kl-card .widget-readout {
  color: var(--jp-ui-font-color1, #212121); font-size: 15px; }
</style>"""


class Card:
    """Something that shows as a widget, as Markdown and as text.

    A subclass gives ``text()``, ``markdown()`` and ``build()``, which makes the ipywidgets card.
    """

    _widget = None

    def text(self) -> str:
        raise NotImplementedError

    def markdown(self) -> str:
        raise NotImplementedError

    def build(self):
        raise NotImplementedError

    def widget(self):
        """The card's widget, made once: shown twice, both copies stay the same."""
        if self._widget is None:
            self._widget = self.build()
        return self._widget

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = {"text/plain": self.text(), "text/markdown": self.markdown()}
        view = self.widget()._repr_mimebundle_()
        if WIDGET_MIME in view:
            bundle[WIDGET_MIME] = view[WIDGET_MIME]
        return bundle


def card(*children):
    """Stack ipywidgets (or strings of HTML) in one framed card."""
    import ipywidgets

    stacked = [html(child) if isinstance(child, str) else child for child in children]
    box = ipywidgets.VBox([html(_STYLE), *stacked])
    box.add_class("kl-card")
    return box


def html(content: str):
    """An ipywidgets HTML of the card's width."""
    import ipywidgets

    return ipywidgets.HTML(content, layout={"width": "auto", "margin": "0"})


def button(words: str, tooltip: str = "", disabled: bool = False):
    """An ipywidgets Button as wide as its words."""
    import ipywidgets

    layout = {"width": "auto", "align_self": "flex-start", "margin": "8px 0"}
    return ipywidgets.Button(
        description=words, tooltip=tooltip or words, disabled=disabled, layout=layout
    )


def markdown_output(source: str):
    """Markdown, with its formulas, rendered by the notebook itself inside a card."""
    import ipywidgets

    shown = {
        "output_type": "display_data",
        "data": {"text/markdown": source, "text/plain": source},
        "metadata": {},
    }
    return ipywidgets.Output(outputs=(shown,))


def head(words: str) -> str:
    """The small line on top that says what kind of card this is."""
    return f'<div class="kl-head">{escape(words)}</div>'


def statement(words: str) -> str:
    """The card's main sentence."""
    return f'<div class="kl-statement">{escape(words)}</div>'


def side(label: str, values: list[tuple[str, str]], word: str, kind: str = "") -> str:
    """One of two boxes that stand side by side: a label, its number(s), and a verdict in words.

    ``values`` are pairs (name, text); a single nameless value is set large.
    """
    many = " kl-many" if len(values) > 1 else ""
    lines = "".join(
        f'<div class="kl-value">{escape(name + " " if name else "")}{escape(text)}</div>'
        for name, text in values
    )
    last = f'<div class="kl-word">{escape(word)}</div>' if word else ""
    return (
        f'<div class="kl-side kl-{kind or "plain"}{many}">'
        f'<div class="kl-label">{escape(label)}</div>{lines}{last}</div>'
    )


def pair(*sides: str) -> str:
    """Boxes beside one another, under one another on a narrow screen."""
    return f'<div class="kl-pair">{"".join(sides)}</div>'


def seconds(duration: float) -> str:
    """A time as read on a watch: ``0.4 ms``, ``12 ms``, ``1.3 s``."""
    if duration < 1e-3:
        return f"{duration * 1e3:.1g} ms" if duration >= 1e-4 else "under 0.1 ms"
    return f"{duration * 1e3:.0f} ms" if duration < 1 else f"{duration:.1f} s"


def one_line(name: str, text: str, *, forbid: str = "") -> str:
    """A non-empty text without line breaks, checked; ``forbid`` is a separator it must not hold."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} must be a non-empty string, got {text!r}")
    if "\n" in text:
        raise ValueError(f"{name} must be one line, got {text!r}")
    if forbid and forbid in text:
        raise ValueError(f"{name} must not hold {forbid!r}, which separates fields: {text!r}")
    return text.strip()
