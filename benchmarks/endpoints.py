"""The endpoints that are compared with the finished service.

    uvicorn endpoints:app --app-dir benchmarks

The first three are what people write. Each of the others adds one layer to
the one before, from bytes on a timer to the agent.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import cycle, islice
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, AsyncStream, DefaultAsyncHttpxClient

FIRST, PER_TOKEN = 0.25, 0.04  # seconds, as the practice model's default

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
    """The same, sync from end to end: Starlette takes threads for it."""

    def generate() -> Iterator[str]:
        for msg, _ in agent.stream(
            {"messages": [("user", message)]},
            stream_mode="messages",
        ):
            if msg.content:
                yield msg.content

    return StreamingResponse(generate(), media_type="text/plain")
