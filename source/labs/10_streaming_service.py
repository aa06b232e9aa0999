# %% [markdown]
# # Lab 10: refuse the surplus, and let them interrupt
#
# lesson: [10 · Streaming service](../notebooks/10_streaming_service.ipynb) ·
# [exercise](../exercises/10_streaming_service.ipynb) ·
# [solution](../solutions/10_streaming_service.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - stream to some clients at once, and send the others away honestly;
# - let a user ask again over a WebSocket while the answer is still coming.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints. The checks use real sockets. The next cell is
# folded: it has the imports, and `tokens`, which asks the model in a task of
# its own.

# %% tags=["folded"]
import asyncio

import httpx2
import websockets
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.model import connect
from workshop.serve import serve

model = connect()
llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# Folded as well: `tokens` streams an answer from a task of its own.

# %% tags=["folded"]
END = object()


async def tokens(question):
    queue = asyncio.Queue()

    async def pump():
        given = {"messages": [("user", question)]}
        try:
            async for part in agent.astream(
                given, stream_mode="messages", version="v2"
            ):
                message, _ = part["data"]
                if message.text:
                    queue.put_nowait(message.text)
        finally:
            queue.put_nowait(END)

    run = asyncio.create_task(pump())
    try:
        while True:
            part = await queue.get()
            if part is END:
                break
            yield part
        await run
    finally:
        run.cancel()


# %% [markdown]
# ## Task 1: so many at once
#
# There are no runs to count here: each request streams its own answer. So a
# request takes a place, and somebody must give it back, whatever happens.
#
# A **dependency with `yield`** can do that. FastAPI runs it up to its `yield`
# before the endpoint, and goes on after the response is over: at its end,
# after an error, after a hang-up. What it raises before its `yield` becomes
# the response.
#
# **Write** `limited(tokens, cap)`, an app with `GET /chat?question=…`. While
# `cap` answers are under way, others get 503 at once, with a `Retry-After` in
# whole seconds from 1 on. A place is free again when its stream has ended,
# failed or lost its client; who was refused has none to give back.
#
# The app is done. You write the dependency.
#
# **Expected:** of 8 clients `cap` are served, and the others refused.


# %%
def limited(tokens, cap):
    app = FastAPI()
    places = asyncio.Semaphore(cap)

    async def place():
        # TODO (about 4 lines)
        # solution
        if places.locked():
            raise HTTPException(503, "full", {"Retry-After": "1"})
        async with places:
            yield

    @app.get("/chat", dependencies=[Depends(place)])
    async def chat(question: str):
        return StreamingResponse(tokens(question))

    return app


# %%
await check("10.1", limited)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# A semaphore lets the surplus wait. You refuse them: who tells you that it
# has no place left?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `places.locked()` is true when all places are taken. Then raise
# `HTTPException(503, "full", {"Retry-After": "1"})`. Else one `yield` in
# `async with places:`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** FastAPI leaves the dependency when the response is over, also when
# its reader hung up. (Versions 0.106 to 0.117 left it before the stream
# began.) A `finally` in `chat` would run too early, for `chat` returns before
# the first token.
#
# With 503 a load balancer can try another worker. Eight clients at once:

# %% tags=["solution"]
app = limited(tokens, cap=3)
async with serve(app) as url, httpx2.AsyncClient(base_url=url) as client:
    asks = [client.get("/chat?question=soup") for _ in range(8)]
    replies = await asyncio.gather(*asks)
print(sorted(reply.status_code for reply in replies))

# %% [markdown]
# ## Task 2: a word in between
#
# A user reads three words, sees that the question was wrong, and asks
# another one. The old answer must not go on, neither on the screen nor at
# the model.
#
# **Write** `interruptible(tokens)`, an app with a WebSocket at `/chat`. Each
# text that the client sends is a question. The app sends each piece of
# `tokens(question)` as a text, when it comes, and `[end]` after the last one.
# Then it waits for the next question. A question that comes meanwhile ends
# the answer before it: nothing more of that is sent, and its run is cut off.
# So is the run of a client who leaves. Nobody else notices.
#
# `answer` is done. You listen, and start and end its task.
#
# **Expected:** an answer that is interrupted is cut off, and the next one
# comes whole.


# %%
def interruptible(tokens):
    app = FastAPI()

    @app.websocket("/chat")
    async def chat(socket: WebSocket):
        async def answer(question):
            async for piece in tokens(question):
                await socket.send_text(piece)
            await socket.send_text("[end]")

        await socket.accept()
        # TODO (about 8 lines)
        # solution
        answering = None
        try:
            async for question in socket.iter_text():
                if answering:
                    answering.cancel()
                answering = asyncio.create_task(answer(question))
        finally:
            if answering:
                answering.cancel()

    return app


# %%
await check("10.2", interruptible)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# To listen while you send takes a second task. Let the endpoint itself
# listen, and give each answer a task. Who ends the last one when the client
# has left?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `async for question in socket.iter_text()` ends when the client leaves. In
# it, cancel the task before, if there is one, and start
# `asyncio.create_task(answer(question))`. In `finally` cancel the last one.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The endpoint listens, so it hears the client at any time. A cancel
# arrives where the task waits: at a token or at the socket. It leaves
# `tokens`, and the `finally` there stops the model.
#
# In the lesson a lost connection did not end the run, because a reader could
# come back. Here nobody can, so it does.

# %% tags=["solution"]
app = interruptible(tokens)
with model.meter() as meter:
    async with serve(app) as url:
        address = url.replace("http", "ws") + "/chat"
        async with websockets.connect(address) as socket:
            await socket.send("Tell me a story in 99 words")
            print(await socket.recv())
            await socket.send("What is LangGraph?")
            while await socket.recv() != "[end]":
                pass
print(meter.requests, "requests,", meter.cut_off, "cut off")

# %% [markdown]
# ## Keep
#
# - A dependency with `yield` gives its place back, whatever happens.
# - Somebody must listen while you send.
# - Who can come back keeps the run. Who cannot, ends it.
#
# **Next:** [11 · Parallel graphs](../notebooks/11_parallel_graphs.ipynb)
