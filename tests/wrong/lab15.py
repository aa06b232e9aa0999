"""Wrong answers to the check of lesson 15 and to lab 15."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

import anyio

from tests.wrong import right, wrong


def ask(text):
    return {"messages": [("user", text)]}


def on(thread):
    return {"configurable": {"thread_id": thread}}


# --- 15.1


@wrong(
    "15.1",
    "4 runs of one thread were at work at once: each saves what it knew "
    "when it began, and erases the others",
)
def does_not_wait(graph):
    async def asked(thread, text):
        state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@wrong(
    "15.1",
    "4 runs of one thread were at work at once: each saves what it knew "
    "when it began, and erases the others",
)
def makes_a_lock_for_each_call(graph):
    async def asked(thread, text):
        async with asyncio.Lock():
            state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@wrong(
    "15.1",
    "five threads waited for each other: at most 1 in flight",
)
def has_one_lock_for_all(graph):
    lock = asyncio.Lock()

    async def asked(thread, text):
        async with lock:
            state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@wrong(
    "15.1",
    "after a bug in a node nobody gets in on that thread: release its "
    "lock whatever happens",
)
def releases_only_on_success(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        await locks[thread].acquire()
        state = await graph.ainvoke(ask(text), on(thread))
        locks[thread].release()
        return state["messages"][-1].text

    return asked


@wrong(
    "15.1",
    "after a cancel nobody gets in on that thread: release its lock "
    "whatever happens",
)
def forgets_the_cancel(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        await locks[thread].acquire()
        try:
            state = await graph.ainvoke(ask(text), on(thread))
        except Exception:
            locks[thread].release()
            raise
        locks[thread].release()
        return state["messages"][-1].text

    return asked


@wrong(
    "15.1",
    "it returned None to who has to wait: wait for the run before, "
    "however long",
)
def sends_the_others_away(graph):
    busy = set()

    async def asked(thread, text):
        if thread in busy:
            return None
        busy.add(thread)
        state = await graph.ainvoke(ask(text), on(thread))
        busy.discard(thread)
        return state["messages"][-1].text

    return asked


@wrong("15.1", "a bug in a node was swallowed: let it out")
def keeps_errors_to_itself(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        async with locks[thread]:
            try:
                state = await graph.ainvoke(ask(text), on(thread))
            except Exception as error:
                return str(error)
        return state["messages"][-1].text

    return asked


@wrong(
    "15.1",
    "it returned a coroutine, not a function: `in_turns` is a plain `def`",
)
async def is_async_itself(graph):
    return does_not_wait(graph)


@right("15.1")
def forgets_idle_locks(graph):
    locks = WeakValueDictionary()

    async def asked(thread, text):
        lock = locks.setdefault(thread, asyncio.Lock())
        async with lock:
            state = await graph.ainvoke(ask(text), on(thread))
        return state["messages"][-1].text

    return asked


@wrong(
    "15.1",
    "2 runs of one thread were at work at once: each saves what it knew "
    "when it began, and erases the others",
)
def waits_for_the_run_before(graph):
    last = {}

    async def after(before, thread, text):
        if before:
            await asyncio.wait([before])
        return await graph.ainvoke(ask(text), on(thread))

    async def asked(thread, text):
        run = after(last.get(thread), thread, text)
        last[thread] = asyncio.create_task(run)
        state = await last[thread]
        return state["messages"][-1].text

    return asked


# --- more that people write


@wrong(
    "15.1",
    "2 runs of one thread were at work at once: each saves what it knew "
    "when it began, and erases the others",
)
def drops_the_lock_after_its_use(graph):
    locks = {}

    async def asked(thread, text):
        async with locks.setdefault(thread, asyncio.Lock()):
            state = await graph.ainvoke(ask(text), on(thread))
        locks.pop(thread, None)
        return state["messages"][-1].text

    return asked


@wrong(
    "15.1",
    "3 runs of one thread were at work at once: each saves what it knew "
    "when it began, and erases the others",
)
def looks_once(graph):
    events = {}

    async def asked(thread, text):
        if thread in events:
            await events[thread].wait()
        events[thread] = asyncio.Event()
        try:
            state = await graph.ainvoke(ask(text), on(thread))
            return state["messages"][-1].text
        finally:
            events[thread].set()

    return asked


@wrong(
    "15.1",
    "it returned '' to who has to wait: wait for the run before, however long",
)
def gives_up_waiting(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        try:
            await asyncio.wait_for(locks[thread].acquire(), 0.5)
        except TimeoutError:
            return ""
        try:
            state = await graph.ainvoke(ask(text), on(thread))
            return state["messages"][-1].text
        finally:
            locks[thread].release()

    return asked


@wrong("15.1", "its run went on when it was cancelled")
def runs_in_a_task_of_its_own(graph):
    last = {}

    async def after(before, thread, text):
        if before:
            await asyncio.wait([before])
        return await graph.ainvoke(ask(text), on(thread))

    async def asked(thread, text):
        run = after(last.get(thread), thread, text)
        last[thread] = asyncio.create_task(run)
        state = await asyncio.shield(last[thread])
        return state["messages"][-1].text

    return asked


@right("15.1")
def looks_again_and_again(graph):
    busy = set()

    async def asked(thread, text):
        while thread in busy:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        busy.add(thread)
        try:
            state = await graph.ainvoke(ask(text), on(thread))
            return state["messages"][-1].text
        finally:
            busy.remove(thread)

    return asked


@right("15.1")
def takes_anyio(graph):
    locks = defaultdict(anyio.Lock)

    async def asked(thread, text):
        stream = graph.astream(ask(text), on(thread), stream_mode="values")
        async with locks[thread]:
            async for values in stream:
                state = values
        return state["messages"][-1].text

    return asked


@right("15.1")
def counts_who_needs_it(graph):
    locks = {}

    async def asked(thread, text):
        entry = locks.setdefault(thread, [asyncio.Lock(), 0])
        entry[1] += 1
        try:
            async with entry[0]:
                state = await graph.ainvoke(ask(text), on(thread))
                return state["messages"][-1].text
        finally:
            entry[1] -= 1
            if not entry[1]:
                del locks[thread]

    return asked


class Turns:
    def __init__(self, graph):
        self.graph = graph
        self.locks = defaultdict(asyncio.Lock)

    async def ask(self, thread, text):
        async with self.locks[thread]:
            state = await self.graph.ainvoke(ask(text), on(thread))
            return state["messages"][-1].text


@right("15.1")
def is_a_method(graph):
    return Turns(graph).ask


# --- 15.0


@wrong(
    "15.0",
    "it deleted while a run had the lock: that run writes the thread again",
)
async def does_not_wait_for_its_turn(saver, thread, lock):
    await saver.adelete_thread(thread)


@wrong("15.0", "it gave the lock back before the thread was deleted")
async def only_waits(saver, thread, lock):
    async with lock:
        pass
    await saver.adelete_thread(thread)


@wrong("15.0", "it kept the lock")
async def keeps_the_lock(saver, thread, lock):
    await lock.acquire()
    await saver.adelete_thread(thread)


@wrong("15.0", "after an error it kept the lock")
async def forgets_the_lock_on_errors(saver, thread, lock):
    await lock.acquire()
    await saver.adelete_thread(thread)
    lock.release()


@wrong(
    "15.0",
    "it called a sync method, and the saver belongs to this event loop: "
    "await the one with an `a`",
)
async def deletes_in_sync(saver, thread, lock):
    async with lock:
        saver.delete_thread(thread)


@wrong("15.0", "the thread is still there")
async def does_not_await_it(saver, thread, lock):
    async with lock:
        saver.adelete_thread(thread).close()


@wrong("15.0", "it did not wait for the lock")
async def goes_if_it_is_locked(saver, thread, lock):
    if not lock.locked():
        await saver.adelete_thread(thread)


@right("15.0")
async def takes_it_by_hand(saver, thread, lock):
    await lock.acquire()
    try:
        await saver.adelete_thread(thread)
    finally:
        lock.release()


# --- 15.2


async def newest(saver):
    times = {}
    async for found in saver.alist(None):
        thread = found.config["configurable"]["thread_id"]
        when = datetime.fromisoformat(found.checkpoint["ts"])
        times[thread] = max(when, times.get(thread, when))
    return times


@wrong(
    "15.2",
    "it never ends: a delete waits until `alist` has been read, and the "
    "loop over `alist` waits for the delete",
)
async def deletes_while_it_reads(saver, age):
    gone = []
    async for found in saver.alist(None):
        when = datetime.fromisoformat(found.checkpoint["ts"])
        if when < datetime.now(UTC) - age:
            thread = found.config["configurable"]["thread_id"]
            await saver.adelete_thread(thread)
            gone.append(thread)
    return gone


@wrong(
    "15.2",
    "it deleted a thread last used 7 days ago, and the age was 365 "
    "days: its newest checkpoint counts",
)
async def takes_any_old_checkpoint(saver, age):
    gone = set()
    async for found in saver.alist(None):
        when = datetime.fromisoformat(found.checkpoint["ts"])
        if when < datetime.now(UTC) - age:
            gone.add(found.config["configurable"]["thread_id"])
    for thread in gone:
        await saver.adelete_thread(thread)
    return sorted(gone)


@wrong(
    "15.2",
    "a thread last used 30 days ago is still there, and the age was 10 days",
)
async def knows_only_a_year(saver, age):
    times = await newest(saver)
    line = datetime.now(UTC) - timedelta(days=365)
    gone = sorted(t for t in times if times[t] < line)
    for thread in gone:
        await saver.adelete_thread(thread)
    return gone


@wrong(
    "15.2",
    "a thread last used 730 days ago is still there, and the age was 365 days",
)
async def only_lists_them(saver, age):
    times = await newest(saver)
    return sorted(t for t in times if times[t] < datetime.now(UTC) - age)


@wrong("15.2", "it returned an int, not a list of ids")
async def counts_them(saver, age):
    times = await newest(saver)
    gone = [t for t in times if times[t] < datetime.now(UTC) - age]
    for thread in gone:
        await saver.adelete_thread(thread)
    return len(gone)


@right("15.2")
async def reads_a_list_first(saver, age):
    line = (datetime.now(UTC) - age).isoformat()
    found = [one async for one in saver.alist(None)]
    all_of_them = {one.config["configurable"]["thread_id"] for one in found}
    young = {
        one.config["configurable"]["thread_id"]
        for one in found
        if one.checkpoint["ts"] >= line
    }
    gone = sorted(all_of_them - young)
    await asyncio.gather(*map(saver.adelete_thread, gone))
    return gone


# --- what the first judges did not see


@wrong("15.1", "who waited for an hour was sent away: wait on")
def waits_a_minute(graph):
    locks = defaultdict(asyncio.Lock)

    async def asked(thread, text):
        await asyncio.wait_for(locks[thread].acquire(), 60)
        try:
            state = await graph.ainvoke(ask(text), on(thread))
            return state["messages"][-1].text
        finally:
            locks[thread].release()

    return asked
