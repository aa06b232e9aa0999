"""Judge the check of lesson 12 and the two tasks of lab 12."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
    Kitchen,
    ScriptedModel,
    Wrong,
    call,
    chat_graph,
    count,
    expect,
    failures,
    kitchen,
    name_of,
    result,
    settled,
    start,
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


class Clock:
    """The event loop's own clock, which a judge puts forward.

    So a time is over when the judge says so, on a slow machine as well.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        real, self.ahead = loop.time, 0.0
        loop.time = lambda: real() + self.ahead

    def forward(self, seconds: float) -> None:
        self.ahead += seconds


async def within_its_budget(answer: Answer) -> str:
    """12.1: retry what is refused, within a budget for all questions."""
    clock = Clock()
    for many in (3, 4):
        await _all_answered(answer, QUESTIONS[:many])
    for told in (30, 90):
        await _two_refused(answer, clock, told)
    for budget in (5, 7):
        await _all_refused(answer, budget)
    await _too_little(answer)
    await _other_failures(answer)
    return "waited as told; budgets of 5 and 7 billed 5 and 7 requests"


async def _all_answered(answer: Answer, questions: list[str]) -> None:
    model = ScriptedModel.watching(answer, lambda a: [PAUSE, f"On {a}"])
    given = {"make": _maker(model), "questions": questions}
    asking = start(result(answer, **given, budget=len(questions)))
    await model.waits_for(len(questions), asking)
    at_once = model.peak
    await model.finish(reversed(model.calls), asking)
    value = await asking
    model.must_be_used("make")
    model.watch.must_not_block(": nothing else runs meanwhile")
    texts = _texts(value, questions, len(questions), "without a refusal")
    if at_once < len(questions):
        raise Wrong(
            f"at most {count(at_once, 'request')} of {len(questions)} "
            "in flight: ask all at once"
        )
    if texts != [f"On {question}" for question in questions]:
        raise Wrong("the texts are in another order than the questions")


async def _two_refused(answer: Answer, clock: Clock, told: int) -> None:
    """The first two requests are told to come back later."""
    refusals = [_refusal(told), _refusal(told)]
    model = ScriptedModel(
        script=lambda a: [refusals.pop()] if refusals else [f"On {a}"]
    )
    questions = QUESTIONS[:3]
    given = {"make": _maker(model), "questions": questions}
    asking = start(_not_refused(answer, **given, budget=6))
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
    if len(model.calls) != 5:
        raise Wrong(
            f"2 of 3 questions were refused once: {len(model.calls)} requests "
            "were made, not 5"
        )


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


async def _too_little(answer: Answer) -> None:
    """A budget that is smaller than the number of questions."""
    model = ScriptedModel(script=lambda a: [f"On {a}"])
    given = {"make": _maker(model), "questions": QUESTIONS}
    value = await _not_refused(answer, **given, budget=2)
    if len(model.calls) > 2:
        raise Wrong(
            f"with a budget of 2, {len(model.calls)} requests were billed"
        )
    _texts(value, QUESTIONS, 2, "with a budget of 2")


async def _other_failures(answer: Answer) -> None:
    for kind, error in failures().items():
        if isinstance(error, openai.RateLimitError):
            continue
        model = ScriptedModel(script=lambda _, e=error: [e])
        given = {"make": _maker(model), "questions": QUESTIONS[:1]}
        try:
            await result(answer, **given, budget=4)
        except (type(error), ExceptionGroup):
            pass
        else:
            raise Wrong(f"{kind} was not raised")
        if len(model.calls) != 1:
            raise Wrong(f"after {kind} it asked again")


async def _not_refused(answer: Answer, **given: Any) -> Any:
    try:
        return await result(answer, **given)
    except (openai.RateLimitError, ExceptionGroup):
        raise Wrong(
            "the refusal came out: return None where the budget ended"
        ) from None


def _texts(
    value: Any, questions: list[str], wanted: int, when: str
) -> list[Any]:
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
    return texts


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
    await _all_in_time(answer, clock)
    for late, seconds in ([1], 60), ([0, 3], 600):
        await _some_are_late(answer, clock, late, seconds)
    for kind, error in failures().items():
        await _fails_in_time(answer, kind, error)
    return "3 of 4 came in time, None for the other; 1 late call was cut off"


async def _all_in_time(answer: Answer, clock: Clock) -> None:
    """A long limit: it waits for the slow ones, and no longer than that."""
    model = ScriptedModel.watching(answer, lambda a: [PAUSE, f"On {a}"])
    given = {"graph": chat_graph(model), "questions": QUESTIONS[:3]}
    asking = start(result(answer, **given, seconds=600))
    await model.waits_for(3, asking)
    at_once = model.peak
    clock.forward(300)
    await settled(asking.done, asking.done, still=FEW)
    gave_up = asking.done() or model.cut_off
    await model.finish(reversed(model.calls), asking)
    value = await _outcome(asking)
    model.must_be_used("graph")
    model.watch.must_not_block(": nothing else runs meanwhile")
    if at_once < 3:
        raise Wrong(
            f"at most {count(at_once, 'request')} of 3 in flight: ask all at "
            "once"
        )
    if gave_up:
        raise Wrong("it had 600 seconds, and did not wait")
    texts = _texts(value, QUESTIONS[:3], 3, "with all the time")
    if texts != [f"On {question}" for question in QUESTIONS[:3]]:
        raise Wrong("the texts are in another order than the questions")


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
    await settled(lambda: len(model.calls), asking.done, still=FEW)
    clock.forward(seconds + 1)
    in_time = await until(asking.done, turns=200)
    await settled(lambda: model.in_flight, still=10)
    cut_off = model.cut_off
    await model.finish(model.calls, asking)
    value = await _outcome(asking)
    if not in_time:
        raise Wrong("the time was over, and it still waited")
    texts = _texts(value, QUESTIONS, 4 - len(late), "when time was over")
    wanted = [None if q in slow else f"On {q}" for q in QUESTIONS]
    if texts != wanted:
        raise Wrong("None does not stand where the text did not come")
    if cut_off < len(late):
        raise Wrong(
            f"when time was over, {cut_off} of {count(len(late), 'late call')}"
            " was cut off: the model wrote on"
        )


async def _outcome(asking: asyncio.Task[Any]) -> Any:
    try:
        return await asking
    except TimeoutError:
        raise Wrong(
            "the TimeoutError came out, and the texts that had come were lost"
        ) from None


async def _fails_in_time(answer: Answer, kind: str, error: Exception) -> None:
    model = ScriptedModel(
        script=lambda a: [error] if a == QUESTIONS[1] else ["Yes."]
    )
    given = {"graph": chat_graph(model), "questions": QUESTIONS[:3]}
    try:
        await result(answer, **given, seconds=600)
    except (type(error), ExceptionGroup):
        return
    raise Wrong(f"{kind} was swallowed: raise it")


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
