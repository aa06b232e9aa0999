# %% [markdown]
# # Lab 05: show the right words, and know their end
#
# lesson: [05 · Token streaming](../notebooks/05_token_streaming.ipynb) ·
# [exercise](../exercises/05_token_streaming.ipynb) ·
# [solution](../solutions/05_token_streaming.ipynb)

# %% [markdown]
# Three tasks, about {minutes} minutes. You will
#
# - show only the words of one agent of two;
# - read tool calls before the model has finished;
# - tell a whole answer from a part.

# %% tags=["folded"]
from workshop.checks import check  # missing? pip install "./[lessons]"
from workshop.model import connect

model = connect()
import openai
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

llm = ChatOpenAI(model=model.name, stream_usage=True)


def price(dish: str) -> dict:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


# %% [markdown]
# ## Task 1: only the waiter
#
# Two agents serve a guest, each with a tool. The cook is a node. The waiter
# is called inside a node, and has the last word.

# %% tags=["folded"]
cook = create_agent(llm, tools=[price], name="cook")
waiter = create_agent(llm, tools=[price], name="waiter")


async def serve(state):
    offer = {"messages": [("user", "What is the price of the cake?")]}
    return await waiter.ainvoke(offer)


builder = StateGraph(MessagesState)
builder.add_node("cook", cook)
builder.add_node("serve", serve)
builder.add_edge(START, "cook")
builder.add_edge("cook", "serve")
team = builder.compile()

# %% [markdown]
# **Write** the rest of `answer_tokens(graph, question)`. It yields the tokens
# of the agent `waiter` that have text, unchanged, as they come. The metadata
# names the agent: `about["lc_agent_name"]`, where there is one.
#
# **Expected:** the waiter's answer in pieces, no word of the cook, no tool
# output.


# %%
async def answer_tokens(graph, question):
    ask = {"messages": [("user", question)]}
    stream = graph.astream(
        ask, stream_mode="messages", subgraphs=True, version="v2"
    )
    async for part in stream:
        message, about = part["data"]
        # TODO (about 3 lines)
        # solution
        by_waiter = about.get("lc_agent_name") == "waiter"
        if by_waiter and message.type == "AIMessageChunk" and message.text:
            yield message.text


# %%
await check("05.1", answer_tokens)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Print type, node and agent of what comes from `team`. The node does not
# help: both agents call it `model`.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Three conditions: the agent's name (use `.get`), the type `AIMessageChunk`,
# and some text.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** Each condition drops something that guests should not see. The name
# drops the cook. The type drops what the waiter's tool returned. The text
# drops chunks that carry a role, a tool call or the usage. A line break has
# text; `strip()` would glue paragraphs together.

# %% [markdown]
# ## Task 2: tool calls, as soon as they are there
#
# A model calls three tools at once. Users would like to read "looking up the
# soup" while it still writes the other calls. These are the pieces:

# %%
orders = "What is the price of the soup, the price of the cake and of the tea?"
async for chunk in llm.bind_tools([price]).astream(orders):
    for piece in chunk.tool_call_chunks:
        print(piece["index"], piece["name"] or "", piece["args"], end="|")

# %% [markdown]
# **Write** the rest of `complete_calls(chunks)`. `chunks` is what
# `llm.astream` gives. It yields `(name, args)` of each call once, `args` as a
# dict, as soon as the call is complete: when the next one begins. The last one
# is complete at the end of the stream (this is there).
#
# **Expected:** the first call comes before the model has finished.


# %%
async def complete_calls(chunks):
    whole = None
    done = 0
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        # TODO (about 4 lines)
        # solution
        while len(whole.tool_calls) > done + 1:
            call = whole.tool_calls[done]
            done += 1
            yield call["name"], call["args"]
    if whole is not None:
        for call in whole.tool_calls[done:]:
            yield call["name"], call["args"]


# %%
await check("05.2", complete_calls)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `whole` is the sum so far. Its `tool_calls` have arguments as a `dict`. The
# last of them is still growing. The others are complete.
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `done` counts the calls that you have yielded. As long as there are more than
# `done + 1` calls, number `done` is complete.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** A sum knows which piece belongs to which call: they carry an
# `index`. The name and the id come only once. `tool_calls` of the sum parses
# also what is incomplete, so an argument may be half there. That is why the
# last call has to wait. A `}` at the end proves nothing: arguments can be
# nested.

# %% [markdown]
# ## Task 3: take it to work, a whole answer or a part
#
# A graph has several models: one answers, others write a title or a summary,
# before it or after it.
#
# **Write** the rest of `answer_of(graph, question, node)`. It returns a pair:
# the text that the model in this node wrote, and whether it is whole. It is
# whole only if the model came to its own end and has said something. The
# errors of `openai` do not come out. All others do.
#
# **Expected:** `False` for an answer that was cut, filtered, refused, or just
# ended; what other nodes say changes nothing.


# %%
async def answer_of(graph, question, node):
    ask = {"messages": [("user", question)]}
    text = ""
    reason = None
    try:
        async for part in graph.astream(
            ask, stream_mode="messages", version="v2"
        ):
            message, about = part["data"]
            # TODO (about 3 lines)
            # solution
            if about["langgraph_node"] == node:
                text += message.text
                reason = message.response_metadata.get("finish_reason", reason)
    except openai.APIError:
        return text, False
    return text, reason == "stop" and text != ""


# %%
await check("05.3", answer_of)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `reason` has to become the `finish_reason` of the right node's model. Which
# chunks have one?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Compare `about["langgraph_node"]` with `node`. Only one chunk has the key
# `"finish_reason"` in its `response_metadata`, so give `get` the reason that
# you have as its second argument.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** Most chunks have no reason, and the last ones carry the usage.
# Whoever looks at the last chunk alone finds none. Of a refusal nothing is
# left, so an empty text is no answer. `except Exception` would hide the bugs
# of your nodes.

# %% [markdown]
# ## Keep
#
# - Filter by agent, type and text.
# - A sum of chunks knows its calls; all but the last are complete.
# - Keep the reason with the text.
#
# **Next:** [06 · Stop, limit, retry](../notebooks/06_stop_limit_retry.ipynb)
