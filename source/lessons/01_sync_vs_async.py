# %% [markdown]
# # Serve eight tables at once: sync and async compared
#
# previous: [00 · Start here](00_start_here.ipynb) ·
# next: [03 · Stream modes](03_astream_modes.ipynb) ·
# lab: [01](../exercises/01_sync_vs_async.ipynb)

# %% [markdown]
# In twenty minutes you will be able to:
#
# - call one graph in three ways, each sync and async;
# - prove that async calls overlap, and say what they do not speed up;
# - find a call that blocks the event loop, and know where threads appear.
#
# Builds on [lesson 00](00_start_here.ipynb).

# %%
from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.observe import Heartbeat, Timeline

# %% [markdown]
# ## The restaurant
#
# A waiter takes an order to the kitchen. A **sync** waiter waits at its door
# until the dish is ready. An **async** waiter serves other tables meanwhile.
#
# The kitchen is the model. The waiter is the **event loop**: the one thread
# that runs all your `async` code, a piece at a time. `create_agent` builds a
# graph, here with one node that calls the model.

# %%
llm = ChatOpenAI(model=model.name, stream_usage=True)
agent = create_agent(llm, tools=[])


def order(table: int) -> dict:
    return {"messages": [("user", f"Table {table} orders the soup")]}


# %% [markdown]
# ## One table, three pairs of methods
#
# Every sync method has an async twin with an `a` in front. The first pair
# returns the final state. A `Timeline` records and draws each model call.
#
# **Predict.** The same order, both ways. Which one takes less time?
#
# <details><summary>Answer</summary>
#
# Neither. The kitchen needs as long as it needs. Async never makes one
# request faster.
#
# </details>

# %%
with Timeline() as sync_call:
    agent.invoke(order(1))
with Timeline() as async_call:
    await agent.ainvoke(order(1))
Timeline.compare({"invoke": sync_call, "ainvoke": async_call})

# %% [markdown]
# Both bars are about as long. The red band is the difference: while `invoke`
# waits, nothing else on this event loop runs.
#
# The second pair streams pairs of a chunk and its metadata, and `for` becomes
# `async for`. The third, `batch` and `abatch`, takes a list of inputs.
#
# **Predict.** `abatch` runs its inputs together. And the sync `batch`?
#
# <details><summary>Answer</summary>
#
# Together as well, in a pool of threads. Sync code can be concurrent, up to
# the size of the pool.
#
# </details>

# %%
MESSAGES = {"stream_mode": "messages"}
chunks = [c.text for c, _ in agent.stream(order(1), **MESSAGES)]
async_chunks = [c.text async for c, _ in agent.astream(order(1), **MESSAGES)]
print(chunks)
print("the same from astream:", chunks == async_chunks)

# %%
with model.meter() as batch:
    agent.batch([order(1), order(2)])
with model.meter() as abatch:
    await agent.abatch([order(1), order(2)])
print("batch: ", batch, "\nabatch:", abatch)

# %% [markdown]
# ## Eight tables
#
# Two waiters, both with `await`. The first finishes with one table before he
# goes to the next. The second takes all orders at once.
#
# **Predict.** How many requests are in flight at once, at most, in each?
#
# <details><summary>Answer</summary>
#
# One and eight. `await` alone makes nothing concurrent. `gather` starts all
# eight before it waits for any.
#
# </details>

# %%
import asyncio


async def serve(table: int) -> str:
    stream = agent.astream(order(table), **MESSAGES)
    return "".join([chunk.text async for chunk, _ in stream])


async def one_after_another(tables: int) -> list[str]:
    return [await serve(table + 1) for table in range(tables)]


async def together(tables: int) -> list[str]:
    return await asyncio.gather(*(serve(t + 1) for t in range(tables)))


with Timeline() as slow, model.meter() as one:
    texts = await one_after_another(8)
with Timeline() as quick, model.meter() as many:
    same_texts = await together(8)
print(one, many, f"same texts: {texts == same_texts}", sep="\n")
Timeline.compare({"one after another": slow, "together": quick})

# %% [markdown]
# Same requests, same tokens, and each bar is as long as before. What shrinks
# is the total, because the waits overlap. That is the whole advantage of
# async: **concurrency, not speed**. The texts are in order, too: `gather`
# returns results in the order of its arguments.
#
# ## Try it
#
# Now with a sync waiter to compare. Without a kernel there is no slider; the
# figure above shows two of the things that it draws.

# %%
import ipywidgets as widgets

tables = widgets.IntSlider(4, 1, 8, description="tables")
waiter = widgets.ToggleButtons(options=["async", "sync"])
figure = widgets.HTML()
tables.continuous_update = False


async def draw() -> None:
    with Timeline() as timeline:
        if waiter.value == "async":
            await together(tables.value)
        else:
            sync_waiter(tables.value)
    figure.value = timeline.html(title=f"{waiter.value} waiter")


# %% [markdown]
# A change cancels the drawing before it and starts another, in the background.
# JupyterLab may deliver a change in another thread, so `draw` is handed to the
# loop of your cells.
#
# Move the slider, then switch to *sync*: the red band covers everything.


# %%
def sync_waiter(count: int) -> list[dict]:
    return [agent.invoke(order(table + 1)) for table in range(count)]


def redraw(change: dict) -> None:
    drawings[-1].cancel()
    drawings.append(asyncio.run_coroutine_threadsafe(draw(), loop))


loop = asyncio.get_running_loop()
drawings = [asyncio.run_coroutine_threadsafe(draw(), loop)]
tables.observe(redraw, "value")
waiter.observe(redraw, "value")
await asyncio.wrap_future(drawings[0])
widgets.VBox([tables, waiter, figure])

# %% [markdown]
# ## What a sync call does to everybody else
#
# **Misconception:** *you can mix sync and async freely*. Here are three ways
# to stream inside `async` code. A `Heartbeat` beats every 10 ms, unless
# somebody blocks the event loop.
#
# **Predict.** `sleep(0)` lets others run after every chunk. Does that mend
# the sync stream?
#
# <details><summary>Answer</summary>
#
# No. The wait for the first token still blocks, and so does each wait between
# two tokens. A few beats slip through.
#
# </details>


# %%
async def async_stream():
    return [c async for c in agent.astream(order(1), **MESSAGES)]


async def sync_stream():
    return list(agent.stream(order(1), **MESSAGES))


async def sync_stream_and_sleep_0():
    for _ in agent.stream(order(1), **MESSAGES):
        await asyncio.sleep(0)


# %%
for way in async_stream, sync_stream, sync_stream_and_sleep_0:
    async with Heartbeat() as heart:
        await way()
    verdict = "alive  " if heart.beats > heart.missed else "blocked"
    print(f"{verdict} longest silence {heart.longest:.2f} s {way.__name__}")

# %% [markdown]
# A web server that streams in the second or third way makes everybody else
# wait. In `async` code, call the method with the `a`.
#
# ## One thread, and where others appear
#
# A node can be `async def` or `def`. LangGraph accepts both.

# %%
import threading
from concurrent.futures import ThreadPoolExecutor

from langgraph.graph import START, MessagesState, StateGraph


async def async_cook(state):
    threads.add(threading.current_thread().name)
    return {"messages": [await llm.ainvoke(state["messages"])]}


def sync_cook(state):
    threads.add(threading.current_thread().name)
    return {"messages": [llm.invoke(state["messages"])]}


# %% [markdown]
# A `def` node must not block the loop, so LangGraph runs it in the loop's
# pool of worker threads. Yours has `min(32, cores + 4)` of them. The next
# cell gives the loop four, so that every machine shows the same.
#
# **Predict.** You send five orders together. How many threads serve them, and
# how many requests are in flight, in each case?
#
# <details><summary>Answer</summary>
#
# One thread and five requests with `async def`. Four threads and four
# requests with `def`: the fifth order waits for a thread.
#
# </details>

# %%
asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
for node in async_cook, sync_cook:
    builder = StateGraph(MessagesState).add_node("cook", node)
    graph, threads = builder.add_edge(START, "cook").compile(), set()
    with Timeline() as timeline, model.meter() as meter:
        await asyncio.gather(*(graph.ainvoke(order(n)) for n in range(5)))
    print(f"{node.__name__:10} {len(threads)} thread(s) · {meter}")
timeline.plot(title="sync_cook: five orders, four threads")

# %% [markdown]
# So *async means multi-threaded* is wrong, and *you never rewrite your graph*
# is wrong too: a `def` node limits you to the size of the pool.
#
# ## What the errors say
#
# Four confusions, with the exact message of each. You will see them again.


# %%
async def for_astream():
    return [chunk for chunk in agent.astream(order(1))]


async def async_for_stream():
    return [chunk async for chunk in agent.stream(order(1))]


async def await_astream():
    await agent.astream(order(1))


async def await_invoke():
    await agent.invoke(order(1))


# %%
for mistake in for_astream, async_for_stream, await_astream, await_invoke:
    try:
        await mistake()
    except TypeError as error:
        print(f"{mistake.__name__}: {error}")

# %% [markdown]
# The fifth raises nothing. Without `await` you get a **coroutine**, which is
# what an `async def` function returns when you call it. Python warns later,
# often under another cell.
#
# **Predict.** `asyncio.run` starts a coroutine from a script. Does it work in
# a cell?
#
# <details><summary>Answer</summary>
#
# No. It makes an event loop of its own, and a notebook has a running one
# already. In a cell you write `await`.
#
# </details>

# %% tags=["raises-exception"]
with model.meter() as meter:
    forgotten = agent.ainvoke(order(1))
print(type(forgotten).__name__, "and", meter)
asyncio.run(forgotten)

# %% [markdown]
# You will meet the advice to use `nest-asyncio`. It patches asyncio so that
# `asyncio.run` works inside a running loop. Here it does, in its own script.
#
# **Predict.** The fast dish starts first and takes 0.1 s. Which is served
# first?
#
# <details><summary>Answer</summary>
#
# The slow one. Nested runs end like nested calls, the inner one first. The
# fast dish is ready, but the slow one sits on top of it.
#
# </details>

# %%
import subprocess
import sys

script = """import asyncio, nest_asyncio
nest_asyncio.apply()
async def serve(dish, seconds):
    asyncio.run(asyncio.sleep(seconds))
    print(dish)
async def main():
    await asyncio.gather(serve("fast", 0.1), serve("slow", 0.5))
asyncio.run(main())"""
print(subprocess.check_output([sys.executable, "-c", script]).decode())

# %% [markdown]
# That is its price: tasks wait for each other, and some programs hang. You
# hardly need it. In a cell, `await`. In a script, call `asyncio.run` once: the
# last task of the lab is about that.
#
# ## Check yourself
#
# The function gets a graph and a number of tables. It returns the texts of
# all answers, in the order of the tables, from calls that run together.

# %%
from workshop.checks import check


async def serve_all(graph, tables: int) -> list[str]:
    # TODO (about 3 lines)
    ...


await check("01.0", serve_all)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Make a list of `graph.ainvoke(order(n))` without `await`. Then await
# `asyncio.gather(*calls)` once.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# calls = [graph.ainvoke(order(n + 1)) for n in range(tables)]
# states = await asyncio.gather(*calls)
# return [state["messages"][-1].text for state in states]
# ```
#
# </details>
#
# ## Keep
#
# - Async overlaps the waits; one request takes the same time.
# - In `async` code one sync call stops everybody.
# - `def` nodes run in a pool of threads, `async def` nodes on the loop.
#
# **Next:** [Lab 01](../exercises/01_sync_vs_async.ipynb)
