"""The looks: each yields what is wrong in one place."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel

from workshop.doctor.calls import (
    Call,
    Calls,
    is_async,
    is_own,
    plain,
    sync_tool,
)
from workshop.doctor.reach import LIBRARY, Reach, names_in, of_library
from workshop.doctor.stalls import IMPORTS, Watch, line_of
from workshop.doctor.voices import voices_in

CONNECTIONS = 1000  # how many ChatOpenAI opens if nobody says otherwise
LIMITS = {"timeout", "timeout_at", "wait_for", "fail_after", "move_on_after"}

Found = Iterator[tuple[str, str] | tuple[str, str, bool]]


@dataclass
class Patient:
    """A graph, the loop that it is to run on, and what happened there.

    ``unanswered`` names the threads that end in a tool call.
    """

    graph: Any
    loop: asyncio.AbstractEventLoop
    watch: Watch
    unheld: int  # references to a task that only asyncio refers to
    limited: bool = False  # a time limit is around what runs now
    unanswered: list[str] = field(default_factory=list)
    calls: Calls = field(default_factory=Calls)

    @functools.cached_property
    def reach(self) -> Reach:
        return Reach(self.graph)

    @functools.cached_property
    def graphs(self) -> list[Pregel]:
        return self.reach.of_kind(Pregel)

    @functools.cached_property
    def models(self) -> list[Any]:
        """The chat models that have an async OpenAI client."""
        models = self.reach.of_kind(BaseChatModel)
        return [m for m in models if hasattr(m, "root_async_client")]

    @functools.cached_property
    def in_threads(self) -> dict[str, list[Call]]:
        """The ``def`` nodes and tools that wait, and their calls."""
        steps = {
            f"node `{name}`": node.bound
            for graph in self.graphs
            for name, node in graph.nodes.items()
        }
        for tool in self.reach.of_kind(BaseTool):
            steps[f"tool `{tool.name}`"] = tool
        found = {}
        for name, step in steps.items():
            calls = self.calls.of(sync_function(step))
            calls = [call for call in calls if call.kind != "file"]
            if calls:
                found[name] = calls
        return found

    @functools.cached_property
    def on_the_loop(self) -> dict[str, list[Call]]:
        """The coroutine functions of yours that block, and their calls."""
        found = {}
        for thing in self.reach.objects:
            function = plain(thing)
            if is_async(function) and not of_library(function.__code__):
                calls = self.calls.of(function)
                if calls:
                    found[function.__qualname__] = calls
        return found

    def read(self) -> tuple[dict[str, list[Call]], dict[str, list[Call]]]:
        """Read all that takes long; the looks find it done."""
        return self.in_threads, self.on_the_loop

    @property
    def pool(self) -> Any:
        """The loop's default executor; None before its first use."""
        return getattr(self.loop, "_default_executor", None)

    @property
    def threads(self) -> int:
        """How many worker threads the ``def`` nodes of this loop share."""
        usual = min(32, (os.cpu_count() or 1) + 4)
        return getattr(self.pool, "_max_workers", usual)


def sync_function(step: Any) -> object:
    """The function of a step that has no async form, or None.

    LangGraph gives a ``def`` node an async form that runs it in a thread.
    """
    if isinstance(step, BaseTool) and is_own(sync_tool(step)):
        both = getattr(step, "coroutine", None) or is_own(type(step)._arun)
        return None if both else sync_tool(step)
    own = getattr(step, "afunc", None) or getattr(step, "coroutine", None)
    if own is None or isinstance(own, functools.partial):
        return getattr(step, "func", None)
    return None


# --- the graph

ON_THE_LOOP = {
    "waits": (
        "blocks the event loop at `{}`: everybody waits",
        "Await its async twin, or use `asyncio.to_thread`",
    ),
    "lock": (
        "holds a lock of threads over an `await`: the second task that comes "
        "stops the whole loop",
        "Use `asyncio.Lock` and `async with`",
    ),
    "loop": (
        "starts an event loop where one runs: `{}` raises RuntimeError",
        "`await` the coroutine",
    ),
    "file": (
        "uses a file on the event loop: from a slow disk, or a large one, "
        "everybody waits",
        "Use `asyncio.to_thread` where that can be",
    ),
}


def at_the_graph(patient: Patient) -> Found:
    if not isinstance(patient.graph, Pregel):
        kind = type(patient.graph).__name__
        yield (
            f"this is a {kind}, so there was nothing more to look at",
            "Pass what `compile()` returned",
        )


def at_the_nodes(patient: Patient) -> Found:
    found = [call for some in patient.on_the_loop.values() for call in some]
    for call in dict.fromkeys(found):
        fault, cure = ON_THE_LOOP[call.kind]
        fault = f"{call.line} {fault.format(call.name)}"
        yield fault, cure, call.kind == "file"
    for name, calls in patient.in_threads.items():
        yield (
            f"{name} is a `def` that waits at {calls[0].line}: in an async "
            f"run each call holds one of {patient.threads} worker threads",
            "Make it an `async def`, and `await` the async twin",
        )


def at_the_threads(patient: Patient) -> Found:
    fault = ""
    if patient.watch.queued:
        fault = f"{patient.watch.queued} calls waited for one of"
    elif len(patient.in_threads) > patient.threads:
        fault = f"{len(patient.in_threads)} `def` nodes and tools share"
    if fault:
        yield (
            f"{fault} {patient.threads} worker threads",
            "Make nodes and tools `async def`, or give the loop a larger "
            "executor",
        )


def at_the_memory(patient: Patient) -> Found:
    for graph in patient.graphs:
        saver = graph.checkpointer
        if not isinstance(saver, BaseCheckpointSaver):
            continue
        name = type(saver).__name__
        opened_in = getattr(saver, "loop", patient.loop)
        connection = getattr(saver, "conn", None)
        if isinstance(saver, InMemorySaver):
            yield (
                f"{name} forgets everything when this process ends",
                "Where that matters, use AsyncSqliteSaver or a database",
                True,
            )
        elif not has_async_methods(saver):
            yield (
                f"{name} has no async methods: `ainvoke` and `astream` raise "
                "NotImplementedError",
                f"Use Async{name}",
            )
        elif opened_in is not patient.loop:
            yield (
                f"{name} was opened in another event loop",
                "Open it in the loop that uses it: in a `lifespan`, or in "
                "the one `asyncio.run`",
            )
        elif is_closed(connection):
            yield (
                f"the connection of {name} is closed",
                "Let its `async with` last as long as the graph is used",
            )


def has_async_methods(saver: BaseCheckpointSaver) -> bool:
    kind = type(saver)
    if kind.aget_tuple is BaseCheckpointSaver.aget_tuple:
        return False
    return kind.__name__ != "SqliteSaver"  # its async methods only raise


def is_closed(connection: Any) -> bool:
    """Of aiosqlite, of psycopg, or a pool of psycopg."""
    if hasattr(connection, "_connection"):
        return connection._connection is None
    return bool(getattr(connection, "closed", False))


def at_the_conversations(patient: Patient) -> Found:
    for thread in patient.unanswered:
        yield (
            f"thread {thread!r} ends in a tool call without its result: a "
            "provider answers every later message with 400",
            "Add a ToolMessage for each call with `aupdate_state`, or delete "
            "the thread",
        )


def at_the_time_limits(patient: Patient) -> Found:
    steps = [node for graph in patient.graphs for node in graph.nodes.values()]
    limited = (
        patient.limited
        or any(graph.step_timeout for graph in patient.graphs)
        or any(getattr(step, "timeout", None) for step in steps)
        or any(sets_a_limit(thing) for thing in patient.reach.objects)
        or any(
            bound.kwargs.get("timeout")
            for bound in patient.reach.of_kind(RunnableBinding)
        )
    )
    functions = patient.on_the_loop, patient.in_threads  # are read by now
    if functions and not limited:
        for line in patient.calls.endless:
            yield (
                f"{line} makes a model without a time limit: a call that "
                "stalls before its first token waits for ever",
                "Pass `timeout=` to it",
            )
    for model in patient.models:
        name = model.model_name
        if model.request_timeout is None and not limited:
            yield (
                f"{name} has no time limit: a call that stalls before its "
                "first token waits for ever",
                "Pass `timeout=` to the model, or set `graph.step_timeout`",
            )
        if sys.version_info < (3, 12) and model.stream_chunk_timeout:
            yield (
                f"on this Python a cancel can get lost in a stream of {name}",
                "Pass `stream_chunk_timeout=None` to the model",
                True,
            )


def sets_a_limit(thing: object) -> bool:
    """Whether a function of yours in the graph uses a time limit."""
    function = plain(thing)
    if not isinstance(function, FunctionType | MethodType):
        return False
    if of_library(function.__code__):
        return False
    names = names_in(function.__code__)
    function = getattr(function, "__func__", function)
    for name in names & LIMITS:
        used = function.__globals__.get(name)
        module = getattr(used, "__module__", "").partition(".")[0]
        if module in ("asyncio", "anyio") or names & {"asyncio", "anyio"}:
            return True
    return False


def at_the_voices(patient: Patient) -> Found:
    """Inner models share the run's callbacks: `messages` hears them too."""
    for who in voices_in(patient.reach.objects, patient.calls):
        yield (
            f"{who} speaks in `messages` mode: its words reach the reader",
            'Give that model `tags=["nostream"]`',
        )


def at_the_connections(patient: Patient) -> Found:
    for model in patient.models:
        pool = model.root_async_client._client._transport._pool
        loops = {loop_of(connection) for connection in pool.connections}
        if any(loop.is_closed() for loop in loops - {None}):
            yield (
                f"{model.model_name} keeps a connection of an event loop "
                "that has ended: a call fails with `Event loop is closed`",
                "Keep everything async in one `asyncio.run`, or give each "
                "loop a model with its own `http_async_client`",
            )
        elif loops - {None, patient.loop}:
            yield (
                f"{model.model_name} is also used in another event loop: "
                "calls fail at random",
                "Give each loop a model with its own `http_async_client`",
            )
        if pool._max_connections < CONNECTIONS:
            yield (
                f"{model.model_name} opens at most {pool._max_connections} "
                "connections: further calls wait",
                "`openai.DefaultAsyncHttpxClient()` opens 1000",
                True,
            )


def loop_of(connection: object) -> asyncio.AbstractEventLoop | None:
    """The event loop that a pooled connection belongs to, if it shows."""
    thing: Any = connection
    for name in ("_connection", "_network_stream", "_stream"):
        thing = getattr(thing, name, None)
    thing = getattr(thing, "transport_stream", thing)  # under TLS
    return getattr(getattr(thing, "_transport", None), "_loop", None)


# --- the loop


def at_nest_asyncio(patient: Patient) -> Found:
    if hasattr(asyncio, "_nest_patched"):
        yield (
            "it has changed asyncio: nested runs wait for each other, and "
            "some never end",
            "Restart the kernel and write `await` instead",
        )


def at_the_debug_mode(patient: Patient) -> Found:
    if patient.loop.get_debug():
        yield (
            "it is on, and slows every task",
            "Switch it off when you have found what you look for",
            True,
        )


def at_the_tasks(patient: Patient) -> Found:
    yield from failed_tasks(patient.loop)
    pending = [
        task
        for task in asyncio.all_tasks() - {asyncio.current_task()}
        if not getattr(task, "_callbacks", None)
    ]
    while pending:
        task = pending.pop()
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is None or of_library(frame.f_code):
            continue
        if references(task) > patient.unheld:
            continue
        yield (
            f"a task{made_at(task)} waits at {line_of(frame)}, and nobody "
            "holds it: it may vanish, and its error would get lost",
            "Keep and await it, or make it in a `TaskGroup`",
        )


def references(task: asyncio.Task[Any]) -> int:
    """How many there are to a task, in a way that can be compared."""
    return sys.getrefcount(task)


def failed_tasks(loop: asyncio.AbstractEventLoop) -> Found:
    # Python 3.14 keeps no set of the tasks that have ended.
    known = getattr(asyncio.tasks, "_scheduled_tasks", None)  # from 3.12 on
    if known is None:
        known = getattr(asyncio.tasks, "_all_tasks", ())
    for task in list(known):
        if task.get_loop() is not loop or not task.done():
            continue
        if task.cancelled():
            continue
        if getattr(task, "_log_traceback", False):
            error, name = task._exception, task.get_coro().__name__
            yield (
                f"a task of `{name}`{made_at(task)} failed with "
                f"{type(error).__name__} and nobody has asked for it",
                "Await it, or make it in a `TaskGroup`",
            )


def made_at(task: asyncio.Task[Any]) -> str:
    """Where a task was made: asyncio keeps that in debug mode only."""
    for entry in reversed(getattr(task, "_source_traceback", None) or ()):
        if entry.line and not entry.filename.startswith(LIBRARY):
            line = entry.line.partition("  #")[0]
            return f", made at `{line}`,"
    return ""


def at_the_loop(patient: Patient) -> Found:
    worst = patient.watch.worst()
    if worst:
        place, seconds = worst
        yield (
            f"{place} held it up, for {seconds:.2f} s",
            "Import it at the top of the file"
            if place == IMPORTS
            else "Await its async twin, or use `asyncio.to_thread`",
            place == IMPORTS,
        )
