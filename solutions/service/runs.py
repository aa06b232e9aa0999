"""Runs: an answer under way, and what starts, follows, stops and ends it.

A run is a task of its own. Readers come and go; each gets the events after
the last one that it has seen. When all have left, the run goes on for
`resume_grace` seconds and is then cancelled at the model. Its reader sees
`done` when what was said is kept, not before.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import openai
from fastapi import HTTPException
from langchain_core.exceptions import (
    ModelError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from prometheus_client import Counter, Gauge, Histogram

from service.listener import Listener, answering_nodes, visible
from service.logs import about, bug, note
from service.model import is_too_long
from service.settings import Settings
from service.store import (
    GAP,
    Busy,
    Event,
    Store,
    Unavailable,
    by_task,
    place_of,
)

TICK = 0.1  # seconds between two writes of what was said
PING = 15  # seconds of silence after which a comment keeps a stream open
BATCH = 500  # events that are sent at once
PATIENCE = 5  # seconds that a request waits for the database
FINAL = ("done", "error")
LEFT_OUT = ("stopped", "left", "interrupted", "timeout", "failed")
LEFT_OUT += ("model_error", "too_long")  # unless something was said
INTERRUPTED = {
    "code": "interrupted",
    "message": "The service restarted in mid-answer. Ask again.",
}

ENDED = Counter("service_runs", "Runs that have ended", ["outcome"])
UNDER_WAY = Gauge("service_runs_under_way", "Runs in this process")
FIRST = Histogram("service_first_event_seconds", "Until something was said")


def refusal(status: int, why: str, wait: float | None = None) -> HTTPException:
    """An honest status; `wait` is in seconds, for Retry-After."""
    headers = None if wait is None else {"Retry-After": str(wait)}
    return HTTPException(status, why, headers)


def unavailable() -> HTTPException:
    return refusal(503, "the database cannot be used at the moment", 5)


@dataclass
class Part:
    """Words of one model call; its node is "" when they will stay."""

    node: str
    call: UUID | None
    pieces: list[str]


@dataclass
class Run:
    """One answer under way in this process."""

    owner: str
    thread: str
    question: str
    grace: float
    given: Any = None  # what the graph gets
    id: str = field(default_factory=lambda: uuid4().hex)
    events: list[Event] = field(default_factory=list)
    kept: int = 0  # how many events the store has
    parts: list[Part] = field(default_factory=list)
    voice: UUID | None = None  # the model call that speaks
    tools: set[str] = field(default_factory=set)  # calls that were shown
    outcome: str = "complete"  # as its model says
    readers: int = 0
    reads: int = 0  # by other processes, counted
    left: float = math.inf  # when the last reader left
    spoke: float = field(default_factory=time.monotonic)
    why: str = ""  # it was cancelled, or "ended"
    frozen: bool = False  # nothing more is said: the process ends
    refused: HTTPException | None = None  # it failed before the first event
    task: asyncio.Task[None] | None = None
    on_begin: Callable[[], None] = lambda: None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def place(self) -> str:
        """What the agent's memory calls the thread."""
        return f"{self.owner}/{self.thread}"

    @property
    def text(self) -> str:
        return "".join("".join(part.pieces) for part in self.parts)

    @property
    def over(self) -> bool:
        return bool(self.events) and self.events[-1].name in FINAL

    def emit(self, name: str, /, **data: Any) -> None:
        self.events.append(self.next(name, **data))
        if name != "start" and not self.begun.is_set():
            self.begun.set()
            self.on_begin()
        self.wake()

    def next(self, name: str, /, **data: Any) -> Event:
        # In ASCII: some clients take U+2028 for the end of a line.
        return Event(len(self.events) + 1, name, json.dumps(data, default=str))

    def wake(self) -> None:
        self.spoke = time.monotonic()
        self.changed.set()
        self.changed.clear()

    # --- what the listener hears

    def say(self, node: str, call: UUID, text: str) -> None:
        """Show words, unless another model is speaking: `settle` will."""
        if self.frozen or self.voice not in (None, call):
            return
        self.voice = call
        if self.parts and self.parts[-1].call == call:
            self.parts[-1].pieces.append(text)
        else:
            self.parts.append(Part(node, call, [text]))
        self.emit("token", text=text)

    def hush(self, call: UUID) -> None:
        if self.voice == call:
            self.voice = None

    def settle(self, node: str, text: str) -> None:
        """A node has ended with this text: show what was not, and take back
        what it did not mean to say."""
        if self.frozen:
            return
        theirs = [part for part in self.parts if part.node == node]
        shown = "".join("".join(part.pieces) for part in theirs)
        if not text.startswith(shown):
            self.take_back(node)
            shown = ""
        for part in theirs:
            part.node, part.call = "", None
        if late := text[len(shown) :]:
            self.parts.append(Part("", None, [late]))
            self.emit("token", text=late)

    def take_back(self, node: str = "") -> None:
        """Show anew what stays: all but that node's, or all that is done."""
        self.voice = None
        self.parts = [
            part
            for part in self.parts
            if (part.node != node if node else not part.node)
        ]
        self.emit("restart")
        if text := self.text:
            self.emit("token", text=text)

    def use(self, call: str, tool: str) -> None:
        if not self.frozen and (not call or call not in self.tools):
            self.tools.add(call)
            self.emit("tool", name=tool)

    def think(self) -> None:
        if not self.frozen and self.events[-1].name != "thinking":
            self.emit("thinking")

    def ended(self, outcome: str) -> None:
        self.outcome = outcome

    # --- who reads it

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
            batch = self.events[number : number + BATCH]
            yield b"".join(map(Event.encode, batch)) or b": ping\n\n"
            number += len(batch)
            if batch and batch[-1].name in FINAL:
                return
            if number >= len(self.events):
                await self.changed.wait()


class Unsuitable(Exception):
    """The agent is none that this service can run; says why."""


class Runs:
    """The runs of this process."""

    def __init__(
        self, settings: Settings, store: Store, agent: CompiledStateGraph
    ) -> None:
        self.settings = settings
        self.store = store
        self.agent = agent
        self.runs: dict[str, Run] = {}
        self.burying: dict[str, asyncio.Task[None]] = {}
        self.seconds = 1.0  # how long a run takes, of late
        self.stopping = False
        self.told = asyncio.Event()  # readers know that it is

    async def check(self) -> None:
        """Raises Unsuitable, if the agent cannot do what runs need."""
        channels = getattr(self.agent, "channels", {})
        if not isinstance(self.agent, CompiledStateGraph):
            raise Unsuitable("it is no compiled StateGraph")
        if "messages" not in channels:
            raise Unsuitable("its state has no `messages`")
        for name, channel in channels.items():
            if type(channel).__name__ == "DeltaChannel":
                raise Unsuitable(f"`{name}` is a DeltaChannel")
        self.answering = answering_nodes(self.agent)
        # What writes to the state for us: no function of a branch is called.
        branches = self.agent.builder.branches
        nodes = (START, *self.agent.builder.nodes)
        self.scribe = next((n for n in nodes if not branches.get(n)), START)
        try:
            await self._said("check", [], "1", "Is it so?", "It is.")
        except Exception as error:
            kind = type(error).__name__
            raise Unsuitable(f"its state takes no message ({kind})") from None

    # --- the agent's memory of a thread

    def _graph(
        self, place: str, memory: Iterable[CheckpointTuple]
    ) -> CompiledStateGraph:
        """The agent, with a memory of its own that begins so."""
        saver = InMemorySaver()
        for each in memory:
            versions = each.checkpoint["channel_versions"]
            config = saver.put(
                place_of(place, each), each.checkpoint, each.metadata, versions
            )
            for task, writes in by_task(each).items():
                saver.put_writes(config, writes, task)
        return self.agent.copy({"checkpointer": saver})

    def _memory(
        self, graph: CompiledStateGraph, place: str, calls: bool = False
    ) -> list[CheckpointTuple]:
        """What is to be kept: the newest of each namespace. Those of a
        subgraph's single call matter only as long as that call is open."""
        newest: dict[str, CheckpointTuple] = {}
        for each in graph.checkpointer.list(config_of(place)):
            space = each.config["configurable"]["checkpoint_ns"]
            if calls or ":" not in space:
                newest.setdefault(space, each)
        return list(newest.values())

    async def _said(
        self,
        place: str,
        before: Iterable[CheckpointTuple],
        run: str,
        question: str,
        text: str,
    ) -> list[CheckpointTuple]:
        """The memory of a thread where this was asked, and this seen."""
        graph = self._graph(place, before)
        messages: list[Any] = [HumanMessage(question, id=run)]
        if text:
            messages.append(AIMessage(text))
        config = config_of(place)
        await graph.aupdate_state(
            config, {"messages": messages}, as_node=self.scribe
        )
        await graph.aupdate_state(config, None, as_node=END)  # nothing is next
        return self._memory(graph, place)

    async def _remember(
        self,
        run: Run,
        outcome: str,
        asks: Any,
        graph: CompiledStateGraph,
        before: list[CheckpointTuple],
    ) -> dict[str, Any]:
        """What the thread is to remember of a run, and its reader saw.

        Nothing seen of a broken answer: the question is forgotten as well,
        to be asked again.
        """
        if outcome in LEFT_OUT and not run.text:
            return {}
        paused = f"{run.place}#asked"
        kept: dict[str, Any] = {paused: ()}
        try:
            if asks:
                kept[paused] = self._memory(graph, run.place, calls=True)
            elif outcome in ("complete", "length", "filtered"):
                state = await graph.aget_state(config_of(run.place))
                if is_whole(state.values.get("messages", []), run):
                    kept[run.place] = self._memory(graph, run.place)
                    return kept
            kept[run.place] = await self._said(
                run.place, before, run.id, run.question, run.text
            )
        except Exception as error:  # its trouble is its own
            bug("the agent does not remember this", error)
        return kept

    # --- from the question to the last event

    async def start(
        self,
        owner: str,
        thread: str,
        question: str,
        token: str = "",
        answer: Any = None,
    ) -> Run | str:
        """Start a run, or raise the HTTPException that says why not.

        Returns the id of an earlier run, if that had the same token. `answer`
        is to what the agent has asked on this thread.
        """
        if self.stopping:
            raise refusal(503, "the service is stopping", 1)
        limit = self.settings.max_runs
        if len(self.runs) >= limit:
            wait = math.ceil(self.seconds / limit)
            raise refusal(503, f"{limit} runs are under way", wait)
        run = Run(owner, thread, question, self.settings.resume_grace)
        run.given = {"messages": [HumanMessage(question, id=run.id)]}
        self.runs[run.id] = run
        UNDER_WAY.set(len(self.runs))
        try:
            async with asyncio.timeout(PATIENCE):
                before = await self._begin(run, token, answer)
        except BaseException as error:
            self._forget(run)
            match error:
                case Busy():
                    why = "a run is under way on this thread"
                    raise refusal(409, why) from None
                case Unavailable() | TimeoutError():
                    raise unavailable() from None
            raise
        if isinstance(before, str):
            self._forget(run)
            return before
        run.emit("start", run=run.id, thread=thread)
        run.task = asyncio.create_task(self._answer(run, *before))
        return run

    def _forget(self, run: Run) -> None:
        self.runs.pop(run.id, None)
        UNDER_WAY.set(len(self.runs))

    async def _begin(self, run: Run, token: str, answer: Any) -> Any:
        """Own the thread; return the memory that the graph begins with, and
        the thread's own. They differ where the agent has asked something."""
        values = (run.owner, run.thread)
        if answer is not None and not await self.asked(*values):
            raise refusal(409, "nothing is asked on this thread")
        try:
            same = await self.store.begin(run.id, *values, run.question, token)
        except Busy:
            await self._bury_the_dead()
            same = await self.store.begin(run.id, *values, run.question, token)
        if same != run.id:
            return same
        before = await self.store.load(run.place)
        if answer is None:
            return before, before
        run.given = Command(resume=answer)
        return await self.store.load(f"{run.place}#asked"), before

    async def asked(self, owner: str, thread: str) -> Any:
        """What the agent has asked on this thread, and nobody answered."""
        for _, outcome, _, answer, asks in reversed(
            await self.store.runs_of(owner, thread)
        ):
            if answer or outcome not in LEFT_OUT:
                return asks
        return None

    async def _answer(
        self,
        run: Run,
        begin: list[CheckpointTuple],
        before: list[CheckpointTuple],
    ) -> None:
        """One run, from its question to its last event."""
        about.set({"run": run.id, "thread": run.thread})
        began = time.monotonic()
        graph = self._graph(run.place, begin)
        name, asks, data = "done", None, {}
        run.frozen = self.stopping
        try:
            if not run.frozen:
                asks = await self._stream(run, graph, begin)
            outcome = "asked" if asks else run.outcome
        except asyncio.CancelledError:
            outcome = run.why
            if outcome not in ("stopped", "left"):
                name, outcome, data = "error", "interrupted", INTERRUPTED
        except Exception as error:
            refused, outcome = verdict(error)
            name, data = "error", {"code": outcome, "message": refused.detail}
            run.refused = None if run.begun.is_set() else refused
        why, run.why = run.why, "ended"  # from here on nothing cancels it
        if run.frozen:
            name, outcome, data = "error", "interrupted", INTERRUPTED
            asks = None
            await self.told.wait()
        if asks:
            run.emit("ask", asks=asks)
        tokens = sum(event.name == "token" for event in run.events)
        if name == "done":
            data = {"outcome": outcome, "tokens": tokens}
        try:
            memory = await self._remember(run, outcome, asks, graph, before)
            last = run.events[run.kept :]
            if not run.over:
                last.append(run.next(name, **data))
            ours = await self._commit(run, outcome, asks, last, memory)
        finally:
            self._forget(run)
        if ours is None:  # the database is away, and the process ends
            name, data = "error", INTERRUPTED
        if ours is False:
            outcome = "lost"
        if run.over:
            pass
        elif ours is False:
            await self._say_how_it_ended(run)
        else:
            run.emit(name, **data)
        seconds = time.monotonic() - began
        self.seconds += (seconds - self.seconds) / 10
        ENDED.labels(outcome).inc()
        more = {"why": why, "tokens": tokens, "seconds": round(seconds, 3)}
        note("run ended", end=name, outcome=outcome, **more)

    async def _stream(
        self, run: Run, graph: CompiledStateGraph, begin: list[CheckpointTuple]
    ) -> list[dict[str, Any]]:
        """Turn what the agent streams into events; return what it asks."""
        known = messages_of(begin)
        config: Any = config_of(run.place)
        config["callbacks"] = [Listener(run, self.answering, known)]
        loop = asyncio.get_running_loop()
        given, tries, again = run.given, 0, False
        async with asyncio.timeout(self.settings.first_token_timeout) as limit:
            began = loop.time()

            def on_begin() -> None:
                if run.why != "ended":
                    FIRST.observe(loop.time() - began)
                    limit.reschedule(loop.time() + self.settings.run_timeout)

            run.on_begin = on_begin
            while True:
                try:
                    await graph.ainvoke(given, config)
                    break
                except Exception as error:
                    if not may_pass(error) or again or tries == 2:
                        raise
                    if run.begun.is_set():
                        again = True
                        run.take_back()
                    else:
                        tries += 1
                        await asyncio.sleep(tries / 2)
                given = None  # go on from the last checkpoint
            state = await graph.aget_state(config_of(run.place))
        return [
            {"id": each.id, "value": each.value} for each in state.interrupts
        ]

    async def _commit(
        self, run: Run, outcome: str, asks: Any, last: Any, memory: Any
    ) -> bool | None:
        """Keep how it ended, however long the database is away. False if
        the run is another worker's by now, None if there is no more time."""
        while True:
            try:
                return await self.store.end(
                    run.id, outcome, run.text, asks, last, memory
                )
            except Unavailable:
                if self.stopping:
                    return None
                run.wake()
                await asyncio.sleep(1)

    async def _say_how_it_ended(self, run: Run) -> None:
        """Another worker took it over: show what that one has kept."""
        try:
            rest = await self.store.after(run.id, len(run.events))
        except Unavailable:
            rest = []
        if rest and rest[-1].name in FINAL:
            run.events += rest
            run.wake()
        else:
            run.emit("error", **INTERRUPTED)

    # --- runs of any worker

    async def follow(self, run: str, number: int) -> AsyncIterator[bytes]:
        """Yield the events of a run of another worker, or of an ended one."""
        bell = self.store.bell(run)
        spoke = touched = -math.inf
        while not self.stopping:
            rings, now = bell.rings, time.monotonic()
            try:
                is_open = await self.store.is_open(run)
                events = await self.store.after(run, number)
                if now - touched > min(1, self.settings.resume_grace / 4):
                    touched = now
                    await self.store.touch(run)
            except Unavailable:
                await asyncio.sleep(1)
                continue
            if events or now - spoke > PING:
                yield b"".join(map(Event.encode, events)) or b": ping\n\n"
                spoke = now
            if events:
                number = events[-1].number
            if not is_open or (events and events[-1].name in FINAL):
                return
            await bell.wait(
                rings, min(1, self.settings.resume_grace / 4 + 0.1)
            )

    async def stop(self, run: str) -> None:
        """Stop a run of any worker and wait until it has ended."""
        if run in self.runs:
            self.runs[run].cancel("stopped")
        else:
            await self.store.ask_to_stop(run)
        bell = self.store.bell(run)
        while True:
            rings = bell.rings
            if not await self.store.is_open(run):
                return
            await bell.wait(rings, TICK)

    async def delete(self, owner: str, thread: str) -> None:
        """Forget a thread; a run that is under way there is stopped."""
        place = f"{owner}/{thread}"
        while not await self.store.delete(
            owner, thread, place, f"{place}#asked"
        ):
            for run, outcome, *_ in await self.store.runs_of(owner, thread):
                if outcome is None:
                    await self.stop(run)

    async def tend(self) -> None:
        """Keep what is said, as long as the process lives."""
        ticks = 0
        while True:
            try:
                if ticks % 10 == 0:
                    await self.store.adopt()
                if self.runs or ticks % 10 == 0:
                    await self._tick()
            except Unavailable:  # go on next time
                pass
            except Exception as error:
                bug("the journal has a bug", error)
            ticks += 1
            await asyncio.sleep(TICK)

    async def _tick(self) -> None:
        runs = list(self.runs.values())
        counts = [len(run.events) for run in runs]
        fresh = {run.id: run.events[run.kept :] for run in runs}
        ours = await self.store.keep(fresh)
        now = time.monotonic()
        for run, count in zip(runs, counts, strict=True):
            run.kept = count
            if run.task is None or run.id not in self.runs:
                continue
            stop, reads = ours.get(run.id, (None, 0))
            if reads != run.reads:
                run.reads, run.left = reads, now
            if stop is None:
                run.cancel("lost")
            elif stop:
                run.cancel("stopped")
            elif not run.readers and now - run.left > run.grace:
                run.cancel("left")
            elif now - run.spoke > PING:
                run.wake()
        for run_id in ours:
            if run_id not in self.runs and run_id not in self.burying:
                task = asyncio.create_task(self._bury(run_id))
                self.burying[run_id] = task

    async def _bury_the_dead(self) -> None:
        await self.store.adopt()
        await self._tick()
        await asyncio.gather(*self.burying.values())

    async def _bury(self, run: str) -> None:
        """End a run whose process died, or lost sight of it."""
        try:
            found = await self.store.own(run)
            if found is None:
                return
            owner, thread, question = found
            about.set({"run": run, "thread": thread})
            events = await self.store.after(run, 0)
            text, place = text_of(events), f"{owner}/{thread}"
            last = GAP + (events[-1].number if events else 0)
            rest, memory = [], {}
            over = bool(events) and events[-1].name in FINAL
            if text:
                # Its readers may have seen more than was written down.
                if not over:
                    rest = [("restart", {}), ("token", {"text": text})]
                before = await self.store.load(place)
                said = self._said(place, before, run, question, text)
                memory = {f"{place}#asked": (), place: await said}
            if not over:
                rest.append(("error", INTERRUPTED))
            made = [
                Event(last + number, name, json.dumps(data))
                for number, (name, data) in enumerate(rest)
            ]
            await self.store.end(run, "interrupted", text, None, made, memory)
            ENDED.labels("interrupted").inc()
            note("run ended", end="error", outcome="interrupted")
        except Unavailable:
            pass  # once more
        except Exception as error:
            bug("a run cannot be ended", error)
        finally:
            del self.burying[run]

    async def shut_down(self) -> None:
        """Tell all readers to ask again, then end what is under way.

        What they saw is written down first, all at once: whatever comes
        now, this or the next process finds it.
        """
        self.stopping = True
        runs = [run for run in self.runs.values() if run.why != "ended"]
        for run in runs:
            run.frozen = True
            run.cancel("shutdown")
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(PATIENCE / 10):
                await self._tick()
        for run in runs:
            if not run.over:
                run.emit("error", **INTERRUPTED)
        await asyncio.sleep(0.1)  # readers first
        self.told.set()
        left = [run.task for run in self.runs.values() if run.task]
        await asyncio.gather(*left, return_exceptions=True)


def config_of(place: str) -> Any:
    return {"configurable": {"thread_id": place}}


def messages_of(memory: Iterable[CheckpointTuple]) -> list[Any]:
    """The messages of a thread, as its agent remembers them."""
    for each in memory:
        if not each.config["configurable"]["checkpoint_ns"]:
            return each.checkpoint["channel_values"].get("messages") or []
    return []


def is_whole(messages: list[Any], run: Run) -> bool:
    """Whether a graph's messages say what the reader of this run saw, and a
    model can be given them: each call of a tool has its result."""
    calls = {
        call["id"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    results = {
        message.tool_call_id
        for message in messages
        if isinstance(message, ToolMessage)
    }
    if calls - results:
        return False
    ids = [message.id for message in messages]
    if run.id not in ids:  # an answer to what was asked, or a summary
        return True
    said = messages[ids.index(run.id) + 1 :]
    texts = [visible(each) for each in said if isinstance(each, AIMessage)]
    return "".join(texts) == run.text


def text_of(events: Iterable[Event]) -> str:
    """The answer as a reader of these events sees it."""
    text: list[str] = []
    for event in events:
        if event.name == "token":
            text.append(json.loads(event.data)["text"])
        elif event.name == "restart":
            text.clear()
    return "".join(text)


def causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def retry_after(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return getattr(response, "headers", {}).get("retry-after", "1")


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    if isinstance(error, ModelRateLimitError):
        wait = retry_after(error)
        return wait.replace(".", "", 1).isdigit() and float(wait) <= 1
    return isinstance(error, openai.APIConnectionError) or bool(
        getattr(error, "is_retryable", False)
    )


def verdict(error: Exception) -> tuple[HTTPException, str]:
    """The status and the outcome for what a run raised, without a word of
    its message."""
    kind = type(error).__name__
    names = {type(each).__name__ for each in causes(error)}
    match error:
        case _ if is_too_long(error):
            why = "the conversation is too long for the model"
            return refusal(413, why), "too_long"
        case ModelRateLimitError():
            why = "the model is asked too often"
            return refusal(429, why, retry_after(error)), "model_error"  # type: ignore[arg-type]
        case _ if names & {"ConnectError", "ConnectTimeout"}:
            return refusal(502, "the model cannot be reached"), "model_error"
        case TimeoutError() | openai.APITimeoutError() | ModelTimeoutError():
            return refusal(504, "the model took too long"), "timeout"
        case openai.APIError() | ModelError():
            return refusal(502, f"the model failed ({kind})"), "model_error"
    bug("the agent failed", error)
    return refusal(502, f"the agent failed ({kind})"), "failed"
