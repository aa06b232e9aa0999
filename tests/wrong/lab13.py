"""Answers to the check of lesson 13 and to lab 13."""

import asyncio
from contextlib import aclosing

from langgraph.types import Send

from tests.wrong import changed, right, wrong


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


changed(
    "13.0",
    """
    of 4 topics 1 had a note, and it sent 4 jobs: one for each topic without a
    note
    - todo = [topic for topic in work["topics"] if topic not in work["notes"]]
    + todo = [topic for topic in work["topics"]]

    of 4 topics 0 had a note, and it sent 0 jobs: one for each topic without a
    note
    - todo = [topic for topic in work["topics"] if topic not in work["notes"]]
    + todo = [topic for topic in work["topics"] if topic in work["notes"]]

    a job holds one topic, a text
    - return [Send("look_up", {"topic": topic}) for topic in todo]
    + return [Send("look_up", {"topic": todo}) for topic in todo]

    the node gets no job: its input is {'topic': ...}, with one topic
    - return [Send("look_up", {"topic": topic}) for topic in todo]
    + return [Send("look_up", topic) for topic in todo]

    the list holds str, not `Send`
    - return [Send("look_up", {"topic": topic}) for topic in todo]
    + return ["look_up" for topic in todo]

    it returned a generator, not a list of `Send`
    - return [Send("look_up", {"topic": topic}) for topic in todo]
    + yield [Send("look_up", {"topic": topic}) for topic in todo]
    """,
)


changed(
    "13.1",
    """
    while the reader paused, 299 pieces were taken from 3 streams: with a size
    of 1 at most 4 may wait
    - queue = asyncio.Queue(size)
    + queue = asyncio.Queue()

    while the reader paused, 5 pieces were taken from 3 streams: with a size of
    1 at most 4 may wait
    - queue = asyncio.Queue(size)
    + queue = asyncio.Queue(2)

    a stream broke (a bug in a node), and the reader still waits
    - except Exception as error:
    -     await queue.put((label, end, error))
    + finally:
    +     pass

    a stream broke (a bug in a node), and the reader was not told
    - raise error
    + break

    the reader left, and 0 of 3 streams had ended: cancel the tasks, wait for
    them, and close the streams
    - async with aclosing(stream):
    -     async for piece in stream:
    -         await queue.put((label, piece, None))
    + async for piece in stream:
    +     await queue.put((label, piece, None))

    the reader left, and 0 of 3 streams had ended: cancel the tasks, wait for
    them, and close the streams
    - await asyncio.gather(*pumps, return_exceptions=True)

    it yielded int, not (label, piece)
    - yield label, piece
    + yield piece

    all streams have ended, and the reader still waits
    - await queue.put((label, end, None))

    it returned a coroutine, not an async generator: `yield` each piece
    - yield label, piece
    + print(label, piece)
    """,
)


changed(
    "13.2",
    """
    with a limit of 2, 6 topics were looked up at once
    - config = {"max_concurrency": limit}
    + config = {"configurable": {"max_concurrency": limit}}

    with a limit of 3, only 2 topics of 4 was looked up at once
    - config = {"max_concurrency": limit}
    + config = {"max_concurrency": 2}

    it yielded dict, not (topic, note)
    - yield topic, note
    + yield update

    6 topics were looked up, and it yielded 7 pairs, or not (topic, note) in
    the order in which they came
    - update = part["data"].get("look_up", {})
    - for topic, note in update.get("notes", {}).items():
    -     yield topic, note
    + for update in part["data"].values():
    +     for topic, note in update.get("notes", update).items():
    +         yield topic, note

    a bug in a node was swallowed: let it out
    - async for part in stream:
    -     update = part["data"].get("look_up", {})
    -     for topic, note in update.get("notes", {}).items():
    -         yield topic, note
    + try:
    +     async for part in stream:
    +         update = part["data"].get("look_up", {})
    +         for topic, note in update.get("notes", {}).items():
    +             yield topic, note
    + except Exception:
    +     return

    a note was empty, and it yielded []: it is a note
    - yield topic, note
    + if note:
    +     yield topic, note
    """,
)
