"""Agents that are not like the service's own, for SERVICE_AGENT."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentState,
    HumanInTheLoopMiddleware,
    SummarizationMiddleware,
    before_agent,
)
from langchain.tools import tool
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

sys.path.insert(0, str(Path(__file__).parent.parent / "solutions"))
from service.model import open_model
from service.settings import Settings


def block() -> None:
    time.sleep(int(os.environ["SERVICE_BLOCKS"]))


async def price(dish: str) -> dict[str, Any]:
    """Look up the price of a dish."""
    return {"dish": dish, "euros": 9}


def an_agent(make: Callable[[ChatOpenAI], Any]) -> Any:
    @asynccontextmanager
    async def open_agent(settings: Settings) -> AsyncIterator[Any]:
        async with open_model(settings) as llm:
            yield make(llm)

    return open_agent


@an_agent
def blocking(llm: ChatOpenAI) -> Any:
    """Its tool blocks the loop of its process."""

    async def price(dish: str) -> dict[str, Any]:
        """Look up the price of a dish."""
        block()
        return {"dish": dish, "euros": 9}

    return create_agent(llm, [price])


@an_agent
def other_names(llm: ChatOpenAI) -> Any:
    """No node is called `model`."""
    graph = StateGraph(MessagesState)

    async def speak(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    graph.add_node("speak", speak)
    graph.add_edge(START, "speak")
    return graph.compile()


@an_agent
def guarded(llm: ChatOpenAI) -> Any:
    """A guard asks the model, too, and may answer by itself."""
    graph = StateGraph(MessagesState)

    async def guard(state: MessagesState) -> Any:
        last = state["messages"][-1].text
        await llm.ainvoke("Say exactly: this is safe")
        if "secret" in last:
            return {"messages": [AIMessage("I do not talk about that.")]}
        return {}

    async def speak(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    def way(state: MessagesState) -> str:
        return END if state["messages"][-1].type == "ai" else "speak"

    graph.add_node("guard", guard)
    graph.add_node("speak", speak)
    graph.add_edge(START, "guard")
    graph.add_conditional_edges("guard", way, ["speak", END])
    return graph.compile()


@an_agent
def summing_up(llm: ChatOpenAI) -> Any:
    """A middleware sums up what is old."""
    return create_agent(
        llm,
        [price],
        middleware=[
            SummarizationMiddleware(
                llm, trigger=("messages", 3), keep=("messages", 1)
            )
        ],
    )


@an_agent
def static(llm: ChatOpenAI) -> Any:
    """A guardrail answers without a model."""

    @before_agent(can_jump_to=["end"])
    def guardrail(state: AgentState, runtime: Any) -> Any:
        if "secret" not in state["messages"][-1].text:
            return None
        said = AIMessage("I do not talk about that.")
        return {"messages": [said], "jump_to": "end"}

    return create_agent(llm, [price], middleware=[guardrail])


@an_agent
def with_sub_agent(llm: ChatOpenAI) -> Any:
    """A tool that asks an agent of its own."""
    inner = create_agent(llm, [])

    @tool("price")
    async def ask(dish: str) -> str:
        """Look up the price of a dish."""
        said = await inner.ainvoke({"messages": [("user", "Who are you?")]})
        return "9" if said["messages"][-1].text else "nobody knows"

    return create_agent(llm, [ask])


@an_agent
def sub_graph(llm: ChatOpenAI) -> Any:
    """An agent is a node of the graph."""
    graph = StateGraph(MessagesState)
    graph.add_node("helper", create_agent(llm, [price]))
    graph.add_edge(START, "helper")
    return graph.compile()


@an_agent
def two_answers(llm: ChatOpenAI) -> Any:
    """Two nodes answer at the same time."""
    graph = StateGraph(MessagesState)

    def speaker(name: str) -> Any:
        async def speak(state: MessagesState) -> Any:
            said = await llm.ainvoke(f"Say exactly: this is speaker {name}.")
            return {"messages": [said]}

        return speak

    for name in "one", "two":
        graph.add_node(name, speaker(name))
        graph.add_edge(START, name)
    return graph.compile()


@an_agent
def changing(llm: ChatOpenAI) -> Any:
    """The node does not return what its model said."""
    graph = StateGraph(MessagesState)

    async def speak(state: MessagesState) -> Any:
        said = await llm.ainvoke(state["messages"])
        return {"messages": [("ai", said.text.upper())]}

    graph.add_node("speak", speak)
    graph.add_edge(START, "speak")
    return graph.compile()


@an_agent
def raising(llm: ChatOpenAI) -> Any:
    """A tool that raises after the model asked for it."""

    async def price(dish: str) -> None:
        """Look up the price of a dish."""
        raise ValueError("secret sauce")

    return create_agent(llm, [price])


@an_agent
def no_tools_node(llm: ChatOpenAI) -> Any:
    """It ends with a tool's call that nobody answers."""
    graph = StateGraph(MessagesState)
    able = llm.bind_tools([price])

    async def speak(state: MessagesState) -> Any:
        return {"messages": [await able.ainvoke(state["messages"])]}

    graph.add_node("speak", speak)
    graph.add_edge(START, "speak")
    return graph.compile()


@an_agent
def asking(llm: ChatOpenAI) -> Any:
    """A node that asks a human, then the model speaks."""
    graph = StateGraph(MessagesState)

    async def ask(state: MessagesState) -> Any:
        said = interrupt({"question": "Really?"})
        return {"messages": [("human", f"Say exactly: you said {said}")]}

    async def speak(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    graph.add_node("ask", ask)
    graph.add_node("speak", speak)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "speak")
    return graph.compile()


@an_agent
def approving(llm: ChatOpenAI) -> Any:
    """A human approves each call of a tool."""
    human = HumanInTheLoopMiddleware(interrupt_on={"price": True})
    return create_agent(llm, [price], middleware=[human])


@an_agent
def slow_tool(llm: ChatOpenAI) -> Any:
    """Text, a tool that takes a while, text."""

    async def price(dish: str) -> dict[str, Any]:
        """Look up the price of a dish."""
        await asyncio.sleep(30)
        return {"dish": dish, "euros": 9}

    return create_agent(llm, [price])


@an_agent
def no_messages(llm: ChatOpenAI) -> Any:
    """Not for this service."""
    graph = StateGraph(dict)
    graph.add_node("one", lambda state: state)
    graph.add_edge(START, "one")
    return graph.compile()


def in_a_row(*nodes: Any, state: Any = MessagesState, **options: Any) -> Any:
    """A graph of functions, one after the other."""
    return (
        StateGraph(state)
        .add_sequence(nodes)
        .add_edge(
            START, nodes[0].__name__ if callable(nodes[0]) else nodes[0][0]
        )
        .compile(**options)
    )


def asks_for(*names: str) -> AIMessage:
    """A model's message that asks for these tools, each for the soup."""
    calls = [
        {"name": name, "args": {"dish": "soup"}, "id": f"call-{number}"}
        for number, name in enumerate(names)
    ]
    return AIMessage("I look. ", tool_calls=calls)


@an_agent
def raising_beside(llm: ChatOpenAI) -> Any:
    """Two tools at the same time, and one of them raises."""

    async def broken(dish: str) -> None:
        """Look up the weight of a dish."""
        raise ValueError("secret sauce")

    def ask(state: MessagesState) -> Any:
        return {"messages": [asks_for("price", "broken")]}

    tools = ToolNode([price, broken], handle_tool_errors=False)
    return in_a_row(ask, ("tools", tools))


@an_agent
def asking_twice(llm: ChatOpenAI) -> Any:
    """One node asks a human two things, one after the other."""

    async def ask(state: MessagesState) -> Any:
        first, second = interrupt("First?"), interrupt("Second?")
        return {"messages": [AIMessage(f"{first} and {second}")]}

    return in_a_row(ask)


@an_agent
def asking_beside(llm: ChatOpenAI) -> Any:
    """Two tools ask at the same time."""

    def ask(state: MessagesState) -> Any:
        return {"messages": [asks_for("may", "may")]}

    async def may(dish: str) -> str:
        """Ask a human."""
        return f"A human said {interrupt(f'May I have {dish}?')}."

    def tell(state: MessagesState) -> Any:
        said = [each.text for each in state["messages"][-2:]]
        return {"messages": [AIMessage(" ".join(said))]}

    return in_a_row(ask, ("tools", ToolNode([may])), tell)


@an_agent
def silent(llm: ChatOpenAI) -> Any:
    """It returns no message."""

    def nothing(state: MessagesState) -> Any:
        return {}

    return in_a_row(nothing)


@an_agent
def dotted(llm: ChatOpenAI) -> Any:
    """Its node's name looks like a middleware's."""

    async def speak(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return in_a_row(("answer.v2 größer", speak))


@an_agent
def remembering(llm: ChatOpenAI) -> Any:
    """It was compiled with a memory of its own."""

    async def speak(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return in_a_row(speak, checkpointer=InMemorySaver())


@an_agent
def commanding(llm: ChatOpenAI) -> Any:
    """A node says where to go, and the graph does not know before."""

    async def route(state: MessagesState) -> Any:
        return Command(goto="speak")

    async def speak(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("route", route)
    graph.add_node("speak", speak)
    graph.add_edge(START, "route")
    return graph.compile()


@an_agent
def drafting(llm: ChatOpenAI) -> Any:
    """A node asks its model twice, and keeps the second answer."""

    async def speak(state: MessagesState) -> Any:
        await llm.ainvoke("Say exactly: a first draft")
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return in_a_row(speak)


@an_agent
def streaming_inside(llm: ChatOpenAI) -> Any:
    """A tool reads the stream of an agent of its own."""
    inner = create_agent(llm, [])

    @tool("price")
    async def ask(dish: str) -> str:
        """Look up the price of a dish."""
        given = {"messages": [("user", "Who are you?")]}
        async for _ in inner.astream(given, stream_mode="messages"):
            pass
        return "9"

    return create_agent(llm, [ask])


class Odd(MessagesState):
    topic: str


@an_agent
def with_nul(llm: ChatOpenAI) -> Any:
    """Its state has a text that PostgreSQL's JSON does not take."""

    async def speak(state: Odd) -> Any:
        said = await llm.ainvoke(state["messages"])
        return {"messages": [said], "topic": "a\0b"}

    return in_a_row(speak, state=Odd)


@an_agent
def with_a_lock(llm: ChatOpenAI) -> Any:
    """Its state has what cannot be kept."""

    async def speak(state: Odd) -> Any:
        said = await llm.ainvoke(state["messages"])
        return {"messages": [said], "topic": threading.Lock()}

    return in_a_row(speak, state=Odd)


@an_agent
def half_a_sign(llm: ChatOpenAI) -> Any:
    """Its answer has one half of a sign, as a provider may cut it."""

    def speak(state: MessagesState) -> Any:
        return {"messages": [AIMessage("soup \ud83d")]}

    return in_a_row(speak)


@an_agent
def deaf(llm: ChatOpenAI) -> Any:
    """Its tool does not listen when it is cancelled, nor to signals."""

    def price(dish: str) -> str:
        """Look up the price of a dish."""
        block()
        return "9"

    return create_agent(llm, [price])
