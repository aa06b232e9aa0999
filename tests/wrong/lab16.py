"""Answers to lab 16 that differ in more than a line from its solution."""

from langchain_core.messages import RemoveMessage, ToolMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from tests.wrong import right


def on(thread):
    return {"configurable": {"thread_id": thread}}


@right("16.1")
async def reads_the_values(graph, thread, text):
    state = await graph.aget_state(on(thread))
    given = {"messages": [("user", text)]}
    if state.interrupts:
        given = Command(resume={state.interrupts[0].id: text})
    stream = graph.astream(
        given, on(thread), stream_mode=["messages", "values"], version="v2"
    )
    async for part in stream:
        if part["type"] == "values":
            for asked in part["interrupts"]:
                yield asked.value
        elif part["data"][0].type == "AIMessageChunk":
            yield part["data"][0].text


@right("16.2")
async def puts_them_behind_the_results(graph, thread):
    state = await graph.aget_state(on(thread))
    messages = state.values.get("messages", [])
    done = {m.tool_call_id for m in messages if m.type == "tool"}
    whole, due, added = [], [], 0
    for message in messages:
        if message.type != "tool":
            whole += due
            due = []
        whole.append(message)
        for call in getattr(message, "tool_calls", []):
            if call["id"] not in done:
                due.append(ToolMessage("cancelled", tool_call_id=call["id"]))
                added += 1
    if added:
        everything = RemoveMessage(REMOVE_ALL_MESSAGES)
        update = {"messages": [everything, *whole, *due]}
        await graph.aupdate_state(on(thread), update)
    return added
