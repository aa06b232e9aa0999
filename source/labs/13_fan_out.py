# %% [markdown]
# # Lab 13: one stream of many
#
# lesson: [13 · Fan out and merge](../notebooks/13_fan_out.ipynb) ·
# [exercise](../exercises/13_fan_out.ipynb) ·
# [solution](../solutions/13_fan_out.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - merge token streams into one that stops when its reader leaves;
# - hand out each result of a fan-out as soon as it is there.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints. The imports are folded.

# %% tags=["folded"]
import asyncio
import operator
from contextlib import aclosing
from typing import Annotated, TypedDict

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send

from workshop.checks import check

llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)

# %% [markdown]
# ## Task 1: take it to work
#
# One connection to the browser, several researches. The merge of the lesson
# waits for ever when a stream breaks, and goes on when its reader leaves.
#
# **Write** `merge(streams, size)`, an async generator. Begin with a copy of
# `merged`; about eight lines are new.
#
# - `streams` maps labels to async generators. Yield `(label, piece)` as they
#   come.
# - Each stream may hold one piece; at most `size` more wait.
# - When a stream breaks, its error is raised, whatever the others do.
# - When the reader leaves, or a stream breaks, all streams end. They have
#   ended when `merge` has.
#
# **Expected:** the reader leaves, 3 of 3 streams are cut off.


# %%
async def merge(streams, size):
    # TODO (about 8 lines)
    # solution
    queue = asyncio.Queue(size)
    end = object()

    async def pump(label, stream):
        try:
            async with aclosing(stream):
                async for piece in stream:
                    await queue.put((label, piece, None))
            await queue.put((label, end, None))
        except Exception as error:
            await queue.put((label, end, error))

    pumps = []
    for label, stream in streams.items():
        pumps.append(asyncio.create_task(pump(label, stream)))

    still_open = len(pumps)
    try:
        while still_open:
            label, piece, error = await queue.get()
            if error:
                raise error
            if piece is end:
                still_open -= 1
            else:
                yield label, piece
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


# %%
await check("13.1", merge)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `pump` is a task of its own: nobody sees its exception. How does the reader
# learn of it? And what must happen in a `finally` around the loop?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `pump` catches `Exception` and puts the error into the queue; the loop raises
# it. In `finally` cancel all tasks and wait for them. A task that is cancelled
# while it waits at the queue has not closed its stream:
# `async with aclosing(stream)` around its loop.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `finally` runs when the reader leaves, is cancelled, or gets an
# error. The caller holds the streams in a dict, so nothing closes them unless
# `aclosing` does. `gather` with `return_exceptions=True` waits for the tasks
# and swallows their `CancelledError`.
#
# The error has a place of its own in the tuple: a piece may be anything, an
# exception too. And why no `TaskGroup` around the `yield`? When a stream
# breaks, it cancels the task in which it was entered, and that is the
# reader's.
#
# A reader leaves in the same way: `async with aclosing(merge(...)) as both:`.

# %% [markdown]
# ## Task 2: each note when it is there
#
# `build` makes the fan-out of the lesson: one `look_up` for each topic, then
# `sum_up`. You know it, so the cell is folded.


# %% tags=["folded"]
class Work(TypedDict):
    topics: list[str]
    notes: Annotated[dict[str, str], operator.or_]
    report: str


def spread(work: Work):
    return [Send("look_up", {"topic": topic}) for topic in work["topics"]]


def build(llm):
    async def look_up(job):
        message = await llm.ainvoke(f"Research: {job['topic']}")
        return {"notes": {job["topic"]: message.text}}

    async def sum_up(work: Work):
        message = await llm.ainvoke("Research: all notes")
        return {"report": message.text}

    builder = StateGraph(Work)
    builder.add_node("look_up", look_up)
    builder.add_node("sum_up", sum_up)
    builder.add_conditional_edges(START, spread, ["look_up"])
    builder.add_edge("look_up", "sum_up")
    return builder.compile()


# %% [markdown]
# **Write** `notes_of(graph, topics, limit)`, an async generator.
#
# - It yields `(topic, note)` for each topic, as soon as its node has ended.
# - At most `limit` topics are looked up at once.
# - It yields nothing else: the report is not a note.
#
# **Expected:** 6 topics and a limit of 2: the first note comes while others
# are still looked up.


# %%
async def notes_of(graph, topics, limit):
    # TODO (about 6 lines)
    # solution
    work = {"topics": topics}
    config = {"max_concurrency": limit}
    stream = graph.astream(work, config, stream_mode="updates", version="v2")
    async for part in stream:
        update = part["data"].get("look_up", {})
        for topic, note in update.get("notes", {}).items():
            yield topic, note


# %%
await check("13.2", notes_of)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Which stream mode says what each node returned, when it has ended? And where
# does a run take its limit from?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `graph.astream({"topics": topics}, {"max_concurrency": limit},
# stream_mode="updates", version="v2")`. The `data` of a part is a dict:
# the node's name, and what it returned. Take only `look_up`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** All nodes of a step end before the next step begins, but you hear
# of each when it ends. The limit belongs to this run, and all of its nodes
# share it.

# %% [markdown] tags=["solution"]
# ## A node that waits for its reader
#
# The bound of `merge` is yours; before it LangGraph keeps a queue without
# one. To hold back there too, let the **node** wait.

# %% tags=["solution"]
taken = []
queue = asyncio.Queue(1)


async def hand_over(state):
    async for chunk in llm.astream(state["messages"]):
        taken.append(chunk)
        await queue.put(chunk)


# %% [markdown] tags=["solution"]
# Nobody reads. The model still sends all of its tokens, since they fit into
# the buffers of the connection. The node has taken two: one is in the
# queue, one in its hand.

# %% tags=["solution"]
builder = StateGraph(MessagesState)
builder.add_node(hand_over)
builder.add_edge(START, "hand_over")
graph = builder.compile()

question = {"messages": [("user", "What is LangGraph?")]}
with model.meter() as meter:
    run = asyncio.create_task(graph.ainvoke(question))
    while meter.read().requests == 0 or meter.in_flight > 0:
        await asyncio.sleep(0.05)
print("taken:", len(taken), "sent:", meter.tokens_sent)
run.cancel()
_ = await asyncio.wait([run])

# %% [markdown]
# ## Keep
#
# - A merge closes what it has opened, and says when a stream breaks.
# - `updates` tells of each node of a fan-out when it has ended.
#
# **Next:** [14 · Async memory](../notebooks/14_async_memory.ipynb)
