"""The finished service without one of the steps that make it cheaper.

    WITHOUT="dict chunks" uvicorn service_without:app --app-dir benchmarks

Each step is undone from outside, so that the service needs no switches.
"""

import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "solutions"))
import openai
import service.model
from langgraph.graph.state import CompiledStateGraph


def dict_chunks() -> None:
    """Let the SDK build a model for each chunk."""
    service.model.DictChunks = openai.AsyncOpenAI


def calm_gc() -> None:
    """Leave the garbage collector as it is."""
    app = sys.modules["service.app"]
    app.gc = SimpleNamespace(
        collect=lambda: None,
        freeze=lambda: None,
        set_threshold=lambda *_: None,
    )


def no_limit_a_chunk() -> None:
    """Let ChatOpenAI wait for each chunk with a time limit."""

    def with_limit(stream_chunk_timeout: None, **options: Any) -> Any:
        return chat(**options)

    chat = service.model.Chat
    service.model.Chat = with_limit


def aiohttp() -> None:
    """Use the SDK's usual HTTP client."""
    openai.DefaultAioHttpClient = openai.DefaultAsyncHttpxClient


def callback() -> None:
    """Read the tokens from `astream`, and tell the callback of them."""

    async def stream(self: Any, given: Any, config: Any) -> None:
        (listener,) = config.pop("callbacks")
        parts = self.astream(given, config, stream_mode="messages")
        async with aclosing(parts):
            async for part, about in parts:
                if part.type == "AIMessageChunk" and part.text:
                    node = about["langgraph_checkpoint_ns"]
                    listener.ears.say(node, node, str(part.text))

    CompiledStateGraph.ainvoke = stream


STEPS: dict[str, Callable[[], None]] = {
    "dict chunks": dict_chunks,
    "calm gc": calm_gc,
    "aiohttp": aiohttp,
    "callback": callback,
    "`stream_chunk_timeout=None`": no_limit_a_chunk,
}

for step in filter(None, os.environ.get("WITHOUT", "").split(",")):
    STEPS[step]()
app = sys.modules["service.app"].create_app()
