"""Judge the check of lesson 07 and the two tasks of lab 07."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import openai
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import StreamingResponse

from workshop.checks.asgi import Client
from workshop.checks.http import Served, served
from workshop.checks.kit import (
    LATE,
    PAUSE,
    Play,
    ScriptedModel,
    Watch,
    Wrong,
    call,
    chat_graph,
    expect,
    failures,
    file_of,
    result,
    settled,
    some_time_later,
    start,
    together,
    until,
)

Answer = Callable[..., Any]

USERS = 70  # more than a pool or a semaphore lets through
GUESTS = 20
TAKEN = "the client took it for the whole answer"


def _script(asked: str) -> list[Any]:
    return ["A", PAUSE, " reply", " to", f" {asked}"]


def _text(asked: str) -> str:
    return f"A reply to {asked}"


# --- 07.0


async def takes_no_thread(answer: Answer) -> str:
    """07.0: the whole text, for many users at once."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(2))
    threads: set[int] = set()

    def script(asked: str) -> list[Any]:
        threads.add(threading.get_ident())
        return _script(asked)

    model = ScriptedModel.watching(answer, script)
    agent = chat_graph(model)
    asked = [f"user {n}\n" for n in range(USERS)]
    asks = [result(answer, agent=agent, message=text) for text in asked]
    asking = start(together(*asks))
    await model.waits_for(USERS, asking)
    peak = model.peak
    await some_time_later()
    model.script = lambda asked: [_text(asked)]  # for those who come late
    await model.finish([], asking)
    texts = await model.value_of(asking, "agent")
    model.must_be_used("agent")
    model.watch.must_not_block()
    if peak < USERS:
        raise Wrong(f"at most {peak} of {USERS} users were at the model")
    if threads != {threading.get_ident()}:
        raise Wrong("each user held a thread")
    for asked_for, text in zip(asked, texts, strict=True):
        if expect(text, str, "the text of the answer") != _text(asked_for):
            raise Wrong(
                f"{asked_for!r} got {text!r}, not {_text(asked_for)!r}"
            )
    other = ScriptedModel(script=lambda asked: [_text(asked)])
    await result(answer, agent=chat_graph(other), message="tea")
    other.must_be_used("agent")
    return f"{peak} of {USERS} users at once, and no thread for any"


# --- 07.1


class Reservations:
    """The sync system that knows each guest's table, of that visit."""

    def __init__(self) -> None:
        self.visits: dict[str, int] = {}
        self.threads: set[int] = set()
        self.inside = 0
        self.open = threading.Event()  # until then all wait inside
        self.open.set()

    def table(self, guest: str) -> int:
        """The table of the last visit."""
        return len(guest) * 100 + self.visits.get(guest, 0)

    def table_of(self, guest: str) -> int:
        self.threads.add(threading.get_ident())
        self.visits[guest] = self.visits.get(guest, 0) + 1
        self.inside += 1
        self.open.wait(60)
        return self.table(guest)


async def nobody_waits_for_anybody(answer: Answer) -> str:
    """07.1: greet guests in a stream, without a call that blocks."""
    model = ScriptedModel(script=_script)
    tables = Reservations()
    async with _greeting(answer, model, tables) as site:
        await _greets(site, model, tables)
        at_once = await _crowd(site, model, tables)
    model, tables = ScriptedModel(script=_script), Reservations()
    async with _greeting(answer, model, tables) as site:  # another house
        await _greets(site, model, tables)
    return f"{at_once} of {GUESTS} guests at once, and a ping was answered"


@asynccontextmanager
async def _greeting(
    answer: Answer, model: ScriptedModel, tables: Reservations
) -> AsyncIterator[Served]:
    """Serve an endpoint around the answer as `POST /chat`."""
    agent = chat_graph(model)
    app = FastAPI()

    @app.post("/chat", response_model=None)
    async def chat(message: str, guest: str) -> Response:
        parts = call(
            answer,
            agent=agent,
            table_of=tables.table_of,
            message=message,
            guest=guest,
        )
        words = "a generator: `yield` the parts"
        kinds = AsyncIterable | Iterator
        return StreamingResponse(expect(parts, kinds, words))

    model.watch = Watch(file_of(answer))
    async with served(app, model.watch) as site:
        try:
            yield site
        finally:
            model.script = lambda _: ["late"]
            model.release()


async def _greets(
    site: Served, model: ScriptedModel, tables: Reservations
) -> None:
    """Two guests, and the first one again: each table, each word early."""
    for guest, message in (("Ada", "Hi"), ("Grace", "Soup?"), ("Ada", "Tea")):
        before = tables.visits.get(guest, 0)
        async with _asking(site, guest, message) as reader:
            calls = len(model.calls)
            await settled(
                lambda: (reader.text, len(model.calls)),
                lambda: (
                    reader.gone
                    or (len(model.calls) > calls and "A" in reader.text)  # noqa: B023
                ),
                still=300,  # another thread serves it
            )
            early = reader.text
            await reader.end(model.release)
        if site.errors:
            raise site.errors[0]
        if model.watch.thread in tables.threads:
            raise Wrong("`table_of` ran on the event loop: take a thread")
        model.watch.must_not_block()
        model.must_be_used("agent")
        asked = tables.visits.get(guest, 0) - before
        if asked != 1:
            raise Wrong(
                f"`table_of` was asked {asked} times for one visit of "
                f"{guest}: ask it once, each time a guest comes"
            )
        whole = f"Table {tables.table(guest)}: {_text(message)}"
        if reader.text != whole:
            raise Wrong(f"{guest} got {reader.text!r}, not {whole!r}")
        if early != f"Table {tables.table(guest)}: A":
            raise Wrong(LATE)


def _asking(site: Served, guest: str, message: str) -> Any:
    params = {"guest": guest, "message": message}
    return site.guest("POST", "/chat", params=params)


async def _crowd(
    site: Served, model: ScriptedModel, tables: Reservations
) -> int:
    """Let all guests ask at once; return how many got to the model."""
    tables.inside = 0
    tables.open.clear()
    guests = ["Eve" + "!" * n for n in range(GUESTS)]
    before = model.in_flight
    async with AsyncExitStack() as house:
        readers = [
            await house.enter_async_context(_asking(site, guest, guest))
            for guest in guests
        ]
        for _ in range(20):  # while others are served, more come in
            if tables.inside < 2:
                await site.ask("GET", "/ping", patient=True)
        several = tables.inside > 1
        tables.open.set()
        await settled(
            lambda: model.in_flight,
            lambda: model.in_flight == before + GUESTS,
            still=300,  # another thread serves them
        )
        at_once = model.in_flight - before
        stuck = site.stuck_at()
        if at_once == GUESTS:
            await site.ask("GET", "/ping")  # 404 is an answer as well
        model.script = lambda asked: [_text(asked)]
        for reader in readers:
            await reader.end(model.release)
    model.watch.must_not_block()
    if not several:
        raise Wrong("`table_of` was asked for one guest at a time")
    if stuck:
        raise Wrong(f"guests wait for each other{stuck}")
    if at_once < GUESTS:
        raise Wrong(f"at most {at_once} of {GUESTS} were at the model at once")
    for guest, reader in zip(guests, readers, strict=True):
        whole = f"Table {tables.table(guest)}: {_text(guest)}"
        if reader.text != whole:
            raise Wrong(
                "when many came at once, one got the table of another one"
                if reader.text.endswith(_text(guest))
                else f"among others {guest} got {reader.text!r}, not {whole!r}"
            )
    return at_once


# --- 07.2


PIECES = ["", "Soup", PAUSE, "\n\n", "0", " ", "no", "no", "\u2028é"]


class RateLimit(openai.RateLimitError):
    """As langchain-openai has it: a class of its own."""


async def the_status_is_true(answer: Answer) -> str:
    """07.2: say with the status that the model failed, and still stream."""
    await _streams_each(answer)
    for what, error in _model_failures().items():
        status = 429 if isinstance(error, openai.RateLimitError) else 502
        await _must_be_refused(answer, what, error, status)
    await _leaves_bugs_alone(answer)
    await _breaks_off(answer)
    return (
        "each failure got its status, 429 or 502, a bug stayed one, and "
        "2 streams came early and whole"
    )


def _model_failures() -> dict[str, Exception]:
    errors = failures()
    del errors["a bug in a node"]
    limit: Any = errors["a rate limit"]
    errors["a rate limit of LangChain"] = RateLimit(
        "Slow down", response=limit.response, body=None
    )
    return errors


async def _response(answer: Answer, play: Play) -> Response:
    value = await result(answer, parts=play.stream())
    return expect(value, Response, "a StreamingResponse")


async def _streams_each(answer: Answer) -> None:
    """Two streams at once: each part as it comes, each to its client."""
    plays = [Play(PIECES), Play(["Tea", PAUSE, " for", " two"])]
    clients = [Client(), Client()]
    readings = []
    for play, client in zip(plays, clients, strict=True):
        asking = start(_response(answer, play))
        await settled(asking.done, asking.done)
        if not asking.done():
            await play.finish()
            raise Wrong(LATE)
        readings.append(start(client.read(await asking)))
        await settled(lambda: client.text, lambda: client.parts)  # noqa: B023
    early = [client.text for client in clients]
    await some_time_later()
    for play, reading in zip(plays, readings, strict=True):
        play.release()
        if not await until(reading.done):
            raise Wrong("a stream never ends")
        reading.result()
    for play, client, began in zip(plays, clients, early, strict=True):
        whole = "".join(part for part in play.parts if part is not PAUSE)
        if client.text != whole:
            raise Wrong(f"the client got {client.text!r}, not {whole!r}")
        if not began:
            raise Wrong(LATE)


async def _must_be_refused(
    answer: Answer, what: str, error: Exception, status: int
) -> None:
    try:
        response = await _response(answer, Play([error]))
    except HTTPException as refused:
        if refused.status_code == status:
            return
        why = ""
        if isinstance(error, RateLimit):
            why = (
                ": LangChain raises a subclass of `openai.RateLimitError`, "
                "so ask with `except` or `isinstance`"
            )
        raise Wrong(
            f"{what} got status {refused.status_code}, not {status}{why}"
        ) from None
    except openai.APIError:
        raise Wrong(
            f"{what} got status 500: nothing caught {type(error).__name__}"
        ) from None
    if response.status_code == status:
        raise Wrong(f"{what} was returned: raise an HTTPException")
    raise Wrong(
        f"{what} got status {response.status_code}: take the first part "
        "before you return the response"
    )


async def _leaves_bugs_alone(answer: Answer) -> None:
    """They come out of the call, or break the response off."""
    bugs = KeyError("dish"), ValueError("hot"), TypeError(), TimeoutError()
    for bug in bugs:
        name, client = type(bug).__name__, Client()
        try:
            await client.read(await _response(answer, Play([bug])))
        except HTTPException as refused:
            raise Wrong(
                f"a {name} got status {refused.status_code}: it is no "
                "`openai.APIError`, so leave it alone"
            ) from None
        except type(bug):
            continue
        raise Wrong(f"a {name} was swallowed: leave it alone")


async def _breaks_off(answer: Answer) -> None:
    """What fails later must not look whole."""
    for what, error in failures().items():
        play, client = Play(["LangGraph", " runs", error]), Client()
        reading = start(client.read(await _response(answer, play)))
        await until(reading.done)
        if client.whole or reading.exception() is None:
            raise Wrong(f"{what} came after 2 parts, and {TAKEN}")
        if client.text != "LangGraph runs":
            raise Wrong(
                f"of an answer that broke off the client got {client.text!r}"
            )


JUDGES = {
    "07.0": takes_no_thread,
    "07.1": nobody_waits_for_anybody,
    "07.2": the_status_is_true,
}
