"""An event loop for an answer, which leaves no open connection behind."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any


def own_loop() -> asyncio.AbstractEventLoop:
    """A new loop that, before it closes, closes what was connected on it.

    The clients of a notebook keep their connections for the next call, and
    langchain-openai shares them among models. If an answer asks a model of
    the notebook, such a client would keep connections of this loop, and
    the next cell would die of "Event loop is closed". A closed connection
    is one that the client drops by itself.
    """
    loop = asyncio.new_event_loop()
    connect, close = loop.create_connection, loop.close
    transports: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()

    async def create_connection(*args: Any, **options: Any) -> Any:
        transport, protocol = await connect(*args, **options)
        transports.add(transport)
        return transport, protocol

    def close_all() -> None:
        if not loop.is_closed() and not loop.is_running():
            for transport in list(transports):
                transport.abort()
            loop.run_until_complete(asyncio.sleep(0))
        close()

    loop.create_connection = create_connection
    loop.close = close_all
    return loop
