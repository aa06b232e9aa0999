"""A person opens the lessons in JupyterLab, runs them and plays.

One server and one headless Chromium serve all tests of this file. The
lessons run side by side; the tests that play wait until all are done.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Locator, expect

from tests.browser import Lab, Notebook, browser_needed, eventually, lab

LESSONS = ("01", "04", "06")
# The first test waits for three kernels, and for JupyterLab itself.
pytestmark = pytest.mark.timeout(240)

Desk = tuple[Lab, dict[str, Notebook]]


@pytest.fixture(scope="module")
def running() -> Iterator[Desk]:
    """JupyterLab with all lessons open and running."""
    with ExitStack() as stack:
        with browser_needed():
            opened = stack.enter_context(lab(ttft=0.05, per_token=0.01))
        lessons = {}
        for name in LESSONS:
            lessons[name] = opened.open(name)
            lessons[name].run_all()
        yield opened, lessons


@pytest.fixture
def desk(running: Desk) -> Desk:
    """The same with every lesson finished and all counts at zero."""
    opened, lessons = running
    for lesson in lessons.values():
        lesson.finished()
    opened.control("meter/reset")
    return running


def counted(desk: Desk, requests: int) -> dict[str, int]:
    """The counts once that many requests were made and none is left."""
    opened, _ = desk

    def done() -> bool:
        counts = opened.counts()
        return counts["requests"] >= requests and not counts["in_flight"]

    eventually(done, f"{requests} requests end")
    return opened.counts()


def widget(lesson: Notebook) -> Locator:
    return lesson.panel.locator(".jp-OutputArea-output:has(.jupyter-widgets)")


@pytest.mark.parametrize("name", LESSONS)
def test_lesson_runs_without_errors(running: Desk, name: str) -> None:
    opened, lessons = running
    lesson = lessons[name]
    lesson.show()
    lesson.finished()
    assert lesson.errors() == []
    expect(opened.page.locator(".jp-Dialog")).to_have_count(0)


def test_pictures_are_there_in_words_too(desk: Desk) -> None:
    lesson = desk[1]["01"]
    lesson.show()
    outputs = lesson.panel.locator("[data-mime-type='text/html']")
    pictures = outputs.get_by_role("img", name="Timeline. ")
    words = outputs.locator("details", has_text="In words")
    assert pictures.count() == words.count() > 0
    for picture in pictures.all():
        wide = "img => img.decode().then(() => img.naturalWidth)"
        assert picture.evaluate(wide)
    for text in words.all():
        expect(text.locator("pre")).not_to_be_visible()
        text.locator("summary").click()
        expect(text.locator("pre")).to_contain_text("in flight")


def test_slider_and_waiter(desk: Desk) -> None:
    lesson = desk[1]["01"]
    lesson.show()
    panel = widget(lesson)
    picture, track = panel.locator("img"), panel.locator(".noUi-base")
    box = track.bounding_box()
    assert box

    def tables(count: int) -> None:
        """Drag the slider to one of its ends, 1 or 8."""
        target = {"x": 1 if count == 1 else box["width"] - 1, "y": 2}
        panel.get_by_role("slider").drag_to(track, target_position=target)
        expect(panel.locator(".widget-readout")).to_have_text(str(count))

    def waiter(name: str) -> None:
        panel.get_by_role("button", name=name, exact=True).click()

    # From its second event on, a widget's callback runs in another thread.
    for act, value, requests, peak in [
        (tables, 8, 8, 8),
        (tables, 1, 1, 1),
        (tables, 8, 8, 8),
        (waiter, "sync", 8, 1),
        (waiter, "together", 8, 8),
        (waiter, "one by one", 8, 1),
    ]:
        before = picture.get_attribute("src")
        desk[0].control("meter/reset")
        act(value)
        counts = counted(desk, requests)
        assert counts["requests"] == requests
        assert counts["peak_in_flight"] == peak
        expect(picture).not_to_have_attribute("src", before)


def test_mode_explorer(desk: Desk) -> None:
    lesson = desk[1]["04"]
    lesson.show()
    panel = widget(lesson)
    for tick in panel.get_by_role("checkbox").all():
        tick.uncheck()
    panel.get_by_label("updates").check()
    panel.get_by_role("button", name="v1").click()
    screen = panel.locator("pre")

    def run(first: str) -> list[str]:
        """Press Run and return the lines once the last chunk is there."""
        panel.get_by_role("button", name="Run", exact=True).click()
        whole = re.compile(f"^{re.escape(first)}.*kitchen: [^\n]*$", re.S)
        expect(screen).to_have_text(whole)
        return screen.inner_text().splitlines()

    updates = run("tuple ('updates', {greet")
    assert len(updates) == 2
    panel.get_by_label("custom").check()
    panel.get_by_label("subgraphs").check()
    panel.get_by_role("button", name="v2").click()
    parts = run("dict {type: 'custom', ns: ()")
    assert {part.split("'")[1] for part in parts} == {"custom", "updates"}
    assert any("ns: ('kitchen:" in part for part in parts)
    panel.get_by_label("custom").uncheck()
    panel.get_by_label("subgraphs").uncheck()
    panel.get_by_role("button", name="v1").click()
    panel.get_by_role("button", name="stream", exact=True).click()
    assert run("tuple ('updates', {greet") == updates
    counts = counted(desk, 6)
    assert (counts["requests"], counts["peak_in_flight"]) == (6, 1)


def test_stop_ends_the_stream(desk: Desk) -> None:
    opened, lessons = desk
    lesson = lessons["06"]
    lesson.show()
    panel = widget(lesson)
    text = panel.locator(".widget-html-content")
    panel.get_by_role("button", name="Start").click()
    # The model wrote **bold**, which is rendered, and <b>, which is not.
    expect(text.locator("strong")).to_have_text("Soup")
    expect(text).to_contain_text("<b>no HTML</b>")
    whole = counted(desk, 1)
    assert whole["cut_off"] == 0

    for after, shown in (5, "Soup of the"), (2, "**Soup"):
        opened.control("meter/reset")
        # The model waits after some tokens until its reader leaves.
        opened.control("faults", kind="stall", after_tokens=after)
        panel.get_by_role("button", name="Start").click()
        expect(text).to_have_text(shown)
        expect(panel).to_contain_text(re.compile(r"first .* s, \d+ tokens/s"))
        panel.get_by_role("button", name="Stop").click()
        stopped = counted(desk, 1)
        assert (stopped["tokens_sent"], stopped["cut_off"]) == (after, 1)
        assert stopped["tokens_sent"] < whole["tokens_sent"]
        expect(text).to_have_text(shown)


def test_interrupt_ends_a_hanging_cell(desk: Desk) -> None:
    opened, lessons = desk
    lesson = lessons["06"]
    lesson.show()
    opened.control("faults", kind="stall", after_tokens=3)
    ask = "async for chunk in llm.astream('What is LangGraph?'):\n"
    cell = lesson.add_cell(ask + "    print(chunk.text, end='|', flush=True)")
    eventually(lambda: opened.counts()["tokens_sent"] == 3, "three tokens")
    assert lesson.prompts()[-1] == "[*]:"
    lesson.interrupt()
    ended = re.compile("CancelledError|KeyboardInterrupt")
    expect(cell.locator(".jp-OutputArea")).to_contain_text(ended)
    counts = counted(desk, 1)
    assert (counts["tokens_sent"], counts["cut_off"]) == (3, 1)
    # The kernel drops what it is sent while it still ends an error.
    eventually(lambda: lesson.prompts()[-1] != "[*]:", "the cell has ended")
    expect(lesson.page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
    lesson.page.wait_for_timeout(1000)
    again = lesson.add_cell("print((await llm.ainvoke('hello')).text)")
    expect(again.locator(".jp-OutputArea")).to_contain_text("practice")
    assert opened.counts()["cut_off"] == 1


def test_each_research_has_progress_and_a_cancel_button(desk: Desk) -> None:
    """Lesson 11 counts what it stops in mid-answer, so its model is slower
    than that of the tests before."""
    opened, _ = desk
    opened.control("pace", ttft=0.25, per_token=0.04)
    lesson = opened.open("11")
    lesson.run_all()
    lesson.finished(seconds=120)
    assert lesson.errors() == []

    board = widget(lesson)
    start = board.get_by_role("button", name="Start")
    cancels = board.get_by_role("button", name="Cancel")
    opened.control("meter/reset")
    # From its second event on, a widget's callback runs in another thread.
    for cancelled, requests, cut_off in (2, 4, 1), (0, 8, 5):
        for _ in range(4):  # each waits until it is cancelled, or all are
            opened.control("faults", kind="stall", after_tokens=2)
        start.click()
        expect(board.get_by_text("2 tokens", exact=True)).to_have_count(4)
        cancels.nth(cancelled).click()
        ended = board.get_by_text("2 tokens, cancelled")
        expect(ended).to_have_count(1)
        eventually(lambda: opened.counts()["in_flight"] == 3, "one ends")
        counts = opened.counts()
        assert (counts["requests"], counts["cut_off"]) == (requests, cut_off)
    start.click()
    expect(board.get_by_text("16 tokens, done")).to_have_count(4)
    assert counted(desk, 12)["cut_off"] == 8


def test_nothing_is_loaded_from_elsewhere(desk: Desk) -> None:
    hosts = {host.rpartition(":")[0] for host in desk[0].hosts if host}
    assert hosts == {"127.0.0.1"}
