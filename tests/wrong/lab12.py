"""Answers to the check of lesson 12 and to lab 12."""

import asyncio

import openai

from tests.wrong import changed, right, wrong


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


changed(
    "12.0",
    """
    for (2, 3, 2) you say 12, and the model counted 18 requests
    - return (max_retries + 1) * max_attempts * runs
    + return max_retries * max_attempts * runs

    for (2, 3, 2) you say 9, and the model counted 18 requests
    - return (max_retries + 1) * max_attempts * runs
    + return (max_retries + 1) * max_attempts

    it returned None, not a number: is a `return` missing?
    - return (max_retries + 1) * max_attempts * runs
    + print((max_retries + 1) * max_attempts * runs)
    """,
)


changed(
    "12.1",
    """
    with a budget of 5, 27 requests were billed
    - graph = make(max_retries=0, max_attempts=1)
    + graph = make()
    @@
    - await asyncio.sleep(seconds_told(refused))
    + return None

    with a budget of 5, 15 requests were billed
    - graph = make(max_retries=0, max_attempts=1)
    + graph = make(max_retries=budget - 1, max_attempts=1)
    @@
    - await asyncio.sleep(seconds_told(refused))
    + return None

    it asked again before the time in `Retry-After` was over
    - await asyncio.sleep(seconds_told(refused))
    + await asyncio.sleep(0.01)

    the refusal came out: return None where the budget ended
    - await asyncio.sleep(seconds_told(refused))
    + raise

    at most 1 request of 3 in flight: ask all at once
    - return await for_all(one, questions)
    + return [await one(question) for question in questions]

    a server error was swallowed: let it out
    - except openai.RateLimitError as refused:
    + except openai.APIStatusError as refused:

    a bug in a node was swallowed: let it out
          await asyncio.sleep(seconds_told(refused))
    + except Exception:
    +     return None

    1 of 3 was refused three times, and with a budget of 6 it returned 2 of 3
    texts
    - left = budget
    + share, more = divmod(budget, len(questions))
    + shares = [share] * (len(questions) - more) + [share + 1] * more
    -
    +
      async def one(question):
    -     nonlocal left
    +     left = shares.pop()
    """,
)


changed(
    "12.2",
    """
at most 1 request of 3 in flight: ask all at once
- return await for_all(one, questions)
+ return [await one(question) for question in questions]

it had 600 seconds, and did not wait
- async with asyncio.timeout(seconds):
+ async with asyncio.timeout(1):

the time was over, and it still waited
- async with asyncio.timeout(seconds):
+ async with asyncio.timeout(None):

it returned 3 results for 4 questions
- return await for_all(one, questions)
+ return [text for text in await for_all(one, questions) if text is not None]

a bug in a node was swallowed: let it out
- except TimeoutError:
+ except Exception:

an empty text came in time, and it returned [None]
- return await text_of(graph, question)
+ return await text_of(graph, question) or None

✅
- async with asyncio.timeout(seconds):
-     return await text_of(graph, question)
+ return await asyncio.wait_for(text_of(graph, question), seconds)

✅
- return await for_all(one, questions)
+ async with asyncio.TaskGroup() as group:
+     runs = [group.create_task(one(question)) for question in questions]
+ return [run.result() for run in runs]
""",
)
