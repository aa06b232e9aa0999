# %% [markdown]
# # Send events that say how it ended, and let readers come back
#
# previous: [08 · When the reader leaves](08_when_the_reader_leaves.ipynb) ·
# next: [10 · A streaming service](10_streaming_service.ipynb) ·
# lab: [09](../exercises/09_resume_streaming.ipynb)
#
# In {minutes} minutes you will be able to:
#
# - stream typed events, the last of which says how the answer ended;
# - keep a run for readers who come, go and come back;
# - say when such a run ends, and when it is forgotten.
#
# Builds on lessons 07 and 08.

# %%
import asyncio
from contextlib import asynccontextmanager
from typing import Annotated

import httpx2
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.model import connect  # missing? pip install "./[lessons]"
from workshop.serve import serve

model = connect()
llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# `fastapi.sse` is new: this needs FastAPI 0.135 or later.
#
# ## Events instead of text
#
# Plain text cannot say what it is, nor how it ended. **[Server-sent
# events](glossary.md#server-sent-events)** (SSE) are text, too: lines such as
# `event: token`, and an empty line after each event. FastAPI writes them for
# an endpoint that is a generator and has this `response_class`.
#
# The next cell is folded: `said` is `words` of lesson 07, but yields the whole
# message.


# %% tags=["folded"]
async def said(question):
    given = {"messages": [("user", question)]}
    stream = agent.astream(given, stream_mode="messages", version="v2")
    async for part in stream:
        message, about = part["data"]
        if about["langgraph_node"] == "model":
            yield message


# %%
app = FastAPI()


@app.get("/sse", response_class=EventSourceResponse)
async def sse(q: str):
    async for message in said(q):
        if message.text:
            yield ServerSentEvent(event="token", data=message.text)


# %% [markdown]
# Four events, as they travel:

# %%
meal = {"q": "A meal in two paragraphs"}

async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
    wire = await client.get("/sse", params=meal)

events = wire.text.split("\n\n")
for event in events[3:7]:
    print(event, end="\n\n")

# %% [markdown]
# One token is an empty line, which would end its event. It arrives, because
# `data` is written as JSON. By hand, with `f"data: {text}\n\n"`, it would be
# lost. After 15 silent seconds FastAPI also sends `: ping`, a comment that
# clients skip: no **[proxy](glossary.md#proxy)** takes the connection for
# dead.
#
# ## What people get wrong: *the stream ended, so the answer is complete*
#
# In lesson 07 a plain stream broke off when the model did, and the client got
# an error.
#
# **Predict.** The model breaks off after three tokens. What does a client of
# `/sse` get?
#
# <details><summary>Answer</summary>
#
# Three tokens, 200, and a clean end.
#
# </details>

# %%
model.fault("cut", after_tokens=3)

async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
    reply = await client.get("/sse", params=meal)

print(reply.status_code, reply.text, sep="\n")

# %% [markdown]
# Why? So that it can send pings, FastAPI runs your generator in another task,
# which writes into a pipe. When the generator fails, that task closes the
# pipe. The response takes a closed pipe for the end. The error comes out after
# it, in the log.
#
# Models end early without any error, too: lesson 05 showed that only the
# `finish_reason` tells. So the last event must say how it ended, and **a
# stream without such an event was cut.**
#
# ## A list that readers follow
#
# Who loses the connection should not lose the answer. So it goes into a list,
# `log`, whoever reads it.
#
# - `add` appends an event. `changed` wakes readers: `set` wakes all who wait
#   now, `clear` makes the next ones wait again.
# - `follow` yields what a reader has not seen, then waits for more. Event
#   number 6 is `log[5]`.
# - After `done` or `error` nothing comes any more, and readers end.


# %%
class Events:
    def __init__(self):
        self.log = []
        self.ended = False
        self.changed = asyncio.Event()

    def add(self, name, data):
        self.log.append((name, data))
        self.ended = name in ("done", "error")
        self.changed.set()
        self.changed.clear()

    async def follow(self, seen):
        while seen < len(self.log) or not self.ended:
            if seen >= len(self.log):
                await self.changed.wait()
            for name, data in self.log[seen:]:
                seen += 1
                yield seen, name, data


# %% [markdown]
# One reader is new. The other one comes back, and has seen number 1.

# %%
events = Events()


async def read_from(seen):
    async for event in events.follow(seen):
        print("seen", seen, "gets", event)


events.add("token", "Hot")
new = asyncio.create_task(read_from(0))
back = asyncio.create_task(read_from(1))
await asyncio.sleep(0)  # both read what is there, and wait
events.add("token", " soup")
events.add("done", "stop")
await new
await back

# %% [markdown]
# Nothing is lost or doubled: the list counts, and `changed` only says *look
# again*.
#
# ## A run of its own
#
# A **run** is a task that fills such a list. Whatever ends it becomes an
# event: `done` with the `finish_reason`, or `error` with the name of the
# error. (Its text may hold keys.) A cancel is told and raised again, as every
# cancel should be.

# %%
LIMIT = 5  # seconds that an answer may take; at work some minutes


async def answer(question, events):
    reason = None
    try:
        async with asyncio.timeout(LIMIT):
            async for message in said(question):
                if message.text:
                    events.add("token", message.text)
                reason = message.response_metadata.get("finish_reason", reason)
        if reason is None:
            raise EOFError("the model just ended")
        events.add("done", reason)
    except asyncio.CancelledError:
        events.add("error", "stopped")
        raise
    except Exception as error:
        events.add("error", type(error).__name__)


class Run:
    def __init__(self, question):
        self.events = Events()
        self.task = asyncio.create_task(answer(question, self.events))


# %% [markdown]
# ## Readers come and go
#
# Who comes back names the last event seen in the header `Last-Event-ID`. A
# browser's `EventSource` does so by itself.
#
# `find` is a **dependency**: FastAPI calls it first, and hands what it returns
# to the endpoint. It runs before the response begins, so it can still refuse.
# The first line of a generator runs when the status has gone out.
# A number below 0, or no number, gets 422 by `ge=0`. One that the run has not
# reached was seen elsewhere: with 200 its reader would wait in vain.

# %%
runs = {}


async def find(name: str, last_event_id: Annotated[int, Header(ge=0)] = 0):
    if name not in runs:
        raise HTTPException(404, "no such run")
    run = runs[name]
    if last_event_id > len(run.events.log):
        raise HTTPException(422, "no such event")
    return run.events.follow(last_event_id)


# %% [markdown]
# `PUT` starts a run, under a name that the client makes up. Sent twice, it
# starts one. `GET` only reads.
#
# `runs` grows for ever unless somebody forgets. No run lasts longer than
# `LIMIT`, so `call_later` can forget it `KEEP` seconds after that. What comes
# after the `yield` of `lifespan` runs when the server stops: the `stop_all` of
# lesson 08.
#
# Take this cell to work, with `Events`, `Run` and `find`.

# %%
KEEP = 1  # seconds until an ended run is forgotten; at work an hour


@asynccontextmanager
async def lifespan(app):
    yield
    tasks = [run.task for run in runs.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


app = FastAPI(lifespan=lifespan)


@app.put("/answers/{name}")
async def start(name: str, q: str):
    if name not in runs:
        runs[name] = Run(q)
        loop = asyncio.get_running_loop()
        loop.call_later(LIMIT + KEEP, runs.pop, name)


@app.get("/answers/{name}", response_class=EventSourceResponse)
async def read(events: Annotated[object, Depends(find)]):
    async for number, name, data in events:
        yield ServerSentEvent(event=name, id=str(number), data=data)


# %% [markdown]
# Ada asks, hangs up after the fifth event, and comes back. `client.sse` of
# httpx2 parses the events as they come.

# %%
first = []

async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
    with model.meter() as meter:
        await client.put("/answers/Ada", params=meal)
        async with client.sse("/answers/Ada") as events:
            async for event in events:
                first.append(event)
                if len(first) == 5:
                    break
        seen = {"Last-Event-ID": first[-1].id}
        rest = await client.get("/answers/Ada", headers=seen)

print([event.json() for event in first])
print(rest.text)
print(meter)

# %% [markdown]
# The rest begins with event 6, and the model was asked once.
#
# **Predict.** For Bob the model stalls after three tokens. Then come readers
# with a `Last-Event-ID` of 3, -3 and 999. One more comes two seconds later.
# What does each of them get?
#
# <details><summary>Answer</summary>
#
# Bob reads three tokens, and `error` with `TimeoutError`. Who has seen three
# gets that event; the next two get 422. Later there is no such run.
#
# </details>

# %%
model.fault("stall", after_tokens=3)

async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
    await client.put("/answers/Bob", params=meal)
    bob = await client.get("/answers/Bob")
    print(bob.text)

    for seen in ("3", "-3", "999"):
        headers = {"Last-Event-ID": seen}
        reply = await client.get("/answers/Bob", headers=headers)
        print(seen, reply.status_code)

    await asyncio.sleep(KEEP + 1)
    late = await client.get("/answers/Bob")
    print("later", late.status_code)

# %% [markdown]
# Who closes the page for good leaves a run behind that you pay for. The
# service of lesson 10 cancels it after a few seconds without a reader.
#
# ## Check yourself
#
# Now the page. `names` is a list of the events that came, such as `["token",
# "token", "done"]`. Replace the `...`: return `"complete"` after `done`,
# `"failed"` after `error`, and `"cut"` if the stream just ended, whenever.

# %%
from workshop.checks import check


def how_it_ended(names):
    # TODO (about 2 lines)
    ...


# %%
await check("09.0", how_it_ended)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The last one decides. A stream may be cut before its first event: then
# `names[-1]` raises an `IndexError`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# last = names[-1] if names else "nothing"
# return {"done": "complete", "error": "failed"}.get(last, "cut")
# ```
#
# </details>
#
# ## Keep
#
# - Every answer ends with `done` or `error`. Without either, it was cut.
# - `finish_reason` says whether the model had more to say.
# - A run is a task with a list of events. Readers come, go and come back.
#
# **Next:** [Lab 09](../exercises/09_resume_streaming.ipynb)
