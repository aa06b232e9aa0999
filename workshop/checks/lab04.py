"""Judge the check of lesson 04 and the three tasks of lab 04."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from workshop.checks.kit import (
    AWKWARD_PARTS,
    AWKWARD_TOKENS,
    TWICE,
    AgentModel,
    Answer,
    Dishes,
    ScriptedModel,
    Wrong,
    asks,
    chain,
    expect,
    name_of,
    result,
    settled,
    tool_call,
)


async def _nothing(state: Dishes) -> None:
    pass


def _chain(**nodes: Any) -> Any:
    return chain(nodes, Dishes)


# --- 04.0


async def all_reports(answer: Answer) -> str:
    """04.0: all that is written to custom, also inside, in order."""
    runs: list[list[str]] = []

    def writer(*parts: Any) -> Any:
        def write_all(state: Dishes) -> None:
            runs.append(state["dishes"])
            write = get_stream_writer()
            for part in parts:
                write(part)

        return write_all

    inner = _chain(cook=writer(*AWKWARD_PARTS), taste=writer("good"))
    floor = _chain(kitchen=inner, pay=writer({"euros": 9}))
    deep = _chain(greet=writer("Welcome!"), floor=floor, bye=_nothing)
    flat = _chain(greet=writer("Hello!", "Hello!"))
    inside = [*AWKWARD_PARTS, "good", {"euros": 9}]
    for graph, dish, writers, expected in (
        (deep, "soup", 4, ["Welcome!", *inside]),
        (flat, "cake", 1, ["Hello!", "Hello!"]),
    ):
        runs.clear()
        value = await result(answer, graph=graph, order={"dishes": [dish]})
        reports = expect(value, list, "a list of what was written")
        if not runs:
            raise Wrong("the graph never ran")
        if len(runs) > writers:
            raise Wrong("the graph ran more than once")
        if runs[0] != [dish]:
            raise Wrong(f"the graph got {runs[0]}, not the order of {dish}")
        if reports == expected:
            continue
        if reports == ["Welcome!"]:
            raise Wrong(
                "only the outermost graph's reports are there: what is "
                "inside needs `subgraphs=True`"
            )
        if reports and all(_is_part(entry) for entry in reports):
            raise Wrong(
                f"the list holds {name_of(reports[0])} of a stream, not "
                "what was written: take its data"
            )
        if reports == [part for part in expected if part]:
            raise Wrong("what is empty or None was written, too, and is gone")
        raise Wrong(f"it says {reports}, but {expected} was written")
    return f"all {len(inside) + 1} reports, from 3 graphs in each other"


def _is_part(entry: Any) -> bool:
    """Whether it is a part of v2, or a tuple of v1."""
    if isinstance(entry, tuple):
        return True
    return isinstance(entry, dict) and {"type", "ns", "data"} <= set(entry)


# --- 04.1


class Bar:
    """Stands in for a progress bar and keeps what it showed."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    @property
    def value(self) -> Any:
        return self.shown[-1] if self.shown else None

    @value.setter
    def value(self, value: Any) -> None:
        self.shown.append(value)


async def bar_follows(answer: Answer) -> str:
    """04.1: move a bar while a node works; return the last text."""
    for dish, percents in (
        ("cake", [0, 25, 25, 100]),
        ("soup", [7, 0, 100, 9]),
    ):
        await _follows(answer, dish, percents)
    return "the bar showed [0, 25, 25, 100] while the cake baked, in one run"


async def _follows(answer: Answer, dish: str, percents: list[int]) -> None:
    bar, runs = Bar(), []
    in_time = True

    def greet(state: MessagesState) -> None:
        write = get_stream_writer()
        write("Welcome!")

    async def bake(state: MessagesState) -> None:
        nonlocal in_time
        runs.append(dish)
        write = get_stream_writer()
        write({"dish": dish})
        for number, percent in enumerate(percents, 1):
            write({"dish": dish, "percent": percent})
            if in_time:
                await settled(
                    lambda: len(bar.shown),
                    lambda n=number: len(bar.shown) >= n,
                )
                in_time = len(bar.shown) >= number
        write("percent")

    tokens = [*AWKWARD_TOKENS, "\n"]
    model = ScriptedModel.watching(answer, lambda _: tokens)
    graph = chain({"greet": greet, "bake": bake, "reply": asks(model)})
    said = f"Table 3 orders the {dish}"
    order = {"messages": [("ai", "Hello!"), ("user", said)]}
    value = await result(answer, graph=graph, order=order, bar=bar)
    model.must_be_used("graph")
    if model.calls[0].asked != said:
        raise Wrong(f"the graph got {model.calls[0].asked!r}, not {said!r}")
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
    if bar.shown == percents and not in_time:
        raise Wrong("the bar stood still while the cake baked")
    if bar.shown != percents:
        raise Wrong(f"the bar showed {bar.shown}, the oven said {percents}")
    if expect(value, str, "the text of the reply") != "".join(tokens):
        raise Wrong("it did not return the text of the last message")


# --- 04.2


async def paths_of_any_graph(answer: Answer) -> str:
    """04.2: name the nodes with their path, whatever the graph's depth."""
    seen: list[list[str]] = []

    async def note(state: Dishes) -> None:
        seen.append(state["dishes"])

    inner = _chain(cook=note, taste=_nothing)

    async def cook_more(state: Dishes) -> dict[str, list[str]]:
        seen.append(state["dishes"])
        return {"dishes": ["more"]}

    def more(state: Dishes) -> str:
        return "cook" if state["dishes"].count("more") < 3 else "__end__"

    async def twice(state: Dishes) -> None:
        await inner.ainvoke(state)
        await inner.ainvoke(state)

    inside = ["kitchen/cook", "kitchen/taste", "kitchen"]
    again = [path.replace("kitchen", "kitchen/1") for path in inside[:2]]
    nested = _chain(greet=note, kitchen=inner)
    round_ = StateGraph(Dishes)
    round_.add_node("cook", cook_more)
    round_.add_edge(START, "cook")
    round_.add_conditional_edges("cook", more, ["cook", "__end__"])
    graphs = [
        (nested, ["greet", *inside]),
        (_chain(greet=note, cook=_nothing), ["greet", "cook"]),
        (
            _chain(floor=_chain(kitchen=inner, pay=_nothing)),
            [*(f"floor/{path}" for path in inside), "floor/pay", "floor"],
        ),
        (_chain(kitchen=twice), [*inside[:2], *again, "kitchen"]),
        (round_.compile(), ["cook"] * 3),
    ]
    for number, (graph, expected) in enumerate(graphs, 1):
        dishes = ["soup"] * number
        seen.clear()
        value = await result(answer, graph=graph, order={"dishes": dishes})
        _compare(value, expected)
        if seen[0] != dishes:
            raise Wrong(f"the graph got {seen[0]}, not the order of {dishes}")
    return "right paths in 5 graphs: flat, nested, deep, twice, in a loop"


def _compare(value: Any, expected: list[str]) -> None:
    paths = expect(value, list, "a list of paths")
    for path in paths:
        if not isinstance(path, str):
            raise Wrong(f"the list holds {name_of(path)}, not paths")
    if any(":" in path for path in paths):
        raise Wrong(
            "a path holds a generated id: keep what stands before the `:`"
        )
    if len(paths) == 2 * len(expected):
        raise Wrong(TWICE)
    for path, right in zip([*paths, "the end"], expected, strict=False):
        if path != right:
            raise Wrong(f"where `{right}` belongs it says `{path}`")
    if len(paths) > len(expected):
        raise Wrong(f"it says {len(paths)} nodes, but {len(expected)} ran")


# --- 04.3


async def cost_of_a_run(answer: Answer) -> str:
    """04.3: sum the output tokens of all calls of a run, also deep ones."""
    for dish, guests in (("soup", 2), ("cake", 1)):
        calls, total = await _counted(answer, dish, guests)
    return f"{total} tokens, those of {calls} calls, wherever they were made"


async def _counted(answer: Answer, dish: str, guests: int) -> tuple[int, int]:
    """An agent whose tool asks a model; a silent helper; a plain node."""
    question = f"What is the price of the {dish}?"
    used = {question: 20, "": 30, "A joke": 5, "ping": 2, "And": 400}
    if guests > 1:
        used["And"] = 30  # as much as another call

    def script(asked: str) -> list[Any]:
        many = used[asked]
        usage = {"input_tokens": 7, "output_tokens": many}
        usage["total_tokens"] = 7 + many
        tool = [tool_call("price", f'{{"dish": "{dish}"}}')]
        said = tool if asked == question else ["Well", ", no"]
        end = {"model_name": "practice", "finish_reason": "stop"}
        last = AIMessageChunk(
            content="", usage_metadata=usage, response_metadata=end
        )
        return [AIMessageChunk(content=""), *said, last]

    model = AgentModel(script=script)
    quiet = AgentModel(script=script, tags=["nostream"])
    got: list[str] = []

    async def price(dish: str) -> str:
        """Look up the price of a dish."""
        return (await model.ainvoke("A joke")).text

    async def guard(state: MessagesState) -> None:
        got.append(str(state["messages"][0].text))
        for _ in range(guests):
            await quiet.ainvoke("ping")

    async def serve(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke("And")]}

    agent = create_agent(model, tools=[price])
    graph = chain({"guard": guard, "kitchen": agent, "serve": serve})
    order = {"messages": [("user", question)]}
    value = await result(answer, graph=graph, order=order)
    model.must_be_used("graph")
    if got[0] != question:
        raise Wrong(f"the graph got {got[0]!r}, not the order {question!r}")
    if len(got) > 1:
        raise Wrong(f"the graph ran {len(got)} times")
    total = sum(used.values()) + (guests - 1) * used["ping"]
    if expect(value, int, "a number") == total:
        return len(model.calls + quiet.calls), total
    if value == 0:
        raise Wrong("it counted nothing: which event has the whole message?")
    if value > total:
        raise Wrong(
            f"it counted {value} tokens of {total}: only `output_tokens` "
            "count, and each call once"
        )
    raise Wrong(
        f"it counted {value} of {total} tokens: calls in a tool, in an inner "
        "graph or of a model tagged `nostream` are missing"
    )


JUDGES = {
    "04.0": all_reports,
    "04.1": bar_follows,
    "04.2": paths_of_any_graph,
    "04.3": cost_of_a_run,
}
