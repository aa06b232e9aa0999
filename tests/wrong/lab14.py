"""Wrong answers to the check of lesson 14 and to lab 14."""

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from weakref import WeakValueDictionary

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


@wrong("14.1", FORGOT)
async def forgets_with_each_request(llm, path, thread, text):
    chat = create_agent(llm, [], checkpointer=InMemorySaver())
    async for message, _ in tokens(chat, text, on(thread)):
        yield message.text


@wrong("14.1", FORGOT)
async def opens_a_memory_in_memory(llm, path, thread, text):
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        chat = create_agent(llm, [], checkpointer=saver)
        async for message, _ in tokens(chat, text, on(thread)):
            yield message.text


@wrong(
    "14.1",
    "it raised NotImplementedError: The SqliteSaver does not support async "
    "methods. Consider using AsyncSqliteSaver instead., at `async for "
    "message, _ in tokens(chat, text, on(thread)):`",
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


@wrong("14.1", CLOSED)
async def returns_the_stream_out_of_the_block(llm, path, thread, text):
    async def opened():
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            chat = create_agent(llm, [], checkpointer=saver)
            return tokens(chat, text, on(thread))

    async for message, _ in await opened():
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


@wrong("14.1", "it returned a coroutine, not an async generator: yield tokens")
async def returns_the_answer(llm, path, thread, text):
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        chat = create_agent(llm, [], checkpointer=saver)
        state = await chat.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text


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


@wrong("14.2", SYNC)
async def looks_in_sync(graph, thread, text):
    state = graph.get_state(on(thread))
    given = None if state.next else ask(text)
    async for update in graph.astream(given, on(thread)):
        for node in update:
            yield node


@wrong("14.2", "the soup was done, and it was cooked and paid for again")
async def clears_the_table_first(graph, thread, text):
    state = await graph.aget_state(on(thread))
    if state.next:
        await graph.checkpointer.adelete_thread(thread)
    async for update in graph.astream(ask(text), on(thread)):
        for node in update:
            yield node


@wrong("14.2", "it returned a dict, not the name of a node")
async def yields_the_updates(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = None if state.next else ask(text)
    async for update in graph.astream(given, on(thread)):
        yield update


@wrong(
    "14.2",
    "it returned a coroutine, not an async generator: yield each node's name",
)
async def returns_the_nodes(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = None if state.next else ask(text)
    return [*await graph.ainvoke(given, on(thread))]


@wrong("14.2", "it yielded its first node when all were done")
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


LOST = (
    "of 5 messages and 5 answers on one thread, 2 were kept: each run saved "
    "what it knew when it began"
)


@wrong("14.3", LOST)
def does_not_wait(graph):
    async def asked(thread, text):
        state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@wrong("14.3", LOST)
def makes_a_lock_for_each_call(graph):
    async def asked(thread, text):
        async with asyncio.Lock():
            state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@wrong("14.3", LOST)
def locks_only_the_reading(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        async with locks[thread]:
            await graph.aget_state(on(thread))
        state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@wrong(
    "14.3",
    "five threads waited for each other: at most 1 in flight",
)
def has_one_lock_for_all(graph):
    lock = asyncio.Lock()

    async def asked(thread, text):
        async with lock:
            state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@wrong(
    "14.3",
    "after an error nobody gets in on that thread: release its lock "
    "whatever happens",
)
def releases_only_on_success(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        await locks[thread].acquire()
        state = await graph.ainvoke(ask(text), on(thread))
        locks[thread].release()
        return state["messages"][-1].text

    return asked


@wrong(
    "14.3",
    "after a cancel nobody gets in on that thread: release its lock "
    "whatever happens",
)
def forgets_the_cancel(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        await locks[thread].acquire()
        try:
            state = await graph.ainvoke(ask(text), on(thread))
        except Exception:
            locks[thread].release()
            raise
        locks[thread].release()
        return state["messages"][-1].text

    return asked


@wrong(
    "14.3",
    "it returned None, not the text of the answer: is a `return` missing?",
)
def sends_the_others_away(graph):
    busy = set()

    async def asked(thread, text):
        if thread in busy:
            return None
        busy.add(thread)
        state = await graph.ainvoke(ask(text), on(thread))
        busy.discard(thread)
        return state["messages"][-1].text

    return asked


@wrong("14.3", "it swallowed an error of the graph")
def keeps_errors_to_itself(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        async with locks[thread]:
            try:
                state = await graph.ainvoke(ask(text), on(thread))
            except Exception as error:
                return str(error)
        return state["messages"][-1].text

    return asked


@wrong(
    "14.3",
    "it returned a coroutine, not a function: `in_turns` is a plain `def`",
)
async def is_async_itself(graph):
    return does_not_wait(graph)


@right("14.3")
def forgets_idle_locks(graph):
    locks = WeakValueDictionary()

    async def asked(thread, text):
        lock = locks.setdefault(thread, asyncio.Lock())
        async with lock:
            state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@right("14.3")
def waits_for_the_run_before(graph):
    last = {}

    async def after(before, thread, text):
        if before:
            await asyncio.wait([before])
        return await graph.ainvoke(ask(text), on(thread))

    async def asked(thread, text):
        run = after(last.get(thread), thread, text)
        last[thread] = asyncio.create_task(run)
        state = await last[thread]
        return state["messages"][-1].text

    return asked


# --- 14.4


async def words(stream):
    async for message, _ in stream:
        yield message.text


def removals(messages, message_id):
    ids = [message.id for message in messages]
    gone = ids[ids.index(message_id) :]
    return [RemoveMessage(id=one) for one in gone]


@wrong(
    "14.4",
    "the message was added at the end: go back to before the old one",
)
async def just_asks_again(graph, thread, message_id, text):
    async for word in words(tokens(graph, text, on(thread))):
        yield word


@wrong("14.4", "what came after the old message is still there")
async def replaces_it_in_its_place(graph, thread, message_id, text):
    given = {"messages": [HumanMessage(text, id=message_id)]}
    stream = graph.astream(given, on(thread), stream_mode="messages")
    async for word in words(stream):
        yield word


@wrong(
    "14.4",
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


@wrong("14.4", "what came after the old message is still there")
async def removes_only_the_message(graph, thread, message_id, text):
    gone = {"messages": [RemoveMessage(id=message_id)]}
    await graph.aupdate_state(on(thread), gone)
    async for word in words(tokens(graph, text, on(thread))):
        yield word


@wrong("14.4", "what came before the old message is gone")
async def begins_the_thread_anew(graph, thread, message_id, text):
    await graph.checkpointer.adelete_thread(thread)
    async for word in words(tokens(graph, text, on(thread))):
        yield word


@wrong("14.4", "the old version is no longer in the history")
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


@wrong("14.4", "the thread ends as it did before the edit")
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


@wrong("14.4", SYNC)
async def updates_in_sync(graph, thread, message_id, text):
    state = await graph.aget_state(on(thread))
    gone = removals(state.values["messages"], message_id)
    graph.update_state(on(thread), {"messages": gone})
    async for word in words(tokens(graph, text, on(thread))):
        yield word


@wrong("14.4", IN_ONE_PIECE)
async def waits_for_the_new_answer(graph, thread, message_id, text):
    async for state in graph.aget_state_history(on(thread)):
        ids = [message.id for message in state.values["messages"]]
        if message_id not in ids:
            break
    state = await graph.ainvoke(ask(text), state.config)
    yield state["messages"][-1].text


@wrong("14.4", IN_ONE_PIECE)
async def filters_by_another_node(graph, thread, message_id, text):
    async for state in graph.aget_state_history(on(thread)):
        ids = [message.id for message in state.values["messages"]]
        if message_id not in ids:
            break
    async for message, about in tokens(graph, text, state.config):
        if about["langgraph_node"] == "agent":
            yield message.text


@wrong("14.4", "it returned a coroutine, not an async generator: yield tokens")
async def returns_the_new_answer(graph, thread, message_id, text):
    state = await graph.ainvoke(ask(text), on(thread))
    return state["messages"][-1].text


@right("14.4")
async def removes_what_followed(graph, thread, message_id, text):
    state = await graph.aget_state(on(thread))
    gone = removals(state.values["messages"], message_id)
    given = {"messages": [*gone, ("user", text)]}
    stream = graph.astream(given, on(thread), stream_mode="messages")
    async for word in words(stream):
        yield word


@right("14.4")
async def updates_then_asks(graph, thread, message_id, text):
    state = await graph.aget_state(on(thread))
    gone = removals(state.values["messages"], message_id)
    await graph.aupdate_state(on(thread), {"messages": gone})
    async for word in words(tokens(graph, text, on(thread))):
        yield word
