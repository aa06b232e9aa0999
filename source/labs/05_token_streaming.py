# %% [markdown]
# # Lab 05: show tokens, and stop them
#
# lesson: [05 · Token streaming](../notebooks/05_token_streaming.ipynb) ·
# [exercise](../exercises/05_token_streaming.ipynb) ·
# [solution](../solutions/05_token_streaming.ipynb)

# %% [markdown]
# Four tasks, about 35 minutes. You will
#
# - show only the words that users should see;
# - end a stream in time, and keep what has come;
# - read tool calls before the model has finished;
# - build a Stop that leaves nothing running.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints.

# %%
import asyncio

from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from workshop.checks import check

llm = ChatOpenAI(model=model.name, stream_usage=True)

# %% [markdown]
# ## Task 1: only the final answer
#
# Two agents serve a guest, each with a tool. The cook is a node. The waiter
# is called inside a node, and has the last word.


# %%
def price(dish: str) -> dict:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


def team(llm):
    cook = create_agent(llm, [price], name="cook")
    waiter = create_agent(llm, [price], name="waiter")

    async def serve(state):
        offer = {"messages": [("user", "What is the price of the cake?")]}
        return await waiter.ainvoke(offer)

    graph = StateGraph(MessagesState).add_node(cook).add_node(serve)
    return graph.add_edge(START, "cook").add_edge("cook", "serve").compile()


# %% [markdown]
# This is what the graph says, without a filter. The guest should read only
# the last line.

# %%
soup = {"messages": [("user", "What is the price of the soup?")]}
async for message, _ in team(llm).astream(soup, stream_mode="messages"):
    print(message.type, "|", message.text)

# %% [markdown]
# **Write** `answer_tokens(graph, question)`, an async generator. It yields
# the tokens of the agent `waiter` that have text, as they come. The metadata
# names the agent: `about["lc_agent_name"]`.
#
# **Expected:** the answer in 12 pieces, no word of the cook, no tool output.


# %%
async def answer_tokens(graph, question):
    # TODO (about 5 lines)
    # solution
    ask = {"messages": [("user", question)]}
    stream = graph.astream(ask, stream_mode="messages", subgraphs=True)
    async for _, (message, about) in stream:
        by_waiter = about.get("lc_agent_name") == "waiter"
        if by_waiter and message.type == "AIMessageChunk" and message.text:
            yield message.text


# %%
await check("05.1", answer_tokens)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Tokens of an agent inside a graph need one more argument of `astream`. It
# changes the shape of what you get. Print a few parts first.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `async for _, (message, about) in graph.astream(..., subgraphs=True)`. Three
# conditions: the agent's name (use `.get`), the type `AIMessageChunk`, and
# some text.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** Each condition drops something that guests should not see. The name
# drops the cook. The type drops what the waiter's tool returned. The text
# drops chunks that carry a role, a tool call or the usage.
#
# The node does not help: in both agents it is called `model`. A tag on the
# waiter's model would do as well as the name.

# %% [markdown]
# ## Task 2: a limit that keeps the answer
#
# A guest waits two seconds and no longer. What has come by then is better
# than nothing. This first version loses it.

# %%
agent = create_agent(llm, tools=[])


async def all_or_nothing(graph, question, seconds):
    ask = {"messages": [("user", question)]}
    try:
        state = await asyncio.wait_for(graph.ainvoke(ask), seconds)
        return state["messages"][-1].text
    except TimeoutError:
        return ""


# %%
print(repr(await all_or_nothing(agent, "What is LangGraph?", 0.5)))

# %% [markdown]
# **Write** `answer_within(graph, question, seconds)`. It returns the text that
# came within that time, and ends the model's call. Nobody else's cancel may
# get lost in it.
#
# **Expected:** of an answer that stalls after 3 tokens, 3 tokens.


# %%
async def answer_within(graph, question, seconds):
    # TODO (about 8 lines)
    # solution
    ask, text = {"messages": [("user", question)]}, ""
    try:
        async with asyncio.timeout(seconds):
            stream = graph.astream(ask, stream_mode="messages")
            async for message, _ in stream:
                text += message.text
    except TimeoutError:
        pass
    return text


# %%
await check("05.2", answer_within)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `asyncio.timeout` cancels whatever its block waits for. Where does the text
# have to live, so that it survives? And where does the `TimeoutError` appear:
# inside the block, or where the block ends?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# From outside to inside: `text = ""`, then `try:`, then `async with
# asyncio.timeout(seconds):`, then the `async for` that adds to `text`. After
# `except TimeoutError: pass`, return the text.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The text lives outside of what is cancelled. The cancel reaches the
# `await` in the graph, so it ends a model that stalls, where a look at the
# clock after each token would never happen.
#
# `timeout` turns its own cancel into a `TimeoutError` where the block ends.
# So `except` stands around it, and catches nothing else. `except
# CancelledError` would also swallow the Stop of a user.

# %% [markdown]
# One thing no limit can end: a `def` node. Its thread cannot be cancelled.


# %%
def in_a_thread(state):
    return {"messages": llm.invoke(state["messages"])}


graph = StateGraph(MessagesState).add_node("reply", in_a_thread)
graph = graph.add_edge(START, "reply").compile()

# %% [markdown]
# The call below is left after 0.5 s. The model writes to the end.

# %%
with model.meter() as meter:
    await all_or_nothing(graph, "What is LangGraph?", 0.5)
    while meter.read().in_flight:
        await asyncio.sleep(0.05)
print(meter)

# %% [markdown]
# ## Task 3: tool calls, as soon as they are there
#
# A model calls three tools at once. Users would like to read "looking up the
# soup" while it still writes the other calls. Here are the pieces.

# %%
orders = "What is the price of the soup, the price of the cake and of the tea?"
async for chunk in llm.bind_tools([price]).astream(orders):
    for piece in chunk.tool_call_chunks:
        print(piece["index"], piece["name"] or "", piece["args"], end="|")

# %% [markdown]
# **Write** `complete_calls(chunks)`, an async generator. `chunks` is what
# `llm.astream` gives. Yield `(name, args)` of each call once, as soon as it is
# complete: when the next one begins, or at the end.
#
# **Expected:** the first call comes before the model has finished.


# %%
async def complete_calls(chunks):
    # TODO (about 8 lines)
    # solution
    whole, done = None, 0
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        last = chunk.chunk_position == "last"
        for call in whole.tool_calls[done : None if last else -1]:
            done += 1
            yield call["name"], call["args"]


# %%
await check("05.3", complete_calls)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Add the chunks with `+`. The sum has `tool_calls`, with arguments as a
# `dict`. The last of them is still growing. The others are complete.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Count how many calls you have yielded. After each chunk, yield the calls of
# the sum from that number on, but not the last. It is complete when
# `chunk.chunk_position == "last"`, or after the loop.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A sum knows which piece belongs to which call: they carry an
# `index`. The name and the id come only once. `tool_calls` of the sum parses
# also what is incomplete, so an argument may be half there. That is why the
# last call has to wait.

# %% [markdown]
# ## Task 4: take it to work
#
# Every chat has a Stop. Yours must hold when the model stalls, before the
# first token, twice, and after the end.

# %% [markdown]
# **Write** `start(graph, question, show)`, a plain `def`. It streams in a task
# and returns at once. It calls `show(text)` with all text so far, and returns
# an `async def stop()`. After `await stop()` nothing runs.
#
# **Expected:** two stops, two calls cut off at the model.


# %%
def start(graph, question, show):
    # TODO (about 12 lines)
    # solution
    async def run():
        ask, text = {"messages": [("user", question)]}, ""
        stream = graph.astream(ask, stream_mode="messages")
        async for message, _ in stream:
            text += message.text
            show(text)

    async def stop():
        task.cancel()
        await asyncio.wait([task])

    task = asyncio.create_task(run())
    return stop


# %%
await check("05.4", start)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# A flag is read only when a token comes. A task has a method that works at
# any time. It only asks: the task ends a little later.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# An inner `async def run()` streams. `task = asyncio.create_task(run())`. In
# `stop`, cancel the task, then wait for its end. `await task` raises what
# ended it; `await asyncio.wait([task])` does not.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** `cancel` reaches the task wherever it waits: for the first token,
# for a stalled one, in a subgraph. On a finished task it does nothing. When
# `wait` returns, LangGraph has cleaned up and the connection is closed. On
# Python 3.11 give `ChatOpenAI` a `stream_chunk_timeout=None`, as lesson 05
# explains, or a cancel can get lost.
#
# In a web server `stop` belongs to the handler that the Stop button calls,
# or to the end of the connection. In a notebook it is a button:
#
# ```python
# stop = start(agent, "What is LangGraph?", print)
# button.on_click(lambda _: loop.call_soon_threadsafe(
#     lambda: loop.create_task(stop())))
# ```

# %% [markdown]
# ## Keep
#
# - Filter by agent, type and text; look into subgraphs.
# - Keep the text outside of what you cancel.
# - A sum of chunks knows its calls; all but the last are complete.
# - Stop is `cancel`, and then wait.
#
# **Next:** [07 · FastAPI streaming](../notebooks/07_fastapi_streaming.ipynb)
