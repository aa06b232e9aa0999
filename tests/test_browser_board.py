"""A person runs lesson 11 in JupyterLab and plays with its board.

This lesson counts what it stops in mid-answer, so its model is slower than
that of the other browser tests.
"""

import re

import pytest
from playwright.sync_api import expect

from tests.browser import Lab, browser_needed, eventually, lab

pytestmark = pytest.mark.timeout(180)


def test_each_research_has_progress_and_a_cancel_button() -> None:
    with browser_needed(), lab(ttft=0.25, per_token=0.04) as opened:
        play(opened)


def play(opened: Lab) -> None:
    lesson = opened.open("11")
    lesson.run_all()
    lesson.finished(seconds=120)
    assert lesson.errors() == []

    board = lesson.panel.locator(".jp-OutputArea-output:has(.jupyter-widgets)")
    start = board.get_by_role("button", name="Start")
    cancels = board.get_by_role("button", name="Cancel")
    opened.control("pace", per_token=0.6)  # a person needs time to press
    # From its second event on, a widget's callback runs in another thread.
    for cancelled in 2, 0:
        opened.control("meter/reset")
        start.click()
        row = board.locator(".widget-hbox").nth(cancelled)
        begun = row.get_by_text(re.compile(r"^[1-9]\d* tokens?$"))
        expect(begun).to_be_visible()
        cancels.nth(cancelled).click()

        def over() -> bool:
            counts = opened.counts()
            return counts["requests"] >= 4 and not counts["in_flight"]

        eventually(over, "all four researches end")
        counts = opened.counts()
        assert (counts["requests"], counts["cut_off"]) == (4, 1)
        expect(board.get_by_text("16 tokens, done")).to_have_count(3)
        ended = board.get_by_text(re.compile("tokens?, cancelled"))
        expect(ended).to_have_count(1)
