"""Lesson 15's lines for PostgreSQL, on a real server.

The lesson shows them and does not run them: learners have no server. Here
they run as they stand there, in an app as lesson 14 has it.
"""

import ast
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

import httpx2
import openai
import psycopg
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from psycopg_pool import AsyncConnectionPool

from tools.build import ROOT, cells_of
from workshop.model import Model, practice_model
from workshop.serve import serve

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="psycopg needs another event loop there"
)

FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
MANY = 12  # more than a pool has connections


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Start a PostgreSQL of our own; give where it answers."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    places = os.pathsep.join([os.environ["PATH"], *map(str, debian)])
    control = shutil.which("pg_ctl", path=places)
    if control is None:
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory() as folder:
        who: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses that
            shutil.chown(folder, "postgres", "postgres")
            who = {"user": "postgres", "group": "postgres", "extra_groups": []}

        def pg_ctl(action: str, options: str) -> None:
            data = ["-D", f"{folder}/data", "-l", f"{folder}/log", "-s"]
            subprocess.run(
                [control, action, *data, "-o", options],
                check=True,
                cwd=folder,
                **who,
            )

        pg_ctl("initdb", "-A trust -U course -E UTF8 --locale=C --no-sync")
        pg_ctl(
            "start",
            f"-c listen_addresses= -c fsync=off -k {folder} "
            "-c max_connections=30 -c idle_in_transaction_session_timeout=200",
        )
        try:
            yield f"host={folder} user=course dbname=postgres"
        finally:
            pg_ctl("stop", "")


@pytest.fixture
def model() -> Model:
    quick = practice_model()
    quick.pace(ttft=0.05, per_token=0.002)
    return quick


@pytest.fixture
async def llm(model: Model) -> AsyncIterator[ChatOpenAI]:
    """A client of our own: the usual one stays with its first event loop."""
    async with openai.DefaultAsyncHttpxClient() as client:
        yield ChatOpenAI(
            model=model.name,
            base_url=model.base_url,
            api_key=model.key,
            http_async_client=client,
            stream_chunk_timeout=None,
        )


def cells(lesson: str) -> list[Any]:
    return cells_of(ROOT / f"source/lessons/{lesson}.py", "notebooks")


def function(lesson: str, name: str, names: dict[str, Any]) -> None:
    """Define a function of a lesson among the names."""
    for cell in cells(lesson):
        if cell.cell_type == "code" and f"def {name}(" in cell.source:
            for node in ast.parse(cell.source).body:
                if getattr(node, "name", None) == name:
                    exec(ast.unparse(node), names)


def lesson(url: str, llm: ChatOpenAI) -> dict[str, Any]:
    """A worker's names: those of the lessons, and those for PostgreSQL."""
    (fence,) = [
        fence
        for cell in cells("15_shared_memory")
        for fence in FENCE.findall(cell.source)
        if "AsyncPostgresSaver" in fence
    ]
    names = {
        "URL": url,
        "aclosing": aclosing,
        "asyncio": asyncio,
        "asynccontextmanager": asynccontextmanager,
        "create_agent": create_agent,
        "llm": llm,
        "turns": WeakValueDictionary(),
    }
    for name in "on", "say":
        function("14_async_memory", name, names)
    function("15_shared_memory", "turn_of", names)
    exec(fence, names)
    return names


def worker(names: dict[str, Any]) -> FastAPI:
    """An app with the lesson's saver and lock."""
    app = FastAPI(lifespan=names["lifespan"])

    async def answer(thread: str, text: str) -> AsyncIterator[str]:
        async with names["postgres_lock"](app.state.locks, thread):
            async for word in names["say"](app.state.chat, thread, text):
                yield word

    @app.post("/threads/{thread}")
    async def talk(thread: str, text: str) -> StreamingResponse:
        return StreamingResponse(answer(thread, text))

    return app


@pytest.fixture
async def names(url: str, llm: ChatOpenAI) -> dict[str, Any]:
    """The names of a worker whose tables are there."""
    names = lesson(url, llm)
    await names["migrate"]()
    return names


@asynccontextmanager
async def two_workers(
    url: str, llm: ChatOpenAI
) -> AsyncIterator[list[tuple[dict[str, Any], Any]]]:
    """Names and the state of the app, for each of two workers."""
    async with AsyncExitStack() as stack:
        workers = []
        for _ in range(2):
            names, app = lesson(url, llm), FastAPI()
            await stack.enter_async_context(names["lifespan"](app))
            workers.append((names, app.state))
        yield workers


def held(
    worker: tuple[dict[str, Any], Any], thread: str
) -> AbstractAsyncContextManager[None]:
    names, state = worker
    return names["postgres_lock"](state.locks, thread)


@asynccontextmanager
async def admin(url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(
        url, autocommit=True
    ) as connection:
        yield connection


async def one(connection: psycopg.AsyncConnection, query: str) -> Any:
    cursor = await connection.execute(query)
    row = await cursor.fetchone()
    return row[0]


async def test_the_app_remembers_after_a_restart(names, url, llm):
    thread = uuid4().hex
    said = []
    for text in "My name is Eve", "What is my name?":
        app = worker(lesson(url, llm))
        async with serve(app) as site, httpx2.AsyncClient() as client:
            path = f"{site}/threads/{thread}"
            said.append((await client.post(path, params={"text": text})).text)
    assert said == ["Nice to meet you, Eve.", "Your name is Eve."]


async def test_two_workers_keep_all_messages_of_a_thread(
    names, url, model, llm
):
    """More turns wait than a pool has connections, and the one whose turn
    it is still gets one."""
    thread = uuid4().hex
    app = worker(names)
    async with (
        serve(app) as first,
        serve(worker(lesson(url, llm))) as second,
        httpx2.AsyncClient(timeout=30) as client,
    ):
        posts = []
        for number in range(MANY):
            site = (first, second)[number % 2]
            path = f"{site}/threads/{thread}"
            posts.append(client.post(path, params={"text": f"Table {number}"}))
        with model.meter() as meter:
            await asyncio.gather(*posts)
        kept = await app.state.chat.aget_state(on(thread))
    assert len(kept.values["messages"]) == 2 * MANY
    assert meter.peak_in_flight == 1


async def test_the_lock_is_freed_by_an_error_and_by_a_cancel(names, url, llm):
    order = []

    async def turn(worker: Any, name: str) -> None:
        async with held(worker, "1"):
            order.append(name)
            await asyncio.sleep(0.3)
            if name == "fails":
                raise ZeroDivisionError

    async with two_workers(url, llm) as (one_worker, other):
        first = asyncio.create_task(turn(one_worker, "fails"))
        await asyncio.sleep(0.1)
        waiting = []
        for worker_ in one_worker, other:
            task = asyncio.create_task(turn(worker_, "is cancelled"))
            waiting.append(task)
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
        with pytest.raises(ZeroDivisionError):
            await first
        running = asyncio.create_task(turn(one_worker, "is stopped"))
        await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.wait([running])
        await asyncio.wait_for(turn(other, "goes on"), 120)
    assert order == ["fails", "is stopped", "goes on"]


@pytest.mark.parametrize("after", range(6))
async def test_a_try_that_is_cancelled_leaves_no_lock(names, url, llm, after):
    """After any number of turns of the loop."""
    async with two_workers(url, llm) as (mine, other):

        async def hold() -> None:
            async with held(mine, "x"):
                await asyncio.sleep(60)

        task = asyncio.create_task(hold())
        for _ in range(after * 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(120), held(other, "x"):
            pass


async def test_a_worker_that_dies_gives_its_locks_back(names, url, llm):
    async with two_workers(url, llm) as (mine, other), admin(url) as server:
        async with held(other, "other thread"):
            pass
        holding = held(mine, "1")
        await holding.__aenter__()
        pid = mine[1].locks.info.backend_pid
        await one(server, f"SELECT pg_terminate_backend({pid})")
        async with asyncio.timeout(120), held(other, "1"):
            pass


async def test_who_waits_takes_no_connection(names, url, llm):
    """60 messages wait, and the server allows 30 connections."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'course'"
    async with two_workers(url, llm) as (mine, other), admin(url) as server:

        async def turn(thread: str) -> None:
            async with held(mine, thread):
                pass

        async with AsyncExitStack() as stack:
            for number in range(60):
                lock = held(other, f"thread {number}")
                await stack.enter_async_context(lock)
            before = await one(server, count)
            waiting = [
                asyncio.create_task(turn(f"thread {number}"))
                for number in range(60)
            ]
            await asyncio.wait(waiting, timeout=0.5)
            assert not any(task.done() for task in waiting)
            assert await one(server, count) <= before
        await asyncio.gather(*waiting)


async def test_the_lock_holds_no_transaction_open(names, url, llm):
    """The server ends one that is idle for 200 ms."""
    async with two_workers(url, llm) as (mine, other), admin(url) as server:
        async with held(mine, "1"):
            await asyncio.sleep(0.5)
            late = asyncio.create_task(held(other, "1").__aenter__())
            await asyncio.wait([late], timeout=0.5)
            assert not late.done()
            state = await one(
                server,
                "SELECT state FROM pg_stat_activity WHERE pid = "
                f"{mine[1].locks.info.backend_pid}",
            )
            assert state == "idle"
        await asyncio.wait_for(late, 120)


async def test_a_saver_uses_one_connection_at_a_time(names, url):
    taken = peak = 0
    async with AsyncConnectionPool(url, kwargs=names["OPTIONS"]) as pool:
        connection = pool.connection

        @asynccontextmanager
        async def counted() -> AsyncIterator[psycopg.AsyncConnection]:
            nonlocal taken, peak
            async with connection() as given:
                taken += 1
                peak = max(peak, taken)
                yield given
                taken -= 1

        pool.connection = counted
        saver = AsyncPostgresSaver(pool)
        reads = [saver.aget_tuple(on(str(number))) for number in range(50)]
        await asyncio.gather(*reads)
    assert peak == 1


async def test_pruning_keeps_the_newest(names, url, llm):
    app = FastAPI()
    async with names["lifespan"](app):
        saver, thread = app.state.chat.checkpointer, uuid4().hex
        for text in "My name is Ada", "Hello":
            async for _ in names["say"](app.state.chat, thread, text):
                pass
        await saver.aprune([thread])
        left = [found async for found in saver.alist(on(thread))]
        said = names["say"](app.state.chat, thread, "What is my name?")
        assert "".join([word async for word in said]) == "Your name is Ada."
    assert len(left) == 1


async def test_a_pool_survives_what_ends_one_connection(names, url, llm):
    app = FastAPI()
    async with (
        names["lifespan"](app),
        AsyncPostgresSaver.from_conn_string(url) as single,
    ):
        pooled = app.state.chat.checkpointer
        for saver in pooled, single:
            assert await saver.aget_tuple(on("nobody")) is None
        async with await psycopg.AsyncConnection.connect(url) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'course' AND pid <> pg_backend_pid()"
            )
        assert await pooled.aget_tuple(on("nobody")) is None
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError):
                await single.aget_tuple(on("nobody"))


# --- what holds for each saver


@asynccontextmanager
async def sqlite(
    url: str, llm: ChatOpenAI
) -> AsyncIterator[BaseCheckpointSaver]:
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        yield saver


@asynccontextmanager
async def one_connection(
    url: str, llm: ChatOpenAI
) -> AsyncIterator[BaseCheckpointSaver]:
    async with AsyncPostgresSaver.from_conn_string(url) as saver:
        await saver.setup()
        yield saver


@asynccontextmanager
async def pool(
    url: str, llm: ChatOpenAI
) -> AsyncIterator[BaseCheckpointSaver]:
    app, names = FastAPI(), lesson(url, llm)
    await names["migrate"]()
    async with names["lifespan"](app):
        yield app.state.chat.checkpointer


@pytest.fixture(params=[sqlite, one_connection, pool])
async def saver(request, url, llm):
    async with request.param(url, llm) as opened:
        yield opened


async def test_two_conversations_at_once(saver, url, model, llm):
    names = lesson(url, llm)
    chat = create_agent(llm, [], checkpointer=saver)

    async def talk(guest: str) -> str:
        thread = uuid4().hex
        for text in f"My name is {guest}", "What is my name?":
            said = [word async for word in names["say"](chat, thread, text)]
        return "".join(said)

    model.pace(ttft=1, per_token=0)  # the second comes while the first waits
    with model.meter() as meter:
        said = await asyncio.gather(talk("Ada"), talk("Eve"))
    assert said == ["Your name is Ada.", "Your name is Eve."]
    assert meter.peak_in_flight == 2


async def test_a_run_that_was_cut_off_goes_on(saver, url, model, llm):
    def price(dish: str) -> int:
        """Look up the price of a dish."""
        return 9

    names, thread = lesson(url, llm), on(uuid4().hex)
    waiter = create_agent(llm, [price], checkpointer=saver)
    with model.meter() as meter:
        answer = names["say"](
            waiter,
            thread["configurable"]["thread_id"],
            "What is the price of the soup?",
        )
        async with aclosing(answer):
            await anext(answer)
        state = await waiter.aget_state(thread)
        types = [message.type for message in state.values["messages"]]
        assert (types, state.next) == (["human", "ai", "tool"], ("model",))
        updates = [u async for u in waiter.astream(None, thread)]
    assert [list(update) for update in updates] == [["model"]]
    assert meter.requests == 3
    history = [state async for state in waiter.aget_state_history(thread)]
    assert [s.metadata["step"] for s in history] == [3, 2, 1, 0, -1]


async def test_a_sync_call_is_refused(saver, llm):
    chat = create_agent(llm, [], checkpointer=saver)
    with pytest.raises(asyncio.InvalidStateError, match="Synchronous calls"):
        chat.get_state(on("1"))


def on(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}}
