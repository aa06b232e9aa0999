"""A person at the finished service's chat page, in a headless Chromium.

One browser, one service and one practice model serve all tests of this file.
Between page and service is a wire that the tests break.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Route,
    expect,
    sync_playwright,
)

from tests.browser import SECONDS, browser_needed, chromium, eventually
from tests.service import SOLUTIONS, Process, running
from workshop.model import LOOPBACK, Meter, Model, practice_model

NAME = "Who are you?"
ANSWER = "I am the practice model: I answer from a file, token by token."
PART = "I am the practice model"  # its first five tokens
BACK = "Your question is back in the box."

pytestmark = pytest.mark.timeout(90)


class Wire(socketserver.ThreadingTCPServer):
    """Passes each connection on to a port, until a test breaks it."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, port: int) -> None:
        super().__init__((LOOPBACK, 0), socketserver.BaseRequestHandler)
        self.port = port
        self.dead = False  # hang up on whoever comes
        self.mark = b""
        self.ends: set[socket.socket] = set()
        threading.Thread(target=self.serve_forever, args=[0.05]).start()

    def drop(self) -> None:
        """Drop all connections that are open."""
        for end in self.ends.copy():
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def die(self) -> None:
        self.dead = True
        self.drop()

    def finish_request(self, page: Any, address: Any) -> None:
        if self.dead:
            return
        address = (LOOPBACK, self.port)
        with suppress(OSError), socket.create_connection(address) as service:
            self.ends |= {page, service}
            back = threading.Thread(target=self.pump, args=[service, page])
            back.start()
            self.pump(page, service)
            back.join()
            self.ends -= {page, service}

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if self.mark and self.mark in piece:
                    target.sendall(piece.partition(self.mark)[0] + self.mark)
                    self.mark = b""
                    return
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Chat:
    """The page as its user sees it."""

    page: Page

    @property
    def box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Your question")

    @property
    def answer(self) -> Locator:
        """The text of the last answer."""
        return self.page.locator(".assistant .text").last

    @property
    def state(self) -> Locator:
        return self.page.locator("#state")

    @property
    def notice(self) -> Locator:
        return self.page.get_by_role("alert")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def ask(self, question: str) -> None:
        expect(self.button("Send")).to_be_enabled()
        self.box.fill(question)
        self.box.press("Enter")

    def shows(self, text: str) -> None:
        """Wait until the last answer is this one, and is complete."""
        expect(self.button("Send")).to_be_enabled()
        expect(self.answer).to_have_text(text)

    def said(self) -> list[str]:
        """What the page shows, questions and answers in turn."""
        texts = self.page.locator(".text").all_text_contents()
        return [text.strip() for text in texts]


@dataclass
class Place:
    """Everything that the tests of this file share."""

    browser: Browser
    model: Model
    process: Process
    wire: Wire
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.wire.server_address[1]}/"

    def page(self, **options: Any) -> Page:
        """An empty tab, in a profile of its own."""
        self.contexts.append(self.browser.new_context(**options))
        page = self.contexts[-1].new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def tab(self, clock: bool = False, **options: Any) -> Chat:
        """Open the page; with a clock the test can move its time on."""
        page = self.page(**options)
        if clock:
            page.clock.install()
        page.goto(self.url)
        return Chat(page)

    def remembered(self, chat: Chat) -> list[str]:
        """What the service knows of the conversation."""
        thread = urlsplit(chat.page.url).fragment
        answer = chat.page.request.get(f"{self.url}threads/{thread}")
        return [message["text"] for message in answer.json()["messages"]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        with browser_needed():
            browser = stack.enter_context(chromium(playwright))
        model = practice_model()
        folder = tmp_path_factory.mktemp("chat")
        process = stack.enter_context(
            running(model, folder, resume_grace=60, frames="*")
        )
        wire = stack.enter_context(Wire(int(process.url.rsplit(":")[-1])))
        stack.callback(wire.shutdown)
        expect.set_options(timeout=SECONDS * 1000)
        yield Place(browser, model, process, wire)


@pytest.fixture
def place(house: Place) -> Iterator[Place]:
    house.model.pace(ttft=0.05, per_token=0.01)
    yield house
    for context in house.contexts:
        context.close()
    house.wire.dead, house.wire.mark = False, b""
    house.wire.drop()
    house.contexts.clear()
    complaints, house.complaints[:] = house.complaints[:], []
    assert complaints == []


@pytest.fixture(scope="module")
def window(house: Place) -> Iterator[Page]:
    """A new one for each test would cost half of the time."""
    page = house.page()
    house.contexts.clear()  # it stays
    yield page
    page.context.close()


@pytest.fixture
def chat(place: Place, window: Page) -> Iterator[Chat]:
    """The page, opened anew in a window that many tests share."""
    window.goto(place.url)
    yield Chat(window)
    window.unroute_all()


def stalls(place: Place, chat: Chat, **how: float) -> None:
    """Ask, and see the part after which the model says no more."""
    place.model.fault("stall", after_tokens=5, **how)
    chat.ask(NAME)
    expect(chat.answer).to_have_text(PART)


def is_held(place: Place, chat: Chat) -> None:
    """Ask, and see the part after which the wire lets nothing through: the
    connection stays open, and the model goes on."""
    place.wire.mark = b"id: 7\n"
    chat.ask(NAME)
    expect(chat.answer).to_have_text(PART)
    eventually(lambda: not place.wire.mark, "the next event comes")


def gives_up(chat: Chat) -> None:
    """Let the page's time pass until it tries no longer."""

    def given_up() -> bool:
        chat.page.clock.run_for(5000)
        return chat.notice.is_visible()

    eventually(given_up, "the page gives up")


def one_answer(meter: Meter) -> None:
    """The model was asked once, and nobody left it."""
    meter.read()
    assert (meter.requests, meter.cut_off, meter.in_flight) == (1, 0, 0)


# Notes what an element says over time.
RECORD = """(selector) => {
    const heard = (window.heard ??= {})[selector] = [];
    const element = document.querySelector(selector);
    new MutationObserver(() => heard.push(element.textContent)).observe(
        element, {childList: true, characterData: true, subtree: true});
}"""


def record(chat: Chat, selector: str) -> None:
    chat.page.evaluate(RECORD, selector)


def heard(chat: Chat, selector: str) -> list[str]:
    return chat.page.evaluate("(selector) => heard[selector]", selector)


def token(number: int, text: str) -> str:
    return event(number, "token", {"text": text})


def done(number: int) -> str:
    return event(number, "done", {"outcome": "complete"})


def event(number: int, name: str, data: Any) -> str:
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


# --- an answer


def test_it_streams(place: Place, chat: Chat) -> None:
    """The page shows five tokens while the model waits with the sixth."""
    place.model.fault("stall", after_tokens=5, seconds=1)
    meter = place.model.meter()
    record(chat, "#log")
    chat.ask(NAME)
    chat.shows(ANSWER)
    shown = [text.strip() for text in heard(chat, "#log")]
    assert any(text.endswith(PART) for text in shown)
    assert place.remembered(chat) == chat.said() == [NAME, ANSWER]
    one_answer(meter)


def test_a_tool_is_a_line_of_its_own(place: Place, chat: Chat) -> None:
    record(chat, "#state")
    chat.ask("What is the price of the soup?")
    chat.shows("The result of price is dish the soup, euros 9.")
    assert "Using the tool price…" in heard(chat, "#state")
    expect(chat.state).to_have_text("")


def test_text_is_never_html(place: Place, chat: Chat) -> None:
    evil = (
        "<img src=x onerror=\"document.title='run'\">\n"
        "<script>document.title='run'</script> <b>no</b> & so on"
    )
    chat.ask(f"Say exactly: {evil.replace(chr(10), ' ')}")
    chat.page.reload()
    chat.ask(f"Say exactly: {evil}")
    expect(chat.page.locator(".assistant")).to_have_count(2)
    chat.shows(evil.replace("\n", ""))
    assert chat.answer.inner_text() == evil  # its line break, too
    assert chat.page.locator("#log").locator("img, script, b").count() == 0
    assert chat.page.title() == "Chat"
    source = (SOLUTIONS / "service/page/chat.js").read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdj|document\.write", source
    )


def test_nothing_is_loaded_from_elsewhere(place: Place) -> None:
    page = place.page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: place.complaints.append(line.text))
    response = page.goto(place.url)
    assert response
    assert "default-src 'none'" in response.headers["content-security-policy"]
    chat = Chat(page)
    chat.ask(NAME)
    chat.shows(ANSWER)
    assert all(url.startswith(place.url) for url in asked)


def test_behind_a_path_and_in_a_frame(place: Place) -> None:
    """As a proxy and a notebook would have it."""
    page = place.page()
    under = f"{place.url}user/me/proxy/8000/"
    asked: list[str] = []
    wanted: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def proxy(route: Route) -> None:
        if route.request.method == "POST":
            wanted.append(route.request.headers["accept"])
        route.continue_(url=route.request.url.replace(under, place.url))

    page.route(f"{under}**", proxy)
    page.route(
        f"{place.url}notebook",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f"<input autofocus><iframe src='{under}' height=400>",
        ),
    )
    page.goto(f"{place.url}notebook")
    frame = page.frame_locator("iframe")
    box = frame.get_by_role("textbox")
    expect(box).to_be_enabled()
    expect(frame.get_by_role("button", name="Send")).to_be_enabled()
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    box.fill(NAME)
    box.press("Enter")
    expect(frame.locator(".assistant .text")).to_have_text(ANSWER)
    assert all(url.startswith(under) for url in asked[1:])
    # Jupyter's proxy keeps any other answer until its end.
    assert wanted == ["text/event-stream"]


def test_ten_thousand_tokens(place: Place, chat: Chat) -> None:
    place.model.pace(per_token=0.0002)
    chat.page.evaluate(
        """() => {
            window.frames_ = [];
            const note = (now) => {
                frames_.push(now);
                requestAnimationFrame(note);
            };
            requestAnimationFrame(note);
        }"""
    )
    record(chat, "#log")
    chat.ask("Count to 9999")
    expect(chat.answer).to_contain_text("1 2 3")
    chat.box.press_sequentially("I can type")
    chat.shows(" ".join(map(str, range(1, 10000))))
    expect(chat.box).to_have_value("I can type")
    frames = chat.page.evaluate("frames_")
    pauses = [after - before for before, after in pairwise(frames)]
    assert len(pauses) > 10
    assert max(pauses) < sum(pauses) / 2
    # What comes within a frame is added at once.
    changes = chat.page.evaluate("heard['#log'].length")
    assert changes <= len(frames)


def test_it_follows_only_a_reader_at_the_end(place: Place) -> None:
    chat = place.tab(viewport={"width": 400, "height": 400})
    place.model.pace(per_token=0.005)
    main = chat.page.get_by_role("main")

    def below() -> float:
        """How much of the conversation is below the window."""
        return main.evaluate(
            "(at) => at.scrollHeight - at.clientHeight - at.scrollTop"
        )

    chat.ask("Count to 9999")
    expect(chat.answer).to_contain_text(" 120 ")
    assert below() < 30
    main.hover()
    chat.page.mouse.wheel(0, -100)
    eventually(lambda: below() > 60, "the reader is above the end")
    before = below()
    eventually(lambda: below() > before + 100, "the answer grows")
    chat.page.mouse.wheel(0, 100_000)
    eventually(lambda: below() < 30, "the reader is at the end again")
    length = len(chat.said()[1])
    eventually(lambda: len(chat.said()[1]) > length + 200, "the answer grows")
    assert below() < 30
    chat.page.keyboard.press("Escape")
    expect(chat.page.locator(".note")).to_have_text("Stopped.")


def test_a_new_conversation_and_back(place: Place, chat: Chat) -> None:
    chat.ask(NAME)
    chat.shows(ANSWER)
    first = chat.page.url
    chat.button("New conversation").click()
    expect(chat.page.locator("article")).to_have_count(0)
    expect(chat.box).to_be_focused()
    assert chat.page.url != first
    chat.ask("What did I just say?")
    chat.shows("This is the first thing you say to me.")
    chat.page.go_back()
    chat.shows(ANSWER)
    assert chat.said() == [NAME, ANSWER]


def test_a_new_conversation_in_mid_answer(place: Place, chat: Chat) -> None:
    """The answer under way stays where it belongs."""
    meter = place.model.meter()
    stalls(place, chat)
    with chat.page.expect_event("requestfailed"):  # its page hangs up
        chat.button("New conversation").click()
    expect(chat.page.locator("article")).to_have_count(0)
    chat.ask("What did I just say?")
    chat.shows("This is the first thing you say to me.")
    assert len(chat.said()) == 2
    chat.page.go_back()
    expect(chat.answer).to_have_text(PART)
    chat.button("Stop").click()
    expect(chat.page.locator(".note")).to_have_text("Stopped.")
    assert chat.said() == [NAME, PART]
    assert (meter.read().requests, meter.cut_off) == (2, 1)


# --- stop


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_keeps_what_came(place: Place, chat: Chat, how: str) -> None:
    meter = place.model.meter()
    stalls(place, chat)
    if how == "button":
        chat.button("Stop").click()
    else:
        chat.page.keyboard.press("Escape")
    expect(chat.page.locator(".note")).to_have_text("Stopped.")
    assert (meter.read().cut_off, meter.tokens_sent) == (1, 5)
    assert place.remembered(chat) == chat.said() == [NAME, PART]
    expect(chat.box).to_be_focused()
    chat.ask(NAME)
    chat.shows(ANSWER)


def test_stop_before_the_first_token(place: Place, chat: Chat) -> None:
    place.model.pace(ttft=60)
    meter = place.model.meter()
    chat.ask(NAME)
    eventually(lambda: meter.read().in_flight == 1, "the model is asked")
    chat.button("Stop").click()
    expect(chat.box).to_have_value(NAME)
    expect(chat.page.locator("article")).to_have_count(0)
    eventually(lambda: meter.read().cut_off == 1, "the model is stopped")
    place.model.pace(ttft=0.05)
    chat.ask(NAME)
    chat.shows(ANSWER)


def test_stop_when_nobody_can_be_told(place: Place, chat: Chat) -> None:
    """The page stops; the model does when somebody comes back to stop it,
    or when the service has waited long enough."""
    meter = place.model.meter()
    stalls(place, chat)
    place.wire.die()
    chat.button("Stop").click()
    expect(chat.page.locator(".note")).to_have_text("Stopped.")
    expect(chat.button("Send")).to_be_enabled()
    place.wire.dead = False
    chat.page.reload()
    expect(chat.answer).to_have_text(PART)
    chat.button("Stop").click()
    expect(chat.page.locator(".note")).to_have_text("Stopped.")
    assert meter.read().cut_off == 1


# --- broken connections


def test_a_dropped_connection_is_resumed(place: Place, chat: Chat) -> None:
    meter = place.model.meter()
    record(chat, "#state")
    is_held(place, chat)
    place.wire.drop()
    chat.shows(ANSWER)
    assert "Reconnecting…" in heard(chat, "#state")
    one_answer(meter)


def test_a_drop_before_the_first_token(place: Place, chat: Chat) -> None:
    """Nobody knows then whether the question arrived, and it may be sent
    twice; it is answered once."""
    place.model.pace(ttft=1.5)
    meter = place.model.meter()
    chat.ask(NAME)
    eventually(lambda: meter.read().in_flight == 1, "the model is asked")
    place.wire.drop()
    chat.shows(ANSWER)
    assert chat.said() == [NAME, ANSWER]
    expect(chat.box).to_have_value("")
    one_answer(meter)


@pytest.mark.parametrize("when", ["before the first token", "in mid-answer"])
def test_a_reload_resumes(place: Place, chat: Chat, when: str) -> None:
    meter = place.model.meter()
    if when == "in mid-answer":
        stalls(place, chat, seconds=5)
    else:
        place.model.pace(ttft=2)
        chat.ask(NAME)
        eventually(lambda: meter.read().in_flight == 1, "the model is asked")
    chat.page.reload()
    expect(chat.answer).to_have_text(ANSWER)
    chat.shows(ANSWER)
    assert chat.said() == [NAME, ANSWER]
    one_answer(meter)


def test_a_reload_while_a_tool_works(place: Place, chat: Chat) -> None:
    """The thread has the first half already, and the run tells it again."""
    chat.page.route(
        "**/threads/*",
        lambda route: route.fulfill(
            json={
                "messages": [
                    {"role": "user", "text": "The price?"},
                    {"role": "assistant", "text": "I look. "},
                ],
                "run": "r",
            }
        ),
    )
    chat.page.route(
        "**/runs/r",
        lambda route: route.fulfill(
            content_type="text/event-stream",
            body=token(2, "I look. ") + token(4, "It is 9.") + done(5),
        ),
    )
    chat.page.reload()
    chat.shows("I look. It is 9.")
    assert chat.said() == ["The price?", "I look. It is 9."]


def test_it_gives_up_and_can_be_told_to_go_on(place: Place) -> None:
    chat = place.tab(clock=True)
    meter = place.model.meter()
    is_held(place, chat)
    place.wire.die()
    gives_up(chat)
    expect(chat.notice).to_have_text("The connection is lost.")
    expect(chat.answer).to_have_text(PART)
    expect(chat.button("Send")).to_be_enabled()
    place.wire.dead = False
    chat.button("Reconnect").click()
    chat.shows(ANSWER)
    expect(chat.notice).to_have_count(0)
    one_answer(meter)


def test_a_silent_connection_is_replaced(place: Place) -> None:
    chat = place.tab(clock=True)
    meter = place.model.meter()
    record(chat, "#state")
    is_held(place, chat)
    chat.page.clock.run_for(61_000)
    eventually(lambda: "Reconnecting…" in heard(chat, "#state"), "it tries")
    chat.shows(ANSWER)
    one_answer(meter)


def test_a_question_that_never_arrived(place: Place) -> None:
    chat = place.tab(clock=True)
    expect(chat.button("Send")).to_be_enabled()
    place.wire.die()
    meter = place.model.meter()
    chat.ask(NAME)
    gives_up(chat)
    expect(chat.notice).to_contain_text(BACK)
    expect(chat.box).to_have_value(NAME)
    place.wire.dead = False
    chat.button("Reconnect").click()
    expect(chat.notice).to_contain_text("did not get through")
    expect(chat.box).to_have_value(NAME)
    assert meter.read().requests == 0
    chat.button("Send again").click()
    chat.shows(ANSWER)
    assert chat.said() == [NAME, ANSWER]


def test_an_end_without_done_is_a_cut(place: Place, chat: Chat) -> None:
    """Also where the stream looks complete; and lines may end in CRLF."""
    start = (
        ': hi\r\nevent: start\r\ndata: {"run": "r",\r\ndata: "thread": "t"}'
    )
    first = f"{start}\r\nid: 1\r\n\r\n{token(2, 'Hal')}{token(3, 'f')}"
    rest = token(3, "f") + token(4, " and ") + token(5, "half") + done(6)
    resumed: list[str] = []

    def stream(route: Route) -> None:
        get = route.request.method == "GET"
        if get:
            resumed.append(route.request.headers["last-event-id"])
        route.fulfill(
            headers={"Content-Type": "text/event-stream", "X-Run-Id": "r"},
            body=rest if get else first,
        )

    chat.page.route("**/runs*", stream)
    chat.page.route("**/runs/r", stream)
    chat.ask(NAME)
    chat.shows("Half and half")
    assert resumed == ["3"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_events_may_be_cut_anywhere(chat: Chat, end: str) -> None:
    lines = [": ping", "", "id:7", "event: token"]
    lines += [
        'data: {"text":',
        'data: "süß 🍲"}',
        "",
        "data: 1",
        "",
        "data: 2",
    ]
    events = chat.page.evaluate(
        """async (text) => {
            const bytes = new TextEncoder().encode(text);
            const all = [];
            for (let cut = 0; cut <= bytes.length; cut++) {
                const body = new ReadableStream({start(stream) {
                    stream.enqueue(bytes.slice(0, cut));
                    stream.enqueue(bytes.slice(cut));
                    stream.close();
                }});
                const events = [];
                for await (const event of eventsOf(body)) events.push(event);
                all.push(events);
            }
            return all;
        }""",
        end.join(lines),
    )
    assert len(events) > 50
    for found in events:
        assert found == [
            {"id": 7, "name": "token", "data": {"text": "süß 🍲"}},
            {"id": 7, "name": "message", "data": 1},
        ]


# --- errors


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            {"kind": "cut", "after_tokens": 0, "times": 3},
            "(502): the model failed",
        ),
        (
            {"kind": "rate_limit", "retry_after": 0.1, "times": 3},
            "(429): the model is asked too often",
        ),
    ],
    ids=["502", "429"],
)
def test_an_error_before_the_first_token(
    place: Place, chat: Chat, fault: dict[str, Any], words: str
) -> None:
    place.model.fault(**fault)
    chat.ask(NAME)
    expect(chat.notice).to_contain_text(words)
    expect(chat.notice).to_contain_text(BACK)
    expect(chat.box).to_have_value(NAME)
    expect(chat.page.locator("article")).to_have_count(0)
    chat.button("Send again").click()
    chat.shows(ANSWER)
    expect(chat.notice).to_have_count(0)
    assert chat.said() == [NAME, ANSWER]


def test_it_counts_down_to_the_next_try(place: Place) -> None:
    chat = place.tab(clock=True)
    chat.page.route(
        "**/runs",
        lambda route: route.fulfill(
            status=503,
            headers={"Retry-After": "30"},
            json={"detail": "50 runs are under way"},
        ),
        times=1,
    )
    chat.ask(NAME)
    expect(chat.notice).to_contain_text("(503): 50 runs are under way.")
    again = chat.page.get_by_role("button", name="Send again")
    expect(again).to_be_disabled()
    expect(again).to_contain_text("(in ")
    chat.page.clock.run_for(31_000)
    again.click()
    chat.shows(ANSWER)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 422, "json": {"detail": [{"msg": "Too long"}]}}, "Too lo"),
        ({"status": 502, "body": "<h1>Bad"}, "(502): the service failed."),
    ],
    ids=["validation", "a proxy's page"],
)
def test_odd_refusals(chat: Chat, answer: dict[str, Any], words: str) -> None:
    chat.page.route("**/runs", lambda route: route.fulfill(**answer))
    chat.ask(NAME)
    expect(chat.notice).to_contain_text(words)
    expect(chat.box).to_have_value(NAME)


def test_a_question_too_long_is_not_lost(place: Place, chat: Chat) -> None:
    question = "soup " * 2000
    chat.ask(question)
    expect(chat.notice).to_contain_text("422")
    expect(chat.notice).to_contain_text("8000 characters")
    expect(chat.box).to_have_value(question)


def test_an_error_in_mid_answer(place: Place, chat: Chat) -> None:
    """The agent begins anew after a break, and gives up at the next."""
    place.model.fault("cut", after_tokens=3, times=2)
    chat.ask(NAME)
    expect(chat.notice).to_contain_text("the model failed")
    expect(chat.answer).to_have_text("I am the")
    expect(chat.button("Send")).to_be_enabled()
    chat.box.fill("my next question")
    chat.button("Ask again").click()
    chat.shows(ANSWER)
    assert chat.said() == [NAME, "I am the", NAME, ANSWER]
    expect(chat.box).to_have_value("my next question")


def test_an_answer_that_begins_anew(place: Place, chat: Chat) -> None:
    place.model.fault("cut", after_tokens=3)
    chat.ask(NAME)
    chat.shows(ANSWER)


def test_two_tabs_on_one_conversation(place: Place, chat: Chat) -> None:
    """The second shows the answer under way, and keeps its own question."""
    other = Chat(chat.page.context.new_page())
    other.page.goto(chat.page.url)
    expect(other.button("Send")).to_be_enabled()
    stalls(place, chat)
    other.ask("And I?")
    expect(other.notice).to_contain_text("did not get through")
    expect(other.box).to_have_value("And I?")
    expect(other.answer).to_have_text(PART)
    chat.button("Stop").click()
    expect(other.notice.last).to_contain_text("stopped before its end")
    assert other.said() == chat.said() == [NAME, PART]


# --- everybody can use it


def test_keyboard_alone(place: Place, chat: Chat) -> None:
    keys = chat.page.keyboard
    expect(chat.button("Send")).to_be_enabled()
    expect(chat.box).to_be_focused()
    keys.type("Who are")
    keys.press("Shift+Enter")
    keys.type("you?")
    expect(chat.box).to_have_value("Who are\nyou?")
    order = []
    for key in ("Tab", "Shift+Tab", "Shift+Tab", "Shift+Tab"):
        keys.press(key)
        order.append(
            chat.page.evaluate(
                """() => {
                    const {id, tagName} = document.activeElement;
                    const style = getComputedStyle(document.activeElement);
                    return [id || tagName, style.outlineStyle,
                        parseFloat(style.outlineWidth) >= 2];
                }"""
            )
        )
    assert [name for name, *_ in order] == ["send", "box", "MAIN", "fresh"]
    assert all(outline == ["solid", True] for _, *outline in order)
    chat.box.fill(NAME)
    keys.press("Enter")
    chat.shows(ANSWER)
    expect(chat.box).to_be_focused()
    keys.press("Enter")  # an empty box sends nothing
    expect(chat.page.locator("article")).to_have_count(2)


def test_what_a_screen_reader_gets(place: Place, chat: Chat) -> None:
    expect(chat.button("Send")).to_be_enabled()
    record(chat, "#state")
    record(chat, "#spoken")
    chat.ask(NAME)
    chat.shows(ANSWER)
    assert heard(chat, "#state") == ["Answering… Escape stops it.", ""]
    assert [text for text in heard(chat, "#spoken") if text] == [
        f"Answer: {ANSWER}"
    ]
    expect(chat.page.get_by_role("log")).to_have_attribute("aria-live", "off")
    stalls(place, chat)
    article = chat.page.get_by_role("article").last
    expect(article).to_have_attribute("aria-busy", "true")
    expect(chat.page.locator("body")).to_match_aria_snapshot(
        """
        - banner:
          - heading "Chat" [level=1]
          - group: Conversations
          - button "New conversation"
        - main "Conversation":
          - log "Messages":
            - article:
              - heading "You" [level=2]
              - text: Who are you?
            - article:
              - heading "Answer" [level=2]
              - paragraph: /.+/
              - button "Copy"
            - article:
              - heading "You" [level=2]
              - text: Who are you?
            - article:
              - heading /Answer/ [level=2]
              - paragraph: I am the practice model
        - form "Ask":
          - status: /Answering/
          - text: Your question
          - textbox "Your question"
          - button "Stop"
          - button "Send" [disabled]
        """
    )
    chat.button("Stop").click()
    expect(article).to_have_attribute("aria-busy", "false")
    assert [text for text in heard(chat, "#spoken") if text][-1] == "Stopped."


CONTRAST = """(selector) => {
    const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = rgb(color).map((part) => {
            part /= 255;
            return part <= 0.03928 ? part / 12.92
                : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const against = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const {backgroundColor} = getComputedStyle(at);
            if (rgb(backgroundColor)[3] !== 0) return backgroundColor;
        }
    };
    const ratio = (one, other) => {
        const [a, b] = [light(one), light(other)].sort((a, b) => b - a);
        return (a + 0.05) / (b + 0.05);
    };
    const [, name, pseudo] = selector.match(/([^:]*)(::.*)?/);
    const element = document.querySelector(name);
    const style = getComputedStyle(element, pseudo);
    return {
        text: ratio(style.color, against(element)),
        edge: ratio(getComputedStyle(element).borderTopColor,
            against(element.parentElement)),
        page: light(against(document.body)),
    };
}"""
TEXTS = (
    "h1",
    "h2",
    ".user .text",
    ".assistant .text",
    ".note",
    ".notice p",
    ".notice button",
    "#fresh",
    "#stop",
    "#send",
    "textarea",
    "textarea::placeholder",
)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(place: Place, theme: str) -> None:
    chat = place.tab(color_scheme=theme)

    def contrast(selector: str) -> dict[str, float]:
        return chat.page.evaluate(CONTRAST, selector)

    stalls(place, chat)
    for selector in ("#state", "#send", "#stop"):
        assert contrast(selector)["text"] >= 4.5, selector
    chat.button("Stop").click()
    expect(chat.page.locator(".note")).to_be_visible()
    place.model.fault("cut", after_tokens=3, times=2)
    chat.ask(NAME)
    expect(chat.notice).to_be_visible()
    for selector in TEXTS:
        assert contrast(selector)["text"] >= 4.5, selector
    for selector in ("#fresh", "#stop", "textarea"):
        assert contrast(selector)["edge"] >= 3, selector
    assert (contrast("h1")["page"] > 0.5) == (theme == "light")
    chat.page.evaluate("setState('Reconnecting…', true)")
    assert contrast("#state")["text"] >= 4.5


def test_a_narrow_window(place: Place) -> None:
    chat = place.tab(viewport={"width": 320, "height": 480})
    chat.ask(f"Say exactly: {'soup' * 30} {'<b>' * 30}")
    chat.shows(f"{'soup' * 30} {'<b>' * 30}")
    chat.page.route("**/runs", lambda route: route.fulfill(status=502))
    chat.ask(NAME)
    expect(chat.notice).to_be_visible()
    wide = chat.page.evaluate(
        """() => [...document.querySelectorAll("*")]
            .filter((e) => e.scrollWidth > e.clientWidth + 1
                && getComputedStyle(e).display !== "inline"
                && e.className !== "unseen")
            .map((e) => e.outerHTML)"""
    )
    assert wide == []
    for control in chat.page.locator("button, textarea").all():
        box = control.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320


def test_nothing_jumps(place: Place, chat: Chat) -> None:
    chat.page.evaluate(
        """() => {
            window.shifts = 0;
            new PerformanceObserver((list) => {
                for (const shift of list.getEntries())
                    if (!shift.hadRecentInput) shifts += shift.value;
            }).observe({type: "layout-shift", buffered: true});
        }"""
    )
    place.model.pace(per_token=0.003)
    chat.ask("Count to 400")
    expect(chat.answer).to_contain_text(" 399 400")
    expect(chat.button("Send")).to_be_enabled()
    assert chat.page.evaluate("shifts") < 0.001


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_who_wants_no_motion_gets_none(place: Place, motion: str) -> None:
    chat = place.tab(reduced_motion=motion)
    place.model.pace(ttft=60)
    chat.ask(NAME)
    sign = chat.page.locator("[aria-busy=true] h2")
    name = sign.evaluate(
        "(h2) => getComputedStyle(h2, '::after').animationName"
    )
    assert name == ("none" if motion == "reduce" else "pulse")
    chat.button("Stop").click()
    expect(chat.button("Send")).to_be_enabled()


# --- the last one: it takes the service away


def test_the_service_restarts(place: Place, chat: Chat) -> None:
    stalls(place, chat)
    place.process.stop(signal.SIGKILL)
    place.process.start(port=place.wire.port)

    def told() -> bool:
        if chat.button("Reconnect").is_visible():
            chat.button("Reconnect").click()
        return chat.notice.filter(has_text="restarted").is_visible()

    eventually(told, "the page learns of the restart")
    assert chat.said() == [NAME, PART]
    chat.button("Ask again").click()
    expect(chat.page.locator(".assistant")).to_have_count(2)
    chat.shows(ANSWER)


# --- what an answer says, and how it ended

MARKDOWN = "**bold** `code` and [a link](https://example.org/)"


def test_markdown(place: Place, chat: Chat) -> None:
    chat.ask(f"Say exactly: {MARKDOWN}")
    chat.shows("bold code and a link")
    assert chat.answer.locator("strong, code").count() == 2
    link = chat.answer.get_by_role("link")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    chat.page.reload()
    chat.shows("bold code and a link")


@pytest.mark.parametrize(
    "evil",
    [
        "![x](https://evil.example/x.png)",
        "[x](javascript:document.title='run')",
        "[x](data:text/html,<script>1</script>)",
        "<svg onload=document.title='run'>",
        "<math><mi xlink:href=javascript:1>x</mi></math>",
        "<style>*{display:none}</style>",
        "`<img src=x onerror=document.title='run'>`",
        '<a href="javascript:document.title=1">x</a>',
    ],
)
def test_markdown_can_do_nothing(place: Place, chat: Chat, evil: str) -> None:
    asked: list[str] = []
    chat.page.on("request", lambda request: asked.append(request.url))
    chat.ask(f"Say exactly: {evil}")
    expect(chat.button("Send")).to_be_enabled()
    expect(chat.page.locator(".assistant")).to_have_count(1)
    for link in chat.answer.locator("a").all():
        address = link.get_attribute("href") or ""
        assert not address.startswith(("javascript", "data"))
        link.click(trial=True)
    assert (
        chat.page.locator("#log")
        .locator("img, svg, math, style, script")
        .count()
        == 0
    )
    assert chat.page.title() == "Chat"
    assert all(url.startswith(place.url) for url in asked)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "length", "after_tokens": 5}, "reached the model's limit"),
        ({"kind": "content_filter", "after_tokens": 5}, "filtered"),
        ({"kind": "refusal"}, "refused"),
    ],
    ids=["length", "filtered", "refused"],
)
def test_it_says_how_an_answer_ended(
    place: Place, chat: Chat, fault: dict[str, Any], words: str
) -> None:
    place.model.fault(**fault)
    chat.ask(NAME)
    expect(chat.page.locator(".note")).to_contain_text(words)
    assert chat.said()[1]
    chat.page.reload()
    expect(chat.page.locator(".note")).to_contain_text(words)


def test_a_copy(place: Place) -> None:
    chat = place.tab(permissions=["clipboard-read", "clipboard-write"])
    chat.ask(f"Say exactly: {MARKDOWN}")
    chat.shows("bold code and a link")
    chat.button("Copy").click()
    copied = chat.page.evaluate("navigator.clipboard.readText()")
    assert copied == MARKDOWN


def test_the_list_of_conversations(place: Place) -> None:
    chat = place.tab()
    past = chat.page.locator("#past")
    past.locator("summary").click()
    expect(past).to_contain_text("None yet.")
    chat.ask(NAME)
    chat.shows(ANSWER)
    chat.button("New conversation").click()
    chat.ask("What did I just say?")
    chat.shows("This is the first thing you say to me.")
    past.locator("summary").click()
    expect(past.get_by_role("link")).to_have_text(
        ["What did I just say?", NAME]
    )
    past.get_by_role("link", name=NAME).click()
    chat.shows(ANSWER)
    assert chat.said() == [NAME, ANSWER]
    past.locator("summary").click()
    past.get_by_role("button", name=f"Delete: {NAME}").click()
    expect(past.get_by_role("link")).to_have_count(1)
    expect(chat.page.locator("article")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(place: Place, theme: str) -> None:
    chat = place.tab(
        color_scheme=theme, viewport={"width": 320, "height": 560}
    )

    def violations() -> list[str]:
        found = Axe().run(chat.page).response["violations"]
        return [f"{each['id']}: {each['help']}" for each in found]

    assert violations() == []
    chat.ask("Say exactly: ```\na long line " + "of code " * 30 + "\n```")
    expect(chat.button("Send")).to_be_enabled()
    assert violations() == []
    chat.page.locator("#past summary").click()
    expect(chat.page.locator("#past").get_by_role("link")).to_have_count(1)
    assert violations() == []
    chat.page.locator("#past summary").click()
    place.model.fault("cut", after_tokens=3, times=2)
    chat.ask(NAME)
    expect(chat.notice).to_be_visible()
    assert violations() == []
    place.model.fault("stall", after_tokens=3)
    chat.ask(NAME)
    expect(chat.button("Stop")).to_be_enabled()
    assert violations() == []
    chat.button("Stop").click()
    expect(chat.page.locator(".note")).to_have_text("Stopped.")
    assert violations() == []
    wide = "document.documentElement.scrollWidth"
    assert chat.page.evaluate(wide) <= 320
