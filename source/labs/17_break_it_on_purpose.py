# %% [markdown]
# # Lab 17: find and mend six faults
#
# lesson: [17 · Break it on purpose](../notebooks/17_break_it_on_purpose.ipynb)
# · [exercise](../exercises/17_break_it_on_purpose.ipynb) ·
# [solution](../solutions/17_break_it_on_purpose.ipynb)

# %% [markdown]
# Four tasks, about {minutes} minutes. A restaurant takes orders over HTTP.
# Every test of its happy path is green. Its guests have six complaints:
#
# 1. while one table reads the menu, nobody else gets a word;
# 2. a guest has left, and the model writes on;
# 3. an answer broke off, and the guest was not told;
# 4. a banquet sends all its orders to the kitchen at once;
# 5. a table sent two orders at once, and part is forgotten;
# 6. a table ordered twice, and the waiter knows only one order.
#
# You find the cause of each, and mend it. The symptom index of lesson 17 is
# your map.

# %%
import asyncio
import json
import time
from collections import defaultdict
from functools import partial
from typing import Annotated
from uuid import uuid4

from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.model import connect
from workshop.observe import Heartbeat
from workshop.serve import serve

model = connect()

# %%
import httpx2
import openai
from fastapi import Body, FastAPI
from fastapi.responses import StreamingResponse
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

llm = ChatOpenAI(model=model.name, timeout=30, stream_chunk_timeout=None)

# %% [markdown]
# ## The service
#
# The menu comes from a library that has only blocking calls.


# %%
def read_menu():
    time.sleep(0.3)
    return "On the card today: soup, cake."


# %% [markdown]
# **The graph** reads the menu, and then the model replies.


# %%
def bad_graph(llm, read_menu, saver):
    async def menu(state):
        return {"messages": [("system", read_menu())]}

    async def reply(state):
        return {"messages": await llm.ainvoke(state["messages"])}

    graph = StateGraph(MessagesState).add_sequence([menu, reply])
    return graph.add_edge(START, "menu").compile(checkpointer=saver)


# %% [markdown]
# A table is a thread. `tokens` streams the answer to one order.


# %%
def thread(name):
    return {"configurable": {"thread_id": name}}


def ask(text):
    return {"messages": [("user", text)]}


# %%
async def tokens(graph, table, text):
    stream = graph.astream(
        ask(text), thread(table), stream_mode="messages", version="v2"
    )
    async for part in stream:
        message, _ = part["data"]
        if message.type == "AIMessageChunk" and message.text:
            yield message.text


# %% [markdown]
# **The events** of one order. The streams are kept for the statistics.

# %%
streams = []


async def bad_events(graph, table, text):
    stream = tokens(graph, table, text)
    streams.append(stream)
    try:
        async for token in stream:
            yield {"event": "token", "text": token}
    except openai.APIError:
        pass  # no need to worry the guest
    yield {"event": "done"}


# %% [markdown]
# **The banquet** sends many orders at once. Each has a thread of its own.


# %%
async def bad_banquet(graph, orders: list[str]):
    async def answer(order):
        state = await graph.ainvoke(ask(order), thread(uuid4()))
        return state["messages"][-1].text

    return await asyncio.gather(*map(answer, orders))


# %% [markdown]
# **The talk** at a table, as far as the waiter remembers it.


# %%
async def talk(graph, table: str):
    state = await graph.aget_state(thread(table))
    messages = state.values.get("messages", [])
    return [m.text for m in messages if m.type != "system"]


# %% [markdown]
# **The app** puts them together. `partial` gives the graph to a route, and
# `lines` makes JSON of the events.


# %%
async def lines(events):
    async for event in events:
        yield json.dumps(event) + "\n"


# %%
def bad_app(llm, read_menu):
    app = FastAPI()

    @app.post("/tables/{table}")
    async def order(table: str, text: Annotated[str, Body(embed=True)]):
        graph = bad_graph(llm, read_menu, InMemorySaver())
        return StreamingResponse(lines(bad_events(graph, table, text)))

    graph = bad_graph(llm, read_menu, InMemorySaver())
    app.add_api_route("/tables/{table}", partial(talk, graph))
    ask = partial(bad_banquet, graph)
    app.add_api_route("/banquet", ask, methods=["POST"])
    return app


# %% [markdown]
# One order, as all tests see it. What could be wrong?

# %%
async with serve(bad_app(llm, read_menu)) as url, httpx2.AsyncClient() as c:
    soup = {"text": "Table 1 orders the soup"}
    reply = await c.post(f"{url}/tables/1", json=soup)
print(reply.text)

# %% [markdown]
# ## Task 1: nobody waits for the menu
#
# The first complaint lives in the graph. A heartbeat hears it.

# %%
graph = bad_graph(llm, read_menu, InMemorySaver())
async with Heartbeat() as heart:
    await graph.ainvoke(ask("Table 1 orders the soup"), thread("1"))
print("the loop stood still:", heart.missed > 9)

# %% [markdown]
# **Write** `build(llm, read_menu, saver)`. It returns the graph. The menu is
# still read for each order, by as many tables at once as there are, and the
# model gets it. `read_menu` stays as it is, and `saver` keeps the talk.
#
# **Expected:** two tables are served at once, and the loop stays free.


# %%
def build(llm, read_menu, saver):
    # TODO (about 8 lines; begin with a copy of `bad_graph`)
    # solution
    async def menu(state):
        return {"messages": [("system", await asyncio.to_thread(read_menu))]}

    async def reply(state):
        return {"messages": await llm.ainvoke(state["messages"])}

    graph = StateGraph(MessagesState).add_sequence([menu, reply])
    return graph.add_edge(START, "menu").compile(checkpointer=saver)


# %%
await check("17.1", build)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Let it run beside an examination:
# `await asyncio.gather(examine(seconds=1), graph.ainvoke(...))`. The exhibit
# is *Something blocks, but which line*.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# A function without an async twin goes to a thread: `await
# asyncio.to_thread(read_menu)`, without `()`. A `def` node would do as well:
# LangGraph runs it in a thread.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** An `async def` node runs on the loop, and `read_menu` waits there
# without `await`. In a thread it may wait as long as it likes.
#
# Reading the menu once, when the graph is built, only moves the block to
# another moment, and the card of yesterday stays.

# %% [markdown]
# ## Task 2: guests who leave, and dishes that burn
#
# Complaints 2 and 3 live in the events. For the third, let the connection of
# the model break.

# %%
model.fault("cut", after_tokens=3)
print([event async for event in bad_events(graph, "2", "We order the soup")])

# %% [markdown]
# **Write** `events(graph, table, text)`, an async generator as before. If the
# model fails, in whatever way, it ends with one `{"event": "error"}` instead
# of `done`. If its guest leaves, also before the first token, the call of the
# model is cut off, and those of other guests go on. Web servers cancel
# through AnyIO: `aclosing` is not enough.
#
# **Expected:** one call cut off when the guest leaves, one `error`.


# %%
async def events(graph, table, text):
    # TODO (about 18 lines; begin with a copy of `bad_events`)
    # solution
    queue = asyncio.Queue()

    async def run():
        try:
            async for token in tokens(graph, table, text):
                queue.put_nowait({"event": "token", "text": token})
            queue.put_nowait({"event": "done"})
        except Exception:
            queue.put_nowait({"event": "error"})

    task = asyncio.create_task(run())
    try:
        while True:
            event = await queue.get()
            yield event
            if event["event"] != "token":
                break
    finally:
        task.cancel()


# %%
await check("17.2", events)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# The exhibits are *Your reader left, and it writes on* and *A broken answer
# looks complete*. The graph runs in a task of its own, which puts events in a
# queue. The generator takes them out, and cancels the task in a `finally`.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# The task must put a last event in any case, or the guest waits for ever:
# `done` after the loop, `error` in an `except`. The generator ends with the
# first event that is not a `token`. Nobody else keeps the stream.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The task is cancelled once, by asyncio. So LangGraph can clean up,
# and the call of the model is closed. AnyIO, which cancels the generator
# again and again, never reaches the graph.
#
# `done` comes only where the loop has ended by itself. Any failure becomes an
# `error`, also one that you did not think of. Its text is for your log, not
# for the guest.

# %% [markdown]
# ## Task 3: a kitchen with five stoves
#
# Complaint 4. The meter counts the orders.

# %%
graph = bad_graph(llm, lambda: "Soup, cake.", InMemorySaver())
with model.meter() as meter:
    await bad_banquet(graph, [f"Table {n} orders" for n in range(1, 10)])
print(meter.peak_in_flight, "of 9 orders in the kitchen at once")

# %% [markdown]
# **Write** `banquet(graph, orders)`. It returns the same texts in the same
# order. Each order keeps a thread of its own. As soon as one is done, the next
# begins. If one fails, `banquet` raises, as before.
#
# **Expected:** of 9 orders, 5 are in the kitchen at once, not more or less.


# %%
async def banquet(graph, orders: list[str]):
    # TODO (about 6 lines; begin with a copy of `bad_banquet`)
    # solution
    stoves = asyncio.Semaphore(5)

    async def answer(order):
        async with stoves:
            state = await graph.ainvoke(ask(order), thread(uuid4()))
        return state["messages"][-1].text

    return await asyncio.gather(*map(answer, orders))


# %%
await check("17.3", banquet)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# The exhibit is *max_concurrency does not limit*. Something that all calls
# share has to count them.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `asyncio.Semaphore(5)`, made once, outside of `answer`. Inside, `async with`
# around the `ainvoke`. Or `graph.abatch` with a list of configs, the limit in
# each of them.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `gather` starts all calls, and `max_concurrency` counts the steps
# inside one run. A semaphore that all of them share counts the runs. When
# one ends, the next begins, so that no stove stays cold. Groups of five, one
# after another, would wait for the slowest of each group.
#
# This limits one banquet. For all guests together, make the semaphore where
# the app is made.

# %% [markdown]
# ## Task 4: take it to work
#
# The last two complaints live in the app. And this check tries all six, from
# outside, over HTTP. You can do the same with a service at work.
#
# **Write** `make_app(llm, read_menu)`. It returns the app with the same three
# routes, and uses your `build`, `events` and `banquet`. Tables do not wait
# for each other. A table can order again after a failure, and after its guest
# has left: while an answer came, before it, or while another order was served.
#
# **Expected:** 6 of 6 mended.


# %%
def make_app(llm, read_menu):
    # TODO (about 13 lines; begin with a copy of `bad_app`)
    # solution
    app = FastAPI()
    turns = defaultdict(asyncio.Lock)
    graph = build(llm, read_menu, InMemorySaver())

    @app.post("/tables/{table}")
    async def order(table: str, text: Annotated[str, Body(embed=True)]):
        return StreamingResponse(in_turn(table, text))

    async def in_turn(table, text):
        async with turns[table]:
            async for line in lines(events(graph, table, text)):
                yield line

    app.add_api_route("/tables/{table}", partial(talk, graph))
    ask = partial(banquet, graph)
    app.add_api_route("/banquet", ask, methods=["POST"])
    return app


# %%
await check("17.4", make_app)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# The exhibits are *Two messages, and one is lost* and *Every guest is a
# stranger*. What is made for each request that should be made once?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# One graph with one saver, made in `make_app`, outside of the routes. And
# `defaultdict(asyncio.Lock)`: hold the lock of a table while its events are
# sent, inside the generator. Or answer 409 if it is held already.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The saver is the memory, so it must live as long as the app. The
# lock is held inside of the generator, because the route returns before the
# first event is sent. A lock for each table lets other tables go on.
#
# At work three more things change: a saver that outlives the process, a lock
# that several processes share, and no lock that is kept for a table for ever.
# Lessons 14 and 15 show them. `await examine(build(...))` in a test of your
# service tells you when a fault comes back.

# %% [markdown]
# ## Keep
#
# - A happy path proves little. Leave early, break off, come twice, come all.
# - Each complaint has a counter: calls cut off, calls in flight, messages.
# - Work in a task of its own can be cancelled, whoever cancels you.
# - What must outlive a request is made outside of it.
