"""Real processes of the service, above either store, for tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.postgres import Postgres
from tests.service import (
    Client,
    Event,
    Process,
    events_of,
    running,
    text_of,
)
from workshop.model import Model, practice_model

marks = [
    pytest.mark.skipif(
        sys.platform == "win32", reason="it ends processes by POSIX signals"
    ),
    pytest.mark.timeout(600),
]

PRICE = "What is the price of the soup?"
LONG = "Write 60 words"
NAME = "Who are you?"


class Place:
    """A model, a database and the processes that a test starts."""

    def __init__(
        self, stack: ExitStack, folder: Path, db: str, server: Any
    ) -> None:
        self.stack = stack
        self.folder = folder
        self.db = db
        self.server = server
        self.model: Model = practice_model()
        self.model.pace(ttft=0.1, per_token=0.05)

    @property
    def on_postgres(self) -> bool:
        return self.db.startswith("postgresql")

    def run(self, workers: int = 1, **settings: object) -> Process:
        settings = {"db": self.db} | settings
        started = running(self.model, self.folder, workers, **settings)
        return self.stack.enter_context(started)

    def prepared(self, code: str, **settings: object) -> Process:
        """One on asyncio's own loop that runs this code first."""
        (self.folder / "sitecustomize.py").write_text(code)
        process = Process(self.model, self.folder, db=self.db, **settings)
        process.within = ["env"]
        process.environment["PYTHONPATH"] += os.pathsep + str(self.folder)
        process.environment["UVICORN_LOOP"] = "asyncio"
        self.stack.callback(process.stop, signal.SIGKILL)
        process.start()
        return process

    def two(self, **settings: object) -> tuple[Process, Process]:
        """Two processes, each at an address of its own, as two machines."""
        one, other = self.run(**settings), self.run(**settings)
        other.cookies = one.cookies
        return one, other


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: Any, tmp_path: Path) -> tuple[str, Postgres | None]:
    """Where an empty one is, of each kind, and its server."""
    if request.param == "sqlite":
        return str(tmp_path / "service.db"), None
    server = request.getfixturevalue("server")
    if server is None:
        pytest.skip("PostgreSQL is not installed")
    return server.database(), server


@pytest.fixture
def place(store: tuple[str, Any], tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack, tmp_path, *store)


async def reads(client: Client, thread: str, message: str) -> list[Event]:
    """Ask, and come back as a browser does until the last event."""
    seen: list[Event] = []
    run = ""
    while not seen or seen[-1].name not in ("done", "error"):
        try:
            if not run:
                async with client.asking(message, thread) as response:
                    assert response.status_code == 200
                    run = response.headers["X-Run-Id"]
                    async for event in events_of(response):
                        seen.append(event)
            else:
                last = seen[-1].number if seen else 0
                seen += await client.resume(run, last)
        except (httpx2.TransportError, AssertionError):
            await asyncio.sleep(0.3)
    return seen


async def agrees(client: Client, thread: str, *turns: Any) -> None:
    """The history is what was asked and seen; and one can go on."""
    expected = []
    for question, events in turns:
        text = text_of(events)
        if text or events[-1].data.get("outcome") == "complete":
            expected += [question, text] if text else [question]
    assert await client.said(thread) == expected


def never_reads(port: int, number: int, message: str) -> socket.socket:
    """A client that asks on a thread of its own, and takes nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", port))
    body = json.dumps({"message": message}).encode()
    sock.sendall(
        b"POST /threads/d%d/runs HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % (number, len(body))
        + body
    )
    return sock
