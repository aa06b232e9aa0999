"""The server: routes, and answers sent at their time, with their faults.

A plain ASGI application without a framework: it starts fast, and a token
costs one write.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from workshop.practice import answers, chat, embeddings, responses
from workshop.practice.ask import Problem, Script
from workshop.practice.sessions import Fault, Flight, Pace, Sessions

MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")
SOON = 0.001  # seconds: a token that is due so soon is sent at once

_log = logging.getLogger(__name__)

JSON = (b"content-type", b"application/json")
EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class ClientLeft(Exception):
    """The client hung up before its request had arrived."""


class PracticeServer:
    """The ASGI application."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.sessions = Sessions(pace or Pace())
        self._models = {
            "/v1/chat/completions": _chat,
            "/v1/responses": _responses,
            "/v1/embeddings": _embeddings,
        }
        self._controls = {
            ("GET", "/meter"): self._meter,
            ("POST", "/meter/reset"): self._reset,
            ("POST", "/pace"): self._pace,
            ("POST", "/faults"): self._queue_fault,
            ("DELETE", "/faults"): self._clear_faults,
            ("GET", "/v1/models"): _list_models,
        }
        for name in MODELS:
            self._controls["GET", f"/v1/models/{name}"] = _one_model

    async def __call__(
        self, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        method, path = scope["method"], scope["path"]
        headers = dict(scope["headers"])
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        token = token.decode("latin-1").strip()
        if kind.lower() != b"bearer":
            token = ""
        try:
            if method == "POST" and path in self._models:
                header = headers.get(b"x-practice-fault", b"")
                await self._serve(path, token, header, receive, send)
            elif (method, path) in self._controls:
                control = self._controls[method, path]
                body = await read_json(receive) if method == "POST" else path
                await send_json(send, 200, await control(token, body))
            else:
                raise self._no_route(method, path)
        except ClientLeft:
            pass
        except Problem as problem:
            await send_json(
                send, problem.status, problem.body, problem.headers
            )

    def _no_route(self, method: str, path: str) -> Problem:
        routes = [*self._controls, *(("POST", path) for path in self._models)]
        allowed = [m for m, known in routes if known == path]
        if allowed:
            return Problem(
                405,
                f"Not allowed to {method} on {path} (HTTP method not "
                "allowed).",
                code="method_not_supported",
                headers=((b"allow", ", ".join(allowed).encode()),),
            )
        if path.startswith("/v1/models/"):
            name = path.removeprefix("/v1/models/")
            return Problem(
                404,
                f"The model {name!r} does not exist.",
                param="model",
                code="model_not_found",
            )
        return Problem(
            404,
            f"Invalid URL ({method} {path}). The practice model serves "
            f"{', '.join(sorted({path for _, path in routes}))}.",
        )

    # The model

    async def _serve(
        self,
        path: str,
        token: str,
        header: bytes,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one request to the model, and watch that somebody waits."""
        flight = self.sessions.take_off(token)
        watcher = None
        try:
            body = await read_json(receive)
            fault = self._fault(token, header)
            if fault is not None:
                if fault.kind == "refuse":
                    reset(receive)
                    await _until_gone(receive)
                    return
                _fail_at_once(fault)
            script, key = _answer(self._models[path], body)
            due = self.sessions.pace(token).schedule(script.tokens, key)
            watcher = _cancel_when_gone(receive)
            deliver = _stream if script.streamed else _send_whole
            await deliver(send, flight, script, due, fault)
        except ClientLeft:
            flight.land(cut_off=True)
        except asyncio.CancelledError:
            if watcher is None or not watcher.done():
                raise  # the server stops
            flight.land(cut_off=True)
        finally:
            flight.land()
            if watcher is not None:
                watcher.cancel()

    def _fault(self, token: str, header: bytes) -> Fault | None:
        """What goes wrong with this request."""
        if header:
            return _checked(Fault.from_header, header.decode("latin-1"))
        return self.sessions.next_fault(token)

    # The controls

    async def _meter(self, token: str, _: str) -> dict[str, int]:
        for _ in range(5):  # let the loop see who has hung up by now
            await asyncio.sleep(0.001)
        return dataclasses.asdict(self.sessions.get(token).meter)

    async def _reset(self, token: str, _: Any) -> dict[str, int]:
        return dataclasses.asdict(self.sessions.reset_meter(token))

    async def _pace(self, token: str, body: dict[str, Any]) -> dict[str, Any]:
        pace = _checked(self.sessions.pace(token).changed, body)
        self.sessions.get(token).pace = pace
        return dataclasses.asdict(pace)

    async def _queue_fault(
        self, token: str, body: dict[str, Any]
    ) -> dict[str, int]:
        queue = self.sessions.get(token).faults
        return {"queued": _checked(queue.add, body)}

    async def _clear_faults(self, token: str, _: str) -> dict[str, int]:
        self.sessions.get(token).faults.clear()
        return {"queued": 0}


def _checked(read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise Problem(400, str(error)) from None


# What the model routes do with a request's JSON: -> (script, its key)


def _chat(body: dict[str, Any]) -> tuple[Script, str]:
    request = chat.parse(body)
    reply = answers.reply(request.ask)
    return chat.script(request, reply), request.ask.digest()


def _responses(body: dict[str, Any]) -> tuple[Script, str]:
    request = responses.parse(body)
    reply = answers.reply(request.ask)
    return responses.script(request, reply), request.ask.digest()


def _embeddings(body: dict[str, Any]) -> tuple[Script, str]:
    return embeddings.script(body), ""


def _answer(
    route: Callable[[dict[str, Any]], tuple[Script, str]],
    body: dict[str, Any],
) -> tuple[Script, str]:
    """Call a route; what it cannot work with is the request's fault."""
    try:
        return route(body)
    except Problem:
        raise
    except Exception as error:
        _log.warning("This request was not understood:", exc_info=True)
        raise Problem(
            400,
            "The request has not the form that OpenAI documents "
            f"({type(error).__name__}: {error}).",
        ) from None


async def _list_models(_: str, path: str) -> dict[str, Any]:
    return {"object": "list", "data": [_model(name) for name in MODELS]}


async def _one_model(_: str, path: str) -> dict[str, Any]:
    return _model(path.removeprefix("/v1/models/"))


def _model(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 1700000000,
        "owned_by": "workshop",
    }


# Sending


async def _stream(
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
    pause_at = min(fault.after_tokens, count) if fault else count + 1
    await asyncio.sleep(due[0])
    await send(
        {"type": "http.response.start", "status": 200, "headers": EVENTS}
    )
    sent = 0
    while True:
        if sent == pause_at:
            if fault.kind == "cut":
                return  # an answer without its end: the server hangs up
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


async def _send_whole(
    send: Send,
    flight: Flight,
    script: Script,
    due: list[float],
    fault: Fault | None,
) -> None:
    """Send the answer when its last token is there."""
    body = script.chunks[-1]
    if fault is not None:
        await asyncio.sleep(due[min(fault.after_tokens, script.tokens)])
        if fault.kind == "cut":
            await send(_start(200, len(body)))
            return
        await _stall(fault)
    await asyncio.sleep(due[-1])
    flight.sent(script.tokens)
    flight.land()
    await send(_start(200, len(body)))
    await send({"type": "http.response.body", "body": body})


async def _stall(fault: Fault) -> None:
    if fault.seconds is None:
        await asyncio.Event().wait()
    await asyncio.sleep(fault.seconds)


def _fail_at_once(fault: Fault) -> None:
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


def reset(receive: Receive) -> None:
    """Drop the connection with a TCP reset, as a closed port would.

    ASGI has no message for it: the transport is taken from uvicorn's
    request object, whose method ``receive`` is.
    """
    transport = receive.__self__.transport
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()


def _cancel_when_gone(receive: Receive) -> asyncio.Task[None]:
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
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message["body"])
        if not message["more_body"]:
            break
    try:
        body = json.loads(b"".join(parts) or b"{}")
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
    await send({"type": "http.response.body", "body": body})
