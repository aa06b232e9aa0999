"""Answers to the check of lesson 01 and to lab 01."""

import asyncio

import openai
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from tests.wrong import changed, right, wrong
from workshop.model import practice_model


def ask(question):
    return {"messages": [("user", question)]}


async def answer(graph, question):
    state = await graph.ainvoke(ask(question))
    return state["messages"][-1].text


def notebook_graph():
    model = practice_model()
    llm = ChatOpenAI(
        model=model.name,
        base_url=model.base_url,
        api_key=model.key,
        http_async_client=openai.DefaultAsyncHttpxClient(),
    )
    return create_agent(llm, tools=[])


changed(
    "01.0",
    """
    at most 1 of 3 requests were in flight at once
    - states = await asyncio.gather(*calls)
    + states = [await call for call in calls]

    the list holds dict, not texts
    - return [state["messages"][-1].text for state in states]
    + return states

    2 texts came back for 3 questions
    - calls = [graph.ainvoke(order(table)) for table in range(tables)]
    + calls = [graph.ainvoke(order(table)) for table in range(1, tables)]

    a bug in a node was swallowed: let it out
    - states = await asyncio.gather(*calls)
    - return [state["messages"][-1].text for state in states]
    + states = await asyncio.gather(*calls, return_exceptions=True)
    + return [s if isinstance(s, Exception) else s["messages"][-1].text
    +     for s in states]

    the list holds calls that nobody awaited
    - states = await asyncio.gather(*calls)
    - return [state["messages"][-1].text for state in states]
    + return calls
    """,
)

# --- 01.1

changed(
    "01.1",
    """
    at most 1 of 3 requests were in flight at once
    - return await asyncio.gather(*answers)
    + return [await answer for answer in answers]

    the list holds calls that nobody awaited
    - return await asyncio.gather(*answers)
    + return answers

    the texts are in another order than the questions
    - return await asyncio.gather(*answers)
    + return [await call for call in asyncio.as_completed(answers)]

    the texts are in another order than the questions
    - return await asyncio.gather(*answers)
    + return sorted(await asyncio.gather(*answers))

    `for chunk, _ in graph.stream(asked, stream_mode="messages"):` blocks the
    event loop: nothing else runs meanwhile
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    + for chunk, _ in graph.stream(asked, stream_mode="messages"):

    the list holds dict, not texts
    - text = ""
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     text += chunk.text
    - return text
    + return await graph.ainvoke(asked)

    at most 2 of 3 requests were in flight at once
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     text += chunk.text
    + async with turn:
    +     state = await graph.ainvoke(asked)
    + text = state["messages"][-1].text
    @@
    - answers = [answer(question) for question in questions]
    + turn = asyncio.Semaphore(2)
    + answers = [answer(question) for question in questions]

    the texts are not what the graph replied
    - answers = [answer(question) for question in questions]
    + answers = [answer(questions[-1]) for question in questions]

    3 questions took 6 requests
    - return await asyncio.gather(*answers)
    + await asyncio.gather(*answers)
    + return await asyncio.gather(*map(answer, questions))

    it returned None, not a list of texts: is a `return` missing?
    - return await asyncio.gather(*answers)
    + await asyncio.gather(*answers)

    it returned an async generator, not a list of texts
    - return await asyncio.gather(*answers)
    + for text in await asyncio.gather(*answers):
    +     yield text

    3 texts came back for 70 questions
    - answers = [answer(question) for question in questions]
    + answers = [answer(question) for question in questions[:3]]

    a bug in a node was swallowed: let it out
    - return await asyncio.gather(*answers)
    + return await asyncio.gather(*answers, return_exceptions=True)

    no connection was swallowed: let it out
    - async for chunk, _ in graph.astream(asked, stream_mode="messages"):
    -     text += chunk.text
    - return text
    + import openai
    + try:
    +     state = await graph.ainvoke(asked)
    + except openai.APIError:
    +     return "sorry"
    + return state["messages"][-1].text

    a run had the questions of others, too
    - asked = {"messages": [("user", question)]}
    + before.append(("user", question))
    + asked = {"messages": [*before]}
    @@
    - answers = [answer(question) for question in questions]
    + before = []
    + answers = [answer(question) for question in questions]

    ✅
    - answers = [answer(question) for question in questions]
    - return await asyncio.gather(*answers)
    + tasks = [asyncio.create_task(answer(q)) for q in questions]
    + return [await task for task in tasks]

    ✅
    - answers = [answer(question) for question in questions]
    - return await asyncio.gather(*answers)
    + async with asyncio.TaskGroup() as group:
    +     tasks = [group.create_task(answer(q)) for q in questions]
    + return [task.result() for task in tasks]

    ✅
    - answers = [answer(question) for question in questions]
    - return await asyncio.gather(*answers)
    + asked = [{"messages": [("user", text)]} for text in questions]
    + states = await graph.abatch(asked)
    + return [state["messages"][-1].text for state in states]
    """,
)


@wrong(
    "01.1",
    "the model behind `graph` saw 0 requests: use the argument, nothing from "
    "the notebook",
)
async def uses_the_graph_of_the_notebook(graph, questions):
    agent = notebook_graph()
    return await asyncio.gather(*(answer(agent, q) for q in questions))


# --- 01.2

changed(
    "01.2",
    """
    each call held a thread, and their pool is a limit
    - async def reply(state):
    -     message = await llm.ainvoke(state["messages"])
    + def reply(state):
    +     message = llm.invoke(state["messages"])

    each call held a thread, and their pool is a limit
    - async def reply(state):
    -     message = await llm.ainvoke(state["messages"])
    + def reply(state):
    +     message = asyncio.run(llm.ainvoke(state["messages"]))

    `message = llm.invoke(state["messages"])` blocks the event loop: at most 1
    request was in flight
    - message = await llm.ainvoke(state["messages"])
    + message = llm.invoke(state["messages"])

    it did not finish within 20 s: it still waits at `with turn:`
    - async def reply(state):
    -     message = await llm.ainvoke(state["messages"])
    + import threading
    + turn = threading.Lock()
    + async def reply(state):
    +     with turn:
    +         message = await llm.ainvoke(state["messages"])

    it returned a StateGraph, not a compiled graph
    - return graph_of(reply)
    + builder = StateGraph(MessagesState)
    + builder.add_node("reply", reply)
    + return builder.add_edge(START, "reply")

    the reply of the model was not added to `messages`
    - return {"messages": [message]}

    it returned a coroutine, not a compiled graph
    - def build(llm):
    + async def build(llm):

    the node returned a coroutine: is an `await` missing?
    - message = await llm.ainvoke(state["messages"])
    + message = llm.ainvoke(state["messages"])

    20 calls of the graph asked the model 1 time: each asks it
    - async def reply(state):
    -     message = await llm.ainvoke(state["messages"])
    + shared = []
    + async def reply(state):
    +     if not shared:
    +         call = llm.ainvoke(state["messages"])
    +         shared.append(asyncio.ensure_future(call))
    +     message = await shared[0]

    at most 30 of 70 requests were in flight: a lock or a semaphore holds the
    others back
    - async def reply(state):
    -     message = await llm.ainvoke(state["messages"])
    + turn = asyncio.Semaphore(30)
    + async def reply(state):
    +     async with turn:
    +         message = await llm.ainvoke(state["messages"])

    the reply of the model was not added to `messages`
    - return {"messages": [message]}
    + return {"messages": [("ai", message.text.strip())]}

    the model did not get the messages of the state
    - message = await llm.ainvoke(state["messages"])
    + message = await llm.ainvoke(state["messages"][-1:])

    a bug in a node was swallowed: let it out
    - message = await llm.ainvoke(state["messages"])
    + try:
    +     message = await llm.ainvoke(state["messages"])
    + except Exception:
    +     message = ("ai", "sorry")

    ✅
    - message = await llm.ainvoke(state["messages"])
    + text = ""
    + async for chunk in llm.astream(state["messages"]):
    +     text += chunk.text
    + message = ("ai", text)

    ✅
    - return graph_of(reply)
    + from langchain_core.runnables import RunnableLambda
    + def in_thread(state):
    +     return {"messages": [llm.invoke(state["messages"])]}
    + return graph_of(RunnableLambda(in_thread, reply))
    """,
)


@wrong(
    "01.2",
    "the model behind `llm` saw 0 requests: use the argument, nothing from "
    "the notebook",
)
def uses_the_llm_of_the_notebook(llm):
    return notebook_graph()


@right("01.2")
def uses_an_agent(llm):
    return create_agent(llm, tools=[])
