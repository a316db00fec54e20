"""Every lab with explorers, opened, run and moved by hand in a real browser."""

import pytest

from . import explorers, jupyter, notebooks

pytestmark = pytest.mark.browser

LIMIT = 250  # ms, median from hand to pixel at the usual pace; the goal is 100 ms on a laptop


@pytest.fixture(scope="module", params=notebooks.labs())
def lab(request, server, context, report):
    """A lab, open and run; its times and a picture of its first screen go into the report."""
    lab = jupyter.Lab(context, server, f"notebooks/{request.param}")
    lab.open()
    lab.pictures = report["folder"] / request.param.removesuffix(".ipynb").replace("/", "-")
    lab.run_all()
    lab.first_screen(lab.pictures.with_suffix(".png"))
    report["labs"][request.param] = lab.report = {
        "open": lab.seconds_to_open,
        "run": lab.seconds_to_run,
        "last_explorer": lab.seconds_to_last_explorer,
        "megabytes": lab.received_bytes / 1e6,
        "explorers": {},
    }
    yield lab
    lab.close()


def test_it_runs_without_errors(lab):
    names = lab.page.evaluate("kernellabPage.names()")
    assert names, "the notebook has explorers, but none is on the page"
    assert lab.errors() == []
    assert lab.page_errors == []
    assert lab.outside_requests == [], "a lab must fetch nothing from the network"


def test_explorers_follow_the_hand(lab):
    wrong = []
    for name in lab.page.evaluate("kernellabPage.names()"):
        explorer = explorers.OnPage(lab, name)
        wrong += [f"{name}: {sentence}" for sentence in _follow(lab, explorer)]
    assert lab.page_errors == []
    assert wrong == []


def _follow(lab, explorer) -> list[str]:
    """Every slider to both ends, the first one that matters dragged: what was wrong."""
    wrong = []
    dragged = False
    explorer.toggle_more()
    for control in explorer.sliders():
        scale, found = explorer.ends(control)
        wrong += found
        if scale is None or dragged:
            continue
        # Both ends may be settings that the explorer refuses; start from a scene again.
        explorer.go(0)
        times, found = explorer.drag_calmly(scale, LIMIT)
        dragged = True
        wrong += found
        row = explorers.summary(control, times)
        lab.report["explorers"][explorer.name] = row
        if not row["median"] <= row["limit"]:  # or there was no answer at all
            wrong.append(f"{control}: median from hand to pixel {row['median']:.0f} ms")
    explorer.toggle_more()
    if explorer.live and explorer.sliders() and not dragged:
        wrong.append("no slider changes the picture")
    if explorer.live and explorer.state()["readouts"] and len(explorer.readouts) == 1:
        wrong.append("no slider changes any readout")
    return wrong


def test_scenes_step_and_change_the_picture(lab):
    wrong = []
    for name in lab.page.evaluate("kernellabPage.names()"):
        explorer = explorers.OnPage(lab, name)
        pictures = []
        for k in range(explorer.scenes().count()):
            title = explorer.scenes().nth(k).inner_text()
            state = explorer.go(k)
            if state["scene"] != k:
                wrong.append(f"{name}: scene {title} does not open")
            if state["error"]:
                wrong.append(f"{name}: scene {title}: {state['error']}")
            pictures.append((state["picture"], str(state["controls"])))
        if explorer.live and len(set(pictures)) < len(pictures):
            wrong.append(f"{name}: {len(pictures)} scenes, {len(set(pictures))} pictures")
    assert wrong == []


def test_nothing_is_cut_off_or_covered(lab):
    wrong = []
    for name in lab.page.evaluate("kernellabPage.names()"):
        explorers.OnPage(lab, name)
        lab.page.screenshot(path=f"{lab.pictures}-{name}.png")
        found = lab.page.evaluate("name => kernellabPage.blemishes(name)", name)
        wrong += [f"{name}: {sentence}" for sentence in found]
    assert wrong == []
