"""Real clients for the judges: an answer's app on a port, and its callers.

The app runs in a thread with an event loop of its own, as it would in a
server's process. An answer that blocks that loop does not block its judge,
who can still count, and name the line that blocks.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from workshop.checks.kit import (
    Kitchen,
    Watch,
    Wrong,
    in_thread,
    line_on,
    settled,
    stack_of,
    start,
)
from workshop.checks.loop import own_loop
from workshop.serve import Site, serve

PATIENCE = 800  # turns that a client waits for a piece: 8 s if all is quiet
HELD_UP = 0.3  # seconds; an event loop that is silent so long is blocked
SURE = 5  # times that it was seen at one line; a busy machine is slow as well


@dataclass
class Guest:
    """A client, and what it got so far; status 0 is nothing at all.

    ``whole`` is False if the answer broke off.
    """

    status: int = 0
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    text: str = ""
    whole: bool = True
    reading: Any = None  # the task

    @property
    def gone(self) -> bool:
        """Whether the answer has ended, or broken off."""
        return self.reading.done()

    async def end(self, release: Callable[[], object]) -> None:
        """Read on to the end, while ``release`` lets the models go on."""

        def progress() -> tuple[int, str]:
            release()
            return self.status, self.text

        await settled(progress, self.reading.done, PATIENCE)


@dataclass
class Served:
    """An app under ``url``; ``errors`` is what it did not handle."""

    url: str
    errors: list[Exception]
    blocking: Counter[str] = field(default_factory=Counter)
    stuck: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def guest(
        self, method: str, path: str, **request: Any
    ) -> AsyncIterator[Guest]:
        """A client who reads along, and leaves at the end of the block.

        It sends a request as httpx2 takes it.
        """
        guest = Guest()

        async def read() -> None:
            async with (
                httpx2.AsyncClient(timeout=None, verify=False) as client,
                client.stream(method, self.url + path, **request) as answer,
            ):
                guest.status = answer.status_code
                guest.headers = answer.headers
                try:
                    async for part in answer.aiter_text():
                        guest.text += part
                except httpx2.RemoteProtocolError:
                    guest.whole = False

        guest.reading = start(read())
        try:
            yield guest
        finally:
            guest.reading.cancel()
            await asyncio.gather(guest.reading, return_exceptions=True)

    async def ask(
        self, method: str, path: str, patient: bool = False, **request: Any
    ) -> Guest:
        """Send a request, and read the whole answer.

        Raises Wrong if nothing comes for PATIENCE, unless it is patient.
        """
        async with self.guest(method, path, **request) as guest:
            if not patient:
                await guest.end(lambda: None)
                if not guest.gone:
                    raise Wrong(
                        f"a client got nothing for 8 s{self.blocked()}"
                    )
            await guest.reading
        return guest

    async def hang_up(
        self,
        method: str,
        path: str,
        until: Callable[[str], object],
        **request: Any,
    ) -> str:
        """Send a request, and close its connection as soon as ``until`` is
        true; return the text that had come.

        ``until`` gets the text so far and is asked every 10 ms. The client
        also leaves when the answer is complete, or nothing came for PATIENCE.
        """
        async with self.guest(method, path, **request) as guest:
            await settled(
                lambda: guest.text,
                lambda: until(guest.text) or guest.gone,
                PATIENCE,
            )
        return guest.text

    def stuck_at(self) -> str:
        """As ``blocked``, of lines that themselves hold up the loop."""
        return self.blocked(self.stuck)

    def blocked(self, lines: Counter[str] | None = None) -> str:
        """The end of a sentence, with the line that blocks, or nothing."""
        lines = self.blocking if lines is None else lines
        for line, times in lines.most_common(1):
            if times >= SURE:
                return f": everybody waits at `{line}`"
        return ""


@asynccontextmanager
async def served(app: Any, place: Watch) -> AsyncIterator[Served]:
    """Serve the app of an answer in a thread that ``place`` then watches.

    Use the ``llm`` of a kitchen only in the app. A blocked app is left
    behind.
    """
    started: Future[tuple[Site, asyncio.AbstractEventLoop]] = Future()
    stop = asyncio.Event()  # belongs to the loop of the thread

    async def run() -> None:
        # What an answer leaves behind is not reported beside the verdict.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        site = serve(app, patience=0)
        await site.start()
        started.set_result((site, asyncio.get_running_loop()))
        await stop.wait()
        await site.stop()
        if isinstance(place, Kitchen):
            await place.llm.http_async_client.aclose()

    def in_its_thread() -> None:
        try:
            with asyncio.Runner(loop_factory=own_loop) as runner:
                runner.run(run())
        except BaseException as error:  # also SystemExit
            if not started.done():
                started.set_exception(error)

    thread, _ = in_thread(in_its_thread)
    site, loop = await asyncio.wrap_future(started)
    place.thread = thread.ident
    found = Served(site.url, site.errors)
    watching = asyncio.create_task(_watch(loop, place, found))
    try:
        yield found
    finally:
        watching.cancel()
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(stop.set)
        for _ in range(40):
            if not thread.is_alive():
                break
            await asyncio.sleep(0.05)


async def _watch(
    loop: asyncio.AbstractEventLoop, place: Watch, found: Served
) -> None:
    """Count the lines of the answer at which its loop is held up."""
    while True:
        heard = threading.Event()
        loop.call_soon_threadsafe(heard.set)
        await asyncio.sleep(HELD_UP)
        while not heard.is_set():
            stack = list(stack_of(sys._current_frames().get(place.thread)))
            if line := line_on(stack, place.file):
                found.blocking[line] += 1
            if line := line_on(stack[:1], place.file):
                found.stuck[line] += 1
            await asyncio.sleep(0.05)
