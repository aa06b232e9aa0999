# %% [markdown]
# # Break it on purpose: a museum of async faults
#
# previous: [16 · Ask a human](16_ask_a_human.ipynb) ·
# next: [18 · Look an error up by its words](18_errors_by_their_words.ipynb) ·
# lab: [17](../exercises/17_break_it_on_purpose.ipynb)
#
# A museum is for looking things up, not for reading through. Read whole, it
# takes about {minutes} minutes. With it you can
#
# - find the cause of a symptom, and prove the mend;
# - name the line that blocks an event loop;
# - have your own graph examined.
#
# Each exhibit has a symptom as its title, threads where people met it, a
# cell that shows it, and a proof of the mend. Where Python says something,
# the words stand behind **It says**: search the page for yours, then
# [room 18](18_errors_by_their_words.ipynb). Run the cells of *Setup*, then
# any exhibit, in any order. The last ones are a doctor and a check. Threads
# that were open in September 2026 are marked so.

# %% [markdown] tags=["cheat-sheet"]
# ## Where does it hurt
#
# **The loop stands still**
#
# - [Everybody waits for one](#Everybody-waits-for-one): the async twin
# - [Something blocks, but which line](#Something-blocks,-but-which-line):
#   debug mode, blockbuster
# - [Async did not make it faster](#Async-did-not-make-it-faster):
#   start all, then wait
# - [Six calls, and only four at once](#Six-calls,-and-only-four-at-once):
#   `async def` nodes
# - [All cores but one are idle](#All-cores-but-one-are-idle):
#   `to_thread`, processes
# - [It hangs at once](#It-hangs-at-once): `await`, never `.result()`
# - [It hangs as soon as two come](#It-hangs-as-soon-as-two-come):
#   `asyncio.Lock`
# - [The saver hangs without a word](#The-saver-hangs-without-a-word):
#   methods with an `a`
# - [It is done, and does not end](#It-is-done,-and-does-not-end):
#   close every saver

# %% [markdown] tags=["cheat-sheet"]
# **Tokens**
#
# - [They arrive all at once](#They-arrive-all-at-once): `ainvoke` in the node
# - [The answer comes twice](#The-answer-comes-twice): return the same message
# - [The answer begins twice](#The-answer-begins-twice): one text for each `id`
# - [No tokens at all](#No-tokens-at-all): name the node, `subgraphs=True`
# - [Nothing arrives, and nothing fails](#Nothing-arrives,-and-nothing-fails):
#   check the mode
# - [Brackets on the screen](#Brackets-on-the-screen): `.text`, not `.content`
#
# **What Python says**
#
# - [TypeError, about a coroutine](#TypeError,-about-a-coroutine):
#   `await`, `async for`
# - [asyncio.run cannot be called](#asyncio.run-cannot-be-called):
#   `await`, not nest-asyncio
# - [Event loop is closed](#Event-loop-is-closed): a client for each loop
# - [No sync invocation](#No-sync-invocation): `ainvoke`
# - [Ignored GeneratorExit](#Ignored-GeneratorExit): no `yield` in `finally`

# %% [markdown] tags=["cheat-sheet"]
# **Leaving and failing**
#
# - [You left, and the model writes on](#You-left,-and-the-model-writes-on):
#   `aclosing`
# - [Your reader left, and it writes on](#Your-reader-left,-and-it-writes-on):
#   a task of its own
# - [A broken answer looks complete](#A-broken-answer-looks-complete):
#   events `error` and `done`
# - [Stop comes late](#Stop-comes-late): `call_soon_threadsafe`
# - [An error that nobody sees](#An-error-that-nobody-sees): `TaskGroup`,
#   a callback
# - [Output lands somewhere else](#Output-lands-somewhere-else): return it
#
# **Limits and memory**
#
# - [max_concurrency does not limit](#max_concurrency-does-not-limit):
#   `abatch`, `Semaphore`
# - [Calls wait for no reason](#Calls-wait-for-no-reason):
#   `DefaultAsyncHttpxClient`
# - [Connection error, and no reason](#Connection-error,-and-no-reason):
#   fewer calls at once
# - [This saver is not async](#This-saver-is-not-async): `AsyncSqliteSaver`
# - [Two messages, and one is lost](#Two-messages,-and-one-is-lost):
#   a lock for each thread
# - [Every guest is a stranger](#Every-guest-is-a-stranger): one saver for all

# %% [markdown] tags=["cheat-sheet"]
# ## In your own words
#
# - *tokens arrive all at once, buffered, no streaming, one big chunk*:
#   [They arrive all at once](#They-arrive-all-at-once),
#   [nginx, a proxy, gzip](18_errors_by_their_words.ipynb#Words-that-need-another-machine)
# - *no tokens from a subgraph, supervisor or agent in a node, wrong stream_mode*:
#   [No tokens at all](#No-tokens-at-all),
#   [Nothing arrives, and nothing fails](#Nothing-arrives,-and-nothing-fails)
# - *stream stops after a tool call, no answer after the tool*:
#   [No tokens at all](#No-tokens-at-all),
#   [tool_calls must be followed by tool messages](18_errors_by_their_words.ipynb#tool_calls-must-be-followed-by-tool-messages),
#   [An interrupt runs its node twice](18_errors_by_their_words.ipynb#An-interrupt-runs-its-node-twice)
# - *duplicate tokens, the whole message again at the end*:
#   [The answer comes twice](#The-answer-comes-twice),
#   [The answer begins twice](#The-answer-begins-twice)
# - *empty chunks, tool output or JSON shown to the user*:
#   [Tool output and empty chunks reach the reader](18_errors_by_their_words.ipynb#Tool-output-and-empty-chunks-reach-the-reader),
#   [The words of another model in the answer](18_errors_by_their_words.ipynb#The-words-of-another-model-in-the-answer)
# - *structured output, Pydantic, response_format: nothing streams*:
#   [Structured output does not stream](18_errors_by_their_words.ipynb#Structured-output-does-not-stream)
# - *works with invoke, not with ainvoke or astream*:
#   [This saver is not async](#This-saver-is-not-async),
#   [No sync invocation](#No-sync-invocation)
# - *works in a script, not in Jupyter or Colab; nest_asyncio, uvloop*:
#   [asyncio.run cannot be called](#asyncio.run-cannot-be-called),
#   [This event loop is already running](18_errors_by_their_words.ipynb#This-event-loop-is-already-running)
# - *Streamlit, Celery, Django, Flask, Gradio, AWS Lambda, pytest: works once, then fails*:
#   [Event loop is closed](#Event-loop-is-closed),
#   [One client for each loop](18_errors_by_their_words.ipynb#One-client-for-each-loop)
# - *pytest or a script hangs at the end*:
#   [It is done, and does not end](#It-is-done,-and-does-not-end)
# - *deadlock, hangs, freezes, no error*:
#   [It hangs at once](#It-hangs-at-once),
#   [It hangs as soon as two come](#It-hangs-as-soon-as-two-come),
#   [The saver hangs without a word](#The-saver-hangs-without-a-word)
# - *memory or database grows, slower with each turn*:
#   [The table of checkpoints grows](18_errors_by_their_words.ipynb#The-table-of-checkpoints-grows),
#   [This model's maximum context length](18_errors_by_their_words.ipynb#This-model's-maximum-context-length)
# - *slow with many users, FastAPI serves one at a time, health check fails, BlockingError*:
#   [Everybody waits for one](#Everybody-waits-for-one),
#   [Something blocks, but which line](#Something-blocks,-but-which-line),
#   [Six calls, and only four at once](#Six-calls,-and-only-four-at-once),
#   [Calls wait for no reason](#Calls-wait-for-no-reason)
# - *parallel nodes, tools or gather run one after another*:
#   [Async did not make it faster](#Async-did-not-make-it-faster),
#   [All cores but one are idle](#All-cores-but-one-are-idle)
# - *the user closed the tab, client disconnect, tokens still billed*:
#   [Your reader left, and it writes on](#Your-reader-left,-and-it-writes-on),
#   [You left, and the model writes on](#You-left,-and-the-model-writes-on)
# - *stop button, Ctrl+C or cancel does nothing*:
#   [Stop comes late](#Stop-comes-late),
#   [The server does not shut down](18_errors_by_their_words.ipynb#The-server-does-not-shut-down)
# - *contextvars, user id, config, get_stream_writer or trace lost; LangSmith, Langfuse, OpenTelemetry*:
#   [Called get_config outside of a runnable context](18_errors_by_their_words.ipynb#Called-get_config-outside-of-a-runnable-context),
#   [A context variable is gone in the next cell](18_errors_by_their_words.ipynb#A-context-variable-is-gone-in-the-next-cell),
#   [was created in a different Context](18_errors_by_their_words.ipynb#was-created-in-a-different-Context)
# - *Python 3.10: config not passed*:
#   [Words that need another machine](18_errors_by_their_words.ipynb#Words-that-need-another-machine)
# - *lambda node, coroutine in the state*:
#   [Expected dict, got](18_errors_by_their_words.ipynb#Expected-dict,-got),
#   [TypeError, about a coroutine](#TypeError,-about-a-coroutine)
# - *forgets the conversation, state lost, MemorySaver or InMemorySaver in a service*:
#   [Every guest is a stranger](#Every-guest-is-a-stranger),
#   [Two messages, and one is lost](#Two-messages,-and-one-is-lost)
# - *rate limit with gather, too many requests, HTTP 429 or 503*:
#   [max_concurrency does not limit](#max_concurrency-does-not-limit),
#   [Error code: 429](18_errors_by_their_words.ipynb#Error-code:-429)
# - *background task disappears, exception swallowed*:
#   [An error that nobody sees](#An-error-that-nobody-sees),
#   [Task exception was never retrieved](18_errors_by_their_words.ipynb#Task-exception-was-never-retrieved)
# - *answer cut off, truncated, incomplete JSON; a retry or reconnect begins again*:
#   [The answer ends in mid-sentence](18_errors_by_their_words.ipynb#The-answer-ends-in-mid-sentence),
#   [The answer begins twice](#The-answer-begins-twice),
#   [A broken answer looks complete](#A-broken-answer-looks-complete)
# - *no token usage, cost is zero: Ollama, vLLM, OpenRouter*:
#   [No usage with a base URL](18_errors_by_their_words.ipynb#No-usage-with-a-base-URL)
# - *a reasoning model is silent, then the stream fails*:
#   [No streaming chunk received](18_errors_by_their_words.ipynb#No-streaming-chunk-received),
#   [Request timed out](18_errors_by_their_words.ipynb#Request-timed-out)
# - *newlines or Markdown lost in SSE*:
#   [Line breaks vanish](18_errors_by_their_words.ipynb#Line-breaks-vanish)
# - *approval, resume: the tool ran twice, the graph starts again*:
#   [An interrupt runs its node twice](18_errors_by_their_words.ipynb#An-interrupt-runs-its-node-twice),
#   [No checkpointer set](18_errors_by_their_words.ipynb#No-checkpointer-set)
# - *WebSocket closes, reload of uvicorn hangs*:
#   [Words that need another machine](18_errors_by_their_words.ipynb#Words-that-need-another-machine),
#   [The server does not shut down](18_errors_by_their_words.ipynb#The-server-does-not-shut-down)
# - *uvicorn.run in a notebook, port in use*:
#   [asyncio.run cannot be called](#asyncio.run-cannot-be-called),
#   [Address already in use](18_errors_by_their_words.ipynb#Address-already-in-use)
# - *print output missing in a notebook*:
#   [Output lands somewhere else](#Output-lands-somewhere-else)
# - *a list instead of a string, type text*:
#   [Brackets on the screen](#Brackets-on-the-screen)
# - *empty error message, nothing in the logging, CancelledError not caught*:
#   [An error without words](18_errors_by_their_words.ipynb#An-error-without-words)
# - *MCP tools fail, ExceptionGroup*:
#   [unhandled errors in a TaskGroup](18_errors_by_their_words.ipynb#unhandled-errors-in-a-TaskGroup),
#   [Attempted to exit cancel scope in a different task](18_errors_by_their_words.ipynb#Attempted-to-exit-cancel-scope-in-a-different-task),
#   [No sync invocation](#No-sync-invocation)
# - *HTTP 400 or 500 on every later message*:
#   [tool_calls must be followed by tool messages](18_errors_by_their_words.ipynb#tool_calls-must-be-followed-by-tool-messages),
#   [This model's maximum context length](18_errors_by_their_words.ipynb#This-model's-maximum-context-length)
# - *from_conn_string or lifespan fails, saver has no attribute*:
#   [Invalid checkpointer provided](18_errors_by_their_words.ipynb#Invalid-checkpointer-provided),
#   [The connection is closed](18_errors_by_their_words.ipynb#The-connection-is-closed)

# %% [markdown] tags=["cheat-sheet"]
# ## By their words
#
# **In this room**
#
# - [Something blocks, but which line](#Something-blocks,-but-which-line):
#   `Blocking call to time.sleep`
# - [The saver hangs without a word](#The-saver-hangs-without-a-word):
#   `Synchronous calls to AsyncSqliteSaver`
# - [TypeError, about a coroutine](#TypeError,-about-a-coroutine):
#   `'coroutine' object is not subscriptable`
#   `coroutine 'Pregel.ainvoke' was never awaited`
# - [asyncio.run cannot be called](#asyncio.run-cannot-be-called):
#   `asyncio.run() cannot be called from a running event loop`
#   `Can't patch loop of type`
# - [Event loop is closed](#Event-loop-is-closed):
#   `Event loop is closed`
# - [No sync invocation](#No-sync-invocation):
#   `StructuredTool does not support sync invocation.`
# - [Ignored GeneratorExit](#Ignored-GeneratorExit):
#   `async generator ignored GeneratorExit`
# - [Connection error, and no reason](#Connection-error,-and-no-reason):
#   `Connection error.`
#   `Too many open files`
# - [This saver is not async](#This-saver-is-not-async):
#   `The SqliteSaver does not support async methods`
#
# **In [room 18](18_errors_by_their_words.ipynb)**
#
# - [Checkpointer requires one or more of the following 'configurable' keys](18_errors_by_their_words.ipynb#Checkpointer-requires-one-or-more-of-the-following-'configurable'-keys):
#   `Checkpointer requires one or more of the following 'configurable' keys: thread_id`
# - [No checkpointer set](18_errors_by_their_words.ipynb#No-checkpointer-set)
# - [Invalid checkpointer provided](18_errors_by_their_words.ipynb#Invalid-checkpointer-provided):
#   `Invalid checkpointer provided. Expected an instance of`
#   `Received _AsyncGeneratorContextManager`
# - [The connection is closed](18_errors_by_their_words.ipynb#The-connection-is-closed):
#   `no active connection`
# - [Database is locked](18_errors_by_their_words.ipynb#Database-is-locked):
#   `database is locked`
# - [SQLite objects created in a thread](18_errors_by_their_words.ipynb#SQLite-objects-created-in-a-thread):
#   `SQLite objects created in a thread can only be used in that same thread.`
# - [The pool is not open yet](18_errors_by_their_words.ipynb#The-pool-is-not-open-yet):
#   `the pool 'menu' is not open yet`
#   `the pool 'menu' is already closed`
# - [tool_calls must be followed by tool messages](18_errors_by_their_words.ipynb#tool_calls-must-be-followed-by-tool-messages):
#   `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'`
# - [must be a response to a preceeding message with 'tool_calls'](18_errors_by_their_words.ipynb#must-be-a-response-to-a-preceeding-message-with-'tool_calls')
# - [Found AIMessages with tool_calls that do not have a corresponding ToolMessage](18_errors_by_their_words.ipynb#Found-AIMessages-with-tool_calls-that-do-not-have-a-corresponding-ToolMessage):
#   `Found AIMessages with tool_calls that do not have a corresponding ToolMessage.`
#   `create_react_agent has been moved to`
# - [This model's maximum context length](18_errors_by_their_words.ipynb#This-model's-maximum-context-length):
#   `This model's maximum context length is`
# - [Error code: 429](18_errors_by_their_words.ipynb#Error-code:-429)
# - [Connection error](18_errors_by_their_words.ipynb#Connection-error):
#   `Connection error.`
# - [Cannot send a request, as the client has been closed](18_errors_by_their_words.ipynb#Cannot-send-a-request,-as-the-client-has-been-closed):
#   `Cannot send a request, as the client has been closed.`
# - [Request timed out](18_errors_by_their_words.ipynb#Request-timed-out):
#   `Request timed out.`
# - [No streaming chunk received](18_errors_by_their_words.ipynb#No-streaming-chunk-received):
#   `No streaming chunk received for`
# - [The answer ends in mid-sentence](18_errors_by_their_words.ipynb#The-answer-ends-in-mid-sentence):
#   `finish_reason: length`
# - [Structured output does not stream](18_errors_by_their_words.ipynb#Structured-output-does-not-stream):
#   `Could not parse response content as the length limit was reached`
# - [The tool's name came twice](18_errors_by_their_words.ipynb#The-tool's-name-came-twice):
#   `priceprice is not a valid tool`
# - [Recursion limit reached](18_errors_by_their_words.ipynb#Recursion-limit-reached):
#   `Recursion limit of 5 reached without hitting a stop condition`
# - [Can receive only one value per step](18_errors_by_their_words.ipynb#Can-receive-only-one-value-per-step):
#   `Can receive only one value per step. Use an Annotated key to handle multiple values.`
# - [Expected dict, got](18_errors_by_their_words.ipynb#Expected-dict,-got):
#   `Expected dict, got [1]`
#   `Received no input for __start__`
# - [Called get_config outside of a runnable context](18_errors_by_their_words.ipynb#Called-get_config-outside-of-a-runnable-context)
# - [too many values to unpack (expected 2)](18_errors_by_their_words.ipynb#too-many-values-to-unpack-(expected-2)):
#   `too many values to unpack (expected 2`
# - [asynchronous generator is already running](18_errors_by_their_words.ipynb#asynchronous-generator-is-already-running):
#   `aclose(): asynchronous generator is already running`
#   `anext(): asynchronous generator is already running`
# - [Attempted to exit cancel scope in a different task](18_errors_by_their_words.ipynb#Attempted-to-exit-cancel-scope-in-a-different-task):
#   `Attempted to exit cancel scope in a different task than it was entered in`
# - [was created in a different Context](18_errors_by_their_words.ipynb#was-created-in-a-different-Context)
# - [attached to a different loop](18_errors_by_their_words.ipynb#attached-to-a-different-loop):
#   `is bound to a different event loop`
# - [no running event loop](18_errors_by_their_words.ipynb#no-running-event-loop):
#   `There is no current event loop in thread`
# - [This event loop is already running](18_errors_by_their_words.ipynb#This-event-loop-is-already-running)
# - [Cannot schedule new futures after shutdown](18_errors_by_their_words.ipynb#Cannot-schedule-new-futures-after-shutdown):
#   `cannot schedule new futures after shutdown`
# - [async_generator can't be used in 'await' expression](18_errors_by_their_words.ipynb#async_generator-can't-be-used-in-'await'-expression):
#   `object async_generator can't be used in 'await' expression`
#   `'async for' requires an object with __aiter__ method, got generator`
# - [No synchronous function provided](18_errors_by_their_words.ipynb#No-synchronous-function-provided):
#   `No synchronous function provided to "reply"`
# - [unhandled errors in a TaskGroup](18_errors_by_their_words.ipynb#unhandled-errors-in-a-TaskGroup):
#   `unhandled errors in a TaskGroup (1 sub-exception)`
# - [cannot reuse already awaited coroutine](18_errors_by_their_words.ipynb#cannot-reuse-already-awaited-coroutine)
# - [Task exception was never retrieved](18_errors_by_their_words.ipynb#Task-exception-was-never-retrieved)
# - [Object of type AIMessageChunk is not JSON serializable](18_errors_by_their_words.ipynb#Object-of-type-AIMessageChunk-is-not-JSON-serializable):
#   `'tuple' object has no attribute 'encode'`
# - [Caught handled exception, but response already started](18_errors_by_their_words.ipynb#Caught-handled-exception,-but-response-already-started):
#   `Caught handled exception, but response already started.`
# - [Type is not msgpack serializable](18_errors_by_their_words.ipynb#Type-is-not-msgpack-serializable):
#   `Type is not msgpack serializable: generator`
# - [Deserializing unregistered type](18_errors_by_their_words.ipynb#Deserializing-unregistered-type):
#   `Deserializing unregistered type __main__.Order from checkpoint.`
# - [The server does not shut down](18_errors_by_their_words.ipynb#The-server-does-not-shut-down):
#   `Waiting for connections to close. (CTRL+C to force quit)`
#   `timeout graceful shutdown exceeded`
# - [Address already in use](18_errors_by_their_words.ipynb#Address-already-in-use):
#   `address already in use`
#
# **There too, and nothing is raised**
#
# - [An error without words](18_errors_by_their_words.ipynb#An-error-without-words)
# - [The words of another model in the answer](18_errors_by_their_words.ipynb#The-words-of-another-model-in-the-answer)
# - [Tool output and empty chunks reach the reader](18_errors_by_their_words.ipynb#Tool-output-and-empty-chunks-reach-the-reader)
# - [No usage with a base URL](18_errors_by_their_words.ipynb#No-usage-with-a-base-URL)
# - [An interrupt runs its node twice](18_errors_by_their_words.ipynb#An-interrupt-runs-its-node-twice)
# - [The table of checkpoints grows](18_errors_by_their_words.ipynb#The-table-of-checkpoints-grows)
# - [Line breaks vanish](18_errors_by_their_words.ipynb#Line-breaks-vanish)
# - [A context variable is gone in the next cell](18_errors_by_their_words.ipynb#A-context-variable-is-gone-in-the-next-cell)
#
# Words of PostgreSQL, Windows and proxies are in a
# [table](18_errors_by_their_words.ipynb#Words-that-need-another-machine)
# at its end.

# %% [markdown]
# ## Setup
#
# The imports, the patients and their instruments.

# %%
import asyncio
import threading
import time
from collections import defaultdict
from contextlib import aclosing, redirect_stdout

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
import httpx2
import nest_asyncio
import openai
from fastapi import FastAPI
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from workshop.checks import check
from workshop.observe import Heartbeat
from workshop.serve import serve

# %%
llm = ChatOpenAI(model=model.name, timeout=30, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])
ASK = {"messages": [("user", "What is the price of the soup?")]}
LONG = {"messages": [("user", "Praise the soup in 400 words")]}
TABLE = {"configurable": {"thread_id": "1"}}
if model.practice:
    model.pace(ttft=0.3, per_token=0.005)


def graph_of(node, saver=None, **options):
    graph = StateGraph(MessagesState)
    graph.add_node("reply", node, **options)
    graph.add_edge(START, "reply")
    return graph.compile(checkpointer=saver)


async def ainvoke(state):
    answer = await llm.ainvoke(state["messages"])
    return {"messages": [answer]}


async def invoke(state):
    answer = llm.invoke(state["messages"])
    return {"messages": [answer]}


async def greet(state):
    await asyncio.sleep(0.1)
    return {"messages": [("ai", "Welcome!")]}


# %% [markdown]
# `tokens` streams a graph to its end. `leave` leaves a stream at its first
# token. `idle` waits until the model has nothing to do.
#
# Some exhibits hang, or break their whole process. `apart` runs such a
# function in a process of its own. After some seconds it ends it, and says
# at which line it was. It is apparatus, and folded.


# %%
async def tokens(graph):
    texts = []
    async for part in graph.astream(ASK, stream_mode="messages", version="v2"):
        message, _ = part["data"]
        if message.text:
            texts.append(message.text)
    return texts


async def leave(stream):
    async for part in stream:
        message, _ = part["data"]
        if message.text:
            break


async def idle(meter):
    while meter.read().in_flight:
        await asyncio.sleep(0.05)


# %% tags=["folded"]
import inspect
import re
import subprocess
import sys


async def apart(main, seconds=120, modules="threading"):
    code = f"import asyncio, faulthandler, {modules}\n"
    code += inspect.getsource(main)
    code += f"faulthandler.dump_traceback_later({seconds}, exit=True)\n"
    call = f"{main.__name__}()"
    is_async = inspect.iscoroutinefunction(main)
    code += f"asyncio.run({call})" if is_async else call
    command = [sys.executable, "-uc", code]
    ran = await asyncio.to_thread(
        subprocess.run,
        command,
        capture_output=True,
    )
    said = ran.stderr.decode()
    print(ran.stdout.decode(), end="")
    if "Timeout" in said:
        at = re.search(r'"<string>", line (\d+)', said)
        number = int(at[1]) if at else 0
        print("hangs at:", ["its end", *code.splitlines()][number].strip())
    elif ran.returncode:
        print(said.splitlines()[-1])


# %% [markdown]
# ## Everybody waits for one
#
# [a2a-samples#309](https://github.com/a2aproject/a2a-samples/issues/309) ·
# [fastapi#2484](https://github.com/fastapi/fastapi/issues/2484) ·
# [lesson 01](01_sync_vs_async.ipynb)
#
# *You can mix sync and async freely*, many believe. One guest streams, and
# for everybody else the server is dead. A heartbeat on the same loop shows
# it.
#
# **Why.** `stream` waits without `await`, on the only thread that the loop
# has. **Mend.** In async code, call the method with the `a`.

# %%
async with Heartbeat() as heart:
    for part in agent.stream(LONG, stream_mode="messages", version="v2"):
        pass
print("blocked:", heart.beats == 0)

# %%
async with Heartbeat() as heart:
    async for part in agent.astream(
        LONG, stream_mode="messages", version="v2"
    ):
        pass
print("blocked:", heart.beats == 0)

# %% [markdown]
# ## Something blocks, but which line
#
# **It says** `Blocking call to time.sleep`
#
# [react-agent#20](https://github.com/langchain-ai/react-agent/issues/20) ·
# [langgraph#4218](https://github.com/langchain-ai/langgraph/issues/4218)
#
# A heartbeat says that somebody blocks. **Why.** Nothing in asyncio watches a
# step while it runs, so the culprit looks like everybody else. The debug mode
# measures each step, and says which task was late.

# %%
import logging
from logging.handlers import BufferingHandler


async def chop():
    time.sleep(0.3)


log = BufferingHandler(99)
logging.getLogger("asyncio").addHandler(log)
loop = asyncio.get_running_loop()
loop.set_debug(True)
await asyncio.create_task(chop(), name="lunch")
loop.set_debug(False)
for record in log.buffer:
    task, _, where = record.getMessage().partition(",")
    if "lunch" in task:
        print(task)

# %% [markdown]
# **blockbuster** names the call, and raises at once. `langgraph dev` switches
# it on. **Mend.** The async twin, or a thread: `to_thread` passes here.

# %% tags=["raises-exception"]
from blockbuster import blockbuster_ctx

with blockbuster_ctx():
    await asyncio.to_thread(time.sleep, 0.3)
    await chop()

# %% [markdown]
# ## Async did not make it faster
#
# [llama_index#12407](https://github.com/run-llama/llama_index/issues/12407) ·
# [lesson 01](01_sync_vs_async.ipynb)
#
# *Async streaming is faster*, many believe. **Why.** One call takes as long
# as the model needs, either way. And a loop of `await` waits for each before
# it starts the next. **Mend.** Start all of them, then wait once.

# %%
model.pace(ttft=1)  # long enough that calls meet on a slow machine, too
with model.meter() as one_by_one:
    answers = [await agent.ainvoke(ASK) for _ in range(3)]
with model.meter() as together:
    await asyncio.gather(*(agent.ainvoke(ASK) for _ in range(3)))
model.pace(ttft=0.3)
print(one_by_one)
print(together)

# %% [markdown]
# ## Six calls, and only four at once
#
# [langgraph#3329](https://github.com/langchain-ai/langgraph/issues/3329) ·
# [lesson 01](01_sync_vs_async.ipynb)
#
# *You need not rewrite your graph*, many believe. **Why.** LangGraph runs a
# `def` node in the loop's pool of threads, usually `min(32, cores + 4)`. Here
# every machine gets four. **Mend.** `async def` and `await`.

# %%
from concurrent.futures import ThreadPoolExecutor

asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))


def in_thread(state):
    return {"messages": llm.invoke(state["messages"])}


model.pace(ttft=2)  # long enough that the calls of all threads meet
for node in (in_thread, ainvoke):
    graph = graph_of(node)
    meter = model.meter()
    await asyncio.gather(*(graph.ainvoke(ASK) for _ in range(6)))
    print(node.__name__, meter.read().peak_in_flight, "of 6 in flight")
model.pace(ttft=0.3)

# %% [markdown]
# ## All cores but one are idle
#
# [fastapi#1806](https://github.com/fastapi/fastapi/issues/1806) ·
# [lesson 13](13_fan_out.ipynb)
#
# *Async means multi-threaded*, many believe. Two dishes are cut together.


# %%
def cut(dish):
    threads.add(threading.current_thread().name)
    for half in (1, 2):
        log.append(f"{dish} {half}")


async def cook(dish):
    cut(dish)


log = []
threads = set()
await asyncio.gather(cook("soup"), cook("cake"))
print(log)
print(threads)

# %% [markdown]
# **Why.** The loop has one thread. Only at an `await` does another task get
# its turn, and computing has none. **Mend.** `to_thread` keeps the loop free.
# For more cores you need processes: lesson 13.

# %%
threads.clear()
await asyncio.gather(
    asyncio.to_thread(cut, "soup"),
    asyncio.to_thread(cut, "cake"),
)
print("in the loop's thread:", "MainThread" in threads)

# %% [markdown]
# ## It hangs at once
#
# [griptape-nodes-engine#4469](https://github.com/griptape-ai/griptape-nodes-engine/issues/4469)
# · [prefect#23055](https://github.com/PrefectHQ/prefect/issues/23055)
#
# No CPU, no error, no end. **Why.** `result()` holds the thread on which the
# coroutine should run. **Mend.** In async code, `await`. The function
# `run_coroutine_threadsafe` is for other threads than the loop's.


# %%
async def at_once():
    async def cook():
        await asyncio.sleep(0)
        return "soup"

    print("awaited:", await cook())
    loop = asyncio.get_running_loop()
    future = asyncio.run_coroutine_threadsafe(cook(), loop)
    print(future.result())


await apart(at_once, seconds=1)

# %% [markdown]
# ## It hangs as soon as two come
#
# [azure-sdk-for-python#11591](https://github.com/Azure/azure-sdk-for-python/pull/11591)
#
# **Why.** The first guest waits with the lock in his hand. The second one
# blocks the thread that the first needs to go on. **Mend.** A lock of
# asyncio's, with `async with`.


# %%
async def two_guests():
    async def polite(lock):
        async with lock:
            await asyncio.sleep(0.1)

    async def rude(lock):
        lock.acquire()
        await asyncio.sleep(0.1)
        lock.release()

    lock = asyncio.Lock()
    await asyncio.gather(polite(lock), polite(lock))
    print("two polite guests served")

    lock = threading.Lock()
    await asyncio.gather(rude(lock), rude(lock))
    print("two rude guests served")


await apart(two_guests, seconds=1)

# %% [markdown]
# ## The saver hangs without a word
#
# **It says** `Synchronous calls to AsyncSqliteSaver`
#
# [langgraph#7857](https://github.com/langchain-ai/langgraph/issues/7857),
# open · [lesson 14](14_async_memory.ipynb)
#
# `AsyncSqliteSaver` guards most of its sync methods, but not `put` and
# `put_writes`. **Why.** They wait for the loop that they hold. **Mend.** On
# its loop, call only its methods with an `a`.


# %%
async def in_its_loop():
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    table = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        print("aget_tuple:", await saver.aget_tuple(table))
        try:
            saver.get_tuple(table)
        except asyncio.InvalidStateError as error:
            print("get_tuple:", str(error).split(" are ")[0], "...")
        saver.put_writes(table, [], "task")


await apart(in_its_loop, 2, modules="langgraph.checkpoint.sqlite.aio")

# %% [markdown]
# ## It is done, and does not end
#
# [aiosqlite#369](https://github.com/omnilib/aiosqlite/issues/369),
# [ogx#4587](https://github.com/ogx-ai/ogx/issues/4587) ·
# [lesson 14](14_async_memory.ipynb)
#
# A script or pytest prints its last line and hangs. **Why.** A connection of
# aiosqlite has a thread, which Python waits for, since aiosqlite 0.22.
# **Mend.** Close every saver: `async with`, or a fixture that closes it.


# %%
async def left_open():
    import aiosqlite

    async with aiosqlite.connect(":memory:"):
        print("the first one is closed")
    global kept  # as an app keeps its saver
    kept = await aiosqlite.connect(":memory:")
    print("the second one is not")


await apart(left_open, 2, modules="aiosqlite")

# %% [markdown]
# ## They arrive all at once
#
# [langgraph#78](https://github.com/langchain-ai/langgraph/issues/78) ·
# [lesson 05](05_token_streaming.ipynb)
#
# The screen stays empty, then the whole answer is there. **Why.** `invoke`
# blocks the loop. The tokens come, and nobody can hand them to you. **Mend.**
# `await llm.ainvoke`. It streams if you stream the graph.
#
# *Early* means: at your first token, the model had more to send.

# %%
for node in (invoke, ainvoke):
    meter = model.meter()
    graph = graph_of(node)
    await leave(graph.astream(LONG, stream_mode="messages", version="v2"))
    print(f"{node.__name__:7} early:", meter.read().tokens_sent < 100)

# %% [markdown]
# ## The answer comes twice
#
# [langgraph#6153](https://github.com/langchain-ai/langgraph/issues/6153) ·
# [lesson 05](05_token_streaming.ipynb)
#
# Token by token, and then once more in one piece. **Why.** The node returns a
# new message. Its `id` was never streamed, so the stream adds it. **Mend.**
# Return the message that the model gave you, or filter by type.


# %%
async def copies(state):
    answer = await llm.ainvoke(state["messages"])
    return {"messages": AIMessage(answer.text)}


for node in (copies, ainvoke):
    print(f"{node.__name__:7}", "".join(await tokens(graph_of(node))))

# %% [markdown]
# ## The answer begins twice
#
# [nanobot#4038](https://github.com/HKUDS/nanobot/issues/4038) ·
# [lesson 06](06_stop_limit_retry.ipynb)
#
# **Why.** The connection broke after three tokens, and a `RetryPolicy` ran
# the node again. What was yielded stays. **Mend.** The second try has a new
# `id`: keep one text for each, and show the last.

# %%
from langgraph.types import RetryPolicy

again = graph_of(ainvoke, retry_policy=RetryPolicy(initial_interval=0.1))
model.fault("cut", after_tokens=3)
texts = {}
async for part in again.astream(ASK, stream_mode="messages", version="v2"):
    message, _ = part["data"]
    texts[message.id] = texts.get(message.id, "") + message.text
tries = list(texts.values())
print("as it came:", "".join(tries))
print("last id:   ", tries[-1])

# %% [markdown]
# ## No tokens at all
#
# [langgraph#5971](https://github.com/langchain-ai/langgraph/pull/5971) ·
# [langgraph#4718](https://github.com/langchain-ai/langgraph/issues/4718),
# open · [lesson 04](04_progress_and_events.ipynb),
# [lesson 05](05_token_streaming.ipynb)
#
# **Why, first.** A filter by the node `agent`, as older guides have it. In
# `create_agent` the node is called `model`. **Mend.** Name that one.

# %%
nodes = []
async for part in agent.astream(ASK, stream_mode="messages", version="v2"):
    message, about = part["data"]
    if message.text:
        nodes.append(about["langgraph_node"])
print(nodes.count("agent"), "by the node agent")
print(nodes.count("model"), "by the node model")

# %% [markdown]
# **Why, second.** The agent is a node of another graph, so its tokens stay
# inside. **Mend.** `subgraphs=True`. The `ns` of a part says where it was.

# %%
team = graph_of(agent)
print(len(await tokens(team)), "piece, the whole message")
pieces = 0
async for part in team.astream(
    ASK, stream_mode="messages", subgraphs=True, version="v2"
):
    message, _ = part["data"]
    if message.text:
        pieces += 1
print(pieces, "pieces")

# %% [markdown]
# ## Nothing arrives, and nothing fails
#
# [langgraph#7986](https://github.com/langchain-ai/langgraph/issues/7986),
# about the server · [lesson 03](03_astream_modes.ipynb)
#
# **Why.** LangGraph takes any word as a mode, and runs. Only its server
# checks. **Mend.** Check it yourself where the mode is not a constant.

# %%
from langgraph.types import StreamMode

stream = agent.astream(ASK, stream_mode="message", version="v2")
with model.meter() as meter:
    parts = [part async for part in stream]
print(len(parts), "parts,", meter.requests, "request paid")
print("is a mode:", "message" in StreamMode.__args__)

# %% [markdown]
# ## Brackets on the screen
#
# [datarobot-genai#343](https://github.com/datarobot-oss/datarobot-genai/pull/343)
# · [lesson 05](05_token_streaming.ipynb)
#
# **Why.** The content of some models is a list of blocks. **Mend.** `text` is
# always a string.

# %%
blocks = llm.model_copy(update={"output_version": "v1"})
answer = await blocks.ainvoke("What is LangGraph?")
print(answer.content)
print(answer.text)

# %% [markdown]
# ## TypeError, about a coroutine
#
# **It says** `'coroutine' object is not subscriptable` · `coroutine 'Pregel.ainvoke' was never awaited`
#
# With `for` instead of `async for`: `'async_generator' object is not
# iterable`. Where nobody looks at the result there is only a warning, later
# on and often under another cell.
#
# [python-tgpt#60](https://github.com/Simatwa/python-tgpt/issues/60) ·
# [azure-sdk-for-python#45308](https://github.com/Azure/azure-sdk-for-python/issues/45308)
# · [lesson 02](02_event_loop.ipynb)
#
# The call never ran, and nobody was asked.

# %% tags=["raises-exception"]
call = agent.ainvoke(ASK)
stream = agent.astream(ASK)
print(type(call).__name__, "and", type(stream).__name__)
call["messages"]

# %%
import warnings

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    agent.ainvoke(ASK)
print(caught[0].message)

# %% [markdown]
# **Why.** A forgotten word. **Mend.** `await` where Python says `coroutine`,
# `async for` where it says `async_generator`.

# %%
state = await call
print(state["messages"][-1].text)
parts = [part async for part in stream]
print(len(parts), "part")

# %% [markdown]
# ## asyncio.run cannot be called
#
# **It says** `asyncio.run() cannot be called from a running event loop` · `Can't patch loop of type`
#
# In a server, `nest_asyncio` meets uvloop, and gives up with the second.
#
# [crawl4ai#563](https://github.com/unclecode/crawl4ai/issues/563) ·
# [nest_asyncio#44](https://github.com/erdewit/nest_asyncio/issues/44) ·
# [lesson 02](02_event_loop.ipynb)
#
# A notebook has a running loop. `nest_asyncio` silences the error, for a
# price. **Why.** Nested runs end like nested calls, the inner one first. The
# fast dish is ready, but it waits for the slow one. **Mend.** `await`.


# %%
async def nested():
    async def awaits(dish, seconds):
        await asyncio.sleep(seconds)
        print("await:", dish)

    async def nests(dish, seconds):
        asyncio.run(asyncio.sleep(seconds))
        print("nest_asyncio:", dish)

    try:
        asyncio.run(nested())
    except RuntimeError as error:
        print(error)

    try:
        nest_asyncio.apply(object())  # stands for a uvloop.Loop
    except ValueError as error:
        print(error)
    nest_asyncio.apply()
    for run in (awaits, nests):
        await asyncio.gather(run("fast", 0.1), run("slow", 0.4))


await apart(nested, modules="nest_asyncio")

# %% [markdown]
# ## Event loop is closed
#
# **It says** `Event loop is closed`
#
# [langchain#35783](https://github.com/langchain-ai/langchain/issues/35783),
# open · [lesson 02](02_event_loop.ipynb)
#
# **Why.** All `ChatOpenAI` share one pool, and its connections belong to the
# loop that ended. Every second run meets them, and throws them away. **Mend.**
# In a script, one `asyncio.run` around everything. Celery, Streamlit, pytest
# and Django give each job a loop of its own: there each job makes its model,
# with a client of its own, and closes it.


# %%
def four_runs():
    from langchain_openai import ChatOpenAI

    async def ask(times):
        for _ in range(times):
            await ChatOpenAI().ainvoke("Hello")
        return times

    for times in (2, 1, 1, 1):
        try:
            print(asyncio.run(ask(times)), "answers")
        except RuntimeError as error:
            print(error)


await apart(four_runs)


# %%
def four_jobs():
    from langchain_openai import ChatOpenAI

    async def job():
        async with openai.DefaultAsyncHttpxClient() as client:
            own = ChatOpenAI(http_async_client=client)
            await own.ainvoke("Hello")

    for number in range(4):
        asyncio.run(job())
        print("job", number, "is done")


await apart(four_jobs, modules="openai")

# %% [markdown]
# ## No sync invocation
#
# **It says** `StructuredTool does not support sync invocation.`
#
# [langchain-mcp-adapters#29](https://github.com/langchain-ai/langchain-mcp-adapters/issues/29),
# open
#
# **Why.** The tool is an `async def`, as every MCP tool is, and `invoke` has
# no loop for it. You notice when the model has been paid. **Mend.** `ainvoke`,
# all the way up.


# %%
async def price(dish: str) -> int:
    """Look up the price of a dish."""
    return 9


waiter = create_agent(llm, [price])
meter = model.meter()
try:
    waiter.invoke(ASK)
except NotImplementedError as error:
    print(error)
print(meter.read().requests, "request paid")

state = await waiter.ainvoke(ASK)
print(state["messages"][-1].text)

# %% [markdown]
# ## Ignored GeneratorExit
#
# **It says** `async generator ignored GeneratorExit`
#
# [OrcaRouter-Lite#49](https://github.com/Continuum-AI-Corp/OrcaRouter-Lite/issues/49)
# · [omnigent#1117](https://github.com/omnigent-ai/omnigent/issues/1117)
#
# The server says goodbye in a `finally`. It works until somebody leaves.


# %% tags=["raises-exception"]
async def farewell():
    try:
        yield "soup"
    finally:
        yield "goodbye"


async with aclosing(farewell()) as stream:
    await anext(stream)

# %% [markdown]
# **Why.** To close a generator is to raise `GeneratorExit` in it. It may clean
# up then, but not yield: nobody reads it. **Mend.** Say goodbye after the
# loop. `finally` only cleans up.


# %%
async def polite():
    yield "soup"
    yield "goodbye"


async with aclosing(polite()) as stream:
    print(await anext(stream))

# %% [markdown]
# ## You left, and the model writes on
#
# [findajob#743](https://github.com/brockamer/findajob/issues/743) ·
# [lesson 06](06_stop_limit_retry.ipynb)
#
# **Why.** `break` does not close a generator. It is closed when nobody holds
# it, and a variable does. **Mend.** `aclosing`. The model counts whom it
# could cut off.

# %%
meter = model.meter()
kept = agent.astream(LONG, stream_mode="messages", version="v2")
await leave(kept)
await idle(meter)
print(meter.cut_off, "cut off")

# %%
meter = model.meter()
stream = agent.astream(LONG, stream_mode="messages", version="v2")
async with aclosing(stream):
    await leave(stream)
await idle(meter)
print(meter.cut_off, "cut off")

# %% [markdown]
# ## Your reader left, and it writes on
#
# [langgraph#8302](https://github.com/langchain-ai/langgraph/issues/8302),
# open · [fastapi#1342](https://github.com/fastapi/fastapi/issues/1342) ·
# [lesson 08](08_when_the_reader_leaves.ipynb)
#
# **Why.** A web server cancels through AnyIO, again and again, and so kills
# LangGraph's own clean-up. **Mend.** Run the graph in a task of its own, and
# cancel that once.


# %%
async def direct():
    async for part in agent.astream(
        LONG, stream_mode="messages", version="v2"
    ):
        message, _ = part["data"]
        yield message.text


END = object()


async def in_own_task():
    queue = asyncio.Queue()

    async def pump():
        try:
            async for text in direct():
                queue.put_nowait(text)
        finally:
            queue.put_nowait(END)

    run = asyncio.create_task(pump())
    try:
        while True:
            text = await queue.get()
            if text is END:
                break
            yield text
        await run  # raises what ended the stream
    finally:
        run.cancel()


# %%
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/direct")
async def direct_answer():
    return StreamingResponse(direct())


@app.get("/in_own_task")
async def answer_in_own_task():
    return StreamingResponse(in_own_task())


async with serve(app) as url, httpx2.AsyncClient() as browser:
    for path in ("/direct", "/in_own_task"):
        meter = model.meter()
        async with browser.stream("GET", f"{url}{path}") as reply:
            await anext(reply.aiter_raw())
        await idle(meter)
        print(path, meter.cut_off, "cut off")

# %% [markdown]
# ## A broken answer looks complete
#
# [any-llm#847](https://github.com/mozilla-ai/any-llm/pull/847) ·
# [lesson 09](09_resume_streaming.ipynb)
#
# The model's connection breaks after three tokens. The browser gets status
# 200 and a clean end.

# %%
from fastapi.sse import EventSourceResponse, ServerSentEvent


async def events():
    async for part in agent.astream(ASK, stream_mode="messages", version="v2"):
        message, _ = part["data"]
        yield ServerSentEvent(data=message.text, event="token")


async def last_event(events):
    app = FastAPI()
    app.add_api_route("/", events, response_class=EventSourceResponse)
    model.fault("cut", after_tokens=3)
    async with serve(app) as url, httpx2.AsyncClient() as browser:
        reply = await browser.get(url)
    last = reply.text.split("\n\n")[-2]
    print(reply.status_code, last.split("\n"))


await last_event(events)

# %% [markdown]
# **Why.** The status went out before the first token, and an event stream
# has no mark for its end. **Mend.** Send your own: `done`, or `error`. A
# client that gets neither knows that something broke.


# %%
async def honest_events():
    try:
        async for event in events():
            yield event
        yield ServerSentEvent(data="", event="done")
    except openai.APIError:
        yield ServerSentEvent(data="the model failed", event="error")


await last_event(honest_events)

# %% [markdown]
# ## Stop comes late
#
# [ipykernel#881](https://github.com/ipython/ipykernel/issues/881), open ·
# [lesson 06](06_stop_limit_retry.ipynb)
#
# You press Stop, and it stops when the next token comes. **Why.** The button
# calls `cancel` in another thread, or in a signal. That does not wake a loop
# that sleeps. **Mend.** `call_soon_threadsafe` does. For the ■ of a notebook,
# `connect()` has seen to it.


# %%
async def stop_button():
    loop = asyncio.get_running_loop()

    async def press(call):
        began = loop.time()
        task = asyncio.create_task(asyncio.sleep(1.2))
        threading.Timer(0.1, call, [task.cancel]).start()
        await asyncio.wait([task])
        print("late:", loop.time() - began > 1)

    await press(lambda cancel: cancel())
    await press(loop.call_soon_threadsafe)


await apart(stop_button)

# %% [markdown]
# ## An error that nobody sees
#
# [cpython#88831](https://github.com/python/cpython/issues/88831)
#
# A task in the background has failed. Nothing says so. **Why.** An error
# waits in its task until somebody awaits it. It is printed only when the
# task is thrown away, and the loop does not even keep tasks alive.


# %%
async def burn():
    raise ValueError("the soup is burnt")


forgotten = asyncio.create_task(burn())
await asyncio.sleep(0.1)
print("nobody saw:", forgotten.exception())

# %% [markdown]
# **Mend, where you can wait.** A `TaskGroup` awaits what it starts, and
# raises.

# %%
try:
    async with asyncio.TaskGroup() as group:
        group.create_task(burn())
except* ValueError as errors:
    for error in errors.exceptions:
        print("raised:", error)

# %% [markdown]
# **Mend, where you cannot.** A web request or a bot starts a task and goes
# on. Keep the task in a set, and let a callback report its end. The loop's
# exception handler is a net for what was forgotten, no more: it is called
# only when the task is thrown away.

# %%
background = set()


def ended(task):
    background.discard(task)
    if not task.cancelled() and task.exception():
        print("reported:", task.exception())


def in_background(coroutine):
    task = asyncio.create_task(coroutine)
    background.add(task)
    task.add_done_callback(ended)


in_background(burn())
while background:
    await asyncio.sleep(0.01)

# %% [markdown]
# ## Output lands somewhere else
#
# [ipywidgets#3901](https://github.com/jupyter-widgets/ipywidgets/issues/3901),
# open · [lesson 06](06_stop_limit_retry.ipynb)
#
# The first cook catches what he prints, in a `with` block. He also catches
# the bill, which somebody else prints. **Why.** All tasks share one
# `sys.stdout`, and at an `await` the others run. `with Output():` does the
# same. **Mend.** Let tasks return their text, or use `append_stdout`.
#
# What a task prints after its cell has ended may be shown nowhere. Await it.

# %%
from io import StringIO


async def catches():
    with redirect_stdout(StringIO()) as page:
        await asyncio.sleep(0.2)
    return page.getvalue()


async def returns():
    await asyncio.sleep(0.2)
    return "soup"


for cook in (catches, returns):
    task = asyncio.create_task(cook())
    await asyncio.sleep(0.1)
    print("the bill")
    text = await task
    print(cook.__name__, repr(text))

# %% [markdown]
# ## max_concurrency does not limit
#
# [langgraph#8517](https://github.com/langchain-ai/langgraph/issues/8517),
# open, about tools · [lesson 11](11_parallel_graphs.ipynb)
#
# **Why.** The limit counts inside one run, and `gather` starts six. **Mend.**
# `abatch` counts across its runs. So does your own `asyncio.Semaphore`.

# %%
three = {"max_concurrency": 3}
model.pace(ttft=1)
meter = model.meter()
await asyncio.gather(*(agent.ainvoke(ASK, three) for _ in range(6)))
print("gather:", meter.read().peak_in_flight, "of 6 in flight")
meter = model.meter()
await agent.abatch([ASK] * 6, three)
print("abatch:", meter.read().peak_in_flight, "of 6 in flight")
model.pace(ttft=0.3)

# %% [markdown]
# ## Calls wait for no reason
#
# [portkey-python-sdk#317](https://github.com/Portkey-AI/portkey-python-sdk/issues/317)
# · [lesson 11](11_parallel_graphs.ipynb)
#
# `http_async_client=httpx2.AsyncClient()` is a popular cure for *Event loop is
# closed*. **Why.** It opens 100 connections, `ChatOpenAI` by itself 1,000.
# Without a time limit nobody complains. **Mend.** OpenAI's client.
#
# The model takes its time here. Count the calls that reach it.


# %%
async def reach(client):
    crowd = ChatOpenAI(model=model.name, http_async_client=client)
    calls = [asyncio.create_task(crowd.ainvoke("Hi")) for _ in range(101)]
    meter = model.meter()
    while meter.read().in_flight < 100:
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    print(meter.read().in_flight, "of 101")
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await client.aclose()


# %%
model.pace(ttft=60)
await reach(httpx2.AsyncClient())
await reach(openai.DefaultAsyncHttpxClient())
model.pace(ttft=0.3)

# %% [markdown]
# ## Connection error, and no reason
#
# **It says** `Connection error.` · `Too many open files`
#
# [litellm#12872](https://github.com/BerriAI/litellm/issues/12872), open
#
# **Why.** Each connection is a file, and a process may open only so many:
# `ulimit -n`, on macOS 256. The message does not say it. Its cause does.
# **Mend.** A limit for calls at the same time, or a higher `ulimit`.
#
# This cell needs Linux or macOS.


# %%
async def forty_calls():
    import resource

    async def call():
        async with places:
            await client.models.retrieve("gpt-4o")

    resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
    client = openai.AsyncOpenAI(max_retries=0)
    for limit in (10, 40):
        places = asyncio.Semaphore(limit)
        calls = [asyncio.create_task(call()) for _ in range(40)]
        await asyncio.wait(calls)
        errors = [call.exception() for call in calls if call.exception()]
        print(limit, "at once:", errors[0] if errors else "no error")

    error = errors[0]
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    print("its cause:", error)


await apart(forty_calls, modules="openai")

# %% [markdown]
# ## This saver is not async
#
# **It says** `The SqliteSaver does not support async methods`
#
# [open-notebook#509](https://github.com/lfnovo/open-notebook/issues/509) ·
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** `SqliteSaver` has methods with an `a`, which only raise. **Mend.**
# `AsyncSqliteSaver`, open as long as the graph is used.

# %% tags=["raises-exception"]
from langgraph.checkpoint.sqlite import SqliteSaver

with SqliteSaver.from_conn_string(":memory:") as saver:
    await graph_of(greet, saver).ainvoke(ASK, TABLE)

# %%
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
    state = await graph_of(greet, saver).ainvoke(ASK, TABLE)
print(len(state["messages"]), "messages")

# %% [markdown]
# ## Two messages, and one is lost
#
# [langgraph-redis#79](https://github.com/redis-developer/langgraph-redis/pull/79)
# · [lesson 15](15_shared_memory.ipynb)
#
# A guest sends two messages at once, on one `thread_id`. With the answers,
# that makes four.

# %%
graph = graph_of(greet, InMemorySaver())
await asyncio.gather(*(graph.ainvoke(ASK, TABLE) for _ in range(2)))
state = await graph.aget_state(TABLE)
print("all four are there:", len(state.values["messages"]) == 4)

# %% [markdown]
# **Why.** Both runs read the same state, and both write what follows from
# it. The later one wins. **Mend.** One run at a time on a thread: a lock for
# each, so that other guests do not wait, or an answer 409.

# %%
graph = graph_of(greet, InMemorySaver())
locks = defaultdict(asyncio.Lock)


async def in_turn(thread_id):
    config = {"configurable": {"thread_id": thread_id}}
    async with locks[thread_id]:
        return await graph.ainvoke(ASK, config)


states = await asyncio.gather(in_turn("1"), in_turn("1"), in_turn("2"))
print("all four are there:", len(states[1]["messages"]) == 4)
print("the other guest has", len(states[2]["messages"]))

# %% [markdown]
# These locks are known to one process, and the dict keeps every one of them.
# [Lesson 15](15_shared_memory.ipynb) has a dict that forgets, and a lock in the
# database for several workers.

# %% [markdown]
# ## Every guest is a stranger
#
# [langgraph#2146](https://github.com/langchain-ai/langgraph/issues/2146) ·
# [lesson 14](14_async_memory.ipynb)
#
# **Why.** Each request makes its own `InMemorySaver`, so there is nothing to
# remember. **Mend.** One saver for all requests, and one that outlives the
# process.

# %%
for request in (1, 2):
    own = InMemorySaver()
    state = await graph_of(greet, own).ainvoke(ASK, TABLE)
print("a saver each:", len(state["messages"]), "of 4 messages")

shared = InMemorySaver()
for request in (1, 2):
    state = await graph_of(greet, shared).ainvoke(ASK, TABLE)
print("one for all:", len(state["messages"]), "of 4 messages")

# %% [markdown]
# ## Ask the doctor
#
# `examine` looks at a graph and at the running loop. It says what is wrong
# and what to do, a line for each finding, and what it did not look at. It
# runs nothing, and is bounded: it is safe in a live service.
#
# **Predict.** This patient has three faults, and one thing to remark. Which?
#
# <details><summary>Answer</summary>
#
# A `def` node that waits, a saver that is not async, a model without a time
# limit. The remark is about its client.
#
# </details>

# %%
from langgraph.checkpoint.sqlite import SqliteSaver

from workshop.doctor import examine

endless = ChatOpenAI(http_async_client=httpx2.AsyncClient())
endless.stream_chunk_timeout = None


def reply(state):
    answer = endless.invoke(state["messages"])
    return {"messages": [answer]}


with SqliteSaver.from_conn_string(":memory:") as saver:
    print(await examine(graph_of(reply, saver)))

# %% [markdown]
# It resolves calls in your own functions: `llm.invoke` in an `async def` is
# found before anybody runs it. What it cannot resolve shows while it runs.
# Let a run go on beside the examination.

# %%
report = await examine(graph_of(invoke))
print(report)


# %%
ways = {"slow": llm.invoke}


async def hides(state):
    ask = ways["slow"]
    answer = ask(state["messages"])
    return {"messages": [answer]}


report, _ = await asyncio.gather(
    examine(seconds=0.5),
    graph_of(hides).ainvoke(ASK),
)
print(report)

# %% [markdown]
# And this is what a healthy graph gets:

# %%
print(await examine(agent))

# %% [markdown]
# ## Check yourself
#
# Build the smallest detector. The function gets `work`, an `async` function
# without arguments, and runs it once. It returns the longest time, in
# seconds, for which the event loop stood still meanwhile.


# %%
async def longest_silence(work) -> float:
    # TODO (about 3 lines)
    ...


# %%
await check("17.0", longest_silence)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The heartbeat of the first exhibit measures it. Which of its numbers?
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# async with Heartbeat() as heart:
#     await work()
# return heart.longest
# ```
#
# </details>
#
# ## Keep
#
# - Make it happen on purpose, in one cell. Then you can prove the mend.
# - Count: calls in flight, calls cut off, messages that survive.
# - A hang has a line. A heartbeat, debug mode, blockbuster or the doctor
#   names it.
#
# **Next:** [Lab 17](../exercises/17_break_it_on_purpose.ipynb), or
# [18 · Look an error up by its words](18_errors_by_their_words.ipynb)
