# %% [markdown]
# # Lab 14: build a chat that remembers
#
# lesson: [14 · Async memory](../notebooks/14_async_memory.ipynb) ·
# [exercise](../exercises/14_async_memory.ipynb) ·
# [solution](../solutions/14_async_memory.ipynb)

# %% [markdown]
# Three tasks, about {minutes} minutes. You will
#
# - stream a conversation that survives restarts;
# - go on with a run without paying twice;
# - rewind a chat to a message, and edit it.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints.

# %%
import asyncio
from contextlib import aclosing

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from workshop.checks import check

llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)


# %% [markdown]
# ## Task 1: a memory in a file
#
# The next cell is folded. It has `on(thread)`, as in the lesson, and
# `tokens(graph, config, text)`: that sends a text to a graph and yields the
# tokens of the answer. All tasks may use them.


# %% tags=["folded"]
def on(thread):
    return {"configurable": {"thread_id": thread}}


async def tokens(graph, config, text):
    stream = graph.astream(
        {"messages": [("user", text)]},
        config,
        stream_mode="messages",
        version="v2",
    )
    async with aclosing(stream):
        async for part in stream:
            message, _ = part["data"]
            if message.type == "AIMessageChunk" and message.text:
                yield message.text


# %% [markdown]
# `forgetful` makes its saver where it needs it, for each request. So each has
# a memory of its own, which ends with its request.


# %%
async def forgetful(llm, thread, text):
    chat = create_agent(llm, [], checkpointer=InMemorySaver())
    async for token in tokens(chat, on(thread), text):
        yield token


# %% [markdown]
# **Write** `answer(llm, path, thread, text)`, an async generator. It keeps
# the conversation `thread` in the SQLite file `path` and yields the tokens of
# the answer, each as it comes. After each turn the file is closed, also when
# the reader leaves early or the model fails.
#
# **Expected:** after two restarts it still knows Ada.


# %%
async def answer(llm, path, thread, text):
    # TODO (about 3 lines)
    # solution
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        chat = create_agent(llm, [], checkpointer=saver)
        async for token in tokens(chat, on(thread), text):
            yield token


# %%
await check("14.1", answer)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `AsyncSqliteSaver.from_conn_string(path)` is no saver yet. It becomes one in
# an `async with`. How long must that last?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `forgetful` with one line more: `async with ... as saver:` around all of it,
# the loop that yields included. And `checkpointer=saver`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The graph reads the thread when the stream begins and writes to it
# until the stream ends, so the file stays open around the loop. The `async
# with` closes it whatever ends the loop: its last token, an error, a reader
# who leaves.
#
# A connection that nobody closes has a Python thread of its own that never
# ends: a script with it hangs at its end. A server opens the saver once, in
# `lifespan`, not for each request. A file for each request is right where
# requests are rare, as in a command-line tool.

# %% [markdown]
# ## Task 2: pay once
#
# Three nodes, three requests. Somebody leaves when the first node is done,
# and comes back later. The next cell is folded: it makes the graph `menu`,
# with the nodes `soup`, `fish` and `cake`, and `nodes(graph, config, given)`,
# which yields the names of the nodes of a run, each when it is done. Its guest
# begins anew each time. Count the requests.

# %% tags=["folded"]
from langgraph.graph import START, MessagesState, StateGraph


async def soup(state):
    return {"messages": await llm.ainvoke("Table 1 orders the soup")}


async def fish(state):
    await asyncio.sleep(0.1)  # the fish takes longer
    return {"messages": await llm.ainvoke("Table 1 orders the fish")}


async def cake(state):
    return {"messages": await llm.ainvoke("Table 1 orders the cake")}


async def nodes(graph, config, given):
    stream = graph.astream(given, config, stream_mode="updates", version="v2")
    async with aclosing(stream):
        async for part in stream:
            for node in part["data"]:
                yield node


builder = StateGraph(MessagesState)
builder.add_sequence([soup, fish, cake])
builder.add_edge(START, "soup")
menu = builder.compile(checkpointer=InMemorySaver())

ORDER = {"messages": [("user", "The menu, please")]}

with model.meter() as meter:
    visit = nodes(menu, on("1"), ORDER)
    async with aclosing(visit):
        print("first visit:", await anext(visit))
    async for node in nodes(menu, on("1"), ORDER):
        print("second visit:", node)
print(meter.requests, "requests for a menu of 3")

# %% [markdown]
# **Write** `serve(graph, thread, text)`, an async generator of the names of
# the nodes, each when it is done. If a run of the thread was cut off or has
# failed, go on with it, also after a restart. If not, begin one with the
# message `text`.
#
# **Expected:** a Stop in the second node leaves two requests to do.


# %%
async def serve(graph, thread, text):
    # TODO (about 3 lines)
    # solution
    state = await graph.aget_state(on(thread))
    given = {"messages": [("user", text)]}
    if state.next:
        given = None
    async for node in nodes(graph, on(thread), given):
        yield node


# %%
await check("14.2", serve)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# The state of a thread knows what is `next`. For a run that was cut off that
# is a node; for one that is done, or for a new thread, nothing. And which
# input means: go on?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `state = await graph.aget_state(...)`. The input is `None` if `state.next`
# has a name, else the message. Then `async for node in nodes(...)`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A checkpoint is written after each step, so what is done is kept.
# `None` adds no input and goes on with `next`. A message instead would begin
# a new run, at the first node, with the old state.
#
# `state.values` says nothing about that: a run that is done has values, too.
# A `dict` of your own would forget with its process. A node that failed is
# also `next`: the same function tries it again.

# %% [markdown]
# ## Task 3: take it to work
#
# In most chats you can edit what you said, and the chat goes on from there.
# The saver has what you need: it keeps a **checkpoint** for each step.

# %%
chat = create_agent(llm, [], checkpointer=InMemorySaver())
for text in ("My name is Ada", "What is my name?"):
    await chat.ainvoke({"messages": [("user", text)]}, on("ada"))

async for state in chat.aget_state_history(on("ada")):
    messages = state.values["messages"]
    print([message.text for message in messages], state.next)

# %% [markdown]
# The newest comes first. With `state.config` as its config, a run goes on from
# there, and its thread goes on with it.
#
# **Write** `edit(graph, thread, message_id, text)`, an async generator. The
# guest replaces a message of theirs by `text`: yield the tokens of the new
# answer, each as it comes. What came before the message stays. What came after
# it is only in the history. A message may be edited twice, and two messages
# may say the same.
#
# **Expected:** *Who am I?* is answered by a chat that knows Ada.


# %%
async def edit(graph, thread, message_id, text):
    # TODO (about 6 lines)
    # solution
    async for state in graph.aget_state_history(on(thread)):
        messages = state.values.get("messages", [])
        if message_id not in [message.id for message in messages]:
            break
    async for token in tokens(graph, state.config, text):
        yield token


# %%
await check("14.3", edit)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Go back in the history, newest first. Which state is the last one before the
# message came? Compare ids, not texts: a guest may say a thing twice.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `async for state in graph.aget_state_history(...)`, and `break` at the first
# one whose messages do not have the id. Then `tokens(...)` with
# `state.config`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A checkpoint is never changed. A run with the `config` of an old one
# writes new checkpoints behind it: a **fork**. The newest checkpoint is the
# state of the thread, so the chat goes on from your edit. The old version is
# in the history, for an *undo*.
#
# The history has the order in which checkpoints were written. Their `step`
# does not: after an edit there are two of the same number.
#
# With `RemoveMessage` for the old message and all that follow, you get the
# same in one step forward. Use it where only the end may be cut off, and the
# fork where a graph has more state than messages. Let the edit wait for its
# turn, too, as in lesson 15.

# %% [markdown]
# ## Keep
#
# - The saver is open around the whole stream, in a server around the app.
# - Look at `next`; give `None` to go on.
# - An old `config` takes a thread back, and nothing is lost.
#
# **Next:** [15 · Shared memory](../notebooks/15_shared_memory.ipynb)
