# %% [markdown]
# # Serve eight tables at once: sync and async compared
#
# previous: [00 · Start here](00_start_here.ipynb) ·
# next: [02 · The event loop](02_event_loop.ipynb) ·
# lab: [01](../exercises/01_sync_vs_async.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - call one graph in three ways, each sync and async;
# - prove that calls overlap, and say what async does not speed up;
# - tell which nodes let many calls overlap.
#
# Builds on [lesson 00](00_start_here.ipynb).

# %%
from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.observe import Timeline

# %% [markdown]
# ## The restaurant
#
# A waiter takes an order to the kitchen. A **sync** waiter waits at its door
# until the dish is ready. An **async** waiter serves other tables meanwhile.
#
# The kitchen is the model. The waiter is the **[event
# loop](glossary.md#event-loop)**: it runs all your `async` code in one thread,
# a piece at a time.
#
# `create_agent` builds and compiles a graph, here with one node that calls
# the model. The first call in a notebook loads what later calls share. It is
# made now, so that it does not disturb the comparison.

# %%
llm = ChatOpenAI(model=model.name, stream_usage=True)
agent = create_agent(llm, tools=[])


def order(table: int) -> dict:
    return {"messages": [("user", f"Table {table} orders the soup")]}


state = await agent.ainvoke(order(0))
print(state["messages"][-1].text)

# %% [markdown]
# ## One table: invoke and ainvoke
#
# Every sync method of a graph has an async twin with an `a` in front.
# `invoke` and `ainvoke` return the final state.
#
# A `Timeline` records each model call of its `with` block and draws it.
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
# waits, nothing else on this event loop runs. `ainvoke` leaves the loop free
# for others.
#
# ## stream and astream
#
# `stream` and [`astream`](glossary.md#astream) give you parts of the answer
# while it is made. With `stream_mode="messages"` each part is a pair: a chunk
# of a message and its metadata. `for` becomes `async for`.

# %%
texts = []
for chunk, _ in agent.stream(order(1), stream_mode="messages"):
    texts.append(chunk.text)

async_texts = []
async for chunk, _ in agent.astream(order(1), stream_mode="messages"):
    async_texts.append(chunk.text)

print(texts)
print("the same from astream:", texts == async_texts)

# %% [markdown]
# ## batch and abatch
#
# `batch` and `abatch` take a list of inputs and return a list of states.
# `abatch` runs its inputs together on the event loop.
#
# **Predict.** How many requests are in flight at once with the sync `batch`
# of two orders?
#
# <details><summary>Answer</summary>
#
# Two. It runs them in a pool of threads, one thread for each input. Sync code
# can be concurrent, up to the size of the pool.
#
# </details>

# %%
orders = [order(1), order(2)]

with model.meter() as meter:
    agent.batch(orders)
print("batch: ", meter)

with model.meter() as meter:
    await agent.abatch(orders)
print("abatch:", meter)

# %% [markdown]
# ## Eight tables
#
# `serve` streams the answer for one table and returns its text. Two waiters
# use it, both with `await`. The first finishes with one table before he goes
# to the next.
#
# The second makes a list of calls. A call of an `async` function does not run
# it yet; it makes a **[coroutine](glossary.md#coroutine)**, a run that waits
# to be started. `asyncio.gather` starts them all and waits until the last has
# ended. It takes them one by one; the star in `gather(*calls)` hands over a
# whole list.

# %%
import asyncio


async def serve(table: int) -> str:
    text = ""
    async for chunk, _ in agent.astream(order(table), stream_mode="messages"):
        text += chunk.text
    return text


async def one_by_one(tables: int) -> list[str]:
    texts = []
    for table in range(tables):
        text = await serve(table)
        texts.append(text)
    return texts


async def together(tables: int) -> list[str]:
    calls = [serve(table) for table in range(tables)]
    return await asyncio.gather(*calls)


# %% [markdown]
# **Misconception:** *with `await`, calls run concurrently*.
#
# **Predict.** How many requests are in flight at once, at most, with each
# waiter?
#
# <details><summary>Answer</summary>
#
# One and eight. `await` alone makes nothing concurrent: it means *go on when
# this has ended*. `gather` starts all eight before it waits for any.
#
# </details>

# %%
with model.meter() as meter, Timeline() as slow:
    texts = await one_by_one(8)
print("one by one:", meter)

with model.meter() as meter, Timeline() as quick:
    same_texts = await together(8)
print("together:  ", meter)

print("same texts:", texts == same_texts)
Timeline.compare({"one by one": slow, "together": quick})

# %% [markdown]
# Same requests, same tokens, and each bar is as long as before. What shrinks
# is the total, because the waits overlap. That is the whole advantage of
# async: **concurrency, not speed**. The texts are in order, too: `gather`
# returns results in the order of its arguments.
#
# At work you also want a limit on how many run together, and a rule for when
# one fails. [Lesson 11](11_parallel_graphs.ipynb) is about both.
#
# ## Try it
#
# A third waiter has no `await` at all. He streams like the others, but with
# `stream`.

# %%
from workshop.show import slider


def sync_waiter(tables: int) -> list[str]:
    texts = []
    for table in range(tables):
        text = ""
        for chunk, _ in agent.stream(order(table), stream_mode="messages"):
            text += chunk.text
        texts.append(text)
    return texts


# %% [markdown]
# Move the slider, and try the three waiters. *sync* takes as long as *one by
# one*, and its red band covers everything. *together* takes as long for eight
# tables as for one.

# %%
waiters = {
    "together": together,
    "one by one": one_by_one,
    "sync": sync_waiter,
}
await slider.show(waiters)

# %% [markdown]
# <img src="pictures/slider.png" width="760"
# alt="Four lanes, one for each table: all wait together and stream together">
#
# ## A node decides, too
#
# `ainvoke` is only the outside of a graph. Inside, a node can be `async def`
# or `def`. LangGraph accepts both. This one is `def`.

# %%
from langgraph.graph import START, MessagesState, StateGraph


def cook(state: MessagesState):
    message = llm.invoke(state["messages"])
    return {"messages": [message]}


builder = StateGraph(MessagesState)
builder.add_node(cook)
builder.add_edge(START, "cook")
kitchen = builder.compile()

# %% [markdown]
# A `def` node must not block the event loop, so LangGraph runs it in a
# thread, out of the pool that every event loop has. That pool is small: yours
# has `min(32, cores + 4)` threads. The next cell gives it four, so that every
# machine shows the same.
#
# The node of `agent` has an `async` form.
#
# **Predict.** You send five orders together to each graph. How many requests
# are in flight at once, at most?
#
# <details><summary>Answer</summary>
#
# Five with `agent`. Four with `kitchen`: the fifth order waits for a thread.
#
# </details>

# %%
from concurrent.futures import ThreadPoolExecutor

loop = asyncio.get_running_loop()
loop.set_default_executor(ThreadPoolExecutor(4))

calls = [agent.ainvoke(order(table)) for table in range(5)]
with model.meter() as meter:
    await asyncio.gather(*calls)
print("agent:  ", meter)

calls = [kitchen.ainvoke(order(table)) for table in range(5)]
with model.meter() as meter, Timeline() as timeline:
    await asyncio.gather(*calls)
print("kitchen:", meter)

timeline.plot(title="kitchen: five orders, four threads")

# %% [markdown]
# So *you never rewrite your graph for async* is wrong: a `def` node limits
# you to the size of the pool. An `async def` node that awaits `ainvoke`, as
# in lesson 00, has no such limit.
#
# ## Check yourself
#
# The function gets a graph and a number of tables. It returns the texts of
# all answers, in the order of the tables, from calls that run together. If
# one fails, its error passes on.

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
# `asyncio.gather(*calls)` once. The text of an answer is in the last message
# of its state.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# calls = [graph.ainvoke(order(table)) for table in range(tables)]
# states = await asyncio.gather(*calls)
# return [state["messages"][-1].text for state in states]
# ```
#
# </details>
#
# ## Keep
#
# - Async overlaps the waits; one request takes the same time.
# - `await` in a loop is one by one. `gather` starts all, then waits.
# - `def` nodes run in a small pool of threads, `async def` nodes on the loop.
#
# **Next:** [Lab 01](../exercises/01_sync_vs_async.ipynb), then
# [02 · The event loop](02_event_loop.ipynb)
