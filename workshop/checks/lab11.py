"""Judge the check of lesson 11 and the two tasks of lab 11."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from workshop.checks.kit import (
    PAUSE,
    Answer,
    Call,
    ScriptedModel,
    Wrong,
    chat_graph,
    count,
    expect,
    failures,
    name_of,
    result,
    settled,
    start,
    stop,
    texts_of,
    until,
)

QUESTIONS = [f"What does table {n} get?" for n in range(8)]
FEW = 20  # turns, for what happens in this process alone
REFUSED = "Is there soup?"  # a question whose call fails


def _slow(asked: str) -> list[Any]:
    return [PAUSE, "An answer to: ", asked]


def _text(asked: str) -> str:
    return f"An answer to: {asked}"


# --- 11.0


async def in_its_turn(answer: Answer) -> str:
    """11.0: hold a place of a shared semaphore while the graph answers."""
    for places in (2, 3):
        await _holds_a_place(answer, places)
    await _gives_it_back(answer)
    return "2 and 3 places: as many in flight, each text with its question"


async def _holds_a_place(answer: Answer, places: int) -> None:
    model = ScriptedModel.watching(answer, _slow)
    turn, graph = asyncio.Semaphore(places), chat_graph(model)

    async def ask(question: str) -> Any:
        return await result(answer, turn=turn, graph=graph, question=question)

    asking = [start(ask(question)) for question in QUESTIONS[:5]]
    everyone = start(asyncio.wait(asking))
    await settled(lambda: len(model.calls), still=FEW)
    held = model.in_flight
    model.must_be_used("graph")
    model.watch.must_not_block(": nothing else runs meanwhile")
    if held > places:
        raise Wrong(
            f"`turn` has {places} places, but {held} requests were in flight"
        )
    if held < places:
        raise Wrong(
            f"only {held} of {places} places were used: is the semaphore "
            "taken twice?"
        )
    await model.finish(model.calls, everyone)
    pairs = [task.result() for task in asking]  # raises what the answer did
    for question, pair in zip(QUESTIONS, pairs, strict=False):
        pair = expect(pair, tuple, "(question, text)")
        asked = [one.asked for one in model.calls if question in one.asked]
        if pair != (question, _text("".join(asked))):
            raise Wrong("what it returned is not (question, text)")


async def _gives_it_back(answer: Answer) -> None:
    """The place must be free again after a failure."""
    for kind, error in failures().items():
        turn = asyncio.Semaphore(1)
        graph = chat_graph(ScriptedModel(script=lambda _, e=error: [e]))
        given = {"turn": turn, "graph": graph, "question": "soup"}
        try:
            await result(answer, **given)
        except type(error):
            if turn.locked():
                raise Wrong(
                    f"after {kind} the place was not given back"
                ) from None
        else:
            raise Wrong(f"{kind} was swallowed: let it out")


# --- 11.1


async def so_many_at_a_time(answer: Answer) -> str:
    """11.1: run questions under a limit, in order, without pauses."""
    for many, limit in (8, 3), (6, 2), (3, 5):
        await _limited(answer, QUESTIONS[:many], limit)
    await _limited(answer, ["Tea?", "Cake?", "Tea?", "Tea?"], 3)
    for limit in (1, 3):
        await _raises(answer, limit)
    return (
        "8 questions, exactly 3 in flight at the peak, in order; a slow one "
        "holds up nobody"
    )


async def _limited(answer: Answer, questions: list[str], limit: int) -> None:
    """Hold the first call until all others have ended."""
    numbers = iter(range(len(questions) + 100))
    model = ScriptedModel.watching(
        answer, lambda asked: [PAUSE, f"{-next(numbers)}: ", asked]
    )
    given = {"graph": chat_graph(model), "questions": questions}
    asking = start(result(answer, **given, limit=limit))
    at_once = min(limit, len(questions))
    await settled(lambda: len(model.calls), still=FEW)
    first_wave = len(model.calls)
    free = await _all_but_the_first(model, len(questions), asking)
    await model.finish(model.calls, asking)
    texts = texts_of(await asking)

    model.must_be_used("graph")
    model.watch.must_not_block(": nothing else runs meanwhile")
    if len(model.calls) != len(questions):
        raise Wrong(
            f"{count(len(questions), 'question')} took "
            f"{count(len(model.calls), 'request')}"
        )
    if at_once > 1 and model.peak == 1:
        raise Wrong(
            "the runs came one after another: at most 1 request was in flight"
        )
    if model.peak > limit:
        raise Wrong(
            f"with a limit of {limit}, {model.peak} requests were in flight"
        )
    if model.peak < at_once:
        raise Wrong(
            f"with a limit of {limit}, at most {model.peak} requests were in "
            "flight"
        )
    if first_wave < at_once or not free:
        raise Wrong(
            "one run had ended, and the next one did not begin: a free place "
            "was not taken"
        )
    if len(texts) != len(questions):
        raise Wrong(f"{len(texts)} texts for {len(questions)} questions")
    replies = ["".join(c.parts[1:]) for c in model.calls]
    if sorted(texts) != sorted(replies):
        raise Wrong("the texts are not what the graph replied")
    if [text.partition(": ")[2] for text in texts] != questions:
        raise Wrong("the texts are in another order than the questions")


async def _all_but_the_first(
    model: ScriptedModel, many: int, asking: asyncio.Task[Any]
) -> bool:
    """End one call after another; whether a new one began each time."""
    while len(model.calls) < many:
        others = [c for c in model.running if c.asked != model.calls[0].asked]
        if not others:
            others = model.running[1:]
        if not others:
            return model.peak == 1
        before = len(model.calls)
        await others[-1].finish()

        def begun(before: int = before) -> bool:
            return len(model.calls) > before or asking.done()

        await settled(lambda: len(model.calls), begun, still=FEW)
        if len(model.calls) == before:
            return False
    for one in model.running[1:]:  # the first question's text comes last
        await one.finish()
    await settled(asking.done, still=5)
    return True


async def _raises(answer: Answer, limit: int) -> None:
    for kind, error in failures().items():
        graph = chat_graph(
            ScriptedModel(
                script=lambda asked, e=error: (
                    [e] if asked == REFUSED else ["Yes."]
                )
            )
        )
        questions = [*QUESTIONS[:2], REFUSED, *QUESTIONS[2:4]]
        given = {"graph": graph, "questions": questions, "limit": limit}
        try:
            await result(answer, **given)
        except (type(error), ExceptionGroup):
            continue
        raise Wrong(f"{kind} was not raised: it is among the texts, or lost")


# --- 11.2


async def keeps_what_had_come(answer: Answer) -> str:
    """11.2: cancel at the first failure, and keep the finished answers."""
    await _without_failure(answer)
    for kind, error in failures().items():
        if isinstance(error, openai.APIError):
            await _one_fails(answer, kind, error)
    await _is_cancelled(answer)
    return "2 texts kept, 1 error, 2 calls cut off; also with 3 other errors"


async def _without_failure(answer: Answer) -> None:
    model = ScriptedModel.watching(answer, _slow)
    questions = QUESTIONS[:3]
    given = {"graph": chat_graph(model), "questions": questions}
    asking = start(result(answer, **given))
    await model.waits_for(len(questions), asking)
    at_once = model.peak
    await model.finish(reversed(model.calls), asking)
    texts, errors = _pair(await asking)
    model.must_be_used("graph")
    model.watch.must_not_block(": nothing else runs meanwhile")
    if at_once < len(questions):
        raise Wrong(
            f"at most {count(at_once, 'request')} of {len(questions)} "
            "in flight: ask all at once"
        )
    if errors or texts != {q: _text(q) for q in questions}:
        raise Wrong(
            f"3 questions without a failure gave {count(len(texts), 'text')} "
            f"and {count(len(errors), 'error')}, or not their texts"
        )


async def _one_fails(answer: Answer, kind: str, error: Exception) -> None:
    """Two texts come, then one call fails while two others still run."""

    def script(asked: str) -> list[Any]:
        return [PAUSE, error] if asked == REFUSED else _slow(asked)

    model = ScriptedModel.watching(answer, script)
    questions = [*QUESTIONS[:2], REFUSED, *QUESTIONS[2:4]]
    come = [QUESTIONS[1], QUESTIONS[3]]
    given = {"graph": chat_graph(model), "questions": questions}
    asking = start(result(answer, **given))
    await model.waits_for(len(questions), asking)
    for question in [*come, REFUSED]:
        for one in _calls(model, question):
            await one.finish()
            await settled(asking.done, still=10)
    ended = await until(asking.done, turns=200)
    still_run = model.in_flight
    cut_off = model.cut_off
    await model.finish(model.calls, asking)
    try:
        texts, errors = _pair(await asking)
    except (openai.APIError, ExceptionGroup):
        raise Wrong(
            "the failure came out, and what had come was lost"
        ) from None
    if not ended or (still_run and not cut_off):
        raise Wrong(
            f"after {kind} {cut_off} of 2 calls were cut off: the others "
            "went on, and are paid for"
        )
    if still_run:
        raise Wrong(
            f"it returned while {count(still_run, 'call')} still ran: wait "
            "for the end of what you cancel"
        )
    if any(isinstance(e, asyncio.CancelledError) for e in errors):
        raise Wrong("the errors hold the runs that were cancelled, too")
    if errors != [error]:
        kinds = ", ".join(map(name_of, errors))
        raise Wrong(f"1 run failed, but the errors are [{kinds}]")
    if texts != {question: _text(question) for question in come}:
        raise Wrong(f"2 answers had come, but {len(texts)} are kept")


async def _is_cancelled(answer: Answer) -> None:
    model = ScriptedModel.watching(answer, _slow)
    given = {"graph": chat_graph(model), "questions": QUESTIONS[:2]}
    asking = start(result(answer, **given))
    await model.waits_for(2, asking)
    await stop(asking)
    if not asking.cancelled():
        model.release()
        raise Wrong("it was cancelled from outside, and swallowed that")


def _calls(model: ScriptedModel, asked: str) -> list[Call]:
    return [one for one in model.running if one.asked == asked]


def _pair(value: Any) -> tuple[dict[str, Any], list[Any]]:
    pair = expect(value, tuple, "(texts, errors)")
    kinds = [type(part) for part in pair]
    if kinds != [dict, list]:
        names = ", ".join(map(name_of, pair))
        raise Wrong(f"it returned ({names}), not a dict and a list")
    return pair


JUDGES = {
    "11.0": in_its_turn,
    "11.1": so_many_at_a_time,
    "11.2": keeps_what_had_come,
}
