"""What is kept of runs: questions, answers, events and the agent's memory.

A run is owned by the worker whose number is in its row. A worker is alive as
long as it holds a lock that dies with its process: no clock is asked. Each
write about a run looks at that row in the same transaction, so who has lost
a run writes nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial, wraps
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException
from fastapi.sse import format_sse_event
from langgraph.checkpoint.base import CheckpointTuple

PATIENCE = 5  # seconds that a caller waits while the database does nothing
GAP = 1_000_000  # more events than any worker can lose by dying
# After these a question is forgotten, unless something was answered.
LEFT_OUT = {"stopped", "left", "interrupted", "timeout", "failed"}
LEFT_OUT |= {"model_error", "too_long"}

Memory = Iterable[CheckpointTuple]


class Event(NamedTuple):
    """One server-sent event; `data` is JSON, `number` counts from 1."""

    number: int
    name: str
    data: str

    def encode(self) -> bytes:
        return format_sse_event(
            event=self.name, data_str=self.data, id=str(self.number)
        )


class Turn(NamedTuple):
    """A run of a thread; while it is open, its outcome is None."""

    id: str
    outcome: str | None
    question: str
    answer: str
    asks: Any

    @property
    def forgotten(self) -> bool:
        return self.outcome in LEFT_OUT and not self.answer


class Begun(NamedTuple):
    """A run, what was asked before it, and the agent's memory: as it goes on
    from, and as the thread has it. They differ after a question of its."""

    run: str
    asks: Any = None
    start: Memory = ()
    before: Memory = ()


class Unavailable(Exception):
    """The database cannot be used at the moment."""


class Busy(Exception):
    """A run is under way on this thread."""


class Bell:
    """Rings when there is news of a run."""

    def __init__(self) -> None:
        self.rings = 0
        self.changed = asyncio.Event()

    def ring(self) -> None:
        self.rings += 1
        self.changed.set()
        self.changed.clear()

    async def wait(self, rings: int, seconds: float) -> None:
        """Wait for the next ring after so many, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while self.rings == rings:
                    await self.changed.wait()
        except TimeoutError:
            pass


class Db(NamedTuple):
    """A transaction: `sql` takes a statement with `?` and its values, and
    returns all rows; `saver` is LangGraph's."""

    sql: Callable[..., list[Any]]
    saver: Any


def load(saver: Any, thread: str) -> list[CheckpointTuple]:
    """All that a saver has of a thread."""
    return list(saver.list({"configurable": {"thread_id": thread}}))


def save(saver: Any, thread: str, memory: Memory) -> None:
    """Let a saver have this of a thread, and nothing else."""
    saver.delete_thread(thread)
    task_of = itemgetter(0)
    for each in memory:
        space = each.config["configurable"]["checkpoint_ns"]
        config = saver.put(
            {"configurable": {"thread_id": thread, "checkpoint_ns": space}},
            each.checkpoint,
            each.metadata,
            each.checkpoint["channel_versions"],
        )
        pending = sorted(each.pending_writes or [], key=task_of)
        for task, writes in groupby(pending, task_of):
            saver.put_writes(config, [write[1:] for write in writes], task)


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
    CREATE UNIQUE INDEX IF NOT EXISTS open_run
        ON runs (owner, thread) WHERE outcome IS NULL;
    CREATE UNIQUE INDEX IF NOT EXISTS run_of_token
        ON runs (owner, thread, token);
    CREATE INDEX IF NOT EXISTS runs_of_user ON runs (owner, seq);
    CREATE INDEX IF NOT EXISTS open_runs
        ON runs (worker) WHERE outcome IS NULL;
    CREATE TABLE IF NOT EXISTS events (
        run TEXT NOT NULL,
        last BIGINT NOT NULL,   -- the number of the last event in `batch`
        batch TEXT NOT NULL,
        PRIMARY KEY (run, last)
    );
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
"""


def reads(method: Any, write: bool = False) -> Any:
    """Make a method one transaction, in a thread. Its first argument is the
    `Db`. Raises Unavailable."""

    @wraps(method)
    async def awaited(self: Store, *args: Any) -> Any:
        def work() -> Any:
            with self.transaction(write) as db:
                self.done[write] += 1
                found = method(self, db, *args)
            self.done[write] += 1
            return found

        async def in_turn() -> Any:
            async with self.queues[write]:
                # Who gives up leaves the thread alone: it is a daemon's.
                return await to_thread.run_sync(
                    work, abandon_on_cancel=True, limiter=self.threads
                )

        call, done = asyncio.create_task(in_turn()), -1
        try:
            # A busy machine is no broken database: others get on there.
            while not call.done():
                if done == self.done[write]:
                    raise Unavailable("it does nothing")
                done = self.done[write]
                await asyncio.wait([call], timeout=PATIENCE)
            return await call
        except self.api.DataError:
            raise  # it would never take this
        except (self.api.Error, OSError) as error:
            raise Unavailable(str(error).partition("\n")[0]) from error
        finally:
            call.cancel()

    return awaited


writes = partial(reads, write=True)


class Store:
    """All the SQL; a database gives the transactions and the lock."""

    api: Any  # the driver, for its errors
    look = 1.0  # seconds until one looks again, whether it rings or not
    share = ""  # SQL: nobody may change the rows that were found

    def __init__(self, threads: int) -> None:
        self.worker = secrets.randbits(31)
        self.bells: WeakValueDictionary[str, Bell] = WeakValueDictionary()
        # Who reads, and who writes: they do not wait for each other.
        self.queues = CapacityLimiter(threads), CapacityLimiter(threads)
        self.done = [0, 0]  # transactions: begun, and ended
        self.threads = CapacityLimiter(1000)

    def transaction(self, write: bool) -> AbstractContextManager[Db]:
        raise NotImplementedError

    def is_alive(self, db: Db, worker: int) -> bool:
        """Whether that worker holds its lock."""
        raise NotImplementedError

    def ring(self, db: Db, run: str) -> None:
        """Ring the bells of a run, everywhere."""

    def bell(self, run: str) -> Bell:
        """What to wait for after a look at a run."""
        return self.bells.setdefault(run, Bell())

    @writes
    def secret(self, db: Db, fresh: str) -> str:
        """The one that all workers sign with: `fresh`, if there is none."""
        db.sql(
            "INSERT INTO facts VALUES ('secret', ?) "
            "ON CONFLICT (name) DO NOTHING",
            fresh,
        )
        rows = db.sql("SELECT value FROM facts WHERE name = 'secret'")
        return rows[0][0]

    @writes
    def check(self, db: Db) -> None:
        """Write something."""
        db.sql(
            "INSERT INTO facts VALUES ('ready', 'once') "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )

    @writes
    def begin(
        self,
        db: Db,
        run: str,
        owner: str,
        thread: str,
        question: str,
        token: str,
        answers: bool,
    ) -> Begun:
        """Open a run, or find the one that had this token.

        Events are kept of a thread's last two runs. Raises Busy, and
        HTTPException: a token of another question, no question of an agent.
        """
        theirs = (owner, thread)
        asks = self._asks(db, *theirs) if answers else None
        new = db.sql(
            "INSERT INTO runs (id, owner, thread, worker, token, question) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            *(run, *theirs, self.worker, token or None, json.dumps(question)),
        )
        if not new:
            same = db.sql(
                "SELECT id, question FROM runs "
                "WHERE owner = ? AND thread = ? AND token = ?",
                *(*theirs, token or None),
            )
            if not same:
                raise Busy
            if json.loads(same[0][1]) != question:
                why = "this Idempotency-Key was another question's"
                raise HTTPException(422, why)
            return Begun(same[0][0])
        if answers and not asks:
            raise HTTPException(409, "nothing is asked on this thread")
        db.sql(
            "DELETE FROM events WHERE run IN (SELECT id FROM runs WHERE "
            "owner = ? AND thread = ? AND seq < (SELECT max(seq) FROM runs "
            "WHERE owner = ? AND thread = ? AND outcome IS NOT NULL))",
            *(theirs + theirs),
        )
        before = load(db.saver, f"{owner}/{thread}")
        if not answers:
            return Begun(run, None, before, before)
        start = load(db.saver, f"{owner}/{thread}#asked")
        return Begun(run, asks, start, before)

    @writes
    def keep(
        self, db: Db, fresh: Mapping[str, Sequence[Event]]
    ) -> dict[str, tuple[bool, int]]:
        """Add events of this worker's runs, and tell what others want of all
        its open ones: (asked to stop, how often others have read it)."""
        rows = db.sql(
            "SELECT id, stop, reads FROM runs WHERE worker = ? "
            f"AND outcome IS NULL {self.share}",
            self.worker,
        )
        ours = {run: (bool(stop), reads) for run, stop, reads in rows}
        for run in fresh.keys() & ours.keys():
            self._add(db, run, fresh[run])
        return ours

    def _add(self, db: Db, run: str, events: Sequence[Event]) -> None:
        if events:
            db.sql(
                "INSERT INTO events VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                *(run, events[-1].number, json.dumps(events)),
            )
            self.ring(db, run)

    @writes
    def end(
        self,
        db: Db,
        run: str,
        outcome: str,
        answer: str,
        asks: Any,
        again: bool,
        events: Sequence[Event],
        memory: Mapping[str, Memory],
    ) -> bool:
        """Close a run with its last events and the agent's memory, by
        thread; False if it is no longer ours. With `again` the token may be
        used once more.

        To say it again changes nothing: who lost the connection in mid-commit
        does not know whether it was done.
        """
        mine = db.sql(
            "UPDATE runs SET outcome = ?, answer = ?, asks = ?, "
            "token = CASE WHEN ? THEN NULL ELSE token END WHERE id = ? "
            "AND worker = ? AND (outcome IS NULL OR outcome = ?) RETURNING id",
            *(outcome, json.dumps(answer), json.dumps(asks, default=str)),
            *(again, run, self.worker, outcome),
        )
        if mine:
            self._add(db, run, events)
            for thread, kept in memory.items():
                save(db.saver, thread, kept)
        return bool(mine)

    @reads
    def news(self, db: Db, run: str, number: int) -> tuple[bool, list[Event]]:
        """Whether a run is open, and its events after that number."""
        is_open = db.sql(
            "SELECT 1 FROM runs WHERE id = ? AND outcome IS NULL", run
        )
        rows = db.sql(
            "SELECT batch FROM events WHERE run = ? AND last > ? "
            "ORDER BY last",
            *(run, number),
        )
        # Two batches overlap, if a run ended while one was being written.
        found = {
            each[0]: Event(*each)
            for (batch,) in rows
            for each in json.loads(batch)
        }
        return bool(is_open), [
            found[each] for each in sorted(found) if each > number
        ]

    @writes
    def touch(self, db: Db, run: str) -> None:
        """Let the worker of a run know that somebody reads it here."""
        db.sql("UPDATE runs SET reads = reads + 1 WHERE id = ?", run)

    @writes
    def ask_to_stop(self, db: Db, run: str) -> None:
        db.sql("UPDATE runs SET stop = 1 WHERE id = ?", run)

    @reads
    def find(self, db: Db, run: str, owner: str) -> str | None:
        """The thread of a run, if it is theirs."""
        rows = db.sql(
            "SELECT thread FROM runs WHERE id = ? AND owner = ?", run, owner
        )
        return rows[0][0] if rows else None

    def _turns(self, db: Db, owner: str, thread: str) -> list[Turn]:
        rows = db.sql(
            "SELECT id, outcome, question, answer, asks FROM runs "
            "WHERE owner = ? AND thread = ? ORDER BY seq",
            *(owner, thread),
        )
        turns = [Turn(*row[:2], *map(json.loads, row[2:])) for row in rows]
        return [turn for turn in turns if not turn.forgotten]

    turns = reads(_turns)

    def _asks(self, db: Db, owner: str, thread: str) -> Any:
        """What the agent wants to know before it goes on."""
        turns = self._turns(db, owner, thread)
        return turns[-1].asks if turns else None

    @reads
    def threads_of(self, db: Db, owner: str) -> list[tuple[str, str]]:
        """A user's last hundred: (thread, its first question)."""
        rows = db.sql(
            "SELECT runs.thread, question FROM runs JOIN (SELECT "
            "min(seq) AS first, max(seq) AS last FROM runs WHERE owner = ? "
            "GROUP BY thread) AS span ON seq = first ORDER BY last DESC "
            "LIMIT 100",
            owner,
        )
        return [(thread, json.loads(text)) for thread, text in rows]

    @writes
    def delete(self, db: Db, owner: str, thread: str) -> None:
        """Forget a thread and its memory. Raises Busy."""
        gone = db.sql(
            "DELETE FROM runs WHERE owner = ? AND thread = ? "
            "RETURNING id, outcome",
            *(owner, thread),
        )
        for run, outcome in gone:
            if outcome is None:
                raise Busy
            db.sql("DELETE FROM events WHERE run = ?", run)
        for name in f"{owner}/{thread}", f"{owner}/{thread}#asked":
            db.saver.delete_thread(name)

    @reads
    def _dead(self, db: Db) -> list[int]:
        rows = db.sql(
            "SELECT DISTINCT worker FROM runs "
            "WHERE outcome IS NULL AND worker <> ?",
            self.worker,
        )
        return [each for (each,) in rows if not self.is_alive(db, each)]

    @writes
    def _take(self, db: Db, worker: int) -> None:
        db.sql(
            "UPDATE runs SET worker = ? WHERE worker = ? AND outcome IS NULL",
            *(self.worker, worker),
        )

    async def adopt(self) -> None:
        """Take the open runs of workers that are dead."""
        for worker in await self._dead():
            await self._take(worker)

    @reads
    def own(self, db: Db, run: str) -> tuple[str, str, str, Memory] | None:
        """(user, thread, question, memory) of an open run of this worker."""
        rows = db.sql(
            "SELECT owner, thread, question FROM runs "
            "WHERE id = ? AND worker = ? AND outcome IS NULL",
            *(run, self.worker),
        )
        for owner, thread, question in rows:
            memory = load(db.saver, f"{owner}/{thread}")
            return owner, thread, json.loads(question), memory
        return None
