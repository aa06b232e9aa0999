"""Looks at the running event loop and at a graph, and says what is wrong.

``await examine(graph)`` looks at how things are set up, and watches the
loop for a moment. To watch a run, let it run beside the examination:

    report, _ = await asyncio.gather(
        examine(graph, seconds=2), graph.ainvoke(question)
    )

It starts no run, changes nothing and does not raise.
"""

from __future__ import annotations

import asyncio
import functools
import linecache
import os
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel

from workshop.observe import Heartbeat

HELD_UP = 0.2  # seconds; a loop that is silent so long is blocked
CONNECTIONS = 1000  # how many ChatOpenAI opens if nobody says otherwise
FARTHEST = 2000  # objects; a search ends there
WAITING = {"invoke", "stream", "batch", "sleep", "urlopen", "requests"}
IDLE = {"select", "_poll", "run_forever", "run"}  # where a free loop waits
LIBRARY = (sysconfig.get_paths()["stdlib"], sys.prefix, "<frozen")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to do about it.

    ``look`` names what was looked at. A ``remark`` is worth knowing, and
    may be meant so.
    """

    look: str
    fault: str
    cure: str
    remark: bool = False

    def __str__(self) -> str:
        mark = "remark, " if self.remark else ""
        return f"{mark}{self.look}: {self.fault}. {self.cure}."


@dataclass(frozen=True, repr=False)
class Report:
    """What an examination found; as text, one line for each finding.

    ``looks`` names what was looked at, ``blind`` where the look failed.
    """

    findings: list[Finding]
    looks: list[str]
    blind: list[str]

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings]
        if not lines:
            names = ", ".join(self.looks)
            lines.append(
                f"nothing found: looked at {len(self.looks)} things ({names})"
            )
        if self.blind:
            lines.append(f"could not look at: {', '.join(self.blind)}")
        return "\n".join(lines)

    __repr__ = __str__


async def examine(graph: object = None, *, seconds: float = 0.3) -> Report:
    """Examine a compiled graph, and the running loop for that long.

    Without a graph it looks at the loop alone.
    """
    patient = Patient(graph, asyncio.get_running_loop())
    async with patient.heartbeat:
        with noting_blocks(patient):
            await asyncio.sleep(seconds)
    findings: list[Finding] = []
    looks, blind = [], []
    for name, look in LOOKS.items():
        if graph is None and look not in AT_THE_LOOP:
            continue
        try:
            findings += [Finding(name, *found) for found in look(patient)]
            looks.append(name)
        except Exception:  # something is made otherwise than known here
            blind.append(name)
    return Report(findings, looks, blind)


# --- the patient


@dataclass
class Patient:
    """A graph, the loop that it is to run on, and what happened there."""

    graph: Any
    loop: asyncio.AbstractEventLoop
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    held_at: Counter[str] = field(default_factory=Counter)
    queued: int = 0  # the most calls that waited for a worker thread

    @functools.cached_property
    def graphs(self) -> list[Pregel]:
        return [g for g in reach(self.graph) if isinstance(g, Pregel)]

    @functools.cached_property
    def models(self) -> list[Any]:
        """The chat models that have an async OpenAI client."""
        return [
            model
            for model in reach(self.graph)
            if isinstance(model, BaseChatModel)
            and hasattr(model, "root_async_client")
        ]

    @functools.cached_property
    def waiting(self) -> dict[str, str]:
        """The ``def`` nodes and tools that wait, and the call that does."""
        steps = {
            f"node `{name}`": node.bound
            for graph in self.graphs
            for name, node in graph.nodes.items()
        }
        for tool in reach(self.graph):
            if isinstance(tool, BaseTool):
                steps[f"tool `{tool.name}`"] = tool
        calls = {name: waits(sync_function(s)) for name, s in steps.items()}
        return {name: call for name, call in calls.items() if call}

    @property
    def pool(self) -> Any:
        """The loop's default executor; None before its first use."""
        return getattr(self.loop, "_default_executor", None)

    @property
    def threads(self) -> int:
        """How many worker threads the ``def`` nodes of this loop share."""
        usual = min(32, (os.cpu_count() or 1) + 4)
        return getattr(self.pool, "_max_workers", usual)


def reach(root: object, kind: Any = object) -> Iterator[object]:
    """Itself and what it refers to, by way of things of that kind."""
    todo, seen = [root], set()
    while todo and len(seen) < FARTHEST:
        thing = todo.pop(0)
        if isinstance(thing, kind) and id(thing) not in seen:
            seen.add(id(thing))
            todo += parts(thing)
            yield thing


def parts(thing: object) -> list[object]:
    """What a graph, a step, a function or a collection refers to."""
    if isinstance(thing, Pregel):
        return [node.bound for node in thing.nodes.values()]
    if isinstance(thing, BaseChatModel):
        return []
    if isinstance(thing, Runnable):
        return list(vars(thing).values())
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple | set):
        return list(thing)
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args]
    if isinstance(thing, FunctionType):
        return used_by(thing)
    return []


def used_by(function: FunctionType) -> list[object]:
    """What it takes from around it, and from its module if that is yours."""
    used = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not filled yet
            used.append(cell.cell_contents)
    if not of_library(function.__code__):
        names = names_in(function.__code__) & function.__globals__.keys()
        used += [function.__globals__[name] for name in sorted(names)]
    return used


def names_in(code: CodeType) -> set[str]:
    """The names of globals and attributes that it uses, inner code too."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*map(names_in, inner))


def of_library(code: CodeType) -> bool:
    return code.co_filename.startswith(LIBRARY)


def sync_function(step: Any) -> object:
    """The function of a step that has no async form, or None.

    LangGraph gives a ``def`` node an async form that runs it in a thread.
    """
    own = getattr(step, "afunc", None) or getattr(step, "coroutine", None)
    if own is None or isinstance(own, functools.partial):
        return getattr(step, "func", None)
    return None


def waits(function: object) -> str | None:
    """The call at which it waits, it or a function of yours that it uses."""
    for part in reach(function, FunctionType | functools.partial):
        if isinstance(part, FunctionType) and not of_library(part.__code__):
            for name in sorted(names_in(part.__code__) & WAITING):
                return name
    return None


# --- where the loop is held up


@contextmanager
def noting_blocks(patient: Patient) -> Iterator[None]:
    """Note where the loop is when it does not answer, and what waits."""
    ended = threading.Event()
    thread = threading.get_ident()

    def ask() -> None:
        now = 0
        with suppress(RuntimeError):  # the loop was closed
            while not ended.wait(0.02):
                before, now = now, waiting_calls(patient.pool)
                patient.queued = max(patient.queued, min(before, now))
                heard = threading.Event()
                patient.loop.call_soon_threadsafe(heard.set)
                if not heard.wait(HELD_UP):
                    place = place_of(sys._current_frames().get(thread))
                    if place:
                        patient.held_at[place] += 1
                    while not (heard.wait(0.05) or ended.is_set()):
                        pass

    threading.Thread(target=ask, name="doctor", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def waiting_calls(pool: Any) -> int:
    """How many calls wait for a thread of that executor."""
    queue = getattr(pool, "_work_queue", None)
    return 0 if queue is None else queue.qsize()


def place_of(frame: FrameType | None) -> str | None:
    """The innermost line of yours on a stack; None where a loop is idle."""
    if frame is None:
        return None
    if of_library(frame.f_code) and frame.f_code.co_name in IDLE:
        return None
    innermost = frame
    while frame is not None and of_library(frame.f_code):
        frame = frame.f_back
    return line_of(frame or innermost)


def line_of(frame: FrameType) -> str:
    code = frame.f_code
    line = linecache.getline(code.co_filename, frame.f_lineno)
    line = line.partition("  #")[0].strip()
    return f"`{line}` in `{code.co_name}`" if line else f"`{code.co_name}`"


# --- the looks; each yields the fields of a Finding after its name

Found = Iterator[tuple[str, str] | tuple[str, str, bool]]


def at_the_graph(patient: Patient) -> Found:
    if not isinstance(patient.graph, Pregel):
        kind = type(patient.graph).__name__
        yield (
            f"this is a {kind}, so there was nothing more to look at",
            "Pass what `compile()` returned",
        )


def at_the_nodes(patient: Patient) -> Found:
    for name, call in patient.waiting.items():
        yield (
            f"{name} is a `def` that waits at `{call}`: in an async run each "
            f"call holds one of {patient.threads} worker threads",
            "Make it an `async def`, and `await` the async twin",
        )


def at_the_threads(patient: Patient) -> Found:
    fault = ""
    if patient.queued:
        fault = f"{patient.queued} calls waited for one of"
    elif len(patient.waiting) > patient.threads:
        fault = f"{len(patient.waiting)} `def` nodes and tools share"
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
        elif getattr(connection, "_connection", connection) is None:
            yield (
                f"the connection of {name} is closed",
                "Let its `async with` last as long as the graph is used",
            )


def has_async_methods(saver: BaseCheckpointSaver) -> bool:
    kind = type(saver)
    if kind.aget_tuple is BaseCheckpointSaver.aget_tuple:
        return False
    return kind.__name__ != "SqliteSaver"  # its async methods only raise


def at_the_time_limits(patient: Patient) -> Found:
    limited = any(graph.step_timeout for graph in patient.graphs)
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


def at_the_connections(patient: Patient) -> Found:
    for model in patient.models:
        pool = model.root_async_client._client._transport._pool
        loops = {loop_of(connection) for connection in pool.connections}
        if any(loop.is_closed() for loop in loops - {None}):
            yield (
                f"{model.model_name} keeps a connection of an event loop "
                "that has ended: a call fails with `Event loop is closed`",
                "Keep everything async in one `asyncio.run`",
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
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        frame = getattr(task.get_coro(), "cr_frame", None)
        watched = getattr(task, "_callbacks", None)
        if frame is None or watched or of_library(frame.f_code):
            continue
        made = [
            entry.line
            for entry in getattr(task, "_source_traceback", None) or ()
            if not entry.filename.startswith(LIBRARY)
        ]
        where = f", made at `{made[-1]}`," if made else ""
        yield (
            f"a task{where} waits at {line_of(frame)}, and nobody awaits "
            "it: its error would get lost",
            "Await it, or make it in a `TaskGroup`",
        )


def at_the_loop(patient: Patient) -> Found:
    for place, _ in patient.held_at.most_common(1):
        yield (
            f"{place} held it up, for {patient.heartbeat.longest:.2f} s",
            "Await its async twin, or use `asyncio.to_thread`",
        )


LOOKS: dict[str, Callable[[Patient], Found]] = {
    "graph": at_the_graph,
    "nodes": at_the_nodes,
    "threads": at_the_threads,
    "memory": at_the_memory,
    "time limits": at_the_time_limits,
    "connections": at_the_connections,
    "nest_asyncio": at_nest_asyncio,
    "debug mode": at_the_debug_mode,
    "tasks": at_the_tasks,
    "event loop": at_the_loop,
}
AT_THE_LOOP = (
    at_the_threads,
    at_nest_asyncio,
    at_the_debug_mode,
    at_the_tasks,
    at_the_loop,
)
