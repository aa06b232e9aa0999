"""Your agent goes here. The rest of the service need not change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelRequest,
    ModelResponse,
    wrap_model_call,
)
from langchain_core.messages import trim_messages
from langchain_core.messages.utils import count_tokens_approximately
from langgraph.graph.state import CompiledStateGraph

from service.model import is_too_long, open_model
from service.settings import Settings

NAME = "Chat"  # the title of the page


async def price(dish: str) -> dict[str, Any]:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


@asynccontextmanager
async def open_agent(settings: Settings) -> AsyncIterator[CompiledStateGraph]:
    """Give the agent for the life of a process.

    Any compiled graph whose state has `messages` will do. Compile it without
    a checkpointer: the service remembers. Its answer is what a node says
    that can be the last one; other models' words are not shown.
    """

    @wrap_model_call
    async def shorten(
        request: ModelRequest,
        handler: Callable[[ModelRequest], Awaitable[ModelResponse]],
    ) -> ModelResponse:
        """Give the model the newest messages that it has room for.

        Tokens are estimated; if the model still says that it is too much, it
        gets half of it. A question that is too long alone is an error.
        """
        room = settings.context_tokens
        while True:
            newest = trim_messages(
                request.messages,
                max_tokens=room,
                token_counter=count_tokens_approximately,
                start_on="human",
            )
            if not newest:
                return await handler(request)
            try:
                return await handler(request.override(messages=newest))
            except Exception as error:
                if not is_too_long(error):
                    raise
                room //= 2

    async with open_model(settings) as llm:
        yield create_agent(llm, tools=[price], middleware=[shorten])
