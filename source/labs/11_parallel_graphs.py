# %% [markdown]
# # Lab 11: many graphs, one budget
#
# lesson: [11 · Parallel graphs](../notebooks/11_parallel_graphs.ipynb) ·
# [exercise](../exercises/11_parallel_graphs.ipynb) ·
# [solution](../solutions/11_parallel_graphs.ipynb)

# %% [markdown]
# Four tasks, about 40 minutes. You will
#
# - run many questions, but only so many at a time;
# - stop everything at the first failure, and keep what had come;
# - retry within a budget that is told in requests;
# - merge token streams into one that stops when its reader leaves.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints.

# %%
import asyncio
from contextlib import aclosing

import openai

from workshop.model import connect

model = connect()

# %%
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check

llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# ## Task 1: so many at a time
#
# A provider allows you a few requests at once. This version asks for all.


# %%
def ask(question):
    return {"messages": [("user", question)]}


async def all_at_once(graph, questions):
    states = await asyncio.gather(*[graph.ainvoke(ask(q)) for q in questions])
    return [state["messages"][-1].text for state in states]


# %% [markdown]
# Four questions, four requests in flight. With forty it would be forty.

# %%
with model.meter() as meter:
    texts = await all_at_once(agent, ["soup", "bread", "cake", "tea"])
print(meter)

# %% [markdown]
# **Write** `ask_all(graph, questions, limit)`. It returns the texts in the
# order of the questions. At most `limit` runs are under way, and the next one
# begins as soon as any of them has ended.
#
# **Expected:** 8 questions, exactly 3 in flight at the peak.


# %%
async def ask_all(graph, questions, limit):
    # TODO (about 7 lines)
    # solution
    turn = asyncio.Semaphore(limit)

    async def one(question):
        async with turn:
            state = await graph.ainvoke(ask(question))
            return state["messages"][-1].text

    return await asyncio.gather(*map(one, questions))


# %%
await check("11.1", ask_all)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Who holds one of `limit` places may run. Where must that object be made, so
# that all runs share it? Groups of `limit` are no answer: one slow run would
# hold up the next group.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `turn = asyncio.Semaphore(limit)`, once. An inner `async def one(question)`
# does everything inside `async with turn:`. `gather` keeps the order.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** All coroutines start at once, and all but `limit` wait at the
# semaphore. Each place that gets free goes to the one that has waited
# longest.
#
# `graph.abatch([...], {"max_concurrency": limit})` does the same for one list
# and one graph. The semaphore also works across graphs and across users, if
# all share it.

# %% [markdown]
# ## Task 2: the first failure ends it
#
# A report needs all of its parts. When one fails, the others are of no use,
# but what has come may be shown.

# %% [markdown]
# **Write** `until_failure(graph, questions)`. It asks all at once. At the
# first failure it cancels the others. It returns `(texts, errors)`: a `dict`
# of what had come, by question, and a list of exceptions.
#
# **Expected:** 2 texts kept, 1 error, 2 calls cut off.


# %%
async def until_failure(graph, questions):
    # TODO (about 12 lines)
    # solution
    texts, errors = {}, []

    async def one(question):
        state = await graph.ainvoke(ask(question))
        texts[question] = state["messages"][-1].text

    try:
        async with asyncio.TaskGroup() as group:
            for question in questions:
                group.create_task(one(question))
    except* openai.APIError as failed:
        errors.extend(failed.exceptions)
    return texts, errors


# %%
await check("11.2", until_failure)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `gather` does not cancel. Which context manager does? And where must the
# texts live, so that they outlast it?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# A dict outside, and an inner `async def one(question)` that writes into it.
# `try:`, `async with asyncio.TaskGroup() as group:`, one task a question, and
# `except* openai.APIError as failed:` with `failed.exceptions`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The group cancels its other tasks, waits until they have ended, and
# only then raises. So when your function returns, nothing runs. Somebody
# else's cancel passes through, as it must: `except*` here takes only what the
# model did.

# %% [markdown]
# ## Task 3: a budget told in requests
#
# `make` builds a graph as teams often do: each level retries. Refuse it all,
# and see what one question costs.

# %%
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy


def make(max_retries=2, max_attempts=3):
    chat = ChatOpenAI(model=model.name, max_retries=max_retries)
    again = RetryPolicy(max_attempts=max_attempts, initial_interval=0.01)
    graph = StateGraph(MessagesState).add_node(
        "reply", create_agent(chat, []), retry_policy=again
    )
    return graph.add_edge(START, "reply").compile()


# %% [markdown]
# Nine requests for one question, and `gather` hides them behind one error.

# %%
model.fault("rate_limit", times=9, retry_after=0.01)
with model.meter() as meter:
    await asyncio.gather(make().ainvoke(ask("soup")), return_exceptions=True)
print(meter)

# %% [markdown]
# **Write** `within_budget(make, questions, budget)`. It asks all at once,
# repeats what is refused after the seconds in `Retry-After`, and makes at most
# `budget` requests in total. It returns the texts, `None` where the budget
# ended.
#
# **Expected:** everything is refused, 5 requests, 5 billed.


# %%
async def within_budget(make, questions, budget):
    # TODO (about 12 lines)
    # solution
    graph, left = make(max_retries=0, max_attempts=1), budget

    async def one(q):
        nonlocal left
        while left > 0:
            left -= 1
            try:
                return (await graph.ainvoke(ask(q)))["messages"][-1].text
            except openai.RateLimitError as refused:
                wait = refused.response.headers["retry-after"]
                await asyncio.sleep(float(wait))

    return await asyncio.gather(*map(one, questions))


# %%
await check("11.3", within_budget)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Only one level may retry, and it must know the whole budget: yours. Switch
# the other two off with the arguments of `make`. The exception holds the
# `response`.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# One graph from `make(0, 1)` and one counter for all. Each question loops
# `while left > 0`: count down, then `try` the graph, and on
# `openai.RateLimitError` sleep for
# `float(error.response.headers["retry-after"])`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A level knows only its own attempts. A budget needs one place that
# sees every request. The counter goes down **before** the request: there is no
# `await` between the look and the count, so no other question can slip in.
#
# If one question is all that you have, `make(max_retries=n, max_attempts=1)`
# is enough: the client honours `Retry-After` by itself.

# %% [markdown]
# ## Task 4: take it to work
#
# One connection to the browser, several researches. Your merge must be fair,
# stop when its reader leaves, and say so when a stream breaks.

# %% [markdown]
# **Write** `merge(streams, size)`, an async generator. `streams` maps labels
# to async generators. Yield `(label, piece)` as they come. At most `size`
# pieces wait. A stream's error is raised. When the reader leaves, all streams
# end.
#
# **Expected:** the reader leaves, 3 of 3 calls are cut off.


# %%
async def merge(streams, size):
    # TODO (about 18 lines)
    # solution
    queue, end = asyncio.Queue(size), object()

    async def pump(label, stream):
        try:
            async with aclosing(stream):
                async for piece in stream:
                    await queue.put((label, piece))
            await queue.put((label, end))
        except Exception as error:
            await queue.put((label, error))

    pumps = [asyncio.create_task(pump(*item)) for item in streams.items()]
    try:
        for _ in pumps:
            while (item := await queue.get())[1] is not end:
                if isinstance(item[1], Exception):
                    raise item[1]
                yield item
    finally:
        _ = [task.cancel() for task in pumps]
        await asyncio.wait(pumps)


# %%
await check("11.4", merge)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# A task for each stream puts into one `asyncio.Queue(size)`, and your loop
# yields from it. How do you learn that a stream has ended, or broken? What
# must happen in `finally`?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Each task puts a last item: a mark of its own, or the exception. Count the
# marks. In `finally` cancel all tasks and `await asyncio.wait(...)` them. A
# task that is cancelled while it waits at the queue has not closed its
# stream: `async with aclosing(stream)` around the loop.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A full queue makes its writers stand in line, so a fast stream
# cannot crowd out a slow one. `finally` runs when the reader leaves, is
# cancelled, or gets an error. The caller holds the streams in a dict, so
# nothing closes them unless `aclosing` does.
#
# A reader leaves in the same way: `async with aclosing(merge(...)) as both:`.

# %% [markdown]
# The bound is yours; before it LangGraph keeps a queue without one. To hold
# back there too, let the **node** wait.

# %%
taken, queue = [], asyncio.Queue(1)


async def hand_over(state):
    async for chunk in llm.astream(state["messages"]):
        taken.append(chunk)
        await queue.put(chunk)


# %% [markdown]
# Nobody reads for 1.5 s. The model has sent all of its tokens, since they
# fit into the buffers of the connection. The node has taken two: one is in the
# queue, one in its hand.

# %%
graph = StateGraph(MessagesState).add_node(hand_over)
graph = graph.add_edge(START, "hand_over").compile()
with model.meter() as meter:
    run = asyncio.create_task(graph.ainvoke(ask("What is LangGraph?")))
    await asyncio.sleep(1.5)
print("taken:", len(taken), "sent:", meter.tokens_sent)
run.cancel()
_ = await asyncio.wait([run])

# %% [markdown]
# ## Keep
#
# - One semaphore, and everything inside it.
# - `TaskGroup` and `except*`; results outside of the group.
# - One level retries: the one that knows the budget.
# - A merge closes what it has opened.
#
# **Next:** [14 · Async memory](../notebooks/14_async_memory.ipynb)
