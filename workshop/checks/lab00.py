"""Judge the check of lesson 00."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from workshop.checks.bench import Wrong, expect, kitchen, result

QUESTION = "Why does streaming matter?"


async def streams_pieces(
    answer: Callable[..., Awaitable[list[str]]],
) -> str:
    """00.1: stream a reply and return its pieces that have text."""
    async with kitchen(answer, ttft=0.1) as place:
        reply = (await place.llm.ainvoke(QUESTION)).text
        with place.model.meter() as meter:
            value = await result(answer, llm=place.llm, question=QUESTION)
        pieces: list[Any] = expect(value, list, "a list of pieces")
    if any(not isinstance(piece, str) for piece in pieces):
        raise Wrong("the list holds chunks, not their texts: `chunk.text`")
    place.must_be_used(meter, "llm")
    if lines := [line for line in place.blocking if line]:
        raise Wrong(f"`{lines[0]}` blocks the event loop")
    if pieces == [reply]:
        raise Wrong("the reply came in 1 piece: nothing was streamed")
    if len(pieces) == 1:
        raise Wrong("only 1 piece came back: is `return` inside the loop?")
    if "" in pieces:
        raise Wrong("some pieces are empty: keep those that have text")
    if "".join(pieces) != reply:
        raise Wrong("the pieces together are not the reply")
    return f"streamed: the reply came in {len(pieces)} pieces of 1 request"


JUDGES = {"00.1": streams_pieces}
