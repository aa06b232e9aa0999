"""An answer on its way: sent at its time, with its fault, while it is wanted.

Nothing here knows what the bytes mean. A token costs one timer and one
write.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from workshop.practice.ask import Problem, Script
from workshop.practice.sessions import ON_THE_WAY, Fault, Flight

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

SOON = 0.001  # seconds: a token that is due so soon is sent at once
JSON = (b"content-type", b"application/json")
EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]


class ClientLeft(Exception):
    """The client hung up before its request had arrived."""


async def stream(
    send: Send,
    flight: Flight,
    script: Script,
    due: list[float],
    fault: Fault | None,
) -> None:
    """Send each token when it is due; those that are late go together."""
    clock = asyncio.get_running_loop().time
    start = clock()
    count = script.tokens
    pause_at = count + 1
    if fault is not None and fault.kind in ON_THE_WAY:
        pause_at = fault.comes_after(count)
    await asyncio.sleep(due[0])
    await send(
        {"type": "http.response.start", "status": 200, "headers": EVENTS}
    )
    sent = 0
    while True:
        if sent == pause_at:
            if fault.kind == "cut":
                return  # an answer without its end: the server hangs up
            if fault.kind != "stall":
                failed = fault.kind == "error_event"
                flight.land()
                await send(_last(script.failure(sent) if failed else b""))
                return
            await _stall(fault)
            start += fault.seconds
            pause_at = count + 1
        now = clock() - start + SOON
        ready = sent
        while ready < min(count + 1, pause_at) and due[ready] <= now:
            ready += 1
        if ready == sent:
            await asyncio.sleep(due[sent] - now + SOON)
            continue
        flight.sent(min(ready, count) - sent)
        ended = ready > count
        if ended:
            flight.land()  # before the client can know that it ended
        await send(
            {
                "type": "http.response.body",
                "body": b"".join(script.chunks[sent:ready]),
                "more_body": not ended,
            }
        )
        if ended:
            return
        sent = ready


async def send_whole(
    send: Send,
    flight: Flight,
    script: Script,
    due: list[float],
    fault: Fault | None,
) -> None:
    """Send the answer when its last token is there."""
    body = script.chunks[-1]
    kind = fault.kind if fault is not None else ""
    if kind in ("cut", "stall", "error_event"):
        await asyncio.sleep(due[fault.comes_after(script.tokens)])
    if kind == "cut":
        await send(_start(200, len(body)))
        return
    if kind == "stall":
        await _stall(fault)
    if kind == "error_event":
        body = script.failure(0)
    else:
        await asyncio.sleep(due[-1])
        flight.sent(script.tokens)
    flight.land()
    await send(_start(200, len(body)))
    await send(_last(body))


async def _stall(fault: Fault) -> None:
    if fault.seconds is None:
        await asyncio.Event().wait()
    await asyncio.sleep(fault.seconds)


def fail_at_once(fault: Fault) -> None:
    """Raise the faults that come instead of an answer."""
    if fault.kind == "rate_limit":
        raise Problem(
            429,
            "Rate limit reached (a fault that was asked for). Please try "
            f"again in {fault.retry_after:g}s.",
            kind="requests",
            code="rate_limit_exceeded",
            headers=((b"retry-after", f"{fault.retry_after:g}".encode()),),
        )
    if fault.kind == "server_error":
        raise Problem(
            500,
            "The server had an error (a fault that was asked for).",
            kind="server_error",
        )


async def refuse(receive: Receive) -> None:
    """Drop the connection with a TCP reset, before any answer.

    ASGI has no message for it: the transport is taken from uvicorn's
    request object, whose method ``receive`` is.
    """
    transport = receive.__self__.transport
    form = "hh" if os.name == "nt" else "ii"
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(form, 1, 0)
    )
    transport.abort()
    await _until_gone(receive)


def cancel_when_gone(receive: Receive) -> asyncio.Task[None]:
    """Watch beside the current task; cancel it when its client leaves."""
    waiting = asyncio.current_task()

    async def watch() -> None:
        await _until_gone(receive)
        waiting.cancel()

    return asyncio.create_task(watch())


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_json(receive: Receive) -> dict[str, Any]:
    """The JSON object in a request's body; an empty body is ``{}``."""
    return as_json(await read_body(receive))


async def read_body(receive: Receive) -> bytes:
    """A request's body, when all of it is there."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


def as_json(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty one is ``{}``."""
    try:
        body = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Problem(
            400,
            "We could not parse the JSON body of your request. The body "
            "must be one JSON object.",
        )
    return body


def _start(
    status: int, length: int, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> dict[str, Any]:
    size = (b"content-length", str(length).encode())
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [JSON, size, *headers],
    }


async def send_json(
    send: Send,
    status: int,
    value: Any,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    body = json.dumps(value).encode()
    await send(_start(status, len(body), headers))
    await send(_last(body))


def _last(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body}
