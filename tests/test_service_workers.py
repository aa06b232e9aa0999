"""The service's processes under what happens to processes and databases.

Each test runs real processes by the README's command, above SQLite and above
a real PostgreSQL. What must hold is one sentence: the history of a thread is
a sequence of questions with what their readers saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
import pytest

from tests.postgres import NoPostgres, Postgres, postgres
from tests.service import (
    Client,
    Event,
    Process,
    events_of,
    running,
    text_of,
    until,
)
from workshop.model import Model, practice_model

pytestmark = [
    pytest.mark.skipif(
        sys.platform == "win32", reason="it ends processes by POSIX signals"
    ),
    pytest.mark.timeout(240),
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

    def two(self, **settings: object) -> tuple[Process, Process]:
        """Two processes, each at an address of its own, as two machines."""
        one, other = self.run(**settings), self.run(**settings)
        other.cookies = one.cookies
        return one, other


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres | None]:
    try:
        with postgres() as started:
            yield started
    except NoPostgres:
        if os.environ.get("CI") and sys.platform == "linux":
            raise
        yield None


@pytest.fixture(params=["sqlite", "postgres"])
def place(
    request: Any, server: Postgres | None, tmp_path: Path
) -> Iterator[Place]:
    db = str(tmp_path / "service.db")
    if request.param == "postgres":
        if server is None:
            pytest.skip("PostgreSQL is not installed")
        db = server.database()
    with ExitStack() as stack:
        yield Place(stack, tmp_path, db, server)


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
                seen += await client.resume(run, seen[-1].number)
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


# --- two workers of one command


async def test_any_worker_serves_and_stops_any_run(place: Place) -> None:
    """Each request has a connection of its own, so either worker gets it."""
    process = place.run(workers=2)
    meter = place.model.meter()

    async def one(thread: str) -> None:
        async with process.client() as client:
            run, seen = await client.ask_and_leave(LONG, 5, thread)
        async with process.client() as client:
            busy = await client.post(
                f"/threads/{thread}/runs", json={"message": "x"}
            )
            assert busy.status_code == 409
        if thread.startswith("stop"):
            async with process.client() as client:
                assert (await client.delete(f"/runs/{run}")).status_code == 204
        async with process.client() as client:
            seen += await client.resume(run, seen[-1].number)
            assert [e.number for e in seen] == [*range(1, len(seen) + 1)]
            outcome = "stopped" if thread.startswith("stop") else "complete"
            assert seen[-1].data["outcome"] == outcome
            assert (await client.said(thread))[-1] == text_of(seen)

    await asyncio.gather(*(one(f"any{n}") for n in range(4)))
    await asyncio.gather(*(one(f"stop{n}") for n in range(4)))
    assert (meter.read().requests, meter.cut_off) == (8, 4)


async def test_a_reader_elsewhere_keeps_a_run_alive(place: Place) -> None:
    one, other = place.two(resume_grace=2)
    async with one.client() as here, other.client() as there:
        run, seen = await here.ask_and_leave("Write 100 words", 3)
        seen += await there.resume(run, seen[-1].number)
        assert seen[-1].data["outcome"] == "complete"


# --- A: nobody is taken for dead


async def test_a_blocked_loop_loses_nothing(place: Place) -> None:
    """A1: a tool blocks its loop for 16 s; others ask meanwhile."""
    one, other = place.two(agent="tests.agents:blocking")
    async with one.client() as here, other.client() as there:
        first = asyncio.create_task(reads(here, "a", PRICE))
        second = asyncio.create_task(reads(here, "b", PRICE))
        await asyncio.sleep(4)
        meanwhile = await there.post("/threads/a/runs", json={"message": NAME})
        assert meanwhile.status_code == 409  # it is alive
        third = await reads(there, "c", NAME)
        for task, thread in (first, "a"), (second, "b"):
            seen = await task
            assert seen[-1].data["outcome"] == "complete"
            await agrees(there, thread, (PRICE, seen))
        await agrees(here, "c", (NAME, third))
        fourth = await reads(there, "a", NAME)
        await agrees(there, "a", (PRICE, await first), (NAME, fourth))


async def test_a_process_that_is_stopped_is_not_dead(place: Place) -> None:
    """SIGSTOP, for as long as any patience."""
    one, other = place.two()
    async with one.client() as here, other.client() as there:
        run, seen = await here.ask_and_leave(LONG, 5)
        one.send(signal.SIGSTOP)
        reading = asyncio.create_task(there.resume(run, seen[-1].number))
        await asyncio.sleep(20)
        again = await there.post("/threads/t/runs", json={"message": NAME})
        assert again.status_code == 409
        assert not reading.done()
        one.send(signal.SIGCONT)
        seen += await reading
        assert seen[-1].data["outcome"] == "complete"
        await agrees(there, "t", (LONG, seen))


@pytest.mark.parametrize("hours", [-1, 1])
async def test_no_clock_is_asked(place: Place, hours: int) -> None:
    """A2, A3: two processes whose clocks are hours apart; one dies."""
    one = place.run()
    shift = "import time; now = time.time; "
    shift += f"time.time = lambda: now() + {hours * 3600}"
    (place.folder / "sitecustomize.py").write_text(shift)
    other = Process(place.model, place.folder, db=place.db)
    other.environment["PYTHONPATH"] += os.pathsep + str(place.folder)
    other.start()
    place.stack.callback(other.stop, signal.SIGKILL)
    one.cookies = other.cookies
    async with one.client() as here, other.client() as there:
        asks = [reads(c, f"t{n}", LONG) for n, c in enumerate([here, there])]
        whole = await asyncio.gather(*asks)
        assert [seen[-1].name for seen in whole] == ["done"] * 2
        run, seen = await there.ask_and_leave(LONG, 5, "dies")
        other.stop(signal.SIGKILL)
        rest = await here.resume(run, seen[-1].number)
        assert rest[-1].data["code"] == "interrupted"
        assert (await reads(here, "dies", NAME))[-1].name == "done"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_one_of_two_ends(place: Place, how: int) -> None:
    """Its readers are told elsewhere; a new question is taken at once."""
    one, other = place.two()
    async with one.client() as here, other.client() as there:
        before = await here.ask(PRICE, "t0")
        runs = [await here.ask_and_leave(LONG, 4, f"t{n}") for n in range(9)]
        one.stop(how)
        for n, (run, seen) in enumerate(runs):
            rest = await there.resume(run, seen[-1].number)
            assert rest[-1].data["code"] == "interrupted"
            assert sum(e.name in ("done", "error") for e in rest) == 1
            turns = [(PRICE, before)] if n == 0 else []
            await agrees(there, f"t{n}", *turns, (LONG, seen + rest))
            more = await there.ask(NAME, f"t{n}")
            assert more[-1].name == "done"


async def test_all_die_and_come_back(place: Place) -> None:
    process = place.run(workers=2)
    async with process.client() as client:
        before = await client.ask(PRICE)
        run, seen = await client.ask_and_leave(LONG, 20)
    process.stop(signal.SIGKILL)
    process.start(workers=2, port=int(process.url.rsplit(":")[-1]))
    async with process.client() as client:
        rest = await client.resume(run, seen[-1].number)
        assert rest[-1].data["code"] == "interrupted"
        await agrees(client, "t", (PRICE, before), (LONG, seen + rest))
        assert (await client.ask(NAME))[-1].name == "done"


# --- A4, G4: the database


async def test_a_database_that_is_locked(place: Place) -> None:
    """A4: for 14 s. Runs go on, reads are quick, new runs get a 503."""
    process = place.run()
    async with process.client() as client:
        await client.ask(NAME, "before")
        asking = asyncio.create_task(reads(client, "t", LONG))
        await asyncio.sleep(1.5)
        if place.on_postgres:
            lock = psycopg.connect(place.db)
            lock.execute("LOCK TABLE runs IN EXCLUSIVE MODE")
        else:
            lock = sqlite3.connect(place.db)
            lock.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        new = await client.post("/threads/n/runs", json={"message": NAME})
        assert (new.status_code, new.headers["Retry-After"]) == (503, "5")
        assert len(await client.said("before")) == 2
        await asyncio.sleep(max(0, 14 - (time.monotonic() - began)))
        assert not asking.done()
        lock.rollback()
        lock.close()
        seen = await asking
        assert seen[-1].data["outcome"] == "complete"
        await agrees(client, "t", (LONG, seen))
        await until_free(client, "n")


async def until_free(client: Client, thread: str) -> None:
    """A question that got a 503 may have left a trace for a second."""
    while True:
        answer = await client.post(
            f"/threads/{thread}/runs", json={"message": NAME}
        )
        if answer.status_code == 200:
            return
        assert answer.status_code in (409, 503)
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_the_database_restarts(place: Place, how: str) -> None:
    if not place.on_postgres:
        pytest.skip("a file does not restart")
    process = place.run(workers=2)
    async with process.client() as client:
        before = await client.ask(PRICE)
        place.model.pace(per_token=0.1)
        asking = asyncio.create_task(reads(client, "t", LONG))
        await asyncio.sleep(2)
        place.server.stop(how)
        away = await client.get("/threads/t")
        assert (away.status_code, "detail" in away.json()) == (503, True)
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/health")).status_code == 200
        await asyncio.sleep(3)
        place.server.start()
        seen = await asking
        assert seen[-1].name in ("done", "error")
        await agrees(client, "t", (PRICE, before), (LONG, seen))
        assert (await reads(client, "t", NAME))[-1].name == "done"
    assert "Traceback" not in process.said()


async def test_a_full_disk(place: Place) -> None:
    """G4: 503 with one sentence, and then it goes on."""
    if place.on_postgres:
        pytest.skip("the server's disk")
    process = place.run()
    async with process.client() as client:
        before = await client.ask(PRICE)
        assert process.process
        pid, limit = process.process.pid, resource.RLIMIT_FSIZE
        old = resource.prlimit(pid, limit, (1, resource.RLIM_INFINITY))
        new = await client.post("/threads/t/runs", json={"message": NAME})
        assert new.status_code == 503
        assert new.json()["detail"].startswith("the database cannot be used")
        assert (await client.get("/ready")).status_code == 503
        resource.prlimit(pid, limit, old)
        assert (await client.get("/ready")).status_code == 200
        after = await reads(client, "t", NAME)
        await agrees(client, "t", (PRICE, before), (NAME, after))


async def test_a_database_that_cannot_be_written(place: Place) -> None:
    process = place.run()
    async with process.client() as client:
        before = await client.ask(PRICE)
        if place.on_postgres:
            name = place.db.rsplit("/")[-1]
            only = f"ALTER DATABASE {name} SET default_transaction_read_only"
            with place.server.admin() as admin:
                admin.execute(f"{only} = on")
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = %s",
                    [name],
                )
        else:
            with sqlite3.connect(place.db) as broken:
                broken.execute("ALTER TABLE facts RENAME TO gone")
                broken.execute("ALTER TABLE events RENAME TO gone_too")
        await asyncio.sleep(1)
        new = await client.post("/threads/n/runs", json={"message": NAME})
        assert new.status_code == 503
        assert (await client.get("/ready")).status_code == 503
        await agrees(client, "t", (PRICE, before))
    assert "Traceback" not in process.said()


# --- D: the end of a process


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_end_within_seconds(place: Place, workers: int) -> None:
    """A reader streams, 20 clients never read, and SIGTERM comes."""
    process = place.run(workers)
    deaf = []
    port = int(process.url.rsplit(":")[-1])
    async with process.client() as client:
        place.model.pace(per_token=0.5)
        async with client.asking("Write 500 words") as response:
            stream = events_of(response)
            seen = [await anext(stream) for _ in range(3)]
            place.model.pace(per_token=0)
            for number in range(20):
                deaf.append(never_reads(port, number, "Count to 2000"))
            await asyncio.sleep(3)
            process.send(signal.SIGTERM)
            seen += [event async for event in stream]
        assert seen[-1].data["code"] == "interrupted"
        assert process.process
        # Within five seconds on an idle machine. As it was, it never ended.
        await asyncio.to_thread(process.process.wait, 45)
        with pytest.raises(httpx2.TransportError):
            await client.get("/health")
    for sock in deaf:
        sock.close()
    assert "Traceback" not in process.said()


# --- F, G5, I: what others must not see or do


async def test_the_log_has_ids_and_no_words(place: Place) -> None:
    process = place.run()
    words = "my secret \ud800 sauce"
    async with process.client() as client:
        body = json.dumps({"message": words}).encode()
        kind = {"Content-Type": "application/json"}
        bad = await client.post("/threads/t/runs", content=body, headers=kind)
        assert bad.status_code == 422
        assert "sauce" not in bad.text
        nul = await client.ask("Say exactly: \0sauce", "nul")
        assert await client.said("nul") == [
            "Say exactly: \0sauce",
            text_of(nul),
        ]
        await client.get("/no/such/sauce?with=sauce")
        await client.get("/threads/sauce%20with%20words")
        run = (await client.ask(PRICE, "log"))[0].data["run"]
    lines = [
        json.loads(line)
        for line in process.said().splitlines()
        if line.startswith("{")
    ]
    assert all({"run", "thread", "time", "level"} <= {*each} for each in lines)
    mine = [each["event"] for each in lines if each["run"] == run]
    assert sorted(mine) == ["request", "run ended"]
    for word in "soup", "sauce", place.model.key, "Traceback":
        assert word not in process.said()


async def test_a_thread_is_its_user_s(place: Place) -> None:
    process = place.run()
    async with process.client() as ada, process.client(cookies={}) as eve:
        run = (await ada.ask(NAME))[0].data["run"]
        assert await eve.said() == []
        assert (await eve.get("/threads")).json() == []
        assert (await eve.get(f"/runs/{run}")).status_code == 404
        assert (await eve.delete(f"/runs/{run}")).status_code == 404
        assert (await eve.delete("/threads/t")).status_code == 204
        assert len(await ada.said()) == 2
        forged = dict(ada.cookies)["user"].split(".")[0] + ".x"
        async with process.client(cookies={"user": forged}) as mallory:
            assert await mallory.said() == []
        cookie = await httpx2.AsyncClient().get(f"{process.url}/threads")
        for word in "HttpOnly", "SameSite=Lax":
            assert word in cookie.headers["Set-Cookie"]


async def test_hardening(place: Place) -> None:
    process = place.run()
    async with process.client() as client:
        page = await client.get("/")
        policy = page.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        for host in "evil.example", "localhost.evil.example", "[", "":
            other = await client.get("/", headers={"Host": host})
            assert other.status_code in (400, 421)
        assert (await client.get("/docs")).status_code == 404
        assert "service_runs_under_way" in (await client.get("/metrics")).text
        assert (await client.get("/ready")).status_code == 200
        for path in "/page/../agent.py", "/page/%2e%2e/agent.py":
            assert (await client.get(path)).status_code == 404
    if not place.on_postgres:
        for file in place.folder.glob("service.db*"):
            assert file.stat().st_mode & 0o077 == 0, file


async def test_a_request_that_is_sent_twice_asks_once(place: Place) -> None:
    one, other = place.two()
    meter = place.model.meter()
    headers = {"Idempotency-Key": "once"}
    async with (
        one.client(headers=headers) as here,
        other.client(headers=headers) as there,
    ):
        first = asyncio.create_task(here.ask(LONG))
        await until(lambda: meter.read().in_flight == 1)
        same = await asyncio.gather(there.ask(LONG), here.ask(LONG))
        assert [*same, await first] == [same[0]] * 3
        assert await there.ask(LONG) == same[0]
    assert meter.read().requests == 1


# --- H: growth


async def test_growth_is_linear(place: Place) -> None:
    process = place.run()
    place.model.pace(ttft=0, per_token=0)
    sizes = []

    def size() -> int:
        if place.on_postgres:
            with psycopg.connect(place.db) as admin:
                admin.autocommit = True
                admin.execute("VACUUM FULL")
                name = "SELECT pg_database_size(current_database())"
                return admin.execute(name).fetchone()[0]
        with sqlite3.connect(place.db) as admin:
            admin.isolation_level = None
            admin.execute("VACUUM")
            admin.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(place.db).stat().st_size

    async with process.client() as client:
        for number in range(90):
            if number % 30 == 0:
                sizes.append(size())
            await client.ask("Count to 99", "grows")
        sizes.append(size())
        grown = [after - before for before, after in pairwise(sizes)]
        assert grown[2] < 2 * max(grown[1], 20_000)
        assert len(await client.said("grows")) == 180
        assert (await client.delete("/threads/grows")).status_code == 204
        assert await client.said("grows") == []
        assert (await client.get("/threads")).json() == []
        assert size() <= sizes[0] + 50_000


async def test_a_long_conversation_is_trimmed(place: Place) -> None:
    """More is said than the model takes; it is not given more than that."""
    process = place.run(context_tokens=600)
    place.model.pace(ttft=0, per_token=0, context_tokens=1000)
    async with process.client() as client:
        for _ in range(12):
            seen = await client.ask("Count to 99")
            assert seen[-1].data["outcome"] == "complete"
        assert len(await client.said()) == 24
        place.model.pace(context_tokens=20)
        long = await client.post(
            "/threads/t/runs", json={"message": "a long word " * 60}
        )
        assert long.status_code == 413
        assert "too long" in long.json()["detail"]
        place.model.pace(context_tokens=1000)
        assert (await client.ask(NAME))[-1].name == "done"


async def test_who_does_not_read_is_let_go(place: Place) -> None:
    process = place.run(slow_reader=2, resume_grace=1)
    place.model.pace(ttft=0, per_token=0)
    port = int(process.url.rsplit(":")[-1])
    deaf = [never_reads(port, n, "Count to 9999") for n in range(5)]
    assert process.process
    there = psutil.Process(process.process.pid)

    def held() -> int:
        return sum(
            each.status == "ESTABLISHED" and each.laddr.port == port
            for each in there.net_connections()
        )

    await until(lambda: held() == 5)
    await until(lambda: held() == 0)
    async with process.client() as client:
        assert (await client.get("/health")).json()["runs"] == 0
    for sock in deaf:
        sock.close()


# --- the start


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OPENAI_API_KEY", None), ("SERVICE_DB", "/no/such/folder/service.db")],
)
def test_it_says_in_one_line_why_it_cannot_start(
    tmp_path: Path, variable: str, value: str | None
) -> None:
    process = Process(practice_model(), tmp_path)
    process.environment.pop(variable)
    if value:
        process.environment[variable] = value
    with pytest.raises(AssertionError, match=f"Cannot start: {variable}"):
        process.start()
    assert "Traceback" not in process.said()


async def test_four_workers_set_up_at_once(place: Place) -> None:
    process = place.run(workers=4)
    async with process.client() as client:
        assert (await client.ask(NAME))[-1].name == "done"
    assert "Traceback" not in process.said()


async def test_waiting_readers_hold_no_connection(place: Place) -> None:
    """40 readers of another process's run, with a pool of ten."""
    one, other = place.two()
    async with one.client() as here, other.client() as there:
        run, _ = await here.ask_and_leave(LONG, 3)
        many = await asyncio.gather(*(there.resume(run, 0) for _ in range(40)))
        assert all(events == many[0] for events in many)
        assert many[0][-1].data["outcome"] == "complete"


def test_it_needs_no_more_than_it_says() -> None:
    """SQLite alone does not import PostgreSQL's driver."""
    code = "import sys, service; print('psycopg' in sys.modules)"
    solutions = Path(__file__).parent.parent / "solutions"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(solutions)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "False\n"
