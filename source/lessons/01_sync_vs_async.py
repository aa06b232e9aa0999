# %% [markdown]
# # Serve eight tables at once: sync and async compared
#
# previous: [00 · Start here](00_start_here.ipynb) ·
# next: 02 · Stream modes ·
# lab: [01](../exercises/01_sync_vs_async.ipynb)

# %% [markdown]
# In twenty minutes you will be able to:
#
# - call one graph in three ways, each sync and async;
# - prove that async calls overlap, and say what they do not speed up;
# - find a call that blocks the event loop, and know where threads appear.
#
# Builds on lesson 00. Nothing else.

# %%
import asyncio

from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from workshop.observe import Heartbeat, Timeline

# %% [markdown]
# ## The restaurant
#
# A waiter takes an order to the kitchen. A **sync** waiter stands at the pass
# until the dish is ready. An **async** waiter serves other tables meanwhile.
#
# The kitchen is the model. The waiter is your program. The graph below stays
# the same in the whole lesson. Only the way you call it changes.

# %%
llm = ChatOpenAI(model=model.name, stream_usage=True)
agent = create_agent(llm, tools=[])


def order(table: int) -> dict:
    return {"messages": [("user", f"Table {table} orders the soup")]}


# %% [markdown]
# ## One table: three pairs of methods
#
# Every sync method has an async twin with an `a` in front. First the pair
# that returns the final state.

# %%
with Timeline() as sync_call:
    state = agent.invoke(order(1))
with Timeline() as async_call:
    async_state = await agent.ainvoke(order(1))

print(state["messages"][-1].text)
print("same:", state["messages"][-1].text == async_state["messages"][-1].text)

# %% [markdown]
# The second pair streams. `for` becomes `async for`.

# %%
MESSAGES = {"stream_mode": "messages"}
chunks = [c.text for c, _ in agent.stream(order(1), **MESSAGES)]
async_chunks = [c.text async for c, _ in agent.astream(order(1), **MESSAGES)]

print(chunks)
print("same:", chunks == async_chunks)

# %% [markdown]
# The third pair takes a list.
#
# **Predict.** `abatch` runs its inputs together on the event loop. What does
# the sync `batch` do: one after another, or together?
#
# <details><summary>Answer</summary>
#
# Together as well. `batch` starts one thread for each input. Sync code can
# be concurrent; it pays with threads.
#
# </details>

# %%
two = [order(1), order(2)]
with model.meter() as batch:
    agent.batch(two)
with model.meter() as abatch:
    await agent.abatch(two)

print("batch :", batch)
print("abatch:", abatch)

# %% [markdown]
# ## Is async faster?
#
# **Predict.** You ran one order both ways. Which one took less time?
#
# <details><summary>Answer</summary>
#
# Neither. The kitchen needs as long as it needs. Async never makes one
# request faster.
#
# </details>

# %%
Timeline.compare({"invoke": sync_call, "ainvoke": async_call})

# %% [markdown]
# Both waited for the same kitchen. The two bars end at the same place.
#
# Now eight tables order. The first function serves one after another. It
# already uses `await`, but it awaits each answer before it asks for the next.


# %%
async def one_after_another(tables: int):
    for table in range(1, tables + 1):
        await agent.ainvoke(order(table))


async def together(tables: int):
    orders = [order(table) for table in range(1, tables + 1)]
    await asyncio.gather(*(agent.ainvoke(o) for o in orders))


# %% [markdown]
# **Predict.** How many requests are in flight at the same moment, at most, in
# each of the two?
#
# <details><summary>Answer</summary>
#
# One and eight. `await` alone does not make anything concurrent. `gather`
# starts all eight before it waits for any.
#
# </details>

# %%
with Timeline() as slow, model.meter() as meter:
    await one_after_another(8)
print("one after another:", meter)

with Timeline() as quick, model.meter() as meter:
    await together(8)
print("together         :", meter)

# %%
Timeline.compare({"one after another": slow, "together": quick})

# %% [markdown]
# Same requests, same tokens, same kitchen. Each bar is as long as before.
# What shrinks is the total, because the waits overlap.
#
# That is the whole advantage of async: **concurrency, not speed**.

# %% [markdown]
# ## Try it
#
# Move the slider and switch the waiter. The sync waiter calls `invoke` in a
# loop; the red band says that the event loop stands still meanwhile.
#
# On a page without a kernel you see no slider. The figure above is what it
# draws for eight tables.

# %%
import ipywidgets as widgets

tables = widgets.IntSlider(4, 1, 8, description="tables")
waiter = widgets.ToggleButtons(options=["async", "sync"])
figure = widgets.Image(format="png")
tables.continuous_update = False


async def draw():
    with Timeline() as timeline:
        if waiter.value == "async":
            await together(tables.value)
        else:
            for table in range(tables.value):
                agent.invoke(order(table + 1))
    figure.value = timeline.png(title=f"{waiter.value} waiter")


# %% [markdown]
# A change starts `draw` as a task. The `running` set keeps a reference to it,
# because the event loop itself does not.

# %%
running = set()


def redraw(change):
    task = asyncio.create_task(draw())
    running.add(task)
    task.add_done_callback(running.discard)


tables.observe(redraw, "value")
waiter.observe(redraw, "value")
await draw()
widgets.VBox([tables, waiter, figure])

# %% [markdown]
# ## What a sync call does to everybody else
#
# A `Heartbeat` is a task that wants to run every 10 ms. If your code blocks
# the event loop, it misses beats, and so does every other user of your
# program. Here are three ways to stream inside `async` code.


# %%
async def async_stream():
    async for _ in agent.astream(order(1), **MESSAGES):
        pass


async def sync_stream():
    for _ in agent.stream(order(1), **MESSAGES):
        pass


async def sync_stream_with_sleep():
    for _ in agent.stream(order(1), **MESSAGES):
        await asyncio.sleep(0)


# %% [markdown]
# **Predict.** `await asyncio.sleep(0)` lets other tasks run after every
# chunk. Does that mend the sync stream?
#
# <details><summary>Answer</summary>
#
# No. The wait for the first token still blocks, and so does each wait
# between two tokens. One beat per token slips through.
#
# </details>

# %%
for serve in async_stream, sync_stream, sync_stream_with_sleep:
    async with Heartbeat() as heart:
        await serve()
    alive = heart.beats > heart.missed
    print(f"{serve.__name__:23}", "alive" if alive else "blocked", end="  ")
    print(f"longest silence {heart.longest:.2f} s")

# %% [markdown]
# A web server with the second or third form serves nobody else while it
# waits. The misconception has a name: *you can mix sync and async freely*.
# In `async` code, call the method with the `a`.

# %% [markdown]
# ## One thread, and where others appear
#
# **Predict.** Eight orders run together. How many threads run the node?
#
# <details><summary>Answer</summary>
#
# With an `async def` node one: the thread of the event loop. A `def` node
# runs in worker threads, because LangGraph does not let it block the loop.
#
# </details>

# %%
import threading

from langgraph.graph import START, MessagesState, StateGraph


def graph_of(node):
    graph = StateGraph(MessagesState).add_node("cook", node)
    return graph.add_edge(START, "cook").compile()


async def cook(state):
    threads.add(threading.current_thread().name)
    return {"messages": [await llm.ainvoke(state["messages"])]}


def sync_cook(state):
    threads.add(threading.current_thread().name)
    return {"messages": [llm.invoke(state["messages"])]}


# %%
for node in cook, sync_cook:
    threads = set()
    graph = graph_of(node)
    await asyncio.gather(*(graph.ainvoke(order(n)) for n in range(3)))
    print(f"{node.__name__:9} {len(threads)} thread(s)", end=", ")
    print("all workers:", all("asyncio" in name for name in threads))

# %% [markdown]
# So *async means multi-threaded* is wrong, and so is *you never need to
# touch your graph*. Worker threads come from a pool with a fixed size:
# `min(32, cores + 4)`.
#
# **Predict.** You send one order more than the pool has threads. What
# happens to the last one?
#
# <details><summary>Answer</summary>
#
# It waits until a thread is free: a second wave. The `async def` node has no
# such limit.
#
# </details>

# %%
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor()._max_workers  # the size of asyncio's own pool
for node in cook, sync_cook:
    with Timeline() as timeline, model.meter() as meter:
        orders = (graph_of(node).ainvoke(order(n)) for n in range(pool + 1))
        await asyncio.gather(*orders)
    over = meter.peak_in_flight - pool
    print(f"{node.__name__:9} in flight at most: pool size {over:+d}")

timeline.plot(title="sync_cook: the last order waits for a thread")

# %% [markdown]
# ## What people get wrong
#
# Four confusions, with the exact words that Python has for them. You will
# see these messages again.


# %%
async def for_over_astream():
    for chunk in agent.astream(order(1)):
        print(chunk)


async def async_for_over_stream():
    async for chunk in agent.stream(order(1)):
        print(chunk)


async def await_astream():
    await agent.astream(order(1))


async def await_invoke():
    await agent.invoke(order(1))


# %%
mistakes = for_over_astream, async_for_over_stream, await_astream, await_invoke
for mistake in mistakes:
    try:
        await mistake()
    except TypeError as error:
        print(f"{mistake.__name__}: {error}")

# %% [markdown]
# The fifth is silent at first. Without `await` you get a coroutine, and
# nothing has been sent yet.

# %%
with model.meter() as meter:
    forgotten = agent.ainvoke(order(1))

print(type(forgotten).__name__, "·", meter.requests, "requests")
state = await forgotten

# %% [markdown]
# ## `asyncio.run`: scripts yes, notebooks no
#
# A script has no event loop. `asyncio.run(main())` makes one, runs `main` and
# closes the loop. A notebook has a running loop already.

# %% tags=["raises-exception"]
served = agent.ainvoke(order(1))
asyncio.run(served)

# %% [markdown]
# Nothing is lost: the coroutine never started. In a notebook you await it.

# %%
state = await served
print(state["messages"][-1].text)

# %% [markdown]
# Here is a script, in a process of its own. The lab asks you for one that
# calls the model; this one shows what **nest-asyncio** does. It patches the
# loop, so that `asyncio.run` works inside a running one.
#
# **Predict.** The fast dish takes 0.1 s and starts first. Which line is
# printed first?
#
# <details><summary>Answer</summary>
#
# `slow`. Nested runs end like nested calls: the last one in is the first one
# out. The fast dish is ready, but the slow one sits on top of it.
#
# </details>

# %%
script = """
import asyncio, nest_asyncio
nest_asyncio.apply()

async def serve(dish, seconds):
    asyncio.run(asyncio.sleep(seconds))
    print(dish)

async def main():
    await asyncio.gather(serve("fast", 0.1), serve("slow", 0.5))

asyncio.run(main())
"""

# %% [markdown]
# `sys.executable` is the Python of this notebook.

# %%
import subprocess
import sys

run = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
)
print(run.stdout, run.stderr)

# %% [markdown]
# That is the price: your tasks are no longer independent, and some programs
# hang. The package came from a time before notebooks understood `await`. You
# do not need it here. Write `await`.
#
# If you must call async code from a sync function in a notebook, give it a
# thread: `ThreadPoolExecutor(1).submit(asyncio.run, main()).result()`.

# %% [markdown]
# ## Check yourself
#
# Replace the `...`. The function gets a graph and a number of tables. It
# returns the texts of all answers, in the order of the tables, from calls
# that run together.

# %%
from workshop.checks import check


async def serve_all(graph, tables: int) -> list[str]:
    # TODO (about 3 lines)
    ...


await check("01.0", serve_all)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Make a list of `graph.ainvoke(order(table))` without `await`. Then await
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

# %% [markdown]
# ## Keep
#
# - One request takes the same time both ways. Async overlaps the waits.
# - In `async` code call the `a` methods; one sync call stops everybody.
# - `def` nodes run in a pool of threads, `async def` nodes on the loop.
#
# **Next:** [Lab 01](../exercises/01_sync_vs_async.ipynb)
