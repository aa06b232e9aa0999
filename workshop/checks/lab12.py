"""Judge the check of lesson 12 and the two tasks of lab 12."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx2
import openai
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy

from workshop.checks.kit import (
    PAUSE,
    Answer,
    Clock,
    Kitchen,
    ScriptedModel,
    Wrong,
    all_at_once,
    call,
    chat_graph,
    count,
    expect,
    failures,
    kitchen,
    must_raise,
    name_of,
    result,
    settled,
    start,
    together,
    until,
)

# --- 12.0


async def told_in_requests(answer: Answer) -> str:
    """12.0: say what a question costs when three levels retry."""
    async with kitchen(answer, ttft=0.01) as place:
        for levels in (2, 3, 2), (0, 3, 1), (3, 1, 2):
            counted = await _refused(place, *levels)
            names = ("max_retries", "max_attempts", "runs")
            given = dict(zip(names, levels, strict=True))
            said = expect(call(answer, **given), int, "a number")
            if said != counted:
                raise Wrong(
                    f"for {levels} you say {said}, and the model counted "
                    f"{counted} requests"
                )
    return f"three cases, the last one with {counted} requests, as you say"


async def _refused(
    place: Kitchen, max_retries: int, max_attempts: int, runs: int
) -> int:
    """How many requests one question makes when all are refused."""
    llm = _client(place, max_retries)

    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": await llm.ainvoke(state["messages"])}

    graph = _one_node(reply, max_attempts)
    most = (max_retries + 1) * max_attempts * runs
    place.model.fault("rate_limit", times=most, retry_after=0.01)
    with place.model.meter() as meter:
        for _ in range(runs):
            with suppress(openai.RateLimitError):
                await graph.ainvoke({"messages": [("user", "soup")]})
    return meter.requests


# --- 12.1

QUESTIONS = ["Is there soup?", "Is there bread?", "Is there cake?", "Tea?"]
FEW = 20  # turns, for what happens in this process alone


async def within_its_budget(answer: Answer) -> str:
    """12.1: retry what is refused, within a budget for all questions."""
    clock = Clock()
    for many in (3, 4):
        model, questions = ScriptedModel.watching(answer, _slow), QUESTIONS
        given = {"make": _maker(model), "questions": questions[:many]}
        value = await all_at_once(answer, model, **given, budget=many)
        _texts(value, questions[:many], many, "without a refusal")
    for told in (30, 90):
        await _two_refused(answer, clock, told)
    await together(*(_all_refused(answer, budget) for budget in (5, 7)))
    for budget in (3, 6):
        await _one_refused(answer, budget)
    for budget in (2, 0):
        await _too_little(answer, budget)
    await _other_failures(answer)
    return "waited as told; budgets of 5 and 7 billed 5 and 7 requests"


def _slow(asked: str) -> list[Any]:
    return [PAUSE, f"On {asked}"]


async def _two_refused(answer: Answer, clock: Clock, told: int) -> None:
    """The first two requests are told to come back later."""
    refusals = [_refusal(told), _refusal(told)]
    model = ScriptedModel(
        script=lambda a: [refusals.pop()] if refusals else [f"On {a}"]
    )
    questions = QUESTIONS[:3]
    given = {"make": _maker(model), "questions": questions}
    asking = start(_not_refused(answer, **given, budget=6))
    await until(lambda: asking.done() or len(model.calls) >= len(questions))
    await settled(lambda: len(model.calls), asking.done, still=FEW)
    clock.forward(told - 20)
    await settled(lambda: len(model.calls), asking.done, still=FEW)
    early = len(model.calls) > len(questions)
    clock.forward(told)
    ended = await until(asking.done, turns=300)
    if early:
        raise Wrong("it asked again before the time in `Retry-After` was over")
    if not ended:
        raise Wrong("the time in `Retry-After` was over, and it still waited")
    _texts(await asking, questions, 3, "after 2 refusals")


async def _all_refused(answer: Answer, budget: int) -> None:
    model = ScriptedModel(script=lambda _: [_refusal(0.01)])
    given = {"make": _maker(model), "questions": QUESTIONS[:3]}
    asking = start(_not_refused(answer, **given, budget=budget))
    await until(lambda: asking.done() or len(model.calls) > 100)
    if asking.done():
        asking.result()  # raises what the answer raised
    if len(model.calls) > budget:
        raise Wrong(
            f"with a budget of {budget}, {len(model.calls)} requests were "
            "billed"
        )
    if len(model.calls) < budget:
        raise Wrong(
            f"with a budget of {budget}, only {len(model.calls)} requests "
            "were made: it gave up early"
        )
    _texts(await asking, QUESTIONS[:3], 0, "where everything is refused")


async def _one_refused(answer: Answer, budget: int) -> None:
    """The budget is one: the first question may have what others leave."""
    refusals = [_refusal(0.01) for _ in range(3)]
    model = ScriptedModel(
        script=lambda a: (
            [refusals.pop()] if a == QUESTIONS[0] and refusals else [f"On {a}"]
        )
    )
    given = {"make": _maker(model), "questions": QUESTIONS[:3]}
    value = await _not_refused(answer, **given, budget=budget)
    when = f"1 of 3 was refused three times, and with a budget of {budget}"
    _texts(value, QUESTIONS[:3], 3 if budget == 6 else 2, when)


async def _too_little(answer: Answer, budget: int) -> None:
    """A budget that is smaller than the number of questions."""
    model = ScriptedModel(script=lambda a: [f"On {a}"])
    given = {"make": _maker(model), "questions": QUESTIONS}
    value = await _not_refused(answer, **given, budget=budget)
    _texts(value, QUESTIONS, budget, f"with a budget of {budget}")


async def _other_failures(answer: Answer) -> None:
    for kind, error in failures().items():
        if isinstance(error, openai.RateLimitError):
            continue
        model = ScriptedModel(script=lambda _, e=error: [e])
        given = {"make": _maker(model), "questions": QUESTIONS[:1]}
        await must_raise(kind, error, result(answer, **given, budget=4))
        if len(model.calls) != 1:
            raise Wrong(f"after {kind} it asked again")


async def _not_refused(answer: Answer, **given: Any) -> Any:
    try:
        return await result(answer, **given)
    except (openai.RateLimitError, ExceptionGroup):
        raise Wrong(
            "the refusal came out: return None where the budget ended"
        ) from None


def _texts(value: Any, questions: list[str], wanted: int, when: str) -> None:
    texts = expect(value, list, "a list")
    if len(texts) != len(questions):
        raise Wrong(
            f"it returned {count(len(texts), 'result')} for "
            f"{count(len(questions), 'question')}"
        )
    for text in texts:
        if not isinstance(text, str | None):
            raise Wrong(f"the list holds {name_of(text)}, not texts")
    found = sum(text is not None for text in texts)
    if found != wanted:
        raise Wrong(f"{when} it returned {found} of {wanted} texts")
    for text, question in zip(texts, questions, strict=True):
        if text not in (None, f"On {question}"):
            raise Wrong("the texts are in another order than the questions")


def _refusal(told: float) -> openai.RateLimitError:
    request = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")
    headers = {"retry-after": str(told)}
    response = httpx2.Response(429, headers=headers, request=request)
    return openai.RateLimitError("Slow down", response=response, body=None)


def _maker(model: ScriptedModel) -> Callable[..., Any]:
    """`make` of the lab, on this model: each level retries as there."""

    def make(max_retries: int = 2, max_attempts: int = 3) -> Any:
        async def reply(state: MessagesState) -> dict[str, Any]:
            for attempt in range(max_retries + 1):
                try:
                    message = await model.ainvoke(state["messages"])
                    break
                except openai.RateLimitError as refused:
                    if attempt == max_retries:
                        raise
                    told = float(refused.response.headers["retry-after"])
                    await asyncio.sleep(told)
            return {"messages": message}

        return _one_node(reply, max_attempts)

    return make


# --- 12.2


async def what_came_in_time(answer: Answer) -> str:
    """12.2: return what has come within the time, and end the rest."""
    clock = Clock()
    await _waits(answer, clock)
    model = ScriptedModel.watching(answer, _slow)
    given = {"graph": chat_graph(model), "questions": QUESTIONS[:3]}
    value = await _outcome(all_at_once(answer, model, **given, seconds=600))
    _texts(value, QUESTIONS[:3], 3, "with all the time")
    for late, seconds in ([1], 60), ([0, 3], 600):
        await _some_are_late(answer, clock, late, seconds)
    for kind, error in failures().items():
        model = ScriptedModel(
            script=lambda a, e=error: [e] if a == QUESTIONS[1] else ["Yes."]
        )
        given["graph"] = chat_graph(model)
        await must_raise(kind, error, result(answer, **given, seconds=600))
    return "3 of 4 came in time, None for the other; 1 late call was cut off"


async def _waits(answer: Answer, clock: Clock) -> None:
    """It waits for who is slow, and an empty text is a text."""
    model = ScriptedModel(script=lambda _: [PAUSE, ""])
    given = {"graph": chat_graph(model), "questions": QUESTIONS[:1]}
    asking = start(result(answer, **given, seconds=600))
    await model.waits_for(1, asking)
    model.must_be_used("graph")
    clock.forward(570)
    await settled(asking.done, asking.done, still=FEW)
    gave_up = asking.done() or model.cut_off
    await model.finish([], asking)
    if gave_up:
        raise Wrong("it had 600 seconds, and did not wait")
    if (value := await asking) != [""]:
        raise Wrong(f"an empty text came in time, and it returned {value}")


async def _some_are_late(
    answer: Answer, clock: Clock, late: list[int], seconds: int
) -> None:
    slow = [QUESTIONS[number] for number in late]
    model = ScriptedModel.watching(
        answer, lambda a: [PAUSE, "late"] if a in slow else [f"On {a}"]
    )
    given = {"graph": chat_graph(model), "questions": QUESTIONS}
    asking = start(result(answer, **given, seconds=seconds))
    await until(lambda: {c.asked for c in model.running} == {*slow})
    await settled(lambda: len(model.calls), asking.done, still=50)
    clock.forward(seconds + 1)
    in_time = await until(asking.done, turns=200)
    await settled(lambda: model.in_flight, still=10)
    cut_off = model.cut_off
    await model.finish(model.running, asking)
    value = await _outcome(asking)
    if not in_time:
        raise Wrong("the time was over, and it still waited")
    came = [question for question in QUESTIONS if question not in slow]
    _texts(value, QUESTIONS, len(came), "when time was over")
    if cut_off < len(late):
        raise Wrong(
            f"when time was over, {cut_off} of {count(len(late), 'late call')}"
            " was cut off: the model wrote on"
        )


async def _outcome(asking: Awaitable[Any]) -> Any:
    try:
        return await asking
    except TimeoutError:
        raise Wrong(
            "the TimeoutError came out, and the texts that had come were lost"
        ) from None


# --- shared


def _client(place: Kitchen, max_retries: int) -> ChatOpenAI:
    """A client of the kitchen's model.

    With a timeout per chunk, Python 3.11 can lose a cancel (gh-86296).
    """
    return ChatOpenAI(
        model=place.model.name,
        base_url=place.model.base_url,
        api_key=place.model.key,
        http_async_client=place.llm.http_async_client,
        max_retries=max_retries,
        stream_chunk_timeout=None,
    )


def _one_node(
    reply: Callable[..., Any], max_attempts: int = 1
) -> CompiledStateGraph:
    policy = RetryPolicy(
        max_attempts=max_attempts, initial_interval=0.01, jitter=False
    )
    builder = StateGraph(MessagesState)
    builder.add_node("reply", reply, retry_policy=policy)
    builder.add_edge(START, "reply")
    return builder.compile()


JUDGES = {
    "12.0": told_in_requests,
    "12.1": within_its_budget,
    "12.2": what_came_in_time,
}
