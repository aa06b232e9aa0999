# %% [markdown]
# # Lab 14: build a chat that remembers
#
# lesson: [14 · Async memory](../notebooks/14_async_memory.ipynb) ·
# [exercise](../exercises/14_async_memory.ipynb) ·
# [solution](../solutions/14_async_memory.ipynb)

# %% [markdown]
# Four tasks, about 35 minutes. You will
#
# - stream a conversation that survives restarts;
# - go on with a run without paying twice;
# - let messages of one thread wait for each other;
# - rewind a chat to a message, and edit it.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints.

# %%
import asyncio
from collections import defaultdict

from workshop.model import connect

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
# Many servers make their saver where they need it, for each request.


# %%
def on(thread):
    return {"configurable": {"thread_id": thread}}


async def forgetful(llm, thread, text):
    chat = create_agent(llm, [], checkpointer=InMemorySaver())
    ask = {"messages": [("user", text)]}
    stream = chat.astream(ask, on(thread), stream_mode="messages")
    async for message, _ in stream:
        yield message.text


# %% [markdown]
# Each saver has a memory of its own, and this one ends with its request.

# %%
for text in "My name is Ada", "What is my name?":
    print(*[word async for word in forgetful(llm, "ada", text)], sep="")

# %% [markdown]
# **Write** `answer(llm, path, thread, text)`, an async generator. It keeps
# the conversation `thread` in the SQLite file `path` and yields the tokens of
# the answer. After each turn the file is closed.
#
# **Expected:** after two restarts it still knows Ada.


# %%
async def answer(llm, path, thread, text):
    # TODO (about 6 lines)
    # solution
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        chat = create_agent(llm, [], checkpointer=saver)
        ask = {"messages": [("user", text)]}
        stream = chat.astream(ask, on(thread), stream_mode="messages")
        async for message, _ in stream:
            yield message.text


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
# until the stream ends, so the file stays open around the loop. Where readers
# may leave, put `aclosing` around the stream, as `say` of lesson 14 does.
#
# A connection that nobody closes has a thread of its own that never ends: a
# script with it hangs at its end. A server opens the saver once, in
# `lifespan`, not for each request. A file for each request is right where
# requests are rare, as in a command-line tool.

# %% [markdown]
# ## Task 2: pay once
#
# Three nodes, three requests. Somebody leaves when the first node is done,
# and comes back later.

# %%
from langgraph.graph import START, MessagesState, StateGraph


def course(dish):
    async def cook(state):
        return {"messages": await llm.ainvoke(f"Table 1 orders the {dish}")}

    return dish, cook


# %%
menu = [course(dish) for dish in ("soup", "fish", "cake")]
meal = StateGraph(MessagesState).add_sequence(menu).add_edge(START, "soup")

# %% [markdown]
# This version begins anew each time. Count the requests.

# %%
from contextlib import aclosing

table, dinner = meal.compile(checkpointer=InMemorySaver()), on("1")
order = {"messages": [("user", "The menu, please")]}
with model.meter() as meter:
    async with aclosing(table.astream(order, dinner)) as stream:
        print("first visit:", *await anext(stream))
    async for update in table.astream(order, dinner):
        print("second visit:", *update)
print(meter.requests, "requests for a menu of 3")

# %% [markdown]
# **Write** `serve(graph, thread, text)`, an async generator of the names of
# the nodes, each when it is done. If a run of the thread was cut off, go on
# with it. If not, begin one with the message `text`.
#
# **Expected:** a Stop in the second node leaves two requests to do.


# %%
async def serve(graph, thread, text):
    # TODO (about 5 lines)
    # solution
    state = await graph.aget_state(on(thread))
    given = None if state.next else {"messages": [("user", text)]}
    async for update in graph.astream(given, on(thread)):
        for node in update:
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
# has a name, else the message. In `updates` mode, which is the default, each
# part is a `dict` whose key is the node.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A checkpoint is written after each step, so what is done is kept.
# `None` adds no input and goes on with `next`. A message instead would begin
# a new run, at the first node, with the old state.
#
# `state.values` says nothing about that: a run that is done has values, too.
# A node that failed is also `next`: the same function tries it again.

# %% [markdown]
# ## Task 3: one at a time
#
# Five messages arrive on one thread at once.

# %%
chat = create_agent(llm, [], checkpointer=InMemorySaver())


async def ask(thread, text):
    state = await chat.ainvoke({"messages": [("user", text)]}, on(thread))
    return state["messages"][-1].text


# %%
await asyncio.gather(*[ask("rush", f"Table {n}") for n in range(1, 6)])
state = await chat.aget_state(on("rush"))
print(len(state.values["messages"]), "of 10 messages kept")

# %% [markdown]
# **Write** `in_turns(graph)`, a plain `def`. It returns an `async def
# ask(thread, text)` that gives the text of an answer. On one thread the runs
# wait for each other, on different threads they do not.
#
# **Expected:** 10 of 10 messages; 5 threads, 5 requests in flight.


# %%
def in_turns(graph):
    # TODO (about 8 lines)
    # solution
    locks = defaultdict(asyncio.Lock)

    async def ask(thread, text):
        given = {"messages": [("user", text)]}
        async with locks[thread]:
            state = await graph.ainvoke(given, on(thread))
        return state["messages"][-1].text

    return ask


# %%
await check("14.3", in_turns)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# One `asyncio.Lock` for all would be too much, one for each call too little.
# Who must share one?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `locks = defaultdict(asyncio.Lock)` outside of `ask`, and in it `async with
# locks[thread]:` around the run. `async with` also lets go after an error or
# a cancel.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A run reads the thread when it begins. So the lock has to be taken
# before that and kept until the run has written.
#
# The locks of threads that nobody uses stay in the `dict`. With a
# `WeakValueDictionary` they go. Several processes need a lock that all of them
# see: lesson 14 has one on a file, and one in PostgreSQL.

# %% [markdown]
# ## Task 4: take it to work
#
# In most chats you can edit what you said, and the chat goes on from there.
# The history of a thread has what you need.

# %%
ada = on("ada")
for text in "My name is Ada", "What is my name?":
    await chat.ainvoke({"messages": [("user", text)]}, ada)
async for state in chat.aget_state_history(ada):
    print([message.text for message in state.values["messages"]], state.next)

# %% [markdown]
# The newest comes first. With `state.config` as its config, a run goes on from
# there, and its thread goes on with it.

# %% [markdown]
# **Write** `edit(graph, thread, message_id, text)`, an async generator. The
# guest replaces a message of theirs by `text`: yield the tokens of the new
# answer. What came before stays. What came after is only in the history.
#
# **Expected:** *Who am I?* is answered by a chat that knows Ada.


# %%
async def edit(graph, thread, message_id, text):
    # TODO (about 7 lines)
    # solution
    async for state in graph.aget_state_history(on(thread)):
        messages = state.values["messages"]
        if message_id not in [message.id for message in messages]:
            break
    ask = {"messages": [("user", text)]}
    stream = graph.astream(ask, state.config, stream_mode="messages")
    async for message, _ in stream:
        yield message.text


# %%
await check("14.4", edit)

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
# one whose messages do not have the id. Then `graph.astream(ask,
# state.config, stream_mode="messages")`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A checkpoint is never changed. A run with the `config` of an old one
# writes new checkpoints behind it: a **fork**. The newest checkpoint is the
# state of the thread, so the chat goes on from your edit. The old version is
# in the history, for an *undo*.
#
# With `RemoveMessage` for the old message and all that follow, you get the
# same in one step forward. Use it where only the end may be cut off, and the
# fork where a graph has more state than messages.
#
# Let the edit wait for its turn, too: put the lock of task 3 around it.

# %% [markdown]
# ## Keep
#
# - The saver is open around the whole stream, in a server around the app.
# - Look at `next`; give `None` to go on.
# - One run at a time on a thread: `async with locks[thread]`.
# - An old `config` takes a thread back, and nothing is lost.
#
# **Next:**
# [08 · Break it on purpose](../notebooks/08_break_it_on_purpose.ipynb)
