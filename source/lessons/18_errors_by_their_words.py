# %% [markdown]
# # Look an error up by its words
#
# previous: [17 · Break it on purpose](17_break_it_on_purpose.ipynb) ·
# lab: [17](../exercises/17_break_it_on_purpose.ipynb)
#
# The second room of the museum. Press **Ctrl+F** and paste the words of your
# error. Each exhibit raises them, says why, and proves a mend. Run *Setup*
# first, then any exhibit, in any order. Nobody reads it whole: that would take
# about {minutes} minutes.
#
# The first room is for symptoms without words: what blocks, hangs, comes
# late or is lost.

# %% [markdown]
# ## Setup

# %%
import asyncio
import json
import logging
import sqlite3
import threading
import warnings
from contextlib import aclosing
from contextvars import ContextVar
from logging.handlers import BufferingHandler
from typing import Annotated, TypedDict

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
import anyio
import httpx2
import openai
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage, trim_messages
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

# %%
llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)


def price(dish: str) -> str:
    """Look up the price of a dish."""
    return "9 euros"


agent = create_agent(llm, tools=[])
waiter = create_agent(llm, tools=[price])
ASK = {"messages": [("user", "What is the price of the soup?")]}
TABLE = {"configurable": {"thread_id": "1"}}

# %% [markdown]
# `said` runs something that fails and prints the name of its error and the
# words. Everything else below is what you would write yourself.


# %%
async def said(work):
    try:
        result = await work
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    else:
        print("works:", str(result)[:60])


def graph_of(node, saver=None):
    graph = StateGraph(MessagesState)
    graph.add_node("reply", node)
    graph.add_edge(START, "reply")
    return graph.compile(checkpointer=saver)


async def greet(state):
    return {"messages": [("ai", "Welcome!")]}


# %% [markdown]
# ## Checkpointer requires one or more of the following 'configurable' keys
#
# **It says** `Checkpointer requires one or more of the following 'configurable' keys: thread_id`
#
# [langgraph#1997](https://github.com/langchain-ai/langgraph/issues/1997) ·
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** A graph with a memory must know whose turn this is. **Mend.** Pass
# a config with a `thread_id`, one for each conversation.

# %%
chat = graph_of(greet, InMemorySaver())
await said(chat.ainvoke(ASK))
await said(chat.ainvoke(ASK, {"configurable": {"thread_id": "ada"}}))

# %% [markdown]
# ## No checkpointer set
#
# **It says** `No checkpointer set`
#
# [CopilotKit PR 1880](https://github.com/CopilotKit/CopilotKit/pull/1880) ·
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** `aget_state`, `aupdate_state` and a resumed `interrupt` read what a
# saver kept, and this graph was compiled without one. **Mend.** Compile it
# with a saver. Inside of another graph it takes the outer one's.

# %%
await said(graph_of(greet).aget_state(TABLE))
await said(graph_of(greet, InMemorySaver()).aget_state(TABLE))

# %% [markdown]
# ## Invalid checkpointer provided
#
# **It says** `Invalid checkpointer provided. Expected an instance of`
# · `Received _AsyncGeneratorContextManager`
#
# [CopilotKit#2666](https://github.com/CopilotKit/CopilotKit/issues/2666),
# [langgraph#6585](https://github.com/langchain-ai/langgraph/issues/6585) ·
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** `from_conn_string` returns a context manager, not a saver. Older
# releases said `has no attribute 'get_next_version'` later on. **Mend.**
# `async with`, for as long as the graph is used.


# %%
async def compile_it(saver):
    return graph_of(greet, saver)


await said(compile_it(AsyncSqliteSaver.from_conn_string(":memory:")))

async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
    await said(compile_it(saver))

# %% [markdown]
# ## The connection is closed
#
# **It says** `no active connection`
#
# With PostgreSQL: `the connection is closed`, or `SSL connection has been
# closed unexpectedly`, the next morning.
#
# [deer-flow#3223](https://github.com/bytedance/deer-flow/issues/3223),
# [langgraph#3716](https://github.com/langchain-ai/langgraph/issues/3716) ·
# [lesson 15](15_shared_memory.ipynb)
#
# **Why.** The graph outlived its saver: `async with` had ended, or the server
# closed a connection that was idle for long. **Mend.** Open the saver where
# the app lives, in its `lifespan`. With PostgreSQL give it an
# `AsyncConnectionPool` with `check=AsyncConnectionPool.check_connection`.

# %%
async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
    chat = graph_of(greet, saver)
    await said(chat.ainvoke(ASK, TABLE))
await said(chat.ainvoke(ASK, TABLE))

# %% [markdown]
# ## Database is locked
#
# **It says** `database is locked`
#
# [langgraph#8136](https://github.com/langchain-ai/langgraph/issues/8136) ·
# [lesson 15](15_shared_memory.ipynb)
#
# **Why.** SQLite lets one connection write at a time, and another process, or
# another saver on the same file, kept the lock for longer than you wait (here
# 0.1 s, usually 5 s). One saver by itself never meets it. **Mend.** One saver
# for one file; a longer `timeout`; PostgreSQL for several processes.

# %%
import os
import tempfile

import aiosqlite

folder = tempfile.TemporaryDirectory()
path = os.path.join(folder.name, "chat.db")
async with aiosqlite.connect(path, timeout=0.1) as connection:
    saver = AsyncSqliteSaver(connection)
    await saver.setup()
    chat = graph_of(greet, saver)
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    await said(chat.ainvoke(ASK, TABLE))
    other.rollback()
    await said(chat.ainvoke(ASK, TABLE))
    other.close()
folder.cleanup()

# %% [markdown]
# ## SQLite objects created in a thread
#
# **It says** `SQLite objects created in a thread can only be used in that same thread.`
#
# [langgraph PR 3857](https://github.com/langchain-ai/langgraph/pull/3857),
# [mem0#3184](https://github.com/mem0ai/mem0/issues/3184) ·
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** A `SqliteSaver` on a connection of yours, and a `def` endpoint or
# node in another thread. **Mend.** `check_same_thread=False`, as
# `from_conn_string` does; in async code, `AsyncSqliteSaver`.

# %%
from langgraph.checkpoint.sqlite import SqliteSaver


def welcome(state):
    return {"messages": [("ai", "Welcome!")]}


def in_another_thread(check):
    connection = sqlite3.connect(":memory:", check_same_thread=check)
    chat = graph_of(welcome, SqliteSaver(connection))
    return asyncio.to_thread(chat.invoke, ASK, TABLE)


try:
    await in_another_thread(check=True)
except sqlite3.ProgrammingError as error:
    print(str(error).partition(". ")[0] + ".")
await said(in_another_thread(check=False))

# %% [markdown]
# ## The pool is not open yet
#
# **It says** `the pool 'menu' is not open yet` · `the pool 'menu' is already closed`
#
# [deer-flow#3373](https://github.com/bytedance/deer-flow/issues/3373),
# [langgraph#4214](https://github.com/langchain-ai/langgraph/issues/4214) ·
# [lesson 15](15_shared_memory.ipynb)
#
# **Why.** An `AsyncConnectionPool` opens in a running loop, so it is made
# with `open=False`, and nobody opened it; or the app's shutdown closed it
# while runs went on. A closed pool opens no more. **Mend.** `async with pool`
# in the `lifespan`, and end the runs before it ends.

# %%
from psycopg_pool import AsyncConnectionPool

pool = AsyncConnectionPool(open=False, name="menu", min_size=0, max_size=1)
await said(pool.getconn())
async with pool:
    print("works: closed is", pool.closed)
await said(pool.getconn())

# %% [markdown]
# ## tool_calls must be followed by tool messages
#
# **It says** `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'`
#
# [langgraph#6726](https://github.com/langchain-ai/langgraph/issues/6726),
# [deer-flow PR 1766](https://github.com/bytedance/deer-flow/pull/1766) ·
# [lesson 16](16_ask_a_human.ipynb)
#
# Every message on this thread gets a 400. **Why.** A tool raised, was
# cancelled, or waits for a human, after the model had asked for it. The call
# is in the memory, and its result is not. **Mend.** Give each open call a
# result, then go on.

# %%
chat = create_agent(llm, tools=[], checkpointer=InMemorySaver())
call = {"name": "price", "args": {}, "id": "call-1"}
question = ("user", "What is the price?")
asked = {"messages": [question, AIMessage("", tool_calls=[call])]}
await chat.aupdate_state(TABLE, asked)
await said(chat.ainvoke({"messages": [("user", "Hello?")]}, TABLE))

# %%
from langchain_core.messages import RemoveMessage


async def close_open_calls(graph, config):
    """Give every tool call without a result one, in its place."""
    state = await graph.aget_state(config)
    messages = state.values["messages"]
    answered = set()
    for message in messages:
        if message.type == "tool":
            answered.add(message.tool_call_id)
    whole = [RemoveMessage("__remove_all__")]
    for message in messages:
        whole.append(message)
        for call in getattr(message, "tool_calls", []):
            if call["id"] not in answered:
                text = "This call was not finished."
                whole.append(ToolMessage(text, tool_call_id=call["id"]))
    await graph.aupdate_state(config, {"messages": whole})


await close_open_calls(chat, TABLE)
state = await chat.ainvoke({"messages": [("user", "Hello?")]}, TABLE)
print(state["messages"][-1].type)

# %% [markdown]
# ## must be a response to a preceeding message with 'tool_calls'
#
# **It says** `must be a response to a preceeding message with 'tool_calls'`
#
# [langgraph-supervisor-py#122](https://github.com/langchain-ai/langgraph-supervisor-py/issues/122),
# [langchain PR 35313](https://github.com/langchain-ai/langchain/pull/35313), open ·
# [lesson 15](15_shared_memory.ipynb)
#
# **Why.** Somebody cut the conversation between a tool call and its result,
# often `trim_messages`. **Mend.** `start_on="human"`: it never begins with a
# result.

# %%
talk = [
    ("user", "What is the soup?"),
    AIMessage("", tool_calls=[{"name": "price", "args": {}, "id": "1"}]),
    ToolMessage("9 euros", tool_call_id="1"),
    ("user", "Thank you."),
]
cut = trim_messages(talk, max_tokens=2, token_counter=len)
await said(llm.ainvoke(cut))
whole_turns = trim_messages(
    talk, max_tokens=2, token_counter=len, start_on="human"
)
answer = await llm.ainvoke(whole_turns)
print("works:", answer.type)

# %% [markdown]
# ## Found AIMessages with tool_calls that do not have a corresponding ToolMessage
#
# **It says** `Found AIMessages with tool_calls that do not have a corresponding ToolMessage.` · `create_react_agent has been moved to`
#
# [lesson 16](16_ask_a_human.ipynb)
#
# **Why.** The older `create_react_agent` looks for calls without a result
# itself, before it asks the model. **Mend.** `close_open_calls`, above; and
# `create_agent` from `langchain.agents`, which has taken its place.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from langgraph.prebuilt import create_react_agent

    older = create_react_agent(llm, tools=[])
print(str(caught[0].message).partition(". ")[0])
call = {"name": "price", "args": {}, "id": "call-1"}
asked = [("user", "What is the price?"), AIMessage("", tool_calls=[call])]
try:
    await older.ainvoke({"messages": asked})
except ValueError as error:
    print(str(error).partition(". ")[0] + ".")

# %% [markdown]
# ## This model's maximum context length
#
# **It says** `This model's maximum context length is`
#
# [langgraph#3717](https://github.com/langchain-ai/langgraph/issues/3717) ·
# [lesson 15](15_shared_memory.ipynb)
#
# From some turn on, every message on a thread fails. **Why.** A memory sends
# the whole conversation each time. **Mend.** Trim it before the model sees
# it, or summarize it; what is stored may stay.

# %%
long = [("user", "Tell me a long story about soup. " * 40), ("user", "Hi!")]
model.pace(context_tokens=100)
await said(llm.ainvoke(long))
short = trim_messages(long, max_tokens=1, token_counter=len, strategy="last")
answer = await llm.ainvoke(short)
print("works:", answer.type)
model.pace(context_tokens=128_000)

# %% [markdown]
# ## Error code: 429
#
# **It says** `Error code: 429`
#
# OpenAI's words: `Rate limit reached for`, `Please try again in`, or
# `insufficient_quota`.
#
# [deer-flow#55](https://github.com/bytedance/deer-flow/issues/55) ·
# [lesson 12](12_retries_and_limits.ipynb)
#
# **Why.** Too many requests or tokens in a minute, or no money left, which no
# retry mends. **Mend.** The client retries twice by itself and waits as long
# as `Retry-After` says. Bound how many you start.

# %%
model.fault("rate_limit", retry_after=0.1)
await said(llm.ainvoke("Hello"))
patient = ChatOpenAI(model=model.name, max_retries=2)
model.fault("rate_limit", retry_after=0.1)
answer = await patient.ainvoke("Hello")
print("works:", answer.type)

# %% [markdown]
# ## Connection error
#
# **It says** `Connection error.`
#
# Underneath: `All connection attempts failed`, or `peer closed connection
# without sending complete message body (incomplete chunked read)`.
#
# [Langchain-Chatchat#4453](https://github.com/chatchat-space/Langchain-Chatchat/issues/4453) ·
# [lesson 12](12_retries_and_limits.ipynb)
#
# **Why.** Nobody listens at the address, or the connection broke off in
# mid-answer. Follow `__cause__` to see which. **Mend.** A wrong address:
# `OPENAI_BASE_URL`. A broken answer: keep what came, say that it is cut, or
# retry and send *start again*.


# %%
async def stream_it(chat_model):
    async for chunk in chat_model.astream("What is LangGraph?"):
        if chunk.text:
            print(chunk.text, end="|")
    print()


def first_cause(error):
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return error


model.fault("cut", after_tokens=3)
try:
    await stream_it(llm)
except Exception as error:
    print("\n", error)
    print(" because:", first_cause(error))

# %% [markdown]
# ## Cannot send a request, as the client has been closed
#
# **It says** `Cannot send a request, as the client has been closed.`
#
# [httpx2#499](https://github.com/pydantic/httpx2/issues/499) ·
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** The model outlived its client: `async with` had ended. With
# retries, or in `ChatOpenAI`, this is the cause under `Connection error.`
# **Mend.** Open the client where the app lives, in its `lifespan`.

# %%
client = httpx2.AsyncClient()
await client.aclose()
await said(client.get(f"{model.base_url}/models"))
async with httpx2.AsyncClient() as client:
    await said(client.get(f"{model.base_url}/models"))

# %% [markdown]
# ## Request timed out
#
# **It says** `Request timed out.`
#
# [lesson 12](12_retries_and_limits.ipynb)
#
# **Why.** `timeout=` of the model was shorter than the model needed for its
# first byte. With retries you wait several times as long. **Mend.** A limit
# that fits, and one for the whole answer around it.

# %%
hasty = ChatOpenAI(model=model.name, max_retries=0, timeout=0.2)
model.fault("stall", after_tokens=0)
await said(hasty.ainvoke("Hello"))
await said(llm.ainvoke("Hello"))

# %% [markdown]
# ## An error without words
#
# Nothing is printed after the colon.
# [lesson 06](06_stop_limit_retry.ipynb)
#
# **Why.** `TimeoutError` and `CancelledError` carry no text, nor does AnyIO's
# `ClosedResourceError`; and `except Exception` does not see a cancel at all.
# **Mend.** Print `repr(error)`. Clean up in `finally`, and let a cancel pass.


# %%
async def too_slow():
    async with asyncio.timeout(0.01):
        await asyncio.sleep(1)


async def to_a_closed_stream():
    sender, receiver = anyio.create_memory_object_stream(1)
    receiver.close()
    sender.close()
    await sender.send("soup")


for fails in (too_slow, to_a_closed_stream):
    try:
        await fails()
    except Exception as error:
        print("error:", error, "| repr:", repr(error))

task = asyncio.create_task(asyncio.sleep(1))
await asyncio.sleep(0)
task.cancel()
await asyncio.wait([task])
print("is an Exception:", issubclass(asyncio.CancelledError, Exception))

# %% [markdown]
# ## No streaming chunk received
#
# **It says** `No streaming chunk received for`
#
# [langchain#35006](https://github.com/langchain-ai/langchain/issues/35006) ·
# [lesson 06](06_stop_limit_retry.ipynb)
#
# **Why.** `stream_chunk_timeout`, 120 seconds unless you set it, passed
# between two chunks. A model that reasons for long may be silent so long.
# **Mend.** A longer one, or `None` and a limit of your own.

# %% tags=["raises-exception"]
strict = ChatOpenAI(
    model=model.name,
    max_retries=0,
    stream_chunk_timeout=0.3,
)
model.fault("stall", after_tokens=2)
async for chunk in strict.astream("What is LangGraph?"):
    print(chunk.text, end="|")

# %% [markdown]
# ## The answer ends in mid-sentence
#
# **It says** `finish_reason: length`
#
# Nothing is raised. [lesson 05](05_token_streaming.ipynb)
#
# **Why.** `max_tokens` was reached, a filter ended the answer
# (`content_filter`), or the stream ended without any `finish_reason`: then
# the connection was lost in a way that looks clean. **Mend.** Call an answer
# complete only if its model said `stop` or `tool_calls`.


# %%
async def how_it_ended(chat_model):
    whole = None
    async for chunk in chat_model.astream("What is LangGraph?"):
        whole = chunk if whole is None else whole + chunk
    return whole.response_metadata.get("finish_reason")


print("finish_reason:", await how_it_ended(llm))
short = ChatOpenAI(model=model.name, max_tokens=3)
print("finish_reason:", await how_it_ended(short))
model.fault("no_done")
print("finish_reason:", await how_it_ended(llm))

# %% [markdown]
# ## Structured output does not stream
#
# **It says** `Could not parse response content as the length limit was reached`
#
# [langgraphjs#267](https://github.com/langchain-ai/langgraphjs/issues/267) ·
# [lesson 05](05_token_streaming.ipynb)
#
# You wait, and get one object at the end. **Why.** A Pydantic object is whole
# or it is not. A cut answer (`max_tokens`) is not. **Mend.** For parts, a
# schema as `TypedDict` or dict: its stream yields dicts that grow.

# %%
from pydantic import BaseModel


class Dish(BaseModel):
    """A dish with its price."""

    name: str
    euros: int


class DishSoFar(TypedDict):
    """A dish with its price."""

    name: str
    euros: int


for schema in (Dish, DishSoFar):
    parser = llm.with_structured_output(schema, method="function_calling")
    parts = [part async for part in parser.astream("The soup, please")]
    print(schema.__name__, "comes in several parts:", len(parts) > 1)

cut = ChatOpenAI(model=model.name, max_tokens=2).with_structured_output(Dish)
try:
    await cut.ainvoke("The soup, please")
except openai.LengthFinishReasonError as error:
    print(str(error).partition(" - ")[0])

# %% [markdown]
# ## The words of another model in the answer
#
# Nothing is raised.
# [langchain#34382](https://github.com/langchain-ai/langchain/issues/34382),
# [deer-flow#2503](https://github.com/bytedance/deer-flow/issues/2503) ·
# [lesson 05](05_token_streaming.ipynb)
#
# **Why.** `messages` mode hears every model of the run: a summary, a guard, a
# model in a tool. They share the run's callbacks. **Mend.** Tag them
# `nostream`, as LangChain's `SummarizationMiddleware` does in langchain 1.5.2.


# %%
def with_a_guard(guard):
    async def reply(state):
        await guard.ainvoke("Is this polite? Say one word.")
        answer = await llm.ainvoke(state["messages"])
        return {"messages": [answer]}

    return graph_of(reply)


for tags in ([], ["nostream"]):
    guard = ChatOpenAI(model=model.name, tags=tags)
    guarded = with_a_guard(guard)
    speakers = set()
    async for part in guarded.astream(
        ASK, stream_mode="messages", version="v2"
    ):
        message, _ = part["data"]
        if message.text:
            speakers.add(message.id)
    print(tags, "answers heard:", len(speakers))

# %% [markdown]
# ## Tool output and empty chunks reach the reader
#
# Nothing is raised.
# [langchain#35276](https://github.com/langchain-ai/langchain/issues/35276), open ·
# [lesson 05](05_token_streaming.ipynb)
#
# **Why.** `messages` mode has all messages of a run: the results of tools,
# chunks that carry a tool's arguments, a first one with only the role, a
# last one with only the usage. **Mend.** Type and text, both.

# %%
seen = []
shown = []
async for part in waiter.astream(ASK, stream_mode="messages", version="v2"):
    message, _ = part["data"]
    seen.append(message)
    if message.type == "AIMessageChunk" and message.text:
        shown.append(message)
empty = [message for message in seen if not message.text]
results = [message for message in seen if message.type == "tool"]
print("without text:", len(empty) > 0, "- results of tools:", len(results))
print("the reader gets fewer:", len(shown) < len(seen))

# %% [markdown]
# ## The tool's name came twice
#
# **It says** `priceprice is not a valid tool`
#
# [langchain#40044](https://github.com/langchain-ai/langchain/issues/40044)
#
# **Why.** Some servers send a tool's name in more than one chunk, and adding
# chunks joins them. **Mend.** At the server. Until then look at
# `tool_calls[…]["name"]` before you trust it.

# %%
model.fault("doubled_name")
async for part in waiter.astream(ASK, stream_mode="messages", version="v2"):
    message, _ = part["data"]
    if message.type == "tool":
        print(message.content)

# %% [markdown]
# ## No usage with a base URL
#
# Nothing is raised.
# [langchain PR 33298](https://github.com/langchain-ai/langchain/pull/33298) ·
# [lesson 00](00_start_here.ipynb)
#
# **Why.** `ChatOpenAI` asks for usage in a stream by itself only if it talks
# to OpenAI's own address. **Mend.** `stream_usage=True`.


# %%
async def usage_of(chat_model):
    total = 0
    async for chunk in chat_model.astream("Hello"):
        if chunk.usage_metadata:
            total = chunk.usage_metadata["total_tokens"]
    return total > 0


print("without:", await usage_of(ChatOpenAI(model=model.name)))
counted = ChatOpenAI(model=model.name, stream_usage=True)
print("with   :", await usage_of(counted))

# %% [markdown]
# ## Recursion limit reached
#
# **It says** `Recursion limit of 5 reached without hitting a stop condition`
#
# [deer-flow#55](https://github.com/bytedance/deer-flow/issues/55)
#
# **Why.** The graph went round more often than `recursion_limit` allows. It
# was 25 for years, and is about 10,000 now, so that a loop costs thousands of
# requests before anybody notices. **Mend.** An edge to `END` that is
# reached, and a small limit of your own in the config.

# %%
round_and_round = StateGraph(MessagesState)
round_and_round.add_node("greet", greet)
round_and_round.add_edge(START, "greet")
round_and_round.add_edge("greet", "greet")
endless = round_and_round.compile()
await said(endless.ainvoke(ASK, {"recursion_limit": 5}))

# %% [markdown]
# ## Can receive only one value per step
#
# **It says** `Can receive only one value per step. Use an Annotated key to handle multiple values.`
#
# [lesson 13](13_fan_out.ipynb)
#
# **Why.** Two nodes that run in one step wrote the same key, and nobody said
# how to join them. **Mend.** A reducer, such as `operator.add`.

# %%
import operator


class Once(TypedDict):
    notes: list


class Joined(TypedDict):
    notes: Annotated[list, operator.add]


async def note(state):
    return {"notes": ["hot"]}


for kind in (Once, Joined):
    graph = StateGraph(kind)
    for name in ("soup", "cake"):
        graph.add_node(name, note)
        graph.add_edge(START, name)
    await said(graph.compile().ainvoke({"notes": []}))

# %% [markdown]
# ## Expected dict, got
#
# **It says** `Expected dict, got [1]` · `Received no input for __start__`
#
# [langgraph#1386](https://github.com/langchain-ai/langgraph/issues/1386),
# [company-researcher#3](https://github.com/danielleyahalom/company-researcher/issues/3) ·
# [lesson 03](03_astream_modes.ipynb)
#
# `Expected dict, got <coroutine object` means a call without its `await`.
#
# **Why.** A node returns an update of the state, a dict; and a run needs an
# input, unless it goes on with one that was cut off. **Mend.** Return
# `{"key": value}`. Give `None` only to resume.


# %%
async def returns_a_list(state):
    return [1]


await said(graph_of(returns_a_list).ainvoke(ASK))
await said(graph_of(greet).ainvoke(None))

# %% [markdown]
# ## Called get_config outside of a runnable context
#
# **It says** `Called get_config outside of a runnable context`
#
# [lesson 04](04_progress_and_events.ipynb)
#
# **Why.** `get_stream_writer`, `get_config` and `interrupt` find their run in
# a context variable. A thread or a task that was made outside of the run has
# none. **Mend.** Call it in the node, and hand `write` on.

# %%
from langgraph.config import get_stream_writer


async def outside():
    return get_stream_writer()


async def inside(state):
    write = get_stream_writer()
    write("50 %")
    return {}


await said(outside())
graph = graph_of(inside)
async for part in graph.astream(ASK, stream_mode="custom", version="v2"):
    print("works:", part["data"])

# %% [markdown]
# ## too many values to unpack (expected 2)
#
# **It says** `too many values to unpack (expected 2`
#
# [langgraph#5932](https://github.com/langchain-ai/langgraph/issues/5932) ·
# [lesson 03](03_astream_modes.ipynb)
#
# **Why.** What a part is depends on the call. `messages` gives pairs, a list
# of modes puts the mode in front, `subgraphs=True` a namespace. **Mend.**
# `version="v2"`: every part is a dict with `type`, `ns` and `data`.


# %%
async def first_pair(stream):
    async for message, about in stream:
        return message.type


async def first_of_v2(stream):
    async for part in stream:
        if part["type"] == "messages":
            message, _ = part["data"]
            return message.type


MODES = ["messages", "updates"]
stream = agent.astream(ASK, stream_mode=MODES, subgraphs=True)
try:
    await first_pair(stream)
except ValueError as error:
    print("ValueError:", str(error).partition(" 2")[0], "2")  # 3.14 adds more

stream = agent.astream(ASK, stream_mode=MODES, subgraphs=True, version="v2")
await said(first_of_v2(stream))

# %% [markdown]
# ## asynchronous generator is already running
#
# **It says** `aclose(): asynchronous generator is already running` · `anext(): asynchronous generator is already running`
#
# [pydantic-ai PR 5031](https://github.com/pydantic/pydantic-ai/pull/5031) ·
# [lesson 06](06_stop_limit_retry.ipynb)
#
# **Why.** One task reads the stream, and another one closes it or reads it,
# too. A generator is for one reader at a time. **Mend.** Cancel the task that
# reads, and let that one close its stream.

# %%
model.pace(ttft=0.5)
stream = agent.astream(ASK, stream_mode="messages", version="v2")
reader = asyncio.create_task(anext(stream))
await asyncio.sleep(0.1)
await said(stream.aclose())
await said(anext(stream))
reader.cancel()
await asyncio.wait([reader])
await stream.aclose()
print("works: cancelled", reader.cancelled())
model.pace(ttft=0)

# %% [markdown]
# ## Attempted to exit cancel scope in a different task
#
# **It says** `Attempted to exit cancel scope in a different task than it was entered in`
#
# [fastmcp#622](https://github.com/PrefectHQ/fastmcp/issues/622),
# [vllm#25697](https://github.com/vllm-project/vllm/issues/25697) ·
# [lesson 08](08_when_the_reader_leaves.ipynb)
#
# **Why.** A generator holds an AnyIO scope (a task group, a timeout, an MCP
# session) at its `yield`, and another task closes it: the garbage collector,
# or a server whose reader left. **Mend.** Enter and leave such a block in one
# task; let a queue carry what it yields.


# %%
async def with_a_scope():
    with anyio.CancelScope():
        yield "first"


async def read_one(stream):
    return await anext(stream)


stream = with_a_scope()
await asyncio.create_task(read_one(stream))
await said(stream.aclose())

async with aclosing(with_a_scope()) as stream:
    await said(anext(stream))

# %% [markdown]
# ## was created in a different Context
#
# **It says** `was created in a different Context`
#
# With tracing: `Failed to detach context`.
#
# [langfuse#13590](https://github.com/langfuse/langfuse/issues/13590), open,
# [openlit#1369](https://github.com/openlit/openlit/issues/1369) ·
# [lesson 08](08_when_the_reader_leaves.ipynb)
#
# **Why.** A generator set a context variable, for a trace, and waits at its
# `yield`. Another task closes it, which has another context. Usually only the
# log is full. **Mend.** Read and close a stream in one task, with `aclosing`.

# %%
span = ContextVar("span", default="none")


async def traced():
    token = span.set("answer")
    try:
        yield "first"
    finally:
        span.reset(token)


async def close(stream):
    await stream.aclose()


stream = traced()
await anext(stream)
try:
    await asyncio.create_task(close(stream))
except ValueError as error:
    print("ValueError:", str(error).partition("> ")[2].partition("> ")[2])
async with aclosing(traced()) as stream:
    print("works:", await anext(stream))

# %% [markdown]
# ## attached to a different loop
#
# **It says** `is bound to a different event loop`
#
# Of a future: `got Future <Future pending> attached to a different loop`. Of
# a connection: `Event loop is closed`.
#
# [langgraph#4214](https://github.com/langchain-ai/langgraph/issues/4214) ·
# [lesson 02](02_event_loop.ipynb)
#
# **Why.** A lock, a queue, a client or a saver belongs to the loop that used
# it first. A second `asyncio.run` is another loop: in a Celery task, a
# Streamlit rerun, a pytest test, Django's `async_to_sync`. **Mend.** Make it
# inside of the loop that uses it; where each job has a loop of its own, each
# makes its own model with its own `http_async_client`.


# %%
async def use(lock):
    async with lock:
        await asyncio.sleep(0.05)


async def two_users(lock):
    await asyncio.gather(use(lock), use(lock))
    return "both had it"


shared = asyncio.Lock()
await said(two_users(shared))


async def in_a_loop_of_its_own(lock):
    return await asyncio.to_thread(asyncio.run, two_users(lock))


await said(in_a_loop_of_its_own(shared))
await said(in_a_loop_of_its_own(asyncio.Lock()))

# %% [markdown]
# ## One client for each loop
#
# The mend for Celery, Streamlit, pytest and Django, as a function. The model
# lives as long as the job.


# %%
async def one_job(question):
    async with openai.DefaultAsyncHttpxClient() as client:
        own = ChatOpenAI(model=model.name, http_async_client=client)
        answer = await own.ainvoke(question)
        return answer.text


for job in (1, 2, 3):
    text = await asyncio.to_thread(asyncio.run, one_job("Hello"))
    print("job", job, "works:", bool(text))

# %% [markdown]
# ## no running event loop
#
# **It says** `no running event loop` · `There is no current event loop in thread`
#
# [lesson 02](02_event_loop.ipynb)
#
# **Why.** `create_task`, `get_running_loop` or an async client was called in
# a thread: in a `def` endpoint, a `def` node, a widget's callback. **Mend.**
# Make that function `async def`, or send the work to the loop with
# `asyncio.run_coroutine_threadsafe`.


# %%
def in_a_thread():
    asyncio.get_running_loop()


def get_one():
    threading.current_thread().name = "worker"  # to be named so below
    asyncio.get_event_loop()


await said(asyncio.to_thread(in_a_thread))
await said(asyncio.to_thread(get_one))

# %% [markdown]
# ## This event loop is already running
#
# **It says** `This event loop is already running`
#
# [pydantic-ai#3014](https://github.com/pydantic/pydantic-ai/issues/3014),
# [comfy_api_simplified#2](https://github.com/deimos-deimos/comfy_api_simplified/issues/2) ·
# [lesson 02](02_event_loop.ipynb)
#
# **Why.** `run_until_complete`, or a `run_sync` of some library, wants to run
# a loop in a thread where one runs: in a notebook, in an `async def`
# endpoint. **Mend.** `await` the async form. A library that has none goes
# into a thread, where it makes a loop of its own.


# %%
def run_sync():
    with asyncio.Runner() as runner:
        return runner.run(greet({}))


async def calls_run_until_complete():
    loop = asyncio.get_running_loop()
    work = greet({})
    try:
        return loop.run_until_complete(work)
    finally:
        work.close()


await said(calls_run_until_complete())
await said(greet({}))
await said(asyncio.to_thread(run_sync))

# %% [markdown]
# ## Cannot schedule new futures after shutdown
#
# **It says** `cannot schedule new futures after shutdown`
#
# At the end of a script: `cannot schedule new futures after interpreter
# shutdown`.
#
# [OpenHands#7958](https://github.com/OpenHands/OpenHands/issues/7958) ·
# [lesson 01](01_sync_vs_async.ipynb)
#
# **Why.** A pool of threads has ended, and a call still wants one: the
# `with` around it is over, or the main thread left before its tasks. **Mend.**
# Await all work inside of the `with`, and before `main` returns.

# %%
from concurrent.futures import ThreadPoolExecutor


async def use_the_pool(pool):
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, len, "soup")


with ThreadPoolExecutor(1) as pool:
    await said(use_the_pool(pool))
await said(use_the_pool(pool))

# %% [markdown]
# ## async_generator can't be used in 'await' expression
#
# **It says** `object async_generator can't be used in 'await' expression`
# · `'async for' requires an object with __aiter__ method, got generator`
#
# [gpt4free#2552](https://github.com/xtekky/gpt4free/issues/2552),
# [llama_index#6835](https://github.com/run-llama/llama_index/issues/6835) ·
# [lesson 02](02_event_loop.ipynb)
#
# **Why.** `astream` gives a stream, which you loop over; `ainvoke` gives a
# coroutine, which you await; `stream` gives a sync generator. Each wants its
# own word. **Mend.** `async for part in graph.astream(...)`, without `await`.
# Since Python 3.14 the words are `'async_generator' object can't be awaited`.


# %%
WORDINGS = (
    "object async_generator can't be used in 'await' expression",
    "'async_generator' object can't be awaited",  # since Python 3.14
)
try:
    await graph_of(greet).astream(ASK)
except TypeError as error:
    print("TypeError:", " / ".join(WORDINGS))
    print("one of them here:", str(error) in WORDINGS)


async def loops_over_stream():
    async for part in graph_of(greet).stream(ASK):
        return part


async def loops_over_astream():
    parts = []
    async for part in graph_of(greet).astream(ASK):
        parts.append(part)
    return parts


await said(loops_over_stream())
await said(loops_over_astream())

# %% [markdown]
# ## No synchronous function provided
#
# **It says** `No synchronous function provided to "reply"`
#
# [langgraph#2928](https://github.com/langchain-ai/langgraph/issues/2928) ·
# [lesson 04](04_progress_and_events.ipynb)
#
# **Why.** The node is an `async def`, and the graph was called with `invoke`
# or `stream`: by you, or by a `def` node around it. **Mend.** `ainvoke` and
# `astream`, all the way up.


# %%
async def calls_invoke(graph):
    return graph.invoke(ASK)


await said(calls_invoke(graph_of(greet)))
await said(graph_of(greet).ainvoke(ASK))

# %% [markdown]
# ## unhandled errors in a TaskGroup
#
# **It says** `unhandled errors in a TaskGroup (1 sub-exception)`
#
# [playwright-mcp#1187](https://github.com/microsoft/playwright-mcp/issues/1187),
# [autogen PR 5900](https://github.com/microsoft/autogen/pull/5900) ·
# [lesson 11](11_parallel_graphs.ipynb)
#
# **Why.** The message is that of the group. The error that you look for is
# inside, in groups within groups: MCP clients, AnyIO and `asyncio.TaskGroup`
# wrap it. **Mend.** `except*` names its kind; `exceptions` holds it.


# %%
async def no_such_table():
    raise LookupError("no table 7")


async def in_a_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(no_such_table())


await said(in_a_group())
try:
    await in_a_group()
except* LookupError as group:
    for error in group.exceptions:
        print("inside:", error)

# %% [markdown]
# ## cannot reuse already awaited coroutine
#
# **It says** `cannot reuse already awaited coroutine`
#
# [gcloud-aio PR 32](https://github.com/talkiq/gcloud-aio/pull/32),
# [trulens#859](https://github.com/truera/trulens/issues/859) ·
# [lesson 12](12_retries_and_limits.ipynb)
#
# **Why.** A coroutine runs once. A retry loop around `await work` awaits the
# same one again. **Mend.** Pass the function, and call it for each try.


# %%
work = greet({})
await work
await said(work)

# %% [markdown]
# ## Task exception was never retrieved
#
# **It says** `Task exception was never retrieved`
#
# Of a task that had not ended: `Task was destroyed but it is pending!`
#
# [lesson 02](02_event_loop.ipynb)
#
# **Why.** A task failed and nobody asked; or nobody kept it, and the garbage
# collector took it. asyncio says so late, in the log. **Mend.** Keep tasks in
# a set, with a callback that reports; or a `TaskGroup`.

# %%
import gc


async def burns():
    raise ValueError("the cake is burnt")


loop = asyncio.get_running_loop()
loop.set_exception_handler(lambda _, context: print(context["message"]))
task = asyncio.create_task(burns())
await asyncio.sleep(0)
await asyncio.sleep(0)
del task
gc.collect()
loop.set_exception_handler(None)


# %%
def report(task):
    tasks.discard(task)
    if not task.cancelled() and task.exception():
        print("reported:", task.exception())


tasks = set()
task = asyncio.create_task(burns())
tasks.add(task)
task.add_done_callback(report)
await asyncio.wait([task])
await asyncio.sleep(0)

# %% [markdown]
# ## An interrupt runs its node twice
#
# Nothing is raised.
# [langchain PR 33489](https://github.com/langchain-ai/langchain/pull/33489) ·
# [lesson 16](16_ask_a_human.ipynb)
#
# **Why.** A resumed node begins again at its first line. **Mend.** What must
# happen once comes after `interrupt`, or in a node before it.

# %%
from langgraph.types import Command, interrupt

charged = []


async def charge_and_ask(state):
    charged.append("9 euros")
    interrupt("Is that right?")
    return {"messages": [("ai", "Thank you")]}


async def ask_and_charge(state):
    interrupt("Is that right?")
    charged.append("9 euros")
    return {"messages": [("ai", "Thank you")]}


for node in (charge_and_ask, ask_and_charge):
    charged.clear()
    chat = graph_of(node, InMemorySaver())
    await chat.ainvoke(ASK, TABLE)
    await chat.ainvoke(Command(resume="yes"), TABLE)
    print(node.__name__, "charged", len(charged), "times")

# %% [markdown]
# ## The table of checkpoints grows
#
# Nothing is raised. [deer-flow#3011](https://github.com/bytedance/deer-flow/issues/3011) ·
# [lesson 15](15_shared_memory.ipynb)
#
# **Why.** Each step of each turn stores the whole state. Ten turns cost more
# than ten times one. **Mend.** Delete threads that are over; keep old
# checkpoints only if you go back to them; `durability="exit"` stores one for
# each turn.

# %%
for durability in ("async", "exit"):
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        chat = graph_of(greet, saver)
        for turn in range(10):
            await chat.ainvoke(ASK, TABLE, durability=durability)
        kept = [entry async for entry in saver.alist(TABLE)]
        await saver.adelete_thread("1")
        left = [entry async for entry in saver.alist(TABLE)]
        print(durability, len(kept), "checkpoints, deleted:", len(left))

# %% [markdown]
# ## Line breaks vanish
#
# Nothing is raised. [lesson 09](09_resume_streaming.ipynb)
#
# **Why.** In server-sent events a line break ends a field, and two end the
# event. Text with line breaks, written by hand after `data: `, is cut there.
# **Mend.** Send JSON, or let a library format the event.

# %%
text = "soup\n\ncake"
print("by hand:", f"data: {text}\n\n".split("\n\n")[0])
line = f"data: {json.dumps(text)}\n\n".split("\n\n")[0]
print("as JSON:", repr(json.loads(line.removeprefix("data: "))))

# %% [markdown]
# ## Object of type AIMessageChunk is not JSON serializable
#
# **It says** `Object of type AIMessageChunk is not JSON serializable` · `'tuple' object has no attribute 'encode'`
#
# [langchain-postgres#235](https://github.com/langchain-ai/langchain-postgres/issues/235),
# [langflow#3814](https://github.com/langflow-ai/langflow/issues/3814) ·
# [lesson 07](07_fastapi_streaming.ipynb)
#
# With `version="v2"` a part is a dict, and the second says `'dict' object`.
#
# **Why.** A stream of a graph has objects in it, and a response wants text.
# **Mend.** Send `message.text`; where the browser needs more, a dict that you
# build, or `message.model_dump(mode="json")`.


# %%
async def as_json(message):
    return json.dumps(message)


async def as_body(stream):
    response = StreamingResponse(stream)

    async def no_network(*message):
        return {"type": "http.request"}

    await response.stream_response(no_network)


async for part in agent.astream(ASK, stream_mode="messages", version="v2"):
    message, _ = part["data"]
await said(as_json(message))
await said(as_body(agent.astream(ASK, stream_mode="messages")))
await said(as_json(message.text))
await said(as_json(message.model_dump(mode="json")))

# %% [markdown]
# ## Caught handled exception, but response already started
#
# **It says** `Caught handled exception, but response already started.`
#
# uvicorn logs it under `Exception in ASGI application`.
#
# [vllm#22341](https://github.com/vllm-project/vllm/issues/22341) ·
# [lesson 09](09_resume_streaming.ipynb)
#
# **Why.** An `HTTPException` in mid-stream: the status 200 is out already,
# and cannot be changed. **Mend.** Check what can be checked before you
# return the response; later on, send an event `error`.

# %%
app = FastAPI()


@app.get("/late")
async def late():
    async def body():
        yield "first"
        raise HTTPException(404, "no such dish")

    return StreamingResponse(body())


@app.get("/early")
async def early():
    raise HTTPException(404, "no such dish")


inside = httpx2.ASGITransport(app)
async with httpx2.AsyncClient(transport=inside, base_url="http://app") as http:
    await said(http.get("/late"))
    await said(http.get("/early"))

# %% [markdown]
# ## Type is not msgpack serializable
#
# **It says** `Type is not msgpack serializable: generator`
#
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** A saver stores the state after each step, and a client, a stream or
# a lock in the state cannot be stored. **Mend.** Keep such things in the
# node's closure or in `context`, and only data in the state.


# %%
class Plate(TypedDict):
    food: object


async def serve_a_stream(state):
    return {"food": (bite for bite in "soup")}


async def serve_data(state):
    return {"food": list("soup")}


for node in (serve_a_stream, serve_data):
    graph = StateGraph(Plate)
    graph.add_node("serve", node)
    graph.add_edge(START, "serve")
    chat = graph.compile(checkpointer=InMemorySaver())
    await said(chat.ainvoke({"food": None}, TABLE))

# %% [markdown]
# ## Deserializing unregistered type
#
# **It says** `Deserializing unregistered type __main__.Order from checkpoint.`
#
# [langgraph#7695](https://github.com/langchain-ai/langgraph/issues/7695), open ·
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** The state holds a class of yours, and a saver that reads it makes
# objects of any class that it finds named there. It warns since
# langgraph-checkpoint 4.0.1. **Mend.** Name your classes.

# %%
from dataclasses import dataclass

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer


@dataclass
class Order:
    dish: str


log = BufferingHandler(99)
logging.getLogger("langgraph").addHandler(log)
for serializer in (
    JsonPlusSerializer(),
    JsonPlusSerializer(allowed_msgpack_modules=[("__main__", "Order")]),
):
    log.flush()
    stored = serializer.dumps_typed(Order("soup"))
    print(serializer.loads_typed(stored))
    for record in log.buffer:
        print(record.getMessage().partition(". ")[0] + ".")

# %% [markdown]
# ## The server does not shut down
#
# **It says** `Waiting for connections to close. (CTRL+C to force quit)`
# · `timeout graceful shutdown exceeded`
#
# [uvicorn#451](https://github.com/encode/uvicorn/issues/451) ·
# [lesson 10](10_streaming_service.ipynb)
#
# **Why.** uvicorn waits for every open response, and a stream ends when its
# reader is done. **Mend.** `--timeout-graceful-shutdown 5`, and end the
# streams yourself in the `lifespan`, with an event that says so.

# %%
import uvicorn

app = FastAPI()


@app.get("/")
async def slow():
    async def body():
        yield "first"
        await asyncio.sleep(60)

    return StreamingResponse(body())


async def stops_in_time(**options):
    config = uvicorn.Config(app, port=0, log_config=None, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    async with (
        httpx2.AsyncClient() as client,
        client.stream("GET", url) as response,
    ):
        parts = response.aiter_text()
        await anext(parts)
        server.should_exit = True
        await asyncio.to_thread(thread.join, 5)
        ended = not thread.is_alive()
    server.force_exit = True
    await asyncio.to_thread(thread.join)
    return ended


# %% [markdown]
# One server has no limit, the other one has a second. The log has the words.

# %%
log = BufferingHandler(99)
logger = logging.getLogger("uvicorn.error")
logger.addHandler(log)
logger.propagate = False
logger.setLevel("INFO")
print("ends while somebody reads:", await stops_in_time())
limited = await stops_in_time(timeout_graceful_shutdown=1)
print("with a limit of a second :", limited)
for record in log.buffer:
    if "Waiting for conn" in record.msg or "graceful" in record.msg:
        print(record.getMessage())

# %% [markdown]
# ## Address already in use
#
# **It says** `address already in use`
#
# [lesson 07](07_fastapi_streaming.ipynb)
#
# **Why.** The server of the cell that you ran before still has the port; it
# ends with its task, not with its cell. **Mend.** Port 0 takes a free one;
# and end a server before you start the next: `async with serve(app)`.

# %%
import socket


async def serve_at(port):
    server = await asyncio.start_server(print, "127.0.0.1", port)
    server.close()
    return "it has a port"


with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    try:
        await serve_at(port)
    except OSError as error:
        _, words, _ = str(error).lower().partition("address already in use")
        print("OSError:", words)
await said(serve_at(0))

# %% [markdown]
# ## A context variable is gone in the next cell
#
# Nothing is raised. [ipykernel#749](https://github.com/ipython/ipykernel/issues/749)
#
# **Why.** A cell that awaits runs in a task of its own, and a task has a copy
# of the context. **Mend.** Set and use it in one cell, or pass the value.

# %%
table = ContextVar("table", default="no table")


async def seat():
    table.set("table 4")
    return table.get()


print(await asyncio.create_task(seat()), "inside,", table.get(), "outside")

# %% [markdown]
# ## Words that need another machine
#
# These were not raised here; their cause is said in the lesson.
#
# | words | cause and mend |
# |---|---|
# | `sorry, too many clients already` | a connection for each waiter: [lesson 15](15_shared_memory.ipynb) |
# | `prepared statement "_pg3_0" already exists` | a pooler in transaction mode: `prepare_threshold=None`, [psycopg#280](https://github.com/psycopg/psycopg/issues/280) |
# | `couldn't get a connection after 30.00 sec` | a pool that is too small, or a connection held over a model call |
# | `Missing credentials. Please pass an` `api_key` | no `OPENAI_API_KEY`: [lesson 00](00_start_here.ipynb) |
# | `Psycopg cannot use the 'ProactorEventLoop'` | Windows: set `WindowsSelectorEventLoopPolicy` first |
# | `upstream prematurely closed connection` | a proxy's read timeout: [lesson 10](10_streaming_service.ipynb) |
# | all at once, behind nginx or gzip | `proxy_buffering off`, or the header `X-Accel-Buffering: no`; no compression: [lesson 10](10_streaming_service.ipynb) |
# | `relation "checkpoints" does not exist` | `await saver.setup()`, once: [lesson 15](15_shared_memory.ipynb) |
# | `Cannot call "send" once a close message has been sent.` | a WebSocket whose reader left: catch `WebSocketDisconnect`, [solara#1013](https://github.com/widgetti/solara/issues/1013) |
# | `IOPub message rate exceeded` | a print for each token: print less often, or a widget: [lesson 06](06_stop_limit_retry.ipynb) |
# | `Python 3.11 or later required to use this in an async context` | Python 3.10 loses the run's context at each task: pass `config` on, or a newer Python, [langgraph PR 7041](https://github.com/langchain-ai/langgraph/pull/7041) |
# | `'Connection' object has no attribute 'is_alive'` | an old saver with aiosqlite 0.22: mended since langgraph-checkpoint-sqlite 3.0.3, [langgraph PR 6699](https://github.com/langchain-ai/langgraph/pull/6699) |
# | `unexpected keyword argument 'proxies'` | an old openai with httpx 0.28: mended since openai 1.55.3 |
# | `Incorrect API key provided` | the key of another provider or project: [lesson 00](00_start_here.ipynb) |
# | `must be verified to stream this model` | OpenAI streams it to verified organizations only: `disable_streaming=True` |
# | `unknown async library, or not in async context` | nest-asyncio hides the running task from AnyIO: `await` instead |

# %% [markdown]
# ## Keep
#
# - Search for the words without names and numbers.
# - An error in a stream has a cause: follow `__cause__`.
# - What raises nothing has a count: `finish_reason`, calls, checkpoints.
#
# **Next:** back to the [index](index.ipynb)
