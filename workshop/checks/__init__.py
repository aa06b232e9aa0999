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
import io
import re
import sys
import threading
import time
import tokenize
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from textwrap import dedent
from typing import Any, TextIO

import openai

from workshop import progress
from workshop.checks.kit import (
    NESTED,
    Wrong,
    file_of,
    in_thread,
    line_at,
    line_on,
    stack_of,
    stack_of_task,
)
from workshop.checks.loop import own_loop
from workshop.model import WorkshopError

LIMIT = 20  # seconds for a judge and the answer, on a machine that is free
MOST = 4  # times that, on a machine that is not

# A stub that is given in part: the dots are still below its TODO.
_STUB = re.compile(r"^ *# TODO.*\n(?: *#.*\n)* *\.\.\.[ \t]*$", re.MULTILINE)
_LAYOUT = {
    tokenize.NEWLINE,
    tokenize.NL,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENDMARKER,
}

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
    progress.note(task, mark, sentence)


async def verdict(
    task: str, answer: object, limit: float | None = None
) -> Verdict:
    """What ``check`` prints, as (mark, sentence).

    ``limit`` is in seconds, LIMIT if none is given.
    """
    judge = judge_of(task)
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
    nested = _nested()
    mark, sentence = await _Attempt(judge, answer).verdict(limit or LIMIT)
    return ("❌", NESTED) if _nested() and not nested else (mark, sentence)


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


def judge_of(task: str) -> Judge | None:
    """The judge of a task, if there is such a task."""
    try:
        lab = importlib.import_module(f"{__name__}.lab{task[:2]}")
        return lab.JUDGES[task]
    except (ModuleNotFoundError, KeyError, TypeError):
        return None


def _unfinished(answer: object) -> bool:
    """Whether it is ``...``, or a function of nothing but ``...``, or one
    that is given in part and still has ``...`` below its ``# TODO``.

    Read as tokens: before Python 3.12, ``ast`` fails now and then while
    another thread uses it.
    """
    if answer is ...:
        return True
    words: list[str] = []
    with suppress(OSError, TypeError, SyntaxError, tokenize.TokenError):
        text = dedent(inspect.getsource(answer))
        if _STUB.search(text):
            return True
        source = io.StringIO(text)
        for token in tokenize.generate_tokens(source.readline):
            if token.type not in _LAYOUT:
                words.append(token.string)
    # The body of a stub: perhaps a docstring, then the dots.
    if words[-1:] != ["..."]:
        return False
    body = words[:-1]
    if body and body[-1][-1] in "'\"":
        body.pop()
    return body[-1:] == [":"] and body.count("def") == 1


def _nested() -> bool:
    """Whether nest_asyncio has been applied."""
    return hasattr(asyncio, "_nest_patched")


def _slowness() -> float:
    """How many seconds a second takes: 1 if the machine is free."""
    began, used = time.perf_counter(), time.thread_time()
    while time.thread_time() - used < 0.05:
        pass
    return (time.perf_counter() - began) / (time.thread_time() - used)


class _Attempt:
    """One judge and one answer, in a thread and a loop of their own."""

    def __init__(self, judge: Judge, answer: Callable[..., Any]) -> None:
        self.judge = judge
        self.answer = answer
        self.file = file_of(answer)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.mistake: Verdict | None = None
        self.thread, self.future = in_thread(self._run)

    async def verdict(self, limit: float) -> Verdict:
        """Wait at most ``limit`` seconds, without blocking.

        A busy machine gets as much longer as it is slower.
        """
        done = asyncio.wrap_future(self.future)
        try:
            await asyncio.wait([done], timeout=limit)
            if not done.done():
                slowness = await asyncio.wrap_future(in_thread(_slowness)[1])
                more = limit * min(slowness - 1, MOST - 1)
                await asyncio.wait([done], timeout=more)
            if done.done():
                return done.result()
            if self.mistake:  # what the answer leaves behind does not end
                return self.mistake
            if _nested():
                return "❌", NESTED
            at = self._waiting_line()
            where = f": it still waits at `{at}`" if at else ""
            return "❌", f"it did not finish within {limit} s{where}"
        finally:
            if not self.future.done():
                await self._stop()

    def _run(self) -> Verdict:
        try:
            with asyncio.Runner(loop_factory=own_loop) as runner:
                self.loop = runner.get_loop()
                # What is left behind is not reported beside the verdict.
                self.loop.set_exception_handler(lambda *_: None)
                try:
                    return "✅", runner.run(self.judge(self.answer))
                except BaseException as error:  # also SystemExit
                    self.mistake = "❌", self._mistake(error)
                    return self.mistake
        except BaseException as error:
            return self.mistake or ("❌", self._mistake(error))

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
        if _nested() and isinstance(error, RuntimeError | TypeError):
            return NESTED
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
        lines = list(filter(None, lines))
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
        if self.loop is not None:
            with suppress(RuntimeError):  # it closes just now
                for task in asyncio.all_tasks(self.loop):
                    self.loop.call_soon_threadsafe(task.cancel)
        for _ in range(10):
            await asyncio.sleep(0.05)
            if self.future.done():
                return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.thread.ident), ctypes.py_object(SystemExit)
        )
