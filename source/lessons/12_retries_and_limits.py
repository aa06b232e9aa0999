# %% [markdown]
# # Pay for retries and time limits knowingly
#
# previous: [11 · Many graphs at once](11_parallel_graphs.ipynb) ·
# next: [13 · Fan out and merge](13_fan_out.ipynb) ·
# lab: [12](../exercises/12_retries_and_limits.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - say how many requests one question can cost, and who waits as told;
# - choose the one level that retries;
# - put a time limit where it really ends a call.
#
# Builds on lesson 11.

# %%
import asyncio

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()


def ask(question):
    return {"messages": [("user", question)]}


TEA = ask("tea")


def graph_of(llm, retry_policy=None, timeout=None):
    async def reply(state):
        message = await llm.ainvoke(state["messages"])
        return {"messages": message}

    builder = StateGraph(MessagesState)
    builder.add_node(reply, retry_policy=retry_policy, timeout=timeout)
    builder.add_edge(START, "reply")
    return builder.compile()


# %% [markdown]
# `graph_of` makes a graph of one node and hands `add_node` its two options.
#
# `counted`, in the folded cell, awaits something. Then it prints what the
# **model** counted and what came out.

# %% tags=["folded"]
import logging

from workshop.observe import Timeline

# langchain-openai logs each chunk that is late; the exception says it too.
logging.getLogger("langchain_openai").setLevel("ERROR")


async def counted(name, work):
    with model.meter() as meter, Timeline() as timeline:
        try:
            end = type(await work).__name__
        except Exception as error:
            end = type(error).__name__
    while meter.read().in_flight:
        await asyncio.sleep(0.05)
    print(
        f"{name:11} requests: {meter.requests:2}, "
        f"cut off: {meter.cut_off}, {timeline.took:.1f} s, {end}"
    )


# %% [markdown]
# ## A refusal
#
# A busy provider answers 429, *too many requests*. In the header
# `Retry-After` it can say in how many seconds to come back. The openai
# client repeats a request by itself: `max_retries` is 2 unless you set it.
#
# **Predict.** The model refuses twice and says: in one second. Then it breaks
# twice without a word about when (status 500). How many requests does each
# question cost, and which one takes longer?
#
# <details><summary>Answer</summary>
#
# Three each: the first attempt and two retries. The first question waits as
# told, 2 x 1 s, and 0.8 s for its answer. Without the header the client waits
# half a second, then a second, less up to a quarter by chance.
#
# </details>

# %%
llm = ChatOpenAI(model=model.name)

model.fault("rate_limit", times=2, retry_after=1)
await counted("told when", llm.ainvoke("tea"))

model.fault("server_error", times=2)
await counted("not told", llm.ainvoke("tea"))

# %% [markdown]
# The client repeats after 408, 409, 429, any 5xx and a lost connection.
#
# It waits at most two minutes. If it is told to come back later than that, it
# raises the refusal at once.

# %%
model.fault("rate_limit", retry_after=300)
await counted("in 5 min", llm.ainvoke("tea"))

# %% [markdown]
# ## Three levels can retry
#
# The client is the lowest of them. A **node** retries with a `RetryPolicy`:
# three attempts, with a **[backoff](glossary.md#backoff)** of 0.5 s and 1 s,
# if you set nothing. A **run** retries with `with_retry()`: three attempts as
# well, after about 1 s and 2 s.
#
# To see one level alone, the others are switched off: `max_retries=0`.
#
# **Predict.** The model refuses twice and says: in two seconds. Which of the
# three waits as it was told?
#
# <details><summary>Answer</summary>
#
# Only the client: 2 x 2 s, and 0.8 s for the answer. The node and the run see
# an exception and do not read its headers; they come back too early.
#
# </details>

# %%
once = ChatOpenAI(model=model.name, max_retries=0)

model.fault("rate_limit", times=2, retry_after=2)
graph = graph_of(llm)
await counted("client", graph.ainvoke(TEA))

model.fault("rate_limit", times=2, retry_after=2)
graph = graph_of(once, retry_policy=RetryPolicy())
await counted("node", graph.ainvoke(TEA))

model.fault("rate_limit", times=2, retry_after=2)
graph = graph_of(once).with_retry()
await counted("run", graph.ainvoke(TEA))

# %% [markdown]
# ## What people get wrong: *three levels are safer than one*
#
# Each level knows only its own attempts. Here all three stand as they come;
# the two arguments only shorten their waits.
#
# **Predict.** The model refuses everything. How many requests does one
# question cost?
#
# <details><summary>Answer</summary>
#
# 3 x 3 x 3 = 27. Each attempt of the run makes three of the node, and each
# of those makes three of the client.
#
# </details>

# %%
policy = RetryPolicy(initial_interval=0.1)
graph = graph_of(llm, retry_policy=policy)
stubborn = graph.with_retry(wait_exponential_jitter=False)

model.fault("rate_limit", times=27, retry_after=0.05)
await counted("all three", stubborn.ainvoke(TEA))

# %% [markdown]
# A provider that is busy gets 27 times the load. And a higher level repeats
# more than what failed: in this graph the model has answered, and then a
# printer is off for a moment.


# %%
class Printer:
    def __init__(self):
        self.is_off = True

    def publish(self, state):
        if self.is_off:
            self.is_off = False  # on from the next attempt
            raise ConnectionError("The printer is off.")


def print_graph(retry_policy=None):
    async def reply(state):
        message = await llm.ainvoke(state["messages"])
        return {"messages": message}

    builder = StateGraph(MessagesState)
    builder.add_node("reply", reply)
    publish = Printer().publish
    builder.add_node("publish", publish, retry_policy=retry_policy)
    builder.add_edge(START, "reply")
    builder.add_edge("reply", "publish")
    return builder.compile()


graph = print_graph(retry_policy=policy)
await counted("node", graph.ainvoke(TEA))

stubborn = print_graph().with_retry(wait_exponential_jitter=False)
await counted("run", stubborn.ainvoke(TEA))

# %% [markdown]
# So choose **one** level for each kind of failure:
#
# - refusals and lost connections: the client, for it reads `Retry-After`;
# - other work in a node: a `RetryPolicy`, with `retry_on=` set to what can
#   get better. Without it a node repeats most errors (no `ValueError`), also a
#   request that is wrong (status 400);
# - the run: nothing, or a budget that you count yourself. Lab 12 does that.
#
# ## Five time limits
#
# The model stalls for two seconds in the middle of an answer. Each limit below
# is one second. They differ in what they watch.
#
# The client's `timeout` watches one wait for the **next bytes**. In a stream
# each token brings bytes.
#
# **Predict.** First the model stalls. Then it is slow: twelve tokens, 0.3 s
# each, streamed. Does a limit of one second end both calls?
#
# <details><summary>Answer</summary>
#
# Only the first. No wait of the second call is longer than 0.3 s, so it may
# go on for ever.
#
# </details>

# %%
limited = ChatOpenAI(
    model=model.name, max_retries=0, timeout=1, streaming=True
)

model.fault("stall", after_tokens=2, seconds=2)
await counted("stalled", limited.ainvoke("tea"))

model.pace(per_token=0.3)
await counted("slow", limited.ainvoke("tea"))
model.pace(per_token=0.04)

# %% [markdown]
# `stream_chunk_timeout` watches the wait for the **next chunk** of a stream.
# A server can send bytes that are no chunk, to keep a connection open; this
# limit does not count them. It is 120 s unless you set it.

# %%
limited = ChatOpenAI(
    model=model.name, max_retries=0, stream_chunk_timeout=1, streaming=True
)

model.fault("stall", after_tokens=2, seconds=2)
await counted("chunk", limited.ainvoke("tea"))

# %% [markdown]
# `timeout=` of `add_node` watches **one node**.

# %%
graph = graph_of(once, timeout=1)

model.fault("stall", after_tokens=2, seconds=2)
await counted("node", graph.ainvoke(TEA))

# %% [markdown]
# `step_timeout` of a compiled graph watches **one step**: all nodes that run
# side by side.

# %%
graph = graph_of(once)
graph.step_timeout = 1

model.fault("stall", after_tokens=2, seconds=2)
await counted("step", graph.ainvoke(TEA))

# %% [markdown]
# `asyncio.timeout` watches **whatever you put inside**. It is the one for a
# whole run.


# %%
async def within(seconds, graph, question):
    async with asyncio.timeout(seconds):
        state = await graph.ainvoke(ask(question))
    return state["messages"][-1].text


model.fault("stall", after_tokens=2, seconds=2)
graph = graph_of(once)
await counted("run", within(1, graph, "tea"))

# %% [markdown]
# All five ended the call at the model: 1 cut off. All but the first do it by
# a cancel, and a cancel needs an `await` to arrive at.
#
# **Predict.** The node is now a plain `def` with `invoke` in it. LangGraph
# runs it in a thread. What does the limit of one second end?
#
# <details><summary>Answer</summary>
#
# Your waiting, not the call: 0 cut off. A thread cannot be cancelled, so the
# model writes to the end and you pay for it.
#
# </details>


# %%
def reply_in_thread(state):
    return {"messages": once.invoke(state["messages"])}


builder = StateGraph(MessagesState)
builder.add_node("reply", reply_in_thread)
builder.add_edge(START, "reply")

model.fault("stall", after_tokens=2, seconds=2)
graph = builder.compile()
await counted("run, def", within(1, graph, "tea"))

# %% [markdown]
# For the same reason LangGraph refuses a `timeout=` on a `def` node, with a
# `ValueError`. A thread's call has one limit that ends it: the client's.
#
# | limit | watches | exception | ends a `def` node's call |
# |---|---|---|---|
# | `ChatOpenAI(timeout=)` | next bytes | `openai.APITimeoutError` | yes |
# | `stream_chunk_timeout=` | next chunk | `StreamChunkTimeoutError` | no |
# | `add_node(timeout=)` | one node | `NodeTimeoutError` | refused |
# | `graph.step_timeout` | one step | `TimeoutError` | no |
# | `asyncio.timeout()` | all inside | `TimeoutError` | no |
#
# `OpenAITimeoutError` above is a subclass of `openai.APITimeoutError`.
#
# A client retries after its own timeout, too: with `max_retries=2` a limit of
# 30 s can take 90. The outermost limit, `asyncio.timeout`, ends that as well.
#
# ## Take it to work
#
# One level that retries, a limit for each wait, and a limit for the whole.

# %%
import openai

worker = ChatOpenAI(
    model=model.name,
    max_retries=2,  # the only level that retries
    timeout=20,  # for each wait, and for calls in threads
)


async def answer_or_reason(graph, question, seconds):
    """Return the answer's text, or a sentence that says why there is none."""
    try:
        async with asyncio.timeout(seconds):
            state = await graph.ainvoke(ask(question))
    except TimeoutError:
        return f"No answer within {seconds} seconds."
    except openai.RateLimitError:
        return "The model is busy. Please try again later."
    except openai.APIError:
        return "The model cannot be reached."
    return state["messages"][-1].text


model.fault("stall", after_tokens=2, seconds=2)
graph = graph_of(worker)
print(await answer_or_reason(graph, "tea", seconds=1))

# %% [markdown]
# ## Check yourself
#
# Replace the `...`. The model refuses everything. How many requests does one
# question cost, if the client has `max_retries`, the node a `RetryPolicy`
# with `max_attempts`, and your code makes `runs` attempts?


# %%
from workshop.checks import check


def billed(max_retries, max_attempts, runs) -> int:
    # TODO (about 1 line)
    ...


# %%
await check("12.0", billed)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A retry comes after a first attempt. Is the first attempt one of the
# `max_attempts`, too?
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# return (max_retries + 1) * max_attempts * runs
# ```
#
# </details>
#
# ## Keep
#
# - Retry at one level. Only the client waits as long as it was told.
# - The client's `timeout` is about one wait; `asyncio.timeout` about all.
# - A limit that cancels needs an `await`: it does not end a thread's call.
#
# **Next:** [Lab 12](../exercises/12_retries_and_limits.ipynb)
