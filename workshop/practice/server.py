"""The server: its routes, and what they do with a session.

A plain ASGI application without a framework, so that it starts at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workshop.practice import (
    answers,
    chat,
    delivery,
    embeddings,
    endings,
    responses,
    work,
)
from workshop.practice.ask import Problem, Script
from workshop.practice.delivery import (
    ClientLeft,
    Receive,
    Send,
    as_json,
    read_body,
    read_json,
    send_json,
)
from workshop.practice.sessions import Fault, Pace, Session, Sessions

MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")

WORKERS = 2  # threads for what is large; the loop has the rest
LARGE = 4096  # bytes

PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"*, authorization"),
)

_log = logging.getLogger(__name__)


class PracticeServer:
    """The ASGI application."""

    def __init__(
        self, pace: Pace | None = None, origin: str | None = None
    ) -> None:
        """``origin`` is a web page's, such as ``http://localhost:3000``,
        or ``*`` for any, that browsers may let use the server."""
        self.sessions = Sessions(pace or Pace())
        self._origin = origin
        self._workers = ThreadPoolExecutor(WORKERS)
        self._models = {
            "/v1/chat/completions": chat,
            "/v1/responses": responses,
            "/v1/embeddings": embeddings,
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
        send = self._with_headers(send)
        if method == "OPTIONS" and self._origin:
            return await send_json(send, 200, {}, PREFLIGHT)
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

    def _with_headers(self, send: Send) -> Send:
        """Send each answer with its id, and say who may read it."""
        more = [(b"x-request-id", f"req_{secrets.token_hex(16)}".encode())]
        if self._origin:
            origin = self._origin.encode()
            more.append((b"access-control-allow-origin", origin))
            more.append((b"access-control-expose-headers", b"*"))

        async def send_with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        return send_with_headers

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
            raw = await read_body(receive)
            body = as_json(raw)
            fault = self._fault(token, header)
            if fault is not None:
                if fault.kind == "refuse":
                    return await delivery.refuse(receive)
                delivery.fail_at_once(fault)
            watcher = delivery.cancel_when_gone(receive)
            pace = self.sessions.pace(token)
            session = self.sessions.get(token)
            asked = self._models[path], body, session, pace, fault
            script, key = await self._answered(_is_large(raw), asked)
            due = pace.schedule(
                script.tokens, key, script.thoughts, fault and fault.seconds
            )
            if script.streamed:
                await delivery.stream(send, flight, script, due, fault)
            else:
                await delivery.send_whole(send, flight, script, due, fault)
            session.repeats.answered(key)
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

    async def _answered(
        self, large: bool, asked: tuple[Any, ...]
    ) -> tuple[Script, str]:
        """The answer; a large request is worked on beside the loop."""
        if not large:
            return _answer(*asked)
        going = work.Work()
        context = contextvars.copy_context()
        context.run(work.current.set, going)
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._workers, context.run, _answer, *asked
            )
        except asyncio.CancelledError:
            going.stop()
            raise

    def _fault(self, token: str, header: bytes) -> Fault | None:
        """What goes wrong with this request."""
        if header:
            return _checked(Fault.from_header, header.decode("latin-1"))
        return self.sessions.next_fault(token)

    # The controls

    async def _meter(self, token: str, _: str) -> dict[str, int]:
        await _see_who_left()
        return dataclasses.asdict(self.sessions.get(token).meter)

    async def _reset(self, token: str, _: Any) -> dict[str, int]:
        await _see_who_left()
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


def _is_large(raw: bytes) -> bool:
    """Whether a request may take a while: it has much, or repeats it."""
    return len(raw) > LARGE or b"$ref" in raw or b'"n"' in raw


async def _see_who_left() -> None:
    """Let the loop handle the connections that are closed by now."""
    for _ in range(5):
        await asyncio.sleep(0.001)


def _checked(read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise Problem(400, str(error)) from None


# What the model routes do with a request's JSON: -> (script, its key)


def _answer(
    wire: Any, body: dict[str, Any], session: Session, pace: Pace, fault: Any
) -> tuple[Script, str]:
    """Answer a request; what cannot be worked with is its own fault."""
    try:
        if wire is embeddings:
            return embeddings.script(body), ""
        if wire is responses:
            request = responses.parse(body, session.responses)
        else:
            request = chat.parse(body)
        ask = request.ask
        if ask.prompt_tokens > pace.context_tokens:
            raise wire.too_long(ask.prompt_tokens, pace.context_tokens)
        key = ask.digest
        reply = answers.reply(ask, session.repeats.turns(key))
        reply = endings.ended(reply, ask, fault)
        script = wire.script(request, reply)
        if wire is responses and body.get("store") is not False:
            session.keep(responses.keep(request, reply, script))
        return script, key
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
