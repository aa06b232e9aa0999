"""Judge the check of lesson 11 and the two tasks of lab 11."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from workshop.checks.kit import (
    PAUSE,
    Answer,
    ScriptedModel,
    Wrong,
    all_at_once,
    chat_graph,
    count,
    expect,
    failures,
    must_raise,
    name_of,
    result,
    settled,
    start,
    stop,
    texts_of,
    together,
    until,
)

QUESTIONS = [f"What does table {n} get?" for n in range(8)]
FEW = 20  # turns, for what happens in this process alone
REFUSED = "Is there soup?"  # a question whose call fails
SILENT = QUESTIONS[3]  # a question that is answered with an empty text


def _slow(asked: str) -> list[Any]:
    return [PAUSE, _text(asked)]


def _text(asked: str) -> str:
    return "" if asked == SILENT else f"An answer to: {asked}"


# --- 11.0


async def in_its_turn(answer: Answer) -> str:
    """11.0: hold a place of a shared semaphore while the graph answers."""
    await together(*(_holds_a_place(answer, places) for places in (2, 3)))
    for kind, error in failures().items():  # the place must be free again
        turn = asyncio.Semaphore(1)
        graph = chat_graph(ScriptedModel(script=lambda _, e=error: [e]))
        given = {"turn": turn, "graph": graph, "question": "soup"}
        await must_raise(kind, error, result(answer, **given))
        if turn.locked():
            raise Wrong(f"after {kind} the place was not given back")
    return "2 and 3 places: as many in flight, each text with its question"


async def _holds_a_place(answer: Answer, places: int) -> None:
    model = ScriptedModel.watching(answer, _slow)
    given = {"turn": asyncio.Semaphore(places), "graph": chat_graph(model)}
    asking = [
        start(result(answer, **given, question=question))
        for question in QUESTIONS[:5]
    ]
    await model.waits_for(places)
    await settled(lambda: len(model.calls), still=FEW)
    held = model.in_flight
    model.must_be_asked("graph")
    if held > places:
        raise Wrong(
            f"`turn` has {places} places, but {held} requests were in flight"
        )
    if held < places:
        raise Wrong(
            f"only {held} of {places} places were used: is the semaphore "
            "taken twice?"
        )
    await model.finish(model.calls, asyncio.gather(*asking))
    for question, task in zip(QUESTIONS, asking, strict=False):
        pair = expect(task.result(), tuple, "(question, text)")
        asked = [one.asked for one in model.calls if question in one.asked]
        if pair != (question, _text("".join(asked))):
            raise Wrong("what it returned is not (question, text)")


# --- 11.1


async def so_many_at_a_time(answer: Answer) -> str:
    """11.1: run questions under a limit, in order, without pauses."""
    tried = [(QUESTIONS, 3), (QUESTIONS[:6], 2), (QUESTIONS[:3], 5)]
    tried += [(["Tea?", "Cake?", "Tea?", "Tea?"], 3), (QUESTIONS[:2], 1)]
    await together(*(_limited(answer, *given) for given in tried))
    await _empty_text(answer)
    for kind, error in failures().items():
        await together(*(_raises(answer, kind, error, n) for n in (1, 3)))
    return (
        "8 questions, exactly 3 in flight at the peak, in order; a slow one "
        "holds up nobody"
    )


async def _limited(answer: Answer, questions: list[str], limit: int) -> None:
    """Hold the first call until all others have ended."""
    numbers = iter(range(1000))
    model = ScriptedModel.watching(
        answer, lambda asked: [PAUSE, f"{-next(numbers)}: ", asked]
    )
    given = {"graph": chat_graph(model), "questions": questions}
    asking = start(result(answer, **given, limit=limit))
    at_once = min(limit, len(questions))
    await model.waits_for(at_once, asking)
    await settled(lambda: len(model.calls), still=FEW)
    first_wave = len(model.calls)
    free = await _all_but_the_first(model, len(questions), asking)
    await model.finish(model.calls, asking)
    texts = texts_of(await asking)

    model.must_be_asked("graph")
    if len(model.calls) != len(questions):
        raise Wrong(
            f"{count(len(questions), 'question')} took "
            f"{count(len(model.calls), 'request')}"
        )
    if at_once > 1 and model.peak == 1:
        raise Wrong(
            "the runs came one after another: at most 1 request was in flight"
        )
    if model.peak != at_once:
        most = "" if model.peak > limit else "at most "
        raise Wrong(
            f"with a limit of {limit}, {most}{model.peak} requests were in "
            "flight"
        )
    if first_wave < at_once or not free:
        raise Wrong(
            "one run had ended, and the next one did not begin: a free place "
            "was not taken"
        )
    replies = ["".join(c.parts[1:]) for c in model.calls]
    if sorted(texts) != sorted(replies):
        raise Wrong("the texts are not what the graph replied")
    if [text.partition(": ")[2] for text in texts] != questions:
        raise Wrong("the texts are in another order than the questions")


async def _all_but_the_first(
    model: ScriptedModel, many: int, asking: asyncio.Task[Any]
) -> bool:
    """End one call after another; whether a new one began each time."""
    while (before := len(model.calls)) < many:
        others = [c for c in model.running if c.asked != model.calls[0].asked]
        others = others or model.running[1:]
        if not others:
            return model.peak == 1
        await others[-1].finish()
        await settled(
            lambda: len(model.calls),
            lambda n=before: len(model.calls) > n or asking.done(),
        )
        if len(model.calls) == before:
            return False
    for one in model.running[1:]:  # the first question's text comes last
        await one.finish()
    await settled(asking.done, still=5)
    return True


async def _empty_text(answer: Answer) -> None:
    silent = [""]
    model = ScriptedModel(
        script=lambda a: [silent.pop() if a == SILENT and silent else "Yes."]
    )
    given = {"graph": chat_graph(model), "questions": QUESTIONS[2:5]}
    texts = await result(answer, **given, limit=2)
    if texts != ["Yes.", "", "Yes."]:
        raise Wrong(f"3 texts came, one of them empty: it returned {texts}")


async def _raises(
    answer: Answer, kind: str, error: Exception, limit: int
) -> None:
    model = ScriptedModel(
        script=lambda asked: [error] if asked == REFUSED else ["Yes."]
    )
    questions = [*QUESTIONS[:2], REFUSED, *QUESTIONS[2:4]]
    given = {"graph": chat_graph(model), "questions": questions}
    await must_raise(kind, error, result(answer, **given, limit=limit))
    if sum(call.asked == REFUSED for call in model.calls) > 1:
        raise Wrong(f"after {kind} it asked again: raise it")


# --- 11.2


async def keeps_what_had_come(answer: Answer) -> str:
    """11.2: cancel at the first failure, and keep the finished answers."""
    model, questions = ScriptedModel.watching(answer, _slow), QUESTIONS[:3]
    given = {"graph": chat_graph(model), "questions": questions}
    pair = _pair(await all_at_once(answer, model, **given))
    if pair != ({q: _text(q) for q in questions}, []):
        raise Wrong(f"3 questions without a failure gave {pair}")
    kinds = failures()
    del kinds["a bug in a node"]
    for come in ([QUESTIONS[1], SILENT], []):
        await together(*(_one_fails(answer, *k, come) for k in kinds.items()))
    await _is_cancelled(answer)
    return "2 texts kept, 1 error, 2 calls cut off; also with 3 other errors"


async def _one_fails(
    answer: Answer, kind: str, error: Exception, come: list[str]
) -> None:
    """Some texts come, or none; then a call fails while others still run."""

    def script(asked: str) -> list[Any]:
        fails = [PAUSE, error] if come else [error]
        return fails if asked == REFUSED else _slow(asked)

    model = ScriptedModel.watching(answer, script)
    questions = [*QUESTIONS[:2], REFUSED, *QUESTIONS[2:4]]
    others = 4 - len(come)
    given = {"graph": chat_graph(model), "questions": questions}
    asking = start(result(answer, **given))
    await model.waits_for(5 if come else 4, asking)
    for question in [*come, REFUSED]:
        for one in [c for c in model.running if c.asked == question]:
            await one.finish()
            await settled(asking.done, still=10)
    ended = await until(asking.done, turns=200)
    still_run, cut_off = model.in_flight, model.cut_off
    await model.finish(model.running, asking)
    try:
        texts, errors = _pair(await asking)
    except (openai.APIError, ExceptionGroup):
        raise Wrong(
            "the failure came out, and what had come was lost"
        ) from None
    if not ended or (still_run and not cut_off):
        raise Wrong(
            f"after {kind} {cut_off} of {others} calls were cut off: the "
            "others went on, and are paid for"
        )
    if still_run:
        raise Wrong(
            f"it returned while {count(still_run, 'call')} still ran: wait "
            "for the end of what you cancel"
        )
    if any(isinstance(e, asyncio.CancelledError) for e in errors):
        raise Wrong("the errors hold the runs that were cancelled, too")
    if errors != [error]:
        names = ", ".join(map(name_of, errors))
        raise Wrong(f"1 run failed, but the errors are [{names}]")
    if texts != {question: _text(question) for question in come}:
        raise Wrong(
            f"{count(len(come), 'answer')} had come, but {len(texts)} are kept"
        )


async def _is_cancelled(answer: Answer) -> None:
    model = ScriptedModel.watching(answer, _slow)
    given = {"graph": chat_graph(model), "questions": QUESTIONS[:2]}
    asking = start(result(answer, **given))
    await model.waits_for(2, asking)
    await stop(asking)
    model.release()
    if not asking.cancelled():
        raise Wrong("it was cancelled from outside, and swallowed that")


def _pair(value: Any) -> tuple[dict[str, Any], list[Any]]:
    pair = expect(value, tuple, "(texts, errors)")
    if [type(part) for part in pair] != [dict, list]:
        names = ", ".join(map(name_of, pair))
        raise Wrong(f"it returned ({names}), not a dict and a list")
    return pair


JUDGES = {
    "11.0": in_its_turn,
    "11.1": so_many_at_a_time,
    "11.2": keeps_what_had_come,
}
