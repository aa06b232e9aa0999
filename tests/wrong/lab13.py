"""Wrong answers to the check of lesson 13 and to lab 13."""

import asyncio
from contextlib import aclosing

from langgraph.types import Send

from tests.wrong import right, wrong

# --- 13.0


def missing(work):
    return [t for t in work["topics"] if t not in work["notes"]]


ONE_FOR_EACH = "one for each topic without a note"


@wrong("13.0", f"of 4 topics 1 had a note, and it sent 4 jobs: {ONE_FOR_EACH}")
def ignores_the_notes(work):
    return [Send("look_up", {"topic": topic}) for topic in work["topics"]]


@wrong("13.0", f"of 4 topics 0 had a note, and it sent 0 jobs: {ONE_FOR_EACH}")
def takes_the_others(work):
    known = [topic for topic in work["topics"] if topic in work["notes"]]
    return [Send("look_up", {"topic": topic}) for topic in known]


@wrong("13.0", "a job holds one topic, a text")
def sends_all_in_one(work):
    return [Send("look_up", {"topic": missing(work)})]


NO_JOB = "the node gets no job: its input is {'topic': ...}, with one topic"


@wrong("13.0", NO_JOB)
def sends_the_text(work):
    return [Send("look_up", topic) for topic in missing(work)]


@wrong("13.0", "the list holds str, not `Send`")
def names_the_node(work):
    return ["look_up" for _ in missing(work)]


@wrong("13.0", "it returned a Send, not a list of `Send`")
def returns_the_first(work):
    for topic in missing(work):
        return Send("look_up", {"topic": topic})


@wrong("13.0", "it returned a generator, not a list of `Send`")
def yields_them(work):
    for topic in missing(work):
        yield Send("look_up", {"topic": topic})


@right("13.0")
def loops(work):
    sends = []
    for topic in work["topics"]:
        if topic not in work["notes"]:
            sends.append(Send("look_up", {"topic": topic}))
    return sends


# --- 13.1


NO_BOUND = (
    "while the reader paused, 299 pieces were taken from 3 streams: with a "
    "size of 1 at most 4 may wait"
)
NOT_CLOSED = (
    "the reader left, and 0 of 3 streams had ended: cancel the tasks, wait "
    "for them, and close the streams"
)


async def fill(queue, label, stream):
    async for piece in stream:
        await queue.put((label, piece))
    await queue.put(None)


async def fill_and_close(queue, label, stream):
    error = None
    async with aclosing(stream):
        try:
            async for piece in stream:
                await queue.put((label, piece))
        except Exception as caught:
            error = caught
    await queue.put(error)


@wrong("13.1", "a stream that is silent holds up the other")
async def reads_one_after_another(streams, size):
    for label, stream in streams.items():
        async for piece in stream:
            yield label, piece


@wrong("13.1", NO_BOUND)
async def has_no_bound(streams, size):
    queue = asyncio.Queue()
    tasks = [
        asyncio.create_task(fill_and_close(queue, *item))
        for item in streams.items()
    ]
    try:
        for _ in tasks:
            while isinstance(item := await queue.get(), tuple):
                yield item
            if item is not None:
                raise item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@wrong("13.1", "a stream broke (a bug in a node), and the reader still waits")
async def forgets_that_streams_break(streams, size):
    queue = asyncio.Queue(size)

    async def pump(label, stream):
        async with aclosing(stream):
            async for piece in stream:
                await queue.put((label, piece))
        await queue.put(None)

    tasks = [asyncio.create_task(pump(*item)) for item in streams.items()]
    try:
        for _ in tasks:
            while (item := await queue.get()) is not None:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@wrong("13.1", "a stream broke (a bug in a node), and the reader was not told")
async def swallows_the_break(streams, size):
    queue = asyncio.Queue(size)
    tasks = [
        asyncio.create_task(fill_and_close(queue, *item))
        for item in streams.items()
    ]
    try:
        while isinstance(item := await queue.get(), tuple) or item is None:
            if item:
                yield item
            elif all(task.done() for task in tasks) and queue.empty():
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@wrong("13.1", NOT_CLOSED)
async def leaves_the_streams_open(streams, size):
    queue = asyncio.Queue(size)

    async def pump(label, stream):
        error = None
        try:
            async for piece in stream:
                await queue.put((label, piece))
        except Exception as caught:
            error = caught
        await queue.put(error)

    tasks = [asyncio.create_task(pump(*item)) for item in streams.items()]
    try:
        for _ in tasks:
            while isinstance(item := await queue.get(), tuple):
                yield item
            if item is not None:
                raise item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


kept = []


@wrong("13.1", "it yielded int, not (label, piece)")
async def forgets_the_label(streams, size):
    queue = asyncio.Queue(size)
    tasks = [
        asyncio.create_task(fill(queue, *item)) for item in streams.items()
    ]
    for _ in tasks:
        while (item := await queue.get()) is not None:
            yield item[1]


@wrong("13.1", "all streams have ended, and the reader still waits")
async def has_no_end_mark(streams, size):
    queue = asyncio.Queue(size)

    async def pump(label, stream):
        async for piece in stream:
            await queue.put((label, piece))

    tasks = [asyncio.create_task(pump(*item)) for item in streams.items()]
    while not all(task.done() for task in tasks) or tasks:
        yield await queue.get()


@wrong(
    "13.1",
    "it returned a coroutine, not an async generator: `yield` each piece",
)
async def returns_a_list(streams, size):
    return [
        (label, piece)
        for label, stream in streams.items()
        async for piece in stream
    ]


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


@wrong("13.1", NOT_CLOSED)
async def cancels_without_waiting(streams, size):
    queue = asyncio.Queue(size)
    tasks = [
        asyncio.create_task(fill_and_close(queue, *item))
        for item in streams.items()
    ]
    try:
        for _ in tasks:
            while isinstance(item := await queue.get(), tuple):
                yield item
            if item is not None:
                raise item
    finally:
        for task in tasks:
            task.cancel()


@wrong(
    "13.1",
    "while the reader paused, 5 pieces were taken from 3 streams: with a "
    "size of 1 at most 4 may wait",
)
async def has_a_size_of_its_own(streams, size):
    queue = asyncio.Queue(2)
    tasks = [
        asyncio.create_task(fill_and_close(queue, *item))
        for item in streams.items()
    ]
    try:
        for _ in tasks:
            while isinstance(item := await queue.get(), tuple):
                yield item
            if item is not None:
                raise item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


# --- 13.2


def run_of(graph, topics, limit, mode="updates"):
    config = {"max_concurrency": limit}
    work = {"topics": topics}
    return graph.astream(work, config, stream_mode=mode, version="v2")


WAITS = (
    "one topic was looked up, and its note did not come: it waits for the "
    "others"
)
PAIRS = (
    "6 topics were looked up, and it yielded {} pairs, or not (topic, note) "
    "in the order in which they came"
)


@wrong("13.2", WAITS)
async def waits_for_the_end(graph, topics, limit):
    config = {"max_concurrency": limit}
    state = await graph.ainvoke({"topics": topics}, config)
    for pair in state["notes"].items():
        yield pair


@wrong("13.2", WAITS)
async def reads_the_values(graph, topics, limit):
    seen = set()
    async for part in run_of(graph, topics, limit, "values"):
        for topic, note in part["data"].get("notes", {}).items():
            if topic not in seen:
                seen.add(topic)
                yield topic, note


@wrong("13.2", "with a limit of 2, 6 topics were looked up at once")
async def puts_the_limit_elsewhere(graph, topics, limit):
    config = {"configurable": {"max_concurrency": limit}}
    stream = graph.astream(
        {"topics": topics}, config, stream_mode="updates", version="v2"
    )
    async for part in stream:
        for pair in part["data"].get("look_up", {}).get("notes", {}).items():
            yield pair


@wrong("13.2", "with a limit of 3, only 2 topics of 4 was looked up at once")
async def has_a_limit_of_two(graph, topics, limit):
    async for part in run_of(graph, topics, 2):
        for pair in part["data"].get("look_up", {}).get("notes", {}).items():
            yield pair


@wrong("13.2", "it yielded dict, not (topic, note)")
async def yields_the_updates(graph, topics, limit):
    async for part in run_of(graph, topics, limit):
        for update in part["data"].values():
            yield update


@wrong("13.2", PAIRS.format(7))
async def yields_the_report_too(graph, topics, limit):
    async for part in run_of(graph, topics, limit):
        for update in part["data"].values():
            for pair in update.get("notes", update).items():
                yield pair


@wrong("13.2", "a bug in a node was swallowed: let it out")
async def swallows_the_error(graph, topics, limit):
    try:
        async for part in run_of(graph, topics, limit):
            update = part["data"].get("look_up", {})
            for pair in update.get("notes", {}).items():
                yield pair
    except Exception:
        return


@right("13.2")
async def closes_its_stream(graph, topics, limit):
    async with aclosing(run_of(graph, topics, limit)) as stream:
        async for part in stream:
            for node, update in part["data"].items():
                if node == "look_up":
                    for topic, note in update["notes"].items():
                        yield topic, note


# --- what the first judges did not see


@wrong("13.2", "a note was empty, and it yielded []: it is a note")
async def drops_an_empty_note(graph, topics, limit):
    async for part in run_of(graph, topics, limit):
        update = part["data"].get("look_up", {})
        for topic, note in update.get("notes", {}).items():
            if note:
                yield topic, note
