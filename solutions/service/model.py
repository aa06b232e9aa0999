"""The client of an OpenAI-compatible model, cheaper for each token.

Only this module uses private parts: it overrides one method of ChatOpenAI,
as LangChain's own packages for other providers do, and it keeps the SDK from
building a model of each chunk. `SERVICE_AGENT` may name an agent that uses
another model, and nothing here is needed. benchmarks/services.md says what
each step is worth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletionChunk

from service.run import WAITING
from service.settings import Settings


def is_too_long(error: BaseException) -> bool:
    """Whether the model has no room for what it was given. LangChain looks
    for the code in the error's text, where newer SDKs do not put it."""
    code = getattr(error, "code", None)
    return isinstance(error, ContextOverflowError) or (
        code == "context_length_exceeded"
    )


FAIR = 32  # chunks that came at once, and then the others' turn


class TextAsDicts(openai.AsyncStream[object]):
    """Plain text stays the dict that the SDK has parsed; ChatOpenAI takes
    it. Any other chunk becomes the SDK's model, as usual.

    Many chunks in one turn of the loop are cheaper by a quarter. But as long
    as others wait for their first words, it is one: 100 runs that began
    together had theirs after 1.3 s of work instead of 3.
    """

    async def __aiter__(self) -> AsyncIterator[object]:
        number = 0
        async for chunk in super().__aiter__():
            number += 1
            if WAITING or number % FAIR == 0:
                await asyncio.sleep(0)
            match chunk:
                case {
                    "choices": [
                        {"delta": {"content": str(), **more}} as choice
                    ]
                } if not (
                    more or choice.get("logprobs") or chunk.get("usage")
                ):
                    yield chunk
                case _:
                    yield ChatCompletionChunk.construct(**chunk)


class DictChunks(openai.AsyncOpenAI):
    """Streams text without a model for each token, which ChatOpenAI would
    only turn back into a dict. That saves a third of what a token costs."""

    async def post(self, path: str, **options: Any) -> Any:
        if options.get("stream"):
            options["stream_cls"] = TextAsDicts
        return await super().post(path, **options)


class Chat(ChatOpenAI):
    """Keeps what ChatOpenAI drops of a stream: refusals and reasoning."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], *rest: Any
    ) -> Any:
        made = super()._convert_chunk_to_generation_chunk(chunk, *rest)
        if made is not None and chunk.get("choices"):
            delta = chunk["choices"][0].get("delta") or {}
            for name in ("refusal", "reasoning_content"):
                if delta.get(name):
                    made.message.additional_kwargs[name] = delta[name]
        return made


@asynccontextmanager
async def open_model(settings: Settings) -> AsyncIterator[ChatOpenAI]:
    """Give the model that OPENAI_MODEL, OPENAI_BASE_URL and OPENAI_API_KEY
    name, on an HTTP client of its own."""
    # On aiohttp: a fifth less work for a token than on the SDK's own.
    async with openai.DefaultAioHttpClient() as http:
        root = openai.AsyncOpenAI(http_client=http, max_retries=0)
        fast = DictChunks(http_client=http, max_retries=0)
        yield Chat(
            model=settings.model,
            async_client=fast.chat.completions,
            root_async_client=root,
            max_retries=0,  # a run tries again by itself
            # The run has time limits of its own. On Python 3.11 this one can
            # also swallow a cancellation.
            stream_chunk_timeout=None,
        )
