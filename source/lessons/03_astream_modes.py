# %% [markdown]
# # Choose what you watch: every stream mode
#
# previous: [02 · The event loop](02_event_loop.ipynb) ·
# next: [04 · Progress and events](04_progress_and_events.ipynb) ·
# lab: [03](../exercises/03_astream_modes.ipynb) ·
# [cheat sheet](03_cheat_sheet.md)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - choose a stream mode by the question that you have;
# - say what each mode yields, and how often;
# - write one loop that reads every mode.
#
# Builds on lesson 01.

# %%
from uuid import uuid4

from workshop.chunks import brief, plain  # missing? pip install "./[lessons]"
from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model=model.name, stream_usage=True)

# %% [markdown]
# This lesson looks at what comes, not at when. So the practice model may
# hurry: 0.05 s to the first token, 0.01 s to each further one. A real model
# has its own pace.

# %%
if model.practice:
    model.pace(ttft=0.05, per_token=0.01)

# %% [markdown]
# ## One run, many views
#
# A **[stream mode](glossary.md#stream-mode)** is a view of a run. Through each
# of them you look at the same kitchen. It is an agent: its model reads the
# order and calls the tool `cook`, the tool cooks, the model answers. A
# **tool** is a function that the model may ask for. `@tool` makes one of
# yours; the model reads its docstring.
#
# The tool reports its progress. `get_stream_writer()` returns a function, and
# whatever you pass to that function reaches the reader of the stream.

# %%
from langchain_core.tools import tool
from langgraph.config import get_stream_writer


@tool
def cook(dish: str) -> str:
    """Cook what a table orders."""
    write = get_stream_writer()
    for percent in (0, 50, 100):
        write({"dish": dish, "percent": percent})
    return f"The {dish} is ready."


# %% [markdown]
# One of the modes needs a **[checkpointer](glossary.md#checkpointer)**, which
# saves the state of a conversation after each step. Whoever has a checkpointer
# must name the conversation in each call, by a `thread_id`. Every run here
# gets a new one.

# %%
from langgraph.checkpoint.memory import InMemorySaver

kitchen = create_agent(llm, tools=[cook], checkpointer=InMemorySaver())
ORDER = {"messages": [("user", "Table 1 orders soup")]}


def new_thread():
    return {"configurable": {"thread_id": str(uuid4())}}


# %% [markdown]
# ## The four modes that everybody knows
#
# `updates` yields what each step returned. `values` yields the whole state.
# `brief` prints a chunk in one line; `…` and `{13 keys}` stand for what does
# not fit.
#
# **Predict.** The steps are `model`, `tools`, `model`. How many chunks does
# each of the two yield?
#
# <details><summary>Answer</summary>
#
# Three and four. `values` yields the state after each step, and once before
# the first: that is your order.
#
# </details>

# %%
for mode in ("updates", "values"):
    print(f"{mode}:")
    stream = kitchen.astream(ORDER, config=new_thread(), stream_mode=mode)
    async for chunk in stream:
        print("   ", brief(chunk))

# %% [markdown]
# The keys of an update are names of nodes. The keys of `values` are those of
# the state. `updates` is the default. A `HumanMessage` is yours, an
# `AIMessage` the model's, a `ToolMessage` the result of a tool.
#
# The other two do not wait for the end of a step.

# %%
for mode in ("custom", "messages"):
    print(f"{mode}:")
    stream = kitchen.astream(ORDER, config=new_thread(), stream_mode=mode)
    async for chunk in stream:
        print("   ", brief(chunk))

# %% [markdown]
# `custom` yields what `cook` wrote, unchanged. A chunk of `messages` is a
# pair: a piece of a message, and a dict that says where it comes from.
# Lesson 05 takes these pieces apart.
#
# ## The four that watch the engine
#
# `tasks` tells when a node starts and when it ends. `checkpoints` tells what
# was saved. `debug` is both, with a number and a time. `tools` tells when a
# tool starts and ends.
#
# **Predict.** Three nodes ran. How many chunks does `tasks` yield, and how
# many `checkpoints`?
#
# <details><summary>Answer</summary>
#
# 6 and 5. Each node starts once and ends once. The state is saved after each
# of the three steps. It was also saved twice before: when your order came in,
# and when it had been written into the state, just before the first step.
#
# </details>

# %%
for mode in ("tasks", "checkpoints", "debug", "tools"):
    print(f"{mode}:")
    stream = kitchen.astream(ORDER, config=new_thread(), stream_mode=mode)
    async for chunk in stream:
        print("   ", brief(chunk))

# %% [markdown]
# ## What people get wrong: *a typo would raise*
#
# **Predict.** The mode below is `update`, without an `s`. What happens?
#
# <details><summary>Answer</summary>
#
# Nothing that you see: no error, no chunk. But the whole graph runs, and you
# pay for it.
#
# </details>

# %%
chunks = []
with model.meter() as meter:
    stream = kitchen.astream(ORDER, config=new_thread(), stream_mode="update")
    async for chunk in stream:
        chunks.append(chunk)
print(len(chunks), "chunks,", meter.requests, "requests")

# %% [markdown]
# Why? The engine asks at each place "is `updates` among the modes?" and emits
# a chunk if so. Nobody asks whether a mode is known. Where the mode comes from
# a setting or from a request, ask yourself. LangGraph has the list:

# %%
from typing import get_args

from langgraph.types import StreamMode

print(get_args(StreamMode))

# %% [markdown]
# `tools` is missing there. It works today, and it may change. If you write
# the mode into your code, a type checker finds the typo: the parameter has
# the type `StreamMode`.

# %% [markdown] tags=["cheat-sheet"]
# ## Which mode answers which question?
#
# | You want to know | mode |
# |---|---|
# | what each node changed (the default) | `updates` |
# | the whole state after each step | `values` |
# | the words of the model, as they come | `messages` |
# | what my own code reports | `custom` |
# | which node starts, ends or fails | `tasks` |
# | what was saved, and what is next (needs a checkpointer) | `checkpoints` |
# | the last two, with step and time | `debug` |
# | which tool runs, with what arguments (not in `StreamMode`) | `tools` |

# %% [markdown]
# The folded cell makes one run in all eight modes at once and counts. You
# will find its table on the [cheat sheet](03_cheat_sheet.md).

# %% tags=["cheat-sheet", "folded"]
from IPython.display import Markdown

MODES = [*get_args(StreamMode), "tools"]
seen = {}
async for mode, chunk in kitchen.astream(
    ORDER, config=new_thread(), stream_mode=MODES
):
    seen.setdefault(mode, []).append(chunk)
rows = ["One run of `model`, `tools`, `model`, in all modes at once:", ""]
rows += ["| mode | chunks | the second one |", "|---|---|---|"]
for mode in MODES:
    second = brief(seen[mode][1])
    rows.append(f"| `{mode}` | {len(seen[mode])} | `{second}` |")
Markdown("\n".join(rows))

# %% [markdown]
# ## Several modes in one run
#
# You want the words and the progress? Do not run the graph twice. Pass a
# list, and each chunk comes with its mode.

# %%
async for mode, chunk in kitchen.astream(
    ORDER, config=new_thread(), stream_mode=["updates", "custom"]
):
    print(f"{mode:8}", brief(chunk))

# %% [markdown]
# The progress stands between the updates. In one run, the order of the chunks
# is the order of what happened.
#
# ## The shape of a chunk
#
# A list changed the shape: `(mode, chunk)` instead of `chunk`. There is one
# more argument that does. `subgraphs=True` says where in a graph of graphs a
# chunk comes from, and lesson 04 needs it.
#
# **Predict.** A list or not, `subgraphs=True` or not. How many shapes does a
# reader have to know? The folded cell makes these calls in two versions, v1
# and v2, and shows the last chunk of each.
#
# <details><summary>Answer</summary>
#
# Four in v1, which is the default. One in v2.
#
# </details>

# %% tags=["cheat-sheet", "folded"]
rows = ["The last chunk, by the form of the call, in v1 and in v2:", ""]
rows += ["| `stream_mode` | `subgraphs` | v1 | v2 |", "|---|---|---|---|"]
for modes in ("custom", ["custom"]):
    for subgraphs in (False, True):
        row = f"| `{modes!r}` | `{subgraphs}` |"
        for version in ("v1", "v2"):
            async for chunk in kitchen.astream(
                ORDER,
                config=new_thread(),
                stream_mode=modes,
                subgraphs=subgraphs,
                version=version,
            ):
                last = chunk
            row += f" `{brief(last)}` |"
        rows.append(row)
Markdown("\n".join(rows))

# %% [markdown]
# With `version="v2"` a chunk is called a **part**. It is always a dict: `type`
# is the mode, `ns` is the place, and `data` is the chunk of v1. (`values` adds
# `interrupts`: lesson 16.) One loop reads everything, and it stays right when
# you add a mode:

# %%
async for part in kitchen.astream(
    ORDER,
    config=new_thread(),
    stream_mode=["updates", "custom"],
    version="v2",
):
    if part["type"] == "updates":
        for node in part["data"]:
            print(node, "is done")
    elif part["type"] == "custom":
        print("progress:", part["data"])

# %% [markdown] tags=["cheat-sheet"]
# **Write new code with `version="v2"`.** `part["type"]` is the mode,
# `part["ns"]` the place, `part["data"]` the chunk.

# %% [markdown]
# From here on, this course does so.
#
# ## Sync and async yield the same
#
# Lesson 01 saw that the words are the same. `plain` writes each part in full
# and numbers the ids and times, which every run makes anew.
#
# **Predict.** For which of the eight modes do the parts of `stream` differ
# from those of `astream`?
#
# <details><summary>Answer</summary>
#
# For none. Their order is the same, too.
#
# </details>

# %%
for mode in MODES:
    parts = []
    async for part in kitchen.astream(
        ORDER, config=new_thread(), stream_mode=mode, version="v2"
    ):
        parts.append(part)
    twins = kitchen.stream(
        ORDER, config=new_thread(), stream_mode=mode, version="v2"
    )
    equal = plain(parts) == plain(twins)
    print(f"{mode:12}", len(parts), "parts, equal:", equal)

# %% [markdown]
# This is so as long as a graph can run both ways. Lesson 04 has a node that
# cannot, and a method that has no sync twin.
#
# ## Check yourself
#
# Replace the `...`. The function gets a graph and its input. It returns the
# names of the nodes, in the order in which they finished.

# %%
from workshop.checks import check


async def finished(graph, order):
    # TODO (about 4 lines)
    ...


# %%
await check("03.0", finished)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which mode yields something for each node that has finished? Its data is a
# dict, and the key is the name.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# names = []
# async for part in graph.astream(order, stream_mode="updates", version="v2"):
#     for node in part["data"]:
#         names.append(node)
# return names
# ```
#
# </details>
#
# ## Keep
#
# - Eight modes, one question each. A mode that does not exist is silent.
# - A list of modes replaces a second run.
# - `version="v2"` has one shape. Sync and async yield the same.
#
# The [cheat sheet](03_cheat_sheet.md) has the tables of this lesson.
#
# **Next:** [Lab 03](../exercises/03_astream_modes.ipynb)
