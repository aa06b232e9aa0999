"""The finished service as a process of several workers, and their end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service import Client, events_of, running, text_of
from workshop.model import practice_model

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="it ends processes by POSIX signals"
)

PRICE = "What is the price of the soup?"
LONG = "Write 60 words"


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = practice_model()
    model.pace(ttft=0.1, per_token=0.05)
    folder = tmp_path_factory.mktemp("service")
    with running(model, folder, workers=2, WORKER_LEASE=2) as process:
        yield model, process


async def test_any_worker_serves_any_run(two_workers: Any) -> None:
    """Each request has a connection of its own, so either worker gets it."""
    model, process = two_workers
    meter = model.meter()

    async def one(thread: str) -> None:
        async with Client(base_url=process.url, timeout=30) as client:
            run, seen = await client.ask_and_leave(LONG, 5, thread)
        async with Client(base_url=process.url, timeout=30) as client:
            busy = await client.post(
                f"/threads/{thread}/runs", json={"message": "x"}
            )
            assert busy.status_code == 409
        async with Client(base_url=process.url, timeout=30) as client:
            seen += await client.resume(run, seen[-1].number)
            assert [e.number for e in seen] == [*range(1, len(seen) + 1)]
            assert seen[-1].name == "done"
            assert (await client.said(thread))[-1] == text_of(seen)

    await asyncio.gather(*(one(f"any{n}") for n in range(8)))
    assert (meter.read().requests, meter.cut_off) == (8, 0)


async def test_any_worker_stops_any_run(two_workers: Any) -> None:
    model, process = two_workers
    meter = model.meter()

    async def one(thread: str) -> None:
        async with Client(base_url=process.url, timeout=30) as client:
            run, seen = await client.ask_and_leave(LONG, 5, thread)
        async with Client(base_url=process.url, timeout=30) as client:
            assert (await client.delete(f"/runs/{run}")).status_code == 204
            seen += await client.resume(run, seen[-1].number)
            assert seen[-1].data["outcome"] == "stopped"

    await asyncio.gather(*(one(f"stop{n}") for n in range(8)))
    assert meter.read().cut_off == 8


async def test_the_log_has_neither_prompts_nor_keys(two_workers: Any) -> None:
    model, process = two_workers
    async with Client(base_url=process.url, timeout=30) as client:
        run = (await client.ask(PRICE, "log"))[0].data["run"]
    lines = process.said().splitlines()
    (line,) = (line for line in lines if run in line and line[0] == "{")
    assert json.loads(line)["end"] == "done"
    assert "soup" not in process.said()
    assert model.key not in process.said()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_restart_in_mid_answer(tmp_path: Path, how: int) -> None:
    """Its reader learns of it; what was answered before is still there."""
    model = practice_model()
    model.pace(ttft=0.1, per_token=0.05)
    seen = []
    with running(model, tmp_path, WORKER_LEASE=2) as process:
        async with Client(base_url=process.url, timeout=30) as client:
            before = await client.ask(PRICE)
            with pytest.raises(httpx2.TransportError):
                async with client.asking(LONG) as response:
                    async for event in events_of(response):
                        seen.append(event)
                        if len(seen) == 20:
                            process.stop(how)
        process.start(port=int(process.url.rsplit(":")[-1]))
        async with Client(base_url=process.url, timeout=30) as client:
            rest = await client.resume(seen[0].data["run"], seen[-1].number)
            assert rest[-1].data["code"] == "interrupted"
            said = await client.said()
            assert said[:3] == [PRICE, text_of(before), LONG]
            whole = text_of(seen + rest)
            assert said[3] and whole.startswith(said[3])
            assert (await client.ask(PRICE))[-1].name == "done"
