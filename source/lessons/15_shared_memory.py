# %% [markdown]
# # Share a memory without losing a word
#
# previous: [14 · Async memory](14_async_memory.ipynb) ·
# next: [16 · Ask a human](16_ask_a_human.ipynb) ·
# lab: [15](../exercises/15_shared_memory.ipynb)
#
# In {minutes} minutes you will be able to:
#
# - keep two messages of one conversation from erasing each other, in one
#   process and in several;
# - set up PostgreSQL so that it holds when it gets busy;
# - say what grows in a memory, and delete it so that it stays deleted.
#
# Builds on lesson 14.

# %%
import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from tempfile import TemporaryDirectory
from weakref import WeakValueDictionary

# missing? pip install "./[lessons]"
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

stack = AsyncExitStack()
folder = TemporaryDirectory()
file = f"{folder.name}/chat.db"
opening = AsyncSqliteSaver.from_conn_string(file)
saver = await stack.enter_async_context(opening)

# %% [markdown]
# ## Two messages at once
#
# A guest orders a cake, and while it is baked, in a second tab, a tea. Both
# messages go to one thread.
#
# The waiter below needs no model. A cake takes for as long as you want: the
# node sets `begun`, and waits until you set `baked`, two events of asyncio
# that are made when the cake is ordered. `sync` writes each step before the
# next one begins, so that nothing below depends on luck.


# %%
def on(thread):
    return {"configurable": {"thread_id": thread}}


async def serve(state):
    dish = state["messages"][-1].text
    if dish == "cake":
        begun.set()
        await baked.wait()
    return {"messages": ("ai", f"your {dish}")}


builder = StateGraph(MessagesState)
builder.add_node("serve", serve)
builder.add_edge(START, "serve")
waiter = builder.compile(checkpointer=saver)


async def order(thread, dish):
    asked = {"messages": [("user", dish)]}
    await waiter.ainvoke(asked, on(thread), durability="sync")


async def show(thread):
    state = await waiter.aget_state(on(thread))
    print([message.text for message in state.values.get("messages", [])])


# %% [markdown]
# **Predict.** The cake is ordered. Meanwhile the tea is ordered and served.
# Then the cake comes. Which of the four messages does the thread have?
#
# <details><summary>Answer</summary>
#
# The two of the cake. Its run read the thread when it began, and saved what it
# knew when it ended. Of the tea it knew nothing. (The tea's run began later
# and knew of the cake. It did not help.)
#
# </details>

# %%
begun = asyncio.Event()
baked = asyncio.Event()

cake = asyncio.create_task(order("1", "cake"))
await begun.wait()
await order("1", "tea")
await show("1")
baked.set()
await cake
await show("1")

# %% [markdown]
# The tea was served and paid for, and no error told you. LangGraph keeps the
# steps of a run in order. It does not keep runs apart.
#
# Here the order is decided: the cake ends last. When five messages arrive
# together, luck decides how many are lost, and the version of Python: from
# 3.12 on, LangGraph starts to write a checkpoint a little earlier, so a run
# that begins a moment later may see it. Fewer are lost then, not none.
#
# ## One at a time
#
# Let one run at a time work on a thread. An `asyncio.Lock` for each thread
# does it. Who waits for it gets in in the order of arrival, and other threads
# do not wait.
#
# **Predict.** A thousand guests have one order each. How many locks does
# each of the two dictionaries have in the end?
#
# <details><summary>Answer</summary>
#
# A `defaultdict` keeps all thousand, and grows for as long as the server
# runs. A `WeakValueDictionary` keeps a value only while somebody else holds
# it: here those who have the lock or wait for it.
#
# </details>

# %%
kept = defaultdict(asyncio.Lock)
turns = WeakValueDictionary()


def turn_of(thread):
    return turns.setdefault(thread, asyncio.Lock())


for guest in range(1000):
    async with kept[guest]:
        pass
    async with turn_of(guest):
        pass
print(len(kept), "and", len(turns))

# %% [markdown]
# Do not remove a lock by hand after its use: somebody may still wait for it,
# while the next one makes a new lock and gets in.
#
# **Predict.** The same two orders, each in its turn. Which messages are kept,
# and in what order?


# %%
async def order_in_turn(thread, dish):
    async with turn_of(thread):
        await order(thread, dish)


begun.clear()
baked.clear()
cake = asyncio.create_task(order_in_turn("2", "cake"))
await begun.wait()
tea = asyncio.create_task(order_in_turn("2", "tea"))
baked.set()
await asyncio.gather(cake, tea)
await show("2")

# %% [markdown]
# All four, in the order in which they were asked.
#
# ## Two processes at once
#
# A server often has several workers, each a process of its own. An
# `asyncio.Lock` is unknown to the others. What both can see is a file:
#
# - `file_lock` takes SQLite's own lock on a file. The system frees it, also
#   when its holder is killed.
# - `timeout=0` means: do not wait inside of SQLite. A wait there cannot be
#   cancelled, and serves in no order. So the waiting is ours.
# - A file for each conversation would never end. Here are 64, for all threads.
#   Two threads that share one wait for each other.

# %%
import zlib

import aiosqlite


@asynccontextmanager
async def file_lock(thread):
    place = zlib.crc32(thread.encode()) % 64
    async with aiosqlite.connect(f"{file}-{place}", timeout=0) as lock:
        while True:
            try:
                await lock.execute("BEGIN IMMEDIATE")
                break
            except aiosqlite.OperationalError:  # another one has it
                await asyncio.sleep(0.05)
        yield


# %% [markdown]
# The next cell is folded. Another process orders a cake and has begun it. Now
# you order a tea on the same thread, both of you with the same kind of lock.
# The cake is ready when your tea is served, or has waited for a while.
# `own_lock` is what `turn_of` comes to here: each process makes its own.

# %% tags=["folded"]
from workshop.process import in_own_process


def own_lock(thread):
    return asyncio.Lock()


async def bake(thread, lock):
    """Order a cake that is ready when a line can be read."""

    async def cake(state):
        import sys

        print("The cake has begun.", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        return {"messages": ("ai", "your cake")}

    kitchen = StateGraph(MessagesState)
    kitchen.add_node("cake", cake)
    kitchen.add_edge(START, "cake")
    async with lock(thread), AsyncSqliteSaver.from_conn_string(file) as saver:
        guest = kitchen.compile(checkpointer=saver)
        await guest.ainvoke({"messages": [("user", "cake")]}, on(thread))


async def two_processes(lock):
    thread = lock.__name__

    async def order_tea():
        async with lock(thread):
            await order(thread, "tea")

    # With the other lock it cannot end before the cake.
    most = 30 if lock is own_lock else 0.5
    async with in_own_process(bake, thread, lock):
        tea = asyncio.create_task(order_tea())
        await asyncio.wait([tea], timeout=most)
    await tea
    print(thread, end=": ")
    await show(thread)


# %% [markdown]
# **Predict.** What does the thread have with each of the locks?
#
# <details><summary>Answer</summary>
#
# With the lock of asyncio, your tea does not wait, and the cake of the other
# process erases it. With the lock on a file it waits, and all is kept.
#
# </details>

# %%
await two_processes(own_lock)
await two_processes(file_lock)

# %% [markdown]
# What this lock is not: fair. Whoever looks first gets it, so messages of two
# processes may change places. Take `turn_of` first and `file_lock` inside of
# it, and at least those of one process stay in order. It is for one machine.
#
# ## With PostgreSQL
#
# Several machines need a database for the memory, and a lock where the memory
# is. These lines are tested with the course; you need a server to run them.
#
# ```python
# from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
# from psycopg import AsyncConnection
# from psycopg.rows import dict_row
# from psycopg_pool import AsyncConnectionPool
#
# OPTIONS = {
#     "autocommit": True,
#     "row_factory": dict_row,
#     "prepare_threshold": None,
# }
# TRY = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
# FREE = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"
#
#
# async def migrate():
#     """Run once for each deployment, before the workers start."""
#     async with AsyncPostgresSaver.from_conn_string(URL) as saver:
#         await saver.setup()
#
#
# @asynccontextmanager
# async def lifespan(app):
#     check = AsyncConnectionPool.check_connection
#     async with (
#         AsyncConnectionPool(URL, kwargs=OPTIONS, check=check) as pool,
#         await AsyncConnection.connect(URL, autocommit=True) as locks,
#     ):
#         saver = AsyncPostgresSaver(pool)
#         app.state.chat = create_agent(llm, [], checkpointer=saver)
#         app.state.locks = locks
#         yield
#
#
# async def first(locks, query, thread):
#     cursor = await locks.execute(query, [thread])
#     row = await cursor.fetchone()
#     return row[0]
#
#
# @asynccontextmanager
# async def postgres_lock(locks, thread):
#     async with turn_of(thread):
#         try:
#             while not await first(locks, TRY, thread):
#                 await asyncio.sleep(0.1)
#             yield
#         finally:  # also if a try that was cancelled had got it
#             await asyncio.shield(first(locks, FREE, thread))
# ```

# %% [markdown]
# - **`setup` is not in `lifespan`.** Workers that start together make the same
#   tables, and all but one die of `UniqueViolation`.
# - **One connection for all locks of a worker.** A session of PostgreSQL can
#   hold many advisory locks. A connection for each message that waits would
#   soon be *too many clients already*. In one session the same lock is given
#   twice, so `turn_of` comes first.
# - **No open transaction.** The kind that ends with its transaction,
#   `pg_advisory_xact_lock`, keeps one open for the whole answer. That holds up
#   vacuum, and `idle_in_transaction_session_timeout` ends it in mid-answer:
#   then two are in.
# - **A pooler** such as PgBouncer in transaction mode gives each query another
#   session. Let `locks` go to the server itself. The saver may use the pooler:
#   `prepare_threshold` is `None` for that.
# - **The pool is for new connections** after a restart of the server. A saver
#   uses one at a time, whatever the size.
# - **If the lock's connection breaks, its locks are gone**, and the run goes
#   on. End the worker then. No lock can rule it out: let nodes be idempotent.
#
# ## What grows
#
# Each step of each run leaves a checkpoint. With SQLite each of them holds the
# whole conversation.
#
# **Predict.** Five orders and their answers are 10 messages. How many does the
# file hold, all checkpoints together? And after ten orders, twice as many?
#
# <details><summary>Answer</summary>
#
# Four times as many: twice the checkpoints, and each twice as long on average.
#
# </details>


# %%
async def stored(thread):
    messages = 0
    async for found in saver.alist(on(thread)):
        values = found.checkpoint["channel_values"]
        messages += len(values.get("messages", []))
    print(messages, "messages are stored")


for count in range(1, 11):
    await order("3", "tea")
    if count in (5, 10):
        await stored("3")

# %% [markdown]
# Four things keep it small:
#
# - **`durability="exit"`** writes one checkpoint for each run, not three.
# - **Trim** what the model gets. `SummarizationMiddleware` of LangChain puts a
#   summary in place of old messages, also in the state.
# - **Prune** old checkpoints. The saver for PostgreSQL has `aprune([thread])`,
#   which keeps the newest. The one for SQLite raises `NotImplementedError`.
# - **Delete** a thread: `await saver.adelete_thread(thread)`.
#
# **Predict.** A guest deletes the conversation while the cake is baked. What
# does the thread have when it is ready?
#
# <details><summary>Answer</summary>
#
# Nothing at first, and then the order and the cake. The run saves what it
# knows, and so the thread is back.
#
# </details>

# %%
begun.clear()
baked.clear()
cake = asyncio.create_task(order_in_turn("4", "cake"))
await begun.wait()
await saver.adelete_thread("4")
await show("4")
baked.set()
await cake
await show("4")

# %% [markdown]
# So who deletes has to wait for its turn, like who writes. Or cancel the run
# first.
#
# ## Check yourself
#
# Delete a thread so that it stays deleted. `lock` is the lock that all runs of
# this thread take.

# %%
from workshop.checks import check


async def forget(saver, thread, lock):
    # TODO (about 2 lines)
    ...


await check("15.0", forget)

# %% [markdown]
# <details><summary>Hint</summary>
#
# It is a lock of asyncio, and you have used one above. What has to happen
# while you hold it?
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# async with lock:
#     await saver.adelete_thread(thread)
# ```
#
# </details>

# %% [markdown]
# The last cell closes the file of this lesson.

# %%
await stack.aclose()
folder.cleanup()

# %% [markdown]
# ## Keep
#
# - One run at a time on a thread, in a lock that all who write can see.
# - Hold a lock without an open transaction and without a connection for each
#   who waits.
# - Checkpoints grow with each step: prune, trim, delete, and wait for your
#   turn to do so.
#
# **Next:** [Lab 15](../exercises/15_shared_memory.ipynb)
