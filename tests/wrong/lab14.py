"""Answers to the check of lesson 14 and to lab 14."""

import asyncio

import aiosqlite
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, RemoveMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tests.wrong import right, wrong


def ask(text):
    return {"messages": [("user", text)]}


def on(thread):
    return {"configurable": {"thread_id": thread}}


async def tokens(graph, given, config):
    stream = graph.astream(given, config, stream_mode="messages")
    async for message, _ in stream:
        yield message.text


def tokens_of(llm, saver, thread, text):
    chat = create_agent(llm, [], checkpointer=saver)
    return tokens(chat, ask(text), on(thread))


# --- 14.1


async def opened(path):
    connection = aiosqlite.connect(path)
    connection._thread.daemon = True  # so that the tests end all the same
    return AsyncSqliteSaver(await connection)


OPEN = []


@wrong(
    "14.1",
    "the file is still open after the turn: a script would never end",
)
async def never_closes(llm, path, thread, text):
    OPEN.append(await opened(path))
    async for token in tokens_of(llm, OPEN[-1], thread, text):
        yield token


@wrong(
    "14.1",
    "the file is still open after a bug in a node: a script would never end",
)
async def closes_only_at_the_end(llm, path, thread, text):
    saver = await opened(path)
    async for token in tokens_of(llm, saver, thread, text):
        yield token
    await saver.conn.close()


@wrong(
    "14.1",
    "`for message, _ in stream:` blocks the event loop: nothing else "
    "runs meanwhile",
)
async def streams_in_sync(llm, path, thread, text):
    with SqliteSaver.from_conn_string(path) as saver:
        chat = create_agent(llm, [], checkpointer=saver)
        stream = chat.stream(ask(text), on(thread), stream_mode="messages")
        for message, _ in stream:
            yield message.text


@right("14.1")
async def closes_it_by_hand(llm, path, thread, text):
    connection = await aiosqlite.connect(path)
    try:
        saver = AsyncSqliteSaver(connection)
        async for token in tokens_of(llm, saver, thread, text):
            yield token
    finally:
        await connection.close()


@right("14.1")
async def streams_in_a_task(llm, path, thread, text):
    queue = asyncio.Queue()

    async def pump():
        try:
            async with AsyncSqliteSaver.from_conn_string(path) as saver:
                async for token in tokens_of(llm, saver, thread, text):
                    queue.put_nowait(token)
        finally:
            queue.put_nowait(None)

    task = asyncio.create_task(pump())
    try:
        while (token := await queue.get()) is not None:
            yield token
        await task
    finally:
        task.cancel()


# --- 14.2


DONE = {}


@wrong(
    "14.2",
    "after a restart it did not go on with the run: only the thread "
    "knows that it was cut off",
)
async def remembers_in_a_dict(graph, thread, text):
    given = None if DONE.get(thread) is False else ask(text)
    DONE[thread] = False
    async for update in graph.astream(given, on(thread)):
        for name in update:
            yield name
    DONE[thread] = True


@wrong("14.2", "it yielded 'soup' before that was done")
async def names_what_is_next(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = None if state.next else ask(text)
    stream = graph.astream(given, on(thread), stream_mode="checkpoints")
    async for checkpoint in stream:
        for name in checkpoint["next"]:
            if name != "__start__":
                yield name


# --- 14.3


@wrong("14.3", "what came after the old message is still there")
async def replaces_it_in_its_place(graph, thread, message_id, text):
    given = {"messages": [HumanMessage(text, id=message_id)]}
    async for token in tokens(graph, given, on(thread)):
        yield token


@wrong("14.3", "what came before the old message is gone, or not as it was")
async def begins_the_thread_anew(graph, thread, message_id, text):
    await graph.checkpointer.adelete_thread(thread)
    async for token in tokens(graph, ask(text), on(thread)):
        yield token


async def before_and_after(graph, thread, message_id):
    state = await graph.aget_state(on(thread))
    messages = state.values["messages"]
    ids = [message.id for message in messages]
    return messages[: ids.index(message_id)], ids[ids.index(message_id) :]


@wrong("14.3", "the old version is no longer in the history")
async def writes_the_thread_anew(graph, thread, message_id, text):
    before, _ = await before_and_after(graph, thread, message_id)
    await graph.checkpointer.adelete_thread(thread)
    given = {"messages": [*before, ("user", text)]}
    async for token in tokens(graph, given, on(thread)):
        yield token


@right("14.3")
async def removes_what_followed(graph, thread, message_id, text):
    _, after = await before_and_after(graph, thread, message_id)
    gone = [RemoveMessage(id=one) for one in after]
    given = {"messages": [*gone, ("user", text)]}
    async for token in tokens(graph, given, on(thread)):
        yield token
