"""Answers to the check of lesson 17 and to lab 17."""

import asyncio
import time
from contextlib import aclosing
from uuid import uuid4

import openai

from tests.wrong import changed, right, wrong


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


# --- 17.2


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


@wrong(
    "17.2",
    "1 of 2 mended: a guest left after the first word, and the model wrote on",
)
async def only_closes_the_stream(graph, table, text):
    async with aclosing(words(graph, table, text)) as stream:
        async for event in with_an_end(stream):
            yield event


@wrong("17.2", "it yielded no event")
async def waits_for_a_node_named_agent(graph, table, text):
    async for message, about in tokens(graph, table, text):
        if about["langgraph_node"] == "agent":
            yield {"event": "token", "text": message.text}


@right("17.2")
async def wraps_twice(graph, table, text):
    stream = in_a_task(words(graph, table, text))
    async for event in with_an_end(stream):
        yield event


# --- 17.3


@right("17.3")
async def batches_it(graph, orders):
    configs = [thread(str(uuid4())) | {"max_concurrency": 5} for _ in orders]
    states = await graph.abatch([ask(order) for order in orders], configs)
    return [state["messages"][-1].text for state in states]


changed(
    "17.0",
    """
    it ran `work` 0 times, not once: is an `await` missing?
    - await work()
    + work().close()

    it ran `work` 2 times, not once: is an `await` missing?
      async def longest_silence(work) -> float:
    +     await work()

    three short blocks were added up: say the longest one
    - return heart.longest
    + return sum(gap.length for gap in heart.gaps)

    it returned True, not a number of seconds
    - return heart.longest
    + return heart.missed > heart.beats

    it returned None, not a number of seconds: is a `return` missing?
    - return heart.longest
    + print(heart.longest > 1000)

    a block of 0.6 s gave far more: return seconds
    - return heart.longest
    + return heart.missed

    it returned a Heartbeat, not a number of seconds
    - return heart.longest
    + return heart
    """,
)


changed(
    "17.1",
    """
0 of 1 mended: while one table reads the menu, nobody else gets a word
- return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+ return {"messages": [("system", await asyncio.to_thread(str, read_menu()))]}

the menu is read when the graph is built, not for each order
+ card = read_menu()
+
  async def menu(state):
-     return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+     return {"messages": [("system", card)]}

0 of 1 mended: while one table reads the menu, nobody else gets a word
- return {"messages": await llm.ainvoke(state["messages"])}
+ return {"messages": llm.invoke(state["messages"])}

the second table waits until the first is served
  def build(llm, read_menu, saver):
+     turn = asyncio.Lock()
+
@@
- return {"messages": await llm.ainvoke(state["messages"])}
+ async with turn:
+     return {"messages": await llm.ainvoke(state["messages"])}

the second table waits until the first has read the menu
+ turn = asyncio.Lock()
+
  async def menu(state):
-     return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+     async with turn:
+         card = await asyncio.to_thread(read_menu)
+     return {"messages": [("system", card)]}

the model got the menu of an earlier order
+ cards = []
+
  async def menu(state):
-     return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+     if len(cards) < 2:
+         cards.append(await asyncio.to_thread(read_menu))
+     return {"messages": [("system", cards[0])]}

the model got the menu of an earlier order
+ cards = []
+
  async def menu(state):
-     return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+     try:
+         cards.append(await asyncio.to_thread(read_menu))
+     except Exception as error:
+         print(error)
+     return {"messages": [("system", cards[-1])]}

the model never saw the menu
- return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+ await asyncio.to_thread(read_menu)
+ return {"messages": [("system", "A card.")]}

`read_menu` was never called
- return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+ return {"messages": [("system", "On the card today: soup, cake.")]}

the graph remembers nothing: `compile` got no saver
- return graph.add_edge(START, "menu").compile(checkpointer=saver)
+ return graph.add_edge(START, "menu").compile()

it returned None, not a compiled graph: is a `return` missing?
- return graph.add_edge(START, "menu").compile(checkpointer=saver)
+ graph.add_edge(START, "menu").compile(checkpointer=saver)

it returned a StateGraph, not a compiled graph
- return graph.add_edge(START, "menu").compile(checkpointer=saver)
+ return graph.add_edge(START, "menu")

✅
- async def menu(state):
-     return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+ def menu(state):
+     return {"messages": [("system", read_menu())]}

✅
- return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+ loop = asyncio.get_running_loop()
+ menu = await loop.run_in_executor(None, read_menu)
+ return {"messages": [("system", menu)]}
""",
)


changed(
    "17.2",
    r"""
    0 of 2 mended: a guest left after the first word, and the model wrote on
      async def events(graph, table, text):
    +     async for event in bad_events(graph, table, text):
    +         yield event
    +     return
    +

    1 of 2 mended: a guest left after the first word, and the model wrote on
    - finally:
    + except asyncio.CancelledError:
          task.cancel()
    +     raise

    one guest left, and another one's answer was cut off
    + RUNS = []
    +
    +
      async def events(graph, table, text):
    @@
      task = asyncio.create_task(run())
    + RUNS.append(task)
    @@
    - task.cancel()
    + for task in RUNS:
    +     task.cancel()

    1 of 2 mended: the answer broke off after 3 tokens, and the guest was not
    told
    - queue.put_nowait({"event": "error"})
    + queue.put_nowait({"event": "done"})

    `done` came after `error`
      yield event
    + if event["event"] == "error":
    +     yield {"event": "done"}

    the answer broke off, and `events` raised APIConnectionError: yield an
    `error` event
      queue.put_nowait({"event": "error"})
    + raise
    @@
      event = await queue.get()
    + if event["event"] == "error":
    +     await task

    the answer broke off, and no further event came: the guest waits for ever
    - except Exception:
    -     queue.put_nowait({"event": "error"})
    + finally:
    +     pass

    the last event of a good answer is {'event': 'token', 'text': '\u2028é'}
      event = await queue.get()
    + if event["event"] == "done":
    +     break

    the first event came when the model had finished
    + found = []
      while True:
          event = await queue.get()
    -     yield event
    +     found.append(event)
          if event["event"] != "token":
              break
    + for event in found:
    +     yield event

    it yielded 'Soup', not a dict with `event`
    - yield event
    + yield event["text"]

    the order is not on the table's thread: use `table`
    - async for token in tokens(graph, table, text):
    + async for token in tokens(graph, uuid4(), text):

    it returned a coroutine, not an async generator: yield each event
    - yield event
    + print(event)
    """,
)


changed(
    "17.3",
    """
    0 of 1 mended: a banquet sends all its orders to the kitchen at once
    - async with stoves:
    -     state = await graph.ainvoke(ask(order), thread(uuid4()))
    + config = thread(uuid4()) | {"max_concurrency": 5}
    + state = await graph.ainvoke(ask(order), config)

    at most 1 was in the kitchen: 5 may
    - return await asyncio.gather(*map(answer, orders))
    + return [await answer(order) for order in orders]

    the answers are in another order than the orders
    - return await asyncio.gather(*map(answer, orders))
    + texts = await asyncio.gather(*map(answer, orders))
    + return texts[::-1]

    the orders share a thread: each keeps one of its own
    - state = await graph.ainvoke(ask(order), thread(uuid4()))
    + state = await graph.ainvoke(ask(order), thread("banquet"))

    of 9 orders 5 were sent
    - return await asyncio.gather(*map(answer, orders))
    + return await asyncio.gather(*map(answer, orders[:5]))

    a place is free, and no order takes it: groups of five
    - return await asyncio.gather(*map(answer, orders))
    + texts = []
    + for first in range(0, len(orders), 5):
    +     group = orders[first : first + 5]
    +     texts += await asyncio.gather(*map(answer, group))
    + return texts
    """,
)


changed(
    "17.4",
    r"""
5 of 6 mended: while one table reads the menu, nobody else gets a word
- return {"messages": [("system", await asyncio.to_thread(read_menu))]}
+ return {"messages": [("system", read_menu())]}

5 of 6 mended: a guest left after the first word, and the model wrote on
- task.cancel()
+ pass

5 of 6 mended: the answer broke off after 3 tokens, and the guest was not
told
- queue.put_nowait({"event": "error"})
+ queue.put_nowait({"event": "done"})

5 of 6 mended: a banquet sends all its orders to the kitchen at once
- stoves = asyncio.Semaphore(5)
+ stoves = asyncio.Semaphore(50)

5 of 6 mended: one table sent two orders at once, and part is forgotten
- turns = defaultdict(asyncio.Lock)
+ turns = defaultdict(lambda: asyncio.Semaphore(100))

5 of 6 mended: the table ordered twice, and the waiter knows only one order
- async for line in lines(events(graph, table, text)):
+ new = build(llm, read_menu, InMemorySaver())
+ async for line in lines(events(new, table, text)):

4 of 6 mended: one table sent two orders at once, and part is forgotten
- turns = defaultdict(asyncio.Lock)
+ turns = defaultdict(lambda: asyncio.Semaphore(100))
@@
- async for line in lines(events(graph, table, text)):
+ new = build(llm, read_menu, InMemorySaver())
+ async for line in lines(events(new, table, text)):

tables wait for each other: one lock holds them all
- async with turns[table]:
+ async with turns["all"]:

a guest left, and the table is never served again: its lock
- async with turns[table]:
-     async for line in lines(events(graph, table, text)):
-         yield line
+ await turns[table].acquire()
+ async for line in lines(events(graph, table, text)):
+     yield line
+ turns[table].release()

5 of 6 mended: one table sent two orders at once, and part is forgotten
-     return StreamingResponse(in_turn(table, text))
+     async with turns[table]:
+         return StreamingResponse(in_turn(table, text))
-
+
  async def in_turn(table, text):
-     async with turns[table]:
-         async for line in lines(events(graph, table, text)):
-             yield line
+     async for line in lines(events(graph, table, text)):
+         yield line

it returned a coroutine, not an app: `make_app` is a plain `def`
- def make_app(llm, read_menu):
+ async def make_app(llm, read_menu):

the app answered 404
- return app
+ return FastAPI()

a line of the answer is 'data: {"event": "token", "text": "One"}', no event
- yield line
+ yield f"data: {line}\n"

✅
  def make_app(llm, read_menu):
+     from fastapi.responses import JSONResponse
+
@@
  async def order(table: str, text: Annotated[str, Body(embed=True)]):
+     if turns[table].locked():
+         return JSONResponse("one order at a time", 409)
""",
)
