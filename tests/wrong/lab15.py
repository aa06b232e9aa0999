"""Answers to the check of lesson 15 and to lab 15."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime

from tests.wrong import changed, right, wrong


async def run(graph, thread, text):
    config = {"configurable": {"thread_id": thread}}
    state = await graph.ainvoke({"messages": [("user", text)]}, config)
    return state["messages"][-1].text


# --- 15.1


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
        answer = await run(graph, thread, text)
        busy.discard(thread)
        return answer

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
        return await run(graph, thread, text)

    async def asked(thread, text):
        mine = after(last.get(thread), thread, text)
        last[thread] = asyncio.create_task(mine)
        return await last[thread]

    return asked


@right("15.1")
def looks_again_and_again(graph):
    busy = set()

    async def asked(thread, text):
        while thread in busy:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        busy.add(thread)
        try:
            return await run(graph, thread, text)
        finally:
            busy.remove(thread)

    return asked


class Turns:
    def __init__(self, graph):
        self.graph = graph
        self.locks = defaultdict(asyncio.Lock)

    async def ask(self, thread, text):
        async with self.locks[thread]:
            return await run(self.graph, thread, text)


@right("15.1")
def is_a_method(graph):
    return Turns(graph).ask


# --- 15.2


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


changed(
    "15.0",
    """
    it deleted while a run had the lock: that run writes the thread again
    - async with lock:
    -     await saver.adelete_thread(thread)
    + await saver.adelete_thread(thread)

    it gave the lock back before the thread was deleted
    -     await saver.adelete_thread(thread)
    +     pass
    + await saver.adelete_thread(thread)

    it kept the lock
    - async with lock:
    -     await saver.adelete_thread(thread)
    + await lock.acquire()
    + await saver.adelete_thread(thread)

    after an error it kept the lock
    - async with lock:
    -     await saver.adelete_thread(thread)
    + await lock.acquire()
    + await saver.adelete_thread(thread)
    + lock.release()

    it called a sync method, and the saver belongs to this event loop: await
    the one with an `a`
    - await saver.adelete_thread(thread)
    + saver.delete_thread(thread)

    the thread is still there
    - await saver.adelete_thread(thread)
    + saver.adelete_thread(thread).close()

    it did not wait for the lock
    - async with lock:
    + if not lock.locked():

    ✅
    - async with lock:
    + await lock.acquire()
    + try:
          await saver.adelete_thread(thread)
    + finally:
    +     lock.release()
    """,
)


changed(
    "15.1",
    """
    4 runs of one thread were at work at once: each saves what it knew when it
    began, and erases the others
    - async with locks.setdefault(thread, asyncio.Lock()):
    + async with asyncio.Lock():

    five threads waited for each other: at most 1 in flight
    - async with locks.setdefault(thread, asyncio.Lock()):
    + async with locks.setdefault("all", asyncio.Lock()):

    after a bug in a node nobody gets in on that thread: release its lock
    whatever happens
    - async with locks.setdefault(thread, asyncio.Lock()):
    -     return await run(graph, thread, text)
    + lock = locks.setdefault(thread, asyncio.Lock())
    + await lock.acquire()
    + answer = await run(graph, thread, text)
    + lock.release()
    + return answer

    after a cancel nobody gets in on that thread: release its lock whatever
    happens
    - async with locks.setdefault(thread, asyncio.Lock()):
    -     return await run(graph, thread, text)
    + lock = locks.setdefault(thread, asyncio.Lock())
    + await lock.acquire()
    + try:
    +     answer = await run(graph, thread, text)
    + except Exception:
    +     lock.release()
    +     raise
    + lock.release()
    + return answer

    a bug in a node was swallowed: let it out
    - return await run(graph, thread, text)
    + try:
    +     return await run(graph, thread, text)
    + except Exception as error:
    +     return str(error)

    it returned a coroutine, not a function: `in_turns` is a plain `def`
    - def in_turns(graph):
    + async def in_turns(graph):

    2 runs of one thread were at work at once: each saves what it knew when it
    began, and erases the others
    - locks = WeakValueDictionary()
    + locks = {}
    @@
    -     return await run(graph, thread, text)
    +     answer = await run(graph, thread, text)
    + locks.pop(thread, None)
    + return answer

    who waited for an hour was sent away: wait on
    - async with locks.setdefault(thread, asyncio.Lock()):
    + lock = locks.setdefault(thread, asyncio.Lock())
    + await asyncio.wait_for(lock.acquire(), 60)
    + try:
          return await run(graph, thread, text)
    + finally:
    +     lock.release()

    its run went on when it was cancelled
    - return await run(graph, thread, text)
    + return await asyncio.shield(run(graph, thread, text))

    ✅
      def in_turns(graph):
    +     import anyio
    +
    @@
    - async with locks.setdefault(thread, asyncio.Lock()):
    + async with locks.setdefault(thread, anyio.Lock()):
    """,
)


changed(
    "15.2",
    """
    it deleted a thread last used 7 days ago, and the age was 365 days: its
    newest checkpoint counts
    - last_used[thread] = max(before, time_of(found))
    + last_used[thread] = min(before, time_of(found))

    a thread last used 30 days ago is still there, and the age was 10 days
    - line = datetime.now(UTC) - age
    + line = datetime.now(UTC) - timedelta(days=365)

    a thread last used 730 days ago is still there, and the age was 365 days
    - for thread in old:
    -     await saver.adelete_thread(thread)

    it returned an int, not a list of ids
    - return old
    + return len(old)
    """,
)
