"""Serve an ASGI app from a cell, on the event loop of the kernel.

``async with serve(app) as url`` ends the server with the block. A server
that outlives its cell is started and stopped by hand:

    site = serve(app)
    url = await site.start()
    ...
    await site.stop()

The app then shares its loop with your cells: whoever blocks it blocks both.
Call it with an async client, or from another thread or process.

``serve_file(text)`` runs a program as people do at work: by ``uvicorn``, in
a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import uvicorn

from workshop.model import LOOPBACK, WorkshopError


class Site:
    """One app on one port of this machine.

    ``url`` is where it answers, ``None`` before the start and after the stop.
    ``errors`` holds what the app raised and did not handle, in order; uvicorn
    would log these and answer 500, or break off what it had begun to send.
    """

    def __init__(self, app: Any, port: int, patience: float) -> None:
        self.url: str | None = None
        self.errors: list[Exception] = []
        self._app = app
        self._port = port
        self._patience = patience
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start it unless it runs; return its URL, without a final slash.

        Raises WorkshopError if the port is taken, and what the app's
        ``lifespan`` raised if that failed.
        """
        if self.url is not None:
            return self.url
        listener = _listener(self._port)
        self._server = _Server(
            uvicorn.Config(
                self._noting_errors,
                interface="asgi3",
                # One that set the loggers up would for a moment let those
                # of another thread write to the cell.
                log_config=None,
                log_level="critical",
                timeout_graceful_shutdown=self._patience,
            )
        )
        self._task = asyncio.create_task(self._serve(listener))
        await self._server.ready.wait()
        if not self._server.started:
            listener.close()
            raise (
                self.errors.pop()
                if self.errors
                else WorkshopError("The app did not start.")
            )
        self.url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        return self.url

    async def stop(self) -> None:
        """Let open answers end within ``patience``, cancel the others, and
        wait until all has stopped."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self.url = None

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def _serve(self, listener: socket.socket) -> None:
        with suppress(SystemExit):  # how it says that the app did not start
            await self._server.serve(sockets=[listener])

    async def _noting_errors(
        self, scope: Any, receive: Any, send: Any
    ) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            self.errors.append(error)
            raise


def serve(app: Any, port: int = 0, patience: float = 1) -> Site:
    """Return a server for an ASGI app, to be started.

    ``port`` 0 is any free one. ``patience`` is how many seconds a stop waits
    for answers that are still being sent.
    """
    return Site(app, port, patience)


@asynccontextmanager
async def serve_file(text: str) -> AsyncIterator[str]:
    """Save a program as ``notes.py``, run ``uvicorn notes:app`` beside it in
    a process of its own, and yield the URL, without a final slash.

    The program is ``text``; it defines ``app``. Raises WorkshopError with
    the last line of the log if it does not start. The process ends with the
    block.
    """
    with TemporaryDirectory() as folder:
        server = _uvicorn(text, folder)
        try:
            yield await asyncio.to_thread(_url_in, server.stderr)
        finally:
            server.terminate()
            await asyncio.to_thread(server.communicate)


def _uvicorn(text: str, folder: str) -> subprocess.Popen[str]:
    Path(folder, "notes.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", "notes:app", "--port", "0"]
    return subprocess.Popen(
        [*command, "--no-access-log"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _url_in(log: TextIO) -> str:
    """Read uvicorn's log until it says where the app runs."""
    line = "The app did not start."
    for line in log:
        if "running on" in line:
            return line.split()[4]
    raise WorkshopError(line.strip())


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the kernel's stop button needs them."""
        yield


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port), backlog=2048)
    except OSError as error:
        what = f"Port {port} is taken" if port else "No port is free"
        raise WorkshopError(
            f"{what} on {LOOPBACK} ({os.strerror(error.errno)}). Use "
            "serve(app), which takes any free port, or close some programs."
        ) from None
