"""Judge the check of lesson 01 and the two tasks of lab 01."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langgraph.pregel import Pregel

from workshop.checks.kit import (
    PAUSE,
    Answer,
    ScriptedModel,
    Wrong,
    call,
    chat_graph,
    count,
    expect,
    failures,
    must_raise,
    result,
    some_time_later,
    start,
    texts_of,
)

QUESTIONS = [f"What does table {n} get?" for n in (1, 2, 3)]
MANY = 70  # more than a pool or a semaphore lets through
THREADS = 2


# --- 01.0 and 01.1


async def tables_together(answer: Answer) -> str:
    """01.0: serve some tables together, texts in the order of the tables."""
    for tables in (3, MANY):
        await _together(answer, tables, tables=tables)
    await _one_fails(answer, tables=3)
    return f"up to {MANY} calls together, each text in its place"


async def questions_together(answer: Answer) -> str:
    """01.1: answer some questions together, texts in their order."""
    many = ["The bill?", QUESTIONS[0], "The bill?"]
    many += [f"Guest {n}?" for n in range(MANY - 3)]
    for questions in (QUESTIONS, many):
        await _together(answer, len(questions), questions=questions)
    await _one_fails(answer, questions=QUESTIONS)
    return f"up to {MANY} calls together, each text in its place"


async def _together(answer: Answer, many: int, **given: Any) -> None:
    """Hold all calls until the last has come; of few, that is ready first."""
    numbers = itertools.count()
    model = ScriptedModel.watching(
        answer, lambda asked: [PAUSE, f"{-next(numbers)}: ", asked]
    )
    answering = start(result(answer, graph=chat_graph(model), **given))
    await model.waits_for(many, answering)
    at_once = model.peak
    await some_time_later()
    few = model.calls if many < MANY else []
    await model.finish(reversed(few), answering)
    texts = texts_of(await model.value_of(answering, "graph"))

    model.must_be_asked("graph")
    if len(texts) != many:
        raise Wrong(
            f"{count(len(texts), 'text')} came back for {many} questions"
        )
    # "each is asked once, in a run of its own"
    if len(model.calls) != many:
        raise Wrong(
            f"{many} questions took {count(len(model.calls), 'request')}"
        )
    # "all are in flight at once"
    if at_once < many:
        raise Wrong(
            f"at most {at_once} of {many} requests were in flight at once"
        )
    replies = ["".join(call.parts[1:]) for call in model.calls]
    asked = sorted((call.asked for call in model.calls), key=_numbers)
    questions = given.get("questions", asked)
    if sorted(texts) != sorted(replies) or sorted(asked) != sorted(questions):
        raise Wrong("the texts are not what the graph replied")
    if "tables" in given and len(set(asked)) < many:
        raise Wrong("two tables asked the same")
    if any(len(call.got) != 1 for call in model.calls):
        raise Wrong("a run had the questions of others, too")
    # "in the order of the questions"
    if [text.partition(": ")[2] for text in texts] != questions:
        raise Wrong("the texts are in another order than the questions")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


async def _one_fails(answer: Answer, **given: Any) -> None:
    for what, error in failures().items():
        parts = iter(["soup", error, "soup"])
        model = ScriptedModel(script=lambda _, p=parts: [next(p, "soup")])
        failing = result(answer, graph=chat_graph(model), **given)
        await must_raise(what, error, failing)


# --- 01.2


async def calls_overlap(answer: Answer) -> str:
    """01.2: any number of calls overlap, and none holds a thread."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    for guests in (20, MANY):
        await _serve(answer, guests)
    for what, error in failures().items():
        model = ScriptedModel(script=lambda _, error=error: [error])
        graph = call(answer, llm=model)
        await must_raise(what, error, graph.ainvoke({"messages": ["Soup?"]}))
    return f"{MANY} calls overlapped: {MANY} requests in flight"


async def _serve(answer: Answer, guests: int) -> None:
    asked = [f"What does table {n or 1} get?" for n in range(guests)]
    threads: set[int] = set()

    def script(asked: str) -> list[Any]:
        threads.add(threading.get_ident())
        return [PAUSE, "About ", asked, "\n"]

    model = ScriptedModel.watching(answer, script)
    built = call(answer, llm=model)
    graph = expect(built, Pregel, "a compiled graph")

    async def serve_all() -> list[dict[str, Any]]:
        turns = [[("system", "Be kind."), ("user", text)] for text in asked]
        calls = [graph.ainvoke({"messages": turn}) for turn in turns]
        return await asyncio.gather(*calls)

    serving = start(serve_all())
    await model.waits_for(guests, serving)
    at_once = model.in_flight
    await some_time_later()
    await model.finish([], serving)
    try:
        states = await model.value_of(serving, "llm")
    except NotImplementedError:
        raise Wrong(
            "the node returned a coroutine: is an `await` missing?"
        ) from None

    model.must_be_used("llm")
    if threads - {threading.get_ident()}:
        raise Wrong("each call held a thread, and their pool is a limit")
    model.watch.must_not_block(": at most 1 request was in flight")
    calls = model.calls
    if len(calls) < guests:
        raise Wrong(
            f"{guests} calls of the graph asked the model "
            f"{count(len(calls), 'time')}: each asks it"
        )
    if at_once < guests:
        raise Wrong(
            f"at most {at_once} of {guests} requests were in flight: a lock "
            "or a semaphore holds the others back"
        )
    if sorted(c.got for c in calls) != sorted(["Be kind.", q] for q in asked):
        raise Wrong("the model did not get the messages of the state")
    for state, question in zip(states, asked, strict=True):
        texts = [message.text for message in state["messages"]]
        if texts != ["Be kind.", question, f"About {question}\n"]:
            raise Wrong("the reply of the model was not added to `messages`")


JUDGES = {
    "01.0": tables_together,
    "01.1": questions_together,
    "01.2": calls_overlap,
}
