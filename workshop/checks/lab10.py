"""Judge the check of lesson 10 and the two tasks of lab 10."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import openai
import websockets
from fastapi import FastAPI, HTTPException

from workshop.checks.http import Guest, Served, served
from workshop.checks.kit import (
    AWKWARD_TOKENS,
    PAUSE,
    Answer,
    Play,
    Watch,
    Wrong,
    call,
    count,
    expect,
    file_of,
    settled,
    start,
    together,
    until,
)

SURPLUS = 3  # clients more than places
END = "[end]"
SECRET = "sk-no-one-may-read-this"


# --- 10.0


class RateLimit(openai.RateLimitError):
    """As langchain-openai has it: a class of its own."""


async def honest_statuses(answer: Answer) -> str:
    """10.0: turn what a graph raised into the status of a response."""
    cases = _failures()
    for what, error, status, wait in cases:
        try:
            value = call(answer, error=error)
        except HTTPException:
            raise Wrong(
                "it raised the HTTPException: return it, the endpoint raises "
                "it"
            ) from None
        except KeyError:
            raise Wrong(f"{what} raised KeyError: many send none") from None
        refusal = expect(value, HTTPException, "an HTTPException")
        if refusal.status_code != status:
            raise Wrong(f"{what} got {refusal.status_code}, not {status}")
        if SECRET in str(refusal.detail):
            raise Wrong(
                "the client reads the text of the error, and a key in it"
            )
        if status == 429:
            _must_say_when(refusal.headers or {}, wait)
    return f"{len(cases)} failures got 429 with its Retry-After, 504 or 502"


def _must_say_when(headers: Any, wait: str | None) -> None:
    """``wait`` is what the model had said, if anything."""
    got = {key.lower(): value for key, value in headers.items()}
    said = got.get("retry-after")
    if said is None:
        raise Wrong("429 came without Retry-After")
    if not isinstance(said, str):
        raise Wrong(f"Retry-After is {said!r}: a header is a text")
    if said != (wait or "1"):
        model = f"had said {wait or 'nothing, so it is 1'}"
        raise Wrong(f"429 came with Retry-After {said}; the model {model}")


def _failures() -> list[tuple[str, Exception, int, str | None]]:
    """What is raised, the status it should get, and its Retry-After."""
    request = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")

    def refused(kind: Any, code: int, headers: Any = None) -> Exception:
        response = httpx2.Response(code, headers=headers, request=request)
        return kind(SECRET, response=response, body=None)

    limit = refused(openai.RateLimitError, 429, {"retry-after": "7"})
    langchains = refused(RateLimit, 429, {"Retry-After": "12"})
    silent = refused(openai.RateLimitError, 429)
    late = openai.APITimeoutError(request=request)
    lost = openai.APIConnectionError(request=request)
    failed = refused(openai.InternalServerError, 500)
    return [
        ("a rate limit", limit, 429, "7"),
        ("LangChain's rate limit", langchains, 429, "12"),
        ("a rate limit without Retry-After", silent, 429, None),
        ("openai.APITimeoutError", late, 504, None),
        ("TimeoutError", TimeoutError(SECRET), 504, None),
        ("a lost connection to the model", lost, 502, None),
        ("a failure of the model", failed, 502, None),
        ("a ValueError of the graph", ValueError(SECRET), 502, None),
    ]


# --- the streams of a service


class Streams:
    """A `tokens` for an app; ``plays`` are its calls, by time."""

    def __init__(self) -> None:
        self.plays: list[tuple[str, Play]] = []
        self.script = self.paused
        self.loop: Any = None  # the one of the app

    @staticmethod
    def paused(question: str) -> list[Any]:
        return ["A", PAUSE, " reply", " to", f" {question}"]

    async def tokens(self, question: str) -> AsyncIterator[str]:
        self.loop = asyncio.get_running_loop()
        play = Play(self.script(question))
        self.plays.append((question, play))
        async for part in play.stream():
            yield part

    @property
    def running(self) -> list[Play]:
        return [play for _, play in self.plays if play.outcome is None]

    def release(self) -> None:
        for _, play in self.plays:
            play.release()


@asynccontextmanager
async def _app_of(
    answer: Answer, **given: Any
) -> AsyncIterator[tuple[Served, Streams]]:
    """The app of an answer on a port, and the streams behind it."""
    streams = Streams()
    value = call(answer, tokens=streams.tokens, **given)
    app = expect(value, FastAPI, "the app: write `return app`")
    async with served(app, Watch(file_of(answer))) as site:
        try:
            yield site, streams
        finally:
            streams.script = lambda _: ["late"]
            streams.release()


# --- 10.1


async def refuses_the_surplus(answer: Answer) -> str:
    """10.1: stream to so many at once, and refuse the others honestly."""
    caps = 2, 1
    wait, _ = await together(*(_gives_places_back(answer, n) for n in caps))
    return (
        f"with cap 2 and 1: {SURPLUS} of {SURPLUS} more sent away for "
        f"{wait} s; free again after an end, a failure and a hang-up"
    )


async def _gives_places_back(answer: Answer, cap: int) -> str:
    async with _app_of(answer, cap=cap) as (site, streams):
        await _crowd(site, streams, cap, "at first")
        when = f"after {count(cap, 'whole answer')}"
        await _crowd(site, streams, cap, when)
        for parts in (["A", OSError("gone")], [OSError("gone")]):
            streams.script = lambda _: list(parts)  # noqa: B023
            asks = [start(_ask(site, f"fails {n}")) for n in range(cap)]
            await asyncio.gather(*asks, return_exceptions=True)
        when = f"after {count(cap, 'answer')} that failed"
        await _crowd(site, streams, cap, when)
        for script in (Streams.paused, lambda _: [PAUSE, "A"]):
            streams.script = script
            await _hang_up(site, streams, cap)
        when = f"after {count(cap, 'client')} that hung up"
        return await _crowd(site, streams, cap, when)


async def _ask(site: Served, question: str) -> Guest:
    params = {"question": question}
    return await site.ask("GET", "/chat", params=params, patient=True)


async def _crowd(site: Served, streams: Streams, cap: int, when: str) -> str:
    """More clients than places at once; return the Retry-After."""
    streams.script = streams.paused
    number = cap + SURPLUS
    asks = [start(_ask(site, f"client {n}")) for n in range(number)]

    def refused() -> int:
        return sum(ask.done() for ask in asks)

    await settled(
        lambda: (refused(), len(streams.running)),
        lambda: refused() + len(streams.running) >= number,
        still=300,  # another thread serves it
    )
    taken, sent_away = len(streams.running), refused()
    streams.script = lambda question: [f"A reply to {question}"]
    streams.release()
    replies = await asyncio.gather(*asks)
    statuses = Counter(reply.status for reply in replies)
    if taken > cap:
        raise Wrong(
            f"{taken} answers were under way at once, not {cap}: a place is "
            "taken until the stream has ended"
        )
    if sent_away < SURPLUS and statuses[200] == number:
        raise Wrong(
            f"nobody was refused: {number - taken} of {number} clients "
            "waited for a place instead"
        )
    if 500 in statuses and site.errors:
        raise site.errors[-1]
    if statuses[429]:
        raise Wrong(
            "the surplus got 429, which means that this client asks too "
            "often; a full service says 503"
        )
    if statuses != {200: cap, 503: SURPLUS}:
        listed = ", ".join(f"{n} x {code}" for code, n in statuses.items())
        raise Wrong(
            f"{when} {number} clients got {listed}; expected {cap} x 200 "
            f"and {SURPLUS} x 503"
        )
    for client, reply in enumerate(replies):
        whole = f"A reply to client {client}"
        if reply.status == 200 and reply.text != whole:
            raise Wrong(f"a client got {reply.text!r}, not {whole!r}")
        wait = reply.headers.get("Retry-After")
        if reply.status == 503:
            _must_be_seconds(wait)
            told = wait
    return told


def _must_be_seconds(wait: str | None) -> None:
    if wait is None:
        raise Wrong("503 came without Retry-After: say when to come")
    if not wait.isdecimal() or int(wait) < 1:
        raise Wrong(f"Retry-After is {wait!r}, not whole seconds from 1 on")


async def _hang_up(site: Served, streams: Streams, cap: int) -> None:
    """All places are taken by clients who leave; others come meanwhile."""
    before = len(streams.plays)
    async with AsyncExitStack() as guests:
        for _ in range(cap):
            params = {"question": "another"}
            guest = site.guest("GET", "/chat", params=params)
            await guests.enter_async_context(guest)
        await until(
            lambda: (
                len(streams.plays) == before + cap
                and all(play.waiting for play in streams.running)
            )
        )
        # "at once": while its clock stands still, nothing ends a wait there
        now = streams.loop.time()
        streams.loop.time = lambda: now
        late = start(_ask(site, "another"))
        for _ in range(3):
            await site.ask("GET", "/none", patient=True)
        await settled(late.done, late.done)
        waited = not late.done()
        del streams.loop.time
    await settled(
        lambda: len(streams.running), lambda: not streams.running, still=50
    )
    if waited:
        raise Wrong("it waited before it refused: say 503 at once")


# --- 10.2


class Talk:
    """A client with a WebSocket; ``got`` are the texts that came."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.got: list[str] = []
        self.reading = start(self._read())

    async def _read(self) -> None:
        async for text in self.socket:
            self.got.append(text)

    async def has(self, number: int) -> list[str]:
        """Wait for so many texts, or until no more come.

        Raises ConnectionClosed, if it was closed before there were so many.
        """
        await settled(
            lambda: len(self.got),
            lambda: len(self.got) >= number or self.reading.done(),
        )
        if len(self.got) < number and self.reading.done():
            await self.socket.recv()
        return list(self.got)


async def can_be_interrupted(answer: Answer) -> str:
    """10.2: an answer ends when its user asks again, or leaves."""
    await together(
        _with_an_app(answer, _answers_in_turn, _is_interrupted),
        _with_an_app(answer, _leaves),  # it knows no other app
    )
    return (
        "5 answers whole and early, 7 of 7 runs that were interrupted or "
        "left were cut off, and no other one"
    )


async def _with_an_app(answer: Answer, *probes: Callable[..., Any]) -> None:
    async with _app_of(answer) as (site, streams):
        try:
            for probe in probes:
                await probe(site, streams)
        except websockets.InvalidStatus as error:
            status = error.response.status_code
            raise Wrong(f"a WebSocket at /chat got status {status}") from None
        except websockets.ConnectionClosed:
            for error in site.errors:
                raise error from None
            raise Wrong("the app closed the connection") from None


def _connect(site: Served) -> Any:
    address = site.url.replace("http", "ws") + "/chat"
    return websockets.connect(
        address, open_timeout=None, ping_interval=None, close_timeout=1
    )


def _script(question: str) -> list[Any]:
    if question == "awkward":
        return ["A", PAUSE, *AWKWARD_TOKENS]
    if question.startswith("early"):
        return [PAUSE, "A"]
    return Streams.paused(question)


def _whole(question: str) -> list[str]:
    return [part for part in _script(question) if part is not PAUSE] + [END]


async def _answers_in_turn(site: Served, streams: Streams) -> None:
    """One after another on one connection, each piece as it comes."""
    streams.script = _script
    asked: list[str] = []
    async with _connect(site) as socket:
        talk = Talk(socket)
        for question in ["soup", "tea", "tea", "", "awkward"]:
            asked.append(question)
            before, whole = len(talk.got), _whole(question)
            await socket.send(question)
            early = (await talk.has(before + 1))[before:]
            plays = [question for question, _ in streams.plays]
            if plays != asked:
                raise Wrong(f"it was sent {asked}, and it asked {plays}")
            streams.release()
            came = (await talk.has(before + len(whole)))[before:]
            if site.errors:
                raise site.errors[0]
            if came != whole:
                raise Wrong(f"{question!r} got {came}, not {whole}")
            if early != ["A"]:
                raise Wrong(
                    "nothing was streamed: the first piece came with the "
                    "last one"
                )


async def _is_interrupted(site: Served, streams: Streams) -> None:
    """Twice, while another client's answer goes on.

    The second time no piece of the answer had come yet.
    """
    async with _connect(site) as other, _connect(site) as socket:
        quiet, talk = Talk(other), Talk(socket)
        await other.send("quiet")
        await quiet.has(1)
        for question in ("old", "early", "new"):
            await socket.send(question)
            await settled(
                lambda: [name for name, _ in streams.plays],
                lambda: (
                    streams.plays[-1][0] == question  # noqa: B023
                    and streams.plays[-1][1].waiting
                ),
            )
            if streams.plays[-1][0] != question:
                raise Wrong(
                    "a question that came while an answer was written had to "
                    "wait for its end: nobody listened"
                )
        await settled(
            lambda: len(streams.running), lambda: len(streams.running) <= 2
        )
        plays = dict(streams.plays)
        if {plays["old"].outcome, plays["early"].outcome} != {"cut off"}:
            raise Wrong(
                "a new question came, and the answer before it was written on"
            )
        if plays["quiet"].outcome:
            raise Wrong(
                "a client asked again, and the answer of another one was cut "
                "off"
            )
        streams.release()
        came = await talk.has(1 + len(_whole("new")))
        if came[1:] != _whole("new"):
            raise Wrong(
                f"after the interruption came {came[1:]}, not {_whole('new')}"
            )
        if await quiet.has(len(_whole("quiet"))) != _whole("quiet"):
            raise Wrong(f"another client got {quiet.got}, not all")
        for question in ("soup", "fish", "cake"):  # all in one moment
            await socket.send(question)
        await until(lambda: streams.plays[-1][0] == "cake")
        await settled(lambda: len(talk.got), still=20)
        streams.release()
        end = len(talk.got) - 1 + len(_whole("cake"))
        if (await talk.has(end))[-5:] != _whole("cake"):
            raise Wrong(
                f"3 questions came in one moment, and it sent {talk.got}"
            )


async def _leaves(site: Served, streams: Streams) -> None:
    """By closing, by a connection that breaks, before the first piece."""
    streams.script = _script
    async with _connect(site) as other:
        quiet = Talk(other)
        await other.send("stays")
        await quiet.has(1)
        for way in ("closed", "lost", "early"):
            async with _connect(site) as socket:
                await socket.send(way)
                await until(lambda: len(streams.running) == 2, turns=200)
                await until(lambda: streams.running[-1].waiting, turns=200)
                if way == "lost":
                    socket.transport.abort()
            await settled(
                lambda: len(streams.running),
                lambda: len(streams.running) == 1,
            )
            plays = dict(streams.plays)
            if way not in plays or plays[way].outcome != "cut off":
                how = way.replace("early", "closed before the first piece")
                raise Wrong(
                    f"a connection was {how}, and its answer was written on"
                )
            if plays["stays"].outcome:
                raise Wrong(
                    "a client left, and the answer of another one was cut off"
                )


JUDGES = {
    "10.0": honest_statuses,
    "10.1": refuses_the_surplus,
    "10.2": can_be_interrupted,
}
