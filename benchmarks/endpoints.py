"""The endpoints that the finished service is compared with.

    uvicorn endpoints:app --app-dir benchmarks

The first three are what people write. The others, under /layers, show what
each layer costs: they are the same answer with less and less between the
model and the wire.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import openai
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI
from services_client import FIRST, PER_TOKEN, TOKENS, WORDS

sys.path.insert(0, str(Path(__file__).parent.parent / "solutions"))
from service.model import DictChunks

llm = ChatOpenAI(model="gpt-4o")
agent = create_agent(llm, tools=[])
app = FastAPI()


@app.post("/chat")
async def chat(message: str) -> StreamingResponse:
    """The endpoint of the notes, with create_agent."""

    async def generate() -> AsyncIterator[str]:
        async for msg, _ in agent.astream(
            {"messages": [("user", message)]},
            stream_mode="messages",
        ):
            if msg.content:
                yield msg.content

    return StreamingResponse(generate(), media_type="text/plain")


@app.post("/sync-in-async")
async def sync_in_async(message: str) -> StreamingResponse:
    """The same with the sync call in an async generator."""

    async def generate() -> AsyncIterator[str]:
        for msg, _ in agent.stream(
            {"messages": [("user", message)]},
            stream_mode="messages",
        ):
            if msg.content:
                yield msg.content

    return StreamingResponse(generate(), media_type="text/plain")


@app.post("/sync")
def sync(message: str) -> StreamingResponse:
    """The same, sync from end to end: Starlette runs it in threads."""

    def generate() -> Iterator[str]:
        for msg, _ in agent.stream(
            {"messages": [("user", message)]},
            stream_mode="messages",
        ):
            if msg.content:
                yield msg.content

    return StreamingResponse(generate(), media_type="text/plain")


# --- Layers -----------------------------------------------------------------

Tokens = Callable[[str], AsyncIterator[str]]  # from a message


def clients(http: Any) -> tuple[openai.AsyncOpenAI, DictChunks]:
    """Return two clients on one pool: models for chunks, and dicts."""
    return openai.AsyncOpenAI(http_client=http), DictChunks(http_client=http)


def agent_on(http: Any, **more: Any) -> Any:
    """Return the agent of the service, without its memory."""
    typed, dicts = clients(http)
    llm = ChatOpenAI(
        model="gpt-4o",
        **more,
        async_client=dicts.chat.completions,
        root_async_client=typed,
        stream_chunk_timeout=None,
    )
    return create_agent(llm, tools=[])


httpx_client = openai.DefaultAsyncHttpxClient()
typed, dicts = clients(httpx_client)
lean_agent = agent_on(httpx_client)
aiohttp_client = openai.DefaultAioHttpClient()
aiohttp_agent = agent_on(aiohttp_client)


async def timed(message: str) -> AsyncIterator[str]:
    """No model at all: the words on a timer, at the model's pace."""
    await asyncio.sleep(FIRST - PER_TOKEN)
    for word in islice(cycle(WORDS), TOKENS):
        await asyncio.sleep(PER_TOKEN)
        yield f" {word}"


async def from_http(message: str) -> AsyncIterator[str]:
    """The HTTP client alone; each line is parsed once."""
    async with httpx_client.stream(
        "POST",
        f"{typed.base_url}chat/completions",
        headers=typed.auth_headers,
        json={"model": "gpt-4o", "stream": True, "messages": said(message)},
    ) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line[len("data: ") :])
                if text := chunk["choices"][0]["delta"].get("content"):
                    yield text


async def from_sdk(message: str) -> AsyncIterator[str]:
    """The OpenAI SDK: a pydantic model for each chunk."""
    stream = await typed.chat.completions.create(
        model="gpt-4o", stream=True, messages=said(message)
    )
    async for chunk in stream:
        if text := chunk.choices[0].delta.content:
            yield text


async def from_sdk_dicts(message: str) -> AsyncIterator[str]:
    """The OpenAI SDK with chunks as dicts."""
    stream = await dicts.chat.completions.create(
        model="gpt-4o", stream=True, messages=said(message)
    )
    async for chunk in stream:
        if isinstance(chunk, dict):  # text; the last chunk has none
            yield chunk["choices"][0]["delta"]["content"]


async def from_chat_model(message: str) -> AsyncIterator[str]:
    """LangChain's ChatOpenAI."""
    async for chunk in llm.astream(message):
        if text := chunk.text:
            yield text


async def tokens_of(agent: Any, message: str) -> AsyncIterator[str]:
    """An agent's tokens, as the notes read them."""
    async for chunk, _ in agent.astream(
        {"messages": [("user", message)]}, stream_mode="messages"
    ):
        if text := chunk.text:
            yield text


async def from_agent(message: str) -> AsyncIterator[str]:
    """LangGraph's agent, on the client as it comes."""
    async for text in tokens_of(agent, message):
        yield text


async def from_lean_agent(message: str) -> AsyncIterator[str]:
    """LangGraph's agent, with chunks as dicts and no time limit a chunk."""
    async for text in tokens_of(lean_agent, message):
        yield text


async def from_aiohttp_agent(message: str) -> AsyncIterator[str]:
    """The same agent on aiohttp instead of httpcore2."""
    async for text in tokens_of(aiohttp_agent, message):
        yield text


async def from_events(message: str) -> AsyncIterator[str]:
    """The same agent, read with astream_events."""
    async for event in lean_agent.astream_events(
        {"messages": [("user", message)]}, version="v2"
    ):
        if event["event"] == "on_chat_model_stream" and (
            text := event["data"]["chunk"].text
        ):
            yield text


class Teller(BaseCallbackHandler):
    """Puts each token in a queue, in the model's own task."""

    run_inline = True

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        """Take one token."""
        self.queue.put_nowait(token)


async def from_callback(message: str) -> AsyncIterator[str]:
    """The same agent, read by a callback: no stream of LangGraph's own."""
    teller = Teller()
    asking = asyncio.create_task(
        talking_agent.ainvoke(
            {"messages": [("user", message)]}, {"callbacks": [teller]}
        )
    )
    asking.add_done_callback(lambda _: teller.queue.put_nowait("end"))
    while (text := await teller.queue.get()) != "end":
        if text:
            yield text
    await asking


talking_agent = agent_on(aiohttp_client, streaming=True)


def said(message: str) -> list[Any]:
    """Return a conversation that consists of one question."""
    return [{"role": "user", "content": message}]


def layer(path: str, tokens: Tokens) -> None:
    """Serve `tokens` as plain text under /layers."""

    @app.post(f"/layers/{path}")
    async def endpoint(message: str) -> StreamingResponse:
        return StreamingResponse(tokens(message), media_type="text/plain")


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The same words on a timer, from ASGI's own messages."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    async for word in timed(""):
        body = word.encode()
        await send(
            {"type": "http.response.body", "body": body, "more_body": True}
        )
    await send({"type": "http.response.body", "body": b""})


@app.post("/layers/sse", response_class=EventSourceResponse)
async def sse(message: str) -> AsyncIterator[ServerSentEvent]:
    """The same words on a timer, as FastAPI's own server-sent events."""
    async for word in timed(message):
        yield ServerSentEvent(data={"text": word}, event="token")
    yield ServerSentEvent(data={}, event="done")


app.mount("/layers/asgi", bare)
layer("timed", timed)
layer("http", from_http)
layer("sdk", from_sdk)
layer("sdk-dicts", from_sdk_dicts)
layer("chat-model", from_chat_model)
layer("agent", from_agent)
layer("lean-agent", from_lean_agent)
layer("aiohttp-agent", from_aiohttp_agent)
layer("events", from_events)
layer("callback", from_callback)
