# %% [markdown]
# # Stop the model when its reader leaves
#
# previous: [07 · FastAPI streaming](07_fastapi_streaming.ipynb) ·
# next: [09 · Events and resume](09_resume_streaming.ipynb) ·
# lab: [08](../exercises/08_when_the_reader_leaves.ipynb)
#
# In {minutes} minutes you will be able to:
#
# - see whether a model writes on for a reader who has left;
# - say what AnyIO does to a cancel, and why a graph does not survive it;
# - let a graph run where only you can cancel it.
#
# Builds on lessons 06 and 07.

# %%
import asyncio

from fastapi import Request
from fastapi.responses import StreamingResponse
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from workshop.guests import idle, leave, talk
from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)
agent = create_agent(llm, tools=[])

# %% [markdown]
# `words` is that of lesson 07: the text that the model writes. `simple` is
# an endpoint that streams it; there it was called `async_words`.


# %%
async def words(message):
    question = {"messages": [("user", message)]}
    async for part in agent.astream(
        question, stream_mode="messages", version="v2"
    ):
        said, about = part["data"]
        if about["langgraph_node"] == "model" and said.text:
            yield said.text


async def simple(message: str):
    return StreamingResponse(words(message), media_type="text/plain")


# %% [markdown]
# ## What people get wrong: *my endpoint was cancelled, so the model stopped*
#
# Many users close the page before the answer has ended. Starlette notices it
# and cancels the endpoint's stream.
#
# `careful` does what many guides advise: before each token it asks whether
# its client is still there. It also prints whether it was cancelled.
# `cancelling()` counts the cancels that its task was asked for.


# %%
async def careful(message: str, request: Request):
    async def generate():
        try:
            async for word in words(message):
                if await request.is_disconnected():
                    break
                yield word
        finally:
            cancels = asyncio.current_task().cancelling()
            print("cancelled:", cancels > 0)

    return StreamingResponse(generate(), media_type="text/plain")


# %% [markdown]
# `leave` asks, hangs up after the first piece, and waits until the model is
# idle. It prints what the **model** counted: *cut off* is an answer whose
# connection was closed before its end, and *goes on* says whether the model
# wrote after that.
#
# **Predict.** Does the model stop, with `simple` and with `careful`?
#
# <details><summary>Answer</summary>
#
# No, in both cases. The endpoint is cancelled at once. The model writes to its
# last token, and you pay for all of them.
#
# </details>

# %%
story = "Tell me a story in 40 words"

for endpoint in (simple, careful):
    await leave(endpoint, story, model)

# %% [markdown]
# ## Two kinds of cancel
#
# The graph runs in tasks of its own. When its stream is cancelled, LangGraph
# has to clean up: it cancels those tasks and waits for them.
#
# - `task.cancel()` of asyncio raises `CancelledError` **once**. What runs
#   after it, in a `finally`, may wait.
# - Starlette uses AnyIO. Its **scope** is a block that can be cancelled. A
#   cancelled scope cancels **again and again**, at every `await`, until the
#   task has left it. That cancels the clean-up as well, and LangGraph's tasks
#   run on
#   ([issue 8302](https://github.com/langchain-ai/langgraph/issues/8302)).
#
# `anyio.move_on_after` and `fail_after` do the same. So does everything that
# is built on AnyIO's task groups.
#
# Here are both, without a server. `read_story` is a reader in a task. `idle`
# waits until the model has nothing to do.


# %%
async def read_story():
    async for _ in words(story):
        pass


async def cancel_once(task):
    task.cancel()
    await asyncio.wait([task])


async def cancel_again_and_again(task):
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)


# %% [markdown]
# **Predict.** Which of the two stops the model?
#
# <details><summary>Answer</summary>
#
# `cancel_once`: LangGraph gets the time to close its call. With the other one
# the reader has ended, but the call behind it was left alone.
#
# </details>

# %%
for end in (cancel_once, cancel_again_and_again):
    meter = model.meter()
    reading = asyncio.create_task(read_story())
    while meter.read().tokens_sent < 3:
        await asyncio.sleep(0.05)
    await end(reading)
    await idle(meter)
    print(f"{end.__name__}: {meter.cut_off} cut off")

# %% [markdown]
# ## A task of its own
#
# So keep the graph away from AnyIO. AnyIO cancels the task that sends the
# response; let the graph run in **another task**, which only you cancel.
#
# The two meet at a queue. `write` is the graph's side. Whatever ends it, it
# says so by `END`, an object that can be nothing else: a token may be empty,
# or `None`, but it is never `END`.
#
# This queue has no size, so `put_nowait` never waits.

# %%
END = object()


async def write(queue, message):
    try:
        async for word in words(message):
            queue.put_nowait(word)
    finally:
        queue.put_nowait(END)


# %% [markdown]
# `read` is the response's side. It starts the task, and yields what comes out
# of the queue.
#
# - AnyIO may cancel `queue.get()` as often as it likes: nothing there needs to
#   clean up.
# - `await run`, after `END`, raises what ended the stream, if anything did.
# - `finally` runs however it ends, and cancels the run **once**. To cancel a
#   task that is done does nothing.


# %%
async def read(message):
    queue = asyncio.Queue()
    run = asyncio.create_task(write(queue, message))
    try:
        while True:
            part = await queue.get()
            if part is END:
                break
            yield part
        await run
    finally:
        run.cancel()


# %% [markdown]
# And the endpoint. Take these three cells to work, with `words` for your own
# graph; in the lab you make one function of them for any stream. From here on
# it is called `in_own_task`.
#
# **Predict.** One user leaves. For another one the model breaks off. Does the
# model stop, and does the error come out?
#
# <details><summary>Answer</summary>
#
# Both: 1 cut off, and the same error as without a task.
#
# </details>


# %%
async def thrifty(message: str):
    return StreamingResponse(read(message), media_type="text/plain")


await leave(thrifty, story, model)

model.fault("cut", after_tokens=3)
await talk(thrifty, "What is LangGraph?")

# %% [markdown]
# ## What the queue costs
#
# `astream` begins no new step before the last one was read. `write` reads at
# once, so a reader on a slow line holds nothing back any more.
#
# **Predict.** Nobody reads at all. How many parts wait in the queue when the
# model has ended?
#
# <details><summary>Answer</summary>
#
# All of the story, and `END`. An answer has an end, so this is memory for one
# answer. A stream that goes on for hours needs a queue with a size, and
# `await queue.put(...)`: lesson 13 has it.
#
# </details>

# %%
queue = asyncio.Queue()
with model.meter() as meter:
    await write(queue, story)

print(meter.tokens_sent, "tokens sent,", queue.qsize(), "parts wait")

# %% [markdown]
# ## When the server ends
#
# A run in a task of its own ends with its response, for `read` cancels it. A
# run that may outlive its reader, as in the next lesson, has nobody who
# does. When the server stops, such a run would be dropped in mid-answer, and
# the model writes on.
#
# So the server keeps its runs in a set, and ends them when it stops. FastAPI
# has a place for that: [`lifespan`](glossary.md#lifespan), a function with one
# `yield`. What comes before it runs at the start, and what comes after it at
# the end.
#
# ## Check yourself
#
# Replace the `...`: end all runs at the model, and return when they have
# ended. Often there is none: a server is idle when it is stopped.

# %%
from workshop.checks import check


async def stop_all(runs):
    # TODO (about 3 lines)
    ...


# %%
await check("08.0", stop_all)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Ask first, then wait: `cancel` only asks. `await run` raises what ended the
# task. `asyncio.wait` does not take an empty list; `asyncio.gather` does, and
# it can return exceptions.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# for run in runs:
#     run.cancel()
# await asyncio.gather(*runs, return_exceptions=True)
# ```
#
# </details>
#
# ## Keep
#
# - Ask the model's meter whether it stopped, not your endpoint.
# - asyncio cancels once; AnyIO cancels again and again, the clean-up too.
# - Run the graph in a task of its own, and cancel that task once.
#
# **Next:** [Lab 08](../exercises/08_when_the_reader_leaves.ipynb)
