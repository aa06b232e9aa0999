"""Judge an answer to a task by what it does, in one printed line.

``await check("01.1", answer_all)`` prints a line that begins with one of

- ``✅`` what was proven, with the evidence that was counted,
- ``❌`` the mistake, named by what the answer did,
- ``⬜`` the task was not started.

The judges of lab NN are the functions in ``JUDGES`` of ``labNN.py``. A judge
takes the answer, tries it on a practice model of its own, returns the ✅
sentence or raises ``Wrong`` with the ❌ sentence.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import inspect
import re
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

import openai

from workshop.checks.kit import (
    Wrong,
    file_of,
    in_thread,
    line_at,
    line_on,
    stack_of,
    stack_of_task,
)
from workshop.model import WorkshopError

LIMIT = 20  # seconds for a judge and the answer together

_PLACEHOLDER = re.compile(r"(^|:)[ \t]*\.\.\.[ \t]*(#.*)?$", re.MULTILINE)

Judge = Callable[[Any], Awaitable[str]]
Verdict = tuple[str, str]  # the mark and the sentence

__all__ = ["check"]


async def check(task: str, answer: object) -> None:
    """Run ``answer`` against a practice model; print a one-line verdict.

    It never raises and never hangs, whatever the answer does. The answer
    runs in a thread with an event loop of its own.
    """
    before = getattr(sys.stdout, "stream", sys.stdout)
    sys.stdout = printed = _Printed(before)
    try:
        mark, sentence = await verdict(task, answer)
    finally:
        sys.stdout = before
    if not printed.line_ended:
        print()
    print(mark, task if isinstance(task, str) else "?", sentence)


async def verdict(task: str, answer: object) -> Verdict:
    """What ``check`` prints, as (mark, sentence)."""
    judge = _judge_of(task)
    if judge is None:
        return "❌", "no such task: its number is in the cell of the check"
    if _unfinished(answer):
        return "⬜", "not started: replace the ..., run that cell, then check"
    if inspect.iscoroutine(answer):
        answer.close()
        return "❌", "pass the function itself: its name without ()"
    if not callable(answer):
        found = type(answer).__name__
        return "❌", f"pass the function of the task; this is a {found}"
    return await _Attempt(judge, answer).verdict()


class _Printed:
    """Passes the answer's prints on; knows if their last line has ended."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.line_ended = True

    def write(self, text: str) -> int:
        if text:
            self.line_ended = text.endswith("\n")
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _judge_of(task: str) -> Judge | None:
    try:
        lab = importlib.import_module(f"{__name__}.lab{task[:2]}")
        return lab.JUDGES[task]
    except (ModuleNotFoundError, KeyError, TypeError):
        return None


def _unfinished(answer: object) -> bool:
    """Whether it is ``...`` or a function with ``...`` as a statement.

    Read as text: before Python 3.12, ``ast`` fails now and then while
    another thread uses it.
    """
    if answer is ...:
        return True
    try:
        source = inspect.getsource(answer)
    except (OSError, TypeError):
        return False
    return _PLACEHOLDER.search(source) is not None


class _Attempt:
    """One judge and one answer, in a thread and a loop of their own."""

    def __init__(self, judge: Judge, answer: Callable[..., Any]) -> None:
        self.judge = judge
        self.answer = answer
        self.file = file_of(answer)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread, self.future = in_thread(self._run)

    async def verdict(self) -> Verdict:
        """Wait at most LIMIT seconds, without blocking."""
        try:
            return await asyncio.wait_for(
                asyncio.wrap_future(self.future), LIMIT
            )
        except TimeoutError:
            at = self._waiting_line()
            where = f": it still waits at `{at}`" if at else ""
            return "❌", f"it did not finish within {LIMIT} s{where}"
        finally:
            if not self.future.done():
                await self._stop()

    def _run(self) -> Verdict:
        try:
            with asyncio.Runner() as runner:
                self.loop = runner.get_loop()
                # What is left behind is not reported beside the verdict.
                self.loop.set_exception_handler(lambda *_: None)
                return "✅", runner.run(self.judge(self.answer))
        except BaseException as error:  # also SystemExit
            return "❌", self._mistake(error)

    def _mistake(self, error: BaseException) -> str:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, Wrong):
            return str(error)
        if isinstance(error, WorkshopError | openai.APIConnectionError):
            return (
                "the practice model does not answer: run the cell with "
                "connect(), then this one"
            )
        said = str(error).strip()
        if "Event loop is closed" in said or "different event loop" in said:
            return (
                "it used connections of another event loop: use the "
                "arguments, nothing from the notebook"
            )
        sentence = f"it raised {type(error).__name__}"
        if said:
            sentence += f": {said.splitlines()[0]}"
        lines = [
            line_at(self.file, number)
            for frame, number in traceback.walk_tb(error.__traceback__)
            if frame.f_code.co_filename == self.file
        ]
        return f"{sentence}, at `{lines[-1]}`" if lines else sentence

    def _waiting_line(self) -> str | None:
        """The line of the answer where a thread or a task waits."""
        frames = sys._current_frames()
        del frames[threading.get_ident()]
        stacks = [stack_of(frames.pop(self.thread.ident, None))]
        stacks += map(stack_of_task, asyncio.all_tasks(self.loop))
        stacks += map(stack_of, frames.values())  # the answer's threads
        lines = (line_on(stack, self.file) for stack in stacks)
        return next(filter(None, lines), None)

    async def _stop(self) -> None:
        """End what still runs; a thread in a blocking call is left alone."""
        if self.loop is not None and not self.loop.is_closed():
            for task in asyncio.all_tasks(self.loop):
                self.loop.call_soon_threadsafe(task.cancel)
        for _ in range(10):
            await asyncio.sleep(0.05)
            if self.future.done():
                return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.thread.ident), ctypes.py_object(SystemExit)
        )
