"""Judge the check of lesson 13 and the two tasks of lab 13."""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from workshop.checks.kit import (
    AWKWARD_PARTS,
    PAUSE,
    TURN,
    Answer,
    Play,
    ScriptedModel,
    Wrong,
    call,
    collect,
    count,
    expect,
    failures,
    leave,
    must_raise,
    name_of,
    settled,
    start,
    stop,
    stream_of,
    together,
    until,
)

FEW = 10  # turns, for what happens in this process alone

# --- 13.0


async def what_is_missing(answer: Answer) -> str:
    """13.0: one Send for each topic that has no note."""
    topics = ["owls", "bees", "rivers", "tea"]
    for known in ([], ["bees"], ["tea", "owls"], topics):
        notes = {topic: f"all about {topic}" for topic in known}
        work = {"topics": list(topics), "notes": notes, "report": ""}
        sends = expect(call(answer, work=work), list, "a list of `Send`")
        for send in sends:
            if not isinstance(send, Send):
                raise Wrong(f"the list holds {name_of(send)}, not `Send`")
            if send.node != "look_up":
                raise Wrong(f"it sends to {send.node!r}, not to 'look_up'")
            if not isinstance(send.arg, dict) or "topic" not in send.arg:
                raise Wrong(
                    "the node gets no job: its input is "
                    "{'topic': ...}, with one topic"
                )
        sent = [send.arg["topic"] for send in sends]
        missing = [topic for topic in topics if topic not in known]
        if any(not isinstance(topic, str) for topic in sent):
            raise Wrong("a job holds one topic, a text")
        if Counter(sent) != Counter(missing):
            raise Wrong(
                f"of 4 topics {len(known)} had a note, and it sent "
                f"{len(sent)} jobs: one for each topic without a note"
            )
    return "4, 3, 2 and 0 jobs, one for each topic without a note"


# --- 13.1


async def one_fair_stream(answer: Answer) -> str:
    """13.1: merge streams as they come, bounded, ended with their reader."""
    await _complete(answer)
    await _as_they_come(answer)
    await together(*(_bounded(answer, size) for size in (1, 5)))
    await _reader_leaves(answer)
    await _reader_is_cancelled(answer)
    broken = (_broken(answer, *failure) for failure in failures().items())
    await together(*broken)
    return (
        "as they come, bounded, told of a broken stream; the reader left: "
        "3 of 3 streams were cut off"
    )


def _merged(
    answer: Answer, plays: dict[Any, Any], size: int = 2
) -> AsyncIterator[Any]:
    streams = {label: _pausing(play) for label, play in plays.items()}
    return stream_of(answer, streams=streams, size=size)


async def _pausing(play: Play) -> AsyncIterator[Any]:
    """The stream; as a real one it lets others run before each part.

    And it takes a while to end.
    """
    stream = play.stream()
    try:
        async for part in stream:
            await asyncio.sleep(0)
            yield part
    finally:
        await asyncio.sleep(TURN)
        await stream.aclose()
        play.closed = True


async def _read(
    merged: AsyncIterator[Any], pieces: int | None, hangs: str
) -> list[Any]:
    """Read that many pieces, or all; raise Wrong if none comes."""
    got: list[Any] = []
    while pieces is None or len(got) < pieces:
        step = start(_next(merged))
        await settled(step.done, step.done)
        if not step.done():
            await stop(step)
            raise Wrong(hangs)
        if step.result() is None:
            break
        [piece] = step.result()
        if not isinstance(piece, tuple) or len(piece) != 2:
            raise Wrong(f"it yielded {name_of(piece)}, not (label, piece)")
        got.append(piece)
    return got


async def _next(merged: AsyncIterator[Any]) -> list[Any] | None:
    """The next piece in a list, or None at the end."""
    async for piece in merged:
        return [piece]
    return None


async def _complete(answer: Answer) -> None:
    """Whatever a piece is, and if a label or a stream is empty."""
    plays = {"a": Play(AWKWARD_PARTS), 0: Play(range(20)), "": Play([])}
    pieces = await _read(
        _merged(answer, plays),
        None,
        "all streams have ended, and the reader still waits",
    )
    for label, play in plays.items():
        got = [piece for name, piece in pieces if name == label]
        if [*map(repr, got)] != [*map(repr, play.parts)]:
            raise Wrong(
                f"of {len(play.parts)} pieces of a stream came {len(got)}, or "
                "others: None, 0 and '' are pieces, too"
            )
    if len(pieces) != sum(len(play.parts) for play in plays.values()):
        raise Wrong("more pieces came than were sent: an end mark, too?")


async def _as_they_come(answer: Answer) -> None:
    plays = {"silent": Play([PAUSE, 0]), "lively": Play(range(20))}
    merged = _merged(answer, plays)
    await _read(merged, 20, "a stream that is silent holds up the other")
    plays["silent"].release()
    await _read(merged, None, "a stream that was silent is not read again")


async def _bounded(answer: Answer, size: int) -> None:
    plays = {label: Play(range(100)) for label in "abc"}
    merged = _merged(answer, plays, size)
    read = await _read(merged, 1, "nothing came of three streams")
    await settled(lambda: [play.sent for play in plays.values()], still=FEW)
    ahead = sum(play.sent for play in plays.values()) - len(read)
    if ahead > size + len(plays):
        raise Wrong(
            f"while the reader paused, {ahead} pieces were taken from 3 "
            f"streams: with a size of {size} at most {size + 3} may wait"
        )
    read += await _read(merged, 29, "nothing more came of three streams")
    seen = Counter(label for label, _ in read)
    if len(seen) < len(plays):
        raise Wrong(
            f"the first 30 pieces are of {len(seen)} of 3 streams, and all "
            "have some ready"
        )
    await merged.aclose()


async def _broken(answer: Answer, kind: str, error: Exception) -> None:
    plays = {
        "silent": Play([0, PAUSE]),
        "full": Play(range(100)),
        "broken": Play([0, PAUSE, error]),
    }
    merged = _merged(answer, plays)
    await _read(merged, 5, "nothing more came of three streams")
    plays["broken"].release()
    when = f"a stream broke ({kind})"
    try:
        await _read(merged, 200, f"{when}, and the reader still waits")
    except (type(error), ExceptionGroup):
        _must_have_ended(plays, when)
    else:
        raise Wrong(f"{when}, and the reader was not told")


async def _reader_leaves(answer: Answer) -> None:
    """It leaves at a piece, while all streams wait at a full queue."""
    plays = {label: Play(range(100)) for label in "abc"}
    merged = _merged(answer, plays, 1)
    await _read(merged, 3, "the pieces of three streams did not come")
    await settled(lambda: [play.sent for play in plays.values()], still=FEW)
    try:
        await merged.aclose()
    except BaseExceptionGroup:
        raise Wrong(
            "the reader left, and a `TaskGroup` made an error of that: it "
            "does not belong around a `yield`"
        ) from None
    _must_have_ended(plays, "the reader left")


async def _reader_is_cancelled(answer: Answer) -> None:
    """It is cancelled before the first piece, while all are silent."""
    plays = {label: Play([PAUSE, 0]) for label in "abc"}
    merged = _merged(answer, plays)

    def all_wait(_: list[Any]) -> bool:
        return all(play.waiting for play in plays.values())

    await leave(merged, all_wait, "cancel")
    _must_have_ended(plays, "the reader was cancelled")


def _must_have_ended(plays: dict[str, Play], when: str) -> None:
    ended = sum(hasattr(play, "closed") for play in plays.values())
    if ended < len(plays):
        raise Wrong(
            f"{when}, and {ended} of {len(plays)} streams had ended: cancel "
            "the tasks, wait for them, and close the streams"
        )


# --- 13.2


class Work(TypedDict):
    topics: list[str]
    notes: Annotated[dict[str, str], operator.or_]
    report: str


def _spread(work: Work) -> list[Send]:
    return [Send("look_up", {"topic": topic}) for topic in work["topics"]]


def _fan_out(llm: ScriptedModel) -> CompiledStateGraph:
    """The graph of the lab, with another model."""

    async def look_up(job: Any) -> dict[str, Any]:
        message = await llm.ainvoke(job["topic"])
        return {"notes": {job["topic"]: message.text}}

    async def sum_up(work: Work) -> dict[str, Any]:
        message = await llm.ainvoke("all of it")
        return {"report": message.text}

    builder = StateGraph(Work)
    builder.add_node("look_up", look_up)
    builder.add_node("sum_up", sum_up)
    builder.add_conditional_edges(START, _spread, ["look_up"])
    builder.add_edge("look_up", "sum_up")
    return builder.compile()


TOPICS = ["owls", "bees", "rivers", "tea", "soup", "bread"]


async def each_when_it_is_there(answer: Answer) -> str:
    """13.2: hand out the notes of a fan-out one by one, under a limit."""
    tried = (6, 2), (4, 3), (3, 5), (2, 1)
    await together(*(_notes(answer, TOPICS[:n], limit) for n, limit in tried))
    for kind, error in failures().items():
        graph = _fan_out(_replies(tea=[error]))
        given = {"graph": graph, "topics": TOPICS, "limit": 6}
        await must_raise(kind, error, collect(stream_of(answer, **given), []))
    await _empty_note(answer)
    await _leaves_notes(answer)
    return "6 notes under a limit of 2, each one while others were looked up"


def _replies(**script: list[Any]) -> ScriptedModel:
    return ScriptedModel(script=lambda asked: script.get(asked, ["Yes."]))


async def _notes(answer: Answer, topics: list[str], limit: int) -> None:
    model = ScriptedModel.watching(answer, lambda a: [PAUSE, f"On {a}: yes"])
    given = {"graph": _fan_out(model), "topics": topics, "limit": limit}
    got: list[Any] = []
    ended: list[str] = []
    reading = start(collect(stream_of(answer, **given), got))
    at_once = min(limit, len(topics))
    await model.waits_for(at_once, reading)
    for number in range(len(topics)):
        await settled(
            lambda: (len(model.calls), model.in_flight, len(got)), still=FEW
        )
        if reading.done():
            reading.result()
        model.must_be_used("graph")
        if number == 0 and model.in_flight < at_once:
            raise Wrong(
                f"with a limit of {limit}, only "
                f"{count(model.in_flight, 'topic')} of {len(topics)} was "
                "looked up at once"
            )
        if not model.running:
            break
        last = model.running[-1]
        ended.append(last.asked)
        await last.finish()
        if number == 0:
            await until(lambda: got or reading.done(), turns=100)
            if not got:
                reading.cancel()
                raise Wrong(
                    "one topic was looked up, and its note did not come: it "
                    "waits for the others"
                )
    peak = model.peak
    await model.finish(model.running, reading)
    await reading
    model.must_be_asked("graph")
    if peak > limit:
        raise Wrong(
            f"with a limit of {limit}, {peak} topics were looked up at once"
        )
    for piece in got:
        if not isinstance(piece, tuple) or len(piece) != 2:
            raise Wrong(f"it yielded {name_of(piece)}, not (topic, note)")
    if got != [(topic, f"On {topic}: yes") for topic in ended]:
        raise Wrong(
            f"{len(topics)} topics were looked up, and it yielded "
            f"{len(got)} pairs, or not (topic, note) in the order in which "
            "they came"
        )


async def _empty_note(answer: Answer) -> None:
    graph, got = _fan_out(_replies(owls=[""])), []
    given = {"graph": graph, "topics": TOPICS[:1], "limit": 2}
    await collect(stream_of(answer, **given), got)
    if got != [("owls", "")]:
        raise Wrong(f"a note was empty, and it yielded {got}: it is a note")


async def _leaves_notes(answer: Answer) -> None:
    model = ScriptedModel(
        script=lambda a: ["Yes."] if a == "owls" else [PAUSE, "Yes."]
    )
    given = {"graph": _fan_out(model), "topics": TOPICS, "limit": 6}
    await leave(stream_of(answer, **given), len, "aclose")
    await model.idle()
    model.must_be_idle("the reader left")


JUDGES = {
    "13.0": what_is_missing,
    "13.1": one_fair_stream,
    "13.2": each_when_it_is_there,
}
