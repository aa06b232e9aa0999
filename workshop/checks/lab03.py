"""Judge the check of lesson 03 and the four tasks of lab 03."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypedDict

from langchain_core.messages import ToolMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from workshop.checks.bench import Wrong, call, expect, kitchen, result

Answer = Callable[..., Any]

ORDER = {"messages": [("user", "Table 3 orders the cake")]}
PERCENT = [25, 50, 75, 100]
READY = "The cake is ready."
TOO_HOT = "the pan is too hot"
EMPTY = "the list is empty: an unknown stream mode yields nothing"
TWICE = "each node is named twice: `tasks` tells of its start and of its end"


class Dishes(TypedDict):
    """The state of the graphs that need no model."""

    dishes: Annotated[list[str], operator.add]


def _chain(state: type, **nodes: Any) -> CompiledStateGraph:
    graph = StateGraph(state).add_sequence(list(nodes.items()))
    return graph.add_edge(START, next(iter(nodes))).compile()


async def _cook(state: Dishes) -> dict[str, list[str]]:
    return {"dishes": ["cake"]}


async def _greet(state: Any) -> None:
    get_stream_writer()("Welcome!")


def _names(value: Any, words: str) -> list[str]:
    names = expect(value, list, f"a list of {words}")
    for name in names:
        if not isinstance(name, str):
            kind = type(name).__name__
            raise Wrong(f"the list holds {kind}, not {words}")
    if not names:
        raise Wrong(EMPTY)
    return names


# --- 03.0


async def nodes_in_order(answer: Answer) -> str:
    """03.0: name the nodes in the order in which they finished."""
    ran: list[str] = []

    async def cook(state: Dishes) -> dict[str, list[str]]:
        ran.append("cook")
        return {"dishes": ["cake"]}

    async def taste(state: Dishes) -> None:
        ran.append("taste")

    def again(state: Dishes) -> str:
        return "cook" if len(state["dishes"]) < 2 else "__end__"

    graph = StateGraph(Dishes).add_node(cook).add_node(taste)
    graph = graph.add_edge(START, "cook").add_edge("cook", "taste")
    graph = graph.add_conditional_edges("taste", again, ["cook", "__end__"])
    value = await result(answer, graph=graph.compile(), order={"dishes": []})
    names = _names(value, "names of nodes")
    if not ran:
        raise Wrong("the graph never ran")
    if names == ran:
        return f"{len(ran)} nodes in the order in which they finished"
    if "dishes" in names:
        raise Wrong(
            "`dishes` is a key of the state, not a node: `values` yields "
            "the state"
        )
    if names == [name for name in ran for _ in range(2)]:
        raise Wrong(TWICE)
    if len(names) == len(set(names)):
        raise Wrong("`cook` ran twice and is named once")
    raise Wrong(f"it says {', '.join(names)}, but {', '.join(ran)} ran")


# --- 03.1


class Bar:
    """Stands in for a progress bar and keeps what it showed."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    @property
    def value(self) -> Any:
        return self.shown[-1] if self.shown else 0

    @value.setter
    def value(self, value: Any) -> None:
        self.shown.append(value)


async def _seen(condition: Callable[[], bool]) -> bool:
    """Whether the reader of a stream makes it true, given 100 turns."""
    for _ in range(100):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


async def bar_follows(answer: Answer) -> str:
    """03.1: move a bar while the cake bakes; return the reply's text."""
    bar, runs, replies = Bar(), [], []
    in_time = True

    async def bake(state: MessagesState) -> None:
        nonlocal in_time
        runs.append("bake")
        for percent in PERCENT:
            get_stream_writer()({"dish": "cake", "percent": percent})
            in_time = in_time and await _seen(lambda p=percent: bar.value == p)

    async with kitchen(answer, ttft=0.05) as place:

        async def reply(state: MessagesState) -> dict[str, Any]:
            replies.append(await place.llm.ainvoke(state["messages"]))
            return {"messages": [replies[-1]]}

        graph = _chain(MessagesState, greet=_greet, bake=bake, reply=reply)
        with place.model.meter() as meter:
            value = await result(answer, graph=graph, order=ORDER, bar=bar)
    place.must_be_used(meter, "graph")
    if len(runs) > 1:
        raise Wrong(
            f"the graph ran {len(runs)} times: one run can stream two modes"
        )
    if not bar.shown:
        raise Wrong("`bar.value` was never set")
    if "Welcome!" in bar.shown:
        raise Wrong(
            "the bar got 'Welcome!': other nodes write to `custom` as well"
        )
    if set(PERCENT) <= set(bar.shown) and not in_time:
        raise Wrong(
            "the bar stood still while the cake baked: `bar.value` was set "
            "only afterwards"
        )
    if bar.shown != PERCENT:
        raise Wrong(f"the bar showed {bar.shown}, the oven said {PERCENT}")
    if expect(value, str, "the text of the reply") != replies[0].text:
        raise Wrong("it did not return the text of the last message")
    return f"the bar showed {PERCENT} while the cake baked, in one run"


# --- 03.2


async def modes_merged(answer: Answer) -> str:
    """03.2: merge three modes into one stream of typed events."""
    events: list[Any] = []
    runs: list[str] = []
    said: list[str] = []
    in_time = True

    async def bake(state: MessagesState) -> dict[str, Any]:
        nonlocal in_time
        runs.append("bake")
        for percent in PERCENT:
            get_stream_writer()({"dish": "cake", "percent": percent})
            in_time = in_time and await _seen(
                lambda p=percent: (
                    bool(events) and getattr(events[-1], "percent", 0) == p
                )
            )
        return {"messages": [ToolMessage(READY, tool_call_id="call_1")]}

    async with kitchen(answer, ttft=0.05) as place:

        async def wait(state: MessagesState) -> dict[str, Any]:
            message = await place.llm.ainvoke("Table 3 orders the cake")
            said.append(message.text)
            return {"messages": [message]}

        graph = _chain(
            MessagesState, greet=_greet, wait=wait, bake=bake, serve=wait
        )
        with place.model.meter() as meter:
            stream = expect(
                call(answer, graph=graph, order=ORDER),
                AsyncIterator,
                "an async generator: `yield` each event",
            )
            async for event in stream:
                events.append(event)
    place.must_be_used(meter, "graph")
    if len(runs) > 1:
        raise Wrong(
            f"the graph ran {len(runs)} times: one run can stream three modes"
        )
    story = _story(events)
    if not in_time and f"Progress {PERCENT[0]}" in story:
        raise Wrong(
            "the first Progress came when the cake was ready: collecting is "
            "not streaming"
        )
    for kind in "Token", "Progress", "Step":
        if not any(part.startswith(kind) for part in story):
            raise Wrong(f"no {kind} came")
    baked = [f"Progress {percent}" for percent in PERCENT]
    tokens = [f"Token {text}" for text in said]
    expected = ["Step greet", tokens[0], "Step wait", *baked, "Step bake"]
    expected += [tokens[1], "Step serve"]
    for got, right in zip([*story, "the end"], expected, strict=False):
        if got != right:
            raise Wrong(f"where `{right}` belongs came `{got}`")
    return f"{len(events)} typed events of three modes, in order, in one run"


def _story(events: list[Any]) -> list[str]:
    """What the events say, with the tokens in a row joined."""
    story: list[str] = []
    for event in events:
        kind = type(event).__name__
        field = {"Token": "text", "Progress": "percent", "Step": "node"}
        if kind not in field:
            raise Wrong(f"it yielded {kind}, not Token, Progress or Step")
        value = getattr(event, field[kind], None)
        if kind != "Progress" and not isinstance(value, str):
            found = type(value).__name__
            raise Wrong(f"`{kind}.{field[kind]}` is {found}, not str")
        if value == "":
            raise Wrong("a Token is empty: keep the pieces that have text")
        if value == READY:
            raise Wrong(
                f"`{READY}` is the result of a tool, not a token of the model"
            )
        if kind == "Token" and story and story[-1].startswith(kind):
            story[-1] += value
        else:
            story.append(f"{kind} {value}")
    return story


# --- 03.3


async def paths_of_any_graph(answer: Answer) -> str:
    """03.3: name the nodes with their path, whatever the graph's depth."""
    inner = _chain(Dishes, cook=_cook, taste=_greet)
    nested = _chain(Dishes, greet=_greet, kitchen=inner)
    flat = _chain(Dishes, greet=_greet, cook=_cook)
    deep = _chain(Dishes, floor=_chain(Dishes, kitchen=inner, pay=_greet))
    inside = ["kitchen/cook", "kitchen/taste", "kitchen"]
    graphs = [
        (nested, ["greet", *inside]),
        (flat, ["greet", "cook"]),
        (deep, [*(f"floor/{i}" for i in inside), "floor/pay", "floor"]),
    ]
    for graph, expected in graphs:
        value = await result(answer, graph=graph, order={"dishes": []})
        _compare(_names(value, "paths"), expected)
    return "right paths in 3 graphs: flat, nested, and nested twice"


def _compare(paths: list[str], expected: list[str]) -> None:
    if paths == expected:
        return
    if any(":" in path for path in paths):
        raise Wrong(
            "a path holds a generated id: keep what stands before the `:`"
        )
    if len(paths) == 2 * len(expected):
        raise Wrong(TWICE)
    if "kitchen" in paths and "kitchen/cook" in expected:
        if not any("cook" in path for path in paths):
            raise Wrong("the nodes inside `kitchen` are missing")
        if "cook" in paths:
            raise Wrong("`cook` ran inside `kitchen`: its path is missing")
    for path, right in zip([*paths, "the end"], expected, strict=False):
        if path != right:
            raise Wrong(f"where `{right}` belongs it says `{path}`")
    raise Wrong(f"it says {len(paths)} nodes, but {len(expected)} ran")


# --- 03.4


async def flight_recorder(answer: Answer) -> str:
    """03.4: report what every task came to, also when the run fails."""
    runs = 0

    async def cook(state: dict[str, str]) -> dict[str, list[str]]:
        if state["dish"] == "cake":
            await asyncio.Event().wait()  # until the fish burns
        if state["dish"] == "fish":
            await asyncio.sleep(0.1)
            raise ValueError(TOO_HOT)
        return {"dishes": [state["dish"]]}

    def take(state: Dishes) -> None:
        nonlocal runs
        runs += 1

    def send(state: Dishes) -> list[Send]:
        dishes = state["dishes"]
        return [Send("cook", {"dish": dish}) for dish in dishes]

    graph = StateGraph(Dishes).add_node(take).add_node("cook", cook)
    graph = graph.add_edge(START, "take")
    graph = graph.add_conditional_edges("take", send, ["cook"]).compile()
    expected = [
        ("take", "done"),
        ("cook", "done"),
        ("cook", f"failed: {TOO_HOT}"),
        ("cook", "cut off"),
    ]
    try:
        order = {"dishes": ["soup", "fish", "cake"]}
        value = await result(answer, graph=graph, order=order)
    except ValueError as error:
        if str(error) != TOO_HOT:
            raise
        raise Wrong(
            "the ValueError of the node came through, and the report is lost"
        ) from error
    report = _report(value)
    if not runs:
        raise Wrong("the graph never ran")
    _compare_reports(report, expected)
    healthy = {"dishes": ["soup", "soup"]}
    report = _report(await result(answer, graph=graph, order=healthy))
    if report != [expected[0], expected[1], expected[1]]:
        raise Wrong("a run without an error is reported wrongly")
    return "4 tasks reported: 2 done, 1 failed, 1 cut off"


def _report(value: Any) -> list[tuple[str, str]]:
    report = expect(value, list, "a list of pairs")
    for entry in report:
        if not (isinstance(entry, tuple | list) and len(entry) == 2):
            found = type(entry).__name__
            raise Wrong(f"the list holds {found}, not (name, outcome)")
    return [(str(name), str(outcome)) for name, outcome in report]


def _compare_reports(
    report: list[tuple[str, str]], expected: list[tuple[str, str]]
) -> None:
    names = [name for name, _ in report]
    outcomes = [outcome for _, outcome in report]
    done = outcomes.count("done")
    if len(report) > len(expected):
        raise Wrong(
            f"{len(report)} entries for {len(expected)} tasks: the start and "
            "the end of a task share one `id`"
        )
    if len(report) == 2 and done == 2:
        raise Wrong(
            "only tasks that ended well are there: `updates` tells of no "
            "others"
        )
    if names.count("cook") == 1:
        raise Wrong(
            "three tasks were named `cook` and one is left: tell them apart "
            "by `id`"
        )
    if done == 3:
        raise Wrong("the task that failed is reported as done: see `error`")
    if "cut off" not in outcomes:
        raise Wrong(
            "the task that never ended is missing or not called `cut off`"
        )
    if report != expected:
        for got, right in zip(report, expected, strict=False):
            if got != right:
                raise Wrong(f"where {right} belongs it says {got}")
        raise Wrong(f"it reports {len(report)} of {len(expected)} tasks")


JUDGES = {
    "03.0": nodes_in_order,
    "03.1": bar_follows,
    "03.2": modes_merged,
    "03.3": paths_of_any_graph,
    "03.4": flight_recorder,
}
