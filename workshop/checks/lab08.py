"""Judge the check of lesson 08 and the two tasks of lab 08."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
from fastapi import HTTPException, Request, Response

from workshop.checks.asgi import Client
from workshop.checks.kit import (
    AWKWARD_PARTS,
    PAUSE,
    STILL,
    WAYS_TO_LEAVE,
    Play,
    Reader,
    ScriptedModel,
    Wrong,
    chat_graph,
    collect,
    depends_on,
    expect,
    failures,
    leave,
    result,
    settled,
    some_time_later,
    start,
    stream_of,
    turns,
    until,
)

Answer = Callable[..., Any]

LEFT = {
    "cancel": "a reader whose task was cancelled",
    "aclose": "a reader who closed the generator",
    "anyio": "a reader whom AnyIO cancelled, as Starlette does,",
}


async def _said(graph: Any, question: str) -> AsyncIterator[str]:
    """What a graph says; its clean-up does not survive AnyIO."""
    given = {"messages": [("user", question)]}
    async for part, _ in graph.astream(given, stream_mode="messages"):
        if part.text:
            yield part.text


# --- 08.0


async def each_run_is_cancelled_once(answer: Answer) -> str:
    """08.0: end the tasks of several runs, and wait for their end."""
    await _stop(answer, [], "a server without runs")
    for number in (3, 2):
        model = ScriptedModel(script=lambda _: ["Soup", PAUSE, "Bread"])
        graph = chat_graph(model)
        runs = {
            start(collect(_said(graph, f"{n}"), [])) for n in range(number)
        }
        await model.waits_for(number)
        await turns()
        ended = start(asyncio.sleep(0))
        await ended
        still = await _stop(answer, {*runs, ended}, f"{number} runs")
        await model.idle()
        if still:
            raise Wrong(f"it returned, and {still} of {number} runs still ran")
        if model.cut_off < number:
            model.release()
            raise Wrong(
                f"{model.cut_off} of {number} calls were cut off at the "
                "model: a run that is cancelled again and again cannot clean "
                "up"
            )
    return "5 of 5 calls were cut off, all runs had ended, and none is fine"


async def _stop(answer: Answer, runs: Any, what: str) -> int:
    """How many runs still ran when the answer returned."""

    async def stopped() -> int:
        await result(answer, runs=runs)
        return sum(not run.done() for run in runs)

    stopping = start(stopped())
    await settled(
        lambda: [run.done() for run in runs], stopping.done, still=100
    )
    if not stopping.done():
        for run in runs:
            run.cancel()
        raise Wrong("it waits until the runs have ended by themselves")
    if stopping.cancelled():
        raise Wrong(
            "it raised CancelledError: `await run` raises what ended the run"
        )
    if isinstance(error := stopping.exception(), ValueError):
        raise Wrong(f"for {what} it raised ValueError: {error}".rstrip("."))
    return await stopping


# --- 08.1


async def the_model_stops(answer: Answer) -> str:
    """08.1: pass a stream on, and end its run when its reader leaves."""
    await _passes_all_on(answer)
    await _passes_each_on(answer)
    await _raises(answer)
    cut_off = 0
    for by in WAYS_TO_LEAVE:
        for parts in (0, 2):
            if not parts and by == "aclose":
                continue  # a generator closes at a `yield`
            for stays_first in (True, False):
                await _ends(answer, by, parts, stays_first)
                cut_off += 1
    return f"{cut_off} of {cut_off} runs were cut off, and no other one"


def _streamed(answer: Answer, stream: AsyncIterator[Any]) -> Any:
    return stream_of(
        answer, "an async generator: `yield` each part", stream=stream
    )


async def _passes_all_on(answer: Answer) -> None:
    for parts in (AWKWARD_PARTS, ["one"], []):
        reader = Reader(_streamed(answer, Play(parts).stream()))
        await reader.must_end("it never ends, although its stream has ended")
        if reader.parts != parts:
            raise Wrong(
                f"of the parts {parts} came {reader.parts}: whatever a part "
                "is, it is no end"
            )


async def _passes_each_on(answer: Answer) -> None:
    play = Play(["Soup", PAUSE, "Bread"])
    reader = Reader(_streamed(answer, play.stream()))
    early = await reader.has(1)
    await some_time_later()
    play.release()
    await reader.must_end("it never ends, although its stream has ended")
    if not early:
        raise Wrong("nothing was streamed: the first part came with the last")


async def _raises(answer: Answer) -> None:
    for what, error in failures().items():
        reader = Reader(_streamed(answer, Play(["Soup", error]).stream()))
        try:
            await reader.must_end(
                f"{what} ends its stream, and the reader waits on"
            )
        except Wrong:
            raise
        except Exception as raised:
            if raised is not error:
                raise Wrong(f"it raised {raised!r}, not {error!r}") from None
        else:
            raise Wrong(f"after {what} it looks whole: raise that")
        if reader.parts != ["Soup"]:
            raise Wrong(f"before {what} came {reader.parts}, not ['Soup']")


async def _ends(
    answer: Answer, by: str, parts: int, stays_first: bool
) -> None:
    """One leaves, another one stays."""
    script = ["Soup", " of", PAUSE, " the", " day"] if parts else [PAUSE, "A"]
    model = ScriptedModel(script=lambda _: list(script))
    graph = chat_graph(model)
    staying = _streamed(answer, _said(graph, "stays"))
    leaving = _streamed(answer, _said(graph, "leaves"))
    readers = [Reader(staying)] if stays_first else []
    await model.waits_for(len(readers))

    def now(came: list[Any]) -> bool:
        if not readers and model.in_flight:
            readers.append(Reader(staying))
        paused = [call for call in model.calls if call.waiting]
        return len(came) >= parts and len(paused) == 2

    if by == "aclose":  # at a `yield`, while nobody waits for a part
        came = [await anext(leaving) for _ in range(parts)]
        await until(lambda: now(came))
        await leaving.aclose()
    else:
        await leave(leaving, now, by)
    (reader,) = readers
    await settled(lambda: model.in_flight, lambda: model.in_flight < 2)
    outcome = {call.asked: call.outcome for call in model.calls}
    model.release()
    await until(reader.done)
    if outcome.get("stays") == "cut off":
        raise Wrong("a reader left, and the run of another one was cut off")
    if outcome.get("leaves") != "cut off":
        after = f"after {parts} parts" if parts else "before the first part"
        raise Wrong(f"{LEFT[by]} left {after}, and the model wrote on")
    whole = [part for part in script if part is not PAUSE]
    lost = reader.task.cancelled() or reader.task.exception()
    if reader.parts != whole or lost:
        raise Wrong("a reader left, and another one, who stayed, lost parts")


# --- 08.2


async def all_of_it(answer: Answer) -> str:
    """08.2: a true status, early parts, and a stop at any time."""
    await depends_on(answer, "in_own_task", the_model_stops, "task 1")
    await _responds(answer)
    await _refuses(answer)
    await _leaves_before(answer)
    await _leaves_after(answer)
    return (
        "429 and 502, parts as they come, 2 of 2 runs cut off, and nothing "
        "is left that waits"
    )


async def _respond(
    answer: Answer, client: Client, stream: AsyncIterator[Any]
) -> Response:
    request: Request = client.request()
    value = await result(answer, request=request, stream=stream)
    return expect(value, Response, "a response")


async def _responds(answer: Answer) -> None:
    """Two clients at once, each part as it comes."""
    plays = [Play(["Soup", PAUSE, "\n\n"]), Play(["Tea", PAUSE, " for two"])]
    clients = [Client(), Client()]
    readings = []
    for play, client in zip(plays, clients, strict=True):
        asking = start(_respond(answer, client, play.stream()))
        await settled(asking.done, asking.done)
        if not asking.done():
            client.leave()
            play.release()
            raise Wrong("it returns no response while the model writes")
        readings.append(start(client.read(await asking)))
        await until(lambda: client.parts)  # noqa: B023
        if client.parts != play.parts[:1]:
            raise Wrong(
                f"after its first part the client had {client.text!r}, not "
                f"{play.parts[0]!r}"
            )
    await some_time_later()
    for play, client, reading in zip(plays, clients, readings, strict=True):
        play.release()
        await until(reading.done)
        whole = "".join(part for part in play.parts if part is not PAUSE)
        if not reading.done() or client.text != whole:
            raise Wrong(f"the client got {client.text!r}, not {whole!r}")
        await _must_not_wait(client, "its response was complete")


async def _must_not_wait(client: Client, when: str) -> None:
    await settled(lambda: client.waiting, lambda: not client.waiting)
    if client.waiting:
        raise Wrong(f"when {when}, a task still waited for the client")


async def _refuses(answer: Answer) -> None:
    for what, error in failures().items():
        if not isinstance(error, openai.APIError):
            continue
        limit = isinstance(error, openai.RateLimitError)
        client = Client()
        try:
            response = await _respond(answer, client, Play([error]).stream())
        except HTTPException as refused:
            if refused.status_code != (429 if limit else 502):
                raise Wrong(
                    f"{what} got status {refused.status_code}"
                ) from None
        except openai.APIError:
            raise Wrong(
                f"{what} got status 500: raise what `honest` raises"
            ) from None
        else:
            raise Wrong(
                f"{what} got status {response.status_code}: raise what "
                "`honest` raises"
            )
        await _must_not_wait(client, f"{what} was refused")


async def _leaves_before(answer: Answer) -> None:
    model = ScriptedModel(script=lambda _: [PAUSE, "Soup"])
    client = Client()
    stream = _said(chat_graph(model), "leaves")
    asking = start(_respond(answer, client, stream))
    await model.waits_for(1, asking)
    if asking.done():
        asking.result()
        raise Wrong("it returned before the first part had come")
    await _must_stop(model, client, "before the first part")
    await until(asking.done)
    if not asking.done():
        raise Wrong("a client left, and it waits on: return a Response")
    if asking.cancelled():
        raise Wrong("a client left, and it raised CancelledError")
    if asking.exception():
        raise Wrong(f"a client left, and it raised {asking.exception()!r}")
    await _must_not_wait(client, "its client had left")


async def _leaves_after(answer: Answer) -> None:
    model = ScriptedModel(script=lambda _: ["Soup", PAUSE, " of the day"])
    client = Client()
    stream = _said(chat_graph(model), "leaves")
    asking = start(_respond(answer, client, stream))
    await until(asking.done)
    reading = start(client.read(await asking))
    await until(lambda: client.parts)
    await _must_stop(model, client, "after one part")
    await until(reading.done)


async def _must_stop(model: ScriptedModel, client: Client, when: str) -> None:
    client.leave()
    stopped = await until(lambda: model.cut_off == 1, STILL)
    model.release()
    if not stopped:
        raise Wrong(f"a client left {when}, and the model wrote on")


JUDGES = {
    "08.0": each_run_is_cancelled_once,
    "08.1": the_model_stops,
    "08.2": all_of_it,
}
