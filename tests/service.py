"""The finished service, run for tests, and a client that reads its events."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2

from tools.build import ROOT
from tools.kernels import ZYGOTE, Forked
from workshop.model import LOOPBACK, Model

SOLUTIONS = ROOT / "solutions"
# Its workers are forked as well, as it has imported all that they need.
UVICORN = """
import multiprocessing
import uvicorn._subprocess
from uvicorn.main import main
uvicorn._subprocess.spawn = multiprocessing.get_context("fork")
main()
"""


class Event(NamedTuple):
    number: int
    name: str
    data: dict[str, Any]


async def events_of(response: httpx2.Response) -> AsyncIterator[Event]:
    """Read server-sent events one by one, as a browser would."""
    rest = b""
    async for piece in response.aiter_bytes():
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            lines = block.decode().split("\n")
            fields = dict(line.split(": ", 1) for line in lines)
            if "data" in fields:  # no ping
                number, data = int(fields["id"]), json.loads(fields["data"])
                yield Event(number, fields["event"], data)
    assert not rest, "an event was cut"


def text_of(events: list[Event]) -> str:
    """What a page shows in the end."""
    text = ""
    for event in events:
        if event.name == "token":
            text += event.data["text"]
        elif event.name == "restart":
            text = ""
    return text


class Client(httpx2.AsyncClient):
    """Speaks the service's protocol."""

    @asynccontextmanager
    async def asking(
        self, message: str, thread: str = "t"
    ) -> AsyncIterator[httpx2.Response]:
        path = f"/threads/{thread}/runs"
        body = {"message": message}
        async with self.stream("POST", path, json=body) as response:
            yield response

    async def ask(self, message: str, thread: str = "t") -> list[Event]:
        """The whole answer, or an AssertionError with the status."""
        async with self.asking(message, thread) as response:
            if response.status_code != 200:
                await response.aread()
            assert response.status_code == 200, response.text
            return [event async for event in events_of(response)]

    async def answer(self, answer: Any, thread: str = "t") -> list[Event]:
        """Say what the agent has asked; the events that follow."""
        path = f"/threads/{thread}/answers"
        body = {"answer": answer}
        async with self.stream("POST", path, json=body) as response:
            assert response.status_code == 200
            return [event async for event in events_of(response)]

    async def ask_and_leave(
        self, message: str, after: int, thread: str = "t"
    ) -> tuple[str, list[Event]]:
        """Hang up after so many events; return the run and the events."""
        seen = []
        async with self.asking(message, thread) as response:
            assert response.status_code == 200
            async for event in events_of(response):
                seen.append(event)
                if len(seen) == after:
                    break
        return response.headers["X-Run-Id"], seen

    async def resume(self, run: str, last: int) -> list[Event]:
        headers = {"Last-Event-ID": str(last)}
        async with self.stream(
            "GET", f"/runs/{run}", headers=headers
        ) as response:
            assert response.status_code == 200
            return [event async for event in events_of(response)]

    async def said(self, thread: str = "t") -> list[str]:
        """What the thread remembers, questions and answers in turn."""
        thread = (await self.get(f"/threads/{thread}")).json()
        return [message["text"] for message in thread["messages"]]


class Process:
    """The service as it is run for users: uvicorn and its workers.

    `settings` are variables without their prefix: `max_runs=3`. `within` is a
    command that runs a command: on another machine, say.
    """

    within: Sequence[str] = ()
    host = LOOPBACK

    def __init__(self, model: Model, folder: Path, **settings: object) -> None:
        settings = {"db": folder / "service.db"} | settings
        self.environment = os.environ | {
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": model.key,
            "PYTHONPATH": str(ROOT),
            **{f"SERVICE_{k.upper()}": str(v) for k, v in settings.items()},
        }
        self.log = folder / f"{uuid4().hex}.log"
        self.url = ""
        self.cookies: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def client(self, **options: Any) -> Client:
        """A client of the same user as all others that this one gave."""
        options = {"timeout": 60, "cookies": self.cookies} | options
        return Client(base_url=self.url, **options)

    def start(self, workers: int = 1, port: int = 0) -> str:
        """Start it by the README's command, and return its address when
        every worker is up. On this machine it finds its imports made."""
        command = ["uvicorn", "service:app"]
        command += ["--app-dir", str(SOLUTIONS), "--port", str(port)]
        if self.host != LOOPBACK:
            command += ["--host", self.host]
        command += ["--workers", str(workers)]
        env = self.environment
        with self.log.open("wb") as log:
            if ZYGOTE in os.environ and not self.within:
                folder, output = os.getcwd(), log.fileno()
                self.process = Forked(UVICORN, command, folder, env, output)
            else:
                self.process = subprocess.Popen(
                    [*self.within, sys.executable, "-m", *command],
                    env=env,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        up = "Application startup complete"
        while self.process.poll() is None:
            said = self.said()
            address = re.search(r"running on (http://[\d.:]+)", said)
            if address and said.count(up) == workers:
                self.url = address[1]
                if not self.cookies:
                    who = httpx2.get(f"{self.url}/threads")
                    self.cookies = dict(who.cookies)
                return self.url
            time.sleep(0.05)
        raise AssertionError(self.said())

    def said(self) -> str:
        return self.log.read_text("utf-8")

    def send(self, number: int) -> None:
        """Send one to the process that was started; all, for a stop."""
        assert self.process
        if number in (signal.SIGSTOP, signal.SIGCONT):
            os.killpg(self.process.pid, number)
        else:
            os.kill(self.process.pid, number)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Send all its processes a signal, and wait."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, how)
            self.process.wait(60)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it comes true, three minutes at most."""
    for _ in range(9000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come true within three minutes")


@contextmanager
def running(
    model: Model, folder: Path, workers: int = 1, **settings: object
) -> Iterator[Process]:
    process = Process(model, folder, **settings)
    try:
        process.start(workers)
        yield process
    finally:
        process.stop(signal.SIGKILL)
