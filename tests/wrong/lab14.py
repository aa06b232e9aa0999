"""Answers to the check of lesson 14 and to lab 14."""

import asyncio

import aiosqlite
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, RemoveMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tests.wrong import changed, right, wrong


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


changed(
    "14.0",
    """
    it called a sync method, and the saver belongs to this event loop: await
    the one with an `a`
    - state = await graph.aget_state({"configurable": {"thread_id": thread}})
    + state = graph.get_state({"configurable": {"thread_id": thread}})

    it raised AttributeError: 'coroutine' object has no attribute 'next', at
    `return state.next`
    - state = await graph.aget_state({"configurable": {"thread_id": thread}})
    + state = graph.aget_state({"configurable": {"thread_id": thread}})

    it returned ('fish',) for a thread where ('fish', 'cake') is next
    - return state.next
    + return state.next[:1]

    it returned a str, not a tuple of names
    - return state.next
    + return state.next[0]

    it returned the whole state, not its `next`
    - return state.next
    + return state

    it returned None, not a tuple of names: is a `return` missing?
    - return state.next
    + print(state.next)

    ✅
    - return state.next
    + return tuple(task.name for task in state.tasks)
    """,
)


changed(
    "14.1",
    r"""
    after the first restart the model got only ['Question after the first']:
    the file has nothing of the turns before
    - chat = create_agent(llm, [], checkpointer=saver)
    + chat = create_agent(llm, [], checkpointer=InMemorySaver())

    it takes `SqliteSaver`, whose async methods only raise: the one for async
    code is `AsyncSqliteSaver`
    - async with AsyncSqliteSaver.from_conn_string(path) as saver:
    + from langgraph.checkpoint.sqlite import SqliteSaver
    +
    + with SqliteSaver.from_conn_string(path) as saver:

    the file was closed before the stream had ended: keep it open around the
    whole stream
    -     async for token in tokens(chat, on(thread), text):
    -         yield token
    + async for token in tokens(chat, on(thread), text):
    +     yield token

    Bob is told what Ada said: use the `thread`
    - async for token in tokens(chat, on(thread), text):
    + async for token in tokens(chat, on("1"), text):

    no word came while the model still wrote: yield each token as it comes
    - async for token in tokens(chat, on(thread), text):
    + for token in [t async for t in tokens(chat, on(thread), text)]:

    a bug in a node was swallowed: let it out
    - async for token in tokens(chat, on(thread), text):
    -     yield token
    + try:
    +     async for token in tokens(chat, on(thread), text):
    +         yield token
    + except Exception:
    +     yield "Sorry."

    the model wrote 'Soup\n\n0 nono{}\n\u2028é', it yielded
    'Soup0nono{}\u2028é'
    - yield token
    + if token.strip():
    +     yield token

    the conversation is not in the file: use `path`
    - async with AsyncSqliteSaver.from_conn_string(path) as saver:
    + async with AsyncSqliteSaver.from_conn_string("") as saver:
    """,
)


changed(
    "14.2",
    """
    the soup was done, and it was cooked and paid for again
    - if state.next:
    -     given = None

    a new thread has nothing to go on with: give it the text
    - given = {"messages": [("user", text)]}
    - if state.next:
    -     given = None
    + given = None

    the run was done, so the next one has three nodes, not []
    - if state.next:
    + if state.values:

    it returned a dict, not the name of a node
    - yield node
    + yield {node: {}}

    the soup was done, and its name came only with the others
    - async for node in nodes(graph, on(thread), given):
    + for node in [n async for n in nodes(graph, on(thread), given)]:

    its first call did not run the graph on the thread
      async def serve(graph, thread, text):
    +     thread = f"table {thread}"

    the thread has the orders ['A', 'B', 'C']: 'B' went on with 'A', so there
    are 'A' and 'C'
      if state.next:
    +     await graph.aupdate_state(on(thread), given)

    a bug in a node was swallowed: let it out
    - async for node in nodes(graph, on(thread), given):
    -     yield node
    + try:
    +     async for node in nodes(graph, on(thread), given):
    +         yield node
    + except Exception as error:
    +     print(error)

    ✅
    - if state.next:
    + if state.tasks:
    """,
)


changed(
    "14.3",
    """
    the message was added at the end: go back to before the old one
    - async for token in tokens(graph, state.config, text):
    + async for token in tokens(graph, on(thread), text):

    the old message is still there: go back to the state before it
    - if message_id not in [message.id for message in messages]:
    + if [message_id] == [message.id for message in messages[-1:]]:

    what came after the old message is still there
    - async for state in graph.aget_state_history(on(thread)):
    + states = [s async for s in graph.aget_state_history(on(thread))]
    + states.sort(key=lambda state: -state.metadata["step"])
    + for state in states:

    what came before the old message is gone, or not as it was
    + now = await graph.aget_state(on(thread))
    + [said] = [m.text for m in now.values["messages"] if m.id == message_id]
      async for state in graph.aget_state_history(on(thread)):
          messages = state.values.get("messages", [])
    -     if message_id not in [message.id for message in messages]:
    +     if said not in [message.text for message in messages]:

    the thread ends as it did before the edit
    - async for token in tokens(graph, state.config, text):
    + async for token in tokens(graph, on(f"{thread} 2"), text):

    it called a sync method, and the saver belongs to this event loop: await
    the one with an `a`
    - async for state in graph.aget_state_history(on(thread)):
    + for state in graph.get_state_history(on(thread)):

    no word came while the model still wrote: yield each token as it comes
    - async for token in tokens(graph, state.config, text):
    + for token in [t async for t in tokens(graph, state.config, text)]:

    the model wrote 'First', and it yielded 'HelloFirst': only the tokens of
    the answer
              break
    + yield text
    """,
)
