"""Answers to the check of lesson 11 and to lab 11."""

import asyncio

from tests.wrong import changed, right, wrong


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


changed(
    "11.0",
    """
    `turn` has 2 places, but 5 requests were in flight
    -     state = await graph.ainvoke(ask(question))
    +     run = graph.ainvoke(ask(question))
    + state = await run

    it returned a str, not (question, text)
    - return question, state["messages"][-1].text
    + return state["messages"][-1].text

    what it returned is not (question, text)
    - return question, state["messages"][-1].text
    + return question, state

    after a bug in a node the place was not given back
    - async with turn:
    -     state = await graph.ainvoke(ask(question))
    + await turn.acquire()
    + state = await graph.ainvoke(ask(question))
    + turn.release()

    only 1 of 2 places were used: is the semaphore taken twice?
    - async with turn:
    + async with turn, turn:

    a bug in a node was swallowed: let it out
    - state = await graph.ainvoke(ask(question))
    + try:
    +     state = await graph.ainvoke(ask(question))
    + except Exception as error:
    +     return question, str(error)

    ✅
    - async with turn:
    + await turn.acquire()
    + try:
          state = await graph.ainvoke(ask(question))
    + finally:
    +     turn.release()
    """,
)


changed(
    "11.1",
    """
    with a limit of 3, 8 requests were in flight
    - async with turn:
    -     return await text_of(graph, question)
    + config = {"max_concurrency": limit}
    + state = await graph.ainvoke(ask(question), config)
    + return state["messages"][-1].text

    the runs came one after another: at most 1 request was in flight
    - return await asyncio.gather(*runs)
    + return [await run for run in runs]

    one run had ended, and the next one did not begin: a free place was not
    taken
    - return await asyncio.gather(*runs)
    + texts = []
    + for start in range(0, len(runs), limit):
    +     texts += await asyncio.gather(*runs[start : start + limit])
    + return texts

    the texts are in another order than the questions
    - return await asyncio.gather(*runs)
    + return [await run for run in asyncio.as_completed(runs)]

    the list holds dict, not texts
    - return await text_of(graph, question)
    + return await graph.ainvoke(ask(question))

    with a limit of 2, 3 requests were in flight
    - turn = asyncio.Semaphore(limit)
    + turn = asyncio.Semaphore(3)

    4 questions took 2 requests
    - runs = [one(question) for question in questions]
    - return await asyncio.gather(*runs)
    + different = list(dict.fromkeys(questions))
    + texts = await asyncio.gather(*map(one, different))
    + return [texts[different.index(question)] for question in questions]

    a bug in a node was swallowed: let it out
    - return await asyncio.gather(*runs)
    + return await asyncio.gather(*runs, return_exceptions=True)

    3 texts came, one of them empty: it returned ['Yes.', 'Yes.']
    - return await asyncio.gather(*runs)
    + return [text for text in await asyncio.gather(*runs) if text]

    after no connection it asked again: raise it
    - return await text_of(graph, question)
    + try:
    +     return await text_of(graph, question)
    + except openai.APIError:
    +     return await text_of(graph, question)
    """,
)


changed(
    "11.2",
    """
    after no connection 0 of 2 calls were cut off: the others went on, and are
    paid for
    -     async with asyncio.TaskGroup() as group:
    -         for question in questions:
    -             group.create_task(one(question))
    - except* openai.APIError as failed:
    -     errors.extend(failed.exceptions)
    +     await asyncio.gather(*map(one, questions))
    + except openai.APIError as error:
    +     errors.append(error)

    the failure came out, and what had come was lost
    - except* openai.APIError as failed:
    -     errors.extend(failed.exceptions)
    + except openai.APIError as error:
    +     errors.append(error)

    2 answers had come, but 0 are kept
    - texts[question] = await text_of(graph, question)
    + return question, await text_of(graph, question)
    @@
    -     for question in questions:
    -         group.create_task(one(question))
    +     runs = [group.create_task(one(q)) for q in questions]
    + texts.update(run.result() for run in runs)

    it returned (dict, ExceptionGroup), not a dict and a list
    - except* openai.APIError as failed:
    -     errors.extend(failed.exceptions)
    + except ExceptionGroup as failed:
    +     errors = failed

    it was cancelled from outside, and swallowed that
          errors.extend(failed.exceptions)
    + except* asyncio.CancelledError:
    +     pass

    at most 1 request of 3 in flight: ask all at once
    - async with asyncio.TaskGroup() as group:
    -     for question in questions:
    -         group.create_task(one(question))
    + for question in questions:
    +     await one(question)
    """,
)
