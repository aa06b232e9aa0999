"""Wrong answers to the check of lesson 17 and to lab 17."""

import asyncio
import json
import time
from collections import defaultdict
from contextlib import aclosing, suppress
from uuid import uuid4

import openai
from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from tests.wrong import right, wrong
from workshop.observe import Heartbeat


def ask(text):
    return {"messages": [("user", text)]}


def thread(name):
    return {"configurable": {"thread_id": name}}


# --- 17.0


@wrong(
    "17.0",
    "an `await asyncio.sleep` counts as silence: others can run then",
)
async def times_all_of_it(work):
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


@wrong("17.0", "a block of 0.6 s from the start went unnoticed")
async def starts_no_tick_before_it(work):
    longest = 0.0

    async def tick():
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - began)

    task = asyncio.create_task(tick())
    await work()
    task.cancel()
    return longest


@wrong("17.0", "it ran `work` 0 times, not once: is an `await` missing?")
async def does_not_await_it(work):
    async with Heartbeat() as heart:
        work().close()
    return heart.longest


@wrong("17.0", "it ran `work` 2 times, not once: is an `await` missing?")
async def runs_it_twice(work):
    await work()
    async with Heartbeat() as heart:
        await work()
    return heart.longest


@wrong("17.0", "three short blocks were added up: say the longest one")
async def adds_up_the_gaps(work):
    async with Heartbeat() as heart:
        await work()
    return sum(gap.length for gap in heart.gaps)


@wrong("17.0", "it returned True, not a number of seconds")
async def says_whether(work):
    async with Heartbeat() as heart:
        await work()
    return heart.missed > heart.beats


@wrong(
    "17.0",
    "it returned None, not a number of seconds: is a `return` missing?",
)
async def prints_it(work):
    async with Heartbeat() as heart:
        await work()
    print(heart.longest > 1000)


@wrong("17.0", "a block of 0.6 s gave far more: return seconds")
async def counts_the_missed_beats(work):
    async with Heartbeat() as heart:
        await work()
    return heart.missed


@wrong("17.0", "it returned a Heartbeat, not a number of seconds")
async def returns_the_heart(work):
    async with Heartbeat() as heart:
        await work()
    return heart


@right("17.0")
async def ticks_by_itself(work):
    longest, last = 0.0, time.perf_counter()

    def beat():
        nonlocal longest, last
        now = time.perf_counter()
        longest, last = max(longest, now - last), now

    async def tick():
        while True:
            await asyncio.sleep(0.01)
            beat()

    task = asyncio.create_task(tick())
    await work()
    beat()
    task.cancel()
    return longest


# --- 17.1


WAITS = (
    "0 of 1 mended: while one table reads the menu, nobody else gets a word"
)


def sequence(menu, reply, saver):
    graph = StateGraph(MessagesState)
    graph.add_sequence([("menu", menu), ("reply", reply)])
    return graph.add_edge(START, "menu").compile(checkpointer=saver)


def awaits(llm):
    async def reply(state):
        return {"messages": await llm.ainvoke(state["messages"])}

    return reply


def read_in_a_thread(read_menu):
    async def menu(state):
        return {"messages": [("system", await asyncio.to_thread(read_menu))]}

    return menu


def read_in_the_loop(read_menu):
    async def menu(state):
        return {"messages": [("system", read_menu())]}

    return menu


@wrong("17.1", WAITS)
def leaves_it(llm, read_menu, saver):
    return sequence(read_in_the_loop(read_menu), awaits(llm), saver)


@wrong("17.1", WAITS)
def calls_it_before_the_thread(llm, read_menu, saver):
    async def menu(state):
        card = read_menu()
        return {"messages": [("system", await asyncio.to_thread(str, card))]}

    return sequence(menu, awaits(llm), saver)


@wrong(
    "17.1",
    "the menu is read when the graph is built, not for each order",
)
def reads_it_once(llm, read_menu, saver):
    card = read_menu()

    async def menu(state):
        return {"messages": [("system", card)]}

    return sequence(menu, awaits(llm), saver)


@wrong("17.1", WAITS)
def invokes_the_model(llm, read_menu, saver):
    async def reply(state):
        return {"messages": llm.invoke(state["messages"])}

    return sequence(read_in_a_thread(read_menu), reply, saver)


@wrong("17.1", "the second table waits until the first is served")
def takes_a_lock_for_the_model(llm, read_menu, saver):
    turn = asyncio.Lock()

    async def reply(state):
        async with turn:
            return {"messages": await llm.ainvoke(state["messages"])}

    return sequence(read_in_a_thread(read_menu), reply, saver)


@wrong("17.1", "the second table waits until the first has read the menu")
def takes_a_lock_for_the_menu(llm, read_menu, saver):
    turn = asyncio.Lock()

    async def menu(state):
        async with turn:
            card = await asyncio.to_thread(read_menu)
        return {"messages": [("system", card)]}

    return sequence(menu, awaits(llm), saver)


@wrong("17.1", "the model got the menu of an earlier order")
def keeps_the_first_menu(llm, read_menu, saver):
    cards = []

    async def menu(state):
        if len(cards) < 2:
            cards.append(await asyncio.to_thread(read_menu))
        return {"messages": [("system", cards[0])]}

    return sequence(menu, awaits(llm), saver)


@wrong("17.1", "the model never saw the menu")
def forgets_the_result(llm, read_menu, saver):
    async def menu(state):
        await asyncio.to_thread(read_menu)
        return {"messages": [("system", "A card.")]}

    return sequence(menu, awaits(llm), saver)


@wrong("17.1", "`read_menu` was never called")
def leaves_the_menu_out(llm, read_menu, saver):
    async def menu(state):
        return {"messages": [("system", "On the card today: soup, cake.")]}

    return sequence(menu, awaits(llm), saver)


@wrong("17.1", "the graph remembers nothing: `compile` got no saver")
def forgets_the_saver(llm, read_menu, saver):
    return sequence(read_in_a_thread(read_menu), awaits(llm), None)


@wrong(
    "17.1",
    "it returned None, not a compiled graph: is a `return` missing?",
)
def forgets_to_return(llm, read_menu, saver):
    sequence(read_in_a_thread(read_menu), awaits(llm), saver)


@wrong("17.1", "it returned a StateGraph, not a compiled graph")
def does_not_compile(llm, read_menu, saver):
    graph = StateGraph(MessagesState)
    return graph.add_sequence([("menu", awaits(llm))])


@right("17.1")
def makes_it_a_def(llm, read_menu, saver):
    def menu(state):
        return {"messages": [("system", read_menu())]}

    return sequence(menu, awaits(llm), saver)


@right("17.1")
def uses_the_executor(llm, read_menu, saver):
    async def menu(state):
        loop = asyncio.get_running_loop()
        card = await loop.run_in_executor(None, read_menu)
        return {"messages": [("system", card)]}

    return sequence(menu, awaits(llm), saver)


# --- 17.2


LEFT = "a guest left after the first word, and the model wrote on"
BURNT = "the answer broke off after 3 tokens, and the guest was not told"
open_streams = []
runs = []


def tokens(graph, table, text):
    return graph.astream(ask(text), thread(table), stream_mode="messages")


async def words(graph, table, text):
    async for message, _ in tokens(graph, table, text):
        if message.type == "AIMessageChunk" and message.text:
            yield {"event": "token", "text": message.text}


async def in_a_task(stream):
    """Run a stream in a task of its own; what it raises comes out."""

    async def run():
        try:
            async for event in stream:
                queue.put_nowait(event)
        finally:
            queue.put_nowait(None)

    queue = asyncio.Queue()
    task = asyncio.create_task(run())
    try:
        while (event := await queue.get()) is not None:
            yield event
        await task
    finally:
        task.cancel()


async def with_an_end(stream):
    try:
        async for event in stream:
            yield event
        yield {"event": "done"}
    except openai.APIError:
        yield {"event": "error"}


@wrong("17.2", f"0 of 2 mended: {LEFT}")
async def leaves_them(graph, table, text):
    stream = tokens(graph, table, text)
    open_streams.append(stream)
    with suppress(openai.APIError):
        async for message, _ in stream:
            if message.type == "AIMessageChunk" and message.text:
                yield {"event": "token", "text": message.text}
    yield {"event": "done"}


@wrong("17.2", f"1 of 2 mended: {LEFT}")
async def only_forgets_the_stream(graph, table, text):
    async for event in with_an_end(words(graph, table, text)):
        yield event


@wrong("17.2", f"1 of 2 mended: {LEFT}")
async def only_closes_the_stream(graph, table, text):
    async with aclosing(words(graph, table, text)) as stream:
        async for event in with_an_end(stream):
            yield event


@wrong("17.2", f"1 of 2 mended: {LEFT}")
async def cancels_only_when_cancelled(graph, table, text):
    async def run():
        async for event in with_an_end(words(graph, table, text)):
            queue.put_nowait(event)

    queue = asyncio.Queue()
    task = asyncio.create_task(run())
    try:
        while (event := await queue.get())["event"] == "token":
            yield event
        yield event
    except asyncio.CancelledError:
        task.cancel()
        raise


@wrong("17.2", "one guest left, and another one's answer was cut off")
async def cancels_whoever_came_last(graph, table, text):
    async def run():
        async for event in with_an_end(words(graph, table, text)):
            queue.put_nowait(event)

    queue = asyncio.Queue()
    runs.append(asyncio.create_task(run()))
    try:
        while (event := await queue.get())["event"] == "token":
            yield event
        yield event
    finally:
        for task in runs:
            task.cancel()


@wrong("17.2", f"1 of 2 mended: {BURNT}")
async def still_hides_the_error(graph, table, text):
    with suppress(openai.APIError):
        async for event in in_a_task(words(graph, table, text)):
            yield event
    yield {"event": "done"}


@wrong("17.2", "`done` came after `error`")
async def is_done_after_the_error(graph, table, text):
    try:
        async for event in in_a_task(words(graph, table, text)):
            yield event
    except openai.APIError:
        yield {"event": "error"}
    yield {"event": "done"}


@wrong(
    "17.2",
    "the answer broke off, and `events` raised APIConnectionError: yield "
    "an `error` event",
)
async def lets_the_error_out(graph, table, text):
    async for event in in_a_task(words(graph, table, text)):
        yield event
    yield {"event": "done"}


@wrong(
    "17.2",
    "the answer broke off, and no further event came: the guest waits for "
    "ever",
)
async def loses_the_error_in_the_task(graph, table, text):
    async def run():
        async for event in words(graph, table, text):
            queue.put_nowait(event)
        queue.put_nowait({"event": "done"})

    queue = asyncio.Queue()
    task = asyncio.create_task(run())
    try:
        while (event := await queue.get())["event"] == "token":
            yield event
        yield event
    finally:
        task.cancel()


@wrong("17.2", "it yielded no event")
async def waits_for_a_node_named_agent(graph, table, text):
    async for message, about in tokens(graph, table, text):
        if about["langgraph_node"] == "agent":
            yield {"event": "token", "text": message.text}


@wrong(
    "17.2",
    "the last event of a good answer is {'event': 'token', 'text': "
    "'\\u2028é'}",
)
async def never_says_done(graph, table, text):
    try:
        async for event in in_a_task(words(graph, table, text)):
            yield event
    except openai.APIError:
        yield {"event": "error"}


@wrong("17.2", "the first event came when the model had finished")
async def collects_first(graph, table, text):
    events = [e async for e in with_an_end(words(graph, table, text))]
    for event in events:
        yield event


@wrong("17.2", "it yielded 'Soup', not a dict with `event`")
async def yields_words(graph, table, text):
    async for event in words(graph, table, text):
        yield event["text"]


@wrong("17.2", "the order is not on the table's thread: use `table`")
async def makes_a_thread_for_each_order(graph, table, text):
    stream = in_a_task(words(graph, str(uuid4()), text))
    async for event in with_an_end(stream):
        yield event


@wrong(
    "17.2", "it returned a coroutine, not an async generator: yield each event"
)
async def returns_them(graph, table, text):
    return [event async for event in words(graph, table, text)]


@right("17.2")
async def wraps_twice(graph, table, text):
    stream = in_a_task(words(graph, table, text))
    async for event in with_an_end(stream):
        yield event


# --- 17.3


ALL_AT_ONCE = (
    "0 of 1 mended: a banquet sends all its orders to the kitchen at once"
)


async def answer_to(graph, order, **options):
    config = thread(str(uuid4())) | options
    state = await graph.ainvoke(ask(order), config)
    return state["messages"][-1].text


@wrong("17.3", ALL_AT_ONCE)
async def leaves_the_banquet(graph, orders):
    return await asyncio.gather(*(answer_to(graph, o) for o in orders))


@wrong("17.3", ALL_AT_ONCE)
async def limits_each_run(graph, orders):
    return await asyncio.gather(
        *(answer_to(graph, o, max_concurrency=5) for o in orders)
    )


@wrong("17.3", ALL_AT_ONCE)
async def starts_them_all_first(graph, orders):
    stoves = asyncio.Semaphore(5)

    async def wait_for(task):
        async with stoves:
            return await task

    tasks = [asyncio.create_task(answer_to(graph, o)) for o in orders]
    return await asyncio.gather(*map(wait_for, tasks))


@wrong("17.3", "at most 1 was in the kitchen: 5 may")
async def cooks_one_by_one(graph, orders):
    return [await answer_to(graph, order) for order in orders]


@wrong("17.3", "the answers are in another order than the orders")
async def reverses_them(graph, orders):
    answers = await banquet_of_five(graph, orders)
    return answers[::-1]


@wrong("17.3", "the orders share a thread: each keeps one of its own")
async def takes_one_thread_for_all(graph, orders):
    stoves, config = asyncio.Semaphore(5), thread(str(uuid4()))

    async def answer(order):
        async with stoves:
            state = await graph.ainvoke(ask(order), config)
        return state["messages"][-1].text

    return await asyncio.gather(*map(answer, orders))


@wrong("17.3", "of 9 orders 5 were sent")
async def cooks_the_first_five(graph, orders):
    return await banquet_of_five(graph, orders[:5])


async def banquet_of_five(graph, orders):
    stoves = asyncio.Semaphore(5)

    async def answer(order):
        async with stoves:
            return await answer_to(graph, order)

    return await asyncio.gather(*map(answer, orders))


@right("17.3")
async def batches_it(graph, orders):
    configs = [thread(str(uuid4())) | {"max_concurrency": 5} for _ in orders]
    states = await graph.abatch([ask(order) for order in orders], configs)
    return [state["messages"][-1].text for state in states]


@wrong("17.3", "a place is free, and no order takes it: groups of five")
async def cooks_in_groups(graph, orders):
    answers = []
    for start in range(0, len(orders), 5):
        group = orders[start : start + 5]
        answers += await asyncio.gather(*(answer_to(graph, o) for o in group))
    return answers


# --- 17.4


def build(llm, read_menu, saver):
    return sequence(read_in_a_thread(read_menu), awaits(llm), saver)


def app_of(
    graph,
    events=wraps_twice,
    banquet=banquet_of_five,
    turns=asyncio.Lock,
):
    """The app, put together of parts of which one is wrong."""
    app, locks = FastAPI(), defaultdict(turns)

    async def lines(table, text):
        async with locks[table]:
            async for event in events(graph(), table, text):
                yield json.dumps(event) + "\n"

    @app.post("/tables/{table}")
    async def order(table: str, text: str = Body(embed=True)):
        return StreamingResponse(lines(table, text))

    @app.get("/tables/{table}")
    async def talk(table: str) -> list[str]:
        return await said(graph(), table)

    @app.post("/banquet")
    async def feast(orders: list[str]) -> list[str]:
        return await banquet(graph(), orders)

    return app


async def said(graph, table):
    state = await graph.aget_state(thread(table))
    messages = state.values.get("messages", [])
    return [message.text for message in messages if message.type != "system"]


def once(llm, read_menu):
    graph = build(llm, read_menu, InMemorySaver())
    return lambda: graph


def no_turns():
    return asyncio.Semaphore(100)


def each_time(llm, read_menu):
    return lambda: build(llm, read_menu, InMemorySaver())


@wrong(
    "17.4",
    "0 of 6 mended: while one table reads the menu, nobody else gets a word",
)
def leaves_the_app(llm, read_menu):
    return app_of(
        lambda: leaves_it(llm, read_menu, InMemorySaver()),
        events=leaves_them,
        banquet=leaves_the_banquet,
        turns=no_turns,
    )


@wrong(
    "17.4",
    "5 of 6 mended: while one table reads the menu, nobody else gets a word",
)
def reads_the_menu_in_the_loop(llm, read_menu):
    graph = leaves_it(llm, read_menu, InMemorySaver())
    return app_of(lambda: graph)


@wrong("17.4", f"5 of 6 mended: {LEFT}")
def closes_the_stream_only(llm, read_menu):
    return app_of(once(llm, read_menu), events=only_closes_the_stream)


@wrong("17.4", f"5 of 6 mended: {BURNT}")
def hides_the_error(llm, read_menu):
    return app_of(once(llm, read_menu), events=still_hides_the_error)


@wrong(
    "17.4",
    "5 of 6 mended: a banquet sends all its orders to the kitchen at once",
)
def limits_no_banquet(llm, read_menu):
    return app_of(once(llm, read_menu), banquet=limits_each_run)


@wrong(
    "17.4",
    "5 of 6 mended: one table sent two orders at once, and part is forgotten",
)
def takes_no_turns(llm, read_menu):
    return app_of(once(llm, read_menu), turns=no_turns)


@wrong(
    "17.4",
    "5 of 6 mended: the table ordered twice, and the waiter knows only one "
    "order",
)
def makes_a_graph_for_each_request(llm, read_menu):
    return app_of(each_time(llm, read_menu))


@wrong(
    "17.4",
    "4 of 6 mended: one table sent two orders at once, and part is forgotten",
)
def leaves_what_is_in_the_app(llm, read_menu):
    return app_of(each_time(llm, read_menu), turns=no_turns)


@wrong("17.4", "tables wait for each other: one lock holds them all")
def makes_one_lock(llm, read_menu):
    lock = asyncio.Lock()
    return app_of(once(llm, read_menu), turns=lambda: lock)


@wrong("17.4", "a guest left, and the table is never served again: its lock")
def keeps_the_turn_of_who_left(llm, read_menu):
    locks = []

    def turn():
        locks.append(asyncio.Lock())
        return Again(locks[-1])

    class Again:
        def __init__(self, lock):
            self.lock = lock

        async def __aenter__(self):
            await self.lock.acquire()

        async def __aexit__(self, kind, *_):
            if kind is None:
                self.lock.release()

    return app_of(once(llm, read_menu), turns=turn)


@wrong(
    "17.4",
    "it returned a coroutine, not an app: `make_app` is a plain `def`",
)
async def makes_it_async(llm, read_menu):
    return app_of(once(llm, read_menu))


@wrong("17.4", "the app answered 404")
def forgets_the_routes(llm, read_menu):
    return FastAPI()


@wrong(
    "17.4",
    'a line of the answer is \'data: {"event": "token", '
    '"text": "One"}\', no event',
)
def sends_server_sent_events(llm, read_menu):
    app = app_of(once(llm, read_menu))
    graph = build(llm, read_menu, InMemorySaver())
    app.router.routes[:] = [
        r for r in app.router.routes if r.path != "/tables/{table}"
    ]

    @app.post("/tables/{table}")
    async def order(table: str, text: str = Body(embed=True)):
        stream = wraps_twice(graph, table, text)
        return StreamingResponse(
            f"data: {json.dumps(e)}\n\n" async for e in stream
        )

    return app


@right("17.4")
def refuses_a_second_order(llm, read_menu):
    app, busy = FastAPI(), set()
    graph = build(llm, read_menu, InMemorySaver())

    async def lines(table, text):
        try:
            async for event in wraps_twice(graph, table, text):
                yield json.dumps(event) + "\n"
        finally:
            busy.discard(table)

    @app.post("/tables/{table}")
    async def order(table: str, text: str = Body(embed=True)):
        if table in busy:
            raise HTTPException(409, "one order at a time")
        busy.add(table)
        return StreamingResponse(lines(table, text))

    @app.get("/tables/{table}")
    async def talk(table: str) -> list[str]:
        return await said(graph, table)

    @app.post("/banquet")
    async def feast(orders: list[str]) -> list[str]:
        return await banquet_of_five(graph, orders)

    return app
