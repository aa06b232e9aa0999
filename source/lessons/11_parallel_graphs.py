# %% [markdown]
# # Run many graphs at once
#
# previous: [10 · A streaming service](10_streaming_service.ipynb) ·
# next: [12 · Retries and limits](12_retries_and_limits.ipynb) ·
# lab: [11](../exercises/11_parallel_graphs.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - run many graphs under one limit, and prove the limit by counting;
# - take each answer when it is there, and know whose it is;
# - say which runs go on, and are paid for, when one of them fails.
#
# Builds on lessons 01, 02 and 05.

# %%
from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model=model.name, max_retries=0, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# `max_retries=0`: nothing is repeated behind your back while you count.
# `stream_chunk_timeout=None`: on Python 3.11 this time limit can swallow a
# cancel (lesson 06), and you will cancel.
#
# ## The usual way
#
# You have a list of topics and want one report. The runs do not need each
# other, so they can wait for the model side by side. This function is how
# most people write it.

# %%
import asyncio


async def parallel_research(topics: list[str]):
    tasks = [
        agent.ainvoke({"messages": [("user", f"Research: {topic}")]})
        for topic in topics
    ]
    results = await asyncio.gather(*tasks)
    return [r["messages"][-1].content for r in results]


# %% [markdown]
# **Predict.** One answer takes 0.8 s. How long do three take?
#
# <details><summary>Answer</summary>
#
# As long as one. All three lanes wait at the same time. The texts come back
# in the order of the topics, whatever order the answers came in.
#
# </details>

# %%
from workshop.observe import Timeline

with Timeline() as timeline:
    texts = await parallel_research(["owls", "rivers", "bees"])
timeline.plot()

# %% [markdown]
# A red part is a moment in which the event loop was busy: the first call of a
# process sets up its HTTP client. It comes once.
#
# Four things are missing: a limit, an answer before the last one is there, a
# plan for failures, and a way to stop one run. The rest of this lesson adds
# them.
#
# ## What people get wrong: *`max_concurrency` limits my program*
#
# A provider allows you some requests at a time, so you need a limit. There are
# two ways to set one. A **[semaphore](glossary.md#semaphore)** is a number of
# places: `async with` takes one, waits if none is free, and gives it back at
# the end of the block. `max_concurrency` is a setting in the config of a
# LangGraph run.
#
# `research` asks for one topic. `in_turn` does it in one of five places.

# %%
turn = asyncio.Semaphore(5)


def ask(topic):
    return {"messages": [("user", f"Research: {topic}")]}


async def research(topic, config=None):
    state = await agent.ainvoke(ask(topic), config)
    return state["messages"][-1].text


async def in_turn(topic):
    async with turn:
        return await research(topic)


# %% [markdown]
# The next cell is apparatus and shown folded. `counted` awaits something,
# waits until the model is idle, and prints what the **model** counted and
# what came out.


# %% tags=["folded"]
async def counted(name, work):
    with model.meter() as meter, Timeline() as timeline:
        try:
            end = type(await work).__name__
        except Exception as error:
            end = type(error).__name__
    while meter.read().in_flight:
        await asyncio.sleep(0.05)
    print(
        f"{name:10} {meter.requests:2} requests, "
        f"at most {meter.peak_in_flight:2} in flight, "
        f"{meter.cut_off} cut off, {timeline.took:.1f} s, {end}"
    )


# %% [markdown]
# `abatch` is LangChain's own way to run a list of inputs.
#
# **Predict.** Twelve topics, four ways, and a limit of five in three of them.
# At most how many requests are in flight?
#
# <details><summary>Answer</summary>
#
# 12, 5, 5 and 12. The setting is about **one** run, and in the last way each
# run has a setting of its own. `abatch` applies it to its whole list.
#
# </details>

# %%
topics = [f"topic {number}" for number in range(12)]
inputs = [ask(topic) for topic in topics]
five = {"max_concurrency": 5}

await counted("gather", parallel_research(topics))

runs = [in_turn(topic) for topic in topics]
await counted("semaphore", asyncio.gather(*runs))

await counted("abatch", agent.abatch(inputs, five))

runs = [research(topic, five) for topic in topics]
await counted("setting", asyncio.gather(*runs))

# %% [markdown]
# Why: LangGraph makes a semaphore of the setting when a run begins, and
# nobody outside of the run shares it. Twelve runs have twelve of them.
#
# A semaphore limits all who share it. So make **one** for each provider, not
# one for each user. Two limits remain that it does not set:
#
# - It lives in one process. Four workers with five places each are twenty
#   requests: divide the number by the workers.
# - It counts requests, and providers also count tokens a minute. Lesson 12
#   is about what they say then.
#
# ## Each answer when it is there
#
# `gather` gives nothing before the last answer has come. `as_completed` gives
# each run as it ends.
#
# **Predict.** The first topic has the longest answer, the last one the
# shortest. In what order are they printed?
#
# <details><summary>Answer</summary>
#
# The owls first, the rivers last: in the order in which they end.
#
# </details>

# %%
wants = ["rivers, lakes, seas, rain, ice, fog", "bees, bugs, ants", "owls"]

runs = [research(topic) for topic in wants]
for next_run in asyncio.as_completed(runs):
    print(await next_run)

# %% [markdown]
# These texts say whose they are. Most do not, and `as_completed` does not say
# which run it was. Either the function itself returns its topic beside the
# text, or you take `abatch_as_completed`, which gives the index and keeps to
# the limit as well.

# %%
inputs = [ask(topic) for topic in wants]
async for index, state in agent.abatch_as_completed(inputs, five):
    print(index, wants[index], "->", len(state["messages"]), "messages")

# %% [markdown]
# ## One fails
#
# Five topics, and in the middle of one answer the connection breaks. Three
# ways to wait for them all. A **[task group](glossary.md#task-group)** is a
# block that ends when all of its tasks have ended.


# %%
async def plain_gather(topics):
    runs = [research(topic) for topic in topics]
    return await asyncio.gather(*runs)


async def collecting_gather(topics):
    runs = [research(topic) for topic in topics]
    return await asyncio.gather(*runs, return_exceptions=True)


async def task_group(topics):
    async with asyncio.TaskGroup() as group:
        for topic in topics:
            group.create_task(research(topic))


# %% [markdown]
# **Predict.** Which of them still pay for the four other answers?
#
# <details><summary>Answer</summary>
#
# Both with `gather`. The plain one raises at once and leaves the others
# running, and nobody will read them. With `return_exceptions=True` you get a
# list of four texts and one error. The task group cancels the others: 4 cut
# off.
#
# </details>

# %%
model.fault("cut", after_tokens=5)
await counted("plain", plain_gather(topics[:5]))

model.fault("cut", after_tokens=5)
await counted("collecting", collecting_gather(topics[:5]))

model.fault("cut", after_tokens=5)
await counted("group", task_group(topics[:5]))

# %% [markdown]
# Choose by what one failure means. If the report needs all of its parts, the
# others have become useless: take a group. If each answer is worth having
# alone, take `return_exceptions=True`, and look at each entry before you use
# it: an exception in the list raises nothing.
#
# Several tasks of a group may fail at once, so it raises an
# `ExceptionGroup`. `except*` catches the errors of one type in it; what it
# binds is again a group.

# %%
import openai

model.fault("cut", after_tokens=5)
try:
    await task_group(topics[:5])
except* openai.APIConnectionError as failed:
    for error in failed.exceptions:
        print("failed:", type(error).__name__)

# %% [markdown]
# A plain `except openai.APIConnectionError` would not have caught it. In
# lab 11 you also keep the answers that had come before the failure.
#
# ## Watch them, and stop one
#
# A run that has a task of its own can be watched and cancelled alone.
# `tokens_of` streams one topic. The board beside it makes a task of each and
# cancels it at a click; its widgets are apparatus.

# %%
from workshop.show.board import Board


async def tokens_of(topic):
    stream = agent.astream(ask(topic), stream_mode="messages", version="v2")
    async for part in stream:
        message, _ = part["data"]
        if message.text:
            yield message.text


board = Board(topics[:4], tokens_of)
board.show()

# %% [markdown]
# <img src="pictures/board.png" width="760"
# alt="Four topics, each with its tokens and a Cancel button">
#
# Press **Start**, then a **Cancel**. The next cell presses the same buttons,
# for readers without a kernel.

# %%
board.start.click()
await asyncio.sleep(0.4)
board.cancels[1].click()
await asyncio.wait(board.runs)
print("cancelled:", [run.cancelled() for run in board.runs])

# %% [markdown]
# ## Check yourself
#
# All who ask one provider share one semaphore. Replace the `...`: hold a
# place of `turn` while `graph` answers, and return the question beside the
# text, so that a reader of `as_completed` knows whose it is.


# %%
from workshop.checks import check


async def ask_in_turn(turn, graph, question) -> tuple[str, str]:
    # TODO (about 3 lines)
    ...


# %%
await check("11.0", ask_in_turn)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `in_turn` above does the first half with a `turn` of the notebook. The input
# of the graph is `ask(question)`; the last message of its state has the text.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# async with turn:
#     state = await graph.ainvoke(ask(question))
# return question, state["messages"][-1].text
# ```
#
# </details>
#
# ## Keep
#
# - One semaphore limits all who share it; `max_concurrency` limits one run.
# - `as_completed` gives each answer when it is there; let it carry its name.
# - `TaskGroup` stops what a failure has made useless; `gather` pays for it.
#
# **Next:** [Lab 11](../exercises/11_parallel_graphs.ipynb)
