"""What the judges share: a kitchen to try an answer in, and sentences."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import linecache
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

import openai
from langchain_openai import ChatOpenAI

from workshop.model import Counts, Model, practice_model

T = TypeVar("T")


class Wrong(Exception):
    """The sentence that names the mistake in an answer."""


@dataclass
class Kitchen:
    """A practice model for one check alone, and who waited for it."""

    model: Model
    llm: ChatOpenAI
    file: str | None
    thread: int
    # One entry for each blocking call: the line of the answer that kept
    # the event loop waiting meanwhile, or None if the loop was free.
    blocking: list[str | None] = field(default_factory=list)

    def note_blocking_call(self, *_: object) -> None:
        """To be called from within a blocking call."""
        self.blocking.append(self._line_that_waits())

    def _line_that_waits(self) -> str | None:
        for _ in range(20):  # a free loop leaves the line at once
            line = line_on(
                stack_of(sys._current_frames()[self.thread]), self.file
            )
            if line is None or threading.get_ident() == self.thread:
                break
            time.sleep(0.01)
        return line

    def must_be_used(self, meter: Counts, name: str) -> None:
        """Raise Wrong if the answer asked some other model, or none."""
        if meter.requests == 0:
            raise Wrong(
                f"the model behind `{name}` saw 0 requests: use the "
                "argument, nothing from the notebook"
            )


@asynccontextmanager
async def kitchen(
    answer: Callable[..., Any], ttft: float, per_token: float = 0.01
) -> AsyncIterator[Kitchen]:
    """Open a kitchen with HTTP clients of its own; times in seconds."""
    model = practice_model()
    model.pace(ttft=ttft, per_token=per_token)
    client = openai.DefaultAsyncHttpxClient()
    sync_client = openai.DefaultHttpxClient()
    llm = ChatOpenAI(
        model=model.name,
        base_url=model.base_url,
        api_key=model.key,
        stream_usage=True,
        http_async_client=client,
        http_client=sync_client,
    )
    place = Kitchen(model, llm, file_of(answer), threading.get_ident())
    sync_client.event_hooks = {"request": [place.note_blocking_call]}
    try:
        yield place
    finally:
        sync_client.close()
        with suppress(RuntimeError):  # the answer used it in another loop
            await client.aclose()


def call(answer: Callable[..., T], **given: Any) -> T:
    """Call the answer by position; the names are for the sentence."""
    try:
        inspect.signature(answer).bind(*given.values())
    except TypeError:
        takes = inspect.signature(answer)
        raise Wrong(
            f"it is called with ({', '.join(given)}) but takes {takes}"
        ) from None
    except ValueError:  # a builtin without a signature
        pass
    return answer(*given.values())


async def result(answer: Callable[..., Any], **given: Any) -> Any:
    """Call the answer, and await what it returns if that can be awaited."""
    value = call(answer, **given)
    return await value if inspect.isawaitable(value) else value


async def in_script(answer: Callable[..., Any], **given: Any) -> Any:
    """Call the answer in a thread that has no event loop, as a script."""

    def script() -> tuple[Any, BaseException | None]:
        try:
            return call(answer, **given), None
        except BaseException as error:  # also SystemExit
            return None, error

    value, error = await asyncio.wrap_future(in_thread(script)[1])
    if error is not None:
        raise error
    return value


def expect(value: Any, kind: type[T], words: str) -> T:
    """Return ``value`` if it is a ``kind``; else raise Wrong with words."""
    if isinstance(value, kind):
        return value
    if value is None:
        raise Wrong(f"it returned None, not {words}: is a `return` missing?")
    if inspect.iscoroutine(value):
        value.close()
    found = type(value).__name__.replace("_", " ").strip()
    article = "an" if found[0] in "aeiouAEIOU" else "a"
    raise Wrong(f"it returned {article} {found}, not {words}")


def in_thread(function: Callable[[], T]) -> tuple[threading.Thread, Future[T]]:
    """Start it in a daemon thread; it must not raise."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=lambda: future.set_result(context.run(function)),
        name="answer",
        daemon=True,
    )
    thread.start()
    return thread, future


def file_of(answer: object) -> str | None:
    """The file or cell that the answer was written in."""
    code = getattr(inspect.unwrap(answer), "__code__", None)
    return getattr(code, "co_filename", None)


def stack_of(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of a thread, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def stack_of_task(task: asyncio.Task[Any]) -> list[FrameType]:
    """The frames of the coroutines that wait in it, the innermost first."""
    frames: list[FrameType] = []
    waiter: Any = task.get_coro()
    while frame := getattr(waiter, "cr_frame", None):
        frames.insert(0, frame)
        waiter = waiter.cr_await
    return frames


def line_on(stack: Iterable[FrameType], file: str | None) -> str | None:
    """The innermost line of ``file`` on a stack."""
    for frame in stack:
        if frame.f_code.co_filename == file:
            return line_at(file, frame.f_lineno)
    return None


def line_at(file: str, number: int) -> str:
    return linecache.getline(file, number).strip()
