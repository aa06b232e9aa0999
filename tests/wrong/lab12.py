"""Wrong answers to the check of lesson 12 and to lab 12."""

import asyncio

import openai

from tests.wrong import right, wrong


def ask(question):
    return {"messages": [("user", question)]}


async def text_of(graph, question):
    state = await graph.ainvoke(ask(question))
    return state["messages"][-1].text


# --- 12.0


@wrong("12.0", "for (2, 3, 2) you say 12, and the model counted 18 requests")
def forgets_the_first_attempt(max_retries, max_attempts, runs):
    return max_retries * max_attempts * runs


@wrong("12.0", "for (2, 3, 2) you say 24, and the model counted 18 requests")
def counts_attempts_as_retries(max_retries, max_attempts, runs):
    return (max_retries + 1) * (max_attempts + 1) * runs


@wrong("12.0", "for (2, 3, 2) you say 9, and the model counted 18 requests")
def forgets_the_runs(max_retries, max_attempts, runs):
    return (max_retries + 1) * max_attempts


@wrong("12.0", "it returned None, not a number: is a `return` missing?")
def prints_the_number(max_retries, max_attempts, runs):
    print((max_retries + 1) * max_attempts * runs)


# --- 12.1


@wrong("12.1", "with a budget of 5, 27 requests were billed")
async def leaves_the_levels_alone(make, questions, budget):
    graph = make()

    async def one(question):
        try:
            return await text_of(graph, question)
        except openai.RateLimitError:
            return None

    return await asyncio.gather(*map(one, questions))


@wrong("12.1", "with a budget of 5, 15 requests were billed")
async def gives_the_budget_to_each(make, questions, budget):
    graph = make(max_retries=budget - 1, max_attempts=1)

    async def one(question):
        try:
            return await text_of(graph, question)
        except openai.RateLimitError:
            return None

    return await asyncio.gather(*map(one, questions))


@wrong("12.1", "it asked again before the time in `Retry-After` was over")
async def repeats_at_once(make, questions, budget):
    graph, left = make(0, 1), budget

    async def one(question):
        nonlocal left
        while left > 0:
            left -= 1
            try:
                return await text_of(graph, question)
            except openai.RateLimitError:
                await asyncio.sleep(0.01)

    return await asyncio.gather(*map(one, questions))


@wrong("12.1", "the refusal came out: return None where the budget ended")
async def lets_the_refusal_out(make, questions, budget):
    graph = make(max_retries=1, max_attempts=1)
    return await asyncio.gather(*[text_of(graph, q) for q in questions])


@wrong("12.1", "at most 1 request of 3 in flight: ask all at once")
async def asks_one_by_one(make, questions, budget):
    graph, texts = make(0, 1), []
    for question in questions:
        texts.append(await text_of(graph, question))
    return texts


@wrong("12.1", "a server error was swallowed: let it out")
async def retries_everything(make, questions, budget):
    graph, left = make(0, 1), budget

    async def one(question):
        nonlocal left
        while left > 0:
            left -= 1
            try:
                return await text_of(graph, question)
            except openai.APIStatusError as error:
                wait = error.response.headers.get("retry-after", "0.1")
                await asyncio.sleep(float(wait))

    return await asyncio.gather(*map(one, questions))


@wrong("12.1", "a bug in a node was swallowed: let it out")
async def hides_other_failures(make, questions, budget):
    graph, left = make(0, 1), budget

    async def one(question):
        nonlocal left
        while left > 0:
            left -= 1
            try:
                return await text_of(graph, question)
            except openai.RateLimitError as refused:
                wait = refused.response.headers["retry-after"]
                await asyncio.sleep(float(wait))
            except Exception:
                return None

    return await asyncio.gather(*map(one, questions))


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


# --- 12.2


def limited(seconds):
    async def one(graph, question):
        try:
            async with asyncio.timeout(seconds):
                return await text_of(graph, question)
        except TimeoutError:
            return None

    return one


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
        async with asyncio.timeout(seconds):
            runs = [text_of(graph, question) for question in questions]
            return await asyncio.gather(*runs)
    except TimeoutError:
        return [None for _ in questions]


@wrong("12.2", "at most 1 request of 3 in flight: ask all at once")
async def limits_one_after_another(graph, questions, seconds):
    one = limited(seconds)
    return [await one(graph, question) for question in questions]


@wrong("12.2", "it had 600 seconds, and did not wait")
async def has_a_limit_of_one_second(graph, questions, seconds):
    one = limited(1)
    return await asyncio.gather(*[one(graph, q) for q in questions])


@wrong("12.2", "the time was over, and it still waited")
async def has_no_limit(graph, questions, seconds):
    return await asyncio.gather(*[text_of(graph, q) for q in questions])


@wrong(
    "12.2",
    "when time was over, 0 of 1 late call was cut off: the model wrote on",
)
async def leaves_them_running(graph, questions, seconds):
    runs = [asyncio.ensure_future(text_of(graph, q)) for q in questions]
    await asyncio.wait(runs, timeout=seconds)
    return [run.result() if run.done() else None for run in runs]


@wrong("12.2", "it returned 3 results for 4 questions")
async def leaves_the_late_ones_out(graph, questions, seconds):
    one = limited(seconds)
    texts = await asyncio.gather(*[one(graph, q) for q in questions])
    return [text for text in texts if text is not None]


@wrong("12.2", "a bug in a node was swallowed: let it out")
async def takes_any_failure_for_late(graph, questions, seconds):
    async def one(question):
        try:
            async with asyncio.timeout(seconds):
                return await text_of(graph, question)
        except Exception:
            return None

    return await asyncio.gather(*[one(question) for question in questions])


@right("12.2")
async def waits_and_cancels(graph, questions, seconds):
    runs = [asyncio.create_task(text_of(graph, q)) for q in questions]
    done, late = await asyncio.wait(runs, timeout=seconds)
    for run in late:
        run.cancel()
    return [run.result() if run in done else None for run in runs]


@right("12.2")
async def uses_a_task_group(graph, questions, seconds):
    one = limited(seconds)
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(one(graph, q)) for q in questions]
    return [run.result() for run in runs]


@right("12.2")
async def uses_wait_for(graph, questions, seconds):
    async def one(question):
        try:
            return await asyncio.wait_for(text_of(graph, question), seconds)
        except TimeoutError:
            return None

    return await asyncio.gather(*[one(question) for question in questions])


# --- what the first judges did not see


@wrong(
    "12.1",
    "1 of 3 was refused three times, and with a budget of 6 it returned 2 "
    "of 3 texts",
)
async def gives_equal_shares(make, questions, budget):
    graph = make(0, 1)
    share, more = divmod(budget, len(questions))

    async def one(number, question):
        for _ in range(share + (number < more)):
            try:
                return await text_of(graph, question)
            except openai.RateLimitError as refused:
                wait = refused.response.headers["retry-after"]
                await asyncio.sleep(float(wait))

    return await asyncio.gather(*map(one, range(len(questions)), questions))


@wrong("12.2", "an empty text came in time, and it returned [None]")
async def takes_an_empty_text_for_none(graph, questions, seconds):
    one = limited(seconds)
    texts = await asyncio.gather(*[one(graph, q) for q in questions])
    return [text or None for text in texts]
