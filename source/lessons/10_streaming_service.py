# %% [markdown]
# # Take a streaming service to work
#
# previous: [09 · Events and resume](09_resume_streaming.ipynb) ·
# next: [11 · Parallel graphs](11_parallel_graphs.ipynb) ·
# lab: [10](../exercises/10_streaming_service.ipynb)
#
# In {minutes} minutes you will be able to:
#
# - refuse the surplus honestly;
# - stop an answer over a WebSocket, and tell a stop from a lost connection;
# - run, read and test a finished service, behind a proxy and with a page.
#
# Builds on lesson 09.

# %%
import asyncio
import os
import sys

import httpx2
import openai
import websockets
from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.model import connect  # missing? pip install "./[lessons]"
from workshop.serve import serve
from workshop.show import chat

model = connect()
llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# The next two cells are folded. The first holds the list that readers follow,
# as in lesson 09.


# %% tags=["folded"]
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
# The second holds the task that fills it, without the time limit of lesson 09:
# this lesson limits how many there are.


# %% tags=["folded"]
async def answer(question, events):
    given = {"messages": [("user", question)]}
    reason = None
    try:
        async for part in agent.astream(
            given, stream_mode="messages", version="v2"
        ):
            message, about = part["data"]
            if about["langgraph_node"] == "model" and message.text:
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
# ## Three at once
#
# A model, a budget and a machine can each do so much. Who comes too many
# should hear it at once: **503**, and in `Retry-After` the seconds to wait.
# (429 is for one client who asks too often.)
#
# Count what is under way, by its task, each time somebody asks. Then there is
# nothing to give back, and nothing to forget. Between the count and the new
# run stands no `await`, so nobody comes in between.
#
# Count **runs**. Whoever counts names instead lets everybody in who asks again
# under the same name.

# %%
MAX_RUNS = 3
runs = {}
app = FastAPI()


@app.put("/answers/{name}")
async def start(name: str, q: str):
    if name in runs:
        return  # asked twice, started once
    under_way = 0
    for run in runs.values():
        if not run.task.done():
            under_way += 1
    if under_way >= MAX_RUNS:
        wait = {"Retry-After": "1"}
        raise HTTPException(503, "all places taken", headers=wait)
    runs[name] = Run(q)


# %% [markdown]
# **Predict.** Ada asks three times under her name, then come Bob, Cy, Di and
# Ed. Which statuses are there? How many requests does the model have at once?
#
# <details><summary>Answer</summary>
#
# Ada gets 200 three times, for one run. Bob and Cy get 200, Di and Ed 503. The
# model has three.
#
# </details>

# %%
story = {"q": "Tell me a story in 40 words"}

with model.meter() as meter:
    async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
        for name in ("Ada", "Ada", "Ada", "Bob", "Cy", "Di", "Ed"):
            reply = await client.put(f"/answers/{name}", params=story)
            print(name, reply.status_code, end=" · ")
        await asyncio.wait([run.task for run in runs.values()])

print(meter)

# %% [markdown]
# ## Stop, over a WebSocket
#
# SSE goes one way, so a stop is another request, such as `DELETE`. A
# **WebSocket** goes both ways, if somebody listens while you send. So the
# endpoint has two tasks: its own sends, and `listen` waits for the word
# `stop`.
#
# `iter_text` also ends when the connection does. That is **no stop**: who
# loses the connection should not lose the answer.


# %%
@app.websocket("/answers/{name}")
async def follow(socket: WebSocket, name: str):
    if name not in runs:
        await socket.close()  # not accepted yet: the status is 403
        return
    run = runs[name]

    async def listen():
        async for word in socket.iter_text():
            if word == "stop":
                run.task.cancel()

    await socket.accept()
    listening = asyncio.create_task(listen())
    try:
        async for event in run.events.follow(0):
            await socket.send_json(event)
        await socket.close()
    except WebSocketDisconnect:
        pass  # the run goes on, for who comes back
    finally:
        listening.cancel()


# %% [markdown]
# **Predict.** Fay says `stop` after her first token. Gus closes his tab after
# his. What does each run end with?
#
# <details><summary>Answer</summary>
#
# Fay's with `error`, `stopped`: one answer is cut off at the model. Gus' run
# ends with `done`, and he could still read it.
#
# </details>

# %%
meter = model.meter()

async with serve(app) as url:
    address = url.replace("http", "ws")
    for name in ("Fay", "Gus"):
        runs[name] = Run(story["q"])
        async with websockets.connect(f"{address}/answers/{name}") as socket:
            await socket.recv()
            if name == "Fay":
                await socket.send("stop")
                async for event in socket:
                    pass  # she reads to the end
        await asyncio.wait([runs[name].task])
        kind, data = runs[name].events.log[-1]
        print(name, kind, data)

print(meter.read().cut_off, "cut off")

# %% [markdown]
# ## The finished service
#
# [`solutions/service`](../solutions/service/__init__.py) is this part of the
# course carried to its end. At work you start it in a terminal:
#
# ```
# uvicorn service:app --app-dir solutions
# ```
#
# Here it runs on the loop of your cells. `POST` starts a run and streams it
# from its first token on, so a model that fails has an honest status. Each run
# has a random id, in a header.

# %%
os.environ["SERVICE_DB"] = ":memory:"
os.environ["SERVICE_FRAMES"] = "*"  # who may show its page in a frame
os.environ["SERVICE_HOSTS"] = "*"  # on a JupyterHub it has the Hub's name
sys.path.append("../solutions")
from service.app import create_app

service = create_app()
site = serve(service)
url = await site.start()

async with httpx2.AsyncClient(base_url=url) as client:
    ask = {"message": "What is LangGraph?"}
    reply = await client.post("/threads/ada/runs", json=ask)
    events = reply.text.split("\n\n")  # an empty line ends each of them
    print(reply.status_code)
    print(events[0])
    print(events[-2])

    run = reply.headers["x-run-id"]
    seen = {"Last-Event-ID": "14"}
    again = await client.get(f"/runs/{run}", headers=seen)
    print(again.text.count("event: "), "events after number 14")

# %% [markdown]
# | route | what it does |
# |---|---|
# | `POST /threads/{thread}/runs` | asks, and streams the answer |
# | `GET /runs/{run}` | comes back, with `Last-Event-ID` |
# | `DELETE /runs/{run}` | stops it; what was seen stays in the thread |
# | `GET /threads/{thread}` | what was said, and the run under way |
#
# A run that nobody reads for a few seconds is cancelled at the model.
#
# ## A page, and its parser
#
# The service has a page. Here it is in a frame; chat with it, ask for 99
# words and press Stop. It takes the colours of JupyterLab. On a JupyterHub it
# needs the package `jupyter-server-proxy`.

# %%
chat.frame(url)

# %% [markdown]
# <img src="pictures/chat.png" width="760"
# alt="A question, its answer, and a box to write the next one">
#
# A browser's `EventSource` can only `GET`. For a `POST`, read the body and
# split it at empty lines. This is all that a page of yours needs:
#
# ```js
# async function* events(response) {
#   const texts = response.body.pipeThrough(new TextDecoderStream());
#   const reader = texts.getReader();
#   let rest = "";
#   while (true) {
#     const { done, value } = await reader.read();
#     if (done) return;
#     const blocks = (rest + value).split("\n\n");
#     rest = blocks.pop();
#     for (const block of blocks) {
#       const event = {};
#       for (const line of block.split("\n")) {
#         const [, field, text] = line.match(/^(\w*): ?(.*)$/) ?? [];
#         if (field) event[field] = text;
#       }
#       if (event.data) yield { ...event, data: JSON.parse(event.data) };
#     }
#   }
# }
# ```
#
# Then `const response = await fetch(…)`, look at `response.ok`, and `for await
# (const event of events(response))`. If the loop ends without `done` or
# `error`, the answer was cut.
#
# ## Between you and the reader
#
# - **A proxy may buffer**: tokens then come all at once. nginx obeys the
#   header `X-Accel-Buffering: no`, which the service and FastAPI's SSE send.
#   For others set `proxy_buffering off;`, and a `proxy_read_timeout` longer
#   than the time between two pings. Do not compress a stream.
#   jupyter-server-proxy wants a client that says `Accept: text/event-stream`.
# - **A server that stops** waits for the answers it is sending. uvicorn's
#   `--timeout-graceful-shutdown` limits that, and then breaks them off. Let
#   runs end first, as the service does: then readers get a last event.
#
# ## Test what you have built
#
# `ASGITransport` calls an app without a socket. Many tests are written so.
#
# **Predict.** A client has just got the status of an answer. How many calls
# are in flight at the model: with that transport, and over a socket?
#
# <details><summary>Answer</summary>
#
# None and one. The transport collects the whole answer first.
#
# </details>

# %%
for transport in (httpx2.ASGITransport(service), None):  # None: a socket
    client = httpx2.AsyncClient(transport=transport, base_url=url)
    path = "/threads/test/runs"
    ask = {"message": "Tell me a story in 20 words"}
    async with client, client.stream("POST", path, json=ask) as reply:
        print(reply.status_code, model.meter().in_flight, "in flight")
        await reply.aread()

# %% [markdown]
# So it is good for statuses and bodies. It cannot show that something
# streams, and none of its clients hangs up. Test those over a socket: with
# `serve` here, with uvicorn in a fixture at work.
#
# ## Check yourself
#
# A failure before the first token can have an honest status. `error` is what
# the graph raised. Replace the `...`: if the model is asked too often, return
# 429, with the model's own `Retry-After` if it sent one, else `1`.

# %%
from workshop.checks import check


def refusal(error):
    # TODO (about 3 lines)
    ...
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return HTTPException(504, "the model took too long")
    return HTTPException(502, "the model failed")


# %%
await check("10.0", refusal)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `openai.RateLimitError` has a `response` with `headers`, and they have `get`.
# The third argument of `HTTPException` is a dict of headers.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# if isinstance(error, openai.RateLimitError):
#     wait = error.response.headers.get("retry-after", "1")
#     return HTTPException(429, "asked too often", {"Retry-After": wait})
# ```
#
# </details>
#
# ## Stop the chat
#
# The frame above lives as long as this kernel, or until you stop it here.

# %%
stop_the_chat = False  # make it True, and run this cell

if stop_the_chat:
    await site.stop()

# %% [markdown]
# ## Keep
#
# - Count what runs, refuse the surplus at once, and say when to come again.
# - A stop is a word. A lost connection is not.
# - Test a stream over a socket, and look for buffers on its way.
#
# **Next:** [Lab 10](../exercises/10_streaming_service.ipynb)
