"""Wrong answers, and right ones, to lesson 06 and lab 06."""

import asyncio
import threading
import time
from contextlib import aclosing, suppress

import anyio

from tests.wrong import right, wrong


def ask(question):
    return {"messages": [("user", question)]}


def tokens(graph, question, **more):
    return graph.astream(ask(question), stream_mode="messages", **more)


# --- 06.1


LOST = (
    "the TimeoutError came out, and the text was lost: catch it around the "
    "`async with`"
)


@wrong("06.1", LOST)
async def does_not_catch(graph, question, seconds):
    text = ""
    async with asyncio.timeout(seconds):
        async for message, _ in tokens(graph, question):
            text += message.text
    return text


@wrong("06.1", LOST)
async def catches_inside(graph, question, seconds):
    text = ""
    async with asyncio.timeout(seconds):
        try:
            async for message, _ in tokens(graph, question):
                text += message.text
        except TimeoutError:
            pass
    return text


@wrong(
    "06.1",
    "of an answer that stalled after 3 tokens it kept ''",
)
async def waits_for_a_whole_answer(graph, question, seconds):
    async def read():
        return "".join([m.text async for m, _ in tokens(graph, question)])

    try:
        return await asyncio.wait_for(read(), seconds)
    except TimeoutError:
        return ""


@wrong(
    "06.1",
    "the whole answer came: the limit is for all of it, not for each "
    "token or node",
)
async def limits_each_token(graph, question, seconds):
    text, stream = "", tokens(graph, question)
    try:
        while True:
            async with asyncio.timeout(seconds):
                message, _ = await anext(stream)
            text += message.text
    except (TimeoutError, StopAsyncIteration):
        return text


@wrong(
    "06.1",
    "it waits as long as a stalled model does: the clock is read only when "
    "a token comes",
)
async def reads_the_clock(graph, question, seconds):
    text, end = "", time.monotonic() + seconds
    async for message, _ in tokens(graph, question):
        text += message.text
        if time.monotonic() > end:
            break
    return text


@wrong(
    "06.1",
    "it returned, but the model wrote on to the end: the stream was not "
    "cancelled",
)
async def leaves_the_task_alone(graph, question, seconds):
    pieces = []

    async def read():
        async for message, _ in tokens(graph, question):
            pieces.append(message.text)

    await asyncio.wait([asyncio.create_task(read())], timeout=seconds)
    return "".join(pieces)


@wrong(
    "06.1",
    "it swallowed the cancel of somebody else: catch `TimeoutError`, not "
    "`CancelledError`",
)
async def catches_every_cancel(graph, question, seconds):
    text = ""
    async with asyncio.timeout(seconds):
        try:
            async for message, _ in tokens(graph, question):
                text += message.text
        except asyncio.CancelledError:
            pass
    return text


@wrong("06.1", "it returned a list, not the text")
async def returns_the_pieces(graph, question, seconds):
    return [message.text async for message, _ in tokens(graph, question)]


# --- 06.2


STILL_RAN = (
    "`stop` returned while its task still ran: cancel it, then wait for its "
    "end"
)


async def read(graph, question, show):
    text = ""
    async for message, _ in tokens(graph, question):
        text += message.text
        show(text)


@wrong("06.2", STILL_RAN)
def sets_a_flag(graph, question, show):
    stopped = asyncio.Event()

    async def run():
        text = ""
        async for message, _ in tokens(graph, question):
            if stopped.is_set():
                break
            text += message.text
            show(text)

    async def stop():
        stopped.set()

    task = asyncio.create_task(run())
    stop.task = task
    return stop


@wrong(
    "06.2",
    "`stop` waits for the next token, and a stalled model sends none: cancel "
    "the task",
)
def waits_for_the_flag(graph, question, show):
    stopped = asyncio.Event()

    async def run():
        text = ""
        async for message, _ in tokens(graph, question):
            if stopped.is_set():
                break
            text += message.text
            show(text)

    async def stop():
        stopped.set()
        await task

    task = asyncio.create_task(run())
    return stop


@wrong("06.2", STILL_RAN)
def does_not_wait(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    async def stop():
        task.cancel()

    return stop


@wrong(
    "06.2",
    "`stop` raised CancelledError: `await task` raises what ended the task",
)
def awaits_the_task(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    async def stop():
        task.cancel()
        await task

    return stop


@wrong(
    "06.2",
    "`stop` raised RuntimeError: aclose(): asynchronous generator is already "
    "running",
)
def closes_the_stream(graph, question, show):
    stream = tokens(graph, question)

    async def run():
        text = ""
        async for message, _ in stream:
            text += message.text
            show(text)

    async def stop():
        await stream.aclose()

    stop.task = asyncio.create_task(run())
    return stop


@wrong("06.2", "`show` got the piece ' soup', not all the text so far")
def shows_pieces(graph, question, show):
    async def run():
        async for message, _ in tokens(graph, question):
            show(message.text)

    async def stop():
        task.cancel()
        await asyncio.wait([task])

    task = asyncio.create_task(run())
    return stop


@wrong("06.2", "`await stop()` fails: write `async def stop()`")
def writes_a_plain_stop(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    def stop():
        task.cancel()

    return stop


@wrong(
    "06.2", "it returned a coroutine, not a function: `start` is a plain `def`"
)
async def streams_before_it_returns(graph, question, show):
    await read(graph, question, show)


@wrong("06.2", "the stop did not cut off the call of the model")
def reads_in_a_thread(graph, question, show):
    thread = threading.Thread(
        target=asyncio.run, args=[read(graph, question, show)], daemon=True
    )
    thread.start()

    async def stop():
        await asyncio.to_thread(thread.join, 0.1)

    return stop


@wrong("06.2", "it returned a Task, not a function: `start` is a plain `def`")
def returns_the_task(graph, question, show):
    return asyncio.create_task(read(graph, question, show))


@wrong(
    "06.2",
    "`stop` waits for the next token, and a stalled model sends none: "
    "cancel the task",
)
def cancels_only_what_has_begun(graph, question, show):
    seen = []

    def note(text):
        seen.append(text)
        show(text)

    task = asyncio.create_task(read(graph, question, note))

    async def stop():
        if seen:
            task.cancel()
        await asyncio.wait([task])

    return stop


@wrong(
    "06.2",
    "`stop` returned while its task still ran: cancel it, then wait for "
    "its end",
)
def sleeps_a_little(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    async def stop():
        task.cancel()
        await asyncio.sleep(0.05)

    return stop


@wrong(
    "06.2",
    "the stop of one answer ended another one, too",
)
def has_one_task_for_all(graph, question, show):
    global the_task
    the_task = asyncio.create_task(read(graph, question, show))

    async def stop():
        the_task.cancel()
        await asyncio.wait([the_task])

    return stop


@wrong(
    "06.2",
    "`stop` raised CancelledError: `await task` raises what ended the task",
)
def swallows_the_cancel_in_the_task(graph, question, show):
    async def run():
        text = ""
        stream = tokens(graph, question)
        while True:
            try:
                message, _ = await anext(stream)
            except (asyncio.CancelledError, StopAsyncIteration):
                return
            text += message.text
            show(text)

    task = asyncio.create_task(run())

    async def stop():
        task.cancel()
        await task

    return stop


@right("06.2")
def waits_for_the_cancel(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    async def stop():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return stop


@right("06.2")
def gathers(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    async def stop():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return stop


@wrong(
    "06.1",
    "with a limit of 1.2 s it ended before: `seconds` is ignored",
)
async def ignores_the_limit(graph, question, seconds):
    text = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            async for message, _ in tokens(graph, question):
                text += message.text
    return text


@wrong(
    "06.1",
    "it returned, but the model wrote on: AnyIO's cancel does not stop a "
    "graph, `asyncio.timeout` does (lesson 06)",
)
async def uses_anyio(graph, question, seconds):
    text = ""
    with anyio.move_on_after(seconds):
        async with aclosing(tokens(graph, question)) as stream:
            async for message, _ in stream:
                text += message.text
    return text


@wrong(
    "06.1",
    "it set `step_timeout` of the graph, which serves others, too",
)
async def limits_each_step(graph, question, seconds):
    text = ""
    graph.step_timeout = seconds
    with suppress(TimeoutError):
        async for message, _ in tokens(graph, question):
            text += message.text
    return text


@right("06.1")
async def waits_for_a_task(graph, question, seconds):
    pieces = []

    async def run():
        async for message, _ in tokens(graph, question):
            pieces.append(message.text)

    task = asyncio.create_task(run())
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
        await asyncio.wait([task])
    return "".join(pieces)


@right("06.1")
async def reads_the_events(graph, question, seconds):
    text = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for event in graph.astream_events(
                ask(question), version="v2"
            ):
                if event["event"] == "on_chat_model_stream":
                    text += event["data"]["chunk"].text
    return text


# --- 06.0


@wrong(
    "06.0",
    "the screen says 'The soup isThe soup!': what was begun again stands "
    "twice",
)
def joins_everything(pieces):
    return "".join(text for _, text in pieces)


@wrong(
    "06.0",
    "only the last piece is on the screen",
)
def takes_the_last_piece(pieces):
    return pieces[-1][1]


@wrong(
    "06.0",
    "the screen says 'The soup is', the newest message is 'The soup!'",
)
def keeps_the_first(pieces):
    texts = {}
    for message_id, text in pieces:
        texts[message_id] = texts.get(message_id, "") + text
    return next(iter(texts.values()))


@wrong(
    "06.0",
    "the screen says 'The soup is', the newest message is 'The soup!'",
)
def keeps_the_longest(pieces):
    texts = {}
    for message_id, text in pieces:
        texts[message_id] = texts.get(message_id, "") + text
    return max(texts.values(), key=len)


@wrong(
    "06.0",
    "the screen says 'no0', not 'nono0\\n'",
)
def drops_equal_pieces(pieces):
    newest = pieces[-1][0]
    return "".join(dict.fromkeys(t for i, t in pieces if i == newest))


@wrong(
    "06.0",
    "it returned a dict, not a text",
)
def returns_the_texts(pieces):
    texts = {}
    for message_id, text in pieces:
        texts[message_id] = texts.get(message_id, "") + text
    return texts


@right("06.0")
def begins_again(pieces):
    newest, text = None, ""
    for message_id, piece in pieces:
        text = piece if message_id != newest else text + piece
        newest = message_id
    return text
