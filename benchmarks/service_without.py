"""The finished service without one of the steps that make it cheaper.

    WITHOUT="dict chunks" uvicorn service_without:app --app-dir benchmarks

Each step is undone from outside, so that the service needs no switches.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "solutions"))
import aiosqlite
import openai
import service
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver


def dict_chunks() -> None:
    """Let the SDK build a model for each chunk."""
    service.DictChunks = openai.AsyncOpenAI


def calm_gc() -> None:
    """Leave the garbage collector as it is."""
    service.gc = SimpleNamespace(
        collect=lambda: None,
        freeze=lambda: None,
        set_threshold=lambda *_: None,
    )


def memory_with_the_journal() -> None:
    """Keep the agent's memory with LangGraph's own async saver."""
    path = os.environ["SERVICE_DB"]
    service.Memory = lambda *_: AsyncSqliteSaver(aiosqlite.connect(path))


def no_limit_a_chunk() -> None:
    """Let ChatOpenAI wait for each chunk with a time limit."""

    def with_limit(stream_chunk_timeout: None, **options: Any) -> Any:
        return chat_openai(**options)

    chat_openai = service.ChatOpenAI
    service.ChatOpenAI = with_limit


def aiohttp() -> None:
    """Use the SDK's usual HTTP client."""
    openai.DefaultAioHttpClient = openai.DefaultAsyncHttpxClient


def callback() -> None:
    """Read the tokens from `astream` instead of a callback."""

    class Streams:
        def __init__(self, agent: Any) -> None:
            self.agent = agent

        async def ainvoke(self, given: Any, config: dict[str, Any]) -> None:
            (listener,) = config.pop("callbacks")
            stream = self.agent.astream(given, config, stream_mode="messages")
            async with aclosing(stream):
                async for part, _ in stream:
                    if part.type == "AIMessageChunk":
                        listener.heard(part)

    agent_with = service.agent_with
    service.agent_with = lambda *parts: Streams(agent_with(*parts))


def one_send_for_late_events() -> None:
    """Send each event alone, however many there are."""

    async def follow(run: service.Run, number: int) -> AsyncIterator[bytes]:
        while True:
            while number < len(run.events):
                event = run.events[number]
                yield event.encode()
                number += 1
                if event.name in service.FINAL:
                    return
            await run.changed.wait()

    service.Run.follow = follow


STEPS: dict[str, Callable[[], None]] = {
    "dict chunks": dict_chunks,
    "calm gc": calm_gc,
    "memory in the journal's thread": memory_with_the_journal,
    "aiohttp": aiohttp,
    "callback": callback,
    "`stream_chunk_timeout=None`": no_limit_a_chunk,
    "one send for late events": one_send_for_late_events,
}

for step in filter(None, os.environ.get("WITHOUT", "").split(",")):
    STEPS[step]()
app = service.app
