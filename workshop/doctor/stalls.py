"""Watches the running loop from a thread: what held it up, and where.

One step of one task that lasts HELD_UP or longer is a block. A loop that is
late because many short steps are due is busy, and that is no fault of a line;
nor is the time for which the machine had no processor for its thread.
"""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from workshop.doctor.reach import of_library

HELD_UP = 0.1  # seconds, as asyncio's own `slow_callback_duration`
EVERY = 0.01
LONG = 5  # looks in a row at which calls wait for a thread
IMPORT = "<frozen importlib"
IMPORTS = "an import, the first time,"
# The functions of a loop and of what starts it: below these is one step.
LOOP = {"_run_once", "run_forever", "run_until_complete", "run", "_run"}


@dataclass
class Watch:
    """``held`` has the longest step at each place, in seconds.

    ``queued`` is the most calls that waited for a worker thread.
    """

    held: dict[str, float] = field(default_factory=dict)
    queued: int = 0

    def worst(self) -> tuple[str, float] | None:
        held = sorted(self.held.items(), key=lambda h: (h[0] != IMPORTS, h[1]))
        return held[-1] if held else None


@contextmanager
def watching(loop: asyncio.AbstractEventLoop) -> Iterator[Watch]:
    """Sample the thread of the loop until the block ends."""
    watch, ended = Watch(), threading.Event()
    thread, native = threading.get_ident(), threading.get_native_id()

    def sample() -> None:
        step, began, seen = None, 0.0, Counter[str]()
        queues = deque([0] * LONG, LONG)
        while not ended.wait(EVERY):
            pool = getattr(loop, "_default_executor", None)
            queues.append(waiting_calls(pool))
            watch.queued = max(watch.queued, min(queues))
            stack = list(stack_of(sys._current_frames().get(thread)))
            newest = step_of(stack)
            # A frame that is kept here is no other one's, also when done.
            if newest is None or newest is not step:
                step, began, seen = newest, clock(native), Counter()
                continue
            seen[place_in(stack, step)] += 1
            took = clock(native) - began
            if took >= HELD_UP:
                place = seen.most_common(1)[0][0]
                watch.held[place] = max(took, watch.held.get(place, 0))

    threading.Thread(target=sample, name="doctor", daemon=True).start()
    try:
        yield watch
    finally:
        ended.set()


def clock(thread: int) -> float:
    """Seconds, without those that a thread waited for a processor (Linux)."""
    try:
        said = Path(f"/proc/self/task/{thread}/schedstat").read_text("ascii")
        waited = int(said.split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        waited = 0.0
    return time.perf_counter() - waited


def waiting_calls(pool: Any) -> int:
    """How many calls wait for a thread of that executor."""
    queue = getattr(pool, "_work_queue", None)
    return 0 if queue is None else queue.qsize()


def stack_of(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of a thread, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def step_of(stack: list[FrameType]) -> FrameType | None:
    """The frame that begins the loop's present step; None if it is idle."""
    for number, frame in enumerate(stack):
        name = frame.f_code.co_name
        if of_library(frame.f_code) and name in LOOP:
            if name == "_run":  # of a Handle: made anew for each step
                return frame
            inner = stack[number - 1] if number else None
            idle = inner is None or inner.f_code.co_name in ("select", "_poll")
            return None if idle else inner
    return None


def place_in(stack: list[FrameType], step: FrameType) -> str:
    """The innermost line of yours within this step, or a library's."""
    inside = stack[: stack.index(step)] if step in stack else stack
    if any(f.f_code.co_filename.startswith(IMPORT) for f in inside):
        return IMPORTS
    for number, frame in enumerate(inside):
        if not of_library(frame.f_code):
            named = (f for f in inside[number:] if f.f_code.co_name[0] != "<")
            around = next(named, frame).f_code.co_name
            return written(frame.f_code.co_filename, frame.f_lineno, around)
    return f"library code, {line_of(inside[0] if inside else step)},"


def line_of(frame: FrameType) -> str:
    """The line where a frame is, as it is written, and its function."""
    code = frame.f_code
    return written(code.co_filename, frame.f_lineno, code.co_name)


def written(file: str, number: int, function: str) -> str:
    line = linecache.getline(file, number).partition("  #")[0].strip()
    return f"`{line}` in `{function}`" if line else f"`{function}`"
