# %% [markdown]
# # Lab 15: share a memory
#
# lesson: [15 · Shared memory](../notebooks/15_shared_memory.ipynb) ·
# [exercise](../exercises/15_shared_memory.ipynb) ·
# [solution](../solutions/15_shared_memory.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - let messages of one thread wait for each other;
# - delete the conversations that nobody uses any more.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints.

# %%
import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver

from workshop.checks import check

llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)
saver = InMemorySaver()
chat = create_agent(llm, [], checkpointer=saver)

# %% [markdown]
# ## Task 1: one at a time
#
# Five messages arrive on one thread at once.


# %%
def on(thread):
    return {"configurable": {"thread_id": thread}}


async def run(graph, thread, text):
    given = {"messages": [("user", text)]}
    state = await graph.ainvoke(given, on(thread))
    return state["messages"][-1].text


calls = []
for number in range(1, 6):
    calls.append(run(chat, "rush", f"Table {number}"))
await asyncio.gather(*calls)
state = await chat.aget_state(on("rush"))
print("all 10 messages kept:", len(state.values["messages"]) == 10)

# %% [markdown]
# **Write** `in_turns(graph)`, a plain `def`. It returns an `async def
# ask(thread, text)` that gives the text of an answer. On one thread the runs
# wait for each other, however long. On different threads they do not. A run
# that fails or is cancelled holds nobody up, and who waits may be cancelled,
# too.
#
# **Expected:** 10 of 10 messages; 5 threads, 5 requests in flight.


# %%
def in_turns(graph):
    # TODO (about 5 lines)
    # solution
    locks = WeakValueDictionary()

    async def ask(thread, text):
        async with locks.setdefault(thread, asyncio.Lock()):
            return await run(graph, thread, text)

    return ask


# %%
await check("15.1", in_turns)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# One `asyncio.Lock` for all would be too much, one for each call too little.
# Who must share one? And who may forget it, when?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `locks = WeakValueDictionary()` outside of `ask`, and in it `async with
# locks.setdefault(thread, asyncio.Lock()):` around `run(...)`. `async with`
# also lets go after an error or a cancel.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A run reads the thread when it begins. So the lock has to be taken
# before that and kept until the run has written.
#
# To take a lock out of a `dict` after its use goes wrong when another one
# waits for it: the next to come makes a new lock, and two are in. The weak
# dictionary forgets a lock when nobody holds it and nobody waits; a plain one
# grows with each thread. Several processes need a lock that all of them see:
# lesson 15 has two.

# %% [markdown]
# ## Task 2: what nobody uses
#
# A saver keeps its threads for ever. `saver.alist(None)` lists the checkpoints
# of all of them, and each knows its thread and its time.


# %%
def thread_of(found):
    return found.config["configurable"]["thread_id"]


def time_of(found):
    return datetime.fromisoformat(found.checkpoint["ts"])


counts = defaultdict(int)
async for found in saver.alist(None):
    counts[thread_of(found)] += 1
print(dict(counts))
print("today's:", time_of(found) > datetime.now(UTC) - timedelta(days=1))

# %% [markdown]
# **Write** `clean_up(saver, age)`. It deletes each thread that was last used
# longer ago than `age`, a `timedelta`. All others keep all that they have. It
# returns the ids of the deleted threads, a list, sorted.
#
# The saver is an async one and has one connection: while `alist` is being
# read, every other call of it waits.
#
# **Expected:** after a year without a word, a conversation is gone. One that
# is a year old and was used today stays.


# %%
async def clean_up(saver, age):
    last_used = {}
    async for found in saver.alist(None):
        thread = thread_of(found)
        before = last_used.get(thread, time_of(found))
        last_used[thread] = max(before, time_of(found))

    # TODO (about 5 lines)
    # solution
    line = datetime.now(UTC) - age
    old = sorted(t for t in last_used if last_used[t] < line)
    for thread in old:
        await saver.adelete_thread(thread)
    return old


# %%
await check("15.2", clean_up)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# A thread has many checkpoints. Which of them says when it was last used? And
# when is it safe to delete: in the loop over `alist`, or after it?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# First a `dict` from thread to its newest time, filled in a loop over
# `saver.alist(None)`. Then, after that loop, `await
# saver.adelete_thread(thread)` for each one that is older than
# `datetime.now(UTC) - age`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The age of a thread is the age of its newest checkpoint. Do not
# count on the order of `alist`: a saver sorts by id, over all threads.
#
# `AsyncSqliteSaver` holds its lock while somebody reads from `alist`. A delete
# in that loop waits for the lock, and the loop waits for the delete: for ever.
#
# Where runs may be under way, take the lock of the thread before you delete
# it, and look once more. And where there are very many threads, ask the
# database for the newest checkpoint of each, rather than read them all.

# %% [markdown]
# ## Keep
#
# - One run at a time on a thread, in a lock that goes when nobody needs it.
# - Read the list first, then delete.
#
# **Next:** [16 · Ask a human](../notebooks/16_ask_a_human.ipynb)
