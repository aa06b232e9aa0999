# %% [markdown]
# # Lab 16: ask a human
#
# lesson: [16 · Ask a human](../notebooks/16_ask_a_human.ipynb) ·
# [exercise](../exercises/16_ask_a_human.ipynb) ·
# [solution](../solutions/16_ask_a_human.ipynb)

# %% [markdown]
# Two tasks, about {minutes} minutes. You will
#
# - stream a chat that may ask back, and takes the reply as an answer;
# - repair a conversation that every message breaks.
#
# Write your code where the `...` is, and run that cell and the check below
# it. Each task has two hints.

# %%
from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from workshop.checks import check

llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)

# %% [markdown]
# ## Task 1: a chat that asks back
#
# The next cell is folded. It has `on(thread)` and `open_questions(graph,
# thread)`, as in the lesson, and `tokens(graph, thread, given)`, which runs a
# graph with any input and yields the tokens that its models write.


# %% tags=["folded"]
def on(thread):
    return {"configurable": {"thread_id": thread}}


async def open_questions(graph, thread):
    state = await graph.aget_state(on(thread))
    return [asked.value for asked in state.interrupts]


async def tokens(graph, thread, given):
    async for part in graph.astream(
        given, on(thread), stream_mode="messages", version="v2"
    ):
        message, _ = part["data"]
        if message.type == "AIMessageChunk" and message.text:
            yield message.text


# %% [markdown]
# The waiter below asks for the table before it takes an order. A chat that
# shows only tokens shows nothing, and what the guest writes next begins a new
# run: it asks again.


# %%
async def serve(state):
    table = interrupt("At which table do you sit?")
    dish = state["messages"][-1].text
    return {"messages": await llm.ainvoke(f"Table {table} orders {dish}")}


builder = StateGraph(MessagesState)
builder.add_node("serve", serve)
builder.add_edge(START, "serve")
waiter = builder.compile(checkpointer=InMemorySaver())

for text in ("the soup", "4"):
    print("guest:", text)
    async for token in tokens(waiter, "1", {"messages": [("user", text)]}):
        print("waiter:", token)
print("still waits:", await open_questions(waiter, "1"))

# %% [markdown]
# **Write** `chat(graph, thread, text)`, an async generator of texts. If the
# thread waits for an answer, `text` is this answer, and the run goes on. If
# not, `text` is a new message. It yields the tokens that the model writes,
# each as it comes. If the run stops at a question, it yields that question.
#
# A thread waits for one question at most, and each question is a text.
#
# **Expected:** *the soup* gets the question, *4* gets the order for table 4.


# %%
async def chat(graph, thread, text):
    given = {"messages": [("user", text)]}
    # TODO (about 6 lines)
    # solution
    if await open_questions(graph, thread):
        given = Command(resume=text)
    async for token in tokens(graph, thread, given):
        yield token
    for question in await open_questions(graph, thread):
        yield question


# %%
await check("16.1", chat)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# `open_questions` says whether the thread waits. What is the input of a run
# that brings an answer? And what does the thread wait for when the run has
# ended?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# `given = Command(resume=text)` if there are open questions, else the message.
# Then the loop over `tokens(...)`. Then a loop over the open questions: what
# is among them now is new.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** That a thread waits is known by its memory, not by the process that
# asked. So this works after a restart, too. `state.next` is not enough: a run
# that was cut off has a `next` as well, and waits for no answer.
#
# The question could come from the stream, too: with the modes `messages` and
# `updates` it is `part["data"]["__interrupt__"]`. To ask the state in the end
# takes one read more, and one mode less.

# %% [markdown]
# ## Task 2: a conversation that every message breaks
#
# A process was killed between the model, which called two tools, and the
# tools. The second call has no result, and the guest has written since. The
# next cell is folded: it makes this thread `"1"` of an `agent`.


# %% tags=["folded"]
from langchain.messages import AIMessage, HumanMessage, ToolMessage


def order(dish: str) -> str:
    """Order a dish in the kitchen."""
    return f"The {dish} is ordered."


agent = create_agent(llm, [order], checkpointer=InMemorySaver())


def call(dish):
    return {"name": "order", "args": {"dish": dish}, "id": f"call {dish}"}


BROKEN = [
    HumanMessage("Soup and cake"),
    AIMessage("", tool_calls=[call("soup"), call("cake")]),
    ToolMessage("soup ordered", tool_call_id="call soup"),
    HumanMessage("Hello?"),
]
await agent.aupdate_state(on("1"), {"messages": BROKEN})

# %% [markdown]
# The next cell is folded, too. `messages_of(graph, thread)` are the messages
# of a thread, `calls_of(message)` its calls of tools, and `rewrite(graph,
# thread, messages)` puts these messages in the place of all. At its end you
# see what each message to the thread gets from now on.

# %% tags=["folded"]
import openai
from langchain.messages import RemoveMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES


async def messages_of(graph, thread):
    state = await graph.aget_state(on(thread))
    return state.values.get("messages", [])


def calls_of(message):
    return getattr(message, "tool_calls", [])


async def rewrite(graph, thread, messages):
    everything = RemoveMessage(REMOVE_ALL_MESSAGES)
    update = {"messages": [everything, *messages]}
    await graph.aupdate_state(on(thread), update)


try:
    await agent.ainvoke({"messages": [("user", "Hello?")]}, on("1"))
except openai.BadRequestError as error:
    print(error.status_code)

# %% [markdown]
# **Write** `repair(graph, thread)`. Each call of a tool that has no result
# gets one that says `cancelled`, a `ToolMessage` that stands behind the call,
# before any message that is not a result. All other messages stay as they
# are, in their order. It returns how many results it has added. A thread that
# lacks none is not touched: it gets no new checkpoint.
#
# **Expected:** 1 for the thread above, and then the agent answers again.


# %%
async def repair(graph, thread):
    messages = await messages_of(graph, thread)
    done = [m.tool_call_id for m in messages if m.type == "tool"]
    whole = []
    # TODO (about 8 lines)
    # solution
    for message in messages:
        whole.append(message)
        for call in calls_of(message):
            if call["id"] not in done:
                whole.append(ToolMessage("cancelled", tool_call_id=call["id"]))

    if len(whole) > len(messages):
        await rewrite(graph, thread, whole)
    return len(whole) - len(messages)


# %%
await check("16.2", repair)

# %% [markdown]
# <details><summary>Hint 1: where to look</summary>
#
# Which ids of calls are in the `tool_call_id` of some message, and which are
# not? Go through the messages once and build a new list: where in it does the
# missing result belong?
#
# </details>
#
# <details><summary>Hint 2: nearly the answer</summary>
#
# Append each message to a new list, and right behind it a
# `ToolMessage("cancelled", tool_call_id=call["id"])` for each of its calls
# whose id is not among the results. In the end `await rewrite(...)`, if
# there was one.
#
# </details>

# %% [markdown] tags=["solution"]
# **Why.** The reducer of `messages` can only append, replace by id, or remove.
# A result in the middle therefore takes a list that is written anew. Each
# message keeps its id, so an edit or an *undo* still finds it.
#
# To say `cancelled` is better than to take the call back as lesson 16 does:
# the model knows what it wanted, and that it did not happen. Which of the two
# calls ran and was only not recorded, nobody can say. Ask the kitchen, or let
# the tool be idempotent.
#
# Let a repair wait for its turn, as in lesson 15. A run that is still at work
# has calls without a result, too.

# %% [markdown]
# ## Keep
#
# - Look at `interrupts` before you send a message: it may be an answer.
# - Tokens come in `messages`, questions in `updates`.
# - A call without its result breaks each message: give it one.
#
# **Next:**
# [17 · Break it on purpose](../notebooks/17_break_it_on_purpose.ipynb)
