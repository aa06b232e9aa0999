"""Answers to the check of lesson 15 and to lab 15."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime

from tests.wrong import right, wrong


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
