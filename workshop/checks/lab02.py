"""Judge the check of lesson 02 and the three tasks of lab 02."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import Any

from langgraph.graph import MessagesState
from langgraph.graph.state import CompiledStateGraph

from workshop.checks.kit import (
    AWKWARD_TOKENS,
    LATE,
    NESTED,
    PAUSE,
    TURN,
    Answer,
    Reader,
    ScriptedModel,
    Watch,
    Wrong,
    chain,
    chat_graph,
    collect,
    count,
    expect,
    failures,
    file_of,
    in_script,
    must_be_awaited,
    must_raise,
    name_of,
    result,
    settled,
    some_time_later,
    start,
    stop,
    stream_of,
    texts_of,
    until,
)

# --- 02.0


async def threads_overlap(answer: Answer) -> str:
    """02.0: call what blocks for each table, together, off the loop."""
    for tables in ([3, 1, 2], [7, 5, 7, 6]):
        await _tables(answer, tables)
    await _table_fails(answer)
    return "3 calls at once, and the loop stayed free"


async def _tables(answer: Answer, tables: list[int]) -> None:
    watch = Watch(file_of(answer))
    called: list[int] = []
    gate = threading.Event()

    def slow(table: int) -> str:
        called.append(table)
        watch.note_blocking_call()
        if watch.blocking[-1] is None:
            gate.wait(30)
            time.sleep(TURN * called.count(table) * (10 - table))
        return f"soup for {table}"

    asking = start(result(answer, slow=slow, tables=tables))
    await settled(lambda: len(called), lambda: len(called) == len(tables))
    at_once = len(called)
    gate.set()
    value = await asking
    watch.must_not_block(": nothing else runs meanwhile")
    texts = texts_of(value)
    if not called:
        raise Wrong("`slow` was never called")
    if at_once < len(tables):
        raise Wrong(
            f"at most {at_once} of {len(tables)} calls ran at once: start "
            "all, then wait"
        )
    if texts != [f"soup for {table}" for table in tables]:
        raise Wrong("the texts are not those of the tables, in their order")


async def _table_fails(answer: Answer) -> None:
    for error in (KeyError("salt"), TimeoutError(), OSError("door")):

        def slow(table: int, error: Exception = error) -> str:
            if table == 2:
                raise error
            return "soup"

        failing = result(answer, slow=slow, tables=[1, 2, 3])
        await must_raise("the error of a table", error, failing)


# --- 02.1


async def loop_stays_free(answer: Answer) -> str:
    """02.1: the same pieces, each when it comes, and nothing blocks."""
    orders = [
        _Order(answer, "Soup.", "Is it good?"),
        _Order(answer, "Bread, and soup.", "What is new?"),
    ]
    for order in orders:  # both are under way at once
        await order.begin()
    for order in orders:
        await order.end()
    await _order_fails(answer)
    return (
        "the loop stayed free, and the first pieces came before the model "
        "had finished"
    )


class _Order:
    """A menu, a question, and what an answer makes of them."""

    def __init__(self, answer: Answer, menu: str, question: str) -> None:
        self.question, self.menu = question, menu
        self.tokens = [*AWKWARD_TOKENS, menu]
        script = [*self.tokens[:2], PAUSE, *self.tokens[2:]]
        self.model = ScriptedModel.watching(answer, lambda _: script)
        self.menus = 0
        stream = stream_of(
            answer,
            graph=chat_graph(self.model),
            question=question,
            read_menu=self.read_menu,
        )
        self.reader = Reader(stream)

    def read_menu(self) -> str:
        self.model.watch.note_blocking_call()
        self.menus += 1
        return self.menu

    @property
    def texts(self) -> list[Any]:
        return [piece for piece in self.reader.parts if piece]

    async def begin(self) -> None:
        await self.model.waits_for(1, self.reader.task)
        await settled(
            lambda: len(self.reader.parts),
            lambda: len(self.texts) >= 2 or self.reader.done(),
        )
        self.early = [] if self.reader.done() else self.texts
        await some_time_later()

    async def end(self) -> None:
        reading = self.reader.task
        await self.model.finish([], reading)
        await self.model.value_of(reading, "graph")
        self.model.must_be_used("graph")

        # "nothing in it blocks the event loop"
        self.model.watch.must_not_block(": no beat meanwhile")
        # "with what `read_menu` returns for this order"
        got = self.model.calls[-1].got
        if not self.menus and "coroutine object" in got[-1]:
            raise Wrong("`read_menu` never ran: is an `await` missing?")
        if not self.menus:
            raise Wrong("`read_menu` was not called for this order")
        if self.menu not in "".join(got):
            raise Wrong("the model did not get what `read_menu` returned")
        # "it asks the graph the same"
        if got != [f"{self.menu} {self.question}"]:
            raise Wrong(f"the model got {got}, which `serve` did not ask")
        # "yields the same pieces, each when it comes"
        for piece in self.reader.parts:
            if not isinstance(piece, str):
                raise Wrong(f"it yielded {name_of(piece)}, not a text")
        if "".join(self.texts) != "".join(self.tokens):
            raise Wrong("the pieces together are not the reply")
        if not self.early:
            raise Wrong(LATE)
        if self.texts != self.tokens:
            raise Wrong("the text is right, but not in the model's pieces")
        if self.early != self.tokens[:2]:
            raise Wrong("a piece came late: only when the next one was there")


async def _order_fails(answer: Answer) -> None:
    """The model fails, then the menu."""
    for what, error in failures().items():
        for parts in (["Soup", error], ["Soup"]):

            def read_menu(parts: list[Any] = parts) -> str:
                if len(parts) == 1:
                    raise error  # noqa: B023
                return "Soup."

            model = ScriptedModel(script=lambda _, parts=parts: parts)
            given = {"graph": chat_graph(model), "question": "Hot?"}
            stream = stream_of(answer, **given, read_menu=read_menu)
            await must_raise(what, error, collect(stream, []))


# --- 02.2

EARLY = "a batch began before the one before it had ended"
BATCHES = [
    [["Soup?", "Bread?", "Cake?"], ["Tea?", "Milk?", "Tea?"]],
    [["The bill?", "Fish?"], ["A table?"], ["Who waits?", "Why?"]],
]


async def one_loop(answer: Answer) -> str:
    """02.2: answer batches from a script, one after the other."""
    for batches in BATCHES:
        if hasattr(asyncio, "_nest_patched"):
            raise Wrong(NESTED)
        await _script(answer, batches)
    error = KeyError("salt")
    model = ScriptedModel(script=lambda _: [error])
    given = {"graph": chat_graph(model), "batches": BATCHES[0]}
    await must_raise("the error of a call", error, in_script(answer, **given))
    return "one event loop for 2 batches: 6 requests, 3 in flight at once"


async def _script(answer: Answer, batches: list[list[str]]) -> None:
    model = ScriptedModel.watching(answer, lambda q: [PAUSE, "About ", q])
    graph = _one_loop_graph(model)
    answering = start(in_script(answer, graph=graph, batches=batches))
    at_once: list[int] = []
    begun: list[list[str]] = []
    allowed = 0
    for batch in batches:
        allowed += len(batch)
        await model.waits_for(len(batch), answering)
        await settled(lambda: len(model.calls), answering.done, still=10)
        at_once.append(model.in_flight)
        begun.append(sorted(call.asked for call in model.running))
        for call in reversed(model.running):
            if at_once[-1] <= len(batch) and len(model.calls) > allowed:
                raise Wrong(EARLY)
            await call.finish()
            await settled(answering.done, still=5)
    await model.finish([], answering)
    try:
        value = await answering
    except (RuntimeError, TypeError) as error:
        raise _script_mistake(error) from error

    if inspect.iscoroutine(value):
        value.close()
        raise Wrong("a script cannot await: `main` is a plain `def`")
    # "a list with the list of texts of each batch"
    lists = expect(value, list, "a list of lists")
    must_be_awaited(lists)
    model.must_be_used("graph")
    if len(lists) != len(batches) or isinstance(lists[0], str):
        raise Wrong(f"it returned no list of {len(batches)} lists")
    texts = [texts_of(entry) for entry in lists]
    # "each batch with `answer_all`, one batch after the other"
    for batch, flying in zip(batches, at_once, strict=True):
        if flying > len(batch):
            raise Wrong(
                f"{flying} requests were in flight: the second batch did not "
                "wait for the first"
            )
        if flying < len(batch):
            raise Wrong(
                f"a batch of {len(batch)} had at most "
                f"{count(flying, 'request')} in flight"
            )
    if len(model.calls) != allowed:
        raise Wrong(
            f"{allowed} questions took {count(len(model.calls), 'request')}"
        )
    if begun != list(map(sorted, batches)):
        raise Wrong("the batches were answered in another order")
    if texts != [[f"About {q}" for q in batch] for batch in batches]:
        raise Wrong("the texts are not in the order of the questions")


def _one_loop_graph(model: ScriptedModel) -> CompiledStateGraph:
    """Its model has connections, as ChatOpenAI has, of the first loop."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def reply(state: MessagesState) -> dict[str, Any]:
        loops.append(asyncio.get_running_loop())
        if loops[-1] is not loops[0]:
            raise RuntimeError("Event loop is closed")
        return {"messages": [await model.ainvoke(state["messages"])]}

    return chain({"reply": reply})


def _script_mistake(error: Exception) -> Exception:
    if "Event loop is closed" in str(error):
        return Wrong(
            "Event loop is closed: a second loop got the connections of the "
            "first; one asyncio.run must hold everything"
        )
    if str(error).startswith("No synchronous function"):
        return Wrong("the node is async: only `ainvoke` in a loop can run it")
    return error


# --- 02.3


class Evening:
    """A band and a dinner, which goes on when the judge lets it.

    The band is cancelled once, and needs some turns to pack up.
    """

    def __init__(self, dinner: Any) -> None:
        self.dinner = dinner
        self.bands = 0
        self.dinners = 0
        self.playing = False
        self.disturbed = False  # while it packed up
        self.heard = False  # during the dinner
        self.may_end = False

    async def play(self) -> None:
        self.bands += 1
        self.band = asyncio.current_task()  # held, if nobody else does
        self.playing = True
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await asyncio.sleep(5 * TURN)
            except asyncio.CancelledError:
                self.disturbed = True
                raise
            finally:
                self.playing = False

    async def dine(self) -> Any:
        self.dinners += 1
        while not self.may_end:
            self.heard = self.heard or self.playing
            await asyncio.sleep(TURN)
        if isinstance(self.dinner, Exception):
            raise self.dinner
        return self.dinner

    def begin(self, answer: Answer) -> asyncio.Task[Any]:
        return start(result(answer, play=self.play, dine=self.dine))

    async def under_way(self, evening: asyncio.Task[Any]) -> None:
        """Wait until both go on; raise Wrong if they never do."""
        await settled(
            lambda: (self.bands, self.dinners),
            lambda: (self.heard and self.dinners) or evening.done(),
        )
        if evening.done():
            await evening  # raises what it raised
            raise Wrong("it returned before `dine` had ended")
        if not self.dinners:
            raise Wrong("`dine` never began: it waits for the end of `play`")
        if not self.heard:
            raise Wrong("the band did not play while `dine` went on")

    async def end(self, evening: asyncio.Task[Any]) -> None:
        """Let the dinner end, and wait for the answer."""
        self.may_end = True
        if not await until(evening.done):
            evening.cancel()
            raise Wrong(
                "it did not return after `dine` had ended: `play` goes on "
                "until it is cancelled"
            )

    async def must_be_quiet(self, when: str) -> None:
        if self.disturbed:
            raise Wrong(
                f"{when}, the band was cancelled again while it packed up: "
                "its `finally` was cut off"
            )
        if (self.bands, self.dinners) != (1, 1):
            raise Wrong("`play` and `dine` are called once each")
        if not self.playing:
            return
        if await until(lambda: not self.playing, turns=60):
            raise Wrong(
                f"{when}, it did not wait until the band had packed up: "
                "`cancel()` only asks"
            )
        raise Wrong(f"{when}, the band still played")


async def band_packs_up(answer: Answer) -> str:
    """02.3: play while dine runs; play has ended before the return."""
    await _two_dinners(answer)
    await _dinner_fails(answer)
    await _guest_leaves(answer)
    return "the band packed up 5 times: after a return, an error, a cancel"


async def _two_dinners(answer: Answer) -> None:
    """Two at once, so that each has to end its own band."""
    first, second = Evening("soup"), Evening(None)
    evenings = [first.begin(answer), second.begin(answer)]
    await first.under_way(evenings[0])
    await second.under_way(evenings[1])
    await some_time_later()
    await first.under_way(evenings[0])
    await first.end(evenings[0])
    await first.must_be_quiet("after a return")
    if not second.playing or evenings[1].done():
        raise Wrong("with two at once, the end of one ended both")
    await second.end(evenings[1])
    await second.must_be_quiet("after a return")
    for evening, task in zip((first, second), evenings, strict=True):
        value = await task
        if value != evening.dinner:
            raise Wrong(f"it returned {value!r}, not what `dine` returned")


async def _dinner_fails(answer: Answer) -> None:
    for error in (KeyError("salt"), TimeoutError()):
        evening = Evening(error)
        task = evening.begin(answer)
        await evening.under_way(task)
        await evening.end(task)
        await evening.must_be_quiet("after an error in `dine`")
        raised = task.exception() if not task.cancelled() else None
        while isinstance(raised, BaseExceptionGroup):
            raised = raised.exceptions[0]
        if raised is not error:
            raise Wrong("the error of `dine` did not pass on")


async def _guest_leaves(answer: Answer) -> None:
    evening = Evening("soup")
    task = evening.begin(answer)
    await evening.under_way(task)
    if not await stop(task):
        evening.may_end = True
        raise Wrong("it was cancelled and went on")
    await evening.must_be_quiet("after a cancel")
    if not task.cancelled():
        raise Wrong("it was cancelled, and the CancelledError did not pass on")


JUDGES = {
    "02.0": threads_overlap,
    "02.1": loop_stays_free,
    "02.2": one_loop,
    "02.3": band_packs_up,
}
