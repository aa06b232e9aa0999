"""Guests of an app: one who reads, many at once, one who leaves.

Each function serves an app on the event loop that it is called on, and asks
``POST /chat``. It also takes a lone endpoint, a function as FastAPI takes it,
and makes an app around that. The message goes both ways: in the query and as
JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx2
from fastapi import FastAPI

from workshop.model import ClientMeter, Meter, Model
from workshop.serve import serve

Endpoint = FastAPI | Callable[..., Any]


class Crowd(NamedTuple):
    """How many users asked, the most requests that the model had at once,
    and how many pings were answered while it wrote the same answers."""

    asked: int
    at_once: int
    pings: int

    def __str__(self) -> str:
        pings = "pings" if self.pings else "no ping"
        return f"{self.asked} asked, {self.at_once} at once, {pings} answered"


async def talk(endpoint: Endpoint, message: str) -> None:
    """Read one answer; print the status, the text and what went wrong."""
    site, text, end = serve(_app(endpoint)), "", ""
    async with site as url, _client(url) as client:
        try:
            async with client.stream("POST", **_chat(message)) as reply:
                async for part in reply.aiter_text():
                    text += part
        except httpx2.RemoteProtocolError as error:
            end = f", then {type(error).__name__}"
    print(f"{reply.status_code} {text!r}{end}")
    for error in site.errors:
        print(f"    the app raised {type(error).__name__}: {error}")


async def crowd(
    endpoint: Endpoint, number: int, message: str, model: Model
) -> Crowd:
    """Let so many users ask at once, in a thread with a loop of their own.

    On the server's loop they would be held up together with it. Each says
    who it is, so that a timeline can tell them apart.
    """
    async with serve(_app(endpoint)) as url:
        users = _users(url, number, message, model)
        return await asyncio.to_thread(asyncio.run, users)


async def leave(endpoint: Endpoint, message: str, model: Model) -> bool:
    """Close the connection after the first piece of the answer.

    Print how many calls the model saw cut off, and return whether it wrote
    on: more than five tokens after its reader had left.
    """
    meter = model.meter()
    async with serve(_app(endpoint)) as url, _client(url) as client:
        async with client.stream("POST", **_chat(message)) as reply:
            await anext(reply.aiter_text())
        left = meter.read().tokens_sent
        await idle(meter)
    goes_on = meter.tokens_sent > left + 5
    name = getattr(endpoint, "__name__", "app")
    print(f"{name}: {meter.cut_off} cut off, goes on: {goes_on}")
    return goes_on


async def idle(meter: Meter | ClientMeter) -> None:
    """Wait until the model has no request in flight."""
    while meter.read().in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def _users(url: str, number: int, message: str, model: Model) -> Crowd:
    meter, pings = model.meter(), 0
    async with _client(url) as client:
        asks = [f"{message} from user {n + 1}" for n in range(number)]
        answers = asyncio.gather(*(client.post(**_chat(a)) for a in asks))
        while not answers.done():
            before = meter.read().requests
            await client.get("/ping")  # 404 is an answer as well
            same = meter.read().requests == before
            pings += same and meter.in_flight > 0
            await asyncio.sleep(0.05)
        await answers
    return Crowd(number, meter.read().peak_in_flight, pings)


def _app(endpoint: Endpoint) -> FastAPI:
    if isinstance(endpoint, FastAPI):
        return endpoint
    app = FastAPI()
    app.post("/chat")(endpoint)
    return app


def _client(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, timeout=None)


def _chat(message: str) -> dict[str, Any]:
    question = {"message": message}
    return {"url": "/chat", "params": question, "json": question}
