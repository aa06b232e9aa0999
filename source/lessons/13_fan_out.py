# %% [markdown]
# # Fan out, merge, hold back
#
# previous: [12 · Retries and limits](12_retries_and_limits.ipynb) ·
# next: [14 · Async memory](14_async_memory.ipynb) ·
# lab: [13](../exercises/13_fan_out.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - start a node once for each item of a list, and limit how many run at once;
# - merge many token streams into one that is fair;
# - say what runs on while nobody reads.
#
# Builds on lessons 05 and 11.

# %%
import asyncio

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.guests import idle
from workshop.model import connect  # missing? pip install "./[lessons]"
from workshop.observe import Timeline

model = connect()
llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])


async def research(topic):
    question = {"messages": [("user", f"Research: {topic}")]}
    state = await agent.ainvoke(question)
    return state["messages"][-1].text


# %% [markdown]
# ## Parallel inside one graph
#
# LangGraph runs a graph in **steps**. A step begins when all nodes of the
# one before have ended.
#
# **Predict.** `a` leads to `b`. `c` stands beside them and takes longer than
# `a`. When does `b` start?
#
# <details><summary>Answer</summary>
#
# When `c` has ended, with which it has nothing to do. `a` and `c` are the
# first step, `b` is the second.
#
# </details>

# %%
from langgraph.graph import START, MessagesState, StateGraph


async def a(state):
    return {"messages": await research("a")}


async def b(state):
    return {"messages": await research("b")}


async def c(state):
    return {"messages": await research("c, and a long story about it")}


builder = StateGraph(MessagesState)
builder.add_node(a)
builder.add_node(b)
builder.add_node(c)
builder.add_edge(START, "a")
builder.add_edge("a", "b")
builder.add_edge(START, "c")
graph = builder.compile()

with Timeline() as timeline:
    await graph.ainvoke({"messages": []})
timeline.plot()

# %% [markdown]
# The steps keep a state whole: what `a` and `c` return is put
# together before anybody reads it. So put into one graph what is joined
# later. What is independent, such as two users, runs in graphs of its own.
#
# ## As many nodes as there are items
#
# Edges are drawn before you know how long the list is. A `Send` is an edge
# made at run time: `Send("look_up", job)` starts that node once, with `job`
# as its input. A function that returns a list of them starts as many, all in
# one step. `add_conditional_edges` takes that function, and the names of the
# nodes that it may start.
#
# All of them write into the same `notes`. `operator.or_` is the `|` of two
# dicts: it joins what they return. Without such a rule LangGraph refuses two
# writes in one step.

# %%
import operator
from typing import Annotated, TypedDict

from langgraph.types import Send


class Work(TypedDict):
    topics: list[str]
    notes: Annotated[dict[str, str], operator.or_]
    report: str


def spread(work: Work) -> list[Send]:
    return [Send("look_up", {"topic": topic}) for topic in work["topics"]]


# %% [markdown]
# The two nodes, and the graph:


# %%
async def look_up(job):
    text = await research(job["topic"])
    return {"notes": {job["topic"]: text}}


async def sum_up(work: Work):
    report = await research(f"all {len(work['notes'])} notes")
    return {"report": report}


builder = StateGraph(Work)
builder.add_node(look_up)
builder.add_node(sum_up)
builder.add_conditional_edges(START, spread, ["look_up"])
builder.add_edge("look_up", "sum_up")
fan_out = builder.compile()

# %% [markdown]
# This function is for work: a bounded **[fan-out](glossary.md#fan-out)**. Its
# limit is `max_concurrency`, which in lesson 11 limited nothing.


# %%
async def report_on(topics: list[str], limit: int) -> str:
    """Look up each topic, at most `limit` at once, and sum up."""
    config = {"max_concurrency": limit}
    state = await fan_out.ainvoke({"topics": topics}, config)
    return state["report"]


# %% [markdown]
# **Predict.** Twelve topics, a limit of five. How many requests are in flight
# at the peak, and how many are made?
#
# <details><summary>Answer</summary>
#
# 5, and 13. The twelve nodes belong to **one** run, and the setting is about
# one run. The thirteenth request is the sum.
#
# </details>

# %%
topics = [f"topic {number}" for number in range(12)]

with model.meter() as meter:
    print(await report_on(topics, limit=5))
print("requests:", meter.requests, "at the peak:", meter.peak_in_flight)

# %% [markdown]
# ## Many streams into one
#
# A page shows several researches over one connection. So each piece needs a
# label, and the streams must not wait for each other. A task for each stream
# puts its pieces into one queue, and one reader takes them out.
#
# `size` is the **bound** of the queue: whoever finds it full waits in
# `put`. A size of 0 means no bound. `END` is an object of its own, so it can
# be nothing that a stream yields.

# %%
END = object()


async def merged(streams, size):
    queue = asyncio.Queue(size)

    async def pump(label, stream):
        async for piece in stream:
            await queue.put((label, piece))
        await queue.put((label, END))

    pumps = []
    for label, stream in streams.items():
        pumps.append(asyncio.create_task(pump(label, stream)))

    still_open = len(pumps)
    while still_open:
        label, piece = await queue.get()
        if piece is END:
            still_open -= 1
        else:
            yield label, piece


# %% [markdown]
# This version is for streams that end well and for readers who stay. You mend
# the rest in lab 13.


# %%
async def tokens_of(topic):
    question = {"messages": [("user", f"Research: {topic}")]}
    stream = agent.astream(question, stream_mode="messages", version="v2")
    async for part in stream:
        message, _ = part["data"]
        yield message.text


async def bees_after_owls(meter):
    while meter.read().requests == 0 or meter.in_flight > 0:
        await asyncio.sleep(0.05)
    async for piece in tokens_of("bees"):
        yield piece


async def who_comes(size):
    bees = bees_after_owls(model.meter())
    streams = {"owls": tokens_of("owls"), "bees": bees}
    labels = []
    async for label, piece in merged(streams, size):
        labels.append(label)
        await asyncio.sleep(0.15)  # a slow reader
    return labels


# %% [markdown]
# **Predict.** The bees start when the model has written its last owl. The
# reader takes 0.15 s for each piece, longer than the model. Does it see bees
# while owls still come: without a bound, and with a bound of one?
#
# <details><summary>Answer</summary>
#
# Only with a bound. Without one, all owls are in the queue before the first
# bee. With one, an owl and a bee stand in line at the full queue, and the
# first in line gets the next place.
#
# </details>

# %%
for size in (0, 1):
    labels = await who_comes(size)
    first_bee = labels.index("bees")
    mixed = "owls" in labels[first_bee:]
    print("size", size, "- owls after the first bee:", mixed)

# %% [markdown]
# A bound is **[backpressure](glossary.md#backpressure)**: the slow reader
# slows the writers, and memory stays small. Where a writer must not wait, a
# full queue leaves two choices. Drop a piece that the next one replaces (never
# a token), or end the stream.
#
# ## What people get wrong: *the graph waits for its reader*
#
# That bound is yours. What does LangGraph itself do?
#
# **Predict.** You take the first part of `fan_out`, and then read nothing
# more, until the model has had nothing to do for three seconds. How many of
# the 13 requests are made, with `astream` and with `astream_events`? (`idle`
# waits until the model has nothing to do.)
#
# <details><summary>Answer</summary>
#
# 12 with `astream`: the step ends without you, and only the next step waits
# for you. All 13 with `astream_events`.
#
# </details>


# %%
async def read_one(stream):
    with model.meter() as meter:
        await anext(stream)
        await idle(meter)
        await asyncio.sleep(3)
        await idle(meter)
    await stream.aclose()
    return meter.requests


work = {"topics": topics}
stream = fan_out.astream(work, version="v2")
print("astream:", await read_one(stream))

stream = fan_out.astream_events(work, version="v2")
print("astream_events:", await read_one(stream))

# %% [markdown]
# Why: `astream` is a generator, and your `anext` is what moves it on. It
# starts the nodes of a step as tasks, and those run by themselves. The next
# step is started by the next `anext`. `astream_events` puts a task of its own
# before you, which reads the graph as fast as it can.
#
# In both, what you have not read lies in a queue **without a bound**. If that
# is too much, let the node itself wait at a bounded queue of yours, as the
# solution of lab 13 does at its end.
#
# ## Optional: more than one process
#
# One process uses one core. Dask runs a function in other processes. That
# is worth it when nodes compute, or when tokens fill a core.
#
# `agent` holds connections and cannot travel, so the function makes its own.
# Each process loads LangGraph first, which takes a while. The cell is folded.

# %% tags=["folded"]
from dask.distributed import Client, LocalCluster


async def elsewhere(topic):
    llm = ChatOpenAI(model=model.name)
    agent = create_agent(llm, tools=[])
    await agent.ainvoke({"messages": [("user", f"Research: {topic}")]})


print("Two processes start. This takes 10 to 60 seconds.", flush=True)
cluster = LocalCluster(
    n_workers=2,
    threads_per_worker=8,
    asynchronous=True,
    dashboard_address="127.0.0.1:0",  # any free port, this machine only
    silence_logs="ERROR",
)
async with cluster, Client(cluster, asynchronous=True) as client:
    await client.run(elsewhere, "owls")  # each worker loads LangGraph
    with model.meter() as meter:
        await client.gather(client.map(elsewhere, topics[:8]))
    print("at the peak:", meter.peak_in_flight, "of", meter.requests)

# %% [markdown]
# Eight in flight, from two processes. Dask's dashboard wants port 8787, and a
# second notebook would find it taken.
# `dashboard_address=None` does not help: it hides the dashboard, and the port
# is opened all the same. Port 0 means any that is free.
#
# ## Check yourself
#
# A run may begin with some notes already there, from a run that broke off.
# Replace the `...`: one `Send` for each topic that has no note yet.


# %%
from workshop.checks import check


def spread_missing(work: Work) -> list[Send]:
    # TODO (about 2 lines)
    ...


# %%
await check("13.0", spread_missing)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `spread` above makes one for each topic. `work["notes"]` is a dict whose
# keys are topics.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# todo = [topic for topic in work["topics"] if topic not in work["notes"]]
# return [Send("look_up", {"topic": topic}) for topic in todo]
# ```
#
# </details>
#
# ## Keep
#
# - A step waits for all its nodes; `Send` makes as many as there are items.
# - Merge with one bounded queue: labels, an end mark, and whoever is full
#   waits.
# - Nothing inside a step waits for a reader, and `astream_events` never does.
#
# **Next:** [Lab 13](../exercises/13_fan_out.ipynb)
