"""The store in a file, for one process or several on one machine."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver

from service.store import (
    TABLES,
    Memory,
    Rows,
    Statement,
    Unavailable,
    by_task,
    place_of,
)

TICK = 0.1  # seconds between two looks at a run of another process
PATIENCE = 2  # seconds that a write waits for another process


class Saver(SqliteSaver):
    """Writes within the transaction that is open."""

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        yield self.conn.cursor()


class Ticks:
    """A file does not ring: look again a bit later."""

    rings = 0

    async def wait(self, rings: int, seconds: float) -> None:
        await asyncio.sleep(TICK)


class Line:
    """A connection and its thread."""

    def __init__(self, path: str) -> None:
        self.thread = ThreadPoolExecutor(1, "sqlite")
        self.db = sqlite3.connect(
            path, timeout=10, check_same_thread=False, isolation_level=None
        )
        self.saver = Saver(self.db)

    async def do(self, work: Callable[..., Any], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self.thread, work, *args)
        except sqlite3.Error as error:
            raise Unavailable(str(error)) from error

    def close(self) -> None:
        self.thread.shutdown()
        self.db.close()


class Sqlite:
    """A `Database`: one thread writes, another reads meanwhile."""

    def __init__(self, path: str) -> None:
        self.path = path
        # Whoever may read the file may read what people said.
        Path(path).touch(0o600)
        self.worker = secrets.randbits(31)
        self.lock = FileLock(self._lock_of(self.worker), mode=0o600)
        self.lock.acquire(blocking=False)
        self.writer = Line(path)
        self.writer.saver.setup()  # it turns write-ahead logging on
        self.writer.db.executescript(
            TABLES.format(serial="INTEGER PRIMARY KEY AUTOINCREMENT")
        )
        self.writer.db.execute("PRAGMA synchronous = NORMAL")
        self.writer.db.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
        self.reader = Line(path)
        self.reader.saver.is_setup = True
        self.reader.db.execute("PRAGMA query_only = 1")

    def _lock_of(self, worker: int) -> str:
        return f"{self.path}.{worker}.lock"

    def close(self) -> None:
        self.reader.close()
        self.writer.close()
        self.lock.release()
        Path(self.lock.lock_file).unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self.writer.db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    async def write(self, *statements: Statement) -> list[Rows]:
        def work() -> list[Rows]:
            with self._transaction() as db:
                return [
                    db.execute(sql.replace("{lock}", ""), values).fetchall()
                    for sql, values in statements
                ]

        return await self.writer.do(work)

    async def read(self, sql: str, *values: Any) -> Rows:
        def work() -> Rows:
            return self.reader.db.execute(sql, values).fetchall()

        return await self.reader.do(work)

    async def commit(
        self, fence: Statement, then: Sequence[Statement], memory: Memory
    ) -> bool:
        def work() -> bool:
            with self._transaction() as db:
                if not db.execute(*fence).fetchall():
                    return False
                for statement in then:
                    db.execute(*statement)
                saver = self.writer.saver
                for thread, kept in memory.items():
                    saver.delete_thread(thread)
                    for each in kept:
                        self._put(saver, thread, each)
                return True

        return await self.writer.do(work)

    def _put(self, saver: Saver, thread: str, kept: CheckpointTuple) -> None:
        versions = kept.checkpoint["channel_versions"]
        config = saver.put(
            place_of(thread, kept), kept.checkpoint, kept.metadata, versions
        )
        for task, writes in by_task(kept).items():
            saver.put_writes(config, writes, task)

    async def load(self, thread: str) -> list[CheckpointTuple]:
        config: Any = {"configurable": {"thread_id": thread}}
        return await self.reader.do(
            lambda: list(self.reader.saver.list(config))
        )

    async def is_alive(self, worker: int) -> bool:
        lock = FileLock(self._lock_of(worker), mode=0o600)
        try:
            with lock.acquire(blocking=False):
                os.unlink(lock.lock_file)
                return False
        except Timeout:
            return True

    def bell(self, run: str) -> Ticks:
        return Ticks()

    def ring(self, run: str) -> list[Statement]:
        return []


@asynccontextmanager
async def open_sqlite(path: str) -> AsyncIterator[Sqlite]:
    """Open the file; `:memory:` is one that goes with the process."""
    with tempfile.TemporaryDirectory() as folder:
        if path == ":memory:":
            path = os.path.join(folder, "service.db")
        try:
            db = await asyncio.to_thread(Sqlite, path)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"{path}: {error}") from error
        try:
            yield db
        finally:
            db.close()
