"""Judge the check of lesson 14 and the three tasks of lab 14."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateSnapshot

from workshop.checks.kit import (
    AWKWARD_TOKENS,
    PAUSE,
    Answer,
    ScriptedModel,
    Wrong,
    chat_graph,
    collect,
    count,
    expect,
    failures,
    leave,
    must_raise,
    result,
    settled,
    start,
    stop,
    until,
)
from workshop.checks.threads import (
    all_of,
    ask,
    kept,
    memory,
    must_stream,
    on,
    pieces_of,
    saver_mistakes_named,
    texts,
)

DISHES = ["soup", "fish", "cake"]


# --- 14.0


async def names_what_is_left(answer: Answer) -> str:
    """14.0: say with which nodes a stopped run would go on."""
    for dishes in DISHES, ["soup", "tea", "wine"]:  # a graph of each
        async with memory() as saver:
            await _names_what_is_left(answer, dishes, saver)
    return "it names 2 nodes of a run that was stopped, and 0 of others"


async def _names_what_is_left(
    answer: Answer, dishes: list[str], saver: AsyncSqliteSaver
) -> None:
    async def cook(state: MessagesState) -> dict[str, Any]:
        return {"messages": ("ai", "served")}

    first, *others = dishes
    menu = StateGraph(MessagesState)
    menu.add_node(first, cook).add_edge(START, first)
    for dish in others:
        menu.add_node(dish, cook).add_edge(first, dish)
    graph = menu.compile(checkpointer=saver)
    for thread, stopped in ("cut", ["soup"]), ("done", []):
        await graph.ainvoke(ask("A"), on(thread), interrupt_after=stopped)
    for thread in "cut", "done", "new", "cut":
        right = (await graph.aget_state(on(thread))).next
        with saver_mistakes_named():
            value = await result(answer, graph=graph, thread=thread)
        if isinstance(value, StateSnapshot):
            raise Wrong("it returned the whole state, not its `next`")
        names = expect(value, tuple, "a tuple of names")
        if names != right:
            raise Wrong(
                f"it returned {names!r} for a thread where {right!r} is next"
            )


# --- 14.1


async def survives_restarts(answer: Answer) -> str:
    """14.1: stream a turn of a chat whose memory is a file."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/chat.db"
        model = ScriptedModel.watching(answer)

        async def turn(thread: str, text: str) -> list[str]:
            """Stream it to its end; return what the model got."""
            given = {"llm": model, "path": path, "thread": thread}
            said = "".join(await all_of(answer, **given, text=text))
            model.must_be_asked("llm")
            reply = _written(model)
            if said != reply:
                raise Wrong(f"the model wrote {reply!r}, it yielded {said!r}")
            await _must_be_closed(path, "after the turn")
            return model.calls[-1].got

        # "yields the tokens of the answer, each as it comes"
        other = f"{folder}/other.db"
        given = {"llm": model, "path": other, "thread": "x", "text": "Hello"}
        await must_stream(answer, model, "llm", **given)
        # "keeps the conversation in the file": after two restarts, all of it
        await turn("ada", "My name is Ada")
        if not Path(path).exists():  # noqa: ASYNC240
            raise Wrong("the conversation is not in the file: use `path`")
        for number, restart in enumerate(["first", "second"], 1):
            got = await turn("ada", f"Question after the {restart}")
            if "My name is Ada" not in got or len(got) != 1 + 2 * number:
                raise Wrong(
                    f"after the {restart} restart the model got only {got}: "
                    "the file has nothing of the turns before"
                )
        # "`thread`"
        if "My name is Ada" in await turn("bob", "Hello"):
            raise Wrong("Bob is told what Ada said: use the `thread`")
        model.script = lambda _: list(AWKWARD_TOKENS)
        await turn("ada", "Something awkward")
        # "also when the reader leaves early or the model fails"
        await _closes_when_left(answer, model, path)
        await _closes_after_a_failure(answer, model, path)
        other_model = ScriptedModel()
        given = {"llm": other_model, "path": path, "thread": "ada"}
        await all_of(answer, **given, text="Hello")
        other_model.must_be_used("llm")
    return "after 2 restarts it knows Ada, and her thread has all messages"


async def _closes_when_left(
    answer: Answer, model: ScriptedModel, path: str
) -> None:
    """At a token, and before the first one."""
    after, before = ["One", PAUSE, " two"], [PAUSE, "One"]
    for way, script in (
        ("cancel", after),
        ("aclose", after),
        ("cancel", before),
    ):
        model.script = lambda _, script=script: script
        given = {"llm": model, "path": path, "thread": f"{way} {script}"}
        stream = pieces_of(answer, **given, text="Hello")

        def goes(got: list[str], nothing: bool = script is before) -> bool:
            waits = any(call.waiting for call in model.running)
            return waits if nothing else any(got)

        await leave(stream, goes, way)
        await _must_be_closed(path, "after the reader has left")


async def _closes_after_a_failure(
    answer: Answer, model: ScriptedModel, path: str
) -> None:
    for what, error in failures().items():
        model.script = lambda _, error=error: ["One", error]
        given = {"llm": model, "path": path, "thread": what, "text": "Hello"}
        await must_raise(what, error, all_of(answer, **given))
        await _must_be_closed(path, f"after {what}")


async def _must_be_closed(path: str, when: str) -> None:
    """SQLite deletes this file when the last connection is closed.

    Cursors of a run that was cut off are in the way until they are collected.
    """
    wal = Path(f"{path}-wal")
    if await until(lambda: not wal.exists(), turns=20):
        return
    gc.collect()
    if not await until(lambda: not wal.exists()):
        raise Wrong(f"the file is still open {when}: a script would never end")


# --- 14.2


class Menu:
    """A graph of three courses; what was cooked, and where it waits."""

    def __init__(self, saver: AsyncSqliteSaver) -> None:
        self.cooked: list[str] = []  # each start of a node
        self.holds: set[str] = set()  # dishes that do not get ready
        self.error: Exception | None = None  # of the next fish
        builder = StateGraph(MessagesState)
        builder.add_sequence([(dish, self._cook(dish)) for dish in DISHES])
        builder.add_edge(START, "soup")
        self.graph = builder.compile(checkpointer=saver)

    def _cook(self, dish: str) -> Callable[..., Any]:
        async def cook(state: MessagesState) -> dict[str, Any]:
            self.cooked.append(dish)
            while dish in self.holds:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            error, self.error = self.error, None
            if dish == "fish" and error is not None:
                raise error
            self.error = error
            return {"messages": ("ai", f"{dish} served")}

        return cook


async def pays_once(answer: Answer) -> str:
    """14.2: go on with a run that was cut off, or begin one."""
    async with memory() as saver:
        await _yields_each_when_done(answer, saver)
        again = 0
        for thread in "1", "2":
            again = await _goes_on(answer, saver, thread)
        await _goes_on_for_another(answer, saver)
        await _tries_again(answer, saver)
    return f"{again} requests for the rest of a run: nothing is paid for twice"


NAMES = {"words": "yield each node's name", "piece_is": "the name of a node"}


async def _served(answer: Answer, **given: Any) -> list[str]:
    return await all_of(answer, **NAMES, **given)


async def _stopped_in(
    dish: str, menu: Menu, run: Coroutine[Any, Any, Any]
) -> None:
    """Start it, and cut it off while this dish is cooked."""
    menu.holds = {dish}
    running = start(run)
    await until(lambda: dish in menu.cooked or running.done())
    if running.done():
        running.result()  # raises what ended it
    await stop(running)
    menu.holds = set()


async def _yields_each_when_done(
    answer: Answer, saver: AsyncSqliteSaver
) -> None:
    """Neither before it is done, nor when all are."""
    for dish, after in ("soup", []), ("fish", ["soup"]):
        menu, names = Menu(saver), []
        menu.holds = {dish}
        given = {"graph": menu.graph, "thread": f"until {dish}", "text": "A"}
        pieces = pieces_of(answer, **NAMES, **given)
        reading = start(collect(pieces, names))
        await until(
            lambda d=dish, m=menu, r=reading: d in m.cooked or r.done()
        )
        if reading.done():
            reading.result()  # raises what ended it
            if not menu.cooked:
                raise Wrong("its first call did not run the graph")
        await settled(
            lambda n=names: len(n), lambda n=names, a=after: n == a, 200
        )
        early = [name for name in names if name not in after]
        if early:
            raise Wrong(f"it yielded {early[0]!r} before that was done")
        if names != after:
            raise Wrong(
                "the soup was done, and its name came only with the others"
            )
        menu.holds = set()
        await until(reading.done)
        await stop(reading)
        reading.result()


async def _goes_on(
    answer: Answer, saver: AsyncSqliteSaver, thread: str
) -> int:
    """Cut off in the fish; the rest; and then a new order."""
    menu = Menu(saver)
    given = {"graph": menu.graph, "thread": thread}
    await _stopped_in("fish", menu, _served(answer, **given, text="A"))
    if (await menu.graph.aget_state(on(thread))).next != ("fish",):
        raise Wrong("its first call did not run the graph on the thread")
    menu.cooked.clear()
    nodes = await _served(answer, **given, text="B")
    if "soup" in nodes or "soup" in menu.cooked:
        raise Wrong("the soup was done, and it was cooked and paid for again")
    if nodes != DISHES[1:]:
        raise Wrong(f"the rest of the run is fish and cake, not {nodes}")
    again = len(menu.cooked)
    nodes = await _served(answer, **given, text="C")
    if nodes != DISHES:
        raise Wrong(
            f"the run was done, so the next one has three nodes, not {nodes}"
        )
    messages = await kept(menu.graph, thread)
    orders = [m.text for m in messages if m.type == "human"]
    if orders != ["A", "C"]:
        raise Wrong(
            f"the thread has the orders {orders}: 'B' went on with 'A', so "
            "there are 'A' and 'C'"
        )
    return again


async def _goes_on_for_another(
    answer: Answer, saver: AsyncSqliteSaver
) -> None:
    """A run that this process knows nothing of was cut off."""
    menu = Menu(saver)
    await _stopped_in("fish", menu, menu.graph.ainvoke(ask("A"), on("other")))
    given = {"graph": menu.graph, "thread": "other", "text": "B"}
    if await _served(answer, **given) != DISHES[1:]:
        raise Wrong(
            "after a restart it did not go on with the run: only the thread "
            "knows that it was cut off"
        )
    await menu.graph.ainvoke(ask("C"), on("other"), interrupt_after=["soup"])
    await menu.graph.ainvoke(None, on("other"))
    if await _served(answer, **given) != DISHES:
        raise Wrong(
            "a run was ended elsewhere, and it did not begin a new one: only "
            "the thread knows"
        )


async def _tries_again(answer: Answer, saver: AsyncSqliteSaver) -> None:
    for what, error in failures().items():
        menu = Menu(saver)
        menu.error = error
        given = {"graph": menu.graph, "thread": what}
        await must_raise(what, error, _served(answer, **given, text="A"))
        nodes = await _served(answer, **given, text="B")
        if nodes != DISHES[1:]:
            raise Wrong(
                f"after {what} the rest of the run is fish and cake, not "
                f"{nodes}"
            )


# --- 14.3


async def edits_a_message(answer: Answer) -> str:
    """14.3: change an earlier message; answer and go on from there."""
    said = ["My name is Ada", "Soup", "Bread", "Soup"]
    async with memory() as saver:
        model = ScriptedModel.watching(answer)
        graph = chat_graph(model, saver)
        for thread in "ada", "bob", "eve":
            for text in said:
                await graph.ainvoke(ask(text), on(thread))
        # "yield the tokens of the new answer, each as it comes"
        first = (await kept(graph, "bob"))[0]
        given = {"thread": "bob", "message_id": first.id, "text": "Hello"}
        await must_stream(answer, model, "graph", graph=graph, **given)
        before = await kept(graph, "ada")
        # "two messages may say the same": the second one
        await _edited(answer, graph, model, 6, "Cake")
        await _edited(answer, graph, model, 2, "Tea")
        # "may be edited twice"
        await _edited(answer, graph, model, 2, "Wine")
        versions = [s async for s in graph.aget_state_history(on("ada"))]
        if not any(v.values.get("messages") == before for v in versions):
            raise Wrong("the old version is no longer in the history")
        await _edited(answer, graph, model, 0, "My name is Bob")
        model.script = lambda _: list(AWKWARD_TOKENS)
        await _edited(answer, graph, model, 0, "My name is Eve")
        if (await texts(graph, "eve"))[::2] != said:
            raise Wrong("it changed another thread")
        # "`graph`": another one, with a message of the same id
        other_model = ScriptedModel()
        other = chat_graph(other_model, InMemorySaver())
        await other.ainvoke(ask("Hello"), on("bob"))
        first = (await kept(other, "bob"))[0]
        given = {"thread": "bob", "message_id": first.id, "text": "Bye"}
        await all_of(answer, graph=other, **given)
        if len(other_model.calls) != 2:
            raise Wrong("a second `graph` was not used")
    return (
        "after 5 edits the chat goes on, and the first version is one of "
        f"{count(len(versions), 'state')} in the history"
    )


async def _edited(
    answer: Answer,
    graph: CompiledStateGraph,
    model: ScriptedModel,
    index: int,
    text: str,
) -> None:
    """Edit the message of Ada's thread at that index."""
    before = await kept(graph, "ada")
    old, was = before[index], _said(before)
    given = {"thread": "ada", "message_id": old.id, "text": text}
    heard = "".join(await all_of(answer, graph=graph, **given))
    model.watch.must_not_block(": nothing else runs meanwhile")
    messages = await kept(graph, "ada")
    now = _said(messages)
    if now == was:
        raise Wrong("the thread ends as it did before the edit")
    if now[: len(was)] == was:
        raise Wrong(
            "the message was added at the end: go back to before the old one"
        )
    if old.id in [message.id for message in messages if message.text != text]:
        raise Wrong(
            "the old message is still there: go back to the state before it"
        )
    if now[:index] != was[:index]:
        raise Wrong(
            "what came before the old message is gone, or not as it was"
        )
    if len(now) > index + 2:
        raise Wrong("what came after the old message is still there")
    reply = _written(model)
    if now[index:] != [text, reply]:
        raise Wrong(f"the thread ends with {now[index:]}")
    if heard != reply:
        raise Wrong(f"the new answer is {reply!r}, and it yielded {heard!r}")


def _written(model: ScriptedModel) -> str:
    return "".join(map(str, model.calls[-1].parts))


def _said(messages: list[BaseMessage]) -> list[str]:
    return [str(message.text) for message in messages]


JUDGES = {
    "14.0": names_what_is_left,
    "14.1": survives_restarts,
    "14.2": pays_once,
    "14.3": edits_a_message,
}
