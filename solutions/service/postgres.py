"""The store in PostgreSQL, for any number of processes and machines.

A worker has one session of its own: it holds the advisory lock that says that
the worker is alive, and it hears notifications. So behind a pooler in
transaction mode, give SERVICE_DB the server's own address. All else goes
through a pool, in transactions that wait for nobody.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from typing import Any

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg_pool import ConnectionPool

from service.store import PATIENCE, TABLES, Db, Store, Unavailable

SPACE = 1397900614  # of our advisory locks; the other half is the worker
POOL = 10  # connections at most, besides the session
LINK: dict[str, Any] = {  # a network that is gone is noticed within 15 s
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3"
    " -c tcp_keepalives_count=3 -c tcp_user_timeout=10s -c lock_timeout=2s"
    " -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=60s",
    "autocommit": True,
    "prepare_threshold": None,  # a pooler may change the server's end
}


class Postgres(Store):
    """Any connection does any work; a session says that we live."""

    api = psycopg
    share = "FOR SHARE"

    def __init__(self, url: str) -> None:
        # Who waits in a thread gets the next free connection at once, who
        # waits in the event loop when that has time.
        super().__init__(threads=2 * POOL)
        self.url = url
        self.loop = asyncio.get_running_loop()
        self.held = threading.Event()
        self.closed = False
        self.settled = 0.0  # until then nobody is taken for dead
        self.pool = ConnectionPool(
            url,
            kwargs=LINK,
            min_size=2,
            max_size=POOL,
            timeout=3 * PATIENCE,
            open=False,
            check=ConnectionPool.check_connection,
        )

    def set_up(self) -> None:
        """Make the tables, one worker at a time; then live."""
        with psycopg.connect(self.url, **LINK) as db:
            # To wait in pg_advisory_lock would hold up the one who has it:
            # the saver makes an index CONCURRENTLY.
            self._lock(db, -1)
            PostgresSaver(db).setup()  # type: ignore[arg-type]
            serial = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            db.execute(TABLES.format(serial=serial))
        self.pool.open()
        threading.Thread(target=self._live, daemon=True).start()
        self.held.wait()

    def _lock(self, db: psycopg.Connection[Any], key: int) -> None:
        sql = "SELECT pg_try_advisory_lock(%s, %s)"
        while not db.execute(sql, [SPACE, key]).fetchone()[0]:
            time.sleep(0.1)

    def _live(self) -> None:
        """Hold our lock and hear what is said; anew, whenever it breaks."""
        while not self.closed:
            with (
                suppress(psycopg.Error, OSError),
                psycopg.connect(self.url, **LINK) as db,
            ):
                self._lock(db, self.worker)
                if self.held.is_set():  # the others come back as well
                    self.settled = time.monotonic() + PATIENCE
                db.execute("LISTEN service")
                self.held.set()
                while not self.closed:
                    for note in db.notifies(timeout=0.5):
                        self._heard(note.payload)
            time.sleep(0.5)

    def _heard(self, run: str) -> None:
        if bell := self.bells.get(run):
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(bell.ring)

    @contextmanager
    def transaction(self, write: bool) -> Iterator[Db]:
        with (
            self.pool.connection() as db,
            db.transaction() if write else nullcontext(),
        ):

            def sql(text: str, *values: Any) -> list[Any]:
                cursor = db.execute(text.replace("?", "%s"), values)
                return cursor.fetchall() if cursor.description else []

            # One of our own: a shared one lets in one call at a time.
            yield Db(sql, PostgresSaver(db))  # type: ignore[arg-type]

    def is_alive(self, db: Db, worker: int) -> bool:
        return time.monotonic() < self.settled or bool(
            db.sql(
                "SELECT 1 FROM pg_locks JOIN pg_database ON oid = database "
                "WHERE locktype = 'advisory' AND classid = ? AND objid = ? "
                "AND datname = current_database()",
                *(SPACE, worker),
            )
        )

    def ring(self, db: Db, run: str) -> None:
        db.sql("SELECT pg_notify('service', ?)", run)


@asynccontextmanager
async def open_postgres(url: str) -> AsyncIterator[Postgres]:
    db = Postgres(url)
    try:
        await asyncio.to_thread(db.set_up)
    except psycopg.OperationalError as error:
        raise Unavailable(str(error).partition("\n")[0]) from error
    except psycopg.Error as error:  # its text may have the password
        raise Unavailable(type(error).__name__) from error
    try:
        yield db
    finally:
        db.closed = True
        await asyncio.to_thread(db.pool.close, 1)
