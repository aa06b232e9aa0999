# %% [markdown]
# # Lab 08: nobody listens, nobody pays
#
# lesson: [08 · Reader leaves](../notebooks/08_when_the_reader_leaves.ipynb) ·
# [exercise](../exercises/08_when_the_reader_leaves.ipynb) ·
# [solution](../solutions/08_when_the_reader_leaves.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - run any stream in a task of its own;
# - end a run whose client leaves before the first word.
#
# Write where the `...` is, then run that cell and the check. The next cell is
# folded: imports, `words`, `END`, `honest` of lab 07, and `hung_up`.

# %% tags=["folded"]
import asyncio

import openai
from fastapi import HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.guests import leave, talk
from workshop.model import connect

model = connect()
llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])


# %% [markdown]
# Folded as well: `words` of the lesson, and `honest` of lab 07.


# %% tags=["folded"]
class END:
    """Marks the end of a stream."""


async def words(message):
    question = {"messages": [("user", message)]}
    async for part in agent.astream(
        question, stream_mode="messages", version="v2"
    ):
        said, about = part["data"]
        if about["langgraph_node"] == "model" and said.text:
            yield said.text


async def honest(parts):
    async def all_parts():
        yield first
        async for part in parts:
            yield part

    try:
        first = await anext(parts, "")
    except openai.RateLimitError as error:
        raise HTTPException(429, "the model is busy") from error
    except openai.APIError as error:
        raise HTTPException(502, "the model failed") from error
    return StreamingResponse(all_parts())


async def hung_up(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


# %% [markdown]
# ## Task 1: any stream in a task of its own
#
# **Write** `in_own_task(stream)`, an async generator. It yields what `stream`
# yields, each part as it comes, `None` too. It raises what `stream`
# raises. Whoever leaves it, at any time and in any way, cancels the
# run behind this `stream`, and no other.
#
# **Expected:** every run whose reader leaves is cut off, and only those.


# %%
async def in_own_task(stream):
    queue = asyncio.Queue()

    async def pump():
        try:
            async for part in stream:
                queue.put_nowait(part)
        finally:
            queue.put_nowait(END)

    run = asyncio.create_task(pump())
    # TODO (about 8 lines)
    # solution
    try:
        while True:
            part = await queue.get()
            if part is END:
                break
            yield part
        await run
    finally:
        run.cancel()


# %%
await check("08.1", in_own_task)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# AnyIO cancels your generator again and again, and the run is out of its
# reach. When do you stop to read, where does the error come out, and where do
# you cancel the run?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Yield parts from the queue until you get `END`, then await `run`, for its
# error. Cancel it in `finally`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The generator waits only for a queue, and there AnyIO may cancel as
# often as it likes. `finally` runs whatever happens: an end, an error, a
# client who left. `cancel` does nothing to a task that has ended.
#
# `leave` shows it with an endpoint around it.


# %% tags=["solution"]
async def thrifty(message: str):
    return StreamingResponse(in_own_task(words(message)))


_ = await leave(thrifty, "Tell me a story in 40 words", model)

# %% [markdown]
# ## Task 2: gone before the first word
#
# An honest status waits for the first part. Meanwhile there is no response
# yet, and nobody looks whether the client is still there. `hung_up(request)`
# waits until it has left.
#
# **Write** `respond(request, stream)`. It returns what `honest` makes of
# `in_own_task(stream)`, or raises what `honest` raises. If the client leaves
# before that is there, the run ends at once, and it returns any `Response`.
# Afterwards nothing of it waits for `request` any more.
#
# **Expected:** 429 and 502, and a run whose client left is cut off.


# %%
async def respond(request, stream):
    answer = asyncio.create_task(honest(in_own_task(stream)))
    gone = asyncio.create_task(hung_up(request))
    # TODO (about 6 lines)
    # solution
    await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    gone.cancel()
    if answer.done():
        return await answer
    answer.cancel()
    return Response()


# %%
await check("08.2", respond)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Two tasks, and whichever ends first decides. `asyncio.wait` can return when
# one of them has ended. Neither may be left behind.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `asyncio.wait` with `return_when="FIRST_COMPLETED"`. If `answer` is done,
# `return await` it: that raises its status. Else cancel it and return an
# empty `Response`. Cancel `gone` in both cases.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `answer.cancel()` arrives in `in_own_task`, where it waits for its
# queue. So the same `finally` stops the model, whoever leaves, and when.
#
# With it an endpoint for work is two lines:


# %% tags=["solution"]
async def chat(message: str, request: Request):
    return await respond(request, words(message))


await talk(chat, "Hello")
_ = await leave(chat, "Tell me a story in 40 words", model)

# %% [markdown]
# ## Keep
#
# - A task of its own, and one `cancel` in `finally`.
# - Before there is a response, look for the client yourself.
#
# **Next:** [09 · Events and resume](../notebooks/09_resume_streaming.ipynb)
