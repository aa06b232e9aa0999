"""Judge the check of lesson 11 and the four tasks of lab 11."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from itertools import islice, repeat
from typing import Any

import openai
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy

from workshop.checks.bench import Kitchen, Wrong, call, expect, kitchen, result

Answer = Callable[..., Any]

PATIENCE = 5  # seconds, for what takes milliseconds
STALL = 3  # seconds; a call that nobody cuts off goes on after them


# --- 11.0


async def told_in_requests(answer: Answer) -> str:
    """11.0: say what a question costs when three levels retry."""
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
                await graph.ainvoke(_ask("soup"))
    return meter.requests


# --- 11.1


async def so_many_at_a_time(answer: Answer) -> str:
    """11.1: run questions under a limit, in order, without pauses."""
    # The first ones have the longest answers.
    questions = [f"Say {n} words about soup" for n in range(40, 0, -5)]
    async with kitchen(answer, ttft=0.01, per_token=0) as place:
        graph = _asks(place)
        states = await asyncio.gather(
            *map(graph.ainvoke, map(_ask, questions))
        )
        expected = [state["messages"][-1].text for state in states]
        place.model.pace(ttft=0.3, per_token=0.01)
        with place.model.meter() as meter:
            value = await result(
                answer, graph=graph, questions=questions, limit=3
            )
        texts = expect(value, list, "a list of texts")
        place.must_be_used(meter, "graph")
        peak = meter.peak_in_flight
        if peak == 1:
            raise Wrong(
                "the runs came one after another: at most 1 request was in "
                "flight"
            )
        if peak != 3:
            raise Wrong(f"at most {peak} requests were in flight, not 3")
        if not all(isinstance(text, str) for text in texts):
            kind = type(texts[0]).__name__
            raise Wrong(f"it returned a list of {kind}, not of texts")
        if texts != expected and sorted(texts) == sorted(expected):
            raise Wrong("the texts are in the order in which they came")
        if texts != expected:
            raise Wrong(f"{len(texts)} texts came back, and not the right")
        await _one_stalls(answer, place, graph, questions[:6])
    return (
        f"{meter.requests} questions, exactly {peak} in flight at the peak, "
        "in order; a stalled one holds up nobody"
    )


async def _one_stalls(
    answer: Answer,
    place: Kitchen,
    graph: CompiledStateGraph,
    questions: list[str],
) -> None:
    """Let one of two runs stall; the other place must serve the rest."""
    place.model.pace(ttft=0.05, per_token=0.001)
    place.model.fault("stall", after_tokens=1)
    meter = place.model.meter()
    task = asyncio.ensure_future(answer(graph, questions, 2))
    made = await _until(lambda: meter.read().requests == len(questions))
    task.cancel()
    await asyncio.wait([task])
    if not made:
        raise Wrong(
            f"one run stalled, and only {meter.requests} of "
            f"{len(questions)} were begun: a free place was not taken"
        )


# --- 11.2

QUICK = ["Research: soup", "Research: bread"]
SLOW = ["Research: cake", "Research: tea"]
BROKEN = "Research: fire"


async def keeps_what_had_come(answer: Answer) -> str:
    """11.2: cancel at the first failure, and keep the finished answers."""
    async with kitchen(answer, ttft=0.1) as place:
        await _without_failure(answer, place)
        graph = _fails_after_two(place)
        before = asyncio.all_tasks()
        questions = [SLOW[0], QUICK[0], BROKEN, QUICK[1], SLOW[1]]
        meter = place.model.meter()
        try:
            value = await result(answer, graph=graph, questions=questions)
        except (openai.APIError, ExceptionGroup):
            raise Wrong(
                "the failure came out, and what had come was lost"
            ) from None
        left = _still_running(before)
        await _until(lambda: not meter.read().in_flight)
        place.must_be_used(meter, "graph")
        if meter.cut_off < len(SLOW):
            raise Wrong(
                f"after the failure {meter.cut_off} of {len(SLOW)} calls "
                "were cut off: the others went on, and are paid for"
            )
        if left:
            raise Wrong("it returned while cancelled tasks were still ending")
        texts, errors = _pair(value)
    if any(isinstance(e, asyncio.CancelledError) for e in errors):
        raise Wrong("the errors hold the runs that were cancelled, too")
    if len(errors) != 1 or not isinstance(errors[0], openai.APIError):
        kinds = ", ".join(type(error).__name__ for error in errors)
        raise Wrong(f"1 run failed, but the errors are [{kinds}]")
    if sorted(texts) != sorted(QUICK):
        raise Wrong(
            f"{len(QUICK)} answers had come, but {len(texts)} are kept"
        )
    return (
        f"{len(texts)} texts kept, {len(errors)} error, {meter.cut_off} calls "
        "cut off"
    )


async def _without_failure(answer: Answer, place: Kitchen) -> None:
    value = await result(answer, graph=_asks(place), questions=QUICK)
    texts, errors = _pair(value)
    if errors or sorted(texts) != sorted(QUICK):
        raise Wrong(
            f"2 questions without a failure gave {len(texts)} texts and "
            f"{len(errors)} errors"
        )
    for text in texts.values():
        expect(text, str, "a text for each question")


def _pair(value: Any) -> tuple[dict[str, Any], list[Any]]:
    words = "(texts, errors)"
    pair = expect(value, tuple, words)
    if [type(part) for part in pair] != [dict, list]:
        kinds = ", ".join(type(part).__name__ for part in pair)
        raise Wrong(f"it returned ({kinds}), not a dict and a list")
    return pair


def _fails_after_two(place: Kitchen) -> CompiledStateGraph:
    """Two quick answers, then a failure while two others stall."""
    llm, come, two = _client(place, 0), [], asyncio.Event()

    async def reply(state: MessagesState) -> dict[str, Any]:
        question = state["messages"][-1].text
        fault = {}
        if question in SLOW:
            fault = {
                "x-practice-fault": f"stall;after_tokens=1;seconds={STALL}"
            }
        elif question == BROKEN:
            await two.wait()
            await asyncio.sleep(0.3)  # so that both have surely come out
            fault = {"x-practice-fault": "server_error"}
        message = await llm.bind(extra_headers=fault).ainvoke(question)
        come.append(question)
        if set(come) >= set(QUICK):
            two.set()
        return {"messages": message}

    return _one_node(reply)


# --- 11.3

TOLD = 0.6  # seconds


async def within_its_budget(answer: Answer) -> str:
    """11.3: retry what is refused, within a budget for all questions."""
    questions = ["soup", "bread", "cake"]
    async with kitchen(answer, ttft=0.3) as place:
        early: list[str] = []
        given = {"make": _maker(place, early), "questions": questions}
        with place.model.meter() as meter:
            texts = await result(answer, **given, budget=3)
        place.must_be_used(meter, "make")
        _must_be_texts(texts, 3, "without a refusal")
        if meter.peak_in_flight < 3:
            raise Wrong(
                f"at most {meter.peak_in_flight} request was in flight: ask "
                "all at once"
            )
        place.model.fault("rate_limit", times=2, retry_after=TOLD)
        with place.model.meter() as meter:
            texts = await _not_refused(answer, given, 6)
        if early:
            raise Wrong(
                "it asked again before the time in `Retry-After` was over"
            )
        _must_be_texts(texts, 3, "after 2 refusals")
        if meter.requests != 5:
            raise Wrong(
                f"2 of 3 questions were refused once: {meter.requests} "
                "requests were made, not 5"
            )
        place.model.fault("rate_limit", times=60, retry_after=0.05)
        with place.model.meter() as meter:
            texts = await _not_refused(answer, given, 5)
        if meter.requests > 5:
            raise Wrong(
                f"with a budget of 5, {meter.requests} requests were billed"
            )
        if meter.requests < 5:
            raise Wrong(
                f"with a budget of 5, only {meter.requests} requests were "
                "made: it gave up early"
            )
        _must_be_texts(texts, 0, "where everything is refused")
    return f"waited as told; a budget of 5 billed {meter.requests} requests"


async def _not_refused(
    answer: Answer, given: dict[str, Any], budget: int
) -> Any:
    try:
        return await result(answer, **given, budget=budget)
    except (openai.RateLimitError, ExceptionGroup):
        raise Wrong(
            "the refusal came out: return None where the budget ended"
        ) from None


def _must_be_texts(value: Any, count: int, when: str) -> None:
    texts = expect(value, list, "a list")
    if len(texts) != 3:
        raise Wrong(f"it returned {len(texts)} results for 3 questions")
    if any(not isinstance(text, str | None) for text in texts):
        raise Wrong(f"it returned {type(texts[0]).__name__}, not texts")
    if sum(text is not None for text in texts) != count:
        found = sum(text is not None for text in texts)
        raise Wrong(f"{when} it returned {found} of {count} texts")


def _maker(place: Kitchen, early: list[str]) -> Callable[..., Any]:
    """`make` of the lab, on this kitchen's model; notes early repeats."""

    def make(max_retries: int = 2, max_attempts: int = 3) -> Any:
        llm = _client(place, max_retries)
        clock = asyncio.get_running_loop().time
        not_before: dict[str, float] = {}

        async def reply(state: MessagesState) -> dict[str, Any]:
            question = state["messages"][-1].text
            if clock() < not_before.get(question, 0):
                early.append(question)
            try:
                return {"messages": await llm.ainvoke(question)}
            except openai.RateLimitError as refused:
                told = float(refused.response.headers["retry-after"])
                not_before[question] = clock() + told - 0.02
                raise

        return _one_node(reply, max_attempts)

    return make


# --- 11.4


async def one_fair_stream(answer: Answer) -> str:
    """11.4: merge streams; fair, bounded, ended with their reader."""
    async with kitchen(answer, ttft=0.05, per_token=0.005) as place:
        await _complete(answer)
        await _bounded_and_fair(answer)
        await _silent(answer)
        await _broken(answer)
        cut_off = await _reader_leaves(answer, place)
    return (
        "fair, bounded, told of a broken stream; the reader left: "
        f"{cut_off} of 3 calls were cut off"
    )


def _merged(
    answer: Answer, streams: dict[str, Any], size: int
) -> AsyncIterator[Any]:
    value = call(answer, streams=streams, size=size)
    words = "an async generator: yield each piece"
    return expect(value, AsyncIterator, words)


async def _counting(
    upto: int, made: list[int] | None = None
) -> AsyncIterator[int]:
    for number in range(upto):
        await asyncio.sleep(0)
        if made is not None:
            made.append(number)
        yield number


async def _waits_forever() -> AsyncIterator[int]:
    await asyncio.Event().wait()
    yield 0


async def _breaks() -> AsyncIterator[int]:
    yield 0
    raise ValueError("the stream broke")


async def _read(
    merged: AsyncIterator[Any], count: int | None, hangs: str
) -> list[Any]:
    """Read that many pieces, or all; raise Wrong if none comes."""
    pieces: list[Any] = []
    for _ in islice(repeat(None), count):
        step = asyncio.ensure_future(anext(merged))
        await asyncio.wait([step], timeout=PATIENCE)
        if not step.done():
            step.cancel()
            await asyncio.wait([step])
            raise Wrong(hangs)
        try:
            piece = step.result()
        except StopAsyncIteration:
            break
        if not isinstance(piece, tuple) or len(piece) != 2:
            kind = type(piece).__name__
            raise Wrong(f"it yielded a {kind}, not (label, piece)")
        pieces.append(piece)
    return pieces


async def _complete(answer: Answer) -> None:
    streams = {"a": _counting(5), "b": _counting(9)}
    async with aclosing(_merged(answer, streams, 2)) as merged:
        pieces = await _read(
            merged, None, "all streams have ended, and the reader still waits"
        )
    for label, count in ("a", 5), ("b", 9):
        got = [piece for name, piece in pieces if name == label]
        if got != list(range(count)):
            raise Wrong(f"of {count} pieces of a stream came {len(got)}")
    if len(pieces) != 14:
        raise Wrong(f"of 14 pieces came {len(pieces)}: an end mark, too?")


async def _bounded_and_fair(answer: Answer) -> None:
    made: list[int] = []
    streams = {label: _counting(100, made) for label in "abc"}
    async with aclosing(_merged(answer, streams, 2)) as merged:
        first = await _read(merged, 1, "nothing came of three streams")
        await asyncio.sleep(0.5)
        ahead = len(made) - len(first)
        rest = await _read(merged, 29, "nothing more came of three streams")
    seen = Counter(label for label, _ in first + rest)
    if len(seen) == 1:
        raise Wrong("the first 30 pieces are all of one stream")
    if ahead > 10:
        raise Wrong(
            f"while the reader paused, {ahead} pieces were taken from the "
            "streams: the queue has no bound"
        )
    if min(seen[label] for label in "abc") < 5:
        raise Wrong("the first 30 pieces are not fairly of three streams")


async def _silent(answer: Answer) -> None:
    streams = {"silent": _waits_forever(), "lively": _counting(20)}
    async with aclosing(_merged(answer, streams, 2)) as merged:
        await _read(merged, 15, "a stream that is silent holds up the other")


async def _broken(answer: Answer) -> None:
    streams = {"broken": _breaks(), "silent": _waits_forever()}
    async with aclosing(_merged(answer, streams, 2)) as merged:
        try:
            await _read(
                merged, 3, "a stream broke, and the reader still waits"
            )
        except (ValueError, ExceptionGroup):
            return
    raise Wrong("a stream broke, and the reader was not told")


async def _reader_leaves(answer: Answer, place: Kitchen) -> int:
    graph = _asks(place)
    streams = {
        label: graph.astream(_ask("soup"), stream_mode="messages")
        for label in "abc"
    }
    before = asyncio.all_tasks()
    place.model.fault("stall", times=3, after_tokens=4, seconds=STALL)
    meter = place.model.meter()
    async with aclosing(_merged(answer, streams, 1)) as merged:
        await _read(merged, 3, "the tokens of three graphs did not come")
        await _until(lambda: meter.read().tokens_sent >= 12)
        await asyncio.sleep(0.2)  # the pieces that nobody reads pile up
    await _until(lambda: not meter.read().in_flight)
    place.must_be_used(meter, "streams")
    left = _still_running(before)
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    for stream in streams.values():
        with suppress(RuntimeError):  # its task still runs
            await stream.aclose()
    if meter.cut_off < 3:
        raise Wrong(
            f"the reader left, and {meter.cut_off} of 3 calls were cut off: "
            "cancel the tasks, and close the streams"
        )
    if left:
        raise Wrong("the reader left, and tasks still run")
    return meter.cut_off


# --- shared


def _ask(question: str) -> dict[str, Any]:
    return {"messages": [("user", question)]}


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


def _asks(place: Kitchen) -> CompiledStateGraph:
    llm = _client(place, 0)

    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": await llm.ainvoke(state["messages"])}

    return _one_node(reply)


def _one_node(
    reply: Callable[..., Any], max_attempts: int = 1
) -> CompiledStateGraph:
    policy = RetryPolicy(
        max_attempts=max_attempts, initial_interval=0.01, jitter=False
    )
    graph = StateGraph(MessagesState)
    graph.add_node("reply", reply, retry_policy=policy)
    return graph.add_edge(START, "reply").compile()


def _still_running(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    tasks = asyncio.all_tasks() - before
    return [task for task in tasks if not task.done()]


async def _until(condition: Callable[[], bool]) -> bool:
    """Wait until it is true, but no longer than PATIENCE."""
    clock = asyncio.get_running_loop().time
    end = clock() + PATIENCE
    while clock() < end:
        if condition():
            return True
        await asyncio.sleep(0.05)
    return False


JUDGES = {
    "11.0": told_in_requests,
    "11.1": so_many_at_a_time,
    "11.2": keeps_what_had_come,
    "11.3": within_its_budget,
    "11.4": one_fair_stream,
}
