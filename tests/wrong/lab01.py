"""Answers to the check of lesson 01 and to lab 01."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.wrong import right, wrong
from workshop.model import practice_model

IN_TURN = "the calls ran one after another: at most 1 request was in flight"
NOT_USED = (
    "the model behind `graph` saw 0 requests: use the argument, nothing "
    "from the notebook"
)


def ask(question):
    return {"messages": [("user", question)]}


def order(table):
    return ask(f"Table {table} orders the soup")


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


def one_node(node):
    builder = StateGraph(MessagesState)
    builder.add_node("reply", node)
    builder.add_edge(START, "reply")
    return builder.compile()


# --- 01.0


@wrong("01.0", IN_TURN)
async def awaits_in_a_comprehension(graph, tables):
    states = [await graph.ainvoke(order(n)) for n in range(tables)]
    return [state["messages"][-1].text for state in states]


@wrong("01.0", "the list holds dict, not texts")
async def returns_the_states(graph, tables):
    return await asyncio.gather(
        *(graph.ainvoke(order(n)) for n in range(tables))
    )


@wrong("01.0", "2 texts came back for 3 questions")
async def starts_the_range_at_one(graph, tables):
    calls = [graph.ainvoke(order(n)) for n in range(1, tables)]
    states = await asyncio.gather(*calls)
    return [state["messages"][-1].text for state in states]


@wrong(
    "01.0", "a call failed (a bug in a node), and its error did not pass on"
)
async def gathers_the_errors_of_tables(graph, tables):
    calls = [answer_one(graph, table) for table in range(tables)]
    return await asyncio.gather(*calls, return_exceptions=True)


async def answer_one(graph, table):
    state = await graph.ainvoke(order(table))
    return state["messages"][-1].text


@wrong("01.0", "the list holds calls that nobody awaited")
async def forgets_gather(graph, tables):
    return [graph.ainvoke(order(n)) for n in range(tables)]


# --- 01.1


@wrong("01.1", IN_TURN)
async def awaits_in_the_loop(graph, questions):
    texts = []
    for question in questions:
        texts.append(await answer(graph, question))
    return texts


@wrong("01.1", IN_TURN)
async def awaits_each_new_task(graph, questions):
    texts = []
    for question in questions:
        task = asyncio.create_task(answer(graph, question))
        texts.append(await task)
    return texts


@wrong("01.1", "the list holds calls that nobody awaited")
async def returns_coroutines(graph, questions):
    return [answer(graph, question) for question in questions]


@wrong("01.1", "the list holds calls that nobody awaited")
async def returns_tasks(graph, questions):
    return [asyncio.create_task(answer(graph, q)) for q in questions]


@wrong("01.1", "the texts are in another order than the questions")
async def takes_them_as_completed(graph, questions):
    calls = [answer(graph, question) for question in questions]
    return [await call for call in asyncio.as_completed(calls)]


@wrong(
    "01.1",
    '`state = graph.invoke({"messages": [("user", question)]})` blocks the '
    "event loop: nothing else runs meanwhile",
)
async def gathers_sync_calls(graph, questions):
    async def answer(question):
        state = graph.invoke({"messages": [("user", question)]})
        return state["messages"][-1].text

    return await asyncio.gather(*map(answer, questions))


@wrong("01.1", "2 texts came back for 3 questions")
async def drops_the_last(graph, questions):
    calls = [answer(graph, question) for question in questions[:-1]]
    return await asyncio.gather(*calls)


@wrong("01.1", "the list holds dict, not texts")
async def returns_states(graph, questions):
    return await asyncio.gather(*(graph.ainvoke(ask(q)) for q in questions))


@wrong("01.1", "at most 2 of 3 requests were in flight at once")
async def keeps_a_semaphore(graph, questions):
    turn = asyncio.Semaphore(2)

    async def one(question):
        async with turn:
            return await answer(graph, question)

    return await asyncio.gather(*map(one, questions))


@wrong("01.1", "the texts are not what the graph replied")
async def asks_the_last_three_times(graph, questions):
    calls = []
    for question in questions:
        calls.append(lambda: answer(graph, question))  # noqa: B023
    return await asyncio.gather(*(call() for call in calls))


@wrong("01.1", "3 questions took 6 requests")
async def asks_twice(graph, questions):
    await asyncio.gather(*(answer(graph, q) for q in questions))
    return await asyncio.gather(*(answer(graph, q) for q in questions))


@wrong("01.1", NOT_USED)
async def uses_the_graph_of_the_notebook(graph, questions):
    agent = notebook_graph()
    return await asyncio.gather(*(answer(agent, q) for q in questions))


@wrong(
    "01.1",
    "it returned None, not a list of texts: is a `return` missing?",
)
async def forgets_return(graph, questions):
    await asyncio.gather(*(answer(graph, q) for q in questions))


@wrong("01.1", "it returned an async generator, not a list of texts")
async def yields_the_texts(graph, questions):
    for text in await asyncio.gather(*(answer(graph, q) for q in questions)):
        yield text


@wrong("01.1", "the texts are in another order than the questions")
async def sorts_them(graph, questions):
    return sorted(await asyncio.gather(*(answer(graph, q) for q in questions)))


@wrong("01.1", "3 texts came back for 120 questions")
async def knows_three(graph, questions):
    calls = [answer(graph, questions[n]) for n in (0, 1, 2)]
    return await asyncio.gather(*calls)


@wrong(
    "01.1", "a call failed (a bug in a node), and its error did not pass on"
)
async def gathers_the_errors(graph, questions):
    calls = [answer(graph, question) for question in questions]
    return await asyncio.gather(*calls, return_exceptions=True)


@right("01.1")
async def joins_the_tokens(graph, questions):
    async def answer(question):
        order = {"messages": [("user", question)]}
        stream = graph.astream(order, stream_mode="messages")
        return "".join([chunk.text async for chunk, _ in stream])

    return await asyncio.gather(*map(answer, questions))


@right("01.1")
async def awaits_tasks_later(graph, questions):
    tasks = [asyncio.create_task(answer(graph, q)) for q in questions]
    return [await task for task in tasks]


@right("01.1")
async def uses_a_task_group(graph, questions):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(graph, q)) for q in questions]
    return [task.result() for task in tasks]


@right("01.1")
async def uses_abatch(graph, questions):
    states = await graph.abatch([ask(question) for question in questions])
    return [state["messages"][-1].text for state in states]


# --- 01.2


HELD = "each call held a thread: however large their pool is, it is a limit"


@wrong("01.2", HELD)
def leaves_a_def_node(llm):
    def reply(state):
        return {"messages": [llm.invoke(state["messages"])]}

    return one_node(reply)


@wrong("01.2", HELD)
def sends_invoke_to_a_thread(llm):
    async def reply(state):
        message = await asyncio.to_thread(llm.invoke, state["messages"])
        return {"messages": [message]}

    return one_node(reply)


@wrong(
    "01.2",
    '`return {"messages": [llm.invoke(state["messages"])]}` blocks the event '
    "loop: at most 1 request was in flight",
)
def only_writes_async_before_def(llm):
    async def reply(state):
        return {"messages": [llm.invoke(state["messages"])]}

    return one_node(reply)


@wrong(
    "01.2",
    "at most 1 of 20 requests were in flight: a lock or a semaphore holds "
    "the others back",
)
def keeps_a_lock(llm):
    turn = asyncio.Lock()

    async def reply(state):
        async with turn:
            return {"messages": [await llm.ainvoke(state["messages"])]}

    return one_node(reply)


@wrong(
    "01.2",
    "at most 10 of 20 requests were in flight: a lock or a semaphore holds "
    "the others back",
)
def lets_only_ten_through(llm):
    turn = asyncio.Semaphore(10)

    async def reply(state):
        async with turn:
            return {"messages": [await llm.ainvoke(state["messages"])]}

    return one_node(reply)


@wrong(
    "01.2",
    "it did not finish within 20 s: it still waits at `with turn:`",
)
def holds_a_thread_lock(llm):
    turn = threading.Lock()

    async def reply(state):
        with turn:
            return {"messages": [await llm.ainvoke(state["messages"])]}

    return one_node(reply)


@wrong("01.2", "it returned a StateGraph, not a compiled graph")
def forgets_compile(llm):
    async def reply(state):
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("reply", reply)
    return builder.add_edge(START, "reply")


@wrong("01.2", "the graph ended without a reply in `messages`")
def forgets_the_update(llm):
    async def reply(state):
        await llm.ainvoke(state["messages"])

    return one_node(reply)


@wrong("01.2", "it returned a coroutine, not a compiled graph")
async def makes_build_async(llm):
    return notebook_graph()


@wrong(
    "01.2",
    "the model behind `llm` saw 0 requests: use the argument, nothing from "
    "the notebook",
)
def uses_the_llm_of_the_notebook(llm):
    return notebook_graph()


@right("01.2")
def streams_in_the_node(llm):
    async def reply(state):
        text = ""
        async for chunk in llm.astream(state["messages"]):
            text += chunk.text
        return {"messages": [("ai", text)]}

    return one_node(reply)


@right("01.2")
def uses_an_agent(llm):
    return create_agent(llm, tools=[])


@wrong("01.2", HELD)
def has_a_large_pool(llm):
    pool = ThreadPoolExecutor(64)

    async def reply(state):
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(pool, llm.invoke, state["messages"])
        return {"messages": [await call]}

    return one_node(reply)


@wrong("01.2", HELD)
def runs_a_loop_in_each_thread(llm):
    def reply(state):
        return {"messages": [asyncio.run(llm.ainvoke(state["messages"]))]}

    return one_node(reply)


@wrong("01.2", "the node returned a coroutine: is an `await` missing?")
def forgets_await(llm):
    async def reply(state):
        return {"messages": [llm.ainvoke(state["messages"])]}

    return one_node(reply)


@wrong(
    "01.2",
    "20 calls of the graph asked the model 1 time: each asks it",
)
def shares_one_future(llm):
    shared = []

    async def reply(state):
        if not shared:
            call = llm.ainvoke(state["messages"])
            shared.append(asyncio.ensure_future(call))
        return {"messages": [await shared[0]]}

    return one_node(reply)


@wrong(
    "01.2",
    "at most 30 of 120 requests were in flight: a lock or a semaphore holds "
    "the others back",
)
def lets_thirty_through(llm):
    turn = asyncio.Semaphore(30)

    async def reply(state):
        async with turn:
            return {"messages": [await llm.ainvoke(state["messages"])]}

    return one_node(reply)


@wrong("01.2", "the model did not get the messages of the state")
def sends_the_last_message_only(llm):
    async def reply(state):
        return {"messages": [await llm.ainvoke(state["messages"][-1:])]}

    return one_node(reply)


@right("01.2")
def has_both_forms(llm):
    def reply(state):
        return {"messages": [llm.invoke(state["messages"])]}

    async def areply(state):
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return one_node(RunnableLambda(reply, areply))
