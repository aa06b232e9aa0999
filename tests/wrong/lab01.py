"""Wrong answers to the check of lesson 01 and to lab 01, and other right."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.wrong import right, wrong
from workshop.model import practice_model

IN_TURN = "the calls ran one after another: at most 1 request was in flight"
NOT_USED = (
    "the model behind `graph` saw 0 requests: use the argument, nothing "
    "from the notebook"
)
CLOSED = (
    "Event loop is closed: a second loop got the connections of the first; "
    "one asyncio.run must hold everything"
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


@wrong("01.1", "3 texts came back for 4 questions")
async def knows_three(graph, questions):
    calls = [answer(graph, questions[n]) for n in (0, 1, 2)]
    return await asyncio.gather(*calls)


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


@wrong("01.2", "`menu = read_menu()` blocks the event loop: no beat meanwhile")
async def changes_nothing(graph, question, read_menu):
    menu = read_menu()
    for chunk, _ in graph.stream(
        ask(f"{menu} {question}"), stream_mode="messages"
    ):
        yield chunk.text
        await asyncio.sleep(0)


STREAM = 'for chunk, _ in graph.stream(order, stream_mode="messages"):'


@wrong("01.2", f"`{STREAM}` blocks the event loop: no beat meanwhile")
async def mends_only_the_menu(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    for chunk, _ in graph.stream(order, stream_mode="messages"):
        yield chunk.text


@wrong("01.2", f"`{STREAM}` blocks the event loop: no beat meanwhile")
async def sprinkles_sleep(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    await asyncio.sleep(0)
    for chunk, _ in graph.stream(order, stream_mode="messages"):
        await asyncio.sleep(0.01)
        yield chunk.text


@wrong("01.2", "`menu = read_menu()` blocks the event loop: no beat meanwhile")
async def mends_only_the_stream(graph, question, read_menu):
    menu = read_menu()
    async for chunk, _ in graph.astream(
        ask(f"{menu} {question}"), stream_mode="messages"
    ):
        yield chunk.text


@wrong(
    "01.2",
    "it raised TypeError: 'str' object is not callable, at "
    "`menu = await asyncio.to_thread(read_menu())`",
)
async def calls_before_the_thread(graph, question, read_menu):
    menu = await asyncio.to_thread(read_menu())
    async for chunk, _ in graph.astream(
        ask(f"{menu} {question}"), stream_mode="messages"
    ):
        yield chunk.text


@wrong("01.2", "`read_menu` never ran: is an `await` missing?")
async def forgets_await_before_the_thread(graph, question, read_menu):
    menu = asyncio.to_thread(read_menu)
    async for chunk, _ in graph.astream(
        ask(f"{menu} {question}"), stream_mode="messages"
    ):
        yield chunk.text
    menu.close()


FINISHED = (
    "nothing was streamed: the model had finished before the first piece came"
)


@wrong("01.2", FINISHED)
async def lists_the_stream_in_a_thread(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    stream = graph.stream(order, stream_mode="messages")
    for chunk, _ in await asyncio.to_thread(list, stream):
        yield chunk.text


@wrong("01.2", FINISHED)
async def awaits_the_whole_reply(graph, question, read_menu):
    menu = await asyncio.to_thread(read_menu)
    yield await answer(graph, f"{menu} {question}")


@wrong("01.2", FINISHED)
async def streams_updates(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    async for update in graph.astream(order, stream_mode="updates"):
        yield update["reply"]["messages"][-1].text


@wrong("01.2", "it yielded AIMessageChunk, not a text")
async def yields_chunks(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    async for chunk, _ in graph.astream(order, stream_mode="messages"):
        yield chunk


@wrong(
    "01.2",
    "it returned a coroutine, not an async generator: `yield` each piece",
)
async def returns_a_list(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    stream = graph.astream(order, stream_mode="messages")
    return [chunk.text async for chunk, _ in stream]


@right("01.2")
async def uses_an_executor(graph, question, read_menu):
    loop = asyncio.get_running_loop()
    menu = await loop.run_in_executor(None, read_menu)
    order = ask(f"{menu} {question}")
    async for part in graph.astream(
        order, stream_mode=["messages"], version="v2"
    ):
        yield part["data"][0].text


@right("01.2")
async def takes_each_piece_in_a_thread(graph, question, read_menu):
    order = ask(f"{await asyncio.to_thread(read_menu)} {question}")
    stream = graph.stream(order, stream_mode="messages")
    while pair := await asyncio.to_thread(next, stream, None):
        yield pair[0].text


# --- 01.3


HELD = (
    "each call held a worker thread: with 2 threads only 2 of 3 calls "
    "overlapped"
)


@wrong("01.3", HELD)
def leaves_a_def_node(llm):
    def reply(state):
        return {"messages": [llm.invoke(state["messages"])]}

    return one_node(reply)


@wrong("01.3", HELD)
def sends_invoke_to_a_thread(llm):
    async def reply(state):
        message = await asyncio.to_thread(llm.invoke, state["messages"])
        return {"messages": [message]}

    return one_node(reply)


@wrong(
    "01.3",
    '`return {"messages": [llm.invoke(state["messages"])]}` blocks the event '
    "loop: at most 1 request was in flight",
)
def only_writes_async_before_def(llm):
    async def reply(state):
        return {"messages": [llm.invoke(state["messages"])]}

    return one_node(reply)


@wrong(
    "01.3",
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
    "01.3",
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
    "01.3",
    "it did not finish within 20 s: it still waits at `with turn:`",
)
def holds_a_thread_lock(llm):
    turn = threading.Lock()

    async def reply(state):
        with turn:
            return {"messages": [await llm.ainvoke(state["messages"])]}

    return one_node(reply)


@wrong("01.3", "it returned a StateGraph, not a compiled graph")
def forgets_compile(llm):
    async def reply(state):
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("reply", reply)
    return builder.add_edge(START, "reply")


@wrong("01.3", "the graph ended without a reply in `messages`")
def forgets_the_update(llm):
    async def reply(state):
        await llm.ainvoke(state["messages"])

    return one_node(reply)


@wrong("01.3", "it returned a coroutine, not a compiled graph")
async def makes_build_async(llm):
    return notebook_graph()


@wrong(
    "01.3",
    "the model behind `llm` saw 0 requests: use the argument, nothing from "
    "the notebook",
)
def uses_the_llm_of_the_notebook(llm):
    return notebook_graph()


@right("01.3")
def streams_in_the_node(llm):
    async def reply(state):
        text = ""
        async for chunk in llm.astream(state["messages"]):
            text += chunk.text
        return {"messages": [("ai", text)]}

    return one_node(reply)


@right("01.3")
def uses_an_agent(llm):
    return create_agent(llm, tools=[])


# --- 01.4


async def answer_all(graph, batch):
    return await asyncio.gather(*(answer(graph, q) for q in batch))


@wrong("01.4", CLOSED)
def runs_each_batch(graph, batches):
    return [asyncio.run(answer_all(graph, batch)) for batch in batches]


@wrong("01.4", CLOSED)
def runs_each_question(graph, batches):
    return [
        [asyncio.run(answer(graph, question)) for question in batch]
        for batch in batches
    ]


@wrong("01.4", CLOSED)
def makes_a_runner_for_each_batch(graph, batches):
    lists = []
    for batch in batches:
        with asyncio.Runner() as runner:
            lists.append(runner.run(answer_all(graph, batch)))
    return lists


@wrong("01.4", CLOSED)
def sends_each_batch_to_a_thread(graph, batches):
    lists = []
    for batch in batches:
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(asyncio.run, answer_all(graph, batch))
            lists.append(run.result())
    return lists


@wrong("01.4", "the node is async: only `ainvoke` in a loop can run it")
def goes_back_to_sync(graph, batches):
    return [
        [graph.invoke(ask(q))["messages"][-1].text for q in batch]
        for batch in batches
    ]


@wrong("01.4", "a script cannot await: `main` is a plain `def`")
async def stays_async(graph, batches):
    return [await answer_all(graph, batch) for batch in batches]


@wrong(
    "01.4",
    "it raised RuntimeError: asyncio.run() cannot be called from a running "
    "event loop, at `return [asyncio.run(answer_all(graph, b)) for b in "
    "batches]`",
)
def runs_inside_a_run(graph, batches):
    async def service():
        return [asyncio.run(answer_all(graph, b)) for b in batches]

    return asyncio.run(service())


@wrong(
    "01.4",
    "the calls ran one after another: at most 1 request was in flight",
)
def awaits_one_by_one(graph, batches):
    async def service():
        return [[await answer(graph, q) for q in b] for b in batches]

    return asyncio.run(service())


@wrong(
    "01.4",
    "6 requests were in flight: the second batch did not wait for the first",
)
def starts_everything_at_once(graph, batches):
    async def service():
        return await asyncio.gather(*(answer_all(graph, b) for b in batches))

    return asyncio.run(service())


@wrong("01.4", "it returned None, not a list of lists: is a `return` missing?")
def prints_the_lists(graph, batches):
    async def service():
        return [await answer_all(graph, batch) for batch in batches]

    print(asyncio.run(service()))


@wrong("01.4", "it returned no list of 2 lists")
def returns_one_flat_list(graph, batches):
    async def service():
        lists = [await answer_all(graph, batch) for batch in batches]
        return [text for texts in lists for text in texts]

    return asyncio.run(service())


@wrong("01.4", "a batch came back as None: does `answer_all` return?")
def has_not_done_task_1(graph, batches):
    async def answer_all(graph, batch):
        pass

    async def service():
        return [await answer_all(graph, batch) for batch in batches]

    return asyncio.run(service())


@wrong("01.4", "the list holds calls that nobody awaited")
def does_not_await_the_batches(graph, batches):
    async def answer_all(graph, batch):
        return await graph.abatch(batch)

    async def service():
        return [answer_all(graph, batch) for batch in batches]

    return asyncio.run(service())


@right("01.4")
def uses_one_runner(graph, batches):
    with asyncio.Runner() as runner:
        return [runner.run(answer_all(graph, batch)) for batch in batches]


@right("01.4")
def uses_one_loop(graph, batches):
    loop = asyncio.new_event_loop()
    try:
        return [
            loop.run_until_complete(answer_all(graph, batch))
            for batch in batches
        ]
    finally:
        loop.close()
