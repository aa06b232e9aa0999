"""The service on two machines that share a database.

The machines are network namespaces. Each has two cables: one to its readers
and the model, one to PostgreSQL, and a test pulls the second.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.postgres import NoPostgres, Postgres, postgres
from tests.service import Client, Process, events_of, text_of
from tests.service_place import LONG, NAME, agrees
from workshop.model import LOOPBACK, Model, practice_model

pytestmark = [pytest.mark.timeout(400), pytest.mark.long]
NET = "10.231"  # .11.x and .12.x: readers; .21.x and .22.x: the database


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """Two names of namespaces, with their cables."""
    if os.name == "nt" or os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    with ExitStack() as stack:
        names = []
        try:
            for number in "12":
                name = f"service{number}"
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
                names.append(name)
                for cable in f"front{number}", f"data{number}":
                    net = f"{NET}.{'1' if cable[0] == 'f' else '2'}{number}"
                    ip("link", "add", cable, "type", "veth", "peer", "e")
                    ip("link", "set", "e", "netns", name, "name", cable)
                    ip("addr", "add", f"{net}.1/24", "dev", cable)
                    ip("link", "set", cable, "up")
                    inside = ("-n", name)
                    ip(*inside, "addr", "add", f"{net}.2/24", "dev", cable)
                    ip(*inside, "link", "set", cable, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no namespaces here: {error.stderr.decode()}")
        yield names


@asynccontextmanager
async def doors(model: Model, hosts: list[str]) -> AsyncIterator[list[int]]:
    """Let machines reach the model, which listens to this one alone."""
    port = int(re.search(r":(\d+)", model.base_url)[1])
    tasks = set()

    async def pump(source: asyncio.StreamReader, target: object) -> None:
        while piece := await source.read(65536):
            target.write(piece)
        target.close()

    async def through(reader: object, writer: object) -> None:
        tasks.add(asyncio.current_task())
        inner, outer = await asyncio.open_connection(LOOPBACK, port)
        await asyncio.gather(pump(reader, outer), pump(inner, writer))

    servers = [await asyncio.start_server(through, host, 0) for host in hosts]
    yield [each.sockets[0].getsockname()[1] for each in servers]
    for task in tasks:
        task.cancel()
    for each in servers:
        each.close()


def a_server(stack: ExitStack, hosts: list[str]) -> Postgres:
    """A PostgreSQL that these addresses of this machine lead to."""
    try:
        server = stack.enter_context(postgres())
    except NoPostgres:
        pytest.skip("PostgreSQL is not installed")
    server.stop()
    with Path(server.folder, "data", "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NET}.0.0/16 trust\n")
    server.start(",".join([LOOPBACK, *hosts]))
    return server


async def test_a_machine_that_loses_its_network(
    machines: list[str], tmp_path: Path
) -> None:
    """Its readers see more than it can write down, and are told in the end
    what is kept. The other machine goes on with its threads."""
    with ExitStack() as stack:
        server = a_server(stack, [f"{NET}.21.1", f"{NET}.22.1"])
        name = server.database().rsplit("/")[-1]
        model = practice_model()
        hosts = [f"{NET}.11.1", f"{NET}.12.1"]
        async with doors(model, hosts) as ports:
            processes = []
            for number, machine in enumerate(machines, 1):
                at = f"{NET}.2{number}.1:{server.port}/{name}"
                process = Process(
                    model,
                    tmp_path,
                    db=f"postgresql://course@{at}",
                    hosts="*",
                    resume_grace=60,
                )
                process.host = f"{NET}.1{number}.2"
                process.within = ["ip", "netns", "exec", machine]
                process.environment["OPENAI_BASE_URL"] = (
                    f"http://{hosts[number - 1]}:{ports[number - 1]}/v1"
                )
                stack.callback(process.stop, signal.SIGKILL)
                await asyncio.to_thread(process.start)
                processes.append(process)
            one, other = processes
            other.cookies = one.cookies
            async with one.client() as here, other.client() as there:
                await the_network_goes(model, here, there)


async def the_network_goes(model: Model, here: Client, there: Client) -> None:
    before = {n: await here.ask(NAME, f"t{n}") for n in range(2)}
    model.pace(ttft=0, per_token=0.3)  # each answer takes a while
    async with (
        here.asking(LONG, "t0") as first,
        here.asking(LONG, "t1") as second,
        there.asking(LONG, "mine") as mine,
    ):
        streams = [events_of(each) for each in (first, second, mine)]
        seen = [[await anext(each) for _ in range(3)] for each in streams]
        ip("link", "set", "data1", "down")
        for events, stream in zip(seen, streams, strict=True):
            events += [await anext(stream) for _ in range(4)]
        new = await here.post("/threads/new/runs", json={"message": NAME})
        assert new.status_code == 503
        assert (await here.get("/ready")).status_code == 503
        # The server finds that the machine is gone, and the other takes over.
        run = first.headers["X-Run-Id"]
        taken = await there.resume(run, 0)
        assert taken[-1].data["code"] == "interrupted"
        model.pace(per_token=0)
        more = await there.ask(NAME, "t0")
        ip("link", "set", "data1", "up")
        for events, stream in zip(seen, streams, strict=True):
            events += [event async for event in stream]
    names = [events[-1].name for events in seen]
    assert names == ["error", "error", "done"]
    for client in here, there:
        turns = [(NAME, before[0]), (LONG, seen[0])]
        await agrees(client, "t0", *turns, (NAME, more))
        await agrees(client, "t1", (NAME, before[1]), (LONG, seen[1]))
        await agrees(client, "mine", (LONG, seen[2]))
    assert text_of(taken) == text_of(seen[0])
    for client in here, there:
        assert (await client.ask(NAME, "t1"))[-1].name == "done"
