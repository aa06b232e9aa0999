"""Judge the check of lesson 14 and the four tasks of lab 14."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
)
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import BaseMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.errors import EmptyInputError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateSnapshot

from workshop.checks.bench import (
    Kitchen,
    Wrong,
    call,
    expect,
    kitchen,
    result,
)

Answer = Callable[..., Any]

DISHES = ["soup", "fish", "cake"]
IS_ADA = "My name is Ada"
WHO = "What is my name?"
ADA = "Your name is Ada."
BREAK = "Break"
USED_WHEN_CLOSED = "no active connection", "threads can only be started once"
PATIENCE = 5  # seconds, for what takes milliseconds


# --- 14.0


async def names_what_is_left(answer: Answer) -> str:
    """14.0: say with which nodes a stopped run would go on."""

    async def cook(state: MessagesState) -> dict[str, Any]:
        return {"messages": ("ai", "served")}

    menu = StateGraph(MessagesState)
    for dish in DISHES:
        menu.add_node(dish, cook)
    menu.add_edge(START, "soup").add_edge("soup", "fish")
    menu.add_edge("soup", "cake")
    async with _memory() as saver:
        graph = menu.compile(checkpointer=saver)
        await graph.ainvoke(_ask("Soup"), _on("cut"), interrupt_after=["soup"])
        await graph.ainvoke(_ask("Soup"), _on("done"))
        for thread in "cut", "done", "new":
            right = (await graph.aget_state(_on(thread))).next
            with _saver_mistakes_named():
                value = await result(answer, graph=graph, thread=thread)
            if isinstance(value, StateSnapshot):
                raise Wrong("it returned the whole state, not its `next`")
            names = expect(value, tuple, "a tuple of names")
            if names != right:
                raise Wrong(
                    f"it returned {names!r} for a thread where {right!r} "
                    "is next"
                )
    return "it names 2 nodes of a run that was stopped, and 0 of others"


# --- 14.1


async def survives_restarts(answer: Answer) -> str:
    """14.1: stream a turn of a chat whose memory is a file."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/chat.db"
        async with kitchen(answer, ttft=0.01, per_token=0.001) as place:
            llm = _patient(place)

            async def turn(thread: str, text: str) -> str:
                given = {"llm": llm, "path": path, "thread": thread}
                said = await _all(_tokens(answer, **given, text=text))
                _must_be_closed(path)
                return "".join(said)

            given = {"llm": llm, "path": f"{folder}/x.db", "thread": "x"}
            await _must_stream(answer, place, **given, text=WHO)
            await turn("ada", IS_ADA)
            for restart in "first", "second":
                said = await turn("ada", WHO)
                if said != ADA:
                    raise Wrong(
                        f"after the {restart} restart it answered {said!r}: "
                        "the file has nothing of the turns before"
                    )
            if await turn("bob", WHO) == ADA:
                raise Wrong("Bob is told what Ada said: use the `thread`")
            async with AsyncSqliteSaver.from_conn_string(path) as saver:
                graph = create_agent(place.llm, [], checkpointer=saver)
                count = len(await _kept(graph, "ada"))
    if count != 6:
        raise Wrong(f"the file has {count} messages of Ada's thread, not 6")
    return (
        f"after 2 restarts it knows Ada, and her thread has {count} messages"
    )


def _must_be_closed(path: str) -> None:
    """SQLite deletes this file when the last connection is closed."""
    if Path(f"{path}-wal").exists():
        raise Wrong(
            "the file is still open after the turn: a script would never end"
        )


# --- 14.2


async def pays_once(answer: Answer) -> str:
    """14.2: go on with a run that was cut off, or begin one."""
    async with (
        kitchen(answer, ttft=0.05) as place,
        _memory() as saver,
    ):
        graph, reached_fish = _menu(place, saver)
        given = {"graph": graph, "thread": "1"}
        with place.model.meter() as meter:
            await _cut_off(_nodes(answer, **given, text="A"), reached_fish)
        place.must_be_used(meter, "graph")
        if (await graph.aget_state(_on("1"))).next != ("fish",):
            raise Wrong("its first call did not run the graph on the thread")
        with place.model.meter() as meter:
            nodes = await _all(_nodes(answer, **given, text="B"))
        if "soup" in nodes:
            raise Wrong(
                "the soup was done, and it was cooked and paid for again"
            )
        if nodes != DISHES[1:]:
            raise Wrong(f"the rest of the run is fish and cake, not {nodes}")
        again = meter.requests
        nodes, early = [], False
        with place.model.meter() as meter:
            async for node in _nodes(answer, **given, text="C"):
                early = early or meter.read().requests < len(DISHES)
                nodes.append(node)
        if nodes != DISHES:
            raise Wrong(
                f"the run was done, so the next one has three nodes, not "
                f"{nodes}"
            )
        if not early:
            raise Wrong("it yielded its first node when all were done")
        asked = [m for m in await _kept(graph, "1") if m.type == "human"]
    if len(asked) != 2:
        raise Wrong(f"the thread has {len(asked)} orders, not 2")
    return f"{again} requests for the rest of a run: nothing is paid for twice"


def _menu(
    place: Kitchen, saver: AsyncSqliteSaver
) -> tuple[CompiledStateGraph, asyncio.Event]:
    """Three courses, a request each; the first fish never gets ready."""
    llm, reached_fish = _patient(place), asyncio.Event()

    def course(dish: str) -> tuple[str, Callable[..., Awaitable[Any]]]:
        async def cook(state: MessagesState) -> dict[str, Any]:
            said = await llm.ainvoke(f"Table 1 orders the {dish}")
            if dish == "fish" and not reached_fish.is_set():
                reached_fish.set()
                await asyncio.Event().wait()
            return {"messages": said}

        return dish, cook

    menu = StateGraph(MessagesState).add_sequence([*map(course, DISHES)])
    graph = menu.add_edge(START, "soup").compile(checkpointer=saver)
    return graph, reached_fish


async def _nodes(answer: Answer, **given: Any) -> AsyncIterator[str]:
    stream = _generated(call(answer, **given), "yield each node's name")
    try:
        with _saver_mistakes_named():
            async for node in stream:
                yield expect(node, str, "the name of a node")
    except EmptyInputError:
        raise Wrong(
            "a new thread has nothing to go on with: give it the text"
        ) from None


async def _cut_off(
    nodes: AsyncIterator[str], reached_fish: asyncio.Event
) -> None:
    """Read until the fish is reached, then cancel, as a Stop does."""
    reading = asyncio.create_task(_all(nodes))
    await _until(lambda: reading.done() or reached_fish.is_set())
    reading.cancel()
    await asyncio.wait([reading])
    if not reading.cancelled():
        reading.result()  # raises what ended it


# --- 14.3


async def one_run_a_thread(answer: Answer) -> str:
    """14.3: let messages of one thread wait, and no others."""
    async with kitchen(answer, ttft=0.1, per_token=0.001) as place:
        graph = _breakable(place)
        ask = call(answer, graph=graph)
        expect(ask, Callable, "a function: `in_turns` is a plain `def`")
        with place.model.meter() as meter:
            texts = await _asked(ask, ["one"] * 5)
        place.must_be_used(meter, "graph")
        kept = await _kept(graph, "one")
        if len(kept) != 10:
            raise Wrong(
                f"of 5 messages and 5 answers on one thread, {len(kept)} "
                "were kept: each run saved what it knew when it began"
            )
        if sorted(texts) != sorted(m.text for m in kept[1::2]):
            raise Wrong("it did not return the texts of the answers")
        place.model.pace(ttft=0.5)
        with place.model.meter() as meter:
            await _asked(ask, [f"thread {n}" for n in range(5)])
        if meter.peak_in_flight < 5:
            raise Wrong(
                "five threads waited for each other: at most "
                f"{meter.peak_in_flight} in flight"
            )
        await _goes_on_after(ask, place, "an error", _fails)
        await _goes_on_after(ask, place, "a cancel", _is_cancelled)
    return (
        f"one thread keeps {len(kept)} of 10 messages, five threads have "
        f"{meter.peak_in_flight} requests in flight"
    )


def _breakable(place: Kitchen) -> CompiledStateGraph:
    """A chat that raises an error when it is told to."""
    llm = _patient(place)

    async def reply(state: MessagesState) -> dict[str, Any]:
        if state["messages"][-1].text == BREAK:
            raise ZeroDivisionError
        return {"messages": await llm.ainvoke(state["messages"])}

    graph = StateGraph(MessagesState).add_node(reply)
    return graph.add_edge(START, "reply").compile(checkpointer=InMemorySaver())


async def _asked(ask: Answer, threads: list[str]) -> list[str]:
    """Ask at once on all of these threads; return the answers."""
    values = await asyncio.gather(
        *(
            result(ask, thread=thread, text=f"Table {number}")
            for number, thread in enumerate(threads, 1)
        )
    )
    return [expect(value, str, "the text of the answer") for value in values]


async def _goes_on_after(
    ask: Answer,
    place: Kitchen,
    what: str,
    happens: Callable[[Answer, Kitchen], Awaitable[None]],
) -> None:
    await happens(ask, place)
    place.model.pace(ttft=0.01)
    try:
        await asyncio.wait_for(result(ask, thread="x", text=WHO), PATIENCE)
    except TimeoutError:
        raise Wrong(
            f"after {what} nobody gets in on that thread: release its lock "
            "whatever happens"
        ) from None


async def _fails(ask: Answer, place: Kitchen) -> None:
    try:
        await result(ask, thread="x", text=BREAK)
    except ZeroDivisionError:
        return
    raise Wrong("it swallowed an error of the graph")


async def _is_cancelled(ask: Answer, place: Kitchen) -> None:
    place.model.pace(ttft=PATIENCE)
    with place.model.meter() as meter:
        running = asyncio.create_task(result(ask, thread="x", text=WHO))
        await _until(lambda: meter.read().in_flight)
        running.cancel()
        await asyncio.wait([running])


# --- 14.4


async def edits_a_message(answer: Answer) -> str:
    """14.4: change an earlier message; answer and go on from there."""
    async with (
        kitchen(answer, ttft=0.01, per_token=0.001) as place,
        _memory() as saver,
    ):
        graph = create_agent(_patient(place), [], checkpointer=saver)
        for thread in "ada", "bob", "eve":
            for text in IS_ADA, WHO, "Table 3":
                await graph.ainvoke(_ask(text), _on(thread))
        first = (await _kept(graph, "bob"))[0]
        given = {"thread": "bob", "message_id": first.id, "text": WHO}
        await _must_stream(answer, place, graph=graph, **given)
        before = await _kept(graph, "ada")
        await _edited(answer, graph, 2, "Who am I?")
        await _edited(answer, graph, 0, "My name is Bob")
        said = (await graph.ainvoke(_ask(WHO), _on("ada")))["messages"][-1]
        if said.text != "Your name is Bob.":
            raise Wrong(
                f"the chat does not go on from the edit: {said.text!r}"
            )
        versions = [
            state async for state in graph.aget_state_history(_on("ada"))
        ]
        if not any(v.values.get("messages") == before for v in versions):
            raise Wrong("the old version is no longer in the history")
        if len(await _kept(graph, "eve")) != 6:
            raise Wrong("it changed another thread")
    return (
        "after 2 edits the chat goes on, and the first version is one of "
        f"{len(versions)} in the history"
    )


async def _edited(
    answer: Answer, graph: CompiledStateGraph, index: int, text: str
) -> None:
    """Edit the message of Ada's thread at that index."""
    before = await _kept(graph, "ada")
    old, was = before[index], [message.text for message in before]
    given = {"thread": "ada", "message_id": old.id, "text": text}
    said = "".join(await _all(_tokens(answer, graph=graph, **given)))
    now = [message.text for message in await _kept(graph, "ada")]
    if now == was:
        raise Wrong("the thread ends as it did before the edit")
    if now[: len(was)] == was:
        raise Wrong(
            "the message was added at the end: go back to before the old one"
        )
    if old.text in now:
        raise Wrong(
            "the old message is still there: go back to the state before it"
        )
    if len(now) > index + 2:
        raise Wrong("what came after the old message is still there")
    if now[:index] != was[:index]:
        raise Wrong("what came before the old message is gone")
    if now[index:] != [text, said]:
        raise Wrong(
            f"the thread ends with {now[index:]}, and it yielded {said!r}"
        )


# --- shared


@asynccontextmanager
async def _memory() -> AsyncIterator[AsyncSqliteSaver]:
    with TemporaryDirectory() as folder:
        path = f"{folder}/memory.db"
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            yield saver


@contextmanager
def _saver_mistakes_named() -> Iterator[None]:
    """Say in plain words what a saver says in many."""
    try:
        yield
    except asyncio.InvalidStateError:
        raise Wrong(
            "it called a sync method, and the saver belongs to this event "
            "loop: await the one with an `a`"
        ) from None
    except (ValueError, RuntimeError) as error:
        if str(error) not in USED_WHEN_CLOSED:
            raise
        raise Wrong(
            "the file was closed before the stream had ended: keep it open "
            "around the whole stream"
        ) from None


async def _must_stream(answer: Answer, place: Kitchen, **given: Any) -> None:
    """Read one word while the model stalls, and leave."""
    place.model.fault("stall", after_tokens=2)
    with place.model.meter() as meter:
        try:
            async with (
                asyncio.timeout(PATIENCE),
                aclosing(_tokens(answer, **given)) as tokens,
            ):
                await anext(tokens, None)
        except TimeoutError:
            raise Wrong(
                "no word came while the model still wrote: yield each token "
                "as it comes"
            ) from None
    place.must_be_used(meter, "llm" if "llm" in given else "graph")


async def _tokens(answer: Answer, **given: Any) -> AsyncGenerator[str, None]:
    """The texts that it yields, but for empty ones."""
    stream = _generated(call(answer, **given), "yield tokens")
    with _saver_mistakes_named():
        async with aclosing(stream):
            async for piece in stream:
                if expect(piece, str, "a text"):
                    yield piece


def _generated(value: Any, advice: str) -> AsyncGenerator[Any, None]:
    return expect(value, AsyncGenerator, f"an async generator: {advice}")


async def _all(stream: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in stream]


def _on(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}}


def _ask(text: str) -> dict[str, Any]:
    return {"messages": [("user", text)]}


def _patient(place: Kitchen) -> ChatOpenAI:
    """The model without a timeout per chunk: with one, Python 3.11 can lose
    a cancel (gh-86296)."""
    return place.llm.model_copy(update={"stream_chunk_timeout": None})


async def _kept(graph: CompiledStateGraph, thread: str) -> list[BaseMessage]:
    state = await graph.aget_state(_on(thread))
    return state.values.get("messages", [])


async def _until(condition: Callable[[], Any]) -> None:
    """Wait until it is true, but no longer than PATIENCE."""
    for _ in range(PATIENCE * 50):
        if condition():
            return
        await asyncio.sleep(0.02)


JUDGES = {
    "14.0": names_what_is_left,
    "14.1": survives_restarts,
    "14.2": pays_once,
    "14.3": one_run_a_thread,
    "14.4": edits_a_message,
}
