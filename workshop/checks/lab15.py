"""Judge the check of lesson 15 and the two tasks of lab 15."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from workshop.checks.kit import (
    PAUSE,
    Answer,
    Clock,
    ScriptedModel,
    Wrong,
    call,
    chat_graph,
    count,
    expect,
    failures,
    must_raise,
    result,
    settled,
    start,
    stop,
    until,
)
from workshop.checks.threads import (
    ask,
    memory,
    on,
    saver_mistakes_named,
    texts,
)

# --- 15.0


class Observed(AsyncSqliteSaver):
    """Notes at each delete whether the lock is held."""

    turn: asyncio.Lock | None = None  # what the answer is given
    error: Exception | None = None
    held: bool | None = None  # None: nothing was deleted yet

    async def adelete_thread(self, thread_id: str) -> None:
        self.held = self.turn is None or self.turn.locked()
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        await super().adelete_thread(thread_id)
        if self.turn is not None and not self.turn.locked():
            self.held = False


async def deletes_in_turn(answer: Answer) -> str:
    """15.0: delete a thread when it is its turn."""
    for threads in ["ada", "bob"], ["ada"]:  # a saver for each
        with TemporaryDirectory() as folder:
            path = f"{folder}/memory.db"
            async with Observed.from_conn_string(path) as saver:
                await _deletes_in_turn(answer, saver, threads)
    return "it waits for the run under way; 3 threads stay deleted"


async def _deletes_in_turn(
    answer: Answer, saver: Observed, threads: list[str]
) -> None:
    graph = chat_graph(ScriptedModel(), saver)
    for thread in threads:
        await graph.ainvoke(ask("Hello"), on("kept"))
        await graph.ainvoke(ask("Hello"), on(thread))
        await _waits_for_its_turn(answer, graph, saver, thread)
    if not await texts(graph, "kept"):
        raise Wrong("it deleted another thread, too")
    await _lets_go_after_an_error(answer, saver)


async def _waits_for_its_turn(
    answer: Answer, graph: Any, saver: Observed, thread: str
) -> None:
    lock = asyncio.Lock()
    saver.turn, saver.held = lock, None
    given = {"saver": saver, "thread": thread, "lock": lock}
    async with lock:
        with saver_mistakes_named():
            forgetting = start(result(answer, **given))
            await settled(lambda: saver.held, forgetting.done, 30)
            if forgetting.done():
                forgetting.result()
        if saver.held is not None:
            raise Wrong(
                "it deleted while a run had the lock: that run writes the "
                "thread again"
            )
        if forgetting.done():
            raise Wrong("it did not wait for the lock")
    with saver_mistakes_named():
        await until(forgetting.done)
        await stop(forgetting)
        forgetting.result()
    if await texts(graph, thread):
        raise Wrong("the thread is still there")
    if not saver.held:
        raise Wrong("it gave the lock back before the thread was deleted")
    if lock.locked():
        raise Wrong("it kept the lock")


async def _lets_go_after_an_error(answer: Answer, saver: Observed) -> None:
    saver.error, saver.turn = KeyError("disk"), asyncio.Lock()
    with suppress(KeyError):
        given = {"saver": saver, "thread": "ada", "lock": saver.turn}
        await result(answer, **given)
        raise Wrong("it swallowed an error of the saver")
    if saver.turn.locked():
        raise Wrong("after an error it kept the lock")


# --- 15.1


async def one_run_a_thread(answer: Answer) -> str:
    """15.1: let messages of one thread wait, and no others."""
    model = ScriptedModel.watching(answer, _held)
    graph = chat_graph(model, InMemorySaver())
    ask_it = call(answer, graph=graph)
    expect(ask_it, Callable, "a function: `in_turns` is a plain `def`")
    kept = await _one_thread(ask_it, model, graph, Clock())
    at_once = await _many_threads(ask_it, model)
    for way in _fails, _is_cancelled, _is_cancelled_while_it_waits:
        await way(ask_it, model)
    # Another graph: what `in_turns` was given first is not for all.
    other = ScriptedModel()
    ask_other = call(answer, graph=chat_graph(other, InMemorySaver()))
    await result(ask_other, thread="one", text="Hello")
    other.must_be_used("graph")
    return (
        f"one thread keeps {kept} of 10 messages, five threads have "
        f"{at_once} requests in flight"
    )


def _held(asked: str) -> list[Any]:
    return [PAUSE, f"Reply to {asked}"]


def _begin(ask_it: Answer, thread: str, text: str) -> asyncio.Task[Any]:
    return start(result(ask_it, thread=thread, text=text))


async def _one_thread(
    ask_it: Answer, model: ScriptedModel, graph: Any, clock: Clock
) -> int:
    """Five messages of which each run is held until the others wait."""
    numbers = range(1, 6)
    runs = [_begin(ask_it, "one", f"Table {n}") for n in numbers[:4]]
    await settled(lambda: len(model.calls), still=30)
    _must_be_alone(model)
    clock.forward(3600)  # "however long"
    await settled(lambda: (model.in_flight, [r.done() for r in runs]), still=5)
    for run in filter(asyncio.Task.done, runs):
        model.must_be_used("graph")
        if isinstance(run.exception(), TimeoutError):
            raise Wrong("who waited for an hour was sent away: wait on")
        value = run.result()  # raises what ended it
        raise Wrong(
            f"it returned {value!r} to who has to wait: wait for the run "
            "before, however long"
        )
    model.must_be_asked("graph")
    _must_be_alone(model)
    await model.calls[0].finish()
    await model.waits_for(1)
    # Comes when one was served and another one has been let in.
    runs.append(_begin(ask_it, "one", "Table 5"))
    await settled(lambda: model.in_flight, lambda: model.in_flight > 1, 30)
    _must_be_alone(model)
    while not all(run.done() for run in runs):
        _must_be_alone(model)
        model.release()
        await asyncio.sleep(0.01)
    for number, run in zip(numbers, runs, strict=True):
        value = expect(run.result(), str, "the text of the answer")
        if value != f"Reply to Table {number}":
            raise Wrong(
                f"the answer to 'Table {number}' is not {value!r}: it is the "
                "last message of its own run"
            )
    kept = len(await texts(graph, "one"))
    if kept != 10:
        raise Wrong(f"of 5 messages and 5 answers {kept} were kept")
    return kept


def _must_be_alone(model: ScriptedModel) -> None:
    if model.in_flight > 1:
        raise Wrong(
            f"{model.in_flight} runs of one thread were at work at once: "
            "each saves what it knew when it began, and erases the others"
        )


async def _many_threads(ask_it: Answer, model: ScriptedModel) -> int:
    runs = [_begin(ask_it, f"thread {n}", "Hello") for n in range(5)]
    await model.waits_for(5)
    at_once = model.in_flight
    await model.finish([], asyncio.gather(*runs))
    if at_once < 5:
        raise Wrong(
            f"five threads waited for each other: at most {at_once} in flight"
        )
    return at_once


async def _fails(ask_it: Answer, model: ScriptedModel) -> None:
    for what, error in failures().items():
        model.script = lambda _, error=error: [PAUSE, error]
        first = _begin(ask_it, what, "Hello")
        await model.waits_for(1, first)
        model.script = _held
        await _goes_on_after(
            ask_it, model, what, what, lambda: model.calls[-1].finish()
        )
        await until(first.done)
        await must_raise(what, error, first)


async def _is_cancelled(ask_it: Answer, model: ScriptedModel) -> None:
    first = _begin(ask_it, "x", "Hello")
    await model.waits_for(1, first)
    await _goes_on_after(ask_it, model, "x", "a cancel", lambda: stop(first))
    if model.cut_off == 0:
        raise Wrong("its run went on when it was cancelled")


async def _is_cancelled_while_it_waits(
    ask_it: Answer, model: ScriptedModel
) -> None:
    first = _begin(ask_it, "y", "First")
    await model.waits_for(1, first)
    second = _begin(ask_it, "y", "Second")
    await settled(second.done, still=10)

    async def leaves() -> None:
        await stop(second)
        await settled(lambda: model.in_flight, still=10)
        _must_be_alone(model)
        model.release()

    what = "a cancel of who waits"
    await _goes_on_after(ask_it, model, "y", what, leaves)
    if any(one.asked == "Second" for one in model.calls):
        raise Wrong(
            "who was cancelled while it waited was served all the same"
        )


async def _goes_on_after(
    ask_it: Answer,
    model: ScriptedModel,
    thread: str,
    what: str,
    happens: Callable[[], Any],
) -> None:
    """Who waits meanwhile, and who comes then, must get in."""
    waiting = _begin(ask_it, thread, "Waits")
    await settled(waiting.done, still=10)
    _must_be_alone(model)
    await happens()
    got_in = await _ends(waiting, model)
    if not got_in or not await _ends(_begin(ask_it, thread, "Comes"), model):
        raise Wrong(
            f"after {what} nobody gets in on that thread: release its lock "
            "whatever happens"
        )


async def _ends(run: asyncio.Task[Any], model: ScriptedModel) -> bool:
    if not await model.finish([], run):
        await stop(run)
        return False
    run.result()
    return True


# --- 15.2

DAY = timedelta(days=1)
# How many days ago each checkpoint of a thread was written, oldest first.
# Those of a year and more are sorted by nothing but their names.
THREADS: dict[str, list[float]] = {
    "used today": [400, 0],
    "winter": [800, 370],
    "a month": [30],
    "a week": [500, 30, 7],
    "autumn": [500],
    "spring": [730],
}


async def deletes_what_is_old(answer: Answer) -> str:
    """15.2: delete the threads that nobody has used for some time."""
    year, ten_days, ages = 365 * DAY, 10 * DAY, 1000 * DAY
    async with memory() as saver:
        await _fill(saver, THREADS)
        await _clean(answer, saver, year, ["autumn", "spring", "winter"])
        await _clean(answer, saver, ten_days, ["a month"])
    async with memory() as saver:
        await _fill(saver, THREADS)
        await _clean(answer, saver, ages, [])
    saver = InMemorySaver()
    await _fill(saver, {"used today": [500], "a year": [400, 1]})
    await _clean(answer, saver, year, ["used today"])
    await _fill(saver, {"a day": [1], "a day and a half": [1.5]})
    await _clean(answer, saver, 1.25 * DAY, ["a day and a half"])
    return "6 old threads are deleted, and of the others nothing is lost"


async def _fill(
    saver: BaseCheckpointSaver, threads: dict[str, list[float]]
) -> None:
    now = datetime.now(UTC)
    for thread, days in threads.items():
        for ago in days:
            checkpoint = empty_checkpoint()
            checkpoint["ts"] = (now - ago * DAY).isoformat()
            config = {"configurable": {"thread_id": thread}}
            config["configurable"]["checkpoint_ns"] = ""
            await saver.aput(config, checkpoint, {"step": 1}, {})


async def _clean(
    answer: Answer,
    saver: BaseCheckpointSaver,
    age: timedelta,
    gone: list[str],
) -> None:
    before = await _days(saver)
    with saver_mistakes_named():
        cleaning = start(result(answer, saver=saver, age=age))
        await until(cleaning.done, turns=800)
        if not cleaning.done():
            await stop(cleaning)
            raise Wrong(
                "it never ends: a delete waits until `alist` has been read, "
                "and the loop over `alist` waits for the delete"
            )
        value = cleaning.result()
    ids = expect(value, list, "a list of ids")
    after = await _days(saver)
    for thread, days in before.items():
        left = after.get(thread, [])
        used = f"a thread last used {count(min(days), 'day')} ago"
        limit = f"and the age was {age.days} days"
        if thread in gone and left == days:
            raise Wrong(f"{used} is still there, {limit}")
        if thread in gone and left:
            raise Wrong(
                f"of a thread that is too old {count(len(left), 'checkpoint')}"
                " is left: delete all of it"
            )
        if thread not in gone and not left:
            why = ": its newest checkpoint counts" if len(days) > 1 else ""
            raise Wrong(f"it deleted {used}, {limit}{why}")
        if thread not in gone and left != days:
            raise Wrong("of a thread that stays it deleted checkpoints")
    if ids != gone:
        raise Wrong(f"it returned {ids}, not the deleted threads {gone}")


async def _days(saver: BaseCheckpointSaver) -> dict[str, list[int]]:
    """How many days ago the checkpoints of each thread were written."""
    days: dict[str, list[int]] = {}
    async for found in saver.alist(None):
        thread = found.config["configurable"]["thread_id"]
        when = datetime.fromisoformat(found.checkpoint["ts"])
        days.setdefault(thread, []).append((datetime.now(UTC) - when).days)
    return days


JUDGES = {
    "15.0": deletes_in_turn,
    "15.1": one_run_a_thread,
    "15.2": deletes_what_is_old,
}
