"""What is kept of runs: questions, answers, events and the agent's memory.

A run is owned by the worker whose number is in its row. A worker is alive as
long as it holds a lock that dies with its process: no clock is asked. Each
write about a run happens in one transaction with a look at that row, so who
has lost a run writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from fastapi.sse import format_sse_event
from langgraph.checkpoint.base import CheckpointTuple

GAP = 1_000_000  # more events than any worker can lose by dying

Statement = tuple[str, Sequence[Any]]
Rows = list[tuple[Any, ...]]
Memory = Mapping[str, Iterable[CheckpointTuple]]  # by thread; empty: delete


class Event(NamedTuple):
    """One server-sent event; `data` is JSON, `number` counts from 1."""

    number: int
    name: str
    data: str

    def encode(self) -> bytes:
        return format_sse_event(
            event=self.name, data_str=self.data, id=str(self.number)
        )


class Unavailable(Exception):
    """The database cannot be used at the moment."""


class Busy(Exception):
    """A run is under way on this thread."""


class Bell(Protocol):
    """Rings when there is news of a run."""

    rings: int

    async def wait(self, rings: int, seconds: float) -> None:
        """Wait for the next ring after so many, at most so long."""


class Database(Protocol):
    """What both databases can do. SQL has `?` for a value."""

    worker: int

    async def write(self, *statements: Statement) -> list[Rows]:
        """Run all in one transaction. Raises Unavailable."""

    async def read(self, sql: str, *values: Any) -> Rows:
        """Run one. Raises Unavailable."""

    async def commit(
        self, fence: Statement, then: Sequence[Statement], memory: Memory
    ) -> bool:
        """In one transaction: if the fence returns a row, all the rest."""

    async def load(self, thread: str) -> list[CheckpointTuple]:
        """The agent's memory of a thread."""

    async def is_alive(self, worker: int) -> bool:
        """Whether that worker holds its lock."""

    def bell(self, run: str) -> Bell:
        """What to wait for after a look at a run."""

    def ring(self, run: str) -> list[Statement]:
        """The statements that ring it, everywhere."""


def place_of(thread: str, kept: CheckpointTuple) -> Any:
    """The config under which a saver puts it, as the first one there."""
    space = kept.config["configurable"]["checkpoint_ns"]
    return {"configurable": {"thread_id": thread, "checkpoint_ns": space}}


def by_task(kept: CheckpointTuple) -> dict[str, list[tuple[str, Any]]]:
    """What its tasks have written, as a saver takes it."""
    writes: dict[str, list[tuple[str, Any]]] = {}
    for task, channel, value in kept.pending_writes or []:
        writes.setdefault(task, []).append((channel, value))
    return writes


TABLES = """
    CREATE TABLE IF NOT EXISTS runs (
        seq {serial},
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,    -- the user
        thread TEXT NOT NULL,
        worker BIGINT NOT NULL,
        outcome TEXT,           -- NULL: it is open
        stop INTEGER NOT NULL DEFAULT 0,
        reads INTEGER NOT NULL DEFAULT 0,  -- by other workers, counted
        token TEXT,             -- a second request with it is the same run
        question TEXT NOT NULL, -- this and the next two are JSON: a text
        answer TEXT NOT NULL DEFAULT '""', -- may hold what no column may
        asks TEXT NOT NULL DEFAULT 'null'
    );
    CREATE UNIQUE INDEX IF NOT EXISTS one_open_run_a_thread
        ON runs (owner, thread) WHERE outcome IS NULL;
    CREATE UNIQUE INDEX IF NOT EXISTS one_run_a_token
        ON runs (owner, thread, token);
    CREATE INDEX IF NOT EXISTS runs_of_thread ON runs (owner, thread, seq);
    CREATE INDEX IF NOT EXISTS open_runs ON runs (worker)
        WHERE outcome IS NULL;
    CREATE TABLE IF NOT EXISTS events (
        run TEXT NOT NULL,
        last BIGINT NOT NULL,   -- number of the last one in `batch`
        batch TEXT NOT NULL,
        PRIMARY KEY (run, last)
    );
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
"""

OURS = "WHERE id = ? AND worker = ? AND outcome IS NULL"


class Store:
    """The SQL of all this, above either database."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.load, self.bell = db.load, db.bell

    async def secret(self, fresh: str) -> str:
        """The one that all workers sign with: `fresh`, if there is none."""
        rows = await self.db.write(
            (
                "INSERT INTO facts VALUES ('secret', ?) "
                "ON CONFLICT (name) DO NOTHING",
                (fresh,),
            ),
            ("SELECT value FROM facts WHERE name = 'secret'", ()),
        )
        return rows[1][0][0]

    async def check(self) -> None:
        """Write something. Raises Unavailable."""
        await self.db.write(
            (
                "INSERT INTO facts VALUES (?, 'was ready') "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                ("ready",),
            )
        )

    async def begin(
        self, run: str, owner: str, thread: str, question: str, token: str
    ) -> str:
        """Open a run; return its id, or that of the one with this token.

        Raises Busy. Events are kept of a thread's last two runs.
        """
        token_or_null = token or None
        old = (
            "DELETE FROM events WHERE run IN (SELECT id FROM runs WHERE "
            "owner = ? AND thread = ? AND seq < (SELECT max(seq) FROM runs "
            "WHERE owner = ? AND thread = ? AND outcome IS NOT NULL))"
        )
        new, same, _ = await self.db.write(
            (
                "INSERT INTO runs (id, owner, thread, worker, token, question)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING "
                "RETURNING id",
                (
                    *(run, owner, thread, self.db.worker),
                    *(token_or_null, json.dumps(question)),
                ),
            ),
            (
                "SELECT id FROM runs WHERE owner = ? AND thread = ? "
                "AND token = ?",
                (owner, thread, token_or_null),
            ),
            (old, (owner, thread, owner, thread)),
        )
        if not new and not same:
            raise Busy
        return (new or same)[0][0]

    async def keep(
        self, fresh: Mapping[str, Sequence[Event]]
    ) -> dict[str, tuple[bool, int]]:
        """Add events of this worker's runs, and tell what others want.

        All its open runs: (asked to stop, how often others have read it).
        """
        statements: list[Statement] = [
            (
                "SELECT id, stop, reads FROM runs "
                "WHERE worker = ? AND outcome IS NULL {lock}",
                (self.db.worker,),
            )
        ]
        for run, events in fresh.items():
            statements += self._added(run, events, "AND outcome IS NULL")
        rows, *_ = await self.db.write(*statements)
        return {run: (bool(stop), reads) for run, stop, reads in rows}

    def _added(
        self, run: str, events: Sequence[Event], still: str = ""
    ) -> list[Statement]:
        if not events:
            return []
        batch = json.dumps(events)
        sql = (
            "INSERT INTO events SELECT id, ?, ? FROM runs "
            f"WHERE id = ? AND worker = ? {still} ON CONFLICT DO NOTHING"
        )
        values = (events[-1].number, batch, run, self.db.worker)
        return [(sql, values), *self.db.ring(run)]

    async def end(
        self,
        run: str,
        outcome: str,
        answer: str,
        asks: Any,
        events: Sequence[Event],
        memory: Memory,
    ) -> bool:
        """Close a run with its last events; False if it is no longer ours.

        To say it again changes nothing: who lost the connection in mid-commit
        does not know whether it was done.
        """
        fence = (
            "UPDATE runs SET outcome = ?, answer = ?, asks = ? WHERE id = ? "
            "AND worker = ? AND (outcome IS NULL OR outcome = ?) RETURNING id"
        )
        about = (outcome, json.dumps(answer), json.dumps(asks, default=str))
        values = (*about, run, self.db.worker, outcome)
        return await self.db.commit(
            (fence, values), self._added(run, events), memory
        )

    async def after(self, run: str, number: int) -> list[Event]:
        rows = await self.db.read(
            "SELECT batch FROM events WHERE run = ? AND last > ? "
            "ORDER BY last",
            *(run, number),
        )
        # Two batches overlap, if a run ended while one was being written.
        found = {}
        for row in rows:
            for event in json.loads(row[0]):
                found[event[0]] = Event(*event)
        return [found[each] for each in sorted(found) if each > number]

    async def touch(self, run: str) -> None:
        """Let the worker of a run know that somebody reads it here."""
        await self.db.write(
            ("UPDATE runs SET reads = reads + 1 WHERE id = ?", (run,))
        )

    async def ask_to_stop(self, run: str) -> None:
        await self.db.write(
            ("UPDATE runs SET stop = 1 WHERE id = ?", (run,)),
            *self.db.ring(run),
        )

    async def find(self, run: str, owner: str) -> tuple[str, bool] | None:
        """Its thread, and whether it is open; None if it is not theirs."""
        rows = await self.db.read(
            "SELECT thread, outcome FROM runs WHERE id = ? AND owner = ?",
            *(run, owner),
        )
        return (rows[0][0], rows[0][1] is None) if rows else None

    async def is_open(self, run: str) -> bool:
        return bool(
            await self.db.read(
                "SELECT 1 FROM runs WHERE id = ? AND outcome IS NULL", run
            )
        )

    async def runs_of(
        self, owner: str, thread: str
    ) -> list[tuple[str, str | None, str, str, Any]]:
        """All of a thread: (id, outcome, question, answer, asks)."""
        rows = await self.db.read(
            "SELECT id, outcome, question, answer, asks FROM runs "
            "WHERE owner = ? AND thread = ? ORDER BY seq",
            *(owner, thread),
        )
        return [(*row[:2], *map(json.loads, row[2:])) for row in rows]

    async def threads_of(self, owner: str) -> list[tuple[str, str]]:
        """A user's last hundred: (thread, its first question)."""
        rows = await self.db.read(
            "SELECT runs.thread, question FROM runs JOIN (SELECT "
            "min(seq) AS first, max(seq) AS last FROM runs WHERE owner = ? "
            "GROUP BY thread) AS span ON seq = first ORDER BY last DESC "
            "LIMIT 100",
            owner,
        )
        return [(thread, json.loads(text)) for thread, text in rows]

    async def delete(self, owner: str, thread: str, *names: str) -> bool:
        """Forget a thread and its memory; False while a run is open."""
        theirs = "owner = ? AND thread = ?"
        return await self.db.commit(
            (
                "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM runs WHERE "
                f"{theirs} AND outcome IS NULL)",
                (owner, thread),
            ),
            [
                (
                    "DELETE FROM events WHERE run IN "
                    f"(SELECT id FROM runs WHERE {theirs})",
                    (owner, thread),
                ),
                (f"DELETE FROM runs WHERE {theirs}", (owner, thread)),
            ],
            dict.fromkeys(names, ()),
        )

    async def adopt(self) -> None:
        """Take the open runs of workers that are dead."""
        rows = await self.db.read(
            "SELECT DISTINCT worker FROM runs WHERE outcome IS NULL "
            "AND worker <> ?",
            self.db.worker,
        )
        for (worker,) in rows:
            if not await self.db.is_alive(worker):
                sql = (
                    "UPDATE runs SET worker = ? "
                    "WHERE worker = ? AND outcome IS NULL"
                )
                await self.db.write((sql, (self.db.worker, worker)))

    async def own(self, run: str) -> tuple[str, str, str] | None:
        """(user, thread, question) of an open run of this worker."""
        rows = await self.db.read(
            f"SELECT owner, thread, question FROM runs {OURS}",
            *(run, self.db.worker),
        )
        return (*rows[0][:2], json.loads(rows[0][2])) if rows else None
