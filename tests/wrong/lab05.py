"""Wrong answers, and right ones, to lesson 05 and lab 05."""

import json

from tests.wrong import changed, right, wrong

changed(
    "05.0",
    """
    users of create_agent see nothing: its model runs in the node `model`
    - speaks = about["langgraph_node"] in ("model", "agent")
    + speaks = about["langgraph_node"] == "agent"

    users of create_react_agent see nothing: its model runs in the node `agent`
    - speaks = about["langgraph_node"] in ("model", "agent")
    + speaks = about["langgraph_node"] == "model"

    users of create_agent see what the tool returned
    - return speaks and message.type == "AIMessageChunk" and message.text != ""
    + return bool(message.content)

    users of create_agent see what a helper writes in the node
    `summary.before_model`
    - return speaks and message.type == "AIMessageChunk" and message.text != ""
    + return message.type == "AIMessageChunk" and message.text != ""

    users of create_agent see the whole message of a model tagged `nostream`:
    it is no chunk
    - return speaks and message.type == "AIMessageChunk" and message.text != ""
    + return speaks and message.text != ""

    7 chunks without text pass
    - return speaks and message.type == "AIMessageChunk" and message.text != ""
    + return speaks and message.type == "AIMessageChunk"

    users of create_agent see 5 of 6 tokens
    - return speaks and message.type == "AIMessageChunk" and message.text != ""
    + return speaks and message.type != "ai" and message.text.strip() != ""

    it returned None, not True or False: is a `return` missing?
    - return speaks and message.type == "AIMessageChunk" and message.text != ""

    ✅
    - speaks = about["langgraph_node"] in ("model", "agent")
    + node = about["langgraph_node"]
    + speaks = node != "tools" and "." not in node
    """,
)

changed(
    "05.1",
    r"""
    it yielded no text: agents in a graph stream only with `subgraphs=True`,
    and their nodes are called `model`
    - ask, stream_mode="messages", subgraphs=True, version="v2"
    + ask, stream_mode="messages", version="v2"

    it yielded no text: agents in a graph stream only with `subgraphs=True`,
    and their nodes are called `model`
    - by_waiter = about.get("lc_agent_name") == "waiter"
    + by_waiter = about["langgraph_node"] == "agent"

    guests read what a tool returned
    - if by_waiter and message.type == "AIMessageChunk" and message.text:
    + if by_waiter and message.text:

    guests read the words of another agent
    - by_waiter = about.get("lc_agent_name") == "waiter"
    + by_waiter = about["langgraph_node"] == "model"

    3 pieces without text: keep those that have some
    - if by_waiter and message.type == "AIMessageChunk" and message.text:
    + if by_waiter and message.type == "AIMessageChunk":

    nothing was streamed: it came when the model had finished
    - async for part in stream:
    + state = await graph.ainvoke(ask)
    + yield state["messages"][-1].text
    + for part in ():

    nothing was streamed: it came when the model had finished
    - async for part in stream:
    + for part in [part async for part in stream]:

    it yielded AIMessageChunk, not a text
    - yield message.text
    + yield message

    it returned a coroutine, not an async generator: yield each token
    - yield message.text
    + print(message.text)

    guests read 'Soup0nono{}éishot', not 'Soup\n\n0 nono{}\n\u2028é is hot'
    - yield message.text
    + if message.text.strip():
    +     yield message.text.strip()

    ✅
    - ask, stream_mode="messages", subgraphs=True, version="v2"
    + ask, stream_mode=["messages"], subgraphs=True
    @@
    - async for part in stream:
    -     message, about = part["data"]
    + async for _, _, (message, about) in stream:
    """,
)

changed(
    "05.2",
    """
    a call without a name: later pieces carry only an `index`
    - while len(whole.tool_calls) > done + 1:
    -     call = whole.tool_calls[done]
    -     done += 1
    -     yield call["name"], call["args"]
    + for call in chunk.tool_calls:
    +     yield call["name"], call["args"]

    arguments of several calls were joined: keep them apart by `index`
    - async for chunk in chunks:
    -     whole = chunk if whole is None else whole + chunk
    -     while len(whole.tool_calls) > done + 1:
    -         call = whole.tool_calls[done]
    -         done += 1
    -         yield call["name"], call["args"]
    + import json
    + args = ""
    + async for chunk in chunks:
    +     args += "".join(piece["args"] for piece in chunk.tool_call_chunks)
    + yield "price", json.loads(args)

    0 of 4 calls came before the model had finished: one is complete when the
    next one begins
    - while len(whole.tool_calls) > done + 1:
    + while False:

    the last call never came: the end completes it
    - if whole is not None:
    + if whole is None:

    ('price', {}) came, with arguments that are not complete
    - while len(whole.tool_calls) > done + 1:
    + while len(whole.tool_calls) > done:

    the arguments are a text: make a dict of the JSON
    - while len(whole.tool_calls) > done + 1:
    -     call = whole.tool_calls[done]
    + while len(whole.tool_call_chunks) > done + 1:
    +     call = whole.tool_call_chunks[done]

    it yielded a dict, not (name, args)
    - done += 1
    - yield call["name"], call["args"]
    + done += 1
    + yield call

    it returned a coroutine, not an async generator: yield each call
    - async def complete_calls(chunks):
    + async def complete_calls(chunks):
    +     return [chunk.tool_calls async for chunk in chunks]
    + async def other(chunks):

    three calls came in one chunk, and only 1 of the two complete ones came out
    - while len(whole.tool_calls) > done + 1:
    + if len(whole.tool_calls) > done + 1:
    """,
)


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


changed(
    "05.3",
    """
    it says True of an answer out of tokens
    - return text, reason == "stop" and text != ""
    + return text, True

    it says True of an answer out of tokens
    - if about["langgraph_node"] == node:
    -     text += message.text
    -     reason = message.response_metadata.get("finish_reason", reason)
    + if about["langgraph_node"] == node:
    +     text += message.text
    + reason = message.response_metadata.get("finish_reason", reason)

    it says True of a refusal
    - return text, reason == "stop" and text != ""
    + return text, reason == "stop"

    it says True of an answer that just ended
    - reason = None
    + reason = "stop"

    it says False of a whole answer
    - reason = message.response_metadata.get("finish_reason", reason)
    + reason = message.response_metadata.get("finish_reason")

    the APIConnectionError came out, and the text is lost
    - except openai.APIError:
    + except openai.APIStatusError:

    the text of other nodes is in it
    - if about["langgraph_node"] == node:
    + if True:

    a bug in a node was swallowed: let it out
    - except openai.APIError:
    + except Exception:

    it returned a str, not a pair, the text and True or False
    - return text, reason == "stop" and text != ""
    + return text

    ✅
    - text += message.text
    - reason = message.response_metadata.get("finish_reason", reason)
    + whole = message if whole is None else whole + message
    + text = whole.text
    @@
    - return text, reason == "stop" and text != ""
    + reason = whole.response_metadata.get("finish_reason")
    + return text, reason == "stop" and text != ""
    @@
    - reason = None
    + whole = None
    """,
)
