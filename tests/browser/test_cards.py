"""Claims, predictions and exercises under the hand of a reader."""

import os
import re
import signal
import sqlite3
import time

import pytest

from . import jupyter, notebooks

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.browser


def _attempts(server: jupyter.Server) -> list[tuple]:
    """Rows of the progress file, read as another program would read it."""
    found = list(server.progress.rglob("*.sqlite3"))
    if not found:
        return []
    with sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True) as base:
        rows = base.execute("SELECT exercise, source, passed FROM attempts ORDER BY time")
        return rows.fetchall()


def _card(page, words: str):
    """The card whose heading starts with these words."""
    return page.locator(".kl-card").filter(
        has=page.locator(".kl-head", has_text=re.compile(f"^{words}"))
    )


def _scroll_to(card) -> str:
    """Bring a card on screen and return its text; JupyterLab lays out a moment later."""
    card.scroll_into_view_if_needed()
    expect(card).to_contain_text(re.compile(r"\w"), use_inner_text=True)
    return card.inner_text()


@pytest.fixture(scope="module")
def lab(server, context):
    notebooks.make(server.root)
    lab = jupyter.Lab(context, server, notebooks.CARDS).open().run_all()
    yield lab
    lab.close()


def test_cards_show_without_errors(lab):
    assert lab.errors() == []
    assert lab.page_errors == []
    assert lab.outside_requests == []
    assert lab.page.locator(".kl-card").count() == 5


def test_claim_shows_both_numbers_and_runs_the_broken_one(lab):
    card = _card(lab.page, "Claim")
    before = _scroll_to(card)
    assert "holds" in before and "fails as it must" in before
    assert "just now" not in before
    card.get_by_role("button", name="Run the broken one").click()
    live = card.locator(".kl-side", has_text="just now")
    live.wait_for()
    assert re.search(r"0\.015", live.inner_text())
    assert "fails as it must" in live.inner_text()


def test_prediction_by_choice_reveals_the_answer_only_after_a_guess(lab):
    card = _card(lab.page, "Predict").first
    assert "Measured" not in _scroll_to(card)
    commit = card.get_by_role("button", name="Commit")
    assert commit.is_disabled()
    card.get_by_text("taking a tenth away").click()
    commit.click()
    answer = card.locator(".kl-side", has_text="Measured")
    answer.wait_for()
    assert "halving" in answer.inner_text()
    guessed = card.locator(".kl-side", has_text=re.compile("^You guessed"))
    assert "taking a tenth away" in guessed.inner_text()


def test_prediction_by_slider_works_from_the_keyboard(lab):
    card = _card(lab.page, "Predict").nth(1)
    assert "35" not in _scroll_to(card)
    handle = card.get_by_role("slider")
    handle.focus()
    before = handle.get_attribute("aria-valuenow")
    lab.page.keyboard.press("ArrowLeft")
    assert handle.get_attribute("aria-valuenow") != before
    commit = card.get_by_role("button", name="Commit")
    commit.focus()
    lab.page.keyboard.press("Enter")
    card.locator(".kl-side", has_text="Measured").wait_for()
    assert "35 %" in card.inner_text()


def test_refused_attempt_is_explained_and_kept(lab, server):
    verdict = lab.page.locator(".kl-card", has_text="Not yet").last
    assert "for 3 you return 6, it must be 1.5" in _scroll_to(verdict)
    [(exercise, source, passed)] = _attempts(server)
    assert (exercise, passed) == ("made/halve", 0)
    assert "def my_attempt_at_halving" in source


def _end_kernel(lab: jupyter.Lab, server: jupyter.Server) -> None:
    process = server.kernel_process(lab.kernel_id())
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)


def test_attempt_survives_a_killed_kernel_and_a_killed_server(chromium, tmp_path):
    server = jupyter.Server(tmp_path / "lab")
    notebooks.make(server.root)
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    try:
        server.start()
        lab = jupyter.Lab(context, server, notebooks.CARDS).open().run_all()
        kept = _attempts(server)
        assert len(kept) == 1
        # The kernel dies in the middle of an attempt: its function never comes back.
        lab.start_cell(
            5,
            "import time\n\n\ndef asleep(x):\n    time.sleep(600)\n\n\nexercise.check(asleep)",
        )
        deadline = time.monotonic() + 20
        while len(_attempts(server)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        _end_kernel(lab, server)
        assert [passed for _, _, passed in _attempts(server)] == [0, None]
        assert "def asleep" in _attempts(server)[1][1]
        lab.page.close()

        server.kill()
        assert not _alive(server.process.pid)
        assert len(_attempts(server)) == 2

        server.start()
        lab = jupyter.Lab(context, server, notebooks.CARDS).open()
        lab.run_cell(1)  # its imports
        lab.run_cell(4)
        history = _card(lab.page, "Exercise")
        _scroll_to(history)
        history.locator("summary", has_text="Your work: 2 attempts").click()
        shown = history.inner_text()
        assert "never came back" in shown and "for 3 you return 6" in shown
        assert "def asleep" in shown
        assert len(_attempts(server)) == 2
    finally:
        context.close()
        server.kill()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
