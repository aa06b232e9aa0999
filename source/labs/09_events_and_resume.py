# %% [markdown]
# # Lab 09: build a service that resumes and refuses
#
# lesson: [09 · Streaming service](../notebooks/09_events_and_resume.ipynb) ·
# [exercise](../exercises/09_events_and_resume.ipynb) ·
# [solution](../solutions/09_events_and_resume.ipynb)

# %% [markdown]
# Four tasks, about 45 minutes. You will
#
# - end every answer with an event that says how it ended;
# - stream to three clients at once, and send the others away honestly;
# - keep a run for readers who come, go and come back;
# - put it behind two routes, and take it to work.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints. The checks use real sockets: they hang up on
# your app, and they come back.

# %%
import asyncio

import httpx2

from workshop.model import connect
from workshop.serve import serve

model = connect()
from fastapi import Depends, FastAPI, Header, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check

# %% [markdown]
# This is how the cells below ask the model.

# %%
llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])


async def tokens(question):
    ask = {"messages": [("user", question)]}
    async for part, _ in agent.astream(ask, stream_mode="messages"):
        if part.type == "AIMessageChunk" and part.text:
            yield part.text


# %% [markdown]
# ## Task 1: an end that says so
#
# Three ways to send the same tokens. None of them says how the answer ended.

# %%
app = FastAPI()


@app.get("/plain")
async def plain():
    return StreamingResponse(tokens("soup"))


@app.get("/sse", response_class=EventSourceResponse)
async def sse():
    async for text in tokens("soup"):
        yield ServerSentEvent(event="token", data=text)


# %%
@app.websocket("/socket")
async def send_all(socket: WebSocket):
    await socket.accept()
    async for text in tokens("soup"):
        await socket.send_text(text)


# %% [markdown]
# And a client for each of them.

# %%
import websockets


async def get(path):
    async with httpx2.AsyncClient(base_url=url) as client:
        return (await client.get(path)).text


async def listen(path):
    async with websockets.connect(f"ws{url[4:]}{path}") as socket:
        return [text async for text in socket]


# %% [markdown]
# The model breaks off after three tokens. What does each client learn?

# %%
async with serve(app) as url:
    for reading in get("/plain"), listen("/socket"), get("/sse"):
        model.fault("cut", after_tokens=3)
        print(*await asyncio.gather(reading, return_exceptions=True))

# %% [markdown]
# Two connections break off, and one answer looks whole. Nobody learns why.
#
# **Write** `events(graph, question)`, an async generator. For each piece of
# the answer, it yields a `token` event with the data `{"text": piece}`. Its
# last event is `done`, or `error`, which does not quote the exception.
#
# **Expected:** one end for each answer, also if the graph itself has a bug.


# %%
async def events(graph, question):
    # TODO (about 10 lines)
    # solution
    ask = {"messages": [("user", question)]}
    try:
        async for part, _ in graph.astream(ask, stream_mode="messages"):
            if part.type == "AIMessageChunk" and part.text:
                yield ServerSentEvent(event="token", data={"text": part.text})
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
# A `try` around the loop, and three places for a `yield`. Which of them runs
# only if nothing was raised? It is not `finally`.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `except Exception` yields `error`, `else` yields `done`. Both need some
# `data`, even if it is only `{}`: a browser drops an event that has none.
# `data` takes a dict and writes the JSON.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `else` runs when nothing was raised, so no answer gets two ends.
# `finally` would call a cut answer done.
#
# `Exception` and not `openai.APIError`: nodes and tools have bugs of their
# own. A client that leaves raises `CancelledError`, which is none: there is
# nobody left to tell.
#
# The name of the error is enough for a client. Its text goes to your log.
# Here is an answer that is cut:

# %% tags=["solution"]
model.fault("cut", after_tokens=3)
async for event in events(agent, "soup"):
    print(event.event, event.data)

# %% [markdown]
# ## Task 2: three at once
#
# This version takes everybody. It knows `cap` and does not mind.


# %%
def unlimited(tokens, cap):
    app = FastAPI()

    @app.get("/chat")
    async def chat(question: str):
        return StreamingResponse(tokens(question))

    return app


# %% [markdown]
# Here is a crowd for it.


# %%
async def crowd(app):
    async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
        eight = (client.get("/chat?question=soup") for _ in range(8))
        replies = await asyncio.gather(*eight)
    return sorted(reply.status_code for reply in replies)


# %%
with model.meter() as meter:
    print(await crowd(unlimited(tokens, cap=3)))
print(meter)

# %% [markdown]
# **Write** `limited(tokens, cap)`, the same app with a limit. While `cap`
# answers are under way, others get 503 at once, with a `Retry-After` in whole
# seconds. A place is free again when its stream has ended, failed or lost its
# client.
#
# **Expected:** 8 clients: 3 are served, 5 refused.


# %%
def limited(tokens, cap):
    # TODO (about 12 lines)
    # solution
    app, places = FastAPI(), asyncio.Semaphore(cap)

    async def place():
        if places.locked():
            raise HTTPException(503, "full", {"Retry-After": "1"})
        async with places:
            yield

    @app.get("/chat", dependencies=[Depends(place)])
    async def chat(question: str):
        return StreamingResponse(tokens(question))

    return app


# %%
await check("09.2", limited)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Something must run before the response begins, and again after the stream
# has ended, however it ended. The function `chat` returns long before that.
# What had the lesson for counting readers?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `asyncio.Semaphore(cap)` has `locked()`. Write a dependency, an `async def`
# with one `yield` in `async with semaphore:`. Before that it raises
# `HTTPException(503, "full", {"Retry-After": "1"})` if the semaphore is
# locked. Name it in `@app.get("/chat", dependencies=[Depends(...)])`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** FastAPI leaves the dependency when the response is over: at its
# end, after an error, after a hang-up. A `finally` in the generator that you
# stream does the same. A `finally` in `chat` does not: `chat` returns before
# the stream begins. Nor does `except Exception`: a hang-up arrives as a
# `CancelledError`.
#
# Without `locked()` the semaphore would let the surplus wait, in silence.
# With 503 a load balancer can try another worker. The same crowd again:

# %% tags=["solution"]
with model.meter() as meter:
    print(await crowd(limited(tokens, cap=3)))
print(meter)

# %% [markdown]
# ## Task 3: a run that outlives its readers
#
# Task 1 gives events to one reader, once. Now there may be several, and they
# may come late.

# %% [markdown]
# **Write** `start_run(events)`, a plain `def`. It starts a task that reads
# that async iterator, and returns `follow`. `follow(seen)`, an async
# generator, yields every event after number `seen`: those that are there,
# then the others as they come. Each gets its number as `id`, from `"1"`.
#
# **Expected:** no token lost or doubled, one request.


# %%
def start_run(events):
    # TODO (about 18 lines)
    # solution
    log, changed = [], asyncio.Event()

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
            if seen >= len(log):
                await changed.wait()
            for event in log[seen:]:
                seen += 1
                yield event

    task = asyncio.create_task(write())
    return follow


# %%
await check("09.3", start_run)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# A queue gives each event to one reader. A list gives it to all, as often as
# they like: event number 6 is `log[5]`. What does a reader wait for who has
# seen all of it? And how does he learn that there will be no more?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# The task appends to `log` and wakes everybody: `changed.set()` and then
# `changed.clear()`. `follow` loops while there is more in the log, or the
# task is not done. If it has seen everything it awaits `changed.wait()`. Then
# it yields `log[seen:]` and counts.
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
# In production the list is limited in time and size, or it is on disk:
# `service.py` keeps its events in SQLite. Here is a reader who comes late:

# %% tags=["solution"]
follow = start_run(events(agent, "soup"))
print([event.id async for event in follow(0)])
print([event.id async for event in follow(8)])

# %% [markdown]
# ## Task 4: take it to work
#
# Now two routes around your `start_run`. A browser's `EventSource` can read
# the second one: it comes back by itself, with the header `Last-Event-ID`.

# %% [markdown]
# **Write** `resumable(ask)`, an app. `ask(question)` gives events, as in
# task 1. `POST /runs?question=…` starts a run and returns `{"run": id}`.
# `GET /runs/{id}` streams it, from after `Last-Event-ID` on. An unknown run
# gets 404.
#
# **Expected:** dropped after 5 events, 14 whole tokens, one request.

# %%
from uuid import uuid4


def resumable(ask):
    # TODO (about 16 lines)
    # solution
    app, runs = FastAPI(), {}

    def find(run_id: str):
        if run_id not in runs:
            raise HTTPException(404, "no such run")
        return runs[run_id]

    found = Depends(find)

    @app.post("/runs")
    async def start(question: str):
        run_id = uuid4().hex
        runs[run_id] = start_run(ask(question))
        return {"run": run_id}

    @app.get("/runs/{run_id}", response_class=EventSourceResponse)
    async def read(follow=found, last_event_id: int = Header(0)):
        async for event in follow(last_event_id):
            yield event

    return app


# %%
await check("09.4", resumable)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Which of the two routes starts a run? And a 404 must go out before the
# first line of a generator runs: what runs before it?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# A dict of runs, with `uuid4().hex` as keys. `POST` makes one and returns its
# key at once. `GET` is a generator with `response_class=EventSourceResponse`
# and two parameters: `follow`, from a dependency that raises the 404, and
# `last_event_id: int = Header(0)`. It yields what `follow` yields.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `POST` starts and `GET` only reads, so a reader may come back as
# often as he likes, and the model is asked once. The id is random: who can
# guess it can read along.
#
# An `EventSource` comes back after every end, also after `done`. So close it
# in the page when `done` or `error` comes. `service.py` also answers 204 to
# who has seen everything, which tells it to stop.
#
# With your agent, for a client that has seen eight events:

# %% tags=["solution"]
app = resumable(lambda question: events(agent, question))
async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
    run = (await client.post("/runs?question=soup")).json()["run"]
    seen = {"Last-Event-ID": "8"}
    print((await client.get(f"/runs/{run}", headers=seen)).text)

# %% [markdown]
# ## Keep
#
# - Every answer ends with an event: `done` or `error`.
# - A dependency with `yield` gives its place back, whatever happens.
# - One task writes a list; readers follow it from where they were.
# - Start with `POST`, read with `GET`, and decide the status before the
#   first event.
#
# [`service.py`](../solutions/service.py) adds what is missing here: a grace
# time, stops, timeouts, a memory, and several workers.
#
# **Next:** [11 · Parallel graphs](../notebooks/11_parallel_graphs.ipynb)
