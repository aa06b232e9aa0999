"""Lesson 14's lines for PostgreSQL, on a real server.

The lesson shows them and does not run them: learners have no server. Here
they run as they stand there, beside the cells that they belong to.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import openai
import psycopg
import pytest
from fastapi import FastAPI
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from tools.build import ROOT, cells_of
from workshop.model import Model, practice_model
from workshop.serve import serve

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="psycopg needs another event loop there"
)

CELLS = cells_of(ROOT / "source/lessons/14_async_memory.py", "notebooks")
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
        pg_ctl("start", f"-c listen_addresses= -c fsync=off -k {folder}")
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


def lesson(url: str, llm: ChatOpenAI) -> dict[str, Any]:
    """What the lesson defines, its lines for PostgreSQL included."""
    fences = [f for cell in CELLS for f in FENCE.findall(cell.source)]
    (fence,) = [f for f in fences if "AsyncPostgresSaver" in f]
    names = {
        "URL": url,
        "aclosing": aclosing,
        "asynccontextmanager": asynccontextmanager,
        "create_agent": create_agent,
        "llm": llm,
        "nullcontext": nullcontext,
    }
    for part in "async def say", "app = FastAPI":
        (cell,) = [c.source for c in CELLS if part in c.source]
        exec(cell, names)
    exec(fence, names)
    return names


def worker(names: dict[str, Any], lock: str = "postgres_lock") -> FastAPI:
    """The app of the lesson, with its saver and lock for PostgreSQL."""
    names["file_lock"] = names[lock]
    names["app"] = FastAPI(lifespan=names["lifespan"])
    names["app"].post("/threads/{thread}")(names["talk"])
    return names["app"]


async def test_the_app_remembers_after_a_restart(url, llm):
    thread = uuid4().hex
    said = []
    for text in "My name is Eve", "What is my name?":
        app = worker(lesson(url, llm))
        async with serve(app) as site, httpx2.AsyncClient() as client:
            path = f"{site}/threads/{thread}"
            said.append((await client.post(path, params={"text": text})).text)
    assert said == ["Nice to meet you, Eve.", "Your name is Eve."]


@pytest.mark.parametrize("lock", ["postgres_lock", "nullcontext"])
async def test_two_workers_keep_all_messages_of_a_thread(url, llm, lock):
    """More turns wait than a pool has connections, and the one whose turn
    it is still gets one."""
    thread = uuid4().hex
    names = lesson(url, llm)
    async with (
        serve(worker(names, lock)) as one,
        serve(worker(lesson(url, llm), lock)) as two,
        httpx2.AsyncClient(timeout=30) as client,
    ):
        await asyncio.gather(
            *(
                client.post(
                    f"{site}/threads/{thread}", params={"text": f"Table {n}"}
                )
                for n, site in enumerate([one, two] * (MANY // 2))
            )
        )
        kept = await names["app"].state.chat.aget_state(on(thread))
    count = len(kept.values["messages"])
    assert (count == 2 * MANY) == (lock == "postgres_lock")


async def test_the_lock_is_freed_by_an_error_and_by_a_cancel(url, llm):
    lock, order = lesson(url, llm)["postgres_lock"], []

    async def turn(name: str) -> None:
        async with lock("1"):
            order.append(name)
            await asyncio.sleep(0.3)
            if name == "fails":
                raise ZeroDivisionError

    first = asyncio.create_task(turn("fails"))
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(turn("is cancelled"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not first.done()
    with pytest.raises(ZeroDivisionError):
        await first
    await turn("goes on")
    assert order == ["fails", "goes on"]


async def test_a_pool_survives_what_ends_one_connection(url, llm):
    names = lesson(url, llm)
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
    app = FastAPI()
    async with lesson(url, llm)["lifespan"](app):
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
