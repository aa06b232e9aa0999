"""What the doctor finds: each fault in a sick patient, not in its twin."""

import asyncio
import functools
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx2
import openai
import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from workshop import doctor
from workshop.doctor import Finding, Report, calls, examine
from workshop.model import practice_model

ASK = {"messages": [("user", "What is the price of the soup?")]}


@pytest.fixture
async def llm() -> AsyncIterator[ChatOpenAI]:
    """A model in good health, on the practice model."""
    model = practice_model()
    model.pace(ttft=0.05, per_token=0.01)
    client = openai.DefaultAsyncHttpxClient()
    yield ChatOpenAI(
        model=model.name,
        base_url=model.base_url,
        api_key=model.key,
        timeout=30,
        stream_chunk_timeout=None,
        http_async_client=client,
    )
    with suppress(RuntimeError):  # a test used it in another loop
        await client.aclose()


def graph_of(node: Any, saver: Any = None, **options: Any) -> Any:
    graph = StateGraph(MessagesState).add_node("reply", node, **options)
    return graph.add_edge(START, "reply").compile(checkpointer=saver)


async def quiet(state: MessagesState) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {}


async def found(graph: object, look: str, seconds: float = 0.02) -> list[str]:
    """What it finds there, each with its cure."""
    report = await examine(graph, seconds=seconds)
    assert not report.blind
    return [str(f) for f in report.findings if f.look == look]


# --- the report


async def test_a_healthy_graph_with_a_model(llm: ChatOpenAI) -> None:
    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": await llm.ainvoke(state["messages"])}

    graph = graph_of(reply)
    await graph.ainvoke(ASK)
    report = await examine(graph)
    assert str(report) == (
        "nothing found: looked at 12 things (graph, nodes, threads, memory, "
        "conversations, time limits, voices, connections, nest_asyncio, "
        "debug mode, tasks, event loop)\n"
        "not looked at: a run: let one run beside it, with "
        "`asyncio.gather(examine(graph, seconds=2), graph.ainvoke(...))`"
    )
    assert repr(report) == str(report)
    assert not hasattr(report, "_repr_html_")


async def test_the_loop_alone() -> None:
    report = await examine(seconds=0.02)
    assert report.findings == []
    assert "looked at 5 things (threads" in str(report)


def test_a_line_for_each_finding() -> None:
    fault = Finding("tasks", "nobody awaits it", "Await it")
    remark = Finding("memory", "it forgets", "Use another", remark=True)
    assert str(Report([fault, remark], ["tasks", "memory"], ["nodes"])) == (
        "tasks: nobody awaits it. Await it.\n"
        "remark, memory: it forgets. Use another.\n"
        "could not look at: nodes"
    )


async def test_a_look_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(patient: object) -> Any:
        raise AttributeError("made otherwise")

    monkeypatch.setitem(doctor.LOOKS, "nodes", fails)
    report = await examine(graph_of(quiet), seconds=0.02)
    assert report.findings == []
    assert report.blind == ["nodes"]
    assert "nodes" not in report.looks
    assert "could not look at: nodes\n" in str(report)


async def test_it_ends_its_thread() -> None:
    await examine(seconds=0.02)
    for _ in range(100):
        if not any(t.name == "doctor" for t in threading.enumerate()):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it still runs")


@pytest.mark.parametrize(
    "other", [StateGraph(MessagesState), 42, "graph", [quiet], quiet]
)
async def test_what_is_no_compiled_graph(other: object) -> None:
    kind = type(other).__name__
    said = await found(other, "graph")
    assert said == [
        f"graph: this is a {kind}, so there was nothing more to look at. "
        "Pass what `compile()` returned."
    ]


# --- nodes and threads


def sleeps(state: MessagesState) -> dict[str, Any]:
    time.sleep(0.3)
    return {}


def asks_a_helper(state: MessagesState) -> dict[str, Any]:
    return sleeps(state)


def computes(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", str(sum(range(10))))]}


@pytest.mark.parametrize(
    "node",
    [
        sleeps,
        asks_a_helper,
        functools.partial(sleeps),
        RunnableLambda(sleeps),
        graph_of(sleeps),
    ],
)
async def test_a_def_node_that_waits(node: Any) -> None:
    [said] = await found(graph_of(node), "nodes")
    assert said.startswith(
        "nodes: node `reply` is a `def` that waits at `time.sleep(0.3)` in "
        "`sleeps`: in an async run"
    )


async def test_a_def_node_that_asks_a_model(llm: ChatOpenAI) -> None:
    def reply(state: MessagesState) -> dict[str, Any]:
        answer = llm.invoke(state["messages"])
        return {"messages": [answer]}

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(3))
    assert await found(graph_of(reply), "nodes") == [
        "nodes: node `reply` is a `def` that waits at `answer = llm."
        'invoke(state["messages"])` in `reply`: in an async run each call '
        "holds one of 3 worker threads. Make it an `async def`, and `await` "
        "the async twin."
    ]


@pytest.mark.parametrize(
    "node", [computes, quiet, RunnableLambda(sleeps, quiet)]
)
async def test_nodes_that_do_not_wait_in_threads(node: Any) -> None:
    assert await found(graph_of(node), "nodes") == []


async def test_a_def_tool_that_waits(llm: ChatOpenAI) -> None:
    @tool
    def price(dish: str) -> str:
        """Look up the price of a dish."""
        time.sleep(0.1)
        return "9"

    @tool
    async def card(page: int) -> str:
        """Read the card."""
        return "soup"

    [said] = await found(create_agent(llm, [price, card]), "nodes")
    assert said.startswith(
        "nodes: tool `price` is a `def` that waits at `time.sleep(0.1)` in "
    )


async def test_more_waiting_nodes_than_threads() -> None:
    graph = StateGraph(MessagesState)
    for name in "abc":
        graph.add_node(name, sleeps).add_edge(START, name)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(2))
    assert await found(graph.compile(), "threads") == [
        "threads: 3 `def` nodes and tools share 2 worker threads. Make nodes "
        "and tools `async def`, or give the loop a larger executor."
    ]
    loop.set_default_executor(ThreadPoolExecutor(3))
    assert await found(graph.compile(), "threads") == []


async def test_calls_that_wait_for_a_thread() -> None:
    graph, loop = graph_of(sleeps), asyncio.get_running_loop()

    async def threads(size: int) -> list[str]:
        loop.set_default_executor(ThreadPoolExecutor(size))
        said, *_ = await asyncio.gather(
            found(graph, "threads", 0.5),
            *(graph.ainvoke(ASK) for _ in range(4)),
        )
        return said

    [said] = await threads(2)
    assert said.startswith("threads: 2 calls waited for one of 2 worker ")
    assert await threads(16) == []


# --- memory


async def test_a_sync_saver() -> None:
    with SqliteSaver.from_conn_string(":memory:") as saver:
        assert await found(graph_of(quiet, saver), "memory") == [
            "memory: SqliteSaver has no async methods: `ainvoke` and "
            "`astream` raise NotImplementedError. Use AsyncSqliteSaver."
        ]
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        assert await found(graph_of(quiet, saver), "memory") == []
        inner = graph_of(graph_of(quiet, saver))
        assert await found(inner, "memory") == []


async def test_a_saver_without_async_methods() -> None:
    postgres = pytest.importorskip("langgraph.checkpoint.postgres")
    saver = postgres.PostgresSaver.__new__(postgres.PostgresSaver)
    [said] = await found(graph_of(quiet, saver), "memory")
    assert "Use AsyncPostgresSaver." in said


async def test_a_saver_that_forgets() -> None:
    report = await examine(graph_of(quiet, InMemorySaver()), seconds=0.02)
    [remark] = report.findings
    assert remark.remark
    assert str(remark).startswith("remark, memory: InMemorySaver forgets")


async def test_a_saver_that_was_closed() -> None:
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        graph = graph_of(quiet, saver)
        assert await found(graph, "memory") == []
    [said] = await found(graph, "memory")
    assert said.startswith("memory: the connection of AsyncSqliteSaver is clo")


async def test_a_saver_of_another_loop() -> None:
    async def open_saver() -> AsyncSqliteSaver:
        async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
            return saver

    saver = await asyncio.to_thread(asyncio.run, open_saver())
    [said] = await found(graph_of(quiet, saver), "memory")
    assert said.startswith("memory: AsyncSqliteSaver was opened in another e")


# --- the model


def asks(model: ChatOpenAI) -> Any:
    async def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": await model.ainvoke(state["messages"])}

    return graph_of(reply)


@pytest.mark.parametrize(
    "wrap",
    [
        asks,
        lambda llm: create_agent(llm, []),
        lambda llm: graph_of(create_agent(llm, [])),
        lambda llm: asks(llm.with_retry()),
        lambda llm: asks(llm.bind(stop=["x"]) | RunnableLambda(str)),
    ],
)
async def test_a_model_without_a_time_limit(
    llm: ChatOpenAI, wrap: Callable[[ChatOpenAI], Any]
) -> None:
    endless = llm.model_copy(update={"request_timeout": None})
    assert await found(wrap(llm), "time limits") == []
    assert await found(wrap(endless), "time limits") == [
        "time limits: gpt-4o has no time limit: a call that stalls before "
        "its first token waits for ever. Pass `timeout=` to the model, or "
        "set `graph.step_timeout`."
    ]


async def test_a_step_timeout_is_a_time_limit(llm: ChatOpenAI) -> None:
    graph = asks(llm.model_copy(update={"request_timeout": None}))
    graph.step_timeout = 30
    assert await found(graph, "time limits") == []


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="mended in 3.12")
async def test_a_cancel_that_can_get_lost(llm: ChatOpenAI) -> None:
    usual = llm.model_copy(update={"stream_chunk_timeout": 120})
    [said] = await found(asks(usual), "time limits")
    assert said.startswith("remark, time limits: on this Python a cancel can")


async def test_a_connection_of_a_loop_that_ended(llm: ChatOpenAI) -> None:
    graph = asks(llm)
    await asyncio.to_thread(asyncio.run, graph.ainvoke(ASK))
    [said] = await found(graph, "connections")
    assert said.startswith("connections: gpt-4o keeps a connection of an even")
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        await graph.ainvoke(ASK)  # what it warned of


async def test_a_connection_of_another_loop(llm: ChatOpenAI) -> None:
    graph, ended = asks(llm), threading.Event()

    async def elsewhere() -> None:
        await graph.ainvoke(ASK)
        asked.set()
        ended.wait()

    asked = threading.Event()
    other = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
    await asyncio.to_thread(asked.wait)
    said = await found(graph, "connections")
    ended.set()
    await other
    assert said[0].startswith("connections: gpt-4o is also used in another ev")


async def test_a_small_pool_of_connections(llm: ChatOpenAI) -> None:
    async with httpx2.AsyncClient() as client:
        small = ChatOpenAI(model="m", api_key="k", http_async_client=client)
        assert await found(asks(small), "connections") == [
            "remark, connections: m opens at most 100 connections: further "
            "calls wait. `openai.DefaultAsyncHttpxClient()` opens 1000."
        ]
    assert await found(asks(llm), "connections") == []


# --- the loop


def test_nest_asyncio() -> None:
    """In a process of its own: nobody can take the patch back."""
    script = (
        "import asyncio, nest_asyncio\n"
        "from workshop.doctor import examine\n"
        "print(asyncio.run(examine()))\n"
        "nest_asyncio.apply(asyncio.new_event_loop())\n"
        "print(asyncio.run(examine()))\n"
    )
    out = subprocess.check_output([sys.executable, "-c", script], text=True)
    before, after = out.splitlines()
    assert before.startswith("nothing found")
    assert after.startswith("nest_asyncio: it has changed asyncio: nested")


async def test_debug_mode() -> None:
    asyncio.get_running_loop().set_debug(True)
    [said] = await found(None, "debug mode")
    assert said.startswith("remark, debug mode: it is on")
    asyncio.get_running_loop().set_debug(False)
    assert await found(None, "debug mode") == []


async def stirs() -> None:
    await asyncio.sleep(60)


async def end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_task_that_nobody_holds() -> None:
    asyncio.create_task(stirs(), name="soup")  # noqa: RUF006
    said = await found(None, "tasks")
    await end(task_named("soup"))
    assert said == [
        "tasks: a task waits at `await asyncio.sleep(60)` in `stirs`, and "
        "nobody holds it: it may vanish, and its error would get lost. Keep "
        "and await it, or make it in a `TaskGroup`."
    ]


async def test_debug_mode_says_where_a_task_was_made() -> None:
    asyncio.get_running_loop().set_debug(True)
    asyncio.create_task(stirs(), name="soup")  # noqa: RUF006
    [said] = await found(None, "tasks")
    await end(task_named("soup"))
    assert 'made at `asyncio.create_task(stirs(), name="soup")`,' in said


def task_named(name: str) -> asyncio.Task[Any]:
    [task] = [t for t in asyncio.all_tasks() if t.get_name() == name]
    return task


async def test_a_task_that_failed_and_nobody_asked() -> None:
    async def burns() -> None:
        raise ValueError("burnt")

    task = asyncio.create_task(burns())
    [said] = await found(None, "tasks")
    assert said.startswith("tasks: a task of `burns` failed with ValueError")
    with pytest.raises(ValueError, match="burnt"):
        await task
    assert await found(None, "tasks") == []


async def test_tasks_that_somebody_awaits() -> None:
    async def in_a_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(stirs())

    gathered = asyncio.gather(stirs(), in_a_group())
    watched = asyncio.create_task(stirs())
    watched.add_done_callback(lambda task: None)
    assert await found(None, "tasks") == []
    gathered.cancel()
    with suppress(asyncio.CancelledError):
        await gathered
    await end(watched)


async def test_a_run_that_blocks_the_loop() -> None:
    async def blocks(state: MessagesState) -> dict[str, Any]:
        time.sleep(0.6)  # noqa: ASYNC251
        return {}

    report, _ = await asyncio.gather(
        examine(seconds=0.2), graph_of(blocks).ainvoke(ASK)
    )
    [said] = [str(f) for f in report.findings]
    assert said.startswith(
        "event loop: `time.sleep(0.6)` in `blocks` held it up, for 0."
    )
    assert said.endswith("Await its async twin, or use `asyncio.to_thread`.")


async def test_a_run_that_waits_politely() -> None:
    async def waits(state: MessagesState) -> dict[str, Any]:
        await asyncio.sleep(0.6)
        return {}

    report, _ = await asyncio.gather(
        examine(seconds=0.5), graph_of(waits).ainvoke(ASK)
    )
    assert report.findings == []


async def test_a_slow_machine_reads_as_much_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turned = threading.Event()
    tree_of = calls.tree_of

    def slow(function: Any) -> Any:
        loop_turns = turned.wait(60)  # only the loop sets it
        time.sleep(0.2)
        return tree_of(function) if loop_turns else None

    async def blocks(state: MessagesState) -> dict[str, Any]:
        time.sleep(0.6)  # noqa: ASYNC251
        return {}

    monkeypatch.setattr(calls, "tree_of", slow)
    graph = graph_of(blocks)
    examining = asyncio.create_task(examine(graph, seconds=0.02))
    await asyncio.sleep(0.04)
    turned.set()
    report = await examining
    assert "`time.sleep(0.6)`" in str(report)


async def test_a_library_that_blocks_is_named_too() -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, subprocess.run, [sys.executable, "-c", SLOW])
    [said] = await found(None, "event loop", 0.3)
    assert said.startswith("event loop: library code, `")


SLOW = "import time; time.sleep(0.6)"
