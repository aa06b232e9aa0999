# %% [markdown]
# # Keep the event loop free
#
# previous: [01 · Sync and async compared](01_sync_vs_async.ipynb) ·
# next: [03 · Stream modes](03_astream_modes.ipynb) ·
# lab: [02](../exercises/02_event_loop.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - find a call that blocks the event loop, here and at work;
# - move such a call to a thread, and start and cancel a task;
# - read the errors of mixed sync and async code.
#
# Builds on [lesson 01](01_sync_vs_async.ipynb).

# %%
from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
import asyncio
import subprocess
import sys
import threading
import time

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.observe import Heartbeat

llm = ChatOpenAI(model=model.name, stream_usage=True)
agent = create_agent(llm, tools=[])


def order(table: int) -> dict:
    return {"messages": [("user", f"Table {table} orders the soup")]}


# %% [markdown]
# ## What blocks the loop
#
# The event loop runs one piece of your `async` code at a time. At an `await`
# that has to wait, the piece gives the loop back, and another one runs. A call
# that waits *without* `await` keeps the loop. It
# **[blocks](glossary.md#blocking)** everybody.
#
# **Misconception:** *in async code you can call sync methods, too*. Here are
# three ways to stream inside `async` code.


# %%
async def async_stream():
    async for _ in agent.astream(order(1), stream_mode="messages"):
        pass


async def sync_stream():
    for _ in agent.stream(order(1), stream_mode="messages"):
        pass


async def sync_stream_and_sleep_0():
    for _ in agent.stream(order(1), stream_mode="messages"):
        await asyncio.sleep(0)


# %% [markdown]
# A [`Heartbeat`](glossary.md#heartbeat) beats every 10 ms, unless somebody
# blocks the loop.
#
# **Predict.** `await asyncio.sleep(0)` gives the loop to others once, after
# every chunk. Does that mend the sync stream?
#
# <details><summary>Answer</summary>
#
# No. The wait for the first token still blocks, and so does each wait between
# two tokens. A few beats slip through.
#
# </details>

# %%
for way in (async_stream, sync_stream, sync_stream_and_sleep_0):
    async with Heartbeat() as heart:
        await way()
    if heart.beats > heart.missed:
        print("alive  ", way.__name__)
    else:
        print("blocked", way.__name__)

# %% [markdown]
# A web server that streams in the second or third way makes all its other
# users wait. In `async` code, call the method with the `a`.
#
# ## How to see it at work
#
# `Heartbeat` belongs to this course. Python has its own: in **debug mode** a
# loop reports each piece that kept it for longer than
# `loop.slow_callback_duration`, 0.1 s by default. In a script you turn it on
# with `asyncio.run(main(), debug=True)`, for any program with
# `python -X dev app.py` or `PYTHONASYNCIODEBUG=1`.
#
# `run_script`, in the folded cell, runs a script in a process of its own and
# returns the lines that it prints, reports included.


# %% tags=["folded"]
def run_script(source: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout.splitlines()


# %% [markdown]
# This script blocks its loop for 0.3 s. You see the first half of the report.

# %%
SCRIPT = """
import asyncio
import time

async def slow():
    time.sleep(0.3)

asyncio.run(slow(), debug=True)
"""

for line in run_script(SCRIPT):
    if "slow()" in line:
        report = line.split(" created at")
        print(report[0])

# %% [markdown]
# The report names the coroutine and its line. The other half says where it
# was started, and at the end `took 0.301 seconds`. The report comes from the
# logger `asyncio`, as a warning.
#
# ## A thread for what cannot await
#
# Many libraries have only blocking calls. `asyncio.to_thread` runs a function
# in a thread of the loop's pool, and you await its end. Pass the function
# itself, without `()`, and then its arguments.
#
# **Predict.** This function returns the name of its thread. Which names do
# the two calls return?
#
# <details><summary>Answer</summary>
#
# `MainThread` is the loop's own thread. A thread of its pool is called
# `asyncio_0` or so. (The cell prints it without the number.)
#
# </details>


# %%
def read_recipe(dish: str) -> str:
    time.sleep(0.5)  # a library that blocks
    return threading.current_thread().name


async with Heartbeat() as heart:
    name = read_recipe("soup")
print("blocked:", heart.beats == 0, "in", name)

async with Heartbeat() as heart:
    name = await asyncio.to_thread(read_recipe, "soup")
print("blocked:", heart.beats == 0, "in", name.split("_")[0])

# %% [markdown]
# So *async means multi-threaded* is wrong. Async code runs in one thread.
# Others appear for `to_thread`, for `def` nodes, which LangGraph sends to the
# same pool, for `batch`, and inside of libraries.
#
# ## Start something and cancel it
#
# `await play()` waits for the end of `play`. `asyncio.create_task(play())`
# starts it beside you and returns a **[task](glossary.md#task)** at once. Keep
# the task in a variable: the loop itself does not hold it, and Python may
# throw away a task that nobody holds.


# %%
async def play():
    try:
        while True:
            print("music")
            await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
        print("the band has packed up")


# %% [markdown]
# [`cancel()`](glossary.md#cancellation) asks a task to end. It gets a
# `CancelledError` where it waits, and its `finally` blocks still run.
#
# **Predict.** In which order do the five lines come?
#
# <details><summary>Answer</summary>
#
# *started* comes first: a new task begins when you give the loop back. And
# *asked to stop* comes before *the band has packed up*: `cancel()` only asks.
# `asyncio.wait` waits until the task has ended.
#
# </details>

# %%
task = asyncio.create_task(play())
print("started")

await agent.ainvoke(order(1))  # the loop is free meanwhile

task.cancel()
print("asked to stop")
await asyncio.wait([task])
print("cancelled:", task.cancelled())

# %% [markdown]
# `asyncio.wait` does not raise what the task raised. `await task` would raise
# its `CancelledError` in your code, where it looks as if you had been
# cancelled yourself.
#
# Without the wait, the program goes on while the band still packs. At the end
# of a program, that is how files stay half written.
#
# ## What the errors say
#
# Whoever confuses the sync and the async form gets a `TypeError`. It names the
# type that does not fit.


# %%
async def for_astream():
    return [chunk for chunk in agent.astream(order(1))]


async def async_for_stream():
    return [chunk async for chunk in agent.stream(order(1))]


for mistake in (for_astream, async_for_stream):
    try:
        await mistake()
    except TypeError as error:
        print(error)

# %% [markdown]
# | you wrote | the error says |
# |---|---|
# | `for` over `astream` | `'async_generator' object is not iterable` |
# | `async for` over `stream` | `… requires an object with __aiter__ method` |
# | `await astream` | `object async_generator can't be used in 'await' …` |
# | `await invoke` | `object dict can't be used in 'await' expression` |
#
# From Python 3.14 on, the last two say `'async_generator' object can't be
# awaited` and `'dict' object can't be awaited`. The type and the word *await*
# are in both.

# %%
try:
    await agent.invoke(order(1))
except TypeError as error:
    print("dict" in str(error), "await" in str(error))

# %% [markdown]
# One confusion raises nothing: you forget the `await`. You get a
# coroutine that never runs. Python warns when it throws it away, often under
# another cell. Here the warning is caught and printed.

# %%
import warnings

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    forgotten = agent.ainvoke(order(1))
    print(type(forgotten).__name__)
    del forgotten

print(caught[0].message)

# %% [markdown]
# ## asyncio.run
#
# `asyncio.run` starts a coroutine from a script: it makes an event loop, runs
# the coroutine and closes the loop. A notebook has a running loop already,
# and a thread can run only one. In a cell you write `await`.

# %% tags=["raises-exception"]
call = agent.ainvoke(order(1))
asyncio.run(call)

# %% [markdown]
# In a script, call it **once**, around everything. `ChatOpenAI` keeps its
# connections for the next call, and a connection belongs to the loop in which
# it was opened. Lab 02 shows what a second loop meets.
#
# ## The advice to use nest-asyncio
#
# `nest-asyncio` patches asyncio so that `asyncio.run` works inside a running
# loop. You hardly need it, and it has a price.
#
# **Predict.** The fast dish starts first and takes 0.1 s. Which is served
# first?
#
# <details><summary>Answer</summary>
#
# The slow one. Nested runs end like nested calls, the inner one first. The
# fast dish is ready, but the slow one sits on top of it. Some programs hang
# for good that way.
#
# </details>

# %%
SCRIPT = """
import asyncio
import nest_asyncio
nest_asyncio.apply()

async def serve(dish, seconds):
    asyncio.run(asyncio.sleep(seconds))
    print(dish)

async def main():
    await asyncio.gather(serve("fast", 0.1), serve("slow", 0.5))

asyncio.run(main())
"""
for line in run_script(SCRIPT):
    print(line)

# %% [markdown]
# On Python 3.14 and later its last version, 1.6.0, breaks more. After
# `apply()`, `asyncio.current_task()` is `None`. So `asyncio.timeout` raises,
# and AnyIO, on which the HTTP client of `ChatOpenAI` is built, finds no loop.
# Every model call fails.
# This script asks for the current task. The last line compares its answer
# with this text, for your Python.

# %%
SCRIPT = """
import asyncio
import nest_asyncio
nest_asyncio.apply()

async def main():
    print(asyncio.current_task())

asyncio.run(main())
"""
lost = run_script(SCRIPT) == ["None"]
print("as the text says:", lost == (sys.version_info >= (3, 14)))

# %% [markdown]
# Nobody maintains it any more. `nest-asyncio2` is its maintained successor,
# with the same nested runs. In a cell, `await`. In a script, one
# `asyncio.run`.
#
# ## Check yourself
#
# `slow` is a function that blocks. Return what it returns for each of the
# tables, in their order. The event loop stays free, the calls overlap, and
# an error passes on.

# %%
from workshop.checks import check


async def ask_each(slow, tables: list[int]) -> list[str]:
    # TODO (about 2 lines)
    ...


await check("02.0", ask_each)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `asyncio.to_thread(slow, table)` without `await` is a coroutine, like any
# other call. Lesson 01 has what starts several of them.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# calls = [asyncio.to_thread(slow, table) for table in tables]
# return await asyncio.gather(*calls)
# ```
#
# </details>
#
# ## Keep
#
# - A call that waits without `await` stops everybody; `sleep(0)` is no cure.
# - `to_thread` for what blocks; debug mode shows what you overlooked.
# - Keep a task, cancel it, and wait for its end.
#
# **Next:** [Lab 02](../exercises/02_event_loop.ipynb), then
# [03 · Stream modes](03_astream_modes.ipynb)
