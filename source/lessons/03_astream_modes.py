# %% [markdown]
# # Choose what you watch: every stream mode
#
# previous: [01 · Sync and async compared](01_sync_vs_async.ipynb) ·
# next: [05 · Token streaming](05_token_streaming.ipynb) ·
# lab: [03](../exercises/03_astream_modes.ipynb)

# %% [markdown]
# In twenty minutes you will be able to:
#
# - choose a stream mode by the question that you have;
# - say what each mode yields, how often and in what type;
# - report progress from your own nodes and tools.
#
# Builds on lesson 01.

# %%
import asyncio
import time
from uuid import uuid4

from workshop.chunks import brief, plain
from workshop.model import connect

model = connect()
if model.practice:
    model.pace(ttft=0.05, per_token=0.01)
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model=model.name, stream_usage=True)
ORDER = {"messages": [("user", "Table 1 orders soup")]}

# %% [markdown]
# ## One kitchen, many windows
#
# A stream mode is a window on a run. Through each of them you look at the
# same kitchen: the model reads the order and calls the tool `cook`, the tool
# cooks and reports its progress, the model answers.
#
# One of the modes needs a checkpointer. With it, each run needs a
# conversation of its own: a table with a fresh `thread_id`.

# %%
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer


@tool
def cook(dish: str) -> str:
    """Cook what a table orders."""
    for percent in (0, 50, 100):
        get_stream_writer()({"dish": dish, "percent": percent})
    return f"The {dish} is ready."


def table() -> dict:
    return {"configurable": {"thread_id": uuid4()}}


kitchen = create_agent(llm, [cook], checkpointer=InMemorySaver())

# %% [markdown]
# ## The four modes that everybody knows
#
# Older material, the notes of this course among it, knows four. `brief`
# prints a chunk in one line.
#
# **Predict.** The steps are `model`, `tools`, `model`. How many chunks does
# `updates` yield, and how many does `values`?
#
# <details><summary>Answer</summary>
#
# Three and four. `updates` yields what each step returned. `values` yields
# the whole state after each step, and also before the first.
#
# </details>

# %%
for mode in "updates", "values", "messages", "custom":
    print(f"{mode}:")
    async for chunk in kitchen.astream(ORDER, table(), stream_mode=mode):
        print("   ", brief(chunk))

# %% [markdown]
# A chunk of `messages` is a tuple: a piece of a message, and where it comes
# from. Lesson 05 takes it apart. `custom` yields what `cook` wrote, unchanged.
#
# ## The four that watch the engine
#
# **Predict.** `tasks` tells when a node starts and when it ends.
# `checkpoints` tells what was saved. `debug` is both. How many chunks does
# each yield?
#
# <details><summary>Answer</summary>
#
# 6, 5 and 11. Three nodes ran. The state was saved after each of them, and
# before the first, and when the input arrived.
#
# </details>

# %%
for mode in "tasks", "checkpoints", "debug", "tools":
    print(f"{mode}:")
    async for chunk in kitchen.astream(ORDER, table(), stream_mode=mode):
        print("   ", brief(chunk))

# %% [markdown]
# `tools` is not in LangGraph's own list of modes, `StreamMode`. It works
# today and may change.
#
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
with model.meter() as meter:
    stream = kitchen.astream(ORDER, table(), stream_mode="update")
    chunks = [chunk async for chunk in stream]
print(len(chunks), "chunks,", meter.requests, "requests")

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
#
# One run of `model`, `tools`, `model`, seen in all modes at once:

# %% tags=["cheat-sheet"]
from typing import get_args

from IPython.display import Markdown, display
from langgraph.types import StreamMode

MODES = [*get_args(StreamMode), "tools"]
seen = {mode: [] for mode in MODES}
async for mode, chunk in kitchen.astream(ORDER, table(), stream_mode=MODES):
    seen[mode].append(chunk)
rows = ["| mode | chunks | type | the second one |", "|---|---|---|---|"]
for mode, (_, chunk, *rest) in seen.items():
    row = f"| `{mode}` | {len(rest) + 2} | {type(chunk).__name__}"
    rows.append(f"{row} | `{brief(chunk)}` |")
Markdown("\n".join(rows))

# %% [markdown]
# ## Sync and async yield the same
#
# **Predict.** The notes say: *all modes behave identically to sync.* Which
# mode is different after all?
#
# <details><summary>Answer</summary>
#
# None. `plain` writes each chunk in full and only numbers the ids and times
# that every run makes anew.
#
# </details>

# %%
for mode in MODES:
    stream = kitchen.astream(ORDER, table(), stream_mode=mode)
    chunks = plain([chunk async for chunk in stream])
    twins = plain(kitchen.stream(ORDER, table(), stream_mode=mode))
    print(f"{mode:12}{len(chunks):3} chunks, equal: {chunks == twins}")

# %% [markdown]
# Two exceptions follow below. A third is Python 3.10, where async code loses
# tokens and progress. This course needs 3.11.
#
# ## Several modes, and a graph in a graph
#
# You saw a list of modes: then a chunk comes with its mode. Now the kitchen
# becomes a node of a café. `subgraphs=True` adds the **namespace**: the
# nodes that you are inside of.

# %%
from langgraph.graph import START, MessagesState, StateGraph

cafe = StateGraph(MessagesState).add_node("kitchen", kitchen)
cafe.add_node("greet", lambda _: get_stream_writer()("Welcome!"))
cafe.add_edge(START, "greet").add_edge("greet", "kitchen")
cafe = cafe.compile(checkpointer=InMemorySaver())

# %% tags=["cheat-sheet"]
rows = ["How many chunks, and the last one, by the form of the call:", ""]
rows += ["| `stream_mode` | subgraphs | v1 | v2 |", "|---|---|---|---|"]
for mode in "custom", ["custom"]:
    for inner in False, True:
        rows.append(f"| `{mode!r}` | {inner} |")
        for version in "v1", "v2":
            view = {"stream_mode": mode, "subgraphs": inner}
            view["version"] = version
            stream = cafe.astream(ORDER, table(), **view)
            chunks = [chunk async for chunk in stream]
            rows[-1] += f" {len(chunks)} × `{brief(chunks[-1])}` |"
Markdown("\n".join(rows))

# %% [markdown]
# Two things to see. Without `subgraphs=True` the progress of the kitchen is
# **silent**: one chunk instead of four. Its tokens are silent too: see it in
# the explorer below.
#
# And v1 has four shapes, depending on the call. With `version="v2"` a chunk
# is always a dict with `type`, `ns` and `data`, and `values` adds
# `interrupts`. Write new code with v2.
#
# ## Progress from an async node
#
# `get_stream_writer()` works in nodes and tools, `def` or `async def`. This
# node notes in a `log` what it baked. Your loop notes what it has seen.


# %%
async def bake(state):
    for percent in (50, 100):
        log.append(f"baked {percent}")
        get_stream_writer()(percent)
        await pause(0.2)


# %% [markdown]
# First the node pauses with `asyncio.sleep`, then with a function that
# blocks. The last line tries the sync twin.
#
# **Predict.** When do you see the 50?
#
# <details><summary>Answer</summary>
#
# At once, and after the 100 was baked. A node that blocks the event loop
# also holds back its own progress: the bar jumps from 0 to 100.
#
# </details>


# %% tags=["raises-exception"]
async def block(seconds):
    time.sleep(seconds)


oven = StateGraph(MessagesState).add_node(bake).add_edge(START, "bake")
oven = oven.compile()
for pause in asyncio.sleep, block:
    log = []
    async for percent in oven.astream(ORDER, stream_mode="custom"):
        log.append(f"seen {percent}")
    print(f"{pause.__name__}: {', '.join(log)}")
[*oven.stream(ORDER)]

# %% [markdown]
# An `async def` node runs only under `astream` and `ainvoke`.
#
# ## `astream_events`: the finest view
#
# It reports every start, piece and end of everything that runs: nodes,
# models, tools, and what LangChain builds around them. Take it for logs, or
# for parts that are no graph. It has no modes, and its sync twin only
# exists to say that it does not.

# %% tags=["raises-exception"]
events = kitchen.astream_events(ORDER, table(), version="v2")
kinds = [event["event"] async for event in events]
print(len(kinds), "events:", *sorted(set(kinds)), sep="\n  ")
kitchen.stream_events(ORDER, table(), version="v2")

# %% [markdown]
# ## `version="v3"`: one run, several views
#
# The newest form gives you a run. `run.messages` yields each message of
# the model, and each has its own stream of `text`. There are also `values`,
# `tool_calls` and `subgraphs`, and it has a sync twin. It is experimental
# and says so in a warning, which this cell switches off.

# %%
import warnings

with warnings.catch_warnings(action="ignore"):
    run = await kitchen.astream_events(ORDER, table(), version="v3")
    async for message in run.messages:
        print([text async for text in message.text])

# %% [markdown]
# The first message was the call of the tool: no text.
#
# ## Mode explorer
#
# Tick modes and press **Run**. Each chunk appears when it comes, with its
# type. `html.escape` keeps a model from writing HTML into your page.

# %%
import html

import ipywidgets as widgets

SMALL = {"indent": False, "layout": {"width": "9em"}}
ticks = [widgets.Checkbox(description=mode, **SMALL) for mode in MODES]
inner = widgets.Checkbox(description="subgraphs", **SMALL)
version = widgets.ToggleButtons(options=["v1", "v2"])
method = widgets.ToggleButtons(options=["astream", "stream"])
button = widgets.Button(description="Run")
screen = widgets.HTML()
rows = ticks[:4], ticks[4:], [version, inner], [method, button], [screen]
panel = widgets.VBox([widgets.HBox(row) for row in rows])
lines, running = [], []


# %%
async def explore():
    lines.clear()
    button.disabled = True
    view = {"subgraphs": inner.value, "version": version.value}
    view["stream_mode"] = [t.description for t in ticks if t.value]
    stream = getattr(cafe, method.value)(ORDER, table(), **view)
    try:
        if method.value == "astream":
            async for chunk in stream:
                show(chunk)
        else:
            for chunk in stream:
                show(chunk)
    except Exception as error:
        show(error)
    finally:
        button.disabled = False


# %% [markdown]
# JupyterLab may call `press` in another thread than that of your cells, so it
# hands `explore` to their loop. The cell also ticks two modes and presses the
# button. On a page without a kernel you see no panel, but the same lines.


# %%
def show(chunk):
    lines.append(f"{type(chunk).__name__} {brief(chunk)}")
    screen.value = f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def press(_):
    running.append(asyncio.run_coroutine_threadsafe(explore(), loop))


loop = asyncio.get_running_loop()
button.on_click(press)
display(panel)
ticks[1].value = ticks[6].value = inner.value = True
button.click()
await asyncio.wrap_future(running[-1])
print(*lines, sep="\n")

# %% [markdown]
# ## Check yourself
#
# Replace the `...`. The function gets a graph and its input. It returns the
# names of the nodes, in the order in which they finished.

# %%
from workshop.checks import check


async def finished(graph, order):
    # TODO (about 3 lines)
    ...


# %%
await check("03.0", finished)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which mode yields one chunk per finished node? Its chunk is a dict, and the
# key is the name.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# stream = graph.astream(order, stream_mode="updates")
# return [node async for chunk in stream for node in chunk]
# ```
#
# </details>
#
# ## Keep
#
# - Eight modes, one question each. A mode that does not exist is silent.
# - Without `subgraphs=True` you see nothing from inside.
# - `version="v2"` has one shape. Sync and async yield the same chunks.
#
# **Next:** [Lab 03](../exercises/03_astream_modes.ipynb)
