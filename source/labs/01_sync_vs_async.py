# %% [markdown]
# # Lab 01: fix a slow restaurant
#
# lesson: [01 · Sync and async compared](../notebooks/01_sync_vs_async.ipynb) ·
# [exercise](../exercises/01_sync_vs_async.ipynb) ·
# [solution](../solutions/01_sync_vs_async.ipynb)

# %% [markdown]
# Four tasks, about 25 minutes. You will
#
# - make slow code concurrent, and prove it with a counter;
# - find and fix calls that block the event loop;
# - take a graph into a script that does not fail the second time.
#
# Write your code where the `...` is, and run that cell and the check below
# it. The check tries your function on a model of its own and prints one line.
# Each task has two hints.

# %%
import asyncio

from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check

# %% [markdown]
# ## Task 1: serve all tables at once
#
# This waiter brings one dish before he takes the next order. The texts are
# right, and the kitchen is nearly idle.

# %%
agent = create_agent(ChatOpenAI(model=model.name), tools=[])


async def one_by_one(graph, questions):
    texts = []
    for question in questions:
        state = await graph.ainvoke({"messages": [("user", question)]})
        texts.append(state["messages"][-1].text)
    return texts


# %% [markdown]
# The meter shows it: never more than one request in flight.

# %%
with model.meter() as meter:
    await one_by_one(agent, ["What is LangGraph?", "Why async?", "Who waits?"])
print(meter)

# %% [markdown]
# **Write** `answer_all(graph, questions)`. It returns the same list of texts,
# in the order of the questions.
#
# **Expected:** with three questions, 3 requests are in flight at once.


# %%
async def answer_all(graph, questions):
    # TODO (about 4 lines)
    # solution
    async def answer(question):
        state = await graph.ainvoke({"messages": [("user", question)]})
        return state["messages"][-1].text

    return await asyncio.gather(*map(answer, questions))


# %%
await check("01.1", answer_all)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# All three calls must have started before you wait for the first. What
# starts several coroutines and waits for all of them?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Write an inner `async def answer(question)` that awaits `ainvoke` once and
# returns the text. Make one coroutine for each question. Then
# `return await asyncio.gather(*coroutines)`. It keeps their order.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `await` in a loop means: go on when this one is done. `gather`
# starts every coroutine as a task first, and waits once. It returns the
# results in the order of its arguments, whoever was ready first.
# `asyncio.as_completed` would give them in the order of the kitchen.
#
# A task for each question, awaited later, works as well. A task that you
# await in the line after its creation changes nothing.

# %% [markdown]
# ## Task 2: find what stops everybody
#
# `read_menu` stands for a library that only has blocking calls.

# %%
import time


def read_menu():
    time.sleep(0.3)
    return "On the menu: soup."


# %% [markdown]
# `serve` streams a dish to one table. While it runs, nobody else in the house
# is served.


# %%
async def serve(graph, question, read_menu):
    order = {"messages": [("user", f"{read_menu()} {question}")]}
    for chunk, _ in graph.stream(order, stream_mode="messages"):
        yield chunk.text
        await asyncio.sleep(0)  # "so that others get a turn"


# %% [markdown]
# The heartbeat should never pause.

# %%
from workshop.observe import Heartbeat

async with Heartbeat() as heart:
    async for piece in serve(agent, "Is it good?", read_menu):
        print(piece, end="|")
print(f"\nlongest time without a beat: {heart.longest:.2f} s")

# %% [markdown]
# **Write** `serve_gently` with the same parameters. It yields the same
# pieces, and nothing in it blocks the event loop. `read_menu` stays as it is.
#
# **Expected:** the loop stays free, and the first piece comes before the
# model has finished.


# %%
async def serve_gently(graph, question, read_menu):
    # TODO (about 4 lines)
    # solution
    menu = await asyncio.to_thread(read_menu)
    order = {"messages": [("user", f"{menu} {question}")]}
    async for chunk, _ in graph.astream(order, stream_mode="messages"):
        yield chunk.text


# %%
await check("01.2", serve_gently)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Two lines wait without `await`. One has an async twin. The other has none
# and needs a thread. `sleep(0)` gives others a turn between two pieces, but
# not while you wait for the first.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `menu = await asyncio.to_thread(read_menu)`: the function without `()`.
# Then `async for chunk, _ in graph.astream(...)`, and yield `chunk.text`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The loop runs on one thread. A call that waits there without
# `await` stops every task of the process. `astream` gives the loop back while
# it waits. For code that has no async form, `to_thread` moves the wait to
# a worker thread.
#
# `to_thread(list, graph.stream(...))` would free the loop too, but then the
# guest gets everything at the end. And `sleep(0)` is no cure: the longest
# wait is the one before the first piece.

# %% [markdown]
# ## Task 3: let twenty calls overlap
#
# Every graph of this task has one node.

# %%
from langgraph.graph import START, MessagesState, StateGraph


def graph_of(node):
    builder = StateGraph(MessagesState)
    builder.add_node("reply", node)
    builder.add_edge(START, "reply")
    return builder.compile()


# %% [markdown]
# `ainvoke` alone does not make calls overlap. It depends on the node.
# LangGraph runs this `def` node in a pool of threads, and the pool is small.


# %%
def build_small(llm):
    def reply(state):
        return {"messages": [llm.invoke(state["messages"])]}

    return graph_of(reply)


# %% [markdown]
# **Write** `build(llm)`. It returns a compiled graph like `build_small` does,
# but its node lets any number of calls overlap.
#
# **Expected:** 20 concurrent `ainvoke` calls, 20 requests in flight.


# %%
def build(llm):
    # TODO (about 3 lines)
    # solution
    async def reply(state):
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return graph_of(reply)


# %%
await check("01.3", build)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Only the node changes. A node may be an `async def`. Which of the calls
# inside it waits?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Two places change: `async def reply`, and `await llm.ainvoke(...)` instead of
# `llm.invoke(...)`. With only the first, it gets worse: every call then runs
# alone.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** An `async def` node runs on the event loop. `await llm.ainvoke`
# gives the loop back while the model works, so the next node can start.
#
# | node | what limits it |
# |---|---|
# | `def` and `llm.invoke` | the pool: `min(32, CPUs + 4)` threads |
# | `async def` and `llm.invoke` | the loop: one call at a time |
# | `async def` and `await llm.ainvoke` | nothing up to 1,000 connections |
#
# "You need not rewrite your graph for async" is true for edges and state. It
# is not true for a node that calls `invoke`.

# %% [markdown]
# ## Task 4: take it to work
#
# At night a plain script answers two batches of questions. The first version
# called `asyncio.run` for each batch. The first batch was fine. The second one
# failed: `RuntimeError: Event loop is closed`.

# %% [markdown]
# **Write** `main(graph, batches)`, a plain `def`, as a script calls it. Answer
# each batch with your `answer_all`, one batch after the other. Return a list
# of texts for each batch.
#
# **Expected:** 6 requests, 3 in flight at once, no error. You cannot call it
# in a cell; the check runs it as a script would.


# %%
def main(graph, batches):
    # TODO (about 3 lines)
    # solution
    async def service():
        return [await answer_all(graph, batch) for batch in batches]

    return asyncio.run(service())


# %%
await check("01.4", main)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `asyncio.run` makes an event loop and closes it at its end. `ChatOpenAI`
# keeps its connections for the next call, and they belong to that loop.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Put the loop over the batches into one inner `async def`. Await `answer_all`
# there. Call `asyncio.run` once, with that coroutine, and return its result.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** One `asyncio.run` holds everything that is async. New `ChatOpenAI`
# objects for each batch do not help: they all share one pool of connections.
# `nest_asyncio` is not needed either.
#
# This is the whole script, with the `build` of task 3:
#
# ```python
# if __name__ == "__main__":
#     graph = build(ChatOpenAI(model="gpt-4o"))
#     print(main(graph, [["What is LangGraph?"], ["Why async?"]]))
# ```
#
# In a notebook cell a loop already runs. `main` would raise there; `await
# answer_all(...)` is what you write instead. The check called `main` in a
# thread that has no loop.

# %% [markdown]
# ## Keep
#
# - Start all calls, then wait once. The meter tells whether they overlap.
# - In an `async def`, a call that waits has an `await` in front, or a thread.
# - A script has one `asyncio.run`, around everything.
#
# **Next:** [03 · Stream modes](../notebooks/03_astream_modes.ipynb)
