# %% [markdown]
# # Lab 11: many graphs at once
#
# lesson: [11 · Parallel graphs](../notebooks/11_parallel_graphs.ipynb) ·
# [exercise](../exercises/11_parallel_graphs.ipynb) ·
# [solution](../solutions/11_parallel_graphs.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - run many questions, but only so many at a time;
# - stop everything at the first failure, and keep what had come.
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

from workshop.checks import check

# %% [markdown]
# An agent, and a helper for both tasks.

# %%
llm = ChatOpenAI(model=model.name, max_retries=0)
agent = create_agent(llm, tools=[])


def ask(question):
    return {"messages": [("user", question)]}


async def text_of(graph, question):
    state = await graph.ainvoke(ask(question))
    return state["messages"][-1].text


# %% [markdown]
# ## Task 1: so many at a time
#
# A provider allows you a few requests at once, and you have many questions.
#
# **Write** `ask_all(graph, questions, limit)`.
#
# - It returns a list of texts, in the order of the questions.
# - `limit` runs are under way, never more.
# - The next one begins as soon as any of them has ended.
# - If a run fails, its error is raised.
#
# **Expected:** 8 questions and a limit of 3: exactly 3 in flight at the peak.


# %%
async def ask_all(graph, questions, limit):
    # TODO (about 5 lines)
    # solution
    turn = asyncio.Semaphore(limit)

    async def one(question):
        async with turn:
            return await text_of(graph, question)

    runs = [one(question) for question in questions]
    return await asyncio.gather(*runs)


# %%
await check("11.1", ask_all)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Who holds one of `limit` places may run. Where must that object be made, so
# that all runs of this call share it? Groups of `limit` are no answer: one
# slow run would hold up the next group.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `turn = asyncio.Semaphore(limit)`, once. An inner `async def one(question)`
# does everything inside `async with turn:`. `gather` keeps the order.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** All coroutines start at once, and all but `limit` wait at the
# semaphore. Each place that gets free goes to the one that has waited
# longest.
#
# `graph.abatch([...], {"max_concurrency": limit})` does the same for one list
# and one graph. A semaphore that you pass in as an argument also works across
# graphs and across users.

# %% [markdown]
# ## Task 2: the first failure ends it
#
# A report needs all of its parts. When one fails, the others are of no use,
# but what has come may be shown.
#
# **Write** `until_failure(graph, questions)`.
#
# - It asks all at once.
# - It returns `(texts, errors)`: a `dict` of the texts that had come, by
#   question, and a list of exceptions.
# - When the model fails (an `openai.APIError`), the others are cancelled.
#   When the function returns, none of them runs.
# - If somebody cancels `until_failure` itself, it is cancelled.
#
# **Expected:** 2 texts kept, 1 error, 2 calls cut off.


# %%
async def until_failure(graph, questions):
    # TODO (about 11 lines)
    # solution
    texts = {}
    errors = []

    async def one(question):
        texts[question] = await text_of(graph, question)

    try:
        async with asyncio.TaskGroup() as group:
            for question in questions:
                group.create_task(one(question))
    except* openai.APIError as failed:
        errors.extend(failed.exceptions)
    return texts, errors


# %%
await check("11.2", until_failure)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `gather` does not cancel. Which block does? And where must the texts live,
# so that they outlast it?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# A dict outside, and an inner `async def one(question)` that writes into it.
# `try:`, `async with asyncio.TaskGroup() as group:`, one task a question, and
# `except* openai.APIError as failed:` with `failed.exceptions`.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The group cancels its other tasks, waits until they have ended, and
# only then raises. So when your function returns, nothing runs. Somebody
# else's cancel passes through, as it must: `except*` here takes only what the
# model did.

# %% [markdown]
# ## Keep
#
# - One semaphore for all who share a limit, and everything inside it.
# - `TaskGroup` and `except*`; the results outside of the group.
#
# **Next:** [12 · Retries and limits](../notebooks/12_retries_and_limits.ipynb)
