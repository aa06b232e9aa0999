# %% [markdown]
# # Lab 07: serve twenty guests, with a true status
#
# lesson: [07 · FastAPI](../notebooks/07_fastapi_streaming.ipynb) ·
# [exercise](../exercises/07_fastapi_streaming.ipynb) ·
# [solution](../solutions/07_fastapi_streaming.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - find what makes guests wait for each other, and mend it;
# - answer with a true status, and still stream.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints. The next cell is folded: it has the imports and
# an agent.

# %% tags=["folded"]
import asyncio
import time

import openai
from fastapi import HTTPException
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.guests import crowd, talk
from workshop.model import connect

model = connect()
llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# ## Task 1: twenty guests at once
#
# Guests are greeted with their table. `table_of` asks the restaurant's old
# reservation system. That is sync code, it takes its time, and you cannot
# change it.


# %%
def table_of(guest):
    time.sleep(0.2)
    return len(guest)


async def greet_slowly(agent, table_of, message, guest):
    yield f"Table {table_of(guest)}: "
    question = {"messages": [("user", message)]}
    for part in agent.stream(question, stream_mode="messages", version="v2"):
        said, _ = part["data"]
        yield said.text


# %% [markdown]
# An endpoint around it, one guest, and then three at once. `talk` and `crowd`
# are those of the lesson.


# %%
async def slow(message: str, guest: str = "Ada"):
    return StreamingResponse(greet_slowly(agent, table_of, message, guest))


await talk(slow, "Hello")
print(await crowd(slow, 3, "Hello", model))

# %% [markdown]
# **Write** `greet(agent, table_of, message, guest)`. It yields the same: the
# table of this guest, asked for now, and then each piece of the answer as it
# comes. No guest waits for another one, neither for the table nor for the
# model.
#
# **Expected:** 20 guests at once at the model, and a ping is answered.


# %%
async def greet(agent, table_of, message, guest):
    question = {"messages": [("user", message)]}
    # TODO (about 7 lines)
    # solution
    table = await asyncio.to_thread(table_of, guest)
    yield f"Table {table}: "
    async for part in agent.astream(
        question, stream_mode="messages", version="v2"
    ):
        said, _ = part["data"]
        yield said.text


# %%
await check("07.1", greet)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Two calls block the event loop. One of them has an async twin. The other one
# has none, and needs a thread.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `await asyncio.to_thread(table_of, guest)`, and `async for` over
# `agent.astream`. Nothing else changes.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** Now the loop waits only for sockets and for a thread that is busy
# for 0.2 s. The stream takes no thread at all.
#
# There is a second way: make it a plain `def`, and change nothing else.
# Starlette then takes each step in one of its 40 threads. For twenty guests
# that does as well, and the check accepts it.

# %% [markdown]
# ## Task 2: a true status, for any stream
#
# The endpoint of the lesson knows one failure, and one stream. Yours takes any
# async generator of texts, and clients are to tell a busy model from a broken
# one.
#
# **Write** `honest(parts)`. It returns a `StreamingResponse` of all the parts,
# each as it comes. If `parts` fails before its first part, it raises
# `HTTPException`: 429 for `openai.RateLimitError`, 502 for any other
# `openai.APIError`. It leaves every other error as it is: that is a bug of
# yours. A failure after the first part breaks the response off.
#
# `all_parts` is done; it needs `first`, which you find.
#
# **Expected:** 429, 502, and a stream that is broken off is not whole.


# %%
async def honest(parts):
    async def all_parts():
        yield first
        async for part in parts:
            yield part

    # TODO (about 7 lines)
    # solution
    try:
        first = await anext(parts, "")
    except openai.RateLimitError as error:
        raise HTTPException(429, "the model is busy") from error
    except openai.APIError as error:
        raise HTTPException(502, "the model failed") from error
    return StreamingResponse(all_parts())


# %%
await check("07.2", honest)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# The response sends its status before it asks for the first part. So ask for
# that part yourself, before there is a response. Do not forget to send it.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `first = await anext(parts, "")` in a `try`. A rate limit is an `APIError`
# as well, so it comes first. Then return a response of `all_parts()`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `anext` waits for the first part and for nothing more. Until then
# no byte has been sent, so an exception can still become a status.
#
# An error after the first part is left alone. It breaks off the connection,
# and the client knows that its answer is not whole. To catch it and end the
# stream would be a lie.

# %% [markdown]
# ## Keep
#
# - In `async def`, wait for sync code in a thread, or for its async twin.
# - The first part decides the status.
# - Catch what you can name; a bug of your own is a 500.
#
# **Next:** [08 · Reader leaves](../notebooks/08_when_the_reader_leaves.ipynb)
