"""Agents that are not like the service's own, for SERVICE_AGENT."""

from __future__ import annotations

import asyncio
import sys
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
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

sys.path.insert(0, str(Path(__file__).parent.parent / "solutions"))
from service.model import open_model
from service.settings import Settings


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
    """Its tool blocks the loop of its process for 4 s."""

    async def price(dish: str) -> dict[str, Any]:
        """Look up the price of a dish."""
        time.sleep(4)  # noqa: ASYNC251
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
