# %% [markdown]
# # Lab 03: show a guest what happens
#
# lesson: [03 · Stream modes](../notebooks/03_astream_modes.ipynb) ·
# [exercise](../exercises/03_astream_modes.ipynb) ·
# [solution](../solutions/03_astream_modes.ipynb)

# %% [markdown]
# Four tasks, about 30 minutes. You will
#
# - move a progress bar while a node works;
# - turn three modes into one stream of typed events;
# - read any graph, however deep, with the same few lines;
# - report what every node came to when a run fails.
#
# The [cheat sheet](../notebooks/03_cheat_sheet.md) has all modes and shapes.

# %%
import asyncio

from workshop.model import connect

model = connect()
from langchain_openai import ChatOpenAI
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from workshop.checks import check

llm = ChatOpenAI(model=model.name)
ORDER = {"messages": [("user", "Table 3 orders the cake")]}

# %% [markdown]
# ## Task 1: move a progress bar
#
# This café greets, bakes and replies.


# %%
async def bake(state):
    for percent in (25, 50, 75, 100):
        await asyncio.sleep(0.3)
        get_stream_writer()({"dish": "cake", "percent": percent})


async def reply(state):
    return {"messages": [await llm.ainvoke(state["messages"])]}


# %% [markdown]
# `greet` is somebody else's node.

# %%
cafe = StateGraph(MessagesState)
cafe.add_node("greet", lambda _: get_stream_writer()("Welcome!"))
cafe = cafe.add_node(bake).add_node(reply).add_edge(START, "greet")
cafe = cafe.add_edge("greet", "bake").add_edge("bake", "reply").compile()

# %% [markdown]
# It also writes to `custom`:

# %%
async for chunk in cafe.astream(ORDER, stream_mode="custom"):
    print(chunk)

# %% [markdown]
# **Write** `show_progress(graph, order, bar)`. It sets `bar.value` to each
# `percent` when it comes, and returns the text of the last message. Chunks
# of `custom` that are no dict with a `percent` are not for the bar.
#
# **Expected:** the bar follows the oven, in one run of the graph.


# %%
async def show_progress(graph, order, bar):
    # TODO (about 7 lines)
    # solution
    modes = ["custom", "values"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "values":
            state = chunk
        elif isinstance(chunk, dict) and "percent" in chunk:
            bar.value = chunk["percent"]
    return state["messages"][-1].text


# %%
await check("03.1", show_progress)

# %% [markdown]
# See it move:

# %%
import ipywidgets as widgets
from IPython.display import display

bar = widgets.IntProgress(description="cake")
display(bar)
await show_progress(cafe, ORDER, bar)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# You need what the oven reports and the state at the end. `ainvoke` after
# the loop would bake a second cake. A list of modes does both in one run.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# With `stream_mode=["custom", "values"]` each chunk is a pair: the mode and
# the data. Keep the newest `values`. For `custom` first ask
# `isinstance(data, dict)`, since "Welcome!" comes the same way.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The last chunk of `values` is what `ainvoke` would have returned.
# So a second mode replaces a second run.
#
# `custom` is one channel for all nodes and tools. Whoever reads it has to
# recognise their own chunks. In a larger program give each kind of report a
# `"type"`.
#
# A list comprehension with a loop after it looks the same and shows nothing:
# it ends when the cake is done.

# %% [markdown]
# ## Task 2: one stream of typed events
#
# A user interface wants no tuples. It wants these three.

# %%
from dataclasses import dataclass


@dataclass
class Token:
    text: str


@dataclass
class Progress:
    percent: int


# %%
@dataclass
class Step:
    node: str


# %% [markdown]
# **Write** an async generator `events(graph, order)`. It yields, when they
# come:
#
# - `Token` for each piece of the model that has text;
# - `Progress` for each dict with a `percent` in `custom`;
# - `Step` when a node has finished.
#
# **Expected:** all three from one run, and no text of a tool among the
# tokens.
#
# Try it with `async for event in events(cafe, ORDER): print(event)`.

# %%
from langchain_core.messages import AIMessageChunk


async def events(graph, order):
    # TODO (about 9 lines)
    # solution
    modes = ["messages", "custom", "updates"]
    async for mode, chunk in graph.astream(order, stream_mode=modes):
        if mode == "updates":
            for node in chunk:
                yield Step(node)
        elif mode == "custom":
            if isinstance(chunk, dict) and "percent" in chunk:
                yield Progress(chunk["percent"])
        elif isinstance(chunk[0], AIMessageChunk) and chunk[0].text:
            yield Token(chunk[0].text)


# %%
await check("03.2", events)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# One `astream` with three modes, and a branch for each. `messages` also
# carries the results of tools: print the type of what comes.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# The data of `messages` is a pair, `(message, metadata)`. Yield a Token if
# `isinstance(message, AIMessageChunk) and message.text`. The keys of a chunk
# of `updates` are the names of the nodes.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** Three runs would cost three times as much, and their order would
# say nothing. In one run the order of the chunks is the order of what
# happened.
#
# `messages` yields every message that appears, also the `ToolMessage` that a
# node returns. Its text would end up on the user's screen. Pieces without
# text carry the role, a tool call, the end or the usage.

# %% [markdown]
# ## Task 3: read a graph of any depth
#
# **Write** `trail(graph, order)`. It returns the path of each node, in the
# order in which they finished: `greet`, `kitchen/cook`, `kitchen`. The same
# lines must work for a flat graph and for a graph in a graph in a graph.
#
# **Expected:** right paths in three graphs.


# %%
async def trail(graph, order):
    # TODO (about 6 lines)
    # solution
    view = {"stream_mode": "updates", "subgraphs": True, "version": "v2"}
    paths = []
    async for part in graph.astream(order, **view):
        outer = [name.split(":")[0] for name in part["ns"]]
        paths += ["/".join([*outer, node]) for node in part["data"]]
    return paths


# %%
await check("03.3", trail)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `subgraphs=True` lets you see inside, and `version="v2"` gives every chunk
# the same shape. Print `part["ns"]` of a nested graph.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `part["ns"]` is a tuple such as `("kitchen:1f0…",)`, and `()` at the top.
# Cut each entry at the `:`, add the name of the node from `part["data"]`,
# and join all with `/`. Do not use `ns[0]`: a flat graph has none.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The namespace has one entry for each graph that you are inside of.
# So a loop over it works at any depth, and `ns[0]` or `ns[-1]` only at one.
#
# `stream_mode="updates", subgraphs=True` in v1 gives `(ns, chunk)` and would
# do as well. But its shape changes again with the next mode that you add.
# With v2 you write the loop once.

# %% [markdown]
# ## Task 4: take it to work, a flight recorder
#
# Three dishes are cooked at once. One fails, and you get an exception. What
# had become of the others?

# %%
from langgraph.types import Send


async def cook(dish):
    await asyncio.sleep({"soup": 0, "fish": 0.3, "cake": 9}[dish])
    if dish == "fish":
        raise ValueError("the pan is too hot")


# %%
def menu(state):
    return [Send("cook", dish) for dish in ("soup", "fish", "cake")]


banquet = StateGraph(MessagesState).add_node("cook", cook)
banquet = banquet.add_conditional_edges(START, menu, ["cook"]).compile()
try:
    await banquet.ainvoke(ORDER)
except ValueError as error:
    print(error)

# %% [markdown]
# **Write** `record(graph, order)`. It runs the graph and never raises the
# error of a node. It returns a pair `(name, outcome)` for each task, in the
# order in which they started. An outcome is `"done"`, `"failed: the reason"`
# or `"cut off"`.
#
# **Expected:** 2 done, 1 failed, 1 cut off.


# %%
from contextlib import suppress


async def record(graph, order):
    # TODO (about 10 lines)
    # solution
    tasks = {}
    with suppress(Exception):  # the report tells of it
        async for task in graph.astream(order, stream_mode="tasks"):
            outcome = "done"
            if "input" in task:
                outcome = "cut off"  # until its end comes
            elif task["error"]:
                outcome = f"failed: {task['error']}"
            tasks[task["id"]] = (task["name"], outcome)
    return list(tasks.values())


# %%
await check("03.4", record)

# %% [markdown]
# On the banquet:

# %%
await record(banquet, ORDER)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# One mode tells of starts and of ends, with an `error`. It tells of the
# failure before the exception comes. Three tasks have the same name, so look
# at what else a chunk has.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# In `tasks` a start has `input` and an end has `error`. Write both into a
# dict under `task["id"]`: at the start as `"cut off"`, at the end as what
# came of it. A dict keeps the order of the starts. Put a `try` around the
# `async for`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `updates` only tells of nodes that ended well. In `tasks` the
# failure is a chunk of its own. A task that has a start and no end was
# cancelled, because another one failed.
#
# The type of `error` is documented as text, but the chunk holds the
# exception itself. `f"{...}"` is right for both.
#
# At work you would write the report to your log and then raise the error
# again. `suppress` would hide it for good.

# %% [markdown]
# ## Keep
#
# - One run with a list of modes replaces a second run.
# - With `subgraphs=True` and `version="v2"` one loop reads every graph.
# - `tasks` tells of a failure, and of what was cut off. `updates` does not.
#
# **Next:** [05 · Token streaming](../notebooks/05_token_streaming.ipynb)
