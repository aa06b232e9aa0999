# %% [markdown]
# # Lab 06: end a stream, and lose nothing
#
# lesson: [06 · Stop, limit, retry](../notebooks/06_stop_limit_retry.ipynb) ·
# [exercise](../exercises/06_stop_limit_retry.ipynb) ·
# [solution](../solutions/06_stop_limit_retry.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - end an answer in time, and keep what has come;
# - build a Stop that leaves nothing running.

# %%
import asyncio

from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# ## Task 1: a limit that keeps the answer
#
# A guest waits some seconds and no longer. What has come by then is better
# than nothing. This first version loses it.


# %%
async def all_or_nothing(graph, question, seconds):
    ask = {"messages": [("user", question)]}
    try:
        state = await asyncio.wait_for(graph.ainvoke(ask), seconds)
        return state["messages"][-1].text
    except TimeoutError:
        return ""


text = await all_or_nothing(agent, "What is LangGraph?", 0.5)
print(repr(text))

# %% [markdown]
# **Write** the rest of `answer_within(graph, question, seconds)`. It returns
# the text that came within that time, all nodes together, and the model's call
# has ended then. The limit is for the whole answer, and the graph stays as it
# is. A cancel that is not yours comes out.
#
# **Expected:** of an answer that stalls after 3 tokens, 3 tokens.


# %%
async def answer_within(graph, question, seconds):
    ask = {"messages": [("user", question)]}
    stream = graph.astream(ask, stream_mode="messages", version="v2")
    text = ""
    # TODO (about 7 lines)
    # solution
    try:
        async with asyncio.timeout(seconds):
            async for part in stream:
                message, _ = part["data"]
                text += message.text
    except TimeoutError:
        pass
    return text


# %%
await check("06.1", answer_within)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `asyncio.timeout` cancels whatever its block waits for. The text lives
# outside of it, so it survives. Where does the `TimeoutError` appear: inside
# the block, or where the block ends?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# From outside to inside: `try:`, then `async with asyncio.timeout(seconds):`,
# then the `async for` that adds to `text`. After `except TimeoutError: pass`,
# return the text.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The text lives outside of what is cancelled. The cancel reaches the
# `await` in the graph, so it ends a model that stalls, where a look at the
# clock after each token would never happen.
#
# `timeout` turns its own cancel into a `TimeoutError` where the block ends. So
# `except` stands around it, and catches nothing else. `except CancelledError`
# would also swallow the Stop of a user.

# %% [markdown]
# One thing no limit can end: a `def` node. Its thread cannot be cancelled, so
# the model writes to the end. For a `def` node give the model a `timeout`.

# %% [markdown]
# ## Task 2: take it to work, Start and Stop
#
# Every chat has a Stop. Yours must hold when the model stalls, before the
# first token, twice, and after the end. `run` is there.
#
# **Write** the rest of `start(graph, question, show)`, a plain `def`. It
# starts `run` and returns an `async def stop()` at once. After `await stop()`
# nothing of this answer runs, and `show` is not called any more. Other answers
# go on.
#
# **Expected:** two answers, one stop, one call cut off at the model.


# %%
def start(graph, question, show):
    async def run():
        text = ""
        async for part in graph.astream(
            {"messages": [("user", question)]},
            stream_mode="messages",
            version="v2",
        ):
            message, _ = part["data"]
            text += message.text
            show(text)

    # TODO (about 5 lines)
    # solution
    async def stop():
        task.cancel()
        await asyncio.wait([task])

    task = asyncio.create_task(run())
    return stop


# %%
await check("06.2", start)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# A flag is read only when a token comes. A task has a method that works at
# any time. It only asks: the task ends a little later.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `task = asyncio.create_task(run())`. In `stop`, cancel the task, then wait
# for its end. `await task` raises what ended it; `await asyncio.wait([task])`
# does not.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `cancel` reaches the task wherever it waits: for the first token,
# for a stalled one, in a subgraph. On a finished task it does nothing. When
# `wait` returns, LangGraph has cleaned up and the connection is closed.
#
# In a web server `stop` belongs to the handler that the Stop button calls.
# When a reader just leaves, it is AnyIO that cancels: see lesson 08.

# %% [markdown]
# ## Keep
#
# - Keep the text outside of what you cancel.
# - Catch `TimeoutError`, around the block. A cancel passes through.
# - Stop is `cancel`, and then wait.
#
# **Next:** [07 · FastAPI streaming](../notebooks/07_fastapi_streaming.ipynb)
