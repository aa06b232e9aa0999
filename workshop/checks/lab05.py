"""Judge the check of lesson 05 and the four tasks of lab 05."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import create_react_agent

from workshop.checks.bench import Kitchen, Wrong, call, expect, kitchen
from workshop.model import Meter

Answer = Callable[..., Any]

SOUP = "What is the price of the soup?"
CAKE = "What is the price of the cake?"
THREE = "What is the price of the soup, the price of the cake and of the tea?"
PATIENCE = 5  # seconds, for what takes milliseconds
STALL = 3  # seconds; whoever waits for the end of it has not cancelled


def price(dish: str) -> dict[str, Any]:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


# --- 05.0


async def only_words_of_the_model(answer: Answer) -> str:
    """05.0: say which chunks users should see, for two kinds of agents."""
    async with kitchen(answer, ttft=0.05) as place:
        seen = {
            # unwrapped, it does not warn that it is deprecated
            make.__name__: await _shown(answer, inspect.unwrap(make), place)
            for make in (create_agent, create_react_agent)
        }
    counts = " and ".join(f"{seen[name]} of {name}" for name in seen)
    return f"users see the tokens, {counts}, and no tool output"


async def _shown(answer: Answer, make: Answer, place: Kitchen) -> int:
    """How many tokens of the agent that it makes the answer shows."""
    name, agent = make.__name__, make(place.llm, [price])
    tokens, shown = [], []
    async for message, about in agent.astream(
        _ask(SOUP), stream_mode="messages"
    ):
        if isinstance(message, AIMessageChunk) and message.text:
            node = about["langgraph_node"]
            tokens.append(message)
        value = call(answer, message=message, about=about)
        if value is None or asyncio.iscoroutine(value):
            expect(value, bool, "True or False")
        if value:
            shown.append(message)
    if not shown:
        raise Wrong(
            f"users of {name} see nothing: its model runs in the node `{node}`"
        )
    if any(message.type == "tool" for message in shown):
        raise Wrong(f"users of {name} see what the tool returned")
    if empty := sum(not message.text for message in shown):
        raise Wrong(f"{empty} chunks without text pass")
    if len(shown) < len(tokens):
        raise Wrong(
            f"users of {name} see {len(shown)} of {len(tokens)} tokens"
        )
    return len(shown)


# --- 05.1


async def only_the_final_answer(answer: Answer) -> str:
    """05.1: stream the tokens of one agent of two."""
    async with kitchen(answer, ttft=0.1, per_token=0.03) as place:
        graph, said = _team(place)
        pieces: list[str] = []
        sent_at_first = 0
        with place.model.meter() as meter:
            stream = call(answer, graph=graph, question=SOUP)
            async for piece in _generated(stream, "yield each token"):
                if not isinstance(piece, str):
                    kind = type(piece).__name__
                    raise Wrong(f"it yielded {kind}, not a text")
                sent_at_first = sent_at_first or meter.read().tokens_sent
                pieces.append(piece)
    place.must_be_used(meter, "graph")
    text = "".join(pieces)
    if not text:
        raise Wrong(
            "it yielded no text: agents in a graph stream only with "
            "`subgraphs=True`, and their nodes are called `model`"
        )
    if "{" in text:
        raise Wrong("guests read what a tool returned")
    if said.get("cook", "{") in text:
        raise Wrong("guests read the words of the cook")
    if text != said.get("waiter"):
        raise Wrong(f"guests read {text!r}, not the answer of the waiter")
    if len(pieces) == 1:
        raise Wrong(
            "the answer came in 1 piece: agents in a graph stream only with "
            "`subgraphs=True`"
        )
    if "" in pieces:
        raise Wrong(f"{pieces.count('')} pieces have no text")
    if sent_at_first >= meter.tokens_sent:
        raise Wrong(
            "nothing was streamed: the model had finished before the first "
            "piece came"
        )
    return f"only the waiter: {len(pieces)} pieces, the first one early"


def _team(place: Kitchen) -> tuple[CompiledStateGraph, dict[str, str]]:
    """The graph of the lab, and what its agents said, by name."""
    said: dict[str, str] = {}
    cook = create_agent(place.llm, [price], name="cook")
    waiter = create_agent(place.llm, [price], name="waiter")

    async def serve(state: MessagesState) -> Any:
        said["cook"] = state["messages"][-1].text
        served = await waiter.ainvoke(_ask(CAKE))
        said["waiter"] = served["messages"][-1].text
        return served

    graph = StateGraph(MessagesState).add_node(cook).add_node(serve)
    graph = graph.add_edge(START, "cook").add_edge("cook", "serve")
    return graph.compile(), said


# --- 05.2


async def keeps_what_came(answer: Answer) -> str:
    """05.2: end an answer in time and return the part that has come."""
    async with kitchen(answer, ttft=0.05) as place:
        graph = _one_node(place)
        whole = (await place.llm.ainvoke(SOUP)).text
        given = {"graph": graph, "question": SOUP}
        await _in_time(answer, whole, given)
        place.model.pace(ttft=0.1, per_token=0.2)
        with place.model.meter() as meter:
            await _too_late(answer, whole, given)
            await _idle(meter)
        place.must_be_used(meter, "graph")
        if meter.cut_off < meter.requests:
            raise Wrong(
                "it returned, but the model wrote on to the end: the stream "
                "was not cancelled"
            )
        place.model.pace(ttft=0.1, per_token=0.01)
        kept = await _stalled(answer, place, whole, given)
        place.model.pace(ttft=1)
        await _cancelled(answer, given)
    return f"kept {kept} tokens of a stalled answer, and the call was cut off"


async def _in_time(answer: Answer, whole: str, given: dict[str, Any]) -> None:
    value = call(answer, **given, seconds=PATIENCE)
    text = expect(await _awaited(value), str, "the text")
    if text != whole:
        raise Wrong(
            f"with enough time it returned {text!r}, not the whole answer"
        )


async def _too_late(answer: Answer, whole: str, given: dict[str, Any]) -> None:
    for seconds in (1.2, 2):  # the second is for a very busy machine
        try:
            text = await answer(*given.values(), seconds)
        except TimeoutError:
            raise Wrong(
                "the TimeoutError came out, and the text was lost: catch it "
                "around the `async with`"
            ) from None
        if text == whole:
            raise Wrong(
                "the whole answer came: the limit is for all of it, not for "
                "each token"
            )
        if text and whole.startswith(text):
            return
    raise Wrong("what had come within the limit was lost")


async def _stalled(
    answer: Answer, place: Kitchen, whole: str, given: dict[str, Any]
) -> int:
    """Let the model stall after three tokens; return how many were kept."""
    place.model.fault("stall", after_tokens=3)
    try:
        text = await asyncio.wait_for(answer(*given.values(), 1.5), PATIENCE)
    except TimeoutError:
        raise Wrong(
            "it waits as long as a stalled model does: the clock is read "
            "only when a token comes"
        ) from None
    start = [c.text async for c in place.llm.astream(SOUP) if c.text][:3]
    if text != "".join(start):
        raise Wrong(f"of a stalled answer it kept {text!r}, not {start}")
    return len(start)


async def _cancelled(answer: Answer, given: dict[str, Any]) -> None:
    """Cancel the answer from outside, as a Stop button does."""
    task = asyncio.create_task(answer(*given.values(), PATIENCE))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        raise Wrong(
            "it swallowed the cancel of somebody else: catch `TimeoutError`, "
            "not `CancelledError`"
        )


# --- 05.3


async def each_call_early(answer: Answer) -> str:
    """05.3: read parallel tool calls from chunks, each when complete."""
    async with kitchen(answer, ttft=0.05, per_token=0.002) as place:
        tools = place.llm.bind_tools([price])
        several, one = await _record(tools, THREE), await _record(tools, SOUP)
        none = await _record(place.llm, SOUP)
    found = await _calls(answer, several)
    _must_be_early(found, several)
    for chunks in (one, none):
        await _calls(answer, chunks)
    return (
        f"{len(found)} parallel calls, the first one after {found[0][0]} of "
        f"{len(several)} chunks"
    )


async def _record(llm: Any, question: str) -> list[AIMessageChunk]:
    return [chunk async for chunk in llm.astream(question)]


async def _calls(
    answer: Answer, chunks: list[AIMessageChunk]
) -> list[tuple[int, Any]]:
    """The calls that it yields, each with how many chunks it had read."""
    read = 0

    async def stream() -> AsyncIterator[AIMessageChunk]:
        nonlocal read
        for chunk in chunks:
            read += 1
            yield chunk

    found = []
    value = call(answer, chunks=stream())
    try:
        async for item in _generated(value, "yield each call"):
            found.append((read, item))
    except json.JSONDecodeError as error:
        raise Wrong(
            "arguments of several calls were joined: keep them apart by "
            "`index`"
            if error.msg == "Extra data"
            else "a piece of arguments is no JSON yet: join the pieces first"
        ) from None
    _must_be_right([item for _, item in found], chunks)
    return found


def _expected(chunks: list[AIMessageChunk]) -> list[tuple[str, Any]]:
    whole = sum(chunks[1:], chunks[0])
    return [(c["name"], c["args"]) for c in whole.tool_calls]


def _must_be_right(found: list[Any], chunks: list[AIMessageChunk]) -> None:
    expected = _expected(chunks)
    for item in found:
        if not isinstance(item, tuple) or len(item) != 2:
            kind = type(item).__name__
            raise Wrong(f"it yielded a {kind}, not (name, args)")
        name, args = item
        if not name:
            raise Wrong(
                "a call without a name: later pieces carry only an `index`"
            )
        if isinstance(args, str):
            raise Wrong("the arguments are a text: make a dict of the JSON")
    if expected and found == expected[:-1]:
        raise Wrong(
            "the last call never came: nothing begins after it, so it is "
            "complete at the end"
        )
    if any(item not in expected for item in found):
        item = next(item for item in found if item not in expected)
        raise Wrong(f"{item} came, with arguments that are not complete")
    if found != expected:
        raise Wrong(f"{len(found)} calls came, not {len(expected)}")


def _must_be_early(
    found: list[tuple[int, Any]], chunks: list[AIMessageChunk]
) -> None:
    second = 1 + next(
        number
        for number, chunk in enumerate(chunks)
        if any(piece["index"] == 1 for piece in chunk.tool_call_chunks)
    )
    if found[0][0] > second:
        raise Wrong(
            f"the first call was complete at chunk {second}, but came after "
            f"chunk {found[0][0]} of {len(chunks)}"
        )


# --- 05.4


async def stop_leaves_nothing(answer: Answer) -> str:
    """05.4: stream in a task; return a stop that ends all of it."""
    async with kitchen(answer, ttft=0.1, per_token=0.1) as place:
        graph = _one_node(place)
        with place.model.meter() as meter:
            place.model.fault("stall", after_tokens=2, seconds=STALL)
            await _stop_while(answer, graph, meter)
            await _stop_while(answer, graph, meter)
        place.must_be_used(meter, "graph")
        cut_off = meter.cut_off
        await _stop_while(answer, graph, meter, tokens=0)
        place.model.pace(ttft=0.05, per_token=0.002)
        await _stop_after_the_end(answer, graph)
    return f"nothing runs after a stop: {cut_off} of 2 calls were cut off"


async def _stop_while(
    answer: Answer, graph: CompiledStateGraph, meter: Meter, tokens: int = 2
) -> None:
    """Stop once that many tokens were shown; see what is left."""
    before = asyncio.all_tasks()
    shown: list[str] = []
    stop = _started(answer, graph, shown)
    await _until(lambda: len({*shown} - {""}) >= tokens)
    seen = [text for text in dict.fromkeys(shown) if text]
    if len(seen) < tokens:
        raise Wrong("`show` got nothing while the model wrote")
    if any(not b.startswith(a) for a, b in itertools.pairwise(seen)):
        raise Wrong(
            f"`show` got the piece {seen[1]!r}, not all the text so far"
        )
    await _stopped(stop)
    if any(not task.done() for task in asyncio.all_tasks() - before):
        raise Wrong(
            "`stop` returned while its task still ran: cancel it, then wait "
            "for its end"
        )
    count = len(shown)
    await _idle(meter)
    if tokens and meter.cut_off < meter.requests:
        raise Wrong("the stop did not cut off the call of the model")
    if len(shown) > count:
        raise Wrong("`show` was called after the stop")


async def _stop_after_the_end(
    answer: Answer, graph: CompiledStateGraph
) -> None:
    before = asyncio.all_tasks()
    shown: list[str] = []
    stop = _started(answer, graph, shown)
    await _until(lambda: not asyncio.all_tasks() - before)
    for _ in range(2):
        await _stopped(stop)


def _started(
    answer: Answer, graph: CompiledStateGraph, shown: list[str]
) -> Callable[[], Any]:
    def show(text: str) -> None:
        shown.append(expect(text, str, "a text for `show`"))

    stop = call(answer, graph=graph, question=SOUP, show=show)
    return expect(stop, Callable, "a function: `start` is a plain `def`")


async def _stopped(stop: Callable[[], Any]) -> None:
    """Await the stop; say what is wrong with it."""
    ending = stop()
    if not asyncio.iscoroutine(ending) and not asyncio.isfuture(ending):
        raise Wrong("`await stop()` fails: write `async def stop()`")
    stopping = asyncio.ensure_future(ending)
    await asyncio.wait([stopping], timeout=STALL - 1)
    if not stopping.done():
        raise Wrong(
            "`stop` waits for the next token, and a stalled model sends none: "
            "cancel the task"
        )
    if stopping.cancelled():
        raise Wrong(
            "`stop` raised CancelledError: `await task` raises what ended "
            "the task"
        )
    if error := stopping.exception():
        raise Wrong(f"`stop` raised {type(error).__name__}: {error}")


# --- shared


def _ask(question: str) -> dict[str, Any]:
    return {"messages": [("user", question)]}


def _one_node(place: Kitchen) -> CompiledStateGraph:
    # With a timeout per chunk, Python 3.11 can lose a cancel (gh-86296).
    llm = place.llm.model_copy(update={"stream_chunk_timeout": None})

    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": await llm.ainvoke(state["messages"])}

    graph = StateGraph(MessagesState).add_node(reply)
    return graph.add_edge(START, "reply").compile()


def _generated(value: Any, advice: str) -> AsyncIterator[Any]:
    words = f"an async generator: {advice}"
    return expect(value, AsyncIterator, words)


async def _awaited(value: Any) -> Any:
    return await value if asyncio.iscoroutine(value) else value


async def _idle(meter: Meter) -> None:
    """Wait until the model has no call in flight."""
    await _until(lambda: not meter.read().in_flight)


async def _until(condition: Callable[[], bool]) -> None:
    """Wait until it is true, but no longer than PATIENCE."""
    for _ in range(PATIENCE * 50):
        if condition():
            return
        await asyncio.sleep(0.02)


JUDGES = {
    "05.0": only_words_of_the_model,
    "05.1": only_the_final_answer,
    "05.2": keeps_what_came,
    "05.3": each_call_early,
    "05.4": stop_leaves_nothing,
}
