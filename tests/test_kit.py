"""The judges' kit: what it lets go, and what it notes."""

from __future__ import annotations

import asyncio

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from workshop.checks.kit import (
    AWKWARD_PARTS,
    AWKWARD_TOKENS,
    PAUSE,
    WAYS_TO_LEAVE,
    Play,
    ScriptedModel,
    chat_graph,
    count,
    failures,
    leave,
    start,
    stop,
    until,
)

ASK = {"messages": [("user", "Soup?")]}
HERE = {"configurable": {"thread_id": "1"}}


async def test_a_play_gives_awkward_parts_as_they_are() -> None:
    play = Play(AWKWARD_PARTS)
    assert [part async for part in play.stream()] == AWKWARD_PARTS
    assert (play.outcome, play.sent) == ("done", len(AWKWARD_PARTS))


async def test_a_play_waits_until_it_may_pass() -> None:
    play = Play(["a", PAUSE, "b", PAUSE])
    parts: list[str] = []

    async def read() -> None:
        async for part in play.stream():
            parts.append(part)

    reading = start(read())
    assert await until(lambda: play.waiting)
    assert parts == ["a"]
    play.release(1)
    assert await until(lambda: parts == ["a", "b"] and play.waiting)
    assert await stop(reading)
    assert play.outcome == "cut off"


@pytest.mark.parametrize("by", WAYS_TO_LEAVE)
async def test_who_leaves_cuts_a_call_off(by: str) -> None:
    model = ScriptedModel(script=lambda _: ["a", PAUSE, "b"])
    stream = model.astream("Soup?")
    await leave(stream, lambda parts: parts, by)
    await stream.aclose()
    assert await model.idle()
    assert model.cut_off == 1


@pytest.mark.parametrize("kind", failures())
async def test_a_failure_comes_out_of_the_graph(kind: str) -> None:
    error = failures()[kind]
    model = ScriptedModel(script=lambda _: ["a", error])
    with pytest.raises(type(error)):
        await chat_graph(model).ainvoke(ASK)
    assert [call.outcome for call in model.calls] == ["failed"]


async def test_a_scripted_model_streams_and_knows_what_it_got() -> None:
    model = ScriptedModel(script=lambda _: AWKWARD_TOKENS)
    graph = chat_graph(model, InMemorySaver())
    stream = graph.astream(ASK, HERE, stream_mode="messages", version="v2")
    pieces = [part["data"][0].text async for part in stream]
    assert pieces[: len(AWKWARD_TOKENS)] == AWKWARD_TOKENS
    await graph.ainvoke({"messages": [("user", "And?")]}, HERE)
    assert model.calls[-1].got == ["Soup?", "".join(AWKWARD_TOKENS), "And?"]
    assert (model.in_flight, model.peak, model.cut_off) == (0, 1, 0)


async def test_a_blocking_call_is_named() -> None:
    def answer(graph):
        return graph.invoke(ASK)

    model = ScriptedModel.watching(answer, lambda _: [PAUSE, "a"])
    answer(chat_graph(model))
    assert model.watch.blocking == ["return graph.invoke(ASK)"]
    free = asyncio.create_task(asyncio.to_thread(answer, chat_graph(model)))
    assert await until(lambda: model.in_flight)
    model.release()
    await free
    assert model.watch.blocking[1:] == [None]


def test_a_count_has_its_grammar() -> None:
    assert count(1, "token") == "1 token"
    assert count(0, "token") == "0 tokens"
