"""Judge the check of lesson 08 and the four tasks of lab 08."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from workshop.checks.bench import (
    Kitchen,
    Wrong,
    call,
    expect,
    kitchen,
    result,
)
from workshop.checks.http import Reply, Served, served
from workshop.model import Meter

Answer = Callable[..., Any]

BLOCK = 0.6  # seconds
TRIES = 3  # for a very busy machine
CARD = "On the card today: soup, cake."
SOUP = "Table 1 orders the soup"
CAKE = "Table 1 orders the cake"
PATIENCE = 8  # seconds, for what takes less than one
SILENCE = 4  # seconds; who gets no event for so long gets none
LIMIT = 5  # orders of a banquet in the kitchen at once
COMPLAINTS = {
    "menu": "while one table reads the menu, nobody else gets a word",
    "gone": "a guest left after the first word, and the model wrote on",
    "burnt": "the answer broke off after 3 tokens, and the guest was not told",
    "banquet": "a banquet sends all its orders to the kitchen at once",
    "table": "one table sent two orders at once, and part is forgotten",
    "stranger": "the table ordered twice, and the waiter knows only one order",
}


# --- 08.0


async def longest_silence(answer: Answer) -> str:
    """08.0: measure for how long the loop stood still."""
    runs = 0

    async def blocks() -> None:
        nonlocal runs
        runs += 1
        time.sleep(BLOCK)  # noqa: ASYNC251

    async def waits() -> None:
        await asyncio.sleep(BLOCK)

    async def pieces() -> None:
        for _ in range(3):
            time.sleep(BLOCK / 2)  # noqa: ASYNC251
            await asyncio.sleep(0.05)

    value = await _seconds(answer, blocks)
    if runs != 1:
        raise Wrong(
            f"it ran `work` {runs} times, not once: is an `await` missing?"
        )
    if value < BLOCK * 0.8:
        raise Wrong(f"a block of {BLOCK} s from the start went unnoticed")
    if value > BLOCK * 10:
        raise Wrong(f"a block of {BLOCK} s gave far more: return seconds")
    if not await _once_below(answer, waits, BLOCK / 2):
        raise Wrong(
            "an `await asyncio.sleep` counts as silence: others can run then"
        )
    if not await _once_below(answer, pieces, BLOCK):
        raise Wrong("three short blocks were added up: say the longest one")
    return f"it noticed a block of {BLOCK} s, and let `await` pass"


async def _seconds(answer: Answer, work: Callable[[], Any]) -> float:
    value = await result(answer, work=work)
    if isinstance(value, bool):
        raise Wrong(f"it returned {value}, not a number of seconds")
    return float(expect(value, int | float, "a number of seconds"))


async def _once_below(
    answer: Answer, work: Callable[[], Any], seconds: float
) -> bool:
    for _ in range(TRIES):
        if await _seconds(answer, work) < seconds:
            return True
    return False


# --- 08.1


async def loop_stays_free(answer: Answer) -> str:
    """08.1: build the graph so that reading the menu blocks nobody."""
    async with kitchen(answer, ttft=0.3) as place:
        menu = Menu(place)
        graph = expect(
            call(
                answer,
                llm=place.llm,
                read_menu=menu.read,
                saver=InMemorySaver(),
            ),
            CompiledStateGraph,
            "a compiled graph",
        )
        tables = [_thread("1"), _thread("2")]
        with place.model.meter() as meter:
            states = await asyncio.gather(
                *(graph.ainvoke(_ask(SOUP), table) for table in tables)
            )
        place.must_be_used(meter, "llm")
        if any(menu.in_the_loop):
            raise Wrong(f"0 of 1 mended: {COMPLAINTS['menu']}")
        if not menu.in_the_loop:
            raise Wrong("`read_menu` was never called")
        for state in states:
            texts = [message.text for message in state["messages"]]
            if CARD not in texts[:-1]:
                raise Wrong("the model never saw the menu")
    if graph.checkpointer is None:
        raise Wrong("the graph remembers nothing: `compile` got no saver")
    if meter.peak_in_flight < len(tables):
        raise Wrong("the second table waits until the first is served")
    return (
        f"1 of 1 mended: the loop stayed free, and {meter.peak_in_flight} "
        "tables were served at once"
    )


class Menu:
    """A menu that is read by a blocking call; notes who waits for it.

    ``in_the_loop`` has an entry for each blocking call, also of the model:
    whether it was made in the thread of the event loop.
    """

    def __init__(self, place: Kitchen) -> None:
        self.in_the_loop: list[bool] = []
        self._place = place
        place.llm.http_client.event_hooks = {"request": [self._note]}

    def read(self) -> str:
        """What ``read_menu`` of the lab does."""
        self._note()
        time.sleep(0.05)
        return CARD

    def _note(self, *_: object) -> None:
        here = threading.get_ident()
        self.in_the_loop.append(here == self._place.thread)


# --- 08.2


async def nothing_is_hidden(answer: Answer) -> str:
    """08.2: stream events; leave no run behind, and hide no error."""
    async with kitchen(answer, ttft=0.1, per_token=0.05) as place:
        place.llm.stream_chunk_timeout = None  # or Python 3.11 loses a cancel
        graph = _one_node(place)
        with place.model.meter() as meter:
            await _a_whole_answer(answer, graph, meter)
        place.must_be_used(meter, "graph")
        left = [
            complaint
            for mended, complaint in (
                (await _leave(answer, graph, place), "gone"),
                (await _burn(answer, graph, place), "burnt"),
            )
            if not mended
        ]
    _must_be_mended(left, of=2)
    return (
        "2 of 2 mended: 1 call cut off when the guest left, and an `error` "
        "event after 3 tokens"
    )


async def _a_whole_answer(
    answer: Answer, graph: CompiledStateGraph, meter: Meter
) -> None:
    """Read one answer to its end; raise Wrong if the guest would frown."""
    events, sent_at_first = [], 0
    async for event in _events(answer, graph, "1"):
        sent_at_first = sent_at_first or meter.read().tokens_sent
        events.append(event)
    if not events:
        raise Wrong("it yielded no event")
    text = "".join(e["text"] for e in events if e["event"] == "token")
    state = await graph.aget_state(_thread("1"))
    if not state.values:
        raise Wrong("the order is not on the table's thread: use `table`")
    if text != state.values["messages"][-1].text:
        raise Wrong(f"the tokens make {text!r}, not the answer of the model")
    if events[-1]["event"] != "done":
        raise Wrong(f"the last event of a good answer is {events[-1]}")
    if sent_at_first >= meter.read().tokens_sent:
        raise Wrong("the first event came when the model had finished")


async def _leave(
    answer: Answer, graph: CompiledStateGraph, place: Kitchen
) -> bool:
    """Leave after the first token as a web server does when a client is
    gone; whether the model was cut off."""
    with place.model.meter() as meter:
        async with anyio.create_task_group() as group:
            first = asyncio.Event()

            async def guest() -> None:
                async for _ in _events(answer, graph, "2"):
                    first.set()

            group.start_soon(guest)
            await asyncio.wait_for(first.wait(), PATIENCE)
            group.cancel_scope.cancel()
        await _idle(meter)
    return meter.cut_off == 1


async def _burn(
    answer: Answer, graph: CompiledStateGraph, place: Kitchen
) -> bool:
    """Break the answer off after three tokens; whether the guest is told."""
    place.model.fault("cut", after_tokens=3)
    events: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(SILENCE):
            async for event in _events(answer, graph, "3"):
                events.append(event)
    except TimeoutError:
        raise Wrong(
            "the answer broke off, and no further event came: the guest "
            "waits for ever"
        ) from None
    except Wrong:
        raise
    except Exception as error:
        raise Wrong(
            f"the answer broke off, and `events` raised "
            f"{type(error).__name__}: yield an `error` event"
        ) from None
    return _tells_the_error([event["event"] for event in events])


def _tells_the_error(names: list[str]) -> bool:
    if "error" in names and names[-1] != "error":
        raise Wrong(f"`{names[-1]}` came after `error`")
    return names[-1:] == ["error"]


async def _events(
    answer: Answer, graph: CompiledStateGraph, table: str
) -> AsyncIterator[dict[str, Any]]:
    stream = expect(
        call(answer, graph=graph, table=table, text=SOUP),
        AsyncIterator,
        "an async generator: yield each event",
    )
    async for event in stream:
        if not isinstance(event, dict) or "event" not in event:
            raise Wrong(f"it yielded {event!r}, not a dict with `event`")
        yield event


# --- 08.3


async def limited_banquet(answer: Answer) -> str:
    """08.3: send a banquet to the kitchen, five orders at a time."""
    orders = [f"Table {n} orders" for n in range(1, 10)]
    async with kitchen(answer, ttft=0.01) as place:
        expected = [(await place.llm.ainvoke(order)).text for order in orders]
        for ttft in (0.5, 2):  # the second is for a very busy machine
            place.model.pace(ttft=ttft, per_token=0.005)
            graph = _one_node(place)
            with place.model.meter() as meter:
                value = await result(answer, graph=graph, orders=orders)
            texts = expect(value, list, "a list of texts")
            place.must_be_used(meter, "graph")
            if not 1 < meter.peak_in_flight < LIMIT:
                break
    if meter.peak_in_flight > LIMIT:
        raise Wrong(f"0 of 1 mended: {COMPLAINTS['banquet']}")
    if meter.peak_in_flight < LIMIT:
        raise Wrong(
            f"at most {meter.peak_in_flight} was in the kitchen: {LIMIT} may"
        )
    if sorted(map(str, texts)) == sorted(expected) and texts != expected:
        raise Wrong("the answers are in another order than the orders")
    if texts != expected:
        raise Wrong("the answers are not what the model said to each order")
    return (
        f"1 of 1 mended: {len(orders)} orders, at most "
        f"{meter.peak_in_flight} in the kitchen"
    )


# --- 08.4


async def no_complaints(answer: Answer) -> str:
    """08.4: put the mended parts together; six complaints are tried."""
    async with kitchen(answer, ttft=0.2) as place:
        place.llm.stream_chunk_timeout = None  # or Python 3.11 loses a cancel
        menu = Menu(place)
        app = expect(
            call(answer, llm=place.llm, read_menu=menu.read),
            Callable,
            "an app: `make_app` is a plain `def`",
        )
        async with served(app, place) as site:
            await _must_serve(site)
            mended = {"menu": not any(menu.in_the_loop)}
            for name, probe in PROBES.items():
                mended[name] = await probe(site, place)
            await _must_serve_two_tables(site, place)
        if not menu.in_the_loop:
            raise Wrong("`read_menu` was never called")
    left = [name for name in mended if not mended[name]]
    _must_be_mended(left, of=len(COMPLAINTS))
    return f"{len(mended)} of {len(COMPLAINTS)} mended: no complaints"


async def _must_serve(site: Served) -> None:
    """Raise Wrong unless each of the three requests gets its answer."""
    names = _events_in(await _order(site, "0", SOUP))
    if names[:1] != ["token"] or names[-1] != "done":
        raise Wrong(f"the answer to an order is {names[:1]} … {names[-1:]}")
    for method, path, body in (
        ("GET", "/tables/0", None),
        ("POST", "/banquet", [SOUP]),
    ):
        reply = _good(await site.ask(method, path, json=body), site)
        if not isinstance(json.loads(reply.text), list):
            raise Wrong(f"`{method} {path}` answered {reply.text}, not a list")


async def _must_serve_two_tables(site: Served, place: Kitchen) -> None:
    """Raise Wrong if a table waits for another one."""
    with place.model.meter() as meter:
        await asyncio.gather(*(_order(site, table, SOUP) for table in "89"))
    if meter.peak_in_flight < 2:
        raise Wrong("tables wait for each other: one lock holds them all")


async def _gone(site: Served, place: Kitchen) -> bool:
    place.model.pace(ttft=0.2, per_token=0.1)
    with place.model.meter() as meter:
        await site.hang_up(
            "POST",
            "/tables/2",
            until=lambda text: "token" in text,
            json={"text": SOUP},
        )
        await _idle(meter)
    place.model.pace(ttft=0.2, per_token=0.01)
    return meter.cut_off == 1


async def _burnt(site: Served, place: Kitchen) -> bool:
    place.model.fault("cut", after_tokens=3)
    reply = await _order(site, "3", SOUP)
    return _tells_the_error(_events_in(reply))


async def _banquet(site: Served, place: Kitchen) -> bool:
    orders = [f"Table {n} orders" for n in range(1, 10)]
    with place.model.meter() as meter:
        _good(await site.ask("POST", "/banquet", json=orders), site)
    return meter.peak_in_flight <= LIMIT


async def _table(site: Served, place: Kitchen) -> bool:
    place.model.pace(ttft=0.8, per_token=0.01)
    with place.model.meter() as meter:
        first = asyncio.create_task(_order(site, "5", SOUP))
        await _until(lambda: meter.read().in_flight)
        place.model.pace(ttft=0.2, per_token=0.01)
        replies = [await _order(site, "5", CAKE), await first]
    served_both = all(reply.status == 200 for reply in replies)
    if not served_both or meter.peak_in_flight < 2:
        return True
    return len(await _said(site, "5")) >= 4


async def _stranger(site: Served, place: Kitchen) -> bool:
    for order in (SOUP, CAKE):
        await _order(site, "6", order)
    return set(await _said(site, "6")) >= {SOUP, CAKE}


PROBES: dict[str, Callable[[Served, Kitchen], Awaitable[bool]]] = {
    "gone": _gone,
    "burnt": _burnt,
    "banquet": _banquet,
    "table": _table,
    "stranger": _stranger,
}


async def _order(site: Served, table: str, text: str) -> Reply:
    path = f"/tables/{table}"
    reply = await site.ask("POST", path, json={"text": text})
    return reply if reply.status == 409 else _good(reply, site)


async def _said(site: Served, table: str) -> list[str]:
    reply = await site.ask("GET", f"/tables/{table}")
    return json.loads(_good(reply, site).text)


def _good(reply: Reply, site: Served) -> Reply:
    """Raise Wrong if the app answered anything but 200."""
    if reply.status != 200:
        error = f": {site.errors[-1]!r}" if site.errors else ""
        raise Wrong(f"the app answered {reply.status}{error}")
    return reply


def _events_in(reply: Reply) -> list[str]:
    """The names of the events of an answer, a line each."""
    try:
        events = [json.loads(line) for line in reply.text.splitlines()]
        return [event["event"] for event in events]
    except (ValueError, TypeError, KeyError):
        line = reply.text.partition("\n")[0]
        raise Wrong(f"a line of the answer is {line!r}, no event") from None


# --- shared


def _must_be_mended(left: list[str], of: int) -> None:
    """Raise Wrong with the first complaint that is left."""
    if left:
        raise Wrong(f"{of - len(left)} of {of} mended: {COMPLAINTS[left[0]]}")


def _one_node(place: Kitchen) -> CompiledStateGraph:
    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": await place.llm.ainvoke(state["messages"])}

    graph = StateGraph(MessagesState).add_node(reply)
    return graph.add_edge(START, "reply").compile(InMemorySaver())


def _thread(name: str) -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


def _ask(text: str) -> dict[str, Any]:
    return {"messages": [("user", text)]}


async def _idle(meter: Meter) -> None:
    """Wait until the model has no call in flight."""
    await _until(lambda: not meter.read().in_flight)


async def _until(condition: Callable[[], object]) -> None:
    """Wait until it is true, but no longer than PATIENCE."""
    for _ in range(PATIENCE * 50):
        if condition():
            return
        await asyncio.sleep(0.02)


JUDGES = {
    "08.0": longest_silence,
    "08.1": loop_stays_free,
    "08.2": nothing_is_hidden,
    "08.3": limited_banquet,
    "08.4": no_complaints,
}
