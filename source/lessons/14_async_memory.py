# %% [markdown]
# # Give streaming graphs a memory
#
# previous: [11 · Parallel graphs](11_parallel_graphs.ipynb) ·
# next: [08 · Break it on purpose](08_break_it_on_purpose.ipynb) ·
# lab: [14](../exercises/14_async_memory.ipynb)
#
# In twenty minutes you will be able to:
#
# - stream a conversation that survives a restart of your app;
# - go on with a run that was cut off, and say what a killed one loses;
# - keep two messages of one conversation from erasing each other.
#
# Builds on lessons 05 and 07.

# %%
import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack, aclosing, nullcontext
from tempfile import TemporaryDirectory
from uuid import uuid4

from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)
stack, folder = AsyncExitStack(), TemporaryDirectory()

# %% [markdown]
# ## A thread is a conversation
#
# A **checkpointer** keeps the state of a graph under a `thread_id`. The next
# run with that id begins where the last one ended.
#
# `say` streams one turn of a chat, as in lesson 05. Its `lock` does nothing
# yet.
#
# **Predict.** Ada says her name and asks for it. Then Bob asks for his. What
# do the three answers say?
#
# <details><summary>Answer</summary>
#
# Ada is remembered. Bob is another thread, which knows nothing of hers.
#
# </details>


# %%
def on(thread):
    return {"configurable": {"thread_id": thread}}


async def say(chat, thread, text, lock=nullcontext):
    ask = {"messages": [("user", text)]}
    stream = chat.astream(ask, on(thread), stream_mode="messages")
    async with lock(thread), aclosing(stream):
        async for message, _ in stream:
            if message.type == "AIMessageChunk" and message.text:
                yield message.text


async def read(words):
    return "|".join([word async for word in words])


# %%
from langgraph.checkpoint.memory import InMemorySaver

chat = create_agent(llm, [], checkpointer=InMemorySaver())
print(await read(say(chat, "ada", "My name is Ada")))
print(await read(say(chat, "ada", "What is my name?")))
print(await read(say(chat, "bob", "What is my name?")))

# %% [markdown]
# Each run got one new message, and the saver put the older ones before it.
# Tokens stream as they do without a memory.
#
# ## A memory that outlives the process
#
# `InMemorySaver` forgets with its process. `SqliteSaver` writes to a file.
# The notes advise an async saver in async code, *to avoid blocking*.
#
# **Predict.** For how long does the sync one block this run?

# %% tags=["raises-exception"]
from langgraph.checkpoint.sqlite import SqliteSaver

with SqliteSaver.from_conn_string(":memory:") as saver:
    refusing = create_agent(llm, [], checkpointer=saver)
    await refusing.ainvoke({"messages": [("user", "Hello")]}, on("ada"))

# %% [markdown]
# It does not block, it refuses.
#
# `AsyncSqliteSaver` holds an open connection, so it lives in an `async with`.
# No cell can keep one open for the next cell. An `AsyncExitStack` can.
#
# **Predict.** `reopen` closes the file and opens it again, as a restart does.
# Does the second turn know Ada?

# %%
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

file = f"{folder.name}/chat.db"


async def reopen():
    await stack.aclose()
    opening = AsyncSqliteSaver.from_conn_string(file)
    return await stack.enter_async_context(opening)


for text in "My name is Ada", "What is my name?":
    saver = await reopen()
    chat = create_agent(llm, [], checkpointer=saver)
    print(await read(say(chat, "ada", text)))

# %% [markdown]
# It does: what was said is in the file. The graph is new each time.
#
# ## Stop in the middle, look, go on
#
# A waiter with a tool takes three steps for an answer: `model` calls the
# tool, `tools` runs it, `model` writes the answer.


# %%
def price(dish: str) -> dict:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


waiter = create_agent(llm, [price], checkpointer=saver)
thread, meter = uuid4().hex, model.meter()

# %% [markdown]
# You read one word of the answer and leave. That cancels the run.
#
# **Predict.** Which messages does the thread have then?
#
# <details><summary>Answer</summary>
#
# The question, the call of the tool and its result: all of the steps that
# were done. Of the answer it has nothing. Words that an unfinished node has
# streamed are on the screen only.
#
# </details>

# %%
answer = say(waiter, thread, "What is the price of the soup?")
async with aclosing(answer):
    print("read:", await anext(answer))
state = await waiter.aget_state(on(thread))
print([m.type for m in state.values["messages"]], "next:", state.next)

# %% [markdown]
# `next` names the node that was cut off. With `None` as its input, a run goes
# on there.
#
# **Predict.** An answer takes two requests to the model. How many does this
# one take, the one that was cut off included?

# %%
async for update in waiter.astream(None, on(thread)):
    print("ran:", *update)
print(meter.read().requests, "requests,", meter.cut_off, "cut off")
async for state in waiter.aget_state_history(on(thread)):
    print(state.metadata["step"], len(state.values["messages"]), state.next)

# %% [markdown]
# Three. Done nodes are not paid for again. The one that was cut off begins
# anew, at its first line.
#
# Each line of the history is a **checkpoint**, the newest first: its step, the
# number of messages, and what was next. Give its `config` to `astream`, and
# you go on from there. Lab 14 takes a chat back so.
#
# ## Two messages at once
#
# Five messages arrive on one thread: an impatient guest, two tabs, a retry.
#
# **Predict.** With the answers these are 10. How many does the thread have in
# the end?


# %%
async def rush(lock, thread):
    calls = [say(chat, thread, f"Table {n}", lock) for n in range(1, 6)]
    await asyncio.gather(*map(read, calls))
    return len((await chat.aget_state(on(thread))).values["messages"])


print(await rush(nullcontext, uuid4().hex), "of 10 messages kept")

# %% [markdown]
# Two. Each run began with an empty thread and saved what it knew. The last
# one won. All five answers were streamed and paid for, and no error told you.
#
# LangGraph keeps steps in order, not runs. So let one run at a time work on a
# thread. A lock for each thread id does it, and other threads do not wait.

# %%
locks = defaultdict(asyncio.Lock)


def own_lock(thread):
    return locks[thread]


print(await rush(own_lock, uuid4().hex), "of 10 messages kept")

# %% [markdown]
# ## A process that is killed
#
# A cancelled run still writes what it has. A killed process cannot. What it
# loses depends on `durability`, an argument of every run.
#
# Here is a meal that needs no model, for a process of its own. The cake says
# that it has begun, and then blocks the event loop until somebody answers.


# %%
async def fish(state):
    await asyncio.sleep(1)
    return {"messages": ("ai", "fish")}


async def cake(state):
    input("The cake has begun.\n")
    return {"messages": ("ai", "cake")}


async def eat(thread, durability, lock=nullcontext, last=cake):
    order = {"messages": ("user", "Fish and cake")}
    graph = StateGraph(MessagesState).add_sequence([fish, ("cake", last)])
    async with lock(thread), AsyncSqliteSaver.from_conn_string(file) as saver:
        guest = graph.add_edge(START, "fish").compile(checkpointer=saver)
        await guest.ainvoke(order, on(thread), durability=durability)


# %% [markdown]
# `in_own_process` starts such a meal and waits for its first line. Then you
# kill it, with signal 9. `kept` counts what is in the file.
#
# **Predict.** The order and the fish are 2 messages. How many does each mode
# keep?
#
# <details><summary>Answer</summary>
#
# `sync` writes before the next node begins. `async`, the default, writes
# while it runs, and here the loop is blocked: the fish is lost. `exit` writes
# when the run ends, so it had written nothing.
#
# </details>

# %%
from workshop.process import in_own_process


async def kept(thread):
    found = await saver.aget_tuple(on(thread))
    return len(found.checkpoint["channel_values"]["messages"]) if found else 0


async def kill(thread, mode):
    async with in_own_process(eat, thread, mode) as child:
        child.kill()
    return await kept(thread)


for mode in "sync", "async", "exit":
    print(f"{mode:5} {await kill(uuid4().hex, mode)} of 2 messages kept")

# %% [markdown]
# Choose `sync` where a step that is done must not be repeated.
#
# ## Two processes at once
#
# A server has several workers. Here another process has begun its cake when
# you order on the same thread, and it goes on when you are done.
#
# `file_lock` takes SQLite's own lock on a file for each thread. The system
# frees it, also when its holder is killed.
#
# **Predict.** Of 6 messages, how many does each lock keep?
#
# <details><summary>Answer</summary>
#
# An asyncio lock is unknown to the other process. That one saves its 3
# messages last, and yours are gone. With the file's lock you wait for it, and
# all are kept.
#
# </details>

# %%
from contextlib import asynccontextmanager

import aiosqlite


@asynccontextmanager
async def file_lock(thread):
    async with aiosqlite.connect(f"{file}-{thread}", timeout=30) as lock:
        await lock.execute("BEGIN IMMEDIATE")
        yield


async def tea(state):
    return {"messages": ("ai", "tea")}


async def race(lock, thread):
    async with in_own_process(eat, thread, "sync", lock):
        mine = asyncio.create_task(eat(thread, "sync", lock, last=tea))
        await asyncio.wait([mine], timeout=3)
    await mine
    return await kept(thread)


locks.clear()  # each process has its own
for lock in own_lock, file_lock:
    print(lock.__name__, await race(lock, uuid4().hex), "of 6 messages kept")

# %% [markdown]
# Take the lock where the memory is: all who can write there see it.
#
# ## In an app
#
# A saver lives as long as its app. That is what `lifespan` is for: the app
# starts before the `yield` and ends after it, on the loop that serves.
#
# A real app wraps `say` in `in_own_task` of lesson 07. Without it, a run goes
# on when its reader has left, and writes when others have the lock.
#
# **Predict.** The app below starts, answers, stops, and starts again. Does it
# know Eve?

# %%
import httpx2
from fastapi import FastAPI
from fastapi.responses import StreamingResponse


@asynccontextmanager
async def lifespan(app):
    async with AsyncSqliteSaver.from_conn_string(file) as saver:
        app.state.chat = create_agent(llm, [], checkpointer=saver)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/threads/{thread}")
async def talk(thread: str, text: str):
    return StreamingResponse(say(app.state.chat, thread, text, file_lock))


# %%
from workshop.serve import serve

for text in "My name is Eve", "What is my name?":
    async with serve(app) as url, httpx2.AsyncClient() as client:
        answer = await client.post(f"{url}/threads/eve", params={"text": text})
        print(answer.text)

# %% [markdown]
# It does. Check a thread id before it names a file. With PostgreSQL, the two
# functions that hold something read:
#
# ```python
# from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
# from psycopg import AsyncConnection
# from psycopg.rows import dict_row
# from psycopg_pool import AsyncConnectionPool
#
# OPTIONS = {"autocommit": True, "row_factory": dict_row}
# LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
#
#
# @asynccontextmanager
# async def lifespan(app):
#     check = AsyncConnectionPool.check_connection
#     async with AsyncConnectionPool(URL, kwargs=OPTIONS, check=check) as pool:
#         saver = AsyncPostgresSaver(pool)
#         await saver.setup()
#         app.state.chat = create_agent(llm, [], checkpointer=saver)
#         yield
#
#
# @asynccontextmanager
# async def postgres_lock(thread):
#     async with await AsyncConnection.connect(URL) as lock:
#         await lock.execute(LOCK, [thread])
#         yield
# ```
#
# A single connection is lost when the server restarts. A pool makes new ones.
# Run `setup` once before several workers start: at once, they may collide.

# %% [markdown]
# ## What people get wrong: *it has a sync method, so I may call it*
#
# An async saver also has sync methods, such as `get_tuple` and `put`. A sync
# `get_state` of the graph calls one of them.
#
# **Predict.** Below, one sync call raises. The other one hangs, so it runs in
# a process of its own, which is killed. Which one hangs?

# %% tags=["raises-exception"]
chat.get_state(on("ada"))


# %%
async def stuck():
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        print("Here it begins.", flush=True)
        saver.put_writes(on("1"), [], task_id="1")


async with in_own_process(stuck) as child:
    await asyncio.sleep(2)
    print("still at it:", child.poll() is None)
    child.kill()

await stack.aclose()
folder.cleanup()

# %% [markdown]
# A sync method of this saver sends its work to the event loop and waits. On
# the thread of that loop nobody is left to do it. Most methods look first and
# raise. `put` and `put_writes` do not
# ([issue 7857](https://github.com/langchain-ai/langgraph/issues/7857)). Await
# the methods with an `a`.
#
# The last two lines closed the file of this lesson.
#
# ## Check yourself
#
# A graph was stopped. With which nodes would it go on? Return their names, a
# tuple that is empty if nothing is left to do. The saver is an async one.

# %%
from workshop.checks import check


async def still_to_run(graph, thread):
    # TODO (about 2 lines)
    ...


await check("14.0", still_to_run)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The state of a thread has it: you have seen it printed. Mind which method
# reads a state in async code.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# state = await graph.aget_state({"configurable": {"thread_id": thread}})
# return state.next
# ```
#
# </details>
#
# ## Keep
#
# - Open an async saver where the app starts and close it where the app ends.
# - `None` goes on with a run; `durability` says what a kill leaves of it.
# - One run at a time on a thread, with a lock that all processes see.
#
# **Next:** [Lab 14](../exercises/14_async_memory.ipynb)
