"""Answers to the check of lesson 11 and to lab 11."""

import asyncio

from tests.wrong import right, wrong


async def text_of(graph, question):
    state = await graph.ainvoke({"messages": [("user", question)]})
    return state["messages"][-1].text


@right("11.1")
async def uses_abatch(graph, questions, limit):
    asked = [{"messages": [("user", question)]} for question in questions]
    states = await graph.abatch(asked, {"max_concurrency": limit})
    return [state["messages"][-1].text for state in states]


@right("11.1")
async def uses_workers(graph, questions, limit):
    texts, todo = {}, list(enumerate(questions))

    async def worker():
        while todo:
            number, question = todo.pop(0)
            texts[number] = await text_of(graph, question)

    async with asyncio.TaskGroup() as group:
        for _ in range(limit):
            group.create_task(worker())
    return [texts[number] for number in range(len(questions))]


@wrong("11.2", "the errors hold the runs that were cancelled, too")
async def keeps_every_outcome(graph, questions):
    runs = [asyncio.ensure_future(text_of(graph, q)) for q in questions]
    await asyncio.wait(runs, return_when=asyncio.FIRST_EXCEPTION)
    for run in runs:
        run.cancel()
    found = await asyncio.gather(*runs, return_exceptions=True)
    pairs = list(zip(questions, found, strict=True))
    texts = {q: f for q, f in pairs if isinstance(f, str)}
    return texts, [f for _, f in pairs if not isinstance(f, str)]


@right("11.2")
async def waits_for_the_first_exception(graph, questions):
    runs = {q: asyncio.ensure_future(text_of(graph, q)) for q in questions}
    await asyncio.wait(runs.values(), return_when=asyncio.FIRST_EXCEPTION)
    for run in runs.values():
        run.cancel()
    await asyncio.wait(runs.values())
    over = {q: run for q, run in runs.items() if not run.cancelled()}
    errors = [run.exception() for run in over.values() if run.exception()]
    texts = {q: r.result() for q, r in over.items() if not r.exception()}
    return texts, errors
