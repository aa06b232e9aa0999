# %% [markdown]
# # Start here: watch an answer arrive
#
# next: [01 · Sync and async compared](01_sync_vs_async.ipynb)

# %% [markdown]
# In five minutes you will be able to:
#
# - run the cells of this course and know what they talk to;
# - stream an answer, token by token;
# - get out when an answer hangs.
#
# You need some Python. You need no account, no key and no network.

# %% [markdown]
# ## How these notebooks work
#
# Run a cell with **Shift+Enter**, from top to bottom. `await` works directly
# in a cell.
#
# Most lessons ask you to **predict** before you run. Do it: a wrong guess is
# what you remember. Outputs are stored, so you can also read a lesson
# without running it.
#
# A check prints one line. ⬜ means not started, ❌ names the mistake, and
# ✅ says what was proven.

# %%
from workshop.model import connect

model = connect()

from langchain_openai import ChatOpenAI

# %% [markdown]
# ## What you talk to
#
# That cell started the **practice model**: a small server on this machine
# that speaks OpenAI's protocol. It runs in a process of its own.
#
# Everything on your side is real. `ChatOpenAI` is the client that you would
# use in production. It sends real HTTP requests and reads a real stream.

# %%
llm = ChatOpenAI(model=model.name, stream_usage=True)

# %% [markdown]
# ## Your first stream
#
# **Predict.** The next cell asks one question and prints a `|` after every
# piece that arrives. Does the answer come in one piece, in sentences, or in
# words?
#
# <details><summary>Answer</summary>
#
# In tokens: mostly one word each, as the model makes them. You see the first
# words long before the last one exists.
#
# </details>

# %%
async for chunk in llm.astream("What is LangGraph?"):
    print(chunk.text, end="|", flush=True)

# %% [markdown]
# The loop is `async for`: while your cell waits for the next piece, Python
# can do other work. That is what this course is about.
#
# Two bars with nothing between them are pieces without text. A stream also
# carries its role, its end and what it used.

# %% [markdown]
# ## Evidence
#
# This course counts instead of claiming. The practice model has a **meter**.
# Ask again without streaming, and read what the server counted.

# %%
with model.meter() as meter:
    answer = await llm.ainvoke("What is LangGraph?")

print(answer.text)
print(meter)

# %% [markdown]
# *In flight* means begun and not yet finished. *Cut off* means that the client
# left before the end. You meet these numbers again: *at most 8 in flight* is
# how you will know that eight requests really ran together.

# %% [markdown]
# ## The same model in a graph
#
# A LangGraph graph has a state and nodes. This one has a single node that
# calls the model. `stream_mode="messages"` gives you the tokens of every
# model call in the graph.

# %%
from langgraph.graph import START, MessagesState, StateGraph


async def answer(state: MessagesState):
    return {"messages": [await llm.ainvoke(state["messages"])]}


graph = StateGraph(MessagesState).add_node(answer)
graph = graph.add_edge(START, "answer").compile()

# %% [markdown]
# The node calls `ainvoke` and does not stream. You stream the graph, and the
# tokens come out all the same. Each item is a pair: a chunk and its metadata.

# %%
question = {"messages": [("user", "Why does streaming matter?")]}

async for chunk, _ in graph.astream(question, stream_mode="messages"):
    print(chunk.text, end="|", flush=True)

# %% [markdown]
# ## When an answer hangs
#
# **Predict.** The practice model can misbehave on request. Here it stops
# after three tokens and keeps the connection open. What ends this cell?
#
# <details><summary>Answer</summary>
#
# Your time limit. A stalled connection looks exactly like a slow one, and
# `ChatOpenAI` gives up only after two minutes without a piece.
#
# </details>

# %%
import asyncio

model.fault("stall", after_tokens=3)
try:
    async with asyncio.timeout(1.5):
        async for chunk in llm.astream("What is LangGraph?"):
            print(chunk.text, end="|", flush=True)
except TimeoutError:
    print("... nothing more came, so the time limit ended it.")

# %% [markdown]
# Without a limit, you are the limit:
#
# - **■** in the toolbar interrupts the cell. It ends in a long traceback with
#   `CancelledError` or `KeyboardInterrupt`. That is normal. Run it again.
# - **Kernel → Restart Kernel** clears everything. Run the cells again from
#   the top.
# - If a message says that the practice model stopped, run the cell with
#   `connect()` again.

# %% [markdown]
# ## Check yourself
#
# Replace the `...`. The function takes a model and a question, streams the
# answer and returns the list of all pieces that have text.

# %%
from workshop.checks import check


async def pieces(llm, question: str) -> list[str]:
    # TODO (about 5 lines)
    ...


await check("00.1", pieces)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Loop with `async for chunk in llm.astream(question)`. Keep `chunk.text`
# when it is not empty.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# return [
#     chunk.text
#     async for chunk in llm.astream(question)
#     if chunk.text
# ]
# ```
#
# </details>

# %% [markdown]
# ## Use a real model
#
# One variable moves every cell of this course to another server. Set it
# before you start JupyterLab. Without it, a key in your environment is not
# used.
#
# ```bash
# # OpenAI
# export WORKSHOP_MODEL=openai OPENAI_API_KEY=sk-...
# # Ollama, or any compatible server
# export WORKSHOP_MODEL=openai OPENAI_MODEL=llama3.2
# export OPENAI_BASE_URL=http://localhost:11434/v1
# ```
#
# On Windows write `$env:WORKSHOP_MODEL = "openai"`. Cells that use
# `model.fault` then say that they need the practice model. Checks always use
# it.

# %% [markdown]
# ## Keep
#
# - `async for chunk in llm.astream(...)` gives you tokens as they are made.
# - The meter of the practice model is your evidence.
# - A stalled stream hangs for two minutes unless you limit it.
#
# **Next:** [01 · Sync and async compared](01_sync_vs_async.ipynb)
