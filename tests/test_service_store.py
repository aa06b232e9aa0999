"""The service's databases, away and full; what it shows, and how it grows.

Each test runs real processes by the README's command, above SQLite and above
a real PostgreSQL. What must hold is one sentence: the history of a thread is
a sequence of questions with what their readers saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import httpx2
import psutil
import psycopg
import pytest

from tests import service_place
from tests.service import Client, Process, text_of, until
from tests.service_place import (
    LONG,
    NAME,
    PRICE,
    Place,
    agrees,
    never_reads,
    reads,
)
from workshop.model import practice_model

pytestmark = service_place.marks
store, place = service_place.store, service_place.place


# --- A4, G4: the database


async def test_a_database_that_is_locked(place: Place) -> None:
    """A4: for longer than a request waits. Runs go on, reads are quick, new
    runs get a 503."""
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
        new = await client.post("/threads/n/runs", json={"message": NAME})
        assert (new.status_code, new.headers["Retry-After"]) == (503, "5")
        assert len(await client.said("before")) == 2
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
    import resource

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
    mine: list[str] = []
    while sorted(mine) != ["request", "run ended"]:  # each when it is over
        await asyncio.sleep(0.05)
        lines = [
            json.loads(line)
            for line in process.said().splitlines()
            if line.startswith("{")
        ]
        mine = [each["event"] for each in lines if each["run"] == run]
    assert all({"run", "thread", "time", "level"} <= {*each} for each in lines)
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
        for number in range(60):
            if number % 20 == 0:
                sizes.append(size())
            await client.ask("Count to 60", "grows")
        sizes.append(size())
        grown = [after - before for before, after in pairwise(sizes)]
        assert grown[2] < 2 * max(grown[1], 20_000)
        assert len(await client.said("grows")) == 120
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
        assert long.status_code == 413, long.text
        assert "too long" in long.json()["detail"]
        place.model.pace(context_tokens=1000)
        assert (await client.ask(NAME))[-1].name == "done"


SMALL = """
import socket
listen = socket.socket.listen
def listen_with_small_buffers(self, *args):
    self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return listen(self, *args)
socket.socket.listen = listen_with_small_buffers
"""


async def test_who_does_not_read_is_let_go(place: Place) -> None:
    """The system would keep four megabytes for each, which is long."""
    process = place.prepared(SMALL, slow_reader=2, resume_grace=1)
    place.model.pace(ttft=0, per_token=0)
    port = int(process.url.rsplit(":")[-1])
    deaf = [never_reads(port, n, "Count to 2999") for n in range(2)]
    assert process.process
    there = psutil.Process(process.process.pid)

    def held() -> int:
        return sum(
            each.status == "ESTABLISHED" and each.laddr.port == port
            for each in there.net_connections()
        )

    await until(lambda: held() == 2)
    await until(lambda: held() == 0)
    async with process.client() as client:
        while (await client.get("/health")).json()["runs"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
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
