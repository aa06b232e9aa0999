# %% [markdown]
# # Lab 07: serve twenty guests, and none who has left
#
# lesson: [07 · FastAPI](../notebooks/07_fastapi_streaming.ipynb) ·
# [exercise](../exercises/07_fastapi_streaming.ipynb) ·
# [solution](../solutions/07_fastapi_streaming.ipynb)

# %% [markdown]
# Four tasks, about 40 minutes. You will
#
# - find what makes guests wait for each other, and mend it;
# - answer with a true status, and still stream;
# - end the run of a client who has left;
# - put it all into the endpoint that you take to work.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints.

# %%
import asyncio

from workshop.guests import crowd, leave, talk
from workshop.model import connect

model = connect()
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check

llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# ## Task 1: twenty guests at once
#
# Guests are greeted with their table. `table_of` asks the restaurant's old
# reservation system. That is sync code, it takes its time, and you cannot
# change it.

# %%
import time


def table_of(guest):
    time.sleep(0.2)
    return len(guest)


async def greet_slowly(agent, table_of, message, guest):
    yield f"Table {table_of(guest)}: "
    question = {"messages": [("user", message)]}
    for msg, _ in agent.stream(question, stream_mode="messages"):
        yield msg.text


# %% [markdown]
# An endpoint around it, one guest, and then three at once. `talk` and `crowd`
# are those of the lesson.


# %%
async def slow(message: str, guest: str = "Ada"):
    return StreamingResponse(greet_slowly(agent, table_of, message, guest))


await talk(slow, "Hello")
print(await crowd(slow, 3, "Hello", model))

# %% [markdown]
# **Write** `greet(agent, table_of, message, guest)`. It yields the same, and
# nobody waits for anybody else.
#
# **Expected:** 20 guests at once at the model, the first word early, and a
# ping is answered.


# %%
async def greet(agent, table_of, message, guest):
    # TODO (about 5 lines)
    # solution
    yield f"Table {await asyncio.to_thread(table_of, guest)}: "
    question = {"messages": [("user", message)]}
    async for msg, _ in agent.astream(question, stream_mode="messages"):
        yield msg.text


# %%
await check("07.1", greet)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Two calls block the event loop. One of them has an async twin. The other one
# has none, and needs a thread (lesson 05).
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
# ## Task 2: a true status
#
# Clients and load balancers look at the status first. `words` is what users
# should see of an answer, here in the simplest endpoint.


# %%
async def words(message):
    question = {"messages": [("user", message)]}
    async for msg, _ in agent.astream(question, stream_mode="messages"):
        if msg.type == "AIMessageChunk" and msg.text:
            yield msg.text


async def simple(message: str):
    return StreamingResponse(words(message))


# %% [markdown]
# The model refuses, as often as its client tries. The status is 200.

# %%
model.fault("rate_limit", times=3, retry_after=0.1)
await talk(simple, "Hello")

# %% [markdown]
# **Write** `honest(parts)`. It returns a `StreamingResponse` of an async
# generator such as `words("Hello")`. If that fails before its first part, it
# raises `HTTPException`: 429 for `openai.RateLimitError`, 502 for any other
# `openai.APIError`.
#
# **Expected:** both, and the first word still comes early.

# %%
import openai
from fastapi import HTTPException


async def honest(parts):
    # TODO (about 11 lines)
    # solution
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
# as well, so it comes first. Then a small generator yields `first` and goes
# on with `parts`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `anext` waits for the first token and for nothing more. Until then
# no byte has been sent, so an exception can still become a status.
#
# An error after the first token is left alone. It breaks off the connection,
# and the client knows that its answer is not whole. To catch it and end the
# stream would be a lie.

# %% [markdown]
# ## Task 3: nobody listens
#
# Many users close the page before the answer has ended. The model does not
# learn it.

# %%
_ = await leave(simple, "Tell me a story in 40 words", model)

# %% [markdown]
# **Write** `in_own_task(stream)`, an async generator. It yields what `stream`
# yields, and raises what it raises. Whoever leaves it, at any time, cancels
# the run behind `stream`, and no other.
#
# **Expected:** 2 of 2 calls cut off; others get their whole answer.


# %%
async def in_own_task(stream):
    # TODO (about 11 lines)
    # solution
    async def pump():
        async for part in stream:
            queue.put_nowait(part)

    queue, run = asyncio.Queue(), asyncio.create_task(pump())
    run.add_done_callback(queue.put_nowait)
    try:
        while (part := await queue.get()) is not run:
            yield part
        await run
    finally:
        run.cancel()


# %%
await check("07.3", in_own_task)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# AnyIO cancels your generator again and again. The run must be out of its
# reach, in a task. How do its parts come out of there, how do you learn that
# it has ended, and where do you cancel it?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# A queue. The task puts each part into it. At its end, a done callback puts
# the task itself. Yield parts until you get the task, then await it, for its
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
# ## Task 4: take it to work
#
# Tasks 2 and 3 in one endpoint. One thing is missing: while you wait for the
# first part there is no response yet, and nobody looks whether the client is
# still there. `hung_up` waits until it has left.


# %%
async def hung_up(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


# %% [markdown]
# **Write** `respond(request, stream)`. It returns what `honest` makes of
# `in_own_task(stream)`. If the client leaves before that is there, the run
# ends at once.
#
# **Expected:** 429 and 502, the first word early, and 2 of 2 calls cut off.

# %%
from fastapi import Request, Response


async def respond(request, stream):
    # TODO (about 8 lines)
    # solution
    answer = asyncio.create_task(honest(in_own_task(stream)))
    gone = asyncio.create_task(hung_up(request))
    await asyncio.wait([answer, gone], return_when="FIRST_COMPLETED")
    gone.cancel()
    if answer.done():
        return await answer
    answer.cancel()
    return Response()  # nobody reads it


# %%
await check("07.4", respond)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Two things to wait for, and whichever comes first decides. Each needs a
# task. `asyncio.wait` can return when one of them has ended.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Tasks of `honest(in_own_task(stream))` and of `hung_up(request)`, then
# `asyncio.wait` with `return_when="FIRST_COMPLETED"`. If the first is done,
# `return await` it: that raises its status. Else cancel it and return an
# empty `Response`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `answer.cancel()` arrives in `in_own_task`, where it waits for its
# queue. So the same `finally` stops the model, whoever leaves, and when.
#
# An endpoint for work is short now. Two things are left for lesson 05: to say
# what went wrong after the first token, and to let a client come back.


# %% tags=["solution"]
async def chat(message: str, request: Request):
    return await respond(request, words(message))


await talk(chat, "Hello")
_ = await leave(chat, "Tell me a story in 40 words", model)

# %% [markdown]
# ## Keep
#
# - In `async def`, wait for sync code in a thread, or for its async twin.
# - The first part decides the status.
# - A task of its own, a queue, and one `cancel` in `finally`.
# - Before there is a response, look for the client yourself.
#
# **Next:** [09 · A streaming service](../notebooks/09_events_and_resume.ipynb)
