"""Judge the check of lesson 01 and the four tasks of lab 01."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from workshop.checks.kit import (
    PAUSE,
    Kitchen,
    ScriptedModel,
    Wrong,
    call,
    chat_graph,
    count,
    expect,
    in_script,
    kitchen,
    must_be_awaited,
    result,
    start,
    texts_of,
)

Answer = Callable[..., Any]
Replies = dict[str, str]  # question -> the text that the graph replied

QUESTIONS = [f"What does table {n} get?" for n in (1, 2, 3)]
BATCHES = [QUESTIONS, [f"What does table {n} get?" for n in (4, 5, 6)]]
GUESTS = 20


# --- 01.0 and 01.1


async def tables_together(answer: Answer) -> str:
    """01.0: serve some tables together, texts in the order of the tables."""
    for tables in (3, 4):
        await _together(answer, tables, graph=None, tables=tables)
    return "three calls together: 3 requests were in flight at once"


async def questions_together(answer: Answer) -> str:
    """01.1: answer some questions together, texts in their order."""
    await _together(answer, 3, graph=None, questions=QUESTIONS)
    again = ["The bill?", "The bill?", "Any bread?", "A table?"]
    await _together(answer, 4, graph=None, questions=again)
    return "three calls together: 3 requests were in flight at once"


async def _together(answer: Answer, many: int, **given: Any) -> None:
    """Hold all calls until the last has come; the first is ready last."""
    numbers = itertools.count()
    model = ScriptedModel.watching(
        answer, lambda asked: [PAUSE, f"{-next(numbers)}: ", asked]
    )
    given["graph"] = chat_graph(model)
    answering = start(result(answer, **given))
    await model.waits_for(many, answering)
    at_once = model.peak
    await model.finish(reversed(model.calls), answering)
    texts = texts_of(await answering)

    model.must_be_used("graph")
    if len(texts) != many:
        raise Wrong(
            f"{count(len(texts), 'text')} came back for {many} questions"
        )
    model.watch.must_not_block(": nothing else runs meanwhile")
    if len(model.calls) != many:
        raise Wrong(
            f"{many} questions took {count(len(model.calls), 'request')}"
        )
    if at_once == 1:
        raise Wrong(
            "the calls ran one after another: at most 1 request was in flight"
        )
    if at_once < many:
        raise Wrong(
            f"at most {at_once} of {many} requests were in flight at once"
        )
    replies = ["".join(call.parts[1:]) for call in model.calls]
    asked = sorted(call.asked for call in model.calls)
    questions = given.get("questions", asked)
    if sorted(texts) != sorted(replies) or asked != sorted(questions):
        raise Wrong("the texts are not what the graph replied")
    if [text.partition(": ")[2] for text in texts] != questions:
        raise Wrong("the texts are in another order than the questions")


# --- 01.2


async def loop_stays_free(answer: Answer) -> str:
    """01.2: stream a reply without holding the event loop."""
    async with kitchen(answer, ttft=0.3, per_token=0.05) as place:
        replies: list[str] = []
        menus: list[str] = []
        pieces: list[str] = []
        sent_at_first = 0

        def read_menu() -> str:
            place.note_blocking_call()
            menus.append("The menu: soup, bread.")
            return menus[-1]

        def reply(state: MessagesState) -> dict[str, Any]:
            message = place.llm.invoke(state["messages"])
            replies.append(message.text)
            return {"messages": [message]}

        async def areply(state: MessagesState) -> dict[str, Any]:
            message = await place.llm.ainvoke(state["messages"])
            replies.append(message.text)
            return {"messages": [message]}

        graph = _graph(RunnableLambda(reply, areply))
        with place.model.meter() as meter:
            stream = expect(
                call(
                    answer,
                    graph=graph,
                    question=QUESTIONS[0],
                    read_menu=read_menu,
                ),
                AsyncIterator,
                "an async generator: `yield` each piece",
            )
            async for piece in stream:
                if not isinstance(piece, str):
                    raise Wrong(
                        f"it yielded {type(piece).__name__}, not a text"
                    )
                if piece and not sent_at_first:
                    sent_at_first = meter.read().tokens_sent
                pieces.append(piece)
    if lines := [line for line in place.blocking if line]:
        raise Wrong(f"`{lines[0]}` blocks the event loop: no beat meanwhile")
    if not menus:
        raise Wrong("`read_menu` never ran: is an `await` missing?")
    place.must_be_used(meter, "graph")
    if "".join(pieces) != "".join(replies):
        raise Wrong("the pieces together are not the reply")
    if sent_at_first >= meter.tokens_sent:
        raise Wrong(
            "nothing was streamed: the model had finished before the first "
            "piece came"
        )
    return (
        "the loop stayed free, and the first piece came before the model "
        "had finished"
    )


# --- 01.3


async def calls_overlap(answer: Answer) -> str:
    """01.3: build a graph whose node lets 20 calls overlap."""
    async with kitchen(answer, ttft=0.4) as place:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        graph = expect(
            call(answer, llm=place.llm),
            CompiledStateGraph,
            "a compiled graph",
        )
        with place.model.meter() as meter:
            states = await asyncio.gather(
                *(graph.ainvoke(_ask(q)) for q in QUESTIONS)
            )
        place.must_be_used(meter, "llm")
        for state in states:
            last = (state.get("messages") or [None])[-1]
            if not isinstance(last, AIMessage):
                raise Wrong("the graph ended without a reply in `messages`")
        if lines := [line for line in place.blocking if line]:
            raise Wrong(
                f"`{lines[0]}` blocks the event loop: at most 1 request "
                "was in flight"
            )
        if place.blocking:
            raise Wrong(
                "each call held a worker thread: with 2 threads only 2 of 3 "
                "calls overlapped"
            )
        for ttft in (0.75, 2):  # the second is for a very busy machine
            place.model.pace(ttft=ttft, per_token=0.01)
            peak = await _peak_at_first_reply(graph, place)
            if peak == GUESTS:
                return f"{GUESTS} calls overlapped: {peak} requests in flight"
    raise Wrong(
        f"at most {peak} of {GUESTS} requests were in flight: a lock or a "
        "semaphore holds the others back"
    )


async def _peak_at_first_reply(
    graph: CompiledStateGraph, place: Kitchen
) -> int:
    """Start all guests; count until the first is served."""
    with place.model.meter() as meter:
        guests = [
            asyncio.create_task(graph.ainvoke(_ask(f"Table {n} orders")))
            for n in range(GUESTS)
        ]
        served, _ = await asyncio.wait(
            guests, return_when=asyncio.FIRST_COMPLETED
        )
        peak = meter.read().peak_in_flight
        for guest in guests:
            guest.cancel()
        await asyncio.gather(*guests, return_exceptions=True)
    for guest in served:
        guest.result()  # raises what the answer raised
    return peak


# --- 01.4


async def one_loop(answer: Answer) -> str:
    """01.4: answer batches from a script; each batch together."""
    if hasattr(asyncio, "_nest_patched"):
        raise Wrong(
            "nest_asyncio has changed asyncio in this kernel: restart it "
            "and leave nest_asyncio out"
        )
    many, each = len(BATCHES), len(BATCHES[0])
    replies: Replies = {}
    async with kitchen(answer, ttft=0.5) as place:

        async def reply(state: MessagesState) -> dict[str, Any]:
            question = state["messages"][-1].text
            message = await place.llm.ainvoke(question)
            replies[question] = message.text
            return {"messages": [message]}

        graph = _graph(reply)
        with place.model.meter() as meter:
            try:
                value = await in_script(answer, graph=graph, batches=BATCHES)
            except (RuntimeError, TypeError) as error:
                raise _script_mistake(error) from error
    if inspect.iscoroutine(value):
        value.close()
        raise Wrong("a script cannot await: `main` is a plain `def`")
    lists = expect(value, list, "a list of lists")
    must_be_awaited(lists)
    if None in lists:
        raise Wrong("a batch came back as None: does `answer_all` return?")
    place.must_be_used(meter, "graph")
    if len(lists) != many or not isinstance(lists[0], list):
        raise Wrong(f"it returned no list of {many} lists")
    texts = [texts_of(entry) for entry in lists]
    if meter.peak_in_flight == 1:
        raise Wrong(
            "the calls ran one after another: at most 1 request was in flight"
        )
    if meter.peak_in_flight > each:
        raise Wrong(
            f"{meter.peak_in_flight} requests were in flight: the second "
            "batch did not wait for the first"
        )
    if texts != [[replies.get(q) for q in batch] for batch in BATCHES]:
        raise Wrong("the texts are not in the order of the questions")
    return (
        f"one event loop for {many} batches: {meter.requests} requests, "
        f"{meter.peak_in_flight} in flight at once"
    )


def _script_mistake(error: Exception) -> Exception:
    said = str(error)
    if "Event loop is closed" in said or "different event loop" in said:
        return Wrong(
            "Event loop is closed: a second loop got the connections of the "
            "first; one asyncio.run must hold everything"
        )
    if said.startswith("No synchronous function"):
        return Wrong("the node is async: only `ainvoke` in a loop can run it")
    return error


# --- shared


def _graph(node: Any) -> CompiledStateGraph:
    builder = StateGraph(MessagesState)
    builder.add_node("reply", node)
    builder.add_edge(START, "reply")
    return builder.compile()


def _ask(question: str) -> dict[str, Any]:
    return {"messages": [("user", question)]}


JUDGES = {
    "01.0": tables_together,
    "01.1": questions_together,
    "01.2": loop_stays_free,
    "01.3": calls_overlap,
    "01.4": one_loop,
}
