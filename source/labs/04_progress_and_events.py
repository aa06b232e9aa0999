# %% [markdown]
# # Lab 04: show a guest what happens
#
# lesson:
# [04 · Progress and events](../notebooks/04_progress_and_events.ipynb) ·
# [exercise](../exercises/04_progress_and_events.ipynb) ·
# [solution](../solutions/04_progress_and_events.ipynb)

# %% [markdown]
# Three tasks, about {minutes} minutes. You will
#
# - move a progress bar while a node works;
# - read any graph, however deep, with the same few lines;
# - count what a run costs, wherever its models are.
#
# The folded cell makes the café of lab 03: `greet`, `bake`, `reply`.

# %% tags=["folded"]
import asyncio

from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.model import connect

model = connect()
from langchain_openai import ChatOpenAI
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

llm = ChatOpenAI(model=model.name, stream_usage=True)
ORDER = {"messages": [("user", "Table 3 orders the cake")]}


def greet(state):
    write = get_stream_writer()
    write("Welcome!")


async def bake(state):
    write = get_stream_writer()
    for percent in (0, 25, 50, 75, 100):
        write({"dish": "cake", "percent": percent})
        await asyncio.sleep(0.2)


async def reply(state):
    return {"messages": [await llm.ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_sequence([greet, bake, reply])
builder.add_edge(START, "greet")
cafe = builder.compile()

# %% [markdown]
# ## Task 1: move a progress bar
#
# **Write** the rest of `show_progress(graph, order, bar)`. It sets `bar.value`
# to each `percent` when it comes, and returns the text of the last message.
# What in `custom` is no dict with a `percent` is not for the bar.
#
# **Expected:** the bar follows the oven, in one run of the graph.


# %%
async def show_progress(graph, order, bar):
    text = ""
    modes = ["custom", "values"]
    async for part in graph.astream(order, stream_mode=modes, version="v2"):
        data = part["data"]
        # TODO (about 4 lines)
        # solution
        if part["type"] == "values":
            text = data["messages"][-1].text
        elif isinstance(data, dict) and "percent" in data:
            bar.value = data["percent"]
    return text


# %%
await check("04.1", show_progress)

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
# You need what the oven reports and the state at the end. A second run would
# bake a second cake. Print what comes.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# The last part of type `values` is the state at the end. For `custom` first
# ask `isinstance(data, dict)`, since "Welcome!" comes the same way, then
# `"percent" in data`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The last `values` is what `ainvoke` would have returned. So a second
# mode replaces a second run.
#
# `custom` is one channel for all nodes and tools. Whoever reads it has to
# recognise their own reports. In a larger program give each kind a `"type"`.
# `data.get("percent")` would drop the 0.

# %% [markdown]
# ## Task 2: read a graph of any depth
#
# **Write** the rest of `trail(graph, order)`. It returns the path of each
# node, in the order in which they finished: `greet`, `kitchen/cook`,
# `kitchen`. The same lines must work for a flat graph and for a graph in a
# graph in a graph. (If a function in a node calls a graph a second time, the
# namespace gets an entry that is a number. It belongs to the path.)
#
# **Expected:** right paths, whatever the depth.


# %%
async def trail(graph, order):
    paths = []
    stream = graph.astream(
        order, stream_mode="updates", subgraphs=True, version="v2"
    )
    async for part in stream:
        # TODO (about 3 lines)
        # solution
        outer = [name.split(":")[0] for name in part["ns"]]
        for node in part["data"]:
            paths.append("/".join([*outer, node]))
    return paths


# %%
await check("04.2", trail)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Print `part["ns"]` and `part["data"]` of a graph in a graph. What does an
# entry of the namespace hold, besides a name?
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

# %% [markdown]
# ## Task 3: take it to work, what a run costs
#
# A model's last event, `on_chat_model_end`, has its whole message in
# `event["data"]["output"]`, and that has `usage_metadata`.
#
# **Write** the rest of `tokens_used(graph, order)`. It returns the sum of the
# `output_tokens` of all model calls of one run. Some of them are deep: in a
# graph inside the graph, in a tool, or in a node that keeps the message to
# itself; some models are tagged `nostream`, which lesson 05 is about.
#
# **Expected:** no call is missing, and none counts twice.


# %%
async def tokens_used(graph, order):
    total = 0
    async for event in graph.astream_events(order, version="v2"):
        # TODO (about 3 lines)
        # solution
        if event["event"] == "on_chat_model_end":
            usage = event["data"]["output"].usage_metadata
            total += usage["output_tokens"]
    return total


# %%
await check("04.3", tokens_used)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# There is one such event for each call, at any depth. All other events are
# not for you.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `if event["event"] == "on_chat_model_end":`, then the `usage_metadata` of the
# message, and its `"output_tokens"`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The modes show what reaches the state or the screen, and you pay for
# more than that. Events report everything that runs. The usage is there
# because the model was made with `stream_usage=True`.

# %% [markdown]
# ## Keep
#
# - One run with a list of modes replaces a second run.
# - With `subgraphs=True` and `version="v2"` one loop reads every graph.
# - Events see every model call, and so what it costs.
#
# **Next:** [05 · Token streaming](../notebooks/05_token_streaming.ipynb)
