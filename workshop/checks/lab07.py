"""Judge the check of lesson 07 and the four tasks of lab 07."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langgraph.graph.state import CompiledStateGraph

from workshop.checks.bench import Kitchen, Wrong, call, expect, kitchen, result
from workshop.checks.http import Reply, Served, served
from workshop.model import Meter

Answer = Callable[..., Any]

HELLO = "Hello"
STORY = "Tell me a story in 60 words"
GRACE = {"message": HELLO, "guest": "Grace"}
GUESTS = 20
TABLE = 7
PATIENCE = 5  # seconds, for what takes milliseconds
LATE = 3  # seconds until the first token, where that has to be long
SOME = 5  # tokens that may be on their way when a client leaves
MANY = 20  # tokens; more than those who stay still get


# --- 07.0


async def each_run_is_cancelled_once(answer: Answer) -> str:
    """07.0: end the tasks of several runs, and wait for their end."""
    async with kitchen(answer, ttft=0.1, per_token=0.1) as place:
        agent = _agent(place)
        meter = place.model.meter()
        runs = {asyncio.create_task(_read(agent, STORY)) for _ in range(3)}
        await _until(lambda: meter.read().tokens_sent >= 9)
        ended = asyncio.create_task(asyncio.sleep(0))
        await ended
        stopping = asyncio.ensure_future(result(answer, runs={*runs, ended}))
        await asyncio.wait([stopping], timeout=PATIENCE)
        still = sum(not run.done() for run in runs)
        if not stopping.done():
            raise Wrong("it waits until the runs have ended by themselves")
        if stopping.cancelled():
            raise Wrong(
                "it raised CancelledError: `await run` raises what ended the "
                "run"
            )
        stopping.result()
        left = meter.read().tokens_sent
        if still:
            raise Wrong(
                f"it returned while {still} of 3 runs still ran: `cancel` "
                "only asks, so wait for their end"
            )
        await _until(
            lambda: (
                not meter.read().in_flight
                or meter.tokens_sent > left + 3 * SOME
            )
        )
    if meter.cut_off < 3:
        raise Wrong(
            f"{meter.cut_off} of 3 calls were cut off at the model: a run "
            "that is cancelled again and again cannot clean up"
        )
    return "3 of 3 calls were cut off, and all runs had ended"


async def _read(agent: CompiledStateGraph, message: str) -> None:
    async for _ in agent.astream(_ask(message), stream_mode="messages"):
        pass


# --- 07.1


async def nobody_waits_for_anybody(answer: Answer) -> str:
    """07.1: greet guests in a stream, without a call that blocks."""
    threads: set[int] = set()

    def table_of(guest: str) -> int:
        threads.add(threading.get_ident())
        time.sleep(0.05)
        return TABLE

    def endpoint(place: Kitchen) -> Answer:
        agent = _agent(place)

        async def chat(message: str, guest: str) -> Response:
            parts = call(
                answer,
                agent=agent,
                table_of=table_of,
                message=message,
                guest=guest,
            )
            words = "a generator: `yield` the parts"
            return StreamingResponse(
                expect(parts, AsyncIterator | Iterator, words)
            )

        return chat

    async with _site(answer, endpoint) as (place, site):
        before = f"Table {TABLE}: "
        reply = await site.ask("POST", "/chat", params=GRACE)
        await _must_be_answer(reply, site, before + await _words(place, HELLO))
        if place.thread in threads:
            raise Wrong(
                "`table_of` ran on the event loop, where everybody waits for "
                "it: give it to a thread"
            )
        await _must_be_early(site, place, GRACE, before)
        at_once = await _crowd(site, place)
    return f"{at_once} of {GUESTS} guests at once, and a ping was answered"


async def _crowd(site: Served, place: Kitchen) -> int:
    """Let all guests ask at once; return how many got to the model."""
    place.model.pace(ttft=LATE, per_token=0.001)
    meter = place.model.meter()
    asks = [
        asyncio.create_task(site.ask("POST", "/chat", params=GRACE))
        for _ in range(GUESTS)
    ]
    try:
        await _until(
            lambda: meter.read().peak_in_flight == GUESTS, seconds=LATE + 1
        )
        if meter.peak_in_flight < GUESTS:
            raise Wrong(
                f"guests wait for each other{blocked}"
                if (blocked := site.blocked())
                else f"at most {meter.peak_in_flight} of {GUESTS} guests got "
                "to the model at once"
            )
        await site.client.get("/ping")  # 404 is an answer as well
        if not meter.read().in_flight:
            raise Wrong(f"a ping had to wait for the answers{site.blocked()}")
        await asyncio.gather(*asks)
    finally:
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
    return meter.peak_in_flight


# --- 07.2


async def the_status_is_true(answer: Answer) -> str:
    """07.2: say with the status that the model failed, and still stream."""

    def endpoint(place: Kitchen) -> Answer:
        agent = _agent(place)

        async def chat(message: str) -> Response:
            reply = await result(answer, parts=_parts(agent, message))
            return expect(reply, Response, "a StreamingResponse")

        return chat

    async with _site(answer, endpoint) as (place, site):
        whole = await _words(place, HELLO)
        await _must_stream(site, place, whole)
        await _must_refuse(site, place)
        await _must_break_off(site, place, whole)
    return (
        "2 failures got their status, 429 and 502, and the first word came "
        "early"
    )


async def _must_stream(site: Served, place: Kitchen, whole: str) -> None:
    """The whole answer, and its first word early."""
    await _must_be_answer(await _post(site, HELLO), site, whole)
    await _must_be_early(site, place, {"message": HELLO})


async def _must_refuse(site: Served, place: Kitchen) -> None:
    place.model.fault("rate_limit", times=3, retry_after=0.01)
    _must_be_status(await _post(site, HELLO), 429, "the model's rate limit")
    place.model.fault("server_error", times=3)
    _must_be_status(await _post(site, HELLO), 502, "an error of the model")


def _must_be_status(reply: Reply, status: int, what: str) -> None:
    if reply.status == 200:
        raise Wrong(
            f"{what} got status 200: take the first part before you return "
            "the response"
        )
    if reply.status == 500:
        raise Wrong(f"{what} got status 500: nothing caught the error")
    if reply.status != status:
        raise Wrong(f"{what} got status {reply.status}, not {status}")


async def _must_break_off(site: Served, place: Kitchen, whole: str) -> None:
    place.model.fault("cut", after_tokens=3)
    reply = await _post(site, HELLO)
    if reply.whole:
        raise Wrong(
            "the model broke off after 3 tokens, and the client took it for "
            "the whole answer"
        )
    if not reply.text or not whole.startswith(reply.text):
        raise Wrong(f"of a broken answer the client got {reply.text!r}")


# --- 07.3


async def the_model_stops(answer: Answer) -> str:
    """07.3: end the run when its client leaves, and only then."""

    def endpoint(place: Kitchen) -> Answer:
        agent = _agent(place)

        async def chat(message: str) -> Response:
            parts = call(answer, stream=_parts(agent, message))
            words = "an async generator: `yield` each part"
            return StreamingResponse(expect(parts, AsyncIterator, words))

        return chat

    async with _site(answer, endpoint) as (place, site):
        whole = await _words(place, HELLO)
        await _must_be_answer(await _post(site, HELLO), site, whole)
        await _must_break_off(site, place, whole)
        place.model.pace(ttft=0.1, per_token=0.1)
        meter = place.model.meter()
        staying = asyncio.create_task(_post(site, HELLO))
        await _must_stop_after_tokens(site, meter)
        if (await staying).text != whole:
            raise Wrong(
                "a client left, and another one, who stayed, lost the answer"
            )
        await _must_stop_before_tokens(site, place)
    return "2 of 2 calls were cut off, after 3 words and before the first"


async def _must_stop_after_tokens(site: Served, meter: Meter) -> None:
    """Hang up after three words, and see whether the model writes on."""
    text = await site.hang_up(
        "POST",
        "/chat",
        lambda text: len(text.split()) >= 3,
        params={"message": STORY},
    )
    if len(text.split()) < 3:
        raise Wrong(f"the client got {text!r}, and then nothing")
    enough = meter.read().tokens_sent + MANY
    await _until(lambda: meter.read().cut_off or meter.tokens_sent > enough)
    if not meter.cut_off:
        raise Wrong("a client left after 3 words, and the model wrote on")


async def _must_stop_before_tokens(site: Served, place: Kitchen) -> None:
    place.model.pace(ttft=2, per_token=0.1)
    meter = place.model.meter()
    await site.hang_up(
        "POST",
        "/chat",
        lambda _: meter.read().in_flight,
        params={"message": STORY},
    )
    await _until(
        lambda: not meter.read().in_flight or meter.tokens_sent > SOME
    )
    if meter.tokens_sent > SOME:
        raise Wrong(
            "a client left before the first token, and the model wrote on"
        )
    if meter.tokens_sent:
        raise Wrong(
            "a client left before the first token, and the model stopped only "
            "after it"
        )


# --- 07.4


async def all_of_it(answer: Answer) -> str:
    """07.4: a true status, early tokens, and a stop at any time."""

    def endpoint(place: Kitchen) -> Answer:
        agent = _agent(place)

        async def chat(message: str, request: Request) -> Response:
            stream = _parts(agent, message)
            reply = await result(answer, request=request, stream=stream)
            return expect(reply, Response, "a response")

        return chat

    async with _site(answer, endpoint) as (place, site):
        whole = await _words(place, HELLO)
        await _must_stream(site, place, whole)
        await _must_refuse(site, place)
        await _must_break_off(site, place, whole)
        place.model.pace(ttft=0.1, per_token=0.1)
        await _must_stop_after_tokens(site, place.model.meter())
        await _must_stop_before_tokens(site, place)
    return (
        "2 failures got their status, and 2 of 2 calls were cut off when "
        "their client left"
    )


# --- shared


@asynccontextmanager
async def _site(
    answer: Answer, endpoint: Callable[[Kitchen], Answer]
) -> AsyncIterator[tuple[Kitchen, Served]]:
    """Serve an endpoint around the answer as `POST /chat`."""
    async with kitchen(answer, ttft=0.1) as place:
        app = FastAPI()
        app.post("/chat", response_model=None)(endpoint(place))
        async with served(app, place) as site:
            yield place, site


async def _parts(
    agent: CompiledStateGraph, message: str
) -> AsyncIterator[str]:
    """What users should see of an answer."""
    stream = agent.astream(_ask(message), stream_mode="messages")
    async for part, _ in stream:
        if part.text:
            yield part.text


def _agent(place: Kitchen) -> CompiledStateGraph:
    # With a timeout per chunk, Python 3.11 can lose a cancel (gh-86296).
    llm = place.llm.model_copy(update={"stream_chunk_timeout": None})
    return create_agent(llm, [])


def _ask(message: str) -> dict[str, Any]:
    return {"messages": [("user", message)]}


async def _words(place: Kitchen, message: str) -> str:
    """What the model says to it; in a thread, with the sync client."""
    return (await asyncio.to_thread(place.llm.invoke, message)).text


async def _post(site: Served, message: str) -> Reply:
    return await site.ask("POST", "/chat", params={"message": message})


async def _must_be_answer(reply: Reply, site: Served, whole: str) -> None:
    if reply.status == 500 or not reply.whole:
        await _until(lambda: site.errors)
        raise site.errors[0]
    if reply.status != 200:
        raise Wrong(f"the answer came with status {reply.status}, not 200")
    if reply.text != whole:
        raise Wrong(f"the client got {reply.text!r}, not {whole!r}")


async def _must_be_early(
    site: Served, place: Kitchen, params: dict[str, str], before: str = ""
) -> None:
    """The first word of the model must come while it still writes.

    ``before`` is what the app says before that word.
    """
    place.model.pace(ttft=0.1, per_token=0.1)
    meter, sent = place.model.meter(), []

    def note(text: str) -> None:
        if len(text) > len(before) and not sent:
            sent.append(meter.read().tokens_sent)

    await site.hang_up("POST", "/chat", note, params=params)
    place.model.pace(ttft=0.1, per_token=0.01)
    if not sent or sent[0] >= meter.read().tokens_sent:
        raise Wrong(
            "nothing was streamed: the model had finished before the first "
            "word came"
        )


async def _until(
    condition: Callable[[], object], seconds: float = PATIENCE
) -> None:
    """Wait until it is true, but no longer than that."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


JUDGES = {
    "07.0": each_run_is_cancelled_once,
    "07.1": nobody_waits_for_anybody,
    "07.2": the_status_is_true,
    "07.3": the_model_stops,
    "07.4": all_of_it,
}
