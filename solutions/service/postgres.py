"""The store in PostgreSQL, for any number of processes and machines.

A worker has one connection of its own: it holds the advisory lock that says
that the worker is alive, and it hears notifications. So it needs a session:
behind a pooler in transaction mode, give SERVICE_DB the server's own address.
All else goes through a pool, in transactions that wait for nobody.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakValueDictionary

import psycopg
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from service.store import (
    TABLES,
    Memory,
    Rows,
    Statement,
    Unavailable,
    by_task,
    place_of,
)

SPACE = 1397900614  # of our advisory locks; the other half is the worker
LINK: dict[str, Any] = {  # a network that is gone is noticed within 15 s
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3"
    " -c tcp_keepalives_count=3 -c idle_session_timeout=0"
    " -c idle_in_transaction_session_timeout=60s",
    "autocommit": True,
    "prepare_threshold": None,  # a pooler may change the server's end
}


class Ring:
    """A bell that notifications ring."""

    def __init__(self) -> None:
        self.rings = 0
        self.changed = asyncio.Event()

    def ring(self) -> None:
        self.rings += 1
        self.changed.set()
        self.changed.clear()

    async def wait(self, rings: int, seconds: float) -> None:
        if self.rings == rings:
            try:
                async with asyncio.timeout(seconds):
                    await self.changed.wait()
            except TimeoutError:
                pass


@contextmanager
def told() -> Iterator[None]:
    """Say in one word of our own that the database cannot be used."""
    try:
        yield
    except (psycopg.Error, PoolTimeout, OSError) as error:
        raise Unavailable(f"{type(error).__name__}") from error


class Postgres:
    """A `Database`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.worker = secrets.randbits(31)
        self.bells: WeakValueDictionary[str, Ring] = WeakValueDictionary()
        self.session: psycopg.AsyncConnection[Any] | None = None
        self.pool = AsyncConnectionPool(
            url,
            kwargs=LINK,
            min_size=2,
            max_size=10,
            timeout=5,
            open=False,
            check=AsyncConnectionPool.check_connection,
        )

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self.url, **LINK)

    async def set_up(self) -> None:
        """Make the tables; one worker at a time."""
        async with await self._connect() as db:
            # To wait in pg_advisory_lock would hold up the one who has it:
            # the saver makes an index CONCURRENTLY.
            lock = "SELECT pg_try_advisory_lock(%s, -1)"
            while not (await _all(db, lock, [SPACE]))[0][0]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await AsyncPostgresSaver(db).setup()  # type: ignore[arg-type]
            serial = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            await db.execute(TABLES.format(serial=serial))
        await self._hold()

    async def _hold(self) -> None:
        """Take the lock that says that this worker is alive, and listen."""
        db = await self._connect()
        lock, mine = (
            "SELECT pg_try_advisory_lock(%s, %s)",
            [SPACE, self.worker],
        )
        while not (await _all(db, lock, mine))[0][0]:  # noqa: ASYNC110
            # The server has not noticed yet that our last session is gone.
            await asyncio.sleep(0.5)
        await db.execute("LISTEN service")
        self.session = db

    async def listen(self) -> None:
        """Ring the bells; open the session anew whenever it breaks."""
        while True:
            try:
                if self.session is None:
                    await self._hold()
                assert self.session
                async for note in self.session.notifies():
                    if bell := self.bells.get(note.payload):
                        bell.ring()
            except (psycopg.Error, OSError):
                if self.session:
                    await self.session.close()
                self.session = None
                await asyncio.sleep(0.5)

    async def write(self, *statements: Statement) -> list[Rows]:
        with told():
            async with self.pool.connection() as db, db.transaction():
                async with db.pipeline():
                    cursors = [
                        await db.execute(_sql(sql), values)
                        for sql, values in statements
                    ]
                return [
                    await each.fetchall() if each.description else []
                    for each in cursors
                ]

    async def read(self, sql: str, *values: Any) -> Rows:
        with told():
            async with self.pool.connection() as db:
                return await _all(db, _sql(sql), values)

    async def commit(
        self, fence: Statement, then: Sequence[Statement], memory: Memory
    ) -> bool:
        with told():
            async with self.pool.connection() as db, db.transaction():
                if not await _all(db, _sql(fence[0]), fence[1]):
                    return False
                for sql, values in then:
                    await db.execute(_sql(sql), values)
                # One of our own: a shared one lets in one call at a time.
                saver = AsyncPostgresSaver(db)  # type: ignore[arg-type]
                for thread, kept in memory.items():
                    await saver.adelete_thread(thread)
                    for each in kept:
                        await self._put(saver, thread, each)
                return True

    async def _put(
        self, saver: AsyncPostgresSaver, thread: str, kept: CheckpointTuple
    ) -> None:
        versions = kept.checkpoint["channel_versions"]
        config = await saver.aput(
            place_of(thread, kept), kept.checkpoint, kept.metadata, versions
        )
        for task, writes in by_task(kept).items():
            await saver.aput_writes(config, writes, task)

    async def load(self, thread: str) -> list[CheckpointTuple]:
        config: Any = {"configurable": {"thread_id": thread}}
        with told():
            async with self.pool.connection() as db:
                saver = AsyncPostgresSaver(db)  # type: ignore[arg-type]
                return [each async for each in saver.alist(config)]

    async def is_alive(self, worker: int) -> bool:
        held = await self.read(
            "SELECT 1 FROM pg_locks JOIN pg_database ON oid = database "
            "WHERE locktype = 'advisory' AND classid = ? AND objid = ? "
            "AND datname = current_database()",
            *(SPACE, worker),
        )
        return bool(held)

    def bell(self, run: str) -> Ring:
        return self.bells.setdefault(run, Ring())

    def ring(self, run: str) -> list[Statement]:
        return [("SELECT pg_notify('service', ?)", (run,))]


def _sql(sql: str) -> Any:
    return sql.replace("?", "%s").replace("{lock}", "FOR SHARE")


async def _all(db: Any, sql: str, values: Sequence[Any]) -> Rows:
    return await (await db.execute(sql, values)).fetchall()


@asynccontextmanager
async def open_postgres(url: str) -> AsyncIterator[Postgres]:
    db = Postgres(url)
    with told():
        await db.set_up()
    async with db.pool:
        listening = asyncio.create_task(db.listen())
        try:
            yield db
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            if db.session:
                await db.session.close()
