# %% [markdown]
# # Lab 02: stop nobody, and stop properly
#
# lesson: [02 · The event loop](../notebooks/02_event_loop.ipynb) ·
# [exercise](../exercises/02_event_loop.ipynb) ·
# [solution](../solutions/02_event_loop.ipynb)

# %% [markdown]
# Three tasks, about {minutes} minutes. You will
#
# - mend calls that block the event loop;
# - take a graph into a script that does not fail the second time;
# - run something beside your work, and end it whatever happens.
#
# The folded cell has the imports, a graph and `order`.

# %% tags=["folded"]
import asyncio
import time

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check

agent = create_agent(ChatOpenAI(model=model.name), tools=[])


def order(text):
    return {"messages": [("user", text)]}


# %% [markdown]
# ## Task 1: find what stops everybody
#
# `read_menu` stands for a library that only has blocking calls. While
# `serve` streams a dish, nobody else in the house is served.


# %%
def read_menu():
    time.sleep(0.3)
    return "On the menu: soup."


async def serve(graph, question, read_menu):
    asked = order(f"{read_menu()} {question}")
    for chunk, _ in graph.stream(asked, stream_mode="messages"):
        yield chunk.text
        await asyncio.sleep(0)  # "so that others get a turn"


# %% [markdown]
# **Write** `serve_gently` with the same parameters. It asks the graph the
# same, with what `read_menu` returns for this order, and yields the same
# pieces, each when it comes, and an error passes on. Nothing in it blocks the
# event loop. Begin with a copy of `serve`.
#
# **Expected:** the first piece comes before the model has finished.


# %%
async def serve_gently(graph, question, read_menu):
    # TODO (about 3 lines)
    # solution
    menu = await asyncio.to_thread(read_menu)
    asked = order(f"{menu} {question}")
    async for chunk, _ in graph.astream(asked, stream_mode="messages"):
        yield chunk.text


# %%
await check("02.1", serve_gently)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Two lines wait without `await`. One has an async twin. The other has none
# and needs a thread. `sleep(0)` gives others a turn between two pieces, but
# not while you wait for the first.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `menu = await asyncio.to_thread(read_menu)`: the function without `()`.
# Then `async for chunk, _ in graph.astream(...)`, and yield `chunk.text`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The loop runs on one thread. A call that waits there without
# `await` stops every task of the process. `astream` gives the loop back while
# it waits. For code that has no async form, `to_thread` moves the wait to
# a worker thread.
#
# `to_thread(list, graph.stream(...))` would free the loop too, but then the
# guest gets everything at the end. And `sleep(0)` is no cure: the longest
# wait is the one before the first piece.

# %% [markdown]
# ## Task 2: take it to work
#
# At night a plain script answers two batches of questions with `answer_all`
# of lab 01. Its first version calls `asyncio.run` for each batch. The folded
# cell runs that version in a process of its own, and brings `answer_all`.

# %% tags=["folded"]
import os
import subprocess
import sys

SCRIPT = f"""
import asyncio
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model="{model.name}")
for batch in (["What is LangGraph?"], ["Why async?"]):
    asyncio.run(llm.abatch(batch))
    print(batch, "is answered")
"""
done = subprocess.run(
    [sys.executable, "-c", SCRIPT],
    env=os.environ | {"NO_COLOR": "1"},  # Python 3.13 colours its errors
    capture_output=True,
    text=True,
)
print(done.stdout.strip())
print(done.stderr.splitlines()[-1])


async def answer_all(graph, questions):
    async def answer(question):
        state = await graph.ainvoke(order(question))
        return state["messages"][-1].text

    calls = [answer(question) for question in questions]
    return await asyncio.gather(*calls)


# %% [markdown]
# **Write** `main(graph, batches)`, a plain `def`, as a script calls it. Answer
# each batch with `answer_all`, one batch after the other. Return a list with
# the list of texts of each batch. An error passes on.
#
# **Expected:** with two batches of three, 3 requests in flight at once. You
# cannot call it in a cell; the check runs it as a script would.


# %%
def main(graph, batches):
    # TODO (about 3 lines)
    # solution
    async def service():
        return [await answer_all(graph, batch) for batch in batches]

    return asyncio.run(service())


# %%
await check("02.2", main)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `asyncio.run` makes an event loop and closes it at its end. `ChatOpenAI`
# keeps its connections for the next call, and they belong to that loop.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Put the loop over the batches into one inner `async def`. Await `answer_all`
# there. Call `asyncio.run` once, with that coroutine, and return its result.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** One `asyncio.run` holds everything that is async. New `ChatOpenAI`
# objects for each batch do not help: they all share one pool of connections.
# `nest_asyncio` is not needed either. Where each job must have a loop of its
# own, as in some task queues, give each its own connections:
# `ChatOpenAI(..., http_async_client=openai.DefaultAsyncHttpxClient())`.
#
# This is the whole script, with the `build` of lab 01:
#
# ```python
# if __name__ == "__main__":
#     graph = build(ChatOpenAI(model="gpt-4o"))
#     print(main(graph, [["What is LangGraph?"], ["Why async?"]]))
# ```
#
# In a notebook cell a loop already runs. `main` would raise there; `await
# answer_all(...)` is what you write instead. The check called `main` in a
# thread that has no loop.

# %% [markdown]
# ## Task 3: music while you eat
#
# A band plays until it is cancelled, and then needs a moment to pack up. The
# folded cell has a band and a dinner to try with.


# %% tags=["folded"]
async def play():
    try:
        while True:
            print("music")
            await asyncio.sleep(1)
    finally:
        await asyncio.sleep(0.1)
        print("packed up")


async def dine():
    state = await agent.ainvoke(order("Is it good?"))
    return state["messages"][-1].text


# %% [markdown]
# **Write** `with_music(play, dine)`. Both are `async def` functions without
# parameters. Call each once. `play` runs while `dine` does. When `dine` has
# ended, cancel `play`, and return what `dine` returned.
#
# However your function ends, `play` has ended before, with its `finally`:
# also when `dine` raises, whose error then passes on, and when your function
# is cancelled itself.
#
# **Expected:** when your function returns, the band has packed up.


# %%
async def with_music(play, dine):
    music = asyncio.create_task(play())
    # TODO (about 5 lines)
    # solution
    try:
        return await dine()
    finally:
        music.cancel()
        await asyncio.wait([music])


# %%
await check("02.3", with_music)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# The task has been made. Which block of Python runs however a function ends?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# First `try:` with `return await dine()`. Then `finally:` with `cancel()` and
# a wait for the end of the task, as in the lesson.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `finally` runs after a return, after an error and after a cancel,
# so nobody forgets the band. `cancel()` only asks; without the wait your
# function returns while the band still packs.
#
# `asyncio.gather(play(), dine())` never returns: it waits for both. And
# `await music` in the `finally` would raise the `CancelledError` of the band
# in place of the answer.

# %% [markdown]
# ## Keep
#
# - A call that waits has an `await` in front, or a thread.
# - A script has one `asyncio.run`, around everything.
# - Who starts a task ends it, in a `finally`, and waits.
#
# **Next:** [03 · Stream modes](../notebooks/03_astream_modes.ipynb)
