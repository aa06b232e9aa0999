# %% [markdown]
# # Stop a stream, limit it, survive a retry
#
# previous: [05 · Token streaming](05_token_streaming.ipynb) ·
# next: [07 · FastAPI streaming](07_fastapi_streaming.ipynb) ·
# lab: [06](../exercises/06_stop_limit_retry.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - leave a stream so that the model stops, and prove it;
# - give an answer a time limit;
# - show a text once that was streamed twice.
#
# Builds on lessons 02 and 05.

# %%
import asyncio
from contextlib import aclosing

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy

# %% [markdown]
# One graph with one node will do. Two of its arguments are explained further
# down: `stream_chunk_timeout=None`, so that Python 3.11 loses no Stop, and
# the policy, by which LangGraph runs the node again when it fails.

# %%
llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)


async def reply(state):
    message = await llm.ainvoke(state["messages"])
    return {"messages": [message]}


builder = StateGraph(MessagesState)
again = RetryPolicy(initial_interval=0.1)
builder.add_node("reply", reply, retry_policy=again)
builder.add_edge(START, "reply")
chat = builder.compile()
QUESTION = {"messages": [("user", "What is LangGraph?")]}
if model.practice:
    model.pace(ttft=0.2, per_token=0.1)

# %% [markdown]
# ## What people get wrong: *I left, so the model stopped*
#
# `first_word` leaves after the first word. `report`, in the folded cell, waits
# until the model has nothing more to do, and prints what the model counted.
# Its whole answer has 14 tokens, one every 0.1 s.


# %%
async def first_word(stream):
    async for part in stream:
        message, _ = part["data"]
        if message.text:
            break


# %% tags=["folded"]
async def report(name, meter):
    while meter.read().in_flight:
        await asyncio.sleep(0.05)
    whole = meter.tokens_sent == 14
    print(f"{name}: {meter.cut_off} cut off, whole answer sent: {whole}")


# %% [markdown]
# **Predict.** The second call differs from the first in one thing: a variable
# keeps the stream. Does the model stop?
#
# <details><summary>Answer</summary>
#
# In the first call it does. In the second it writes on, to the end.
#
# </details>

# %%
meter = model.meter()
await first_word(chat.astream(QUESTION, stream_mode="messages", version="v2"))
await report("break", meter)

meter = model.meter()
kept = chat.astream(QUESTION, stream_mode="messages", version="v2")
await first_word(kept)
await report("break, kept", meter)

# %% [markdown]
# `break` leaves your loop. It does not close the generator behind it. Python
# closes a generator when nothing refers to it any more. A variable or a
# traceback is enough to keep it, and you pay for tokens that nobody reads.
# `aclosing` closes it where its block ends, whatever happens.

# %%
meter = model.meter()
kept = chat.astream(QUESTION, stream_mode="messages", version="v2")
async with aclosing(kept):
    await first_word(kept)
await report("aclosing", meter)

# %% [markdown]
# ## A Stop, and a time limit
#
# Who presses Stop is not in your loop. So the loop runs in a task, and Stop
# cancels the task. It has to work when no token comes: this model writes
# three tokens and falls silent.


# %%
async def read(stream):
    async for part in stream:
        pass


model.fault("stall", after_tokens=3)
meter = model.meter()
stream = chat.astream(QUESTION, stream_mode="messages", version="v2")
task = asyncio.create_task(read(stream))
while meter.read().tokens_sent < 3:
    await asyncio.sleep(0.05)
task.cancel()
await report("cancel", meter)

# %% [markdown]
# A cancel reaches the task wherever it waits. LangGraph passes it on to the
# node, and the client closes its connection. A time limit is a cancel with a
# clock. Around the block it turns into a `TimeoutError`.

# %%
model.fault("stall", after_tokens=3)
meter = model.meter()
stream = chat.astream(QUESTION, stream_mode="messages", version="v2")
try:
    async with asyncio.timeout(1):
        await read(stream)
except TimeoutError:
    await report("time limit", meter)

# %% [markdown]
# Two cancels get lost.
#
# **On Python 3.11**, `asyncio.wait_for` returns a result that is already
# there and forgets the cancel that came with it. `ChatOpenAI` waits in this
# way for each token, unless you pass `stream_chunk_timeout=None`. From 3.12
# on it is mended. (The argument ends a stream in which nothing came for two
# minutes. You give the whole answer a limit instead.)
#
# **AnyIO's cancel**, which FastAPI uses when a reader leaves, is another one.
# It cancels again and again, and so it also cancels LangGraph's cleaning up.
# `anyio.move_on_after(0.8)` is its time limit. This model falls silent for a
# second and would then write on.

# %%
import anyio

model.fault("stall", after_tokens=3, seconds=1)
meter = model.meter()
stream = chat.astream(QUESTION, stream_mode="messages", version="v2")
with anyio.move_on_after(0.8):
    async with aclosing(stream):
        await read(stream)
await report("AnyIO", meter)

# %% [markdown]
# The model wrote to the end, in spite of `aclosing`. So write
# `asyncio.timeout`. For web servers lesson 08 has the way out: a graph in a
# task of its own.
#
# ## A retry says it twice
#
# **Predict.** The connection breaks after three tokens, and LangGraph runs
# the node again, as its **[retry](glossary.md#retry)** policy says. What does
# the user read?
#
# <details><summary>Answer</summary>
#
# The three tokens, and then everything. Nothing takes back what was yielded.
# But the second try has an `id` of its own.
#
# </details>

# %%
model.fault("cut", after_tokens=3)
everything = ""
texts = {}
async for part in chat.astream(QUESTION, stream_mode="messages", version="v2"):
    message, _ = part["data"]
    everything += message.text
    if message.id not in texts:
        texts[message.id] = ""
    texts[message.id] += message.text
print(everything)
for text in texts.values():
    print("-", text)

# %% [markdown]
# The first line is what a screen shows that only appends. So keep one text
# for each `id`, and show the newest. To a client that can only append, send
# an event that says *start again*.
#
# ## The loop of a chat, to take to work
#
# Here is all of it: v2, words and progress in one run, the node that is
# meant, a stream that is closed, a time limit, a text for each `id`, and how
# it ended. `show` gets the text of the newest message so far, `progress` what
# your nodes and tools write. It raises `TimeoutError` when time is up; what
# was shown stays.


# %%
async def stream_answer(graph, question, node, show, progress, seconds):
    """Stream one answer; return its finish_reason, None if it was cut."""
    texts = {}
    reason = None
    stream = graph.astream(
        {"messages": [("user", question)]},
        stream_mode=["messages", "custom"],
        version="v2",
    )
    async with asyncio.timeout(seconds), aclosing(stream):
        async for part in stream:
            if part["type"] == "custom":
                progress(part["data"])
                continue
            message, about = part["data"]
            if about["langgraph_node"] != node:
                continue
            if message.type != "AIMessageChunk":
                continue
            if message.id not in texts:  # the next message, or a new try
                texts[message.id] = ""
                reason = None
            texts[message.id] += message.text
            reason = message.response_metadata.get("finish_reason", reason)
            if message.text:
                show(texts[message.id])
    return reason


# %% [markdown]
# ## A token panel
#
# Two buttons call your `start` and your `stop`, in the event loop of the
# cells. They make a task, and cancel it. `start` names the panel, which is
# made below it: it is looked up when you press. The panel also shows what a
# user feels: the time to the first token and the speed. It renders Markdown
# and escapes HTML, for a model may write some.
#
# <img src="pictures/panel.png" width="760"
# alt="Start and Stop above an answer, with the time to its first token">

# %%
from workshop.show.panel import TokenPanel

CARD = "Write the card in Markdown, 60 words"
runs = []


def start():
    answer = stream_answer(
        chat, CARD, node="reply", show=panel.show, progress=print, seconds=30
    )
    runs.append(asyncio.create_task(answer))


def stop():
    for run in runs:
        run.cancel()


panel = TokenPanel(start, stop)
panel

# %% [markdown]
# Press **Start**, then **Stop**.
#
# ## Check yourself
#
# Replace the `...`. `pieces` is a list of pairs, the `id` of a message and a
# piece of its text, as they came. Some answers were begun again. The function
# returns the text that should stand on the screen in the end.

# %%
from workshop.checks import check


def on_screen(pieces):
    # TODO (about 4 lines)
    ...


# %%
await check("06.0", on_screen)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A dict with a text for each `id`. Which of them is the newest?
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# texts = {}
# for message_id, text in pieces:
#     texts[message_id] = texts.get(message_id, "") + text
# return texts[message_id]
# ```
#
# </details>
#
# ## Keep
#
# - You have left a stream when the model has stopped: `aclosing` or cancel.
# - A time limit is `asyncio.timeout`. AnyIO's does not stop a graph.
# - One text for each `id`: a retry says it twice.
#
# **Next:** [Lab 06](../exercises/06_stop_limit_retry.ipynb)
