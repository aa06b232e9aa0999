# %% [markdown]
# # Lab 09: build a run that its readers come back to
#
# lesson: [09 · Events and resume](../notebooks/09_resume_streaming.ipynb) ·
# [exercise](../exercises/09_resume_streaming.ipynb) ·
# [solution](../solutions/09_resume_streaming.ipynb)

# %% [markdown]
# Three tasks, about {minutes} minutes. You will
#
# - end every answer with an event that says how it ended;
# - keep its events for readers who come, go and come back;
# - put that behind two routes.
#
# Write where the `...` is, then run that cell and the check. The next cell is
# folded: imports, an agent, `said`, which yields each piece that a graph's
# model says, and `add_reading` for task 3.

# %% tags=["folded"]
import asyncio
from typing import Annotated
from uuid import uuid4

import httpx2
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.model import connect
from workshop.serve import serve

model = connect()
llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])


# %% tags=["folded"]
async def said(graph, question):
    given = {"messages": [("user", question)]}
    async for part in graph.astream(
        given, stream_mode="messages", version="v2"
    ):
        message, _ = part["data"]
        if message.type == "AIMessageChunk" and message.text:
            yield message.text


def add_reading(app, runs):
    async def find(run_id: str):
        if run_id not in runs:
            raise HTTPException(404, "no such run")
        return runs[run_id]

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def read(
        follow: Annotated[object, Depends(find)],
        last_event_id: Annotated[int, Header(ge=0)] = 0,
    ):
        async for event in follow(last_event_id):
            yield event


# %% [markdown]
# ## Task 1: an end that says so
#
# **Write** `events(graph, question)`, an async generator. For each piece that
# the model says, it yields a `ServerSentEvent`: `token`, with the data
# `{"text": piece}`. Its last event is `done`, or `error` if anything in the
# graph failed. Both have some data, for a browser drops an event without any.
# `error` does not quote the exception, in no field. Who cancels or closes the
# generator ends it: there is nobody left to tell.
#
# **Expected:** one end for each answer, also if a node has a bug.


# %%
async def events(graph, question):
    # TODO (about 8 lines)
    # solution
    try:
        async for text in said(graph, question):
            yield ServerSentEvent(event="token", data={"text": text})
    except Exception as error:
        code = type(error).__name__
        yield ServerSentEvent(event="error", data={"code": code})
    else:
        yield ServerSentEvent(event="done", data={})


# %%
await check("09.1", events)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# A `try` around the loop over `said`, and three places for a `yield`. Which of
# them runs only if nothing was raised? It is not `finally`.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `except Exception` yields `error`, `else` yields `done`. `data` takes a dict
# and writes the JSON; `{}` will do.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `else` runs when nothing was raised, so no answer gets two ends.
# `finally` would call a cut answer done.
#
# `Exception` and not `openai.APIError`: nodes and tools have bugs of their
# own. And not `BaseException`: `CancelledError` and `GeneratorExit` are none
# of `Exception`, and who catches them in a generator keeps it alive.
#
# The name of the error is enough for a client. Its text goes to your log.
# Here is an answer that is cut:

# %% tags=["solution"]
model.fault("cut", after_tokens=3)
async for event in events(agent, "soup"):
    print(event.event, event.data)

# %% [markdown]
# ## Task 2: a run that outlives its readers
#
# Several readers may come now, and late.
#
# **Write** `start_run(events)`, a plain `def`. It starts a task that reads
# that async iterator, and returns `follow`. `follow(seen)`, an async
# generator, yields every event after number `seen`: those that are there,
# then the others, each when it comes. Each has its number as `id`, from `"1"`.
# When the iterator has ended or failed, `follow` ends. A reader who leaves
# changes nothing for the run, and nothing for others.
#
# As it stands, `follow` never waits: a reader who has seen everything goes
# round and round, and stops the event loop.
#
# **Expected:** no event lost or doubled, for readers of three kinds.


# %%
def start_run(events):
    log = []
    changed = asyncio.Event()

    async def write():
        try:
            async for event in events:
                event.id = str(len(log) + 1)
                log.append(event)
                changed.set()
                changed.clear()
        finally:
            changed.set()

    async def follow(seen):
        while seen < len(log) or not task.done():
            for event in log[seen:]:
                seen += 1
                yield event
            # TODO (about 2 lines)
            # solution
            if seen >= len(log) and not task.done():
                await changed.wait()

    task = asyncio.create_task(write())
    return follow


# %%
await check("09.2", start_run)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# What does a reader wait for who has seen all of it? And when must it not
# wait, because nobody would wake it?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# If the reader has seen everything, and the task is not done, await
# `changed.wait()`. It comes back when something was written, and when the
# task ends.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The task reads the model, and no reader does. So a reader who
# leaves takes nothing away from the others, nor from itself.
#
# The list is the one truth. `changed` only says: look again. `set` wakes all
# who wait now, `clear` is for those who wait next. The last `set`, in
# `finally`, wakes them when there is no more to come.
#
# Here is a reader who comes late:

# %% tags=["solution"]
follow = start_run(events(agent, "soup"))
print([event.id async for event in follow(0)])
print([event.id async for event in follow(8)])

# %% [markdown]
# ## Task 3: two routes
#
# **Write** `resumable(ask)`, an app. `ask(question)` gives events, as in
# task 1. `POST /runs?question=…` starts a run, and returns `{"run": id}` at
# once, with a new id. `GET /runs/{id}` streams it, from after `Last-Event-ID`
# on. An unknown run gets 404.
#
# `add_reading` adds `GET`: it reads the `follow` that stands in `runs` under
# the id. You write `POST`, with `start_run` of task 2.
#
# **Expected:** dropped after 5 events, nothing lost, and one run for each
# `POST`.


# %%
def resumable(ask):
    app = FastAPI()
    runs = {}

    add_reading(app, runs)

    @app.post("/runs")
    async def start(question: str):
        run_id = uuid4().hex
        # TODO (about 2 lines)
        # solution
        runs[run_id] = start_run(ask(question))
        return {"run": run_id}

    return app


# %%
await check("09.3", resumable)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# What does `GET` take out of `runs`, and under which name? `start_run` makes
# it. Do not wait for the end of the run.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `run_id` is the key in `runs`. The value is what `start_run(ask(question))`
# returns. Then return the id.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `POST` starts and `GET` only reads, so a reader may come back as
# often as it likes, and the model is asked once. The id is random: who can
# guess it can read along. In `def start` there would be no event loop for
# `create_task`: FastAPI runs a `def` in a thread.
#
# An `EventSource` comes back after every end, also after `done`. So close it
# in the page when `done` or `error` comes.
#
# With your agent, for a client that has seen eight events:


# %% tags=["solution"]
def ask(question):
    return events(agent, question)


app = resumable(ask)
async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
    reply = await client.post("/runs?question=soup")
    run = reply.json()["run"]
    seen = {"Last-Event-ID": "8"}
    rest = await client.get(f"/runs/{run}", headers=seen)
    print(rest.text)

# %% [markdown]
# ## Keep
#
# - Every answer ends with an event: `done` or `error`.
# - One task writes a list; readers follow it from where they were.
# - Start with `POST`, read with `GET`, and decide the status before the
#   first event.
#
# **Next:** [10 · Streaming service](../notebooks/10_streaming_service.ipynb)
