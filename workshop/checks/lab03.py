"""Judge the check of lesson 03 and the two tasks of lab 03."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import ToolMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from workshop.checks.kit import (
    AWKWARD_TOKENS,
    PAUSE,
    Answer,
    ScriptedModel,
    Wrong,
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
    until,
)

ORDER = {"messages": [("user", "Table 3 orders the cake")]}
READY = "The cake is ready."
EMPTY = (
    "the list is empty: this mode has nothing to say about nodes, or its "
    "name is misspelled"
)
TWICE = "each node is named twice: `tasks` tells of its start and of its end"


class Dishes(TypedDict):
    """The state of the graphs that need no model."""

    dishes: Annotated[list[str], operator.add]


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
    other_is_done = asyncio.Event()

    async def first(state: Dishes) -> None:
        await other_is_done.wait()
        ran.append(slow)

    async def second(state: Dishes) -> dict[str, list[str]]:
        ran.append(quick)
        ordered.extend(state["dishes"])
        # the first one goes on when this end has been reported
        asyncio.get_running_loop().call_later(0.05, other_is_done.set)
        return {"dishes": ["cake"]}

    async def taste(state: Dishes) -> dict[str, list[str]]:
        ran.append("taste")
        return {"dishes": ["taste"]}

    def again(state: Dishes) -> str:
        return "taste" if state["dishes"].count("taste") < 3 else "__end__"

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
    names = _names(value, "names of nodes")
    if not ran:
        raise Wrong("the graph never ran")
    if ordered != [quick]:
        raise Wrong(f"the graph was not given the `order`, but {ordered}")
    if names == ran:
        return
    if "dishes" in names:
        raise Wrong(
            "`dishes` is a key of the state, not a node: `values` yields "
            "the state"
        )
    if sorted(names) == sorted(ran * 2):
        raise Wrong(TWICE)
    if len(names) == len(set(names)):
        raise Wrong("`taste` ran three times and is named once")
    if sorted(names) == sorted(ran):
        raise Wrong(
            f"`{slow}` started before `{quick}` and finished after it: the "
            "order is not that of the ends"
        )
    raise Wrong(f"it says {', '.join(names)}, but {', '.join(ran)} ran")


def _names(value: Any, words: str) -> list[str]:
    names = expect(value, list, f"a list of {words}")
    for name in names:
        if not isinstance(name, str):
            raise Wrong(f"the list holds {name_of(name)}, not {words}")
    if not names:
        raise Wrong(EMPTY)
    return names


# --- 03.1


async def modes_merged(answer: Answer) -> str:
    """03.1: merge three modes into one stream of typed events."""
    number = await _merged(answer, "bake", [0, 25, 25, 100])
    await _merged(answer, "boil", [7, 0])
    return f"{number} typed events of three modes, in order, in one run"


async def _merged(answer: Answer, node: str, percents: list[int]) -> int:
    """Each node waits until what it said before was read."""
    order = {"messages": [("user", f"Table 3 orders: {node} the cake")]}
    events: list[Any] = []
    runs: list[str] = []
    asked: list[str] = []
    late: list[str] = []

    async def read(kind: str, number: int) -> None:
        """Wait until so many events of a kind came, or nothing more does."""

        def came() -> bool:
            return sum(name_of(e) == kind for e in events) >= number

        await settled(lambda: len(events), came)
        if not came():
            late.append(kind)

    async def work(state: MessagesState) -> dict[str, Any]:
        runs.append(node)
        asked.append(str(state["messages"][0].text))
        await read("Step", 1)
        write = get_stream_writer()
        write({"dish": "cake"})
        for number, percent in enumerate(percents, 1):
            write({"dish": "cake", "percent": percent})
            if not late:
                await read("Progress", number)
        for other in ("percent", ["percent"], None):
            write(other)
        return {"messages": [ToolMessage(READY, tool_call_id="call_1")]}

    model = ScriptedModel(script=lambda _: [*AWKWARD_TOKENS, PAUSE, "."])

    async def serve(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke("The cake")]}

    def greet(state: MessagesState) -> None:
        write = get_stream_writer()
        write("Welcome!")

    builder = StateGraph(MessagesState)
    builder.add_sequence([("greet", greet), (node, work), ("serve", serve)])
    builder.add_edge(START, "greet")
    graph = builder.compile()

    async def collect() -> None:
        stream = stream_of(
            answer,
            "an async generator: `yield` each event",
            graph=graph,
            order=order,
        )
        async for event in stream:
            _must_be_event(event)
            events.append(event)

    collecting = start(collect())
    await model.waits_for(1, collecting)
    if model.in_flight and not late:
        await settled(
            lambda: len(events),
            lambda: any(name_of(e) == "Token" for e in events),
        )
        if not any(name_of(e) == "Token" for e in events):
            late.append("Token")
    for _ in range(10):  # a second run would wait at its own pause
        if await until(collecting.done, 40):
            break
        model.release()
    if not collecting.done():
        await stop(collecting)
    await collecting

    model.must_be_used("graph")
    if len(runs) > 1:
        raise Wrong(
            f"the graph ran {len(runs)} times: one run can stream three modes"
        )
    if asked != [text for _, text in order["messages"]]:
        raise Wrong(f"the graph was not given the `order`, but {asked}")
    story = [_told(event) for event in events]
    for kind in "Token", "Progress", "Step":
        if not any(part.startswith(kind) for part in story):
            raise Wrong(f"no {kind} came")
    tokens = [f"Token {text!r}" for text in (*AWKWARD_TOKENS, ".")]
    baked = [f"Progress {percent!r}" for percent in percents]
    expected = ["Step 'greet'", *baked, f"Step {node!r}"]
    expected += [*tokens, "Step 'serve'"]
    if late and sorted(story) == sorted(expected):
        raise Wrong(
            f"the first {late[0]} came late: collecting is not streaming"
        )
    for got, right in zip([*story, "the end"], expected, strict=False):
        if got != right:
            raise Wrong(f"where `{right}` belongs came `{got}`")
    if len(story) > len(expected):
        raise Wrong(f"after the last step came `{story[len(expected)]}`")
    return len(events)


FIELDS = {"Token": "text", "Progress": "percent", "Step": "node"}


def _must_be_event(event: Any) -> None:
    """Raise Wrong unless it is one of the three, with what it should hold."""
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


def _told(event: Any) -> str:
    value = getattr(event, FIELDS[name_of(event)])
    return f"{name_of(event)} {value!r}"


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
    bread_is_done, soup_is_done = asyncio.Event(), asyncio.Event()

    async def cook(state: dict[str, str]) -> dict[str, list[str]]:
        if state["dish"] == "soup":
            await bread_is_done.wait()
            soup_is_done.set()
        elif state["dish"] == "bread":
            bread_is_done.set()
        elif state["dish"] == "fish":
            await soup_is_done.wait()
            await asyncio.sleep(0.1)  # the ends of both are told
            raise error
        else:
            await asyncio.Event().wait()  # until the fish burns
        return {"dishes": [state["dish"]]}

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
    _compare_reports(_report(value), expected)


async def _stopped(answer: Answer) -> None:
    """A cancel from outside comes out."""
    order = {"dishes": ["cake"]}
    graph = _banquet(ValueError(TOO_HOT))
    recording = start(result(answer, graph=graph, order=order))
    await asyncio.sleep(0.1)
    await stop(recording)
    if not recording.cancelled():
        raise Wrong(
            "it swallowed a cancel from outside: catch `Exception`, not more"
        )


def _report(value: Any) -> list[tuple[str, str]]:
    report = expect(value, list, "a list of pairs")
    for entry in report:
        if not (isinstance(entry, tuple | list) and len(entry) == 2):
            raise Wrong(
                f"the list holds {name_of(entry)}, not (name, outcome)"
            )
    return [(str(name), str(outcome)) for name, outcome in report]


def _compare_reports(
    report: list[tuple[str, str]], expected: list[tuple[str, str]]
) -> None:
    if report == expected:
        return
    names = [name for name, _ in report]
    outcomes = [outcome for _, outcome in report]
    done = outcomes.count("done")
    if not report:
        raise Wrong(EMPTY)
    if len(report) > len(expected):
        raise Wrong(
            f"{len(report)} entries for {len(expected)} tasks: the start and "
            "the end of a task share one `id`"
        )
    if len(report) == done == 3:
        raise Wrong(
            "only tasks that ended well are there: `updates` tells of no "
            "others"
        )
    if names.count("cook") == 1:
        raise Wrong(
            "four tasks were named `cook` and one is left: tell them apart "
            "by `id`"
        )
    if done == 4:
        raise Wrong("the task that failed is reported as done: see `error`")
    if "cut off" not in outcomes:
        raise Wrong(
            "the task that never ended is missing or not called `cut off`"
        )
    if sorted(report) == sorted(expected):
        raise Wrong("the tasks are not in the order in which they started")
    for got, right in zip(report, expected, strict=False):
        if got != right:
            raise Wrong(f"where {right} belongs it says {got}")
    tasks = count(len(report), "task")
    raise Wrong(f"it reports {tasks} of {len(expected)}")


JUDGES = {
    "03.0": nodes_in_order,
    "03.1": modes_merged,
    "03.2": flight_recorder,
}
