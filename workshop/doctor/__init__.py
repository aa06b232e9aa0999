"""Looks at the running event loop and at a graph, and says what is wrong.

``await examine(graph)`` looks at how things are set up, and watches the
loop for a moment. To watch a run, let it run beside the examination:

    report, _ = await asyncio.gather(
        examine(graph, seconds=2), graph.ainvoke(question)
    )

It starts no run, changes nothing and does not raise. It reads the graph's
functions in a thread of its own, and no more of them than it has counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel

from workshop.doctor import looks
from workshop.doctor.looks import Found, Patient, references
from workshop.doctor.reach import of_library
from workshop.doctor.report import Finding, Report
from workshop.doctor.stalls import watching

__all__ = ["Finding", "Report", "examine"]

THREADS = 10  # conversations that are looked at
PATIENCE = 1  # seconds for a saver to list them
PROBE = "a task that nobody holds"

LOOKS: dict[str, Callable[[Patient], Found]] = {
    "graph": looks.at_the_graph,
    "nodes": looks.at_the_nodes,
    "threads": looks.at_the_threads,
    "memory": looks.at_the_memory,
    "conversations": looks.at_the_conversations,
    "time limits": looks.at_the_time_limits,
    "voices": looks.at_the_voices,
    "connections": looks.at_the_connections,
    "nest_asyncio": looks.at_nest_asyncio,
    "debug mode": looks.at_the_debug_mode,
    "tasks": looks.at_the_tasks,
    "event loop": looks.at_the_loop,
}
AT_THE_LOOP = {"threads", "nest_asyncio", "debug mode", "tasks", "event loop"}


async def examine(graph: object = None, *, seconds: float = 0.3) -> Report:
    """Examine a compiled graph, and the running loop for that long.

    Without a graph it looks at the loop alone.
    """
    loop = asyncio.get_running_loop()
    with watching(loop) as watch, probe(loop) as count:
        await asyncio.sleep(seconds / 2)
        limited, busy = is_limited(loop), runs_a_graph(loop)
        await asyncio.sleep(seconds / 2)
        patient = Patient(graph, loop, watch, count(), limited)
    blind = []
    if not busy:  # a run's tool calls have no results yet
        try:
            patient.unanswered = await unanswered(graph)
        except Exception:
            blind.append("conversations")
    reader = ThreadPoolExecutor(1)  # the loop's own may be full
    with suppress(Exception):
        await loop.run_in_executor(reader, patient.read)
    reader.shutdown(wait=False)
    findings, seen = [], []
    for name, look in LOOKS.items():
        if name in blind or (graph is None and name not in AT_THE_LOOP):
            continue
        try:
            findings += [Finding(name, *found) for found in look(patient)]
            seen.append(name)
        except Exception:  # something is made otherwise than known here
            blind.append(name)
        await asyncio.sleep(0)
    return Report(findings, seen, blind, unseen(patient, busy))


def unseen(patient: Patient, busy: bool) -> list[str]:
    """Say what this examination could not see, and how you would."""
    out = []
    if patient.graph is not None and not busy:
        out.append(
            "a run: let one run beside it, with `asyncio.gather(examine("
            "graph, seconds=2), graph.ainvoke(...))`"
        )
    if patient.graph is not None and not patient.reach.whole:
        out.append("all that this graph holds: it is too much")
    if patient.calls.unread:
        out.append(
            f"{patient.calls.unread} functions: their source is not at hand, "
            "or longer than is read here; ruff's ASYNC rules read whole files"
        )
    return out


@contextmanager
def probe(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[], int]]:
    """Make a task that only asyncio refers to; count those references."""
    loop.create_task(asyncio.sleep(3600), name=PROBE)

    def count() -> int:
        pending = [t for t in asyncio.all_tasks() if t.get_name() == PROBE]
        number = 0
        while pending:
            task = pending.pop()
            number = references(task)
            task.cancel()
        return number

    try:
        yield count
    finally:
        count()


def is_limited(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a time limit of yours is around a task of this loop."""
    for handle in list(getattr(loop, "_scheduled", ())):
        limit = getattr(getattr(handle, "_callback", None), "__self__", None)
        if isinstance(limit, asyncio.Timeout) and not handle.cancelled():
            task = limit._task
            frame = getattr(task.get_coro(), "cr_frame", None)
            if frame is not None and not of_library(frame.f_code):
                return True
    return False


def runs_a_graph(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a task of this loop is inside of a run of some graph."""
    for task in asyncio.all_tasks(loop):
        step: Any = task.get_coro()
        while step is not None:
            code = getattr(step, "cr_code", None)
            code = code or getattr(step, "ag_code", None)
            if code is not None and "langgraph" in code.co_filename:
                return True
            step = getattr(step, "cr_await", None) or getattr(
                step, "ag_await", None
            )
    return False


async def unanswered(graph: object) -> list[str]:
    """The threads of a graph in which a tool call has no result."""
    saver = getattr(graph, "checkpointer", None)
    if not isinstance(graph, Pregel) or not isinstance(
        saver, BaseCheckpointSaver
    ):
        return []
    found = []
    for thread in await threads_of(saver):
        state = await graph.aget_state({"configurable": {"thread_id": thread}})
        await asyncio.sleep(0)
        asks_a_human = any(task.interrupts for task in state.tasks) or any(
            name in stops_before(graph) for name in state.next
        )
        values = state.values
        messages = values.get("messages") if isinstance(values, dict) else None
        if not asks_a_human and lacks_a_result(messages or []):
            found.append(thread)
    return found


def stops_before(graph: Pregel) -> Collection[str]:
    """The nodes before which a run waits for a human."""
    names = graph.interrupt_before_nodes
    return graph.nodes if names == "*" else names


async def threads_of(saver: BaseCheckpointSaver) -> list[str]:
    if isinstance(saver, InMemorySaver):
        return list(islice(saver.storage, THREADS))
    if not looks.has_async_methods(saver) or looks.is_closed(saver.conn):
        return []
    found: dict[str, None] = {}
    async with asyncio.timeout(PATIENCE):
        async for entry in saver.alist(None, limit=4 * THREADS):
            found[entry.config["configurable"]["thread_id"]] = None
    return list(found)[:THREADS]


def lacks_a_result(messages: list[Any]) -> bool:
    """Whether a call has no ToolMessage right behind it."""
    open_calls: set[str] = set()
    for message in messages:
        if isinstance(message, ToolMessage):
            open_calls.discard(message.tool_call_id)
            continue
        if open_calls:
            return True
        if isinstance(message, AIMessage):
            open_calls = {call["id"] for call in message.tool_calls}
    return bool(open_calls)
