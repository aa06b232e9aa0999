"""Judge the check of lesson 10 and the two tasks of lab 10."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import openai
import websockets
from fastapi import FastAPI, HTTPException

from workshop.checks.http import Reply, Served, served
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
SLOWER = 20  # times; a refusal that takes so long has waited
SECRET = "sk-no-one-may-read-this"


# --- 10.0


class RateLimit(openai.RateLimitError):
    """As langchain-openai has it: a class of its own."""


async def honest_statuses(answer: Answer) -> str:
    """10.0: turn what a graph raised into the status of a response."""
    cases = _failures()
    for what, (error, status, wait) in cases.items():
        refusal = _refusal(answer, error)
        if refusal.status_code != status:
            raise Wrong(f"{what} got {refusal.status_code}, not {status}")
        if SECRET in str(refusal.detail):
            raise Wrong(
                "the client reads the text of the error, and a key in it"
            )
        headers = refusal.headers or {}
        got = {key.lower(): value for key, value in headers.items()}
        said = got.get("retry-after")
        if wait and said is None:
            raise Wrong("429 came without Retry-After")
        if wait and not isinstance(said, str):
            raise Wrong(f"Retry-After is {said!r}: a header is a text")
        if wait and said != wait:
            model = f"the model had said {wait}"
            if what.endswith("without Retry-After"):
                model = "the model had said nothing, so it is 1"
            raise Wrong(f"429 came with Retry-After {said}; {model}")
    return f"{len(cases)} failures got 429 with its Retry-After, 504 or 502"


def _failures() -> dict[str, tuple[Exception, int, str | None]]:
    """What is raised, the status it should get, and its Retry-After."""
    request = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")

    def answered(code: int, **headers: str) -> dict[str, Any]:
        named = {key.replace("_", "-"): text for key, text in headers.items()}
        response = httpx2.Response(code, headers=named, request=request)
        return {"response": response, "body": None}

    seven = answered(429, retry_after="7")
    twelve = answered(429, Retry_After="12")
    return {
        "a rate limit": (openai.RateLimitError(SECRET, **seven), 429, "7"),
        "LangChain's rate limit": (RateLimit(SECRET, **twelve), 429, "12"),
        "a rate limit without Retry-After": (
            openai.RateLimitError(SECRET, **answered(429)),
            429,
            "1",
        ),
        "openai.APITimeoutError": (
            openai.APITimeoutError(request=request),
            504,
            None,
        ),
        "TimeoutError": (TimeoutError(SECRET), 504, None),
        "a lost connection to the model": (
            openai.APIConnectionError(request=request),
            502,
            None,
        ),
        "a failure of the model": (
            openai.InternalServerError(SECRET, **answered(500)),
            502,
            None,
        ),
        "a ValueError of the graph": (ValueError(SECRET), 502, None),
    }


def _refusal(answer: Answer, error: Exception) -> HTTPException:
    try:
        value = call(answer, error=error)
    except HTTPException:
        raise Wrong(
            "it raised the HTTPException: return it, the endpoint raises it"
        ) from None
    except KeyError:
        raise Wrong(
            "a rate limit without Retry-After raised KeyError: many send none"
        ) from None
    return expect(value, HTTPException, "an HTTPException")


# --- the streams of a service


class Streams:
    """A `tokens` for an app; ``plays`` are its calls, by time."""

    def __init__(self) -> None:
        self.plays: list[tuple[str, Play]] = []
        self.script = self.paused

    @staticmethod
    def paused(question: str) -> list[Any]:
        return ["A", PAUSE, " reply", " to", f" {question}"]

    @staticmethod
    def text(question: str) -> str:
        return f"A reply to {question}"

    async def tokens(self, question: str) -> AsyncIterator[str]:
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
        wait = await _crowd(site, streams, cap, "at first")
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
        await _crowd(site, streams, cap, when)
    return wait


async def _ask(site: Served, question: str) -> Reply:
    params = {"question": question}
    return await site.ask("GET", "/chat", params=params, patient=True)


async def _crowd(site: Served, streams: Streams, cap: int, when: str) -> str:
    """More clients than places at once; return the Retry-After."""
    streams.script = streams.paused
    number = cap + SURPLUS
    asked = [f"client {n}" for n in range(number)]
    asks = [start(_ask(site, question)) for question in asked]

    def answered() -> int:
        return sum(ask.done() for ask in asks)

    await settled(
        lambda: (answered(), len(streams.running)),
        lambda: answered() + len(streams.running) >= number,
        still=300,  # another thread serves it
    )
    taken, refused = len(streams.running), answered()
    streams.script = lambda question: [streams.text(question)]
    streams.release()
    replies = await asyncio.gather(*asks)
    statuses = Counter(reply.status for reply in replies)
    if taken > cap:
        raise Wrong(
            f"{taken} answers were under way at once, not {cap}: a place is "
            "taken until the stream has ended"
        )
    if refused < SURPLUS and statuses[200] == number:
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
    for question, reply in zip(asked, replies, strict=True):
        whole = streams.text(question)
        if reply.status == 200 and reply.text != whole:
            raise Wrong(f"a client got {reply.text!r}, not {whole!r}")
    waits = [r.headers.get("Retry-After") for r in replies if r.status == 503]
    for wait in waits:
        if wait is None:
            raise Wrong("503 came without Retry-After: say when to come")
        if not wait.isdecimal() or int(wait) < 1:
            raise Wrong(
                f"Retry-After is {wait!r}, not whole seconds from 1 on"
            )
    return waits[0]


async def _hang_up(site: Served, streams: Streams, cap: int) -> None:
    """All places are taken by clients who leave; others come meanwhile."""
    before = len(streams.plays)
    seconds: dict[str, list[float]] = {"/chat": [], "/none": []}
    params = {"question": "another"}
    async with AsyncExitStack() as guests:
        for _ in range(cap):
            guest = site.guest("GET", "/chat", params=params)
            await guests.enter_async_context(guest)
        await until(
            lambda: (
                len(streams.plays) == before + cap
                and all(play.waiting for play in streams.running)
            )
        )
        for path in [*seconds] * 3:
            began = time.perf_counter()
            await site.ask("GET", path, params=params, patient=True)
            seconds[path].append(time.perf_counter() - began)
    await settled(
        lambda: len(streams.running), lambda: not streams.running, still=50
    )
    if streams.running:
        streams.release()
        raise Wrong("a client hung up, and its stream went on")
    if min(seconds["/chat"]) > SLOWER * max(seconds["/none"]):
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
        """Wait for so many texts, or until no more come."""
        await settled(
            lambda: len(self.got),
            lambda: len(self.got) >= number or self.reading.done(),
        )
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


def _whole(question: str) -> list[str]:
    return [part for part in _reply(question) if part is not PAUSE] + [END]


def _reply(question: str) -> list[Any]:
    if question == "awkward":
        return ["A", PAUSE, *AWKWARD_TOKENS]
    return Streams.paused(question)


async def _answers_in_turn(site: Served, streams: Streams) -> None:
    """One after another on one connection, each piece as it comes."""
    streams.script = _reply
    asked = ["soup", "tea", "tea", "", "awkward"]
    async with _connect(site) as socket:
        talk = Talk(socket)
        expected: list[str] = []
        for number, question in enumerate(asked, 1):
            await socket.send(question)
            came = await talk.has(len(expected) + 1)
            if [question for question, _ in streams.plays] != asked[:number]:
                if len(streams.plays) > number:
                    raise Wrong(
                        f"{count(number, 'question')} was asked "
                        f"{len(streams.plays)} times"
                    )
                raise Wrong(f"the question {question!r} was never answered")
            streams.release()
            early = came[len(expected) :]
            came = (await talk.has(len(expected) + len(_whole(question))))[
                len(expected) :
            ]
            expected += _whole(question)
            if site.errors:
                raise site.errors[0]
            if came != _whole(question):
                raise Wrong(f"{question!r} got {came}, not {_whole(question)}")
            if early != ["A"]:
                raise Wrong(
                    "nothing was streamed: the first piece came with the "
                    "last one"
                )


async def _is_interrupted(site: Served, streams: Streams) -> None:
    """Twice, while another client's answer goes on.

    The second time no piece of the answer had come yet.
    """
    streams.script = lambda question: (
        [PAUSE, "B"] if question == "older" else Streams.paused(question)
    )
    async with _connect(site) as other, _connect(site) as socket:
        quiet, talk = Talk(other), Talk(socket)
        await other.send("quiet")
        await quiet.has(1)
        for question in ("old", "older", "new"):
            await socket.send(question)
            await settled(
                lambda: [name for name, _ in streams.plays],
                lambda: (
                    streams.plays[-1][0] == question  # noqa: B023
                    and streams.plays[-1][1].waiting
                ),
            )
            if streams.plays[-1][0] != question:
                break
        plays = dict(streams.plays)
        if "new" not in plays:
            raise Wrong(
                "a question that came while an answer was written had to "
                "wait for its end: nobody listened"
            )
        await settled(
            lambda: len(streams.running), lambda: len(streams.running) <= 2
        )
        if {plays["old"].outcome, plays["older"].outcome} != {"cut off"}:
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
    async with _connect(site) as other:
        quiet = Talk(other)
        await other.send("stays")
        await quiet.has(1)
        streams.script = lambda question: (
            [PAUSE, "A"] if question == "early" else Streams.paused(question)
        )
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
        streams.release()
        if await quiet.has(len(_whole("stays"))) != _whole("stays"):
            raise Wrong(f"a client who stayed got {quiet.got}, not all")


JUDGES = {
    "10.0": honest_statuses,
    "10.1": refuses_the_surplus,
    "10.2": can_be_interrupted,
}
