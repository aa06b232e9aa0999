"""What check() does with answers that no judge expects."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from tools.kernels import python
from workshop import checks, model
from workshop.checks import check, kit

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")


async def right(graph, questions):
    async def answer(question):
        state = await graph.ainvoke({"messages": [("user", question)]})
        return state["messages"][-1].text

    return await asyncio.gather(*map(answer, questions))


async def stub(graph, questions):
    """Say what it does."""
    # TODO (about 4 lines)
    ...


def one_line(graph, questions): ...


async def half_done(graph, questions):
    async def answer(question): ...

    await asyncio.gather(*map(answer, questions))
    return ["" for _ in questions]


async def forgets_the_error(graph, questions):
    class Spent(Exception): ...

    try:
        raise Spent
    except Spent:
        ...
    return []


async def takes_one(questions):
    return questions


async def returns_none(graph, questions):
    pass


async def raises(graph, questions):
    return questions["first"]


async def raises_lines(graph, questions):
    raise ValueError("one\ntwo\n\nthree")


async def raises_nothing_to_say(graph, questions):
    raise AssertionError


async def raises_in_a_group(graph, questions):
    async with asyncio.TaskGroup() as group:
        group.create_task(raises(graph, questions))


async def exits(graph, questions):
    sys.exit("bye")


async def exits_in_a_task(graph, questions):
    await asyncio.create_task(exits(graph, questions))


async def is_interrupted(graph, questions):
    raise KeyboardInterrupt


async def is_cancelled(graph, questions):
    raise asyncio.CancelledError


async def uses_another_loop(graph, questions):
    raise RuntimeError("Event loop is closed")


def yields(graph, questions):
    yield from questions


async def yields_async(graph, questions):
    for question in questions:
        yield question


NOT_STARTED = "⬜ 01.1 not started: replace the ..., run that cell, then check"
NOT_USED = (
    "❌ 01.1 the model behind `graph` saw 0 requests: use the argument, "
    "nothing from the notebook"
)
BAD_ANSWERS = [
    (..., NOT_STARTED),
    (stub, NOT_STARTED),
    (one_line, NOT_STARTED),
    (half_done, NOT_USED),
    (forgets_the_error, NOT_USED),
    (None, "❌ 01.1 pass the function of the task; this is a NoneType"),
    ("stub", "❌ 01.1 pass the function of the task; this is a str"),
    (
        takes_one,
        "❌ 01.1 it is called with (graph, questions) but takes (questions)",
    ),
    (
        functools.partial(right, None, None),
        "❌ 01.1 it is called with (graph, questions) but takes ()",
    ),
    (
        lambda graph, questions: "text",
        "❌ 01.1 it returned a str, not a list of texts",
    ),
    (
        len,
        "❌ 01.1 it is called with (graph, questions) but takes (obj, /)",
    ),
    (
        dict,
        "❌ 01.1 it raised TypeError: dict expected at most 1 argument, got 2",
    ),
    (
        returns_none,
        "❌ 01.1 it returned None, not a list of texts: is a `return` "
        "missing?",
    ),
    (yields, "❌ 01.1 it returned a generator, not a list of texts"),
    (
        yields_async,
        "❌ 01.1 it returned an async generator, not a list of texts",
    ),
    (
        raises,
        "❌ 01.1 it raised TypeError: list indices must be integers or "
        'slices, not str, at `return questions["first"]`',
    ),
    (
        raises_lines,
        "❌ 01.1 it raised ValueError: one, "
        'at `raise ValueError("one\\ntwo\\n\\nthree")`',
    ),
    (
        raises_nothing_to_say,
        "❌ 01.1 it raised AssertionError, at `raise AssertionError`",
    ),
    (
        raises_in_a_group,
        "❌ 01.1 it raised TypeError: list indices must be integers or "
        'slices, not str, at `return questions["first"]`',
    ),
    (exits, '❌ 01.1 it raised SystemExit: bye, at `sys.exit("bye")`'),
    (
        exits_in_a_task,
        '❌ 01.1 it raised SystemExit: bye, at `sys.exit("bye")`',
    ),
    (
        is_interrupted,
        "❌ 01.1 it raised KeyboardInterrupt, at `raise KeyboardInterrupt`",
    ),
    (
        is_cancelled,
        "❌ 01.1 it raised CancelledError, at `raise asyncio.CancelledError`",
    ),
    (
        uses_another_loop,
        "❌ 01.1 it used connections of another event loop: use the "
        "arguments, nothing from the notebook",
    ),
]


@pytest.mark.parametrize(("answer", "line"), BAD_ANSWERS)
async def test_a_bad_answer_gets_one_line(
    answer: Any, line: str, capsys: Capture
) -> None:
    assert await check("01.1", answer) is None
    assert capsys.readouterr() == (f"{line}\n", "")


async def test_a_call_instead_of_the_function(capsys: Capture) -> None:
    await check("01.1", right(None, None))
    line = "❌ 01.1 pass the function itself: its name without ()\n"
    assert capsys.readouterr() == (line, "")


async def test_a_function_without_source(capsys: Capture) -> None:
    namespace: dict[str, Any] = {}
    exec("async def answer(graph, questions): ...", namespace)
    await check("01.1", namespace["answer"])
    assert capsys.readouterr().out.startswith("❌ 01.1 it returned None")


@pytest.mark.parametrize("task", ["99.1", "01.9", "", "../01", 1.1, None, []])
async def test_an_unknown_task(task: Any, capsys: Capture) -> None:
    await check(task, right)
    shown = task if isinstance(task, str) else "?"
    line = f"❌ {shown} no such task: its number is in the cell of the check\n"
    assert capsys.readouterr() == (line, "")


# --- answers that do not end


async def waits_forever(graph, questions):
    await asyncio.Event().wait()


async def refuses_to_be_cancelled(graph, questions):
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def computes_forever(graph, questions):
    while True:
        pass


async def sleeps(graph, questions):
    time.sleep(15)  # noqa: ASYNC251


async def waits_for_its_own_loop(graph, questions):
    loop = asyncio.get_running_loop()
    run = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)
    return run.result(15)


async def waits_for_a_thread(graph, questions):
    await asyncio.to_thread(time.sleep, 15)


HANGING = {
    waits_forever: "await asyncio.Event().wait()",
    refuses_to_be_cancelled: "await asyncio.sleep(3600)",
    sleeps: "time.sleep(15)  # noqa: ASYNC251",
    waits_for_its_own_loop: "return run.result(15)",
    waits_for_a_thread: "await asyncio.to_thread(time.sleep, 15)",
}


async def test_answers_that_do_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def waits(answer: Any) -> str:
        return str(await kit.result(answer, graph=None, questions=[]))

    monkeypatch.setattr(checks, "judge_of", lambda _: waits)
    monkeypatch.setattr(checks, "LIMIT", 10)
    monkeypatch.setattr(checks, "_slowness", lambda: 1)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.05)

    heart = asyncio.create_task(beat())
    verdicts = await asyncio.gather(
        *(checks.verdict("01.1", answer) for answer in HANGING)
    )
    heart.cancel()
    said = "it did not finish within 10 s: it still waits at"
    assert verdicts == [("❌", f"{said} `{at}`") for at in HANGING.values()]
    assert beats > 2, "the checks blocked the loop of the notebook"


async def test_a_busy_machine_gets_more_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def takes_a_second(graph, questions):
        texts = await right(graph, questions)
        await asyncio.sleep(1)
        return texts

    monkeypatch.setattr(checks, "LIMIT", 0.5)
    monkeypatch.setattr(checks, "_slowness", lambda: 100)
    monkeypatch.setattr(checks, "MOST", 100)
    assert (await checks.verdict("01.1", takes_a_second))[0] == "✅"


async def test_a_thread_that_computes_forever_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "LIMIT", 0.5)
    monkeypatch.setattr(checks, "_slowness", lambda: 1)
    before = set(threading.enumerate())
    mark, sentence = await checks.verdict("01.1", computes_forever)
    assert (mark, sentence[:13]) == ("❌", "it did not fi")
    assert_ended(set(threading.enumerate()) - before)


def assert_ended(threads: set[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


async def test_a_check_can_be_interrupted() -> None:
    before = set(threading.enumerate())
    attempt = asyncio.create_task(check("01.1", waits_forever))
    await asyncio.sleep(0.3)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert_ended(set(threading.enumerate()) - before)


# --- what is printed


async def test_prints_of_the_answer_stay_above_the_verdict(
    capsys: Capture,
) -> None:
    async def prints(graph, questions):
        print("a|b|", end="", flush=True)

    stdout = sys.stdout
    await check("01.1", prints)
    printed, verdict = capsys.readouterr().out.splitlines()
    assert printed == "a|b|"
    assert verdict.startswith("❌ 01.1 ")
    assert sys.stdout is stdout


async def test_two_checks_at_once(capsys: Capture) -> None:
    stdout = sys.stdout
    await asyncio.gather(check("01.1", right), check("01.1", stub))
    print("after")
    lines = sorted(capsys.readouterr().out.splitlines())
    assert [line[:6] for line in lines] == ["after", "✅ 01.1", "⬜ 01.1"]
    assert getattr(sys.stdout, "stream", sys.stdout) is stdout


# --- the world around it


@pytest.fixture
def over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task is to stream from a model over HTTP."""

    async def judge(answer: Any) -> str:
        async with kit.kitchen(answer, ttft=0) as place:
            pieces = await kit.result(answer, llm=place.llm)
        return f"{len(pieces)} pieces"

    monkeypatch.setattr(checks, "judge_of", lambda _: judge)


async def streams(llm):
    return [chunk.text async for chunk in llm.astream("Soup?")]


async def test_the_practice_model_stops_during_a_check(
    capsys: Capture, over_http: None
) -> None:
    async def stops_the_model(llm):
        model._server.stop()
        return await streams(llm)

    await check("00.1", stops_the_model)
    assert capsys.readouterr().out == (
        "❌ 00.1 the practice model does not answer: run the cell with "
        "connect(), then this one\n"
    )
    await check("00.1", streams)
    assert capsys.readouterr().out.startswith("✅ 00.1")


async def test_a_check_never_uses_a_real_key(
    capsys: Capture, over_http: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKSHOP_MODEL", "openai")
    monkeypatch.setenv("OPENAI_API_KEY", "no-practice-key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    await check("00.1", streams)
    assert capsys.readouterr().out.startswith("✅ 00.1")


def output_of(script: str) -> tuple[list[str], str]:
    """What a script prints in a process of its own: lines, and errors."""
    run = subprocess.run(
        python(script),
        env=os.environ | {"PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=140,
    )
    return run.stdout.splitlines(), run.stderr


KERNEL = """
import asyncio, sys
from langchain_openai import ChatOpenAI
from workshop.checks import check
from workshop.model import connect

async def later():
    model = connect()
    llm = ChatOpenAI(model=model.name, max_retries=0)
    await llm.ainvoke("Soup?")
    await asyncio.sleep(5.5)  # longer than a connection is kept

    async def pieces(_, question):
        return [c.text async for c in llm.astream(question) if c.text]

    await check("00.1", pieces)
    await asyncio.sleep({pause})
    print((await llm.ainvoke("Say yes")).text)

asyncio.run(later())
"""


@pytest.mark.timeout(150)
@pytest.mark.parametrize("pause", ["0", "5.5"])
def test_a_check_leaves_the_models_of_a_notebook_alone(pause: str) -> None:
    said, errors = output_of(KERNEL.replace("{pause}", pause))
    assert said[1].startswith("❌ 00.1 the model behind `llm` saw 0 requests")
    assert said[2:] == ["yes"], errors


NEST = """
import asyncio, inspect, linecache, sys
import nest_asyncio
from workshop.checks import check
{right}

def main(graph, batches):
    return [asyncio.run(right(graph, batch)) for batch in batches]

async def both():
    nest_asyncio.apply()
    await check("01.1", right)
    await check("02.2", main)

asyncio.run(both())
"""


@pytest.mark.timeout(150)
def test_nest_asyncio_does_not_disturb_a_check() -> None:
    script = NEST.replace("{right}", inspect.getsource(right))
    (first, second), errors = output_of(script)
    assert (first[:6], second) == (
        "✅ 01.1",
        "❌ 02.2 nest_asyncio has changed asyncio in this kernel: restart it "
        "and leave nest_asyncio out",
    ), errors
