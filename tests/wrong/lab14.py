"""Wrong answers to the check of lesson 14 and to lab 14."""

import asyncio
from contextlib import AsyncExitStack

import aiosqlite
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tests.wrong import right, wrong


def ask(text):
    return {"messages": [("user", text)]}


def on(thread):
    return {"configurable": {"thread_id": thread}}


def tokens(graph, text, config):
    return graph.astream(ask(text), config, stream_mode="messages")


IN_ONE_PIECE = (
    "no word came while the model still wrote: yield each token as it comes"
)
SYNC = (
    "it called a sync method, and the saver belongs to this event loop: "
    "await the one with an `a`"
)


# --- 14.0


@wrong("14.0", SYNC)
def reads_the_state_in_sync(graph, thread):
    return graph.get_state(on(thread)).next


@wrong(
    "14.0",
    "it raised AttributeError: 'coroutine' object has no attribute 'next', "
    "at `return graph.aget_state(on(thread)).next`",
)
async def forgets_to_await(graph, thread):
    return graph.aget_state(on(thread)).next


@wrong(
    "14.0",
    "it returned ('fish',) for a thread where ('fish', 'cake') is next",
)
async def names_only_the_first(graph, thread):
    state = await graph.aget_state(on(thread))
    return state.next[:1]


@wrong("14.0", "it returned a str, not a tuple of names")
async def returns_one_name(graph, thread):
    state = await graph.aget_state(on(thread))
    return state.next[0]


@wrong("14.0", "it returned the whole state, not its `next`")
async def returns_the_state(graph, thread):
    return await graph.aget_state(on(thread))


@wrong(
    "14.0", "it returned None, not a tuple of names: is a `return` missing?"
)
async def prints_it(graph, thread):
    print((await graph.aget_state(on(thread))).next)


@right("14.0")
async def asks_the_tasks(graph, thread):
    state = await graph.aget_state(on(thread))
    return tuple(task.name for task in state.tasks)


# --- 14.1


FORGOT = (
    "after the first restart it answered 'You have not told me your name "
    "yet.': the file has nothing of the turns before"
)
CLOSED = (
    "the file was closed before the stream had ended: keep it open around "
    "the whole stream"
)


@wrong(
    "14.1",
    "after the first restart the model got only ['Question after the "
    "first']: the file has nothing of the turns before",
)
async def forgets_with_each_request(llm, path, thread, text):
    chat = create_agent(llm, [], checkpointer=InMemorySaver())
    async for message, _ in tokens(chat, text, on(thread)):
        yield message.text


@wrong(
    "14.1",
    "it takes `SqliteSaver`, whose async methods only raise: the one "
    "for async code is `AsyncSqliteSaver`",
)
async def takes_the_sync_saver(llm, path, thread, text):
    with SqliteSaver.from_conn_string(path) as saver:
        chat = create_agent(llm, [], checkpointer=saver)
        async for message, _ in tokens(chat, text, on(thread)):
            yield message.text


@wrong(
    "14.1",
    "it raised TypeError: Invalid checkpointer provided. Expected an "
    "instance of `BaseCheckpointSaver`, `True`, `False`, or `None`. Received "
    "_AsyncGeneratorContextManager. Pass a proper saver (e.g., "
    "InMemorySaver, AsyncPostgresSaver)., at `chat = create_agent(llm, [], "
    "checkpointer=saver)`",
)
async def does_not_enter_it(llm, path, thread, text):
    saver = AsyncSqliteSaver.from_conn_string(path)
    chat = create_agent(llm, [], checkpointer=saver)
    async for message, _ in tokens(chat, text, on(thread)):
        yield message.text


@wrong("14.1", CLOSED)
async def streams_after_the_block(llm, path, thread, text):
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        chat = create_agent(llm, [], checkpointer=saver)
    async for message, _ in tokens(chat, text, on(thread)):
        yield message.text


@wrong(
    "14.1",
    "the file is still open after the turn: a script would never end",
)
async def never_closes(llm, path, thread, text):
    connection = aiosqlite.connect(path)
    connection._thread.daemon = True  # so that the tests end all the same
    OPEN.append(await connection)
    chat = create_agent(llm, [], checkpointer=AsyncSqliteSaver(connection))
    async for message, _ in tokens(chat, text, on(thread)):
        yield message.text


OPEN = []


@wrong("14.1", "Bob is told what Ada said: use the `thread`")
async def has_one_thread_for_all(llm, path, thread, text):
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        chat = create_agent(llm, [], checkpointer=saver)
        async for message, _ in tokens(chat, text, on("1")):
            yield message.text


@wrong("14.1", IN_ONE_PIECE)
async def waits_for_the_answer(llm, path, thread, text):
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        chat = create_agent(llm, [], checkpointer=saver)
        state = await chat.ainvoke(ask(text), on(thread))
        yield state["messages"][-1].text


@right("14.1")
async def opens_it_with_a_stack(llm, path, thread, text):
    async with AsyncExitStack() as stack:
        opening = AsyncSqliteSaver.from_conn_string(path)
        saver = await stack.enter_async_context(opening)
        chat = create_agent(llm, [], checkpointer=saver)
        async for message, _ in tokens(chat, text, on(thread)):
            if message.text:
                yield message.text


@right("14.1")
async def closes_it_by_hand(llm, path, thread, text):
    connection = await aiosqlite.connect(path)
    try:
        chat = create_agent(llm, [], checkpointer=AsyncSqliteSaver(connection))
        async for message, _ in tokens(chat, text, on(thread)):
            yield message.text
    finally:
        await connection.close()


# --- 14.2


@wrong("14.2", "the soup was done, and it was cooked and paid for again")
async def always_begins(graph, thread, text):
    async for update in graph.astream(ask(text), on(thread)):
        for node in update:
            yield node


@wrong("14.2", "a new thread has nothing to go on with: give it the text")
async def always_goes_on(graph, thread, text):
    async for update in graph.astream(None, on(thread)):
        for node in update:
            yield node


@wrong(
    "14.2",
    "the run was done, so the next one has three nodes, not []",
)
async def looks_at_the_values(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = None if state.values else ask(text)
    async for update in graph.astream(given, on(thread)):
        for node in update:
            yield node


@wrong("14.2", "it returned a dict, not the name of a node")
async def yields_the_updates(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = None if state.next else ask(text)
    async for update in graph.astream(given, on(thread)):
        yield update


@wrong("14.2", "the soup was done, and its name came only with the others")
async def collects_them_first(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = None if state.next else ask(text)
    stream = graph.astream(given, on(thread))
    for node in [node async for update in stream for node in update]:
        yield node


@wrong("14.2", "its first call did not run the graph on the thread")
async def has_a_thread_of_its_own(graph, thread, text):
    config = on(f"table {thread}")
    state = await graph.aget_state(config)
    given = None if state.next else ask(text)
    async for update in graph.astream(given, config):
        for node in update:
            yield node


@right("14.2")
async def asks_for_the_tasks(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = ask(text) if not state.tasks else None
    stream = graph.astream(given, on(thread), stream_mode="tasks")
    async for task in stream:
        if "result" in task:
            yield task["name"]


# --- 14.3


async def words(stream):
    async for message, _ in stream:
        yield message.text


def removals(messages, message_id):
    ids = [message.id for message in messages]
    gone = ids[ids.index(message_id) :]
    return [RemoveMessage(id=one) for one in gone]


@wrong(
    "14.3",
    "the message was added at the end: go back to before the old one",
)
async def just_asks_again(graph, thread, message_id, text):
    async for word in words(tokens(graph, text, on(thread))):
        yield word


@wrong("14.3", "what came after the old message is still there")
async def replaces_it_in_its_place(graph, thread, message_id, text):
    given = {"messages": [HumanMessage(text, id=message_id)]}
    stream = graph.astream(given, on(thread), stream_mode="messages")
    async for word in words(stream):
        yield word


@wrong(
    "14.3",
    "the old message is still there: go back to the state before it",
)
async def goes_back_to_it(graph, thread, message_id, text):
    states = [s async for s in graph.aget_state_history(on(thread))]
    for state in states:
        ids = [message.id for message in state.values["messages"]]
        if ids and ids[-1] == message_id:
            break
    async for word in words(tokens(graph, text, state.config)):
        yield word


@wrong("14.3", "what came before the old message is gone, or not as it was")
async def begins_the_thread_anew(graph, thread, message_id, text):
    await graph.checkpointer.adelete_thread(thread)
    async for word in words(tokens(graph, text, on(thread))):
        yield word


@wrong("14.3", "the old version is no longer in the history")
async def writes_the_thread_anew(graph, thread, message_id, text):
    state = await graph.aget_state(on(thread))
    messages = state.values["messages"]
    ids = [message.id for message in messages]
    before = messages[: ids.index(message_id)]
    await graph.checkpointer.adelete_thread(thread)
    given = {"messages": [*before, ("user", text)]}
    stream = graph.astream(given, on(thread), stream_mode="messages")
    async for word in words(stream):
        yield word


@wrong("14.3", "the thread ends as it did before the edit")
async def copies_to_another_thread(graph, thread, message_id, text):
    state = await graph.aget_state(on(thread))
    messages = state.values["messages"]
    ids = [message.id for message in messages]
    before = messages[: ids.index(message_id)]
    given = {"messages": [*before, ("user", text)]}
    config = on(f"{thread} 2")
    stream = graph.astream(given, config, stream_mode="messages")
    async for word in words(stream):
        yield word


@wrong("14.3", SYNC)
async def updates_in_sync(graph, thread, message_id, text):
    state = await graph.aget_state(on(thread))
    gone = removals(state.values["messages"], message_id)
    graph.update_state(on(thread), {"messages": gone})
    async for word in words(tokens(graph, text, on(thread))):
        yield word


@wrong("14.3", IN_ONE_PIECE)
async def waits_for_the_new_answer(graph, thread, message_id, text):
    async for state in graph.aget_state_history(on(thread)):
        ids = [message.id for message in state.values["messages"]]
        if message_id not in ids:
            break
    state = await graph.ainvoke(ask(text), state.config)
    yield state["messages"][-1].text


@right("14.3")
async def removes_what_followed(graph, thread, message_id, text):
    state = await graph.aget_state(on(thread))
    gone = removals(state.values["messages"], message_id)
    given = {"messages": [*gone, ("user", text)]}
    stream = graph.astream(given, on(thread), stream_mode="messages")
    async for word in words(stream):
        yield word


@right("14.3")
async def updates_then_asks(graph, thread, message_id, text):
    state = await graph.aget_state(on(thread))
    gone = removals(state.values["messages"], message_id)
    await graph.aupdate_state(on(thread), {"messages": gone})
    async for word in words(tokens(graph, text, on(thread))):
        yield word


# --- more that people write


def tokens_of(llm, saver, thread, text):
    chat = create_agent(llm, [], checkpointer=saver)
    return words(tokens(chat, text, on(thread)))


@wrong(
    "14.1",
    "the file is still open after a bug in a node: a script would never end",
)
async def closes_only_at_the_end(llm, path, thread, text):
    connection = aiosqlite.connect(path)
    connection._thread.daemon = True  # so that the tests end all the same
    saver = AsyncSqliteSaver(await connection)
    async for word in tokens_of(llm, saver, thread, text):
        yield word
    await connection.close()


@wrong("14.1", "a bug in a node was swallowed: let it out")
async def swallows_what_fails(llm, path, thread, text):
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        try:
            async for word in tokens_of(llm, saver, thread, text):
                yield word
        except Exception:
            yield "Sorry."


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


@wrong(
    "14.1",
    "the model wrote 'Soup\\n\\n0 nono{}\\n\\u2028é', it yielded "
    "'Soup0nono{}\\u2028é'",
)
async def drops_what_is_blank(llm, path, thread, text):
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        async for word in tokens_of(llm, saver, thread, text):
            if word.strip():
                yield word


@right("14.1")
async def streams_in_a_task(llm, path, thread, text):
    queue = asyncio.Queue()

    async def pump():
        try:
            async with AsyncSqliteSaver.from_conn_string(path) as saver:
                async for word in tokens_of(llm, saver, thread, text):
                    queue.put_nowait(word)
        finally:
            queue.put_nowait(None)

    task = asyncio.create_task(pump())
    try:
        while (word := await queue.get()) is not None:
            yield word
        await task
    finally:
        task.cancel()


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


@wrong(
    "14.2",
    "the thread has the orders ['A', 'B', 'C']: 'B' went on with 'A', "
    "so there are 'A' and 'C'",
)
async def adds_the_text_and_goes_on(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = ask(text)
    if state.next:
        await graph.aupdate_state(on(thread), ask(text))
        given = None
    async for update in graph.astream(given, on(thread)):
        for name in update:
            yield name


@wrong("14.2", "a bug in a node was swallowed: let it out")
async def swallows_an_error(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = None if state.next else ask(text)
    try:
        async for update in graph.astream(given, on(thread)):
            for name in update:
                yield name
    except Exception as error:
        print(error)


@wrong("14.3", "what came before the old message is gone, or not as it was")
async def compares_texts(graph, thread, message_id, text):
    now = await graph.aget_state(on(thread))
    (said,) = [m.text for m in now.values["messages"] if m.id == message_id]
    async for state in graph.aget_state_history(on(thread)):
        if said not in [m.text for m in state.values.get("messages", [])]:
            break
    async for word in words(tokens(graph, text, state.config)):
        yield word


@wrong("14.3", "what came after the old message is still there")
async def sorts_by_step(graph, thread, message_id, text):
    states = [s async for s in graph.aget_state_history(on(thread))]
    states.sort(key=lambda state: -state.metadata["step"])
    for state in states:
        messages = state.values.get("messages", [])
        ids = [message.id for message in messages]
        if message_id not in ids and len(messages) % 2 == 0:
            break
    async for word in words(tokens(graph, text, state.config)):
        yield word


@wrong(
    "14.3",
    "the model wrote 'First', and it yielded 'HelloFirst': only the "
    "tokens of the answer",
)
async def yields_the_guest_too(graph, thread, message_id, text):
    async for state in graph.aget_state_history(on(thread)):
        ids = [m.id for m in state.values.get("messages", [])]
        if message_id not in ids:
            break
    yield text
    async for word in words(tokens(graph, text, state.config)):
        yield word
