"""Answers to the check of lesson 12 and to lab 12."""

import asyncio

import openai

from tests.wrong import right, wrong


async def text_of(graph, question):
    state = await graph.ainvoke({"messages": [("user", question)]})
    return state["messages"][-1].text


@right("12.1")
async def asks_by_recursion(make, questions, budget):
    graph, used, texts = make(0, 1), 0, {}

    async def one(number, question):
        nonlocal used
        if used == budget:
            return
        used += 1
        try:
            texts[number] = await text_of(graph, question)
        except openai.RateLimitError as refused:
            await asyncio.sleep(float(refused.response.headers["retry-after"]))
            await one(number, question)

    async with asyncio.TaskGroup() as group:
        for number, question in enumerate(questions):
            group.create_task(one(number, question))
    return [texts.get(number) for number in range(len(questions))]


@wrong(
    "12.2",
    "the TimeoutError came out, and the texts that had come were lost",
)
async def limits_the_whole_gather(graph, questions, seconds):
    async with asyncio.timeout(seconds):
        return await asyncio.gather(*[text_of(graph, q) for q in questions])


@wrong("12.2", "when time was over it returned 0 of 3 texts")
async def gives_up_all(graph, questions, seconds):
    try:
        return await limits_the_whole_gather(graph, questions, seconds)
    except TimeoutError:
        return [None for _ in questions]


@wrong(
    "12.2",
    "when time was over, 0 of 1 late call was cut off: the model wrote on",
)
async def leaves_them_running(graph, questions, seconds):
    runs = [asyncio.ensure_future(text_of(graph, q)) for q in questions]
    await asyncio.wait(runs, timeout=seconds)
    return [run.result() if run.done() else None for run in runs]


@right("12.2")
async def waits_and_cancels(graph, questions, seconds):
    runs = [asyncio.create_task(text_of(graph, q)) for q in questions]
    done, late = await asyncio.wait(runs, timeout=seconds)
    for run in late:
        run.cancel()
    return [run.result() if run in done else None for run in runs]
