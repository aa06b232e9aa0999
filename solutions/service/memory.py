"""An agent's memory of a thread: it goes to a graph, and comes from it.

Only the newest checkpoint is kept, so that a thread grows by what is said.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

from service.listener import visible
from service.store import Memory, save


class Unsuitable(Exception):
    """The agent is none that this service can run; says why."""


class LastPut(InMemorySaver):
    """Its newest checkpoint is the one that was put last. Their ids come from
    a clock, and the next machine's may be behind."""

    def __init__(self) -> None:
        super().__init__()
        self.newest: dict[str, Any] = {}  # by namespace

    def put(self, config: Any, *values: Any) -> Any:
        made = super().put(config, *values)
        self.newest[made["configurable"]["checkpoint_ns"]] = made
        return made

    def get_tuple(self, config: Any) -> CheckpointTuple | None:
        space = config["configurable"].get("checkpoint_ns", "")
        if not config["configurable"].get("checkpoint_id"):
            config = self.newest.get(space, config)
        return super().get_tuple(config)


def config_of(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def graph_of(
    agent: CompiledStateGraph, thread: str, memory: Memory
) -> CompiledStateGraph:
    """The agent, with a memory of its own that begins so."""
    saver = LastPut()
    save(saver, thread, memory)
    return agent.copy({"checkpointer": saver})


def memory_of(
    graph: CompiledStateGraph, calls: bool = False
) -> list[CheckpointTuple]:
    """What is to be kept. Those of a subgraph's single call matter only as
    long as that call is open."""
    saver = graph.checkpointer
    return [
        saver.get_tuple(config)
        for space, config in saver.newest.items()
        if calls or ":" not in space
    ]


async def check(agent: CompiledStateGraph) -> None:
    """Raises Unsuitable, if the agent cannot do what runs need."""
    channels = getattr(agent, "channels", {})
    if not isinstance(agent, CompiledStateGraph):
        raise Unsuitable("it is no compiled StateGraph")
    if "messages" not in channels:
        raise Unsuitable("its state has no `messages`")
    for name, channel in channels.items():
        if type(channel).__name__ == "DeltaChannel":
            raise Unsuitable(f"`{name}` is a DeltaChannel")
    try:
        await said(agent, "check", [], "1", "Is it so?", "It is.")
    except Exception as error:
        kind = type(error).__name__
        raise Unsuitable(f"its state takes no message ({kind})") from None


async def said(
    agent: CompiledStateGraph,
    thread: str,
    before: Memory,
    run: str,
    question: str,
    text: str,
) -> list[CheckpointTuple]:
    """The memory of a thread where this was asked, and this seen."""
    graph, place = graph_of(agent, thread, before), config_of(thread)
    messages: list[Any] = [HumanMessage(question, id=run)]
    if text:
        messages.append(AIMessage(text))
    # As a node behind which no function of a branch is called.
    branches = agent.builder.branches
    nodes = (START, *agent.builder.nodes)
    node = next((each for each in nodes if not branches.get(each)), START)
    await graph.aupdate_state(place, {"messages": messages}, as_node=node)
    await graph.aupdate_state(place, None, as_node=END)  # nothing is next
    return memory_of(graph)


def messages_of(memory: Memory) -> list[Any]:
    """The messages of a thread, as its agent remembers them."""
    for each in memory:
        if not each.config["configurable"]["checkpoint_ns"]:
            return each.checkpoint["channel_values"].get("messages") or []
    return []


def is_whole(memory: Memory, run: str, text: str) -> bool:
    """Whether a memory says what the reader of this run saw, and a model can
    be given it: each call of a tool has its result."""
    messages = messages_of(memory)
    answers = [each for each in messages if isinstance(each, AIMessage)]
    calls = {call["id"] for each in answers for call in each.tool_calls}
    if calls - {
        each.tool_call_id for each in messages if isinstance(each, ToolMessage)
    }:
        return False
    ids = [message.id for message in messages]
    if run not in ids:  # an answer to what was asked, or a summary
        return True
    later = messages[ids.index(run) + 1 :]
    texts = [visible(each) for each in later if isinstance(each, AIMessage)]
    return text == "".join(texts)
