"""Wrong answers to the check of lesson 05 and to lab 05."""

import asyncio
import json
import threading
import time

from langchain_core.messages import AIMessageChunk

from tests.wrong import wrong


def ask(question):
    return {"messages": [("user", question)]}


def tokens(graph, question, **more):
    return graph.astream(ask(question), stream_mode="messages", **more)


# --- 05.0


@wrong(
    "05.0",
    "users of create_agent see nothing: its model runs in the node `model`",
)
def filters_by_the_old_node(message, about):
    return message.text and about["langgraph_node"] == "agent"


@wrong(
    "05.0",
    "users of create_react_agent see nothing: its model runs in the node "
    "`agent`",
)
def filters_by_the_new_node(message, about):
    return message.text and about["langgraph_node"] == "model"


@wrong("05.0", "users of create_agent see what the tool returned")
def takes_all_content(message, about):
    return bool(message.content)


@wrong("05.0", "16 chunks without text pass")
def takes_empty_chunks(message, about):
    return isinstance(message, AIMessageChunk)


@wrong("05.0", "users of create_agent see 1 of 12 tokens")
def takes_only_the_first_word(message, about):
    return message.text == "The"


@wrong("05.0", "it returned None, not True or False: is a `return` missing?")
def prints_it(message, about):
    if message.type == "AIMessageChunk":
        print(message.text, end="")


# --- 05.1


NO_TEXT = (
    "it yielded no text: agents in a graph stream only with "
    "`subgraphs=True`, and their nodes are called `model`"
)


@wrong("05.1", NO_TEXT)
async def forgets_subgraphs(graph, question):
    async for message, about in tokens(graph, question):
        if about.get("lc_agent_name") == "waiter" and message.text:
            yield message.text


@wrong("05.1", NO_TEXT)
async def waits_for_a_node_named_agent(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        if about["langgraph_node"] == "agent" and message.text:
            yield message.text


@wrong("05.1", "guests read what a tool returned")
async def forgets_the_type(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        if about.get("lc_agent_name") == "waiter" and message.text:
            yield message.text


@wrong("05.1", "guests read the words of the cook")
async def takes_every_model(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        if about["langgraph_node"] == "model" and message.text:
            yield message.text


@wrong("05.1", "16 pieces have no text")
async def keeps_empty_pieces(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        waiter = about.get("lc_agent_name") == "waiter"
        if waiter and message.type == "AIMessageChunk":
            yield message.text


@wrong(
    "05.1",
    "the answer came in 1 piece: agents in a graph stream only with "
    "`subgraphs=True`",
)
async def yields_the_last_message(graph, question):
    state = await graph.ainvoke(ask(question))
    yield state["messages"][-1].text


@wrong(
    "05.1",
    "nothing was streamed: the model had finished before the first piece came",
)
async def collects_first(graph, question):
    pieces = []
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        waiter = about.get("lc_agent_name") == "waiter"
        if waiter and message.type == "AIMessageChunk" and message.text:
            pieces.append(message.text)
    for piece in pieces:
        yield piece


@wrong("05.1", "it yielded AIMessageChunk, not a text")
async def yields_the_chunks(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        waiter = about.get("lc_agent_name") == "waiter"
        if waiter and message.type == "AIMessageChunk" and message.text:
            yield message


@wrong(
    "05.1",
    "it returned a coroutine, not an async generator: yield each token",
)
async def prints_the_tokens(graph, question):
    async for message, _ in tokens(graph, question):
        print(message.text, end="")


# --- 05.2


LOST = (
    "the TimeoutError came out, and the text was lost: catch it around the "
    "`async with`"
)


@wrong("05.2", LOST)
async def does_not_catch(graph, question, seconds):
    text = ""
    async with asyncio.timeout(seconds):
        async for message, _ in tokens(graph, question):
            text += message.text
    return text


@wrong("05.2", LOST)
async def catches_inside(graph, question, seconds):
    text = ""
    async with asyncio.timeout(seconds):
        try:
            async for message, _ in tokens(graph, question):
                text += message.text
        except TimeoutError:
            pass
    return text


@wrong("05.2", "what had come within the limit was lost")
async def waits_for_a_whole_answer(graph, question, seconds):
    async def read():
        return "".join([m.text async for m, _ in tokens(graph, question)])

    try:
        return await asyncio.wait_for(read(), seconds)
    except TimeoutError:
        return ""


@wrong(
    "05.2",
    "the whole answer came: the limit is for all of it, not for each token",
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
    "05.2",
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
    "05.2",
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
    "05.2",
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


@wrong("05.2", "it returned a list, not the text")
async def returns_the_pieces(graph, question, seconds):
    return [message.text async for message, _ in tokens(graph, question)]


# --- 05.3


@wrong("05.3", "a call without a name: later pieces carry only an `index`")
async def reads_each_chunk(chunks):
    async for chunk in chunks:
        for call in chunk.tool_calls:
            yield call["name"], call["args"]


@wrong(
    "05.3",
    "a piece of arguments is no JSON yet: join the pieces first",
)
async def parses_each_piece(chunks):
    async for chunk in chunks:
        for piece in chunk.tool_call_chunks:
            yield piece["name"], json.loads(piece["args"])


@wrong(
    "05.3",
    "arguments of several calls were joined: keep them apart by `index`",
)
async def joins_all_arguments(chunks):
    name, args = None, ""
    async for chunk in chunks:
        for piece in chunk.tool_call_chunks:
            name = name or piece["name"]
            args += piece["args"]
    if name:
        yield name, json.loads(args)


@wrong(
    "05.3",
    "the first call was complete at chunk 10, but came after chunk 28 of 28",
)
async def waits_for_the_end(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    for call in whole.tool_calls:
        yield call["name"], call["args"]


@wrong(
    "05.3",
    "the last call never came: nothing begins after it, so it is complete "
    "at the end",
)
async def forgets_the_last(chunks):
    whole, done = None, 0
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        while len(whole.tool_calls) > done + 1:
            call = whole.tool_calls[done]
            yield call["name"], call["args"]
            done += 1


@wrong("05.3", "('price', {}) came, with arguments that are not complete")
async def takes_the_sum_each_time(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        for call in whole.tool_calls:
            yield call["name"], call["args"]


@wrong("05.3", "the arguments are a text: make a dict of the JSON")
async def leaves_the_json(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    for piece in whole.tool_call_chunks:
        yield piece["name"], piece["args"]


@wrong("05.3", "it yielded a dict, not (name, args)")
async def yields_the_calls(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    for call in whole.tool_calls:
        yield call


@wrong(
    "05.3",
    "it returned a coroutine, not an async generator: yield each call",
)
async def returns_them(chunks):
    return [chunk.tool_calls async for chunk in chunks]


# --- 05.4


STILL_RAN = (
    "`stop` returned while its task still ran: cancel it, then wait for its "
    "end"
)


async def read(graph, question, show):
    text = ""
    async for message, _ in tokens(graph, question):
        text += message.text
        show(text)


@wrong("05.4", STILL_RAN)
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
    "05.4",
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


@wrong("05.4", STILL_RAN)
def does_not_wait(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    async def stop():
        task.cancel()

    return stop


@wrong(
    "05.4",
    "`stop` raised CancelledError: `await task` raises what ended the task",
)
def awaits_the_task(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    async def stop():
        task.cancel()
        await task

    return stop


@wrong(
    "05.4",
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


@wrong("05.4", "`show` got the piece ' soup', not all the text so far")
def shows_pieces(graph, question, show):
    async def run():
        async for message, _ in tokens(graph, question):
            show(message.text)

    async def stop():
        task.cancel()
        await asyncio.wait([task])

    task = asyncio.create_task(run())
    return stop


@wrong("05.4", "`await stop()` fails: write `async def stop()`")
def writes_a_plain_stop(graph, question, show):
    task = asyncio.create_task(read(graph, question, show))

    def stop():
        task.cancel()

    return stop


@wrong(
    "05.4", "it returned a coroutine, not a function: `start` is a plain `def`"
)
async def streams_before_it_returns(graph, question, show):
    await read(graph, question, show)


@wrong("05.4", "the stop did not cut off the call of the model")
def reads_in_a_thread(graph, question, show):
    thread = threading.Thread(
        target=asyncio.run, args=[read(graph, question, show)], daemon=True
    )
    thread.start()

    async def stop():
        await asyncio.to_thread(thread.join, 0.1)

    return stop


@wrong("05.4", "it returned a Task, not a function: `start` is a plain `def`")
def returns_the_task(graph, question, show):
    return asyncio.create_task(read(graph, question, show))
