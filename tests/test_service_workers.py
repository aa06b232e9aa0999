"""The service's processes under what happens to processes.

Each test runs real processes by the README's command, above SQLite and above
a real PostgreSQL. What must hold is one sentence: the history of a thread is
a sequence of questions with what their readers saw.
"""

from __future__ import annotations

import asyncio
import os
import signal

import httpx2
import psutil
import pytest

from tests import service_place
from tests.service import Event, events_of, text_of, until
from tests.service_place import (
    LONG,
    NAME,
    PRICE,
    Place,
    agrees,
    never_reads,
    reads,
)

pytestmark = service_place.marks
store, place = service_place.store, service_place.place
# With SERVICE_TEST_LONG=1 the waits are as long as in the attack's report.
LONG_WAITS = "SERVICE_TEST_LONG" in os.environ
STOPPED, BLOCKS = (30, 16) if LONG_WAITS else (7, 4)  # seconds


# --- two workers of one command


async def test_any_worker_serves_and_stops_any_run(place: Place) -> None:
    """Each request has a connection of its own, so either worker gets it."""
    process = place.run(workers=2, resume_grace=100)
    meter = place.model.meter()

    async def begin(thread: str) -> tuple[str, list[Event]]:
        async with process.client() as client:
            begun = await client.ask_and_leave(LONG, 5, thread)
        async with process.client() as client:
            busy = await client.post(
                f"/threads/{thread}/runs", json={"message": "x"}
            )
            assert busy.status_code == 409
        return begun

    async def end(thread: str, run: str, seen: list[Event]) -> None:
        if thread.startswith("stop"):
            async with process.client() as client:
                assert (await client.delete(f"/runs/{run}")).status_code == 204
        async with process.client() as client:
            seen += await client.resume(run, seen[-1].number)
            assert [e.number for e in seen] == [*range(1, len(seen) + 1)]
            outcome = "stopped" if thread.startswith("stop") else "complete"
            assert seen[-1].data["outcome"] == outcome
            assert (await client.said(thread))[-1] == text_of(seen)

    for name, pace in ("stop", 1), ("any", 0.3):
        place.model.pace(per_token=pace)  # so that nobody is late
        threads = [f"{name}{number}" for number in range(4)]
        begun = await asyncio.gather(*map(begin, threads))
        pairs = zip(threads, begun, strict=True)
        await asyncio.gather(*(end(each, *more) for each, more in pairs))
    assert (meter.read().requests, meter.cut_off) == (8, 4)


async def test_a_reader_elsewhere_keeps_a_run_alive(place: Place) -> None:
    one, other = place.two(resume_grace=2)
    async with one.client() as here, other.client() as there:
        run, seen = await here.ask_and_leave("Write 100 words", 3)
        seen += await there.resume(run, seen[-1].number)
        assert seen[-1].data["outcome"] == "complete"


# --- A: nobody is taken for dead


async def test_a_blocked_loop_loses_nothing(place: Place) -> None:
    """A1: two tools block their loop, for longer together than the service's
    longest patience; others ask meanwhile."""
    meter = place.model.meter()
    one, other = place.two(agent="tests.agents:blocking", BLOCKS=BLOCKS)
    async with one.client() as here, other.client() as there:
        first = asyncio.create_task(reads(here, "a", PRICE))
        second = asyncio.create_task(reads(here, "b", PRICE))
        # Both models have asked for the tool.
        await until(lambda: meter.read().requests == 2)
        await until(lambda: meter.read().in_flight == 0)
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
    """SIGSTOP, for longer than the service's longest patience."""
    one, other = place.two()
    async with one.client() as here, other.client() as there:
        run, seen = await here.ask_and_leave(LONG, 5)
        one.send(signal.SIGSTOP)
        reading = asyncio.create_task(there.resume(run, seen[-1].number))
        await asyncio.sleep(STOPPED)
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
    other = place.prepared(shift)
    one.cookies = other.cookies
    async with one.client() as here, other.client() as there:
        asks = [reads(c, f"t{n}", LONG) for n, c in enumerate([here, there])]
        whole = await asyncio.gather(*asks)
        assert [seen[-1].name for seen in whole] == ["done"] * 2
        for client, text in (here, "one"), (there, "two"), (here, "three"):
            await client.ask(f"Say exactly: {text}", "both")
        said = await there.ask("What did I just say?", "both")
        assert "Say exactly: three" in text_of(said)
        run, seen = await there.ask_and_leave(LONG, 5, "dies")
        other.stop(signal.SIGKILL)
        rest = await here.resume(run, seen[-1].number)
        assert rest[-1].data["code"] == "interrupted"
        assert (await reads(here, "dies", NAME))[-1].name == "done"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_one_of_two_ends(place: Place, how: int) -> None:
    """Its readers are told elsewhere; a new question is taken at once."""
    one, other = place.two(resume_grace=100)
    async with one.client() as here, other.client() as there:
        before = await here.ask(PRICE, "t0")
        place.model.pace(per_token=0.5)
        asks = [here.ask_and_leave(LONG, 4, f"t{n}") for n in range(9)]
        runs = await asyncio.gather(*asks)
        one.stop(how)
        place.model.pace(per_token=0)
        for n, (run, seen) in enumerate(runs):
            rest = await there.resume(run, seen[-1].number)
            assert rest[-1].data["code"] == "interrupted"
            assert sum(e.name in ("done", "error") for e in rest) == 1
            turns = [(PRICE, before)] if n == 0 else []
            await agrees(there, f"t{n}", *turns, (LONG, seen + rest))
            more = await there.ask(NAME, f"t{n}")
            assert more[-1].name == "done"


async def test_one_of_a_command_s_workers_is_killed(place: Place) -> None:
    """uvicorn starts another; the readers come back, to whichever."""
    process = place.run(workers=2, resume_grace=100)
    meter = place.model.meter()
    place.model.pace(per_token=0.2)
    async with process.client() as client:
        asks = [
            asyncio.create_task(reads(client, f"t{n}", LONG)) for n in range(6)
        ]
        await until(lambda: meter.read().in_flight == 6)
        place.model.pace(per_token=0)
        assert process.process
        psutil.Process(process.process.pid).children()[-1].kill()
        for number, seen in enumerate(await asyncio.gather(*asks)):
            await agrees(client, f"t{number}", (LONG, seen))
            assert (await client.ask(NAME, f"t{number}"))[-1].name == "done"


@pytest.mark.parametrize("read", [2, 20])
async def test_all_die_and_come_back(place: Place, read: int) -> None:
    """A first token is seen before it is written down."""
    process = place.run(workers=2)
    async with process.client() as client:
        before = await client.ask(PRICE)
        run, seen = await client.ask_and_leave(LONG, read)
    process.stop(signal.SIGKILL)
    process.start(workers=2, port=int(process.url.rsplit(":")[-1]))
    async with process.client() as client:
        rest = await client.resume(run, seen[-1].number)
        assert rest[-1].data["code"] == "interrupted"
        await agrees(client, "t", (PRICE, before), (LONG, seen + rest))
        assert (await client.ask(NAME))[-1].name == "done"


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
            meter = place.model.meter()
            for number in range(20):
                deaf.append(never_reads(port, number, "Count to 2000"))
            await until(lambda: meter.read().requests == 20)
            process.send(signal.SIGTERM)
            seen += [event async for event in stream]
        assert seen[-1].data["code"] == "interrupted"
        assert process.process
        # Within two seconds on an idle machine. As it was, it never ended.
        await asyncio.to_thread(process.process.wait, 45)
        with pytest.raises(httpx2.TransportError):
            await client.get("/health")
    for sock in deaf:
        sock.close()
    process.start(workers, port)
    async with process.client() as client:  # nothing that was seen is lost
        after = await reads(client, "t", NAME)
        await agrees(client, "t", ("Write 500 words", seen), (NAME, after))
    assert "Traceback" not in process.said()


@pytest.mark.parametrize("agent", ["deaf", "blocking"])
async def test_an_end_that_a_tool_does_not_hear_of(
    place: Place, agent: str
) -> None:
    """A tool in a thread, and one that blocks the loop, for minutes."""
    process = place.run(agent=f"tests.agents:{agent}", BLOCKS=300)
    meter = place.model.meter()
    async with process.client() as client:
        asking = asyncio.create_task(reads(client, "t", PRICE))
        await until(lambda: meter.read().requests == 1)
        await until(lambda: meter.read().in_flight == 0)
        await asyncio.sleep(1)
        process.send(signal.SIGTERM)
        assert process.process
        await asyncio.to_thread(process.process.wait, 45)
        asking.cancel()
    process.start(port=int(process.url.rsplit(":")[-1]))
    async with process.client() as client:
        await agrees(client, "t")
