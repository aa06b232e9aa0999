"""The store in a file, for one process or several on one machine."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from langgraph.checkpoint.sqlite import SqliteSaver

from service.store import TABLES, Db, Store, Unavailable

BUSY = 2  # seconds that a write waits for another process
# Threads that may wait for the connection. Who waits there instead of in the
# event loop is served while the loop is busy with the tokens of others.
QUEUED = 64


class Saver(SqliteSaver):
    """Writes within the transaction that is open."""

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        yield self.conn.cursor()


class Sqlite(Store):
    """One connection writes, another reads meanwhile."""

    api = sqlite3
    look = 0.1  # a file does not ring

    def __init__(self, path: str) -> None:
        super().__init__(threads=QUEUED)
        self.path = path
        # Whoever may read the file may read what people said.
        Path(path).touch(0o600)
        self.lock = self._lock_of(self.worker)
        self.lock.acquire(blocking=False)
        self.savers = (Saver(self._connect()), Saver(self._connect()))
        reader, writer = self.savers
        writer.setup()  # it turns write-ahead logging on
        writer.conn.executescript(
            TABLES.format(serial="INTEGER PRIMARY KEY AUTOINCREMENT")
        )
        writer.conn.execute("PRAGMA synchronous = NORMAL")
        writer.conn.execute(f"PRAGMA busy_timeout = {BUSY * 1000}")
        reader.is_setup = True
        reader.conn.execute("PRAGMA query_only = 1")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path,
            timeout=10,
            check_same_thread=False,
            isolation_level=None,
        )

    def _lock_of(self, worker: int) -> FileLock:
        path = f"{self.path}.{worker}.lock"
        return FileLock(path, mode=0o600, thread_local=False)

    @contextmanager
    def transaction(self, write: bool) -> Iterator[Db]:
        saver = self.savers[write]
        db = saver.conn
        with saver.lock:  # a thread that was left alone may still be at it
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield Db(lambda sql, *v: db.execute(sql, v).fetchall(), saver)
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def is_alive(self, db: Db, worker: int) -> bool:
        lock = self._lock_of(worker)
        try:
            with lock.acquire(blocking=False):
                os.unlink(lock.lock_file)
                return False
        except Timeout:
            return True

    def close(self) -> None:
        for saver in self.savers:
            with saver.lock:
                saver.conn.close()
        self.lock.release()
        Path(self.lock.lock_file).unlink(missing_ok=True)


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
