# %% [markdown]
# # Start here: watch an answer arrive
#
# next: [01 · Sync and async compared](01_sync_vs_async.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - run the cells of this course and know what they talk to;
# - stream an answer, token by token, from a model and from a graph;
# - get out when an answer hangs.
#
# You need some Python. You need no account, no key and no network.

# %% [markdown]
# ## How these notebooks work
#
# Run a cell with **Shift+Enter**, from top to bottom. `await` works directly
# in a cell.
#
# Every notebook is stored with its outputs, so you can read it without
# running it. To work with it, first choose **Edit → Clear Outputs of All
# Cells**.
#
# Most lessons ask you to **predict** before you run. Do it: a wrong guess is
# what you remember. In JupyterLab the stored output below a prediction stays
# collapsed until you run the cell, or click on the three dots.
#
# A check prints one line. ⬜ means not started, ❌ names the mistake, and
# ✅ says what was proven.

# %%
from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()

from langchain_openai import ChatOpenAI

# %% [markdown]
# ## What you talk to
#
# `connect()` started the **[practice model](glossary.md#practice-model)**: a
# small server on this machine that speaks OpenAI's protocol. It runs in a
# process of its own.
#
# `connect()` also set the two environment variables from which `ChatOpenAI`
# takes its address and its key: `OPENAI_BASE_URL` and `OPENAI_API_KEY`. The
# key is made up. So the client needs only the model's name.
#
# `stream_usage=True` asks the server to say, at the end of a stream, how many
# **[tokens](glossary.md#token)** it used.

# %%
llm = ChatOpenAI(model=model.name, stream_usage=True)

print("requests go to", llm.root_client.base_url.host)

# %% [markdown]
# That address is your own machine. All else is real: `ChatOpenAI` is the
# client that you would use in production. It sends HTTP requests and reads a
# stream.
#
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
# Two bars with nothing between them are pieces without text. One of them
# carries what `stream_usage` asked for. Stream again and keep only that one.

# %%
async for chunk in llm.astream("What is LangGraph?"):
    if chunk.usage_metadata:
        print(chunk.usage_metadata["output_tokens"], "tokens in the answer")

# %% [markdown]
# ## Evidence
#
# This course counts instead of claiming. The practice model has a
# **[meter](glossary.md#meter)**. Ask again without streaming, and read what
# the server counted.

# %%
with model.meter() as meter:
    message = await llm.ainvoke("What is LangGraph?")

print(message.text)
print(meter)

# %% [markdown]
# **[In flight](glossary.md#in-flight)** means begun and not yet finished. *Cut
# off* means that the client left before the end. You meet these numbers again:
# *at most 8 in flight* is how you will know that eight requests really ran
# together.

# %% [markdown]
# ## The same model in a graph
#
# A LangGraph graph has a **[state](glossary.md#state)** and **nodes**. A node
# is a function that gets the state and returns a change to it.
#
# `MessagesState` is a state with one key, `messages`: a list. What a node
# returns under that key is added to the list. So `reply` returns one message,
# and the state keeps the question as well.
#
# A **builder** collects nodes and edges. `compile()` makes the graph that you
# can run. A node is named like its function. `START` says which node is the
# first; after a node without a way on, the **[run](glossary.md#run)** ends.

# %%
from langgraph.graph import START, MessagesState, StateGraph


async def reply(state: MessagesState):
    message = await llm.ainvoke(state["messages"])
    return {"messages": [message]}


builder = StateGraph(MessagesState)
builder.add_node(reply)
builder.add_edge(START, "reply")
graph = builder.compile()

# %% [markdown]
# The node calls `ainvoke` and does not stream. You stream the graph, and the
# tokens come out all the same: `stream_mode="messages"` gives you the pieces
# of every model call in the graph. Each item is a pair, a
# **[chunk](glossary.md#chunk)** and its metadata. You need only the chunk
# here, so the other one is called `_`.
#
# A message may be written as a pair, too: who says it, and what.

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
# Your time limit, `asyncio.timeout(1.5)`: after 1.5 s it ends its block with
# a `TimeoutError`. Nothing else would: a stalled connection looks exactly
# like a slow one.
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
# `ChatOpenAI` has a limit of its own, for the time without a new piece. It is
# longer than most people wait.

# %%
print(llm.stream_chunk_timeout, "seconds")

# %% [markdown]
# Without a limit of yours, you are the limit:
#
# - **■** in the toolbar interrupts the cell. It ends in a traceback with
#   `CancelledError` or `KeyboardInterrupt`. That is normal. Run it again.
# - **Kernel → Restart Kernel** clears everything. Run the cells again from
#   the top.
# - If a message says that the practice model stopped, run the cell with
#   `connect()` again.
#
# Tracebacks are short here: `connect()` leaves out the frames of libraries.
# `%xmode Verbose` in a cell brings them back.

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
# found = []
# async for chunk in llm.astream(question):
#     if chunk.text:
#         found.append(chunk.text)
# return found
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
# [`model.fault`](glossary.md#fault) then say that they need the practice
# model. Checks always use it.

# %% [markdown]
# ## Keep
#
# - `async for chunk in llm.astream(...)` gives you tokens as they are made.
# - The meter of the practice model is your evidence.
# - A stalled stream hangs for minutes unless you limit it.
#
# **Next:** [01 · Sync and async compared](01_sync_vs_async.ipynb)
