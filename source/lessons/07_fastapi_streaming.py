# %% [markdown]
# # Stream an answer from FastAPI
#
# previous: [06 · Stop, limit, retry](06_stop_limit_retry.ipynb) ·
# next: [08 · When the reader leaves](08_when_the_reader_leaves.ipynb) ·
# lab: [07](../exercises/07_fastapi_streaming.ipynb)
#
# In {minutes} minutes you will be able to:
#
# - stream an agent over HTTP;
# - say which endpoint makes other users wait, and prove it;
# - answer with a status that is true.
#
# Builds on lessons 02 and 05.

# %%
import httpx2
import openai
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from workshop.guests import crowd, talk  # missing? pip install "./[lessons]"
from workshop.model import connect
from workshop.observe import Timeline
from workshop.serve import serve

model = connect()

# %% [markdown]
# `httpx2` is the HTTP client beneath the openai package. You call it as you
# would call httpx.
#
# ## An endpoint in a cell
#
# First an agent with a tool. `stream_chunk_timeout=None` is there so that no
# cancel gets lost on Python 3.11 (lesson 06).


# %%
def price(dish: str) -> dict:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)
waiter = create_agent(llm, tools=[price])

# %% [markdown]
# This course began with an older text on async streaming, called **the notes**
# here. This is its endpoint. Many guides have the same one.
#
# `generate` is an **[async generator](glossary.md#async-generator)**.
# `StreamingResponse` sends each piece that it yields as soon as it is there.

# %%
app = FastAPI()


@app.post("/chat")
async def chat(message: str):
    async def generate():
        async for msg, metadata in waiter.astream(
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
# At work you save these cells as `notes.py` and type `uvicorn notes:app` in a
# terminal.
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
    in_query = await client.post("/chat", params=soup)
    as_json = await client.post("/chat", json=soup)

print(in_query.status_code, in_query.text)
print(as_json.status_code, as_json.text)

# %% [markdown]
# Two faults. `messages` mode streams every message, so users read what the
# tool returned. And a question in the query ends up in the logs of every
# server on its way.
#
# `words` mends the first one. It yields what the node `model` says, and
# nothing else. It takes `text`, because `content` may be a list of blocks
# (lesson 05). The agent has no tools from here on: one call for an answer.

# %%
agent = create_agent(llm, tools=[])


async def words(message):
    question = {"messages": [("user", message)]}
    async for part in agent.astream(
        question, stream_mode="messages", version="v2"
    ):
        said, about = part["data"]
        if about["langgraph_node"] == "model" and said.text:
            yield said.text


async def async_words(message: str):
    return StreamingResponse(words(message), media_type="text/plain")


# %% [markdown]
# ## What people get wrong: *it is `async def`, so nobody waits*
#
# Here is the same with the sync `stream`, first in an `async def` endpoint,
# then in a plain `def`. FastAPI runs a `def` endpoint in a thread. Starlette,
# on which FastAPI is built, also takes each step of a sync generator there.


# %%
def sync_words(message):
    question = {"messages": [("user", message)]}
    for part in agent.stream(question, stream_mode="messages", version="v2"):
        said, about = part["data"]
        if about["langgraph_node"] == "model":
            yield said.text


async def async_def_sync_stream(message: str):
    async def generate():
        for word in sync_words(message):
            yield word

    return StreamingResponse(generate(), media_type="text/plain")


def def_sync_stream(message: str):
    return StreamingResponse(sync_words(message), media_type="text/plain")


# %% [markdown]
# `crowd` serves a lone endpoint as `POST /chat` and lets many users ask at
# once. The users run in a thread of their own, for on the server's loop they
# would be held up with it. It counts how many requests the **model** had at
# once, and whether a ping (a tiny request) was answered while the model wrote.
#
# **Predict.** Five users ask each of the three. How many does the model have
# at once? Is a ping answered?
#
# <details><summary>Answer</summary>
#
# Five, one and five. With the sync `stream` in `async def` no ping is
# answered: everybody waits for everybody.
#
# </details>

# %%
model.pace(ttft=1, per_token=0.02)  # seconds to the first token, and for each
times = {}

for endpoint in (async_words, async_def_sync_stream, def_sync_stream):
    with Timeline() as timeline:
        print(endpoint.__name__, await crowd(endpoint, 5, "Hello", model))
    times[endpoint.__name__] = timeline

Timeline.compare(times)

# %% [markdown]
# The red band is the server's event loop: it stands still from the first
# question to the last word. The keyword `async def` promised FastAPI that
# nothing in it blocks, so FastAPI gave it no thread.
#
# The third one shows that a stream needs no `async` at all. Then why not take
# threads for everything? All `def` endpoints of a server share 40 of them.
#
# **Predict.** 41 users ask at once. How many does the model have at once,
# with `async_words` and with this `def` endpoint?
#
# <details><summary>Answer</summary>
#
# 41 and 40. `def_invoke` keeps a thread until its answer is complete, so the
# 41st user waits until one is free.
#
# </details>


# %%
def def_invoke(message: str):
    question = {"messages": [("user", message)]}
    state = agent.invoke(question)
    return state["messages"][-1].text


model.pace(ttft=3, per_token=0.001)  # long enough for 41 to arrive
for endpoint in (async_words, def_invoke):
    print(endpoint.__name__, await crowd(endpoint, 41, "Hello", model))

# %% [markdown]
# Threads do for a few users. For many, use `async def` with async calls in it,
# and `await asyncio.to_thread(...)` around a call that has no async twin.
#
# ## What a user meets when the model fails
#
# `talk` is one user. It prints the status, the text, and what the app raised.
#
# **Predict.** The model breaks off after three tokens. Then it fails at once,
# three times: the client tries again twice (lesson 12). Which status does the
# user get each time?
#
# <details><summary>Answer</summary>
#
# 200 both times. Starlette sends the status before it asks your generator for
# its first piece. What fails later can only break the connection.
#
# </details>

# %%
model.pace(ttft=0.25, per_token=0.04)

model.fault("cut", after_tokens=3)
await talk(async_words, "What is LangGraph?")

model.fault("server_error", times=3)
await talk(async_words, "What is LangGraph?")

# %% [markdown]
# Half an answer or none, and the status says that all is well. A load
# balancer, a retry and an alarm all look at the status.
#
# ## The endpoint to take to work
#
# The way out: **wait for the first piece before you return the response**.
# Until then you can still choose the status. `await anext(parts, "")` takes
# one piece, or `""` if there is none. Then `all_parts` sends that piece and
# goes on.
#
# langchain-openai raises classes of its own, such as `OpenAIRateLimitError`.
# They are **subclasses** of those of the openai package. So catch them with
# `except openai.APIError`; do not look up `type(error)`.
#
# `Question` is a Pydantic model. With it FastAPI takes the question from the
# JSON body, out of the logs.


# %%
class Question(BaseModel):
    message: str


@app.post("/answer")
async def answer(question: Question):
    parts = words(question.message)
    try:
        first = await anext(parts, "")
    except openai.APIError as error:
        raise HTTPException(502, "the model failed") from error

    async def all_parts():
        yield first
        async for part in parts:
            yield part

    return StreamingResponse(all_parts(), media_type="text/plain")


# %% [markdown]
# **Predict.** The same two failures. Which status now?
#
# <details><summary>Answer</summary>
#
# 200, for the first token was on its way. Then 502. What fails later must be
# said inside the stream: lesson 09 does that.
#
# </details>

# %%
model.fault("cut", after_tokens=3)
await talk(answer, "What is LangGraph?")

model.fault("server_error", times=3)
await talk(answer, "What is LangGraph?")

# %% [markdown]
# ## Check yourself
#
# Some clients want the whole answer at once. Replace the `...`: return its
# text, without a thread for each user.

# %%
from workshop.checks import check


async def whole(agent, message):
    # TODO (about 3 lines)
    ...


# %%
await check("07.0", whole)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `def_invoke` above has a twin: lesson 01 calls it `ainvoke`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# question = {"messages": [("user", message)]}
# state = await agent.ainvoke(question)
# return state["messages"][-1].text
# ```
#
# </details>
#
# ## Keep
#
# - No sync call in `async def`: it stops everybody. In `def` it takes one of
#   40 threads.
# - The status goes out before the first piece. Wait for that piece yourself.
# - Send the text that the answering node says, and nothing else.
#
# **Next:** [Lab 07](../exercises/07_fastapi_streaming.ipynb)
