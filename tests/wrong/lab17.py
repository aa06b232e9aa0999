"""Answers to the check of lesson 17 and to lab 17."""

import asyncio
import time
from contextlib import aclosing
from uuid import uuid4

import openai

from tests.wrong import right, wrong


def ask(text):
    return {"messages": [("user", text)]}


def thread(name):
    return {"configurable": {"thread_id": name}}


# --- 17.0


@wrong(
    "17.0",
    "an `await asyncio.sleep` counts as silence: others can run then",
)
async def times_all_of_it(work):
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


@wrong("17.0", "a block of 0.6 s from the start went unnoticed")
async def starts_no_tick_before_it(work):
    longest = 0.0

    async def tick():
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - began)

    task = asyncio.create_task(tick())
    await work()
    task.cancel()
    return longest


@right("17.0")
async def ticks_by_itself(work):
    longest, last = 0.0, time.perf_counter()

    def beat():
        nonlocal longest, last
        now = time.perf_counter()
        longest, last = max(longest, now - last), now

    async def tick():
        while True:
            await asyncio.sleep(0.01)
            beat()

    task = asyncio.create_task(tick())
    await work()
    beat()
    task.cancel()
    return longest


# --- 17.2


def tokens(graph, table, text):
    return graph.astream(ask(text), thread(table), stream_mode="messages")


async def words(graph, table, text):
    async for message, _ in tokens(graph, table, text):
        if message.type == "AIMessageChunk" and message.text:
            yield {"event": "token", "text": message.text}


async def in_a_task(stream):
    """Run a stream in a task of its own; what it raises comes out."""

    async def run():
        try:
            async for event in stream:
                queue.put_nowait(event)
        finally:
            queue.put_nowait(None)

    queue = asyncio.Queue()
    task = asyncio.create_task(run())
    try:
        while (event := await queue.get()) is not None:
            yield event
        await task
    finally:
        task.cancel()


async def with_an_end(stream):
    try:
        async for event in stream:
            yield event
        yield {"event": "done"}
    except openai.APIError:
        yield {"event": "error"}


@wrong(
    "17.2",
    "1 of 2 mended: a guest left after the first word, and the model wrote on",
)
async def only_closes_the_stream(graph, table, text):
    async with aclosing(words(graph, table, text)) as stream:
        async for event in with_an_end(stream):
            yield event


@wrong("17.2", "it yielded no event")
async def waits_for_a_node_named_agent(graph, table, text):
    async for message, about in tokens(graph, table, text):
        if about["langgraph_node"] == "agent":
            yield {"event": "token", "text": message.text}


@right("17.2")
async def wraps_twice(graph, table, text):
    stream = in_a_task(words(graph, table, text))
    async for event in with_an_end(stream):
        yield event


# --- 17.3


@right("17.3")
async def batches_it(graph, orders):
    configs = [thread(str(uuid4())) | {"max_concurrency": 5} for _ in orders]
    states = await graph.abatch([ask(order) for order in orders], configs)
    return [state["messages"][-1].text for state in states]
