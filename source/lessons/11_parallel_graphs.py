# %% [markdown]
# # Run many graphs at once
#
# previous: [09 · A streaming service](09_events_and_resume.ipynb) ·
# next: [14 · Async memory](14_async_memory.ipynb) ·
# lab: [11](../exercises/11_parallel_graphs.ipynb)
#
# In twenty minutes you will be able to:
#
# - run many graphs under one limit, and prove the limit by counting;
# - say what a failure, a retry and a time limit cost, in requests;
# - merge many token streams into one, and show them on a board.
#
# Builds on lessons 01 and 05.

# %%
from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)

# %% [markdown]
# `max_retries=0`: nothing is repeated behind your back while you count.
#
# ## The usual way
#
# This function starts one run for each topic and waits for all of them.
#
# **Predict.** One answer takes 0.8 s. How long do three take? In what order
# do the texts come back?
#
# <details><summary>Answer</summary>
#
# As long as one. `gather` returns them in the order of the topics, whatever
# order they finished in.
#
# </details>

# %%
import asyncio

import openai

agent = create_agent(llm, tools=[])


async def parallel_research(topics: list[str]):
    tasks = [
        agent.ainvoke({"messages": [("user", f"Research: {topic}")]})
        for topic in topics
    ]
    results = await asyncio.gather(*tasks)
    return [r["messages"][-1].content for r in results]


def ask(topic):
    return {"messages": [("user", f"Research: {topic}")]}


# %%
from workshop.observe import Timeline

with Timeline() as timeline:
    texts = await parallel_research(["owls", "rivers", "bees"])
timeline.plot()

# %% [markdown]
# Three lanes, one wait. The red part comes once: the first call of a process
# sets up its HTTP client. What is missing: a limit, an answer before the last
# one is there, a plan for failures, a way to stop.
#
# ## What people get wrong: *`max_concurrency` limits my program*
#
# `counted` runs something, waits until the model is idle, and prints what the
# **model** counted, and what came out.
#
# **Predict.** Twelve topics, four ways, and a limit of five in three of them.
# At most how many requests are in flight?
#
# <details><summary>Answer</summary>
#
# 12, 5, 5 and 12. The setting is about **one** run, and in the last way each
# run has its own. `abatch` applies it to its whole list.
#
# </details>

# %%
turn = asyncio.Semaphore(5)


async def research(topic, config=None):
    return (await agent.ainvoke(ask(topic), config))["messages"][-1].text


async def in_turn(topic):
    async with turn:
        return await research(topic)


async def counted(name, work):
    with model.meter() as m, Timeline() as t:
        [end] = await asyncio.gather(work, return_exceptions=True)
    while m.read().in_flight:
        await asyncio.sleep(0.05)
    print(f"{name:18}{m}, {t.took:.1f} s, {type(end).__name__}")


# %%
topics, five = [f"topic {n}" for n in range(12)], {"max_concurrency": 5}
await counted("gather", parallel_research(topics))
await counted("semaphore", asyncio.gather(*map(in_turn, topics)))
await counted("abatch", agent.abatch([*map(ask, topics)], five))
await counted("setting", asyncio.gather(*[research(t, five) for t in topics]))

# %% [markdown]
# A semaphore limits all who share it. So make **one** for each provider, not
# one for each user.
#
# ## Each answer when it is there
#
# **Predict.** The first topic has the longest answer, the last one the
# shortest. What do these two loops print first?
#
# <details><summary>Answer</summary>
#
# The owls, both. `as_completed` does not say which call it was.
# `abatch_as_completed` gives the index, and takes the limit as well.
#
# </details>

# %%
wants = ["rivers, lakes, seas, rain, ice, fog", "bees, bugs, ants", "owls"]
for text in asyncio.as_completed(map(research, wants)):
    print(await text)
async for index, state in agent.abatch_as_completed([*map(ask, wants)], five):
    print(index, state["messages"][-1].text)

# %% [markdown]
# ## One fails
#
# **Predict.** Five topics. In the middle of one answer the connection breaks.
# Which of three ways still pays for the four others?
#
# <details><summary>Answer</summary>
#
# Both with `gather`. The plain one raises at once and leaves the others
# running, and nobody will read them. With `return_exceptions` you get four
# texts and one error. `TaskGroup` cancels the others.
#
# </details>


# %%
async def grouped(topics):
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(research(topic)) for topic in topics]
    except* openai.APIError as failed:
        print(*failed.exceptions)
    return [task.cancelled() for task in tasks]


def collected(topics):
    return asyncio.gather(*map(research, topics), return_exceptions=True)


for way in parallel_research, grouped, collected:
    model.fault("cut", after_tokens=5)
    await counted(way.__name__, way(topics[:5]))

# %% [markdown]
# Several tasks may fail at once, so a `TaskGroup` raises an `ExceptionGroup`.
# `except*` takes it apart by type. What had come before is not lost: a task
# that has ended keeps its result, and `tasks` outlives the group.
#
# ## A refusal, at three levels
#
# A busy provider says 429 and, in `Retry-After`, when to come back. Three
# levels can try again: the openai client, a node of the graph, and your code
# around the run. Each has three attempts here.
#
# **Predict.** The model refuses everything. How many requests does each level
# make, and how many do all three together?
#
# <details><summary>Answer</summary>
#
# Three each, and 3 x 3 x 3 = 27 together, for one question.
#
# </details>

# %%
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy, Send


def graph_of(node, **options):
    graph = StateGraph(MessagesState).add_node("reply", node, **options)
    return graph.add_edge(START, "reply").compile()


for client, node, run in (3, 1, 1), (1, 3, 1), (1, 1, 3), (3, 3, 3):
    tries = ChatOpenAI(model=model.name, max_retries=client - 1)
    policy = RetryPolicy(max_attempts=node, jitter=False, initial_interval=0)
    graph = graph_of(create_agent(tries, []), retry_policy=policy)
    g = graph.with_retry(stop_after_attempt=run, wait_exponential_jitter=False)
    model.fault("rate_limit", times=client * node * run, retry_after=0.2)
    await counted(f"{client} x {node} x {run}", g.ainvoke(ask("tea")))

# %% [markdown]
# Only the first row waited as long as it was told, 0.2 s each time. So choose
# **one** level: the client's for refusals, a `RetryPolicy` for nodes that do
# other things. A retry around the run pays for all of its steps again.
#
# ## A time limit, at five levels
#
# Each limit is one second: for the next bytes, the next chunk, a node, a step,
# a run. Where it says `def`, the call is made in a thread.
#
# **Predict.** The model stalls for two seconds. Which call is not cut off?
#
# <details><summary>Answer</summary>
#
# The last one. Your code goes on in time, but a thread cannot be cancelled.
# For that reason LangGraph refuses a `timeout` on a `def` node.
#
# </details>

# %%
import logging

logging.getLogger("langchain_openai").setLevel("ERROR")
tea, threaded = ask("tea"), graph_of(lambda state: agent.invoke(state))
read = ChatOpenAI(model=model.name, max_retries=0, timeout=1)
chunk = llm.model_copy(update={"stream_chunk_timeout": 1, "streaming": True})
model.fault("stall", times=5, after_tokens=2, seconds=2)
await counted("read, def", asyncio.to_thread(read.invoke, "tea"))
await counted("chunk", chunk.ainvoke("tea"))
await counted("node", graph_of(agent, timeout=1).ainvoke(tea))
await counted("node, def", asyncio.to_thread(graph_of, ask, timeout=1))
await counted("step", agent.copy({"step_timeout": 1}).ainvoke(tea))
await counted("run, def", asyncio.wait_for(threaded.ainvoke(tea), 1))

# %% [markdown]
# So give every client a `timeout`: it is the only limit that ends the call of
# a thread. It is about one wait, though. For all of a run write
# `asyncio.timeout` around it, and `async def` nodes inside.
#
# ## Parallel inside one graph
#
# LangGraph runs a graph in **steps**. A step begins when all nodes of the
# one before have ended.
#
# **Predict.** `a` leads to `b`. `c` stands beside them and takes longer than
# `a`. When does `b` start, in one graph and in two?
#
# <details><summary>Answer</summary>
#
# In one graph it waits for `c`, with which it has nothing to do.
#
# </details>


# %%
async def reply(state, config):
    return await agent.ainvoke(ask(config["metadata"]["langgraph_node"]))


def chains(*rows):
    graph = StateGraph(MessagesState)
    for row in rows:
        graph.add_sequence([(n, reply) for n in row]).add_edge(START, row[0])
    return graph.compile().ainvoke(ask("all"))


with Timeline() as one:
    await chains(["a", "b"], ["c, a long story"])
with Timeline() as two:
    await asyncio.gather(chains(["a", "b"]), chains(["c, a long story"]))
Timeline.compare({"one graph": one, "two graphs": two})

# %% [markdown]
# Put into one graph what is joined later. What is independent, such as two
# users, runs in graphs of its own.
#
# `Send` starts a node once for each item of a list, all in one step. A second
# step sums up.
#
# **Predict.** Here `max_concurrency` is given to one run. Does it count?
#
# <details><summary>Answer</summary>
#
# It does: the twelve nodes belong to one run.
#
# </details>

# %%
graph = StateGraph(MessagesState).add_sequence([("a", agent), ("b", agent)])
send = [Send("a", ask(topic)) for topic in topics]
fan = graph.add_conditional_edges(START, lambda _: send).compile()
await counted("Send", fan.ainvoke(ask("all")))
await counted("Send, five", fan.ainvoke(ask("all"), five))

# %% [markdown]
# ## Many streams into one
#
# A page shows several researches over one connection. So each piece needs a
# label. A bounded queue keeps it fair: whoever finds it full stands in line.
#
# This version is for streams that end well and for readers who stay. You
# mend the rest in lab 11.


# %%
async def pump(queue, topic, late):
    await asyncio.sleep(late)
    async for message, _ in agent.astream(ask(topic), stream_mode="messages"):
        await queue.put((topic, message.text))
    await queue.put((topic, None))


async def merged(topics, size):
    queue = asyncio.Queue(size)
    pumps = [asyncio.create_task(pump(queue, *t)) for t in topics.items()]
    for _ in pumps:
        while (piece := await queue.get())[1] is not None:
            yield piece


# %% [markdown]
# **Predict.** The bees start 1.3 s after the owls, and the reader takes 0.15 s
# for each piece. Size 0 means no bound. Does the reader see bees while
# owls still come?
#
# <details><summary>Answer</summary>
#
# Only with a bound. Without one, all owls are in the queue before the first
# bee.
#
# </details>

# %%
for size, names in {0: [], 1: []}.items():
    async for name, _ in merged({"owls": 0, "bees": 1.3}, size):
        names.append(name)
        await asyncio.sleep(0.15)
    print(size, "bees among the owls:", "owls" in names[names.index("bees") :])

# %% [markdown]
# ## When the reader is slow
#
# That bound is yours. What does LangGraph itself do?
#
# **Predict.** You take the first part of the graph with `Send`, and then you
# read nothing for four seconds. How many of the 13 requests are made?
#
# <details><summary>Answer</summary>
#
# With `astream` 12. The step ends without you; only the next step waits for
# you. With `astream_events` all 13.
#
# </details>


# %%
async def peek(stream):
    await anext(stream)
    await asyncio.sleep(4)


for way in fan.astream, fan.astream_events:
    await counted(way.__name__, peek(way(ask("all"))))

# %% [markdown]
# So inside a step nothing holds back. What you have not read lies in a queue
# without a bound. If that is too much, let the node itself `await
# queue.put(...)` on a bounded queue. Lab 11 counts what that saves.
#
# ## A board
#
# Four researches, each with its progress and its Cancel. `max` is a guess:
# nobody knows how long an answer gets. A click may come in another thread,
# so `call_soon_threadsafe` takes it to your loop.
#
# Press **Start**, then a Cancel. On a page without a kernel you see no board:
# the cell after it presses its buttons for you.

# %%
from ipywidgets import Button, HBox, IntProgress, Label, VBox

loop, start = asyncio.get_running_loop(), Button(description="Start")
bars = [IntProgress(max=16, description=topic) for topic in topics[:4]]
notes, total = [Label() for _ in bars], IntProgress(max=64, description="all")
cancels = [Button(description="Cancel") for _ in bars]
runs = [loop.create_future() for _ in bars]


async def show(bar, note):
    bar.value = 0
    stream = agent.astream(ask(bar.description), stream_mode="messages")
    async for message, _ in stream:
        bar.value += bool(message.text)
        note.value = f"{bar.value} tokens"
        total.value = sum(bar.value for bar in bars)


def begin():
    _ = [run.cancel() for run in runs]
    runs[:] = map(loop.create_task, map(show, bars, notes))


start.on_click(lambda _: loop.call_soon_threadsafe(begin))
for n, cancel in enumerate(cancels):
    cancel.on_click(lambda _, n=n: loop.call_soon_threadsafe(runs[n].cancel))
VBox([start, *map(HBox, zip(bars, notes, cancels, strict=True)), total])

# %%
start.click()
await asyncio.sleep(0.4)
cancels[1].click()
await asyncio.wait(runs)
print("cancelled:", [run.cancelled() for run in runs])

# %% [markdown]
# ## Beyond one process
#
# One process uses one core. Dask runs a function in other processes or on
# other machines, and its client speaks `await`. That is worth it when nodes
# compute, or when the tokens of all streams fill a core. For waiting it is
# not.
#
# `agent` holds connections and cannot travel. So the function makes its own
# where it runs. The client gets an address and nothing else: one of another
# machine would do.
#
# **Predict.** Two workers, eight topics. How many are in flight at the model?
#
# <details><summary>Answer</summary>
#
# All eight, from two processes. The first call in each takes seconds: a new
# process has to load everything.
#
# </details>

# %%
import os

from dask.distributed import Client, LocalCluster


async def elsewhere(topic):
    await create_agent(ChatOpenAI(model=model.name), []).ainvoke(ask(topic))


local = {"n_workers": 2, "threads_per_worker": 8, "asynchronous": True}
quiet = {"dashboard_address": None, "silence_logs": "ERROR"}
async with LocalCluster(**local, **quiet) as cluster:
    tales = [f"tale {number}" for number in range(8)]
    async with Client(cluster.scheduler_address, asynchronous=True) as client:
        await client.run(elsewhere, "owls")  # each worker loads LangGraph
        await counted("tales", client.gather(client.map(elsewhere, tales)))
        print("processes:", len({*(await client.run(os.getpid)).values()}))

# %% [markdown]
# ## Check yourself
#
# Replace the `...`. The model refuses everything. How many requests does one
# question cost, if the client has `max_retries`, the node a `RetryPolicy`
# with `max_attempts`, and your code makes `runs` attempts?


# %%
from workshop.checks import check


def billed(max_retries, max_attempts, runs) -> int:
    # TODO (about 1 line)
    ...


# %%
await check("11.0", billed)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A retry comes after a first attempt. Is the first attempt one of the
# `max_attempts`, too? How does the cell above call the client?
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# return (max_retries + 1) * max_attempts * runs
# ```
#
# </details>
#
# ## Keep
#
# - One semaphore limits all runs; `max_concurrency` limits one.
# - `TaskGroup` stops what a failure has made useless; `gather` pays for it.
# - Retry at one level, and put a limit where it can end the call.
#
# **Next:** [Lab 11](../exercises/11_parallel_graphs.ipynb)
