"""A chat service that streams an agent's answers, resumes and stops.

    uvicorn service:app --app-dir solutions --workers 2

It is the end of lesson 09. Give `agent_with` an agent of your own and keep
the rest. The parts, from top to bottom:

Settings   what the environment says
Journal    every event of every run in one SQLite file, shared by the workers
Run        one answer under way in this worker, and who reads it
Service    starts, follows and stops runs, and cleans up behind them
app        the HTTP routes

A run is a task of its own. Readers come and go; each gets the events after
the last one that it has seen. When all have left, the run goes on for
RESUME_GRACE seconds and is then cancelled at the model.

There is no log-in: who knows the id of a thread can read it. Put your own in
front.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import os
import sqlite3
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    closing,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import UUID, uuid4

import openai
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi import Path as InPath
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    Response,
    StreamingResponse,
)
from fastapi.sse import format_sse_event
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    RemoveMessage,
)
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.graph.state import CompiledStateGraph
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, Field

TICK = 0.1  # seconds between two looks at the journal
PING = 15  # seconds of silence after which a comment keeps a stream open
KEEP = 3600  # seconds that the events of an ended run are kept
GAP = 1_000_000  # more events than any worker can lose by dying
FINAL = ("done", "error")

log = logging.getLogger("service")


def agent_with(
    llm: ChatOpenAI, memory: BaseCheckpointSaver
) -> CompiledStateGraph:
    """Your agent goes here. It is compiled once, for the worker's life.

    Its state has `messages`, and the node that answers is called `model`.
    """

    async def price(dish: str) -> dict[str, Any]:
        """Look up the price of a dish."""
        return {"dish": dish, "euros": 9}

    return create_agent(llm, tools=[price], checkpointer=memory)


@dataclass(frozen=True)
class Settings:
    """What the environment says; all times in seconds."""

    model: str = "gpt-4o"
    database: str = "service.db"
    max_runs: int = 50  # in one worker
    first_token_timeout: float = 30
    run_timeout: float = 300
    resume_grace: float = 5
    worker_lease: float = 10  # a worker silent for so long counts as dead

    @classmethod
    def from_environment(cls) -> Settings:
        """Read MODEL_NAME, SERVICE_DB, MAX_RUNS and the others.

        Raises ValueError if a number is none, or too small.
        """

        def number(name: str, default: float, least: float) -> float:
            value = float(os.environ.get(name, default))
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be a number from {least} on")
            return value

        return cls(
            os.environ.get("MODEL_NAME", cls.model),
            os.environ.get("SERVICE_DB", cls.database),
            int(number("MAX_RUNS", cls.max_runs, 1)),
            number("FIRST_TOKEN_TIMEOUT", cls.first_token_timeout, 0.1),
            number("RUN_TIMEOUT", cls.run_timeout, 0.1),
            number("RESUME_GRACE", cls.resume_grace, 0),
            number("WORKER_LEASE", cls.worker_lease, 2),
        )


class Event(NamedTuple):
    """One server-sent event; `data` is JSON, `number` counts from 1."""

    number: int
    name: str
    data: str

    def encode(self) -> bytes:
        return format_sse_event(
            event=self.name, data_str=self.data, id=str(self.number)
        )


class Busy(Exception):
    """A run is under way on this thread."""


class Journal:
    """Runs and their events in an SQLite file that all workers share.

    Each method is one transaction. Call one at a time.
    """

    TABLES = """
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = NORMAL;
        CREATE TABLE IF NOT EXISTS runs (
            id TEXT PRIMARY KEY,
            thread TEXT NOT NULL,
            worker TEXT NOT NULL,
            open INTEGER NOT NULL DEFAULT 1,
            stop INTEGER NOT NULL DEFAULT 0,
            alive REAL NOT NULL,  -- when its worker last said so
            read REAL NOT NULL    -- when another worker last read it
        );
        CREATE UNIQUE INDEX IF NOT EXISTS one_open_run_a_thread
            ON runs (thread) WHERE open;
        CREATE TABLE IF NOT EXISTS events (
            run TEXT, number INTEGER, name TEXT, data TEXT,
            PRIMARY KEY (run, number)
        ) WITHOUT ROWID;
    """

    def __init__(self, path: str, worker: str) -> None:
        self.worker = worker
        self.db = sqlite3.connect(path, timeout=10, check_same_thread=False)
        self.db.executescript(self.TABLES)

    def close(self) -> None:
        self.db.close()

    def open(self, run: str, thread: str) -> None:
        """Raises Busy unless this is the only open run of its thread."""
        now = time.time()
        try:
            with self.db:
                self.db.execute(
                    "INSERT INTO runs (id, thread, worker, alive, read) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (run, thread, self.worker, now, now),
                )
        except sqlite3.IntegrityError:
            raise Busy from None

    def keep(
        self, events: Iterable[tuple[str, Event]]
    ) -> dict[str, tuple[bool, float]]:
        """Add events of this worker's runs, and tell what others want.

        The open ones: (asked to stop, when another worker last read it).
        """
        with self.db:
            self._add(events)
        rows = self.db.execute(
            "SELECT id, stop, read FROM runs WHERE worker = ? AND open",
            (self.worker,),
        )
        return {run: (bool(stop), read) for run, stop, read in rows}

    def _add(self, events: Iterable[tuple[str, Event]]) -> None:
        self.db.executemany(
            "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)",
            [(run, *event) for run, event in events],
        )

    def end(self, run: str, events: Iterable[Event]) -> None:
        """Add the last events, unless another worker took the run over."""
        with self.db:
            ours = self.db.execute(
                "UPDATE runs SET open = 0 WHERE id = ? AND worker = ?",
                (run, self.worker),
            )
            if ours.rowcount:
                self._add((run, event) for event in events)

    def after(self, run: str, number: int) -> list[Event]:
        rows = self.db.execute(
            "SELECT number, name, data FROM events "
            "WHERE run = ? AND number > ? ORDER BY number",
            (run, number),
        )
        return [Event(*row) for row in rows]

    def read(self, run: str, number: int) -> tuple[list[Event], bool]:
        """The events after that number, and whether there can be more.

        The worker of the run learns that somebody reads it.
        """
        with self.db:
            more = self.db.execute(
                "UPDATE runs SET read = ? WHERE id = ? AND open",
                (time.time(), run),
            )
            return self.after(run, number), bool(more.rowcount)

    def ask_to_stop(self, run: str) -> bool | None:
        """Whether it is still open; None if there is no such run."""
        with self.db:
            self.db.execute("UPDATE runs SET stop = 1 WHERE id = ?", (run,))
        return self.is_open(run)

    def is_open(self, run: str) -> bool | None:
        row = self.db.execute(
            "SELECT open FROM runs WHERE id = ?", (run,)
        ).fetchone()
        return None if row is None else bool(row[0])

    def open_run(self, thread: str) -> str | None:
        row = self.db.execute(
            "SELECT id FROM runs WHERE thread = ? AND open", (thread,)
        ).fetchone()
        return row and row[0]

    def take_over(
        self, alive: list[str], lease: float
    ) -> list[tuple[str, str]]:
        """Say which runs live here, and adopt those of dead workers."""
        now = time.time()
        with self.db:
            self.db.executemany(
                "UPDATE runs SET alive = ? WHERE id = ? AND worker = ?",
                [(now, run, self.worker) for run in alive],
            )
            rows = self.db.execute(
                "UPDATE runs SET worker = ?, alive = ? "
                "WHERE open AND alive < ? RETURNING id, thread",
                (self.worker, now, now - lease),
            )
            return rows.fetchall()

    def forget(self, age: float) -> None:
        """Delete ended runs that are older than so many seconds."""
        with self.db:
            self.db.execute(
                "DELETE FROM events WHERE run IN "
                "(SELECT id FROM runs WHERE NOT open AND alive < ?)",
                (time.time() - age,),
            )
            self.db.execute(
                "DELETE FROM runs WHERE NOT open AND alive < ?",
                (time.time() - age,),
            )


@dataclass
class Run:
    """One answer under way in this worker."""

    thread: str
    grace: float
    id: str = field(default_factory=lambda: uuid4().hex)
    events: list[Event] = field(default_factory=list)
    kept: int = 0  # how many events the journal has
    readers: int = 0
    left: float = math.inf  # when the last reader left
    spoke: float = field(default_factory=time.monotonic)
    why: str = ""  # it was cancelled, or "ended"
    refused: HTTPException | None = None  # it failed before the first token
    task: asyncio.Task[None] | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def emit(self, name: str, /, **data: Any) -> None:
        self.events.append(self.next(name, **data))
        if name != "start":
            self.begun.set()
        self.wake()

    def tell(self, message: AIMessage) -> None:
        """What a user should see of a piece of what the model writes."""
        calls = getattr(message, "tool_call_chunks", message.tool_calls)
        for call in calls:
            if call["name"]:
                self.emit("tool", name=call["name"])
        if message.text:
            self.emit("token", text=message.text)

    def next(self, name: str, /, **data: Any) -> Event:
        # In ASCII: some clients take U+2028 for the end of a line.
        return Event(len(self.events) + 1, name, json.dumps(data))

    def wake(self) -> None:
        self.spoke = time.monotonic()
        self.changed.set()
        self.changed.clear()

    def cancel(self, why: str) -> None:
        """Cancel it at the model, once: for a second time is too late."""
        if not self.why and self.task is not None:
            self.why = why
            self.task.cancel()

    def attach(self) -> None:
        self.readers += 1
        self.left = math.inf

    def detach(self) -> None:
        self.readers -= 1
        if not self.readers:
            self.left = time.monotonic()
            if not self.grace:
                self.cancel("left")

    async def follow(self, number: int) -> AsyncIterator[bytes]:
        """Yield the events after that number; what is late comes at once."""
        number = min(number, len(self.events))
        while True:
            batch = self.events[number:]
            yield b"".join(map(Event.encode, batch)) or b": ping\n\n"
            number += len(batch)
            if batch and batch[-1].name in FINAL:
                return
            if number >= len(self.events):
                await self.changed.wait()


class Listener(BaseCallbackHandler):
    """Hears what models write, in the task that reads it.

    `astream` with "messages" gives the same chunks for more work: it takes
    each through a queue and two tasks.
    """

    run_inline = True
    raise_error = True

    def __init__(self, heard: Callable[[AIMessage], None]) -> None:
        self.heard = heard
        self.streamed: set[UUID] = set()

    def on_llm_new_token(
        self, token: str, *, chunk: Any, run_id: UUID, **more: Any
    ) -> None:
        self.streamed.add(run_id)
        self.tell(chunk.message, **more)

    def on_llm_end(self, response: Any, *, run_id: UUID, **more: Any) -> None:
        if run_id not in self.streamed:  # a model that cannot stream
            self.tell(response.generations[0][0].message, **more)

    def tell(
        self, message: AIMessage, tags: list[str] | None = None, **_: Any
    ) -> None:
        if "nostream" not in (tags or []):
            self.heard(message)


def text_of(events: Iterable[Event]) -> str:
    """The answer as a reader of these events sees it."""
    text = ""
    for event in events:
        if event.name == "token":
            text += json.loads(event.data)["text"]
        elif event.name == "restart":
            text = ""
    return text


class Service:
    """The runs of one worker."""

    agent: CompiledStateGraph

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self.settings = settings
        self.journal = journal
        self.runs: dict[str, Run] = {}
        self.seconds = 1.0  # how long a run takes, of late
        self.journal_thread = ThreadPoolExecutor(1, "journal")

    async def ask(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call a method of the journal in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.journal_thread, method, *args)

    async def start(self, thread: str, message: str) -> Run:
        """Start a run, or raise the HTTPException that says why not."""
        limit = self.settings.max_runs
        if len(self.runs) >= limit:
            wait = math.ceil(self.seconds / limit)
            raise refusal(503, f"{limit} runs are under way", wait)
        run = Run(thread, self.settings.resume_grace)
        self.runs[run.id] = run
        try:
            await self.ask(self.journal.open, run.id, thread)
        except BaseException as error:
            del self.runs[run.id]
            if isinstance(error, Busy):
                raise refusal(
                    409, "a run is under way on this thread"
                ) from None
            raise
        run.emit("start", run=run.id, thread=thread)
        run.task = asyncio.create_task(self._answer(run, message))
        return run

    async def _answer(self, run: Run, message: str) -> None:
        """One run, from its question to its last event."""
        began = time.monotonic()
        name, details = "done", {"outcome": "complete"}
        try:
            await self._stream(run, message)
        except asyncio.CancelledError:
            details = {"outcome": "stopped"}
            if run.why not in ("stopped", "left"):
                name, details = "error", INTERRUPTED
        except Exception as error:
            refused = refusal_for(error)
            late = refused.status_code == 504
            code = "timeout" if late else "model_error"
            name, details = "error", {"code": code, "message": refused.detail}
            if not run.begun.is_set():
                run.refused = refused
        why, run.why = run.why, "ended"  # from here on nothing cancels it
        tokens = sum(event.name == "token" for event in run.events)
        if name == "done":
            details["tokens"] = tokens
        try:
            if details.get("outcome") != "complete":
                await self._settle(run.thread, run.id, run.events)
            last = [*run.events[run.kept :], run.next(name, **details)]
            await self.ask(self.journal.end, run.id, last)
        except Exception as error:  # when its lease is over, it is buried
            log_bug(error)
        finally:
            del self.runs[run.id]
            run.emit(name, **details)
        seconds = time.monotonic() - began
        self.seconds += (seconds - self.seconds) / 10
        about = {"run": run.id, "end": name, "why": why, "tokens": tokens}
        log.info(json.dumps(about | {"seconds": round(seconds, 3)}))

    async def _stream(self, run: Run, message: str) -> None:
        """Turn what the agent streams into events."""
        given: Any = {"messages": [HumanMessage(message, id=run.id)]}
        config: Any = {"configurable": {"thread_id": run.thread}}
        async with asyncio.timeout(self.settings.first_token_timeout) as limit:

            def heard(part: AIMessage) -> None:
                waited = not run.begun.is_set()
                run.tell(part)
                if waited and run.begun.is_set():
                    now = asyncio.get_running_loop().time()
                    limit.reschedule(now + self.settings.run_timeout)

            config["callbacks"] = [Listener(heard)]
            while True:
                try:
                    await self.agent.ainvoke(given, config)
                    return
                except openai.APIConnectionError:
                    if given is None or not run.begun.is_set():
                        raise
                    given = None  # go on from the last checkpoint, once
                    run.emit("restart")

    async def _settle(
        self, thread: str, run: str, events: Iterable[Event]
    ) -> None:
        """Let the thread remember what its user saw of a broken answer.

        Nothing seen: the question is forgotten as well, to be asked again.
        """
        config: Any = {"configurable": {"thread_id": thread}}
        state = await self.agent.aget_state(config)
        messages = state.values.get("messages", [])
        ids = [message.id for message in messages]
        if run not in ids:
            return
        before = messages[: ids.index(run)]
        if text := text_of(events):
            before += [messages[len(before)], AIMessage(text)]
        # All anew: a message may be there already and not yet be written.
        anew = [RemoveMessage(REMOVE_ALL_MESSAGES), *before]
        await self.agent.aupdate_state(
            config, {"messages": anew}, as_node="model"
        )

    async def follow(self, run: str, number: int) -> AsyncIterator[bytes]:
        """Yield the events of a run of another worker, or of an ended one."""
        spoke = time.monotonic()
        while True:
            events, more = await self.ask(self.journal.read, run, number)
            if events:
                yield b"".join(map(Event.encode, events))
                number = events[-1].number
                spoke = time.monotonic()
            if not more:
                return
            if time.monotonic() - spoke > PING:
                yield b": ping\n\n"
                spoke = time.monotonic()
            await asyncio.sleep(TICK)

    async def stop(self, run: str) -> None:
        """Stop a run of any worker and wait until it has ended.

        Raises the HTTPException 404 if there is no such run.
        """
        if run in self.runs:
            self.runs[run].cancel("stopped")
        elif await self.ask(self.journal.ask_to_stop, run) is None:
            raise refusal(404, "no such run")
        while await self.ask(self.journal.is_open, run):  # noqa: ASYNC110
            await asyncio.sleep(TICK)

    async def tend(self) -> None:
        """Keep the journal, as long as the worker lives."""
        ticks = 0
        while True:
            try:
                await self._tick(ticks)
            except Exception as error:  # a locked database: go on next time
                log_bug(error)
            ticks += 1
            await asyncio.sleep(TICK)

    async def _tick(self, ticks: int) -> None:
        if ticks % 10 == 0:
            dead = await self.ask(
                self.journal.take_over,
                list(self.runs),
                self.settings.worker_lease,
            )
            for run, thread in dead:
                await self._bury(run, thread)
        if ticks % 600 == 0:
            await self.ask(self.journal.forget, KEEP)
        if not self.runs:
            return
        runs = list(self.runs.values())
        fresh = [
            (run.id, event) for run in runs for event in run.events[run.kept :]
        ]
        counts = [len(run.events) for run in runs]
        ours = await self.ask(self.journal.keep, fresh)
        for run, count in zip(runs, counts, strict=True):
            run.kept = count
        now = time.monotonic()
        for run in runs:
            stop, read = ours.get(run.id, (True, 0.0))
            away = min(now - run.left, time.time() - read)
            if stop:
                run.cancel("stopped")
            elif not run.readers and away > run.grace:
                run.cancel("left")
            elif now - run.spoke > PING:
                run.wake()

    async def _bury(self, run: str, thread: str) -> None:
        """End a run whose worker died."""
        events = await self.ask(self.journal.after, run, 0)
        await self._settle(thread, run, events)
        # Its readers may have seen events that it had not written down yet.
        number = GAP + (events[-1].number if events else 0)
        last = Event(number, "error", json.dumps(INTERRUPTED))
        await self.ask(self.journal.end, run, [last])

    async def shut_down(self) -> None:
        """End what is under way; its readers are told to ask again."""
        runs = list(self.runs.values())
        for run in runs:
            run.cancel("shutdown")
        await asyncio.gather(*(run.task for run in runs if run.task))


INTERRUPTED = {
    "code": "interrupted",
    "message": "The service restarted in mid-answer. Ask again.",
}


def refusal(status: int, why: str, wait: float | None = None) -> HTTPException:
    """An honest status; `wait` is in seconds, for Retry-After."""
    headers = None if wait is None else {"Retry-After": str(wait)}
    return HTTPException(status, why, headers)


def refusal_for(error: Exception) -> HTTPException:
    """The status for what a run raised, without a word of its message."""
    kind = type(error).__name__
    match error:
        case openai.RateLimitError():
            wait = error.response.headers.get("retry-after", "1")
            return refusal(429, "the model is asked too often", wait)
        case TimeoutError() | openai.APITimeoutError():
            return refusal(504, "the model took too long")
        case openai.APIError():
            return refusal(502, f"the model failed ({kind})")
    log_bug(error)
    return refusal(502, f"the agent failed ({kind})")


def log_bug(error: Exception) -> None:
    """Log what and where, without its message: that may hold a prompt."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    about = {"bug": type(error).__name__, "file": where.filename}
    log.error(json.dumps(about | {"line": where.lineno}))


class TextAsDicts(openai.AsyncStream[object]):
    """Plain text stays the dict that the SDK has parsed; ChatOpenAI takes
    it. Any other chunk becomes the SDK's model, as usual."""

    async def __aiter__(self) -> AsyncIterator[object]:
        async for chunk in super().__aiter__():
            match chunk:
                case {
                    "choices": [
                        {"delta": {"content": str(), **more}} as choice
                    ]
                } if not (
                    more or choice.get("logprobs") or chunk.get("usage")
                ):
                    yield chunk
                case _:
                    yield ChatCompletionChunk.construct(**chunk)


class DictChunks(openai.AsyncOpenAI):
    """Streams text without a model for each token, which ChatOpenAI would
    only turn back into a dict. That saves a third of what a token costs."""

    async def post(self, path: str, **options: Any) -> Any:
        if options.get("stream"):
            options["stream_cls"] = TextAsDicts
        return await super().post(path, **options)


class Memory(SqliteSaver):
    """What the agent remembers, in the file and the thread of the journal.

    AsyncSqliteSaver takes several trips to a thread of its own for a call,
    all under one lock: many runs at once queue there for their first token.
    """

    def __init__(
        self, db: sqlite3.Connection, ask: Callable[..., Any]
    ) -> None:
        super().__init__(db)
        self.setup()
        self.ask = ask

    async def aget_tuple(self, *args: Any) -> Any:
        return await self.ask(self.get_tuple, *args)

    async def aput(self, *args: Any) -> Any:
        return await self.ask(self.put, *args)

    async def aput_writes(
        self, config: Any, writes: Any, task_id: str, task_path: str = ""
    ) -> None:
        await self.ask(self.put_writes, config, writes, task_id, task_path)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client, one agent, one memory, one journal for each worker."""
    settings = Settings.from_environment()
    if not log.hasHandlers():
        log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)
    async with AsyncExitStack() as stack:
        # On aiohttp: a fifth less work for a token than on the SDK's own.
        http = await stack.enter_async_context(openai.DefaultAioHttpClient())
        llm = ChatOpenAI(
            model=settings.model,
            streaming=True,  # also when invoked: the Listener hears it
            async_client=DictChunks(http_client=http).chat.completions,
            root_async_client=openai.AsyncOpenAI(http_client=http),
            # The run has time limits of its own. On Python 3.11 this one can
            # also swallow a cancellation.
            stream_chunk_timeout=None,
        )
        journal = stack.enter_context(
            closing(Journal(settings.database, uuid4().hex))
        )
        service = Service(settings, journal)
        stack.enter_context(service.journal_thread)
        service.agent = agent_with(llm, Memory(journal.db, service.ask))
        app.state.service = service
        tending = asyncio.create_task(service.tend())
        gc.collect()
        gc.freeze()  # what is there now stays: never look at it again
        gc.set_threshold(10_000, 20, 50)
        yield
        await service.shut_down()
        tending.cancel()
        await asyncio.wait([tending])


class EventStream(StreamingResponse):
    """Server-sent events, encoded. FastAPI's own EventSourceResponse takes
    only generators, and has sent 200 before their first line runs."""

    def __init__(self, events: AsyncIterator[bytes], run: str) -> None:
        headers = {
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
            "X-Run-Id": run,
        }
        super().__init__(
            events, headers=headers, media_type="text/event-stream"
        )


class RunStream(EventStream):
    """Streams a run to one reader, and notes when that reader has left."""

    def __init__(self, run: Run, number: int) -> None:
        super().__init__(run.follow(number), run.id)
        self.run = run
        run.attach()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.run.detach()


PAGE = Path(__file__).with_name("chat.html")
PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'"
)

Name = Annotated[str, InPath(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Last = Annotated[int, Header(alias="Last-Event-ID", ge=0, le=10**9)]


class Question(BaseModel):
    """What a user asks."""

    message: str = Field(min_length=1, max_length=8000)


def as_openapi(kind: str, **schema: Any) -> dict[str, Any]:
    return {"description": "", "content": {kind: schema}}


def may_refuse(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI page: these statuses come with `{"detail": "..."}`."""
    schema = {"type": "object", "required": ["detail"]}
    answer = as_openapi("application/json", schema=schema)
    return {status: answer for status in statuses}


FIELDS = {name: {"type": "string"} for name in ("id", "event", "data")}
EVENTS = as_openapi(
    "text/event-stream", itemSchema={"type": "object", "properties": FIELDS}
)
# What can be done with the run whose id comes in a header.
LINKS = {
    name: {
        "operationId": name,
        "parameters": {"run": "$response.header.X-Run-Id"},
    }
    for name in ("follow_run", "stop_run")
}

app = FastAPI(
    title="Chat service",
    lifespan=lifespan,
    max_body_size=100_000,  # bytes
    generate_unique_id_function=lambda route: route.name,
)


@app.post(
    "/threads/{thread}/runs",
    status_code=200,
    response_class=EventStream,
    responses=may_refuse(400, 409, 413, 429, 502, 503, 504)
    | {200: EVENTS | {"links": LINKS}},
)
async def start_run(
    thread: Name, question: Question, request: Request
) -> Response:
    """Ask on a thread. The answer comes as events, from the first token on."""
    run = await request.app.state.service.start(thread, question.message)
    run.attach()
    try:
        await first_of(run.begun.wait(), hung_up(request))
        if run.refused:
            raise run.refused
        return RunStream(run, 0)
    finally:
        run.detach()


@app.get(
    "/runs/{run}",
    status_code=200,
    response_class=EventStream,
    responses=may_refuse(404)
    | {200: EVENTS, 204: {"description": "There is no more."}},
)
async def follow_run(run: Name, request: Request, last: Last = 0) -> Response:
    """Come back to a run, and get what follows the event seen last."""
    service = request.app.state.service
    if run in service.runs:
        return RunStream(service.runs[run], last)
    is_open = await service.ask(service.journal.is_open, run)
    if is_open is None:
        raise refusal(404, "no such run")
    if not is_open and not await service.ask(service.journal.after, run, last):
        return Response(status_code=204)  # an EventSource stops asking
    return EventStream(service.follow(run, last), run)


@app.delete("/runs/{run}", status_code=204, responses=may_refuse(404))
async def stop_run(run: Name, request: Request) -> None:
    """Stop a run at the model. What its user saw stays in the thread."""
    await request.app.state.service.stop(run)


@app.get("/threads/{thread}")
async def read_thread(thread: Name, request: Request) -> dict[str, Any]:
    """What was said on a thread, and the run that is under way on it."""
    service = request.app.state.service
    run = await service.ask(service.journal.open_run, thread)
    state = await service.agent.aget_state(
        {"configurable": {"thread_id": thread}}
    )
    roles = {"human": "user", "ai": "assistant"}
    messages = [
        {"role": roles[message.type], "text": message.text}
        for message in state.values.get("messages", [])
        if message.type in roles and message.text
    ]
    return {"messages": messages, "run": run}


@app.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Whether this worker lives, and how busy it is."""
    service = request.app.state.service
    limit = service.settings.max_runs
    return {"status": "ok", "runs": len(service.runs), "limit": limit}


@app.get("/", response_class=HTMLResponse)
async def page() -> Response:
    """The chat page."""
    return FileResponse(PAGE, headers={"Content-Security-Policy": PAGE_POLICY})


async def first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them has ended, and cancel the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def hung_up(request: Request) -> None:
    """Wait until the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
