"""Judge the check of lesson 03 and the two tasks of lab 03."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from workshop.checks.kit import (
    AWKWARD_TOKENS,
    PAUSE,
    TWICE,
    Answer,
    Dishes,
    Reader,
    ScriptedModel,
    Wrong,
    chain,
    count,
    expect,
    failures,
    name_of,
    result,
    settled,
    start,
    stop,
    stream_of,
    together,
    turns,
    until,
)

READY = "The cake is ready."


# --- 03.0


async def nodes_in_order(answer: Answer) -> str:
    """03.0: the names of the nodes, in the order in which they finished."""
    for quick, slow in (("bake", "boil"), ("wash", "dry")):
        await _names_of_nodes(answer, quick, slow)
    return "5 nodes in the order in which they finished, in 2 graphs"


async def _names_of_nodes(answer: Answer, quick: str, slow: str) -> None:
    """Two nodes at once, of which the first to start ends last; a loop."""
    ran: list[str] = []
    ordered: list[str] = []

    async def first(state: Dishes) -> None:
        await until(lambda: ran)
        await turns()  # the end of the other one is told
        ran.append(slow)

    async def second(state: Dishes) -> None:
        ran.append(quick)
        ordered.extend(state["dishes"])

    async def taste(state: Dishes) -> None:
        ran.append("taste")

    def again(state: Dishes) -> str:
        return "taste" if ran.count("taste") < 3 else "__end__"

    builder = StateGraph(Dishes)
    builder.add_node(slow, first)
    builder.add_node(quick, second)
    builder.add_node("taste", taste)
    builder.add_edge(START, slow)
    builder.add_edge(START, quick)
    builder.add_edge([slow, quick], "taste")
    builder.add_conditional_edges("taste", again, ["taste", "__end__"])
    graph = builder.compile()
    value = await result(answer, graph=graph, order={"dishes": [quick]})
    names = expect(value, list, "a list of names of nodes")
    for name in names:
        if not isinstance(name, str):
            raise Wrong(f"the list holds {name_of(name)}, not names of nodes")
    if not names:
        raise Wrong(
            "the list is empty: this mode has nothing to say about nodes, or "
            "its name is misspelled"
        )
    if not ran:
        raise Wrong("the graph never ran")
    if ordered != [quick]:
        raise Wrong(f"the graph was not given the `order`, but {ordered}")
    if names == ran:
        return
    if sorted(names) == sorted(ran * 2):
        raise Wrong(TWICE)
    if sorted(names) == sorted(ran):
        raise Wrong(
            f"`{slow}` started before `{quick}` and finished after it: the "
            "order is not that of the ends"
        )
    raise Wrong(f"it says {', '.join(names)}, but {', '.join(ran)} ran")


# --- 03.1


async def modes_merged(answer: Answer) -> str:
    """03.1: merge three modes into one stream of typed events."""
    number = await _merged(answer, "bake", [0, 25, 25, 100])
    await _merged(answer, "boil", [7, 0])
    return f"{number} typed events of three modes, in order, in one run"


async def _merged(answer: Answer, node: str, percents: list[int]) -> int:
    """Each node waits until what it said before was read."""
    said = f"Table 3 orders: {node} the cake"
    asked: list[str] = []
    late: list[str] = []

    async def must_come(kind: str, number: int = 1) -> None:
        """Wait until so many of a kind came, or nothing more does."""

        def came() -> bool:
            return sum(name_of(e) == kind for e in reader.parts) >= number

        if not late:
            await settled(lambda: len(reader.parts), came)
            if not came():
                late.append(kind)

    def greet(state: MessagesState) -> None:
        write = get_stream_writer()
        write("Welcome!")

    async def work(state: MessagesState) -> dict[str, Any]:
        asked.append(str(state["messages"][0].text))
        await must_come("Step")
        write = get_stream_writer()
        write({"dish": "cake"})
        for number, percent in enumerate(percents, 1):
            write({"dish": "cake", "percent": percent})
            await must_come("Progress", number)
        for other in ("percent", ["percent"], None):
            write(other)
        return {"messages": [ToolMessage(READY, tool_call_id="call_1")]}

    model = ScriptedModel(script=lambda _: [*AWKWARD_TOKENS, PAUSE, "."])

    async def serve(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke("The cake")]}

    words = "an async generator: `yield` each event"
    order = {"messages": [("user", said)]}
    graph = chain({"greet": greet, node: work, "serve": serve})
    reader = Reader(stream_of(answer, words, graph=graph, order=order))
    await model.waits_for(1, reader.task)
    if model.in_flight:
        await must_come("Token")
    # a second run would wait at its own pause
    await model.finish([], reader.task)
    if not reader.done():
        await stop(reader.task)
    await reader.task

    model.must_be_used("graph")
    if len(asked) > 1:
        raise Wrong(
            f"the graph ran {len(asked)} times: one run can stream three modes"
        )
    if asked != [said]:
        raise Wrong(f"the graph was not given the `order`, but {asked}")
    story = [_told(event) for event in reader.parts]
    for kind in FIELDS:
        if not any(part.startswith(kind) for part in story):
            raise Wrong(f"no {kind} came")
    tokens = [f"Token {text!r}" for text in (*AWKWARD_TOKENS, ".")]
    baked = [f"Progress {percent!r}" for percent in percents]
    expected = ["Step 'greet'", *baked, f"Step {node!r}"]
    expected += [*tokens, "Step 'serve'"]
    if late and sorted(story) == sorted(expected):
        raise Wrong(f"the first {late[0]} came late: nothing was streamed")
    for got, right in zip([*story, "the end"], expected, strict=False):
        if got != right:
            raise Wrong(f"where `{right}` belongs came `{got}`")
    if len(story) > len(expected):
        raise Wrong(f"after the last step came `{story[len(expected)]}`")
    return len(story)


FIELDS = {"Token": "text", "Progress": "percent", "Step": "node"}


def _told(event: Any) -> str:
    """What an event says, if it is one of the three."""
    kind = name_of(event)
    if kind not in FIELDS:
        raise Wrong(f"it yielded {kind}, not Token, Progress or Step")
    value = getattr(event, FIELDS[kind], None)
    if kind != "Progress" and not isinstance(value, str):
        raise Wrong(f"`{kind}.{FIELDS[kind]}` is {name_of(value)}, not str")
    if value == "":
        raise Wrong("a Token is empty: keep the pieces that have text")
    if value == READY:
        raise Wrong(
            f"`{READY}` is the result of a tool, not a token of the model"
        )
    return f"{kind} {value!r}"


# --- 03.2

TOO_HOT = "the pan is too hot"


async def flight_recorder(answer: Answer) -> str:
    """03.2: report what every task came to, also when the run fails."""
    errors = [ValueError(TOO_HOT), *failures().values()]
    await together(*(_failing_run(answer, error) for error in errors))
    kitchen = _banquet(ValueError(TOO_HOT))
    healthy = {"dishes": ["soup", "bread"]}
    report = _report(await result(answer, graph=kitchen, order=healthy))
    if report != [("take", "done"), ("cook", "done"), ("cook", "done")]:
        raise Wrong("a run without an error is reported wrongly")
    await _stopped(answer)
    return "5 tasks reported: 3 done, 1 failed, 1 cut off"


def _banquet(error: Exception) -> CompiledStateGraph:
    """The soup is done after the bread, the fish burns, the cake waits."""
    ready: list[str] = []

    async def cook(state: dict[str, str]) -> None:
        dish = state["dish"]
        if dish == "soup":
            await until(lambda: "bread" in ready)
        if dish == "fish":
            await until(lambda: "soup" in ready)
            await turns()  # the ends of both are told
            raise error
        if dish == "cake":
            await asyncio.Event().wait()  # until the fish burns
        ready.append(dish)

    def take(state: Dishes) -> None:
        pass

    def send(state: Dishes) -> list[Send]:
        return [Send("cook", {"dish": dish}) for dish in state["dishes"]]

    builder = StateGraph(Dishes)
    builder.add_node("take", take)
    builder.add_node("cook", cook)
    builder.add_edge(START, "take")
    builder.add_conditional_edges("take", send, ["cook"])
    return builder.compile()


async def _failing_run(answer: Answer, error: Exception) -> None:
    order = {"dishes": ["cake", "fish", "soup", "bread"]}
    try:
        value = await result(answer, graph=_banquet(error), order=order)
    except type(error) as raised:
        if raised is not error:
            raise
        raise Wrong(
            f"the {type(error).__name__} of the node came through, and the "
            "report is lost"
        ) from error
    expected = [
        ("take", "done"),
        ("cook", "cut off"),
        ("cook", f"failed: {error}"),
        ("cook", "done"),
        ("cook", "done"),
    ]
    report = _report(value)
    if len(report) > len(expected):
        raise Wrong(
            f"{len(report)} entries for {len(expected)} tasks: the start and "
            "the end of a task share one `id`"
        )
    if len(report) < len(expected):
        raise Wrong(
            f"it reports {count(len(report), 'task')} of {len(expected)}: "
            "each has an `id`, and what was cut off has no end"
        )
    if report != expected and sorted(report) == sorted(expected):
        raise Wrong("the tasks are not in the order in which they started")
    for got, right in zip(report, expected, strict=True):
        if got != right:
            raise Wrong(f"where {right} belongs it says {got}")


async def _stopped(answer: Answer) -> None:
    """A cancel from outside comes out."""
    graph = _banquet(ValueError(TOO_HOT))
    given = {"graph": graph, "order": {"dishes": ["cake"]}}
    recording = start(result(answer, **given))
    await turns()
    await stop(recording)
    if not recording.cancelled():
        raise Wrong("it swallowed a cancel: catch `Exception`, not more")


def _report(value: Any) -> list[tuple[str, str]]:
    report = expect(value, list, "a list of pairs")
    for entry in report:
        if not (isinstance(entry, tuple | list) and len(entry) == 2):
            raise Wrong(
                f"the list holds {name_of(entry)}, not (name, outcome)"
            )
    return [(str(name), str(outcome)) for name, outcome in report]


JUDGES = {
    "03.0": nodes_in_order,
    "03.1": modes_merged,
    "03.2": flight_recorder,
}
