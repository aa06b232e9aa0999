# %% [markdown]
# # Lab 03: one run, every view
#
# lesson: [03 · Stream modes](../notebooks/03_astream_modes.ipynb) ·
# [exercise](../exercises/03_astream_modes.ipynb) ·
# [solution](../solutions/03_astream_modes.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - turn three modes into one stream of typed events;
# - report what every task came to when a run fails.
#
# The [cheat sheet](../notebooks/03_cheat_sheet.md) has all modes. The folded
# cell makes a café, whose nodes `greet`, `bake` and `reply` run in this order.

# %% tags=["folded"]
import asyncio

from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.model import connect

model = connect()
from langchain_openai import ChatOpenAI
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send

llm = ChatOpenAI(model=model.name)
ORDER = {"messages": [("user", "Table 3 orders the cake")]}


def greet(state):
    write = get_stream_writer()
    write("Welcome!")


async def bake(state):
    write = get_stream_writer()
    for percent in (0, 50, 100):
        write({"dish": "cake", "percent": percent})
        await asyncio.sleep(0.2)


async def reply(state):
    return {"messages": [await llm.ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_sequence([greet, bake, reply])
builder.add_edge(START, "greet")
cafe = builder.compile()

# %% [markdown]
# ## Task 1: one stream of typed events
#
# A user interface wants no dicts with three kinds of data. It wants these.

# %%
from dataclasses import dataclass


@dataclass
class Token:
    text: str


@dataclass
class Progress:
    percent: int


@dataclass
class Step:
    node: str


# %% [markdown]
# **Write** the rest of the async generator `events(graph, order)`. From one
# run it yields, when they come:
#
# - `Step` when a node has finished (this is there);
# - `Progress` for each dict with a `percent` in `custom`, and for nothing else
#   there;
# - `Token` for each piece of the model that has text, unchanged. The result of
#   a tool is no such piece.
#
# **Expected:** all three kinds, in the order in which things happened. Try it
# with `async for event in events(cafe, ORDER): print(event)`.


# %%
from langchain_core.messages import AIMessageChunk


async def events(graph, order):
    modes = ["messages", "custom", "updates"]
    async for part in graph.astream(order, stream_mode=modes, version="v2"):
        data = part["data"]
        if part["type"] == "updates":
            for node in data:
                yield Step(node)
        # TODO (about 7 lines)
        # solution
        elif part["type"] == "custom":
            if isinstance(data, dict) and "percent" in data:
                yield Progress(data["percent"])
        else:
            message, _ = data
            if isinstance(message, AIMessageChunk) and message.text:
                yield Token(message.text)


# %%
await check("03.1", events)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# A branch for each type. Print the parts of `cafe` first. "Welcome!" comes in
# `custom`, too.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# The data of `messages` is a pair, `message, about`. A piece of the model has
# the type `AIMessageChunk`. For `custom` first ask `isinstance(data, dict)`,
# then `"percent" in data`: a percent of 0 counts.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** Three runs would cost three times as much, and their order would
# say nothing. In one run the order of the parts is the order of what happened.
#
# `messages` yields every message that appears, also the `ToolMessage` that a
# node returns. Its text would end up on the user's screen. Pieces without
# text carry the role, a tool call, the end or the usage. A piece that is only
# a line break has text.

# %% [markdown]
# ## Task 2: take it to work, a flight recorder
#
# The folded cell cooks three dishes at once: `Send` starts a task `cook` for
# each. One fails, and you get an exception. What became of the others?

# %% tags=["folded"]
SECONDS = {"soup": 0, "fish": 0.3, "cake": 9}


async def cook(dish):
    await asyncio.sleep(SECONDS[dish])
    if dish == "fish":
        raise ValueError("the pan is too hot")


def menu(state):
    return [Send("cook", "soup"), Send("cook", "fish"), Send("cook", "cake")]


builder = StateGraph(MessagesState)
builder.add_node("cook", cook)
builder.add_conditional_edges(START, menu, ["cook"])
banquet = builder.compile()
try:
    await banquet.ainvoke(ORDER)
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# **Write** the rest of `record(graph, order)`. It runs the graph and returns a
# list: a pair `(name, outcome)` for each task, in the order in which they
# started. An outcome is `"done"`, `"failed: the reason"` or `"cut off"`. No
# error of a node comes out. A cancel from outside does.
#
# **Expected** for the banquet: done, failed, cut off.


# %%
from contextlib import suppress


async def record(graph, order):
    tasks = {}
    stream = graph.astream(order, stream_mode="tasks", version="v2")
    with suppress(Exception):  # the report tells of it
        async for part in stream:
            task = part["data"]
            outcome = "done"
            # TODO (about 5 lines)
            # solution
            if "input" in task:
                outcome = "cut off"  # until its end comes
            elif task["error"] is not None:
                outcome = f"failed: {task['error']}"
            tasks[task["id"]] = (task["name"], outcome)
    return list(tasks.values())


# %%
await check("03.2", record)

# %% [markdown]
# On the banquet:

# %%
await record(banquet, ORDER)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Print the tasks of the banquet. A start has other keys than an end. Three
# tasks have the same name, so look at what else they have.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# A start has `input`, an end has `error`. Write both under `task["id"]`: at
# the start as `"cut off"`, at the end as what came of it. A dict keeps the
# order in which its keys came first.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `updates` only tells of nodes that ended well. In `tasks` the
# failure is a part of its own, and it comes before the exception. A task that
# has a start and no end was cancelled, because another one failed.
#
# A cancel is no `Exception`, so `suppress(Exception)` lets it through. At work
# you would log the report and raise the error again.

# %% [markdown]
# ## Keep
#
# - One run with a list of modes replaces a second run.
# - `tasks` tells of a failure, and of what was cut off. `updates` does not.
#
# **Next:** lesson
# [04 · Progress and events](../notebooks/04_progress_and_events.ipynb)
