# %% [markdown]
# # Stream from FastAPI, and stop when the client leaves
#
# previous: [05 · Token streaming](05_token_streaming.ipynb) ·
# next: [09 · A streaming service](09_events_and_resume.ipynb) ·
# lab: [07](../exercises/07_fastapi_streaming.ipynb)
#
# In twenty minutes you will be able to:
#
# - stream an agent over HTTP, with an honest status;
# - say which endpoint makes other users wait, and prove it;
# - stop the model when its reader has left.
#
# Builds on lessons 01 and 05.

# %%
import httpx2

from workshop.guests import crowd, idle, leave, talk
from workshop.model import connect
from workshop.serve import serve, serve_file

model = connect()

# %% [markdown]
# ## An endpoint in a cell
#
# The next two cells are a whole program: an agent with a tool, and the
# endpoint of the notes, as many guides have it. `stream_chunk_timeout=None`
# is there so that no cancel gets lost (lesson 05).

# %%
import os

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI


def price(dish: str) -> dict:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


name = os.environ.get("OPENAI_MODEL", "gpt-4o")
llm = ChatOpenAI(model=name, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[price])

# %%
app = FastAPI()


@app.post("/chat")
async def chat(message: str):
    async def generate():
        async for msg, metadata in agent.astream(
            {"messages": [("user", message)]},
            stream_mode="messages",
        ):
            if msg.content:
                yield msg.content

    return StreamingResponse(generate(), media_type="text/plain")


# %% [markdown]
# `async with serve(app) as url` runs an app on a free port, on the event loop
# of your cells, until the block ends. So it needs an async client.
#
# **Predict.** A client sends the question in the query, and once more as JSON.
# What does it get?
#
# <details><summary>Answer</summary>
#
# First the answer, and before it what the tool returned. Then 422: to
# FastAPI, a plain `message: str` is part of the query.
#
# </details>

# %%
soup = {"message": "What is the price of the soup?"}
async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
    for question in {"params": soup}, {"json": soup}:
        reply = await client.post("/chat", **question)
        print(reply.status_code, reply.text)

# %% [markdown]
# At work you save the program, say as `notes.py`, and type `uvicorn
# notes:app` in a terminal. `serve_file` does that with the text of your two
# cells: it saves them and runs uvicorn in a process of its own.

# %%
from linecache import getlines

cells = [getlines(f.__code__.co_filename) for f in (price, chat)]
async with serve_file("".join(cells[0] + cells[1])) as url:
    print(httpx2.post(url + "/chat", params=soup).text)

# %% [markdown]
# The same answer. Now the client may block: the server has a loop of its own.
#
# ## What a user meets when something fails
#
# `talk` is a user who prints the status, the text, and what the app raised.
#
# **Predict.** Three failures. The model breaks off after three tokens. It
# fails at once, as do the client's two retries. It answers in content blocks
# (lesson 05). Which status does each user get?
#
# <details><summary>Answer</summary>
#
# 200. Starlette sends it before it asks your generator for anything. Whatever
# fails after that can only break the connection.
#
# </details>

# %%
model.fault("cut", after_tokens=3)
await talk(chat, "What is LangGraph?")
model.fault("server_error", times=3)
await talk(chat, "What is LangGraph?")
agent = create_agent(ChatOpenAI(model=name, output_version="v1"), tools=[])
await talk(chat, "What is LangGraph?")

# %% [markdown]
# The users get half an answer, or none, and no reason. The third one met a bug
# of `chat`: `msg.content` was a list, and only text can be encoded.
#
# Four changes mend what can be mended. Send `text` instead of `content`. Send
# nothing but what the model says. Take the question from the body. And take
# **the first part before you return the response**: until then you can choose
# the status.
#
# **Predict.** The model fails at once, then after three tokens. Which status
# now?
#
# <details><summary>Answer</summary>
#
# 502, then 200: by then the first token was on its way. What fails later must
# be said inside the stream. Lesson 09 does that.
#
# </details>

# %%
import openai
from fastapi import Body, HTTPException

agent = create_agent(llm, tools=[])  # from here on: one call for an answer


async def words(message):
    question = {"messages": [("user", message)]}
    async for msg, _ in agent.astream(question, stream_mode="messages"):
        if msg.type == "AIMessageChunk" and msg.text:
            yield msg.text


async def answer(message: str = Body(embed=True)):
    async def all_parts():
        yield first
        async for part in parts:
            yield part

    parts = words(message)
    try:
        first = await anext(parts, "")
    except openai.APIError as error:
        raise HTTPException(502, "the model failed") from error
    return StreamingResponse(all_parts(), media_type="text/plain")


# %%
model.fault("server_error", times=3)
await talk(answer, "What is LangGraph?")
model.fault("cut", after_tokens=3)
await talk(answer, "What is LangGraph?")

# %% [markdown]
# ## Who makes whom wait
#
# Beside `chat`, here are three endpoints with sync calls. FastAPI runs a
# `def` endpoint in a thread, and Starlette does so with a sync generator.

# %%
from workshop.observe import Timeline

model.pace(ttft=1, per_token=0.02)  # seconds: time to meet each other


def sync_words(message):
    question = {"messages": [("user", message)]}
    for msg, _ in agent.stream(question, stream_mode="messages"):
        yield msg.text


async def async_def_stream(message: str):
    async def generate():
        for word in sync_words(message):
            yield word

    return StreamingResponse(generate())


# %%
def def_stream(message: str):
    return StreamingResponse(sync_words(message))


def def_invoke(message: str):
    question = {"messages": [("user", message)]}
    return agent.invoke(question)["messages"][-1].text


# %% [markdown]
# `crowd` lets many users ask at once. They run in another thread, on a loop
# of their own: on the server's loop they would be held up with it. It counts
# the requests that the model had at once, and the pings that were answered
# while the model wrote.
#
# **Predict.** Five users ask, with `chat` and with two of the three.
#
# <details><summary>Answer</summary>
#
# Five requests at once, and pings. But with the sync call in `async def` one
# at a time, and no ping: everybody waits for everybody.
#
# </details>

# %%
times = {}
for endpoint in chat, async_def_stream, def_stream:
    with Timeline() as times[endpoint.__name__]:
        print(endpoint.__name__, await crowd(endpoint, 5, "Hello", model))
Timeline.compare(times)

# %% [markdown]
# The red band is the event loop of the server: it stands still until the last
# answer is complete. And `def_stream` shows that a stream needs no `async`.
#
# **Predict.** Now 1, 5, 20 and 41 users. All `def` endpoints of a server share
# 40 threads. Where do you see that?
#
# <details><summary>Answer</summary>
#
# In the last line. `def_invoke` keeps a thread for its whole answer, so the
# 41st user waits until one is free.
#
# </details>

# %%
for endpoint, most in (chat, 41), (async_def_stream, 20), (def_invoke, 41):
    print(endpoint.__name__)
    for users in sorted({1, 5, 20, most}):
        slow = 0.6 + users**2 / 700  # seconds, so that all can arrive
        ttft = 0 if endpoint is async_def_stream else slow
        model.pace(ttft=ttft, per_token=0.001)
        print("   ", await crowd(endpoint, users, "Hello", model))
model.pace(ttft=0.25, per_token=0.04)

# %% [markdown]
# The endpoint that blocks got a faster model, and no 41 users. You would have
# waited with them. So threads do for a few users and end at 40. What you must
# not do is to call sync code in `async def`.
#
# ## What people get wrong: *the handler was cancelled, so the model stopped*
#
# `leave` closes its connection after the first piece, waits until the model
# is idle, and prints what the **model** counted. Beside `chat`, a careful
# endpoint looks before each token whether its client is still there. It also
# says whether it was cancelled.

# %%
import asyncio

from fastapi import Request


async def careful(message: str, request: Request):
    async def generate():
        try:
            async for word in words(message):
                if await request.is_disconnected():
                    break
                yield word
        finally:
            print("cancelled:", asyncio.current_task().cancelling() > 0)

    return StreamingResponse(generate())


# %% [markdown]
# **Predict.** Does the model stop?
#
# <details><summary>Answer</summary>
#
# No, in both cases. The endpoint is cancelled at once. The model writes to its
# last token, and you pay for all of them.
#
# </details>

# %%
story = "Tell me a story in 40 words"
wrote_on = [await leave(e, story, model) for e in (chat, careful)]
print("with this LangGraph you need what follows:", all(wrote_on))

# %% [markdown]
# Why? The graph runs in tasks of its own. When its stream is cancelled,
# LangGraph cancels them too, as part of its clean-up. asyncio cancels once,
# so a clean-up can run. Starlette uses AnyIO, which cancels **again and
# again** until the task has ended. That cancels the clean-up as well
# ([issue 8302](https://github.com/langchain-ai/langgraph/issues/8302)).
#
# **Predict.** The same without a server. Which of the two stops the model?
#
# <details><summary>Answer</summary>
#
# The gentle one: cancel once, and then let it end.
#
# </details>


# %%
async def read():
    return [word async for word in words(story)]


for way in "once", "again and again":
    run, meter = asyncio.create_task(read()), model.meter()
    await asyncio.sleep(0.6)
    run.cancel()
    while way == "again and again" and not run.done():
        await asyncio.sleep(0)
        run.cancel()
    await asyncio.wait([run])
    await idle(meter)
    print(f"{way}: {meter.cut_off} cut off")

# %% [markdown]
# ## A task of its own
#
# So keep the graph away from AnyIO: let it run in a task of its own. Its
# parts come through a queue. At its end the task puts itself into the queue.
# Whatever ends the response, `finally` cancels the run, **once**.


# %%
async def in_own_task(stream):
    async def pump():
        async for part in stream:
            queue.put_nowait(part)

    queue, run = asyncio.Queue(), asyncio.create_task(pump())
    run.add_done_callback(queue.put_nowait)
    try:
        while (part := await queue.get()) is not run:
            yield part
        await run  # raises what ended it
    finally:
        run.cancel()


# %% [markdown]
# **Predict.** One user leaves. For another one the model breaks off. Does the
# model stop, and does the error come out?
#
# <details><summary>Answer</summary>
#
# Both. `await run` raises the error in the response, as if there were no task.
#
# </details>


# %%
async def stops(message: str):
    return StreamingResponse(in_own_task(words(message)))


await leave(stops, story, model)
model.fault("cut", after_tokens=3)
await talk(stops, "What is LangGraph?")

# %% [markdown]
# One cut off: the model stopped when its reader left.
#
# ## Check yourself
#
# A server that ends has runs under way, each in a task. Replace the `...`:
# end all of them at the model, and return when they have ended.

# %%
from workshop.checks import check


async def stop_all(runs):
    # TODO (about 3 lines)
    ...


# %%
await check("07.0", stop_all)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Ask first, then wait: `cancel` only asks. `await run` raises what ended the
# task; `asyncio.wait` does not.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# for run in runs:
#     run.cancel()
# await asyncio.wait(runs)
# ```
#
# </details>
#
# ## Keep
#
# - Take the first part before you return the response: then a status is true.
# - No sync call in `async def`. In `def` it takes one of 40 threads.
# - Let the graph run in a task of its own, and cancel that task once.
#
# **Next:** [Lab 07](../exercises/07_fastapi_streaming.ipynb)
