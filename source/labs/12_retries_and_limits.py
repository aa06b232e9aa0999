# %% [markdown]
# # Lab 12: one budget, one time limit
#
# lesson: [12 · Retries and limits](../notebooks/12_retries_and_limits.ipynb) ·
# [exercise](../exercises/12_retries_and_limits.ipynb) ·
# [solution](../solutions/12_retries_and_limits.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - retry within a budget that is told in requests;
# - return in time what has come, and end the rest.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints. The imports are folded.

# %% tags=["folded"]
import asyncio

import openai

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

from workshop.checks import check

# %% [markdown]
# Four helpers for both tasks.


# %%
def ask(question):
    return {"messages": [("user", question)]}


async def text_of(graph, question):
    state = await graph.ainvoke(ask(question))
    return state["messages"][-1].text


async def for_all(one, questions):
    """Call `one(question)` for all of them at once."""
    runs = [one(question) for question in questions]
    return await asyncio.gather(*runs)


def seconds_told(refused):
    """The seconds in Retry-After, or one: not every refusal has it."""
    return float(refused.response.headers.get("retry-after", "1"))


# %% [markdown]
# ## Task 1: a budget told in requests
#
# `make` builds a graph as teams often do: each level retries.


# %%
def make(max_retries=2, max_attempts=3):
    chat = ChatOpenAI(model=model.name, max_retries=max_retries)
    agent = create_agent(chat, tools=[])
    policy = RetryPolicy(max_attempts=max_attempts, initial_interval=0.01)
    builder = StateGraph(MessagesState)
    builder.add_node("reply", agent, retry_policy=policy)
    builder.add_edge(START, "reply")
    return builder.compile()


# %% [markdown]
# Where everything is refused, one question costs nine requests.
#
# **Write** `within_budget(make, questions, budget)`.
#
# - It asks all at once and returns a list of texts, in order.
# - Who is refused (`openai.RateLimitError`) asks again after the seconds in
#   `Retry-After`; `seconds_told` above reads them.
# - All together make at most `budget` requests. Where the budget ended, the
#   text is `None`.
# - Any other failure is raised; nothing is asked again for it.
#
# **Expected:** everything is refused, a budget of 5: 5 requests.


# %%
async def within_budget(make, questions, budget):
    # TODO (about 8 lines)
    # solution
    graph = make(max_retries=0, max_attempts=1)
    left = budget

    async def one(question):
        nonlocal left
        while left > 0:
            left -= 1
            try:
                return await text_of(graph, question)
            except openai.RateLimitError as refused:
                await asyncio.sleep(seconds_told(refused))

    return await for_all(one, questions)


# %%
await check("12.1", within_budget)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Only one level may retry, and it must know the whole budget: yours. Switch
# the other two off with the arguments of `make`.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# One graph from `make(0, 1)` and one counter for all. Each question loops
# `while left > 0`: count down, then `try` `text_of`, and on
# `openai.RateLimitError as refused` sleep for `seconds_told(refused)`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A level knows only its own attempts. A budget needs one place that
# sees every request. The counter goes down **before** the request: there is no
# `await` between the look and the count, so no other question can slip in.
#
# If one question is all that you have, `make(max_retries=n, max_attempts=1)`
# is enough: the client honours `Retry-After` by itself.

# %% [markdown]
# ## Task 2: what has come in time
#
# A page asks several questions and can wait for so many seconds.
#
# **Write** `in_time(graph, questions, seconds)`.
#
# - It asks all at once and returns a list of texts, in order, as soon as all
#   have come.
# - After `seconds` it returns as well, with `None` for what has not come.
#   These calls end, and the model does not go on writing.
# - If a run fails in time, its error is raised.
#
# **Expected:** one of three stalls: two texts and `None`, 1 call cut off.


# %%
async def in_time(graph, questions, seconds):
    async def one(question):
        # TODO (about 5 lines)
        # solution
        try:
            async with asyncio.timeout(seconds):
                return await text_of(graph, question)
        except TimeoutError:
            return None

    return await for_all(one, questions)


# %%
await check("12.2", in_time)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# All begin at the same moment, so each of them can have a limit of its own.
# Which limit ends the call at the model?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# An inner `async def one(question)`: inside a `try`, `async with
# asyncio.timeout(seconds):` around `text_of`; on `TimeoutError` return
# `None`. `for_all` keeps the order.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `asyncio.timeout` cancels what is inside, and the cancel closes the
# connection: the model notices that you have left. A limit around the whole
# `gather` would lose the texts that had come.
#
# `asyncio.wait(tasks, timeout=seconds)` does it, too. It cancels nothing, so
# you cancel what is late, and wait for its end.

# %% [markdown]
# ## Keep
#
# - One level retries: the one that knows the budget.
# - A limit for each run keeps what the others have.
#
# **Next:** [13 · Fan out and merge](../notebooks/13_fan_out.ipynb)
