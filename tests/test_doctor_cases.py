"""Sixty sick graphs and more than sixty healthy ones, as people write them.

``python -m tests.test_doctor_cases`` prints how many of each are judged
right. A sick case names the line that a finding must point to.
"""

# The sick ones block, and forget their tasks.
# ruff: noqa: ASYNC210, ASYNC212, ASYNC220, ASYNC251
# ruff: noqa: RUF006
# The tables of expressions use what no other line does.
# ruff: noqa: F401
import asyncio
import concurrent.futures
import functools
import http.client
import inspect
import json
import linecache
import os
import queue
import re
import shutil
import smtplib
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import httpx
import httpx2
import openai
import psycopg
import pytest
import requests
import tenacity
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelFallbackMiddleware,
)
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy, Send, TimeoutPolicy, interrupt

from workshop.doctor import Report, examine
from workshop.model import practice_model
from workshop.serve import serve

ASK = {"messages": [("user", "What is the price of the soup?")]}
TABLE = {"configurable": {"thread_id": "1"}}
URL = "http://127.0.0.1:9/menu"
SOLUTIONS = str(Path(__file__).parents[1] / "solutions")
MOMENT = 0.02


@dataclass(frozen=True)
class Case:
    """``words`` must stand in one finding; None: nothing may be found."""

    given: Any
    words: str | None

    @property
    def name(self) -> str:
        return getattr(self.given, "__name__", None) or self.given.name

    async def run(self) -> Report:
        found = self.given
        if (
            inspect.isfunction(found)
            and not inspect.signature(found).parameters
        ):
            found = found()
            if inspect.isawaitable(found):
                found = await found
        if isinstance(found, BaseTool):
            found = create_agent(model(), [found])
        return found if isinstance(found, Report) else await look(found)


SICK: list[Case] = []
HEALTHY: list[Case] = []


def sick(words: str) -> Callable[[Any], Any]:
    """Of a node, a tool, what returns a graph, or a run without arguments."""
    return lambda given: SICK.append(Case(given, words)) or given


def healthy(given: Any) -> Any:
    HEALTHY.append(Case(given, None))
    return given


def model(**options: Any) -> ChatOpenAI:
    settings = {"timeout": 30, "stream_chunk_timeout": None} | options
    return ChatOpenAI(model="gpt-4o", base_url=URL, api_key="none", **settings)


def graph_of(node: Any, saver: Any = None, **options: Any) -> Any:
    graph = StateGraph(MessagesState).add_node("reply", node, **options)
    return graph.add_edge(START, "reply").compile(checkpointer=saver)


async def look(graph: Any, saver: Any = None, **options: Any) -> Report:
    """Examine a graph, or make one of this node first."""
    if not hasattr(graph, "nodes"):
        graph = graph_of(graph, saver, **options)
    return await examine(graph, seconds=MOMENT)


async def beside(*runs: Any, graph: Any = None, seconds: float = 0.3) -> Any:
    """Examine while these run."""
    report, *_ = await asyncio.gather(examine(graph, seconds=seconds), *runs)
    return report


async def greet(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", "Welcome!")]}


# --- an expression each: what a node says is the whole node

LLM = ChatOpenAI(
    model="gpt-4o",
    base_url=URL,
    api_key="none",
    timeout=30,
    stream_chunk_timeout=None,
)
MODELS = {"fast": LLM}
PROMPT = ChatPromptTemplate.from_template("Say hello to {name}")
CHAIN = PROMPT | LLM | StrOutputParser()
PARSER = StrOutputParser()
ASYNC_CLIENT = httpx2.AsyncClient()
SESSION = requests.Session()
OPENAI = openai.OpenAI(api_key="none", base_url=URL)
EMBEDDINGS = OpenAIEmbeddings(api_key="none")
POOL = ThreadPoolExecutor(2)
ORDERS: queue.Queue[str] = queue.Queue()
READY = threading.Event()
LOCK = threading.Lock()


def download(url: str) -> str:
    return requests.get(url, timeout=30).text


def get_llm() -> ChatOpenAI:
    return LLM


class Shelf:
    """It is made by a class method, and makes its parts by itself."""

    def __init__(self) -> None:
        self.http = requests.Session()
        self.note = "soup"

    @classmethod
    def open(cls) -> "Shelf":
        return cls()

    @staticmethod
    def slow() -> None:
        time.sleep(1)

    @functools.cached_property
    def session(self) -> requests.Session:
        return self.http

    def get(self, key: str) -> str:
        return self.note

    def invoke(self, text: str) -> str:
        return text.upper()

    def load(self) -> str:
        return self.http.get(URL).text


@functools.cache
def the_shelf():
    return Shelf()


SHELF = Shelf()
BLOCKS = """
requests.get(URL)
SESSION.post(URL, json={})
httpx.get(URL)
json.load(urllib.request.urlopen(URL))
time.sleep(1)
subprocess.run(["ruff", "check"])
os.system("ruff check")
socket.create_connection(("127.0.0.1", 9))
smtplib.SMTP("127.0.0.1").sendmail("", [], "")
http.client.HTTPConnection("127.0.0.1").getresponse()
sqlite3.connect("orders.db").execute("select 1")
psycopg.connect("dbname=menu").execute("select 1")
LLM.invoke("Hello")
LLM.bind_tools([]).invoke("Hello")
LLM.with_structured_output({}).invoke("Hello")
MODELS["fast"].invoke("Hello")
MODELS[state["messages"][0].text].invoke("Hello")
get_llm().invoke("Hello")
CHAIN.invoke({"name": "Ada"})
(PROMPT | LLM).invoke({"name": "Ada"})
LLM.batch(["Hello"])
graph_of(greet).invoke(state)
create_agent(LLM, []).stream(state)
OPENAI.chat.completions.create(messages=[])
OPENAI.responses.create(input="Hello")
EMBEDDINGS.embed_query("soup")
POOL.submit(sum, [1]).result()
concurrent.futures.wait([POOL.submit(sum, [1])])
asyncio.run(greet(state))
asyncio.get_running_loop().run_until_complete(greet(state))
ORDERS.get()
READY.wait(30)
LOCK.acquire()
input("Is that right? ")
SHELF.session.get(URL)
open("menu.txt").read()
Path("menu.txt").read_text()
shutil.copytree("menu", "copy")
sorted(state["messages"], key=lambda m: requests.get(m))
"""
# Of what these call, the line that blocks.
BLOCKS_INSIDE = {
    "download(URL)": "requests.get(url, timeout=30)",
    "Shelf.open().load()": "self.http.get(URL)",
    "the_shelf().load()": "self.http.get(URL)",
    "Shelf.slow()": "time.sleep(1)",
    "list(map(download, [URL]))": "requests.get(url, timeout=30)",
}
WAITS_FOR_NOTHING = """
await asyncio.to_thread(requests.get, URL)
await asyncio.to_thread(download, URL)
await anyio.to_thread.run_sync(download, URL)
await asyncio.get_running_loop().run_in_executor(POOL, lambda: download(URL))
await asyncio.wrap_future(POOL.submit(download, URL))
await asyncio.to_thread(asyncio.run, greet(state))
await asyncio.sleep(1)
await ASYNC_CLIENT.get(URL)
await LLM.ainvoke("Hello")
await get_llm().ainvoke("Hello")
await CHAIN.ainvoke({"name": "Ada"})
await asyncio.Queue().get()
await asyncio.Event().wait()
await (await psycopg.AsyncConnection.connect("")).execute("select 1")
PROMPT.invoke({"name": "Ada"})
PARSER.invoke(AIMessage("soup"))
SHELF.get("soup")
SHELF.invoke("soup")
{"soup": 9}.get("soup")
re.compile("soup").match("soup")
ORDERS.get_nowait()
ORDERS.get(block=False)
ORDERS.put("soup")
LOCK.acquire(blocking=False)
READY.is_set()
threading.Thread(target=time.sleep, args=(1,)).start()
functools.partial(time.sleep, 1)
(settings.sleep, settings.run, len(batch))
[asyncio.create_task, download, time.sleep]
"use time.sleep(1) or requests.get(url)"
subprocess.list2cmdline(["ruff"])
json.dumps({"soup": 9})
"""


def node_of(expression: str) -> Any:
    """An async node that says this, from a file of its own."""
    source = "async def node(state):\n"
    source += f"    return {{'messages': [('ai', str({expression}))]}}\n"
    file = f"{expression}.py"
    lines = source.splitlines(keepends=True)
    linecache.cache[file] = (len(source), None, lines, file)
    made: dict[str, Any] = {}
    exec(compile(source, file, "exec"), globals(), made)
    made["node"].__name__ = expression
    return made["node"]


for said in BLOCKS.strip().splitlines():
    sick(said)(node_of(said))
for said, line in BLOCKS_INSIDE.items():
    sick(line)(node_of(said))
for said in WAITS_FOR_NOTHING.strip().splitlines():
    healthy(node_of(said))


# --- sick: an async function that blocks the loop


@sick("client.get(URL)")
async def an_httpx_client_in_with(state: MessagesState) -> dict[str, Any]:
    with httpx.Client(timeout=5) as client:
        reply = client.get(URL)
    return {"messages": [("ai", reply.text)]}


@sick("sleep(2)")
async def sleep_by_its_bare_name(state: MessagesState) -> dict[str, Any]:
    from time import sleep

    for _ in range(3):
        sleep(2)
    return {}


@sick("process.communicate()")
@tool
async def a_popen_in_a_tool(command: str) -> str:
    """Run a command."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    out, _ = process.communicate()
    return out.decode()


@sick('cursor.execute("select')
async def a_cursor_in_a_tool() -> Report:
    database = sqlite3.connect(":memory:", check_same_thread=False)

    @tool
    async def orders(table: int) -> str:
        """Count the orders of a table."""
        cursor = database.cursor()
        cursor.execute("select count(*) from orders where t = ?", (table,))
        return str(cursor.fetchone())

    report = await look(create_agent(model(), [orders]))
    database.close()
    return report


@sick('llm.stream(state["messages"])')
async def stream_in_a_node() -> Report:
    llm = model()

    async def reply(state: MessagesState) -> dict[str, Any]:
        text = ""
        for chunk in llm.stream(state["messages"]):
            text += chunk.text
        return {"messages": [("ai", text)]}

    return await look(reply)


@sick("time.sleep(2**attempt)")
async def a_retry_loop_sleeps() -> Report:
    llm = model()

    async def reply(state: MessagesState) -> dict[str, Any]:
        for attempt in range(3):
            try:
                return {"messages": [await llm.ainvoke(state["messages"])]}
            except openai.RateLimitError:
                time.sleep(2**attempt)
        return {}

    return await look(reply)


class Service:
    """The class of an app: its parts on `self`, its nodes are methods."""

    def __init__(self, **options: Any) -> None:
        self.llm = model(**options)
        self.http = requests.Session()
        self.lock = threading.Lock()

    async def reply(self, state: MessagesState) -> dict[str, Any]:
        return {"messages": [self.llm.invoke(state["messages"])]}

    async def fetch(self, state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", self._menu())]}

    def _menu(self) -> str:
        return self.http.get(URL).text

    async def locked(self, state: MessagesState) -> dict[str, Any]:
        with self.lock:
            answer = await self.llm.ainvoke(state["messages"])
        return {"messages": [answer]}

    async def politely(self, state: MessagesState) -> dict[str, Any]:
        return {"messages": [await self.llm.ainvoke(state["messages"])]}

    def waits(self, state: MessagesState) -> dict[str, Any]:
        return {"messages": [self.llm.invoke(state["messages"])]}


@sick('self.llm.invoke(state["messages"])')
async def a_method_blocks() -> Report:
    return await look(Service().reply)


@sick("self.http.get(URL)")
async def a_method_calls_a_method_that_blocks() -> Report:
    return await look(Service().fetch)


class Node:
    def __init__(self, url: str) -> None:
        self.url = url

    async def __call__(self, state: MessagesState) -> dict[str, Any]:
        reply = httpx.get(self.url)
        return {"messages": [("ai", reply.text)]}


@sick("httpx.get(self.url)")
async def an_object_is_the_node() -> Report:
    return await look(Node(URL))


@sick("requests.get(url)")
async def a_partial_is_the_node() -> Report:
    async def fetch(state: MessagesState, url: str) -> dict[str, Any]:
        return {"messages": [("ai", requests.get(url).text)]}

    return await look(functools.partial(fetch, url=URL))


def make_node(llm: ChatOpenAI) -> Any:
    async def node(state: MessagesState) -> dict[str, Any]:
        answer = llm.invoke(state["messages"])
        return {"messages": [answer]}

    return node


@sick('answer = llm.invoke(state["messages"])')
async def a_factory_makes_the_node() -> Report:
    return await look(make_node(model()))


@sick("llm.invoke(prompt)")
async def a_model_made_in_the_node(state: MessagesState) -> dict[str, Any]:
    llm = ChatOpenAI(model="gpt-4o", timeout=30)
    prompt = state["messages"][-1].text
    return {"messages": [llm.invoke(prompt)]}


def timed(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(state: MessagesState) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            return await function(state)
        finally:
            print(time.perf_counter() - began)

    return wrapper


@sick("requests.get(URL)")
async def a_decorated_node() -> Report:
    @timed
    async def fetch(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", requests.get(URL).text)]}

    return await look(fetch)


class Audit(AgentMiddleware):
    async def abefore_model(self, state: Any, runtime: Any) -> None:
        requests.post(URL, json={"n": len(state["messages"])})


@sick("requests.post(URL")
async def a_middleware_blocks() -> Report:
    return await look(create_agent(model(), [], middleware=[Audit()]))


@sick("with lock:")
async def a_lock_of_threads() -> Report:
    lock = threading.Lock()
    llm = model()

    async def reply(state: MessagesState) -> dict[str, Any]:
        with lock:
            answer = await llm.ainvoke(state["messages"])
        return {"messages": [answer]}

    return await look(reply)


@sick("with self.lock:")
async def a_lock_on_self() -> Report:
    return await look(Service().locked)


@sick("time.sleep(0.5)")
async def a_path_of_an_edge_blocks() -> Report:
    async def route(state: MessagesState) -> str:
        time.sleep(0.5)
        return END

    graph = StateGraph(MessagesState).add_node("reply", greet)
    graph.add_edge(START, "reply").add_conditional_edges("reply", route)
    return await look(graph.compile())


@sick("requests.get(URL)")
async def in_a_subgraph() -> Report:
    async def fetch(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", requests.get(URL).text)]}

    return await look(graph_of(graph_of(fetch)))


@sick("requests.get(url, timeout=9)")
async def an_inner_coroutine_blocks(state: MessagesState) -> dict[str, Any]:
    async def fetch(url: str) -> str:
        return requests.get(url, timeout=9).text

    pages = await asyncio.gather(*[fetch(u) for u in (URL, URL)])
    return {"messages": [("ai", "".join(pages))]}


@sick("`time.sleep(2)` in `price_now` blocks the event loop")
async def a_sync_tool_is_invoked() -> Report:
    @tool
    def price_now(dish: str) -> str:
        """Look up the price of a dish."""
        time.sleep(2)
        return "9"

    async def reply(state: MessagesState) -> dict[str, Any]:
        answer = price_now.invoke({"dish": "soup"})
        return {"messages": [("ai", answer)]}

    return await look(reply)


class Static:
    @staticmethod
    async def reply(state: MessagesState) -> dict[str, Any]:
        time.sleep(0.7)
        return {}


@sick("time.sleep(0.7)")
async def a_static_method() -> Report:
    return await look(Static.reply)


# --- sick: a worker thread is held


@sick("self.llm.invoke(")
async def a_def_method() -> Report:
    return await look(Service().waits)


@sick("httpx.get(URL)")
def httpx_in_a_def_node(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", httpx.get(URL).text)]}


@sick("subprocess.check_output(")
async def a_subprocess_in_a_def_tool() -> Report:
    def lint(path: str) -> str:
        """Lint a file."""
        return subprocess.check_output(["ruff", path], text=True)

    return await look(create_agent(model(), [lint]))


@sick("time.sleep(3)")
async def a_structured_tool() -> Report:
    def price_of(dish: str) -> str:
        time.sleep(3)
        return "9"

    slow = StructuredTool.from_function(price_of, description="The price.")
    return await look(create_agent(model(), [slow]))


# --- sick: memory


@sick("SqliteSaver has no async methods")
async def a_sync_saver() -> Report:
    with SqliteSaver.from_conn_string(":memory:") as saver:
        return await look(greet, saver)


@sick("the connection of AsyncSqliteSaver is closed")
async def a_saver_closed_too_soon() -> Report:
    async def build() -> Any:
        async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
            return graph_of(greet, saver)

    return await look(await build())


@sick("AsyncSqliteSaver was opened in another event loop")
async def a_saver_of_another_loop() -> Report:
    async def build() -> Any:
        async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
            return graph_of(greet, saver)

    return await look(await asyncio.to_thread(asyncio.run, build()))


@sick("'1' ends in a tool call")
async def a_tool_call_without_its_result() -> Report:
    agent = create_agent(model(), [price], checkpointer=InMemorySaver())
    call = {"name": "price", "args": {"dish": "soup"}, "id": "1"}
    asked = [("user", "Hi"), AIMessage("", tool_calls=[call])]
    await agent.aupdate_state(TABLE, {"messages": asked})
    return await look(agent)


@sick("'1' ends in a tool call")
async def a_tool_call_that_failed_in_sqlite() -> Report:
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        agent = create_agent(model(), [price], checkpointer=saver)
        calls = [{"name": "price", "args": {"dish": d}, "id": d} for d in "ab"]
        asked = [AIMessage("", tool_calls=calls)]
        asked += [ToolMessage("9", tool_call_id="a"), ("user", "Hello?")]
        await agent.aupdate_state(TABLE, {"messages": asked})
        return await look(agent)


# --- sick: the model


@tool
async def price(dish: str) -> str:
    """Look up the price of a dish."""
    return "9 euros"


@sick("gpt-4o has no time limit")
async def no_time_limit() -> Report:
    return await look(create_agent(model(timeout=None), [price]))


@sick("gpt-4o has no time limit")
async def no_time_limit_on_self() -> Report:
    return await look(Service(timeout=None).politely)


@sick("gpt-4o has no time limit")
async def no_time_limit_in_one_of_two() -> Report:
    llm = model().with_fallbacks([model(timeout=None)])

    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return await look(reply)


@sick("a model in tool `summarize` speaks")
async def a_model_in_a_tool_speaks() -> Report:
    helper = model()

    @tool
    async def summarize(text: str) -> str:
        """Summarize a text."""
        answer = await helper.ainvoke(text)
        return answer.text

    return await look(create_agent(model(), [summarize]))


class Guard(AgentMiddleware):
    def __init__(self, judge: ChatOpenAI) -> None:
        super().__init__()
        self.judge = judge

    async def abefore_model(self, state: Any, runtime: Any) -> None:
        await self.judge.ainvoke("Is this polite?")


@sick("self.judge.ainvoke(")
async def a_model_in_a_middleware_speaks() -> Report:
    guard = Guard(model())
    return await look(create_agent(model(), [], middleware=[guard]))


@sick("keeps a connection of an event loop that has ended")
async def a_model_of_a_loop_that_ended() -> Report:
    real = practice_model()
    llm = ChatOpenAI(
        model=real.name,
        base_url=real.base_url,
        api_key=real.key,
        timeout=30,
        http_async_client=openai.DefaultAsyncHttpxClient(),
    )
    graph = create_agent(llm, [])
    await asyncio.to_thread(asyncio.run, graph.ainvoke(ASK))
    return await look(graph)


# --- sick: tasks


@sick("`await asyncio.sleep(3600)` in `save`")
async def fire_and_forget() -> Report:
    async def save() -> None:
        await asyncio.sleep(3600)

    asyncio.create_task(save(), name="cleanup")
    report = await look(greet)
    for made in asyncio.all_tasks():
        if made.get_name() == "cleanup":
            made.cancel()
    return report


@sick("failed with KeyError")
async def a_failed_task() -> Report:
    async def save(order: dict[str, str]) -> None:
        print(order["table"])

    task = asyncio.create_task(save({}))
    await asyncio.sleep(0)
    report = await look(greet)
    task.exception()
    return report


@sick("failed with ValueError")
async def one_failed_of_many() -> Report:
    async def save(number: int) -> int:
        return 1 // number if number else int("none")

    tasks = [asyncio.create_task(save(number)) for number in (2, 1, 0)]
    await asyncio.wait(tasks)
    report = await look(greet)
    tasks[-1].exception()
    return report


# --- sick: seen only while it runs


@sick("in `json_of`")
async def blocks_of_150_ms() -> Report:
    def json_of(size: int) -> None:
        end = time.thread_time() + 0.15
        while time.thread_time() < end:
            sum(range(size))

    async def parse(state: MessagesState) -> dict[str, Any]:
        for _ in range(8):
            json_of(300)
            await asyncio.sleep(0)
        return {}

    return await beside(graph_of(parse).ainvoke(ASK), seconds=1)


@sick("while time.thread_time() < end")
async def a_busy_loop() -> Report:
    async def compute(state: MessagesState) -> dict[str, Any]:
        end = time.thread_time() + 0.4
        while time.thread_time() < end:
            pass
        return {}

    return await beside(graph_of(compute).ainvoke(ASK))


@sick("handle.sleep(0.4)")
async def a_call_that_nobody_can_resolve() -> Report:
    box = {"handle": time}

    async def hidden(state: MessagesState) -> dict[str, Any]:
        handle = box["handle"]
        handle.sleep(0.4)
        return {}

    return await beside(graph_of(hidden).ainvoke(ASK))


# --- healthy: what only looks as if it blocked


@dataclass
class Config:
    sleep: float = 0.1
    batch: int = 8
    run: str = "nightly"
    reload: bool = False


class Upload:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def stream(self) -> list[bytes]:
        return self.parts

    def invoke(self, value: str) -> str:
        return value.upper()

    def get(self, key: str) -> str:
        return key


batch = [1, 2, 3]
settings = Config()


@healthy
async def a_method_called_stream() -> Report:
    upload = Upload()

    def store(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", str(upload.stream()))]}

    return await look(store)


async def reload() -> None:
    time.sleep(1)


@healthy
async def an_attribute_named_as_another_function(
    state: MessagesState,
) -> dict[str, Any]:
    return {"messages": [("ai", f"{settings.reload}")]}


@healthy
async def an_inner_function_in_a_thread(
    state: MessagesState,
) -> dict[str, Any]:
    def work() -> str:
        time.sleep(1)
        return requests.get(URL).text

    return {"messages": [("ai", await asyncio.to_thread(work))]}


@healthy
async def httpx_async_stream() -> Report:
    client = httpx2.AsyncClient()

    async def fetch(state: MessagesState) -> dict[str, Any]:
        async with client.stream("GET", URL) as reply:
            parts = [part async for part in reply.aiter_text()]
        return {"messages": [("ai", "".join(parts))]}

    report = await look(fetch)
    await client.aclose()
    return report


@healthy
async def a_subprocess_of_asyncio(state: MessagesState) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec("ruff", "check")
    await process.wait()
    await process.communicate()
    return {}


@healthy
async def a_lock_of_asyncio() -> Report:
    lock = asyncio.Lock()
    llm = model()

    async def reply(state: MessagesState) -> dict[str, Any]:
        async with lock:
            return {"messages": [await llm.ainvoke(state["messages"])]}

    return await look(reply)


@healthy
async def a_lock_of_threads_held_briefly() -> Report:
    lock = threading.Lock()
    counts: dict[str, int] = {}

    async def count(state: MessagesState) -> dict[str, Any]:
        with lock:
            counts["soup"] = counts.get("soup", 0) + 1
        await asyncio.sleep(0)
        return {}

    return await look(count)


@healthy
async def aiosqlite_in_a_node() -> Report:
    import aiosqlite

    async def count(state: MessagesState) -> dict[str, Any]:
        async with aiosqlite.connect(":memory:") as connection:
            rows = await connection.execute("select 1")
            return {"messages": [("ai", str(await rows.fetchone()))]}

    return await look(count)


@healthy
async def the_async_openai_client() -> Report:
    client = openai.AsyncOpenAI(api_key="none", base_url=URL)

    async def reply(state: MessagesState) -> dict[str, Any]:
        done = await client.chat.completions.create(
            model="gpt-4o", messages=[]
        )
        return {"messages": [("ai", done.choices[0].message.content)]}

    return await look(reply)


@healthy
async def a_result_of_a_finished_task(state: MessagesState) -> dict[str, Any]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.sleep(0, "soup"))
    return {"messages": [("ai", task.result())]}


@healthy
async def a_generator_of_your_own() -> Report:
    def stream(words: list[str]) -> Any:
        yield from words

    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", "".join(stream(["a", "b"])))]}

    return await look(reply)


@healthy
def a_def_node_that_computes(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", str(sum(range(100))))]}


@healthy
async def a_router_without_waiting() -> Report:
    def route(state: MessagesState) -> str:
        return END if len(state["messages"]) > 3 else "reply"

    graph = StateGraph(MessagesState).add_node("reply", greet)
    graph.add_edge(START, "reply").add_conditional_edges("reply", route)
    return await look(graph.compile())


@healthy
async def a_fan_out() -> Report:
    def route(state: MessagesState) -> list[Send]:
        return [Send("reply", state) for _ in range(3)]

    graph = StateGraph(MessagesState).add_node("reply", greet)
    graph.add_conditional_edges(START, route, ["reply"])
    return await look(graph.compile())


@healthy
async def a_def_with_an_async_twin() -> Report:
    llm = model()

    def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [llm.invoke(state["messages"])]}

    async def areply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return await look(RunnableLambda(reply, areply))


@healthy
async def a_tool_with_an_async_twin() -> Report:
    def price_of(dish: str) -> str:
        time.sleep(3)
        return "9"

    async def aprice_of(dish: str) -> str:
        await asyncio.sleep(3)
        return "9"

    both = StructuredTool.from_function(
        price_of, coroutine=aprice_of, description="The price."
    )
    return await look(create_agent(model(), [both]))


@healthy
async def a_method_that_awaits() -> Report:
    return await look(Service().politely)


@healthy
async def a_factory_that_awaits(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await get_llm().ainvoke(state["messages"])]}


# --- healthy: memory


@healthy
async def an_open_saver() -> Report:
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        graph = graph_of(greet, saver)
        await graph.ainvoke(ASK, TABLE)
        return await look(graph)


@healthy
async def a_saver_in_memory() -> Report:
    graph = graph_of(greet, InMemorySaver())
    await graph.ainvoke(ASK, TABLE)
    return await look(graph)


@healthy
async def a_tool_call_with_its_result() -> Report:
    agent = create_agent(model(), [price], checkpointer=InMemorySaver())
    call = {"name": "price", "args": {"dish": "soup"}, "id": "1"}
    done = [AIMessage("", tool_calls=[call])]
    done += [ToolMessage("9", tool_call_id="1"), ("ai", "It is 9.")]
    await agent.aupdate_state(TABLE, {"messages": done})
    return await look(agent)


@healthy
async def a_tool_that_asks_a_human() -> Report:
    real = practice_model()

    @tool
    async def price(dish: str) -> str:
        """Look up the price of a dish."""
        return interrupt("May I?")

    llm = ChatOpenAI(
        model=real.name,
        base_url=real.base_url,
        api_key=real.key,
        timeout=30,
        stream_chunk_timeout=None,
        http_async_client=openai.DefaultAsyncHttpxClient(),
    )
    agent = create_agent(llm, [price], checkpointer=InMemorySaver())
    state = await agent.ainvoke(ASK, TABLE)
    assert "__interrupt__" in state
    return await look(agent)


@healthy
async def a_saver_of_a_parent() -> Report:
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        return await look(graph_of(greet), saver)


@healthy
async def a_thread_with_another_state() -> Report:
    async def count(state: dict[str, Any]) -> dict[str, Any]:
        return {}

    graph = StateGraph(dict).add_node("count", count)
    chat = graph.add_edge(START, "count").compile(InMemorySaver())
    await chat.ainvoke({"messages": 3}, TABLE)
    return await look(chat)


# --- healthy: the model is limited, one way or another


def asking(llm: ChatOpenAI) -> Any:
    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return reply


@healthy
async def limited_by_the_model() -> Report:
    return await look(create_agent(model(timeout=30), [price]))


@healthy
async def limited_by_the_step() -> Report:
    graph = create_agent(model(timeout=None), [price])
    graph.step_timeout = 30
    return await look(graph)


@healthy
async def limited_by_the_node() -> Report:
    return await look(asking(model(timeout=None)), timeout=20)


@healthy
async def limited_by_the_nodes_policy() -> Report:
    policy = TimeoutPolicy(run_timeout=20)
    return await look(asking(model(timeout=None)), timeout=policy)


@healthy
async def limited_inside_of_the_node() -> Report:
    llm = model(timeout=None)

    async def reply(state: MessagesState) -> dict[str, Any]:
        async with asyncio.timeout(20):
            return {"messages": [await llm.ainvoke(state["messages"])]}

    return await look(reply)


@healthy
async def limited_by_wait_for() -> Report:
    llm = model(timeout=None)

    async def reply(state: MessagesState) -> dict[str, Any]:
        call = llm.ainvoke(state["messages"])
        return {"messages": [await asyncio.wait_for(call, 20)]}

    return await look(reply)


@healthy
async def limited_by_the_caller() -> Report:
    graph = graph_of(asking(model(timeout=None)))
    async with asyncio.timeout(20):
        return await look(graph)


@healthy
async def limited_around_the_run() -> Report:
    stalls = model(timeout=None)

    async def reply(state: MessagesState) -> dict[str, Any]:
        await asyncio.sleep(0.2)
        return {"messages": [str(stalls.model_name)]}

    graph = graph_of(reply)

    async def run() -> None:
        async with asyncio.timeout(20):
            await graph.ainvoke(ASK)

    return await beside(run(), graph=graph)


@healthy
async def limited_by_an_httpx_timeout() -> Report:
    limit = httpx2.Timeout(30, connect=5)
    return await look(create_agent(model(timeout=limit), [price]))


@healthy
async def a_quiet_model_in_a_tool() -> Report:
    helper = model(tags=["nostream"])

    @tool
    async def summarize(text: str) -> str:
        """Summarize a text."""
        answer = await helper.ainvoke(text)
        return answer.text

    return await look(create_agent(model(), [summarize]))


@healthy
async def a_quiet_model_in_a_middleware() -> Report:
    guard = Guard(model(tags=["nostream"]))
    return await look(create_agent(model(), [], middleware=[guard]))


@healthy
async def a_model_made_quiet_by_its_config() -> Report:
    helper = model().with_config(tags=["nostream"])

    @tool
    async def summarize(text: str) -> str:
        """Summarize a text."""
        answer = await helper.ainvoke(text)
        return answer.text

    return await look(create_agent(model(), [summarize]))


@healthy
async def limited_by_bind() -> Report:
    return await look(asking(model(timeout=None).bind(timeout=30)))


@healthy
async def a_lock_that_is_only_tried() -> Report:
    lock = threading.Lock()

    async def note(state: MessagesState) -> dict[str, Any]:
        if lock.acquire(blocking=False):
            lock.release()
        return {}

    return await look(note)


@healthy
async def a_retry_policy() -> Report:
    return await look(asking(model()), retry_policy=RetryPolicy())


@healthy
async def a_team_of_agents() -> Report:
    graph = StateGraph(MessagesState)
    graph.add_node("cook", create_agent(model(), [price]))
    graph.add_node("waiter", create_agent(model(), []))
    graph.add_edge(START, "cook").add_edge("cook", "waiter")
    return await look(graph.compile())


# --- healthy: tasks


async def waits() -> None:
    await asyncio.sleep(60)


@asynccontextmanager
async def ended(*tasks: asyncio.Task[Any]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@healthy
async def a_task_in_a_variable() -> Report:
    task = asyncio.create_task(waits())
    async with ended(task):
        return await look(greet)


BACKGROUND: set[asyncio.Task[Any]] = set()


@healthy
async def a_task_in_a_set() -> Report:
    BACKGROUND.add(asyncio.create_task(waits()))
    async with ended(*BACKGROUND):
        report = await look(greet)
    BACKGROUND.clear()
    return report


@healthy
async def a_task_with_a_callback() -> Report:
    tasks: set[asyncio.Task[Any]] = set()
    task = asyncio.create_task(waits())
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    async with ended(task):
        return await look(greet)


class Worker:
    def __init__(self) -> None:
        self.task = asyncio.create_task(waits())


@healthy
async def a_task_on_self() -> Report:
    worker = Worker()
    async with ended(worker.task):
        return await look(greet)


@healthy
async def a_task_group() -> Report:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(waits())
        report = await look(greet)
        task.cancel()
    return report


@healthy
async def gathered() -> Report:
    both = asyncio.gather(asyncio.sleep(0.2), asyncio.sleep(0.2))
    report = await look(greet)
    await both
    return report


@healthy
async def a_failed_task_that_was_asked() -> Report:
    async def burns() -> None:
        raise ValueError("burnt")

    await asyncio.gather(burns(), return_exceptions=True)
    return await look(greet)


@healthy
async def a_cancelled_task() -> Report:
    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return await look(greet)


async def in_own_task(stream: Any) -> AsyncIterator[Any]:
    """Lesson 08's own mend."""
    parts: asyncio.Queue[Any] = asyncio.Queue()
    last = object()

    async def pump() -> None:
        try:
            async for part in stream:
                parts.put_nowait(part)
        finally:
            parts.put_nowait(last)

    run = asyncio.create_task(pump())
    try:
        while (part := await parts.get()) is not last:
            yield part
        await run
    finally:
        run.cancel()


@healthy
async def a_stream_in_its_own_task() -> Report:
    async def slow(state: MessagesState) -> dict[str, Any]:
        await asyncio.sleep(0.3)
        return {}

    async def read() -> None:
        stream = graph_of(slow).astream(ASK, stream_mode="updates")
        async for _ in in_own_task(stream):
            pass

    return await beside(read())


# --- healthy: load, servers, and much in a closure


@healthy
async def two_hundred_streams() -> Report:
    async def slow(state: MessagesState) -> dict[str, Any]:
        for _ in range(3):
            await asyncio.sleep(0.02)
        return {}

    graph = graph_of(slow)

    async def read() -> None:
        async for _ in graph.astream(ASK, stream_mode="updates"):
            pass

    return await beside(*(read() for _ in range(200)))


@healthy
async def many_short_steps() -> Report:
    async def spin() -> None:
        for _ in range(50):
            sum(range(2000))
            await asyncio.sleep(0)

    return await beside(*(spin() for _ in range(100)))


@healthy
async def an_empty_app() -> Report:
    from fastapi import FastAPI

    async with serve(FastAPI()):
        return await look(greet)


@asynccontextmanager
async def a_lifespan(app: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(waits())
    async with ended(task):
        yield


@healthy
async def an_app_with_a_lifespan() -> Report:
    from fastapi import FastAPI

    async with serve(FastAPI(lifespan=a_lifespan)):
        return await look(greet)


@contextmanager
def the_service_importable() -> Iterator[None]:
    """Pytest has put tests/ on the path, where `service` is another file."""
    other = sys.modules.pop("service", None)
    with mock.patch.object(sys, "path", [SOLUTIONS, *sys.path]):
        try:
            yield
        finally:
            for name in list(sys.modules):
                if name.partition(".")[0] == "service":
                    del sys.modules[name]
            if other is not None:
                sys.modules["service"] = other


@healthy
async def the_finished_service_with_a_run() -> Report:
    with the_service_importable():
        return await the_service_runs()


async def the_service_runs() -> Report:
    from service.app import create_app
    from service.settings import Settings

    real = practice_model()
    variables = {"OPENAI_BASE_URL": real.base_url, "OPENAI_API_KEY": real.key}
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, variables),
    ):
        app = create_app(Settings(db=f"{folder}/service.db"))
        async with serve(app) as url, httpx2.AsyncClient() as client:

            async def ask() -> None:
                run = f"{url}/threads/t/runs"
                question = {"message": "Tell me about LangGraph"}
                reply = await client.post(run, json=question)
                assert reply.status_code == 200, reply.text

            return await beside(ask())


def of_many(size: int) -> Any:
    rows = [[number] for number in range(size)]

    async def search(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", str(len(rows)))]}

    return graph_of(search)


@healthy
async def two_million_items() -> Report:
    return await look(of_many(2_000_000))


@healthy
async def a_deep_tree() -> Report:
    tree: list[Any] = []
    for _ in range(100_000):
        tree = [tree]

    async def search(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", str(len(tree)))]}

    report = await look(search)
    while tree:  # else its end would need as many calls of C
        tree = tree.pop()
    return report


@healthy
async def a_cycle() -> Report:
    parent = Upload()
    parent.child = parent  # type: ignore[attr-defined]

    async def search(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", str(parent))]}

    return await look(search)


# --- what sixty blind cases found: the ways in which people write


def say(thing: Any) -> dict[str, Any]:
    return {"messages": [AIMessage(str(thing))]}


class Menu(BaseTool):
    name: str = "menu"
    description: str = "Fetch the menu."

    def _run(self, day: str) -> str:
        return requests.get(URL, params={"day": day}).text


class PoliteMenu(Menu):
    async def _arun(self, day: str) -> str:
        return await asyncio.to_thread(self._run, day)


class RudeMenu(Menu):
    async def _arun(self, day: str) -> str:
        return self._run(day)


sick("tool `menu` is a `def`")(Menu())
sick('requests.get(URL, params={"day": day})')(RudeMenu())
healthy(PoliteMenu())


class Step:
    async def __call__(self, state: MessagesState) -> dict[str, Any]:
        return await self.execute(state)


class SlowStep(Step):
    async def execute(self, state: MessagesState) -> dict[str, Any]:
        time.sleep(0.9)
        return {}


@sick("time.sleep(0.9)")
def a_node_that_extends_a_class() -> Any:
    return SlowStep()


def again(function: Any) -> Any:
    @functools.wraps(function)
    async def tried(state: MessagesState) -> Any:
        try:
            return await function(state)
        except openai.APIError:
            time.sleep(5)
            return await function(state)

    return tried


@sick("time.sleep(5)")
@again
async def a_decorator_blocks(state: MessagesState) -> dict[str, Any]:
    return {}


@sick("requests.get(URL, timeout=4)")
def a_helper_that_a_library_decorates() -> Any:
    @tenacity.retry(stop=tenacity.stop_after_attempt(3))
    def menu() -> str:
        return requests.get(URL, timeout=4).text

    async def fetch(state: MessagesState) -> dict[str, Any]:
        return say(menu())

    return graph_of(fetch)


@sick("with ThreadPoolExecutor() as pool")
async def a_pool_that_nobody_awaits(state: MessagesState) -> dict[str, Any]:
    with ThreadPoolExecutor() as pool:
        pages = [pool.submit(download, URL) for _ in range(3)]
    return say(len(pages))


@healthy
async def a_pool_that_is_awaited(state: MessagesState) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as pool:
        return say(await loop.run_in_executor(pool, download, URL))


@sick("time.sleep(0.8)")
def a_task_of_the_functional_api() -> Any:
    @task
    async def work(order: str) -> str:
        time.sleep(0.8)
        return order

    @entrypoint()
    async def flow(order: str) -> str:
        return await work(order)

    return flow


@dataclass
class Deps:
    http: requests.Session = field(default_factory=requests.Session)


@sick("runtime.context.http.get(")
async def a_client_in_the_context(
    state: MessagesState, runtime: Runtime[Deps]
) -> dict[str, Any]:
    return say(runtime.context.http.get(URL).text)


@sick("http.post(URL)")
async def a_client_by_its_annotation(
    state: MessagesState, http: requests.Session
) -> dict[str, Any]:
    return say(http.post(URL).text)


class App:
    def __init__(self, deps: Deps) -> None:
        self.deps = deps

    async def fetch(self, state: MessagesState) -> dict[str, Any]:
        return say(self.deps.http.get(URL).text)


@sick("self.deps.http.get(URL)")
def parts_that_are_injected() -> Any:
    return App(Deps()).fetch


@sick("makes a model without a time limit")
async def a_model_without_limit_in_a_node(
    state: MessagesState,
) -> dict[str, Any]:
    llm = ChatOpenAI(model="gpt-4o", base_url=URL, api_key="none")
    return {"messages": [await llm.ainvoke(state["messages"])]}


@healthy
async def one_with_a_limit_around_it(state: MessagesState) -> dict[str, Any]:
    llm = ChatOpenAI(model="gpt-4o", base_url=URL, api_key="none")
    asking = llm.ainvoke(state["messages"])
    return {"messages": [await asyncio.wait_for(asking, 20)]}


@sick("gpt-4o has no time limit")  # the model's `None` goes before it
def a_limit_of_the_http_client() -> Any:
    client = openai.DefaultAsyncHttpxClient(timeout=20)
    return asking(model(timeout=None, http_async_client=client))


@sick("guard.ainvoke(")
def a_guard_in_a_node_speaks() -> Any:
    guard, llm = model(), model()

    async def reply(state: MessagesState) -> dict[str, Any]:
        verdict = await guard.ainvoke(state["messages"])
        if "no" in verdict.text:
            return say("I cannot.")
        answer = await llm.ainvoke(state["messages"])
        return {"messages": [answer]}

    return graph_of(reply)


@healthy
def two_models_that_both_answer() -> Any:
    first, second = model(), model()

    async def reply(state: MessagesState) -> dict[str, Any]:
        answers = []
        one = await first.ainvoke(state["messages"])
        answers.append(one)
        try:
            two = await first.ainvoke(state["messages"])
        except openai.APIError:
            two = await second.ainvoke(state["messages"])
        answers += [two]
        return {"messages": answers}

    return graph_of(reply)


@healthy
def a_model_made_quiet_at_its_call() -> Any:
    small = model()

    @tool
    async def summarize(text: str) -> str:
        """Summarize a text."""
        answer = await small.ainvoke(text, {"tags": ["nostream"]})
        return answer.text

    return create_agent(model(), [summarize])


@healthy
def models_that_a_middleware_only_holds() -> Any:
    fallback = ModelFallbackMiddleware(model())
    return create_agent(model(), [], middleware=[fallback])


@healthy
async def a_stop_before_the_tools() -> Report:
    agent = create_agent(
        model(),
        [price],
        checkpointer=InMemorySaver(),
        interrupt_before=["tools"],
    )
    call = {"name": "price", "args": {"dish": "soup"}, "id": "1"}
    asked = {"messages": [AIMessage("", tool_calls=[call])]}
    await agent.aupdate_state(TABLE, asked, as_node="model")
    return await look(agent)


@healthy
def a_table_of_coroutine_functions() -> Any:
    handlers = {"greet": greet}

    async def route(state: MessagesState) -> dict[str, Any]:
        handler = handlers.get(state["messages"][-1].text, greet)
        return await handler(state)

    return graph_of(route)


class AsyncShelf(Shelf):
    @classmethod
    async def create(cls) -> "AsyncShelf":
        return cls()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@healthy
async def names_that_only_look_so(state: MessagesState) -> dict[str, Any]:
    time = await AsyncShelf.create()
    await time.sleep(1)
    return say(time.get("soup"))


# --- counting


def names_it(report: Report, words: str) -> bool:
    return any(words in f.fault for f in report.findings)


def alarms(report: Report) -> list[str]:
    return [str(f) for f in report.findings if not f.remark]


@pytest.mark.parametrize("case", SICK, ids=lambda case: case.name)
async def test_a_sick_one(case: Case) -> None:
    report = await case.run()
    assert names_it(report, str(case.words)), report


@pytest.mark.parametrize("case", HEALTHY, ids=lambda case: case.name)
async def test_a_healthy_one(case: Case) -> None:
    assert alarms(await case.run()) == []


def test_there_are_enough() -> None:
    assert len(SICK) >= 60
    assert len(HEALTHY) >= 60


async def cost(graph: Any) -> float:
    """How many seconds of the loop's thread an examination takes."""
    await asyncio.sleep(0)
    began = time.thread_time()
    await examine(graph, seconds=MOMENT)
    return time.thread_time() - began


async def test_a_look_costs_the_same_whatever_the_graph_holds() -> None:
    graph = of_many(2_000_000)
    rows = graph.nodes["reply"].bound.afunc.__closure__[0].cell_contents
    began = time.thread_time()
    for row in rows:  # to touch each of them once
        assert len(row) == 1
    reading = time.thread_time() - began
    costs = [await cost(graph) for _ in range(3)]
    assert min(costs) < reading


def main() -> None:
    """Print how many are judged right, and which are not."""
    named = 0
    for case in SICK:
        report = asyncio.run(case.run())
        if names_it(report, str(case.words)):
            named += 1
        else:
            print(f"missed: {case.name}\n  {report}")
    clean = 0
    for case in HEALTHY:
        said = alarms(asyncio.run(case.run()))
        if said:
            print(f"false alarm: {case.name}\n  {said}")
        else:
            clean += 1
    print(f"{named} of {len(SICK)} sick ones named with the right line")
    print(
        f"{len(HEALTHY) - clean} false alarms at {len(HEALTHY)} healthy ones"
    )
    seconds = [asyncio.run(cost(of_many(n))) for n in (0, 0, 2_000_000)]
    print(f"a look takes {seconds[1] * 1000:.0f} ms at a small graph, and")
    print(f"{seconds[2] * 1000:.0f} ms at one that holds 2,000,000 items")


if __name__ == "__main__":
    main()
