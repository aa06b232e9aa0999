# %% [markdown]
# # Ask a human in the middle of a stream
#
# previous: [15 · Shared memory](15_shared_memory.ipynb) ·
# next: [17 · Break it on purpose](17_break_it_on_purpose.ipynb) ·
# lab: [16](../exercises/16_ask_a_human.ipynb)
#
# In {minutes} minutes you will be able to:
#
# - let a run stop at a question, see it in the stream, and answer it;
# - write a node that may ask without doing its work twice;
# - get a thread out that every message breaks.
#
# Builds on lessons 14 and 15.

# %%
import asyncio
from weakref import WeakValueDictionary

from workshop.model import connect  # missing? pip install "./[lessons]"

model = connect()
import openai
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

llm = ChatOpenAI(model=model.name, stream_chunk_timeout=None)

# %% [markdown]
# ## A run that stops at a question
#
# A node that needs a person calls
# [`interrupt(question)`](glossary.md#interrupt). The run ends there, and the
# question is kept in the thread: so it takes a checkpointer. The answer comes
# in a run of its own, whose input is `Command(resume=answer)`. In that run
# `interrupt` returns the answer.
#
# `reserve` asks before it takes a table. Two lists count what it does before
# the question and after it.


# %%
def on(thread):
    return {"configurable": {"thread_id": thread}}


before = []
after = []


async def reserve(state):
    before.append("looked for a table")
    answer = interrupt("Table 3 by the window?")
    after.append(answer)
    return {"messages": [("ai", f"Table 3: {answer}")]}


def with_memory(node):
    builder = StateGraph(MessagesState)
    builder.add_node("reserve", node)
    builder.add_edge(START, "reserve")
    return builder.compile(checkpointer=InMemorySaver())


hall = with_memory(reserve)
WISH = {"messages": [("user", "A table, please")]}

# %% [markdown]
# **Predict.** Three modes at once. Which of them show the question?
#
# <details><summary>Answer</summary>
#
# `updates` has it under the key `__interrupt__`, where else the name of a node
# stands. `values` parts have it beside their data, as `interrupts`; the first
# of them is the input, before the question. In `messages` nothing comes: a
# chat that streams only tokens falls silent.
#
# </details>

# %%
modes = ["updates", "values", "messages"]
async for part in hall.astream(WISH, on("1"), stream_mode=modes, version="v2"):
    if part["type"] == "updates":
        asked = part["data"]["__interrupt__"]
        print("updates:", asked[0].value)
    elif part["type"] == "values":
        print("values:", [asked.value for asked in part["interrupts"]])
    else:
        print("messages:", part["data"])

# %% [markdown]
# The stream ends as if all was done. That the thread waits is in its state:

# %%
state = await hall.aget_state(on("1"))
print(state.next, [asked.value for asked in state.interrupts])

# %% [markdown]
# **Predict.** Now comes the answer. How often has `reserve` looked for a table
# by then?
#
# <details><summary>Answer</summary>
#
# Twice. `interrupt` left the node as an exception does. A run that goes on
# calls the node again, from its first line.
#
# </details>

# %%
async for part in hall.astream(
    Command(resume="yes"), on("1"), stream_mode="updates", version="v2"
):
    print(part["data"])
print(len(before), "before,", len(after), "after the question")

# %% [markdown]
# So in a node that asks, what is before the question must be **idempotent**:
# to do it twice must do no harm. Reading is. To send, to charge or to write
# is not: do that after the question, or in a node before this one.
#
# ## Nobody answers
#
# A hundred guests are asked and go home. How many tasks does the event loop
# have more than before?

# %%
tasks = len(asyncio.all_tasks())
for guest in range(100):
    await hall.ainvoke(WISH, on(f"guest {guest}"))
print(len(asyncio.all_tasks()) - tasks, "tasks more")

# %% [markdown]
# A run that waits for a person is not running. It is a row in the memory, and
# waits for ever, also when the server starts again. Its state has
# `created_at`. Delete the threads that nobody will answer, as in lesson 15.
#
# ## A wrong answer
#
# The node below wants a number, first without a schema. Somebody sends *four*,
# and then, corrected, *4*.


# %%
async def two_answers(schema):
    async def count(state):
        number = interrupt("For how many?", response_schema=schema)
        return {"messages": [("ai", f"for {int(number)}")]}

    counting = with_memory(count)
    await counting.ainvoke(WISH, on("1"))
    for answer in ("four", "4"):
        try:
            state = await counting.ainvoke(Command(resume=answer), on("1"))
            print(answer, "->", state["messages"][-1].text)
        except ValueError as error:
            print(answer, "->", type(error).__name__)


await two_answers(schema=None)

# %% [markdown]
# The right answer fails, too. An answer is kept, so that a run can go on after
# a crash. Whenever the node is called again it gets *four*, and no answer
# helps this thread any more. `response_schema`, a type or a class of Pydantic,
# checks an answer before it is kept:

# %%
await two_answers(schema=int)

# %% [markdown]
# Pydantic's `ValidationError` is a `ValueError`. Nothing was kept, and the
# question can be answered again.
#
# ## What people get wrong: *a question is answered once*
#
# A double click, or two people who look at the same list: two answers arrive
# at once, *yes* and *no*.
#
# **Predict.** How many of them are carried out?

# %%
after.clear()
await hall.ainvoke(WISH, on("2"))
yes = hall.ainvoke(Command(resume="yes"), on("2"))
no = hall.ainvoke(Command(resume="no"), on("2"))
await asyncio.gather(yes, no)
print(len(after), "answers were carried out")

# %% [markdown]
# Both. Each run found the question open when it began. Which one the thread
# remembers is luck. It takes a lock for each thread, as in lesson 15, and a
# look at the question before the answer: a question has an `id`.
#
# This is one to take to work, inside of lesson 08's `in_own_task`. It streams
# the run that goes on, or raises `NotAsked`, which an endpoint makes a 409.

# %%
turns = WeakValueDictionary()


class NotAsked(Exception):
    """The thread does not wait for an answer to this question."""


async def resume(graph, thread, question_id, answer):
    async with turns.setdefault(thread, asyncio.Lock()):
        state = await graph.aget_state(on(thread))
        if question_id not in [asked.id for asked in state.interrupts]:
            raise NotAsked(question_id)
        async for part in graph.astream(
            Command(resume={question_id: answer}),
            on(thread),
            stream_mode=["messages", "updates"],
            version="v2",
        ):
            yield part


# %% [markdown]
# A `dict` from ids to answers says which question is meant; several nodes may
# ask at once. The next cell is folded: the same two answers.

# %% tags=["folded"]
after.clear()
await hall.ainvoke(WISH, on("3"))
state = await hall.aget_state(on("3"))
question = state.interrupts[0]


async def click(answer):
    try:
        async for part in resume(hall, "3", question.id, answer):
            pass
    except NotAsked:
        print(answer, "came too late")


await asyncio.gather(click("yes"), click("no"))
print("carried out:", after)

# %% [markdown]
# Without that look, an answer that comes too late yields an empty stream, and
# no error.
#
# ## An agent that asks before it acts
#
# For agents there is a middleware that asks before each call of the tools that
# you name. Its answers are decisions. With `interrupt_mode="per_call"` each
# call is a question of its own, whose answer is checked before it is kept.

# %%
from langchain.agents.middleware import HumanInTheLoopMiddleware

ordered = []


def order(dish: str) -> str:
    """Order a dish in the kitchen."""
    ordered.append(dish)
    return f"The {dish} is ordered."


guard = HumanInTheLoopMiddleware({"order": True}, interrupt_mode="per_call")
agent = create_agent(
    llm, [order], middleware=[guard], checkpointer=InMemorySaver()
)
SOUP = {"messages": [("user", "Order soup")]}
EDIT = {"name": "order", "args": {"dish": "cake"}}

for decision in (
    {"type": "approve"},
    {"type": "edit", "edited_action": EDIT},
    {"type": "reject", "message": "The kitchen is closed"},
):
    ordered.clear()
    thread = on(decision["type"])
    await agent.ainvoke(SOUP, thread)
    state = await agent.ainvoke(Command(resume=decision), thread)
    result = state["messages"][2]  # after the order and the model's call
    print(decision["type"], ordered, result.type, result.status)

# %% [markdown]
# Each gives the call its result, a message of type `tool`. After `reject` it
# is an error that tells the model why. An edited call stays in the history as
# the model made it, and its result says what ran instead.
# There is also `respond`, whose message is the result.
#
# ## A call without its result
#
# The agent asks. The guest does not look, and writes another message.
#
# **Predict.** What happens to that message? And to the next ones?

# %%
await agent.ainvoke(SOUP, on("5"))
for text in ("Hello?", "Is anybody there?"):
    try:
        await agent.ainvoke({"messages": [("user", text)]}, on("5"))
    except openai.BadRequestError as error:
        print(error.status_code, error.body["message"][:60])
state = await agent.aget_state(on("5"))
print([message.type for message in state.values["messages"]])

# %% [markdown]
# A message begins a new run, and the question is gone. But the history still
# has the call of the tool, and behind it no result. OpenAI refuses that, with
# the sentence that the practice model repeats here. So each message ends in a
# 400. A process that is killed between `model` and `tools` leaves the same.
#
# The way out is to take the call back. `RemoveMessage` goes into the state
# like a message, and removes the one with its id.

# %%
from langchain.messages import RemoveMessage

call = state.values["messages"][1]
removal = {"messages": [RemoveMessage(id=call.id)]}
await agent.aupdate_state(on("5"), removal)
again = {"messages": [("user", "What is the capital of France?")]}
state = await agent.ainvoke(again, on("5"))
print(state["messages"][-1].text)

# %% [markdown]
# Better is not to get there: while `state.interrupts` has a question, a chat
# takes what the guest writes as the answer, or says that it waits.
#
# ## Check yourself
#
# For which questions does a thread wait? Return their values, a list in the
# order of the state, empty if it waits for none. The saver is an async one.

# %%
from workshop.checks import check


async def open_questions(graph, thread):
    # TODO (about 2 lines)
    ...


await check("16.0", open_questions)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The state of a thread has them, and you have seen them printed.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# state = await graph.aget_state({"configurable": {"thread_id": thread}})
# return [asked.value for asked in state.interrupts]
# ```
#
# </details>
#
# ## Keep
#
# - A question is in `updates` as `__interrupt__`, in `values` as `interrupts`,
#   and not in `messages`.
# - A node that asks begins again at its first line: do your work after.
# - Answer by `id`, in your turn, with a checked answer; never send a message
#   to a thread that waits.
#
# **Next:** [Lab 16](../exercises/16_ask_a_human.ipynb)
