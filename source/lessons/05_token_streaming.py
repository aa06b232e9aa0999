# %% [markdown]
# # Show users the words that are meant for them
#
# previous: [04 · Progress and events](04_progress_and_events.ipynb) ·
# next: [06 · Stop, limit, retry](06_stop_limit_retry.ipynb) ·
# lab: [05](../exercises/05_token_streaming.ipynb)

# %% [markdown]
# In {minutes} minutes you will be able to:
#
# - read every chunk of a model's turn;
# - show users their answer, token by token, and nothing else;
# - tell a complete answer from one that was cut.
#
# Builds on lesson 03.

# %%
from workshop.chunks import brief  # missing? pip install "./[lessons]"
from workshop.model import connect

model = connect()
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(model=model.name, stream_usage=True)
if model.practice:
    model.pace(ttft=0.05, per_token=0.01)

# %% [markdown]
# ## One turn, taken apart
#
# `price` is a plain function: `create_agent` makes a tool of it.
#
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
def price(dish: str) -> dict:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


agent = create_agent(llm, tools=[price])
QUESTION = {"messages": [("user", "What is the price of the soup?")]}

turn = []
async for part in agent.astream(
    QUESTION, stream_mode="messages", version="v2"
):
    turn.append(part["data"])
for message, about in turn:
    print(f"{about['langgraph_node']:6}", brief(message))

# %% [markdown]
# Each model call begins with an empty chunk, its role. Three more end it: the
# reason why it ended, the usage (you asked for it by `stream_usage=True`),
# and a mark that this was the last.
#
# The agent itself called the model with `ainvoke`. It streams all the same:
# LangGraph hangs a callback into the run, and every model that sees it there
# streams to it, also in an `invoke`. (Only do not block the loop: a sync
# `invoke` in an `async def` node holds back its tokens to the end, as it held
# back the progress in lesson 04.)
#
# **Predict.** Each chunk has `tool_calls`, ready to use. What does it say on
# the third chunk? What do you get if you add all chunks of the call?
#
# <details><summary>Answer</summary>
#
# The third chunk has a piece of the arguments, `{"`, and no name. What its
# `tool_calls` makes of that is a guess. The sum has the whole call.
#
# </details>

# %%
first, about = turn[0]
third, about = turn[2]
whole = first
for message, about in turn[1:]:
    if message.id == first.id:
        whole = whole + message
print("third chunk:", third.tool_calls)
print("all added  :", whole.tool_calls)
print("tokens used:", whole.usage_metadata["output_tokens"])

# %% [markdown]
# **Add chunks with `+`, then read.** Chunks with one `id` belong together.
# The sum joins the pieces of each call, and it carries the usage.
#
# Some models answer in blocks. With `output_version="v1"` ours does, too.

# %%
blocks = ChatOpenAI(model=model.name, output_version="v1")
chunks = []
async for chunk in blocks.astream("What is LangGraph?"):
    chunks.append(chunk)
print(chunks[1].content, "|", chunks[1].text)

# %% [markdown]
# `content` is a string or a list of blocks. `text` is always a string. Read
# `text`.
#
# ## What people get wrong: *text from a model is for the user*
#
# Few agents have one model. This one has a helper, which writes a summary
# before the agent's own model is asked, so twice in a turn. `before_model`
# makes a node of it, which gets the state and the runtime of the agent.

# %%
from langchain.agents.middleware import before_model

helper = ChatOpenAI(model=model.name)


@before_model
async def summary(state, runtime):
    await helper.ainvoke("Summarize the conversation")


# %% [markdown]
# Four filters look at one run: all that has text; the node `agent`, as older
# guides have it ([OLD_NOTES](../OLD_NOTES.md), from which this course grew,
# is one); the type; and the type with the node `model`.
#
# **Predict.** What does each of them show?
#
# <details><summary>Answer</summary>
#
# The first shows the summary, the tool's result and the answer. The second
# shows nothing: `create_agent` calls its node `model`; it was `agent` in the
# older `create_react_agent`. The third drops the tool's result and still
# shows the summary. The fourth is right.
#
# </details>

# %%
careful = create_agent(llm, tools=[price], middleware=[summary])
everything = ""
old_node = ""
by_type = ""
by_node = ""
async for part in careful.astream(
    QUESTION, stream_mode="messages", version="v2"
):
    message, about = part["data"]
    node = about["langgraph_node"]
    everything += message.text
    if node == "agent":
        old_node += message.text
    if message.type == "AIMessageChunk":
        by_type += message.text
        if node == "model":
            by_node += message.text

# %% [markdown]
# The four, in this order:

# %%
for shown in (everything, old_node, by_type, by_node):
    print(repr(shown))

# %% [markdown]
# The type says what it is: a piece that a model writes. It does not say for
# whom. A summary, a guard and a model that a tool asks (in the node `tools`)
# write such pieces, too. **Name the node that speaks to the user.** In a
# graph of your own, the names are yours.
#
# ## Several models in one node
#
# Then the node's name does not help. A **tag** on a model does: it appears in
# `about["tags"]`. One tag has a meaning of its own. `nostream` says: do not
# stream this one.
#
# **Predict.** What arrives of a model with `nostream`, instead of its tokens?
#
# <details><summary>Answer</summary>
#
# The whole message, once, because the node returned it. It is no chunk, so
# the filter by type drops it. Of a helper, whose message no node returns,
# nothing arrives.
#
# </details>

# %%
for tag in ("final", "nostream"):
    tagged = ChatOpenAI(model=model.name, tags=[tag])
    simple = create_agent(tagged, tools=[])
    seen = []
    async for part in simple.astream(
        QUESTION, stream_mode="messages", version="v2"
    ):
        message, about = part["data"]
        if message.text:
            seen.append((message.type, about.get("tags")))
    print(f"{tag:9}", len(seen), "with text, the first:", seen[0])

# %% [markdown]
# Tag every helper with `nostream`, and filter as well. Then one forgotten tag
# does no harm.
#
# ## Structured output
#
# **Predict.** A model must answer with an `Order`. Can you stream one?
#
# <details><summary>Answer</summary>
#
# As a class: no. You get one `Order`, at the end, because half an order would
# not be valid. As a JSON schema: yes, in drafts, and each replaces the one
# before.
#
# </details>

# %%
from pydantic import BaseModel


class Order(BaseModel):
    dish: str
    table: int


whole_order = llm.with_structured_output(Order, method="function_calling")
drafts = llm.with_structured_output(Order.model_json_schema())
for waiter in (whole_order, drafts):
    async for part in waiter.astream("Table 4 orders the soup"):
        print(repr(part))

# %% [markdown]
# For a moment the dish was `the`. Show drafts, and act on the last one. (The
# default method gives the same `Order`, and a warning from Pydantic.)
#
# ## How did it end?
#
# An answer can end early and look complete. Near its end comes a chunk with
# a [`finish_reason`](glossary.md#finish-reason): `stop`, `tool_calls`,
# `length` (out of tokens) or `content_filter`. `model.fault` makes the next
# answer end in such a way.


# %%
import openai


async def watch_the_end(kind):
    text = ""
    reason = None
    try:
        async for part in agent.astream(
            {"messages": [("user", "What is LangGraph?")]},
            stream_mode="messages",
            version="v2",
        ):
            message, _ = part["data"]
            text += message.text
            # only one chunk has it: keep what you have on all others
            reason = message.response_metadata.get("finish_reason", reason)
    except openai.APIError as error:
        reason = type(error).__name__
    print(kind, "|", reason, "|", text)


# %% [markdown]
# After `no_done` the stream just ends: no reason, and no `[DONE]`, the line
# that closes such a stream. After `cut` the connection breaks. `error_event`
# is an error in a stream that began well. `refusal` is a model that says no.
#
# **Predict.** Which of them raise an exception?
#
# <details><summary>Answer</summary>
#
# Only `cut` and `error_event`. The client takes `no_done` for an end, and
# nobody complains. Of a refusal nothing is left: no text, and the reason
# `stop`. It comes in a field of its own, which the client does not read.
#
# </details>

# %%
await watch_the_end("complete")
for kind in ("length", "content_filter", "no_done", "cut", "error_event"):
    model.fault(kind, after_tokens=4)
    await watch_the_end(kind)
model.fault("refusal")
await watch_the_end("refusal")

# %% [markdown]
# **An answer is complete if its reason is `stop` and it has text.** Store the
# reason with the answer, and tell the user when it is another one.
#
# ## Check yourself
#
# Replace the `...`. The function gets both parts of what `messages` mode
# yields. It says whether users should see the text. It must be right for
# `create_agent` and for the older `create_react_agent`, whatever helpers
# write beside them.


# %%
from workshop.checks import check


def for_user(message, about):
    # TODO (about 2 lines)
    ...


# %%
await check("05.0", for_user)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two names of nodes are right. In these nodes, some chunks have no text, and
# a model with `nostream` leaves a whole message.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# speaks = about["langgraph_node"] in ("model", "agent")
# return speaks and message.type == "AIMessageChunk" and message.text != ""
# ```
#
# </details>
#
# ## Keep
#
# - Add chunks with `+`; read `text`.
# - Show what the right node says, in chunks. Tag helpers with `nostream`.
# - Complete is what ended with `stop` and has text.
#
# **Next:** [Lab 05](../exercises/05_token_streaming.ipynb)
