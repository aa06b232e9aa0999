"""What the judges of lessons 14 to 16 share: threads, and who keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.errors import EmptyInputError
from langgraph.graph.state import CompiledStateGraph

from workshop.checks.kit import (
    PAUSE,
    Answer,
    ScriptedModel,
    Wrong,
    expect,
    settled,
    start,
    stop,
    stream_of,
    until,
)

USED_WHEN_CLOSED = "no active connection", "threads can only be started once"


def on(thread: str) -> dict[str, Any]:
    """The config of a thread."""
    return {"configurable": {"thread_id": thread}}


def ask(text: str) -> dict[str, Any]:
    """The input with a message of the user."""
    return {"messages": [("user", text)]}


async def kept(graph: CompiledStateGraph, thread: str) -> list[BaseMessage]:
    """The messages of a thread."""
    state = await graph.aget_state(on(thread))
    return state.values.get("messages", [])


async def texts(graph: CompiledStateGraph, thread: str) -> list[str]:
    """The texts of the messages of a thread."""
    return [str(message.text) for message in await kept(graph, thread)]


async def checkpoints(graph: CompiledStateGraph, thread: str) -> int:
    """The number of checkpoints of a thread."""
    return len([s async for s in graph.aget_state_history(on(thread))])


@asynccontextmanager
async def memory() -> AsyncIterator[AsyncSqliteSaver]:
    """A saver whose sync methods raise on this loop."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/memory.db"
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            yield saver


@contextmanager
def saver_mistakes_named() -> Iterator[None]:
    """Say in plain words what a saver says in many."""
    try:
        yield
    except asyncio.InvalidStateError:
        raise Wrong(
            "it called a sync method, and the saver belongs to this event "
            "loop: await the one with an `a`"
        ) from None
    except EmptyInputError:
        raise Wrong(
            "a new thread has nothing to go on with: give it the text"
        ) from None
    except NotImplementedError as error:
        if "AsyncSqliteSaver" not in str(error):
            raise
        raise Wrong(
            "it takes `SqliteSaver`, whose async methods only raise: the one "
            "for async code is `AsyncSqliteSaver`"
        ) from None
    except (ValueError, RuntimeError) as error:
        if str(error) not in USED_WHEN_CLOSED:
            raise
        raise Wrong(
            "the file was closed before the stream had ended: keep it open "
            "around the whole stream"
        ) from None


async def pieces_of(
    answer: Answer,
    words: str = "yield tokens",
    piece_is: str = "a text",
    **given: Any,
) -> AsyncIterator[str]:
    """The texts that an answer yields, one by one."""
    kind = f"an async generator: {words}"
    with saver_mistakes_named():
        stream = stream_of(answer, kind, **given)
        try:
            async for piece in stream:
                yield expect(piece, str, piece_is)
        finally:
            if hasattr(stream, "aclose"):
                await stream.aclose()


async def all_of(answer: Answer, **given: Any) -> list[str]:
    """All that an answer yields, read to its end."""
    return [piece async for piece in pieces_of(answer, **given)]


async def must_stream(
    answer: Answer, model: ScriptedModel, name: str, **given: Any
) -> None:
    """The first token must come while the model waits behind it.

    ``model.script`` is replaced for that; the reader leaves in the middle.
    """
    script = model.script
    model.script = lambda _: ["First", PAUSE, " and last"]
    before, heard = len(model.calls), []

    async def read() -> None:
        async with aclosing(pieces_of(answer, **given)) as pieces:
            async for piece in pieces:
                heard.append(piece)

    reading = start(read())
    # as long as it takes: the file may be on a slow disk
    await until(lambda: model.in_flight or reading.done(), turns=1500)
    await until(lambda: heard or reading.done())
    await settled(lambda: len(heard), reading.done, still=10)
    early = "".join(heard)
    if reading.done():
        reading.result()  # raises what ended it
    await stop(reading)
    model.script = script
    model.watch.must_not_block(": nothing else runs meanwhile")
    if len(model.calls) == before:
        model.must_be_used(name)
        raise Wrong(f"a call of it did not reach the model behind `{name}`")
    if not early:
        raise Wrong(
            "no word came while the model still wrote: yield each token as "
            "it comes"
        )
    if early != "First":
        raise Wrong(
            f"the model wrote 'First', and it yielded {early!r}: only the "
            "tokens of the answer"
        )
