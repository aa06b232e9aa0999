"""Records model calls and event-loop gaps, and says them in words."""

from __future__ import annotations

import asyncio
import base64
import html
import itertools
import math
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

LATE = 0.2  # seconds; a beat that is later than this was held up
LABEL = 24  # characters


class Gap(NamedTuple):
    """A time, in seconds, in which the event loop ran nothing else."""

    start: float
    length: float


class Heartbeat:
    """Beats on the running event loop: whoever blocks it, stops the beat.

    ``async with Heartbeat() as hb:`` (or plain ``with``), around code that
    runs on an event loop; ``every`` is in seconds. Afterwards, and
    meanwhile:

    - ``beats``: how many beats happened
    - ``missed``: how many did not, as the loop was held up over 0.2 s
    - ``longest``: the longest time without a beat, in seconds
    - ``gaps``: when it was held up, counted from the start

    Raises RuntimeError where no event loop is running.
    """

    def __init__(self, every: float = 0.01) -> None:
        self.every = every
        self._reset()

    def _reset(self) -> None:
        self.beats = 0
        self.missed = 0
        self.longest = 0.0
        self.gaps: list[Gap] = []
        self._began = self._last = time.perf_counter()

    def __enter__(self) -> Heartbeat:
        self._loop = asyncio.get_running_loop()
        self._reset()
        self._timer = self._loop.call_later(self.every, self._beat)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._timer.cancel()
        self._measure(beats=0)

    async def __aenter__(self) -> Heartbeat:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()

    def _beat(self) -> None:
        self._measure(beats=1)
        self._timer = self._loop.call_later(self.every, self._beat)

    def _measure(self, beats: int) -> None:
        now = time.perf_counter()
        length = now - self._last
        if length > self.every + LATE:
            self.gaps.append(Gap(self._last - self._began, length))
            self.missed += int(length / self.every) - beats
        self.longest = max(self.longest, length)
        self.beats += beats
        self._last = now

    def __str__(self) -> str:
        return (
            f"one beat is due every {self.every:g} s, "
            f"the longest gap was {self.longest:.2f} s"
        )


@dataclass
class Call:
    """One model call; times are seconds since the timeline began.

    ``tokens`` says when each piece of a streamed answer arrived: text, or
    a part of a tool call. ``outcome`` is "done", "cut off" (its caller left
    before the end), "error", or "still open", and then ``end`` is None.
    ``asked`` is the prompt, of which ``label`` is the beginning.
    """

    label: str
    start: float
    tokens: list[float] = field(default_factory=list)
    end: float | None = None
    outcome: str = "still open"
    asked: str = ""

    @property
    def first_token(self) -> float | None:
        return self.tokens[0] if self.tokens else None


class Timeline:
    """Records the model calls of a ``with`` block, whoever makes them.

    ``with Timeline() as t:`` takes in every call that starts meanwhile in
    this process: sync or async, in any task, thread or event loop, streamed
    or not. Where an event loop is running it also measures the loop's gaps.
    What is still open at the end of the block stays so.

    - ``calls``: a list of ``Call``, in the order of their starts
    - ``names``: a name for each of them that tells it from the others
    - ``peak``: the most calls that were open at the same time
    - ``gaps``: a list of ``Gap``; empty where no loop was running
    - ``took``: seconds from start to end, or to now

    ``print(t)`` says it in words, ``plot()`` draws it.
    """

    def __init__(self) -> None:
        self._calls: dict[UUID, Call] = {}
        self._heartbeat: Heartbeat | None = None
        self._began = time.perf_counter()
        self._ended: float | None = self._began

    def __enter__(self) -> Timeline:
        _register()
        try:
            self._heartbeat = Heartbeat().__enter__()
        except RuntimeError:  # no loop is running here
            self._heartbeat = None
        self._calls = {}
        self._began = time.perf_counter()
        self._ended = None
        _active.add(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended = time.perf_counter()
        _active.remove(self)
        if self._heartbeat is not None:
            self._heartbeat.__exit__()

    @property
    def calls(self) -> list[Call]:
        return list(self._calls.values())

    @property
    def names(self) -> list[str]:
        return _names(self.calls)

    @property
    def gaps(self) -> list[Gap]:
        return [] if self._heartbeat is None else self._heartbeat.gaps

    @property
    def took(self) -> float:
        return (self._ended or time.perf_counter()) - self._began

    @property
    def peak(self) -> int:
        starts = [(call.start, 1) for call in self.calls]
        ends = [(c.end, -1) for c in self.calls if c.end is not None]
        steps = (step for _, step in sorted(starts + ends))
        return max(itertools.accumulate(steps), default=0)

    def plot(self, title: str = "") -> None:
        """Show the timeline: a lane per call, and the same in words."""
        _show({"": self}, title)

    @staticmethod
    def compare(timelines: dict[str, Timeline], title: str = "") -> None:
        """Show several, each under its name, on one time axis."""
        _show(timelines, title)

    def html(self, title: str = "") -> str:
        """The picture that ``plot`` shows, for instance for a widget."""
        return _img({"": self}, title)

    def headline(self) -> str:
        """The timeline in one line."""
        if not self._calls:
            return f"no model call started within {self.took:.2f} s"
        tokens = sum(len(call.tokens) for call in self.calls)
        streamed = _count(tokens, "token") if tokens else "nothing streamed"
        return (
            f"{_count(len(self._calls), 'call')}, at most {self.peak} in "
            f"flight, {streamed}, took {self.took:.2f} s"
        )

    def __str__(self) -> str:
        lines = [self.headline()]
        for name, call in _reading_order(self.names, self.calls):
            end = self.took if call.end is None else call.end
            first = end if call.first_token is None else call.first_token
            line = f"{name}: waited {first - call.start:.2f} s, "
            if call.tokens:
                tokens = _count(len(call.tokens), "token")
                line += f"streamed {tokens} in {end - first:.2f} s, "
            lines.append(line + call.outcome)
        if self._heartbeat is not None:
            longest = self._heartbeat.longest
            lines.append(f"event loop: longest gap {longest:.2f} s")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Timeline: {self.headline()}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return _bundle({"": self}, "")

    def _start(self, run_id: UUID, now: float, asked: str) -> None:
        asked = asked or f"call {len(self._calls) + 1}"
        call = Call(_short(asked), now - self._began, asked=asked)
        self._calls[run_id] = call

    def _token(self, run_id: UUID, now: float) -> None:
        if call := self._calls.get(run_id):
            call.tokens.append(now - self._began)

    def _end(self, run_id: UUID, now: float, outcome: str) -> None:
        if self._has_open(run_id):
            call = self._calls[run_id]
            call.outcome, call.end = outcome, now - self._began

    def _has_open(self, run_id: UUID) -> bool:
        call = self._calls.get(run_id)
        return call is not None and call.end is None


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _names(calls: list[Call]) -> list[str]:
    """The calls' labels; among equal ones, what differs, or a number."""
    names = [call.label for call in calls]
    for label in {name for name in names if names.count(name) > 1}:
        same = [row for row, name in enumerate(names) if name == label]
        texts = [calls[row].asked for row in same]
        begin = _common([text.split(" ") for text in texts])
        if len(set(texts)) > 1:
            for row in same:
                rest = calls[row].asked.split(" ")[begin:]
                names[row] = _short(" ".join(["…", *rest]))
    seen: Counter[str] = Counter()
    often = Counter(names)
    for row, name in enumerate(names):
        seen[name] += 1
        if often[name] > 1:
            names[row] = f"{name} · {seen[name]}"
    return names


def _common(texts: list[list[str]]) -> int:
    """With how many equal words they all begin."""
    rows = list(zip(*texts, strict=False))
    equal = itertools.takewhile(lambda row: len(set(row)) == 1, rows)
    return len(list(equal))


def _reading_order(
    names: list[str], calls: list[Call]
) -> Iterable[tuple[str, Call]]:
    """One after another by start; what overlaps, by name.

    Threads start in another order now and then, and the words of two equal
    runs should be equal.
    """
    groups: list[list[tuple[str, Call]]] = []
    busy_until = 0.0
    for name, call in zip(names, calls, strict=True):
        if not groups or call.start >= busy_until:
            groups.append([])
        groups[-1].append((name, call))
        end = math.inf if call.end is None else call.end
        busy_until = max(busy_until, end)
    for group in groups:
        yield from sorted(group, key=lambda pair: _natural(pair[0]))


def _natural(label: str) -> list[str | int]:
    parts = re.split(r"(\d+)", label)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _words(timelines: dict[str, Timeline]) -> str:
    named = (
        f"{name}: {t}" if name else str(t) for name, t in timelines.items()
    )
    return "\n".join(named)


def _img(timelines: dict[str, Timeline], title: str) -> str:
    """The picture as an HTML element; it is the only kind for which
    JupyterLab, Notebook and nbconvert show an alternative text."""
    from workshop.observe.draw import WIDTH, draw

    heads = [
        f"{name}: {t.headline()}" if name else t.headline()
        for name, t in timelines.items()
    ]
    alt = html.escape(". ".join(filter(None, ["Timeline", title, *heads])))
    data = base64.b64encode(draw(timelines, title).encode()).decode()
    return (
        f'<img alt="{alt}" width="{WIDTH}" style="max-width: 100%" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


def _bundle(timelines: dict[str, Timeline], title: str) -> dict[str, str]:
    """The picture, with an element that opens and says it in words."""
    words = _words(timelines)
    details = "<details><summary>In words</summary><pre>{}</pre></details>"
    return {
        "text/html": _img(timelines, title)
        + details.format(html.escape(words)),
        "text/plain": words,
    }


def _show(timelines: dict[str, Timeline], title: str) -> None:
    """Display the picture; where there is no notebook, print the words."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(_words(timelines))
        return
    from IPython.display import display

    display(_bundle(timelines, title), raw=True)


class _Active:
    """The timelines that are running now.

    The configure hook wants a ContextVar, of which it uses only ``get``. A
    real one would not reach threads, nor tasks made before the block.
    """

    def __init__(self) -> None:
        self.timelines: tuple[Timeline, ...] = ()
        self._lock = threading.Lock()
        self._recorder = _Recorder()

    def get(self) -> BaseCallbackHandler | None:
        return self._recorder if self.timelines else None

    def add(self, timeline: Timeline) -> None:
        with self._lock:
            self.timelines += (timeline,)

    def remove(self, timeline: Timeline) -> None:
        with self._lock:
            self.timelines = tuple(
                t for t in self.timelines if t is not timeline
            )


class _Recorder(BaseCallbackHandler):
    """Passes what LangChain reports about model calls on to timelines."""

    run_inline = True  # at once, in the thread of the call, and in order

    def on_chat_model_start(
        self, serialized: Any, messages: list[list], *, run_id: UUID, **_: Any
    ) -> None:
        said = [m.text for m in messages[0] if m.type == "human"]
        self._start(run_id, said[-1] if said else "")

    def on_llm_start(
        self, serialized: Any, prompts: list[str], *, run_id: UUID, **_: Any
    ) -> None:
        self._start(run_id, prompts[0])

    def on_llm_new_token(
        self, token: Any, *, run_id: UUID, chunk: Any = None, **_: Any
    ) -> None:
        now = time.perf_counter()
        message = getattr(chunk, "message", None)
        if chunk is not None:
            token = chunk.text or getattr(message, "tool_call_chunks", None)
        if token:  # chunks without any carry roles, usage and the like
            for timeline in _active.timelines:
                timeline._token(run_id, now)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        self._end(run_id, "done")

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, **_: Any
    ) -> None:
        # CancelledError, GeneratorExit and KeyboardInterrupt are none.
        failed = isinstance(error, Exception)
        self._end(run_id, "error" if failed else "cut off")

    def _start(self, run_id: UUID, prompt: str) -> None:
        now = time.perf_counter()
        for timeline in _active.timelines:
            timeline._start(run_id, now, _line(prompt))
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop is running in this thread
            return
        if task is not None:
            self._watch_later(run_id, task)

    def _end(self, run_id: UUID, outcome: str) -> None:
        now = time.perf_counter()
        for timeline in _active.timelines:
            timeline._end(run_id, now, outcome)

    # ``ainvoke`` waits in a gather() for its answer, and when it is
    # cancelled there, LangChain reports nothing. So look at what the task
    # waits for, once it does.

    def _watch_later(self, run_id: UUID, task: asyncio.Task) -> None:
        task.get_loop().call_soon(self._watch, run_id, task)

    def _watch(self, run_id: UUID, task: asyncio.Task) -> None:
        def ended(child: asyncio.Future) -> None:
            if child.cancelled():
                self._end(run_id, "cut off")
            else:  # it was a callback of somebody else's, or the answer
                self._watch_later(run_id, task)
                # An answer that came as its caller was cancelled.
                task.add_done_callback(lambda _: self._end(run_id, "cut off"))

        if any(t._has_open(run_id) for t in _active.timelines):
            waits_for = getattr(task, "_fut_waiter", None)
            for child in getattr(waits_for, "_children", [])[:1]:
                child.add_done_callback(ended)


def _line(text: str) -> str:
    """A text in one line, not for ever."""
    text = "".join(c if c.isprintable() else " " for c in text[:400])
    return " ".join(text.split())


def _short(line: str) -> str:
    if len(line) > LABEL:
        line = line[: LABEL - 1].rstrip() + "…"
    return line


_active = _Active()


@cache
def _register() -> None:
    """Ask LangChain, once, to consult ``_active`` before each call."""
    from langchain_core.tracers.context import register_configure_hook

    # The class matters: it keeps a second recorder from the same call, and
    # a timeline that ends in another thread meanwhile from breaking it.
    register_configure_hook(_active, False, _Recorder)
