"""Judge the check of lesson 06 and the two tasks of lab 06."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

from langgraph.graph import MessagesState
from langgraph.graph.state import CompiledStateGraph

from workshop.checks.kit import (
    AWKWARD_TOKENS,
    PAUSE,
    TURN,
    Answer,
    Clock,
    ScriptedModel,
    Wrong,
    asks,
    call,
    chain,
    chat_graph,
    expect,
    names_in,
    result,
    settled,
    start,
    stop,
    together,
    turns,
    until,
)

SOUP = "Is the soup good?"
TEA = "And a tea?"

# --- 06.0


async def newest_text(answer: Answer) -> str:
    """06.0: the text of the newest message, each piece once."""
    once = [("a", "The"), ("a", " soup"), ("a", "")]
    twice = [("a", "The soup is"), ("b", "The"), ("b", " soup"), ("b", "!")]
    again = [("z", "no"), ("y", "no"), ("y", "no"), ("x", "no"), ("x", "no")]
    again.append(("x", "0\n"))
    told = {"The soup": once, "The soup!": twice, "nono0\n": again}
    for expected, pieces in [*told.items()] * 2:  # nothing is left over
        value = await result(answer, pieces=list(pieces))
        text = expect(value, str, "a text")
        if text == expected:
            continue
        if text == "".join(piece for _, piece in pieces):
            raise Wrong(
                f"the screen says {text!r}: what was begun again stands twice"
            )
        raise Wrong(
            f"the screen says {text!r}, the newest message is {expected!r}"
        )
    return "3 answers, two of them begun again: each text once"


# --- 06.1

LIMITS = (4, 16, 64)  # seconds; more than the first on a busy machine only
IGNORED = "it ended before its limit: `seconds` is ignored"


async def keeps_what_came(answer: Answer) -> str:
    """06.1: end an answer in time and return the part that has come."""
    await _enough_time(answer)
    clock = Clock()
    kept = ["Soup", " is", "\n\n"]
    for parts in (kept, []):
        await _stalled(answer, parts, clock)
    await _limits_differ(answer, clock)
    await together(_drips(answer), _cancelled(answer))
    return (
        f"kept {len(kept)} tokens of a stalled answer, and the call was cut "
        "off"
    )


def _graph(answer: Answer, *parts: Any) -> tuple[ScriptedModel, Any]:
    """A model that answers with these parts, and a graph that asks it."""
    model = ScriptedModel.watching(answer, lambda _: [*parts])
    return model, chat_graph(model)


async def _answered(
    answer: Answer, graph: Any, seconds: float, question: str = SOUP
) -> str:
    given = {"graph": graph, "question": question, "seconds": seconds}
    value = await result(answer, **given)
    return expect(value, str, "the text")


async def _enough_time(answer: Answer) -> None:
    parts = ["Yes.", *AWKWARD_TOKENS]  # it does not end with a sentence
    whole = "".join(parts)
    for question in (SOUP, TEA):
        model, graph = _graph(answer, *parts)
        text = await _answered(answer, graph, 60, question)
        model.must_be_used("graph")
        model.watch.must_not_block(": no limit can end it")
        if model.calls[0].asked != question:
            raise Wrong(
                f"the model was asked {model.calls[0].asked!r}, not "
                f"{question!r}"
            )
        if text != whole:
            raise Wrong(f"with time enough it returned only {text!r}")


async def _waits(model: ScriptedModel, answering: asyncio.Task[Any]) -> None:
    """Wait until the model waits, and the answer has read what came."""
    await model.waits_for(1, answering)
    await until(
        lambda: answering.done() or any(c.waiting for c in model.running)
    )
    await turns()


async def _stalled(answer: Answer, parts: list[str], clock: Clock) -> None:
    """The model falls silent after some tokens."""
    for limit in LIMITS:
        model, graph = _graph(answer, *parts, PAUSE, " hot")
        began = time.monotonic()
        answering = start(_answered(answer, graph, limit))
        await _waits(model, answering)
        if time.monotonic() - began < limit / 2:
            break
        await stop(answering)
    clock.forward(limit + 1)
    # who looks at another clock gets the time as well
    if not await until(answering.done, 200 + limit * 100):
        model.release()
        await stop(answering)
        raise Wrong(
            "it waits as long as a stalled model does: the clock is read "
            "only when a token comes"
        )
    try:
        text = await answering
    except TimeoutError:
        raise Wrong(
            "the TimeoutError came out, and the text was lost: catch it "
            "around the `async with`"
        ) from None
    if text != "".join(parts):
        raise Wrong(f"of {len(parts)} tokens that came it kept {text!r}")
    await settled(lambda: model.in_flight, still=20)
    if model.in_flight and names_in(answer) & {"anyio", "move_on_after"}:
        raise Wrong(
            "it returned, but the model wrote on: AnyIO's cancel does not "
            "stop a graph, `asyncio.timeout` does (lesson 06)"
        )
    if model.in_flight:
        raise Wrong("it returned, but the model wrote on to the end")
    if graph.step_timeout is not None:
        raise Wrong("it set `step_timeout` of the graph, which others use")


async def _limits_differ(answer: Answer, clock: Clock) -> None:
    """Two stalled answers at once: the shorter limit ends first."""
    ends = []
    for limit in (1000, 100):
        model, graph = _graph(answer, "Soup", PAUSE)
        ends.append(start(_answered(answer, graph, limit)))
        await _waits(model, ends[-1])
    long, short = ends
    if long.done() or short.done():
        raise Wrong(IGNORED)
    clock.forward(101)
    await until(short.done, 100)
    in_time = short.done()
    clock.forward(200)
    await until(short.done, 100)
    if long.done():
        raise Wrong(IGNORED)
    if short.done() and not in_time:
        raise Wrong("it ended long after its limit")
    await stop(long)
    await stop(short)


async def _drips(answer: Answer) -> None:
    """Two nodes whose tokens come one by one, each within the limit."""
    for limit in (0.8, 2.4, 7.2):  # more only on a very busy machine
        text, gap = await _drops(answer, limit)
        if len(text) >= 24:
            raise Wrong(
                "the whole answer came: the limit is for all of it, not for "
                "each token or node"
            )
        if text and gap < limit / 2:
            break
    if not text:
        raise Wrong("what had come within the limit was lost")


async def _drops(answer: Answer, limit: float) -> tuple[str, float]:
    """What it kept, and the longest wait for a token, in seconds."""
    drops = ["a", PAUSE] * 12
    model = ScriptedModel.watching(answer, lambda _: drops)
    graph = chain({"first": asks(model), "second": asks(model)})
    answering = start(_answered(answer, graph, limit))
    longest, last = 0.0, time.monotonic()
    while not answering.done():
        await asyncio.sleep(limit / 8)
        longest = max(longest, time.monotonic() - last)
        last = time.monotonic()
        for running in model.running:
            running.release(1)
        if sum(c.outcome == "done" for c in model.calls) == 2:
            break
    if not await until(answering.done, 200):
        await stop(answering)
    return await answering, longest


async def _cancelled(answer: Answer) -> None:
    """Cancel the answer from outside, as a Stop button does."""
    model, graph = _graph(answer, "Soup", PAUSE)
    answering = start(_answered(answer, graph, 60))
    await model.waits_for(1, answering)
    await stop(answering)
    if not answering.cancelled():
        raise Wrong(
            "it swallowed the cancel of somebody else: catch `TimeoutError`, "
            "not `CancelledError`"
        )
    if not await model.idle():
        raise Wrong("it was cancelled, and the model wrote on")


# --- 06.2

Stop = Callable[[], Any]
STILL_RAN = (
    "`stop` returned while its task still ran: cancel it, then wait for its "
    "end"
)
RAISES_CANCEL = (
    "`stop` raised CancelledError: `await task` raises what ended the task"
)


async def stop_leaves_nothing(answer: Answer) -> str:
    """06.2: stream in a task; return a stop that ends all of it."""
    await _two_answers(answer)
    await _before_the_first_token(answer)
    await _slow_to_clean_up(answer)
    await _after_the_end(answer)
    return "nothing runs after a stop, and 1 of 2 answers went on"


def _started(
    answer: Answer,
    graph: CompiledStateGraph,
    shown: list[str],
    question: str = SOUP,
) -> Stop:
    def show(text: str) -> None:
        shown.append(expect(text, str, "a text for `show`"))

    ending = call(answer, graph=graph, question=question, show=show)
    return expect(ending, Callable, "a function: `start` is a plain `def`")


async def _stopped(ending: Stop) -> None:
    """Await the stop; say what is wrong with it."""
    value = ending()
    if not asyncio.iscoroutine(value) and not asyncio.isfuture(value):
        raise Wrong("`await stop()` fails: write `async def stop()`")
    stopping = asyncio.ensure_future(value)
    if not await until(stopping.done, 200):
        stopping.cancel()
        raise Wrong(
            "`stop` waits for the next token, and a stalled model sends none: "
            "cancel the task"
        )
    if stopping.cancelled():
        raise Wrong(RAISES_CANCEL)
    if error := stopping.exception():
        raise Wrong(f"`stop` raised {type(error).__name__}: {error}")


def _must_be_over(before: set[Any]) -> None:
    """Raise Wrong if a task is left that was not there before."""
    if any(not task.done() for task in asyncio.all_tasks() - before):
        raise Wrong(STILL_RAN)


async def _two_answers(answer: Answer) -> None:
    """Two answers stall after some tokens; the first is stopped, twice."""
    model, graph = _graph(answer, "The", " soup", PAUSE, " is", " hot")
    shown: tuple[list[str], list[str]] = ([], [])
    before = asyncio.all_tasks()
    first = _started(answer, graph, shown[0])
    await until(lambda: shown[0] and shown[0][-1] == "The soup", 200)
    ours = asyncio.all_tasks()
    second = _started(answer, graph, shown[1], TEA)
    await until(lambda: shown[1] and shown[1][-1] == "The soup", 200)
    model.must_be_used("graph")
    if [reply.asked for reply in model.calls] != [SOUP, TEA]:
        raise Wrong("the model did not get the two questions, each once")
    for texts in shown:
        seen = [text for text in dict.fromkeys(texts) if text]
        if not seen:
            raise Wrong("`show` got nothing while the model wrote")
        if any(not b.startswith(a) for a, b in itertools.pairwise(seen)):
            raise Wrong(f"`show` got {seen[1]!r}, not all the text so far")
    for _ in range(2):
        await _stopped(first)
    left = [task for task in ours - before if not task.done()]
    await settled(lambda: model.cut_off, still=10)
    if model.calls[1].outcome == "cut off":
        raise Wrong("the stop of one answer ended another one, too")
    if left:
        raise Wrong(STILL_RAN)
    if model.calls[0].outcome is None:
        raise Wrong("the stop did not cut off the call of the model")
    numbers = [len(texts) for texts in shown]
    model.release()
    await until(lambda: shown[1][-1] == "The soup is hot", 200)
    if len(shown[0]) > numbers[0]:
        raise Wrong("`show` was called after the stop")
    if shown[1][-1] != "The soup is hot":
        raise Wrong("the stop of one answer ended another one, too")
    await _stopped(second)
    _must_be_over(before)


async def _before_the_first_token(answer: Answer) -> None:
    model, graph = _graph(answer, PAUSE, "The", " soup")
    before = asyncio.all_tasks()
    shown: list[str] = []
    ending = _started(answer, graph, shown)
    await model.waits_for(1)
    await _stopped(ending)
    _must_be_over(before)
    # and before the task has had its first turn
    ending = _started(answer, graph, shown)
    try:
        await ending()
    except asyncio.CancelledError:
        raise Wrong(RAISES_CANCEL) from None
    _must_be_over(before)


async def _slow_to_clean_up(answer: Answer) -> None:
    """A node that takes a while to end after a cancel."""
    began, cleaned = asyncio.Event(), asyncio.Event()

    async def reply(state: MessagesState) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(30 * TURN)
            cleaned.set()

    before = asyncio.all_tasks()
    ending = _started(answer, chain({"reply": reply}), [])
    await began.wait()
    await _stopped(ending)
    if not cleaned.is_set():
        raise Wrong(STILL_RAN)
    _must_be_over(before)


async def _after_the_end(answer: Answer) -> None:
    _, graph = _graph(answer, "The", " soup")
    before = asyncio.all_tasks()
    ending = _started(answer, graph, [])
    await until(lambda: not asyncio.all_tasks() - before, 200)
    for _ in range(2):
        await _stopped(ending)


JUDGES = {
    "06.0": newest_text,
    "06.1": keeps_what_came,
    "06.2": stop_leaves_nothing,
}
