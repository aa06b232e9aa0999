# %% [markdown]
# # Report progress, and look inside
#
# previous: [03 · Stream modes](03_astream_modes.ipynb) ·
# next: [05 · Token streaming](05_token_streaming.ipynb) ·
# lab: [04](../exercises/04_progress_and_events.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - report progress from your own nodes and tools;
# - see what happens in a graph inside a graph;
# - choose between `astream` and `astream_events`.
#
# Builds on lessons 02 and 03.

# %%
import asyncio
import time

from workshop.chunks import brief  # missing? pip install "./[lessons]"
from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

llm = ChatOpenAI(model=model.name, stream_usage=True)
if model.practice:
    model.pace(ttft=0.05, per_token=0.01)

# %% [markdown]
# ## Progress from your own node
#
# `get_stream_writer()` works in nodes and in tools, in `def` and in
# `async def`. It returns a function. What you pass to it arrives in the mode
# `custom`, if somebody reads that mode; if nobody does, it is dropped.
#
# This node bakes for 0.2 s, twice. A `log` notes what it has baked, and your
# loop notes what it has seen. A node that returns nothing changes nothing.

# %%
log = []


async def bake(state):
    write = get_stream_writer()
    for percent in (50, 100):
        log.append(f"baked {percent}")
        write({"percent": percent})
        await asyncio.sleep(0.2)


builder = StateGraph(MessagesState)
builder.add_node("bake", bake)
builder.add_edge(START, "bake")
oven = builder.compile()

# %% [markdown]
# The second node is the same, but for one line. `time.sleep` stands for any
# call that blocks the event loop.


# %%
async def bake_blocking(state):
    write = get_stream_writer()
    for percent in (50, 100):
        log.append(f"baked {percent}")
        write({"percent": percent})
        time.sleep(0.2)


builder = StateGraph(MessagesState)
builder.add_node("bake", bake_blocking)
builder.add_edge(START, "bake")
blocking_oven = builder.compile()

# %% [markdown]
# **Predict.** In which order do the four lines stand in the log, for each of
# the two ovens?
#
# <details><summary>Answer</summary>
#
# With `asyncio.sleep`: baked 50, seen 50, baked 100, seen 100. The blocking
# oven bakes both before you see one.
#
# </details>

# %%
ORDER = {"messages": [("user", "Table 1 orders soup")]}
for graph in (oven, blocking_oven):
    log.clear()
    async for part in graph.astream(ORDER, stream_mode="custom", version="v2"):
        percent = part["data"]["percent"]
        log.append(f"seen {percent}")
    print(", ".join(log))

# %% [markdown]
# Your loop runs in the same event loop as the node. While the node blocks it,
# nobody can read. The bar on your screen jumps from 0 to 100.
#
# ## What people get wrong: *every graph runs both ways*
#
# Lesson 03 found no difference between `stream` and `astream`. But a node
# that is only `async def` has nothing that `stream` could call.

# %% tags=["raises-exception"]
list(oven.stream(ORDER, stream_mode="custom", version="v2"))

# %% [markdown]
# ## A graph in a graph
#
# The kitchen of lesson 03 becomes a node of a café: a
# **[subgraph](glossary.md#subgraph)**. `greet` is a second node, which
# welcomes the guest.


# %%
@tool
def cook(dish: str) -> str:
    """Cook what a table orders."""
    write = get_stream_writer()
    for percent in (0, 50, 100):
        write({"dish": dish, "percent": percent})
    return f"The {dish} is ready."


def greet(state):
    write = get_stream_writer()
    write("Welcome!")


# %%
kitchen = create_agent(llm, tools=[cook])

builder = StateGraph(MessagesState)
builder.add_node("greet", greet)
builder.add_node("kitchen", kitchen)
builder.add_edge(START, "greet")
builder.add_edge("greet", "kitchen")
cafe = builder.compile()

# %% [markdown]
# **Predict.** `greet` writes once, `cook` three times. How much of it do you
# see?
#
# <details><summary>Answer</summary>
#
# Only the welcome. A graph that is a node keeps its inside to itself, unless
# you ask with `subgraphs=True`. Then you see all four.
#
# </details>

# %%
for subgraphs in (False, True):
    print(f"subgraphs={subgraphs}:")
    async for part in cafe.astream(
        ORDER, stream_mode="custom", subgraphs=subgraphs, version="v2"
    ):
        print("   ", brief(part))

# %% [markdown]
# `ns` is the **[namespace](glossary.md#namespace)**: the path of nodes that
# you are inside of. It is `()` at the top. An entry is the name of a node, a
# `:` and an id that is new in each run. Two levels down it has two entries.
#
# The same holds for the words: no tokens of an inner agent without
# `subgraphs=True`. This is so whether the agent is a node, or a function
# calls it inside a node.

# %%
for subgraphs in (False, True):
    texts = []
    async for part in cafe.astream(
        ORDER, stream_mode="messages", subgraphs=subgraphs, version="v2"
    ):
        message, about = part["data"]
        if message.type != "tool" and message.text:
            texts.append(message.text)
    print(f"subgraphs={subgraphs}:", texts)

# %% [markdown]
# Without it you get each message whole, when the node has ended.
#
# ## Mode explorer
#
# Tick some modes and `subgraphs`, and press **Run**. Each chunk appears when
# it comes. Tick `messages`, and see how the tokens vanish without
# `subgraphs`. (For the mode `checkpoints` the café gets a checkpointer.)
#
# <img src="pictures/explorer.png" width="760"
# alt="Modes to tick, and the parts that a run with updates and custom gave">

# %%
from langgraph.checkpoint.memory import InMemorySaver

from workshop.show.explorer import ModeExplorer

saving_cafe = builder.compile(checkpointer=InMemorySaver())
ModeExplorer(saving_cafe, ORDER)

# %% [markdown]
# ## `astream_events`: everything that runs
#
# This other method reports the start, each piece and the end of everything
# that runs: nodes, models, tools, at any depth, and what LangChain builds
# around them. Each event is a dict with `event`, `name`, `data` and more. What
# is neither model nor tool is a `chain` here, so a node or a graph is one.

# %%
from collections import Counter

kinds = Counter()
async for event in cafe.astream_events(ORDER, version="v2"):
    kinds[event["event"]] += 1
for kind, number in kinds.items():
    print(f"{number:3} {kind}")

# %% [markdown]
# You need no `subgraphs=True`: the tool inside the kitchen is there. Even a
# model that some function calls deep inside a tool is reported, whether or
# not its words get into the state. That makes events good for logs and for
# counting.
#
# This is all that a log of tools takes:

# %%
async for event in cafe.astream_events(ORDER, version="v2"):
    if event["event"] == "on_tool_start":
        print(event["name"], "starts with", event["data"]["input"])
    elif event["event"] == "on_tool_end":
        print(event["name"], "returned", event["data"]["output"].text)

# %% [markdown]
# Your graph is one of the things that run. Its chunks arrive as
# `on_chain_stream`, with no parents. For them there is `stream_mode`, as in
# `astream`; the default is `updates`.
#
# **Predict.** With `stream_mode="custom"`: how many chunks of the café?
#
# <details><summary>Answer</summary>
#
# One, the welcome. The mode changes what the outermost graph yields. The
# other events stay as they are.
#
# </details>

# %%
async for event in cafe.astream_events(
    ORDER, version="v2", stream_mode="custom"
):
    if event["event"] == "on_chain_stream" and not event["parent_ids"]:
        print(event["data"]["chunk"])

# %% [markdown]
# ## Which methods have a sync twin?
#
# `invoke`, `batch` and `stream` have one, in every mode. For events there is
# a method `stream_events`, but not for this version:

# %% tags=["raises-exception"]
cafe.stream_events(ORDER, version="v2")

# %% [markdown]
# The message names `version="v3"`, the newest form. It gives you a run with
# several views. `run.messages` yields each message of a model, and each has
# a stream of its own, `text`. This one has a sync twin. It is experimental
# and says so in a warning, which this cell switches off.

# %%
import warnings

with warnings.catch_warnings(action="ignore"):
    run = await kitchen.astream_events(ORDER, version="v3")
    async for message in run.messages:
        texts = []
        async for text in message.text:
            texts.append(text)
        print(texts)

# %% [markdown]
# The first message was the call of the tool: no text.
#
# **Which one for your work?** For a user interface, `astream` with `v2`: you
# choose the modes, and `subgraphs=True` where you look inside. For logs,
# counting and tests, `astream_events` with `v2`. Wait with `v3` until its
# warning is gone.
#
# ## Check yourself
#
# Replace the `...`. The function returns a list of all that is written to
# `custom` in one run of the graph, also by graphs inside it, in order.

# %%
from workshop.checks import check


async def reported(graph, order):
    # TODO (about 4 lines)
    ...


# %%
await check("04.0", reported)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two arguments of `astream` choose what you see. A third gives it one shape.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# reports = []
# async for part in graph.astream(
#     order, stream_mode="custom", subgraphs=True, version="v2"
# ):
#     reports.append(part["data"])
# return reports
# ```
#
# </details>
#
# ## Keep
#
# - A node that blocks the event loop holds back its own progress.
# - Without `subgraphs=True` you see nothing from inside a node.
# - `astream` for users, `astream_events` for logs.
#
# **Next:** [Lab 04](../exercises/04_progress_and_events.ipynb)
