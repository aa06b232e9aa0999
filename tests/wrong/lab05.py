"""Wrong answers, and right ones, to lesson 05 and lab 05."""

import json
from contextlib import suppress

import openai
from langchain_core.messages import AIMessageChunk

from tests.wrong import right, wrong


def ask(question):
    return {"messages": [("user", question)]}


def tokens(graph, question, **more):
    return graph.astream(ask(question), stream_mode="messages", **more)


# --- 05.0


@wrong(
    "05.0",
    "users of create_agent see nothing: its model runs in the node `model`",
)
def filters_by_the_old_node(message, about):
    return message.text and about["langgraph_node"] == "agent"


@wrong(
    "05.0",
    "users of create_react_agent see nothing: its model runs in the node "
    "`agent`",
)
def filters_by_the_new_node(message, about):
    chunk = isinstance(message, AIMessageChunk) and message.text
    return chunk and about["langgraph_node"] == "model"


@wrong("05.0", "users of create_agent see what the tool returned")
def takes_all_content(message, about):
    return bool(message.content)


@wrong(
    "05.0",
    "7 chunks without text pass",
)
def takes_empty_chunks(message, about):
    speaks = about["langgraph_node"] in ("model", "agent")
    return speaks and isinstance(message, AIMessageChunk)


@wrong(
    "05.0",
    "users of create_agent see 1 of 6 tokens",
)
def takes_only_the_first_word(message, about):
    return message.text == " euros"


@wrong("05.0", "it returned None, not True or False: is a `return` missing?")
def prints_it(message, about):
    if message.type == "AIMessageChunk":
        print(message.text, end="")


# --- 05.1


NO_TEXT = (
    "it yielded no text: agents in a graph stream only with "
    "`subgraphs=True`, and their nodes are called `model`"
)


@wrong("05.1", NO_TEXT)
async def forgets_subgraphs(graph, question):
    async for message, about in tokens(graph, question):
        if about.get("lc_agent_name") == "waiter" and message.text:
            yield message.text


@wrong("05.1", NO_TEXT)
async def waits_for_a_node_named_agent(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        if about["langgraph_node"] == "agent" and message.text:
            yield message.text


@wrong("05.1", "guests read what a tool returned")
async def forgets_the_type(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        if about.get("lc_agent_name") == "waiter" and message.text:
            yield message.text


@wrong("05.1", "guests read the words of another agent")
async def takes_every_model(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        if about["langgraph_node"] == "model" and message.text:
            yield message.text


@wrong(
    "05.1",
    "3 pieces without text: keep those that have some",
)
async def keeps_empty_pieces(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        waiter = about.get("lc_agent_name") == "waiter"
        if waiter and message.type == "AIMessageChunk":
            yield message.text


@wrong(
    "05.1",
    "the answer came in 1 piece: agents in a graph stream only with "
    "`subgraphs=True`",
)
async def yields_the_last_message(graph, question):
    state = await graph.ainvoke(ask(question))
    yield state["messages"][-1].text


@wrong(
    "05.1",
    "nothing was streamed: the pieces came when the model had finished",
)
async def collects_first(graph, question):
    pieces = []
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        waiter = about.get("lc_agent_name") == "waiter"
        if waiter and message.type == "AIMessageChunk" and message.text:
            pieces.append(message.text)
    for piece in pieces:
        yield piece


@wrong("05.1", "it yielded AIMessageChunk, not a text")
async def yields_the_chunks(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        waiter = about.get("lc_agent_name") == "waiter"
        if waiter and message.type == "AIMessageChunk" and message.text:
            yield message


@wrong(
    "05.1",
    "it returned a coroutine, not an async generator: yield each token",
)
async def prints_the_tokens(graph, question):
    async for message, _ in tokens(graph, question):
        print(message.text, end="")


# --- 05.2


@wrong("05.2", "a call without a name: later pieces carry only an `index`")
async def reads_each_chunk(chunks):
    async for chunk in chunks:
        for call in chunk.tool_calls:
            yield call["name"], call["args"]


@wrong(
    "05.2",
    "a part of the arguments was taken for all of them: they are "
    "complete when the next call begins",
)
async def parses_each_piece(chunks):
    async for chunk in chunks:
        for piece in chunk.tool_call_chunks:
            yield piece["name"], json.loads(piece["args"])


@wrong(
    "05.2",
    "arguments of several calls were joined: keep them apart by `index`",
)
async def joins_all_arguments(chunks):
    name, args = None, ""
    async for chunk in chunks:
        for piece in chunk.tool_call_chunks:
            name = name or piece["name"]
            args += piece["args"]
    if name:
        yield name, json.loads(args)


@wrong(
    "05.2",
    "0 of 4 calls came before the model had finished: one is complete "
    "when the next one begins",
)
async def waits_for_the_end(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    for call in whole.tool_calls:
        yield call["name"], call["args"]


@wrong(
    "05.2",
    "the last call never came: nothing begins after it, so it is complete "
    "at the end",
)
async def forgets_the_last(chunks):
    whole, done = None, 0
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        while len(whole.tool_calls) > done + 1:
            call = whole.tool_calls[done]
            yield call["name"], call["args"]
            done += 1


@wrong("05.2", "('price', {}) came, with arguments that are not complete")
async def takes_the_sum_each_time(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
        for call in whole.tool_calls:
            yield call["name"], call["args"]


@wrong("05.2", "the arguments are a text: make a dict of the JSON")
async def leaves_the_json(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    for piece in whole.tool_call_chunks:
        yield piece["name"], piece["args"]


@wrong("05.2", "it yielded a dict, not (name, args)")
async def yields_the_calls(chunks):
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    for call in whole.tool_calls:
        yield call


@wrong(
    "05.2",
    "it returned a coroutine, not an async generator: yield each call",
)
async def returns_them(chunks):
    return [chunk.tool_calls async for chunk in chunks]


@wrong(
    "05.2",
    "a part of the arguments was taken for all of them: they are "
    "complete when the next call begins",
)
async def takes_a_brace_for_the_end(chunks):
    name, args = None, ""
    async for chunk in chunks:
        for piece in chunk.tool_call_chunks:
            if piece["name"]:
                name, args = piece["name"], ""
            args += piece["args"]
            if args.endswith("}"):
                yield name, json.loads(args)


@right("05.2")
async def begins_with_a_name(chunks):
    name, args = None, ""
    async for chunk in chunks:
        for piece in chunk.tool_call_chunks:
            if piece["name"]:
                if name:
                    yield name, json.loads(args)
                name, args = piece["name"], ""
            args += piece["args"]
    if name:
        yield name, json.loads(args)


@wrong(
    "05.0",
    "users of create_agent see what a helper writes in the node "
    "`summary.before_model`",
)
def filters_by_type(message, about):
    return message.type == "AIMessageChunk" and bool(message.text)


@wrong(
    "05.0",
    "users of create_agent see the whole message of a model tagged "
    "`nostream`: it is no chunk",
)
def shows_whole_messages(message, about):
    speaks = about["langgraph_node"] in ("model", "agent")
    return speaks and bool(message.text)


@wrong(
    "05.0",
    "users of create_agent see 5 of 6 tokens",
)
def strips_the_text(message, about):
    speaks = about["langgraph_node"] in ("model", "agent")
    chunk = message.type == "AIMessageChunk"
    return speaks and chunk and bool(message.text.strip())


@right("05.0")
def names_the_others(message, about):
    if not isinstance(message, AIMessageChunk) or not message.content:
        return False
    node = about["langgraph_node"]
    return node != "tools" and "." not in node


@wrong(
    "05.1",
    "guests read 'Soup0nono{}éishot', not what the waiter said, "
    "unchanged: 'Soup\\n\\n0 nono{}\\n\\u2028é is hot'",
)
async def strips_the_tokens(graph, question):
    stream = tokens(graph, question, subgraphs=True)
    async for _, (message, about) in stream:
        waiter = about.get("lc_agent_name") == "waiter"
        chunk = message.type == "AIMessageChunk"
        if waiter and chunk and message.text.strip():
            yield message.text.strip()


@right("05.1")
async def reads_parts(graph, question):
    modes = ["messages"]
    async for part in graph.astream(
        ask(question), stream_mode=modes, subgraphs=True, version="v2"
    ):
        message, about = part["data"]
        if about.get("lc_agent_name") != "waiter":
            continue
        if isinstance(message, AIMessageChunk) and message.text:
            yield message.text


# --- 05.3


async def ended(graph, question, node):
    """The text of the node, and the reason of its end."""
    text, reason = "", None
    async for message, about in tokens(graph, question):
        if about["langgraph_node"] == node:
            text += message.text
            reason = message.response_metadata.get("finish_reason", reason)
    return text, reason


@wrong(
    "05.3",
    "it says True of an answer out of tokens",
)
async def trusts_the_end(graph, question, node):
    text, _ = await ended(graph, question, node)
    return text, True


@wrong(
    "05.3",
    "it says True of a refusal",
)
async def forgets_the_refusal(graph, question, node):
    text, reason = "", None
    try:
        async for message, about in tokens(graph, question):
            if about["langgraph_node"] == node:
                text += message.text
                reason = message.response_metadata.get("finish_reason", reason)
    except openai.APIError:
        reason = None
    return text, reason == "stop"


@wrong(
    "05.3",
    "it says True of an answer that just ended",
)
async def knows_no_missing_reason(graph, question, node):
    text, reason = "", "stop"
    try:
        async for message, about in tokens(graph, question):
            if about["langgraph_node"] == node:
                text += message.text
                reason = message.response_metadata.get("finish_reason", reason)
    except openai.APIError:
        reason = None
    return text, reason == "stop" and text != ""


@wrong(
    "05.3",
    "the APIConnectionError came out, and the text is lost",
)
async def lets_the_error_out(graph, question, node):
    text, reason = await ended(graph, question, node)
    return text, reason == "stop" and text != ""


@wrong(
    "05.3",
    "the text of other nodes is in it",
)
async def reads_every_node(graph, question, node):
    text, reason = "", None
    try:
        async for message, _ in tokens(graph, question):
            text += message.text
            reason = message.response_metadata.get("finish_reason", reason)
    except openai.APIError:
        reason = None
    return text, reason == "stop" and text != ""


@wrong(
    "05.3",
    "it says True of an answer out of tokens",
)
async def takes_the_reason_of_the_last(graph, question, node):
    text, reason = "", None
    try:
        async for message, about in tokens(graph, question):
            if about["langgraph_node"] == node:
                text += message.text
            reason = message.response_metadata.get("finish_reason", reason)
    except openai.APIError:
        reason = None
    return text, reason == "stop" and text != ""


@wrong(
    "05.3",
    "it says False of a whole answer",
)
async def looks_at_the_last_chunk(graph, question, node):
    text, reason = "", None
    try:
        async for message, about in tokens(graph, question):
            if about["langgraph_node"] == node:
                text += message.text
                reason = message.response_metadata.get("finish_reason")
    except openai.APIError:
        reason = None
    return text, reason == "stop" and text != ""


@wrong(
    "05.3",
    "it swallowed the KeyError of a node: only errors of `openai` do not "
    "come out",
)
async def hides_every_error(graph, question, node):
    text, reason = "", None
    try:
        async for message, about in tokens(graph, question):
            if about["langgraph_node"] == node:
                text += message.text
                reason = message.response_metadata.get("finish_reason", reason)
    except Exception:
        reason = None
    return text, reason == "stop" and text != ""


@wrong(
    "05.3",
    "it returned a str, not a pair, the text and True or False",
)
async def returns_the_text(graph, question, node):
    text, _ = await ended(graph, question, node)
    return text


@right("05.3")
async def adds_the_chunks(graph, question, node):
    whole = None
    complete = False
    with suppress(openai.APIError):
        async for part in graph.astream(
            ask(question), stream_mode="messages", version="v2"
        ):
            message, about = part["data"]
            if about["langgraph_node"] == node:
                whole = message if whole is None else whole + message
        complete = whole.response_metadata.get("finish_reason") == "stop"
    text = "" if whole is None else whole.text
    return text, complete and bool(text)
