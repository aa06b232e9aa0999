"""One client of one response, in the judge's own event loop.

It is what a server would be to the response: it says when the client has
left, and takes what is sent. No socket and no clock decides anything.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request, Response

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/chat",
    "query_string": b"",
    "headers": [],
    "asgi": {"version": "3.0", "spec_version": "2.3"},
}


class Client:
    """``parts`` are the texts that came, without empty ones.

    ``whole`` is True once the response has said its end. ``waiting`` is how
    many tasks wait to hear from the client.
    """

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.whole = False
        self.waiting = 0
        self._left = asyncio.Event()
        self._asked = False

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    def request(self) -> Request:
        """What an endpoint gets as its `request`."""
        return Request(dict(SCOPE), self.receive, self.send)

    async def read(self, response: Response) -> None:
        """Take a response to its end. Raises what it raises."""
        await response(dict(SCOPE), self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        self.waiting += 1
        try:
            await self._left.wait()
        finally:
            self.waiting -= 1
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)  # as a socket does now and then
        if message["type"] != "http.response.body":
            return
        if message.get("body"):
            self.parts.append(message["body"].decode())
        self.whole = not message.get("more_body", False)
