"""Judge the check of lesson 17 and the four tasks of lab 17."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph

from workshop.checks.http import Guest, Served, served
from workshop.checks.kit import (
    AWKWARD_TOKENS,
    PAUSE,
    TURN,
    WAYS_TO_LEAVE,
    Answer,
    ScriptedModel,
    Watch,
    Wrong,
    call,
    chat_graph,
    collect,
    expect,
    failures,
    leave,
    result,
    settled,
    start,
    stop,
    stream_of,
    texts_of,
    together,
    until,
)
from workshop.checks.threads import ask, on
from workshop.observe import Heartbeat

BLOCK = 0.6  # seconds
TRIES = 3  # for a very busy machine
SOUP = "Table 1 orders the soup"
CAKE = "Table 2 orders the cake"
LIMIT = 5  # orders of a banquet in the kitchen at once
COMPLAINTS = {
    "menu": "while one table reads the menu, nobody else gets a word",
    "gone": "a guest left after the first word, and the model wrote on",
    "burnt": "the answer broke off after 3 tokens, and the guest was not told",
    "banquet": "a banquet sends all its orders to the kitchen at once",
    "table": "one table sent two orders at once, and part is forgotten",
    "stranger": "the table ordered twice, and the waiter knows only one order",
}


# --- 17.0


async def longest_silence(answer: Answer) -> str:
    """17.0: measure for how long the loop stood still."""

    async def blocks() -> None:
        time.sleep(BLOCK)  # noqa: ASYNC251

    async def waits() -> None:
        await asyncio.sleep(BLOCK)

    async def pieces() -> None:
        for _ in range(3):
            time.sleep(BLOCK / 2)  # noqa: ASYNC251
            await asyncio.sleep(0.05)

    before = asyncio.all_tasks()
    value = await _seconds(answer, blocks)
    if value < BLOCK * 0.8:
        raise Wrong(f"a block of {BLOCK} s from the start went unnoticed")
    if value > BLOCK * 50:
        raise Wrong(f"a block of {BLOCK} s gave far more: return seconds")
    if not await _is_below(answer, waits, BLOCK / 2):
        raise Wrong(
            "an `await asyncio.sleep` counts as silence: others can run then"
        )
    if not await _is_below(answer, pieces, BLOCK):
        raise Wrong("three short blocks were added up: say the longest one")
    if not await until(lambda: asyncio.all_tasks() <= before):
        raise Wrong("a task of it still runs after `work` has ended")
    return f"it noticed a block of {BLOCK} s, and let `await` pass"


async def _seconds(answer: Answer, work: Callable[[], Any]) -> float:
    runs = 0

    async def counted() -> None:
        nonlocal runs
        runs += 1
        await work()

    value = await result(answer, work=counted)
    if runs != 1:
        raise Wrong(
            f"it ran `work` {runs} times, not once: is an `await` missing?"
        )
    if isinstance(value, bool):
        raise Wrong(f"it returned {value}, not a number of seconds")
    return float(expect(value, int | float, "a number of seconds"))


async def _is_below(
    answer: Answer, work: Callable[[], Any], seconds: float
) -> bool:
    """Whether it says less once, or each time what a busy loop stood still."""
    as_busy = []
    for _ in range(TRIES):
        async with Heartbeat() as heart:
            value = await _seconds(answer, work)
        if value < seconds:
            return True
        as_busy.append(value < 1.5 * heart.longest)
    return all(as_busy)


# --- 17.1


async def loop_stays_free(answer: Answer) -> str:
    """17.1: build the graph so that reading the menu blocks nobody."""
    for dish in ("soup", "fish"):
        model = ScriptedModel.watching(answer, lambda _: [PAUSE, "Coming!"])
        menu, saver = Menu(model.watch, dish), InMemorySaver()
        value = call(answer, llm=model, read_menu=menu.read, saver=saver)
        graph = expect(value, CompiledStateGraph, "a compiled graph")
        if menu.reads:
            raise Wrong(
                "the menu is read when the graph is built, not for each order"
            )
        await _two_tables_at_once(graph, model, menu)
        await _no_menu(graph, model, menu)
        await _the_menu_of_today(graph, model, menu)
        if await saver.aget_tuple(on("1")) is None:
            raise Wrong("the order is not in `saver`: use the argument")
    return (
        "1 of 1 mended: the loop stayed free, and 2 tables were served at once"
    )


class Menu:
    """A menu that is read by a blocking call, which ``held`` holds up."""

    def __init__(self, watch: Watch, dish: str) -> None:
        self.dish = dish
        self.held = self.fails = self.blocked = False
        self.reads = self.reading = self.most = 0
        self._watch = watch

    @property
    def card(self) -> str:
        return f"On the card today: {self.dish}."

    def read(self) -> str:
        """What ``read_menu`` of the lab does."""
        self.reads += 1
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            self._watch.note_blocking_call()
            in_the_loop = threading.get_ident() == self._watch.thread
            self.blocked = self.blocked or in_the_loop
            while self.held and not in_the_loop:
                time.sleep(TURN)
            if self.fails:
                raise LookupError("no menu")
            return self.card
        finally:
            self.reading -= 1

    @property
    def blocks_nobody(self) -> bool:
        """Whether the loop was free; a line is found in one cell only."""
        return not self.blocked and not any(self._watch.blocking)


async def _two_tables_at_once(
    graph: CompiledStateGraph, model: ScriptedModel, menu: Menu
) -> None:
    """Hold the menu until both read it, and the model until both ask."""
    menu.held = True
    orders = [
        start(graph.ainvoke(ask(text), on(table)))
        for table, text in (("1", SOUP), ("2", CAKE))
    ]
    await settled(lambda: menu.reading, lambda: menu.reading == 2, still=200)
    menu.held = False
    await model.waits_for(2)
    await model.finish(model.calls, asyncio.gather(*orders))
    for order in orders:
        await order

    model.must_be_used("llm")
    if not menu.blocks_nobody:
        raise Wrong(f"0 of 1 mended: {COMPLAINTS['menu']}")
    if not menu.reads:
        raise Wrong("`read_menu` was never called")
    if menu.most < 2:
        raise Wrong("the second table waits until the first has read the menu")
    if model.peak < 2:
        raise Wrong("the second table waits until the first is served")
    for order in model.calls:
        _must_know(order.got, menu.card)


async def _no_menu(
    graph: CompiledStateGraph, model: ScriptedModel, menu: Menu
) -> None:
    """The menu cannot be read once; the same table orders again."""
    menu.fails = True
    before = len(model.calls)
    with suppress(LookupError):
        await _served(graph, model, "3", "Is there fish?")
    for order in model.calls[before:]:
        if menu.card in " ".join(order.got):
            raise Wrong("the model got the menu of an earlier order")
    menu.fails = False
    await _served(graph, model, "3", "And now?")


async def _the_menu_of_today(
    graph: CompiledStateGraph, model: ScriptedModel, menu: Menu
) -> None:
    """The menu changes, and the same table orders again."""
    menu.dish = "bread"
    await _served(graph, model, "1", "What else?")
    got = model.calls[-1].got
    if graph.checkpointer is None or SOUP not in got:
        raise Wrong("the graph remembers nothing: `compile` got no saver")
    _must_know(got, menu.card)


def _must_know(got: list[str], card: str) -> None:
    text = " ".join(got)
    if card in text:
        return
    if "On the card" in text:
        raise Wrong("the model got the menu of an earlier order")
    raise Wrong("the model never saw the menu")


async def _served(
    graph: CompiledStateGraph, model: ScriptedModel, table: str, text: str
) -> None:
    order = start(graph.ainvoke(ask(text), on(table)))
    await model.finish([], order)
    await order


# --- 17.2


async def nothing_is_hidden(answer: Answer) -> str:
    """17.2: stream events; leave no run behind, and hide no error."""
    for table, text in (("1", SOUP), ("2", CAKE)):
        await _whole(answer, table, text)
    await _two_guests(answer)
    left = []
    if not await _burns(answer):
        left.append(COMPLAINTS["burnt"])
    for by in WAYS_TO_LEAVE:
        if not await _leaves(answer, by):
            left.insert(0, COMPLAINTS["gone"])
            break
    _must_be_mended(left, of=2)
    await _leaves_early(answer)
    return (
        "2 of 2 mended: the call was cut off when 1 guest left, and an "
        "`error` event after 3 tokens"
    )


async def _whole(answer: Answer, table: str, text: str) -> None:
    """Read one answer to its end: early, whole, in order, once."""
    first, rest = AWKWARD_TOKENS[:3], AWKWARD_TOKENS[3:]
    model, graph = _model_and_graph(answer, [*first, PAUSE, *rest, PAUSE])
    events: list[dict[str, Any]] = []

    reading = start(collect(_events(answer, graph, table, text), events))
    await model.waits_for(1, reading)
    await settled(lambda: len(events), reading.done, still=20)
    early = list(events)
    await model.finish([], reading)
    await reading

    model.must_be_used("graph")
    model.watch.must_not_block(": nobody else is served meanwhile")
    if not events:
        raise Wrong("it yielded no event")
    if not early:
        raise Wrong("the first event came when the model had finished")
    names = [event["event"] for event in events]
    if names[-1] != "done":
        raise Wrong(f"the last event of a good answer is {events[-1]}")
    if names.count("done") > 1:
        raise Wrong("it said `done` more than once")
    said = "".join(e["text"] for e in events if e["event"] == "token")
    if said != "".join(AWKWARD_TOKENS):
        raise Wrong(f"the tokens make {said!r}, not the answer of the model")
    if model.calls[-1].asked != text:
        raise Wrong(f"the model was asked {model.calls[-1].asked!r}")
    state = await graph.aget_state(on(table))
    if not state.values:
        raise Wrong("the order is not on the table's thread: use `table`")


async def _two_guests(answer: Answer) -> None:
    """Two guests are served at once; each gets the own answer."""
    model = ScriptedModel(script=lambda asked: [PAUSE, "For: ", asked])
    graph = chat_graph(model, InMemorySaver())
    texts = SOUP, CAKE

    async def read(table: str, text: str) -> str:
        events = [e async for e in _events(answer, graph, table, text)]
        return "".join(e["text"] for e in events if e["event"] == "token")

    readers = [start(read(text[:7], text)) for text in texts]
    await model.waits_for(2)
    if not await model.finish([], asyncio.gather(*readers)):
        raise Wrong("two guests at once, and one waits for ever")
    if [await reader for reader in readers] != [f"For: {t}" for t in texts]:
        raise Wrong("two guests at once, and one got words of the other")


async def _burns(answer: Answer) -> bool:
    """Let the model fail in each way; whether the guest is told."""
    kinds = failures()
    del kinds["a bug in a node"]  # the task speaks of the model
    for error in kinds.values():
        for parts in (["One", " two", " three", error], [error]):
            if not await _tells(answer, parts):
                return False
    return True


async def _tells(answer: Answer, parts: list[Any]) -> bool:
    _, graph = _model_and_graph(answer, parts)
    events: list[dict[str, Any]] = []

    reading = start(collect(_events(answer, graph, "3", SOUP), events))
    if not await until(reading.done):
        raise Wrong(
            "the answer broke off, and no further event came: the guest "
            "waits for ever"
        )
    error = reading.exception()
    if isinstance(error, Wrong):
        raise error
    if error is not None:
        raise Wrong(
            f"the answer broke off, and `events` raised "
            f"{type(error).__name__}: yield an `error` event"
        )
    return _tells_the_error([event["event"] for event in events])


def _tells_the_error(names: list[str]) -> bool:
    if "error" in names and names[-1] != "error":
        raise Wrong(f"`{names[-1]}` came after `error`")
    if names.count("error") > 1:
        raise Wrong("it said `error` more than once")
    return names[-1:] == ["error"]


async def _leaves(answer: Answer, by: str) -> bool:
    """One of three leaves after a token; whether only that call ended."""
    model, graph = _model_and_graph(answer, ["One", PAUSE, " two"])

    async def stay(table: str) -> list[str]:
        events = _events(answer, graph, table, SOUP)
        return [event["event"] async for event in events]

    stays = [start(stay("1"))]
    await model.waits_for(1, stays[0])
    others = 1 if by == "aclose" else 2  # one who comes after the one who goes

    def goes(events: list[Any]) -> bool:
        return bool(events) and model.in_flight > others

    leaving = start(leave(_events(answer, graph, "2", CAKE), goes, by))
    if others > 1:
        await model.waits_for(2)
        stays.append(start(stay("3")))
    await leaving
    gone = [reply for reply in model.calls if reply.asked == CAKE]
    cut_off = await until(lambda: all(reply.outcome for reply in gone))
    stayed = asyncio.gather(*stays)
    if not await model.finish([], stayed) or any(
        names[-1:] != ["done"] for names in await stayed
    ):
        raise Wrong("one guest left, and another one's answer was cut off")
    return cut_off


async def _leaves_early(answer: Answer) -> None:
    """A guest leaves before the first token, and orders again."""
    model, graph = _model_and_graph(answer, [PAUSE, "One"])
    for by in ("cancel", "anyio"):
        events = _events(answer, graph, "1", SOUP)
        await leave(events, lambda _: model.in_flight, by)
        await model.idle()
        model.must_be_idle("a guest left before the first word")


def _model_and_graph(
    answer: Answer, parts: list[Any]
) -> tuple[ScriptedModel, CompiledStateGraph]:
    model = ScriptedModel.watching(answer, lambda _: parts)
    return model, chat_graph(model, InMemorySaver())


async def _events(
    answer: Answer, graph: CompiledStateGraph, table: str, text: str
) -> AsyncIterator[dict[str, Any]]:
    kind = "an async generator: yield each event"
    given = {"graph": graph, "table": table, "text": text}
    async for event in stream_of(answer, kind, **given):
        if not isinstance(event, dict) or "event" not in event:
            raise Wrong(f"it yielded {event!r}, not a dict with `event`")
        yield event


# --- 17.3


async def limited_banquet(answer: Answer) -> str:
    """17.3: send a banquet to the kitchen, five orders at a time."""
    model = ScriptedModel.watching(answer, _dish)
    graph = chat_graph(model, InMemorySaver())
    orders = [f"Table {n} orders" for n in (9, 2, 7, 4, 4, 6, 3, 8, 1)]
    most = await _cook(answer, model, graph, orders)
    await _spoil(answer, model, graph, orders)
    other = ScriptedModel.watching(answer, _dish)
    others = chat_graph(other, InMemorySaver())
    await together(
        _cook(answer, model, graph, [*orders, *orders]),
        _cook(answer, other, others, orders[:3]),
    )
    return (
        f"1 of 1 mended: {len(orders)} orders, at most {most} in the kitchen"
    )


def _dish(asked: str) -> list[Any]:
    return [PAUSE, "Dish for: ", asked]


async def _cook(
    answer: Answer,
    model: ScriptedModel,
    graph: CompiledStateGraph,
    orders: list[str],
) -> int:
    """One banquet; how many were in the kitchen as long as it was full."""
    before, allowed = len(model.calls), min(LIMIT, len(orders))
    cooking = start(result(answer, graph=graph, orders=orders))
    await model.waits_for(allowed, cooking)
    await settled(lambda: model.in_flight, cooking.done, still=30)
    most = model.in_flight
    # The last one to come is ready first, and its place is taken at once.
    if model.running:
        await model.running[-1].finish()
    await settled(lambda: model.in_flight, cooking.done, still=30)
    then, waiting = model.in_flight, len(orders) - LIMIT
    await model.finish(reversed(model.running), cooking)
    texts = texts_of(await cooking)
    calls = model.calls[before:]

    model.watch.must_not_block(": nobody else is served meanwhile")
    model.must_be_used("graph")
    if len(calls) != len(orders):
        raise Wrong(f"of {len(orders)} orders {len(calls)} were sent")
    if max(most, then) > LIMIT:
        raise Wrong(f"0 of 1 mended: {COMPLAINTS['banquet']}")
    if most < allowed:
        raise Wrong(f"at most {most} was in the kitchen: {allowed} may")
    if waiting > 0 and then < LIMIT:
        raise Wrong("a place is free, and no order takes it: groups of five")
    if any(call.got != [call.asked] for call in calls):
        raise Wrong("the orders share a thread: each keeps one of its own")
    expected = [f"Dish for: {order}" for order in orders]
    if sorted(texts) == sorted(expected) and texts != expected:
        raise Wrong("the answers are in another order than the orders")
    if texts != expected:
        raise Wrong("the answers are not what the model said to each order")
    return most


async def _spoil(
    answer: Answer,
    model: ScriptedModel,
    graph: CompiledStateGraph,
    orders: list[str],
) -> None:
    """Leave one banquet, and let the kitchen fail in another."""
    cooking = start(result(answer, graph=graph, orders=orders))
    await model.waits_for(LIMIT, cooking)
    await stop(cooking)
    await model.idle()
    model.must_be_idle("the banquet was called off")
    error = failures()["a rate limit"]
    model.script = lambda _: [error]
    spoiled = start(result(answer, graph=graph, orders=orders))
    if not await until(spoiled.done):
        raise Wrong("the model failed, and the banquet never ends")
    if not isinstance(spoiled.exception(), Exception):
        raise Wrong("the model failed, and the banquet hides it")
    await settled(lambda: len(model.calls), still=30)  # what was left of it
    model.script = _dish


# --- 17.4


async def no_complaints(answer: Answer) -> str:
    """17.4: put the mended parts together; six complaints are tried."""
    async with _cafe(answer, "soup") as cafe:
        await cafe.must_serve()
        await cafe.must_serve_two_tables()
        mended = {
            "menu": cafe.menu.blocks_nobody,
            "gone": await cafe.lets_the_gone_go(),
            "burnt": await cafe.tells_what_burns(),
            "banquet": await cafe.limits_a_banquet(),
            "table": await cafe.serves_a_table_in_turn(),
            "stranger": await cafe.knows_a_table(),
        }
        left = [COMPLAINTS[name] for name in mended if not mended[name]]
        _must_be_mended(left, of=len(COMPLAINTS))
        await cafe.must_give_the_turn_back()
    async with _cafe(answer, "fish") as other:
        await other.must_know_no_other_app()
    return f"{len(mended)} of {len(COMPLAINTS)} mended: no complaints"


SLOW = "A long story, please"  # the model waits after the first token
LATE = "Something rare, please"  # and here before it
BURN = "Something burnt, please"
BUG = "Something unheard of, please"


def _kitchen_says(asked: str) -> list[Any]:
    scripts = {
        SLOW: ["One", PAUSE, " dish"],
        LATE: [PAUSE, "Coming"],
        BURN: ["One", " two", " three", failures()["no connection"]],
        BUG: [failures()["a bug in a node"]],
    }
    if asked.startswith("Banquet"):
        return _dish(asked)
    return scripts.get(asked, ["One", " dish"])


@asynccontextmanager
async def _cafe(answer: Answer, dish: str) -> AsyncIterator[Cafe]:
    model = ScriptedModel.watching(answer, _kitchen_says)
    menu = Menu(model.watch, dish)
    value = call(answer, llm=model, read_menu=menu.read)
    app = expect(value, Callable, "an app: `make_app` is a plain `def`")
    async with served(app, model.watch) as site:
        yield Cafe(site, model, menu)


@dataclass
class Cafe:
    """The app of an answer, under an address, as its guests see it."""

    site: Served
    model: ScriptedModel
    menu: Menu

    async def order(self, table: str, text: str) -> Guest:
        path = f"/tables/{table}"
        reply = await self.site.ask("POST", path, json={"text": text})
        return reply if reply.status == 409 else self.good(reply)

    async def said(self, table: str) -> list[str]:
        reply = await self.site.ask("GET", f"/tables/{table}")
        return json.loads(self.good(reply).text)

    def good(self, reply: Guest) -> Guest:
        """Raise Wrong if the app answered anything but 200."""
        if reply.status != 200:
            errors = self.site.errors
            error = f": {errors[-1]!r}" if errors else ""
            raise Wrong(f"the app answered {reply.status}{error}")
        return reply

    async def leave(self, table: str, text: str) -> None:
        """Order, and hang up as soon as the model waits."""
        await self.site.hang_up(
            "POST",
            f"/tables/{table}",
            until=lambda _: any(reply.waiting for reply in self.model.running),
            json={"text": text},
        )

    # whether a complaint is mended

    async def lets_the_gone_go(self) -> bool:
        for text, table in ((SLOW, "2"), (LATE, "22")):
            await self.leave(table, text)
            if not await self.model.idle():
                self.model.release()
                return False
        return self.model.cut_off == 2

    async def tells_what_burns(self) -> bool:
        told = _tells_the_error(_events_in(await self.order("3", BURN)))
        names = _events_in(await self.order("3", SOUP))
        if names[-1:] != ["done"]:
            raise Wrong(
                "after an answer that broke off, the table gets no other"
            )
        return told

    async def limits_a_banquet(self) -> bool:
        orders = [f"Banquet {n}" for n in range(1, 10)]
        feast = start(self.site.ask("POST", "/banquet", json=orders))
        await settled(lambda: self.model.in_flight, feast.done, still=30)
        most = self.model.in_flight
        await self.model.finish([], feast)
        texts = json.loads(self.good(await feast).text)
        if texts != [f"Dish for: {order}" for order in orders]:
            raise Wrong(
                "the answers of the banquet are not those to its orders"
            )
        return most <= LIMIT

    async def serves_a_table_in_turn(self) -> bool:
        first = start(self.order("5", LATE))
        await self.model.waits_for(1, first)
        second = start(self.order("5", CAKE))
        for _ in range(3):  # who comes later elsewhere has been served
            await self.order("55", SOUP)
        at_once = second.done() or len(self.model.running) > 1
        await self.model.finish([], first)
        replies = [await first, await second]
        served_both = all(reply.status == 200 for reply in replies)
        if not served_both or not at_once:
            return True
        return len(await self.said("5")) >= 4

    async def knows_a_table(self) -> bool:
        for order in (SOUP, CAKE):
            await self.order("6", order)
        return set(await self.said("6")) >= {SOUP, CAKE}

    # what every app must do

    async def must_serve(self) -> None:
        """Each of the three requests gets its answer."""
        names = _events_in(await self.order("0", SOUP))
        errors = self.site.errors
        if not names and errors:
            raise Wrong(f"the answer to an order broke off: {errors[-1]!r}")
        if names[:1] != ["token"] or names[-1] != "done":
            raise Wrong(
                f"the answer to an order is {names[:1]} … {names[-1:]}"
            )
        for method, path, body in (
            ("GET", "/tables/0", None),
            ("POST", "/banquet", [SOUP]),
        ):
            reply = self.good(await self.site.ask(method, path, json=body))
            if not isinstance(json.loads(reply.text), list):
                raise Wrong(
                    f"`{method} {path}` answered {reply.text}, not a list"
                )
        self.model.must_be_used("llm")

    async def must_serve_two_tables(self) -> None:
        orders = [start(self.order(table, LATE)) for table in "89"]
        await self.model.waits_for(2)
        at_once = self.model.in_flight
        for order in orders:
            await self.model.finish([], order)
            await order
        if at_once < 2:
            raise Wrong("tables wait for each other: one lock holds them all")

    async def must_give_the_turn_back(self) -> None:
        """A guest left, a node failed, and one left who waited."""
        for text, table in ((SLOW, "7"), (LATE, "77")):
            await self.leave(table, text)
            await self.model.idle()
            await self.is_served(table, "a guest left")
        bug = {"json": {"text": BUG}}
        async with self.site.guest("POST", "/tables/10", **bug) as guest:
            await until(lambda: guest.gone, turns=50)
        await self.is_served("10", "a node failed")
        first = start(self.order("4", LATE))
        await self.model.waits_for(1, first)
        cake = {"json": {"text": CAKE}}
        async with self.site.guest("POST", "/tables/4", **cake):
            for _ in range(3):  # who comes later elsewhere has been served
                await self.order("44", SOUP)
        await self.model.finish([], first)
        await self.is_served("4", "a guest who waited left")

    async def is_served(self, table: str, why: str) -> None:
        order = start(self.order(table, SOUP))
        if not await until(order.done):
            order.cancel()
            raise Wrong(
                f"{why}, and the table is never served again: its lock"
            )
        names = _events_in(await order)
        if names[-1:] != ["done"]:
            raise Wrong(f"{why}, and the next order ends with {names[-1:]}")

    async def must_know_no_other_app(self) -> None:
        """A second app uses nothing that the first one was given."""
        await self.order("0", CAKE)
        said, calls = await self.said("0"), len(self.model.calls)
        await self.site.ask("POST", "/banquet", json=[CAKE])
        self.model.must_be_used("llm")
        if len(self.model.calls) == calls:
            raise Wrong(
                "a second app sent its banquet to the first one's kitchen"
            )
        _must_know(self.model.calls[-1].got, self.menu.card)
        if SOUP in said:
            raise Wrong("a second app knows what was said in the first")


def _events_in(reply: Guest) -> list[str]:
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
        raise Wrong(f"{of - len(left)} of {of} mended: {left[0]}")


JUDGES = {
    "17.0": longest_silence,
    "17.1": loop_stays_free,
    "17.2": nothing_is_hidden,
    "17.3": limited_banquet,
    "17.4": no_complaints,
}
