"""Answers to the check of lesson 13 and to lab 13."""

import asyncio
from contextlib import aclosing

from langgraph.types import Send

from tests.wrong import right, wrong


@wrong("13.0", "it returned a Send, not a list of `Send`")
def returns_the_first(work):
    for topic in work["topics"]:
        if topic not in work["notes"]:
            return Send("look_up", {"topic": topic})


@right("13.0")
def loops(work):
    sends = []
    for topic in work["topics"]:
        if topic not in work["notes"]:
            sends.append(Send("look_up", {"topic": topic}))
    return sends


@wrong("13.1", "a stream that is silent holds up the other")
async def reads_one_after_another(streams, size):
    for label, stream in streams.items():
        async for piece in stream:
            yield label, piece


@right("13.1")
async def uses_a_task_group(streams, size):
    queue = asyncio.Queue(size)

    async def all_of_them():
        try:
            async with asyncio.TaskGroup() as group:
                for item in streams.items():
                    group.create_task(pump(*item))
        except* Exception as failed:
            await queue.put(failed)
        await queue.put(None)

    async def pump(label, stream):
        async with aclosing(stream):
            async for piece in stream:
                await queue.put((label, piece))

    task = asyncio.create_task(all_of_them())
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, ExceptionGroup):
                raise item
            yield item
    finally:
        task.cancel()
        await asyncio.wait([task])


@wrong(
    "13.2",
    "one topic was looked up, and its note did not come: it waits for the "
    "others",
)
async def waits_for_the_end(graph, topics, limit):
    config = {"max_concurrency": limit}
    state = await graph.ainvoke({"topics": topics}, config)
    for pair in state["notes"].items():
        yield pair


@right("13.2")
async def closes_its_stream(graph, topics, limit):
    work, config = {"topics": topics}, {"max_concurrency": limit}
    stream = graph.astream(work, config, stream_mode="updates", version="v2")
    async with aclosing(stream):
        async for part in stream:
            for node, update in part["data"].items():
                if node == "look_up":
                    for pair in update["notes"].items():
                        yield pair
