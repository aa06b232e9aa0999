"""Judge the check of lesson 05 and the three tasks of lab 05."""

from __future__ import annotations

import inspect
import json
from typing import Any

import httpx2
import openai
from langchain.agents import create_agent
from langchain.agents.middleware import before_model
from langchain_core.messages import AIMessageChunk, ToolMessage
from langgraph.graph import MessagesState
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import create_react_agent

from workshop.checks.kit import (
    AWKWARD_TOKENS,
    LATE,
    PAUSE,
    AgentModel,
    Answer,
    Play,
    Reader,
    ScriptedModel,
    Wrong,
    call,
    chain,
    count,
    expect,
    failures,
    must_raise,
    name_of,
    result,
    settled,
    some_time_later,
    stop,
    stream_of,
    together,
    tool_call,
)

SOUP = "What is the price of the soup?"
SOUP_ARGS = '{"dish": "soup"}'


def _ask(question: str) -> dict[str, Any]:
    return {"messages": [("user", question)]}


def _ending(*parts: str, reason: str | None) -> list[Any]:
    """A script of a model that ends for this reason, usage chunk included."""
    end = [] if reason is None else [{"finish_reason": reason}]
    chunks = [AIMessageChunk(content=""), *parts]
    chunks += [AIMessageChunk(content="", response_metadata=e) for e in end]
    return [*chunks, AIMessageChunk(content="")]


# --- 05.0


async def words_for_the_user(answer: Answer) -> str:
    """05.0: say which chunks users should see, for two kinds of agents."""
    seen = []
    # unwrapped, it does not warn that it is deprecated
    for make in (create_agent, inspect.unwrap(create_react_agent)):
        seen.append(f"{await _shown(answer, make)} of {make.__name__}")
    return f"users see the tokens, {' and '.join(seen)}, and nothing else"


def _speaks(asked: str) -> list[Any]:
    """A script: first the call of the tool, then some words and an end."""
    if asked == SOUP:
        return [AIMessageChunk(content=""), tool_call("price", SOUP_ARGS)]
    return _ending("It", " is", "\n\n", "9", "0", " euros", reason="stop")


async def _shown(answer: Answer, make: Answer) -> int:
    """How many tokens of the agent that it makes the answer shows."""
    name = make.__name__
    helper = ScriptedModel(script=lambda _: ["In", " short"])

    async def price(dish: str) -> str:
        """Look up the price of a dish."""
        await helper.ainvoke("A joke, please")
        return "90 euros"

    @before_model
    async def summary(state: Any, runtime: Any) -> None:
        await helper.ainvoke("Summarize the conversation")

    more = {"middleware": [summary]} if make is create_agent else {}
    agent = make(AgentModel(script=_speaks), [price], **more)
    silent = make(AgentModel(tags=["nostream"]), [])
    node = "model" if make is create_agent else "agent"
    parts, meant = [], 0
    for graph in (agent, silent):
        async for message, about in graph.astream(
            _ask(SOUP), stream_mode="messages"
        ):
            parts.append((message, about))
            is_token = message.type == "AIMessageChunk" and message.text != ""
            meant += is_token and about["langgraph_node"] == node

    shown = []
    for message, about in parts:
        value = call(answer, message=message, about=about)
        if value is None or inspect.iscoroutine(value):
            expect(value, bool, "True or False")
        if value:
            shown.append((message, about["langgraph_node"]))
    if not shown:
        raise Wrong(
            f"users of {name} see nothing: its model runs in the node `{node}`"
        )
    if any(message.type == "tool" for message, _ in shown):
        raise Wrong(f"users of {name} see what the tool returned")
    for message, where in shown:
        if message.text and where != node:
            raise Wrong(
                f"users of {name} see what a helper writes in the node "
                f"`{where}`"
            )
    if any(message.type != "AIMessageChunk" for message, _ in shown):
        raise Wrong(
            f"users of {name} see the whole message of a model tagged "
            "`nostream`: it is no chunk"
        )
    if empty := sum(not message.text for message, _ in shown):
        raise Wrong(f"{count(empty, 'chunk')} without text pass")
    if len(shown) < meant:
        raise Wrong(f"users of {name} see {len(shown)} of {meant} tokens")
    return len(shown)


# --- 05.1


def price(dish: str) -> dict[str, Any]:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


OPINIONS = {
    "soup": [*AWKWARD_TOKENS, PAUSE, " is", " hot"],
    "fish": ["Fish", PAUSE, "\n", " is", " fresh"],
}


async def only_the_waiter(answer: Answer) -> str:
    """05.1: stream the tokens of one agent of several."""
    pieces = await _waited(answer, "soup", waiter_first=False)
    await _waited(answer, "fish", waiter_first=True)
    return f"only the waiter, early: {count(pieces, 'piece')}"


async def _waited(answer: Answer, dish: str, waiter_first: bool) -> int:
    """The waiter uses a tool, and speaks; he pauses after some tokens."""
    opinion = OPINIONS[dish]

    def waiters(asked: str) -> list[Any]:
        if asked == dish:
            return [tool_call("price", SOUP_ARGS)]
        return opinion

    waiter_model = AgentModel.watching(answer, waiters)
    waiter = create_agent(waiter_model, [price], name="waiter")
    cooks = AgentModel(script=lambda _: ["I", " cook", " it"])
    other = "headwaiter" if waiter_first else "cook"
    cook = create_agent(cooks, [price], name=other)

    async def serve(state: MessagesState) -> Any:
        asked = [m for m in state["messages"] if m.type == "human"]
        return await waiter.ainvoke({"messages": asked})

    async def order(state: MessagesState) -> Any:
        told = ToolMessage("The kitchen is open", tool_call_id="call_9")
        return {"messages": [told]}

    nodes = {"order": order, "cook": cook, "serve": serve}
    if waiter_first:
        nodes = {"bring": serve, "serve": cook, "order": order}
    words = "an async generator: yield each token"
    graph = chain(nodes)
    reader = Reader(stream_of(answer, words, graph=graph, question=dish))

    def paused() -> bool:
        calls = waiter_model.running
        return reader.done() or any(c.waiting for c in calls)

    await settled(lambda: len(waiter_model.calls), paused)
    in_time = await reader.has(opinion.index(PAUSE))
    await some_time_later()
    await waiter_model.finish([], reader.task)
    if not reader.done():
        await stop(reader.task)
    await reader.task

    waiter_model.must_be_used("graph")
    asked = waiter_model.calls[0].asked
    if asked != dish:
        raise Wrong(f"the waiter was asked {asked!r}, not {dish!r}")
    pieces = reader.parts
    for piece in pieces:
        if not isinstance(piece, str):
            raise Wrong(f"it yielded {name_of(piece)}, not a text")
    text = "".join(pieces)
    expected = "".join(part for part in opinion if part is not PAUSE)
    if not text:
        raise Wrong(
            "it yielded no text: agents in a graph stream only with "
            "`subgraphs=True`, and their nodes are called `model`"
        )
    if "euros" in text or "kitchen is open" in text:
        raise Wrong("guests read what a tool returned")
    if "I cook it" in text:
        raise Wrong("guests read the words of another agent")
    if "" in pieces:
        empty = count(pieces.count(""), "piece")
        raise Wrong(f"{empty} without text: keep those that have some")
    if pieces == [expected]:
        raise Wrong(LATE)
    if text != expected:
        raise Wrong(f"guests read {text!r}, not {expected!r}")
    if not in_time:
        raise Wrong(LATE)
    return len(pieces)


# --- 05.2

NESTED = '{"dish": {"name": "soup", "with": {}}}'


async def each_call_early(answer: Answer) -> str:
    """05.2: yield parallel tool calls from chunks, each when complete."""
    several = [
        ("price", NESTED),
        ("price", SOUP_ARGS),
        ("price", SOUP_ARGS),
        ("stock", "{}"),
    ]
    early = await _calls(answer, several)
    await _calls(answer, [("stock", '{"days": 0, "dish": null}')])
    await _calls(answer, [])
    await _several_in_a_chunk(answer)
    await _breaks_off(answer)
    return f"{len(several)} parallel calls, {early} of them early"


def _piece(index: int, args: str, name: str | None = None) -> Any:
    """A piece of a call; name and id come with the first one only."""
    about = {"name": name, "id": name and f"c{index}"}
    piece = {**about, "args": args, "index": index}
    return AIMessageChunk(content="", tool_call_chunks=[piece])


async def _calls(answer: Answer, calls: list[tuple[str, str]]) -> int:
    """Stop the chunks where each call but the first has just begun."""
    parts = [AIMessageChunk(content=""), AIMessageChunk(content="One moment")]
    for index, (name, args) in enumerate(calls):
        parts.append(_piece(index, "", name))
        if index:
            parts.append(PAUSE)
        for place in range(0, len(args), 2):
            parts.append(_piece(index, args[place : place + 2]))
    parts.append(AIMessageChunk(content="", chunk_position="last"))
    play = Play(parts)
    reader = _reader(answer, play)
    early = 0
    for begun in range(1, len(calls)):
        await settled(lambda: play.sent, lambda: play.waiting or reader.done())
        early += await reader.has(begun, still=20)
        play.release(1)
    play.release()
    try:
        await reader.task
    except json.JSONDecodeError as error:
        raise Wrong(
            "arguments of several calls were joined: keep them apart by "
            "`index`"
            if error.msg == "Extra data"
            else "a part of the arguments was taken for all of them: they "
            "are complete when the next call begins"
        ) from None
    _must_be_right(reader, calls)
    if early < len(calls) - 1:
        raise Wrong(
            f"{early} of {len(calls)} calls came before the model had "
            "finished: one is complete when the next one begins"
        )
    return early


def _reader(answer: Answer, play: Play) -> Reader:
    words = "an async generator: yield each call"
    return Reader(stream_of(answer, words, chunks=play.stream()))


async def _several_in_a_chunk(answer: Answer) -> None:
    """Three calls come whole at once; the model goes on."""
    chunk = AIMessageChunk(content="")
    for index in range(3):
        chunk = chunk + _piece(index, NESTED, "price")
    play = Play([chunk, PAUSE, AIMessageChunk(content="")])
    reader = _reader(answer, play)
    await reader.has(2, still=30)
    early = len(reader.parts)
    await some_time_later()
    play.release()
    await reader.task
    _must_be_right(reader, [("price", NESTED)] * 3)
    if early < 2:
        raise Wrong(
            f"three calls came in one chunk, and only {early} of the two "
            "complete ones came out"
        )


async def _breaks_off(answer: Answer) -> None:
    """The model fails within the arguments of its second call."""
    for what, error in failures().items():
        first = _piece(0, SOUP_ARGS, "price")
        play = Play([first, _piece(1, '{"dish": "so', "price"), error])
        reader = _reader(answer, play)
        await must_raise(what, error, reader.task)
        _must_be_right(reader, [("price", SOUP_ARGS)])


def _must_be_right(reader: Reader, calls: list[tuple[str, str]]) -> None:
    found = reader.parts
    expected = [(name, json.loads(args)) for name, args in calls]
    for item in found:
        if not isinstance(item, tuple) or len(item) != 2:
            raise Wrong(f"it yielded a {name_of(item)}, not (name, args)")
        name, args = item
        if not name:
            raise Wrong(
                "a call without a name: later pieces carry only an `index`"
            )
        if isinstance(args, str):
            raise Wrong("the arguments are a text: make a dict of the JSON")
    if found == expected:
        return
    if expected and found == expected[:-1]:
        raise Wrong("the last call never came: the end completes it")
    for item in found:
        if item not in expected:
            raise Wrong(f"{item} came, with arguments that are not complete")
    raise Wrong(
        f"{count(len(found), 'call')} came, not {len(expected)} in their order"
    )


# --- 05.3


async def knows_the_end(answer: Answer) -> str:
    """05.3: the text of one node, and whether it is whole."""
    whole = "".join(AWKWARD_TOKENS)
    part = "Soup and"
    broken = failures()
    del broken["a bug in a node"]
    request = httpx2.Request("POST", "http://127.0.0.1")
    broken["an error in the stream"] = openai.APIError(
        "Oops", request, body=None
    )
    cases = {
        "a whole answer": (_ending(*AWKWARD_TOKENS, reason="stop"), whole),
        "an answer out of tokens": (_ending(part, reason="length"), part),
        "a filtered answer": (_ending(part, reason="content_filter"), part),
        "an answer that just ended": (_ending(part, reason=None), part),
        "a refusal": (_ending(reason="stop"), ""),
        "a whole answer, again": (_ending("Yes", reason="stop"), "Yes"),
    }
    for what, error in broken.items():
        cases[what] = ([part, error], part)
    cases["an answer that never began"] = ([broken["a rate limit"]], "")
    for node in ("reply", "serve"):  # all at once: nothing is shared
        ends = [_ended(answer, n, *case, node) for n, case in cases.items()]
        await together(*ends)
    await _bug_comes_out(answer)
    return f"{len(cases)} answers told apart, whatever other nodes said"


def _three_nodes(
    node: str, script: list[Any]
) -> tuple[ScriptedModel, CompiledStateGraph]:
    """Before and after the node, other models end well and badly."""

    def asks(script: list[Any]) -> Any:
        model = ScriptedModel(script=lambda _: script)

        async def ask(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"][:1])]}

        return model, ask

    _, before = asks(_ending("Sum", reason="length"))
    model, meant = asks(script)
    _, after = asks(_ending("Title", reason="stop"))
    nodes = {"summary": before, node: meant, f"{node}_title": after}
    return model, chain(nodes)


async def _ended(
    answer: Answer, case: str, script: list[Any], text: str, node: str
) -> None:
    model, graph = _three_nodes(node, script)
    question = f"{SOUP} {node.capitalize()} it!"
    given = {"graph": graph, "question": question, "node": node}
    fails = isinstance(script[-1], Exception)
    try:
        value = await result(answer, **given)
    except Exception as error:
        if fails and error is script[-1]:
            raise Wrong(
                f"the {type(error).__name__} came out, and the text is lost"
            ) from None
        raise
    if not isinstance(value, tuple | list) or len(value) != 2:
        expect(value, tuple, "a pair, the text and True or False")
        raise Wrong("it returned a tuple, but not a pair")
    model.must_be_used("graph")
    asked = model.calls[0].asked
    if asked != question:
        raise Wrong(f"the model was asked {asked!r}, not {question!r}")
    said, is_whole = value
    if not isinstance(said, str):
        raise Wrong(f"the text is a {name_of(said)}, not a str")
    if said != text and ("Title" in said or "Sum" in said):
        raise Wrong("the text of other nodes is in it")
    if said != text:
        raise Wrong(f"of {case} it kept {said!r}, not {text!r}")
    if bool(is_whole) != case.startswith("a whole"):
        raise Wrong(f"it says {bool(is_whole)} of {case}")


async def _bug_comes_out(answer: Answer) -> None:
    bug = failures()["a bug in a node"]
    _, graph = _three_nodes("reply", ["Soup", bug])
    given = {"graph": graph, "question": SOUP, "node": "reply"}
    await must_raise("a bug in a node", bug, result(answer, **given))


JUDGES = {
    "05.0": words_for_the_user,
    "05.1": only_the_waiter,
    "05.2": each_call_early,
    "05.3": knows_the_end,
}
