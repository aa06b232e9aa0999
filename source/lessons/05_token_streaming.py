# %% [markdown]
# # Put tokens on the screen, and stop them
#
# previous: [03 · Stream modes](03_astream_modes.ipynb) ·
# next: [07 · FastAPI streaming](07_fastapi_streaming.ipynb) ·
# lab: [05](../exercises/05_token_streaming.ipynb)
#
# In twenty minutes you will be able to:
#
# - show users their answer, token by token, and nothing else;
# - say which nodes stream, and which only seem to;
# - leave a stream so that the model stops, and prove it.
#
# Builds on lessons 01 and 03.

# %%
import asyncio

from workshop.checks import check
from workshop.chunks import brief
from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

llm = ChatOpenAI(model=model.name, stream_usage=True)

# %% [markdown]
# ## One turn, taken apart
#
# A waiter has a tool. Two helpers are for later: a graph with one node, and
# a node that asks a whole agent.


# %%
def price(dish: str) -> dict:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


def graph_of(node, **options):
    graph = StateGraph(MessagesState).add_node("reply", node, **options)
    return graph.add_edge(START, "reply").compile()


async def ask_agent(state):
    return await agent.ainvoke(state)


# %% [markdown]
# **Predict.** The model reads a question, calls the tool, reads the result
# and answers. Which of these steps can you see in `messages` mode?
#
# <details><summary>Answer</summary>
#
# All but the reading. The call comes in pieces, like a text. The result of
# the tool comes whole. All of them are messages.
#
# </details>

# %%
agent = create_agent(llm, tools=[price])
question = {"messages": [("user", "What is the price of the soup?")]}
MESSAGES = {"stream_mode": "messages"}
turn = [part async for part in agent.astream(question, **MESSAGES)]
print(*[f"{a['langgraph_node']:6} {brief(m)}" for m, a in turn], sep="\n")

# %% [markdown]
# Each model call begins with an empty chunk, its role. Three more end it: the
# reason to stop, the usage, and a mark that this was the last.
#
# Between them is text, or a tool call. Its name comes first. Its arguments
# follow in pieces that are no JSON yet.
#
# **Predict.** Each chunk also has `tool_calls`, ready to use. What does it
# say on the third chunk? What do you get if you add all chunks of the call?

# %%
first_id = turn[0][0].id
first = [message for message, _ in turn if message.id == first_id]
whole = sum(first[1:], first[0])
print("third chunk:", first[2].tool_calls)
print("all added  :", whole.tool_calls, whole.usage_metadata["output_tokens"])

# %% [markdown]
# A piece is guessed at: no name, no arguments. **Add chunks with `+`**, then
# read. The sum joins the pieces of each call by their `index`, and it carries
# the usage as well (7 tokens). Chunks with one `id` belong together.
#
# **Predict.** Some models answer in blocks, and the next one is told to. What
# does `print(chunk.content)` put on the screen?

# %%
blocks = ChatOpenAI(model=model.name, output_version="v1")
blocks.stream_chunk_timeout = None  # so that no Stop gets lost: see below
chat = create_agent(blocks, tools=[])
chunks = [message async for message, _ in chat.astream(question, **MESSAGES)]
print(chunks[1].content, "|", chunks[1].text)

# %% [markdown]
# `content` is a string or a list of blocks. `text` is always a string.
#
# ## What users should see
#
# You have the chunks of `turn`. Three filters: everything that has content;
# the notes' filter, by the node `agent`; and one by type.
#
# **Predict.** What does each of them print?
#
# <details><summary>Answer</summary>
#
# The first leaks what the tool returned. The second prints nothing: the node
# of `create_agent` is called `model`. It was `agent` in `create_react_agent`,
# which the notes use. The third is right for both.
#
# </details>

# %%
naive = [m.content for m, _ in turn if m.content]
notes = [m.content for m, a in turn if a["langgraph_node"] == "agent"]
typed = [m.text for m, _ in turn if m.type == "AIMessageChunk"]
for shown in naive, notes, typed:
    print(repr("".join(shown)))

# %% [markdown]
# Node names are yours in your own graphs, and someone else's in a prebuilt
# one. The type says what you mean: a piece of what a model writes.
#
# A graph with several models needs more. Put a **tag** on a model and read it
# in the metadata. The tag `nostream` means: not this one.
#
# **Predict.** The second model has it. What arrives instead of 12 tokens?
#
# <details><summary>Answer</summary>
#
# The whole message, once, because the node returned it. It has another type,
# so the filter by type drops it.
#
# </details>

# %%
for tag in "final", "nostream":
    tagged = ChatOpenAI(model=model.name, tags=[tag])
    stream = create_agent(tagged, tools=[]).astream(question, **MESSAGES)
    seen = [(m.type, a.get("tags")) async for m, a in stream if m.text]
    print(f"{tag:9}", len(seen), "with text, the first:", seen[0])

# %% [markdown]
# ## The same node, called five ways
#
# **Predict.** In which of these five nodes do tokens reach you while the
# model still writes?
#
# <details><summary>Answer</summary>
#
# In all but the last. You stream the graph, so LangGraph makes every model
# call in it stream, `invoke` too. The last one blocks the event loop. The
# tokens arrive, and nobody can hand them to you.
#
# </details>


# %%
async def ainvoke(state):
    return {"messages": await llm.ainvoke(state["messages"])}


async def astream(state):
    chunks = [chunk async for chunk in llm.astream(state["messages"])]
    return {"messages": sum(chunks[1:], chunks[0])}


def def_invoke(state):
    return {"messages": llm.invoke(state["messages"])}


async def to_thread(state):
    return await asyncio.to_thread(def_invoke, state)


async def async_invoke(state):
    return def_invoke(state)


# %%
from workshop.observe import Timeline

times = {}
for node in ainvoke, astream, def_invoke, to_thread, async_invoke:
    name, sent = node.__name__, 0
    with Timeline() as times[name], model.meter() as meter:
        async for message, _ in graph_of(node).astream(question, **MESSAGES):
            if message.text and not sent:
                sent, wait = meter.read().tokens_sent, times[name].took
    early = sent < meter.tokens_sent
    print(f"{name:12} early: {early!s:5} first token after {wait:.2f} s")
Timeline.compare(times)

# %% [markdown]
# *Early* is counted: at your first token the model had more to send. The
# total is the same five times. What a user feels is the first token: in four
# nodes it comes at a third of the wait, in the last one at its end.
#
# ## Agents inside a graph
#
# **Predict.** An agent is a node of a graph, then a function calls it inside
# a node. Do its tokens come out?
#
# <details><summary>Answer</summary>
#
# Only with `subgraphs=True`, in both cases. Without it you get each message
# whole, when the node has ended.
#
# </details>

# %%
for node in agent, ask_agent:
    outside = graph_of(node).astream(question, **MESSAGES)
    inside = graph_of(node).astream(question, subgraphs=True, **MESSAGES)
    print(*[m.text async for m, _ in outside if m.text], sep="|")
    print(*[m.text async for _, (m, _) in inside if m.text], sep="|")

# %% [markdown]
# With `subgraphs=True` each part is `(namespace, (message, about))`. The
# namespace says which agent speaks, such as `("reply:…",)`.
#
# ## Structured output
#
# **Predict.** A model that must answer with an order: `dish` and `table`.
# What can you stream before its JSON is complete?
#
# <details><summary>Answer</summary>
#
# The object as far as it is known. Each part replaces the one before.
#
# </details>

# %%
from pydantic import create_model

Order = create_model("Order", dish=str, table=int)
waiter = llm.with_structured_output(Order.model_json_schema())
print([part async for part in waiter.astream("Table 4 orders the soup")])

# %% [markdown]
# Each part is a draft: for a moment the dish was `the`. Act on the last one.
#
# ## What people get wrong: *I left, so the model stopped*
#
# Here are two ways to leave after the first token. `count` lets somebody
# leave, waits until the model is idle, and prints what the **model** counted.
#
# **Predict.** One of the three rows keeps the stream in a variable. For which
# row does the model write on?
#
# <details><summary>Answer</summary>
#
# For the kept one, to the end. `break` does not close a generator. It is
# closed when nothing refers to it any more.
#
# </details>

# %%
from contextlib import aclosing


async def just_break(stream):
    async for message, _ in stream:
        if message.text:
            break


async def close(stream):
    async with aclosing(stream):
        await just_break(stream)


# %%
async def count(name, leaving):
    m = model.meter()
    await asyncio.gather(leaving, return_exceptions=True)
    left = m.read().tokens_sent
    while m.read().in_flight:
        await asyncio.sleep(0.05)
    print(f"{name:11}{m.cut_off} cut off, went on: {m.tokens_sent > left + 5}")


await count("break", just_break(chat.astream(question, **MESSAGES)))
await count("kept", just_break(kept := chat.astream(question, **MESSAGES)))
await count("aclosing", close(chat.astream(question, **MESSAGES)))

# %% [markdown]
# A variable, a debugger or a traceback is enough to keep a generator, and you
# pay for tokens that nobody reads. Write `aclosing`.
#
# ## A retry says it twice
#
# **Predict.** The connection breaks after three tokens, and LangGraph runs
# the node again, as its policy says. What does the user read?
#
# <details><summary>Answer</summary>
#
# The three tokens, and then everything. Nothing takes back what was yielded.
# But the second try has an `id` of its own.
#
# </details>

# %%
from langgraph.types import RetryPolicy

graph = graph_of(ainvoke, retry_policy=RetryPolicy(initial_interval=0.1))
model.fault("cut", after_tokens=3)
texts = {}
async for message, _ in graph.astream(question, **MESSAGES):
    texts[message.id] = texts.get(message.id, "") + message.text
print("as it came:", "".join(texts.values()))
print("last id   :", list(texts.values())[-1])

# %% [markdown]
# So a screen keeps one text for each `id` and replaces it. To a client that
# can only append, send an event that says *start again*.
#
# ## A token panel
#
# `show` streams into two widgets: the text, and what a user feels, which is
# the time to the first token and the speed. It does not use `with Output():`
# around an `await`. That would catch what other cells print meanwhile.
#
# The text of a model may contain HTML. `mistune` renders Markdown and escapes
# everything else.


# %%
async def show():
    clock = asyncio.get_running_loop().time
    text, began, arrived = "", clock(), []
    async with aclosing(chat.astream(card, **MESSAGES)) as stream:
        async for message, _ in stream:
            if message.text:
                text += message.text
                view.value = markdown(text)
                arrived.append(clock() - began)
                speed = len(arrived) / arrived[-1]
                facts.value = f"first {arrived[0]:.2f} s, {speed:.0f} tokens/s"


# %%
import ipywidgets as widgets
import mistune


def begin():
    runs.append(loop.create_task(show()))


view, facts = widgets.HTML(), widgets.Label()
start, stop = (widgets.Button(description=d) for d in ("Start", "Stop"))
card = {"messages": [("user", "Write the card in Markdown, 60 words")]}
markdown = mistune.create_markdown()
loop, runs = asyncio.get_running_loop(), []
start.on_click(lambda _: [stop.click(), loop.call_soon_threadsafe(begin)])
stop.on_click(lambda _: [loop.call_soon_threadsafe(r.cancel) for r in runs])
print(markdown("**soup** <b>"))
widgets.VBox([widgets.HBox([start, stop]), facts, view])

# %% [markdown]
# Press **Start**, then **Stop**. On a page without a kernel you see no panel.
# The next cell presses its buttons for you, and then uses a time limit.
#
# Stop cancels the task, and Start presses Stop first. JupyterLab may deliver
# a click in another thread: `call_soon_threadsafe` takes it to your loop.
#
# On Python 3.11 a cancel can get lost: if the next token is already waiting,
# `asyncio.wait_for` swallows it. `ChatOpenAI` waits so for each token, unless
# you set `stream_chunk_timeout=None`, as `chat` does. 3.12 mended it.
#
# **Predict.** Does the model stop, both times?
#
# <details><summary>Answer</summary>
#
# Yes. `wait_for` and `asyncio.timeout` are a cancel with a clock.
#
# </details>

# %%
start.click()
await asyncio.sleep(0.5)
stop.click()
await count("Stop", runs[-1])
await count("time limit", asyncio.wait_for(show(), 0.5))

# %% [markdown]
# ## Check yourself
#
# Replace the `...`. The function gets both parts of what `messages` mode
# yields. It says whether users should see the text. It must be right for
# `create_agent` and for the older `create_react_agent`.


# %%
def for_user(message, about) -> bool:
    # TODO (about 1 line)
    ...


# %%
await check("05.0", for_user)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The node has another name in each. What do a token and the result of a tool
# never have in common? And an empty chunk is nothing to show.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# return message.type == "AIMessageChunk" and bool(message.text)
# ```
#
# </details>
#
# ## Keep
#
# - Filter by type; tell models apart by tag; read `text`; add chunks with `+`.
# - A sync call in an `async def` node turns a stream into one lump.
# - You have left a stream when the model has stopped: `aclosing` or cancel.
#
# **Next:** [Lab 05](../exercises/05_token_streaming.ipynb)
