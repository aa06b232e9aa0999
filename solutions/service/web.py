"""What holds for every request, around the routes.

Headers, one line of log, no traceback with a user's words, no reader who
takes nothing and stays, and an end of the process that waits for nobody.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse

from service.logs import about, bug, note
from service.settings import Settings

GRACE = 3  # seconds that an ending process gives to all
DEAF = 1  # and to who does not read
LAST = 4.5  # and then it is over
POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors "
)
QUIET = {"/health", "/ready", "/metrics"}  # paths that are not logged

Send = Callable[[Any], Awaitable[None]]


def guard(state: Any, settings: Settings) -> None:
    """Prepare a state for `guarded`."""
    policy = POLICY + settings.frames
    state.headers = [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]
    state.hosts = settings.hosts.split(",")
    state.slow_reader = settings.slow_reader


async def guarded(
    app: Any, state: Any, scope: Any, receive: Any, send: Send
) -> None:
    """Serve one request of `app`; `state` has its settings and runs."""
    about.set({})
    began, status = time.monotonic(), 0
    loop = asyncio.get_running_loop()
    # Only uvicorn's own connection can let a reader go who does not read.
    transport = getattr(getattr(send, "__self__", None), "transport", None)

    async def sending(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [*message.get("headers", []), *state.headers]
            if cookie := scope["state"].get("cookie"):
                headers.append((b"set-cookie", cookie.encode()))
            message["headers"] = headers
        if transport is None:
            await send(message)
            return
        patience = DEAF if state.runs.stopping else state.slow_reader
        late = loop.call_later(patience, transport.abort)
        state.waiting.add(transport)
        try:
            await send(message)
        finally:
            state.waiting.discard(transport)
            late.cancel()

    async def refuse(code: int, why: str, **headers: str) -> None:
        response = JSONResponse({"detail": why}, code, headers)
        await response(scope, receive, sending)

    scope.setdefault("state", {})
    try:
        if state.runs.stopping:
            more = {"Connection": "close", "Retry-After": "1"}
            await refuse(503, "the service is stopping", **more)
        else:
            ours = TrustedHostMiddleware(app, state.hosts, www_redirect=False)
            await ours(scope, receive, sending)
    except Exception as error:
        bug("a request failed", error)
        if not status:
            await refuse(500, "the service has a bug; its log says where")
    finally:
        route = getattr(scope.get("route"), "path", "none of ours")
        if route not in QUIET:
            seconds = round(time.monotonic() - began, 3)
            more = {"method": scope["method"], "route": route}
            note("request", **more, status=status, seconds=seconds)


@contextmanager
def ending(
    shut_down: Callable[[], Awaitable[None]], waiting: set[Any]
) -> Iterator[None]:
    """Begin to end when the signal comes.

    uvicorn tells an application only when all its readers have left; with
    answers of minutes that is late. And it waits for those who do not read,
    unless it has a limit. A loop that is blocked, or a tool in a thread, hears
    of nothing: then the process ends without them, as if it were killed.
    """
    loop = asyncio.get_running_loop()
    old = {}
    tasks = []

    def begin() -> None:
        tasks.append(asyncio.ensure_future(shut_down()))
        loop.call_later(DEAF, lambda: [each.abort() for each in {*waiting}])

    def on_signal(number: int, frame: Any) -> None:
        old[number](number, frame)
        loop.call_soon_threadsafe(begin)
        last = threading.Timer(LAST, os._exit, [1])
        last.daemon = True
        last.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        server = getattr(handler, "__self__", None)
        if isinstance(server, uvicorn.Server):
            if server.config.timeout_graceful_shutdown is None:
                server.config.timeout_graceful_shutdown = GRACE
            old[number] = handler
            signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
