"""All runs: what starts, follows, stops and ends them.

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
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from itertools import count
from typing import Any

import openai
from fastapi import HTTPException
from langchain_core.exceptions import (
    ModelError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.messages import HumanMessage
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from prometheus_client import Counter, Gauge, Histogram

from service.listener import Listener, answering_nodes
from service.logs import about, bug, note
from service.memory import (
    config_of,
    graph_of,
    is_whole,
    memory_of,
    messages_of,
    said,
)
from service.model import is_too_long
from service.run import FINAL, WAITING, Part, Run
from service.settings import Settings
from service.store import (
    GAP,
    LEFT_OUT,
    PATIENCE,
    Begun,
    Busy,
    Event,
    Memory,
    Store,
    Unavailable,
)

TICK = 0.1  # seconds between two writes of what was said
PING = 15  # seconds of silence after which a comment keeps a stream open
FAILED = {"timeout", "failed", "model_error", "too_long", "interrupted"}
INTERRUPTED = "The service restarted in mid-answer. Ask again."

ENDED = Counter("service_runs", "Runs that have ended", ["outcome"])
UNDER_WAY = Gauge("service_runs_under_way", "Runs in this process")
FIRST = Histogram("service_first_event_seconds", "Until something was said")


def refusal(status: int, why: str, wait: float | None = None) -> HTTPException:
    """An honest status; `wait` is in seconds, for Retry-After."""
    headers = None if wait is None else {"Retry-After": str(wait)}
    return HTTPException(status, why, headers)


class Runs:
    """The runs of this process."""

    def __init__(
        self, settings: Settings, store: Store, agent: CompiledStateGraph
    ) -> None:
        self.settings = settings
        self.store = store
        self.agent = agent
        self.answering = answering_nodes(agent)
        self.runs: dict[str, Run] = {}
        self.burying: dict[str, asyncio.Task[None]] = {}
        self.seconds = 1.0  # how long a run takes, of late
        self.stopping = False
        self.told = asyncio.Event()  # readers know that it is

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
        values = (run.id, owner, thread, question, token, answer is not None)
        self.runs[run.id] = run
        WAITING.add(run.id)
        UNDER_WAY.set(len(self.runs))
        try:
            begun = await self._begin(*values)
            if begun.run == run.id:
                run.emit("start", run=run.id, thread=thread)
                work = self._answer(run, begun, answer)
                run.task = asyncio.create_task(work)
                return run
            return begun.run
        except Busy:
            raise refusal(409, "a run is under way on this thread") from None
        finally:
            if run.task is None:
                self._forget(run)

    async def _begin(self, *values: Any) -> Begun:
        """Once more, if whoever owns the thread turns out to be dead."""
        try:
            return await self.store.begin(*values)
        except Busy:
            await self.store.adopt()
            await self._tick()
            if self.burying:
                await asyncio.wait(self.burying.values(), timeout=PATIENCE)
            return await self.store.begin(*values)

    def _forget(self, run: Run) -> None:
        self.runs.pop(run.id, None)
        WAITING.discard(run.id)
        UNDER_WAY.set(len(self.runs))

    async def _answer(self, run: Run, begun: Begun, answer: Any) -> None:
        """One run, from its question to its last event."""
        about.set({"run": run.id, "thread": run.thread})
        graph = graph_of(self.agent, run.place, begun.start)
        given: Any = {"messages": [HumanMessage(run.question, id=run.id)]}
        if begun.asks:
            given = Command(resume=resumed(begun.asks, answer))
        asks, why = None, INTERRUPTED
        run.frozen = self.stopping
        try:
            if not run.frozen:
                known = messages_of(begun.start)
                asks = await self._stream(run, graph, given, known)
            outcome = "asked" if asks else run.outcome
        except asyncio.CancelledError:
            left = run.why in ("stopped", "left")
            outcome = run.why if left else "interrupted"
        except Exception as error:
            refused, outcome = verdict(error)
            why = refused.detail
            run.refused = None if run.begun.is_set() else refused
        cancelled, run.why = run.why, "ended"  # from here on nothing does it
        if run.frozen:
            outcome, asks = "interrupted", None
            await self.told.wait()
        if asks:
            run.emit("ask", asks=asks)
        try:
            state = (graph, begun.before)
            await self._end(run, outcome, asks, why, *state, cancelled)
        except Exception as error:
            bug("a run cannot be ended", error)
        finally:
            self._forget(run)
            if not run.over:
                run.emit("error", code="interrupted", message=INTERRUPTED)

    async def _stream(
        self, run: Run, graph: CompiledStateGraph, given: Any, known: Any
    ) -> list[dict[str, Any]]:
        """Turn what the agent streams into events; return what it asks."""
        place = config_of(run.place)
        heard = {"callbacks": [Listener(run, self.answering, known)]}
        loop = asyncio.get_running_loop()
        tries, again = 0, False
        async with asyncio.timeout(self.settings.first_token_timeout) as limit:
            began = loop.time()

            def on_begin() -> None:
                if run.why != "ended":
                    FIRST.observe(loop.time() - began)
                    limit.reschedule(loop.time() + self.settings.run_timeout)

            run.on_begin = on_begin
            while True:
                try:
                    await graph.ainvoke(given, place | heard)
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
            state = await graph.aget_state(place)
        return [
            {"id": each.id, "value": each.value} for each in state.interrupts
        ]

    async def _remember(
        self,
        run: Run,
        outcome: str,
        graph: CompiledStateGraph | None,
        before: Memory,
    ) -> dict[str, Memory]:
        """What the thread is to remember of a run, and its reader saw.

        Nothing seen of a broken answer: the question is forgotten as well,
        to be asked again.
        """
        if outcome in LEFT_OUT and not run.text:
            return {}
        kept: dict[str, Memory] = {f"{run.place}#asked": ()}
        try:
            if graph and outcome == "asked":
                kept[f"{run.place}#asked"] = memory_of(graph, calls=True)
            elif graph and outcome in ("complete", "length", "filtered"):
                kept[run.place] = memory_of(graph)
                if is_whole(kept[run.place], run.id, run.text):
                    return kept
            values = (run.id, run.question, run.text)
            kept[run.place] = await said(
                self.agent, run.place, before, *values
            )
        except Exception as error:  # its trouble is its own
            bug("the agent does not remember this", error)
        return kept

    async def _end(
        self,
        run: Run,
        outcome: str,
        asks: Any,
        why: str,
        graph: CompiledStateGraph | None,
        before: Memory,
        cancelled: str = "",
    ) -> None:
        """Keep how a run ended, however long the database is away, and then
        let its readers know."""
        memory = await self._remember(run, outcome, graph, before)
        tokens = sum(event.name == "token" for event in run.events)
        if outcome in FAILED:
            last = run.next("error", code=outcome, message=why)
        else:
            last = run.next("done", outcome=outcome, tokens=tokens)
        rest = run.events[run.kept :] + [last] * (not run.over)
        again = run.refused is not None
        values = (run.id, outcome, run.text, asks, again, rest)
        while True:
            try:
                ours = await self.store.end(*values, memory)
                break
            except Unavailable:
                if self.stopping:  # there is no more time
                    return
                run.wake()
                await asyncio.sleep(1)
            except Exception as error:
                if not memory:
                    raise
                bug("the database does not take the agent's memory", error)
                spare = (run, outcome, None, before)
                memory = await self._remember(*spare) if graph else {}
                graph = None
        if not ours:  # another worker took it over
            outcome, rest = "lost", []
            with suppress(Unavailable):
                _, rest = await self.store.news(run.id, len(run.events))
        if not run.over and rest and rest[-1].name in FINAL:
            run.events += rest if outcome == "lost" else [last]
            run.begun.set()
            run.wake()
        self.seconds += (time.monotonic() - run.began - self.seconds) / 10
        ENDED.labels(outcome).inc()
        about.set({"run": run.id, "thread": run.thread})
        seconds = round(time.monotonic() - run.began, 3)
        more = {"outcome": outcome, "why": cancelled, "tokens": tokens}
        note("run ended", end=last.name, seconds=seconds, **more)

    # --- runs of any worker

    async def follow(self, run: str, number: int) -> AsyncIterator[bytes]:
        """Yield the events of a run of another worker, or of an ended one."""
        bell = self.store.bell(run)
        spoke = touched = -math.inf
        look = min(self.store.look, self.settings.resume_grace / 4 + 0.1)
        while not self.stopping:
            rings, now = bell.rings, time.monotonic()
            try:
                is_open, events = await self.store.news(run, number)
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
            await bell.wait(rings, look)

    async def stop(self, run: str) -> None:
        """Stop a run of any worker and wait until it has ended."""
        if run in self.runs:
            self.runs[run].cancel("stopped")
        else:
            await self.store.ask_to_stop(run)
        bell = self.store.bell(run)
        while True:
            rings = bell.rings
            is_open, _ = await self.store.news(run, GAP * GAP)
            if not is_open:
                return
            await bell.wait(rings, TICK)

    async def delete(self, owner: str, thread: str) -> None:
        """Forget a thread; a run that is under way there is stopped."""
        while True:
            try:
                return await self.store.delete(owner, thread)
            except Busy:
                for turn in await self.store.turns(owner, thread):
                    if turn.outcome is None:
                        await self.stop(turn.id)

    # --- what goes on as long as the process lives

    async def tend(self) -> None:
        """Keep what is said, and end what died."""
        for tick in count():
            try:
                if tick % 10 == 0:
                    await self.store.adopt()
                if self.runs or tick % 10 == 0:
                    await self._tick()
            except Unavailable:  # go on next time
                pass
            except Exception as error:
                bug("the journal has a bug", error)
            await asyncio.sleep(TICK)

    async def _tick(self) -> None:
        # One that begins meanwhile may not be among what is found.
        runs = [run for run in self.runs.values() if run.task]
        counts = [len(run.events) for run in runs]
        fresh = {run.id: run.events[run.kept :] for run in runs}
        ours = await self.store.keep(fresh)
        now = time.monotonic()
        for run, kept in zip(runs, counts, strict=True):
            run.kept = kept
            if run.id not in self.runs:
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
        for run_id in ours.keys() - self.runs.keys() - self.burying.keys():
            task = asyncio.create_task(self._bury(run_id))
            self.burying[run_id] = task

    async def _bury(self, run_id: str) -> None:
        """End a run whose process died, or lost sight of it."""
        try:
            found = await self.store.own(run_id)
            if found is None:
                return
            owner, thread, question, before = found
            _, events = await self.store.news(run_id, 0)
            run = Run(owner, thread, question, id=run_id)
            run.base = GAP + (events[-1].number if events else 0)
            if text := text_of(events):
                run.parts.append(Part("", None, [text]))
            if events and events[-1].name in FINAL:
                run.events, run.kept = events, len(events)
            else:
                # Its readers may have seen more than was written down.
                run.take_back()
            state = (None, before)
            await self._end(run, "interrupted", None, INTERRUPTED, *state)
        except Unavailable:
            pass  # once more
        except Exception as error:
            bug("a run cannot be ended", error)
        finally:
            del self.burying[run_id]

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
                run.emit("error", code="interrupted", message=INTERRUPTED)
        await asyncio.sleep(0.1)  # readers first
        self.told.set()
        left = [run.task for run in self.runs.values() if run.task]
        await asyncio.gather(*left, return_exceptions=True)


def resumed(asks: list[dict[str, Any]], answer: Any) -> dict[str, Any]:
    """The answer to each question by its id: it may be so already, or it is
    for the first, and the others are asked again."""
    ids = [each["id"] for each in asks]
    if isinstance(answer, dict) and answer and answer.keys() <= {*ids}:
        return answer
    return {ids[0]: answer}


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
        with suppress(ValueError):
            return float(retry_after(error)) <= 1
        return False
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
