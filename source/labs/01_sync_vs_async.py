# %% [markdown]
# # Lab 01: fix a slow restaurant
#
# lesson: [01 · Sync and async compared](../notebooks/01_sync_vs_async.ipynb) ·
# [exercise](../exercises/01_sync_vs_async.ipynb) ·
# [solution](../solutions/01_sync_vs_async.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - make slow code concurrent, and prove it with a counter;
# - build a graph whose node lets many calls overlap.
#
# Write your code where the `...` is, and run that cell and the check below
# it. The check tries your function on a model of its own and prints one line.
# Each task has two hints.

# %%
import asyncio

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check

# %% [markdown]
# ## Task 1: serve all tables at once
#
# This waiter listens to one table to its last word before he asks the next
# one. The texts are right, and the kitchen is nearly idle.

# %%
agent = create_agent(ChatOpenAI(model=model.name), tools=[])


async def one_by_one(graph, questions):
    texts = []
    for question in questions:
        asked = {"messages": [("user", question)]}
        text = ""
        async for chunk, _ in graph.astream(asked, stream_mode="messages"):
            text += chunk.text
        texts.append(text)
    return texts


# %% [markdown]
# The meter shows it: never more than one request in flight.

# %%
with model.meter() as meter:
    await one_by_one(agent, ["What is LangGraph?", "Why async?", "Who waits?"])
print(meter)

# %% [markdown]
# **Write** `answer_all(graph, questions)`. It returns the same list of texts,
# in the order of the questions. There may be any number of them, and the same
# question twice. Each is asked once, in a run of its own, and all are in
# flight at once. The error of one that fails passes on.
#
# In the lesson, each table was one call of the graph. Here it is a loop.
#
# **Expected:** with three questions, 3 requests are in flight at once.


# %%
async def answer_all(graph, questions):
    # TODO (about 8 lines)
    # solution
    async def answer(question):
        asked = {"messages": [("user", question)]}
        text = ""
        async for chunk, _ in graph.astream(asked, stream_mode="messages"):
            text += chunk.text
        return text

    answers = [answer(question) for question in questions]
    return await asyncio.gather(*answers)


# %%
await check("01.1", answer_all)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# All loops must have started before you wait for the first. A loop has no
# name that you could start. What has one, and can hold a loop?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Write an inner `async def answer(question)`: the loop over `astream`, and
# `return text`. Make one coroutine for each question. Then
# `return await asyncio.gather(*coroutines)`. It keeps their order.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `await` or `async for` in a loop means: go on when this one is done.
# A coroutine holds all that belongs to one question. `gather`
# starts every coroutine first, and waits once. It returns the results in the
# order of its arguments, whoever was ready first. `asyncio.as_completed`
# would give them in the order of the kitchen.
#
# `asyncio.create_task` starts one coroutine; lesson 02 is about it. A task
# for each question, awaited later, works as well. A task that you await in
# the line after its creation changes nothing.

# %% [markdown]
# ## Task 2: let twenty calls overlap
#
# `ainvoke` alone does not make calls overlap. It depends on the node. The one
# of `build_small` is a `def`, which LangGraph runs in a pool of threads, and
# the pool is small. `graph_of` makes a graph of one node.

# %%
from langgraph.graph import START, MessagesState, StateGraph


def graph_of(node):
    builder = StateGraph(MessagesState)
    builder.add_node("reply", node)
    builder.add_edge(START, "reply")
    return builder.compile()


def build_small(llm):
    def reply(state):
        message = llm.invoke(state["messages"])
        return {"messages": [message]}

    return graph_of(reply)


# %% [markdown]
# **Write** `build(llm)`. It returns a compiled graph that does the same: it
# asks the model with the messages of the state, and adds the reply to them.
# But any number of calls overlap, and none of them holds a thread.
#
# **Expected:** 20 concurrent `ainvoke` calls, 20 requests in flight.


# %%
def build(llm):
    # TODO (about 4 lines)
    # solution
    async def reply(state):
        message = await llm.ainvoke(state["messages"])
        return {"messages": [message]}

    return graph_of(reply)


# %%
await check("01.2", build)

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
# | `def` and `llm.invoke` | the pool: `min(32, cores + 4)` threads |
# | `async def` and `llm.invoke` | the loop: one call at a time |
# | `async def` and `await llm.ainvoke` | nothing up to 1,000 connections |
#
# "You need not rewrite your graph for async" is true for edges and state. It
# is not true for a node that calls `invoke`.

# %% [markdown]
# ## Keep
#
# - Start all calls, then wait once. The meter tells whether they overlap.
# - The node decides: `async def` and `await`, or a thread for each call.
#
# **Next:** [02 · The event loop](../notebooks/02_event_loop.ipynb)
